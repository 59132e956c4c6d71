//! Service discovery of the nodes of an account (XEP-0060 sections 5.2 to 5.5; XEP-0163 section 6.2).

use module::{Answer, Change, Step};
use stanza::ns;
use store::{Found, Query};

use crate::access::{Context, admits, gate};
use crate::form::{Kind, Writer};
use crate::node::Node;
use crate::rows::{self, Answers, NODES};
use crate::{PAGE_BYTES, PAGE_ITEMS, error, event};

const METADATA: &str = "http://jabber.org/protocol/pubsub#meta-data";

/// disco#info of a node.
pub fn node_info(context: &Context, node: &str) -> Answer {
    let query = rows::get_node(context.owner(), node);
    let (context, name) = (context.clone(), node.to_owned());
    let make = move |found: Result<Found, _>| {
        let row = found.and_then(Found::row).map_err(|error| error::store(&error))?;
        let node = gate(&context, Node::read(&name, row))?;
        admits(&context, &node)?;
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
        let facts = [
            ("pubsub#owner", context.owner().to_owned()),
            ("pubsub#creation_date", module::Now(node.created).stamp()),
            ("pubsub#num_items", node.items.to_string()),
            ("pubsub#num_subscribers", node.subscriptions.len().to_string()),
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
pub fn node_items(context: &Context, node: Option<&str>, others: String) -> Answer {
    let owned = context.clone();
    let Some(name) = node.map(str::to_owned) else {
        let make = move |found: Result<Found, _>| {
            let rows = found.and_then(Found::rows).map_err(|error| error::store(&error))?;
            let mut out = opened(ns::DISCO_ITEMS, None);
            out.extend_from_slice(others.as_bytes());
            for (name, row) in rows {
                if out.len() as u64 > PAGE_BYTES {
                    break;
                }
                let node = Node::read(&name, Some(row));
                // XEP-0163 section 6.2: those that he may read.
                if let Some(node) = node.filter(|node| admits(&owned, node).is_ok()) {
                    out.extend_from_slice(b"<item");
                    event::attribute("jid", owned.owner(), &mut out);
                    event::attribute("node", &name, &mut out);
                    if !node.config.title.is_empty() {
                        event::attribute("name", &node.config.title, &mut out);
                    }
                    out.extend_from_slice(b"/>");
                }
            }
            Ok(done(out))
        };
        return Answer::Changed(Query::all(&NODES, context.owner()), Box::new(make));
    };
    let query = Query::Many(vec![
        rows::get_node(context.owner(), &name),
        rows::newest(context.owner(), &name, PAGE_ITEMS),
    ]);
    let make = move |found| {
        let mut found = Answers::of(found)?;
        let node = gate(&owned, Node::read(&name, found.row()?))?;
        admits(&owned, &node)?;
        let mut out = opened(ns::DISCO_ITEMS, Some(&name));
        let expired = node.expired_before(owned.now.0);
        for place in found.places()?.iter().filter(|place| place.at >= expired) {
            if out.len() as u64 > PAGE_BYTES {
                break;
            }
            out.extend_from_slice(b"<item");
            event::attribute("jid", owned.owner(), &mut out);
            event::attribute("name", &place.id, &mut out);
            out.extend_from_slice(b"/>");
        }
        Ok(done(out))
    };
    Answer::Changed(query, Box::new(make))
}

fn opened(namespace: &str, node: Option<&str>) -> Vec<u8> {
    let mut out = format!("<query xmlns='{namespace}'").into_bytes();
    if let Some(node) = node {
        event::attribute("node", node, &mut out);
    }
    out.push(b'>');
    out
}

fn done(mut out: Vec<u8>) -> Step {
    out.extend_from_slice(b"</query>");
    Step::Done(Change {
        answer: event::string(out),
        ..Change::default()
    })
}
