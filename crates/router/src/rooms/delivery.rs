//! What a room says, on its way to who is to hear it.
//!
//! It is queued under the room's lock, and delivered without. One thread at a time delivers; whoever finds another at it
//! leaves his to it. So the order is the room's, and nobody waits for anybody. A message for everybody is one start tag for
//! each over one text (as with `notify`).

use std::collections::VecDeque;
use std::sync::{Arc, MutexGuard, PoisonError};

use muc::Say;
use stanza::{IqType, Jid, Kind, MessageType, PresenceType, Stanza, ns};
use xmlstream::Scratch;

use crate::deposit::Origin;
use crate::outbox::Item;
use crate::turn::Work;
use crate::wake::CROWD;
use crate::{Router, Turn};

use super::Place;

/// Of what a room has said, so much may wait to be delivered before the room is given anything more: then stanzas wait in
/// its line.
const AHEAD: usize = 256;

/// Of what one thread delivers, so much goes out before the connections are woken.
const WOKEN_AFTER: usize = 64;

/// What a room has said, in order.
#[derive(Default)]
pub(super) struct Out {
    queue: VecDeque<Spoken>,
    /// Somebody is delivering.
    is_busy: bool,
}

struct Spoken {
    say: Say,
    /// Of the client that sent it, where that is acknowledged when it has arrived.
    origin: Option<Origin>,
}

/// How it gets there.
enum Way {
    /// As everything that is sent to an account: what is for one, and may be archived, wait, or be answered.
    Letter,
    /// Straight to the sessions.
    Presence,
    Gone,
    Transient,
    Other,
}

impl Way {
    /// `from`: as which the room says it.
    fn of(kind: Kind, stanza: &Stanza<'_>, from: &str) -> Way {
        // What the room itself says of its archive: before the answer that ends it (XEP-0313 section 4).
        let is_result = || !from.contains('/') && stanza.children().any(|child| child.is("result", ns::MAM));
        match kind {
            Kind::Presence(PresenceType::Unavailable) => Way::Gone,
            Kind::Presence(PresenceType::Available) => Way::Presence,
            Kind::Message(MessageType::Groupchat) if archive::keeping(MessageType::Groupchat, stanza).transient => {
                Way::Transient
            }
            Kind::Message(MessageType::Groupchat | MessageType::Error) | Kind::Presence(_) => Way::Other,
            Kind::Iq(IqType::Result | IqType::Error) => Way::Other,
            Kind::Message(MessageType::Normal) if is_result() => Way::Other,
            Kind::Message(_) | Kind::Iq(_) => Way::Letter,
        }
    }
}

impl Place {
    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues what the room says; with its lock held. `origin` goes with the last, if that is a message to somebody alone,
    /// and else comes back.
    pub(super) fn say(&self, says: Vec<Say>, mut origin: Option<Origin>) -> Option<Origin> {
        let mut out = self.out();
        let last = says.len().saturating_sub(1);
        for (at, say) in says.into_iter().enumerate() {
            let takes = at == last && say.stanza.text().starts_with("<message") && is_for_one(&say);
            let origin = if takes { origin.take() } else { None };
            out.queue.push_back(Spoken { say, origin });
        }
        origin
    }

    /// Too much waits.
    pub(super) fn is_behind(&self) -> bool {
        self.out().queue.len() >= AHEAD
    }

    /// Nothing waits, and nobody delivers.
    pub(super) fn is_silent(&self) -> bool {
        let out = self.out();
        out.queue.is_empty() && !out.is_busy
    }

    /// The next to deliver. `is_mine`: the caller is delivering already.
    fn next(&self, is_mine: bool) -> Option<Spoken> {
        let mut out = self.out();
        if out.is_busy && !is_mine {
            return None;
        }
        let next = out.queue.pop_front();
        out.is_busy = next.is_some();
        if next.is_none() {
            // What a crowd once needed is given back.
            out.queue.shrink_to(AHEAD);
        }
        next
    }
}

impl Router {
    /// Delivers what the room has said, unless somebody else does, and lets it go on with what has waited for that.
    /// Without any lock.
    pub(super) fn deliver_all(&self, place: &Arc<Place>, turn: &mut Turn) {
        loop {
            let mut is_mine = false;
            let mut scratch = std::mem::take(&mut turn.scratch);
            let mut delivered = 0;
            while let Some(spoken) = place.next(is_mine) {
                is_mine = true;
                self.deliver_spoken(place, spoken, &mut scratch, turn);
                delivered += 1;
                // In a busy room there is always more, and who only reads is to hear of it.
                if delivered % WOKEN_AFTER == 0 {
                    turn.finish();
                }
            }
            turn.scratch = scratch;
            if !is_mine || !self.take_waiting(place, turn) {
                return;
            }
        }
    }

    fn deliver_spoken(&self, place: &Place, spoken: Spoken, scratch: &mut Scratch, turn: &mut Turn) {
        let Spoken { say, origin } = spoken;
        let read = xmlstream::parse_element(say.stanza.text(), stanza::ns::CLIENT, scratch, &crate::OWN_LIMITS);
        let (way, news) = match read.ok().and_then(|element| Stanza::read(element).ok().flatten()) {
            Some(stanza) => (
                Way::of(stanza.kind(), &stanza, &say.from),
                self.news(&place.jid, &stanza, &say.from),
            ),
            None => return tracing::error!("what a room says is not a stanza; this is a defect"),
        };
        let item = match way {
            Way::Letter => return self.post(say, origin, turn),
            Way::Presence | Way::Gone if is_own(&say) => Item::Own,
            Way::Presence | Way::Gone => Item::Presence(&say.from),
            Way::Transient => Item::Transient,
            Way::Other => Item::Other,
        };
        let sent = say.stanza.sent_by(&say.from);
        turn.is_crowd |= say.to.len() >= CROWD;
        let mut lost: Vec<Arc<Jid>> = Vec::new();
        // Accounts that may have to be told by a push service.
        let mut away: Vec<Box<str>> = Vec::new();
        for to in &say.to {
            let found = self.with(to.bare_str(), |account| {
                let resource = to.resource().unwrap_or_default();
                let Some(session) = account.resource(resource) else {
                    return false;
                };
                if !account.blocks(&say.from) {
                    self.push(account, session, item, turn, |out| sent.write(to.as_str(), out));
                }
                let is_told = || away.last().is_some_and(|last| **last == *account.jid.as_str());
                if news.is_some() && account.may_hear_of(&say.from) && !is_told() {
                    away.push(account.jid.as_str().into());
                }
                if matches!(way, Way::Gone) {
                    // RFC 6121 section 4.6.1.
                    account.forget_directed(&say.from, Some(resource));
                }
                true
            });
            match found {
                Some(true) => {}
                // Not its last word to who is gone anyway.
                Some(false) if matches!(way, Way::Gone) => {}
                Some(false) => lost.push(Arc::clone(to)),
                // Nobody is there, whose client could be (as after a crash).
                None if self.host(to.domain()).is_some() && self.is_absent(to.bare_str()) => {
                    if !matches!(way, Way::Gone) {
                        lost.push(Arc::clone(to));
                    }
                }
                // It is being read, or none of this server.
                None => {
                    let text = say.stanza.text_with(&say.from, Some(to.as_str()));
                    self.post_now(Work::Letter(text.into_boxed_str()), turn);
                }
            }
        }
        if !lost.is_empty() {
            self.lost_from_room(place, lost);
        }
        if let Some(news) = news {
            self.announce_of_room(place, news, away, turn);
        }
    }

    fn post(&self, say: Say, mut origin: Option<Origin>, turn: &mut Turn) {
        for (at, to) in say.to.iter().enumerate() {
            let text = say.stanza.text_with(&say.from, Some(to.as_str())).into_boxed_str();
            // With the last: batches are committed in order, so when this one is, all are.
            let origin = origin.take_if(|_| at + 1 == say.to.len());
            // It comes from the room now: which has no such archive, and no other devices.
            let work = match origin {
                Some(origin) => Work::Sent(
                    text,
                    Origin {
                        archives: false,
                        copies: false,
                        keeping: None,
                        is_awaited: false,
                        ..origin
                    },
                ),
                None => Work::Letter(text),
            };
            self.post_now(work, turn);
        }
    }

    /// At once, while nobody else delivers for the room: so letters keep its order too.
    fn post_now(&self, work: Work, turn: &mut Turn) {
        let (origin, is_held) = (turn.origin.take(), std::mem::take(&mut turn.is_held));
        self.run((self.clock)(), work, turn);
        (turn.origin, turn.is_held) = (origin, is_held);
    }
}

/// For one person, who may have several clients in the room.
fn is_for_one(say: &Say) -> bool {
    let bare = say.to.first().map(|to| to.bare_str());
    bare.is_some() && say.to.iter().all(|to| Some(to.bare_str()) == bare)
}

/// Section 7.2.2: presence of whom it is sent to.
fn is_own(say: &Say) -> bool {
    say.stanza.text().contains("<status code='110'/>")
}
