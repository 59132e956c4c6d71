//! The stream state machine of RFC 6120, without I/O: bytes and events in, bytes and questions out.
//!
//! [`StreamCore`] is one client's side of the conversation from the stream header to the closing
//! tag: negotiation of TLS, SASL and resource binding, then the gate every stanza passes on its
//! way to the router. A component (XEP-0114) has a handshake instead, and a gate of its own; so has
//! another server ([`server`]). It is pushed: the connection calls [`StreamCore::handle_bytes`] with what it
//! has read and [`StreamCore::handle_event`] with what it was told, and does what [`Next`] says.
//! Nothing in it waits; while an answer is outstanding ([`Next::Wait`]) the connection keeps the
//! bytes that follow.
//!
//! What only matters until a resource is bound lives in one box that is dropped then: an idle
//! session keeps its addresses and nothing else.

mod bound;
pub mod clients;
mod component;
mod config;
mod core;
mod errors;
mod header;
mod login;
mod negotiation;
mod pipelining;
mod sasl2;
pub mod server;

pub use component::ComponentConfig;
pub use config::{Registration, StreamConfig, TlsPolicy};
pub use core::{Context, Next, Progress, Recording, Shell, StreamCore};
pub use errors::stream_error;
pub use server::{Outgoing, ServerConfig};

#[cfg(test)]
mod tests;
