//! Publishing (XEP-0060 section 7.1; XEP-0163 section 3).

use module::{Change, Deed, Step};
use stanza::{ErrorType, StanzaError, ns};
use store::{Batch, Found, Query, StoreError};

use crate::access::{Context, Home, gate, may_publish};
use crate::config::NodeFull;
use crate::error::{too_much, with};
use crate::event;
use crate::form::Fields;
use crate::node::{Affiliation, Node};
use crate::owner::may_own_more;
use crate::rows::{self, Answers, ITEMS, Item, MOVED, ORDER, Place, Totals};
use crate::{MAX_OUTPUT, moved};

/// Items that are taken out with one that comes in. One makes room, others have expired; the rest of these go next time.
const TAKEN_OUT: usize = 16;

/// `<item/>` of a request.
pub(crate) struct NewItem {
    pub(crate) id: Option<String>,
    /// One element that stands on its own.
    pub(crate) payload: Option<String>,
}

pub(crate) struct Publish {
    pub(crate) node: String,
    pub(crate) item: Option<NewItem>,
    pub(crate) options: Option<Fields>,
}

impl Publish {
    pub(crate) fn query(&self, context: &Context) -> Query {
        let owner = context.owner();
        let mut queries = vec![
            rows::get_totals(owner),
            rows::get_node(owner, &self.node),
            rows::oldest(owner, &self.node, TAKEN_OUT),
        ];
        if context.home() == Home::Service {
            queries.push(rows::people_of(context));
        }
        if let Some(id) = self.item.as_ref().and_then(|item| item.id.as_deref()) {
            queries.push(rows::get_item(owner, &self.node, id));
        }
        Query::Many(queries)
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let (owner, now) = (context.owner(), context.now.0);
        let mut found = Answers::of(found)?;
        let mut totals = Totals::read(found.row()?);
        let node = Node::read(&self.node, found.row()?);
        let oldest = found.places()?;
        let his = match context.home() {
            Home::Account => Vec::new(),
            Home::Service => found.rows()?,
        };
        let is_new = node.is_none();
        let mut node = match node {
            // Section 7.1.4: the account's own node comes into being.
            None if context.may_create() => {
                may_own_more(context, &his)?;
                new_node(context, &self.node, self.options.as_ref(), &mut totals)?
            }
            None if context.home() == Home::Service => return Ok(moved::missing(context, &self.node)),
            node => gate(context, node)?,
        };
        may_publish(context, &node)?;
        if let (Some(options), false) = (&self.options, is_new) {
            node.config.meets(options)?;
        }
        check(&node, self.item.as_ref())?;
        check_output(&node, self.item.as_ref())?;

        let number = totals.next();
        let mut batch = rows::batch(owner);
        if is_new {
            batch = batch.delete(&MOVED, owner, &*node.name);
        }
        let mut retracted: Vec<Box<str>> = Vec::new();
        let (id, item) = match self.item {
            None => (None, None),
            Some(new) => {
                let has_id = new.id.is_some();
                // Not used before, as the number is not; and a client that guesses it gets an error (below).
                let id = new.id.unwrap_or_else(|| format!("{now:x}-{number:x}"));
                let item = Item {
                    number,
                    at: now,
                    publisher: context.asker.jid.as_str().into(),
                    payload: new.payload.unwrap_or_default().into(),
                };
                if node.config.persist {
                    let old = if has_id { Item::read(found.row()?) } else { None };
                    let kept = Kept {
                        id: &id,
                        item: &item,
                        old,
                        has_id,
                    };
                    batch = keep(context, &mut node, &mut totals, kept, &oldest, batch, &mut retracted)?;
                }
                (Some(id), Some(item))
            }
        };
        let mut notices = Vec::new();
        if node.config.notify_retract && node.config.node_full == NodeFull::RetractOldest {
            let mut notice = |id: &str| event::retracted(&node, totals.next(), id);
            notices.extend(retracted.iter().map(|id| notice(id)));
        }
        let batch = totals.put(node.put(batch, owner), owner);
        if node.config.deliver_notifications {
            let (home, publisher) = (context.home(), context.asker.jid.as_str());
            let item = id.as_deref().zip(item.as_ref());
            notices.push(event::published(&node, number, publisher, item, home));
        }
        let deed = id.as_deref().zip(item.as_ref()).map(|(id, item)| Deed::Published {
            node: node.name.clone(),
            id: id.into(),
            payload: item.payload.clone(),
        });
        let mut answer = format!("<pubsub xmlns='{}'>", ns::PUBSUB).into_bytes();
        let write_id = |out: &mut Vec<u8>| {
            if let Some(id) = &id {
                out.extend_from_slice(b"<item");
                event::attribute("id", id, out);
                out.extend_from_slice(b"/>");
            }
        };
        event::element("publish", &node.name, write_id, &mut answer);
        answer.extend_from_slice(b"</pubsub>");
        Ok(Step::Done(Change {
            batch,
            answer: event::string(answer),
            notices,
            deeds: deed.into_iter().collect(),
            ..Change::default()
        }))
    }
}

/// A node that is made with these options.
fn new_node(context: &Context, name: &str, options: Option<&Fields>, totals: &mut Totals) -> Result<Node, StanzaError> {
    let mut node = Node::new(name, context.home(), context.now.0);
    if let Some(options) = options {
        node.config.submit_options(options, context.home())?;
    }
    count_node(totals, context.home())?;
    own(context, &mut node);
    Ok(node)
}

/// One node more.
pub(crate) fn count_node(totals: &mut Totals, home: Home) -> Result<(), StanzaError> {
    if totals.nodes >= home.max_nodes() {
        return Err(with(StanzaError::policy_violation(), "max-nodes-exceeded"));
    }
    totals.nodes += 1;
    Ok(())
}

/// Who makes a node at a service owns it.
pub(crate) fn own(context: &Context, node: &mut Node) {
    if context.home() == Home::Service {
        node.affiliations.insert(context.bare().into(), Affiliation::Owner);
    }
}

/// Whether what follows from one item is no more than one request may cause.
fn check_output(node: &Node, item: Option<&NewItem>) -> Result<(), StanzaError> {
    let payload = item.and_then(|item| item.payload.as_ref()).map_or(0, String::len);
    if !node.config.deliver_payloads || payload as u64 * node.subscriptions.len() as u64 <= MAX_OUTPUT {
        return Ok(());
    }
    Err(too_much(
        "too much for so many subscribers: publish less, or without payloads in what they are told",
    ))
}

/// Whether the request is of the event type for which the node is configured (sections 4.3 and 7.1.3).
fn check(node: &Node, item: Option<&NewItem>) -> Result<(), StanzaError> {
    let config = &node.config;
    let bad = |condition| Err(with(StanzaError::bad_request(), condition));
    match item {
        None if config.persist || config.deliver_payloads => bad("item-required"),
        None => Ok(()),
        Some(_) if !config.persist && !config.deliver_payloads => bad("item-forbidden"),
        Some(item) => match &item.payload {
            None if config.deliver_payloads => bad("payload-required"),
            Some(payload) if payload.len() as u64 > config.max_payload => {
                Err(with(StanzaError::not_acceptable(), "payload-too-big"))
            }
            _ => Ok(()),
        },
    }
}

struct Kept<'a> {
    id: &'a str,
    item: &'a Item,
    /// In whose place it comes.
    old: Option<Item>,
    has_id: bool,
}

/// Puts the item into the node, and takes out the oldest for which there is no room, and what has expired.
fn keep(
    context: &Context,
    node: &mut Node,
    totals: &mut Totals,
    kept: Kept<'_>,
    oldest: &[Place],
    mut batch: Batch,
    retracted: &mut Vec<Box<str>>,
) -> Result<Batch, StanzaError> {
    let (owner, Kept { id, item, old, has_id }) = (context.owner(), kept);
    if let Some(old) = &old {
        // Whose it is, only he and the owner may overwrite.
        let publisher = stanza::JidCow::parse(&old.publisher).ok();
        let is_his = publisher.is_some_and(|jid| jid.as_ref().bare_str() == context.asker.jid.bare_str());
        if !is_his && !context.owns(node) {
            return Err(StanzaError::forbidden());
        }
        let bytes = old.bytes(id);
        forget(node, totals, bytes);
        batch = batch.delete(&ORDER, owner, &*rows::order_key(&node.name, old.number));
    }
    let bytes = item.bytes(id);
    node.items += 1;
    node.bytes += bytes;
    totals.bytes += bytes;
    let room = node.config.max_items.or(crate::MAX_ITEMS);
    let expired = node.expired_before(context.now.0);
    let others = oldest.iter().filter(|place| *place.id != *id);
    for place in others {
        if node.items <= room && place.at >= expired {
            break;
        }
        if place.at >= expired {
            if node.config.node_full == NodeFull::Reject {
                return Err(with(StanzaError::conflict(), "node-full"));
            }
            retracted.push(place.id.clone());
        }
        batch = remove(node, totals, place, owner, batch);
    }
    if totals.bytes > context.home().max_bytes() || node.bytes > context.home().max_node_bytes() {
        let error = StanzaError::resource_constraint().kind(ErrorType::Wait);
        return Err(error.text("the items take too much room"));
    }
    let (key, row) = (rows::item_key(&node.name, id), item.row());
    batch = if has_id {
        batch.put(&ITEMS, owner, &*key, row)
    } else {
        batch.insert(&ITEMS, owner, &*key, row)
    };
    let place = Place {
        number: item.number,
        id: id.into(),
        bytes,
        at: item.at,
    };
    Ok(batch.put(&ORDER, owner, &*rows::order_key(&node.name, item.number), place.row()))
}

fn forget(node: &mut Node, totals: &mut Totals, bytes: u64) {
    node.items = node.items.saturating_sub(1);
    node.bytes = node.bytes.saturating_sub(bytes);
    totals.bytes = totals.bytes.saturating_sub(bytes);
}

/// Takes an item out.
pub(crate) fn remove(node: &mut Node, totals: &mut Totals, place: &Place, owner: &str, batch: Batch) -> Batch {
    forget(node, totals, place.bytes);
    batch
        .delete(&ITEMS, owner, &*rows::item_key(&node.name, &place.id))
        .delete(&ORDER, owner, &*rows::order_key(&node.name, place.number))
}

/// Takes all items out.
pub(crate) fn remove_all(node: &mut Node, totals: &mut Totals, owner: &str, batch: Batch) -> Batch {
    totals.bytes = totals.bytes.saturating_sub(node.bytes);
    (node.items, node.bytes) = (0, 0);
    let part = rows::part(&node.name);
    batch
        .delete_keys(&ITEMS, owner, &part)
        .delete_keys(&ORDER, owner, &part)
}

/// The name of a node, which is not too long.
pub(crate) fn node_name(name: &str) -> Result<String, StanzaError> {
    if name.len() > crate::MAX_NODE_NAME {
        return Err(too_much("the name of the node is too long"));
    }
    Ok(name.into())
}

/// The id of an item, which is not too long.
pub(crate) fn item_id(id: &str) -> Result<String, StanzaError> {
    if id.len() > crate::MAX_ITEM_ID {
        return Err(too_much("the id of the item is too long"));
    }
    Ok(id.into())
}
