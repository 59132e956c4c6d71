//! The server of SCRAM (RFC 5802, RFC 7677), from the moment the verifier of the account is known.

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;
use sasl::common::Identity;
use sasl::server::{Mechanism as Server, MechanismError, Response};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::message::{ClientFinal, ClientFirst, Flag};
use crate::{Binding, Hash, Mechanism, Verifier};

/// One SCRAM exchange with one account. Says whether the password was proved; who may log in is for others to say.
pub(crate) struct Scram {
    mechanism: Mechanism,
    hash: Hash,
    binding: Binding,
    /// The server's half of the nonce.
    nonce: String,
    /// What the challenge ends with: extensions, each behind a comma.
    attributes: String,
    verifier: Verifier,
    state: State,
}

enum State {
    Start,
    Challenged {
        user: String,
        /// Both halves, as the client has to repeat them.
        nonce: String,
        /// `cbind-input`, as the client has to repeat it.
        binding: Vec<u8>,
        /// AuthMessage up to its last part: `client-first-message-bare,server-first-message,`.
        so_far: String,
    },
    Over,
}

impl Scram {
    /// `hash` is the one of the mechanism; `binding` is what the stream offers, empty if it offers no -PLUS.
    pub(crate) fn new(
        mechanism: Mechanism,
        hash: Hash,
        binding: Binding,
        nonce: String,
        attributes: String,
        verifier: Verifier,
    ) -> Scram {
        Scram {
            mechanism,
            hash,
            binding,
            nonce,
            attributes,
            verifier,
            state: State::Start,
        }
    }

    fn first(&mut self, payload: &[u8]) -> Result<Response, MechanismError> {
        let first = ClientFirst::parse(payload).map_err(|_| MechanismError::CannotDecodeInitialMessage)?;
        let data = bound(self.mechanism, &self.binding, first.flag)?;
        let binding = [first.header.as_bytes(), data].concat();
        let nonce = format!("{}{}", first.nonce, self.nonce);
        let salt = STANDARD.encode(&self.verifier.salt);
        let (iterations, attributes) = (self.verifier.iterations, &self.attributes);
        let challenge = format!("r={nonce},s={salt},i={iterations}{attributes}");
        let so_far = format!("{},{challenge},", first.bare);
        self.state = State::Challenged {
            user: first.user.into_owned(),
            nonce,
            binding,
            so_far,
        };
        Ok(Response::Proceed(challenge.into_bytes()))
    }

    /// Section 5: nonce, binding and proof are compared, whoever the account is.
    fn last(
        &self,
        payload: &[u8],
        user: String,
        nonce: &str,
        binding: &[u8],
        so_far: &str,
    ) -> Result<Response, MechanismError> {
        let last = ClientFinal::parse(payload).map_err(|_| MechanismError::CannotDecodeResponse)?;
        if last.nonce != nonce {
            return Err(MechanismError::AuthenticationFailed);
        }
        if last.binding != binding {
            return Err(MechanismError::ChannelBindingMechanismIncorrect);
        }
        if last.proof.len() != self.hash.length() {
            return Err(MechanismError::AuthenticationFailed);
        }

        let message = format!("{so_far}{}", last.without_proof);
        let signature = self.hash.hmac(&self.verifier.stored_key, message.as_bytes());
        // ClientKey logs in as well as the password does.
        let client_key: Zeroizing<Vec<u8>> = Zeroizing::new(
            last.proof
                .iter()
                .zip(&signature)
                .map(|(proof, byte)| proof ^ byte)
                .collect(),
        );
        if !bool::from(self.hash.digest(&client_key).ct_eq(&self.verifier.stored_key)) {
            return Err(MechanismError::AuthenticationFailed);
        }
        let signature = self.hash.hmac(&self.verifier.server_key, message.as_bytes());
        let answer = format!("v={}", STANDARD.encode(signature));
        Ok(Response::Success(Identity::Username(user), answer.into_bytes()))
    }
}

impl Server for Scram {
    fn name(&self) -> &str {
        self.mechanism.name()
    }

    fn respond(&mut self, payload: &[u8]) -> Result<Response, MechanismError> {
        // `Over` first: whatever fails leaves nothing to try again with.
        match std::mem::replace(&mut self.state, State::Over) {
            State::Start => self.first(payload),
            State::Challenged {
                user,
                nonce,
                binding,
                so_far,
            } => self.last(payload, user, &nonce, &binding, &so_far),
            State::Over => Err(MechanismError::SaslSessionAlreadyOver),
        }
    }
}

/// Holds the client's flag against the mechanism it chose and what was offered, and returns the channel's data that
/// `c=` has to end with (RFC 5802 section 6).
///
/// - `y` while -PLUS is offered: somebody took -PLUS from the list, MUST fail.
/// - `p=` with a type that the channel does not have: MUST fail.
/// - `n` with -PLUS, `p=` without: the message contradicts the chosen mechanism, whose suffix "is used only when" the
///   channel is bound (section 4). The RFC names no error; here it is a breach of the mechanism's syntax.
pub(crate) fn bound<'a>(
    mechanism: Mechanism,
    binding: &'a Binding,
    flag: Flag<'_>,
) -> Result<&'a [u8], MechanismError> {
    match (flag, mechanism.is_plus()) {
        (Flag::NotOffered, _) if !binding.types().is_empty() => Err(MechanismError::ChannelBindingIsSupported),
        (Flag::Type(kind), true) => binding
            .data(kind)
            .ok_or(MechanismError::ChannelBindingMechanismIncorrect),
        (Flag::None | Flag::NotOffered, false) => Ok(&[]),
        (Flag::None | Flag::NotOffered, true) | (Flag::Type(_), false) => {
            Err(MechanismError::CannotDecodeInitialMessage)
        }
    }
}
