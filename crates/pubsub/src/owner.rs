//! What the owner of nodes does (XEP-0060 section 8): creates, configures, purges and deletes them, and says who belongs
//! to them. The account owns all its nodes, and nobody else does (XEP-0163 section 2.2).

use module::{Change, Deed, Step};
use stanza::{Jid, StanzaError, ns};
use store::{Found, PAGE_LIMIT, Query, StoreError};

use crate::access::{Context, gate};
use crate::config::Config;
use crate::error::{too_much, unsupported};
use crate::event;
use crate::form::Fields;
use crate::node::{Affiliation, Node};
use crate::publish::{count_node, remove, remove_all};
use crate::rows::{self, Answers, NODES, Totals};

/// Section 8.1. Without a name it gets one.
pub(crate) struct Create {
    pub(crate) node: Option<String>,
    pub(crate) config: Option<Fields>,
}

impl Create {
    pub(crate) fn query(&self, context: &Context) -> Query {
        let mut queries = vec![rows::get_totals(context.owner())];
        queries.extend(self.node.as_ref().map(|node| rows::get_node(context.owner(), node)));
        Query::Many(queries)
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let owner = context.owner();
        let mut found = Answers::of(found)?;
        let mut totals = Totals::read(found.row()?);
        let number = totals.next();
        let is_named = self.node.is_some();
        let name = match self.node {
            Some(_) if found.row()?.is_some() => return Err(StanzaError::conflict()),
            Some(name) => name,
            None => format!("{:x}-{number:x}", context.now.0),
        };
        let mut node = Node::new(&name, context.now.0);
        if let Some(fields) = &self.config {
            node.config.submit(fields)?;
        }
        count_node(&mut totals)?;
        let batch = rows::batch(owner).insert(&NODES, owner, &*name, node.row());
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
    /// Section 8.4.
    Delete,
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
}

pub(crate) struct Manage {
    pub(crate) node: String,
    pub(crate) act: Act,
}

impl Manage {
    pub(crate) fn query(&self, context: &Context) -> Query {
        let owner = context.owner();
        let mut queries = vec![rows::get_totals(owner), rows::get_node(owner, &self.node)];
        if let Act::Configure(_) = self.act {
            // More than a node has.
            queries.push(rows::oldest(owner, &self.node, PAGE_LIMIT));
        }
        Query::Many(queries)
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let mut found = Answers::of(found)?;
        let totals = Totals::read(found.row()?);
        let node = gate(context, Node::read(&self.node, found.row()?))?;
        context.owners_only()?;
        let owner = context.owner();
        let change = match self.act {
            Act::ShowConfig => shown(|out| {
                event::element("configure", &node.name, |out| node.config.write_form(true, out), out);
            }),
            Act::Configure(None) => Change::default(),
            Act::Configure(Some(fields)) => configure(owner, node, totals, &fields, found)?,
            Act::Delete => delete(owner, node, totals),
            Act::Purge => purge(owner, node, totals)?,
            Act::ShowSubscriptions => shown(|out| {
                let write = |out: &mut Vec<u8>| {
                    for jid in &node.subscriptions {
                        write_pair("subscription", jid, "subscribed", out);
                    }
                };
                event::element("subscriptions", &node.name, write, out);
            }),
            Act::Subscriptions(wanted) => subscriptions(owner, node, totals, wanted)?,
            Act::ShowAffiliations => shown(|out| {
                let write = |out: &mut Vec<u8>| {
                    write_pair("affiliation", owner, "owner", out);
                    for (jid, affiliation) in &node.affiliations {
                        write_pair("affiliation", jid, affiliation.name(), out);
                    }
                };
                event::element("affiliations", &node.name, write, out);
            }),
            Act::Affiliations(wanted) => affiliations(owner, node, wanted)?,
        };
        Ok(Step::Done(change))
    }
}

/// Section 8.3.
pub(crate) fn default_config() -> String {
    let mut out = format!("<pubsub xmlns='{}'><default>", ns::PUBSUB_OWNER).into_bytes();
    Config::of_new("").write_form(true, &mut out);
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
fn write_pair(name: &str, jid: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    event::attribute("jid", jid, out);
    event::attribute(name, value, out);
    out.extend_from_slice(b"/>");
}

/// Section 8.2.5. What has no room any more goes at once.
fn configure(
    owner: &str,
    mut node: Node,
    mut totals: Totals,
    fields: &Fields,
    mut found: Answers,
) -> Result<Change, StanzaError> {
    let before = node.config.clone();
    node.config.submit(fields)?;
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
        notices.push(event::configured(&node, totals.next()));
    }
    Ok(Change {
        batch: totals.put(node.put(batch, owner), owner),
        notices,
        deeds: vec![Deed::Configured { node: node.name }],
        ..Change::default()
    })
}

fn delete(owner: &str, mut node: Node, mut totals: Totals) -> Change {
    let batch = remove_all(&mut node, &mut totals, owner, rows::batch(owner)).delete(&NODES, owner, &*node.name);
    totals.nodes = totals.nodes.saturating_sub(1);
    let number = totals.next();
    let notices = node.config.notify_delete.then(|| event::deleted(&node, number));
    Change {
        batch: totals.put(batch, owner),
        notices: notices.into_iter().collect(),
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

/// Those that could not be changed, as they are (sections 8.8.2.4 and 8.9.2.4). Nothing is changed then.
fn not_changed(list: &str, name: &str, node: &str, wrong: &[(String, &'static str)]) -> StanzaError {
    let mut out = Vec::new();
    let write = |out: &mut Vec<u8>| {
        for (jid, value) in wrong {
            write_pair(name, jid, value, out);
        }
    };
    event::element(list, node, write, &mut out);
    let element = event::string(out).replacen(' ', &format!(" xmlns='{}' ", ns::PUBSUB_OWNER), 1);
    StanzaError::not_acceptable().app(element)
}

fn subscriptions(
    owner: &str,
    mut node: Node,
    mut totals: Totals,
    wanted: Vec<(String, Option<String>)>,
) -> Result<Change, StanzaError> {
    let (mut wrong, mut changed) = (Vec::new(), Vec::new());
    for (jid, state) in wanted {
        let parsed = Jid::parse(&jid).ok();
        let is_subscribed = parsed
            .as_ref()
            .is_some_and(|jid| node.subscriptions.contains(jid.as_str()));
        let wants = match (parsed, state.as_deref()) {
            (Some(_), None) => continue,
            (Some(jid), Some("subscribed")) => (jid, true),
            (Some(jid), Some("none")) => (jid, false),
            _ => {
                wrong.push((jid, if is_subscribed { "subscribed" } else { "none" }));
                continue;
            }
        };
        if wants.1 != is_subscribed {
            changed.push(wants);
        }
    }
    if !wrong.is_empty() {
        return Err(not_changed("subscriptions", "subscription", &node.name, &wrong));
    }
    let mut notices = Vec::new();
    for (jid, on) in changed {
        let number = totals.next();
        if on {
            node.subscriptions.insert(jid.as_str().into());
        } else {
            node.subscriptions.remove(jid.as_str());
        }
        let state = if on { "subscribed" } else { "none" };
        notices.push(event::subscription_changed(&node, number, jid.as_str(), state));
    }
    if node.has_too_many_subscriptions() {
        return Err(too_much("the node has too many subscriptions"));
    }
    Ok(Change {
        batch: totals.put(node.put(rows::batch(owner), owner), owner),
        notices,
        ..Change::default()
    })
}

fn affiliations(owner: &str, mut node: Node, wanted: Vec<(String, Option<String>)>) -> Result<Change, StanzaError> {
    let mut wrong = Vec::new();
    let mut changed = Vec::new();
    for (jid, affiliation) in wanted {
        // Section 4.1: of bare JIDs.
        let parsed = Jid::parse(&jid).ok().map(|jid| jid.to_bare());
        let is_owner = parsed.as_ref().is_some_and(|jid| jid.as_str() == owner);
        let now = parsed
            .as_ref()
            .map_or("none", |jid| node.affiliation(jid.as_str()).name());
        match (parsed, affiliation.as_deref()) {
            (Some(_), None) => {}
            (Some(_), Some("owner")) if is_owner => {}
            // Its last owner stays.
            (Some(_), Some(_)) if is_owner => wrong.push((jid, "owner")),
            (Some(parsed), Some(name)) => match Affiliation::read(name) {
                Some(affiliation) => changed.push((parsed, affiliation)),
                None => wrong.push((jid, now)),
            },
            (None, _) => wrong.push((jid, now)),
        }
    }
    if !wrong.is_empty() {
        return Err(not_changed("affiliations", "affiliation", &node.name, &wrong));
    }
    for (jid, affiliation) in changed {
        if affiliation == Affiliation::None {
            node.affiliations.remove(jid.as_str());
        } else {
            node.affiliations.insert(jid.as_str().into(), affiliation);
        }
        if affiliation == Affiliation::Outcast {
            let lost: Vec<Box<str>> = node.subscriptions_of(jid.as_str()).map(Into::into).collect();
            for jid in lost {
                node.subscriptions.remove(&jid);
            }
        }
    }
    if node.has_too_many_affiliations() {
        return Err(too_much("the node has too many affiliations"));
    }
    Ok(Change {
        batch: node.put(rows::batch(owner), owner),
        ..Change::default()
    })
}
