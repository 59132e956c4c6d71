//! What was taken from the outbox and has not gone out yet.
//!
//! Nothing is encrypted before the socket takes it, apart from one record: so when a connection
//! breaks it is known, up to that record and the kernel's buffer, what the client cannot have
//! got, and the router delivers it anew (guarantee G5).

use router::give_buffer;
use xmlstream::{Event, Framer, Limits, Scratch};

/// Plaintext that is encrypted and handed to the socket at once: one full TLS record.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Stands before what is read back.
const HEADER: &[u8] =
    b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// What is read back was written by the server; what it holds of others was limited when it came.
pub const OWN_LIMITS: Limits = Limits {
    bytes: u32::MAX as usize,
    elements: usize::MAX,
    depth: xmlstream::MAX_DEPTH,
    attributes: usize::MAX,
    namespaces: usize::MAX,
    name: usize::MAX >> 1,
};

/// A framer that stands in a stream of ours, behind its header.
pub(crate) fn own_stream(scratch: &mut Scratch) -> Option<Framer> {
    let mut framer = Framer::new();
    framer.next(HEADER, scratch, &OWN_LIMITS).ok()?;
    Some(framer)
}

#[derive(Default)]
pub(crate) struct Unsent {
    /// Whole stanzas. What is sent stays until all is, so that they can be told apart.
    bytes: Vec<u8>,
    /// How many of them were given to the transport.
    sent: usize,
    /// How many it was given last.
    last: usize,
}

impl Unsent {
    /// Nothing waits, not even for the end of its record.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn append(&mut self, bytes: Vec<u8>) {
        if self.bytes.is_empty() {
            self.bytes = bytes;
        } else {
            self.bytes.extend_from_slice(&bytes);
            give_buffer(bytes);
        }
    }

    pub(crate) fn append_copy(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// What is next for the transport, if anything.
    pub(crate) fn next(&self) -> Option<&[u8]> {
        let rest = &self.bytes[self.sent..];
        if rest.is_empty() {
            return None;
        }
        Some(&rest[..rest.len().min(CHUNK)])
    }

    /// All that the transport was not given.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(crate) fn given(&mut self, count: usize) {
        self.sent += count;
        self.last = count;
    }

    /// The size of the last chunk that the transport was given.
    pub(crate) fn last(&self) -> usize {
        self.last
    }

    /// The socket has everything that the transport was given.
    pub(crate) fn flushed(&mut self) {
        if self.sent == self.bytes.len() && !self.bytes.is_empty() {
            give_buffer(std::mem::take(&mut self.bytes));
            (self.sent, self.last) = (0, 0);
        }
    }

    /// Leaves the stanzas that the client has not got whole. `held`: bytes that the transport was
    /// given and the socket was not.
    pub(crate) fn keep_undelivered(&mut self, held: usize, scratch: &mut Scratch) {
        let gone = self.sent.saturating_sub(held);
        self.sent = self.first_after(gone, scratch).unwrap_or(self.bytes.len());
    }

    /// Where the first stanza begins that does not end within so many bytes.
    fn first_after(&self, gone: usize, scratch: &mut Scratch) -> Option<usize> {
        let mut framer = own_stream(scratch)?;
        let mut start = 0;
        loop {
            let step = framer.next(&self.bytes[start..], scratch, &OWN_LIMITS).ok()?;
            let end = start + step.consumed;
            match step.event {
                Event::Element(_) if end <= gone => start = end,
                Event::Element(_) => return Some(start),
                _ => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undelivered_stanzas_are_whole() {
        let stanzas = ["<message id='1'/>", "<message><body>2</body></message>", "<iq/>"];
        let all = stanzas.concat();
        for sent in 0..=all.len() {
            for held in 0..=sent {
                let mut unsent = Unsent::default();
                unsent.append(all.clone().into_bytes());
                unsent.given(sent);
                let mut expected = String::new();
                let mut end = 0;
                for stanza in stanzas {
                    end += stanza.len();
                    if end > sent - held {
                        expected.push_str(stanza);
                    }
                }
                unsent.keep_undelivered(held, &mut Scratch::default());
                assert_eq!(unsent.rest(), expected.as_bytes(), "{sent} sent, {held} held");
            }
        }
    }

    #[test]
    fn a_stream_error_behind_them_is_no_obstacle() {
        let mut unsent = Unsent::default();
        unsent.append(b"<message/>".to_vec());
        unsent.append_copy(b" <stream:error><reset/></stream:error></stream:stream>");
        unsent.keep_undelivered(0, &mut Scratch::default());
        assert!(unsent.rest().starts_with(b"<message/>"));
        unsent.given(10);
        unsent.keep_undelivered(0, &mut Scratch::default());
        assert!(unsent.rest().starts_with(b" <stream:error>"));
    }

    #[test]
    fn order_and_chunks() {
        let mut unsent = Unsent::default();
        unsent.append(vec![b'a'; CHUNK]);
        unsent.append(vec![b'b'; 1]);
        assert_eq!(unsent.next(), Some(&[b'a'; CHUNK][..]));
        unsent.given(CHUNK);
        unsent.flushed();
        assert_eq!(unsent.next(), Some(&b"b"[..]));
        unsent.given(1);
        assert_eq!(unsent.next(), None);
        assert!(!unsent.is_empty(), "until the socket has it");
        unsent.flushed();
        assert!(unsent.is_empty());
    }
}
