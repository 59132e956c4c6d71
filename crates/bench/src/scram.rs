//! SCRAM-SHA-1 as a client (RFC 5802), without channel binding.
//!
//! The salted password is remembered by account and salt: the password's rounds are the generator's own work, and a
//! second login must not pay them again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha1::{Digest, Sha1};

/// Bytes of SHA-1.
const LENGTH: usize = 20;
/// `n,,` in base64: no channel binding (RFC 5802 section 7).
const NO_BINDING: &str = "biws";

/// The salted passwords of the accounts that logged in.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    salted: Mutex<HashMap<String, Salted>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Salted {
    salt: Vec<u8>,
    rounds: u32,
    key: [u8; LENGTH],
}

impl Memory {
    fn salted(&self, user: &str, password: &str, salt: Vec<u8>, rounds: u32) -> [u8; LENGTH] {
        // Nothing can panic while it is locked.
        let mut known = self.salted.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match known.get(user) {
            Some(known) if known.salt == salt && known.rounds == rounds => known.key,
            _ => {
                let mut key = [0; LENGTH];
                pbkdf2::pbkdf2_hmac::<Sha1>(password.as_bytes(), &salt, rounds, &mut key);
                known.insert(user.to_owned(), Salted { salt, rounds, key });
                key
            }
        }
    }
}

/// One login.
pub(crate) struct Scram {
    first: String,
    server: Option<[u8; LENGTH]>,
}

impl Scram {
    /// A nonce must be fresh, not secret, where nothing is protected: a counter will do.
    pub(crate) fn new(user: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::with_nonce(user, &format!("bench{}x{count}", std::process::id()))
    }

    fn with_nonce(user: &str, nonce: &str) -> Self {
        Self {
            first: format!("n={user},r={nonce}"),
            server: None,
        }
    }

    /// The initial response, in base64.
    pub(crate) fn initial(&self) -> String {
        STANDARD.encode(format!("n,,{}", self.first))
    }

    /// The answer to the challenge, both in base64.
    pub(crate) fn answer(&mut self, memory: &Memory, user: &str, password: &str, challenge: &str) -> Option<String> {
        let challenge = String::from_utf8(STANDARD.decode(challenge).ok()?).ok()?;
        let field = |name: &str| challenge.split(',').find_map(|field| field.strip_prefix(name));
        let salt = STANDARD.decode(field("s=")?).ok()?;
        let key = memory.salted(user, password, salt, field("i=")?.parse().ok()?);
        let without_proof = format!("c={NO_BINDING},r={}", field("r=")?);
        let message = format!("{},{challenge},{without_proof}", self.first);

        let client = hmac(&key, b"Client Key");
        let stored: [u8; LENGTH] = Sha1::digest(client).into();
        let signature = hmac(&stored, message.as_bytes());
        let mut proof = client;
        for (byte, other) in proof.iter_mut().zip(signature) {
            *byte ^= other;
        }
        self.server = Some(hmac(&hmac(&key, b"Server Key"), message.as_bytes()));
        Some(STANDARD.encode(format!("{without_proof},p={}", STANDARD.encode(proof))))
    }

    /// Whether the server knows the password too.
    pub(crate) fn accepts(&self, success: &str) -> bool {
        let decoded = STANDARD.decode(success).unwrap_or_default();
        let signature = decoded.strip_prefix(b"v=").and_then(|text| STANDARD.decode(text).ok());
        signature.is_some() && signature.as_deref() == self.server.as_ref().map(|known| &known[..])
    }
}

/// What a server keeps of a password: stored key and server key (RFC 5802 section 3).
pub(crate) fn verifier(password: &str, salt: &[u8], rounds: u32) -> ([u8; LENGTH], [u8; LENGTH]) {
    let mut key = [0; LENGTH];
    pbkdf2::pbkdf2_hmac::<Sha1>(password.as_bytes(), salt, rounds, &mut key);
    (
        Sha1::digest(hmac(&key, b"Client Key")).into(),
        hmac(&key, b"Server Key"),
    )
}

fn hmac(key: &[u8], text: &[u8]) -> [u8; LENGTH] {
    let mut mac = Hmac::<Sha1>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(text);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 5802 section 5.
    #[test]
    fn the_example_of_the_rfc() {
        let memory = Memory::default();
        let mut scram = Scram::with_nonce("user", "fyko+d2lbbFgONRv9qkxdawL");
        assert_eq!(
            STANDARD.decode(scram.initial()).unwrap(),
            b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL"
        );
        let challenge = "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096";
        let answer = scram
            .answer(&memory, "user", "pencil", &STANDARD.encode(challenge))
            .expect("understood");
        let expected = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";
        assert_eq!(STANDARD.decode(answer).unwrap(), expected.as_bytes());
        assert!(scram.accepts(&STANDARD.encode("v=rmF9pqV8S7suAoZWja4dJRkFsKQ=")));
        assert!(!scram.accepts(&STANDARD.encode("v=AAAApqV8S7suAoZWja4dJRkFsKQ=")));
        assert!(!scram.accepts(""));
    }
}
