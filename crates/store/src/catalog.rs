//! The tables that a store was opened with, and the check of every batch and query against them. Drivers check on the
//! caller's thread, before anything is queued, so that a bug in a feature never reaches a transaction with others in it.

use crate::keys::end_of;
use crate::{Batch, Deposit, Op, PAGE_LIMIT, Places, Query, Row, Shape, StoreError, Table, Value};

/// Names that the shapes use themselves.
const RESERVED_COLUMNS: [&str; 3] = ["owner", "key", "id"];

/// Table names that start so belong to drivers.
const RESERVED_PREFIXES: [&str; 3] = ["jackdaw", "sqlite", "pg_"];

/// The longest name of a table or column, in bytes (PostgreSQL cuts at 63).
const NAME_LIMIT: usize = 63;

/// The declared tables, checked, by name.
#[derive(Debug, Clone)]
pub struct Catalog {
    /// Sorted by name. A few dozen at most, so a binary search does.
    tables: Vec<&'static Table>,
}

impl Catalog {
    /// Refuses with [`StoreError::Misuse`]: names that are not lower-case ASCII identifiers or are reserved, no columns,
    /// a column twice, one name for two different tables. The same table given twice counts once.
    pub fn new(tables: &[&'static Table]) -> Result<Catalog, StoreError> {
        let mut sorted = tables.to_vec();
        sorted.sort_by_key(|table| table.name);
        sorted.dedup();
        for table in &sorted {
            check_declaration(table)?;
        }
        for pair in sorted.windows(2) {
            if pair[0].name == pair[1].name {
                return misuse(format!("two different tables are named {}", pair[0].name));
            }
        }
        Ok(Catalog { tables: sorted })
    }

    /// By name, ascending.
    pub fn tables(&self) -> &[&'static Table] {
        &self.tables
    }

    /// Where the table stands in [`tables`](Catalog::tables).
    pub fn position(&self, name: &str) -> Option<usize> {
        self.tables.binary_search_by_key(&name, |table| table.name).ok()
    }

    pub fn check_batch(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut deposits = 0;
        for op in &batch.ops {
            deposits += usize::from(matches!(op, Op::Deposit(_)));
            self.check_op(op)?;
        }
        if deposits > 1 {
            return misuse(format!("{deposits} deposits in one batch, whose answer can name one"));
        }
        Ok(())
    }

    pub fn check_query(&self, query: &Query) -> Result<(), StoreError> {
        match query {
            Query::Get { table, key, .. } => self.known(table).and_then(|()| check_key(table, key.is_some())),
            Query::All { table, .. } => self.known(table).and_then(|()| check_shape(table, Shape::Map)),
            Query::Keys(keys) => self
                .known(keys.table)
                .and_then(|()| check_shape(keys.table, Shape::Map))
                .and_then(|()| check_prefix(&keys.prefix)),
            Query::Page { table, .. } => self.known(table).and_then(|()| check_shape(table, Shape::Archive)),
            Query::Count { table, .. } => self.known(table),
            Query::Owners { table, .. } => self.known(table).and_then(|()| check_shape(table, Shape::KeyVal)),
            Query::Archive(range) => match &range.ids {
                Some(ids) if ids.len() > PAGE_LIMIT => misuse(format!("{} ids in one query", ids.len())),
                _ => Ok(()),
            },
            Query::Waiting { .. } | Query::Usage { .. } | Query::Oldest { .. } | Query::Mark { .. } => Ok(()),
            Query::Many(queries) => queries.iter().try_for_each(|query| match query {
                Query::Many(_) => misuse("Many inside Many".into()),
                query => self.check_query(query),
            }),
        }
    }

    fn check_op(&self, op: &Op) -> Result<(), StoreError> {
        match op {
            Op::Put { table, key, row, .. } | Op::Insert { table, key, row, .. } => {
                self.known(table)?;
                check_key(table, key.is_some())?;
                check_row(table, row)
            }
            Op::Add { table, key, row, .. } => {
                self.known(table)?;
                check_key(table, key.is_some())?;
                check_row(table, row)?;
                match row.iter().all(|value| matches!(value, Value::Int(_))) {
                    true => Ok(()),
                    false => misuse(format!("what is added to {} are numbers", table.name)),
                }
            }
            Op::Require { table, key, .. } => {
                self.known(table)?;
                check_key(table, key.is_some())
            }
            Op::Delete { table, key, .. } => {
                self.known(table)?;
                match (table.shape, key) {
                    (Shape::KeyVal | Shape::Archive, Some(_)) => misuse(format!("{} has no keys", table.name)),
                    _ => Ok(()),
                }
            }
            Op::DeleteKeys { table, prefix, .. } => {
                self.known(table)?;
                check_shape(table, Shape::Map)?;
                check_prefix(prefix)
            }
            Op::Append { table, row, .. } => {
                self.known(table)?;
                check_shape(table, Shape::Archive)?;
                check_row(table, row)
            }
            Op::Trim { table, .. } => {
                self.known(table)?;
                check_shape(table, Shape::Archive)
            }
            Op::Deposit(deposit) => check_deposit(deposit),
            Op::Forget { .. }
            | Op::Replace { .. }
            | Op::Horizon { .. }
            | Op::Settle { .. }
            | Op::Floor { .. }
            | Op::Expire { .. }
            | Op::Sweep { .. }
            | Op::Mark { .. }
            | Op::Unmark { .. } => Ok(()),
        }
    }

    fn known(&self, table: &'static Table) -> Result<(), StoreError> {
        match self.position(table.name).map(|at| self.tables[at]) {
            // The address first, as it is nearly always the same static; the content for a table behind a const.
            Some(known) if std::ptr::eq(known, table) || known == table => Ok(()),
            Some(_) => misuse(format!("another table is named {}", table.name)),
            None => misuse(format!(
                "the table {} was not declared when the store was opened",
                table.name
            )),
        }
    }
}

fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    match end_of(prefix) {
        Some(_) => Ok(()),
        None => misuse("a prefix that all keys have".into()),
    }
}

fn misuse<T>(text: String) -> Result<T, StoreError> {
    Err(StoreError::Misuse(text))
}

fn check_declaration(table: &Table) -> Result<(), StoreError> {
    check_name(table.name)?;
    if RESERVED_PREFIXES.iter().any(|prefix| table.name.starts_with(prefix)) {
        return misuse(format!("the table name {} is reserved", table.name));
    }
    if table.columns.is_empty() {
        return misuse(format!("the table {} has no columns", table.name));
    }
    for (at, column) in table.columns.iter().enumerate() {
        check_name(column.name)?;
        if RESERVED_COLUMNS.contains(&column.name) {
            return misuse(format!("the column name {}.{} is reserved", table.name, column.name));
        }
        if table.columns[..at].iter().any(|earlier| earlier.name == column.name) {
            return misuse(format!("the column {}.{} is declared twice", table.name, column.name));
        }
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let good = name.len() <= NAME_LIMIT
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
    if good {
        Ok(())
    } else {
        misuse(format!("{name:?} is no name for a table or column"))
    }
}

fn check_shape(table: &Table, shape: Shape) -> Result<(), StoreError> {
    if table.shape == shape {
        Ok(())
    } else {
        misuse(format!("{} is {:?}, not {shape:?}", table.name, table.shape))
    }
}

fn check_key(table: &Table, given: bool) -> Result<(), StoreError> {
    match (table.shape, given) {
        (Shape::KeyVal, false) | (Shape::Map, true) => Ok(()),
        (Shape::KeyVal, true) => misuse(format!("{} has no keys", table.name)),
        (Shape::Map, false) => misuse(format!("{} needs a key", table.name)),
        (Shape::Archive, _) => misuse(format!("{} is append-only", table.name)),
    }
}

fn check_deposit(deposit: &Deposit) -> Result<(), StoreError> {
    const ALL: Places = Places::SENT.and(Places::RECEIVED).and(Places::WAITING);
    if deposit.places.is_empty() || !ALL.has(deposit.places) {
        return misuse(format!("a message cannot stand in {:?}", deposit.places));
    }
    // A resource would make an archive of its own that nobody reads.
    if deposit.sender.contains('/') || deposit.recipient.contains('/') {
        return misuse("the parties of a deposit are bare JIDs".into());
    }
    Ok(())
}

fn check_row(table: &Table, row: &Row) -> Result<(), StoreError> {
    if row.len() != table.columns.len() {
        return misuse(format!(
            "{} values for the {} columns of {}",
            row.len(),
            table.columns.len(),
            table.name
        ));
    }
    for (value, column) in row.iter().zip(table.columns) {
        if !value.fits(column.kind) {
            return misuse(format!("{}.{} takes {:?}", table.name, column.name, column.kind));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Column;

    #[track_caller]
    fn check(tables: &[&'static Table], expected: Option<&str>) {
        let text = Catalog::new(tables).err().map(|error| error.to_string());
        match (&text, expected) {
            (None, None) => {}
            (Some(text), Some(part)) => assert!(text.contains(part), "{text}"),
            _ => panic!("{text:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn declarations() {
        static GOOD: Table = Table {
            name: "good_1",
            shape: Shape::Map,
            columns: &[Column::int("a"), Column::text("b")],
        };
        static OTHER: Table = Table {
            name: "good_1",
            shape: Shape::KeyVal,
            columns: &[Column::int("a")],
        };
        static UPPER: Table = Table {
            name: "Bad",
            shape: Shape::Map,
            columns: &[Column::int("a")],
        };
        static QUOTE: Table = Table {
            name: "ok",
            shape: Shape::Map,
            columns: &[Column::int("a\"")],
        };
        static EMPTY: Table = Table {
            name: "empty",
            shape: Shape::Map,
            columns: &[],
        };
        static TAKEN: Table = Table {
            name: "taken",
            shape: Shape::Map,
            columns: &[Column::int("owner")],
        };
        static TWICE: Table = Table {
            name: "twice",
            shape: Shape::Map,
            columns: &[Column::int("a"), Column::text("a")],
        };
        static OURS: Table = Table {
            name: "jackdaw_x",
            shape: Shape::Map,
            columns: &[Column::int("a")],
        };

        check(&[], None);
        check(&[&GOOD], None);
        check(&[&GOOD, &GOOD], None);
        check(&[&GOOD, &OTHER], Some("two different tables"));
        check(&[&UPPER], Some("no name"));
        check(&[&QUOTE], Some("no name"));
        check(&[&EMPTY], Some("no columns"));
        check(&[&TAKEN], Some("taken.owner is reserved"));
        check(&[&TWICE], Some("twice.a is declared twice"));
        check(&[&OURS], Some("jackdaw_x is reserved"));
    }
}
