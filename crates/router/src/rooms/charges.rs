//! What one account may cost in rooms (attacks.md row 31): one stanza becomes as many as there are clients in the room, so
//! it is these that are counted.
//!
//! A token bucket for each sender, by bare JID. What a stanza costs is known when the room has decided, so the bucket may
//! go below zero by one stanza; until it has recovered the sender is refused (`policy-violation`, to be tried again), and
//! told so. Whoever leaves always may: it is charged, and not refused.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use foldhash::quality::RandomState;
use module::Now;

/// Senders that are counted at a time; those whose bucket is full again are forgotten first. Beyond that nobody new is
/// limited.
const COUNTED: usize = 65_536;

/// Deliveries.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    pub per_second: u32,
    pub burst: u32,
}

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance {
            per_second: 10_000,
            burst: 200_000,
        }
    }
}

/// By hashes of bare JIDs: two that meet share a bucket, and hardly ever do.
#[derive(Default)]
pub(crate) struct Charges {
    hasher: RandomState,
    buckets: Mutex<HashMap<u64, Bucket, RandomState>>,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// Thousandths of a delivery, as the time is in thousandths of a second; negative: how many too many there were.
    left: i64,
    /// When `left` was right.
    at: Now,
}

impl Bucket {
    fn now(self, now: Now, allowance: Allowance) -> i64 {
        let passed = now.0.saturating_sub(self.at.0).max(0);
        let earned = passed.saturating_mul(allowance.per_second.into());
        self.left.saturating_add(earned).min(full(allowance))
    }
}

fn full(allowance: Allowance) -> i64 {
    i64::from(allowance.burst) * 1_000
}

impl Charges {
    /// Whether this bare JID may have something delivered.
    pub(crate) fn admits(&self, now: Now, who: &str, allowance: Allowance) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get(&self.hasher.hash_one(who));
        bucket.is_none_or(|bucket| bucket.now(now, allowance) >= 0)
    }

    /// So many stanzas were delivered for it.
    pub(crate) fn charge(&self, now: Now, who: &str, deliveries: usize, allowance: Allowance) {
        let cost = i64::try_from(deliveries).unwrap_or(i64::MAX).saturating_mul(1_000);
        if cost == 0 {
            return;
        }
        let key = self.hasher.hash_one(who);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= COUNTED && !buckets.contains_key(&key) {
            buckets.retain(|_, bucket| bucket.now(now, allowance) < full(allowance));
            if buckets.len() >= COUNTED {
                return;
            }
        }
        let bucket = buckets.entry(key).or_insert(Bucket {
            left: full(allowance),
            at: now,
        });
        *bucket = Bucket {
            left: bucket.now(now, allowance).saturating_sub(cost),
            at: now,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLOWANCE: Allowance = Allowance {
        per_second: 10,
        burst: 100,
    };

    #[test]
    fn a_bucket() {
        let charges = Charges::default();
        let admits = |millis, who: &str| charges.admits(Now(millis), who, ALLOWANCE);
        let charge = |millis, who: &str, count| charges.charge(Now(millis), who, count, ALLOWANCE);
        assert!(admits(0, "a"));
        charge(0, "a", 60);
        charge(0, "a", 40);
        // Empty is not too much.
        assert!(admits(0, "a"));
        charge(0, "a", 30);
        assert!(!admits(0, "a") && admits(0, "b"));
        assert!(!admits(2_999, "a") && admits(3_000, "a"));
        // Silence earns no more than the burst.
        charge(1_000_000, "a", 101);
        assert!(!admits(1_000_000, "a") && admits(1_000_100, "a"));
        // A clock that goes back takes nothing.
        assert!(!admits(0, "a"));
        charge(0, "a", 0);
        assert!(admits(1_000_100, "a"));
    }

    #[test]
    fn who_has_paid_is_forgotten() {
        let charges = Charges::default();
        for who in 0..COUNTED {
            charges.charge(Now(0), &who.to_string(), 1, ALLOWANCE);
        }
        let count = || charges.buckets.lock().expect("not poisoned").len();
        // Hashes that meet are not worth a thought here.
        let all = count();
        assert!(all > COUNTED - 10);
        charges.charge(Now(100), "new", 1_000, ALLOWANCE);
        charges.charge(Now(100), "newer", 1_000, ALLOWANCE);
        assert!(!charges.admits(Now(100), "newer", ALLOWANCE));
        assert!(count() <= all + 1);
    }
}
