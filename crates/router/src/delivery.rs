//! At the recipient's owner: RFC 6121 section 8.5, one case after the other.

use std::sync::Arc;

use archive::Keeping;
use module::{Now, Relation, Stage, Target};
use stanza::{Edits, IqType, JidRef, Kind, MessageType, PresenceType, Stanza, StanzaError, splice};

use crate::account::{Account, Moment, Session};
use crate::deposit::Source;
use crate::durable::After;
use crate::outbox::Item;
use crate::{Outbox, Router, Turn};

impl Router {
    /// A stanza for a local account, at its owner. `to` is a bare or full JID of the account.
    pub(crate) fn incoming(
        &self,
        now: Now,
        account: &mut Account,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        account.touched = Moment::of(now.seconds());
        if turn.origin.as_ref().is_some_and(|origin| origin.is_privileged) {
            return self.acts_for(now, account, stanza, from, to, turn);
        }
        if account.blocks(from.as_str()) {
            return self.turn_away_blocked(stanza, from, to, turn);
        }
        let Some(edits) = self.filter(now, Stage::Incoming, account, stanza, from, to, turn) else {
            return;
        };
        // What an account says to itself may be an answer to the server.
        let is_own = matches!(stanza.kind(), Kind::Message(kind) if kind != MessageType::Error)
            && from.bare_str() == account.jid.as_str()
            && to.resource().is_none()
            && !account.is_guest();
        if let (true, Some(host)) = (is_own, self.host(to.domain()))
            && let Some(payload) = self.decision(stanza)
        {
            let target = Target::Account;
            return self.take_decision(now, host, target, Some(account), payload, stanza, from, to, turn);
        }
        if self.turns_stranger_away(now, account, stanza, from, to, turn) {
            return;
        }
        match stanza.kind() {
            Kind::Message(kind) => self.message(now, account, kind, stanza, from, to, edits, turn),
            Kind::Presence(kind) => self.presence(now, account, kind, stanza, from, to, &edits, turn),
            Kind::Iq(kind) => self.iq(now, account, kind, stanza, from, to, &edits, turn),
        }
    }

    /// Section 8.5.1. A probe is answered as one by a stranger is, so that nothing can be learnt;
    /// a message gets an error, because its sender believes it delivered otherwise
    /// (`docs/decisions/0005-message-to-nobody.md`).
    pub(crate) fn no_such_user(&self, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        match stanza.kind() {
            Kind::Message(MessageType::Headline | MessageType::Error) => {}
            // XEP-0356: it is no managed entity.
            _ if turn.origin.as_ref().is_some_and(|origin| origin.is_privileged) => {
                self.bounce(stanza, from, to, &StanzaError::forbidden(), turn);
            }
            Kind::Message(_) | Kind::Iq(_) => {
                self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn);
            }
            Kind::Presence(PresenceType::Probe) => self.refuse_probe(stanza, from, to, turn),
            Kind::Presence(_) => {}
        }
    }

    /// Table 1 of section 8.5.4. Where it leaves a choice: a message for the bare JID goes to
    /// the resource, or resources, of the highest priority ("M"); "chat" and "normal" are stored
    /// for who is away ("O"); a "normal" message to a resource that is gone is answered with an
    /// error ("E"), a "headline" is not ("S").
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    fn message(
        &self,
        now: Now,
        account: &mut Account,
        kind: MessageType,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        edits: Edits,
        turn: &mut Turn,
    ) {
        if self.push_is_ended_by(account, stanza, from) {
            return;
        }
        let known = turn.origin.as_ref().and_then(|origin| origin.keeping);
        let keeping = known.unwrap_or_else(|| archive::keeping(kind, stanza));
        if to
            .resource()
            .is_some_and(|resource| account.resource(resource).is_none())
        {
            match kind {
                MessageType::Chat => {}
                // That something has not arrived after all, hours later, waits for who sent it.
                MessageType::Error if keeping.wait => {}
                MessageType::Headline | MessageType::Error => return,
                MessageType::Normal | MessageType::Groupchat => {
                    return self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn);
                }
            }
        } else if to.resource().is_none() {
            match kind {
                MessageType::Groupchat => {
                    return self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn);
                }
                MessageType::Error => return,
                MessageType::Headline | MessageType::Chat | MessageType::Normal => {}
            }
        }
        let keeping = match account.is_guest() {
            false => keeping,
            true if self.misses_guest(account, kind, stanza, from, to, turn) => return,
            // In the archive of its sender, if anywhere.
            true => Keeping {
                archive: keeping.archive && turn.origin.as_ref().is_some_and(|origin| origin.archives),
                wait: false,
                ..keeping
            },
        };
        if keeping.archive || keeping.wait {
            self.keep(now, account, kind, keeping, stanza, from, to, &edits, turn);
        } else {
            let source = Source::of(turn.origin.as_ref());
            let is_taken = self.pass(account, kind, keeping, stanza, from, to, &edits, source, turn);
            if !is_taken && !keeping.transient && matches!(kind, MessageType::Chat | MessageType::Normal) {
                // It may not be stored (XEP-0334 section 4.2), and its sender is told so (RFC 6121 section 8.5.2.2.1).
                self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn);
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn presence(
        &self,
        now: Now,
        account: &mut Account,
        kind: PresenceType,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        edits: &Edits,
        turn: &mut Turn,
    ) {
        match kind {
            PresenceType::Available | PresenceType::Unavailable => {
                if to.resource().is_none()
                    && self.has_privileged()
                    && account.roster.state(from.bare_str()).subscription.to()
                {
                    let write = |to: &str, out: &mut Vec<u8>| splice(stanza, from.as_str(), Some(to), edits, out);
                    let is_available = kind == PresenceType::Available;
                    self.show_contact_to_privileged(account.jid.domain(), from.as_str(), is_available, write, turn);
                }
                let item = Item::Presence(from.as_str());
                match to.resource() {
                    // Sections 8.5.3.1 and 8.5.3.2.2.
                    Some(resource) => {
                        if let Some(session) = account.resource(resource) {
                            self.deliver(account, session, item, stanza, from, to, edits, turn);
                        }
                    }
                    // Section 8.5.2.1.2.
                    None => {
                        for session in account.sessions.iter().filter(|session| session.is_available()) {
                            self.deliver(account, session, item, stanza, from, to, edits, turn);
                        }
                    }
                }
                // Section 4.6.1. Not where it is for the bare JID: then it may be no more than the end
                // of a subscription, and who sent it still wants to hear.
                if kind == PresenceType::Unavailable && to.resource().is_some() {
                    account.forget_directed(from.as_str(), to.resource());
                }
                self.note_presence_elsewhere(account, kind, stanza, from, turn);
            }
            PresenceType::Error => {
                let addressed = |session: &&Session| match to.resource() {
                    Some(resource) => &*session.resource == resource,
                    None => session.is_available(),
                };
                let item = Item::Other;
                for session in account.sessions.iter().filter(addressed) {
                    self.deliver(account, session, item, stanza, from, to, edits, turn);
                }
            }
            PresenceType::Probe => self.probe(account, stanza, from, to, turn),
            PresenceType::Subscribe => self.subscription_incoming(now, account, stanza, from, turn),
            PresenceType::Subscribed | PresenceType::Unsubscribe | PresenceType::Unsubscribed => {
                // Section 8.5.3.2.2: to a resource that is not there they are ignored.
                if to
                    .resource()
                    .is_none_or(|resource| account.resource(resource).is_some())
                {
                    self.subscription_incoming(now, account, stanza, from, turn);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn iq(
        &self,
        now: Now,
        account: &mut Account,
        kind: IqType,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        edits: &Edits,
        turn: &mut Turn,
    ) {
        let Some(resource) = to.resource() else {
            match kind {
                IqType::Get | IqType::Set => self.ask_account(now, account, stanza, from, to, turn),
                // Else nothing was asked in the account's name: a stray answer.
                IqType::Result | IqType::Error => {
                    self.answered_in_name(stanza, from, to, turn);
                    self.answered_elsewhere(account, stanza, from, turn);
                }
            }
            return;
        };
        if matches!(kind, IqType::Result | IqType::Error)
            && let Some(session) = account
                .sessions
                .iter_mut()
                .find(|session| *session.resource == *resource)
        {
            session.is_answered(from.as_str(), stanza.id().unwrap_or_default());
        }
        let relation = account.relation(from);
        let session = account.resource(resource).filter(|session| {
            // Section 8.5.3.1: requests only from who may know that the resource is there.
            matches!(kind, IqType::Result | IqType::Error)
                || relation >= Relation::Subscriber
                || session.has_directed_presence_to(from)
        });
        let item = Item::Other;
        let delivered =
            session.is_some_and(|session| self.deliver(account, session, item, stanza, from, to, edits, turn));
        if !delivered {
            self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn);
        }
    }

    /// Writes a stanza into the outbox of a resource. False if its connection takes nothing any more.
    #[allow(clippy::too_many_arguments)]
    fn deliver(
        &self,
        account: &Account,
        session: &Session,
        item: Item<'_>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        edits: &Edits,
        turn: &mut Turn,
    ) -> bool {
        self.deliver_to(account, std::iter::once(session), item, stanza, from, to, edits, turn)
    }

    /// The same for several. False if not one of them takes anything.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn deliver_to<'a>(
        &self,
        account: &Account,
        sessions: impl Iterator<Item = &'a Session>,
        item: Item<'_>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        edits: &Edits,
        turn: &mut Turn,
    ) -> bool {
        let write = |out: &mut Vec<u8>| splice(stanza, from.as_str(), Some(to.as_str()), edits, out);
        if account.unsettled.get() == 0 {
            let mut delivered = false;
            for session in sessions {
                delivered |= session.outbox.push(turn, item, write).is_some();
            }
            return delivered;
        }
        let outboxes = sessions
            .map(|session| &session.outbox)
            .filter(|outbox| !outbox.is_shut());
        let outboxes: Vec<Arc<Outbox>> = outboxes.map(Arc::clone).collect();
        if outboxes.is_empty() {
            // Nobody to wait for: two such stanzas would send each other round as long as the connections are closing.
            return false;
        }
        let text = written(write);
        match stanza.kind() {
            // Presence is of the moment, and a broadcast has gone to the other resources too.
            Kind::Presence(_) => outboxes
                .into_iter()
                .all(|outbox| self.say_later(account, After::Push(outbox, text.clone()))),
            Kind::Message(_) | Kind::Iq(_) => self.say_later(account, After::Deliver(outboxes, text)),
        }
    }

    /// Into the outbox of a resource: at once, or behind the decisions of the account that wait
    /// for their commit.
    pub(crate) fn push(
        &self,
        account: &Account,
        session: &Session,
        item: Item<'_>,
        turn: &mut Turn,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        if account.unsettled.get() == 0 {
            return session.outbox.push(turn, item, write).is_some();
        }
        let after = After::Push(Arc::clone(&session.outbox), written(write));
        self.say_later(account, after)
    }
}

/// What `write` appends, which is text.
fn written(write: impl FnOnce(&mut Vec<u8>)) -> Box<str> {
    let mut text = Vec::new();
    write(&mut text);
    String::from_utf8(text).unwrap_or_default().into_boxed_str()
}
