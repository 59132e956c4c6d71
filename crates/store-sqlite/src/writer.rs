//! The writer thread: groups, commits, checkpoints.
//!
//! The checkpoint policy. `wal_autocheckpoint` is off. The writer runs a PASSIVE checkpoint between two commits when the
//! log has [`CHECKPOINT_PAGES`], or [`IDLE_PAGES`] when nothing came for [`IDLE_AFTER`]; the next commit then
//! starts over at the beginning of the log, which is a third cheaper than to let it grow. A reader's snapshot can
//! keep it from finishing or from starting over; it is tried again every [`RETRY_PAGES`], and then the readers are held
//! for the length of the checkpoint (some 10 ms), without which continuous short reads would let the log grow for ever.
//! The log file is never truncated while open, as overwriting is cheaper.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, Error, MAIN_DB};
use store::{Batch, StoreError, Written, Wrote};

use crate::archive::Archiver;
use crate::callback::Finished;
use crate::error::{classify, describe, is_before_the_commit_record, is_failed_fsync};
use crate::log_index::LogIndex;
use crate::options::GROUP_LIMIT;
use crate::queue::{Job, Next, Shared};
use crate::sql::{self, Plan};

/// 16 MB of log.
const CHECKPOINT_PAGES: u64 = 4_000;
/// 4 MB of log.
const IDLE_PAGES: u64 = 1_000;
const RETRY_PAGES: u64 = 1_000;
/// 64 MB of log: only another program's snapshot (a backup) can let it grow so far. Nothing is wrong yet, but it is
/// worth a warning.
const WARN_PAGES: u64 = 16_000;
const IDLE_AFTER: Duration = Duration::from_secs(1);

/// Ids are reserved on disk so many at a time, so that not every commit writes the page of the sequence. A restart
/// leaves a gap of at most this length.
const ID_BLOCK: i64 = 1_024;

const NO_COMMIT: u64 = u64::MAX;

/// How many pages of the log more than it has the index of the log has room for before a commit, and so many for each
/// page of what is to be written: a batch touches a handful of pages of 4 KiB besides its own bytes.
const INDEX_AHEAD: u64 = 8_192;
const PAGES_PER_PAGE: u64 = 4;
const PAGE_BYTES: u64 = 4_096;

pub(crate) struct Writer {
    connection: Connection,
    plan: Arc<Plan>,
    shared: Arc<Shared>,
    finished: Sender<Finished>,
    on_fatal: fn(&str) -> !,
    log_index: Arc<LogIndex>,

    /// The last id given out. Only ever grows, also over a rollback.
    last_id: i64,
    archiver: Archiver,
    /// No id above this one was ever committed; what the disk says.
    reserved_id: i64,

    /// Pages in the log after a commit, put here by SQLite's hook; [`NO_COMMIT`] once looked at.
    from_hook: Arc<AtomicU64>,
    /// Pages in the log after the last commit.
    log_pages: u64,
    /// All of them are in the database file; the next commit starts over at the beginning of the log.
    all_copied: bool,
    /// Pages at which the next checkpoint is tried.
    checkpoint_at: u64,
    /// A checkpoint was tried since the log started over.
    tried: bool,
}

/// What the writer writes to.
pub(crate) struct Database {
    pub(crate) connection: Connection,
    pub(crate) last_id: i64,
    pub(crate) log_index: Arc<LogIndex>,
}

/// Why a group was not committed. It is rolled back whole.
enum Failure {
    /// The disk refused the commit, as it would for each batch.
    All(StoreError),
    /// Something in the group went wrong: run its batches one by one.
    Surprise(StoreError),
}

impl Writer {
    pub(crate) fn new(
        database: Database,
        archiver: Archiver,
        plan: &Arc<Plan>,
        shared: &Arc<Shared>,
        finished: Sender<Finished>,
        on_fatal: fn(&str) -> !,
    ) -> Result<Writer, Error> {
        let Database {
            mut connection,
            last_id,
            log_index,
        } = database;
        let from_hook = Arc::new(AtomicU64::new(NO_COMMIT));
        let hook = Arc::clone(&from_hook);
        connection.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            hook.store(u64::from(pages.unsigned_abs()), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Writer {
            connection,
            plan: Arc::clone(plan),
            shared: Arc::clone(shared),
            finished,
            on_fatal,
            log_pages: log_index.log_pages,
            log_index,
            last_id,
            archiver,
            reserved_id: last_id,
            from_hook,
            all_copied: true,
            checkpoint_at: CHECKPOINT_PAGES,
            tried: false,
        })
    }

    /// Works until the store is closed and everything is done.
    pub(crate) fn run(mut self) -> Connection {
        loop {
            let idle = (!self.all_copied && self.log_pages >= IDLE_PAGES).then_some(IDLE_AFTER);
            match self.shared.next_jobs(idle) {
                Next::End => return self.connection,
                Next::Idle => self.checkpoint(),
                Next::Jobs(jobs) => {
                    let mut jobs = jobs.into_iter();
                    loop {
                        let group: Vec<Job> = jobs.by_ref().take(GROUP_LIMIT).collect();
                        if group.is_empty() {
                            break;
                        }
                        self.run_group(group);
                        self.checkpoint_if_due();
                    }
                }
            }
        }
    }

    /// Commits the group and hands the results over: to the callback thread first, then the queries that waited go
    /// ahead, so that their callbacks come later.
    fn run_group(&mut self, group: Vec<Job>) {
        let count = group.len();
        let results = match self.commit(&group, true) {
            Ok(results) => results,
            Err(Failure::All(error)) => group.iter().map(|job| self.fail(job, &error)).collect(),
            Err(Failure::Surprise(error)) if count == 1 && !self.archiver.is_to_blame() => {
                vec![self.fail(&group[0], &error)]
            }
            Err(Failure::Surprise(_)) => group.iter().map(|job| self.commit_alone(job)).collect(),
        };
        debug_assert_eq!(results.len(), count);

        let (mut batches, mut bytes, mut failed) = (0, 0, 0);
        let mut answers: Vec<(Written, Result<Wrote, StoreError>)> = Vec::with_capacity(count);
        for (job, result) in group.into_iter().zip(results) {
            failed += u64::from(result.is_err());
            match job {
                Job::Write {
                    bytes: of_batch, done, ..
                } => {
                    batches += 1;
                    bytes += of_batch;
                    answers.push((done, result));
                }
                Job::Refused { done, .. } => answers.push((done, result)),
            }
        }
        self.shared
            .figures
            .batches
            .fetch_add(count as u64 - failed, Ordering::Relaxed);
        self.shared.figures.failed_batches.fetch_add(failed, Ordering::Relaxed);
        // The callback thread outlives its senders, of which this is one.
        drop(self.finished.send(Finished::Writes {
            results: answers,
            batches,
            bytes,
        }));
        self.shared.processed(count);
    }

    /// The result of a job whose group failed. A message that is there already, and came once more, has not failed.
    fn fail(&self, job: &Job, error: &StoreError) -> Result<Wrote, StoreError> {
        match job {
            Job::Refused { error, .. } => Err(error.clone()),
            Job::Write { batch, .. } if batch.is_empty() => Ok(Wrote::default()),
            Job::Write { batch, .. } => {
                let deposited = batch.ops.iter().find_map(|op| match op {
                    store::Op::Deposit(deposit) => self.archiver.known(&self.connection, deposit),
                    _ => None,
                });
                match deposited {
                    Some(_) => Ok(Wrote {
                        deposited,
                        ..Wrote::NOTHING
                    }),
                    None => Err(error.clone()),
                }
            }
        }
    }

    fn commit_alone(&mut self, job: &Job) -> Result<Wrote, StoreError> {
        match self.commit(std::slice::from_ref(job), false) {
            Ok(mut results) => results.pop().expect("one job, one result"),
            Err(Failure::All(error) | Failure::Surprise(error)) => self.fail(job, &error),
        }
    }

    /// One transaction. The results are those of the batches by themselves, and hold once this returns. With `may_seal`
    /// the archive does a part of its own work in it.
    fn commit(&mut self, group: &[Job], may_seal: bool) -> Result<Vec<Result<Wrote, StoreError>>, Failure> {
        let mut results = Vec::with_capacity(group.len());
        let mut open = false;
        for job in group {
            results.push(match job {
                Job::Refused { error, .. } => Err(error.clone()),
                Job::Write { batch, .. } if batch.is_empty() => Ok(Wrote::default()),
                Job::Write { batch, .. } => {
                    if !open {
                        self.make_room(group)?;
                        self.begin()?;
                        open = true;
                    }
                    self.apply(batch).map_err(|error| self.broken(&error))?
                }
            });
        }
        if !open {
            return Ok(results);
        }
        let reserve = if self.last_id > self.reserved_id {
            self.last_id + ID_BLOCK
        } else {
            self.reserved_id
        };
        if reserve != self.reserved_id {
            self.reserve(reserve).map_err(|error| self.broken(&error))?;
        }
        self.archiver
            .before_commit(&self.connection, may_seal)
            .map_err(|error| self.broken(&error))?;
        {
            let index = Arc::clone(self.archiver.index());
            let _gate = index.gate();
            self.execute("COMMIT").map_err(|error| self.broken_commit(&error))?;
            // Only now: a rollback would have undone it.
            self.archiver.committed();
        }
        self.reserved_id = reserve;
        self.shared.figures.commits.fetch_add(1, Ordering::Relaxed);
        Ok(results)
    }

    /// A commit whose log is written and whose index cannot grow has an unknown fate, so it grows before.
    fn make_room(&mut self, group: &[Job]) -> Result<(), Failure> {
        let bytes = group.iter().map(|job| match job {
            Job::Write { bytes, .. } => *bytes as u64,
            Job::Refused { .. } => 0,
        });
        let pages = bytes.sum::<u64>() / PAGE_BYTES * PAGES_PER_PAGE;
        self.log_index
            .make_room(self.log_pages + INDEX_AHEAD + pages)
            .map_err(|error| {
                tracing::warn!("a commit is not tried, as the index of the log cannot grow: {error}");
                Failure::All(match error.kind() {
                    std::io::ErrorKind::StorageFull => StoreError::Full,
                    _ => StoreError::Io(error.to_string()),
                })
            })
    }

    fn begin(&mut self) -> Result<(), Failure> {
        self.execute("BEGIN IMMEDIATE").map_err(|error| {
            self.roll_back(&error);
            tracing::warn!("a transaction cannot be begun: {}", describe(&error));
            // Not one by one: each would wait for the lock of the other program anew.
            Failure::All(classify(&error))
        })
    }

    /// Runs a batch inside the transaction. A savepoint costs 0.5 to 1.5 µs, so only where the batch can fail its
    /// conditions after it has changed something.
    fn apply(&mut self, batch: &Batch) -> Result<Result<Wrote, StoreError>, Error> {
        let savepoint = batch.ops.len() > 1 && batch.has_conditions();
        let point = if savepoint {
            self.execute("SAVEPOINT batch")?;
            Some(self.archiver.point())
        } else {
            None
        };
        let result = sql::apply(
            &self.connection,
            &self.plan,
            batch,
            &mut self.last_id,
            &mut self.archiver,
        )?;
        if let Some(point) = point {
            if result.is_err() {
                self.execute("ROLLBACK TO batch")?;
                self.archiver.back_to(point);
            }
            self.execute("RELEASE batch")?;
        }
        Ok(result)
    }

    fn execute(&self, sql: &str) -> Result<(), Error> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    fn reserve(&self, id: i64) -> Result<(), Error> {
        self.connection
            .prepare_cached("UPDATE jackdaw_sequence SET last_id = ?1")?
            .execute([id])
            .map(drop)
    }

    /// A statement failed. After some errors SQLite has rolled back by itself, and every further statement would be a
    /// transaction of its own: so the group is left at once, and ROLLBACK only runs where there is something to roll
    /// back.
    fn broken(&mut self, error: &Error) -> Failure {
        self.roll_back(error);
        Failure::Surprise(classify(error))
    }

    fn broken_commit(&mut self, error: &Error) -> Failure {
        if !is_failed_fsync(error) && !is_before_the_commit_record(error) {
            self.end(&format!(
                "a commit failed and may be on the disk all the same: {}",
                describe(error)
            ));
        }
        self.roll_back(error);
        tracing::warn!("a commit failed: {}", describe(error));
        Failure::All(classify(error))
    }

    /// Going on would mean to lie.
    fn end(&self, why: &str) -> ! {
        let path = self.connection.path().unwrap_or("the database");
        (self.on_fatal)(&format!("{why}; the database is {path}"))
    }

    fn roll_back(&mut self, error: &Error) {
        if is_failed_fsync(error) {
            self.end(&format!("the disk failed to flush: {}", describe(error)));
        }
        self.archiver.rolled_back();
        if self.connection.is_autocommit() {
            return;
        }
        let rolled_back = self.execute("ROLLBACK");
        if !self.connection.is_autocommit() {
            let why = rolled_back.err().map(|error| describe(&error)).unwrap_or_default();
            self.end(&format!("a transaction cannot be rolled back: {why}"));
        }
    }

    fn checkpoint_if_due(&mut self) {
        let pages = self.from_hook.swap(NO_COMMIT, Ordering::Relaxed);
        if pages == NO_COMMIT {
            return;
        }
        if pages < self.log_pages {
            // The log has started over.
            self.checkpoint_at = CHECKPOINT_PAGES;
            self.tried = false;
        }
        self.log_pages = pages;
        self.all_copied = false;
        self.shared.figures.wal_pages.store(pages, Ordering::Relaxed);
        if pages >= self.checkpoint_at {
            self.checkpoint();
        }
    }

    fn checkpoint(&mut self) {
        let pages = self.log_pages;
        let result = {
            let _no_readers = self
                .tried
                .then(|| self.shared.snapshots.write().unwrap_or_else(PoisonError::into_inner));
            self.connection
                .wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::PASSIVE)
        };
        self.checkpoint_at = CHECKPOINT_PAGES.max(pages + RETRY_PAGES);
        self.tried = true;
        match result {
            Ok((in_log, copied)) if in_log == copied => {
                self.all_copied = true;
                self.shared.figures.checkpoints.fetch_add(1, Ordering::Relaxed);
                self.shared.figures.wal_pages.store(0, Ordering::Relaxed);
            }
            Ok((in_log, copied)) if pages >= WARN_PAGES => tracing::warn!(
                "another program reads the database and keeps its log from being cleaned up: {copied} of {in_log} pages"
            ),
            // A reader of ours is in the way just now.
            Ok(_) => {}
            Err(error) if is_failed_fsync(&error) => {
                self.end(&format!("the disk failed to flush a checkpoint: {}", describe(&error)));
            }
            // The commits are safe in the log; a full disk is the usual reason.
            Err(error) => tracing::warn!("a checkpoint failed and will be tried again: {}", describe(&error)),
        }
    }
}

/// The end, when no reader is left: everything into the database file, and the log emptied.
pub(crate) fn finish(connection: Connection, shared: &Shared) {
    match connection.wal_checkpoint_v2(Some(MAIN_DB), CheckpointMode::TRUNCATE) {
        Ok(_) => shared.figures.wal_pages.store(0, Ordering::Relaxed),
        // Nothing is lost: the next start reads the log.
        Err(error) => tracing::warn!("the last checkpoint failed: {}", describe(&error)),
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!("the database did not close cleanly: {}", describe(&error));
    }
}
