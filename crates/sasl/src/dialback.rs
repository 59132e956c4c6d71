//! The keys of server dialback (XEP-0185). It is none of the mechanisms of SASL; what is checked is that somebody knows a
//! secret.
//!
//! The fields are written with their lengths before them, not with spaces between them as the XEP has it: so no two
//! triples of fields are the same text, whatever is in them. Nobody but the domain's own machines has to make such a key.

use subtle::ConstantTimeEq;

use crate::Hash;

/// What the key is for, so that no other use of the secret makes the same one.
const LABEL: &str = "dialback";

/// The key that `originating` shows to `receiving` on the stream with this id.
pub fn dialback_key(secret: &[u8; 32], receiving: &str, originating: &str, stream_id: &str) -> String {
    let mut text = Vec::new();
    for field in [LABEL, receiving, originating, stream_id] {
        text.extend_from_slice(&(field.len() as u64).to_be_bytes());
        text.extend_from_slice(field.as_bytes());
    }
    let key = Hash::Sha256.hmac(secret, &text);
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether it is that. Takes as long whatever is wrong with it.
pub fn is_dialback_key(said: &str, secret: &[u8; 32], receiving: &str, originating: &str, stream_id: &str) -> bool {
    let expected = dialback_key(secret, receiving, originating, stream_id);
    said.as_bytes().ct_eq(expected.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys() {
        let secret = [7; 32];
        let fields = ["montague.example", "capulet.example", "D60000229F"];
        let [receiving, originating, id] = fields;
        let key = dialback_key(&secret, receiving, originating, id);
        assert_eq!(key.len(), 64);
        let check = |said: &str, secret: &[u8; 32], [a, b, c]: [&str; 3], is_good: bool| {
            assert_eq!(is_dialback_key(said, secret, a, b, c), is_good, "{said} {a} {b} {c}");
        };
        check(&key, &secret, fields, true);
        check(&key, &[8; 32], fields, false);
        check(&key, &secret, [originating, receiving, id], false);
        check(&key, &secret, [receiving, originating, "D60000229G"], false);
        check(&key, &secret, [receiving, originating, ""], false);
        check(&key.to_uppercase(), &secret, fields, false);
        check(&key[1..], &secret, fields, false);
        check("", &secret, fields, false);
    }

    /// Row 21 of the attacks: however one text is cut into fields, the keys differ.
    #[test]
    fn no_two_splits_have_one_key() {
        for text in [
            "example.inform.example.org",
            "a b c d",
            "aaaaaaaa",
            "\0\0\0\0\0\0\0\x01a\0",
        ] {
            let mut seen = HashSet::new();
            let ends: Vec<usize> = (0..=text.len()).filter(|&at| text.is_char_boundary(at)).collect();
            for &first in &ends {
                for &second in ends.iter().filter(|&&second| second >= first) {
                    let key = dialback_key(&[1; 32], &text[..first], &text[first..second], &text[second..]);
                    assert!(seen.insert(key), "{text:?} at {first} and {second}");
                }
            }
        }
    }
}
