//! Preparation: one spelling for every address.
//!
//! RFC 7622 uses PRECIS; the deployed network (and every account that is imported from another server) uses the
//! stringprep profiles of RFC 6122. Local parts follow stringprep strictly, so that an account is the same account
//! after a migration. Resources follow its tables too, but may contain code points that Unicode 3.2 did not know:
//! stringprep calls that a "query" string (RFC 3454 section 7), and it is what makes emoji work.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};
use stringprep::tables;
use unicode_normalization::UnicodeNormalization;

use super::{JidError, MAX_PART, Offsets, Part};

/// Bytes of a part before preparation. Preparation can shorten (three conjoining jamo become one syllable, soft
/// hyphens vanish), so this is more than [`MAX_PART`]; it bounds the work that one address can cause.
const MAX_RAW_PART: usize = 4 * MAX_PART;

/// Labels and names of the DNS (RFC 1034 section 3.1, in text form), which RFC 7622 section 3.2 leaves in force.
const MAX_LABEL: usize = 63;
const MAX_DNS_NAME: usize = 253;

/// What a label may not contain of ASCII. RFC 7622 section 3.2.1 allows letters, digits and hyphens; the
/// underscore is let through because hosts of container networks have it.
const DENIED_IN_DOMAIN: AsciiDenyList = AsciiDenyList::new(true, "!\"#$%&'()*+,/:;<=>?@[\\]^`{|}~");

/// Nodeprep (RFC 6122 appendix A) without the excluded characters of RFC 7622 section 3.3.1: letters are folded,
/// compatibility characters replaced, spaces and `"&'/:<>@` refused.
pub fn prepare_local(text: &str) -> Result<Cow<'_, str>, JidError> {
    if text.bytes().all(|b| is(b, LOCAL)) {
        return bounded(Cow::Borrowed(text), Part::Local);
    }
    raw_bounded(text, Part::Local)?;
    if text.is_ascii() {
        let lower = text.to_ascii_lowercase();
        return match lower.bytes().all(|b| is(b, LOCAL)) {
            true => bounded(Cow::Owned(lower), Part::Local),
            false => Err(JidError::Invalid(Part::Local)),
        };
    }
    let invalid = |_| JidError::Invalid(Part::Local);
    let prepared = stringprep::nodeprep(text).map_err(invalid)?.into_owned();
    // Folding and normalising once is not stable for every sequence of combining characters, and an address that
    // changes when it is read again would be two addresses.
    if stringprep::nodeprep(&prepared).map_err(invalid)? != prepared {
        return Err(JidError::Invalid(Part::Local));
    }
    bounded(keep(text, prepared), Part::Local)
}

/// IDNA (UTS 46, non-transitional) to U-labels in lower case and NFC, one final dot stripped before all else
/// (RFC 7622 section 3.2); or an IPv4 address; or an IPv6 address in brackets, in the spelling of RFC 5952.
///
/// A zone identifier (RFC 6874) is refused: it means something on one host only.
pub fn prepare_domain(text: &str) -> Result<Cow<'_, str>, JidError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    if plain_domain(text.as_bytes()) == text.len() && !text.is_empty() {
        return Ok(Cow::Borrowed(text));
    }
    if text.is_empty() {
        return Err(JidError::Empty(Part::Domain));
    }
    raw_bounded(text, Part::Domain)?;
    let invalid = JidError::Invalid(Part::Domain);
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(invalid)?;
        let address: Ipv6Addr = address.parse().map_err(|_| invalid)?;
        return Ok(keep(text, format!("[{address}]")));
    }

    let (prepared, verdict) = Uts46::new().to_unicode(text.as_bytes(), DENIED_IN_DOMAIN, Hyphens::CheckFirstLast);
    verdict.map_err(|_| invalid)?;
    // The way back checks the lengths of the labels on the wire of the DNS, and that none is empty.
    Uts46::new()
        .to_ascii(
            prepared.as_bytes(),
            DENIED_IN_DOMAIN,
            Hyphens::CheckFirstLast,
            DnsLength::Verify,
        )
        .map_err(|_| invalid)?;
    let prepared = prepared.into_owned();
    bounded(keep(text, prepared), Part::Domain)
}

/// Resourceprep (RFC 6122 appendix B), but unassigned code points are allowed.
pub fn prepare_resource(text: &str) -> Result<Cow<'_, str>, JidError> {
    if text.bytes().all(|b| is(b, RESOURCE)) {
        return bounded(Cow::Borrowed(text), Part::Resource);
    }
    raw_bounded(text, Part::Resource)?;
    let prepared: String = text
        .chars()
        .filter(|&c| !tables::commonly_mapped_to_nothing(c))
        .nfkc()
        .collect();
    if prepared.chars().any(is_prohibited_in_resource) || breaks_bidi_rule(&prepared) {
        return Err(JidError::Invalid(Part::Resource));
    }
    bounded(keep(text, prepared), Part::Resource)
}

/// A letter, a digit or an underscore: what a label of a domain begins and ends with.
const LETTER: u8 = 1;
/// What stands between two of those: a dot or a hyphen.
const SEPARATOR: u8 = 2;
/// May stand in a localpart as it is.
const LOCAL: u8 = 4;
/// May stand in a resourcepart as it is.
const RESOURCE: u8 = 8;

/// What preparation leaves alone, of ASCII; nothing else is in a class.
static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut b = b' ';
    while b <= b'~' {
        let domain = match b {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => LETTER,
            b'.' | b'-' => SEPARATOR,
            _ => 0,
        };
        let local = match b {
            b' ' | b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@' | b'A'..=b'Z' => 0,
            _ => LOCAL,
        };
        table[b as usize] = domain | local | RESOURCE;
        b += 1;
    }
    table
}

fn is(b: u8, class: u8) -> bool {
    CLASS[b as usize] & class != 0
}

/// Where the parts of an address end, if preparation would change nothing in it, as with nearly all; one pass.
pub(super) fn plain(text: &[u8]) -> Option<Offsets> {
    // A localpart ends at the `@`; without one this is the beginning of the domain.
    let local = text.iter().take_while(|&&b| is(b, LOCAL)).count();
    let (local, from) = match text.get(local) {
        Some(b'@') => (local, local + 1),
        _ => (0, 0),
    };
    let domain = plain_domain(&text[from..]);
    let bare = from + domain;
    let resource = match &text[bare..] {
        [] => 1,
        [b'/', resource @ ..] if resource.iter().all(|&b| is(b, RESOURCE)) => resource.len(),
        _ => return None,
    };
    let complete = domain > 0 && (local > 0 || from == 0) && resource > 0;
    (complete && local <= MAX_PART && resource <= MAX_PART).then_some(Offsets {
        local: local as u16,
        bare: bare as u16,
    })
}

/// Length of the domain that `text` begins with, up to a slash or the end; 0 if IDNA might change or refuse it.
///
/// Letters with single separators between them are as they should be. Two hyphens in a row may be the mark of an
/// encoded label (`xn--`): that is for IDNA to say.
fn plain_domain(text: &[u8]) -> usize {
    let mut allowed = LETTER;
    let mut length = 0;
    for &b in text {
        if !is(b, allowed) {
            break;
        }
        allowed = if is(b, LETTER) { LETTER | SEPARATOR } else { LETTER };
        length += 1;
    }
    let behind_letter = allowed != LETTER;
    let ends = matches!(text.get(length), None | Some(b'/')) && behind_letter && length <= MAX_DNS_NAME;
    let labels_fit = || {
        text[..length]
            .split(|&b| b == b'.')
            .all(|label| label.len() <= MAX_LABEL)
    };
    if ends && (length <= MAX_LABEL || labels_fit()) {
        length
    } else {
        0
    }
}

/// RFC 6122 appendix B.5: the tables C.1.2, C.2.1, C.2.2 and C.3 to C.9 of RFC 3454.
fn is_prohibited_in_resource(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    tables::non_ascii_space_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::surrogate_code(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
}

/// RFC 3454 section 6: a text with right-to-left letters has no left-to-right ones, and begins and ends with one
/// of the former.
fn breaks_bidi_rule(text: &str) -> bool {
    text.contains(tables::bidi_r_or_al)
        && (text.contains(tables::bidi_l)
            || !text.starts_with(tables::bidi_r_or_al)
            || !text.ends_with(tables::bidi_r_or_al))
}

/// Gives the input back where preparation changed nothing, so that [`super::JidCow`] can borrow.
fn keep(text: &str, prepared: String) -> Cow<'_, str> {
    if prepared == text {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(prepared)
    }
}

fn bounded(prepared: Cow<'_, str>, part: Part) -> Result<Cow<'_, str>, JidError> {
    match prepared.len() {
        0 => Err(JidError::Empty(part)),
        1..=MAX_PART => Ok(prepared),
        _ => Err(JidError::TooLong(part)),
    }
}

fn raw_bounded(text: &str, part: Part) -> Result<(), JidError> {
    if text.len() > MAX_RAW_PART {
        Err(JidError::TooLong(part))
    } else {
        Ok(())
    }
}
