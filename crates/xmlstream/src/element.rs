//! Views of checked text: the stream header, an element, a child of it. All borrow from the input and the scratch.

use std::borrow::Cow;
use std::ops::Range;

use crate::canonical::canonical_node;
use crate::dom::build;
use crate::index::{AttrRec, Index, KNOWN_XML, Node, NsRef};
use crate::text::{push_cdata, push_unescaped, unescape_attr, unescape_text};
use crate::walk::{Content, TagAttrs, Token};

/// An attribute as it stands in the source. Namespace declarations are not attributes here.
#[derive(Clone, Copy)]
pub struct Attr<'a> {
    source: &'a str,
    index: &'a Index,
    rec: &'a AttrRec,
}

impl<'a> Attr<'a> {
    pub fn prefix(&self) -> Option<&'a str> {
        (self.rec.name.colon != 0).then(|| &self.source[self.rec.name.prefix()])
    }
    /// The name without its prefix.
    pub fn local(&self) -> &'a str {
        &self.source[self.rec.name.local()]
    }
    /// Whether it is the unprefixed attribute of that name.
    #[inline]
    pub fn is(&self, local: &str) -> bool {
        self.rec.name.colon == 0 && self.rec.name.is(local, self.source)
    }
    /// The namespace of a prefixed attribute; the others have none.
    pub fn ns(&self) -> &'a str {
        self.index.ns_str(self.rec.ns, self.source)
    }
    /// The value still escaped, as it stands between its quotes.
    #[inline]
    pub fn raw(&self) -> &'a str {
        &self.source[self.rec.value.0 as usize..self.rec.value.1 as usize]
    }
    #[inline]
    pub fn value(&self) -> Cow<'a, str> {
        if self.rec.plain {
            Cow::Borrowed(self.raw())
        } else {
            unescape_attr(self.raw())
        }
    }
    /// Bytes of the source from the first of the name to behind the closing quote.
    pub fn span(&self) -> Range<usize> {
        self.rec.name.start as usize..self.rec.value.1 as usize + 1
    }
    /// Bytes of the source between the quotes.
    pub fn value_span(&self) -> Range<usize> {
        self.rec.value.0 as usize..self.rec.value.1 as usize
    }
}

fn attrs<'a>(source: &'a str, index: &'a Index) -> impl Iterator<Item = Attr<'a>> + Clone {
    index.attrs.iter().map(move |rec| Attr { source, index, rec })
}

fn attr<'a>(source: &'a str, index: &'a Index, local: &str) -> Option<Cow<'a, str>> {
    attrs(source, index).find(|a| a.is(local)).map(|a| a.value())
}

fn lang<'a>(source: &'a str, index: &'a Index) -> Option<Cow<'a, str>> {
    attrs(source, index)
        .find(|a| matches!(a.rec.ns, NsRef::Known(KNOWN_XML)) && a.rec.name.is("lang", source))
        .map(|a| a.value())
}

/// The start tag of a stream (RFC 6120 §4.7).
#[derive(Clone, Copy)]
pub struct Header<'a> {
    source: &'a str,
    index: &'a Index,
    head: &'a Node,
}

impl<'a> Header<'a> {
    pub(crate) fn new(source: &'a str, index: &'a Index) -> Header<'a> {
        Header {
            source,
            index,
            head: &index.head,
        }
    }
    /// The name without its prefix; `stream` in a proper one.
    pub fn name(&self) -> &'a str {
        &self.source[self.head.name.local()]
    }
    /// Empty where there is none.
    pub fn prefix(&self) -> &'a str {
        &self.source[self.head.name.prefix()]
    }
    /// The namespace of the root element; empty where there is none.
    pub fn ns(&self) -> &'a str {
        self.index.ns_str(self.head.ns, self.source)
    }
    /// The content namespace (RFC 6120 §4.8.2), where the header declares a default.
    pub fn default_ns(&self) -> Option<&'a str> {
        let mut all = self.index.bindings.iter();
        all.find(|b| b.prefix.0 == b.prefix.1)
            .map(|b| self.index.ns_str(b.ns, self.source))
    }
    /// The value of an unprefixed attribute: `to`, `from`, `id`, `version`.
    pub fn attr(&self, local: &str) -> Option<Cow<'a, str>> {
        attr(self.source, self.index, local)
    }
    /// `xml:lang`.
    pub fn lang(&self) -> Option<Cow<'a, str>> {
        lang(self.source, self.index)
    }
    pub fn attrs(&self) -> impl Iterator<Item = Attr<'a>> + Clone + use<'a> {
        attrs(self.source, self.index)
    }
    pub fn source(&self) -> &'a str {
        self.source
    }
}

/// A first-level element. Its source means the same wherever it stands under the stream's default namespace.
#[derive(Clone, Copy)]
pub struct Element<'a> {
    source: &'a str,
    index: &'a Index,
}

impl<'a> Element<'a> {
    pub(crate) fn new(source: &'a str, index: &'a Index) -> Element<'a> {
        Element { source, index }
    }
    fn head(&self) -> &'a Node {
        &self.index.head
    }
    fn as_child(&self) -> Child<'a> {
        Child {
            source: self.source,
            index: self.index,
            node: *self.head(),
            base: 0,
        }
    }
    /// The name without its prefix.
    pub fn name(&self) -> &'a str {
        &self.source[self.head().name.local()]
    }
    /// The namespace; empty where there is none.
    pub fn ns(&self) -> &'a str {
        self.index.ns_str(self.head().ns, self.source)
    }
    #[inline]
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.head().name.is(name, self.source)
            && self.index.ns_bytes(self.head().ns, self.source.as_bytes()) == ns.as_bytes()
    }
    /// The whole element, checked; what [`Attr::span`] and the other spans count in.
    pub fn source(&self) -> &'a str {
        self.source
    }
    /// The value of an unprefixed attribute.
    pub fn attr(&self, local: &str) -> Option<Cow<'a, str>> {
        attr(self.source, self.index, local)
    }
    /// `xml:lang`.
    pub fn lang(&self) -> Option<Cow<'a, str>> {
        lang(self.source, self.index)
    }
    pub fn attrs(&self) -> impl Iterator<Item = Attr<'a>> + Clone + use<'a> {
        attrs(self.source, self.index)
    }
    /// Offset in the source behind the name in the start tag: where an attribute can be put in.
    pub fn name_end(&self) -> usize {
        self.head().name.end as usize
    }
    /// Whether its start tag declares a default namespace. Without one it leans on that of the stream.
    pub fn declares_default(&self) -> bool {
        let start = self.head().start;
        let mut own = self.index.bindings.iter().take_while(|b| b.from == start);
        own.any(|b| b.prefix.0 == b.prefix.1)
    }
    /// Whether it is written `<a/>`: then a child cannot be put in by inserting at the end of the inner span.
    pub fn is_empty_tag(&self) -> bool {
        let head = self.head();
        head.tag_end == head.end
    }
    /// Bytes of the source between start and end tag; empty, at the end, in `<a/>`.
    pub fn inner_span(&self) -> Range<usize> {
        let head = self.head();
        head.tag_end as usize..head.inner_end as usize
    }
    /// Between start and end tag.
    pub fn inner(&self) -> &'a str {
        &self.source[self.inner_span()]
    }
    /// The text directly in it, without that of its children.
    pub fn text(&self) -> Cow<'a, str> {
        self.as_child().text()
    }
    pub fn children(&self) -> impl Iterator<Item = Child<'a>> + Clone + use<'a> {
        let Element { source, index } = *self;
        let base = self.head().tag_end;
        index.children.iter().map(move |&node| Child {
            source,
            index,
            node,
            base,
        })
    }
    /// The first child of that name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<Child<'a>> {
        self.children().find(|c| c.is(name, ns))
    }
    /// Every namespace that is declared in it, at whatever depth. What is not among them nothing in it is of, but for
    /// the default namespace around it and that of XML. Costs no look at the text.
    pub fn declarations(&self) -> impl Iterator<Item = Declaration<'a>> + use<'a> {
        let Element { source, index } = *self;
        index.bindings.iter().map(move |b| Declaration {
            ns: index.ns_str(b.ns, source),
            holds: &source[b.from as usize..b.to as usize],
        })
    }
    pub fn to_dom(&self) -> minidom::Element {
        self.as_child().to_dom()
    }
}

/// A namespace declaration.
#[derive(Clone, Copy, Debug)]
pub struct Declaration<'a> {
    pub ns: &'a str,
    /// The element that makes it, as it stands in the text.
    holds: &'a str,
}

impl<'a> Declaration<'a> {
    /// The name without its prefix of the element that makes it.
    pub fn element(&self) -> &'a str {
        let name = self.holds.get(1..).unwrap_or_default();
        let end = name.find([' ', '\t', '\n', '\r', '/', '>']).unwrap_or(name.len());
        let name = &name[..end];
        name.split_once(':').map_or(name, |(_, local)| local)
    }
    /// Whether that element has no child.
    pub fn is_leaf(&self) -> bool {
        let tags = memchr::memchr_iter(b'<', self.holds.as_bytes()).take(3).count();
        tags == if self.holds.ends_with("/>") { 1 } else { 2 }
    }
}

/// An element inside an [`Element`].
#[derive(Clone, Copy)]
pub struct Child<'a> {
    /// Of the top-level element.
    source: &'a str,
    index: &'a Index,
    node: Node,
    /// Where the parent's inner text begins.
    base: u32,
}

impl<'a> Child<'a> {
    /// The name without its prefix.
    pub fn name(&self) -> &'a str {
        &self.source[self.node.name.local()]
    }
    /// The namespace; empty where there is none.
    pub fn ns(&self) -> &'a str {
        self.index.ns_str(self.node.ns, self.source)
    }
    #[inline]
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.node.name.is(name, self.source)
            && self.index.ns_bytes(self.node.ns, self.source.as_bytes()) == ns.as_bytes()
    }
    /// As it stands in the parent. It may use prefixes and a default namespace declared there: to take it elsewhere
    /// use [`Child::write_canonical`].
    pub fn source(&self) -> &'a str {
        &self.source[self.node.start as usize..self.node.end as usize]
    }
    /// Bytes of the parent's inner text.
    pub fn span(&self) -> Range<usize> {
        (self.node.start - self.base) as usize..(self.node.end - self.base) as usize
    }
    /// Between start and end tag.
    pub fn inner(&self) -> &'a str {
        &self.source[self.node.tag_end as usize..self.node.inner_end as usize]
    }
    /// The value of an unprefixed attribute.
    pub fn attr(&self, local: &str) -> Option<Cow<'a, str>> {
        let found = TagAttrs::new(self.source, &self.node).find(|a| self.source[a.name.all()] == *local)?;
        Some(unescape_attr(&self.source[found.value]))
    }
    /// `xml:lang`.
    pub fn lang(&self) -> Option<Cow<'a, str>> {
        self.attr("xml:lang")
    }
    /// The text directly in it, without that of its children.
    pub fn text(&self) -> Cow<'a, str> {
        let inner = self.inner();
        if memchr::memchr(b'<', inner.as_bytes()).is_none() {
            return unescape_text(inner);
        }
        let mut out = String::new();
        for token in Content::new(self.source, self.index, &self.node) {
            match token {
                Token::Text(range) => push_unescaped(&mut out, &self.source[range], false),
                Token::Cdata(range) => push_cdata(&mut out, &self.source[range]),
                Token::Child(_) => {}
            }
        }
        Cow::Owned(out)
    }
    /// Its children, found by reading it once more.
    pub fn children(&self) -> Children<'a> {
        Children {
            source: self.source,
            index: self.index,
            base: self.node.tag_end,
            content: Content::new(self.source, self.index, &self.node),
        }
    }
    /// The first child of that name and namespace.
    pub fn child(&self, name: &str, ns: &str) -> Option<Child<'a>> {
        self.children().find(|c| c.is(name, ns))
    }
    pub fn to_dom(&self) -> minidom::Element {
        build(self.source, self.index, &self.node)
    }
    /// Appends it so that it means the same where the default namespace is `default_ns` and no prefix is declared.
    pub fn write_canonical(&self, default_ns: &str, out: &mut String) {
        canonical_node(self.source, self.index, &self.node, default_ns, out);
    }
}

/// Children of a [`Child`].
pub struct Children<'a> {
    source: &'a str,
    index: &'a Index,
    base: u32,
    content: Content<'a>,
}

impl<'a> Iterator for Children<'a> {
    type Item = Child<'a>;

    fn next(&mut self) -> Option<Child<'a>> {
        loop {
            if let Token::Child(node) = self.content.next()? {
                return Some(Child {
                    source: self.source,
                    index: self.index,
                    node,
                    base: self.base,
                });
            }
        }
    }
}

// Names only: what a stanza says does not belong in a log.
impl std::fmt::Debug for Header<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Header({{{}}}{}, {} bytes)",
            self.ns(),
            self.name(),
            self.source.len()
        )
    }
}

impl std::fmt::Debug for Element<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Element({{{}}}{}, {} bytes)",
            self.ns(),
            self.name(),
            self.source.len()
        )
    }
}

impl std::fmt::Debug for Child<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Child({{{}}}{}, {} bytes)",
            self.ns(),
            self.name(),
            self.source().len()
        )
    }
}

impl std::fmt::Debug for Attr<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Attr({}, {} bytes)", self.local(), self.raw().len())
    }
}
