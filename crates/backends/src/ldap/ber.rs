//! The encoding of LDAP, RFC 4511 section 5.1: BER with definite lengths. What is read comes from the network, in part
//! before TLS: nothing here takes a length on trust, goes into depth, or panics.

use std::io;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const OCTETS: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const SEQUENCE: u8 = 0x30;
/// The tag of another class or form: `[APPLICATION n]` of a sequence, `[n]` of octets, `[n]` of a sequence or a set.
pub(super) const fn application(number: u8) -> u8 {
    0x60 | number
}
pub(super) const fn context(number: u8) -> u8 {
    0x80 | number
}
pub(super) const fn context_of_many(number: u8) -> u8 {
    0xa0 | number
}

/// Tag, and a length of four bytes.
const HEADER_BYTES: usize = 6;
/// The low bits of a first byte behind which the number of the tag goes on; LDAP has none so high.
const LONG_TAG: u8 = 0x1f;
/// A length has at most so many bytes, as some directories write each.
const LENGTH_BYTES: usize = 4;

/// Begins an element whose length is not known yet: [`close`] tells it. Always with four bytes, so that nothing has to be
/// moved when it is: no copy of a password stays behind.
pub(super) fn open(out: &mut Vec<u8>, tag: u8) -> usize {
    let begin = out.len();
    out.extend_from_slice(&[tag, 0x80 | LENGTH_BYTES as u8, 0, 0, 0, 0]);
    begin
}

/// Ends the element that [`open`] began at this place.
pub(super) fn close(out: &mut [u8], begin: usize) {
    let content = begin + HEADER_BYTES;
    let length = u32::try_from(out.len() - content).unwrap_or(u32::MAX);
    out[content - LENGTH_BYTES..content].copy_from_slice(&length.to_be_bytes());
}

pub(super) fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    let begin = open(out, tag);
    out.extend_from_slice(content);
    close(out, begin);
}

/// Of a type that is counted in bytes or bits.
pub(super) fn put_number(out: &mut Vec<u8>, tag: u8, number: i32) {
    put(out, tag, &number.to_be_bytes());
}

pub(super) fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "what it says is not LDAP")
}

/// Tag, length of the header, length of the content. `None`: the header is not all there.
pub(super) fn header(bytes: &[u8]) -> io::Result<Option<(u8, usize, usize)>> {
    let (&tag, &first) = match bytes {
        [tag, first, ..] => (tag, first),
        _ => return Ok(None),
    };
    if tag & LONG_TAG == LONG_TAG {
        return Err(malformed());
    }
    if first & 0x80 == 0 {
        return Ok(Some((tag, 2, first.into())));
    }
    let count = usize::from(first & 0x7f);
    // None is the indefinite form.
    if count == 0 || count > LENGTH_BYTES {
        return Err(malformed());
    }
    let Some(length) = bytes.get(2..2 + count) else {
        return Ok(None);
    };
    let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
    Ok(Some((tag, 2 + count, length)))
}

/// The elements inside of one, one after the other.
pub(super) struct Elements<'a>(pub(super) &'a [u8]);

impl<'a> Elements<'a> {
    pub(super) fn next(&mut self) -> io::Result<(u8, &'a [u8])> {
        let (tag, begin, length) = header(self.0)?.ok_or_else(malformed)?;
        let end = begin.checked_add(length).ok_or_else(malformed)?;
        let content = self.0.get(begin..end).ok_or_else(malformed)?;
        self.0 = &self.0[end..];
        Ok((tag, content))
    }

    pub(super) fn expect(&mut self, wanted: u8) -> io::Result<&'a [u8]> {
        match self.next()? {
            (tag, content) if tag == wanted => Ok(content),
            _ => Err(malformed()),
        }
    }

    /// A number that is not negative, as all are that are read here.
    pub(super) fn number(&mut self, tag: u8) -> io::Result<u32> {
        let bytes = self.expect(tag)?;
        if bytes.is_empty() || bytes.len() > 4 || bytes[0] & 0x80 != 0 {
            return Err(malformed());
        }
        Ok(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        let sequence = open(&mut out, SEQUENCE);
        put_number(&mut out, INTEGER, 70_000);
        put(&mut out, OCTETS, &[7; 300]);
        close(&mut out, sequence);
        let mut outer = Elements(&out);
        let mut inner = Elements(outer.expect(SEQUENCE).expect("a sequence"));
        assert_eq!(inner.number(INTEGER).expect("a number"), 70_000);
        assert_eq!(inner.expect(OCTETS).expect("octets"), [7; 300]);
        assert!(inner.0.is_empty() && outer.0.is_empty());
        assert!(inner.next().is_err(), "nothing is there any more");
    }

    #[test]
    fn every_form_of_a_length_that_is_allowed_is_read() {
        let read = |bytes: &[u8]| header(bytes).ok();
        assert_eq!(read(&[]), Some(None));
        assert_eq!(read(&[0x30]), Some(None));
        assert_eq!(read(&[0x30, 5]), Some(Some((0x30, 2, 5))));
        assert_eq!(read(&[0x30, 0x82, 1]), Some(None));
        assert_eq!(read(&[0x30, 0x82, 1, 0]), Some(Some((0x30, 4, 256))));
        assert_eq!(read(&[0x30, 0x84, 0, 0, 0, 9]), Some(Some((0x30, 6, 9))));
        assert_eq!(read(&[0x30, 0x80]), None, "an indefinite length");
        assert_eq!(read(&[0x30, 0x85]), None, "a length of five bytes");
        assert_eq!(read(&[0x3f, 1]), None, "a long tag");
    }

    #[test]
    fn no_number_is_taken_that_is_none() {
        let number = |content: &[u8]| {
            let mut out = Vec::new();
            put(&mut out, ENUMERATED, content);
            Elements(&out).number(ENUMERATED).ok()
        };
        assert_eq!(number(&[49]), Some(49));
        assert_eq!(number(&[0, 0, 1, 0]), Some(256));
        for wrong in [&[][..], &[0xff], &[0, 0, 0, 0, 1]] {
            assert_eq!(number(wrong), None, "{wrong:?}");
        }
        assert!(Elements(&[INTEGER, 1, 5]).number(ENUMERATED).is_err());
    }

    /// Every beginning of a message, and every byte of it changed: an answer or an error.
    #[test]
    fn nothing_makes_it_panic() {
        let mut out = Vec::new();
        let sequence = open(&mut out, SEQUENCE);
        put_number(&mut out, INTEGER, 1);
        put(&mut out, application(1), &[ENUMERATED, 1, 49, OCTETS, 0, OCTETS, 0]);
        close(&mut out, sequence);
        let walk = |bytes: &[u8]| {
            let mut outer = Elements(bytes);
            while let Ok((_, content)) = outer.next() {
                let mut inner = Elements(content);
                while inner.next().is_ok() {}
            }
        };
        for end in 0..out.len() {
            walk(&out[..end]);
            for byte in 0..=255 {
                let mut changed = out.clone();
                changed[end] = byte;
                walk(&changed);
            }
        }
    }
}
