//! Other servers: what is for them, and what comes from them (RFC 6120 section 10.4).
//!
//! Streams go between a pair of domains, one of ours and one of theirs; for each there is a [`Link`](link::Link). What
//! must arrive is in the spool first ([`spool`]); the rest waits in memory, and its sender is told if it cannot be sent.
//! Making a stream is the [`Dialer`]'s affair: the link asks for one when it has something to send. What comes in
//! ([`inbound`]) may come by any stream of the peer, and goes the way of all stanzas.
//!
//! Two kinds of domains are told apart when none can be made: one that was reached before is expected back, and messages
//! wait for it; of one that never was the sender hears at once, as it may be a mistyped address.

mod broken;
mod inbound;
mod link;
mod report;
mod spool;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use foldhash::quality::RandomState;
use module::Now;
use stanza::{Edits, IqType, Jid, JidRef, Kind, PresenceType, Stanza, StanzaError, StreamError, splice};
use store::{Found, Query, StoreError};

pub(crate) use broken::Change;
pub use inbound::{ResumeRemote, WayBack};
pub use report::{LinkCounts, LinkReport};
pub(crate) use spool::{REMOTES, SPOOL};

use crate::directed::domain_of;
use crate::{Bound, Event, Outbox, Router, TooHigh, Turn};
use inbound::Incoming;
use link::{Item, Link, State, Stream, Took, What};

/// Pairs that are known at the same time; for more nothing is taken.
const PAIRS: usize = 65_536;

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
}

/// Makes streams to other servers.
pub trait Dialer: Send + Sync {
    /// Whether there may be a stream between these at all. Else what the sender is told.
    fn may_reach(&self, pair: &Pair) -> Result<(), StanzaError>;

    /// Makes a stream. Returns at once, and may be called under a lock. Either [`Router::linked`] or
    /// [`Router::not_linked`] follows, once. `resume`: a managed stream that broke.
    fn dial(&self, pair: &Pair, resume: Option<Resume>);
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

/// Somebody who sends has a domain tried again that failed, but not sooner than this after it did. In seconds.
const ASKED_AGAIN: i64 = 30;

/// Seconds for which a domain that was reached is expected back.
const EXPECTED: i64 = 30 * 24 * 3_600;

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

/// A link with its place.
pub(crate) struct Cell {
    pub(crate) pair: Pair,
    link: Mutex<Link>,
}

impl Cell {
    /// No other lock is taken under this one but that of an outbox.
    fn lock(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All links, and all streams of other servers.
#[derive(Default)]
pub(crate) struct Remotes {
    port: OnceLock<(Arc<dyn Dialer>, RemoteRules)>,
    /// By the remote domain.
    cells: Mutex<HashMap<Box<str>, Vec<Arc<Cell>>, RandomState>>,
    /// By the number of the session.
    streams: Mutex<HashMap<u64, Incoming, RandomState>>,
    parked: Mutex<Vec<inbound::Parked>>,
}

impl Remotes {
    fn cells(&self) -> MutexGuard<'_, HashMap<Box<str>, Vec<Arc<Cell>>, RandomState>> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<u64, Incoming, RandomState>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, local: &str, remote: &str) -> Option<Arc<Cell>> {
        let cells = self.cells();
        let cell = cells.get(remote)?.iter().find(|cell| &*cell.pair.local == local);
        cell.cloned()
    }

    /// The link of a pair, made if there is none. None: there are too many.
    fn of(&self, pair: &Pair) -> Option<Arc<Cell>> {
        let mut cells = self.cells();
        let is_full = cells.len() >= PAIRS;
        let known = match cells.get_mut(&pair.remote) {
            Some(known) => known,
            None if is_full => return None,
            None => cells.entry(pair.remote.clone()).or_default(),
        };
        if let Some(cell) = known.iter().find(|cell| cell.pair == *pair) {
            return Some(Arc::clone(cell));
        }
        let cell = Arc::new(Cell {
            pair: pair.clone(),
            link: Mutex::default(),
        });
        known.push(Arc::clone(&cell));
        Some(cell)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Cell>> {
        self.cells().values().flatten().cloned().collect()
    }
}

impl Router {
    /// From now on there are other servers. Blocking: what waits for them is counted. Before anything listens.
    pub fn federate(&self, dialer: Arc<dyn Dialer>, rules: RemoteRules) -> Result<usize, StoreError> {
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
                let Some(cell) = self.remotes.of(&pair) else { continue };
                let mut link = cell.lock();
                link.reached = spool::reached_of(row);
                link.remembered = link.reached;
                link.is_known = true;
                link.found(count, last);
                waiting += count as usize;
            }
        }
        // Asked once.
        let _ = self.remotes.port.set((dialer, rules));
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
        self.remotes
            .port
            .get()
            .map_or_else(RemoteRules::default, |(_, rules)| *rules)
    }

    /// The link by which something goes from one address to another, or what its sender is told.
    fn link_between(&self, local: &str, remote: &str) -> Result<Arc<Cell>, StanzaError> {
        let Some((dialer, _)) = self.remotes.port.get().filter(|_| self.federates(local)) else {
            return Err(StanzaError::remote_server_not_found());
        };
        if let Some(cell) = self.remotes.find(local, remote) {
            return Ok(cell);
        }
        let pair = Pair::new(local, remote);
        dialer.may_reach(&pair)?;
        let cell = self.remotes.of(&pair);
        cell.ok_or_else(|| StanzaError::resource_constraint().text("too many servers are talked with"))
    }

    /// A stanza for an address of another server.
    pub(crate) fn to_remote(&self, now: Now, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        let refused = match self.link_between(from.domain(), to.domain()) {
            Ok(cell) => self.give_to_link(now, &cell, stanza, from, to, turn).err(),
            Err(error) => Some(error),
        };
        if let Some(error) = refused.filter(|_| is_answered(stanza)) {
            self.bounce(stanza, from, to, &error, turn);
        }
    }

    fn give_to_link(
        &self,
        now: Now,
        cell: &Arc<Cell>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> Result<(), StanzaError> {
        let rules = self.rules();
        let is_clients = turn.origin.as_ref().is_some_and(|origin| origin.is_client);
        let kept = spool::must_arrive(stanza, is_clients);
        let link = cell.lock();
        // A domain that has just failed is not tried with every stanza.
        let has_failed =
            matches!(link.state, State::Idle) && link.failure.is_some() && !link.has_rested(ASKED_AGAIN, now);
        let failed = link.failure.as_ref().filter(|_| has_failed).map(Failure::error);
        if let Some(error) = failed.filter(|_| kept.is_none() || !is_expected(&link, now)) {
            return Err(error);
        }
        // As it is written, it has both addresses, which it may have already: so this lets some by that `up` finds.
        if link.is_too_long(stanza.element().source().len()) {
            return Err(too_long());
        }
        if kept.is_some() && link.spooled >= rules.queue_stanzas {
            return Err(too_much());
        }
        drop(link);
        if let Some(keeping) = kept {
            self.spool(now, cell, keeping, stanza, from, to, turn);
            return Ok(());
        }
        self.copy_unkept(stanza, from, to, turn);
        let text = turn.text(|out| splice(stanza, from.as_str(), Some(to.as_str()), &Edits::default(), out));
        let item = Item {
            text,
            key: None,
            what: match stanza.kind() {
                Kind::Iq(IqType::Get | IqType::Set) => What::Request,
                Kind::Presence(_) => What::Presence,
                _ => What::Other,
            },
        };
        match self.send_in_order(now, cell, item, turn) {
            true => Ok(()),
            false => Err(too_much()),
        }
    }

    /// Something of the moment for an address of another server, which nobody is told of if it does not get there. False:
    /// the address is not one of another server.
    pub(crate) fn say_to_remote(
        &self,
        from: &str,
        address: &str,
        turn: &mut Turn,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        let (local, remote) = (domain_of(from), domain_of(address));
        if self.remotes.port.get().is_none() || self.host(remote).is_some() || self.service(remote).is_some() {
            return false;
        }
        let now = (self.clock)();
        if let Ok(cell) = self.link_between(local, remote) {
            let link = cell.lock();
            let is_down =
                matches!(link.state, State::Idle) && link.failure.is_some() && !link.has_rested(ASKED_AGAIN, now);
            drop(link);
            if !is_down {
                let item = Item {
                    text: turn.text(write),
                    key: None,
                    what: What::Silent,
                };
                self.send_in_order(now, &cell, item, turn);
            }
        }
        true
    }

    /// Gives a stanza to the link. False: too much waits in memory.
    fn send_over(&self, now: Now, cell: &Arc<Cell>, item: Item, turn: &mut Turn) -> bool {
        let mut link = cell.lock();
        let took = link.take(item, self.rules().queue_bytes, now, turn);
        match took {
            Took::Dial if self.may_dial(&link, now) => self.dial(cell, &mut link, None),
            // In the spool alone: it is tried again when its time comes.
            Took::Dial | Took::Taken | Took::Full => {}
        }
        drop(link);
        self.read_spool(cell);
        took != Took::Full
    }

    fn may_dial(&self, link: &Link, now: Now) -> bool {
        link.failure.is_none() || link.has_rested(ASKED_AGAIN, now)
    }

    fn dial(&self, cell: &Cell, link: &mut Link, resume: Option<Resume>) {
        if let Some((dialer, _)) = self.remotes.port.get() {
            link.state = State::Dialing;
            link.heard = resume.as_ref().map_or(0, |resume| resume.h);
            link.is_resuming = resume.is_some();
            dialer.dial(&cell.pair, resume);
        }
    }

    /// A stream that was dialed is established: stanzas may go out. What comes over it, if anything may, is given to
    /// [`Router::from_remote`] with what this returns.
    pub fn linked(
        &self,
        now: Now,
        pair: &Pair,
        outbox: &Arc<Outbox>,
        linked: &Linked,
        turn: &mut Turn,
    ) -> Option<Bound> {
        let jid = Jid::parse(&pair.remote).ok()?;
        let cell = self.remotes.of(pair)?;
        let bound = Bound {
            jid,
            id: self.next_session(),
            outbox: Arc::clone(outbox),
        };
        if linked.is_managed && linked.is_bidirectional {
            // What comes is counted (XEP-0198 section 4), on from where the stream before this one was.
            let heard = linked.resumed.map_or(0, |_| cell.lock().heard);
            outbox.manage_from(heard);
        }
        self.remotes
            .streams()
            .insert(bound.id, Incoming::new(pair.clone(), bound.clone()));
        // If the peer has opened one in both directions meanwhile, what waited has gone over that, and would come twice.
        let has_one = matches!(cell.lock().state, State::Up(_));
        if !has_one {
            self.goes_by(now, &cell, bound.clone(), linked, turn);
        }
        Some(bound)
    }

    /// The link has a stream.
    fn goes_by(&self, now: Now, cell: &Arc<Cell>, bound: Bound, linked: &Linked, turn: &mut Turn) {
        let mut link = cell.lock();
        let was_broken = std::mem::take(&mut link.is_broken);
        let is_anew = std::mem::take(&mut link.is_torn) && linked.resumed.is_none();
        let stream = Stream {
            local: cell.pair.local.clone(),
            bound,
            is_managed: linked.is_managed,
        };
        let (keys, lost, too_long) = link.up(stream, linked, now, turn);
        let news = link.is_news();
        drop(link);
        self.remember_link(cell, news);
        self.delete_from_spool(cell, keys);
        self.read_spool(cell);
        self.refuse_too_long(cell, too_long, turn);
        let error = StanzaError::remote_server_timeout().text("the connection broke before it was answered");
        for text in &lost {
            self.refuse_text(text, &error, turn);
        }
        if was_broken {
            self.link_restored(now, &cell.pair, turn);
        } else if is_anew {
            self.link_begins_anew(&cell.pair, turn);
        }
        self.settle(now, turn);
    }

    /// The store hears that a domain was reached. If it cannot, it hears when the next stream is made or ends.
    fn remember_link(&self, cell: &Arc<Cell>, news: Option<i64>) {
        let Some(reached) = news else { return };
        let told = Arc::clone(cell);
        let heard = move |result: Result<_, StoreError>| {
            let mut link = told.lock();
            match result {
                Ok(_) => link.is_known = true,
                Err(_) => link.remembered = 0,
            }
        };
        self.store.write(spool::remember(&cell.pair, reached), Box::new(heard));
    }

    /// No stream could be made.
    pub fn not_linked(&self, now: Now, pair: &Pair, failure: &Failure, turn: &mut Turn) {
        let Some(cell) = self.remotes.find(&pair.local, &pair.remote) else {
            return;
        };
        let error = failure.error();
        let mut link = cell.lock();
        if matches!(link.state, State::Up(_)) {
            // The peer has opened one in both directions meanwhile.
            return;
        }
        let (refused, was_up) = link.failed(failure.clone(), now);
        let is_expected = is_expected(&link, now);
        drop(link);
        tracing::info!(
            local = &*pair.local,
            remote = &*pair.remote,
            why = failure.text,
            "another server is out of reach"
        );
        if !is_expected {
            self.give_up(&cell, i64::MAX, error.clone());
        }
        for text in &refused {
            self.refuse_text(text, &error, turn);
        }
        if was_up {
            self.link_broke(now, pair, turn);
        }
        self.settle(now, turn);
    }

    /// `<a h=''/>` of a stream that is managed.
    pub fn link_acknowledged(&self, now: Now, bound: &Bound, h: u32, turn: &mut Turn) -> Result<(), TooHigh> {
        let Some(cell) = self.cell_of(bound) else { return Ok(()) };
        let mut link = cell.lock();
        let is_ours = matches!(&link.state, State::Up(stream) if stream.bound.id == bound.id && stream.is_managed);
        if !is_ours {
            return Ok(());
        }
        let keys = link.acknowledge(h, now, turn)?;
        drop(link);
        self.delete_from_spool(&cell, keys);
        self.read_spool(&cell);
        Ok(())
    }

    /// The ping behind what was sent was answered.
    fn link_answered(&self, now: Now, pair: &Pair, number: u32, turn: &mut Turn) {
        let Some(cell) = self.remotes.find(&pair.local, &pair.remote) else {
            return;
        };
        let keys = cell.lock().answered(number, now, turn);
        self.delete_from_spool(&cell, keys);
        self.read_spool(&cell);
    }

    fn cell_of(&self, bound: &Bound) -> Option<Arc<Cell>> {
        let pair = self
            .remotes
            .streams()
            .get(&bound.id)
            .map(|stream| stream.pair.clone())?;
        self.remotes.find(&pair.local, &pair.remote)
    }

    /// The stream of another server is over. False: it is none of those. Whatever was sent over it and not acknowledged is
    /// remembered: nothing of what it did not write is to be delivered anew.
    pub(crate) fn link_ended(&self, now: Now, bound: &Bound, clean: bool, turn: &mut Turn) -> bool {
        let Some(incoming) = self.remotes.streams().remove(&bound.id) else {
            return false;
        };
        let cell = self.remotes.find(&incoming.pair.local, &incoming.pair.remote);
        // What is on its way into the archive is not among it: it comes again, and is known there.
        let heard = incoming.bound.outbox.handled();
        let may_go_on = self.park(now, incoming, clean);
        let Some(cell) = cell else { return true };
        let mut link = cell.lock();
        if !matches!(&link.state, State::Up(stream) if stream.bound.id == bound.id) {
            return true;
        }
        let is_waited_for = link.down(now);
        let news = link.is_news();
        // The peer shows whether it knows what was before, by going on with its stream or not (`begins_anew`).
        link.is_torn = !clean && !may_go_on;
        // One that broke is made again at once, as only so it is known whether the peer is there.
        if is_waited_for || !clean {
            let resume = link.resumable.as_ref().map(|(id, _)| Resume {
                id: id.clone(),
                h: heard,
            });
            self.dial(&cell, &mut link, resume);
        }
        drop(link);
        self.remember_link(&cell, news);
        self.settle(now, turn);
        true
    }

    /// The stream takes more.
    pub(crate) fn link_drained(&self, now: Now, bound: &Bound, turn: &mut Turn) -> bool {
        let Some(cell) = self.cell_of(bound) else { return false };
        cell.lock().pump(now, turn);
        self.read_spool(&cell);
        true
    }

    /// What time brings: attempts that are due, what has waited for too long, answers that do not come. Call every few
    /// seconds.
    pub fn look_at_links(&self, now: Now) {
        let Some((_, rules)) = self.remotes.port.get() else {
            return;
        };
        let mut turn = Turn::default();
        for cell in self.remotes.all() {
            let (mut keys, mut given_up) = (Vec::new(), None);
            let mut link = cell.lock();
            if link.is_overdue(rules.answer_seconds, now, &mut turn, &mut keys)
                && let State::Up(stream) = &link.state
            {
                let error = StreamError::connection_timeout().text("what was sent is not acknowledged");
                stream.bound.outbox.tell(&mut turn, Event::End(error));
            }
            link.ask_behind(now, &mut turn);
            if matches!(link.state, State::Idle) && link.is_waited_for() {
                if let Some(failure) = &link.failure {
                    let before = now.0.saturating_sub(rules.give_up_seconds.saturating_mul(1_000));
                    given_up = Some((before, failure.error()));
                }
                let factor = 1_i64 << link.failures.saturating_sub(1).min(16);
                let pause = rules
                    .retry_seconds
                    .saturating_mul(factor)
                    .min(rules.longest_retry_seconds);
                if link.failure.is_none() || link.has_rested(pause, now) {
                    self.dial(&cell, &mut link, None);
                }
            }
            let is_idle = matches!(link.state, State::Idle) && !link.is_waited_for() && link.spooled == 0;
            let is_nobody = is_idle && link.reached == 0 && link.has_rested(rules.longest_retry_seconds, now);
            // A domain that never was is not remembered, neither here nor in the store.
            let is_forgotten = is_nobody && !std::mem::take(&mut link.is_known);
            if is_nobody && !is_forgotten {
                self.store.write(spool::forget(&cell.pair), Box::new(|_| ()));
            }
            drop(link);
            self.delete_from_spool(&cell, keys);
            self.read_spool(&cell);
            if let Some((before, error)) = given_up {
                self.give_up(&cell, before, error);
            }
            if is_forgotten {
                self.forget_link(&cell);
            }
        }
        self.forget_parked(now, &mut turn);
        self.settle(now, &mut turn);
        turn.finish();
    }

    fn forget_link(&self, cell: &Arc<Cell>) {
        let mut cells = self.remotes.cells();
        let link = cell.lock();
        // Somebody else may hold it, and give it something.
        if Arc::strong_count(cell) > 2 || !matches!(link.state, State::Idle) || link.is_waited_for() {
            return;
        }
        if let Some(known) = cells.get_mut(&cell.pair.remote) {
            known.retain(|other| other.pair != cell.pair);
            if known.is_empty() {
                cells.remove(&cell.pair.remote);
            }
        }
    }

    /// What the peer would end the stream for, and again the next one.
    fn refuse_too_long(&self, cell: &Cell, items: Vec<Item>, turn: &mut Turn) {
        self.delete_from_spool(cell, items.iter().filter_map(|item| item.key).collect());
        for item in items.iter().filter(|item| item.what != What::Silent) {
            self.refuse_text(&item.text, &too_long(), turn);
        }
    }

    /// Tells the sender of a stanza of ours that it does not get there.
    fn refuse_text(&self, text: &str, error: &StanzaError, turn: &mut Turn) {
        self.read_letter(text, turn, |stanza, from, to, turn| {
            if is_answered(stanza) {
                self.answer_with_error(stanza, from, to, error, turn);
            }
        });
    }

    /// Ends the streams of all other servers (shutdown).
    pub(crate) fn end_remotes(&self, error: &StreamError, turn: &mut Turn) {
        for stream in self.remotes.streams().values() {
            stream.bound.outbox.tell(turn, Event::End(error.clone()));
        }
    }

    pub(crate) fn look_for_silent_remotes(&self, now: Now, seconds: u32, turn: &mut Turn) {
        for stream in self.remotes.streams().values() {
            stream.bound.outbox.tell_if_silent(now, seconds, turn);
        }
    }
}

/// XEP-0478 section 4.
fn too_long() -> StanzaError {
    StanzaError::policy_violation().text("the other server takes no stanza that long")
}

/// What is only of the moment is answered to nobody (RFC 6121 section 4.3).
fn is_answered(stanza: &Stanza<'_>) -> bool {
    !matches!(
        stanza.kind(),
        Kind::Presence(PresenceType::Probe | PresenceType::Unavailable)
    )
}

fn too_much() -> StanzaError {
    StanzaError::resource_constraint().text("too much waits for that server")
}

/// Whether a domain that cannot be reached now was reached not long ago.
fn is_expected(link: &Link, now: Now) -> bool {
    link.reached > 0 && now.seconds() - link.reached < EXPECTED
}
