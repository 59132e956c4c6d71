//! XEP-0030 Service Discovery 2.5.0: derived from what the modules declare; there is no second list.

use module::{Access, Answer, Ask, Coverage, Method, Module, Nodes, Relation, Target};
use stanza::{StanzaError, ns};

use crate::nest::Nest;

pub(crate) fn module() -> Module {
    Module::new("disco")
        .xep(30, "Service Discovery", "2.5.0", Coverage::Complete)
        .server_identity("server", "im", "Jackdaw")
        .account_identity("account", "registered", "")
        .server_feature(ns::DISCO_INFO)
        .server_feature(ns::DISCO_ITEMS)
        .account_feature(ns::DISCO_INFO)
        .account_feature(ns::DISCO_ITEMS)
        .server_iq(Method::Get, "query", ns::DISCO_INFO, info)
        .server_iq(Method::Get, "query", ns::DISCO_ITEMS, items)
        .every_service_feature(ns::DISCO_INFO)
        .every_service_feature(ns::DISCO_ITEMS)
        .every_service_iq(Method::Get, "query", ns::DISCO_INFO, info)
        .every_service_iq(Method::Get, "query", ns::DISCO_ITEMS, items)
        // Section 8: who may not see the presence learns nothing, not even that there is an account.
        .account_iq(Method::Get, "query", ns::DISCO_INFO, Access::Subscriber, info)
        .account_iq(Method::Get, "query", ns::DISCO_ITEMS, Access::Subscriber, items)
}

/// Section 3.1. The node of our capabilities (XEP-0115 section 6.2) has the same answer as none.
pub(crate) fn info(ask: &mut Ask<'_>) -> Answer {
    let target = ask.target;
    let node = ask.payload.attr("node");
    if let Some(node) = &node {
        if let Some(nodes) = nodes(ask) {
            return (nodes.info)(ask, node);
        }
        if let Some(info) = crate::ad_hoc::info(ask, node) {
            return match info {
                Ok(info) => {
                    let mut out = opened(ns::DISCO_INFO, Some(node));
                    out.extend_from_slice(info.as_bytes());
                    closed(out)
                }
                Err(error) => Answer::Error(error),
            };
        }
        let ours = target == Target::Server && **node == crate::caps::node(ask.host, ask.registry);
        if !ours {
            return Answer::Error(StanzaError::item_not_found());
        }
    }
    let mut out = opened(ns::DISCO_INFO, node.as_deref());
    let of_guest = target == Target::Account && ask.host.guests.is_some();
    let nest = Nest::of(ask.registry, &ask.host.domain, target);
    let nested = nest.written();
    for mut identity in ask.registry.identities(target) {
        if of_guest && identity.category == "pubsub" || nested.has_identity(identity.category, identity.kind) {
            continue;
        }
        // XEP-0175 section 5.
        if of_guest && identity.category == "account" {
            identity.kind = "anonymous";
        }
        out.extend_from_slice(
            format!("<identity category='{}' type='{}'", identity.category, identity.kind).as_bytes(),
        );
        if !identity.name.is_empty() {
            out.extend_from_slice(format!(" name='{}'", identity.name).as_bytes());
        }
        out.extend_from_slice(b"/>");
    }
    let features: Vec<&str> = match of_guest {
        true => ask.registry.guest_features().collect(),
        false => ask.registry.features(target).collect(),
    };
    for feature in features {
        if !nest.hides(feature) && !nested.has_feature(feature) {
            out.extend_from_slice(format!("<feature var='{feature}'/>").as_bytes());
        }
    }
    for form in ask.registry.forms(target, ask.host) {
        if !nest.hides(form.form_type) {
            form.write(&mut out);
        }
    }
    out.extend_from_slice(nested.text.as_bytes());
    closed(out)
}

/// Who answers about the nodes of the account that is asked.
fn nodes(ask: &Ask<'_>) -> Option<Nodes> {
    ask.account?;
    ask.registry.nodes().filter(|_| ask.host.guests.is_none())
}

/// Section 4.1. The server shows its services; an account its available resources to itself and to its subscribers,
/// and its nodes.
pub(crate) fn items(ask: &mut Ask<'_>) -> Answer {
    let node = ask.payload.attr("node");
    let mut items = Vec::new();
    if node.is_none()
        && let Some(account) = ask.account
        && ask.relation >= Relation::Subscriber
    {
        for device in account.devices() {
            items.extend_from_slice(b"<item jid='");
            xmlstream::escape_attr(&mut items, &format!("{}/{}", ask.to.bare_str(), device.resource));
            items.extend_from_slice(b"'/>");
        }
    }
    if node.is_none() && ask.target == Target::Server && ask.host.guests.is_none() {
        for service in ask.registry.services() {
            let (label, name) = (service.label, service.name);
            items.extend_from_slice(format!("<item jid='{label}.{}' name='{name}'/>", ask.host.domain).as_bytes());
        }
        let components = ask.registry.components().iter();
        for component in components.filter(|component| *component.shown_by == *ask.host.domain) {
            items.extend_from_slice(format!("<item jid='{}'/>", component.domain).as_bytes());
        }
    }
    if let Some(nodes) = nodes(ask) {
        // Escaping text yields text.
        return (nodes.items)(ask, node.as_deref(), String::from_utf8(items).unwrap_or_default());
    }
    if let Some(commands) = node.as_deref().and_then(|node| crate::ad_hoc::items(ask, node)) {
        items.extend_from_slice(commands.as_bytes());
    }
    let mut out = opened(ns::DISCO_ITEMS, node.as_deref());
    out.extend_from_slice(&items);
    closed(out)
}

fn opened(namespace: &str, node: Option<&str>) -> Vec<u8> {
    let mut out = format!("<query xmlns='{namespace}'").into_bytes();
    if let Some(node) = node {
        out.extend_from_slice(b" node='");
        xmlstream::escape_attr(&mut out, node);
        out.push(b'\'');
    }
    out.push(b'>');
    out
}

fn closed(mut out: Vec<u8>) -> Answer {
    out.extend_from_slice(b"</query>");
    // Escaping text yields text.
    Answer::Result(String::from_utf8(out).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use stanza::StanzaError;

    use crate::testing::{Asked, check};

    #[test]
    fn the_server_tells_what_it_is_and_can() {
        check(
            super::module(),
            Asked::server("<query xmlns='http://jabber.org/protocol/disco#info'/>"),
            Ok("<query xmlns='http://jabber.org/protocol/disco#info'>\
                <identity category='server' type='im' name='Jackdaw'/>\
                <feature var='http://jabber.org/protocol/disco#info'/>\
                <feature var='http://jabber.org/protocol/disco#items'/></query>"),
        );
    }

    #[test]
    fn an_unknown_node_is_not_found() {
        let asked = Asked::server("<query xmlns='http://jabber.org/protocol/disco#info' node='x'/>");
        check(super::module(), asked, Err(StanzaError::item_not_found()));
    }

    #[test]
    fn an_account_shows_its_resources() {
        check(
            super::module(),
            Asked::own_account("<query xmlns='http://jabber.org/protocol/disco#items'/>").online(),
            Ok("<query xmlns='http://jabber.org/protocol/disco#items'>\
                <item jid='juliet@example.org/balcony'/></query>"),
        );
    }
}
