//! Who is in a room. An occupant has a nickname and is one bare JID; it has a session for each client of it that came in
//! under the same name (XEP-0045 section 7.2.8).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use stanza::{Jid, JidRef, Rendered};

use crate::rank::Role;

/// A client that is in the room.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) jid: Arc<Jid>,
    /// What it last said of itself, without addresses and without what only the room may say.
    pub(crate) presence: Rendered,
}

#[derive(Clone, Debug)]
pub(crate) struct Occupant {
    /// A bare JID.
    pub(crate) bare: Box<str>,
    pub(crate) role: Role,
    /// Never empty. The last one has spoken last, and is what others see.
    pub(crate) sessions: Vec<Session>,
}

impl Occupant {
    /// What others see of it.
    pub(crate) fn presence(&self) -> &Rendered {
        &self.seen().presence
    }

    /// The session that others see.
    pub(crate) fn seen(&self) -> &Session {
        self.sessions.last().expect("an occupant has a session")
    }

    pub(crate) fn jids(&self) -> impl Iterator<Item = &Arc<Jid>> {
        self.sessions.iter().map(|session| &session.jid)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Occupants {
    /// By nickname, as the order reaches the wire.
    by_nick: BTreeMap<Box<str>, Occupant>,
    /// Full JIDs to nicknames.
    nicks: HashMap<Box<str>, Box<str>>,
}

impl Occupants {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_nick.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_nick.len()
    }

    pub(crate) fn sessions(&self) -> usize {
        self.nicks.len()
    }

    pub(crate) fn get(&self, nick: &str) -> Option<&Occupant> {
        self.by_nick.get(nick)
    }

    pub(crate) fn get_mut(&mut self, nick: &str) -> Option<&mut Occupant> {
        self.by_nick.get_mut(nick)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Occupant)> {
        self.by_nick.iter().map(|(nick, occupant)| (&**nick, occupant))
    }

    pub(crate) fn nick_of(&self, jid: JidRef<'_>) -> Option<&str> {
        self.nicks.get(jid.as_str()).map(|nick| &**nick)
    }

    /// The occupant whose client this is.
    pub(crate) fn of(&self, jid: JidRef<'_>) -> Option<(&str, &Occupant)> {
        let nick = self.nicks.get(jid.as_str())?;
        Some((nick, self.by_nick.get(nick)?))
    }

    /// Nicknames under which a bare JID is here: one may have several.
    pub(crate) fn nicks_of(&self, bare: &str) -> Vec<Box<str>> {
        let here = self.by_nick.iter().filter(|(_, occupant)| *occupant.bare == *bare);
        here.map(|(nick, _)| nick.clone()).collect()
    }

    /// Adds a session, to an occupant of this name or as a new one.
    pub(crate) fn enter(&mut self, nick: &str, role: Role, session: Session) {
        let bare = session.jid.bare_str();
        self.nicks.insert(session.jid.as_str().into(), nick.into());
        let occupant = self.by_nick.entry(nick.into()).or_insert_with(|| Occupant {
            bare: bare.into(),
            role,
            sessions: Vec::with_capacity(1),
        });
        occupant.sessions.retain(|other| *other.jid != *session.jid);
        occupant.sessions.push(session);
    }

    /// The session has spoken: others see it from now on.
    pub(crate) fn speak(&mut self, jid: JidRef<'_>, presence: Rendered) {
        let Some(occupant) = self.nicks.get(jid.as_str()).and_then(|nick| self.by_nick.get_mut(nick)) else {
            return;
        };
        if let Some(at) = occupant
            .sessions
            .iter()
            .position(|session| session.jid.as_ref().as_ref() == jid)
        {
            let mut session = occupant.sessions.remove(at);
            session.presence = presence;
            occupant.sessions.push(session);
        }
    }

    /// Takes one session out; returns it, and its occupant if that was the last.
    pub(crate) fn leave(&mut self, jid: JidRef<'_>) -> Option<(Box<str>, Session, Option<Occupant>)> {
        let nick = self.nicks.remove(jid.as_str())?;
        let occupant = self.by_nick.get_mut(&nick)?;
        let at = occupant
            .sessions
            .iter()
            .position(|session| session.jid.as_ref().as_ref() == jid)?;
        let session = occupant.sessions.remove(at);
        let gone = match occupant.sessions.is_empty() {
            true => self.by_nick.remove(&nick),
            false => None,
        };
        Some((nick, session, gone))
    }

    /// Takes an occupant out with all its sessions.
    pub(crate) fn remove(&mut self, nick: &str) -> Option<Occupant> {
        let occupant = self.by_nick.remove(nick)?;
        for session in &occupant.sessions {
            self.nicks.remove(session.jid.as_str());
        }
        Some(occupant)
    }

    pub(crate) fn rename(&mut self, nick: &str, new: &str) {
        let Some(occupant) = self.by_nick.remove(nick) else {
            return;
        };
        for session in &occupant.sessions {
            self.nicks.insert(session.jid.as_str().into(), new.into());
        }
        self.by_nick.insert(new.into(), occupant);
    }

    /// All clients.
    pub(crate) fn everyone(&self) -> Vec<Arc<Jid>> {
        self.some(|_, _| true)
    }

    /// Clients of some occupants.
    pub(crate) fn some(&self, is_meant: impl Fn(&str, &Occupant) -> bool) -> Vec<Arc<Jid>> {
        let meant = self.iter().filter(|(nick, occupant)| is_meant(nick, occupant));
        meant.flat_map(|(_, occupant)| occupant.jids().cloned()).collect()
    }
}
