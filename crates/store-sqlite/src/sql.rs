//! The SQL of every declared table, made once when the database is opened, and its execution for the ops of a batch.
//! All names were checked by the catalog; they are quoted because a column may be called `group`.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, ToSql};
use store::{Batch, Catalog, Op, Shape, StoreError, Table, Value, Wrote};

use crate::archive::Archiver;

/// What the threads need to know of the tables.
pub(crate) struct Plan {
    pub(crate) catalog: Catalog,
    /// In the order of [`Catalog::tables`].
    tables: Vec<TableSql>,
    /// One DELETE for every feature table in the file, declared now or in former times.
    forget: Vec<String>,
}

/// A text is empty where the shape has no such operation; the catalog refuses it before it gets here.
#[derive(Default)]
pub(crate) struct TableSql {
    put: String,
    insert: String,
    add: String,
    require: String,
    delete_row: String,
    delete_all: String,
    delete_keys: String,
    append: String,
    trim: String,
    pub(crate) get: String,
    pub(crate) all: String,
    pub(crate) keys: String,
    pub(crate) keys_last: String,
    pub(crate) page: String,
    pub(crate) count: String,
    pub(crate) owners: String,
    /// Apart, because with an OR in the condition SQLite would read all owners before the first of the page.
    pub(crate) owners_after: String,
}

impl Plan {
    /// `in_file`: the names of all feature tables in the file.
    pub(crate) fn new(catalog: Catalog, in_file: &[String]) -> Plan {
        let tables = catalog.tables().iter().map(|table| TableSql::new(table)).collect();
        let forget = in_file
            .iter()
            .map(|name| format!("DELETE FROM \"{name}\" WHERE owner = ?1"))
            .collect();
        Plan {
            catalog,
            tables,
            forget,
        }
    }

    pub(crate) fn of(&self, table: &Table) -> &TableSql {
        let at = self.catalog.position(table.name);
        &self.tables[at.expect("the catalog was asked when the op was submitted")]
    }
}

impl TableSql {
    fn new(table: &Table) -> TableSql {
        let name = format!("\"{}\"", table.name);
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| format!("\"{}\"", column.name))
            .collect();
        let list = columns.join(", ");
        let delete_all = format!("DELETE FROM {name} WHERE owner = ?1");
        let count = format!("SELECT count(*) FROM {name} WHERE owner = ?1");

        // Not INSERT OR REPLACE: a column that only a newer Jackdaw knows keeps its value.
        let update = columns
            .iter()
            .map(|column| format!("{column} = excluded.{column}"))
            .collect::<Vec<_>>()
            .join(", ");
        let sum = columns
            .iter()
            .map(|column| format!("{column} = coalesce({column}, 0) + excluded.{column}"))
            .collect::<Vec<_>>()
            .join(", ");
        let insert_into = |keys: &[&str]| {
            let marks: Vec<String> = (1..=keys.len() + columns.len()).map(|at| format!("?{at}")).collect();
            format!(
                "INSERT INTO {name} ({}, {list}) VALUES ({})",
                keys.join(", "),
                marks.join(", ")
            )
        };
        let keyed = |keys: &[&str], found: &str| TableSql {
            put: format!(
                "{} ON CONFLICT ({}) DO UPDATE SET {update}",
                insert_into(keys),
                keys.join(", ")
            ),
            insert: format!("{} ON CONFLICT DO NOTHING", insert_into(keys)),
            add: format!(
                "{} ON CONFLICT ({}) DO UPDATE SET {sum}",
                insert_into(keys),
                keys.join(", ")
            ),
            require: format!("SELECT 1 FROM {name} WHERE {found}"),
            delete_row: format!("DELETE FROM {name} WHERE {found}"),
            get: format!("SELECT {list} FROM {name} WHERE {found}"),
            ..TableSql::default()
        };
        let part = "owner = ?1 AND key >= ?2 AND key < ?3";
        let keys = format!("SELECT key, {list} FROM {name} WHERE {part}");
        match table.shape {
            Shape::KeyVal => TableSql {
                owners: format!("SELECT owner, {list} FROM {name} ORDER BY owner LIMIT ?1"),
                owners_after: format!("SELECT owner, {list} FROM {name} WHERE owner > ?1 ORDER BY owner LIMIT ?2"),
                delete_all,
                count,
                ..keyed(&["owner"], "owner = ?1")
            },
            Shape::Map => TableSql {
                keys: format!("{keys} ORDER BY key LIMIT ?4"),
                keys_last: format!("{keys} ORDER BY key DESC LIMIT ?4"),
                delete_keys: format!("DELETE FROM {name} WHERE {part}"),
                all: format!("SELECT key, {list} FROM {name} WHERE owner = ?1 ORDER BY key"),
                delete_all,
                count,
                ..keyed(&["owner", "key"], "owner = ?1 AND key = ?2")
            },
            Shape::Archive => TableSql {
                append: insert_into(&["owner", "id"]),
                trim: format!("DELETE FROM {name} WHERE owner = ?1 AND id <= ?2"),
                page: format!("SELECT id, {list} FROM {name} WHERE owner = ?1 AND id > ?2 ORDER BY id LIMIT ?3"),
                delete_all,
                count,
                ..TableSql::default()
            },
        }
    }
}

/// A value on its way into a statement, without a copy.
struct Bound<'a>(&'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Int(n) => ValueRef::Integer(*n),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// Runs the ops of a batch inside the open transaction. The inner result is the batch's own: a condition that failed
/// has left what earlier ops did, for the caller to roll back. The outer one is the transaction's.
pub(crate) fn apply(
    connection: &Connection,
    plan: &Plan,
    batch: &Batch,
    last_id: &mut i64,
    archiver: &mut Archiver,
) -> Result<Result<Wrote, StoreError>, Error> {
    let mut wrote = Wrote::default();
    for op in &batch.ops {
        match op {
            Op::Put { table, owner, key, row } => {
                change(connection, &plan.of(table).put, owner, key.as_deref().map(Id::Key), row)?;
            }
            Op::Add { table, owner, key, row } => {
                change(connection, &plan.of(table).add, owner, key.as_deref().map(Id::Key), row)?;
            }
            Op::Insert { table, owner, key, row } => {
                let key = key.as_deref().map(Id::Key);
                if change(connection, &plan.of(table).insert, owner, key, row)? == 0 {
                    return Ok(Err(StoreError::Exists));
                }
            }
            Op::Require { table, owner, key } => {
                let mut statement = connection.prepare_cached(&plan.of(table).require)?;
                let there = match key {
                    None => statement.exists([owner]),
                    Some(key) => statement.exists([owner, key]),
                };
                if !there? {
                    return Ok(Err(StoreError::Missing));
                }
            }
            Op::Delete {
                table,
                owner,
                key: Some(key),
            } => {
                change(connection, &plan.of(table).delete_row, owner, Some(Id::Key(key)), &[])?;
            }
            Op::Delete {
                table,
                owner,
                key: None,
            } => {
                change(connection, &plan.of(table).delete_all, owner, None, &[])?;
            }
            Op::DeleteKeys { table, owner, prefix } => {
                // The catalog has seen to it that there is one.
                if let Some(end) = store::end_of(prefix) {
                    let mut statement = connection.prepare_cached(&plan.of(table).delete_keys)?;
                    statement.execute((owner, prefix, end))?;
                }
            }
            Op::Append { table, owner, row } => {
                *last_id += 1;
                change(
                    connection,
                    &plan.of(table).append,
                    owner,
                    Some(Id::Number(*last_id)),
                    row,
                )?;
            }
            Op::Trim { table, owner, up_to } => {
                change(connection, &plan.of(table).trim, owner, Some(Id::Number(*up_to)), &[])?;
            }
            Op::Forget { owner } => {
                for sql in &plan.forget {
                    change(connection, sql, owner, None, &[])?;
                }
                archiver.set_horizon(connection, owner, *last_id)?;
            }
            Op::Settle { owner, up_to } => archiver.settle(connection, owner, (*up_to).min(*last_id))?,
            Op::Floor { owner, up_to } => archiver.set_floor(connection, owner, (*up_to).min(*last_id))?,
            Op::Deposit(deposit) => wrote.deposited = Some(archiver.deposit(connection, deposit, last_id)?),
            Op::Replace { owner, id, stanza } => archiver.replace(connection, owner, *id, stanza)?,
            Op::Horizon { owner, up_to } => archiver.set_horizon(connection, owner, (*up_to).min(*last_id))?,
            Op::Expire { before, most } => {
                wrote.add_swept(archiver.expire(connection, *before, *most, *last_id)?);
            }
            Op::Sweep { now, most } => wrote.add_swept(archiver.sweep(connection, *now, *most)?),
            Op::Mark { key, value } => archiver.mark(*key, Some(*value)),
            Op::Unmark { key } => archiver.mark(*key, None),
        }
    }
    Ok(Ok(wrote))
}

/// The second part of a row's key.
enum Id<'a> {
    Key(&'a str),
    Number(i64),
}

/// Returns how many rows changed.
fn change(connection: &Connection, sql: &str, owner: &str, id: Option<Id<'_>>, row: &[Value]) -> Result<usize, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.raw_bind_parameter(1, owner)?;
    let mut next = 2;
    match id {
        None => {}
        Some(Id::Key(key)) => statement.raw_bind_parameter(next, key)?,
        Some(Id::Number(number)) => statement.raw_bind_parameter(next, number)?,
    }
    next += usize::from(id.is_some());
    for (at, value) in row.iter().enumerate() {
        statement.raw_bind_parameter(next + at, Bound(value))?;
    }
    statement.raw_execute()
}
