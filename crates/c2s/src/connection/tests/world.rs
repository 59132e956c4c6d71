//! A server without a listener, and clients of it that do what they are told.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use auth::Credentials;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use module::{Host, Registry, Software};
use router::Router;
use sasl::client::Mechanism as _;
use sasl::client::mechanisms::Scram;
use sasl::common::scram::Sha1;
use session::{StreamConfig, TlsPolicy};
use socket2::{Domain, Type};
use stanza::Jid;
use store::{Memory, Store as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle as Task;

use super::*;
use crate::entry::{Peer, Shared};
use crate::service::{Limits, Parts, Service};
use crate::tls::{Certificates, HostFiles, Kind, server_config};

pub(crate) const HEADER: &str = "<stream:stream to='example.org' version='1.0' xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'>";
pub(crate) const JULIET: &str = "juliet@example.org/r";
/// Longer than anything takes here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The size of the kernel's buffers, so that little hides in them.
pub(crate) const KERNEL: usize = 8 * 1024;

/// The store must not answer while the router hands something over, so a thread of its own makes it.
pub(crate) struct Storing {
    pub(crate) store: Arc<Memory>,
    pub(crate) paused: Arc<AtomicBool>,
    pub(crate) over: Arc<AtomicBool>,
    pub(crate) thread: Option<JoinHandle<()>>,
}

impl Storing {
    pub(crate) fn new() -> Storing {
        let store = Arc::new(Memory::new(&router::TABLES));
        let credentials = Credentials::derive("secret", 1, [[1; 16], [2; 16], [3; 16]]).expect("a password");
        for name in ["juliet@example.org", "romeo@example.org"] {
            let account = accounts::Account::new(Jid::parse(name).expect("a JID"), 0, credentials.clone());
            store.write_wait(accounts::add(&account)).expect("added");
        }
        store.hold();
        let (paused, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (store, paused, over) = (Arc::clone(&store), Arc::clone(&paused), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    if paused.load(Ordering::Relaxed) || store.settle() == 0 {
                        std::thread::sleep(Duration::from_micros(200));
                    }
                }
            })
        };
        Storing {
            store,
            paused,
            over,
            thread: Some(thread),
        }
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the store's thread ends");
        }
    }
}

/// A configuration for TLS whose files need not last.
pub(crate) fn tls() -> Arc<rustls::ServerConfig> {
    let folder = tempfile::tempdir().expect("a folder");
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["example.org".to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("signed");
    let files = HostFiles {
        host: "example.org".to_owned(),
        certificate: folder.path().join("crt"),
        key: folder.path().join("key"),
        clients: None,
    };
    std::fs::write(&files.certificate, certificate.pem()).expect("written");
    std::fs::write(&files.key, key.serialize_pem()).expect("written");
    let (certificates, _) = Certificates::load(vec![files]).expect("loaded");
    server_config(Arc::new(certificates), Kind::Direct)
}

pub(crate) fn limits() -> Limits {
    Limits {
        connections: 100,
        before_login_per_address: 100,
        connections_per_second_per_address: 100,
        login_failures_per_address: 100,
        login_failures_per_account: 100,
        registrations_per_address: 10,
        registrations: 100,
        negotiation: Duration::from_secs(30),
        unacknowledged: Duration::from_secs(90),
        read_bytes_per_second: 1 << 30,
        read_burst_bytes: 1 << 30,
        outbox_bytes: 128 * 1024,
        guests: 10,
        guests_per_address: 10,
    }
}

pub(crate) struct World {
    pub(crate) storing: Storing,
    pub(crate) service: Arc<Service>,
    pub(crate) listener: TcpListener,
    pub(crate) address: SocketAddr,
}

impl World {
    pub(crate) fn new(limits: Limits) -> World {
        let storing = Storing::new();
        let host = Host::new(
            "example.org",
            Software {
                name: "Jackdaw",
                version: "0",
            },
            now(),
        );
        let router = Router::new(router::Parts {
            hosts: vec![host],
            registry: Registry::new(Vec::new()).expect("no modules"),
            store: storing.store.clone(),
            limits: router::Limits {
                sessions: 10,
                roster: router::RosterLimits {
                    items: 10,
                    groups_per_item: 10,
                    name_bytes: 100,
                    group_bytes: 100,
                    requests: 10,
                    request_bytes: 1000,
                },
                offline_messages: 100_000,
                subscription_requests: 10,
                loading_stanzas: 10,
                directed_presence: 10,
                idle_account_seconds: 60,
                resume_seconds: 60,
            },
            archives: true,
            clock: Box::new(now),
        });
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_send_buffer_size(KERNEL).expect("set");
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .expect("bound");
        socket.listen(100).expect("listens");
        socket.set_nonblocking(true).expect("set");
        let listener = TcpListener::from_std(socket.into()).expect("on the runtime");
        World {
            address: listener.local_addr().expect("an address"),
            service: Service::new(Parts { router, limits }),
            storing,
            listener,
        }
    }

    pub(crate) fn port(&self, tls: Option<Arc<rustls::ServerConfig>>) -> Arc<Shared> {
        let small = xmlstream::Limits {
            bytes: 8192,
            elements: 32,
            ..xmlstream::Limits::default()
        };
        Arc::new(Shared {
            direct: tls.is_some(),
            via: crate::metrics::Via::Direct,
            peer: Peer::Client(Arc::new(StreamConfig {
                tls: TlsPolicy::Off,
                before_login: small,
                after_login: xmlstream::Limits::default(),
                idle_seconds: 300,
                login_attempts: 3,
                secret: [5; 32],
                iterations: 1,
                policy: auth::Policy::default(),
                policies: Default::default(),
                registration: Default::default(),
                lifetimes: accounts::tokens::DEFAULT_LIFETIMES,
                default_domain: "example.org".to_owned(),
            })),
            tls,
        })
    }

    /// A client, and the connection that is for it.
    pub(crate) async fn pair(&self, tls: Option<Arc<rustls::ServerConfig>>) -> (Client, Connection<TcpStream>) {
        let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(KERNEL).expect("set");
        socket.connect(&self.address.into()).expect("reached");
        socket.set_nonblocking(true).expect("set");
        let (accepted, address) = self.listener.accept().await.expect("accepted");
        let admission = Admission::of(&self.service, address.ip()).expect("let in");
        let connection = Connection::new(admission, self.port(tls), accepted);
        let client = Client {
            socket: TcpStream::from_std(socket.into()).expect("on the runtime"),
            seen: String::new(),
        };
        (client, connection)
    }

    pub(crate) async fn connect(&self) -> (Client, Task<()>) {
        let (client, connection) = self.pair(None).await;
        (client, tokio::spawn(connection))
    }

    pub(crate) async fn log_in(&self, user: &str) -> (Client, Task<()>) {
        let (mut client, task) = self.connect().await;
        client.log_in(user).await;
        (client, task)
    }

    /// No trace is left of any connection.
    pub(crate) fn expect_empty(&self) {
        assert_eq!(self.service.connections(), 0);
        assert_eq!(self.service.router.count_sessions(), 0);
        let refused = (0..100)
            .filter(|_| self.service.throttle.admit(self.address.ip(), 0).is_err())
            .count();
        assert_eq!(refused, 0, "all were settled, and each once");
    }
}

pub(crate) struct Client<S = TcpStream> {
    pub(crate) socket: S,
    pub(crate) seen: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(crate) fn over(socket: S) -> Self {
        Client {
            socket,
            seen: String::new(),
        }
    }

    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.socket.write_all(text.as_ref()).await.expect("written");
    }

    /// Reads once. False at the end.
    pub(crate) async fn read(&mut self) -> bool {
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer).await.expect("no reset") {
            0 => false,
            count => {
                self.seen
                    .push_str(std::str::from_utf8(&buffer[..count]).expect("ASCII"));
                true
            }
        }
    }

    /// Reads up to and including `text`, and returns what came since the last time.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return mem::replace(&mut self.seen, rest);
            }
            assert!(self.read().await, "{text} expected, {} and the end came", self.seen);
        }
    }

    pub(crate) async fn until_end(&mut self) -> String {
        while self.read().await {}
        mem::take(&mut self.seen)
    }

    pub(crate) async fn log_in(&mut self, user: &str) {
        self.log_in_as(user, "r").await;
    }

    /// Comes as far as to the challenge of SCRAM, and returns the answer to it.
    pub(crate) async fn challenge(&mut self, user: &str) -> String {
        self.send(HEADER).await;
        self.until("</stream:features>").await;
        let credentials = sasl::common::Credentials::default()
            .with_username(user)
            .with_password("secret")
            .with_channel_binding(sasl::common::ChannelBinding::None);
        let mut scram = Scram::<Sha1>::from_credentials(credentials).expect("usable");
        let ns = "urn:ietf:params:xml:ns:xmpp-sasl";
        let first = STANDARD.encode(scram.initial());
        self.send(format!("<auth xmlns='{ns}' mechanism='SCRAM-SHA-1'>{first}</auth>"))
            .await;
        let challenge = self.until("</challenge>").await;
        let challenge = challenge.split(['<', '>']).nth(2).expect("data");
        let last = scram
            .response(&STANDARD.decode(challenge).expect("base 64"))
            .expect("a challenge");
        format!("<response xmlns='{ns}'>{}</response>", STANDARD.encode(last))
    }

    pub(crate) async fn authenticate(&mut self, user: &str) {
        let response = self.challenge(user).await;
        self.send(response).await;
        self.until("</success>").await;
    }

    pub(crate) async fn log_in_as(&mut self, user: &str, resource: &str) {
        self.authenticate(user).await;
        self.send(HEADER).await;
        self.until("</stream:features>").await;
        self.send(format!(
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind></iq>",
        ))
        .await;
        self.until("</iq>").await;
    }
}

impl Client {
    /// Asks for something, and counts the spaces that came before the answer.
    pub(crate) async fn spaces(&mut self) -> usize {
        self.send("<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>")
            .await;
        let seen = self.until("</iq>").await;
        seen.len() - seen.trim_start_matches(' ').len()
    }

    /// What has come and was not looked at.
    pub(crate) fn has_come(&mut self) -> String {
        let mut buffer = [0; 65536];
        if let Ok(count) = self.socket.try_read(&mut buffer) {
            self.seen
                .push_str(std::str::from_utf8(&buffer[..count]).expect("ASCII"));
        }
        mem::take(&mut self.seen)
    }
}

impl Client {
    /// Reads once where the end may be a reset.
    pub(crate) async fn try_read(&mut self) -> Result<bool, ErrorKind> {
        let mut buffer = [0; 4096];
        match self.socket.read(&mut buffer).await {
            Ok(count) => Ok(count > 0),
            Err(error) => Err(error.kind()),
        }
    }
}
