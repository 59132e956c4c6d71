//! Marks: numbers under numbers.

use super::*;

#[track_caller]
fn mark(store: &dyn Store, key: i64) -> Option<i64> {
    read(store, Query::Mark { key }).mark().expect("Mark finds a mark")
}

pub(super) fn set_and_unset(store: &dyn Store) {
    let keys = [i64::MIN, -1, 0, 1, i64::MAX];
    for key in keys {
        assert_eq!(mark(store, key), None);
    }
    let batch = |value: i64| {
        keys.into_iter()
            .fold(Batch::new(), |batch, key| batch.mark(key, key ^ value))
    };
    for value in [0, i64::MAX, -7] {
        write(store, batch(value));
        for key in keys {
            assert_eq!(mark(store, key), Some(key ^ value));
        }
    }
    write(store, Batch::new().mark(1, 5).unmark(1).unmark(99));
    assert_eq!(
        (mark(store, 1), mark(store, 99), mark(store, 0)),
        (None, None, Some(-7))
    );
    write(store, Batch::new().unmark(0).mark(0, 8).mark(0, 9));
    assert_eq!(mark(store, 0), Some(9));
}

pub(super) fn a_failed_batch_marks_nothing(store: &dyn Store) {
    write(store, Batch::new().mark(1, 1).mark(2, 2));
    let batch = Batch::new().mark(1, 10).unmark(2).mark(3, 30);
    refused(store, batch.require(&ACCOUNTS, JULIET, None), StoreError::Missing);
    assert_eq!(
        [mark(store, 1), mark(store, 2), mark(store, 3)],
        [Some(1), Some(2), None]
    );
}

/// Many marks, each read while later ones are under way.
pub(super) fn are_seen_at_once(store: &dyn Store) {
    let (sender, receiver) = std::sync::mpsc::channel();
    for value in 0..2_000 {
        let key = value % 7;
        store.write(Batch::new().mark(key, value), Box::new(|result| assert_eq!(result, OK)));
        let sender = sender.clone();
        let answered = move |found| sender.send((value, found)).expect("the test listens");
        store.read(Query::Mark { key }, Box::new(answered));
    }
    drop(sender);
    for (value, found) in receiver {
        let seen = found
            .and_then(Found::mark)
            .expect("Mark finds a mark")
            .expect("it was set");
        assert!(
            seen >= value && (seen - value) % 7 == 0,
            "{seen} where {value} was set before"
        );
    }
}

pub(super) fn reopened(open: &dyn Fn() -> Box<dyn Store>) {
    let store = open();
    for round in 0..50 {
        let batch = (0..50).fold(Batch::new(), |batch, key| batch.mark(key, key * round));
        write(&*store, batch);
    }
    write(&*store, Batch::new().unmark(7));
    store.close();
    let check = |store: &dyn Store| {
        for key in 0..50 {
            assert_eq!(mark(store, key), (key != 7).then_some(key * 49), "{key}");
        }
    };
    let store = open();
    check(&*store);
    write(&*store, Batch::new().mark(100, 1));
    // Dropped without close.
    drop(store);
    let store = open();
    check(&*store);
    assert_eq!(mark(&*store, 100), Some(1));
    store.close();
}
