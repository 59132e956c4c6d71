//! One link: what is for a domain, from where it waits until it is acknowledged.
//!
//! A stanza comes into the queue, goes out over a stream, and stands among what was sent until the peer has said that it
//! has it: by XEP-0198, or, where the peer cannot do that, by answering a ping that went behind it (what came before on
//! the stream has been handled by then, RFC 6120 section 10.1). What is in the spool is deleted only then. If the stream
//! breaks, the next one begins with what is not acknowledged.
//!
//! The queue in memory has a limit. Of what is in the spool only the place is kept behind it, and it is read page by page
//! once the peer takes it.

use std::collections::VecDeque;
use std::sync::Arc;

use module::Now;

use stanza::{StanzaError, StreamCondition};

use super::outbound::too_long;
use super::poison::{Suspect, Trial};
use super::time::{Ages, Tick};
use super::{Failure, Linked, Resume};
use crate::sessions::escaped;
use crate::{Bound, TooHigh, Turn};

/// What was sent and is not acknowledged: stanzas, and bytes. More waits until something is.
const WINDOW: usize = 1_024;
const WINDOW_BYTES: usize = 512 * 1024;

/// Where the peer cannot acknowledge, and nothing of the spool was sent, so many stanzas go out before it is asked: they
/// are remembered only to be sent again if the stream breaks.
const UNASKED: usize = 64;

/// The store hears once in so many seconds that a domain was reached.
const REMEMBERED_FOR: i64 = 24 * 3_600;

/// The id of the ping that is answered behind what was sent; a token of this process and a number are appended.
pub(super) const PING_PREFIX: &str = "link-";

/// A stanza on its way.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) text: Arc<str>,
    /// Its key in the spool.
    pub(super) key: Option<u64>,
    pub(super) what: What,
}

impl Item {
    /// Whether it is the same stanza. One that is in the spool may have been read anew.
    pub(super) fn is(&self, other: &Item) -> bool {
        match (self.key, other.key) {
            (None, None) => Arc::ptr_eq(&self.text, &other.text),
            (one, other) => one == other,
        }
    }
}

/// What matters of a stanza when it does not get there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// An IQ request: sent again it might be carried out twice.
    Request,
    /// Presence, for which the truth is told when a link breaks.
    Presence,
    /// Nobody is told of it.
    Silent,
    Other,
}

/// The peer was asked what it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Of the ping, where it is one.
    number: u32,
    /// How many were sent before.
    up_to: u32,
    at: Tick,
}

/// The stream that stanzas go out by.
pub(super) struct Stream {
    pub(super) local: Box<str>,
    pub(super) bound: Bound,
    /// The peer acknowledges by XEP-0198.
    pub(super) is_managed: bool,
    pub(super) began: Tick,
    /// Something that was sent over it.
    pub(super) has_acknowledged: bool,
    /// A stanza is tried on it.
    pub(super) trial: Option<Trial>,
    /// The peer has ended it with an error.
    pub(super) why: Option<StreamCondition>,
    /// We end it.
    pub(super) is_given_up: bool,
}

impl Stream {
    pub(super) fn new(local: &str, bound: Bound, is_managed: bool, began: Tick) -> Stream {
        Stream {
            local: local.into(),
            bound,
            is_managed,
            began,
            has_acknowledged: false,
            trial: None,
            why: None,
            is_given_up: false,
        }
    }
}

#[derive(Default)]
pub(super) enum State {
    /// Nothing is under way.
    #[default]
    Idle,
    Dialing,
    Up(Stream),
}

/// What follows from a new stream.
pub(super) struct Began {
    /// These may leave the spool.
    pub(super) keys: Vec<u64>,
    /// Requests that may have been carried out or not.
    pub(super) lost: Vec<Arc<str>>,
    /// What the peer does not take, and what its sender is told.
    pub(super) refused: Vec<(Item, StanzaError)>,
}

/// What becomes of a stanza that is given to a link.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Took {
    /// It is on its way, or waits.
    Taken,
    /// A stream is to be made.
    Dial,
    /// Too much waits in memory.
    Full,
}

#[derive(Default)]
pub(super) struct Link {
    pub(super) state: State,
    /// Read from the spool, before all else.
    pub(super) replay: VecDeque<Item>,
    pub(super) queue: VecDeque<Item>,
    /// Of both.
    pub(super) bytes: usize,
    pub(super) sent: VecDeque<Item>,
    sent_bytes: usize,
    /// Of what was sent over this stream, so many are acknowledged.
    acknowledged: u32,
    pub(super) asked: Option<Asked>,
    /// It has answered a ping: so it has a way to us, and silence means something.
    pub(super) has_answered: bool,
    pings: u32,
    /// Of this process, in the ids of its pings: an answer to one of another process is none.
    pub(super) token: u64,
    /// Of the last managed stream that we have opened: its id, and until when it can be resumed, in seconds.
    pub(super) resumable: Option<(Box<str>, u32)>,
    /// The next attempt asks to go on with this.
    pub(super) resumes: Option<Resume>,
    /// The longest stanza that the peer takes, by what it said last.
    max_bytes: Option<usize>,
    /// The attempt that is under way asks to go on with the stream that went last.
    pub(super) is_resuming: bool,
    /// So many stanzas of the peer were handled on the stream that is to be resumed.
    pub(super) heard: u32,

    /// Batches that are on their way into the store: what is said behind them is sent behind them.
    pub(super) writes: usize,
    /// Rows in the spool.
    pub(super) spooled: u64,
    /// The spool has rows that are not in memory: behind this key.
    pub(super) unread: bool,
    read_up_to: u64,
    is_reading: bool,
    /// A row came while the spool was read.
    has_more: bool,
    last_key: u64,
    pub(super) ages: Ages,

    /// When there was a stream last; None: never. And what the store knows of it.
    pub(super) reached: Option<Tick>,
    pub(super) remembered: Option<Tick>,
    /// In a row.
    pub(super) failures: u32,
    pub(super) failed_at: Option<Tick>,
    pub(super) failure: Option<Failure>,
    /// No attempt is made before.
    pub(super) rests_until: Option<Tick>,
    /// Streams in a row that ended soon, with nothing acknowledged.
    pub(super) short_lived: u32,
    pub(super) suspect: Option<Suspect>,
    /// There was a stream, it broke, and none could be made since.
    pub(super) is_broken: bool,
    /// The last stream did not end in good order, and cannot be resumed by the peer.
    pub(super) is_torn: bool,
    /// The last stream did not end in good order.
    pub(super) is_missed: bool,
    /// The store knows the pair.
    pub(super) is_known: bool,
}

impl Link {
    /// The key of the next row. Above all that were given out, also by an earlier process.
    pub(super) fn next_key(&mut self, now: Now) -> u64 {
        let by_clock = u64::try_from(now.0).unwrap_or_default() << 16;
        self.last_key = by_clock.max(self.last_key + 1);
        self.last_key
    }

    /// Rows that are in the store alone.
    pub(super) fn found(&mut self, rows: u64, last: u64) {
        self.spooled += rows;
        self.unread |= rows > 0;
        self.last_key = self.last_key.max(last);
        self.ages.inherit(self.last_key);
    }

    /// Takes a stanza. `limit`: bytes that may wait in memory.
    pub(super) fn take(&mut self, item: Item, limit: usize, at: Tick, turn: &mut Turn) -> Took {
        let is_over = self.bytes + item.text.len() > limit && self.bytes > 0;
        match item.key {
            // It was read from the spool before it came here.
            Some(key) if key <= self.read_up_to => return Took::Taken,
            Some(_) if self.unread || is_over => {
                // It is read when its turn comes.
                self.unread = true;
                self.has_more = true;
            }
            None if is_over => return Took::Full,
            key => {
                self.read_up_to = key.unwrap_or(self.read_up_to);
                self.bytes += item.text.len();
                self.queue.push_back(item);
            }
        }
        match self.state {
            State::Idle => return Took::Dial,
            State::Dialing => {}
            State::Up(_) => self.pump(at, turn),
        }
        Took::Taken
    }

    /// Sends what the stream takes.
    pub(super) fn pump(&mut self, at: Tick, turn: &mut Turn) {
        let State::Up(stream) = &mut self.state else { return };
        let outbox = &stream.bound.outbox;
        loop {
            if !matches!(stream.trial, None | Some(Trial::Answered)) {
                break;
            }
            // What is not in the spool does not overtake what is there and was said before.
            let queue = match self.replay.is_empty() {
                false => &mut self.replay,
                true if self.unread => break,
                true => &mut self.queue,
            };
            let Some(item) = queue.front() else { break };
            if self.sent.len() >= WINDOW || self.sent_bytes >= WINDOW_BYTES {
                break;
            }
            if !outbox.has_room(item.text.len()) {
                outbox.want_drained(turn);
                break;
            }
            outbox.say(&item.text, turn);
            let Some(item) = queue.pop_front() else { break };
            self.bytes -= item.text.len();
            self.sent_bytes += item.text.len();
            self.sent.push_back(item);
            if stream.trial.is_some() {
                stream.trial = Some(Trial::Sent(at));
            }
        }
        self.ask(false, at, turn);
    }

    /// Asks the peer what it has, however little that is: what is only remembered is not to be sent again hours later.
    pub(super) fn ask_behind(&mut self, at: Tick, turn: &mut Turn) {
        self.ask(true, at, turn);
    }

    /// Asks the peer what it has, unless it was asked already.
    fn ask(&mut self, is_forced: bool, at: Tick, turn: &mut Turn) {
        let State::Up(stream) = &self.state else { return };
        let is_much = self.sent.len() >= UNASKED || self.sent_bytes >= WINDOW_BYTES / 2;
        let is_due = is_forced || stream.is_managed || is_much || self.sent.iter().any(|item| item.key.is_some());
        // Before a trial it is asked only to hear that it is there.
        let is_needed = (is_due && !self.sent.is_empty()) || stream.trial == Some(Trial::Asked);
        if self.asked.is_some() || !is_needed {
            return;
        }
        let outbox = &stream.bound.outbox;
        if stream.is_managed {
            outbox.say(&format!("<r xmlns='{}'/>", stanza::ns::SM), turn);
        } else {
            self.pings = self.pings.wrapping_add(1);
            let (from, to, id) = (escaped(&stream.local), escaped(stream.bound.jid.as_str()), self.pings);
            let ping = format!(
                "<iq type='get' id='{PING_PREFIX}{:016x}-{id}' from='{from}' to='{to}'><ping xmlns='{}'/></iq>",
                self.token,
                stanza::ns::PING
            );
            outbox.say(&ping, turn);
        }
        self.asked = Some(Asked {
            number: self.pings,
            up_to: self.acknowledged.wrapping_add(self.sent.len() as u32),
            at,
        });
    }

    /// `<a h=''/>`. Returns the keys of what may leave the spool.
    pub(super) fn acknowledge(&mut self, h: u32, at: Tick, turn: &mut Turn) -> Result<Vec<u64>, TooHigh> {
        let sent = self.acknowledged.wrapping_add(self.sent.len() as u32);
        let count = h.wrapping_sub(self.acknowledged) as usize;
        if count > self.sent.len() {
            return Err(TooHigh { h, sent });
        }
        self.asked = None;
        if let State::Up(stream) = &mut self.state {
            if count > 0 {
                (stream.has_acknowledged, stream.trial) = (true, None);
                self.suspect = None;
            } else if stream.trial == Some(Trial::Asked) {
                stream.trial = Some(Trial::Answered);
            }
        }
        let keys = self.forget(count);
        self.pump(at, turn);
        Ok(keys)
    }

    /// The ping of this number was answered; an answer that nobody waits for is none.
    pub(super) fn answered(&mut self, number: u32, at: Tick, turn: &mut Turn) -> Vec<u64> {
        let is_managed = matches!(&self.state, State::Up(stream) if stream.is_managed);
        match self.asked {
            Some(asked) if asked.number == number && !is_managed => {
                self.has_answered = true;
                self.acknowledge(asked.up_to, at, turn).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// The first `count` of what was sent have arrived.
    fn forget(&mut self, count: usize) -> Vec<u64> {
        let mut keys = Vec::new();
        for item in self.sent.drain(..count) {
            self.sent_bytes -= item.text.len();
            keys.extend(item.key);
        }
        self.acknowledged = self.acknowledged.wrapping_add(count as u32);
        self.leave_spool(keys.len() as u64);
        keys
    }

    fn leave_spool(&mut self, rows: u64) {
        self.spooled = self.spooled.saturating_sub(rows);
        if self.spooled == 0 {
            self.ages.nothing_waits();
        }
    }

    /// Looks whether an answer is overdue. True: the peer answers, and did not: the stream is to be given up. Where it has
    /// never answered, as it has no way to us, what its connection took is all that will ever be known.
    pub(super) fn is_overdue(&mut self, seconds: i64, at: Tick, turn: &mut Turn, keys: &mut Vec<u64>) -> bool {
        let (State::Up(stream), Some(asked)) = (&self.state, self.asked) else {
            return false;
        };
        let answers = stream.is_managed || self.has_answered;
        if at.since(asked.at) < seconds {
            return false;
        }
        // What waits in our own outbox it cannot have.
        if answers || !stream.bound.outbox.is_drained() {
            return true;
        }
        keys.extend(self.acknowledge(asked.up_to, at, turn).unwrap_or_default());
        false
    }

    /// There is a stream. Returns the keys of what may leave the spool; the requests that were on their way when the
    /// stream before it broke: nobody can tell whether they were carried out; and what the peer does not take.
    pub(super) fn up(&mut self, stream: Stream, linked: &Linked, at: Tick, turn: &mut Turn) -> Began {
        // Of a stream that something was sent behind it says nothing; and one that lost its memory may know of less than it
        // has acknowledged. Then all is sent again.
        let is_of_the_last = std::mem::take(&mut self.is_resuming);
        let handled = linked.resumed.or(linked.handled).filter(|_| is_of_the_last);
        let handled = handled.map(|h| h.wrapping_sub(self.acknowledged) as usize);
        let handled = handled.filter(|&count| count <= self.sent.len()).unwrap_or_default();
        if handled > 0 {
            self.suspect = None;
        }
        let keys = self.forget(handled);
        self.acknowledged = linked.resumed.unwrap_or_default();
        self.asked = None;
        self.resumes = None;
        self.resumable = linked.resumable.clone();
        let mut lost = Vec::new();
        if linked.resumed.is_some() && self.suspect.is_none() {
            for item in &self.sent {
                stream.bound.outbox.say(&item.text, turn);
            }
        } else {
            self.sent_bytes = 0;
            for item in std::mem::take(&mut self.sent).into_iter().rev() {
                // With `h` it is known that it did not arrive.
                if item.what == What::Request && linked.handled.or(linked.resumed).is_none() {
                    lost.push(item.text);
                } else {
                    self.bytes += item.text.len();
                    self.replay.push_front(item);
                }
            }
            lost.reverse();
        }
        self.state = State::Up(Stream {
            trial: self.trial(),
            ..stream
        });
        self.reached = Some(at);
        self.failures = 0;
        self.failure = None;
        self.rests_until = None;
        self.is_missed = false;
        self.max_bytes = linked.max_bytes;
        let refused = self.take_refused();
        self.pump(at, turn);
        Began { keys, lost, refused }
    }

    /// Whether the peer would not take a stanza of so many bytes.
    pub(super) fn is_too_long(&self, bytes: usize) -> bool {
        self.max_bytes.is_some_and(|max| bytes > max)
    }

    /// What waits and would not be taken.
    fn take_refused(&mut self) -> Vec<(Item, StanzaError)> {
        let mut taken = Vec::from_iter(self.take_convicted());
        let Some(max) = self.max_bytes else { return taken };
        for queue in [&mut self.replay, &mut self.queue] {
            if queue.iter().any(|item| item.text.len() > max) {
                let (long, rest): (Vec<_>, Vec<_>) = queue.drain(..).partition(|item| item.text.len() > max);
                queue.extend(rest);
                for item in long {
                    self.bytes -= item.text.len();
                    self.spooled = self.spooled.saturating_sub(u64::from(item.key.is_some()));
                    taken.push((item, too_long()));
                }
            }
        }
        taken
    }

    /// When it was reached, if the store is to know.
    pub(super) fn is_news(&mut self) -> Option<Tick> {
        let reached = self.reached?;
        let is_news = self
            .remembered
            .is_none_or(|known| reached.since(known) >= REMEMBERED_FOR);
        is_news.then(|| {
            self.remembered = Some(reached);
            reached
        })
    }

    /// The stream is gone. True: something is left to be sent, or to be known.
    pub(super) fn down(&mut self, at: Tick) -> bool {
        self.reached = Some(at);
        self.state = State::Idle;
        self.asked = None;
        self.is_waited_for()
    }

    /// A stream broke that may go on, and something was sent over it.
    pub(super) fn is_to_be_resumed(&self) -> bool {
        self.resumable.is_some() && !self.sent.is_empty()
    }

    pub(super) fn is_waited_for(&self) -> bool {
        !self.sent.is_empty() || !self.queue.is_empty() || !self.replay.is_empty() || self.unread
    }

    /// None could be made. What is in the spool stays there alone; returns the rest, and whether there was a stream before.
    pub(super) fn failed(&mut self, failure: Failure, at: Tick) -> (Vec<Arc<str>>, bool) {
        self.state = State::Idle;
        self.failures = self.failures.saturating_add(1);
        self.failed_at = Some(at);
        self.failure = Some(failure);
        self.resumable = None;
        self.resumes = None;
        self.acknowledged = 0;
        let was_up = self.reached.is_some() && !std::mem::replace(&mut self.is_broken, true);
        let (mut refused, mut kept) = (Vec::new(), false);
        let all = self
            .sent
            .drain(..)
            .chain(self.replay.drain(..))
            .chain(self.queue.drain(..));
        for item in all {
            match item.key {
                Some(_) => kept = true,
                None if item.what == What::Silent || (was_up && item.what == What::Presence) => {}
                None => refused.push(item.text),
            }
        }
        (self.sent_bytes, self.bytes) = (0, 0);
        if kept {
            self.unread = true;
            self.has_more = true;
        }
        if self.unread {
            self.read_up_to = 0;
        }
        (refused, was_up)
    }

    /// Where the spool is to be read on from, if it is to be read now.
    pub(super) fn read_from(&mut self) -> Option<u64> {
        let is_wanted = self.unread && !self.is_reading && self.replay.is_empty() && matches!(self.state, State::Up(_));
        is_wanted.then(|| {
            self.is_reading = true;
            self.has_more = false;
            self.read_up_to
        })
    }

    /// What was read behind this key. `is_last`: there was no more then.
    pub(super) fn has_read(
        &mut self,
        after: u64,
        rows: Vec<(u64, Arc<str>)>,
        is_last: bool,
        at: Tick,
        turn: &mut Turn,
    ) -> Vec<(Item, StanzaError)> {
        self.is_reading = false;
        // It was asked for by another stream, which has ended meanwhile.
        if !matches!(self.state, State::Up(_)) || after != self.read_up_to {
            return Vec::new();
        }
        for (key, text) in rows {
            self.read_up_to = key;
            self.bytes += text.len();
            self.replay.push_back(Item {
                text,
                key: Some(key),
                what: What::Other,
            });
        }
        self.unread = !is_last || self.has_more;
        let refused = self.take_refused();
        self.pump(at, turn);
        refused
    }

    /// The spool could not be read; it is tried again when something is sent or acknowledged.
    pub(super) fn could_not_read(&mut self) {
        self.is_reading = false;
        self.has_more = true;
    }

    /// These are given up.
    pub(super) fn drop_keys(&mut self, keys: &[u64]) {
        for queue in [&mut self.replay, &mut self.queue] {
            queue.retain(|item| {
                let stays = item.key.is_none_or(|key| !keys.contains(&key));
                if !stays {
                    self.bytes -= item.text.len();
                }
                stays
            });
        }
        self.dropped(keys.len() as u64);
    }

    /// A row is gone by another way than an acknowledgement.
    pub(super) fn dropped(&mut self, rows: u64) {
        self.leave_spool(rows);
        if self.spooled == 0 && !self.is_reading {
            self.unread = false;
        }
    }

    /// Stanzas in memory and in the spool, for who asks.
    pub(super) fn waiting(&self) -> (usize, u64) {
        let in_memory = self.queue.iter().chain(&self.replay).chain(&self.sent);
        (in_memory.filter(|item| item.key.is_none()).count(), self.spooled)
    }
}
