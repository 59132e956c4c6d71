//! What clients saw, and nothing else: the checks know nothing of the server but this.

use std::collections::{BTreeMap, BTreeSet};

/// A device and the how-manieth session that it bound; a resumed session is the same.
pub type Session = (usize, u32);

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Itself, at once.
    Live,
    /// Itself, having waited (XEP-0203).
    Late,
    /// As a copy of what another client of the account received, or sent (XEP-0280).
    Received,
    Sent,
    /// Read in the archive.
    Read,
}

#[derive(Clone, Debug)]
pub struct Sighting {
    pub session: Session,
    pub how: How,
    /// By the client's own account.
    pub sid: Option<String>,
    pub at: u64,
    /// Before the stream was managed that was going to be: nobody knows any more whether it came.
    pub is_uncounted: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Message {
    pub sender: Session,
    pub to: String,
    /// It is for a bare JID.
    pub is_bare: bool,
    /// Stands in no archive, but waits.
    pub is_loose: bool,
    pub origin_id: bool,
    /// It retracts this one.
    pub retracts: Option<String>,
    /// When it was sent for the first time, and by the clock.
    pub at: u64,
    pub clock: i64,
    /// How often the accounts of both had been removed or added.
    pub epochs: (u32, u32),
    pub acked: bool,
    pub errors: u32,
    /// Sent once more by a stream that goes on, or behind one that does not: that had not been acknowledged.
    pub resent: bool,
    /// Sent once more though nobody knew whether it had been handled.
    pub blind: bool,
    /// A connection that was trusted had taken it, and broke.
    pub lost: bool,
    /// Somebody had not taken it, and it went its way again.
    pub again: bool,
    /// When it was old enough to be deleted: one that is sent again behind that is another message.
    pub forgotten: Option<u64>,
    pub seen: Vec<Sighting>,
}

/// What a device read of its archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub sid: String,
    pub id: String,
    pub is_tombstone: bool,
}

/// A change of the roster: the name that a contact is given.
#[derive(Clone, Debug)]
pub struct Change {
    pub value: String,
    pub result: Option<bool>,
}

/// From when to when an account had this session, at the most.
#[derive(Clone, Debug)]
pub struct Span {
    pub session: Session,
    pub from: u64,
    pub until: u64,
}

#[derive(Clone, Debug, Default)]
pub struct History {
    pub messages: BTreeMap<String, Message>,
    /// By account: how often it was removed or added.
    pub epochs: BTreeMap<String, u32>,
    pub spans: BTreeMap<String, Vec<Span>>,
    /// By account and contact.
    pub changes: BTreeMap<(String, String), Vec<Change>>,
    /// By device, at the end.
    pub archives: BTreeMap<usize, Vec<Entry>>,
    /// By account and contact, at the end.
    pub rosters: BTreeMap<(String, String), String>,
    /// What contradicts the guarantees was noticed at once.
    pub found: Vec<String>,
    /// The process has died.
    pub crashed: bool,
    /// Messages were deleted that are older than this, by the clock.
    pub expired: i64,
    /// Accounts that had been away or disabled, so that an error may be right.
    pub was_removed: BTreeSet<String>,
    /// Sessions that had their roster, and from when on; they are given what waits in order,
    pub ready: BTreeMap<Session, u64>,
    /// but for those that do not say at once that they take messages, or say later that they take none.
    pub odd: BTreeSet<Session>,
    /// Sessions that had a connection which is gone.
    pub broken: BTreeSet<Session>,
    at: u64,
}

impl History {
    pub fn now(&self) -> u64 {
        self.at
    }

    pub fn tick(&mut self) -> u64 {
        self.at += 1;
        self.at
    }

    pub fn epoch(&self, account: &str) -> u32 {
        self.epochs.get(account).copied().unwrap_or(0)
    }

    pub fn begin(&mut self, account: &str, session: Session) {
        let from = self.tick();
        self.spans.entry(account.to_owned()).or_default().push(Span {
            session,
            from,
            until: u64::MAX,
        });
    }

    /// What is older by the clock is deleted from now on.
    pub fn expire(&mut self, before: i64) {
        self.expired = before;
        let now = self.tick();
        for message in self.messages.values_mut().filter(|message| message.clock < before) {
            message.forgotten.get_or_insert(now);
        }
    }

    /// The session is certainly over: it was ended in good order, or its time has passed.
    pub fn end(&mut self, account: &str, session: Session) {
        let now = self.tick();
        for span in self.spans.get_mut(account).into_iter().flatten() {
            if span.session == session {
                span.until = span.until.min(now);
            }
        }
    }

    pub fn end_all(&mut self) {
        let now = self.tick();
        for span in self.spans.values_mut().flatten() {
            span.until = span.until.min(now);
        }
    }

    /// Ids of messages that stand in this text, in whole or in part.
    pub fn ids_in(bytes: &[u8]) -> Vec<String> {
        let text = String::from_utf8_lossy(bytes);
        let ids = text.split(" id='").skip(1).filter_map(|rest| rest.split('\'').next());
        ids.filter(|id| id.starts_with('m')).map(str::to_owned).collect()
    }
}
