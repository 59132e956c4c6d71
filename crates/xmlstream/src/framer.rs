//! The stream's state: what its header declared, and how far the element now arriving has come.

use std::borrow::Cow;

use crate::canonical::canonicalise;
use crate::class::{SPACE, is};
use crate::element::{Element, Header};
use crate::frame::{Frame, Verdict};
use crate::index::{Index, KNOWN, KNOWN_NONE, Outer, STREAM_NS, Scratch, known};
use crate::limits::{Limits, XmlError};
use crate::prologue::{BOM, declaration, other_encoding};
use crate::scan::{Kind, Scanned, scan};

/// Bytes of root name, prefixes and namespaces that a stream header may leave behind in a [`Framer`].
const MAX_ROOT_BYTES: usize = 2048;

/// Turns the bytes of one stream into headers, elements and its close.
///
/// Has no heap of its own as long as the header is the usual one: root `stream:stream`, a well-known default
/// namespace, no further prefix.
#[derive(Default)]
pub struct Framer {
    root: Root,
    frame: Frame,
    phase: Phase,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// Nothing has come yet.
    #[default]
    Start,
    /// White space or a byte order mark has.
    Blank,
    /// The XML declaration has.
    Declared,
    Open,
    Closed,
}

#[derive(Default)]
enum Root {
    #[default]
    None,
    /// `<stream:stream xmlns=KNOWN[n] xmlns:stream='http://etherx.jabber.org/streams'>`
    Usual(u32),
    Other(Box<OtherRoot>),
}

type Prefixes = [(Cow<'static, str>, Cow<'static, str>)];

struct OtherRoot {
    name: Box<str>,
    default: Box<str>,
    prefixes: Box<Prefixes>,
}

static USUAL_PREFIXES: [(Cow<'static, str>, Cow<'static, str>); 1] =
    [(Cow::Borrowed("stream"), Cow::Borrowed(STREAM_NS))];
const USUAL_NAME: &str = "stream:stream";

impl Root {
    fn name(&self) -> &str {
        match self {
            Root::None | Root::Usual(_) => USUAL_NAME,
            Root::Other(other) => &other.name,
        }
    }

    fn outer(&self) -> Outer<'_> {
        match self {
            Root::None => Outer {
                default: "",
                known: Some(KNOWN_NONE),
                prefixes: &[],
            },
            Root::Usual(k) => Outer {
                default: KNOWN[*k as usize],
                known: Some(*k),
                prefixes: &USUAL_PREFIXES,
            },
            Root::Other(other) => Outer {
                default: &other.default,
                known: None,
                prefixes: &other.prefixes,
            },
        }
    }

    /// What the header just scanned declares.
    fn of(text: &str, index: &Index) -> Result<Root, XmlError> {
        let name = &text[index.head.name.all()];
        let mut default = "";
        let mut prefixes: Vec<(&str, &str)> = Vec::new();
        for b in &index.bindings {
            match &text[b.prefix.0 as usize..b.prefix.1 as usize] {
                "" => default = index.ns_str(b.ns, text),
                "xml" => {}
                prefix => prefixes.push((prefix, index.ns_str(b.ns, text))),
            }
        }
        if let (USUAL_NAME, Some(k), [("stream", STREAM_NS)]) = (name, known(default), &prefixes[..]) {
            return Ok(Root::Usual(k));
        }
        let bytes = name.len() + default.len() + prefixes.iter().map(|(p, ns)| p.len() + ns.len()).sum::<usize>();
        if bytes > MAX_ROOT_BYTES {
            return Err(XmlError::TooManyNamespaces);
        }
        let own = |(p, ns): (&str, &str)| (Cow::Owned(p.to_owned()), Cow::Owned(ns.to_owned()));
        let prefixes = prefixes.into_iter().map(own).collect();
        Ok(Root::Other(Box::new(OtherRoot {
            name: name.into(),
            default: default.into(),
            prefixes,
        })))
    }
}

/// One step through the input.
#[derive(Debug)]
pub struct Step<'a> {
    /// Bytes of the input that are done with, also with [`Event::Incomplete`] (white space, XML declaration).
    pub consumed: usize,
    pub event: Event<'a>,
}

#[derive(Debug)]
pub enum Event<'a> {
    /// Call again when there is more input. The unconsumed rest must come again, with more behind it.
    Incomplete,
    /// The stream header (RFC 6120 §4.7), whatever it is called.
    Header(Header<'a>),
    /// A first-level element.
    Element(Element<'a>),
    /// The end tag of the stream (§4.4). Only white space may follow.
    Close,
}

impl Framer {
    pub fn new() -> Framer {
        Framer::default()
    }

    /// Expect a new stream header, after STARTTLS or SASL (RFC 6120 §4.3.3). Bytes already read are the caller's.
    pub fn restart(&mut self) {
        *self = Framer::default();
    }

    /// Reads one header, element or end of stream. `input` is everything not yet consumed.
    /// After an error the framer must not be called again.
    pub fn next<'a>(
        &mut self,
        input: &'a [u8],
        scratch: &'a mut Scratch,
        limits: &Limits,
    ) -> Result<Step<'a>, XmlError> {
        let mut at = 0;
        if self.phase == Phase::Start && !input.is_empty() {
            if other_encoding(input) {
                return Err(XmlError::UnsupportedEncoding);
            }
            if input.len() < BOM.len() && BOM.starts_with(input) || input == b"<" {
                return Ok(Step {
                    consumed: 0,
                    event: Event::Incomplete,
                });
            }
            if input.starts_with(BOM) {
                at = BOM.len();
                self.phase = Phase::Blank;
            }
        }
        at += input[at..].iter().take_while(|&&c| is(c, SPACE)).count();
        if at > 0 && self.phase == Phase::Start {
            self.phase = Phase::Blank;
        }
        if matches!(self.phase, Phase::Start | Phase::Blank) && input[at..].starts_with(b"<?") {
            match declaration(&input[at..])? {
                None => {
                    return Ok(Step {
                        consumed: at,
                        event: Event::Incomplete,
                    });
                }
                Some(length) => at += length,
            }
            self.phase = Phase::Declared;
            at += input[at..].iter().take_while(|&&c| is(c, SPACE)).count();
        }
        let rest = &input[at..];
        let Some((&first, more)) = rest.split_first() else {
            return Ok(Step {
                consumed: at,
                event: Event::Incomplete,
            });
        };
        if first != b'<' {
            return Err(match (self.phase, first) {
                // Control characters and bytes that begin no UTF-8 sequence are no text.
                (Phase::Open, 0x20..=0x7f | 0xc2..=0xf4) => XmlError::TextBetweenStanzas,
                _ => XmlError::NotWellFormed,
            });
        }
        let incomplete = Ok(Step {
            consumed: at,
            event: Event::Incomplete,
        });
        let kind = match (self.phase, more) {
            (_, []) => return incomplete,
            (Phase::Open, [b'!']) => return incomplete,
            (Phase::Open, [b'!', b'[', ..]) => return Err(XmlError::TextBetweenStanzas),
            (_, [b'!' | b'?', ..]) => return Err(XmlError::RestrictedXml),
            (Phase::Closed, _) => return Err(XmlError::NotWellFormed),
            (Phase::Open, [b'/', ..]) => {
                let Some(length) = close_tag(rest, self.root.name(), limits)? else {
                    return incomplete;
                };
                self.phase = Phase::Closed;
                self.root = Root::None;
                return Ok(Step {
                    consumed: at + length,
                    event: Event::Close,
                });
            }
            (Phase::Open, _) => Kind::Element,
            _ => Kind::Header,
        };
        let Verdict::Check(otherwise) = self.frame.verdict(rest, kind, limits) else {
            return incomplete;
        };
        match scan(rest, kind, self.root.outer(), &mut scratch.index, limits)? {
            Scanned::Incomplete => match otherwise {
                Some(error) => Err(error),
                None => incomplete,
            },
            Scanned::Done { text, rewrite } => {
                self.frame = Frame::default();
                let consumed = at + text.len();
                let event = if kind == Kind::Header {
                    self.root = Root::of(text, &scratch.index)?;
                    self.phase = Phase::Open;
                    Event::Header(Header::new(text, &scratch.index))
                } else if rewrite {
                    Event::Element(rewritten(text, self.root.outer(), scratch, limits)?)
                } else {
                    Event::Element(Element::new(text, &scratch.index))
                };
                Ok(Step { consumed, event })
            }
        }
    }
}

/// The end tag of the stream that `rest` begins with: its length, or `None` if more is needed.
fn close_tag(rest: &[u8], name: &str, limits: &Limits) -> Result<Option<usize>, XmlError> {
    let tag = &rest[2..];
    let known = tag.len().min(name.len());
    if tag[..known] != name.as_bytes()[..known] {
        return Err(XmlError::NotWellFormed);
    }
    if known < name.len() {
        return Ok(None);
    }
    let space = tag[known..].iter().take_while(|&&c| is(c, SPACE)).count();
    let length = 2 + known + space;
    match rest.get(length) {
        _ if length > limits.bytes => Err(XmlError::TooLong),
        None => Ok(None),
        Some(b'>') => Ok(Some(length + 1)),
        Some(_) => Err(XmlError::NotWellFormed),
    }
}

/// Hands out an element that was scanned but does not stand on its own.
#[cold]
fn rewritten<'a>(
    text: &str,
    outer: Outer<'_>,
    scratch: &'a mut Scratch,
    limits: &Limits,
) -> Result<Element<'a>, XmlError> {
    canonicalise(text, outer, limits.bytes, &mut scratch.canonical)?;
    let alone = Outer { prefixes: &[], ..outer };
    // What the rewriting adds are declarations, as attributes, which the sender is not to be charged with.
    let name = limits.name.saturating_add("xmlns:".len());
    let limits = Limits {
        attributes: usize::MAX,
        namespaces: usize::MAX,
        name,
        ..*limits
    };
    match scan(
        scratch.canonical.as_bytes(),
        Kind::Element,
        alone,
        &mut scratch.index,
        &limits,
    )? {
        Scanned::Done { text, rewrite: false } if text.len() == scratch.canonical.len() => {
            Ok(Element::new(&scratch.canonical, &scratch.index))
        }
        _ => Err(XmlError::NotWellFormed),
    }
}

/// Reads one element that the server itself wrote or stored, or a WebSocket frame, by the same strict pass.
/// White space around it is allowed, nothing else is. `default_ns` is the default namespace it was written under.
pub fn parse_element<'a>(
    text: &'a str,
    default_ns: &str,
    scratch: &'a mut Scratch,
    limits: &Limits,
) -> Result<Element<'a>, XmlError> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    if !text.starts_with('<') {
        return Err(XmlError::NotWellFormed);
    }
    let outer = Outer {
        default: default_ns,
        known: None,
        prefixes: &[],
    };
    match scan(text.as_bytes(), Kind::Element, outer, &mut scratch.index, limits)? {
        Scanned::Done { text: read, rewrite } if read.len() == text.len() => match rewrite {
            true => rewritten(text, outer, scratch, limits),
            false => Ok(Element::new(text, &scratch.index)),
        },
        _ => Err(XmlError::NotWellFormed),
    }
}

/// Reads a document of its own: one element, behind an XML declaration or not, as a WebSocket message carries it
/// (RFC 7395 §3.3.3). Nothing is declared around it.
pub fn parse_document<'a>(text: &'a str, scratch: &'a mut Scratch, limits: &Limits) -> Result<Element<'a>, XmlError> {
    if !text.starts_with('<') {
        return Err(XmlError::TextBetweenStanzas);
    }
    if text.len() > limits.bytes {
        return Err(XmlError::TooLong);
    }
    let start = match text.starts_with("<?") {
        true => declaration(text.as_bytes())?.ok_or(XmlError::NotWellFormed)?,
        false => 0,
    };
    let element = text[start..].trim_start_matches([' ', '\t', '\n', '\r']);
    if element.starts_with("<!") || element.starts_with("<?") {
        return Err(XmlError::RestrictedXml);
    }
    parse_element(element, "", scratch, limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a document is read as: namespace and name, or what is wrong with it.
    fn document(text: &str) -> Result<String, XmlError> {
        let limits = Limits {
            bytes: 100,
            elements: 3,
            ..Limits::default()
        };
        let mut scratch = Scratch::default();
        let element = parse_document(text, &mut scratch, &limits)?;
        Ok(format!("{} {}", element.ns(), element.name()))
    }

    #[test]
    fn documents() {
        let check = |text: &str, expected: Result<&str, XmlError>| {
            assert_eq!(document(text).as_deref(), expected.as_ref().copied(), "{text}");
        };
        check("<a xmlns='urn:a'/>", Ok("urn:a a"));
        check("<?xml version='1.0'?>\n<a xmlns='urn:a'><b/></a>\r\n", Ok("urn:a a"));
        check("<p:a xmlns:p='urn:a'><b/></p:a>", Ok("urn:a a"));
        check("<a/>", Ok(" a"));
        for text in ["", " <a/>", "\u{feff}<a/>", "text"] {
            check(text, Err(XmlError::TextBetweenStanzas));
        }
        for text in [
            "<a>",
            "<a/><b/>",
            "<a/>text",
            "<p:a/>",
            "<?xml version='1.0'?>",
            "<?xml ",
            "</a>",
            "<",
        ] {
            check(text, Err(XmlError::NotWellFormed));
        }
        for text in [
            "<!-- c --><a/>",
            "<?php ?><a/>",
            "<!DOCTYPE a><a/>",
            "<?xml version='1.0'?><!-- c --><a/>",
        ] {
            check(text, Err(XmlError::RestrictedXml));
        }
        check(
            "<?xml version='1.0' encoding='latin1'?><a/>",
            Err(XmlError::UnsupportedEncoding),
        );
        check(&format!("<a b='{}'/>", "x".repeat(100)), Err(XmlError::TooLong));
        check("<a><b/><b/><b/></a>", Err(XmlError::TooManyElements));
    }

    #[test]
    fn a_framer_is_small() {
        assert!(size_of::<Framer>() <= 48, "{}", size_of::<Framer>());
    }
}
