//! Roster payloads as bytes (RFC 6121 §2.1): `<item/>`, the `<query/>` of a push, a stored request.
//!
//! Written by hand and not through a tree: a roster of thousands of items is written at every login.

use crate::{Item, Roster};

/// Namespace of roster queries (RFC 6121 §2.1).
pub const NS_ROSTER: &str = "jabber:iq:roster";

/// Appends `<item …/>` as results and pushes show it. The item must be [`visible`](Item::visible).
pub fn write_item(item: &Item, out: &mut Vec<u8>) {
    debug_assert!(
        item.visible(),
        "an unapproved request is no roster item (RFC 6121 §3.1.3)"
    );
    out.extend_from_slice(b"<item");
    attribute("jid", &item.jid, out);
    if let Some(name) = &item.name {
        attribute("name", name, out);
    }
    attribute("subscription", item.state.subscription.as_str(), out);
    if item.state.pending_out {
        out.extend_from_slice(b" ask='subscribe'");
    }
    if item.state.approved {
        out.extend_from_slice(b" approved='true'");
    }
    if item.groups.is_empty() {
        out.extend_from_slice(b"/>");
        return;
    }
    out.push(b'>');
    for group in &item.groups {
        out.extend_from_slice(b"<group>");
        xmlstream::escape_text(out, group);
        out.extend_from_slice(b"</group>");
    }
    out.extend_from_slice(b"</item>");
}

/// Appends the payload of a push for a new or changed item (§2.1.6), with the version it makes (§2.6.3).
pub fn write_push(item: &Item, version: u64, out: &mut Vec<u8>) {
    open_query(version, out);
    out.push(b'>');
    write_item(item, out);
    out.extend_from_slice(b"</query>");
}

/// Appends the payload of a push for a removed item (§2.5.2).
pub fn write_removal(jid: &str, version: u64, out: &mut Vec<u8>) {
    open_query(version, out);
    out.extend_from_slice(b"><item");
    attribute("jid", jid, out);
    out.extend_from_slice(b" subscription='remove'/></query>");
}

/// Appends the whole roster as the payload of a result (§2.1.4), contacts in the order of their JIDs.
pub(crate) fn write_result(roster: &Roster, out: &mut Vec<u8>) {
    open_query(roster.version(), out);
    out.push(b'>');
    for item in roster.iter().filter(|item| item.visible()) {
        write_item(item, out);
    }
    out.extend_from_slice(b"</query>");
}

/// Appends the "subscribe" stanza of an item with `state.pending_in`, to be delivered to an available resource:
/// the stored one, or a bare one from the contact to `owner` where none could be kept.
pub fn write_request(item: &Item, owner: &str, out: &mut Vec<u8>) {
    match &item.request {
        Some(stanza) => out.extend_from_slice(stanza.as_bytes()),
        None => {
            out.extend_from_slice(b"<presence");
            attribute("from", &item.jid, out);
            attribute("to", owner, out);
            out.extend_from_slice(b" type='subscribe'/>");
        }
    }
}

fn open_query(version: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<query");
    attribute("xmlns", NS_ROSTER, out);
    attribute("ver", &version.to_string(), out);
}

fn attribute(name: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    xmlstream::escape_attr(out, value);
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{State, Subscription};

    fn listed(jid: &str) -> Item {
        Item {
            listed: true,
            ..Item::new(jid)
        }
    }

    fn check(item: &Item, wire: &str) {
        let mut out = Vec::new();
        write_item(item, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), wire);
    }

    #[test]
    fn items() {
        check(
            &listed("nurse@example.com"),
            "<item jid='nurse@example.com' subscription='none'/>",
        );
        check(
            &Item {
                name: Some("Romeo".into()),
                groups: ["Friends".into(), "Lovers".into()].into(),
                state: State::BOTH,
                ..listed("romeo@example.net")
            },
            "<item jid='romeo@example.net' name='Romeo' subscription='both'>\
             <group>Friends</group><group>Lovers</group></item>",
        );
        check(
            &Item {
                state: State {
                    pending_out: true,
                    approved: true,
                    ..State::NONE
                },
                ..listed("juliet@example.com")
            },
            "<item jid='juliet@example.com' subscription='none' ask='subscribe' approved='true'/>",
        );
        // Pending in is no part of an item.
        check(
            &Item {
                state: State {
                    subscription: Subscription::To,
                    pending_in: true,
                    ..State::NONE
                },
                request: Some("<presence type='subscribe'/>".into()),
                ..listed("a@example.com")
            },
            "<item jid='a@example.com' subscription='to'/>",
        );
    }

    /// What is written is read back by an XML parser as it was.
    #[test]
    fn hostile_text_survives() {
        let text = "a'\"<b>&amp;]]>\t\n\r é\u{1F600}";
        let item = Item {
            name: Some(text.into()),
            groups: [text.into()].into(),
            ..listed("x'y&z@example.com")
        };
        let mut out = Vec::new();
        write_push(&item, 7, &mut out);
        let query: minidom::Element = String::from_utf8(out).expect("UTF-8").parse().expect("well-formed");
        assert_eq!(query.attr("ver"), Some("7"));
        let item = query.get_child("item", NS_ROSTER).expect("an item");
        assert_eq!(item.attr("jid"), Some("x'y&z@example.com"));
        assert_eq!(item.attr("name"), Some(text));
        assert_eq!(item.get_child("group", NS_ROSTER).expect("a group").text(), text);
    }

    #[test]
    fn removals_and_requests() {
        let mut out = Vec::new();
        write_removal("a@b", 12, &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "<query xmlns='jabber:iq:roster' ver='12'><item jid='a@b' subscription='remove'/></query>"
        );
        out.clear();
        write_request(&Item::new("a@b"), "me@c", &mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "<presence from='a@b' to='me@c' type='subscribe'/>"
        );
        out.clear();
        write_request(
            &Item {
                request: Some("<presence>…".into()),
                ..Item::new("a@b")
            },
            "me@c",
            &mut out,
        );
        assert_eq!(String::from_utf8_lossy(&out), "<presence>…");
    }
}
