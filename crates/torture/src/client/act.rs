//! What a client sends.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use super::{Asked, Client, NS_SM, jid_of};
use crate::history::{Account, OpId, PREFERENCES, RESOURCES, Target};
use crate::line::Sent;
use crate::rng::Rng;
use crate::rooms::RoomId;
use crate::wire::Wire;
use crate::world::Counts;
use crate::xml::escape;

/// Stanzas that may be out without an ack before a client sends nothing new.
const OPEN_LIMIT: usize = 200;
/// Messages sent at once.
const BURST: (u64, u64) = (1, 4);
/// Every so manieth time a change of state is sent instead.
const CHANGE_EVERY: u64 = 20;
/// Every so manieth message goes to a client, not to an account.
const FULL_JID_EVERY: u64 = 3;
/// Every so manieth message goes to a room, where it costs as much as there are occupants.
const ROOM_EVERY: u64 = 8;
/// Every so manieth time a room is left instead, to be entered again at once.
const LEAVE_ROOM_EVERY: u64 = 40;
/// Every so manieth message is long.
const LONG_EVERY: u64 = 200;
/// What bodies are filled with, in bytes.
const SHORT: (u64, u64) = (0, 300);
const LONG: (u64, u64) = (2_000, 20_000);
/// Contacts that one client adds, renames and removes.
const CONTACTS: u64 = 16;

/// The body of a message: its id, and text that follows from it, so that whoever gets it can tell whether it is whole.
pub(super) fn body_of(seed: u64, op: OpId) -> String {
    let mut rng = Rng::new(seed ^ u64::from(op.number), u64::from(op.client.0) + 0x1_0000);
    let (least, most) = if rng.one_in(LONG_EVERY) { LONG } else { SHORT };
    let length = rng.between(least, most) as usize;
    let mut body = format!("{op} ");
    while body.len() < length {
        body.push_str("all is <well> & whole, \u{e4}\u{20ac}\u{1f642}; ");
    }
    body
}

impl Client {
    pub(super) fn pause(&mut self) -> Duration {
        let pace = self.world.pace;
        self.rng.millis(pace / 4, pace * 7 / 4)
    }

    /// A stream begins, anew or resumed.
    pub(super) fn begin(&mut self, wire: &mut Wire) {
        let Some(line) = &self.line else { return };
        if line.is_present {
            return;
        }
        // The roster is asked for so that its changes are told (RFC 6121 section 2.1.6).
        self.ask(wire, "set", "<enable xmlns='urn:xmpp:carbons:2'/>", Asked::Nothing);
        self.ask(wire, "get", "<query xmlns='jabber:iq:roster'/>", Asked::Nothing);
        if self.facts.catches_up {
            self.catch_up(wire);
        } else {
            self.appear(wire);
        }
        // Before what is to be said there once more.
        self.enter_rooms(wire);
        for sent in std::mem::take(&mut self.again) {
            if let Some(op) = sent.op {
                self.note_resent(op, "once more, on another stream");
            }
            self.send_stanza(wire, sent);
        }
        self.confirm(wire);
    }

    /// Initial presence: from now on messages for the account come here too.
    pub(super) fn appear(&mut self, wire: &mut Wire) {
        let presence = Sent {
            xml: "<presence/>".to_owned(),
            op: None,
            is_durable: false,
        };
        self.send_stanza(wire, presence);
        if let Some(line) = &mut self.line {
            line.is_present = true;
        }
    }

    /// The stream is resumed: what was not handled goes out once more, in its order.
    pub(super) fn resend_on_line(&mut self, wire: &mut Wire) {
        let failed = &self.failed;
        let is_wanted = |sent: &Sent| sent.op.is_none_or(|op| !failed.contains(&op));
        let rest = self
            .line
            .as_mut()
            .map(|line| line.resume(is_wanted))
            .unwrap_or_default();
        for sent in rest {
            if let Some(op) = sent.op {
                self.note_resent(op, "once more, on the resumed stream");
            }
            self.send_stanza(wire, sent);
        }
        self.confirm(wire);
    }

    fn note_resent(&self, op: OpId, manner: &'static str) {
        Counts::add(&self.world.counts.resent);
        let now = self.world.now();
        self.world.history().resent(now, op, manner);
    }

    /// Something random.
    pub(super) fn act(&mut self, wire: &mut Wire) {
        let Some(line) = &self.line else { return };
        if line.open() >= OPEN_LIMIT {
            return;
        }
        if self.rng.one_in(CHANGE_EVERY) {
            self.change(wire);
        } else if self.rng.one_in(LEAVE_ROOM_EVERY) {
            self.leave_a_room(wire);
        } else {
            for _ in 0..self.rng.between(BURST.0, BURST.1) {
                match self.rng.one_in(ROOM_EVERY) {
                    true => self.say_in_a_room(wire),
                    false => self.message(wire),
                }
            }
        }
        if self.rng.one_in(2) {
            self.confirm(wire);
        }
    }

    pub(super) fn next_op(&mut self) -> OpId {
        Counts::add(&self.world.counts.operations);
        self.messages += 1;
        OpId {
            client: self.id,
            number: self.messages,
        }
    }

    fn message(&mut self, wire: &mut Wire) {
        let op = self.next_op();
        // Also to oneself, now and then. The remainder is below a u16.
        let to = Account(self.rng.below(self.world.accounts.into()) as u16);
        let to_client = match self.rng.one_in(FULL_JID_EVERY) {
            true => to.clients().nth(self.rng.below(RESOURCES.into()) as usize),
            false => None,
        };
        let address = to_client.map_or_else(|| to.jid(), jid_of);
        let body = escape(&body_of(self.world.seed, op));
        let xml = format!(
            "<message id='{op}' to='{address}' type='chat'><body>{body}</body>\
             <origin-id xmlns='urn:xmpp:sid:0' id='{op}'/></message>"
        );
        let now = self.world.now();
        self.world.history().sent(now, op, to, to_client, "for the first time");
        let sent = Sent {
            xml,
            op: Some(op),
            is_durable: true,
        };
        self.send_stanza(wire, sent);
    }

    /// A change that is answered: of a contact that only this client touches, or, by the first client of an account, of
    /// its archive preferences or a room of its own.
    fn change(&mut self, wire: &mut Wire) {
        self.values += 1;
        let value = format!("v{}-{}", self.id.0, self.values);
        let account = self.id.account();
        let is_first = account.clients().next() == Some(self.id);
        if is_first && !self.owned.is_empty() && self.rng.one_in(2) {
            return self.change_a_room(wire, value);
        }
        if is_first && self.rng.one_in(3) {
            // Everything is archived all the same; the contact only tells which setting it is.
            let payload = format!(
                "<prefs xmlns='urn:xmpp:mam:2' default='always'><always><jid>{value}@example.net</jid></always>\
                 <never/></prefs>"
            );
            let key = PREFERENCES.to_owned();
            let target = Target {
                account,
                room: None,
                key,
            };
            return self.set(wire, target, Some(value), &payload);
        }
        let key = format!("c{}-{}@example.net", self.id.0, self.rng.below(CONTACTS));
        let (value, attributes) = match self.rng.one_in(4) {
            true => (None, "subscription='remove'".to_owned()),
            false => {
                let attributes = format!("name='{value}'");
                (Some(value), attributes)
            }
        };
        let payload = format!("<query xmlns='jabber:iq:roster'><item jid='{key}' {attributes}/></query>");
        let target = Target {
            account,
            room: None,
            key,
        };
        self.set(wire, target, value, &payload);
    }

    pub(super) fn set(&mut self, wire: &mut Wire, target: Target, value: Option<String>, payload: &str) {
        Counts::add(&self.world.counts.operations);
        let now = self.world.now();
        let change = self.world.history().changed(now, &target, self.id, value);
        let to = target.room.map(RoomId::jid);
        self.ask_of(wire, to.as_deref(), "set", payload, Asked::Change(target, change));
    }

    /// A request to the own account.
    pub(super) fn ask(&mut self, wire: &mut Wire, kind: &str, payload: &str, asked: Asked) {
        self.ask_of(wire, None, kind, payload, asked);
    }

    /// A request to a room, or to the own account.
    pub(super) fn ask_of(&mut self, wire: &mut Wire, to: Option<&str>, kind: &str, payload: &str, asked: Asked) {
        self.requests += 1;
        let id = format!("q{}", self.requests);
        let to = to.map(|to| format!(" to='{to}'")).unwrap_or_default();
        let xml = format!("<iq type='{kind}' id='{id}'{to}>{payload}</iq>");
        let sent = Sent {
            xml,
            op: None,
            // Whether it had an effect is told by its answer (I5).
            is_durable: false,
        };
        self.asked.insert(id, asked);
        self.send_stanza(wire, sent);
    }

    pub(super) fn send_stanza(&mut self, wire: &mut Wire, sent: Sent) -> u32 {
        wire.send(&sent.xml);
        match &mut self.line {
            Some(line) => line.push(sent),
            None => 0,
        }
    }

    /// Asks what has been handled: by `<r/>`, or by a round trip where nothing is counted.
    pub(super) fn confirm(&mut self, wire: &mut Wire) {
        let Some(line) = &self.line else { return };
        if line.is_managed {
            wire.send(&format!("<r xmlns='{NS_SM}'/>"));
            self.waits_since.get_or_insert_with(Instant::now);
            return;
        }
        if self.asked.values().any(|asked| matches!(asked, Asked::Ping(_))) {
            return;
        }
        self.requests += 1;
        let id = format!("q{}", self.requests);
        let mut xml = String::new();
        let _ = write!(
            xml,
            "<iq type='get' id='{id}' to='{}'><ping xmlns='urn:xmpp:ping'/></iq>",
            self.id.account().domain()
        );
        let ping = Sent {
            xml,
            op: None,
            is_durable: false,
        };
        let number = self.send_stanza(wire, ping);
        self.asked.insert(id, Asked::Ping(number));
    }
}
