//! The schema: the driver's own tables by version (`PRAGMA user_version`), the features' by what they declare.

use rusqlite::{Connection, Error, OptionalExtension};
use store::{Catalog, ColumnKind, Shape, Table};

/// Written into the file's header, so that another program's database is told apart: "Jckd".
pub(crate) const APPLICATION_ID: i64 = 0x4a63_6b64;

/// Step n brings a file from version n to n + 1. A step that was released is never changed.
pub(crate) const MIGRATIONS: &[&str] = &[
    // 1: the sequence of ids, and the names and shapes of the feature tables that ever were.
    "CREATE TABLE jackdaw_sequence (last_id INTEGER NOT NULL) STRICT;
     INSERT INTO jackdaw_sequence VALUES (0);
     CREATE TABLE jackdaw_tables (name TEXT NOT NULL PRIMARY KEY, shape TEXT NOT NULL) STRICT, WITHOUT ROWID;",
    // 2: the archive, see its module. `place` is a bucket with an owner or a part. What is read alone stands last in a row.
    "CREATE TABLE jackdaw_archive (id INTEGER NOT NULL PRIMARY KEY, at INTEGER NOT NULL, sender INTEGER NOT NULL,
         recipient INTEGER NOT NULL, places INTEGER NOT NULL, fingerprint BLOB, stanza TEXT NOT NULL) STRICT;
     CREATE TABLE jackdaw_jids (id INTEGER NOT NULL PRIMARY KEY, jid TEXT NOT NULL UNIQUE,
         horizon INTEGER NOT NULL DEFAULT 0) STRICT;
     CREATE TABLE jackdaw_archive_postings (place INTEGER NOT NULL PRIMARY KEY, entries BLOB NOT NULL) STRICT;
     CREATE TABLE jackdaw_archive_buckets (bucket INTEGER NOT NULL PRIMARY KEY, first_at INTEGER NOT NULL,
         last_at INTEGER NOT NULL, blocks BLOB NOT NULL) STRICT;
     CREATE TABLE jackdaw_archive_fingerprints (place INTEGER NOT NULL PRIMARY KEY, hashes BLOB NOT NULL) STRICT;
     CREATE TABLE jackdaw_archive_expired (before INTEGER NOT NULL, up_to INTEGER NOT NULL) STRICT;
     CREATE TABLE jackdaw_journal (seq INTEGER NOT NULL PRIMARY KEY, marks BLOB NOT NULL) STRICT;
     CREATE TABLE jackdaw_marks (key INTEGER NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT;
     CREATE TABLE jackdaw_state (secret BLOB NOT NULL, sealed INTEGER NOT NULL, bucket_bits INTEGER NOT NULL) STRICT;
     INSERT INTO jackdaw_state VALUES (randomblob(32), 0, 0);",
    // 3: messages leave the archive by size and when they were delivered. How far that was stood in a table of the
    // features. 4 is `Places::WAITING`: such rows are few, and so the index costs nothing where people archive.
    "ALTER TABLE jackdaw_jids ADD COLUMN floor INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE jackdaw_jids ADD COLUMN delivered INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE jackdaw_jids ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE jackdaw_jids ADD COLUMN swept INTEGER NOT NULL DEFAULT 0;
     ALTER TABLE jackdaw_jids ADD COLUMN to_sweep INTEGER NOT NULL DEFAULT 0;
     CREATE TABLE IF NOT EXISTS delivered (owner TEXT NOT NULL PRIMARY KEY, up_to INTEGER) STRICT;
     UPDATE jackdaw_jids SET delivered = coalesce((SELECT up_to FROM delivered WHERE owner = jid), 0);
     UPDATE jackdaw_jids SET settled = delivered, to_sweep = horizon > 0 OR delivered > 0;
     DROP TABLE delivered;
     DELETE FROM jackdaw_tables WHERE name = 'delivered';
     CREATE INDEX jackdaw_jids_to_sweep ON jackdaw_jids (id) WHERE to_sweep = 1;
     CREATE INDEX jackdaw_archive_only_waiting ON jackdaw_archive (recipient) WHERE places = 4;
     CREATE INDEX jackdaw_archive_gone ON jackdaw_archive (at) WHERE places = 0;
     ALTER TABLE jackdaw_archive_buckets ADD COLUMN gone INTEGER NOT NULL DEFAULT 0;
     CREATE INDEX jackdaw_archive_buckets_gone ON jackdaw_archive_buckets (bucket) WHERE gone = 2;
     CREATE TABLE jackdaw_archive_sizes (place INTEGER NOT NULL PRIMARY KEY, bytes INTEGER NOT NULL) STRICT;
     INSERT INTO jackdaw_archive_sizes SELECT bucket << 28 | owner, sum(bytes) FROM (
         SELECT id >> bucket_bits AS bucket, sender AS owner, octet_length(stanza) AS bytes
             FROM jackdaw_archive, jackdaw_state WHERE places & 1 OR (places & 2 AND sender = recipient)
         UNION ALL SELECT id >> bucket_bits, recipient, octet_length(stanza)
             FROM jackdaw_archive, jackdaw_state WHERE places & 2 AND sender != recipient)
         WHERE bucket < (SELECT sealed FROM jackdaw_state) GROUP BY 1;",
];

pub(crate) fn version(connection: &Connection) -> Result<i64, Error> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Runs the steps that the file has not seen, each in a transaction with its new version.
pub(crate) fn migrate(connection: &mut Connection, steps: &[&str]) -> Result<(), Error> {
    let from = usize::try_from(version(connection)?).unwrap_or(0);
    for (at, step) in steps.iter().enumerate().skip(from) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", at as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// Makes the tables that are missing and adds the columns that are new. The text of the inner error tells which table
/// has changed in a way that is not allowed.
pub(crate) fn create_tables(connection: &mut Connection, catalog: &Catalog) -> Result<Result<(), String>, Error> {
    let transaction = connection.transaction()?;
    for table in catalog.tables() {
        if let Err(text) = create_table(&transaction, table)? {
            return Ok(Err(text));
        }
    }
    transaction.commit()?;
    Ok(Ok(()))
}

fn create_table(connection: &Connection, table: &Table) -> Result<Result<(), String>, Error> {
    let known: Option<String> = connection
        .query_row(
            "SELECT shape FROM jackdaw_tables WHERE name = ?1",
            [table.name],
            |row| row.get(0),
        )
        .optional()?;
    match known {
        None => {
            connection.execute_batch(&create_sql(table))?;
            connection.execute(
                "INSERT INTO jackdaw_tables VALUES (?1, ?2)",
                [table.name, shape_name(table.shape)],
            )?;
            return Ok(Ok(()));
        }
        Some(shape) if shape != shape_name(table.shape) => {
            return Ok(Err(format!(
                "the table {} is {shape} there and {} here",
                table.name,
                shape_name(table.shape)
            )));
        }
        Some(_) => {}
    }
    let mut statement = connection.prepare("SELECT name, type FROM pragma_table_info(?1)")?;
    let there: Vec<(String, String)> = statement
        .query_map([table.name], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for column in table.columns {
        let kind = kind_name(column.kind);
        match there.iter().find(|(name, _)| name == column.name) {
            Some((_, found)) if found == kind => {}
            Some((_, found)) => {
                let text = format!(
                    "the column {}.{} is {found} there and {kind} here",
                    table.name, column.name
                );
                return Ok(Err(text));
            }
            None => {
                let sql = format!("ALTER TABLE \"{}\" ADD COLUMN \"{}\" {kind}", table.name, column.name);
                connection.execute_batch(&sql)?;
            }
        }
    }
    Ok(Ok(()))
}

/// The clustered key where rows of one owner are read together (WITHOUT ROWID); not for KeyVal, whose rows are read
/// alone and may be large (a picture), which would make the tree of keys deep.
fn create_sql(table: &Table) -> String {
    let columns: String = table
        .columns
        .iter()
        .map(|column| format!(", \"{}\" {}", column.name, kind_name(column.kind)))
        .collect();
    let name = table.name;
    match table.shape {
        Shape::KeyVal => format!("CREATE TABLE \"{name}\" (owner TEXT NOT NULL PRIMARY KEY{columns}) STRICT"),
        Shape::Map => format!(
            "CREATE TABLE \"{name}\" (owner TEXT NOT NULL, key TEXT NOT NULL{columns}, PRIMARY KEY (owner, key)) STRICT, WITHOUT ROWID"
        ),
        Shape::Archive => format!(
            "CREATE TABLE \"{name}\" (owner TEXT NOT NULL, id INTEGER NOT NULL{columns}, PRIMARY KEY (owner, id)) STRICT, WITHOUT ROWID"
        ),
    }
}

fn shape_name(shape: Shape) -> &'static str {
    match shape {
        Shape::KeyVal => "keyval",
        Shape::Map => "map",
        Shape::Archive => "archive",
    }
}

fn kind_name(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Int => "INTEGER",
        ColumnKind::Text => "TEXT",
        ColumnKind::Blob => "BLOB",
    }
}

/// The names of all feature tables in the file.
pub(crate) fn table_names(connection: &Connection) -> Result<Vec<String>, Error> {
    connection
        .prepare("SELECT name FROM jackdaw_tables ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect()
}

pub(crate) fn last_id(connection: &Connection) -> Result<i64, Error> {
    connection.query_row("SELECT last_id FROM jackdaw_sequence", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_once_and_in_order() {
        let mut connection = Connection::open_in_memory().expect("memory is there");
        let steps = [
            "CREATE TABLE a (n INTEGER)",
            "INSERT INTO a VALUES (1)",
            "UPDATE a SET n = n + 1",
        ];
        for (upto, expected) in [(2, 1), (2, 1), (3, 2), (3, 2)] {
            migrate(&mut connection, &steps[..upto]).expect("the steps are right");
            let n: i64 = connection
                .query_row("SELECT n FROM a", [], |row| row.get(0))
                .expect("the table has one row");
            assert_eq!((n, version(&connection)), (expected, Ok(upto as i64)));
        }
    }

    #[test]
    fn a_step_that_fails_leaves_nothing() {
        let mut connection = Connection::open_in_memory().expect("memory is there");
        let steps = [
            "CREATE TABLE a (n INTEGER)",
            "CREATE TABLE b (n INTEGER); CREATE TABLE a (n INTEGER)",
        ];
        migrate(&mut connection, &steps).expect_err("the table is there already");
        assert_eq!(version(&connection), Ok(1));
        connection
            .query_row("SELECT count(*) FROM b", [], |_| Ok(()))
            .expect_err("rolled back");
    }
}
