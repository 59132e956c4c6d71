//! Registration with a room (XEP-0045 sections 7.10, 7.12 and 9.9, by XEP-0077): who registers becomes a member, and a
//! nickname is kept for him. The owner says whether the room takes everybody, asks its admins, or takes nobody.
//!
//! A member may take another name in the same way, and may go. Admins and owners can have a name kept as well; that they
//! are no more is for owners to say.

use std::collections::VecDeque;
use std::sync::Arc;

use module::{DataField, DataForm, FieldType, Submitted};
use stanza::{ErrorType, Jid, JidRef, Rendered, Stanza, StanzaError, ns};
use xmlstream::Child;

use crate::admin::{Change, Outcome};
use crate::config::{Field, boolean, single};
use crate::extension::{Extension, Request};
use crate::rank::Affiliation;
use crate::room::{Context, Decided, Room, Shown};
use crate::say::{Say, result, text_element};

pub(crate) const FORM_TYPE: &str = "http://jabber.org/protocol/muc#register";
const NICK: &str = "muc#register_roomnick";
const ALLOW: &str = "muc#register_allow";
/// The recommended form of section 9.9 does not say who asks. XEP-0068 wants such a name for a field of one's own.
const WHO: &str = "{urn:jackdaw:muc}register_jid";

/// Requests that no admin has answered. One more takes the place of the oldest, who may ask again.
const APPLICATIONS: usize = 256;
/// Admins and owners that are asked at their accounts, where none is in the room.
const ASKED: usize = 16;

pub(crate) const EXTENSION: Extension = Extension {
    features: |room| match room.config.registration {
        Registration::Nobody => &[],
        _ => &[ns::REGISTER, FORM_TYPE],
    },
    requests: &[
        Request::get("query", ns::REGISTER, Room::registration),
        Request::set("query", ns::REGISTER, Room::register),
    ],
    fields: &[
        Field {
            var: "{urn:jackdaw:muc}registration",
            kind: FieldType::ListSingle,
            label: "Who may register as a member",
            options: &[
                ("Nobody", "nobody"),
                ("Whoever an admin agrees to", "approved"),
                ("Anyone", "anyone"),
            ],
            more: "",
            get: |config| vec![config.registration.name().to_owned()],
            set: |config, values| {
                config.registration = Registration::read(single(values)?)?;
                Some(())
            },
        },
        Field {
            var: "{urn:jackdaw:muc}lock_nicks",
            kind: FieldType::Boolean,
            label: "Who has registered a nickname is here under no other",
            options: &[],
            more: "",
            get: |config| vec![if config.nicks_locked { "1" } else { "0" }.to_owned()],
            set: |config, values| {
                config.nicks_locked = boolean(values)?;
                Some(())
            },
        },
    ],
    ..Extension::NONE
};

/// Who may register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Registration {
    Nobody,
    /// A member enters a room for members, and speaks in a moderated one: an admin says who.
    #[default]
    Approved,
    Anyone,
}

impl Registration {
    fn name(self) -> &'static str {
        match self {
            Registration::Nobody => "nobody",
            Registration::Approved => "approved",
            Registration::Anyone => "anyone",
        }
    }

    fn read(name: &str) -> Option<Registration> {
        let all = [Registration::Nobody, Registration::Approved, Registration::Anyone];
        all.into_iter().find(|registration| registration.name() == name)
    }
}

/// Who has asked and waits for an admin: a bare JID, and the nickname.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applications(VecDeque<(Box<str>, Box<str>)>);

impl Applications {
    /// Whether this is the first that he is heard of.
    fn add(&mut self, bare: &str, nick: &str) -> bool {
        let before = self.take(bare);
        self.0.push_back((bare.into(), nick.into()));
        if self.0.len() > APPLICATIONS {
            self.0.pop_front();
        }
        before.is_none()
    }

    /// The nickname.
    fn take(&mut self, bare: &str) -> Option<Box<str>> {
        let at = self.0.iter().position(|(jid, _)| **jid == *bare)?;
        Some(self.0.remove(at)?.1)
    }
}

impl Room {
    /// What is to be filled in, or what is registered.
    fn registration(
        &mut self,
        _: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        _: &Child<'_>,
    ) -> Decided {
        let affiliation = self.affiliation(from.as_ref().as_ref());
        if affiliation == Affiliation::Outcast
            || (affiliation == Affiliation::None && self.config.registration == Registration::Nobody)
        {
            return self.refuse(stanza, from, to, &StanzaError::not_allowed());
        }
        let nick = self
            .standings
            .get(from.bare_str())
            .and_then(|standing| standing.nick.as_deref());
        let mut payload = format!("<query xmlns='{}'>", ns::REGISTER);
        if affiliation >= Affiliation::Member {
            payload.push_str("<registered/>");
            if let Some(nick) = nick {
                text_element(&mut payload, "username", nick);
            }
        }
        let field = DataField::new(NICK, FieldType::TextSingle, "Desired nickname").required();
        let field = field.values(nick.map(str::to_owned));
        let form = DataForm::new("Registration with the room", "The nickname is kept for you.");
        payload.push_str(&form.of_type(FORM_TYPE).field(field).text());
        payload.push_str("</query>");
        Decided::Say(vec![result(stanza, from, to.as_str(), &payload)])
    }

    fn register(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        query: &Child<'_>,
    ) -> Decided {
        let outcome = match query.child("remove", ns::REGISTER) {
            Some(_) => self.unregistered(context, from, query),
            None => self.registered(context, from, query),
        };
        match outcome {
            Ok(mut outcome) => {
                let batch = std::mem::take(&mut outcome.batch);
                let mut say = vec![result(stanza, from, to.as_str(), "")];
                say.extend(outcome.say());
                self.emptied_or(batch, say)
            }
            Err(error) => self.refuse(stanza, from, to, &error),
        }
    }

    fn registered(
        &mut self,
        context: &Context<'_>,
        from: &Arc<Jid>,
        query: &Child<'_>,
    ) -> Result<Outcome, StanzaError> {
        let affiliation = self.affiliation(from.as_ref().as_ref());
        if affiliation == Affiliation::Outcast {
            return Err(StanzaError::not_allowed());
        }
        if affiliation == Affiliation::None && self.config.registration == Registration::Nobody {
            return Err(StanzaError::service_unavailable());
        }
        let form = query.child("x", ns::DATA_FORMS);
        let form = form.filter(|form| form.attr("type").as_deref() == Some("submit"));
        let submitted = form.map(|form| Submitted::read(&form));
        let submitted = submitted.filter(|submitted| submitted.one("FORM_TYPE") == Some(FORM_TYPE));
        let nick = submitted.as_ref().and_then(|submitted| submitted.one(NICK));
        let nick = nick.ok_or_else(|| StanzaError::bad_request().text("a form with a nickname is wanted"))?;
        let nick = self.nickname(context, nick)?;
        self.is_free(&nick, from.bare_str())?;
        let mut outcome = Outcome::default();
        match (affiliation, self.config.registration) {
            (Affiliation::None, Registration::Approved) => {
                if self.applications.add(from.bare_str(), &nick) {
                    outcome.told.push(self.application(from, &nick));
                }
            }
            (affiliation, _) => {
                let affiliation = affiliation.max(Affiliation::Member);
                self.enlist(context, from, affiliation, nick, from.bare_str(), &mut outcome)?;
            }
        }
        Ok(outcome)
    }

    /// XEP-0077 section 3.2.
    fn unregistered(&mut self, context: &Context<'_>, from: &Jid, query: &Child<'_>) -> Result<Outcome, StanzaError> {
        if query.children().count() > 1 {
            return Err(StanzaError::bad_request());
        }
        let standing = self.standings.get(from.bare_str()).map(|standing| standing.affiliation);
        let affiliation = match standing {
            Some(Affiliation::Member) => Affiliation::None,
            Some(affiliation) if affiliation.administers() => affiliation,
            _ => return Err(StanzaError::registration_required()),
        };
        let change = Change {
            affiliation,
            nick: Some("".into()),
            reason: None,
            actor: None,
            by: from.bare_str(),
        };
        let mut outcome = Outcome::default();
        self.set_affiliation(context, from, change, &mut outcome);
        Ok(outcome)
    }

    /// Whether a name can be kept for somebody: for nobody else, and nobody else is here under it.
    fn is_free(&self, nick: &str, bare: &str) -> Result<(), StanzaError> {
        let is_kept = self.keeper_of(nick).is_some_and(|keeper| keeper != bare);
        let is_taken = self.occupants.is_taken(nick, bare);
        match is_kept || is_taken {
            true => Err(StanzaError::conflict()),
            false => Ok(()),
        }
    }

    /// Somebody is registered. `by`: who has let him.
    fn enlist(
        &mut self,
        context: &Context<'_>,
        jid: &Jid,
        affiliation: Affiliation,
        nick: Box<str>,
        by: &str,
        outcome: &mut Outcome,
    ) -> Result<(), StanzaError> {
        self.may_become(context, std::iter::once((jid.bare_str(), affiliation)))?;
        let change = Change {
            affiliation,
            nick: Some(nick.clone()),
            reason: None,
            actor: None,
            by,
        };
        self.set_affiliation(context, jid, change, outcome);
        if self.config.nicks_locked {
            for other in self.occupants.nicks_of(jid.bare_str()) {
                if other != nick {
                    outcome.told.extend(self.renamed(context, &other, &nick));
                    if let Some(occupant) = self.occupants.get(&nick) {
                        let change = Shown {
                            statuses: &[210],
                            ..Shown::default()
                        };
                        outcome.told.extend(self.show(context, &nick, occupant, &change));
                    }
                }
            }
        }
        Ok(())
    }

    /// Section 9.9: what admins are asked. To those that are here; else to their accounts.
    fn application(&self, from: &Jid, nick: &str) -> Say {
        let field = |var, kind, label, value: &str| DataField::new(var, kind, label).value(value);
        let form = DataForm::new("Registration request", "Somebody wants to register with this room.")
            .of_type(FORM_TYPE)
            .field(field(WHO, FieldType::JidSingle, "User ID", from.bare_str()))
            .field(field(NICK, FieldType::TextSingle, "Desired nickname", nick))
            .field(field(
                ALLOW,
                FieldType::Boolean,
                "Allow this person to register with the room?",
                "0",
            ));
        let mut to = self
            .occupants
            .some(|_, occupant| self.affiliation_of(occupant).administers());
        if to.is_empty() {
            let admins = self
                .standings
                .iter()
                .filter(|(_, standing)| standing.affiliation.administers());
            let jids = admins.filter_map(|(jid, _)| Jid::parse(jid).ok());
            to = jids.take(ASKED).map(Arc::new).collect();
        }
        Say {
            from: self.jid.bare_str().into(),
            stanza: Rendered::from_text(&format!("<message>{}</message>", form.text())),
            to,
        }
    }

    /// An admin has answered.
    pub(crate) fn approve(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        submitted: &Submitted,
    ) -> Decided {
        match self.approved(context, from, submitted) {
            Ok(mut outcome) => {
                let batch = std::mem::take(&mut outcome.batch);
                self.decided(batch, outcome.say())
            }
            Err(error) => self.refuse(stanza, from, to, &error),
        }
    }

    fn approved(&mut self, context: &Context<'_>, from: &Jid, submitted: &Submitted) -> Result<Outcome, StanzaError> {
        if !self.right_of(context, from.as_ref()).administers() {
            return Err(StanzaError::forbidden());
        }
        let (Some(jid), Some(allow)) = (submitted.one(WHO), submitted.boolean(ALLOW)) else {
            return Err(StanzaError::bad_request().text("who may register, and may he?"));
        };
        let jid = Jid::parse(jid).map_err(|_| StanzaError::jid_malformed())?.to_bare();
        // Another admin may have answered, or the answer came late.
        let nick = self.applications.take(jid.bare_str());
        let nick = nick.ok_or_else(|| StanzaError::item_not_found().text("he does not wait for an answer"))?;
        let mut outcome = Outcome::default();
        if allow && self.affiliation(jid.as_ref()) == Affiliation::None {
            self.is_free(&nick, jid.bare_str())?;
            self.enlist(context, &jid, Affiliation::Member, nick, from.bare_str(), &mut outcome)?;
        }
        Ok(outcome)
    }

    /// The name under which somebody has to be here.
    pub(crate) fn locked_nick(&self, bare: &str) -> Option<&str> {
        let standing = self.standings.get(bare).filter(|_| self.config.nicks_locked);
        standing?.nick.as_deref()
    }

    /// Section 7.6: whether somebody may take another name.
    pub(crate) fn may_rename(&self, bare: &str, new: &str) -> Result<(), StanzaError> {
        match self.locked_nick(bare) {
            Some(kept) if kept != new => Err(StanzaError::not_acceptable().kind(ErrorType::Cancel)),
            _ => Ok(()),
        }
    }
}
