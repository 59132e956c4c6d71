//! What a client may call a file, and its type. Neither ever names anything on a disk: both come back in a URL and in
//! headers, and end as a file of somebody else's computer.

/// Bytes of a name: more than file systems take.
pub const NAME_BYTES: usize = 255;

/// Bytes of a type.
pub const KIND_BYTES: usize = 127;

/// Whether it may be the name of a file: one name and no path, without control characters, and without those that show
/// it in another order than it has (`gpj.exe` as `exe.jpg`).
pub fn is_name(name: &str) -> bool {
    let is_wrong = |c: char| {
        c.is_control()
            || matches!(c, '/' | '\\' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}')
    };
    (1..=NAME_BYTES).contains(&name.len()) && !name.trim().trim_matches('.').is_empty() && !name.contains(is_wrong)
}

/// Whether it is a media type, with or without parameters (RFC 9110 section 8.3.1).
pub fn is_kind(kind: &str) -> bool {
    let mut parts = kind.split(';');
    let essence = parts.next().unwrap_or_default().trim_end();
    let is_essence = essence
        .split_once('/')
        .is_some_and(|(one, other)| is_token(one) && is_token(other));
    let is_parameter = |parameter: &str| {
        let pair = parameter.trim_matches([' ', '\t']).split_once('=');
        pair.is_some_and(|(name, value)| is_token(name) && (is_token(value) || is_quoted(value)))
    };
    kind.len() <= KIND_BYTES && is_essence && parts.all(is_parameter)
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_in = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_in)
}

/// In quotation marks, and plain within.
fn is_quoted(text: &str) -> bool {
    let inner = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    inner.is_some_and(|inner| {
        inner
            .bytes()
            .all(|b| (b' '..=b'~').contains(&b) && b != b'"' && b != b'\\')
    })
}
