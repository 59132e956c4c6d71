//! What is not added, what is changed and what goes: duplicates, failed batches, tombstones, horizons, expiry.

use std::sync::mpsc;

use super::*;

pub(in crate::suite) fn duplicates(store: &dyn Store) {
    const DAY: i64 = FINGERPRINT_LIFETIME_MS;
    let first = add(store, known(1, message(JULIET, ROMEO, 1_000)));
    let again = |at, fingerprint| deposit(store, known(fingerprint, message(JULIET, ROMEO, at)));
    let old = |id| Deposited { id, is_new: false };
    assert_eq!(again(1_001, 1), old(first));
    assert_eq!(again(0, 1), old(first), "the clock went back");
    assert_eq!(again(999 + DAY, 1), old(first));
    let second = again(1_000 + DAY, 1);
    assert!(second.is_new && second.id > first);
    assert_eq!(again(1_000 + DAY, 1), old(second.id));
    // Only in the upper half, only in the lower one.
    assert!(again(1_000, 1 | 1 << 64).is_new);
    assert!(again(1_000, 2).is_new);
    assert!(again(1_000, u128::MAX).is_new);
    assert!(!again(1_000, u128::MAX).is_new);
    for _ in 0..2 {
        assert!(
            deposit(store, message(JULIET, ROMEO, 7)).is_new,
            "without a fingerprint nothing is told apart"
        );
    }
    assert_eq!(archived(store, JULIET), [1_000, 1_000 + DAY, 1_000, 1_000, 1_000, 7, 7]);

    // In one commit: the first that is accepted counts, and one that fails does not.
    let (sender, receiver) = mpsc::channel();
    let batches = [
        Batch::new()
            .deposit(known(3, message(ROMEO, NURSE, 1)))
            .require(&ACCOUNTS, NURSE, None),
        Batch::new().deposit(known(3, message(ROMEO, NURSE, 2))).mark(1, 1),
        Batch::new().deposit(known(3, message(ROMEO, NURSE, 3))).mark(1, 2),
        Batch::new().deposit(known(4, message(ROMEO, NURSE, 4))),
        Batch::new().deposit(known(3, message(ROMEO, NURSE, 5))),
    ];
    let writes = batches.into_iter().map(|batch| {
        let sender = sender.clone();
        let done = move |result| sender.send(result).expect("the test listens");
        (batch, Box::new(done) as crate::Written)
    });
    store.write_many(writes.collect());
    drop(sender);
    let results: Vec<Result<Wrote, StoreError>> = receiver.iter().collect();
    assert_eq!(results[0], Err(StoreError::Missing));
    let deposited: Vec<_> = results[1..]
        .iter()
        .map(|result| result.clone().expect("it is right").deposited.expect("it deposits"))
        .collect();
    let new: Vec<_> = deposited.iter().map(|deposited| deposited.is_new).collect();
    assert_eq!(new, [true, false, true, false]);
    assert_eq!([deposited[1].id, deposited[3].id], [deposited[0].id; 2]);
    assert_eq!(archived(store, NURSE), [2, 4]);
    assert_eq!(
        read(store, Query::Mark { key: 1 }).mark(),
        Ok(Some(2)),
        "the rest of the batch is done"
    );

    // One that was taken away is no duplicate.
    expire_messages(store, 3, 10);
    let new = deposit(store, known(3, message(ROMEO, NURSE, 6)));
    assert!(new.is_new && new.id > deposited[2].id);
    assert_eq!(archived(store, NURSE), [4, 6]);
}

pub(in crate::suite) fn a_failed_batch_leaves_nothing(store: &dyn Store) {
    let kept = add(
        store,
        known(1, in_places(BOTH.and(Places::WAITING), message(JULIET, ROMEO, 1))),
    );
    add(store, message(NURSE, ROMEO, 2));
    write(store, Batch::new().put(&ACCOUNTS, JULIET, None, account(1)));
    let everything = || {
        Batch::new()
            .deposit(known(2, message(JULIET, "new@example.org", 3)))
            .replace(JULIET, kept, "<message/>")
            .horizon(ROMEO, i64::MAX)
            .expire(2, 10)
            .forget(NURSE)
    };
    refused(store, everything().require(&ACCOUNTS, ROMEO, None), StoreError::Missing);
    refused(
        store,
        everything().insert(&ACCOUNTS, JULIET, None, account(2)),
        StoreError::Exists,
    );
    let page = archive(store, all_of(JULIET, View::Archive));
    assert_eq!(page.messages.len(), 1);
    assert_eq!(page.messages[0].stanza, (&*message(JULIET, ROMEO, 1).stanza).into());
    assert_eq!(archived(store, ROMEO), [1, 2]);
    assert_eq!(archived(store, NURSE), [2]);
    assert_eq!(archived(store, "new@example.org"), []);
    assert_eq!(waiting_for(store, ROMEO), [1]);
    let again = deposit(store, known(2, message(JULIET, "new@example.org", 4)));
    assert!(again.is_new && again.id > kept, "what failed has left no fingerprint");
    assert_eq!(archived(store, "new@example.org"), [4]);
}

pub(in crate::suite) fn replace(store: &dyn Store) {
    let one = add(store, message(JULIET, ROMEO, 1));
    let waits = add(
        store,
        in_places(Places::SENT.and(Places::WAITING), message(JULIET, ROMEO, 2)),
    );
    let stanzas = |owner: &str, view| -> Vec<String> {
        let page = archive(store, all_of(owner, view));
        page.messages.iter().map(|message| message.stanza.to_string()).collect()
    };
    let original = stanzas(JULIET, View::Archive);
    for (owner, id) in [
        (NURSE, one),
        (JULIET, one + 1_000_000),
        (ROMEO, waits),
        ("new@example.org", one),
        (JULIET, -1),
    ] {
        write(store, Batch::new().replace(owner, id, "<wrong/>"));
    }
    assert_eq!(stanzas(JULIET, View::Archive), original);
    write(
        store,
        Batch::new().replace(ROMEO, one, "<message from='romeo@example.net/x'/>"),
    );
    let tombstone = "<message from='romeo@example.net/x'/>";
    assert_eq!(stanzas(JULIET, View::Archive), [tombstone, &original[1]], "for both");
    assert_eq!(stanzas(ROMEO, View::Archive), [tombstone]);
    let long = "y".repeat(20_000);
    write(store, Batch::new().replace(JULIET, waits, &long));
    assert_eq!(stanzas(ROMEO, View::Waiting), [&*long]);
    // Behind the horizon he has it no more.
    write(store, Batch::new().horizon(ROMEO, one).replace(ROMEO, one, "<wrong/>"));
    assert_eq!(stanzas(JULIET, View::Archive), [tombstone, &*long]);
    // In the batch of the deposit itself.
    let next = waits + 1;
    let batch = Batch::new()
        .deposit(message(JULIET, ROMEO, 3))
        .replace(JULIET, next, "<new/>");
    let id = store
        .write_wait(batch)
        .expect("it is right")
        .deposited
        .expect("it deposits")
        .id;
    let expected = if id == next {
        "<new/>".into()
    } else {
        message(JULIET, ROMEO, 3).stanza.to_string()
    };
    assert_eq!(stanzas(ROMEO, View::Archive), [expected]);
}

pub(in crate::suite) fn horizon(store: &dyn Store) {
    let places = BOTH.and(Places::WAITING);
    let ids: Vec<_> = (0..5)
        .map(|at| add(store, in_places(places, message(JULIET, ROMEO, at))))
        .collect();
    write(store, Batch::new().horizon(ROMEO, ids[1]));
    assert_eq!(archived(store, ROMEO), [2, 3, 4]);
    assert_eq!(waiting_for(store, ROMEO), [2, 3, 4]);
    assert_eq!(archived(store, JULIET), [0, 1, 2, 3, 4], "only his own");
    write(store, Batch::new().horizon(ROMEO, ids[0]));
    assert_eq!(archived(store, ROMEO), [2, 3, 4], "it never goes back");
    let page = archive(
        store,
        Range {
            count: true,
            limit: 1,
            ..all_of(ROMEO, View::Archive)
        },
    );
    assert_eq!((page.total, page.index), (Some(3), Some(0)));
    let by_id = |owner: &str| {
        times(
            store,
            Range {
                ids: Some(ids.clone()),
                ..all_of(owner, View::Archive)
            },
        )
    };
    assert_eq!((by_id(ROMEO), by_id(JULIET)), (vec![2, 3, 4], vec![0, 1, 2, 3, 4]));
    // Everything, and nothing of what comes.
    write(
        store,
        Batch::new()
            .horizon(ROMEO, i64::MAX)
            .horizon("new@example.org", i64::MAX)
            .horizon(NURSE, -1),
    );
    assert_eq!(archived(store, ROMEO), []);
    add(store, message(ROMEO, "new@example.org", 5));
    assert_eq!(archived(store, ROMEO), [5]);
    assert_eq!(archived(store, "new@example.org"), [5]);
}

pub(in crate::suite) fn expire(store: &dyn Store) {
    // The clock goes back in the middle.
    let ats = [10, 11, 30, 12, 13, 14, 31];
    let ids: Vec<_> = ats.iter().map(|at| add(store, message(JULIET, ROMEO, *at))).collect();
    expire_messages(store, 10, 100);
    expire_messages(store, 20, 0);
    assert_eq!(archived(store, JULIET), ats);
    expire_messages(store, 20, 3);
    assert_eq!(archived(store, JULIET), [30, 13, 14, 31], "the oldest by order");
    let page = archive(
        store,
        Range {
            count: true,
            newest: true,
            limit: 2,
            ..all_of(JULIET, View::Archive)
        },
    );
    assert_eq!((page.total, page.index, page.complete), (Some(4), Some(2), false));
    expire_messages(store, 14, 100);
    assert_eq!(archived(store, ROMEO), [30, 14, 31]);
    // What comes later with an older time is there.
    add(store, message(JULIET, ROMEO, 5));
    assert_eq!(archived(store, ROMEO), [30, 14, 31, 5]);
    let page = archive(
        store,
        Range {
            count: true,
            ..all_of(ROMEO, View::Archive)
        },
    );
    assert_eq!(page.total, Some(4));
    write(store, Batch::new().replace(JULIET, ids[0], "<wrong/>"));
    expire_messages(store, i64::MAX, 3);
    assert_eq!(archived(store, ROMEO), [5]);
    expire_messages(store, i64::MAX, usize::MAX);
    assert_eq!(archived(store, ROMEO), []);
    let page = archive(
        store,
        Range {
            count: true,
            ..all_of(JULIET, View::Archive)
        },
    );
    assert_eq!((page.total, page.index, page.complete), (Some(0), None, true));
    let next = add(store, message(JULIET, ROMEO, 40));
    assert!(next > ids[6], "ids do not come again");
    assert_eq!(archived(store, JULIET), [40]);

    for at in 0..EXPIRE_LIMIT as i64 + 1 {
        let batch = Batch::new().deposit(message("long@example.org", NURSE, at));
        store.write(batch, Box::new(|result| assert!(result.is_ok())));
    }
    expire_messages(store, i64::MAX, usize::MAX);
    let left = archived(store, NURSE);
    assert_eq!(
        left,
        [EXPIRE_LIMIT as i64 - 1, EXPIRE_LIMIT as i64],
        "one op has a limit of its own"
    );
}

pub(in crate::suite) fn forget(store: &dyn Store) {
    let places = BOTH.and(Places::WAITING);
    add(store, in_places(places, message(JULIET, ROMEO, 1)));
    add(store, in_places(places, message(ROMEO, JULIET, 2)));
    write(store, Batch::new().mark(7, 7));
    write(
        store,
        Batch::new().forget(JULIET).put(&ACCOUNTS, JULIET, None, account(2)),
    );
    assert_eq!(archived(store, JULIET), []);
    assert_eq!(waiting_for(store, JULIET), []);
    assert_eq!(archived(store, ROMEO), [1, 2], "the peer's stay");
    assert_eq!(waiting_for(store, ROMEO), [1]);
    assert_eq!(read(store, Query::Mark { key: 7 }).mark(), Ok(Some(7)));
    // A new account of that name.
    add(store, in_places(places, message(ROMEO, JULIET, 3)));
    assert_eq!(archived(store, JULIET), [3]);
    assert_eq!(archived(store, ROMEO), [1, 2, 3]);
    // In one batch: what stands before goes, what stands behind stays.
    let batch = Batch::new().deposit(message(ROMEO, JULIET, 4)).forget(JULIET);
    assert!(store.write_wait(batch).is_ok());
    assert_eq!(archived(store, JULIET), []);
    let batch = Batch::new().forget(JULIET).deposit(message(ROMEO, JULIET, 5));
    assert!(store.write_wait(batch).is_ok());
    assert_eq!(archived(store, JULIET), [5]);
    assert_eq!(archived(store, ROMEO), [1, 2, 3, 4, 5]);
}

/// What is left after a clean end, and after none.
pub(in crate::suite) fn reopened(open: &dyn Fn() -> Box<dyn Store>) {
    let store = open();
    let secret = store.secret();
    let ids: Vec<_> = (0..5)
        .map(|at| add(&*store, known(at as u128, message(JULIET, ROMEO, at))))
        .collect();
    write(
        &*store,
        Batch::new()
            .horizon(JULIET, ids[1])
            .replace(ROMEO, ids[3], "<tombstone/>"),
    );
    expire_messages(&*store, 1, 10);
    write(&*store, Batch::new().forget(NURSE));
    store.close();

    let store = open();
    assert_eq!(store.secret(), secret);
    assert_eq!(archived(&*store, JULIET), [2, 3, 4]);
    assert_eq!(archived(&*store, ROMEO), [1, 2, 3, 4]);
    let page = archive(&*store, all_of(ROMEO, View::Archive));
    assert_eq!(&*page.messages[2].stanza, "<tombstone/>");
    let again = deposit(&*store, known(4, message(JULIET, ROMEO, 9)));
    assert_eq!(
        again,
        Deposited {
            id: ids[4],
            is_new: false
        }
    );
    let late = deposit(&*store, known(3, message(JULIET, ROMEO, 3 + FINGERPRINT_LIFETIME_MS)));
    assert!(late.is_new && late.id > ids[4]);
    assert!(
        deposit(&*store, known(0, message(JULIET, ROMEO, 9))).is_new,
        "it was expired"
    );
    expire_messages(&*store, i64::MAX, 100);
    store.close();

    // Nothing is left that the next id could be read from.
    let store = open();
    assert_eq!(archived(&*store, ROMEO), []);
    let next = add(&*store, message(JULIET, ROMEO, 10));
    assert!(
        next > late.id,
        "the id {next} was given out before the restart ({})",
        late.id
    );
    // Dropped without close.
    drop(store);
    let store = open();
    assert_eq!(archived(&*store, ROMEO), [10]);
    assert_eq!(archived(&*store, JULIET), [10]);
    store.close();
}
