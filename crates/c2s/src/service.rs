//! What all client connections of a process share.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use accounts::backend::{Backend, Question};
use auth::{Credentials, Verdict};
use module::Now;
use router::{Event, Outbox, Router, Turn};
use stanza::{Jid, StreamError};
use tokio::sync::{Notify, Semaphore};

use crate::guests::{Guests, MaxGuests};
use crate::metrics::Metrics;
use crate::servers::Servers;
use crate::throttle::{PerAddress, Throttle};
use crate::tls::Certificates;

/// Sessions that end at the same time in a shutdown. What each of them has to keep (when it was
/// online last) waits for the disk, and there is room for twice as much.
const ENDED_AT_ONCE: usize = 32_768;
/// How often it is looked whether the next may end.
const ENDING_PAUSE: Duration = Duration::from_millis(5);

/// Limits of a connection, each a key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections altogether.
    pub connections: usize,
    pub before_login_per_address: usize,
    pub connections_per_second_per_address: u32,
    pub login_failures_per_address: u32,
    pub login_failures_per_account: u32,
    /// Accounts that may be asked for in an hour by one address, and by all.
    pub registrations_per_address: u32,
    pub registrations: u32,
    /// From the first byte to the bound resource.
    pub negotiation: Duration,
    /// TCP user timeout: a peer that acknowledges nothing for so long is gone.
    pub unacknowledged: Duration,
    /// What one connection may send on average, and at once.
    pub read_bytes_per_second: u64,
    pub read_burst_bytes: u64,
    /// What may wait for a reader.
    pub outbox_bytes: usize,
    /// Guests altogether, and from one address.
    pub guests: usize,
    pub guests_per_address: usize,
}

pub struct Parts {
    pub router: Arc<Router>,
    pub limits: Limits,
}

/// By domain, who is asked.
#[derive(Default)]
pub struct Backends {
    /// For passwords, where this server does not know them.
    pub passwords: HashMap<Box<str>, Arc<dyn Backend>>,
    /// For bearer tokens, where they are taken.
    pub bearers: HashMap<Box<str>, Arc<dyn Backend>>,
}

/// Whether the account of somebody who is known elsewhere may log in. May wait for the disk.
type Admit = dyn Fn(&Jid) -> Verdict + Send + Sync;

/// Writes down the verifiers that a login brought for an account, which it read under this epoch. May wait for the disk.
type Renew = dyn Fn(&Jid, i64, Credentials) + Send + Sync;

/// Shared by all listeners and connections.
pub struct Service {
    pub(crate) router: Arc<Router>,
    pub(crate) limits: Limits,
    pub(crate) throttle: Throttle,
    metrics: Metrics,
    pub(crate) guests: Arc<Guests>,
    /// Password checks at the same time: each occupies a core for milliseconds.
    pub(crate) checks: Arc<Semaphore>,
    backends: OnceLock<Backends>,
    admit: OnceLock<Arc<Admit>>,
    renew: OnceLock<Arc<Renew>>,
    certificates: OnceLock<Arc<Certificates>>,
    servers: OnceLock<Arc<dyn Servers>>,
    open: AtomicUsize,
    none_open: Notify,
    /// Connections without a bound resource, so that a shutdown or a changed password reaches them too.
    unbound: Mutex<HashMap<u64, Unbound>>,
    next: AtomicU64,
    stopping: std::sync::atomic::AtomicBool,
    stop: Notify,
}

/// A connection that the router does not know yet.
struct Unbound {
    outbox: Weak<Outbox>,
    /// The account that it logs in to, or has logged in to (bare JID).
    account: Option<Box<str>>,
    /// Under which epoch that account was read.
    epoch: Arc<AtomicI64>,
}

/// The wall clock, read here and nowhere below.
pub(crate) fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Service {
    pub fn new(parts: Parts) -> Arc<Service> {
        let limits = parts.limits;
        let per_address = PerAddress {
            before_login: limits.before_login_per_address,
            per_second: limits.connections_per_second_per_address,
            failures: limits.login_failures_per_address,
            failures_per_account: limits.login_failures_per_account,
            registrations: limits.registrations_per_address,
            registrations_altogether: limits.registrations,
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Service {
            router: parts.router,
            limits,
            throttle: Throttle::new(per_address),
            metrics: Metrics::default(),
            guests: Guests::new(MaxGuests {
                total: limits.guests,
                per_address: limits.guests_per_address,
            }),
            checks: Arc::new(Semaphore::new(cores)),
            backends: OnceLock::new(),
            admit: OnceLock::new(),
            renew: OnceLock::new(),
            certificates: OnceLock::new(),
            servers: OnceLock::new(),
            open: AtomicUsize::new(0),
            none_open: Notify::new(),
            unbound: Mutex::default(),
            next: AtomicU64::new(0),
            stopping: std::sync::atomic::AtomicBool::new(false),
            stop: Notify::new(),
        })
    }

    /// Says who knows the people of some domains, and who judges their accounts; once, before anybody is let in. They
    /// are not among the [`Parts`] as they write accounts down, and what writes those ends streams here.
    pub fn ask_elsewhere(&self, backends: Backends, admit: impl Fn(&Jid) -> Verdict + Send + Sync + 'static) {
        let _ = self.backends.set(backends);
        let _ = self.admit.set(Arc::new(admit));
    }

    /// Who knows the passwords of a domain, if that is not this server.
    pub(crate) fn backend(&self, domain: &str) -> Option<&Arc<dyn Backend>> {
        self.backends.get()?.passwords.get(domain)
    }

    /// Who is asked about this.
    pub(crate) fn knowing(&self, question: &Question) -> Option<&Arc<dyn Backend>> {
        match question {
            Question::Password { account, .. } => self.backend(account.domain()),
            Question::Bearer { domain, .. } => self.backends.get()?.bearers.get(domain.as_str()),
        }
    }

    pub(crate) fn admit(&self) -> Option<Arc<Admit>> {
        self.admit.get().cloned()
    }

    /// Says who writes down the verifiers that an account lacked until somebody logged in by PLAIN; once, and not among
    /// the [`Parts`] for the same reason.
    pub fn renew_with(&self, renew: impl Fn(&Jid, i64, Credentials) + Send + Sync + 'static) {
        let _ = self.renew.set(Arc::new(renew));
    }

    pub(crate) fn renew(&self) -> Option<Arc<Renew>> {
        self.renew.get().cloned()
    }

    /// Says who certifies clients; once, before anybody is let in.
    pub fn know_clients_by(&self, certificates: Arc<Certificates>) {
        let _ = self.certificates.set(certificates);
    }

    pub(crate) fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.certificates.get()
    }

    /// Says who knows other servers; once, before any is let in.
    pub fn know_servers_by(&self, servers: Arc<dyn Servers>) {
        let _ = self.servers.set(servers);
    }

    pub(crate) fn servers(&self) -> Option<&Arc<dyn Servers>> {
        self.servers.get()
    }

    /// Whom the connections of this process belong to.
    pub fn router(&self) -> &Arc<Router> {
        &self.router
    }

    /// The clock for the router.
    pub fn clock() -> Now {
        now()
    }

    /// What was counted so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    fn unbound(&self) -> MutexGuard<'_, HashMap<u64, Unbound>> {
        self.unbound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that the router does not know yet.
    #[cfg(test)]
    pub(crate) fn unbound_connections(&self) -> usize {
        self.unbound().len()
    }

    /// A connection was let in, see [`Admission`](crate::admission::Admission).
    pub(crate) fn entered(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn left(&self) {
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.none_open.notify_waiters();
        }
    }

    /// A stream begins on a connection; the number is for [`Service::bound`].
    pub(crate) fn opened(&self, outbox: &Arc<Outbox>) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let unbound = Unbound {
            outbox: Arc::downgrade(outbox),
            account: None,
            epoch: Arc::default(),
        };
        self.unbound().insert(number, unbound);
        if self.is_stopping() {
            // Accepted in the moment in which the others were told.
            let mut turn = Turn::default();
            outbox.tell(&mut turn, Event::End(StreamError::system_shutdown()));
        }
        number
    }

    /// A connection is about to read an account for its login; None: that login has failed. The epoch of the account
    /// goes into what is returned, for [`Service::login`].
    pub(crate) fn logs_in(&self, number: u64, account: Option<&str>) -> Arc<AtomicI64> {
        // Another one for each attempt: the answer to an earlier one may still be on its way.
        let epoch = Arc::default();
        if let Some(unbound) = self.unbound().get_mut(&number) {
            unbound.account = account.map(Into::into);
            unbound.epoch = Arc::clone(&epoch);
        }
        epoch
    }

    /// The account that a connection logs in to, and the epoch under which it was read.
    pub(crate) fn login(&self, number: u64) -> Option<(Jid, i64)> {
        let unbound = self.unbound();
        let unbound = unbound.get(&number)?;
        let account = Jid::parse(unbound.account.as_deref()?).ok()?;
        Some((account, unbound.epoch.load(Ordering::Acquire)))
    }

    /// Ends every stream of an account, those that have logged in and not bound a resource among
    /// them: the account was removed or disabled, or its password was changed. Call it when the
    /// change is in the store: a login that reads the account later sees it.
    pub fn expel(&self, bare: &str, error: &StreamError) {
        self.expel_unbound(bare);
        self.router.expel(bare, error);
    }

    /// The same, but for the session that asked for the change: see [`Router::expel_others`].
    pub fn expel_others(&self, bare: &str, resource: &str, disabled: bool, error: &StreamError) {
        self.expel_unbound(bare);
        self.router.expel_others(bare, resource, disabled, error);
    }

    fn expel_unbound(&self, bare: &str) {
        let mut turn = Turn::default();
        // Before the bound ones: who is bound meanwhile is in both lists, and not in neither.
        let unbound: Vec<_> = self
            .unbound()
            .values()
            .filter(|unbound| unbound.account.as_deref() == Some(bare))
            .filter_map(|unbound| unbound.outbox.upgrade())
            .collect();
        for outbox in unbound {
            // Without the reason: some of them have not shown yet that it is their account.
            outbox.tell(&mut turn, Event::End(StreamError::not_authorized()));
        }
        turn.finish();
    }

    /// From here on the router knows the connection, or it is gone.
    pub(crate) fn bound(&self, number: u64) {
        let mut unbound = self.unbound();
        unbound.remove(&number);
        if unbound.capacity() > 64 + 4 * unbound.len() {
            unbound.shrink_to_fit();
        }
    }

    /// Ready once the server stops: for connections that no stream tells.
    pub async fn stopped(&self) {
        let stop = self.stop.notified();
        if !self.is_stopping() {
            stop.await;
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Ends every stream with `system-shutdown` and waits until all are closed. Returns how many
    /// were still open after `limit`. Listeners must have stopped.
    pub async fn shut_down(&self, limit: Duration) -> usize {
        self.stopping.store(true, Ordering::Release);
        self.stop.notify_waiters();
        let error = StreamError::system_shutdown();
        // Before the bound ones: who is bound meanwhile is in both lists, and not in neither.
        let unbound: Vec<_> = self
            .unbound()
            .values()
            .filter_map(|unbound| unbound.outbox.upgrade())
            .collect();
        let mut turn = Turn::default();
        for outbox in unbound {
            outbox.tell(&mut turn, Event::End(error.clone()));
        }
        turn.finish();
        let ended = async {
            let at_first = self.connections();
            let parts = at_first.div_ceil(ENDED_AT_ONCE).clamp(1, router::SHARDS);
            for part in 0..parts {
                self.router.end_part(part, parts, &error);
                let left = at_first - at_first * (part + 1) / parts;
                while part + 1 < parts && self.connections() > left + ENDED_AT_ONCE / 8 {
                    tokio::time::sleep(ENDING_PAUSE).await;
                }
            }
            loop {
                let closed = self.none_open.notified();
                if self.connections() == 0 {
                    return;
                }
                closed.await;
            }
        };
        // A connection that ends in this moment was counted either way.
        let _ = tokio::time::timeout(limit, ended).await;
        self.connections()
    }
}
