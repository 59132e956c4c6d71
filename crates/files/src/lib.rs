//! What becomes of a file that somebody uploads (XEP-0363): slots, quotas and ends, as queries and batches.
//!
//! Pure data: where the bytes are, and how they come and go, is the affair of whoever serves them (`crates/http`). A slot
//! is a promise of room, so it counts against the quotas from when it is given. It becomes a file with the upload, or
//! ends, and the room is free again. Every step is one batch that requires what it ends, so that of two that would end
//! the same thing one fails, and the counters are exact whoever runs beside whom and whenever the process dies.
//!
//! An account that is removed takes its rows of [`FILES_OF`] with it. A slot or a file without its row there is nobody's:
//! it is not served, and goes when it is found.

mod link;
mod name;
mod purpose;
mod quota;

#[cfg(test)]
mod tests;

use module::Now;
use store::{Batch, Column, Query, Row, Shape, Table, Value, row};

pub use link::{escape, id_of, is_id, link, read};
pub use name::{KIND_BYTES, NAME_BYTES, is_kind, is_name};
pub use purpose::Purpose;
pub use quota::{Limits, Refusal, Wanted, expiring, grant, question, retry_of};

const COLUMNS: &[Column] = &[
    // The account, as a bare JID.
    Column::text("user"),
    Column::text("name"),
    // Null: it was not said.
    Column::text("kind"),
    Column::int("size"),
    // Milliseconds since 1970: when the slot was given, or the file was complete.
    Column::int("at"),
    // `Purpose::number`.
    Column::int("purpose"),
    // Milliseconds since 1970 of which the uploader said that the file must be gone by then.
    Column::int("gone_by"),
];

/// Uploads that are allowed and did not happen yet. The owner is the id.
pub static SLOTS: Table = Table {
    name: "file_slots",
    shape: Shape::KeyVal,
    columns: COLUMNS,
};

/// Files that are there. The owner is the id.
pub static FILES: Table = Table {
    name: "files",
    shape: Shape::KeyVal,
    columns: COLUMNS,
};

/// Slots and files of an account, by id.
pub static FILES_OF: Table = Table {
    name: "files_of",
    shape: Shape::Map,
    columns: &[Column::int("at"), Column::int("purpose"), Column::int("gone_by")],
};

/// What accounts and domains use, by the names in [`quota`].
pub static USAGE: Table = Table {
    name: "file_usage",
    shape: Shape::Map,
    columns: &[Column::int("bytes"), Column::int("files")],
};

pub static TABLES: [&Table; 4] = [&SLOTS, &FILES, &FILES_OF, &USAGE];

/// A slot or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Bare JID.
    pub user: Box<str>,
    pub name: Box<str>,
    /// Its media type.
    pub kind: Option<Box<str>>,
    pub size: u64,
    /// When the slot was given, or the file was complete.
    pub at: Now,
    pub purpose: Purpose,
    /// The uploader wants it to be gone by then.
    pub gone_by: Option<Now>,
}

impl Record {
    /// None: a row that no release of Jackdaw wrote.
    pub fn read(row: &Row) -> Option<Record> {
        let number = |at: usize| row.get(at).and_then(Value::as_int);
        let text = |at: usize| row.get(at).and_then(Value::as_text);
        Some(Record {
            user: text(0)?.into(),
            name: text(1)?.into(),
            kind: text(2).map(Into::into),
            size: u64::try_from(number(3)?).ok()?,
            at: Now(number(4)?),
            purpose: Purpose::of_number(number(5)?)?,
            gone_by: number(6).map(Now),
        })
    }

    fn row(&self) -> Row {
        row![
            &*self.user,
            &*self.name,
            self.kind.clone(),
            i64::try_from(self.size).unwrap_or(i64::MAX),
            self.at.0,
            self.purpose.number(),
            self.gone_by.map(|by| by.0),
        ]
    }

    fn domain(&self) -> &str {
        self.user.rsplit('@').next().unwrap_or_default()
    }
}

/// How long what is kept.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// From when the slot is given until the upload begins.
    pub slot_milliseconds: i64,
    /// None: for ever.
    pub keep_milliseconds: Option<i64>,
}

impl Terms {
    /// From when on a slot is none any more.
    pub fn slot_ends(&self, slot: &Record) -> Now {
        Now(slot.at.0.saturating_add(self.slot_milliseconds))
    }

    /// From when on a file is not there any more. None: it stays.
    pub fn file_ends(&self, file: &Record) -> Option<Now> {
        self.ends(file.at, file.purpose, file.gone_by)
    }

    fn ends(&self, at: Now, purpose: Purpose, gone_by: Option<Now>) -> Option<Now> {
        let kept = self.keep_milliseconds.filter(|_| purpose.is_kept_for_a_time());
        let kept = kept.map(|keep| Now(at.0.saturating_add(keep)));
        kept.into_iter().chain(gone_by).min()
    }
}

/// Whether somebody has it still. Answered with a row or none.
pub fn owned(user: &str, id: &str) -> Query {
    Query::get(&FILES_OF, user, id)
}

/// The slot becomes a file, of this type. Fails with `Missing` if it is none any more.
pub fn complete(id: &str, slot: &Record, kind: Option<&str>, now: Now) -> Batch {
    let file = Record {
        kind: kind.map(Into::into),
        at: now,
        ..slot.clone()
    };
    Batch::new()
        .require(&SLOTS, id, None)
        .require(&FILES_OF, &slot.user, id)
        .delete(&SLOTS, id, None)
        .insert(&FILES, id, None, file.row())
        .put(&FILES_OF, &slot.user, id, of_row(&file))
}

/// A slot or a file ends. `table`: [`SLOTS`] or [`FILES`]. `is_owned`: as [`owned`] has found. Fails with `Missing` if that
/// is not so any more.
pub fn end(table: &'static Table, id: &str, record: &Record, is_owned: bool) -> Batch {
    let size = i64::try_from(record.size).unwrap_or(i64::MAX);
    let batch = Batch::new().require(table, id, None).delete(table, id, None).add(
        &USAGE,
        record.domain(),
        quota::TOTAL,
        row![-size, -1],
    );
    if !is_owned {
        // What the account used went with it.
        return batch;
    }
    let batch = batch
        .require(&FILES_OF, &record.user, id)
        .delete(&FILES_OF, &record.user, id)
        .add(&USAGE, &record.user, record.purpose.counter(), row![-size, -1]);
    match table.name == SLOTS.name {
        // Nothing was uploaded.
        true => batch.add(&USAGE, &record.user, &*quota::day(record.at), row![-size, -1]),
        false => batch,
    }
}

fn of_row(record: &Record) -> Row {
    row![record.at.0, record.purpose.number(), record.gone_by.map(|by| by.0)]
}
