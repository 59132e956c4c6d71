//! XEP-0424 Message Retraction 0.4.2: a server that says so keeps retractions, with or without a body
//! (`archive::keeping` does), so that a client that was away hears of them (section 5), and lets a retracted message give
//! way to a tombstone (section 4; the router does, with `archive::tombstone`).

use module::{Coverage, Module};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("retraction")
        .xep(424, "Message Retraction", "0.4.2", Coverage::Complete)
        // Section 2.
        .server_feature(ns::RETRACTION)
        .kept_accounts_only()
        .account_feature(ns::RETRACTION)
        // Section 4.
        .account_feature(ns::RETRACTION_TOMBSTONE)
}
