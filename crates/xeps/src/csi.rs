//! XEP-0352 Client State Indication 1.0.0: what a client need not hear at once while nobody looks at it. The stream reads
//! `<active/>` and `<inactive/>`, and its outbox holds back; here it is only offered.

use module::{Coverage, Host, Module, Registry};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("csi")
        .xep(352, "Client State Indication", "1.0.0", Coverage::Complete)
        .stream_feature(offer)
        .bind_feature(ns::CLIENT_STATE)
}

/// Section 4.1.
fn offer(_: &Host, _: &Registry) -> String {
    format!("<csi xmlns='{}'/>", ns::CLIENT_STATE)
}
