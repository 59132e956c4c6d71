//! How long something lasts between servers, by a clock that nobody puts right.
//!
//! The wall clock may jump by hours, and then nobody has waited for longer. It only says what passed while this process was
//! not there: when a pair was reached last, and how old what waits was at the start.

use std::collections::VecDeque;

use module::Now;

use crate::Router;

/// A second of the clock of [`Dialer::seconds`](super::Dialer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tick(pub(super) i64);

impl Tick {
    pub(super) fn since(self, earlier: Tick) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    pub(super) fn plus(self, seconds: i64) -> Tick {
        Tick(self.0.saturating_add(seconds))
    }
}

/// Groups that the time until something is given up is divided into. So much later it may be given up.
const GROUPS: i64 = 64;

/// Rows that came one after the other.
#[derive(Debug)]
struct Group {
    first: Tick,
    last: Tick,
    /// The key of the last.
    up_to: u64,
}

/// When the rows of a spool came, in few numbers, however many there are.
#[derive(Debug, Default)]
pub(super) struct Ages {
    groups: VecDeque<Group>,
    /// Rows up to this key are judged by what they say themselves: they are of an earlier process.
    inherited: u64,
}

impl Ages {
    /// Rows are there of which it is not known when they came.
    pub(super) fn inherit(&mut self, up_to: u64) {
        self.inherited = up_to;
    }

    /// A row came. `patience`: seconds until it is given up.
    pub(super) fn came(&mut self, key: u64, at: Tick, patience: i64) {
        let is_full = self.groups.len() as i64 > 2 * GROUPS;
        match self.groups.back_mut() {
            Some(group) if is_full || at.since(group.first) < patience / GROUPS => {
                group.last = at;
                group.up_to = key;
            }
            _ => self.groups.push_back(Group {
                first: at,
                last: at,
                up_to: key,
            }),
        }
    }

    /// The spool is empty.
    pub(super) fn nothing_waits(&mut self) {
        self.groups.clear();
    }

    /// What has waited for as long as this. `now`: by the wall clock of the start.
    pub(super) fn due(&self, at: Tick, now: Now, patience: i64) -> Due {
        let groups = self.groups.iter();
        let over = groups.take_while(|group| at.since(group.last) >= patience);
        Due::Waited {
            up_to: over.last().map_or(0, |group| group.up_to),
            inherited: self.inherited,
            before: now.0.saturating_sub(patience.saturating_mul(1_000)),
        }
    }
}

/// Which rows are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    All,
    Waited {
        /// The key of the last that this process has seen come.
        up_to: u64,
        /// The key of the last of an earlier one: of those, what came before this moment (milliseconds).
        inherited: u64,
        before: i64,
    },
}

impl Due {
    pub(super) fn has(self, key: u64, came: i64) -> bool {
        match self {
            Due::All => true,
            Due::Waited { inherited, before, .. } if key <= inherited => came <= before,
            Due::Waited { up_to, .. } => key <= up_to,
        }
    }
}

impl Router {
    pub(super) fn tick(&self) -> Tick {
        let port = self.remotes.port.get();
        Tick(port.map_or(0, |port| port.dialer.seconds()))
    }

    /// What the wall clock says where it was right at the start and nobody has put it right since.
    pub(super) fn undisturbed(&self, at: Tick) -> Now {
        let Some(port) = self.remotes.port.get() else {
            return (self.clock)();
        };
        let (now, then) = port.began;
        Now(now.0.saturating_add(at.since(then).saturating_mul(1_000)))
    }

    /// When that was by the wall clock, in seconds; 0: never.
    pub(super) fn by_wall_clock(&self, at: Tick, then: Option<Tick>) -> i64 {
        then.map_or(0, |then| (self.clock)().seconds().saturating_sub(at.since(then)).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_due_in_groups_and_never_too_soon() {
        let mut ages = Ages::default();
        ages.inherit(10);
        let patience = 6_400;
        // One each second: far more than there are groups.
        for second in 0..20_000 {
            ages.came(11 + second as u64, Tick(second), patience);
        }
        assert!(ages.groups.len() as i64 <= 2 * GROUPS + 1);
        let due = |at: i64| ages.due(Tick(at), Now(at * 1_000), patience);
        assert!(!due(6_399).has(11, 0), "it has waited for a second less");
        // Of a group the last has to have waited for as long.
        assert!(due(6_499).has(11, 0) && due(6_499).has(110, 0) && !due(6_499).has(111, 0));
        // What an earlier process has left is judged by when it was written.
        assert!(due(6_499).has(10, 99_000) && !due(6_499).has(10, 99_001));
        assert!(Due::All.has(u64::MAX, i64::MAX));
    }
}
