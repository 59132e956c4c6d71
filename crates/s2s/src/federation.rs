//! What a process has of other servers: the port by which the router has streams made ([`router::Dialer`]), and by which
//! connections hear who another server is ([`c2s::Servers`]).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use c2s::Service;
use c2s::tls::Certificates;
use router::{Failure, FailureKind, Pair, Resume, Router, Turn};
use session::ServerConfig;
use session::server::{Purpose, Rules};
use stanza::StanzaError;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

use crate::dialer::{Made, Stream};
use crate::dns::Resolver;
use crate::identity::Identity;
use crate::journal::{self, Direction, Journal, Trace};
use crate::places::Places;
use crate::policy::Policy;

/// Attempts that may be at one address at the same time (of IPv6: in one /64). Further ones wait in line, as long as the
/// connection may take to be made; then they fail for now. A host with thousands of domains takes a moment for each, and
/// one that says nothing keeps no more than these.
const AT_ONE_ADDRESS: usize = 8;
/// Attempts that may ask the DNS about one zone at the same time ([`line_of_domain`](crate::places::line_of_domain)), and so
/// many of one zone who connect and about whom it is asked.
const IN_ONE_ZONE: usize = 16;
/// The same for those that verify keys of dialback, which strangers have us make: of all of them, and in each line. They take
/// nothing of what our own stanzas need.
const VERIFICATIONS: usize = 16;
const VERIFICATIONS_IN_LINE: usize = 4;
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
    /// Swapped whole when the configuration is read again.
    policy: RwLock<Arc<Policy>>,
}

impl OurRules {
    pub fn new(router: Arc<Router>, policy: Policy) -> Arc<OurRules> {
        let policy = RwLock::new(Arc::new(policy));
        Arc::new(OurRules { router, policy })
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read().unwrap_or_else(PoisonError::into_inner))
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
        self.is_ours(&pair.local) && !self.is_served(&pair.remote) && self.policy().rule(&pair.remote).is_allowed
    }

    fn may_dial_back(&self, pair: &Pair) -> bool {
        self.policy().rule(&pair.remote).takes_dialback()
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
    /// Attempts at the same time. Further ones wait.
    pub attempts: usize,
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

/// Room for attempts.
pub(crate) struct Room {
    /// For questions to the DNS, by domain.
    pub(crate) asking: Arc<Places>,
    /// For all that comes behind them, by address.
    pub(crate) connecting: Arc<Places>,
}

/// See the module.
pub struct Federation {
    me: Weak<Federation>,
    runtime: Handle,
    parts: Parts,
    room: Room,
    room_of_verifications: Room,
    /// Other servers that are being judged at the same time. Further ones wait, in the line of their zone.
    pub(crate) judging: Arc<Places>,
    /// Keys that are being verified, or wait for that. Further ones are refused.
    pub(crate) verifying: Semaphore,
    journal: Journal,
    lost: Mutex<HashMap<Pair, Lost>>,
    /// What time is measured from.
    began: Instant,
}

impl Federation {
    /// On the runtime that attempts are made on.
    pub fn new(parts: Parts) -> Arc<Federation> {
        Arc::new_cyclic(|me| Federation {
            me: me.clone(),
            runtime: Handle::current(),
            room: Room {
                asking: Places::new(parts.attempts, IN_ONE_ZONE),
                connecting: Places::new(parts.attempts, AT_ONE_ADDRESS),
            },
            room_of_verifications: Room {
                asking: Places::new(VERIFICATIONS, VERIFICATIONS_IN_LINE),
                connecting: Places::new(VERIFICATIONS, VERIFICATIONS_IN_LINE),
            },
            judging: Places::new(parts.attempts, IN_ONE_ZONE),
            verifying: Semaphore::new(parts.attempts),
            parts,
            journal: Journal::default(),
            lost: Mutex::default(),
            began: Instant::now(),
        })
    }

    pub(crate) fn policy(&self) -> Arc<Policy> {
        self.rules().policy()
    }

    /// From now on these rules hold. Streams of domains that are not to be talked with any more end; of the others, what was
    /// found out about them when their streams were made holds until these end. Returns how many end.
    pub fn set_policy(&self, policy: Policy) -> usize {
        *self.rules().policy.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(policy);
        self.router().rules_changed(Service::clock())
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

    pub(crate) fn room(&self, purpose: &Purpose) -> &Room {
        match purpose {
            Purpose::Stanzas { .. } => &self.room,
            Purpose::Verify(_) => &self.room_of_verifications,
        }
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

    /// One attempt; kept in the journal.
    pub(crate) async fn attempt(&self, pair: &Pair, purpose: &Purpose) -> Result<Made, Failure> {
        sleep(self.pause(pair)).await;
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

    fn seconds(&self) -> i64 {
        i64::try_from(self.began.elapsed().as_secs()).unwrap_or(i64::MAX)
    }
}

/// Only what is of this machine can be bound. Nothing is sent.
fn is_of_this_machine(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}
