//! What clients saw, and nothing else: the oracle knows nothing of the server but this.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::rooms::{RoomId, Rooms};
use crate::server::DOMAINS;

/// Since the run began.
pub(crate) type Time = Duration;

/// Clients of one account.
pub(crate) const RESOURCES: u16 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Account(pub(crate) u16);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ClientId(pub(crate) u16);

impl ClientId {
    pub(crate) fn account(self) -> Account {
        Account(self.0 / RESOURCES)
    }

    pub(crate) fn resource(self) -> String {
        format!("r{}", self.0 % RESOURCES)
    }
}

/// One in so many accounts is at the other server.
const ELSEWHERE_EVERY: u16 = 6;

impl Account {
    /// Which of the servers it is at.
    pub(crate) fn home(self) -> usize {
        usize::from(self.0 % ELSEWHERE_EVERY == ELSEWHERE_EVERY - 1)
    }

    pub(crate) fn domain(self) -> &'static str {
        DOMAINS[self.home()]
    }

    pub(crate) fn jid(self) -> String {
        format!("{self}@{}", self.domain())
    }

    pub(crate) fn clients(self) -> impl Iterator<Item = ClientId> {
        (0..RESOURCES).map(move |number| ClientId(self.0 * RESOURCES + number))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "u{}", self.0)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account(), self.resource())
    }
}

/// A message: who sent it, and the how-manieth of that client it is. A client numbers in the order in which it first
/// sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OpId {
    pub(crate) client: ClientId,
    pub(crate) number: u32,
}

impl fmt::Display for OpId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m-{}-{}", self.client.0, self.number)
    }
}

impl OpId {
    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<OpId> {
        let (client, number) = text.strip_prefix("m-")?.split_once('-')?;
        Some(OpId {
            client: ClientId(client.parse().ok()?),
            number: number.parse().ok()?,
        })
    }
}

/// A stanza-id (XEP-0359), by its number in [`History`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Sid(u32);

/// How a message came while the client was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Itself, at once or from what waited.
    Direct,
    /// The same, having waited (XEP-0203): it may come behind what came at once, to a client that was not available yet.
    Late,
    /// As a copy of what another client of the account received, or sent (XEP-0280).
    Received,
    Sent,
}

#[derive(Clone, Debug)]
pub(crate) struct Sighting {
    pub(crate) at: Time,
    pub(crate) by: ClientId,
    pub(crate) how: How,
    /// By the client's own account.
    pub(crate) sid: Option<Sid>,
    /// Which of the client's streams; a resumed one is the same.
    pub(crate) stream: u32,
    /// The order in which the client saw what it saw.
    pub(crate) order: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) to: Account,
    /// If it went to a full JID.
    pub(crate) to_client: Option<ClientId>,
    /// When, and in what manner: first, and sent once more.
    pub(crate) sent: Vec<(Time, &'static str)>,
    /// When, and what said so.
    pub(crate) acked: Option<(Time, String)>,
    pub(crate) error: Option<(Time, String)>,
    pub(crate) seen: Vec<Sighting>,
}

/// A piece of state that only one client changes: a contact of the roster, the archive preferences, or something of a
/// room.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) account: Account,
    /// If it is of a room, which the account owns.
    pub(crate) room: Option<RoomId>,
    pub(crate) key: String,
}

/// The key of the archive preferences among the contacts.
pub(crate) const PREFERENCES: &str = "archive preferences";

#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) by: ClientId,
    pub(crate) at: Time,
    /// None: it is taken away.
    pub(crate) value: Option<String>,
    pub(crate) outcome: Option<(Time, Result<(), String>)>,
}

/// An entry of an archive, as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) sid: Sid,
    /// None: none of ours.
    pub(crate) op: Option<OpId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// Acknowledges what it gets (XEP-0198).
    pub(crate) is_managed: bool,
    /// Reads the archive at login, which may stand for what waited.
    pub(crate) catches_up: bool,
}

/// What was found to be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The invariant (I1 to I9, of rooms R1 to R6) or the guarantee (G1 to G7).
    pub(crate) rule: &'static str,
    pub(crate) what: String,
    /// Who saw what when.
    pub(crate) story: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct History {
    pub(crate) clients: Vec<Facts>,
    pub(crate) messages: HashMap<OpId, Message>,
    pub(crate) changes: HashMap<Target, Vec<Change>>,
    pub(crate) rooms: Rooms,
    /// By client: its account's whole archive as it read it at the end.
    pub(crate) archives: Vec<Option<Vec<Entry>>>,
    /// By client: the state that it read at the end.
    pub(crate) finals: Vec<Option<HashMap<String, String>>>,
    pub(crate) faults: Vec<(Time, String)>,
    /// What became of streams.
    pub(crate) streams: Vec<(Time, ClientId, String)>,
    /// What was seen to be wrong at once.
    pub(crate) found: Vec<Violation>,
    /// Messages that a client saw more than once, with the same id: allowed, and counted.
    pub(crate) repeated: u64,
    orders: u64,
    sids: HashMap<Box<str>, Sid>,
    names: Vec<Box<str>>,
}

impl History {
    pub(crate) fn new(clients: Vec<Facts>) -> History {
        History {
            archives: vec![None; clients.len()],
            finals: vec![None; clients.len()],
            clients,
            ..History::default()
        }
    }

    pub(crate) fn sid(&mut self, text: &str) -> Sid {
        if let Some(sid) = self.sids.get(text) {
            return *sid;
        }
        // 2^32 ids do not fit into memory.
        let sid = Sid(self.names.len() as u32);
        self.sids.insert(text.into(), sid);
        self.names.push(text.into());
        sid
    }

    pub(crate) fn name(&self, sid: Sid) -> &str {
        &self.names[sid.0 as usize]
    }

    pub(crate) fn sent(&mut self, at: Time, op: OpId, to: Account, to_client: Option<ClientId>, manner: &'static str) {
        let message = self.messages.entry(op).or_insert_with(|| Message {
            to,
            to_client,
            sent: Vec::new(),
            acked: None,
            error: None,
            seen: Vec::new(),
        });
        message.sent.push((at, manner));
    }

    /// True if it was news.
    pub(crate) fn acked(&mut self, at: Time, op: OpId, by: &str) -> bool {
        let acked = match self.messages.get_mut(&op) {
            Some(message) => Some(&mut message.acked),
            None => self.rooms.sayings.get_mut(&op).map(|saying| &mut saying.acked),
        };
        match acked {
            Some(acked) if acked.is_none() => {
                *acked = Some((at, by.to_owned()));
                true
            }
            _ => false,
        }
    }

    pub(crate) fn failed(&mut self, at: Time, op: OpId, condition: &str) {
        let error = match self.messages.get_mut(&op) {
            Some(message) => Some(&mut message.error),
            None => self.rooms.sayings.get_mut(&op).map(|saying| &mut saying.error),
        };
        if let Some(error) = error {
            error.get_or_insert_with(|| (at, condition.to_owned()));
        }
    }

    /// Once more.
    pub(crate) fn resent(&mut self, at: Time, op: OpId, manner: &'static str) {
        let sent = match self.messages.get_mut(&op) {
            Some(message) => Some(&mut message.sent),
            None => self.rooms.sayings.get_mut(&op).map(|saying| &mut saying.sent),
        };
        if let Some(sent) = sent {
            sent.push((at, manner));
        }
    }

    /// The number of what is seen now: later ones are higher.
    pub(crate) fn next_order(&mut self) -> u64 {
        self.orders += 1;
        self.orders
    }

    /// False: nobody sent such a message.
    pub(crate) fn saw(&mut self, at: Time, op: OpId, by: ClientId, how: How, sid: Option<Sid>, stream: u32) -> bool {
        let order = self.next_order();
        let Some(message) = self.messages.get_mut(&op) else {
            return false;
        };
        // Of what comes once more only what is new is kept: the same again says nothing.
        let is_known = |seen: &Sighting| seen.by == by && seen.sid == sid && seen.how == how;
        if message.seen.iter().any(is_known) {
            self.repeated += 1;
        } else {
            message.seen.push(Sighting {
                at,
                by,
                how,
                sid,
                stream,
                order,
            });
        }
        true
    }

    /// Returns what [`History::settled`] is told.
    pub(crate) fn changed(&mut self, at: Time, target: &Target, by: ClientId, value: Option<String>) -> usize {
        let changes = self.changes.entry(target.clone()).or_default();
        changes.push(Change {
            by,
            at,
            value,
            outcome: None,
        });
        changes.len() - 1
    }

    pub(crate) fn settled(&mut self, at: Time, target: &Target, change: usize, outcome: Result<(), String>) {
        if let Some(change) = self.changes.get_mut(target).and_then(|all| all.get_mut(change)) {
            change.outcome.get_or_insert((at, outcome));
        }
    }

    pub(crate) fn fault(&mut self, at: Time, what: String) {
        self.faults.push((at, what));
    }

    pub(crate) fn violated(&mut self, rule: &'static str, what: String, story: Vec<String>) {
        self.found.push(Violation { rule, what, story });
    }

    /// Whether all clients of an account are to see every message come, and not only in the archive.
    pub(crate) fn sees_all_live(&self, account: Account) -> bool {
        let mut clients = account.clients().filter_map(|id| self.clients.get(usize::from(id.0)));
        clients.all(|facts| facts.is_managed && !facts.catches_up)
    }

    /// Acked messages that have not come to any client of their recipient yet, though they have to.
    pub(crate) fn undelivered(&self) -> usize {
        let is_open = |message: &&Message| {
            message.acked.is_some()
                && message.error.is_none()
                && self.sees_all_live(message.to)
                && !message.was_delivered()
        };
        self.messages.values().filter(is_open).count()
    }
}

impl Message {
    /// It goes from one server to the other: what has to be sent again there may come twice.
    pub(crate) fn crosses(&self, op: OpId) -> bool {
        op.client.account().home() != self.to.home()
    }

    /// To a client of the recipient.
    pub(crate) fn was_delivered(&self) -> bool {
        let mut seen = self.seen.iter();
        seen.any(|seen| seen.by.account() == self.to && seen.how != How::Sent)
    }
}

/// `0012.345 s`
pub(crate) fn show(time: Time) -> String {
    format!("{:04}.{:03} s", time.as_secs(), time.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_and_read() {
        let op = OpId {
            client: ClientId(7),
            number: 12,
        };
        assert_eq!(OpId::parse(&op.to_string()), Some(op));
        assert_eq!(
            (op.client.to_string(), op.client.account()),
            ("u3/r1".to_owned(), Account(3))
        );
        for other in ["", "m-1", "m-x-1", "1-2"] {
            assert_eq!(OpId::parse(other), None, "{other}");
        }
    }
}
