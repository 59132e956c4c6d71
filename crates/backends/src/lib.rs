//! The drivers of the port [`accounts::backend`]: who is asked for a password that is not kept here, or about a bearer
//! token.
//!
//! A driver waits in tasks of its own, asks a bounded number at once, and is done within its time limit whatever the
//! other side does: what is not known by then is [`auth::Verdict::Unavailable`]. No driver writes the secret anywhere
//! but to the one that is asked.

mod bearer;
mod client;
mod command;
mod http;
mod json;
pub mod ldap;
mod tls;
mod url;

pub use bearer::{Introspection, Rules, Secret, SignedTokens};
pub use client::Service;
pub use command::{Command, Settings};
pub use http::Http;
pub use url::Url;
