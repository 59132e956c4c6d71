//! What there is to tell of the links, for who asks (`jackdaw why`) and for the metrics.

use super::link::State;
use super::{Failure, Pair};
use crate::Router;

/// One link as it is now.
#[derive(Clone, Debug)]
pub struct LinkReport {
    pub pair: Pair,
    /// "idle", "connecting" or "connected".
    pub state: &'static str,
    /// Stanzas that wait in memory or are not acknowledged, and those in the spool.
    pub in_memory: usize,
    pub spooled: u64,
    /// Seconds since there was a stream; None: there never was.
    pub reached: Option<i64>,
    /// In a row, the last of them, and seconds since then.
    pub failures: u32,
    pub failure: Option<Failure>,
    pub failed: Option<i64>,
    /// Seconds until the next attempt; None: none is made by itself.
    pub next: Option<i64>,
    /// A stanza that the peer seems to end streams for is tried alone.
    pub is_on_trial: bool,
}

/// Of all links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    pub up: usize,
    pub failing: usize,
    pub spooled: u64,
    /// Streams of other servers, whoever has opened them.
    pub streams: usize,
}

impl Router {
    /// The links to a domain (prepared form).
    pub fn link_report(&self, remote: &str) -> Vec<LinkReport> {
        let (rules, at) = (self.rules(), self.tick());
        let cells = self.remotes.all();
        let cells = cells.iter().filter(|cell| &*cell.pair.remote == remote);
        let reports = cells.map(|cell| {
            let link = cell.lock();
            let (in_memory, spooled) = link.waiting();
            LinkReport {
                pair: cell.pair.clone(),
                state: match link.state {
                    State::Idle => "idle",
                    State::Dialing => "connecting",
                    State::Up(_) => "connected",
                },
                in_memory,
                spooled,
                reached: link.reached.map(|then| at.since(then)),
                failures: link.failures,
                failure: link.failure.clone(),
                failed: link.failed_at.map(|then| at.since(then)),
                next: link.next_attempt_in(&rules, at),
                is_on_trial: link.trial().is_some(),
            }
        });
        reports.collect()
    }

    pub fn count_links(&self) -> LinkCounts {
        let mut counts = LinkCounts {
            streams: self.remotes.streams().len(),
            ..LinkCounts::default()
        };
        for cell in self.remotes.all() {
            let link = cell.lock();
            counts.up += usize::from(matches!(link.state, State::Up(_)));
            counts.failing += usize::from(link.failure.is_some());
            counts.spooled += link.spooled;
        }
        counts
    }
}
