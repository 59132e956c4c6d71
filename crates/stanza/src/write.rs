//! Writing stanzas: what was received is copied with another start tag ([`splice`]), what the server says itself is
//! put together here too. Nothing builds a tree, and nothing but [`Edits`] and [`Rendered`] allocates.

use std::ops::Range;
use std::sync::Arc;

use xmlstream::Child;

use crate::error::StanzaError;
use crate::kind::Kind;
use crate::stanza::Stanza;

/// Changes to the children of a stanza on its way: forged elements go, the server's own come last.
#[derive(Clone, Debug, Default)]
pub struct Edits {
    /// Spans inside the element, in order, without overlap.
    removed: Vec<Range<usize>>,
    appended: String,
}

impl Edits {
    /// Leaves the child out. Leaving it out twice is the same as once.
    pub fn remove(&mut self, child: &Child<'_>) {
        let span = child.span();
        if let Err(place) = self.removed.binary_search_by_key(&span.start, |r| r.start) {
            self.removed.insert(place, span);
        }
    }

    /// Adds serialised elements behind the last child. They need an `xmlns` of their own.
    pub fn append(&mut self, elements: &str) {
        self.appended.push_str(elements);
    }

    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.appended.is_empty()
    }
}

/// Writes a stanza as its recipient sees it: the original attributes, but with these `from` and `to` (none where it
/// is `None`), and the original content, but for the edits.
///
/// The default namespace is left out: what a recipient's stream has is the content namespace too, whether that is
/// `jabber:client` or `jabber:server`.
pub fn splice(stanza: &Stanza<'_>, from: &str, to: Option<&str>, edits: &Edits, out: &mut Vec<u8>) {
    out.reserve(spliced_len(stanza, from, to, edits));
    open(stanza, Some(from), out);
    if let Some(to) = to {
        put_attribute(out, TO, to);
    }
    close(stanza, edits, out);
}

/// A stanza for many recipients: everything is written but the addresses, which go in at delivery. Without the sender
/// too, because it is kept as long as the sender is available, and those who say no more than `<presence/>` can share
/// one text. A clone is the same text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    text: Arc<str>,
}

impl Rendered {
    /// As [`splice`] would write it, but for the order of the attributes.
    pub fn of(stanza: &Stanza<'_>, edits: &Edits) -> Rendered {
        let mut out = Vec::with_capacity(spliced_len(stanza, "", None, edits));
        open(stanza, None, &mut out);
        close(stanza, edits, &mut out);
        // All of it was copied from `str`s, cut at ASCII characters.
        let text = String::from_utf8(out).expect("pieces of UTF-8 text");
        Rendered { text: text.into() }
    }

    /// A complete element that the server made, without addresses.
    pub fn from_text(text: &str) -> Rendered {
        debug_assert!(text.starts_with('<') && text.ends_with('>'), "not an element");
        Rendered { text: text.into() }
    }

    /// Without addresses.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// With these elements behind its last child; each has an `xmlns` of its own.
    #[must_use]
    pub fn with(&self, elements: &str) -> Rendered {
        let (open, end) = match self.text.strip_suffix("/>") {
            Some(open) => (open, &self.text[1..self.gap()]),
            None => {
                let at = self.text.rfind("</").unwrap_or(self.text.len());
                return Rendered {
                    text: [&self.text[..at], elements, &self.text[at..]].concat().into(),
                };
            }
        };
        Rendered {
            text: [open, ">", elements, "</", end, ">"].concat().into(),
        }
    }

    /// With the sender, for many recipients.
    pub fn sent_by(&self, from: &str) -> Sent {
        let gap = self.gap();
        let mut head = Vec::with_capacity(gap + attribute_len(from));
        head.extend_from_slice(&self.text.as_bytes()[..gap]);
        put_attribute(&mut head, FROM, from);
        let rendered = self.clone();
        Sent { head, rendered, gap }
    }

    pub fn write(&self, from: &str, to: Option<&str>, out: &mut Vec<u8>) {
        out.reserve(self.text.len() + attribute_len(from) + to.map_or(0, attribute_len));
        let (name, tail) = self.text.split_at(self.gap());
        out.extend_from_slice(name.as_bytes());
        put_attribute(out, FROM, from);
        if let Some(to) = to {
            put_attribute(out, TO, to);
        }
        out.extend_from_slice(tail.as_bytes());
    }

    /// For a store, or to read it again.
    pub fn text_with(&self, from: &str, to: Option<&str>) -> String {
        let mut out = Vec::new();
        self.write(from, to, &mut out);
        String::from_utf8(out).expect("pieces of UTF-8 text")
    }

    /// The element without addresses.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Where the addresses go: behind the name, which is short.
    fn gap(&self) -> usize {
        let ends = |b| matches!(b, b' ' | b'/' | b'>');
        self.text.bytes().position(ends).unwrap_or(self.text.len())
    }
}

/// A stanza for many recipients with its sender; see [`Rendered::sent_by`].
#[derive(Clone, Debug)]
pub struct Sent {
    /// The start tag up to the place for `to`.
    head: Vec<u8>,
    rendered: Rendered,
    /// Where the rest of it begins.
    gap: usize,
}

impl Sent {
    pub fn write(&self, to: &str, out: &mut Vec<u8>) {
        let tail = &self.rendered.text.as_bytes()[self.gap..];
        out.reserve(self.head.len() + tail.len() + attribute_len(to));
        out.extend_from_slice(&self.head);
        put_attribute(out, TO, to);
        out.extend_from_slice(tail);
    }
}

/// Writes a stanza of type error (RFC 6120 section 8.3.1) without the original payload, which is a courtesy only
/// (rule 6). An IQ gets an `id` in any case, an empty one where the request had none (rule 3).
pub fn write_error(
    name: &str,
    id: Option<&str>,
    from: Option<&str>,
    to: Option<&str>,
    error: &StanzaError,
    out: &mut Vec<u8>,
) {
    let id = if name == "iq" { Some(id.unwrap_or_default()) } else { id };
    start(name, "error", id, from, to, out);
    out.push(b'>');
    error.write(out);
    end(name, out);
}

/// Answers a stanza with an error, unless it is one that must not be answered (RFC 6120 section 8.3.1, rule 8);
/// returns whether it wrote. `from` is who could not be reached, `to` the sender of the stanza.
pub fn error_reply(stanza: &Stanza<'_>, from: &str, to: &str, error: &StanzaError, out: &mut Vec<u8>) -> bool {
    let answered = stanza.kind().may_be_answered();
    if answered {
        write_error(
            stanza.kind().element_name(),
            stanza.id(),
            Some(from),
            Some(to),
            error,
            out,
        );
    }
    answered
}

/// Writes an IQ result; `payload` is one serialised element with its own `xmlns`, or empty.
pub fn iq_result(id: &str, from: Option<&str>, to: Option<&str>, payload: &str, out: &mut Vec<u8>) {
    start("iq", "result", Some(id), from, to, out);
    if payload.is_empty() {
        out.extend_from_slice(b"/>");
    } else {
        out.push(b'>');
        out.extend_from_slice(payload.as_bytes());
        end("iq", out);
    }
}

/// The start tag up to the place for `to`; without `from` where it is none. Attributes are copied as they stand, quotes included, and in runs: what
/// has to be left out or looked at is rare, and one long copy is cheaper than many short ones.
fn open(stanza: &Stanza<'_>, from: Option<&str>, out: &mut Vec<u8>) {
    let element = stanza.element();
    let source = element.source();
    out.extend_from_slice(tags(stanza.kind()).0.as_bytes());
    let mut run = element.name_end();
    let mut at = run;
    for attr in element.attrs() {
        let span = attr.span();
        let between = at..span.start;
        let dropped = attr.prefix().is_none() && matches!(attr.local(), "from" | "to");
        // One byte between two attributes is white space and nothing else.
        let declarations = between.len() != 1;
        if declarations || dropped {
            out.extend_from_slice(&source.as_bytes()[run..at]);
            if declarations {
                put_declarations(&source[between], out);
            }
            if dropped {
                run = span.end;
            } else {
                out.push(b' ');
                run = span.start;
            }
        }
        at = span.end;
    }
    out.extend_from_slice(&source.as_bytes()[run..at]);
    let closing = if element.is_empty_tag() { "/>" } else { ">" };
    let last = at..element.inner_span().start - closing.len();
    if !last.is_empty() {
        put_declarations(&source[last], out);
    }
    if let Some(lang) = stanza.implied_lang() {
        put_attribute(out, LANG, lang);
    }
    if let Some(from) = from {
        put_attribute(out, FROM, from);
    }
}

/// What stands between two attributes: white space, nearly always, and namespace declarations. Those of prefixes are
/// kept, since the content may use them; the default one is what the recipient's stream has anyway.
fn put_declarations(between: &str, out: &mut Vec<u8>) {
    let mut rest = between.trim_ascii_start();
    while let Some((name, value)) = rest.split_once('=') {
        // The text is checked: behind the `=` there is a quote, and another like it.
        let value = value.trim_ascii_start();
        let end = value
            .get(1..)
            .and_then(|v| v.find(&value[..1]))
            .map_or(value.len(), |end| end + 2);
        let (value, behind) = value.split_at(end);
        let name = name.trim_ascii_end();
        if name != "xmlns" {
            out.push(b' ');
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            out.extend_from_slice(value.as_bytes());
        }
        rest = behind.trim_ascii_start();
    }
}

/// The rest: content with the edits, and the end tag.
fn close(stanza: &Stanza<'_>, edits: &Edits, out: &mut Vec<u8>) {
    let inner = stanza.element().inner();
    if inner.is_empty() && edits.appended.is_empty() {
        out.extend_from_slice(b"/>");
        return;
    }
    out.push(b'>');
    let mut kept = 0;
    for removed in &edits.removed {
        out.extend_from_slice(&inner.as_bytes()[kept..removed.start]);
        kept = removed.end;
    }
    out.extend_from_slice(&inner.as_bytes()[kept..]);
    out.extend_from_slice(edits.appended.as_bytes());
    out.extend_from_slice(tags(stanza.kind()).1.as_bytes());
}

/// The beginning of the start tag, and the end tag: in one piece each, as every delivery writes them.
fn tags(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Message(_) => ("<message", "</message>"),
        Kind::Presence(_) => ("<presence", "</presence>"),
        Kind::Iq(_) => ("<iq", "</iq>"),
    }
}

fn start(name: &str, type_: &str, id: Option<&str>, from: Option<&str>, to: Option<&str>, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    for (name, value) in [(TYPE, Some(type_)), (ID, id), (FROM, from), (TO, to)] {
        if let Some(value) = value {
            put_attribute(out, name, value);
        }
    }
}

fn end(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"</");
    out.extend_from_slice(name.as_bytes());
    out.push(b'>');
}

/// What stands before the value of an attribute, in one piece: one copy instead of three.
struct Lead(&'static str);

const TYPE: Lead = Lead(" type='");
const ID: Lead = Lead(" id='");
const FROM: Lead = Lead(" from='");
const TO: Lead = Lead(" to='");
const LANG: Lead = Lead(" xml:lang='");

/// ` name='value'`, escaped.
fn put_attribute(out: &mut Vec<u8>, lead: Lead, value: &str) {
    out.extend_from_slice(lead.0.as_bytes());
    // Looking first is cheaper than copying byte by byte; nearly every value is plain.
    if has_special(value.as_bytes()) {
        xmlstream::escape_attr(out, value);
    } else {
        out.extend_from_slice(value.as_bytes());
    }
    out.push(b'\'');
}

/// Bytes that are looked up without asking after each whether there is another.
const UNROLLED: usize = 8;

/// Whether something may need escaping. A table, as the values are short: addresses and ids. Comparing many bytes at
/// once pays from some fifty on.
fn has_special(value: &[u8]) -> bool {
    let look_up = |special: bool, b: &u8| special | SPECIAL[usize::from(*b)];
    let (chunks, rest) = value.as_chunks::<UNROLLED>();
    let special = chunks
        .iter()
        .fold(false, |special, chunk| chunk.iter().fold(special, look_up));
    rest.iter().fold(special, look_up)
}

/// What may need escaping, and more: 0xEF leads U+FFFE, which XML cannot carry, and many that it can.
const fn is_special(b: u8) -> bool {
    b < b' ' || matches!(b, b'"' | b'&' | b'\'' | b'<' | b'>' | 0xef)
}

static SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < table.len() {
        table[b] = is_special(b as u8);
        b += 1;
    }
    table
};

/// Character data, escaped.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    xmlstream::escape_text(out, text);
}

/// What `to` adds where nothing needs escaping; a guess for `reserve`, so no more has to be true.
fn attribute_len(value: &str) -> usize {
    value.len() + " from=''".len()
}

fn spliced_len(stanza: &Stanza<'_>, from: &str, to: Option<&str>, edits: &Edits) -> usize {
    stanza.element().source().len()
        + attribute_len(from)
        + to.map_or(0, attribute_len)
        + edits.appended.len()
        + stanza
            .implied_lang()
            .map_or(0, |lang| " xml:lang=''".len() + lang.len())
        + "</presence>".len()
}

#[cfg(test)]
mod tests;
