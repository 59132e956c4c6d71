//! What is counted of connections and logins, for whoever watches the server. Relaxed atomics and no lock: a figure that
//! is read tells nothing of another that is read beside it.

use std::sync::atomic::{AtomicU64, Ordering};

use auth::{Failure, Mechanism};

/// A number that only grows, or one that goes up and down again.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What carries a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// TCP, encrypted by STARTTLS or not at all.
    Starttls,
    Direct,
    WebSocket,
    Bosh,
    /// Another server has connected.
    ServerIn,
    /// We have connected to another server.
    ServerOut,
    /// TCP, and no client (XEP-0114).
    Component,
}

impl Via {
    const NAMES: [&'static str; 7] = [
        "starttls",
        "direct-tls",
        "websocket",
        "bosh",
        "server-in",
        "server-out",
        "component",
    ];
}

/// A limit of the configuration that somebody has run into.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reached {
    Connections,
    BeforeLogin,
    PerSecond,
    FailuresPerAddress,
    FailuresPerAccount,
    RegistrationsPerAddress,
    Registrations,
    LoginAttempts,
    Negotiation,
    ReadRate,
}

impl Reached {
    /// Keys of `[limits]`.
    const NAMES: [&'static str; 10] = [
        "connections",
        "connections_before_login_per_address",
        "connections_per_second_per_address",
        "login_failures_per_minute_per_address",
        "login_failures_per_minute_per_account",
        "registrations_per_hour_per_address",
        "registrations_per_hour",
        "login_attempts",
        "negotiation_seconds",
        "read_bytes_per_second",
    ];
}

const MECHANISMS: usize = Mechanism::ALL.len() + 1;
const RESULTS: usize = Failure::ALL.len() + 1;

/// Since the process began.
#[derive(Default)]
pub struct Metrics {
    streams: [Count; Via::NAMES.len()],
    sessions: [Count; Via::NAMES.len()],
    /// By mechanism, in the order of [`Mechanism::ALL`], and what is none behind them; by result, success behind the
    /// failures.
    logins: [[Count; RESULTS]; MECHANISMS],
    pub(crate) guesses: Count,
    limits: [Count; Reached::NAMES.len()],
}

impl Metrics {
    pub(crate) fn streams_of(&self, via: Via) -> &Count {
        &self.streams[via as usize]
    }

    pub(crate) fn sessions_of(&self, via: Via) -> &Count {
        &self.sessions[via as usize]
    }

    pub(crate) fn reached(&self, limit: Reached) {
        self.limits[limit as usize].up();
    }

    pub(crate) fn login(&self, mechanism: Option<Mechanism>, failure: Option<Failure>) {
        let place = |at: Option<usize>, none: usize| at.unwrap_or(none);
        let mechanism = mechanism.and_then(|it| Mechanism::ALL.iter().position(|one| *one == it));
        let result = failure.and_then(|it| Failure::ALL.iter().position(|one| *one == it));
        self.logins[place(mechanism, MECHANISMS - 1)][place(result, RESULTS - 1)].up();
    }

    /// Streams that are open, by what carries them.
    pub fn streams(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Via::NAMES.into_iter().zip(self.streams.iter().map(Count::get))
    }

    /// Those of them that have a resource.
    pub fn sessions(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Via::NAMES.into_iter().zip(self.sessions.iter().map(Count::get))
    }

    /// Attempts to log in that have ended, by mechanism and result, where there were any.
    pub fn logins(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let mechanisms = Mechanism::ALL.into_iter().map(Mechanism::name).chain(["none"]);
        mechanisms.zip(&self.logins).flat_map(|(mechanism, counts)| {
            let results = Failure::ALL.into_iter().map(Failure::name).chain(["success"]);
            results
                .zip(counts.iter().map(Count::get))
                .filter(|(_, count)| *count > 0)
                .map(move |(result, count)| (mechanism, result, count))
        })
    }

    /// Logins that were guesses: a wrong password or token, or a name that nobody has.
    pub fn failed_logins(&self) -> u64 {
        self.guesses.get()
    }

    /// How often limits were reached, by their keys in `[limits]`.
    pub fn limits(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Reached::NAMES.into_iter().zip(self.limits.iter().map(Count::get))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_told_apart() {
        let metrics = Metrics::default();
        metrics.login(Some(Mechanism::Plain), None);
        metrics.login(Some(Mechanism::Plain), Some(Failure::NotAuthorized));
        metrics.login(Some(Mechanism::Plain), Some(Failure::NotAuthorized));
        metrics.login(None, Some(Failure::InvalidMechanism));
        metrics.login(Some(Mechanism::External), None);
        let logins: Vec<_> = metrics.logins().collect();
        assert_eq!(
            logins,
            [
                ("EXTERNAL", "success", 1),
                ("PLAIN", "not-authorized", 2),
                ("PLAIN", "success", 1),
                ("none", "invalid-mechanism", 1),
            ]
        );
    }

    #[test]
    fn names_stand_at_their_places() {
        let metrics = Metrics::default();
        metrics.streams_of(Via::Component).up();
        metrics.sessions_of(Via::Starttls).up();
        metrics.reached(Reached::ReadRate);
        metrics.reached(Reached::Connections);
        assert_eq!(metrics.streams().last(), Some(("component", 1)));
        assert_eq!(metrics.sessions().next(), Some(("starttls", 1)));
        assert_eq!(metrics.limits().next(), Some(("connections", 1)));
        assert_eq!(metrics.limits().last(), Some(("read_bytes_per_second", 1)));
        metrics.streams_of(Via::Component).down();
        assert_eq!(metrics.streams().map(|(_, count)| count).sum::<u64>(), 0);
    }
}
