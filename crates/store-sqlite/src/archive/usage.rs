//! How large an archive is, and which of its messages are the oldest.

use std::collections::HashMap;

use rusqlite::{Connection, Error};
use store::{OLDEST_LIMIT, Oldest, Places, Whose};

use super::jids::{Owner, numbered};
use super::read::{Moment, all_of};
use super::seal::size_key;
use super::tail::{ARCHIVED, Entry, Filter};

/// In sealed buckets.
pub(super) fn sealed_bytes(connection: &Connection, owner: u32) -> Result<u64, Error> {
    // The buckets first: they are few, and then each size is one look-up.
    let sql = "SELECT coalesce(sum(bytes), 0) FROM jackdaw_archive_buckets b
        CROSS JOIN jackdaw_archive_sizes s ON s.place = (b.bucket << 28) | ?1";
    debug_assert_eq!(size_key(1, 0), 1 << 28);
    let bytes: i64 = connection.prepare_cached(sql)?.query_row([owner], |row| row.get(0))?;
    Ok(bytes.unsigned_abs())
}

/// Counts up to a number of bytes, and of messages.
struct Counter {
    found: Oldest,
    bytes: u64,
    looks: usize,
}

impl Counter {
    fn new(after: i64, bytes: u64) -> Counter {
        Counter {
            found: Oldest {
                up_to: after,
                bytes: 0,
                complete: true,
            },
            bytes,
            looks: OLDEST_LIMIT,
        }
    }

    /// False: this one is left out, and so are all that follow.
    fn add(&mut self, id: i64, bytes: u64) -> bool {
        if self.found.bytes >= self.bytes || self.looks == 0 {
            self.found.complete = false;
            return false;
        }
        self.looks -= 1;
        self.found.bytes += bytes;
        self.found.up_to = id;
        true
    }
}

/// For an account: by the index. `tail` is the part of it that is in memory.
pub(super) fn oldest_of_account(
    connection: &Connection,
    moment: &Moment,
    filter: &Filter,
    tail: &[Entry],
    after: i64,
    bytes: u64,
) -> Result<Oldest, Error> {
    let mut statement = connection.prepare_cached("SELECT octet_length(stanza) FROM jackdaw_archive WHERE id = ?1")?;
    let mut counter = Counter::new(after, bytes);
    let mut add = |entry: &Entry| {
        let length: i64 = statement.query_row([entry.id], |row| row.get(0))?;
        Ok(counter.add(entry.id, length.unsigned_abs()))
    };
    moment.each(connection, filter, false, true, tail, &mut add)?;
    Ok(counter.found)
}

/// The filter for it.
pub(super) fn archive_behind(owner: &Owner, after: i64) -> Filter {
    all_of(owner, ARCHIVED, after.max(owner.archive_begins()))
}

/// For a domain: row by row.
pub(super) fn oldest_of_domain(
    connection: &Connection,
    whose: &Whose,
    after: i64,
    bytes: u64,
) -> Result<Oldest, Error> {
    let sql = "SELECT id, sender, recipient, places, octet_length(stanza) FROM jackdaw_archive
        WHERE id > ?1 ORDER BY id LIMIT ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query((after, OLDEST_LIMIT as i64))?;
    let mut counter = Counter::new(after, bytes);
    // Where the archive of each begins; None: of another domain.
    let mut owners: HashMap<u32, Option<i64>> = HashMap::new();
    let (mut looked, mut last) = (0, after);
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let (sender, recipient): (u32, u32) = (row.get(1)?, row.get(2)?);
        let places = Places(row.get(3)?);
        let mut is_in = |number: u32, place: Places| -> Result<bool, Error> {
            if !places.has(place) {
                return Ok(false);
            }
            let begins = match owners.get(&number) {
                Some(begins) => *begins,
                None => {
                    let (owner, jid) = numbered(connection, number)?;
                    let begins = whose.includes(&jid).then(|| owner.archive_begins());
                    owners.insert(number, begins);
                    begins
                }
            };
            Ok(begins.is_some_and(|begins| id > begins))
        };
        let (sent, received) = (is_in(sender, Places::SENT)?, is_in(recipient, Places::RECEIVED)?);
        let archives = if sender == recipient {
            u64::from(sent || received)
        } else {
            u64::from(sent) + u64::from(received)
        };
        let length: i64 = row.get(4)?;
        if archives > 0 && !counter.add(id, archives * length.unsigned_abs()) {
            return Ok(counter.found);
        }
        (looked, last) = (looked + 1, id);
    }
    counter.found.up_to = last;
    counter.found.complete = looked < OLDEST_LIMIT;
    Ok(counter.found)
}
