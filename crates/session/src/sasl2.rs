//! SASL2 (XEP-0388): one request logs in and says what the session shall be, one answer tells what became of it.
//!
//! The exchange itself is that of [`crate::login`]; here is what stands around it: what the client asks for besides,
//! and how it is told. Resumption goes first, then Bind 2 (XEP-0386 section 3.2).

use auth::Hash;
use router::{EnableRequest, Established, Inline, STREAM_ID_BYTES};
use stanza::{Jid, ns};
use xmlstream::{Child, Element};

use crate::core::{Context, Shell};

/// The longest tag that becomes part of a resource, in bytes: "a short text string" (XEP-0386 section 3.2).
const TAG_BYTES: usize = 128;
/// Bytes of the part of a resource that the server makes.
const MADE_BYTES: usize = 8;
/// Elements of other extensions that one `<bind/>` may have.
const BIND_REQUESTS: usize = 16;

/// What `<authenticate/>` asks for besides the login.
#[derive(Default)]
pub(crate) struct Wanted {
    /// `<user-agent/>`'s id, a UUID (section 2.3).
    pub(crate) client: Option<Box<str>>,
    pub(crate) resume: Option<Resume>,
    pub(crate) bind: Option<Bind>,
}

/// `<resume/>` of XEP-0198.
pub(crate) struct Resume {
    /// None: it is not what section 5 says.
    pub(crate) stream: Option<(Box<str>, u32)>,
}

/// `<bind/>` of XEP-0386.
pub(crate) struct Bind {
    tag: Option<String>,
    inline: Inline,
}

impl Wanted {
    pub(crate) fn read(authenticate: &Element<'_>, cx: &mut Context<'_>) -> Wanted {
        let mut wanted = Wanted::default();
        for child in authenticate.children() {
            match (child.ns(), child.name()) {
                (ns::SASL2, "user-agent") => {
                    wanted.client = child.attr("id").filter(|id| is_uuid(id)).map(|id| (*id).into());
                }
                (ns::SM, "resume") => wanted.resume = Some(Resume::read(&child)),
                (ns::BIND2, "bind") => wanted.bind = Some(Bind::read(&child, cx)),
                // What nobody here knows is not asked of us (section 2.3).
                _ => {}
            }
        }
        wanted
    }
}

impl Resume {
    fn read(resume: &Child<'_>) -> Resume {
        let h = resume.attr("h").and_then(|h| h.parse().ok());
        Resume {
            stream: resume.attr("previd").zip(h).map(|(previd, h)| ((*previd).into(), h)),
        }
    }
}

impl Bind {
    fn read(bind: &Child<'_>, cx: &mut Context<'_>) -> Bind {
        let mut tag = None;
        let mut inline = Inline::default();
        for child in bind.children() {
            match (child.ns(), child.name()) {
                (ns::BIND2, "tag") => tag = prepared_tag(&child.text()),
                (ns::SM, "enable") => inline.enable = Some(enable_request(|name| child.attr(name), cx.shell)),
                (ns::CSI, "inactive") => inline.inactive = true,
                (ns::CSI, "active") => inline.inactive = false,
                (ns::BIND2, _) => {}
                _ if inline.requests.len() < BIND_REQUESTS => {
                    let mut request = String::new();
                    child.write_canonical(ns::CLIENT, &mut request);
                    inline.requests.push(request.into());
                }
                _ => {}
            }
        }
        Bind { tag, inline }
    }

    /// The resource, and the rest for the router. A client that names itself gets the same resource each time; what
    /// is shown of it tells nothing of its id.
    pub(crate) fn into_request(
        mut self,
        account: &Jid,
        client: Option<&str>,
        secret: &[u8; 32],
        cx: &mut Context<'_>,
    ) -> (String, Inline) {
        let mut made = [0; MADE_BYTES];
        match client {
            Some(client) => {
                let text = ["resource", account.as_str(), client].join("\0");
                let mac = Hash::Sha256.hmac(secret, text.as_bytes());
                made.copy_from_slice(&mac[..MADE_BYTES]);
            }
            None => cx.shell.random(&mut made),
        }
        let made: String = made.iter().map(|byte| format!("{byte:02x}")).collect();
        if client.is_some() {
            self.inline.client = Some(made.as_str().into());
        }
        let resource = match self.tag {
            Some(tag) => format!("{tag}/{made}"),
            None => made,
        };
        (resource, self.inline)
    }
}

/// `<enable/>` of XEP-0198 section 3, wherever it stands.
pub(crate) fn enable_request<'a>(
    attr: impl Fn(&str) -> Option<std::borrow::Cow<'a, str>>,
    shell: &mut dyn Shell,
) -> EnableRequest {
    let mut request = EnableRequest {
        resume: attr("resume").is_some_and(|resume| matches!(&*resume, "true" | "1")),
        max: attr("max").and_then(|max| max.parse().ok()),
        random: [0; STREAM_ID_BYTES],
    };
    shell.random(&mut request.random);
    request
}

/// The tag as it may stand in a resource; none if it cannot.
fn prepared_tag(tag: &str) -> Option<String> {
    let tag = tag.trim();
    if tag.is_empty() || tag.len() > TAG_BYTES {
        return None;
    }
    stanza::prepare_resource(tag).ok().map(|tag| tag.into_owned())
}

/// Section 2.3 wants version 4, and no client is turned away for another.
fn is_uuid(text: &str) -> bool {
    let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| {
            if dash(at) {
                byte == b'-'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}

/// The stream feature of section 2.1, with what may be asked inline.
pub(crate) fn offer(mechanisms: &[&str], bind_features: &[&str]) -> String {
    let mut out = format!("<authentication xmlns='{}'>", ns::SASL2);
    for mechanism in mechanisms {
        out.push_str(&format!("<mechanism>{mechanism}</mechanism>"));
    }
    out.push_str(&format!(
        "<inline><sm xmlns='{}'/><bind xmlns='{}'><inline>",
        ns::SM,
        ns::BIND2
    ));
    for var in bind_features {
        out.push_str(&format!("<feature var='{var}'/>"));
    }
    out.push_str("</inline></bind></inline></authentication>");
    out
}

/// `<success/>` (section 2.6.1). `jid`: the full JID where a resource is bound.
pub(crate) fn success(jid: &Jid, data: Option<&[u8]>, inline: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("<success xmlns='{}'>", ns::SASL2).as_bytes());
    if let Some(data) = data {
        // No SASL mechanism says nothing here, so "=" for what is empty never comes up.
        out.extend_from_slice(format!("<additional-data>{}</additional-data>", auth::encode(data)).as_bytes());
    }
    out.extend_from_slice(b"<authorization-identifier>");
    xmlstream::escape_text(out, jid.as_str());
    out.extend_from_slice(b"</authorization-identifier>");
    out.extend_from_slice(inline.as_bytes());
    out.extend_from_slice(b"</success>");
}

/// `<failure/>` (section 2.6.2), with a condition of RFC 6120.
pub(crate) fn failure(failure: auth::Failure, out: &mut Vec<u8>) {
    let text = format!(
        "<failure xmlns='{}'><{} xmlns='{}'/></failure>",
        ns::SASL2,
        failure.name(),
        ns::SASL
    );
    out.extend_from_slice(text.as_bytes());
}

/// `<bound/>` (XEP-0386 section 3.2).
pub(crate) fn bound(established: &Established) -> String {
    format!("<bound xmlns='{}'>{}</bound>", ns::BIND2, established.told)
}

/// Base 64 of an element: where there is an element, there is data (section 2.2).
pub(crate) fn data(text: &str) -> Result<Vec<u8>, auth::Failure> {
    match text.trim() {
        "" => Ok(Vec::new()),
        // That is how the classic profile writes it.
        "=" => Err(auth::Failure::IncorrectEncoding),
        text => auth::decode(text).map(Option::unwrap_or_default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_clients() {
        for (id, expected) in [
            ("d4565fa7-4d72-4749-b3d3-740edbf87770", true),
            ("D4565FA7-4D72-4749-B3D3-740EDBF87770", true),
            ("d4565fa74d724749b3d3740edbf87770", false),
            ("d4565fa7-4d72-4749-b3d3-740edbf8777g", false),
            ("d4565fa7-4d72-4749-b3d3-740edbf877700", false),
            ("", false),
        ] {
            assert_eq!(is_uuid(id), expected, "{id}");
        }
    }

    #[test]
    fn tags() {
        assert_eq!(prepared_tag(" Awesome XMPP \n"), Some("Awesome XMPP".to_owned()));
        assert_eq!(prepared_tag(""), None);
        assert_eq!(prepared_tag("a\u{7}b"), None);
        assert_eq!(prepared_tag(&"a".repeat(TAG_BYTES)), Some("a".repeat(TAG_BYTES)));
        assert_eq!(prepared_tag(&"a".repeat(TAG_BYTES + 1)), None);
    }
}
