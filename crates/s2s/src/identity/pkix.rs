//! Whether an authority vouches for a certificate (RFC 5280 section 6, by webpki).

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use c2s::tls::x509;

use super::{Flaw, Side};

/// Who vouches for a certificate: from its own issuer up.
pub(super) struct Path {
    /// Those that the peer has shown and that are needed, the leaf not among them.
    pub(super) issuers: Vec<CertificateDer<'static>>,
    /// The key of the authority, `subjectPublicKeyInfo` in DER.
    pub(super) anchor: Vec<u8>,
    /// One of them may certify only some names. Such limits are known for names of the DNS alone, and so other names do
    /// not count.
    pub(super) is_constrained: bool,
    /// When the first of them, the leaf included, is no longer valid, in seconds since 1970.
    pub(super) until: i64,
}

/// Looks for a path from the first certificate of `chain` to one of `anchors`.
///
/// A peer that connects to us shows the certificate that it also serves with. Authorities of the public no longer certify
/// the usage of clients, and so that of servers is taken of it as well (docs/decisions/0028).
pub(super) fn path(
    chain: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    side: Side,
    now: UnixTime,
    provider: &CryptoProvider,
) -> Result<Path, Flaw> {
    let (leaf, others) = chain.split_first().ok_or(Flaw::NoCertificate)?;
    let parsed = EndEntityCert::try_from(leaf).map_err(|error| flaw(&error, chain))?;
    let look = |usage| {
        let algorithms = provider.signature_verification_algorithms.all;
        parsed.verify_for_usage(algorithms, anchors, others, now, usage, None, None)
    };
    let found = match (look(KeyUsage::server_auth()), side) {
        (Err(Error::RequiredEkuNotFoundContext(_)), Side::Client) => look(KeyUsage::client_auth()),
        (found, _) => found,
    };
    let found = found.map_err(|error| flaw(&error, chain))?;

    let issuers: Vec<_> = found
        .intermediate_certificates()
        .map(|issuer| issuer.der().into_owned())
        .collect();
    let fields = issuers.iter().map(|issuer| x509::fields(issuer));
    let is_limited = fields
        .clone()
        .any(|fields| fields.is_none_or(|fields| fields.is_constrained()));
    let ends = fields
        .chain([x509::fields(leaf)])
        .flatten()
        .map(|fields| fields.not_after);
    let anchor = found.anchor();
    Ok(Path {
        anchor: webpki::spki_for_anchor(anchor).to_vec(),
        is_constrained: is_limited || anchor.name_constraints.is_some(),
        until: ends.min().unwrap_or_default(),
        issuers,
    })
}

fn flaw(error: &Error, chain: &[CertificateDer<'_>]) -> Flaw {
    match error {
        Error::CertExpired { .. } => Flaw::Expired,
        Error::CertNotValidYet { .. } => Flaw::NotYetValid,
        Error::UnknownIssuer => match chain.first().and_then(|leaf| x509::fields(leaf)) {
            Some(leaf) if leaf.issuer == leaf.subject => Flaw::SelfSigned,
            _ => Flaw::UnknownAuthority { shown: chain.len() },
        },
        Error::RequiredEkuNotFoundContext(_) | Error::CaUsedAsEndEntity | Error::EndEntityUsedAsCa => Flaw::WrongUsage,
        Error::NameConstraintViolation => Flaw::Constrained,
        other => Flaw::Broken(format!("{other:?}")),
    }
}
