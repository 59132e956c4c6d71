//! The exchange of SASL, around [`auth::Exchange`], in either of its profiles: the classic one (RFC 6120 section 6), from
//! `<auth/>` to `<success/>`, and SASL2 (XEP-0388), of which [`crate::sasl2`] has the rest.

use accounts::backend::Question;
use accounts::tokens;
use auth::{Exchange, Failure, Hash, Lookup, Mechanism, Password, Proof, Step, TokenLookup, Verdict};
use router::Guest;
use stanza::{Jid, ns};
use xmlstream::Element;
use zeroize::Zeroizing;

use crate::config::StreamConfig;
use crate::core::{Context, Shell};
use crate::sasl2::{self, Fast};

/// Random bytes of the server's nonce: 192 bits.
const NONCE_BYTES: usize = 24;

pub(crate) enum Outcome {
    Continue,
    /// The account is being looked up, or the password checked.
    Wait,
    LoggedIn {
        /// Bare JID.
        account: Jid,
        /// What the mechanism says with the success.
        data: Option<Vec<u8>>,
        proof: Proof,
        /// The hashes that the account has no verifier for, or one that is too cheap. By SCRAM alone: PLAIN makes them by
        /// the way, and other proofs show no password.
        lacking: Vec<Hash>,
    },
    /// Not an element of SASL that a client sends.
    Unsupported,
    /// The last attempt that is allowed has failed.
    TooMany,
}

/// Which elements an exchange is made of.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) enum Profile {
    #[default]
    Classic,
    Sasl2,
}

impl Profile {
    fn ns(self) -> &'static str {
        match self {
            Profile::Classic => ns::SASL,
            Profile::Sasl2 => ns::SASL2,
        }
    }
}

/// The attempts to log in on one stream.
#[derive(Default)]
pub(crate) struct Login {
    /// Of the attempt.
    profile: Profile,
    exchange: Option<Box<Exchange>>,
    /// Of the attempt that is under way, for whoever counts.
    mechanism: Option<Mechanism>,
    waiting: bool,
    failures: u8,
    /// Attempts that were begun.
    begun: u8,
    /// The prepared account of the attempt.
    account: Option<Jid>,
    /// What that account lacks.
    lacking: Vec<Hash>,
    /// A bearer token was good; now it is asked whether the account may log in.
    admitting: bool,
    /// The error of OAUTHBEARER was told. A token that was shown has been counted then: whoever guesses need not wait
    /// for the failure. Without one the client has only asked where to get one (RFC 7628 section 4.3).
    bearer_refused: bool,
    domain: String,
    /// The place of the guest who logs in.
    guest: Option<Guest>,
}

/// The stream features of SASL (section 6.3.1), of SASL2 (only under TLS: XEP-0388 section 3) and of XEP-0440.
pub(crate) fn features(
    config: &StreamConfig,
    domain: &str,
    secured: bool,
    shell: &dyn Shell,
    bind_features: &[&str],
) -> String {
    let mut features = String::new();
    let classic = config.offer(domain, false, secured, shell);
    if !classic.bindings.is_empty() {
        features.push_str(&format!("<sasl-channel-binding xmlns='{}'>", ns::SASL_CHANNEL_BINDING));
        for name in &classic.bindings {
            features.push_str(&format!("<channel-binding type='{name}'/>"));
        }
        features.push_str("</sasl-channel-binding>");
    }
    if secured {
        features.push_str(&sasl2::feature(
            &config.offer(domain, true, secured, shell),
            bind_features,
        ));
    }
    // Without TLS there is none where only PLAIN is left.
    if classic.mechanisms.is_empty() {
        return features;
    }
    features.push_str(&format!("<mechanisms xmlns='{}'>", ns::SASL));
    for mechanism in &classic.mechanisms {
        features.push_str(&format!("<mechanism>{}</mechanism>", mechanism.name()));
    }
    features.push_str("</mechanisms>");
    features
}

/// Where a login takes place.
pub(crate) struct At<'a> {
    /// TLS is in place where it has to be.
    pub(crate) allowed: bool,
    pub(crate) secured: bool,
    pub(crate) domain: &'a str,
    pub(crate) config: &'a StreamConfig,
    /// By SASL2: who the client says it is, and what it says of the token that it uses.
    pub(crate) client: Option<&'a str>,
    pub(crate) fast: Option<Fast>,
}

impl Login {
    pub(crate) fn take_guest(&mut self) -> Option<Guest> {
        self.guest.take()
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// An attempt in this profile has begun and is not over.
    pub(crate) fn is_under_way(&self, profile: Profile) -> bool {
        self.exchange.is_some() && self.profile == profile
    }

    /// Drops an attempt that is under way; those that failed still count.
    pub(crate) fn abandon(&mut self) {
        self.exchange = None;
        self.waiting = false;
        self.admitting = false;
        self.account = None;
    }

    /// An exchange does not go on in another profile than it began in.
    fn speak(&mut self, profile: Profile) {
        if self.profile != profile {
            self.exchange = None;
            self.profile = profile;
        }
    }

    /// An element of the classic profile.
    pub(crate) fn element(&mut self, element: &Element<'_>, at: &At<'_>, cx: &mut Context<'_>) -> Outcome {
        // The data of PLAIN is the password, so what was decoded is wiped after use.
        let data = || auth::decode(&element.text()).map(|data| data.map(Zeroizing::new));
        self.speak(Profile::Classic);
        match element.name() {
            "auth" => {
                let mechanism = element.attr("mechanism").unwrap_or_default();
                // Section 6.4.2: no text at all is no initial response, "=" is an empty one.
                self.begin(&mechanism, data(), at, cx)
            }
            "response" => self.respond(data().map(Option::unwrap_or_default), at, cx),
            // Section 6.4.4.
            "abort" => self.failed(Failure::Aborted, at, cx),
            _ => Outcome::Unsupported,
        }
    }

    /// An element of SASL2.
    pub(crate) fn element2(&mut self, element: &Element<'_>, at: &At<'_>, cx: &mut Context<'_>) -> Outcome {
        let data = |text: &str| sasl2::data(text).map(Zeroizing::new);
        self.speak(Profile::Sasl2);
        match element.name() {
            "authenticate" => {
                let mechanism = element.attr("mechanism").unwrap_or_default();
                let initial = element.child("initial-response", ns::SASL2);
                let initial = initial.map(|initial| data(&initial.text())).transpose();
                self.begin(&mechanism, initial, at, cx)
            }
            "response" => self.respond(data(&element.text()), at, cx),
            "abort" => self.failed(Failure::Aborted, at, cx),
            _ => Outcome::Unsupported,
        }
    }

    fn begin(
        &mut self,
        mechanism: &str,
        initial: Result<Option<Zeroizing<Vec<u8>>>, Failure>,
        at: &At<'_>,
        cx: &mut Context<'_>,
    ) -> Outcome {
        // A new attempt ends one that is under way.
        self.exchange = None;
        self.admitting = false;
        self.bearer_refused = false;
        // Those that are given up count as well: behind the first message of SCRAM an account has been looked up, and who
        // measures how long that takes needs many of them.
        self.begun = self.begun.saturating_add(1);
        if self.begun > at.config.login_attempts {
            cx.shell.too_many_attempts();
            return Outcome::TooMany;
        }
        if !at.allowed {
            return self.failed(Failure::EncryptionRequired, at, cx);
        }
        if !cx.shell.may_log_in(None) {
            return self.failed(Failure::TemporaryAuthFailure, at, cx);
        }
        let mut nonce = [0; NONCE_BYTES];
        cx.shell.random(&mut nonce);
        let binding = cx.shell.binding();
        let context = auth::Context {
            domain: at.domain.to_owned(),
            tls: at.secured,
            offer: at
                .config
                .offer(at.domain, self.profile == Profile::Sasl2, at.secured, cx.shell),
            bearer: at.config.policy(at.domain).bearer.clone().unwrap_or_default(),
            binding,
            nonce: auth::encode(&nonce),
            secret: at.config.secret,
            iterations: at.config.iterations,
        };
        self.domain = at.domain.to_owned();
        self.account = None;
        self.mechanism = None;
        let mut exchange = match Exchange::begin(mechanism, context) {
            // XEP-0484 section 3.4: "the client MUST include a <fast/> element".
            Ok(exchange) if exchange.mechanism().is_token() && at.fast.is_none() => {
                return self.failed(Failure::MalformedRequest, at, cx);
            }
            Ok(exchange) => exchange,
            Err(failure) => return self.failed(failure, at, cx),
        };
        self.mechanism = Some(exchange.mechanism());
        let step = match initial {
            Err(failure) => return self.failed(failure, at, cx),
            Ok(data) => exchange.respond(data.as_ref().map(|data| &data[..])),
        };
        self.exchange = Some(Box::new(exchange));
        self.step(step, at, cx)
    }

    fn respond(&mut self, data: Result<Zeroizing<Vec<u8>>, Failure>, at: &At<'_>, cx: &mut Context<'_>) -> Outcome {
        let Some(exchange) = &mut self.exchange else {
            return self.failed(Failure::MalformedRequest, at, cx);
        };
        match data {
            Err(failure) => self.failed(failure, at, cx),
            Ok(data) => {
                let step = exchange.respond(Some(&data));
                self.step(step, at, cx)
            }
        }
    }

    pub(crate) fn supply(&mut self, account: Lookup, at: &At<'_>, cx: &mut Context<'_>) -> Outcome {
        self.waiting = false;
        self.lacking = Vec::new();
        match &mut self.exchange {
            None => Outcome::Continue,
            Some(exchange) => {
                if let Lookup::Found(credentials) = &account
                    && exchange.mechanism().hash().is_some()
                {
                    self.lacking = exchange.outdated(credentials);
                }
                let step = exchange.supply(account);
                self.step(step, at, cx)
            }
        }
    }

    pub(crate) fn supply_tokens(&mut self, tokens: TokenLookup, at: &At<'_>, cx: &mut Context<'_>) -> Outcome {
        self.waiting = false;
        let count = match at.fast.as_ref().and_then(|fast| fast.count.as_deref()) {
            None => None,
            Some(count) => match auth::token_count(count) {
                Ok(count) => Some(count),
                Err(failure) => return self.failed(failure, at, cx),
            },
        };
        match &mut self.exchange {
            None => Outcome::Continue,
            Some(exchange) => {
                // Early data of TLS is never taken (XEP-0388 section 3).
                let attempt = tokens::attempt(at.client, cx.now.seconds(), at.config.lifetimes, count, false);
                let step = exchange.supply_tokens(tokens, &attempt);
                self.step(step, at, cx)
            }
        }
    }

    pub(crate) fn checked(&mut self, good: bool, at: &At<'_>, cx: &mut Context<'_>) -> Outcome {
        self.waiting = false;
        match &mut self.exchange {
            None => Outcome::Continue,
            Some(exchange) => {
                let step = exchange.checked(good);
                self.step(step, at, cx)
            }
        }
    }

    pub(crate) fn decided(&mut self, verdict: Verdict, at: &At<'_>, cx: &mut Context<'_>) -> Outcome {
        self.waiting = false;
        let Some(exchange) = &mut self.exchange else {
            return Outcome::Continue;
        };
        let is_bearer = exchange.mechanism() == Mechanism::OAuthBearer;
        if let (Verdict::Granted { user }, true, false) = (&verdict, is_bearer, self.admitting) {
            let wanted = self.account.take();
            self.account = self.prepared(user);
            let account = self.account.clone();
            return match account {
                // No token is for somebody who cannot exist.
                None => self.decided(Verdict::Refused, at, cx),
                Some(account) if wanted.is_some_and(|wanted| wanted != account) => {
                    self.decided(Verdict::WrongIdentity, at, cx)
                }
                Some(account) => {
                    cx.shell.admit(&account);
                    self.admitting = true;
                    self.waiting = true;
                    Outcome::Wait
                }
            };
        }
        self.admitting = false;
        let Some(exchange) = &mut self.exchange else {
            return Outcome::Continue;
        };
        let step = exchange.decide(verdict);
        if is_bearer && matches!(step, Step::Challenge(_)) {
            cx.shell.login_failed(self.account.as_ref());
        }
        self.step(step, at, cx)
    }

    fn step(&mut self, step: Step, at: &At<'_>, cx: &mut Context<'_>) -> Outcome {
        match step {
            Step::Challenge(data) => {
                let mechanism = self.exchange.as_ref().map(|exchange| exchange.mechanism());
                self.bearer_refused = mechanism == Some(Mechanism::OAuthBearer) && !data.is_empty();
                self.write(cx.out, "challenge", &data);
                Outcome::Continue
            }
            Step::Lookup { user } => match self.named(&user, cx) {
                Named::Nobody => self.supply(Lookup::Missing, at, cx),
                Named::Throttled => self.failed(Failure::TemporaryAuthFailure, at, cx),
                Named::Account(account) => {
                    cx.shell.look_up(&account);
                    self.waiting = true;
                    Outcome::Wait
                }
            },
            Step::Tokens { user } => match self.named(&user, cx) {
                Named::Nobody => self.supply_tokens(TokenLookup::Missing, at, cx),
                Named::Throttled => self.failed(Failure::TemporaryAuthFailure, at, cx),
                Named::Account(account) => {
                    cx.shell.look_up_tokens(&account, at.client);
                    self.waiting = true;
                    Outcome::Wait
                }
            },
            Step::Check(check) => {
                cx.shell.check(check);
                self.waiting = true;
                Outcome::Wait
            }
            Step::Password(Password(password)) => {
                let Some(account) = self.account.clone() else {
                    return self.failed(Failure::NotAuthorized, at, cx);
                };
                cx.shell.ask(Question::Password { account, password });
                self.waiting = true;
                Outcome::Wait
            }
            Step::Success { data, proof, .. } => {
                let Some(account) = self.account.take() else {
                    return self.failed(Failure::NotAuthorized, at, cx);
                };
                self.exchange = None;
                Outcome::LoggedIn {
                    account,
                    data,
                    proof,
                    lacking: std::mem::take(&mut self.lacking),
                }
            }
            Step::Bearer(bearer) => self.ask_about(bearer, at, cx),
            Step::Certificate { authzid } => {
                let addresses = cx.shell.certified(at.domain);
                let user = auth::certified(&addresses, authzid.as_deref(), at.domain);
                match user.map(|user| self.named(user, cx)) {
                    Err(failure) => self.failed(failure, at, cx),
                    Ok(Named::Nobody) => self.decided(Verdict::Refused, at, cx),
                    Ok(Named::Throttled) => self.failed(Failure::TemporaryAuthFailure, at, cx),
                    Ok(Named::Account(account)) => {
                        cx.shell.admit(&account);
                        self.waiting = true;
                        Outcome::Wait
                    }
                }
            }
            Step::Guest { trace } => {
                self.guest = cx.shell.guest(trace.as_deref());
                if self.guest.is_none() {
                    return self.decided(Verdict::Unavailable, at, cx);
                }
                let user = guest_name(cx.shell);
                self.account = self.prepared(&user);
                self.decided(Verdict::Granted { user }, at, cx)
            }
            Step::Failure(failure) => self.failed(failure, at, cx),
        }
    }

    /// Neither the host nor the port that the client tells is compared with anything (RFC 7628 section 3.2): behind SRV
    /// records and proxies nobody here knows what it connected to.
    fn ask_about(&mut self, bearer: auth::Bearer, at: &At<'_>, cx: &mut Context<'_>) -> Outcome {
        if let Some(authzid) = &bearer.authzid {
            let local = authzid
                .split_once('@')
                .filter(|(_, domain)| domain.eq_ignore_ascii_case(at.domain));
            match local.map(|(local, _)| self.named(local, cx)) {
                None | Some(Named::Nobody) => return self.failed(Failure::InvalidAuthzid, at, cx),
                Some(Named::Throttled) => return self.failed(Failure::TemporaryAuthFailure, at, cx),
                Some(Named::Account(_)) => {}
            }
        }
        let wanted = self.account.as_ref().and_then(Jid::local).map(str::to_owned);
        cx.shell.ask(Question::Bearer {
            domain: at.domain.to_owned(),
            token: bearer.token,
            wanted,
        });
        self.waiting = true;
        Outcome::Wait
    }

    fn prepared(&self, user: &str) -> Option<Jid> {
        let local = stanza::prepare_local(user).ok()?;
        Jid::new(Some(&local), &self.domain, None).ok()
    }

    /// Whose account a name means. A name that nobody can have fails as late as one that nobody has.
    fn named(&mut self, user: &str, cx: &mut Context<'_>) -> Named {
        self.account = self.prepared(user);
        match &self.account {
            None => Named::Nobody,
            Some(account) if !cx.shell.may_log_in(Some(account)) => Named::Throttled,
            Some(account) => Named::Account(account.clone()),
        }
    }

    /// The attempt has succeeded, in all that belongs to a login.
    pub(crate) fn succeeded(&mut self, cx: &mut Context<'_>) {
        cx.shell.login_ended(self.mechanism.take(), None);
    }

    /// The attempt has failed, also where the mechanism was content.
    pub(crate) fn failed(&mut self, failure: Failure, at: &At<'_>, cx: &mut Context<'_>) -> Outcome {
        cx.shell.login_ended(self.mechanism.take(), Some(failure));
        self.exchange = None;
        self.waiting = false;
        self.admitting = false;
        self.guest = None;
        match self.profile {
            Profile::Classic => failure.write(cx.out),
            Profile::Sasl2 => sasl2::failure(failure, cx.out),
        }
        let is_guess = matches!(
            failure,
            Failure::NotAuthorized | Failure::AccountDisabled | Failure::InvalidAuthzid
        );
        if is_guess && !std::mem::take(&mut self.bearer_refused) {
            cx.shell.login_failed(self.account.as_ref());
        }
        // Whatever the reason: an endless series of attempts is never right (section 6.4.5).
        self.failures = self.failures.saturating_add(1);
        if self.failures >= at.config.login_attempts {
            cx.shell.too_many_attempts();
            Outcome::TooMany
        } else {
            Outcome::Continue
        }
    }

    fn write(&self, out: &mut Vec<u8>, name: &str, data: &[u8]) {
        let text = match self.profile {
            Profile::Sasl2 if data.is_empty() => String::new(),
            _ => auth::encode(data),
        };
        out.extend_from_slice(format!("<{name} xmlns='{}'>{text}</{name}>", self.profile.ns()).as_bytes());
    }
}

/// A name that nobody has: a UUID of version 4 (XEP-0175 section 3).
fn guest_name(shell: &mut dyn Shell) -> String {
    let mut bytes = [0; 16];
    shell.random(&mut bytes);
    // RFC 9562 section 5.4: version and variant.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut name = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            name.push('-');
        }
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

enum Named {
    Nobody,
    /// Too many attempts at it have failed.
    Throttled,
    Account(Jid),
}

/// `<success/>` of the classic profile.
pub(crate) fn success(data: Option<&[u8]>, out: &mut Vec<u8>) {
    let text = match data {
        None => format!("<success xmlns='{}'/>", ns::SASL),
        Some(data) => format!("<success xmlns='{0}'>{1}</success>", ns::SASL, auth::encode(data)),
    };
    out.extend_from_slice(text.as_bytes());
}
