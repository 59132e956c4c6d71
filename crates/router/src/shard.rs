//! Where owners live: accounts by bare JID, each loaded, or waiting to be.

use std::hash::BuildHasher;
use std::sync::{MutexGuard, PoisonError};

use hashbrown::HashTable;
use stanza::Jid;

use crate::account::Account;
use crate::load::Held;
use crate::{Router, SHARDS};

pub(crate) enum State {
    /// Being read from the store; inputs wait in order. `again`: it was changed meanwhile, so what
    /// comes is not the truth any more.
    Loading {
        waiting: Vec<Held>,
        again: bool,
    },
    Ready(Box<Account>),
}

pub(crate) struct Slot {
    pub(crate) jid: Jid,
    pub(crate) state: State,
}

#[derive(Default)]
pub(crate) struct Shard {
    slots: HashTable<Slot>,
}

impl Shard {
    pub(crate) fn get_mut(&mut self, hash: u64, bare: &str) -> Option<&mut Slot> {
        self.slots.find_mut(hash, |slot| slot.jid.as_str() == bare)
    }

    pub(crate) fn insert(&mut self, hash: u64, slot: Slot, rehash: impl Fn(&Slot) -> u64) {
        self.slots.insert_unique(hash, slot, rehash);
    }

    pub(crate) fn remove(&mut self, hash: u64, bare: &str) -> Option<Slot> {
        match self.slots.find_entry(hash, |slot| slot.jid.as_str() == bare) {
            Ok(entry) => Some(entry.remove().0),
            Err(_) => None,
        }
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&mut Slot) -> bool, rehash: impl Fn(&Slot) -> u64) {
        self.slots.retain(keep);
        // A table that a crowd has left gives its memory back.
        if self.slots.capacity() > 4 * self.slots.len() + 16 {
            self.slots.shrink_to_fit(rehash);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }
}

impl Router {
    /// The hash of a bare JID is made once and serves both the choice of the shard and its table.
    pub(crate) fn hash(&self, bare: &str) -> u64 {
        self.hasher.hash_one(bare)
    }

    pub(crate) fn lock(&self, hash: u64) -> MutexGuard<'_, Shard> {
        // The low bits address the table inside the shard, so the shard is chosen by others.
        let index = (hash >> 40) as usize % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `act` on a loaded account. None where it is not in memory.
    pub(crate) fn with<R>(&self, bare: &str, act: impl FnOnce(&mut Account) -> R) -> Option<R> {
        let hash = self.hash(bare);
        let mut shard = self.lock(hash);
        match shard.get_mut(hash, bare) {
            Some(Slot {
                state: State::Ready(account),
                ..
            }) => Some(act(account)),
            _ => None,
        }
    }

    /// Whether nothing is under way: no account is being read, no decision waits for its commit.
    pub fn is_settled(&self) -> bool {
        let settled = |slot: &Slot| match &slot.state {
            State::Ready(account) => account.unsettled.get() == 0,
            State::Loading { .. } => false,
        };
        self.shards
            .iter()
            .all(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).iter().all(settled))
    }

    /// Bound resources of all accounts in memory, for the log and the metrics.
    pub fn count_sessions(&self) -> usize {
        let count = |slot: &Slot| match &slot.state {
            State::Ready(account) => account.sessions.len(),
            State::Loading { .. } => 0,
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
