//! The works: what is measured. Each logs in what it needs, warms up, and measures with the server calm before.

mod archive;
mod crowd;
mod idle;
mod login;
mod message;
mod offline;
mod open;
mod page;
mod pep;
mod presence;
mod recovery;
mod room;
mod roster;
mod slow;
mod wide;

use std::sync::Arc;
use std::time::Duration;

use crate::Outcome;
use crate::client::Access;
use crate::measure::Spent;
use crate::target::{History, Keeps, Running, Setup};

/// A closed loop is calibrated to last about this long.
const CLOSED_LOOP: Duration = Duration::from_secs(3);
/// No run takes longer, whatever happens.
const RUN_LIMIT: Duration = Duration::from_secs(300);
/// But for what is done only if it is asked for.
const ASKED_LIMIT: Duration = Duration::from_secs(1_200);
/// The longest wait for the server to have nothing to do.
const CALM_LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// Memory of idle sessions with TLS, and what is left when they are gone.
    Idle,
    /// The same without TLS.
    IdlePlain,
    /// The same as WebSockets.
    IdleWebsocket,
    /// As many TLS sessions as a process may have files: what each costs, and how soon the memory is back.
    Crowd,
    /// CPU of a login with TLS and SCRAM.
    Login,
    /// The same by SASL2, with resource and stream management inline.
    LoginSasl2,
    /// The same with a token, to a new session and to the old stream.
    LoginFast,
    /// Messages as fast as they go: pairs with a window of 32.
    Msg,
    /// Messages that come one at a time: pairs with a window of 1.
    MsgSingle,
    /// Messages at a fixed rate: latency.
    Open,
    /// The same beside readers who do not read.
    Slow,
    /// Everybody tells all contacts.
    Presence,
    /// Messages and presence with rosters of 10 and of 5,000.
    Roster,
    /// Messages to rooms of 100, 300 and 500.
    Room,
    /// Memory of an occupant, and the cost of filling a room of 1,000.
    RoomIdle,
    /// Coming into a room of 1,000, and messages there.
    RoomLarge,
    /// The same with 10,000, of whom moderators are shown.
    RoomHuge,
    /// The same with 10,000 who are all shown; only if it is asked for.
    RoomHugeShown,
    /// A thousand contacts hear what one account publishes.
    Pep,
    /// Archived and acknowledged messages as fast as they go: pairs with a window of 32.
    Archive,
    /// The same from and to anybody among 10,000 accounts with a million messages.
    ArchiveWide,
    /// Archived messages one at a time, 20 and 200 a second: from sending to the acknowledgement.
    ArchiveSingle,
    /// Pages of archives of a thousand messages.
    Page,
    /// Pages of archives of two thousand messages, among a million.
    PageMillion,
    /// Pages of one archive of a million messages.
    PageOne,
    /// Pages among ten million messages; only if it is asked for.
    PageTenMillion,
    /// Messages to absent users, and the way back.
    Offline,
    /// Killed with a million messages: until it answers, and until 1,000 clients are back.
    Recovery,
}

/// A million messages of many accounts.
const MILLION: History = History {
    messages: 1_000_000,
    owners: wide::ACCOUNTS - 10,
    contacts: 10,
};
/// Few enough accounts that an archive has many pages, with each contact too.
const MILLION_OF_FEW: History = History {
    messages: 1_000_000,
    owners: 1_000,
    contacts: 4,
};
const MILLION_OF_ONE: History = History {
    messages: 1_000_000,
    owners: 1,
    contacts: 10,
};
const TEN_MILLION: History = History {
    messages: 10_000_000,
    owners: 10_000,
    contacts: 4,
};

/// How much of it.
#[derive(Debug, Clone)]
pub(crate) struct Amounts {
    /// Sessions of the works named `idle` and `login`.
    pub sessions: usize,
    /// Sessions of `crowd`.
    pub crowd: usize,
    /// Pairs of `msg`.
    pub pairs: usize,
    /// Messages a second of `open`.
    pub rate: u32,
}

/// One number. `key` names the row of the table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Figure {
    pub key: &'static str,
    pub value: f64,
}

/// The result of one run.
#[derive(Debug, Default)]
pub(crate) struct Result {
    pub figures: Vec<Figure>,
    /// Cores that other programs used meanwhile.
    pub others: f64,
    /// For the curious: what the generator cost, and other asides.
    pub notes: Vec<String>,
}

impl Result {
    fn figure(&mut self, key: &'static str, value: f64) {
        self.figures.push(Figure { key, value });
    }

    /// Takes the worst window's noise as the run's.
    fn noise(&mut self, spent: Spent) {
        self.others = self.others.max(spent.others / spent.wall.max(0.001));
    }
}

impl Work {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Work::Idle => "idle",
            Work::IdlePlain => "idle-plain",
            Work::IdleWebsocket => "idle-websocket",
            Work::Crowd => "crowd",
            Work::Login => "login",
            Work::LoginSasl2 => "login-sasl2",
            Work::LoginFast => "login-fast",
            Work::Msg => "msg",
            Work::MsgSingle => "msg-single",
            Work::Open => "open",
            Work::Slow => "slow",
            Work::Presence => "presence",
            Work::Roster => "roster",
            Work::Room => "room",
            Work::RoomIdle => "room-idle",
            Work::RoomLarge => "room-large",
            Work::RoomHuge => "room-huge",
            Work::RoomHugeShown => "room-huge-shown",
            Work::Pep => "pep",
            Work::Archive => "archive",
            Work::ArchiveWide => "archive-wide",
            Work::ArchiveSingle => "archive-single",
            Work::Page => "page",
            Work::PageMillion => "page-million",
            Work::PageOne => "page-one",
            Work::PageTenMillion => "page-ten-million",
            Work::Offline => "offline",
            Work::Recovery => "recovery",
        }
    }

    /// Accounts that it needs, from 0 on.
    pub(crate) fn accounts(self, amounts: &Amounts) -> usize {
        match self {
            Work::Idle | Work::IdlePlain | Work::IdleWebsocket | Work::Login | Work::LoginSasl2 | Work::LoginFast => {
                amounts.sessions
            }
            Work::Crowd => amounts.crowd,
            Work::Msg => 2 * amounts.pairs,
            Work::MsgSingle => 2 * message::SINGLE_PAIRS,
            Work::Open => 2 * open::PAIRS,
            Work::Slow => slow::ACCOUNTS,
            Work::Presence => presence::USERS,
            Work::Roster => roster::ACCOUNTS,
            Work::Room => room::OCCUPANTS,
            Work::RoomIdle => room::IDLE,
            Work::RoomLarge => room::LARGE.accounts(),
            Work::RoomHuge => room::HUGE.accounts(),
            Work::RoomHugeShown => room::HUGE_SHOWN.accounts(),
            Work::Pep => pep::SUBSCRIBERS + 1,
            Work::Archive => 2 * amounts.pairs,
            Work::ArchiveWide | Work::Recovery => wide::ACCOUNTS,
            Work::ArchiveSingle => 2 * archive::SINGLE_PAIRS,
            Work::Page => page::FEW.accounts(),
            Work::PageMillion | Work::PageOne | Work::PageTenMillion => {
                self.history().map_or(0, |history| history.accounts())
            }
            Work::Offline => offline::USERS + 1,
        }
    }

    /// The most sessions at a time. No account has more than one.
    pub(crate) fn sessions(self, amounts: &Amounts) -> usize {
        match self {
            Work::ArchiveWide => wide::SESSIONS,
            Work::Recovery => recovery::CLIENTS,
            Work::PageMillion | Work::PageOne | Work::PageTenMillion => page::READERS,
            _ => self.accounts(amounts),
        }
    }

    /// Whether it is done when nobody says which.
    pub(crate) fn is_usual(self) -> bool {
        !matches!(self, Work::PageTenMillion | Work::RoomHugeShown)
    }

    /// Whether it needs an archive.
    pub(crate) fn archives(self) -> bool {
        self.history().is_some() || self.has_rooms() || matches!(self, Work::Archive | Work::ArchiveSingle | Work::Page)
    }

    /// Whether it is about rooms.
    pub(crate) fn has_rooms(self) -> bool {
        matches!(
            self,
            Work::Room | Work::RoomIdle | Work::RoomLarge | Work::RoomHuge | Work::RoomHugeShown
        )
    }

    /// Whether it asks only whether our own cost stays the same where much is archived, or for what the
    /// others are not set up for.
    pub(crate) fn is_ours_alone(self) -> bool {
        self.history().is_some()
            || matches!(
                self,
                Work::IdleWebsocket | Work::LoginSasl2 | Work::LoginFast | Work::Pep | Work::RoomHugeShown
            )
    }

    /// What is archived from the beginning.
    fn history(self) -> Option<History> {
        match self {
            Work::ArchiveWide | Work::Recovery => Some(MILLION),
            Work::PageMillion => Some(MILLION_OF_FEW),
            Work::PageOne => Some(MILLION_OF_ONE),
            Work::PageTenMillion => Some(TEN_MILLION),
            _ => None,
        }
    }

    /// How the server is started for it.
    pub(crate) fn setup(self, amounts: &Amounts) -> Setup {
        let keeps = match self {
            // Their goals are those of a delivery without an archive; so do the others in them.
            Work::Msg | Work::MsgSingle | Work::Open | Work::Slow | Work::Roster => Keeps::Nothing,
            _ if self.archives() => Keeps::Everything,
            _ => Keeps::Usual,
        };
        Setup {
            accounts: self.accounts(amounts),
            keeps,
            history: self.history(),
            has_rooms: self.has_rooms(),
        }
    }

    pub(crate) async fn run(self, server: &mut Running, amounts: &Amounts) -> Outcome<Result> {
        let address = server.address;
        let access = |tls| Access::new(address, tls);
        let (tls, plain) = (Arc::new(access(true)), Arc::new(access(false)));
        let pid = server.pid();
        let run = async {
            match self {
                Work::Idle => idle::memory_of(&tls, pid, amounts.sessions, ("idle.memory", "idle.kept")).await,
                Work::IdlePlain => idle::memory_of(&plain, pid, amounts.sessions, ("plain.memory", "plain.kept")).await,
                Work::IdleWebsocket => {
                    let web = Arc::new(Access::new(server.web(), true).web());
                    idle::memory_of(&web, pid, amounts.sessions, ("websocket.memory", "websocket.kept")).await
                }
                Work::Crowd => crowd::run(&Arc::new(access(true).many_sources()), pid, amounts.crowd).await,
                Work::Login => login::classic(&tls, pid, amounts.sessions).await,
                Work::LoginSasl2 => login::inline(&tls, pid, amounts.sessions).await,
                Work::LoginFast => login::fast(&tls, pid, amounts.sessions).await,
                Work::Msg => message::busy(&tls, pid, amounts.pairs).await,
                Work::MsgSingle => message::single(&tls, pid).await,
                Work::Open => open::run(&tls, pid, amounts.rate).await,
                Work::Slow => slow::run(&tls, &Arc::new(access(true).narrow()), pid, amounts.rate).await,
                Work::Presence => presence::run(&tls, pid).await,
                Work::Roster => roster::run(&tls, pid).await,
                Work::Room => room::spoken(&tls, &plain, pid).await,
                Work::RoomIdle => room::idle(&tls, pid).await,
                Work::RoomLarge => room::large(&plain, pid, &room::LARGE).await,
                Work::RoomHuge => room::large(&plain, pid, &room::HUGE).await,
                Work::RoomHugeShown => room::large(&plain, pid, &room::HUGE_SHOWN).await,
                Work::Pep => pep::run(&tls, pid).await,
                Work::Archive => archive::busy(&tls, pid, amounts.pairs).await,
                Work::ArchiveWide => wide::run(&tls, pid).await,
                Work::ArchiveSingle => archive::single(&tls, pid).await,
                Work::Page => page::few(&tls, pid).await,
                Work::PageMillion => page::of(&tls, pid, &MILLION_OF_FEW, ("page.million", "page.million.with")).await,
                Work::PageOne => page::of(&tls, pid, &MILLION_OF_ONE, ("page.one", "page.one.with")).await,
                Work::PageTenMillion => page::of(&tls, pid, &TEN_MILLION, ("page.huge", "page.huge.with")).await,
                Work::Offline => offline::run(&tls, pid).await,
                Work::Recovery => recovery::run(&tls, server).await,
            }
        };
        let limit = if self.is_usual() { RUN_LIMIT } else { ASKED_LIMIT };
        tokio::time::timeout(limit, run)
            .await
            .unwrap_or_else(|_| Err(format!("not done after {} s", limit.as_secs())))
    }
}

/// How many units fill the time of a closed loop, if `probe` of them took `wall` seconds.
fn calibrated(probe: usize, wall: f64, most: usize) -> usize {
    let count = probe as f64 * CLOSED_LOOP.as_secs_f64() / wall.max(0.001);
    // `as` saturates; `max` first, as `most` may be the smaller.
    (count as usize).max(probe).min(most)
}

/// Microseconds of `seconds` for each of `units`.
fn micros_each(seconds: f64, units: usize) -> f64 {
    seconds * 1e6 / units.max(1) as f64
}

/// The value below which this share of the values lies.
fn quantile(values: &mut [u32], share: f64) -> f64 {
    values.sort_unstable();
    let place = (values.len().saturating_sub(1) as f64 * share) as usize;
    values.get(place).copied().map_or(f64::NAN, f64::from)
}

/// A body of this many bytes.
fn body(bytes: usize) -> String {
    "I would rather be a jackdaw than sit still, said the one on the chimney. "
        .chars()
        .cycle()
        .take(bytes)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_loop_is_bounded_on_both_sides() {
        assert_eq!(calibrated(100, 0.1, 1_000_000), 3_000);
        assert_eq!(calibrated(100, 60.0, 1_000_000), 100);
        assert_eq!(calibrated(100, 0.0, 5_000), 5_000);
    }

    #[test]
    fn a_history_has_an_account_for_everybody() {
        assert_eq!(MILLION.accounts(), wide::ACCOUNTS);
        const { assert!(recovery::CLIENTS <= wide::ACCOUNTS && wide::SESSIONS <= wide::ACCOUNTS) };
    }

    #[test]
    fn quantiles_are_values_that_came() {
        let mut values: Vec<u32> = (1..=101).rev().collect();
        assert_eq!(quantile(&mut values, 0.5), 51.0);
        assert_eq!(quantile(&mut values, 0.99), 100.0);
        assert!(quantile(&mut [], 0.5).is_nan());
    }
}
