//! What the stream asks for while somebody logs in, answered by the process.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use accounts::backend::Question;
use auth::{Binding, Credentials, Failure, Lookup, Mechanism, PasswordCheck, Proof, SALT_LENGTH, Verdict};
use router::{Event, Guest, Outbox, Pair, Turn, Vouched};
use rustls::pki_types::CertificateDer;
use session::server::Claim;
use session::{Recording, Shell, clients};
use stanza::{Jid, StanzaError};
use store::Store;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::metrics::Reached;
use crate::servers::Caller;
use crate::service::{Service, now};
use crate::tls::{Tls, x509};

pub(crate) struct ConnectionShell<'a> {
    pub(crate) service: &'a Service,
    pub(crate) tls: Option<&'a Tls>,
    pub(crate) outbox: &'a Arc<Outbox>,
    pub(crate) address: IpAddr,
    /// What the service knows the connection by.
    pub(crate) number: u64,
}

/// A backend that knows nobody of a name may say so sooner than that a password is wrong, so what it refuses is told only in
/// such steps (RFC 6120 section 6.5.10).
const REFUSALS: Duration = Duration::from_millis(100);

/// The time until the next step; there is one at least.
fn whole_steps(elapsed: Duration) -> Duration {
    let steps = elapsed.as_nanos().div_ceil(REFUSALS.as_nanos()).max(1);
    REFUSALS.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX))
}

fn tell(outbox: &Arc<Outbox>, event: Event) {
    let mut turn = Turn::default();
    outbox.tell(&mut turn, event);
    turn.finish();
}

/// When the first of a client's certificates ends, in seconds since 1970. What is over already cannot have been needed.
fn certificates_end(chain: &[CertificateDer<'_>]) -> Option<i64> {
    let now = now().seconds();
    let ends = chain
        .iter()
        .filter_map(|certificate| Some(x509::fields(certificate)?.not_after));
    ends.filter(|&end| end >= now).min()
}

fn record(store: &Arc<dyn Store>, outbox: Arc<Outbox>, login: Recording) {
    let random = |bytes: &mut [u8]| getrandom::fill(bytes).expect("the system has random numbers");
    clients::record(store, login, now().seconds(), random, move |result| {
        tell(&outbox, Event::Recorded(result));
    });
}

/// Why somebody is not let in by a token of whom the backend says this.
fn not_known(verdict: &Verdict) -> Option<Failure> {
    match verdict {
        Verdict::Granted { .. } => None,
        Verdict::Unavailable => Some(Failure::TemporaryAuthFailure),
        Verdict::Disabled => Some(Failure::AccountDisabled),
        _ => Some(Failure::NotAuthorized),
    }
}

impl Shell for ConnectionShell<'_> {
    fn random(&mut self, bytes: &mut [u8]) {
        // The system's generator fails only where the system cannot run at all.
        getrandom::fill(bytes).expect("the system has random numbers");
    }

    fn binding(&self) -> Binding {
        self.tls.map(Tls::binding).unwrap_or_default()
    }

    fn certified(&self, domain: &str) -> Vec<String> {
        let chain = self.tls.map(Tls::peer_chain).unwrap_or_default();
        match self.service.certificates().filter(|_| !chain.is_empty()) {
            Some(certificates) => certificates.client_addresses(domain, chain),
            None => Vec::new(),
        }
    }

    fn certified_until(&self) -> Option<i64> {
        certificates_end(self.tls?.peer_chain())
    }

    fn certifies(&mut self, pair: &Pair) -> Option<Vouched> {
        let (Some(servers), Some(tls)) = (self.service.servers(), self.tls) else {
            return Some(Vouched::default());
        };
        let caller = Caller {
            address: self.address,
            chain: tls.peer_chain().to_vec(),
            tls: tls.in_words().unwrap_or_default(),
        };
        let outbox = Arc::downgrade(self.outbox);
        servers.certifies(
            caller,
            pair,
            Box::new(move |vouched| {
                if let Some(outbox) = outbox.upgrade() {
                    tell(&outbox, Event::Vouched(vouched));
                }
            }),
        );
        None
    }

    fn verify_key(&mut self, claim: Claim) -> Result<(), StanzaError> {
        let servers = self.service.servers().ok_or_else(StanzaError::not_authorized)?;
        let outbox = Arc::downgrade(self.outbox);
        servers.verify(
            claim,
            Box::new(move |verdict| {
                if let Some(outbox) = outbox.upgrade() {
                    tell(&outbox, Event::Verified(verdict));
                }
            }),
        )
    }

    fn note_server(&mut self, remote: &str, note: &str) {
        tracing::debug!(address = %self.address, remote, note, "the stream of another server");
        if let Some(servers) = self.service.servers() {
            servers.note(self.address, remote, note);
        }
    }

    fn look_up(&mut self, account: &Jid) {
        let (outbox, account) = (Arc::clone(self.outbox), account.clone());
        // Before the account is read: a change that this login does not see any more reaches it.
        let epoch = self.service.logs_in(self.number, Some(account.as_str()));
        if self.service.backend(account.domain()).is_some() {
            return tell(&outbox, Event::Account(Lookup::Elsewhere));
        }
        self.service.router.store().read(
            accounts::get(&account),
            Box::new(move |found| {
                let found = found.and_then(store::Found::row).map_err(|error| error.to_string());
                let account =
                    found.and_then(|row| accounts::read_for_login(&account, row).map_err(|error| error.to_string()));
                if let Ok(Some(account)) = &account {
                    epoch.store(account.epoch, Ordering::Release);
                }
                let lookup = match account {
                    Ok(None) => Lookup::Missing,
                    Ok(Some(account)) if account.disabled => Lookup::Disabled(account.credentials),
                    Ok(Some(account)) => Lookup::Found(account.credentials),
                    Err(error) => {
                        tracing::error!(error, "an account could not be read for a login");
                        Lookup::Unavailable
                    }
                };
                tell(&outbox, Event::Account(lookup));
            }),
        );
    }

    fn look_up_tokens(&mut self, account: &Jid, client: Option<&str>) {
        let outbox = Arc::clone(self.outbox);
        self.service.logs_in(self.number, Some(account.as_str()));
        clients::look_up(self.service.router.store(), account, client, move |tokens| {
            tell(&outbox, Event::Tokens(tokens));
        });
    }

    fn record(&mut self, login: Recording) {
        // Who is gone from there is gone from here, whatever tokens are left. Behind the proof: nobody is asked because of
        // somebody who has none, and no time tells who has tokens.
        let backend = match &login.proof {
            Proof::Token(_) => self.service.backend(login.account.domain()),
            _ => None,
        };
        let (outbox, store) = (Arc::clone(self.outbox), Arc::clone(self.service.router.store()));
        let Some(backend) = backend else {
            return record(&store, outbox, login);
        };
        let outbox = Arc::downgrade(&outbox);
        backend.recognise(
            login.account.clone(),
            Box::new(move |verdict| {
                let Some(outbox) = outbox.upgrade() else { return };
                match not_known(&verdict) {
                    Some(failure) => tell(&outbox, Event::Recorded(Err(failure))),
                    None => record(&store, outbox, login),
                }
            }),
        );
    }

    fn check(&mut self, check: PasswordCheck) {
        let outbox = Arc::downgrade(self.outbox);
        let checks = Arc::clone(&self.service.checks);
        let mut salts = [[0; SALT_LENGTH]; 3];
        self.random(salts.as_flattened_mut());
        let renewal = self.service.renew().zip(self.service.login(self.number));
        tokio::spawn(async move {
            // Closed only when the process ends.
            let Ok(permit) = checks.acquire().await else { return };
            // Nobody pays for the checks of those who left while they waited.
            if outbox.strong_count() == 0 {
                return;
            }
            let renewed = tokio::task::spawn_blocking(move || check.run_and_renew(salts)).await;
            // What is written waits for the disk and maybe for an account command: nobody's check has to wait for it too.
            drop(permit);
            let renewed = renewed.ok().flatten();
            let good = renewed.is_some();
            if let (Some(newer), Some((renew, (account, epoch)))) = (renewed, renewal)
                && newer != Credentials::default()
            {
                // Before the answer, so that the next login finds it. If it cannot be written the login succeeds all the
                // same: the password was right, and the next login by PLAIN tries again.
                let _ = tokio::task::spawn_blocking(move || renew(&account, epoch, newer)).await;
            }
            if let Some(outbox) = outbox.upgrade() {
                tell(&outbox, Event::Checked(good));
            }
        });
    }

    fn upgrade(&mut self, account: &Jid, verifiers: Credentials) {
        let login = self.service.login(self.number).filter(|(known, _)| known == account);
        let Some((renew, (account, epoch))) = self.service.renew().zip(login) else {
            return tell(self.outbox, Event::Upgraded);
        };
        let outbox = Arc::downgrade(self.outbox);
        // It waits for the disk and maybe for an account command. If it cannot be written the client logs in all the
        // same, as after a check by PLAIN: a full disk keeps nobody out (guarantee G6), and the account goes on lacking it.
        tokio::task::spawn_blocking(move || {
            renew(&account, epoch, verifiers);
            if let Some(outbox) = outbox.upgrade() {
                tell(&outbox, Event::Upgraded);
            }
        });
    }

    fn ask(&mut self, question: Question) {
        let Some(backend) = self.service.knowing(&question) else {
            return tell(self.outbox, Event::Decided(Verdict::Unavailable));
        };
        let (outbox, runtime, asked) = (Arc::downgrade(self.outbox), Handle::current(), Instant::now());
        let is_password = matches!(question, Question::Password { .. });
        backend.ask(
            question,
            Box::new(move |verdict| {
                let is_refused = is_password && matches!(verdict, Verdict::Refused);
                let decided = move || {
                    if let Some(outbox) = outbox.upgrade() {
                        tell(&outbox, Event::Decided(verdict));
                    }
                };
                if !is_refused {
                    return decided();
                }
                let due = asked + whole_steps(asked.elapsed());
                runtime.spawn(async move {
                    tokio::time::sleep_until(due).await;
                    decided();
                });
            }),
        );
    }

    fn admit(&mut self, account: &Jid) {
        // Before the account is read: a change that this login does not see any more reaches it.
        self.service.logs_in(self.number, Some(account.as_str()));
        let Some(admit) = self.service.admit() else {
            return tell(self.outbox, Event::Decided(Verdict::Unavailable));
        };
        let (outbox, jid, runtime) = (Arc::downgrade(self.outbox), account.clone(), Handle::current());
        let recognised = move |verdict: Verdict| {
            runtime.spawn_blocking(move || {
                // Nobody is admitted who has left.
                let Some(outbox) = outbox.upgrade() else { return };
                let verdict = match verdict {
                    Verdict::Granted { .. } => admit(&jid),
                    other => other,
                };
                tell(&outbox, Event::Decided(verdict));
            });
        };
        match self.service.backend(account.domain()) {
            // Whoever vouches for somebody who is gone there.
            Some(backend) => backend.recognise(account.clone(), Box::new(recognised)),
            None => recognised(Verdict::Granted {
                user: account.local().unwrap_or_default().to_owned(),
            }),
        }
    }

    fn guest(&mut self, trace: Option<&str>) -> Option<Guest> {
        let guest = self.service.guests.admit(self.address);
        match &guest {
            Some(_) => tracing::info!(address = %self.address, trace, "a guest comes in"),
            None => tracing::info!(address = %self.address, trace, "there is no room for a guest"),
        }
        guest
    }

    fn may_log_in(&mut self, account: Option<&Jid>) -> bool {
        let throttle = &self.service.throttle;
        let may = throttle.may_log_in(self.address, account.map(Jid::as_str), now().seconds());
        if !may {
            self.service.metrics().reached(match account {
                Some(_) => Reached::FailuresPerAccount,
                None => Reached::FailuresPerAddress,
            });
        }
        may
    }

    fn may_register(&mut self) -> bool {
        match self.service.throttle.may_register(self.address, now().seconds()) {
            Ok(()) => true,
            Err(limit) => {
                self.service.metrics().reached(limit);
                tracing::info!(address = %self.address, "an account was asked for, after too many others");
                false
            }
        }
    }

    fn login_ended(&mut self, mechanism: Option<Mechanism>, failure: Option<Failure>) {
        self.service.metrics().login(mechanism, failure);
    }

    fn too_many_attempts(&mut self) {
        self.service.metrics().reached(Reached::LoginAttempts);
    }

    fn login_failed(&mut self, account: Option<&Jid>) {
        self.service.logs_in(self.number, None);
        self.service.metrics().guesses.up();
        tracing::info!(address = %self.address, account = account.map(tracing::field::display), "a login failed");
        let is_reached = self
            .service
            .throttle
            .login_failed(self.address, account.map(Jid::as_str), now().seconds());
        if is_reached {
            // Once a minute at most for each, however many more come.
            tracing::warn!(
                address = %self.address,
                account = account.map(tracing::field::display),
                "too many logins failed: more are refused until the minute is over"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_come_in_steps() {
        for (took, told) in [(0, 100), (1, 100), (100, 100), (101, 200), (250, 300), (4_999, 5_000)] {
            assert_eq!(whole_steps(Duration::from_millis(took)), Duration::from_millis(told));
        }
    }
}
