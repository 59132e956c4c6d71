//! A node that was deleted may say where to go (XEP-0060 sections 6.1.3.11 and 8.4.1).

use module::Step;
use stanza::StanzaError;
use store::{Batch, Found, Query, Row};

use crate::access::Context;
use crate::error;
use crate::rows::{self, MOVED};
use crate::{MAX_MOVED, MAX_URI};

/// `<redirect uri='…'/>` of a request.
pub(crate) fn uri(text: &str) -> Result<String, StanzaError> {
    // What can stand in a URI or IRI, roughly: it will stand in errors.
    let is_wrong = |c: char| c.is_whitespace() || c.is_control() || "<>\"'".contains(c);
    if text.is_empty() || text.len() > MAX_URI || !text.contains(':') || text.contains(is_wrong) {
        return Err(StanzaError::not_acceptable().text("this is no address to go to"));
    }
    Ok(text.into())
}

pub(crate) fn put(batch: Batch, owner: &str, node: &str, uri: &str, before: &[(Box<str>, Row)]) -> Batch {
    let batch = match before.first() {
        Some((first, _)) if before.len() >= MAX_MOVED && !before.iter().any(|(name, _)| **name == *node) => {
            batch.delete(&MOVED, owner, &**first)
        }
        _ => batch,
    };
    batch.put(&MOVED, owner, node, store::row![uri])
}

/// There is no such node: whether it has gone elsewhere is looked up.
pub(crate) fn missing(context: &Context, node: &str) -> Step {
    let query = Query::get(&MOVED, context.owner(), node);
    let context = context.clone();
    let make = move |found: Result<Found, _>| {
        let row = found.and_then(Found::row).map_err(|error| error::store(&error))?;
        let error = match row {
            Some(row) => StanzaError::gone().address(rows::text(&row, 0).to_owned()),
            None => StanzaError::item_not_found(),
        };
        Err(context.masked(error))
    };
    Step::Ask(query, Box::new(make))
}
