//! What a client does in rooms (XEP-0045): it enters them and comes back, speaks, listens, looks whether it is still there
//! (XEP-0410), and owns some.

use std::time::Duration;

use tokio::time::Instant;

use super::act::body_of;
use super::login::error_of;
use super::take::stanza_id;
use super::{Asked, Client, NS_CLIENT};
use crate::history::Target;
use crate::line::Sent;
use crate::rooms::{Hearing, RoomId, View};
use crate::wire::{Lost, Wire};
use crate::world::Counts;
use crate::xml::{Node, escape};

const NS_MUC: &str = "http://jabber.org/protocol/muc";
const NS_USER: &str = "http://jabber.org/protocol/muc#user";
const NS_OWNER: &str = "http://jabber.org/protocol/muc#owner";
const NS_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
const NS_FORM: &str = "jabber:x:data";
const FORM_TYPE: &str = "http://jabber.org/protocol/muc#roomconfig";
const NS_DELAY: &str = "urn:xmpp:delay";

/// A room from which nothing has come for so long is asked whether one is in it.
const PING_EVERY: Duration = Duration::from_secs(4);
/// Addresses that one client bans from its rooms.
const BANNED: u64 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Out,
    /// Presence is sent. What is said behind it is said in the room.
    Entering,
    In,
    /// Unavailable presence is sent. What was said before still comes.
    Leaving,
}

/// A room that a client is to be in.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) room: RoomId,
    state: State,
    /// The stream on which it is in the room.
    stream: u32,
    view: View,
    /// When something came from there last, or was asked.
    heard: Instant,
}

impl Visit {
    pub(super) fn new(room: RoomId) -> Visit {
        Visit {
            room,
            state: State::Out,
            stream: 0,
            view: View::default(),
            heard: Instant::now(),
        }
    }

    pub(super) fn is_in(&self) -> bool {
        self.state == State::In
    }

    /// None: it is not in the room.
    pub(super) fn view(&self) -> Option<&View> {
        self.is_in().then_some(&self.view)
    }
}

impl Client {
    /// Makes the rooms of its account before anybody is there, and leaves again.
    pub(crate) async fn create_rooms(&mut self) -> Result<(), Lost> {
        if self.owned.is_empty() || self.id.account().clients().next() != Some(self.id) {
            return Ok(());
        }
        let mut wire = self.log_in().await?;
        for room in self.owned.clone() {
            let entering = presence_to(&room.occupant(self.id), "", &format!("<x xmlns='{NS_MUC}'/>"));
            self.send_stanza(&mut wire, entering);
            let form = form(&[
                ("muc#roomconfig_persistentroom", "1"),
                ("muc#roomconfig_publicroom", "1"),
            ]);
            self.ask_of(&mut wire, Some(&room.jid()), "set", &form, Asked::Nothing);
            let id = format!("q{}", self.requests);
            loop {
                let node = wire.element().await?;
                self.take(&mut wire, &node)?;
                if node.name == "iq" && node.attr("id") == Some(&id) {
                    match node.attr("type") {
                        Some("result") => break,
                        _ => return Err(format!("{room} cannot be made: {}", error_of(&node))),
                    }
                }
            }
        }
        self.leave(wire).await;
        Ok(())
    }

    /// A stream begins: those of an earlier one are in no room any more.
    pub(super) fn enter_rooms(&mut self, wire: &mut Wire) {
        let Some(stream) = self.line.as_ref().map(|line| line.number) else {
            return;
        };
        for at in 0..self.visits.len() {
            if self.visits[at].stream != stream {
                self.visits[at].state = State::Out;
                self.enter(wire, at);
            }
        }
    }

    fn enter(&mut self, wire: &mut Wire, at: usize) {
        let Some(stream) = self.line.as_ref().map(|line| line.number) else {
            return;
        };
        let visit = &mut self.visits[at];
        visit.state = State::Entering;
        visit.stream = stream;
        visit.view = View::default();
        let inner = format!("<x xmlns='{NS_MUC}'><history maxstanzas='0'/></x>");
        let presence = presence_to(&visit.room.occupant(self.id), "", &inner);
        self.send_stanza(wire, presence);
    }

    /// Goes, to come back when it next looks.
    pub(super) fn leave_a_room(&mut self, wire: &mut Wire) {
        let Some(at) = self.some_visit(|visit| visit.is_in()) else {
            return;
        };
        let visit = &mut self.visits[at];
        visit.state = State::Leaving;
        let presence = presence_to(&visit.room.occupant(self.id), " type='unavailable'", "");
        self.send_stanza(wire, presence);
    }

    /// Comes back where it is out, and asks where it hears nothing.
    pub(super) fn look_into_rooms(&mut self, wire: &mut Wire) {
        for at in 0..self.visits.len() {
            let visit = &mut self.visits[at];
            match visit.state {
                State::Out => self.enter(wire, at),
                State::In if visit.heard.elapsed() > PING_EVERY => {
                    visit.heard = Instant::now();
                    let (room, stay) = (visit.room, visit.view.stay);
                    let to = room.occupant(self.id);
                    let asked = Asked::SelfPing(room, stay);
                    self.ask_of(wire, Some(&to), "get", "<ping xmlns='urn:xmpp:ping'/>", asked);
                }
                _ => {}
            }
        }
    }

    fn some_visit(&mut self, is_meant: impl Fn(&Visit) -> bool) -> Option<usize> {
        let meant: Vec<usize> = (0..self.visits.len())
            .filter(|at| is_meant(&self.visits[*at]))
            .collect();
        let count = meant.len() as u64;
        (count > 0).then(|| meant[self.rng.below(count) as usize])
    }

    pub(super) fn say_in_a_room(&mut self, wire: &mut Wire) {
        let speaks = |visit: &Visit| matches!(visit.state, State::In | State::Entering);
        let Some(at) = self.some_visit(speaks) else { return };
        let room = self.visits[at].room;
        let op = self.next_op();
        let body = escape(&body_of(self.world.seed, op));
        let to = room.jid();
        let xml = format!(
            "<message id='{op}' to='{to}' type='groupchat'><body>{body}</body>\
             <origin-id xmlns='urn:xmpp:sid:0' id='{op}'/></message>"
        );
        let now = self.world.now();
        self.world.history().rooms.said(now, op, room, "for the first time");
        let sent = Sent {
            xml,
            op: Some(op),
            is_durable: true,
        };
        self.send_stanza(wire, sent);
    }

    /// Calls one of its rooms otherwise, or bans somebody, or lets him in again.
    pub(super) fn change_a_room(&mut self, wire: &mut Wire, value: String) {
        let room = self.owned[self.rng.below(self.owned.len() as u64) as usize];
        let target = |key| Target {
            account: self.id.account(),
            room: Some(room),
            key,
        };
        if self.rng.one_in(2) {
            let payload = form(&[("muc#roomconfig_roomname", &value)]);
            let target = target(name_key(room));
            return self.set(wire, target, Some(value), &payload);
        }
        let jid = format!("b{}-{}@example.net", self.id.0, self.rng.below(BANNED));
        let target = target(ban_key(room, &jid));
        let (value, item) = match self.rng.one_in(4) {
            true => (None, format!("<item affiliation='none' jid='{jid}'/>")),
            false => {
                let item = format!("<item affiliation='outcast' jid='{jid}'><reason>{value}</reason></item>");
                (Some(value), item)
            }
        };
        let payload = format!("<query xmlns='{NS_ADMIN}'>{item}</query>");
        self.set(wire, target, value, &payload);
    }

    pub(super) fn take_presence(&mut self, node: &Node) {
        let Some((room, nick)) = node.attr("from").and_then(RoomId::parse) else {
            return;
        };
        let Some(at) = self.visits.iter().position(|visit| visit.room == room) else {
            return;
        };
        let user = node.child("x", NS_USER);
        let statuses = user.into_iter().flat_map(|user| &user.children);
        let codes: Vec<&str> = statuses
            .filter(|child| child.name == "status")
            .filter_map(|child| child.attr("code"))
            .collect();
        let is_own = codes.contains(&"110");
        let visit = &mut self.visits[at];
        visit.heard = Instant::now();
        match node.attr("type") {
            None => {
                visit.view.nicks.insert(nick.to_owned());
                if is_own && visit.state == State::Entering {
                    visit.state = State::In;
                    self.stays += 1;
                    visit.view.stay = self.stays;
                    Counts::add(&self.world.counts.entered);
                    self.tells(format!("has entered {room}: stay {}", self.stays));
                }
            }
            Some("unavailable") if is_own => {
                let before = std::mem::replace(&mut visit.state, State::Out);
                self.tells(format!("is out of {room} ({before:?} before): {}", codes.join(", ")));
            }
            Some("unavailable") => {
                visit.view.nicks.remove(nick);
            }
            Some("error") => {
                visit.state = State::Out;
                self.tells(format!("is refused by {room}: {}", error_of(node)));
            }
            _ => {}
        }
    }

    /// A message that came from a room: not of its archive, and no error.
    pub(super) fn take_said(&mut self, node: &Node, room: RoomId) {
        // The subject, and that the configuration has changed.
        if node.child("body", NS_CLIENT).is_none() {
            return;
        }
        let Some(op) = self.op_from(node, |client| room.occupant(client)) else {
            return self.violated("R5", format!("{}: {room} told what nobody said so: {node:?}", self.id));
        };
        let jid = room.jid();
        let is_old = node
            .child("delay", NS_DELAY)
            .is_some_and(|delay| delay.attr("from") == Some(&jid));
        let stay = match self.visits.iter_mut().find(|visit| visit.room == room) {
            Some(visit) if matches!(visit.state, State::In | State::Leaving) && !is_old => {
                visit.heard = Instant::now();
                visit.view.stay
            }
            Some(visit) => {
                let what = format!("{}: {op} came from {room}, being {:?}", self.id, visit.state);
                return self.violated("R3", format!("{what}{}", if is_old { ", as history" } else { "" }));
            }
            None => return self.violated("R3", format!("{}: {op} came from {room}, where it never was", self.id)),
        };
        let (id, has_more) = stanza_id(node, &jid);
        let now = self.world.now();
        let mut history = self.world.history();
        let hearing = Hearing {
            at: now,
            by: self.id,
            stay,
            sid: id.map(|id| history.sid(id)),
            order: history.next_order(),
        };
        let is_known = history.rooms.heard(op, room, hearing);
        drop(history);
        if has_more {
            self.violated("R2", format!("{}: {op} came with several stanza-ids of {jid}", self.id));
        }
        if !is_known {
            self.violated(
                "R5",
                format!("{}: {op} came from {room}, where nobody said it", self.id),
            );
        }
    }
}

impl Client {
    pub(super) fn take_self_ping(&mut self, room: RoomId, stay: u32, answer: Result<&Node, String>) {
        let Err(condition) = answer else { return };
        let visit = self.visits.iter_mut().find(|visit| visit.room == room);
        let Some(visit) = visit.filter(|visit| visit.is_in() && visit.view.stay == stay) else {
            return;
        };
        visit.state = State::Out;
        self.violated(
            "R3",
            format!("{}: is out of {room} without having been told: {condition}", self.id),
        );
    }

    /// What its rooms are like now.
    pub(super) fn ask_of_rooms(&mut self, wire: &mut Wire) -> usize {
        for room in self.owned.clone() {
            let to = room.jid();
            let form = format!("<query xmlns='{NS_OWNER}'/>");
            self.ask_of(wire, Some(&to), "get", &form, Asked::RoomName(room));
            let bans = format!("<query xmlns='{NS_ADMIN}'><item affiliation='outcast'/></query>");
            self.ask_of(wire, Some(&to), "get", &bans, Asked::RoomBans(room));
        }
        2 * self.owned.len()
    }
}

/// What the form of a room says of its name.
pub(super) fn name_in(iq: &Node, room: RoomId) -> Option<(String, String)> {
    let form = iq.child("query", NS_OWNER)?.child("x", NS_FORM)?;
    let mut fields = form.children.iter();
    let field = fields.find(|field| field.attr("var") == Some("muc#roomconfig_roomname"))?;
    let value = field.child("value", NS_FORM)?;
    (!value.text.is_empty()).then(|| (name_key(room), value.text.clone()))
}

/// Who is banned, with the reasons.
pub(super) fn bans_in(iq: &Node, room: RoomId) -> Vec<(String, String)> {
    let query = iq.child("query", NS_ADMIN);
    let items = query.into_iter().flat_map(|query| &query.children);
    let banned = items.filter_map(|item| {
        let reason = item.child("reason", NS_ADMIN)?;
        Some((ban_key(room, item.attr("jid")?), reason.text.clone()))
    });
    banned.collect()
}

fn name_key(room: RoomId) -> String {
    format!("the name of {room}")
}

fn ban_key(room: RoomId, jid: &str) -> String {
    format!("the ban of {jid} from {room}")
}

fn presence_to(to: &str, attributes: &str, inner: &str) -> Sent {
    Sent {
        xml: format!("<presence to='{to}'{attributes}>{inner}</presence>"),
        op: None,
        is_durable: false,
    }
}

/// A configuration, with these fields.
fn form(fields: &[(&str, &str)]) -> String {
    let fields: String = fields
        .iter()
        .map(|(var, value)| format!("<field var='{var}'><value>{value}</value></field>"))
        .collect();
    format!(
        "<query xmlns='{NS_OWNER}'><x xmlns='{NS_FORM}' type='submit'><field var='FORM_TYPE'><value>{FORM_TYPE}</value>\
         </field>{fields}</x></query>"
    )
}
