//! The rules of the port itself: the order of callbacks, one moment for one query, misuse, the end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use super::*;

pub(super) fn order_of_callbacks(store: &dyn Store) {
    const ROUNDS: i64 = 300;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |what: i64| {
        let seen = Arc::clone(&seen);
        move || seen.lock().unwrap_or_else(PoisonError::into_inner).push(what)
    };
    for number in 0..ROUNDS {
        let note = note(number);
        // Every third is refused at once; it must not overtake.
        let table = if number % 3 == 0 { &UNKNOWN } else { &QUEUE };
        let batch = match table.shape {
            Shape::Archive => Batch::new().append(table, JULIET, stanza(number)),
            _ => Batch::new().put(table, JULIET, None, row![number]),
        };
        store.write(batch, Box::new(move |_| note()));
    }
    let note_read = note(ROUNDS);
    store.read(
        Query::count(&QUEUE, JULIET),
        Box::new(move |found| {
            assert_eq!(found, Ok(Found::Count(200)));
            note_read();
        }),
    );
    let (sender, receiver) = mpsc::channel();
    store.flush(Box::new(move |result| sender.send(result).expect("the test listens")));
    assert_eq!(receiver.recv(), Ok(OK));
    // The query's callback may come after that of the flush.
    assert_eq!(count(store, &QUEUE, JULIET), 200);
    store.close();
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(seen, (0..=ROUNDS).collect::<Vec<_>>());
}

pub(super) fn closed_means_closed(store: &dyn Store) {
    write(store, Batch::new().put(&ACCOUNTS, JULIET, None, account(1)));
    store.close();
    refused(
        store,
        Batch::new().put(&ACCOUNTS, JULIET, None, account(2)),
        StoreError::Closed,
    );
    assert_eq!(
        store.read_wait(Query::count(&ACCOUNTS, JULIET)),
        Err(StoreError::Closed)
    );
    store.close();
}

pub(super) fn close_answers_everything(store: &dyn Store) {
    let (sender, receiver) = mpsc::channel();
    for number in 0..500 {
        let sender = sender.clone();
        let done = move |result| sender.send(result).expect("the test listens");
        store.write(Batch::new().append(&QUEUE, JULIET, stanza(number)), Box::new(done));
    }
    let for_read = sender.clone();
    let answered = move |found: Result<Found, _>| {
        assert_eq!(found, Ok(Found::Count(500)));
        for_read.send(OK).expect("the test listens");
    };
    store.read(Query::count(&QUEUE, JULIET), Box::new(answered));
    drop(sender);
    store.close();
    // Everything is here already: close does not return before.
    let results: Vec<_> = receiver.try_iter().collect();
    assert_eq!(results, vec![OK; 501]);
}

pub(super) fn misuse_is_refused(store: &dyn Store) {
    let batches = [
        Batch::new().put(&UNKNOWN, JULIET, None, row![1]),
        Batch::new().put(&IMPOSTOR, JULIET, None, row![1]),
        Batch::new().put(&ACCOUNTS, JULIET, "key", account(1)),
        Batch::new().put(&ACCOUNTS, JULIET, None, row![1, "short"]),
        Batch::new().put(&ACCOUNTS, JULIET, None, row!["kind", "note", vec![0u8]]),
        Batch::new().put(&ROSTER, JULIET, None, contact("A")),
        Batch::new().put(&QUEUE, JULIET, None, stanza(1)),
        Batch::new().append(&ROSTER, JULIET, contact("A")),
        Batch::new().trim(&ROSTER, JULIET, 1),
        Batch::new().delete_keys(&ACCOUNTS, JULIET, "a"),
        Batch::new().delete_keys(&QUEUE, JULIET, "a"),
        Batch::new().delete_keys(&ROSTER, JULIET, ""),
        Batch::new().delete_keys(&ROSTER, JULIET, "\u{10ffff}"),
        Batch::new().require(&QUEUE, JULIET, None),
        Batch::new().delete(&ACCOUNTS, JULIET, "key"),
        Batch::new().delete(&QUEUE, JULIET, "1"),
    ];
    for batch in batches {
        let batch = Batch {
            ops: [Batch::new().put(&ACCOUNTS, JULIET, None, account(1)).ops, batch.ops].concat(),
        };
        let result = store.write_wait(batch.clone());
        assert!(matches!(result, Err(StoreError::Misuse(_))), "{batch:?}: {result:?}");
        assert_eq!(count(store, &ACCOUNTS, JULIET), 0);
    }
    let queries = [
        Query::get(&UNKNOWN, JULIET, None),
        Query::get(&IMPOSTOR, JULIET, None),
        Query::get(&ACCOUNTS, JULIET, "key"),
        Query::get(&ROSTER, JULIET, None),
        Query::get(&QUEUE, JULIET, None),
        Query::all(&ACCOUNTS, JULIET),
        Query::page(&ROSTER, JULIET, 0, 1),
        Query::keys(Keys::of(&ACCOUNTS, JULIET, "a", 1)),
        Query::keys(Keys::of(&ROSTER, JULIET, "", 1)),
        Query::owners(&ROSTER, None, 1),
        Query::Many(vec![Query::Many(Vec::new())]),
        Query::Many(vec![Query::count(&UNKNOWN, JULIET)]),
    ];
    for query in queries {
        let result = store.read_wait(query.clone());
        assert!(matches!(result, Err(StoreError::Misuse(_))), "{query:?}: {result:?}");
    }
}

pub(super) fn many_is_one_moment(store: &dyn Store) {
    // Two rows that every batch makes equal; whoever reads both must never see them differ.
    let question = || {
        let one = |owner| Query::get(&ACCOUNTS, owner, None);
        Query::Many(vec![one(JULIET), one(ROMEO), Query::count(&ACCOUNTS, JULIET)])
    };
    assert_eq!(
        read(store, question()),
        Found::Many(vec![Found::Row(None), Found::Row(None), Found::Count(0)])
    );
    let (sender, receiver) = mpsc::channel();
    for number in 0..200 {
        let batch =
            Batch::new()
                .put(&ACCOUNTS, JULIET, None, account(number))
                .put(&ACCOUNTS, ROMEO, None, account(number));
        store.write(batch, Box::new(|result| assert_eq!(result, OK)));
        let sender = sender.clone();
        let answered = move |found| sender.send((number, found)).expect("the test listens");
        store.read(question(), Box::new(answered));
    }
    drop(sender);
    let mut answers = 0;
    for (number, found) in receiver {
        let found = found.and_then(Found::many).expect("Many finds many");
        let numbers: Vec<_> = found[..2].iter().map(|found| row_number(found.clone())).collect();
        assert_eq!(numbers[0], numbers[1], "half a batch was seen");
        assert!(
            numbers[0] >= number,
            "the batch {number}, submitted before the query, was not seen"
        );
        answers += 1;
    }
    assert_eq!(answers, 200);
}

#[track_caller]
fn row_number(found: Found) -> i64 {
    let row = found.row().expect("Get finds a row").expect("the row was written");
    row[0].as_int().expect("the column is an integer")
}

/// What is asked by a callback of a callback, of batches, of queries, and of what was refused, has been answered.
pub(super) fn rest(store: &Arc<dyn Store>) {
    const LENGTH: usize = 60;
    fn ask(store: &Arc<dyn Store>, left: usize, answered: &Arc<AtomicUsize>) {
        let (next, count) = (Arc::clone(store), Arc::clone(answered));
        let then = move || {
            count.fetch_add(1, Ordering::Relaxed);
            if left > 1 {
                ask(&next, left - 1, &count);
            }
        };
        match left % 3 {
            0 => store.write(
                Batch::new().append(&QUEUE, JULIET, stanza(left as i64)),
                Box::new(move |_| then()),
            ),
            1 => store.read(Query::get(&ACCOUNTS, JULIET, None), Box::new(move |_| then())),
            _ => store.write(
                Batch::new().put(&UNKNOWN, JULIET, None, row![1]),
                Box::new(move |_| then()),
            ),
        }
    }
    let answered = Arc::new(AtomicUsize::new(0));
    for _ in 0..2 {
        ask(store, LENGTH, &answered);
    }
    assert!(store.rest(Duration::from_secs(60)));
    assert_eq!(answered.load(Ordering::Relaxed), 2 * LENGTH);
    assert!(store.rest(Duration::ZERO), "nothing is asked any more");
}

pub(super) fn after_commits(store: &dyn Store) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = |what: &'static str| {
        let seen = Arc::clone(&seen);
        move || seen.lock().unwrap_or_else(PoisonError::into_inner).push(what)
    };
    let call = note("forgotten");
    store.after_commits(Box::new(move |_| call()));
    let call = note("after");
    store.after_commits(Box::new(move |_| call()));
    let (first, second) = (note("batch"), note("batch"));
    store.write_many(vec![
        (
            Batch::new().append(&QUEUE, JULIET, stanza(1)),
            Box::new(move |_| first()),
        ),
        (
            Batch::new().append(&QUEUE, JULIET, stanza(2)),
            Box::new(move |_| second()),
        ),
    ]);
    // Whatever was called after the two has been called when a third is answered and the store is closed.
    write(store, Batch::new());
    store.close();
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let last_batch = seen.iter().rposition(|what| *what == "batch");
    let last_after = seen.iter().rposition(|what| *what == "after");
    assert!(last_after > last_batch, "{seen:?}");
    assert!(!seen.contains(&"forgotten"), "{seen:?}");
    assert_eq!(store.secret(), store.secret());
}
