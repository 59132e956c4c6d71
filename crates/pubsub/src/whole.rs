//! A node with all its items, for who shows the same elsewhere (`module::Face`).

use store::{Keys, PAGE_LIMIT, Query, Row};

use crate::MAX_ITEMS;
use crate::rows::{self, ITEMS, Item, UNIT};

// All are read at once.
const _: () = assert!(MAX_ITEMS as usize <= PAGE_LIMIT);

/// All items of a node, for [`read_all`].
pub fn all_items(owner: &str, node: &str) -> Query {
    Query::keys(Keys::of(&ITEMS, owner, &rows::part(node), PAGE_LIMIT))
}

/// Ids and payloads, in the order in which they were published.
pub fn read_all(rows: Vec<(Box<str>, Row)>) -> Vec<(Box<str>, Box<str>)> {
    let read = |(key, row): (Box<str>, Row)| {
        let (_, id) = key.split_once(UNIT)?;
        let item = Item::read(Some(row))?;
        Some((item.number, id.into(), item.payload))
    };
    let mut items: Vec<(i64, Box<str>, Box<str>)> = rows.into_iter().filter_map(read).collect();
    items.sort_unstable_by_key(|(number, ..)| *number);
    items.into_iter().map(|(_, id, payload)| (id, payload)).collect()
}

/// The payload of an item, from the answer to [`look_for`](crate::look_for). For what stands at a node of the one for whom
/// it is read: nobody is asked whether he may.
pub fn read_item(row: Option<Row>) -> Option<Box<str>> {
    Item::read(row).map(|item| item.payload)
}
