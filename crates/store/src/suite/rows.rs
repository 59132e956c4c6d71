//! Rows of the three shapes: written, read, deleted, and batches that fail.

use std::sync::mpsc;

use super::*;

pub(super) fn put_and_get(store: &dyn Store) {
    assert_eq!(get(store, &ACCOUNTS, JULIET, None), None);
    assert_eq!(get(store, &ROSTER, JULIET, Some("a")), None);
    write(
        store,
        Batch::new()
            .put(&ACCOUNTS, JULIET, None, account(1))
            .put(&ROSTER, JULIET, "a", contact("A")),
    );
    assert_eq!(get(store, &ACCOUNTS, JULIET, None), Some(account(1)));
    assert_eq!(get(store, &ROSTER, JULIET, Some("a")), Some(contact("A")));
    assert_eq!(
        get(store, &ROSTER, JULIET, Some("A")),
        None,
        "keys are told apart by case"
    );
    assert_eq!(get(store, &ROSTER, ROMEO, Some("a")), None);

    write(
        store,
        Batch::new()
            .put(&ACCOUNTS, JULIET, None, account(2))
            .put(&ROSTER, JULIET, "a", contact("B")),
    );
    assert_eq!(get(store, &ACCOUNTS, JULIET, None), Some(account(2)));
    assert_eq!(get(store, &ROSTER, JULIET, Some("a")), Some(contact("B")));
    assert_eq!(count(store, &ACCOUNTS, JULIET), 1);
    write(store, Batch::new());
}

pub(super) fn values_come_back_exactly(store: &dyn Store) {
    let rows = [
        row![i64::MIN, "", Vec::new()],
        row![i64::MAX, "a\0b", vec![0u8, 255]],
        row![0, "5", "text".as_bytes()],
        row![-1, "🎭 ß ﷽", vec![7u8; 100_000]],
        vec![Value::Null, Value::Null, Value::Null],
    ];
    for row in rows {
        for owner in ["", "a\0b", "🎭@example.org"] {
            write(store, Batch::new().put(&ACCOUNTS, owner, None, row.clone()));
            assert_eq!(get(store, &ACCOUNTS, owner, None), Some(row.clone()));
        }
    }
    write(
        store,
        Batch::new()
            .put(&ROSTER, "", "", contact(""))
            .put(&ROSTER, "", "a\0b", contact("0")),
    );
    assert_eq!(get(store, &ROSTER, "", Some("")), Some(contact("")));
    assert_eq!(get(store, &ROSTER, "", Some("a\0b")), Some(contact("0")));
    assert_eq!(get(store, &ROSTER, "", Some("a")), None);
}

/// Numbers are added to what is there, also within one batch, and a batch that fails has added nothing.
pub(super) fn add(store: &dyn Store) {
    let usage = |owner, key| get(store, &USAGE, owner, Some(key));
    write(store, Batch::new().add(&USAGE, JULIET, "total", row![100, 1]));
    assert_eq!(usage(JULIET, "total"), Some(row![100, 1]));
    let twice = Batch::new()
        .add(&USAGE, JULIET, "total", row![-30, 0])
        .add(&USAGE, JULIET, "total", row![1 << 40, 1])
        .add(&USAGE, ROMEO, "total", row![-5, 0]);
    write(store, twice);
    assert_eq!(usage(JULIET, "total"), Some(row![(1_i64 << 40) + 70, 2]));
    assert_eq!(usage(ROMEO, "total"), Some(row![-5, 0]));
    let failing = Batch::new()
        .add(&USAGE, JULIET, "total", row![1, 1])
        .add(&USAGE, JULIET, "other", row![1, 1])
        .require(&ACCOUNTS, JULIET, None);
    refused(store, failing, StoreError::Missing);
    assert_eq!(usage(JULIET, "total"), Some(row![(1_i64 << 40) + 70, 2]));
    assert_eq!(usage(JULIET, "other"), None);
    // What has no number counts as 0.
    write(store, Batch::new().put(&USAGE, JULIET, "total", row![None::<i64>, 3]));
    write(store, Batch::new().add(&USAGE, JULIET, "total", row![7, -3]));
    assert_eq!(usage(JULIET, "total"), Some(row![7, 0]));
    for batch in [
        Batch::new().add(&USAGE, JULIET, "total", row![1]),
        Batch::new().add(&USAGE, JULIET, "total", row![1, None::<i64>]),
        Batch::new().add(&ROSTER, JULIET, "a", row!["a", 1]),
        Batch::new().add(&USAGE, JULIET, None, row![1, 1]),
    ] {
        assert!(matches!(store.write_wait(batch), Err(StoreError::Misuse(_))));
    }
}

pub(super) fn insert_and_require(store: &dyn Store) {
    refused(
        store,
        Batch::new().require(&ACCOUNTS, JULIET, None),
        StoreError::Missing,
    );
    write(store, Batch::new().insert(&ACCOUNTS, JULIET, None, account(1)));
    refused(
        store,
        Batch::new().insert(&ACCOUNTS, JULIET, None, account(2)),
        StoreError::Exists,
    );
    write(
        store,
        Batch::new()
            .require(&ACCOUNTS, JULIET, None)
            .insert(&ROSTER, JULIET, "a", contact("A")),
    );
    refused(
        store,
        Batch::new().insert(&ROSTER, JULIET, "a", contact("B")),
        StoreError::Exists,
    );
    refused(store, Batch::new().require(&ROSTER, JULIET, "b"), StoreError::Missing);
    assert_eq!(get(store, &ACCOUNTS, JULIET, None), Some(account(1)));
    assert_eq!(get(store, &ROSTER, JULIET, Some("a")), Some(contact("A")));

    // A later op sees an earlier one.
    write(
        store,
        Batch::new()
            .delete(&ACCOUNTS, JULIET, None)
            .insert(&ACCOUNTS, JULIET, None, account(3)),
    );
    write(
        store,
        Batch::new()
            .put(&ACCOUNTS, ROMEO, None, account(4))
            .require(&ACCOUNTS, ROMEO, None),
    );
    let twice = Batch::new()
        .insert(&ROSTER, JULIET, "c", contact("C"))
        .insert(&ROSTER, JULIET, "c", contact("D"));
    refused(store, twice, StoreError::Exists);
    assert_eq!(get(store, &ROSTER, JULIET, Some("c")), None);
    refused(
        store,
        Batch::new().forget(ROMEO).require(&ACCOUNTS, ROMEO, None),
        StoreError::Missing,
    );
    assert_eq!(get(store, &ACCOUNTS, ROMEO, None), Some(account(4)));
}

pub(super) fn a_batch_is_atomic(store: &dyn Store) {
    let before = Batch::new()
        .put(&ACCOUNTS, JULIET, None, account(1))
        .put(&ROSTER, JULIET, "a", contact("A"))
        .append(&QUEUE, JULIET, stanza(1))
        .append(&QUEUE, JULIET, stanza(2));
    write(store, before);
    let queue = page(store, JULIET, 0);

    // One of every kind, then a condition that fails.
    let batch = Batch::new()
        .put(&ACCOUNTS, JULIET, None, account(9))
        .put(&ACCOUNTS, ROMEO, None, account(9))
        .put(&ROSTER, JULIET, "a", contact("Z"))
        .insert(&ROSTER, JULIET, "b", contact("Z"))
        .append(&QUEUE, JULIET, stanza(9))
        .trim(&QUEUE, JULIET, queue[0].0)
        .delete(&ROSTER, JULIET, "a")
        .delete(&QUEUE, JULIET, None)
        .forget(JULIET);
    refused(
        store,
        batch.clone().require(&ACCOUNTS, "nobody@example.org", None),
        StoreError::Missing,
    );
    refused(
        store,
        batch.insert(&ACCOUNTS, ROMEO, None, account(8)),
        StoreError::Exists,
    );

    assert_eq!(get(store, &ACCOUNTS, JULIET, None), Some(account(1)));
    assert_eq!(get(store, &ACCOUNTS, ROMEO, None), None);
    assert_eq!(get(store, &ROSTER, JULIET, Some("a")), Some(contact("A")));
    assert_eq!(count(store, &ROSTER, JULIET), 1);
    assert_eq!(page(store, JULIET, 0), queue);
}

pub(super) fn a_failed_batch_harms_no_neighbour(store: &dyn Store) {
    let (sender, receiver) = mpsc::channel();
    let batches = [
        Batch::new()
            .put(&ROSTER, JULIET, "1", contact("1"))
            .append(&QUEUE, JULIET, stanza(1)),
        Batch::new()
            .put(&ROSTER, JULIET, "2", contact("2"))
            .require(&ACCOUNTS, ROMEO, None),
        Batch::new()
            .insert(&ROSTER, JULIET, "3", contact("3"))
            .append(&QUEUE, JULIET, stanza(3)),
        Batch::new()
            .append(&QUEUE, JULIET, stanza(4))
            .insert(&ROSTER, JULIET, "1", contact("4")),
        Batch::new().put(&UNKNOWN, JULIET, None, row![1]),
        Batch::new()
            .put(&ROSTER, JULIET, "5", contact("5"))
            .append(&QUEUE, JULIET, stanza(5)),
    ];
    let writes = batches.into_iter().map(|batch| {
        let sender = sender.clone();
        let done = move |result| sender.send(result).expect("the test listens");
        (batch, Box::new(done) as crate::Written)
    });
    store.write_many(writes.collect());
    drop(sender);

    // The answers come in the order of submission.
    let results: Vec<_> = receiver.iter().collect();
    assert_eq!(
        results[..4],
        [OK, Err(StoreError::Missing), OK, Err(StoreError::Exists)]
    );
    assert!(matches!(results[4], Err(StoreError::Misuse(_))), "{:?}", results[4]);
    assert_eq!(results[5..], [OK]);
    let keys: Vec<_> = all(store, JULIET).into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["1", "3", "5"].map(Into::into));
    let rows: Vec<_> = page(store, JULIET, 0).into_iter().map(|(_, row)| row).collect();
    assert_eq!(rows, [stanza(1), stanza(3), stanza(5)]);
}

pub(super) fn map_rows_are_ordered(store: &dyn Store) {
    assert_eq!(all(store, JULIET), []);
    for key in ["b", "", "Z", "a", "é", "10", "9", "🎭", "ab"] {
        write(
            store,
            Batch::new()
                .put(&ROSTER, JULIET, key, contact(key))
                .put(&ROSTER, ROMEO, "x", contact("x")),
        );
    }
    let expected = ["", "10", "9", "Z", "a", "ab", "b", "é", "🎭"].map(|key| (key.into(), contact(key)));
    assert_eq!(all(store, JULIET), expected);
    assert_eq!(count(store, &ROSTER, JULIET), 9);
    assert_eq!(count(store, &ROSTER, ROMEO), 1);
}

pub(super) fn parts_of_a_map(store: &dyn Store) {
    // What comes before and behind the part, and other owners, are no part of it.
    for key in [
        "a",
        "b",
        "b\u{1f}",
        "b\u{1f}1",
        "b\u{1f}10",
        "b\u{1f}2",
        "b\u{1f}é",
        "b\u{1f}🎭",
        "b ",
        "c",
    ] {
        write(
            store,
            Batch::new()
                .put(&ROSTER, JULIET, key, contact(key))
                .put(&ROSTER, ROMEO, "b\u{1f}3", contact("x")),
        );
    }
    let check = |keys: Keys, expected: &[&str]| {
        let expected: Vec<(Box<str>, Row)> = expected.iter().map(|key| ((*key).into(), contact(key))).collect();
        let found = read(store, Query::keys(keys.clone())).rows().expect("Keys finds rows");
        assert_eq!(found, expected, "{keys:?}");
    };
    let part = |prefix: &str| Keys::of(&ROSTER, JULIET, prefix, PAGE_LIMIT);
    let all = ["b\u{1f}", "b\u{1f}1", "b\u{1f}10", "b\u{1f}2", "b\u{1f}é", "b\u{1f}🎭"];
    check(part("b\u{1f}"), &all);
    check(part("b\u{1f}1"), &all[1..3]);
    check(part("d"), &[]);
    check(part("b\u{1f}🎭"), &all[5..]);
    for limit in 0..8 {
        let first = Keys {
            limit,
            ..part("b\u{1f}")
        };
        let last = Keys {
            last: true,
            ..first.clone()
        };
        check(first, &all[..limit.min(6)]);
        check(last, &all[6 - limit.min(6)..]);
    }
    let between = |after: Option<&str>, before: Option<&str>| Keys {
        after: after.map(Into::into),
        before: before.map(Into::into),
        ..part("b\u{1f}")
    };
    check(between(Some("b\u{1f}1"), None), &all[2..]);
    check(between(Some("b\u{1f}11"), None), &all[3..]);
    check(between(Some("a"), Some("c")), &all);
    check(between(None, Some("b\u{1f}2")), &all[..3]);
    check(between(Some("b\u{1f}1"), Some("b\u{1f}2")), &all[2..3]);
    check(between(Some("b\u{1f}2"), Some("b\u{1f}2")), &[]);
    check(between(Some("b\u{1f}2"), Some("b\u{1f}1")), &[]);
    check(between(Some("c"), None), &[]);
    let newest = Keys {
        last: true,
        limit: 1,
        ..between(None, Some("b\u{1f}2"))
    };
    check(newest, &all[2..3]);
}

pub(super) fn parts_of_a_map_are_deleted(store: &dyn Store) {
    for key in ["a", "b", "b\u{1f}", "b\u{1f}1", "b ", "c"] {
        write(
            store,
            Batch::new()
                .put(&ROSTER, JULIET, key, contact(key))
                .put(&ROSTER, ROMEO, "b\u{1f}3", contact("x")),
        );
    }
    let keys = || all(store, JULIET).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    let before = keys();
    let batch = Batch::new().delete_keys(&ROSTER, JULIET, "b\u{1f}");
    refused(
        store,
        batch.clone().require(&ROSTER, JULIET, "b\u{1f}1"),
        StoreError::Missing,
    );
    assert_eq!(keys(), before);
    write(store, batch.clone().delete_keys(&ROSTER, JULIET, "nothing"));
    assert_eq!(keys(), ["a", "b", "b ", "c"].map(Into::into));
    assert_eq!(count(store, &ROSTER, ROMEO), 1);
    write(store, batch);
    assert_eq!(count(store, &ROSTER, JULIET), 4);
}

pub(super) fn delete(store: &dyn Store) {
    let mut batch = Batch::new()
        .put(&ACCOUNTS, JULIET, None, account(1))
        .put(&ROSTER, ROMEO, "a", contact("A"));
    for key in ["a", "b", "c"] {
        batch = batch.put(&ROSTER, JULIET, key, contact(key));
    }
    write(
        store,
        batch.append(&QUEUE, JULIET, stanza(1)).append(&QUEUE, ROMEO, stanza(2)),
    );

    write(
        store,
        Batch::new()
            .delete(&ROSTER, JULIET, "b")
            .delete(&ROSTER, JULIET, "not there"),
    );
    assert_eq!(
        all(store, JULIET),
        [("a".into(), contact("a")), ("c".into(), contact("c"))]
    );
    write(store, Batch::new().delete(&ROSTER, JULIET, None));
    assert_eq!(all(store, JULIET), []);
    assert_eq!(all(store, ROMEO), [("a".into(), contact("A"))]);
    write(
        store,
        Batch::new()
            .delete(&ACCOUNTS, JULIET, None)
            .delete(&ACCOUNTS, JULIET, None),
    );
    assert_eq!(get(store, &ACCOUNTS, JULIET, None), None);
    write(store, Batch::new().delete(&QUEUE, JULIET, None));
    assert_eq!(count(store, &QUEUE, JULIET), 0);
    assert_eq!(count(store, &QUEUE, ROMEO), 1);
}

pub(super) fn archive_pages(store: &dyn Store) {
    assert_eq!(page(store, JULIET, 0), []);
    for at in 0..10 {
        write(
            store,
            Batch::new()
                .append(&QUEUE, JULIET, stanza(at))
                .append(&QUEUE, ROMEO, stanza(100 + at)),
        );
    }
    let rows = page(store, JULIET, 0);
    let at: Vec<_> = rows.iter().map(|(_, row)| row[0].as_int()).collect();
    assert_eq!(at, (0..10).map(Some).collect::<Vec<_>>());
    assert!(rows[0].0 > 0, "0 is before every id");
    assert!(rows.windows(2).all(|pair| pair[0].0 < pair[1].0), "{rows:?}");

    assert_eq!(page(store, JULIET, rows[3].0), rows[4..]);
    assert_eq!(page(store, JULIET, rows[9].0), []);
    assert_eq!(page(store, JULIET, i64::MAX), []);
    let three = |after| {
        read(store, Query::page(&QUEUE, JULIET, after, 3))
            .page()
            .expect("Page finds a page")
    };
    assert_eq!(three(0), rows[..3]);
    assert_eq!(three(rows[7].0), rows[8..]);
    assert_eq!(read(store, Query::page(&QUEUE, JULIET, 0, 0)).page(), Ok(Vec::new()));

    write(store, Batch::new().trim(&QUEUE, JULIET, rows[3].0));
    assert_eq!(page(store, JULIET, 0), rows[4..]);
    assert_eq!(count(store, &QUEUE, JULIET), 6);
    assert_eq!(count(store, &QUEUE, ROMEO), 10);

    let mut long = Batch::new();
    for at in 0..PAGE_LIMIT as i64 + 5 {
        long = long.append(&QUEUE, "long@example.org", stanza(at));
    }
    write(store, long);
    let first = read(store, Query::page(&QUEUE, "long@example.org", 0, usize::MAX))
        .page()
        .expect("Page finds a page");
    assert_eq!(first.len(), PAGE_LIMIT, "a page has a limit of its own");
    assert_eq!(page(store, "long@example.org", first[PAGE_LIMIT - 1].0).len(), 5);
}

pub(super) fn ids_are_never_reused(store: &dyn Store) {
    let mut last = 0;
    for _ in 0..3 {
        write(
            store,
            Batch::new()
                .append(&QUEUE, JULIET, stanza(1))
                .append(&OTHER_QUEUE, JULIET, row![1]),
        );
        let rows = page(store, JULIET, 0);
        let others = read(store, Query::page(&OTHER_QUEUE, JULIET, 0, 9))
            .page()
            .expect("Page finds a page");
        assert_eq!((rows.len(), others.len()), (1, 1));
        assert!(rows[0].0 > last, "{} after {last}", rows[0].0);
        assert!(
            others[0].0 > rows[0].0,
            "one sequence for all tables, in order of the ops"
        );
        last = others[0].0;
        write(
            store,
            Batch::new()
                .trim(&QUEUE, JULIET, i64::MAX)
                .delete(&OTHER_QUEUE, JULIET, None),
        );
    }
    let failing = Batch::new()
        .append(&QUEUE, JULIET, stanza(1))
        .require(&ACCOUNTS, JULIET, None);
    refused(store, failing, StoreError::Missing);
    write(store, Batch::new().append(&QUEUE, JULIET, stanza(2)));
    assert!(page(store, JULIET, 0)[0].0 > last);
}

pub(super) fn forget(store: &dyn Store) {
    for owner in [JULIET, ROMEO] {
        let batch = Batch::new()
            .put(&ACCOUNTS, owner, None, account(1))
            .put(&ROSTER, owner, "a", contact("A"))
            .append(&QUEUE, owner, stanza(1))
            .append(&OTHER_QUEUE, owner, row![1])
            .add(&USAGE, owner, "total", row![1, 1]);
        write(store, batch);
    }
    write(
        store,
        Batch::new().forget(JULIET).put(&ROSTER, JULIET, "new", contact("N")),
    );
    for table in TABLES {
        assert_eq!(
            count(store, table, JULIET),
            u64::from(table == &ROSTER),
            "{}",
            table.name
        );
        assert_eq!(count(store, table, ROMEO), 1, "{}", table.name);
    }
}

pub(super) fn owners_are_paged(store: &dyn Store) {
    let owners = |after: Option<&str>, limit| {
        let found = read(store, Query::owners(&ACCOUNTS, after, limit))
            .owners()
            .expect("Owners finds owners");
        found
            .into_iter()
            .map(|(owner, row)| (String::from(owner), row[0].as_int()))
            .collect::<Vec<_>>()
    };
    assert_eq!(owners(None, 10), []);
    for (number, owner) in ["b", "a", "c", "B"].into_iter().enumerate() {
        write(store, Batch::new().put(&ACCOUNTS, owner, None, account(number as i64)));
    }
    let expected = [("B", 3), ("a", 1), ("b", 0), ("c", 2)].map(|(owner, number)| (owner.to_owned(), Some(number)));
    assert_eq!(owners(None, 10), expected);
    assert_eq!(owners(None, 2), expected[..2]);
    assert_eq!(owners(Some("a"), 10), expected[2..]);
    assert_eq!(owners(Some("aa"), 1), expected[2..3]);
    assert_eq!(owners(Some("c"), 10), []);

    let mut batch = Batch::new();
    for number in 0..PAGE_LIMIT + 5 {
        batch = batch.put(&ACCOUNTS, &format!("x{number:06}"), None, account(0));
    }
    write(store, batch);
    assert_eq!(owners(None, usize::MAX).len(), PAGE_LIMIT);
}
