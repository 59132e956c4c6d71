//! Uploaded files (XEP-0363): taken from whoever has a slot, and given to whoever has the link.
//!
//! What is a slot, what is a file and what counts against whose quota is in the store (`jackdaw_files`); the bytes are in
//! a [`Depot`]. An upload is flushed in the depot first, then the slot becomes a file in one batch, then the bytes get
//! their place, and only then 201 is said. What a crash leaves in between is put right at the next start
//! ([`Files::recover`]): each step finds out by the store how far the one before came.
//!
//! What is served here comes from strangers. So nothing but pictures, sound and moving pictures is shown by a browser;
//! the rest it saves. Whatever it shows may not run anything ([`headers`]).

mod body;
mod depot;
mod disk;
mod get;
mod headers;
mod put;
mod range;
mod s3;

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use files::{FILES, Record, SLOTS, Terms};
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode};
use module::Now;
use store::{Batch, Found, Query, Store, StoreError};
use tokio::sync::{Notify, oneshot};

pub(crate) use body::Reading;
pub use depot::Depot;
pub use s3::Settings as S3Settings;

use crate::answer::{self, Answer};

/// Slots of an earlier run that are looked up at once.
const RECOVERED_AT_ONCE: usize = 256;

/// The files of all ports.
pub struct Files {
    store: Arc<dyn Store>,
    depot: Depot,
    terms: Terms,
    clock: fn() -> Now,
    /// Ids of uploads that have begun.
    under_way: Mutex<HashSet<Box<str>>>,
    /// Somebody's files are to be deleted: not at some time, but now.
    hurry: Notify,
}

/// What a request for a file came to.
pub(crate) struct Response {
    pub(crate) answer: Answer,
    /// Somebody has come with a slot, which only accounts get.
    pub(crate) is_known: bool,
}

impl Files {
    pub fn new(store: Arc<dyn Store>, depot: Depot, terms: Terms, clock: fn() -> Now) -> Files {
        Files {
            store,
            depot,
            terms,
            clock,
            under_way: Mutex::default(),
            hurry: Notify::new(),
        }
    }

    /// Answers a request. `path`: behind what all files have in common.
    pub(crate) async fn respond(self: &Arc<Files>, request: Request<Incoming>, path: &str) -> Response {
        let unknown = |answer| Response {
            answer,
            is_known: false,
        };
        let mut response = match *request.method() {
            Method::GET | Method::HEAD => unknown(self.give(&request, path).await),
            Method::PUT => self.take(request, path).await,
            Method::OPTIONS => unknown(headers::preflight()),
            _ => unknown(answer::not_allowed(headers::METHODS)),
        };
        headers::protect(&mut response.answer);
        response
    }

    /// Puts right what was going on when the last run ended. Before anybody is served.
    ///
    /// # Errors
    /// The depot or the store cannot be read.
    pub async fn recover(&self) -> io::Result<()> {
        let left = self.depot.left_over().await?;
        let (mut kept, mut removed) = (0, 0);
        for ids in left.chunks(RECOVERED_AT_ONCE) {
            let queries = ids.iter().map(|id| Query::get(&FILES, id, None)).collect();
            let rows = self.read(Query::Many(queries)).await.and_then(Found::many);
            for (id, row) in ids.iter().zip(rows.map_err(io::Error::other)?) {
                // The batch came before the place.
                match row.row().map_err(io::Error::other)? {
                    Some(_) => {
                        self.depot.place(id).await?;
                        kept += 1;
                    }
                    None => {
                        self.depot.remove(id).await?;
                        removed += 1;
                    }
                }
            }
        }
        if kept + removed > 0 {
            tracing::info!(kept, removed, "uploads that the last run did not end are in order");
        }
        Ok(())
    }

    /// Deletes the bytes of files that the store does not know, in one of 256 parts. A file gets its place behind its
    /// row and leaves it before, so there are none, unless the store was put back to what it was earlier. Returns how
    /// many there were.
    ///
    /// # Errors
    /// The depot or the store cannot be read.
    pub async fn remove_strays(&self, part: u8) -> io::Result<usize> {
        let mut removed = 0;
        for ids in self.depot.part(part).await?.chunks(RECOVERED_AT_ONCE) {
            let queries = ids.iter().map(|id| Query::get(&FILES, id, None)).collect();
            let rows = self.read(Query::Many(queries)).await.and_then(Found::many);
            for (id, row) in ids.iter().zip(rows.map_err(io::Error::other)?) {
                if row.row().map_err(io::Error::other)?.is_none() {
                    self.depot.remove(id).await?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Whether an upload to this slot has begun: then it does not end by time.
    pub fn is_under_way(&self, id: &str) -> bool {
        self.uploads().contains(id)
    }

    pub fn terms(&self) -> &Terms {
        &self.terms
    }

    /// Deletes the bytes of a file or a slot. None is as good as deleted.
    ///
    /// # Errors
    /// They may be there still.
    pub async fn remove(&self, id: &str) -> io::Result<()> {
        self.depot.remove(id).await
    }

    /// Files have to be deleted soon: an account is gone.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Waits for [`Files::hurry`].
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    fn uploads(&self) -> MutexGuard<'_, HashSet<Box<str>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The slot of this id, and the file.
    async fn find(&self, id: &str) -> Result<(Option<Record>, Option<Record>), StoreError> {
        let query = Query::Many(vec![Query::get(&SLOTS, id, None), Query::get(&FILES, id, None)]);
        let mut found = self.read(query).await?.many()?.into_iter();
        let mut next = || {
            let row = found.next().map_or(Ok(None), Found::row)?;
            Ok::<_, StoreError>(row.as_ref().and_then(Record::read))
        };
        Ok((next()?, next()?))
    }

    async fn read(&self, query: Query) -> Result<Found, StoreError> {
        let (sender, receiver) = oneshot::channel();
        // Nobody listens any more only if the client has gone.
        self.store
            .read(query, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let (sender, receiver) = oneshot::channel();
        self.store
            .write(batch, Box::new(move |result| drop(sender.send(result))));
        receiver.await.unwrap_or(Err(StoreError::Closed)).map(drop)
    }
}

fn unknown() -> Answer {
    answer::refusal(StatusCode::NOT_FOUND, "there is no such file")
}

/// The store or the depot did not do it.
fn unavailable() -> Answer {
    answer::refusal(
        StatusCode::SERVICE_UNAVAILABLE,
        "it cannot be done just now; try again later",
    )
}
