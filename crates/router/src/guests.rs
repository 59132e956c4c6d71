//! Guests (XEP-0175): accounts that are there for one session, in memory alone.
//!
//! A guest's account is made when its resource is bound, and forgotten with its last session. The store never hears of
//! it: it has no roster, no archive, nothing waits for it, and its stream is resumed from memory or not at all. What
//! others keep of what it has said to them is theirs. At the border of the guests' domain one gate decides who may
//! write to whom ([`Router::is_apart`]); whatever comes in from another server has to pass it too.

use std::cell::Cell;

use module::Now;
use offline::Backlog;
use presence::Roster;
use stanza::{Jid, JidRef, MessageType, Stanza, StanzaError};

use crate::account::{Account, Moment, Rare, Session};
use crate::outbox::Resumable;
use crate::shard::Slot;
use crate::{Router, Turn};

/// Between the name of a guest and the rest of the id of its stream; neither has one.
const BEHIND_NAME: char = '.';

/// The place of a guest. Whoever gave it is told when it is free: when the guest has gone, or never came.
pub struct Guest {
    free: Option<Box<dyn FnOnce() + Send>>,
}

impl Guest {
    pub fn new(free: impl FnOnce() + Send + 'static) -> Guest {
        Guest {
            free: Some(Box::new(free)),
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(free) = self.free.take() {
            free();
        }
    }
}

impl Account {
    fn of_guest(jid: Jid, guest: Guest, now: Now) -> Account {
        Account {
            jid,
            disabled: false,
            admin: false,
            roster: Roster::new(),
            sessions: Vec::new(),
            requests: (0, 0),
            backlog: Backlog::new(0, 0),
            rare: Some(Box::new(Rare {
                guest: Some(guest),
                ..Rare::default()
            })),
            unsettled: Cell::default(),
            undecided: 0,
            stale: None,
            last: None,
            touched: Moment::of(now.seconds()),
        }
    }

    pub(crate) fn is_guest(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| rare.guest.is_some())
    }

    /// Whether a message to this address would reach anybody.
    pub(crate) fn is_reached_by(&self, to: JidRef<'_>) -> bool {
        let addressed = to.resource().and_then(|resource| self.resource(resource));
        addressed.is_some() || self.sessions.iter().any(Session::takes_messages)
    }
}

impl Router {
    /// Whether the domain is one of guests.
    pub(crate) fn is_for_guests(&self, domain: &str) -> bool {
        self.host(domain).is_some_and(|host| host.guests.is_some())
    }

    /// Makes the account of a guest who is about to bind a resource.
    pub(crate) fn take_in(&self, now: Now, jid: &Jid, guest: Guest) {
        let hash = self.hash(jid.as_str());
        let mut shard = self.lock(hash);
        // A name is random, so whoever has it is the same guest.
        if shard.get_mut(hash, jid.as_str()).is_none() {
            let account = Account::of_guest(jid.clone(), guest, now);
            shard.insert(hash, Slot::Ready(account), |slot| self.hash(slot.jid()));
        }
    }

    /// Forgets a guest whose last session has ended.
    pub(crate) fn see_off(&self, bare: &str) {
        let domain = bare.split_once('@').map_or(bare, |(_, domain)| domain);
        if !self.is_for_guests(domain) {
            return;
        }
        let hash = self.hash(bare);
        let mut shard = self.lock(hash);
        if let Some(Slot::Ready(account)) = shard.get_mut(hash, bare)
            && account.is_guest()
            && account.sessions.is_empty()
        {
            shard.remove(hash, bare);
        }
    }

    /// Guests in memory.
    pub fn count_guests(&self) -> usize {
        let mut count = 0;
        self.each_account(|account| count += usize::from(account.is_guest()));
        count
    }

    /// Whether one of the two is a guest whom the other is out of reach for, and the other way round.
    pub(crate) fn is_apart(&self, one: &str, other: &str) -> bool {
        let keeps_out = |guests: &str, other: &str| {
            let reach = self.host(guests).and_then(|host| host.guests.as_ref());
            reach.is_some_and(|reach| !reach.iter().any(|domain| domain == other))
        };
        one != other && (keeps_out(one, other) || keeps_out(other, one))
    }

    /// A stanza over the border of a domain of guests. A guest is told so; somebody else hears what he hears of who
    /// does not exist.
    pub(crate) fn refuse_at_border(&self, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        if self.is_for_guests(from.domain()) {
            let error = StanzaError::forbidden().text("guests may not write to this domain");
            self.bounce(stanza, from, to, &error, turn);
        } else {
            self.no_such_user(stanza, from, to, turn);
        }
    }

    /// A message for a guest reaches somebody now, or nobody. True: nobody, and its sender was told.
    pub(crate) fn misses_guest(
        &self,
        account: &Account,
        kind: MessageType,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> bool {
        if account.is_reached_by(to) {
            return false;
        }
        if matches!(kind, MessageType::Chat | MessageType::Normal) {
            self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn);
        }
        true
    }

    /// Whose stream this is: a guest that comes back has another name, and shows with the id of its stream who it was.
    pub(crate) fn owner_of_stream(&self, account: Jid, previd: &str) -> Jid {
        if !self.is_for_guests(account.domain()) {
            return account;
        }
        let name = previd.split_once(BEHIND_NAME).map(|(name, _)| name);
        name.and_then(|name| Jid::new(Some(name), account.domain(), None).ok())
            .unwrap_or(account)
    }
}

impl Resumable {
    /// The same of a guest's stream: its id is all that the guest can show when it comes back, and nothing of it is
    /// written down.
    pub(crate) fn of_guest(self, jid: JidRef<'_>) -> Resumable {
        let name = jid.local().unwrap_or_default();
        Resumable {
            id: format!("{name}{BEHIND_NAME}{}", self.id).into(),
            key: None,
            ..self
        }
    }
}
