//! What a client that is inactive need not hear at once (XEP-0352): the last presence of each contact.
//!
//! Held are only presence stanzas, one for each address; chat states are dropped. Whatever else comes goes out at once,
//! behind what was held, so no message is delayed and the order is kept. A session that waits to be resumed is held
//! back in the same way: nobody reads what it is sent.

use std::collections::BTreeMap;

/// Bytes that are held; with more, all are sent.
const HELD_BYTES: usize = 64 * 1024;

/// About what an entry costs beside its text.
const ENTRY_BYTES: usize = 64;

#[derive(Default)]
pub(crate) struct Held {
    pub(crate) inactive: bool,
    /// By full JID: ordered, as what reaches the wire is.
    presence: BTreeMap<Box<str>, Box<[u8]>>,
    bytes: usize,
}

impl Held {
    /// Holds the last presence of this address. False if it is too much now.
    pub(crate) fn hold(&mut self, from: &str, presence: Vec<u8>) -> bool {
        self.bytes += from.len() + presence.len() + ENTRY_BYTES;
        if let Some(old) = self.presence.insert(from.into(), presence.into_boxed_slice()) {
            self.bytes -= from.len() + old.len() + ENTRY_BYTES;
        }
        self.bytes <= HELD_BYTES
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.presence.is_empty()
    }

    pub(crate) fn take(&mut self) -> impl Iterator<Item = Box<[u8]>> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.presence).into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_each_within_the_limit() {
        let mut held = Held::default();
        for round in 0..100 {
            assert!(held.hold("romeo@example.net/x", format!("<presence id='{round}'/>").into_bytes()));
            assert!(held.hold("nurse@example.net/x", b"<presence/>".to_vec()));
        }
        let all: Vec<Box<[u8]>> = held.take().collect();
        assert_eq!(all, [Box::from(*b"<presence/>"), Box::from(*b"<presence id='99'/>")]);
        assert!(held.is_empty());
        let many = (0..)
            .take_while(|number| held.hold(&number.to_string(), vec![b'x'; 1000]))
            .count();
        assert_eq!(many, HELD_BYTES / (1000 + ENTRY_BYTES));
    }
}
