//! An IQ request as a feature sees it, and what it may answer.

use stanza::{JidRef, StanzaError};
use store::Batch;
use xmlstream::Child;

use crate::{Host, Now, Registry};

/// What the asking entity is to the account that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    Stranger,
    /// May see the account's presence (subscription "from" or "both", RFC 6121 section 2.1.2.5).
    Subscriber,
    /// Another or the same resource of the account itself.
    Owner,
}

/// When an account was last online, and the status it left (XEP-0012 section 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastActivity {
    /// Unix time in seconds.
    pub at: i64,
    pub status: String,
}

/// An available resource of an account.
#[derive(Clone, Debug)]
pub struct Device {
    pub resource: String,
    pub priority: i8,
}

/// What a feature may ask about the account it answers for.
pub trait AccountView {
    /// Available resources in the order in which they were bound.
    fn devices(&self) -> Vec<Device>;
    /// None where the account was never online.
    fn last_activity(&self) -> Option<LastActivity>;
}

/// One IQ request of type get or set. The dispatcher has checked its form and the right to ask.
pub struct Ask<'a> {
    pub now: Now,
    pub host: &'a Host,
    pub registry: &'a Registry,
    pub from: JidRef<'a>,
    /// The address that was asked: a domain or a bare JID.
    pub to: JidRef<'a>,
    pub payload: Child<'a>,
    pub relation: Relation,
    /// Present where an account is asked; absent where the server is.
    pub account: Option<&'a dyn AccountView>,
}

/// What a handler answers.
pub enum Answer {
    /// `<iq type='result'>` around this XML (which may be empty).
    Result(String),
    Error(StanzaError),
    /// The result is sent once the batch is on disk; an error if it cannot be.
    Stored(Batch, String),
}
