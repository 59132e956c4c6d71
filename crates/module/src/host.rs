//! What a feature may know of the domain it answers for.

use crate::{Bytestreams, Now, Rooms, Uploads};

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
    /// Its accounts have their passwords elsewhere, or none: here they cannot be changed, nor can an account be given up.
    pub passwords_elsewhere: bool,
    /// Who has an invitation gets an account (XEP-0445).
    pub takes_invited: bool,
    /// What accounts that administer nothing may invite to.
    pub inviting: Inviting,
    /// What is told about servers beside this one (XEP-0215).
    pub external: Vec<ExternalService>,
    /// What its accounts are spared.
    pub privacy: Privacy,
    /// Where clients meet that cannot reach each other (XEP-0065); None: nowhere.
    pub bytestreams: Option<Bytestreams>,
    /// None: nobody uploads anything.
    pub uploads: Option<Uploads>,
    /// Whether there are any is said by the modules.
    pub rooms: Rooms,
}

impl Host {
    /// With nothing but what it cannot be without.
    pub fn new(domain: impl Into<String>, software: Software, started: Now) -> Host {
        Host {
            domain: domain.into(),
            admins: Vec::new(),
            contacts: Contacts::new(),
            software,
            started,
            guests: None,
            passwords_elsewhere: false,
            takes_invited: false,
            inviting: Inviting::default(),
            external: Vec::new(),
            privacy: Privacy::default(),
            bytestreams: None,
            uploads: None,
            rooms: Rooms::default(),
        }
    }
}

/// What accounts are spared of those they have nothing to do with, and the operator of accounts that report everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Privacy {
    pub strangers: Strangers,
    /// Messages an hour that one account takes from one stranger.
    pub stranger_messages: u32,
    /// From all strangers together.
    pub stranger_messages_in_all: u32,
    /// Subscription requests an hour that one account takes from strangers.
    pub stranger_requests: u32,
    /// Reports of one account that are kept in a day (XEP-0377).
    pub reports: u32,
}

impl Default for Privacy {
    fn default() -> Privacy {
        Privacy {
            strangers: Strangers::default(),
            stranger_messages: 60,
            stranger_messages_in_all: 300,
            stranger_requests: 30,
            reports: 20,
        }
    }
}

/// What becomes of messages and requests of strangers: of who is of another domain, is no contact, and was never
/// written to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strangers {
    Allow,
    #[default]
    Limit,
    /// As if there were no such account.
    Refuse,
}

/// What may be invited to by accounts that do not administer the server (XEP-0401).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Inviting {
    #[default]
    Nothing,
    /// To become a contact of who invites (XEP-0379).
    Contacts,
    /// Also to get an account.
    Accounts,
}

/// A server of another kind that clients may use: for calls, to find each other or to be relayed (XEP-0215).
#[derive(Clone, Debug)]
pub struct ExternalService {
    /// "stun", "turn" or another name of the registry of XEP-0215.
    pub kind: String,
    /// A name or an address.
    pub host: String,
    pub port: Option<u16>,
    pub transport: Option<&'static str>,
    /// Shown to people.
    pub name: Option<String>,
    pub credentials: Credentials,
}

/// With what a client comes to an [`ExternalService`].
#[derive(Clone)]
pub enum Credentials {
    /// It lets everybody in.
    None,
    Fixed {
        username: String,
        password: String,
    },
    /// It shares a secret with us, from which both make passwords that end by themselves, as TURN servers do: the user
    /// name begins with the second in which it ends, and the password is its HMAC-SHA-1 in Base64.
    Shared {
        secret: Vec<u8>,
        seconds: u32,
    },
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Credentials::None => "None",
            Credentials::Fixed { .. } => "Fixed",
            Credentials::Shared { .. } => "Shared",
        })
    }
}

/// Contact addresses (XEP-0157): the form field and its URIs, in order.
pub type Contacts = Vec<(&'static str, Vec<String>)>;

/// What XEP-0092 tells. No operating system: it helps nobody but an attacker.
#[derive(Clone, Copy, Debug)]
pub struct Software {
    pub name: &'static str,
    pub version: &'static str,
}
