//! XEP-0049 Private XML Storage 1.2: whatever a client wants to find again, by the name and namespace of its element.

use module::{Access, Answer, Ask, Change, Coverage, Method, Module, Occasion, Step};
use stanza::{ErrorType, StanzaError};
use store::{Batch, Column, Found, Query, Shape, StoreError, Table, row};
use xmlstream::Child;

use crate::bookmarks;

const NS: &str = "jabber:iq:private";

/// Bytes of one element.
const ELEMENT_BYTES: usize = 64 * 1024;

/// Elements of one account; one more is refused.
const ELEMENTS: u64 = 100;

/// Elements in one request.
const ELEMENTS_AT_ONCE: usize = 10;

/// By namespace and name of the element; the element as XML whose default namespace is [`NS`].
static PRIVATE: Table = Table {
    name: "private_xml",
    shape: Shape::Map,
    columns: &[Column::text("element")],
};

pub(crate) fn module() -> Module {
    Module::new("private-xml")
        .xep(49, "Private XML Storage", "1.2", Coverage::Complete)
        .server_feature(NS)
        .account_feature(NS)
        .table(&PRIVATE)
        .account_iq(Method::Get, "query", NS, Access::Owner, get)
        .account_iq(Method::Set, "query", NS, Access::Owner, set)
}

/// Section 2.3: an element has a namespace of its own. A namespace has no space in it that comes before a name.
fn key(element: &Child<'_>) -> Option<String> {
    let has_own = !matches!(element.ns(), "" | NS);
    has_own.then(|| format!("{} {}", element.ns(), element.name()))
}

/// For [`bookmarks`](crate::bookmarks), which are here as well: what stands under a key.
pub(crate) fn stored(owner: &str, key: &str) -> Query {
    Query::get(&PRIVATE, owner, key)
}

/// The same, written. `text`: an element that stands on its own.
pub(crate) fn store(batch: Batch, owner: &str, key: &str, text: &str) -> Batch {
    batch.put(&PRIVATE, owner, key, row![text])
}

fn get(ask: &mut Ask<'_>) -> Answer {
    let mut elements = ask.payload.children();
    let Some((element, key)) = elements.next().and_then(|element| Some((element, key(&element)?))) else {
        return Answer::Error(StanzaError::not_acceptable());
    };
    if elements.next().is_some() {
        return Answer::Error(StanzaError::bad_request().text("one element at a time"));
    }
    let mut nothing = format!("<{} xmlns='", element.name()).into_bytes();
    xmlstream::escape_attr(&mut nothing, element.ns());
    nothing.extend_from_slice(b"'/>");
    let query = Query::get(&PRIVATE, ask.to.bare_str(), key.as_str());
    // A change that changes nothing: so it is answered behind the changes that came before it.
    let make = move |found: Result<Found, StoreError>| {
        let row = found.and_then(Found::row).map_err(told)?;
        let stored = row.as_ref().and_then(|row| row.first()?.as_text());
        // Escaping text yields text.
        let nothing = String::from_utf8(nothing).unwrap_or_default();
        Ok(Step::Done(Change {
            answer: format!("<query xmlns='{NS}'>{}</query>", stored.unwrap_or(&nothing)),
            ..Change::default()
        }))
    };
    Answer::Changed(query, Box::new(make))
}

fn set(ask: &mut Ask<'_>) -> Answer {
    let owner: Box<str> = ask.to.bare_str().into();
    let mut elements = Vec::new();
    for element in ask.payload.children() {
        let Some(key) = key(&element) else {
            return Answer::Error(StanzaError::not_acceptable());
        };
        if elements.len() == ELEMENTS_AT_ONCE {
            return Answer::Error(StanzaError::not_acceptable().text("too many elements at once"));
        }
        let mut text = String::new();
        element.write_canonical(NS, &mut text);
        if text.len() > ELEMENT_BYTES {
            return Answer::Error(StanzaError::not_acceptable().text("the element is too long"));
        }
        elements.push((key, text));
    }
    if elements.is_empty() {
        return Answer::Error(StanzaError::not_acceptable());
    }
    let mut queries = vec![Query::count(&PRIVATE, &owner)];
    queries.extend(
        elements
            .iter()
            .map(|(key, _)| Query::get(&PRIVATE, &owner, key.as_str())),
    );
    let occasion = Occasion {
        now: ask.now,
        owner: ask.to.bare().to_owned(),
        by: ask.from.to_owned(),
    };
    let make = move |found: Result<Found, StoreError>| {
        let mut found = found.and_then(Found::many).map_err(told)?.into_iter();
        let count = found.next().map_or(Ok(0), Found::count).map_err(told)?;
        let (mut batch, mut added, mut acts) = (Batch::new(), 0, Vec::new());
        for ((key, text), found) in elements.into_iter().zip(found) {
            let is_there = found.row().map_err(told)?.is_some();
            added += u64::from(!is_there);
            acts.extend(bookmarks::acts(&key, &text));
            batch = store(batch, &owner, &key, &text);
        }
        if added > 0 && count + added > ELEMENTS {
            return Err(StanzaError::resource_constraint().text("too many elements are stored"));
        }
        let change = Change {
            batch,
            ..Change::default()
        };
        pubsub::also(&occasion, acts, change)
    };
    Answer::Changed(Query::Many(queries), Box::new(make))
}

fn told(error: StoreError) -> StanzaError {
    match error {
        StoreError::Overloaded => StanzaError::resource_constraint().kind(ErrorType::Wait),
        _ => StanzaError::internal_server_error().kind(ErrorType::Wait),
    }
}

#[cfg(test)]
mod tests {
    use stanza::StanzaError;

    use crate::testing::{Asked, check};

    #[test]
    fn what_is_no_element_of_somebody_is_refused() {
        let asked = |inner: &str| Asked::own_account(format!("<query xmlns='jabber:iq:private'>{inner}</query>"));
        for inner in ["", "<a/>", "<a xmlns=''/>"] {
            check(super::module(), asked(inner), Err(StanzaError::not_acceptable()));
            check(super::module(), asked(inner).set(), Err(StanzaError::not_acceptable()));
        }
        let two = "<a xmlns='urn:a'/><b xmlns='urn:b'/>";
        let error = StanzaError::bad_request().text("one element at a time");
        check(super::module(), asked(two), Err(error));
        let many = "<a xmlns='urn:a'/>".repeat(super::ELEMENTS_AT_ONCE + 1);
        let error = StanzaError::not_acceptable().text("too many elements at once");
        check(super::module(), asked(&many).set(), Err(error));
        let long = format!("<a xmlns='urn:a'>{}</a>", "x".repeat(super::ELEMENT_BYTES));
        let error = StanzaError::not_acceptable().text("the element is too long");
        check(super::module(), asked(&long).set(), Err(error));
    }
}
