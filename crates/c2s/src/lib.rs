//! Connections of clients, components and other servers: listeners, TLS, the connection task.
//!
//! A connection is one task: a hand-written future ([`connection`]) over the synchronous
//! `StreamCore`. It owns no buffer while it is idle; what a poll needs is borrowed from its
//! thread ([`worker`]). Over WebSocket ([`websocket`]) it is the same connection, which has begun as one of HTTP
//! ([`channel`]). [`service`] is what all connections share, [`entry`]
//! lets them in, [`listener`] accepts them, and [`proxy`] reads whose they are.

mod admission;
mod bytestreams;
mod channel;
mod connection;
mod entry;
mod guests;
mod listener;
mod metrics;
mod proxy;
mod rate;
mod servers;
mod service;
mod shell;
mod socket;
mod throttle;
pub mod tls;
mod transport;
mod unsent;
mod websocket;
mod worker;

pub use bytestreams::{Activates, BytestreamLimits, Bytestreams};
pub use channel::Channel;
pub use connection::Connection;
pub use entry::{Entry, Port, admit_carried};
pub use listener::{Admit, Listener};
pub use metrics::Metrics;
pub use proxy::{Network, Proxied};
pub use servers::{Answer, Caller, Servers};
pub use service::{Backends, Limits, Parts, Service};
pub use socket::Socket;
pub use unsent::OWN_LIMITS;
