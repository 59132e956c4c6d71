//! The strict pass: one left-to-right reading of a start tag or a whole element that checks and indexes it.
//!
//! It asks for "more" exactly when the bytes at hand are the beginning of something it may still accept, and reports
//! an error at the byte that makes it one. So it gives the same answer however the input was cut up.

use crate::class::{NAME, NAME_START, SPACE, has_noncharacter, is, is_ncname, is_xml_char, name_run, run, utf8_ok};
use crate::index::{AttrRec, Binding, Index, KNOWN_NONE, KNOWN_XML, Name, Node, NsRef, Open, Outer, XML_NS, XMLNS_NS};
use crate::limits::{Limits, MAX_DEPTH, XmlError};
use crate::text::unescape_attr;

/// Digits of a character reference. `&#x0010FFFF;` has eight; other parsers stop there too.
const MAX_REFERENCE_DIGITS: usize = 8;

/// Bytes tested at once in [`Scan::skip_plain_text`].
const BLOCK: usize = 32;

pub(crate) enum Scanned<'i> {
    Incomplete,
    Done {
        /// From the `<` on, checked.
        text: &'i str,
        /// It leans on prefixes of the stream header, or its own name has one.
        rewrite: bool,
    },
}

enum Stop {
    More,
    Bad(XmlError),
}

type Pass<T> = Result<T, Stop>;

const BAD: Stop = Stop::Bad(XmlError::NotWellFormed);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only the start tag, which stays open: a stream header.
    Header,
    Element,
}

/// Reads what begins with the `<` at `input[0]`.
pub(crate) fn scan<'i>(
    input: &'i [u8],
    kind: Kind,
    outer: Outer<'_>,
    index: &mut Index,
    limits: &Limits,
) -> Result<Scanned<'i>, XmlError> {
    let longest = limits.bytes.min(u32::MAX as usize - 1);
    let bytes = &input[..input.len().min(longest)];
    index.clear();
    index.outer = match outer.known {
        Some(k) => NsRef::Known(k),
        None => index.own(outer.default),
    };
    let mut scan = Scan {
        bytes,
        at: 0,
        rewrite: false,
        elements: 0,
        kind,
        index,
        outer,
        limits,
    };
    let result = if kind == Kind::Header {
        scan.start_tag()
    } else {
        scan.element()
    };
    let (at, rewrite) = (scan.at, scan.rewrite);
    match result {
        Ok(()) => match std::str::from_utf8(&bytes[..at]) {
            Ok(text) if !has_noncharacter(text.as_bytes()) => Ok(Scanned::Done { text, rewrite }),
            _ => Err(XmlError::NotWellFormed),
        },
        Err(Stop::More) if !utf8_ok(bytes) => Err(XmlError::NotWellFormed),
        Err(Stop::More) if input.len() > longest => Err(XmlError::TooLong),
        Err(Stop::More) => Ok(Scanned::Incomplete),
        // Bad UTF-8 further left would have been seen first, had the input come byte by byte.
        Err(Stop::Bad(_)) if !utf8_ok(&bytes[..bytes.len().min(at + 1)]) => Err(XmlError::NotWellFormed),
        Err(Stop::Bad(error)) => Err(error),
    }
}

/// What is known of a start tag while its attributes are read.
struct Tag {
    start: u32,
    /// The default namespace: that around it until it declares its own.
    default: NsRef,
    /// Length of [`Index::bindings`] before it.
    first_binding: usize,
    /// Attributes, declarations included.
    attributes: usize,
    /// One bit for each attribute's name. Different names seldom share one, so there is seldom anything to compare.
    names: u64,
    /// Two attributes share a bit, or one has a prefix: they have to be compared.
    compare: bool,
}

struct Scan<'s> {
    bytes: &'s [u8],
    at: usize,
    rewrite: bool,
    elements: usize,
    kind: Kind,
    index: &'s mut Index,
    outer: Outer<'s>,
    limits: &'s Limits,
}

impl Scan<'_> {
    #[inline]
    fn peek(&self) -> Pass<u8> {
        self.peek_at(0)
    }

    #[inline]
    fn peek_at(&self, ahead: usize) -> Pass<u8> {
        self.bytes.get(self.at + ahead).copied().ok_or(Stop::More)
    }

    #[inline(always)]
    fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Passes over the blocks of character data that are plain throughout; it may be long.
    #[inline(always)]
    fn skip_plain_text(&mut self) {
        while let Some(block) = self.rest().first_chunk::<BLOCK>() {
            let stop = |c: u8| u8::from(c < 0x20) | u8::from(c == b'<') | u8::from(c == b'&') | u8::from(c == b']');
            if block.iter().fold(0, |any, &c| any | stop(c)) != 0 {
                break;
            }
            self.at += BLOCK;
        }
    }

    #[inline]
    fn skip_space(&mut self) -> bool {
        let from = self.at;
        while self.bytes.get(self.at).is_some_and(|&c| is(c, SPACE)) {
            self.at += 1;
        }
        self.at > from
    }

    fn element(&mut self) -> Pass<()> {
        self.start_tag()?;
        while !self.index.open.is_empty() {
            if self.peek()? != b'<' {
                self.text()?;
            }
            match self.peek_at(1)? {
                b'/' => self.end_tag()?,
                b'!' => self.cdata()?,
                b'?' => {
                    self.at += 1;
                    return Err(Stop::Bad(XmlError::RestrictedXml));
                }
                _ => self.start_tag()?,
            }
        }
        Ok(())
    }

    /// Up to the next `<`.
    #[inline(never)] // its constants would take the registers of the loop over the tags
    fn text(&mut self) -> Pass<()> {
        loop {
            match self.peek()? {
                b'<' => return Ok(()),
                b'&' => self.reference()?,
                b']' => {
                    if self.peek_at(1)? == b']' && self.peek_at(2)? == b'>' {
                        self.at += 2;
                        return Err(BAD);
                    }
                    self.at += 1;
                }
                b'\t' | b'\n' | b'\r' => self.at += 1,
                0..b' ' => return Err(BAD),
                _ => {
                    self.skip_plain_text();
                    self.at += run(self.rest(), b' ', *b"<&]");
                }
            }
        }
    }

    /// `&lt;` and the like, `&#10;`, `&#xA;` (XML 1.0 §4.1).
    fn reference(&mut self) -> Pass<()> {
        self.at += 1;
        let from;
        if self.peek()? == b'#' {
            self.at += 1;
            let radix = if self.peek()? == b'x' { 16 } else { 10 };
            self.at += usize::from(radix == 16);
            from = self.at;
            let mut code = 0u32;
            loop {
                let c = self.peek()?;
                if c == b';' && self.at > from {
                    break;
                }
                let digit = (c as char).to_digit(radix).ok_or(BAD)?;
                if self.at - from == MAX_REFERENCE_DIGITS {
                    return Err(BAD);
                }
                code = code * radix + digit;
                self.at += 1;
            }
            if !char::from_u32(code).is_some_and(is_xml_char) {
                return Err(BAD);
            }
        } else {
            from = self.at;
            if !is(self.peek()?, NAME_START) {
                return Err(BAD);
            }
            while is(self.peek()?, NAME) {
                self.at += 1;
            }
            if self.peek()? != b';' {
                return Err(BAD);
            }
            if !matches!(&self.bytes[from..self.at], b"lt" | b"gt" | b"amp" | b"apos" | b"quot") {
                return Err(Stop::Bad(XmlError::RestrictedXml));
            }
        }
        self.at += 1;
        Ok(())
    }

    #[inline(never)]
    fn cdata(&mut self) -> Pass<()> {
        const OPENING: &[u8] = b"<![CDATA[";
        for (i, &expected) in OPENING.iter().enumerate() {
            if self.peek_at(i)? != expected {
                self.at += i;
                return Err(Stop::Bad(XmlError::RestrictedXml));
            }
        }
        self.at += OPENING.len();
        loop {
            match self.peek()? {
                b']' => {
                    if self.peek_at(1)? == b']' && self.peek_at(2)? == b'>' {
                        self.at += 3;
                        return Ok(());
                    }
                    self.at += 1;
                }
                b'\t' | b'\n' | b'\r' => self.at += 1,
                0..b' ' => return Err(BAD),
                _ => {
                    self.skip_plain_text();
                    self.at += run(self.rest(), b' ', *b"]");
                }
            }
        }
    }

    fn end_tag(&mut self) -> Pass<()> {
        let open = self.index.open.pop().ok_or(BAD)?;
        let inner_end = self.at as u32;
        self.at += 2;
        let name = &self.bytes[open.name.all()];
        let rest = &self.bytes[self.at..];
        if !rest.starts_with(name) {
            // Cut off within the name, or another name.
            self.at += name.iter().zip(rest).take_while(|(a, b)| a == b).count();
            return Err(if self.at == self.bytes.len() { Stop::More } else { BAD });
        }
        self.at += name.len();
        self.skip_space();
        if self.peek()? != b'>' {
            return Err(BAD);
        }
        self.at += 1;
        self.close(open.active, self.at as u32);
        let node = match self.index.open.len() {
            0 => Some(&mut self.index.head),
            1 => self.index.children.last_mut(),
            _ => None,
        };
        if let Some(node) = node {
            node.inner_end = inner_end;
            node.end = self.at as u32;
        }
        Ok(())
    }

    /// Ends the scope of the declarations made since `active` was the number of those in force.
    #[inline]
    fn close(&mut self, active: u32, end: u32) {
        for &i in &self.index.active[active as usize..] {
            self.index.bindings[i as usize].to = end;
        }
        self.index.active.truncate(active as usize);
    }

    /// A start tag or empty-element tag, from its `<`.
    fn start_tag(&mut self) -> Pass<()> {
        let start = self.at as u32;
        self.at += 1;
        match self.peek()? {
            b'!' | b'?' => return Err(Stop::Bad(XmlError::RestrictedXml)),
            _ if self.index.open.len() >= self.limits.depth.min(MAX_DEPTH) => return Err(Stop::Bad(XmlError::TooDeep)),
            _ if self.elements >= self.limits.elements => return Err(Stop::Bad(XmlError::TooManyElements)),
            _ => self.elements += 1,
        }
        let name = self.name()?;
        let first_attr = self.index.attrs.len();
        let active = self.index.active.len() as u32;
        let mut tag = Tag {
            start,
            default: self.index.open.last().map_or(self.index.outer, |open| open.default),
            first_binding: self.index.bindings.len(),
            attributes: 0,
            names: 0,
            compare: false,
        };
        let empty = loop {
            let spaced = self.skip_space();
            match self.peek()? {
                b'>' => break false,
                b'/' if self.peek_at(1)? == b'>' => {
                    self.at += 1;
                    break true;
                }
                _ if !spaced => return Err(BAD),
                _ if tag.attributes >= self.limits.attributes => return Err(Stop::Bad(XmlError::TooManyAttributes)),
                _ => self.attribute(&mut tag)?,
            }
        };
        let ns = match name.colon {
            0 => tag.default,
            _ => match self.lookup(name) {
                Err(Stop::Bad(_)) if self.kind == Kind::Header => return Err(Stop::Bad(XmlError::BadNamespacePrefix)),
                found => found?,
            },
        };
        if tag.compare {
            self.compare_attributes(first_attr)?;
        }
        self.at += 1;
        if empty && self.kind == Kind::Header {
            return Err(BAD);
        }
        let tag_end = self.at as u32;
        let node = Node {
            start,
            end: tag_end,
            name,
            tag_end,
            inner_end: tag_end,
            ns,
        };
        match self.index.open.len() {
            0 => {
                self.index.head = node;
                self.rewrite |= name.colon != 0 && !matches!(ns, NsRef::Known(KNOWN_XML));
            }
            depth => {
                self.index.attrs.truncate(first_attr);
                if depth == 1 {
                    self.index.children.push(node);
                }
            }
        }
        if empty || self.kind == Kind::Header {
            self.close(active, tag_end);
        } else {
            self.index.open.push(Open {
                name,
                default: tag.default,
                active,
            });
        }
        Ok(())
    }

    /// A qualified name: one colon at most, and an NCName on each side of it (Namespaces §4).
    #[inline(always)]
    fn name(&mut self) -> Pass<Name> {
        let start = self.at;
        let mut high = self.ncname(start)?;
        let mut colon = 0;
        if self.bytes.get(self.at) == Some(&b':') {
            colon = self.at;
            self.at += 1;
            high |= self.ncname(start)?;
            if self.peek()? == b':' {
                return Err(BAD);
            }
        }
        let name = Name {
            start: start as u32,
            colon: colon as u32,
            end: self.at as u32,
        };
        if high {
            // Whole, so that no character is cut in two.
            self.peek()?;
            let prefix = &self.bytes[name.prefix()];
            if !is_ncname(&self.bytes[name.local()]) || !prefix.is_empty() && !is_ncname(prefix) {
                return Err(BAD);
            }
        }
        Ok(name)
    }

    /// One side of the name that begins at `start`; whether it has to be looked at again, see [`name_run`].
    #[inline(always)]
    fn ncname(&mut self, start: usize) -> Pass<bool> {
        if !is(self.peek()?, NAME_START) {
            return Err(BAD);
        }
        let (length, high) = name_run(self.rest());
        self.at += length;
        if self.at - start > self.limits.name {
            self.at = start + self.limits.name;
            return Err(Stop::Bad(XmlError::NameTooLong));
        }
        Ok(high)
    }

    #[inline(always)]
    fn attribute(&mut self, tag: &mut Tag) -> Pass<()> {
        tag.attributes += 1;
        let name = self.name()?;
        let quote = self.opening_quote()?;
        let from = self.at as u32;
        let plain = self.value(quote)?;
        let value = (from, self.at as u32);
        let declares = if name.colon == 0 {
            &self.bytes[name.all()]
        } else {
            &self.bytes[name.prefix()]
        };
        if declares == b"xmlns" {
            self.declare(name, value, plain, tag)?;
        } else {
            let bit = 1 << ((usize::from(declares[0]) ^ declares.len() << 3) % 64);
            tag.compare |= name.colon != 0 || tag.names & bit != 0;
            tag.names |= bit;
            self.index.attrs.push(AttrRec {
                name,
                value,
                plain,
                ns: NsRef::Known(KNOWN_NONE),
            });
        }
        self.at += 1;
        Ok(())
    }

    /// To behind the quote that opens an attribute's value, from behind the name.
    #[inline(always)]
    fn opening_quote(&mut self) -> Pass<u8> {
        if let [b'=', quote @ (b'\'' | b'"'), ..] = *self.rest() {
            self.at += 2;
            return Ok(quote);
        }
        self.skip_space();
        if self.peek()? != b'=' {
            return Err(BAD);
        }
        self.at += 1;
        self.skip_space();
        let quote = self.peek()?;
        if !matches!(quote, b'\'' | b'"') {
            return Err(BAD);
        }
        self.at += 1;
        Ok(quote)
    }

    /// To the closing quote. Whether the value is what stands there: no reference, no white space but spaces.
    #[inline(always)]
    fn value(&mut self, quote: u8) -> Pass<bool> {
        let mut plain = true;
        loop {
            // All that matters is `<` or below `(`, and so little else that one comparison is worth a wrong stop.
            self.at += run(self.rest(), b'(', *b"<");
            match self.peek()? {
                c if c == quote => return Ok(plain),
                b'&' => {
                    self.reference()?;
                    plain = false;
                }
                b'\t' | b'\n' => {
                    self.at += 1;
                    plain = false;
                }
                // XML allows a carriage return alone, but nobody writes one (it would be read as a space, XML 1.0 §2.11
                // and §3.3.3), and rxml ends the stream over it: what is forwarded must not do that to its receiver.
                b'\r' if self.peek_at(1)? == b'\n' => {
                    self.at += 2;
                    plain = false;
                }
                b' '..b'(' => self.at += 1,
                _ => return Err(BAD),
            }
        }
    }

    /// A namespace declaration (Namespaces §2.2, §3, §5).
    fn declare(&mut self, name: Name, value: (u32, u32), plain: bool, tag: &mut Tag) -> Pass<()> {
        let raw = &self.bytes[value.0 as usize..value.1 as usize];
        let ns = if raw.is_empty() {
            NsRef::Known(KNOWN_NONE)
        } else if plain {
            NsRef::Source(value.0, value.1)
        } else {
            let text = std::str::from_utf8(raw).map_err(|_| BAD)?;
            self.index.own(&unescape_attr(text))
        };
        let range = if name.colon == 0 {
            (name.end, name.end)
        } else {
            (name.colon + 1, name.end)
        };
        let prefix = &self.bytes[range.0 as usize..range.1 as usize];
        let uri = self.index.ns_bytes(ns, self.bytes);
        if uri == XMLNS_NS.as_bytes()
            || prefix == b"xmlns"
            || (prefix == b"xml") != (uri == XML_NS.as_bytes())
            || name.colon != 0 && uri.is_empty()
        {
            return Err(BAD);
        }
        let again = |b: &Binding| self.bytes[b.prefix.0 as usize..b.prefix.1 as usize] == *prefix;
        if self.index.bindings[tag.first_binding..].iter().any(again) {
            return Err(BAD);
        }
        if self.index.bindings.len() >= self.limits.namespaces {
            return Err(Stop::Bad(XmlError::TooManyNamespaces));
        }
        if name.colon == 0 {
            tag.default = ns;
        }
        self.index.active.push(self.index.bindings.len() as u32);
        self.index.bindings.push(Binding {
            prefix: range,
            ns,
            from: tag.start,
            to: u32::MAX,
        });
        Ok(())
    }

    /// The namespace of a prefixed name.
    fn lookup(&mut self, name: Name) -> Pass<NsRef> {
        let prefix = &self.bytes[name.prefix()];
        if prefix == b"xml" {
            return Ok(NsRef::Known(KNOWN_XML));
        }
        let active = self
            .index
            .active
            .iter()
            .rev()
            .map(|&i| &self.index.bindings[i as usize]);
        for b in active {
            if self.bytes[b.prefix.0 as usize..b.prefix.1 as usize] == *prefix {
                return Ok(b.ns);
            }
        }
        let (_, ns) = self
            .outer
            .prefixes
            .iter()
            .find(|(p, _)| p.as_bytes() == prefix)
            .ok_or(BAD)?;
        self.rewrite = true;
        Ok(self.index.own(ns))
    }

    /// No attribute twice, neither by its name nor by namespace and local name (Namespaces §6.3).
    fn compare_attributes(&mut self, first: usize) -> Pass<()> {
        for i in first..self.index.attrs.len() {
            let a = self.index.attrs[i];
            if a.name.colon != 0 {
                self.index.attrs[i].ns = self.lookup(a.name)?;
            }
            let a = self.index.attrs[i];
            for b in &self.index.attrs[first..i] {
                let same_length = a.name.local().len() == b.name.local().len();
                let same_name = same_length && self.bytes[a.name.local()] == self.bytes[b.name.local()];
                if same_name && self.index.ns_bytes(a.ns, self.bytes) == self.index.ns_bytes(b.ns, self.bytes) {
                    return Err(BAD);
                }
            }
        }
        Ok(())
    }
}
