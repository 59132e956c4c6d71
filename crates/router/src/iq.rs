//! The one dispatcher of IQ requests: to the server, or to an account on its behalf.
//!
//! Which feature answers, and who may ask, comes from the declarations ([`module::Registry`]);
//! only the roster is answered here, since it is the owner's own data. Every request is answered
//! at once: clients wait for each (`clients.md`).

use std::cell::Cell;

use module::{Access, Answer, Ask, Host, MakeSaid, Method, Now, Relation, Target};
use stanza::{IqType, Jid, JidRef, Kind, Stanza, StanzaError, iq_result, write_error};
use store::Query;
use xmlstream::Child;

use crate::account::Account;
use crate::durable::After;
use crate::outbox::Item;
use crate::outgoing::letter;
use crate::sessions::escaped;
use crate::turn::Work;
use crate::{Router, Turn};

/// Where an answer goes, for answers that are made later: the addresses and the id of a stanza.
pub(crate) struct Return {
    kind: &'static str,
    id: Option<String>,
    /// Who asked, and who was asked.
    pub(crate) from: Jid,
    to: Jid,
}

impl Return {
    pub(crate) fn of(stanza: &Stanza<'_>, from: Jid, to: Jid) -> Return {
        Return {
            kind: stanza.kind().element_name(),
            id: stanza.id().map(str::to_owned),
            from,
            to,
        }
    }

    /// For what nobody has asked for: what goes wrong is told to nobody, as an account takes no errors of messages.
    pub(crate) fn nobody(account: Jid, service: Jid) -> Return {
        Return {
            kind: "message",
            id: None,
            from: account,
            to: service,
        }
    }

    /// Nobody is told what comes of it.
    pub(crate) fn nowhere(from: Jid, to: Jid) -> Return {
        Return {
            kind: "",
            id: None,
            from,
            to,
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    pub(crate) fn from(&self) -> &Jid {
        &self.from
    }

    /// Who asked whom.
    pub(crate) fn addresses(&self) -> (&Jid, &Jid) {
        (&self.from, &self.to)
    }

    pub(crate) fn error(&self, error: &StanzaError) -> Vec<After> {
        if self.kind.is_empty() {
            return Vec::new();
        }
        vec![After::letter(self.error_text(error))]
    }

    pub(crate) fn refuse(&self, error: &StanzaError, turn: &mut Turn) {
        if !self.kind.is_empty() {
            turn.letter(self.error_text(error));
        }
    }

    pub(crate) fn error_text(&self, error: &StanzaError) -> String {
        let mut out = Vec::new();
        write_error(
            self.kind,
            self.id.as_deref(),
            Some(self.to.as_str()),
            Some(self.from.as_str()),
            error,
            &mut out,
        );
        String::from_utf8(out).unwrap_or_default()
    }

    /// Only a request is told that all went well.
    pub(crate) fn result_to(&self, payload: &str) -> Option<String> {
        (self.kind == "iq").then(|| self.result(payload))
    }

    pub(crate) fn result(&self, payload: &str) -> String {
        let mut out = Vec::new();
        let id = self.id.as_deref().unwrap_or_default();
        iq_result(id, Some(self.to.as_str()), Some(self.from.as_str()), payload, &mut out);
        String::from_utf8(out).unwrap_or_default()
    }
}

fn method(stanza: &Stanza<'_>) -> Option<Method> {
    match stanza.kind() {
        Kind::Iq(IqType::Get) => Some(Method::Get),
        Kind::Iq(IqType::Set) => Some(Method::Set),
        _ => None,
    }
}

impl Router {
    /// A request to the server's own address, or to a service of it.
    #[allow(clippy::too_many_arguments)] // the parts of one request; a struct would only rename them
    pub(crate) fn ask_server(
        &self,
        now: Now,
        host: &Host,
        target: Target,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let (Some(method), Some(payload)) = (method(stanza), stanza.payload()) else {
            return;
        };
        if let Err(error) = self.may_ask(now, from) {
            return self.bounce(stanza, from, to, &error, turn);
        }
        if self.delegates(&host.domain, target, &payload, stanza, from, to, turn) {
            return self.charge_question(now, from);
        }
        let is_admin = self.is_admin(host, from);
        let answer = match self.registry().handler(target, method, payload.ns(), payload.name()) {
            Err(error) => Answer::Error(error),
            Ok((access, _))
                if ![access, self.registry().access_to(&payload)]
                    .iter()
                    .all(|access| access.admits_to(host, from, is_admin)) =>
            {
                Answer::Error(StanzaError::forbidden())
            }
            Ok((_, handle)) => {
                let relation = Relation::Stranger;
                let registry = self.registry();
                handle(&mut Ask {
                    now,
                    host,
                    registry,
                    from,
                    to,
                    payload,
                    target,
                    relation,
                    is_admin,
                    account: None,
                    switches: None,
                    ids: self.archive_ids(),
                })
            }
        };
        self.charge_answer(now, from, &answer);
        // A service owns what it keeps: its changes stand in a line of their own.
        self.answer(to.domain(), answer, stanza, from, to, turn);
    }

    /// A request to an account: answered by the server on its behalf (RFC 6121 section 8.5.2.1.3).
    pub(crate) fn ask_account(
        &self,
        now: Now,
        account: &mut Account,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let (Some(method), Some(payload)) = (method(stanza), stanza.payload()) else {
            return;
        };
        let relation = account.relation(from);
        let is_stranger = relation == Relation::Stranger;
        if is_stranger && let Err(error) = self.may_ask(now, from) {
            return self.bounce(stanza, from, to, &error, turn);
        }
        if self.delegates(account.jid.domain(), Target::Account, &payload, stanza, from, to, turn) {
            if is_stranger {
                self.charge_question(now, from);
            }
            // Whoever answers, changes of the roster are told by the server.
            if (relation, method, payload.ns()) == (Relation::Owner, Method::Get, stanza::ns::ROSTER) {
                let mut sessions = account.sessions.iter_mut();
                if let Some(session) = sessions.find(|session| Some(&*session.resource) == from.resource()) {
                    session.interested = true;
                }
            }
            return;
        }
        if payload.ns() == stanza::ns::ROSTER && account.is_guest() {
            // RFC 6121 section 2.3.3 has the second.
            let error = match method {
                Method::Get => StanzaError::service_unavailable(),
                Method::Set => StanzaError::forbidden(),
            };
            return self.bounce(stanza, from, to, &error.text("guests have no contacts"), turn);
        }
        if payload.ns() == stanza::ns::ROSTER {
            return self.ask_roster(account, relation, method, payload, stanza, from, to, turn);
        }
        if payload.ns() == stanza::ns::BLOCKING && relation == Relation::Owner && account.undecided > 0 {
            // What waits for its commit may still be taken back; nothing else is told of it.
            return self.ask_again(Work::Letter(letter(stanza, from, to)));
        }
        let answer = self.handle_for_account(now, account, relation, method, payload, from, to);
        if is_stranger {
            self.charge_answer(now, from, &answer);
        }
        if let Answer::Preferences(prefs, ..) = &answer {
            // At once, as every change of memory: the next message is handled accordingly, and its commit comes later.
            account.rare_mut().prefs = Some(prefs.clone());
        }
        match answer {
            Answer::Push(change) => self.change_push(now, account, change, stanza, from, to, turn),
            Answer::Block(change, reports) => {
                self.change_blocked(now, account, change, reports, stanza, from, to, turn);
            }
            answer => self.answer(account.jid.as_str(), answer, stanza, from, to, turn),
        }
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn handle_for_account(
        &self,
        now: Now,
        account: &mut Account,
        relation: Relation,
        method: Method,
        payload: Child<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
    ) -> Answer {
        let registry = self.registry();
        let (access, handle) = match registry.handler(Target::Account, method, payload.ns(), payload.name()) {
            Ok(found) => found,
            Err(error) => return Answer::Error(error),
        };
        if account.is_guest() && !registry.serves_guests(method, payload.ns(), payload.name()) {
            return Answer::Error(StanzaError::service_unavailable());
        }
        // Whoever knows the name of a guest knows that it is there; and XEP-0175 section 5 wants it to be told apart.
        let is_open = account.is_guest() && access == Access::Subscriber;
        if !is_open && !access.admits(relation) {
            // As to a missing account: nothing can be learnt from it.
            return Answer::Error(StanzaError::service_unavailable());
        }
        let Some(host) = self.host(account.jid.domain()) else {
            return Answer::Error(StanzaError::service_unavailable());
        };
        let own = from.resource().filter(|_| relation == Relation::Owner);
        let asking = own.and_then(|resource| account.resource(resource));
        let switches = asking.map(|session| Cell::new(session.switches));
        let answer = handle(&mut Ask {
            now,
            host,
            registry,
            from,
            to,
            payload,
            target: Target::Account,
            relation,
            is_admin: false,
            account: Some(account),
            switches: switches.as_ref(),
            ids: self.archive_ids(),
        });
        let session = own.and_then(|own| account.sessions.iter_mut().find(|session| *session.resource == *own));
        if let (Some(session), Some(switches)) = (session, switches) {
            session.switches = switches.get();
        }
        match answer {
            Answer::Result(_) | Answer::Error(_) => answer,
            // A feature that forgot to say so: of a guest nothing is kept.
            _ if account.is_guest() => Answer::Error(StanzaError::service_unavailable()),
            _ => answer,
        }
    }

    /// What in a message answers a question about nodes (XEP-0060 section 8.6).
    pub(crate) fn decision<'s>(&self, stanza: &'s Stanza<'_>) -> Option<Child<'s>> {
        let nodes = self.registry().nodes()?;
        stanza.children().find(|child| (nodes.is_decision)(child))
    }

    /// That, to an account by itself or to a service.
    #[allow(clippy::too_many_arguments)] // the parts of one request; a struct would only rename them
    pub(crate) fn take_decision(
        &self,
        now: Now,
        host: &Host,
        target: Target,
        account: Option<&Account>,
        payload: Child<'_>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let Some(nodes) = self.registry().nodes() else { return };
        let relation = account.map_or(Relation::Stranger, |account| account.relation(from));
        let answer = (nodes.decide)(&mut Ask {
            now,
            host,
            registry: self.registry(),
            from,
            to,
            payload,
            target,
            relation,
            is_admin: false,
            account: account.map(|account| account as _),
            switches: None,
            ids: self.archive_ids(),
        });
        match answer {
            // Nothing was to be done.
            Answer::Result(_) => {}
            answer => self.answer(to.bare_str(), answer, stanza, from, to, turn),
        }
    }

    fn answer(
        &self,
        owner: &str,
        answer: Answer,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        match answer {
            Answer::Result(payload) => {
                let mut out = Vec::new();
                let id = stanza.id();
                let id = id.unwrap_or_default();
                iq_result(id, Some(to.as_str()), Some(from.as_str()), &payload, &mut out);
                turn.letter(String::from_utf8(out).unwrap_or_default());
            }
            Answer::Error(error) => self.bounce(stanza, from, to, &error, turn),
            // Only an account has a list, and its owner has changed it.
            Answer::Block(..) | Answer::Push(_) => {
                self.bounce(stanza, from, to, &StanzaError::service_unavailable(), turn)
            }
            Answer::Act(action, make) => {
                let back = Return::of(stanza, from.to_owned(), to.to_owned());
                self.act(owner, action, make, back, turn);
            }
            Answer::Asked(query, make) => self.ask_store(owner, query, make, stanza, from, to),
            Answer::Changed(query, make) => {
                let back = Return::of(stanza, from.to_owned(), to.to_owned());
                let bytes = stanza.element().source().len();
                self.change(owner, bytes, query, make, back, turn);
            }
            Answer::Stored(batch, payload) | Answer::Preferences(_, batch, payload) => {
                let back = Return::of(stanza, from.to_owned(), to.to_owned());
                let then = vec![After::letter(back.result(&payload))];
                let receipt = turn.receipt();
                self.write(owner, batch, then, Box::new(move |error| back.error(error)), receipt);
            }
        }
    }

    /// A question that the store has to answer first. Who asked gets everything in one go and in order.
    fn ask_store(
        &self,
        owner: &str,
        query: Query,
        make: MakeSaid,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
    ) {
        let back = Return::of(stanza, from.to_owned(), to.to_owned());
        self.when_read(owner, query, move |router, owner, found| {
            let said = make(found);
            let (from, to) = (escaped(back.to.as_str()), escaped(back.from.as_str()));
            let (open, close) = (format!("<message from='{from}' to='{to}'>"), "</message>");
            let answer = match &said.answer {
                Ok(payload) => back.result(payload),
                Err(error) => back.error_text(error),
            };
            // The outbox grows once and not with each message.
            let all = said.messages.bytes() + said.messages.len() * (open.len() + close.len()) + answer.len();
            let write = |content: &[u8], room: usize, out: &mut Vec<u8>| {
                out.reserve(room);
                out.extend_from_slice(open.as_bytes());
                out.extend_from_slice(content);
                out.extend_from_slice(close.as_bytes());
            };
            let mut turn = Turn::default();
            let own = back.from.bare_str() == owner;
            let delivered = own
                && router.with(owner, |account| {
                    let resource = back.from.as_ref().resource();
                    let session = resource.and_then(|resource| account.resource(resource));
                    let Some(session) = session else { return };
                    let mut room = all;
                    for content in said.messages.iter() {
                        router.push(account, session, Item::Other, &mut turn, |out| {
                            write(content, std::mem::take(&mut room), out);
                        });
                    }
                    router.push(account, session, Item::Other, &mut turn, |out| {
                        out.extend_from_slice(answer.as_bytes());
                    });
                    account.backlog.has_read(&said.arrived);
                }) == Some(());
            if !delivered {
                for content in said.messages.iter() {
                    let mut text = Vec::new();
                    write(content, 0, &mut text);
                    // Made of text.
                    turn.letter(String::from_utf8(text).unwrap_or_default());
                }
                turn.letter(answer);
                router.settle((router.clock)(), &mut turn);
            }
            turn.finish();
        });
    }
}
