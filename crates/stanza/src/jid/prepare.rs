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

use super::{JidError, MAX_PART, Part};

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
    if text.bytes().fold(true, |plain, b| plain & is_plain_in_local(b)) {
        return bounded(Cow::Borrowed(text), Part::Local);
    }
    raw_bounded(text, Part::Local)?;
    if text.is_ascii() {
        let lower = text.to_ascii_lowercase();
        return match lower.bytes().all(is_plain_in_local) {
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
    if is_plain_domain(text.as_bytes()) {
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
    if text.bytes().fold(true, |plain, b| plain & matches!(b, b' '..=b'~')) {
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

fn is_plain_in_local(b: u8) -> bool {
    matches!(b, b'!'..=b'~') && !matches!(b, b'"' | b'&' | b'\'' | b'/' | b':' | b'<' | b'>' | b'@' | b'A'..=b'Z')
}

/// Whether the name is lower-case letters, digits, hyphens and dots in the right places, so that IDNA would not
/// change it. Two hyphens in a row may be the mark of an encoded label (`xn--`): that is for IDNA to say.
fn is_plain_domain(name: &[u8]) -> bool {
    let mut label = 0;
    let mut before = b'.';
    for &b in name {
        match b {
            b'a'..=b'z' | b'0'..=b'9' | b'_' => label += 1,
            b'-' if label > 0 && before != b'-' => label += 1,
            b'.' if label > 0 && before != b'-' => label = 0,
            _ => return false,
        }
        if label > MAX_LABEL {
            return false;
        }
        before = b;
    }
    label > 0 && before != b'-' && name.len() <= MAX_DNS_NAME
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
