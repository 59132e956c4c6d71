//! A node as it stands in the store, without its items.

use std::collections::{BTreeMap, BTreeSet};

use store::{Batch, Row, row};

use crate::access::Home;
use crate::config::{AccessModel, Config, Most};
use crate::options::Options;
use crate::rows::{self, NODES, RECORD, UNIT, int, text};

/// Of somebody. An account owns all its nodes (XEP-0163 section 2.2), and is not listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affiliation {
    None,
    Member,
    Publisher,
    PublishOnly,
    Outcast,
    /// At a service.
    Owner,
}

impl Affiliation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Affiliation::None => "none",
            Affiliation::Member => "member",
            Affiliation::Publisher => "publisher",
            Affiliation::PublishOnly => "publish-only",
            Affiliation::Outcast => "outcast",
            Affiliation::Owner => "owner",
        }
    }

    pub(crate) fn read(name: &str) -> Option<Affiliation> {
        use Affiliation::*;
        [None, Member, Publisher, PublishOnly, Outcast, Owner]
            .into_iter()
            .find(|affiliation| affiliation.name() == name)
    }
}

/// Section 4.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Subscribed,
    /// An owner has to approve.
    Pending,
    /// He has left before that. The question is still open, so coming back asks no second one: nobody floods an owner.
    Withdrawn,
}

impl State {
    pub(crate) fn name(self) -> &'static str {
        match self {
            State::Subscribed => "subscribed",
            State::Pending => "pending",
            State::Withdrawn => "none",
        }
    }
}

/// Of a JID that has subscribed itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) state: State,
    pub(crate) options: Options,
}

impl Subscription {
    pub(crate) fn new(state: State) -> Subscription {
        Subscription {
            state,
            options: Options::default(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: Box<str>,
    pub(crate) config: Config,
    /// By bare JID; none is not there.
    pub(crate) affiliations: BTreeMap<Box<str>, Affiliation>,
    /// By bare or full JID.
    pub(crate) subscriptions: BTreeMap<Box<str>, Subscription>,
    pub(crate) items: u64,
    /// Of its items.
    pub(crate) bytes: u64,
    /// Milliseconds.
    pub(crate) created: i64,
    /// The row that stands in the store.
    stored: Option<Row>,
}

impl Node {
    pub(crate) fn new(name: &str, home: Home, now: i64) -> Node {
        Node {
            name: name.into(),
            config: Config::of_new(name, home),
            affiliations: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            items: 0,
            bytes: 0,
            created: now,
            stored: None,
        }
    }

    pub(crate) fn read(name: &str, row: Option<Row>) -> Option<Node> {
        let row = row?;
        Some(Node {
            name: name.into(),
            config: Config::of_text(name, text(&row, 0)),
            affiliations: read_affiliations(&row),
            subscriptions: read_subscriptions(&row),
            items: int(&row, 3).unsigned_abs(),
            bytes: int(&row, 4).unsigned_abs(),
            created: int(&row, 5),
            stored: Some(row),
        })
    }

    pub(crate) fn row(&self) -> Row {
        let affiliations: String = self
            .affiliations
            .iter()
            .map(|(jid, affiliation)| format!("{jid}{UNIT}{}{RECORD}", affiliation.name()))
            .collect();
        let subscriptions: String = self
            .subscriptions
            .iter()
            .map(|(jid, subscription)| {
                // What nearly all have takes no room.
                if *subscription == Subscription::new(State::Subscribed) {
                    return format!("{jid}{RECORD}");
                }
                let (state, options) = (subscription.state.name(), subscription.options.text());
                format!("{jid}{UNIT}{state}{UNIT}{options}{RECORD}")
            })
            .collect();
        row![
            self.config.text(),
            affiliations,
            subscriptions,
            self.items as i64,
            self.bytes as i64,
            self.created
        ]
    }

    /// Writes what has changed.
    pub(crate) fn put(&self, batch: Batch, owner: &str) -> Batch {
        let row = self.row();
        let batch = match Home::of(owner) {
            Home::Account => batch,
            Home::Service => self.put_people(&row, batch, owner),
        };
        match self.stored {
            Some(_) => batch.put(&NODES, owner, &*self.name, row),
            // Two who create it at once: one of them gets an error.
            None => batch.insert(&NODES, owner, &*self.name, row),
        }
    }

    /// Takes the node out, without its items.
    pub(crate) fn delete(&self, mut batch: Batch, owner: &str) -> Batch {
        if Home::of(owner) == Home::Service {
            batch = batch.delete(&rows::PEOPLE, owner, &*rows::person_key("", &self.name));
            for jid in self.people() {
                batch = batch.delete(&rows::PEOPLE, owner, &*rows::person_key(&jid, &self.name));
            }
        }
        batch.delete(&NODES, owner, &*self.name)
    }

    /// A service finds by these rows what somebody has at its nodes, and which nodes there are.
    fn put_people(&self, row: &Row, mut batch: Batch, owner: &str) -> Batch {
        let stored = self.stored.as_ref();
        let is_same = |at| stored.is_some_and(|stored| stored.get(at) == row.get(at));
        if !is_same(0) {
            let config = &self.config;
            let shown = store::row![0, config.access.name(), &*config.title, &*config.kind];
            batch = batch.put(&rows::PEOPLE, owner, &*rows::person_key("", &self.name), shown);
        }
        if is_same(1) && is_same(2) {
            return batch;
        }
        let before = stored.map(|stored| Node::read(&self.name, Some(stored.clone())));
        let before = before.flatten();
        let owned = |jid: &str| {
            let before = before.as_ref();
            before.is_some_and(|before| before.affiliation(jid) == Affiliation::Owner)
        };
        let (people, known) = (self.people(), before.as_ref().map(Node::people).unwrap_or_default());
        for jid in &people {
            let owns = self.affiliation(jid) == Affiliation::Owner;
            // Who was made an owner by another is not counted for it: one could fill another's room so.
            let has_made = owns && stored.is_none();
            if !known.contains(jid) || (owned(jid) && !owns) {
                let row = store::row![i64::from(has_made), "", "", ""];
                batch = batch.put(&rows::PEOPLE, owner, &*rows::person_key(jid, &self.name), row);
            }
        }
        for jid in known.difference(&people) {
            batch = batch.delete(&rows::PEOPLE, owner, &*rows::person_key(jid, &self.name));
        }
        batch
    }

    /// Bare JIDs of all who have something at it.
    pub(crate) fn people(&self) -> BTreeSet<Box<str>> {
        let subscribed = self.subscriptions.keys().map(|jid| bare(jid).into());
        self.affiliations.keys().cloned().chain(subscribed).collect()
    }

    pub(crate) fn affiliation(&self, bare: &str) -> Affiliation {
        self.affiliations.get(bare).copied().unwrap_or(Affiliation::None)
    }

    pub(crate) fn owners(&self) -> impl Iterator<Item = &str> {
        let affiliations = self.affiliations.iter();
        let owners = affiliations.filter(|(_, affiliation)| **affiliation == Affiliation::Owner);
        owners.map(|(jid, _)| &**jid)
    }

    /// Of all resources of a bare JID, in whatever state.
    pub(crate) fn subscriptions_of<'n>(
        &'n self,
        bare: &'n str,
    ) -> impl Iterator<Item = (&'n str, &'n Subscription)> + use<'n> {
        let all = self
            .subscriptions
            .iter()
            .map(|(jid, subscription)| (&**jid, subscription));
        all.filter(move |(jid, _)| self::bare(jid) == bare)
    }

    /// Whether an entity, by whatever JID of its own, is subscribed.
    pub(crate) fn is_subscribed(&self, bare: &str) -> bool {
        self.subscriptions_of(bare)
            .any(|(_, subscription)| subscription.state == State::Subscribed)
    }

    /// All in this state.
    pub(crate) fn in_state(&self, state: State) -> impl Iterator<Item = (&str, &Subscription)> {
        let all = self
            .subscriptions
            .iter()
            .map(|(jid, subscription)| (&**jid, subscription));
        all.filter(move |(_, subscription)| subscription.state == state)
    }

    pub(crate) fn has_too_many_subscriptions(&self, home: Home) -> bool {
        is_too_long(self.subscriptions.keys(), home.max_subscriptions())
    }

    pub(crate) fn has_too_many_affiliations(&self) -> bool {
        is_too_long(self.affiliations.keys(), crate::MAX_AFFILIATIONS)
    }

    /// Items that were published before this moment have expired (`pubsub#item_expire`).
    pub(crate) fn expired_before(&self, now: i64) -> i64 {
        match self.config.expire {
            Most::Max => i64::MIN,
            Most::Number(seconds) => now.saturating_sub((seconds as i64).saturating_mul(1_000)),
        }
    }

    /// Whether who may not read it may know that it is there: he may ask for approval.
    pub(crate) fn is_asked_for(&self, bare: &str) -> bool {
        self.config.access == AccessModel::Authorize && self.affiliation(bare) == Affiliation::None
    }
}

/// Of a JID that was checked when it came here.
pub(crate) fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

fn records(row: &Row, at: usize) -> impl Iterator<Item = &str> {
    text(row, at).split(RECORD).filter(|record| !record.is_empty())
}

fn read_affiliations(row: &Row) -> BTreeMap<Box<str>, Affiliation> {
    let affiliation = |record: &str| {
        let (jid, name) = record.split_once(UNIT)?;
        Some((jid.into(), Affiliation::read(name)?))
    };
    records(row, 1).filter_map(affiliation).collect()
}

fn read_subscriptions(row: &Row) -> BTreeMap<Box<str>, Subscription> {
    let subscription = |record: &str| {
        let mut parts = record.split(UNIT);
        let jid = parts.next().unwrap_or_default().into();
        let state = match parts.next() {
            Some(name) if name == State::Pending.name() => State::Pending,
            Some(name) if name == State::Withdrawn.name() => State::Withdrawn,
            _ => State::Subscribed,
        };
        let options = Options::of_text(parts.next().unwrap_or_default());
        (jid, Subscription { state, options })
    };
    records(row, 2).map(subscription).collect()
}

/// The room for JIDs grows with their number: 40 bytes each, as most have.
fn is_too_long<'n>(jids: impl ExactSizeIterator<Item = &'n Box<str>>, limit: usize) -> bool {
    jids.len() > limit || jids.map(|jid| jid.len()).sum::<usize>() > limit * crate::BYTES_OF_JID
}
