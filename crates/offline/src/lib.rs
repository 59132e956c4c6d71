//! What waits for someone who is away (XEP-0160): a cursor over the archive, and its replay.
//!
//! A message that may wait stands in the archive before anybody is given it (`store::Places::WAITING`). So what waits
//! is not a copy but a place: everything up to the *cursor* has been delivered, and behind it the few messages are
//! noted that are in somebody's hands. A message is delivered when a session has acknowledged it (XEP-0198), or, where
//! the client does not do that, when its connection took it. A session that ends gives back what it had in its hands:
//! what no other session has is replayed to the next, read from the archive, in order.
//!
//! It is replayed page by page as the client reads, so neither memory nor the outbox grows with the number of
//! messages; and it goes before everything that arrives meanwhile.
//!
//! Without stream management the server sends a ping (XEP-0199) behind the last page: its answer, whatever it is, came
//! after all that was sent before, and so did a clean end of the stream.
//!
//! The cursor is written now and then ([`Backlog::to_save`]). One that is lost in a crash only brings messages again,
//! with the ids that they had.
//!
//! This crate is the state machine alone; the router executes what it says.

use std::collections::VecDeque;

use store::{Batch, Query, Range, View};

/// Messages read from the store at once, and sent before the next are read.
pub const PAGE: usize = 100;

/// Bytes of messages read at once.
const PAGE_BYTES: usize = 256 * 1024;

/// The id of the ping that follows the last page; a number is appended.
pub const PING_PREFIX: &str = "offline-";

/// Messages that a connection took without acknowledging them are remembered while so few came after them: it may
/// break, and then it matters whether another session has them.
const REMEMBERED: usize = 256;

/// Messages behind the cursor that are noted. With more, the first ones that were delivered are forgotten, and may be
/// delivered again after a restart: only an account whose first waiting message nobody wants gets so far.
const NOTED: usize = 65_536;

/// A cursor that no store has.
const NEVER_SAVED: i64 = i64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A page was asked of the store when this many messages had been added.
    Reading { added: u64, number: u32 },
    /// A page was sent; the next is read when the client has taken it.
    Sending,
    /// All was sent; the ping with this number has not been answered.
    Asking { ping: u32 },
}

#[derive(Debug, Clone)]
struct Replay {
    session: u64,
    /// The client acknowledges what it gets.
    acknowledges: bool,
    /// Behind which id it began, and how often something had been given back then.
    from: (i64, u32),
    /// Id of the last row that was looked at.
    sent: i64,
    /// What was sent, where the client does not acknowledge.
    given: Vec<i64>,
    /// What others were given meanwhile and this session is to get behind what waits.
    behind: VecDeque<i64>,
    /// Messages that came since it began: tells whether a page is the last.
    added: u64,
    phase: Phase,
}

/// A message that somebody was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Note {
    id: i64,
    /// Sessions that have it and have not acknowledged it.
    held: u16,
    /// Sessions whose connection took it and that never acknowledge.
    taken: u16,
    /// One has acknowledged it.
    sure: bool,
}

impl Note {
    fn is_delivered(&self) -> bool {
        self.sure || self.taken > 0
    }

    fn waits(&self) -> bool {
        !self.is_delivered() && self.held == 0
    }
}

#[derive(Debug, Clone, Default)]
struct Books {
    /// Every message up to this one is delivered, unless it is noted otherwise.
    known: i64,
    /// The cursor as the store has it.
    saved: i64,
    /// Messages behind `known` that nobody was given.
    untouched: u32,
    /// They were counted up to a limit, so there may be more. Known again when a replay has found the last.
    more: bool,
    /// Sessions that read the archive by themselves up to a message: they are not handed over that.
    told: Vec<(u64, i64)>,
    /// By id, ascending.
    notes: VecDeque<Note>,
    /// The number of the last page that was asked for, or of the last ping.
    last: u32,
    /// How often something was given back.
    returned: u32,
    replay: Option<Replay>,
}

/// The backlog of one account, as its owner knows it. Small, as every account has one, and in nearly all of them
/// nothing waits.
#[derive(Debug, Clone, Default)]
pub struct Backlog(Option<Box<Books>>);

/// What the owner has to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Nothing,
    Read(Read),
    /// Tell when the client has taken what was sent.
    AwaitDrained,
    /// Send a ping with this id.
    Ping(String),
}

/// A question to the store: the messages after this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    pub after: i64,
    /// Tells the answer from that to a question of an earlier replay.
    pub number: u32,
}

/// How a session takes what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    /// It will acknowledge it, or give it back.
    Acknowledges,
    /// Its connection takes it, and that is all that will be known.
    Trusted,
}

impl Backlog {
    /// As the store has it: the cursor, and how many messages wait behind it.
    pub fn new(cursor: i64, waiting: u64) -> Backlog {
        if waiting == 0 {
            return Backlog(None);
        }
        Backlog(Some(Box::new(Books {
            known: cursor,
            saved: cursor,
            untouched: u32::try_from(waiting).unwrap_or(u32::MAX),
            ..Books::default()
        })))
    }

    /// They were counted up to a limit, and reach it. Although no more than that may wait, there may be more: those that
    /// were in somebody's hands when the process died.
    #[must_use]
    pub fn and_maybe_more(mut self) -> Backlog {
        if let Some(books) = &mut self.0 {
            books.more = true;
        }
        self
    }

    /// Messages that nobody has.
    pub fn waiting(&self) -> u64 {
        self.0.as_ref().map_or(0, |books| books.waiting())
    }

    /// Whether what arrives for the bare JID has to go behind what is being handed over.
    pub fn is_replaying(&self) -> bool {
        matches!(self.replay(), Some(replay) if !matches!(replay.phase, Phase::Asking { .. }))
    }

    /// Who is being given what waits.
    pub fn session(&self) -> Option<u64> {
        self.replay().map(|replay| replay.session)
    }

    fn replay(&self) -> Option<&Replay> {
        self.0.as_ref().and_then(|books| books.replay.as_ref())
    }

    /// The books, opened for a message with this id.
    fn open(&mut self, id: i64) -> &mut Books {
        self.0.get_or_insert_with(|| {
            Box::new(Books {
                known: id - 1,
                saved: id - 1,
                ..Books::default()
            })
        })
    }

    /// A message was put into the archive and nobody was given it.
    pub fn add(&mut self, id: i64) {
        let books = self.open(id);
        books.reach(id);
        books.untouched = books.untouched.saturating_add(1);
        if let Some(replay) = &mut books.replay {
            replay.added += 1;
        }
    }

    /// A message was put into the archive and these sessions were given it; `alone`: the account has no others.
    pub fn give(&mut self, id: i64, takers: impl IntoIterator<Item = Taking>, alone: bool) {
        let books = self.open(id);
        books.reach(id);
        let note = books.note(id);
        for taker in takers {
            match taker {
                Taking::Acknowledges => note.held = note.held.saturating_add(1),
                Taking::Trusted => note.taken = note.taken.saturating_add(1),
            }
        }
        books.settle(alone);
    }

    /// As [`Backlog::give`], for the session that is being given what waits: it gets the message behind that.
    pub fn give_behind(&mut self, id: i64) {
        let books = self.open(id);
        if let Some(replay) = &mut books.replay {
            replay.behind.push_back(id);
            replay.added += 1;
        }
    }

    /// A session has acknowledged these.
    pub fn acknowledge(&mut self, ids: impl IntoIterator<Item = i64>) {
        let Some(books) = &mut self.0 else { return };
        for id in ids {
            if let Ok(at) = books.find(id) {
                let note = &mut books.notes[at];
                note.sure = true;
                note.held = note.held.saturating_sub(1);
            }
        }
        books.settle(false);
    }

    /// A session has ended that had these in its hands. What nobody else has waits.
    pub fn give_back(&mut self, ids: impl IntoIterator<Item = i64>) {
        let Some(books) = &mut self.0 else { return };
        books.returned = books.returned.wrapping_add(1);
        for id in ids {
            if let Ok(at) = books.find(id) {
                let note = &mut books.notes[at];
                note.held = note.held.saturating_sub(1);
            }
        }
        books.settle(false);
    }

    /// A connection has broken that was trusted to take this, and did not.
    pub fn take_back(&mut self, id: i64) {
        let closed = self.0.is_none();
        let books = self.open(id);
        if closed {
            // The store's cursor is further on already.
            books.saved = NEVER_SAVED;
        }
        books.returned = books.returned.wrapping_add(1);
        match books.find(id) {
            Ok(at) => {
                let note = &mut books.notes[at];
                note.taken = note.taken.saturating_sub(1);
            }
            // Delivered, as it seemed, and forgotten: nobody else had it.
            Err(_) => {
                books.note(id);
            }
        }
    }

    /// A session was told that the archive goes up to this message, and reads it by itself (XEP-0386 section 3.2).
    pub fn tell(&mut self, session: u64, up_to: i64) {
        if let Some(books) = &mut self.0 {
            books.told.push((session, up_to));
        }
    }

    /// Whether a session was told of this message.
    pub fn was_told(&self, session: u64, id: i64) -> bool {
        let mut told = self.0.iter().flat_map(|books| &books.told);
        told.any(|(other, up_to)| *other == session && id <= *up_to)
    }

    /// A session may be given what waits.
    pub fn start(&mut self, session: u64, acknowledges: bool) -> Step {
        let Some(books) = &mut self.0 else { return Step::Nothing };
        if books.replay.is_some() || books.waiting() == 0 {
            return Step::Nothing;
        }
        books.replay = Some(Replay {
            session,
            acknowledges,
            from: (books.cursor(), books.returned),
            sent: books.cursor(),
            given: Vec::new(),
            behind: VecDeque::new(),
            added: 0,
            phase: Phase::Sending,
        });
        books.read()
    }

    /// Whether the answer to this question is still wanted.
    pub fn expects(&self, session: u64, read: Read) -> bool {
        self.replay().is_some_and(|replay| {
            replay.session == session && matches!(replay.phase, Phase::Reading { number, .. } if number == read.number)
        })
    }

    /// The stream of the session is managed from now on: what it was given before is still asked for with the ping, what
    /// comes now it acknowledges.
    pub fn acknowledges_now(&mut self, session: u64) {
        let replay = self.0.as_mut().and_then(|books| books.replay.as_mut());
        if let Some(replay) = replay.filter(|replay| replay.session == session) {
            replay.acknowledges = true;
        }
    }

    /// Whether the session that is being given what waits is to get this message of a page.
    pub fn wants(&self, id: i64) -> bool {
        let Some(books) = &self.0 else { return false };
        let Some(replay) = &books.replay else { return false };
        if replay.behind.contains(&id) {
            return true;
        }
        match books.find(id) {
            Ok(at) => books.notes[at].waits(),
            Err(_) => books.untouched > 0 && id > books.known,
        }
    }

    /// What was asked has come: so many messages were found, these were sent, and `last` is the last one that was
    /// looked at; what the client has no room for is read again once it has taken the rest.
    pub fn page(&mut self, found: usize, sent: &[i64], last: Option<i64>) -> Step {
        let Some(books) = &mut self.0 else { return Step::Nothing };
        for id in sent {
            books.hand_over(*id);
        }
        let Some(replay) = &mut books.replay else {
            return Step::Nothing;
        };
        let Phase::Reading { added: seen, .. } = replay.phase else {
            return Step::Nothing;
        };
        if found > 0 {
            replay.sent = last.unwrap_or(replay.sent);
            replay.phase = Phase::Sending;
            return Step::AwaitDrained;
        }
        if seen != replay.added {
            return books.read();
        }
        // There is no more, whatever was counted. What was noted and not found has been deleted: nobody can be given it,
        // and to look for it again would never end.
        (books.untouched, books.more) = (0, false);
        let (from, returned) = replay.from;
        if returned == books.returned {
            let gone = books.notes.iter_mut().filter(|note| note.id > from && note.waits());
            gone.for_each(|note| note.sure = true);
        }
        let asks = !replay.given.is_empty();
        if !asks {
            books.replay = None;
            books.settle(false);
            return Step::Nothing;
        }
        books.last = books.last.wrapping_add(1);
        replay.phase = Phase::Asking { ping: books.last };
        Step::Ping(format!("{PING_PREFIX}{}", books.last))
    }

    /// The client has taken what was sent.
    pub fn drained(&mut self, session: u64) -> Step {
        match &mut self.0 {
            Some(books)
                if books
                    .replay
                    .as_ref()
                    .is_some_and(|replay| replay.session == session && replay.phase == Phase::Sending) =>
            {
                books.read()
            }
            _ => Step::Nothing,
        }
    }

    /// The answer to a ping: all that was sent before has arrived.
    pub fn answered(&mut self, session: u64, id: &str) {
        let asked = self
            .replay()
            .filter(|replay| replay.session == session)
            .map(|replay| replay.phase);
        let Some(Phase::Asking { ping }) = asked else { return };
        if id.strip_prefix(PING_PREFIX).and_then(|number| number.parse().ok()) == Some(ping) {
            self.finish(true);
        }
    }

    /// The session gets no more of what waits. `clean`: the client ended its stream in good order, so it read all that
    /// had been sent. True: what it was sent waits again, as nobody knows whether it came.
    pub fn ended(&mut self, session: u64, clean: bool) -> bool {
        if let Some(books) = &mut self.0 {
            books.told.retain(|(other, _)| *other != session);
        }
        let replay = self.replay().filter(|replay| replay.session == session);
        let Some(phase) = replay.map(|replay| replay.phase) else {
            return false;
        };
        let arrived = clean && matches!(phase, Phase::Asking { .. });
        self.finish(arrived);
        !arrived
    }

    /// A session has read these in the archive: they need not be handed over.
    pub fn has_read(&mut self, ids: &[i64]) {
        let Some(books) = &mut self.0 else { return };
        for id in ids {
            if books.find(*id).is_ok() || (books.untouched > 0 && *id > books.known) {
                let note = books.recall(*id);
                note.taken = note.taken.saturating_add(1);
            }
        }
        books.settle(false);
    }

    /// The store could not read a page that was wanted: the messages stay for the next time.
    pub fn failed(&mut self) {
        self.finish(false);
    }

    fn finish(&mut self, arrived: bool) {
        let Some(books) = &mut self.0 else { return };
        let Some(replay) = books.replay.take() else { return };
        for id in replay.given {
            if let Ok(at) = books.find(id) {
                let note = &mut books.notes[at];
                note.held = note.held.saturating_sub(1);
                note.sure |= arrived;
            }
        }
        books.settle(false);
    }

    /// Messages behind the cursor that are delivered, to be noted for another process.
    pub fn delivered(&self) -> impl Iterator<Item = i64> {
        let notes = self.0.iter().flat_map(|books| &books.notes);
        notes.filter(|note| note.is_delivered()).map(|note| note.id)
    }

    /// As noted by an earlier process: it is delivered.
    pub fn was_delivered(&mut self, id: i64) {
        if let Some(books) = &mut self.0 {
            books.recall(id).sure = true;
            books.settle(false);
        }
    }

    /// As noted by an earlier process: a session has it and has not acknowledged it.
    pub fn was_given(&mut self, id: i64) {
        if let Some(books) = &mut self.0
            // Up to there somebody else has acknowledged it.
            && id > books.known
        {
            let note = books.recall(id);
            note.held = note.held.saturating_add(1);
        }
    }

    /// The cursor, if the store has an older one; it is taken for written, unless [`Backlog::not_saved`] says otherwise.
    pub fn to_save(&mut self) -> Option<i64> {
        let books = self.0.as_mut()?;
        let cursor = books.cursor();
        let changed = cursor != books.saved;
        books.saved = cursor;
        if books.notes.is_empty() && books.untouched == 0 && books.replay.is_none() {
            self.0 = None;
        }
        changed.then_some(cursor)
    }

    /// The store did not take this cursor: it is to be written again.
    pub fn not_saved(&mut self, cursor: i64) {
        // Nobody knows which one it has, so whatever comes is another.
        self.open(cursor + 1).saved = NEVER_SAVED;
    }
}

impl Books {
    fn waiting(&self) -> u64 {
        u64::from(self.untouched) + self.notes.iter().filter(|note| note.waits()).count() as u64
    }

    fn find(&self, id: i64) -> Result<usize, usize> {
        // Nearly always the last, or behind it.
        match self.notes.back() {
            None => Err(0),
            Some(last) if last.id < id => Err(self.notes.len()),
            Some(_) => self.notes.binary_search_by_key(&id, |note| note.id),
        }
    }

    /// This is the last message now: where there is nothing that nobody was given, all before it is known.
    fn reach(&mut self, id: i64) {
        if self.untouched == 0 {
            self.known = self.known.max(id - 1);
        }
    }

    fn note(&mut self, id: i64) -> &mut Note {
        let at = match self.find(id) {
            Ok(at) => at,
            Err(at) => {
                let note = Note {
                    id,
                    held: 0,
                    taken: 0,
                    sure: false,
                };
                self.notes.insert(at, note);
                at
            }
        };
        &mut self.notes[at]
    }

    /// The note of a message that was counted among those that nobody was given.
    fn recall(&mut self, id: i64) -> &mut Note {
        if self.find(id).is_err() && id > self.known {
            // Where there may be more, the last of those that were counted is not the last.
            self.untouched = self.untouched.saturating_sub(1).max(u32::from(self.more));
        }
        self.note(id)
    }

    /// A message of a page goes to the session that is being given what waits.
    fn hand_over(&mut self, id: i64) {
        let Some(replay) = &mut self.replay else { return };
        if let Some(at) = replay.behind.iter().position(|behind| *behind == id) {
            replay.behind.remove(at);
        }
        if !replay.acknowledges {
            replay.given.push(id);
        }
        let note = self.recall(id);
        note.held = note.held.saturating_add(1);
    }

    /// Moves on over what is delivered.
    fn settle(&mut self, alone: bool) {
        while let Some(first) = self.notes.front() {
            let forgotten = if self.untouched > 0 && first.id > self.known {
                // Something that nobody has may lie before it.
                first.is_delivered() && self.notes.len() > NOTED
            } else {
                let is_one_connection = first.taken == 1 && first.held == 0 && !first.sure;
                // What a connection took it may give back, and then another has it, or had it. But where it was the only
                // one, nothing has to be known for that.
                (first.sure && first.taken == 0)
                    || (alone && is_one_connection)
                    || (first.is_delivered() && self.notes.len() > REMEMBERED)
            };
            if !forgotten {
                break;
            }
            if self.untouched == 0 {
                self.known = self.known.max(first.id);
            }
            self.notes.pop_front();
        }
    }

    /// Up to which id everything is delivered.
    fn cursor(&self) -> i64 {
        let mut cursor = self.known;
        for note in &self.notes {
            if !note.is_delivered() {
                return cursor.min(note.id - 1);
            }
            if self.untouched == 0 {
                cursor = cursor.max(note.id);
            }
        }
        cursor
    }

    fn read(&mut self) -> Step {
        let Some(replay) = &mut self.replay else {
            return Step::Nothing;
        };
        self.last = self.last.wrapping_add(1);
        replay.phase = Phase::Reading {
            added: replay.added,
            number: self.last,
        };
        Step::Read(Read {
            after: replay.sent,
            number: self.last,
        })
    }
}

/// The query for the next page.
pub fn page(owner: &str, read: Read) -> Query {
    let mut range = Range::of(owner, View::Waiting, PAGE);
    range.after = Some(read.after);
    range.bytes = PAGE_BYTES;
    Query::Archive(Box::new(range))
}

/// Writes the cursor. What stands in no archive is deleted behind it.
pub fn save(owner: &str, cursor: i64) -> Batch {
    Batch::new().settle(owner, cursor)
}

#[cfg(test)]
mod tests;
