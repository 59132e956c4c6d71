//! The writer's side: the ops of a batch inside the open transaction, and what follows its end.
//!
//! What a transaction changes in memory is kept apart in [`Pending`] and reaches the tail only after the COMMIT.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Error, OptionalExtension};
use store::{Deposit, Deposited, EXPIRE_LIMIT, FINGERPRINT_LIFETIME_MS};

use super::codec::{bucket_key, pack_marks, unpack_spans};
use super::corrupt;
use super::dedupe::{Recent, hash};
use super::jids::Jids;
use super::seal::{FINGERPRINT_PART_BITS, Folding, Sealing};
use super::tail::{Buckets, Expired, Index, Marked, Message, Span};

/// After a failed transaction in which something was sealed, so many groups follow in which nothing is: the disk may be
/// full, and what is sent now goes first.
const PAUSE: u32 = 16;

pub(crate) struct Archiver {
    pub(super) index: Arc<Index>,
    pub(super) cut: Buckets,
    pub(super) jids: Jids,
    pub(super) recent: Recent,
    pub(super) pending: Pending,
    pub(super) sealing: Option<Sealing>,
    pub(super) folding: Option<Folding>,
    /// Marks of commits up to this one are folded, and out of the journal.
    pub(super) folded: i64,
    /// In so many groups nothing is sealed or folded.
    pub(super) pause: u32,
}

/// Of the open transaction.
#[derive(Default)]
pub(super) struct Pending {
    pub(super) messages: Vec<Message>,
    /// Of them, those with a fingerprint.
    hashes: HashMap<u64, i64>,
    pub(super) marks: Vec<(i64, Option<i64>)>,
    expired: Option<Expired>,
    /// The number of the commit, if it changes the tail.
    seq: Option<i64>,
    /// Something is sealed or folded in it.
    has_steps: bool,
}

/// Where a batch began, to go back to when it fails.
pub(crate) struct Point {
    messages: usize,
    marks: usize,
    jids: usize,
    expired: Option<Expired>,
}

impl Archiver {
    pub(crate) fn deposit(
        &mut self,
        connection: &Connection,
        deposit: &Deposit,
        last_id: &mut i64,
    ) -> Result<Deposited, Error> {
        let hash = deposit.fingerprint.map(hash);
        if let (Some(fingerprint), Some(hash)) = (deposit.fingerprint, hash)
            && let Some(id) = self.earlier(connection, fingerprint, hash, deposit.at)?
        {
            return Ok(Deposited { id, is_new: false });
        }
        let sender = self.jids.number(connection, &deposit.sender)?;
        let recipient = self.jids.number(connection, &deposit.recipient)?;
        *last_id += 1;
        let id = *last_id;
        let values = (
            id,
            deposit.at,
            sender,
            recipient,
            deposit.places.0,
            deposit.fingerprint.map(u128::to_le_bytes),
            &*deposit.stanza,
        );
        connection
            .prepare_cached("INSERT INTO jackdaw_archive VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(values)?;
        self.pending.messages.push(Message {
            id,
            at: deposit.at,
            sender,
            recipient,
            places: deposit.places,
            hash,
        });
        if let Some(hash) = hash {
            self.pending.hashes.insert(hash, id);
        }
        Ok(Deposited { id, is_new: true })
    }

    /// What the archive has of this message already. None also where the disk cannot tell.
    pub(crate) fn known(&self, connection: &Connection, deposit: &Deposit) -> Option<Deposited> {
        let fingerprint = deposit.fingerprint?;
        let found = self.earlier(connection, fingerprint, hash(fingerprint), deposit.at);
        let id = found.ok().flatten()?;
        Some(Deposited { id, is_new: false })
    }

    /// The message with this fingerprint, if it is there and was accepted in the last 24 hours.
    fn earlier(&self, connection: &Connection, fingerprint: u128, hash: u64, at: i64) -> Result<Option<i64>, Error> {
        let pending = self.pending.hashes.get(&hash).copied();
        let Some(id) = pending.or_else(|| self.recent.get(hash)) else {
            return Ok(None);
        };
        let earlier: Option<(i64, Option<[u8; 16]>)> = connection
            .prepare_cached("SELECT at, fingerprint FROM jackdaw_archive WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let is_duplicate = earlier.is_some_and(|(earlier, known)| {
            known == Some(fingerprint.to_le_bytes()) && at.saturating_sub(earlier) < FINGERPRINT_LIFETIME_MS
        });
        Ok(is_duplicate.then_some(id))
    }

    pub(crate) fn replace(&mut self, connection: &Connection, owner: &str, id: i64, stanza: &str) -> Result<(), Error> {
        let Some((owner, horizon)) = super::jids::known(connection, owner)? else {
            return Ok(());
        };
        if id <= horizon {
            return Ok(());
        }
        let sql = "UPDATE jackdaw_archive SET stanza = ?3
            WHERE id = ?1 AND ((sender = ?2 AND places & 1) OR (recipient = ?2 AND places & 2))";
        connection.prepare_cached(sql)?.execute((id, owner, stanza)).map(drop)
    }

    /// Who has no number has no messages either, and needs no horizon.
    pub(crate) fn set_horizon(&mut self, connection: &Connection, owner: &str, up_to: i64) -> Result<(), Error> {
        let sql = "UPDATE jackdaw_jids SET horizon = ?2 WHERE jid = ?1 AND horizon < ?2";
        connection.prepare_cached(sql)?.execute((owner, up_to)).map(drop)
    }

    pub(crate) fn mark(&mut self, key: i64, value: Option<i64>) {
        self.pending.marks.push((key, value));
    }

    pub(crate) fn expire(
        &mut self,
        connection: &Connection,
        before: i64,
        most: usize,
        last_id: i64,
    ) -> Result<(), Error> {
        let mut left = most.min(EXPIRE_LIMIT);
        if left == 0 {
            return Ok(());
        }
        let mut last_deleted = 0;
        let mut delete = |id: i64, left: &mut usize| -> Result<(), Error> {
            let mut statement = connection.prepare_cached("DELETE FROM jackdaw_archive WHERE id = ?1")?;
            if statement.execute([id])? > 0 {
                *left -= 1;
                last_deleted = id;
            }
            Ok(())
        };
        let (sealed, unsealed, mut expired) = {
            let tail = self.index.read();
            let blocks = |(bucket, content): (&i64, &super::tail::Bucket)| (*bucket, content.blocks.clone());
            let unsealed: Vec<_> = tail.buckets.iter().map(blocks).collect();
            (tail.sealed, unsealed, tail.expired.clone())
        };
        let mut bucket = -1;
        while left > 0
            && let Some((next, blocks)) = next_bucket(connection, bucket, before)?
        {
            bucket = next;
            if bucket >= sealed {
                break;
            }
            for id in ids_before(connection, self.cut, bucket, &blocks, before, left)? {
                delete(id, &mut left)?;
            }
            let all_of_it = blocks
                .iter()
                .all(|block| *block == Span::default() || block.max < before);
            if all_of_it && is_empty(connection, self.cut, bucket)? {
                drop_bucket(connection, bucket)?;
            }
        }
        for (bucket, blocks) in unsealed {
            if left > 0 {
                for id in ids_before(connection, self.cut, bucket, &blocks, before, left)? {
                    delete(id, &mut left)?;
                }
            }
        }
        for message in &self.pending.messages {
            if left > 0 && message.at < before {
                delete(message.id, &mut left)?;
            }
        }
        if let Some(pending) = self.pending.expired.take() {
            expired = pending;
        }
        expired.add(before, if left == 0 { last_deleted } else { last_id });
        connection
            .prepare_cached("DELETE FROM jackdaw_archive_expired")?
            .execute([])?;
        for (before, up_to) in &expired.0 {
            connection
                .prepare_cached("INSERT INTO jackdaw_archive_expired VALUES (?1, ?2)")?
                .execute((before, up_to))?;
        }
        self.pending.expired = Some(expired);
        Ok(())
    }

    pub(crate) fn point(&self) -> Point {
        Point {
            messages: self.pending.messages.len(),
            marks: self.pending.marks.len(),
            jids: self.jids.count_new(),
            expired: self.pending.expired.clone(),
        }
    }

    /// The batch that began there was rolled back.
    pub(crate) fn back_to(&mut self, point: Point) {
        let pending = &mut self.pending;
        if pending.messages.len() > point.messages {
            pending.messages.truncate(point.messages);
            let with_hash = pending
                .messages
                .iter()
                .filter_map(|message| Some((message.hash?, message.id)));
            pending.hashes = with_hash.collect();
        }
        pending.marks.truncate(point.marks);
        pending.expired = point.expired;
        self.jids.forget_new(point.jids);
    }

    /// Whether the last transaction that failed may have done so because of what was sealed in it.
    pub(crate) fn is_to_blame(&self) -> bool {
        self.pause == PAUSE
    }

    /// The last thing in a transaction: the row of the journal and, if `may_step`, a step of what is under way.
    pub(crate) fn before_commit(&mut self, connection: &Connection, may_step: bool) -> Result<(), Error> {
        if may_step && self.pause > 0 {
            self.pause -= 1;
        } else if may_step {
            // Noted first, for when one of them fails.
            self.pending.has_steps = true;
            let sealed = self.seal_step(connection)?;
            let folded = self.fold_step(connection)?;
            self.pending.has_steps = sealed || folded;
        }
        let pending = &mut self.pending;
        let changes = !pending.messages.is_empty() || !pending.marks.is_empty() || pending.expired.is_some();
        if changes || pending.has_steps {
            let seq = self.index.read().seq + 1;
            connection
                .prepare_cached("INSERT INTO jackdaw_journal VALUES (?1, ?2)")?
                .execute((seq, pack_marks(&pending.marks)))?;
            pending.seq = Some(seq);
        }
        Ok(())
    }

    /// Its gate is to be held over the COMMIT and [`committed`](Archiver::committed).
    pub(crate) fn index(&self) -> &Arc<Index> {
        &self.index
    }

    pub(crate) fn committed(&mut self) {
        self.jids.committed();
        let Some(seq) = self.pending.seq.take() else {
            return;
        };
        for message in &self.pending.messages {
            if let Some(hash) = message.hash {
                self.recent.insert(hash, message.id, message.at);
            }
        }
        let sealed = self.sealing.take_if(|sealing| sealing.committed());
        let folded = self.folding.take_if(|folding| folding.committed());
        let unneeded = {
            let mut tail = self.index.write();
            for message in &self.pending.messages {
                tail.add(message);
            }
            for (key, value) in &self.pending.marks {
                tail.marks.insert(*key, Marked { value: *value, seq });
            }
            if let Some(expired) = self.pending.expired.take() {
                tail.expired = expired;
            }
            if let Some(folding) = folded {
                tail.marks.retain(|_, marked| marked.seq > folding.up_to);
                self.folded = folding.up_to;
            }
            tail.seq = seq;
            sealed.and_then(|sealing| {
                tail.sealed = sealing.bucket + 1;
                tail.buckets.remove(&sealing.bucket)
            })
        };
        // Outside the lock: it is many small pieces.
        drop(unneeded);
        self.pending.clear();
    }

    /// The transaction was rolled back, wherever it was.
    pub(crate) fn rolled_back(&mut self) {
        if std::mem::take(&mut self.pending.has_steps) {
            self.pause = PAUSE;
        }
        self.jids.forget_new(0);
        if let Some(sealing) = &mut self.sealing {
            sealing.rolled_back();
        }
        if let Some(folding) = &mut self.folding {
            folding.rolled_back();
        }
        self.pending.clear();
    }
}

impl Pending {
    /// Keeps the memory.
    fn clear(&mut self) {
        self.messages.clear();
        self.hashes.clear();
        self.marks.clear();
        self.expired = None;
        self.seq = None;
        self.has_steps = false;
    }
}

/// The next sealed bucket that has messages from before this moment.
fn next_bucket(connection: &Connection, after: i64, before: i64) -> Result<Option<(i64, Vec<Span>)>, Error> {
    let sql = "SELECT bucket, blocks FROM jackdaw_archive_buckets
        WHERE bucket > ?1 AND first_at < ?2 ORDER BY bucket LIMIT 1";
    let found: Option<(i64, Vec<u8>)> = connection
        .prepare_cached(sql)?
        .query_row((after, before), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((bucket, blocks)) = found else { return Ok(None) };
    let blocks = unpack_spans(&blocks).ok_or_else(|| corrupt("the times of a bucket"))?;
    Ok(Some((bucket, blocks)))
}

/// Messages of a bucket that were accepted before this moment. Looks only into blocks that can have some.
fn ids_before(
    connection: &Connection,
    cut: Buckets,
    bucket: i64,
    blocks: &[Span],
    before: i64,
    most: usize,
) -> Result<Vec<i64>, Error> {
    let mut ids = Vec::new();
    let sql = "SELECT id FROM jackdaw_archive WHERE id >= ?1 AND id < ?2 AND at < ?3 ORDER BY id LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    for (at, block) in blocks.iter().enumerate() {
        if block.min < before && ids.len() < most {
            let from = cut.start(bucket) + at as i64 * cut.block_len();
            let params = (from, from + cut.block_len(), before, (most - ids.len()) as i64);
            for id in statement.query_map(params, |row| row.get(0))? {
                ids.push(id?);
            }
        }
    }
    Ok(ids)
}

fn is_empty(connection: &Connection, cut: Buckets, bucket: i64) -> Result<bool, Error> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM jackdaw_archive WHERE id >= ?1 AND id < ?2 LIMIT 1")?;
    Ok(!statement.exists((cut.start(bucket), cut.start(bucket + 1)))?)
}

/// A sealed bucket of which no message is left.
fn drop_bucket(connection: &Connection, bucket: i64) -> Result<(), Error> {
    connection
        .prepare_cached("DELETE FROM jackdaw_archive_postings WHERE place >= ?1 AND place < ?2")?
        .execute((bucket_key(bucket), bucket_key(bucket + 1)))?;
    connection
        .prepare_cached("DELETE FROM jackdaw_archive_fingerprints WHERE place >= ?1 AND place < ?2")?
        .execute((bucket << FINGERPRINT_PART_BITS, (bucket + 1) << FINGERPRINT_PART_BITS))?;
    connection
        .prepare_cached("DELETE FROM jackdaw_archive_buckets WHERE bucket = ?1")?
        .execute([bucket])
        .map(drop)
}
