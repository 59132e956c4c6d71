//! The server of PLAIN (RFC 4616), from the moment the verifier of the account is known.

use std::fmt;

use sasl::common::Identity;
use sasl::server::{Mechanism as Server, MechanismError, Response};
use zeroize::Zeroizing;

use crate::credentials::prepare;
use crate::message::PlainMessage;
use crate::{Credentials, Hash, Mechanism, SALT_LENGTH, Verifier};

/// PLAIN with one account. Says whether the password is right; who may log in is for others to say.
pub(crate) struct Plain {
    hash: Hash,
    verifier: Verifier,
}

impl Plain {
    pub(crate) fn new(hash: Hash, verifier: Verifier) -> Plain {
        Plain { hash, verifier }
    }

    fn verify(&self, payload: &[u8]) -> Result<Response, MechanismError> {
        let message = PlainMessage::parse(payload).map_err(|_| MechanismError::FailedToDecodeMessage)?;
        // Returning early when SASLprep fails tells the client about its own password, nothing about the account.
        let password = prepare(message.password).map_err(|_| MechanismError::AuthenticationFailed)?;
        if self.verifier.matches(self.hash, &password) {
            Ok(Response::Success(
                Identity::Username(message.user.to_owned()),
                Vec::new(),
            ))
        } else {
            Err(MechanismError::AuthenticationFailed)
        }
    }
}

impl Server for Plain {
    fn name(&self) -> &str {
        Mechanism::Plain.name()
    }

    fn respond(&mut self, payload: &[u8]) -> Result<Response, MechanismError> {
        self.verify(payload)
    }
}

/// A password waiting to be checked: one PBKDF2, the one thing here that takes milliseconds. Owns what it needs, so
/// that the shell can run it on a blocking thread; the password is overwritten when this is dropped.
pub struct PasswordCheck {
    plain: Plain,
    message: Zeroizing<Vec<u8>>,
    /// The hashes that the account lacks, and the iterations they are to have.
    lacking: Vec<Hash>,
    iterations: u32,
}

impl PasswordCheck {
    pub(crate) fn new(plain: Plain, message: Zeroizing<Vec<u8>>, lacking: Vec<Hash>, iterations: u32) -> PasswordCheck {
        PasswordCheck {
            plain,
            message,
            lacking,
            iterations,
        }
    }

    /// Whether the password is right. Takes as long for a user who does not exist.
    pub fn run(&self) -> bool {
        self.plain.verify(&self.message).is_ok()
    }

    /// As [`run`](Self::run), and if the password is right, makes of it the verifiers that the account lacks or has with
    /// too few iterations: another PBKDF2 for each, once in the life of the account. `None`: the password is wrong. The
    /// salts as for [`Credentials::derive`]; nothing of the password is kept but the verifiers.
    pub fn run_and_renew(&self, salts: [[u8; SALT_LENGTH]; 3]) -> Option<Credentials> {
        if !self.run() {
            return None;
        }
        let mut renewed = Credentials::default();
        let message = PlainMessage::parse(&self.message).ok()?;
        let password = prepare(message.password).ok()?;
        for (hash, salt) in Hash::ALL.into_iter().zip(salts) {
            if self.lacking.contains(&hash) {
                renewed.set(hash, Verifier::derive(hash, &password, self.iterations, &salt));
            }
        }
        Some(renewed)
    }

    /// What `run` costs.
    #[cfg(test)]
    pub(crate) fn cost(&self) -> (Hash, u32) {
        (self.plain.hash, self.plain.verifier.iterations)
    }
}

impl fmt::Debug for PasswordCheck {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The message holds the password.
        out.debug_struct("PasswordCheck").finish_non_exhaustive()
    }
}
