//! The headers of streams between servers (RFC 6120 section 4.7).

use std::borrow::Cow;

use stanza::{StreamError, ns};
use xmlstream::Header;

use crate::header::{fault, is_language, major};

/// What the header of another server says, as far as it matters.
pub(crate) struct Opening {
    /// Our domain, prepared; None where it named none, or what can be none.
    pub(crate) to: Option<Box<str>>,
    /// Its own. It may be absent (section 4.7.1).
    pub(crate) from: Option<Box<str>>,
    pub(crate) lang: Option<Box<str>>,
    /// What is wrong with it, to be said after our own header.
    pub(crate) fault: Option<StreamError>,
}

impl Opening {
    /// Of a stream that another server opens.
    pub(crate) fn read(header: &Header<'_>) -> Opening {
        let from = header.attr("from");
        let says_from = from.is_some();
        let mut opening = Opening {
            to: header.attr("to").and_then(domain),
            from: from.and_then(domain),
            lang: lang(header),
            fault: fault(header, ns::SERVER),
        };
        // Section 4.7.5: whoever has no version speaks what came before XMPP 1.0, without TLS.
        if opening.fault.is_none() && !matches!(header.attr("version").as_deref().map(major), Some(Some(1..))) {
            opening.fault = Some(StreamError::unsupported_version());
        }
        if opening.fault.is_none() && says_from && opening.from.is_none() {
            opening.fault = Some(StreamError::invalid_from());
        }
        opening
    }
}

/// The prepared domain of an attribute that must be one.
pub(super) fn domain(text: Cow<'_, str>) -> Option<Box<str>> {
    stanza::prepare_domain(&text).ok().map(|domain| domain.as_ref().into())
}

pub(super) fn lang(header: &Header<'_>) -> Option<Box<str>> {
    let lang = header.lang().filter(|lang| is_language(lang))?;
    Some(lang.as_ref().into())
}

/// What the answer to our header says, where it can be gone on with. Its prefixes are the peer's affair (section 9.2.1
/// has some without).
pub(super) struct Answer {
    pub(super) id: Option<Box<str>>,
    pub(super) lang: Option<Box<str>>,
    /// It declares the namespace of dialback, and so knows what that is (XEP-0220 section 2.3).
    pub(super) knows_dialback: bool,
}

impl Answer {
    pub(super) fn read(header: &Header<'_>) -> Result<Answer, StreamError> {
        if header.ns() != ns::STREAM {
            return Err(StreamError::invalid_namespace());
        }
        if header.name() != "stream" {
            return Err(StreamError::bad_format());
        }
        if !matches!(header.default_ns(), Some(ns::SERVER | ns::STREAM)) {
            return Err(StreamError::invalid_namespace());
        }
        if !matches!(header.attr("version").as_deref().map(major), Some(Some(1..))) {
            return Err(StreamError::unsupported_version());
        }
        Ok(Answer {
            id: header.attr("id").map(|id| id.as_ref().into()),
            lang: lang(header),
            knows_dialback: header.source().contains(ns::DIALBACK),
        })
    }
}

/// Writes our header: `id` where it answers another. The prefix of dialback is there for whoever asks to have a key
/// verified, which is answered whatever we take ourselves.
pub(super) fn write(out: &mut Vec<u8>, from: &str, to: Option<&str>, id: Option<&str>) {
    let (server, dialback, stream) = (ns::SERVER, ns::DIALBACK, ns::STREAM);
    out.extend_from_slice(
        format!("<?xml version='1.0'?><stream:stream xmlns='{server}' xmlns:stream='{stream}' xmlns:db='{dialback}'")
            .as_bytes(),
    );
    for (name, value) in [("id", id), ("from", Some(from)), ("to", to)] {
        if let Some(value) = value {
            out.extend_from_slice(format!(" {name}='").as_bytes());
            xmlstream::escape_attr(out, value);
            out.push(b'\'');
        }
    }
    out.extend_from_slice(b" version='1.0' xml:lang='en'>");
}
