//! Service discovery of the nodes of an account or a service (XEP-0060 sections 5.2 to 5.5; XEP-0163 section 6.2), by
//! type (XEP-0462) and page by page (XEP-0059).

use module::{Answer, Change, Step};
use stanza::rsm::{self, Set};
use stanza::{StanzaError, ns};
use store::{Found, Query};
use xmlstream::Child;

use crate::access::{Context, Home, admits, gate, may_publish};
use crate::form::{self, Kind, Writer};
use crate::items::Items;
use crate::listing::Listing;
use crate::node::{Affiliation, Node, State};
use crate::rows::{self, Answers, NODES};
use crate::{PAGE_BYTES, error, event};

const METADATA: &str = "http://jabber.org/protocol/pubsub#meta-data";

/// XEP-0462.
pub const FILTER: &str = "urn:xmpp:pubsub-filter:0";

/// Which nodes are asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    types: Types,
    pub(crate) page: Option<rsm::Request>,
}

/// By `pubsub#type`; of a node without one it is empty.
#[derive(Clone, Debug, Default)]
enum Types {
    #[default]
    All,
    These(Vec<String>),
    Others(Vec<String>),
}

impl Wanted {
    /// Of a request for disco#items.
    pub fn of(query: &Child<'_>) -> Result<Wanted, StanzaError> {
        let has_page = query.child("set", ns::RSM).is_some();
        let page = rsm::Request::of(query)?;
        Ok(Wanted {
            types: match query.child("filter", FILTER) {
                None => Types::All,
                Some(filter) => Types::of(form::read(&filter, FILTER)?.unwrap_or_default())?,
            },
            page: has_page.then_some(page),
        })
    }

    pub(crate) fn is_all(&self) -> bool {
        matches!(self.types, Types::All)
    }

    pub(crate) fn has(&self, kind: &str) -> bool {
        match &self.types {
            Types::All => true,
            Types::These(types) => types.iter().any(|wanted| wanted == kind),
            Types::Others(types) => !types.iter().any(|unwanted| unwanted == kind),
        }
    }
}

impl Types {
    fn of(fields: form::Fields) -> Result<Types, StanzaError> {
        let (mut these, mut others) = (None, None);
        for (var, values) in fields {
            match &*var {
                "included-types" => these = Some(values),
                "excluded-types" => others = Some(values),
                _ => {}
            }
        }
        match (these, others) {
            (Some(_), Some(_)) => Err(StanzaError::bad_request()),
            (Some(these), None) => Ok(Types::These(these)),
            (None, Some(others)) => Ok(Types::Others(others)),
            (None, None) => Ok(Types::All),
        }
    }
}

/// disco#info of a node.
pub fn node_info(context: &Context, node: &str) -> Answer {
    let query = rows::get_node(context.owner(), node);
    let (context, name) = (context.clone(), node.to_owned());
    let make = move |found: Result<Found, _>| {
        let row = found.and_then(Found::row).map_err(|error| error::store(&error))?;
        let node = gate(&context, Node::read(&name, row))?;
        // Who may ask or write knows what it is.
        if !node.is_asked_for(context.bare()) && may_publish(&context, &node).is_err() {
            admits(&context, &node)?;
        }
        let mut out = opened(ns::DISCO_INFO, Some(&name));
        let known = format!(
            "<identity category='pubsub' type='leaf'/><feature var='{}'/><feature var='{}'/>",
            ns::DISCO_INFO,
            ns::PUBSUB
        );
        out.extend_from_slice(known.as_bytes());
        let mut form = Writer::begin(&mut out, false, METADATA);
        for (var, kind, values) in node.config.metadata() {
            form.field(var, kind, "", &values);
        }
        let owners: Vec<String> = match context.home() {
            Home::Account => vec![context.owner().to_owned()],
            Home::Service => node.owners().map(str::to_owned).collect(),
        };
        form.field("pubsub#owner", Kind::JidMulti, "", &owners);
        let publishers = node.affiliations.iter();
        let publishers = publishers.filter(|(_, affiliation)| **affiliation == Affiliation::Publisher);
        let publishers: Vec<String> = publishers.map(|(jid, _)| String::from(&**jid)).collect();
        if !publishers.is_empty() {
            form.field("pubsub#publisher", Kind::JidMulti, "", &publishers);
        }
        let facts = [
            ("pubsub#creation_date", module::Now(node.created).stamp()),
            ("pubsub#num_items", node.items.to_string()),
            (
                "pubsub#num_subscribers",
                node.in_state(State::Subscribed).count().to_string(),
            ),
        ];
        for (var, value) in facts {
            form.field(var, Kind::Text, "", &[value]);
        }
        form.end();
        Ok(done(out))
    };
    Answer::Changed(query, Box::new(make))
}

/// disco#items of a node, its items; of no node, the nodes behind `others`, which are items of the account besides.
pub fn node_items(context: &Context, node: Option<&str>, others: String, wanted: Wanted) -> Answer {
    let owned = context.clone();
    match (node, context.home()) {
        (Some(node), _) => items_of(owned, node, wanted),
        (None, Home::Account) => {
            let make = move |found: Result<Found, _>| {
                let rows = found.and_then(Found::rows).map_err(|error| error::store(&error))?;
                Ok(nodes_of_account(&owned, rows, &others, &wanted))
            };
            Answer::Changed(Query::all(&NODES, context.owner()), Box::new(make))
        }
        (None, Home::Service) => Listing::answer(owned, wanted),
    }
}

/// Those that he may read (XEP-0163 section 6.2). All are at hand, so a page is cut out of them.
fn nodes_of_account(context: &Context, rows: Vec<(Box<str>, store::Row)>, others: &str, wanted: &Wanted) -> Step {
    let mut out = opened(ns::DISCO_ITEMS, None);
    if wanted.page.is_none() {
        out.extend_from_slice(others.as_bytes());
    }
    let nodes = rows.into_iter().filter_map(|(name, row)| Node::read(&name, Some(row)));
    let nodes = nodes.filter(|node| admits(context, node).is_ok() && wanted.has(&node.config.kind));
    let mut nodes: Vec<Node> = nodes.collect();
    let all = nodes.len() as u64;
    if let Some(page) = &wanted.page {
        let is_before = |node: &Node| match page.before.as_deref() {
            None | Some("") => true,
            Some(before) => *node.name < *before,
        };
        nodes.retain(|node| page.after.as_deref().is_none_or(|after| *node.name > *after) && is_before(node));
        let max = page.max.unwrap_or(usize::MAX);
        match page.before {
            Some(_) => drop(nodes.drain(..nodes.len().saturating_sub(max))),
            None => nodes.truncate(max),
        }
    }
    let mut ends = None;
    for node in &nodes {
        if out.len() as u64 > PAGE_BYTES {
            break;
        }
        write_node(context.owner(), &node.name, &node.config.title, &mut out);
        let first = ends.map_or_else(|| String::from(&*node.name), |(first, _)| first);
        ends = Some((first, String::from(&*node.name)));
    }
    if wanted.page.is_some() {
        Set { ends, count: Some(all) }.write(&mut out);
    }
    done(out)
}

/// An item in disco#items.
pub(crate) fn write_node(owner: &str, name: &str, title: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<item");
    event::attribute("jid", owner, out);
    event::attribute("node", name, out);
    if !title.is_empty() {
        event::attribute("name", title, out);
    }
    out.extend_from_slice(b"/>");
}

fn items_of(context: Context, name: &str, wanted: Wanted) -> Answer {
    let items = Items {
        node: name.to_owned(),
        ids: Vec::new(),
        max_items: None,
        page: wanted.page,
    };
    let places = match items.places(context.owner()) {
        Ok(places) => places,
        Err(error) => return Answer::Error(context.masked(error)),
    };
    let query = Query::Many(vec![rows::get_node(context.owner(), name), Query::keys(places)]);
    let make = move |found| {
        let mut found = Answers::of(found)?;
        let node = gate(&context, Node::read(&items.node, found.row()?))?;
        admits(&context, &node)?;
        let mut out = opened(ns::DISCO_ITEMS, Some(&items.node));
        let mut places = found.places()?;
        items.cut(&mut places);
        let expired = node.expired_before(context.now.0);
        let mut ends = None;
        for place in places.iter().filter(|place| place.at >= expired) {
            if out.len() as u64 > PAGE_BYTES {
                break;
            }
            out.extend_from_slice(b"<item");
            event::attribute("jid", context.owner(), &mut out);
            event::attribute("name", &place.id, &mut out);
            out.extend_from_slice(b"/>");
            let first = ends.map_or_else(|| rows::shown(place.number), |(first, _)| first);
            ends = Some((first, rows::shown(place.number)));
        }
        if items.page.is_some() {
            let count = Some(node.items);
            Set { ends, count }.write(&mut out);
        }
        Ok(done(out))
    };
    Answer::Changed(query, Box::new(make))
}

pub(crate) fn opened(namespace: &str, node: Option<&str>) -> Vec<u8> {
    let mut out = format!("<query xmlns='{namespace}'").into_bytes();
    if let Some(node) = node {
        event::attribute("node", node, &mut out);
    }
    out.push(b'>');
    out
}

pub(crate) fn done(mut out: Vec<u8>) -> Step {
    out.extend_from_slice(b"</query>");
    Step::Done(Change {
        answer: event::string(out),
        ..Change::default()
    })
}
