//! Blocking (XEP-0191) at the owner: what a change of the list tells whom, and who is turned away.
//!
//! A blocked entity sees what it would see of an account that is offline, and nothing comes from it. Where a broadcast
//! is made (`broadcast.rs`) those on the list are left out, on either side.

use std::sync::Arc;

use module::{Blocking, Now, Report, Switches};
use presence::Presence;
use presence::blocking::BlockList;
use stanza::{ErrorType, Jid, JidRef, Kind, Stanza, StanzaError, error_reply, ns};
use store::{Archived, Batch};

use crate::account::Account;
use crate::directed::Directed;
use crate::durable::After;
use crate::iq::Return;
use crate::outbox::{Item, Receipt};
use crate::sessions::escaped;
use crate::turn::{Contacts, Work};
use crate::{Bound, Router, Turn};

impl Account {
    /// Whether nothing comes from this entity, and nothing goes there. Never so for the account itself and for the
    /// server that speaks for it.
    pub(crate) fn blocks(&self, jid: &str) -> bool {
        let Some(rare) = &self.rare else { return false };
        let is_own = |jid: &str| jid == self.jid.as_str() || jid == self.jid.domain();
        rare.blocked.has(jid) && !is_own(jid.split_once('/').map_or(jid, |(bare, _)| bare))
    }
}

impl Account {
    /// Resources that are blocked while their accounts are not.
    pub(crate) fn blocked_resources(&self) -> Option<BlockList> {
        self.rare.as_ref()?.blocked.of_resources()
    }
}

impl Router {
    /// Sections 3.3 to 3.5: a client of the account changes its list.
    #[allow(clippy::too_many_arguments)] // what an IQ request consists of
    pub(crate) fn change_blocked(
        &self,
        now: Now,
        account: &mut Account,
        change: Blocking,
        reports: Vec<Report>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        if account.is_guest() {
            // Nothing of a guest is written.
            return self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn);
        }
        if !reports.is_empty() {
            return self.block_and_report(account, change, reports, stanza, from, to, turn);
        }
        let back = Return::of(stanza, from.to_owned(), to.to_owned());
        let receipt = turn.receipt();
        if let Err(refused) = self.block(now, account, &change, Batch::new(), back, receipt) {
            self.bounce(stanza, from, to, &refused.1, turn);
        }
    }

    /// The change itself, and what is written with it. Or who asked is to be told this.
    pub(crate) fn block(
        &self,
        now: Now,
        account: &mut Account,
        change: &Blocking,
        mut along: Batch,
        back: Return,
        receipt: Option<Receipt>,
    ) -> Result<(), Box<(Return, StanzaError)>> {
        let before = account
            .rare
            .as_ref()
            .map(|rare| rare.blocked.clone())
            .unwrap_or_default();
        let mut after = before.clone();
        let Ok(mut batch) = after.apply(account.jid.as_str(), change, now.seconds()) else {
            let error = StanzaError::resource_constraint().kind(ErrorType::Cancel);
            return Err(Box::new((back, error.text("too many addresses are blocked"))));
        };
        batch.ops.append(&mut along.ops);
        let client = back.from.as_ref().resource().and_then(|own| account.resource(own));
        let client = client.map(|session| Arc::clone(&session.outbox));
        let mut then: Vec<After> = client
            .iter()
            .map(|client| After::push(client, back.result("")))
            .collect();
        let push = push(change);
        for session in &account.sessions {
            if session.switches.has(Switches::BLOCKLIST) {
                let (to, id) = (escaped(&account.full(session)), account.roster.version());
                let text = format!("<iq type='set' id='block-{id}-{}' to='{to}'>{push}</iq>", now.0);
                then.push(After::push(&session.outbox, text));
            }
        }
        account.rare_mut().blocked = after.clone();
        then.extend(self.presence_of_change(account, &before, &after));
        let failed = Box::new(move |error: &StanzaError| back.error(error));
        self.decide(account, batch, then, failed, client, receipt);
        Ok(())
    }

    /// Who is blocked now sees the account go, who is not any more sees it come.
    fn presence_of_change(&self, account: &mut Account, before: &BlockList, after: &BlockList) -> Vec<After> {
        let mut then = Vec::new();
        let mut tell = |account: &Account, what, to: &str| then.extend(self.presence_to_contact(account, what, to));
        for item in account.roster.subscribers() {
            match (before.has(&item.jid), after.has(&item.jid)) {
                (false, true) => tell(account, Presence::Unavailable, &item.jid),
                (true, false) => tell(account, Presence::Available, &item.jid),
                _ => {}
            }
        }
        // One resource of a contact.
        for (list, other, what) in [
            (after, before, Presence::Unavailable),
            (before, after, Presence::Available),
        ] {
            for address in list.addresses() {
                // Of an account, or of any at a domain (section 5).
                let Some((whose, resource)) = address.split_once('/') else {
                    continue;
                };
                let is_whose =
                    |bare: &str| bare == whose || bare.split_once('@').is_some_and(|(_, domain)| domain == whose);
                for item in account.roster.subscribers().filter(|item| is_whose(&item.jid)) {
                    let full = format!("{}/{resource}", item.jid);
                    if !other.has(&full) && !list.has(&item.jid) {
                        tell(account, what, &full);
                    }
                }
            }
        }
        // Who was shown a resource by itself (RFC 6121 section 4.6).
        let mut gone = Vec::new();
        for session in &mut account.sessions {
            let blocked = session.directed().into_iter().flat_map(Directed::iter);
            let blocked: Vec<Box<str>> = blocked.filter(|jid| after.has(jid)).map(Box::from).collect();
            for jid in blocked {
                session.change_directed(|directed| directed.remove(&jid));
                gone.push((session.resource.clone(), jid));
            }
        }
        for (resource, to) in gone {
            let from = escaped(&format!("{}/{resource}", account.jid.as_str()));
            let to = escaped(&to);
            then.push(After::letter(format!(
                "<presence from='{from}' to='{to}' type='unavailable'/>"
            )));
        }
        // And the account sees again who comes off the list.
        let seen = account.roster.subscriptions().map(|item| &*item.jid);
        let seen: Vec<&str> = seen.filter(|jid| before.has(jid) && !after.has(jid)).collect();
        if !seen.is_empty() {
            for session in account.sessions.iter().filter(|session| session.is_available()) {
                let Ok(from) = Jid::parse(&account.full(session)) else {
                    continue;
                };
                let (session, to) = (session.id, Contacts::of(seen.iter().copied()));
                then.push(After::Work(Work::Probes { from, session, to }));
            }
        }
        then
    }

    /// Section 3.3: a blocked entity sends something. Presence is never answered, and the rest as if there were nobody.
    pub(crate) fn turn_away_blocked(&self, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        // For an error a room would put its occupant out, who only wants to hear nothing of another.
        if !matches!(stanza.kind(), Kind::Presence(_)) && !self.is_of_room_elsewhere(stanza, from) {
            self.no_such_user(stanza, from, to, turn);
        }
    }

    /// Section 3.3: what has waited, and is of somebody who is blocked by now, is not delivered. It stays in the archive;
    /// what stands in none goes back to who sent it. True: that was so.
    pub(crate) fn withhold(&self, account: &Account, message: &Archived, turn: &mut Turn) -> bool {
        if account.rare.as_ref().is_none_or(|rare| rare.blocked.is_empty()) {
            return false;
        }
        let mut is_blocked = false;
        self.read_letter(&message.stanza, turn, |stanza, from, to, turn| {
            is_blocked = account.blocks(from.as_str());
            if is_blocked && !message.archived {
                self.turn_away_blocked(stanza, from, to, turn);
            }
        });
        is_blocked
    }

    /// Section 3.3: the account itself sends something to whom it has blocked. True: that was refused.
    pub(crate) fn refuse_to_blocked(
        &self,
        bound: &Bound,
        stanza: &Stanza<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> bool {
        let refused = self.with(bound.jid.bare_str(), |account| {
            refuses_to_blocked(self, account, bound, stanza, to, turn)
        });
        refused == Some(true)
    }
}

/// The same where the account is at hand.
pub(crate) fn refuses_to_blocked(
    router: &Router,
    account: &Account,
    bound: &Bound,
    stanza: &Stanza<'_>,
    to: JidRef<'_>,
    turn: &mut Turn,
) -> bool {
    if !account.blocks(to.as_str()) {
        return false;
    }
    // Into the outbox: on the way that answers take it would come from the blocked one.
    if let Some(session) = account.session(bound.id).filter(|_| stanza.kind().may_be_answered()) {
        let blocked = format!("<blocked xmlns='{}'/>", ns::BLOCKING_ERRORS);
        let error = StanzaError::not_acceptable().kind(ErrorType::Cancel).app(blocked);
        router.push(account, session, Item::Other, turn, |out| {
            error_reply(stanza, to.as_str(), bound.jid.as_str(), &error, out);
        });
    }
    true
}

/// Section 3.3: what the account's clients are told of a change.
fn push(change: &Blocking) -> String {
    let (name, items) = match change {
        Blocking::Block(items) => ("block", &items[..]),
        Blocking::Unblock(items) => ("unblock", &items[..]),
        Blocking::UnblockAll => ("unblock", &[][..]),
    };
    let items: String = items
        .iter()
        .map(|jid| format!("<item jid='{}'/>", escaped(jid)))
        .collect();
    format!("<{name} xmlns='{}'>{items}</{name}>", ns::BLOCKING)
}
