//! A node as it stands in the store, without its items.

use std::collections::{BTreeMap, BTreeSet};

use store::{Batch, Row, row};

use crate::config::{Config, Most};
use crate::rows::{NODES, RECORD, UNIT, int, text};
use crate::{MAX_AFFILIATIONS, MAX_JIDS, MAX_SUBSCRIPTIONS};

/// Of somebody who is not the account itself, which owns all its nodes (XEP-0163 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Affiliation {
    None,
    Member,
    Publisher,
    PublishOnly,
    Outcast,
}

impl Affiliation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Affiliation::None => "none",
            Affiliation::Member => "member",
            Affiliation::Publisher => "publisher",
            Affiliation::PublishOnly => "publish-only",
            Affiliation::Outcast => "outcast",
        }
    }

    /// None: there is no other owner than the account.
    pub(crate) fn read(name: &str) -> Option<Affiliation> {
        use Affiliation::*;
        [None, Member, Publisher, PublishOnly, Outcast]
            .into_iter()
            .find(|affiliation| affiliation.name() == name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) name: Box<str>,
    pub(crate) config: Config,
    /// By bare JID; none is not there.
    pub(crate) affiliations: BTreeMap<Box<str>, Affiliation>,
    /// JIDs that have subscribed themselves.
    pub(crate) subscriptions: BTreeSet<Box<str>>,
    pub(crate) items: u64,
    /// Of its items.
    pub(crate) bytes: u64,
    /// Milliseconds.
    pub(crate) created: i64,
}

impl Node {
    pub(crate) fn new(name: &str, now: i64) -> Node {
        Node {
            name: name.into(),
            config: Config::of_new(name),
            affiliations: BTreeMap::new(),
            subscriptions: BTreeSet::new(),
            items: 0,
            bytes: 0,
            created: now,
        }
    }

    pub(crate) fn read(name: &str, row: Option<Row>) -> Option<Node> {
        let row = row?;
        let affiliation = |record: &str| {
            let (jid, name) = record.split_once(UNIT)?;
            Some((jid.into(), Affiliation::read(name)?))
        };
        let records = |at| text(&row, at).split(RECORD).filter(|record| !record.is_empty());
        Some(Node {
            name: name.into(),
            config: Config::of_text(name, text(&row, 0)),
            affiliations: records(1).filter_map(affiliation).collect(),
            subscriptions: records(2).map(Into::into).collect(),
            items: int(&row, 3).unsigned_abs(),
            bytes: int(&row, 4).unsigned_abs(),
            created: int(&row, 5),
        })
    }

    pub(crate) fn row(&self) -> Row {
        let affiliations: String = self
            .affiliations
            .iter()
            .map(|(jid, affiliation)| format!("{jid}{UNIT}{}{RECORD}", affiliation.name()))
            .collect();
        let subscriptions: String = self.subscriptions.iter().map(|jid| format!("{jid}{RECORD}")).collect();
        row![
            self.config.text(),
            affiliations,
            subscriptions,
            self.items as i64,
            self.bytes as i64,
            self.created
        ]
    }

    pub(crate) fn put(&self, batch: Batch, owner: &str) -> Batch {
        batch.put(&NODES, owner, &*self.name, self.row())
    }

    pub(crate) fn affiliation(&self, bare: &str) -> Affiliation {
        self.affiliations.get(bare).copied().unwrap_or(Affiliation::None)
    }

    /// Of all resources of a bare JID.
    pub(crate) fn subscriptions_of<'n>(&'n self, bare: &'n str) -> impl Iterator<Item = &'n str> {
        let jids = self.subscriptions.iter().map(|jid| &**jid);
        jids.filter(move |jid| stanza::JidCow::parse(jid).is_ok_and(|jid| jid.as_ref().bare_str() == bare))
    }

    pub(crate) fn has_too_many_subscriptions(&self) -> bool {
        is_too_long(self.subscriptions.iter(), MAX_SUBSCRIPTIONS)
    }

    pub(crate) fn has_too_many_affiliations(&self) -> bool {
        is_too_long(self.affiliations.keys(), MAX_AFFILIATIONS)
    }

    /// Items that were published before this moment have expired (`pubsub#item_expire`).
    pub(crate) fn expired_before(&self, now: i64) -> i64 {
        match self.config.expire {
            Most::Max => i64::MIN,
            Most::Number(seconds) => now.saturating_sub((seconds as i64).saturating_mul(1_000)),
        }
    }
}

fn is_too_long<'n>(jids: impl ExactSizeIterator<Item = &'n Box<str>>, limit: usize) -> bool {
    jids.len() > limit || jids.map(|jid| jid.len()).sum::<usize>() > MAX_JIDS
}
