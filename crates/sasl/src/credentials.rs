//! What is stored of a password: per hash a salt, an iteration count, StoredKey and ServerKey (RFC 5802 section 3).
//!
//! Whoever steals these cannot log in with them without first guessing the password at the price of PBKDF2.

use std::borrow::Cow;
use std::fmt;

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::Hash;

/// PBKDF2 iterations for new passwords. RFC 7677 section 4 asks for 4,096 at least; phones pay this at every log-in.
pub const DEFAULT_ITERATIONS: u32 = 10_000;
/// The most iterations that are believed when stored credentials are read: about a second of work for PLAIN.
pub const MAX_ITERATIONS: u32 = 1_000_000;
/// Bytes of salt for new passwords.
pub const SALT_LENGTH: usize = 16;
/// The longest password, in bytes of UTF-8. RFC 4616 section 2 asks for 255 at least.
pub const MAX_PASSWORD: usize = 1024;
/// The first field of an encoded value: says how to read the rest.
const VERSION: &str = "1";

/// Why a password cannot be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordError {
    /// Nothing is left of it after SASLprep.
    Empty,
    /// More than [`MAX_PASSWORD`] bytes.
    TooLong,
    /// It holds a character that SASLprep refuses (RFC 4013 section 2.3 and 2.5: control characters, private use, code
    /// points that Unicode 3.2 did not know, such as most emoji) or mixes directions against RFC 3454 section 6.
    Forbidden,
    /// No iterations, or more than [`MAX_ITERATIONS`].
    Iterations,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordError::Empty => out.write_str("the password is empty"),
            PasswordError::TooLong => write!(out, "the password is longer than {MAX_PASSWORD} bytes"),
            PasswordError::Forbidden => {
                out.write_str("the password holds a character that clients cannot send (control character or emoji)")
            }
            PasswordError::Iterations => write!(out, "the iteration count is not between 1 and {MAX_ITERATIONS}"),
        }
    }
}

impl std::error::Error for PasswordError {}

/// Normalize(password) of RFC 5802 section 3.
pub(crate) fn prepare(password: &str) -> Result<Zeroizing<String>, PasswordError> {
    if password.len() > MAX_PASSWORD {
        return Err(PasswordError::TooLong);
    }
    let prepared = match stringprep::saslprep(password) {
        Ok(Cow::Borrowed(same)) => Zeroizing::new(same.to_owned()),
        Ok(Cow::Owned(changed)) => Zeroizing::new(changed),
        Err(_) => return Err(PasswordError::Forbidden),
    };
    if prepared.is_empty() {
        Err(PasswordError::Empty)
    } else {
        Ok(prepared)
    }
}

/// What proves a password with one hash.
///
/// Equality is for tests and stores; a password is compared in constant time elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    pub salt: Vec<u8>,
    pub iterations: u32,
    /// H(ClientKey), as long as the hash.
    pub stored_key: Vec<u8>,
    /// HMAC(SaltedPassword, "Server Key"), as long as the hash.
    pub server_key: Vec<u8>,
}

impl Verifier {
    /// Takes a password that went through [`prepare`].
    pub(crate) fn derive(hash: Hash, prepared: &str, iterations: u32, salt: &[u8]) -> Verifier {
        Verifier::from_salted(hash, &hash.salted(prepared, salt, iterations), iterations, salt)
    }

    /// Takes a SaltedPassword of the hash's length.
    pub(crate) fn from_salted(hash: Hash, salted: &[u8], iterations: u32, salt: &[u8]) -> Verifier {
        let client_key = Zeroizing::new(hash.hmac(salted, b"Client Key"));
        Verifier {
            salt: salt.to_vec(),
            iterations,
            stored_key: hash.digest(&client_key),
            server_key: hash.hmac(salted, b"Server Key"),
        }
    }

    /// Whether a prepared password is the one behind this: one PBKDF2, then a comparison in constant time.
    pub(crate) fn matches(&self, hash: Hash, prepared: &str) -> bool {
        let other = Verifier::derive(hash, prepared, self.iterations, &self.salt);
        other.stored_key.ct_eq(&self.stored_key).into()
    }

    /// `iterations:salt:StoredKey:ServerKey`, the last three in base 64.
    pub fn encode(&self) -> String {
        let [salt, stored, server] =
            [&self.salt, &self.stored_key, &self.server_key].map(|bytes| STANDARD.encode(bytes));
        format!("{}:{salt}:{stored}:{server}", self.iterations)
    }

    /// Reads what [`encode`](Self::encode) wrote. `None` if it is damaged: keys of another length than the hash's, an
    /// iteration count of zero or over [`MAX_ITERATIONS`], an empty salt.
    pub fn decode(hash: Hash, text: &str) -> Option<Verifier> {
        let mut fields = text.split(':');
        let iterations = fields.next()?.parse().ok()?;
        let mut bytes = || STANDARD.decode(fields.next()?).ok();
        let verifier = Verifier {
            iterations,
            salt: bytes()?,
            stored_key: bytes()?,
            server_key: bytes()?,
        };
        let sound = fields.next().is_none()
            && (1..=MAX_ITERATIONS).contains(&iterations)
            && !verifier.salt.is_empty()
            && verifier.stored_key.len() == hash.length()
            && verifier.server_key.len() == hash.length();
        sound.then_some(verifier)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Keys and salt are what an attacker needs to start guessing: they stay out of logs.
        out.debug_struct("Verifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// The verifiers of one account. One that is `None` closes the mechanisms of that hash to the account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub sha1: Option<Verifier>,
    pub sha256: Option<Verifier>,
    pub sha512: Option<Verifier>,
}

impl Credentials {
    /// Computes the verifiers of all three hashes: three PBKDF2, so milliseconds, for a blocking thread.
    ///
    /// `salts` are from the random generator of the shell, in the order of [`Hash::ALL`]. They must not be shared
    /// between accounts.
    ///
    /// # Errors
    /// See [`PasswordError`].
    pub fn derive(
        password: &str,
        iterations: u32,
        salts: [[u8; SALT_LENGTH]; 3],
    ) -> Result<Credentials, PasswordError> {
        if !(1..=MAX_ITERATIONS).contains(&iterations) {
            return Err(PasswordError::Iterations);
        }
        let prepared = prepare(password)?;
        let mut credentials = Credentials::default();
        for (hash, salt) in Hash::ALL.into_iter().zip(salts) {
            *credentials.slot(hash) = Some(Verifier::derive(hash, &prepared, iterations, &salt));
        }
        Ok(credentials)
    }

    /// The verifier for a hash.
    pub fn get(&self, hash: Hash) -> Option<&Verifier> {
        match hash {
            Hash::Sha1 => self.sha1.as_ref(),
            Hash::Sha256 => self.sha256.as_ref(),
            Hash::Sha512 => self.sha512.as_ref(),
        }
    }

    /// Puts a verifier in the place of the one there was for its hash.
    pub fn set(&mut self, hash: Hash, verifier: Verifier) {
        *self.slot(hash) = Some(verifier);
    }

    /// Takes over the verifiers that are in `newer`.
    pub fn update(&mut self, newer: Credentials) {
        for (own, new) in [
            (&mut self.sha1, newer.sha1),
            (&mut self.sha256, newer.sha256),
            (&mut self.sha512, newer.sha512),
        ] {
            *own = new.or(own.take());
        }
    }

    fn slot(&mut self, hash: Hash) -> &mut Option<Verifier> {
        match hash {
            Hash::Sha1 => &mut self.sha1,
            Hash::Sha256 => &mut self.sha256,
            Hash::Sha512 => &mut self.sha512,
        }
    }

    /// All verifiers as one line of ASCII without quotes, for one text column: `1 SHA-1=… SHA-256=… SHA-512=…`, each as
    /// [`Verifier::encode`] writes it, absent ones left out; 450 bytes if none is. The first field is the version.
    pub fn encode(&self) -> String {
        let mut text = VERSION.to_owned();
        for hash in Hash::ALL {
            if let Some(verifier) = self.get(hash) {
                text.push(' ');
                text.push_str(hash.name());
                text.push('=');
                text.push_str(&verifier.encode());
            }
        }
        text
    }

    /// Reads what [`encode`](Self::encode) wrote. `None` if it is damaged or of another version: the account then
    /// cannot log in and the caller should say so in the log, as the password has to be set anew.
    pub fn decode(text: &str) -> Option<Credentials> {
        let mut fields = text.split(' ');
        if fields.next() != Some(VERSION) {
            return None;
        }
        let mut credentials = Credentials::default();
        for field in fields {
            let (name, verifier) = field.split_once('=')?;
            let hash = Hash::ALL.into_iter().find(|hash| hash.name() == name)?;
            let verifier = Verifier::decode(hash, verifier)?;
            if credentials.slot(hash).replace(verifier).is_some() {
                return None;
            }
        }
        Some(credentials)
    }
}
