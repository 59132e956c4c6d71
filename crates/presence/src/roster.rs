//! One account's contacts in memory, and what changes to them bring about.
//!
//! Most accounts hold a few dozen contacts, a few hold thousands, and all online accounts are in memory together:
//! a sorted slice costs nothing when empty, one allocation otherwise, and a look-up is a binary search. Adding to
//! the largest roster moves some hundred kilobytes, which is rare and still far below the cost of storing the change.
//!
//! A method changes the roster and returns [`Effects`]. If storing these fails, the roster in memory is ahead of the
//! store: load it anew and answer the client with an error.

use std::mem;

use stanza::{ErrorType, StanzaError};
use store::{Op, Row};

use crate::row::{delete, put_version, version};
use crate::write::{write_push, write_removal, write_result};
use crate::{BadRow, Change, Item, Presence, RosterLimits, State, Subscription, Update, inbound, outbound};

/// The roster of one account, together with requests that wait for its answer. The account's own JID is not in it:
/// methods take it as `owner` (bare, prepared), contacts as `contact` (bare, prepared).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Roster {
    /// In the order of their JIDs. Without spare places: rosters grow seldom and stay in memory long.
    items: Box<[Item]>,
    /// Counts changes a client can see; unseen ones do not make a version (§2.6.3, definition).
    version: u64,
}

/// What a change brings about, to be carried out in the order of the fields.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Effects {
    /// To be stored in one batch; empty when nothing stored changes.
    pub ops: Vec<Op>,
    /// From the account's available resources to the contact. `Unavailable` comes before what is routed
    /// (§3.2.2), `Available` last of all (§3.1.5).
    pub send_presence: Presence,
    /// Route the client's stanza to the contact, `from` and `to` set to the bare JIDs (§3, §3.1.2).
    pub route: bool,
    /// Stanzas to make and route from the account's bare JID to the contact's, in this order: what a removal entails
    /// (§2.5.2), or an answer on the user's behalf (§3.1.3 rule 2). They do not pass [`Roster::outbound`] again.
    pub generate: &'static [Change],
    /// Deliver the contact's stanza, before the push (§3.1.6): a "subscribe" to the available resources (§3.1.3
    /// rule 3), the others to the interested ones.
    pub deliver: bool,
    /// `<query/>` of the push to every interested resource (§2.1.6), the same bytes for all.
    pub push: Option<Box<[u8]>>,
    /// A request was dropped because [`RosterLimits::requests`] are waiting already. Nothing else is set.
    pub dropped: bool,
}

impl Roster {
    /// An empty roster: nothing allocated.
    pub fn new() -> Roster {
        Roster::default()
    }

    /// The roster out of the rows of [`ROSTER`](crate::ROSTER) (key, row) in any order and the row of
    /// [`ROSTER_VERSION`](crate::ROSTER_VERSION), if there is one.
    pub fn load<K: AsRef<str>>(
        rows: impl IntoIterator<Item = (K, Row)>,
        version_row: Option<&Row>,
    ) -> Result<Roster, BadRow> {
        let mut items = rows
            .into_iter()
            .map(|(jid, row)| Item::from_row(jid.as_ref(), row))
            .collect::<Result<Vec<Item>, BadRow>>()?;
        items.sort_unstable_by(|a, b| a.jid.cmp(&b.jid));
        Ok(Roster {
            items: items.into_boxed_slice(),
            version: version(version_row)?,
        })
    }

    /// The item of a contact, visible or not.
    pub fn get(&self, jid: &str) -> Option<&Item> {
        self.find(jid).ok().map(|at| &self.items[at])
    }

    /// The state towards a contact; "None" for a stranger (§A.1).
    pub fn state(&self, jid: &str) -> State {
        self.get(jid).map_or(State::NONE, |item| item.state)
    }

    /// All items in the order of their JIDs, those that are not [`visible`](Item::visible) among them.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Item> + Clone {
        self.items.iter()
    }

    /// Contacts that see the account's presence (from, both): where a broadcast goes (§4.2.2, §4.4.2, §4.5.2).
    pub fn subscribers(&self) -> impl Iterator<Item = &Item> + Clone {
        self.iter().filter(|item| item.state.subscription.from())
    }

    /// Contacts whose presence the account sees (to, both): where probes go (§4.3.1).
    pub fn subscriptions(&self) -> impl Iterator<Item = &Item> + Clone {
        self.iter().filter(|item| item.state.subscription.to())
    }

    /// Contacts whose request waits for the account: delivered at every login by
    /// [`write_request`](crate::write_request) (§3.1.3 rule 4).
    pub fn requests(&self) -> impl Iterator<Item = &Item> + Clone {
        self.iter().filter(|item| item.state.pending_in)
    }

    /// Contacts that have not answered the account's request: it may be sent again (§3.1.2, last paragraph).
    pub fn unanswered(&self) -> impl Iterator<Item = &Item> + Clone {
        self.iter().filter(|item| item.state.pending_out)
    }

    /// Number of items, those that are not visible among them.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Number of the current version; its decimal text is the `ver` of results and pushes (§2.1.1).
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Answers a roster get whose query had this `ver`. Appends the whole roster's `<query/>` and returns true, or
    /// appends nothing and returns false when the client has the current version: then the result is empty (§2.6.3).
    ///
    /// A client that is behind gets the whole roster, never interim pushes. §2.6.3 leaves the choice; interim pushes
    /// would need a history of removed contacts that has to be kept for every account and every forgotten device.
    pub fn result_since(&self, ver: Option<&str>, out: &mut Vec<u8>) -> bool {
        // As text: "01" or "+1" are no versions we gave out.
        if ver.is_some_and(|ver| ver == self.version.to_string()) {
            return false;
        }
        write_result(self, out);
        true
    }

    /// Adds or replaces an item (§2.3, §2.4). Subscription state and a waiting request stay as they are.
    /// Error: `resource-constraint` when a new item would be one too many.
    pub fn apply_set(&mut self, owner: &str, update: Update, limits: &RosterLimits) -> Result<Effects, StanzaError> {
        let mut item = match self.get(&update.jid) {
            Some(item) => item.clone(),
            None => Item::new(&update.jid),
        };
        if !item.listed {
            self.check_room(limits)?;
        }
        item.name = update.name;
        item.groups = update.groups;
        item.listed = true;
        // Also when nothing changed: §2.3.2 wants a push for every successful set.
        Ok(self.store(owner, item, true))
    }

    /// Removes an item (§2.5) and ends what subscriptions and requests there are with the contact.
    /// Error: `item-not-found`, also for a contact that is there as a request only.
    pub fn apply_remove(&mut self, owner: &str, jid: &str) -> Result<Effects, StanzaError> {
        let at = match self.find(jid) {
            Ok(at) if self.items[at].visible() => at,
            // Of type modify, as §2.5.3 shows it, where RFC 6120 §8.3.3.7 has cancel.
            _ => {
                let error = StanzaError::item_not_found().kind(ErrorType::Modify);
                return Err(error.text("No such contact in the roster"));
            }
        };
        let item = self.remove(at);
        self.version += 1;
        let state = item.state;
        // §2.5.2 speaks of subscriptions. Requests end with them: an approval of a forgotten request would leave the
        // contact with a subscriber that ignores it, and an unanswered contact would wait for ever.
        let unsubscribe = state.subscription.to() || state.pending_out;
        let unsubscribed = state.subscription.from() || state.pending_in;
        let mut push = Vec::new();
        write_removal(&item.jid, self.version, &mut push);
        Ok(Effects {
            ops: vec![delete(owner, &item.jid), put_version(owner, self.version)],
            send_presence: match state.subscription.from() {
                true => Presence::Unavailable,
                false => Presence::Nothing,
            },
            generate: match (unsubscribe, unsubscribed) {
                (false, false) => &[],
                (true, false) => &[Change::Unsubscribe],
                (false, true) => &[Change::Unsubscribed],
                (true, true) => &[Change::Unsubscribe, Change::Unsubscribed],
            },
            push: Some(push.into()),
            ..Effects::default()
        })
    }

    /// The account sends a subscription stanza to a contact (§A.2). To itself it is ignored.
    /// Error: `resource-constraint` when it would add one item too many to the roster.
    pub fn outbound(
        &mut self,
        owner: &str,
        contact: &str,
        change: Change,
        limits: &RosterLimits,
    ) -> Result<Effects, StanzaError> {
        if contact == owner {
            return Ok(Effects::default());
        }
        let known = self.get(contact);
        let before = known.map_or(State::NONE, |item| item.state);
        let what = outbound(before, change);
        let mut effects = Effects::default();
        if what.state != before {
            let mut item = known.cloned().unwrap_or_else(|| Item::new(contact));
            // Asking for a subscription, granting one and pre-approving one put the contact in the roster.
            if what.state.shows() && !item.listed {
                self.check_room(limits)?;
                item.listed = true;
            }
            item.state = what.state;
            effects = self.store(owner, item, what.push);
        }
        effects.route = what.route;
        effects.send_presence = what.send_presence;
        Ok(effects)
    }

    /// A contact's subscription stanza arrives for the account (§A.3). From itself it is ignored.
    ///
    /// `request` is the stanza as it was received, serialised; it is kept while a "subscribe" waits for an answer,
    /// the first one if several arrive (§3.1.3 rule 4).
    pub fn inbound(
        &mut self,
        owner: &str,
        contact: &str,
        change: Change,
        request: &str,
        limits: &RosterLimits,
    ) -> Effects {
        if contact == owner {
            return Effects::default();
        }
        let known = self.get(contact);
        let before = known.map_or(State::NONE, |item| item.state);
        let what = inbound(before, change);
        let mut effects = Effects::default();
        if what.state != before {
            if known.is_none() && self.iter().filter(|item| !item.listed).count() >= limits.requests {
                return Effects {
                    dropped: true,
                    ..Effects::default()
                };
            }
            let mut item = known.cloned().unwrap_or_else(|| Item::new(contact));
            if what.state.pending_in && !before.pending_in && request.len() <= limits.request_bytes {
                item.request = Some(request.into());
            }
            item.state = what.state;
            effects = self.store(owner, item, what.push);
        }
        // A withdrawn request is delivered also when it is all there was of the contact: §A.3.2 (MUST deliver, the
        // state changes) against §3.3.3 (silently), because a client that asks its user should stop asking.
        effects.deliver = what.deliver;
        effects.send_presence = what.send_presence;
        effects.generate = match what.answer {
            Some(Change::Subscribed) => &[Change::Subscribed],
            // §A.3.2 [1], a SHOULD, is not followed: whoever sent "unsubscribe" holds no subscription any more
            // (table 3), so the answer tells nothing, but if a new "subscribe" follows closely, the answer crosses
            // it and is taken for its denial (table 9), after which an approval is ignored (table 8).
            _ => &[],
        };
        effects
    }

    /// A contact's request that somebody else has approved for the account in advance, and the account's own request to
    /// the contact (XEP-0379 section 3.5). Error: `resource-constraint` when there is no room for the contact.
    pub fn welcome(&mut self, owner: &str, contact: &str, limits: &RosterLimits) -> Result<Effects, StanzaError> {
        let before = self.state(contact);
        let wants = !before.subscription.to() && !before.pending_out;
        let subscription = match before.subscription.to() {
            true => Subscription::Both,
            false => Subscription::From,
        };
        let state = State {
            subscription,
            pending_in: false,
            pending_out: before.pending_out || wants,
            ..before
        };
        let mut effects = self.befriend_as(owner, contact, state, limits)?;
        effects.send_presence = Presence::Available;
        effects.generate = match wants {
            true => &[Change::Subscribed, Change::Subscribe],
            false => &[Change::Subscribed],
        };
        Ok(effects)
    }

    /// Two accounts of this server become contacts without asking, as one was made for the other (XEP-0401 section 5.5):
    /// this is one side of it, and nothing goes to the other. Error: as of [`Roster::welcome`].
    pub fn befriend(&mut self, owner: &str, contact: &str, limits: &RosterLimits) -> Result<Effects, StanzaError> {
        let state = State {
            approved: self.state(contact).approved,
            ..State::BOTH
        };
        let is_new = !self.state(contact).subscription.from();
        let mut effects = self.befriend_as(owner, contact, state, limits)?;
        if is_new {
            effects.send_presence = Presence::Available;
        }
        Ok(effects)
    }

    fn befriend_as(
        &mut self,
        owner: &str,
        contact: &str,
        state: State,
        limits: &RosterLimits,
    ) -> Result<Effects, StanzaError> {
        let mut item = self.get(contact).cloned().unwrap_or_else(|| Item::new(contact));
        if item.listed && item.state == state {
            return Ok(Effects::default());
        }
        if !item.listed {
            self.check_room(limits)?;
        }
        // Without a name, which would be the stranger's choice (XEP-0379 section 6.4).
        item.listed = true;
        item.state = state;
        Ok(self.store(owner, item, true))
    }

    fn remove(&mut self, at: usize) -> Item {
        let mut items = mem::take(&mut self.items).into_vec();
        let item = items.remove(at);
        self.items = items.into_boxed_slice();
        item
    }

    fn find(&self, jid: &str) -> Result<usize, usize> {
        self.items.binary_search_by(|item| (*item.jid).cmp(jid))
    }

    fn check_room(&self, limits: &RosterLimits) -> Result<(), StanzaError> {
        match self.iter().filter(|item| item.listed).count() < limits.items {
            true => Ok(()),
            // §2.3.3 names no condition for a full roster. Not `not-acceptable`: nothing is wrong with the item, and
            // the same request succeeds when there is room again, which is what RFC 6120 §8.3.3.18 says.
            false => Err(StanzaError::resource_constraint().text("The roster is full")),
        }
    }

    /// Puts the item in its place, or takes it away when nothing needs it any longer; operations and push for it.
    fn store(&mut self, owner: &str, mut item: Item, push: bool) -> Effects {
        if !item.state.pending_in {
            item.request = None;
        }
        let mut effects = Effects::default();
        if push {
            self.version += 1;
            let mut payload = Vec::new();
            write_push(&item, self.version, &mut payload);
            effects.push = Some(payload.into());
        }
        let place = self.find(&item.jid);
        if item.is_void() {
            effects.ops.push(delete(owner, &item.jid));
            if let Ok(at) = place {
                self.remove(at);
            }
        } else {
            effects.ops.push(item.put(owner));
            match place {
                Ok(at) => self.items[at] = item,
                Err(at) => {
                    let mut items = mem::take(&mut self.items).into_vec();
                    items.reserve_exact(1);
                    items.insert(at, item);
                    self.items = items.into_boxed_slice();
                }
            }
        }
        if push {
            effects.ops.push(put_version(owner, self.version));
        }
        effects
    }
}

#[cfg(test)]
#[path = "pair_tests.rs"]
mod pair_tests;
#[cfg(test)]
#[path = "roster_tests.rs"]
mod tests;
