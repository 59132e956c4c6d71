//! The server side of SASL for XMPP (RFC 6120 section 6, the classic profile): mechanisms, channel binding,
//! stored credentials.
//!
//! An [`Exchange`] is one attempt to log in, a machine without I/O: bytes of the client go in, a [`Step`] comes
//! out and says what to do next. It owns no clock, no random generator and no database; the nonce, the server's
//! secret and the account arrive as arguments. The order of calls:
//!
//! ```text
//! begin ─ respond ─┬─ Challenge ─ respond …
//!                  ├─ Lookup ─ supply ─┬─ Challenge ─ respond …   (SCRAM)
//!                  │                   └─ Check ─ checked         (PLAIN)
//!                  └─ Success | Failure
//! ```
//!
//! What holds for every mechanism:
//! - A user who does not exist gets the same messages, in the same number and at the same cost, as one who mistyped
//!   the password (RFC 6120 section 6.5.10).
//! - Neither password nor salted password is stored or kept, only StoredKey and ServerKey (RFC 5802 section 3).
//! - The account of [`Step::Success`] is the one whose password was proved, never one taken from an authorization
//!   identity: that is compared and refused if it names another account.
//!
//! SCRAM and PLAIN implement `sasl::server::Mechanism`. The server mechanisms of the `sasl` crate itself are not used:
//! its SCRAM refuses `n,,`, has no -PLUS name, and wants the salted password; its PLAIN ignores the authzid.

mod account;
mod base64;
mod credentials;
mod exchange;
mod failure;
mod hash;
mod mechanism;
mod message;
mod plain;
mod scram;
#[cfg(test)]
mod tests;

pub use self::base64::{decode, encode};
pub use credentials::{
    Credentials, DEFAULT_ITERATIONS, MAX_ITERATIONS, MAX_PASSWORD, PasswordError, SALT_LENGTH, Verifier,
};
pub use exchange::{Context, Exchange, Lookup, MAX_MESSAGE, MIN_NONCE, Step};
pub use failure::Failure;
pub use hash::{Hash, Sha512};
pub use mechanism::{Binding, Mechanism, offered};
pub use plain::PasswordCheck;
