//! Who is refused whatever a room says: who is on a list of those whom nobody wants, who has cost too much, and who may
//! make no rooms, or no more of them.

use std::collections::HashMap;
use std::sync::{MutexGuard, PoisonError};

use module::{Host, Now, RoomCreators};
use muc::{Decided, Room, Say};
use stanza::{ErrorType, IqType, JidRef, Kind, MessageType, PresenceType, Rendered, Stanza, StanzaError, ns};

use crate::Router;

use super::Place;
use super::charges::Allowance;

/// How many rooms there are because of somebody, as the store said when it was asked for one that is not there.
pub(super) struct Made {
    pub(super) by: Box<str>,
    pub(super) count: u64,
}

/// A question to the store counts as so many deliveries.
const QUESTION: usize = 10;
/// What is longer counts as several.
const COUNTED_BYTES: usize = 1_024;

/// How many stanzas are delivered because of one.
pub(super) fn cost(decided: &Decided, room: &Room) -> usize {
    let of = |text: &Rendered, to: usize| to.saturating_mul(1 + text.text().len() / COUNTED_BYTES);
    match decided {
        Decided::Say(says) | Decided::Write(_, says) => {
            let says = says.iter().map(|say: &Say| of(&say.stanza, say.to.len()));
            says.fold(0, usize::saturating_add)
        }
        Decided::Reflect(reflect) => of(&reflect.message, room.sessions()),
        Decided::Ask(..) | Decided::Look(..) => QUESTION,
    }
}

/// Whether an occupant is asked whether it is still there, by itself perhaps (XEP-0410).
fn pings(stanza: &Stanza<'_>) -> bool {
    let is_of_occupant = stanza.to().is_some_and(|to| to.resource().is_some());
    let is_request = matches!(stanza.kind(), Kind::Iq(IqType::Get | IqType::Set));
    is_request && is_of_occupant && stanza.payload().is_some_and(|payload| payload.is("ping", ns::PING))
}

/// An error that says nothing of who is in the room. Whoever gets another for a ping to itself believes that it is out,
/// and enters again; from this one nothing is concluded (XEP-0410 section 3).
pub(super) fn of_the_moment(stanza: &Stanza<'_>, error: StanzaError) -> StanzaError {
    match pings(stanza) {
        true => StanzaError::remote_server_timeout(),
        false => error,
    }
}

impl Router {
    pub(super) fn allowance(&self) -> Allowance {
        self.rooms.allowance.get().copied().unwrap_or_default()
    }

    /// Before a room is asked.
    pub(super) fn admits_to_rooms(
        &self,
        now: Now,
        host: &Host,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
    ) -> Result<(), StanzaError> {
        let is_request = match stanza.kind() {
            // Whoever leaves always may, and nobody is told of errors with answers.
            Kind::Presence(PresenceType::Available) => false,
            Kind::Message(kind) if kind != MessageType::Error => false,
            Kind::Iq(IqType::Get | IqType::Set) => true,
            _ => return Ok(()),
        };
        // Who may not enter may not read either (XEP-0313 section 6.1.2).
        let reads = is_request && stanza.payload().is_some_and(|payload| payload.ns() == ns::MAM);
        if (!is_request || reads) && self.is_unwanted(from) && !self.is_admin(host, from) {
            return Err(StanzaError::forbidden().text("you are on a list of those whom rooms here do not take"));
        }
        // Whoever gets another error for it believes that he is out, and enters again (XEP-0410 section 3).
        if pings(stanza) {
            return Ok(());
        }
        let server = self.server_of(from);
        match self
            .rooms
            .charges
            .admits(now, from.bare_str(), server, self.allowance())
        {
            true => Ok(()),
            false => Err(StanzaError::policy_violation()
                .kind(ErrorType::Wait)
                .text("too much is told to others because of you; wait a moment")),
        }
    }

    /// As the operator wants new ones to be.
    pub(super) fn new_room(&self, place: &Place, creator: JidRef<'_>) -> Option<Room> {
        let host = self.room_service(place.jid.domain())?;
        *self.making().entry(creator.bare_str().into()).or_default() += 1;
        Some(Room::create(&place.jid, creator).like(&host.rooms))
    }

    /// Rooms that somebody has begun and not configured: the store knows nothing of them yet.
    fn making(&self) -> MutexGuard<'_, HashMap<Box<str>, u64>> {
        self.rooms.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One that this bare JID has begun is there for good now, or gone.
    pub(super) fn has_made(&self, creator: &str) {
        let mut making = self.making();
        if let Some(count) = making.get_mut(creator) {
            *count -= 1;
            if *count == 0 {
                making.remove(creator);
            }
        }
    }

    /// Section 10.1.1: who makes rooms is the operator's affair.
    pub(super) fn may_create(
        &self,
        made: Option<&Made>,
        room: JidRef<'_>,
        from: JidRef<'_>,
        is_admin: bool,
    ) -> Result<(), StanzaError> {
        let Some(host) = self.room_service(room.domain()) else {
            return Err(StanzaError::item_not_found());
        };
        let is_account = from.local().is_some() && from.domain() == host.domain;
        let may = match host.rooms.creators {
            RoomCreators::Anyone => true,
            RoomCreators::Accounts => is_account,
            RoomCreators::Admins => false,
        };
        if is_admin {
            return Ok(());
        }
        if !may {
            return Err(StanzaError::not_allowed().text("you may not make rooms here"));
        }
        let wait = |text: &'static str| Err(StanzaError::resource_constraint().kind(ErrorType::Wait).text(text));
        let making = self.making().get(from.bare_str()).copied().unwrap_or_default();
        match made.filter(|made| *made.by == *from.bare_str()) {
            Some(made) if made.count + making < host.rooms.per_account => Ok(()),
            Some(_) => wait("you have made as many rooms as you may; destroy one"),
            // Somebody else has asked for it first, or it is gone just now.
            None => wait("try again"),
        }
    }
}
