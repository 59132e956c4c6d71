//! Which fault comes next, and when: all of it from one stream of the seed.

use std::time::Duration;

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
/// Every so manieth power cut leaves the server to see its disk fail.
const BROKEN_EVERY: u64 = 3;
/// Clients that one fault strikes.
const STRUCK: (u64, u64) = (1, 8);

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
    /// Its kind, as it is counted.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Fault::Kill(_) => "kill",
            Fault::Terminate(_) => "term",
            Fault::Stop(_) => "stop",
            Fault::Full(_) => "full disk",
            Fault::Cut(_) => "power cut",
            Fault::Broken(..) => "broken disk",
            Fault::Clients(_, Command::Reset) => "reset",
            Fault::Clients(_, Command::Stall(_)) => "stall",
            Fault::Clients(_, Command::Leave(_)) => "leave",
        }
    }
}

/// What a run is to have seen before it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Goal {
    pub(crate) kills: u64,
    pub(crate) power_cuts: u64,
}

pub(crate) struct Schedule {
    rng: Rng,
    clients: u16,
    can_be_full: bool,
    left: Goal,
}

impl Schedule {
    pub(crate) fn new(rng: Rng, clients: u16, can_be_full: bool, goal: Goal) -> Schedule {
        Schedule {
            rng,
            clients,
            can_be_full,
            left: goal,
        }
    }

    fn is_done(&self) -> bool {
        self.left.kills == 0 && self.left.power_cuts == 0
    }

    /// Sets another goal; the random numbers go on.
    pub(crate) fn renew(&mut self, goal: Goal) {
        self.left = goal;
    }

    /// The time until the next fault, and the fault. None when the goal is reached.
    pub(crate) fn next(&mut self) -> Option<(Duration, Fault)> {
        if self.is_done() {
            return None;
        }
        let pause = self.millis(PAUSE);
        // Once in so many there is something other than a kill; the more there is to kill, the less often it matters.
        let fault = match self.rng.below(20) {
            0..=4 => self.crash(),
            5..=6 => Fault::Terminate(self.millis(AWAY)),
            7..=8 => Fault::Stop(self.millis(STOPPED)),
            9 if self.can_be_full => Fault::Full(self.millis(FULL)),
            9..=12 => self.clients(Command::Reset),
            13..=16 => {
                let time = self.millis(STALLED);
                self.clients(Command::Stall(time))
            }
            _ => {
                let time = self.millis(LEFT);
                self.clients(Command::Leave(time))
            }
        };
        Some((pause, fault))
    }

    /// A kill or a power cut, as many of either as are left to do.
    fn crash(&mut self) -> Fault {
        let Goal { kills, power_cuts } = self.left;
        if self.rng.below(kills + power_cuts) < power_cuts {
            self.left.power_cuts -= 1;
            return match self.rng.one_in(BROKEN_EVERY) {
                true => Fault::Broken(self.millis(DYING), self.millis(AWAY)),
                false => Fault::Cut(self.millis(AWAY)),
            };
        }
        self.left.kills -= 1;
        Fault::Kill(self.millis(AWAY))
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

    #[test]
    fn a_schedule_reaches_its_goal_and_is_the_same_again() {
        let goal = Goal {
            kills: 20,
            power_cuts: 5,
        };
        let all = || {
            let mut schedule = Schedule::new(Rng::new(1, 0), 100, true, goal);
            std::iter::from_fn(move || schedule.next()).collect::<Vec<_>>()
        };
        let faults = all();
        assert_eq!(faults, all());
        let count = |kind: &str| faults.iter().filter(|(_, fault)| fault.kind() == kind).count();
        assert_eq!((count("kill"), count("power cut") + count("broken disk")), (20, 5));
        for kind in [
            "power cut",
            "broken disk",
            "term",
            "stop",
            "full disk",
            "reset",
            "stall",
            "leave",
        ] {
            assert!(count(kind) > 0, "{kind}");
        }
        let mut schedule = Schedule::new(Rng::new(1, 0), 100, false, goal);
        let faults = std::iter::from_fn(|| schedule.next());
        assert_eq!(faults.filter(|(_, fault)| fault.kind() == "full disk").count(), 0);
    }
}
