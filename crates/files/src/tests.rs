//! Slots, files and quotas over the memory store.

use accounts::ACCOUNTS;
use store::{Found, Memory, Store, StoreError};

use super::*;
use crate::quota::{PROFILE, TOTAL};

const JULIET: &str = "juliet@example.org";
const ROMEO: &str = "romeo@example.org";
const DOMAIN: &str = "example.org";
const DAY: i64 = 24 * 3_600_000;
/// Noon of a day.
const NOON: Now = Now(20_000 * DAY + DAY / 2);

fn limits() -> Limits {
    Limits {
        file_bytes: 1_000,
        account_bytes: Some(3_000),
        account_bytes_per_day: Some(2_000),
        domain_bytes: Some(4_000),
        terms: Terms {
            slot_milliseconds: 300_000,
            keep_milliseconds: Some(10 * DAY),
        },
    }
}

struct World {
    store: Memory,
    given: std::cell::Cell<u32>,
}

impl World {
    fn new() -> World {
        let tables: Vec<&'static Table> = TABLES.into_iter().chain([&ACCOUNTS]).collect();
        let store = Memory::new(&tables);
        for user in [JULIET, ROMEO] {
            let row = vec![Value::Null; ACCOUNTS.columns.len()];
            let made = store.write_wait(Batch::new().put(&ACCOUNTS, user, None, row));
            made.expect("the row is right");
        }
        World {
            store,
            given: std::cell::Cell::new(0),
        }
    }

    fn read(&self, query: Query) -> Result<Found, StoreError> {
        self.store.read_wait(query)
    }

    fn usage(&self, owner: &str, key: &str) -> Option<(i64, i64)> {
        let row = self
            .read(Query::get(&USAGE, owner, key))
            .and_then(Found::row)
            .expect("read")?;
        Some((row[0].as_int()?, row[1].as_int()?))
    }

    fn record(&self, table: &'static Table, id: &str) -> Option<Record> {
        let row = self
            .read(Query::get(table, id, None))
            .and_then(Found::row)
            .expect("read");
        row.map(|row| Record::read(&row).expect("a row of ours"))
    }

    fn slot(&self, user: &str, size: u64, purpose: Purpose, now: Now) -> Result<String, Refusal> {
        let wanted = Wanted {
            user: user.into(),
            name: "très cool.jpg".into(),
            kind: Some("image/jpeg".into()),
            size,
            purpose,
            gone_by: None,
        };
        let number = self.given.replace(self.given.get() + 1);
        // Each begins with another digit.
        let id = id_of(u128::from(number) << 124);
        let found = self.read(question(user, DOMAIN));
        let batch = grant(&limits(), &wanted, DOMAIN, &id, now, found)?;
        self.store.write_wait(batch)?;
        Ok(id)
    }

    fn end(&self, table: &'static Table, id: &str) -> Result<(), StoreError> {
        let record = self.record(table, id).ok_or(StoreError::Missing)?;
        let owned = self.read(owned(&record.user, id)).and_then(Found::row)?.is_some();
        self.store.write_wait(end(table, id, &record, owned)).map(drop)
    }
}

#[test]
fn a_slot_becomes_a_file_and_ends() {
    let world = World::new();
    let id = world.slot(JULIET, 400, Purpose::Message, NOON).expect("there is room");
    let slot = world.record(&SLOTS, &id).expect("it was given");
    assert_eq!(world.usage(JULIET, TOTAL), Some((400, 1)));
    assert_eq!(world.usage(DOMAIN, TOTAL), Some((400, 1)));
    let later = Now(NOON.0 + 5_000);
    let batch = complete(&id, &slot, Some("image/jpeg"), later);
    assert!(world.store.write_wait(batch.clone()).is_ok());
    // Once.
    assert_eq!(world.store.write_wait(batch).map(drop), Err(StoreError::Missing));
    assert_eq!(world.record(&SLOTS, &id), None);
    let file = world.record(&FILES, &id).expect("it is there");
    assert_eq!(file, Record { at: later, ..slot });
    assert_eq!(world.usage(JULIET, TOTAL), Some((400, 1)));
    assert_eq!(limits().terms.file_ends(&file), Some(Now(later.0 + 10 * DAY)));

    assert_eq!(world.end(&SLOTS, &id), Err(StoreError::Missing));
    assert_eq!(world.end(&FILES, &id), Ok(()));
    assert_eq!(world.end(&FILES, &id), Err(StoreError::Missing));
    assert_eq!(world.usage(JULIET, TOTAL), Some((0, 0)));
    assert_eq!(world.usage(DOMAIN, TOTAL), Some((0, 0)));
    // It was uploaded on that day, whatever became of it.
    assert_eq!(world.usage(JULIET, &quota::day(NOON)), Some((400, 1)));
}

#[test]
fn a_slot_that_nobody_uses_gives_everything_back() {
    let world = World::new();
    let id = world.slot(JULIET, 400, Purpose::Message, NOON).expect("there is room");
    assert_eq!(world.end(&SLOTS, &id), Ok(()));
    for (owner, key) in [(JULIET, TOTAL), (DOMAIN, TOTAL), (JULIET, &quota::day(NOON))] {
        assert_eq!(world.usage(owner, key), Some((0, 0)), "{owner} {key}");
    }
}

#[test]
fn who_has_too_much_is_told_when_to_come_back() {
    let world = World::new();
    let midnight = Now(20_001 * DAY);
    for _ in 0..2 {
        world
            .slot(JULIET, 1_000, Purpose::Message, NOON)
            .expect("there is room");
    }
    // Of the day.
    assert_eq!(
        world.slot(JULIET, 1, Purpose::Message, NOON),
        Err(Refusal::Until(midnight))
    );
    // Of the account.
    world
        .slot(JULIET, 1_000, Purpose::Message, midnight)
        .expect("it is another day");
    assert_eq!(
        world.slot(JULIET, 1, Purpose::Message, midnight),
        Err(Refusal::AccountIsFull)
    );
    assert_eq!(world.usage(JULIET, &quota::day(NOON)), None, "of a day that is over");
    let retry = |now| retry_of(&limits(), now, world.read(expiring(JULIET)));
    assert_eq!(retry(midnight), Ok(Now(NOON.0 + 10 * DAY)));
    let over = Now(NOON.0 + 11 * DAY);
    assert_eq!(retry(over), Ok(Now(over.0 + 60_000)));
    // A profile has a quota of its own.
    let picture = world
        .slot(JULIET, 100, Purpose::Profile, midnight)
        .expect("there is room");
    assert_eq!(world.usage(JULIET, PROFILE), Some((100, 1)));
    let picture = world.record(&SLOTS, &picture).expect("it was given");
    assert_eq!(limits().terms.file_ends(&picture), None);
    // Of the domain, for everybody.
    world
        .slot(ROMEO, 900, Purpose::Message, midnight)
        .expect("there is room");
    let tomorrow = Now(midnight.0 + DAY);
    assert_eq!(
        world.slot(ROMEO, 1, Purpose::Message, midnight),
        Err(Refusal::Until(tomorrow))
    );
}

#[test]
fn an_account_that_is_gone_leaves_what_can_be_found() {
    let world = World::new();
    let id = world.slot(JULIET, 400, Purpose::Message, NOON).expect("there is room");
    let other = world.slot(JULIET, 100, Purpose::Message, NOON).expect("there is room");
    let slot = world.record(&SLOTS, &id).expect("it was given");
    let batch = complete(&id, &slot, None, NOON);
    assert!(world.store.write_wait(batch).is_ok());
    world.store.write_wait(Batch::new().forget(JULIET)).expect("it may go");
    // Nobody can upload for it, nor get a slot.
    let slot = world.record(&SLOTS, &other).expect("it was given");
    let upload = world.store.write_wait(complete(&other, &slot, None, NOON));
    assert_eq!(upload.map(drop), Err(StoreError::Missing));
    let refused = world.slot(JULIET, 1, Purpose::Message, NOON);
    assert_eq!(refused, Err(Refusal::Store(StoreError::Missing)));

    assert_eq!(world.end(&FILES, &id), Ok(()));
    assert_eq!(world.end(&SLOTS, &other), Ok(()));
    assert_eq!(world.usage(DOMAIN, TOTAL), Some((0, 0)));
    assert_eq!(world.usage(JULIET, TOTAL), None);
}

#[test]
fn what_the_uploader_wants_gone_is_gone() {
    let terms = limits().terms;
    let record = |purpose, gone_by| Record {
        user: JULIET.into(),
        name: "a".into(),
        kind: None,
        size: 1,
        at: NOON,
        purpose,
        gone_by,
    };
    let by = |days| Some(Now(NOON.0 + days * DAY));
    assert_eq!(terms.file_ends(&record(Purpose::Ephemeral, by(1))), by(1));
    assert_eq!(terms.file_ends(&record(Purpose::Ephemeral, by(20))), by(10));
    let for_ever = Terms {
        keep_milliseconds: None,
        ..terms
    };
    assert_eq!(for_ever.file_ends(&record(Purpose::Ephemeral, by(20))), by(20));
    assert_eq!(for_ever.file_ends(&record(Purpose::Message, None)), None);
}

#[test]
fn names() {
    for good in [
        "a",
        "très cool.jpg",
        ".hidden",
        "a..b",
        "الصورة.png",
        "👩‍👩‍👧.webp",
        "con",
        "a\u{200f}b",
        "%2e%2e%2f",
        &"x".repeat(255),
    ] {
        assert!(is_name(good), "{good}");
    }
    for bad in [
        "",
        ".",
        "..",
        "...",
        " . ",
        "a/b",
        "../a",
        "..\\a",
        "a\0",
        "a\nb",
        "\u{7f}",
        "\u{85}",
        "a\u{202e}gpj.exe",
        "a\u{2066}b",
        "a\u{2028}b",
        &"x".repeat(256),
        &"é".repeat(128),
    ] {
        assert!(!is_name(bad), "{bad:?}");
    }
}

#[test]
fn kinds() {
    for good in [
        "image/jpeg",
        "text/plain; charset=utf-8",
        "application/vnd.x+xml;a=\"b c\"",
        "a/b ; c=d",
    ] {
        assert!(is_kind(good), "{good}");
    }
    for bad in [
        "",
        "image",
        "image/",
        "/jpeg",
        "image/jpeg/x",
        "image/jp eg",
        "text/plain;",
        "text/plain; charset",
        "a/b\r\nX: y",
        "a/b;c=\"\r\n\"",
        "a/b;c=\"d\"e\"",
        "tëxt/plain",
        "*/",
        &format!("a/{}", "b".repeat(126)),
    ] {
        assert!(!is_kind(bad), "{bad:?}");
    }
}
