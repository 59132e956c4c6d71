//! Escaping and its reverse. The reverse also does the normalisation XML asks of a reader: line ends (XML 1.0 §2.11)
//! and white space in attribute values (§3.3.3).

use std::borrow::Cow;

/// Writes `s` as character data. `\r` becomes a reference, or it would be read back as `\n`; characters that XML
/// cannot carry become U+FFFD.
pub fn escape_text(out: &mut Vec<u8>, s: &str) {
    escape(out, s, |c| match c {
        b'&' => "&amp;",
        b'<' => "&lt;",
        b'>' => "&gt;",
        b'\r' => "&#xD;",
        _ => "",
    });
}

/// Writes `s` as it may stand between quotes of either kind.
pub fn escape_attr(out: &mut Vec<u8>, s: &str) {
    escape(out, s, |c| match c {
        b'&' => "&amp;",
        b'<' => "&lt;",
        b'>' => "&gt;",
        b'\'' => "&apos;",
        b'"' => "&quot;",
        b'\t' => "&#x9;",
        b'\n' => "&#xA;",
        b'\r' => "&#xD;",
        _ => "",
    });
}

fn escape(out: &mut Vec<u8>, s: &str, replacement: impl Fn(u8) -> &'static str) {
    let bytes = s.as_bytes();
    let mut from = 0;
    let mut i = 0;
    while i < bytes.len() {
        let (new, width) = match bytes[i] {
            b'\t' | b'\n' | b'\r' | b'"'..=b'>' => (replacement(bytes[i]), 1),
            0..=0x1f => ("\u{fffd}", 1),
            0xef if matches!(bytes[i..], [_, 0xbf, 0xbe | 0xbf, ..]) => ("\u{fffd}", 3),
            _ => ("", 1),
        };
        if !new.is_empty() {
            out.extend_from_slice(&bytes[from..i]);
            out.extend_from_slice(new.as_bytes());
            from = i + width;
        }
        i += width;
    }
    out.extend_from_slice(&bytes[from..]);
}

/// The characters that escaped, checked character data stands for.
pub fn unescape_text(raw: &str) -> Cow<'_, str> {
    if memchr::memchr2(b'&', b'\r', raw.as_bytes()).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    push_unescaped(&mut out, raw, false);
    Cow::Owned(out)
}

/// The value that an escaped, checked attribute value stands for.
pub fn unescape_attr(raw: &str) -> Cow<'_, str> {
    if !raw.bytes().any(|c| matches!(c, b'&' | b'\t' | b'\n' | b'\r')) {
        return Cow::Borrowed(raw);
    }
    let mut out = String::with_capacity(raw.len());
    push_unescaped(&mut out, raw, true);
    Cow::Owned(out)
}

/// Appends character data of a CDATA section: only line ends change.
pub(crate) fn push_cdata(out: &mut String, raw: &str) {
    for (i, line) in raw.split('\r').enumerate() {
        if i > 0 {
            out.push('\n');
        }
        out.push_str(if i > 0 {
            line.strip_prefix('\n').unwrap_or(line)
        } else {
            line
        });
    }
}

pub(crate) fn push_unescaped(out: &mut String, raw: &str, attribute: bool) {
    let mut rest = raw;
    while let Some(i) = rest
        .bytes()
        .position(|c| matches!(c, b'&' | b'\r') || attribute && matches!(c, b'\t' | b'\n'))
    {
        out.push_str(&rest[..i]);
        let special = rest.as_bytes()[i];
        rest = &rest[i + 1..];
        match special {
            b'&' => match rest.split_once(';') {
                Some((name, after)) => {
                    out.push(reference(name).unwrap_or('\u{fffd}'));
                    rest = after;
                }
                None => out.push('&'),
            },
            b'\r' => {
                rest = rest.strip_prefix('\n').unwrap_or(rest);
                out.push(if attribute { ' ' } else { '\n' });
            }
            _ => out.push(' '),
        }
    }
    out.push_str(rest);
}

fn reference(name: &str) -> Option<char> {
    match name {
        "lt" => Some('<'),
        "gt" => Some('>'),
        "amp" => Some('&'),
        "apos" => Some('\''),
        "quot" => Some('"'),
        _ => {
            let digits = name.strip_prefix('#')?;
            let code = match digits.strip_prefix('x') {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => digits.parse(),
            };
            char::from_u32(code.ok()?)
        }
    }
}
