//! How messages leave: what was delivered, what is too old or too much, what belonged to a removed account.

use super::*;

const ALL: Places = BOTH.and(Places::WAITING);
const DAY: i64 = FINGERPRINT_LIFETIME_MS;

#[track_caller]
fn waiting(store: &dyn Store, owner: &str) -> (i64, u64) {
    read(store, Query::waiting(owner, usize::MAX))
        .waiting()
        .expect("what waits")
}

#[track_caller]
fn usage(store: &dyn Store, owner: &str) -> u64 {
    read(store, Query::usage(owner)).count().expect("a count")
}

#[track_caller]
fn oldest(store: &dyn Store, whose: Whose, after: i64, bytes: u64) -> Oldest {
    let found = read(store, Query::Oldest { whose, after, bytes });
    found.oldest().expect("the oldest")
}

fn many(store: &dyn Store, count: i64, places: Places) -> Vec<i64> {
    (0..count)
        .map(|at| add(store, in_places(places, message(JULIET, ROMEO, at))))
        .collect()
}

/// What was delivered waits no more; what stands in an archive waits again where the cursor goes back.
pub(in crate::suite) fn settled(store: &dyn Store) {
    let archived_too = many(store, 3, ALL);
    let alone: Vec<_> = (3..6)
        .map(|at| add(store, in_places(Places::WAITING, message(JULIET, ROMEO, at))))
        .collect();
    let for_sender = add(
        store,
        in_places(Places::SENT.and(Places::WAITING), message(JULIET, ROMEO, 6)),
    );
    assert_eq!(waiting(store, ROMEO), (0, 7));
    write(store, Batch::new().settle(ROMEO, alone[1]));
    assert_eq!(waiting(store, ROMEO), (alone[1], 2));
    assert_eq!(waiting_for(store, ROMEO), [0, 1, 2, 5, 6], "the archive has the first");
    write(store, Batch::new().settle(ROMEO, archived_too[0]));
    assert_eq!(waiting(store, ROMEO), (archived_too[0], 4), "a connection broke");
    assert_eq!(waiting_for(store, ROMEO), [0, 1, 2, 5, 6]);
    sweep_all(store, 0);
    assert_eq!(waiting_for(store, ROMEO), [0, 1, 2, 5, 6]);
    write(store, Batch::new().settle(ROMEO, for_sender));
    sweep_all(store, 0);
    assert_eq!(waiting(store, ROMEO), (for_sender, 0));
    assert_eq!(waiting_for(store, ROMEO), [0, 1, 2]);
    assert_eq!(archived(store, ROMEO), [0, 1, 2]);
    assert_eq!(archived(store, JULIET), [0, 1, 2, 6], "his own");
    write(store, Batch::new().settle(JULIET, i64::MAX));
    add(store, in_places(ALL, message(ROMEO, JULIET, 7)));
    assert_eq!(waiting(store, JULIET).1, 1);
}

/// What is too old leaves the archives, and waits all the same.
pub(in crate::suite) fn what_waits_survives_age(store: &dyn Store) {
    let ids = many(store, 6, ALL);
    assert_eq!(expire_messages(store, 4, 3), 3);
    assert_eq!(archived(store, JULIET), [3, 4, 5]);
    assert_eq!(archived(store, ROMEO), [3, 4, 5]);
    assert_eq!(waiting_for(store, ROMEO), [0, 1, 2, 3, 4, 5]);
    let page = archive(store, all_of(ROMEO, View::Waiting));
    let places: Vec<_> = page
        .messages
        .iter()
        .map(|message| (message.archived, message.waits))
        .collect();
    assert_eq!(places[..4], [(false, true), (false, true), (false, true), (true, true)]);
    let last = swept(store, Batch::new().expire(4, 3));
    assert_eq!(
        last,
        Swept {
            messages: 1,
            more: false
        },
        "those that wait are not counted again"
    );
    assert_eq!(swept(store, Batch::new().expire(4, 0)).messages, 0);
    sweep_all(store, 0);
    assert_eq!(waiting(store, ROMEO), (0, 6));
    assert_eq!(waiting_for(store, ROMEO), [0, 1, 2, 3, 4, 5]);
    write(store, Batch::new().settle(ROMEO, ids[4]));
    sweep_all(store, 0);
    assert_eq!(waiting_for(store, ROMEO), [4, 5]);
    assert_eq!(archived(store, ROMEO), [4, 5]);
    // Delivered first, and old then.
    assert_eq!(expire_messages(store, i64::MAX, 10), 2);
    assert_eq!((waiting_for(store, ROMEO), archived(store, JULIET)), (vec![5], vec![]));
}

/// An archive is cut: the other party has it all, and what waits waits.
pub(in crate::suite) fn floor(store: &dyn Store) {
    let ids = many(store, 6, ALL);
    write(store, Batch::new().floor(ROMEO, ids[3]).settle(ROMEO, ids[1]));
    write(
        store,
        Batch::new().floor(ROMEO, ids[0]).floor("new@example.org", ids[5]),
    );
    let check = || {
        assert_eq!(archived(store, ROMEO), [4, 5], "it never goes back");
        assert_eq!(archived(store, JULIET), [0, 1, 2, 3, 4, 5], "only his own");
        assert_eq!(waiting(store, ROMEO), (ids[1], 4));
        assert_eq!(
            waiting_for(store, ROMEO),
            [2, 3, 4, 5],
            "what was delivered was in the archive alone"
        );
        let counted = archive(
            store,
            Range {
                count: true,
                limit: 1,
                ..all_of(ROMEO, View::Archive)
            },
        );
        assert_eq!((counted.total, counted.index), (Some(2), Some(0)));
        let by_ids = |owner| {
            let ids = Some(ids.clone());
            times(
                store,
                Range {
                    ids,
                    ..all_of(owner, View::Archive)
                },
            )
        };
        assert_eq!(by_ids(ROMEO), [4, 5]);
        assert_eq!(by_ids(JULIET), [0, 1, 2, 3, 4, 5]);
    };
    check();
    sweep_all(store, 0);
    check();
    write(store, Batch::new().replace(ROMEO, ids[0], "<wrong/>"));
    write(store, Batch::new().floor(JULIET, ids[2]).settle(ROMEO, ids[5]));
    sweep_all(store, 0);
    assert_eq!(
        (archived(store, JULIET), archived(store, ROMEO)),
        (vec![3, 4, 5], vec![4, 5])
    );
    // Everything, and nothing of what comes.
    write(store, Batch::new().floor(JULIET, i64::MAX));
    add(store, in_places(BOTH, message(JULIET, ROMEO, 6)));
    assert_eq!(
        (archived(store, JULIET), archived(store, ROMEO)),
        (vec![6], vec![4, 5, 6])
    );
}

/// How large archives are, and where they begin.
pub(in crate::suite) fn sizes(store: &dyn Store) {
    let ids = many(store, 6, BOTH);
    let bytes = message(JULIET, ROMEO, 0).stanza.len() as u64;
    let to_self = in_places(ALL, message(JULIET, JULIET, 6));
    let own_bytes = to_self.stanza.len() as u64;
    let to_self = add(store, to_self);
    add(store, in_places(Places::WAITING, message(JULIET, ROMEO, 7)));
    assert_eq!(usage(store, ROMEO), 6 * bytes);
    assert_eq!(
        usage(store, JULIET),
        6 * bytes + own_bytes,
        "once, though it is both ways"
    );
    assert_eq!(usage(store, NURSE), 0);

    let of = |whose: Whose, after, bytes| {
        let found = oldest(store, whose, after, bytes);
        (found.up_to, found.bytes, found.complete)
    };
    let juliet = || Whose::Account(JULIET.into());
    assert_eq!(of(juliet(), 0, 1), (ids[0], bytes, false));
    assert_eq!(of(juliet(), ids[0], 2 * bytes + 1), (ids[3], 3 * bytes, false));
    assert_eq!(of(juliet(), ids[4], u64::MAX), (to_self, bytes + own_bytes, true));
    assert!(oldest(store, Whose::Account(NURSE.into()), 0, 1).complete);
    // Each of the two is of a domain of its own.
    let domain = |name: &str| Whose::Domain(name.into());
    assert_eq!(of(domain("example.net"), 0, 2 * bytes), (ids[1], 2 * bytes, false));
    assert_eq!(
        oldest(store, domain("example.org"), 0, u64::MAX).bytes,
        6 * bytes + own_bytes
    );
    assert_eq!(oldest(store, domain("ample.org"), 0, u64::MAX).bytes, 0);
    for at in 0..2 {
        add(store, message(JULIET, NURSE, at));
    }
    let between = message(JULIET, NURSE, 0).stanza.len() as u64;
    assert_eq!(
        oldest(store, domain("example.org"), to_self, u64::MAX).bytes,
        4 * between,
        "in two archives"
    );

    // What was taken away is counted until it is swept, and a tombstone as what it is.
    write(
        store,
        Batch::new().floor(ROMEO, ids[1]).replace(JULIET, ids[5], "<gone/>"),
    );
    sweep_all(store, 0);
    let gone = "<gone/>".len() as u64;
    assert_eq!(usage(store, ROMEO), 3 * bytes + gone);
    assert_eq!(usage(store, JULIET), 5 * bytes + gone + own_bytes + 2 * between);
    expire_messages(store, 4, 100);
    assert_eq!(usage(store, ROMEO), bytes + gone);
    write(store, Batch::new().forget(JULIET));
    sweep_all(store, 0);
    assert_eq!((usage(store, JULIET), usage(store, ROMEO)), (0, bytes + gone));
}

/// A look at the oldest has a limit.
pub(in crate::suite) fn a_long_archive(store: &dyn Store) {
    let writes = (0..=OLDEST_LIMIT as i64).map(|at| -> (Batch, crate::Written) {
        let batch = Batch::new().deposit(message(JULIET, ROMEO, at));
        (batch, Box::new(|result| assert!(result.is_ok())))
    });
    store.write_many(writes.collect());
    for whose in [Whose::Account(ROMEO.into()), Whose::Domain("example.net".into())] {
        let first = oldest(store, whose.clone(), 0, u64::MAX);
        assert!(!first.complete && first.bytes < usage(store, ROMEO));
        let second = oldest(store, whose, first.up_to, u64::MAX);
        assert!(second.complete);
        assert_eq!(first.bytes + second.bytes, usage(store, ROMEO));
    }
}

/// What a client sends again is known although its recipient has got it and nobody keeps it.
pub(in crate::suite) fn fingerprints_outlive_their_message(store: &dyn Store) {
    let alone = || known(1, in_places(Places::WAITING, message(JULIET, ROMEO, 1)));
    let id = add(store, alone());
    write(store, Batch::new().settle(ROMEO, id));
    sweep_all(store, DAY);
    let again = |at| deposit(store, Deposit { at, ..alone() });
    assert_eq!(again(2), Deposited { id, is_new: false });
    assert_eq!(waiting(store, ROMEO).1, 0, "and is not delivered again");
    sweep_all(store, DAY + 1);
    assert!(again(DAY).is_new, "a day has passed");
}

/// What is swept stays swept, and what is half-done goes on.
pub(in crate::suite) fn reopened(open: &dyn Fn() -> Box<dyn Store>) {
    let store = open();
    let ids = many(&*store, 20, ALL);
    write(
        &*store,
        Batch::new()
            .floor(ROMEO, ids[9])
            .settle(ROMEO, ids[14])
            .horizon(JULIET, ids[17]),
    );
    drop(store);
    for _ in 0..4 {
        let store = open();
        swept(&*store, Batch::new().sweep(0, 3));
        drop(store);
    }
    let store = open();
    let check = || {
        assert_eq!(archived(&*store, ROMEO), (10..20).collect::<Vec<_>>());
        assert_eq!(archived(&*store, JULIET), [18, 19]);
        assert_eq!(waiting(&*store, ROMEO), (ids[14], 5));
    };
    check();
    sweep_all(&*store, 0);
    check();
    let bytes: u64 = (10..20).map(|at| message(JULIET, ROMEO, at).stanza.len() as u64).sum();
    assert_eq!(usage(&*store, ROMEO), bytes);
    write(&*store, Batch::new().horizon(ROMEO, ids[19]).horizon(JULIET, ids[19]));
    sweep_all(&*store, 0);
    assert_eq!(archived(&*store, ROMEO), []);
    store.close();
}
