//! Whoever signs bearer tokens (RFC 7519): EdDSA with a key of its own.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};

/// A key with a name.
pub struct Signer {
    kid: String,
    key: Ed25519KeyPair,
}

impl Signer {
    pub fn new(kid: &str) -> Signer {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("random numbers");
        Signer {
            kid: kid.to_owned(),
            key: Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).expect("a key"),
        }
    }

    /// A set of keys (RFC 7517).
    pub fn set(signers: &[&Signer]) -> String {
        let key = |signer: &&Signer| {
            let x = URL_SAFE_NO_PAD.encode(signer.key.public_key());
            let kid = &signer.kid;
            format!("{{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"sig\",\"kid\":\"{kid}\",\"x\":\"{x}\"}}")
        };
        let keys: Vec<String> = signers.iter().map(key).collect();
        format!("{{\"keys\":[{}]}}", keys.join(","))
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &str) -> String {
        self.sign_as("EdDSA", claims)
    }

    /// One that says that it is of this algorithm.
    pub fn sign_as(&self, algorithm: &str, claims: &str) -> String {
        let head = format!("{{\"alg\":\"{algorithm}\",\"kid\":\"{}\"}}", self.kid);
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}
