//! How somebody gets an account by the stream itself (XEP-0077, XEP-0445): the port of who keeps the accounts.

use stanza::{Jid, StanzaError};
use zeroize::Zeroizing;

/// A token that is good for an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invited {
    /// What its row is found by, see [`crate::invitations::key_of`].
    pub key: Box<str>,
    /// The localpart that the account has to have.
    pub username: Option<Box<str>>,
}

/// What the new account is to be.
pub struct Registration {
    /// A domain of this server.
    pub domain: String,
    /// As it was typed.
    pub username: String,
    pub password: Zeroizing<String>,
    /// Of [`Invited`]. None: whoever comes may have an account there.
    pub invitation: Option<Box<str>>,
}

/// Both may wait for the disk, and the second derives what is stored of a password: not on a worker.
pub trait Registrar: Send + Sync {
    /// What the token is good for at this domain; None where it is good for nothing, whatever the reason.
    fn invited(&self, domain: &str, token: &str) -> Result<Option<Invited>, StanzaError>;

    /// Makes the account. It is durable when this returns.
    fn register(&self, new: Registration) -> Result<Jid, StanzaError>;
}
