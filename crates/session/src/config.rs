//! What is configured for the streams of one listener.

use std::collections::BTreeMap;

use accounts::tokens::Lifetimes;
use auth::{Offer, Policy, TokenPolicy};
use stanza::ns;
use xmlstream::Limits;

use crate::core::Shell;

/// Whether a stream must be under TLS before anybody logs in (configuration: `listen.tls`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    Required,
    Optional,
    /// No TLS is offered at all: for a trusted machine, or behind a proxy that has it.
    Off,
}

/// Whether somebody may get an account by the stream itself (configuration: `domain.registration`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    #[default]
    Closed,
    /// With the token of an invitation (XEP-0445).
    Invited,
    /// Anybody (XEP-0077).
    Open,
}

/// Shared by all streams of a listener.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    pub tls: TlsPolicy,
    /// Before authentication: small, so that a stranger costs little.
    pub before_login: Limits,
    pub after_login: Limits,
    /// Seconds of silence after which a client that has logged in is asked whether it is there.
    pub idle_seconds: u32,
    /// Failed attempts to log in before the stream is ended (RFC 6120 section 6.4.5 asks for 2 to 5).
    pub login_attempts: u8,
    /// Key of the salts shown to users who do not exist.
    pub secret: [u8; 32],
    /// Iterations shown to users who do not exist: those that passwords are set with.
    pub iterations: u32,
    /// What may be logged in with.
    pub policy: Policy,
    /// The same, of the domains where it is another: those whose passwords are kept elsewhere.
    pub policies: BTreeMap<String, Policy>,
    /// Who gets an account, by domain; of others nobody.
    pub registration: BTreeMap<String, Registration>,
    /// How long clients and their tokens are remembered.
    pub lifetimes: Lifetimes,
    /// Named in the stream header where the client's `to` is none of ours.
    pub default_domain: String,
}

/// The version of TLS, told by what there is to bind to: only with 1.3 there is an exporter (RFC 9266 section 4.2), and
/// nothing below 1.2 is spoken here. Not known for a certificate that cannot be bound to under 1.2, or behind a proxy.
fn tls_version(binding: &auth::Binding) -> Option<u16> {
    match (binding.exporter, &binding.server_end_point) {
        (Some(_), _) => Some(0x0304),
        (None, Some(_)) => Some(0x0303),
        (None, None) => None,
    }
}

impl StreamConfig {
    /// The stream feature of XEP-0478 section 4.1. Before the login no silence is too long by itself: there is a time for
    /// all of it.
    pub(crate) fn stream_limits(&self, is_logged_in: bool) -> String {
        let (bytes, idle) = if is_logged_in {
            let idle = format!("<idle-seconds>{}</idle-seconds>", self.idle_seconds);
            (self.after_login.bytes, idle)
        } else {
            (self.before_login.bytes, String::new())
        };
        let ns = ns::STREAM_LIMITS;
        format!("<limits xmlns='{ns}'><max-bytes>{bytes}</max-bytes>{idle}</limits>")
    }

    pub(crate) fn registration(&self, domain: &str) -> Registration {
        self.registration.get(domain).copied().unwrap_or_default()
    }

    /// What a client of this domain may log in with.
    pub(crate) fn policy(&self, domain: &str) -> &Policy {
        self.policies.get(domain).unwrap_or(&self.policy)
    }

    /// What a client of this domain may log in with in the classic profile, or by SASL2: tokens have no place in the former.
    pub(crate) fn offer(&self, domain: &str, is_sasl2: bool, secured: bool, shell: &dyn Shell) -> Offer {
        let policy = self.policy(domain);
        let tokens = if is_sasl2 { policy.tokens } else { TokenPolicy::Off };
        let binding = shell.binding();
        let policy = Policy {
            tokens,
            // RFC 6120 section 6.3.4: not where it cannot succeed.
            external: policy.external && secured && auth::certifies(&shell.certified(domain), domain),
            ..policy.clone()
        };
        Offer {
            tls_version: tls_version(&binding),
            ..Offer::new(secured, &binding, &policy)
        }
    }
}
