//! From the text of a stream to messages (RFC 7395 sections 3.3 and 3.8).

use std::io;

use stanza::ns;
use xmlstream::{Event, Framer, Scratch};

use super::frame::{self, NORMAL, Opcode};
use crate::unsent::{CHUNK, OWN_LIMITS, own_stream};

const CLOSING_TAG: &[u8] = b"</stream:stream>";
/// What the text of a stream declares around everything, where an element does not do so itself.
const CONTENT: &str = " xmlns='jabber:client'";
/// The same for what the stream itself says.
const STREAM: &str = " xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'";

/// One for each thread.
#[derive(Default)]
pub(crate) struct Output {
    /// Stands between two elements of a stream.
    framer: Option<Framer>,
}

/// Writes messages for what `text` begins with: about as much as is given to the socket at once, and never part of
/// an element. `code` is for the close frame, 0 where everything is in order. Returns how much of the text it was.
pub(crate) fn write(
    output: &mut Output,
    text: &[u8],
    code: u16,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> io::Result<usize> {
    let mut used = 0;
    while used < text.len() && out.len() < CHUNK {
        used += item(output, &text[used..], code, scratch, out).ok_or_else(|| {
            output.framer = None;
            io::Error::other("what the server wrote is no stream")
        })?;
    }
    Ok(used)
}

fn item(output: &mut Output, text: &[u8], code: u16, scratch: &mut Scratch, out: &mut Vec<u8>) -> Option<usize> {
    if text.starts_with(b" ") {
        // Whitespace, to find out whether the peer is there: section 3.8 has pings for it.
        frame::begin(out, Opcode::Ping, 0);
        return Some(1);
    }
    if text.starts_with(CLOSING_TAG) {
        message(out, &["<close xmlns='", ns::FRAMING, "'/>"]);
        // Section 3.6: "the closing party MUST initiate the WebSocket closing handshake".
        frame::close(out, if code == 0 { NORMAL } else { code });
        return Some(CLOSING_TAG.len());
    }
    if text.starts_with(b"<?xml") || text.starts_with(b"<stream:stream ") {
        let step = Framer::new().next(text, scratch, &OWN_LIMITS).ok()?;
        let Event::Header(header) = step.event else { return None };
        let mut open = format!("<open xmlns='{}'", ns::FRAMING);
        for attr in header.attrs() {
            open.push(' ');
            open.push_str(&header.source()[attr.span()]);
        }
        message(out, &[&open, "/>"]);
        return Some(step.consumed);
    }
    let framer = match &mut output.framer {
        Some(framer) => framer,
        none => none.insert(own_stream(scratch)?),
    };
    let step = framer.next(text, scratch, &OWN_LIMITS).ok()?;
    let Event::Element(element) = step.event else {
        return None;
    };
    if text.starts_with(b"<stream:") {
        // As it is written, with its prefix: there are clients that look for that.
        let text = std::str::from_utf8(&text[..step.consumed]).ok()?;
        let (name, rest) = text.split_at(text.find([' ', '/', '>'])?);
        message(out, &[name, STREAM, rest]);
    } else if element.declares_default() {
        message(out, &[element.source()]);
    } else {
        let (name, rest) = element.source().split_at(element.name_end());
        message(out, &[name, CONTENT, rest]);
    }
    Some(step.consumed)
}

fn message(out: &mut Vec<u8>, pieces: &[&str]) {
    let length = pieces.iter().map(|piece| piece.len()).sum();
    frame::begin(out, Opcode::Text, length);
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages that a text becomes, a line each; pings and close frames by what they are.
    fn lines(text: &str) -> Vec<String> {
        let (mut output, mut scratch, mut out) = (Output::default(), Scratch::default(), Vec::new());
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let used = write(&mut output, rest, 0, &mut scratch, &mut out).expect("a stream");
            rest = &rest[used..];
        }
        let (mut lines, mut rest) = (Vec::new(), &out[..]);
        while let &[first, length, ref more @ ..] = rest {
            let (length, more) = match length {
                126 => (usize::from(u16::from_be_bytes([more[0], more[1]])), &more[2..]),
                length => (usize::from(length), more),
            };
            let payload = &more[..length];
            lines.push(match first {
                0x81 => String::from_utf8(payload.to_vec()).expect("UTF-8"),
                other => format!("{other:x} {payload:?}"),
            });
            rest = &more[length..];
        }
        lines
    }

    #[test]
    fn a_stream_in_messages() {
        let framing = "urn:ietf:params:xml:ns:xmpp-framing";
        let stream = "http://etherx.jabber.org/streams";
        let text = format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{stream}' id='1' \
             from='example.org' version='1.0' xml:lang='en'><stream:features><a xmlns='urn:a'/></stream:features>\
             <success xmlns='urn:s'/> <message to='a'><body>&lt;</body></message><iq\nxmlns='jabber:client'/>\
             <presence/><x><y xmlns='urn:y'/></x><stream:error><z xmlns='urn:z'/></stream:error></stream:stream>"
        );
        let expected = [
            format!("<open xmlns='{framing}' id='1' from='example.org' version='1.0' xml:lang='en'/>"),
            format!(
                "<stream:features xmlns='jabber:client' xmlns:stream='{stream}'><a xmlns='urn:a'/></stream:features>"
            ),
            "<success xmlns='urn:s'/>".to_owned(),
            "89 []".to_owned(),
            "<message xmlns='jabber:client' to='a'><body>&lt;</body></message>".to_owned(),
            "<iq\nxmlns='jabber:client'/>".to_owned(),
            "<presence xmlns='jabber:client'/>".to_owned(),
            "<x xmlns='jabber:client'><y xmlns='urn:y'/></x>".to_owned(),
            format!("<stream:error xmlns='jabber:client' xmlns:stream='{stream}'><z xmlns='urn:z'/></stream:error>"),
            format!("<close xmlns='{framing}'/>"),
            "88 [3, 232]".to_owned(),
        ];
        assert_eq!(lines(&text), expected);
    }

    #[test]
    fn much_goes_in_portions() {
        let one = format!("<message><body>{}</body></message>", "x".repeat(1000));
        let text = one.repeat(100);
        let (mut output, mut scratch, mut out) = (Output::default(), Scratch::default(), Vec::new());
        let used = write(&mut output, text.as_bytes(), 0, &mut scratch, &mut out).expect("a stream");
        assert_eq!(used % one.len(), 0, "whole elements");
        assert!(out.len() >= CHUNK && out.len() < CHUNK + 2 * one.len(), "{}", out.len());
        out.clear();
        // What is no stream is an error, and does not stay one.
        assert!(write(&mut output, b"text", 0, &mut scratch, &mut out).is_err());
        assert!(write(&mut output, b"<iq/>", 0, &mut scratch, &mut out).is_ok());
    }
}
