//! What a feature may know of the domain it answers for.

use crate::Now;

/// One served domain. Immutable; a reload of the configuration swaps it whole.
#[derive(Clone, Debug)]
pub struct Host {
    /// Prepared domain (RFC 7622 section 3.2).
    pub domain: String,
    /// Bare JIDs with administrative rights.
    pub admins: Vec<String>,
    pub contacts: Contacts,
    pub software: Software,
    pub started: Now,
    /// The domain is for guests (XEP-0175): whoever comes gets an account for one session, and nothing of it is kept.
    /// Here are the other domains of this server whose accounts they may reach, and be reached by.
    pub guests: Option<Vec<String>>,
}

/// Contact addresses (XEP-0157): the form field and its URIs, in order.
pub type Contacts = Vec<(&'static str, Vec<String>)>;

/// What XEP-0092 tells. No operating system: it helps nobody but an attacker.
#[derive(Clone, Copy, Debug)]
pub struct Software {
    pub name: &'static str,
    pub version: &'static str,
}
