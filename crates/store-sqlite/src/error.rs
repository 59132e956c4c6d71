//! What SQLite's errors mean for us. The measurements behind this: a disk that is full, fails to write or fails to
//! flush, at every point of a transaction.

use rusqlite::Error;
use rusqlite::ffi::{
    SQLITE_BUSY, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_IOERR, SQLITE_IOERR_DIR_FSYNC, SQLITE_IOERR_FSYNC,
    SQLITE_IOERR_WRITE, SQLITE_LOCKED, SQLITE_NOTADB, SQLITE_READONLY,
};
use store::StoreError;

/// The part of an extended code that is the primary code.
const PRIMARY: i32 = 0xff;

pub(crate) fn primary_code(error: &Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code & PRIMARY)
}

/// For whoever waits.
pub(crate) fn classify(error: &Error) -> StoreError {
    match primary_code(error) {
        Some(SQLITE_FULL) => StoreError::Full,
        Some(SQLITE_CORRUPT | SQLITE_NOTADB) => StoreError::Corrupt(error.to_string()),
        Some(SQLITE_IOERR | SQLITE_READONLY) => StoreError::Io(describe(error)),
        Some(SQLITE_BUSY | SQLITE_LOCKED) => StoreError::Io("another program has locked the database".into()),
        _ => StoreError::Other(describe(error)),
    }
}

/// A flush failed. The kernel may have dropped the dirty pages and will not report it again: what is on the disk is
/// unknown, and trying again proves nothing.
pub(crate) fn is_failed_fsync(error: &Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(SQLITE_IOERR_FSYNC | SQLITE_IOERR_DIR_FSYNC))
}

/// A COMMIT failed so early that the log cannot hold a valid commit record: at the writing of the frames. Any other
/// failure of COMMIT may have come after the record, which a restart would then bring back to life.
pub(crate) fn is_before_the_commit_record(error: &Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    matches!(code, Some(SQLITE_FULL | SQLITE_IOERR_WRITE | SQLITE_BUSY))
}

pub(crate) fn describe(error: &Error) -> String {
    match error.sqlite_error() {
        Some(code) => format!("{error} (SQLite code {})", code.extended_code),
        None => error.to_string(),
    }
}
