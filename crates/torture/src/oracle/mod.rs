//! Decides from what clients saw whether the server kept its word: the invariants I1 to I7 of "Acked means durable, told
//! means true". (I8 and I9 are about the process and are measured where it is run.)
//!
//! | | |
//! | --- | --- |
//! | I1 | every acked message is in the sender's and the recipient's archive exactly once; in that of a recipient at the other server at least once |
//! | I2 | every client of the recipient has it under exactly one id, and it came to one of them by itself |
//! | I3 | no message has two stanza-ids in one archive, and no id is of two messages |
//! | I4 | an archive has one order: for all readers, as each sender sent, and as it was delivered |
//! | I5 | a change that had a result holds, one that had an error does not |
//! | I6 | what had neither ack nor error is there once or not at all, for both parties alike |
//! | I7 | what had an error was not delivered and is in no archive |
//! | R1 | every message to a room that was acked, and had no error, is in its archive exactly once; any other at most once |
//! | R2 | a room has one order and one id for a message: in its archive, for all readers, as each said, and as each heard |
//! | R3 | who is in a room without interruption misses nothing, and is not out of it without being told |
//! | R4 | I5, of what owners change: affiliations and configuration |
//! | R5 | what had an error was not told to anybody and is not archived; what was told to anybody is |
//! | R6 | everybody who is in a room knows who else is |

mod order;
mod rooms;
mod story;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};

use crate::history::{Account, Change, ClientId, Entry, History, How, Message, OpId, Sid, Sighting, Target, Violation};
pub(crate) use story::client_story;
use story::{change_story, message_story};

/// The places of messages in one archive.
type Places = HashMap<OpId, Vec<(usize, Sid)>>;

/// The archives that were read, by client.
struct Archives(Vec<Option<Places>>);

impl Archives {
    fn read_by(&self, client: ClientId) -> Option<&Places> {
        self.0.get(usize::from(client.0))?.as_ref()
    }

    /// As the first of its clients read it. That the others read the same is looked at separately.
    fn of(&self, account: Account) -> Option<&Places> {
        account.clients().find_map(|client| self.read_by(client))
    }
}

/// Everything that contradicts the guarantees, together with what clients found at once. Sorted by rule.
pub(crate) fn check(history: &History) -> Vec<Violation> {
    let mut found = history.found.clone();
    let archives = read_archives(history, &mut found);
    let mut messages: Vec<(&OpId, &Message)> = history.messages.iter().collect();
    messages.sort_unstable_by_key(|(op, _)| **op);
    for (op, message) in messages {
        for (rule, what) in faults_of(history, &archives, *op, message) {
            found.push(Violation {
                rule,
                what: format!("{op}: {what}"),
                story: message_story(history, &archives, *op),
            });
        }
    }
    order::check(history, &archives, &mut found);
    rooms::check(history, &mut found);
    let mut targets: Vec<(&Target, &Vec<Change>)> = history.changes.iter().collect();
    targets.sort_unstable_by_key(|(target, _)| *target);
    for (target, changes) in targets {
        check_target(history, target, changes, &mut found);
    }
    found.sort_by(|one, other| one.rule.cmp(other.rule));
    found
}

/// The archives, with what is wrong in each of them by itself.
fn read_archives(history: &History, found: &mut Vec<Violation>) -> Archives {
    let mut archives = Vec::new();
    for (number, entries) in history.archives.iter().enumerate() {
        // Who could not read has said so already.
        archives.push(entries.as_deref().map(|entries| {
            // There are no more clients than a u16 counts.
            let reader = ClientId(number as u16);
            read_archive(history, reader, entries, found)
        }));
    }
    Archives(archives)
}

fn read_archive(history: &History, reader: ClientId, entries: &[Entry], found: &mut Vec<Violation>) -> Places {
    let mut places = Places::new();
    let mut owners: HashMap<Sid, Option<OpId>> = HashMap::new();
    for (at, entry) in entries.iter().enumerate() {
        let story = || vec![story::excerpt(history, reader, entries, at)];
        if owners.insert(entry.sid, entry.op).is_some() {
            let name = history.name(entry.sid);
            found.push(Violation {
                rule: "I3",
                what: format!("{reader} read {name} twice in its archive"),
                story: story(),
            });
        }
        match entry.op {
            Some(op) if history.messages.contains_key(&op) => {
                places.entry(op).or_default().push((at, entry.sid));
            }
            _ => found.push(Violation {
                rule: "I6",
                what: format!("{reader} read a message that nobody sent"),
                story: story(),
            }),
        }
    }
    places
}

/// What is wrong with one message: rule and words.
fn faults_of(history: &History, archives: &Archives, op: OpId, message: &Message) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let parties = parties(op, message);
    // Between servers a message may come twice: at least once is what is promised there.
    let may_be_twice = |party: Account| message.crosses(op) && party == message.to;
    for &party in &parties {
        let ids = ids_of(archives, op, message, party);
        if ids.len() > 1 && !may_be_twice(party) {
            let names: Vec<&str> = ids.iter().map(|sid| history.name(*sid)).collect();
            found.push((
                "I3",
                format!("has several ids in the account {party}: {}", names.join(", ")),
            ));
        }
    }
    let without = |seen: &&Sighting| seen.sid.is_none() && seen.how != How::Sent;
    if let Some(seen) = message.seen.iter().find(without) {
        found.push(("I3", format!("came to {} without a stanza-id", seen.by)));
    }
    // Accounts whose archive could not be read say nothing.
    let count = |party: &Account| Some(archives.of(*party)?.get(&op).map_or(0, Vec::len));
    let counts: Vec<(Account, usize)> = parties
        .iter()
        .filter_map(|party| Some((*party, count(party)?)))
        .collect();
    if message.error.is_some() {
        if let Some(seen) = message.seen.first() {
            found.push(("I7", format!("was answered with an error, and {} saw it", seen.by)));
        } else if let Some((party, _)) = counts
            .iter()
            // Who was told by the other server has sent it all the same.
            .find(|(party, count)| *count > 0 && !(message.crosses(op) && *party == op.client.account()))
        {
            found.push((
                "I7",
                format!("was answered with an error, and is in the archive of {party}"),
            ));
        }
        return found;
    }
    if message.acked.is_some() {
        for (party, count) in &counts {
            match count {
                0 => found.push(("I1", format!("was acked, and is not in the archive of {party}"))),
                1 => {}
                _ if may_be_twice(*party) => {}
                more => found.push((
                    "I1",
                    format!("was acked, and is {more} times in the archive of {party}"),
                )),
            }
        }
        if history.sees_all_live(message.to) && !message.was_delivered() {
            let to = message.to;
            found.push(("I2", format!("was acked, and came to no client of {to}")));
        }
        // What the archive lacks or has twice is told once.
        if found.iter().all(|(rule, _)| *rule != "I1") {
            found.extend(not_once(archives, op, message));
        }
        return found;
    }
    for (party, count) in &counts {
        if *count > 1 && !may_be_twice(*party) {
            found.push((
                "I6",
                format!("was not acked, and is {count} times in the archive of {party}"),
            ));
        }
    }
    if let [(one, here), (other, there)] = counts[..]
        && (here == 0) != (there == 0)
    {
        let (with, without) = if here > 0 { (one, other) } else { (other, one) };
        found.push((
            "I6",
            format!("is in the archive of {with} and not in that of {without}"),
        ));
    }
    if let (Some(seen), Some((party, _))) = (message.seen.first(), counts.iter().find(|(_, count)| *count == 0)) {
        found.push((
            "I6",
            format!("came to {}, and is not in the archive of {party}", seen.by),
        ));
    }
    found
}

/// I2: clients of the recipient that have an acked message not under exactly one id.
fn not_once(archives: &Archives, op: OpId, message: &Message) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for client in message.to.clients() {
        let Some(places) = archives.read_by(client) else {
            continue;
        };
        let live = message.seen.iter().filter(|seen| seen.by == client);
        let mut ids: BTreeSet<Sid> = live.filter_map(|seen| seen.sid).collect();
        ids.extend(places.get(&op).into_iter().flatten().map(|(_, sid)| *sid));
        if ids.is_empty() || ids.len() > 1 && !message.crosses(op) {
            found.push(("I2", format!("was acked, and {client} has it under {} ids", ids.len())));
        }
    }
    found
}

/// Both accounts that a message is of; one if it was sent to oneself.
fn parties(op: OpId, message: &Message) -> Vec<Account> {
    let sender = op.client.account();
    match sender == message.to {
        true => vec![sender],
        false => vec![sender, message.to],
    }
}

/// All ids that one account's clients and archive have a message under.
fn ids_of(archives: &Archives, op: OpId, message: &Message, party: Account) -> BTreeSet<Sid> {
    let live = message.seen.iter().filter(|seen| seen.by.account() == party);
    let mut ids: BTreeSet<Sid> = live.filter_map(|seen| seen.sid).collect();
    let read = party.clients().filter_map(|client| archives.read_by(client)?.get(&op));
    ids.extend(read.flatten().map(|(_, sid)| *sid));
    ids
}

/// I5, and R4 of a room: what was last said to hold, or something later that was not answered.
fn check_target(history: &History, target: &Target, changes: &[Change], found: &mut Vec<Violation>) {
    let confirmed = changes
        .iter()
        .rposition(|change| matches!(change.outcome, Some((_, Ok(())))));
    let open = changes
        .iter()
        .enumerate()
        .filter(|(at, change)| change.outcome.is_none() && confirmed.is_none_or(|confirmed| *at > confirmed));
    let mut allowed: Vec<Option<&str>> = open.map(|(_, change)| change.value.as_deref()).collect();
    allowed.push(confirmed.and_then(|at| changes[at].value.as_deref()));
    for client in target.account.clients() {
        let Some(Some(finals)) = history.finals.get(usize::from(client.0)) else {
            continue;
        };
        let value = finals.get(&target.key).map(String::as_str);
        if allowed.contains(&value) {
            continue;
        }
        let failed = changes
            .iter()
            .any(|change| change.value.as_deref() == value && matches!(change.outcome, Some((_, Err(_)))));
        let why = if failed { ", which had an error" } else { "" };
        found.push(Violation {
            rule: if target.room.is_some() { "R4" } else { "I5" },
            what: format!(
                "{} of {}: {client} reads {value:?}{why}; it can be one of {allowed:?}",
                target.key, target.account
            ),
            story: change_story(history, changes),
        });
    }
}
