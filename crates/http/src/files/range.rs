//! Which part of a file is wanted (RFC 9110 section 14).

/// What a `Range` comes to for a file of some length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    /// The first byte, and how many, at least one.
    Part(u64, u64),
    /// There is no such part.
    Nothing,
}

/// One part alone is given. Who asks for several, in another unit or in a form that is none gets the whole, as section
/// 14.2 lets us: several parts are how a small request makes a large answer.
pub(super) fn wanted(range: Option<&str>, length: u64) -> Wanted {
    let Some((unit, set)) = range.and_then(|range| range.split_once('=')) else {
        return Wanted::Whole;
    };
    let Some((first, last)) = set
        .trim()
        .split_once('-')
        .filter(|_| unit.eq_ignore_ascii_case("bytes"))
    else {
        return Wanted::Whole;
    };
    let (first, last) = match (number(first), number(last)) {
        (Some(first), Some(last)) => (first, last),
        _ => return Wanted::Whole,
    };
    match (first, last) {
        (None, None) => Wanted::Whole,
        (None, Some(0)) => Wanted::Nothing,
        (None, Some(_)) if length == 0 => Wanted::Nothing,
        (None, Some(count)) => {
            let count = count.min(length);
            Wanted::Part(length - count, count)
        }
        (Some(first), Some(last)) if last < first => Wanted::Whole,
        (Some(first), _) if first >= length => Wanted::Nothing,
        (Some(first), last) => {
            let last = last.unwrap_or(u64::MAX).min(length - 1);
            Wanted::Part(first, last - first + 1)
        }
    }
}

/// None: it is none. `Some(None)`: it is left out. A number that is too large is larger than every file.
fn number(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    let is_number = text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::Wanted::{Nothing, Part, Whole};
    use super::*;

    #[test]
    fn parts() {
        let check = |range: &str, expected| assert_eq!(wanted(Some(range), 10), expected, "{range}");
        assert_eq!(wanted(None, 10), Whole);
        check("bytes=0-9", Part(0, 10));
        check("bytes=0-0", Part(0, 1));
        check("bytes=3-", Part(3, 7));
        check("bytes=9-", Part(9, 1));
        check("bytes=-1", Part(9, 1));
        check("bytes=-10", Part(0, 10));
        check("bytes=-11", Part(0, 10));
        check("Bytes=2-99999999999999999999999", Part(2, 8));
        check("bytes= 2-3", Part(2, 2));
        check("bytes=10-", Nothing);
        check("bytes=10-20", Nothing);
        check("bytes=99999999999999999999999-", Nothing);
        check("bytes=-0", Nothing);
        for none in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=1-b",
            "bytes=1-2,4-5",
            "bytes=1-2,",
            "bytes=+1-2",
            "bytes=--1",
            "bytes=1--2",
            "lines=1-2",
            "bytes 1-2",
            "bytes=1",
            "bytes=0-0,0-0,0-0",
        ] {
            check(none, Whole);
        }
        assert_eq!(wanted(Some("bytes=-1"), 0), Nothing);
        assert_eq!(wanted(Some("bytes=0-"), 0), Nothing);
    }
}
