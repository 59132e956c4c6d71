//! What comes to a client, and what it notes of it.

use super::act::body_of;
use super::login::error_of;
use super::{Asked, Client, NS_CLIENT, NS_SM, jid_of};
use crate::history::{ClientId, How, OpId};
use crate::line::Sent;
use crate::rooms::RoomId;
use crate::wire::{Lost, Wire};
use crate::world::Counts;
use crate::xml::Node;

const NS_CARBONS: &str = "urn:xmpp:carbons:2";
const NS_FORWARD: &str = "urn:xmpp:forward:0";
const NS_MAM: &str = "urn:xmpp:mam:2";
const NS_SID: &str = "urn:xmpp:sid:0";
const NS_DELAY: &str = "urn:xmpp:delay";

impl Client {
    pub(super) fn take(&mut self, wire: &mut Wire, node: &Node) -> Result<(), Lost> {
        if node.ns == NS_SM {
            self.take_management(wire, node);
            return Ok(());
        }
        if node.ns != NS_CLIENT {
            return Err(format!("<{} xmlns='{}'/> is not for a client", node.name, node.ns));
        }
        if let Some(line) = &mut self.line {
            line.received = line.received.wrapping_add(1);
        }
        match node.name.as_str() {
            "message" => self.take_message(node),
            "presence" => self.take_presence(node),
            "iq" => self.take_iq(wire, node),
            _ => {}
        }
        Ok(())
    }

    fn take_management(&mut self, wire: &mut Wire, node: &Node) {
        match node.name.as_str() {
            "r" => {
                let received = self.line.as_ref().map_or(0, |line| line.received);
                wire.send(&format!("<a xmlns='{NS_SM}' h='{received}'/>"));
            }
            "a" => {
                self.waits_since = None;
                match node.attr("h").and_then(|h| h.parse().ok()) {
                    Some(h) => self.acknowledged(h, "a"),
                    None => self.violated("G1", format!("{}: <a/> without h", self.id)),
                }
            }
            _ => {}
        }
    }

    fn take_message(&mut self, node: &Node) {
        if node.attr("type") == Some("error") {
            let Some(op) = node.attr("id").and_then(OpId::parse) else {
                return;
            };
            self.failed.insert(op);
            if let Some(line) = &mut self.line {
                line.failed(op);
            }
            Counts::add(&self.world.counts.errors);
            let now = self.world.now();
            self.world.history().failed(now, op, &error_of(node));
            return;
        }
        if let Some(result) = node.child("result", NS_MAM) {
            self.take_result(result);
            return;
        }
        for (name, how) in [("received", How::Received), ("sent", How::Sent)] {
            if let Some(copy) = node.child(name, NS_CARBONS) {
                // One of our own account's, or it is forged (XEP-0280 section 11).
                if node.attr("from") != Some(self.account_jid().as_str()) {
                    self.violated("I3", format!("{}: a carbon from {:?}", self.id, node.attr("from")));
                }
                if let Some(inner) = forwarded(copy) {
                    self.saw(inner, how);
                }
                return;
            }
        }
        if let Some((room, _)) = node.attr("from").and_then(RoomId::parse) {
            return self.take_said(node, room);
        }
        let has_waited = node
            .child("delay", NS_DELAY)
            .is_some_and(|delay| delay.attr("from") == Some(self.id.account().domain()));
        self.saw(node, if has_waited { How::Late } else { How::Direct });
    }

    fn account_jid(&self) -> String {
        self.id.account().jid()
    }

    /// A message that came, itself or as a copy.
    fn saw(&self, message: &Node, how: How) {
        let Some(op) = self.op_of(message) else {
            let body = message.child("body", NS_CLIENT);
            if body.is_some() {
                self.violated(
                    "I6",
                    format!("{}: a message came that nobody sent so: {message:?}", self.id),
                );
            }
            return;
        };
        let own = self.account_jid();
        let now = self.world.now();
        let stream = self.line.as_ref().map_or(0, |line| line.number);
        let (id, has_more) = stanza_id(message, &own);
        let mut history = self.world.history();
        let sid = id.map(|id| history.sid(id));
        let is_known = history.saw(now, op, self.id, how, sid, stream);
        drop(history);
        if has_more {
            self.violated("I3", format!("{}: {op} came with several stanza-ids of {own}", self.id));
        }
        if !is_known {
            self.violated("I6", format!("{}: {op} came, which nobody has sent", self.id));
        }
    }

    /// Which of our messages it is, if it is whole and from who sent it.
    pub(super) fn op_of(&self, message: &Node) -> Option<OpId> {
        self.op_from(message, jid_of)
    }

    /// The same, from the address that its sender has by this function.
    pub(super) fn op_from(&self, message: &Node, address: impl Fn(ClientId) -> String) -> Option<OpId> {
        let body = &message.child("body", NS_CLIENT)?.text;
        let op = OpId::parse(body.split(' ').next()?)?;
        let is_whole = *body == body_of(self.world.seed, op) && message.attr("from") == Some(&address(op.client));
        is_whole.then_some(op)
    }

    fn take_iq(&mut self, wire: &mut Wire, node: &Node) {
        let id = node.attr("id").unwrap_or_default();
        match node.attr("type") {
            Some("result") => self.take_answer(wire, id, Ok(node)),
            Some("error") => self.take_answer(wire, id, Err(error_of(node))),
            _ => {
                let to = node
                    .attr("from")
                    .map(|from| format!(" to='{from}'"))
                    .unwrap_or_default();
                let is_push = node.child("query", "jabber:iq:roster").is_some();
                let xml = match is_push {
                    true => format!("<iq type='result' id='{id}'{to}/>"),
                    false => format!(
                        "<iq type='error' id='{id}'{to}><error type='cancel'><service-unavailable \
                         xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
                    ),
                };
                let answer = Sent {
                    xml,
                    op: None,
                    is_durable: false,
                };
                self.send_stanza(wire, answer);
            }
        }
    }

    fn take_answer(&mut self, wire: &mut Wire, id: &str, answer: Result<&Node, String>) {
        match self.asked.remove(id) {
            // Of a stream that is over, or told once more after a resumption.
            None | Some(Asked::Nothing) => {}
            Some(Asked::Ping(number)) => {
                // An error is a round trip too.
                let covered = self.line.as_mut().map(|line| line.acknowledge(number));
                if let Some(Err(why)) = covered {
                    self.violated("G1", format!("{}: a ping was answered too late: {why}", self.id));
                }
            }
            Some(Asked::Change(target, change)) => {
                let outcome = answer.map(drop);
                match &outcome {
                    Ok(()) => Counts::add(&self.world.counts.acked),
                    Err(_) => Counts::add(&self.world.counts.errors),
                }
                let now = self.world.now();
                self.world.history().settled(now, &target, change, outcome);
            }
            Some(Asked::Page) => self.take_page(wire, answer),
            Some(Asked::SelfPing(room, stay)) => self.take_self_ping(room, stay, answer),
            Some(asked @ (Asked::Roster | Asked::Preferences | Asked::RoomName(_) | Asked::RoomBans(_))) => {
                self.take_state(&asked, answer);
            }
        }
    }
}

/// The id that a message has by somebody (XEP-0359), and whether it has more than one.
pub(super) fn stanza_id<'a>(message: &'a Node, by: &str) -> (Option<&'a str>, bool) {
    let children = message.children.iter();
    let mut ids = children
        .filter(|child| child.is("stanza-id", NS_SID) && child.attr("by") == Some(by))
        .filter_map(|child| child.attr("id"));
    (ids.next(), ids.next().is_some())
}

/// The message in a `<forwarded/>` (XEP-0297).
pub(super) fn forwarded(outer: &Node) -> Option<&Node> {
    outer.child("forwarded", NS_FORWARD)?.child("message", NS_CLIENT)
}
