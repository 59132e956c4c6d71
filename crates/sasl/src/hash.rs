//! The three hash functions of the SCRAM mechanisms, and the formulas of RFC 5802 section 3 over them.

use pbkdf2::pbkdf2_hmac;
use sasl::common::Password;
use sasl::common::scram::{DeriveError, ScramProvider, Sha1, Sha256};
use sasl::secret::Secret;
use zeroize::Zeroizing;

/// A hash function that SCRAM is used with here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hash {
    /// RFC 5802.
    Sha1,
    /// RFC 7677.
    Sha256,
    /// As RFC 7677, with SHA-512.
    Sha512,
}

impl Hash {
    /// All, in the order of the salts of [`Credentials::derive`](crate::Credentials::derive).
    pub const ALL: [Hash; 3] = [Hash::Sha1, Hash::Sha256, Hash::Sha512];

    /// The name in the IANA registry "Hash Function Textual Names".
    pub fn name(self) -> &'static str {
        match self {
            Hash::Sha1 => Sha1::name(),
            Hash::Sha256 => Sha256::name(),
            Hash::Sha512 => Sha512::name(),
        }
    }

    /// Bytes of a digest: of StoredKey, ServerKey and ClientProof too.
    pub fn length(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
            Hash::Sha512 => 64,
        }
    }

    /// H(data).
    pub(crate) fn digest(self, data: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => Sha1::hash(data),
            Hash::Sha256 => Sha256::hash(data),
            Hash::Sha512 => Sha512::hash(data),
        }
    }

    /// HMAC(key, data).
    pub fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => Sha1::hmac(data, key),
            Hash::Sha256 => Sha256::hmac(data, key),
            Hash::Sha512 => Sha512::hmac(data, key),
        }
        // HMAC takes keys of every length (RFC 2104 section 3); the error type is for MACs that do not.
        .expect("HMAC accepts any key length")
    }

    /// Hi(password, salt, iterations): the SaltedPassword, as good as the password itself and so overwritten when
    /// dropped. Not the provider's `derive`: that wants the password in a `String` of its own.
    pub(crate) fn salted(self, password: &str, salt: &[u8], iterations: u32) -> Zeroizing<Vec<u8>> {
        let mut salted = Zeroizing::new(vec![0; self.length()]);
        let password = password.as_bytes();
        match self {
            Hash::Sha1 => pbkdf2_hmac::<sha1::Sha1>(password, salt, iterations, &mut salted),
            Hash::Sha256 => pbkdf2_hmac::<sha2::Sha256>(password, salt, iterations, &mut salted),
            Hash::Sha512 => pbkdf2_hmac::<sha2::Sha512>(password, salt, iterations, &mut salted),
        }
        salted
    }
}

/// What the `sasl` crate lacks to speak SCRAM-SHA-512: its provider. With it the crate's client does too.
pub struct Sha512;

/// The secret type of [`Sha512`], which the trait asks for. It holds nothing, as nothing here stores such a secret.
pub struct NoSecret;

impl Secret for NoSecret {}

impl ScramProvider for Sha512 {
    type Secret = NoSecret;

    fn name() -> &'static str {
        "SHA-512"
    }

    fn hash(data: &[u8]) -> Vec<u8> {
        use sha2::Digest;
        sha2::Sha512::digest(data).to_vec()
    }

    fn hmac(data: &[u8], key: &[u8]) -> Result<Vec<u8>, hmac::digest::InvalidLength> {
        use hmac::Mac;
        let mut mac = hmac::Hmac::<sha2::Sha512>::new_from_slice(key)?;
        mac.update(data);
        Ok(mac.finalize().into_bytes().to_vec())
    }

    fn derive(password: &Password, salt: &[u8], iterations: u32) -> Result<Vec<u8>, DeriveError> {
        match password {
            Password::Plain(plain) => Ok(Hash::Sha512.salted(plain, salt, iterations).to_vec()),
            Password::Pbkdf2 { method, .. } if method != Self::name() => Err(DeriveError::IncompatibleHashingMethod(
                method.clone(),
                Self::name().to_owned(),
            )),
            Password::Pbkdf2 { salt: own, .. } if own != salt => Err(DeriveError::IncorrectSalt),
            Password::Pbkdf2 { iterations: own, .. } if *own != iterations => {
                Err(DeriveError::IncompatibleIterationCount(*own, iterations))
            }
            Password::Pbkdf2 { data, .. } => Ok(data.clone()),
        }
    }
}
