//! What comes from other servers.
//!
//! The session has checked who it is that speaks ([`Pair`]), and that every stanza has both addresses, `from` one of the
//! peer's domain and `to` one of ours. Here it is written anew into the namespace of clients, and goes its way as what a
//! component sends.
//!
//! A managed stream (XEP-0198) that breaks is remembered for a while with how many stanzas of it were handled: so the peer
//! sends again what was not, and nothing else.

use std::sync::Arc;

use module::Now;
use stanza::{IqType, Jid, JidRef, Kind, Stanza, StanzaError};

use super::link::{PING_PREFIX, State};
use super::time::Tick;
use super::{Linked, Pair};
use crate::deposit::Origin;
use crate::{Bound, Event, NotResumed, Outbox, ResumeRequest, Resumed, Router, Turn};

/// Streams that broke and may be resumed; with more the first is forgotten, and its peer is told what the store knows.
const PARKED: usize = 4_096;

/// A stream of another server.
pub(crate) struct Incoming {
    pub(super) pair: Pair,
    pub(super) bound: Bound,
}

impl Incoming {
    pub(super) fn new(pair: Pair, bound: Bound) -> Incoming {
        Incoming { pair, bound }
    }
}

/// One that broke.
pub(crate) struct Parked {
    pair: Pair,
    id: Box<str>,
    outbox: Arc<Outbox>,
    until: Tick,
}

/// How stanzas go to another server over a stream that it has opened (XEP-0288).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WayBack {
    /// The longest stanza that it takes, where it says (XEP-0478 section 3.2).
    pub max_bytes: Option<usize>,
}

/// Another server wants to go on with a stream that it has opened.
pub struct ResumeRemote {
    pub pair: Pair,
    pub previd: Box<str>,
    pub h: u32,
    pub outbox: Arc<Outbox>,
    /// As for [`Router::admit`].
    pub way_back: Option<WayBack>,
}

impl Router {
    /// Another server has shown that it may speak for its domain. The answer comes as [`Event::Bound`], with the domain
    /// for an address. `way_back`: stanzas may go to it over the same stream.
    pub fn admit(&self, now: Now, pair: &Pair, outbox: &Arc<Outbox>, way_back: Option<WayBack>, turn: &mut Turn) {
        let refused = match self.remotes.port.get() {
            None => Some(StanzaError::remote_server_not_found()),
            Some(_) if !self.federates(&pair.local) => Some(StanzaError::item_not_found()),
            Some(port) => port.dialer.may_reach(pair).err(),
        };
        let answer = match (refused, Jid::parse(&pair.remote)) {
            (None, Ok(jid)) => {
                let (id, outbox) = (self.next_session(), Arc::clone(outbox));
                Ok(Bound { jid, id, outbox })
            }
            (Some(error), _) => Err(error),
            (None, Err(_)) => Err(StanzaError::jid_malformed()),
        };
        if let Ok(bound) = &answer {
            let incoming = Incoming::new(pair.clone(), bound.clone());
            self.remotes.streams().insert(bound.id, incoming);
        }
        let bound = answer.as_ref().ok().cloned();
        outbox.tell(turn, Event::Bound(answer));
        if let (Some(bound), Some(way_back)) = (bound, way_back) {
            self.goes_both_ways(now, pair, bound, way_back, turn);
        }
    }

    /// The link of the pair goes by a stream that the peer has opened, unless it has one.
    fn goes_both_ways(&self, now: Now, pair: &Pair, bound: Bound, way_back: WayBack, turn: &mut Turn) {
        let Ok(cell) = self.remotes.of(pair, false, None, self.tick()) else {
            return;
        };
        let link = cell.lock();
        // Nor while a stream is made that may tell what of the last one has arrived.
        let is_served = match link.state {
            State::Up(_) => true,
            State::Dialing => link.is_to_be_resumed(),
            State::Idle => false,
        };
        drop(link);
        if !is_served {
            // Whether the peer manages its own direction says nothing of this one: it is asked by pings.
            let linked = Linked {
                max_bytes: way_back.max_bytes,
                ..Linked::default()
            };
            self.goes_by(now, &cell, bound, &linked, turn);
        }
    }

    /// Handles a stanza of another server. True: as [`Router::from_client`].
    pub fn from_remote(
        &self,
        now: Now,
        bound: &Bound,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> bool {
        self.stanzas.up(bound.id);
        // It went on elsewhere, and whoever has sent this will send it again there.
        let Ok(origin) = Origin::of_remote(bound) else {
            return false;
        };
        if self.is_answer_of_link(stanza, from, to, turn) {
            return false;
        }
        self.handle_of_many(now, bound, origin, stanza, from, to, turn, |_, _, _, _| false)
    }

    /// Whether this answers what a link has asked.
    fn is_answer_of_link(&self, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) -> bool {
        if !matches!(stanza.kind(), Kind::Iq(IqType::Result | IqType::Error))
            || from.as_str() != from.domain()
            || to.as_str() != to.domain()
        {
            return false;
        }
        let id = stanza.id();
        let Some((token, number)) = id.and_then(|id| id.strip_prefix(PING_PREFIX)?.split_once('-')) else {
            return false;
        };
        let token = u64::from_str_radix(token, 16).ok();
        let is_ours = self.remotes.port.get().map(|port| port.token) == token;
        if let Some(number) = number.parse().ok().filter(|_| is_ours) {
            self.link_answered(&Pair::new(to.domain(), from.domain()), number, turn);
        }
        // Else it is an answer that an earlier process has waited for.
        true
    }

    /// A stanza of another server that is wrong in itself is answered over the way to that server: `text` has both
    /// addresses.
    pub fn answer_remote(&self, now: Now, text: String, turn: &mut Turn) {
        turn.letter(text);
        self.settle(now, turn);
    }

    /// `<resume/>` on a stream of another server. The answer comes as [`Event::Resumed`].
    pub fn resume_remote(&self, now: Now, request: ResumeRemote, turn: &mut Turn) {
        let ResumeRemote {
            pair,
            previd,
            h,
            outbox,
            way_back,
        } = request;
        let Ok(jid) = Jid::parse(&pair.remote) else { return };
        // One that went on elsewhere knows nothing any more.
        let found = self.take_stream(&pair, &previd).filter(|old| old.is_managed());
        let request = ResumeRequest {
            account: jid.clone(),
            previd,
            h,
            outbox: Arc::clone(&outbox),
            access: None,
        };
        let Some(old) = found else {
            // What the store knows of it.
            return self.tell_counter(request);
        };
        if !old.is_settled() {
            // What is on its way is counted when it has arrived: until then `h` would be too low.
            return self.resume_remote_later(pair, request, old, way_back);
        }
        // What we have sent is acknowledged at the link.
        let mut goes_on = None;
        let answer = match old.move_to(&outbox, 0) {
            Ok((_, handled)) => {
                let bound = Bound {
                    jid,
                    id: self.next_session(),
                    outbox: Arc::clone(&outbox),
                };
                let incoming = Incoming::new(pair.clone(), bound.clone());
                self.remotes.streams().insert(bound.id, incoming);
                goes_on = way_back.map(|way_back| (bound.clone(), way_back));
                Ok(Resumed {
                    bound,
                    id: request.previd,
                    h: handled,
                })
            }
            Err(error) => Err(NotResumed::TooHigh(error)),
        };
        outbox.tell(turn, Event::Resumed(answer));
        if let Some((bound, way_back)) = goes_on {
            self.goes_both_ways(now, &pair, bound, way_back, turn);
        }
        self.settle(now, turn);
    }

    fn resume_remote_later(&self, pair: Pair, request: ResumeRequest, old: Arc<Outbox>, way_back: Option<WayBack>) {
        let me = self.me.clone();
        self.store.write(
            store::Batch::new(),
            Box::new(move |result| {
                if let (Some(router), false) = (me.upgrade(), matches!(result, Err(store::StoreError::Closed))) {
                    let now = (router.clock)();
                    let ResumeRequest { previd, h, outbox, .. } = request;
                    router.keep_parked(Parked {
                        pair: pair.clone(),
                        id: previd.clone(),
                        outbox: old,
                        until: Tick(i64::MAX),
                    });
                    let mut turn = Turn::default();
                    let again = ResumeRemote {
                        pair,
                        previd,
                        h,
                        outbox,
                        way_back,
                    };
                    router.resume_remote(now, again, &mut turn);
                    turn.finish();
                }
            }),
        );
    }

    /// The outbox of a stream with this id, which is over with this: whether its connection knows already or not.
    fn take_stream(&self, pair: &Pair, id: &str) -> Option<Arc<Outbox>> {
        let mut parked = self.parked();
        if let Some(at) = parked
            .iter()
            .position(|parked| parked.pair == *pair && &*parked.id == id)
        {
            return Some(parked.swap_remove(at).outbox);
        }
        drop(parked);
        let streams = self.remotes.streams();
        let is_it = |stream: &&Incoming| {
            stream.pair == *pair
                && stream
                    .bound
                    .outbox
                    .resumable()
                    .is_some_and(|resumable| &*resumable.id == id)
        };
        let found = streams
            .values()
            .find(is_it)
            .map(|stream| Arc::clone(&stream.bound.outbox));
        drop(streams);
        // "and the server still has the stream ... open": it ends with conflict (section 5).
        if let Some(outbox) = &found {
            let mut turn = Turn::default();
            outbox.tell(&mut turn, Event::End(stanza::StreamError::conflict()));
            turn.finish();
        }
        found
    }

    /// The connection of a stream is gone. Whether the peer may go on with it.
    pub(super) fn park(&self, at: Tick, incoming: Incoming, clean: bool) -> bool {
        let Incoming { pair, bound } = incoming;
        let Some(resumable) = bound.outbox.resumable().filter(|_| !clean) else {
            return false;
        };
        if !bound.outbox.detach() {
            return false;
        }
        self.keep_parked(Parked {
            pair,
            id: resumable.id,
            outbox: bound.outbox,
            until: at.plus(resumable.seconds.into()),
        });
        true
    }

    /// The peer has a new stream managed. If one of it broke, it does not go on with that: it knows nothing of what was
    /// before.
    pub(crate) fn begins_anew(&self, now: Now, bound: &Bound, turn: &mut Turn) {
        let pair = self.remotes.streams().get(&bound.id).map(|stream| stream.pair.clone());
        let Some(pair) = pair else { return };
        let mut parked = self.parked();
        let before = parked.len();
        parked.retain(|parked| parked.pair != pair);
        let is_anew = parked.len() < before;
        drop(parked);
        if is_anew {
            self.link_begins_anew(&pair, turn);
            self.settle(now, turn);
        }
    }

    fn keep_parked(&self, stream: Parked) {
        let mut parked = self.parked();
        parked.retain(|other| other.id != stream.id);
        if parked.len() >= PARKED {
            parked.remove(0);
        }
        parked.push(stream);
    }

    pub(super) fn forget_parked(&self, at: Tick, turn: &mut Turn) {
        let mut parked = self.parked();
        let (kept, over): (Vec<_>, Vec<_>) = parked.drain(..).partition(|parked| parked.until > at);
        *parked = kept;
        drop(parked);
        // The link may go by another stream; but nobody knows whether this is still the server that it was.
        for parked in over {
            self.link_begins_anew(&parked.pair, turn);
        }
    }

    fn parked(&self) -> std::sync::MutexGuard<'_, Vec<Parked>> {
        self.remotes
            .parked
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
