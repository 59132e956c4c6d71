//! Stream management of one stream (XEP-0198): what the client has not acknowledged, and what it may be told is done.
//!
//! *Outbound*: a stanza that the archive has is remembered by its id and read again where it is needed again; only of
//! others there is a copy. So a client that acknowledges nothing costs a few bytes a message, up to a limit, behind
//! which it is not waited for any more ([`Managed::give_up`]).
//!
//! *Inbound*: each stanza that comes opens a [`Receipt`](super::Receipt), which is closed when its effects are durable,
//! or where it has none. `<a/>` covers what stands before the first that is open (guarantee G1).

use std::collections::VecDeque;

use crate::saved::{Reader, Writer};

/// Stanzas that a client may leave unacknowledged.
const UNACKNOWLEDGED: usize = 10_000;

/// Archived messages that are read at once for a stream that is resumed.
const READ_AT_ONCE: usize = 100;

/// How a message of the archive is sent to a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// As it came.
    Direct,
    /// With the time at which it came (XEP-0203): it has waited.
    Late,
    /// A copy of what another resource got, or sent (XEP-0280).
    Received,
    Sent,
}

impl How {
    const ALL: [How; 4] = [How::Direct, How::Late, How::Received, How::Sent];
}

/// Stands before a copy where a stream is written down; others are the place in [`How::ALL`].
const COPY: i64 = -1;

/// A stanza that was not acknowledged.
pub(crate) enum Entry {
    Archived { id: i64, how: How },
    Copy(Box<[u8]>),
}

/// What makes a stream resumable.
#[derive(Clone, Debug)]
pub(crate) struct Resumable {
    /// The "SM-ID", and the key of the inbound counter in the store. A guest's stream has none.
    pub(crate) id: Box<str>,
    pub(crate) key: Option<i64>,
    /// How long it is waited for, as the client was told.
    pub(crate) seconds: u32,
}

/// What is next for a stream that was resumed.
pub(crate) enum Pump {
    /// Everything was written; from now on it is live.
    Live,
    AwaitDrained,
    Read(Vec<(i64, How)>),
}

/// The client claims to have got more than it was sent (section 4, "handled-count-too-high").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooHigh {
    pub h: u32,
    pub sent: u32,
}

/// How a receipt ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// Nothing had to become durable, or it has been said that it cannot.
    Handled,
    Durable,
    /// The disk refused it: nothing is acknowledged until it takes something again (guarantee G6).
    Refused,
    /// The disk refused it, and nobody is told: its sender keeps it, and sends it again over the next stream, under the same
    /// number. Until then nothing from it on is acknowledged.
    Withheld,
}

#[derive(Default)]
pub(crate) struct Managed {
    /// `<enabled/>` was written: stanzas are counted from there.
    pub(crate) enabled: bool,
    pub(crate) resumable: Option<Resumable>,
    /// The connection is gone; the session waits for another.
    pub(crate) detached: bool,

    /// The last `h` of the client.
    acknowledged: u32,
    queue: VecDeque<Entry>,
    /// How many of them were written to the stream; with fewer than there are, it is behind.
    written: usize,
    copied: usize,
    /// An `<r/>` is unanswered.
    asked: bool,
    given_up: bool,
    /// Messages that were given up.
    lost: Vec<i64>,

    received: u32,
    /// Stanzas whose receipt is open, in order, and whether their effect was handed to the store.
    open: VecDeque<(u32, bool)>,
    refused: Option<u32>,
    /// Some of it is to come again: what the disk takes meanwhile does not make up for it.
    withheld: bool,
    told: u32,
    /// An `<r/>` of the client is to be answered when all up to this stanza is done.
    answer_at: Option<u32>,
}

impl Managed {
    pub(crate) fn new(resumable: Option<Resumable>) -> Managed {
        Managed {
            resumable,
            ..Managed::default()
        }
    }

    /// Whether what is for the client waits for more than its socket.
    pub(crate) fn is_behind(&self) -> bool {
        self.enabled && (self.detached || self.written < self.queue.len())
    }

    /// Whether a message of the archive is among what is not acknowledged. From behind, where the newest are.
    pub(crate) fn has(&self, wanted: i64) -> bool {
        let mut entries = self.queue.iter().rev();
        entries.any(|entry| matches!(entry, Entry::Archived { id, .. } if *id == wanted))
    }

    pub(crate) fn has_given_up(&self) -> bool {
        self.given_up
    }

    /// A stanza was written to the stream, or has to be later. True: an `<r/>` is due behind it.
    pub(crate) fn sent(&mut self, entry: Entry, written: bool, limit: usize) -> bool {
        if self.given_up {
            self.acknowledged = self.acknowledged.wrapping_add(1);
            return false;
        }
        if let Entry::Copy(bytes) = &entry {
            self.copied += bytes.len();
        }
        self.queue.push_back(entry);
        if written {
            self.written = self.queue.len();
        }
        if self.queue.len() > UNACKNOWLEDGED || self.copied > limit {
            self.give_up();
            return false;
        }
        written && !std::mem::replace(&mut self.asked, true)
    }

    /// The client acknowledges nothing: it is not waited for, and cannot resume.
    fn give_up(&mut self) {
        self.given_up = true;
        self.resumable = None;
        if self.detached {
            // None of it was written: it goes its way when the session ends, and nothing more is taken.
            return;
        }
        self.acknowledged = self.acknowledged.wrapping_add(self.queue.len() as u32);
        let ids = self.queue.drain(..).filter_map(|entry| match entry {
            Entry::Archived { id, how } if how != How::Sent => Some(id),
            _ => None,
        });
        self.lost.extend(ids);
        (self.written, self.copied) = (0, 0);
        self.queue = VecDeque::new();
    }

    /// `h` of the client. Returns the messages that it has got for certain.
    pub(crate) fn acknowledge(&mut self, h: u32) -> Result<Vec<i64>, TooHigh> {
        let count = h.wrapping_sub(self.acknowledged);
        if self.given_up {
            return Ok(Vec::new());
        }
        if count as usize > self.written {
            let sent = self.acknowledged.wrapping_add(self.written as u32);
            return Err(TooHigh { h, sent });
        }
        Ok(self.drop_first(count as usize))
    }

    fn drop_first(&mut self, count: usize) -> Vec<i64> {
        let mut ids = Vec::new();
        self.acknowledged = self.acknowledged.wrapping_add(count as u32);
        self.written -= count;
        self.asked = false;
        for entry in self.queue.drain(..count) {
            match entry {
                Entry::Archived { id, how } if how != How::Sent => ids.push(id),
                Entry::Archived { .. } => {}
                Entry::Copy(bytes) => self.copied -= bytes.len(),
            }
        }
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        ids
    }

    /// True once when an `<r/>` is due, because something was written behind the last.
    pub(crate) fn asks(&mut self) -> bool {
        self.written > 0 && !self.is_behind() && !std::mem::replace(&mut self.asked, true)
    }

    /// The connection is gone: everything that is not acknowledged is written again to the next one.
    pub(crate) fn detach(&mut self) {
        self.detached = true;
        self.asked = false;
    }

    /// Another stream goes on. Everything that it has not acknowledged is to be written.
    pub(crate) fn resume(&mut self, h: u32) -> Result<Vec<i64>, TooHigh> {
        let ids = self.acknowledge(h)?;
        self.detached = false;
        self.written = 0;
        self.asked = false;
        self.answer_at = None;
        // What was refused comes again, under the same number.
        self.received = self.handled();
        self.refused = None;
        self.withheld = false;
        Ok(ids)
    }

    /// What is written next; copies are appended to `bytes` as long as it stays within `room`.
    pub(crate) fn pump(&mut self, bytes: &mut Vec<u8>, room: usize) -> Pump {
        loop {
            match self.queue.get(self.written) {
                None => return Pump::Live,
                Some(Entry::Copy(copy)) => {
                    if !bytes.is_empty() && bytes.len() + copy.len() > room {
                        return Pump::AwaitDrained;
                    }
                    bytes.extend_from_slice(copy);
                    self.written += 1;
                }
                Some(Entry::Archived { .. }) if !bytes.is_empty() && bytes.len() > room / 2 => {
                    return Pump::AwaitDrained;
                }
                Some(Entry::Archived { .. }) => {
                    let ids = self.queue.range(self.written..).map_while(|entry| match entry {
                        Entry::Archived { id, how } => Some((*id, *how)),
                        Entry::Copy(_) => None,
                    });
                    return Pump::Read(ids.take(READ_AT_ONCE).collect());
                }
            }
        }
    }

    /// What was read for [`Pump::Read`]: `text` writes a message; false where it is not there any more, and then it
    /// was never sent. Returns those: nobody has to have them any more.
    pub(crate) fn fill(
        &mut self,
        ids: &[(i64, How)],
        bytes: &mut Vec<u8>,
        room: usize,
        mut text: impl FnMut(i64, How, &mut Vec<u8>) -> bool,
    ) -> Vec<i64> {
        let mut gone = Vec::new();
        for wanted in ids {
            match self.queue.get(self.written) {
                Some(Entry::Archived { id, how }) if (*id, *how) == *wanted => {}
                _ => break,
            }
            if bytes.len() > room {
                break;
            }
            if text(wanted.0, wanted.1, bytes) {
                self.written += 1;
            } else {
                self.queue.remove(self.written);
                gone.extend((wanted.1 != How::Sent).then_some(wanted.0));
            }
        }
        gone
    }

    /// The session has ended: the messages that nobody may count on it for, and copies of the other stanzas.
    /// No copies, if it was given up while it had a connection: that knows what it has written.
    pub(crate) fn end(&mut self) -> (Vec<i64>, Option<Vec<u8>>) {
        // Nobody comes back for it.
        self.resumable = None;
        let (mut ids, mut copies) = (std::mem::take(&mut self.lost), Vec::new());
        for entry in self.queue.drain(..) {
            match entry {
                Entry::Archived { id, how } if how != How::Sent => ids.push(id),
                Entry::Archived { .. } => {}
                Entry::Copy(bytes) => copies.extend_from_slice(&bytes),
            }
        }
        (self.written, self.copied) = (0, 0);
        let is_trusted = self.given_up && !self.detached;
        (ids, (!is_trusted).then_some(copies))
    }

    /// Messages that are not acknowledged.
    pub(crate) fn unacknowledged(&self) -> Vec<i64> {
        let ids = self.queue.iter().filter_map(|entry| match entry {
            Entry::Archived { id, how } if *how != How::Sent => Some(*id),
            _ => None,
        });
        ids.collect()
    }

    /// For another process: everything that is not acknowledged, and how many stanzas of the client are handled.
    pub(crate) fn write(&self, out: &mut Writer) {
        let Some(resumable) = &self.resumable else { return };
        let Some(key) = resumable.key else { return };
        out.bytes(resumable.id.as_bytes());
        out.number(key);
        out.number(i64::from(resumable.seconds));
        out.number(self.written as i64);
        out.number(i64::from(self.acknowledged));
        out.number(i64::from(self.handled()));
        for entry in &self.queue {
            match entry {
                Entry::Archived { id, how } => {
                    out.number(*how as i64);
                    out.number(*id);
                }
                Entry::Copy(bytes) => {
                    out.number(COPY);
                    out.bytes(bytes);
                }
            }
        }
    }

    pub(crate) fn read(from: &mut Reader<'_>) -> Option<Managed> {
        let resumable = Resumable {
            id: from.text()?.into(),
            key: Some(from.number()?),
            seconds: u32::try_from(from.number()?).ok()?,
        };
        let mut managed = Managed::new(Some(resumable));
        managed.enabled = true;
        managed.detach();
        let written = usize::try_from(from.number()?).ok()?;
        // Written from 32 bits each.
        managed.acknowledged = from.number()? as u32;
        managed.received = from.number()? as u32;
        managed.told = managed.received;
        while !from.0.is_empty() {
            let entry = match from.number()? {
                COPY => {
                    let bytes: Box<[u8]> = from.bytes()?.into();
                    managed.copied += bytes.len();
                    Entry::Copy(bytes)
                }
                how => Entry::Archived {
                    how: *How::ALL.get(usize::try_from(how).ok()?)?,
                    id: from.number()?,
                },
            };
            managed.queue.push_back(entry);
        }
        // The client may acknowledge what had been written to it.
        managed.written = written.min(managed.queue.len());
        Some(managed)
    }

    /// It is counted on from here; nothing has come yet.
    pub(crate) fn has_handled(&mut self, handled: u32) {
        (self.received, self.told) = (handled, handled);
    }

    /// A stanza has come; its number.
    pub(crate) fn receive(&mut self) -> u32 {
        self.received = self.received.wrapping_add(1);
        self.open.push_back((self.received, false));
        self.received
    }

    /// The effect of a stanza goes to the store. Returns the counter to be written with it: what stands before the first
    /// stanza that is not there yet. (One may be held up until its recipient has been read, while the next is not.)
    pub(crate) fn submit(&mut self, number: u32) -> u32 {
        if let Some(open) = self.open.iter_mut().find(|(open, _)| *open == number) {
            open.1 = true;
        }
        let first = self.open.iter().find(|(_, is_submitted)| !is_submitted);
        let withheld = self.refused.filter(|_| self.withheld);
        let firsts = first.map(|(first, _)| *first).into_iter().chain(withheld);
        firsts.map(|first| first.wrapping_sub(1)).fold(self.received, earlier)
    }

    /// A receipt is closed. Returns `h` where an answer is due.
    pub(crate) fn close(&mut self, number: u32, outcome: Outcome) -> Option<u32> {
        // The last for what has no effect on the disk, the first for what has: commits come in order.
        let at = if self.open.back().is_some_and(|(open, _)| *open == number) {
            Some(self.open.len() - 1)
        } else {
            self.open.iter().position(|(open, _)| *open == number)
        };
        if let Some(at) = at {
            self.open.remove(at);
        }
        match outcome {
            Outcome::Handled => {}
            Outcome::Durable if self.withheld => {}
            Outcome::Durable => self.refused = None,
            Outcome::Refused | Outcome::Withheld => {
                let first = self.refused.map_or(number, |refused| earlier(refused, number));
                self.refused = Some(first);
                self.withheld |= outcome == Outcome::Withheld;
            }
        }
        let due = self.answer_at?;
        let h = self.handled();
        let done = self.open.front().is_none_or(|(first, _)| is_before(due, *first));
        if done {
            self.answer_at = None;
            self.told = h;
            return Some(h);
        }
        None
    }

    /// An `<r/>` came. The answer, if it can be given at once.
    pub(crate) fn requested(&mut self) -> Option<u32> {
        if self.open.is_empty() {
            self.answer_at = None;
            self.told = self.handled();
            return Some(self.told);
        }
        self.answer_at = Some(self.received);
        None
    }

    /// Nothing is on its way.
    pub(crate) fn is_settled(&self) -> bool {
        self.open.is_empty()
    }

    /// `h` for the client: what stands before the first stanza that is not done.
    pub(crate) fn handled(&self) -> u32 {
        let open = self.open.front().map(|(first, _)| first);
        let firsts = open.into_iter().chain(&self.refused);
        let handled = firsts.map(|first| first.wrapping_sub(1)).fold(self.received, earlier);
        // Never less than the client was told.
        if is_before(handled, self.told) {
            self.told
        } else {
            handled
        }
    }

    /// As after a restart.
    #[cfg(test)]
    pub(crate) fn set_counters(&mut self, acknowledged: u32, received: u32) {
        (self.acknowledged, self.received, self.told) = (acknowledged, received, received);
    }
}

/// Counters wrap at 2^32 (section 4): the nearer way round tells which is first.
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn earlier(a: u32, b: u32) -> u32 {
    if is_before(a, b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archived(id: i64) -> Entry {
        Entry::Archived { id, how: How::Direct }
    }

    fn enabled(acknowledged: u32, received: u32) -> Managed {
        let mut managed = Managed {
            enabled: true,
            ..Managed::default()
        };
        managed.set_counters(acknowledged, received);
        managed
    }

    #[test]
    fn acknowledgements_over_the_end_of_the_numbers() {
        let mut managed = enabled(u32::MAX - 1, 0);
        for id in 1..=4 {
            managed.sent(archived(id), true, 1000);
        }
        assert_eq!(managed.acknowledge(u32::MAX), Ok(vec![1]));
        assert_eq!(managed.acknowledge(1), Ok(vec![2, 3]));
        assert_eq!(managed.acknowledge(1), Ok(vec![]));
        assert_eq!(managed.acknowledge(3), Err(TooHigh { h: 3, sent: 2 }));
        assert_eq!(managed.acknowledge(0), Err(TooHigh { h: 0, sent: 2 }), "going back");
        assert_eq!(managed.acknowledge(2), Ok(vec![4]));
    }

    #[test]
    fn receipts_over_the_end_of_the_numbers() {
        let mut managed = enabled(0, u32::MAX - 1);
        let numbers: Vec<u32> = (0..3).map(|_| managed.receive()).collect();
        assert_eq!(numbers, [u32::MAX, 0, 1]);
        assert_eq!(managed.handled(), u32::MAX - 1);
        assert_eq!(managed.requested(), None);
        assert_eq!(managed.close(u32::MAX, Outcome::Durable), None);
        assert_eq!(managed.handled(), u32::MAX);
        assert_eq!(managed.close(1, Outcome::Handled), None);
        assert_eq!(managed.handled(), u32::MAX);
        assert_eq!(managed.close(0, Outcome::Durable), Some(1));
        assert_eq!(managed.requested(), Some(1));
    }

    #[test]
    fn the_counter_on_disk_covers_what_is_there() {
        let mut managed = enabled(0, 0);
        let numbers: Vec<u32> = (0..4).map(|_| managed.receive()).collect();
        // The first has no effect, the second is held up.
        managed.close(numbers[0], Outcome::Handled);
        assert_eq!(managed.submit(numbers[2]), 1);
        assert_eq!(managed.submit(numbers[1]), 3);
        assert_eq!(managed.submit(numbers[3]), 4);
    }

    #[test]
    fn what_the_disk_refused_is_not_acknowledged_until_it_takes_something() {
        let mut managed = enabled(0, 0);
        for (outcome, h) in [
            (Outcome::Durable, 1),
            (Outcome::Refused, 1),
            (Outcome::Handled, 1),
            (Outcome::Durable, 4),
        ] {
            let number = managed.receive();
            managed.close(number, outcome);
            assert_eq!(managed.requested(), Some(h));
        }
    }

    #[test]
    fn what_is_to_come_again_is_acknowledged_nowhere_until_it_has() {
        let mut managed = enabled(0, 0);
        let numbers: Vec<u32> = (0..4).map(|_| managed.receive()).collect();
        managed.close(numbers[0], Outcome::Durable);
        managed.submit(numbers[1]);
        managed.submit(numbers[2]);
        // Out of order, as where one of them waits for its account.
        managed.close(numbers[2], Outcome::Withheld);
        managed.close(numbers[1], Outcome::Withheld);
        assert_eq!(managed.submit(numbers[3]), 1, "nor in the store");
        managed.close(numbers[3], Outcome::Durable);
        assert_eq!(managed.requested(), Some(1));
        managed.detach();
        assert!(managed.resume(0).is_ok());
        assert_eq!(managed.handled(), 1);
        let again = managed.receive();
        assert_eq!((again, managed.submit(again)), (2, 2));
        managed.close(again, Outcome::Durable);
        assert_eq!(managed.requested(), Some(2));
    }

    #[test]
    fn a_resumed_stream_gets_what_it_has_not_acknowledged() {
        let mut managed = enabled(0, 0);
        assert!(managed.sent(archived(7), true, 1000), "asked for at once");
        assert!(
            !managed.sent(Entry::Copy(b"<iq/>".as_slice().into()), true, 1000),
            "once"
        );
        managed.sent(archived(9), true, 1000);
        managed.detach();
        managed.sent(archived(11), false, 1000);
        assert_eq!(managed.resume(1), Ok(vec![7]));
        let mut bytes = Vec::new();
        let Pump::Read(ids) = managed.pump(&mut bytes, 1000) else {
            panic!("expected a read")
        };
        assert_eq!((bytes.as_slice(), ids.len()), (b"<iq/>".as_slice(), 2));
        let gone = managed.fill(&ids, &mut bytes, 1000, |id, _, out| {
            out.extend_from_slice(format!("<{id}/>").as_bytes());
            id == 9
        });
        assert_eq!(gone, [11]);
        assert!(matches!(managed.pump(&mut bytes, 1000), Pump::Live));
        assert!(managed.asks() && !managed.asks());
        // The last was not there any more, so it does not count.
        assert_eq!(managed.acknowledge(4), Err(TooHigh { h: 4, sent: 3 }));
        assert_eq!(managed.acknowledge(3), Ok(vec![9]));
    }

    #[test]
    fn who_acknowledges_nothing_is_given_up() {
        let mut managed = enabled(0, 0);
        managed.resumable = Some(Resumable {
            id: "x".into(),
            key: Some(1),
            seconds: 60,
        });
        for id in 0..=UNACKNOWLEDGED as i64 {
            managed.sent(archived(id), true, 1000);
        }
        assert!(managed.has_given_up() && managed.resumable.is_none());
        managed.sent(archived(-1), true, 1000);
        assert_eq!(managed.acknowledge(5), Ok(vec![]));
        let (ids, copies) = managed.end();
        assert_eq!((ids.len(), copies), (UNACKNOWLEDGED + 1, None));

        let mut managed = enabled(0, 0);
        managed.sent(Entry::Copy(vec![0; 600].into()), true, 1000);
        managed.sent(Entry::Copy(vec![0; 600].into()), true, 1000);
        assert!(managed.has_given_up());
    }
}
