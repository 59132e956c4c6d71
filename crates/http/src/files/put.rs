//! An upload: of just the length and the type that the slot was given for, and once.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use files::Record;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, TRANSFER_ENCODING};
use hyper::{Request, StatusCode};
use store::StoreError;
use tokio::time::{Instant, timeout_at};

use super::depot::Arriving;
use super::{Files, Response, headers, unavailable, unknown};
use crate::answer::{self, Answer};

/// How long nothing may come.
const SILENCE: Duration = Duration::from_secs(60);
/// What an upload may take in all: so long, and as long as its bytes take at this rate.
const LEAST_TIME: Duration = Duration::from_secs(60);
const LEAST_BYTES_PER_SECOND: u64 = 4096;

/// Why an upload was not taken.
enum Failed {
    /// The client is gone, or too slow.
    Client(&'static str),
    Depot(io::Error),
}

/// The status, and why.
type Refusal = (StatusCode, &'static str);

/// An upload under way: no other goes to the same slot.
struct Claim {
    files: Arc<Files>,
    id: Box<str>,
}

impl Claim {
    /// None: somebody else uploads there.
    fn of(files: &Arc<Files>, id: &str) -> Option<Claim> {
        let is_first = files.uploads().insert(id.into());
        is_first.then(|| Claim {
            files: Arc::clone(files),
            id: id.into(),
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.files.uploads().remove(&self.id);
    }
}

impl Files {
    pub(super) async fn take(self: &Arc<Files>, request: Request<Incoming>, path: &str) -> Response {
        let is = |answer, is_known| Response { answer, is_known };
        let Some((id, name)) = files::read(path) else {
            return is(unknown(), false);
        };
        let Some(claim) = Claim::of(self, id) else {
            return is(conflict("an upload to this slot is under way"), false);
        };
        let slot = match self.find(id).await {
            Ok((Some(slot), _)) => slot,
            Ok((None, Some(file))) if *file.name == *name => {
                return is(conflict("this slot was used; ask for another"), false);
            }
            Ok(_) => return is(unknown(), false),
            Err(error) => return is(self.not_stored(&error), false),
        };
        if *slot.name != *name {
            return is(unknown(), false);
        }
        if (self.clock)() >= self.terms.slot_ends(&slot) {
            return is(
                refused(StatusCode::NOT_FOUND, "the time of this slot is over; ask for another"),
                false,
            );
        }
        let kind = match self.check(request.headers(), &slot) {
            Ok(kind) => kind,
            Err((status, why)) => return is(refused(status, why), true),
        };
        is(self.receive(claim, slot, kind, request.into_body()).await, true)
    }

    /// Whether it is what the slot was given for. Returns its type.
    fn check(&self, headers: &HeaderMap, slot: &Record) -> Result<Option<Box<str>>, Refusal> {
        if headers.contains_key(TRANSFER_ENCODING) {
            return Err((StatusCode::LENGTH_REQUIRED, "Content-Length is needed (XEP-0363)"));
        }
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        let length = lengths
            .next()
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        let Some(length) = length.filter(|_| lengths.next().is_none()) else {
            return Err((StatusCode::LENGTH_REQUIRED, "Content-Length is needed (XEP-0363)"));
        };
        if length != slot.size {
            let status = if length > slot.size {
                StatusCode::PAYLOAD_TOO_LARGE
            } else {
                StatusCode::BAD_REQUEST
            };
            return Err((status, "Content-Length is not the size that the slot was given for"));
        }
        let kind = match headers.get(CONTENT_TYPE).map(|kind| kind.to_str()) {
            None => None,
            Some(Ok(kind)) if files::is_kind(kind) => Some(kind),
            Some(_) => {
                return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type is no media type"));
            }
        };
        match (&slot.kind, kind) {
            (Some(agreed), Some(kind)) if headers::essence(agreed) != headers::essence(kind) => Err((
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Content-Type is not the type that the slot was given for",
            )),
            (Some(agreed), _) => Ok(Some(agreed.clone())),
            (None, kind) => Ok(kind.map(Into::into)),
        }
    }

    async fn receive(self: &Arc<Files>, claim: Claim, slot: Record, kind: Option<Box<str>>, body: Incoming) -> Answer {
        let arrived = match self.depot.receive(&claim.id, slot.size).await {
            Ok(arriving) => fill(arriving, body, slot.size).await,
            Err(error) => Err(Failed::Depot(error)),
        };
        match arrived {
            // On its own from here: a client that goes now leaves it whole or not at all.
            Ok(arriving) => {
                let files = Arc::clone(self);
                let kept = tokio::spawn(async move { files.keep(claim, arriving, &slot, kind).await });
                kept.await.unwrap_or_else(|_| unavailable())
            }
            Err(Failed::Client(why)) => refused(StatusCode::REQUEST_TIMEOUT, why),
            Err(Failed::Depot(error)) => not_written(&error),
        }
    }

    /// Everything has come.
    async fn keep(&self, claim: Claim, arriving: Arriving, slot: &Record, kind: Option<Box<str>>) -> Answer {
        let id = &claim.id;
        if let Err(error) = arriving.settle().await {
            return not_written(&error);
        }
        let batch = files::complete(id, slot, kind.as_deref(), (self.clock)());
        if let Err(error) = self.write(batch).await {
            if let Err(error) = self.depot.remove(id).await {
                tracing::warn!(id = &**id, %error, "an upload that was refused is still on the disk");
            }
            return self.not_stored(&error);
        }
        if let Err(error) = self.depot.place(id).await {
            tracing::error!(id = &**id, %error, "an upload has no place yet; the next start gives it one");
            return unavailable();
        }
        tracing::debug!(id = &**id, user = %slot.user, bytes = slot.size, "a file was uploaded");
        answer::empty(StatusCode::CREATED)
    }

    fn not_stored(&self, error: &StoreError) -> Answer {
        match error {
            // The slot has ended meanwhile, or the account.
            StoreError::Missing => refused(StatusCode::NOT_FOUND, "the time of this slot is over; ask for another"),
            StoreError::Full => {
                tracing::error!("an upload was refused: no room left on the disk of the database");
                refused(StatusCode::INSUFFICIENT_STORAGE, "there is no room for it")
            }
            error => {
                tracing::warn!(%error, "an upload was refused: the database did not take it");
                unavailable()
            }
        }
    }
}

/// Takes the body, which has just so many bytes: hyper sees to it that there are no more and no less.
async fn fill(mut arriving: Arriving, mut body: Incoming, size: u64) -> Result<Arriving, Failed> {
    let end = Instant::now() + LEAST_TIME + Duration::from_secs(size / LEAST_BYTES_PER_SECOND);
    let mut left = size;
    loop {
        let deadline = end.min(Instant::now() + SILENCE);
        let frame = timeout_at(deadline, poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)));
        let frame = match frame.await {
            Err(_) => return Err(Failed::Client("the upload is too slow")),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Failed::Client("the upload has broken off")),
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(data) = frame.data_ref() else { continue };
        left = match left.checked_sub(data.len() as u64) {
            Some(left) => left,
            None => return Err(Failed::Client("the upload is longer than it said")),
        };
        arriving.write(data).await.map_err(Failed::Depot)?;
    }
    match left {
        0 => Ok(arriving),
        _ => Err(Failed::Client("the upload is shorter than it said")),
    }
}

fn not_written(error: &io::Error) -> Answer {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            tracing::error!(%error, "an upload was refused: no room left for files; make some, or lower the limits of [files]");
            refused(StatusCode::INSUFFICIENT_STORAGE, "there is no room for it")
        }
        _ => {
            tracing::error!(%error, "an upload was refused: it could not be written");
            unavailable()
        }
    }
}

fn conflict(why: &'static str) -> Answer {
    refused(StatusCode::CONFLICT, why)
}

fn refused(status: StatusCode, why: &'static str) -> Answer {
    tracing::debug!(%status, "an upload was refused: {why}");
    answer::refusal(status, why)
}
