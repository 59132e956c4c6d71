//! The server in this process: assembled as the `jackdaw` binary does, with pipes instead of listeners.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use auth::Credentials;
use c2s::tls::{Certificates, HostFiles, Kind, server_config};
use c2s::{Entry, Port, Service};
use module::{Host, Registry, Software};
use presence::{Item, State};
use router::Router;
use session::{StreamConfig, TlsPolicy};
use stanza::Jid;
use store::{Batch, Row, Store, Table};
use store_sqlite::SqliteStore;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::pipe::ServerEnd;
use crate::Outcome;
use crate::client::{DOMAIN, PASSWORD};
use crate::tls;

/// Batches that wait for the store when logouts pause: a quarter of what it takes.
const BEHIND: u64 = 16_384;
/// Rounds of every password, as in the other measurements.
const ROUNDS: u32 = 4096;
/// Accounts that are written in one batch.
const BATCH: usize = 500;
/// As in the server's main loop.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// What the server waits before it forgets an account without sessions, and then at most until the next sweep.
const IDLE_ACCOUNT_SECONDS: i64 = 10;
/// An account that nobody uses is gone from memory after this time.
pub(super) const FORGOTTEN_AFTER: Duration = Duration::from_secs(IDLE_ACCOUNT_SECONDS as u64 + SWEEP_EVERY.as_secs());
/// Where a limit would be met by the measurement and is not what is measured.
const PLENTY: u64 = 1 << 40;

/// A running server.
pub(super) struct Server {
    service: Arc<Service>,
    store: Arc<SqliteStore>,
    /// All accounts have the same.
    account: Row,
    door: UnboundedSender<(ServerEnd, IpAddr)>,
}

/// One account and its contacts, all with mutual subscriptions.
pub(super) struct NewAccount {
    pub user: String,
    pub contacts: Vec<String>,
}

pub(super) fn jid(user: &str) -> String {
    format!("{user}@{DOMAIN}")
}

impl Server {
    /// Starts with an empty database in this folder. The connections run on `runtime`.
    pub(super) fn start(runtime: &Handle, folder: &Path) -> Outcome<Self> {
        let registry = Registry::new(xeps::all(&xeps::Offer::default())).map_err(|error| error.to_string())?;
        let mut tables: Vec<&'static Table> = router::TABLES.to_vec();
        tables.extend(registry.tables());
        let database = folder.join("jackdaw.sqlite");
        let store = store_sqlite::open(&database, &tables, store_sqlite::Options::default());
        let store = Arc::new(store.map_err(|error| error.to_string())?);
        let router = Router::new(router::Parts {
            hosts: vec![host()],
            registry,
            store: Arc::clone(&store) as Arc<dyn Store>,
            limits: router_limits(),
            // What grows with sessions is measured, not what a commit costs.
            archives: false,
            clock: Box::new(Service::clock),
        });
        let service = Service::new(c2s::Parts {
            router: Arc::clone(&router),
            limits: connection_limits(),
        });
        let tls = server_config(Arc::new(certificates(folder)?), Kind::Starttls);
        let entry = Entry::new(Port::Starttls, Arc::new(stream_config()), Some(tls));
        let (door, arrivals) = unbounded_channel();
        runtime.spawn(admit(entry, Arc::clone(&service), arrivals));
        runtime.spawn(sweep(Arc::downgrade(&router)));
        let credentials = Credentials::derive(PASSWORD, ROUNDS, [[1; 16]; 3]).map_err(|error| format!("{error:?}"))?;
        let somebody = Jid::new(Some("somebody"), DOMAIN, None).map_err(|error| format!("{error:?}"))?;
        Ok(Self {
            service,
            store,
            account: accounts::Account::new(somebody, 0, credentials).row(),
            door,
        })
    }

    /// Where clients come in.
    pub(super) fn door(&self) -> UnboundedSender<(ServerEnd, IpAddr)> {
        self.door.clone()
    }

    /// Writes accounts into the store, as an import would. Blocks.
    pub(super) fn add(&self, accounts: impl IntoIterator<Item = NewAccount>) -> Outcome<()> {
        let mut batch = Batch::new();
        let mut count = 0;
        for NewAccount { user, contacts } in accounts {
            let owner = jid(&user);
            batch = batch.put(&accounts::ACCOUNTS, &owner, None, self.account.clone());
            for contact in contacts {
                let item = Item {
                    name: Some(contact.as_str().into()),
                    state: State::BOTH,
                    listed: true,
                    ..Item::new(&jid(&contact))
                };
                batch.ops.push(item.put(&owner));
            }
            count += 1;
            if count % BATCH == 0 {
                self.write(std::mem::take(&mut batch))?;
            }
        }
        self.write(batch)
    }

    fn write(&self, batch: Batch) -> Outcome<()> {
        let written = self.store.write_wait(batch);
        written.map(drop).map_err(|error| format!("store: {error}"))
    }

    pub(super) fn connections(&self) -> usize {
        self.service.connections()
    }

    /// Whether much waits for the store. Every logout writes when it was, and memory lets them be faster than a disk.
    pub(super) fn is_behind(&self) -> impl Fn() -> bool + Clone + Send + 'static {
        let store = Arc::clone(&self.store);
        move || store.stats().waiting_batches > BEHIND
    }

    /// What the store refused or could not do. Anything makes the figures doubtful.
    pub(super) fn refused(&self) -> u64 {
        let stats = self.store.stats();
        stats.overloaded + stats.failed_batches
    }

    /// Closes the database. Blocks.
    pub(super) fn close(self) {
        self.store.close();
    }
}

async fn admit(entry: Entry, service: Arc<Service>, mut arrivals: UnboundedReceiver<(ServerEnd, IpAddr)>) {
    while let Some((socket, address)) = arrivals.recv().await {
        if let Some(connection) = entry.admit(&service, socket, address) {
            tokio::spawn(connection);
        }
    }
}

async fn sweep(router: std::sync::Weak<Router>) {
    let mut due = tokio::time::interval(SWEEP_EVERY);
    loop {
        due.tick().await;
        match router.upgrade() {
            Some(router) => router.sweep(Service::clock()),
            None => return,
        }
    }
}

fn certificates(folder: &Path) -> Outcome<Certificates> {
    let (chain, key) = tls::certificate()?;
    let files = HostFiles {
        host: DOMAIN.to_owned(),
        certificate: folder.join("certificate.pem"),
        key: folder.join("key.pem"),
        clients: None,
    };
    for (path, text) in [(&files.certificate, chain), (&files.key, key)] {
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let (certificates, _) = Certificates::load(vec![files]).map_err(|error| error.to_string())?;
    Ok(certificates)
}

fn host() -> Host {
    Host::new(
        DOMAIN,
        Software {
            name: "Jackdaw",
            version: env!("CARGO_PKG_VERSION"),
        },
        Service::clock(),
    )
}

/// The defaults of the configuration.
fn stream_config() -> StreamConfig {
    let after_login = xmlstream::Limits {
        bytes: 262_144,
        elements: 4_096,
        depth: 64,
        attributes: 64,
        namespaces: 256,
        name: 256,
    };
    StreamConfig {
        tls: TlsPolicy::Required,
        before_login: xmlstream::Limits {
            bytes: 8_192,
            elements: 32,
            ..after_login
        },
        after_login,
        idle_seconds: 300,
        login_attempts: 5,
        secret: [0; 32],
        iterations: ROUNDS,
        policy: auth::Policy::default(),
        policies: Default::default(),
        registration: Default::default(),
        lifetimes: accounts::tokens::DEFAULT_LIFETIMES,
        default_domain: DOMAIN.to_owned(),
    }
}

/// The defaults of the configuration, but for what bounds a crowd or a busy sender.
fn connection_limits() -> c2s::Limits {
    c2s::Limits {
        connections: usize::MAX,
        before_login_per_address: 256,
        connections_per_second_per_address: 100,
        login_failures_per_address: 60,
        login_failures_per_account: 10,
        registrations_per_address: 10,
        registrations: 100,
        negotiation: Duration::from_secs(30),
        unacknowledged: Duration::from_secs(90),
        read_bytes_per_second: PLENTY,
        read_burst_bytes: PLENTY,
        outbox_bytes: 4_194_304,
        guests: 1,
        guests_per_address: 1,
    }
}

/// The defaults of the configuration.
fn router_limits() -> router::Limits {
    router::Limits {
        sessions: 20,
        roster: router::RosterLimits {
            items: 5_000,
            groups_per_item: 32,
            name_bytes: 1_024,
            group_bytes: 1_024,
            requests: 1_000,
            request_bytes: 2_048,
        },
        offline_messages: 10_000,
        subscription_requests: 60,
        loading_stanzas: 1024,
        directed_presence: 1_000,
        idle_account_seconds: IDLE_ACCOUNT_SECONDS,
        resume_seconds: 60,
    }
}
