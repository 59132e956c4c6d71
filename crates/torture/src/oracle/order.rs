//! I4: one order for each archive.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::story::{excerpt, message_story};
use super::{Archives, Places};
use crate::history::{Account, ClientId, Entry, History, How, OpId, RESOURCES, Sighting, Violation};

/// Readers, senders and deliveries. Of each order that is broken the first place is told, since one message too early
/// makes all behind it late.
pub(super) fn check(history: &History, archives: &Archives, found: &mut Vec<Violation>) {
    let accounts: BTreeSet<Account> = (0..history.clients.len())
        .map(|client| Account(client as u16 / RESOURCES))
        .collect();
    for account in accounts {
        readers(history, account, found);
        if let Some(places) = archives.of(account) {
            senders(history, archives, account, places, found);
        }
    }
    deliveries(history, archives, found);
}

/// All readers of an archive read the same.
fn readers(history: &History, account: Account, found: &mut Vec<Violation>) {
    let mut readings = account.clients().filter_map(|client| {
        let entries = history.archives.get(usize::from(client.0))?.as_ref()?;
        Some((client, entries))
    });
    let Some((first, entries)) = readings.next() else {
        return;
    };
    for (other, others) in readings {
        if let Some(at) = first_difference(entries, others) {
            found.push(Violation {
                rule: "I4",
                what: format!("{first} and {other} read different archives of {account}, from entry {at} on"),
                story: vec![
                    excerpt(history, first, entries, at),
                    excerpt(history, other, others, at),
                ],
            });
        }
    }
}

fn first_difference(one: &[Entry], other: &[Entry]) -> Option<usize> {
    let most = one.len().max(other.len());
    (0..most).find(|at| one.get(*at) != other.get(*at))
}

/// An archive has the messages of each client in the order in which it first sent them.
fn senders(history: &History, archives: &Archives, account: Account, places: &Places, found: &mut Vec<Violation>) {
    let mut by_client: HashMap<ClientId, Vec<(usize, OpId)>> = HashMap::new();
    for (op, places) in places {
        // What stands twice is told elsewhere.
        if let [(at, _)] = places[..] {
            by_client.entry(op.client).or_default().push((at, *op));
        }
    }
    let mut by_client: Vec<_> = by_client.into_iter().collect();
    by_client.sort_unstable_by_key(|(client, _)| *client);
    for (client, mut messages) in by_client {
        messages.sort_unstable();
        let Some(pair) = messages.windows(2).find(|pair| pair[0].1.number > pair[1].1.number) else {
            continue;
        };
        let (before, after) = (pair[0].1, pair[1].1);
        found.push(Violation {
            rule: "I4",
            what: format!("{client} sent {after} before {before}, and in the archive of {account} it stands behind it"),
            story: both(history, archives, before, after),
        });
    }
}

/// A stream brings messages in the order of the archive; those that have waited, which is written on them, by themselves. What comes once more (to be resent is allowed) counts where it
/// came first.
fn deliveries(history: &History, archives: &Archives, found: &mut Vec<Violation>) {
    let mut seen: Vec<(&OpId, &Sighting)> = Vec::new();
    for (op, message) in &history.messages {
        seen.extend(message.seen.iter().map(|sighting| (op, sighting)));
    }
    seen.sort_unstable_by_key(|(_, sighting)| sighting.order);
    // By stream, the place that came last; streams that are told already have none.
    let mut last: HashMap<(ClientId, u32, bool), Option<(usize, OpId)>> = HashMap::new();
    let mut known: HashSet<(ClientId, OpId)> = HashSet::new();
    for (op, sighting) in seen {
        if !known.insert((sighting.by, *op)) {
            continue;
        }
        let places = archives.of(sighting.by.account()).and_then(|places| places.get(op));
        let Some([(at, _)]) = places.map(Vec::as_slice) else {
            continue;
        };
        let stream = (sighting.by, sighting.stream, sighting.how == How::Late);
        match last.get(&stream) {
            Some(None) => {}
            Some(Some((before, earlier))) if before > at => {
                found.push(Violation {
                    rule: "I4",
                    what: format!(
                        "{op} came to {} behind {earlier}, and stands before it in the archive",
                        sighting.by
                    ),
                    story: both(history, archives, *earlier, *op),
                });
                last.insert(stream, None);
            }
            _ => {
                last.insert(stream, Some((*at, *op)));
            }
        }
    }
}

fn both(history: &History, archives: &Archives, one: OpId, other: OpId) -> Vec<String> {
    let mut lines = message_story(history, archives, one);
    lines.extend(message_story(history, archives, other));
    lines
}
