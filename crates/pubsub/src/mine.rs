//! What somebody has at the nodes of an account or of a service (XEP-0060 sections 5.6 and 5.7).

use module::{Change, Step};
use stanza::{StanzaError, ns};
use store::{Found, Query, StoreError};

use crate::access::{Context, Home};
use crate::node::{Affiliation, Node, State};
use crate::rows::{self, NODES};
use crate::subscribe::write_subscription;
use crate::{PAGE_BYTES, error, event};

/// Nodes of a service that are read at once.
const AT_ONCE: usize = 16;

/// At all nodes, or at one.
pub(crate) struct Mine {
    pub(crate) node: Option<String>,
    pub(crate) affiliations: bool,
}

impl Mine {
    pub(crate) fn query(&self, context: &Context) -> Query {
        match (&self.node, context.home()) {
            (Some(node), _) => rows::get_node(context.owner(), node),
            (None, Home::Account) => Query::all(&NODES, context.owner()),
            (None, Home::Service) => rows::people_of(context),
        }
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let name = self.name();
        let mut out = format!("<pubsub xmlns='{}'><{name}", ns::PUBSUB).into_bytes();
        if let Some(node) = &self.node {
            event::attribute("node", node, &mut out);
        }
        out.push(b'>');
        let failed = |error: StoreError| error::store(&error);
        match (&self.node, context.home()) {
            (Some(node), _) => {
                let row = found.and_then(Found::row).map_err(failed)?;
                if let Some(node) = Node::read(node, row) {
                    self.write(context, &node, &mut out);
                }
            }
            (None, Home::Account) => {
                for (key, row) in found.and_then(Found::rows).map_err(failed)? {
                    if out.len() as u64 > PAGE_BYTES {
                        break;
                    }
                    if let Some(node) = Node::read(&key, Some(row)) {
                        self.write(context, &node, &mut out);
                    }
                }
            }
            (None, Home::Service) => {
                let rows = found.and_then(Found::rows).map_err(failed)?;
                let nodes = rows.iter().filter_map(|(key, _)| key.split_once(rows::UNIT));
                let nodes = nodes.map(|(_, node)| node.into()).collect();
                return Ok(self.some(context.clone(), nodes, out));
            }
        }
        Ok(self.done(out))
    }

    /// Of these nodes some, and then the next.
    fn some(self, context: Context, mut nodes: Vec<Box<str>>, mut out: Vec<u8>) -> Step {
        if nodes.is_empty() || out.len() as u64 > PAGE_BYTES {
            return self.done(out);
        }
        let rest = nodes.split_off(nodes.len().min(AT_ONCE));
        let queries = nodes.iter().map(|node| rows::get_node(context.owner(), node));
        let query = Query::Many(queries.collect());
        let make = move |found| {
            let mut found = rows::Answers::of(found)?;
            for name in nodes {
                if let Some(node) = Node::read(&name, found.row()?) {
                    self.write(&context, &node, &mut out);
                }
            }
            Ok(self.some(context, rest, out))
        };
        Step::Ask(query, Box::new(make))
    }

    fn name(&self) -> &'static str {
        if self.affiliations {
            "affiliations"
        } else {
            "subscriptions"
        }
    }

    fn write(&self, context: &Context, node: &Node, out: &mut Vec<u8>) {
        if !self.affiliations {
            let his = node.subscriptions_of(context.bare());
            for (jid, subscription) in his.filter(|(_, subscription)| subscription.state != State::Withdrawn) {
                write_subscription(&node.name, jid, subscription.state.name(), out);
            }
            return;
        }
        let affiliation = match node.affiliation(context.bare()) {
            _ if context.owns(node) => "owner",
            Affiliation::None => return,
            affiliation => affiliation.name(),
        };
        out.extend_from_slice(b"<affiliation");
        event::attribute("node", &node.name, out);
        event::attribute("affiliation", affiliation, out);
        out.extend_from_slice(b"/>");
    }

    fn done(&self, mut out: Vec<u8>) -> Step {
        out.extend_from_slice(format!("</{}></pubsub>", self.name()).as_bytes());
        Step::Done(Change {
            answer: event::string(out),
            ..Change::default()
        })
    }
}
