//! XEP-0478 Stream Limits Advertisement 0.2.0: how long an element may be, and how long a client may be silent. The
//! stream says so among its features, before the login and after it (`session/src/negotiation.rs`).

use module::{Coverage, Module};

pub(crate) fn module() -> Module {
    Module::new("stream-limits").xep(478, "Stream Limits Advertisement", "0.2.0", Coverage::Complete)
}
