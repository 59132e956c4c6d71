//! The writer's side: the ops of a batch inside the open transaction, and what follows its end.
//!
//! What a transaction changes in memory is kept apart in [`Pending`] and reaches the tail only after the COMMIT.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, Error, OptionalExtension};
use store::{Deposit, Deposited, FINGERPRINT_LIFETIME_MS};

use super::codec::pack_marks;
use super::dedupe::{Recent, hash};
use super::jids::Jids;
use super::retention::{Pruned, Row};
use super::seal::{Folding, Sealing, size_key};
use super::tail::{Buckets, Expired, Index, Marked, Message};

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
    pub(super) expired: Option<Expired>,
    /// By how many bytes archives have grown in a bucket.
    resized: Vec<(i64, u32, i64)>,
    /// What was swept.
    pub(super) pruned: Vec<Pruned>,
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
    resized: usize,
    pruned: usize,
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
            bytes: deposit.stanza.len() as u64,
        });
        if let Some(hash) = hash {
            self.pending.hashes.insert(hash, id);
        }
        Ok(Deposited { id, is_new: true })
    }

    /// What the archive has of this message already, for one that could not be written. Where the disk cannot even be
    /// read, the 64 bits in memory decide: that one in 2^64 others is taken for known is nothing against an error for
    /// what was delivered long ago (invariant I7).
    pub(crate) fn known(&self, connection: &Connection, deposit: &Deposit) -> Option<Deposited> {
        let fingerprint = deposit.fingerprint?;
        let hash = hash(fingerprint);
        let found = self.earlier(connection, fingerprint, hash, deposit.at);
        let id = found.unwrap_or_else(|_| self.recent.get(hash))?;
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
        let Some(owner) = super::jids::known(connection, owner)? else {
            return Ok(());
        };
        if id <= owner.archive_begins() {
            return Ok(());
        }
        let Some(row) = Row::get(connection, id)? else {
            return Ok(());
        };
        if row.archives().any(|archive| archive == owner.number) {
            connection
                .prepare_cached("UPDATE jackdaw_archive SET stanza = ?2 WHERE id = ?1")?
                .execute((id, stanza))?;
            for archive in row.archives() {
                self.resize(connection, id, archive, stanza.len() as i64 - row.bytes)?;
            }
        }
        Ok(())
    }

    /// An archive has more or less of this message than before.
    pub(super) fn resize(&mut self, connection: &Connection, id: i64, owner: u32, by: i64) -> Result<(), Error> {
        let bucket = self.cut.of(id);
        // No such row: the bucket is not sealed.
        connection
            .prepare_cached("UPDATE jackdaw_archive_sizes SET bytes = bytes + ?2 WHERE place = ?1")?
            .execute((size_key(bucket, owner), by))?;
        self.pending.resized.push((bucket, owner, by));
        Ok(())
    }

    pub(crate) fn mark(&mut self, key: i64, value: Option<i64>) {
        self.pending.marks.push((key, value));
    }

    pub(crate) fn point(&self) -> Point {
        Point {
            messages: self.pending.messages.len(),
            marks: self.pending.marks.len(),
            jids: self.jids.count_new(),
            resized: self.pending.resized.len(),
            pruned: self.pending.pruned.len(),
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
        pending.resized.truncate(point.resized);
        pending.pruned.truncate(point.pruned);
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
        let changes = !pending.messages.is_empty() || !pending.marks.is_empty() || pending.has_left();
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
            for (bucket, owner, by) in &self.pending.resized {
                tail.resize(*bucket, *owner, *by);
            }
            for pruned in &self.pending.pruned {
                tail.prune(pruned.owner, pruned.up_to, pruned.waiting_begins);
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
    /// Something has left the archive.
    fn has_left(&self) -> bool {
        self.expired.is_some() || !self.resized.is_empty() || !self.pruned.is_empty()
    }

    /// By how many bytes an archive has grown in a bucket.
    pub(super) fn resized(&self, bucket: i64, owner: u32) -> i64 {
        let of = self
            .resized
            .iter()
            .filter(|(of, who, _)| (*of, *who) == (bucket, owner));
        of.map(|(_, _, by)| by).sum()
    }

    /// Keeps the memory.
    fn clear(&mut self) {
        self.messages.clear();
        self.hashes.clear();
        self.marks.clear();
        self.expired = None;
        self.resized.clear();
        self.pruned.clear();
        self.seq = None;
        self.has_steps = false;
    }
}
