//! XEP-0463 MUC Affiliations Versioning 0.2.0: who belongs to a room, told to who enters as what has changed since he was
//! last told, and to who is there with each change.
//!
//! A version says what is in the lists, not when: it is made of everything in them and the secret of the service, so it is
//! the same after a restart, and nothing of it stands in the store. What has changed since another is in memory, as far as
//! it goes back; who comes with one that is older gets everything (section 4.2.1).
//!
//! Not everybody may see all lists. A version is one of the lists that its reader sees, and says which these are: whoever
//! sees more or less than before has a version that nobody knows.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use stanza::{Jid, Rendered, StanzaError};
use store::Batch;
use xmlstream::Child;

use crate::extension::Extension;
use crate::occupants::Occupant;
use crate::rank::{Affiliation, Role};
use crate::room::{Context, Room};
use crate::rows;
use crate::say::{Item, Say, attribute, failed};
use crate::standings::Standing;

const MAV: &str = "urn:xmpp:muc:affiliations:1";

pub(crate) const EXTENSION: Extension = Extension {
    features: |_| &[MAV],
    ..Extension::NONE
};

/// Changes that are remembered. Who comes from before gets everything.
const STEPS: usize = 1_000;
/// Entries in one message.
const ITEMS: usize = 500;

/// The lists that differ in who may see them: outcasts; members; admins and owners.
const LISTS: [Affiliation; 3] = [Affiliation::Outcast, Affiliation::Member, Affiliation::Owner];

/// Which of them somebody sees, a bit for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seen(u8);

impl Seen {
    /// Whether this stands in one of them.
    pub(crate) fn has(self, affiliation: Affiliation) -> bool {
        list_of(affiliation).is_some_and(|list| self.0 & 1 << list != 0)
    }
}

fn list_of(affiliation: Affiliation) -> Option<usize> {
    match affiliation {
        Affiliation::None => None,
        Affiliation::Outcast => Some(0),
        Affiliation::Member => Some(1),
        Affiliation::Admin | Affiliation::Owner => Some(2),
    }
}

/// A sum of what is in each list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums([u128; LISTS.len()]);

impl Sums {
    fn version(self, seen: Seen) -> String {
        let lists = self.0.into_iter().enumerate();
        let of_seen = lists.filter(|(list, _)| seen.0 & 1 << list != 0);
        let sum = of_seen.fold(0_u128, |all, (_, sum)| all.wrapping_add(sum));
        format!("{}-{sum:032x}", seen.0)
    }

    /// An entry comes, or goes.
    fn change(&mut self, context: &Context<'_>, room: &str, jid: &str, affiliation: Affiliation, comes: bool) {
        let Some(list) = list_of(affiliation) else { return };
        // HMAC takes a key of any length. A JID has no space.
        let mut mac = Hmac::<Sha256>::new_from_slice(context.secret).expect("a key");
        mac.update(format!("{MAV} {room} {jid} {}", affiliation.name()).as_bytes());
        let bytes = mac.finalize().into_bytes();
        let term = bytes
            .iter()
            .take(16)
            .fold(0, |term: u128, byte| term << 8 | u128::from(*byte));
        let sum = &mut self.0[list];
        *sum = match comes {
            true => sum.wrapping_add(term),
            false => sum.wrapping_sub(term),
        };
    }
}

/// A change of the lists.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    /// A bare JID or a domain.
    jid: Box<str>,
    before: Sums,
    after: Sums,
}

impl Step {
    /// For somebody who sees these; empty: for him nothing has changed.
    pub(crate) fn element(&self, seen: Seen) -> String {
        let (since, until) = (self.before.version(seen), self.after.version(seen));
        match since == until {
            true => String::new(),
            false => element(Some(&since), &until),
        }
    }
}

fn element(since: Option<&str>, until: &str) -> String {
    let mut out = format!("<mav xmlns='{MAV}'");
    attribute(&mut out, "since", since);
    attribute(&mut out, "until", Some(until));
    out.push_str("/>");
    out
}

/// What the room knows of versions: nothing, before somebody has asked for one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    now: Option<Sums>,
    /// The newest is last.
    steps: VecDeque<Step>,
}

impl Room {
    /// Which lists an occupant sees.
    pub(crate) fn seen_by(&self, occupant: &Occupant) -> Seen {
        self.seen_with(self.affiliation_of(occupant), Some(occupant.role))
    }

    fn seen_with(&self, right: Affiliation, role: Option<Role>) -> Seen {
        let lists = LISTS.iter().enumerate();
        let seen = lists.filter(|(_, list)| self.may_see_as(right, role, **list));
        Seen(seen.map(|(list, _)| 1 << list).sum())
    }

    /// Somebody stands so in the lists from now on. The one place where they change.
    pub(crate) fn stand(
        &mut self,
        context: &Context<'_>,
        jid: &str,
        standing: Option<Standing>,
        batch: &mut Batch,
    ) -> Option<Step> {
        let of = |standing: Option<&Standing>| standing.map_or(Affiliation::None, |standing| standing.affiliation);
        let (old, new) = (of(self.standings.get(jid)), of(standing.as_ref()));
        match standing {
            Some(standing) => self.standings.insert(jid.into(), standing),
            None => drop(self.standings.remove(jid)),
        }
        *batch = rows::save_standing(std::mem::take(batch), self, jid);
        let before = self.versions.now.filter(|_| old != new)?;
        let mut after = before;
        let room = self.jid.bare_str();
        after.change(context, room, jid, old, false);
        after.change(context, room, jid, new, true);
        let step = Step {
            jid: jid.into(),
            before,
            after,
        };
        self.versions.now = Some(after);
        self.versions.steps.push_back(step.clone());
        if self.versions.steps.len() > STEPS {
            self.versions.steps.pop_front();
        }
        Some(step)
    }

    /// Occupants hear of a change of the lists that no presence tells, as far as they see them (sections 10.3 to 10.7 of
    /// XEP-0045).
    pub(crate) fn tell_of_lists(
        &self,
        jid: &str,
        old: Affiliation,
        new: Affiliation,
        step: Option<&Step>,
        told: &mut Vec<Say>,
    ) {
        let mut watchers: BTreeMap<Seen, Vec<Arc<Jid>>> = BTreeMap::new();
        for (_, watcher) in self.occupants.iter() {
            let seen = self.seen_by(watcher);
            if seen.has(old) || seen.has(new) {
                watchers.entry(seen).or_default().extend(watcher.jids().cloned());
            }
        }
        for (seen, to) in watchers {
            let shown = if seen.has(new) { new } else { Affiliation::None };
            let item = Item {
                jid: Some(jid),
                ..Item::new(shown, Role::None)
            };
            let more = step.map(|step| step.element(seen)).unwrap_or_default();
            told.push(Say {
                from: self.jid.bare_str().into(),
                stanza: Rendered::from_text(&format!("<message>{}</message>", crate::say::x(&item, &[], &more))),
                to,
            });
        }
    }

    /// From now on changes have versions.
    pub(crate) fn know_versions(&mut self, context: &Context<'_>) -> Sums {
        let (room, standings) = (self.jid.bare_str(), &self.standings);
        *self.versions.now.get_or_insert_with(|| {
            let mut sums = Sums::default();
            for (jid, standing) in standings.iter() {
                sums.change(context, room, jid, standing.affiliation, true);
            }
            sums
        })
    }

    /// Section 4.2.1: what somebody is told who has entered and asks, and what his own presence has of it.
    pub(crate) fn lists_for(&mut self, context: &Context<'_>, from: &Arc<Jid>, join: &Child<'_>) -> (Vec<Say>, String) {
        let Some(asked) = join.child("mav", MAV) else {
            return (Vec::new(), String::new());
        };
        let role = self
            .occupants
            .of(from.as_ref().as_ref())
            .map(|(_, occupant)| occupant.role);
        // As what is told of changes: not by what the service lets him see besides.
        let seen = self.seen_with(self.affiliation(from.as_ref().as_ref()), role);
        if seen == Seen(0) {
            let room = self.jid.bare_str();
            let error = StanzaError::forbidden().by(room.to_owned());
            return (vec![failed("message", None, room, from, &error)], String::new());
        }
        let now = self.know_versions(context);
        let until = now.version(seen);
        let own = element(None, &until);
        let since = asked.attr("since");
        if since.as_deref() == Some(&*until) {
            return (Vec::new(), own);
        }
        let changed = since.and_then(|since| Some((self.changed_since(&since, seen)?, since)));
        let affiliation_of = |jid: &str| {
            let affiliation = self.standings.get(jid).map(|standing| standing.affiliation);
            affiliation
                .filter(|affiliation| seen.has(*affiliation))
                .unwrap_or(Affiliation::None)
        };
        let (since, items): (Option<String>, Vec<(&str, Affiliation)>) = match &changed {
            Some((jids, since)) => {
                let items = jids.iter().map(|jid| (*jid, affiliation_of(jid)));
                (Some(since.to_string()), items.collect())
            }
            None => {
                let all = self.standings.keys().map(|jid| (&**jid, affiliation_of(jid)));
                (
                    None,
                    all.filter(|(_, affiliation)| *affiliation != Affiliation::None)
                        .collect(),
                )
            }
        };
        (self.told_in_parts(from, since, &until, &items), own)
    }

    /// Whose entries have changed since a version, as far as they are seen. None: nobody knows it.
    fn changed_since(&self, since: &str, seen: Seen) -> Option<BTreeSet<&str>> {
        let mut changed = BTreeSet::new();
        for step in self.versions.steps.iter().rev() {
            let before = step.before.version(seen);
            if before != step.after.version(seen) {
                changed.insert(&*step.jid);
            }
            if before == since {
                return Some(changed);
            }
        }
        None
    }

    /// Each begins where the one before it ends. Everything of nothing is told, too.
    fn told_in_parts(
        &self,
        to: &Arc<Jid>,
        since: Option<String>,
        until: &str,
        items: &[(&str, Affiliation)],
    ) -> Vec<Say> {
        let parts: Vec<_> = match items.is_empty() {
            true => vec![items],
            false => items.chunks(ITEMS).collect(),
        };
        let last = parts.len() - 1;
        let (mut since, mut says) = (since, Vec::new());
        for (number, part) in parts.into_iter().enumerate() {
            // Nobody knows the versions between: who is cut off there gets everything again.
            let until = match number == last {
                true => until.to_owned(),
                false => format!("{until}-{number}"),
            };
            let mut x = format!(
                "<x xmlns='{}'>{}",
                stanza::ns::MUC_USER,
                element(since.as_deref(), &until)
            );
            for (jid, affiliation) in part {
                let item = Item {
                    affiliation: *affiliation,
                    role: None,
                    jid: Some(jid),
                    nick: None,
                    actor: None,
                    reason: None,
                };
                item.write(&mut x);
            }
            x.push_str("</x>");
            says.push(Say {
                from: self.jid.bare_str().into(),
                stanza: Rendered::from_text(&format!("<message>{x}</message>")),
                to: vec![Arc::clone(to)],
            });
            since = Some(until);
        }
        says
    }
}
