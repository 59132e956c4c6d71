//! Sealing a bucket and folding the marks, a step in each commit: in one transaction it would hold up everybody for tens
//! of milliseconds.
//!
//! A step is written in a transaction and counts only after its COMMIT. What a crash leaves half-sealed is deleted when
//! the file is opened, and folded marks are in the journal still: both begin anew.

use rusqlite::{Connection, Error};

use super::codec::{pack_entries, pack_hashes, pack_spans, part_key};
use super::tail::{Bucket, Span};
use super::write::Archiver;

/// Postings in one step: five for each message of the commit, which adds two, so that a bucket is sealed long before the
/// next one is full; and a few in any case. One owner's are written together.
const STEP_FOR_EACH: usize = 5;
const STEP_AT_LEAST: usize = 32;

/// Fingerprints in one row.
const FINGERPRINTS: usize = 2_048;
/// So many fingerprints are counted as one posting in a step: a row of them is one write.
const FINGERPRINTS_AS_POSTINGS: usize = 4;
/// The key of such a row: the bucket, and so many bits for the part. 256 parts are enough for 2^17 ids.
pub(super) const FINGERPRINT_PART_BITS: u32 = 8;

/// The key of the size of what an owner has in a bucket: numbers of JIDs have so many bits.
const SIZE_OWNER_BITS: u32 = 28;
pub(super) fn size_key(bucket: i64, owner: u32) -> i64 {
    bucket << SIZE_OWNER_BITS | i64::from(owner)
}

/// Marks are folded when the journal has one commit for so many ids of a bucket (4,096 commits, but for tests), or the
/// tail so many marks (some 3 MB).
const IDS_FOR_EACH_COMMIT_BITS: u32 = 4;
const FOLD_MARKS: usize = 65_536;
/// Marks folded in one step: four for each that the commit adds, and a few in any case.
const FOLD_FOR_EACH: usize = 4;
const FOLD_AT_LEAST: usize = 64;

pub(super) struct Sealing {
    pub(super) bucket: i64,
    /// Ascending, as the rows are.
    owners: Vec<u32>,
    done: Progress,
    /// With the open transaction.
    staged: Progress,
}

#[derive(Clone, Copy, Default)]
struct Progress {
    owners: usize,
    hashes: usize,
    sealed: bool,
}

impl Sealing {
    fn new(bucket: i64, content: &Bucket) -> Sealing {
        let mut owners: Vec<u32> = content.owners.keys().copied().collect();
        owners.sort_unstable();
        Sealing {
            bucket,
            owners,
            done: Progress::default(),
            staged: Progress::default(),
        }
    }

    /// True if the bucket is sealed now.
    pub(super) fn committed(&mut self) -> bool {
        self.done = self.staged;
        self.done.sealed
    }

    pub(super) fn rolled_back(&mut self) {
        self.staged = self.done;
    }
}

pub(super) struct Folding {
    /// Ascending, as the rows are.
    keys: Vec<i64>,
    /// Marks of commits up to this one are folded when it is done.
    pub(super) up_to: i64,
    done: usize,
    staged: usize,
}

impl Folding {
    /// True if all are folded now.
    pub(super) fn committed(&mut self) -> bool {
        self.done = self.staged;
        self.done > self.keys.len()
    }

    pub(super) fn rolled_back(&mut self) {
        self.staged = self.done;
    }
}

impl Archiver {
    /// True if anything was written.
    pub(super) fn seal_step(&mut self, connection: &Connection) -> Result<bool, Error> {
        let tail = self.index.read();
        // The last one still grows.
        let mut buckets = tail.buckets.iter();
        let (Some((bucket, content)), Some(_)) = (buckets.next(), buckets.next()) else {
            return Ok(false);
        };
        let sealing = self.sealing.get_or_insert_with(|| Sealing::new(*bucket, content));
        let mut left = STEP_AT_LEAST.max(STEP_FOR_EACH * self.pending.messages.len());
        let next = &mut sealing.staged;
        while left > 0 && next.owners < sealing.owners.len() {
            let owner = sealing.owners[next.owners];
            let owned = content.owners.get(&owner);
            let entries = owned.map_or(&[][..], |owned| &owned.entries);
            for (first, part) in pack_entries(entries, self.cut.start(*bucket)) {
                connection
                    .prepare_cached("INSERT INTO jackdaw_archive_postings VALUES (?1, ?2)")?
                    .execute((part_key(self.cut, owner, first), part))?;
            }
            let changed: i64 = self.pending.resized(*bucket, owner);
            let bytes = owned.map_or(0, |owned| owned.bytes).saturating_add_signed(changed);
            if bytes > 0 {
                connection
                    .prepare_cached("INSERT INTO jackdaw_archive_sizes VALUES (?1, ?2)")?
                    .execute((size_key(*bucket, owner), bytes as i64))?;
            }
            left = left.saturating_sub(entries.len());
            next.owners += 1;
        }
        while left > 0
            && let Some(part) = content.hashes.chunks(FINGERPRINTS).nth(next.hashes)
        {
            connection
                .prepare_cached("INSERT INTO jackdaw_archive_fingerprints VALUES (?1, ?2)")?
                .execute((bucket << FINGERPRINT_PART_BITS | next.hashes as i64, pack_hashes(part)))?;
            left = left.saturating_sub(part.len().div_ceil(FINGERPRINTS_AS_POSTINGS));
            next.hashes += 1;
        }
        if left == 0 {
            return Ok(true);
        }
        let span = content.blocks.iter().copied().fold(Span::default(), Span::with);
        connection
            .prepare_cached(
                "INSERT INTO jackdaw_archive_buckets (bucket, first_at, last_at, blocks) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((bucket, span.min, span.max, pack_spans(&content.blocks)))?;
        connection
            .prepare_cached("UPDATE jackdaw_state SET sealed = ?1")?
            .execute([bucket + 1])?;
        // Fingerprints that the memory has let go of will not be wanted after a restart.
        if let Some(first) = self.recent.first_id() {
            connection
                .prepare_cached("DELETE FROM jackdaw_archive_fingerprints WHERE place < ?1")?
                .execute([self.cut.of(first) << FINGERPRINT_PART_BITS])?;
        }
        next.sealed = true;
        Ok(true)
    }

    /// True if anything was written.
    pub(super) fn fold_step(&mut self, connection: &Connection) -> Result<bool, Error> {
        let tail = self.index.read();
        let fold_after = 1 << self.cut.bits.saturating_sub(IDS_FOR_EACH_COMMIT_BITS);
        let folding = match &mut self.folding {
            Some(folding) => folding,
            None if tail.seq - self.folded >= fold_after || tail.marks.len() >= FOLD_MARKS => {
                let mut keys: Vec<i64> = tail.marks.keys().copied().collect();
                keys.sort_unstable();
                self.folding.insert(Folding {
                    keys,
                    up_to: tail.seq,
                    done: 0,
                    staged: 0,
                })
            }
            None => return Ok(false),
        };
        let step = FOLD_AT_LEAST.max(FOLD_FOR_EACH * self.pending.marks.len());
        for key in folding.keys.iter().skip(folding.staged).take(step) {
            match tail.marks.get(key).and_then(|marked| marked.value) {
                Some(value) => connection
                    .prepare_cached("INSERT OR REPLACE INTO jackdaw_marks VALUES (?1, ?2)")?
                    .execute((key, value))?,
                None => connection
                    .prepare_cached("DELETE FROM jackdaw_marks WHERE key = ?1")?
                    .execute([key])?,
            };
        }
        if folding.staged < folding.keys.len() {
            folding.staged = folding.keys.len().min(folding.staged + step);
        } else {
            // The row of this commit has a higher number: the journal always names the last one.
            connection
                .prepare_cached("DELETE FROM jackdaw_journal WHERE seq <= ?1")?
                .execute([folding.up_to])?;
            folding.staged = folding.keys.len() + 1;
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step that was rolled back is done again.
    #[test]
    fn a_fold_that_fails_begins_where_it_was() {
        let mut connection = Connection::open_in_memory().expect("memory is there");
        crate::schema::migrate(&mut connection, crate::schema::MIGRATIONS).expect("the steps are right");
        let mut archiver = crate::archive::open(&mut connection, 4)
            .expect("the file is new")
            .archiver;
        let transaction = |archiver: &mut Archiver, marks: std::ops::Range<i64>, is_kept: bool| {
            connection.execute_batch("BEGIN").expect("none is open");
            for key in marks {
                archiver.mark(key, Some(-key));
            }
            archiver.before_commit(&connection, true).expect("there is room");
            if is_kept {
                connection.execute_batch("COMMIT").expect("there is room");
                archiver.committed();
            } else {
                connection.execute_batch("ROLLBACK").expect("one is open");
                archiver.rolled_back();
                archiver.pause = 0;
            }
        };
        transaction(&mut archiver, 0..200, true);
        for round in 0..10 {
            transaction(&mut archiver, 0..0, round % 2 == 1);
        }
        assert!(archiver.folded > 0, "all are folded");
        let folded: (i64, i64) = connection
            .query_row("SELECT count(*), sum(value) FROM jackdaw_marks", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .expect("the table is there");
        assert_eq!(folded, (200, -199 * 100));
        assert!(archiver.index.read().marks.is_empty());
    }
}
