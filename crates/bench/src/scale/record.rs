//! The record layer of TLS 1.3 (RFC 8446 section 5), for clients whose handshake is done.
//!
//! A `ClientConnection` of rustls is some ten kilobytes; a million of them would not fit beside the server, and the
//! few that did would lie between its objects. What a session really needs is a key, an IV and a count for each
//! direction: rustls hands them out after the handshake, and here they are used.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use rustls::ConnectionTrafficSecrets;

use crate::Outcome;

/// Type, version and length.
const HEADER: usize = 5;
/// What the three algorithms append.
const TAG: usize = 16;
/// Plaintext of one record.
const MOST: usize = 16 * 1024;
const ALERT: u8 = 21;
const APPLICATION_DATA: u8 = 23;

/// One direction of a session.
pub(super) struct Half {
    key: [u8; 32],
    iv: [u8; 12],
    algorithm: Algorithm,
    count: u64,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Aes128,
    Aes256,
    ChaCha20,
}

/// A direction that is in use.
pub(super) struct Active {
    half: Half,
    key: LessSafeKey,
}

/// What a record held.
pub(super) enum Content<'a> {
    Data(&'a [u8]),
    /// Among these close_notify: nothing follows.
    Alert,
    /// A session ticket.
    Other,
}

impl Half {
    pub(super) fn new((count, secrets): (u64, ConnectionTrafficSecrets)) -> Outcome<Self> {
        let (algorithm, secret, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Algorithm::Aes128, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Algorithm::Aes256, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (Algorithm::ChaCha20, key, iv),
            _ => return Err("an unknown cipher".to_owned()),
        };
        let mut key = [0; 32];
        let length = secret.as_ref().len();
        key[..length].copy_from_slice(secret.as_ref());
        let iv = iv.as_ref().try_into().map_err(|_| "an IV that is not 12 bytes long")?;
        Ok(Self {
            key,
            iv,
            algorithm,
            count,
        })
    }

    /// So many records went by unread.
    pub(super) fn skip(&mut self, records: u64) {
        self.count += records;
    }

    pub(super) fn activate(self) -> Outcome<Active> {
        let algorithm = match self.algorithm {
            Algorithm::Aes128 => &AES_128_GCM,
            Algorithm::Aes256 => &AES_256_GCM,
            Algorithm::ChaCha20 => &CHACHA20_POLY1305,
        };
        let key = UnboundKey::new(algorithm, &self.key[..algorithm.key_len()]);
        Ok(Active {
            key: LessSafeKey::new(key.map_err(|_| "a key of the wrong length")?),
            half: self,
        })
    }
}

impl Active {
    pub(super) fn into_half(self) -> Half {
        self.half
    }

    /// Section 5.3: the IV with the record's number.
    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.half.iv;
        for (byte, other) in nonce[4..].iter_mut().zip(self.half.count.to_be_bytes()) {
            *byte ^= other;
        }
        self.half.count += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Appends the records of a text.
    pub(super) fn seal(&mut self, text: &[u8], out: &mut Vec<u8>) -> Outcome<()> {
        text.chunks(MOST)
            .try_for_each(|text| self.record(APPLICATION_DATA, text, out))
    }

    /// Appends close_notify (section 6.1).
    pub(super) fn seal_end(&mut self, out: &mut Vec<u8>) -> Outcome<()> {
        self.record(ALERT, &[1, 0], out)
    }

    fn record(&mut self, kind: u8, text: &[u8], out: &mut Vec<u8>) -> Outcome<()> {
        let start = out.len();
        let length = u16::try_from(text.len() + 1 + TAG).map_err(|_| "a record that is too long")?;
        out.extend_from_slice(&[APPLICATION_DATA, 3, 3]);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(text);
        out.push(kind);
        let nonce = self.nonce();
        let (header, text) = out[start..].split_at_mut(HEADER);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), text);
        out.extend_from_slice(tag.map_err(|_| "a record cannot be sealed")?.as_ref());
        Ok(())
    }

    /// Opens one whole record where it is.
    pub(super) fn open<'a>(&mut self, record: &'a mut [u8]) -> Outcome<Content<'a>> {
        let nonce = self.nonce();
        let (header, sealed) = record.split_at_mut(HEADER);
        let text = self.key.open_in_place(nonce, Aad::from(&*header), sealed);
        let text = text.map_err(|_| "a record does not fit its key")?;
        // Padding (section 5.4) is zeros behind the type.
        let end = text
            .iter()
            .rposition(|byte| *byte != 0)
            .ok_or("a record without a type")?;
        Ok(match text[end] {
            APPLICATION_DATA => Content::Data(&text[..end]),
            ALERT => Content::Alert,
            _ => Content::Other,
        })
    }
}

/// Bytes of the first record, header included, if it is whole.
pub(super) fn length(bytes: &[u8]) -> Option<usize> {
    let header: [u8; HEADER] = bytes.get(..HEADER)?.try_into().ok()?;
    let length = HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
    (bytes.len() >= length).then_some(length)
}

/// Counts the records of a stream, however it is cut, and keeps none of it.
#[derive(Default)]
pub(super) struct Counter {
    records: u32,
    /// Of the present record.
    left: u16,
    /// Bytes of the present header that have come, and the last two of it.
    came: u8,
    length: [u8; 2],
}

impl Counter {
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            if self.left > 0 {
                let count = bytes.len().min(usize::from(self.left));
                bytes = &bytes[count..];
                // It is no more than `left`.
                self.left -= count as u16;
                continue;
            }
            self.length = [self.length[1], first];
            self.came += 1;
            bytes = &bytes[1..];
            if usize::from(self.came) == HEADER {
                self.came = 0;
                self.left = u16::from_be_bytes(self.length);
                self.records += 1;
            }
        }
    }

    /// None within a record.
    pub(super) fn records(&self) -> Option<u64> {
        (self.left == 0 && self.came == 0).then_some(self.records.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half(algorithm: Algorithm) -> Half {
        Half {
            key: [7; 32],
            iv: [9; 12],
            algorithm,
            count: 3,
        }
    }

    #[test]
    fn what_is_sealed_is_opened_in_order() {
        for algorithm in [Algorithm::Aes128, Algorithm::Aes256, Algorithm::ChaCha20] {
            let active = || half(algorithm).activate().expect("a key");
            let (mut sender, mut receiver) = (active(), active());
            let (long, mut wire) = (vec![b'x'; MOST + 1], Vec::new());
            sender.seal(&long, &mut wire).expect("sealed");
            sender.seal_end(&mut wire).expect("sealed");
            let (mut came, mut ended) = (Vec::new(), false);
            let mut rest = &mut wire[..];
            while let Some(length) = length(rest) {
                let (record, behind) = std::mem::take(&mut rest).split_at_mut(length);
                rest = behind;
                match receiver.open(record).expect("opened") {
                    Content::Data(text) => came.extend_from_slice(text),
                    Content::Alert => ended = true,
                    Content::Other => panic!("nothing else was sealed"),
                }
            }
            assert!(ended && came == long && rest.is_empty());
        }
    }

    #[test]
    fn a_record_that_was_missed_is_noticed_unless_it_was_counted() {
        let mut sender = half(Algorithm::Aes128).activate().expect("a key");
        let (mut first, mut second) = (Vec::new(), Vec::new());
        sender.seal(b"one", &mut first).expect("sealed");
        sender.seal(b"two", &mut second).expect("sealed");
        let mut receiver = half(Algorithm::Aes128).activate().expect("a key");
        assert!(receiver.open(&mut second.clone()).is_err());
        let mut counter = Counter::default();
        counter.feed(&first);
        let mut skipping = half(Algorithm::Aes128);
        skipping.skip(counter.records().expect("whole"));
        let opened = skipping
            .activate()
            .expect("a key")
            .open(&mut second)
            .map(|content| match content {
                Content::Data(text) => text.to_vec(),
                _ => Vec::new(),
            });
        assert_eq!(opened.as_deref(), Ok(&b"two"[..]));
    }

    #[test]
    fn records_are_counted_whatever_the_cut() {
        let stream: Vec<u8> = [1_usize, 300, 70]
            .iter()
            .flat_map(|&count| [vec![23, 3, 3, (count >> 8) as u8, count as u8], vec![255; count]].concat())
            .collect();
        for cut in 1..stream.len() {
            let mut counter = Counter::default();
            for piece in stream.chunks(cut) {
                counter.feed(piece);
            }
            assert_eq!(counter.records(), Some(3), "cut {cut}");
            counter.feed(&stream[..6]);
            assert_eq!(counter.records(), Some(4), "the first is one byte long");
            counter.feed(&stream[..3]);
            assert_eq!(counter.records(), None);
        }
    }
}
