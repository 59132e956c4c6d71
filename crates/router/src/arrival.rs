//! Who comes online is sent the last items of the nodes that he wants to hear of: of his own account, and of those
//! whose presence he sees (XEP-0163 section 4.3.4).
//!
//! One account after the other, each asked at its owner as it is then: so a crowd that arrives does not flood the store
//! with what nobody waits for. Accounts without nodes are found in one question, and not read.

use std::sync::Arc;

use module::{AccountView, Arrival, MakeChange, Notice, Now, Relation, Step};
use stanza::{Jid, JidRef};
use store::{Found, Query, StoreError};

use crate::account::{Account, Session};
use crate::caps::Caps;
use crate::load::Held;
use crate::turn::Work;
use crate::{Router, Turn};

/// Contacts whose nodes are looked at for one session that arrives. Of more it hears when something is published.
const CONTACTS: usize = 1_000;

/// A session that wants to hear, and whose nodes are still to be looked at.
pub(crate) struct Arrived {
    who: Jid,
    /// None: it is of another server, and has just said that it is there.
    session: Option<u64>,
    caps: Arc<Caps>,
    /// Bare JIDs; the next one is the last.
    owners: Vec<Box<str>>,
}

impl Router {
    /// The session is available, and it is known what it wants.
    pub(crate) fn has_arrived(&self, account: &Account, session: &Session, turn: &mut Turn) {
        let Some(caps) = session.caps().filter(|caps| !caps.notify().is_empty()) else {
            return;
        };
        let Ok(who) = Jid::parse(&account.full(session)) else {
            return;
        };
        let seen = account.roster.subscriptions().map(|item| &*item.jid);
        let seen = seen.filter(|jid| !account.blocks(jid)).take(CONTACTS);
        turn.queue.push_back(Work::Arrives(Box::new(Arrived {
            who,
            session: Some(session.id),
            caps: Arc::clone(caps),
            owners: std::iter::once(account.jid.as_str())
                .chain(seen)
                .map(Into::into)
                .collect(),
        })));
    }

    /// The same of a client of another server, for one account: its own server sees to the rest.
    pub(crate) fn has_arrived_elsewhere(&self, account: &Account, who: JidRef<'_>, caps: Arc<Caps>, turn: &mut Turn) {
        if caps.notify().is_empty() {
            return;
        }
        turn.queue.push_back(Work::Arrives(Box::new(Arrived {
            who: who.to_owned(),
            session: None,
            caps,
            owners: vec![account.jid.as_str().into()],
        })));
    }

    /// Finds those of its contacts that have nodes at all.
    pub(crate) fn look_for_nodes(&self, mut arrived: Box<Arrived>) {
        let Some(nodes) = self.registry().nodes() else { return };
        let queries = arrived
            .owners
            .iter()
            .map(|owner| Query::get(nodes.accounts, owner, None));
        let query = Query::Many(queries.collect());
        let owner = arrived.who.bare_str().to_owned();
        self.when_read(&owner, query, move |router, _, found| {
            let Ok(found) = found.and_then(Found::many) else { return };
            let mut has_nodes = found.into_iter().map(|found| matches!(found, Found::Row(Some(_))));
            arrived.owners.retain(|_| has_nodes.next() == Some(true));
            // One's own first.
            arrived.owners.reverse();
            router.look_on(arrived);
        });
    }

    fn look_on(&self, arrived: Box<Arrived>) {
        let mut turn = Turn::default();
        turn.queue.push_back(Work::LooksOn(arrived));
        self.settle((self.clock)(), &mut turn);
        turn.finish();
    }

    /// The next account.
    pub(crate) fn look_at_next(&self, now: Now, mut arrived: Box<Arrived>, turn: &mut Turn) {
        if let Some(session) = arrived.session {
            let is_there = |account: &mut Account| account.session(session).is_some_and(Session::is_available);
            if self.with(arrived.who.bare_str(), is_there) != Some(true) {
                return;
            }
        }
        while let Some(owner) = arrived.owners.pop() {
            let Ok(owner) = Jid::parse(&owner) else { continue };
            let act = |account: &mut Account, arrived, turn: &mut Turn| self.look_at(now, account, arrived, turn);
            match self.give_or_hold(turn, owner.as_ref(), arrived, act, Held::Arrived) {
                Ok(()) => return,
                // Too much waits for it already.
                Err((returned, _)) => arrived = returned,
            }
        }
    }

    /// At the owner.
    pub(crate) fn look_at(&self, now: Now, account: &mut Account, arrived: Box<Arrived>, turn: &mut Turn) {
        let who = arrived.who.as_ref();
        let relation = account.relation(who);
        let nodes = self.registry().nodes();
        let Some(nodes) = nodes.filter(|_| relation != Relation::Stranger && !account.blocks(who.as_str())) else {
            return turn.queue.push_back(Work::LooksOn(arrived));
        };
        let arrival = Arrival {
            now,
            owner: account.jid.clone(),
            who: arrived.who.clone(),
            relation,
            contact: account.contact(who).unwrap_or_default(),
        };
        let (query, make) = (nodes.last)(&arrival, arrived.caps.notify());
        self.read_last(account.jid.as_ref(), query, make, arrived);
    }

    fn read_last(&self, owner: JidRef<'_>, query: Query, make: MakeChange, arrived: Box<Arrived>) {
        self.when_read(
            owner.as_str(),
            query,
            move |router, owner, found: Result<Found, StoreError>| match make(found) {
                Ok(Step::Ask(query, make)) => {
                    if let Ok(owner) = Jid::parse(owner) {
                        router.read_last(owner.as_ref(), query, make, arrived);
                    }
                }
                Ok(Step::Done(change)) => router.tell_last(owner, change.notices, arrived),
                Err(_) => router.look_on(arrived),
            },
        );
    }

    fn tell_last(&self, owner: &str, notices: Vec<Notice>, arrived: Box<Arrived>) {
        let mut turn = Turn::default();
        for notice in notices {
            turn.letter(notice.message.text_with(owner, Some(arrived.who.as_str())));
        }
        turn.queue.push_back(Work::LooksOn(arrived));
        self.settle((self.clock)(), &mut turn);
        turn.finish();
    }
}
