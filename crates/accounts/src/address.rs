//! The name of an account.

use stanza::{Jid, JidError};

/// Why a text names no account. Displays as what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// It is no JID at all.
    Malformed(String, JidError),
    /// It has no part before an `@`.
    NoLocal(String),
    /// It has a resource.
    Resource(String),
}

impl std::fmt::Display for AddressError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            AddressError::Malformed(text, error) => write!(f, "`{text}` is not an address: {error}"),
            AddressError::NoLocal(text) => write!(f, "`{text}` is not an account; write it as user@domain"),
            AddressError::Resource(text) => write!(f, "`{text}` is not an account; leave out what follows the `/`"),
        }
    }
}

impl std::error::Error for AddressError {}

/// The bare JID with a local part that a text names, prepared (RFC 7622 section 3).
pub fn address(text: &str) -> Result<Jid, AddressError> {
    let jid = Jid::parse(text).map_err(|error| AddressError::Malformed(text.to_owned(), error))?;
    if jid.resource().is_some() {
        Err(AddressError::Resource(text.to_owned()))
    } else if jid.local().is_none() {
        Err(AddressError::NoLocal(text.to_owned()))
    } else {
        Ok(jid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bare_addresses_with_a_local_part_are_accounts() {
        let check = |text: &str, accepted: bool| assert_eq!(address(text).is_ok(), accepted, "{text}");
        check("juliet@example.org", true);
        check("example.org", false);
        check("juliet@example.org/balcony", false);
        check("@example.org", false);
        check("juliet@", false);
        check("", false);
    }

    #[test]
    fn an_address_is_prepared() {
        let prepared = address("JULIET@Example.ORG").expect("an address");
        assert_eq!(prepared.as_str(), "juliet@example.org");
    }
}
