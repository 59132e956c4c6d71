//! `jackdaw serve`: the assembly of the server, from the configuration to the signal that stops it.
//!
//! Everything that can fail because of the configuration or the machine fails here, before
//! anything listens, with one line that says what and where and what to do. `settings` says what
//! each part is told of the configuration.

mod federation;
mod settings;

pub use settings::{http_host, websocket_url};

use std::sync::Arc;
use std::time::{Duration, Instant};

use c2s::tls::{Certificates, HostFiles, Kind as TlsKind, Reloaded};
use c2s::{Admit, Entry, Listener, Port, Proxied, Service};
use http_listener::Files;
use module::{Now, Registry};
use router::Router;
use session::{ComponentConfig, ServerConfig, TlsPolicy};
use stanza::{Jid, StreamError};
use store::{Batch, Column, Query, Shape, Store, Table, Value};
use store_sqlite::SqliteStore;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::accounts::{Accounts, Change, Inviting, Queue};
use crate::admin;
use crate::certificate::{self, Certificate};
use crate::config;
use crate::config::{Config, Kind, Listen, Loaded, Overrides, PushDetail, Tls};
use crate::failure::{Failure, Why};
use crate::service_manager::{self, Sockets};
use crate::{database, first_run, metrics, retention, uploads};

use settings::{
    block_lists, connection_limits, default_domain, hosts, http_settings, offer, passwords, registration_of,
    room_limits, router_limits, stanza_limits, stream_config,
};

/// How often accounts that nobody uses are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked after sessions that nobody has resumed, and written how far messages are delivered.
const TEND_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked whether the clock was put right.
const WATCH_EVERY: Duration = Duration::from_secs(1);
/// A silent client is found out after `limits.keepalive_seconds`, and this part of it at most.
const LOOKS_PER_SILENCE: u32 = 8;
/// Of `limits.shutdown_seconds`, what is kept for closing the database.
const CLOSING: Duration = Duration::from_millis(500);
/// How long what is under way may take once the connections have ended. Without an end the sessions are not saved: what they
/// were given could be less than what their clients are told to have been handled.
const SETTLING: Duration = Duration::from_secs(5);

/// Secrets that must survive a restart, by name.
static SECRETS: Table = Table {
    name: "secrets",
    shape: Shape::KeyVal,
    columns: &[Column::blob("value")],
};
/// The key of the salts that are shown to users who do not exist.
const SALT_SECRET: &str = "salt";
/// That of the keys by which this server shows others who it is (XEP-0220).
const DIALBACK_SECRET: &str = "dialback";

/// Runs until the server is told to stop. `overrides`: by which the configuration was loaded, and is again where a part of
/// it is read anew.
pub fn run(loaded: Loaded, overrides: &Overrides) -> Result<(), Failure> {
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    raise_open_files(&loaded.config);
    let sockets = Sockets::handed_over()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::unavailable(format!("the threads of the server cannot start: {error}")))?;
    runtime.block_on(serve(loaded, overrides, sockets))
}

/// Each connection is an open file, and many systems start a process with 1,024.
fn raise_open_files(config: &Config) {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) if limit < config.limits.connections as u64 => tracing::warn!(
            "this process may open {limit} files, so it can hold fewer connections than limits.connections = {}; \
             raise the limit (systemd: LimitNOFILE=) or lower the key",
            config.limits.connections
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be read"),
    }
}

fn registry(offer: &xeps::Offer) -> Result<Registry, Failure> {
    Registry::new(xeps::all(offer)).map_err(|error| Failure::failed(format!("{error}; this is a defect of Jackdaw")))
}

/// First labels of the addresses at which a domain has services, such as `conference`.
pub fn services(config: &Config) -> Vec<&'static str> {
    let registry = registry(&offer(config)).ok();
    let services = registry.iter().flat_map(|registry| registry.services());
    services.map(|service| service.label).collect()
}

/// The modules of the server, for `jackdaw docs xeps`.
pub fn xeps_page() -> Result<String, Failure> {
    Ok(crate::xeps_page::write(&registry(&xeps::Offer::everything())?))
}

fn database_and_router(
    config: &Config,
    options: store_sqlite::Options,
) -> Result<(Arc<SqliteStore>, Arc<Router>), Failure> {
    let registry = registry(&offer(config))?.with_components(config::components_shown(config));
    let mut tables: Vec<&'static Table> = router::TABLES.to_vec();
    tables.push(&SECRETS);
    tables.extend(registry.tables());
    let store = database::open(config, &tables, options)?;
    let router = Router::new(router::Parts {
        hosts: hosts(config)?,
        registry,
        store: Arc::clone(&store) as Arc<dyn Store>,
        limits: router_limits(config),
        archives: config.archive.enabled,
        clock: Box::new(Service::clock),
    });
    let (of_room, of_account) = room_limits(config);
    router.limit_rooms(of_room, of_account);
    router.follow_block_lists(block_lists(config));
    router.push_by(router::PushRules {
        services_per_account: config.limits.push_services_per_account,
        tells_sender: config.push.include.contains(&PushDetail::Sender),
        tells_body: config.push.include.contains(&PushDetail::Body),
    });
    Ok((store, router))
}

/// `service`: where there are connections.
fn accounts(
    config: &Config,
    store: &Arc<dyn Store>,
    router: &Arc<Router>,
    service: Option<&Arc<Service>>,
    files: Option<&Arc<Files>>,
) -> Accounts {
    let (router, service, files) = (Arc::clone(router), service.cloned(), files.cloned());
    let domains = config
        .domain
        .iter()
        .filter(|domain| !domain.guests)
        .map(|domain| domain.name.as_str().to_owned())
        .collect();
    let live = Arc::clone(&router);
    let accounts = Accounts::new(
        Arc::clone(store),
        domains,
        Box::new(move |jid, change, spared| {
            let is_removed = matches!(change, Change::Removed);
            changed(&router, service.as_deref(), jid, change, spared);
            if let Some(files) = files.as_ref().filter(|_| is_removed) {
                files.hurry();
            }
        }),
    );
    let inviting = Inviting {
        domains: config
            .domain
            .iter()
            .filter(|domain| registration_of(domain) != session::Registration::Closed)
            .map(|domain| domain.name.as_str().to_owned())
            .collect(),
        altogether: config.limits.invitations,
        of_one: config.limits.invitations_per_account,
    };
    let accounts = accounts.with_inviting(inviting);
    accounts.with_sessions(Box::new(move |jid| match live.sessions_of(jid.as_str()) {
        // While no server runs they are in the store.
        none if none.is_empty() => live.saved_sessions_of(jid),
        sessions => sessions,
    }))
}

/// The server without its listeners, for account commands while it is stopped.
pub struct Stopped {
    pub store: Arc<dyn Store>,
    pub router: Arc<Router>,
    pub accounts: Accounts,
}

impl Stopped {
    pub fn open(config: &Config, options: store_sqlite::Options) -> Result<Stopped, Failure> {
        let (database, router) = database_and_router(config, options)?;
        let store: Arc<dyn Store> = database;
        let accounts = accounts(config, &store, &router, None, None);
        Ok(Stopped {
            store,
            router,
            accounts,
        })
    }
}

async fn serve(loaded: Loaded, overrides: &Overrides, sockets: Sockets) -> Result<(), Failure> {
    let config = &loaded.config;
    let (database, router) = database_and_router(config, store_sqlite::Options::default())?;
    let store: Arc<dyn Store> = Arc::clone(&database) as Arc<dyn Store>;
    let files = uploads::open(config, &store).await?;
    let made = certificate::of_all_domains(config)?;
    let certificates = Arc::new(load_certificates(&made)?);
    let secret = secret_of(&*store, SALT_SECRET)?;

    let service = Service::new(c2s::Parts {
        router: Arc::clone(&router),
        limits: connection_limits(config),
    });
    // Before the ports: who waits for a port and then types an account command finds the socket.
    let socket = config.admin_socket();
    let admin_listener = admin::bind(&socket)?;
    let signals = Signals::listen()?;
    let servers = federation::prepare(config, &router, secret_of(&*store, DIALBACK_SECRET)?);
    let ports = Ports {
        secret,
        files: files.as_ref(),
        servers: servers.as_ref().map(|prepared| &prepared.stream),
    };
    let listeners = bind(config, &certificates, &ports, sockets)?;
    let figures = match config.metrics.listen {
        None => None,
        Some(address) => {
            let listener = metrics::bind(address).await;
            Some(listener.map_err(|error| cannot_listen(address, &error))?)
        }
    };
    let meetings = listen_for_bytestreams(config, &router).await?;
    restore_sessions(&router).await?;
    let federation = match servers {
        Some(prepared) => Some(federation::begin(config, prepared, &service, &certificates).await?),
        None => None,
    };

    let accounts = Arc::new(accounts(config, &store, &router, Some(&service), files.as_ref()));
    let backends = crate::backends::of_domains(config, &accounts)?;
    service.ask_elsewhere(backends, crate::backends::admits(config, &accounts));
    service.know_clients_by(Arc::clone(&certificates));
    let renewed = Arc::clone(&accounts);
    service.renew_with(move |account, epoch, newer| {
        if let Err(error) = renewed.renew(account, epoch, newer) {
            tracing::warn!(%account, %error, "the verifiers that a login brought could not be written");
        }
    });
    let passwords = passwords(config);
    router.manage_with(Arc::new(Queue::start(
        Arc::clone(&accounts),
        Arc::clone(&router),
        passwords,
        why(federation.clone()),
    )?));
    // Only now: a password must not be made before it is certain to be shown.
    let first = first_run::first_admin(&accounts, &loaded)?;
    let commands = Commands {
        accounts,
        router: Arc::clone(&router),
        federation: federation.clone(),
        from: default_domain(config),
        runtime: tokio::runtime::Handle::current(),
    };
    let admin = tokio::spawn(admin::serve(admin_listener, Arc::new(commands)));

    let figures = figures.map(|listener| {
        let sources = metrics::Sources {
            service: Arc::clone(&service),
            router: Arc::clone(&router),
            store: database,
            federation: federation.clone(),
        };
        tokio::spawn(metrics::serve(listener, Arc::new(sources)))
    });
    let retention = tokio::spawn(retention::keep(
        Arc::clone(&store),
        retention::Rules::of(&config.archive, config.rooms.enabled),
    ));
    let uploads = files.map(|files| tokio::spawn(uploads::keep(files, Arc::clone(&store))));
    let accepting: Vec<JoinHandle<()>> = listeners
        .into_iter()
        .map(|listener| tokio::spawn(listener.run(Arc::clone(&service))))
        .collect();
    crate::log::say(&first_run::welcome(&loaded, &made, first.as_ref()).to_string());
    drop(first);
    service_manager::tell("READY=1");

    let read_again = ReadAgain {
        certificates: &certificates,
        federation: federation.as_ref(),
        overrides,
    };
    until_told_to_stop(&read_again, &router, config, signals).await?;

    tracing::info!("stopping");
    service_manager::tell("STOPPING=1");
    for task in accepting
        .iter()
        .chain([&admin, &retention])
        .chain(&figures)
        .chain(&meetings)
        .chain(&uploads)
    {
        task.abort();
    }
    let left = service
        .shut_down(config.limits.shutdown().saturating_sub(CLOSING))
        .await;
    if left > 0 {
        tracing::warn!("{left} connections did not end in time and are cut");
    }
    // A socket that stays behind is replaced at the next start.
    let _ = std::fs::remove_file(&socket);
    let closing = spawn_blocking(move || {
        // Behind what is on its way, and what that sets going in turn (a message that waits for the room it is for): only
        // then it is certain what was handled, and everybody has been given what is in an archive.
        if !store.rest(SETTLING) {
            tracing::warn!(
                "what is under way does not come to an end: no sessions are saved, and the clients log in anew"
            );
        } else if store.write_wait(store::Batch::new()).is_ok() {
            let saved = router.save_sessions();
            tracing::info!("{saved} sessions are saved, to be resumed");
        }
        router.save_cursors();
        store.close();
    });
    closing
        .await
        .map_err(|error| Failure::failed(format!("the database was not closed in order: {error}")))
}

/// Sessions of the last process, before anybody is let in.
async fn restore_sessions(router: &Arc<Router>) -> Result<(), Failure> {
    let router = Arc::clone(router);
    let restored = spawn_blocking(move || {
        let moved = router.move_offline()?;
        if moved > 0 {
            tracing::info!("{moved} waiting messages of an earlier version are in the archive now");
        }
        let upgraded = router.upgrade()?;
        if upgraded > 0 {
            tracing::info!("{upgraded} accounts of an earlier version have what they kept in all its places now");
        }
        router.read_standing()?;
        let restored = router.restore_sessions(Service::clock())?;
        let introduced = router.introduce_all()?;
        if introduced > 0 {
            tracing::info!("{introduced} accounts of before the restart become contacts of who has invited them");
        }
        Ok::<usize, store::StoreError>(restored)
    })
    .await;
    match restored {
        Ok(Ok(0)) => Ok(()),
        Ok(Ok(count)) => {
            tracing::info!("{count} sessions of before the restart may be resumed");
            Ok(())
        }
        Ok(Err(error)) => Err(Failure::unavailable(format!(
            "what an earlier run has saved cannot be read: {error}"
        ))),
        Err(error) => Err(Failure::failed(format!(
            "what an earlier run has saved was not read: {error}"
        ))),
    }
}

/// Listened for before the ports are open: who sees them open may already send one.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> Result<Signals, Failure> {
        let listen =
            |kind| signal(kind).map_err(|error| Failure::unavailable(format!("no signals can be received: {error}")));
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }
}

/// What SIGHUP has read again.
struct ReadAgain<'a> {
    certificates: &'a Arc<Certificates>,
    federation: Option<&'a Arc<s2s::Federation>>,
    overrides: &'a Overrides,
}

/// Waits for SIGTERM or Ctrl-C, and does what is due meanwhile.
async fn until_told_to_stop(
    read_again: &ReadAgain<'_>,
    router: &Router,
    config: &Config,
    mut signals: Signals,
) -> Result<(), Failure> {
    let keepalive = config.limits.keepalive();
    let seconds = u32::try_from(keepalive.as_secs()).unwrap_or(u32::MAX);
    let mut look = tokio::time::interval(c2s::tls::CHECK_EVERY);
    let mut sweep = tokio::time::interval(SWEEP_EVERY);
    let mut tend = tokio::time::interval(TEND_EVERY.min(Duration::from_secs(config.limits.resume_seconds)));
    let mut silence = tokio::time::interval(keepalive / LOOKS_PER_SILENCE);
    let mut watch = tokio::time::interval(WATCH_EVERY);
    let mut clock = Clock::new();
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return Ok(()),
            _ = signals.interrupt.recv() => return Ok(()),
            _ = signals.hangup.recv() => {
                reload(read_again.certificates, true).await;
                reload_rules(read_again).await;
            }
            _ = look.tick() => reload(read_again.certificates, false).await,
            _ = watch.tick() => router.look_at_links(clock.look(router)),
            _ = sweep.tick() => router.sweep(clock.look(router)),
            _ = tend.tick() => router.tend(clock.look(router)),
            _ = silence.tick() => router.look_for_silence(clock.look(router), seconds),
        }
    }
}

/// The wall clock, and beside it one that nobody puts right.
struct Clock {
    said: Now,
    at: Instant,
}

impl Clock {
    fn new() -> Clock {
        Clock {
            said: Service::clock(),
            at: Instant::now(),
        }
    }

    /// What the clock says. If it has jumped the router is told first.
    fn look(&mut self, router: &Router) -> Now {
        let now = Clock::new();
        let passed = i64::try_from((now.at - self.at).as_millis()).unwrap_or(i64::MAX);
        let expected = Now(self.said.0.saturating_add(passed));
        if router.clock_was_set(now.said, expected) {
            tracing::warn!(
                "the clock of this machine was {} and is {} now; messages are stamped with it",
                expected.stamp(),
                now.said.stamp()
            );
        }
        *self = now;
        self.said
    }
}

/// Reads the certificates again: because somebody said so, or because a file has changed.
async fn reload(certificates: &Arc<Certificates>, asked: bool) {
    let certificates = Arc::clone(certificates);
    let reloaded = spawn_blocking(move || (asked || certificates.changed()).then(|| certificates.reload())).await;
    let Ok(Some(Reloaded {
        changed,
        failed,
        warnings,
    })) = reloaded
    else {
        return;
    };
    for host in changed {
        tracing::info!(host, "a certificate was read again");
    }
    for error in failed {
        tracing::error!("{error}; the old certificate stays in force");
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// Reads again with which other servers this one talks: `[federation]` as far as it is rules. A configuration that would not
/// do at a start changes nothing.
async fn reload_rules(read_again: &ReadAgain<'_>) {
    let Some(federation) = read_again.federation else {
        return;
    };
    let overrides = read_again.overrides.clone();
    let Ok(loaded) = spawn_blocking(move || config::load(&overrides)).await else {
        return;
    };
    match loaded {
        Ok(loaded) if loaded.config.federation.enabled => {
            let ended = federation.set_policy(loaded.config.federation.policy());
            tracing::info!("the rules about other servers were read again; {ended} streams end");
        }
        Ok(_) => tracing::warn!("federation.enabled = false takes effect at a restart; the rules stay as they are"),
        Err(error) => tracing::error!("{error}; the old rules about other servers stay in force"),
    }
}

fn load_certificates(made: &[Certificate]) -> Result<Certificates, Failure> {
    let files = made.iter().map(|made| HostFiles {
        host: made.domain.clone(),
        certificate: made.certificate.clone(),
        key: made.key.clone(),
        clients: made.clients.clone(),
    });
    let (certificates, warnings) =
        Certificates::load(files.collect()).map_err(|error| Failure::new(Why::Configuration, error.to_string()))?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    Ok(certificates)
}

/// What ports are made of.
struct Ports<'a> {
    secret: [u8; 32],
    files: Option<&'a Arc<Files>>,
    /// None: this server talks with no other.
    servers: Option<&'a Arc<ServerConfig>>,
}

impl Ports<'_> {
    fn http(&self, config: &Config, tls: Option<&Arc<rustls::ServerConfig>>) -> http_listener::Server {
        http_listener::Server::new(http_settings(config, tls.cloned(), self.secret, self.files))
    }

    /// A port where other servers come in. That there are none where this server talks with none is checked before.
    fn of_servers(&self, port: Port, tls: &Arc<rustls::ServerConfig>) -> Option<Entry> {
        Some(Entry::of_servers(port, Arc::clone(self.servers?), Arc::clone(tls)))
    }
}

fn bind(
    config: &Config,
    certificates: &Arc<Certificates>,
    ports: &Ports<'_>,
    mut sockets: Sockets,
) -> Result<Vec<Listener>, Failure> {
    let secret = ports.secret;
    let starttls = c2s::tls::server_config(Arc::clone(certificates), TlsKind::Starttls);
    let direct = c2s::tls::server_config(Arc::clone(certificates), TlsKind::Direct);
    let https = c2s::tls::server_config(Arc::clone(certificates), TlsKind::Https);
    let servers = ports.servers.is_some();
    let either = c2s::tls::server_config(Arc::clone(certificates), TlsKind::Multiplex { servers });
    let server = c2s::tls::server_config(Arc::clone(certificates), TlsKind::Server);
    let server_direct = c2s::tls::server_config(Arc::clone(certificates), TlsKind::ServerDirect);
    let handed: Vec<_> = config
        .listen
        .iter()
        .map(|listen| sockets.take(listen.address))
        .collect();
    // Before anything is bound: a socket that was meant for one of these would be in its way.
    sockets.finish()?;
    config
        .listen
        .iter()
        .zip(handed)
        .map(|(listen, handed)| {
            let address = listen.address;
            let mut admit: Box<dyn Admit> = match listen.kind {
                Kind::C2s => Box::new(entry(config, listen, Port::Starttls, &starttls, secret)),
                Kind::C2sDirect => Box::new(entry(config, listen, Port::Direct, &direct, secret)),
                Kind::Component => Box::new(components(config)?),
                Kind::Https => Box::new(ports.http(config, Some(&https))),
                Kind::Http => Box::new(ports.http(config, None)),
                Kind::S2s => of_servers(ports.of_servers(Port::Starttls, &server))?,
                Kind::S2sDirect => of_servers(ports.of_servers(Port::Direct, &server_direct))?,
                Kind::Multiplex => Box::new(http_listener::Multiplexed::new(
                    entry(config, listen, Port::Direct, &either, secret),
                    ports.of_servers(Port::Direct, &either),
                    ports.http(config, Some(&either)),
                )),
            };
            if !listen.proxy_protocol.is_empty() {
                let proxies = listen.proxy_protocol.iter().map(|proxy| proxy.0).collect();
                admit = Box::new(Proxied::new(proxies, admit));
            }
            match handed {
                Some(socket) => Listener::handed_over(socket, admit),
                None => Listener::bind(address, admit),
            }
            .map_err(|error| cannot_listen(address, &error))
        })
        .collect()
}

fn of_servers(entry: Option<Entry>) -> Result<Box<dyn Admit>, Failure> {
    let missing = || Failure::failed("a listener for servers without federation; this is a defect of Jackdaw");
    Ok(Box::new(entry.ok_or_else(missing)?))
}

impl Commands {
    fn push_services(&self) -> Result<admin::Reply, Failure> {
        let services = self.router.push_services();
        let services =
            services.map_err(|error| Failure::unavailable(format!("the database cannot be read: {error}")))?;
        let services = services.iter().take(admin::PAGE);
        let lines = services.map(|(domain, devices)| format!("{devices} {domain}"));
        Ok(admin::Reply::Lines(lines.collect()))
    }
}

/// What an ad-hoc command is told of another server. On the runtime that is to be waited on.
fn why(federation: Option<Arc<s2s::Federation>>) -> crate::accounts::Why {
    let runtime = tokio::runtime::Handle::current();
    Box::new(move |domain| match &federation {
        Some(federation) => runtime.block_on(federation.why(domain, None)),
        None => vec![ALONE.to_owned()],
    })
}

/// What is said of any other server where there are none.
const ALONE: &str = "this server talks with no other: federation.enabled is false";

/// Whoever comes by the admin socket: most of it is about accounts.
struct Commands {
    accounts: Arc<Accounts>,
    router: Arc<Router>,
    federation: Option<Arc<s2s::Federation>>,
    /// The domain by which another server is tried.
    from: String,
    runtime: tokio::runtime::Handle,
}

impl admin::Backend for Commands {
    fn handle(&self, command: admin::Command) -> Result<admin::Reply, Failure> {
        let (domain, now) = match command {
            admin::Command::Why { domain, now } => (domain, now),
            admin::Command::PushServices => return self.push_services(),
            command => return self.accounts.handle(command),
        };
        let Some(federation) = &self.federation else {
            return Err(Failure::failed(ALONE));
        };
        let from = now.then_some(self.from.as_str());
        // On a thread that may wait.
        let mut lines = self.runtime.block_on(federation.why(&domain, from));
        lines.truncate(admin::PAGE);
        Ok(admin::Reply::Lines(lines))
    }
}

/// A port of streams.
fn entry(config: &Config, listen: &Listen, port: Port, tls: &Arc<rustls::ServerConfig>, secret: [u8; 32]) -> Entry {
    let policy = match listen.tls {
        Tls::Required => TlsPolicy::Required,
        Tls::Optional => TlsPolicy::Optional,
        Tls::Off => {
            tracing::warn!(
                "NOT ENCRYPTED: {} has tls = \"off\", so passwords and messages can be read on the way",
                listen.address
            );
            TlsPolicy::Off
        }
    };
    Entry::new(
        port,
        Arc::new(stream_config(config, policy, secret)),
        Some(Arc::clone(tls)),
    )
}

/// A port of components.
fn components(config: &Config) -> Result<Entry, Failure> {
    let secrets = config::component_secrets(config).map_err(|message| Failure::new(Why::Configuration, message))?;
    let (before_login, after_login) = stanza_limits(config);
    let components = ComponentConfig {
        before_login,
        after_login,
        secrets,
        default_domain: default_domain(config),
    };
    Ok(Entry::of_components(
        Arc::new(components),
        config.limits.component_outbox_bytes,
    ))
}

fn cannot_listen(address: std::net::SocketAddr, error: &std::io::Error) -> Failure {
    let advice = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there; stop it or choose another port",
        std::io::ErrorKind::PermissionDenied => {
            "ports below 1024 need a privilege; let systemd open them (jackdaw.socket), or give CAP_NET_BIND_SERVICE"
        }
        std::io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        _ => "see [[listen]] in the configuration",
    };
    Failure::unavailable(format!("cannot listen on {address}: {error}; {advice}"))
}

/// The proxy, known to the domains as soon as it listens.
async fn listen_for_bytestreams(config: &Config, router: &Router) -> Result<Option<JoinHandle<()>>, Failure> {
    let Some(address) = config.bytestreams.listen else {
        return Ok(None);
    };
    let listener = tokio::net::TcpListener::bind(address).await;
    let listener = listener.map_err(|error| cannot_listen(address, &error))?;
    let limits = &config.limits;
    let relay = c2s::Bytestreams::new(c2s::BytestreamLimits {
        connections: limits.bytestream_connections,
        connections_per_address: limits.bytestream_connections_per_address,
        per_account: limits.bytestreams_per_account,
        bytes: limits.bytestream_bytes,
        bytes_per_second: limits.bytestream_bytes_per_second,
        seconds: limits.bytestream_seconds,
    });
    for domain in &config.domain {
        if let Some(proxy) = router
            .host(domain.name.as_str())
            .and_then(|host| host.bytestreams.as_ref())
        {
            // Nobody else sets it.
            let _ = proxy.relay.set(Arc::new(c2s::Activates(Arc::clone(&relay))));
        }
    }
    Ok(Some(tokio::spawn(relay.serve(listener))))
}

/// Reads a key, or makes it at the first start.
fn secret_of(store: &dyn Store, name: &str) -> Result<[u8; 32], Failure> {
    let failed = |error: store::StoreError| Failure::unavailable(format!("the database cannot be used: {error}"));
    let found = store
        .read_wait(Query::get(&SECRETS, name, None))
        .and_then(store::Found::row)
        .map_err(failed)?;
    if let Some([Value::Blob(value)]) = found.as_deref()
        && let Ok(secret) = <[u8; 32]>::try_from(&**value)
    {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| Failure::unavailable(format!("the system gives no random numbers: {error}")))?;
    let row = vec![Value::Blob(secret.to_vec().into_boxed_slice())];
    store
        .write_wait(Batch::new().put(&SECRETS, name, None, row))
        .map_err(failed)?;
    Ok(secret)
}

/// What a change of an account means for those who are online (faults.md, row 62). `spared`: a session that goes on, or
/// is ended later.
fn changed(router: &Arc<Router>, service: Option<&Service>, jid: &Jid, change: Change<'_>, spared: Option<&str>) {
    let bare = jid.as_str();
    let end = |text: &'static str, disabled: bool| {
        let error = StreamError::not_authorized().text(text);
        match (service, spared) {
            (Some(service), None) => service.expel(bare, &error),
            (Some(service), Some(spared)) => service.expel_others(bare, spared, disabled, &error),
            (None, _) => router.expel(bare, &error),
        }
    };
    match change {
        Change::Added => router.leave_nodes(jid),
        Change::Admin(admin) => router.set_admin(bare, admin),
        Change::Ended(whose) => router.end_sessions(bare, whose.clone()),
        Change::PasswordChanged => end("the password was changed", false),
        Change::Disabled => end("the account was disabled", true),
        // Read anew when somebody logs in.
        Change::Enabled => end("the account was enabled", false),
        Change::Removing => {
            end("the account was removed", true);
            router.tell_contacts_of_removal(jid);
            router.leave_nodes(jid);
            router.leave_rooms(jid);
        }
        Change::Removed => end("the account was removed", true),
    }
}
