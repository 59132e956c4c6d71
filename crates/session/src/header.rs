//! The stream header (RFC 6120 section 4.7), read and answered.

use std::borrow::Cow;

use stanza::{Jid, StreamError, ns};
use xmlstream::{Element, Header};

/// What a client's stream header says, as far as it matters.
pub(crate) struct Opening {
    /// The domain it wants to talk to, prepared; None where it named none.
    pub(crate) to: Option<String>,
    /// The bare JID that it gave for itself.
    pub(crate) from: Option<Jid>,
    pub(crate) lang: Option<String>,
    /// What is wrong with it, to be said after our own header.
    pub(crate) fault: Option<StreamError>,
}

impl Opening {
    pub(crate) fn read(header: &Header<'_>) -> Opening {
        Opening::of(fault(header, ns::CLIENT), header.lang(), |name| header.attr(name))
    }

    /// What a component's header says: the domain it wants to speak for (XEP-0114 section 3). It has no version.
    pub(crate) fn read_component(header: &Header<'_>) -> Opening {
        let to = header.attr("to");
        Opening {
            to: to.and_then(|to| stanza::prepare_domain(&to).ok().map(Cow::into_owned)),
            from: None,
            lang: None,
            fault: fault(header, ns::COMPONENT),
        }
    }

    /// The same as a frame of its own (RFC 7395 section 3.3.1): "The attributes of the <open/> element are the same".
    pub(crate) fn read_open(open: &Element<'_>) -> Opening {
        let fault = match (open.ns(), open.name()) {
            (ns::FRAMING, "open") => None,
            // Section 3.3.2.
            (ns::FRAMING, _) => Some(StreamError::bad_format()),
            _ => Some(StreamError::invalid_namespace()),
        };
        Opening::of(fault, open.lang(), |name| open.attr(name))
    }

    fn of<'a>(
        fault: Option<StreamError>,
        lang: Option<Cow<'a, str>>,
        attr: impl Fn(&str) -> Option<Cow<'a, str>>,
    ) -> Opening {
        let to = attr("to");
        let names_domain = to.is_some();
        let to = to.and_then(|to| stanza::prepare_domain(&to).ok().map(|to| to.into_owned()));
        let from = attr("from")
            .and_then(|from| Jid::parse(&from).ok())
            .map(|from| from.to_bare());
        let lang = lang.map(|lang| lang.into_owned()).filter(|lang| is_language(lang));
        let fault = fault.or_else(|| match attr("version").as_deref().map(major) {
            // Section 4.7.5: major versions are numbers; a client without one speaks what came before
            // XMPP 1.0, without TLS and SASL.
            Some(Some(1..)) if !names_domain => Some(StreamError::improper_addressing()),
            Some(Some(1..)) if to.is_none() => Some(StreamError::host_unknown()),
            Some(Some(1..)) => None,
            _ => Some(StreamError::unsupported_version()),
        });
        Opening { to, from, lang, fault }
    }
}

/// `content`: the namespace of what follows.
pub(crate) fn fault(header: &Header<'_>, content: &str) -> Option<StreamError> {
    // Section 4.9.3.1 and 4.9.3.10: the element and its namespace, then the content namespace.
    if header.ns() != ns::STREAM {
        return Some(StreamError::invalid_namespace());
    }
    if header.name() != "stream" {
        return Some(StreamError::bad_format());
    }
    // Section 4.8.5: the prefix is 'stream' for interoperability.
    if header.prefix() != "stream" {
        return Some(StreamError::bad_namespace_prefix());
    }
    if header.default_ns() != Some(content) {
        return Some(StreamError::invalid_namespace());
    }
    None
}

pub(crate) fn major(version: &str) -> Option<u32> {
    let (major, minor) = version.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(major) || !digits(minor) {
        return None;
    }
    // A number too large for us is larger than 1.
    Some(major.parse().unwrap_or(u32::MAX))
}

/// An identifier that may stand in `xml:lang`: letters, digits and hyphens (RFC 5646), not long.
pub(crate) fn is_language(lang: &str) -> bool {
    (1..=35).contains(&lang.len()) && lang.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Writes our header (sections 4.7.1 to 4.7.5). Ours is always English, since our texts are.
pub(crate) fn write(out: &mut Vec<u8>, domain: &str, id: &str, to: Option<&Jid>) {
    out.extend_from_slice(b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='");
    out.extend_from_slice(ns::STREAM.as_bytes());
    out.extend_from_slice(b"' id='");
    xmlstream::escape_attr(out, id);
    out.extend_from_slice(b"' from='");
    xmlstream::escape_attr(out, domain);
    if let Some(to) = to {
        out.extend_from_slice(b"' to='");
        xmlstream::escape_attr(out, to.as_str());
    }
    out.extend_from_slice(b"' version='1.0' xml:lang='en'>");
}

/// Writes our header to a component (XEP-0114 section 3).
pub(crate) fn write_to_component(out: &mut Vec<u8>, domain: &str, id: &str) {
    let content = ns::COMPONENT;
    out.extend_from_slice(format!("<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='").as_bytes());
    out.extend_from_slice(ns::STREAM.as_bytes());
    out.extend_from_slice(b"' id='");
    xmlstream::escape_attr(out, id);
    out.extend_from_slice(b"' from='");
    xmlstream::escape_attr(out, domain);
    out.extend_from_slice(b"'>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let cases = [
            ("1.0", Some(1)),
            ("2.13", Some(2)),
            ("01.0", Some(1)),
            ("0.9", Some(0)),
            ("99999999999.0", Some(u32::MAX)),
            ("1", None),
            ("one.0", None),
            ("-1.0", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(major(text), expected, "{text}");
        }
    }

    #[test]
    fn languages() {
        for (text, expected) in [("en", true), ("de-CH", true), ("", false), ("x'y", false), ("<", false)] {
            assert_eq!(is_language(text), expected, "{text}");
        }
    }
}
