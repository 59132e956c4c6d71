//! SCRAM (RFC 5802, RFC 7677) on the client's side, able to do what no honest client does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};
use std::num::NonZeroU32;

/// What a client binds its login to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Binding {
    /// The client cannot bind.
    None,
    /// The client could, and believes that the server cannot.
    Unsupported,
    /// RFC 9266.
    Exporter,
    /// RFC 5929 section 4.
    EndPoint,
    /// Any type, any data.
    Other(&'static str, Vec<u8>),
}

/// The client's side of one login.
#[derive(Clone, Debug)]
pub struct Scram {
    hash: Hash,
    /// The gs2-header of the first message.
    pub header: String,
    /// What the last message says the header was.
    pub repeated: String,
    /// The data of the channel binding.
    pub binding: Vec<u8>,
    pub user: String,
    pub password: String,
    pub nonce: String,
    /// Sent back instead of the server's nonce.
    pub other_nonce: Option<String>,
    first: String,
    signature: Vec<u8>,
    /// The last challenge: salt (base64) and iterations.
    pub salt: String,
    pub iterations: u32,
}

#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    fn of(mechanism: &str) -> Hash {
        match mechanism.trim_end_matches("-PLUS") {
            "SCRAM-SHA-1" => Hash::Sha1,
            "SCRAM-SHA-256" => Hash::Sha256,
            "SCRAM-SHA-512" => Hash::Sha512,
            other => panic!("no such mechanism: {other}"),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => hmac::HMAC_SHA256,
            Hash::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
    }

    fn digest(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Hash::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Hash::Sha256 => &digest::SHA256,
            Hash::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }

    fn salted(self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Hash::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, 20),
            Hash::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, 32),
            Hash::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, 64),
        };
        let mut out = vec![0; length];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut out);
        out
    }
}

/// SaltedPassword (RFC 5802 section 3), both in base64.
pub(crate) fn salted_password(mechanism: &str, password: &str, salt: &str, iterations: &str) -> String {
    let salt = STANDARD.decode(salt.trim()).expect("the salt is base64");
    let iterations = iterations.parse().expect("the iterations are a number");
    STANDARD.encode(Hash::of(mechanism).salted(password, &salt, iterations))
}

impl Scram {
    /// `mechanism`: its SASL name. `data`: what the channel of [`Binding::Exporter`] or `EndPoint` gives.
    pub fn new(mechanism: &str, user: &str, password: &str, binding: &Binding, data: &[u8]) -> Scram {
        let (header, data) = match binding {
            Binding::None => ("n,,".to_owned(), Vec::new()),
            Binding::Unsupported => ("y,,".to_owned(), Vec::new()),
            Binding::Exporter => ("p=tls-exporter,,".to_owned(), data.to_vec()),
            Binding::EndPoint => ("p=tls-server-end-point,,".to_owned(), data.to_vec()),
            Binding::Other(name, data) => (format!("p={name},,"), data.clone()),
        };
        Scram {
            hash: Hash::of(mechanism),
            repeated: header.clone(),
            header,
            binding: data,
            user: user.replace('=', "=3D").replace(',', "=2C"),
            password: password.to_owned(),
            nonce: "fyko+d2lbbFgONRv9qkxdawL".to_owned(),
            other_nonce: None,
            first: String::new(),
            signature: Vec::new(),
            salt: String::new(),
            iterations: 0,
        }
    }

    pub fn first(&mut self) -> String {
        self.first = format!("n={},r={}", self.user, self.nonce);
        format!("{}{}", self.header, self.first)
    }

    /// The answer to the server's challenge.
    pub fn last(&mut self, challenge: &str) -> String {
        let field = |key: &str| {
            let found = challenge.split(',').find_map(|field| field.strip_prefix(key));
            found.unwrap_or_else(|| panic!("no {key} in the challenge {challenge:?}"))
        };
        self.salt = field("s=").to_owned();
        let salt = STANDARD.decode(&self.salt).expect("the salt is base64");
        let iterations: NonZeroU32 = field("i=").parse().expect("the iterations are a number");
        self.iterations = iterations.get();
        let nonce = field("r=");
        assert!(
            nonce.starts_with(&self.nonce) && nonce.len() > self.nonce.len(),
            "the server adds to {nonce:?}"
        );
        let bound = STANDARD.encode([self.repeated.as_bytes(), &self.binding].concat());
        let nonce = self.other_nonce.as_deref().unwrap_or(nonce);
        let without_proof = format!("c={bound},r={nonce}");
        let salted = self.hash.salted(&self.password, &salt, iterations);
        let key = self.hash.hmac(&salted, b"Client Key");
        let message = format!("{},{challenge},{without_proof}", self.first);
        let signature = self.hash.hmac(&self.hash.digest(&key), message.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(key, byte)| key ^ byte).collect();
        self.signature = self
            .hash
            .hmac(&self.hash.hmac(&salted, b"Server Key"), message.as_bytes());
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }

    /// Whether the server has shown that it knows the password too.
    pub fn is_proved_by(&self, last: &str) -> bool {
        last.strip_prefix("v=")
            .and_then(|text| STANDARD.decode(text).ok())
            .as_deref()
            == Some(&self.signature)
    }
}
