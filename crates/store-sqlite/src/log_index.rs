//! Room in the index of the log (`-shm`), which SQLite lets grow in the middle of a commit: when the commit record is in
//! the log already, and the disk may be full. Then nobody can say whether the commit holds. So it is made to grow before.

use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// SQLite maps it in pieces of this size, each with room for so many pages of the log (the first for somewhat fewer).
const PIECE_BYTES: u64 = 32 * 1_024;
const PIECE_PAGES: u64 = 4_096;
/// A page in the log, with its head.
const FRAME_BYTES: u64 = 4_096 + 24;

/// To be dropped after all connections: closing any handle of a file gives up the locks that the process has on it, and
/// SQLite's are on this one.
pub(crate) struct LogIndex {
    file: File,
    pieces: AtomicU64,
    /// What the log may have from before.
    pub(crate) log_pages: u64,
}

impl LogIndex {
    /// After SQLite has made it.
    pub(crate) fn open(database: &Path) -> Result<LogIndex> {
        let beside = |end: &str| {
            let mut path = database.as_os_str().to_owned();
            path.push(end);
            path
        };
        let log_pages = std::fs::metadata(beside("-wal"))?.len() / FRAME_BYTES;
        let file = File::options().read(true).write(true).open(beside("-shm"))?;
        // A piece that is not quite there does not count.
        let pieces = file.metadata()?.len() / PIECE_BYTES;
        Ok(LogIndex {
            file,
            pieces: AtomicU64::new(pieces),
            log_pages,
        })
    }

    /// Makes room for a log of so many pages; only the writer calls it, so nobody else lets the file grow meanwhile. What
    /// is new is written, not only counted, so that its blocks are the file's.
    pub(crate) fn make_room(&self, pages: u64) -> Result<()> {
        // One for what the head of the first takes.
        let wanted = pages / PIECE_PAGES + 2;
        let mut pieces = self.pieces.load(Ordering::Relaxed);
        if pieces >= wanted {
            return Ok(());
        }
        // It may have grown in a large commit, and what is in use is not to be written over.
        pieces = pieces.max(self.file.metadata()?.len() / PIECE_BYTES);
        while pieces < wanted {
            self.file
                .write_all_at(&[0; PIECE_BYTES as usize], pieces * PIECE_BYTES)?;
            pieces += 1;
        }
        self.pieces.store(pieces, Ordering::Relaxed);
        Ok(())
    }
}
