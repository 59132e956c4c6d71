//! What features and the owner of an account share about the message archive (XEP-0313).

/// Whom an account archives messages with (XEP-0441 section 2): first the two lists, then the rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchivePrefs {
    pub default: ArchiveRule,
    /// Bare or full JIDs, as the account gave them; prepared.
    pub always: Vec<Box<str>>,
    pub never: Vec<Box<str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ArchiveRule {
    #[default]
    Always,
    Never,
    /// Only with contacts of the roster.
    Roster,
}

/// How the id of a message in the archive is shown: as opaque text. The number itself would tell how much the server
/// archives, so it is permuted with a key that stays the same as long as the store does.
#[derive(Clone, Copy)]
pub struct ArchiveIds {
    keys: [u32; ROUNDS],
}

/// Of a Feistel network; four make a permutation that looks random (Luby and Rackoff).
const ROUNDS: usize = 4;

impl ArchiveIds {
    /// `secret`: of the store.
    pub fn new(secret: &[u8; 32]) -> ArchiveIds {
        let (keys, _) = secret.as_chunks::<4>();
        ArchiveIds {
            keys: std::array::from_fn(|at| u32::from_le_bytes(keys[at])),
        }
    }

    /// 16 hexadecimal digits.
    pub fn show(&self, id: i64) -> String {
        let (mut left, mut right) = halves(id as u64);
        for key in self.keys {
            (left, right) = (right, left ^ round(right, key));
        }
        let shown = u64::from(left) << 32 | u64::from(right);
        // Without the formatter, as a page of the archive has many.
        let digit = |at: u32| char::from(b"0123456789abcdef"[(shown >> (60 - 4 * at) & 0xf) as usize]);
        (0..16).map(digit).collect()
    }

    /// None: no message was ever shown so.
    pub fn read(&self, shown: &str) -> Option<i64> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if shown.len() != 16 || !shown.bytes().all(is_digit) {
            return None;
        }
        let (mut left, mut right) = halves(u64::from_str_radix(shown, 16).ok()?);
        for key in self.keys.iter().rev() {
            (left, right) = (right ^ round(left, *key), left);
        }
        let id = (u64::from(left) << 32 | u64::from(right)) as i64;
        (id > 0).then_some(id)
    }
}

fn halves(value: u64) -> (u32, u32) {
    ((value >> 32) as u32, value as u32)
}

/// A mixer of our own, since what is shown must be read by every later build. It hides a rate, it guards nothing.
fn round(half: u32, key: u32) -> u32 {
    let mut mixed = (half ^ key).wrapping_mul(0x9e37_79b1);
    mixed ^= mixed >> 15;
    mixed = mixed.wrapping_mul(0x85eb_ca77).wrapping_add(key);
    mixed ^= mixed >> 13;
    mixed = mixed.wrapping_mul(0xc2b2_ae3d);
    mixed ^ (mixed >> 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shown_and_read() {
        let ids = ArchiveIds::new(&std::array::from_fn(|at| at as u8));
        let mut seen = std::collections::BTreeSet::new();
        for id in (1..2000).chain([1 << 31, 1 << 32, 1 << 40, i64::MAX]) {
            let shown = ids.show(id);
            assert_eq!(shown.len(), 16);
            assert_eq!(ids.read(&shown), Some(id));
            assert!(seen.insert(shown));
        }
        for wrong in [
            "",
            "0",
            "x",
            "123456789012345X",
            "123456789012345é",
            "+23456789abcdef0",
            "00112233445566778",
        ] {
            assert_eq!(ids.read(wrong), None, "{wrong}");
        }
    }
}
