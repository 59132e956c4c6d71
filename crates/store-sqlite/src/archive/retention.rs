//! How messages leave: delivered, too old, too much, or of an owner who was removed.
//!
//! What is taken away is not shown from the commit of the op that says so: a number beside the owner, or a moment in
//! `jackdaw_archive_expired`. The rows are deleted later ([`Archiver::sweep`]), a few in each op, and how far that has come
//! stands beside the owner too: so a crash costs nothing. Each place of a row is cleared by itself, and it is deleted
//! with the last one. A row of which only the fingerprint is still wanted has no place and no stanza.

use std::collections::{BTreeSet, HashMap};

use rusqlite::{Connection, Error, OptionalExtension};
use store::{EXPIRE_LIMIT, FINGERPRINT_LIFETIME_MS, Places, Swept};

use super::codec::{bucket_key, part_key, unpack_entries, unpack_spans};
use super::corrupt;
use super::jids::{Owner, numbered, to_sweep};
use super::seal::{FINGERPRINT_PART_BITS, size_key};
use super::tail::{Entry, Span, WAITING};
use super::write::Archiver;

/// The index names nothing of this owner up to this id, but for what waits.
pub(super) struct Pruned {
    pub(super) owner: u32,
    pub(super) up_to: i64,
    pub(super) waiting_begins: i64,
}

/// A message without its text.
#[derive(Clone, Copy)]
pub(super) struct Row {
    id: i64,
    at: i64,
    sender: u32,
    recipient: u32,
    places: Places,
    has_fingerprint: bool,
    pub(super) bytes: i64,
}

/// For [`Row::read`], with what comes behind the table.
macro_rules! select_rows {
    ($rest:literal) => {
        concat!(
            "SELECT id, at, sender, recipient, places, fingerprint IS NOT NULL, octet_length(stanza) FROM jackdaw_archive ",
            $rest
        )
    };
}

impl Row {
    fn read(row: &rusqlite::Row<'_>) -> Result<Row, Error> {
        Ok(Row {
            id: row.get(0)?,
            at: row.get(1)?,
            sender: row.get(2)?,
            recipient: row.get(3)?,
            places: Places(row.get(4)?),
            has_fingerprint: row.get(5)?,
            bytes: row.get(6)?,
        })
    }

    pub(super) fn get(connection: &Connection, id: i64) -> Result<Option<Row>, Error> {
        connection
            .prepare_cached(select_rows!("WHERE id = ?1"))?
            .query_row([id], Row::read)
            .optional()
    }

    /// In whose archives it stands.
    pub(super) fn archives(&self) -> impl Iterator<Item = u32> {
        let sent = self.places.has(Places::SENT).then_some(self.sender);
        let received = self.places.has(Places::RECEIVED).then_some(self.recipient);
        sent.into_iter()
            .chain(received.filter(move |recipient| sent != Some(*recipient)))
    }

    /// The places that are this owner's archive.
    fn archive_of(&self, owner: u32) -> Places {
        let of = |is_owner: bool, place: Places| if is_owner { place } else { Places::default() };
        of(self.sender == owner, Places::SENT).and(of(self.recipient == owner, Places::RECEIVED))
    }
}

/// What stays of a message that has no place left.
#[derive(Clone, Copy)]
enum Stays {
    Nothing,
    /// If it is not older than 24 hours at this moment.
    Fingerprint(i64),
}

/// Those that one op has looked up.
#[derive(Default)]
struct Owners(HashMap<u32, Owner>);

impl Owners {
    fn get(&mut self, connection: &Connection, number: u32) -> Result<Owner, Error> {
        if let Some(owner) = self.0.get(&number) {
            return Ok(*owner);
        }
        let (owner, _) = numbered(connection, number)?;
        self.0.insert(number, owner);
        Ok(owner)
    }

    /// Whether it stands in an archive, and was not taken out of it.
    fn is_archived(&mut self, connection: &Connection, row: &Row) -> Result<bool, Error> {
        for owner in row.archives() {
            if row.id > self.get(connection, owner)?.archive_begins() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// How far an op may go.
struct Budget {
    /// Messages that may be changed,
    left: usize,
    /// and looked at.
    looks: usize,
    changed: usize,
    last: i64,
}

impl Budget {
    fn is_spent(&self) -> bool {
        self.left == 0 || self.looks == 0
    }
}

impl Archiver {
    /// Who has no number has no messages either, and needs no horizon.
    pub(crate) fn set_horizon(&mut self, connection: &Connection, owner: &str, up_to: i64) -> Result<(), Error> {
        let sql = "UPDATE jackdaw_jids SET horizon = ?2, to_sweep = 1 WHERE jid = ?1 AND horizon < ?2";
        connection.prepare_cached(sql)?.execute((owner, up_to)).map(drop)
    }

    pub(crate) fn set_floor(&mut self, connection: &Connection, owner: &str, up_to: i64) -> Result<(), Error> {
        let sql = "UPDATE jackdaw_jids SET floor = ?2, to_sweep = 1 WHERE jid = ?1 AND floor < ?2";
        connection.prepare_cached(sql)?.execute((owner, up_to)).map(drop)
    }

    pub(crate) fn settle(&mut self, connection: &Connection, owner: &str, up_to: i64) -> Result<(), Error> {
        let owner = self.jids.number(connection, owner)?;
        let sql = "UPDATE jackdaw_jids SET delivered = ?2, settled = max(settled, ?2), to_sweep = to_sweep OR EXISTS (
            SELECT 1 FROM jackdaw_archive WHERE places = 4 AND recipient = ?1 AND id <= ?2) WHERE id = ?1";
        connection.prepare_cached(sql)?.execute((owner, up_to)).map(drop)
    }

    /// Takes a message out of places. True if something changed.
    fn take_out(
        &mut self,
        connection: &Connection,
        owners: &mut Owners,
        row: &Row,
        from: Places,
        stays: Stays,
    ) -> Result<bool, Error> {
        let mut left = Row {
            places: Places(row.places.0 & !from.0),
            ..*row
        };
        if left.places == Places::WAITING && row.id <= owners.get(connection, row.recipient)?.waiting_begins() {
            left.places = Places::default();
        }
        if left.places == row.places {
            return Ok(false);
        }
        for owner in row.archives() {
            if left.archives().all(|still| still != owner) {
                self.resize(connection, row.id, owner, -row.bytes)?;
            }
        }
        let is_known = match stays {
            Stays::Fingerprint(now) => row.has_fingerprint && now.saturating_sub(row.at) < FINGERPRINT_LIFETIME_MS,
            Stays::Nothing => false,
        };
        if !left.places.is_empty() {
            connection
                .prepare_cached("UPDATE jackdaw_archive SET places = ?2 WHERE id = ?1")?
                .execute((row.id, left.places.0))?;
        } else if is_known {
            connection
                .prepare_cached("UPDATE jackdaw_archive SET places = 0, stanza = '' WHERE id = ?1")?
                .execute([row.id])?;
        } else {
            delete(connection, row.id)?;
        }
        Ok(true)
    }

    pub(crate) fn expire(
        &mut self,
        connection: &Connection,
        before: i64,
        most: usize,
        last_id: i64,
    ) -> Result<Swept, Error> {
        let mut owners = Owners::default();
        let mut budget = Budget {
            left: most.min(EXPIRE_LIMIT),
            looks: EXPIRE_LIMIT,
            changed: 0,
            last: 0,
        };
        if budget.is_spent() {
            return Ok(Swept {
                messages: 0,
                more: true,
            });
        }
        let (sealed, unsealed, mut expired) = {
            let tail = self.index.read();
            let blocks = |(bucket, content): (&i64, &super::tail::Bucket)| (*bucket, content.blocks.clone());
            let unsealed: Vec<_> = tail.buckets.iter().map(blocks).collect();
            (tail.sealed, unsealed, tail.expired.clone())
        };
        let mut bucket = -1;
        while !budget.is_spent()
            && let Some((next, blocks)) = next_bucket(connection, bucket, before)?
            && next < sealed
        {
            bucket = next;
            self.expire_bucket(connection, &mut owners, &mut budget, bucket, &blocks, before)?;
            let all_of_it = blocks
                .iter()
                .all(|block| *block == Span::default() || block.max < before);
            if all_of_it && !budget.is_spent() {
                connection
                    .prepare_cached("UPDATE jackdaw_archive_buckets SET gone = ?2 WHERE bucket = ?1")?
                    .execute((bucket, if self.is_empty(connection, bucket)? { DROP } else { OLD }))?;
            }
        }
        for (bucket, blocks) in unsealed {
            self.expire_bucket(connection, &mut owners, &mut budget, bucket, &blocks, before)?;
        }
        if let (Some(first), Some(last)) = (self.pending.messages.first(), self.pending.messages.last()) {
            let (first, last) = (first.id, last.id);
            self.expire_rows(connection, &mut owners, &mut budget, first, last + 1, before)?;
        }
        if let Some(pending) = self.pending.expired.take() {
            expired = pending;
        }
        expired.add(before, if budget.is_spent() { budget.last } else { last_id });
        connection
            .prepare_cached("DELETE FROM jackdaw_archive_expired")?
            .execute([])?;
        for (before, up_to) in &expired.0 {
            connection
                .prepare_cached("INSERT INTO jackdaw_archive_expired VALUES (?1, ?2)")?
                .execute((before, up_to))?;
        }
        self.pending.expired = Some(expired);
        Ok(Swept {
            messages: budget.changed,
            more: budget.is_spent(),
        })
    }

    /// Looks only into blocks that can have messages from before this moment.
    fn expire_bucket(
        &mut self,
        connection: &Connection,
        owners: &mut Owners,
        budget: &mut Budget,
        bucket: i64,
        blocks: &[Span],
        before: i64,
    ) -> Result<(), Error> {
        for (at, block) in blocks.iter().enumerate() {
            if block.min < before {
                let from = self.cut.start(bucket) + at as i64 * self.cut.block_len();
                self.expire_rows(connection, owners, budget, from, from + self.cut.block_len(), before)?;
            }
        }
        Ok(())
    }

    fn expire_rows(
        &mut self,
        connection: &Connection,
        owners: &mut Owners,
        budget: &mut Budget,
        mut from: i64,
        to: i64,
        before: i64,
    ) -> Result<(), Error> {
        let sql = select_rows!("WHERE id >= ?1 AND id < ?2 AND at < ?3 AND places & 3 ORDER BY id LIMIT ?4");
        while !budget.is_spent() {
            let most = budget.left.min(budget.looks);
            let rows = rows(connection, sql, (from, to, before, most as i64))?;
            for row in &rows {
                budget.looks -= 1;
                budget.last = row.id;
                from = row.id + 1;
                // What is gone already is the sweeper's.
                if owners.is_archived(connection, row)? {
                    let archives = Places::SENT.and(Places::RECEIVED);
                    self.take_out(connection, owners, row, archives, Stays::Nothing)?;
                    budget.left -= 1;
                    budget.changed += 1;
                }
            }
            if rows.len() < most {
                break;
            }
        }
        Ok(())
    }

    /// Deletes what has no place left.
    pub(crate) fn sweep(&mut self, connection: &Connection, now: i64, most: usize) -> Result<Swept, Error> {
        let mut sweep = Sweep {
            stays: Stays::Fingerprint(now),
            left: most.min(EXPIRE_LIMIT),
            messages: 0,
            owners: Owners::default(),
            touched: BTreeSet::new(),
        };
        let sql = select_rows!("WHERE places = 0 AND at <= ?1 LIMIT ?2");
        let old = now.saturating_sub(FINGERPRINT_LIFETIME_MS);
        for row in rows(connection, sql, (old, sweep.left as i64))? {
            delete(connection, row.id)?;
            sweep.touched.insert(self.cut.of(row.id));
            sweep.left -= 1;
            sweep.messages += 1;
        }
        let mut is_done = true;
        while is_done
            && sweep.left > 0
            && let Some(owner) = to_sweep(connection)?
        {
            is_done = self.sweep_owner(connection, &mut sweep, &owner)?;
        }
        for bucket in std::mem::take(&mut sweep.touched) {
            if self.is_empty(connection, bucket)? {
                connection
                    .prepare_cached("UPDATE jackdaw_archive_buckets SET gone = ?2 WHERE bucket = ?1")?
                    .execute((bucket, DROP))?;
            }
        }
        while sweep.left > 0
            && let Some(bucket) = connection
                .prepare_cached("SELECT bucket FROM jackdaw_archive_buckets WHERE gone = 2 LIMIT 1")?
                .query_row([], |row| row.get(0))
                .optional()?
        {
            drop_bucket(connection, bucket, &mut sweep.left)?;
        }
        Ok(Swept {
            messages: sweep.messages,
            more: !is_done || sweep.left == 0,
        })
    }

    /// False: there is more of this owner.
    fn sweep_owner(&mut self, connection: &Connection, sweep: &mut Sweep, owner: &Owner) -> Result<bool, Error> {
        let sql = select_rows!("WHERE places = 4 AND recipient = ?1 AND id <= ?2 ORDER BY id LIMIT ?3");
        let params = (owner.number, owner.waiting_begins(), sweep.left as i64);
        for row in rows(connection, sql, params)? {
            self.sweep_row(connection, sweep, &row, Places::WAITING)?;
        }
        // What was deposited in the open transaction is not in the tail yet.
        let committed = self.pending.messages.first().map_or(i64::MAX, |first| first.id - 1);
        let up_to = owner.archive_begins().min(committed);
        let mut swept = owner.swept;
        if sweep.left > 0 {
            self.sweep_sealed(connection, sweep, owner, &mut swept, up_to)?;
        }
        if sweep.left > 0 {
            let ids = self.unsealed(owner.number, swept, up_to, sweep.left);
            for id in ids {
                self.sweep_entry(connection, sweep, owner, id)?;
                swept = id;
            }
        }
        let is_done = sweep.left > 0 && up_to == owner.archive_begins();
        if is_done {
            swept = swept.max(up_to);
            // An owner counts as a message, so that a step has an end.
            sweep.left -= 1;
        }
        connection
            .prepare_cached("UPDATE jackdaw_jids SET swept = ?2, to_sweep = ?3 WHERE id = ?1")?
            .execute((owner.number, swept, !is_done))?;
        self.pending.pruned.push(Pruned {
            owner: owner.number,
            up_to: swept,
            waiting_begins: owner.waiting_begins(),
        });
        Ok(is_done)
    }

    /// By the index of the sealed buckets, of which it deletes what names nothing any more.
    fn sweep_sealed(
        &mut self,
        connection: &Connection,
        sweep: &mut Sweep,
        owner: &Owner,
        swept: &mut i64,
        up_to: i64,
    ) -> Result<(), Error> {
        let sealed = self.index.read().sealed;
        let next = "SELECT bucket FROM jackdaw_archive_buckets WHERE bucket BETWEEN ?1 AND ?2 ORDER BY bucket LIMIT 1";
        while sweep.left > 0
            && *swept < up_to
            && let Some(bucket) = connection
                .prepare_cached(next)?
                .query_row(
                    (self.cut.of((*swept + 1).max(0)), self.cut.of(up_to).min(sealed - 1)),
                    |row| row.get::<_, i64>(0),
                )
                .optional()?
        {
            let last = self.cut.start(bucket + 1) - 1;
            let mut place = part_key(self.cut, owner.number, self.cut.start(bucket)) - 1;
            let last_place = part_key(self.cut, owner.number, last);
            while let Some((key, entries)) = part_behind(connection, place, last_place)? {
                place = key;
                let entries = unpack_entries(&entries, self.cut.start(bucket)).collect::<Option<Vec<Entry>>>();
                let entries = entries.ok_or_else(|| corrupt("a part of the archive's index"))?;
                for entry in &entries {
                    if *swept < entry.id && entry.id <= up_to {
                        if sweep.left == 0 {
                            return Ok(());
                        }
                        self.sweep_entry(connection, sweep, owner, entry.id)?;
                        *swept = entry.id;
                    }
                }
                let is_wanted = |entry: &Entry| {
                    entry.id > up_to || (entry.bits & WAITING != 0 && entry.id > owner.waiting_begins())
                };
                if !entries.iter().any(is_wanted) {
                    connection
                        .prepare_cached("DELETE FROM jackdaw_archive_postings WHERE place = ?1")?
                        .execute([key])?;
                }
            }
            *swept = (*swept).max(last.min(up_to));
            // Looking counts too: there may be many buckets in which the owner has nothing.
            sweep.left = sweep.left.saturating_sub(1);
        }
        Ok(())
    }

    /// Ids of an owner's messages that are not sealed, at most so many.
    fn unsealed(&self, owner: u32, after: i64, up_to: i64, most: usize) -> Vec<i64> {
        let tail = self.index.read();
        let owned = tail.buckets.values().filter_map(|bucket| bucket.owners.get(&owner));
        let ids = owned.flat_map(|owned| owned.entries.iter().map(|entry| entry.id));
        ids.filter(|id| after < *id && *id <= up_to).take(most).collect()
    }

    fn sweep_entry(&mut self, connection: &Connection, sweep: &mut Sweep, owner: &Owner, id: i64) -> Result<(), Error> {
        match Row::get(connection, id)? {
            Some(row) if !row.places.is_empty() => {
                self.sweep_row(connection, sweep, &row, row.archive_of(owner.number))
            }
            // Its other owner was swept first.
            _ => {
                sweep.left = sweep.left.saturating_sub(1);
                Ok(())
            }
        }
    }

    fn sweep_row(&mut self, connection: &Connection, sweep: &mut Sweep, row: &Row, from: Places) -> Result<(), Error> {
        if self.take_out(connection, &mut sweep.owners, row, from, sweep.stays)? {
            sweep.messages += 1;
            sweep.touched.insert(self.cut.of(row.id));
        }
        sweep.left = sweep.left.saturating_sub(1);
        Ok(())
    }

    fn is_empty(&self, connection: &Connection, bucket: i64) -> Result<bool, Error> {
        let mut statement =
            connection.prepare_cached("SELECT 1 FROM jackdaw_archive WHERE id >= ?1 AND id < ?2 LIMIT 1")?;
        Ok(!statement.exists((self.cut.start(bucket), self.cut.start(bucket + 1)))?)
    }
}

/// One step of the sweeper.
struct Sweep {
    stays: Stays,
    /// Messages, owners and buckets that may still be looked at.
    left: usize,
    messages: usize,
    owners: Owners,
    /// Buckets that may be empty now.
    touched: BTreeSet<i64>,
}

/// Of a bucket: all of it has left the archives by age; something may wait still.
const OLD: i64 = 1;
/// It has no messages; what stands beside them is to be deleted.
const DROP: i64 = 2;

fn rows(connection: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Row>, Error> {
    connection.prepare_cached(sql)?.query_map(params, Row::read)?.collect()
}

fn delete(connection: &Connection, id: i64) -> Result<(), Error> {
    connection
        .prepare_cached("DELETE FROM jackdaw_archive WHERE id = ?1")?
        .execute([id])
        .map(drop)
}

/// The next part of the index up to a key.
fn part_behind(connection: &Connection, place: i64, last: i64) -> Result<Option<(i64, Vec<u8>)>, Error> {
    let sql =
        "SELECT place, entries FROM jackdaw_archive_postings WHERE place > ?1 AND place <= ?2 ORDER BY place LIMIT 1";
    connection
        .prepare_cached(sql)?
        .query_row((place, last), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

/// The next sealed bucket that may have messages in archives from before this moment.
fn next_bucket(connection: &Connection, after: i64, before: i64) -> Result<Option<(i64, Vec<Span>)>, Error> {
    let sql = "SELECT bucket, blocks FROM jackdaw_archive_buckets
        WHERE bucket > ?1 AND first_at < ?2 AND gone = 0 ORDER BY bucket LIMIT 1";
    let found: Option<(i64, Vec<u8>)> = connection
        .prepare_cached(sql)?
        .query_row((after, before), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((bucket, blocks)) = found else { return Ok(None) };
    let blocks = unpack_spans(&blocks).ok_or_else(|| corrupt("the times of a bucket"))?;
    Ok(Some((bucket, blocks)))
}

/// A sealed bucket of which no message is left, as far as `left` goes.
fn drop_bucket(connection: &Connection, bucket: i64, left: &mut usize) -> Result<(), Error> {
    let tables = [
        (
            "DELETE FROM jackdaw_archive_postings WHERE place IN (
                SELECT place FROM jackdaw_archive_postings WHERE place >= ?1 AND place < ?2 LIMIT ?3)",
            (bucket_key(bucket), bucket_key(bucket + 1)),
        ),
        (
            "DELETE FROM jackdaw_archive_sizes WHERE place IN (
                SELECT place FROM jackdaw_archive_sizes WHERE place >= ?1 AND place < ?2 LIMIT ?3)",
            (size_key(bucket, 0), size_key(bucket + 1, 0)),
        ),
        (
            "DELETE FROM jackdaw_archive_fingerprints WHERE place IN (
                SELECT place FROM jackdaw_archive_fingerprints WHERE place >= ?1 AND place < ?2 LIMIT ?3)",
            (bucket << FINGERPRINT_PART_BITS, (bucket + 1) << FINGERPRINT_PART_BITS),
        ),
    ];
    for (sql, (from, to)) in tables {
        let deleted = connection.prepare_cached(sql)?.execute((from, to, *left as i64))?;
        *left -= deleted;
        if *left == 0 {
            return Ok(());
        }
    }
    *left -= 1;
    connection
        .prepare_cached("DELETE FROM jackdaw_archive_buckets WHERE bucket = ?1")?
        .execute([bucket])
        .map(drop)
}
