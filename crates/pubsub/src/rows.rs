//! What stands in the store: a row for each node, two for each item, and one for the account.
//!
//! Items are found by their id and in the order in which they were published, so each has a row by its id and one by its
//! number. Numbers are the account's, and none is used twice. The owner of all rows is the account's bare JID: who
//! removes the account removes them.

use stanza::StanzaError;
use store::{Batch, Column, Found, Keys, Query, Row, Shape, StoreError, Table, Value};

use crate::access::{Context, Home};
use crate::error;

/// Nodes by their name; see `Node` for what is in the columns.
pub static NODES: Table = Table {
    name: "pubsub_nodes",
    shape: Shape::Map,
    columns: &[
        Column::text("config"),
        Column::text("affiliations"),
        Column::text("subscriptions"),
        Column::int("items"),
        Column::int("bytes"),
        Column::int("created"),
    ],
};

/// Items by node and id.
pub static ITEMS: Table = Table {
    name: "pubsub_items",
    shape: Shape::Map,
    columns: &[
        Column::int("number"),
        Column::int("at"),
        Column::text("publisher"),
        Column::text("payload"),
    ],
};

/// The ids of the items by node and number.
pub static ORDER: Table = Table {
    name: "pubsub_order",
    shape: Shape::Map,
    columns: &[Column::text("item"), Column::int("bytes"), Column::int("at")],
};

/// What a service has of somebody: by bare JID and node, whether he has made it and owns it. The same without a JID are its nodes, with
/// what of them is needed to list them.
pub static PEOPLE: Table = Table {
    name: "pubsub_people",
    shape: Shape::Map,
    columns: &[
        Column::int("owns"),
        Column::text("access"),
        Column::text("title"),
        Column::text("kind"),
    ],
};

/// Where a deleted node has gone, by its name (XEP-0060 section 8.4.1).
pub static MOVED: Table = Table {
    name: "pubsub_moved",
    shape: Shape::Map,
    columns: &[Column::text("uri")],
};

/// Of an account: the last number, how many nodes, and bytes of all items.
pub static TOTALS: Table = Table {
    name: "pubsub_accounts",
    shape: Shape::KeyVal,
    columns: &[Column::int("number"), Column::int("nodes"), Column::int("bytes")],
};

/// Between the name of a node and what follows; and, with the other, in lists. XML has neither, so no name can have it.
pub(crate) const UNIT: char = '\u{1f}';
pub(crate) const RECORD: char = '\u{1e}';

/// What the keys of a node's items begin with.
pub(crate) fn part(node: &str) -> String {
    format!("{node}{UNIT}")
}

pub(crate) fn item_key(node: &str, id: &str) -> String {
    format!("{node}{UNIT}{id}")
}

pub(crate) fn person_key(bare: &str, node: &str) -> String {
    format!("{bare}{UNIT}{node}")
}

/// The text is in the order of the numbers.
pub(crate) fn order_key(node: &str, number: i64) -> String {
    format!("{node}{UNIT}{}", shown(number))
}

/// A number as it is shown to who pages through the items.
pub(crate) fn shown(number: i64) -> String {
    format!("{number:016x}")
}

pub(crate) fn read_shown(text: &str) -> Option<i64> {
    (text.len() == 16).then(|| i64::from_str_radix(text, 16).ok())?
}

pub(crate) fn get_node(owner: &str, node: &str) -> Query {
    Query::get(&NODES, owner, node)
}

pub(crate) fn get_totals(owner: &str) -> Query {
    Query::get(&TOTALS, owner, None)
}

pub(crate) fn get_item(owner: &str, node: &str, id: &str) -> Query {
    Query::get(&ITEMS, owner, &*item_key(node, id))
}

/// The oldest items of a node, at most so many.
pub(crate) fn oldest(owner: &str, node: &str, limit: usize) -> Query {
    Query::keys(Keys::of(&ORDER, owner, &part(node), limit))
}

/// The newest.
pub(crate) fn newest(owner: &str, node: &str, limit: usize) -> Query {
    Query::keys(Keys {
        last: true,
        ..Keys::of(&ORDER, owner, &part(node), limit)
    })
}

/// What who asks has at the nodes of a service. An account has no such rows.
pub(crate) fn people_of(context: &Context) -> Query {
    let part = part(context.bare());
    Query::keys(Keys::of(&PEOPLE, context.owner(), &part, store::PAGE_LIMIT))
}

/// A batch that is refused when the account is gone, so that nothing is left behind for who gets the name next. A service
/// is always there.
pub(crate) fn batch(owner: &str) -> Batch {
    match Home::of(owner) {
        Home::Account => Batch::new().require(&accounts::ACCOUNTS, owner, None),
        Home::Service => Batch::new(),
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) number: i64,
    pub(crate) nodes: u64,
    pub(crate) bytes: u64,
}

impl Totals {
    pub(crate) fn read(row: Option<Row>) -> Totals {
        let row = row.unwrap_or_default();
        Totals {
            number: int(&row, 0),
            nodes: int(&row, 1).unsigned_abs(),
            bytes: int(&row, 2).unsigned_abs(),
        }
    }

    pub(crate) fn next(&mut self) -> i64 {
        self.number += 1;
        self.number
    }

    pub(crate) fn put(&self, batch: Batch, owner: &str) -> Batch {
        batch.put(
            &TOTALS,
            owner,
            None,
            store::row![self.number, self.nodes as i64, self.bytes as i64],
        )
    }
}

/// An item as it stands in [`ITEMS`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) number: i64,
    pub(crate) at: i64,
    /// A full JID.
    pub(crate) publisher: Box<str>,
    /// One element that stands on its own, or nothing.
    pub(crate) payload: Box<str>,
}

impl Item {
    pub(crate) fn read(row: Option<Row>) -> Option<Item> {
        let row = row?;
        Some(Item {
            number: int(&row, 0),
            at: int(&row, 1),
            publisher: text(&row, 2).into(),
            payload: text(&row, 3).into(),
        })
    }

    pub(crate) fn row(&self) -> Row {
        store::row![self.number, self.at, &*self.publisher, &*self.payload]
    }

    /// What it counts for.
    pub(crate) fn bytes(&self, id: &str) -> u64 {
        (self.payload.len() + self.publisher.len() + id.len()) as u64
    }
}

/// A row of [`ORDER`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: i64,
    pub(crate) id: Box<str>,
    pub(crate) bytes: u64,
    pub(crate) at: i64,
}

impl Place {
    pub(crate) fn row(&self) -> Row {
        store::row![&*self.id, self.bytes as i64, self.at]
    }

    pub(crate) fn read_all(rows: Vec<(Box<str>, Row)>) -> Vec<Place> {
        let read = |(key, row): (Box<str>, Row)| {
            let (_, number) = key.rsplit_once(UNIT)?;
            Some(Place {
                number: read_shown(number)?,
                id: text(&row, 0).into(),
                bytes: int(&row, 1).unsigned_abs(),
                at: int(&row, 2),
            })
        };
        rows.into_iter().filter_map(read).collect()
    }
}

pub(crate) fn int(row: &Row, at: usize) -> i64 {
    row.get(at).and_then(Value::as_int).unwrap_or_default()
}

pub(crate) fn text(row: &Row, at: usize) -> &str {
    row.get(at).and_then(Value::as_text).unwrap_or_default()
}

/// Answers one after the other.
pub(crate) struct Answers(std::vec::IntoIter<Found>);

impl Answers {
    /// Of [`Query::Many`].
    pub(crate) fn of(found: Result<Found, StoreError>) -> Result<Answers, StanzaError> {
        let many = found.and_then(Found::many).map_err(|error| error::store(&error))?;
        Ok(Answers(many.into_iter()))
    }

    pub(crate) fn row(&mut self) -> Result<Option<Row>, StanzaError> {
        self.next()?.row().map_err(|error| error::store(&error))
    }

    pub(crate) fn rows(&mut self) -> Result<Vec<(Box<str>, Row)>, StanzaError> {
        self.next()?.rows().map_err(|error| error::store(&error))
    }

    pub(crate) fn places(&mut self) -> Result<Vec<Place>, StanzaError> {
        Ok(Place::read_all(self.rows()?))
    }

    fn next(&mut self) -> Result<Found, StanzaError> {
        let missing = StoreError::Misuse("an answer is missing".into());
        self.0.next().ok_or_else(|| error::store(&missing))
    }
}
