//! Frames and strictly checks an XML stream; knows no XMPP policy.
//!
//! One pass over the input finds the end of a top-level element, checks it and indexes its attributes and children.
//! Nothing is built on the heap for it: the index lives in a reusable [`Scratch`], the text stays where it was read.
//! The check is stricter than quick-xml's because a peer's bytes are forwarded as they are (spliced) and must not
//! mean something else, or nothing at all, to the parser of whoever receives them: what is accepted here is XML 1.0
//! (5th edition) and Namespaces in XML 1.0, without the parts RFC 6120 §11.1 forbids.
//!
//! quick-xml reads the already checked text where a tree is wanted ([`Element::to_dom`]) and where an element leans
//! on the stream header and has to be rewritten so that it stands on its own (`canonical`).

mod canonical;
mod class;
mod dom;
mod element;
mod frame;
mod framer;
mod index;
mod limits;
mod prologue;
mod scan;
mod text;
mod walk;

pub use element::{Attr, Child, Children, Declaration, Element, Header};
pub use framer::{Event, Framer, Step, parse_document, parse_element};
pub use index::Scratch;
pub use limits::{Limits, MAX_DEPTH, XmlError};
pub use text::{escape_attr, escape_text, unescape_attr, unescape_text};
