//! Other servers: what is for them, and what comes from them (RFC 6120 section 10.4).
//!
//! Streams go between a pair of domains, one of ours and one of theirs; for each there is a [`Link`](link::Link)
//! ([`pairs`]). What is for them ([`outbound`]) and must arrive is in the spool first ([`spool`]); the rest waits in memory,
//! and its sender is told if it cannot be sent. Making a stream is the [`Dialer`]'s affair: the link asks for one when it
//! has something to send ([`attempts`], [`streams`]), and once more as time goes by ([`tending`]). What comes in
//! ([`inbound`]) may come by any stream of the peer, and goes the way of all stanzas.
//!
//! Two kinds of domains are told apart when none can be made: one that was reached before is expected back, and messages
//! wait for it; of one that never was the sender hears at once, as it may be a mistyped address.

mod attempts;
mod broken;
mod inbound;
mod link;
mod outbound;
mod pairs;
mod poison;
mod report;
mod spool;
mod streams;
mod tending;
mod time;

use std::sync::Arc;

use stanza::StanzaError;
use store::{Found, Query, StoreError};

pub(crate) use broken::Change;
pub use inbound::{ResumeRemote, WayBack};
pub(crate) use pairs::Remotes;
pub use report::{LinkCounts, LinkReport};
pub(crate) use spool::{REMOTES, SPOOL};

use crate::Router;
use pairs::Port;
use time::Tick;

/// Pairs that are read at once when the server starts.
const PAGE: usize = 256;

/// Two domains between which a stream goes, in prepared form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// One of ours: a domain, a service of it, or a component's.
    pub local: Box<str>,
    pub remote: Box<str>,
}

impl Pair {
    pub fn new(local: &str, remote: &str) -> Pair {
        Pair {
            local: local.into(),
            remote: remote.into(),
        }
    }
}

/// What the certificate of another server is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vouched {
    /// It speaks for the other domain of the pair.
    pub is_proved: bool,
    /// When that ends, in seconds since 1970, where it does: the stream ends then too (RFC 6120 section 13.7.2.3).
    pub until: Option<i64>,
    /// But nothing is sent to it over its stream (XEP-0288): had we connected to it, it would not do (DANE).
    pub is_one_way: bool,
}

/// Makes streams to other servers.
pub trait Dialer: Send + Sync {
    /// Whether there may be a stream between these at all. Else what the sender is told.
    fn may_reach(&self, pair: &Pair) -> Result<(), StanzaError>;

    /// Makes a stream. Returns at once, and may be called under a lock. Either [`Router::linked`] or
    /// [`Router::not_linked`] follows, once. `resume`: a managed stream that broke.
    fn dial(&self, pair: &Pair, resume: Option<Resume>);

    /// Seconds of a clock that nobody puts right: by it is measured how long something lasts. May be called under a lock.
    fn seconds(&self) -> i64;
}

/// A managed stream to go on with (XEP-0198 section 5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    pub id: Box<str>,
    /// How many stanzas of the peer were handled.
    pub h: u32,
}

/// What is configured, each a key of the section `[federation]`.
#[derive(Clone, Copy, Debug)]
pub struct RemoteRules {
    /// Stanzas that may wait in the spool for one pair.
    pub queue_stanzas: u64,
    /// Bytes that may wait in memory for one pair.
    pub queue_bytes: usize,
    /// Seconds for which a message waits for a domain that cannot be reached.
    pub give_up_seconds: i64,
    /// Seconds after which a stream without an answer is given up.
    pub answer_seconds: i64,
    /// Seconds between attempts to reach a domain, at first and at most.
    pub retry_seconds: i64,
    pub longest_retry_seconds: i64,
}

impl Default for RemoteRules {
    fn default() -> RemoteRules {
        RemoteRules {
            queue_stanzas: 10_000,
            queue_bytes: 1024 * 1024,
            give_up_seconds: 48 * 3_600,
            answer_seconds: 60,
            retry_seconds: 10,
            longest_retry_seconds: 900,
        }
    }
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// For who has sent something: in words, without addresses of this machine.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// There is no such server (RFC 6120 section 8.3.3.16): the DNS knows no such domain, or it offers no such service.
    NotFound,
    /// It does not answer, or a stream to it cannot be made (section 8.3.3.17).
    Timeout,
    /// It is not to be talked with: a policy of this server.
    Refused,
    /// It has asked the server of our domain, and does not believe that we are that (XEP-0220 section 2.1.1).
    Disbelieved,
}

impl Failure {
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Failure {
        let text = text.into();
        Failure { kind, text }
    }

    /// What a sender is told.
    pub fn error(&self) -> StanzaError {
        let error = match self.kind {
            FailureKind::NotFound => StanzaError::remote_server_not_found(),
            FailureKind::Timeout => StanzaError::remote_server_timeout(),
            FailureKind::Refused => StanzaError::not_allowed(),
            FailureKind::Disbelieved => StanzaError::internal_server_error(),
        };
        error.text(self.text.clone())
    }
}

/// How a stream that we have opened was established.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// Stanzas may come over it as well (XEP-0288).
    pub is_bidirectional: bool,
    /// It acknowledges what it gets (XEP-0198).
    pub is_managed: bool,
    /// The id by which it can be resumed, and for how many seconds.
    pub resumable: Option<(Box<str>, u32)>,
    /// The stream that was asked for goes on: so many stanzas were handled.
    pub resumed: Option<u32>,
    /// It does not, and so many of it were handled (`<failed h=''/>`).
    pub handled: Option<u32>,
    /// The longest stanza that the peer takes, where it says (XEP-0478).
    pub max_bytes: Option<usize>,
}

impl Router {
    /// From now on there are other servers. Blocking: what waits for them is counted. Before anything listens. `token`: a
    /// random number, by which answers to this process are told from those to another.
    pub fn federate(&self, dialer: Arc<dyn Dialer>, rules: RemoteRules, token: u64) -> Result<usize, StoreError> {
        let (now, at) = ((self.clock)(), Tick(dialer.seconds()));
        // Asked once.
        let _ = self.remotes.port.set(Port {
            dialer,
            rules,
            token,
            began: (now, at),
        });
        let mut after = None::<Box<str>>;
        let mut waiting = 0;
        loop {
            let query = Query::owners(&REMOTES, after.as_deref(), PAGE);
            let rows = self.store.read_wait(query).and_then(Found::owners)?;
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            for (owner, row) in &rows {
                let Some(pair) = spool::pair_of(owner) else { continue };
                let found = self.store.read_wait(spool::what_is_there(&pair))?;
                let (count, last) = spool::read_what_is_there(found)?;
                let Ok(cell) = self.remotes.of(&pair, true, None, at) else {
                    tracing::error!(
                        remote = &*pair.remote,
                        "there are too many other servers; what waits for this one stays"
                    );
                    continue;
                };
                let mut link = cell.lock();
                // Only the wall clock knows how long that is ago.
                let reached = Some(spool::reached_of(row)).filter(|reached| *reached > 0);
                link.reached = reached.map(|reached| at.plus(-now.seconds().saturating_sub(reached).max(0)));
                link.remembered = link.reached;
                link.is_known = true;
                link.found(count, last);
                waiting += count as usize;
            }
        }
        Ok(waiting)
    }

    /// Whether this domain is one of ours that other servers may reach.
    pub fn federates(&self, domain: &str) -> bool {
        match self.host(domain) {
            Some(host) => host.guests.is_none(),
            None => self.service(domain).is_some() || self.is_component(domain),
        }
    }

    fn rules(&self) -> RemoteRules {
        let port = self.remotes.port.get();
        port.map_or_else(RemoteRules::default, |port| port.rules)
    }
}
