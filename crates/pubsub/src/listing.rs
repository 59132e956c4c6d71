//! The nodes of a service, of which there may be more than are read at once (XEP-0060 section 5.2).
//!
//! Shown is what anybody may subscribe to or ask for; a node with a whitelist only to who has something at it.

use std::collections::BTreeSet;

use module::{Answer, MakeChange, Step};
use stanza::ns;
use stanza::rsm::Set;
use store::{Found, Keys, PAGE_LIMIT, Query, Row, StoreError};

use crate::access::Context;
use crate::discover::{Wanted, done, opened, write_node};
use crate::rows::{self, Answers, PEOPLE, Totals};
use crate::{PAGE_BYTES, PAGE_ITEMS};

pub(crate) struct Listing {
    context: Context,
    wanted: Wanted,
    /// Where he has something.
    his: BTreeSet<Box<str>>,
    /// Names and titles, in order; from the end where the last page is wanted.
    shown: Vec<(Box<str>, Box<str>)>,
    bytes: usize,
    /// Of all nodes.
    count: u64,
}

impl Listing {
    pub(crate) fn answer(context: Context, wanted: Wanted) -> Answer {
        let listing = Listing {
            context,
            wanted,
            his: BTreeSet::new(),
            shown: Vec::new(),
            bytes: 0,
            count: 0,
        };
        let page = listing.wanted.page.as_ref();
        let after = page.and_then(|page| page.after.clone());
        let before = page.and_then(|page| page.before.clone());
        let keys = listing.keys(after, before.filter(|before| !before.is_empty()));
        let query = Query::Many(vec![
            Query::keys(keys),
            rows::people_of(&listing.context),
            rows::get_totals(listing.context.owner()),
        ]);
        let make: MakeChange = Box::new(move |found| listing.begin(found));
        Answer::Changed(query, make)
    }

    fn is_backward(&self) -> bool {
        self.wanted.page.as_ref().is_some_and(|page| page.before.is_some())
    }

    fn room(&self) -> usize {
        let page = self.wanted.page.as_ref().and_then(|page| page.max);
        page.unwrap_or(PAGE_ITEMS).min(PAGE_ITEMS)
    }

    fn keys(&self, after: Option<String>, before: Option<String>) -> Keys {
        let key = |node: String| rows::person_key("", &node).into();
        Keys {
            after: after.map(key),
            before: before.map(key),
            last: self.is_backward(),
            ..Keys::of(&PEOPLE, self.context.owner(), &rows::part(""), PAGE_LIMIT)
        }
    }

    fn begin(mut self, found: Result<Found, StoreError>) -> Result<Step, stanza::StanzaError> {
        let mut found = Answers::of(found)?;
        let nodes = found.rows()?;
        let his = found.rows()?;
        self.his = his.iter().filter_map(|(key, _)| name(key)).map(Into::into).collect();
        self.count = Totals::read(found.row()?).nodes;
        Ok(self.go_on(nodes))
    }

    fn go_on(mut self, nodes: Vec<(Box<str>, Row)>) -> Step {
        let is_all = nodes.len() < PAGE_LIMIT;
        let is_backward = self.is_backward();
        let nodes: Box<dyn Iterator<Item = (Box<str>, Row)>> = match is_backward {
            true => Box::new(nodes.into_iter().rev()),
            false => Box::new(nodes.into_iter()),
        };
        let mut last = None;
        for (key, row) in nodes {
            if self.shown.len() >= self.room() || self.bytes as u64 > PAGE_BYTES {
                return self.finish();
            }
            let Some(name) = name(&key) else { continue };
            last = Some(name.to_owned());
            let is_open = rows::text(&row, 1) != "whitelist" || self.his.contains(name);
            if is_open && self.wanted.has(rows::text(&row, 3)) {
                let title = rows::text(&row, 2);
                self.bytes += name.len() + title.len() + self.context.owner().len();
                self.shown.push((name.into(), title.into()));
            }
        }
        let Some(last) = last.filter(|_| !is_all) else {
            return self.finish();
        };
        let keys = match is_backward {
            true => {
                let page = self.wanted.page.as_ref();
                self.keys(page.and_then(|page| page.after.clone()), Some(last))
            }
            false => self.keys(Some(last), self.before()),
        };
        let make = move |found: Result<Found, StoreError>| {
            let rows = found.and_then(Found::rows);
            Ok(self.go_on(rows.map_err(|error| crate::error::store(&error))?))
        };
        Step::Ask(Query::keys(keys), Box::new(make))
    }

    fn before(&self) -> Option<String> {
        let page = self.wanted.page.as_ref()?;
        page.before.clone().filter(|before| !before.is_empty())
    }

    fn finish(mut self) -> Step {
        if self.is_backward() {
            self.shown.reverse();
        }
        let mut out = opened(ns::DISCO_ITEMS, None);
        for (name, title) in &self.shown {
            write_node(self.context.owner(), name, title, &mut out);
        }
        if self.wanted.page.is_some() {
            let name = |(name, _): &(Box<str>, Box<str>)| String::from(&**name);
            let ends = self.shown.first().zip(self.shown.last());
            let set = Set {
                ends: ends.map(|(first, last)| (name(first), name(last))),
                // By type it is not counted.
                count: self.wanted.is_all().then_some(self.count),
            };
            set.write(&mut out);
        }
        done(out)
    }
}

fn name(key: &str) -> Option<&str> {
    key.split_once(rows::UNIT).map(|(_, name)| name)
}
