//! Client connections: listeners, TLS, the connection task.
//!
//! A connection is one task: a hand-written future ([`connection`]) over the synchronous
//! `StreamCore`. It owns no buffer while it is idle; what a poll needs is borrowed from its
//! thread ([`worker`]). [`service`] is what all connections share, [`listener`] accepts them.

mod connection;
mod listener;
mod rate;
mod service;
mod shell;
mod throttle;
pub mod tls;
mod transport;
mod unsent;
mod worker;

pub use listener::{Listen, Listener, Port};
pub use service::{Limits, Parts, Service};
