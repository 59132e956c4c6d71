//! An IQ request as a feature sees it, and what it may answer.

use std::cell::Cell;

use stanza::{JidRef, StanzaError};
use store::{Batch, Found, Query, StoreError};
use xmlstream::Child;

use crate::{
    Action, ArchiveIds, ArchivePrefs, Blocking, Host, MakeActed, MakeChange, Now, Push, Registry, Report, Target,
};

/// What the asking entity is to the account that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relation {
    Stranger,
    /// May see the account's presence (subscription "from" or "both", RFC 6121 section 2.1.2.5).
    Subscriber,
    /// Another or the same resource of the account itself.
    Owner,
}

/// When an account was last online, and the status it left (XEP-0012 section 4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LastActivity {
    /// Unix time in seconds.
    pub at: i64,
    pub status: String,
}

/// An available resource of an account.
#[derive(Clone, Debug)]
pub struct Device {
    pub resource: String,
    pub priority: i8,
}

/// A session of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    pub resource: Box<str>,
    /// The client whose it is (XEP-0494), where the resource does not tell.
    pub client: Option<Box<str>>,
    /// It has a connection, and does not wait to be resumed.
    pub is_attached: bool,
}

/// What a feature may ask about the account it answers for.
pub trait AccountView {
    /// Available resources in the order in which they were bound.
    fn devices(&self) -> Vec<Device>;
    /// All its sessions, also those that say nothing of themselves or wait to be resumed.
    fn sessions(&self) -> Vec<Connected>;
    /// None where the account was never online.
    fn last_activity(&self) -> Option<LastActivity>;
    fn archive_prefs(&self) -> ArchivePrefs;
    /// The addresses on its block list, in order (XEP-0191).
    fn blocked(&self) -> Vec<Box<str>>;
    /// Whether one of its sessions has asked this address for its archive and has no answer yet (XEP-0313).
    fn awaits_archive(&self, archive: &str) -> bool;
    /// What its roster says of this contact; None where he is not in it.
    fn contact(&self, jid: JidRef<'_>) -> Option<Contact>;
}

/// A contact in the roster of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contact {
    pub groups: Vec<Box<str>>,
    /// The account sees his presence: subscription "to" or "both".
    pub is_seen: bool,
}

/// One IQ request of type get or set. The dispatcher has checked its form and the right to ask.
pub struct Ask<'a> {
    pub now: Now,
    pub host: &'a Host,
    pub registry: &'a Registry,
    pub from: JidRef<'a>,
    /// The address that was asked: a domain or a bare JID.
    pub to: JidRef<'a>,
    pub payload: Child<'a>,
    /// Who is asked.
    pub target: Target,
    pub relation: Relation,
    /// May administer the server. Only looked up for requests to the server and its services.
    pub is_admin: bool,
    /// Present where an account is asked.
    pub account: Option<&'a dyn AccountView>,
    /// Of the asking resource, if it is one of the account that is asked; what is set there holds.
    pub switches: Option<&'a Cell<Switches>>,
    pub ids: &'a ArchiveIds,
}

/// What a handler answers.
pub enum Answer {
    /// `<iq type='result'>` around this XML (which may be empty).
    Result(String),
    Error(StanzaError),
    /// The result is sent once the batch is on disk; an error if it cannot be.
    Stored(Batch, String),
    /// The store is asked first. What the function makes of its answer is said to who asked.
    Asked(Query, MakeSaid),
    /// The store is asked first, what the function makes of its answer is written, and the result is sent after that. No
    /// other such request to the same owner begins before the batch is handed over.
    Changed(Query, MakeChange),
    /// As `Stored`, for the account's archive preferences, which hold from that moment.
    Preferences(ArchivePrefs, Batch, String),
    /// The account's block list is changed, what it reports is kept, and the result is empty.
    Block(Blocking, Vec<Report>),
    /// It is changed where messages are announced to, and the result is empty (XEP-0357).
    Push(Push),
    /// Something is done with accounts, and what the function makes of what comes back is the answer.
    Act(Action, MakeActed),
}

/// Makes what is said out of the store's answer.
pub type MakeSaid = Box<dyn FnOnce(Result<Found, StoreError>) -> Said + Send>;

/// What a session has switched on for itself; kept with the session, also while it waits to be resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches(u8);

impl Switches {
    /// Wants copies of messages of the account's other sessions (XEP-0280).
    pub const CARBONS: Switches = Switches(1);
    /// Has asked for the block list and hears of its changes (XEP-0191).
    pub const BLOCKLIST: Switches = Switches(2);

    /// Says in its presence that it shows no picture (XEP-0398 section 4).
    pub const NO_PHOTO: Switches = Switches(4);

    /// To be kept, and read again with [`Switches::from_bits`].
    pub const fn bits(self) -> u8 {
        self.0
    }

    pub const fn from_bits(bits: u8) -> Switches {
        Switches(bits)
    }

    pub const fn has(self, other: Switches) -> bool {
        self.0 & other.0 == other.0
    }

    #[must_use]
    pub const fn with(self, other: Switches, on: bool) -> Switches {
        Switches(if on { self.0 | other.0 } else { self.0 & !other.0 })
    }
}

/// Texts one behind the other in one buffer: a page of the archive has many, and each would be an allocation that grows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    /// With room for so many of so many bytes in all, which is a guess.
    pub fn with_capacity(texts: usize, bytes: usize) -> Texts {
        Texts {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::with_capacity(texts),
        }
    }

    /// The text is what `write` appends.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Of all texts.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// In the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let places = starts.zip(self.ends.iter().copied());
        places.map(|(start, end)| &self.bytes[start..end])
    }
}

/// What is said once the store has answered: messages to the asking resource, and behind them the answer.
pub struct Said {
    /// Content of `<message/>` stanzas from the account that was asked.
    pub messages: Texts,
    /// Messages that had waited for the account and are among these (`store::Archived::waits`): they have arrived.
    pub arrived: Vec<i64>,
    /// Payload of the result.
    pub answer: Result<String, StanzaError>,
}
