//! XEP-0433 Extended Channel Search 0.1.0, at the service for rooms: finds those of its rooms that are in the list.
//!
//! The list is read whole, page by page, and what belongs to the answer is kept: never more than one page of it is in
//! memory. Searches of a domain come one after the other (`Answer::Changed`), so that a crowd of them costs no more.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use module::{
    Access, Answer, Ask, Change, Coverage, DataField, DataForm, FieldType, MakeChange, Method, Module, Occupancy, Step,
    Submitted,
};
use muc::Listed;
use stanza::rsm::{Request, Set};
use stanza::{ErrorType, StanzaError, ns};
use store::{Found, PAGE_LIMIT, Query, Row, StoreError};
use xmlstream::Child;

use crate::muc::LABEL;
use crate::{Offer, escaped};

const SEARCH: &str = "urn:xmpp:channel-search:0:search";
const PARAMS: &str = "urn:xmpp:channel-search:0:search-params";
const BY_ADDRESS: &str = "{urn:xmpp:channel-search:0:order}address";
const BY_USERS: &str = "{urn:xmpp:channel-search:0:order}nusers";
const MUC: &str = "xep-0045";

/// Rooms in one answer.
const PAGE: usize = 100;
/// Bytes of what is searched for, and words of it.
const QUERY_BYTES: usize = 512;
const WORDS: usize = 16;

pub(crate) fn module(offer: &Offer) -> Module {
    let module = Module::new("channel-search").xep(
        433,
        "Extended Channel Search",
        "0.1.0",
        Coverage::Partial("rooms of the service that is asked; it does not ask others"),
    );
    if !offer.rooms {
        return module;
    }
    module
        .service_feature(LABEL, SEARCH)
        .service_iq(LABEL, Method::Get, "search", SEARCH, Access::Anyone, search)
}

fn search(ask: &mut Ask<'_>) -> Answer {
    let Some(form) = ask.payload.child("x", ns::DATA_FORMS) else {
        return Answer::Result(format!("<search xmlns='{SEARCH}'>{}</search>", form().text()));
    };
    match Wanted::of(&ask.payload, &form) {
        Ok(wanted) => {
            let search = Search {
                service: ask.to.domain().into(),
                occupancy: ask.host.rooms.occupancy(),
                wanted,
                page: BTreeMap::new(),
                count: 0,
            };
            let query = search.query(None);
            let make: MakeChange = Box::new(move |found| search.go_on(found));
            Answer::Changed(query, make)
        }
        Err(error) => Answer::Error(error),
    }
}

fn form() -> DataForm {
    let is = |var, label, value: &str| DataField::new(var, FieldType::Boolean, label).value(value);
    DataForm::new("Search for rooms", "")
        .of_type(PARAMS)
        .field(DataField::new("q", FieldType::TextSingle, "Search for"))
        .field(is("all", "Return all rooms", "false"))
        .field(is("sinname", "Search in the name", "true"))
        .field(is("sindescription", "Search in the description", "true"))
        .field(is("sinaddress", "Search in the address", "true"))
        .field(
            DataField::new("types", FieldType::ListMulti, "Types of rooms")
                .value(MUC)
                .options(&[("Rooms (XEP-0045)", MUC)]),
        )
        .field(
            DataField::new("key", FieldType::ListSingle, "Order")
                .value(BY_ADDRESS)
                .options(&[("Address", BY_ADDRESS), ("Number of occupants", BY_USERS)]),
        )
}

fn app(error: StanzaError, name: &str, content: &str) -> StanzaError {
    error.app(format!(
        "<{name} xmlns='urn:xmpp:channel-search:0:error'>{content}</{name}>"
    ))
}

/// What is searched for.
struct Wanted {
    /// In small letters, each of them has to be there. Empty: all rooms.
    words: Vec<String>,
    in_name: bool,
    in_description: bool,
    in_address: bool,
    /// Rooms, and not something else.
    is_muc: bool,
    by_users: bool,
    page: Request,
}

impl Wanted {
    fn of(search: &Child<'_>, form: &Child<'_>) -> Result<Wanted, StanzaError> {
        let page = Request::of(search)?;
        let form = Submitted::read(form);
        if form.one("FORM_TYPE") != Some(PARAMS) {
            return Err(StanzaError::bad_request().text("that is not the form of a search"));
        }
        let is = |var: &str, default: bool| match form.one(var) {
            None => Ok(default),
            Some(_) => form.boolean(var).ok_or_else(StanzaError::bad_request),
        };
        let by_users = match form.one("key") {
            None | Some(BY_ADDRESS) => false,
            Some(BY_USERS) => true,
            Some(_) => {
                let error = StanzaError::feature_not_implemented().kind(ErrorType::Modify);
                return Err(app(error, "invalid-sort-key", ""));
            }
        };
        let wanted = Wanted {
            words: form.one("q").map(words).transpose()?.unwrap_or_default(),
            in_name: is("sinname", true)?,
            in_description: is("sindescription", true)?,
            // The example has another name for it than the list of fields.
            in_address: is("sinaddress", is("sinaddr", true)?)?,
            is_muc: !form.has("types") || form.all("types").iter().any(|kind| kind == MUC),
            by_users,
            page,
        };
        let conflict = |vars: &[&str], text: &'static str| {
            let vars: String = vars.iter().map(|var| format!("<var>{var}</var>")).collect();
            Err(app(StanzaError::bad_request().text(text), "conflicting-fields", &vars))
        };
        match (is("all", false)?, wanted.words.is_empty()) {
            (true, false) => conflict(
                &["all", "q"],
                "\"Return all rooms\" and \"Search for\" exclude each other.",
            ),
            (false, true) => Err(app(
                // Its type is said in two ways there; this is the one that one can do something about.
                StanzaError::bad_request().text("Say what to search for."),
                "no-search-conditions",
                "",
            )),
            (false, false) if !wanted.in_name && !wanted.in_description && !wanted.in_address => conflict(
                &["q", "sinname", "sindescription", "sinaddress"],
                "Search in the name, the description or the address.",
            ),
            _ => Ok(wanted),
        }
    }

    fn has(&self, room: &Listed) -> bool {
        let texts = [
            (self.in_name, &*room.name),
            (self.in_description, &room.description),
            (self.in_address, &room.local),
        ];
        let texts = texts.into_iter().filter(|(is_wanted, _)| *is_wanted);
        let texts: Vec<String> = texts.map(|(_, text)| text.to_lowercase()).collect();
        self.words
            .iter()
            .all(|word| texts.iter().any(|text| text.contains(word)))
    }
}

fn words(text: &str) -> Result<Vec<String>, StanzaError> {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    if words.is_empty() || words.len() > WORDS || text.len() > QUERY_BYTES {
        let error = StanzaError::bad_request().text("Search for one to sixteen words, of 512 bytes in all.");
        return Err(app(error, "invalid-search-terms", ""));
    }
    Ok(words)
}

/// Where a room stands in the answer; the number is 0 where it is not ordered by it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place(Reverse<usize>, Box<str>);

impl Place {
    /// As it is told in a page.
    fn id(&self, by_users: bool) -> String {
        match by_users {
            true => format!("{} {}", self.0.0, self.1),
            false => String::from(&*self.1),
        }
    }

    /// None: it is no such id.
    fn read(id: &str, by_users: bool) -> Option<Place> {
        match by_users {
            true => {
                let (users, local) = id.split_once(' ')?;
                Some(Place(Reverse(users.parse().ok()?), local.into()))
            }
            false => Some(Place(Reverse(0), id.into())),
        }
    }
}

struct Search {
    service: Box<str>,
    occupancy: Option<Arc<dyn Occupancy>>,
    wanted: Wanted,
    /// With the number of occupants, where it is known.
    page: BTreeMap<Place, (Listed, Option<usize>)>,
    /// Of all that were found.
    count: u64,
}

impl Search {
    fn query(&self, after: Option<&str>) -> Query {
        Query::keys(muc::listed(&self.service, after, None, PAGE_LIMIT))
    }

    fn go_on(mut self, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let rows = found.and_then(Found::rows).map_err(|error| {
            tracing::error!(%error, "the list of rooms cannot be read");
            StanzaError::internal_server_error()
        })?;
        // For an id that we have not given there is no page (XEP-0059 section 2.2).
        let place = |id: &Option<String>| {
            let id = id.as_deref().filter(|id| !id.is_empty());
            let place = id.map(|id| Place::read(id, self.wanted.by_users).ok_or_else(StanzaError::item_not_found));
            place.transpose()
        };
        let (after, before) = (place(&self.wanted.page.after)?, place(&self.wanted.page.before)?);
        let is_all = rows.len() < PAGE_LIMIT;
        let rooms = rows
            .iter()
            .filter_map(|(key, row): &(Box<str>, Row)| Listed::read(key, row));
        let mut last = None;
        for room in rooms {
            last = Some(room.local.clone());
            if self.wanted.is_muc && self.wanted.has(&room) {
                self.count += 1;
                self.take(room, after.as_ref(), before.as_ref());
            }
        }
        let Some(last) = last.filter(|_| !is_all) else {
            return Ok(self.finish());
        };
        let query = self.query(Some(&last));
        Ok(Step::Ask(query, Box::new(move |found| self.go_on(found))))
    }

    fn take(&mut self, room: Listed, after: Option<&Place>, before: Option<&Place>) {
        let users = self.occupancy.as_ref();
        let users = users.map(|occupancy| occupancy.occupants(&format!("{}@{}", room.local, self.service)));
        let by = if self.wanted.by_users { users.unwrap_or(0) } else { 0 };
        let place = Place(Reverse(by), room.local.clone());
        if after.is_some_and(|after| place <= *after) || before.is_some_and(|before| place >= *before) {
            return;
        }
        self.page.insert(place, (room, users));
        if self.page.len() > self.wanted.page.max.unwrap_or(PAGE).min(PAGE) {
            match self.wanted.page.before {
                Some(_) => self.page.pop_first(),
                None => self.page.pop_last(),
            };
        }
    }

    fn finish(self) -> Step {
        let mut out = format!("<result xmlns='{SEARCH}'>");
        for (room, users) in self.page.values() {
            write_item(&mut out, &self.service, room, *users);
        }
        let id = |place: &Place| place.id(self.wanted.by_users);
        let ends = self.page.keys().next().zip(self.page.keys().next_back());
        let set = Set {
            ends: ends.map(|(first, last)| (id(first), id(last))),
            count: Some(self.count),
        };
        let mut written = Vec::new();
        set.write(&mut written);
        // Escaping text yields text.
        out.push_str(&String::from_utf8(written).unwrap_or_default());
        out.push_str("</result>");
        Step::Done(Change {
            answer: out,
            ..Change::default()
        })
    }
}

fn write_item(out: &mut String, service: &str, room: &Listed, users: Option<usize>) {
    // Writing into a String cannot fail.
    let _ = write!(out, "<item address='{}@{service}'>", escaped(&room.local));
    let name = if room.name.is_empty() { &room.local } else { &*room.name };
    let texts = [
        ("name", name),
        ("description", &room.description),
        ("language", &room.language),
    ];
    for (element, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
        let _ = write!(out, "<{element}>{}</{element}>", escaped(text));
    }
    if let Some(users) = users {
        let _ = write!(out, "<nusers>{users}</nusers>");
    }
    let anonymity = match room.non_anonymous {
        true => "{urn:xmpp:channel-search:0:anonymity}none",
        false => "muc_semianonymous",
    };
    let _ = write!(
        out,
        "<service-type>{MUC}</service-type><is-open>{}</is-open><anonymity-mode>{anonymity}</anonymity-mode></item>",
        room.is_open
    );
}
