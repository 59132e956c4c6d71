//! What clients put into messages for their own server.

use stanza::JidRef;
use store::Query;
use xmlstream::Child;

use crate::{MakeChange, Occasion};

/// An element that a client of an account puts into a message to somebody, for its own server to do something with
/// (XEP-0490 section 4.5). It is taken out before anything else is done with the message: nobody gets it, no archive has
/// it, and no copy.
#[derive(Clone, Copy)]
pub struct Assist {
    pub name: &'static str,
    pub namespace: &'static str,
    /// Steps to a change of the account, or nothing. Nobody is told of an error: the message goes its way.
    pub make: Assisted,
}

/// With whom the message is addressed to, and the element.
pub type Assisted = fn(&Occasion, JidRef<'_>, &Child<'_>) -> Option<(Query, MakeChange)>;
