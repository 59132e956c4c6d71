//! Rooms come into memory when somebody asks for them, take what has waited, and leave when nobody is in them.

use std::sync::{Arc, MutexGuard, PoisonError};

use module::Now;
use muc::{Decided, Next, Room};
use stanza::{Jid, JidRef, StanzaError};
use store::{Found, Query, StoreError};

use crate::account::Moment;
use crate::iq::Return;
use crate::load::store_failed;
use crate::turn::Work;
use crate::{Router, Turn};

use super::gate::{self, Made};
use super::{Asked, Held, Place, SHARDS, Slot, State, What};

/// Clients in rooms that are looked for on block lists before other work gets its turn, or those of a shard of rooms.
const LOOKED_AT_ONCE: usize = 1_000;

impl Slot {
    /// A room that is no more.
    pub(super) fn forget_gone(&mut self) {
        if matches!(self, Slot::There(room) if room.is_gone()) {
            *self = Slot::Absent;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Slot::There(room) if room.sessions() == 0)
    }
}

impl Router {
    /// `who` asks for it, and may be about to make it.
    pub(super) fn load_room(&self, place: &Arc<Place>, who: Option<JidRef<'_>>) {
        let (me, place) = (self.me.clone(), Arc::clone(place));
        let who: Option<Box<str>> = who.map(|who| who.bare_str().into());
        let mut query = muc::get(&place.jid, self.room_limits());
        if let (Query::Many(queries), Some(who)) = (&mut query, &who) {
            queries.push(muc::count_made(who));
        }
        self.store.read(
            query,
            Box::new(move |found| {
                let Some(router) = me.upgrade() else { return };
                let (found, made) = match found.and_then(|found| apart(found, who)) {
                    Ok((found, made)) => (muc::read(&place.jid, router.archive_ids(), found), made),
                    Err(error) => (Err(error), None),
                };
                router.room_loaded(&place, found, made);
            }),
        );
    }

    fn room_loaded(&self, place: &Arc<Place>, found: Result<Option<Room>, StoreError>, made: Option<Made>) {
        // The process ends. It may be said to who holds the lock.
        if matches!(found, Err(StoreError::Closed)) {
            return;
        }
        let mut turn = Turn::default();
        let mut state = place.lock();
        state.made = made;
        let Slot::Loading(returning) = &mut state.room else {
            return;
        };
        let returning = std::mem::take(returning);
        state.room = match found {
            Ok(Some(mut room)) => {
                room.put_back(&self.room_context((self.clock)(), false), returning);
                Slot::There(room)
            }
            Ok(None) => Slot::Absent,
            Err(error) => {
                tracing::error!(room = place.jid.as_str(), %error, "a room could not be read; what was for it is answered with an error");
                for held in std::mem::take(&mut state.waiting) {
                    self.turn_away_from_room(held, &store_failed(), &mut turn);
                }
                Slot::Absent
            }
        };
        self.go_on(place, state, turn);
    }

    /// Something of the room has come to rest: what has waited for it follows. For who comes from the store.
    pub(super) fn go_on(&self, place: &Arc<Place>, mut state: MutexGuard<'_, State>, mut turn: Turn) {
        self.take_in_order(place, &mut state, &mut turn);
        self.forget_absent(place, &mut state);
        drop(state);
        self.deliver_all(place, &mut turn);
        self.settle((self.clock)(), &mut turn);
        turn.finish();
    }

    /// The same for who has delivered. True: something was said meanwhile.
    pub(super) fn take_waiting(&self, place: &Arc<Place>, turn: &mut Turn) -> bool {
        let mut state = place.lock();
        if state.waiting.is_empty() {
            return false;
        }
        self.take_in_order(place, &mut state, turn);
        self.forget_absent(place, &mut state);
        true
    }

    /// Gives the room what has waited, until something has to wait again.
    fn take_in_order(&self, place: &Arc<Place>, state: &mut State, turn: &mut Turn) {
        let now = (self.clock)();
        while !place.is_behind() {
            let Some(held) = state.waiting.front() else { return };
            if state.is_busy(held.is_for_everybody) {
                return;
            }
            let Some(held) = state.waiting.pop_front() else { return };
            self.take_held(now, place, state, held, turn);
        }
    }

    fn take_held(&self, now: Now, place: &Arc<Place>, state: &mut State, held: Held, turn: &mut Turn) {
        let (text, origin, is_admin) = match held.what {
            What::Stanza { text, origin, is_admin } => (text, origin, is_admin),
            What::Lost(jid) => return self.lose(now, place, state, &jid, false, turn),
            What::Unwanted(jid) => return self.lose(now, place, state, &jid, true, turn),
            What::Removed(jid) => return self.remove_from_room(now, place, state, &jid, turn),
            What::Found { found, next, asked } => return self.go_on_with(now, place, state, found, next, asked, turn),
        };
        self.read_held(&text, origin, turn, |stanza, from, to, turn| {
            if matches!(state.room, Slot::Absent) {
                match self.without_room(place, state.made.as_ref(), is_admin, stanza, from, to, turn) {
                    Some(room) => state.room = Slot::There(room),
                    None => return,
                }
            }
            self.give_to_room(now, place, state, is_admin, stanza, from, to, turn);
        });
    }

    /// The session of somebody who is in the room is not there any more, without having said so; or is to be put out.
    fn lose(
        &self,
        now: Now,
        place: &Arc<Place>,
        state: &mut State,
        jid: &Arc<Jid>,
        is_unwanted: bool,
        turn: &mut Turn,
    ) {
        let Slot::There(room) = &mut state.room else { return };
        let making: Option<Box<str>> = room.being_made_by().map(Into::into);
        let mut context = self.room_context(now, false);
        let decided = match is_unwanted {
            true => room.unwanted(&mut context, jid),
            false => room.lost(&mut context, jid),
        };
        if let Some(by) = making.filter(|_| room.is_gone()) {
            self.has_made(&by);
        }
        self.decided_by_itself(place, state, decided, None, turn);
    }

    fn remove_from_room(&self, now: Now, place: &Arc<Place>, state: &mut State, jid: &Jid, turn: &mut Turn) {
        let Slot::There(room) = &mut state.room else { return };
        let before = room.clone();
        let decided = room.removed(&self.room_context(now, false), jid);
        self.decided_by_itself(place, state, decided, Some(before), turn);
    }

    /// An account is about to be removed: it has nothing in any room, so that nobody inherits it by a name. Blocking, as what
    /// is to be read goes with the account; the rest goes on by itself.
    pub fn leave_rooms(&self, jid: &Jid) {
        let found = self
            .store
            .read_wait(muc::rooms_of(jid.bare_str()))
            .and_then(Found::rows);
        let rooms = match found {
            Ok(rooms) => rooms,
            Err(error) => {
                return tracing::error!(account = %jid, %error, "its rooms cannot be read; it stays in their lists");
            }
        };
        for room in rooms.iter().filter_map(|(room, _)| Jid::parse(room).ok()) {
            if !self.is_room(room.as_ref()) {
                continue;
            }
            loop {
                let place = self.place(room.as_ref(), jid.as_ref());
                let mut state = place.lock();
                if matches!(state.room, Slot::Gone) {
                    continue;
                }
                state.waiting.push_back(Held {
                    what: What::Removed(jid.clone()),
                    is_for_everybody: false,
                });
                self.go_on(&place, state, Turn::default());
                break;
            }
        }
    }

    /// What follows where nobody has asked for anything.
    pub(super) fn decided_by_itself(
        &self,
        place: &Arc<Place>,
        state: &mut State,
        decided: Decided,
        before: Option<Room>,
        turn: &mut Turn,
    ) {
        match decided {
            Decided::Say(says) => {
                place.say(says, None);
                state.room.forget_gone();
            }
            Decided::Write(batch, says) => {
                let back = Return::nowhere(place.jid.clone(), place.jid.clone());
                self.write_room(place, state, batch, says, before, back, turn);
            }
            Decided::Look(query, next) => self.look_for_room(place, query, next, None),
            Decided::Reflect(_) | Decided::Ask(..) => {}
        }
    }

    /// The store is asked; the room goes on in its line.
    pub(super) fn look_for_room(&self, place: &Arc<Place>, query: Query, next: Next, asked: Option<Asked>) {
        let held = Arc::clone(place);
        self.when_read(place.jid.as_str(), query, move |router, _, found| {
            let mut state = held.lock();
            state.waiting.push_back(Held {
                what: What::Found { found, next, asked },
                is_for_everybody: false,
            });
            router.go_on(&held, state, Turn::default());
        });
    }

    #[allow(clippy::too_many_arguments)] // the parts of one step; a struct would only rename them
    fn go_on_with(
        &self,
        now: Now,
        place: &Arc<Place>,
        state: &mut State,
        found: Result<Found, StoreError>,
        next: Next,
        asked: Option<Asked>,
        turn: &mut Turn,
    ) {
        let before = match &state.room {
            Slot::There(room) => Some(room.clone()),
            _ => None,
        };
        let decided = match &mut state.room {
            Slot::There(room) => Some(next.go_on(room, &mut self.room_context(now, false), found)),
            // It was forgotten meanwhile, as it may be when nobody is in it.
            _ => None,
        };
        match (decided, asked) {
            (Some(decided), Some((text, origin))) => self.read_held(&text, origin, turn, |stanza, from, to, turn| {
                self.decided(now, place, state, decided, before, stanza, from, to, turn);
            }),
            (Some(decided), None) => self.decided_by_itself(place, state, decided, before, turn),
            (None, Some((text, origin))) => self.read_held(&text, origin, turn, |stanza, from, to, turn| {
                self.answer_with_error(stanza, from, to, &store_failed(), turn);
            }),
            (None, None) => {}
        }
    }

    /// Who is in rooms from this domain cannot be reached any more, and others are told so (section 14.1).
    pub(crate) fn lose_domain_in_rooms(&self, domain: &str) {
        let mut turn = Turn::default();
        for part in 0..SHARDS {
            self.lose_domain_in_part(part, None, domain, &mut turn);
        }
        self.settle((self.clock)(), &mut turn);
        turn.finish();
    }

    /// The same of one shard of rooms, and of those of one service if that is given.
    pub(crate) fn lose_domain_in_part(&self, part: usize, service: Option<&str>, domain: &str, turn: &mut Turn) {
        for place in self.places_of_shard(part) {
            if service.is_some_and(|service| place.jid.domain() != service) {
                continue;
            }
            let lost = match &place.lock().room {
                Slot::There(room) => room.clients_of_domain(domain),
                _ => continue,
            };
            if !lost.is_empty() {
                self.lost_from_room(&place, lost);
                self.take_waiting(&place, turn);
                self.deliver_all(&place, turn);
            }
        }
    }

    /// Who is on a block list leaves all rooms. Other work gets its turn between.
    pub(crate) fn put_out_unwanted(&self, mut part: usize, turn: &mut Turn) {
        let mut looked = 0;
        while part < SHARDS {
            if looked >= LOOKED_AT_ONCE {
                return self.ask_again(Work::PutOut(part));
            }
            for place in self.places_of_shard(part) {
                let clients = place.with_room(Room::clients).unwrap_or_default();
                looked += clients.len();
                let host = self.room_service(place.jid.domain());
                let is_unwanted = |jid: &Arc<Jid>| {
                    let jid = jid.as_ref().as_ref();
                    self.is_unwanted(jid) && !host.is_some_and(|host| self.is_admin(host, jid))
                };
                let unwanted: Vec<Arc<Jid>> = clients.into_iter().filter(is_unwanted).collect();
                if !unwanted.is_empty() {
                    self.lost_or_unwanted(&place, unwanted, What::Unwanted);
                    self.take_waiting(&place, turn);
                    self.deliver_all(&place, turn);
                }
            }
            part += 1;
        }
    }

    fn turn_away_from_room(&self, held: Held, error: &StanzaError, turn: &mut Turn) {
        let (text, origin) = match held.what {
            What::Stanza { text, origin, .. }
            | What::Found {
                asked: Some((text, origin)),
                ..
            } => (text, origin),
            What::Found { asked: None, .. } | What::Lost(_) | What::Unwanted(_) | What::Removed(_) => return,
        };
        self.read_held(&text, origin, turn, |stanza, from, to, turn| {
            let error = gate::of_the_moment(stanza, error.clone());
            self.answer_with_error(stanza, from, to, &error, turn);
        });
    }

    /// A room that is not there needs no place.
    pub(super) fn forget_absent(&self, place: &Place, state: &mut State) {
        if matches!(state.room, Slot::Absent) && state.is_at_rest() {
            self.forget_place(place, state);
        }
    }

    /// With the lock of the room; nobody takes it with that of the shard held.
    pub(super) fn forget_place(&self, place: &Place, state: &mut State) {
        state.room = Slot::Gone;
        self.room_shard(place.jid.as_str()).remove(place.jid.as_str());
    }

    pub(super) fn each_place(&self, mut act: impl FnMut(&Arc<Place>)) {
        for part in 0..SHARDS {
            self.places_of_shard(part).iter().for_each(&mut act);
        }
    }

    /// Without the lock of the shard.
    fn places_of_shard(&self, at: usize) -> Vec<Arc<Place>> {
        let shard = self.rooms.shards[at].lock().unwrap_or_else(PoisonError::into_inner);
        shard.values().cloned().collect()
    }

    /// Forgets rooms that nobody is in and nobody has used since.
    pub(crate) fn sweep_rooms(&self, horizon: Moment) {
        self.each_place(|place| {
            let mut state = place.lock();
            if state.room.is_empty() && state.is_at_rest() && state.touched <= horizon && place.is_silent() {
                self.leave_memory(place, &mut state);
            }
        });
    }

    fn leave_memory(&self, place: &Arc<Place>, state: &mut State) {
        let Slot::There(room) = &mut state.room else { return };
        if let Some(by) = room.being_made_by() {
            self.has_made(by);
        }
        match room.abandon() {
            Decided::Write(batch, says) => {
                let back = Return::nowhere(place.jid.clone(), place.jid.clone());
                self.write_room(place, state, batch, says, None, back, &mut Turn::default());
            }
            _ => self.forget_place(place, state),
        }
    }

    /// Whether nothing of any room is under way.
    pub(crate) fn are_rooms_settled(&self) -> bool {
        let mut settled = true;
        self.each_place(|place| settled &= place.lock().is_at_rest() && place.is_silent());
        settled
    }
}

/// What is there of the room, and what was asked besides.
fn apart(found: Found, who: Option<Box<str>>) -> Result<(Found, Option<Made>), StoreError> {
    let mut all = found.many()?;
    let made = match who {
        Some(by) => all.pop().map(Found::count).transpose()?.map(|count| Made { by, count }),
        None => None,
    };
    Ok((Found::Many(all), made))
}
