//! An entity is no more: it leaves the nodes of a service, so that who gets its name next has nothing there. What nobody
//! else owns goes with it.

use module::{Change, MakeChange, Step};
use stanza::StanzaError;
use store::{Batch, Found, Keys, Query, StoreError};

use crate::event;
use crate::node::{Node, bare};
use crate::publish::remove_all;
use crate::rows::{self, Answers, PEOPLE, Totals};

/// Nodes that are read at once.
const AT_ONCE: usize = 16;

/// Steps to a change that takes `bare` out of all nodes of the service.
pub fn leave(service: &str, bare: &str) -> (Query, MakeChange) {
    let his = Keys::of(&PEOPLE, service, &rows::part(bare), store::PAGE_LIMIT);
    let leaving = Leaving {
        service: service.into(),
        bare: bare.into(),
        nodes: Vec::new(),
        totals: Totals::default(),
        change: Change::default(),
    };
    let query = Query::Many(vec![rows::get_totals(service), Query::keys(his)]);
    (query, Box::new(move |found| leaving.begin(found)))
}

struct Leaving {
    service: Box<str>,
    bare: Box<str>,
    /// Still to be left.
    nodes: Vec<Box<str>>,
    totals: Totals,
    change: Change,
}

impl Leaving {
    fn begin(mut self, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let mut found = Answers::of(found)?;
        self.totals = Totals::read(found.row()?);
        let his = found.rows()?;
        let names = his.iter().filter_map(|(key, _)| key.split_once(rows::UNIT));
        self.nodes = names.map(|(_, name)| name.into()).collect();
        if self.nodes.is_empty() {
            return Ok(Step::Done(self.change));
        }
        Ok(self.next())
    }

    fn next(mut self) -> Step {
        if self.nodes.is_empty() {
            self.change.batch = self.totals.put(self.change.batch, &self.service);
            return Step::Done(self.change);
        }
        let rest = self.nodes.split_off(self.nodes.len().min(AT_ONCE));
        let some = std::mem::replace(&mut self.nodes, rest);
        let queries = some.iter().map(|node| rows::get_node(&self.service, node));
        let query = Query::Many(queries.collect());
        let make = move |found| {
            let mut found = Answers::of(found)?;
            for name in some {
                if let Some(node) = Node::read(&name, found.row()?) {
                    self.take_out(node);
                }
            }
            Ok(self.next())
        };
        Step::Ask(query, Box::new(make))
    }

    fn take_out(&mut self, mut node: Node) {
        node.affiliations.remove(&self.bare);
        node.subscriptions.retain(|jid, _| *bare(jid) != *self.bare);
        let batch: Batch = std::mem::take(&mut self.change.batch);
        if node.owners().next().is_some() {
            self.change.batch = node.put(batch, &self.service);
            return;
        }
        self.totals.nodes = self.totals.nodes.saturating_sub(1);
        let batch = remove_all(&mut node, &mut self.totals, &self.service, batch);
        // Also what stood of him there.
        let key = rows::person_key(&self.bare, &node.name);
        self.change.batch = node.delete(batch, &self.service).delete(&PEOPLE, &self.service, &*key);
        let number = self.totals.next();
        self.change.notices.extend(event::deleted(&node, number, None));
    }
}
