//! Streams of links: they are made, they acknowledge, they end.

use std::sync::Arc;

use module::Now;
use stanza::{Jid, StanzaError, StreamCondition, StreamError};
use store::StoreError;

use super::inbound::Incoming;
use super::link::{Began, State, Stream};
use super::pairs::Cell;
use super::time::{Due, Tick};
use super::{Failure, FailureKind, Linked, Pair, Resume, spool};
use crate::{Bound, Event, Outbox, Router, TooHigh, Turn};

impl Router {
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
        let cell = self.remotes.of(pair, false, None, self.tick()).ok()?;
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
    pub(super) fn goes_by(&self, now: Now, cell: &Arc<Cell>, bound: Bound, linked: &Linked, turn: &mut Turn) {
        let at = self.tick();
        let mut link = cell.lock();
        let was_broken = std::mem::take(&mut link.is_broken);
        let is_anew = std::mem::take(&mut link.is_torn) && linked.resumed.is_none();
        let stream = Stream::new(&cell.pair.local, bound, linked.is_managed, at);
        let Began { keys, lost, refused } = link.up(stream, linked, at, turn);
        let news = link.is_news();
        drop(link);
        self.remember_link(cell, news, at);
        self.delete_from_spool(cell, keys);
        self.read_spool(cell);
        self.refuse_items(cell, refused, turn);
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

    /// The store hears that a domain was reached. If it cannot, it hears with the next row of the spool, or when the next
    /// stream is made or ends.
    fn remember_link(&self, cell: &Arc<Cell>, news: Option<Tick>, at: Tick) {
        let Some(reached) = news else { return };
        let told = Arc::clone(cell);
        let heard = move |result: Result<_, StoreError>| {
            let mut link = told.lock();
            match result {
                Ok(_) => link.is_known = true,
                Err(_) => (link.remembered, link.is_known) = (None, false),
            }
        };
        let reached = self.by_wall_clock(at, Some(reached));
        self.store.write(spool::remember(&cell.pair, reached), Box::new(heard));
    }

    /// No stream could be made.
    pub fn not_linked(&self, now: Now, pair: &Pair, failure: &Failure, turn: &mut Turn) {
        let Some(cell) = self.remotes.find(&pair.local, &pair.remote) else {
            return;
        };
        let at = self.tick();
        let error = failure.error();
        let mut link = cell.lock();
        if matches!(link.state, State::Up(_)) {
            // The peer has opened one in both directions meanwhile.
            return;
        }
        let (refused, was_up) = link.failed(failure.clone(), at);
        // What may not go out now may not later.
        let is_expected = link.is_expected(at) && failure.kind != FailureKind::Refused;
        drop(link);
        tracing::info!(
            local = &*pair.local,
            remote = &*pair.remote,
            why = failure.text,
            "another server is out of reach"
        );
        if !is_expected {
            self.give_up(&cell, Due::All, error.clone());
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
    pub fn link_acknowledged(&self, _: Now, bound: &Bound, h: u32, turn: &mut Turn) -> Result<(), TooHigh> {
        let Some(cell) = self.cell_of(bound) else { return Ok(()) };
        let mut link = cell.lock();
        let is_ours = matches!(&link.state, State::Up(stream) if stream.bound.id == bound.id && stream.is_managed);
        if !is_ours {
            return Ok(());
        }
        let keys = link.acknowledge(h, self.tick(), turn)?;
        drop(link);
        self.delete_from_spool(&cell, keys);
        self.read_spool(&cell);
        Ok(())
    }

    /// The ping behind what was sent was answered.
    pub(super) fn link_answered(&self, pair: &Pair, number: u32, turn: &mut Turn) {
        let Some(cell) = self.remotes.find(&pair.local, &pair.remote) else {
            return;
        };
        let keys = cell.lock().answered(number, self.tick(), turn);
        self.delete_from_spool(&cell, keys);
        self.read_spool(&cell);
    }

    /// The peer ends the stream with an error; the end itself comes behind this.
    pub fn link_error(&self, bound: &Bound, condition: StreamCondition) {
        let Some(cell) = self.cell_of(bound) else { return };
        let mut link = cell.lock();
        if matches!(&link.state, State::Up(stream) if stream.bound.id == bound.id) {
            link.peer_said(condition);
        }
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
        let (rules, at) = (self.rules(), self.tick());
        let may_go_on = self.park(at, incoming, clean);
        let Some(cell) = cell else { return true };
        let mut link = cell.lock();
        if !matches!(&link.state, State::Up(stream) if stream.bound.id == bound.id) {
            return true;
        }
        link.suspect(at, &rules);
        link.rest_after_stream(&rules, at);
        let is_waited_for = link.down(at);
        let news = link.is_news();
        // The peer shows whether it knows what was before, by going on with its stream or not (`begins_anew`).
        link.is_torn = !clean && !may_go_on;
        link.is_missed = !clean;
        // One that broke is made again at once, as only so it is known whether the peer is there.
        if is_waited_for || !clean {
            link.resumes = link.resumable.as_ref().map(|(id, _)| Resume {
                id: id.clone(),
                h: heard,
            });
            if link.may_be_tried(&rules, at) {
                self.dial(&cell, &mut link);
            }
        }
        drop(link);
        self.remember_link(&cell, news, at);
        self.settle(now, turn);
        true
    }

    /// The stream takes more.
    pub(crate) fn link_drained(&self, _: Now, bound: &Bound, turn: &mut Turn) -> bool {
        let Some(cell) = self.cell_of(bound) else { return false };
        cell.lock().pump(self.tick(), turn);
        self.read_spool(&cell);
        true
    }

    /// Ends the streams of all other servers (shutdown).
    pub(crate) fn end_remotes(&self, error: &StreamError, turn: &mut Turn) {
        for stream in self.remotes.streams().values() {
            stream.bound.outbox.tell(turn, Event::End(error.clone()));
        }
    }

    /// The rules of the [`Dialer`](super::Dialer) are others now: streams of pairs that may not talk any more end, and what
    /// waits for them is given up. Returns how many ended.
    pub fn rules_changed(&self, now: Now) -> usize {
        let Some(port) = self.remotes.port.get() else { return 0 };
        let mut turn = Turn::default();
        let all = self.remotes.streams();
        let streams = all.values();
        let streams = streams.map(|stream| (stream.pair.clone(), Arc::clone(&stream.bound.outbox)));
        let streams: Vec<_> = streams.collect();
        drop(all);
        let mut ended = 0;
        for (pair, outbox) in streams {
            if let Err(error) = port.dialer.may_reach(&pair) {
                let text = error.text.clone().unwrap_or_default();
                outbox.tell(&mut turn, Event::End(StreamError::policy_violation().text(text)));
                ended += 1;
            }
        }
        for cell in self.remotes.all() {
            let refused = port.dialer.may_reach(&cell.pair).err();
            // What is sent over one that is about to end waits until it has ended; then none is made.
            let is_idle = matches!(cell.lock().state, State::Idle);
            if let Some(error) = refused.filter(|_| is_idle) {
                self.give_up(&cell, Due::All, error);
            }
        }
        self.settle(now, &mut turn);
        turn.finish();
        ended
    }

    pub(crate) fn look_for_silent_remotes(&self, now: Now, seconds: u32, turn: &mut Turn) {
        for stream in self.remotes.streams().values() {
            stream.bound.outbox.tell_if_silent(now, seconds, turn);
        }
    }
}
