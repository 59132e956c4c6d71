//! What waits for someone who is away (XEP-0160), and how it is handed over.
//!
//! A waiting message is a row in the store, appended before the sender's turn is over, and stays
//! there until its recipient has shown to have it. It is handed over page by page as the client
//! reads, so neither memory nor the outbox grows with the number of messages; and it goes before
//! everything that arrives meanwhile: what comes during the replay is appended behind it.
//!
//! "Shown to have it" without stream management: after the last page the server sends a ping
//! (XEP-0199); its answer, whatever it is, came after all that was sent before, and so did a
//! clean end of the stream. A connection that broke instead gets the same messages again, which
//! is better than a lost one.
//!
//! This crate is the state machine alone; the router executes what it says.

use stanza::{Edits, Jid, JidRef, MessageType, Stanza, splice};
use store::{Column, ColumnKind, Op, Query, Row, Shape, Table, Value};

/// Messages read from the store at once, and sent before the next are read.
pub const PAGE: usize = 100;

/// The id of the ping that follows the last page; a number is appended.
pub const PING_PREFIX: &str = "offline-";

/// Waiting messages: when each came, and the stanza as it will be delivered.
pub static OFFLINE: Table = Table {
    name: "offline",
    shape: Shape::Archive,
    columns: &[
        Column {
            name: "received",
            kind: ColumnKind::Int,
        },
        Column {
            name: "stanza",
            kind: ColumnKind::Text,
        },
    ],
};

const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
const DELAY: &str = "urn:xmpp:delay";

/// Whether a message is worth keeping (XEP-0160 section 3): "normal" and "chat", unless it
/// carries nothing but a chat state.
pub fn is_kept(kind: MessageType, stanza: &Stanza<'_>) -> bool {
    matches!(kind, MessageType::Chat | MessageType::Normal)
        && stanza
            .children()
            .any(|child| child.ns() != CHAT_STATES && child.name() != "thread")
}

/// The stanza as it is kept: addressed, and stamped with the time it came (XEP-0203).
pub fn kept(
    stanza: &Stanza<'_>,
    from: JidRef<'_>,
    to: JidRef<'_>,
    mut edits: Edits,
    domain: &str,
    stamp: &str,
) -> String {
    edits.append(&format!("<delay xmlns='{DELAY}' from='{domain}' stamp='{stamp}'/>"));
    let mut text = Vec::with_capacity(stanza.element().source().len() + 128);
    splice(stanza, from.as_str(), Some(to.as_str()), &edits, &mut text);
    // `splice` writes text that was checked to be UTF-8 together with escaped text.
    String::from_utf8(text).unwrap_or_default()
}

/// Whether a stanza came from here once already: then it is still stored.
pub fn was_kept(stanza: &Stanza<'_>, domain: &str) -> bool {
    stanza
        .children()
        .any(|child| child.ns() == DELAY && child.attr("from").as_deref() == Some(domain))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A page was asked of the store when this many messages had been appended.
    Reading { appended: u64, number: u32 },
    /// A page was sent; the next is read when the client has taken it.
    Sending,
    /// All was sent; the ping with this number has not been answered.
    Asking { ping: u32 },
}

#[derive(Debug, Clone)]
struct Replay {
    session: u64,
    /// Id of the last row that was sent.
    sent: i64,
    sent_rows: u64,
    /// Rows that came since it began: tells whether a page is the last.
    appended: u64,
    phase: Phase,
}

/// The backlog of one account, as its owner knows it. Small, as every account has one, and in
/// nearly all of them nothing waits.
#[derive(Debug, Clone, Default)]
pub struct Backlog {
    /// Rows in the store; more than fit are taken for as many.
    waiting: u32,
    /// The number of the last page that was asked for, or of the last ping.
    last: u32,
    replay: Option<Box<Replay>>,
}

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

/// A question to the store: the rows after this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    pub after: i64,
    /// Tells the answer from that to a question of an earlier replay.
    pub number: u32,
}

/// What was delivered for certain and may go.
#[derive(Debug, Clone, PartialEq)]
pub struct Trim {
    pub op: Op,
    pub rows: u64,
}

impl Backlog {
    /// `waiting`: rows in the store.
    pub fn new(waiting: u64) -> Backlog {
        Backlog {
            waiting: rows(waiting),
            ..Backlog::default()
        }
    }

    pub fn waiting(&self) -> u64 {
        self.waiting.into()
    }

    /// True while live messages for the bare JID must queue behind the replay.
    pub fn is_replaying(&self) -> bool {
        matches!(&self.replay, Some(replay) if !matches!(replay.phase, Phase::Asking { .. }))
    }

    /// The session that is being given what waits.
    pub fn session(&self) -> Option<u64> {
        self.replay.as_ref().map(|replay| replay.session)
    }

    /// Keeps a message: the operation to put into the batch.
    pub fn append(&mut self, owner: &str, received: i64, stanza: String) -> Op {
        self.waiting = self.waiting.saturating_add(1);
        if let Some(replay) = &mut self.replay {
            replay.appended += 1;
        }
        let row: Row = vec![Value::Int(received), Value::Text(stanza.into_boxed_str())];
        Op::Append {
            table: &OFFLINE,
            owner: owner.into(),
            row,
        }
    }

    /// The append could not be written.
    pub fn append_failed(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A resource with a non-negative priority became available.
    pub fn start(&mut self, session: u64) -> Step {
        if self.replay.is_some() || self.waiting == 0 {
            return Step::Nothing;
        }
        self.replay = Some(Box::new(Replay {
            session,
            sent: 0,
            sent_rows: 0,
            appended: 0,
            phase: Phase::Sending,
        }));
        self.read()
    }

    /// Whether the answer to this question is still wanted.
    pub fn expects(&self, session: u64, read: Read) -> bool {
        self.replay.as_ref().is_some_and(|replay| {
            replay.session == session && matches!(replay.phase, Phase::Reading { number, .. } if number == read.number)
        })
    }

    /// What was asked has come: so many rows were found, and of these so many, up to this id, were
    /// sent to the session; the rest is read again once the client has taken them.
    pub fn page(&mut self, found: usize, sent: usize, last: Option<i64>) -> Step {
        let Some(replay) = self.replay.as_mut() else {
            return Step::Nothing;
        };
        let Phase::Reading { appended: seen, .. } = replay.phase else {
            return Step::Nothing;
        };
        if found > 0 {
            replay.sent = last.unwrap_or(replay.sent);
            replay.sent_rows += sent as u64;
            replay.phase = Phase::Sending;
            return Step::AwaitDrained;
        }
        if seen != replay.appended {
            return self.read();
        }
        if replay.sent_rows == 0 {
            self.waiting = 0;
            self.replay = None;
            return Step::Nothing;
        }
        self.last = self.last.wrapping_add(1);
        replay.phase = Phase::Asking { ping: self.last };
        Step::Ping(format!("{PING_PREFIX}{}", self.last))
    }

    /// The client has taken what was sent.
    pub fn drained(&mut self, session: u64) -> Step {
        match &self.replay {
            Some(replay) if replay.session == session && replay.phase == Phase::Sending => self.read(),
            _ => Step::Nothing,
        }
    }

    fn read(&mut self) -> Step {
        let Some(replay) = &mut self.replay else {
            return Step::Nothing;
        };
        self.last = self.last.wrapping_add(1);
        replay.phase = Phase::Reading {
            appended: replay.appended,
            number: self.last,
        };
        Step::Read(Read {
            after: replay.sent,
            number: self.last,
        })
    }

    /// The answer to a ping: what is delivered for certain may go.
    pub fn answered(&mut self, owner: &str, session: u64, id: &str) -> Option<Trim> {
        let replay = self.replay.as_ref().filter(|replay| replay.session == session)?;
        let Phase::Asking { ping } = replay.phase else {
            return None;
        };
        if id.strip_prefix(PING_PREFIX)?.parse() != Ok(ping) {
            return None;
        }
        self.forget_sent(owner)
    }

    /// The session is gone. `clean`: the client ended its stream in good order, so it read all
    /// that had been sent.
    pub fn ended(&mut self, owner: &str, session: u64, clean: bool) -> Option<Trim> {
        let replay = self.replay.as_ref().filter(|replay| replay.session == session)?;
        if clean && matches!(replay.phase, Phase::Asking { .. }) {
            return self.forget_sent(owner);
        }
        self.replay = None;
        None
    }

    /// The store could not read a page that was wanted: the messages stay for the next time.
    pub fn failed(&mut self) {
        self.replay = None;
    }

    fn forget_sent(&mut self, owner: &str) -> Option<Trim> {
        let replay = self.replay.take()?;
        self.waiting = self.waiting.saturating_sub(rows(replay.sent_rows));
        Some(Trim {
            op: Op::Trim {
                table: &OFFLINE,
                owner: owner.into(),
                up_to: replay.sent,
            },
            rows: replay.sent_rows,
        })
    }

    /// A trim of so many rows could not be written: they are still there.
    pub fn trim_failed(&mut self, rows: u64) {
        self.waiting = self.waiting.saturating_add(self::rows(rows));
    }
}

/// More rows than are counted are taken for as many as are.
fn rows(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The query for the next page.
pub fn page(owner: &Jid, read: Read) -> Query {
    Query::Page {
        table: &OFFLINE,
        owner: owner.as_str().into(),
        after: read.after,
        limit: PAGE,
    }
}

/// The stanza of a row.
pub fn stanza_of(row: &Row) -> Option<&str> {
    match row.get(1) {
        Some(Value::Text(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "juliet@example.org";

    fn three_waiting() -> Backlog {
        Backlog::new(3)
    }

    fn trimmed(trim: Option<Trim>) -> Option<i64> {
        match trim?.op {
            Op::Trim { up_to, .. } => Some(up_to),
            op => panic!("not a trim: {op:?}"),
        }
    }

    /// The question that a step asks, and what it asks for.
    fn read(step: Step, after: i64) -> Read {
        let Step::Read(read) = step else {
            panic!("expected a read, not {step:?}")
        };
        assert_eq!(read.after, after);
        read
    }

    #[test]
    fn all_is_handed_over_and_goes_when_the_client_has_answered() {
        let mut backlog = three_waiting();
        read(backlog.start(1), 0);
        assert!(backlog.is_replaying());
        assert_eq!(backlog.page(3, 3, Some(9)), Step::AwaitDrained);
        read(backlog.drained(1), 9);
        let Step::Ping(id) = backlog.page(0, 0, None) else {
            panic!("expected a ping")
        };
        assert!(!backlog.is_replaying(), "live messages may follow the ping");
        assert_eq!(trimmed(backlog.answered(OWNER, 1, "offline-77")), None);
        assert_eq!(trimmed(backlog.answered(OWNER, 2, &id)), None);
        assert_eq!(trimmed(backlog.answered(OWNER, 1, &id)), Some(9));
        assert_eq!(backlog.waiting(), 0);
        assert_eq!(backlog.start(1), Step::Nothing);
        backlog.trim_failed(3);
        assert_eq!(backlog.waiting(), 3);
        read(backlog.start(1), 0);
    }

    #[test]
    fn what_comes_meanwhile_is_read_before_the_end() {
        let mut backlog = three_waiting();
        backlog.start(1);
        backlog.page(3, 3, Some(9));
        read(backlog.drained(1), 9);
        backlog.append(OWNER, 0, "<message/>".into());
        // The read began before the append.
        read(backlog.page(0, 0, None), 9);
        assert_eq!(backlog.page(1, 1, Some(10)), Step::AwaitDrained);
        assert_eq!(backlog.waiting(), 4);
    }

    #[test]
    fn what_the_client_has_no_room_for_is_read_again() {
        let mut backlog = three_waiting();
        backlog.start(1);
        assert_eq!(backlog.page(3, 1, Some(7)), Step::AwaitDrained);
        read(backlog.drained(1), 7);
        assert_eq!(backlog.page(2, 0, None), Step::AwaitDrained);
        read(backlog.drained(1), 7);
        assert_eq!(backlog.page(2, 2, Some(9)), Step::AwaitDrained);
        read(backlog.drained(1), 9);
        backlog.page(0, 0, None);
        assert_eq!(trimmed(backlog.ended(OWNER, 1, true)), Some(9));
        assert_eq!(backlog.waiting(), 0);
    }

    #[test]
    fn a_broken_connection_keeps_everything_and_a_clean_end_does_not() {
        for (clean, up_to, waiting) in [(false, None, 3), (true, Some(9), 0)] {
            let mut backlog = three_waiting();
            backlog.start(1);
            backlog.page(3, 3, Some(9));
            backlog.drained(1);
            backlog.page(0, 0, None);
            assert_eq!(trimmed(backlog.ended(OWNER, 1, clean)), up_to);
            assert_eq!(backlog.waiting(), waiting);
        }
    }

    #[test]
    fn a_clean_end_in_the_middle_keeps_what_may_not_have_been_read() {
        let mut backlog = three_waiting();
        backlog.start(1);
        backlog.page(3, 3, Some(9));
        assert_eq!(trimmed(backlog.ended(OWNER, 1, true)), None);
        read(backlog.start(2), 0);
    }

    #[test]
    fn one_replay_at_a_time_and_no_answer_to_an_earlier_one() {
        let mut backlog = three_waiting();
        let first = read(backlog.start(1), 0);
        assert_eq!(backlog.start(2), Step::Nothing);
        assert!(backlog.expects(1, first) && !backlog.expects(2, first));
        assert_eq!(trimmed(backlog.ended(OWNER, 2, true)), None);
        assert!(backlog.is_replaying());
        // The same resource goes away and comes back before the answer is there.
        assert_eq!(trimmed(backlog.ended(OWNER, 1, false)), None);
        assert!(!backlog.expects(1, first));
        let second = read(backlog.start(1), 0);
        assert!(!backlog.expects(1, first) && backlog.expects(1, second));
    }
}
