//! What waits to be written to one connection, and how its task is woken.
//!
//! The owner of an account pushes into the outbox of a resource while it holds the account's
//! lock: so the order in an outbox is the order in which the owner decided (carbons, archive and
//! roster pushes rely on it). The connection's task takes the bytes whole, once per poll. One
//! flat buffer, not a queue of `Bytes`: copying is cheaper below a few kilobytes
//! (`docs/decisions/0003-one-task-per-connection.md`), and an idle session owns no buffer.
//!
//! With stream management ([`managed`]) an outbox outlives its connection: what is pushed then is noted, and written
//! to the connection that resumes the stream, whose own outbox takes the notes over.

mod held;
mod managed;
mod receipt;
mod stream;
mod uncounted;

use std::cell::RefCell;
use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use module::Now;
use offline::Taking;
use stanza::{StanzaError, StreamError};

use crate::account::Moment;
use crate::wake::wake;
use crate::{Bound, Established, Turn, Vouched};

pub use managed::TooHigh;
pub(crate) use managed::{How, Outcome, Pump, Resumable};
pub(crate) use receipt::Receipt;
pub(crate) use stream::Moved;
pub use uncounted::uncounted;

use held::Held;
use managed::{Entry, Managed};

/// Buffers kept per thread for the next outbox that needs one. More are shared with other threads.
const POOLED_BUFFERS: usize = 64;
/// A buffer that grew beyond this is freed instead of pooled.
const POOLED_CAPACITY: usize = 64 * 1024;

/// Buffers that threads have given away for others: what a room says is written by the thread that hears of the commit,
/// and sent by those of the connections. More are freed, and so are larger ones.
const SHARED_BUFFERS: usize = 128;
const SHARED_CAPACITY: usize = 2 * 1024;
/// So many go from one to the other at a time.
const MOVED_BUFFERS: usize = POOLED_BUFFERS / 2;
/// What a new one has place for: two or three messages.
const NEW_CAPACITY: usize = 1_024;

thread_local! {
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}
static SHARED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

fn shared() -> MutexGuard<'static, Vec<Vec<u8>>> {
    SHARED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An empty buffer from this thread's pool, or from the others'.
fn take_buffer() -> Vec<u8> {
    POOL.with_borrow_mut(|pool| {
        if pool.is_empty() {
            let mut shared = shared();
            let kept = shared.len().saturating_sub(MOVED_BUFFERS);
            pool.extend(shared.drain(kept..));
        }
        pool.pop()
    })
    .unwrap_or_else(|| Vec::with_capacity(NEW_CAPACITY))
}

/// Gives a buffer back to this thread's pool, which shares what it has too many of.
pub fn give_buffer(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > POOLED_CAPACITY {
        return;
    }
    buffer.clear();
    POOL.with_borrow_mut(|pool| {
        pool.push(buffer);
        if pool.len() > POOLED_BUFFERS {
            let mut given = pool.split_off(pool.len() - MOVED_BUFFERS);
            given.retain(|buffer| buffer.capacity() <= SHARED_CAPACITY);
            let mut shared = shared();
            // Those for which there is no place are freed behind the lock.
            let free = SHARED_BUFFERS.saturating_sub(shared.len());
            let fits = given.len().min(free);
            shared.extend(given.drain(..fits));
            drop(shared);
        }
    });
}

/// What a connection's task is told, besides bytes to write.
pub enum Event {
    /// The account that SASL asked for.
    Account(auth::Lookup),
    /// The tokens that SASL asked for (XEP-0484).
    Tokens(auth::TokenLookup),
    /// A login is written down, or must not be one; with the new token of the client, if there is one.
    Recorded(Result<Option<Issued>, auth::Failure>),
    /// The password that SASL asked to have checked.
    Checked(bool),
    /// The invitation of the token that was shown (XEP-0445).
    Invited(Option<Box<accounts::invitations::Invitation>>),
    /// An account was made, or was not (XEP-0077).
    Registered(Result<(), StanzaError>),
    /// The verifiers that a login brought are written, or cannot be (XEP-0480).
    Upgraded,
    /// What somebody else says to the password.
    Decided(auth::Verdict),
    /// The answer to a request to bind a resource.
    Bound(Result<Bound, StanzaError>),
    /// The answer to a request to bind with [`Inline`](crate::Inline) features.
    Established(Box<Established>),
    /// The answer to a request to resume a stream (XEP-0198 section 5).
    Resumed(Result<Resumed, NotResumed>),
    /// A stanza that had to wait for its recipient to be read has gone on its way: those behind it may follow.
    Proceed,
    /// What the certificate of another server is worth.
    Vouched(Vouched),
    /// Whether the dialback key of another server is good (XEP-0220), or why that cannot be told.
    Verified(Result<bool, StanzaError>),
    /// Nothing came from the client for so long that it has to be found out whether it is there.
    Silent,
    /// Write what waits, then this error, then close.
    End(StreamError),
}

/// A new token of a client (XEP-0484 section 3.3).
pub struct Issued {
    pub secret: auth::Secret,
    /// Seconds since 1970.
    pub expires: i64,
}

/// A stream goes on with this connection.
pub struct Resumed {
    pub bound: Bound,
    /// The "SM-ID".
    pub id: Box<str>,
    /// How many stanzas of the client were handled.
    pub h: u32,
}

/// A stream does not go on; where it is known how many stanzas of it were handled, the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotResumed {
    NotFound {
        h: Option<u32>,
    },
    /// The stream is there, and stays; the client claims to have got more than it was sent.
    TooHigh(TooHigh),
    Failed(StanzaError),
}

/// What is pushed, as far as it matters to who takes it. Always one stanza.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item<'a> {
    /// A message that the archive has.
    Archived {
        id: i64,
        how: How,
    },
    /// Presence of somebody, by the full JID: only the last matters.
    Presence(&'a str),
    /// That the client is in a room, or out of it: behind the presence of others there, and before what is said then.
    Own,
    /// Of the moment: chat states.
    Transient,
    Other,
}

/// What only streams have that asked for it.
#[derive(Default)]
struct Extra {
    managed: Option<Managed>,
    held: Held,
    /// The stream goes on over there.
    moved: Option<Arc<Outbox>>,
    /// What it was given of what had waited waits again.
    returned: bool,
}

/// Small, as every session has one: what is rare is behind a pointer.
#[derive(Default)]
struct Inner {
    bytes: Vec<u8>,
    waker: Option<Waker>,
    #[allow(clippy::box_collection)] // nearly always absent: 8 bytes of every session instead of 24
    events: Option<Box<Vec<Event>>>,
    limit: u32,
    /// In the list of connections to wake at the end of a turn.
    dirty: bool,
    /// Nothing more is taken: the limit was reached, or the connection is gone.
    shut: bool,
    /// The owner wants to hear when everything was written.
    wants_drained: bool,
    /// Its connection waits for messages on their way.
    is_awaited: bool,
    extra: Option<Box<Extra>>,
}

/// What waits for a commit of a client is counted so ([`Outbox::fall_behind`]): messages by their bytes,
pub(crate) fn message_units(bytes: usize) -> u32 {
    1 + (bytes / MESSAGE_UNIT_BYTES).min(usize::from(u16::MAX / 2)) as u32
}
const MESSAGE_UNIT_BYTES: usize = 4 * 1024;
/// and above them anything else.
pub(crate) const DECISION: u32 = 1 << 16;

/// Messages of one client on their way into the archive, in those units: 64 short ones, or 256 KiB. With more, it is not
/// read from until half of them are there, so that no client fills the store's queue, nor its own outbox unseen.
const MESSAGE_UNITS: u32 = 64;

/// Bytes and events for one connection; shared by its task and the owner of its account.
pub struct Outbox {
    inner: Mutex<Inner>,
    /// Messages of this client on their way into the archive, and above them (by [`DECISION`]) its decisions that
    /// others will hear of, and what it sent behind them: all that waits for a commit. Here, because it is asked for
    /// with each stanza, and the account is not.
    behind: AtomicU32,
    /// When the client was heard last, a [`Moment`]. Here, so that a silent session needs no timer.
    pub(crate) heard: AtomicU32,
}

/// What the connection's task takes at each poll.
#[derive(Default)]
pub struct Taken {
    pub bytes: Vec<u8>,
    pub events: Vec<Event>,
}

impl Outbox {
    /// `limit`: bytes that may wait for a reader before its connection is ended
    /// (configuration: `limits.outbox_bytes`); more than 4 GiB are taken for 4 GiB.
    pub fn new(limit: usize) -> Arc<Outbox> {
        Arc::new(Outbox {
            inner: Mutex::new(Inner {
                limit: u32::try_from(limit).unwrap_or(u32::MAX),
                ..Inner::default()
            }),
            behind: AtomicU32::new(0),
            heard: AtomicU32::new(0),
        })
    }

    /// Something came from the client.
    pub fn heard(&self, now: Now) {
        self.heard.store(Moment::of(now.seconds()).0, Ordering::Relaxed);
    }

    /// Tells the connection's task with [`Event::Silent`] if the client was not heard for so many
    /// seconds; not again until as many have passed.
    pub(crate) fn tell_if_silent(self: &Arc<Self>, now: Now, seconds: u32, turn: &mut Turn) {
        let (now, heard) = (Moment::of(now.seconds()).0, self.heard.load(Ordering::Relaxed));
        // A clock that was put back would otherwise let a dead connection live until it has caught up.
        if now < heard || now - heard >= seconds {
            self.heard.store(now, Ordering::Relaxed);
            self.tell(turn, Event::Silent);
        }
    }

    /// Whether what this client sends on must wait, so that it does not overtake what it sent before.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::Acquire) != 0
    }

    /// Whether messages of this client are on their way into the archive.
    pub(crate) fn is_behind_messages(&self) -> bool {
        !self.behind.load(Ordering::Acquire).is_multiple_of(DECISION)
    }

    /// The same for what goes into the archive: messages do not overtake each other there.
    pub(crate) fn is_behind_decisions(&self) -> bool {
        self.behind.load(Ordering::Acquire) >= DECISION
    }

    pub(crate) fn fall_behind(&self, by: u32) {
        self.behind.fetch_add(by, Ordering::AcqRel);
    }

    /// Ends one [`Outbox::fall_behind`]; after what waited has gone out.
    pub(crate) fn catch_up(self: &Arc<Self>, by: u32) {
        let before = self.behind.fetch_sub(by, Ordering::AcqRel) % DECISION;
        let half = MESSAGE_UNITS / 2;
        if by < DECISION && before > half && before - by <= half {
            self.proceed();
        }
    }

    /// Whether too much of the client is on its way. Then [`Event::Proceed`] comes when it is less.
    pub(crate) fn is_to_wait(&self) -> bool {
        let units = || self.behind.load(Ordering::Acquire) % DECISION;
        if units() < MESSAGE_UNITS {
            return false;
        }
        self.lock().is_awaited = true;
        if units() <= MESSAGE_UNITS / 2 {
            // It became less in between, and nobody may have been told: so nobody waits.
            self.lock().is_awaited = false;
            return false;
        }
        true
    }

    fn proceed(self: &Arc<Self>) {
        let mut inner = self.lock();
        if !mem::take(&mut inner.is_awaited) {
            return;
        }
        inner.events.get_or_insert_default().push(Event::Proceed);
        let was_dirty = mem::replace(&mut inner.dirty, true);
        drop(inner);
        if !was_dirty {
            wake(Arc::clone(self), false);
        }
    }

    /// Whether so many more bytes fit and leave room for what comes besides. An empty outbox takes
    /// anything.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        let inner = self.lock();
        inner.bytes.is_empty() || inner.bytes.len() + bytes <= inner.limit as usize / 2
    }

    /// Its connection has taken all.
    pub(crate) fn is_drained(&self) -> bool {
        self.lock().bytes.is_empty()
    }

    /// Nothing is taken any more: its connection is closing.
    pub(crate) fn is_shut(&self) -> bool {
        let inner = self.lock();
        inner.shut && inner.extra.as_ref().is_none_or(|extra| extra.moved.is_none())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `write` append one stanza to what waits. None if the connection takes nothing any more; then
    /// nothing was written, and a message has to go elsewhere.
    pub(crate) fn push(
        self: &Arc<Self>,
        turn: &mut Turn,
        item: Item<'_>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<Taking> {
        let mut inner = self.lock();
        if let Some(moved) = inner.extra.as_ref().and_then(|extra| extra.moved.clone()) {
            // Something that was on its way when the stream moved.
            drop(inner);
            return moved.push(turn, item, write);
        }
        if inner.shut {
            return inner.note(item, write);
        }
        let accepted = if inner.extra.is_none() {
            inner.append(write)
        } else {
            inner.push(item, write)
        };
        inner.wake_later(self, turn);
        accepted
    }

    /// As [`Outbox::push`], for an answer of the stream itself.
    pub fn answer(self: &Arc<Self>, turn: &mut Turn, write: impl FnOnce(&mut Vec<u8>)) -> bool {
        self.push(turn, Item::Other, write).is_some()
    }

    /// Tells the connection's task something. Events are few: each answers a request of the
    /// connection itself, or ends it.
    pub fn tell(self: &Arc<Self>, turn: &mut Turn, event: Event) {
        let mut inner = self.lock();
        if matches!(event, Event::End(_)) {
            if inner.shut {
                return;
            }
            inner.shut = true;
        }
        inner.events.get_or_insert_default().push(event);
        inner.wake_later(self, turn);
    }

    /// Called by the connection's task: registers its waker *before* it looks, so that no wake-up
    /// falls between. `bytes`: whether the socket takes any; if not, they stay.
    pub fn take(&self, waker: &Waker, bytes: bool) -> Taken {
        let mut inner = self.lock();
        match &inner.waker {
            Some(known) if known.will_wake(waker) => {}
            _ => inner.waker = Some(waker.clone()),
        }
        inner.dirty = false;
        let bytes = if bytes { mem::take(&mut inner.bytes) } else { Vec::new() };
        Taken {
            bytes,
            events: inner.events.take().map_or_else(Vec::new, |events| *events),
        }
    }

    /// The owner wants [`crate::Router::drained`] to be called once all was written. Wakes the
    /// connection's task: it may have written all before it could see this.
    pub fn want_drained(self: &Arc<Self>, turn: &mut Turn) {
        let mut inner = self.lock();
        inner.wants_drained = true;
        inner.wake_later(self, turn);
    }

    /// True once after [`Outbox::want_drained`], if nothing waits.
    pub fn drained(&self) -> bool {
        let mut inner = self.lock();
        inner.bytes.is_empty() && mem::take(&mut inner.wants_drained)
    }

    /// The connection is gone: nothing more is taken. Returns what was never written.
    /// Where its stream may be resumed all is remembered but what stands before `<enabled/>` ([`uncounted`]).
    pub fn shut(&self) -> Vec<u8> {
        let mut inner = self.lock();
        if inner.managed().is_some_and(|managed| managed.detached) {
            return mem::take(&mut inner.bytes);
        }
        inner.shut = true;
        inner.waker = None;
        inner.events = None;
        mem::take(&mut inner.bytes)
    }

    /// Wakes the connection's task, unless it has taken everything already; called once per turn.
    pub(crate) fn wake(&self) {
        let inner = self.lock();
        let waker = if inner.dirty { inner.waker.clone() } else { None };
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Inner {
    /// Appends what is written if it fits. A reader that does not read costs only itself: what it has not taken goes
    /// back to the rules of delivery when its task ends the connection.
    fn append(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Option<Taking> {
        if self.bytes.capacity() == 0 {
            self.bytes = take_buffer();
        }
        let before = self.bytes.len();
        write(&mut self.bytes);
        let accepted = self.bytes.len() <= self.limit as usize || before == 0;
        if !accepted {
            self.bytes.truncate(before);
            self.shut = true;
            self.end_slow_reader();
        }
        accepted.then_some(Taking::Trusted)
    }

    fn end_slow_reader(&mut self) {
        let error = StreamError::resource_constraint().text("the client does not read what it is sent");
        self.events.get_or_insert_default().push(Event::End(error));
    }

    fn wake_later(&mut self, outbox: &Arc<Outbox>, turn: &mut Turn) {
        if !self.dirty {
            self.dirty = true;
            turn.wake(outbox);
        }
    }
}
