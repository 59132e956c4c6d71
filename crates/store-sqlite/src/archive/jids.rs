//! Numbers for bare JIDs: short in every row, and the same for ever.

use foldhash::HashMap;
use rusqlite::{Connection, Error, OptionalExtension, Row};

use super::JID_LIMIT;

/// How many JIDs the writer remembers in each of two halves; some 10 MB. Which were not used while a half filled are
/// looked up in the file again.
const REMEMBERED: usize = 65_536;

#[derive(Default)]
pub(super) struct Jids {
    young: HashMap<Box<str>, u32>,
    old: HashMap<Box<str>, u32>,
    /// Given a number in the open transaction.
    new: Vec<Box<str>>,
}

impl Jids {
    /// The number of the JID; gives it one if it has none.
    pub(super) fn number(&mut self, connection: &Connection, jid: &str) -> Result<u32, Error> {
        if let Some(number) = self.young.get(jid) {
            return Ok(*number);
        }
        let number = match self.old.remove(jid) {
            Some(number) => number,
            None => match known(connection, jid)? {
                Some(owner) => owner.number,
                None => self.add(connection, jid)?,
            },
        };
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(jid.into(), number);
        Ok(number)
    }

    fn add(&mut self, connection: &Connection, jid: &str) -> Result<u32, Error> {
        connection
            .prepare_cached("INSERT INTO jackdaw_jids (jid) VALUES (?1)")?
            .execute([jid])?;
        let number = connection.last_insert_rowid();
        if number >= JID_LIMIT {
            return Err(Error::IntegralValueOutOfRange(0, number));
        }
        self.new.push(jid.into());
        Ok(number as u32)
    }

    /// How many got a number in the open transaction.
    pub(super) fn count_new(&self) -> usize {
        self.new.len()
    }

    /// All but the first so many of them have none again.
    pub(super) fn forget_new(&mut self, from: usize) {
        for jid in self.new.drain(from..) {
            self.young.remove(&jid);
            self.old.remove(&jid);
        }
    }

    pub(super) fn committed(&mut self) {
        self.new.clear();
    }
}

/// A JID with a number, and up to which ids it has nothing any more.
#[derive(Clone, Copy)]
pub(super) struct Owner {
    pub(super) number: u32,
    horizon: i64,
    floor: i64,
    /// Up to there what waited was delivered; see [`Op::Settle`](store::Op::Settle).
    pub(super) delivered: i64,
    /// The highest that it ever was.
    settled: i64,
    /// Up to there nothing stands in the archive of the owner any more, nor in the index.
    pub(super) swept: i64,
}

impl Owner {
    /// The archive begins behind this id.
    pub(super) fn archive_begins(&self) -> i64 {
        self.horizon.max(self.floor)
    }

    /// Up to this id nothing waits, unless it is in the archive.
    pub(super) fn waiting_begins(&self) -> i64 {
        self.horizon.max(self.settled)
    }

    /// Up to this id nothing is shown at all.
    pub(super) fn begins(&self) -> i64 {
        self.horizon
    }

    fn read(row: &Row<'_>) -> Result<Owner, Error> {
        Ok(Owner {
            number: row.get(0)?,
            horizon: row.get(1)?,
            floor: row.get(2)?,
            delivered: row.get(3)?,
            settled: row.get(4)?,
            swept: row.get(5)?,
        })
    }
}

/// A JID, if it has a number.
pub(super) fn known(connection: &Connection, jid: &str) -> Result<Option<Owner>, Error> {
    connection
        .prepare_cached("SELECT id, horizon, floor, delivered, settled, swept FROM jackdaw_jids WHERE jid = ?1")?
        .query_row([jid], Owner::read)
        .optional()
}

/// Who has a number, and his JID.
pub(super) fn numbered(connection: &Connection, number: u32) -> Result<(Owner, Box<str>), Error> {
    connection
        .prepare_cached("SELECT id, horizon, floor, delivered, settled, swept, jid FROM jackdaw_jids WHERE id = ?1")?
        .query_row([number], |row| Ok((Owner::read(row)?, row.get(6)?)))
}

/// The first for whom there is something to sweep.
pub(super) fn to_sweep(connection: &Connection) -> Result<Option<Owner>, Error> {
    let sql = "SELECT id, horizon, floor, delivered, settled, swept FROM jackdaw_jids
        WHERE to_sweep = 1 ORDER BY id LIMIT 1";
    connection.prepare_cached(sql)?.query_row([], Owner::read).optional()
}
