//! The drivers of the port [`accounts::backend`]: who is asked for a password that is not kept here, or about a bearer
//! token.
//!
//! A driver waits in tasks of its own, asks a bounded number at once, and is done within its time limit whatever the
//! other side does: what is not known by then is [`auth::Verdict::Unavailable`]. No driver writes the secret anywhere
//! but to the one that is asked.
//!
//! Over the same client of HTTP goes what is too long to be held ([`Remote`]): the files of a service of S3; and what is
//! there for everybody ([`fetch`]).

mod bearer;
mod client;
mod command;
mod fetch;
mod http;
mod json;
pub mod ldap;
mod streaming;
mod tls;
mod url;

pub use bearer::{Introspection, Rules, Secret, SignedTokens};
pub use client::{Sent, Service};
pub use command::{Command, Settings};
pub use fetch::{Fetched, fetch};
pub use http::Http;
pub use streaming::{Answered, Remote};
pub use url::Url;
