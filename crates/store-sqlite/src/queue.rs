//! What waits: batches for the writer, queries for the batches before them, and the figures. One mutex over all of it,
//! held for a push or a swap and never while something is called or dropped.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use store::{Answered, Batch, Query, StoreError, Written};

use crate::options::{Options, Stats};

pub(crate) enum Job {
    Write {
        batch: Batch,
        bytes: usize,
        done: Written,
    },
    /// Goes the same way as the others only to keep the order of callbacks.
    Refused {
        error: StoreError,
        done: Written,
    },
}

pub(crate) struct Read {
    /// Or why it is refused.
    pub(crate) query: Result<Query, StoreError>,
    pub(crate) done: Answered,
}

/// What the writer does next.
pub(crate) enum Next {
    Jobs(Vec<Job>),
    /// Nothing came for the given time.
    Idle,
    /// Closed, and nothing is left.
    End,
}

/// See `Store::after_commits`.
type AfterCommits = Arc<dyn Fn(bool) + Send + Sync>;

pub(crate) struct Shared {
    inner: Mutex<Inner>,
    wake_writer: Condvar,
    wake_readers: Condvar,
    /// A reader holds it shared while it has a snapshot; the writer takes it alone to get a checkpoint through
    /// when it could not at first.
    pub(crate) snapshots: RwLock<()>,

    queue_batches: usize,
    queue_bytes: usize,
    queue_reads: usize,
    waiting_batches: AtomicUsize,
    waiting_bytes: AtomicUsize,
    waiting_reads: AtomicUsize,
    /// All that was asked, refused or not, whose callback has not returned.
    unanswered: AtomicUsize,
    pub(crate) figures: Figures,
    after_commits: Mutex<Option<AfterCommits>>,
}

#[derive(Default)]
pub(crate) struct Figures {
    pub(crate) commits: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) failed_batches: AtomicU64,
    overloaded: AtomicU64,
    pub(crate) reads: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) wal_pages: AtomicU64,
}

#[derive(Default)]
struct Inner {
    jobs: Vec<Job>,
    /// Jobs ever submitted.
    submitted: u64,
    /// Jobs whose results are with the callback thread: the watermark that queries wait for.
    processed: u64,
    /// Queries with the watermark they wait for, ascending.
    waiting: VecDeque<(u64, Read)>,
    ready: VecDeque<Read>,
    writer_sleeps: bool,
    closed: bool,
    readers_stop: bool,
}

impl Shared {
    pub(crate) fn new(options: &Options) -> Shared {
        Shared {
            inner: Mutex::default(),
            wake_writer: Condvar::new(),
            wake_readers: Condvar::new(),
            snapshots: RwLock::new(()),
            queue_batches: options.queue_batches,
            queue_bytes: options.queue_bytes,
            queue_reads: options.queue_reads,
            waiting_batches: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            waiting_reads: AtomicUsize::new(0),
            unanswered: AtomicUsize::new(0),
            figures: Figures::default(),
            after_commits: Mutex::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing under this lock panics half-way.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Each with how many bytes it is, or why it is refused.
    pub(crate) fn submit_writes(&self, writes: impl IntoIterator<Item = (Result<usize, StoreError>, Batch, Written)>) {
        let mut too_late = Vec::new();
        let mut refused = Vec::new();
        {
            let mut inner = self.lock();
            for (checked, batch, done) in writes {
                if inner.closed {
                    too_late.push(done);
                    continue;
                }
                let job = match checked.and_then(|bytes| self.admit(bytes)) {
                    Ok(bytes) => Job::Write { batch, bytes, done },
                    Err(error) => {
                        refused.push(batch);
                        Job::Refused { error, done }
                    }
                };
                inner.submitted += 1;
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                inner.jobs.push(job);
            }
            if inner.writer_sleeps && !inner.jobs.is_empty() {
                inner.writer_sleeps = false;
                self.wake_writer.notify_one();
            }
        }
        for done in too_late {
            done(Err(StoreError::Closed));
        }
    }

    /// Counts a batch of so many bytes in, or refuses it. Called under the lock, so that two callers cannot both take the last place.
    fn admit(&self, bytes: usize) -> Result<usize, StoreError> {
        let batches = self.waiting_batches.load(Ordering::Relaxed);
        let all_bytes = self.waiting_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if batches >= self.queue_batches || (all_bytes > self.queue_bytes && batches > 0) {
            self.figures.overloaded.fetch_add(1, Ordering::Relaxed);
            return Err(StoreError::Overloaded);
        }
        self.waiting_batches.fetch_add(1, Ordering::Relaxed);
        self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(bytes)
    }

    /// The callbacks of so many jobs were called; so many of them had been admitted.
    pub(crate) fn release(&self, jobs: usize, batches: usize, bytes: usize) {
        self.unanswered.fetch_sub(jobs, Ordering::Release);
        self.waiting_batches.fetch_sub(batches, Ordering::Relaxed);
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Batches that were taken and are not called back.
    pub(crate) fn has_batches(&self) -> bool {
        self.waiting_batches.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn submit_read(&self, query: Result<Query, StoreError>, done: Answered) {
        let mut inner = self.lock();
        if inner.closed {
            drop(inner);
            return done(Err(StoreError::Closed));
        }
        let query = query.and_then(|query| {
            if self.waiting_reads.load(Ordering::Relaxed) < self.queue_reads {
                return Ok(query);
            }
            self.figures.overloaded.fetch_add(1, Ordering::Relaxed);
            Err(StoreError::Overloaded)
        });
        self.waiting_reads.fetch_add(1, Ordering::Relaxed);
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        let read = Read { query, done };
        if inner.processed == inner.submitted {
            inner.ready.push_back(read);
            self.wake_readers.notify_one();
        } else {
            let after = inner.submitted;
            inner.waiting.push_back((after, read));
        }
    }

    /// The callback of a query was called.
    pub(crate) fn release_read(&self) {
        self.waiting_reads.fetch_sub(1, Ordering::Relaxed);
        self.unanswered.fetch_sub(1, Ordering::Release);
    }

    /// Everything is answered. What a callback asked is counted before the callback is taken off.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.unanswered.load(Ordering::Acquire) == 0
    }

    /// Waits for jobs; with `idle` at most so long.
    pub(crate) fn next_jobs(&self, idle: Option<Duration>) -> Next {
        let mut inner = self.lock();
        loop {
            if !inner.jobs.is_empty() {
                return Next::Jobs(std::mem::take(&mut inner.jobs));
            }
            if inner.closed {
                return Next::End;
            }
            inner.writer_sleeps = true;
            match idle {
                None => inner = self.wake_writer.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(idle) => {
                    let (woken, timeout) = self
                        .wake_writer
                        .wait_timeout(inner, idle)
                        .unwrap_or_else(PoisonError::into_inner);
                    inner = woken;
                    if timeout.timed_out() && inner.jobs.is_empty() && !inner.closed {
                        inner.writer_sleeps = false;
                        return Next::Idle;
                    }
                }
            }
        }
    }

    /// So many more jobs have their results with the callback thread; queries that waited for them go ahead.
    pub(crate) fn processed(&self, jobs: usize) {
        let mut inner = self.lock();
        inner.processed += jobs as u64;
        let mark = inner.processed;
        while inner.waiting.front().is_some_and(|(after, _)| *after <= mark) {
            // The front was there a line ago, under the same lock.
            if let Some((_, read)) = inner.waiting.pop_front() {
                inner.ready.push_back(read);
                self.wake_readers.notify_one();
            }
        }
    }

    /// Waits for a query; `None` when the readers shall end and nothing is left.
    pub(crate) fn next_read(&self) -> Option<Read> {
        let mut inner = self.lock();
        loop {
            if let Some(read) = inner.ready.pop_front() {
                return Some(read);
            }
            if inner.readers_stop {
                return None;
            }
            inner = self.wake_readers.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// From now on everything new is refused.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.wake_writer.notify_all();
    }

    /// After the writer has ended.
    pub(crate) fn stop_readers(&self) {
        self.lock().readers_stop = true;
        self.wake_readers.notify_all();
    }

    pub(crate) fn set_after_commits(&self, call: Box<dyn Fn(bool) + Send + Sync>) {
        let mut place = self.after_commits.lock().unwrap_or_else(PoisonError::into_inner);
        let old = place.replace(call.into());
        drop(place);
        // Outside the lock: its captures may do anything when dropped.
        drop(old);
    }

    pub(crate) fn after_commits(&self) -> Option<AfterCommits> {
        self.after_commits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn stats(&self) -> Stats {
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let figures = &self.figures;
        Stats {
            commits: read(&figures.commits),
            batches: read(&figures.batches),
            failed_batches: read(&figures.failed_batches),
            overloaded: read(&figures.overloaded),
            reads: read(&figures.reads),
            checkpoints: read(&figures.checkpoints),
            wal_pages: read(&figures.wal_pages),
            waiting_batches: self.waiting_batches.load(Ordering::Relaxed) as u64,
        }
    }
}
