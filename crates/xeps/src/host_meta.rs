//! XEP-0156 Discovering Alternative XMPP Connection Methods 1.4.0: only declared here. The listener of HTTP answers
//! (`http/src/host_meta.rs`).

use module::{Coverage, Module};

pub(crate) fn module() -> Module {
    Module::new("host_meta").xep(
        156,
        "Discovering Alternative XMPP Connection Methods",
        "1.4.0",
        Coverage::Complete,
    )
}
