//! The owner of every account, and the way of a stanza from one to the next.
//!
//! One owner per bare JID runs the rules that are per account (RFC 6121): roster pushes to every
//! resource, presence, "deliver or store". Owners are plain structs ([`account`]) in shards under
//! a mutex; an owner runs on the caller's task while the shard is locked, never waits and never
//! calls another owner: what concerns another account goes into the [`Turn`] and is handled after
//! the lock was given back.
//!
//! The way of a stanza, in one direction:
//!
//! 1. [`Router::from_client`] (`outgoing`): the sender's rules; broadcast presence and
//!    subscriptions stop here for the sender's owner;
//! 2. `route`: to the server itself, to a local account, or to an error;
//! 3. `incoming` (`delivery`): the recipient's owner: filters, then RFC 6121 section 8.5;
//! 4. the [`Outbox`] of a connection, or the store.
//!
//! Whatever changes durable state goes through `durable`: its results are sent after the commit.

mod access;
mod account;
mod answers;
mod arrival;
mod assist;
mod block_lists;
mod blocking;
mod broadcast;
mod caps;
mod clock;
mod component;
mod delivery;
mod deposit;
mod directed;
mod durable;
mod elsewhere;
mod establish;
mod guests;
pub mod invitations;
mod iq;
mod line;
mod load;
mod manage;
mod metrics;
mod moved;
mod notify;
mod outbox;
mod outgoing;
mod photo;
mod push;
mod remote;
mod reports;
mod resume;
mod rooms;
mod roster;
mod saved;
mod sending;
mod sessions;
mod shard;
mod standing;
mod strangers;
mod tombstone;
mod turn;
mod upgrade;
mod wake;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use foldhash::quality::RandomState;
use module::{ArchiveIds, Host, Manager, Now, Occupancy, Registry, Service};
pub use presence::RosterLimits;
use stanza::{Jid, Rendered};
use store::{Store, Table};

pub use access::{Access, Whose};
pub use block_lists::BlockList;
pub use establish::{Established, Inline};
pub use guests::Guest;
pub use load::LAST_ACTIVITY;
pub use outbox::{Event, Issued, NotResumed, Outbox, Resumed, Taken, TooHigh, give_buffer, uncounted};
pub use push::PushRules;
pub use remote::{
    Dialer, Failure, FailureKind, LinkCounts, LinkReport, Linked, Pair, RemoteRules, Resume, ResumeRemote, Vouched,
    WayBack,
};
pub use resume::{EnableRequest, ResumeRequest, STREAM_ID_BYTES, failed};
pub use rooms::Allowance;
pub use sessions::BindRequest;
pub use turn::Turn;

use shard::Shard;

/// Shards of accounts; a power of two. More than cores, so that two busy accounts rarely meet.
pub const SHARDS: usize = 256;

/// Largest stanza that the server itself wrote and reads again, in bytes. Only a guard: what
/// comes from outside was limited when it came in.
const OWN_STANZA_BYTES: usize = 16 * 1024 * 1024;

pub(crate) const OWN_LIMITS: xmlstream::Limits = xmlstream::Limits {
    bytes: OWN_STANZA_BYTES,
    elements: usize::MAX,
    depth: 1024,
    attributes: 1024,
    namespaces: 1024,
    name: 4096,
};

/// The tables of the account itself; those of features come from their declarations.
pub static TABLES: [&Table; 26] = [
    &accounts::ACCOUNTS,
    &accounts::tokens::TOKENS,
    &accounts::invitations::INVITATIONS,
    &accounts::invitations::USES,
    &accounts::invitations::RESERVED,
    &accounts::invitations::INTRODUCTIONS,
    &presence::ROSTER,
    &presence::ROSTER_VERSION,
    &archive::PREFS,
    &presence::blocking::BLOCKED,
    &push::PUSH,
    &presence::reports::REPORTS,
    &presence::reports::REPORTED,
    &strangers::ACQUAINTED,
    &presence::photo::PHOTO,
    &resume::STREAMS,
    &saved::SAVED,
    &rooms::OCCUPANTS,
    &remote::SPOOL,
    &remote::REMOTES,
    &moved::OFFLINE,
    &moved::OFFLINE_MOVED,
    &upgrade::UPGRADES,
    &LAST_ACTIVITY,
    &standing::STANDING,
    &standing::GIVEN,
];

/// Limits of an account, each a key of the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Resources bound at the same time.
    pub sessions: usize,
    pub roster: RosterLimits,
    /// Messages that wait for one account while nobody is there to take them.
    pub offline_messages: u64,
    /// Subscription requests that one account may send in a minute.
    pub subscription_requests: u32,
    /// Stanzas that wait in memory for an account that is being read from the store.
    pub loading_stanzas: usize,
    /// Addresses that one resource may hold directed presence to.
    pub directed_presence: usize,
    /// Seconds after which an account that nobody uses is forgotten.
    pub idle_account_seconds: i64,
    /// Seconds for which a stream whose connection broke can be resumed (XEP-0198); 0: not at all.
    pub resume_seconds: u32,
}

/// A bound resource, as its connection knows it; or a component.
#[derive(Clone)]
pub struct Bound {
    /// The full JID; the domain of a component.
    pub jid: Jid,
    /// Unique for the life of the process; a resource bound again has another.
    pub id: u64,
    pub outbox: Arc<Outbox>,
}

/// What the router is built from.
pub struct Parts {
    pub hosts: Vec<Host>,
    pub registry: Registry,
    pub store: Arc<dyn Store>,
    pub limits: Limits,
    /// Whether messages are archived at all (XEP-0313); what an account prefers comes on top.
    pub archives: bool,
    /// The clock for what follows from a commit; everything else is given the time.
    pub clock: Box<dyn Fn() -> Now + Send + Sync>,
}

/// All accounts of this process. Shared by all connections.
pub struct Router {
    /// Seeded, as the names that are looked up are the peer's; and several times cheaper than SipHash.
    hosts: HashMap<String, Arc<Host>, RandomState>,
    registry: Registry,
    store: Arc<dyn Store>,
    limits: Limits,
    archives: bool,
    /// Of the store: for hashes that outlive the process.
    secret: [u8; 32],
    ids: ArchiveIds,
    clock: Box<dyn Fn() -> Now + Send + Sync>,
    shards: Box<[Mutex<Shard>]>,
    hasher: RandomState,
    next_session: AtomicU64,
    /// See `access`.
    revocations: AtomicU64,
    /// Stanzas that clients have sent.
    stanzas: metrics::Striped,
    /// What accounts have reported.
    reports: AtomicU64,
    strangers: strangers::Counts,
    known_caps: caps::KnownCaps,
    lines: line::Lines,
    components: component::Components,
    questions: component::Questions,
    rooms: rooms::Rooms,
    remotes: remote::Remotes,
    block_lists: block_lists::BlockLists,
    answers: answers::Answers,
    pushes: push::Pushes,
    without_push: push::WithoutPush,
    push_rules: OnceLock<PushRules>,
    manager: OnceLock<Arc<dyn Manager>>,
    standings: standing::Standings,
    /// What most sessions say of themselves; shared by all of them.
    plain_presence: Rendered,
    /// Said on behalf of who has gone.
    gone: Rendered,
    me: Weak<Router>,
}

impl Router {
    pub fn new(parts: Parts) -> Arc<Router> {
        let hosts = parts
            .hosts
            .into_iter()
            .map(|host| (host.domain.clone(), Arc::new(host)))
            .collect();
        let secret = parts.store.secret();
        let components = component::Components::new(parts.registry.components());
        parts.store.after_commits(Box::new(wake::wake_gathered));
        let router = Arc::new_cyclic(|me| Router {
            archives: parts.archives,
            ids: ArchiveIds::new(&secret),
            secret,
            hosts,
            registry: parts.registry,
            store: parts.store,
            limits: parts.limits,
            clock: parts.clock,
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect(),
            hasher: RandomState::default(),
            next_session: AtomicU64::new(1),
            revocations: AtomicU64::new(0),
            stanzas: metrics::Striped::default(),
            reports: AtomicU64::new(0),
            strangers: strangers::Counts::default(),
            known_caps: caps::KnownCaps::default(),
            lines: line::Lines::default(),
            components,
            questions: component::Questions::default(),
            rooms: rooms::Rooms::default(),
            remotes: remote::Remotes::default(),
            block_lists: block_lists::BlockLists::default(),
            answers: answers::Answers::default(),
            pushes: push::Pushes::default(),
            without_push: push::WithoutPush::default(),
            push_rules: OnceLock::new(),
            manager: OnceLock::new(),
            standings: standing::Standings::default(),
            plain_presence: Rendered::from_text("<presence/>"),
            gone: Rendered::from_text("<presence type='unavailable'/>"),
            me: me.clone(),
        });
        for host in router.hosts.values() {
            let me: Weak<dyn Occupancy> = router.me.clone();
            // Hosts are made for one router.
            let _ = host.rooms.there.set(me);
        }
        router
    }

    /// The served domain of this name (prepared form).
    pub fn host(&self, domain: &str) -> Option<&Arc<Host>> {
        self.hosts.get(domain)
    }

    /// The service at this address (prepared form), and the domain to which it belongs.
    pub fn service(&self, address: &str) -> Option<(&Arc<Host>, &Service)> {
        let (label, domain) = address.split_once('.')?;
        let host = self.host(domain).filter(|host| host.guests.is_none())?;
        Some((host, self.registry.service(label)?))
    }

    /// How many stanzas bound resources have sent in the life of this process.
    pub fn count_stanzas(&self) -> u64 {
        self.stanzas.get()
    }

    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// How ids of the archive are shown.
    pub fn archive_ids(&self) -> &ArchiveIds {
        &self.ids
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Handles what other accounts are to hear, until nothing is left. Call after every input.
    pub fn settle(&self, now: Now, turn: &mut Turn) {
        while let Some(work) = turn.queue.pop_front() {
            self.run(now, work, turn);
        }
    }
}
