//! One attempt to log in, as a state machine over whatever mechanism the client chose.

use std::fmt;

use sasl::server::{Mechanism as Server, MechanismError, Response};
use zeroize::Zeroizing;

use crate::account::{same, stand_in};
use crate::bearer::{self, Opening};
use crate::external;
use crate::mechanism::Family;
use crate::message::{ClientFirst, PlainMessage, is_nonce};
use crate::plain::Plain;
use crate::scram::{Scram, bound};
use crate::token::{self, Attempt, Initiator};
use crate::{
    Binding, Context, Credentials, Failure, Hash, Lookup, Mechanism, Password, PasswordCheck, Proof, Step, TokenLookup,
    TokenUse, Verdict, Verifier, outdated,
};

/// The longest message of a client, in bytes after base 64. RFC 4616 section 2 asks for 767 at least.
pub const MAX_MESSAGE: usize = 4096;
/// The shortest server nonce that is used, in characters: 96 bits in base 64.
pub const MIN_NONCE: usize = 16;
/// The hash that PLAIN is checked with: of the two sound ones the cheaper, and the same for users who do not exist.
const PLAIN_HASH: Hash = Hash::Sha256;

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
    /// [`Step::Tokens`] is out. The client's proof waits.
    FindingToken {
        user: String,
        hashed: Vec<u8>,
    },
    /// [`Step::Certificate`], [`Step::Bearer`], [`Step::Guest`] or [`Step::Password`] is out.
    Deciding {
        authzid: Option<String>,
        proof: Proof,
    },
    /// The error of OAUTHBEARER is out. Whatever comes back, the attempt has failed.
    Refused,
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
    /// [`Failure::InvalidMechanism`] for a mechanism that [`Context::offer`] does not list (RFC 6120 section 6.5.7) or
    /// that the channel cannot do, [`Failure::EncryptionRequired`] for PLAIN without TLS (6.5.4),
    /// [`Failure::TemporaryAuthFailure`] if the context's nonce is unfit, which is a fault of the caller's.
    pub fn begin(mechanism: &str, mut context: Context) -> Result<Exchange, Failure> {
        if !context.tls {
            context.binding = Binding::default();
        }
        let mechanism = Mechanism::from_name(mechanism).ok_or(Failure::InvalidMechanism)?;
        if mechanism == Mechanism::Plain && !context.tls {
            return Err(Failure::EncryptionRequired);
        }
        if !context.offer.has(mechanism) || !mechanism.fits(context.tls, &context.binding) {
            return Err(Failure::InvalidMechanism);
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

    /// What an account lacks of the hashes that this client was offered, see [`outdated`](crate::outdated).
    pub fn outdated(&self, credentials: &Credentials) -> Vec<Hash> {
        outdated(credentials, self.context.iterations, &self.context.offer)
    }

    /// Takes the data of `<auth/>` or `<response/>`, as [`decode`](crate::decode) returns it. `None` in `<auth/>` means
    /// that there is no initial response, and an empty challenge asks for it (RFC 4422 section 3, RFC 6120 section
    /// 6.3.10); in `<response/>` it means data of zero length.
    pub fn respond(&mut self, data: Option<&[u8]>) -> Step {
        match (self.take(), data) {
            // ANONYMOUS has nothing that it would have to say (XEP-0175 section 4: `<auth/>`, `<success/>`).
            (State::Start { asked: false }, None) if self.mechanism != Mechanism::Anonymous => {
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
            (State::Refused, Some(bearer::SEPARATOR)) => Step::Failure(Failure::NotAuthorized),
            (
                State::LookingUp { .. }
                | State::Checking { .. }
                | State::FindingToken { .. }
                | State::Deciding { .. }
                | State::Refused
                | State::Over,
                _,
            ) => Step::Failure(Failure::MalformedRequest),
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
            Lookup::Elsewhere => return self.elsewhere(claim, &message),
            Lookup::Unavailable => return Step::Failure(Failure::TemporaryAuthFailure),
        };

        let Some(hash) = self.mechanism.hash() else {
            let (hash, verifier, standing) = self.password_verifier(&credentials, standing, &claim.user);
            let iterations = self.context.iterations;
            let lacking = match standing {
                Standing::Good => self.outdated(&credentials),
                Standing::Disabled | Standing::Missing => Vec::new(),
            };
            self.state = State::Checking { claim, standing };
            let plain = Plain::new(hash, verifier);
            return Step::Check(PasswordCheck::new(plain, message, lacking, iterations));
        };
        let (verifier, standing) = self.verifier(&credentials, hash, standing, &claim.user);
        let (binding, nonce) = (self.context.binding.clone(), self.context.nonce.clone());
        let attributes = self.context.offer.attributes(hash);
        let scram = Scram::new(self.mechanism, hash, binding, nonce, attributes, verifier);
        let mut scram = Box::new(scram);
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

    /// Answers [`Step::Tokens`].
    pub fn supply_tokens(&mut self, tokens: TokenLookup, attempt: &Attempt) -> Step {
        let State::FindingToken { user, hashed } = self.take() else {
            return Step::Failure(Failure::MalformedRequest);
        };
        let (tokens, standing) = match tokens {
            TokenLookup::Found(tokens) => (tokens, Standing::Good),
            TokenLookup::Disabled(tokens) => (tokens, Standing::Disabled),
            TokenLookup::Missing => (Vec::new(), Standing::Missing),
            TokenLookup::Unavailable => return Step::Failure(Failure::TemporaryAuthFailure),
        };
        let Family::Token(kind) = self.mechanism.family() else {
            return Step::Failure(Failure::MalformedRequest);
        };
        let binding = kind.and_then(|kind| self.context.binding.data(kind)).unwrap_or(&[]);
        let stand_in = &self.context.secret;
        let found = token::find(&tokens, self.mechanism, binding, &hashed, attempt.least(), stand_in);
        let Some((token, age)) = found else {
            return Step::Failure(Failure::NotAuthorized);
        };
        let slot = token.slot(age);
        if let Err(failure) = slot.admits(attempt) {
            return Step::Failure(failure);
        }
        let used = TokenUse {
            id: token.id.clone(),
            age,
            mechanism: slot.mechanism,
            rotate: slot.is_due(attempt),
            count: attempt.count,
        };
        match standing {
            Standing::Missing => Step::Failure(Failure::NotAuthorized),
            Standing::Disabled => Step::Failure(Failure::AccountDisabled),
            Standing::Good => Step::Success {
                user,
                data: Some(token::responder(&slot.secret, binding)),
                proof: Proof::Token(used),
            },
        }
    }

    /// Answers [`Step::Certificate`], [`Step::Bearer`], [`Step::Guest`] and [`Step::Password`].
    pub fn decide(&mut self, verdict: Verdict) -> Step {
        let State::Deciding { authzid, proof } = self.take() else {
            return Step::Failure(Failure::MalformedRequest);
        };
        // OAUTHBEARER says more about a bad token than the failure may (RFC 7628 section 3.2.3).
        match (verdict, &proof) {
            (Verdict::Granted { user }, _) => {
                let other = |authzid: &String| !same(authzid, &user, &self.context.domain);
                if authzid.as_ref().is_some_and(other) {
                    return Step::Failure(Failure::InvalidAuthzid);
                }
                let data = None;
                Step::Success { user, data, proof }
            }
            (Verdict::Refused | Verdict::Expired, Proof::Bearer) => self.refused("invalid_token"),
            (Verdict::WrongScope, Proof::Bearer) => self.refused("insufficient_scope"),
            (Verdict::Refused | Verdict::WrongScope, _) => Step::Failure(Failure::NotAuthorized),
            (Verdict::Expired, _) => Step::Failure(Failure::CredentialsExpired),
            (Verdict::WrongIdentity, _) => Step::Failure(Failure::InvalidAuthzid),
            (Verdict::Disabled, _) => Step::Failure(Failure::AccountDisabled),
            (Verdict::Unavailable, _) => Step::Failure(Failure::TemporaryAuthFailure),
        }
    }

    /// The password goes to whoever knows. Other mechanisms show none; they are not offered where this can come.
    fn elsewhere(&mut self, claim: Claim, message: &[u8]) -> Step {
        if self.mechanism != Mechanism::Plain {
            return Step::Failure(Failure::NotAuthorized);
        }
        match PlainMessage::parse(message) {
            Ok(message) => {
                let password = Password(Zeroizing::new(message.password.to_owned()));
                self.ask(claim.authzid, Proof::Password, Step::Password(password))
            }
            Err(_) => Step::Failure(Failure::MalformedRequest),
        }
    }

    /// Sends the error result of OAUTHBEARER, to be answered with [`bearer::SEPARATOR`].
    fn refused(&mut self, status: &str) -> Step {
        self.state = State::Refused;
        Step::Challenge(bearer::error(status, &self.context.bearer))
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
        let step = match self.mechanism.family() {
            Family::Scram(_) => self.scram_opened(data),
            Family::Plain => self.plain_opened(data),
            Family::Token(_) => self.token_opened(data),
            Family::External => external::identity(data).ok().map(|authzid| {
                let authzid = authzid.map(str::to_owned);
                self.ask(authzid.clone(), Proof::Certificate, Step::Certificate { authzid })
            }),
            Family::Anonymous => external::trace(data).ok().map(|trace| {
                let trace = trace.map(str::to_owned);
                self.ask(None, Proof::Nothing, Step::Guest { trace })
            }),
            Family::Bearer => bearer::parse(data).ok().map(|opening| match opening {
                Opening::NoToken => self.refused("invalid_token"),
                Opening::Token(token) => self.ask(token.authzid.clone(), Proof::Bearer, Step::Bearer(token)),
            }),
        };
        step.unwrap_or(Step::Failure(Failure::MalformedRequest))
    }

    /// `None` here and below: the message does not follow the grammar.
    fn scram_opened(&mut self, data: &[u8]) -> Option<Step> {
        let first = ClientFirst::parse(data).ok()?;
        if let Err(error) = bound(self.mechanism, &self.context.binding, first.flag) {
            return Some(Step::Failure(failure(&error)));
        }
        let claim = Claim {
            user: first.user.into_owned(),
            authzid: first.authzid.map(|authzid| authzid.into_owned()),
        };
        Some(self.look_up(claim, data))
    }

    fn plain_opened(&mut self, data: &[u8]) -> Option<Step> {
        let message = PlainMessage::parse(data).ok()?;
        let claim = Claim {
            user: message.user.to_owned(),
            authzid: message.authzid.map(str::to_owned),
        };
        Some(self.look_up(claim, data))
    }

    fn look_up(&mut self, claim: Claim, data: &[u8]) -> Step {
        let user = claim.user.clone();
        self.state = State::LookingUp {
            claim,
            message: Zeroizing::new(data.to_vec()),
        };
        Step::Lookup { user }
    }

    fn token_opened(&mut self, data: &[u8]) -> Option<Step> {
        let message = Initiator::parse(data).ok()?;
        let user = message.user.to_owned();
        self.state = State::FindingToken {
            user: user.clone(),
            hashed: message.hashed.to_vec(),
        };
        Some(Step::Tokens { user })
    }

    fn ask(&mut self, authzid: Option<String>, proof: Proof, step: Step) -> Step {
        self.state = State::Deciding { authzid, proof };
        step
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
            Standing::Good => Step::Success {
                user: claim.user,
                data,
                proof: Proof::Password,
            },
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
