//! What rooms can do beside XEP-0045: each is one file of `crates/muc/src`, named here.

use module::{Coverage, Module};
use stanza::ns;

use crate::Offer;
use crate::muc::LABEL;

pub(crate) fn module(offer: &Offer) -> Module {
    let module = Module::new("muc-extensions")
        // hats.rs
        .xep(317, "Hats", "0.3.1", Coverage::Complete)
        // moderation.rs
        .xep(425, "Moderated Message Retraction", "0.3.0", Coverage::Complete)
        // mentions.rs
        .xep(452, "MUC Mention Notifications", "0.2.2", Coverage::Complete)
        // mav.rs
        .xep(463, "MUC Affiliations Versioning", "0.2.0", Coverage::Complete)
        // avatar.rs
        .xep(486, "MUC Avatars", "0.1.0", Coverage::Complete)
        // slow_mode.rs
        .xep(500, "MUC Slow Mode", "0.1.1", Coverage::Complete)
        // activity.rs
        .xep(502, "MUC Activity Indicator", "0.1.0", Coverage::Complete)
        // spaces.rs; the rest of it is what every node can do.
        .xep(503, "Server-side spaces", "0.3.0", Coverage::Complete);
    match offer.rooms {
        // XEP-0486 section 4.1: of the service too.
        true => module.service_feature(LABEL, ns::VCARD),
        false => module,
    }
}
