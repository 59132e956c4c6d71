//! What is read: order, views, ranges, counts, and one moment for all of it.

use std::sync::mpsc;

use super::*;

pub(in crate::suite) fn deposits_are_in_order(store: &dyn Store) {
    assert_eq!(
        archive(store, all_of(JULIET, View::Archive)),
        Page {
            complete: true,
            ..Page::default()
        }
    );
    // The clock goes back; the order does not care.
    let mut ids = Vec::new();
    for at in [5, 3, -1, 4, 0, i64::MAX] {
        ids.push(add(store, message(JULIET, ROMEO, at)));
        write(store, Batch::new().append(&QUEUE, JULIET, stanza(at)));
    }
    assert!(ids[0] > 0 && ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    for owner in [JULIET, ROMEO] {
        let page = archive(store, all_of(owner, View::Archive));
        assert_eq!(page.messages.iter().map(|message| message.id).collect::<Vec<_>>(), ids);
        assert_eq!(archived(store, owner), [5, 3, -1, 4, 0, i64::MAX]);
        assert!(page.complete && page.total.is_none() && page.index.is_none());
    }
    let second = &archive(store, all_of(ROMEO, View::Archive)).messages[1];
    let expected = Archived {
        id: ids[1],
        at: 3,
        archived: true,
        waits: BOTH.has(Places::WAITING),
        stanza: (&*message(JULIET, ROMEO, 3).stanza).into(),
    };
    assert_eq!(*second, expected);
    // One sequence with the tables.
    let queue = page(store, JULIET, 0);
    for (at, (id, _)) in queue.iter().enumerate() {
        assert!(
            ids[at] < *id && ids.get(at + 1).is_none_or(|next| id < next),
            "{ids:?} {queue:?}"
        );
    }
}

pub(in crate::suite) fn views(store: &dyn Store) {
    for (at, places) in [
        Places::SENT,
        Places::RECEIVED,
        Places::WAITING,
        BOTH,
        Places::SENT.and(Places::WAITING),
        Places::RECEIVED.and(Places::WAITING),
        BOTH.and(Places::WAITING),
    ]
    .into_iter()
    .enumerate()
    {
        add(store, in_places(places, message(JULIET, ROMEO, at as i64)));
        add(store, in_places(places, message(NURSE, NURSE, 10 + at as i64)));
    }
    assert_eq!(archived(store, JULIET), [0, 3, 4, 6]);
    assert_eq!(archived(store, ROMEO), [1, 3, 5, 6]);
    assert_eq!(waiting_for(store, JULIET), []);
    assert_eq!(waiting_for(store, ROMEO), [2, 4, 5, 6]);
    // Both parties are one: one entry each.
    assert_eq!(archived(store, NURSE), [10, 11, 13, 14, 15, 16]);
    assert_eq!(waiting_for(store, NURSE), [12, 14, 15, 16]);
    assert_eq!(archived(store, "nobody@example.org"), []);
    assert_eq!(
        archived(store, "JULIET@example.org"),
        [],
        "owners are told apart by case"
    );
}

pub(in crate::suite) fn with(store: &dyn Store) {
    add(store, message(JULIET, ROMEO, 1));
    add(store, message(ROMEO, JULIET, 2));
    add(store, message(JULIET, NURSE, 3));
    add(store, message(JULIET, JULIET, 4));
    add(store, message(NURSE, JULIET, 5));
    let odd = "<message type='chat' to='juliet@example.org' from=\"romeo@example.net/&lt;a &amp; &apos;b&quot;\"/>";
    add(
        store,
        Deposit {
            stanza: odd.into(),
            ..message(ROMEO, JULIET, 6)
        },
    );
    add(store, message(ROMEO, JULIET, 2));
    let with = |owner: &str, with: &str| {
        times(
            store,
            Range {
                with: Some(with.into()),
                ..all_of(owner, View::Archive)
            },
        )
    };
    assert_eq!(with(JULIET, ROMEO), [1, 2, 6, 2]);
    assert_eq!(with(JULIET, NURSE), [3, 5]);
    assert_eq!(with(JULIET, JULIET), [4], "what she sent to herself");
    assert_eq!(with(ROMEO, JULIET), [1, 2, 6, 2]);
    assert_eq!(with(ROMEO, ROMEO), []);
    assert_eq!(with(JULIET, "nobody@example.org"), []);
    // A full JID is the other party's end of the message.
    assert_eq!(with(JULIET, "romeo@example.net/r1"), [1]);
    assert_eq!(with(JULIET, "romeo@example.net/s2"), [2, 2]);
    assert_eq!(with(JULIET, "romeo@example.net/s1"), []);
    assert_eq!(with(JULIET, "romeo@example.net/"), []);
    assert_eq!(with(JULIET, "romeo@example.net/<a & 'b\""), [6]);
    assert_eq!(with(JULIET, "juliet@example.org/s4"), [4]);
    assert_eq!(with(JULIET, "juliet@example.org/r4"), [4]);
    assert_eq!(with(JULIET, "juliet@example.org/s1"), []);
    // Whoever the other party is.
    let addressed = |name: &'static str, jid: &str, with: Option<&str>| {
        let range = Range {
            addressed: Some((name, jid.into())),
            with: with.map(Into::into),
            count: true,
            ..all_of(JULIET, View::Archive)
        };
        let page = archive(store, range);
        assert_eq!(page.total, Some(page.messages.len() as u64));
        page.messages.iter().map(|message| message.at).collect::<Vec<_>>()
    };
    assert_eq!(addressed("from", "romeo@example.net/s2", None), [2, 2]);
    assert_eq!(addressed("to", "juliet@example.org/r2", None), [2, 2]);
    assert_eq!(addressed("to", "juliet@example.org", None), [6]);
    assert_eq!(addressed("to", "juliet@example.org/r2", Some(NURSE)), []);
    assert_eq!(addressed("to", "juliet@example.org/r2", Some(ROMEO)), [2, 2]);
    let page = archive(
        store,
        Range {
            with: Some("romeo@example.net/s2".into()),
            limit: 1,
            newest: true,
            count: true,
            ..all_of(JULIET, View::Archive)
        },
    );
    assert_eq!((page.total, page.index, page.complete), (Some(2), Some(1), false));
}

pub(in crate::suite) fn ranges(store: &dyn Store) {
    let ids: Vec<i64> = (0..10)
        .map(|at| {
            add(store, message(NURSE, ROMEO, 100 + at));
            add(store, message(JULIET, ROMEO, at))
        })
        .collect();
    let all = || all_of(JULIET, View::Archive);
    #[track_caller]
    fn check(store: &dyn Store, range: Range, expected: &[i64], complete: bool) {
        assert_eq!(times(store, range.clone()), expected, "{range:?}");
        assert_eq!(archive(store, range.clone()).complete, complete, "{range:?}");
    }
    let limit = |limit, range| Range { limit, ..range };
    let newest = |range| Range { newest: true, ..range };
    let after = |at: usize, range| Range {
        after: Some(ids[at]),
        ..range
    };
    let before = |at: usize, range| Range {
        before: Some(ids[at]),
        ..range
    };
    let time = |start, end, range| Range { start, end, ..range };

    check(store, limit(3, all()), &[0, 1, 2], false);
    check(store, newest(limit(3, all())), &[7, 8, 9], false);
    check(store, limit(10, all()), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], true);
    check(store, newest(limit(10, all())), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], true);
    check(store, limit(0, all()), &[], false);
    check(store, limit(0, all_of("nobody@example.org", View::Archive)), &[], true);
    check(store, after(6, all()), &[7, 8, 9], true);
    check(store, after(6, limit(2, all())), &[7, 8], false);
    check(store, after(6, newest(limit(2, all()))), &[8, 9], false);
    check(store, after(7, newest(limit(2, all()))), &[8, 9], true);
    check(store, after(9, all()), &[], true);
    check(store, before(2, all()), &[0, 1], true);
    check(store, before(5, newest(limit(2, all()))), &[3, 4], false);
    check(store, before(5, limit(2, all())), &[0, 1], false);
    check(store, before(0, newest(all())), &[], true);
    check(store, after(2, before(6, all())), &[3, 4, 5], true);
    check(store, after(6, before(2, all())), &[], true);
    check(store, time(Some(3), None, all()), &[3, 4, 5, 6, 7, 8, 9], true);
    check(store, time(None, Some(3), newest(limit(2, all()))), &[2, 3], false);
    check(store, time(Some(3), Some(5), all()), &[3, 4, 5], true);
    check(store, time(Some(5), Some(3), all()), &[], true);
    check(store, after(4, time(Some(3), Some(8), limit(2, all()))), &[5, 6], false);
    for extreme in [i64::MIN, 0] {
        check(
            store,
            Range {
                after: Some(extreme),
                ..limit(1, all())
            },
            &[0],
            false,
        );
    }
    check(
        store,
        Range {
            before: Some(i64::MAX),
            ..newest(limit(1, all()))
        },
        &[9],
        false,
    );
    check(
        store,
        Range {
            before: Some(i64::MIN),
            ..all()
        },
        &[],
        true,
    );
    check(
        store,
        Range {
            after: Some(i64::MAX),
            ..all()
        },
        &[],
        true,
    );

    let some = |ids: &[i64], range| Range {
        ids: Some(ids.to_vec()),
        ..range
    };
    // In any order, twice, of others, and such as never were.
    let asked = [ids[7], ids[2], ids[2], ids[0] - 1, ids[9] + 1_000_000, 0, -1, i64::MAX];
    check(store, some(&asked, all()), &[2, 7], true);
    check(store, some(&asked, newest(limit(1, all()))), &[7], false);
    check(store, after(2, some(&asked, all())), &[7], true);
    check(store, time(None, Some(2), some(&asked, all())), &[2], true);
    check(store, some(&[], all()), &[], true);

    // The limit of every page.
    for at in 0..PAGE_LIMIT as i64 + 5 {
        let sent = Batch::new().deposit(message("long@example.org", NURSE, at));
        store.write(sent, Box::new(|result| assert!(result.is_ok())));
    }
    let page = archive(store, all_of("long@example.org", View::Archive));
    assert_eq!((page.messages.len(), page.complete), (PAGE_LIMIT, false));
    let rest = archive(
        store,
        Range {
            after: page.messages.last().map(|message| message.id),
            ..all_of("long@example.org", View::Archive)
        },
    );
    assert_eq!((rest.messages.len(), rest.complete), (5, true));
}

pub(in crate::suite) fn counted(store: &dyn Store) {
    let ids: Vec<i64> = (0..10).map(|at| add(store, message(JULIET, ROMEO, at))).collect();
    add(store, message(NURSE, ROMEO, 5));
    let check = |range: Range, expected: (u64, Option<u64>)| {
        let page = archive(
            store,
            Range {
                count: true,
                ..range.clone()
            },
        );
        assert_eq!((page.total, page.index), (Some(expected.0), expected.1), "{range:?}");
    };
    let all = || Range::of(JULIET, View::Archive, 3);
    check(all(), (10, Some(0)));
    check(Range { newest: true, ..all() }, (10, Some(7)));
    check(
        Range {
            after: Some(ids[4]),
            ..all()
        },
        (10, Some(5)),
    );
    check(
        Range {
            before: Some(ids[4]),
            newest: true,
            ..all()
        },
        (10, Some(1)),
    );
    check(
        Range {
            after: Some(ids[9]),
            ..all()
        },
        (10, None),
    );
    check(Range { limit: 0, ..all() }, (10, None));
    check(
        Range {
            start: Some(3),
            end: Some(6),
            after: Some(ids[4]),
            ..all()
        },
        (4, Some(2)),
    );
    check(
        Range {
            ids: Some(vec![ids[1], ids[5]]),
            after: Some(ids[2]),
            ..all()
        },
        (2, Some(1)),
    );
    check(
        Range {
            with: Some(NURSE.into()),
            ..all()
        },
        (0, None),
    );
    check(
        Range {
            with: Some(NURSE.into()),
            ..Range::of(ROMEO, View::Archive, 3)
        },
        (1, Some(0)),
    );
    check(Range::of("nobody@example.org", View::Archive, 3), (0, None));
    check(Range::of(ROMEO, View::Waiting, 3), (0, None));
}

pub(in crate::suite) fn bytes(store: &dyn Store) {
    let long = |bytes: usize, at| Deposit {
        stanza: "x".repeat(bytes).into(),
        ..message(JULIET, ROMEO, at)
    };
    for (at, bytes) in [1_000, 100, 200_000, 100, 0].into_iter().enumerate() {
        add(store, long(bytes, at as i64));
    }
    let check = |bytes, newest, expected: &[i64]| {
        let range = Range {
            bytes,
            newest,
            ..all_of(ROMEO, View::Archive)
        };
        assert_eq!(times(store, range.clone()), expected, "{bytes}");
        assert_eq!(archive(store, range).complete, expected.len() == 5, "{bytes}");
    };
    check(0, false, &[0]);
    check(1_099, false, &[0]);
    check(1_100, false, &[0, 1]);
    check(201_099, false, &[0, 1]);
    check(201_200, false, &[0, 1, 2, 3, 4]);
    check(0, true, &[4]);
    check(100, true, &[3, 4]);
    check(usize::MAX, true, &[0, 1, 2, 3, 4]);
    let stanza = &archive(store, all_of(ROMEO, View::Archive)).messages[2].stanza;
    assert_eq!(stanza.len(), 200_000);
}

pub(in crate::suite) fn waiting(store: &dyn Store) {
    let ids: Vec<_> = (0..6)
        .map(|at| {
            let places = if at % 2 == 0 { Places::WAITING } else { BOTH };
            add(store, in_places(places, message(JULIET, ROMEO, at)))
        })
        .collect();
    let count = |owner: &str, most| {
        let found = read(store, Query::waiting(owner, most)).waiting();
        found.expect("what waits").1
    };
    assert_eq!(count(ROMEO, usize::MAX), 3);
    assert_eq!(count(ROMEO, 2), 2);
    assert_eq!(count(ROMEO, 0), 0);
    assert_eq!(count(JULIET, 10), 0);
    assert_eq!(count("nobody@example.org", 10), 0);
    write(store, Batch::new().settle(ROMEO, ids[0]));
    assert_eq!(count(ROMEO, 10), 2);
    write(store, Batch::new().horizon(ROMEO, ids[2]));
    assert_eq!(count(ROMEO, 10), 1);
    write(store, Batch::new().settle(ROMEO, ids[4]));
    assert_eq!(count(ROMEO, 10), 0);
    write(store, Batch::new().settle(ROMEO, i64::MAX));
    add(store, in_places(Places::WAITING, message(JULIET, ROMEO, 7)));
    assert_eq!(count(ROMEO, 10), 1, "it takes away nothing that comes later");
}

/// A message, a row and a mark that every batch writes together; whoever asks for all of them never sees them differ.
pub(in crate::suite) fn one_moment(store: &dyn Store) {
    let (sender, receiver) = mpsc::channel();
    for number in 1..=200 {
        let batch = Batch::new()
            .deposit(message(JULIET, ROMEO, number))
            .put(&ACCOUNTS, JULIET, None, account(number))
            .mark(5, number);
        store.write(batch, Box::new(|result| assert!(result.is_ok())));
        let sender = sender.clone();
        let newest = |owner| {
            Query::archive(Range {
                newest: true,
                ..Range::of(owner, View::Archive, 1)
            })
        };
        let questions = vec![
            Query::Mark { key: 5 },
            newest(JULIET),
            Query::get(&ACCOUNTS, JULIET, None),
            newest(ROMEO),
        ];
        let answered = move |found| sender.send((number, found)).expect("the test listens");
        store.read(Query::Many(questions), Box::new(answered));
    }
    drop(sender);
    for (number, found) in receiver {
        let mut found = found.and_then(Found::many).expect("Many finds many").into_iter();
        let mut next = || found.next().expect("four answers");
        let mark = next().mark().expect("Mark finds a mark").expect("it was set");
        let juliet = next().archive().expect("a page").messages[0].at;
        let row = next().row().expect("a row").expect("it was written")[0]
            .as_int()
            .expect("an integer");
        let romeo = next().archive().expect("a page").messages[0].at;
        assert_eq!([juliet, row, romeo], [mark; 3], "half of a batch was seen");
        assert!(
            mark >= number,
            "the batch {number}, submitted before the query, was not seen"
        );
    }
}

pub(in crate::suite) fn misuse(store: &dyn Store) {
    let good = || message(JULIET, ROMEO, 1);
    let batches = [
        Batch::new().deposit(good()).deposit(good()),
        Batch::new().deposit(in_places(Places::default(), good())),
        Batch::new().deposit(in_places(Places(8), good())),
        Batch::new().deposit(message("juliet@example.org/balcony", ROMEO, 1)),
        Batch::new().deposit(message(JULIET, "romeo@example.net/orchard", 1)),
    ];
    for batch in batches {
        let result = store.write_wait(batch.clone());
        assert!(matches!(result, Err(StoreError::Misuse(_))), "{batch:?}: {result:?}");
    }
    let many_ids = Range {
        ids: Some(vec![1; PAGE_LIMIT + 1]),
        ..all_of(JULIET, View::Archive)
    };
    let result = store.read_wait(Query::archive(many_ids));
    assert!(matches!(result, Err(StoreError::Misuse(_))), "{result:?}");
    assert_eq!(archived(store, JULIET), []);
}
