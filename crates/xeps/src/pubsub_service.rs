//! XEP-0060 Publish-Subscribe 1.30.0 as a service, for nodes that belong to nobody's account: `pubsub.<domain>`. Accounts
//! of the domain make nodes there and own them; others read, subscribe and publish as their owners allow.

use module::{Access, Answer, Ask, Handle, Identity, Method, Module, Service};
use pubsub::{Context, Wanted};
use stanza::ns;

use crate::pep::{FEATURES, context};
use crate::{Creators, Offer};

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

pub(crate) fn module(offer: &Offer) -> Module {
    let module = Module::new("pubsub-service");
    let (get, set): (Handle, Handle) = match offer.nodes {
        Creators::Accounts => (get::<true>, set::<true>),
        Creators::Admins => (get::<false>, set::<false>),
        Creators::Nobody => return module,
    };
    let identity = Identity {
        category: "pubsub",
        kind: "service",
        name: "Nodes",
    };
    let module = module
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

/// `ACCOUNTS`: every account of the domain makes nodes; else only who may administer the server.
fn asked<const ACCOUNTS: bool>(ask: &Ask<'_>) -> Context {
    let mut context = context(ask);
    let needed = if ACCOUNTS { Access::Local } else { Access::Admin };
    context.asker.creates = needed.admits_to(ask.host, ask.from, ask.is_admin);
    context
}

fn get<const ACCOUNTS: bool>(ask: &mut Ask<'_>) -> Answer {
    pubsub::answer(&asked::<ACCOUNTS>(ask), Method::Get, &ask.payload)
}

fn set<const ACCOUNTS: bool>(ask: &mut Ask<'_>) -> Answer {
    pubsub::answer(&asked::<ACCOUNTS>(ask), Method::Set, &ask.payload)
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
