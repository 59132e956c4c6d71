//! What the owner of nodes does (XEP-0060 section 8): creates, configures, purges and deletes them. The account owns all its
//! nodes, and nobody else does (XEP-0163 section 2.2); at a service who makes a node owns it.

use module::{Change, Deed, Step};
use stanza::{Jid, StanzaError, ns};
use store::{Found, PAGE_LIMIT, Query, Row, StoreError};

use crate::access::{Context, Home, gate};
use crate::config::Config;
use crate::error::{unsupported, with};
use crate::event;
use crate::form::Fields;
use crate::node::{Node, State};
use crate::publish::{count_node, own, remove, remove_all};
use crate::rows::{self, Answers, MOVED, Totals};
use crate::{MAX_OWNED, moved, people};

/// Section 8.1. Without a name it gets one.
pub(crate) struct Create {
    pub(crate) node: Option<String>,
    pub(crate) config: Option<Fields>,
}

impl Create {
    pub(crate) fn query(&self, context: &Context) -> Query {
        let mut queries = vec![rows::get_totals(context.owner()), rows::people_of(context)];
        queries.extend(self.node.as_ref().map(|node| rows::get_node(context.owner(), node)));
        Query::Many(queries)
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let owner = context.owner();
        let mut found = Answers::of(found)?;
        let mut totals = Totals::read(found.row()?);
        may_own_more(context, &found.rows()?)?;
        let number = totals.next();
        let is_named = self.node.is_some();
        let name = match self.node {
            Some(_) if found.row()?.is_some() => return Err(StanzaError::conflict()),
            Some(name) => name,
            None => format!("{:x}-{number:x}", context.now.0),
        };
        let mut node = Node::new(&name, context.home(), context.now.0);
        if let Some(fields) = &self.config {
            node.config.submit(fields, context.home())?;
        }
        own(context, &mut node);
        count_node(&mut totals, context.home())?;
        let batch = node.put(rows::batch(owner), owner).delete(&MOVED, owner, &*name);
        let mut answer = Vec::new();
        if !is_named {
            answer = format!("<pubsub xmlns='{}'>", ns::PUBSUB).into_bytes();
            event::element("create", &name, |_| (), &mut answer);
            answer.extend_from_slice(b"</pubsub>");
        }
        Ok(Step::Done(Change {
            batch: totals.put(batch, owner),
            answer: event::string(answer),
            ..Change::default()
        }))
    }
}

/// What is done to one node of the account.
pub(crate) enum Act {
    /// Section 8.2.2.
    ShowConfig,
    /// Section 8.2.4. None: cancelled.
    Configure(Option<Fields>),
    /// Section 8.4. Where it has gone.
    Delete(Option<String>),
    /// Section 8.5.
    Purge,
    /// Section 8.8.1.
    ShowSubscriptions,
    /// Section 8.8.2: JID and state.
    Subscriptions(Vec<(String, Option<String>)>),
    /// Section 8.9.1.
    ShowAffiliations,
    /// Section 8.9.2: JID and affiliation.
    Affiliations(Vec<(String, Option<String>)>),
    /// Section 8.6: who waits, and whether he may.
    Approve(Jid, bool),
}

pub(crate) struct Manage {
    pub(crate) node: String,
    pub(crate) act: Act,
}

impl Manage {
    pub(crate) fn query(&self, context: &Context) -> Query {
        let owner = context.owner();
        let mut queries = vec![rows::get_totals(owner), rows::get_node(owner, &self.node)];
        match self.act {
            // More than a node has.
            Act::Configure(_) => queries.push(rows::oldest(owner, &self.node, PAGE_LIMIT)),
            Act::Delete(Some(_)) => queries.push(Query::all(&MOVED, owner)),
            _ => {}
        }
        Query::Many(queries)
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let mut found = Answers::of(found)?;
        let totals = Totals::read(found.row()?);
        let node = gate(context, Node::read(&self.node, found.row()?))?;
        context.owners_only(&node)?;
        let owner = context.owner();
        let change = match self.act {
            Act::ShowConfig => shown(|out| {
                let write = |out: &mut Vec<u8>| node.config.write_form(true, context.home(), out);
                event::element("configure", &node.name, write, out);
            }),
            Act::Configure(None) => Change::default(),
            Act::Configure(Some(fields)) => configure(context, node, totals, &fields, found)?,
            Act::Delete(uri) => {
                let before = if uri.is_some() { found.rows()? } else { Vec::new() };
                delete(owner, node, totals, uri.as_deref(), &before)
            }
            Act::Purge => purge(owner, node, totals)?,
            Act::ShowSubscriptions => shown(|out| {
                let write = |out: &mut Vec<u8>| {
                    for (jid, _) in node.in_state(State::Subscribed) {
                        write_pair("subscription", jid, "subscribed", out);
                    }
                };
                event::element("subscriptions", &node.name, write, out);
            }),
            Act::Subscriptions(wanted) => return people::subscriptions(context, node, totals, wanted),
            Act::ShowAffiliations => shown(|out| {
                let write = |out: &mut Vec<u8>| {
                    if context.home() == Home::Account {
                        write_pair("affiliation", owner, "owner", out);
                    }
                    for (jid, affiliation) in &node.affiliations {
                        write_pair("affiliation", jid, affiliation.name(), out);
                    }
                };
                event::element("affiliations", &node.name, write, out);
            }),
            Act::Affiliations(wanted) => people::affiliations(context, node, totals, wanted)?,
            Act::Approve(jid, allow) => return people::approve(context, node, totals, jid.as_str(), allow),
        };
        Ok(Step::Done(change))
    }
}

/// Of who makes nodes at a service; `his` is what he has there.
pub(crate) fn may_own_more(context: &Context, his: &[(Box<str>, Row)]) -> Result<(), StanzaError> {
    let owned = his.iter().filter(|(_, row)| rows::int(row, 0) != 0).count();
    if context.home() == Home::Service && owned >= MAX_OWNED {
        return Err(with(StanzaError::policy_violation(), "max-nodes-exceeded"));
    }
    Ok(())
}

/// Section 8.3.
pub(crate) fn default_config(home: Home) -> String {
    let mut out = format!("<pubsub xmlns='{}'><default>", ns::PUBSUB_OWNER).into_bytes();
    Config::of_new("", home).write_form(true, home, &mut out);
    out.extend_from_slice(b"</default></pubsub>");
    event::string(out)
}

fn shown(write: impl FnOnce(&mut Vec<u8>)) -> Change {
    let mut out = format!("<pubsub xmlns='{}'>", ns::PUBSUB_OWNER).into_bytes();
    write(&mut out);
    out.extend_from_slice(b"</pubsub>");
    Change {
        answer: event::string(out),
        ..Change::default()
    }
}

/// `<subscription jid='…' subscription='…'/>`, and the same of affiliations.
pub(crate) fn write_pair(name: &str, jid: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    event::attribute("jid", jid, out);
    event::attribute(name, value, out);
    out.extend_from_slice(b"/>");
}

/// Section 8.2.5. What has no room any more goes at once.
fn configure(
    context: &Context,
    mut node: Node,
    mut totals: Totals,
    fields: &Fields,
    mut found: Answers,
) -> Result<Change, StanzaError> {
    let (owner, home) = (context.owner(), context.home());
    let before = node.config.clone();
    node.config.submit(fields, home)?;
    if node.config == before {
        return Ok(Change::default());
    }
    let mut batch = rows::batch(owner);
    let room = node.config.max_items.or(crate::MAX_ITEMS);
    if !node.config.persist {
        batch = remove_all(&mut node, &mut totals, owner, batch);
    } else if node.items > room {
        let too_many = usize::try_from(node.items - room).unwrap_or(usize::MAX);
        for place in found.places()?.iter().take(too_many) {
            batch = remove(&mut node, &mut totals, place, owner, batch);
        }
    }
    let mut notices = Vec::new();
    if node.config.notify_config {
        notices.push(event::configured(&node, totals.next(), home));
    }
    Ok(Change {
        batch: totals.put(node.put(batch, owner), owner),
        notices,
        deeds: vec![Deed::Configured { node: node.name }],
        ..Change::default()
    })
}

fn delete(owner: &str, mut node: Node, mut totals: Totals, uri: Option<&str>, before: &[(Box<str>, Row)]) -> Change {
    let batch = remove_all(&mut node, &mut totals, owner, rows::batch(owner));
    let mut batch = node.delete(batch, owner);
    if let Some(uri) = uri {
        batch = moved::put(batch, owner, &node.name, uri, before);
    }
    totals.nodes = totals.nodes.saturating_sub(1);
    let number = totals.next();
    let notices = node.config.notify_delete.then(|| event::deleted(&node, number, uri));
    Change {
        batch: totals.put(batch, owner),
        notices: notices.unwrap_or_default(),
        deeds: vec![Deed::Emptied { node: node.name }],
        ..Change::default()
    }
}

fn purge(owner: &str, mut node: Node, mut totals: Totals) -> Result<Change, StanzaError> {
    if !node.config.persist {
        return Err(unsupported("persistent-items"));
    }
    let batch = remove_all(&mut node, &mut totals, owner, rows::batch(owner));
    let number = totals.next();
    let notices = node.config.notify_retract.then(|| event::purged(&node, number));
    Ok(Change {
        batch: totals.put(node.put(batch, owner), owner),
        notices: notices.into_iter().collect(),
        deeds: vec![Deed::Emptied { node: node.name }],
        ..Change::default()
    })
}
