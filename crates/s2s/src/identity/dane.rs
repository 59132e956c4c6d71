//! What the DNS says of a certificate, where DNSSEC secures what it says (RFC 6698, RFC 7673).

use c2s::tls::x509::Fields;
use ring::digest::{SHA256, SHA512, digest};
use rustls::pki_types::CertificateDer;

use crate::dns::Tlsa;

/// Certificate usages (RFC 6698 section 2.1.1, named as in RFC 7218).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Usage {
    /// 0: an authority that vouches for it is this one, beside that it is vouched for.
    PkixTa,
    /// 1: it is this one, beside that it is vouched for.
    PkixEe,
    /// 2: this authority vouches for it.
    DaneTa,
    /// 3: it is this one. Nothing else of it counts (RFC 7673 section 4.2).
    DaneEe,
}

/// The usage of a record that can be used at all (RFC 6698 section 4.1).
pub(super) fn usage(record: &Tlsa) -> Option<Usage> {
    let usage = match record.usage {
        0 => Usage::PkixTa,
        1 => Usage::PkixEe,
        2 => Usage::DaneTa,
        3 => Usage::DaneEe,
        _ => return None,
    };
    let is_whole = match record.matching {
        0 => !record.data.is_empty(),
        1 => record.data.len() == SHA256.output_len(),
        2 => record.data.len() == SHA512.output_len(),
        _ => false,
    };
    (is_whole && record.selector <= 1).then_some(usage)
}

/// Whether a record is of this certificate.
pub(super) fn is_of(record: &Tlsa, certificate: &CertificateDer<'_>, fields: &Fields<'_>) -> bool {
    match record.selector {
        0 => is_of_bytes(record, certificate),
        _ => is_of_bytes(record, fields.key),
    }
}

/// Whether a record is of this key, if it is of a key.
pub(super) fn is_of_key(record: &Tlsa, key: &[u8]) -> bool {
    record.selector == 1 && is_of_bytes(record, key)
}

fn is_of_bytes(record: &Tlsa, bytes: &[u8]) -> bool {
    match record.matching {
        0 => record.data == bytes,
        1 => record.data == digest(&SHA256, bytes).as_ref(),
        2 => record.data == digest(&SHA512, bytes).as_ref(),
        _ => false,
    }
}

/// As `3 1 1`, for an operator.
pub(super) fn shown(record: &Tlsa) -> String {
    format!("{} {} {}", record.usage, record.selector, record.matching)
}
