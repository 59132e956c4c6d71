//! The archive over files: the suite by chance, sealed buckets, a full disk.

mod support;

use jackdaw_store_sqlite as store_sqlite;
use store::suite::QUEUE;
use store::{Batch, Deposit, Places, Query, Range, Store, StoreError, View};
use store_sqlite::{Options, SqliteStore};
use support::{OK, copy_open_database, folder, open_suite, stanza};

/// Ops made by chance, against the memory driver, with buckets so small that many are sealed. The store is ended in
/// every way there is: closed; dropped; and left open, while a copy of its files is opened, which is a crash.
#[test]
fn does_what_the_memory_does() {
    for (seed, archive_bucket_bits) in [(1, 4), (2, 5), (3, 7), (4, 9), (5, 16)] {
        let (folder, first) = folder();
        let mut number = 0;
        let mut path = first;
        let mut open_next = |store: Option<Box<dyn Store>>| -> Box<dyn Store> {
            number += 1;
            match (store, number % 3) {
                (None, _) => {}
                (Some(store), 0) => store.close(),
                (Some(store), 1) => drop(store),
                (Some(store), _) => {
                    let copy = folder.path().join(format!("{number}.db"));
                    copy_open_database(&path, &copy);
                    path = copy;
                    drop(store);
                }
            }
            let options = Options {
                archive_bucket_bits,
                ..Options::default()
            };
            Box::new(open_suite(&path, options))
        };
        store::suite::compare_with_memory(&mut open_next, seed, 1_000);
    }
}

/// A page may begin anywhere: also just before a row of the index that has the same key as the id it begins behind.
#[test]
fn pages_begin_anywhere_in_a_sealed_bucket() {
    let (_folder, path) = folder();
    let options = Options {
        archive_bucket_bits: 14,
        ..Options::default()
    };
    let store = open_suite(&path, options);
    let message = |number: i64| store::Deposit {
        at: number,
        sender: "juliet@example.org".into(),
        recipient: "romeo@example.net".into(),
        places: store::Places::SENT,
        fingerprint: None,
        stanza: "<message from='juliet@example.org/x' to='romeo@example.net/y'/>".into(),
    };
    // One bucket and more, so that it is sealed.
    const COUNT: i64 = 40_000;
    let writes = (0..COUNT)
        .map(|number| -> (Batch, store::Written) { (Batch::new().deposit(message(number)), Box::new(|_| {})) });
    store.write_many(writes.collect());
    let page = |after: i64, newest: bool| {
        let mut range = store::Range::of("juliet@example.org", store::View::Archive, 2);
        (range.after, range.before) = if newest {
            (None, Some(after))
        } else {
            (Some(after), None)
        };
        range.newest = newest;
        let page = store.read_wait(Query::archive(range)).and_then(store::Found::archive);
        page.expect("read")
            .messages
            .iter()
            .map(|message| message.at)
            .collect::<Vec<_>>()
    };
    let first = store.read_wait(Query::archive(store::Range::of(
        "juliet@example.org",
        store::View::Archive,
        1,
    )));
    let first = first.and_then(store::Found::archive).expect("read").messages[0].id;
    for number in 1..2_000 {
        assert_eq!(page(first + number - 1, false), [number, number + 1]);
        assert_eq!(page(first + number + 1, true), [number - 1, number]);
    }
}

/// The file is full at any moment, also when a bucket is sealed or marks are folded: what was told is there, what was
/// refused is not, and sealing goes on once there is room, without a restart.
#[test]
fn full_while_the_archive_is_sealed() {
    let (_folder, path) = folder();
    let options = Options {
        max_pages: Some(200),
        archive_bucket_bits: 6,
        ..Options::default()
    };
    let message = |at: i64| Deposit {
        at,
        sender: "juliet".into(),
        recipient: format!("peer{}", at % 50).into(),
        places: Places::SENT.and(Places::RECEIVED),
        fingerprint: Some(at as u128),
        stanza: "x".repeat(200).into(),
    };
    let check = |store: &SqliteStore, told: &[i64]| {
        let archived = |owner: &str| -> Vec<i64> {
            let mut all = Vec::new();
            let mut after = 0;
            loop {
                let range = Range {
                    after: Some(after),
                    ..Range::of(owner, View::Archive, usize::MAX)
                };
                let found = store.read_wait(Query::archive(range));
                let page = found.and_then(store::Found::archive).expect("a page");
                all.extend(page.messages.iter().map(|message| message.at));
                after = page.messages.last().map_or(after, |message| message.id);
                if page.complete {
                    return all;
                }
            }
        };
        assert_eq!(archived("juliet"), told);
        for peer in [0, 17] {
            let of_peer: Vec<_> = told.iter().filter(|at| *at % 50 == peer).copied().collect();
            assert_eq!(archived(&format!("peer{peer}")), of_peer);
        }
        for key in 0..200 {
            let mark = store.read_wait(Query::Mark { key }).and_then(store::Found::mark);
            let last = told.iter().rev().find(|at| **at % 200 == key);
            assert_eq!(mark, Ok(last.copied()));
        }
    };

    let store = open_suite(&path, options.clone());
    let filler = |number: usize| format!("filler{number}");
    let mut fillers = 0;
    while store
        .write_wait(Batch::new().append(&QUEUE, &filler(fillers), stanza(3_500)))
        .is_ok()
    {
        fillers += 1;
    }
    assert!(fillers > 100, "{fillers}");
    let (mut told, mut at) = (Vec::new(), 0);
    // A little room each time, so that another write is the one that does not fit.
    for number in 0..fillers {
        assert_eq!(store.write_wait(Batch::new().delete(&QUEUE, &filler(number), None)), OK);
        let mut refused = 0;
        while refused < 4 {
            at += 1;
            match store.write_wait(Batch::new().deposit(message(at)).mark(at % 200, at)) {
                Ok(_) => told.push(at),
                Err(error) => {
                    assert_eq!(error, StoreError::Full);
                    refused += 1;
                }
            }
        }
        if number % 10 == 0 {
            check(&store, &told);
        }
    }
    assert!(told.len() > 1_000, "{}", told.len());
    check(&store, &told);
    store.close();

    let store = open_suite(
        &path,
        Options {
            max_pages: None,
            ..options
        },
    );
    check(&store, &told);
    for _ in 0..600 {
        at += 1;
        assert!(
            store
                .write_wait(Batch::new().deposit(message(at)).mark(at % 200, at))
                .is_ok()
        );
        told.push(at);
    }
    check(&store, &told);
    store.close();
    let connection = rusqlite::Connection::open(&path).expect("the file is there");
    let behind: i64 = connection
        .query_row(
            "SELECT (SELECT max(id) >> 6 FROM jackdaw_archive) - (SELECT sealed FROM jackdaw_state)",
            [],
            |row| row.get(0),
        )
        .expect("the SQL is right");
    assert!(behind <= 2, "{behind} buckets are not sealed");
}
