//! The configuration: `jackdaw.toml`, the environment and the flags in one value.
//!
//! - `section.rs` declares a section once: struct, defaults, manual.
//! - `limits.rs`, `types.rs`: the limits, and values with a form of their own.
//! - `load.rs` reads the file and lays environment and flags over it.
//! - `bearer.rs`, `component.rs`, `external.rs`, `ldap.rs`, `http_accounts.rs`, `federation.rs`, `files.rs`, `rooms.rs`: sections with their checks.
//! - `check.rs` refuses contradictions; `locate.rs` says where in the file they are.
//! - `example.rs` prints the manual.
//!
//! Shape: `Config` is plain data, complete and with every path resolved; nothing else in the
//! program reads the environment or the file.

mod bearer;
mod check;
mod component;
mod example;
mod external;
mod federation;
mod files;
mod http_accounts;
mod ldap;
mod limits;
mod load;
mod locate;
mod rooms;
mod section;
mod types;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

pub use bearer::Bearer;
pub use component::{Component, Delegation, Privileges, secrets as component_secrets, shown as components_shown};
pub use example::example;
pub use external::{External, Transport};
pub use federation::{Federation, Peer, S2S_DIRECT_PORT, S2S_PORT};
pub use files::{Files, S3};
pub use http_accounts::HttpAccounts;
pub use ldap::Ldap;
pub use limits::Limits;
pub use load::{Loaded, Overrides, load};
pub use locate::ConfigError;
pub use rooms::{RoomCreators, Rooms};
use section::section;
pub use types::{
    BareJid, Creators, DomainName, Invitations, KeptBy, Kind, LogFormat, LogLevel, Proxies, PublicUrl, PushDetail,
    Registration, ScramHash, ServiceUrl, Strangers, Tls, Tokens,
};

/// The port of client connections with STARTTLS (RFC 6120 section 14.7).
pub const C2S_PORT: u16 = 5222;
/// The port of client connections with direct TLS. XEP-0368 registers none; this is the usual one.
pub const C2S_DIRECT_PORT: u16 = 5223;
/// The port of HTTPS. None is registered for what is served there; this is what XMPP servers use.
pub const HTTPS_PORT: u16 = 5443;

section! {
    /// The configuration of Jackdaw. Every key is shown with its default; a key that is left out
    /// keeps it. Flags beat the environment (JACKDAW_DATA, JACKDAW_DOMAIN, JACKDAW_LISTEN,
    /// JACKDAW_LOG, JACKDAW_LOG_FORMAT), which beats this file. Paths are relative to the folder of
    /// this file. `jackdaw config check` reads it and starts nothing.
    @default pub struct Config {
        /// The folder of the database, the certificates that Jackdaw makes, and the socket of the
        /// account commands.
        pub data: PathBuf = PathBuf::from("data"),
        /// Accounts that may administer the server, beside those added with `account add --admin`:
        /// admins = ["admin@example.org"]
        pub admins: Vec<BareJid> = Vec::new(),
    }
    tables {
        pub log: Log = Log::default(),
        pub domain: Vec<Domain> = vec![Domain::default()],
        pub listen: Vec<Listen> = Listen::all(),
        pub http: Http = Http::default(),
        pub files: Files = Files::default(),
        pub archive: Archive = Archive::default(),
        pub login: Login = Login::default(),
        pub metrics: Metrics = Metrics::default(),
        pub bytestreams: BytestreamProxy = BytestreamProxy::default(),
        pub push: Push = Push::default(),
        pub pubsub: Pubsub = Pubsub::default(),
        pub rooms: Rooms = Rooms::default(),
        pub federation: Federation = Federation::default(),
        pub command: Command = Command::default(),
        pub ldap: Ldap = Ldap::default(),
        pub http_accounts: HttpAccounts = HttpAccounts::default(),
        pub external: Vec<External> = Vec::new(),
        pub component: Vec<Component> = Vec::new(),
        pub limits: Limits = Limits::default(),
    }
}

section! {
    /// The archive of messages (XEP-0313): the history that every device of an account shows.
    @default pub struct Archive {
        /// Whether messages are archived. Without it only those are kept that nobody is there to take.
        pub enabled: bool = true,
        /// After how many days a message leaves the archives; 0: never. What waits for who is away
        /// is kept until it was delivered, here and below.
        pub keep_days: u32 = 0,
        /// The largest archive of one account, in megabytes; the oldest messages go first. 0: no limit.
        pub account_megabytes: u32 = 0,
        /// The largest that the archives of all accounts of one domain may be together. 0: no limit.
        pub domain_megabytes: u32 = 0,
    }
}

section! {
    /// What push services are told (XEP-0357), by which clients that are asleep learn that messages have come. A service
    /// belongs to who has made the client, so nothing but the number of messages is told unless you say so.
    @default pub struct Push {
        /// Of the last message: "sender", "body". What is encrypted end to end has no body that could be told.
        pub include: Vec<PushDetail> = Vec::new(),
    }
}

section! {
    /// Nodes that belong to nobody's account, at the address pubsub.DOMAIN (XEP-0060): feeds, announcements. What accounts
    /// publish at their own address does not need it.
    @default pub struct Pubsub {
        /// Who may make such nodes: "accounts" of the domain, "admins" of the server alone, or "nobody": then there is no
        /// such address.
        pub create: Creators = Creators::Accounts,
    }
}

section! {
    /// Figures for Prometheus and its like, at http://ADDRESS/metrics. Nobody logs in there, so keep it on this machine.
    @default pub struct Metrics {
        /// Address and port. Without it nothing listens.
        pub listen: Option<SocketAddr> = None => "\"127.0.0.1:9522\"",
    }
}

section! {
    /// A proxy for files that go from one client to another (XEP-0065): two that cannot reach each other meet here. It
    /// connects to nowhere by itself, and only accounts of this server can have it join two. What it relays is not
    /// encrypted by it. Clients that upload files (see above) have no need of it.
    @default pub struct BytestreamProxy {
        /// Address and port. Without it there is none.
        pub listen: Option<SocketAddr> = None => "\"[::]:7777\"",
        /// The name or the address of this machine, as clients reach it. Without it the name of their domain.
        pub host: Option<String> = None => "\"proxy.example.org\"",
        /// The port, as clients reach it, if that is another.
        pub port: Option<u16> = None => "7777",
    }
}

section! {
    /// What people log in with.
    @default pub struct Login {
        /// The hashes of SCRAM that are offered, of "sha-1", "sha-256" and "sha-512". Every password is kept under all
        /// three; leave one out to retire it.
        pub scram: Vec<ScramHash> = ScramHash::ALL.to_vec(),
        /// Whether a client may send the password itself (PLAIN): under TLS only, and some have nothing else.
        pub plain: bool = true,
        /// Whether SCRAM tells the client under its signature what was offered, so that nobody on the way can take
        /// the better part away unseen (XEP-0474).
        pub signed_offer: bool = true,
        /// Tokens with which a client comes back without the password (XEP-0484). "any": also those that browsers
        /// can use. "bound": only those that are worthless on another connection. "off": none.
        pub tokens: Tokens = Tokens::Any,
        /// After how many days a token that was not renewed is void; a client renews it once a day that it is used.
        pub token_days: u32 = 21,
    }
}

section! {
    /// The program that knows the passwords of domains with accounts = "command". It reads one question a line,
    /// {"user":"juliet","domain":"example.org","password":"secret"}, from its standard input, and answers each with one
    /// line on its standard output: {"result":"ok"}, "refused", "disabled" or "expired". It may end after an answer or
    /// wait for the next question. Its standard error output is thrown away, as it could show passwords.
    @default pub struct Command {
        /// The program.
        pub program: Option<PathBuf> = None => "\"check-password\"",
        /// Its arguments. The password is never one of them.
        pub arguments: Vec<String> = Vec::new(),
        /// How long an answer may take, in seconds. Then the login fails as "temporary-auth-failure".
        pub seconds: u64 = 5,
        /// How many of it may run at once; further logins wait.
        pub at_once: usize = 4,
    }
}

section! {
    /// The log. It goes to the standard error output, one event a line.
    @default pub struct Log {
        /// "text" for people, "json" for programs.
        pub format: LogFormat = LogFormat::Text,
        /// error, warn, info, debug or trace; by part: "info,jackdaw_c2s=debug".
        pub level: LogLevel = LogLevel::default(),
    }
}

section! {
    /// A domain that is served: the part after the @ of its accounts. Repeat the section for each.
    pub struct Domain {
        /// Its name.
        pub name: DomainName = types::localhost(),
        /// Its certificate with the chain, in PEM; read again on SIGHUP and when the file changes.
        /// Where certificate and key are left out, a self-signed one is made.
        pub certificate: Option<PathBuf> = None => "\"example.org.crt\"",
        /// The private key of the certificate, in PEM.
        pub key: Option<PathBuf> = None => "\"example.org.key\"",
        /// Certificates of authorities, in PEM. A client with a certificate of one of them, for the address of an
        /// account, logs in to it without a password (XEP-0178); over c2s and c2s-direct. Whoever has the key of an
        /// authority can log in to every account of the domain. Read again as the certificate is.
        pub client_certificates: Option<PathBuf> = None => "\"clients.pem\"",
        /// Who knows the passwords of its accounts. "own": this server. "command": the program of [command]. "ldap": the
        /// directory of [ldap]. "http": the web service of [http_accounts]. With all but the first, clients log in by
        /// PLAIN under TLS, or by a token; login.scram and login.plain do not count, nor do passwords that were set with
        /// `jackdaw account`. Who logs in for the first time gets an account here; `jackdaw account disable` keeps
        /// somebody out.
        @default pub accounts: KeptBy = KeptBy::Own,
        /// Who may get an account by asking the server (XEP-0077). "closed": nobody. "invited": who has an invitation, see
        /// `jackdaw invite`. "open": everybody; spammers will come. Not where accounts are kept by somebody else.
        @default pub registration: Registration = Registration::Invited,
        /// What others than administrators may invite to. "admins": nothing. "contacts": to become a contact of
        /// theirs, for who has an account anywhere. "accounts": also to get an account here.
        @default pub invitations: Invitations = Invitations::Contacts,
        /// Everybody may come in, as a guest: with a name that the server makes up, without a password (XEP-0175), and
        /// with nothing that lasts longer than the session. Nobody else has an account there.
        @default pub guests: bool = false,
        /// Other domains of this server: whose accounts the guests may write to, and be written to by.
        @default pub guests_reach: Vec<DomainName> = Vec::new(),
        /// What becomes of messages and subscription requests of strangers: of who has an account at another domain,
        /// is no contact, and was never written to. "limit": an account takes some in an hour, see the limits below, and who
        /// sends more is told so. "refuse": none, as if there were no such account; so its people are found by nobody
        /// whom they have not added or written to first. "allow": all.
        @default pub strangers: Strangers = Strangers::Limit,
    }
    tables {
        @default pub contacts: Contacts = Contacts::default(),
        @default pub bearer: Bearer = Bearer::default(),
    }
}

section! {
    /// Whom to ask about the domain above (XEP-0157): lists of addresses such as
    /// "xmpp:abuse@example.org" or "mailto:abuse@example.org", shown to whoever asks.
    @default pub struct Contacts {
        /// Abusive traffic.
        pub abuse: Vec<String> = Vec::new(),
        /// The administrators.
        pub admin: Vec<String> = Vec::new(),
        /// Feedback of customers.
        pub feedback: Vec<String> = Vec::new(),
        /// Sales.
        pub sales: Vec<String> = Vec::new(),
        /// Security concerns.
        pub security: Vec<String> = Vec::new(),
        /// The state of the service.
        pub status: Vec<String> = Vec::new(),
        /// Support.
        pub support: Vec<String> = Vec::new(),
    }
}

section! {
    /// A listener. Repeat the section for each. Where there is none, the five below are used.
    pub struct Listen {
        /// "c2s": clients, with STARTTLS. "c2s-direct": clients, TLS from the first byte (XEP-0368).
        /// "https": clients over WebSocket and BOSH, see [http]. "http": the same without TLS, on a loopback
        /// address or for http.trusted_proxies only. "multiplex": "c2s-direct" and "https" on one port, told apart
        /// by ALPN or by what comes first; for 443, which is open where others are not. "s2s": other servers, with
        /// STARTTLS. "s2s-direct": other servers, TLS from the first byte. "component": programs of [[component]],
        /// without TLS.
        pub kind: Kind = Kind::C2s,
        /// Address and port. "[::]" is every address, of IPv4 too.
        pub address: SocketAddr = (Ipv6Addr::UNSPECIFIED, C2S_PORT).into(),
        /// "required": nobody logs in without TLS. "optional": TLS is offered. "off": everything is
        /// readable on the way; only behind a proxy on the same machine. Of "c2s" only: "http" never
        /// has TLS, and the others always do.
        @default pub tls: Tls = Tls::Required,
        /// Proxies that begin each connection with the address of their client, by the PROXY protocol
        /// (version 1 or 2): addresses or networks, such as ["127.0.0.1", "10.0.0.0/8"]. Where any is
        /// named nobody else may connect. Not of "http", where proxies tell it by a header.
        @default pub proxy_protocol: Vec<Proxies> = Vec::new(),
    }
}

section! {
    /// What listeners of the kinds "https", "http" and "multiplex" serve: XMPP over WebSocket (RFC 7395) and BOSH
    /// (XEP-0124), and /.well-known/host-meta, by which browsers find them (XEP-0156).
    @default pub struct Http {
        /// The path of the WebSocket.
        pub websocket_path: String = "/xmpp-websocket".to_owned(),
        /// The path of BOSH.
        pub bosh_path: String = "/http-bind".to_owned(),
        /// The web pages from which browsers may connect, such as "https://chat.example.org". Empty:
        /// any. That is safe: nothing here knows a browser by a cookie, each client logs in.
        pub origins: Vec<String> = Vec::new(),
        /// The address under which clients reach this, where it is not the domain and the port of the
        /// first listener of the kind "https" or "multiplex": a proxy's.
        pub public_url: Option<PublicUrl> = None => "\"https://chat.example.org\"",
        /// Addresses of proxies. Whoever connects from one has the address that its Forwarded or
        /// X-Forwarded-For header tells, and TLS if Forwarded or X-Forwarded-Proto tells https.
        pub trusted_proxies: Vec<IpAddr> = Vec::new(),
    }
}

impl Listen {
    /// The second listener of a server without configuration.
    pub fn direct() -> Self {
        Self {
            kind: Kind::C2sDirect,
            address: (Ipv6Addr::UNSPECIFIED, C2S_DIRECT_PORT).into(),
            ..Self::default()
        }
    }

    /// All of a server without configuration.
    fn all() -> Vec<Self> {
        let of_servers = |kind, port| Self {
            kind,
            address: (Ipv6Addr::UNSPECIFIED, port).into(),
            ..Self::default()
        };
        vec![
            Self::default(),
            Self::direct(),
            Self::https(),
            of_servers(Kind::S2s, S2S_PORT),
            of_servers(Kind::S2sDirect, S2S_DIRECT_PORT),
        ]
    }

    /// The third.
    pub fn https() -> Self {
        Self {
            kind: Kind::Https,
            address: (Ipv6Addr::UNSPECIFIED, HTTPS_PORT).into(),
            ..Self::default()
        }
    }
}

impl Config {
    /// Whether the domain is one of this server's.
    pub fn serves(&self, domain: &str) -> bool {
        self.domain.iter().any(|served| served.name.as_str() == domain)
    }

    /// `<data>/jackdaw.sqlite`: the database.
    pub fn database(&self) -> PathBuf {
        self.data.join("jackdaw.sqlite")
    }

    /// `<data>/admin.sock`: the socket of the account commands.
    pub fn admin_socket(&self) -> PathBuf {
        self.data.join("admin.sock")
    }

    /// `<data>/certificates`: certificates that Jackdaw made.
    pub fn certificates(&self) -> PathBuf {
        self.data.join("certificates")
    }
}
