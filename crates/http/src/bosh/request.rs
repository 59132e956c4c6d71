//! What a request says: its `<body/>`, read by the parser that reads streams.

use stanza::ns;
use xmlstream::{Element, Event, Framer, Limits, Scratch, XmlError, parse_document};

use super::{HTTP_BIND, XBOSH};

/// The largest request id (XEP-0124 section 14.1).
const MOST_RID: u64 = (1 << 53) - 1;
/// Elements and namespaces that a request may have, in stanzas as large as one may be. Its bytes are limited before,
/// and each stanza again by the stream.
const STANZAS: usize = 16;

/// A request of whatever kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Request {
    /// None: a new session is wanted.
    pub(super) sid: Option<String>,
    pub(super) rid: u64,
    pub(super) to: Option<String>,
    pub(super) from: Option<String>,
    pub(super) lang: Option<String>,
    pub(super) version: Option<String>,
    /// Major and minor version of BOSH; None: a client from before there were versions.
    pub(super) ver: Option<(u32, u32)>,
    pub(super) wait: Option<u64>,
    pub(super) hold: Option<u64>,
    pub(super) content: Option<String>,
    pub(super) ack: Option<u64>,
    pub(super) pause: Option<u64>,
    pub(super) key: Option<String>,
    pub(super) new_key: Option<String>,
    pub(super) terminates: bool,
    pub(super) restarts: bool,
    /// Its elements, as they stand in a stream.
    pub(super) payload: String,
}

impl Request {
    /// It asks for nothing but a response (section 12).
    pub(super) fn is_poll(&self) -> bool {
        self.payload.is_empty() && !self.terminates && !self.restarts && self.pause.is_none()
    }
}

/// Why a request is refused, and of which session it is, if that could be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) sid: Option<String>,
    pub(super) is_limit: bool,
}

/// Reads the body of an HTTP request. `limits`: those of one stanza.
pub(super) fn read(bytes: &[u8], scratch: &mut Scratch, limits: &Limits) -> Result<Request, Fault> {
    let stanza = limits;
    let wrong = |error: XmlError, scratch: &mut Scratch| Fault {
        sid: session_of(bytes, scratch, stanza),
        is_limit: error.is_limit(),
    };
    let text = std::str::from_utf8(bytes).map_err(|_| wrong(XmlError::NotWellFormed, scratch))?;
    let limits = Limits {
        bytes: text.len(),
        elements: limits.elements.saturating_mul(STANZAS),
        namespaces: limits.namespaces.saturating_mul(STANZAS),
        depth: limits.depth + 1,
        ..*limits
    };
    let text = text.trim_start_matches([' ', '\t', '\r', '\n']);
    let body = match parse_document(text, scratch, &limits) {
        Ok(body) => body,
        Err(error) => return Err(wrong(error, scratch)),
    };
    let fault = |sid| Fault { sid, is_limit: false };
    if !body.is("body", HTTP_BIND) {
        return Err(fault(None));
    }
    of(&body).ok_or_else(|| fault(body.attr("sid").map(|sid| sid.into_owned())))
}

/// Whose request this is the beginning of, also where the rest is missing, too long or no XML: its start tag has to be
/// whole. Who does not know the id of a session ends none by it.
pub(super) fn session_of(bytes: &[u8], scratch: &mut Scratch, limits: &Limits) -> Option<String> {
    if let Ok(step) = Framer::new().next(bytes, scratch, limits)
        && let Event::Header(header) = step.event
    {
        let sid = header
            .attr("sid")
            .filter(|_| header.name() == "body" && header.ns() == HTTP_BIND);
        return sid.map(|sid| sid.into_owned());
    }
    // An empty element, with something behind it.
    let mut framer = Framer::new();
    framer.next(b"<body>", scratch, limits).ok()?;
    match framer.next(bytes, scratch, limits).ok()?.event {
        Event::Element(body) if body.is("body", HTTP_BIND) => body.attr("sid").map(|sid| sid.into_owned()),
        _ => None,
    }
}

fn of(body: &Element<'_>) -> Option<Request> {
    let text = |name: &str| body.attr(name).map(|value| value.into_owned());
    let number = |name: &str| match body.attr(name) {
        None => Some(None),
        Some(value) => number(&value).map(Some),
    };
    let own = |name: &str| {
        let mut found = body.attrs().filter(|attr| attr.local() == name && attr.ns() == XBOSH);
        found.next().map(|attr| attr.value().into_owned())
    };
    // Section 6: "MUST NOT contain any XML character data".
    if !body.text().trim_ascii().is_empty() {
        return None;
    }
    let mut request = Request {
        sid: text("sid"),
        rid: number("rid")??,
        to: text("to"),
        from: text("from"),
        lang: body.lang().map(|lang| lang.into_owned()),
        version: own("version"),
        ver: match body.attr("ver") {
            None => None,
            Some(ver) => Some(version(&ver)?),
        },
        wait: number("wait")?,
        hold: number("hold")?,
        content: text("content"),
        ack: number("ack")?,
        pause: number("pause")?,
        key: text("key"),
        new_key: text("newkey"),
        terminates: match body.attr("type").as_deref() {
            None => false,
            Some("terminate") => true,
            Some(_) => return None,
        },
        restarts: matches!(own("restart").as_deref(), Some("true" | "1")),
        payload: String::new(),
    };
    if request.rid == 0 || request.rid > MOST_RID {
        return None;
    }
    for child in body.children() {
        // COMPAT: XEP-0206 section 2: many clients write no namespace, and mean that of a stream's stanzas. So what
        // is in ours is written as if ours were the default around it, and stands in the stream's.
        let around = if child.ns() == HTTP_BIND { HTTP_BIND } else { ns::CLIENT };
        child.write_canonical(around, &mut request.payload);
    }
    Some(request)
}

fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

fn version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    let part = |text| number(text).and_then(|part| u32::try_from(part).ok());
    Some((part(major)?, part(minor)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Request, Fault> {
        read(text.as_bytes(), &mut Scratch::default(), &Limits::default())
    }

    /// The example of XEP-0206 section 3.
    #[test]
    fn a_session_is_wanted() {
        let request = read_text(
            "<body content='text/xml; charset=utf-8' from='user@example.com' hold='1' rid='1573741820' to='example.com' \
             route='xmpp:example.com:9999' ver='1.6' wait='60' ack='1' xml:lang='en' xmpp:version='1.0' \
             xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'/>",
        );
        let own = |text: &str| Some(text.to_owned());
        let expected = Request {
            rid: 1_573_741_820,
            to: own("example.com"),
            from: own("user@example.com"),
            lang: own("en"),
            version: own("1.0"),
            ver: Some((1, 6)),
            wait: Some(60),
            hold: Some(1),
            content: own("text/xml; charset=utf-8"),
            ack: Some(1),
            ..Request::default()
        };
        assert_eq!(request, Ok(expected));
    }

    /// What stands in a body stands in a stream, with the same meaning.
    #[test]
    fn payloads() {
        let check = |inner: &str, expected: &str| {
            let text = format!(
                "<body rid='1' sid='s' xmlns='{HTTP_BIND}' xmlns:p='urn:p' xmlns:s='http://etherx.jabber.org/streams'>{inner}</body>"
            );
            let payload = read_text(&text).map(|request| request.payload);
            assert_eq!(payload.as_deref(), Ok(expected), "{inner}");
        };
        check(" \n", "");
        check(
            "<message xmlns='jabber:client' to='a'><body>&lt;</body></message> <iq xmlns='jabber:client'/>",
            "<message to='a'><body>&lt;</body></message><iq/>",
        );
        check(
            "<message><body/><x xmlns='urn:x'><y/></x></message>",
            "<message><body/><x xmlns='urn:x'><y/></x></message>",
        );
        check(
            "<p:a p:b='c'><p:d/></p:a>",
            "<a xmlns='urn:p' xmlns:p='urn:p' p:b='c'><d/></a>",
        );
        check("<auth xmlns='urn:s'>x</auth>", "<auth xmlns='urn:s'>x</auth>");
    }

    #[test]
    fn bad_requests() {
        let check = |text: &str, sid: Option<&str>| {
            let fault = read_text(text).expect_err(text);
            assert_eq!(fault.sid.as_deref(), sid, "{text}");
            assert!(!fault.is_limit, "{text}");
        };
        for text in [
            "",
            "text",
            "<body",
            "<body rid='1' sid='s'/>",
            "<body rid='1' sid='s' xmlns='jabber:client'/>",
            "<b rid='1' sid='s' xmlns='http://jabber.org/protocol/httpbind'/>",
            "<body rid='1' sid='s' sid='t' xmlns='http://jabber.org/protocol/httpbind'>",
            "<body rid='1' sid='s' xmlns='http://jabber.org/protocol/httpbind",
            "<a><body rid='1' sid='s' xmlns='http://jabber.org/protocol/httpbind'/>",
            "<!DOCTYPE body><body rid='1' sid='s' xmlns='http://jabber.org/protocol/httpbind'/>",
        ] {
            check(text, None);
        }
        // Its beginning tells whose it is.
        for rest in [
            "/><body/>",
            "/>text",
            "><!-- c --></body>",
            "><message></body>",
            "><a>",
            ">",
            "></body",
            "></bod>",
            ">&#0;</body>",
            "><p:a/></body>",
        ] {
            check(&format!("<body xmlns='{HTTP_BIND}' rid='1' sid='s'{rest}"), Some("s"));
        }
        let not_utf8 = [
            format!("<body xmlns='{HTTP_BIND}' rid='1' sid='s'>").as_bytes(),
            b"\xff</body>",
        ]
        .concat();
        let fault = read(&not_utf8, &mut Scratch::default(), &Limits::default()).expect_err("no text");
        assert_eq!(fault.sid.as_deref(), Some("s"));
        for rest in [
            "/>",
            " rid=''/>",
            " rid='0'/>",
            " rid='-1'/>",
            " rid='9007199254740992'/>",
            " rid='1' wait='long'/>",
            " rid='1' ver='1'/>",
            " rid='1' type='error'/>",
            " rid='1'>text</body>",
        ] {
            check(&format!("<body xmlns='{HTTP_BIND}' sid='s'{rest}"), Some("s"));
        }
        let deep = format!(
            "<body rid='1' sid='s' xmlns='{HTTP_BIND}'>{}{}</body>",
            "<a>".repeat(65),
            "</a>".repeat(65)
        );
        assert_eq!(
            read_text(&deep),
            Err(Fault {
                sid: Some("s".to_owned()),
                is_limit: true
            })
        );
    }
}
