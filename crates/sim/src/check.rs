//! What must hold, told from what clients saw: the invariants I1 to I7 of the guarantees, and that nothing stays behind.
//!
//! | | |
//! | --- | --- |
//! | I1 | every acknowledged message is in the archives of both exactly once, or was answered with an error |
//! | I2 | every session of the recipient has it once at the most, and it came to one of them by itself |
//! | I3 | no message has two ids in one archive, and no id is of two messages |
//! | I4 | an archive has one order: for all readers, as each sender sent, and as it was delivered |
//! | I5 | a change that had a result holds, one that had an error does not |
//! | I6 | what was not acknowledged is there once or not at all, for both alike |
//! | I7 | what had an error was not delivered and is in no archive |

use std::collections::{BTreeMap, BTreeSet};

use store::View;

use crate::history::{Entry, History, How, Message, Session, Sighting};
use crate::run::Plan;
use crate::world::World;

/// Seconds after which the server has forgotten everybody.
const LATER: i64 = 24 * 3600;

/// I1 to I7.
pub fn promises(world: &World, plan: &Plan) -> Vec<String> {
    let history = &world.history;
    let mut found = Vec::new();
    if plan.archives {
        readers(world, &mut found);
        ids(world, &mut found);
        senders(world, &mut found);
    }
    for (id, message) in &history.messages {
        let counts = plan.archives.then(|| counts(world, id, message));
        one(world, plan, id, message, counts, &mut found);
    }
    deliveries(world, plan, &mut found);
    changes(history, &mut found);
    found
}

fn archive<'a>(world: &'a World, account: &str) -> &'a [Entry] {
    let d = world.devices.iter().position(|device| device.account == account);
    let entries = d.and_then(|d| world.history.archives.get(&d));
    entries.map(Vec::as_slice).unwrap_or_default()
}

/// How often a message stands in the archives of its sender and its recipient; None where that says nothing.
fn counts(world: &World, id: &str, message: &Message) -> [Option<usize>; 2] {
    let history = &world.history;
    let sender = &world.devices[message.sender.0].account;
    let count = |account: &str, epoch: u32| {
        let is_known = epoch == history.epoch(account) && message.clock >= history.expired;
        is_known.then(|| archive(world, account).iter().filter(|entry| entry.id == id).count())
    };
    [count(sender, message.epochs.0), count(&message.to, message.epochs.1)]
}

fn one(
    world: &World,
    plan: &Plan,
    id: &str,
    message: &Message,
    counts: Option<[Option<usize>; 2]>,
    found: &mut Vec<String>,
) {
    let history = &world.history;
    let counts: Vec<usize> = match counts {
        Some(counts) if !message.is_loose => counts.into_iter().flatten().collect(),
        _ => Vec::new(),
    };
    if counts.iter().any(|count| *count > 1) {
        found.push(format!("I1: {id} is in an archive {counts:?} times"));
    }
    let came: Vec<_> = message.seen.iter().filter(|seen| seen.how != How::Sent).collect();
    let may_have_failed = plan.fails || history.was_removed.contains(&message.to) || plan.offline_messages < 100;
    // What no archive has exists only in the streams that it was written to. Who has got it and did not acknowledge it
    // before its connection broke cannot be told from who has not got it: so it goes its way again, and where the disk
    // or the limit of what waits refuses it then, its sender is told (G5). Two answers are better than none.
    let came_to_broken = came.iter().all(|seen| history.broken.contains(&seen.session));
    let is_unknown = may_have_failed && message.is_loose && came_to_broken;
    let had_error = message.errors > 0 && !message.resent && !is_unknown;
    if had_error {
        if !came.is_empty() {
            found.push(format!(
                "I7: {id} was answered with an error, and came to {:?}",
                came[0].session
            ));
        }
        if counts.contains(&1) {
            found.push(format!("I7: {id} was answered with an error, and is in an archive"));
        }
    }
    let kept = counts.contains(&1);
    let is_over = history
        .spans
        .values()
        .flatten()
        .any(|span| span.session == message.sender && span.until < u64::MAX);
    // An error may have gone to a session that nobody has resumed.
    let is_answered = message.errors > 0 || (may_have_failed && (is_over || message.resent));
    if message.acked && counts.contains(&0) && !is_answered {
        found.push(format!(
            "I1: {id} was acknowledged, and is not in an archive: {counts:?}"
        ));
    }
    if counts.len() == 2 && counts[0] != counts[1] {
        found.push(format!("I6: {id} is in the archives {counts:?} times"));
    }
    let is_there = message.epochs.1 == history.epoch(&message.to) && message.clock >= history.expired;
    let excused = message.lost || is_answered || !is_there || (message.is_loose && history.crashed);
    if (message.acked || kept) && came.is_empty() && !excused {
        found.push(format!("I2: {id} was acknowledged or kept, and came to nobody"));
    }
    // Once in a session. A fingerprint is gone with the message, or, in the server, which deletes nothing that is younger
    // than a day, before it: so what is sent again behind that is a new message for everybody.
    let is_known = |at: u64| !message.resent || message.forgotten.is_none_or(|forgotten| at < forgotten);
    let mut sessions: BTreeMap<Session, usize> = BTreeMap::new();
    for seen in came.iter().filter(|seen| seen.how != How::Read && is_known(seen.at)) {
        *sessions.entry(seen.session).or_default() += 1;
    }
    // What no archive has is not known again where it was sent again, or given back by a connection without management.
    let may_repeat = message.is_loose && (message.again || message.blind || message.resent || history.crashed);
    if let Some((session, count)) = sessions.iter().find(|(_, count)| **count > 1)
        && !may_repeat
        && !came.iter().any(|seen| seen.session == *session && seen.is_uncounted)
        // It said that it takes no more before it had said that it got these: so they wait, and come once more, under the
        // ids that they had. A client drops them by those (I2 counts behind that).
        && !(history.odd.contains(session) && has_one_id(&came, *session))
    {
        found.push(format!("I2: {id} came {count} times to session {session:?}"));
    }
}

/// Whether a message came to this session under one id, which the client can tell it by.
fn has_one_id(came: &[&Sighting], session: Session) -> bool {
    let mut ids = came.iter().filter(|seen| seen.session == session).map(|seen| &seen.sid);
    ids.next()
        .is_some_and(|first| first.is_some() && ids.all(|id| id == first))
}

fn readers(world: &World, found: &mut Vec<String>) {
    for (d, entries) in &world.history.archives {
        let account = &world.devices[*d].account;
        let first = archive(world, account);
        if entries != first {
            let at = (0..entries.len().max(first.len())).find(|at| entries.get(*at) != first.get(*at));
            found.push(format!(
                "I4: two devices of {account} read different archives from {at:?} on"
            ));
        }
    }
}

fn ids(world: &World, found: &mut Vec<String>) {
    let mut by_message: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut by_id: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut note = |account, id, sid| {
        by_message.entry((account, id)).or_default().insert(sid);
        by_id.entry((account, sid)).or_default().insert(id);
    };
    for (d, entries) in &world.history.archives {
        for entry in entries {
            note(
                world.devices[*d].account.as_str(),
                entry.id.as_str(),
                entry.sid.as_str(),
            );
        }
    }
    for (id, message) in &world.history.messages {
        for seen in &message.seen {
            if let Some(sid) = &seen.sid {
                note(world.devices[seen.session.0].account.as_str(), id, sid);
            } else if !message.is_loose && seen.how != How::Sent && message.clock >= world.history.expired {
                found.push(format!("I3: {id} came to {:?} without an id", seen.session));
            }
        }
    }
    for ((account, id), sids) in by_message.iter().filter(|(_, sids)| sids.len() > 1) {
        // One that was deleted is not known again.
        if world
            .history
            .messages
            .get(*id)
            .is_some_and(|message| message.clock < world.history.expired)
        {
            continue;
        }
        found.push(format!("I3: {id} has the ids {sids:?} in the archive of {account}"));
    }
    for ((account, sid), messages) in by_id.iter().filter(|(_, messages)| messages.len() > 1) {
        found.push(format!("I3: {sid} in the archive of {account} is of {messages:?}"));
    }
}

/// An archive has the messages of a session in the order in which it sent them.
fn senders(world: &World, found: &mut Vec<String>) {
    let accounts: BTreeSet<&str> = world.devices.iter().map(|device| device.account.as_str()).collect();
    for account in accounts {
        let mut last: BTreeMap<Session, (u64, &str)> = BTreeMap::new();
        for entry in archive(world, account) {
            let Some(message) = world.history.messages.get(&entry.id) else {
                found.push(format!(
                    "I6: {} is in the archive of {account}, and nobody sent it",
                    entry.id
                ));
                continue;
            };
            // What was sent again stands where it was handled.
            if message.resent {
                continue;
            }
            let before = last.insert(message.sender, (message.at, &entry.id));
            if let Some((at, earlier)) = before.filter(|(at, _)| *at > message.at) {
                let _ = at;
                found.push(format!(
                    "I4: {} stands behind {earlier} in the archive of {account}, and was sent before",
                    entry.id
                ));
            }
        }
    }
}

/// What comes to a session comes in the order of the archive; what comes at once is not before what waits.
fn deliveries(world: &World, plan: &Plan, found: &mut Vec<String>) {
    if !plan.archives {
        return;
    }
    let history = &world.history;
    let mut places: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (d, entries) in &history.archives {
        for (at, entry) in entries.iter().enumerate() {
            places.insert((world.devices[*d].account.as_str(), entry.id.as_str()), at);
        }
    }
    let mut seen: Vec<(u64, Session, How, &str, &Message)> = Vec::new();
    for (id, message) in &history.messages {
        // The first time that a session has it: what came before `<enabled/>` is not counted, so it may come once more,
        // and the client drops it by its id.
        let mut sessions = BTreeSet::new();
        let own = message
            .seen
            .iter()
            .filter(|seen| !matches!(seen.how, How::Sent | How::Read))
            .filter(|seen| sessions.insert(seen.session));
        seen.extend(own.map(|seen| (seen.at, seen.session, seen.how, id.as_str(), message)));
    }
    seen.sort_unstable_by_key(|(at, ..)| *at);
    let mut last: BTreeMap<Session, (usize, &str, u64, How)> = BTreeMap::new();
    for (at, session, how, id, message) in seen {
        // It may have been deleted and sent again: then its place is that of another.
        if message.resent && message.forgotten.is_some() {
            continue;
        }
        let account = world.devices[session.0].account.as_str();
        let Some(place) = places.get(&(account, id)) else {
            continue;
        };
        // What somebody else may have had, and given back, comes when it comes.
        let spans = history.spans.get(account).into_iter().flatten();
        let mut others = spans.filter(|span| span.session != session && span.until > message.at && span.from < at);
        if how == How::Late && (others.next().is_some() || history.odd.contains(&session)) {
            continue;
        }
        let ready = history.ready.get(&session).copied().unwrap_or(u64::MAX);
        match last.get(&session) {
            Some((before, earlier, at, other))
                if before > place && (how != How::Late || *other == How::Late || *at > ready) =>
            {
                found.push(format!(
                    "I4: {id} came to {session:?} behind {earlier}, and stands before it in the archive"
                ));
            }
            _ => drop(last.insert(session, (*place, id, at, how))),
        }
    }
}

/// I5: what was last said to hold, or something later that was not answered.
fn changes(history: &History, found: &mut Vec<String>) {
    for ((account, contact), changes) in &history.changes {
        let value = history
            .rosters
            .get(&(account.clone(), contact.clone()))
            .map(String::as_str);
        let confirmed = changes.iter().rposition(|change| change.result == Some(true));
        let open = changes.iter().enumerate().filter(|(_, change)| change.result.is_none());
        let mut allowed: Vec<Option<&str>> = open.map(|(_, change)| Some(change.value.as_str())).collect();
        // Those of two devices are answered in the order in which they were made, but sent in another.
        let results = changes.iter().filter(|change| change.result == Some(true));
        allowed.extend(results.map(|change| Some(change.value.as_str())));
        if confirmed.is_none() {
            allowed.push(None);
        }
        if !allowed.contains(&value) {
            found.push(format!(
                "I5: {account} has {contact} as {value:?}, and it can be one of {allowed:?}"
            ));
        }
    }
}

/// Everybody has everything: the cursor stands behind the last message.
pub fn cursor(world: &mut World, account: &str) -> Option<String> {
    world.server.router.save_cursors();
    let last = world
        .server
        .kept(account, View::Waiting)
        .last()
        .map_or(0, |message| message.id);
    let cursor = world.server.cursor(account);
    (cursor < last).then(|| format!("the cursor of {account} stands at {cursor}, not at {last}"))
}

/// Nobody is there any more, and nothing of them.
pub fn memory(world: &mut World) -> Vec<String> {
    let mut found = Vec::new();
    world.server.pass(LATER);
    world.server.tend();
    world.settle();
    world.server.tend();
    world.settle();
    let router = &world.server.router;
    if !router.is_settled() {
        found.push("something still waits, though nothing is left to commit".into());
    }
    let (sessions, accounts) = (router.count_sessions(), router.count_accounts());
    if (sessions, accounts) != (0, 0) {
        found.push(format!("{sessions} sessions and {accounts} accounts stay in memory"));
    }
    let links = world.links.len();
    if links > 0 {
        found.push(format!("{links} connections stay"));
    }
    let outboxes = world.outboxes.iter().filter(|outbox| outbox.strong_count() > 0).count();
    if outboxes > 0 {
        found.push(format!("{outboxes} outboxes stay in memory"));
    }
    found
}
