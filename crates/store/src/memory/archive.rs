//! The archive in memory: all messages by id, looked through one by one. Slow and plainly right, which is what tests
//! want to compare with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::archive::{bare, is_addressed};
use crate::{
    Archived, Deposit, Deposited, EXPIRE_LIMIT, FINGERPRINT_LIFETIME_MS, Op, Page, PageBuilder, Places, Range, View,
};

#[derive(Default)]
pub(super) struct Archive {
    messages: BTreeMap<i64, Deposit>,
    horizons: BTreeMap<Box<str>, i64>,
    /// The last message with this fingerprint.
    fingerprints: HashMap<u128, i64>,
    marks: BTreeMap<i64, i64>,
}

/// What something was before an op changed it.
pub(super) enum Undo {
    Message(i64, Option<Deposit>),
    Horizon(Box<str>, Option<i64>),
    Fingerprint(u128, Option<i64>),
    Mark(i64, Option<i64>),
}

impl Archive {
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Message(id, old) => restore_in(&mut self.messages, id, old),
            Undo::Horizon(owner, old) => restore_in(&mut self.horizons, owner, old),
            Undo::Mark(key, old) => restore_in(&mut self.marks, key, old),
            Undo::Fingerprint(fingerprint, Some(id)) => drop(self.fingerprints.insert(fingerprint, id)),
            Undo::Fingerprint(fingerprint, None) => drop(self.fingerprints.remove(&fingerprint)),
        }
    }

    /// Does an op that is about the archive or a mark.
    pub(super) fn apply(&mut self, op: Op, last_id: &mut i64, undo: &mut dyn FnMut(Undo)) -> Option<Deposited> {
        match op {
            Op::Deposit(deposit) => return Some(self.deposit(*deposit, last_id, undo)),
            Op::Replace { owner, id, stanza } => {
                if self.fits(&owner, View::Archive, id)
                    && let Some(message) = self.messages.get_mut(&id)
                {
                    undo(Undo::Message(id, Some(message.clone())));
                    message.stanza = Arc::from(stanza);
                }
            }
            Op::Horizon { owner, up_to } => self.set_horizon(owner, up_to.min(*last_id), undo),
            Op::Expire { before, most } => {
                let old = self.messages.iter().filter(|(_, message)| message.at < before);
                let ids: Vec<_> = old.map(|(id, _)| *id).take(most.min(EXPIRE_LIMIT)).collect();
                for id in ids {
                    undo(Undo::Message(id, self.messages.remove(&id)));
                }
            }
            Op::Mark { key, value } => undo(Undo::Mark(key, self.marks.insert(key, value))),
            Op::Unmark { key } => undo(Undo::Mark(key, self.marks.remove(&key))),
            // The caller does these.
            Op::Put { .. }
            | Op::Insert { .. }
            | Op::Delete { .. }
            | Op::Append { .. }
            | Op::Trim { .. }
            | Op::Forget { .. }
            | Op::Require { .. } => {}
        }
        None
    }

    fn deposit(&mut self, deposit: Deposit, last_id: &mut i64, undo: &mut dyn FnMut(Undo)) -> Deposited {
        if let Some(fingerprint) = deposit.fingerprint {
            if let Some(id) = self.fingerprints.get(&fingerprint).copied()
                && let Some(earlier) = self.messages.get(&id)
                && deposit.at.saturating_sub(earlier.at) < FINGERPRINT_LIFETIME_MS
            {
                return Deposited { id, is_new: false };
            }
            let old = self.fingerprints.insert(fingerprint, *last_id + 1);
            undo(Undo::Fingerprint(fingerprint, old));
        }
        *last_id += 1;
        undo(Undo::Message(*last_id, self.messages.insert(*last_id, deposit)));
        Deposited {
            id: *last_id,
            is_new: true,
        }
    }

    pub(super) fn set_horizon(&mut self, owner: Box<str>, up_to: i64, undo: &mut dyn FnMut(Undo)) {
        let old = self.horizons.get(&owner).copied();
        if old.is_none_or(|old| old < up_to) {
            self.horizons.insert(owner.clone(), up_to);
            undo(Undo::Horizon(owner, old));
        }
    }

    pub(super) fn mark(&self, key: i64) -> Option<i64> {
        self.marks.get(&key).copied()
    }

    pub(super) fn waiting(&self, owner: &str, after: i64, most: usize) -> u64 {
        let ids = self.messages.keys().filter(|id| **id > after);
        ids.filter(|id| self.fits(owner, View::Waiting, **id))
            .take(most)
            .count() as u64
    }

    pub(super) fn page(&self, range: &Range) -> Page {
        let ids = || self.messages.keys().copied().filter(|id| self.fits_range(range, *id));
        let mut on_page: Vec<_> = ids()
            .filter(|id| range.after.is_none_or(|after| *id > after))
            .filter(|id| range.before.is_none_or(|before| *id < before))
            .collect();
        if range.newest {
            on_page.reverse();
        }
        let mut builder = PageBuilder::new(range);
        for id in on_page {
            let message = &self.messages[&id];
            let message = Archived {
                id,
                at: message.at,
                archived: self.fits(&range.owner, View::Archive, id),
                waits: self.fits(&range.owner, View::Waiting, id),
                stanza: (&*message.stanza).into(),
            };
            if !builder.push(message) {
                break;
            }
        }
        let mut page = builder.finish();
        if range.count {
            page.total = Some(ids().count() as u64);
            let first = page.messages.first().map(|message| message.id);
            page.index = first.map(|first| ids().filter(|id| *id < first).count() as u64);
        }
        page
    }

    fn fits(&self, owner: &str, view: View, id: i64) -> bool {
        let Some(message) = self.messages.get(&id) else {
            return false;
        };
        if self.horizons.get(owner).is_some_and(|horizon| id <= *horizon) {
            return false;
        }
        let (is_sender, is_recipient) = (*message.sender == *owner, *message.recipient == *owner);
        match view {
            View::Archive => {
                (is_sender && message.places.has(Places::SENT))
                    || (is_recipient && message.places.has(Places::RECEIVED))
            }
            View::Waiting => is_recipient && message.places.has(Places::WAITING),
        }
    }

    /// All conditions but `after` and `before`.
    fn fits_range(&self, range: &Range, id: i64) -> bool {
        if !self.fits(&range.owner, range.view, id) {
            return false;
        }
        let message = &self.messages[&id];
        range.start.is_none_or(|start| message.at >= start)
            && range.end.is_none_or(|end| message.at <= end)
            && range.ids.as_ref().is_none_or(|ids| ids.contains(&id))
            && range
                .with
                .as_ref()
                .is_none_or(|with| is_with(message, &range.owner, with))
    }
}

fn is_with(message: &Deposit, owner: &str, with: &str) -> bool {
    let party = |is_owner: bool, other: &str, attribute: &str| {
        is_owner && *other == *bare(with) && (!with.contains('/') || is_addressed(&message.stanza, attribute, with))
    };
    party(*message.sender == *owner, &message.recipient, "to")
        || party(*message.recipient == *owner, &message.sender, "from")
}

fn restore_in<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, old: Option<V>) {
    match old {
        Some(old) => drop(map.insert(key, old)),
        None => drop(map.remove(&key)),
    }
}
