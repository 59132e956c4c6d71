//! XEP-0424 Message Retraction 0.4.2: a server that says so keeps retractions, with or without a body
//! (`archive::keeping` does), so that a client that was away hears of them (section 5).

use module::{Coverage, Module};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("retraction")
        // Section 4 leaves tombstones to the service. In the archive of an account they would let a sender take back
        // what somebody else has received and kept; a room has a better claim to its own archive.
        .xep(
            424,
            "Message Retraction",
            "0.4.2",
            Coverage::Partial("retractions are archived; no tombstones"),
        )
        // Section 2.
        .server_feature(ns::RETRACTION)
        .account_feature(ns::RETRACTION)
}
