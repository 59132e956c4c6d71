//! Components (XEP-0114): programs that speak for a domain of their own, over a stream to this server.
//!
//! Which there are is configured. One stream at a time speaks for a domain; what is for the domain while there is none is
//! answered with `remote-server-timeout`, as it would be by a server that cannot be reached (RFC 6120 section 10.4.3).
//! A component is what another server is to an account: it gets the same presence, probes and notifications, and what
//! comes from it passes the same gates.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use module::{Component, Now};
use stanza::{Edits, Jid, JidRef, Kind, PresenceType, Stanza, StanzaError, StreamError, splice};

use crate::deposit::Origin;
use crate::outbox::Item;
use crate::outgoing::letter;
use crate::{Bound, Event, Outbox, Router, Turn};

/// Who speaks for a domain now. Pushes to its outbox happen under this lock, as those to a resource do under the lock of
/// its account.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Bound>>);

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Bound>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that are configured, by domain.
#[derive(Default)]
pub(crate) struct Components(HashMap<Box<str>, Slot, RandomState>);

impl Components {
    pub(crate) fn new(configured: &[Component]) -> Components {
        let slots = configured.iter();
        Components(
            slots
                .map(|component| (component.domain.clone(), Slot::default()))
                .collect(),
        )
    }

    pub(crate) fn get(&self, domain: &str) -> Option<&Slot> {
        self.0.get(domain)
    }

    /// Most servers have none, and need not look at addresses for it.
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Router {
    /// Whether a component speaks for this domain (prepared form), connected or not.
    pub fn is_component(&self, domain: &str) -> bool {
        self.components.get(domain).is_some()
    }

    /// A component has shown that it may speak for its domain. The answer comes as [`Event::Bound`]: the address of the
    /// domain takes the place of a full JID. Another that is connected stays, and is asked whether it is still there.
    pub fn attach(&self, domain: &str, outbox: &Arc<Outbox>, turn: &mut Turn) {
        let answer = match (self.components.get(domain), Jid::parse(domain)) {
            (Some(slot), Ok(jid)) => {
                let mut slot = slot.lock();
                match &*slot {
                    Some(other) => {
                        other.outbox.tell(turn, Event::Silent);
                        Err(StanzaError::conflict())
                    }
                    None => {
                        let id = self.next_session();
                        let outbox = Arc::clone(outbox);
                        Ok(slot.insert(Bound { jid, id, outbox }).clone())
                    }
                }
            }
            _ => Err(StanzaError::item_not_found()),
        };
        outbox.tell(turn, Event::Bound(answer));
    }

    /// The stream of a component is over. False: it is none.
    pub(crate) fn detach(&self, bound: &Bound) -> bool {
        let Some(slot) = self.components.get(bound.jid.as_str()) else {
            return false;
        };
        let mut slot = slot.lock();
        if slot.as_ref().is_some_and(|connected| connected.id == bound.id) {
            *slot = None;
            drop(slot);
            self.lose_domain_in_rooms(bound.jid.as_str());
        }
        true
    }

    /// A stanza for an address of a component.
    pub(crate) fn to_component(
        &self,
        slot: &Slot,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let write = |out: &mut Vec<u8>| splice(stanza, from.as_str(), Some(to.as_str()), &Edits::default(), out);
        let refused = match slot.lock().as_ref().map(|bound| &bound.outbox) {
            // Nobody who sends may end the stream of a component by sending much.
            Some(outbox) if !outbox.has_room(stanza.element().source().len()) => {
                Some(StanzaError::resource_constraint().text("the service does not read as fast as it is sent to"))
            }
            Some(outbox) => match outbox.push(turn, Item::Other, write) {
                Some(_) => None,
                // It is closing.
                None => Some(StanzaError::remote_server_timeout()),
            },
            None => Some(StanzaError::remote_server_timeout()),
        };
        let is_of_the_moment = matches!(
            stanza.kind(),
            Kind::Presence(PresenceType::Probe | PresenceType::Unavailable)
        );
        if let Some(error) = refused.filter(|_| !is_of_the_moment) {
            self.bounce(stanza, from, to, &error, turn);
        }
    }

    /// Something of the moment for an address of a component, which nobody is told of if it does not get there. False:
    /// the address is none of a component's.
    pub(crate) fn say_to_component(&self, address: &str, turn: &mut Turn, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.components.is_empty() {
            return false;
        }
        let domain = address.split_once('@').map_or(address, |(_, domain)| domain);
        let Some(slot) = self.components.get(domain) else {
            return false;
        };
        if let Some(bound) = slot.lock().as_ref().filter(|bound| bound.outbox.has_room(0)) {
            bound.outbox.push(turn, Item::Other, write);
        }
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
        turn.origin = Some(Origin::of_component(bound));
        // Written and read again, since only so it is in the namespace that everything here is in.
        self.read_letter(&letter(stanza, from, to), turn, |stanza, from, to, turn| {
            if self.is_apart(from.domain(), to.domain()) {
                self.refuse_at_border(stanza, from, to, turn);
            } else {
                self.route(now, stanza, from, to, turn);
            }
        });
        let origin = turn.origin.take();
        let is_held = std::mem::take(&mut turn.is_held);
        self.settle(now, turn);
        drop(origin);
        is_held || bound.outbox.is_to_wait()
    }

    /// Ends the streams of all components (shutdown).
    pub(crate) fn end_components(&self, error: &StreamError, turn: &mut Turn) {
        for slot in self.components.0.values() {
            if let Some(bound) = &*slot.lock() {
                bound.outbox.tell(turn, Event::End(error.clone()));
            }
        }
    }

    pub(crate) fn look_for_silent_components(&self, now: Now, seconds: u32, turn: &mut Turn) {
        for slot in self.components.0.values() {
            if let Some(bound) = &*slot.lock() {
                bound.outbox.tell_if_silent(now, seconds, turn);
            }
        }
    }
}
