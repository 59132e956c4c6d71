//! What a process has of other servers: the port by which the router has streams made ([`router::Dialer`]), and by which
//! connections hear who another server is ([`c2s::Servers`]).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use c2s::Service;
use c2s::tls::Certificates;
use router::{Failure, FailureKind, Pair, RemoteRules, Resume, Router, Turn};
use session::ServerConfig;
use session::server::{Purpose, Rules};
use stanza::StanzaError;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use crate::dialer::{Made, Stream};
use crate::dns::Resolver;
use crate::identity::Identity;
use crate::journal::{self, Direction, Journal, Trace};
use crate::policy::Policy;

/// How long an attempt may wait until there are fewer of them.
const TURN: Duration = Duration::from_secs(10);
/// A stream that ended sooner than this after it was made was none.
const SHORT: Duration = Duration::from_secs(30);
/// How long the next attempt waits then: so much more each time,
const PAUSE: Duration = Duration::from_secs(1);
/// and no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Pairs whose last stream is remembered; with more all are forgotten, and nobody waits once.
const PAIRS: usize = 8_192;

/// The rules of this server, as streams ask for them.
pub struct OurRules {
    router: Arc<Router>,
    policy: Policy,
}

impl OurRules {
    pub fn new(router: Arc<Router>, policy: Policy) -> Arc<OurRules> {
        Arc::new(OurRules { router, policy })
    }

    /// Whether nobody is reached there but by this server itself.
    fn is_served(&self, domain: &str) -> bool {
        let router = &self.router;
        router.host(domain).is_some() || router.federates(domain)
    }
}

impl Rules for OurRules {
    fn is_ours(&self, domain: &str) -> bool {
        self.router.federates(domain)
    }

    fn may_talk(&self, pair: &Pair) -> bool {
        self.is_ours(&pair.local) && !self.is_served(&pair.remote) && self.policy.rule(&pair.remote).is_allowed
    }

    fn may_dial_back(&self, pair: &Pair) -> bool {
        self.policy.rule(&pair.remote).takes_dialback()
    }
}

/// What [`Federation`] is made of.
pub struct Parts {
    pub service: Arc<Service>,
    pub certificates: Arc<Certificates>,
    pub rules: Arc<OurRules>,
    pub stream: Arc<ServerConfig>,
    pub resolver: Resolver,
    pub identity: Identity,
    /// Where this server itself can be reached by others.
    pub listens_at: Vec<SocketAddr>,
    /// Attempts at the same time.
    pub attempts: usize,
    /// Those of the router, to tell when the next attempt is due.
    pub links: RemoteRules,
}

/// A pair whose streams end as soon as they are made.
struct Lost {
    made: Instant,
    short: u32,
}

impl Lost {
    fn new() -> Lost {
        Lost {
            made: Instant::now(),
            short: 0,
        }
    }
}

/// See the module.
pub struct Federation {
    me: Weak<Federation>,
    runtime: Handle,
    parts: Parts,
    places: Semaphore,
    /// Other servers that are being judged, or asked about a key, at the same time.
    pub(crate) asking: Semaphore,
    journal: Journal,
    lost: Mutex<HashMap<Pair, Lost>>,
}

impl Federation {
    /// On the runtime that attempts are made on.
    pub fn new(parts: Parts) -> Arc<Federation> {
        Arc::new_cyclic(|me| Federation {
            me: me.clone(),
            runtime: Handle::current(),
            places: Semaphore::new(parts.attempts),
            asking: Semaphore::new(parts.attempts),
            parts,
            journal: Journal::default(),
            lost: Mutex::default(),
        })
    }

    pub(crate) fn policy(&self) -> &Policy {
        &self.parts.rules.policy
    }

    pub(crate) fn resolver(&self) -> &Resolver {
        &self.parts.resolver
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.parts.identity
    }

    pub(crate) fn certificates(&self) -> &Certificates {
        &self.parts.certificates
    }

    pub(crate) fn service(&self) -> &Arc<Service> {
        &self.parts.service
    }

    pub(crate) fn stream(&self) -> &Arc<ServerConfig> {
        &self.parts.stream
    }

    pub(crate) fn rules(&self) -> &OurRules {
        &self.parts.rules
    }

    pub(crate) fn router(&self) -> &Arc<Router> {
        self.parts.service.router()
    }

    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Itself, for a task of its own.
    pub(crate) fn me(&self) -> Option<Arc<Federation>> {
        self.me.upgrade()
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Makes a stream for the router, and says what came of it.
    async fn link(&self, pair: &Pair, resume: Option<Resume>) {
        let purpose = Purpose::Stanzas { resume };
        let made = tokio::select! {
            made = self.attempt(pair, &purpose) => made,
            // What waits stays where it is.
            () = self.service().stopped() => return,
        };
        let failure = match made {
            Ok(Made::Stream(stream)) => {
                let Stream {
                    channel,
                    established,
                    rest,
                } = *stream;
                if let Some(connection) = channel.into_peer(established, Arc::clone(self.stream()), &rest) {
                    self.lost().entry(pair.clone()).or_insert(Lost::new()).made = Instant::now();
                    tokio::spawn(connection);
                    return;
                }
                Failure::new(FailureKind::Timeout, "This server has too many streams.")
            }
            // Nothing was to be verified.
            Ok(Made::Verified(_)) => Failure::new(FailureKind::Timeout, "The stream was of another kind."),
            Err(failure) => failure,
        };
        let mut turn = Turn::default();
        self.router().not_linked(Service::clock(), pair, &failure, &mut turn);
        turn.finish();
    }

    /// One attempt, when its turn comes; kept in the journal.
    pub(crate) async fn attempt(&self, pair: &Pair, purpose: &Purpose) -> Result<Made, Failure> {
        sleep(self.pause(pair)).await;
        let Ok(Ok(_place)) = timeout(TURN, self.places.acquire()).await else {
            let text = "This server makes too many connections at the same time.";
            return Err(Failure::new(FailureKind::Timeout, text));
        };
        let mut trace = Trace::default();
        let made = self.make(pair, purpose, &mut trace).await;
        match &made {
            Ok(_) => tracing::debug!(
                local = &*pair.local,
                remote = &*pair.remote,
                "another server was reached"
            ),
            Err(failure) => {
                let reason = trace.reason().map(|taken| format!("{}: {}", taken.step, taken.what));
                let (reason, why) = (reason.unwrap_or_default(), &failure.text);
                tracing::debug!(
                    local = &*pair.local,
                    remote = &*pair.remote,
                    why,
                    reason,
                    "an attempt failed"
                );
            }
        }
        let attempt = journal::Attempt {
            direction: Direction::Out,
            local: pair.local.clone(),
            trace,
            has_succeeded: made.is_ok(),
        };
        self.journal.keep(&pair.remote, attempt);
        made
    }

    /// Seconds until the router has a stream made again, where so many attempts have failed.
    pub(crate) fn retry_after(&self, failures: u32) -> i64 {
        let RemoteRules {
            retry_seconds,
            longest_retry_seconds,
            ..
        } = self.parts.links;
        let factor = 1_i64 << failures.saturating_sub(1).min(16);
        retry_seconds.saturating_mul(factor).min(longest_retry_seconds)
    }

    /// The next attempt is made at once.
    pub(crate) fn forget_pause(&self, pair: &Pair) {
        self.lost().remove(pair);
    }

    /// How long the next attempt waits, where streams do not last.
    fn pause(&self, pair: &Pair) -> Duration {
        let mut lost = self.lost();
        if lost.len() > PAIRS {
            lost.clear();
        }
        let Some(last) = lost.get_mut(pair) else {
            return Duration::ZERO;
        };
        if last.made.elapsed() >= SHORT {
            lost.remove(pair);
            return Duration::ZERO;
        }
        last.short += 1;
        // The first is made at once: a stream may break at any time.
        let pause = PAUSE.saturating_mul(last.short.saturating_sub(1)).min(LONGEST_PAUSE);
        let mut random = [0; 1];
        // Without random numbers all wait for as long.
        let _ = getrandom::fill(&mut random);
        pause.mul_f32(0.5 + f32::from(random[0]) / 512.0)
    }

    /// Whether an address is one of this server's own. It listens at any of this machine where it listens at all of them.
    pub(crate) fn is_ours(&self, address: SocketAddr) -> bool {
        let is_at = |listens: &SocketAddr| {
            listens.port() == address.port()
                && (listens.ip() == address.ip() || listens.ip().is_unspecified() && is_of_this_machine(address.ip()))
        };
        self.parts.listens_at.iter().any(is_at)
    }

    fn lost(&self) -> MutexGuard<'_, HashMap<Pair, Lost>> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl router::Dialer for Federation {
    fn may_reach(&self, pair: &Pair) -> Result<(), StanzaError> {
        if self.rules().is_served(&pair.remote) {
            // What is ours was looked for before.
            return Err(StanzaError::remote_server_not_found());
        }
        match self.policy().rule(&pair.remote).is_allowed {
            true => Ok(()),
            false => Err(StanzaError::not_allowed().text("this server does not talk with that domain")),
        }
    }

    fn dial(&self, pair: &Pair, resume: Option<Resume>) {
        let (me, pair) = (self.me.clone(), pair.clone());
        self.runtime.spawn(async move {
            if let Some(me) = me.upgrade() {
                me.link(&pair, resume).await;
            }
        });
    }
}

/// Only what is of this machine can be bound. Nothing is sent.
fn is_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}
