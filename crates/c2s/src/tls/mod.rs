//! TLS of connections of XMPP: the server's side, and the client's towards other servers.
//!
//! [`Tls`] is rustls' *unbuffered* connection behind three calls (`read`, `write`, `close`) and
//! does no I/O: a buffered rustls connection keeps a 4 kB deframer buffer for life, which alone
//! is two thirds of what an idle session may cost. The caller owns every buffer and lends it.
//!
//! [`Certificates`] holds what is served for which name, re-reads the files without a restart,
//! and [`server_config`] makes the rustls configuration for STARTTLS (RFC 6120 section 5) or for
//! direct TLS (XEP-0368).

mod capture;
mod certificates;
mod clients;
mod engine;
mod exporter;
mod pem;
mod tickets;
pub mod x509;

pub use certificates::{
    CHECK_EVERY, CertificateError, CertificateWarning, Certificates, HostFiles, Kind, Problem, Reloaded, server_config,
};
pub use engine::{MAX_UNREAD, Tls, TlsError};

/// The ALPN name of XMPP client connections (XEP-0368 section 3).
pub const ALPN_CLIENT: &[u8] = b"xmpp-client";
/// That of connections of other servers.
pub const ALPN_SERVER: &[u8] = b"xmpp-server";
/// The ALPN name of HTTP/1.1 (RFC 7301 section 6).
pub const ALPN_HTTP: &[u8] = b"http/1.1";
