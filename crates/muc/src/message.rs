//! Messages to a room and to its occupants: for everybody, in private, the subject, invitations, and who asks for voice
//! (XEP-0045 sections 7.4, 7.5, 7.8, 7.13, 8.1 and 8.6).

use std::collections::VecDeque;
use std::sync::Arc;

use module::{DataField, DataForm, FieldType, Submitted};
use stanza::{Edits, Jid, JidRef, Kind, MessageType, Rendered, Stanza, StanzaError, ns};
use store::Batch;
use xmlstream::Child;

use crate::admin::Outcome;
use crate::enter::{is_ghost, is_rooms_own, says};
use crate::extension::EXTENSIONS;
use crate::history::Kept;
use crate::moderation;
use crate::occupants::Occupant;
use crate::rank::{Affiliation, Role};
use crate::registration;
use crate::retraction::Retraction;
use crate::room::{Context, Decided, Reflect, Room};
use crate::rows;
use crate::say::{Say, attribute, failed, occupant_id, stanza_id, text_element, without_by};
use crate::standings::Standing;

const REQUEST: &str = "http://jabber.org/protocol/muc#request";
const HINTS: &str = "urn:xmpp:hints";
/// Invitations whose answers the room passes on. Older ones are forgotten: who declines them is told nothing.
const INVITATIONS: usize = 256;

/// Private messages whose errors the room tells from those of others. Older ones are forgotten.
const PRIVATE: usize = 256;

/// Who is invited by one message; more is `policy-violation`.
const INVITED: usize = 32;
/// Errors by which an invitation comes back that say that there is nobody (section 7.8.2).
const NOBODY: &[&str] = &[
    "gone",
    "item-not-found",
    "remote-server-not-found",
    "service-unavailable",
];

/// One that went out through the room.
#[derive(Clone, Debug)]
struct Invitation {
    inviter: Arc<Jid>,
    /// A bare JID.
    invitee: Box<str>,
    /// Of the message in which it was asked for.
    id: Option<Box<str>>,
}

/// Who was invited by whom, so that nobody is bothered through a room by others.
#[derive(Clone, Debug, Default)]
pub(crate) struct Invitations(VecDeque<Invitation>);

impl Invitations {
    fn add(&mut self, invitation: Invitation) {
        self.0.push_back(invitation);
        if self.0.len() > INVITATIONS {
            self.0.pop_front();
        }
    }

    fn take(&mut self, is_it: impl Fn(&Invitation) -> bool) -> Option<Invitation> {
        let at = self.0.iter().position(is_it)?;
        self.0.remove(at)
    }
}

/// Private messages that went out: their ids, and to whom, by bare JIDs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Privates(VecDeque<(Option<Box<str>>, Box<str>)>);

impl Privates {
    fn add(&mut self, id: Option<&str>, to: &str) {
        self.0.push_back((id.map(Into::into), to.into()));
        if self.0.len() > PRIVATE {
            self.0.pop_front();
        }
    }

    /// Whether this answers one. Each client of its recipient may.
    fn has(&self, id: Option<&str>, to: &str) -> bool {
        self.0.iter().any(|(sent, whom)| sent.as_deref() == id && **whom == *to)
    }
}

impl Room {
    /// A message to the room or an occupant's address of it. `from`: a full JID.
    pub fn message(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
    ) -> Decided {
        let Kind::Message(kind) = stanza.kind() else {
            return Decided::nothing();
        };
        if kind == MessageType::Error
            && to.resource().is_none()
            && self.occupants.nick_of(from.as_ref().as_ref()).is_none()
        {
            return self.not_invited(stanza, from);
        }
        // RFC 6121 section 8.5.3.2.1: so another server answers a message for everybody whose recipient is gone; of accounts
        // here it is known. But a private one may come back so from somebody who is here.
        let is_here = self.jid.domain().strip_suffix(from.domain());
        let is_gone = is_here.is_none_or(|label| !label.ends_with('.'))
            && to.resource().is_some()
            && says(stanza, &["service-unavailable"])
            && !self.privates.has(stanza.id(), from.bare_str());
        if kind == MessageType::Error && (is_ghost(stanza) || is_gone) {
            let presence = Rendered::from_text("<presence type='unavailable'/>");
            return self.left(context, from, &presence, &[333], &[]);
        }
        // Section 17.2.
        if self.is_locked && self.occupants.nick_of(from.as_ref().as_ref()).is_none() {
            return self.refuse(stanza, from, to, &StanzaError::item_not_found());
        }
        match (to.resource(), kind) {
            (Some(nick), _) => self.private(stanza, from, to, nick, kind),
            (None, MessageType::Groupchat) => self.for_everybody(context, stanza, from, to),
            (None, MessageType::Normal) => self.for_the_room(context, stanza, from, to),
            (None, MessageType::Chat) => {
                let error = StanzaError::bad_request().text("what is for everybody is of type groupchat");
                self.refuse(stanza, from, to, &error)
            }
            (None, MessageType::Error | MessageType::Headline) => Decided::nothing(),
        }
    }

    fn for_everybody(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
    ) -> Decided {
        let Some((_, occupant)) = self.occupants.of(from.as_ref().as_ref()) else {
            return self.refuse(
                stanza,
                from,
                to,
                &StanzaError::not_acceptable().text("you are not in the room"),
            );
        };
        if changes_subject(stanza) {
            return self.change_subject(context, stanza, from, to);
        }
        if occupant.role < Role::Participant {
            return self.refuse(
                stanza,
                from,
                to,
                &StanzaError::forbidden().text("you have no voice here"),
            );
        }
        for extension in EXTENSIONS {
            if let Err(error) = (extension.message)(self, context, stanza, from) {
                return self.refuse(stanza, from, to, &error);
            }
        }
        let Some((nick, occupant)) = self.occupants.of(from.as_ref().as_ref()) else {
            return Decided::nothing();
        };
        // Of a room that is not there yet nothing is kept.
        let is_kept = is_kept(stanza) && !self.is_locked;
        Decided::Reflect(Reflect {
            is_known: self.config.non_anonymous,
            retraction: Retraction::read(context, stanza).filter(|_| is_kept && self.config.logging),
            ..Reflect::of(
                self,
                self.address(nick).into(),
                from,
                self.cleaned(stanza, occupant),
                is_kept,
            )
        })
    }

    /// A message as everybody gets it: nobody says in the room's place who he is, or which id it has.
    fn cleaned(&self, stanza: &Stanza<'_>, occupant: &Occupant) -> Rendered {
        let mut edits = Edits::default();
        let room = self.jid.bare_str();
        for child in stanza.children() {
            let is_forged = is_rooms_own(&child, room) || moderation::is_forged(&child);
            if is_forged {
                edits.remove(&child);
            }
        }
        without_by(stanza, &mut edits);
        edits.append(&occupant_id(&occupant.id));
        Rendered::of(stanza, &edits)
    }

    /// The message is archived, under this id, or is not to be: now everybody gets it.
    pub fn reflected(&mut self, context: &Context<'_>, reflect: Reflect, id: Option<i64>) -> (Vec<Say>, Decided) {
        let shown = id.map(|id| context.ids.show(id));
        let message = match &shown {
            Some(shown) => reflect.message.with(&stanza_id(self.jid.bare_str(), shown)),
            None => reflect.message,
        };
        if reflect.is_past {
            let kept = Kept {
                from: reflect.from.clone(),
                message: message.clone(),
                at: context.now,
                id: shown.map(Into::into),
            };
            self.history.add(kept, context.limits.history);
        }
        let mut says = vec![Say {
            from: reflect.from,
            stanza: message,
            to: self.occupants.everyone(),
        }];
        for extension in EXTENSIONS {
            let follows = (extension.reflected)(self, context, &says[0]);
            says.extend(follows);
        }
        says.extend(reflect.then);
        let decided = match reflect.retraction {
            Some(retraction) => retraction.look(self, reflect.sender.bare_str()),
            None => Decided::nothing(),
        };
        (says, decided)
    }

    /// It could not be archived: nothing has happened.
    pub fn not_reflected(&mut self, reflect: Reflect) {
        if let Some(before) = reflect.before {
            self.subject = before;
        }
        if let Some(buried) = reflect.buried {
            self.history.replace(buried);
        }
    }

    fn change_subject(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
    ) -> Decided {
        let Some((nick, occupant)) = self.occupants.of(from.as_ref().as_ref()) else {
            return Decided::nothing();
        };
        let lowest = if self.config.change_subject {
            Role::Participant
        } else {
            Role::Moderator
        };
        if occupant.role < lowest {
            return self.refuse(stanza, from, to, &StanzaError::forbidden());
        }
        let (address, id) = (self.address(nick), occupant.id.clone());
        let message = self.cleaned(stanza, occupant);
        let subjects = stanza.children().filter(|child| child.is("subject", ns::CLIENT));
        let mut elements = String::new();
        for subject in subjects {
            subject.write_canonical(ns::CLIENT, &mut elements);
        }
        let before = self.subject.clone();
        self.subject.elements = elements;
        self.subject.from = address.as_str().into();
        self.subject.id = id;
        self.subject.at = context.now.0;
        // XEP-0313 section 6.1.2: it is kept too, but not part of what who enters gets (section 7.2.13).
        let is_kept = !self.is_locked;
        Decided::Reflect(Reflect {
            is_known: self.config.non_anonymous,
            is_past: false,
            batch: if is_kept { rows::save_room(self) } else { Batch::new() },
            before: Some(before),
            ..Reflect::of(self, address.into(), from, message, is_kept)
        })
    }

    fn private(
        &mut self,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        nick: &str,
        kind: MessageType,
    ) -> Decided {
        // Section 7.5 has these in its order.
        if kind == MessageType::Groupchat {
            let error = StanzaError::bad_request().text("a message of type groupchat is for the room");
            return self.refuse(stanza, from, to, &error);
        }
        let Some((sender, occupant)) = self.occupants.of(from.as_ref().as_ref()) else {
            return self.refuse(
                stanza,
                from,
                to,
                &StanzaError::not_acceptable().text("you are not in the room"),
            );
        };
        let Some(recipient) = self.occupants.get(nick) else {
            return self.refuse(stanza, from, to, &StanzaError::item_not_found());
        };
        // An error answers what was allowed to be sent.
        if kind != MessageType::Error && !self.config.private_messages.has(occupant.role) {
            let error = StanzaError::forbidden().text("private messages are not allowed here");
            return self.refuse(stanza, from, to, &error);
        }
        let x = format!("<x xmlns='{}'/>", ns::MUC_USER);
        let say = Say {
            from: self.address(sender).into(),
            stanza: self.cleaned(stanza, occupant).with(&x),
            to: recipient.jids().cloned().collect(),
        };
        if kind != MessageType::Error {
            let whom: Box<str> = recipient.bare().into();
            self.privates.add(stanza.id(), &whom);
        }
        Decided::Say(vec![say])
    }

    /// What is for the room itself.
    fn for_the_room(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
    ) -> Decided {
        let user = stanza.children().find(|child| child.is("x", ns::MUC_USER));
        if let Some(user) = &user {
            if user.children().any(|child| child.is("invite", ns::MUC_USER)) {
                return self.invite(context, stanza, from, to, user);
            }
            if let Some(decline) = user.child("decline", ns::MUC_USER) {
                return self.decline(stanza, from, &decline);
            }
        }
        let form = stanza.children().find(|child| child.is("x", ns::DATA_FORMS));
        if let Some(form) = form.filter(|form| form.attr("type").as_deref() == Some("submit")) {
            let submitted = Submitted::read(&form);
            if submitted.one("FORM_TYPE") == Some(REQUEST) {
                return self.voice(context, stanza, from, to, &submitted);
            }
            if submitted.one("FORM_TYPE") == Some(registration::FORM_TYPE) {
                return self.approve(context, stanza, from, to, &submitted);
            }
        }
        let error = StanzaError::bad_request().text("what is for everybody is of type groupchat");
        self.refuse(stanza, from, to, &error)
    }

    /// Section 7.8.2.
    fn invite(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        user: &Child<'_>,
    ) -> Decided {
        // Section 17.2: who is not in the room has no part in it.
        if self.occupants.of(from.as_ref().as_ref()).is_none() {
            return self.refuse(
                stanza,
                from,
                to,
                &StanzaError::forbidden().text("you are not in the room"),
            );
        }
        let right = self.right_of(context, from.as_ref().as_ref());
        let may = right.administers() || self.config.allow_invites || !self.config.members_only;
        if !may {
            return self.refuse(stanza, from, to, &StanzaError::forbidden());
        }
        let mut wanted = Vec::new();
        for invite in user.children().filter(|child| child.is("invite", ns::MUC_USER)) {
            match invite.attr("to").as_deref().map(Jid::parse) {
                Some(Ok(jid)) if jid.local().is_some() => wanted.push((jid, invite)),
                _ => return self.refuse(stanza, from, to, &StanzaError::jid_malformed()),
            }
        }
        if wanted.len() > INVITED {
            let error = StanzaError::policy_violation().text("too many invitations at once");
            return self.refuse(stanza, from, to, &error);
        }
        let new = wanted
            .iter()
            .filter(|(jid, _)| self.affiliation(jid.as_ref()) == Affiliation::None);
        if self.config.members_only && self.standings.len() + new.count() > context.limits.affiliations {
            return self.refuse(stanza, from, to, &StanzaError::resource_constraint());
        }
        let mut batch = store::Batch::new();
        let mut say = Vec::new();
        for (jid, invite) in wanted {
            // Section 9.5: into a room for members an invitation makes a member.
            if self.config.members_only && self.affiliation(jid.as_ref()) == Affiliation::None {
                let member = Standing {
                    affiliation: Affiliation::Member,
                    nick: None,
                    reason: None,
                };
                let (bare, none) = (jid.bare_str(), Affiliation::None);
                let step = self.stand(context, bare, Some(member), &mut batch);
                self.tell_of_lists(bare, none, Affiliation::Member, step.as_ref(), &mut say);
            }
            self.invitations.add(Invitation {
                inviter: Arc::clone(from),
                invitee: jid.bare_str().into(),
                id: stanza.id().map(Into::into),
            });
            say.push(self.invitation(stanza.id(), from.bare_str(), Arc::new(jid), Some(&invite)));
        }
        self.decided(batch, say)
    }

    /// An invitation as the room sends it on. `inviter`: a bare JID; who is invited should know whom to trust.
    pub(crate) fn invitation(&self, id: Option<&str>, inviter: &str, to: Arc<Jid>, invite: Option<&Child<'_>>) -> Say {
        let mut text = String::from("<message");
        attribute(&mut text, "id", id);
        text.push_str(&format!("><x xmlns='{}'><invite", ns::MUC_USER));
        attribute(&mut text, "from", Some(inviter));
        text.push('>');
        if let Some(invite) = invite {
            passed_on(invite, &["reason", "continue"], &mut text);
        }
        text.push_str("</invite>");
        if !self.config.password.is_empty() {
            text_element(&mut text, "password", &self.config.password);
        }
        text.push_str("</x></message>");
        Say {
            from: self.jid.bare_str().into(),
            stanza: Rendered::from_text(&text),
            to: vec![to],
        }
    }

    fn decline(&mut self, stanza: &Stanza<'_>, from: &Arc<Jid>, decline: &Child<'_>) -> Decided {
        let Some(Ok(inviter)) = decline.attr("to").as_deref().map(Jid::parse) else {
            return Decided::nothing();
        };
        let is_it = |invitation: &Invitation| {
            invitation.inviter.bare_str() == inviter.bare_str() && *invitation.invitee == *from.bare_str()
        };
        if self.invitations.take(is_it).is_none() {
            return Decided::nothing();
        }
        let mut text = String::from("<message");
        attribute(&mut text, "id", stanza.id());
        text.push_str(&format!("><x xmlns='{}'><decline", ns::MUC_USER));
        attribute(&mut text, "from", Some(from.bare_str()));
        text.push('>');
        passed_on(decline, &["reason"], &mut text);
        text.push_str("</decline></x></message>");
        // To the clients that are here; else to the account.
        let here: Vec<_> = self
            .occupants
            .clients_of(inviter.bare_str())
            .map(|(jid, _)| Arc::clone(jid))
            .collect();
        let to = if here.is_empty() {
            vec![Arc::new(inviter.to_bare())]
        } else {
            here
        };
        Decided::Say(vec![Say {
            from: self.jid.bare_str().into(),
            stanza: Rendered::from_text(&text),
            to,
        }])
    }

    /// An invitation has come back: the inviter hears that there is nobody.
    fn not_invited(&mut self, stanza: &Stanza<'_>, from: &Jid) -> Decided {
        if !says(stanza, NOBODY) {
            return Decided::nothing();
        }
        let is_it = |invitation: &Invitation| *invitation.invitee == *from.bare_str();
        let Some(Invitation { inviter, id, .. }) = self.invitations.take(is_it) else {
            return Decided::nothing();
        };
        let error = StanzaError::item_not_found().by(self.jid.bare_str().to_owned());
        Decided::Say(vec![failed(
            "message",
            id.as_deref(),
            self.jid.bare_str(),
            &inviter,
            &error,
        )])
    }

    /// Sections 7.13 and 8.6: a visitor asks, a moderator agrees.
    fn voice(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        submitted: &Submitted,
    ) -> Decided {
        let Some((nick, occupant)) = self.occupants.of(from.as_ref().as_ref()) else {
            return self.refuse(
                stanza,
                from,
                to,
                &StanzaError::forbidden().text("you are not in the room"),
            );
        };
        let Some(role) = submitted.one("muc#role").and_then(Role::read) else {
            return self.refuse(stanza, from, to, &StanzaError::bad_request().text("which role?"));
        };
        match (submitted.boolean("muc#request_allow"), occupant.role) {
            (None, Role::Visitor) if role == Role::Participant => {
                let field = |var, kind, label, value: &str| DataField::new(var, kind, label).value(value);
                let form = DataForm::new("Voice request", "Somebody asks to speak in this room.")
                    .of_type(REQUEST)
                    .field(field(
                        "muc#role",
                        FieldType::ListSingle,
                        "Requested role",
                        "participant",
                    ))
                    .field(field("muc#jid", FieldType::JidSingle, "User ID", from.as_str()))
                    .field(field("muc#roomnick", FieldType::TextSingle, "Room Nickname", nick))
                    .field(field(
                        "muc#request_allow",
                        FieldType::Boolean,
                        "Grant voice to this person?",
                        "false",
                    ));
                Decided::Say(vec![Say {
                    from: self.jid.bare_str().into(),
                    stanza: Rendered::from_text(&format!("<message>{}</message>", form.text())),
                    to: self.occupants.some(|_, occupant| occupant.role == Role::Moderator),
                }])
            }
            // He has it already.
            (None, _) => Decided::nothing(),
            (Some(_), role) if role < Role::Moderator => self.refuse(stanza, from, to, &StanzaError::forbidden()),
            (Some(false), _) => Decided::nothing(),
            (Some(true), _) => {
                let nick = submitted.one("muc#roomnick").unwrap_or_default();
                let wanted = submitted.one("muc#jid").and_then(|jid| Jid::parse(jid).ok());
                let is_the_same = |occupant: &Occupant| {
                    occupant.role == Role::Visitor
                        && wanted.as_ref().is_none_or(|jid| occupant.bare() == jid.bare_str())
                };
                // Who has gone, or speaks already, needs none.
                if !self.occupants.get(nick).is_some_and(is_the_same) {
                    return Decided::nothing();
                }
                let mut outcome = Outcome::default();
                self.set_role(context, nick, Role::Participant, None, &mut outcome);
                self.decided(std::mem::take(&mut outcome.batch), outcome.say())
            }
        }
    }
}

/// Children that go along with an invitation.
fn passed_on(parent: &Child<'_>, names: &[&str], out: &mut String) {
    for child in parent.children() {
        if child.ns() == ns::MUC_USER && names.contains(&child.name()) {
            child.write_canonical(ns::MUC_USER, out);
        }
    }
}

/// Section 8.1: with a body or a thread it is none that changes the subject.
pub(crate) fn changes_subject(stanza: &Stanza<'_>) -> bool {
    let has = |name: &str| stanza.children().any(|child| child.is(name, ns::CLIENT));
    has("subject") && !has("body") && !has("thread")
}

/// What is over in a moment leaves no trace: chat states and their like, and what its sender does not want kept
/// (XEP-0334). All else is for who was away: reactions, markers, corrections.
fn is_kept(stanza: &Stanza<'_>) -> bool {
    let mut is_worth_it = false;
    for child in stanza.children() {
        match (child.name(), child.ns()) {
            ("no-store" | "no-permanent-store", HINTS) => return false,
            (_, ns::CHAT_STATES | HINTS) => is_worth_it |= child.name() == "store",
            ("origin-id", "urn:xmpp:sid:0") | ("thread", ns::CLIENT) => {}
            _ => is_worth_it = true,
        }
    }
    is_worth_it
}
