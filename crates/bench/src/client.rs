//! One connection of the generator: login, then raw bytes out and counts of stanzas in.
//!
//! A client owns no read buffer (one is shared by the thread) and no task; who holds it reads it.

mod sasl2;
mod websocket;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Outcome;
use crate::scan::{Scanner, attribute, text_of};
use crate::scram::{Memory, Scram};
use crate::tls;

use websocket::{Frames, frame};

pub(crate) use sasl2::{Back, Pass};

/// The domain that every target serves.
pub(crate) const DOMAIN: &str = "localhost";
/// The password of every account.
pub(crate) const PASSWORD: &str = "secret";
/// The resource that every client binds.
const RESOURCE: &str = "bench";
/// From connecting to the answer of the first ping.
const LOGIN_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to close its stream.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// What is read at once.
const READ_BYTES: usize = 65_536;
/// Source addresses of a crowd.
const SOURCES: u8 = 4;
/// Receive buffer of who is not going to read; the kernel doubles it.
const NARROW_BYTES: u32 = 4_096;
/// Logins at the same time.
const AT_ONCE: usize = 32;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

/// The local part of the account with this number.
pub(crate) fn user(number: usize) -> String {
    format!("user{number}")
}

pub(crate) fn jid(number: usize) -> String {
    format!("user{number}@{DOMAIN}")
}

/// How to get in.
pub(crate) struct Access {
    pub address: SocketAddr,
    /// By STARTTLS, as most clients do; otherwise plain TCP.
    pub tls: bool,
    /// As WebSockets, behind TLS from the first byte.
    web: bool,
    /// Connections come from so many addresses in turn; 0: from whichever the kernel takes.
    sources: u8,
    /// Of the sockets, in bytes, if not what the kernel gives.
    receive_buffer: Option<u32>,
    connector: TlsConnector,
    memory: Memory,
}

impl Access {
    pub(crate) fn new(address: SocketAddr, tls: bool) -> Self {
        Self {
            address,
            tls,
            web: false,
            sources: 0,
            receive_buffer: None,
            connector: TlsConnector::from(tls::client()),
            memory: Memory::default(),
        }
    }

    /// The same from several source addresses: from one alone the kernel searches long for a free port when there are
    /// many connections, and it has only 28,000.
    pub(crate) fn many_sources(self) -> Self {
        Self {
            sources: SOURCES,
            ..self
        }
    }

    /// The same for WebSockets.
    pub(crate) fn web(self) -> Self {
        Self { web: true, ..self }
    }

    /// The same with sockets that take as little as the kernel allows while nobody reads.
    pub(crate) fn narrow(self) -> Self {
        Self {
            receive_buffer: Some(NARROW_BYTES),
            ..self
        }
    }

    async fn connect(&self, number: usize) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        if self.sources > 0 {
            // The remainder is less than a u8.
            let last = 1 + (number % usize::from(self.sources)) as u8;
            socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 31, last)), 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

enum Transport {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    /// While TLS is being negotiated.
    None,
}

/// A session, or a connection that is becoming one.
pub(crate) struct Client {
    transport: Transport,
    /// Of a WebSocket.
    frames: Option<Frames>,
    pub scanner: Scanner,
    /// What came since it was last emptied, while somebody wants to read it.
    text: Option<Vec<u8>>,
    /// Of a managed stream: how many stanzas came before it was one.
    unmanaged: Option<u64>,
    /// Of the requests for acknowledgement.
    answered: u64,
    /// Something was written and nothing has come since.
    asking: bool,
    /// Round trips behind the handshake of TLS: how often something came after something was written.
    turns: u32,
    /// How many of them it took until the session had its resource.
    pub trips: u32,
}

/// What asks the server to acknowledge (XEP-0198 section 4).
pub(crate) const REQUEST: &str = "<r xmlns='urn:xmpp:sm:3'/>";

impl Client {
    /// Logs in as the account with this number: TLS, SASL, resource, and `session` if wanted.
    pub(crate) async fn login(access: &Access, number: usize, presence: bool) -> Outcome<Self> {
        within(number, Self::login_slowly(access, number, presence)).await
    }

    async fn login_slowly(access: &Access, number: usize, presence: bool) -> Outcome<Self> {
        let mut client = Self::authenticated(access, number).await?;
        client.bind().await?;
        client.bound();
        client.begin(presence).await?;
        Ok(client)
    }

    /// What a client asks as soon as it has a session.
    async fn begin(&mut self, presence: bool) -> Outcome<()> {
        let roster = self
            .hear("<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
            .await?;
        let answer = roster.find("<iq").map_or("", |at| &roster[at..]);
        if attribute(answer, "type") != Some("result") {
            return Err(format!("no roster: {roster}"));
        }
        if presence {
            self.send(b"<presence/>").await?;
        }
        self.ping().await
    }

    /// The session is there.
    fn bound(&mut self) {
        self.trips = self.turns;
    }

    /// A connection that may bind a resource, or resume a stream.
    pub(crate) async fn authenticated(access: &Access, number: usize) -> Outcome<Self> {
        let mut client = Self::secured(access, number).await?;
        let features = client.open().await?;
        client.authenticate(access, number, &features).await?;
        client.open().await?;
        Ok(client)
    }

    /// A connection that is ready for the header of the stream behind TLS, if there is TLS.
    async fn secured(access: &Access, number: usize) -> Outcome<Self> {
        if access.web {
            return Self::upgraded(access, number).await;
        }
        let mut client = Self::connect(access, number).await?;
        if access.tls {
            client.open().await?;
            client
                .ask("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed")
                .await?;
            client.encrypt(access).await?;
        }
        Ok(client)
    }

    /// The handshake of TLS; what comes behind it is counted anew.
    async fn encrypt(&mut self, access: &Access) -> Outcome<()> {
        if let Transport::Plain(stream) = std::mem::replace(&mut self.transport, Transport::None) {
            let name = ServerName::try_from(DOMAIN).map_err(|error| error.to_string())?;
            let stream = access
                .connector
                .connect(name, stream)
                .await
                .map_err(|error| format!("TLS: {error}"))?;
            self.transport = Transport::Tls(Box::new(stream));
        }
        (self.scanner, self.asking, self.turns) = (Scanner::new(), false, 0);
        Ok(())
    }

    async fn connect(access: &Access, number: usize) -> Outcome<Self> {
        let stream = access.connect(number).await;
        Ok(Self {
            transport: Transport::Plain(stream.map_err(|error| format!("connect: {error}"))?),
            frames: None,
            scanner: Scanner::new(),
            text: Some(Vec::new()),
            unmanaged: None,
            answered: 0,
            asking: false,
            turns: 0,
            trips: 0,
        })
    }

    /// Whether a server is there that answers the header of a stream.
    pub(crate) async fn is_greeted(access: &Access) -> bool {
        match Self::connect(access, 0).await {
            Ok(mut client) => client.open().await.is_ok(),
            Err(_) => false,
        }
    }

    pub(crate) async fn bind(&mut self) -> Outcome<()> {
        let bind = format!(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{RESOURCE}\
             </resource></bind></iq>"
        );
        self.ask(&bind, "<jid>").await.map(drop)
    }

    /// Has stream management from here on (XEP-0198 section 3), and returns the id to resume by.
    pub(crate) async fn manage(&mut self) -> Outcome<String> {
        self.text = Some(Vec::new());
        let enabled = self
            .ask("<enable xmlns='urn:xmpp:sm:3' resume='true'/>", "<enabled")
            .await?;
        self.text = None;
        self.unmanaged = Some(self.scanner.stanzas());
        let id = attribute(&enabled, "id").ok_or("a stream that cannot be resumed")?;
        Ok(id.to_owned())
    }

    /// Asks to resume a stream of which so many stanzas came; returns whether it is, and how many of those that were
    /// sent on it were handled (section 5).
    pub(crate) async fn resume(&mut self, id: &str, handled: u64) -> Outcome<(bool, u64)> {
        let resume = format!("<resume xmlns='urn:xmpp:sm:3' previd='{id}' h='{handled}'/>");
        let answer = self.ask(&resume, "urn:xmpp:sm:3").await?;
        let h = attribute(&answer, "h").and_then(|h| h.parse().ok());
        let h = h.ok_or_else(|| format!("no count in {answer}"))?;
        Ok((answer.contains("<resumed"), h))
    }

    /// Stanzas that came on a managed stream.
    pub(crate) fn handled(&self) -> u64 {
        self.unmanaged.map_or(0, |before| self.scanner.stanzas() - before)
    }

    /// Answers what `<r/>` came since the last time.
    pub(crate) async fn acknowledge(&mut self) -> Outcome<()> {
        if self.scanner.requests == self.answered {
            return Ok(());
        }
        self.answered = self.scanner.requests;
        let ack = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", self.handled());
        self.send(ack.as_bytes()).await
    }

    /// Sends a request and returns all that comes up to the next `<iq/>`.
    pub(crate) async fn hear(&mut self, request: &str) -> Outcome<String> {
        let before = self.scanner.iqs;
        self.text = Some(Vec::new());
        self.send(request.as_bytes()).await?;
        self.until(|scanner| scanner.iqs > before).await?;
        let came = self.text.take().unwrap_or_default();
        Ok(String::from_utf8_lossy(&came).into_owned())
    }

    /// Opens a stream and returns its features.
    async fn open(&mut self) -> Outcome<String> {
        if self.frames.is_some() {
            return self.open_web().await;
        }
        self.scanner = Scanner::new();
        self.ask(&header(None), "<stream:features").await
    }

    async fn authenticate(&mut self, access: &Access, number: usize, features: &str) -> Outcome<()> {
        let (user, xmlns) = (user(number), "urn:ietf:params:xml:ns:xmpp-sasl");
        let auth = |mechanism: &str, text: &str| format!("<auth xmlns='{xmlns}' mechanism='{mechanism}'>{text}</auth>");
        if !features.contains(">SCRAM-SHA-1<") {
            // The floor, which knows no passwords.
            let text = STANDARD.encode(format!("\0{user}\0{PASSWORD}"));
            return self.ask(&auth("PLAIN", &text), "<success").await.map(drop);
        }
        let mut scram = Scram::new(&user);
        let challenge = self.ask(&auth("SCRAM-SHA-1", &scram.initial()), "<challenge").await?;
        let challenge = text_of(&challenge, "challenge").unwrap_or_default();
        let answer = scram
            .answer(&access.memory, &user, PASSWORD, challenge)
            .ok_or("a challenge that is none")?;
        let success = self
            .ask(&format!("<response xmlns='{xmlns}'>{answer}</response>"), "<success")
            .await?;
        match scram.accepts(text_of(&success, "success").unwrap_or_default()) {
            true => Ok(()),
            false => Err("the server does not know the password".to_owned()),
        }
    }

    /// Sends and waits for the next complete element, which must contain this.
    async fn ask(&mut self, text: &str, wanted: &str) -> Outcome<String> {
        let before = self.scanner.elements;
        self.send(text.as_bytes()).await?;
        self.until(|scanner| scanner.elements > before).await?;
        let came = self.came();
        match came.contains(wanted) && !matches!(attribute(&came, "type"), Some("error")) {
            true => Ok(came),
            false => Err(format!("expected {wanted}, got {came}")),
        }
    }

    /// What came since this was asked the last time.
    fn came(&mut self) -> String {
        let came = self.text.replace(Vec::new()).unwrap_or_default();
        String::from_utf8_lossy(&came).into_owned()
    }

    /// A round trip: what was sent before has been read by the server then.
    pub(crate) async fn ping(&mut self) -> Outcome<()> {
        let before = self.scanner.iqs;
        let ping = format!("<iq type='get' id='ping' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>");
        self.send(ping.as_bytes()).await?;
        self.until(|scanner| scanner.iqs > before).await
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.asking = true;
        let framed;
        let bytes = match &self.frames {
            Some(_) => {
                framed = frame(bytes);
                &framed[..]
            }
            None => bytes,
        };
        let sent = match &mut self.transport {
            Transport::Plain(stream) => stream.write_all(bytes).await,
            Transport::Tls(stream) => match stream.write_all(bytes).await {
                Ok(()) => stream.flush().await,
                Err(error) => Err(error),
            },
            Transport::None => return Err("no connection".to_owned()),
        };
        sent.map_err(|error| format!("write: {error}"))
    }

    /// Reads until the scanner has seen enough.
    pub(crate) async fn until(&mut self, enough: impl Fn(&Scanner) -> bool) -> Outcome<()> {
        while !enough(&self.scanner) {
            self.read().await?;
        }
        Ok(())
    }

    /// Reads once, waiting for it.
    pub(crate) async fn read(&mut self) -> Outcome<()> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    /// Reads what is there, without waiting.
    pub(crate) async fn drain(&mut self) -> Outcome<()> {
        let all = poll_fn(|cx| {
            loop {
                match self.poll_read(cx) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Ready(Ok(())),
                }
            }
        });
        // With tokio's budget a task that read much is told that there is nothing to read.
        tokio::task::unconstrained(all).await
    }

    pub(crate) fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<()>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut into = ReadBuf::new(buffer);
            let read = match &mut self.transport {
                Transport::Plain(stream) => Pin::new(stream).poll_read(cx, &mut into),
                Transport::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, &mut into),
                Transport::None => return Poll::Ready(Err("no connection".to_owned())),
            };
            ready!(read).map_err(|error| format!("read: {error}"))?;
            let mut bytes = into.filled();
            let ended = bytes.is_empty();
            let payload;
            if let Some(frames) = &mut self.frames {
                payload = frames.take(bytes);
                bytes = &payload;
                self.scanner.closed |= frames.closed;
            }
            self.scanner.feed(bytes);
            self.turns += u32::from(std::mem::take(&mut self.asking));
            if let Some(text) = &mut self.text {
                text.extend_from_slice(bytes);
            }
            if ended || self.scanner.closed {
                let text = String::from_utf8_lossy(self.text.as_deref().unwrap_or(bytes)).into_owned();
                return Poll::Ready(Err(format!("the server closed the connection {text}")));
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Closes the stream and waits for the server to do the same.
    pub(crate) async fn close(mut self) {
        let closed = async {
            self.send(b"</stream:stream>").await?;
            loop {
                self.read().await?;
            }
        };
        // Every end is one: an error is what comes when the server closes.
        let _: Result<Outcome<()>, _> = tokio::time::timeout(CLOSE_LIMIT, closed).await;
        let _ = match &mut self.transport {
            Transport::Plain(stream) => stream.shutdown().await,
            Transport::Tls(stream) => stream.shutdown().await,
            Transport::None => Ok(()),
        };
    }
}

/// The header of a stream; `from` tells under TLS who it is.
fn header(from: Option<&str>) -> String {
    let from = from.map_or_else(String::new, |from| format!("from='{from}' "));
    format!(
        "<?xml version='1.0'?><stream:stream {from}to='{DOMAIN}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

/// A login, which does not take forever.
async fn within<T>(number: usize, login: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let done = tokio::time::timeout(LOGIN_LIMIT, login).await;
    done.unwrap_or_else(|_| Err("timed out".to_owned()))
        .map_err(|error| format!("login of {}: {error}", user(number)))
}

/// Reads from both, waiting for either.
pub(crate) async fn read_either(one: &mut Client, other: &mut Client) -> Outcome<()> {
    poll_fn(|cx| match (one.poll_read(cx), other.poll_read(cx)) {
        (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(error)),
        (Poll::Pending, Poll::Pending) => Poll::Pending,
        _ => Poll::Ready(Ok(())),
    })
    .await
}

/// Logs in the accounts with these numbers, with stream management; also returns the ids to resume their streams by.
pub(crate) async fn login_managed(access: &Arc<Access>, numbers: Range<usize>) -> Outcome<(Vec<Client>, Vec<String>)> {
    let (mut clients, _) = login_all(access, numbers, true).await?;
    let mut ids = Vec::with_capacity(clients.len());
    for client in &mut clients {
        ids.push(client.manage().await?);
    }
    Ok((clients, ids))
}

/// Logs in the accounts with these numbers, some at a time, in their order. Times are in microseconds.
pub(crate) async fn login_all(
    access: &Arc<Access>,
    numbers: Range<usize>,
    presence: bool,
) -> Outcome<(Vec<Client>, Vec<u32>)> {
    let access = Arc::clone(access);
    let login = move |number| {
        let access = Arc::clone(&access);
        async move { Client::login(&access, number, presence).await }
    };
    all_of(numbers, login).await
}

/// Does this for each of the numbers, for some at a time; returns what came of it in their order, and how many
/// microseconds each took.
pub(crate) async fn all_of<T, F>(
    numbers: Range<usize>,
    login: impl Fn(usize) -> F + Send + Sync + 'static,
) -> Outcome<(Vec<T>, Vec<u32>)>
where
    T: Send + 'static,
    F: Future<Output = Outcome<T>> + Send + 'static,
{
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(numbers.start));
    let login = Arc::new(login);
    let tasks: Vec<_> = (0..AT_ONCE.min(numbers.len()))
        .map(|_| {
            let (login, next, end) = (Arc::clone(&login), Arc::clone(&next), numbers.end);
            tokio::spawn(async move {
                let mut done = Vec::new();
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number >= end {
                        return Ok::<_, String>(done);
                    }
                    let started = Instant::now();
                    let came = login(number).await?;
                    let micros = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX);
                    done.push((number, came, micros));
                }
            })
        })
        .collect();
    let mut all = Vec::with_capacity(numbers.len());
    for task in tasks {
        all.extend(joined(task.await)?);
    }
    all.sort_unstable_by_key(|(number, ..)| *number);
    Ok(all.into_iter().map(|(_, came, micros)| (came, micros)).unzip())
}

/// Closes all, some at a time.
pub(crate) async fn close_all(mut clients: Vec<Client>) {
    while !clients.is_empty() {
        let some = clients.split_off(clients.len().saturating_sub(8 * AT_ONCE));
        let tasks: Vec<_> = some.into_iter().map(|client| tokio::spawn(client.close())).collect();
        for task in tasks {
            let _ = task.await;
        }
    }
}

/// The result of a task; one that was cancelled is an error.
pub(crate) fn joined<T>(result: Result<Outcome<T>, tokio::task::JoinError>) -> Outcome<T> {
    result.unwrap_or_else(|error| Err(error.to_string()))
}
