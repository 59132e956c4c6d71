//! The message archive: appended in the commit, indexed later.
//!
//! Rows of an index by owner would make every message dirty a handful of pages all over the file, each written twice (to
//! the log and at the checkpoint): ten times what the message itself costs, and the more the more accounts there are.
//! So a commit only appends: the message to `jackdaw_archive`, and the marks to one row of `jackdaw_journal`. Who has
//! which message (the *postings*) is kept in memory first, in the [`Tail`](tail::Tail).
//!
//! Ids are cut into buckets of 65,536. When one is full, its postings are *sealed*: written to
//! `jackdaw_archive_postings`, sorted by owner and packed, a few in each of the commits that follow. With the last one
//! the file says that the bucket is sealed, and memory lets go of it. A crash before that costs nothing: when the file
//! is opened, all that is not sealed is read from `jackdaw_archive` again. Marks are folded into `jackdaw_marks` likewise.
//!
//! | table | rows |
//! | --- | --- |
//! | `jackdaw_archive` | one for each message |
//! | `jackdaw_jids` | numbers for bare JIDs, and up to where each has nothing any more |
//! | `jackdaw_archive_postings` | of a sealed bucket, by bucket, owner and part (see `codec`) |
//! | `jackdaw_archive_buckets` | of each sealed bucket: when its messages were accepted, for searches by time and expiry |
//! | `jackdaw_archive_sizes` | of a sealed bucket, by bucket and owner: the bytes in his archive |
//! | `jackdaw_archive_fingerprints` | of each sealed bucket, to know duplicates by after a restart |
//! | `jackdaw_archive_expired` | what was too old, for the postings that still name it |
//! | `jackdaw_journal` | the marks of each commit that are not folded yet; its highest number names the commit |
//! | `jackdaw_marks` | folded |
//! | `jackdaw_state` | the secret, what is sealed, the size of a bucket |
//!
//! **One moment.** A reader needs the tail and the file as of the same commit. Each commit that changes the tail has a
//! number, in the journal and in the tail. A reader begins its transaction, reads the number in the file, and takes its
//! part of the tail if the number there is the same; else it begins anew. So nobody waits for anybody's fsync.

mod codec;
mod dedupe;
mod jids;
mod open;
mod read;
mod retention;
mod seal;
mod tail;
mod usage;
mod write;

pub(crate) use open::{Opened, open};
pub(crate) use read::{Moment, concerns, find, prepare};
pub(crate) use tail::Index;
pub(crate) use write::Archiver;

/// A bucket has this power of two of ids, unless [`Options::archive_bucket_bits`](crate::Options) says otherwise. It bounds
/// the memory of the tail: about two buckets of two postings of 24 bytes for each id, 6 MB.
pub(crate) const BUCKET_BITS: u32 = 16;
/// What the option may be: smaller ones are for tests, and with larger ones two parts could have one key (see `codec`).
pub(crate) const BUCKET_BITS_ALLOWED: std::ops::RangeInclusive<u32> = 4..=17;

/// Numbers of JIDs have 28 bits in the key of a posting.
const JID_LIMIT: i64 = 1 << 28;

/// An error for content that this driver cannot have written.
pub(crate) fn corrupt(what: &str) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(
        rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
        Some(format!("{what} cannot be read")),
    )
}
