//! What a component does in the name of accounts, and what it is told of them (XEP-0356). Whether it may says the feature
//! (`module::Judge`), of what comes over a stream of the component and of nothing else.

use std::sync::Arc;

use archive::Keeping;
use module::{Act, Method, Now, PresenceSeen, Relation};
use stanza::{IqType, Jid, JidRef, Kind, Rendered, Stanza, StanzaError, ns};
use xmlstream::{Child, Scratch};

use super::places::{Seen, Slot};
use super::questions::Question;
use crate::account::Account;
use crate::deposit::Origin;
use crate::directed::domain_of;
use crate::durable::After;
use crate::iq::Return;
use crate::load::Held;
use crate::outgoing::letter;
use crate::sessions::escaped;
use crate::turn::Work;
use crate::{Router, Turn};

/// Bytes of presence that a component is given before it has read what it was given.
const SHOWN_BYTES: usize = 64 * 1024;

impl Router {
    /// A stanza of a component that only a privilege allows. False: it is one like others.
    pub(super) fn acts(
        &self,
        now: Now,
        slot: &Slot,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> bool {
        let Some(judge) = self.registry().judge() else {
            return false;
        };
        let act = judge(&slot.component, stanza);
        if matches!(act, Act::Nothing) {
            return false;
        }
        // As `route_in_order` has it for what is no privilege.
        let outbox = turn.origin.as_ref().map(|origin| Arc::clone(&origin.outbox));
        if let Some(outbox) = outbox.filter(|outbox| outbox.is_behind()) {
            let is_kept = matches!(&act, Act::Message(message) if is_kept(message));
            if !is_kept || outbox.is_behind_decisions() {
                turn.is_held = is_kept;
                let origin = turn.origin.take().map(|origin| Origin {
                    is_awaited: is_kept,
                    is_privileged: true,
                    ..origin
                });
                let work = origin.map(|origin| Work::Sent(letter(stanza, from, to), origin));
                self.follow(&outbox, work.into_iter().collect());
                return true;
            }
        }
        self.act_for(now, act, stanza, from, to, turn);
        true
    }

    /// Such a stanza that has waited: for what came before it, or for a decision.
    pub(crate) fn acts_later(&self, now: Now, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        if let (Some(judge), Some(slot)) = (self.registry().judge(), self.components.get(from.domain())) {
            self.act_for(now, judge(&slot.component, stanza), stanza, from, to, turn);
        }
    }

    fn act_for(&self, now: Now, act: Act<'_>, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        let owner = match act {
            Act::Nothing => return,
            Act::Refused(error) => return self.bounce(stanza, from, to, &error, turn),
            Act::Roster | Act::Iq(_) => to.bare().to_owned(),
            Act::Message(message) => match sender(&message) {
                Some(sender) if sender.as_ref().local().is_some() => sender,
                // In the name of the server itself.
                Some(server) => return self.send_in_name(server.as_ref(), &message, stanza, from, to, turn),
                None => return,
            },
        };
        if let Some(origin) = &mut turn.origin {
            origin.is_privileged = true;
        }
        let result = self.with_or_hold(
            turn,
            owner.as_ref(),
            |account, turn| self.acts_for(now, account, stanza, from, to, turn),
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

    /// The same at the account in whose name it is done.
    pub(crate) fn acts_for(
        &self,
        now: Now,
        account: &mut Account,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let (Some(judge), Some(slot)) = (self.registry().judge(), self.components.get(from.domain())) else {
            return;
        };
        // "The server MUST NOT allow the privileged entity to do anything that the managed entity could not do."
        if account.disabled || account.is_guest() {
            return self.bounce(stanza, from, to, &StanzaError::forbidden(), turn);
        }
        match judge(&slot.component, stanza) {
            Act::Nothing => {}
            Act::Refused(error) => self.bounce(stanza, from, to, &error, turn),
            Act::Roster => {
                let (Some(method), Some(payload)) = (method(stanza), stanza.payload()) else {
                    return;
                };
                self.ask_roster(account, Relation::Owner, method, payload, stanza, from, to, turn);
            }
            Act::Message(message) => {
                let own = account.jid.clone();
                let Some(whom) = self.may_write(account, &message, stanza, from, to, turn) else {
                    return;
                };
                self.meets(now, account, whom.as_ref());
                if let Some(origin) = &mut turn.origin {
                    origin.archives = !self.archives || account.archives(whom.as_ref());
                    origin.copies = account.copies_what_is_sent_by(None);
                }
                self.send_in_name(own.as_ref(), &message, stanza, from, to, turn);
            }
            Act::Iq(iq) => {
                let Some(whom) = self.may_write(account, &iq, stanza, from, to, turn) else {
                    return;
                };
                let own = account.jid.clone();
                self.ask_in_name(
                    now,
                    &slot.component.domain,
                    own.as_ref(),
                    whom,
                    &iq,
                    stanza,
                    from,
                    to,
                    turn,
                );
            }
        }
    }

    /// To whom this goes in the name of the account, if it may write there. The component is told if not.
    fn may_write(
        &self,
        account: &Account,
        inner: &Child<'_>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> Option<Jid> {
        // As of a client that names nobody.
        let whom = match inner.attr("to") {
            None => Ok(account.jid.clone()),
            Some(whom) => Jid::parse(&whom).map_err(|_| StanzaError::jid_malformed()),
        };
        let whom = whom.and_then(|whom| {
            let is_barred = self.is_apart(account.jid.domain(), whom.domain()) || account.blocks(whom.as_str());
            if is_barred {
                Err(StanzaError::not_acceptable())
            } else {
                Ok(whom)
            }
        });
        whom.map_err(|error| self.bounce(stanza, from, to, &error, turn)).ok()
    }

    /// A message of an account, or of the server, that the component has written.
    fn send_in_name(
        &self,
        own: JidRef<'_>,
        message: &Child<'_>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let said = match read_message(message, |said| letter(said, own, said.to().unwrap_or(own))) {
            Ok(said) => said,
            Err(error) => return self.bounce(stanza, from, to, &error, turn),
        };
        let work = match turn.origin.take() {
            // The connection waits for the account, at most.
            Some(origin) => Work::Sent(
                said,
                Origin {
                    is_awaited: false,
                    is_privileged: false,
                    ..origin
                },
            ),
            None => Work::Letter(said),
        };
        turn.queue.push_back(work);
    }

    /// A request of an account that the component has written. It is asked under an id of our own, which nobody else has.
    #[allow(clippy::too_many_arguments)] // the parts of one request; a struct would only rename them
    fn ask_in_name(
        &self,
        now: Now,
        component: &str,
        own: JidRef<'_>,
        whom: Jid,
        iq: &Child<'_>,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let mut children = iq.children();
        let (Some(payload), None, Some(id)) = (children.next(), children.next(), iq.attr("id")) else {
            return self.bounce(stanza, from, to, &StanzaError::bad_request(), turn);
        };
        let question = Question::InName {
            back: Return::of(stanza, from.to_owned(), to.to_owned()),
            id: id.as_ref().into(),
            whom: whom.clone(),
        };
        let Some(id) = self.questions.open(now, component, question) else {
            let error = StanzaError::resource_constraint().text("too many requests were not answered yet");
            return self.bounce(stanza, from, to, &error, turn);
        };
        let type_ = iq.attr("type").unwrap_or_default();
        let lang = iq.lang().map(|lang| format!(" xml:lang='{}'", escaped(&lang)));
        let (own, whom) = (escaped(own.as_str()), escaped(whom.as_str()));
        let mut text = format!(
            "<iq type='{type_}' id='{id}' from='{own}' to='{whom}'{}>",
            lang.unwrap_or_default()
        );
        payload.write_canonical(ns::CLIENT, &mut text);
        text.push_str("</iq>");
        turn.letter(text);
    }

    /// An answer to an account's bare address: what was asked in its name goes to the component.
    pub(crate) fn answered_in_name(&self, stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        if self.components.is_empty() {
            return;
        }
        let may = |_: &str, question: &Question| match question {
            Question::InName { back, whom, .. } => {
                whom.as_str() == from.as_str() && back.addresses().1.as_str() == to.as_str()
            }
            _ => false,
        };
        let asked = self.questions.answered(stanza.id().unwrap_or_default(), may);
        let Some((_, Question::InName { back, id, whom })) = asked else {
            return;
        };
        let type_ = match stanza.kind() {
            Kind::Iq(IqType::Result) => "result",
            _ => "error",
        };
        let (whom, own, id) = (escaped(whom.as_str()), escaped(to.as_str()), escaped(&id));
        let mut inner = format!(
            "<iq xmlns='{}' type='{type_}' id='{id}' from='{whom}' to='{own}'>",
            ns::CLIENT
        );
        let mut error = String::new();
        for child in stanza.children() {
            child.write_canonical(ns::CLIENT, &mut inner);
            if type_ == "error" && child.is("error", ns::CLIENT) {
                child.write_canonical(ns::CLIENT, &mut error);
            }
        }
        // The text has an answer of type result alone. Those that ask look for the type of what was answered.
        let (to_component, id) = (escaped(back.addresses().0.as_str()), escaped(back.id()));
        turn.letter(format!(
            "<iq type='{type_}' id='{id}' from='{own}' to='{to_component}'><privilege xmlns='{}'><forwarded xmlns='{}'>\
             {inner}</iq></forwarded></privilege>{error}</iq>",
            ns::PRIVILEGE,
            ns::FORWARD
        ));
    }

    /// Components that see this much of the accounts of the domain.
    fn seeing<'r>(
        &'r self,
        domain: &'r str,
        what: impl Fn(PresenceSeen) -> bool + 'r,
    ) -> impl Iterator<Item = &'r Slot> {
        let slots = self.has_privileged().then(|| self.components.iter());
        slots
            .into_iter()
            .flatten()
            .filter(move |slot| *slot.component.shown_by == *domain && what(slot.component.privileges.presence))
    }

    /// Whether this component sees presence that is not for it.
    pub(super) fn sees_presence(&self, domain: &str) -> bool {
        let slot = self.components.get(domain);
        slot.is_some_and(|slot| slot.component.privileges.presence != PresenceSeen::Nobodys)
    }

    /// "Server Sends Roster Pushes". `query`: what every client is told of the change.
    pub(crate) fn roster_pushes(&self, account: &Account, query: &str) -> Vec<After> {
        if !self.has_privileged() {
            return Vec::new();
        }
        let components = self.registry().components().iter();
        let told =
            components.filter(|component| component.privileges.pushes && *component.shown_by == *account.jid.domain());
        told.map(|component| {
            let (from, id) = (escaped(account.jid.as_str()), account.roster.version());
            let to = &component.domain;
            After::letter(format!(
                "<iq type='set' id='roster-{id}' from='{from}' to='{to}'>{query}</iq>"
            ))
        })
        .collect()
    }

    /// A resource of the account has come, or gone: who sees that is told.
    pub(crate) fn show_to_privileged(&self, account: &Account, full: &str, presence: &Rendered, turn: &mut Turn) {
        self.show_of_account(account, full, presence, |seen| seen != PresenceSeen::Nobodys, turn);
    }

    /// A resource of the account has changed its presence. Who sees what the contacts of accounts show is told, if it is one
    /// ("Roster Presence").
    pub(crate) fn show_change_to_privileged(
        &self,
        account: &Account,
        full: &str,
        presence: &Rendered,
        turn: &mut Turn,
    ) {
        let domain = account.jid.domain();
        let is_told = |contact: &str| domain_of(contact) == domain && !account.blocks(contact);
        if self.has_privileged() && account.roster.subscribers().any(|item| is_told(&item.jid)) {
            self.show_of_account(account, full, presence, |seen| seen == PresenceSeen::Contacts, turn);
        }
    }

    fn show_of_account(
        &self,
        account: &Account,
        full: &str,
        presence: &Rendered,
        who: fn(PresenceSeen) -> bool,
        turn: &mut Turn,
    ) {
        let own = account.jid.as_str();
        for slot in self.seeing(account.jid.domain(), who) {
            let mut place = slot.lock();
            // A component that has just come gets to it.
            if place.shows_from.is_none_or(|from| self.shard_of(own) < from) {
                // It is of the moment.
                let _ = place.give(self.components.shares(), own, 0, turn, |out| {
                    presence.write(full, Some(&slot.component.domain), out);
                });
            }
        }
    }

    /// Whether somebody may have privileges. Most servers need not look any further.
    pub(crate) fn has_privileged(&self) -> bool {
        !self.components.is_empty() && self.registry().judge().is_some()
    }

    /// An account of this domain is told of presence of a contact, a full JID: who sees that as well is told, once.
    pub(crate) fn show_contact_to_privileged(
        &self,
        domain: &str,
        from: &str,
        is_available: bool,
        presence: impl Fn(&str, &mut Vec<u8>),
        turn: &mut Turn,
    ) {
        let sender = from.split_once('/').map_or(from, |(bare, _)| bare);
        let of_contact = sender.split_once('@').map_or(sender, |(_, domain)| domain);
        if of_contact == domain {
            // It is told as that of an account.
            return;
        }
        for slot in self.seeing(domain, |seen| seen == PresenceSeen::Contacts) {
            if *of_contact == *slot.component.domain {
                continue;
            }
            let mut text = Vec::new();
            presence(&slot.component.domain, &mut text);
            let mut place = slot.lock();
            if place.streams.is_empty() {
                continue;
            }
            let hash = self.hash(std::str::from_utf8(&text).unwrap_or_default());
            let seen = Seen { is_available, hash };
            if place.seen.get(from) == Some(&seen) {
                continue;
            }
            let given = place.give(self.components.shares(), sender, 0, turn, |out| out.extend(text));
            // What it did not take it is told with the next account.
            if given.is_ok() {
                place.saw(from, seen);
            }
        }
    }

    /// Nobody at a domain can be seen any more by accounts of this one: who was shown them is told.
    pub(crate) fn lose_contacts_of_privileged(&self, domain: &str, lost: &str, turn: &mut Turn) {
        for slot in self.seeing(domain, |seen| seen == PresenceSeen::Contacts) {
            let mut place = slot.lock();
            let lost = place
                .seen
                .iter()
                .filter(|(full, seen)| seen.is_available && domain_of(full) == lost);
            let gone: Vec<Box<str>> = lost.map(|(full, _)| full.clone()).collect();
            for full in gone {
                let (from, to) = (escaped(&full), escaped(&slot.component.domain));
                let text = format!("<presence type='unavailable' from='{from}' to='{to}'/>");
                let sender = full.split_once('/').map_or(&*full, |(bare, _)| bare);
                let given = place.give(self.components.shares(), sender, 0, turn, |out| {
                    out.extend_from_slice(text.as_bytes());
                });
                if given.is_ok() {
                    place.seen.remove(&full);
                }
            }
        }
    }

    /// A component that has read what it was given is given more of the presence of accounts ("Business Rules", 1).
    pub(super) fn show_more(&self, slot: &Slot, turn: &mut Turn) {
        let mut bytes = 0;
        while bytes < SHOWN_BYTES {
            let Some(at) = slot.lock().shows_next() else { break };
            self.each_account_of_shard(at, |account| {
                let own = account.jid.as_str();
                if account.jid.domain() != &*slot.component.shown_by {
                    return;
                }
                for session in &account.sessions {
                    let Some(presence) = account.presence_of(session) else {
                        continue;
                    };
                    let mut text = Vec::new();
                    presence.write(&account.full(session), Some(&slot.component.domain), &mut text);
                    bytes += text.len();
                    let write = |out: &mut Vec<u8>| out.extend_from_slice(&text);
                    let _ = slot.lock().give(self.components.shares(), own, 0, turn, write);
                }
            });
        }
        slot.lock().shows_on(turn);
    }
}

/// Reads a message that another has in it as a stanza of its own.
fn read_message<R>(message: &Child<'_>, then: impl FnOnce(&Stanza<'_>) -> R) -> Result<R, StanzaError> {
    let mut text = String::new();
    message.write_canonical(ns::CLIENT, &mut text);
    let mut scratch = Scratch::default();
    let read = xmlstream::parse_element(&text, ns::CLIENT, &mut scratch, &crate::OWN_LIMITS);
    match read.map(Stanza::read) {
        Ok(Ok(Some(said))) => Ok(then(&said)),
        Ok(Err(fault)) => Err(fault.error()),
        _ => Err(StanzaError::bad_request()),
    }
}

/// Whether a message in somebody's name goes through the store.
fn is_kept(message: &Child<'_>) -> bool {
    let keeping = read_message(message, |said| match said.kind() {
        Kind::Message(kind) => archive::keeping(kind, said),
        _ => Keeping::default(),
    });
    keeping.is_ok_and(|keeping| keeping.archive || keeping.wait)
}

/// Who a message is from.
fn sender(message: &Child<'_>) -> Option<Jid> {
    Jid::parse(&message.attr("from")?).ok()
}

fn method(stanza: &Stanza<'_>) -> Option<Method> {
    match stanza.kind() {
        Kind::Iq(IqType::Get) => Some(Method::Get),
        Kind::Iq(IqType::Set) => Some(Method::Set),
        _ => None,
    }
}
