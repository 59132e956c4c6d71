//! The links, and how many there are.
//!
//! A pair is made by whoever writes to a domain, and by whoever comes from one. Those that only others have brought get half of
//! the room, as a certificate may be for any number of domains; and an account has only so many made in an hour.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use foldhash::quality::RandomState;
use module::Now;

use super::inbound::{Incoming, Parked};
use super::link::Link;
use super::time::Tick;
use super::{Dialer, Pair, RemoteRules};
use crate::Outbox;

/// Pairs that are known at the same time; for more nothing is taken.
const PAIRS: usize = 65_536;

/// Of those, pairs that nobody here has asked for.
const UNWANTED: usize = PAIRS / 2;

/// From here on nothing is kept for longer than it must be.
const CROWDED: usize = PAIRS / 4 * 3;

/// Pairs that one account has made in an hour, of domains that were not known. Who writes to one more has to wait.
const NEW_PAIRS: u32 = 200;
const HOUR: i64 = 3_600;

/// Accounts of which that is counted; with more all is forgotten, and each begins anew.
const COUNTED: usize = 16_384;

/// A link with its place.
pub(crate) struct Cell {
    pub(crate) pair: Pair,
    link: Mutex<Link>,
    /// Somebody here has asked for it.
    is_wanted: AtomicBool,
}

impl Cell {
    /// No other lock is taken under this one but that of an outbox.
    pub(super) fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }
}

/// All links.
#[derive(Default)]
pub(super) struct Cells {
    /// By the remote domain.
    by_domain: HashMap<Box<str>, Vec<Arc<Cell>>, RandomState>,
    count: usize,
    unwanted: usize,
    /// By account: since when it is counted, and how many pairs it has made.
    newcomers: HashMap<Box<str>, (Tick, u32), RandomState>,
}

impl Cells {
    fn find(&self, local: &str, remote: &str) -> Option<&Arc<Cell>> {
        let mut cells = self.by_domain.get(remote)?.iter();
        cells.find(|cell| &*cell.pair.local == local)
    }

    /// False: this account has made as many as it may.
    fn may_make_one(&mut self, account: &str, at: Tick) -> bool {
        if self.newcomers.len() >= COUNTED && !self.newcomers.contains_key(account) {
            self.newcomers.clear();
        }
        match self.newcomers.entry(account.into()) {
            Entry::Occupied(mut entry) if at.since(entry.get().0) < HOUR => {
                let count = &mut entry.get_mut().1;
                *count = count.saturating_add(1);
                *count <= NEW_PAIRS
            }
            entry => {
                entry.insert_entry((at, 1));
                true
            }
        }
    }
}

/// What is given with [`Router::federate`](crate::Router::federate).
pub(super) struct Port {
    pub(super) dialer: Arc<dyn Dialer>,
    pub(super) rules: RemoteRules,
    pub(super) token: u64,
    /// The start by both clocks.
    pub(super) began: (Now, Tick),
}

/// All links, and all streams of other servers.
#[derive(Default)]
pub(crate) struct Remotes {
    pub(super) port: OnceLock<Port>,
    cells: Mutex<Cells>,
    /// By the number of the session.
    streams: Mutex<HashMap<u64, Incoming, RandomState>>,
    pub(super) parked: Mutex<Vec<Parked>>,
}

/// Why there is no link.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// There are as many as there may be.
    Full,
    /// This account has made as many as it may.
    OfAccount,
}

impl Remotes {
    fn cells(&self) -> MutexGuard<'_, Cells> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn streams(&self) -> MutexGuard<'_, HashMap<u64, Incoming, RandomState>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, local: &str, remote: &str) -> Option<Arc<Cell>> {
        self.cells().find(local, remote).cloned()
    }

    /// The link of a pair, made if there is none. `is_wanted`: somebody here asks for it; `account`: it is this one that
    /// does, and may only make so many.
    pub(super) fn of(
        &self,
        pair: &Pair,
        is_wanted: bool,
        account: Option<&str>,
        at: Tick,
    ) -> Result<Arc<Cell>, NoRoom> {
        let mut cells = self.cells();
        if let Some(cell) = cells.find(&pair.local, &pair.remote).cloned() {
            if is_wanted && !cell.is_wanted.swap(true, Ordering::Relaxed) {
                cells.unwanted -= 1;
            }
            return Ok(cell);
        }
        if cells.count >= PAIRS || (!is_wanted && cells.unwanted >= UNWANTED) {
            return Err(NoRoom::Full);
        }
        if account.is_some_and(|account| !cells.may_make_one(account, at)) {
            return Err(NoRoom::OfAccount);
        }
        let mut link = Link::default();
        link.token = self.port.get().map_or(0, |port| port.token);
        let cell = Arc::new(Cell {
            pair: pair.clone(),
            link: Mutex::new(link),
            is_wanted: AtomicBool::new(is_wanted),
        });
        cells.count += 1;
        cells.unwanted += usize::from(!is_wanted);
        let known = cells.by_domain.entry(pair.remote.clone()).or_default();
        known.push(Arc::clone(&cell));
        Ok(cell)
    }

    pub(crate) fn each_outbox(&self, mut change: impl FnMut(&Outbox)) {
        for stream in self.streams().values() {
            change(&stream.bound.outbox);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Cell>> {
        self.cells().by_domain.values().flatten().cloned().collect()
    }

    /// Nothing is to be kept for longer than it must be.
    pub(super) fn are_crowded(&self) -> bool {
        self.cells().count >= CROWDED
    }

    /// Accounts that have waited for long enough.
    pub(super) fn forget_newcomers(&self, at: Tick) {
        self.cells().newcomers.retain(|_, (since, _)| at.since(*since) < HOUR);
    }

    /// Forgets a pair, unless somebody holds it, who may give it something, or `holds` something.
    pub(super) fn forget(&self, cell: &Arc<Cell>, holds: impl FnOnce(&Link) -> bool) {
        let mut cells = self.cells();
        // The other one is ours.
        if Arc::strong_count(cell) > 2 || holds(&cell.lock()) {
            return;
        }
        let Some(known) = cells.by_domain.get_mut(&cell.pair.remote) else {
            return;
        };
        known.retain(|other| other.pair != cell.pair);
        if known.is_empty() {
            cells.by_domain.remove(&cell.pair.remote);
        }
        cells.count -= 1;
        cells.unwanted -= usize::from(!cell.is_wanted());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_bring_leaves_half_of_the_room() {
        let remotes = Remotes::default();
        let make = |number: usize, is_wanted| {
            let pair = Pair::new("here.example", &format!("{number}.example"));
            remotes.of(&pair, is_wanted, None, Tick(0)).map(drop)
        };
        for number in 0..UNWANTED {
            assert_eq!(make(number, false), Ok(()), "{number}");
        }
        assert_eq!(make(PAIRS, false), Err(NoRoom::Full));
        assert_eq!(make(0, false), Ok(()), "it is known");
        for number in UNWANTED..PAIRS {
            assert_eq!(make(number, true), Ok(()), "{number}");
        }
        assert!(remotes.are_crowded());
        assert_eq!(make(PAIRS, true), Err(NoRoom::Full));
        // One that is forgotten makes room for another.
        let pair = Pair::new("here.example", "7.example");
        let cell = remotes.find(&pair.local, &pair.remote).expect("a link");
        remotes.forget(&cell, |_| true);
        assert_eq!(make(PAIRS, true), Err(NoRoom::Full));
        remotes.forget(&cell, |_| false);
        assert_eq!(make(PAIRS, false), Ok(()));
    }

    #[test]
    fn an_account_makes_only_so_many_in_an_hour() {
        let remotes = Remotes::default();
        let make = |account: &str, number: u32, at| {
            let pair = Pair::new("here.example", &format!("{account}{number}.example"));
            remotes.of(&pair, true, Some(account), Tick(at)).map(drop)
        };
        for number in 0..NEW_PAIRS {
            assert_eq!(make("a", number, 0), Ok(()));
        }
        assert_eq!(make("a", NEW_PAIRS, HOUR - 1), Err(NoRoom::OfAccount));
        assert_eq!(make("a", 0, HOUR - 1), Ok(()), "it is known");
        assert_eq!(make("b", 0, HOUR - 1), Ok(()));
        assert_eq!(make("a", NEW_PAIRS, HOUR), Ok(()));
        remotes.forget_newcomers(Tick(3 * HOUR));
        assert!(remotes.cells().newcomers.is_empty());
    }
}
