//! What follows from an invitation for rosters (`accounts::invitations`): who shows its token with a request to subscribe
//! is welcome (XEP-0379), and who gets an account with it is made a contact of who has invited him (XEP-0401 section 5.5).
//!
//! A token is looked up before its request is shown to anybody. It is used up in the batch that makes the contact, so of
//! two who show it one gets what it is for, and the request of the other is one like any other.
//!
//! The roster of a new account is written with the account. That of the contact belongs to his owner, who is told behind
//! that; a note in the store says so until it is done, so that a crash between the two is made good at the next start.

use accounts::invitations::{self, INTRODUCTIONS, Invitation};
use module::{Acted, Action, Agreed, Now, Refused, Secret, Terms};
use presence::{Change, Roster};
use stanza::{Condition, Edits, ErrorType, Jid, JidRef, Rendered, Stanza, StanzaError, ns};
use store::{Batch, Found, PAGE_LIMIT, Query, StoreError, Value};

use crate::account::Account;
use crate::durable::{After, told};
use crate::iq::Return;
use crate::load::Held;
use crate::outgoing::letter;
use crate::roster::Passed;
use crate::turn::Work;
use crate::{RosterLimits, Router, Turn};

/// Room for the one contact of an account that is made.
const FIRST_CONTACT: RosterLimits = RosterLimits {
    items: 1,
    groups_per_item: 0,
    name_bytes: 0,
    group_bytes: 0,
    requests: 0,
    request_bytes: 0,
};

/// What a new account has to fulfil besides having a free name: that name is not kept for somebody else, and the
/// invitation, where there has to be one, is good for it. It is used up with the account.
pub fn terms(account: &Jid, invitation: Option<Box<str>>, now: Now) -> Terms {
    let mut queries = vec![invitations::reservation(account)];
    queries.extend(invitation.as_deref().into_iter().flat_map(invitations::queries));
    let account = account.clone();
    Terms {
        query: Query::Many(queries),
        agree: Box::new(move |found| agreed(&account, invitation.as_deref(), now.seconds(), found)),
    }
}

fn agreed(account: &Jid, key: Option<&str>, now: i64, found: Result<Found, StoreError>) -> Result<Agreed, StanzaError> {
    let mut parts = found.and_then(Found::many).map_err(|error| told(&error))?.into_iter();
    let reservation = parts.next().and_then(|found| found.row().ok()).flatten();
    if invitations::is_reserved(reservation.as_ref(), key, now) {
        return Err(StanzaError::conflict().text("this name is kept for somebody who was invited"));
    }
    let Some(key) = key else { return Ok(Agreed::default()) };
    // XEP-0445 section 4: whether it is in time was asked when it was shown, and only then.
    let invitation = invitations::read_parts(key, &mut parts)
        .map_err(|error| told(&error))?
        .filter(|invitation| {
            invitation.used < invitation.uses && invitation.domain.as_deref() == Some(account.domain())
        })
        .ok_or_else(|| StanzaError::item_not_found().text(INVALID_TOKEN))?;
    if invitation
        .username
        .as_deref()
        .is_some_and(|name| account.local() != Some(name))
    {
        return Err(StanzaError::not_acceptable().text("this invitation is for another name"));
    }
    let mut batch = invitations::spend(Batch::new(), &invitation, account, now);
    if let Some(contact) = &invitation.contact {
        let first = Roster::new().befriend(account.as_str(), contact.as_str(), &FIRST_CONTACT)?;
        batch.ops.extend(first.ops);
        batch = invitations::introduce(batch, account, contact);
    }
    let admin = invitation.admin;
    Ok(Agreed { batch, admin })
}

/// The column of [`accounts::ACCOUNTS`] that says that nobody logs in.
const DISABLED: usize = 1;

/// As the example of XEP-0445 section 4 has it, whatever is wrong.
pub const INVALID_TOKEN: &str = "The provided token is invalid or expired";

/// The token of `<preauth/>`, as it is found by.
pub(crate) fn key_in(stanza: &Stanza<'_>) -> Option<Box<str>> {
    let preauth = stanza.children().find(|child| child.is("preauth", ns::PREAUTH))?;
    invitations::key_of(&preauth.attr("token")?)
}

impl Router {
    /// A request to subscribe that shows a token; [`Router::request_with`] goes on when that was looked up.
    pub(crate) fn look_at_token(&self, account: &Account, key: Box<str>, stanza: &Stanza<'_>, from: JidRef<'_>) {
        let text = letter(stanza, from, account.jid.as_ref());
        self.when_read(
            account.jid.as_str(),
            invitations::get(&key),
            move |router, owner, found| {
                let now = (router.clock)();
                let mut turn = Turn::default();
                // What cannot be read is as if it were not there.
                let mut invitation = found.and_then(|found| invitations::read(&key, found)).ok().flatten();
                let is_done = router.with(owner, |account| {
                    if account.stale.is_some() {
                        return false;
                    }
                    router.read_letter(&text, &mut turn, |stanza, from, _, _| {
                        router.request_with(now, account, invitation.take(), stanza, from);
                    });
                    true
                });
                if is_done != Some(true) {
                    // It has left the memory, or is read anew: once more from the beginning.
                    turn.letter(text.into());
                }
                router.settle(now, &mut turn);
                turn.finish();
            },
        );
    }

    /// The request of somebody with a token, whatever it is worth.
    fn request_with(
        &self,
        now: Now,
        account: &mut Account,
        invitation: Option<Invitation>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
    ) {
        if account.blocks(from.as_str()) {
            return;
        }
        let invitation = invitation.filter(|invitation| {
            let is_own = invitation.contact.as_ref() == Some(&account.jid);
            is_own && invitation.is_for_contacts() && invitation.holds(now.seconds()) && !account.disabled
        });
        let (owner, contact) = (account.jid.as_str().to_owned(), from.bare_str());
        let welcome = invitation
            .filter(|_| contact != owner && !account.roster.state(contact).subscription.from())
            .and_then(|invitation| {
                let welcome = account.roster.welcome(&owner, contact, &self.limits.roster);
                Some((invitation, welcome.ok()?))
            });
        let Some((invitation, mut effects)) = welcome else {
            return self.changed_by_contact(account, Change::Subscribe, stanza, from);
        };
        let mut batch = invitations::spend(Batch::new(), &invitation, &from.bare().to_owned(), now.seconds());
        batch.ops.append(&mut effects.ops);
        effects.ops = batch.ops;
        tracing::info!(account = %owner, "somebody has come with an invitation");
        let text = Rendered::of(stanza, &Edits::default()).text_with(contact, Some(&owner));
        let (again, back) = (text.clone(), Return::of(stanza, from.to_owned(), account.jid.clone()));
        let passed = Passed { contact, text };
        let failed = Box::new(move |error: &StanzaError| match error.condition {
            // Somebody else was first: now its token is good for nothing.
            Condition::ItemNotFound | Condition::Conflict => vec![After::letter(again)],
            _ => back.error(error),
        });
        self.carry_out(
            account,
            effects,
            &passed,
            Some(Change::Subscribe),
            None,
            failed,
            None,
            None,
        );
    }

    /// Looks up the invitation of a token that somebody shows who wants an account. None also where who has made it, or
    /// is to be the contact, has no account any more or may not log in.
    pub fn look_at_invitation(&self, key: Box<str>, then: impl FnOnce(Option<Invitation>) + Send + 'static) {
        let query = invitations::get(&key);
        self.when_read(&key, query, move |router, key, found| {
            let Some(invitation) = found.and_then(|found| invitations::read(key, found)).ok().flatten() else {
                return then(None);
            };
            let patrons = [&invitation.inviter, &invitation.contact];
            let patrons = Query::Many(patrons.into_iter().flatten().map(accounts::get).collect());
            router.when_read(key, patrons, move |_, _, found| {
                let rows = found.and_then(Found::many).unwrap_or_else(|_| vec![Found::Row(None)]);
                let may_invite = |found: Found| match found.row() {
                    Ok(Some(row)) => row.get(DISABLED).and_then(Value::as_int) == Some(0),
                    _ => false,
                };
                then(Some(invitation).filter(|_| rows.into_iter().all(may_invite)));
            });
        });
    }

    /// Makes an account for somebody who comes over a stream. `then` is called once, on another thread, and not where
    /// this returns an error.
    pub fn make_account(
        &self,
        now: Now,
        account: Jid,
        password: Secret,
        invitation: Option<Box<str>>,
        then: Box<dyn FnOnce(Result<(), StanzaError>) + Send>,
    ) -> Result<(), StanzaError> {
        let asker = Jid::new(None, account.domain(), None);
        let (Some(manager), Ok(asker)) = (self.manager(), asker) else {
            return Err(StanzaError::service_unavailable());
        };
        let action = Action::Add {
            account: account.clone(),
            password,
            admin: false,
            terms: Some(terms(&account, invitation, now)),
        };
        let me = self.me.clone();
        let then = Box::new(move |acted: Acted| {
            if let (Ok(_), Some(router)) = (&acted, me.upgrade()) {
                router.introduce(&account);
            }
            then(acted.map(drop).map_err(|refused| match refused {
                // Somebody became a contact with the same token, in the same moment.
                Refused::Store(StoreError::Missing) => StanzaError::item_not_found().text(INVALID_TOKEN),
                refused => refused.error(),
            }));
        });
        match manager.manage(&asker, action, then) {
            true => Ok(()),
            false => {
                let error = StanzaError::resource_constraint().kind(ErrorType::Wait);
                Err(error.text("too many accounts are being made; try again in a moment"))
            }
        }
    }

    /// Tells the contact of a new account of it, if it was made with an invitation that says so. Call it when the
    /// account is in the store.
    pub fn introduce(&self, account: &Jid) {
        let query = Query::get(&INTRODUCTIONS, account.as_str(), None);
        self.when_read(account.as_str(), query, |router, account, found| {
            let Ok(Some(row)) = found.and_then(Found::row) else {
                return;
            };
            router.introduce_to(account, row.first());
        });
    }

    /// The same for all whom the last run has left. Returns how many. Blocking: not on a worker.
    pub fn introduce_all(&self) -> Result<usize, StoreError> {
        let (mut count, mut after) = (0, None::<Box<str>>);
        loop {
            let page = Query::owners(&INTRODUCTIONS, after.as_deref(), PAGE_LIMIT);
            let page = self.store.read_wait(page).and_then(Found::owners)?;
            let Some((last, _)) = page.last() else { return Ok(count) };
            after = Some(last.clone());
            count += page.len();
            for (account, row) in page {
                self.introduce_to(&account, row.first());
            }
        }
    }

    fn introduce_to(&self, account: &str, contact: Option<&Value>) {
        let contact = contact
            .and_then(Value::as_text)
            .and_then(|contact| Jid::parse(contact).ok());
        let Some(contact) = contact else {
            return self.introduced(account);
        };
        let mut turn = Turn::default();
        turn.queue.push_back(Work::Introduce(contact, account.into()));
        self.settle((self.clock)(), &mut turn);
        turn.finish();
    }

    /// At the contact's owner, or as soon as he is there. Where too much waits for him it is left to the next start.
    pub(crate) fn meet(&self, contact: &Jid, account: Box<str>, turn: &mut Turn) {
        let met = self.give_or_hold(
            turn,
            contact.as_ref(),
            account,
            |owner, account, _| self.meet_now(owner, account),
            Held::Introduced,
        );
        if met.is_err() {
            tracing::warn!(account = %contact, "too much waits: a new contact is left to the next start");
        }
    }

    pub(crate) fn meet_now(&self, owner: &mut Account, account: Box<str>) {
        let own = owner.jid.as_str().to_owned();
        match owner.roster.befriend(&own, &account, &self.limits.roster) {
            // There is no room, or they have met.
            Err(_) => self.introduced(&account),
            Ok(effects) if effects.ops.is_empty() => self.introduced(&account),
            Ok(mut effects) => {
                effects.ops.extend(met(&account).ops);
                let passed = Passed {
                    contact: &account,
                    text: String::new(),
                };
                // It is left to the next start.
                let failed = Box::new(|_: &StanzaError| Vec::new());
                self.carry_out(owner, effects, &passed, None, None, failed, None, None);
            }
        }
    }

    /// Nothing is left to be done.
    pub(crate) fn introduced(&self, account: &str) {
        self.write(account, met(account), Vec::new(), Box::new(|_| Vec::new()), None);
    }
}

fn met(account: &str) -> Batch {
    Batch::new().delete(&INTRODUCTIONS, account, None)
}
