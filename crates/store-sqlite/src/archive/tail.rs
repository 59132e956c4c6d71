//! What is committed and not sealed yet: postings by owner, marks, and what the file says of itself at that moment.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::HashMap;
use store::Places;

/// The owner has it in the archive.
pub(super) const ARCHIVED: u8 = 1;
/// It waits for the owner.
pub(super) const WAITING: u8 = 2;

/// A bucket has so many blocks (or as many as it has ids), each with the times of its messages.
const BLOCK_BITS: u32 = 6;

/// That an owner has a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: i64,
    pub(super) at: i64,
    /// The other party.
    pub(super) peer: u32,
    /// [`ARCHIVED`], [`WAITING`].
    pub(super) bits: u8,
}

/// A row of the archive, without what only its reader wants.
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub(super) id: i64,
    pub(super) at: i64,
    pub(super) sender: u32,
    pub(super) recipient: u32,
    pub(super) places: Places,
    pub(super) hash: Option<u64>,
    /// Of the stanza.
    pub(super) bytes: u64,
}

impl Message {
    /// Owners and their postings.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u32, Entry)> {
        let bit = |place, bit| if self.places.has(place) { bit } else { 0 };
        let sent = bit(Places::SENT, ARCHIVED);
        let received = bit(Places::RECEIVED, ARCHIVED) | bit(Places::WAITING, WAITING);
        let entry = |peer, bits| Entry {
            id: self.id,
            at: self.at,
            peer,
            bits,
        };
        let both = if self.sender == self.recipient {
            [(self.sender, entry(self.sender, sent | received)), (0, entry(0, 0))]
        } else {
            [
                (self.sender, entry(self.recipient, sent)),
                (self.recipient, entry(self.sender, received)),
            ]
        };
        both.into_iter().filter(|(_, entry)| entry.bits != 0)
    }
}

/// Which of an owner's postings are wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    pub(super) owner: u32,
    /// One of [`ARCHIVED`] and [`WAITING`].
    pub(super) bit: u8,
    /// Exclusive.
    pub(super) after: i64,
    pub(super) before: i64,
    /// Inclusive.
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) peer: Option<u32>,
    /// The owner's archive begins behind this id.
    pub(super) archive_begins: i64,
    /// Up to this id nothing waits, unless it is in the archive.
    pub(super) waiting_begins: i64,
}

impl Filter {
    pub(super) fn fits(&self, entry: &Entry, expired: &Expired) -> bool {
        entry.bits & self.bit != 0
            && self.after < entry.id
            && entry.id < self.before
            && self.start <= entry.at
            && entry.at <= self.end
            && self.peer.is_none_or(|peer| peer == entry.peer)
            && ((self.bit == WAITING && entry.id > self.waiting_begins) || self.is_archived(entry, expired))
    }

    /// Whether it stands in the archive still.
    pub(super) fn is_archived(&self, entry: &Entry, expired: &Expired) -> bool {
        entry.bits & ARCHIVED != 0 && entry.id > self.archive_begins && !expired.has(entry)
    }
}

/// The messages that have left the archives by age, as pairs: those accepted before a moment with at most an id. Sorted by the moment,
/// ascending, and by the id, descending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Expired(pub(super) Vec<(i64, i64)>);

impl Expired {
    pub(super) fn has(&self, entry: &Entry) -> bool {
        self.0
            .iter()
            .any(|(before, up_to)| entry.at < *before && entry.id <= *up_to)
    }

    pub(super) fn add(&mut self, before: i64, up_to: i64) {
        if self.0.iter().any(|(known, id)| before <= *known && up_to <= *id) {
            return;
        }
        self.0.retain(|(known, id)| *known > before || *id > up_to);
        let place = self.0.partition_point(|(known, _)| *known < before);
        self.0.insert(place, (before, up_to));
    }
}

/// The least and the greatest time of some messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) min: i64,
    pub(super) max: i64,
}

/// Of no message.
impl Default for Span {
    fn default() -> Span {
        Span {
            min: i64::MAX,
            max: i64::MIN,
        }
    }
}

impl Span {
    pub(super) fn with(self, other: Span) -> Span {
        Span {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }
}

/// Which ids are a bucket, and which of them a block.
#[derive(Clone, Copy)]
pub(super) struct Buckets {
    pub(super) bits: u32,
}

impl Buckets {
    pub(super) fn of(self, id: i64) -> i64 {
        id >> self.bits
    }

    pub(super) fn start(self, bucket: i64) -> i64 {
        bucket << self.bits
    }

    pub(super) fn place(self, id: i64) -> u32 {
        // Fewer bits than 32.
        (id & ((1 << self.bits) - 1)) as u32
    }

    /// In ids.
    pub(super) fn block_len(self) -> i64 {
        1 << self.bits.saturating_sub(BLOCK_BITS)
    }
}

/// What an owner has in a bucket.
#[derive(Default)]
pub(super) struct Owned {
    pub(super) entries: Vec<Entry>,
    /// Of the stanzas that stand in the archive.
    pub(super) bytes: u64,
}

/// One that is not sealed.
#[derive(Default)]
pub(super) struct Bucket {
    pub(super) owners: HashMap<u32, Owned>,
    pub(super) blocks: Vec<Span>,
    /// Of fingerprints, with the place in the bucket.
    pub(super) hashes: Vec<(u64, u32)>,
}

/// A mark that is in the journal: the value (none: it was taken away), and the number of the commit.
#[derive(Clone, Copy)]
pub(super) struct Marked {
    pub(super) value: Option<i64>,
    pub(super) seq: i64,
}

pub(super) struct Tail {
    pub(super) cut: Buckets,
    /// The number of the last commit that has changed anything here.
    pub(super) seq: i64,
    /// Buckets before this one are sealed.
    pub(super) sealed: i64,
    /// The last one still grows.
    pub(super) buckets: BTreeMap<i64, Bucket>,
    pub(super) marks: HashMap<i64, Marked>,
    pub(super) expired: Expired,
}

impl Tail {
    /// Messages come in ascending order.
    pub(super) fn add(&mut self, message: &Message) {
        let cut = self.cut;
        let bucket = self.buckets.entry(cut.of(message.id)).or_default();
        for (owner, entry) in message.entries() {
            let owned = bucket.owners.entry(owner).or_default();
            owned.entries.push(entry);
            if entry.bits & ARCHIVED != 0 {
                owned.bytes += message.bytes;
            }
        }
        let place = cut.place(message.id);
        let block = (i64::from(place) / cut.block_len()) as usize;
        if bucket.blocks.len() <= block {
            bucket.blocks.resize(block + 1, Span::default());
        }
        bucket.blocks[block] = bucket.blocks[block].with(Span {
            min: message.at,
            max: message.at,
        });
        if let Some(hash) = message.hash {
            bucket.hashes.push((hash, place));
        }
    }

    /// The archive of the owner has more or less in a bucket.
    pub(super) fn resize(&mut self, bucket: i64, owner: u32, by: i64) {
        let bucket = self.buckets.get_mut(&bucket);
        if let Some(owned) = bucket.and_then(|bucket| bucket.owners.get_mut(&owner)) {
            owned.bytes = owned.bytes.saturating_add_signed(by);
        }
    }

    /// Lets go of what the owner has no more.
    pub(super) fn prune(&mut self, owner: u32, up_to: i64, waiting_begins: i64) {
        for bucket in self.buckets.values_mut() {
            if let Some(owned) = bucket.owners.get_mut(&owner) {
                let waits = |entry: &Entry| entry.bits & WAITING != 0 && entry.id > waiting_begins;
                owned.entries.retain(|entry| entry.id > up_to || waits(entry));
            }
        }
    }

    /// What fits, in ascending order or, if `newest`, in descending order; at most so many.
    pub(super) fn collect(&self, filter: &Filter, newest: bool, most: usize) -> Vec<Entry> {
        let slices = self.buckets.values().filter_map(|bucket| {
            let entries = &bucket.owners.get(&filter.owner)?.entries;
            let from = entries.partition_point(|entry| entry.id <= filter.after);
            let to = entries.partition_point(|entry| entry.id < filter.before);
            entries.get(from..to)
        });
        let fits = |entry: &&Entry| filter.fits(entry, &self.expired);
        if newest {
            let descending = slices.rev().flat_map(|slice| slice.iter().rev());
            descending.filter(fits).take(most).copied().collect()
        } else {
            slices.flatten().filter(fits).take(most).copied().collect()
        }
    }
}

/// The tail, for the writer and the readers.
pub(crate) struct Index {
    tail: RwLock<Tail>,
    /// Held by the writer from before its COMMIT until the tail has followed, and by a reader that has missed the moment
    /// too often.
    gate: Mutex<()>,
}

impl Index {
    pub(super) fn new(tail: Tail) -> Index {
        Index {
            tail: RwLock::new(tail),
            gate: Mutex::new(()),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Tail> {
        // Whoever panics under this lock ends the process.
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Tail> {
        self.tail.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gate(&self) -> MutexGuard<'_, ()> {
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_expired() {
        let mut expired = Expired::default();
        let entry = |at, id| Entry {
            id,
            at,
            peer: 1,
            bits: 1,
        };
        expired.add(10, 5);
        assert!(expired.has(&entry(9, 5)));
        assert!(!expired.has(&entry(10, 5)) && !expired.has(&entry(9, 6)));
        expired.add(20, 3);
        assert_eq!(expired.0, [(10, 5), (20, 3)]);
        expired.add(9, 5);
        assert_eq!(expired.0, [(10, 5), (20, 3)], "known already");
        expired.add(15, 4);
        assert_eq!(expired.0, [(10, 5), (15, 4), (20, 3)]);
        expired.add(20, 9);
        assert_eq!(expired.0, [(20, 9)]);
    }
}
