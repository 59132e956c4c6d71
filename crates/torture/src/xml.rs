//! What a server sends, cut into elements by a parser that is not the server's own.

use std::collections::VecDeque;

use rxml::error::EndOrError;
use rxml::{Event, Parse, Parser};

/// An element with all that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) ns: String,
    attributes: Vec<(String, String)>,
    pub(crate) children: Vec<Node>,
    pub(crate) text: String,
}

impl Node {
    pub(crate) fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }

    pub(crate) fn attr(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn child(&self, name: &str, ns: &str) -> Option<&Node> {
        self.children.iter().find(|child| child.is(name, ns))
    }

    /// The condition of a stream error, a stanza error or a failure: the first child that is not the text.
    pub(crate) fn condition(&self) -> &str {
        let found = self.children.iter().find(|child| child.name != "text");
        found.map_or("(no condition)", |child| &child.name)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Header,
    Element(Node),
    /// `</stream:stream>`
    Close,
}

/// Reads one stream; a restarted stream needs a new one.
pub(crate) struct Reader {
    parser: Parser,
    pending: Vec<u8>,
    /// Elements that are open, the stream itself not among them.
    open: Vec<Node>,
    has_begun: bool,
}

impl Reader {
    pub(crate) fn new() -> Reader {
        Reader {
            parser: Parser::new(),
            pending: Vec::new(),
            open: Vec::new(),
            has_begun: false,
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut VecDeque<Item>) -> Result<(), String> {
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut rest = &pending[..];
        loop {
            match self.parser.parse(&mut rest, false) {
                Ok(Some(event)) => self.event(event, out),
                Ok(None) | Err(EndOrError::NeedMoreData) => break,
                Err(EndOrError::Error(error)) => return Err(format!("the server sent what is not XML: {error}")),
            }
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    fn event(&mut self, event: Event, out: &mut VecDeque<Item>) {
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(..) if !self.has_begun => {
                self.has_begun = true;
                out.push_back(Item::Header);
            }
            Event::StartElement(_, (ns, name), attributes) => {
                let attributes = attributes.iter();
                self.open.push(Node {
                    name: name.to_string(),
                    ns: ns.as_str().to_owned(),
                    attributes: attributes
                        .map(|((_, name), value)| (name.to_string(), value.clone()))
                        .collect(),
                    ..Node::default()
                });
            }
            Event::EndElement(_) => match self.open.pop() {
                None => out.push_back(Item::Close),
                Some(done) => match self.open.last_mut() {
                    Some(parent) => parent.children.push(done),
                    None => out.push_back(Item::Element(done)),
                },
            },
            Event::Text(_, text) => {
                if let Some(node) = self.open.last_mut() {
                    node.text.push_str(&text);
                }
            }
        }
    }
}

/// Text for the inside of an element.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_wherever_its_bytes_are() {
        let text = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='s'> <message to='a'>\
                    <body>h&amp;i&lt;</body><x xmlns='n'/></message>\n<r xmlns='urn:xmpp:sm:3'/></stream:stream>";
        for size in 1..text.len() {
            let (mut reader, mut items) = (Reader::new(), VecDeque::new());
            for piece in text.as_bytes().chunks(size) {
                reader.feed(piece, &mut items).expect("well-formed");
            }
            assert_eq!(items.len(), 4, "by {size}");
            assert_eq!((&items[0], &items[3]), (&Item::Header, &Item::Close));
            let Item::Element(message) = &items[1] else {
                panic!("an element")
            };
            assert_eq!(message.attr("to"), Some("a"));
            assert_eq!(
                message.child("body", "jabber:client").map(|body| body.text.as_str()),
                Some("h&i<")
            );
            assert!(message.child("x", "n").is_some() && message.child("x", "m").is_none());
            assert!(matches!(&items[2], Item::Element(r) if r.is("r", "urn:xmpp:sm:3")));
        }
        assert_eq!(escape("h&i<"), "h&amp;i&lt;");
    }
}
