//! What the strict pass remembers of an element: spans into its text. Everything here is reused from one element to
//! the next, so that the hot path asks nothing of the allocator.

use std::borrow::Cow;
use std::ops::Range;

pub(crate) const XML_NS: &str = "http://www.w3.org/XML/1998/namespace";
pub(crate) const XMLNS_NS: &str = "http://www.w3.org/2000/xmlns/";
pub(crate) const STREAM_NS: &str = "http://etherx.jabber.org/streams";

/// Namespaces that need no copy: none, those of XML, and those a stream header usually names.
pub(crate) static KNOWN: [&str; 6] = [
    "",
    XML_NS,
    "jabber:client",
    "jabber:server",
    STREAM_NS,
    "jabber:component:accept",
];
pub(crate) const KNOWN_NONE: u32 = 0;
pub(crate) const KNOWN_XML: u32 = 1;

/// Index into [`KNOWN`]. Written out, so that lengths are compared before anything else.
pub(crate) fn known(ns: &str) -> Option<u32> {
    Some(match ns {
        "" => KNOWN_NONE,
        XML_NS => KNOWN_XML,
        "jabber:client" => 2,
        "jabber:server" => 3,
        STREAM_NS => 4,
        "jabber:component:accept" => 5,
        _ => return None,
    })
}

/// Where the text of a namespace name is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NsRef {
    /// Index into [`KNOWN`].
    Known(u32),
    /// Bytes of the source, which contain no reference.
    Source(u32, u32),
    /// Bytes of [`Index::strings`].
    Owned(u32, u32),
}

impl Default for NsRef {
    fn default() -> NsRef {
        NsRef::Known(KNOWN_NONE)
    }
}

/// A qualified name; `colon` is 0 where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Name {
    pub start: u32,
    pub colon: u32,
    pub end: u32,
}

impl Name {
    pub(crate) fn all(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
    pub(crate) fn prefix(self) -> Range<usize> {
        self.start as usize..if self.colon == 0 {
            self.start as usize
        } else {
            self.colon as usize
        }
    }
    pub(crate) fn local(self) -> Range<usize> {
        (if self.colon == 0 {
            self.start as usize
        } else {
            self.colon as usize + 1
        })..self.end as usize
    }
    /// Whether the name without its prefix is `local`. Compares bytes: cutting a `str` costs more than that.
    #[inline]
    pub(crate) fn is(self, local: &str, source: &str) -> bool {
        source.as_bytes()[self.local()] == *local.as_bytes()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct AttrRec {
    pub name: Name,
    /// Between the quotes.
    pub value: (u32, u32),
    /// No reference in the value, and no white space but spaces.
    pub plain: bool,
    /// Only of prefixed attributes; the others are in no namespace (Namespaces §6.2).
    pub ns: NsRef,
}

/// An element: the top-level one or a child of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Node {
    pub start: u32,
    pub end: u32,
    pub name: Name,
    /// Behind the `>` of the start tag.
    pub tag_end: u32,
    /// At the `<` of the end tag; equal to `tag_end` in `<a/>`.
    pub inner_end: u32,
    pub ns: NsRef,
}

/// A namespace declaration and the part of the text where it holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Binding {
    /// Empty for the default namespace.
    pub prefix: (u32, u32),
    pub ns: NsRef,
    pub from: u32,
    pub to: u32,
}

/// An element whose end tag is still to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Open {
    pub name: Name,
    pub default: NsRef,
    /// Length of [`Index::active`] outside it.
    pub active: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The top-level element.
    pub head: Node,
    /// Those of the top-level element; those of an inner start tag only while it is being read.
    pub attrs: Vec<AttrRec>,
    pub children: Vec<Node>,
    /// All declarations in the element, in the order of the text.
    pub bindings: Vec<Binding>,
    /// Indices of the bindings of *prefixes* now in force; default namespaces are in `open`.
    pub active: Vec<u32>,
    pub open: Vec<Open>,
    pub strings: String,
    /// The default namespace around the element.
    pub outer: NsRef,
}

impl Index {
    pub(crate) fn clear(&mut self) {
        self.head = Node::default();
        self.outer = NsRef::default();
        self.attrs.clear();
        self.children.clear();
        self.bindings.clear();
        self.active.clear();
        self.open.clear();
        self.strings.clear();
    }

    pub(crate) fn own(&mut self, text: &str) -> NsRef {
        if let Some(k) = known(text) {
            return NsRef::Known(k);
        }
        let from = self.strings.len() as u32;
        self.strings.push_str(text);
        NsRef::Owned(from, self.strings.len() as u32)
    }

    #[inline]
    pub(crate) fn ns_bytes<'x>(&'x self, ns: NsRef, source: &'x [u8]) -> &'x [u8] {
        match ns {
            NsRef::Known(k) => KNOWN[k as usize].as_bytes(),
            NsRef::Source(a, b) => &source[a as usize..b as usize],
            NsRef::Owned(a, b) => &self.strings.as_bytes()[a as usize..b as usize],
        }
    }

    #[inline]
    pub(crate) fn ns_str<'x>(&'x self, ns: NsRef, source: &'x str) -> &'x str {
        match ns {
            NsRef::Known(k) => KNOWN[k as usize],
            NsRef::Source(a, b) => &source[a as usize..b as usize],
            NsRef::Owned(a, b) => &self.strings[a as usize..b as usize],
        }
    }

    /// The namespace that `prefix` (empty: the default) has at byte `at` of checked text.
    pub(crate) fn resolve(&self, source: &str, prefix: &str, at: usize) -> NsRef {
        if prefix == "xml" {
            return NsRef::Known(KNOWN_XML);
        }
        let at = at as u32;
        self.bindings
            .iter()
            .rev()
            .find(|b| b.from <= at && at < b.to && source[b.prefix.0 as usize..b.prefix.1 as usize] == *prefix)
            .map_or(self.outer, |b| b.ns)
    }

    /// Declarations made outside the node that begins at `at`, outermost first: (prefix, namespace).
    pub(crate) fn in_scope<'x>(&'x self, source: &'x str, at: u32) -> impl Iterator<Item = (&'x str, &'x str)> {
        let outer = ("", self.ns_str(self.outer, source));
        std::iter::once(outer).chain(
            self.bindings
                .iter()
                .filter(move |b| b.from < at && at < b.to)
                .map(move |b| {
                    (
                        &source[b.prefix.0 as usize..b.prefix.1 as usize],
                        self.ns_str(b.ns, source),
                    )
                }),
        )
    }
}

/// Reusable buffers of the framer: keep one per thread. After [`crate::Framer::next`] it holds the index of the
/// element that was handed out, and its text where that had to be rewritten.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) index: Index,
    pub(crate) canonical: String,
}

/// Names and namespaces around an element: what the stream header declared.
#[derive(Clone, Copy)]
pub(crate) struct Outer<'c> {
    pub default: &'c str,
    /// Its index into [`KNOWN`], where that need not be looked up.
    pub known: Option<u32>,
    pub prefixes: &'c [(Cow<'static, str>, Cow<'static, str>)],
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_known() {
        for (i, ns) in KNOWN.iter().enumerate() {
            assert_eq!(known(ns), Some(i as u32), "{ns}");
        }
        assert_eq!(known("jabber:clienT"), None);
    }
}
