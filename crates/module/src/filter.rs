//! Features that look at stanzas on their way.
//!
//! A filter is a synchronous function over what is at hand: it never waits and never touches a
//! disk, since it stands on the path of every message.

use stanza::{Edits, JidRef, Stanza, StanzaError};

use crate::{AccountView, Host, Now};

/// Where on its way a stanza is looked at; always under the lock of the account's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// At the recipient's owner, before the rules of delivery (RFC 6121 section 8.5).
    Incoming,
}

/// A stanza on its way.
pub struct Passing<'a, 'e> {
    pub now: Now,
    pub host: &'a Host,
    pub stanza: &'a Stanza<'a>,
    /// The true sender: what will be written as `from`.
    pub from: JidRef<'a>,
    /// The bare JID of the account at whose owner it is.
    pub account: JidRef<'a>,
    pub view: &'a dyn AccountView,
    /// What to take out of the stanza and what to append to it.
    pub edits: &'e mut Edits,
}

/// What becomes of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Pass,
    /// Not delivered, and answered as if there were no such account (RFC 6121 section 8.5.1). Nobody gets a copy.
    NoSuchUser,
    /// Not delivered; the sender gets this error where the kind of stanza allows one.
    Refuse(StanzaError),
}

/// A filter and its place among the others.
#[derive(Clone, Copy)]
pub struct Filter {
    pub stage: Stage,
    pub name: &'static str,
    /// Names of filters that must have run before; an unknown name is not an error, since the
    /// feature may have been deleted.
    pub after: &'static [&'static str],
    pub run: fn(&mut Passing<'_, '_>) -> Verdict,
}
