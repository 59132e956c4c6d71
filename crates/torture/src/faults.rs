//! Which fault comes next, and when: all of it from one stream of the seed.

use std::time::Duration;

use clap::ValueEnum;

use crate::history::ClientId;
use crate::rng::Rng;

/// Between one fault and the next, in milliseconds.
const PAUSE: (u64, u64) = (200, 3_000);
/// How long a server that was killed stays away, in milliseconds.
const AWAY: (u64, u64) = (0, 800);
/// How long it is stopped (SIGSTOP), in milliseconds.
const STOPPED: (u64, u64) = (100, 2_000);
/// How long a disk is full, in milliseconds.
const FULL: (u64, u64) = (500, 3_000);
/// How long a client does not read, in milliseconds.
const STALLED: (u64, u64) = (500, 6_000);
/// How long a client stays away after it has left, in milliseconds.
const LEFT: (u64, u64) = (100, 8_000);
/// From the cut to the end of the process, which sees its writes fail meanwhile, in milliseconds.
const DYING: (u64, u64) = (0, 100);
/// Every so manieth crash of the disk leaves the server to see it fail, if both kinds are wanted.
const BROKEN_EVERY: u64 = 3;
/// How long nothing goes from one server to the other, in milliseconds.
const APART: (u64, u64) = (200, 4_000);
/// Clients that one fault strikes.
const STRUCK: (u64, u64) = (1, 8);

/// Seconds by which a clock is wrong, either way: some minutes, some hours, half a day. All are long beside keepalive and
/// resumption. From one end to the other it is less than the day (by the clock) for which a message that is sent once more
/// is known: beyond it the archive takes it for new, and says so (`store::FINGERPRINT_LIFETIME_MS`).
const WRONG: [i64; 3] = [5 * 60, 3 * 3_600, 11 * 3_600];
/// Every so manieth jump of the clock puts it right.
const RIGHT_EVERY: u64 = 4;
/// Every so manieth jump of the clock happens while the server is away.
const JUMP_AWAY_EVERY: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Kind {
    Kill,
    Term,
    Stop,
    FullDisk,
    PowerCut,
    BrokenDisk,
    Clock,
    /// Between the servers: cut, stalled, cut for a while.
    LineCut,
    LineStall,
    LineDown,
    Reset,
    Stall,
    Leave,
}

/// How often each kind comes beside the others. Of kills, power cuts and broken disks there are as many as are wanted.
const WEIGHTS: [(Kind, u64); 13] = [
    (Kind::Kill, 5),
    (Kind::PowerCut, 0),
    (Kind::BrokenDisk, 0),
    (Kind::Term, 2),
    (Kind::Stop, 2),
    (Kind::FullDisk, 1),
    (Kind::Clock, 2),
    (Kind::LineCut, 2),
    (Kind::LineStall, 1),
    (Kind::LineDown, 1),
    (Kind::Reset, 3),
    (Kind::Stall, 4),
    (Kind::Leave, 3),
];

impl Kind {
    pub(crate) const ALL: [Kind; 13] = [
        Kind::Kill,
        Kind::Term,
        Kind::Stop,
        Kind::FullDisk,
        Kind::PowerCut,
        Kind::BrokenDisk,
        Kind::Clock,
        Kind::LineCut,
        Kind::LineStall,
        Kind::LineDown,
        Kind::Reset,
        Kind::Stall,
        Kind::Leave,
    ];

    /// As it is counted.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::Term => "term",
            Kind::Stop => "stop",
            Kind::FullDisk => "full disk",
            Kind::PowerCut => "power cut",
            Kind::BrokenDisk => "broken disk",
            Kind::Clock => "clock jump",
            Kind::LineCut => "line cut",
            Kind::LineStall => "line stalled",
            Kind::LineDown => "line down",
            Kind::Reset => "reset",
            Kind::Stall => "stall",
            Kind::Leave => "leave",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9; started again after this time.
    Kill(Duration),
    /// SIGTERM; started again after this time.
    Terminate(Duration),
    /// SIGSTOP, and SIGCONT after this time.
    Stop(Duration),
    /// The disk is full for this time.
    Full(Duration),
    /// Disk and server lose their power; started again after this time.
    Cut(Duration),
    /// The disk is gone, and the server sees its writes and flushes fail for the first time until it is killed; started
    /// again after the second.
    Broken(Duration, Duration),
    /// The server's clock is wrong by so many seconds from now on, which it sees while it runs or, if it is away for
    /// that time, at its next start.
    Clock(i64, Option<Duration>),
    /// What is between the servers is cut.
    LineCut,
    /// Nothing goes through for this time.
    LineStall(Duration),
    /// It is cut, and nobody can connect for this time.
    LineDown(Duration),
    Clients(Vec<ClientId>, Command),
}

/// What a client is told to suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Its connection is reset; it comes back soon.
    Reset,
    /// It does not read or write for this time.
    Stall(Duration),
    /// It closes its stream, and comes back after this time.
    Leave(Duration),
}

impl Fault {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Fault::Kill(_) => Kind::Kill,
            Fault::Terminate(_) => Kind::Term,
            Fault::Stop(_) => Kind::Stop,
            Fault::Full(_) => Kind::FullDisk,
            Fault::Cut(_) => Kind::PowerCut,
            Fault::Broken(..) => Kind::BrokenDisk,
            Fault::Clock(..) => Kind::Clock,
            Fault::LineCut => Kind::LineCut,
            Fault::LineStall(_) => Kind::LineStall,
            Fault::LineDown(_) => Kind::LineDown,
            Fault::Clients(_, Command::Reset) => Kind::Reset,
            Fault::Clients(_, Command::Stall(_)) => Kind::Stall,
            Fault::Clients(_, Command::Leave(_)) => Kind::Leave,
        }
    }
}

/// What a run is to have seen before it is over: of kills and power cuts (broken disks among them) exactly so many, of
/// the others at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) kills: u64,
    pub(crate) power_cuts: u64,
    pub(crate) full_disks: u64,
    pub(crate) clock_jumps: u64,
}

impl Goal {
    /// Without what does not come.
    pub(crate) fn of(self, kinds: &[Kind]) -> Goal {
        let has = |kind| kinds.contains(&kind);
        let only = |count, is_there| if is_there { count } else { 0 };
        Goal {
            kills: only(self.kills, has(Kind::Kill)),
            power_cuts: only(self.power_cuts, has(Kind::PowerCut) || has(Kind::BrokenDisk)),
            full_disks: only(self.full_disks, has(Kind::FullDisk)),
            clock_jumps: only(self.clock_jumps, has(Kind::Clock)),
        }
    }

    pub(crate) fn is_reached(self) -> bool {
        self == Goal::default()
    }
}

pub(crate) struct Schedule {
    rng: Rng,
    clients: u16,
    kinds: Vec<Kind>,
    left: Goal,
    /// By how many seconds the clock is wrong.
    wrong: i64,
}

impl Schedule {
    /// `kinds` are those that may come.
    pub(crate) fn new(rng: Rng, clients: u16, kinds: Vec<Kind>, goal: Goal) -> Schedule {
        Schedule {
            rng,
            clients,
            left: goal.of(&kinds),
            kinds,
            wrong: 0,
        }
    }

    /// Sets another goal; the random numbers go on.
    pub(crate) fn renew(&mut self, goal: Goal) {
        self.left = goal.of(&self.kinds);
    }

    /// The time until the next fault, and the fault. None when the goal is reached.
    pub(crate) fn next(&mut self) -> Option<(Duration, Fault)> {
        if self.left.is_reached() {
            return None;
        }
        let pause = self.millis(PAUSE);
        let fault = match self.kind() {
            Kind::Kill => {
                self.left.kills = self.left.kills.saturating_sub(1);
                Fault::Kill(self.millis(AWAY))
            }
            Kind::PowerCut => {
                self.left.power_cuts = self.left.power_cuts.saturating_sub(1);
                Fault::Cut(self.millis(AWAY))
            }
            Kind::BrokenDisk => {
                self.left.power_cuts = self.left.power_cuts.saturating_sub(1);
                Fault::Broken(self.millis(DYING), self.millis(AWAY))
            }
            Kind::Term => Fault::Terminate(self.millis(AWAY)),
            Kind::Stop => Fault::Stop(self.millis(STOPPED)),
            Kind::FullDisk => {
                self.left.full_disks = self.left.full_disks.saturating_sub(1);
                Fault::Full(self.millis(FULL))
            }
            Kind::Clock => {
                self.left.clock_jumps = self.left.clock_jumps.saturating_sub(1);
                self.jump()
            }
            Kind::LineCut => Fault::LineCut,
            Kind::LineStall => Fault::LineStall(self.millis(APART)),
            Kind::LineDown => Fault::LineDown(self.millis(APART)),
            Kind::Reset => self.clients(Command::Reset),
            Kind::Stall => {
                let time = self.millis(STALLED);
                self.clients(Command::Stall(time))
            }
            Kind::Leave => {
                let time = self.millis(LEFT);
                self.clients(Command::Leave(time))
            }
        };
        Some((pause, fault))
    }

    /// A crash is as likely as that of [`Kind::Kill`], while there are some left of any kind.
    fn kind(&mut self) -> Kind {
        let Goal { kills, power_cuts, .. } = self.left;
        let crashes = kills + power_cuts;
        let weight = |kind: Kind, weight: u64| match kind {
            Kind::Kill if crashes > 0 => weight,
            Kind::Kill => 0,
            _ if self.kinds.contains(&kind) => weight,
            _ => 0,
        };
        let weights = WEIGHTS.map(|(kind, usual)| (kind, weight(kind, usual)));
        let all: u64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut at = self.rng.below(all);
        for (kind, weight) in weights {
            if at < weight {
                return if kind == Kind::Kill { self.crash() } else { kind };
            }
            at -= weight;
        }
        // A goal is left, so there is a kind that leads to it.
        Kind::Reset
    }

    /// A kill or a power cut, as many of either as are left to do.
    fn crash(&mut self) -> Kind {
        let Goal { kills, power_cuts, .. } = self.left;
        if self.rng.below(kills + power_cuts) >= power_cuts {
            return Kind::Kill;
        }
        let has = |kind| self.kinds.contains(&kind);
        match (has(Kind::PowerCut), has(Kind::BrokenDisk)) {
            (true, true) if self.rng.one_in(BROKEN_EVERY) => Kind::BrokenDisk,
            (true, _) => Kind::PowerCut,
            (false, _) => Kind::BrokenDisk,
        }
    }

    /// To another time than it tells now.
    fn jump(&mut self) -> Fault {
        let wrong = loop {
            let wrong = match self.rng.one_in(RIGHT_EVERY) {
                true => 0,
                false => {
                    let seconds = WRONG[self.rng.below(WRONG.len() as u64) as usize];
                    if self.rng.one_in(2) { seconds } else { -seconds }
                }
            };
            if wrong != self.wrong {
                break wrong;
            }
        };
        self.wrong = wrong;
        let away = self.rng.one_in(JUMP_AWAY_EVERY).then(|| self.millis(AWAY));
        Fault::Clock(wrong, away)
    }

    fn clients(&mut self, command: Command) -> Fault {
        let count = self.rng.between(STRUCK.0, STRUCK.1);
        // The remainder is below a u16.
        let struck = (0..count).map(|_| ClientId(self.rng.below(self.clients.into()) as u16));
        let mut struck: Vec<ClientId> = struck.collect();
        struck.sort_unstable();
        struck.dedup();
        Fault::Clients(struck, command)
    }

    fn millis(&mut self, (least, most): (u64, u64)) -> Duration {
        self.rng.millis(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOAL: Goal = Goal {
        kills: 20,
        power_cuts: 5,
        full_disks: 4,
        clock_jumps: 6,
    };

    fn all(kinds: &[Kind], goal: Goal) -> Vec<Fault> {
        let mut schedule = Schedule::new(Rng::new(1, 0), 100, kinds.to_vec(), goal);
        std::iter::from_fn(move || schedule.next().map(|(_, fault)| fault)).collect()
    }

    fn count(faults: &[Fault], kind: Kind) -> u64 {
        faults.iter().filter(|fault| fault.kind() == kind).count() as u64
    }

    #[test]
    fn a_schedule_reaches_its_goal_and_is_the_same_again() {
        let faults = all(&Kind::ALL, GOAL);
        assert_eq!(faults, all(&Kind::ALL, GOAL));
        for kind in Kind::ALL {
            assert!(count(&faults, kind) > 0, "{kind:?}");
        }
        assert_eq!(count(&faults, Kind::Kill), 20);
        assert_eq!(count(&faults, Kind::PowerCut) + count(&faults, Kind::BrokenDisk), 5);
        assert!(count(&faults, Kind::FullDisk) >= 4 && count(&faults, Kind::Clock) >= 6);
    }

    #[test]
    fn only_what_is_wanted_comes() {
        for kind in [
            Kind::Kill,
            Kind::PowerCut,
            Kind::BrokenDisk,
            Kind::FullDisk,
            Kind::Clock,
        ] {
            let faults = all(&[kind], GOAL);
            assert!(!faults.is_empty(), "{kind:?}");
            assert_eq!(count(&faults, kind), faults.len() as u64, "{kind:?}");
        }
        // No goal can be reached with these.
        assert_eq!(all(&[Kind::Stop, Kind::Leave], GOAL), []);
    }

    #[test]
    fn each_jump_of_the_clock_is_one() {
        let goal = Goal {
            clock_jumps: 200,
            ..Goal::default()
        };
        let jumps: Vec<(i64, bool)> = all(&[Kind::Clock], goal)
            .into_iter()
            .filter_map(|fault| match fault {
                Fault::Clock(wrong, away) => Some((wrong, away.is_some())),
                _ => None,
            })
            .collect();
        assert!(jumps[0].0 != 0 && jumps.windows(2).all(|two| two[0].0 != two[1].0));
        for wrong in WRONG.iter().flat_map(|wrong| [*wrong, -wrong]).chain([0]) {
            for away in [false, true] {
                assert!(jumps.contains(&(wrong, away)), "{wrong} {away}");
            }
        }
    }
}
