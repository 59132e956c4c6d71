//! The last items for somebody who has come online (XEP-0163 section 4.3.4).

use module::{Change, MakeChange, Relation, Step};
use store::{Found, Query, StoreError};

use crate::access::{Context, admits};
use crate::config::SendLast;
use crate::node::Node;
use crate::rows::{self, Answers, Item, Place};
use crate::{error, event};

/// Nodes that are looked at for one entity. A client names those that it wants; more than these it does not get.
pub const LAST_ITEMS: usize = 64;

/// What of these nodes of the account is to be sent to the asker, who has just come online and wants it. The store is
/// asked `Query` first. The steps end in a change that writes nothing, with one notice for each item: `message` is for
/// the asker alone, and who else would get such a notice is not told.
pub fn last_items<'n>(context: &Context, nodes: impl Iterator<Item = &'n str>) -> (Query, MakeChange) {
    let owner = context.owner();
    let names: Vec<Box<str>> = nodes.take(LAST_ITEMS).map(Into::into).collect();
    let queries = names
        .iter()
        .flat_map(|name| [rows::get_node(owner, name), rows::newest(owner, name, 1)]);
    let query = Query::Many(queries.collect());
    let context = context.clone();
    let make = move |found: Result<Found, StoreError>| {
        let mut found = Answers::of(found)?;
        let mut wanted = Vec::new();
        for name in names {
            let node = Node::read(&name, found.row()?);
            let place = found.places()?.pop();
            let (Some(node), Some(place)) = (node, place) else {
                continue;
            };
            let is_sent = node.config.send_last == SendLast::OnSubAndPresence
                && node.config.deliver_notifications
                && place.at >= node.expired_before(context.now.0)
                && admits(&context, &node).is_ok();
            if is_sent {
                wanted.push((node, place.id));
            }
        }
        if wanted.is_empty() {
            return Ok(Step::Done(Change::default()));
        }
        let owner = context.owner();
        let queries = wanted.iter().map(|(node, id)| rows::get_item(owner, &node.name, id));
        let query = Query::Many(queries.collect());
        let make = move |found: Result<Found, StoreError>| {
            let mut found = Answers::of(found)?;
            let mut notices = Vec::new();
            for (node, id) in wanted {
                let Some(item) = Item::read(found.row()?) else { continue };
                let sees_presence = context.asker.relation >= Relation::Subscriber;
                let message = event::last(&node, &id, &item, context.owner(), sees_presence);
                notices.push(event::to_one(&node, message, context.asker.jid.as_str()));
            }
            Ok(Step::Done(Change {
                notices,
                ..Change::default()
            }))
        };
        Ok(Step::Ask(query, Box::new(make)))
    };
    (query, Box::new(make))
}

/// Those who have just become subscribers are told the last item behind the change (sections 6.1.7 and 13.10).
pub(crate) fn after(context: &Context, node: Node, jids: Vec<Box<str>>, mut change: Change) -> Step {
    if jids.is_empty() || node.config.send_last == SendLast::Never || !node.config.persist {
        return Step::Done(change);
    }
    let owner: Box<str> = context.owner().into();
    let expired = node.expired_before(context.now.0);
    let query = Query::Many(vec![rows::newest(&owner, &node.name, 1)]);
    let make = move |found: Result<Found, StoreError>| {
        let last = Answers::of(found)?.places()?.pop();
        let Some(Place { id, .. }) = last.filter(|place| place.at >= expired) else {
            return Ok(Step::Done(change));
        };
        let query = rows::get_item(&owner, &node.name, &id);
        let make = move |found: Result<Found, StoreError>| {
            let row = found.and_then(Found::row).map_err(|error| error::store(&error))?;
            if let Some(item) = Item::read(row) {
                let told = jids.iter().map(|jid| event::last_for(&node, &id, &item, &owner, jid));
                change.notices.extend(told);
            }
            Ok(Step::Done(change))
        };
        Ok(Step::Ask(query, Box::new(make)))
    };
    Step::Ask(query, Box::new(make))
}
