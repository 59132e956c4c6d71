//! XEP-0509 Initial Authentication Pipelining 0.2.0: the stream does it (`session::pipelining`).

use module::{Coverage, Module};

pub(crate) fn module() -> Module {
    Module::new("pipelining").xep(509, "Initial Authentication Pipelining", "0.2.0", Coverage::Complete)
}
