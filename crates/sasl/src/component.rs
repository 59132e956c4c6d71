//! The handshake of a component (XEP-0114 section 3). It is none of the mechanisms of SASL, but what is checked is the
//! same: that somebody knows a secret.

use subtle::ConstantTimeEq;

use crate::{Hash, Secret};

/// Whether this is the handshake of who knows the secret, on the stream of this id.
pub fn is_handshake(said: &str, stream_id: &str, secret: &Secret) -> bool {
    let digest = Hash::Sha1.digest(&[stream_id.as_bytes(), secret.bytes()].concat());
    let expected: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    said.as_bytes().ct_eq(expected.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handshakes() {
        let check = |said: &str, stream_id: &str, secret: &str, is_good: bool| {
            let secret = Secret::from_bytes(secret.as_bytes()).expect("not empty");
            assert_eq!(is_handshake(said, stream_id, &secret), is_good, "{said} {stream_id}");
        };
        // printf 3BF96D32test | sha1sum
        let good = "aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e";
        check(good, "3BF96D32", "test", true);
        check(good, "3BF96D33", "test", false);
        check(good, "3BF96D32", "Test", false);
        check(&good.to_uppercase(), "3BF96D32", "test", false);
        check(&good[1..], "3BF96D32", "test", false);
        check("", "3BF96D32", "test", false);
    }
}
