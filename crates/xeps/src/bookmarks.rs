//! Bookmarks of rooms: one list with three faces.
//!
//! - XEP-0402 PEP Native Bookmarks 1.2.0: a node with an item for each room.
//! - XEP-0048 Bookmarks 1.2: a node with one item that has all of them, and the same in private XML (XEP-0049), where the
//!   version 1.0 of it kept them.
//! - XEP-0411 Bookmarks Conversion 1.1.0: the two last are one.
//!
//! What is written to one is written to the others in the same batch ([`Face`]), and who wants to hear of another node than
//! the one that was written hears of that. The item of the old node and the private XML are the same text. An item of the
//! new node that says the same as before is left alone, so nobody is told of it (XEP-0402 section 5.3.2).
//!
//! Who empties or deletes the node of XEP-0402 has no bookmarks any more. Who deletes the old node, or its item, has them
//! still: clients do that when they have moved to the new one. It comes back with the next change.
//!
//! The nodes are the account's alone (XEP-0411 section 5). One that a client has opened is closed when something is copied
//! to it, and one that holds too few items holds more.

mod list;
mod settings;

use module::{Change, Coverage, Deed, Face, Module, Occasion, Step, Upgrade};
use pubsub::Act;
use stanza::{ErrorType, StanzaError, ns};
use store::{Found, Query, StoreError};

use crate::private_xml;
use list::{Bookmark, List};

/// Bookmarks of an account. More in the older forms: `not-acceptable`.
const BOOKMARKS: usize = 1_000;

/// The id of the one item of the older node (XEP-0048 section 3.1).
const CURRENT: &str = "current";

/// In private XML.
const STORED: &str = "storage:bookmarks storage";

pub(crate) fn module() -> Module {
    Module::new("bookmarks")
        .xep(48, "Bookmarks", "1.2", Coverage::Complete)
        .xep(402, "PEP Native Bookmarks", "1.2.0", Coverage::Complete)
        .xep(411, "Bookmarks Conversion", "1.1.0", Coverage::Complete)
        // What clients keep in the extensions of a bookmark.
        .xep(492, "Chat Notification Settings", "0.2.0", Coverage::Complete)
        .kept_accounts_only()
        .account_feature("urn:xmpp:bookmarks:1#compat")
        .account_feature("urn:xmpp:bookmarks:1#compat-pep")
        .account_feature("urn:xmpp:bookmarks-conversion:0")
        .face(Face {
            nodes: &[ns::BOOKMARKS, ns::BOOKMARKS_STORAGE],
            follow,
        })
        .upgrade(Upgrade {
            name: "bookmarks",
            make: gather,
        })
        .chat_settings(settings::SETTINGS)
}

/// What private XML stores here is published too; the rest follows from that ([`follow`]).
pub(crate) fn acts(stored: &str, text: &str) -> Vec<Act> {
    if stored != STORED {
        return Vec::new();
    }
    vec![keep(ns::BOOKMARKS_STORAGE, 1), publish_list(text.to_owned())]
}

fn keep(node: &str, items: usize) -> Act {
    Act::Keep {
        node: node.into(),
        items: items as u64,
    }
}

fn publish_list(payload: String) -> Act {
    Act::Publish {
        node: ns::BOOKMARKS_STORAGE.into(),
        id: CURRENT.into(),
        payload,
        made: &[],
    }
}

fn publish(id: &str, bookmark: &Bookmark) -> Act {
    Act::Publish {
        node: ns::BOOKMARKS.into(),
        id: id.into(),
        payload: bookmark.item(),
        made: &[],
    }
}

fn retract(id: &str) -> Act {
    Act::Retract {
        node: ns::BOOKMARKS.into(),
        id: id.into(),
    }
}

/// All that is kept, in the order of [`Kept::read`].
fn kept(owner: &str) -> Query {
    Query::Many(vec![
        private_xml::stored(owner, STORED),
        pubsub::all_items(owner, ns::BOOKMARKS),
        pubsub::all_items(owner, ns::BOOKMARKS_STORAGE),
    ])
}

struct Kept {
    /// In private XML.
    stored: Option<List>,
    /// Ids as they are written, with what the items say.
    items: Vec<(Box<str>, Bookmark)>,
    /// At the older node.
    published: Option<List>,
}

impl Kept {
    fn read(found: Result<Found, StoreError>) -> Result<Kept, StanzaError> {
        let mut found = found.and_then(Found::many).map_err(told)?.into_iter();
        let mut next = || found.next().unwrap_or(Found::Row(None));
        let stored = next().row().map_err(told)?;
        let stored = stored.as_ref().and_then(|row| row.first()?.as_text());
        let items = pubsub::read_all(next().rows().map_err(told)?);
        let read = |(id, payload): (Box<str>, Box<str>)| Bookmark::of_item(&id, &payload).map(|read| (id, read));
        let published = pubsub::read_all(next().rows().map_err(told)?);
        Ok(Kept {
            stored: stored.and_then(List::of_storage),
            items: items.into_iter().filter_map(read).collect(),
            published: published.last().and_then(|(_, payload)| List::of_storage(payload)),
        })
    }

    fn bookmarks(&self) -> Vec<Bookmark> {
        self.items.iter().map(|(_, bookmark)| bookmark.clone()).collect()
    }
}

/// Something has happened at one of the nodes.
fn follow(occasion: &Occasion, deeds: &[Deed], change: Change) -> Result<Step, StanzaError> {
    let list = deeds.iter().rev().find_map(|deed| match deed {
        Deed::Published { node, payload, .. } if **node == *ns::BOOKMARKS_STORAGE => Some(payload.clone()),
        _ => None,
    });
    let is_new_node = deeds.iter().any(|deed| deed.node() == ns::BOOKMARKS);
    if list.is_none() && !is_new_node {
        return Ok(Step::Done(change));
    }
    let query = kept(occasion.owner.as_str());
    let (asked, occasion) = (query.clone(), occasion.clone());
    let make = move |found: Result<Found, StoreError>| {
        let kept = Kept::read(found.map(|found| change.batch.over(&asked, found)))?;
        match list {
            Some(list) => follow_list(&occasion, kept, &list, change),
            None => follow_items(&occasion, kept, change),
        }
    };
    Ok(Step::Ask(query, Box::new(make)))
}

/// The older list was published as a whole.
fn follow_list(occasion: &Occasion, kept: Kept, payload: &str, mut change: Change) -> Result<Step, StanzaError> {
    // Something else at that node is no list.
    let Some(list) = List::of_storage(payload) else {
        return Ok(Step::Done(change));
    };
    change.batch = private_xml::store(
        std::mem::take(&mut change.batch),
        occasion.owner.as_str(),
        STORED,
        payload,
    );
    pubsub::also(occasion, to_items(&list, &kept)?, change)
}

/// What makes the items say what the list says (XEP-0402 section 5.3.2).
fn to_items(list: &List, kept: &Kept) -> Result<Vec<Act>, StanzaError> {
    if list.bookmarks.len() > BOOKMARKS {
        return Err(StanzaError::not_acceptable().text("too many bookmarks"));
    }
    let mut acts = Vec::new();
    for bookmark in &list.bookmarks {
        match kept.items.iter().find(|(_, item)| item.key == bookmark.key) {
            None => acts.push(publish(&bookmark.key, bookmark)),
            Some((id, before)) => {
                let bookmark = bookmark.clone().with_extensions_of(before);
                if !bookmark.is_same_item(before) {
                    acts.push(publish(id, &bookmark));
                }
            }
        }
    }
    let gone = kept.items.iter().filter(|(_, item)| list.find(&item.key).is_none());
    // First, so that there is room.
    acts.splice(0..0, gone.map(|(id, _)| retract(id)));
    if !acts.is_empty() {
        acts.insert(0, keep(ns::BOOKMARKS, list.bookmarks.len()));
    }
    Ok(acts)
}

/// One of the items was published or taken back, or all are gone (section 5.3.1).
fn follow_items(occasion: &Occasion, kept: Kept, change: Change) -> Result<Step, StanzaError> {
    let before = kept.stored.clone().or(kept.published.clone()).unwrap_or_default();
    let list = before.with(&kept.bookmarks());
    let is_told = kept.stored.as_ref() == Some(&list) && kept.published.as_ref() == Some(&list);
    // Nothing comes of nothing.
    let is_nothing = list == List::default() && kept.stored.is_none() && kept.published.is_none();
    if is_told || is_nothing {
        return Ok(Step::Done(change));
    }
    write_list(occasion, list.storage(), Vec::new(), change)
}

/// Writes the older list to its two places, and does what else is to be done.
fn write_list(occasion: &Occasion, text: String, mut acts: Vec<Act>, mut change: Change) -> Result<Step, StanzaError> {
    change.batch = private_xml::store(
        std::mem::take(&mut change.batch),
        occasion.owner.as_str(),
        STORED,
        &text,
    );
    acts.extend([keep(ns::BOOKMARKS_STORAGE, 1), publish_list(text)]);
    pubsub::also(occasion, acts, change)
}

/// An earlier version kept the three apart: now each has what all have.
fn gather(occasion: &Occasion) -> (Query, module::MakeChange) {
    let query = kept(occasion.owner.as_str());
    let occasion = occasion.clone();
    let make = move |found: Result<Found, StoreError>| {
        let kept = Kept::read(found)?;
        let before = kept.stored.clone().unwrap_or_default();
        let before = before.and(kept.published.clone().unwrap_or_default());
        let all = before.clone().and(List::default().with(&kept.bookmarks()));
        // What stands in the new node is what newer clients have said.
        let newest: Vec<Bookmark> = all
            .bookmarks
            .iter()
            .map(|bookmark| {
                let item = kept.items.iter().find(|(_, item)| item.key == bookmark.key);
                item.map_or_else(|| bookmark.clone(), |(_, item)| item.clone())
            })
            .collect();
        let list = before.with(&newest);
        if list == List::default() {
            return Ok(Step::Done(Change::default()));
        }
        write_list(&occasion, list.storage(), to_items(&list, &kept)?, Change::default())
    };
    (query, Box::new(make))
}

fn told(error: StoreError) -> StanzaError {
    match error {
        StoreError::Overloaded => StanzaError::resource_constraint().kind(ErrorType::Wait),
        _ => StanzaError::internal_server_error().kind(ErrorType::Wait),
    }
}
