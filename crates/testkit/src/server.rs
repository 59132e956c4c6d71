//! A server process of its own for a test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::component::{COMPONENT_PORT, COMPONENT_SECRET};
use crate::{Authority, Certified, Dns, binary, password_of, process};

/// How long a server may take to listen.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often to look whether a process has done what it is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What is printed of the log of a failed test.
const LOG_TAIL: usize = 64 * 1024;

/// The domain of a server unless the test names others.
pub(crate) const DOMAIN: &str = "example.org";

/// Where servers listen for servers: with STARTTLS, and with TLS at once.
pub(crate) const S2S_PORT: u16 = 5269;
pub(crate) const S2S_DIRECT_PORT: u16 = 5270;
/// What a domain has services under, which are domains of their own to other servers.
const SERVICES: [&str; 3] = ["conference", "pubsub", "upload"];

/// All tests come from one address, so nothing that counts per address may stand in their way.
const WIDE_LIMITS: [(&str, u64); 5] = [
    ("connections_before_login_per_address", 100_000),
    ("connections_per_second_per_address", 100_000),
    ("login_failures_per_minute_per_account", 100_000),
    ("login_failures_per_minute_per_address", 100_000),
    ("password_iterations", 4_096),
];

/// What a server is started with.
pub struct Builder {
    domains: Vec<String>,
    limits: BTreeMap<String, u64>,
    users: usize,
    accounts: Vec<(String, String)>,
    tls: &'static str,
    extra: String,
    domain_extra: String,
    http: String,
    metrics: Option<u16>,
    bytestreams: Option<u16>,
    listeners: Vec<(&'static str, u16, String)>,
    components: Vec<(String, String)>,
    hands_over: bool,
    /// What tells where others are, and who vouches for them. None: it talks with no other server.
    federation: Option<(Arc<Dns>, Arc<Authority>)>,
    federation_extra: String,
    certificate: Option<Certified>,
}

impl Builder {
    /// It is of this domain instead, talks with other servers, and is found by them.
    pub(crate) fn federated(mut self, domain: &str, dns: &Arc<Dns>, authority: &Arc<Authority>) -> Self {
        self.domains = vec![domain.to_owned()];
        self.federation = Some((Arc::clone(dns), Arc::clone(authority)));
        self
    }

    /// TOML in the section `[federation]`; sections of peers last.
    pub fn federation_toml(mut self, text: &str) -> Self {
        self.federation_extra.push_str(text);
        self
    }

    /// Its certificate is not what the authority would have given it.
    pub fn shows(mut self, certified: &Certified) -> Self {
        self.certificate = Some(certified.clone());
        self
    }

    /// The socket of the c2s listener is the test's, which hands it over as systemd does.
    pub fn hand_over(mut self) -> Self {
        self.hands_over = true;
        self
    }

    /// Another listener: its kind, its port, and further keys in TOML.
    pub fn listener(mut self, kind: &'static str, port: u16, toml: &str) -> Self {
        self.listeners.push((kind, port, toml.to_owned()));
        self
    }

    /// A domain that a component may speak for, with [`COMPONENT_SECRET`].
    pub fn component(self, domain: &str) -> Self {
        self.component_with(domain, "")
    }

    /// The same with further keys of it in TOML.
    pub fn component_with(mut self, domain: &str, toml: &str) -> Self {
        self.components.push((domain.to_owned(), toml.to_owned()));
        self
    }

    /// Figures at this port of the server's address.
    pub fn metrics(mut self, port: u16) -> Self {
        self.metrics = Some(port);
        self
    }

    /// The proxy of bytestreams at this port of the server's address.
    pub fn bytestreams(mut self, port: u16) -> Self {
        self.bytestreams = Some(port);
        self
    }

    /// A key of `[limits]`.
    pub fn limit(mut self, key: &str, value: u64) -> Self {
        self.limits.insert(key.to_owned(), value);
        self
    }

    /// Another domain beside `example.org`.
    pub fn domain(mut self, name: &str) -> Self {
        self.domains.push(name.to_owned());
        self
    }

    /// How many accounts [`Server::user`] can give out.
    pub fn users(mut self, users: usize) -> Self {
        self.users = users;
        self
    }

    /// An account with the password of [`password_of`].
    pub fn account(self, jid: &str) -> Self {
        let password = password_of(jid);
        self.account_with(jid, &password)
    }

    pub fn account_with(mut self, jid: &str, password: &str) -> Self {
        self.accounts.push((jid.to_owned(), password.to_owned()));
        self
    }

    /// `tls` of the c2s listener: `required` (as it is without this), `optional`, `off`.
    pub fn tls(mut self, tls: &'static str) -> Self {
        self.tls = tls;
        self
    }

    /// TOML in front of the first section.
    pub fn toml(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self
    }

    /// TOML in the section `[http]`.
    pub fn http_toml(mut self, text: &str) -> Self {
        self.http.push_str(text);
        self
    }

    /// TOML behind the keys of the first domain.
    pub fn domain_toml(mut self, text: &str) -> Self {
        self.domain_extra.push_str(text);
        self
    }

    /// Makes the accounts and starts the server; returns when it listens.
    pub fn start(mut self) -> Server {
        let folder = tempfile::Builder::new()
            .prefix("jackdaw-test-")
            .tempdir()
            .expect("a temporary folder");
        let address = address();
        let domain = self.domains[0].clone();
        self.accounts.extend((0..self.users).map(|number| {
            let jid = user(number, &domain);
            let password = password_of(&jid);
            (jid, password)
        }));
        // The first account is made by the server itself where there is none: it costs the same here.
        if self.accounts.is_empty() {
            self.accounts.push((format!("nobody@{domain}"), "unused".to_owned()));
        }
        let mut config = String::new();
        let _ = writeln!(config, "data = \"data\"\n{}\n[log]\nlevel = \"debug\"", self.extra);
        let certificate = self.certificate_in(folder.path());
        for (number, name) in self.domains.iter().enumerate() {
            let extra = if number == 0 { self.domain_extra.as_str() } else { "" };
            let _ = writeln!(config, "[[domain]]\nname = \"{name}\"\n{certificate}{extra}");
        }
        let tls = self.tls;
        let _ = writeln!(
            config,
            "[[listen]]\nkind = \"c2s\"\naddress = \"{address}:5222\"\ntls = \"{tls}\""
        );
        let _ = writeln!(
            config,
            "[[listen]]\nkind = \"c2s-direct\"\naddress = \"{address}:5223\""
        );
        if let Some(port) = self.metrics {
            let _ = writeln!(config, "[metrics]\nlisten = \"{address}:{port}\"");
        }
        if let Some(port) = self.bytestreams {
            let _ = writeln!(config, "[bytestreams]\nlisten = \"{address}:{port}\"");
        }
        for (kind, port, toml) in &self.listeners {
            let _ = writeln!(
                config,
                "[[listen]]\nkind = \"{kind}\"\naddress = \"{address}:{port}\"\n{toml}"
            );
        }
        let _ = writeln!(
            config,
            "[[listen]]\nkind = \"https\"\naddress = \"{address}:5443\"\n\
             [[listen]]\nkind = \"http\"\naddress = \"{address}:5280\"\n[http]\n{}\n[limits]",
            self.http
        );
        for (key, value) in &self.limits {
            let _ = writeln!(config, "{key} = {value}");
        }
        if !self.components.is_empty() {
            let _ = writeln!(
                config,
                "[[listen]]\nkind = \"component\"\naddress = \"{address}:{COMPONENT_PORT}\""
            );
            let secret = folder.path().join("component.secret");
            fs::write(secret, COMPONENT_SECRET).expect("the temporary folder can be written");
        }
        for (domain, toml) in &self.components {
            let _ = writeln!(
                config,
                "[[component]]\ndomain = \"{domain}\"\nsecret_file = \"component.secret\"\n{toml}"
            );
        }
        self.federate(&mut config, address);
        fs::write(folder.path().join("jackdaw.toml"), config).expect("the temporary folder can be written");
        let mut server = Server {
            folder,
            address,
            domain,
            handed_over: self
                .hands_over
                .then(|| TcpListener::bind((address, 5222)).expect("nobody listens there")),
            users: self.users,
            given: AtomicUsize::new(0),
            child: None,
        };
        server.import(&self.accounts);
        server.start();
        server
    }

    /// All domains of a server, and their services.
    fn names(&self) -> Vec<String> {
        let services = |domain: &String| {
            let services = SERVICES.iter().map(move |service| format!("{service}.{domain}"));
            std::iter::once(domain.clone()).chain(services).collect::<Vec<_>>()
        };
        let domains = self.domains.iter().flat_map(services);
        domains
            .chain(self.components.iter().map(|(domain, _)| domain.clone()))
            .collect()
    }

    /// The keys of a domain that tell its certificate; empty where it makes one itself.
    fn certificate_in(&self, folder: &Path) -> String {
        let Some((_, authority)) = &self.federation else {
            return String::new();
        };
        let names = self.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let usual = || authority.certify(&names);
        let certified = self.certificate.clone().unwrap_or_else(usual);
        let (certificate, key) = certified.pem();
        for (file, text) in [
            ("server.crt", certificate),
            ("server.key", key),
            ("authorities.pem", authority.pem()),
        ] {
            write_private(&folder.join(file), text);
        }
        "certificate = \"server.crt\"\nkey = \"server.key\"\n".to_owned()
    }

    /// Who else is talked with, and what the DNS says of this server.
    fn federate(&self, config: &mut String, address: Ipv4Addr) {
        let Some((dns, _)) = &self.federation else {
            config.push_str("[federation]\nenabled = false\n");
            return;
        };
        for (kind, port) in [("s2s", S2S_PORT), ("s2s-direct", S2S_DIRECT_PORT)] {
            let _ = writeln!(config, "[[listen]]\nkind = \"{kind}\"\naddress = \"{address}:{port}\"");
        }
        let (resolver, extra) = (dns.address(), &self.federation_extra);
        let _ = writeln!(
            config,
            "[federation]\nresolver = [\"{resolver}\"]\nauthorities = \"authorities.pem\"\n{extra}"
        );
        for name in self.names() {
            dns.locate(&name, address, false);
        }
    }
}

/// Nobody else may read it: it may be a key.
fn write_private(path: &Path, text: &str) {
    let file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.expect("the temporary folder can be written");
}

/// A running server. Killed when it is dropped; its log is printed if the test has failed.
pub struct Server {
    folder: TempDir,
    address: Ipv4Addr,
    domain: String,
    handed_over: Option<TcpListener>,
    users: usize,
    given: AtomicUsize,
    child: Option<Child>,
}

/// A loopback address that no other test uses at the same time.
pub(crate) fn address() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = (std::process::id() % 0x1_0000) * 64 + COUNT.fetch_add(1, Ordering::Relaxed) % 64;
    // 8, 7 and 7 of the 22 bits, and none of it 127.0.0.x.
    let bits = |from: u32, mask: u32| u8::try_from(number >> from & mask).unwrap_or_default();
    Ipv4Addr::new(127, bits(14, 0xff), bits(7, 0x7f) | 0x80, bits(0, 0x7f) + 1)
}

fn user(number: usize, domain: &str) -> String {
    format!("u{number}@{domain}")
}

impl Server {
    pub fn builder() -> Builder {
        Builder {
            domains: vec![DOMAIN.to_owned()],
            limits: WIDE_LIMITS
                .iter()
                .map(|(key, value)| ((*key).to_owned(), *value))
                .collect(),
            users: 0,
            accounts: Vec::new(),
            tls: "required",
            extra: String::new(),
            domain_extra: String::new(),
            http: String::new(),
            metrics: None,
            bytestreams: None,
            listeners: Vec::new(),
            components: Vec::new(),
            hands_over: false,
            federation: None,
            federation_extra: String::new(),
            certificate: None,
        }
    }

    /// A server with so many accounts for [`Server::user`].
    pub fn with_users(users: usize) -> Server {
        Server::builder().users(users).start()
    }

    /// The bare JID of an account that no other part of the test has.
    pub fn user(&self) -> String {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        assert!(number < self.users, "give the server more than {} users", self.users);
        user(number, &self.domain)
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The first of its domains.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Adds accounts, while the server runs or not.
    pub fn import(&self, accounts: &[(String, String)]) {
        let file = self.folder.path().join("accounts");
        let mut text = String::new();
        for (jid, password) in accounts {
            let _ = writeln!(text, "{jid}\t{password}");
        }
        fs::write(&file, text).expect("the temporary folder can be written");
        let output = self.jackdaw(&["account", "import", "accounts"], "");
        assert!(
            output.status.success(),
            "import: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn command(&self) -> Command {
        self.command_of(Command::new(binary::path()))
    }

    fn command_of(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path());
        // Nothing of the surroundings may configure the server.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("JACKDAW_")) {
            command.env_remove(key);
        }
        command
    }

    /// Runs the binary with these arguments and this standard input, for this server.
    pub fn jackdaw(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .command()
            .args(["--config", "jackdaw.toml"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(input.as_bytes())
            .expect("the command reads");
        child.wait_with_output().expect("the command ends")
    }

    /// How often this text stands in the log.
    pub fn logged(&self, text: &str) -> usize {
        let log = fs::read_to_string(self.log()).expect("the log is there");
        log.matches(text).count()
    }

    fn log(&self) -> std::path::PathBuf {
        self.folder.path().join("log")
    }

    /// Starts the server again after [`Server::kill9`] or [`Server::sigterm`].
    pub fn start(&mut self) {
        assert!(self.child.is_none(), "the server runs already");
        let out = || {
            let file = File::options().create(true).append(true).open(self.log());
            file.expect("the temporary folder can be written")
        };
        let seen = fs::read_to_string(self.log()).unwrap_or_default().len();
        let child = self
            .serve_command()
            .stdout(out())
            .stderr(out())
            .spawn()
            .expect("the binary starts");
        let child = self.child.insert(child);
        let began = Instant::now();
        loop {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            // The first line of the welcome, printed once it listens.
            if log[seen..].contains(" serves ") {
                return;
            }
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                panic!("the server ended with {status}:\n{log}");
            }
            assert!(began.elapsed() < START_LIMIT, "the server does not listen:\n{log}");
            sleep(LOOK_EVERY);
        }
    }

    fn serve_command(&self) -> Command {
        let Some(socket) = &self.handed_over else {
            let mut command = self.command();
            command.args(["serve", "--config", "jackdaw.toml"]).stdin(Stdio::null());
            return command;
        };
        // The shell has the number that the server will have, and moves the socket to where it is expected.
        let script = "export LISTEN_PID=$$; exec \"$0\" serve --config jackdaw.toml 3<&0 </dev/null";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(binary::path());
        let mut command = self.command_of(command);
        let socket = socket.try_clone().expect("a descriptor is left");
        command.env("LISTEN_FDS", "1").stdin(OwnedFd::from(socket));
        command
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Ends it as a power cut would, as far as a process can be.
    pub fn kill9(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a killed child ends");
    }

    /// Asks it to stop; [`Server::wait`] tells how it went.
    pub fn sigterm(&self) {
        process::signal(self.pid(), "TERM");
    }

    pub fn sighup(&self) {
        process::signal(self.pid(), "HUP");
    }

    /// Waits until the process has ended. None: it did not within `limit`.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        let child = self.child.as_mut().expect("the server runs");
        loop {
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                self.child = None;
                return Some(status);
            }
            if began.elapsed() > limit {
                return None;
            }
            sleep(LOOK_EVERY);
        }
    }

    /// Resident memory in bytes.
    pub fn rss(&self) -> u64 {
        process::rss(self.pid())
    }

    /// Open file descriptors.
    pub fn open_files(&self) -> usize {
        process::open_files(self.pid())
    }

    /// Open sockets: listeners and connections.
    pub fn sockets(&self) -> usize {
        process::sockets(self.pid())
    }

    /// All that the server has printed so far.
    pub fn printed(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.printed();
            let mut from = log.len().saturating_sub(LOG_TAIL);
            while !log.is_char_boundary(from) {
                from += 1;
            }
            eprintln!("--- log of the server\n{}", &log[from..]);
        }
    }
}
