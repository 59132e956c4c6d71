//! A client's side of XMPP over WebSocket (RFC 7395, RFC 6455), so that what a test says to a stream goes that way too:
//! what it sends is cut into elements, each of which goes as a message; what comes is told as of any other stream.

use std::collections::VecDeque;
use std::mem;

use minidom::Element;

use crate::reader::{Header, Item, Reader};
use crate::stanza::Stanza;

pub(crate) const NS_FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// Any key will do: the server must not care.
const KEY: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as clients send it. `first`: its first byte, with FIN and opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let length = payload.len();
    match length {
        0..126 => out.push(0x80 | length as u8),
        126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&KEY);
    out.extend(payload.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
    out
}

/// The state of a WebSocket.
pub(crate) struct Web {
    /// What was sent, cut. None once it was no XML.
    outgoing: Option<Reader>,
    /// What has come of a frame.
    incoming: Vec<u8>,
    /// The code of the server's close frame.
    pub(crate) close_code: Option<u16>,
    /// What pongs have carried.
    pub(crate) pongs: Vec<Vec<u8>>,
}

impl Web {
    pub(crate) fn new() -> Web {
        Web {
            outgoing: Some(Reader::new()),
            incoming: Vec::new(),
            close_code: None,
            pongs: Vec::new(),
        }
    }

    pub(crate) fn restart(&mut self) {
        self.outgoing = Some(Reader::new());
    }

    /// What is sent for a part of a stream.
    pub(crate) fn encode(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut items = VecDeque::new();
        let read = self.outgoing.as_mut().map(|outgoing| outgoing.feed(bytes, &mut items));
        let mut out = Vec::new();
        for item in items {
            match item {
                Item::Header(header) => out.extend(frame(0x81, open(&header).as_bytes())),
                Item::Stanza(stanza) => out.extend(frame(0x81, alone(stanza.raw()).as_bytes())),
                Item::Close => out.extend(frame(0x81, format!("<close xmlns='{NS_FRAMING}'/>").as_bytes())),
                Item::Space(_) | Item::End { .. } => {}
            }
        }
        if !matches!(read, Some(Ok(()))) {
            // What is no XML goes as it is.
            self.outgoing = None;
            out.extend(frame(0x81, bytes));
        }
        out
    }

    /// What the server has sent.
    pub(crate) fn decode(&mut self, bytes: &[u8], items: &mut VecDeque<Item>) -> Result<(), String> {
        self.incoming.extend_from_slice(bytes);
        let incoming = mem::take(&mut self.incoming);
        let mut rest = &incoming[..];
        while let Some((first, payload, length)) = take(rest)? {
            match first {
                0x81 => items.push_back(message(payload)?),
                0x88 => self.close_code = payload.first_chunk().map(|code| u16::from_be_bytes(*code)),
                0x89 => items.push_back(Item::Space(1)),
                0x8a => self.pongs.push(payload.to_vec()),
                other => return Err(format!("the server sent a frame of the kind {other:x}")),
            }
            rest = &rest[length..];
        }
        self.incoming = rest.to_vec();
        Ok(())
    }
}

/// The first byte of a frame, what it carries, its length.
type Taken<'a> = (u8, &'a [u8], usize);

/// The frame that the bytes begin with.
fn take(bytes: &[u8]) -> Result<Option<Taken<'_>>, String> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    if second & 0x80 != 0 {
        return Err("the server has masked a frame".to_owned());
    }
    let extended = match second {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if rest.len() < extended {
        return Ok(None);
    }
    let length = match extended {
        0 => usize::from(second),
        _ => rest[..extended]
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte)),
    };
    let payload = rest.get(extended..extended + length);
    Ok(payload.map(|payload| (first, payload, 2 + extended + length)))
}

/// A message is one element that stands on its own (RFC 7395 section 3.3.3).
fn message(payload: &[u8]) -> Result<Item, String> {
    let text = String::from_utf8(payload.to_vec()).map_err(|error| format!("a message is not UTF-8: {error}"))?;
    let element: Element = text
        .parse()
        .map_err(|error| format!("a message is no element of its own: {error}: {text}"))?;
    if !text.starts_with('<') || element.ns().is_empty() {
        return Err(format!("a message does not stand on its own: {text}"));
    }
    Ok(match (element.ns().as_str(), element.name()) {
        (NS_FRAMING, "open") => Item::Header(Header::of_open(text, &element)),
        (NS_FRAMING, "close") => Item::Close,
        _ => Item::Stanza(Stanza::parse(text)?),
    })
}

fn open(header: &Header) -> String {
    let mut out = format!("<open xmlns='{NS_FRAMING}'");
    for name in ["to", "from", "version", "xml:lang"] {
        if let Some(value) = header.attr(name) {
            out.push_str(&format!(
                " {name}='{}'",
                value.replace('&', "&amp;").replace('\'', "&apos;")
            ));
        }
    }
    out + "/>"
}

/// An element of a client's stream with the namespaces that the header would have declared.
pub(crate) fn alone(raw: &str) -> String {
    let tag = &raw[..raw.find('>').unwrap_or(raw.len())];
    if tag.contains("xmlns=") {
        return raw.to_owned();
    }
    let at = tag.find([' ', '/', '\n', '\t']).unwrap_or(tag.len());
    format!("{} xmlns='jabber:client'{}", &raw[..at], &raw[at..])
}
