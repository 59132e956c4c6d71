//! What may stand before a stream header: a byte order mark and an XML declaration.

use crate::limits::XmlError;

/// Longest XML declaration read; it has three attributes of a few bytes each.
const MAX_DECLARATION: usize = 256;

pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// The first bytes of a stream that cannot be UTF-8: those of UTF-16 and UTF-32 with or without a mark
/// (XML 1.0 appendix F).
pub(crate) fn other_encoding(input: &[u8]) -> bool {
    matches!(input, [0xfe | 0xff | 0, ..] | [b'<', 0, ..])
}

/// Reads the XML declaration (XML 1.0 §2.8 `XMLDecl`) that `input` begins with, from its `<?` on. Returns its length,
/// or `None` if more is needed. `standalone` is looked at and ignored (RFC 6120 §11.5).
pub(crate) fn declaration(input: &[u8]) -> Result<Option<usize>, XmlError> {
    const OPENING: &[u8] = b"<?xml";
    let known = input.len().min(OPENING.len());
    if input[..known] != OPENING[..known] {
        return Err(XmlError::RestrictedXml);
    }
    match input.get(OPENING.len()) {
        None => return Ok(None),
        Some(c) if !c.is_ascii_whitespace() => return Err(XmlError::RestrictedXml),
        Some(_) => {}
    }
    let head = &input[..input.len().min(MAX_DECLARATION)];
    let Some(end) = memchr::memmem::find(head, b"?>") else {
        return if head.len() == MAX_DECLARATION {
            Err(XmlError::TooLong)
        } else {
            Ok(None)
        };
    };
    let text = std::str::from_utf8(&head[OPENING.len()..end]).map_err(|_| XmlError::NotWellFormed)?;
    let mut rest = text;
    let version = pseudo_attribute(&mut rest, "version")?.ok_or(XmlError::NotWellFormed)?;
    if version != "1.0" {
        return Err(if version.starts_with("1.") {
            XmlError::RestrictedXml
        } else {
            XmlError::NotWellFormed
        });
    }
    if let Some(encoding) = pseudo_attribute(&mut rest, "encoding")?
        && !encoding.eq_ignore_ascii_case("utf-8")
    {
        return Err(XmlError::UnsupportedEncoding);
    }
    if let Some(standalone) = pseudo_attribute(&mut rest, "standalone")?
        && !matches!(standalone, "yes" | "no")
    {
        return Err(XmlError::NotWellFormed);
    }
    if !rest.trim_ascii().is_empty() {
        return Err(XmlError::NotWellFormed);
    }
    Ok(Some(end + 2))
}

/// Takes ` name = 'value'` off the front of `rest` if it is there.
fn pseudo_attribute<'t>(rest: &mut &'t str, name: &str) -> Result<Option<&'t str>, XmlError> {
    let trimmed = rest.trim_ascii_start();
    let Some(after) = trimmed.strip_prefix(name) else {
        return Ok(None);
    };
    if trimmed.len() == rest.len() {
        return Err(XmlError::NotWellFormed);
    }
    let value = after
        .trim_ascii_start()
        .strip_prefix('=')
        .ok_or(XmlError::NotWellFormed)?
        .trim_ascii_start();
    let quote = value
        .chars()
        .next()
        .filter(|c| matches!(c, '\'' | '"'))
        .ok_or(XmlError::NotWellFormed)?;
    let (value, after) = value[1..].split_once(quote).ok_or(XmlError::NotWellFormed)?;
    *rest = after;
    Ok(Some(value))
}
