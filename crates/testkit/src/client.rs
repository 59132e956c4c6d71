//! A scripted peer: sends the bytes it is told to, reads what comes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::reader::{Header, Item, Reader};
use crate::server::DOMAIN;
use crate::stanza::{NS_STREAM, Stanza};
use crate::tls::{self, Channel, Version};
use crate::{Binding, Server, login, password_of};

/// How long anything that is expected may take. Far above what it takes: machines that run tests are busy.
pub const TIMEOUT: Duration = Duration::from_secs(15);
/// Read at once.
const READ_BYTES: usize = 64 * 1024;
/// Written at once, before it is looked at whether the server has said something.
const WRITE_BYTES: usize = 16 * 1024;
/// What a failure shows of the conversation: entries, and bytes of each.
const SHOWN_ENTRIES: usize = 24;
const SHOWN_BYTES: usize = 700;

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Starttls,
    Direct,
}

impl Transport {
    pub const BOTH: [Transport; 2] = [Transport::Starttls, Transport::Direct];

    fn port(self) -> u16 {
        match self {
            Transport::Starttls => 5222,
            Transport::Direct => 5223,
        }
    }
}

/// What a connection does not do unless it is told to.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    pub version: Version,
    /// None: `xmpp-client` for direct TLS, nothing for STARTTLS.
    pub alpn: Option<Vec<&'static str>>,
    /// The client's own address.
    pub from: Option<Ipv4Addr>,
    /// Bytes that the kernel may hold for a client that does not read.
    pub receive_buffer: Option<u32>,
}

enum Conn {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Gone,
}

impl Conn {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Conn::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Conn::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Conn::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Conn::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Conn::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Conn::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Conn::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Conn::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Conn::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Conn::Tcp(stream) => Some(stream),
            Conn::Tls(stream) => Some(stream.get_ref().0),
            Conn::Gone => None,
        }
    }
}

/// A peer of a server.
pub struct Client {
    conn: Conn,
    reader: Reader,
    inbox: VecDeque<Item>,
    ended: bool,
    /// `>` what was sent, `<` what came.
    transcript: VecDeque<String>,
    pub(crate) channel: Channel,
    options: ConnectOptions,
    transport: Transport,
    /// The domain that the stream was opened to.
    pub domain: String,
    /// The full JID, once bound.
    pub jid: String,
    /// The last stream header and the last features.
    pub header: Header,
    pub features: Option<Stanza>,
    /// Whitespace that came between stanzas, in bytes.
    pub spaces: usize,
    next_id: u32,
}

/// The stream header of an ordinary client.
fn opening(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='{NS_STREAM}'>"
    )
}

impl Client {
    /// Connects; with direct TLS the handshake is done as well. Nothing of XMPP is sent.
    pub async fn connect(server: &Server, transport: Transport) -> Client {
        Client::connect_with(server, transport, ConnectOptions::default())
            .await
            .expect("the server can be reached")
    }

    pub async fn connect_with(server: &Server, transport: Transport, options: ConnectOptions) -> io::Result<Client> {
        let mut client = Client::tcp(server, transport, options).await?;
        if transport == Transport::Direct {
            client.start_tls().await?;
        }
        Ok(client)
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
        let address = SocketAddr::new(server.address().into(), transport.port());
        let stream = timeout(TIMEOUT, socket.connect(address))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        stream.set_nodelay(true)?;
        Ok(Client {
            conn: Conn::Tcp(stream),
            reader: Reader::new(),
            inbox: VecDeque::new(),
            ended: false,
            transcript: VecDeque::new(),
            channel: Channel::default(),
            options,
            transport,
            domain: DOMAIN.to_owned(),
            jid: String::new(),
            header: Header::default(),
            features: None,
            spaces: 0,
            next_id: 0,
        })
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

    async fn authenticated_with(server: &Server, transport: Transport, jid: &str, options: ConnectOptions) -> Client {
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
            (None, Transport::Starttls) => Vec::new(),
        };
        let connector = TlsConnector::from(tls::config(self.options.version, &alpn));
        let name = ServerName::try_from(self.domain.clone()).map_err(io::Error::other)?;
        let stream = timeout(TIMEOUT, connector.connect(name, stream))
            .await
            .map_err(|_| io::ErrorKind::TimedOut)??;
        self.channel = Channel::of(stream.get_ref().1);
        self.conn = Conn::Tls(Box::new(stream));
        self.restart();
        Ok(())
    }

    /// A new stream begins: what comes next is a header.
    pub fn restart(&mut self) {
        self.reader = Reader::new();
        self.header = Header::default();
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

    pub fn bare(&self) -> &str {
        self.jid.split_once('/').map_or(&self.jid, |(bare, _)| bare)
    }

    pub fn resource(&self) -> &str {
        self.jid.split_once('/').map_or("", |(_, resource)| resource)
    }

    fn note(&mut self, direction: char, text: &str) {
        let mut end = text.len().min(SHOWN_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let more = if end < text.len() { "…" } else { "" };
        self.transcript.push_back(format!("{direction} {}{more}", &text[..end]));
        if self.transcript.len() > SHOWN_ENTRIES {
            self.transcript.pop_front();
        }
    }

    /// Ends the test with what was said on this stream.
    pub fn fail(&self, what: &str) -> ! {
        let lines: Vec<&str> = self.transcript.iter().map(String::as_str).collect();
        panic!(
            "{what}\n  {} by {:?}\n  {}",
            self.jid,
            self.transport,
            lines.join("\n  ")
        );
    }

    /// Sends bytes. Stops when the server has closed its side; what comes meanwhile is kept, so that neither side
    /// waits for the other.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.note('>', &String::from_utf8_lossy(bytes));
        let sent = timeout(TIMEOUT, self.write_all(bytes)).await;
        if sent.is_err() {
            self.fail("the server does not take what it is sent");
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() && !self.is_closed() {
            let chunk = &rest[..rest.len().min(WRITE_BYTES)];
            let (conn, mut space) = (&mut self.conn, vec![0; READ_BYTES]);
            // Whichever is possible first.
            let done = poll_fn(|cx| {
                let mut buffer = ReadBuf::new(&mut space);
                let read = conn.poll_read(cx, &mut buffer);
                if let Poll::Ready(result) = read {
                    return Poll::Ready(Step::Read(result.map(|()| buffer.filled().len())));
                }
                conn.poll_write(cx, chunk).map(Step::Written)
            })
            .await;
            match done {
                Step::Written(Ok(count)) => rest = &rest[count..],
                Step::Written(Err(_)) => return,
                Step::Read(read) => self.took(read, &space),
            }
        }
        let conn = &mut self.conn;
        let _ = poll_fn(|cx| conn.poll_flush(cx)).await;
    }

    /// Sends, and never reads meanwhile.
    pub async fn send_blindly(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        let conn = &mut self.conn;
        while !rest.is_empty() {
            let count = poll_fn(|cx| conn.poll_write(cx, rest)).await?;
            rest = &rest[count..];
        }
        poll_fn(|cx| conn.poll_flush(cx)).await
    }

    fn is_closed(&self) -> bool {
        self.ended
            || self
                .inbox
                .iter()
                .any(|item| matches!(item, Item::Close | Item::End { .. }))
    }

    fn took(&mut self, read: io::Result<usize>, space: &[u8]) {
        match read {
            Ok(0) => self.end(true),
            // Without TLS' end of data, or reset.
            Err(_) => self.end(false),
            Ok(count) => {
                self.note('<', &String::from_utf8_lossy(&space[..count]));
                let before = self.inbox.len();
                if let Err(error) = self.reader.feed(&space[..count], &mut self.inbox) {
                    self.fail(&error);
                }
                for item in self.inbox.range(before..) {
                    if let Item::Space(count) = item {
                        self.spaces += count;
                    }
                }
                self.inbox.retain(|item| !matches!(item, Item::Space(_)));
            }
        }
    }

    fn end(&mut self, clean: bool) {
        if !self.ended {
            self.ended = true;
            self.note('<', if clean { "(end)" } else { "(cut)" });
            self.inbox.push_back(Item::End { clean });
        }
    }

    async fn read_some(&mut self) {
        let (conn, mut space) = (&mut self.conn, vec![0; READ_BYTES]);
        let read = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut space);
            conn.poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
        })
        .await;
        self.took(read, &space);
    }

    /// The next thing that comes, or None after `limit`.
    pub async fn item_within(&mut self, limit: Duration) -> Option<Item> {
        let arrival = async {
            while self.inbox.is_empty() {
                self.read_some().await;
            }
        };
        timeout(limit, arrival).await.ok()?;
        self.inbox.pop_front()
    }

    pub async fn item(&mut self) -> Item {
        match self.item_within(TIMEOUT).await {
            Some(item) => item,
            None => self.fail("nothing comes"),
        }
    }

    /// Reads until something comes or the time is over, and keeps it: for keepalives.
    pub async fn read_for(&mut self, time: Duration) {
        let _ = timeout(time, async {
            loop {
                self.read_some().await;
                if self.ended {
                    std::future::pending::<()>().await;
                }
            }
        })
        .await;
    }

    /// The next stanza.
    pub async fn stanza(&mut self) -> Stanza {
        match self.item().await {
            Item::Stanza(stanza) => stanza,
            other => self.fail(&format!("a stanza expected, {other:?} came")),
        }
    }

    /// The next stanza, which must match ([`Stanza::matches`]).
    pub async fn expect(&mut self, pattern: &str) -> Stanza {
        let stanza = match self.item_within(TIMEOUT).await {
            Some(Item::Stanza(stanza)) => stanza,
            Some(other) => self.fail(&format!("expected {pattern}\n  {other:?} came")),
            None => self.fail(&format!("expected {pattern}\n  nothing came")),
        };
        if let Some(why) = stanza.mismatch(pattern) {
            self.fail(&format!("{why}\n  expected {pattern}\n  came {stanza:?}"));
        }
        stanza
    }

    /// The next stanzas match these patterns, in any order.
    pub async fn expect_all(&mut self, patterns: &[&str]) -> Vec<Stanza> {
        let mut open: Vec<&str> = patterns.to_vec();
        let mut came = Vec::new();
        while !open.is_empty() {
            let stanza = match self.item_within(TIMEOUT).await {
                Some(Item::Stanza(stanza)) => stanza,
                other => self.fail(&format!("expected {open:#?}\n  {other:?} came")),
            };
            match open.iter().position(|pattern| stanza.matches(pattern)) {
                Some(at) => {
                    open.remove(at);
                }
                None => self.fail(&format!("expected one of {open:#?}\n  came {stanza:?}")),
            }
            came.push(stanza);
        }
        came
    }

    /// Reads until a stanza matches, and forgets what came before it.
    pub async fn wait(&mut self, pattern: &str) -> Stanza {
        loop {
            match self.item_within(TIMEOUT).await {
                Some(Item::Stanza(stanza)) if stanza.matches(pattern) => return stanza,
                Some(Item::Stanza(_)) => {}
                other => self.fail(&format!("waited for {pattern}\n  {other:?} came")),
            }
        }
    }

    /// Takes the first stanza that the test is true of, and leaves what came before it.
    pub async fn wait_keeping(&mut self, is_it: impl Fn(&Stanza) -> bool) -> Stanza {
        let mut kept = VecDeque::new();
        let found = loop {
            match self.item_within(TIMEOUT).await {
                Some(Item::Stanza(stanza)) if is_it(&stanza) => break stanza,
                Some(item @ Item::Stanza(_)) => kept.push_back(item),
                other => self.fail(&format!("an answer expected, {other:?} came")),
            }
        };
        kept.append(&mut self.inbox);
        self.inbox = kept;
        found
    }

    /// Sends a request and takes its answer; what else comes meanwhile is kept. `to`: empty for none.
    pub async fn iq(&mut self, kind: &str, to: &str, payload: &str) -> Stanza {
        self.next_id += 1;
        let id = format!("k{}", self.next_id);
        let to = if to.is_empty() {
            String::new()
        } else {
            format!(" to='{to}'")
        };
        self.send(format!("<iq type='{kind}' id='{id}'{to}>{payload}</iq>"))
            .await;
        self.wait_keeping(|stanza| {
            stanza.name() == "iq" && stanza.get("id") == id && matches!(stanza.get("type"), "result" | "error")
        })
        .await
    }

    /// A ping to the server and back: everything sent before has been processed, everything due has come.
    pub async fn ping(&mut self) {
        let domain = self.domain.clone();
        let answer = self.iq("get", &domain, "<ping xmlns='urn:xmpp:ping'/>").await;
        if answer.get("type") != "result" {
            self.fail(&format!("the server does not answer a ping: {answer:?}"));
        }
    }

    /// Nothing has come that was not read, proved by [`Client::ping`].
    pub async fn nothing_more(&mut self) {
        self.ping().await;
        if let Some(item) = self.inbox.front() {
            self.fail(&format!("nothing expected, {item:?} came"));
        }
    }

    /// Forgets what has come; everything due has, by [`Client::ping`].
    pub async fn forget(&mut self) {
        self.ping().await;
        self.inbox.clear();
    }

    /// What has come and was not read.
    pub async fn drain(&mut self) -> Vec<Stanza> {
        self.ping().await;
        let items = std::mem::take(&mut self.inbox);
        items
            .into_iter()
            .filter_map(|item| {
                if let Item::Stanza(stanza) = item {
                    Some(stanza)
                } else {
                    None
                }
            })
            .collect()
    }

    /// The stream ends with this error: a header where none came yet, the error, the closing tag, the end of TCP.
    /// Features that come before are skipped. Returns the error.
    pub async fn expect_stream_error(&mut self, condition: &str) -> Stanza {
        if self.header.name.is_empty() {
            let header = self.read_header().await;
            if !header.declared || header.name != "stream" || header.ns != NS_STREAM || header.attr("id").is_none() {
                self.fail(&format!("no proper stream header came before the error: {header:?}"));
            }
        }
        let mut error = self.stanza().await;
        if error.name() == "features" {
            error = self.stanza().await;
        }
        if error.name() != "error" || error.ns() != NS_STREAM || error.condition() != Some(condition) {
            self.fail(&format!("the stream error {condition} expected, {error:?} came"));
        }
        self.expect_end().await;
        error
    }

    /// The closing tag and the end of TCP come.
    pub async fn expect_end(&mut self) {
        match self.item().await {
            Item::Close => {}
            other => self.fail(&format!("the closing tag expected, {other:?} came")),
        }
        match self.item().await {
            Item::End { clean: true } => {}
            other => self.fail(&format!("a clean end of the connection expected, {other:?} came")),
        }
    }

    /// Closes the stream in good order and waits for the server to do so too; what comes meanwhile is dropped.
    pub async fn close(mut self) {
        self.send("</stream:stream>").await;
        loop {
            match self.item().await {
                Item::Close => break,
                Item::Stanza(_) | Item::Space(_) => {}
                other => self.fail(&format!("the closing tag expected, {other:?} came")),
            }
        }
        match self.item().await {
            Item::End { .. } => {}
            other => self.fail(&format!("the end of the connection expected, {other:?} came")),
        }
    }

    /// Cuts the connection with a reset, as a crash does.
    pub fn cut(self) {
        if let Some(stream) = self.conn.tcp() {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    pub fn transport(&self) -> Transport {
        self.transport
    }
}

enum Step {
    Read(io::Result<usize>),
    Written(io::Result<usize>),
}
