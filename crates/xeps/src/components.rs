//! XEP-0114 Jabber Component Protocol 1.6: programs that speak for a domain of their own. The stream is the session's
//! (`session/src/component.rs`), the way of stanzas the router's (`router/src/component.rs`).

use module::{Coverage, Module};

pub(crate) fn module() -> Module {
    Module::new("components").xep(
        114,
        "Jabber Component Protocol",
        "1.6",
        Coverage::Partial("the server accepts connections (jabber:component:accept) and makes none"),
    )
}
