//! Files at a service that speaks S3: objects of one bucket, called by the id behind a prefix.
//!
//! `rusty_s3` signs the requests, as links that are good for a while, and knows nothing of connections. An object is there
//! when the service has said so, whole or not at all. Downloads go through here: a link of the service's own would come
//! without what keeps a browser from running what it gets.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use backends::{Answered, Remote};
use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue, RANGE};
use hyper::{Method, Request, StatusCode};
use rusty_s3::actions::{DeleteObject, GetObject, PutObject};
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::body::Reading;

/// For how long a signature is good: longer than any request waits to be sent.
const SIGNED: Duration = Duration::from_secs(600);
/// How long the service may take to answer when it has everything.
const ANSWER: Duration = Duration::from_secs(60);
/// Pieces of an upload that wait for the service, of 16 KiB at most each.
const PIECES: usize = 8;

/// Where the bucket is, and with what we come.
pub struct Settings {
    /// `https://s3.example.net`, or http on this machine.
    pub endpoint: String,
    pub bucket: String,
    pub region: String,
    /// The bucket stands in the path, and not in the name of the host.
    pub is_in_path: bool,
    pub access_key: String,
    pub secret_key: String,
    /// What every name begins with.
    pub prefix: String,
}

pub struct S3 {
    bucket: Bucket,
    credentials: Credentials,
    remote: Remote,
    prefix: String,
}

/// An upload. Dropped before [`Arriving::settle`], the service gets less than it was promised and keeps nothing.
pub(super) struct Arriving {
    pieces: mpsc::Sender<Bytes>,
    answer: JoinHandle<io::Result<()>>,
}

impl S3 {
    pub(super) fn new(settings: Settings, ca: Option<&Path>) -> io::Result<S3> {
        let wrong = |error: &dyn std::fmt::Display| io::Error::other(format!("{}: {error}", settings.endpoint));
        let style = match settings.is_in_path {
            true => UrlStyle::Path,
            false => UrlStyle::VirtualHost,
        };
        let endpoint = settings.endpoint.parse().map_err(|error| wrong(&error))?;
        let bucket = Bucket::new(endpoint, style, settings.bucket.clone(), settings.region.clone());
        let bucket = bucket.map_err(|error| wrong(&error))?;
        let url = bucket
            .base_url()
            .as_str()
            .parse()
            .map_err(|error: String| wrong(&error))?;
        Ok(S3 {
            remote: Remote::new(url, ca)?,
            credentials: Credentials::new(settings.access_key, settings.secret_key),
            bucket,
            prefix: settings.prefix,
        })
    }

    fn object(&self, id: &str) -> String {
        format!("{}{id}", self.prefix)
    }

    pub(super) async fn receive(&self, id: &str, size: u64) -> io::Result<Arriving> {
        let name = self.object(id);
        let action = PutObject::new(&self.bucket, Some(&self.credentials), &name);
        let (pieces, receiver) = mpsc::channel(PIECES);
        let body = Piped { receiver, left: size };
        let mut request = request(Method::PUT, &action, body)?;
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(size));
        let remote = self.remote.clone();
        // It ends when the pieces do, and a while later at the latest.
        let answer = tokio::spawn(async move {
            let answered = remote.send(request).await?;
            match answered.response.status() {
                StatusCode::OK => Ok(()),
                status => Err(refused("an upload", status)),
            }
        });
        Ok(Arriving { pieces, answer })
    }

    pub(super) async fn read(&self, id: &str, from: u64, count: u64) -> io::Result<Option<Reading>> {
        let name = self.object(id);
        let action = GetObject::new(&self.bucket, Some(&self.credentials), &name);
        let mut request = request(Method::GET, &action, Empty)?;
        let range = format!("bytes={from}-{}", from + count.max(1) - 1);
        let range = HeaderValue::from_str(&range).map_err(io::Error::other)?;
        request.headers_mut().insert(RANGE, range);
        let answered = self.ask(request).await?;
        match answered.response.status() {
            StatusCode::PARTIAL_CONTENT => {}
            // A service that gives no parts is good for a whole.
            StatusCode::OK if from == 0 => {}
            StatusCode::NOT_FOUND => return Ok(None),
            status => return Err(refused("a download", status)),
        }
        Ok(Some(Reading::of_remote(answered, count)))
    }

    pub(super) async fn remove(&self, id: &str) -> io::Result<()> {
        let name = self.object(id);
        let action = DeleteObject::new(&self.bucket, Some(&self.credentials), &name);
        let answered = self.ask(request(Method::DELETE, &action, Empty)?).await?;
        match answered.response.status() {
            StatusCode::OK | StatusCode::NO_CONTENT | StatusCode::NOT_FOUND => Ok(()),
            status => Err(refused("a deletion", status)),
        }
    }

    async fn ask(&self, request: Request<Empty>) -> io::Result<Answered> {
        let answered = timeout(ANSWER, self.remote.send(request)).await;
        answered.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Arriving {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.pieces.send(Bytes::copy_from_slice(bytes)).await {
            Ok(()) => Ok(()),
            // The request is over before its time.
            Err(_) => match (&mut self.answer).await {
                Ok(Err(error)) => Err(error),
                _ => Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
    }

    pub(super) async fn settle(self) -> io::Result<()> {
        drop(self.pieces);
        match timeout(ANSWER, self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// As a link of S3, signed for a while.
fn request<'a, B>(method: Method, action: &impl S3Action<'a>, body: B) -> io::Result<Request<B>> {
    let url = action.sign(SIGNED);
    let authority = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (Some(host), None) => host.to_owned(),
        (None, _) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    *request.uri_mut() = target.parse().map_err(io::Error::other)?;
    let host = HeaderValue::from_str(&authority).map_err(io::Error::other)?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// Says nothing of the request, which has a signature in it.
fn refused(what: &str, status: StatusCode) -> io::Error {
    match status {
        StatusCode::INSUFFICIENT_STORAGE => io::ErrorKind::StorageFull.into(),
        status => io::Error::other(format!(
            "the service of S3 refused {what} with status {}",
            status.as_u16()
        )),
    }
}

/// No body.
struct Empty;

impl Body for Empty {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

/// A body that comes piece by piece.
struct Piped {
    receiver: mpsc::Receiver<Bytes>,
    left: u64,
}

impl Body for Piped {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match ready!(self.receiver.poll_recv(cx)) {
            Some(piece) => {
                self.left = self.left.saturating_sub(piece.len() as u64);
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
            None if self.left == 0 => Poll::Ready(None),
            // Then hyper breaks the connection, and the service throws away what it has.
            None => Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
