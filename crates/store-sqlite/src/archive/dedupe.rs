//! The fingerprints of the last 24 hours, in memory: an index in the file would cost more than the message.
//!
//! A fingerprint is remembered by a hash of 64 bits; a hit is only that once the row has the whole fingerprint.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use store::FINGERPRINT_LIFETIME_MS;

/// How many make a generation: what a hash table of 2^18 places takes before it grows.
const GENERATION: usize = 229_376;
/// How many generations there are at most: 3.6 million messages, and 71 MB when all of them are full. Beyond that (42
/// messages a second, all day long) the oldest are forgotten before their time, and one that is sent again so late is
/// taken for new.
const GENERATIONS: usize = 16;

pub(super) fn hash(fingerprint: u128) -> u64 {
    // The caller's is a keyed hash already; both halves, in case it is not.
    let mixed = (fingerprint as u64) ^ ((fingerprint >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ (mixed >> 32)
}

#[derive(Default)]
pub(super) struct Recent {
    /// The oldest first.
    generations: VecDeque<Generation>,
}

struct Generation {
    ids: HashMap<u64, i64, BuildHasherDefault<AsItIs>>,
    first_id: i64,
    newest: i64,
}

/// For keys that are hashes.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl Recent {
    pub(super) fn insert(&mut self, hash: u64, id: i64, at: i64) {
        if self.generations.back().is_none_or(|last| last.ids.len() >= GENERATION) {
            let too_old = at.saturating_sub(FINGERPRINT_LIFETIME_MS);
            while self
                .generations
                .front()
                .is_some_and(|first| self.generations.len() >= GENERATIONS || first.newest <= too_old)
            {
                self.generations.pop_front();
            }
            self.generations.push_back(Generation {
                ids: HashMap::default(),
                first_id: id,
                newest: at,
            });
        }
        if let Some(last) = self.generations.back_mut() {
            last.ids.insert(hash, id);
            last.newest = last.newest.max(at);
        }
    }

    /// The last message with this hash.
    pub(super) fn get(&self, hash: u64) -> Option<i64> {
        let newest_first = self.generations.iter().rev();
        newest_first
            .filter_map(|generation| generation.ids.get(&hash))
            .next()
            .copied()
    }

    /// Of messages before this one nothing is known here.
    pub(super) fn first_id(&self) -> Option<i64> {
        self.generations.front().map(|first| first.first_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        let all = (GENERATION * (GENERATIONS + 2)) as i64;
        for id in 0..all {
            recent.insert(hash(id as u128), id, 0);
        }
        assert_eq!(recent.generations.len(), GENERATIONS);
        assert_eq!(recent.first_id(), Some(2 * GENERATION as i64));
        assert_eq!(recent.get(hash(all as u128 - 1)), Some(all - 1));
        assert_eq!(recent.get(hash(0)), None);
    }

    #[test]
    fn generations_end_after_a_day() {
        let mut recent = Recent::default();
        let one = GENERATION as i64;
        for id in 0..3 * one {
            recent.insert(hash(id as u128), id, id / one * FINGERPRINT_LIFETIME_MS);
        }
        // The second begins exactly 24 hours after the end of the first, which is a duplicate no more.
        assert_eq!(recent.generations.len(), 1);
        assert_eq!(recent.get(hash(0)), None);
    }

    #[test]
    fn the_last_counts() {
        let mut recent = Recent::default();
        for id in [1, 2] {
            recent.insert(7, id, 0);
        }
        assert_eq!((recent.get(7), recent.get(8)), (Some(2), None));
    }
}
