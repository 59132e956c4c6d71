//! Base 64 of SASL data in XML, as RFC 6120 section 6.3.5 and 6.4.2 want it.

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;

use crate::Failure;

/// Reads the character data of `<auth/>` or `<response/>`: `None` if it is empty, no bytes if it is `=` (RFC 6120
/// section 6.4.2: present but of zero length), else strict base 64 (RFC 4648 section 4: padding required, padding
/// bits zero, no whitespace or other characters).
///
/// For PLAIN the result holds the password: the caller overwrites it after use.
///
/// # Errors
/// [`Failure::IncorrectEncoding`] for everything else.
pub fn decode(text: &str) -> Result<Option<Vec<u8>>, Failure> {
    match text {
        "" => Ok(None),
        "=" => Ok(Some(Vec::new())),
        _ => STANDARD.decode(text).map(Some).map_err(|_| Failure::IncorrectEncoding),
    }
}

/// Writes data for `<challenge/>` or `<success/>`: base 64, and `=` for data of zero length (RFC 6120 section 6.4.6).
/// For an empty challenge an empty element is as good (section 6.4.3 gives no rule): the session chooses.
pub fn encode(data: &[u8]) -> String {
    if data.is_empty() {
        "=".to_owned()
    } else {
        STANDARD.encode(data)
    }
}
