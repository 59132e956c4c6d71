//! How postings, marks and fingerprints are packed.
//!
//! Numbers are varints: seven bits a byte, the lowest first, the high bit where more follow. Signed ones are folded first
//! (0, -1, 1, -2 … become 0, 1, 2, 3 …).

use super::tail::{Buckets, Entry, Span};

/// The most bytes of a part: a row of the table must not spill into overflow pages, and three share a page.
const PART_BYTES: usize = 1_150;
/// The longest entry: three varints. So a full part has 37 entries or more.
const ENTRY_BYTES: usize = 30;

/// A key is the bucket, 28 bits for the owner, and 12 for the place in the bucket of the part's first entry, as far as
/// they go: the last bits of the place are left out. In a bucket of 2^17 ids that is 32 places for one key, and a part
/// covers more, so no two have the same.
const PART_BITS: u32 = 12;
const OWNER_SHIFT: u32 = PART_BITS;
const BUCKET_SHIFT: u32 = 40;

/// The key of the first row of postings of a bucket.
pub(super) fn bucket_key(bucket: i64) -> i64 {
    bucket << BUCKET_SHIFT
}

/// The key of a part that begins with this id.
pub(super) fn part_key(cut: Buckets, owner: u32, id: i64) -> i64 {
    let part = cut.place(id) >> cut.bits.saturating_sub(PART_BITS);
    bucket_key(cut.of(id)) | i64::from(owner) << OWNER_SHIFT | i64::from(part)
}

fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

#[inline]
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    // Most of them: a page of the archive has several hundred to read.
    if *first < 0x80 {
        *bytes = rest;
        return Some(u64::from(*first));
    }
    take_long(bytes)
}

fn take_long(bytes: &mut &[u8]) -> Option<u64> {
    let (mut number, mut shift) = (0, 0);
    while shift < u64::BITS {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(number);
        }
        shift += 7;
    }
    None
}

fn fold(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unfold(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// The postings of one owner in one bucket, ascending, in parts that can each be read alone. An entry is the distance
/// from the id before it (in the first one from the start of the bucket), that from the time before it (from 0), and
/// the number of the peer with the two bits. Each part comes with its first id.
pub(super) fn pack_entries(entries: &[Entry], bucket_start: i64) -> Vec<(i64, Vec<u8>)> {
    let mut parts: Vec<(i64, Vec<u8>)> = Vec::new();
    let (mut id, mut at) = (bucket_start, 0i64);
    for entry in entries {
        if parts
            .last()
            .is_none_or(|(_, part)| part.len() + ENTRY_BYTES > PART_BYTES)
        {
            parts.push((entry.id, Vec::new()));
            (id, at) = (bucket_start, 0);
        }
        let Some((_, part)) = parts.last_mut() else { continue };
        put(part, (entry.id - id) as u64);
        put(part, fold(entry.at.wrapping_sub(at)));
        put(part, u64::from(entry.peer) << 2 | u64::from(entry.bits));
        (id, at) = (entry.id, entry.at);
    }
    parts
}

/// The entries of one part, unpacked as they are asked for: who has a full page needs no more of them.
pub(super) fn unpack_entries(part: &[u8], bucket_start: i64) -> Entries<'_> {
    Entries {
        part,
        id: bucket_start,
        at: 0,
    }
}

/// See [`unpack_entries`]. An item of None: the part is damaged, and that is the last one.
pub(super) struct Entries<'a> {
    part: &'a [u8],
    id: i64,
    at: i64,
}

impl Entries<'_> {
    #[inline]
    fn take(&mut self) -> Option<Entry> {
        self.id = self.id.checked_add_unsigned(take(&mut self.part)?)?;
        self.at = self.at.wrapping_add(unfold(take(&mut self.part)?));
        let peer = take(&mut self.part)?;
        Some(Entry {
            id: self.id,
            at: self.at,
            peer: u32::try_from(peer >> 2).ok()?,
            bits: (peer & 3) as u8,
        })
    }
}

impl Iterator for Entries<'_> {
    type Item = Option<Entry>;

    #[inline]
    fn next(&mut self) -> Option<Option<Entry>> {
        if self.part.is_empty() {
            return None;
        }
        let entry = self.take();
        if entry.is_none() {
            self.part = &[];
        }
        Some(entry)
    }
}

/// The marks of one commit, in their order; `None` takes the mark away.
pub(super) fn pack_marks(marks: &[(i64, Option<i64>)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(marks.len() * 12);
    for (key, value) in marks {
        // Keys are chosen by chance, most likely: a varint would be longer.
        out.extend_from_slice(&key.to_le_bytes());
        out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            put(&mut out, fold(*value));
        }
    }
    out
}

/// None: they are damaged.
pub(super) fn unpack_marks(mut bytes: &[u8]) -> Option<Vec<(i64, Option<i64>)>> {
    let mut marks = Vec::new();
    while !bytes.is_empty() {
        let (key, rest) = bytes.split_first_chunk::<8>()?;
        let (is_set, rest) = rest.split_first()?;
        bytes = rest;
        let value = if *is_set == 1 {
            Some(unfold(take(&mut bytes)?))
        } else {
            None
        };
        marks.push((i64::from_le_bytes(*key), value));
    }
    Some(marks)
}

/// The least and the greatest time of each block of a bucket.
pub(super) fn pack_spans(spans: &[Span]) -> Vec<u8> {
    let times = spans.iter().flat_map(|span| [span.min, span.max]);
    times.flat_map(i64::to_le_bytes).collect()
}

/// None: they are damaged.
pub(super) fn unpack_spans(bytes: &[u8]) -> Option<Vec<Span>> {
    let (pairs, rest) = bytes.as_chunks::<16>();
    let span = |pair: &[u8; 16]| {
        let (min, max) = pair.split_at(8);
        Some(Span {
            min: i64::from_le_bytes(min.try_into().ok()?),
            max: i64::from_le_bytes(max.try_into().ok()?),
        })
    };
    rest.is_empty().then(|| pairs.iter().map(span).collect())?
}

/// Bytes of one fingerprint's hash with the place in the bucket.
const HASH_BYTES: usize = 12;

pub(super) fn pack_hashes(hashes: &[(u64, u32)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(hashes.len() * HASH_BYTES);
    for (hash, place) in hashes {
        out.extend_from_slice(&hash.to_le_bytes());
        out.extend_from_slice(&place.to_le_bytes());
    }
    out
}

/// None: they are damaged.
pub(super) fn unpack_hashes(bytes: &[u8]) -> Option<impl Iterator<Item = (u64, u32)>> {
    let (chunks, rest) = bytes.as_chunks::<HASH_BYTES>();
    let split = |chunk: &[u8; HASH_BYTES]| {
        let [a, b, c, d, e, f, g, h, place @ ..] = *chunk;
        (u64::from_le_bytes([a, b, c, d, e, f, g, h]), u32::from_le_bytes(place))
    };
    rest.is_empty().then(|| chunks.iter().map(split))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for number in [0, 1, -1, 63, 64, -65, 1 << 20, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            put(&mut out, fold(number));
            let mut rest = &*out;
            assert_eq!(take(&mut rest).map(unfold), Some(number));
            assert!(rest.is_empty() && out.len() <= ENTRY_BYTES / 3);
            assert_eq!(take(&mut &out[..out.len() - 1]), None);
        }
        assert_eq!(take(&mut [0xff; 11].as_slice()), None);
    }

    #[test]
    fn entries_come_back() {
        let start = 7 << 16;
        let entries: Vec<_> = (0..1_000i64)
            .map(|n| Entry {
                id: start + n * n % 60 + n * 60,
                at: [1_700_000_000_000 + n * 1_000, i64::MIN, i64::MAX][usize::from(n % 50 == 0) * (n % 3) as usize],
                peer: n as u32 * 268_000,
                bits: 1 + (n % 3) as u8,
            })
            .collect();
        let parts = pack_entries(&entries, start);
        assert!(parts.len() > 5 && parts.iter().all(|(_, part)| part.len() <= PART_BYTES));
        let unpack = |part: &[u8]| unpack_entries(part, start).collect::<Option<Vec<_>>>();
        let mut back = Vec::new();
        for (first, part) in &parts {
            let unpacked = unpack(part).expect("it was just packed");
            assert_eq!(unpacked[0].id, *first);
            back.extend(unpacked);
        }
        assert_eq!(back, entries);
        let (_, part) = &parts[0];
        assert_eq!(unpack(&part[..part.len() - 1]), None);
        assert_eq!(pack_entries(&[], start), []);
    }

    /// The longest entries there can be, of consecutive ids, in the largest bucket.
    #[test]
    fn keys_of_parts_differ() {
        let cut = Buckets {
            bits: *crate::archive::BUCKET_BITS_ALLOWED.end(),
        };
        let entry = |n: i64| Entry {
            id: cut.start(5) + n,
            at: [i64::MIN, i64::MAX / 2][(n % 2) as usize],
            peer: u32::MAX >> 4,
            bits: 3,
        };
        let entries: Vec<_> = (0..1 << cut.bits).map(entry).collect();
        let parts = pack_entries(&entries, cut.start(5));
        let keys: Vec<_> = parts.iter().map(|(first, _)| part_key(cut, 9, *first)).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(keys[0] >= part_key(cut, 9, cut.start(5)) && keys[keys.len() - 1] < part_key(cut, 10, cut.start(5)));
    }

    #[test]
    fn the_rest_comes_back() {
        let marks = [(i64::MIN, Some(3)), (5, None), (i64::MAX, Some(i64::MIN)), (5, Some(0))];
        let packed = pack_marks(&marks);
        assert_eq!(unpack_marks(&packed).as_deref(), Some(marks.as_slice()));
        assert_eq!(unpack_marks(&packed[..packed.len() - 1]), None);
        let spans = [Span::default(), Span { min: -1, max: 7 }];
        let packed = pack_spans(&spans);
        assert_eq!(unpack_spans(&packed).as_deref(), Some(spans.as_slice()));
        assert_eq!(unpack_spans(&packed[1..]), None);
        let hashes = [(u64::MAX, 1), (0, u32::MAX)];
        let packed = pack_hashes(&hashes);
        assert_eq!(unpack_hashes(&packed).map(Iterator::collect), Some(hashes.to_vec()));
        assert!(unpack_hashes(&packed[1..]).is_none());
    }
}
