//! From the text of a stream to what stands in a `<body/>`.

use std::io;

use c2s::OWN_LIMITS;
use stanza::ns;
use xmlstream::{Event, Framer, Scratch};

/// What a response carries at most, but for its last element.
pub(super) const FULL: usize = 64 * 1024;

/// What the server's stream header says.
pub(super) struct Opened {
    pub(super) id: String,
    pub(super) from: String,
}

/// What the server has written and no response has taken.
#[derive(Default)]
pub(super) struct Output {
    framer: Framer,
    /// Part of an element whose rest is being written.
    partial: Vec<u8>,
    pub(super) opened: Option<Opened>,
    /// Whole elements.
    pub(super) children: Vec<u8>,
    /// One of them has the prefix of streams.
    pub(super) has_prefix: bool,
    /// The last of them is a stream error.
    pub(super) has_error: bool,
    /// The stream was closed.
    pub(super) is_closed: bool,
}

impl Output {
    /// It ends with a whole element.
    pub(super) fn is_whole(&self) -> bool {
        self.partial.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.is_whole() && self.children.len() >= FULL
    }

    /// Takes text of the stream, up to the element with which it is full. Returns how much of it.
    pub(super) fn take(&mut self, bytes: &[u8], scratch: &mut Scratch) -> io::Result<usize> {
        self.partial.extend_from_slice(bytes);
        let partial = std::mem::take(&mut self.partial);
        let mut rest = &partial[..];
        while !rest.is_empty() && !self.is_full() {
            match self.item(rest, scratch)? {
                0 => {
                    self.partial = rest.to_vec();
                    return Ok(bytes.len());
                }
                used => rest = &rest[used..],
            }
        }
        Ok(bytes.len() - rest.len())
    }

    /// Takes what the text begins with. Returns how much it is, 0 where its end is still to come.
    fn item(&mut self, text: &[u8], scratch: &mut Scratch) -> io::Result<usize> {
        let wrong = |_| io::Error::other("what the server wrote is no stream");
        if text.starts_with(b"<?") {
            self.framer.restart();
        }
        let step = self.framer.next(text, scratch, &OWN_LIMITS).map_err(wrong)?;
        match step.event {
            Event::Incomplete => {}
            Event::Header(header) => {
                let attr = |name| header.attr(name).unwrap_or_default().into_owned();
                self.opened = Some(Opened {
                    id: attr("id"),
                    from: attr("from"),
                });
            }
            Event::Close => self.is_closed = true,
            Event::Element(element) => {
                // White space before it is a keepalive, which long polling does without.
                let own = text[..step.consumed].trim_ascii_start();
                if own.starts_with(b"<stream:") {
                    // As it is written, with its prefix: there are clients that look for that.
                    self.has_prefix = true;
                    self.has_error = element.is("error", ns::STREAM);
                    self.children.extend_from_slice(own);
                } else if element.declares_default() {
                    self.children.extend_from_slice(element.source().as_bytes());
                } else {
                    let (name, rest) = element.source().split_at(element.name_end());
                    for piece in [name, " xmlns='jabber:client'", rest] {
                        self.children.extend_from_slice(piece.as_bytes());
                    }
                }
            }
        }
        Ok(step.consumed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
                          xmlns:stream='http://etherx.jabber.org/streams' id='1' from='example.org' version='1.0'>";

    #[test]
    fn a_stream_in_bodies() {
        let text = format!(
            "{HEADER}<stream:features><a xmlns='urn:a'/></stream:features>{HEADER}<success xmlns='urn:s'/> \
             <message to='a'><body>&lt;</body></message><iq\nxmlns='jabber:client'/>\
             <stream:error><z xmlns='urn:z'/></stream:error></stream:stream>"
        );
        let expected = "<stream:features><a xmlns='urn:a'/></stream:features><success xmlns='urn:s'/>\
                        <message xmlns='jabber:client' to='a'><body>&lt;</body></message><iq\nxmlns='jabber:client'/>\
                        <stream:error><z xmlns='urn:z'/></stream:error>";
        for size in [1, 7, text.len()] {
            let mut output = Output::default();
            for piece in text.as_bytes().chunks(size) {
                let taken = output.take(piece, &mut Scratch::default()).expect("a stream");
                assert_eq!(taken, piece.len());
            }
            assert_eq!(String::from_utf8_lossy(&output.children), expected, "by {size}");
            assert!(output.is_whole() && output.has_prefix && output.has_error && output.is_closed);
            assert_eq!(output.opened.map(|opened| opened.id).as_deref(), Some("1"));
        }
    }

    #[test]
    fn it_is_full_behind_a_whole_element() {
        let one = format!("<message><body>{}</body></message>", "x".repeat(1000));
        let text = format!("{HEADER}{}", one.repeat(100));
        let mut output = Output::default();
        let mut taken = 0;
        for piece in text.as_bytes().chunks(16 * 1024) {
            let count = output.take(piece, &mut Scratch::default()).expect("a stream");
            taken += count;
            if count < piece.len() {
                break;
            }
        }
        assert!(output.is_full());
        assert_eq!((taken - HEADER.len()) % one.len(), 0, "whole elements");
        assert!(output.children.len() < FULL + 2 * one.len());
    }
}
