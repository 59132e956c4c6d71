//! An outbox with stream management, or with a client that may be inactive (XEP-0198, XEP-0352).

use std::mem;
use std::sync::Arc;

use offline::Taking;
use stanza::{StreamError, ns};

use super::uncounted::keep_uncounted;
use super::{Entry, Extra, How, Inner, Item, Managed, Outbox, Outcome, Pump, Receipt, Resumable, TooHigh};
use crate::saved::{Reader, Writer};
use crate::wake::wake;
use crate::{Event, Turn};

/// The stream goes on elsewhere: what still comes here is not handled and not counted, so the client sends it there.
pub(crate) struct Moved;

impl Outbox {
    /// The client wants its stream managed: from now on what it sends is counted. False: it was so before.
    pub(crate) fn manage(&self, resumable: Option<Resumable>) -> bool {
        let mut inner = self.lock();
        let extra = inner.extra.get_or_insert_default();
        if extra.managed.is_some() {
            return false;
        }
        extra.managed = Some(Managed::new(resumable));
        true
    }

    /// As [`Outbox::manage`], counted from here: nothing is written to the stream before `<enabled/>` is.
    pub(crate) fn manage_at_once(&self, resumable: Option<Resumable>) {
        let mut managed = Managed::new(resumable);
        managed.enabled = true;
        self.lock().extra.get_or_insert_default().managed = Some(managed);
    }

    /// As [`Outbox::manage_at_once`], where so many stanzas were handled before.
    pub(crate) fn manage_from(&self, handled: u32) {
        let mut managed = Managed::new(None);
        managed.enabled = true;
        managed.has_handled(handled);
        self.lock().extra.get_or_insert_default().managed = Some(managed);
    }

    /// How many stanzas of the peer are handled; 0 where they are not counted.
    pub(crate) fn handled(&self) -> u32 {
        self.lock().managed().map_or(0, |managed| managed.handled())
    }

    /// It is managed, and cannot be resumed after all.
    pub(crate) fn never_resume(&self) {
        if let Some(managed) = self.lock().managed() {
            managed.resumable = None;
        }
    }

    /// The client looks at nothing yet (XEP-0352); nothing was pushed before.
    pub(crate) fn begin_inactive(&self) {
        self.lock().extra.get_or_insert_default().held.inactive = true;
    }

    /// Says `<enabled/>`: from there on what is sent is counted.
    pub(crate) fn enabled(self: &Arc<Self>, enabled: &str, turn: &mut Turn) {
        let mut inner = self.lock();
        if inner.shut {
            return;
        }
        if let Some(managed) = inner.managed() {
            managed.enabled = true;
            inner.bytes.extend_from_slice(enabled.as_bytes());
            inner.wake_later(self, turn);
        }
    }

    /// It cannot be managed.
    pub(crate) fn not_enabled(self: &Arc<Self>, failed: &str, turn: &mut Turn) {
        if let Some(extra) = &mut self.lock().extra {
            extra.managed = None;
        }
        self.say(failed, turn);
    }

    /// What is no stanza goes behind what was pushed before, and is not counted.
    pub fn say(self: &Arc<Self>, text: &str, turn: &mut Turn) {
        let mut inner = self.lock();
        let is_detached = inner.managed().is_some_and(|managed| managed.detached);
        if !inner.shut && !is_detached {
            inner.bytes.extend_from_slice(text.as_bytes());
            inner.wake_later(self, turn);
        }
    }

    /// A stanza has come from the client: its receipt, where the stream is managed.
    pub(crate) fn receive(self: &Arc<Self>) -> Result<Option<Receipt>, Moved> {
        let mut inner = self.lock();
        let Some(extra) = &mut inner.extra else { return Ok(None) };
        if extra.moved.is_some() {
            return Err(Moved);
        }
        let Some(managed) = &mut extra.managed else {
            return Ok(None);
        };
        let (number, key) = (managed.receive(), managed.resumable.as_ref().and_then(|r| r.key));
        drop(inner);
        Ok(Some(Receipt::new(Arc::clone(self), number, key)))
    }

    /// The counter that goes to the store with a stanza.
    pub(super) fn submit(&self, number: u32) -> u32 {
        self.lock().managed().map_or(number, |managed| managed.submit(number))
    }

    /// A receipt is closed; follows the stream to where it is.
    pub(super) fn close_receipt(self: &Arc<Self>, number: u32, outcome: Outcome) {
        let mut inner = self.lock();
        let Some(extra) = &mut inner.extra else { return };
        if let Some(moved) = extra.moved.clone() {
            drop(inner);
            return moved.close_receipt(number, outcome);
        }
        let Some(managed) = &mut extra.managed else { return };
        let due = managed.close(number, outcome);
        if outcome == Outcome::Withheld {
            drop(inner);
            let mut turn = Turn::default();
            self.tell(&mut turn, Event::End(StreamError::resource_constraint()));
            return turn.finish();
        }
        let Some(h) = due else { return };
        if !managed.detached && !inner.shut {
            inner.bytes.extend_from_slice(answer(h).as_bytes());
            let was_dirty = mem::replace(&mut inner.dirty, true);
            drop(inner);
            // Not with a turn: this may be the end of a batch, far from any.
            if !was_dirty {
                wake(Arc::clone(self), false);
            }
        }
    }

    /// `<r/>` of the client (section 4): answered with what is durable, as soon as all that it sent before is.
    /// False where the stream is not managed.
    pub fn requested(self: &Arc<Self>, turn: &mut Turn) -> bool {
        let mut inner = self.lock();
        let Some(managed) = inner.managed() else { return false };
        let h = managed.requested();
        drop(inner);
        if let Some(h) = h {
            self.say(&answer(h), turn);
        }
        true
    }

    /// `<a/>` of the client. Returns the messages that it has got; None where the stream is not managed.
    pub(crate) fn acknowledge(self: &Arc<Self>, h: u32, turn: &mut Turn) -> Option<Result<Vec<i64>, TooHigh>> {
        let mut inner = self.lock();
        let managed = inner.managed()?;
        let result = managed.acknowledge(h);
        if managed.asks() {
            drop(inner);
            self.say(REQUEST, turn);
        }
        Some(result)
    }

    /// Whether the client acknowledges what it gets.
    pub(crate) fn acknowledges(&self) -> bool {
        self.lock()
            .managed()
            .is_some_and(|managed| managed.enabled && !managed.has_given_up())
    }

    pub fn is_managed(&self) -> bool {
        self.lock().managed().is_some()
    }

    /// Whether this message was sent, or is to be, and was not acknowledged.
    pub(crate) fn has_unacknowledged(&self, id: i64) -> bool {
        self.lock().managed().is_some_and(|managed| managed.has(id))
    }

    /// The id with which the stream may be resumed.
    pub(crate) fn resumable(&self) -> Option<Resumable> {
        self.lock()
            .managed()
            .filter(|managed| managed.enabled)?
            .resumable
            .clone()
    }

    /// Whether it is, or was until it was moved to another connection.
    pub(crate) fn was_managed(&self) -> bool {
        let inner = self.lock();
        inner
            .extra
            .as_ref()
            .is_some_and(|extra| extra.moved.is_some() || extra.managed.as_ref().is_some_and(|m| m.enabled))
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.lock().managed().is_none_or(|managed| managed.is_settled())
    }

    /// The connection has gone. True: the stream may be resumed, and takes what it is sent until then.
    pub(crate) fn detach(&self) -> bool {
        let mut inner = self.lock();
        let Some(managed) = inner
            .managed()
            .filter(|managed| managed.enabled && managed.resumable.is_some())
        else {
            return false;
        };
        managed.detach();
        inner.shut = false;
        inner.waker = None;
        inner.events = None;
        keep_uncounted(&mut inner.bytes);
        true
    }

    /// What it was given of what had waited waits again, by its place: so nothing of that goes its way as text.
    pub(crate) fn has_returned(&self) {
        self.lock().extra.get_or_insert_default().returned = true;
    }

    pub(crate) fn is_returned(&self) -> bool {
        self.lock().extra.as_ref().is_some_and(|extra| extra.returned)
    }

    /// The session ends: the messages that it gives back, and copies of the other stanzas. None where its stream was
    /// not managed: then what is unsent is for its connection to tell.
    pub(crate) fn end_managed(&self) -> Option<(Vec<i64>, Option<Vec<u8>>)> {
        let mut inner = self.lock();
        let (ids, copies) = inner.managed().filter(|managed| managed.enabled)?.end();
        inner.shut |= copies.is_some();
        Some((ids, copies))
    }

    /// Hands a stream over to the connection that resumes it. Returns the messages that the client has got, and how
    /// many of its stanzas were handled.
    pub(crate) fn move_to(&self, to: &Arc<Outbox>, h: u32) -> Result<(Vec<i64>, u32), TooHigh> {
        let mut inner = self.lock();
        let Some(extra) = &mut inner.extra else {
            return Ok((Vec::new(), 0));
        };
        let Some(managed) = &mut extra.managed else {
            return Ok((Vec::new(), 0));
        };
        // Whoever is still there has been sent the rest; only what it acknowledged counts.
        let ids = managed.resume(h)?;
        let handled = managed.handled();
        let managed = extra.managed.take();
        // A resumed stream begins active (XEP-0352 section 5.1).
        let mut held = mem::take(&mut extra.held);
        held.inactive = false;
        extra.moved = Some(Arc::clone(to));
        keep_uncounted(&mut inner.bytes);
        drop(inner);
        to.lock().extra = Some(Box::new(Extra {
            managed,
            held,
            moved: None,
            returned: false,
        }));
        Ok((ids, handled))
    }

    /// Writes more of what a resumed stream has not got.
    pub(crate) fn pump(self: &Arc<Self>, turn: &mut Turn) -> Pump {
        let mut inner = self.lock();
        let room = inner.limit as usize / 2;
        let inner = &mut *inner;
        let Some(extra) = &mut inner.extra else {
            return Pump::Live;
        };
        let Some(managed) = &mut extra.managed else {
            return Pump::Live;
        };
        let pump = managed.pump(&mut inner.bytes, room);
        if matches!(pump, Pump::Live) {
            inner.release();
            if inner.managed().is_some_and(Managed::asks) {
                inner.bytes.extend_from_slice(REQUEST.as_bytes());
            }
        }
        inner.wake_later(self, turn);
        pump
    }

    /// What [`Pump::Read`] asked for. Returns the messages that are not there any more.
    pub(crate) fn fill(
        self: &Arc<Self>,
        ids: &[(i64, How)],
        turn: &mut Turn,
        text: impl FnMut(i64, How, &mut Vec<u8>) -> bool,
    ) -> Vec<i64> {
        let mut inner = self.lock();
        let room = inner.limit as usize / 2;
        let Inner { bytes, extra, .. } = &mut *inner;
        let managed = extra.as_mut().and_then(|extra| extra.managed.as_mut());
        let gone = managed.map_or_else(Vec::new, |managed| managed.fill(ids, bytes, room, text));
        inner.wake_later(self, turn);
        gone
    }

    /// Whether a resumed stream has not got everything yet.
    pub(crate) fn is_resuming(&self) -> bool {
        self.lock()
            .managed()
            .is_some_and(|managed| managed.is_behind() && !managed.detached)
    }

    /// Writes a stream that may be resumed: nothing is taken any more. False for any other.
    pub(crate) fn write_stream(self: &Arc<Self>, out: &mut Writer) -> bool {
        let mut inner = self.lock();
        inner.shut = true;
        // Presence that was held is of the last moment too.
        inner.hold_no_more();
        let Some(managed) = inner
            .managed()
            .filter(|managed| managed.enabled && managed.resumable.is_some())
        else {
            return false;
        };
        managed.write(out);
        true
    }

    pub(crate) fn read_stream(&self, from: &mut Reader<'_>) -> Option<()> {
        let managed = Managed::read(from)?;
        self.lock().extra.get_or_insert_default().managed = Some(managed);
        Some(())
    }

    /// Messages that the client has not acknowledged.
    pub(crate) fn unacknowledged(&self) -> Vec<i64> {
        self.lock()
            .managed()
            .map_or_else(Vec::new, |managed| managed.unacknowledged())
    }

    /// The client looks at what it gets, or does not (XEP-0352).
    pub fn set_active(self: &Arc<Self>, active: bool, turn: &mut Turn) {
        let mut inner = self.lock();
        inner.extra.get_or_insert_default().held.inactive = !active;
        if active {
            inner.release();
            inner.wake_later(self, turn);
        }
    }

    /// The client has said that it does not look.
    pub(crate) fn is_inactive(&self) -> bool {
        self.lock().extra.as_ref().is_some_and(|extra| extra.held.inactive)
    }
}

impl Inner {
    pub(super) fn managed(&mut self) -> Option<&mut Managed> {
        self.extra.as_mut().and_then(|extra| extra.managed.as_mut())
    }

    /// As [`Outbox::push`], where there is more to it than appending.
    pub(super) fn push(&mut self, item: Item<'_>, write: impl FnOnce(&mut Vec<u8>)) -> Option<Taking> {
        let Some(extra) = &mut self.extra else {
            return self.append(write);
        };
        let detached = extra.managed.as_ref().is_some_and(|managed| managed.detached);
        if detached || extra.held.inactive {
            match item {
                Item::Transient => return Some(Taking::Trusted),
                Item::Presence(from) => {
                    let mut presence = Vec::new();
                    write(&mut presence);
                    if !extra.held.hold(from, presence) {
                        self.release();
                    }
                    return Some(Taking::Trusted);
                }
                Item::Own => self.release(),
                Item::Archived { .. } | Item::Other if !detached => self.release(),
                Item::Archived { .. } | Item::Other => {}
            }
        }
        self.send(item, write)
    }

    /// The connection is closing, and takes nothing. A stream that may be resumed behind it is given what only comes once,
    /// such as what is said in a room: else it would miss that between what it had before and what it is given then. What
    /// the archive has waits there.
    pub(super) fn note(&mut self, item: Item<'_>, write: impl FnOnce(&mut Vec<u8>)) -> Option<Taking> {
        let limit = self.limit as usize;
        let extra = self.extra.as_mut()?;
        let managed = extra.managed.as_mut()?;
        if !managed.enabled || managed.resumable.is_none() || managed.has_given_up() {
            return None;
        }
        let last = match item {
            Item::Archived { .. } | Item::Transient => return None,
            Item::Presence(from) => {
                let mut presence = Vec::new();
                write(&mut presence);
                if extra.held.hold(from, presence) {
                    return Some(Taking::Trusted);
                }
                None
            }
            Item::Own | Item::Other => {
                let mut text = Vec::new();
                write(&mut text);
                Some(text.into_boxed_slice())
            }
        };
        if !matches!(item, Item::Other) {
            for presence in extra.held.take() {
                managed.sent(Entry::Copy(presence), false, limit);
            }
        }
        if let Some(text) = last {
            managed.sent(Entry::Copy(text), false, limit);
        }
        Some(Taking::Acknowledges)
    }

    /// What was held is noted as if it had been sent to a connection that is gone.
    fn hold_no_more(&mut self) {
        if let Some(managed) = self.managed() {
            managed.detach();
            self.release();
        }
    }

    /// What was held goes out.
    fn release(&mut self) {
        let Some(extra) = &mut self.extra else { return };
        if extra.held.is_empty() {
            return;
        }
        for presence in extra.held.take() {
            self.send(Item::Other, |out| out.extend_from_slice(&presence));
        }
    }

    fn send(&mut self, item: Item<'_>, write: impl FnOnce(&mut Vec<u8>)) -> Option<Taking> {
        let limit = self.limit as usize;
        let Inner { bytes, extra, .. } = self;
        let managed = extra.as_mut().and_then(|extra| extra.managed.as_mut());
        let Some(managed) = managed.filter(|managed| managed.enabled) else {
            return self.append(write);
        };
        if managed.detached && managed.has_given_up() {
            return None;
        }
        let taking = if managed.has_given_up() {
            Taking::Trusted
        } else {
            Taking::Acknowledges
        };
        let behind = managed.is_behind();
        let entry_of = |text: &[u8]| match item {
            Item::Archived { id, how } => Entry::Archived { id, how },
            _ => Entry::Copy(text.into()),
        };
        if behind {
            let entry = if let Item::Archived { id, how } = item {
                Entry::Archived { id, how }
            } else {
                let mut text = Vec::new();
                write(&mut text);
                Entry::Copy(text.into_boxed_slice())
            };
            managed.sent(entry, false, limit);
            return Some(taking);
        }
        let before = bytes.len();
        write(bytes);
        if bytes.len() <= limit || before == 0 {
            let entry = entry_of(&bytes[before..]);
            if managed.sent(entry, true, limit) {
                bytes.extend_from_slice(REQUEST.as_bytes());
            }
            return Some(taking);
        }
        // Too much for a reader that does not read: it is written when the stream is resumed.
        let entry = entry_of(&bytes[before..]);
        managed.sent(entry, false, limit);
        bytes.truncate(before);
        let resumable = managed.resumable.is_some();
        self.end_slow_reader();
        if !resumable {
            self.shut = true;
        }
        Some(taking)
    }
}

const REQUEST: &str = "<r xmlns='urn:xmpp:sm:3'/>";

fn answer(h: u32) -> String {
    format!("<a xmlns='{}' h='{h}'/>", ns::SM)
}
