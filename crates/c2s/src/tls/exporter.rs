//! The TLS 1.3 keying material exporter (RFC 8446 section 7.5) for one label: the one of the
//! channel binding type `tls-exporter` (RFC 9266 section 2).
//!
//! rustls computes exporters only for its buffered connections; from the exporter secret it is
//! three HMACs, so it is written out here.

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha384};
use zeroize::Zeroize;

/// RFC 9266 section 2.
const LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// Bytes of a `tls-exporter` value (RFC 9266 section 2).
pub(super) const LENGTH: usize = 32;

/// The longest hash among the cipher suites of TLS 1.3: SHA-384.
const MAX_HASH: usize = 48;

/// The `tls-exporter` channel binding of a connection with this exporter secret. The secret is
/// as long as the hash of the cipher suite, which is how the hash is known; `None` for a length
/// no cipher suite of TLS 1.3 has.
pub(super) fn channel_binding(secret: &[u8]) -> Option<[u8; LENGTH]> {
    match secret.len() {
        32 => Some(export::<Hmac<Sha256>, Sha256>(secret)),
        MAX_HASH => Some(export::<Hmac<Sha384>, Sha384>(secret)),
        _ => None,
    }
}

/// `HKDF-Expand-Label(Derive-Secret(Secret, label, ""), "exporter", Hash(context), L)`
/// with an empty context.
fn export<M: Mac + KeyInit, D: Digest>(secret: &[u8]) -> [u8; LENGTH] {
    let hash_of_nothing = D::digest([]);
    let mut derived = [0; MAX_HASH];
    let derived = &mut derived[..secret.len()];
    expand_label::<M>(secret, LABEL, &hash_of_nothing, derived);
    let mut value = [0; LENGTH];
    expand_label::<M>(derived, b"exporter", &hash_of_nothing, &mut value);
    derived.zeroize();
    value
}

/// HKDF-Expand-Label (RFC 8446 section 7.1) into `output`, which is no longer than the hash, so
/// that one block of HKDF-Expand (RFC 5869 section 2.3) is all of it.
fn expand_label<M: Mac + KeyInit>(secret: &[u8], label: &[u8], context: &[u8], output: &mut [u8]) {
    const PREFIX: &[u8] = b"tls13 ";
    // HMAC takes a key of any length; the error of this constructor belongs to other MACs.
    let mut mac = <M as KeyInit>::new_from_slice(secret).expect("HMAC takes any key length");
    // All lengths below are those of the constants above and of a hash: they fit their fields.
    mac.update(&(output.len() as u16).to_be_bytes());
    mac.update(&[(PREFIX.len() + label.len()) as u8]);
    mac.update(PREFIX);
    mac.update(label);
    mac.update(&[context.len() as u8]);
    mac.update(context);
    mac.update(&[1]);
    let block = mac.finalize().into_bytes();
    let length = output.len();
    output.copy_from_slice(&block[..length]);
}

#[cfg(test)]
mod tests {
    use super::*;

    // The values themselves are compared with rustls' own exporter in tests/tls/handshake.rs.
    #[test]
    fn only_hash_lengths_of_tls_1_3_are_taken() {
        assert!(channel_binding(&[7; 32]).is_some());
        assert!(channel_binding(&[7; 48]).is_some());
        for length in [0, 16, 31, 33, 47, 49, 64] {
            assert_eq!(channel_binding(&vec![7; length]), None, "{length} bytes");
        }
        assert_ne!(channel_binding(&[7; 32]), channel_binding(&[8; 32]));
    }
}
