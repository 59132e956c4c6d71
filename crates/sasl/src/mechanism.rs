//! Which mechanisms there are, and which of them a stream offers.

use crate::Hash;

/// A SASL mechanism of this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    ScramSha512Plus,
    ScramSha256Plus,
    ScramSha1Plus,
    ScramSha512,
    ScramSha256,
    ScramSha1,
    Plain,
}

impl Mechanism {
    /// All, strongest first: binding to the channel weighs more than the hash, as a relayed log-in is the likelier
    /// attack than a broken HMAC-SHA-1.
    pub const ALL: [Mechanism; 7] = [
        Mechanism::ScramSha512Plus,
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha1Plus,
        Mechanism::ScramSha512,
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::Plain,
    ];

    /// The name as registered with IANA (RFC 5802 section 4, RFC 4616 section 2).
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha512Plus => "SCRAM-SHA-512-PLUS",
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
        }
    }

    /// The mechanism of that name. Names are upper case (RFC 4422 section 3.1); nothing else matches.
    pub fn from_name(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    /// The hash of a SCRAM mechanism; `None` for PLAIN.
    pub fn hash(self) -> Option<Hash> {
        match self {
            Mechanism::ScramSha512Plus | Mechanism::ScramSha512 => Some(Hash::Sha512),
            Mechanism::ScramSha256Plus | Mechanism::ScramSha256 => Some(Hash::Sha256),
            Mechanism::ScramSha1Plus | Mechanism::ScramSha1 => Some(Hash::Sha1),
            Mechanism::Plain => None,
        }
    }

    /// Whether the mechanism is bound to the TLS channel (RFC 5802 section 4).
    pub fn is_plus(self) -> bool {
        matches!(
            self,
            Mechanism::ScramSha512Plus | Mechanism::ScramSha256Plus | Mechanism::ScramSha1Plus
        )
    }
}

/// The name of the channel binding type of RFC 9266.
pub(crate) const TLS_EXPORTER: &str = "tls-exporter";
/// The name of the channel binding type of RFC 5929 section 4.
pub(crate) const TLS_SERVER_END_POINT: &str = "tls-server-end-point";

/// What a stream's TLS channel offers to bind to. Neither value is secret.
///
/// `tls-unique` is left out: it is not defined for TLS 1.3, and broken without extended master secret (RFC 7677
/// section 3 and 4, RFC 9266 section 3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Binding {
    /// RFC 9266: 32 bytes of keying material exported with the label `EXPORTER-Channel-Binding` and a context of zero
    /// length. Only for TLS 1.3 (section 4.2).
    pub exporter: Option<[u8; 32]>,
    /// RFC 5929 section 4: the hash of the server's certificate. Undefined, so `None`, for certificates signed
    /// without a single hash function, such as Ed25519.
    pub server_end_point: Option<Vec<u8>>,
}

impl Binding {
    /// The types there are, as the session announces them in `<sasl-channel-binding/>` (XEP-0440 section 2), the
    /// stronger first. Empty: announce nothing.
    pub fn types(&self) -> Vec<&'static str> {
        let exporter = self.exporter.is_some().then_some(TLS_EXPORTER);
        let end_point = self.server_end_point.is_some().then_some(TLS_SERVER_END_POINT);
        exporter.into_iter().chain(end_point).collect()
    }

    /// The data of a type (RFC 5802 section 7, `cbind-data`), if there is any.
    pub(crate) fn data(&self, kind: &str) -> Option<&[u8]> {
        match kind {
            TLS_EXPORTER => self.exporter.as_ref().map(|data| &data[..]),
            TLS_SERVER_END_POINT => self.server_end_point.as_deref(),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.server_end_point.is_none()
    }
}

/// The mechanisms a stream offers, strongest first (RFC 6120 section 6.3.3): PLAIN only under TLS (RFC 4616 section 5),
/// -PLUS only under TLS that has something to bind to (RFC 5802 section 4).
pub fn offered(tls: bool, binding: &Binding) -> Vec<Mechanism> {
    Mechanism::ALL
        .into_iter()
        .filter(|mechanism| match mechanism {
            Mechanism::Plain => tls,
            scram if scram.is_plus() => tls && !binding.is_empty(),
            _ => true,
        })
        .collect()
}
