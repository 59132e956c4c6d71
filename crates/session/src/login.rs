//! Classic SASL (RFC 6120 section 6): from `<auth/>` to `<success/>`, around [`auth::Exchange`].

use auth::{Binding, Exchange, Failure, Lookup, Step};
use stanza::{Jid, ns};
use xmlstream::Element;
use zeroize::Zeroizing;

use crate::config::StreamConfig;
use crate::core::Context;

/// Random bytes of the server's nonce: 192 bits.
const NONCE_BYTES: usize = 24;

pub(crate) enum Outcome {
    Continue,
    /// The account is being looked up, or the password checked.
    Wait,
    /// Bare JID.
    LoggedIn(Jid),
    /// Not an element of SASL that a client sends.
    Unsupported,
    /// The last attempt that is allowed has failed.
    TooMany,
}

/// The attempts to log in on one stream.
#[derive(Default)]
pub(crate) struct Login {
    exchange: Option<Box<Exchange>>,
    waiting: bool,
    failures: u8,
    /// The prepared account of the attempt.
    account: Option<Jid>,
    domain: String,
}

/// The stream features of SASL (section 6.3.1) and of XEP-0440.
pub(crate) fn offer(secured: bool, binding: &Binding) -> String {
    let mut features = String::new();
    let types = binding.types();
    if secured && !types.is_empty() {
        features.push_str(&format!("<sasl-channel-binding xmlns='{}'>", ns::SASL_CHANNEL_BINDING));
        for name in types {
            features.push_str(&format!("<channel-binding type='{name}'/>"));
        }
        features.push_str("</sasl-channel-binding>");
    }
    features.push_str(&format!("<mechanisms xmlns='{}'>", ns::SASL));
    for mechanism in auth::offered(secured, binding) {
        features.push_str(&format!("<mechanism>{}</mechanism>", mechanism.name()));
    }
    features.push_str("</mechanisms>");
    features
}

impl Login {
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting
    }

    /// Drops an attempt that is under way; those that failed still count.
    pub(crate) fn abandon(&mut self) {
        self.exchange = None;
        self.waiting = false;
        self.account = None;
    }

    pub(crate) fn element(
        &mut self,
        element: &Element<'_>,
        allowed: bool,
        secured: bool,
        domain: &str,
        config: &StreamConfig,
        cx: &mut Context<'_>,
    ) -> Outcome {
        // The data of PLAIN is the password, so what was decoded is wiped after use.
        let data = auth::decode(&element.text()).map(|data| data.map(Zeroizing::new));
        match element.name() {
            "auth" => {
                // A new attempt ends one that is under way.
                self.exchange = None;
                if !allowed {
                    return self.failed(Failure::EncryptionRequired, config, cx);
                }
                if !cx.shell.may_log_in(None) {
                    return self.failed(Failure::TemporaryAuthFailure, config, cx);
                }
                let mut nonce = [0; NONCE_BYTES];
                cx.shell.random(&mut nonce);
                let context = auth::Context {
                    domain: domain.to_owned(),
                    tls: secured,
                    binding: cx.shell.binding(),
                    nonce: auth::encode(&nonce),
                    secret: config.secret,
                    iterations: config.iterations,
                };
                self.domain = domain.to_owned();
                self.account = None;
                let mechanism = element.attr("mechanism").unwrap_or_default();
                let mut exchange = match Exchange::begin(&mechanism, context) {
                    Ok(exchange) => exchange,
                    Err(failure) => return self.failed(failure, config, cx),
                };
                let step = match data {
                    Err(failure) => return self.failed(failure, config, cx),
                    // Section 6.4.2: no text at all is no initial response, "=" is an empty one.
                    Ok(data) => exchange.respond(data.as_ref().map(|data| &data[..])),
                };
                self.exchange = Some(Box::new(exchange));
                self.step(step, config, cx)
            }
            "response" => {
                let Some(exchange) = &mut self.exchange else {
                    return self.failed(Failure::MalformedRequest, config, cx);
                };
                match data {
                    Err(failure) => self.failed(failure, config, cx),
                    Ok(data) => {
                        let step = exchange.respond(Some(data.as_ref().map_or(&[], |data| &data[..])));
                        self.step(step, config, cx)
                    }
                }
            }
            // Section 6.4.4.
            "abort" => self.failed(Failure::Aborted, config, cx),
            _ => Outcome::Unsupported,
        }
    }

    pub(crate) fn supply(&mut self, account: Lookup, config: &StreamConfig, cx: &mut Context<'_>) -> Outcome {
        self.waiting = false;
        match &mut self.exchange {
            None => Outcome::Continue,
            Some(exchange) => {
                let step = exchange.supply(account);
                self.step(step, config, cx)
            }
        }
    }

    pub(crate) fn checked(&mut self, good: bool, config: &StreamConfig, cx: &mut Context<'_>) -> Outcome {
        self.waiting = false;
        match &mut self.exchange {
            None => Outcome::Continue,
            Some(exchange) => {
                let step = exchange.checked(good);
                self.step(step, config, cx)
            }
        }
    }

    fn step(&mut self, step: Step, config: &StreamConfig, cx: &mut Context<'_>) -> Outcome {
        match step {
            Step::Challenge(data) => {
                write(cx.out, "challenge", &data);
                Outcome::Continue
            }
            Step::Lookup { user } => {
                self.account = stanza::prepare_local(&user)
                    .ok()
                    .and_then(|local| Jid::new(Some(&local), &self.domain, None).ok());
                match &self.account {
                    Some(account) if !cx.shell.may_log_in(Some(account)) => {
                        self.failed(Failure::TemporaryAuthFailure, config, cx)
                    }
                    Some(account) => {
                        cx.shell.look_up(account);
                        self.waiting = true;
                        Outcome::Wait
                    }
                    // A name that nobody can have fails as late as one that nobody has.
                    None => self.supply(Lookup::Missing, config, cx),
                }
            }
            Step::Check(check) => {
                cx.shell.check(check);
                self.waiting = true;
                Outcome::Wait
            }
            Step::Success { data, .. } => {
                self.exchange = None;
                match self.account.take() {
                    Some(account) => {
                        match data {
                            Some(data) => write(cx.out, "success", &data),
                            None => cx
                                .out
                                .extend_from_slice(format!("<success xmlns='{}'/>", ns::SASL).as_bytes()),
                        }
                        Outcome::LoggedIn(account)
                    }
                    None => self.failed(Failure::NotAuthorized, config, cx),
                }
            }
            Step::Failure(failure) => self.failed(failure, config, cx),
        }
    }

    fn failed(&mut self, failure: Failure, config: &StreamConfig, cx: &mut Context<'_>) -> Outcome {
        self.exchange = None;
        self.waiting = false;
        failure.write(cx.out);
        if matches!(
            failure,
            Failure::NotAuthorized | Failure::AccountDisabled | Failure::InvalidAuthzid
        ) {
            cx.shell.login_failed(self.account.as_ref());
        }
        // Whatever the reason: an endless series of attempts is never right (section 6.4.5).
        self.failures = self.failures.saturating_add(1);
        if self.failures >= config.login_attempts {
            Outcome::TooMany
        } else {
            Outcome::Continue
        }
    }
}

fn write(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    let text = if data.is_empty() {
        "=".to_owned()
    } else {
        auth::encode(data)
    };
    out.extend_from_slice(format!("<{name} xmlns='{}'>{text}</{name}>", ns::SASL).as_bytes());
}
