//! What is told of a node (XEP-0060 sections 7.1.2, 7.2.2, 8.2.5.3, 8.4.2 and 8.5.2; XEP-0163 section 4.3).

use module::{Audience, Notice};
use stanza::{Rendered, ns};
use xmlstream::escape_attr;

use crate::config::{AccessModel, NotificationType, Reply};
use crate::node::{Affiliation, Node};
use crate::rows::Item;

/// ` name='value'`
pub(crate) fn attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    escape_attr(out, value);
    out.push(b'\'');
}

/// Escaping text yields text.
pub(crate) fn string(out: Vec<u8>) -> String {
    String::from_utf8(out).unwrap_or_default()
}

/// `<name node='…'` and what `write` appends.
pub(crate) fn element(name: &str, node: &str, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    out.push(b'<');
    out.extend_from_slice(name.as_bytes());
    attribute("node", node, out);
    let end = out.len();
    out.push(b'>');
    let inner = out.len();
    write(out);
    if out.len() == inner {
        out.truncate(end);
        out.extend_from_slice(b"/>");
    } else {
        out.extend_from_slice(format!("</{name}>").as_bytes());
    }
}

/// An item as it is shown, with its publisher where the node says so (section 7.1.2.3).
pub(crate) fn write_item(node: &Node, id: &str, publisher: &str, payload: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<item");
    attribute("id", id, out);
    if node.config.reply == Reply::Publisher {
        attribute("publisher", publisher, out);
    }
    if payload.is_empty() {
        out.extend_from_slice(b"/>");
        return;
    }
    out.push(b'>');
    out.extend_from_slice(payload.as_bytes());
    out.extend_from_slice(b"</item>");
}

/// A new item. Without its payload where the node says so (section 7.1.2.2).
pub(crate) fn published(node: &Node, number: i64, item: Option<(&str, &Item)>) -> Notice {
    let write = |out: &mut Vec<u8>| {
        if let Some((id, item)) = item {
            let payload = if node.config.deliver_payloads {
                &*item.payload
            } else {
                ""
            };
            write_item(node, id, &item.publisher, payload, out);
        }
    };
    told(node, number, "items", write)
}

/// Section 7.2.2.1.
pub(crate) fn retracted(node: &Node, number: i64, id: &str) -> Notice {
    told(node, number, "items", |out| {
        out.extend_from_slice(b"<retract");
        attribute("id", id, out);
        out.extend_from_slice(b"/>");
    })
}

/// Section 8.5.2.
pub(crate) fn purged(node: &Node, number: i64) -> Notice {
    told(node, number, "purge", |_| ())
}

/// Section 8.4.2.
pub(crate) fn deleted(node: &Node, number: i64) -> Notice {
    told(node, number, "delete", |_| ())
}

/// Section 8.2.5.3.
pub(crate) fn configured(node: &Node, number: i64) -> Notice {
    told(node, number, "configuration", |out| {
        if node.config.deliver_payloads {
            node.config.write_form(false, out);
        }
    })
}

/// The last item, for somebody who comes late (section 6.1.7): when it was published is told (XEP-0203).
pub(crate) fn last(node: &Node, id: &str, item: &Item, from: &str) -> Rendered {
    let payload = if node.config.deliver_payloads {
        &*item.payload
    } else {
        ""
    };
    let mut delay = format!("<delay xmlns='{}'", ns::DELAY).into_bytes();
    attribute("from", from, &mut delay);
    attribute("stamp", &module::Now(item.at).stamp(), &mut delay);
    delay.extend_from_slice(b"/>");
    let write = |out: &mut Vec<u8>| write_item(node, id, &item.publisher, payload, out);
    message(node, item.number, "items", write, &string(delay))
}

/// The same for who has just subscribed.
pub(crate) fn last_for(node: &Node, id: &str, item: &Item, from: &str, subscriber: &str) -> Notice {
    to_one(node, last(node, id, item, from), subscriber)
}

/// Sections 8.8.4 and 12.14: the owner has changed somebody's subscription.
pub(crate) fn subscription_changed(node: &Node, number: i64, jid: &str, state: &str) -> Notice {
    let mut out = format!(
        "<message type='headline' id='pep-{number:x}'><event xmlns='{}'><subscription",
        ns::PUBSUB_EVENT
    )
    .into_bytes();
    attribute("node", &node.name, &mut out);
    attribute("jid", jid, &mut out);
    attribute("subscription", state, &mut out);
    out.extend_from_slice(b"/></event></message>");
    to_one(node, Rendered::from_text(&string(out)), jid)
}

fn to_one(node: &Node, message: Rendered, jid: &str) -> Notice {
    Notice {
        node: node.name.clone(),
        message,
        audience: Audience::Named,
        except: Vec::new(),
        subscribers: vec![jid.into()],
    }
}

fn told(node: &Node, number: i64, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Notice {
    let bare = |jid: &str| {
        stanza::JidCow::parse(jid)
            .ok()
            .map(|jid| jid.as_ref().bare_str().into())
    };
    let of = |wanted: fn(Affiliation) -> bool| {
        let affiliations = node.affiliations.iter();
        affiliations.filter(move |(_, affiliation)| wanted(**affiliation))
    };
    let outcasts = of(|affiliation| affiliation == Affiliation::Outcast).map(|(jid, _)| jid.clone());
    let subscribed = node.subscriptions.iter().filter_map(|jid| bare(jid));
    Notice {
        node: node.name.clone(),
        message: message(node, number, name, write, ""),
        audience: match node.config.access {
            AccessModel::Open => Audience::Anyone,
            AccessModel::Presence => Audience::Contacts,
            AccessModel::Roster => Audience::Groups(node.config.groups.clone()),
            AccessModel::Whitelist => {
                let may_read = |affiliation| matches!(affiliation, Affiliation::Member | Affiliation::Publisher);
                Audience::Listed(of(may_read).map(|(jid, _)| jid.clone()).collect())
            }
        },
        // Who has subscribed gets one, and not a second one for his capabilities.
        except: outcasts.chain(subscribed).collect(),
        subscribers: {
            let is_outcast =
                |jid: &str| bare(jid).is_some_and(|bare: Box<str>| node.affiliation(&bare) == Affiliation::Outcast);
            node.subscriptions
                .iter()
                .filter(|jid| !is_outcast(jid))
                .cloned()
                .collect()
        },
    }
}

fn message(node: &Node, number: i64, name: &str, write: impl FnOnce(&mut Vec<u8>), behind: &str) -> Rendered {
    let kind = match node.config.notification {
        NotificationType::Headline => " type='headline'",
        NotificationType::Normal => "",
    };
    // The number is the account's: so an error that comes back tells what it is about (section 7.1.2).
    let head = format!(
        "<message{kind} id='pep-{number:x}'><event xmlns='{}'>",
        ns::PUBSUB_EVENT
    );
    let mut out = head.into_bytes();
    element(name, &node.name, write, &mut out);
    out.extend_from_slice(b"</event>");
    out.extend_from_slice(behind.as_bytes());
    out.extend_from_slice(b"</message>");
    Rendered::from_text(&string(out))
}
