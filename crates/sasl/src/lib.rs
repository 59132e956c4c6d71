//! The server side of SASL for XMPP, for the classic profile (RFC 6120 section 6) and for SASL2 (XEP-0388): mechanisms,
//! channel binding, stored credentials, tokens (XEP-0484).
//!
//! An [`Exchange`] is one attempt to log in, a machine without I/O: bytes of the client go in, a [`Step`] comes
//! out and says what to do next. It owns no clock, no random generator and no database; the nonce, the server's
//! secret and the account arrive as arguments. The order of calls:
//!
//! ```text
//! begin ─ respond ─┬─ Challenge ─ respond …
//!                  ├─ Lookup ─ supply ─┬─ Challenge ─ respond …   (SCRAM)
//!                  │                   └─ Check ─ checked         (PLAIN)
//!                  ├─ Tokens ─ supply_tokens                      (HT-SHA-256-…)
//!                  ├─ Certificate | Bearer | Guest ─ decide       (EXTERNAL, OAUTHBEARER, ANONYMOUS)
//!                  └─ Success | Failure
//! ```
//!
//! What holds for every mechanism:
//! - A user who does not exist gets the same messages, in the same number and at the same cost, as one who mistyped
//!   the password (RFC 6120 section 6.5.10).
//! - Neither password nor salted password is stored or kept, only StoredKey and ServerKey (RFC 5802 section 3).
//! - The account of [`Step::Success`] is the one whose password or token was proved, or that was granted, never one taken from an authorization
//!   identity: that is compared and refused if it names another account.
//!
//! SCRAM and PLAIN implement `sasl::server::Mechanism`. The server mechanisms of the `sasl` crate itself are not used:
//! its SCRAM refuses `n,,`, has no -PLUS name, and wants the salted password; its PLAIN ignores the authzid.

mod account;
mod base64;
mod bearer;
mod component;
mod credentials;
mod dialback;
mod exchange;
mod external;
mod failure;
mod hash;
mod mechanism;
mod message;
mod offer;
mod plain;
mod scram;
mod step;
#[cfg(test)]
mod tests;
mod token;
mod upgrade;

pub use self::base64::{decode, encode};
pub use bearer::Bearer;
pub use component::is_handshake;
pub use credentials::{
    Credentials, DEFAULT_ITERATIONS, MAX_ITERATIONS, MAX_PASSWORD, PasswordError, SALT_LENGTH, Verifier,
};
pub use dialback::{dialback_key, is_dialback_key};
pub use exchange::{Exchange, MAX_MESSAGE, MIN_NONCE};
pub use external::{certified, certifies, server_identity};
pub use failure::Failure;
pub use hash::{Hash, Sha512};
pub use mechanism::{Binding, Mechanism};
pub use offer::{Offer, Policy, TokenPolicy, offered};
pub use plain::PasswordCheck;
pub use step::{BearerHint, Context, Lookup, Password, Proof, Step, TokenLookup, Verdict};
pub use token::{Age, Attempt, MAX_TOKENS, Secret, Slot, Token, TokenUse, token_count};
pub use upgrade::{MIN_TASK_ITERATIONS, Upgrade, outdated, upgrade_tasks};
