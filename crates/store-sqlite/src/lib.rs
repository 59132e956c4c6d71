//! The SQLite driver of the store.
//!
//! ```text
//! write ──► queue ──► writer thread: ≤ 256 batches, one COMMIT (fsync) ──┐
//!                        │ what waited for this commit                   ├──► callback thread: every callback, in order
//! read ──► (waits) ──► ready ──► reader threads: one snapshot each ──────┘
//! ```
//!
//! - **One writer, group commit, no timer.** The writer swaps the queue and commits what it found; what comes in
//!   meanwhile is the next group. A lone batch waits for nobody.
//! - **Each batch is atomic by itself.** One that fails its conditions is rolled back to a savepoint and harms no
//!   neighbour. Any other error rolls the group back and runs its batches one by one.
//! - **Told means durable.** WAL with `synchronous=FULL`: callbacks are called after the fsync. If the fsync fails,
//!   nobody can know whether the commit survives a crash (measured: it is gone in the process, and there after a
//!   kill), so neither success nor failure would be true: the process ends without calling any ([`Options::on_fatal`]).
//! - **A full disk is weather.** The batches fail with [`Full`](store::StoreError::Full), and later ones succeed as soon
//!   as there is room. What a commit needs of the disk behind its record in the log it has before: see `log_index`.
//! - **The writer makes the checkpoints**, between commits: one made elsewhere never gets to reset the log under a
//!   continuous writer, and the log grows without end. See `writer`.
//!
//! - **The archive is indexed late**, in memory first: see `archive`.
//!
//! One thread calls all callbacks, one after the other. They must be short and must not wait.

mod answer;
mod archive;
mod callback;
mod error;
mod log_index;
mod open;
mod options;
mod queue;
mod reader;
mod schema;
mod sql;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use store::{Answered, Batch, Query, Store, Table, Written};

pub use open::OpenError;
pub use options::{Options, Stats};
use queue::Shared;
use sql::Plan;

/// How long [`Store::rest`] waits from look to look.
const LOOK: Duration = Duration::from_millis(1);

/// An open database file. Dropping it closes it.
pub struct SqliteStore {
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    secret: [u8; 32],
    threads: Mutex<Option<Threads>>,
}

struct Threads {
    writer: JoinHandle<Connection>,
    readers: Vec<JoinHandle<()>>,
    callbacks: JoinHandle<()>,
    log_index: Arc<log_index::LogIndex>,
    /// Holds the lock that keeps other processes away.
    lock: File,
}

/// Opens the database, and makes it (mode 0600) if it is not there; the folder must exist. Brings the schema up to
/// date: the driver's own by version, the features' by what `tables` declares. Beside the file stand `-wal` and `-shm`
/// (SQLite's) and `.lock`.
pub fn open(path: &Path, tables: &[&'static Table], options: Options) -> Result<SqliteStore, OpenError> {
    let opened = open::open(path, tables, &options)?;
    let plan = Arc::new(opened.plan);
    let archive::Opened {
        archiver,
        index,
        secret,
    } = opened.archive;
    let shared = Arc::new(Shared::new(&options));
    let (finished, to_call) = std::sync::mpsc::channel();
    let on_fatal = options.on_fatal;

    let failed = |error| OpenError::thread(path, error);
    let for_callbacks = Arc::clone(&shared);
    let callbacks = spawn("store-callback", on_fatal, move || {
        callback::run(&to_call, &for_callbacks)
    })
    .map_err(failed)?;
    let mut readers = Vec::new();
    for connection in opened.readers {
        let (shared, plan, index, finished) = (
            Arc::clone(&shared),
            Arc::clone(&plan),
            Arc::clone(&index),
            finished.clone(),
        );
        let run = move || reader::run(&connection, &plan, &index, &shared, &finished);
        readers.push(spawn("store-reader", on_fatal, run).map_err(failed)?);
    }
    let writer = writer::Writer::new(
        writer::Database {
            connection: opened.writer,
            last_id: opened.last_id,
            log_index: Arc::clone(&opened.log_index),
        },
        archiver,
        &plan,
        &shared,
        finished,
        on_fatal,
    )
    .map_err(|error| OpenError::sqlite(path, &error))?;
    let writer = spawn("store-writer", on_fatal, move || writer.run()).map_err(failed)?;

    let threads = Mutex::new(Some(Threads {
        writer,
        readers,
        callbacks,
        log_index: opened.log_index,
        lock: opened.lock,
    }));
    Ok(SqliteStore {
        shared,
        plan,
        secret,
        threads,
    })
}

/// A thread of the driver. If it panics (a bug), everything that waits for it would wait for ever: better the process
/// ends and starts anew from what is durable.
fn spawn<T: Send + 'static>(
    name: &str,
    on_fatal: fn(&str) -> !,
    run: impl FnOnce() -> T + Send + 'static,
) -> std::io::Result<JoinHandle<T>> {
    let named = name.to_owned();
    std::thread::Builder::new().name(name.into()).spawn(move || {
        // What the panic leaves half-done is never looked at again.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)) {
            Ok(value) => value,
            Err(_) => on_fatal(&format!("the thread {named} panicked, which is a bug in Jackdaw")),
        }
    })
}

impl SqliteStore {
    /// How many bytes the batch is, or why it is refused.
    fn check(&self, batch: &Batch) -> Result<usize, store::StoreError> {
        self.plan.catalog.check_batch(batch).map(|()| batch.bytes())
    }

    /// Figures for the metrics.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }
}

impl Store for SqliteStore {
    fn write(&self, batch: Batch, done: Written) {
        self.shared.submit_writes([(self.check(&batch), batch, done)]);
    }

    fn write_many(&self, writes: Vec<(Batch, Written)>) {
        // Checked before the lock is taken.
        let checked: Vec<_> = writes
            .into_iter()
            .map(|(batch, done)| (self.check(&batch), batch, done))
            .collect();
        self.shared.submit_writes(checked);
    }

    fn read(&self, query: Query, done: Answered) {
        let query = self.plan.catalog.check_query(&query).map(|()| query);
        self.shared.submit_read(query, done);
    }

    fn close(&self) {
        // Held to the end, so that a second caller returns when it is done and not before.
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(threads) = threads.take() else { return };
        self.shared.close();
        let writer = threads.writer.join();
        self.shared.stop_readers();
        for reader in threads.readers {
            // A thread of ours that panics ends the process, so there is no error to look at; likewise below.
            drop(reader.join());
        }
        if let Ok(connection) = writer {
            writer::finish(connection, &self.shared);
        }
        // The last handle may be dropped by a callback, on the very thread that would be waited for.
        if threads.callbacks.thread().id() != std::thread::current().id() {
            drop(threads.callbacks.join());
        }
        drop(threads.log_index);
        drop(threads.lock);
    }

    fn rest(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while !self.shared.is_at_rest() {
            if Instant::now() >= until {
                return false;
            }
            // Once in the life of a process: not worth a signal after each callback.
            std::thread::sleep(LOOK);
        }
        true
    }

    fn secret(&self) -> [u8; 32] {
        self.secret
    }

    fn after_commits(&self, call: Box<dyn Fn(bool) + Send + Sync>) {
        self.shared.set_after_commits(call);
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.close();
    }
}
