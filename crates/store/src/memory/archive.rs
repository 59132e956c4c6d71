//! The archive in memory: all messages by id, looked through one by one. Slow and plainly right, which is what tests
//! want to compare with.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::archive::{bare, is_addressed};
use crate::{
    Archived, Deposit, Deposited, EXPIRE_LIMIT, FINGERPRINT_LIFETIME_MS, OLDEST_LIMIT, Oldest, Op, Page, PageBuilder,
    Places, Range, Swept, View, Whose, Wrote,
};

#[derive(Default)]
pub(super) struct Archive {
    /// With the places that age has not taken away.
    messages: BTreeMap<i64, Deposit>,
    owners: BTreeMap<Box<str>, Owner>,
    /// The last message with this fingerprint.
    fingerprints: HashMap<u128, i64>,
    marks: BTreeMap<i64, i64>,
}

/// Up to which ids an owner has nothing any more: see [`Op::Horizon`], [`Op::Floor`], [`Op::Settle`].
#[derive(Clone, Copy, Default)]
pub(super) struct Owner {
    horizon: i64,
    floor: i64,
    delivered: i64,
    /// The highest that `delivered` ever was.
    settled: i64,
}

/// What something was before an op changed it.
pub(super) enum Undo {
    Message(i64, Option<Deposit>),
    Owner(Box<str>, Option<Owner>),
    Fingerprint(u128, Option<i64>),
    Mark(i64, Option<i64>),
}

impl Archive {
    pub(super) fn undo(&mut self, undo: Undo) {
        match undo {
            Undo::Message(id, old) => restore_in(&mut self.messages, id, old),
            Undo::Owner(owner, old) => restore_in(&mut self.owners, owner, old),
            Undo::Mark(key, old) => restore_in(&mut self.marks, key, old),
            Undo::Fingerprint(fingerprint, Some(id)) => drop(self.fingerprints.insert(fingerprint, id)),
            Undo::Fingerprint(fingerprint, None) => drop(self.fingerprints.remove(&fingerprint)),
        }
    }

    /// Does an op that is about the archive or a mark.
    pub(super) fn apply(&mut self, op: Op, last_id: &mut i64, wrote: &mut Wrote, undo: &mut dyn FnMut(Undo)) {
        match op {
            Op::Deposit(deposit) => wrote.deposited = Some(self.deposit(*deposit, last_id, undo)),
            Op::Replace { owner, id, stanza } => {
                if self.fits(&owner, View::Archive, id)
                    && let Some(message) = self.messages.get_mut(&id)
                {
                    undo(Undo::Message(id, Some(message.clone())));
                    message.stanza = Arc::from(stanza);
                }
            }
            Op::Horizon { owner, up_to } => self.set_horizon(owner, up_to.min(*last_id), undo),
            Op::Settle { owner, up_to } => self.change(owner, undo, |owner| {
                owner.delivered = up_to.min(*last_id);
                owner.settled = owner.settled.max(owner.delivered);
            }),
            Op::Floor { owner, up_to } => {
                self.change(owner, undo, |owner| owner.floor = owner.floor.max(up_to.min(*last_id)));
            }
            Op::Expire { before, most } => wrote.add_swept(self.expire(before, most, undo)),
            Op::Sweep { now, most } => wrote.add_swept(self.sweep(now, most, undo)),
            Op::Mark { key, value } => undo(Undo::Mark(key, self.marks.insert(key, value))),
            Op::Unmark { key } => undo(Undo::Mark(key, self.marks.remove(&key))),
            // The caller does these.
            Op::Put { .. }
            | Op::Insert { .. }
            | Op::Delete { .. }
            | Op::Append { .. }
            | Op::Trim { .. }
            | Op::Forget { .. }
            | Op::DeleteKeys { .. }
            | Op::Add { .. }
            | Op::Require { .. } => {}
        }
    }

    fn expire(&mut self, before: i64, most: usize, undo: &mut dyn FnMut(Undo)) -> Swept {
        let most = most.min(EXPIRE_LIMIT);
        let old = self.messages.iter().filter(|(id, message)| {
            message.at < before && (self.is_sent(**id, message) || self.is_received(**id, message))
        });
        let ids: Vec<_> = old.map(|(id, _)| *id).take(most).collect();
        for id in &ids {
            let old = self.messages.remove(id);
            undo(Undo::Message(*id, old.clone()));
            if let Some(mut message) = old
                && self.waits(*id, &message)
            {
                message.places = Places::WAITING;
                self.messages.insert(*id, message);
            }
        }
        Swept {
            messages: ids.len(),
            more: ids.len() == most,
        }
    }

    fn sweep(&mut self, now: i64, most: usize, undo: &mut dyn FnMut(Undo)) -> Swept {
        let most = most.min(EXPIRE_LIMIT);
        let is_gone = |id: i64, message: &Deposit| {
            let has_place = self.is_sent(id, message) || self.is_received(id, message) || self.waits(id, message);
            let is_known = message.fingerprint.is_some() && now.saturating_sub(message.at) < FINGERPRINT_LIFETIME_MS;
            !has_place && !is_known
        };
        let gone = self.messages.iter().filter(|(id, message)| is_gone(**id, message));
        let ids: Vec<_> = gone.map(|(id, _)| *id).take(most).collect();
        for id in &ids {
            undo(Undo::Message(*id, self.messages.remove(id)));
        }
        Swept {
            messages: ids.len(),
            more: ids.len() == most,
        }
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
        self.change(owner, undo, |owner| owner.horizon = owner.horizon.max(up_to));
    }

    fn change(&mut self, owner: Box<str>, undo: &mut dyn FnMut(Undo), change: impl FnOnce(&mut Owner)) {
        let old = self.owners.get(&owner).copied();
        change(self.owners.entry(owner.clone()).or_default());
        undo(Undo::Owner(owner, old));
    }

    fn owner(&self, owner: &str) -> Owner {
        self.owners.get(owner).copied().unwrap_or_default()
    }

    pub(super) fn mark(&self, key: i64) -> Option<i64> {
        self.marks.get(&key).copied()
    }

    pub(super) fn waiting(&self, owner: &str, most: usize) -> (i64, u64) {
        let delivered = self.owner(owner).delivered;
        let ids = self.messages.keys().filter(|id| **id > delivered);
        let waiting = ids.filter(|id| self.fits(owner, View::Waiting, **id));
        (delivered, waiting.take(most).count() as u64)
    }

    pub(super) fn usage(&self, owner: &str) -> u64 {
        let of_owner = self
            .messages
            .iter()
            .filter(|(id, _)| self.fits(owner, View::Archive, **id));
        of_owner.map(|(_, message)| message.stanza.len() as u64).sum()
    }

    pub(super) fn oldest(&self, whose: &Whose, after: i64, bytes: u64) -> Oldest {
        let mut oldest = Oldest {
            up_to: after,
            bytes: 0,
            complete: false,
        };
        let mut looked = 0;
        for (id, message) in self.messages.range(after.saturating_add(1)..) {
            let sent = whose.includes(&message.sender) && self.is_sent(*id, message);
            let received = whose.includes(&message.recipient) && self.is_received(*id, message);
            // To oneself it is one entry.
            let archives = if message.sender == message.recipient {
                u64::from(sent || received)
            } else {
                u64::from(sent) + u64::from(received)
            };
            if archives > 0 {
                if oldest.bytes >= bytes || looked == OLDEST_LIMIT {
                    return oldest;
                }
                looked += 1;
                oldest.up_to = *id;
                oldest.bytes += archives * message.stanza.len() as u64;
            }
        }
        oldest.complete = true;
        oldest
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
                waits: *message.recipient == *range.owner && message.places.has(Places::WAITING),
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
        let sent = *message.sender == *owner && self.is_sent(id, message);
        let received = *message.recipient == *owner && self.is_received(id, message);
        match view {
            View::Archive => sent || received,
            View::Waiting => {
                let is_for_owner = *message.recipient == *owner && message.places.has(Places::WAITING);
                let is_in_archive = (sent || received) && id > self.owner(owner).horizon;
                is_for_owner && (is_in_archive || self.waits(id, message))
            }
        }
    }

    fn is_sent(&self, id: i64, message: &Deposit) -> bool {
        let owner = self.owner(&message.sender);
        message.places.has(Places::SENT) && id > owner.horizon.max(owner.floor)
    }

    fn is_received(&self, id: i64, message: &Deposit) -> bool {
        let owner = self.owner(&message.recipient);
        message.places.has(Places::RECEIVED) && id > owner.horizon.max(owner.floor)
    }

    /// It was not delivered yet.
    fn waits(&self, id: i64, message: &Deposit) -> bool {
        let owner = self.owner(&message.recipient);
        message.places.has(Places::WAITING) && id > owner.horizon.max(owner.settled)
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
            && range
                .addressed
                .as_ref()
                .is_none_or(|(name, jid)| is_addressed(&message.stanza, name, jid))
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
