//! Deleting an item (XEP-0060 section 7.2).

use module::{Change, Deed, Step};
use stanza::StanzaError;
use store::{Found, Query, StoreError};

use crate::access::{Context, admits, gate};
use crate::error::unsupported;
use crate::event;
use crate::node::Node;
use crate::publish::remove;
use crate::rows::{self, Answers, Item, Place, Totals};

pub(crate) struct Retract {
    pub(crate) node: String,
    pub(crate) id: String,
    pub(crate) notify: bool,
}

impl Retract {
    pub(crate) fn query(&self, context: &Context) -> Query {
        let owner = context.owner();
        Query::Many(vec![
            rows::get_totals(owner),
            rows::get_node(owner, &self.node),
            rows::get_item(owner, &self.node, &self.id),
        ])
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let owner = context.owner();
        let mut found = Answers::of(found)?;
        let mut totals = Totals::read(found.row()?);
        let mut node = gate(context, Node::read(&self.node, found.row()?))?;
        if !node.config.persist {
            return Err(unsupported("persistent-items"));
        }
        let item = Item::read(found.row()?);
        let publisher = item
            .as_ref()
            .and_then(|item| stanza::JidCow::parse(&item.publisher).ok());
        let is_his = publisher.is_some_and(|jid| jid.as_ref().bare_str() == context.asker.jid.bare_str());
        if !context.owns(&node) && !is_his {
            // Whether there is such an item is nothing for who may not read it.
            admits(context, &node)?;
            return Err(StanzaError::forbidden());
        }
        let item = item.ok_or_else(StanzaError::item_not_found)?;
        let place = Place {
            number: item.number,
            bytes: item.bytes(&self.id),
            at: item.at,
            id: self.id.into(),
        };
        let number = totals.next();
        let batch = remove(&mut node, &mut totals, &place, owner, rows::batch(owner));
        let mut notices = Vec::new();
        if self.notify || node.config.notify_retract {
            notices.push(event::retracted(&node, number, &place.id));
        }
        Ok(Step::Done(Change {
            batch: totals.put(node.put(batch, owner), owner),
            notices,
            deeds: vec![Deed::Retracted {
                node: node.name.clone(),
                id: place.id,
            }],
            ..Change::default()
        }))
    }
}
