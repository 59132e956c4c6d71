//! Who is in a room. An occupant has a nickname and is one bare JID; it has a session for each client of it that came in
//! under the same name (XEP-0045 section 7.2.8).

use std::borrow::{Borrow, Cow};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use stanza::{Jid, JidRef, Rendered};

use crate::nickname::alike;
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
    /// The same for all clients of a bare JID (XEP-0421).
    pub(crate) id: Box<str>,
    pub(crate) role: Role,
    /// Never empty, and all of one bare JID. The last one has spoken last, and is what others see.
    pub(crate) sessions: Vec<Session>,
}

impl Occupant {
    /// Whose it is.
    pub(crate) fn bare(&self) -> &str {
        self.seen().jid.bare_str()
    }

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

/// A client, in the order of its address: all of an account stand side by side.
#[derive(Clone, Debug)]
struct Client(Arc<Jid>);

impl Borrow<str> for Client {
    fn borrow(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Client {
    fn eq(&self, other: &Client) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Client {}

impl PartialOrd for Client {
    fn partial_cmp(&self, other: &Client) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Client {
    fn cmp(&self, other: &Client) -> Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

/// What has become of an occupant when one of its sessions has left.
#[derive(Clone, Debug)]
pub(crate) struct Left {
    pub(crate) nick: Arc<str>,
    pub(crate) session: Session,
    /// It was the one that others saw.
    pub(crate) was_seen: bool,
    /// The occupant, now without sessions, if that was the last.
    pub(crate) last: Option<Occupant>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Occupants {
    /// By nickname, as the order reaches the wire.
    by_nick: BTreeMap<Arc<str>, Occupant>,
    nicks: BTreeMap<Client, Arc<str>>,
    /// Nicknames that are compared by something else than themselves, behind that.
    alike: BTreeSet<(Box<str>, Arc<str>)>,
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

    /// Whether another account is here under this name, or one so much alike that it could be taken for it.
    pub(crate) fn is_taken(&self, nick: &str, bare: &str) -> bool {
        let is_others = |nick: &str| self.by_nick.get(nick).is_some_and(|other| other.bare() != bare);
        let key = alike(nick);
        if is_others(nick) || is_others(&key) {
            return true;
        }
        let from = (Box::from(&*key), Arc::from(""));
        let same = self.alike.range(from..).take_while(|(other, _)| **other == *key);
        same.into_iter().any(|(_, nick)| is_others(nick))
    }

    fn note(&mut self, nick: &Arc<str>) {
        if let Cow::Owned(key) = alike(nick) {
            self.alike.insert((key.into(), Arc::clone(nick)));
        }
    }

    fn forget(&mut self, nick: &Arc<str>) {
        if let Cow::Owned(key) = alike(nick) {
            self.alike.remove(&(key.into(), Arc::clone(nick)));
        }
    }

    /// Nicknames under which a bare JID is here: one may have several.
    pub(crate) fn nicks_of(&self, bare: &str) -> Vec<Box<str>> {
        let mut nicks: Vec<Box<str>> = self.clients_of(bare).map(|(_, nick)| nick.into()).collect();
        nicks.sort_unstable();
        nicks.dedup();
        nicks
    }

    /// Clients of a bare JID that are here, and their nicknames.
    pub(crate) fn clients_of(&self, bare: &str) -> impl Iterator<Item = (&Arc<Jid>, &str)> {
        let first = format!("{bare}/");
        let from = (Bound::Included(first.as_str()), Bound::Unbounded);
        let clients = self
            .nicks
            .range::<str, _>(from)
            .map(|(client, nick)| (&client.0, &**nick));
        clients.take_while(move |(jid, _)| jid.as_str().starts_with(&first))
    }

    /// Adds a session, to an occupant of this name or as a new one, which has this id.
    pub(crate) fn enter(&mut self, nick: &str, role: Role, session: Session, id: impl FnOnce() -> Box<str>) {
        let nick: Arc<str> = match self.by_nick.get_key_value(nick) {
            Some((nick, _)) => Arc::clone(nick),
            None => nick.into(),
        };
        self.nicks.insert(Client(Arc::clone(&session.jid)), Arc::clone(&nick));
        self.note(&nick);
        let occupant = self.by_nick.entry(nick).or_insert_with(|| Occupant {
            id: id(),
            role,
            sessions: Vec::with_capacity(1),
        });
        occupant.sessions.retain(|other| *other.jid != *session.jid);
        occupant.sessions.push(session);
    }

    /// The session has spoken: others see it from now on.
    pub(crate) fn speak(&mut self, jid: JidRef<'_>, presence: Rendered) {
        let Some(occupant) = self
            .nicks
            .get(jid.as_str())
            .and_then(|nick| self.by_nick.get_mut(&**nick))
        else {
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

    /// Takes one session out.
    pub(crate) fn leave(&mut self, jid: JidRef<'_>) -> Option<Left> {
        let nick = self.nicks.remove(jid.as_str())?;
        let occupant = self.by_nick.get_mut(&nick)?;
        let is_it = |session: &Session| session.jid.as_ref().as_ref() == jid;
        let at = occupant.sessions.iter().position(is_it)?;
        let was_seen = at + 1 == occupant.sessions.len();
        let session = occupant.sessions.remove(at);
        let last = match occupant.sessions.is_empty() {
            true => self.by_nick.remove(&nick),
            false => None,
        };
        if last.is_some() {
            self.forget(&nick);
        }
        Some(Left {
            nick,
            session,
            was_seen,
            last,
        })
    }

    /// Takes an occupant out with all its sessions.
    pub(crate) fn remove(&mut self, nick: &str) -> Option<Occupant> {
        let (nick, occupant) = self.by_nick.remove_entry(nick)?;
        self.forget(&nick);
        for session in &occupant.sessions {
            self.nicks.remove(session.jid.as_str());
        }
        Some(occupant)
    }

    /// Gives an occupant another name. Where its account is here under that name already, both are one from now on, with
    /// the role of the one that was there.
    pub(crate) fn rename(&mut self, nick: &str, new: &str) {
        let Some(Occupant { id, role, sessions }) = self.remove(nick) else {
            return;
        };
        for session in sessions {
            self.enter(new, role, session, || id.clone());
        }
    }

    /// All clients.
    pub(crate) fn everyone(&self) -> Vec<Arc<Jid>> {
        // By address: nothing but the list of clients is looked at.
        self.nicks.keys().map(|client| Arc::clone(&client.0)).collect()
    }

    /// Clients of some occupants.
    pub(crate) fn some(&self, is_meant: impl Fn(&str, &Occupant) -> bool) -> Vec<Arc<Jid>> {
        let meant = self.iter().filter(|(nick, occupant)| is_meant(nick, occupant));
        meant.flat_map(|(_, occupant)| occupant.jids().cloned()).collect()
    }
}
