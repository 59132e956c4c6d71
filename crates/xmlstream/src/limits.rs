//! What an element may cost, and what can be wrong with it.

/// Depth that is never exceeded whatever [`Limits::depth`] says: a minidom tree is dropped by recursion.
pub const MAX_DEPTH: usize = 1_000;

/// What one top-level element, or a stream header, may cost. Checked while scanning, before anything is stored.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of one element or header, markup included.
    pub bytes: usize,
    /// Elements in one stanza, itself included.
    pub elements: usize,
    /// Nesting; the top-level element is at depth 1. At most [`MAX_DEPTH`].
    pub depth: usize,
    /// Attributes of one element, namespace declarations included.
    pub attributes: usize,
    /// Namespace declarations in one stanza or header.
    pub namespaces: usize,
    /// Bytes of a qualified name.
    pub name: usize,
}

impl Default for Limits {
    /// What an authenticated client's stanza may be.
    fn default() -> Limits {
        Limits {
            bytes: 262_144,
            elements: 10_000,
            depth: 64,
            attributes: 64,
            namespaces: 256,
            name: 256,
        }
    }
}

/// Why the input was refused. The stream cannot go on after any of these (RFC 6120 §4.9.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XmlError {
    /// Not XML 1.0, not UTF-8, or not namespace-well-formed (RFC 6120 §4.9.3.13, §11.3).
    NotWellFormed,
    /// Comment, processing instruction, document type, entity, XML version other than 1.0 (§4.9.3.18, §11.1).
    RestrictedXml,
    /// An encoding other than UTF-8 was declared or detected (§4.9.3.22, §11.6).
    UnsupportedEncoding,
    /// Something other than whitespace between two top-level elements (`bad-format`, §4.9.3.1).
    TextBetweenStanzas,
    /// The stream header's own prefix is not declared (§4.9.3.2).
    BadNamespacePrefix,
    /// More than [`Limits::bytes`].
    TooLong,
    /// More than [`Limits::depth`].
    TooDeep,
    /// More than [`Limits::elements`].
    TooManyElements,
    /// More than [`Limits::attributes`].
    TooManyAttributes,
    /// More than [`Limits::namespaces`], or too much text in those of the stream header.
    TooManyNamespaces,
    /// More than [`Limits::name`].
    NameTooLong,
}

impl XmlError {
    /// Whether a [`Limits`] field was exceeded (`policy-violation`) rather than the grammar broken.
    pub fn is_limit(self) -> bool {
        use XmlError::*;
        matches!(
            self,
            TooLong | TooDeep | TooManyElements | TooManyAttributes | TooManyNamespaces | NameTooLong
        )
    }
}

impl std::fmt::Display for XmlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            XmlError::NotWellFormed => "not well-formed XML",
            XmlError::RestrictedXml => "a part of XML that XMPP forbids",
            XmlError::UnsupportedEncoding => "an encoding other than UTF-8",
            XmlError::TextBetweenStanzas => "text between stanzas",
            XmlError::BadNamespacePrefix => "undeclared prefix of the stream header",
            XmlError::TooLong => "element too long",
            XmlError::TooDeep => "element nested too deeply",
            XmlError::TooManyElements => "too many elements in a stanza",
            XmlError::TooManyAttributes => "too many attributes",
            XmlError::TooManyNamespaces => "too many namespace declarations",
            XmlError::NameTooLong => "name too long",
        })
    }
}

impl std::error::Error for XmlError {}
