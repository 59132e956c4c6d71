//! Numbers for bare JIDs: short in every row, and the same for ever.

use foldhash::HashMap;
use rusqlite::{Connection, Error, OptionalExtension};

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
                Some((number, _)) => number,
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

/// The number of a JID and its horizon, if it has a number.
pub(super) fn known(connection: &Connection, jid: &str) -> Result<Option<(u32, i64)>, Error> {
    connection
        .prepare_cached("SELECT id, horizon FROM jackdaw_jids WHERE jid = ?1")?
        .query_row([jid], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}
