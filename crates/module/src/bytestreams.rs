//! The port to what relays bytestreams (XEP-0065): two connections that the program has taken in.

use std::sync::{Arc, OnceLock};

/// What a domain tells of its relay.
#[derive(Clone)]
pub struct Bytestreams {
    /// A name or an address, as clients reach it.
    pub host: String,
    pub port: u16,
    /// Set when it listens.
    pub relay: Arc<OnceLock<Arc<dyn Relay>>>,
}

impl std::fmt::Debug for Bytestreams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytestreams({}:{})", self.host, self.port)
    }
}

pub trait Relay: Send + Sync {
    /// Joins the two connections that have named this meeting, at the wish of an account (its bare JID). Returns at once.
    fn activate(&self, meeting: &str, account: &str) -> Result<(), Unmet>;
}

/// Why two connections were not joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unmet {
    Nobody,
    OneAlone,
    /// The account has so many already.
    TooMany,
}
