//! The server of the Hashed Token mechanisms (draft-schmaus-kitten-sasl-ht-09), which take the tokens of XEP-0484.
//!
//! The client sends its name and HMAC(token, "Initiator" || cb-data), and gets HMAC(token, "Responder" || cb-data): one
//! round trip, so whoever can read it can send it again unless it is bound to the channel.

use std::fmt;

use ::base64::Engine;
use ::base64::engine::general_purpose::URL_SAFE_NO_PAD;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::message::Malformed;
use crate::{Failure, Hash, Mechanism};

/// The hash of all mechanisms here.
const HASH: Hash = Hash::Sha256;
/// The most devices of an account that may have a token.
pub const MAX_TOKENS: usize = 16;
/// The most secrets of one client. An attempt is held against so many at least, or against as many as an account can
/// have: which one depends on what the client said, not on who the user is.
const SECRETS: usize = 2;

/// A token's text, the shared secret itself: the mechanism needs it on both sides. Overwritten when dropped, and not
/// shown by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// A new token, 256 bits. `random` is from the shell's random generator.
    pub fn new(random: [u8; 32]) -> Secret {
        Secret(Zeroizing::new(URL_SAFE_NO_PAD.encode(random).into_bytes()))
    }

    /// One that was stored. An empty one is none.
    pub fn from_bytes(bytes: &[u8]) -> Option<Secret> {
        (!bytes.is_empty()).then(|| Secret(Zeroizing::new(bytes.to_vec())))
    }

    /// For the store.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// For the client: the attribute `token` of `<token/>`. ASCII without characters that XML escapes.
    pub fn text(&self) -> &str {
        // Made by `new`; whatever else was stored is no token that a client can have.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret")
    }
}

/// One secret, and what it is good for. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub secret: Secret,
    /// The mechanism that the client asked for it with: the only one that takes it (XEP-0484 section 3.4).
    pub mechanism: Mechanism,
    pub issued: i64,
    pub expires: i64,
    /// The highest `count` that came with it, 0 at first.
    pub count: u32,
}

/// The secrets of one client.
///
/// In the words of XEP-0484 section 5.1 `newest` is *new* while it was not used yet, and `previous` is *current*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The name of the token for the store; no secret.
    pub id: String,
    pub newest: Slot,
    /// The one before, as long as the newest has not been used: the client may not have got that.
    pub previous: Option<Slot>,
}

/// What the client said beside the message, and the server's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Seconds since 1970.
    pub now: i64,
    /// Seconds after which a secret is to be replaced.
    pub rotate_after: i64,
    /// Whether the client said which one it is (`<user-agent id=''/>`), and only its tokens were looked for. Cheaper.
    pub named: bool,
    /// The attribute `count` of `<fast/>`; see [`token_count`].
    pub count: Option<u32>,
    /// Whether it came as early data of TLS 1.3, which can be replayed.
    pub early: bool,
}

impl Attempt {
    /// How many secrets are compared at least.
    pub(crate) fn least(&self) -> usize {
        if self.named { SECRETS } else { SECRETS * MAX_TOKENS }
    }
}

/// Which secret of a token was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    Newest,
    Previous,
}

/// The token that let a client in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenUse {
    pub id: String,
    pub age: Age,
    /// The mechanism that a new secret has to be for.
    pub mechanism: Mechanism,
    /// Whether a new one is due.
    pub rotate: bool,
    /// What came as `count`, to be kept.
    pub count: Option<u32>,
}

/// Reads the attribute `count` of `<fast/>`: a positive integer (XEP-0484 section 3.4), an `xs:int` by its schema.
///
/// # Errors
/// [`Failure::MalformedRequest`].
pub fn token_count(text: &str) -> Result<u32, Failure> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<i32>() {
        Ok(count) if digits && count > 0 => Ok(count.unsigned_abs()),
        _ => Err(Failure::MalformedRequest),
    }
}

/// `initiator-msg` (section 3.1): `authcid NUL initiator-hashed-token`.
pub(crate) struct Initiator<'a> {
    pub(crate) user: &'a str,
    pub(crate) hashed: &'a [u8],
}

impl<'a> Initiator<'a> {
    pub(crate) fn parse(data: &'a [u8]) -> Result<Initiator<'a>, Malformed> {
        let end = data.iter().position(|byte| *byte == 0).ok_or(Malformed)?;
        // The hash may hold NUL itself: only the first one parts.
        let (user, hashed) = (&data[..end], &data[end + 1..]);
        let user = std::str::from_utf8(user).map_err(|_| Malformed)?;
        if user.is_empty() || hashed.is_empty() {
            return Err(Malformed);
        }
        Ok(Initiator { user, hashed })
    }
}

/// Finds the secret that the client has: `None` if it is none of these, or if there is one and the client used another
/// mechanism with it. Every secret is tried, and as many more as make `least`, under the key `stand_in`.
pub(crate) fn find<'a>(
    tokens: &'a [Token],
    mechanism: Mechanism,
    binding: &[u8],
    hashed: &[u8],
    least: usize,
    stand_in: &[u8],
) -> Option<(&'a Token, Age)> {
    let slots: Vec<(&Token, Age, &Slot)> = tokens
        .iter()
        .flat_map(|token| {
            let previous = token.previous.as_ref().map(|slot| (token, Age::Previous, slot));
            [Some((token, Age::Newest, &token.newest)), previous]
        })
        .flatten()
        .collect();

    let message = [b"Initiator", binding].concat();
    // One behind the number of the slot that fits; 0 if none does.
    let mut found = 0_u32;
    for at in 0..slots.len().max(least) {
        let slot = slots.get(at).map(|(_, _, slot)| *slot);
        let expected = HASH.hmac(slot.map_or(stand_in, |slot| slot.secret.bytes()), &message);
        let allowed = slot.is_some_and(|slot| slot.mechanism == mechanism);
        let fits = expected.ct_eq(hashed) & Choice::from(u8::from(allowed));
        found.conditional_assign(&u32::try_from(at + 1).unwrap_or(0), fits);
    }
    let at = usize::try_from(found).ok()?.checked_sub(1)?;
    slots.get(at).map(|(token, age, _)| (*token, *age))
}

/// `responder-msg` (section 3.3).
pub(crate) fn responder(secret: &Secret, binding: &[u8]) -> Vec<u8> {
    HASH.hmac(secret.bytes(), &[b"Responder", binding].concat())
}

impl Token {
    pub(crate) fn slot(&self, age: Age) -> &Slot {
        match age {
            Age::Newest => &self.newest,
            Age::Previous => self.previous.as_ref().unwrap_or(&self.newest),
        }
    }
}

impl Slot {
    /// Whether a secret that the client proved to have still lets it in.
    ///
    /// # Errors
    /// [`Failure::CredentialsExpired`] (XEP-0484 section 4.2); [`Failure::NotAuthorized`] for early data without `count`
    /// and for a `count` that did not grow (section 3.4).
    pub(crate) fn admits(&self, attempt: &Attempt) -> Result<(), Failure> {
        if self.expires <= attempt.now {
            return Err(Failure::CredentialsExpired);
        }
        match attempt.count {
            Some(count) if count <= self.count => Err(Failure::NotAuthorized),
            None if attempt.early => Err(Failure::NotAuthorized),
            _ => Ok(()),
        }
    }

    /// Whether it is to be replaced. A clock that was set back does not count as age.
    pub(crate) fn is_due(&self, attempt: &Attempt) -> bool {
        attempt.now.saturating_sub(self.issued) >= attempt.rotate_after
    }
}
