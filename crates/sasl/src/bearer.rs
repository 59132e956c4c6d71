//! The messages of OAUTHBEARER (RFC 7628).

use std::fmt;

use zeroize::Zeroizing;

use crate::message::{Flag, Malformed, gs2_header};
use crate::step::BearerHint;

/// `kvsep`. Alone it is the client's answer to an error (section 3.2.3).
pub(crate) const SEPARATOR: &[u8] = b"\x01";
/// The most key/value pairs in a message.
const MAX_PAIRS: usize = 16;

/// A token that somebody has to be asked about.
#[derive(Clone, PartialEq, Eq)]
pub struct Bearer {
    /// As it would stand behind `Authorization: Bearer`. As good as a password until it expires.
    pub token: Zeroizing<String>,
    pub authzid: Option<String>,
    /// Where the client thinks it connected to. What is known otherwise has to be the same (section 3.2).
    pub host: Option<String>,
    pub port: Option<u16>,
}

impl fmt::Debug for Bearer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Bearer")
            .field("authzid", &self.authzid)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// What the first message of a client is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    Token(Bearer),
    /// Well-formed, and without a token that could be good: the client asks what it needs (section 4.3), or has another
    /// kind of authorization.
    NoToken,
}

/// Reads `client-resp` (section 3.1): `gs2-header kvsep *kvpair kvsep`. Unknown keys are passed over; one that is there
/// twice is not, as nothing tells which one is meant.
pub(crate) fn parse(data: &[u8]) -> Result<Opening, Malformed> {
    let text = std::str::from_utf8(data).map_err(|_| Malformed)?;
    let (flag, authzid, rest) = gs2_header(text)?;
    // There is no -PLUS of this, so nothing is bound.
    if matches!(flag, Flag::Type(_)) {
        return Err(Malformed);
    }
    let pairs = rest.strip_prefix('\x01').ok_or(Malformed)?;
    let pairs = pairs.strip_suffix('\x01').ok_or(Malformed)?;
    // Each pair brings its own separator.
    let pairs = match pairs {
        "" => "",
        _ => pairs.strip_suffix('\x01').ok_or(Malformed)?,
    };

    let mut keys: Vec<&str> = Vec::new();
    let (mut auth, mut host, mut port) = (None, None, None);
    for pair in pairs.split('\x01').filter(|_| !pairs.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(Malformed)?;
        let is_key = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphabetic());
        if !is_key || !value.bytes().all(is_value) || keys.contains(&key) || keys.len() == MAX_PAIRS {
            return Err(Malformed);
        }
        keys.push(key);
        match key {
            "auth" => auth = Some(value),
            "host" => host = Some(value.to_owned()),
            "port" => port = Some(port_number(value)?),
            _ => {}
        }
    }
    let authorization = auth.ok_or(Malformed)?;
    Ok(match bearer(authorization) {
        None => Opening::NoToken,
        Some(token) => Opening::Token(Bearer {
            token: Zeroizing::new(token.to_owned()),
            authzid: authzid.map(|authzid| authzid.into_owned()),
            host,
            port,
        }),
    })
}

/// `*(VCHAR / SP / HTAB / CR / LF)`.
fn is_value(byte: u8) -> bool {
    byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// A decimal positive integer without leading zeros.
fn port_number(text: &str) -> Result<u16, Malformed> {
    if text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Malformed);
    }
    text.parse().map_err(|_| Malformed)
}

/// The token of `Bearer <b64token>` (RFC 6750 section 2.1). The name of the scheme has no case, as in HTTP.
fn bearer(authorization: &str) -> Option<&str> {
    let (scheme, token) = authorization.split_once(' ')?;
    let token = token.trim_start_matches(' ');
    let body = token.trim_end_matches('=');
    let sound = scheme.eq_ignore_ascii_case("Bearer")
        && !body.is_empty()
        && body
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte));
    sound.then_some(token)
}

/// The error result (section 3.2.2). `status` is one of RFC 6750 section 3.1.
pub(crate) fn error(status: &str, hint: &BearerHint) -> Vec<u8> {
    let mut json = format!("{{\"status\":{}", quoted(status));
    let optional = [
        ("scope", &hint.scope),
        ("openid-configuration", &hint.openid_configuration),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            json.push_str(&format!(",\"{name}\":{}", quoted(value)));
        }
    }
    json.push('}');
    json.into_bytes()
}

/// A JSON string (RFC 8259 section 7).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for char in text.chars() {
        match char {
            '"' | '\\' => {
                out.push('\\');
                out.push(char);
            }
            control if control < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(control))),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}
