//! XEP-0480 SASL Upgrade Tasks 0.2.0: an account that lacks the verifier of a hash gets it where its client logs in with
//! another. The tasks are in `auth::upgrade`, the stream does them (`session::negotiation::tasks`).

use module::{Coverage, Module};

pub(crate) fn module() -> Module {
    // Section 2.1: all tasks are for mechanisms of SCRAM, as there are no others to upgrade to.
    Module::new("sasl-upgrade").xep(480, "SASL Upgrade Tasks", "0.2.0", Coverage::Complete)
}
