//! What becomes of a message, and how it is written when it is handed over.
//!
//! A message may be archived (XEP-0313), wait for its recipient (XEP-0160), be copied to other devices (XEP-0280), and
//! be told from one that was sent before (XEP-0359). Each of these is a question about the message alone, or about
//! the message and what an account prefers; the answers are here, as functions without state, so that the owner of an
//! account, which acts on them, and the features, which show them, cannot disagree.
//!
//! What is kept is the text of the stanza as `stanza::splice` wrote it. What is added to it on delivery is put before
//! its end or around it, without reading it again.

mod announce;
mod forgery;
mod keeping;
mod prefs;
mod results;
mod retraction;
mod room;
mod search;
mod write;

pub use announce::{announces, speaks};
pub use forgery::{fingerprint, fingerprint_of_server, forged};
pub use keeping::{Keeping, keeping};
pub use prefs::{PREFS, prefs_of, prefs_row, wants};
pub use retraction::{is_retracted, retraction, tombstone};
pub use room::{Sees, is_room_tombstone, is_sent_by, retracted, room_tombstone, shown, stored, tells_sender};
pub use search::{Archive, IDS_MOST, PAGE, PAGE_BYTES, PAGE_MOST, Search, form, metadata, metadata_question};
pub use write::{Direction, carbon, forwarded, waiting, with_stanza_id};

#[cfg(test)]
mod testing {
    use stanza::{Stanza, ns};
    use xmlstream::{Limits, Scratch, parse_element};

    /// Reads a stanza as it comes from a client.
    pub(crate) fn with<R>(xml: &str, then: impl FnOnce(Stanza<'_>) -> R) -> R {
        let mut scratch = Scratch::default();
        let element = parse_element(xml, ns::CLIENT, &mut scratch, &Limits::default()).expect(xml);
        then(Stanza::read(element).expect(xml).expect(xml))
    }
}
