//! The last items for somebody who has come online (XEP-0163 section 4.3.4).

use module::{Change, MakeChange, Relation, Step};
use store::{Found, Query, StoreError};

use crate::access::{Context, admits};
use crate::config::SendLast;
use crate::event;
use crate::node::Node;
use crate::rows::{self, Answers, Item};

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
