//! XEP-0163 Personal Eventing Protocol 1.2.2: every account a service of XEP-0060 Publish-Subscribe 1.30.0. What becomes
//! of a request is decided in `pubsub`; here is what the account says of itself.

use module::{Access, Answer, Ask, Contact, Coverage, Method, Module, Nodes, Relation};
use pubsub::{Asker, Context, Wanted};
use stanza::{Jid, ns};

/// XEP-0060 section 11: each is this behind `http://jabber.org/protocol/pubsub#`.
macro_rules! features {
    ($($name:literal,)+) => {
        &[$(concat!("http://jabber.org/protocol/pubsub#", $name),)+]
    };
}

pub(crate) const FEATURES: &[&str] = features![
    "access-authorize",
    "access-open",
    "access-presence",
    "access-roster",
    "access-whitelist",
    "auto-create",
    "auto-subscribe",
    "config-node",
    "config-node-max",
    "create-and-configure",
    "create-nodes",
    "delete-items",
    "delete-nodes",
    "filtered-notifications",
    "instant-nodes",
    "item-ids",
    "last-published",
    "manage-subscriptions",
    "member-affiliation",
    "meta-data",
    "modify-affiliations",
    "multi-items",
    "outcast-affiliation",
    "persistent-items",
    "publish",
    "publish-node-full",
    "publish-only-affiliation",
    "publish-options",
    "publisher-affiliation",
    "pubsub-on-a-jid",
    "purge-nodes",
    "retract-items",
    "retrieve-affiliations",
    "retrieve-default",
    "retrieve-default-sub",
    "retrieve-items",
    "retrieve-subscriptions",
    "rsm",
    "subscribe",
    "subscription-notifications",
    "subscription-options",
];

pub(crate) fn module() -> Module {
    let module = Module::new("pep")
        .xep(
            60,
            "Publish-Subscribe",
            "1.30.0",
            Coverage::Partial(
                "of accounts, and of a service; without subscription ids, leases, digests, batches and collections",
            ),
        )
        .xep(163, "Personal Eventing Protocol", "1.2.2", Coverage::Complete)
        .xep(
            222,
            "Persistent Storage of Public Data via PubSub",
            "1.0",
            Coverage::Complete,
        )
        .xep(
            223,
            "Persistent Storage of Private Data via PubSub",
            "1.1.1",
            Coverage::Complete,
        )
        .account_identity("pubsub", "pep", "")
        .xep(462, "PubSub Type Filtering", "0.1.1", Coverage::Complete)
        .account_feature(ns::PUBSUB)
        .account_feature(pubsub::FILTER)
        // COMPAT: Profanity looks for it at the domain.
        .server_feature("http://jabber.org/protocol/pubsub#publish-options")
        .table(&pubsub::NODES)
        .table(&pubsub::ITEMS)
        .table(&pubsub::ORDER)
        .table(&pubsub::TOTALS)
        .table(&pubsub::PEOPLE)
        .table(&pubsub::MOVED)
        // Who may ask what depends on the node: `pubsub` answers a stranger as a missing account would be answered.
        .account_iq(Method::Get, "pubsub", ns::PUBSUB, Access::Anyone, get)
        .account_iq(Method::Set, "pubsub", ns::PUBSUB, Access::Anyone, set)
        .account_iq(Method::Get, "pubsub", ns::PUBSUB_OWNER, Access::Anyone, get)
        .account_iq(Method::Set, "pubsub", ns::PUBSUB_OWNER, Access::Anyone, set)
        .account_nodes(Nodes {
            info: |ask, node| pubsub::node_info(&context(ask), node),
            items: |ask, node, others| match Wanted::of(&ask.payload) {
                Ok(wanted) => pubsub::node_items(&context(ask), node, others, wanted),
                Err(error) => Answer::Error(error),
            },
            accounts: &pubsub::TOTALS,
            last: |arrival, nodes| {
                let context = Context {
                    now: arrival.now,
                    owner: arrival.owner.clone(),
                    asker: asker(&arrival.who, arrival.relation, arrival.contact.clone()),
                };
                pubsub::last_items(&context, nodes.iter().map(|node| &**node))
            },
            service: crate::pubsub_service::LABEL,
            is_decision: pubsub::is_decision,
            decide: |ask| pubsub::decide(&context(ask), &ask.payload),
            leave: pubsub::leave,
        });
    FEATURES
        .iter()
        .fold(module, |module, feature| module.account_feature(feature))
}

pub(crate) fn context(ask: &Ask<'_>) -> Context {
    let contact = ask.account.and_then(|account| account.contact(ask.from));
    Context {
        now: ask.now,
        owner: ask.to.bare().to_owned(),
        asker: asker(&ask.from.to_owned(), ask.relation, contact.unwrap_or_default()),
    }
}

fn asker(jid: &Jid, relation: Relation, contact: Contact) -> Asker {
    Asker {
        jid: jid.clone(),
        relation,
        groups: contact.groups,
        knows_account: contact.is_seen,
        creates: false,
    }
}

fn get(ask: &mut Ask<'_>) -> Answer {
    pubsub::answer(&context(ask), Method::Get, &ask.payload)
}

fn set(ask: &mut Ask<'_>) -> Answer {
    pubsub::answer(&context(ask), Method::Set, &ask.payload)
}
