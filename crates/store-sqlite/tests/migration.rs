//! Files of earlier versions.

mod support;

use jackdaw_store_sqlite as store_sqlite;
use store::suite::{ACCOUNTS, TABLES};
use store::{Batch, Column, Deposit, Places, Query, Range, Shape, Store, Table, View, row};
use store_sqlite::{Options, SqliteStore, open};
use support::{folder, open_suite, sql};

/// As the first release made it, in SQL that is not derived from today's.
const VERSION_1: &str = "
    PRAGMA journal_mode = wal;
    CREATE TABLE jackdaw_sequence (last_id INTEGER NOT NULL) STRICT;
    INSERT INTO jackdaw_sequence VALUES (70000);
    CREATE TABLE jackdaw_tables (name TEXT NOT NULL PRIMARY KEY, shape TEXT NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO jackdaw_tables VALUES ('suite_accounts', 'keyval'), ('offline', 'archive');
    CREATE TABLE suite_accounts (owner TEXT NOT NULL PRIMARY KEY, number INTEGER, note TEXT, bytes BLOB) STRICT;
    INSERT INTO suite_accounts VALUES ('juliet', 7, 'note', x'0102');
    CREATE TABLE offline (owner TEXT NOT NULL, id INTEGER NOT NULL, received INTEGER, stanza BLOB,
        PRIMARY KEY (owner, id)) STRICT, WITHOUT ROWID;
    INSERT INTO offline VALUES ('juliet', 69000, 1, x'3c6d2f3e');
    PRAGMA application_id = 1248029540;
    PRAGMA user_version = 1;";

#[test]
fn version_1_is_brought_up_to_date() {
    static OFFLINE: Table = Table {
        name: "offline",
        shape: Shape::Archive,
        columns: &[Column::int("received"), Column::blob("stanza")],
    };
    let (_folder, path) = folder();
    sql(&path, VERSION_1);
    let mut secrets = Vec::new();
    for round in 0..2 {
        let store = open(&path, &[&ACCOUNTS, &OFFLINE], Options::default()).unwrap_or_else(|error| panic!("{error}"));
        let account = store.read_wait(Query::get(&ACCOUNTS, "juliet", None));
        assert_eq!(
            account.and_then(store::Found::row),
            Ok(Some(row![7, "note", vec![1u8, 2]]))
        );
        let offline = store.read_wait(Query::page(&OFFLINE, "juliet", 0, 10));
        assert_eq!(
            offline.and_then(store::Found::page),
            Ok(vec![(69_000, row![1, b"<m/>".as_slice()])])
        );
        let wrote = store.write_wait(Batch::new().deposit(Deposit {
            at: round,
            sender: "juliet".into(),
            recipient: "romeo".into(),
            places: Places::RECEIVED,
            fingerprint: None,
            stanza: "<message/>".into(),
        }));
        let id = wrote.expect("it is right").deposited.expect("it deposits").id;
        assert!(id > 70_000, "the sequence goes on");
        let page = store.read_wait(Query::archive(Range::of("romeo", View::Archive, 10)));
        let page = page.and_then(store::Found::archive).expect("a page");
        assert_eq!(
            page.messages.iter().map(|message| message.at).collect::<Vec<_>>(),
            (0..=round).collect::<Vec<_>>()
        );
        secrets.push(store.secret());
        store.close();
    }
    assert_eq!(secrets[0], secrets[1]);
    assert_ne!(secrets[0], [0; 32]);
    // A new one has a secret of its own.
    let (_folder, other) = folder();
    assert_ne!(open_suite(&other, Options::default()).secret(), secrets[0]);
}

/// As the build before made it: a sealed bucket of 16 ids and one that is not. Juliet is 1, Romeo 2, who has got what
/// waited up to 4, and the nurse is 3, who was removed.
const VERSION_2: &str = "
    PRAGMA journal_mode = wal;
    CREATE TABLE jackdaw_sequence (last_id INTEGER NOT NULL) STRICT;
    INSERT INTO jackdaw_sequence VALUES (1040);
    CREATE TABLE jackdaw_tables (name TEXT NOT NULL PRIMARY KEY, shape TEXT NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO jackdaw_tables VALUES ('delivered', 'keyval');
    CREATE TABLE delivered (owner TEXT NOT NULL PRIMARY KEY, up_to INTEGER) STRICT;
    INSERT INTO delivered VALUES ('romeo', 4), ('nobody', 5);
    CREATE TABLE jackdaw_archive (id INTEGER NOT NULL PRIMARY KEY, at INTEGER NOT NULL, sender INTEGER NOT NULL,
        recipient INTEGER NOT NULL, places INTEGER NOT NULL, fingerprint BLOB, stanza TEXT NOT NULL) STRICT;
    INSERT INTO jackdaw_archive VALUES (1, 1, 1, 2, 7, NULL, 'a'), (2, 2, 1, 2, 7, NULL, 'bb'), (3, 3, 1, 2, 7, NULL, 'ccc'),
        (4, 4, 1, 2, 4, NULL, 'only waited'), (5, 5, 1, 3, 3, NULL, 'eeeee'),
        (17, 17, 1, 2, 4, NULL, 'only waits'), (18, 18, 1, 2, 7, NULL, 'ff');
    CREATE TABLE jackdaw_jids (id INTEGER NOT NULL PRIMARY KEY, jid TEXT NOT NULL UNIQUE,
        horizon INTEGER NOT NULL DEFAULT 0) STRICT;
    INSERT INTO jackdaw_jids VALUES (1, 'juliet', 0), (2, 'romeo', 0), (3, 'nurse', 16);
    CREATE TABLE jackdaw_archive_postings (place INTEGER NOT NULL PRIMARY KEY, entries BLOB NOT NULL) STRICT;
    INSERT INTO jackdaw_archive_postings VALUES (4097, x'01020901020901020902040d'), (8193, x'010207010207010207010206'),
        (12293, x'050a05');
    CREATE TABLE jackdaw_archive_buckets (bucket INTEGER NOT NULL PRIMARY KEY, first_at INTEGER NOT NULL,
        last_at INTEGER NOT NULL, blocks BLOB NOT NULL) STRICT;
    INSERT INTO jackdaw_archive_buckets VALUES (0, 1, 5,
        x'ffffffffffffff7f00000000000000800100000000000000010000000000000002000000000000000200000000000000030000000000000003000000000000000400000000000000040000000000000005000000000000000500000000000000');
    CREATE TABLE jackdaw_archive_fingerprints (place INTEGER NOT NULL PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
    CREATE TABLE jackdaw_archive_expired (before INTEGER NOT NULL, up_to INTEGER NOT NULL) STRICT;
    CREATE TABLE jackdaw_journal (seq INTEGER NOT NULL PRIMARY KEY, marks BLOB NOT NULL) STRICT;
    CREATE TABLE jackdaw_marks (key INTEGER NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT;
    CREATE TABLE jackdaw_state (secret BLOB NOT NULL, sealed INTEGER NOT NULL, bucket_bits INTEGER NOT NULL) STRICT;
    INSERT INTO jackdaw_state VALUES (randomblob(32), 1, 4);
    PRAGMA application_id = 1248029540;
    PRAGMA user_version = 2;";

#[test]
fn version_2_is_brought_up_to_date() {
    let (_folder, path) = folder();
    sql(&path, VERSION_2);
    let times = |store: &SqliteStore, owner: &str, view| {
        let page = store.read_wait(Query::archive(Range::of(owner, view, 100)));
        let page = page.and_then(store::Found::archive).expect("a page");
        page.messages.iter().map(|message| message.at).collect::<Vec<_>>()
    };
    let check = |store: &SqliteStore| {
        let waiting = store
            .read_wait(Query::waiting("romeo", 100))
            .and_then(store::Found::waiting);
        assert_eq!(waiting, Ok((4, 2)));
        assert_eq!(times(store, "romeo", View::Waiting), [1, 2, 3, 17, 18]);
        assert_eq!(times(store, "romeo", View::Archive), [1, 2, 3, 18]);
        assert_eq!(times(store, "juliet", View::Archive), [1, 2, 3, 5, 18]);
        assert_eq!(times(store, "nurse", View::Archive), []);
    };
    let store = open_suite(&path, Options::default());
    check(&store);
    let usage = |store: &SqliteStore, owner: &str| store.read_wait(Query::usage(owner)).and_then(store::Found::count);
    assert_eq!((usage(&store, "romeo"), usage(&store, "juliet")), (Ok(8), Ok(13)));
    assert_eq!(usage(&store, "nurse"), Ok(5), "not yet swept");
    let wrote = store.write_wait(Batch::new().sweep(0, 100)).expect("it is right");
    assert_eq!(wrote.swept.map(|swept| (swept.messages, swept.more)), Some((2, false)));
    check(&store);
    assert_eq!(usage(&store, "nurse"), Ok(0));
    store.close();
    let store = open(&path, &TABLES, Options::default()).expect("nothing has changed");
    check(&store);
    store.close();

    let file = rusqlite::Connection::open(&path).expect("the file is there");
    let number = |sql: &str| -> i64 { file.query_row(sql, [], |row| row.get(0)).expect("the SQL is right") };
    assert_eq!(number("PRAGMA user_version"), 3);
    assert_eq!(number("SELECT count(*) FROM sqlite_schema WHERE name = 'delivered'"), 0);
    assert_eq!(
        number("SELECT count(*) FROM jackdaw_tables WHERE name = 'delivered'"),
        0
    );
    assert_eq!(number("SELECT count(*) FROM jackdaw_archive WHERE id = 4"), 0);
    assert_eq!(
        number("SELECT places FROM jackdaw_archive WHERE id = 5"),
        1,
        "hers is gone, and Juliet's is not"
    );
}
