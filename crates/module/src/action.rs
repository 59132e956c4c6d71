//! The port to the management of accounts: what a request may ask of it, and what comes back.
//!
//! Accounts are managed in one place, by the program: there passwords are made into what is stored of them, records are
//! read and written back changed, and sessions end. The command line comes there through the admin socket, a request over
//! XMPP through here. Its handler answers [`Answer::Act`](crate::Answer::Act) with an [`Action`] and a function; the
//! dispatcher hands the action to the [`Manager`] that the program gave it, and says what the function makes of what comes
//! back. Nobody waits meanwhile: the manager has a thread of its own, takes so many actions in and refuses more (the
//! asker is told `resource-constraint`, to be tried again), and carries them out one after the other, in the order in
//! which they came.
//!
//! What comes back is said once it is durable. An action that ends sessions of the very account that asks ends the
//! session that asks behind the answer, or keeps it: see [`Action::SetPassword`].
//!
//! Who may do what is not decided here but by [`Access`](crate::Access) of the handler, or by the handler, for the own
//! account of who asks.

use std::fmt;

use stanza::{ErrorType, Jid, StanzaError};
use store::{Batch, Found, Query, StoreError};
use zeroize::Zeroizing;

/// A password on its way. It is wiped when it was used, and no log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Something to be done with accounts. Addresses of accounts are bare.
pub enum Action {
    /// Adds an account that may log in.
    Add {
        account: Jid,
        password: Secret,
        admin: bool,
        /// What has to hold besides, and is written in the same batch: an invitation that is used up.
        terms: Option<Terms>,
    },
    /// Ends everything that was logged in with the password of before; but not the session that asks, if the account is
    /// its own: who knows the password of a session just changed need not show it.
    SetPassword {
        account: Jid,
        password: Secret,
    },
    /// Ends its sessions; nobody may log in.
    Disable(Vec<Jid>),
    Enable(Vec<Jid>),
    /// Ends its sessions, tells its contacts, and forgets everything of it.
    Remove(Vec<Jid>),
    SetAdmin {
        account: Jid,
        admin: bool,
    },
    /// Accounts of a domain that may administer the server by their records: these, and no others.
    SetAdmins {
        domain: Box<str>,
        accounts: Vec<Jid>,
    },
    /// Ends the session of a full address, or all of a bare one.
    EndSessions(Vec<Jid>),
    /// Makes an invitation (XEP-0401), to be used once.
    Invite {
        inviter: Jid,
        /// Where an account may be made with it.
        domain: Option<Box<str>>,
        /// Who gets the invited one as a contact.
        contact: Option<Jid>,
        /// Localpart of the account, prepared.
        username: Option<Box<str>>,
        /// In seconds.
        lifetime: i64,
    },
    /// Accounts of a domain, `most` of them.
    List {
        domain: Box<str>,
        which: Which,
        most: usize,
    },
    /// How many there are.
    Count {
        domain: Box<str>,
        which: Which,
    },
    /// What is known of accounts.
    Look(Vec<Jid>),
    /// A message to every account of a domain that has a session.
    Announce {
        domain: Box<str>,
        text: String,
    },
    /// A text that stands for a domain is set, or taken away. `afresh`: who was given the one before is given this one.
    SetStanding {
        domain: Box<str>,
        standing: Standing,
        text: Option<String>,
        afresh: bool,
    },
    /// That text.
    Standing {
        domain: Box<str>,
        standing: Standing,
    },
    /// What is known of another server (`jackdaw why`), by its prepared domain.
    Why(Box<str>),
}

/// A text that is given to accounts of a domain when they come online, to each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// The message of the day: to all of them, and at once to who is online.
    Motd,
    /// To accounts that are made while it stands.
    Welcome,
}

/// Which accounts of a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    Disabled,
    /// May administer the server, by its own record.
    Admins,
    /// Has a session.
    Online,
    /// Has a session that is available and does not say that it is away.
    Active,
    /// Is online and not active.
    Idle,
}

/// What has to hold for an account to be added. It is looked at where no other action comes between.
pub struct Terms {
    pub query: Query,
    /// What is written with the account; or what the asker is told, and there is no account.
    pub agree: Agree,
}

/// Makes of what the store has said what is agreed.
pub type Agree = Box<dyn FnOnce(Result<Found, StoreError>) -> Result<Agreed, StanzaError> + Send>;

/// What is written together with an account.
#[derive(Debug, Default)]
pub struct Agreed {
    pub batch: Batch,
    /// It may administer the server.
    pub admin: bool,
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, and on disk.
    Done,
    /// Of [`Action::List`]. `more`: there are others that are not told.
    Accounts {
        accounts: Vec<Jid>,
        more: bool,
    },
    Count(u64),
    /// Of [`Action::Look`], in its order.
    Known(Vec<Known>),
    /// Of [`Action::Standing`].
    Text(Option<String>),
    /// Of [`Action::Why`].
    Lines(Vec<String>),
    /// Of [`Action::Invite`].
    Invited {
        uri: String,
        /// Seconds since 1970.
        expires: i64,
    },
}

/// What is known of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    pub account: Jid,
    /// Seconds since 1970.
    pub created: i64,
    pub disabled: bool,
    pub admin: bool,
    /// Its sessions.
    pub resources: Vec<Box<str>>,
    /// When one of its clients was let in, in seconds since 1970, as far as that was written down.
    pub last_login: Option<i64>,
    /// When its last session ended.
    pub last_seen: Option<i64>,
    /// Contacts in its roster.
    pub contacts: u64,
}

/// Why an action was not done. Nothing of it was, then: of several accounts none was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no such account.
    Missing(Jid),
    Exists(Jid),
    /// The accounts of this domain are not kept here, or it is for guests.
    Elsewhere(Jid),
    /// No password can be made of it.
    Password(String),
    /// The terms do not hold.
    Terms(StanzaError),
    /// The store cannot be read or written now.
    Store(StoreError),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Missing(account) => write!(f, "there is no account {account}"),
            Refused::Exists(account) => write!(f, "{account} exists already"),
            Refused::Elsewhere(account) => write!(f, "{account}: the accounts of this domain are not kept here"),
            Refused::Password(why) => write!(f, "{why}; choose another"),
            Refused::Terms(_) => f.write_str("the terms do not hold"),
            Refused::Store(StoreError::Full) => f.write_str("no room is left on the disk"),
            Refused::Store(_) => f.write_str("the database cannot be used now; try again later"),
        }
    }
}

impl Refused {
    /// As an error of a request. XEP-0133 section 5 has the first two.
    pub fn error(&self) -> StanzaError {
        let error = match self {
            Refused::Terms(error) => return error.clone(),
            Refused::Exists(_) => StanzaError::conflict(),
            Refused::Elsewhere(_) => StanzaError::not_allowed(),
            Refused::Missing(_) => StanzaError::item_not_found(),
            Refused::Password(_) => StanzaError::not_acceptable(),
            Refused::Store(StoreError::Full | StoreError::Overloaded | StoreError::Io(_)) => {
                StanzaError::resource_constraint().kind(ErrorType::Wait)
            }
            Refused::Store(_) => StanzaError::internal_server_error().kind(ErrorType::Wait),
        };
        error.text(self.to_string())
    }
}

/// What came back.
pub type Acted = Result<Outcome, Refused>;

/// Makes the payload of the result, or an error, of what came back.
pub type MakeActed = Box<dyn FnOnce(Acted) -> Result<String, StanzaError> + Send>;

/// Called with what came back.
pub type Then = Box<dyn FnOnce(Acted) + Send>;

/// Who manages the accounts.
pub trait Manager: Send + Sync {
    /// Takes an action in. `asker`: who asks, a full address if it has a session. `then` is called once, on another
    /// thread. False: too much is under way; then nothing was taken in and nothing is called.
    #[must_use]
    fn manage(&self, asker: &Jid, action: Action, then: Then) -> bool;
}
