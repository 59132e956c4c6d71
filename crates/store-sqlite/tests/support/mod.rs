//! What the tests over files share.
#![allow(dead_code)] // not each of them needs all of it

use std::path::{Path, PathBuf};

use jackdaw_store_sqlite as store_sqlite;
use store::suite::TABLES;
use store::{StoreError, Wrote, row};
use store_sqlite::{Options, SqliteStore, open};
use tempfile::TempDir;

/// What a batch without a deposit is answered with.
pub(crate) const OK: Result<Wrote, StoreError> = Ok(Wrote::NOTHING);

pub(crate) fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().expect("a folder for the test");
    let path = folder.path().join("test.db");
    (folder, path)
}

#[track_caller]
pub(crate) fn open_suite(path: &Path, options: Options) -> SqliteStore {
    open(path, &TABLES, options).unwrap_or_else(|error| panic!("{error}"))
}

pub(crate) fn stanza(bytes: usize) -> store::Row {
    row![1, vec![7u8; bytes]]
}

/// As a crash would leave it, while nothing is under way.
pub(crate) fn copy_open_database(from: &Path, to: &Path) {
    for end in ["", "-wal"] {
        let with_end = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(end);
            PathBuf::from(name)
        };
        std::fs::copy(with_end(from), with_end(to)).expect("an open database has a log");
    }
}

pub(crate) fn sql(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).expect("the file can be opened");
    connection.execute_batch(sql).expect("the SQL is right");
}
