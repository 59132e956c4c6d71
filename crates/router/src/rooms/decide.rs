//! What follows from a stanza that a room was given.

use std::sync::Arc;

use module::Now;
use muc::{Decided, Reflect, Room, Say};
use stanza::{Jid, JidRef, Kind, Stanza};
use store::{Batch, Deposit, Places, StoreError, Wrote};

use crate::deposit::{Behind, Origin};
use crate::durable::{End, mark, told};
use crate::iq::Return;
use crate::outbox::{DECISION, Receipt};
use crate::outgoing::letter;
use crate::wake::gather;
use crate::{Outbox, Router, Turn};

use super::{Held, Place, Slot, State, What};

/// What the client sends behind a change of a room does not overtake it.
struct Decides(Arc<Outbox>);

impl Drop for Decides {
    fn drop(&mut self) {
        self.0.catch_up(DECISION);
    }
}

impl Router {
    /// `before`: how the room was, where it may have changed much.
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    pub(super) fn decided(
        &self,
        now: Now,
        place: &Arc<Place>,
        state: &mut State,
        decided: Decided,
        before: Option<Room>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        match decided {
            Decided::Say(says) => {
                let is_passed_on = says.last().is_some_and(|say| *say.from != *to.as_str());
                // A private message is acknowledged when its recipient's owner has it on disk.
                let origin = turn.origin.take();
                if let (Some(origin), Kind::Message(kind), true) = (&origin, stanza.kind(), is_passed_on) {
                    self.keep_sent(now, kind, origin, stanza, from, to, turn);
                }
                if let Some(origin) = place.say(says, origin) {
                    turn.origin = Some(origin);
                }
                state.room.forget_gone();
            }
            Decided::Ask(query, answer) => {
                let place = Arc::clone(place);
                self.when_read(place.jid.clone().as_str(), query, move |router, _, found| {
                    let mut turn = Turn::default();
                    place.say(answer.say(found), None);
                    router.deliver_all(&place, &mut turn);
                    router.settle((router.clock)(), &mut turn);
                    turn.finish();
                });
            }
            Decided::Write(batch, says) => {
                let back = match stanza.kind().may_be_answered() {
                    true => Return::of(stanza, from.to_owned(), to.to_owned()),
                    false => Return::nowhere(from.to_owned(), to.to_owned()),
                };
                self.write_room(place, state, batch, says, before, back, turn);
            }
            Decided::Look(query, next) => {
                // What comes of it is covered by the acknowledgement of what was asked.
                let origin = turn.origin.take().map(|origin| Origin {
                    is_awaited: false,
                    ..origin
                });
                let asked = Some((letter(stanza, from, to), origin));
                self.look_for_room(place, query, next, asked);
            }
            Decided::Reflect(reflect) => self.reflect(now, place, state, reflect, stanza, from, to, turn),
        }
    }

    /// The room waits until it is on disk.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn write_room(
        &self,
        place: &Arc<Place>,
        state: &mut State,
        mut batch: Batch,
        says: Vec<Say>,
        before: Option<Room>,
        back: Return,
        turn: &mut Turn,
    ) {
        state.is_writing = true;
        let (behind, receipt) = match turn.origin.take() {
            Some(origin) => {
                origin.outbox.fall_behind(DECISION);
                (Some(Decides(origin.outbox)), origin.receipt)
            }
            None => (None, None),
        };
        mark(receipt.as_ref(), &mut batch);
        let (me, place) = (self.me.clone(), Arc::clone(place));
        self.store.write(
            batch,
            Box::new(move |result| {
                let Some(router) = me.upgrade() else { return };
                gather();
                let end = End::of(receipt, &result);
                let back = Some(back).filter(|_| end.is_told());
                router.room_written(&place, says, before, back.as_ref(), result);
                drop(behind);
                router.ends(end);
            }),
        );
    }

    fn room_written(
        &self,
        place: &Arc<Place>,
        says: Vec<Say>,
        before: Option<Room>,
        back: Option<&Return>,
        result: Result<Wrote, StoreError>,
    ) {
        // The process ends, and so have the streams. It may be said to who holds the lock.
        if matches!(result, Err(StoreError::Closed)) {
            return;
        }
        let mut turn = Turn::default();
        let mut state = place.lock();
        state.is_writing = false;
        match result {
            Ok(_) => {
                place.say(says, None);
                state.room.forget_gone();
            }
            Err(error) => {
                tracing::error!(room = place.jid.as_str(), %error, "a change of a room could not be written and was taken back");
                // Without it nothing has changed but who is in the room, or the room is empty: then it is read again.
                match before {
                    Some(before) => state.room = Slot::There(before),
                    None if state.room.is_empty() => {
                        state.room = Slot::Loading(Vec::new());
                        self.load_room(place, None);
                    }
                    None => {}
                }
                if let Some(back) = back {
                    back.refuse(&told(&error), &mut turn);
                }
            }
        }
        self.go_on(place, state, turn);
    }

    /// A message for everybody: into the archive first, in the order in which they came.
    #[allow(clippy::too_many_arguments)]
    fn reflect(
        &self,
        now: Now,
        place: &Arc<Place>,
        state: &mut State,
        mut reflect: Reflect,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let is_archived = reflect.is_kept && self.archives;
        let mut batch = std::mem::take(&mut reflect.batch);
        let is_written = is_archived || !batch.ops.is_empty();
        if !is_written && state.reflecting == 0 {
            return self.reflect_now(now, place, state, reflect, None, turn);
        }
        let origin = turn.origin.take();
        let mut bytes = 0;
        if is_archived {
            let text: Arc<str> = reflect.stored().into();
            bytes = text.len();
            batch = batch.deposit(Deposit {
                at: now.0,
                sender: from.bare_str().into(),
                recipient: place.jid.as_str().into(),
                places: Places::RECEIVED,
                fingerprint: origin
                    .as_ref()
                    .and_then(|origin| origin.fingerprint(&self.secret, from.bare_str(), place.jid.as_str(), stanza)),
                stanza: text,
            });
        }
        let (behind, receipt): (Option<Behind>, Option<Receipt>) = match origin {
            Some(Origin { outbox, receipt, .. }) => (Some(Behind::of(outbox, bytes)), receipt),
            None => (None, None),
        };
        mark(receipt.as_ref(), &mut batch);
        state.reflecting += 1;
        let back = Return::of(stanza, from.to_owned(), to.to_owned());
        let (me, place) = (self.me.clone(), Arc::clone(place));
        self.store.write(
            batch,
            Box::new(move |result| {
                let Some(router) = me.upgrade() else { return };
                gather();
                let end = End::of(receipt, &result);
                let back = Some(back).filter(|_| end.is_told());
                router.archived_in_room(&place, reflect, is_written, back.as_ref(), result);
                drop(behind);
                router.ends(end);
            }),
        );
    }

    fn archived_in_room(
        &self,
        place: &Arc<Place>,
        reflect: Reflect,
        is_written: bool,
        back: Option<&Return>,
        result: Result<Wrote, StoreError>,
    ) {
        // As with a write.
        if matches!(result, Err(StoreError::Closed)) {
            return;
        }
        let now = (self.clock)();
        let mut turn = Turn::default();
        let mut state = place.lock();
        state.reflecting -= 1;
        match result {
            Ok(wrote) => match wrote.deposited {
                Some(deposited) if deposited.is_new => {
                    self.reflect_now(now, place, &mut state, reflect, Some(deposited.id), &mut turn);
                }
                // It came once more (guarantee G2), and everybody has it.
                Some(_) => {}
                None => self.reflect_now(now, place, &mut state, reflect, None, &mut turn),
            },
            // It was only to wait its turn.
            Err(_) if !is_written => self.reflect_now(now, place, &mut state, reflect, None, &mut turn),
            Err(error) => {
                tracing::error!(room = place.jid.as_str(), %error, "a message of a room could not be kept");
                if let Slot::There(room) = &mut state.room {
                    room.not_reflected(reflect);
                }
                if let Some(back) = back {
                    back.refuse(&told(&error), &mut turn);
                }
            }
        }
        self.go_on(place, state, turn);
    }

    /// `id`: in the archive.
    fn reflect_now(
        &self,
        now: Now,
        place: &Arc<Place>,
        state: &mut State,
        reflect: Reflect,
        id: Option<i64>,
        turn: &mut Turn,
    ) {
        let Slot::There(room) = &mut state.room else { return };
        let (says, decided) = room.reflected(&self.room_context(now, false), reflect, id);
        place.say(says, None);
        self.decided_by_itself(place, state, decided, None, turn);
    }

    /// The session of somebody who is in the room is not there any more, without having said so.
    pub(super) fn lost_from_room(&self, place: &Place, lost: Vec<Arc<Jid>>) {
        self.lost_or_unwanted(place, lost, What::Lost);
    }

    pub(super) fn lost_or_unwanted(&self, place: &Place, who: Vec<Arc<Jid>>, what: fn(Arc<Jid>) -> What) {
        let mut state = place.lock();
        state.waiting.extend(who.into_iter().map(|jid| Held {
            what: what(jid),
            is_for_everybody: false,
        }));
    }
}
