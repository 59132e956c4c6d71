//! The floor: a server that does as little as can be done. It answers the login with canned text, then relays bytes
//! between user 2k and user 2k+1 without reading them; or from anybody to everybody, like a room. What it costs is the kernel, tokio and rustls.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::process::Process;
use super::{Running, Setup, Target, address, fresh};
use crate::report::FLOOR;
use crate::scan::{Scanner, text_of};
use crate::work::Work;
use crate::{Outcome, tls};

const NUMBER: u8 = 4;
/// What is read at once.
const READ_BYTES: usize = 40_960;
/// The longest login.
const LOGIN_BYTES: usize = 65_536;
/// Requests of a client before its session is one: resource, roster, ping.
const REQUESTS: u64 = 3;

pub(super) struct Floor {
    folder: PathBuf,
}

impl Floor {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

impl Target for Floor {
    fn name(&self) -> &'static str {
        FLOOR
    }

    fn does(&self, work: Work) -> bool {
        let is_more = matches!(work, Work::Presence | Work::Offline | Work::Roster) || work.archives();
        work == Work::Room || (!is_more && !work.is_ours_alone())
    }

    fn prepare(&mut self, _: usize) -> Outcome<()> {
        self.folder = fresh(&self.folder)?;
        Ok(())
    }

    fn start(&self, setup: &Setup) -> Outcome<Running> {
        let folder = fresh(&self.folder.join("run"))?;
        let address = address(NUMBER);
        let program = std::env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
        let address_text = address.to_string();
        let mut arguments = vec!["floor", &address_text];
        if setup.has_rooms {
            arguments.push("--rooms");
        }
        let mut process = Process::start(&program.to_string_lossy(), &arguments, &[], &folder)?;
        process.listens(address)?;
        Ok(Running { process, address })
    }
}

/// Runs the floor until it is killed.
///
/// `has_rooms`: what comes goes to everybody.
pub(crate) async fn serve(address: SocketAddr, has_rooms: bool) -> Outcome<()> {
    if !address.ip().is_loopback() {
        return Err("only a loopback address".to_owned());
    }
    let acceptor = TlsAcceptor::from(tls::server()?);
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("{address}: {error}"))?;
    let table = Arc::new(Table {
        has_rooms,
        ..Table::default()
    });
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let (acceptor, table) = (acceptor.clone(), Arc::clone(&table));
        // A connection ends with its client; nobody asks how.
        tokio::spawn(async move { Box::pin(connection(stream, acceptor, table)).await });
    }
}

async fn connection(mut stream: TcpStream, acceptor: TlsAcceptor, table: Arc<Table>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match login(&mut stream, true).await? {
        Some(user) => Relay::new(Box::new(stream), user, table).await,
        None => {
            let mut stream = Box::new(acceptor.accept(stream).await?);
            let user = login(&mut *stream, false).await?.ok_or(io::ErrorKind::InvalidData)?;
            Relay::new(stream, user, table).await
        }
    }
}

/// Answers until the session is there and returns the number of its user, or `None` for `<starttls/>`.
async fn login(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), may_encrypt: bool) -> io::Result<Option<usize>> {
    const OPEN: &str = "<?xml version='1.0'?><stream:stream from='localhost' id='1' version='1.0' \
                        xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    let mut all = Vec::new();
    let (mut user, mut answered) = (None, 0);
    let mut scanner = Scanner::new();
    loop {
        let mut buffer = [0; 4_096];
        let read = stream.read(&mut buffer).await?;
        if read == 0 || all.len() > LOGIN_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let bytes = &buffer[..read];
        all.extend_from_slice(bytes);
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut answer = String::new();
        if text.contains("<stream:stream") {
            scanner = Scanner::new();
            let features = match (user, may_encrypt) {
                (Some(_), _) => "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>",
                (None, true) => {
                    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><mechanisms \
                     xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
                }
                (None, false) => {
                    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
                }
            };
            answer.push_str(&format!("{OPEN}<stream:features>{features}</stream:features>"));
        }
        scanner.feed(bytes);
        if may_encrypt && text.contains("<starttls") {
            stream
                .write_all(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
                .await?;
            return Ok(None);
        }
        if let Some(auth) = text_of(&text, "auth") {
            let decoded = STANDARD.decode(auth).unwrap_or_default();
            let name = decoded.split(|byte| *byte == 0).nth(1).unwrap_or_default();
            let name = String::from_utf8_lossy(name);
            user = name.strip_prefix("user").and_then(|number| number.parse().ok());
            answer.push_str("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        }
        while answered < scanner.iqs {
            answered += 1;
            answer.push_str("<iq type='result' id='x'><jid>x</jid></iq>");
        }
        stream.write_all(answer.as_bytes()).await?;
        stream.flush().await?;
        if let (Some(user), true) = (user, answered >= REQUESTS) {
            return Ok(Some(user));
        }
    }
}

/// What waits for each user.
#[derive(Default)]
struct Table {
    has_rooms: bool,
    users: Mutex<BTreeMap<usize, Arc<Mutex<Outbox>>>>,
}

#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    owner: Option<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl Table {
    fn outbox(&self, user: usize) -> Arc<Mutex<Outbox>> {
        Arc::clone(lock(&self.users).entry(user).or_default())
    }
}

fn give(outbox: &Mutex<Outbox>, bytes: &[u8]) {
    let mut outbox = lock(outbox);
    outbox.bytes.extend_from_slice(bytes);
    let owner = outbox.owner.take();
    drop(outbox);
    if let Some(owner) = owner {
        owner.wake();
    }
}

/// To who comes into a room, or makes it; all else is for everybody.
fn answer_of_a_room(bytes: &[u8]) -> Option<&'static [u8]> {
    let has = |text: &str| memchr::memmem::find(bytes, text.as_bytes()).is_some();
    if has("protocol/muc'") {
        Some(b"<presence/><message><subject/></message>")
    } else if has("protocol/muc#owner'") {
        Some(b"<iq type='result'/>")
    } else {
        None
    }
}

/// One session: a future by hand, as the server's connections are, so that an idle one holds next to nothing.
struct Relay<S> {
    stream: Box<S>,
    own: Arc<Mutex<Outbox>>,
    other: Arc<Mutex<Outbox>>,
    /// Of everybody, if there are rooms.
    table: Option<Arc<Table>>,
    /// What is being written, and how much of it is.
    writing: (Vec<u8>, usize),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Relay<S> {
    fn new(stream: Box<S>, user: usize, table: Arc<Table>) -> Self {
        Self {
            stream,
            own: table.outbox(user),
            other: table.outbox(user ^ 1),
            table: table.has_rooms.then_some(table),
            writing: (Vec::new(), 0),
        }
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        thread_local!(static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; READ_BYTES]));
        BUFFER.with_borrow_mut(|buffer| {
            let mut into = ReadBuf::new(buffer);
            std::task::ready!(Pin::new(&mut *self.stream).poll_read(cx, &mut into))?;
            let bytes = into.filled();
            if bytes.is_empty() || bytes.ends_with(b"</stream:stream>") {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            match &self.table {
                None => give(&self.other, bytes),
                Some(table) => match answer_of_a_room(bytes) {
                    Some(answer) => give(&self.own, answer),
                    None => lock(&table.users).values().for_each(|outbox| give(outbox, bytes)),
                },
            }
            Poll::Ready(Ok(()))
        })
    }

    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.writing.1 == self.writing.0.len() {
                let mut own = lock(&self.own);
                if own.bytes.is_empty() {
                    own.owner = Some(cx.waker().clone());
                    drop(own);
                    self.writing = (Vec::new(), 0);
                    return Pin::new(&mut *self.stream).poll_flush(cx);
                }
                self.writing = (std::mem::take(&mut own.bytes), 0);
            }
            let rest = &self.writing.0[self.writing.1..];
            self.writing.1 += std::task::ready!(Pin::new(&mut *self.stream).poll_write(cx, rest))?;
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Relay<S> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Poll::Ready(read) = self.read(cx) {
            read?;
        }
        match self.write(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        }
    }
}
