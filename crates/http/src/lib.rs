//! The HTTP listener: XMPP over WebSocket (RFC 7395) and BOSH (XEP-0124), and where a client finds them (XEP-0156).
//!
//! Hyper reads and answers requests over our own TLS ([`io`]); [`serve`] runs a connection, [`route`] says what is
//! where. A connection whose handshake is a WebSocket's ([`handshake`]) leaves hyper with all that it owns, and goes on
//! as a `c2s::Connection`: the same stream, limits and errors as over TCP. So does a session of BOSH ([`bosh`]), over
//! a socket that requests and responses make up. Uploaded files come and go here as well (`files`). A port may serve
//! XMPP beside it ([`multiplex`]).

mod answer;
mod bosh;
mod files;
mod handshake;
mod host_meta;
mod io;
mod multiplex;
mod proxy;
mod route;
mod serve;

pub use crate::files::{Depot, Files, S3Settings};
pub use host_meta::Site;
pub use multiplex::Multiplexed;
pub use serve::{Server, Settings};
