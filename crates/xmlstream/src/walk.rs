//! Walks checked text: what the index does not hold is found again here, without any checking.

use std::ops::Range;

use crate::class::{SPACE, is};
use crate::index::{Index, Name, Node};

/// A piece of an element's content. Offsets count from the beginning of the source.
pub(crate) enum Token {
    Text(Range<usize>),
    Cdata(Range<usize>),
    /// A direct child, whole.
    Child(Node),
}

/// Iterates over the direct content of an element.
pub(crate) struct Content<'a> {
    source: &'a str,
    index: &'a Index,
    at: usize,
    end: usize,
}

impl<'a> Content<'a> {
    pub(crate) fn new(source: &'a str, index: &'a Index, node: &Node) -> Content<'a> {
        Content {
            source,
            index,
            at: node.tag_end as usize,
            end: node.inner_end as usize,
        }
    }
}

impl Iterator for Content<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let rest = &self.source.as_bytes()[self.at..self.end];
        if rest.is_empty() {
            return None;
        }
        let text = memchr::memchr(b'<', rest).unwrap_or(rest.len());
        if text > 0 {
            self.at += text;
            return Some(Token::Text(self.at - text..self.at));
        }
        const CDATA: &[u8] = b"<![CDATA[";
        if rest.starts_with(CDATA) {
            let from = self.at + CDATA.len();
            let length = memchr::memmem::find(&rest[CDATA.len()..], b"]]>")?;
            self.at = from + length + 3;
            return Some(Token::Cdata(from..from + length));
        }
        let node = node_at(self.source, self.index, self.at);
        self.at = node.end as usize;
        Some(Token::Child(node))
    }
}

/// The element whose `<` is at `start`.
fn node_at(source: &str, index: &Index, start: usize) -> Node {
    let bytes = source.as_bytes();
    let name = name_at(bytes, start + 1);
    let tag_end = tag_end(bytes, start);
    let mut node = Node {
        start: start as u32,
        end: tag_end as u32,
        name,
        tag_end: tag_end as u32,
        inner_end: tag_end as u32,
        ns: index.resolve(source, &source[name.prefix()], start),
    };
    let mut depth = u32::from(bytes[tag_end - 2] != b'/');
    let mut at = tag_end;
    while depth > 0 {
        let Some(n) = memchr::memchr(b'<', &bytes[at..]) else {
            break;
        };
        at += n;
        match bytes.get(at + 1) {
            Some(b'/') => {
                depth -= 1;
                node.inner_end = at as u32;
                at += memchr::memchr(b'>', &bytes[at..]).map_or(1, |n| n + 1);
            }
            Some(b'!') => at += memchr::memmem::find(&bytes[at..], b"]]>").map_or(1, |n| n + 3),
            _ => {
                at = self::tag_end(bytes, at);
                depth += u32::from(bytes[at - 2] != b'/');
            }
        }
        node.end = at as u32;
    }
    node
}

fn name_at(bytes: &[u8], start: usize) -> Name {
    let mut name = Name {
        start: start as u32,
        colon: 0,
        end: start as u32,
    };
    for (i, &c) in bytes.iter().enumerate().skip(start) {
        name.end = i as u32;
        match c {
            b':' => name.colon = i as u32,
            b'=' | b'/' | b'>' => break,
            c if is(c, SPACE) => break,
            _ => {}
        }
    }
    name
}

/// Behind the `>` of the tag that begins at `start`.
fn tag_end(bytes: &[u8], start: usize) -> usize {
    let mut at = start;
    while let Some(n) = memchr::memchr3(b'>', b'\'', b'"', &bytes[at..]) {
        at += n + 1;
        match bytes[at - 1] {
            b'>' => return at,
            quote => at += memchr::memchr(quote, &bytes[at..]).map_or(0, |n| n + 1),
        }
    }
    bytes.len()
}

/// An attribute of a start tag: name, value between the quotes, whole span.
pub(crate) struct RawAttr {
    pub name: Name,
    pub value: Range<usize>,
}

/// Iterates over the attributes of a start tag, namespace declarations included.
pub(crate) struct TagAttrs<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> TagAttrs<'a> {
    pub(crate) fn new(source: &'a str, node: &Node) -> TagAttrs<'a> {
        TagAttrs {
            bytes: &source.as_bytes()[..node.tag_end as usize],
            at: node.name.end as usize,
        }
    }
}

impl Iterator for TagAttrs<'_> {
    type Item = RawAttr;

    fn next(&mut self) -> Option<RawAttr> {
        while is(*self.bytes.get(self.at)?, SPACE) {
            self.at += 1;
        }
        if matches!(self.bytes[self.at], b'/' | b'>') {
            return None;
        }
        let name = name_at(self.bytes, self.at);
        let open = name.end as usize + memchr::memchr2(b'\'', b'"', &self.bytes[name.end as usize..])?;
        let length = memchr::memchr(self.bytes[open], &self.bytes[open + 1..])?;
        self.at = open + length + 2;
        Some(RawAttr {
            name,
            value: open + 1..open + 1 + length,
        })
    }
}
