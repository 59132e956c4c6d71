//! What owners do: configure and destroy a room (XEP-0045 sections 10.1, 10.2 and 10.9).

use std::sync::Arc;

use module::{DataField, FieldType, Submitted};
use stanza::{Jid, JidRef, Stanza, StanzaError, ns};
use store::Batch;
use xmlstream::Child;

use crate::config::{Config, FORM_TYPE, Unacceptable};
use crate::enter::destroyed;
use crate::extension::{Extension, Request};
use crate::rank::{Affiliation, Role};
use crate::room::{Context, Decided, Room, Shown, gone};
use crate::rows;
use crate::say::{Say, result};
use stanza::Rendered;

pub(crate) const EXTENSION: Extension = Extension {
    requests: &[
        Request::get("query", OWNER, Room::configuration),
        Request::set("query", OWNER, Room::own),
    ],
    ..Extension::NONE
};

const OWNER: &str = "http://jabber.org/protocol/muc#owner";

/// The lists in the form; whole ones, unlike those of muc#admin (section 10.5).
const LISTS: [(&str, Affiliation, &str); 2] = [
    ("muc#roomconfig_roomadmins", Affiliation::Admin, "Admins"),
    ("muc#roomconfig_roomowners", Affiliation::Owner, "Owners"),
];

impl Room {
    /// Section 10.2: the form, with what holds.
    fn configuration(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        _: &Child<'_>,
    ) -> Decided {
        if self.right_of(context, from.as_ref().as_ref()) < Affiliation::Owner {
            return self.refuse(stanza, from, to, &StanzaError::forbidden());
        }
        let lists = LISTS.map(|(var, affiliation, label)| {
            let listed = self
                .standings
                .iter()
                .filter(|(_, standing)| standing.affiliation == affiliation);
            let jids = listed.map(|(jid, _)| String::from(&**jid));
            DataField::new(var, FieldType::JidMulti, label).values(jids)
        });
        let form = self.config.form(lists.into()).text();
        let payload = format!("<query xmlns='{OWNER}'>{form}</query>");
        Decided::Say(vec![result(stanza, from, to.as_str(), &payload)])
    }

    fn own(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        query: &Child<'_>,
    ) -> Decided {
        if self.right_of(context, from.as_ref().as_ref()) < Affiliation::Owner {
            return self.refuse(stanza, from, to, &StanzaError::forbidden());
        }
        if let Some(destroy) = query.child("destroy", OWNER) {
            return self.destroy(context, stanza, from, to, &destroy);
        }
        let Some(form) = query.child("x", ns::DATA_FORMS) else {
            return self.refuse(
                stanza,
                from,
                to,
                &StanzaError::bad_request().text("a data form is missing"),
            );
        };
        match form.attr("type").as_deref() {
            Some("cancel") if self.is_locked => {
                // Section 10.1.3: it never was.
                let say = self.ended(context, &destroyed(None, None, None));
                self.end(stanza, from, to, say)
            }
            Some("cancel") => Decided::Say(vec![result(stanza, from, to.as_str(), "")]),
            Some("submit") => self.configure(context, stanza, from, to, &Submitted::read(&form)),
            _ => self.refuse(
                stanza,
                from,
                to,
                &StanzaError::bad_request().text("a form of type submit is wanted"),
            ),
        }
    }

    fn configure(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        submitted: &Submitted,
    ) -> Decided {
        let mut config = self.config.clone();
        let lists = match self.submitted(&mut config, submitted) {
            Ok(lists) => lists,
            Err(error) => return self.refuse(stanza, from, to, &error),
        };
        let before = std::mem::replace(&mut self.config, config);
        let was_locked = std::mem::replace(&mut self.is_locked, false);
        let mut say = vec![result(stanza, from, to.as_str(), "")];
        let mut batch = rows::save_room(self);
        for (jid, affiliation) in lists {
            say.extend(self.set_affiliation(context, &jid, affiliation, None, None, None, from.bare_str()));
            batch = rows::save_standing(batch, self, jid.bare_str());
        }
        if was_locked {
            batch = self.saved();
        } else {
            say.extend(self.notified(&before));
        }
        say.extend(self.adapted(context, &before));
        match self.emptied(say) {
            Decided::Say(say) => self.decided(batch, say),
            decided => decided,
        }
    }

    /// Reads a form; and whose affiliation is another by it.
    fn submitted(&self, config: &mut Config, submitted: &Submitted) -> Result<Vec<(Jid, Affiliation)>, StanzaError> {
        // Section 10.1.2: an instant room is one with an empty form.
        if submitted.has("FORM_TYPE") && submitted.one("FORM_TYPE") != Some(FORM_TYPE) {
            return Err(StanzaError::bad_request().text("the form is of another FORM_TYPE"));
        }
        config.submit(submitted).map_err(|Unacceptable(var)| {
            let text = format!("{var} cannot be so");
            StanzaError::not_acceptable().text(text)
        })?;
        let mut changes: Vec<(Jid, Affiliation)> = Vec::new();
        for (var, affiliation, _) in LISTS {
            if !submitted.has(var) {
                continue;
            }
            let mut listed = Vec::new();
            for text in submitted.all(var).iter().filter(|text| !text.trim().is_empty()) {
                let jid = Jid::parse(text.trim())
                    .map_err(|_| StanzaError::jid_malformed())?
                    .to_bare();
                if jid.local().is_none() {
                    return Err(StanzaError::bad_request().text("a domain cannot do that"));
                }
                listed.push(jid);
            }
            for (jid, standing) in &self.standings {
                if standing.affiliation == affiliation
                    && !listed.iter().any(|other| other.as_str() == &**jid)
                    && let Ok(jid) = Jid::parse(jid)
                {
                    // Section 10.2 recommends the next lower for owners.
                    let lower = match affiliation {
                        Affiliation::Owner => Affiliation::Admin,
                        _ => Affiliation::None,
                    };
                    changes.push((jid, lower));
                }
            }
            for jid in listed {
                // An owner who is named among the admins as well stays an owner.
                let is_owner =
                    affiliation == Affiliation::Admin && self.affiliation(jid.as_ref()) == Affiliation::Owner;
                if self.affiliation(jid.as_ref()) != affiliation && !is_owner {
                    changes.retain(|(other, _)| *other != jid);
                    changes.push((jid, affiliation));
                }
            }
        }
        let mut owners: std::collections::BTreeSet<String> = self
            .standings
            .iter()
            .filter(|(_, standing)| standing.affiliation == Affiliation::Owner)
            .map(|(jid, _)| String::from(&**jid))
            .collect();
        for (jid, affiliation) in &changes {
            match affiliation {
                Affiliation::Owner => owners.insert(jid.as_str().to_owned()),
                _ => owners.remove(jid.as_str()),
            };
        }
        match owners.is_empty() {
            true => Err(StanzaError::conflict().text("a room has an owner")),
            false => Ok(changes),
        }
    }

    /// Section 10.2.1.
    fn notified(&self, before: &Config) -> Option<Say> {
        if *before == self.config {
            return None;
        }
        let mut codes = Vec::new();
        if before.non_anonymous != self.config.non_anonymous {
            codes.push(if self.config.non_anonymous { 172 } else { 173 });
        }
        let rest = Config {
            non_anonymous: self.config.non_anonymous,
            ..before.clone()
        };
        if rest != self.config {
            codes.insert(0, 104);
        }
        Some(self.has_changed(&codes))
    }

    /// Everybody is told what of the room is another (section 10.2.1).
    pub(crate) fn has_changed(&self, codes: &[u16]) -> Say {
        let codes: String = codes.iter().map(|code| format!("<status code='{code}'/>")).collect();
        let text = format!(
            "<message type='groupchat'><x xmlns='{}'>{codes}</x></message>",
            ns::MUC_USER
        );
        Say {
            from: self.jid.bare_str().into(),
            stanza: Rendered::from_text(&text),
            to: self.occupants.everyone(),
        }
    }

    /// What a new configuration does to who is in the room.
    fn adapted(&mut self, context: &Context<'_>, before: &Config) -> Vec<Say> {
        let mut say = Vec::new();
        if self.config.members_only && !before.members_only {
            let strangers = self
                .occupants
                .iter()
                .filter(|(_, occupant)| self.affiliation_of(occupant) < Affiliation::Member);
            let strangers: Vec<Box<str>> = strangers.map(|(nick, _)| nick.into()).collect();
            for nick in strangers {
                say.extend(self.put_out(context, &nick, &[322], None, None));
            }
        }
        if before.moderated && !self.config.moderated {
            let silent = self
                .occupants
                .iter()
                .filter(|(_, occupant)| occupant.role == Role::Visitor);
            let silent: Vec<Box<str>> = silent.map(|(nick, _)| nick.into()).collect();
            for nick in silent {
                say.extend(self.set_role(context, &nick, Role::Participant, None));
            }
        }
        say
    }

    fn destroy(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        destroy: &Child<'_>,
    ) -> Decided {
        let venue = match destroy.attr("jid").as_deref().map(Jid::parse) {
            None => None,
            Some(Ok(jid)) => Some(jid),
            Some(Err(_)) => return self.refuse(stanza, from, to, &StanzaError::jid_malformed()),
        };
        let text = |name| destroy.child(name, OWNER).map(|child| child.text().into_owned());
        let (password, reason) = (text("password"), text("reason"));
        let more = destroyed(venue.as_ref().map(Jid::as_str), password.as_deref(), reason.as_deref());
        let say = self.ended(context, &more);
        self.end(stanza, from, to, say)
    }

    /// Everybody is told for himself alone that the room is no more (section 10.9).
    fn ended(&mut self, context: &Context<'_>, more: &str) -> Vec<Say> {
        let change = Shown { more, ..gone() };
        let own = |(nick, occupant)| self.show(context, nick, occupant, &change).pop();
        let say = self.occupants.iter().filter_map(own).collect();
        self.occupants = Default::default();
        say
    }

    fn end(&mut self, stanza: &Stanza<'_>, from: &Arc<Jid>, to: JidRef<'_>, mut say: Vec<Say>) -> Decided {
        say.push(result(stanza, from, to.as_str(), ""));
        self.is_destroyed = true;
        let batch = if self.is_locked {
            Batch::new()
        } else {
            rows::forget(self)
        };
        self.decided(batch, say)
    }
}
