//! Reading items (XEP-0060 section 6.5), page by page (XEP-0059).
//!
//! Items are told from the oldest to the newest. Without a page it is the newest that are told, as many as fit. A page is
//! found by the number of its neighbour: so it goes on where it was, also when the neighbour has gone.

use module::{Change, Step};
use stanza::rsm::{self, Set};
use stanza::{StanzaError, ns};
use store::{Found, Keys, Query, StoreError};

use crate::access::{Context, admits, gate};
use crate::error::{too_much, unsupported};
use crate::event;
use crate::node::Node;
use crate::rows::{self, Answers, Item, ORDER, Place};
use crate::{PAGE_BYTES, PAGE_ITEMS, moved};

/// Items that are read at once where they are asked for by their ids.
const AT_ONCE: usize = 8;

pub(crate) struct Items {
    pub(crate) node: String,
    /// These alone (section 6.5.8).
    pub(crate) ids: Vec<String>,
    /// The newest (section 6.5.7).
    pub(crate) max_items: Option<usize>,
    pub(crate) page: Option<rsm::Request>,
}

impl Items {
    pub(crate) fn query(&self, context: &Context) -> Result<Query, StanzaError> {
        let owner = context.owner();
        let mut queries = vec![rows::get_node(owner, &self.node)];
        if self.ids.is_empty() {
            queries.push(Query::keys(self.places(owner)?));
        } else {
            queries.extend(self.next(owner));
        }
        Ok(Query::Many(queries))
    }

    /// Some of the items that are asked for by their ids.
    fn next(&self, owner: &str) -> impl Iterator<Item = Query> {
        let ids = self.ids.iter().take(AT_ONCE);
        ids.map(move |id| rows::get_item(owner, &self.node, id))
    }

    /// One more than fits, to know whether there is more.
    pub(crate) fn places(&self, owner: &str) -> Result<Keys, StanzaError> {
        let mut keys = Keys::of(&ORDER, owner, &rows::part(&self.node), self.limit() + 1);
        let key = |id: &String| {
            // XEP-0059 section 2.2: what is no item of the list.
            let number = rows::read_shown(id).ok_or_else(StanzaError::item_not_found)?;
            Ok(rows::order_key(&self.node, number).into())
        };
        match &self.page {
            None => keys.last = true,
            Some(page) => {
                keys.after = page.after.as_ref().map(key).transpose()?;
                let before = page.before.as_ref().filter(|before| !before.is_empty());
                keys.before = before.map(key).transpose()?;
                keys.last = page.before.is_some();
            }
        }
        Ok(keys)
    }

    fn limit(&self) -> usize {
        let page = self.page.as_ref().and_then(|page| page.max);
        page.or(self.max_items).unwrap_or(PAGE_ITEMS).min(PAGE_ITEMS)
    }

    /// Without a page it is the newest that are told.
    fn is_last(&self) -> bool {
        self.page.as_ref().is_none_or(|page| page.before.is_some())
    }

    /// Leaves as many as were asked for.
    pub(crate) fn cut(&self, places: &mut Vec<Place>) {
        cut(places, self.limit(), self.is_last());
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let mut found = Answers::of(found)?;
        let Some(node) = Node::read(&self.node, found.row()?) else {
            return Ok(moved::missing(context, &self.node));
        };
        let node = gate(context, Some(node))?;
        admits(context, &node)?;
        if !node.config.persist {
            return Err(unsupported("persistent-items"));
        }
        let expired = node.expired_before(context.now.0);
        if !self.ids.is_empty() {
            return self.by_id(context.clone(), node, found, Vec::new());
        }
        let mut places = found.places()?;
        let was_last = self.is_last();
        let limit = self.limit();
        let mut is_cut = places.len() > limit;
        self.cut(&mut places);
        places.retain(|place| place.at >= expired);
        let fitting = fitting(&places, was_last);
        is_cut |= fitting < places.len();
        cut(&mut places, fitting, was_last);
        // Told where a page was asked for, and where more was asked for than is told (section 6.5.4).
        let asked_for_all = self.page.is_none() && self.max_items.is_none();
        let has_set = self.page.is_some() || (is_cut && (asked_for_all || fitting < limit));
        let set = has_set.then(|| Set {
            ends: places
                .first()
                .zip(places.last())
                .map(|(first, last)| (rows::shown(first.number), rows::shown(last.number))),
            count: Some(node.items),
        });
        if places.is_empty() {
            return Ok(told(&node, &[], set));
        }
        let (owner, name) = (context.owner(), &*node.name);
        let queries = places.iter().map(|place| rows::get_item(owner, name, &place.id));
        let query = Query::Many(queries.collect());
        let make = move |found| {
            let mut found = Answers::of(found)?;
            let mut items = Vec::with_capacity(places.len());
            for Place { id, .. } in places {
                items.extend(Item::read(found.row()?).map(|item| (id, item)));
            }
            Ok(told(&node, &items, set))
        };
        Ok(Step::Ask(query, Box::new(make)))
    }

    /// Takes what was found, and asks for the next: so no more is in memory than goes into an answer.
    fn by_id(
        mut self,
        context: Context,
        node: Node,
        mut found: Answers,
        mut items: Vec<(Box<str>, Item)>,
    ) -> Result<Step, StanzaError> {
        let expired = node.expired_before(context.now.0);
        let rest = self.ids.split_off(self.ids.len().min(AT_ONCE));
        for id in std::mem::replace(&mut self.ids, rest) {
            let item = Item::read(found.row()?).filter(|item| item.at >= expired);
            items.extend(item.map(|item| (id.into_boxed_str(), item)));
        }
        let bytes: u64 = items.iter().map(|(id, item)| item.bytes(id)).sum();
        if bytes > PAGE_BYTES && items.len() > 1 {
            return Err(too_much("these items are too much for one answer"));
        }
        if self.ids.is_empty() {
            return Ok(told(&node, &items, None));
        }
        let query = Query::Many(self.next(context.owner()).collect());
        let make = move |found| self.by_id(context, node, Answers::of(found)?, items);
        Ok(Step::Ask(query, Box::new(make)))
    }
}

/// Leaves so many, of the one end or the other.
fn cut(places: &mut Vec<Place>, limit: usize, last: bool) {
    if last {
        places.drain(..places.len().saturating_sub(limit));
    } else {
        places.truncate(limit);
    }
}

/// How many fit into an answer, counted from the end or from the beginning; one in any case.
fn fitting(places: &[Place], last: bool) -> usize {
    let mut bytes = 0;
    let mut fits = |place: &Place| {
        bytes += place.bytes;
        bytes <= PAGE_BYTES
    };
    let fitting = if last {
        places.iter().rev().take_while(|place| fits(place)).count()
    } else {
        places.iter().take_while(|place| fits(place)).count()
    };
    fitting.max(1)
}

fn told(node: &Node, items: &[(Box<str>, Item)], set: Option<Set>) -> Step {
    let mut answer = format!("<pubsub xmlns='{}'>", ns::PUBSUB).into_bytes();
    let write = |out: &mut Vec<u8>| {
        for (id, item) in items {
            event::write_item(node, id, &item.publisher, &item.payload, out);
        }
    };
    event::element("items", &node.name, write, &mut answer);
    if let Some(set) = set {
        set.write(&mut answer);
    }
    answer.extend_from_slice(b"</pubsub>");
    Step::Done(Change {
        answer: event::string(answer),
        ..Change::default()
    })
}
