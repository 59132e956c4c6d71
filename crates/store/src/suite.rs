//! The conformance suite: what every driver must do, whatever it stands on. A driver's tests call [`run`] with a way
//! to make an empty store, and [`reopen`] if it persists. The functions panic where the driver is wrong.

mod archive;
mod marks;
mod model;
mod rows;
mod rules;

use std::sync::Arc;

use crate::{Batch, Column, Found, Keys, PAGE_LIMIT, Query, Row, Shape, Store, StoreError, Table, Value, Wrote, row};

pub use model::compare_with_memory;

pub static ACCOUNTS: Table = Table {
    name: "suite_accounts",
    shape: Shape::KeyVal,
    columns: &[Column::int("number"), Column::text("note"), Column::blob("bytes")],
};

pub static ROSTER: Table = Table {
    name: "suite_roster",
    shape: Shape::Map,
    columns: &[Column::text("name"), Column::int("ask")],
};

pub static QUEUE: Table = Table {
    name: "suite_queue",
    shape: Shape::Archive,
    columns: &[Column::int("at"), Column::blob("stanza")],
};

pub static OTHER_QUEUE: Table = Table {
    name: "suite_other_queue",
    shape: Shape::Archive,
    columns: &[Column::int("n")],
};

pub static USAGE: Table = Table {
    name: "suite_usage",
    shape: Shape::Map,
    columns: &[Column::int("bytes"), Column::int("files")],
};

/// What a store has to be made with for this suite.
pub static TABLES: [&Table; 5] = [&ACCOUNTS, &ROSTER, &QUEUE, &OTHER_QUEUE, &USAGE];

/// Never declared.
static UNKNOWN: Table = Table {
    name: "suite_unknown",
    shape: Shape::KeyVal,
    columns: &[Column::int("n")],
};

/// Named like [`ROSTER`], but another table.
static IMPOSTOR: Table = Table {
    name: "suite_roster",
    shape: Shape::KeyVal,
    columns: &[Column::int("n")],
};

const JULIET: &str = "juliet@example.org";
const ROMEO: &str = "romeo@example.net";

/// What a batch without a deposit is answered with.
const OK: Result<Wrote, StoreError> = Ok(Wrote::NOTHING);

/// Runs every case on a fresh, empty store.
pub fn run(make: &dyn Fn() -> Box<dyn Store>) {
    let cases: [fn(&dyn Store); 42] = [
        rows::put_and_get,
        rows::values_come_back_exactly,
        rows::insert_and_require,
        rows::add,
        rows::a_batch_is_atomic,
        rows::a_failed_batch_harms_no_neighbour,
        rows::map_rows_are_ordered,
        rows::parts_of_a_map,
        rows::parts_of_a_map_are_deleted,
        rows::delete,
        rows::archive_pages,
        rows::ids_are_never_reused,
        rows::forget,
        rows::owners_are_paged,
        rules::many_is_one_moment,
        rules::order_of_callbacks,
        rules::misuse_is_refused,
        rules::after_commits,
        archive::pages::deposits_are_in_order,
        archive::pages::views,
        archive::pages::with,
        archive::pages::ranges,
        archive::pages::counted,
        archive::pages::bytes,
        archive::changes::duplicates,
        archive::changes::a_failed_batch_leaves_nothing,
        archive::changes::replace,
        archive::changes::horizon,
        archive::changes::expire,
        archive::changes::forget,
        archive::retention::settled,
        archive::retention::what_waits_survives_age,
        archive::retention::floor,
        archive::retention::sizes,
        archive::retention::a_long_archive,
        archive::retention::fingerprints_outlive_their_message,
        archive::pages::waiting,
        archive::pages::one_moment,
        archive::pages::misuse,
        marks::set_and_unset,
        marks::a_failed_batch_marks_nothing,
        marks::are_seen_at_once,
    ];
    for case in cases {
        let store = make();
        case(&*store);
        store.close();
    }
    rules::rest(&Arc::from(make()));
    rules::closed_means_closed(&*make());
    rules::close_answers_everything(&*make());
}

/// Runs the cases about what is left after a clean end. Every call of `open` must open the same storage, empty at first.
pub fn reopen(open: &dyn Fn() -> Box<dyn Store>) {
    rows_reopened(open);
    archive::changes::reopened(open);
    archive::retention::reopened(open);
    marks::reopened(open);
}

fn rows_reopened(open: &dyn Fn() -> Box<dyn Store>) {
    let store = open();
    write(
        &*store,
        Batch::new()
            .put(&ACCOUNTS, JULIET, None, account(1))
            .put(&ROSTER, JULIET, "a", contact("A")),
    );
    write(
        &*store,
        Batch::new()
            .append(&QUEUE, JULIET, stanza(1))
            .append(&QUEUE, JULIET, stanza(2)),
    );
    let last = page(&*store, JULIET, 0)[1].0;
    write(&*store, Batch::new().trim(&QUEUE, JULIET, last));
    store.close();

    let store = open();
    assert_eq!(get(&*store, &ACCOUNTS, JULIET, None), Some(account(1)));
    assert_eq!(get(&*store, &ROSTER, JULIET, Some("a")), Some(contact("A")));
    assert_eq!(page(&*store, JULIET, 0), []);
    write(&*store, Batch::new().append(&QUEUE, JULIET, stanza(3)));
    let next = page(&*store, JULIET, 0)[0].0;
    assert!(next > last, "the id {next} was given out before the restart ({last})");
    store.close();

    // Dropped without close: everything answered is there all the same.
    let store = open();
    write(&*store, Batch::new().put(&ACCOUNTS, ROMEO, None, account(2)));
    drop(store);
    let store = open();
    assert_eq!(get(&*store, &ACCOUNTS, ROMEO, None), Some(account(2)));
    assert_eq!(page(&*store, JULIET, 0), [(next, stanza(3))]);
    store.close();
}

fn account(number: i64) -> Row {
    row![number, "note", vec![1u8, 2]]
}

fn contact(name: &str) -> Row {
    row![name, 0]
}

fn stanza(at: i64) -> Row {
    row![at, b"<message/>".as_slice()]
}

#[track_caller]
fn write(store: &dyn Store, batch: Batch) {
    assert_eq!(store.write_wait(batch), OK);
}

#[track_caller]
fn refused(store: &dyn Store, batch: Batch, error: StoreError) {
    assert_eq!(store.write_wait(batch), Err(error));
}

#[track_caller]
fn read(store: &dyn Store, query: Query) -> Found {
    store.read_wait(query).expect("the query is right")
}

#[track_caller]
fn get(store: &dyn Store, table: &'static Table, owner: &str, key: Option<&str>) -> Option<Row> {
    read(store, Query::get(table, owner, key))
        .row()
        .expect("Get finds a row")
}

#[track_caller]
fn page(store: &dyn Store, owner: &str, after: i64) -> Vec<(i64, Row)> {
    read(store, Query::page(&QUEUE, owner, after, PAGE_LIMIT))
        .page()
        .expect("Page finds a page")
}

#[track_caller]
fn count(store: &dyn Store, table: &'static Table, owner: &str) -> u64 {
    read(store, Query::count(table, owner))
        .count()
        .expect("Count finds a count")
}

#[track_caller]
fn all(store: &dyn Store, owner: &str) -> Vec<(Box<str>, Row)> {
    read(store, Query::all(&ROSTER, owner)).rows().expect("All finds rows")
}
