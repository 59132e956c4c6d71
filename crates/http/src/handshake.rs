//! The opening handshake of a WebSocket (RFC 6455 section 4.2) for XMPP (RFC 7395 section 3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{Method, Request, StatusCode, Version};
use sha1::{Digest as _, Sha1};

use crate::answer::{self, Answer};

/// Section 4.2.2, point 5.4.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const PROTOCOL: &str = "xmpp";
const VERSION: &str = "13";
/// Bytes of a key before it is encoded (section 4.1, point 7).
const KEY_BYTES: usize = 16;

/// What the answer to a request for a WebSocket is; with the status 101 the connection is one. `origins`: the only
/// ones from which a browser's page may connect; empty: any.
pub(crate) fn accept<B>(request: &Request<B>, origins: &[String]) -> Answer {
    let headers = request.headers();
    if request.method() != Method::GET {
        return answer::not_allowed("GET");
    }
    if request.version() != Version::HTTP_11 {
        return answer::refusal(StatusCode::BAD_REQUEST, "a WebSocket begins with HTTP/1.1");
    }
    if !lists(headers, UPGRADE, "websocket") || !lists(headers, CONNECTION, "upgrade") {
        let mut answer = answer::refusal(StatusCode::UPGRADE_REQUIRED, "this is a WebSocket for XMPP (RFC 7395)");
        answer::with(&mut answer, UPGRADE, "websocket");
        answer::with(&mut answer, CONNECTION, "upgrade");
        return answer;
    }
    // Section 4.4.
    if headers
        .get(SEC_WEBSOCKET_VERSION)
        .is_none_or(|version| version != VERSION)
    {
        let mut answer = answer::refusal(StatusCode::UPGRADE_REQUIRED, "the version of WebSocket is 13");
        answer::with(&mut answer, SEC_WEBSOCKET_VERSION, VERSION);
        return answer;
    }
    let mut keys = headers.get_all(SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else {
        return answer::refusal(StatusCode::BAD_REQUEST, "one Sec-WebSocket-Key is needed");
    };
    if STANDARD.decode(key).map(|key| key.len()) != Ok(KEY_BYTES) {
        return answer::refusal(
            StatusCode::BAD_REQUEST,
            "the Sec-WebSocket-Key is not 16 bytes in base 64",
        );
    }
    if !lists(headers, SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return answer::refusal(
            StatusCode::BAD_REQUEST,
            "the subprotocol xmpp is needed (RFC 7395 section 3.1)",
        );
    }
    // Section 10.2.
    if !is_allowed(headers, origins) {
        return answer::refusal(StatusCode::FORBIDDEN, "this origin is not in http.origins");
    }
    let mut answer = answer::empty(StatusCode::SWITCHING_PROTOCOLS);
    answer::with(&mut answer, UPGRADE, "websocket");
    answer::with(&mut answer, CONNECTION, "upgrade");
    answer::with(&mut answer, SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    if let Ok(value) = HeaderValue::from_str(&accept_value(key.as_bytes())) {
        answer.headers_mut().insert(SEC_WEBSOCKET_ACCEPT, value);
    }
    answer
}

/// Whether a page from where this request comes may connect. Programs that are no browsers send no `Origin`.
pub(crate) fn is_allowed(headers: &HeaderMap, origins: &[String]) -> bool {
    headers.get(ORIGIN).is_none_or(|origin| {
        origins.is_empty()
            || origins
                .iter()
                .any(|allowed| origin.as_bytes().eq_ignore_ascii_case(allowed.as_bytes()))
    })
}

fn accept_value(key: &[u8]) -> String {
    let mut hash = Sha1::new();
    hash.update(key);
    hash.update(GUID);
    STANDARD.encode(hash.finalize())
}

/// Whether a header's list of words has this one (RFC 9110 section 5.6.1), in any case of letters.
fn lists(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7395 section 3.1.
    const EXAMPLE: &[(&str, &str)] = &[
        ("host", "example.com"),
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("origin", "http://example.com"),
        ("sec-websocket-protocol", "xmpp"),
        ("sec-websocket-version", "13"),
    ];

    /// The example with one header replaced, or left out where the value is empty.
    fn with(name: &str, value: &str, origins: &[&str]) -> Answer {
        let mut request = Request::builder().uri("/xmpp-websocket");
        for (key, own) in EXAMPLE {
            let value = if *key == name { value } else { own };
            if !value.is_empty() {
                request = request.header(*key, value);
            }
        }
        let origins: Vec<String> = origins.iter().map(|origin| (*origin).to_owned()).collect();
        accept(&request.body(()).expect("a request"), &origins)
    }

    #[test]
    fn the_example() {
        let answer = with("", "", &[]);
        assert_eq!(answer.status(), StatusCode::SWITCHING_PROTOCOLS);
        assert_eq!(answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(answer.headers()[SEC_WEBSOCKET_PROTOCOL], "xmpp");
    }

    #[test]
    fn other_handshakes() {
        let check = |name: &str, value: &str, status: u16| {
            assert_eq!(with(name, value, &[]).status(), status, "{name}: {value}");
        };
        check("upgrade", "WebSocket", 101);
        check("connection", "keep-alive, UPGRADE", 101);
        check("sec-websocket-protocol", "chat, xmpp", 101);
        check("origin", "", 101);
        check("upgrade", "", 426);
        check("upgrade", "h2c", 426);
        check("connection", "keep-alive", 426);
        check("sec-websocket-version", "8", 426);
        check("sec-websocket-version", "", 426);
        check("sec-websocket-key", "", 400);
        check("sec-websocket-key", "dGhlIHNhbXBsZQ==", 400);
        check("sec-websocket-key", "?", 400);
        check("sec-websocket-protocol", "", 400);
        check("sec-websocket-protocol", "xmpp2", 400);
    }

    #[test]
    fn origins() {
        let check = |origin: &str, allowed: &[&str], status: u16| {
            assert_eq!(
                with("origin", origin, allowed).status(),
                status,
                "{origin} of {allowed:?}"
            );
        };
        check("https://chat.example", &["https://chat.example"], 101);
        check(
            "https://Chat.example",
            &["https://other.example", "https://chat.example"],
            101,
        );
        check("", &["https://chat.example"], 101);
        check("null", &["https://chat.example"], 403);
        check("http://chat.example", &["https://chat.example"], 403);
        check("https://chat.example.evil", &["https://chat.example"], 403);
    }
}
