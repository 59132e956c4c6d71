//! Presence to a room: coming in, another name, another state, going (XEP-0045 sections 7.2, 7.6, 7.7 and 7.14).

use std::sync::Arc;

use module::Now;
use stanza::{Edits, ErrorType, Jid, JidCow, JidRef, Kind, PresenceType, Rendered, Stanza, StanzaError, ns};
use xmlstream::Child;

use crate::history::{Wanted, delay};
use crate::occupants::{Left, Session};
use crate::rank::{Affiliation, Role};
use crate::room::{Context, Decided, Room, Shown, gone};
use crate::rows;
use crate::say::{Item, OCCUPANT_ID, Say, occupant_id, text_element, x};

/// Bytes of what is shown of an occupant's presence: everybody who enters is given that of all others. More is `policy-violation`.
const PRESENCE_BYTES: usize = 8 * 1024;

/// XEP-0091.
const OLD_DELAY: &str = "jabber:x:delay";

/// Errors in answer to what the room has sent that say that nobody is there (sections 11.1 and 18.1.2).
const GHOST: &[&str] = &[
    "gone",
    "item-not-found",
    "recipient-unavailable",
    "redirect",
    "remote-server-not-found",
    "remote-server-timeout",
];

impl Room {
    /// A presence stanza to the room or an occupant's address of it. `from`: a full JID.
    pub fn presence(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
    ) -> Decided {
        let Kind::Presence(kind) = stanza.kind() else {
            return Decided::nothing();
        };
        match kind {
            PresenceType::Available => self.available(context, stanza, from, to),
            // Section 17.3: whoever is not there is told nothing.
            PresenceType::Unavailable => self.left(context, from, &said(stanza, self.jid.bare_str()), &[], &[]),
            PresenceType::Error if is_ghost(stanza) => self.left(
                context,
                from,
                &Rendered::from_text("<presence type='unavailable'/>"),
                &[333],
                &[],
            ),
            // Nobody subscribes to a room, and a probe is answered by the presence that was sent before.
            _ => Decided::nothing(),
        }
    }

    fn available(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
    ) -> Decided {
        let join = stanza.children().find(|child| child.is("x", ns::MUC));
        let Some(nick) = to.resource() else {
            return self.refuse(
                stanza,
                from,
                to,
                &StanzaError::jid_malformed().text("a nickname is missing"),
            );
        };
        // What is taken out of it does not count.
        let is_long = |text: &str| text.len() > PRESENCE_BYTES;
        if is_long(stanza.element().source()) && is_long(said(stanza, self.jid.bare_str()).text()) {
            let error = StanzaError::policy_violation().text("that is too long for the presence of an occupant");
            return self.refuse(stanza, from, to, &error);
        }
        // Section 7.10: who has to be here under another name is let in under that.
        let locked = self.locked_nick(from.bare_str()).filter(|_| join.is_some());
        let nick = &*locked.map_or_else(|| nick.to_owned(), str::to_owned);
        let here = self.occupants.nick_of(from.as_ref().as_ref()).map(str::to_owned);
        match (here, join) {
            (Some(now), join) if now == nick => self.update(context, stanza, from, to, nick, join.as_ref()),
            (Some(now), _) => self.rename(context, stanza, from, to, &now, nick),
            (None, Some(join)) => self.join(context, stanza, from, to, nick, &join),
            (None, None) => self.not_in_the_room(context, from, to),
        }
    }

    /// Section 7.2.18: a client that believes to be in the room is told that it is not.
    fn not_in_the_room(&self, context: &Context<'_>, from: &Arc<Jid>, to: JidRef<'_>) -> Decided {
        let item = Item {
            reason: Some("You are not in the room."),
            ..Item::new(Affiliation::None, Role::None)
        };
        // XEP-0421 section 4: in all presence of a room.
        let more = occupant_id(&self.id_of(context, from.bare_str())) + &x(&item, &[110, 307, 333], "");
        Decided::Say(vec![Say {
            from: to.as_str().into(),
            stanza: Rendered::from_text("<presence type='unavailable'/>").with(&more),
            to: vec![Arc::clone(from)],
        }])
    }

    fn join(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        nick: &str,
        join: &Child<'_>,
    ) -> Decided {
        if let Err(error) = self.may_enter(context, from, nick, join) {
            return self.keep_out(stanza, from, to, &error);
        }
        let is_new = self.is_locked && self.occupants.is_empty();
        let affiliation = self.right_of(context, from.as_ref().as_ref());
        let role = match self.occupants.get(nick) {
            Some(occupant) => occupant.role,
            None => self.role_at_entry(affiliation, from.bare_str()),
        };
        let session = Session {
            jid: Arc::clone(from),
            presence: said(stanza, self.jid.bare_str()),
        };
        let id = self.id_of(context, from.bare_str());
        self.occupants.enter(nick, role, session, || id);
        // Before any presence (XEP-0463 section 4.2.1).
        let (mut say, lists) = self.lists_for(context, from, join);
        say.extend(self.others(nick, from));
        say.extend(self.entered(context, nick, is_new, to, &lists));
        say.extend(self.past(context, from, Some(join)));
        Decided::Say(say)
    }

    /// An error of presence, as section 7.2 shows it: with what tells it from one of another kind.
    fn keep_out(&self, stanza: &Stanza<'_>, from: &Arc<Jid>, to: JidRef<'_>, error: &StanzaError) -> Decided {
        let Decided::Say(mut say) = self.refuse(stanza, from, to, error) else {
            return Decided::nothing();
        };
        for said in &mut say {
            said.stanza = said.stanza.with(&format!("<x xmlns='{}'/>", ns::MUC));
        }
        Decided::Say(say)
    }

    /// Whether somebody may come in under this name; section 7.2.17 has the errors.
    fn may_enter(&self, context: &Context<'_>, from: &Jid, nick: &str, join: &Child<'_>) -> Result<(), StanzaError> {
        let who = from.as_ref();
        let affiliation = self.right_of(context, who);
        // Section 7.2.10: the room is not there yet.
        if self.is_locked && affiliation != Affiliation::Owner {
            return Err(StanzaError::item_not_found().text("the room is not configured yet"));
        }
        if affiliation == Affiliation::Outcast {
            return Err(StanzaError::forbidden());
        }
        if self.config.members_only && affiliation < Affiliation::Member {
            return Err(StanzaError::registration_required());
        }
        self.may_be_called(context, nick, from)?;
        let password = join
            .child("password", ns::MUC)
            .map(|password| password.text().into_owned());
        // An owner has to know it, too: section 7.2.5 has no exception, and who forgot it can read it in the form. Whoever
        // administers the service is above what rooms say.
        let knows = context.is_service_admin || password.as_deref() == Some(&*self.config.password);
        if !self.config.password.is_empty() && !knows {
            return Err(StanzaError::not_authorized());
        }
        let beyond = if affiliation.administers() {
            context.limits.occupants_beyond
        } else {
            0
        };
        // Another client of somebody who is here is no other occupant (section 7.2.8).
        let is_new = self.occupants.get(nick).is_none();
        let most = self.config.max_users.filter(|_| is_new);
        let is_full = most.is_some_and(|most| self.occupants.len() >= most as usize + beyond);
        if is_full || self.occupants.sessions() >= context.limits.occupants + beyond {
            return Err(StanzaError::service_unavailable()
                .kind(ErrorType::Wait)
                .text("the room is full"));
        }
        Ok(())
    }

    /// Whether somebody may have this nickname (sections 7.2.8 and 17.1).
    fn may_be_called(&self, context: &Context<'_>, nick: &str, from: &Jid) -> Result<(), StanzaError> {
        if nick.chars().all(char::is_whitespace) || nick.len() > context.limits.nick_bytes {
            return Err(StanzaError::not_acceptable().text("that is no nickname for this room"));
        }
        let is_taken = self.occupants.is_taken(nick, from.bare_str());
        let is_kept = self.keeper_of(nick).is_some_and(|keeper| keeper != from.bare_str());
        match is_taken || is_kept {
            true => Err(StanzaError::conflict()),
            false => Ok(()),
        }
    }

    /// Everybody else who is in the room, for one client of the occupant of this name (section 7.2.2).
    fn others(&self, nick: &str, for_whom: &Arc<Jid>) -> Vec<Say> {
        let sees = self
            .occupants
            .get(nick)
            .is_some_and(|occupant| self.sees_jids(occupant));
        let mut say = Vec::with_capacity(self.occupants.len());
        for (other, occupant) in self.occupants.iter() {
            if other == nick || !self.config.broadcast.has(occupant.role) {
                continue;
            }
            let item = Item {
                jid: Some(occupant.seen().jid.as_str()).filter(|_| sees),
                ..Item::new(self.affiliation_of(occupant), occupant.role)
            };
            let more = self.marks(occupant) + &x(&item, &[], "");
            say.push(Say {
                from: self.address(other).into(),
                stanza: occupant.presence().with(&more),
                to: vec![Arc::clone(for_whom)],
            });
        }
        say
    }

    /// Somebody has come in: everybody is told, himself last. `to`: the address for which he has asked.
    fn entered(&self, context: &Context<'_>, nick: &str, is_new: bool, to: JidRef<'_>, own_more: &str) -> Vec<Say> {
        let Some(occupant) = self.occupants.get(nick) else {
            return Vec::new();
        };
        let mut own = Vec::new();
        if self.config.non_anonymous {
            own.push(100);
        }
        // Section 7.2.12.
        if self.config.logging {
            own.push(170);
        }
        if is_new {
            own.push(201);
        }
        if to.resource() != Some(nick) {
            own.push(210);
        }
        self.show(
            context,
            nick,
            occupant,
            &Shown {
                own: &own,
                own_more,
                ..Shown::default()
            },
        )
    }

    /// What was said before, and what the room is about (sections 7.2.13 and 7.2.15).
    fn past(&self, context: &Context<'_>, for_whom: &Arc<Jid>, join: Option<&Child<'_>>) -> Vec<Say> {
        let history = join.and_then(|join| join.child("history", ns::MUC));
        let wanted = Wanted::read(history.as_ref(), context.now);
        let room = self.jid.bare_str();
        let mut say = self
            .history
            .of(room, wanted, self.config.max_history as usize, for_whom);
        say.push(self.subject_for_one(for_whom));
        say
    }

    fn subject_for_one(&self, for_whom: &Arc<Jid>) -> Say {
        let subject = &self.subject;
        let message = |inner: &str| Rendered::from_text(&format!("<message type='groupchat'>{inner}</message>"));
        if subject.elements.is_empty() {
            return Say {
                from: self.jid.bare_str().into(),
                stanza: message("<subject/>"),
                to: vec![Arc::clone(for_whom)],
            };
        }
        let delay = delay(self.jid.bare_str(), Now(subject.at));
        let id = occupant_id(&subject.id);
        Say {
            from: subject.from.clone(),
            stanza: message(&format!("{}{id}{delay}", subject.elements)),
            to: vec![Arc::clone(for_whom)],
        }
    }

    /// Who is in the room has said something new of himself, or has lost what he knew of the room (sections 7.2.1, 7.7).
    fn update(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        nick: &str,
        join: Option<&Child<'_>>,
    ) -> Decided {
        let presence = said(stanza, self.jid.bare_str());
        let is_new = self
            .occupants
            .get(nick)
            .is_none_or(|occupant| content(occupant.presence()) != content(&presence));
        self.occupants.speak(from.as_ref().as_ref(), presence);
        let Some(join) = join else {
            let occupant = self.occupants.get(nick);
            let shown = occupant.map(|occupant| self.show(context, nick, occupant, &Shown::default()));
            return Decided::Say(shown.unwrap_or_default());
        };
        let (mut say, lists) = self.lists_for(context, from, join);
        say.extend(self.others(nick, from));
        let mut shown = self.entered(context, nick, false, to, &lists);
        // Who asked hears all. The others, and other clients of his, hear of it only if there is something new in it.
        if !is_new {
            shown.drain(..shown.len().saturating_sub(1));
            shown.iter_mut().for_each(|own| own.to = vec![Arc::clone(from)]);
        }
        say.extend(shown);
        say.extend(self.past(context, from, Some(join)));
        Decided::Say(say)
    }

    /// Section 7.6. Another name of the same account is another occupant; both become one.
    fn rename(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        nick: &str,
        new: &str,
    ) -> Decided {
        let join = stanza.children().find(|child| child.is("x", ns::MUC));
        let may = self
            .may_rename(from.bare_str(), new)
            .and_then(|()| self.may_be_called(context, new, from));
        if let Err(error) = may {
            return self.keep_out(stanza, from, to, &error);
        }
        let mut say = self.renamed(context, nick, new);
        self.occupants
            .speak(from.as_ref().as_ref(), said(stanza, self.jid.bare_str()));
        match join {
            None => say.extend(
                self.occupants
                    .get(new)
                    .map(|occupant| self.show(context, new, occupant, &Shown::default()))
                    .into_iter()
                    .flatten(),
            ),
            // Section 17.3: who comes in once more is told everything, under whatever name.
            Some(join) => {
                // Lists come before any presence (XEP-0463 section 4.2.1).
                let (lists, own) = self.lists_for(context, from, &join);
                say.splice(..0, lists);
                say.extend(self.others(new, from));
                say.extend(self.entered(context, new, false, to, &own));
                say.extend(self.past(context, from, Some(&join)));
            }
        }
        Decided::Say(say)
    }

    /// An occupant is here under another name from now on; the one before is seen no more.
    pub(crate) fn renamed(&mut self, context: &Context<'_>, nick: &str, new: &str) -> Vec<Say> {
        let change = Shown {
            role: None,
            new_nick: Some(new),
            statuses: &[303],
            ..gone()
        };
        let occupant = self.occupants.get(nick);
        let say = occupant.map(|occupant| self.show(context, nick, occupant, &change));
        self.occupants.rename(nick, new);
        say.unwrap_or_default()
    }

    /// A client goes, or has gone. `presence`: what is shown of it then. Whoever has another client here under the same
    /// name stays.
    pub(crate) fn left(
        &mut self,
        context: &mut Context<'_>,
        from: &Arc<Jid>,
        presence: &Rendered,
        statuses: &[u16],
        own: &[u16],
    ) -> Decided {
        let Some(Left {
            nick,
            session,
            was_seen,
            last,
        }) = self.occupants.leave(from.as_ref().as_ref())
        else {
            return Decided::nothing();
        };
        // Section 10.1.3: it ends with its creator, who is told so.
        let end = match self.is_locked && self.occupants.is_empty() {
            true => destroyed(None, None, None),
            false => String::new(),
        };
        let change = Shown {
            unavailable: Some(presence.clone()),
            statuses,
            own,
            more: &end,
            ..gone()
        };
        let mut say = match last {
            Some(mut occupant) => {
                occupant.sessions.push(session);
                self.show(context, &nick, &occupant, &change)
            }
            None => {
                let Some(occupant) = self.occupants.get(&nick) else {
                    return Decided::nothing();
                };
                // Only the client itself goes; the others see the client that is still here.
                let mut alone = occupant.clone();
                alone.sessions = vec![session];
                let mut say = match was_seen {
                    true => self.show(context, &nick, occupant, &Shown::default()),
                    false => Vec::new(),
                };
                say.extend(self.show(context, &nick, &alone, &change).pop());
                say
            }
        };
        // Section 7.14: who goes is told first.
        say.rotate_right(1);
        say.retain(|say| !say.to.is_empty());
        self.emptied(say)
    }

    /// A temporary room ends with its last occupant, and one that was never configured with its creator.
    pub(crate) fn emptied(&mut self, say: Vec<Say>) -> Decided {
        if !self.occupants.is_empty() || (self.config.persistent && !self.is_locked) {
            return Decided::Say(say);
        }
        self.is_destroyed = true;
        self.decided(rows::forget(self), say)
    }

    /// A temporary room in which nobody is, as the process has ended without a word and nobody has come back: it ends now.
    pub fn abandon(&mut self) -> Decided {
        self.emptied(Vec::new())
    }
}

/// What a client says of itself, without what only the room may say.
fn said(stanza: &Stanza<'_>, room: &str) -> Rendered {
    let mut edits = Edits::default();
    for child in stanza.children() {
        if is_rooms_own(&child, room) {
            edits.remove(&child);
        }
    }
    Rendered::of(stanza, &edits)
}

/// Without the start tag: each stanza has an id of its own.
fn content(presence: &Rendered) -> &str {
    let text = presence.text();
    &text[text.find('>').unwrap_or_default()..]
}

/// What nobody says but the room (section 17.3).
pub(crate) fn is_rooms_own(child: &Child<'_>, room: &str) -> bool {
    match (child.name(), child.ns()) {
        ("x", ns::MUC | ns::MUC_USER) => true,
        // XEP-0421 section 4, XEP-0317 section 3.
        ("occupant-id", OCCUPANT_ID) | ("hats", "urn:xmpp:hats:0") => true,
        // XEP-0359 section 5: an id in the name of the room, or of whoever gets it. Nothing has an id before it comes here.
        ("stanza-id", ns::STANZA_IDS) => true,
        // XEP-0203 section 3: the same of a delay, and of its older form. Without a name it is that of the sender of the
        // stanza, and everything in here comes from the room.
        ("delay", ns::DELAY) | ("x", OLD_DELAY) => child.attr("from").is_none_or(|by| is_of(&by, room)),
        _ => false,
    }
}

/// Whether an address is the room's, or one in it. What is none could be read as if it was.
fn is_of(address: &str, room: &str) -> bool {
    JidCow::parse(address).map_or(true, |jid| jid.as_ref().bare_str() == room)
}

pub(crate) fn is_ghost(stanza: &Stanza<'_>) -> bool {
    says(stanza, GHOST)
}

/// Whether an error is one of these.
pub(crate) fn says(stanza: &Stanza<'_>, conditions: &[&str]) -> bool {
    let error = stanza.children().find(|child| child.name() == "error");
    error.is_some_and(|error| {
        let mut said = error.children().filter(|child| child.ns() == ns::STANZAS);
        said.any(|condition| conditions.contains(&condition.name()))
    })
}

/// `<destroy/>` of a room that is no more (section 10.9).
pub(crate) fn destroyed(venue: Option<&str>, password: Option<&str>, reason: Option<&str>) -> String {
    let mut out = String::from("<destroy");
    crate::say::attribute(&mut out, "jid", venue);
    out.push('>');
    for (name, text) in [("password", password), ("reason", reason)] {
        if let Some(text) = text {
            text_element(&mut out, name, text);
        }
    }
    out.push_str("</destroy>");
    out
}
