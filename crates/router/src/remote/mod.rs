//! Other servers: what is for them, and what comes from them (RFC 6120 section 10.4).
//!
//! Streams go between a pair of domains, one of ours and one of theirs. Making one is the [`Dialer`]'s affair.

use stanza::StanzaError;

/// Two domains between which a stream goes, in prepared form.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pair {
    /// One of ours: a domain, a service of it, or a component's.
    pub local: Box<str>,
    pub remote: Box<str>,
}

impl Pair {
    pub fn new(local: &str, remote: &str) -> Pair {
        Pair {
            local: local.into(),
            remote: remote.into(),
        }
    }
}

/// Makes streams to other servers.
pub trait Dialer: Send + Sync {
    /// Whether there may be a stream between these at all. Else what the sender is told.
    fn may_reach(&self, pair: &Pair) -> Result<(), StanzaError>;

    /// Makes a stream. Returns at once, and may be called under a lock. Either [`Router::linked`](crate::Router::linked)
    /// or [`Router::not_linked`](crate::Router::not_linked) follows, once. `resume`: the id of a managed stream that broke
    /// (XEP-0198 section 5).
    fn dial(&self, pair: &Pair, resume: Option<Box<str>>);
}

/// Why there is no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    /// For who has sent something: in words, without addresses of this machine.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// There is no such server (RFC 6120 section 8.3.3.16): the DNS knows no such domain, or it offers no such service.
    NotFound,
    /// It does not answer, or a stream to it cannot be made (section 8.3.3.17).
    Timeout,
    /// It is not to be talked with: a policy of this server.
    Refused,
}

/// How a stream that we have opened was established.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// Stanzas may come over it as well (XEP-0288).
    pub is_bidirectional: bool,
    /// It acknowledges what it gets (XEP-0198).
    pub is_managed: bool,
    /// The id by which it can be resumed, and for how many seconds.
    pub resumable: Option<(Box<str>, u32)>,
    /// The stream that was asked for goes on: so many stanzas were handled.
    pub resumed: Option<u32>,
    /// It does not, and so many of it were handled (`<failed h=''/>`).
    pub handled: Option<u32>,
}
