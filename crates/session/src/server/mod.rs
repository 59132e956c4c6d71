//! Streams between servers (RFC 6120), without I/O: one that another server opens ([`incoming`]), one that we open
//! ([`outgoing`]), and what both are once they are made ([`peered`]).
//!
//! One stream serves one pair of domains, one of ours and one of theirs: what came authenticated for a pair speaks for no
//! other. Nothing is taken without TLS. Who the other is, is told by its certificate (SASL EXTERNAL, XEP-0178), or, where
//! the rules of this server allow it, by dialback (XEP-0220).

mod dialback;
mod header;
pub(crate) mod incoming;
mod outgoing;
pub(crate) mod peered;

use std::fmt;
use std::sync::Arc;

use router::Pair;
use stanza::ns;
use xmlstream::{Child, Limits};

pub use dialback::Claim;
pub use outgoing::{Attempt, Established, Failed, Note, Outgoing, Purpose, Reason, Stage, Then};

/// What this server has decided about others. Domains are in prepared form.
pub trait Rules: Send + Sync {
    /// Whether this is a domain of ours that talks with other servers: not those of guests.
    fn is_ours(&self, domain: &str) -> bool;
    /// Whether the two may talk at all.
    fn may_talk(&self, pair: &Pair) -> bool;
    /// Whether the other may show by dialback who it is, and we to it.
    fn may_dial_back(&self, pair: &Pair) -> bool;
}

/// What is configured for streams with other servers.
#[derive(Clone)]
pub struct ServerConfig {
    /// Before the other has shown who it is: small, so that a stranger costs little.
    pub before_login: Limits,
    pub after_login: Limits,
    /// Seconds of silence after which a server is asked whether it is there.
    pub idle_seconds: u32,
    pub rules: Arc<dyn Rules>,
    /// Key of the dialback keys: random, and the same on all machines of a domain.
    pub dialback_secret: [u8; 32],
    /// Whether streams are used in both directions (XEP-0288).
    pub bidirectional: bool,
    /// Named in the stream header where `to` is none of ours.
    pub default_domain: String,
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("ServerConfig").finish_non_exhaustive()
    }
}

impl ServerConfig {
    /// XEP-0478 section 3, in the features or in `<bidi/>`: before the login or behind it.
    fn stream_limits(&self, is_behind_login: bool) -> String {
        let ns = ns::STREAM_LIMITS;
        match is_behind_login {
            true => format!(
                "<limits xmlns='{ns}'><max-bytes>{}</max-bytes><idle-seconds>{}</idle-seconds></limits>",
                self.after_login.bytes, self.idle_seconds
            ),
            false => format!(
                "<limits xmlns='{ns}'><max-bytes>{}</max-bytes></limits>",
                self.before_login.bytes
            ),
        }
    }
}

/// The longest element that a peer takes, by its `<limits/>` (XEP-0478 section 3.1).
fn max_bytes(limits: &Child<'_>) -> Option<usize> {
    let bytes = limits.child("max-bytes", ns::STREAM_LIMITS)?;
    bytes.text().trim().parse().ok()
}
