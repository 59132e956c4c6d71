//! The limits of the driver, and its figures.

use std::io::Write;

use crate::archive::BUCKET_BITS;

/// Batches in one transaction. More would gain little (2.3 µs a message at 512 against 2.5 at 256) and make each wait
/// longer.
pub(crate) const GROUP_LIMIT: usize = 256;

/// Prepared statements that a connection keeps: about eight for each of a dozen tables, and the archive's.
pub(crate) const STATEMENTS: usize = 128;

/// How long the writer waits for a lock that another program holds (an administrator's `sqlite3`), in milliseconds.
pub(crate) const BUSY_WAIT_MS: u64 = 2_000;

/// How to open a database. All that has an effect on memory has a limit here.
#[derive(Debug, Clone)]
pub struct Options {
    /// Batches that may wait, up to the end of their callback; one more is answered with
    /// [`Overloaded`](store::StoreError::Overloaded).
    pub queue_batches: usize,
    /// Bytes of the batches that may wait. A single larger batch is taken when nothing else waits.
    pub queue_bytes: usize,
    /// Queries that may wait.
    pub queue_reads: usize,
    /// Reader threads, at least one. Each has a connection of its own.
    pub readers: usize,
    /// Page cache of the writer, KiB; it fills as the database grows.
    pub writer_cache_kib: u32,
    /// Page cache of each reader, KiB.
    pub reader_cache_kib: u32,
    /// The most pages of 4 KiB that the database may have; beyond it batches fail with
    /// [`Full`](store::StoreError::Full). `None`: as many as the disk holds.
    pub max_pages: Option<u32>,
    /// The archive is indexed in pieces of this power of two of messages. Only for a file that is new; it keeps what it
    /// was made with. 4 to 17. A larger one takes more memory and time to open, a smaller one more for each search.
    pub archive_bucket_bits: u32,
    /// Called with one line of text when going on would mean to lie: a failed fsync, a commit whose fate is unknown, a
    /// panic in the driver. It must not return, and no callback may be called afterwards. The default writes the line
    /// to the log and aborts the process.
    pub on_fatal: fn(&str) -> !,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            queue_batches: 65_536,
            queue_bytes: 64 << 20,
            queue_reads: 65_536,
            readers: 3,
            writer_cache_kib: 16 << 10,
            reader_cache_kib: 1 << 10,
            max_pages: None,
            archive_bucket_bits: BUCKET_BITS,
            on_fatal: abort,
        }
    }
}

/// Abort, not exit: nothing may run any more that could answer somebody.
fn abort(text: &str) -> ! {
    const WHY: &str = "ending at once, as neither success nor failure would be true; see to the disk (the system's log, \
                       free space) and start again: all that was acknowledged is there";
    tracing::error!("{text}; {WHY}");
    // The log may be written by a thread that will not get to it. (Not `eprintln`, which panics if nobody reads.)
    drop(writeln!(std::io::stderr(), "jackdaw: {text}; {WHY}"));
    std::process::abort()
}

/// Figures since the database was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Transactions committed.
    pub commits: u64,
    /// Batches in them.
    pub batches: u64,
    /// Batches that failed, conditions included.
    pub failed_batches: u64,
    /// Batches and queries refused with [`Overloaded`](store::StoreError::Overloaded).
    pub overloaded: u64,
    pub reads: u64,
    /// Checkpoints that copied the whole log.
    pub checkpoints: u64,
    /// Pages of 4 KiB in the log that are not reset yet.
    pub wal_pages: u64,
    /// Batches that wait now, up to the end of their callback.
    pub waiting_batches: u64,
}
