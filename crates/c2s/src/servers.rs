//! What has to be found out about another server that connects, and who finds it out: `s2s`, which knows the DNS and
//! certificates.

use std::net::IpAddr;

use router::{Pair, Vouched};
use rustls::pki_types::CertificateDer;
use session::server::Claim;
use stanza::StanzaError;

/// A connection of another server.
pub struct Caller {
    pub address: IpAddr,
    /// What it has shown in the handshake of TLS, its own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Version and cipher suite, for people.
    pub tls: String,
}

/// To be called once.
pub type Answer<T> = Box<dyn FnOnce(T) + Send>;

/// Answers come later, from wherever it is, or never, where nobody waits any more.
pub trait Servers: Send + Sync {
    /// What the certificate that it has shown is worth, for the other domain of the pair.
    fn certifies(&self, caller: Caller, pair: &Pair, answer: Answer<Vouched>);

    /// Has a dialback key verified by the authoritative server of its domain.
    ///
    /// # Errors
    /// Nobody is asked.
    fn verify(&self, claim: Claim, answer: Answer<Result<bool, StanzaError>>) -> Result<(), StanzaError>;

    /// Something is wrong with the stream of who says that it is this domain.
    fn note(&self, address: IpAddr, remote: &str, note: &str);
}
