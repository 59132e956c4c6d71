//! A scripted server of another domain, on both sides of a stream (RFC 6120 section 4).
//!
//! It connects to the server under test, and is connected to. Each step can be taken alone, so that a test can misbehave
//! in any of them; what comes of it is a [`Client`] whose own address is the domain.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::client::{Client, Conn, ConnectOptions, TIMEOUT, Transport};
use crate::management::{Management, NS_SM, Session};
use crate::server::{S2S_DIRECT_PORT, S2S_PORT, address};
use crate::stanza::{NS_STREAM, Stanza};
use crate::tls::{self, Channel, Identity};
use crate::{Certified, Federation, Server};

/// The content namespace of streams between servers.
pub const NS_SERVER: &str = "jabber:server";
/// Of Server Dialback (XEP-0220).
pub const NS_DIALBACK: &str = "jabber:server:dialback";
/// Of streams in both directions (XEP-0288).
pub const NS_BIDI: &str = "urn:xmpp:bidi";

const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// For how long a stream of this server can be resumed, as it says.
const RESUME_SECONDS: u32 = 600;

/// What it offers whoever has connected, behind TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    pub external: bool,
    pub dialback: bool,
    pub bidi: bool,
    pub management: bool,
}

impl Default for Offers {
    fn default() -> Offers {
        Offers {
            external: true,
            dialback: false,
            bidi: false,
            management: false,
        }
    }
}

impl Offers {
    /// Stream management beside.
    pub fn managed() -> Offers {
        Offers {
            management: true,
            ..Offers::default()
        }
    }

    /// Both directions beside.
    pub fn bidi() -> Offers {
        Offers {
            bidi: true,
            ..Offers::default()
        }
    }

    fn before_login(self) -> String {
        let mut features = String::new();
        if self.external {
            features.push_str(&format!(
                "<mechanisms xmlns='{NS_SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
            ));
        }
        if self.dialback {
            features.push_str("<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>");
        }
        if self.bidi {
            features.push_str("<bidi xmlns='urn:xmpp:features:bidi'/>");
        }
        features
    }

    fn behind_login(self) -> String {
        match self.management {
            true => format!("<sm xmlns='{NS_SM}'/>"),
            false => String::new(),
        }
    }
}

/// A server that does what the test tells it.
pub struct Remote {
    pub domain: String,
    address: Ipv4Addr,
    /// What it shows; one that can be another.
    pub identity: Identity,
    /// With STARTTLS, and with TLS at once. None: it is down.
    listeners: Option<(TcpListener, TcpListener)>,
}

impl Remote {
    /// It listens, and the DNS knows where (STARTTLS alone).
    pub(crate) async fn new(federation: &Federation, domain: &str) -> Remote {
        let mut remote = Remote {
            domain: domain.to_owned(),
            address: address(),
            identity: federation.authority.certify(&[domain]).identity(),
            listeners: None,
        };
        remote.up().await;
        federation.dns.locate(domain, remote.address, false);
        remote
    }

    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// From now on it shows this.
    pub fn shows(&mut self, certified: &Certified) {
        self.identity = certified.identity();
    }

    /// Whoever connects is refused. Connections that are there stay.
    pub fn down(&mut self) {
        self.listeners = None;
    }

    pub async fn up(&mut self) {
        let bind = |port| TcpListener::bind((self.address, port));
        let both = (bind(S2S_PORT).await, bind(S2S_DIRECT_PORT).await);
        self.listeners = Some((both.0.expect("nobody listens there"), both.1.expect("nor there")));
    }

    /// A peer on this connection.
    fn peer(&self, stream: TcpStream, to: &str) -> Client {
        let _ = stream.set_nodelay(true);
        let options = ConnectOptions {
            identity: Some(self.identity.clone()),
            alpn: Some(Vec::new()),
            ..ConnectOptions::default()
        };
        let mut peer = Client::over(Conn::Tcp(stream), Transport::Starttls, options);
        self.domain.clone_into(&mut peer.jid);
        to.clone_into(&mut peer.domain);
        // Its requests have an address.
        peer.is_component = true;
        peer
    }

    // Streams that it opens.

    /// A connection to the port of servers, on which nothing was said.
    pub async fn connect(&self, server: &Server, to: &str) -> Client {
        let stream = TcpStream::connect((server.address(), S2S_PORT)).await;
        self.peer(stream.expect("the port of servers is open"), to)
    }

    /// One with TLS from the first byte (XEP-0368), on which nothing was said.
    pub async fn connect_direct(&self, server: &Server, to: &str) -> Client {
        self.connect_direct_at(server, to, S2S_DIRECT_PORT).await
    }

    /// The same at another port.
    pub async fn connect_direct_at(&self, server: &Server, to: &str, port: u16) -> Client {
        let stream = TcpStream::connect((server.address(), port)).await;
        let mut peer = self.peer(stream.expect("the port of servers is open"), to);
        peer.options.alpn = Some(vec!["xmpp-server"]);
        // What is offered is settled with the first connection of an identity.
        peer.options.identity = Some(self.identity.renewed());
        if let Err(error) = peer.start_tls().await {
            peer.fail(&format!("the TLS handshake failed: {error}"));
        }
        peer
    }

    /// One that has done STARTTLS.
    pub async fn secured(&self, server: &Server, to: &str) -> Client {
        let mut peer = self.connect(server, to).await;
        peer.open_as_server().await;
        peer.send(format!("<starttls xmlns='{NS_TLS}'/>")).await;
        peer.expect(&format!("<proceed xmlns='{NS_TLS}'/>")).await;
        if let Err(error) = peer.start_tls().await {
            peer.fail(&format!("the TLS handshake failed: {error}"));
        }
        peer
    }

    /// One that waits for a login.
    pub async fn opened(&self, server: &Server, to: &str) -> Client {
        let mut peer = self.secured(server, to).await;
        peer.open_as_server().await;
        peer
    }

    /// One that speaks for the domain, by its certificate.
    pub async fn authenticated(&self, server: &Server, to: &str) -> Client {
        let mut peer = self.opened(server, to).await;
        peer.external("=").await;
        peer
    }

    /// The same, and stanzas go both ways (XEP-0288): so a request is answered on it.
    pub async fn bidi(&self, server: &Server, to: &str) -> Client {
        let mut peer = self.opened(server, to).await;
        peer.send(format!("<bidi xmlns='{NS_BIDI}'/>")).await;
        peer.external("=").await;
        peer
    }

    // Streams that it is opened.

    /// Somebody has connected to the port with STARTTLS.
    pub async fn accept(&self) -> Client {
        self.accept_within(TIMEOUT).await.expect("somebody connects")
    }

    /// None: nobody has.
    pub async fn accept_within(&self, limit: Duration) -> Option<Client> {
        let (listener, _) = self.listeners.as_ref().expect("it is up");
        self.accepted(listener, limit).await
    }

    /// Somebody has connected to the port of TLS; nothing was done.
    pub async fn accept_direct(&self) -> Client {
        let (_, listener) = self.listeners.as_ref().expect("it is up");
        self.accepted(listener, TIMEOUT).await.expect("somebody connects")
    }

    async fn accepted(&self, listener: &TcpListener, limit: Duration) -> Option<Client> {
        let (stream, _) = timeout(limit, listener.accept()).await.ok()?.expect("a connection");
        Some(self.peer(stream, ""))
    }

    /// Somebody has connected, TLS is up, and the header behind it has come and is not answered.
    pub async fn received_tls(&self) -> Client {
        let mut peer = self.accept().await;
        peer.read_header().await;
        peer.answer_header(&format!("<starttls xmlns='{NS_TLS}'><required/></starttls>"))
            .await;
        peer.expect(&format!("<starttls xmlns='{NS_TLS}'/>")).await;
        peer.send(format!("<proceed xmlns='{NS_TLS}'/>")).await;
        if let Err(error) = peer.accept_tls(&self.identity, &[]).await {
            peer.fail(&format!("the TLS handshake failed: {error}"));
        }
        peer.read_header().await;
        peer
    }

    /// Somebody has connected and logged in by a certificate; with stream management it is enabled.
    pub async fn received(&self, offers: Offers) -> Client {
        let mut peer = self.received_tls().await;
        peer.receive_login(offers).await;
        peer.receive_rest(offers).await;
        peer
    }
}

/// The header of a stream between servers.
pub fn server_header(from: &str, to: &str, more: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='{NS_SERVER}' xmlns:stream='{NS_STREAM}' xmlns:db='{NS_DIALBACK}' \
         version='1.0' from='{from}' to='{to}'{more}>"
    )
}

/// An id that no stream has had.
fn fresh() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Client {
    /// Opens a stream from the own domain to [`Client::domain`], and reads header and features.
    pub async fn open_as_server(&mut self) -> Stanza {
        let header = server_header(&self.jid, &self.domain, "");
        let features = self.open_with(&header).await;
        self.is_header_of_a_server();
        features
    }

    fn is_header_of_a_server(&self) {
        if !self.header.raw.contains(&format!("xmlns='{NS_SERVER}'")) || self.header.attr("version") != Some("1.0") {
            self.fail(&format!("no header of a server: {:?}", self.header));
        }
    }

    /// Whether the last features have this in them.
    pub fn is_offered(&self, name: &str, ns: &str) -> bool {
        let features = self.features.as_ref();
        features.is_some_and(|features| features.has_child(name, ns))
    }

    /// SASL EXTERNAL, and what comes back. `=`: for the domain that the header has named.
    pub async fn try_external(&mut self, data: &str) -> Stanza {
        self.send(format!("<auth xmlns='{NS_SASL}' mechanism='EXTERNAL'>{data}</auth>"))
            .await;
        self.stanza().await
    }

    /// The same, which must succeed, and the stream behind it is opened.
    pub async fn external(&mut self, data: &str) {
        let answer = self.try_external(data).await;
        if !answer.matches(&format!("<success xmlns='{NS_SASL}'/>")) {
            self.fail(&format!("not let in: {answer:?}"));
        }
        self.open_as_server().await;
    }

    /// Answers a header with one of its own, and these features. Returns the id of the stream, which no other has.
    pub async fn answer_header(&mut self, features: &str) -> String {
        self.header
            .attr("from")
            .unwrap_or_default()
            .clone_into(&mut self.domain);
        let id = format!("{}-{}", self.jid, fresh());
        let header = server_header(&self.jid, &self.domain, &format!(" id='{id}'"));
        self.send(format!("{header}<stream:features>{features}</stream:features>"))
            .await;
        id
    }

    /// The TLS handshake from the other side.
    pub async fn accept_tls(&mut self, identity: &Identity, alpn: &[&str]) -> std::io::Result<()> {
        let Conn::Tcp(stream) = std::mem::replace(&mut self.conn, Conn::Gone) else {
            panic!("TLS is there already");
        };
        let acceptor = TlsAcceptor::from(tls::server_config(identity, alpn));
        let stream = timeout(TIMEOUT, acceptor.accept(stream))
            .await
            .map_err(|_| std::io::ErrorKind::TimedOut)??;
        self.channel = Channel::common(stream.get_ref().1);
        self.conn = Conn::Tls(Box::new(stream.into()));
        self.restart();
        Ok(())
    }

    /// Answers the header behind TLS, takes a login by EXTERNAL and reads the header behind it. Whether it was asked for
    /// both directions.
    pub async fn receive_login(&mut self, offers: Offers) -> bool {
        self.is_header_of_a_server();
        self.answer_header(&offers.before_login()).await;
        let mut came = self.stanza().await;
        let is_bidi = came.matches(&format!("<bidi xmlns='{NS_BIDI}'/>"));
        if is_bidi {
            came = self.stanza().await;
        }
        if !came.matches(&format!("<auth xmlns='{NS_SASL}' mechanism='EXTERNAL'/>")) {
            self.fail(&format!("a login by certificate expected, {came:?} came"));
        }
        // XEP-0178 section 3: the domain, or nothing, as the header has named it.
        if !["=", STANDARD.encode(&self.domain).as_str()].contains(&came.text().as_str()) {
            self.fail(&format!("a login for somebody else: {came:?}"));
        }
        self.send(format!("<success xmlns='{NS_SASL}'/>")).await;
        self.restart();
        self.read_header().await;
        is_bidi
    }

    /// Answers the header behind a login, and enables stream management where it is offered.
    pub async fn receive_rest(&mut self, offers: Offers) {
        self.count_stanzas();
        self.answer_header(&offers.behind_login()).await;
        if offers.management {
            self.expect(&format!("<enable xmlns='{NS_SM}' resume='true'/>")).await;
            self.enabled_as(&fresh()).await;
        } else {
            self.management = None;
        }
    }

    /// Says that the stream is managed from now on.
    async fn enabled_as(&mut self, id: &str) {
        if let Some(management) = &mut self.management {
            id.clone_into(&mut management.id);
            management.active = true;
        }
        self.send(format!(
            "<enabled xmlns='{NS_SM}' id='{id}' resume='true' max='{RESUME_SECONDS}'/>"
        ))
        .await;
    }

    /// Answers the header behind a login; the other side resumes this stream, or is told that it is not known: then it is
    /// a new one. Returns how many stanzas the other side has had.
    pub async fn receive_resumption(&mut self, session: &Session, is_known: bool) -> u32 {
        self.count_stanzas();
        self.answer_header(&Offers::managed().behind_login()).await;
        let pattern = format!("<resume xmlns='{NS_SM}' previd='{}'/>", session.id);
        let h = self.expect(&pattern).await.get("h").parse();
        let Ok(h) = h else {
            self.fail("no number of stanzas");
        };
        if is_known {
            self.management = Some(Management::resumed(session, h));
            let received = session.received;
            self.send(format!(
                "<resumed xmlns='{NS_SM}' previd='{}' h='{received}'/>",
                session.id
            ))
            .await;
        } else {
            let nothing = "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>";
            self.send(format!("<failed xmlns='{NS_SM}'>{nothing}</failed>")).await;
            self.expect(&format!("<enable xmlns='{NS_SM}' resume='true'/>")).await;
            self.enabled_as(&fresh()).await;
        }
        h
    }
}
