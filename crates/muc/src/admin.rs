//! Lists and what changes them: muc#admin (XEP-0045 sections 8 and 9).

use std::sync::Arc;

use stanza::{Jid, JidRef, Stanza, StanzaError};
use store::Batch;
use xmlstream::Child;

use crate::extension::{Extension, Request};
use crate::rank::{Affiliation, Role};
use crate::room::{Context, Decided, Room, Shown, Standing, gone};
use crate::rows;
use crate::say::{Item, Say, result};

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
                for (jid, standing) in &self.standings {
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

    /// Who may see a list: of outcasts and members its admins; of members others too, where they see true addresses
    /// anyway (section 9.5); of admins and owners the owners (sections 10.5 and 10.8), and the same others.
    fn may_see(&self, right: Affiliation, from: &Jid, list: Affiliation) -> bool {
        let sees_anyway = self.config.non_anonymous && right >= Affiliation::Member;
        let occupant = self.occupants.of(from.as_ref()).map(|(_, occupant)| occupant);
        match list {
            Affiliation::Outcast => right.administers(),
            Affiliation::Member => {
                let is_let = |role| self.config.member_list.has(role) && self.config.non_anonymous;
                right.administers() || sees_anyway || occupant.is_some_and(|occupant| is_let(occupant.role))
            }
            _ => right == Affiliation::Owner || right.administers() && self.config.non_anonymous || sees_anyway,
        }
    }

    /// The role with which somebody acts: admins need not be in the room.
    fn role_of(&self, context: &Context<'_>, from: &Jid) -> Role {
        let right = self.right_of(context, from.as_ref());
        match self.occupants.of(from.as_ref()) {
            Some((_, occupant)) if !right.administers() => occupant.role,
            _ if right.administers() => Role::Moderator,
            _ => Role::None,
        }
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
            Err(error) => return self.refuse(stanza, from, to, &error),
        };
        let actor = self.occupants.nick_of(from.as_ref().as_ref()).map(str::to_owned);
        let mut batch = Batch::new();
        let mut say = Vec::new();
        for wish in wishes {
            match wish {
                Wish::Role { nick, role, reason } => {
                    let said = match role {
                        Role::None => self.put_out(context, &nick, &[307], actor.as_deref(), reason.as_deref()),
                        role => self.set_role(context, &nick, role, reason.as_deref()),
                    };
                    say.extend(said);
                }
                Wish::Affiliation {
                    jid,
                    affiliation,
                    nick,
                    reason,
                } => {
                    let inviter = from.bare_str();
                    say.extend(self.set_affiliation(
                        context,
                        &jid,
                        affiliation,
                        nick,
                        reason.as_deref(),
                        actor.as_deref(),
                        inviter,
                    ));
                    batch = rows::save_standing(batch, self, jid.bare_str());
                }
            }
        }
        // Section 8.2: first whoever is put out, then who has done it, then the others.
        let done = result(stanza, from, to.as_str(), "");
        let at = say.iter().position(|say| !is_for_who_goes(say)).unwrap_or(say.len());
        say.insert(at, done);
        match self.emptied(say) {
            Decided::Say(say) => self.decided(batch, say),
            decided => decided,
        }
    }

    fn wishes(&self, context: &Context<'_>, from: &Jid, query: &Child<'_>) -> Result<Vec<Wish>, StanzaError> {
        let items: Vec<_> = query.children().filter(|child| child.is("item", ADMIN)).collect();
        if items.is_empty() {
            return Err(StanzaError::bad_request().text("nothing is to be changed"));
        }
        if items.len() > ITEMS {
            return Err(StanzaError::policy_violation().text("too many changes at once"));
        }
        let wishes: Result<Vec<Wish>, StanzaError> = items.iter().map(|item| self.wish(context, from, item)).collect();
        let wishes = wishes?;
        self.leaves_an_owner(&wishes)?;
        let new = wishes.iter().filter(|wish| match wish {
            Wish::Affiliation { jid, affiliation, .. } => {
                *affiliation != Affiliation::None && !self.standings.contains_key(jid.bare_str())
            }
            Wish::Role { .. } => false,
        });
        match self.standings.len() + new.count() > context.limits.affiliations {
            true => Err(StanzaError::resource_constraint().text("the lists of this room are full")),
            false => Ok(wishes),
        }
    }

    fn wish(&self, context: &Context<'_>, from: &Jid, item: &Child<'_>) -> Result<Wish, StanzaError> {
        let reason = item.child("reason", ADMIN).map(|reason| cut(&reason.text()).into());
        let nick = item.attr("nick");
        match (item.attr("affiliation"), item.attr("role")) {
            (None, Some(role)) => {
                let role = Role::read(&role).ok_or_else(|| StanzaError::bad_request().text("there is no such role"))?;
                let nick = nick.ok_or_else(|| StanzaError::bad_request().text("whose role?"))?;
                self.may_set_role(context, from, &nick, role)?;
                let nick = (&*nick).into();
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
                let kept = item
                    .attr("jid")
                    .and(nick)
                    .filter(|_| affiliation >= Affiliation::Member);
                if let Some(nick) = kept.as_deref().filter(|nick| !nick.is_empty()) {
                    if nick.chars().all(char::is_whitespace) || nick.len() > context.limits.nick_bytes {
                        return Err(StanzaError::not_acceptable().text("that is no nickname for this room"));
                    }
                    if self.keeper_of(nick).is_some_and(|keeper| keeper != jid.bare_str()) {
                        return Err(StanzaError::conflict().text("the nickname is kept for somebody else"));
                    }
                }
                Ok(Wish::Affiliation {
                    jid,
                    affiliation,
                    nick: kept.map(|nick| (&*nick).into()),
                    reason,
                })
            }
            // Section 17.4.
            _ => Err(StanzaError::bad_request().text("an item has an affiliation or a role")),
        }
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
        // Nobody is below what his affiliation makes of him (sections 8.4 and 9.7), nor put out by who is below him
        // (section 8.2).
        let loses = role < target.role;
        let is_above = theirs > mine || (theirs.administers() && role != Role::None);
        if loses && (is_above || (target.role == Role::Moderator && !mine.administers())) {
            return Err(StanzaError::not_allowed());
        }
        Ok(())
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
            // Section 9.1 has the first; the lists of admins and owners are the owners' (sections 10.5 and 10.8).
            if new == Affiliation::Outcast && old.administers() {
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

    /// Section 10.4: no room is without an owner.
    fn leaves_an_owner(&self, wishes: &[Wish]) -> Result<(), StanzaError> {
        let mut owners: std::collections::BTreeSet<&str> = self
            .standings
            .iter()
            .filter(|(_, standing)| standing.affiliation == Affiliation::Owner)
            .map(|(jid, _)| &**jid)
            .collect();
        for wish in wishes {
            if let Wish::Affiliation { jid, affiliation, .. } = wish {
                match affiliation {
                    Affiliation::Owner => owners.insert(jid.bare_str()),
                    _ => owners.remove(jid.bare_str()),
                };
            }
        }
        match owners.is_empty() {
            true => Err(StanzaError::conflict().text("a room has an owner")),
            false => Ok(()),
        }
    }

    /// Gives an occupant another role, and tells everybody.
    pub(crate) fn set_role(&mut self, context: &Context<'_>, nick: &str, role: Role, reason: Option<&str>) -> Vec<Say> {
        let Some(occupant) = self.occupants.get_mut(nick) else {
            return Vec::new();
        };
        let before = std::mem::replace(&mut occupant.role, role);
        match before == role {
            true => Vec::new(),
            false => self.changed(context, nick, before, reason),
        }
    }

    /// An occupant's role or affiliation has changed. `before`: its role until then.
    fn changed(&self, context: &Context<'_>, nick: &str, before: Role, reason: Option<&str>) -> Vec<Say> {
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
                ..gone()
            };
            say = self.show(context, nick, occupant, &change);
            say.pop();
        }
        let change = Shown {
            reason,
            ..Shown::default()
        };
        say.extend(self.show(context, nick, occupant, &change));
        say
    }

    /// Puts an occupant out with all its clients. The first that is said is for them.
    pub(crate) fn put_out(
        &mut self,
        context: &Context<'_>,
        nick: &str,
        statuses: &[u16],
        actor: Option<&str>,
        reason: Option<&str>,
    ) -> Vec<Say> {
        let Some(occupant) = self.occupants.remove(nick) else {
            return Vec::new();
        };
        let change = Shown {
            statuses,
            actor,
            reason,
            ..gone()
        };
        let mut say = self.show(context, nick, &occupant, &change);
        say.rotate_right(1);
        say
    }

    /// Changes an affiliation, and what follows from it for who is in the room. The batch is the caller's.
    #[allow(clippy::too_many_arguments)] // the parts of one item; a struct would only rename them
    pub(crate) fn set_affiliation(
        &mut self,
        context: &Context<'_>,
        jid: &Jid,
        new: Affiliation,
        nick: Option<Box<str>>,
        reason: Option<&str>,
        actor: Option<&str>,
        inviter: &str,
    ) -> Vec<Say> {
        let bare = jid.bare_str();
        let old = self.affiliation(jid.as_ref());
        let kept = self.standings.get(bare).and_then(|standing| standing.nick.clone());
        let nick = match nick {
            // Section 9.2: no name is kept for an outcast.
            _ if new < Affiliation::Member => None,
            Some(nick) => Some(nick).filter(|nick| !nick.is_empty()),
            None => kept,
        };
        match new {
            Affiliation::None => drop(self.standings.remove(bare)),
            affiliation => {
                let reason = reason.map(Into::into);
                self.standings.insert(
                    bare.into(),
                    Standing {
                        affiliation,
                        nick,
                        reason,
                    },
                );
            }
        }
        let is_domain = jid.local().is_none();
        let concerned: Vec<Box<str>> = match is_domain {
            false => self.occupants.nicks_of(bare),
            true => {
                let of_domain = self
                    .occupants
                    .iter()
                    .filter(|(_, occupant)| occupant.seen().jid.domain() == bare);
                of_domain.map(|(nick, _)| nick.into()).collect()
            }
        };
        let mut say = Vec::new();
        for nick in &concerned {
            say.extend(self.follow(context, nick, old, reason, actor));
        }
        // Section 9.5: who is let in hears of it.
        if concerned.is_empty()
            && !is_domain
            && self.config.members_only
            && old == Affiliation::None
            && new == Affiliation::Member
        {
            say.push(self.invitation(None, inviter, Arc::new(jid.clone()), None));
        }
        say
    }

    /// What an occupant is after its affiliation has changed.
    fn follow(
        &mut self,
        context: &Context<'_>,
        nick: &str,
        old: Affiliation,
        reason: Option<&str>,
        actor: Option<&str>,
    ) -> Vec<Say> {
        let Some(occupant) = self.occupants.get(nick) else {
            return Vec::new();
        };
        let new = self.affiliation_of(occupant);
        if new == old {
            return Vec::new();
        }
        if new == Affiliation::Outcast {
            return self.put_out(context, nick, &[301], actor, reason);
        }
        if self.config.members_only && new < Affiliation::Member {
            return self.put_out(context, nick, &[321], actor, reason);
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
        self.changed(context, nick, before, reason)
    }
}

/// What is said to who is put out comes first.
fn is_for_who_goes(say: &Say) -> bool {
    let text = say.stanza.text();
    text.starts_with("<presence type='unavailable'") && text.contains("<status code='110'/>")
}

fn cut(reason: &str) -> &str {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    &reason[..end]
}
