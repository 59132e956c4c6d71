//! What is told of a node (XEP-0060 sections 7.1.2, 7.2.2, 8.2.5.3, 8.4.2 and 8.5.2; XEP-0163 section 4.3).

use module::{Audience, Notice, Shows};
use stanza::{Rendered, ns};
use xmlstream::escape_attr;

use crate::access::Home;
use crate::config::{AccessModel, NotificationType, Reply};
use crate::node::{Affiliation, Node, State, bare};
use crate::rows::Item;

/// XEP-0033 Extended Stanza Addressing.
const ADDRESS: &str = "http://jabber.org/protocol/address";

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
pub(crate) fn published(node: &Node, number: i64, publisher: &str, item: Option<(&str, &Item)>, home: Home) -> Notice {
    let write = |out: &mut Vec<u8>| {
        if let Some((id, item)) = item {
            write_item(node, id, &item.publisher, shown_payload(node, item), out);
        }
    };
    let mut notice = told(node, number, "items", write);
    if home == Home::Account {
        let message = message(node, number, "items", write, &replyto(publisher));
        notice.to_contacts = Some(message);
    }
    notice
}

fn shown_payload<'i>(node: &Node, item: &'i Item) -> &'i str {
    if node.config.deliver_payloads {
        &item.payload
    } else {
        ""
    }
}

/// Which resource has published (XEP-0163 section 4.3.1): for who sees the presence of the account, and nobody else.
fn replyto(publisher: &str) -> String {
    let mut out = format!("<addresses xmlns='{ADDRESS}'><address type='replyto'").into_bytes();
    attribute("jid", publisher, &mut out);
    out.extend_from_slice(b"/></addresses>");
    string(out)
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

/// Section 8.4.2. Who waits to be approved is told too.
pub(crate) fn deleted(node: &Node, number: i64, uri: Option<&str>) -> Vec<Notice> {
    let write = |out: &mut Vec<u8>| {
        if let Some(uri) = uri {
            out.extend_from_slice(b"<redirect");
            attribute("uri", uri, out);
            out.extend_from_slice(b"/>");
        }
    };
    let pending = node.in_state(State::Pending).map(|(jid, _)| jid.into());
    let to_pending = Notice {
        subscribers: pending.collect(),
        ..to_one(node, message(node, number, "delete", write, ""), "")
    };
    let all = told(node, number, "delete", write);
    let has_pending = !to_pending.subscribers.is_empty();
    std::iter::once(all).chain(has_pending.then_some(to_pending)).collect()
}

/// Section 8.2.5.3.
pub(crate) fn configured(node: &Node, number: i64, home: Home) -> Notice {
    told(node, number, "configuration", |out| {
        if node.config.deliver_payloads {
            node.config.write_form(false, home, out);
        }
    })
}

/// The last item, for somebody who comes late (section 6.1.7): when it was published is told (XEP-0203).
/// `sees_presence`: he is told by which resource.
pub(crate) fn last(node: &Node, id: &str, item: &Item, from: &str, sees_presence: bool) -> Rendered {
    let mut behind = Vec::new();
    if sees_presence {
        behind.extend_from_slice(replyto(&item.publisher).as_bytes());
    }
    behind.extend_from_slice(format!("<delay xmlns='{}'", ns::DELAY).as_bytes());
    attribute("from", from, &mut behind);
    attribute("stamp", &module::Now(item.at).stamp(), &mut behind);
    behind.extend_from_slice(b"/>");
    let write = |out: &mut Vec<u8>| write_item(node, id, &item.publisher, shown_payload(node, item), out);
    message(node, item.number, "items", write, &string(behind))
}

/// The same for who has just subscribed.
pub(crate) fn last_for(node: &Node, id: &str, item: &Item, from: &str, subscriber: &str) -> Notice {
    to_one(node, last(node, id, item, from, false), subscriber)
}

/// Sections 8.8.4 and 13.14: a subscription is not what it was. To the subscriber, or to an owner (`pubsub#notify_sub`).
pub(crate) fn subscription_changed(node: &Node, number: i64, jid: &str, state: &str, to: &str) -> Notice {
    let mut out = format!(
        "<message type='headline' id='pep-{number:x}'><event xmlns='{}'><subscription",
        ns::PUBSUB_EVENT
    )
    .into_bytes();
    attribute("node", &node.name, &mut out);
    attribute("jid", jid, &mut out);
    attribute("subscription", state, &mut out);
    out.extend_from_slice(b"/></event></message>");
    to_one(node, Rendered::from_text(&string(out)), to)
}

/// Section 8.9.4.
pub(crate) fn affiliation_changed(node: &Node, number: i64, jid: &str, affiliation: &str) -> Notice {
    let mut out = format!(
        "<message type='headline' id='pep-{number:x}'><pubsub xmlns='{}'><affiliations",
        ns::PUBSUB
    )
    .into_bytes();
    attribute("node", &node.name, &mut out);
    out.extend_from_slice(b"><affiliation");
    attribute("jid", jid, &mut out);
    attribute("affiliation", affiliation, &mut out);
    out.extend_from_slice(b"/></affiliations></pubsub></message>");
    to_one(node, Rendered::from_text(&string(out)), jid)
}

/// To these alone, who may have it.
pub(crate) fn to_one(node: &Node, message: Rendered, jid: &str) -> Notice {
    Notice {
        node: node.name.clone(),
        message,
        to_contacts: None,
        audience: Audience::Named,
        except: Vec::new(),
        subscribers: vec![jid.into()],
        shows: Vec::new(),
        waits: false,
    }
}

fn told(node: &Node, number: i64, name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Notice {
    let of = |wanted: fn(Affiliation) -> bool| {
        let affiliations = node.affiliations.iter();
        affiliations.filter(move |(_, affiliation)| wanted(**affiliation))
    };
    let readers = || {
        let may_read = |affiliation| {
            matches!(
                affiliation,
                Affiliation::Member | Affiliation::Publisher | Affiliation::Owner
            )
        };
        of(may_read).map(|(jid, _)| jid.clone())
    };
    let outcasts = of(|affiliation| affiliation == Affiliation::Outcast).map(|(jid, _)| jid.clone());
    let subscribed = || node.in_state(State::Subscribed).map(|(jid, _)| bare(jid).into());
    // Who is subscribed may read, but for who has lost that since. At an account the router looks as well; who is not on a
    // list there may be the account itself.
    let needs_list = node.config.access == AccessModel::Whitelist && node.owners().next().is_some();
    let is_reader = |jid: &str| match node.affiliation(bare(jid)) {
        Affiliation::Outcast | Affiliation::PublishOnly => false,
        Affiliation::None => !needs_list,
        Affiliation::Member | Affiliation::Publisher | Affiliation::Owner => true,
    };
    let wanting = || {
        let wanting = node.in_state(State::Subscribed);
        wanting.filter(|(jid, subscription)| subscription.options.deliver && is_reader(jid))
    };
    // Also who wants it in all states has to be in one of them.
    let shows =
        wanting().filter(|(_, subscription)| node.config.while_there || subscription.options.shows != Shows::ALL);
    Notice {
        node: node.name.clone(),
        message: message(node, number, name, write, ""),
        to_contacts: None,
        audience: match node.config.access {
            AccessModel::Open => Audience::Anyone,
            AccessModel::Presence => Audience::Contacts,
            AccessModel::Roster => Audience::Groups(node.config.groups.clone()),
            AccessModel::Whitelist => Audience::Listed(readers().collect()),
            AccessModel::Authorize => Audience::Listed(readers().chain(subscribed()).collect()),
        },
        // Who has subscribed gets one, and not a second one for his capabilities.
        except: outcasts.chain(subscribed()).collect(),
        subscribers: wanting().map(|(jid, _)| jid.into()).collect(),
        shows: shows
            .map(|(jid, subscription)| (jid.into(), subscription.options.shows))
            .collect(),
        waits: node.config.notification == NotificationType::Normal && !node.config.while_there,
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
