//! A SCRAM client that can be told to misbehave, for what the client of the `sasl` crate cannot do.

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;

use super::{PASSWORD, USER};
use crate::{Hash, Mechanism};

#[derive(Clone)]
pub(super) struct Client {
    pub(super) hash: Hash,
    /// `gs2-header`, as sent first.
    pub(super) header: String,
    /// What `c=` says the header was.
    pub(super) repeated: String,
    pub(super) binding: Vec<u8>,
    /// Escaped.
    pub(super) user: String,
    pub(super) password: String,
    pub(super) nonce: String,
    /// What the final message repeats instead of the server's nonce; the proof covers it.
    pub(super) other_nonce: Option<String>,
    /// Appended to the first message and to the final one before the proof.
    pub(super) extensions: [&'static str; 2],
    first: String,
}

impl Client {
    pub(super) fn new(mechanism: Mechanism, header: &str, binding: &[u8]) -> Client {
        Client {
            hash: mechanism.hash().unwrap(),
            header: header.to_owned(),
            repeated: header.to_owned(),
            binding: binding.to_vec(),
            user: USER.to_owned(),
            password: PASSWORD.to_owned(),
            nonce: "fyko+d2lbbFgONRv9qkxdawL".to_owned(),
            other_nonce: None,
            extensions: ["", ""],
            first: String::new(),
        }
    }

    pub(super) fn answer(&mut self, challenge: Option<&[u8]>) -> Vec<u8> {
        match challenge {
            None => {
                self.first = format!("n={},r={}{}", self.user, self.nonce, self.extensions[0]);
                format!("{}{}", self.header, self.first).into_bytes()
            }
            Some(challenge) => self.last(std::str::from_utf8(challenge).unwrap()).into_bytes(),
        }
    }

    fn last(&self, challenge: &str) -> String {
        let field = |key: &str| challenge.split(',').find_map(|field| field.strip_prefix(key)).unwrap();
        let salt = STANDARD.decode(field("s=")).unwrap();
        let bound = STANDARD.encode([self.repeated.as_bytes(), &self.binding].concat());
        let nonce = self.other_nonce.as_deref().unwrap_or(field("r="));
        let without_proof = format!("c={bound},r={nonce}{}", self.extensions[1]);

        let salted = self.hash.salted(&self.password, &salt, field("i=").parse().unwrap());
        let key = self.hash.hmac(&salted, b"Client Key");
        let message = format!("{},{challenge},{without_proof}", self.first);
        let signature = self.hash.hmac(&self.hash.digest(&key), message.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(key, byte)| key ^ byte).collect();
        format!("{without_proof},p={}", STANDARD.encode(proof))
    }
}
