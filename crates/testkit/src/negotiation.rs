//! From a TCP connection to a bound resource, a step at a time.

use std::io;
use std::net::SocketAddr;

use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::carried::Carried;
use crate::client::{Client, Conn, ConnectOptions, TIMEOUT, Transport};
use crate::reader::{Header, Item};
use crate::stanza::{NS_STREAM, Stanza};
use crate::tls::{self, Channel};
use crate::websocket::Web;
use crate::{Binding, Server, login, password_of};

/// The stream header of an ordinary client.
fn opening(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='{NS_STREAM}'>"
    )
}

/// The handshake of RFC 7395 section 3.1 with further headers, each with its line end.
pub fn handshake(headers: &str) -> String {
    format!(
        "GET /xmpp-websocket HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\
         Sec-WebSocket-Version: 13\r\n{headers}\r\n"
    )
}

/// What that key is answered with.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

impl Client {
    /// Connects; with direct TLS the handshake is done as well. Nothing of XMPP is sent.
    pub async fn connect(server: &Server, transport: Transport) -> Client {
        Client::connect_with(server, transport, ConnectOptions::default())
            .await
            .expect("the server can be reached")
    }

    pub async fn connect_with(server: &Server, transport: Transport, options: ConnectOptions) -> io::Result<Client> {
        if transport == Transport::Bosh {
            let carried = Carried::connect(server, &options).await?;
            return Ok(Client::over(Conn::Bosh(carried), transport, options));
        }
        let mut client = Client::tcp(server, transport, options).await?;
        if transport != Transport::Starttls {
            client.start_tls().await?;
        }
        if transport == Transport::WebSocket {
            let answer = client.upgrade(handshake("").as_bytes()).await?;
            if !answer.starts_with("HTTP/1.1 101 ") || !answer.contains(ACCEPT) {
                client.fail(&format!("no WebSocket: {answer}"));
            }
        }
        Ok(client)
    }

    /// Sends a request of HTTP and reads the head of the answer; behind the one to a handshake, the connection is a
    /// WebSocket.
    pub async fn upgrade(&mut self, request: &[u8]) -> io::Result<String> {
        self.send_blindly(request).await?;
        let mut came = Vec::new();
        let end = loop {
            if let Some(end) = came.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            let mut space = [0; 1024];
            match timeout(TIMEOUT, self.read_bytes(&mut space)).await?? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => came.extend_from_slice(&space[..count]),
            }
        };
        let rest = came.split_off(end);
        self.web = Some(Web::new());
        // What has come with it.
        self.take_bytes(&rest);
        String::from_utf8(came).map_err(io::Error::other)
    }

    /// Connects, and does nothing more even where TLS begins at once.
    pub async fn tcp(server: &Server, transport: Transport, options: ConnectOptions) -> io::Result<Client> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = options.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(from) = options.from {
            socket.bind(SocketAddr::new(from.into(), 0))?;
        }
        let address = SocketAddr::new(server.address().into(), options.port.unwrap_or(transport.port()));
        let mut stream = timeout(TIMEOUT, socket.connect(address))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        stream.write_all(&options.preamble).await?;
        let mut client = Client::over(Conn::Tcp(stream), transport, options);
        server.domain().clone_into(&mut client.domain);
        Ok(client)
    }

    /// Connects and brings TLS up. Nothing is sent on the encrypted stream yet.
    pub async fn secured(server: &Server, transport: Transport) -> Client {
        Client::secured_with(server, transport, ConnectOptions::default()).await
    }

    pub async fn secured_with(server: &Server, transport: Transport, options: ConnectOptions) -> Client {
        let mut client = Client::connect_with(server, transport, options)
            .await
            .expect("the server can be reached");
        client.secure().await;
        client
    }

    /// Brings TLS up unless it is.
    pub async fn secure(&mut self) {
        if self.transport == Transport::Starttls {
            self.open().await;
            self.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
            self.expect("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
            if let Err(error) = self.start_tls().await {
                self.fail(&format!("the TLS handshake failed: {error}"));
            }
        }
    }

    /// Connects, brings TLS up and opens the stream that SASL happens on.
    pub async fn opened(server: &Server, transport: Transport) -> Client {
        let mut client = Client::secured(server, transport).await;
        client.open().await;
        client
    }

    /// Everything up to a bound resource. `jid`: `user@domain/resource`, or `user@domain` for a resource that the
    /// server chooses. No presence is sent.
    pub async fn login(server: &Server, transport: Transport, jid: &str) -> Client {
        Client::login_with(server, transport, jid, ConnectOptions::default()).await
    }

    pub async fn login_with(server: &Server, transport: Transport, jid: &str, options: ConnectOptions) -> Client {
        let mut client = Client::authenticated_with(server, transport, jid, options).await;
        client.bind(jid.split_once('/').map(|(_, resource)| resource)).await;
        client
    }

    /// Everything up to the features behind SASL.
    pub async fn authenticated(server: &Server, transport: Transport, jid: &str) -> Client {
        Client::authenticated_with(server, transport, jid, ConnectOptions::default()).await
    }

    pub(crate) async fn authenticated_with(
        server: &Server,
        transport: Transport,
        jid: &str,
        options: ConnectOptions,
    ) -> Client {
        let bare = jid.split_once('/').map_or(jid, |(bare, _)| bare);
        let (user, domain) = bare.split_once('@').expect("user@domain");
        let mut client = Client::connect_with(server, transport, options)
            .await
            .expect("the server can be reached");
        client.domain = domain.to_owned();
        client.secure().await;
        client.open().await;
        client.plain(user, &password_of(bare)).await;
        client.open().await;
        client
    }

    /// [`Client::login`], then initial presence, and its echo read.
    pub async fn online(server: &Server, transport: Transport, jid: &str) -> Client {
        let mut client = Client::login(server, transport, jid).await;
        client.presence("<presence/>").await;
        client
    }

    /// Sends a presence for everybody and waits for the copy that comes back (RFC 6121 section 4.2.2); what else
    /// comes is kept.
    pub async fn presence(&mut self, presence: &str) {
        self.send(presence).await;
        let own = self.jid.clone();
        self.wait_keeping(|stanza| stanza.name() == "presence" && stanza.get("from") == own)
            .await;
    }

    /// The TLS handshake, now.
    pub async fn start_tls(&mut self) -> io::Result<()> {
        let Conn::Tcp(stream) = std::mem::replace(&mut self.conn, Conn::Gone) else {
            panic!("TLS is there already");
        };
        let alpn = match (&self.options.alpn, self.transport) {
            (Some(alpn), _) => alpn.clone(),
            (None, Transport::Direct) => vec!["xmpp-client"],
            (None, Transport::WebSocket | Transport::Bosh) => vec!["http/1.1"],
            (None, Transport::Starttls) => Vec::new(),
        };
        let connector = TlsConnector::from(tls::config(self.options.version, &alpn, self.options.identity.as_ref()));
        let name = ServerName::try_from(self.domain.clone()).map_err(io::Error::other)?;
        let stream = timeout(TIMEOUT, connector.connect(name, stream))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        self.channel = Channel::of(stream.get_ref().1);
        self.conn = Conn::Tls(Box::new(stream.into()));
        self.restart();
        Ok(())
    }

    /// The certificate (DER) that the server showed, the application protocol and the version of TLS.
    pub fn certificate(&self) -> &[u8] {
        &self.channel.certificate
    }

    pub fn alpn(&self) -> Option<&str> {
        self.channel.alpn.as_deref()
    }

    pub fn is_tls13(&self) -> bool {
        self.channel.version == Some(rustls::ProtocolVersion::TLSv1_3)
    }

    /// The TLS session of an earlier connection goes on.
    pub fn is_resumed(&self) -> bool {
        self.channel.is_resumed
    }

    /// What a login can be bound to.
    pub fn binding_data(&self, binding: &Binding) -> Vec<u8> {
        match binding {
            Binding::Exporter => self.channel.exporter.clone(),
            Binding::EndPoint => self.channel.end_point.clone(),
            _ => Vec::new(),
        }
    }

    /// Opens a stream to [`Client::domain`] and reads header and features.
    pub async fn open(&mut self) -> Stanza {
        let domain = self.domain.clone();
        self.open_with(&opening(&domain)).await
    }

    pub async fn open_with(&mut self, opening: &str) -> Stanza {
        self.restart();
        self.send(opening).await;
        self.read_header().await;
        let features = self.stanza().await;
        if features.name() != "features" || features.ns() != NS_STREAM {
            self.fail(&format!("features expected, {features:?} came"));
        }
        self.features = Some(features.clone());
        features
    }

    pub async fn read_header(&mut self) -> Header {
        match self.item().await {
            Item::Header(header) => {
                self.header = header.clone();
                header
            }
            other => self.fail(&format!("a stream header expected, {other:?} came")),
        }
    }

    /// SASL PLAIN that must succeed.
    pub async fn plain(&mut self, user: &str, password: &str) {
        self.send(login::auth("PLAIN", Some(&login::plain("", user, password))))
            .await;
        self.expect("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>").await;
    }

    /// Binds a resource, which must succeed.
    pub async fn bind(&mut self, resource: Option<&str>) {
        let wanted = resource
            .map(|resource| format!("<resource>{resource}</resource>"))
            .unwrap_or_default();
        let bind = "urn:ietf:params:xml:ns:xmpp-bind";
        let answer = self
            .iq("set", "", &format!("<bind xmlns='{bind}'>{wanted}</bind>"))
            .await;
        let jid = answer
            .get_child("bind", bind)
            .and_then(|bind| bind.get_child("jid", bind.ns().as_str()));
        match jid {
            Some(jid) => self.jid = jid.text(),
            None => self.fail(&format!("no resource was bound: {answer:?}")),
        }
    }
}
