//! What one account may cost in rooms (attacks.md row 31): one stanza becomes as many as there are clients in the room, so
//! it is these that are counted.
//!
//! A token bucket for each sender, by bare JID. What a stanza costs is known when the room has decided, so the bucket may
//! go below zero by one stanza; until it has recovered the sender is refused (`policy-violation`, to be tried again), and
//! told so. Whoever leaves always may: it is charged, and not refused. Another server makes as many senders as it likes, so
//! it has a bucket for all of them.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

use foldhash::quality::RandomState;
use module::Now;

/// Senders that are counted at a time; those whose bucket is full again are forgotten first. Beyond that nobody new is
/// limited.
const COUNTED: usize = 65_536;

/// All accounts of another server together may have so many times as much delivered as one of them.
const OF_SERVER: u32 = 10;

/// Deliveries.
#[derive(Clone, Copy, Debug)]
pub struct Allowance {
    pub per_second: u32,
    pub burst: u32,
}

impl Allowance {
    fn of_server(self) -> Allowance {
        Allowance {
            per_second: self.per_second.saturating_mul(OF_SERVER),
            burst: self.burst.saturating_mul(OF_SERVER),
        }
    }
}

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance {
            per_second: 10_000,
            burst: 200_000,
        }
    }
}

/// By hashes of bare JIDs, and of domains: two that meet share a bucket, and hardly ever do.
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
    /// Whether this bare JID may have something delivered. `server`: its domain, if it is of another server.
    pub(crate) fn admits(&self, now: Now, who: &str, server: Option<&str>, allowance: Allowance) -> bool {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let has_left = |key: u64, allowance| {
            let bucket = buckets.get(&key);
            bucket.is_none_or(|bucket| bucket.now(now, allowance) >= 0)
        };
        has_left(self.hasher.hash_one(who), allowance)
            && server.is_none_or(|server| has_left(self.key_of(server), allowance.of_server()))
    }

    fn key_of(&self, server: &str) -> u64 {
        self.hasher.hash_one(("server", server))
    }

    /// So many stanzas were delivered for it.
    pub(crate) fn charge(&self, now: Now, who: &str, server: Option<&str>, deliveries: usize, allowance: Allowance) {
        let cost = i64::try_from(deliveries).unwrap_or(i64::MAX).saturating_mul(1_000);
        if cost == 0 {
            return;
        }
        self.take(now, self.hasher.hash_one(who), cost, allowance);
        if let Some(server) = server {
            self.take(now, self.key_of(server), cost, allowance.of_server());
        }
    }

    fn take(&self, now: Now, key: u64, cost: i64, allowance: Allowance) {
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
        let admits = |millis, who: &str| charges.admits(Now(millis), who, None, ALLOWANCE);
        let charge = |millis, who: &str, count| charges.charge(Now(millis), who, None, count, ALLOWANCE);
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
    fn a_server_with_many_accounts() {
        let charges = Charges::default();
        let admits = |who: &str, server| charges.admits(Now(0), who, server, ALLOWANCE);
        for who in 0..10 {
            let who = format!("{who}@far.test");
            assert!(admits(&who, Some("far.test")));
            charges.charge(Now(0), &who, Some("far.test"), 100, ALLOWANCE);
        }
        assert!(admits("new@far.test", Some("far.test")));
        charges.charge(Now(0), "new@far.test", Some("far.test"), 1, ALLOWANCE);
        assert!(!admits("newer@far.test", Some("far.test")));
        assert!(admits("far.test", None) && admits("a@near.test", Some("near.test")));
    }

    #[test]
    fn who_has_paid_is_forgotten() {
        let charges = Charges::default();
        for who in 0..COUNTED {
            charges.charge(Now(0), &who.to_string(), None, 1, ALLOWANCE);
        }
        let count = || charges.buckets.lock().expect("not poisoned").len();
        // Hashes that meet are not worth a thought here.
        let all = count();
        assert!(all > COUNTED - 10);
        charges.charge(Now(100), "new", None, 1_000, ALLOWANCE);
        charges.charge(Now(100), "newer", None, 1_000, ALLOWANCE);
        assert!(!charges.admits(Now(100), "newer", None, ALLOWANCE));
        assert!(count() <= all + 1);
    }
}
