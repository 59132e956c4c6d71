//! Opening: what is not sealed, not folded and not older than a day is read into memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, Error};
use store::Places;

use super::codec::{bucket_key, unpack_hashes, unpack_marks};
use super::corrupt;
use super::dedupe::{Recent, hash};
use super::seal::{FINGERPRINT_PART_BITS, size_key};
use super::tail::{Buckets, Expired, Index, Marked, Message, Tail};
use super::write::Archiver;

pub(crate) struct Opened {
    pub(crate) archiver: Archiver,
    pub(crate) index: Arc<Index>,
    /// Made with the file; see [`Store::secret`](store::Store::secret).
    pub(crate) secret: [u8; 32],
}

/// `bucket_bits` counts for a file that is new.
pub(crate) fn open(connection: &mut Connection, bucket_bits: u32) -> Result<Opened, Error> {
    let transaction = connection.transaction()?;
    let (secret, sealed, mut bits): ([u8; 32], i64, u32) =
        transaction.query_row("SELECT secret, sealed, bucket_bits FROM jackdaw_state", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    if bits == 0 {
        let allowed = super::BUCKET_BITS_ALLOWED;
        bits = bucket_bits.clamp(*allowed.start(), *allowed.end());
        transaction.execute("UPDATE jackdaw_state SET bucket_bits = ?1", [bits])?;
    }
    // What was being sealed at the end begins anew.
    transaction.execute(
        "DELETE FROM jackdaw_archive_postings WHERE place >= ?1",
        [bucket_key(sealed)],
    )?;
    transaction.execute(
        "DELETE FROM jackdaw_archive_fingerprints WHERE place >= ?1",
        [sealed << FINGERPRINT_PART_BITS],
    )?;
    transaction.execute(
        "DELETE FROM jackdaw_archive_sizes WHERE place >= ?1",
        [size_key(sealed, 0)],
    )?;
    transaction.commit()?;

    let cut = Buckets { bits };
    let mut tail = Tail {
        cut,
        seq: 0,
        sealed,
        buckets: BTreeMap::new(),
        marks: Default::default(),
        expired: read_expired(connection)?,
    };
    let folded = read_journal(connection, &mut tail)?;
    let mut recent = read_fingerprints(connection, cut)?;
    read_messages(connection, &mut tail, &mut recent)?;
    let index = Arc::new(Index::new(tail));
    let archiver = Archiver {
        index: Arc::clone(&index),
        cut,
        jids: Default::default(),
        recent,
        pending: Default::default(),
        sealing: None,
        folding: None,
        folded,
        pause: 0,
    };
    Ok(Opened {
        archiver,
        index,
        secret,
    })
}

fn read_expired(connection: &Connection) -> Result<Expired, Error> {
    let mut expired = Expired::default();
    let mut statement = connection.prepare("SELECT before, up_to FROM jackdaw_archive_expired")?;
    for pair in statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))? {
        let (before, up_to) = pair?;
        expired.add(before, up_to);
    }
    Ok(expired)
}

/// Returns up to which commit the marks are folded.
fn read_journal(connection: &Connection, tail: &mut Tail) -> Result<i64, Error> {
    let mut folded = None;
    let mut statement = connection.prepare("SELECT seq, marks FROM jackdaw_journal ORDER BY seq")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let seq = row.get(0)?;
        let marks = row.get_ref(1)?.as_blob()?;
        for (key, value) in unpack_marks(marks).ok_or_else(|| corrupt("a row of the journal"))? {
            tail.marks.insert(key, Marked { value, seq });
        }
        folded.get_or_insert(seq - 1);
        tail.seq = seq;
    }
    Ok(folded.unwrap_or(0))
}

/// Those of sealed buckets.
fn read_fingerprints(connection: &Connection, cut: Buckets) -> Result<Recent, Error> {
    let mut recent = Recent::default();
    let sql = "SELECT f.place, f.hashes, b.last_at FROM jackdaw_archive_fingerprints f
        JOIN jackdaw_archive_buckets b ON b.bucket = f.place >> ?1 ORDER BY f.place";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([FINGERPRINT_PART_BITS])?;
    while let Some(row) = rows.next()? {
        let place: i64 = row.get(0)?;
        let (hashes, at) = (row.get_ref(1)?.as_blob()?, row.get(2)?);
        let start = cut.start(place >> FINGERPRINT_PART_BITS);
        for (hash, place) in unpack_hashes(hashes).ok_or_else(|| corrupt("a row of fingerprints"))? {
            recent.insert(hash, start + i64::from(place), at);
        }
    }
    Ok(recent)
}

fn read_messages(connection: &Connection, tail: &mut Tail, recent: &mut Recent) -> Result<(), Error> {
    let sql = "SELECT id, at, sender, recipient, places, fingerprint, octet_length(stanza) FROM jackdaw_archive
        WHERE id >= ?1 ORDER BY id";
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([tail.cut.start(tail.sealed)])?;
    while let Some(row) = rows.next()? {
        let fingerprint: Option<[u8; 16]> = row.get(5)?;
        let message = Message {
            id: row.get(0)?,
            at: row.get(1)?,
            sender: row.get(2)?,
            recipient: row.get(3)?,
            places: Places(row.get(4)?),
            hash: fingerprint.map(|bytes| hash(u128::from_le_bytes(bytes))),
            bytes: row.get::<_, i64>(6)?.unsigned_abs(),
        };
        tail.add(&message);
        if let Some(hash) = message.hash {
            recent.insert(hash, message.id, message.at);
        }
    }
    Ok(())
}
