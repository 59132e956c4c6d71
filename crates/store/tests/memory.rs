//! The memory driver: the suite, and what only it can do (being held, failing on demand).

use std::sync::{Arc, Mutex};

use jackdaw_store as store;
use store::suite::{ACCOUNTS, QUEUE, TABLES};
use store::{Batch, Memory, Query, Store, StoreError, row};

type Log = Arc<Mutex<Vec<String>>>;

fn submit(store: &Memory, log: &Log, name: &'static str) {
    let log = Arc::clone(log);
    let done = move |result: Result<store::Wrote, StoreError>| {
        log.lock().unwrap().push(format!("{name} {:?}", result.map(drop)));
    };
    store.write(
        Batch::new().append(&QUEUE, "juliet", row![1, name.as_bytes()]),
        Box::new(done),
    );
}

fn ask(store: &Memory, log: &Log) {
    let log = Arc::clone(log);
    let done = move |found: Result<store::Found, StoreError>| {
        log.lock()
            .unwrap()
            .push(format!("count {:?}", found.and_then(store::Found::count)));
    };
    store.read(Query::count(&QUEUE, "juliet"), Box::new(done));
}

#[track_caller]
fn check(log: &Log, expected: &[&str]) {
    assert_eq!(*log.lock().unwrap(), expected);
}

#[test]
fn conforms() {
    store::suite::run(&|| Box::new(Memory::new(&TABLES)));
}

#[test]
fn held_until_stepped() {
    let (store, log) = (Memory::new(&TABLES), Log::default());
    store.hold();
    submit(&store, &log, "a");
    ask(&store, &log);
    submit(&store, &log, "b");
    ask(&store, &log);
    check(&log, &[]);
    assert_eq!(store.pending(), 4);
    assert!(store.step());
    check(&log, &["a Ok(())"]);
    assert!(store.step());
    check(&log, &["a Ok(())", "count Ok(1)"]);
    assert_eq!(store.settle(), 2);
    check(&log, &["a Ok(())", "count Ok(1)", "b Ok(())", "count Ok(2)"]);
    assert!(!store.step());
    submit(&store, &log, "c");
    assert_eq!(store.pending(), 1);
    store.release();
    submit(&store, &log, "d");
    check(
        &log,
        &[
            "a Ok(())",
            "count Ok(1)",
            "b Ok(())",
            "count Ok(2)",
            "c Ok(())",
            "d Ok(())",
        ],
    );
}

#[test]
fn faults_on_demand() {
    let (store, log) = (Memory::new(&TABLES), Log::default());
    store.fail_writes(2, StoreError::Full);
    for name in ["a", "b", "c"] {
        submit(&store, &log, name);
    }
    store.fail_reads(1, StoreError::Io("test".into()));
    ask(&store, &log);
    ask(&store, &log);
    store.set_full(true);
    submit(&store, &log, "d");
    store.set_full(false);
    submit(&store, &log, "e");
    let expected = [
        "a Err(Full)",
        "b Err(Full)",
        "c Ok(())",
        "count Err(Io(\"test\"))",
        "count Ok(1)",
        "d Err(Full)",
        "e Ok(())",
    ];
    check(&log, &expected);
}

#[test]
fn a_crash_loses_what_waits_and_only_that() {
    let (store, log) = (Memory::new(&TABLES), Log::default());
    submit(&store, &log, "a");
    store.hold();
    for name in ["b", "c"] {
        submit(&store, &log, name);
    }
    assert!(store.step_unanswered());
    store.crash();
    store.release();
    ask(&store, &log);
    check(&log, &["a Ok(())", "count Ok(2)"]);
}

#[test]
fn the_queue_has_a_limit() {
    let (store, log) = (Memory::new(&TABLES), Log::default());
    store.set_queue_limit(2);
    store.hold();
    for name in ["a", "b", "c"] {
        submit(&store, &log, name);
    }
    assert!(store.step());
    submit(&store, &log, "d");
    store.settle();
    check(&log, &["a Ok(())", "b Ok(())", "c Err(Overloaded)", "d Ok(())"]);
}

#[test]
fn a_callback_may_submit() {
    let store = Arc::new(Memory::new(&TABLES));
    let log = Log::default();
    let (inner, inner_log) = (Arc::clone(&store), Arc::clone(&log));
    let done = move |_| {
        submit(&inner, &inner_log, "inner");
        inner_log.lock().unwrap().push("outer".into());
    };
    store.write(
        Batch::new().put(&ACCOUNTS, "juliet", None, row![1, "", vec![0u8]]),
        Box::new(done),
    );
    check(&log, &["outer", "inner Ok(())"]);
}

#[test]
fn no_content_in_debug_text() {
    let batch = Batch::new().append(&QUEUE, "juliet", row![1, b"secret".as_slice()]);
    let text = format!("{batch:?}");
    assert!(!text.contains("secret") && text.contains("Blob(6 bytes)"), "{text}");
}
