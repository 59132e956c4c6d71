//! XEP-0484 Fast Authentication Streamlining Tokens 0.2.0: a client comes back without its password. The mechanisms are in
//! `auth`, the tokens in `accounts::tokens`, and `session` offers them.

use module::{Coverage, Module};

pub(crate) fn module() -> Module {
    Module::new("fast").xep(
        484,
        "Fast Authentication Streamlining Tokens",
        "0.2.0",
        // Early data can be replayed, and saves a resumed handshake one round trip.
        Coverage::Partial("no early data of TLS"),
    )
}
