//! XEP-0198 Stream Management 1.6.3: what was received is acknowledged, and a broken stream is resumed. The stream does
//! all of it; here it is only offered.

use module::{Coverage, Host, Module, Registry};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("sm")
        .xep(198, "Stream Management", "1.6.3", Coverage::Complete)
        .stream_feature_until_on(ns::STREAM_MANAGEMENT, offer)
        .bind_feature(ns::STREAM_MANAGEMENT)
}

/// Section 2.
fn offer(_: &Host, _: &Registry) -> String {
    format!("<sm xmlns='{}'/>", ns::STREAM_MANAGEMENT)
}
