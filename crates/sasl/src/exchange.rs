//! One attempt to log in, as a state machine over whatever mechanism the client chose.

use std::fmt;

use sasl::server::{Mechanism as Server, MechanismError, Response};
use zeroize::Zeroizing;

use crate::account::{same, stand_in};
use crate::message::{ClientFirst, PlainMessage, is_nonce};
use crate::plain::Plain;
use crate::scram::{Scram, bound};
use crate::{Binding, Credentials, Failure, Hash, Mechanism, PasswordCheck, Verifier, offered};

/// The longest message of a client, in bytes after base 64. RFC 4616 section 2 asks for 767 at least.
pub const MAX_MESSAGE: usize = 4096;
/// The shortest server nonce that is used, in characters: 96 bits in base 64.
pub const MIN_NONCE: usize = 16;
/// The hash that PLAIN is checked with: of the two sound ones the cheaper, and the same for users who do not exist.
const PLAIN_HASH: Hash = Hash::Sha256;

/// What an exchange has to know of its stream and its server.
#[derive(Clone)]
pub struct Context {
    /// The domain the client logs in to, prepared: the domain of its bare JID.
    pub domain: String,
    /// Whether the stream is under TLS.
    pub tls: bool,
    /// What the TLS channel offers to bind to. Ignored without TLS.
    pub binding: Binding,
    /// The server's part of the nonce: from the shell's random generator, new for each exchange, [`MIN_NONCE`] printable
    /// ASCII characters at least, no comma (RFC 5802 section 5.1, `r`).
    pub nonce: String,
    /// The key from which salts of users who do not exist are made. Random, kept for the life of the server: if it
    /// changes, salts of those users do and those of real ones do not.
    pub secret: [u8; 32],
    /// The iteration count shown to users who do not exist: the one that passwords are set with here. Accounts whose
    /// password was set with another can be told apart until it is set anew.
    pub iterations: u32,
}

impl fmt::Debug for Context {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Context")
            .field("domain", &self.domain)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// What is to do next.
#[derive(Debug)]
pub enum Step {
    /// Send `<challenge/>` with this, then give the answer to [`Exchange::respond`].
    Challenge(Vec<u8>),
    /// Look the account up and call [`Exchange::supply`].
    ///
    /// `user` is the user name without its SCRAM escapes and otherwise as sent, not empty. It is neither SASLprepped nor
    /// a valid localpart: prepare it as a localpart, which maps and refuses all that SASLprep does (RFC 5802 section
    /// 5.1, `n`, lets the server do so), and supply [`Lookup::Missing`] if that fails.
    Lookup { user: String },
    /// Run this where it may take milliseconds, and call [`Exchange::checked`] with the result.
    Check(PasswordCheck),
    /// Logged in. `user` is the name of the look-up; it is the authorization identity too, as no other is accepted. Send
    /// `<success/>` with the data.
    Success { user: String, data: Option<Vec<u8>> },
    /// Send `<failure/>` with this.
    Failure(Failure),
}

/// The account that was looked up.
#[derive(Clone, Debug)]
pub enum Lookup {
    /// It may log in with these.
    Found(Credentials),
    /// There is none of that name.
    Missing,
    /// It is disabled: the client is told so if it has the right password, else it is told what all are.
    Disabled(Credentials),
    /// The accounts cannot be read.
    Unavailable,
}

/// What the end of the exchange depends on besides the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Good,
    Disabled,
    /// No such account, or none that this mechanism works for. Fails whatever the client proves.
    Missing,
}

/// Who the client says it is.
struct Claim {
    user: String,
    authzid: Option<String>,
}

enum State {
    /// Nothing has come from the client; `asked` if an empty challenge went out for it.
    Start {
        asked: bool,
    },
    /// [`Step::Lookup`] is out. The client's message waits: PLAIN's holds the password.
    LookingUp {
        claim: Claim,
        message: Zeroizing<Vec<u8>>,
    },
    /// SCRAM's challenge is out.
    Challenged {
        claim: Claim,
        standing: Standing,
        scram: Box<Scram>,
    },
    /// [`Step::Check`] is out.
    Checking {
        claim: Claim,
        standing: Standing,
    },
    Over,
}

/// One attempt to log in with one mechanism. After [`Step::Success`] and [`Step::Failure`] it is over and answers
/// [`Failure::MalformedRequest`] to everything, as it does to calls out of order; for another attempt begin another one.
pub struct Exchange {
    mechanism: Mechanism,
    context: Context,
    state: State,
}

impl Exchange {
    /// Begins with the mechanism named in `<auth/>`.
    ///
    /// # Errors
    /// [`Failure::InvalidMechanism`] for a mechanism that [`offered`] does not list (RFC 6120 section 6.5.7),
    /// [`Failure::EncryptionRequired`] for PLAIN without TLS (6.5.4), [`Failure::TemporaryAuthFailure`] if the context's
    /// nonce is unfit, which is a fault of the caller's.
    pub fn begin(mechanism: &str, mut context: Context) -> Result<Exchange, Failure> {
        if !context.tls {
            context.binding = Binding::default();
        }
        let mechanism = Mechanism::from_name(mechanism).ok_or(Failure::InvalidMechanism)?;
        if !offered(context.tls, &context.binding).contains(&mechanism) {
            return Err(match mechanism {
                Mechanism::Plain => Failure::EncryptionRequired,
                _ => Failure::InvalidMechanism,
            });
        }
        if context.nonce.len() < MIN_NONCE || !is_nonce(&context.nonce) {
            return Err(Failure::TemporaryAuthFailure);
        }
        Ok(Exchange {
            mechanism,
            context,
            state: State::Start { asked: false },
        })
    }

    /// The mechanism in use.
    pub fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Takes the data of `<auth/>` or `<response/>`, as [`decode`](crate::decode) returns it. `None` in `<auth/>` means
    /// that there is no initial response, and an empty challenge asks for it (RFC 4422 section 3, RFC 6120 section
    /// 6.3.10); in `<response/>` it means data of zero length.
    pub fn respond(&mut self, data: Option<&[u8]>) -> Step {
        match (self.take(), data) {
            (State::Start { asked: false }, None) => {
                self.state = State::Start { asked: true };
                Step::Challenge(Vec::new())
            }
            (State::Start { .. }, data) => self.opened(data.unwrap_or_default()),
            (
                State::Challenged {
                    claim,
                    standing,
                    mut scram,
                },
                data,
            ) => {
                let data = data.unwrap_or_default();
                if data.len() > MAX_MESSAGE {
                    return Step::Failure(Failure::MalformedRequest);
                }
                match scram.respond(data) {
                    Ok(Response::Success(_, data)) => self.proved(claim, standing, Some(data)),
                    Ok(Response::Proceed(_)) => Step::Failure(Failure::MalformedRequest),
                    Err(error) => Step::Failure(failure(&error)),
                }
            }
            (State::LookingUp { .. } | State::Checking { .. } | State::Over, _) => {
                Step::Failure(Failure::MalformedRequest)
            }
        }
    }

    /// Answers [`Step::Lookup`].
    pub fn supply(&mut self, account: Lookup) -> Step {
        let State::LookingUp { claim, message } = self.take() else {
            return Step::Failure(Failure::MalformedRequest);
        };
        let (credentials, standing) = match account {
            Lookup::Found(credentials) => (credentials, Standing::Good),
            Lookup::Disabled(credentials) => (credentials, Standing::Disabled),
            Lookup::Missing => (Credentials::default(), Standing::Missing),
            Lookup::Unavailable => return Step::Failure(Failure::TemporaryAuthFailure),
        };

        let Some(hash) = self.mechanism.hash() else {
            let (hash, verifier, standing) = self.password_verifier(&credentials, standing, &claim.user);
            self.state = State::Checking { claim, standing };
            return Step::Check(PasswordCheck::new(Plain::new(hash, verifier), message));
        };
        let (verifier, standing) = self.verifier(&credentials, hash, standing, &claim.user);
        let (binding, nonce) = (self.context.binding.clone(), self.context.nonce.clone());
        let mut scram = Box::new(Scram::new(self.mechanism, hash, binding, nonce, verifier));
        match scram.respond(&message) {
            Ok(Response::Proceed(challenge)) => {
                self.state = State::Challenged { claim, standing, scram };
                Step::Challenge(challenge)
            }
            Ok(Response::Success(..)) => Step::Failure(Failure::NotAuthorized),
            Err(error) => Step::Failure(failure(&error)),
        }
    }

    /// Answers [`Step::Check`].
    pub fn checked(&mut self, ok: bool) -> Step {
        match self.take() {
            State::Checking { claim, standing } if ok => self.proved(claim, standing, None),
            State::Checking { .. } => Step::Failure(Failure::NotAuthorized),
            _ => Step::Failure(Failure::MalformedRequest),
        }
    }

    /// Every call leaves the exchange over unless it says otherwise.
    fn take(&mut self) -> State {
        std::mem::replace(&mut self.state, State::Over)
    }

    /// The client's first message. What is wrong with it whoever the user is, is refused before anything is looked up.
    fn opened(&mut self, data: &[u8]) -> Step {
        if data.len() > MAX_MESSAGE {
            return Step::Failure(Failure::MalformedRequest);
        }
        let claim = if self.mechanism.hash().is_some() {
            let Ok(first) = ClientFirst::parse(data) else {
                return Step::Failure(Failure::MalformedRequest);
            };
            if let Err(error) = bound(self.mechanism, &self.context.binding, first.flag) {
                return Step::Failure(failure(&error));
            }
            Claim {
                user: first.user.into_owned(),
                authzid: first.authzid.map(|authzid| authzid.into_owned()),
            }
        } else {
            let Ok(message) = PlainMessage::parse(data) else {
                return Step::Failure(Failure::MalformedRequest);
            };
            Claim {
                user: message.user.to_owned(),
                authzid: message.authzid.map(str::to_owned),
            }
        };
        let user = claim.user.clone();
        self.state = State::LookingUp {
            claim,
            message: Zeroizing::new(data.to_vec()),
        };
        Step::Lookup { user }
    }

    /// The account's verifier for a hash, or the stand-in. The stand-in is made in both cases: that is the same cost.
    fn verifier(&self, credentials: &Credentials, hash: Hash, standing: Standing, user: &str) -> (Verifier, Standing) {
        let stand_in = stand_in(&self.context.secret, self.context.iterations, user, hash);
        match credentials.get(hash) {
            Some(verifier) if standing != Standing::Missing => (verifier.clone(), standing),
            _ => (stand_in, Standing::Missing),
        }
    }

    /// The same for PLAIN, which works with any hash: accounts taken over from elsewhere may have only one.
    fn password_verifier(
        &self,
        credentials: &Credentials,
        standing: Standing,
        user: &str,
    ) -> (Hash, Verifier, Standing) {
        let hash = [PLAIN_HASH, Hash::Sha512, Hash::Sha1]
            .into_iter()
            .find(|hash| credentials.get(*hash).is_some())
            .unwrap_or(PLAIN_HASH);
        let (verifier, standing) = self.verifier(credentials, hash, standing, user);
        (hash, verifier, standing)
    }

    /// The password was proved. Only now the client learns whether the account is disabled and whether it may act as
    /// whom it asked to (RFC 5802 section 5: nonce and proof, then authorization identity).
    fn proved(&self, claim: Claim, standing: Standing, data: Option<Vec<u8>>) -> Step {
        let allowed = |authzid: &String| same(authzid, &claim.user, &self.context.domain);
        match standing {
            Standing::Missing => Step::Failure(Failure::NotAuthorized),
            Standing::Disabled => Step::Failure(Failure::AccountDisabled),
            Standing::Good if !claim.authzid.as_ref().is_none_or(allowed) => Step::Failure(Failure::InvalidAuthzid),
            Standing::Good => Step::Success { user: claim.user, data },
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Passwords, proofs and keys are in here.
        out.debug_struct("Exchange")
            .field("mechanism", &self.mechanism)
            .finish_non_exhaustive()
    }
}

/// What a mechanism's error is on the wire: a breach of grammar or order is told apart, all else is not.
fn failure(error: &MechanismError) -> Failure {
    match error {
        MechanismError::CannotDecodeInitialMessage
        | MechanismError::CannotDecodeResponse
        | MechanismError::FailedToDecodeMessage
        | MechanismError::SaslSessionAlreadyOver => Failure::MalformedRequest,
        _ => Failure::NotAuthorized,
    }
}
