//! What is done at nodes besides, in a change that is about something else (`module::Face`).

use module::{Change, Deed, Occasion, Relation, Step};
use stanza::{ErrorType, JidCow, StanzaError};
use store::{Found, Query, StoreError};

use crate::access::{Asker, Context};
use crate::form::Fields;
use crate::node::Node;
use crate::publish::{NewItem, Publish};
use crate::retract::Retract;
use crate::rows::{self, Item};
use crate::{MAX_ITEMS, error};

/// Acts in one change. More: `policy-violation`.
const ACTS: usize = 2 * MAX_ITEMS as usize;

/// What the account does at its own nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Publish {
        node: Box<str>,
        id: Box<str>,
        /// One element that stands on its own.
        payload: String,
        /// With these fields the node is made where there is none (`pubsub#` stands before each). A node that is there
        /// stays as it is, whatever it is like.
        made: &'static [(&'static str, &'static str)],
    },
    /// Nothing where the item is not there.
    Retract { node: Box<str>, id: Box<str> },
    /// The node, where there is one, is the account's alone from here on and keeps so many items, whatever it was like.
    Keep { node: Box<str>, items: u64 },
}

/// Does these things too, one after the other, in the same change. Each sees what the change has written before it, and
/// is told of as if a client of the account had asked for it. What cannot be done fails the whole.
pub fn also(occasion: &Occasion, acts: Vec<Act>, change: Change) -> Result<Step, StanzaError> {
    if acts.is_empty() {
        return Ok(Step::Done(change));
    }
    if acts.len() > ACTS {
        return Err(error::too_much("that is too much at once"));
    }
    let context = Context::of(occasion);
    // Each with its own questions, all asked at once: between them nothing changes but by what is done here.
    let (mut counts, mut queries) = (Vec::with_capacity(acts.len()), Vec::new());
    let acts: Vec<Request> = acts.into_iter().map(Request::of).collect();
    for act in &acts {
        let asked = act.query(&context);
        counts.push(asked.len());
        queries.extend(asked);
    }
    let asked = queries.clone();
    let make = move |found: Result<Found, StoreError>| {
        let found = found.and_then(Found::many).map_err(|error| error::store(&error))?;
        let mut answers = asked.iter().zip(found);
        let mut change = change;
        for (act, count) in acts.into_iter().zip(counts) {
            let answers = answers.by_ref().take(count);
            let found: Vec<Found> = answers.map(|(query, found)| change.batch.over(query, found)).collect();
            act.add(&context, found, &mut change)?;
        }
        Ok(Step::Done(change))
    };
    Ok(Step::Ask(Query::Many(queries), Box::new(make)))
}

impl Context {
    /// The account itself, by one of its clients.
    pub fn of(occasion: &Occasion) -> Context {
        Context {
            now: occasion.now,
            owner: occasion.owner.clone(),
            asker: Asker {
                jid: occasion.by.clone(),
                relation: Relation::Owner,
                groups: Vec::new(),
                creates: false,
                knows_account: true,
            },
        }
    }
}

enum Request {
    Publish(Publish, Fields),
    Retract(Retract),
    Keep(Box<str>, u64),
}

impl Request {
    fn of(act: Act) -> Request {
        match act {
            Act::Publish {
                node,
                id,
                payload,
                made,
            } => {
                let field = |(var, value): &(&str, &str)| (format!("pubsub#{var}"), vec![String::from(*value)]);
                let publish = Publish {
                    node: node.into(),
                    item: Some(NewItem {
                        id: Some(id.into()),
                        payload: Some(payload),
                    }),
                    options: None,
                };
                Request::Publish(publish, made.iter().map(field).collect())
            }
            Act::Retract { node, id } => Request::Retract(Retract {
                node: node.into(),
                id: id.into(),
                notify: false,
            }),
            Act::Keep { node, items } => Request::Keep(node, items),
        }
    }

    fn query(&self, context: &Context) -> Vec<Query> {
        let query = match self {
            Request::Publish(publish, _) => publish.query(context),
            Request::Retract(retract) => retract.query(context),
            Request::Keep(node, _) => rows::get_node(context.owner(), node),
        };
        match query {
            Query::Many(queries) => queries,
            query => vec![query],
        }
    }

    fn add(self, context: &Context, found: Vec<Found>, change: &mut Change) -> Result<(), StanzaError> {
        // Both ask for the node in the second place, and a retraction for the item in the third.
        let row = |at: usize| match found.get(at) {
            Some(Found::Row(row)) => row.clone(),
            _ => None,
        };
        let step = match self {
            Request::Publish(mut publish, made) => {
                if row(1).is_none() {
                    publish.options = Some(made);
                }
                publish.decide(context, Ok(Found::Many(found)))?
            }
            Request::Retract(retract) => {
                let node = Node::read(&retract.node, row(1));
                if !node.is_some_and(|node| node.config.persist) || Item::read(row(2)).is_none() {
                    return Ok(());
                }
                retract.decide(context, Ok(Found::Many(found)))?
            }
            Request::Keep(name, items) => {
                if let Some(node) = Node::read(&name, row(0)) {
                    keep(context, node, items, change);
                }
                return Ok(());
            }
        };
        match step {
            Step::Done(more) => {
                change.batch.ops.extend(more.batch.ops);
                change.notices.extend(more.notices);
                change.deeds.extend(more.deeds);
                Ok(())
            }
            Step::Ask(..) => {
                // What these two decide rests on what they ask first.
                tracing::error!("an act asks for more; this is a defect");
                Err(StanzaError::internal_server_error().kind(ErrorType::Wait))
            }
        }
    }
}

fn keep(context: &Context, mut node: Node, items: u64, change: &mut Change) {
    let before = node.clone();
    node.config.keep_for_owner(items);
    node.affiliations.clear();
    let own = context.bare();
    node.subscriptions
        .retain(|jid, _| JidCow::parse(jid).is_ok_and(|jid| jid.as_ref().bare_str() == own));
    if node != before {
        change.batch = node.put(std::mem::take(&mut change.batch), context.owner());
        change.deeds.push(Deed::Configured { node: node.name });
    }
}
