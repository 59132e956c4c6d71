//! New hashes for old accounts: the tasks of XEP-0480, and what a PLAIN login can do by the way.

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::{Credentials, Failure, Hash, MAX_ITERATIONS, Offer, SALT_LENGTH, Verifier};

/// The least iterations of a task (XEP-0480, the schema; RFC 7677 section 4).
pub const MIN_TASK_ITERATIONS: u32 = 4096;

/// The tasks that `<authentication/>` names: those of the hashes that are offered, but for SHA-1, which nobody upgrades
/// to.
pub fn upgrade_tasks(offer: &Offer) -> Vec<Hash> {
    Hash::ALL
        .into_iter()
        .filter(|hash| hash.task().is_some() && offer.has_hash(*hash))
        .collect()
}

/// What an account lacks of the hashes that are offered: there is no verifier, or it costs fewer iterations than
/// passwords are set with. With more iterations it stays: it was meant to be dear.
pub fn outdated(credentials: &Credentials, iterations: u32, offer: &Offer) -> Vec<Hash> {
    let fresh = |hash| {
        credentials
            .get(hash)
            .is_some_and(|had: &Verifier| had.iterations >= iterations)
    };
    Hash::ALL
        .into_iter()
        .filter(|hash| offer.has_hash(*hash) && !fresh(*hash))
        .collect()
}

impl Hash {
    /// The name of the task that upgrades to SCRAM with this (XEP-0480 section 2.1: without -PLUS).
    pub fn task(self) -> Option<&'static str> {
        match self {
            Hash::Sha1 => None,
            Hash::Sha256 => Some("UPGR-SCRAM-SHA-256"),
            Hash::Sha512 => Some("UPGR-SCRAM-SHA-512"),
        }
    }

    /// The hash of the task of that name.
    pub fn of_task(name: &str) -> Option<Hash> {
        Hash::ALL.into_iter().find(|hash| hash.task() == Some(name))
    }
}

/// One task of XEP-0480 section 3, from the salt to the verifier.
///
/// Only for a client that has just proved the password ([`Proof::Password`](crate::Proof)): what it sends becomes as
/// good as a password, and a stolen token must not make one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    hash: Hash,
    salt: [u8; SALT_LENGTH],
    iterations: u32,
}

impl Upgrade {
    /// `salt` is from the shell's random generator. Fewer than [`MIN_TASK_ITERATIONS`] become as many, and more than
    /// [`MAX_ITERATIONS`] too.
    pub fn new(hash: Hash, salt: [u8; SALT_LENGTH], iterations: u32) -> Upgrade {
        Upgrade {
            hash,
            salt,
            iterations: iterations.clamp(MIN_TASK_ITERATIONS, MAX_ITERATIONS),
        }
    }

    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// The text of `<salt/>`.
    pub fn salt(&self) -> String {
        STANDARD.encode(self.salt)
    }

    /// The attribute `iterations` of `<salt/>`.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// Takes the text of `<hash/>`, the SaltedPassword in base 64. The caller overwrites the text.
    ///
    /// # Errors
    /// [`Failure::IncorrectEncoding`] if it is not base 64, [`Failure::MalformedRequest`] if it is empty or not as long
    /// as the hash.
    pub fn finish(&self, text: &str) -> Result<Verifier, Failure> {
        let salted = STANDARD
            .decode(text)
            .map(Zeroizing::new)
            .map_err(|_| Failure::IncorrectEncoding)?;
        if salted.len() != self.hash.length() {
            return Err(Failure::MalformedRequest);
        }
        Ok(Verifier::from_salted(self.hash, &salted, self.iterations, &self.salt))
    }
}
