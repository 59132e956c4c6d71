//! Answers queries from a reader's connection.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Error, Params, Row as SqlRow};
use store::{Found, PAGE_LIMIT, Query, Row, StoreError, Value};

use crate::archive::{self, Index, Moment};
use crate::error::classify;
use crate::sql::Plan;

/// How often a reader begins anew, when a commit came between the file and the tail, before it keeps commits away for a
/// moment. Once is seldom.
const MISSES: usize = 8;

/// One short transaction: a snapshot, and the log's read lock is taken once and not for every statement.
pub(crate) fn answer(connection: &Connection, plan: &Plan, index: &Index, query: &Query) -> Result<Found, StoreError> {
    let found = begin(connection, index, query).and_then(|mut moment| {
        let found = find(connection, plan, &mut moment, query)?;
        execute(connection, "COMMIT")?;
        Ok(found)
    });
    // A snapshot left open would stop the checkpoints. After some errors SQLite has ended it by itself.
    if found.is_err() && !connection.is_autocommit() && execute(connection, "ROLLBACK").is_err() {
        tracing::error!("a reader of the store cannot end its transaction");
    }
    found.map_err(|error| classify(&error))
}

/// Begins the transaction, and takes what the query needs of the archive's tail at that moment.
fn begin(connection: &Connection, index: &Index, query: &Query) -> Result<Option<Moment>, Error> {
    if !archive::concerns(query) {
        return execute(connection, "BEGIN").map(|()| None);
    }
    let mut gate = None;
    let mut misses = 0;
    loop {
        execute(connection, "BEGIN")?;
        if let Some(moment) = archive::prepare(connection, index, query)? {
            return Ok(Some(moment));
        }
        execute(connection, "COMMIT")?;
        if gate.is_some() {
            // No commit is under way, and yet they differ: another program has changed the journal.
            return Err(archive::corrupt("the journal of the archive"));
        }
        misses += 1;
        if misses < MISSES {
            std::thread::yield_now();
        } else {
            gate = Some(index.gate());
        }
    }
}

fn execute(connection: &Connection, sql: &str) -> Result<(), Error> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

fn find(connection: &Connection, plan: &Plan, moment: &mut Option<Moment>, query: &Query) -> Result<Found, Error> {
    Ok(match query {
        Query::Get { table, owner, key } => {
            let width = table.columns.len();
            let sql = &plan.of(table).get;
            let rows = match key {
                None => list(connection, sql, [owner], |row| values(row, 0, width)),
                Some(key) => list(connection, sql, [owner, key], |row| values(row, 0, width)),
            };
            Found::Row(rows?.pop())
        }
        Query::All { table, owner } => {
            let width = table.columns.len();
            Found::Rows(list(connection, &plan.of(table).all, [owner], |row| {
                Ok((row.get(0)?, values(row, 1, width)?))
            })?)
        }
        Query::Keys(keys) => {
            let (width, sql) = (keys.table.columns.len(), plan.of(keys.table));
            let sql = if keys.last { &sql.keys_last } else { &sql.keys };
            let mut rows = match keys.bounds() {
                None => Vec::new(),
                Some((from, to)) => list(connection, sql, (&keys.owner, from, to, sql_limit(keys.limit)), |row| {
                    Ok((row.get(0)?, values(row, 1, width)?))
                })?,
            };
            if keys.last {
                rows.reverse();
            }
            Found::Rows(rows)
        }
        Query::Page {
            table,
            owner,
            after,
            limit,
        } => {
            let width = table.columns.len();
            let params = (owner, after, sql_limit(*limit));
            Found::Page(list(connection, &plan.of(table).page, params, |row| {
                Ok((row.get(0)?, values(row, 1, width)?))
            })?)
        }
        Query::Count { table, owner } => {
            let mut statement = connection.prepare_cached(&plan.of(table).count)?;
            let count: i64 = statement.query_row([owner], |row| row.get(0))?;
            Found::Count(count.unsigned_abs())
        }
        Query::Owners { table, after, limit } => {
            let width = table.columns.len();
            let (sql, limit) = (plan.of(table), sql_limit(*limit));
            let make = |row: &SqlRow<'_>| Ok((row.get(0)?, values(row, 1, width)?));
            Found::Owners(match after {
                None => list(connection, &sql.owners, [limit], make)?,
                Some(after) => list(connection, &sql.owners_after, (after, limit), make)?,
            })
        }
        Query::Archive(_) | Query::Waiting { .. } | Query::Usage { .. } | Query::Oldest { .. } | Query::Mark { .. } => {
            match moment {
                Some(moment) => archive::find(connection, moment, query)?,
                // `begin` makes one where there is such a query.
                None => return Err(Error::InvalidQuery),
            }
        }
        Query::Many(queries) => Found::Many(
            queries
                .iter()
                .map(|query| find(connection, plan, moment, query))
                .collect::<Result<_, _>>()?,
        ),
    })
}

/// No more than [`PAGE_LIMIT`], so it fits.
fn sql_limit(limit: usize) -> i64 {
    limit.min(PAGE_LIMIT) as i64
}

fn list<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    make: impl FnMut(&SqlRow<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    connection.prepare_cached(sql)?.query_map(params, make)?.collect()
}

fn values(row: &SqlRow<'_>, from: usize, width: usize) -> Result<Row, Error> {
    (from..from + width)
        .map(|at| {
            Ok(match row.get_ref(at)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(n) => Value::Int(n),
                ValueRef::Text(_) => Value::Text(row.get(at)?),
                ValueRef::Blob(bytes) => Value::Blob(bytes.into()),
                // The tables are STRICT and have no such column.
                ValueRef::Real(_) => {
                    return Err(Error::InvalidColumnType(at, String::new(), rusqlite::types::Type::Real));
                }
            })
        })
        .collect()
}
