//! That messages leave the file, and not only what is shown.

mod support;

use std::path::{Path, PathBuf};

use jackdaw_store_sqlite as store_sqlite;
use store::{Batch, Deposit, FINGERPRINT_LIFETIME_MS, Places, Query, Range, Store, Swept, View};
use store_sqlite::{Options, SqliteStore};
use support::{OK, copy_open_database, folder, open_suite};

const JULIET: &str = "juliet@example.org";
const ROMEO: &str = "romeo@example.net";
const BOTH: Places = Places::SENT.and(Places::RECEIVED);
const ALL: Places = BOTH.and(Places::WAITING);

/// Buckets of 16 messages: of a few hundred most are sealed.
fn open(path: &Path) -> SqliteStore {
    open_suite(
        path,
        Options {
            archive_bucket_bits: 4,
            ..Options::default()
        },
    )
}

fn message(at: i64, places: Places) -> Deposit {
    Deposit {
        at,
        sender: JULIET.into(),
        recipient: ROMEO.into(),
        places,
        fingerprint: None,
        stanza: format!("<message id='{at}'/>").into(),
    }
}

fn add(store: &SqliteStore, message: Deposit) -> i64 {
    let wrote = store.write_wait(Batch::new().deposit(message)).expect("it is right");
    wrote.deposited.expect("it deposits").id
}

fn many(store: &SqliteStore, count: i64, places: Places) -> Vec<i64> {
    (0..count).map(|at| add(store, message(at, places))).collect()
}

fn write(store: &SqliteStore, batch: Batch) {
    assert_eq!(store.write_wait(batch), OK);
}

fn sweep(store: &SqliteStore, now: i64, most: usize) -> Swept {
    let wrote = store.write_wait(Batch::new().sweep(now, most)).expect("it is right");
    wrote.swept.expect("it sweeps")
}

fn sweep_all(store: &SqliteStore) {
    while sweep(store, 0, 7).more {}
}

fn times(store: &SqliteStore, owner: &str, view: View) -> Vec<i64> {
    let page = store.read_wait(Query::archive(Range::of(owner, view, 1_000)));
    let page = page.and_then(store::Found::archive).expect("a page");
    page.messages.iter().map(|message| message.at).collect()
}

fn number(path: &Path, sql: &str) -> i64 {
    let file = rusqlite::Connection::open(path).expect("the file is there");
    file.query_row(sql, [], |row| row.get(0)).expect("the SQL is right")
}

fn rows(path: &Path) -> i64 {
    number(path, "SELECT count(*) FROM jackdaw_archive")
}

/// All but what the last two buckets have.
const LEFT_BESIDE: &str = "SELECT (SELECT count(*) FROM jackdaw_archive_postings)
    + (SELECT count(*) FROM jackdaw_archive_sizes) + (SELECT count(*) FROM jackdaw_archive_buckets)
    + (SELECT count(*) FROM jackdaw_archive_fingerprints)";

/// The messages of an account that was removed stay for the other party, and go with that one.
#[test]
fn rows_of_removed_accounts_are_gone() {
    let (_folder, path) = folder();
    let store = open(&path);
    many(&store, 200, ALL);
    let places = |sql: &str| number(&path, &format!("SELECT count(*) FROM jackdaw_archive WHERE {sql}"));
    write(&store, Batch::new().forget(ROMEO));
    assert_eq!(places("places = 7"), 200, "not at once");
    sweep_all(&store);
    assert_eq!(places("places = 7 OR places & 2"), 0, "nothing is Romeo's");
    assert_eq!(places("places & 1"), 200);
    assert_eq!(times(&store, JULIET, View::Archive), (0..200).collect::<Vec<_>>());
    let of_romeo = "SELECT count(*) FROM jackdaw_archive_postings
        WHERE place >> 12 & 0xfffffff = (SELECT id FROM jackdaw_jids WHERE jid = 'romeo@example.net')";
    assert_eq!(number(&path, of_romeo), 0, "nor in the index");
    write(&store, Batch::new().forget(JULIET));
    sweep_all(&store);
    assert_eq!(rows(&path), 0);
    assert_eq!(number(&path, LEFT_BESIDE), 0);
}

/// What stood in no archive goes when it was delivered, its text at once and its fingerprint after a day.
#[test]
fn rows_that_only_waited_are_gone() {
    let (_folder, path) = folder();
    let store = open(&path);
    let ids: Vec<_> = (0..100)
        .map(|at| {
            let fingerprint = (at % 2 == 0).then_some(at as u128 + 1);
            add(
                &store,
                Deposit {
                    fingerprint,
                    ..message(at, Places::WAITING)
                },
            )
        })
        .collect();
    sweep_all(&store);
    assert_eq!(rows(&path), 100, "they wait");
    write(&store, Batch::new().settle(ROMEO, ids[59]));
    sweep_all(&store);
    assert_eq!(rows(&path), 40 + 30, "half of them are known by their fingerprint");
    assert_eq!(
        number(&path, "SELECT count(*) FROM jackdaw_archive WHERE stanza != ''"),
        40
    );
    assert_eq!(times(&store, ROMEO, View::Waiting), (60..100).collect::<Vec<_>>());
    write(&store, Batch::new().settle(ROMEO, ids[99]));
    while sweep(&store, FINGERPRINT_LIFETIME_MS + 100, 7).more {}
    assert_eq!(rows(&path), 0);
    assert_eq!(number(&path, LEFT_BESIDE), 0);
}

/// By age and by size: what waits stays in the file until it was delivered.
#[test]
fn rows_that_wait_are_kept() {
    let (_folder, path) = folder();
    let store = open(&path);
    let ids = many(&store, 200, ALL);
    write(&store, Batch::new().floor(ROMEO, ids[49]).floor(JULIET, ids[49]));
    sweep_all(&store);
    let mut expired = 0;
    loop {
        let batch = Batch::new().expire(150, 64);
        let swept = store.write_wait(batch).expect("it is right").swept.expect("it expires");
        assert!(swept.messages <= 64);
        expired += swept.messages;
        if !swept.more {
            break;
        }
    }
    assert_eq!(expired, 100, "the first have left the archives already");
    sweep_all(&store);
    assert_eq!(rows(&path), 200);
    assert_eq!(times(&store, ROMEO, View::Archive), (150..200).collect::<Vec<_>>());
    assert_eq!(times(&store, ROMEO, View::Waiting), (0..200).collect::<Vec<_>>());
    write(&store, Batch::new().settle(ROMEO, ids[179]));
    sweep_all(&store);
    assert_eq!(rows(&path), 50);
    assert_eq!(times(&store, ROMEO, View::Waiting), (150..200).collect::<Vec<_>>());
    let sealed = "SELECT count(*) FROM jackdaw_archive_buckets";
    assert!((3..=4).contains(&number(&path, sealed)), "{}", number(&path, sealed));
    store.close();
    let store = open(&path);
    assert_eq!(times(&store, JULIET, View::Archive), (150..200).collect::<Vec<_>>());
    assert_eq!(times(&store, ROMEO, View::Waiting), (150..200).collect::<Vec<_>>());
}

/// The process dies after each step, and the next goes on where that one was: with the same answers, and an end.
#[test]
fn a_crash_between_the_steps() {
    let (folder, mut path) = folder();
    let mut store = open(&path);
    let ids = many(&store, 100, ALL);
    for at in 100..150 {
        add(&store, message(at, Places::WAITING));
    }
    write(
        &store,
        Batch::new()
            .floor(ROMEO, ids[69])
            .horizon(JULIET, ids[39])
            .settle(ROMEO, ids[99] + 20),
    );
    let mut steps = 0;
    loop {
        let more = sweep(&store, 0, 5).more;
        assert_eq!(times(&store, JULIET, View::Archive), (40..100).collect::<Vec<_>>());
        assert_eq!(times(&store, ROMEO, View::Archive), (70..100).collect::<Vec<_>>());
        let waiting = store
            .read_wait(Query::waiting(ROMEO, 1_000))
            .and_then(store::Found::waiting);
        assert_eq!(waiting, Ok((ids[99] + 20, 30)));
        if !more {
            break;
        }
        steps += 1;
        let copy: PathBuf = folder.path().join(format!("{steps}.db"));
        copy_open_database(&path, &copy);
        store = open(&copy);
        path = copy;
    }
    assert!(steps > 20, "{steps}");
    assert_eq!(rows(&path), 60 + 30);
    let bytes = |range: std::ops::Range<i64>| range.map(|at| message(at, ALL).stanza.len() as u64).sum();
    let usage = |owner| store.read_wait(Query::usage(owner)).and_then(store::Found::count);
    assert_eq!(usage(JULIET), Ok(bytes(40..100)));
    assert_eq!(usage(ROMEO), Ok(bytes(70..100)));
}

/// A step is no longer than it may be, however much there is to do.
#[test]
fn a_step_has_a_limit() {
    let (_folder, path) = folder();
    let store = open(&path);
    many(&store, 300, BOTH);
    write(&store, Batch::new().forget(ROMEO).forget(JULIET));
    let mut before = rows(&path);
    let places = "SELECT sum(places & 1) + sum(places & 2) / 2 FROM jackdaw_archive";
    let mut taken = number(&path, places);
    while sweep(&store, 0, 10).more {
        let (after, still) = (rows(&path), if rows(&path) == 0 { 0 } else { number(&path, places) });
        assert!(before - after <= 10 && taken - still <= 10);
        (before, taken) = (after, still);
    }
    assert_eq!(rows(&path), 0);
}

/// Nothing is written where there is nothing to do: a server that is idle leaves the disk alone.
#[test]
fn nothing_to_do_costs_nothing() {
    let (_folder, path) = folder();
    let store = open_suite(&path, Options::default());
    many(&store, 10, ALL);
    let commit = || number(&path, "SELECT max(seq) FROM jackdaw_journal");
    let before = commit();
    assert_eq!(
        sweep(&store, i64::MAX, 7),
        Swept {
            messages: 0,
            more: false
        }
    );
    assert_eq!(commit(), before);
}
