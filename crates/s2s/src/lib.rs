//! Streams to other servers (RFC 6120): whom to ask where a domain is, how to get there, who it is that answers, and
//! what went wrong.
//!
//! The router says that something is for a pair of domains ([`router::Dialer`]); here a stream is made for it. What the
//! stream says is `session`'s affair, who carries it is `c2s`'s; what is known of a domain stands in the [`journal`].

mod caller;
pub mod connect;
mod dialer;
pub mod dns;
pub mod federation;
pub mod identity;
pub mod journal;
pub mod places;
pub mod policy;
mod public;
pub mod targets;
pub mod times;
mod verify;
mod why;

pub use federation::{Federation, OurRules, Parts};

#[cfg(test)]
mod stub;
