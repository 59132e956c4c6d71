//! A scripted peer: sends the bytes it is told to, reads what comes.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::carried::Carried;
use crate::management::Management;
use crate::reader::{Header, Item, Reader};
use crate::server::DOMAIN;
use crate::stanza::{NS_STREAM, Stanza};
use crate::tls::{Channel, Identity, Version};
use crate::websocket::{Web, frame};

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
    /// RFC 7395, over HTTPS.
    WebSocket,
    /// XEP-0206, over HTTPS. A session ends when the client is dropped; when it is cut or lost, after its time.
    Bosh,
}

impl Transport {
    /// Those of a stream over TCP.
    pub const BOTH: [Transport; 2] = [Transport::Starttls, Transport::Direct];
    /// Those of a stream that has a connection of its own: for tests of what becomes of connections, of bytes that are
    /// cut, of stream management and of readers that are slow.
    pub const ALL: [Transport; 3] = [Transport::Starttls, Transport::Direct, Transport::WebSocket];
    /// Whatever carries a stream: for tests of what is said on one.
    pub const EVERY: [Transport; 4] = [
        Transport::Starttls,
        Transport::Direct,
        Transport::WebSocket,
        Transport::Bosh,
    ];

    pub(crate) fn port(self) -> u16 {
        match self {
            Transport::Starttls => 5222,
            Transport::Direct => 5223,
            Transport::WebSocket | Transport::Bosh => 5443,
        }
    }
}

/// What a connection does not do unless it is told to.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    pub version: Version,
    /// None: what belongs to the transport; nothing for STARTTLS.
    pub alpn: Option<Vec<&'static str>>,
    /// The client's own certificate.
    pub identity: Option<Identity>,
    /// The client's own address.
    pub from: Option<Ipv4Addr>,
    /// Bytes that the kernel may hold for a client that does not read.
    pub receive_buffer: Option<u32>,
    /// None: what belongs to the transport.
    pub port: Option<u16>,
    /// What is sent before anything else, as by a proxy.
    pub preamble: Vec<u8>,
}

pub(crate) enum Conn {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Bosh(Carried),
    Gone,
}

impl Conn {
    fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Conn::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Conn::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Conn::Bosh(carried) => Poll::Ready(carried.write(bytes)),
            Conn::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Conn::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Conn::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Conn::Bosh(_) => Poll::Ready(Ok(())),
            Conn::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            Conn::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Conn::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Conn::Bosh(carried) => carried.poll_read(cx, buf),
            Conn::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    pub(crate) fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Conn::Tcp(stream) => Some(stream),
            Conn::Tls(stream) => Some(stream.get_ref().0),
            Conn::Bosh(_) | Conn::Gone => None,
        }
    }
}

/// A peer of a server.
pub struct Client {
    pub(crate) conn: Conn,
    reader: Reader,
    /// Once the handshake of a WebSocket is over.
    pub(crate) web: Option<Web>,
    inbox: VecDeque<Item>,
    ended: bool,
    /// `>` what was sent, `<` what came.
    transcript: VecDeque<String>,
    pub(crate) channel: Channel,
    pub(crate) options: ConnectOptions,
    pub(crate) transport: Transport,
    /// The domain that the stream was opened to.
    pub domain: String,
    /// The full JID, once bound.
    pub jid: String,
    /// The last stream header and the last features.
    pub header: Header,
    pub features: Option<Stanza>,
    /// Whitespace that came between stanzas, in bytes.
    pub spaces: usize,
    /// Once it was asked for.
    pub(crate) management: Option<Management>,
    /// It speaks for a domain, so its requests have an address.
    pub(crate) is_component: bool,
    next_id: u32,
}

impl Client {
    /// A peer on a fresh connection.
    pub(crate) fn over(conn: Conn, transport: Transport, options: ConnectOptions) -> Client {
        Client {
            conn,
            reader: Reader::new(),
            web: None,
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
            management: None,
            is_component: false,
            next_id: 0,
        }
    }

    /// A new stream begins: what comes next is a header.
    pub fn restart(&mut self) {
        self.reader = Reader::new();
        self.header = Header::default();
        if let Some(web) = &mut self.web {
            web.restart();
        }
        if let Conn::Bosh(carried) = &mut self.conn {
            carried.restart();
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
        self.count_sent(bytes);
        let wire = self.encode(bytes);
        let sent = timeout(TIMEOUT, self.write_all(&wire)).await;
        if sent.is_err() {
            self.fail("the server does not take what it is sent");
        }
        self.answer_request().await;
    }

    /// Sends bytes that are not turned into messages of the WebSocket.
    pub async fn send_raw(&mut self, bytes: &[u8]) {
        self.note('>', &format!("{bytes:02x?}"));
        if timeout(TIMEOUT, self.write_all(bytes)).await.is_err() {
            self.fail("the server does not take what it is sent");
        }
    }

    /// Sends what is one message of a WebSocket or the content of one request, whatever it is.
    pub async fn send_whole(&mut self, bytes: &[u8]) {
        match &mut self.conn {
            Conn::Bosh(carried) => carried.send_whole(bytes),
            _ if self.web.is_some() => self.send_raw(&frame(0x81, bytes)).await,
            _ => self.send(bytes).await,
        }
    }

    fn encode<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        match &mut self.web {
            Some(web) => web.encode(bytes).into(),
            None => bytes.into(),
        }
    }

    /// The code with which the server has closed the WebSocket.
    pub fn close_code(&self) -> Option<u16> {
        self.web.as_ref()?.close_code
    }

    /// The condition with which the server has ended the session of BOSH; empty for none.
    pub fn terminal_condition(&self) -> Option<&str> {
        match &self.conn {
            Conn::Bosh(carried) => carried.condition(),
            _ => None,
        }
    }

    /// The server has ended the session of BOSH with this condition (XEP-0124 section 17.2), and said nothing on the
    /// stream but its features.
    pub async fn expect_terminal_condition(&mut self, condition: &str) {
        loop {
            match self.item().await {
                Item::Header(_) | Item::Close => {}
                Item::Stanza(stanza) if stanza.name() == "features" => {}
                Item::End { clean: true } => break,
                other => self.fail(&format!("the end of the session expected, {other:?} came")),
            }
        }
        if self.terminal_condition() != Some(condition) {
            self.fail(&format!("{condition} expected, {:?} came", self.terminal_condition()));
        }
    }

    /// What has come in pongs.
    pub fn pongs(&self) -> &[Vec<u8>] {
        self.web.as_ref().map_or(&[], |web| &web.pongs)
    }

    fn count_sent(&mut self, bytes: &[u8]) {
        if let Some(management) = &mut self.management {
            management.note_sent(bytes);
        }
    }

    /// Writes the `<a/>` that is due, if any.
    async fn answer_request(&mut self) {
        if let Some(answer) = self.management.as_ref().and_then(Management::answer) {
            self.note('>', &answer);
            let wire = self.encode(answer.as_bytes()).into_owned();
            self.write_all(&wire).await;
            if let Some(management) = &mut self.management {
                management.answered();
            }
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
        self.count_sent(bytes);
        let wire = self.encode(bytes);
        let mut rest = &wire[..];
        let conn = &mut self.conn;
        while !rest.is_empty() {
            let count = poll_fn(|cx| conn.poll_write(cx, rest)).await?;
            rest = &rest[count..];
        }
        poll_fn(|cx| conn.poll_flush(cx)).await
    }

    /// Sends without reading as long as `until` takes, and tells how many of the bytes the connection has taken, and
    /// what `until` came to. The rest is for [`Client::send`].
    pub async fn send_while<T>(&mut self, bytes: &[u8], until: impl Future<Output = T>) -> (usize, T) {
        let mut sent = 0;
        let conn = &mut self.conn;
        let writing = async {
            while sent < bytes.len() {
                match poll_fn(|cx| conn.poll_write(cx, &bytes[sent..])).await {
                    Ok(count) => sent += count,
                    // Whoever reads next sees the end.
                    Err(_) => break,
                }
            }
            std::future::pending::<()>().await;
        };
        let came = tokio::select! {
            came = until => came,
            () = writing => unreachable!("it is pending at its end"),
        };
        (sent, came)
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
            Ok(count) => self.take_bytes(&space[..count]),
        }
    }

    pub(crate) fn take_bytes(&mut self, bytes: &[u8]) {
        self.note('<', &String::from_utf8_lossy(bytes));
        let before = self.inbox.len();
        let read = match &mut self.web {
            Some(web) => web.decode(bytes, &mut self.inbox),
            None => self.reader.feed(bytes, &mut self.inbox),
        };
        if let Err(error) = read {
            self.fail(&error);
        }
        for item in self.inbox.split_off(before) {
            match item {
                Item::Space(count) => self.spaces += count,
                Item::Stanza(stanza) => match self.management.as_mut().map(|m| m.take(&stanza)) {
                    Some(Ok(true)) => {}
                    Some(Err(error)) => self.fail(&error),
                    _ => self.inbox.push_back(Item::Stanza(stanza)),
                },
                item => self.inbox.push_back(item),
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

    /// Reads without looking at what it is.
    pub(crate) async fn read_bytes(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let conn = &mut self.conn;
        poll_fn(|cx| {
            let mut buffer = ReadBuf::new(space);
            conn.poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
        })
        .await
    }

    pub(crate) async fn read_some(&mut self) {
        if self.ended {
            // Nothing comes any more; the end itself has been told.
            return std::future::pending().await;
        }
        let (conn, mut space) = (&mut self.conn, vec![0; READ_BYTES]);
        let read = poll_fn(|cx| {
            let mut buffer = ReadBuf::new(&mut space);
            conn.poll_read(cx, &mut buffer).map_ok(|()| buffer.filled().len())
        })
        .await;
        self.took(read, &space);
        self.answer_request().await;
    }

    /// What was read too early is read again, before what has come since.
    pub(crate) fn put_back(&mut self, items: Vec<Item>) {
        for item in items.into_iter().rev() {
            self.inbox.push_front(item);
        }
    }

    /// An id that no other request of this client has.
    pub(crate) fn fresh_id(&mut self) -> String {
        self.next_id += 1;
        format!("k{}", self.next_id)
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
        let id = self.fresh_id();
        let to = if to.is_empty() {
            String::new()
        } else {
            format!(" to='{to}'")
        };
        let from = match self.is_component {
            true => format!(" from='{}'", self.jid),
            false => String::new(),
        };
        self.send(format!("<iq type='{kind}' id='{id}'{to}{from}>{payload}</iq>"))
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
        // XEP-0206 section 2: it features this condition of the session.
        if self.transport == Transport::Bosh && self.terminal_condition() != Some("remote-stream-error") {
            self.fail(&format!("{:?} came with a stream error", self.terminal_condition()));
        }
        error
    }

    /// As [`Client::expect_stream_error`], behind whatever else comes.
    pub async fn wait_for_end(&mut self, condition: &str) {
        loop {
            let came = self.stanza().await;
            if came.name() == "error" && came.ns() == NS_STREAM {
                if came.condition() != Some(condition) {
                    self.fail(&format!("the stream error {condition} expected, {came:?} came"));
                }
                return self.expect_end().await;
            }
        }
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
        if let Conn::Bosh(carried) = &self.conn {
            carried.cut();
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
