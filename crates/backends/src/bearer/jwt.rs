//! Tokens that are signed JSON (RFC 7519, in the compact form of RFC 7515), and the public keys for them (RFC 7517).
//!
//! Three algorithms, each with its own kind of key, so that no key is ever used for another than its own: what the head
//! of a token says only chooses among them. `none` and the symmetric ones are not known here.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Wrong;

/// The most keys of a set that are read.
const MAX_KEYS: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    fn from_name(name: &str) -> Option<Algorithm> {
        match name {
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" | "Ed25519" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

#[derive(Deserialize)]
struct Head {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    /// Extensions that have to be understood; none is.
    crit: Option<Value>,
}

/// A token whose signature nobody has looked at yet.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    algorithm: Algorithm,
    kid: Option<String>,
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

impl<'a> Unverified<'a> {
    pub(super) fn read(token: &'a str) -> Result<Unverified<'a>, Wrong> {
        let form = Wrong::Token("it is no signed JSON");
        let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let parts = token.rsplit_once('.').and_then(|(signed, signature)| {
            let (head, payload) = signed.split_once('.')?;
            (!payload.contains('.')).then_some((signed, head, payload, signature))
        });
        let Some((signed, head, payload, signature)) = parts else {
            return Err(form);
        };
        let (Some(head), Some(signature)) = (decoded(head), decoded(signature)) else {
            return Err(form);
        };
        let Ok(head) = serde_json::from_slice::<Head>(&head) else {
            return Err(form);
        };
        let algorithm = Algorithm::from_name(&head.alg).ok_or(Wrong::Token("its algorithm is not taken"))?;
        // Other kinds are for other ends, such as to end a session.
        let is_access = |kind: &String| {
            let kind = kind.to_ascii_lowercase();
            matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt")
        };
        if head.crit.is_some() || !head.typ.as_ref().is_none_or(is_access) {
            return Err(Wrong::Token("it is of another type"));
        }
        Ok(Unverified {
            algorithm,
            kid: head.kid,
            signed,
            payload,
            signature,
        })
    }

    /// Whether one of the keys may be the one.
    pub(super) fn fits(&self, keys: &[Key]) -> bool {
        keys.iter().any(|key| key.fits(self))
    }

    /// What it claims, if one of the keys has signed it.
    pub(super) fn claims(&self, keys: &[Key]) -> Result<Map<String, Value>, Wrong> {
        let mut fitting = keys.iter().filter(|key| key.fits(self)).peekable();
        if fitting.peek().is_none() {
            return Err(Wrong::Token("no key of its provider fits"));
        }
        if !fitting.any(|key| key.has_signed(self.signed.as_bytes(), &self.signature)) {
            return Err(Wrong::Token("its signature is not right"));
        }
        let payload = URL_SAFE_NO_PAD.decode(self.payload).ok();
        let claims = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
        claims.ok_or(Wrong::Token("it claims nothing that can be read"))
    }
}

/// A public key.
pub(super) struct Key {
    kid: Option<String>,
    public: Public,
}

enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    Ed25519(Vec<u8>),
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Key {
    /// Those of a set that can be used here; `None`: it is no set.
    pub(super) fn read_all(text: &[u8]) -> Option<Vec<Key>> {
        let set: KeySet = serde_json::from_slice(text).ok()?;
        let keys = set.keys.into_iter().take(MAX_KEYS);
        Some(keys.filter_map(Key::read).collect())
    }

    fn read(key: Value) -> Option<Key> {
        let key: Jwk = serde_json::from_value(key).ok()?;
        if key.r#use.is_some_and(|usage| usage != "sig") {
            return None;
        }
        let decoded = |text: Option<String>| text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let whole = |bytes: Option<Vec<u8>>| bytes.filter(|bytes| bytes.len() == 32);
        let public = match (key.kty.as_str(), key.crv.as_deref()) {
            ("RSA", _) => Public::Rsa {
                n: decoded(key.n)?,
                e: decoded(key.e)?,
            },
            ("EC", Some("P-256")) => {
                let (x, y) = (whole(decoded(key.x))?, whole(decoded(key.y))?);
                // SEC 1 section 2.3.3: the uncompressed point.
                Public::P256([&[4][..], &x, &y].concat())
            }
            ("OKP", Some("Ed25519")) => Public::Ed25519(whole(decoded(key.x))?),
            _ => return None,
        };
        let read = Key { kid: key.kid, public };
        // A key for RS512, say, is for nothing else.
        match key.alg {
            Some(name) if Algorithm::from_name(&name) != Some(read.algorithm()) => None,
            _ => Some(read),
        }
    }

    fn algorithm(&self) -> Algorithm {
        match self.public {
            Public::Rsa { .. } => Algorithm::Rs256,
            Public::P256(_) => Algorithm::Es256,
            Public::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    /// A name that one of the two does not have rules nothing out.
    fn fits(&self, token: &Unverified<'_>) -> bool {
        let same_name = match (&self.kid, &token.kid) {
            (Some(own), Some(wanted)) => own == wanted,
            _ => true,
        };
        same_name && self.algorithm() == token.algorithm
    }

    fn has_signed(&self, text: &[u8], signature: &[u8]) -> bool {
        let checked = match &self.public {
            Public::Rsa { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, text, signature)
            }
            Public::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(text, signature),
            Public::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(text, signature),
        };
        checked.is_ok()
    }
}

#[cfg(test)]
#[path = "jwt_tests.rs"]
mod tests;
