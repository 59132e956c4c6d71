//! Scripted XMPP peers for tests: raw streams over TCP and TLS, and a server process to talk to.
//!
//! - [`Server`]: the real binary with a temporary data folder, its own loopback address and accounts.
//! - [`Client`]: a peer that sends exactly the bytes it is told to, and reads what comes with a parser
//!   that is not the server's own (rxml), so that what the server writes is checked as well.
//! - [`Stanza`] and its patterns: what came, and what was expected.
//! - [`Scram`]: a SCRAM client that can be told to misbehave.
//! - [`Issued`]: a token to come back with, by SASL2.
//! - [`Session`] and [`Loss`]: stream management, and connections that break.
//! - [`Bosh`]: a session of BOSH, and [`Line`]: a connection of HTTP.
//! - [`Web`]: a web server that says what it is told to, and [`Signer`]: whoever signs bearer tokens.
//! - [`Federation`], [`Remote`], [`Dns`], [`Authority`]: servers of other domains, real ones and scripted ones, where they are
//!   and who vouches for them.
//! - [`ArchiveQuery`]: what is asked of a message archive.
//!
//! Whatever is not as expected panics, with what came instead; the server's log is printed then.

mod archive;
mod authority;
mod binary;
mod bosh;
mod carried;
mod client;
mod client_state;
mod component;
mod dns;
mod federation;
mod login;
mod management;
mod negotiation;
mod process;
mod reader;
mod remote;
mod sasl2;
mod scram;
mod server;
mod signer;
mod stanza;
mod tls;
mod web;
mod websocket;

pub use archive::{ArchiveQuery, Archived, NS_MAM, NS_RSM, NS_SID, Page};
pub use authority::{Authority, Certified};
pub use bosh::{Bosh, CREATION, HttpAnswer, Line, NS_BOSH, Wrapper, post};
pub use client::{Client, ConnectOptions, TIMEOUT, Transport};
pub use client_state::NS_CSI;
pub use component::{COMPONENT_SECRET, NS_COMPONENT};
pub use dns::{Dns, Record};
pub use federation::Federation;
pub use login::{password_of, plain};
pub use management::{Loss, NS_SM, Session, resume};
pub use negotiation::handshake;
pub use reader::{Header, Item};
pub use remote::{NS_BIDI, NS_DIALBACK, NS_SERVER, Offers, Remote, server_header};
pub use sasl2::{
    Issued, NS_FAST, NS_SASL2, NS_UPGRADE, agent, enable, resume_inline, task_hash, task_of, token_message, upgrades,
};
pub use scram::{Binding, Scram};
pub use server::{Builder, Server};
pub use signer::Signer;
pub use stanza::{NS_STANZAS, NS_STREAM, NS_STREAMS, Stanza};
pub use tls::{Identity, Version};
pub use web::{Asked, Reply, Web};
pub use websocket::frame;
