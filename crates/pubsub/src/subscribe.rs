//! Subscribing (XEP-0060 sections 6.1 and 6.2), and what somebody has at the nodes of an account (5.6 and 5.7). Whoever
//! sees the account's presence is subscribed without that (section 9.1).

use module::{Change, Step};
use stanza::{ErrorType, Jid, StanzaError, ns};
use store::{Found, Query, StoreError};

use crate::access::{Context, admits, gate};
use crate::config::SendLast;
use crate::error::with;
use crate::event;
use crate::node::{Affiliation, Node};
use crate::rows::{self, Answers, Item, NODES, Place};
use crate::{PAGE_BYTES, error};

pub(crate) struct Subscribe {
    pub(crate) node: String,
    pub(crate) jid: Jid,
}

impl Subscribe {
    pub(crate) fn query(&self, context: &Context) -> Query {
        let owner = context.owner();
        Query::Many(vec![
            rows::get_node(owner, &self.node),
            rows::newest(owner, &self.node, 1),
        ])
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let mut found = Answers::of(found)?;
        let mut node = gate(context, Node::read(&self.node, found.row()?))?;
        if self.jid.bare_str() != context.asker.jid.bare_str() {
            return Err(with(StanzaError::bad_request(), "invalid-jid"));
        }
        admits(context, &node)?;
        let last = found.places()?.pop();
        let is_new = node.subscriptions.insert(self.jid.as_str().into());
        if is_new && node.has_too_many_subscriptions() {
            let error = StanzaError::policy_violation().kind(ErrorType::Wait);
            return Err(with(error, "too-many-subscriptions"));
        }
        let owner: Box<str> = context.owner().into();
        let mut change = Change {
            answer: answer(&node.name, self.jid.as_str(), "subscribed"),
            ..Change::default()
        };
        if is_new {
            change.batch = node.put(rows::batch(&owner), &owner);
        }
        let expired = node.expired_before(context.now.0);
        let last = last.filter(|place| place.at >= expired && node.config.send_last != SendLast::Never);
        let Some(Place { id, .. }) = last else {
            return Ok(Step::Done(change));
        };
        // Section 6.1.7.
        let query = rows::get_item(&owner, &node.name, &id);
        let make = move |found: Result<Found, StoreError>| {
            let row = found.and_then(Found::row).map_err(|error| error::store(&error))?;
            let notice = |item| event::last_for(&node, &id, &item, &owner, self.jid.as_str());
            change.notices.extend(Item::read(row).map(notice));
            Ok(Step::Done(change))
        };
        Ok(Step::Ask(query, Box::new(make)))
    }
}

pub(crate) struct Unsubscribe {
    pub(crate) node: String,
    pub(crate) jid: Jid,
}

impl Unsubscribe {
    pub(crate) fn query(&self, context: &Context) -> Query {
        Query::Many(vec![rows::get_node(context.owner(), &self.node)])
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let mut found = Answers::of(found)?;
        let node = Node::read(&self.node, found.row()?);
        // Who had access once may leave.
        let was_there = node
            .as_ref()
            .is_some_and(|node| node.subscriptions.contains(self.jid.as_str()));
        let is_his = self.jid.bare_str() == context.asker.jid.bare_str();
        let mut node = match node {
            Some(node) if was_there && is_his => node,
            node => gate(context, node)?,
        };
        if !is_his {
            return Err(StanzaError::forbidden());
        }
        if !node.subscriptions.remove(self.jid.as_str()) {
            let error = StanzaError::unexpected_request().kind(ErrorType::Cancel);
            return Err(with(error, "not-subscribed"));
        }
        Ok(Step::Done(Change {
            batch: node.put(rows::batch(context.owner()), context.owner()),
            answer: answer(&node.name, self.jid.as_str(), "none"),
            ..Change::default()
        }))
    }
}

fn answer(node: &str, jid: &str, state: &str) -> String {
    let mut out = format!("<pubsub xmlns='{}'>", ns::PUBSUB).into_bytes();
    write_subscription(node, jid, state, &mut out);
    out.extend_from_slice(b"</pubsub>");
    event::string(out)
}

fn write_subscription(node: &str, jid: &str, state: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<subscription");
    event::attribute("node", node, out);
    event::attribute("jid", jid, out);
    event::attribute("subscription", state, out);
    out.extend_from_slice(b"/>");
}

/// What the asker has at all nodes, or at one.
pub(crate) struct Mine {
    pub(crate) node: Option<String>,
    pub(crate) affiliations: bool,
}

impl Mine {
    pub(crate) fn query(&self, context: &Context) -> Query {
        Query::all(&NODES, context.owner())
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let rows = found.and_then(Found::rows).map_err(|error| error::store(&error))?;
        let bare = context.asker.jid.bare_str();
        let name = if self.affiliations {
            "affiliations"
        } else {
            "subscriptions"
        };
        let mut out = format!("<pubsub xmlns='{}'><{name}", ns::PUBSUB).into_bytes();
        if let Some(node) = &self.node {
            event::attribute("node", node, &mut out);
        }
        out.push(b'>');
        for (key, row) in rows {
            if out.len() as u64 > PAGE_BYTES {
                break;
            }
            let is_asked = self.node.as_ref().is_none_or(|node| **node == *key);
            let Some(node) = Node::read(&key, Some(row)).filter(|_| is_asked) else {
                continue;
            };
            if !self.affiliations {
                for jid in node.subscriptions_of(bare) {
                    write_subscription(&node.name, jid, "subscribed", &mut out);
                }
                continue;
            }
            let affiliation = match node.affiliation(bare) {
                _ if context.is_owner() => "owner",
                Affiliation::None => continue,
                affiliation => affiliation.name(),
            };
            out.extend_from_slice(b"<affiliation");
            event::attribute("node", &node.name, &mut out);
            event::attribute("affiliation", affiliation, &mut out);
            out.extend_from_slice(b"/>");
        }
        out.extend_from_slice(format!("</{name}></pubsub>").as_bytes());
        Ok(Step::Done(Change {
            answer: event::string(out),
            ..Change::default()
        }))
    }
}
