//! What a client sends: the sender's rules, then the way to the recipient.

use std::sync::Arc;

use module::{Host, Now, Passing, Stage, Target, Verdict};
use stanza::{Edits, IqType, Jid, JidRef, Kind, MessageType, PresenceType, Stanza, StanzaError, error_reply, splice};

use crate::access::Whose;
use crate::account::Account;
use crate::blocking::refuses_to_blocked;
use crate::deposit::Origin;
use crate::load::Held;
use crate::turn::Work;
use crate::{Bound, Event, Router, Turn};

impl Router {
    /// Handles a stanza of a bound resource. The connection has checked its form and that `from`
    /// is the sender's own (RFC 6120 section 8.1.2.1).
    ///
    /// True: it waits for its recipient to be read, or too much of this client is on its way. Then nothing more may come
    /// from it until [`Event::Proceed`](crate::Event) does.
    pub fn from_client(&self, now: Now, bound: &Bound, stanza: &Stanza<'_>, turn: &mut Turn) -> bool {
        self.stanzas.up(bound.id);
        let Ok(origin) = Origin::of(bound) else { return false };
        let is_managed = origin.receipt.is_some();
        turn.origin = Some(origin);
        match self.assist(now, bound, stanza, turn) {
            None => self.sent_by_client(now, bound, is_managed, stanza, turn),
            Some(rest) => self.read_letter(&rest, turn, |stanza, _, _, turn| {
                self.sent_by_client(now, bound, is_managed, stanza, turn);
            }),
        }
        // Here, so that nothing that follows from it is taken for the client's own.
        let origin = turn.origin.take();
        let is_held = std::mem::take(&mut turn.is_held);
        self.settle(now, turn);
        drop(origin);
        is_held || bound.outbox.is_to_wait()
    }

    fn sent_by_client(&self, now: Now, bound: &Bound, is_managed: bool, stanza: &Stanza<'_>, turn: &mut Turn) {
        let from = bound.jid.as_ref();
        // One refusal is enough.
        if let Some(to) = stanza.to().filter(|to| self.is_apart(from.domain(), to.domain())) {
            return self.refuse_at_border(stanza, from, to, turn);
        }
        let is_message = matches!(stanza.kind(), Kind::Message(_));
        let to = stanza.to().filter(|_| !is_message);
        if to.is_some_and(|to| self.refuse_to_blocked(bound, stanza, to, turn)) {
            return;
        }
        match stanza.kind() {
            Kind::Presence(kind) => self.presence_from_client(now, bound, kind, stanza, turn),
            Kind::Message(kind) => {
                // RFC 6120 section 10.3.1: without an address it is for the sender's own account.
                let to = stanza.to().unwrap_or(from.bare());
                let is_behind = bound.outbox.is_behind();
                // A room keeps the order of what is for it.
                let mut is_kept = kind == MessageType::Groupchat && self.is_room(to);
                let mut origin = turn.origin.take();
                // All that the sender's owner has to say, as its lock is not free.
                let is_refused = self.with(from.bare_str(), |account| {
                    if refuses_to_blocked(self, account, bound, stanza, to, turn) {
                        return true;
                    }
                    if kind != MessageType::Error {
                        self.meets(now, account, to);
                    }
                    if let Some(origin) = origin.as_mut() {
                        origin.archives = !self.archives || account.archives(to);
                        origin.copies = account.copies_what_is_sent_by(from.resource());
                    }
                    self.reads_by_sending(account, kind, stanza, to);
                    false
                });
                turn.origin = origin;
                if is_refused == Some(true) {
                    return;
                }
                if let Some(origin) = turn.origin.as_mut().filter(|_| is_behind) {
                    let keeping = archive::keeping(kind, stanza);
                    is_kept |= keeping.archive || keeping.wait;
                    origin.keeping = Some(keeping);
                }
                // What is kept goes through the store, behind the messages before it.
                if !is_behind || (is_kept && !bound.outbox.is_behind_decisions()) {
                    self.route(now, stanza, from, to, turn);
                } else {
                    // Behind a decision it comes into the store later than what follows it would get past it: so that
                    // is not read before.
                    turn.is_held = is_kept;
                    self.send_on(now, bound, stanza, from, to, turn);
                }
            }
            Kind::Iq(kind) => {
                // RFC 6120 section 10.3.3: without an address the server answers for the account.
                let to = stanza.to().unwrap_or(from.bare());
                if kind == IqType::Set && self.server_of(to).is_some() {
                    // A node that is subscribed to, say: what comes of it is no stranger's.
                    self.with(from.bare_str(), |account| self.meets(now, account, to));
                }
                if matches!(kind, IqType::Result | IqType::Error) && to.as_str() == from.domain() {
                    self.answer_to_server(now, bound, stanza, turn);
                } else if kind == IqType::Set && !self.note_asked(bound, stanza, to) {
                    let error = StanzaError::resource_constraint().text("too many archives have not answered yet");
                    self.bounce(stanza, from, to, &error, turn);
                } else if to.as_str() == from.bare_str() && !is_managed && !bound.outbox.is_behind_messages() {
                    // A decision of one's own account waits for no other: all are made in order. But who has sent
                    // messages may ask for them; and where stanzas are counted, none is written before those that
                    // came before it.
                    self.route(now, stanza, from, to, turn);
                } else {
                    self.send_on(now, bound, stanza, from, to, turn);
                }
            }
        }
    }

    /// A stanza that came and cannot be handled counts as one that was (XEP-0198 section 4).
    pub fn count(&self, bound: &Bound) {
        drop(bound.outbox.receive().ok());
    }

    /// What a client sends to others; behind what it has decided, if that waits for its commit:
    /// RFC 6120 section 10.1 has stanzas delivered in the order in which they came.
    fn send_on(&self, now: Now, bound: &Bound, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        if !bound.outbox.is_behind() {
            // It has caught up since it was looked at: nobody would tell the connection to go on.
            turn.is_held = false;
            return self.route(now, stanza, from, to, turn);
        }
        let text = letter(stanza, from, to);
        let work = match turn.origin.take() {
            Some(origin) => Work::Sent(
                text,
                Origin {
                    is_awaited: turn.is_held,
                    ..origin
                },
            ),
            None => Work::Letter(text),
        };
        self.follow(&bound.outbox, vec![work]);
    }

    /// Handles what comes over a stream of many, from another server or a component. `acts`: does what only this stream may
    /// ask for, if it is that. True: as [`Router::from_client`].
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    pub(crate) fn handle_of_many(
        &self,
        now: Now,
        bound: &Bound,
        origin: Origin,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
        acts: impl FnOnce(&Stanza<'_>, JidRef<'_>, JidRef<'_>, &mut Turn) -> bool,
    ) -> bool {
        turn.origin = Some(origin);
        // Written and read again, since only so it is in the namespace that everything here is in.
        self.read_letter(&letter(stanza, from, to), turn, |stanza, from, to, turn| {
            if self.is_apart(from.domain(), to.domain()) {
                self.refuse_at_border(stanza, from, to, turn);
            } else if !acts(stanza, from, to, turn) {
                self.route_in_order(now, bound, stanza, from, to, turn);
            }
        });
        let origin = turn.origin.take();
        let is_held = std::mem::take(&mut turn.is_held);
        self.settle(now, turn);
        drop(origin);
        is_held || bound.outbox.is_to_wait()
    }

    /// The same for what comes over a stream of many: what is kept goes through the store, behind the messages before it,
    /// and nothing else gets past those.
    fn route_in_order(
        &self,
        now: Now,
        bound: &Bound,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let is_kept = match stanza.kind() {
            Kind::Message(kind) => {
                let keeping = archive::keeping(kind, stanza);
                keeping.archive || keeping.wait || (kind == MessageType::Groupchat && self.is_room(to))
            }
            _ => false,
        };
        if is_kept && !bound.outbox.is_behind_decisions() {
            return self.route(now, stanza, from, to, turn);
        }
        turn.is_held = is_kept;
        self.send_on(now, bound, stanza, from, to, turn);
    }

    /// Remembers whose archive is asked for: its results are no forgeries (XEP-0313 section 8). False where it would be
    /// too many.
    fn note_asked(&self, bound: &Bound, stanza: &Stanza<'_>, to: JidRef<'_>) -> bool {
        let asks = |payload: xmlstream::Child<'_>| payload.is("query", stanza::ns::MAM);
        if to.bare_str() == bound.jid.bare_str() || !stanza.payload().is_some_and(asks) {
            return true;
        }
        let id = stanza.id().unwrap_or_default();
        let noted = self.with(bound.jid.bare_str(), |account| {
            let session = account.session_mut(bound.id)?;
            Some(session.has_asked(to.as_str(), id))
        });
        noted.flatten().unwrap_or(true)
    }

    /// An answer to something that the server asked: the ping after offline messages, and what a client can do.
    fn answer_to_server(&self, now: Now, bound: &Bound, stanza: &Stanza<'_>, turn: &mut Turn) {
        let Some(id) = stanza.id() else { return };
        if id.starts_with(crate::push::ID_PREFIX) {
            return self.push_answered(now, stanza, bound.jid.as_ref(), turn);
        }
        if !id.starts_with(offline::PING_PREFIX) {
            return self.answered_caps(bound, stanza, turn);
        }
        let owner = bound.jid.bare_str();
        self.with(owner, |account| {
            account.backlog.answered(bound.id, id);
        });
    }

    /// Sends a stanza on: to the server, to a local account, to a room, to a component, or back as an error.
    pub(crate) fn route(&self, now: Now, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        let Some(host) = self.host(to.domain()) else {
            if let Some((host, service)) = self.service(to.domain()) {
                return match to.local() {
                    None => self.for_server(now, host, Target::Service(service.label), stanza, from, to, turn),
                    Some(_) if self.registry().rooms() == Some(service.label) => {
                        self.to_room(now, host, stanza, from, to, turn);
                    }
                    // Other services have nothing below their address.
                    Some(_) => self.no_such_user(stanza, from, to, turn),
                };
            }
            if let Some(component) = self.components.get(to.domain()) {
                return self.to_component(now, component, stanza, from, to, turn);
            }
            return self.to_remote(now, stanza, from, to, turn);
        };
        if to.local().is_none() {
            return self.for_server(now, host, Target::Server, stanza, from, to, turn);
        }
        // RFC 6121 section 2.1.5; before anybody is looked up, so that it tells nothing about who exists.
        if matches!(stanza.kind(), Kind::Iq(IqType::Get | IqType::Set))
            && to.bare_str() != from.bare_str()
            && stanza
                .payload()
                .is_some_and(|payload| payload.ns() == stanza::ns::ROSTER)
        {
            return self.bounce(stanza, from, to, &StanzaError::forbidden(), turn);
        }
        if host.guests.is_some() && self.with(to.bare_str(), |_| ()).is_none() {
            return self.no_such_user(stanza, from, to, turn);
        }
        let result = self.with_or_hold(
            turn,
            to.bare(),
            |account, turn| self.incoming(now, account, stanza, from, to, turn),
            |turn| {
                let origin = turn.origin.take();
                turn.is_held |= origin.as_ref().is_some_and(|origin| origin.is_awaited);
                Held::Letter(letter(stanza, from, to), origin)
            },
        );
        if let Err(error) = result {
            self.bounce(stanza, from, to, &error, turn);
        }
    }

    /// For the address of the server itself (RFC 6120 section 10.5.1, RFC 6121 section 8.4), or of a service of it.
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    fn for_server(
        &self,
        now: Now,
        host: &Host,
        target: Target,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        match stanza.kind() {
            Kind::Iq(IqType::Get | IqType::Set) if to.resource().is_none() => {
                self.ask_server(now, host, target, stanza, from, to, turn);
            }
            Kind::Iq(IqType::Result | IqType::Error) => {
                self.push_answered(now, stanza, from, turn);
                self.list_answers(now, stanza, from, turn);
                self.component_answers(stanza, from, turn);
            }
            Kind::Presence(_) => {}
            Kind::Message(MessageType::Error) => {}
            Kind::Message(kind) if self.list_tells(stanza, from, turn) || kind == MessageType::Headline => {}
            Kind::Message(_) if to.resource().is_none() && self.has_nodes(target) => match self.decision(stanza) {
                Some(payload) => self.take_decision(now, host, target, None, payload, stanza, from, to, turn),
                None => self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn),
            },
            _ => self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn),
        }
    }

    fn has_nodes(&self, target: Target) -> bool {
        let nodes = self.registry().nodes();
        nodes.is_some_and(|nodes| target == Target::Service(nodes.service))
    }

    /// Answers with an error, unless the stanza is one that is never answered
    /// (RFC 6120 section 8.3.1): an error, or the answer to a request.
    pub(crate) fn bounce(
        &self,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        error: &StanzaError,
        turn: &mut Turn,
    ) {
        if stanza.kind().may_be_answered() {
            self.copy_refused(stanza, from, to, turn);
            self.answer_with_error(stanza, from, to, error, turn);
        }
    }

    /// As [`Router::bounce`], for what the store could not take. The sender's other devices get no copy then: what is not
    /// archived is shown to nobody (G6), and the sender sends it again.
    pub(crate) fn answer_with_error(
        &self,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        error: &StanzaError,
        turn: &mut Turn,
    ) {
        if !stanza.kind().may_be_answered() {
            return;
        }
        let mut text = Vec::new();
        error_reply(stanza, to.as_str(), from.as_str(), error, &mut text);
        turn.letter(String::from_utf8(text).unwrap_or_default());
    }

    /// Runs the filters of a stage. None: the stanza ends here (and was answered if it is due).
    #[allow(clippy::too_many_arguments)] // the parts of one delivery; a struct would only rename them
    pub(crate) fn filter(
        &self,
        now: Now,
        stage: Stage,
        account: &Account,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> Option<Edits> {
        let mut edits = Edits::default();
        let filters = self.registry().filters(stage);
        if filters.is_empty() {
            return Some(edits);
        }
        let host = self.host(account.jid.domain())?;
        for filter in filters {
            let mut passing = Passing {
                now,
                host,
                stanza,
                from,
                account: account.jid.as_ref(),
                view: account,
                edits: &mut edits,
            };
            match (filter.run)(&mut passing) {
                Verdict::Pass => {}
                // A room would put its occupant out for the error that somebody else's words have brought.
                _ if self.is_of_room_elsewhere(stanza, from) => return None,
                Verdict::NoSuchUser => {
                    if let Some(origin) = turn.origin.as_mut() {
                        origin.copies = false;
                    }
                    self.no_such_user(stanza, from, to, turn);
                    return None;
                }
                Verdict::Refuse(error) => {
                    self.bounce(stanza, from, to, &error, turn);
                    return None;
                }
            }
        }
        Some(edits)
    }

    /// What was said in a room of another server, or says to be.
    pub(crate) fn is_of_room_elsewhere(&self, stanza: &Stanza<'_>, from: JidRef<'_>) -> bool {
        matches!(stanza.kind(), Kind::Message(MessageType::Groupchat)) && self.host(from.domain()).is_none()
    }

    /// One thing that was left for another owner.
    pub(crate) fn run(&self, now: Now, work: Work, turn: &mut Turn) {
        match work {
            Work::Letter(text) => self.read_letter(&text, turn, |stanza, from, to, turn| {
                self.route(now, stanza, from, to, turn);
            }),
            Work::Refusal(text) => self.read_letter(&text, turn, |stanza, from, to, turn| {
                let believes = |account: &mut Account| account.roster.state(from.bare_str()).subscription.to();
                // Another server knows by itself what it believes.
                if self.host(to.domain()).is_none() || self.with(to.bare_str(), believes) == Some(true) {
                    self.route(now, stanza, from, to, turn);
                }
            }),
            Work::Sent(text, origin) => {
                let awaited = origin.is_awaited.then(|| Arc::clone(&origin.outbox));
                let is_privileged = origin.is_privileged;
                turn.origin = Some(origin);
                self.read_letter(&text, turn, |stanza, from, to, turn| match is_privileged {
                    true => self.acts_later(now, stanza, from, to, turn),
                    false => self.route(now, stanza, from, to, turn),
                });
                turn.origin = None;
                // Else it waits for its recipient to be read.
                let is_held = std::mem::take(&mut turn.is_held);
                if let Some(outbox) = awaited.filter(|_| !is_held) {
                    turn.proceed(outbox);
                }
            }
            Work::Proceed(outbox) => outbox.tell(turn, Event::Proceed),
            Work::Undelivered(bound, rest) => self.reclaim_all(now, &bound, &rest, turn),
            Work::Revoked { owner, client } => self.end_whose(now, &owner, Whose::Client(client), turn),
            Work::Photo(owner, photo) => self.photo_changed(&owner, photo, turn),
            Work::ReadPush(owner) => self.read_push(&owner),
            Work::Notice(owner, notice) => self.notify(&owner, &notice, turn),
            Work::Introduce(contact, account) => self.meet(&contact, account, turn),
            Work::Arrives(arrived) => self.look_for_nodes(arrived),
            Work::LooksOn(arrived) => self.look_at_next(now, arrived, turn),
            Work::Copies(copied) => self.copy_to_sender(&copied, turn),
            Work::Fanout {
                presence,
                from,
                left,
                to,
                except,
            } => self.fan_out(&presence, &from, left, &to, except.as_ref(), turn),
            Work::Probes { from, session, to } => self.probe_for_session(&from, session, &to, turn),
            Work::PutOut(part) => self.put_out_unwanted(part, turn),
            Work::Link(change) => self.link_changed(change, turn),
        }
    }

    fn presence_from_client(&self, now: Now, bound: &Bound, kind: PresenceType, stanza: &Stanza<'_>, turn: &mut Turn) {
        let from = bound.jid.as_ref();
        match (kind, stanza.to()) {
            (PresenceType::Available, None) => self.broadcast_available(bound, stanza, turn),
            (PresenceType::Unavailable, None) => self.broadcast_unavailable(now, bound, stanza, turn),
            (PresenceType::Available | PresenceType::Unavailable, Some(to)) => {
                if self.note_directed(bound, kind, stanza, to) {
                    match self.with_photo(bound, kind, stanza, to) {
                        None => self.send_on(now, bound, stanza, from, to, turn),
                        Some(text) => self.read_letter(&text, turn, |stanza, from, to, turn| {
                            self.send_on(now, bound, stanza, from, to, turn);
                        }),
                    }
                } else {
                    let error = StanzaError::policy_violation().text("directed presence goes to too many addresses");
                    self.bounce(stanza, from, to, &error, turn);
                }
            }
            // Section 4.3 of RFC 6121: from the bare JID, and never an error for it. To a resource it
            // may be about directed presence, which was sent to the full JID (section 4.6.6).
            (PresenceType::Probe, Some(to)) => {
                let from = if to.resource().is_some() { from } else { from.bare() };
                self.send_on(now, bound, stanza, from, to, turn);
            }
            (PresenceType::Probe, None) => {}
            (PresenceType::Error, Some(to)) => self.send_on(now, bound, stanza, from, to, turn),
            (PresenceType::Error, None) => {}
            (_, Some(to)) => self.subscription_from_client(now, bound, stanza, to, turn),
            // A subscription stanza needs an address (RFC 6121 section 3.1.1).
            (_, None) => {
                let own = Jid::to_bare(&bound.jid);
                self.bounce(stanza, from, own.as_ref(), &StanzaError::bad_request(), turn);
            }
        }
    }
}

/// A stanza as it goes from one to the other.
pub(crate) fn letter(stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>) -> Box<str> {
    let mut text = Vec::with_capacity(stanza.element().source().len() + 64);
    splice(stanza, from.as_str(), Some(to.as_str()), &Edits::default(), &mut text);
    // `splice` writes text that was checked to be UTF-8 together with escaped text.
    String::from_utf8(text).unwrap_or_default().into_boxed_str()
}
