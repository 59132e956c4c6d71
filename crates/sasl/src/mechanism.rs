//! Which mechanisms there are, and what a TLS channel has to bind to.

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
    /// A client certificate (RFC 4422 appendix A, XEP-0178).
    External,
    /// A bearer token of an OAuth server (RFC 7628).
    OAuthBearer,
    /// Nobody in particular (RFC 4505, XEP-0175).
    Anonymous,
    /// A token of this server's (XEP-0484), bound to `tls-exporter`.
    TokenExporter,
    /// The same, bound to `tls-server-end-point`.
    TokenEndPoint,
    /// The same, bound to nothing.
    TokenUnbound,
}

/// What kind of proof a mechanism is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Scram(Hash),
    Plain,
    External,
    Bearer,
    Anonymous,
    /// With the type of channel binding.
    Token(Option<&'static str>),
}

impl Mechanism {
    /// All. First those of a list of mechanisms, strongest first: binding to the channel weighs more than the hash, as
    /// a relayed log-in is the likelier attack than a broken HMAC-SHA-1. Then those of tokens, strongest first.
    pub const ALL: [Mechanism; 13] = [
        Mechanism::External,
        Mechanism::ScramSha512Plus,
        Mechanism::ScramSha256Plus,
        Mechanism::ScramSha1Plus,
        Mechanism::ScramSha512,
        Mechanism::ScramSha256,
        Mechanism::ScramSha1,
        Mechanism::OAuthBearer,
        Mechanism::Plain,
        Mechanism::Anonymous,
        Mechanism::TokenExporter,
        Mechanism::TokenEndPoint,
        Mechanism::TokenUnbound,
    ];

    /// The name as registered with IANA; of tokens, as in draft-schmaus-kitten-sasl-ht-09 section 2 and XEP-0484
    /// section 3.1.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha512Plus => "SCRAM-SHA-512-PLUS",
            Mechanism::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Mechanism::ScramSha1Plus => "SCRAM-SHA-1-PLUS",
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::ScramSha1 => "SCRAM-SHA-1",
            Mechanism::Plain => "PLAIN",
            Mechanism::External => "EXTERNAL",
            Mechanism::OAuthBearer => "OAUTHBEARER",
            Mechanism::Anonymous => "ANONYMOUS",
            Mechanism::TokenExporter => "HT-SHA-256-EXPR",
            Mechanism::TokenEndPoint => "HT-SHA-256-ENDP",
            Mechanism::TokenUnbound => "HT-SHA-256-NONE",
        }
    }

    /// The mechanism of that name. Names are upper case (RFC 4422 section 3.1); nothing else matches.
    pub fn from_name(name: &str) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| mechanism.name() == name)
    }

    pub(crate) fn family(self) -> Family {
        match self {
            Mechanism::ScramSha512Plus | Mechanism::ScramSha512 => Family::Scram(Hash::Sha512),
            Mechanism::ScramSha256Plus | Mechanism::ScramSha256 => Family::Scram(Hash::Sha256),
            Mechanism::ScramSha1Plus | Mechanism::ScramSha1 => Family::Scram(Hash::Sha1),
            Mechanism::Plain => Family::Plain,
            Mechanism::External => Family::External,
            Mechanism::OAuthBearer => Family::Bearer,
            Mechanism::Anonymous => Family::Anonymous,
            Mechanism::TokenExporter => Family::Token(Some(TLS_EXPORTER)),
            Mechanism::TokenEndPoint => Family::Token(Some(TLS_SERVER_END_POINT)),
            Mechanism::TokenUnbound => Family::Token(None),
        }
    }

    /// The hash of a SCRAM mechanism; `None` for all others.
    pub fn hash(self) -> Option<Hash> {
        match self.family() {
            Family::Scram(hash) => Some(hash),
            _ => None,
        }
    }

    /// Whether the channel has what the mechanism needs: PLAIN and bearer tokens only under TLS (RFC 4616 section 5, RFC
    /// 7628 section 3), -PLUS and bound tokens only under TLS that has something to bind to (RFC 5802 section 4),
    /// certificates and every token only under TLS (XEP-0484 section 6).
    pub(crate) fn fits(self, tls: bool, binding: &Binding) -> bool {
        match self.family() {
            Family::Scram(_) => !self.is_plus() || (tls && !binding.is_empty()),
            Family::Plain | Family::External | Family::Bearer | Family::Token(None) => tls,
            Family::Anonymous => true,
            Family::Token(Some(kind)) => tls && binding.data(kind).is_some(),
        }
    }

    /// Whether it takes a token of XEP-0484: then it stands in `<fast/>`, and in no list of mechanisms.
    pub fn is_token(self) -> bool {
        matches!(self.family(), Family::Token(_))
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

    pub(crate) fn is_empty(&self) -> bool {
        self.exporter.is_none() && self.server_end_point.is_none()
    }
}
