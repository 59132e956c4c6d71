//! Who speaks for the domain of a component now, and which of several streams gets what.
//!
//! Of several streams each has its share of the senders, by a hash: so what one account says comes in its order, over one
//! stream. But the answer to a request goes to the stream that has asked. When a stream ends what it had not written goes to the others, and before what comes meanwhile: that waits.

use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::quality::RandomState;
use module::Component;
use stanza::StanzaError;

use crate::outbox::Item;
use crate::{Bound, Outbox, SHARDS, Turn};

/// Bytes that wait while what a stream had not written is given to the others: a moment. More is refused.
const HELD_BYTES: usize = 4 * 1024 * 1024;

/// Requests of several streams of one component that are known to be open. With more all are forgotten, and answers go as
/// everything else does.
const ASKED: usize = 16_384;

/// Resources of contacts of other domains whose last presence is known, so that it is told once and not for each account
/// that has the contact. With more all are forgotten, and told anew.
const SEEN: usize = 16_384;

/// A request: its id, who asks, and who is asked.
pub(crate) type Question<'a> = (&'a str, &'a str, &'a str);

/// One configured component. Pushes to the outboxes happen under its lock, as those to a resource do under the lock of its
/// account. It may be taken under that, never the other way round.
pub(crate) struct Slot {
    pub(crate) component: Component,
    place: Mutex<Place>,
}

impl Slot {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that are configured, by domain.
#[derive(Default)]
pub(crate) struct Components {
    slots: HashMap<Box<str>, Slot, RandomState>,
    /// For the shares.
    hasher: RandomState,
}

impl Components {
    pub(crate) fn new(configured: &[Component]) -> Components {
        let slots = configured.iter().map(|component| {
            let slot = Slot {
                component: component.clone(),
                place: Mutex::default(),
            };
            (component.domain.clone(), slot)
        });
        Components {
            slots: slots.collect(),
            hasher: RandomState::default(),
        }
    }

    pub(crate) fn get(&self, domain: &str) -> Option<&Slot> {
        self.slots.get(domain)
    }

    /// Most servers have none, and need not look at addresses for it.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.values()
    }

    /// The share of a sender, any address of his.
    pub(crate) fn shares(&self) -> Shares<'_> {
        Shares(&self.hasher)
    }
}

/// Which stream is whose: the one with the highest number for him, so that nobody moves but with a stream that comes or
/// ends.
#[derive(Clone, Copy)]
pub(crate) struct Shares<'a>(&'a RandomState);

impl Shares<'_> {
    fn hash(self, question: Question<'_>) -> u64 {
        self.0.hash_one(question)
    }

    fn of<'p>(self, streams: &'p [Bound], sender: &str) -> Option<&'p Bound> {
        match streams {
            [] => None,
            [only] => Some(only),
            several => several.iter().max_by_key(|stream| self.0.hash_one((stream.id, sender))),
        }
    }
}

/// What waits for a stream to be given back.
pub(crate) struct Waiting {
    sender: Box<str>,
    pub(crate) text: Box<str>,
}

#[derive(Default)]
pub(crate) struct Place {
    /// In the order in which they came.
    pub(crate) streams: Vec<Bound>,
    /// Streams that have ended, and what they had not written is still being given to the others.
    returning: Vec<u64>,
    held: VecDeque<Waiting>,
    held_bytes: usize,
    /// Requests of streams that were not answered, by a hash of them: which stream has asked. Programs that do not know of
    /// each other may use the same ids for the same requests; then the first answer is of the first.
    asked: HashMap<u64, VecDeque<u64>, RandomState>,
    /// How many those are in all.
    asked_count: usize,
    /// Its last stream has ended, and what that means is still being told. Who comes meanwhile waits for that, so that
    /// nothing of his is taken for something of the stream before.
    pub(super) is_ending: bool,
    pub(super) coming: Vec<Arc<Outbox>>,
    /// The shard of accounts whose presence it is to be shown next, while it is.
    pub(super) shows_from: Option<usize>,
    /// The last presence that it was shown of contacts.
    pub(super) seen: HashMap<Box<str>, Seen, RandomState>,
}

/// Presence of a contact that a component was shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) is_available: bool,
    pub(super) hash: u64,
}

impl Place {
    /// Into the outbox of the stream that is the sender's, a bare JID. Else what he is told.
    pub(crate) fn give(
        &mut self,
        shares: Shares<'_>,
        sender: &str,
        bytes: usize,
        turn: &mut Turn,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), StanzaError> {
        self.give_to(None, shares, sender, bytes, turn, write)
    }

    /// The same for the answer to a request of a stream, if that is still there.
    pub(crate) fn give_to(
        &mut self,
        asker: Option<u64>,
        shares: Shares<'_>,
        sender: &str,
        bytes: usize,
        turn: &mut Turn,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), StanzaError> {
        let mut streams = self.streams.iter();
        let asker = streams.find(|stream| Some(stream.id) == asker && !stream.outbox.is_shut());
        if let Some(outbox) = asker.map(|stream| &stream.outbox) {
            return push(outbox, bytes, turn, write);
        }
        let Some(outbox) = shares.of(&self.streams, sender).map(|stream| &stream.outbox) else {
            return Err(StanzaError::remote_server_timeout());
        };
        let is_closing = outbox.is_shut();
        if !self.returning.is_empty() || is_closing && self.streams.len() > 1 {
            if self.held_bytes + bytes > HELD_BYTES {
                return Err(too_slow());
            }
            let mut text = Vec::with_capacity(bytes);
            write(&mut text);
            self.held_bytes += text.len();
            self.held.push_back(Waiting {
                sender: sender.into(),
                // What was checked to be UTF-8 together with escaped text.
                text: String::from_utf8(text).unwrap_or_default().into(),
            });
            return Ok(());
        }
        push(outbox, bytes, turn, write)
    }

    /// Whether it would take that now.
    pub(super) fn takes(&self, shares: Shares<'_>, sender: &str, bytes: usize) -> Result<(), StanzaError> {
        match shares.of(&self.streams, sender).map(|stream| &stream.outbox) {
            None => Err(StanzaError::remote_server_timeout()),
            Some(outbox) if self.returning.is_empty() && !outbox.is_shut() && !outbox.has_room(bytes) => {
                Err(too_slow())
            }
            Some(_) => Ok(()),
        }
    }

    /// A stream has asked somebody something, where there may be several.
    pub(crate) fn note_asked(&mut self, shares: Shares<'_>, stream: u64, question: Question<'_>) {
        if self.asked_count >= ASKED {
            self.asked.clear();
            self.asked_count = 0;
        }
        self.asked.entry(shares.hash(question)).or_default().push_back(stream);
        self.asked_count += 1;
    }

    /// Which stream has asked what is answered now.
    pub(crate) fn take_asker(&mut self, shares: Shares<'_>, question: Question<'_>) -> Option<u64> {
        if self.asked.is_empty() {
            return None;
        }
        let hash = shares.hash(question);
        let askers = self.asked.get_mut(&hash)?;
        let first = askers.pop_front();
        if askers.is_empty() {
            self.asked.remove(&hash);
        }
        self.asked_count -= usize::from(first.is_some());
        first
    }

    /// The same for what a stream that has ended had not written: it waits for nothing.
    pub(crate) fn give_again(
        &mut self,
        shares: Shares<'_>,
        sender: &str,
        text: &str,
        turn: &mut Turn,
    ) -> Result<(), StanzaError> {
        let Some(stream) = shares.of(&self.streams, sender) else {
            return Err(StanzaError::remote_server_timeout());
        };
        let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
        push(&stream.outbox, text.len(), turn, write)
    }

    /// A stream has ended. False: it was none of these.
    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.streams.len();
        self.streams.retain(|stream| stream.id != id);
        let was_here = self.streams.len() < before;
        if was_here {
            self.returning.push(id);
            self.asked.retain(|_, askers| {
                askers.retain(|stream| *stream != id);
                !askers.is_empty()
            });
            self.asked_count = self.asked.values().map(VecDeque::len).sum();
        }
        if self.streams.is_empty() {
            self.shows_from = None;
            self.seen.clear();
        }
        was_here
    }

    /// It was shown this of a contact.
    pub(super) fn saw(&mut self, full: &str, seen: Seen) {
        if self.seen.len() >= SEEN && !self.seen.contains_key(full) {
            self.seen.clear();
        }
        self.seen.insert(full.into(), seen);
    }

    /// The shard whose turn it is; what happens there from now on is told as it happens.
    pub(super) fn shows_next(&mut self) -> Option<usize> {
        let at = self.shows_from.filter(|at| *at < SHARDS)?;
        self.shows_from = Some(at + 1);
        Some(at)
    }

    /// Goes on once somebody has read what he was given.
    pub(super) fn shows_on(&mut self, turn: &mut Turn) {
        match (self.shows_from, self.streams.first()) {
            (Some(at), Some(stream)) if at < SHARDS => stream.outbox.want_drained(turn),
            _ => self.shows_from = None,
        }
    }

    /// What it had not written has been given back. What has waited for that goes its way; returned is what does not get
    /// there.
    pub(crate) fn returned(&mut self, id: u64, shares: Shares<'_>, turn: &mut Turn) -> Vec<(Waiting, StanzaError)> {
        self.returning.retain(|ended| *ended != id);
        if !self.returning.is_empty() {
            return Vec::new();
        }
        self.held_bytes = 0;
        let mut refused = Vec::new();
        for waiting in std::mem::take(&mut self.held) {
            let Waiting { sender, text } = &waiting;
            let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
            if let Err(error) = self.give(shares, sender, text.len(), turn, write) {
                refused.push((waiting, error));
            }
        }
        refused
    }
}

fn push(
    outbox: &Arc<Outbox>,
    bytes: usize,
    turn: &mut Turn,
    write: impl FnOnce(&mut Vec<u8>),
) -> Result<(), StanzaError> {
    // Nobody who sends may end the stream of a component by sending much.
    if !outbox.is_shut() && !outbox.has_room(bytes) {
        return Err(too_slow());
    }
    let taken = outbox.push(turn, Item::Other, write);
    // It is closing.
    taken.map(|_| ()).ok_or_else(StanzaError::remote_server_timeout)
}

fn too_slow() -> StanzaError {
    StanzaError::resource_constraint().text("the service does not read as fast as it is sent to")
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use stanza::{Condition, Jid};

    use super::*;

    struct World {
        hasher: RandomState,
        place: Place,
        turn: Turn,
    }

    impl World {
        /// With streams of these ids.
        fn of(ids: &[u64]) -> World {
            let streams = ids.iter().map(|id| Bound {
                jid: Jid::parse("irc.example.org").expect("an address"),
                id: *id,
                outbox: Outbox::new(1_000),
            });
            World {
                hasher: RandomState::default(),
                place: Place {
                    streams: streams.collect(),
                    ..Place::default()
                },
                turn: Turn::default(),
            }
        }

        /// Somebody whose share this stream has.
        fn sender_of(&self, id: u64) -> String {
            let shares = Shares(&self.hasher);
            let mut senders = (0..).map(|number| format!("u{number}@example.org"));
            let is_of = |sender: &String| {
                shares
                    .of(&self.place.streams, sender)
                    .is_some_and(|stream| stream.id == id)
            };
            senders.find(is_of).expect("somebody")
        }

        fn give(&mut self, sender: &str, text: &str) -> Option<Condition> {
            let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
            let shares = Shares(&self.hasher);
            let given = self.place.give(shares, sender, text.len(), &mut self.turn, write);
            given.err().map(|error| error.condition)
        }

        /// What has come to a stream.
        fn came(&self, id: u64) -> String {
            let stream = self.place.streams.iter().find(|stream| stream.id == id);
            let taken = stream.expect("it is there").outbox.take(Waker::noop(), true);
            String::from_utf8(taken.bytes).expect("text")
        }

        fn returned(&mut self, id: u64) -> Vec<Condition> {
            let refused = self.place.returned(id, Shares(&self.hasher), &mut self.turn);
            refused.into_iter().map(|(_, error)| error.condition).collect()
        }
    }

    #[test]
    fn what_comes_waits_for_what_a_stream_had_not_written() {
        let mut world = World::of(&[1, 2, 3]);
        let sender = world.sender_of(1);
        assert!(world.place.remove(1));
        assert!(!world.place.remove(1));
        assert_eq!(world.give(&sender, "<new/>"), None);
        assert_eq!(world.came(2) + &world.came(3), "");
        let shares = Shares(&world.hasher);
        let again = world.place.give_again(shares, &sender, "<old/>", &mut world.turn);
        assert!(again.is_ok());
        assert!(world.returned(1).is_empty());
        assert_eq!(world.came(2) + &world.came(3), "<old/><new/>");
        assert_eq!(world.give(&sender, "<newest/>"), None);
        assert_eq!(world.came(2) + &world.came(3), "<newest/>");
    }

    #[test]
    fn what_waits_is_limited_and_comes_back_where_nobody_is_left() {
        let mut world = World::of(&[1, 2]);
        world.place.remove(1);
        assert_eq!(world.give("a@example.org", "<new/>"), None);
        let much = "x".repeat(HELD_BYTES);
        assert_eq!(world.give("a@example.org", &much), Some(Condition::ResourceConstraint));
        world.place.remove(2);
        assert_eq!(
            world.give("a@example.org", "<new/>"),
            Some(Condition::RemoteServerTimeout)
        );
        assert!(world.returned(1).is_empty());
        assert_eq!(world.returned(2), [Condition::RemoteServerTimeout]);
    }

    #[test]
    fn one_that_is_closing_is_given_nothing() {
        let mut world = World::of(&[1, 2]);
        let sender = world.sender_of(1);
        world.place.streams[0].outbox.shut();
        assert_eq!(world.give(&sender, "<waits/>"), None);
        world.place.remove(1);
        assert!(world.returned(1).is_empty());
        assert_eq!(world.came(2), "<waits/>");
        world.place.streams[0].outbox.shut();
        assert_eq!(world.give(&sender, "<late/>"), Some(Condition::RemoteServerTimeout));
    }

    #[test]
    fn an_answer_goes_to_who_has_asked() {
        let mut world = World::of(&[1, 2]);
        let sender = world.sender_of(1);
        let question = ("id", "irc.example.org", &*sender);
        let shares = Shares(&world.hasher);
        world.place.note_asked(shares, 2, question);
        assert_eq!(
            world.place.take_asker(shares, ("other", "irc.example.org", &sender)),
            None
        );
        let asker = world.place.take_asker(shares, question);
        assert_eq!(asker, Some(2));
        // Once.
        assert_eq!(world.place.take_asker(shares, question), None);
        // Both ask the same.
        world.place.note_asked(shares, 1, question);
        world.place.note_asked(shares, 2, question);
        assert_eq!(world.place.take_asker(shares, question), Some(1));
        assert_eq!(world.place.take_asker(shares, question), Some(2));
        assert_eq!(world.place.take_asker(shares, question), None);
        assert_eq!(world.place.asked_count, 0);
        let write = |out: &mut Vec<u8>| out.extend_from_slice(b"<iq/>");
        let given = world.place.give_to(asker, shares, &sender, 5, &mut world.turn, write);
        assert!(given.is_ok());
        assert_eq!(world.came(2), "<iq/>");
    }
}
