//! The same connection as a WebSocket (RFC 7395, RFC 6455): frames around what is sent, and off what comes.

use super::{Access, Client, DOMAIN};
use crate::Outcome;
use crate::scan::Scanner;

/// What a path leads to by default.
const PATH: &str = "/xmpp-websocket";
const FIN_TEXT: u8 = 0x81;
/// Opcodes of what has payload for us, and of the end (RFC 6455 section 5.2).
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;

/// What has come of a frame.
#[derive(Debug, Default)]
pub(super) struct Frames {
    head: Vec<u8>,
    opcode: u8,
    /// Bytes of payload that are missing.
    left: usize,
    /// The server said that it is the end.
    pub(super) closed: bool,
}

impl Frames {
    /// What is in the frames that these bytes continue.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len());
        while let Some(&first) = bytes.first() {
            if self.left > 0 {
                let (some, rest) = bytes.split_at(self.left.min(bytes.len()));
                if matches!(self.opcode, CONTINUATION | TEXT) {
                    out.extend_from_slice(some);
                }
                self.left -= some.len();
                bytes = rest;
                continue;
            }
            self.head.push(first);
            bytes = &bytes[1..];
            let &[kind, short, ref long @ ..] = &self.head[..] else {
                continue;
            };
            let more = match short {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            if long.len() == more {
                let length = |sum: usize, byte: &u8| sum << 8 | usize::from(*byte);
                self.left = match more {
                    0 => usize::from(short),
                    _ => long.iter().fold(0, length),
                };
                self.opcode = kind & 0x0f;
                self.closed |= self.opcode == CLOSE;
                self.head.clear();
            }
        }
        out
    }
}

/// A part of a client's stream as a frame. A mask of zeros is one too, and costs nothing.
pub(super) fn frame(part: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(part);
    let payload = match text.strip_prefix('<') {
        _ if text == "</stream:stream>" => "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>".to_owned(),
        // There is no header that would have declared it (RFC 7395 section 3.3.3).
        Some(rest) if ["iq", "presence", "message"].iter().any(|name| rest.starts_with(name)) => {
            let at = text.find([' ', '/', '>']).unwrap_or(text.len());
            format!("{} xmlns='jabber:client'{}", &text[..at], &text[at..])
        }
        _ => text.into_owned(),
    };
    let mut out = vec![FIN_TEXT];
    // The bit of the mask, and the length in as few bytes as it takes (RFC 6455 section 5.2).
    match payload.len() {
        length @ 0..126 => out.push(0x80 | length as u8),
        length @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload.as_bytes());
    out
}

impl Client {
    /// A WebSocket behind TLS.
    pub(super) async fn upgraded(access: &Access, number: usize) -> Outcome<Self> {
        let mut client = Self::connect(access, number).await?;
        client.encrypt(access).await?;
        let request = format!(
            "GET {PATH} HTTP/1.1\r\nHost: {DOMAIN}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\
             Sec-WebSocket-Version: 13\r\n\r\n"
        );
        client.send(request.as_bytes()).await?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            client.read().await?;
            head.push_str(&client.came());
        }
        if !head.starts_with("HTTP/1.1 101") {
            return Err(format!("no WebSocket: {head}"));
        }
        client.frames = Some(Frames::default());
        Ok(client)
    }

    /// Opens a stream and returns its features.
    pub(super) async fn open_web(&mut self) -> Outcome<String> {
        self.scanner = Scanner::inside();
        let open = format!("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='{DOMAIN}' version='1.0'/>");
        self.send(open.as_bytes()).await?;
        // The server's `<open/>`, and the features.
        self.until(|scanner| scanner.elements > 1).await?;
        Ok(self.came())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_cut_anywhere() {
        let long = vec![b'x'; 300];
        let all = [b"\x81\x02ab\x89\x01p\x81\x7e\x01\x2c", &long[..], b"\x88\x02\x03\xe8"].concat();
        for cut in 1..=all.len() {
            let mut frames = Frames::default();
            let came: Vec<u8> = all.chunks(cut).flat_map(|piece| frames.take(piece)).collect();
            assert_eq!(came, [b"ab", &long[..]].concat(), "cut {cut}");
            assert!(frames.closed);
        }
    }

    #[test]
    fn stanzas_stand_on_their_own() {
        let check = |part: &str, payload: &str| assert_eq!(&frame(part.as_bytes())[6..], payload.as_bytes());
        check("<presence/>", "<presence xmlns='jabber:client'/>");
        check("<iq type='get'/>", "<iq xmlns='jabber:client' type='get'/>");
        check("<auth xmlns='a'/>", "<auth xmlns='a'/>");
        check(
            "</stream:stream>",
            "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
        );
    }
}
