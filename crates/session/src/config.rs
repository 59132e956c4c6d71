//! What is configured for the streams of one listener.

use xmlstream::Limits;

/// Whether a stream must be under TLS before anybody logs in (configuration: `listen.tls`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    Required,
    Optional,
    /// No TLS is offered at all: for a trusted machine, or behind a proxy that has it.
    Off,
}

/// Shared by all streams of a listener.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    pub tls: TlsPolicy,
    /// Before authentication: small, so that a stranger costs little.
    pub before_login: Limits,
    pub after_login: Limits,
    /// Failed attempts to log in before the stream is ended (RFC 6120 section 6.4.5 asks for 2 to 5).
    pub login_attempts: u8,
    /// Key of the salts shown to users who do not exist.
    pub secret: [u8; 32],
    /// Iterations shown to users who do not exist: those that passwords are set with.
    pub iterations: u32,
    /// Named in the stream header where the client's `to` is none of ours.
    pub default_domain: String,
}
