//! What owners do: configure and destroy a room (XEP-0045 sections 10.1, 10.2 and 10.9).

use std::collections::BTreeMap;
use std::sync::Arc;

use module::{DataField, FieldType, Submitted};
use stanza::{Jid, JidRef, Stanza, StanzaError, ns};
use store::Batch;
use xmlstream::Child;

use crate::admin::{Change, Outcome};
use crate::config::{Config, FORM_TYPE, Unacceptable};
use crate::enter::destroyed;
use crate::extension::{Extension, Request};
use crate::occupants::Occupant;
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

/// Entries of one of these lists in a form; more is `not-acceptable`. muc#admin has no such limit for a list, but one for
/// changes at once.
const LISTED: usize = 1_000;

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
        let lists = match self.submitted(context, &mut config, submitted) {
            Ok(lists) => lists,
            Err(error) => return self.refuse(stanza, from, to, &error),
        };
        let before = std::mem::replace(&mut self.config, config);
        let was_locked = std::mem::replace(&mut self.is_locked, false);
        let mut outcome = Outcome {
            batch: rows::save_room(self),
            ..Outcome::default()
        };
        let mut say = vec![result(stanza, from, to.as_str(), "")];
        // Who goes because of it hears of it before.
        if !was_locked {
            say.extend(self.notified(&before));
        }
        for (jid, affiliation) in lists {
            let change = Change {
                affiliation,
                nick: None,
                reason: None,
                actor: None,
                by: from.bare_str(),
            };
            self.set_affiliation(context, &jid, change, &mut outcome);
        }
        self.adapt(context, &before, &mut outcome);
        let batch = match was_locked {
            true => self.saved(),
            false => std::mem::take(&mut outcome.batch),
        };
        say.extend(outcome.say());
        self.emptied_or(batch, say)
    }

    /// Reads a form; and whose affiliation is another by it.
    fn submitted(
        &self,
        context: &Context<'_>,
        config: &mut Config,
        submitted: &Submitted,
    ) -> Result<Vec<(Jid, Affiliation)>, StanzaError> {
        // Section 10.1.2: an instant room is one with an empty form.
        if submitted.has("FORM_TYPE") && submitted.one("FORM_TYPE") != Some(FORM_TYPE) {
            return Err(StanzaError::bad_request().text("the form is of another FORM_TYPE"));
        }
        config.submit(submitted).map_err(|Unacceptable(var)| {
            let text = format!("{var} cannot be so");
            StanzaError::not_acceptable().text(text)
        })?;
        let mut changes: BTreeMap<String, (Jid, Affiliation)> = BTreeMap::new();
        for (var, affiliation, _) in LISTS {
            if !submitted.has(var) {
                continue;
            }
            let mut listed = BTreeMap::new();
            for text in submitted.all(var).iter().filter(|text| !text.trim().is_empty()) {
                let jid = Jid::parse(text.trim())
                    .map_err(|_| StanzaError::jid_malformed())?
                    .to_bare();
                if jid.local().is_none() {
                    return Err(StanzaError::bad_request().text("a domain cannot do that"));
                }
                listed.insert(jid.as_str().to_owned(), jid);
            }
            if listed.len() > LISTED {
                return Err(StanzaError::not_acceptable().text(format!("{var} cannot have so many")));
            }
            for (jid, standing) in self.standings.iter() {
                if standing.affiliation == affiliation
                    && !listed.contains_key(&**jid)
                    && let Ok(jid) = Jid::parse(jid)
                {
                    // Section 10.2 recommends the next lower for owners; and who is put out has no updated presence, so
                    // where only members are, an admin becomes one (section 10.7).
                    let lower = match affiliation {
                        Affiliation::Owner => Affiliation::Admin,
                        _ if config.members_only => Affiliation::Member,
                        _ => Affiliation::None,
                    };
                    changes.insert(jid.as_str().to_owned(), (jid, lower));
                }
            }
            for (text, jid) in listed {
                let now = self.affiliation(jid.as_ref());
                // An owner who is named among the admins as well stays an owner.
                let is_owner = affiliation == Affiliation::Admin && now == Affiliation::Owner;
                if now != affiliation && !is_owner {
                    changes.insert(text, (jid, affiliation));
                }
            }
        }
        let wanted = changes.iter().map(|(jid, (_, affiliation))| (&**jid, *affiliation));
        self.may_become(context, wanted)?;
        Ok(changes.into_values().collect())
    }

    /// Section 10.2.1: a message for each.
    fn notified(&self, before: &Config) -> Vec<Say> {
        let either = |was: bool, is: bool, yes: u16, no: u16| (was != is).then_some(if is { yes } else { no });
        let now = &self.config;
        let mut codes = [
            either(before.logging, now.logging, 170, 171),
            either(before.non_anonymous, now.non_anonymous, 172, 173),
            None,
        ];
        let rest = Config {
            logging: now.logging,
            non_anonymous: now.non_anonymous,
            ..before.clone()
        };
        if rest != *now {
            codes[2] = Some(104);
        }
        codes
            .into_iter()
            .flatten()
            .map(|code| self.has_changed(&[code]))
            .collect()
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
    fn adapt(&mut self, context: &Context<'_>, before: &Config, outcome: &mut Outcome) {
        let nicks = |room: &Room, is_meant: &dyn Fn(&Occupant) -> bool| -> Vec<Box<str>> {
            let meant = room.occupants.iter().filter(|(_, occupant)| is_meant(occupant));
            meant.map(|(nick, _)| nick.into()).collect()
        };
        if self.config.members_only && !before.members_only {
            let strangers = nicks(self, &|occupant| self.affiliation_of(occupant) < Affiliation::Member);
            let change = Shown {
                statuses: &[322],
                ..gone()
            };
            self.put_out(context, &strangers, &change, outcome);
        }
        if self.config.broadcast != before.broadcast {
            self.unveil(context, before, outcome);
        }
        if before.moderated && !self.config.moderated {
            let batch = std::mem::take(&mut outcome.batch);
            outcome.batch = self.forget_voices(batch);
            for nick in nicks(self, &|occupant| occupant.role == Role::Visitor) {
                self.set_role(context, &nick, Role::Participant, None, outcome);
            }
        }
    }

    /// Whose presence was not seen comes, and whose is seen no more goes.
    fn unveil(&self, context: &Context<'_>, before: &Config, outcome: &mut Outcome) {
        for (nick, occupant) in self.occupants.iter() {
            let (was, is) = (
                before.broadcast.has(occupant.role),
                self.config.broadcast.has(occupant.role),
            );
            let change = match (was, is) {
                (false, true) => Shown::default(),
                (true, false) => Shown {
                    was_seen: true,
                    ..gone()
                },
                _ => continue,
            };
            let mut say = self.show(context, nick, occupant, &change);
            // He himself is where he was.
            say.pop();
            outcome.told.extend(say);
        }
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
