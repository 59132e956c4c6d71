//! An account while somebody uses it: what its owner knows and decides with.
//!
//! Plain data. It exists in memory from the first input that concerns it (loaded from the store)
//! until it has been idle for a while; the rules that act on it are in `outgoing`, `delivery`,
//! `broadcast`, `subscription` and `iq`.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use module::{AccountView, ArchivePrefs, Connected, Contact, Device, LastActivity, Photo, Relation, Switches};
use offline::Backlog;
use presence::Roster;
use presence::blocking::BlockList;
use stanza::{Jid, JidRef, Rendered};

use crate::Outbox;
use crate::caps::Caps;
use crate::directed::Directed;
use crate::guests::Guest;
use crate::load::Held;
use crate::push::{Registered, RoomSettings};

/// Archives of others that one session may have asked for without an answer; a further one is refused.
const ARCHIVES_ASKED: usize = 256;

/// A bound resource (RFC 6120 section 7): "connected" until it sends presence, then "available".
pub(crate) struct Session {
    pub(crate) id: u64,
    pub(crate) resource: Box<str>,
    pub(crate) outbox: Arc<Outbox>,
    /// The last presence it broadcast; None while it is not available.
    pub(crate) presence: Option<Rendered>,
    pub(crate) priority: i8,
    /// Asked for the roster, so it gets roster pushes (RFC 6121 section 2.1.6).
    pub(crate) interested: bool,
    /// Has broadcast presence at least once.
    pub(crate) was_available: bool,
    pub(crate) switches: Switches,
    /// When its connection went, while it waits to be resumed (XEP-0198); the beginning of time while it has one.
    pub(crate) detached: Moment,
    /// Nearly always absent: 8 bytes of every session instead of 40.
    pub(crate) more: Option<Box<More>>,
}

/// What not all sessions have. There is none without anything in it.
#[derive(Default)]
pub(crate) struct More {
    /// Who got directed presence from it and is to hear when it goes (RFC 6121 section 4.6.3).
    directed: Directed,
    /// Archives of others that it has asked for, and by which request; it has no answer yet.
    asked: BTreeSet<(Box<str>, Box<str>)>,
    /// The client whose it is, where the resource does not tell.
    client: Option<Box<str>>,
    /// What it can do, if its presence says so (XEP-0115).
    caps: Option<Arc<Caps>>,
}

impl Session {
    pub(crate) fn is_available(&self) -> bool {
        self.presence.is_some()
    }

    /// May be given messages for the bare JID (RFC 6121 section 8.5.2.1.1).
    pub(crate) fn takes_messages(&self) -> bool {
        self.is_available() && self.priority >= 0
    }

    /// It will say in a moment that it is there: it has asked for the roster, which comes first (RFC 6121 section 2.2), and
    /// has not said anything yet. Then it is given what waits; one that never asks may never want that.
    pub(crate) fn is_coming(&self) -> bool {
        self.interested && !self.was_available
    }

    /// Whether somebody is there to read what it is sent.
    pub(crate) fn is_attached(&self) -> bool {
        self.detached == Moment::default()
    }

    pub(crate) fn has_directed_presence_to(&self, jid: JidRef<'_>) -> bool {
        let Some(directed) = self.directed() else { return false };
        let bare = jid.bare_str();
        // Or to another resource of it: another occupant of a room passes on what is asked of this one.
        let is_of_bare = |other: &str| {
            other
                .strip_prefix(bare)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        directed
            .from(bare)
            .take_while(|other| other.starts_with(bare))
            .any(is_of_bare)
    }

    pub(crate) fn directed(&self) -> Option<&Directed> {
        self.more.as_ref().map(|more| &more.directed)
    }

    pub(crate) fn client(&self) -> Option<&str> {
        self.more.as_ref()?.client.as_deref()
    }

    pub(crate) fn set_client(&mut self, client: Option<Box<str>>) {
        self.change_more(|more| more.client = client);
    }

    pub(crate) fn caps(&self) -> Option<&Arc<Caps>> {
        self.more.as_ref()?.caps.as_ref()
    }

    pub(crate) fn set_caps(&mut self, caps: Option<Arc<Caps>>) {
        if caps.is_some() || self.more.is_some() {
            self.change_more(|more| more.caps = caps);
        }
    }

    pub(crate) fn take_directed(&mut self) -> Directed {
        match self.more {
            None => Directed::default(),
            Some(_) => self.change_more(|more| std::mem::take(&mut more.directed)),
        }
    }

    pub(crate) fn change_directed<R>(&mut self, change: impl FnOnce(&mut Directed) -> R) -> R {
        self.change_more(|more| change(&mut more.directed))
    }

    /// It asks this address for its archive. False: too many have not answered yet.
    pub(crate) fn has_asked(&mut self, archive: &str, id: &str) -> bool {
        self.change_more(|more| {
            more.asked.len() < ARCHIVES_ASKED && {
                more.asked.insert((archive.into(), id.into()));
                true
            }
        })
    }

    /// The answer to that has come, if it is one.
    pub(crate) fn is_answered(&mut self, archive: &str, id: &str) {
        if self.more.as_ref().is_some_and(|more| !more.asked.is_empty()) {
            self.change_more(|more| more.asked.remove(&(archive.into(), id.into())));
        }
    }

    fn change_more<R>(&mut self, change: impl FnOnce(&mut More) -> R) -> R {
        let mut more = self.more.take().unwrap_or_default();
        let result = change(&mut more);
        let is_empty =
            more.directed.is_empty() && more.asked.is_empty() && more.client.is_none() && more.caps.is_none();
        self.more = (!is_empty).then_some(more);
        result
    }
}

pub(crate) struct Account {
    pub(crate) jid: Jid,
    /// Nobody may log in; messages are kept for the day on which it is enabled again.
    pub(crate) disabled: bool,
    /// May administer the server, by its record.
    pub(crate) admin: bool,
    pub(crate) roster: Roster,
    /// In the order in which they were bound.
    pub(crate) sessions: Vec<Session>,
    /// The current minute of Unix time, and the subscription requests sent in it by all resources
    /// together.
    pub(crate) requests: (u32, u32),
    pub(crate) backlog: Backlog,
    /// Nearly always absent: 8 bytes of every account.
    pub(crate) rare: Option<Box<Rare>>,
    /// Changes whose words wait for their commit, and what waits behind these. While there is
    /// anything, everything else that is delivered to this account waits too, so that nothing
    /// overtakes a decision. A `Cell`, because delivery goes over the sessions meanwhile.
    pub(crate) unsettled: Cell<u32>,
    /// The changes alone. Who asks for what they have changed is answered when there are none: not
    /// by `unsettled`, which may never come to rest while stanzas keep coming.
    pub(crate) undecided: u32,
    /// A change could not be written, so that what is known here is ahead of the store, and is
    /// being read anew: inputs wait in order.
    #[allow(clippy::box_collection)] // nearly always absent: 8 bytes of every account instead of 24
    pub(crate) stale: Option<Box<Vec<Held>>>,
    pub(crate) last: Option<Box<LastActivity>>,
    /// When the last input came; an account without sessions is forgotten after a while.
    pub(crate) touched: Moment,
}

/// What few accounts have.
#[derive(Default)]
pub(crate) struct Rare {
    /// Of the archive (XEP-0441); None: everything is archived.
    pub(crate) prefs: Option<ArchivePrefs>,
    /// Whom it blocks (XEP-0191).
    pub(crate) blocked: BlockList,
    /// Where it is announced that messages have come (XEP-0357).
    pub(crate) push: Vec<Registered>,
    /// What it wants to be told of rooms.
    pub(crate) rooms: RoomSettings,
    /// Bare JIDs that it has written to and that are no contacts, since when.
    pub(crate) acquainted: BTreeMap<Box<str>, i64>,
    /// What clients of contacts at other servers can do, by their full JIDs.
    pub(crate) elsewhere: BTreeMap<Box<str>, Arc<Caps>>,
    /// It is a guest's, and this is its place.
    pub(crate) guest: Option<Guest>,
    /// What its presence tells of its picture (XEP-0398); None: it never had one.
    pub(crate) photo: Option<Photo>,
}

/// A second of Unix time in half the room: every account keeps one. Good until 2106, and then
/// accounts stay in memory.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u32);

impl Moment {
    pub(crate) fn of(seconds: i64) -> Moment {
        Moment(u32::try_from(seconds.max(0)).unwrap_or(u32::MAX))
    }
}

impl Account {
    fn prefs(&self) -> Option<&ArchivePrefs> {
        self.rare.as_ref()?.prefs.as_ref()
    }

    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn session(&self, id: u64) -> Option<&Session> {
        self.sessions.iter().find(|session| session.id == id)
    }

    pub(crate) fn session_mut(&mut self, id: u64) -> Option<&mut Session> {
        self.sessions.iter_mut().find(|session| session.id == id)
    }

    pub(crate) fn resource(&self, resource: &str) -> Option<&Session> {
        self.sessions.iter().find(|session| &*session.resource == resource)
    }

    /// An entity has gone: who sent it directed presence need not tell it when going (section 4.6.1).
    pub(crate) fn forget_directed(&mut self, gone: &str, resource: Option<&str>) {
        for session in &mut self.sessions {
            if resource.is_none_or(|resource| *session.resource == *resource)
                && session.directed().is_some_and(|directed| directed.contains(gone))
            {
                session.change_directed(|directed| directed.remove(gone));
            }
        }
    }

    /// What `other` is to this account; the base of every authorisation.
    pub(crate) fn relation(&self, other: JidRef<'_>) -> Relation {
        self.relation_of(other.bare_str())
    }

    pub(crate) fn relation_of(&self, bare: &str) -> Relation {
        if *bare == *self.jid.as_str() {
            Relation::Owner
        } else if self.roster.get(bare).is_some_and(|item| item.state.subscription.from()) {
            Relation::Subscriber
        } else {
            Relation::Stranger
        }
    }

    /// Whether messages with this entity go into its archive.
    pub(crate) fn archives(&self, other: JidRef<'_>) -> bool {
        let prefs = self.prefs();
        !self.is_guest()
            && prefs.is_none_or(|prefs| archive::wants(prefs, other, self.roster.get(other.bare_str()).is_some()))
    }

    /// Whether others of its sessions want copies of what this one sends (XEP-0280 section 8).
    pub(crate) fn copies_what_is_sent_by(&self, resource: Option<&str>) -> bool {
        self.sessions
            .iter()
            .any(|session| session.switches.has(Switches::CARBONS) && Some(&*session.resource) != resource)
    }

    /// The full JID of one of its sessions, as text.
    pub(crate) fn full(&self, session: &Session) -> String {
        format!("{}/{}", self.jid.as_str(), session.resource)
    }
}

impl AccountView for Account {
    fn devices(&self) -> Vec<Device> {
        let available = self.sessions.iter().filter(|session| session.is_available());
        available
            .map(|s| Device {
                resource: s.resource.to_string(),
                priority: s.priority,
            })
            .collect()
    }

    fn sessions(&self) -> Vec<Connected> {
        self.sessions.iter().map(Session::connected).collect()
    }

    fn last_activity(&self) -> Option<LastActivity> {
        self.last.as_deref().cloned()
    }

    fn archive_prefs(&self) -> ArchivePrefs {
        self.prefs().cloned().unwrap_or_default()
    }

    fn blocked(&self) -> Vec<Box<str>> {
        let addresses = self.rare.iter().flat_map(|rare| rare.blocked.addresses());
        addresses.map(Into::into).collect()
    }

    fn awaits_archive(&self, archive: &str) -> bool {
        let asked = self.sessions.iter().filter_map(|session| session.more.as_ref());
        asked.flat_map(|more| &more.asked).any(|(asked, _)| **asked == *archive)
    }

    fn contact(&self, jid: JidRef<'_>) -> Option<Contact> {
        let item = self.roster.get(jid.bare_str()).filter(|item| item.visible())?;
        Some(Contact {
            groups: item.groups.to_vec(),
            is_seen: item.state.subscription.to(),
        })
    }
}
