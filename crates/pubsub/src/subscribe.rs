//! Subscribing and leaving (XEP-0060 sections 6.1 and 6.2), and the options of a subscription (6.3). Whoever sees the
//! account's presence is subscribed without that (section 9.1).
//!
//! An entity has one subscription by each of its JIDs: so there are no subscription ids, and one that comes is passed over
//! (section 6.2.3.5).

use module::{Change, Notice, Step};
use stanza::{ErrorType, Jid, StanzaError, ns};
use store::{Found, Query, Row, StoreError};

use crate::access::{Context, Home, admits, gate};
use crate::error::{unsupported, with};
use crate::form::Fields;
use crate::node::{Node, State, Subscription};
use crate::options::Options;
use crate::rows::{self, Answers, Totals};
use crate::{MAX_OF_ONE, approval, event, last, moved};

pub(crate) struct Subscribe {
    pub(crate) node: String,
    pub(crate) jid: Jid,
    /// Section 6.3.7.
    pub(crate) options: Option<Fields>,
}

impl Subscribe {
    pub(crate) fn query(&self, context: &Context) -> Query {
        let owner = context.owner();
        let mut queries = vec![rows::get_totals(owner), rows::get_node(owner, &self.node)];
        if context.home() == Home::Service {
            queries.push(rows::people_of(context));
        }
        Query::Many(queries)
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let mut found = Answers::of(found)?;
        let mut totals = Totals::read(found.row()?);
        let Some(node) = Node::read(&self.node, found.row()?) else {
            return Ok(moved::missing(context, &self.node));
        };
        let mut node = gate(context, Some(node))?;
        if self.jid.bare_str() != context.bare() {
            return Err(with(StanzaError::bad_request(), "invalid-jid"));
        }
        if !node.config.subscribe {
            return Err(unsupported("subscribe"));
        }
        let state = state(context, &node)?;
        let jid = self.jid.as_str();
        let before = node.subscriptions.get(jid).copied();
        if before.is_none() && context.home() == Home::Service {
            has_room(&found.rows()?, &self.node)?;
        }
        let mut subscription = before.unwrap_or(Subscription::new(state));
        subscription.state = state;
        if let Some(fields) = &self.options {
            subscription.options.submit(fields)?;
        }
        let is_new = before.is_none();
        let is_changed = before != Some(subscription);
        node.subscriptions.insert(jid.into(), subscription);
        if is_new && node.has_too_many_subscriptions(context.home()) {
            let error = StanzaError::policy_violation().kind(ErrorType::Wait);
            return Err(with(error, "too-many-subscriptions"));
        }
        let owner = context.owner();
        let options = self.options.is_some().then_some(subscription.options);
        let mut change = Change {
            answer: answer(&node.name, jid, state.name(), options),
            ..Change::default()
        };
        match state {
            // Who has come back was asked for already.
            State::Pending if is_new => change.notices.push(approval::form(&node, owner, totals.next(), jid)),
            State::Subscribed if is_new => {
                change.notices = tell_owners(&node, owner, &mut totals, jid, state.name());
            }
            _ => {}
        }
        if is_changed {
            change.batch = totals.put(node.put(rows::batch(owner), owner), owner);
        }
        let told = (state == State::Subscribed).then(|| jid.into());
        Ok(last::after(context, node, told.into_iter().collect(), change))
    }
}

/// What he becomes by asking (section 6.1.4).
fn state(context: &Context, node: &Node) -> Result<State, StanzaError> {
    match admits(context, node) {
        Ok(()) => Ok(State::Subscribed),
        Err(_) if node.is_asked_for(context.bare()) => {
            // By whichever of his JIDs: one question is enough.
            let mut his = node.subscriptions_of(context.bare());
            if his.any(|(_, subscription)| subscription.state == State::Pending) {
                return Err(with(StanzaError::not_authorized(), "pending-subscription"));
            }
            Ok(State::Pending)
        }
        Err(error) => Err(error),
    }
}

/// Whether he may have something at one node more of the service.
fn has_room(his: &[(Box<str>, Row)], node: &str) -> Result<(), StanzaError> {
    let is_known = |key: &str| key.split_once(rows::UNIT).is_some_and(|(_, known)| known == node);
    if his.len() < MAX_OF_ONE || his.iter().any(|(key, _)| is_known(key)) {
        return Ok(());
    }
    let error = StanzaError::policy_violation().kind(ErrorType::Wait);
    Err(with(error, "too-many-subscriptions"))
}

/// Those who want to know who comes and goes (`pubsub#notify_sub`).
fn tell_owners(node: &Node, owner: &str, totals: &mut Totals, jid: &str, state: &str) -> Vec<Notice> {
    if !node.config.notify_sub {
        return Vec::new();
    }
    let owners = approval::owners(node, owner);
    let told = owners.map(|to| event::subscription_changed(node, totals.next(), jid, state, to));
    told.collect()
}

pub(crate) struct Unsubscribe {
    pub(crate) node: String,
    pub(crate) jid: Jid,
}

impl Unsubscribe {
    pub(crate) fn query(&self, context: &Context) -> Query {
        let owner = context.owner();
        Query::Many(vec![rows::get_totals(owner), rows::get_node(owner, &self.node)])
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let mut found = Answers::of(found)?;
        let mut totals = Totals::read(found.row()?);
        let (owner, jid) = (context.owner(), self.jid.as_str());
        let mut node = his_node(context, Node::read(&self.node, found.row()?), &self.jid)?;
        let state = node.subscriptions.remove(jid).map(|subscription| subscription.state);
        match state {
            None | Some(State::Withdrawn) => return Err(not_subscribed(ErrorType::Cancel)),
            Some(State::Pending) => {
                let withdrawn = Subscription::new(State::Withdrawn);
                node.subscriptions.insert(jid.into(), withdrawn);
            }
            Some(State::Subscribed) => {}
        }
        let notices = tell_owners(&node, owner, &mut totals, jid, "none");
        Ok(Step::Done(Change {
            batch: totals.put(node.put(rows::batch(owner), owner), owner),
            answer: answer(&node.name, jid, "none", None),
            notices,
            ..Change::default()
        }))
    }
}

/// The node at which he has a subscription: who had access once may leave, and is told what he has.
fn his_node(context: &Context, node: Option<Node>, jid: &Jid) -> Result<Node, StanzaError> {
    let is_his = jid.bare_str() == context.bare();
    let was_there = |node: &Node| node.subscriptions.contains_key(jid.as_str());
    let node = match node {
        Some(node) if is_his && was_there(&node) => node,
        node => gate(context, node)?,
    };
    if is_his {
        Ok(node)
    } else {
        Err(StanzaError::forbidden())
    }
}

fn not_subscribed(kind: ErrorType) -> StanzaError {
    with(StanzaError::unexpected_request().kind(kind), "not-subscribed")
}

/// Section 6.3. None: the form is asked for.
pub(crate) struct Configure {
    pub(crate) node: String,
    pub(crate) jid: Jid,
    pub(crate) fields: Option<Fields>,
}

impl Configure {
    pub(crate) fn query(&self, context: &Context) -> Query {
        Query::Many(vec![rows::get_node(context.owner(), &self.node)])
    }

    pub(crate) fn decide(self, context: &Context, found: Result<Found, StoreError>) -> Result<Step, StanzaError> {
        let mut found = Answers::of(found)?;
        let (owner, jid) = (context.owner(), self.jid.as_str());
        let mut node = his_node(context, Node::read(&self.node, found.row()?), &self.jid)?;
        let subscription = node.subscriptions.get_mut(jid);
        let Some(subscription) = subscription.filter(|subscription| subscription.state != State::Withdrawn) else {
            return Err(not_subscribed(ErrorType::Modify));
        };
        let Some(fields) = self.fields else {
            let options = subscription.options;
            let mut out = format!("<pubsub xmlns='{}'><options", ns::PUBSUB).into_bytes();
            event::attribute("node", &node.name, &mut out);
            event::attribute("jid", jid, &mut out);
            out.push(b'>');
            options.write_form(true, &mut out);
            out.extend_from_slice(b"</options></pubsub>");
            return Ok(Step::Done(Change {
                answer: event::string(out),
                ..Change::default()
            }));
        };
        subscription.options.submit(&fields)?;
        Ok(Step::Done(Change {
            batch: node.put(rows::batch(owner), owner),
            ..Change::default()
        }))
    }
}

fn answer(node: &str, jid: &str, state: &str, options: Option<Options>) -> String {
    let mut out = format!("<pubsub xmlns='{}'>", ns::PUBSUB).into_bytes();
    write_subscription(node, jid, state, &mut out);
    if let Some(options) = options {
        out.extend_from_slice(b"<options>");
        options.write_form(false, &mut out);
        out.extend_from_slice(b"</options>");
    }
    out.extend_from_slice(b"</pubsub>");
    event::string(out)
}

pub(crate) fn write_subscription(node: &str, jid: &str, state: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<subscription");
    event::attribute("node", node, out);
    event::attribute("jid", jid, out);
    event::attribute("subscription", state, out);
    out.extend_from_slice(b"/>");
}
