//! What a client wants of notifications for its account while it is away (XEP-0357).

use stanza::Jid;

/// A push service, and what it wants to be told with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushService {
    pub jid: Jid,
    /// Empty where the client named none.
    pub node: Box<str>,
    /// The form of publish options, as XML; empty where there was none. It may hold a secret.
    pub options: Box<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Push {
    Enable(PushService),
    Disable {
        service: Jid,
        /// None: all that the service has.
        node: Option<Box<str>>,
    },
}
