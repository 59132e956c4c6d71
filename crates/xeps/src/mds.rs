//! XEP-0490 Message Displayed Synchronization 1.0.1: up to where each chat was read, at a node of the account.
//!
//! The node is like others, and the account's alone whatever a client says (`pubsub` knows it by its name). Here is what
//! a client may put into the marker that it sends anyhow (section 4.5): it is taken out of the message, and published.

use module::{Assist, Change, Coverage, MakeChange, Module, Occasion, Step};
use pubsub::Act;
use stanza::{JidRef, ns};
use store::Query;
use xmlstream::Child;

pub(crate) fn module() -> Module {
    Module::new("mds")
        .xep(490, "Message Displayed Synchronization", "1.0.1", Coverage::Complete)
        .kept_accounts_only()
        .account_feature("urn:xmpp:mds:server-assist:0")
        .assist(Assist {
            name: "displayed",
            namespace: ns::MDS_DISPLAYED,
            make: displayed,
        })
}

/// What the id of the stanza is, is nothing for the server (section 5.2).
fn displayed(occasion: &Occasion, to: JidRef<'_>, displayed: &Child<'_>) -> Option<(Query, MakeChange)> {
    let mut payload = String::new();
    displayed.write_canonical("", &mut payload);
    let act = Act::Publish {
        node: ns::MDS_DISPLAYED.into(),
        id: to.as_str().into(),
        payload,
        made: &[],
    };
    match pubsub::also(occasion, vec![act], Change::default()) {
        Ok(Step::Ask(query, make)) => Some((query, make)),
        _ => None,
    }
}
