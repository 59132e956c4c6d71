//! Who belongs to a node, as its owners decide (XEP-0060 sections 8.6, 8.8 and 8.9).
//!
//! Of several changes in one request those are made that can be; an error names the others.

use std::collections::BTreeSet;

use module::{Change, Step};
use stanza::{Jid, StanzaError, ns};

use crate::access::Context;
use crate::error::{too_much, with};
use crate::node::{Affiliation, Node, State, Subscription};
use crate::owner::write_pair;
use crate::rows::{self, Totals};
use crate::{event, last};

/// Those that could not be changed, as they are (sections 8.8.2.4 and 8.9.2.4).
fn not_changed(list: &str, name: &str, node: &str, wrong: &[(String, &'static str)]) -> Option<StanzaError> {
    if wrong.is_empty() {
        return None;
    }
    let mut out = Vec::new();
    let write = |out: &mut Vec<u8>| {
        for (jid, value) in wrong {
            write_pair(name, jid, value, out);
        }
    };
    event::element(list, node, write, &mut out);
    let element = event::string(out).replacen(' ', &format!(" xmlns='{}' ", ns::PUBSUB_OWNER), 1);
    Some(StanzaError::not_acceptable().app(element))
}

/// Section 8.8.2. Who waits is approved or denied by this too.
pub(crate) fn subscriptions(
    context: &Context,
    mut node: Node,
    mut totals: Totals,
    wanted: Vec<(String, Option<String>)>,
) -> Result<Step, StanzaError> {
    let (mut wrong, mut notices, mut added) = (Vec::new(), Vec::new(), Vec::new());
    for (jid, state) in wanted {
        let parsed = Jid::parse(&jid).ok();
        let now = parsed.as_ref().and_then(|jid| node.subscriptions.get(jid.as_str()));
        let now = now.map(|subscription| subscription.state);
        let (jid, wants) = match (parsed, state.as_deref()) {
            (Some(_), None) => continue,
            (Some(jid), Some("subscribed")) => (jid, Some(State::Subscribed)),
            (Some(jid), Some("none")) => (jid, None),
            _ => {
                wrong.push((jid, now.map_or("none", State::name)));
                continue;
            }
        };
        if wants != now {
            added.extend(wants.map(|_| jid.as_str().into()));
            notices.extend(set_state(&mut node, &mut totals, jid.as_str(), wants));
        }
    }
    if node.has_too_many_subscriptions(context.home()) {
        return Err(too_much("the node has too many subscriptions"));
    }
    let owner = context.owner();
    let change = Change {
        batch: totals.put(node.put(rows::batch(owner), owner), owner),
        notices,
        refused: not_changed("subscriptions", "subscription", &node.name, &wrong),
        ..Change::default()
    };
    Ok(last::after(context, node, added, change))
}

/// None: he is not subscribed any more. Whom it concerns is told.
fn set_state(node: &mut Node, totals: &mut Totals, jid: &str, state: Option<State>) -> [module::Notice; 1] {
    match state {
        // His options stay.
        Some(state) => {
            let subscription = Subscription::new(state);
            node.subscriptions.entry(jid.into()).or_insert(subscription).state = state;
        }
        None => drop(node.subscriptions.remove(jid)),
    }
    let name = state.map_or("none", State::name);
    [event::subscription_changed(node, totals.next(), jid, name, jid)]
}

/// Section 8.9.2.
pub(crate) fn affiliations(
    context: &Context,
    mut node: Node,
    mut totals: Totals,
    wanted: Vec<(String, Option<String>)>,
) -> Result<Change, StanzaError> {
    let owner = context.owner();
    let (mut wrong, mut changed) = (Vec::new(), Vec::new());
    let mut named = BTreeSet::new();
    for (jid, affiliation) in wanted {
        // Section 4.1: of bare JIDs.
        let parsed = Jid::parse(&jid).ok().map(|jid| jid.to_bare());
        if parsed
            .as_ref()
            .is_some_and(|jid| !named.insert(jid.as_str().to_owned()))
        {
            return Err(StanzaError::bad_request().text("one affiliation for each"));
        }
        let is_account = parsed.as_ref().is_some_and(|jid| jid.as_str() == owner);
        let now = parsed
            .as_ref()
            .map_or(Affiliation::None, |jid| node.affiliation(jid.as_str()));
        match (parsed, affiliation.as_deref().map(Affiliation::read)) {
            (Some(_), None) => {}
            (Some(_), Some(Some(Affiliation::Owner))) if is_account => {}
            // Of an account, which owns all its nodes.
            (Some(_), Some(_)) if is_account => wrong.push((jid, "owner")),
            (Some(_), Some(Some(Affiliation::Owner))) if context.home() == crate::access::Home::Account => {
                wrong.push((jid, now.name()));
            }
            (Some(parsed), Some(Some(affiliation))) => changed.push((parsed, affiliation)),
            (None, _) | (Some(_), Some(None)) => wrong.push((jid, now.name())),
        }
    }
    let mut notices = Vec::new();
    for (jid, affiliation) in changed {
        let jid = jid.as_str();
        let is_last = node.owners().eq(std::iter::once(jid));
        if is_last && affiliation != Affiliation::Owner {
            // Its last owner stays.
            wrong.push((jid.to_owned(), "owner"));
            continue;
        }
        if node.affiliation(jid) == affiliation {
            continue;
        }
        if affiliation == Affiliation::None {
            node.affiliations.remove(jid);
        } else {
            node.affiliations.insert(jid.into(), affiliation);
        }
        notices.push(event::affiliation_changed(
            &node,
            totals.next(),
            jid,
            affiliation.name(),
        ));
        notices.extend(follow(&mut node, &mut totals, jid, affiliation));
    }
    if node.has_too_many_affiliations() {
        return Err(too_much("the node has too many affiliations"));
    }
    Ok(Change {
        batch: totals.put(node.put(rows::batch(owner), owner), owner),
        notices,
        refused: not_changed("affiliations", "affiliation", &node.name, &wrong),
        ..Change::default()
    })
}

/// What becomes of his subscriptions (section 8.7.5): an outcast loses them, and who may read need not be approved.
fn follow(node: &mut Node, totals: &mut Totals, jid: &str, affiliation: Affiliation) -> Vec<module::Notice> {
    let state = match affiliation {
        Affiliation::Outcast => None,
        Affiliation::Member | Affiliation::Publisher | Affiliation::Owner => Some(State::Subscribed),
        Affiliation::None | Affiliation::PublishOnly => return Vec::new(),
    };
    let his: Vec<Box<str>> = node
        .subscriptions_of(jid)
        .filter(|(_, subscription)| match state {
            Some(_) => subscription.state == State::Pending,
            None => true,
        })
        .map(|(jid, _)| jid.into())
        .collect();
    let notices = his.iter().flat_map(|jid| set_state(node, totals, jid, state));
    notices.collect()
}

/// Section 8.6: what an owner has decided of one who waits.
pub(crate) fn approve(
    context: &Context,
    mut node: Node,
    mut totals: Totals,
    jid: &str,
    allow: bool,
) -> Result<Step, StanzaError> {
    let state = node.subscriptions.get(jid).map(|subscription| subscription.state);
    // He has left, or another owner was first.
    let gone = || with(StanzaError::unexpected_request(), "not-subscribed");
    let (notices, refused) = match state {
        Some(State::Pending) => {
            let notices = set_state(&mut node, &mut totals, jid, allow.then_some(State::Subscribed));
            (notices.into(), None)
        }
        Some(State::Withdrawn) => {
            node.subscriptions.remove(jid);
            (Vec::new(), Some(gone()))
        }
        Some(State::Subscribed) | None => return Err(gone()),
    };
    let owner = context.owner();
    let change = Change {
        batch: totals.put(node.put(rows::batch(owner), owner), owner),
        notices,
        refused,
        ..Change::default()
    };
    let told = (allow && state == Some(State::Pending)).then(|| jid.into());
    Ok(last::after(context, node, told.into_iter().collect(), change))
}
