//! XEP-0060 Publish-Subscribe 1.30.0 as a service, for nodes that belong to nobody's account: `pubsub.<domain>`. Accounts
//! of the domain make nodes there and own them; others read, subscribe and publish as their owners allow.

use module::{Access, Answer, Ask, Identity, Method, Module, Service};
use pubsub::Wanted;
use stanza::ns;

use crate::pep::{FEATURES, context, get, set};

pub(crate) const LABEL: &str = "pubsub";

/// What needs an account: its presence, its roster, and that it owns all its nodes.
const OF_ACCOUNTS: &[&str] = &[
    "http://jabber.org/protocol/pubsub#access-presence",
    "http://jabber.org/protocol/pubsub#access-roster",
    "http://jabber.org/protocol/pubsub#auto-subscribe",
    "http://jabber.org/protocol/pubsub#filtered-notifications",
    "http://jabber.org/protocol/pubsub#last-published",
    "http://jabber.org/protocol/pubsub#pubsub-on-a-jid",
];

pub(crate) fn module() -> Module {
    let identity = Identity {
        category: "pubsub",
        kind: "service",
        name: "Nodes",
    };
    let module = Module::new("pubsub-service")
        .service(Service {
            label: LABEL,
            name: "Nodes",
        })
        .service_identity(LABEL, identity)
        .service_feature(LABEL, ns::PUBSUB)
        .service_feature(LABEL, ns::RSM)
        .service_feature(LABEL, pubsub::FILTER)
        .service_iq(LABEL, Method::Get, "pubsub", ns::PUBSUB, Access::Anyone, get)
        .service_iq(LABEL, Method::Set, "pubsub", ns::PUBSUB, Access::Anyone, set)
        .service_iq(LABEL, Method::Get, "pubsub", ns::PUBSUB_OWNER, Access::Anyone, get)
        .service_iq(LABEL, Method::Set, "pubsub", ns::PUBSUB_OWNER, Access::Anyone, set)
        .service_iq(LABEL, Method::Get, "query", ns::DISCO_INFO, Access::Anyone, info)
        .service_iq(LABEL, Method::Get, "query", ns::DISCO_ITEMS, Access::Anyone, items);
    let features = FEATURES.iter().filter(|feature| !OF_ACCOUNTS.contains(feature));
    features.fold(module, |module, feature| module.service_feature(LABEL, feature))
}

fn info(ask: &mut Ask<'_>) -> Answer {
    match ask.payload.attr("node") {
        Some(node) => pubsub::node_info(&context(ask), &node),
        None => crate::disco::info(ask),
    }
}

fn items(ask: &mut Ask<'_>) -> Answer {
    let node = ask.payload.attr("node");
    match Wanted::of(&ask.payload) {
        Ok(wanted) => pubsub::node_items(&context(ask), node.as_deref(), String::new(), wanted),
        Err(error) => Answer::Error(error),
    }
}
