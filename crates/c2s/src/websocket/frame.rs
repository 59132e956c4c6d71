//! Frames (RFC 6455 section 5.2).

/// Close codes (section 7.4.1).
pub(crate) const NORMAL: u16 = 1000;
pub(crate) const PROTOCOL_ERROR: u16 = 1002;
pub(crate) const UNSUPPORTED: u16 = 1003;
pub(crate) const BAD_TEXT: u16 = 1007;
pub(crate) const TOO_BIG: u16 = 1009;

/// The most that a control frame may carry (section 5.5), in bytes.
pub(crate) const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn of(bits: u8) -> Option<Opcode> {
        use Opcode::*;
        let all = [Continuation, Text, Binary, Close, Ping, Pong];
        all.into_iter().find(|opcode| *opcode as u8 == bits)
    }

    pub(crate) fn is_control(self) -> bool {
        self as u8 >= Opcode::Close as u8
    }
}

/// The header of a client's frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) fin: bool,
    pub(crate) opcode: Opcode,
    pub(crate) key: [u8; 4],
    /// Its own length.
    pub(crate) head: usize,
    /// The length of what it carries.
    pub(crate) payload: usize,
}

/// Reads the header of a client's frame; None where more of it has to come. The error is the close code. What is
/// wrong is found with the first two bytes, so that nobody waits for the rest of it.
pub(crate) fn head(bytes: &[u8]) -> Result<Option<Head>, u16> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let fin = first & FIN != 0;
    let opcode = Opcode::of(first & 0x0f).ok_or(PROTOCOL_ERROR)?;
    let short = usize::from(second & !MASKED);
    // Sections 5.1, 5.2 and 5.5.
    let is_bad_control = opcode.is_control() && (!fin || short > MAX_CONTROL);
    if first & RESERVED != 0 || second & MASKED == 0 || is_bad_control {
        return Err(PROTOCOL_ERROR);
    }
    let (extended, least) = match short {
        126 => (2, 126),
        127 => (8, 1 << 16),
        _ => (0, 0),
    };
    let Some((length, rest)) = rest.split_at_checked(extended) else {
        return Ok(None);
    };
    let payload = match extended {
        0 => short as u64,
        _ => length.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    };
    // "The minimal number of bytes MUST be used"; "the most significant bit MUST be 0".
    if payload < least || payload >> 63 != 0 {
        return Err(PROTOCOL_ERROR);
    }
    let Some(key) = rest.first_chunk() else {
        return Ok(None);
    };
    Ok(Some(Head {
        fin,
        opcode,
        key: *key,
        head: 2 + extended + key.len(),
        // On a machine of 32 bits: too much either way.
        payload: usize::try_from(payload).unwrap_or(usize::MAX),
    }))
}

/// Section 5.3. Four bytes at a time are left to the compiler.
pub(crate) fn unmask(payload: &mut [u8], key: [u8; 4]) {
    let mut blocks = payload.chunks_exact_mut(4);
    for block in &mut blocks {
        for (byte, key) in block.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
    for (byte, key) in blocks.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// Writes the header of a whole message of ours.
pub(crate) fn begin(out: &mut Vec<u8>, opcode: Opcode, payload: usize) {
    out.push(FIN | opcode as u8);
    match payload {
        // Each is below what the cast cuts off.
        0..126 => out.push(payload as u8),
        126..0x1_0000 => {
            out.push(126);
            out.extend_from_slice(&(payload as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload as u64).to_be_bytes());
        }
    }
}

/// A close frame; code 0: without one.
pub(crate) fn close(out: &mut Vec<u8>, code: u16) {
    let payload = if code == 0 { &[][..] } else { &code.to_be_bytes()[..] };
    begin(out, Opcode::Close, payload.len());
    out.extend_from_slice(payload);
}

pub(crate) fn pong(out: &mut Vec<u8>, payload: &[u8]) {
    begin(out, Opcode::Pong, payload.len());
    out.extend_from_slice(payload);
}

/// Reads what a close frame carries (sections 5.5.1 and 7.4): its code, 0 for none.
pub(crate) fn close_code(payload: &[u8]) -> Result<u16, u16> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(0) } else { Err(PROTOCOL_ERROR) };
    };
    let code = u16::from_be_bytes(*code);
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 if std::str::from_utf8(reason).is_ok() => Ok(code),
        1000..=1003 | 1007..=1014 | 3000..=4999 => Err(BAD_TEXT),
        _ => Err(PROTOCOL_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<Option<(Opcode, bool, usize, usize)>, u16>) {
        let found = head(bytes).map(|head| head.map(|head| (head.opcode, head.fin, head.head, head.payload)));
        assert_eq!(found, expected, "{bytes:02x?}");
    }

    #[test]
    fn heads() {
        // Section 5.7, "a single-frame masked text message", and how it comes in pieces.
        let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d];
        for cut in 0..hello.len() {
            check(&hello[..cut], Ok(None));
        }
        check(&hello, Ok(Some((Opcode::Text, true, 6, 5))));
        check(&[0x01, 0x83, 0, 0, 0, 0], Ok(Some((Opcode::Text, false, 6, 3))));
        check(&[0x80, 0x80, 0, 0, 0, 0], Ok(Some((Opcode::Continuation, true, 6, 0))));
        check(
            &[0x82, 0xfe, 1, 0, 0, 0, 0, 0],
            Ok(Some((Opcode::Binary, true, 8, 256))),
        );
        let long = [0x81, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        check(&long, Ok(Some((Opcode::Text, true, 14, 65_536))));
        check(&[0x89, 0xfd, 0, 0, 0, 0], Ok(Some((Opcode::Ping, true, 6, 125))));
    }

    #[test]
    fn bad_heads() {
        for bytes in [
            // Not masked; reserved bits; opcodes that nobody has defined.
            &[0x81, 0x05][..],
            &[0xc1, 0x85],
            &[0xa1, 0x85],
            &[0x91, 0x85],
            &[0x83, 0x80],
            &[0x87, 0x80],
            &[0x8b, 0x80],
            &[0x8f, 0x80],
            // Control frames in parts, or too long.
            &[0x09, 0x80],
            &[0x08, 0x80],
            &[0x89, 0xfe],
            &[0x88, 0xff],
            // Lengths in more bytes than they need, or beyond 63 bits.
            &[0x81, 0xfe, 0, 125],
            &[0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
            &[0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0],
        ] {
            check(bytes, Err(PROTOCOL_ERROR));
        }
    }

    #[test]
    fn masks() {
        let mut hello = *b"\x7f\x9f\x4d\x51\x58";
        unmask(&mut hello, [0x37, 0xfa, 0x21, 0x3d]);
        assert_eq!(&hello, b"Hello");
    }

    #[test]
    fn close_codes() {
        let check = |payload: &[u8], expected| assert_eq!(close_code(payload), expected, "{payload:?}");
        check(b"", Ok(0));
        check(b"\x03\xe8", Ok(1000));
        check(b"\x03\xe9going away", Ok(1001));
        check(b"\x0b\xb8", Ok(3000));
        check(b"\x03", Err(PROTOCOL_ERROR));
        for code in [0u16, 999, 1004, 1005, 1006, 1015, 2999, 5000] {
            check(&code.to_be_bytes(), Err(PROTOCOL_ERROR));
        }
        check(b"\x03\xe8\xff", Err(BAD_TEXT));
    }

    #[test]
    fn lengths_are_minimal() {
        let check = |payload, expected: &[u8]| {
            let mut out = Vec::new();
            begin(&mut out, Opcode::Text, payload);
            assert_eq!(out, expected);
        };
        check(125, &[0x81, 125]);
        check(126, &[0x81, 126, 0, 126]);
        check(65_535, &[0x81, 126, 255, 255]);
        check(65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }
}
