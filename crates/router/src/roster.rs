//! The roster and its subscriptions at the owner: `presence` decides, this carries it out.

use std::sync::Arc;

use module::{Method, Now, Relation};
use presence::{Change, Effects, Set};
use stanza::{Condition, Edits, JidRef, Kind, PresenceType, Rendered, Stanza, StanzaError};
use store::Batch;
use xmlstream::Child;

use crate::account::{Account, Session};
use crate::deposit::Origin;
use crate::durable::After;
use crate::iq::Return;
use crate::load::store_failed;
use crate::outbox::{Item, Receipt};
use crate::outgoing::letter;
use crate::sessions::escaped;
use crate::turn::Work;
use crate::{Bound, Outbox, Router, Turn};

/// Seconds of the window in which subscription requests are counted.
const REQUEST_WINDOW: i64 = 60;

/// A stanza of a subscription on its way, with both addresses bare (RFC 6121 section 3.1.2).
pub(crate) struct Passed<'a> {
    pub(crate) contact: &'a str,
    /// As it goes to the contact, or as it came from it.
    pub(crate) text: String,
}

impl Router {
    /// RFC 6121 section 2: get and set of one's own roster.
    #[allow(clippy::too_many_arguments)] // what an IQ request consists of
    pub(crate) fn ask_roster(
        &self,
        account: &mut Account,
        relation: Relation,
        method: Method,
        payload: Child<'_>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        debug_assert!(
            relation == Relation::Owner,
            "`route` refuses the rosters of others, but for components that may"
        );
        if payload.name() != "query" {
            return self.bounce(stanza, from, to, &StanzaError::feature_not_implemented(), turn);
        }
        let back = Return::of(stanza, from.to_owned(), to.to_owned());
        match method {
            // What waits for its commit may still be taken back, and a version that was told and did
            // not come to be would later stand for something else.
            Method::Get if account.undecided > 0 => {
                let text = letter(stanza, from, to);
                self.ask_again(match turn.origin.take_if(|origin| origin.is_privileged) {
                    // Else it would be a stranger's then.
                    Some(origin) => Work::Sent(
                        text,
                        Origin {
                            is_awaited: false,
                            ..origin
                        },
                    ),
                    None => Work::Letter(text),
                });
            }
            Method::Get => {
                let mut roster = Vec::new();
                let known = payload.attr("ver");
                account.roster.result_since(known.as_deref(), &mut roster);
                let result = back.result(&String::from_utf8(roster).unwrap_or_default());
                let Some(session) = from.resource().and_then(|resource| {
                    account
                        .sessions
                        .iter_mut()
                        .find(|session| &*session.resource == resource)
                }) else {
                    // A component with a privilege, which is told of changes behind this; or one that asks in the
                    // name of the account.
                    if !self.answer_component(&back, &result, turn) && from.resource().is_none() {
                        turn.letter(result);
                    }
                    return;
                };
                session.interested = true;
                // Into the outbox here, under the lock: a push that follows must come after it.
                session
                    .outbox
                    .push(turn, Item::Other, |out| out.extend_from_slice(result.as_bytes()));
            }
            Method::Set => {
                let owner = account.jid.as_str().to_owned();
                let changed = Set::parse(&payload.to_dom(), &owner, &self.limits.roster).and_then(|set| match set {
                    Set::Update(update) => {
                        let contact = update.jid.clone();
                        account
                            .roster
                            .apply_set(&owner, update, &self.limits.roster)
                            .map(|done| (contact, done))
                    }
                    Set::Remove { jid } => account.roster.apply_remove(&owner, &jid).map(|done| (jid, done)),
                });
                match changed {
                    Err(error) => self.bounce(stanza, from, to, &error, turn),
                    Ok((contact, effects)) => {
                        let passed = Passed {
                            contact: &contact,
                            text: String::new(),
                        };
                        let client = from
                            .resource()
                            .and_then(|resource| account.resource(resource))
                            .map(|session| Arc::clone(&session.outbox));
                        let result = match &client {
                            Some(client) => After::push(client, back.result("")),
                            None => After::letter(back.result("")),
                        };
                        let failed = Box::new(move |error: &StanzaError| back.error(error));
                        // Pushes first, as section 2.1.6 and the examples of 2.3.2 have it.
                        self.carry_out(
                            account,
                            effects,
                            &passed,
                            None,
                            Some(result),
                            failed,
                            client,
                            turn.receipt(),
                        );
                    }
                }
            }
        }
    }

    /// A client asks for, grants or ends a subscription (section 3, appendix A.2).
    pub(crate) fn subscription_from_client(
        &self,
        now: Now,
        bound: &Bound,
        stanza: &Stanza<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let Some(change) = change(stanza) else { return };
        if self.is_for_guests(bound.jid.domain()) {
            let error = StanzaError::forbidden().text("guests have no contacts");
            return self.bounce(stanza, bound.jid.as_ref(), to, &error, turn);
        }
        let own = bound.jid.to_bare();
        let refused = self.with(own.as_str(), |account| {
            if change == Change::Subscribe && !self.may_request(now, account) {
                return Some(StanzaError::policy_violation().text("too many subscription requests; try again later"));
            }
            if account.stale.is_some() {
                return Some(store_failed());
            }
            let contact = to.bare_str();
            match account
                .roster
                .outbound(own.as_str(), contact, change, &self.limits.roster)
            {
                Err(error) => Some(error),
                Ok(effects) => {
                    // Section 3.1.2: from the bare JID, to the bare JID.
                    let rendered = Rendered::of(stanza, &Edits::default());
                    let passed = Passed {
                        contact,
                        text: rendered.text_with(own.as_str(), Some(contact)),
                    };
                    let back = Return::of(stanza, bound.jid.clone(), to.to_owned());
                    let failed = Box::new(move |error: &StanzaError| back.error(error));
                    let client = Some(Arc::clone(&bound.outbox));
                    self.carry_out(account, effects, &passed, None, None, failed, client, turn.receipt());
                    None
                }
            }
        });
        if let Some(Some(error)) = refused {
            self.bounce(stanza, bound.jid.as_ref(), to, &error, turn);
        }
    }

    fn may_request(&self, now: Now, account: &mut Account) -> bool {
        // Only ever compared for being the same.
        let window = (now.seconds() / REQUEST_WINDOW) as u32;
        if account.requests.0 != window {
            account.requests = (window, 0);
        }
        account.requests.1 = account.requests.1.saturating_add(1);
        account.requests.1 <= self.limits.subscription_requests
    }

    /// A contact's subscription stanza at the recipient's owner (appendix A.3).
    pub(crate) fn subscription_incoming(
        &self,
        _now: Now,
        account: &mut Account,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        _turn: &mut Turn,
    ) {
        let Some(change) = change(stanza) else { return };
        if account.is_guest() {
            // As where there is no account.
            return;
        }
        let token = (change == Change::Subscribe).then(|| crate::invitations::key_in(stanza));
        match token.flatten() {
            Some(key) => self.look_at_token(account, key, stanza, from),
            None => self.changed_by_contact(account, change, stanza, from),
        }
    }

    pub(crate) fn changed_by_contact(
        &self,
        account: &mut Account,
        change: Change,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
    ) {
        if change == Change::Subscribe
            && let Err(error) = self.takes_request((self.clock)(), account, from)
        {
            if let Some(error) = error {
                let back = Return::of(stanza, from.to_owned(), account.jid.clone());
                self.ask_again(Work::Letter(back.error_text(&error).into()));
            }
            return;
        }
        let owner = account.jid.as_str().to_owned();
        let contact = from.bare_str();
        let text = Rendered::of(stanza, &Edits::default()).text_with(contact, Some(&owner));
        let effects = account
            .roster
            .inbound(&owner, contact, change, &text, &self.limits.roster);
        if effects.dropped {
            tracing::info!(account = %owner, "a subscription request was dropped: too many wait already");
            return;
        }
        let passed = Passed { contact, text };
        let back = Return::of(stanza, from.to_owned(), account.jid.clone());
        let failed = Box::new(move |error: &StanzaError| match error.condition {
            // Removed meanwhile: as to an account that never was.
            Condition::ItemNotFound => Vec::new(),
            // Section 3.1.2: the sender is told that it did not arrive.
            _ => back.error(error),
        });
        self.carry_out(account, effects, &passed, Some(change), None, failed, None, None);
    }

    /// Executes what `presence` decided, in the order of the fields of [`Effects`]; at once where
    /// nothing has to be stored, else after the commit.
    #[allow(clippy::too_many_arguments)] // the parts of one change
    pub(crate) fn carry_out(
        &self,
        account: &mut Account,
        effects: Effects,
        passed: &Passed<'_>,
        arrived: Option<Change>,
        result: Option<After>,
        failed: crate::durable::OnFailure,
        client: Option<Arc<Outbox>>,
        receipt: Option<Receipt>,
    ) {
        let mut then = Vec::new();
        let contact = passed.contact;
        if effects.send_presence == presence::Presence::Unavailable {
            then.extend(self.presence_to_contact(account, effects.send_presence, contact));
        }
        if effects.route {
            then.push(After::letter(passed.text.clone()));
        }
        for change in effects.generate {
            let (from, to) = (escaped(account.jid.as_str()), escaped(contact));
            then.push(After::letter(format!(
                "<presence from='{from}' to='{to}' type='{}'/>",
                change.as_str()
            )));
        }
        if effects.deliver {
            // Requests to who is available, changes to who shows the roster (section 3.1.6).
            let wants = |session: &&Session| match arrived {
                Some(Change::Subscribe) => session.is_available(),
                _ => session.interested || session.is_available(),
            };
            for session in account.sessions.iter().filter(wants) {
                then.push(After::push(&session.outbox, passed.text.clone()));
            }
        }
        if let Some(push) = &effects.push {
            let query = String::from_utf8_lossy(push);
            for session in account.sessions.iter().filter(|session| session.interested) {
                let to = escaped(&account.full(session));
                let id = account.roster.version();
                then.push(After::push(
                    &session.outbox,
                    format!("<iq type='set' id='roster-{id}' to='{to}'>{query}</iq>"),
                ));
            }
            then.extend(self.roster_pushes(account, &query));
        }
        then.extend(result);
        if effects.send_presence == presence::Presence::Available {
            then.extend(self.presence_to_contact(account, effects.send_presence, contact));
        }
        if then.is_empty() && effects.ops.is_empty() {
            return;
        }
        let client = client.filter(|_| then.iter().any(|after| matches!(after, After::Work(_))));
        // An empty batch is a barrier: what it says still comes after everything written before.
        self.decide(account, Batch { ops: effects.ops }, then, failed, client, receipt);
    }
}

fn change(stanza: &Stanza<'_>) -> Option<Change> {
    match stanza.kind() {
        Kind::Presence(PresenceType::Subscribe) => Some(Change::Subscribe),
        Kind::Presence(PresenceType::Subscribed) => Some(Change::Subscribed),
        Kind::Presence(PresenceType::Unsubscribe) => Some(Change::Unsubscribe),
        Kind::Presence(PresenceType::Unsubscribed) => Some(Change::Unsubscribed),
        _ => None,
    }
}
