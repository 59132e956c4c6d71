//! The suite over the SQLite driver, and what only a driver with files can get wrong.

mod support;

use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use jackdaw_store_sqlite as store_sqlite;
use store::suite::{ACCOUNTS, QUEUE, TABLES};
use store::{Batch, Column, Query, Shape, Store, StoreError, Table, Written, row};
use store_sqlite::{OpenError, Options, SqliteStore, open};
use support::{OK, folder, open_suite, sql, stanza};
use tempfile::TempDir;

#[test]
fn conforms() {
    let folder = TempDir::new().expect("a folder for the test");
    let number = std::cell::Cell::new(0);
    store::suite::run(&|| {
        number.set(number.get() + 1);
        Box::new(open_suite(
            &folder.path().join(format!("{}.db", number.get())),
            Options::default(),
        ))
    });
}

#[test]
fn conforms_when_opened_again() {
    let (_folder, path) = folder();
    store::suite::reopen(&|| Box::new(open_suite(&path, Options::default())));
}

#[test]
fn what_comes_together_is_committed_together() {
    let (_folder, path) = folder();
    let store = open_suite(&path, Options::default());
    let before = store.stats();
    let (sender, receiver) = mpsc::channel();
    let writes = (0..1_000).map(|_| {
        let sender = sender.clone();
        let done: Written = Box::new(move |result| sender.send(result).expect("the test listens"));
        (Batch::new().append(&QUEUE, "juliet", stanza(100)), done)
    });
    store.write_many(writes.collect());
    for _ in 0..1_000 {
        assert_eq!(receiver.recv(), Ok(OK));
    }
    let after = store.stats();
    assert_eq!(after.commits - before.commits, 4, "256 in a group");
    assert_eq!(after.batches - before.batches, 1_000);
    assert_eq!(after.failed_batches, 0);
}

#[test]
fn the_queue_has_limits() {
    let (_folder, path) = folder();
    let store = open_suite(
        &path,
        Options {
            queue_batches: 3,
            queue_bytes: 10_000,
            ..Options::default()
        },
    );
    let log = Arc::new(Mutex::new(Vec::new()));
    let (release, released) = mpsc::channel::<()>();
    store.write(
        Batch::new(),
        Box::new(move |_| released.recv().expect("the test releases it")),
    );
    let submit = |name: &'static str, bytes: usize| {
        let log = Arc::clone(&log);
        let done = move |result| log.lock().expect("no test panics with it").push((name, result));
        store.write(Batch::new().append(&QUEUE, "juliet", stanza(bytes)), Box::new(done));
    };
    submit("too many bytes", 20_000);
    submit("fits", 5_000);
    submit("too many bytes", 6_000);
    submit("third", 10);
    submit("too many", 10);
    release.send(()).expect("the callback waits for it");
    let flushed = store.write_wait(Batch::new());
    assert!(matches!(flushed, Ok(_) | Err(StoreError::Overloaded)), "{flushed:?}");
    while store.stats().waiting_batches > 0 {
        std::thread::yield_now();
    }
    submit("large, but alone", 20_000);
    store.close();
    let overloaded = || Err(StoreError::Overloaded);
    let expected = [
        ("too many bytes", overloaded()),
        ("fits", OK),
        ("too many bytes", overloaded()),
        ("third", OK),
        ("too many", overloaded()),
        ("large, but alone", OK),
    ];
    assert_eq!(*log.lock().expect("no test panics with it"), expected);
    assert!(store.stats().overloaded >= 3);
}

#[test]
fn full_and_then_room_again() {
    let (_folder, path) = folder();
    let store = open_suite(
        &path,
        Options {
            max_pages: Some(100),
            ..Options::default()
        },
    );
    let mut kept = 0;
    let full = loop {
        match store.write_wait(Batch::new().append(&QUEUE, "juliet", stanza(10_000))) {
            Ok(_) => kept += 1,
            Err(error) => break error,
        }
        assert!(kept < 100, "the limit is not kept");
    };
    assert_eq!(full, StoreError::Full);
    assert!(full.is_temporary());
    assert!(kept > 10);
    let count = || {
        store
            .read_wait(Query::count(&QUEUE, "juliet"))
            .and_then(store::Found::count)
    };
    assert_eq!(count(), Ok(kept));

    // What does not fit harms neither a neighbour that does, nor one that makes room.
    let (sender, receiver) = mpsc::channel();
    let batches = [
        Batch::new().append(&QUEUE, "juliet", stanza(50_000)),
        Batch::new()
            .append(&QUEUE, "juliet", stanza(10))
            .delete(&QUEUE, "juliet", None),
        Batch::new().append(&QUEUE, "juliet", stanza(10_000)),
    ];
    let writes = batches.into_iter().map(|batch| {
        let sender = sender.clone();
        (
            batch,
            Box::new(move |result| sender.send(result).expect("the test listens")) as Written,
        )
    });
    store.write_many(writes.collect());
    drop(sender);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), [Err(StoreError::Full), OK, OK]);
    assert_eq!(count(), Ok(1));
}

#[test]
fn the_log_stays_small() {
    let (_folder, path) = folder();
    let store = open_suite(&path, Options::default());
    // 12,000 pages, three times what starts a checkpoint.
    for _ in 0..60 {
        let mut batch = Batch::new();
        for _ in 0..20 {
            batch = batch.append(&QUEUE, "juliet", stanza(40_000));
        }
        // Reads all the while.
        store.read(Query::count(&QUEUE, "juliet"), Box::new(|found| assert!(found.is_ok())));
        assert_eq!(store.write_wait(batch), OK);
    }
    let log = || std::fs::metadata(path.with_extension("db-wal")).map_or(0, |log| log.len());
    let stats = store.stats();
    assert!(stats.checkpoints >= 2, "{stats:?}");
    assert!(log() < 24 << 20, "{} bytes of log", log());
    store.close();
    assert_eq!(log(), 0, "a clean end leaves no log");
}

#[test]
fn another_programs_snapshot_only_delays_the_checkpoint() {
    let (_folder, path) = folder();
    let store = open_suite(&path, Options::default());
    let write = || {
        assert_eq!(
            store.write_wait(Batch::new().append(&QUEUE, "juliet", stanza(4_000_000))),
            OK
        )
    };
    write();
    let other = rusqlite::Connection::open(&path).expect("the file is there");
    other
        .execute_batch("BEGIN; SELECT * FROM suite_accounts")
        .expect("the table is there");
    for _ in 0..6 {
        write();
    }
    let held = store.stats();
    assert_eq!(held.checkpoints, 0, "{held:?}");
    assert!(held.wal_pages > 5_000, "{held:?}");
    other.execute_batch("COMMIT").expect("the transaction is open");
    for _ in 0..3 {
        write();
    }
    let freed = store.stats();
    assert!(freed.checkpoints > 0 && freed.wal_pages < held.wal_pages, "{freed:?}");
}

#[test]
fn another_program_locks_the_database() {
    let (_folder, path) = folder();
    let store = open_suite(&path, Options::default());
    let other = rusqlite::Connection::open(&path).expect("the file is there");
    other.execute_batch("BEGIN IMMEDIATE").expect("nobody writes just now");
    let (sender, receiver) = mpsc::channel();
    let start = std::time::Instant::now();
    let writes = (0..20).map(|_| {
        let sender = sender.clone();
        let done: Written = Box::new(move |result| sender.send(result).expect("the test listens"));
        (Batch::new().append(&QUEUE, "juliet", stanza(1)), done)
    });
    store.write_many(writes.collect());
    drop(sender);
    for result in receiver {
        assert!(matches!(result, Err(StoreError::Io(_))), "{result:?}");
    }
    assert!(
        start.elapsed().as_secs() < 10,
        "they wait for the lock together, not one after the other"
    );
    other.execute_batch("COMMIT").expect("the transaction is open");
    assert_eq!(store.write_wait(Batch::new().append(&QUEUE, "juliet", stanza(1))), OK);
}

/// Prepares a file, tries to open it, and looks for the words in the error.
#[track_caller]
fn check_refused(tables: &[&'static Table], prepare: impl FnOnce(&Path), words: &[&str]) {
    let (_folder, path) = folder();
    prepare(&path);
    let Err(error) = open(&path, tables, Options::default()) else {
        panic!("it opened")
    };
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    for word in words {
        assert!(text.contains(word), "{word:?} not in: {text}");
    }
    if !matches!(error, OpenError::Declaration(_)) {
        assert!(text.starts_with(&*path.to_string_lossy()), "{text}");
    }
}

#[test]
fn refused_with_a_reason() {
    static CHANGED_SHAPE: Table = Table {
        name: "suite_queue",
        shape: Shape::Map,
        columns: &[Column::int("at"), Column::blob("stanza")],
    };
    static CHANGED_KIND: Table = Table {
        name: "suite_queue",
        shape: Shape::Archive,
        columns: &[Column::text("at"), Column::blob("stanza")],
    };
    static BAD_NAME: Table = Table {
        name: "select *",
        shape: Shape::Map,
        columns: &[Column::int("n")],
    };

    let make = |path: &Path| {
        let store = open_suite(path, Options::default());
        assert_eq!(
            store.write_wait(Batch::new().append(&QUEUE, "juliet", stanza(20_000))),
            OK
        );
        store.close();
    };
    let overwrite = |path: &Path, at: usize| {
        let mut bytes = std::fs::read(path).expect("the file is there");
        bytes[at..at + 4_096].fill(0xa5);
        std::fs::write(path, bytes).expect("the file can be written");
    };
    check_refused(
        &TABLES,
        |path| std::fs::write(path, [b'x'; 5_000]).expect("it can be written"),
        &["not a database", "backup"],
    );
    check_refused(
        &TABLES,
        |path| {
            make(path);
            overwrite(path, 0);
        },
        &["not a database"],
    );
    check_refused(
        &TABLES,
        |path| {
            make(path);
            overwrite(path, 4_096);
        },
        &["damaged", ".dump"],
    );
    check_refused(
        &TABLES,
        |path| {
            make(path);
            sql(path, "PRAGMA user_version = 99");
        },
        &["version 99", "newer Jackdaw"],
    );
    check_refused(
        &TABLES,
        |path| sql(path, "CREATE TABLE places (name TEXT)"),
        &["another program"],
    );
    check_refused(&[&CHANGED_SHAPE], make, &["suite_queue is archive there and map here"]);
    check_refused(
        &[&CHANGED_KIND],
        make,
        &["suite_queue.at is INTEGER there and TEXT here"],
    );
    check_refused(&[&BAD_NAME], |_| {}, &["select *"]);
    check_refused(
        &TABLES,
        |path| std::fs::create_dir(path).expect("it can be made"),
        &["check that"],
    );
}

#[test]
fn one_process_at_a_time() {
    let (folder, path) = folder();
    let store = open_suite(&path, Options::default());
    let Err(error) = open(&path, &TABLES, Options::default()) else {
        panic!("it opened twice")
    };
    let text = error.to_string();
    assert!(
        matches!(error, OpenError::InUse { process: Some(id), .. } if id == std::process::id()),
        "{text}"
    );
    assert!(text.contains("in use by another process"), "{text}");
    store.close();
    open_suite(&path, Options::default()).close();

    let Err(error) = open(&folder.path().join("none/test.db"), &TABLES, Options::default()) else {
        panic!("it opened")
    };
    assert!(matches!(error, OpenError::File { .. }), "{error}");
}

#[test]
#[cfg(unix)]
fn files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = folder();
    let store = open_suite(&path, Options::default());
    assert_eq!(store.write_wait(Batch::new().append(&QUEUE, "juliet", stanza(1))), OK);
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder.path()).expect("the folder is there") {
        let file = file.expect("its entries can be read");
        let mode = file.metadata().expect("the file is there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", file.file_name());
        names.push(file.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    assert_eq!(names, ["test.db", "test.db-shm", "test.db-wal", "test.db.lock"]);
    store.close();
}

#[test]
fn tables_grow_columns() {
    static OLD: Table = Table {
        name: "grown",
        shape: Shape::KeyVal,
        columns: &[Column::int("group")],
    };
    static NEW: Table = Table {
        name: "grown",
        shape: Shape::KeyVal,
        columns: &[Column::int("group"), Column::text("order"), Column::blob("data")],
    };
    static ONLY_LATER: Table = Table {
        name: "later",
        shape: Shape::Map,
        columns: &[Column::int("n")],
    };
    let (_folder, path) = folder();
    let get = |store: &SqliteStore, table: &'static Table| {
        store
            .read_wait(Query::get(table, "juliet", None))
            .and_then(store::Found::row)
    };

    let store = open(&path, &[&OLD], Options::default()).expect("a new file");
    assert_eq!(store.write_wait(Batch::new().put(&OLD, "juliet", None, row![1])), OK);
    store.close();

    let store = open(&path, &[&NEW, &ONLY_LATER], Options::default()).expect("columns may be added");
    assert_eq!(get(&store, &NEW), Ok(Some(row![1, None::<&str>, None::<Vec<u8>>])));
    let full = row![2, "text", vec![1u8]];
    let batch = Batch::new()
        .put(&NEW, "juliet", None, full.clone())
        .put(&ONLY_LATER, "juliet", "k", row![1]);
    assert_eq!(store.write_wait(batch), OK);
    store.close();

    // An older Jackdaw on the newer tables changes what it knows and keeps the rest.
    let store = open(&path, &[&OLD], Options::default()).expect("more columns than declared are no harm");
    assert_eq!(store.write_wait(Batch::new().put(&OLD, "juliet", None, row![3])), OK);
    store.close();
    let store = open(&path, &[&NEW], Options::default()).expect("nothing has changed");
    assert_eq!(get(&store, &NEW), Ok(Some(row![3, "text", vec![1u8]])));

    // Forgetting reaches the tables of features that are not there any more.
    assert_eq!(store.write_wait(Batch::new().forget("juliet")), OK);
    store.close();
    let store = open(&path, &[&ONLY_LATER], Options::default()).expect("nothing has changed");
    assert_eq!(
        store
            .read_wait(Query::all(&ONLY_LATER, "juliet"))
            .and_then(store::Found::rows),
        Ok(Vec::new())
    );
}

#[test]
fn a_callback_that_panics_stops_nobody() {
    let (_folder, path) = folder();
    let store = open_suite(&path, Options::default());
    store.write(Batch::new(), Box::new(|_| panic!("on purpose")));
    store.read(Query::count(&ACCOUNTS, "juliet"), Box::new(|_| panic!("on purpose")));
    assert_eq!(store.write_wait(Batch::new()), OK);
    store.close();
}

#[test]
fn the_last_handle_may_go_in_a_callback() {
    let (_folder, path) = folder();
    let store = Arc::new(open_suite(&path, Options::default()));
    let (sender, receiver) = mpsc::channel();
    let inner = Arc::clone(&store);
    let (go, gone) = mpsc::channel::<()>();
    let done = move |result| {
        gone.recv().expect("the test lets it go on");
        drop(inner);
        sender.send(result).expect("the test listens");
    };
    store.write(Batch::new().append(&QUEUE, "juliet", stanza(1)), Box::new(done));
    drop(store);
    go.send(()).expect("the callback waits for it");
    assert_eq!(receiver.recv(), Ok(OK));
    open_suite(&path, Options::default()).close();
}
