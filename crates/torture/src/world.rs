//! What all tasks of a run share.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use crate::history::{ClientId, History, Time};
use crate::server::DOMAINS;
use crate::wire::Access;

/// Where a run is. Clients follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Faults strike, clients send.
    Storm,
    /// Nobody connects: the server is measured.
    Held,
    /// Faults have stopped. What is not acknowledged is sent again until it is; nothing new is sent.
    Settle,
    /// Archives and state are read.
    Sync,
    /// Streams are closed.
    Close,
}

impl Phase {
    fn number(self) -> u8 {
        self as u8
    }
}

/// For people: how often what happened.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) operations: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) errors: AtomicU64,
    pub(crate) resumed: AtomicU64,
    /// `<failed/>` with and without h.
    pub(crate) failed_with_h: AtomicU64,
    pub(crate) failed_without_h: AtomicU64,
    /// Sent once more.
    pub(crate) resent: AtomicU64,
    pub(crate) logins: AtomicU64,
    /// Into rooms.
    pub(crate) entered: AtomicU64,
}

impl Counts {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

pub(crate) struct World {
    pub(crate) seed: u64,
    /// To each server.
    access: [Access; DOMAINS.len()],
    pub(crate) accounts: u16,
    pub(crate) rooms: u16,
    /// Between two things that a client does, on average, in milliseconds.
    pub(crate) pace: u64,
    pub(crate) counts: Counts,
    /// How often each server was ended without being asked.
    crashes: [AtomicU64; DOMAINS.len()],
    began: Instant,
    history: Mutex<History>,
    /// By client: the phase that it has done, and what it waits for otherwise.
    done: Vec<AtomicU8>,
    waiting: Mutex<Vec<String>>,
}

impl World {
    pub(crate) fn new(
        seed: u64,
        access: [Access; DOMAINS.len()],
        accounts: u16,
        rooms: u16,
        pace: u64,
        history: History,
    ) -> World {
        let clients = history.clients.len();
        World {
            seed,
            access,
            accounts,
            rooms,
            pace,
            counts: Counts::default(),
            crashes: Default::default(),
            began: Instant::now(),
            history: Mutex::new(history),
            done: (0..clients).map(|_| AtomicU8::new(0)).collect(),
            waiting: Mutex::new(vec!["has never been there".to_owned(); clients]),
        }
    }

    /// To the server with this number.
    pub(crate) fn access(&self, server: usize) -> &Access {
        &self.access[server]
    }

    pub(crate) fn access_of(&self, client: ClientId) -> &Access {
        self.access(client.account().home())
    }

    /// Counted when the server is gone, not before: what still begins until then goes with it.
    pub(crate) fn crashed(&self, server: usize) {
        self.crashes[server].fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn crashes_of(&self, client: ClientId) -> u64 {
        self.crashes[client.account().home()].load(Ordering::Acquire)
    }

    pub(crate) fn now(&self) -> Time {
        self.began.elapsed()
    }

    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        // If a task panicked the run has failed, and what was seen is as good as before.
        self.history.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn done(&self, client: ClientId, phase: Phase) {
        if let Some(done) = self.done.get(usize::from(client.0)) {
            done.store(phase.number(), Ordering::Release);
        }
    }

    /// What the client does at the moment, for whoever wonders why it is not done.
    pub(crate) fn tells(&self, client: ClientId, what: &str) {
        let mut waiting = self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(place) = waiting.get_mut(usize::from(client.0)) {
            what.clone_into(place);
        }
    }

    /// The clients that are not done with it, and what they told last.
    pub(crate) fn late(&self, phase: Phase) -> Vec<String> {
        let waiting = self.waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let late = self.done.iter().zip(waiting.iter()).enumerate();
        late.filter(|(_, (done, _))| done.load(Ordering::Acquire) < phase.number())
            // There are no more clients than a u16 counts.
            .map(|(number, (_, what))| format!("{} {what}", ClientId(number as u16)))
            .collect()
    }
}
