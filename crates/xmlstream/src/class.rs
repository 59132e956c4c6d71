//! Character classes: one table for bytes, and the slower tests for what is not ASCII.

/// XML white space (XML 1.0 §2.3 `S`).
pub(crate) const SPACE: u8 = 1;
/// May stand in a name behind its first character. All bytes from 0x80 count, they are looked at afterwards.
pub(crate) const NAME: u8 = 2;
/// May begin a name.
pub(crate) const NAME_START: u8 = 4;
/// Not ASCII.
const HIGH: u8 = 8;
static CLASS: [u8; 256] = table();

const fn table() -> [u8; 256] {
    let mut t = [0u8; 256];
    let mut i = 0;
    while i < 256 {
        let c = i as u8;
        t[i] = match c {
            b' ' | b'\t' | b'\n' | b'\r' => SPACE,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => NAME | NAME_START,
            0x80..=0xff => NAME | NAME_START | HIGH,
            b'0'..=b'9' | b'-' | b'.' => NAME,
            _ => 0,
        };
        i += 1;
    }
    t
}

#[inline]
pub(crate) fn is(c: u8, class: u8) -> bool {
    CLASS[c as usize] & class != 0
}

/// How many bytes of `bytes` may stand in a name from its beginning, and whether any of them is not ASCII.
#[inline(always)]
pub(crate) fn name_run(bytes: &[u8]) -> (usize, bool) {
    let mut seen = 0;
    let mut in_name = |&c: &u8| {
        let class = CLASS[c as usize];
        seen |= class;
        class & NAME != 0
    };
    // In pieces of a constant length: most names end within the first, which is then read without a loop.
    let mut rest = bytes;
    while let Some((chunk, more)) = rest.split_first_chunk::<8>() {
        match chunk.iter().position(|c| !in_name(c)) {
            Some(place) => return (bytes.len() - rest.len() + place, seen & HIGH != 0),
            None => rest = more,
        }
    }
    let length = bytes.len() - rest.len() + rest.iter().take_while(|c| in_name(c)).count();
    (length, seen & HIGH != 0)
}

/// XML 1.0 §2.2 `Char`.
pub(crate) fn is_xml_char(c: char) -> bool {
    !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// XML 1.0 §2.3 `NameStartChar` without the colon (Namespaces §3 `NCName`), minus U+FDF0 to U+FFFD: widespread
/// parsers have that last range wrong, and a stanza must not end the stream of the one who receives it.
fn is_name_start(c: char) -> bool {
    matches!(c, 'a'..='z' | 'A'..='Z' | '_' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}'
        | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}' | '\u{200c}' | '\u{200d}' | '\u{2070}'..='\u{218f}'
        | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{10000}'..='\u{effff}')
}

fn is_name_char(c: char) -> bool {
    is_name_start(c) || matches!(c, '0'..='9' | '-' | '.' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}' | '\u{2040}')
}

/// Whether `name` is an NCName; the way taken when it has bytes that are not ASCII.
pub(crate) fn is_ncname(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    let mut chars = name.chars();
    chars.next().is_some_and(is_name_start) && chars.all(is_name_char)
}

/// Whether `bytes` are UTF-8 without U+FFFE and U+FFFF, or the beginning of it.
pub(crate) fn utf8_ok(bytes: &[u8]) -> bool {
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => bytes.len(),
        Err(e) if e.error_len().is_none() => e.valid_up_to(),
        Err(_) => return false,
    };
    !has_noncharacter(&bytes[..valid])
}

/// U+FFFE and U+FFFF are EF BF BE and EF BF BF.
pub(crate) fn has_noncharacter(bytes: &[u8]) -> bool {
    memchr::memchr_iter(0xef, bytes).any(|i| matches!(bytes[i..], [0xef, 0xbf, 0xbe | 0xbf, ..]))
}

/// How many bytes `bytes` begins with that are not below `low` and none of `stops`; `low` is at most 0x80.
///
/// Eight at a time: `(x - 1) & !x` has the top bit of a byte set if that byte of x is 0. A borrow can only make later
/// bytes look so, which the first one does not mind. Same for "below `low`".
#[inline(always)]
pub(crate) fn run<const N: usize>(bytes: &[u8], low: u8, stops: [u8; N]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let hits = |word: [u8; 8]| {
        let word = u64::from_le_bytes(word);
        let mut hits = word.wrapping_sub(ONES * u64::from(low)) & !word;
        for stop in stops {
            let x = word ^ (ONES * u64::from(stop));
            hits |= x.wrapping_sub(ONES) & !x;
        }
        hits & (ONES << 7)
    };
    let first = |word| hits(word).trailing_zeros() as usize / 8;
    let mut rest = bytes;
    while let Some((&word, more)) = rest.split_first_chunk() {
        if hits(word) != 0 {
            return bytes.len() - rest.len() + first(word);
        }
        rest = more;
    }
    match bytes.last_chunk() {
        // Once more some bytes that are no stops, with those left over behind them.
        Some(&word) => bytes.len() - 8 + first(word),
        None => {
            // Zero is below any `low`: behind the last byte the run ends.
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            first(word)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every byte at every place of a word and of what is left behind the last one.
    #[test]
    fn a_run_ends_at_its_first_stop() {
        for length in 0..=17 {
            for place in 0..length {
                for byte in 0..=255 {
                    for (low, stops) in [(b' ', *b"<&]"), (b'(', *b"<<<"), (1, [0x80, 0xef, 0xff])] {
                        for filler in [b'a', 0x7f] {
                            let mut bytes = vec![filler; length];
                            bytes[place] = byte;
                            let slow = bytes.iter().position(|&c| c < low || stops.contains(&c));
                            assert_eq!(
                                run(&bytes, low, stops),
                                slow.unwrap_or(length),
                                "{bytes:x?} {low} {stops:x?}"
                            );
                        }
                    }
                }
            }
        }
    }
}
