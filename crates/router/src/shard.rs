//! Where owners live: accounts by bare JID, each loaded, or waiting to be.

use std::hash::BuildHasher;
use std::sync::{MutexGuard, PoisonError};

use hashbrown::HashTable;
use stanza::Jid;

use crate::account::Account;
use crate::load::Held;
use crate::{Router, SHARDS};

/// An account in memory.
#[allow(clippy::large_enum_variant)] // all but a few are ready, and none stays in the other state for long
pub(crate) enum Slot {
    Loading(Loading),
    Ready(Account),
}

/// Being read from the store; inputs wait in order.
pub(crate) struct Loading {
    pub(crate) jid: Jid,
    pub(crate) waiting: Vec<Held>,
    /// It was changed meanwhile, so what comes is not the truth any more.
    pub(crate) again: bool,
}

impl Slot {
    pub(crate) fn jid(&self) -> &str {
        match self {
            Slot::Loading(loading) => loading.jid.as_str(),
            Slot::Ready(account) => account.jid.as_str(),
        }
    }
}

/// Places of the table that are free, as many as are taken and more, cost 8 bytes each: the
/// accounts are boxed, and their names are in there only.
#[derive(Default)]
pub(crate) struct Shard {
    slots: HashTable<Box<Slot>>,
}

impl Shard {
    pub(crate) fn get_mut(&mut self, hash: u64, bare: &str) -> Option<&mut Slot> {
        self.slots.find_mut(hash, |slot| slot.jid() == bare).map(Box::as_mut)
    }

    pub(crate) fn insert(&mut self, hash: u64, slot: Slot, rehash: impl Fn(&Slot) -> u64) {
        self.slots.insert_unique(hash, Box::new(slot), |slot| rehash(slot));
    }

    pub(crate) fn remove(&mut self, hash: u64, bare: &str) {
        if let Ok(entry) = self.slots.find_entry(hash, |slot| slot.jid() == bare) {
            entry.remove();
        }
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&Slot) -> bool, rehash: impl Fn(&Slot) -> u64) {
        self.slots.retain(|slot| keep(slot));
        // A table that a crowd has left gives its memory back.
        if self.slots.capacity() > 4 * self.slots.len() + 16 {
            self.slots.shrink_to_fit(|slot| rehash(slot));
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().map(Box::as_ref)
    }
}

impl Router {
    /// The hash of a bare JID is made once and serves both the choice of the shard and its table.
    pub(crate) fn hash(&self, bare: &str) -> u64 {
        self.hasher.hash_one(bare)
    }

    pub(crate) fn lock(&self, hash: u64) -> MutexGuard<'_, Shard> {
        self.shards[shard_of(hash)]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of an account's shard.
    pub(crate) fn shard_of(&self, bare: &str) -> usize {
        shard_of(self.hash(bare))
    }

    /// Runs `act` on a loaded account. None where it is not in memory.
    pub(crate) fn with<R>(&self, bare: &str, act: impl FnOnce(&mut Account) -> R) -> Option<R> {
        let hash = self.hash(bare);
        let mut shard = self.lock(hash);
        match shard.get_mut(hash, bare) {
            Some(Slot::Ready(account)) => Some(act(account)),
            _ => None,
        }
    }

    /// Looks at every account in memory, shard by shard.
    pub(crate) fn each_account(&self, mut act: impl FnMut(&mut Account)) {
        for at in 0..SHARDS {
            self.each_account_of_shard(at, &mut act);
        }
    }

    /// Returns how many there are.
    pub(crate) fn each_account_of_shard(&self, at: usize, mut act: impl FnMut(&mut Account)) -> usize {
        let mut shard = self.shards[at].lock().unwrap_or_else(PoisonError::into_inner);
        for slot in shard.slots.iter_mut() {
            if let Slot::Ready(account) = &mut **slot {
                act(account);
            }
        }
        shard.slots.len()
    }

    /// Whether nothing of this account is in memory, and it is not being read.
    pub(crate) fn is_absent(&self, bare: &str) -> bool {
        let hash = self.hash(bare);
        self.lock(hash).get_mut(hash, bare).is_none()
    }

    /// Whether nothing is under way: no account is being read, no decision waits for its commit.
    pub fn is_settled(&self) -> bool {
        let settled = |slot: &Slot| match slot {
            Slot::Ready(account) => account.unsettled.get() == 0,
            Slot::Loading(_) => false,
        };
        self.shards
            .iter()
            .all(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).iter().all(settled))
            && self.are_rooms_settled()
    }

    /// Accounts in memory, used or not.
    pub fn count_accounts(&self) -> usize {
        let shards = self.shards.iter();
        shards
            .map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).iter().count())
            .sum()
    }

    /// Bound resources of all accounts in memory, for the log and the metrics.
    pub fn count_sessions(&self) -> usize {
        let count = |slot: &Slot| match slot {
            Slot::Ready(account) => account.sessions.len(),
            Slot::Loading(_) => 0,
        };
        self.shards
            .iter()
            .map(|shard| {
                shard
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .iter()
                    .map(count)
                    .sum::<usize>()
            })
            .sum()
    }
}

/// The low bits address the table inside the shard, so the shard is chosen by others.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Session;

    /// What is multiplied by every session: allocators round up to 64, 80, 96, 112, 128 and then 160.
    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<Slot>() <= 128, "an account: {}", size_of::<Slot>());
        assert!(size_of::<Session>() <= 64, "a session: {}", size_of::<Session>());
        // Two counters of the `Arc` come to it.
        let outbox = size_of::<crate::Outbox>();
        assert!(outbox + 16 <= 96, "an outbox: {outbox}");
    }
}
