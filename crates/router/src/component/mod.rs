//! Components (XEP-0114): programs that speak for a domain of their own, over streams to this server.
//!
//! Which there are is configured, and how many streams at a time may speak for a domain ([`places`]); what is for the
//! domain while there is none is answered with `remote-server-timeout`, as it would be by a server that cannot be reached
//! (RFC 6120 section 10.4.3). A component is what another server is to an account: it gets the same presence, probes and
//! notifications, and what comes from it passes the same gates.

mod delegation;
mod places;
mod privileged;
mod questions;
mod sent;

use std::sync::Arc;

use module::{Now, PresenceSeen};
use stanza::{Edits, IqType, Jid, JidRef, Kind, MessageType, PresenceType, Stanza, StanzaError, StreamError, splice};

use crate::deposit::Origin;
use crate::iq::Return;
use crate::sessions::{escaped, read_unsent};
use crate::{Bound, Event, Outbox, Router, Turn};

pub(crate) use places::Components;
use places::Slot;
pub(crate) use questions::Questions;

impl Router {
    /// Whether a component speaks for this domain (prepared form), connected or not.
    pub fn is_component(&self, domain: &str) -> bool {
        self.components.get(domain).is_some()
    }

    /// A component has shown that it may speak for its domain. The answer comes as [`Event::Bound`]: the address of the
    /// domain takes the place of a full JID. Others that are connected stay; where they are as many as there may be, they
    /// are asked whether they are still there.
    pub fn attach(&self, domain: &str, outbox: &Arc<Outbox>, turn: &mut Turn) {
        let answer = match (self.components.get(domain), Jid::parse(domain)) {
            (Some(slot), Ok(jid)) => {
                let mut place = slot.lock();
                if place.is_ending && place.coming.len() < slot.component.streams {
                    return place.coming.push(Arc::clone(outbox));
                }
                if place.streams.len() < slot.component.streams {
                    let id = self.next_session();
                    let outbox = Arc::clone(outbox);
                    let bound = Bound { jid, id, outbox };
                    place.streams.push(bound.clone());
                    let is_first = place.streams.len() == 1;
                    if is_first && slot.component.privileges.presence != PresenceSeen::Nobodys {
                        place.shows_from = Some(0);
                    }
                    Ok(bound)
                } else {
                    for other in &place.streams {
                        other.outbox.tell(turn, Event::Silent);
                    }
                    Err(StanzaError::conflict())
                }
            }
            _ => Err(StanzaError::item_not_found()),
        };
        let bound = answer.as_ref().ok().cloned();
        outbox.tell(turn, Event::Bound(answer));
        if let (Some(bound), Some(slot)) = (bound, self.components.get(domain)) {
            self.greet(slot, &bound, turn);
        }
    }

    /// What a component is told of what it may do, and what it is asked.
    fn greet(&self, slot: &Slot, bound: &Bound, turn: &mut Turn) {
        let component = &slot.component;
        for greeting in self.registry().greetings(component) {
            let (from, to) = (escaped(&component.shown_by), escaped(&component.domain));
            let id = bound.id;
            bound.outbox.answer(turn, |out| {
                out.extend_from_slice(
                    format!("<message from='{from}' to='{to}' id='may-{id}'>{greeting}</message>").as_bytes(),
                );
            });
        }
        self.ask_what_it_can(&component.domain, turn);
        slot.lock().shows_on(turn);
    }

    /// A stream of a component has read all that it was given. False: it is none of a component.
    pub(crate) fn component_drained(&self, bound: &Bound, turn: &mut Turn) -> bool {
        let Some(slot) = self.components.get(bound.jid.as_str()) else {
            return false;
        };
        self.show_more(slot, turn);
        true
    }

    /// A stream of a component is over; what it had not written comes by [`Router::reclaim`]. False: it is none.
    pub(crate) fn detach(&self, bound: &Bound) -> bool {
        let Some(slot) = self.components.get(bound.jid.as_str()) else {
            return false;
        };
        let mut place = slot.lock();
        let mut turn = Turn::default();
        let was_last = place.remove(bound.id) && place.streams.is_empty();
        // It may have been this one that was asked.
        place.shows_on(&mut turn);
        place.is_ending |= was_last;
        drop(place);
        if was_last {
            let domain = bound.jid.as_str();
            self.registry().nested().forget(domain);
            self.fail_questions(domain, &mut turn);
            self.lose_domain_in_rooms(domain);
            let mut place = slot.lock();
            place.is_ending = false;
            let coming = std::mem::take(&mut place.coming);
            drop(place);
            for outbox in coming {
                self.attach(domain, &outbox, &mut turn);
            }
        }
        self.settle((self.clock)(), &mut turn);
        turn.finish();
        true
    }

    /// What a stream of a component had not written when it ended, for the others, or back to who sent it. None: it is none
    /// of a component. Otherwise as [`Router::reclaim`], which calls this.
    pub(crate) fn give_back(&self, now: Now, bound: &Bound, unsent: &[u8], turn: &mut Turn) -> Option<usize> {
        let slot = self.components.get(bound.jid.as_str())?;
        let used = read_unsent(unsent, turn, |stanza, turn| {
            // What the server has said of the stream itself has none.
            let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
                return;
            };
            let text = stanza.element().source();
            let given = slot
                .lock()
                .give_again(self.components.shares(), from.bare_str(), text, turn);
            // A room of ours has heard that the domain is gone.
            let is_told = matches!(stanza.kind(), Kind::Message(MessageType::Groupchat)) && self.is_room(from);
            match given {
                Err(error) if !is_told => self.refuse_late_for_component(stanza, from, to, &error, turn),
                _ => {}
            }
        });
        if used == 0 {
            let refused = slot.lock().returned(bound.id, self.components.shares(), turn);
            for (waiting, error) in refused {
                self.read_letter(&waiting.text, turn, |stanza, from, to, turn| {
                    self.refuse_late_for_component(stanza, from, to, &error, turn);
                });
            }
        }
        self.settle(now, turn);
        Some(used)
    }

    /// A stanza for an address of a component.
    pub(crate) fn to_component(
        &self,
        now: Now,
        slot: &Slot,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        if self.keeps_for_component(now, slot, stanza, from, to, turn) {
            return;
        }
        let write = |out: &mut Vec<u8>| splice(stanza, from.as_str(), Some(to.as_str()), &Edits::default(), out);
        let bytes = stanza.element().source().len();
        let shares = self.components.shares();
        let mut place = slot.lock();
        let asker = match (stanza.kind(), stanza.id()) {
            (Kind::Iq(IqType::Result | IqType::Error), Some(id)) => {
                place.take_asker(shares, (id, to.as_str(), from.as_str()))
            }
            _ => None,
        };
        let given = place.give_to(asker, shares, from.bare_str(), bytes, turn, write);
        drop(place);
        if let Err(error) = given {
            self.refuse_for_component(stanza, from, to, &error, turn);
        }
    }

    /// The answer to a request of a component, at once. False: somebody else has asked.
    pub(crate) fn answer_component(&self, back: &Return, answer: &str, turn: &mut Turn) -> bool {
        let (asking, asked) = back.addresses();
        let Some(slot) = self.components.get(asking.domain()) else {
            return false;
        };
        let shares = self.components.shares();
        let write = |out: &mut Vec<u8>| out.extend_from_slice(answer.as_bytes());
        let mut place = slot.lock();
        let asker = place.take_asker(shares, (back.id(), asking.as_str(), asked.as_str()));
        // An answer is not answered.
        let _ = place.give_to(asker, shares, asked.bare_str(), answer.len(), turn, write);
        true
    }

    /// Who has sent something that does not get to a component is told so, but for what is of the moment.
    fn refuse_for_component(
        &self,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        error: &StanzaError,
        turn: &mut Turn,
    ) {
        match stanza.kind() {
            Kind::Presence(PresenceType::Probe | PresenceType::Unavailable) => {}
            // It may be what a privilege shows, and nobody is to notice that (XEP-0356).
            Kind::Presence(PresenceType::Available) if to.local().is_none() && self.sees_presence(to.domain()) => {}
            _ => self.bounce(stanza, from, to, error, turn),
        }
    }

    /// Something of the moment from somebody for an address of a component, which nobody is told of if it does not get
    /// there. False: the address is none of a component's.
    pub(crate) fn say_to_component(
        &self,
        from: &str,
        address: &str,
        turn: &mut Turn,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        if self.components.is_empty() {
            return false;
        }
        let domain = address.split_once('@').map_or(address, |(_, domain)| domain);
        let Some(slot) = self.components.get(domain) else {
            return false;
        };
        let sender = from.split_once('/').map_or(from, |(bare, _)| bare);
        let shares = self.components.shares();
        // It is of the moment.
        let _ = slot.lock().give(shares, sender, 0, turn, write);
        true
    }

    /// Handles a stanza of a component. The connection has checked that it has both addresses, and that `from` is one of
    /// the component's domain. True: as [`Router::from_client`].
    pub fn from_component(
        &self,
        now: Now,
        bound: &Bound,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> bool {
        self.stanzas.up(bound.id);
        let origin = Origin::of_component(bound);
        self.handle_of_many(now, bound, origin, stanza, from, to, turn, |stanza, from, to, turn| {
            let Some(slot) = self.components.get(bound.jid.as_str()) else {
                return false;
            };
            if let (Kind::Iq(IqType::Get | IqType::Set), Some(id)) = (stanza.kind(), stanza.id())
                && slot.component.streams > 1
            {
                let question = (id, from.as_str(), to.as_str());
                slot.lock().note_asked(self.components.shares(), bound.id, question);
            }
            self.acts(now, slot, stanza, from, to, turn)
        })
    }

    /// Ends the streams of all components (shutdown).
    pub(crate) fn end_components(&self, error: &StreamError, turn: &mut Turn) {
        for slot in self.components.iter() {
            for bound in &slot.lock().streams {
                bound.outbox.tell(turn, Event::End(error.clone()));
            }
        }
    }

    pub(crate) fn look_for_silent_components(&self, now: Now, seconds: u32, turn: &mut Turn) {
        for slot in self.components.iter() {
            for bound in &slot.lock().streams {
                bound.outbox.tell_if_silent(now, seconds, turn);
            }
        }
    }
}
