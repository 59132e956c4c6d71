//! Questions over HTTP: bounded in number, in time and in the size of the answer, over connections that are kept.
//!
//! Redirects are not followed: what is asked is secret, and goes to nobody but the one who was named.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::rt::ReadBufCursor;
use hyper::{Method, Request, StatusCode};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use crate::Url;

/// The longest head of an answer, in bytes.
const HEAD_BYTES: usize = 16 * 1024;
/// A connection that was not used for so long is not used again: something between may have forgotten it.
const IDLE: Duration = Duration::from_secs(30);
/// Read at once.
const CHUNK_BYTES: usize = 4096;

/// Whom to ask, and how.
#[derive(Clone, Debug)]
pub struct Service {
    pub url: Url,
    /// PEM; the authorities that its certificate may come from. None: those of this machine.
    pub ca: Option<PathBuf>,
    /// From the question to the end of the answer, the wait for a free connection included.
    pub limit: Duration,
    /// Connections at once. Further questions wait.
    pub at_once: usize,
}

/// A request; the service has its URL.
pub(crate) struct Ask {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Ask {
    pub(crate) fn get() -> Ask {
        Ask {
            method: Method::GET,
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// The body is wiped after use.
    pub(crate) fn post(kind: &'static str, body: Zeroizing<Vec<u8>>, authorization: Option<&HeaderValue>) -> Ask {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        Ask {
            method: Method::POST,
            headers,
            body: Bytes::from_owner(body),
        }
    }
}

/// A value of `Authorization` that no log shows.
pub(crate) fn authorization(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

pub(crate) struct Client {
    service: Service,
    line: Line,
    permits: Semaphore,
    /// `at_once` at most.
    idle: Mutex<Vec<(Instant, SendRequest<Whole>)>>,
    /// It gave no answer, and the log says so already.
    is_away: AtomicBool,
}

impl Client {
    /// Connects to nobody yet.
    ///
    /// # Errors
    /// The authorities cannot be read, or there are none.
    pub(crate) fn new(service: Service) -> io::Result<Client> {
        Ok(Client {
            permits: Semaphore::new(service.at_once),
            line: Line::new(service.url.clone(), service.ca.as_deref())?,
            service,
            idle: Mutex::default(),
            is_away: AtomicBool::new(false),
        })
    }

    /// The body of an answer with status 200, of this many bytes at most.
    pub(crate) async fn ask(&self, ask: Ask, most: usize) -> io::Result<Vec<u8>> {
        let asked = tokio::time::timeout(self.service.limit, self.ask_in_time(ask, most)).await;
        let (status, body) = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        if status != StatusCode::OK {
            return Err(io::Error::other(format!("it answers with status {}", status.as_u16())));
        }
        Ok(body)
    }

    /// Says once that the service is away, and once that it is there again.
    pub(crate) fn report<T>(&self, what: &str, answer: io::Result<T>) -> Option<T> {
        let url = &self.service.url;
        match answer {
            Ok(answer) => {
                if self.is_away.swap(false, Ordering::Relaxed) {
                    tracing::info!(%url, "{what} answers again");
                }
                Some(answer)
            }
            Err(error) => {
                if !self.is_away.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%url, %error, "{what} gives no answer: logins that need it fail until it does");
                } else {
                    tracing::debug!(%url, %error, "{what} gives no answer");
                }
                None
            }
        }
    }

    async fn ask_in_time(&self, ask: Ask, most: usize) -> io::Result<(StatusCode, Vec<u8>)> {
        let closed = |_| io::Error::other("the server stops");
        let _permit = self.permits.acquire().await.map_err(closed)?;
        // One that waited may have been closed meanwhile, even while the question was on its way; no question does
        // harm that is asked twice.
        while let Some(mut kept) = self.take_idle() {
            match exchange(&mut kept, self.request(&ask)?, most).await {
                Ok(answer) => {
                    self.idle().push((Instant::now(), kept));
                    return Ok(answer);
                }
                Err(Broken::Connection(_)) => {}
                Err(Broken::TooLong) => return Err(too_long()),
            }
        }
        let mut fresh = self.line.connect().await?;
        match exchange(&mut fresh, self.request(&ask)?, most).await {
            Ok(answer) => {
                self.idle().push((Instant::now(), fresh));
                Ok(answer)
            }
            Err(Broken::Connection(error)) => Err(io::Error::other(error)),
            Err(Broken::TooLong) => Err(too_long()),
        }
    }

    fn request(&self, ask: &Ask) -> io::Result<Request<Whole>> {
        let mut request = Request::new(Whole(Some(ask.body.clone()).filter(|body| !body.is_empty())));
        *request.method_mut() = ask.method.clone();
        *request.uri_mut() = self.service.url.target.parse().map_err(io::Error::other)?;
        *request.headers_mut() = ask.headers.clone();
        let host = HeaderValue::from_str(&self.service.url.authority).map_err(io::Error::other)?;
        request.headers_mut().insert(header::HOST, host);
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Ok(request)
    }

    fn take_idle(&self) -> Option<SendRequest<Whole>> {
        let mut idle = self.idle();
        while let Some((since, kept)) = idle.pop() {
            if since.elapsed() < IDLE && !kept.is_closed() {
                return Some(kept);
            }
        }
        None
    }

    fn idle(&self) -> MutexGuard<'_, Vec<(Instant, SendRequest<Whole>)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How somebody is reached.
pub(crate) struct Line {
    pub(crate) url: Url,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Line {
    /// Connects to nobody yet.
    pub(crate) fn new(url: Url, ca: Option<&Path>) -> io::Result<Line> {
        let tls = match url.is_tls {
            false => None,
            true => {
                let connector = crate::tls::connector(ca, &url, &[b"http/1.1"])?;
                Some((connector, server_name(&url)?))
            }
        };
        Ok(Line { url, tls })
    }

    pub(crate) async fn connect<B: Sent>(&self) -> io::Result<SendRequest<B>> {
        let stream = self.reach().await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => speak(stream).await,
            Some((connector, name)) => speak(connector.connect(name.clone(), stream).await?).await,
        }
    }

    async fn reach(&self) -> io::Result<TcpStream> {
        let url = &self.url;
        let addresses = tokio::net::lookup_host((url.host.as_str(), url.port)).await?;
        let mut last = io::Error::other("its name has no address");
        for address in addresses {
            // Whatever `localhost` means here: nothing goes over a network in the clear.
            if !url.is_tls && !address.ip().to_canonical().is_loopback() {
                continue;
            }
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// A body that can be sent.
pub trait Sent:
    Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static
{
}

impl<B> Sent for B where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static
{
}

pub(crate) fn too_long() -> io::Error {
    io::Error::other("its answer is too long")
}

fn server_name(url: &Url) -> io::Result<ServerName<'static>> {
    let name = ServerName::try_from(url.host.clone());
    name.map_err(|_| io::Error::other(format!("{url}: no certificate can be for this host")))
}

pub(crate) async fn speak<B: Sent>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<SendRequest<B>> {
    let (sender, connection) = Builder::new()
        .max_buf_size(HEAD_BYTES)
        .handshake(Io(stream))
        .await
        .map_err(io::Error::other)?;
    // Over when the other side closes, or when the sender is dropped.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(sender)
}

pub(crate) enum Broken {
    Connection(hyper::Error),
    TooLong,
}

async fn exchange(
    sender: &mut SendRequest<Whole>,
    request: Request<Whole>,
    most: usize,
) -> Result<(StatusCode, Vec<u8>), Broken> {
    sender.ready().await.map_err(Broken::Connection)?;
    let answer = sender.send_request(request).await.map_err(Broken::Connection)?;
    Ok((answer.status(), read_whole(answer.into_body(), most).await?))
}

pub(crate) async fn read_whole(mut body: Incoming, most: usize) -> Result<Vec<u8>, Broken> {
    let mut read = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(Broken::Connection)?;
        let Some(data) = frame.data_ref() else { continue };
        if read.len() + data.len() > most {
            return Err(Broken::TooLong);
        }
        read.extend_from_slice(data);
    }
    Ok(read)
}

/// A body that is there as a whole; `None`: it was sent, or there is none.
pub(crate) struct Whole(pub(crate) Option<Bytes>);

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

/// What hyper reads and writes through.
struct Io<S>(S);

impl<S: AsyncRead + Unpin> hyper::rt::Read for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = [0; CHUNK_BYTES];
        let room = buffer.remaining().min(CHUNK_BYTES);
        let mut read = ReadBuf::new(&mut chunk[..room]);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut read))?;
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> hyper::rt::Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
