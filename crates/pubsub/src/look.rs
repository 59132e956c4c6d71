//! A look at a node by who shows elsewhere what stands there (`module::Face`).
//!
//! The questions are asked with others of his, so here are only these and what their answers say.

use module::Reach;
use stanza::StanzaError;
use store::{Found, Query};

use crate::access::{Context, admits};
use crate::config::AccessModel;
use crate::error;
use crate::node::Node;
use crate::rows::{self, Item, Place};

/// A node as somebody sees it who may read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    /// Who may read it.
    pub reach: Reach,
    /// The id of its last item.
    pub last: Option<Box<str>>,
    /// What was published before has expired.
    expired: i64,
}

/// The questions about a node, whose answers [`Looked::read`] takes.
pub fn look(owner: &str, node: &str) -> [Query; 2] {
    [rows::get_node(owner, node), rows::newest(owner, node, 1)]
}

/// The question about an item, whose answer [`Looked::item`] takes.
pub fn look_for(owner: &str, node: &str, id: &str) -> Query {
    rows::get_item(owner, node, id)
}

impl Looked {
    /// Takes the answers about this node. None: there is no such node for who asks.
    pub fn read(
        context: &Context,
        node: &str,
        answers: &mut impl Iterator<Item = Found>,
    ) -> Result<Option<Looked>, StanzaError> {
        let (row, newest) = (answers.next(), answers.next());
        let row = row.map_or(Ok(None), Found::row).map_err(|error| error::store(&error))?;
        let newest = newest.map_or(Ok(Vec::new()), Found::rows);
        let newest = Place::read_all(newest.map_err(|error| error::store(&error))?).pop();
        let node = Node::read(node, row).filter(|node| node.config.persist && admits(context, node).is_ok());
        let Some(node) = node else { return Ok(None) };
        let expired = node.expired_before(context.now.0);
        Ok(Some(Looked {
            reach: match node.config.access {
                AccessModel::Open => Reach::Anyone,
                AccessModel::Presence => Reach::Contacts,
                _ => Reach::Chosen,
            },
            last: newest.filter(|place| place.at >= expired).map(|place| place.id),
            expired,
        }))
    }

    /// The payload of an item of the node.
    pub fn item(&self, found: Found) -> Result<Option<Box<str>>, StanzaError> {
        let row = found.row().map_err(|error| error::store(&error))?;
        let item = Item::read(row).filter(|item| item.at >= self.expired);
        Ok(item.map(|item| item.payload))
    }
}
