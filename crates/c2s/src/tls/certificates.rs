//! Which certificate is served for which name, read from files and re-read without a restart.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::CipherSuite;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig};

use super::clients::{AnyPeer, Asked, Authorities};
use super::tickets::{NoTickets, Tickets, TicketsForClients};
use super::{ALPN_CLIENT, ALPN_HTTP, ALPN_SERVER, capture, pem, x509};

/// How often to ask [`Certificates::changed`]. A renewal is followed within this time.
pub const CHECK_EVERY: Duration = Duration::from_secs(30);

/// How long before its end a certificate is warned about. Automatic renewal is usually done
/// thirty days before, so that something is wrong by then.
const EXPIRY_NOTICE: Duration = Duration::from_secs(14 * 24 * 3600);

/// TLS 1.3 tickets per connection. One is enough for a client that comes back; each costs an
/// encryption and a record.
const TICKETS: usize = 1;

/// The files of one domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFiles {
    /// The domain, in Unicode or in ASCII form.
    pub host: String,
    /// The chain in PEM, the domain's own certificate first.
    pub certificate: PathBuf,
    /// The private key in PEM, without a pass phrase. May be the same file.
    pub key: PathBuf,
    /// Certificates of the authorities, in PEM, whose clients may log in by their own (XEP-0178).
    pub clients: Option<PathBuf>,
}

/// Why the certificate of a domain cannot be used. Displays as one line: what, where, what to do.
#[derive(Debug)]
pub struct CertificateError {
    pub host: String,
    /// The file at fault.
    pub path: PathBuf,
    pub problem: Problem,
}

/// What is wrong with a certificate or its key.
#[derive(Debug)]
pub enum Problem {
    Unreadable(io::Error),
    NotPem(io::Error),
    NoCertificate,
    NotACertificate,
    NoKey,
    EncryptedKey,
    UnusableKey(rustls::Error),
    KeyMismatch,
    /// No certificate of an authority.
    NoAuthority,
    /// A certificate that cannot be an authority's.
    BadAuthority,
    /// No domain was given, or there is no randomness for session tickets.
    Setup(&'static str),
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CertificateError { host, path, .. } = self;
        let path = path.display();
        match &self.problem {
            Problem::Unreadable(error) => write!(
                f,
                "TLS of {host}: cannot read {path}: {error}; check the path and that the server's user may read it"
            ),
            Problem::NotPem(error) => write!(
                f,
                "TLS of {host}: {path} is not valid PEM: {error}; write the file anew"
            ),
            Problem::NoCertificate => write!(
                f,
                "TLS of {host}: no certificate in {path}; it must hold the chain in PEM, the domain's own certificate first"
            ),
            Problem::NotACertificate => write!(
                f,
                "TLS of {host}: the first certificate in {path} cannot be decoded; write the file anew"
            ),
            Problem::NoKey => write!(
                f,
                "TLS of {host}: no private key in {path}; it must hold a PKCS #8, PKCS #1 or SEC 1 key in PEM"
            ),
            Problem::EncryptedKey => write!(
                f,
                "TLS of {host}: the private key in {path} has a pass phrase; remove it with `openssl pkey`"
            ),
            Problem::UnusableKey(error) => write!(
                f,
                "TLS of {host}: the private key in {path} cannot be used: {error}; use an ECDSA (P-256, P-384), RSA (2048 bits or more) or Ed25519 key"
            ),
            Problem::KeyMismatch => write!(
                f,
                "TLS of {host}: the private key in {path} is not that of the certificate; give the key the certificate was issued for"
            ),
            Problem::NoAuthority => write!(
                f,
                "TLS of {host}: no certificate in {path}; it must hold those of the authorities, in PEM, that certify clients"
            ),
            Problem::BadAuthority => write!(
                f,
                "TLS of {host}: a certificate in {path} is not one of an authority; give only those that certify clients"
            ),
            Problem::Setup(problem) => write!(f, "TLS: {problem}"),
        }
    }
}

impl std::error::Error for CertificateError {}

/// A certificate that works but needs somebody's attention. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateWarning {
    Expired {
        host: String,
        path: PathBuf,
    },
    /// Ends within two weeks.
    ExpiresSoon {
        host: String,
        path: PathBuf,
        days: u64,
    },
    NotYetValid {
        host: String,
        path: PathBuf,
    },
    /// Clients will refuse it: it does not name the domain.
    OtherName {
        host: String,
        path: PathBuf,
    },
    /// The key file may be read by everybody.
    KeyReadable {
        host: String,
        path: PathBuf,
    },
}

impl fmt::Display for CertificateWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CertificateWarning::Expired { host, path } => write!(
                f,
                "TLS of {host}: the certificate in {} has expired and clients will refuse it; renew it",
                path.display()
            ),
            CertificateWarning::ExpiresSoon { host, path, days } => write!(
                f,
                "TLS of {host}: the certificate in {} expires in {days} days; renew it",
                path.display()
            ),
            CertificateWarning::NotYetValid { host, path } => write!(
                f,
                "TLS of {host}: the certificate in {} is not valid yet; check the clock of this machine",
                path.display()
            ),
            CertificateWarning::OtherName { host, path } => write!(
                f,
                "TLS of {host}: the certificate in {} is not for this domain and clients will refuse it; get one that names {host}",
                path.display()
            ),
            CertificateWarning::KeyReadable { host, path } => write!(
                f,
                "TLS of {host}: everybody on this machine can read the private key {}; run `chmod o-r` on it",
                path.display()
            ),
        }
    }
}

/// What re-reading the files came to. A domain that is in none of the lists is as it was.
#[derive(Debug, Default)]
pub struct Reloaded {
    /// Domains that are now served with another certificate.
    pub changed: Vec<String>,
    /// Domains whose files are bad; what was served before still is.
    pub failed: Vec<CertificateError>,
    pub warnings: Vec<CertificateWarning>,
}

/// One certificate in force.
struct Served {
    key: Arc<CertifiedKey>,
    /// Its `tls-server-end-point` value. Computed here, once, not for every handshake.
    end_point: Option<Arc<[u8]>>,
    /// Who certifies clients of the domain.
    clients: Option<Authorities>,
}

/// All certificates in force. Never empty of a default.
struct Table {
    by_name: BTreeMap<String, Arc<Served>>,
    /// For clients that send no name or one that is not served: the first domain's.
    default: Arc<Served>,
}

impl Table {
    /// Of this name or the nearest above it: `conference.example.org` is a service of `example.org`, in whose certificate
    /// it is named if it is anywhere. `name`: as of [`ascii_name`].
    fn of(&self, name: &str) -> Option<&Arc<Served>> {
        let mut name = name;
        loop {
            if let Some(served) = self.by_name.get(name) {
                return Some(served);
            }
            name = name.split_once('.')?.1;
        }
    }
}

/// What tells a file from its next version: time of change, length, inode. A renewal that
/// replaces the file changes the inode, one that rewrites it the time.
type Stamp = Option<(i64, i64, u64, u64)>;

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.mtime(), metadata.mtime_nsec(), metadata.len(), metadata.ino()))
}

fn stamps(files: &HostFiles) -> [Stamp; 3] {
    let clients = files.clients.as_deref().and_then(stamp);
    [stamp(&files.certificate), stamp(&files.key), clients]
}

/// The files of a domain and their stamps when they were last read, well or not.
struct Source {
    files: HostFiles,
    stamps: [Stamp; 3],
}

impl Source {
    fn new(files: HostFiles) -> Source {
        // Before reading: a write in between is then seen as a change.
        let stamps = stamps(&files);
        Source { files, stamps }
    }
}

/// The certificates of all domains, chosen by the server name extension (RFC 6066 section 3).
/// They can be exchanged at any time; connections keep what they were served.
pub struct Certificates {
    table: ArcSwap<Table>,
    sources: Mutex<Vec<Source>>,
    tickets: Arc<Tickets>,
    provider: Arc<CryptoProvider>,
}

impl Certificates {
    /// Reads the files of all domains; the first is the default. Any bad file is an error here,
    /// before the server has started. Blocking, as are `reload` and `changed`: a few small files.
    pub fn load(hosts: Vec<HostFiles>) -> Result<(Certificates, Vec<CertificateWarning>), CertificateError> {
        let provider = Arc::new(provider());
        let mut warnings = Vec::new();
        let mut by_name = BTreeMap::new();
        let mut default = None;
        let mut sources = Vec::new();
        for files in hosts {
            let source = Source::new(files);
            let served = Arc::new(read(&source.files, &provider, now(), &mut warnings)?);
            default.get_or_insert_with(|| Arc::clone(&served));
            by_name.insert(ascii_name(&source.files.host), served);
            sources.push(source);
        }
        let setup = |problem| CertificateError {
            host: String::new(),
            path: PathBuf::new(),
            problem: Problem::Setup(problem),
        };
        let default = default.ok_or_else(|| setup("no domain has a certificate; name one"))?;
        let tickets = Tickets::new().map_err(|_| setup("the system gives no random numbers for session tickets"))?;
        let certificates = Certificates {
            table: ArcSwap::from_pointee(Table { by_name, default }),
            sources: Mutex::new(sources),
            tickets: Arc::new(tickets),
            provider,
        };
        Ok((certificates, warnings))
    }

    /// Re-reads all files, whether or not they look changed.
    pub fn reload(&self) -> Reloaded {
        let mut sources = self.lock();
        let hosts = sources.iter().map(|source| source.files.clone()).collect();
        self.read_all(&mut sources, hosts)
    }

    /// As [`Certificates::reload`], with another list of domains (the configuration was re-read).
    /// A new domain whose files are bad is served with the default certificate; an empty list
    /// changes nothing.
    pub fn replace(&self, hosts: Vec<HostFiles>) -> Reloaded {
        self.read_all(&mut self.lock(), hosts)
    }

    /// Whether a file is another than when it was last read, well or not. After a bad file this
    /// is false until somebody touches it again.
    pub fn changed(&self) -> bool {
        self.lock().iter().any(|source| stamps(&source.files) != source.stamps)
    }

    fn read_all(&self, sources: &mut Vec<Source>, hosts: Vec<HostFiles>) -> Reloaded {
        let mut reloaded = Reloaded::default();
        if hosts.is_empty() {
            return reloaded;
        }
        sources.clear();
        let old = self.table.load_full();
        let mut by_name = BTreeMap::new();
        let mut default = None;
        for files in hosts {
            let source = Source::new(files);
            let files = &source.files;
            let name = ascii_name(&files.host);
            let before = old.by_name.get(&name);
            let served = match read(files, &self.provider, now(), &mut reloaded.warnings) {
                // The same chain means the same key.
                Ok(new) => match before {
                    Some(before) if before.key.cert == new.key.cert && before.clients == new.clients => {
                        Some(Arc::clone(before))
                    }
                    _ => {
                        reloaded.changed.push(files.host.clone());
                        Some(Arc::new(new))
                    }
                },
                Err(error) => {
                    reloaded.failed.push(error);
                    before.map(Arc::clone)
                }
            };
            // If the first domain has nothing to serve, the default stays what it was.
            default.get_or_insert_with(|| served.as_ref().map_or_else(|| Arc::clone(&old.default), Arc::clone));
            if let Some(served) = served {
                by_name.insert(name, served);
            }
            sources.push(source);
        }
        let default = default.unwrap_or_else(|| Arc::clone(&old.default));
        let same_names = by_name.keys().eq(old.by_name.keys());
        let same = same_names && reloaded.changed.is_empty();
        if !same || !Arc::ptr_eq(&default, &old.default) {
            self.table.store(Arc::new(Table { by_name, default }));
            self.tickets.renew();
        }
        reloaded
    }

    /// Whether any domain lets clients log in by certificate.
    pub(super) fn asks_clients(&self) -> bool {
        let table = self.table.load();
        table.by_name.values().any(|served| served.clients.is_some())
    }

    /// What this server shows for a domain of its own, or a service of it, where it is the one that connects.
    pub fn own(&self, domain: &str) -> Arc<CertifiedKey> {
        let table = self.table.load();
        let served = table.of(&ascii_name(domain)).unwrap_or(&table.default);
        Arc::clone(&served.key)
    }

    pub(super) fn provider(&self) -> &CryptoProvider {
        &self.provider
    }

    /// The addresses in the certificate of a client, prepared, if an authority of this domain vouches for it now. None
    /// of them need be at the domain. Asked at each login, not in the handshake: there nobody knows for which domain it
    /// is, and a session of TLS that is resumed has no handshake that would show that the certificate has expired.
    pub(crate) fn client_addresses(&self, domain: &str, chain: &[CertificateDer<'_>]) -> Vec<String> {
        let table = self.table.load();
        let served = table.by_name.get(&ascii_name(domain));
        match served.and_then(|served| served.clients.as_ref()) {
            Some(authorities) => authorities.addresses(chain, now()),
            None => Vec::new(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Source>> {
        // The list is replaced entry by entry and stays usable if that was cut short.
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.table.load().by_name.keys()).finish()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        // rustls has checked the name and put it into lower case.
        let name = hello.server_name().map(|name| name.trim_end_matches('.'));
        let served = name.and_then(|name| table.of(name)).unwrap_or(&table.default);
        let is_server = hello
            .alpn()
            .is_some_and(|mut offered| offered.any(|name| name == ALPN_SERVER));
        capture::note_certificate(served.end_point.clone(), name, is_server);
        Some(Arc::clone(&served.key))
    }
}

fn now() -> UnixTime {
    UnixTime::now()
}

/// A domain as the server name extension carries it: A-labels in lower case, no final dot.
fn ascii_name(host: &str) -> String {
    let host = host.trim_end_matches('.');
    // What IDNA refuses cannot come as a server name; it is kept so that it is still listed.
    idna::domain_to_ascii(host).unwrap_or_else(|_| host.to_ascii_lowercase())
}

/// Reads and checks the files of a domain.
fn read(
    files: &HostFiles,
    provider: &CryptoProvider,
    now: UnixTime,
    warnings: &mut Vec<CertificateWarning>,
) -> Result<Served, CertificateError> {
    let error = |path: &Path, problem| CertificateError {
        host: files.host.clone(),
        path: path.to_owned(),
        problem,
    };
    let path = files.certificate.as_path();
    let text = pem::read(path).map_err(|e| error(path, Problem::Unreadable(e)))?;
    let chain = pem::certificates(&text).map_err(|e| error(path, Problem::NotPem(e)))?;
    let Some(leaf) = chain.first() else {
        return Err(error(path, Problem::NoCertificate));
    };
    let fields = x509::fields(leaf).ok_or_else(|| error(path, Problem::NotACertificate))?;
    let parsed = ParsedCertificate::try_from(leaf).map_err(|_| error(path, Problem::NotACertificate))?;

    let key_path = files.key.as_path();
    let text = pem::read(key_path).map_err(|e| error(key_path, Problem::Unreadable(e)))?;
    let key = pem::private_key(&text).map_err(|e| error(key_path, Problem::NotPem(e)))?;
    let key = key.ok_or_else(|| {
        let encrypted = pem::has_encrypted_key(&text);
        error(
            key_path,
            if encrypted {
                Problem::EncryptedKey
            } else {
                Problem::NoKey
            },
        )
    })?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|e| error(key_path, Problem::UnusableKey(e)))?;

    let mut found = Vec::new();
    let host = || files.host.clone();
    // Seconds since 1970 fit an i64 for longer than certificates can say.
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let path_buf = || path.to_owned();
    if now > fields.not_after {
        found.push(CertificateWarning::Expired {
            host: host(),
            path: path_buf(),
        });
    } else if now < fields.not_before {
        found.push(CertificateWarning::NotYetValid {
            host: host(),
            path: path_buf(),
        });
    } else {
        let left = fields.not_after.abs_diff(now);
        if left < EXPIRY_NOTICE.as_secs() {
            let days = left / (24 * 3600);
            found.push(CertificateWarning::ExpiresSoon {
                host: host(),
                path: path_buf(),
                days,
            });
        }
    }
    // A host that cannot be a server name (`localhost` can) has nothing to be compared with.
    if let Ok(name) = ServerName::try_from(ascii_name(&files.host))
        && rustls::client::verify_server_name(&parsed, &name).is_err()
    {
        found.push(CertificateWarning::OtherName {
            host: host(),
            path: path_buf(),
        });
    }
    const OTHERS_READ: u32 = 0o004;
    if fs::metadata(key_path).is_ok_and(|metadata| metadata.mode() & OTHERS_READ != 0) {
        found.push(CertificateWarning::KeyReadable {
            host: host(),
            path: key_path.to_owned(),
        });
    }

    let end_point = x509::end_point(leaf).map(Arc::from);
    let served = CertifiedKey::new(chain, key);
    match served.keys_match() {
        // "Unknown" is a key whose public half the provider does not tell; ring tells all.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
        Err(_) => return Err(error(key_path, Problem::KeyMismatch)),
    }
    let clients = match files.clients.as_deref() {
        None => None,
        Some(path) => Some(Authorities::read(path, provider).map_err(|problem| error(path, problem))?),
    };
    warnings.append(&mut found);
    Ok(Served {
        key: Arc::new(served),
        end_point,
        clients,
    })
}

/// How somebody comes to TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client, after `<starttls/>` (RFC 6120 section 5): ALPN does not matter.
    Starttls,
    /// A client, from the first byte (XEP-0368): one that sends ALPN must offer `xmpp-client`, else
    /// it is refused with `no_application_protocol`; one that sends none is welcome.
    Direct,
    /// HTTP/1.1 from the first byte (RFC 7301 section 6); ALPN as before.
    Https,
    /// Direct TLS or HTTP, by ALPN or by what comes; and another server, by ALPN alone.
    Multiplex { servers: bool },
    /// Another server, after `<starttls/>`.
    Server,
    /// Another server, from the first byte; ALPN as before, with `xmpp-server`.
    ServerDirect,
}

/// ring, with the cheaper of two equally sound suites first: AES-128 with SHA-256, which processors
/// have instructions for.
fn provider() -> CryptoProvider {
    let mut provider = ring::default_provider();
    let first = provider
        .cipher_suites
        .iter()
        .position(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    if let Some(first) = first {
        let suite = provider.cipher_suites.remove(first);
        provider.cipher_suites.insert(0, suite);
    }
    provider
}

/// The rustls configuration for who connects: TLS 1.2 and 1.3 only, ring, stateless
/// tickets, no 0-RTT. Follows `certificates` as they are exchanged; make it once per kind.
///
/// Clients are asked for a certificate where a domain takes them, and not where HTTP is served: browsers would
/// put a question to people who came for a web page, and the requests of a BOSH session come over
/// any number of connections, which a proxy may have opened. Servers are asked always, and get no tickets: each of their
/// connections shows anew that they have the key.
pub fn server_config(certificates: Arc<Certificates>, kind: Kind) -> Arc<ServerConfig> {
    let tickets = Arc::clone(&certificates.tickets);
    let builder = ServerConfig::builder_with_provider(Arc::clone(&certificates.provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .expect("ring has cipher suites and key exchanges for both versions");
    let asked = match kind {
        Kind::Starttls | Kind::Direct => Some(Asked::Clients),
        Kind::Https | Kind::Multiplex { servers: false } => None,
        Kind::Multiplex { servers: true } => Some(Asked::ServersByAlpn),
        Kind::Server | Kind::ServerDirect => Some(Asked::Servers),
    };
    let builder = match asked {
        Some(asked) => builder.with_client_cert_verifier(Arc::new(AnyPeer(Arc::clone(&certificates), asked))),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(certificates);
    // Our order (`provider`), not the client's: clients that put AES-256 first out of habit would
    // cost a hash without hardware support in every handshake.
    config.ignore_client_order = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    let is_servers = matches!(kind, Kind::Server | Kind::ServerDirect);
    config.ticketer = match kind {
        Kind::Server | Kind::ServerDirect => Arc::new(NoTickets),
        Kind::Multiplex { servers: true } => Arc::new(TicketsForClients(tickets)),
        _ => tickets,
    };
    config.send_tls13_tickets = if is_servers { 0 } else { TICKETS };
    // What a client may ask for by RFC 9149.
    config.max_tls13_tickets = config.send_tls13_tickets;
    // 0-RTT data can be replayed (RFC 8446 section 8), and XMPP has no use for it.
    config.max_early_data_size = 0;
    config.key_log = Arc::new(capture::ExporterCapture);
    config.alpn_protocols = match kind {
        Kind::Starttls | Kind::Server => Vec::new(),
        Kind::Direct => vec![ALPN_CLIENT.to_vec()],
        Kind::Https => vec![ALPN_HTTP.to_vec()],
        Kind::Multiplex { servers: false } => vec![ALPN_CLIENT.to_vec(), ALPN_HTTP.to_vec()],
        Kind::Multiplex { servers: true } => vec![ALPN_CLIENT.to_vec(), ALPN_HTTP.to_vec(), ALPN_SERVER.to_vec()],
        Kind::ServerDirect => vec![ALPN_SERVER.to_vec()],
    };
    Arc::new(config)
}
