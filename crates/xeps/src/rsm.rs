//! XEP-0059 Result Set Management 1.0, for the features that use it (`stanza::rsm`).

use module::{Coverage, Module};
use stanza::ns;

pub(crate) fn module() -> Module {
    Module::new("rsm")
        .xep(
            59,
            "Result Set Management",
            "1.0",
            Coverage::Partial("pages by id; pages by index are answered with feature-not-implemented (section 2.6)"),
        )
        .kept_accounts_only()
        .account_feature(ns::RSM)
}
