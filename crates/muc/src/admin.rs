//! Lists and what changes them: muc#admin (XEP-0045 sections 8 and 9).

use std::collections::BTreeMap;
use std::sync::Arc;

use stanza::{Jid, JidRef, Rendered, Stanza, StanzaError};
use store::Batch;
use xmlstream::Child;

use crate::extension::{Extension, Request};
use crate::mav::Step;
use crate::occupants::Occupant;
use crate::rank::{Affiliation, Role};
use crate::room::{Context, Decided, Room, Shown, gone};
use crate::say::{Item, Say, error, result, x};
use crate::standings::Standing;

pub(crate) const EXTENSION: Extension = Extension {
    requests: &[
        Request::get("query", ADMIN, Room::list),
        Request::set("query", ADMIN, Room::change),
    ],
    ..Extension::NONE
};

const ADMIN: &str = "http://jabber.org/protocol/muc#admin";

/// Items of one request; more is `policy-violation`.
const ITEMS: usize = 256;
/// Bytes of a reason; what is longer is cut.
const REASON_BYTES: usize = 1_024;

/// What comes of a change.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) batch: Batch,
    /// What is said to who is put out.
    pub(crate) gone: Vec<Say>,
    pub(crate) told: Vec<Say>,
}

impl Outcome {
    /// First who goes.
    pub(crate) fn say(self) -> Vec<Say> {
        self.gone.into_iter().chain(self.told).collect()
    }
}

/// What somebody becomes, and what is said of it.
pub(crate) struct Change<'a> {
    pub(crate) affiliation: Affiliation,
    /// None: as it is. Empty: none is kept any more.
    pub(crate) nick: Option<Box<str>>,
    pub(crate) reason: Option<&'a str>,
    /// The nickname of who does it.
    pub(crate) actor: Option<&'a str>,
    /// His bare JID: somebody who is let in by it is invited in his name.
    pub(crate) by: &'a str,
}

/// What one item of a request changes.
enum Wish {
    Role {
        nick: Box<str>,
        role: Role,
        reason: Option<Box<str>>,
    },
    Affiliation {
        jid: Jid,
        affiliation: Affiliation,
        /// None: as it is. Empty: none is kept any more.
        nick: Option<Box<str>>,
        reason: Option<Box<str>>,
    },
}

impl Room {
    /// A list is asked for.
    fn list(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        query: &Child<'_>,
    ) -> Decided {
        match self.listed(context, from, query) {
            Ok(payload) => Decided::Say(vec![result(stanza, from, to.as_str(), &payload)]),
            Err(error) => self.refuse(stanza, from, to, &error),
        }
    }

    fn listed(&self, context: &Context<'_>, from: &Jid, query: &Child<'_>) -> Result<String, StanzaError> {
        let mut items = query.children().filter(|child| child.is("item", ADMIN));
        let (Some(item), None) = (items.next(), items.next()) else {
            return Err(StanzaError::bad_request().text("one list at a time"));
        };
        let right = self.right_of(context, from.as_ref());
        let mut out = format!("<query xmlns='{ADMIN}'>");
        match (item.attr("affiliation"), item.attr("role")) {
            (Some(affiliation), None) => {
                let affiliation = Affiliation::read(&affiliation).filter(|wanted| *wanted != Affiliation::None);
                let affiliation =
                    affiliation.ok_or_else(|| StanzaError::bad_request().text("there is no such list"))?;
                if !self.may_see(right, from, affiliation) {
                    return Err(StanzaError::forbidden());
                }
                for (jid, standing) in self.standings.iter() {
                    if standing.affiliation == affiliation {
                        let item = Item {
                            affiliation,
                            role: None,
                            jid: Some(jid),
                            nick: standing.nick.as_deref(),
                            actor: None,
                            reason: standing.reason.as_deref(),
                        };
                        item.write(&mut out);
                    }
                }
            }
            (None, Some(role)) => {
                let role = Role::read(&role).filter(|wanted| *wanted != Role::None);
                let role = role.ok_or_else(|| StanzaError::bad_request().text("there is no such list"))?;
                // Section 9.8: moderators are an admin's affair; who has voice a moderator's (section 8.5).
                let may = match role {
                    Role::Moderator => right.administers(),
                    _ => self.role_of(context, from) == Role::Moderator,
                };
                if !may {
                    return Err(StanzaError::forbidden());
                }
                for (nick, occupant) in self.occupants.iter().filter(|(_, occupant)| occupant.role == role) {
                    let item = Item {
                        jid: Some(occupant.seen().jid.as_str()),
                        nick: Some(nick),
                        ..Item::new(self.affiliation_of(occupant), role)
                    };
                    item.write(&mut out);
                }
            }
            _ => return Err(StanzaError::bad_request().text("a list is of an affiliation or of a role")),
        }
        out.push_str("</query>");
        Ok(out)
    }

    /// Who may see a list: of outcasts and members its admins; of admins and owners the owners (sections 10.5 and 10.8).
    /// Where everybody sees true addresses, members see all but outcasts, and other occupants the members (section 9.5),
    /// unless the owner keeps that list from their role.
    pub(crate) fn may_see(&self, right: Affiliation, from: &Jid, list: Affiliation) -> bool {
        let role = self.occupants.of(from.as_ref()).map(|(_, occupant)| occupant.role);
        self.may_see_as(right, role, list)
    }

    /// The same for somebody of this role, if he is here.
    pub(crate) fn may_see_as(&self, right: Affiliation, role: Option<Role>, list: Affiliation) -> bool {
        if list == Affiliation::Outcast {
            return right.administers();
        }
        let role = role.or_else(|| (right >= Affiliation::Member).then(|| right.role(self.config.moderated)));
        let is_let = self.config.non_anonymous && role.is_some_and(|role| self.config.member_list.has(role));
        match list {
            Affiliation::Member => right.administers() || is_let,
            _ => right == Affiliation::Owner || (is_let && right >= Affiliation::Member),
        }
    }

    /// The role with which somebody acts: admins need not be in the room, and moderators may ask from a client that is
    /// not (section 8).
    pub(crate) fn role_of(&self, context: &Context<'_>, from: &Jid) -> Role {
        if self.right_of(context, from.as_ref()).administers() {
            return Role::Moderator;
        }
        let nicks = self.occupants.nicks_of(from.bare_str());
        let roles = nicks.iter().filter_map(|nick| self.occupants.get(nick));
        roles.map(|occupant| occupant.role).max().unwrap_or(Role::None)
    }

    /// Roles or affiliations are changed: all that was asked for, or nothing (section 9.2).
    fn change(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        query: &Child<'_>,
    ) -> Decided {
        let wishes = match self.wishes(context, from, query) {
            Ok(wishes) => wishes,
            Err((error, item)) => return self.refuse_item(stanza, from, to, &error, item.as_deref()),
        };
        let actor = self.occupants.nick_of(from.as_ref().as_ref()).map(str::to_owned);
        let actor = actor.as_deref();
        // Section 8.2: whoever is kicked goes before who has done it hears of it; of all else he hears first (sections 8.3
        // and 9.2).
        let is_kick = |wish: &Wish| matches!(wish, Wish::Role { role: Role::None, .. });
        let are_kicks = wishes.iter().all(is_kick);
        let mut outcome = Outcome::default();
        for wish in wishes {
            match wish {
                Wish::Role { nick, role, reason } => match role {
                    Role::None => {
                        let kicked = Shown {
                            statuses: &[307],
                            actor,
                            reason: reason.as_deref(),
                            ..gone()
                        };
                        self.put_out(context, &[nick], &kicked, &mut outcome);
                    }
                    role => self.set_role(context, &nick, role, reason.as_deref(), &mut outcome),
                },
                Wish::Affiliation {
                    jid,
                    affiliation,
                    nick,
                    reason,
                } => {
                    let change = Change {
                        affiliation,
                        nick,
                        reason: reason.as_deref(),
                        actor,
                        by: from.bare_str(),
                    };
                    self.set_affiliation(context, &jid, change, &mut outcome);
                }
            }
        }
        let at = if are_kicks { outcome.gone.len() } else { 0 };
        let batch = std::mem::take(&mut outcome.batch);
        let mut say = outcome.say();
        say.insert(at, result(stanza, from, to.as_str(), ""));
        self.emptied_or(batch, say)
    }

    /// What has changed is written, unless nothing is left of the room by it.
    pub(crate) fn emptied_or(&mut self, batch: Batch, say: Vec<Say>) -> Decided {
        match self.emptied(say) {
            Decided::Say(say) => self.decided(batch, say),
            decided => decided,
        }
    }

    /// Section 8.4: with the item that cannot be.
    fn refuse_item(
        &self,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        why: &StanzaError,
        item: Option<&Child<'_>>,
    ) -> Decided {
        let why = why.clone().by(self.jid.bare_str().to_owned());
        let mut say = error(stanza, from, to.as_str(), &why);
        if let (Some(say), Some(item)) = (&mut say, item) {
            let mut query = format!("<query xmlns='{ADMIN}'>");
            item.write_canonical(ADMIN, &mut query);
            query.push_str("</query><error");
            say.stanza = Rendered::from_text(&say.stanza.text().replacen("<error", &query, 1));
        }
        Decided::Say(say.into_iter().collect())
    }

    /// What is asked for; or why not, and which item it is for.
    fn wishes<'q>(
        &self,
        context: &Context<'_>,
        from: &Jid,
        query: &Child<'q>,
    ) -> Result<Vec<Wish>, (StanzaError, Option<Box<Child<'q>>>)> {
        let items: Vec<_> = query.children().filter(|child| child.is("item", ADMIN)).collect();
        if items.is_empty() {
            return Err((StanzaError::bad_request().text("nothing is to be changed"), None));
        }
        if items.len() > ITEMS {
            return Err((StanzaError::policy_violation().text("too many changes at once"), None));
        }
        let mut wishes = Vec::with_capacity(items.len());
        for item in items {
            match self.wish(context, from, &item) {
                Ok(wish) => wishes.push(wish),
                Err(error) => return Err((error, Some(Box::new(item)))),
            }
        }
        let changes = wishes.iter().filter_map(|wish| match wish {
            Wish::Affiliation { jid, affiliation, .. } => Some((jid.bare_str(), *affiliation)),
            Wish::Role { .. } => None,
        });
        self.may_become(context, changes).map_err(|error| (error, None))?;
        Ok(wishes)
    }

    fn wish(&self, context: &Context<'_>, from: &Jid, item: &Child<'_>) -> Result<Wish, StanzaError> {
        let reason = item.child("reason", ADMIN).map(|reason| cut(&reason.text()).into());
        let nick = match item.attr("nick") {
            Some(nick) if !nick.is_empty() => Some(self.nickname(context, &nick)?),
            nick => nick.map(Into::into),
        };
        match (item.attr("affiliation"), item.attr("role")) {
            (None, Some(role)) => {
                let role = Role::read(&role).ok_or_else(|| StanzaError::bad_request().text("there is no such role"))?;
                let nick = nick.ok_or_else(|| StanzaError::bad_request().text("whose role?"))?;
                self.may_set_role(context, from, &nick, role)?;
                Ok(Wish::Role { nick, role, reason })
            }
            (Some(affiliation), None) => {
                let affiliation = Affiliation::read(&affiliation);
                let affiliation =
                    affiliation.ok_or_else(|| StanzaError::bad_request().text("there is no such affiliation"))?;
                let jid = match (item.attr("jid"), &nick) {
                    (Some(jid), _) => Jid::parse(&jid).map_err(|_| StanzaError::jid_malformed())?.to_bare(),
                    // Some clients know no more of an occupant.
                    (None, Some(nick)) => match self.occupants.get(nick) {
                        Some(occupant) => occupant.seen().jid.to_bare(),
                        None => return Err(StanzaError::item_not_found()),
                    },
                    (None, None) => return Err(StanzaError::bad_request().text("whose affiliation?")),
                };
                self.may_set_affiliation(context, from, &jid, affiliation)?;
                // A name can be kept for whoever belongs to the room.
                let is_named =
                    item.attr("jid").is_some() && jid.local().is_some() && affiliation >= Affiliation::Member;
                let kept = nick.filter(|_| is_named);
                if let Some(nick) = &kept
                    && self.keeper_of(nick).is_some_and(|keeper| keeper != jid.bare_str())
                {
                    return Err(StanzaError::conflict().text("the nickname is kept for somebody else"));
                }
                Ok(Wish::Affiliation {
                    jid,
                    affiliation,
                    nick: kept,
                    reason,
                })
            }
            // Section 15.4.
            _ => Err(StanzaError::bad_request().text("an item has an affiliation or a role")),
        }
    }

    /// A nickname as it stands in addresses, so that who comes in under it is found.
    pub(crate) fn nickname(&self, context: &Context<'_>, nick: &str) -> Result<Box<str>, StanzaError> {
        let address = Jid::parse(&self.address(nick));
        let nick = address.as_ref().ok().and_then(|address| address.resource());
        let is_one = |nick: &&str| !nick.chars().all(char::is_whitespace) && nick.len() <= context.limits.nick_bytes;
        let none = || StanzaError::not_acceptable().text("that is no nickname for this room");
        nick.filter(is_one).map(Into::into).ok_or_else(none)
    }

    fn may_set_role(&self, context: &Context<'_>, from: &Jid, nick: &str, role: Role) -> Result<(), StanzaError> {
        let mine = self.right_of(context, from.as_ref());
        if self.role_of(context, from) < Role::Moderator || (role == Role::Moderator && !mine.administers()) {
            return Err(StanzaError::forbidden());
        }
        let target = self.occupants.get(nick).ok_or_else(StanzaError::item_not_found)?;
        let theirs = self.affiliation_of(target);
        if role == Role::None && self.occupants.nick_of(from.as_ref()) == Some(nick) {
            return Err(StanzaError::conflict().text("leave, if you want to go"));
        }
        if role >= target.role {
            return Ok(());
        }
        let is_above_me = target.role == Role::Moderator && !mine.administers();
        let is_refused = match role {
            // Section 8.2; and a moderator is kicked by an admin (section 5.1.3).
            Role::None => theirs > mine || is_above_me,
            // Section 9: whose affair moderators are. But also for them a voice is kept as section 8.4 says.
            _ if is_above_me && !(role == Role::Visitor && theirs.administers()) => {
                return Err(StanzaError::forbidden());
            }
            // Sections 8.4 and 9.7: nobody takes from admins what their affiliation brings.
            _ if theirs.administers() => true,
            // "At or above the moderator's level" (section 8.4). Who has no affiliation is on none.
            Role::Visitor => theirs > Affiliation::None && theirs >= mine,
            _ => false,
        };
        match is_refused {
            true => Err(StanzaError::not_allowed()),
            false => Ok(()),
        }
    }

    fn may_set_affiliation(
        &self,
        context: &Context<'_>,
        from: &Jid,
        jid: &Jid,
        new: Affiliation,
    ) -> Result<(), StanzaError> {
        let mine = self.right_of(context, from.as_ref());
        if !mine.administers() {
            return Err(StanzaError::forbidden());
        }
        if new == Affiliation::Outcast && jid.bare_str() == from.bare_str() {
            return Err(StanzaError::conflict().text("nobody bans himself"));
        }
        let old = self.affiliation(jid.as_ref());
        if mine < Affiliation::Owner {
            // Section 9.1 has the first, of who is above an admin. All else that changes the lists of admins and owners is
            // the owners' (sections 10.4 to 10.8); also a ban of another admin.
            if new == Affiliation::Outcast && old == Affiliation::Owner {
                return Err(StanzaError::not_allowed());
            }
            if new.administers() || old.administers() {
                return Err(StanzaError::forbidden());
            }
        }
        // All of a domain may be kept out, or be members; it cannot act.
        if jid.local().is_none() && new.administers() {
            return Err(StanzaError::bad_request().text("a domain cannot do that"));
        }
        Ok(())
    }

    /// Whether the lists may become so. No room is without an owner (section 10.4).
    pub(crate) fn may_become<'c>(
        &self,
        context: &Context<'_>,
        changes: impl Iterator<Item = (&'c str, Affiliation)>,
    ) -> Result<(), StanzaError> {
        // The last of several is what holds.
        let changes: BTreeMap<&str, Affiliation> = changes.collect();
        let new = changes
            .iter()
            .filter(|(jid, new)| **new != Affiliation::None && !self.standings.contains_key(**jid));
        if self.standings.len() + new.count() > context.limits.affiliations {
            return Err(StanzaError::resource_constraint().text("the lists of this room are full"));
        }
        let is_owner = |affiliation: Affiliation| affiliation == Affiliation::Owner;
        let mut others = self.standings.iter().filter(|(jid, _)| !changes.contains_key(&***jid));
        let has_owner =
            changes.values().any(|new| is_owner(*new)) || others.any(|(_, standing)| is_owner(standing.affiliation));
        match has_owner {
            true => Ok(()),
            false => Err(StanzaError::conflict().text("a room has an owner")),
        }
    }

    /// Gives an occupant another role, and tells everybody.
    pub(crate) fn set_role(
        &mut self,
        context: &Context<'_>,
        nick: &str,
        role: Role,
        reason: Option<&str>,
        outcome: &mut Outcome,
    ) {
        let Some(occupant) = self.occupants.get_mut(nick) else {
            return;
        };
        let before = std::mem::replace(&mut occupant.role, role);
        if before == role {
            return;
        }
        let jid = Arc::clone(&occupant.seen().jid);
        let affiliation = self.affiliation(jid.as_ref().as_ref());
        let batch = std::mem::take(&mut outcome.batch);
        outcome.batch = self.keep_voice(batch, jid.bare_str(), affiliation, role);
        outcome.told.extend(self.changed(context, nick, before, reason, None));
    }

    /// An occupant's role or affiliation has changed. `before`: its role until then.
    fn changed(
        &self,
        context: &Context<'_>,
        nick: &str,
        before: Role,
        reason: Option<&str>,
        step: Option<&Step>,
    ) -> Vec<Say> {
        let Some(occupant) = self.occupants.get(nick) else {
            return Vec::new();
        };
        let mut say = Vec::new();
        let (was_seen, is_seen) = (
            self.config.broadcast.has(before),
            self.config.broadcast.has(occupant.role),
        );
        if was_seen && !is_seen {
            // For the others it is as if it had gone.
            let change = Shown {
                was_seen: true,
                reason,
                step,
                ..gone()
            };
            say = self.show(context, nick, occupant, &change);
            say.pop();
        }
        let change = Shown {
            reason,
            step,
            ..Shown::default()
        };
        say.extend(self.show(context, nick, occupant, &change));
        say
    }

    /// Puts occupants out with all their clients. Those who go hear of themselves alone; those who stay hear of all.
    pub(crate) fn put_out(
        &mut self,
        context: &Context<'_>,
        nicks: &[Box<str>],
        change: &Shown<'_>,
        outcome: &mut Outcome,
    ) {
        let removed: Vec<_> = nicks
            .iter()
            .filter_map(|nick| Some((nick, self.occupants.remove(nick)?)))
            .collect();
        for (nick, occupant) in removed {
            let mut say = self.show(context, nick, &occupant, change);
            outcome.gone.extend(say.pop());
            outcome.told.extend(say);
        }
    }

    /// Changes an affiliation, and what follows from it for who is in the room.
    pub(crate) fn set_affiliation(
        &mut self,
        context: &Context<'_>,
        jid: &Jid,
        change: Change<'_>,
        outcome: &mut Outcome,
    ) {
        let bare = jid.bare_str();
        let new = change.affiliation;
        let old = self.affiliation(jid.as_ref());
        let before = self.standings.get(bare);
        let kept = before.and_then(|standing| standing.nick.clone());
        // A reason is for an affiliation, and stays with it.
        let same = before.filter(|standing| standing.affiliation == new);
        let reason = same.and_then(|standing| standing.reason.clone());
        let nick = match &change.nick {
            // Section 9.1: no name is kept for an outcast.
            _ if new < Affiliation::Member => None,
            Some(nick) => Some(nick.clone()).filter(|nick| !nick.is_empty()),
            None => kept,
        };
        let listed = before.map_or(Affiliation::None, |standing| standing.affiliation);
        let standing = Standing {
            affiliation: new,
            nick,
            reason: change.reason.map(Into::into).or(reason),
        };
        let standing = Some(standing).filter(|_| new != Affiliation::None);
        let step = self.stand(context, bare, standing, &mut outcome.batch);
        let batch = std::mem::take(&mut outcome.batch);
        outcome.batch = self.forget_voice(batch, bare);
        let is_domain = jid.local().is_none();
        let concerned: Vec<Box<str>> = match is_domain {
            false => self.occupants.nicks_of(bare),
            true => {
                // Who has an affiliation of his own keeps it.
                let is_of = |occupant: &Occupant| {
                    occupant.seen().jid.domain() == bare && !self.standings.contains_key(occupant.bare())
                };
                let of_domain = self.occupants.iter().filter(|(_, occupant)| is_of(occupant));
                of_domain.map(|(nick, _)| nick.into()).collect()
            }
        };
        // A change is told once: by the presence of the one occupant whose it is, where others see that; or by a message.
        let shown = match &concerned[..] {
            [nick] if !is_domain => self.occupants.get(nick),
            _ => None,
        };
        let by_presence = shown
            .is_some_and(|occupant| self.config.broadcast.has(occupant.role) && self.affiliation_of(occupant) != old);
        if listed != new && !by_presence && (concerned.is_empty() || step.is_some()) {
            self.tell_of_lists(bare, listed, new, step.as_ref(), &mut outcome.told);
        }
        if concerned.is_empty() {
            return self.tell_the_absent(jid, old, change.by, outcome);
        }
        let step = step.as_ref().filter(|_| by_presence);
        self.follow(context, &concerned, old, &change, step, outcome);
    }

    /// Somebody is something else who is not in the room, and hears of it.
    fn tell_the_absent(&self, jid: &Jid, old: Affiliation, by: &str, outcome: &mut Outcome) {
        let new = self.affiliation(jid.as_ref());
        // A domain reads nothing; and who was never here need not know that he must not come.
        if new == old || jid.local().is_none() || old.max(new) < Affiliation::Member {
            return;
        }
        // Section 9.5: who is let in hears of it by an invitation, others by a message (section 16.1).
        let jid = Arc::new(jid.to_bare());
        if self.config.members_only && old < Affiliation::Member {
            return outcome.told.push(self.invitation(None, by, jid, None));
        }
        let item = Item {
            jid: Some(jid.as_str()),
            ..Item::new(new, Role::None)
        };
        let message = format!("<message>{}</message>", x(&item, &[101], ""));
        outcome.told.push(Say {
            from: self.jid.bare_str().into(),
            stanza: Rendered::from_text(&message),
            to: vec![Arc::clone(&jid)],
        });
    }

    /// What occupants are after their affiliation has changed.
    fn follow(
        &mut self,
        context: &Context<'_>,
        nicks: &[Box<str>],
        old: Affiliation,
        change: &Change<'_>,
        step: Option<&Step>,
        outcome: &mut Outcome,
    ) {
        let (mut banned, mut strangers) = (Vec::new(), Vec::new());
        for nick in nicks {
            let Some(occupant) = self.occupants.get(nick) else {
                continue;
            };
            let new = self.affiliation_of(occupant);
            if new == old {
                continue;
            }
            if new == Affiliation::Outcast {
                banned.push(nick.clone());
                continue;
            }
            if self.config.members_only && new < Affiliation::Member {
                strangers.push(nick.clone());
                continue;
            }
            let before = occupant.role;
            let usual = new.role(self.config.moderated);
            // Section 5.1.3: what is gained with an affiliation is there; what is lost with it is what comes by itself.
            let role = match old.administers() && !new.administers() {
                true => usual,
                false => before.max(usual),
            };
            if let Some(occupant) = self.occupants.get_mut(nick) {
                occupant.role = role;
            }
            outcome
                .told
                .extend(self.changed(context, nick, before, change.reason, step));
        }
        for (gone_now, status) in [(banned, 301), (strangers, 321)] {
            let change = Shown {
                statuses: &[status],
                actor: change.actor,
                reason: change.reason,
                step,
                ..gone()
            };
            self.put_out(context, &gone_now, &change, outcome);
        }
    }
}

pub(crate) fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
