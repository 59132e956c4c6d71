//! SASL2 (XEP-0388): one request logs in and says what the session shall be, one answer tells what became of it.
//!
//! The exchange itself is that of [`crate::login`]; here is what stands around it: what the client asks for besides,
//! and how it is told. Resumption goes first, then Bind 2 (XEP-0386 section 3.2).

use accounts::tokens::Agent;
use auth::{Hash, Mechanism, Offer};
use module::Now;
use router::{EnableRequest, Established, Inline, Issued, STREAM_ID_BYTES};
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
    /// `<user-agent/>` (section 2.3). The id is a UUID, or there is none.
    pub(crate) agent: Agent,
    /// It logs in with a token (XEP-0484 section 3.4).
    pub(crate) fast: Option<Fast>,
    /// It wants a token for this mechanism (XEP-0484 section 3.2).
    pub(crate) token: Option<Mechanism>,
    pub(crate) resume: Option<Resume>,
    pub(crate) bind: Option<Bind>,
    /// The verifiers that it would make (XEP-0480 section 2.2), each once.
    pub(crate) upgrades: Vec<Hash>,
}

/// `<fast/>` of XEP-0484.
#[derive(Clone)]
pub(crate) struct Fast {
    pub(crate) count: Option<Box<str>>,
    /// The token is void after this (section 3.6).
    pub(crate) invalidate: bool,
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
                    let id = child.attr("id").filter(|id| is_uuid(id));
                    let text = |name| child.child(name, ns::SASL2).map(|child| child.text());
                    let (software, device) = (text("software"), text("device"));
                    wanted.agent = Agent::new(id.as_deref(), software.as_deref(), device.as_deref());
                }
                (ns::FAST, "fast") => wanted.fast = Some(Fast::read(&child)),
                (ns::FAST, "request-token") => {
                    let mechanism = child.attr("mechanism").and_then(|name| Mechanism::from_name(&name));
                    wanted.token = mechanism.filter(|mechanism| mechanism.is_token());
                }
                (ns::SM, "resume") => wanted.resume = Some(Resume::read(&child)),
                (ns::BIND2, "bind") => wanted.bind = Some(Bind::read(&child, cx)),
                (ns::SASL_UPGRADE, "upgrade") => {
                    let hash = Hash::of_task(child.text().trim());
                    wanted
                        .upgrades
                        .extend(hash.filter(|hash| !wanted.upgrades.contains(hash)));
                }
                // What nobody here knows is not asked of us (section 2.3).
                _ => {}
            }
        }
        wanted
    }
}

impl Fast {
    fn read(fast: &Child<'_>) -> Fast {
        Fast {
            count: fast.attr("count").map(|count| (*count).into()),
            invalidate: fast
                .attr("invalidate")
                .is_some_and(|invalidate| matches!(&*invalidate, "true" | "1")),
        }
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
        let made = match client {
            Some(client) => client_id(account, client, secret),
            None => {
                let mut made = [0; MADE_BYTES];
                cx.shell.random(&mut made);
                hex(&made)
            }
        };
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

/// The id of a client, which tells nothing of the one that it gives for itself (`agent`). Its resources end with it, so
/// it is known which sessions are the client's ([`accounts::tokens::is_session_of`]).
pub(crate) fn client_id(account: &Jid, agent: &str, secret: &[u8; 32]) -> String {
    let text = ["resource", account.as_str(), agent].join("\0");
    hex(&Hash::Sha256.hmac(secret, text.as_bytes())[..MADE_BYTES])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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

/// The stream feature of section 2.1, with what may be asked inline. Nothing where there is no mechanism.
pub(crate) fn feature(offer: &Offer, bind_features: &[&str]) -> String {
    if offer.mechanisms.is_empty() {
        return String::new();
    }
    let mut out = format!("<authentication xmlns='{}'>", ns::SASL2);
    for mechanism in &offer.mechanisms {
        out.push_str(&format!("<mechanism>{}</mechanism>", mechanism.name()));
    }
    out.push_str(&format!(
        "<inline><sm xmlns='{}'/><bind xmlns='{}'><inline>",
        ns::SM,
        ns::BIND2
    ));
    for var in bind_features {
        out.push_str(&format!("<feature var='{var}'/>"));
    }
    out.push_str("</inline></bind>");
    if !offer.tokens.is_empty() {
        out.push_str(&format!("<fast xmlns='{}'>", ns::FAST));
        for mechanism in &offer.tokens {
            out.push_str(&format!("<mechanism>{}</mechanism>", mechanism.name()));
        }
        out.push_str("</fast>");
    }
    out.push_str("</inline>");
    // XEP-0480 section 2.1. What an account lacks is not told to who has not logged in.
    for task in auth::upgrade_tasks(offer).into_iter().filter_map(Hash::task) {
        out.push_str(&format!("<upgrade xmlns='{}'>{task}</upgrade>", ns::SASL_UPGRADE));
    }
    out.push_str("</authentication>");
    out
}

/// `<token/>` (XEP-0484 section 3.3).
pub(crate) fn token(issued: &Issued) -> String {
    let (expiry, token) = (Now(issued.expires.saturating_mul(1_000)).stamp(), issued.secret.text());
    // Made by the server, of characters that need no escape.
    format!("<token xmlns='{}' expiry='{expiry}' token='{token}'/>", ns::FAST)
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
