//! What a server sends, cut into stream header, stanzas and end by a parser that is not the server's own.

use std::collections::VecDeque;
use std::mem;

use rxml::error::EndOrError;
use rxml::{Event, Options, Parse, Parser, WithOptions};

use crate::stanza::Stanza;

/// Longest token (attribute value, text chunk) that a test may send through a server, in bytes.
const TOKEN_BYTES: usize = 16 * 1024 * 1024;

/// The stream header of the server.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// The bytes of declaration and start tag.
    pub raw: String,
    /// It began with an XML declaration.
    pub declared: bool,
    /// Namespace and name of the root.
    pub ns: String,
    pub name: String,
    /// Attributes without namespace, and `xml:lang`.
    attributes: Vec<(String, String)>,
}

impl Header {
    /// `<open/>` (RFC 7395), told as the header that it stands for.
    pub(crate) fn of_open(raw: String, open: &minidom::Element) -> Header {
        let attributes = ["id", "to", "from", "version", "xml:lang"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), attribute(open, name)?.to_owned())));
        Header {
            raw,
            declared: true,
            ns: crate::NS_STREAM.to_owned(),
            name: "stream".to_owned(),
            attributes: attributes.collect(),
        }
    }

    pub fn attr(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// One thing that came from the server.
#[derive(Debug)]
pub enum Item {
    Header(Header),
    Stanza(Stanza),
    /// Whitespace between stanzas (a keepalive).
    Space(usize),
    /// `</stream:stream>`
    Close,
    /// The connection ended. `clean`: with TLS' own end of data, or it had no TLS.
    End {
        clean: bool,
    },
}

fn attribute<'a>(element: &'a minidom::Element, name: &'a str) -> Option<&'a str> {
    match name.strip_prefix("xml:") {
        Some(local) => element.attr_ns(rxml::Namespace::XML.as_str(), local),
        None => element.attr(name),
    }
}

pub(crate) struct Reader {
    parser: Parser,
    /// Not parsed yet.
    pending: Vec<u8>,
    /// Consumed, and not yet part of an item.
    raw: Vec<u8>,
    depth: usize,
    header: Header,
}

impl Reader {
    pub(crate) fn new() -> Reader {
        let mut parser = Parser::with_options(Options {
            max_token_length: TOKEN_BYTES,
            ..Options::default()
        });
        // A keepalive is to be seen when it comes, not with the next stanza.
        parser.set_text_buffering(false);
        Reader {
            parser,
            pending: Vec::new(),
            raw: Vec::new(),
            depth: 0,
            header: Header::default(),
        }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8], out: &mut VecDeque<Item>) -> Result<(), String> {
        self.pending.extend_from_slice(bytes);
        let pending = mem::take(&mut self.pending);
        let mut rest = &pending[..];
        loop {
            let before = rest.len();
            let event = self.parser.parse(&mut rest, false);
            let used = before - rest.len();
            self.raw.extend_from_slice(&pending[pending.len() - before..][..used]);
            match event {
                Ok(Some(event)) => self.event(event, out)?,
                Ok(None) | Err(EndOrError::NeedMoreData) => break,
                Err(EndOrError::Error(error)) => {
                    let near = String::from_utf8_lossy(&self.raw).into_owned();
                    return Err(format!("the server sent what is not XML: {error} near {near:?}"));
                }
            }
        }
        self.pending = rest.to_vec();
        Ok(())
    }

    /// Whether no element has begun that has not ended.
    pub(crate) fn is_between(&self) -> bool {
        self.depth == 1 && self.raw.is_empty() && self.pending.is_empty()
    }

    fn event(&mut self, event: Event, out: &mut VecDeque<Item>) -> Result<(), String> {
        match event {
            Event::XmlDeclaration(..) => self.header.declared = true,
            Event::StartElement(_, (ns, name), attributes) => {
                if self.depth == 0 {
                    self.header.ns = ns.as_str().to_owned();
                    self.header.name = name.to_string();
                    for ((ns, name), value) in attributes.iter() {
                        let key = if ns.is_none() {
                            name.to_string()
                        } else {
                            format!("xml:{name}")
                        };
                        self.header.attributes.push((key, value.clone()));
                    }
                    self.header.raw = self.take_raw()?;
                    out.push_back(Item::Header(mem::take(&mut self.header)));
                }
                self.depth += 1;
            }
            Event::EndElement(_) => {
                self.depth -= 1;
                match self.depth {
                    0 => {
                        self.take_raw()?;
                        out.push_back(Item::Close);
                    }
                    1 => {
                        let raw = self.take_raw()?;
                        out.push_back(Item::Stanza(Stanza::parse(raw)?));
                    }
                    _ => {}
                }
            }
            Event::Text(_, text) => {
                if self.depth == 1 {
                    self.take_text();
                    if !text.trim().is_empty() {
                        return Err(format!("the server sent text between stanzas: {text:?}"));
                    }
                    out.push_back(Item::Space(text.len()));
                }
            }
        }
        Ok(())
    }

    /// The bytes of the item that just ended. Counted by what the parser has taken, since it takes a tag up to its `>`
    /// and no further; the lengths that its events tell are wrong behind CDATA sections.
    fn take_raw(&mut self) -> Result<String, String> {
        let raw = mem::take(&mut self.raw);
        String::from_utf8(raw).map_err(|error| format!("the server sent what is not UTF-8: {error}"))
    }

    /// The same behind text, of which the parser may have seen the `<` that ends it.
    fn take_text(&mut self) {
        let end = self.raw.iter().position(|byte| *byte == b'<').unwrap_or(self.raw.len());
        self.raw.drain(..end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_cut_wherever_its_bytes_are() {
        let text = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='s' id='1' xml:lang='en'>\
                    <stream:features/> <message to='a'><body>h&amp;i<![CDATA[]]]]><![CDATA[>]]></body></message> <iq/></stream:stream>";
        for size in 1..text.len() {
            let (mut reader, mut items) = (Reader::new(), VecDeque::new());
            for piece in text.as_bytes().chunks(size) {
                reader.feed(piece, &mut items).expect("well-formed");
            }
            let seen: Vec<String> = items
                .iter()
                .map(|item| match item {
                    Item::Header(header) => {
                        assert!(header.declared && header.attr("xml:lang") == Some("en"), "{header:?}");
                        "header".to_owned()
                    }
                    Item::Stanza(stanza) => stanza.raw().to_owned(),
                    Item::Space(_) => " ".to_owned(),
                    Item::Close => "close".to_owned(),
                    Item::End { .. } => "end".to_owned(),
                })
                .collect();
            let message = "<message to='a'><body>h&amp;i<![CDATA[]]]]><![CDATA[>]]></body></message>";
            assert_eq!(
                seen,
                ["header", "<stream:features/>", " ", message, " ", "<iq/>", "close"],
                "by {size}"
            );
        }
    }
}
