//! Who saw what when: what is told beside a violation.

use std::time::Duration;

use super::Archives;
use crate::history::{Account, Change, ClientId, Entry, History, How, OpId, Time, show};

/// Faults that happened so long before and behind a message are told with it.
const AROUND: Duration = Duration::from_secs(1);
/// And so long before a client saw what is wrong by itself.
const BEFORE: Duration = Duration::from_secs(15);
/// The most lines of one story; a message that waits for long sees many faults.
const LINES: usize = 60;
/// Of those who heard what was said in a room so many are told.
const HEARD: usize = 3;
/// Entries of an archive that are shown to each side of a place.
const BESIDE: usize = 2;

/// All that is known of one message, in the order of time.
pub(super) fn message_story(history: &History, archives: &Archives, op: OpId) -> Vec<String> {
    let Some(message) = history.messages.get(&op) else {
        return Vec::new();
    };
    let to = match message.to_client {
        Some(client) => client.to_string(),
        None => message.to.to_string(),
    };
    let mut lines: Vec<(Time, String)> = Vec::new();
    for (at, manner) in &message.sent {
        lines.push((*at, format!("{} sent {op} to {to} ({manner})", op.client)));
    }
    if let Some((at, by)) = &message.acked {
        lines.push((*at, format!("{op} was acked by {by}")));
    }
    if let Some((at, condition)) = &message.error {
        lines.push((*at, format!("{op} was answered with the error {condition}")));
    }
    for seen in &message.seen {
        let how = match seen.how {
            How::Direct => "itself",
            How::Late => "itself, having waited,",
            How::Received => "as a copy of what was received",
            How::Sent => "as a copy of what was sent",
        };
        let id = seen.sid.map_or("no id", |sid| history.name(sid));
        lines.push((
            seen.at,
            format!("{op} came to {} {how}, id {id}, on its stream {}", seen.by, seen.stream),
        ));
    }
    let mut parties = super::parties(op, message);
    parties.sort_unstable();
    let mut lines = with_faults(history, lines, &parties);
    for client in parties.into_iter().flat_map(|party| party.clients()) {
        let Some(places) = archives.read_by(client) else {
            continue;
        };
        let places: Vec<String> = places
            .get(&op)
            .into_iter()
            .flatten()
            .map(|(at, sid)| format!("entry {at}, id {}", history.name(*sid)))
            .collect();
        let places = if places.is_empty() {
            "nothing".to_owned()
        } else {
            places.join("; ")
        };
        lines.push(format!("at the end    {client} read of {op} in its archive: {places}"));
    }
    lines
}

/// All that is known of one message in a room; of those who heard it one, or the first.
pub(super) fn saying_story(history: &History, op: OpId, listener: Option<ClientId>) -> Vec<String> {
    let Some(saying) = history.rooms.sayings.get(&op) else {
        return Vec::new();
    };
    let room = saying.room;
    let mut lines: Vec<(Time, String)> = Vec::new();
    for (at, manner) in &saying.sent {
        lines.push((*at, format!("{} said {op} in {room} ({manner})", op.client)));
    }
    if let Some((at, by)) = &saying.acked {
        lines.push((*at, format!("{op} was acked by {by}")));
    }
    if let Some((at, condition)) = &saying.error {
        lines.push((*at, format!("{op} was answered with the error {condition}")));
    }
    let mut of_listener = saying
        .heard
        .iter()
        .filter(|heard| listener.is_none_or(|client| client == heard.by))
        .peekable();
    if let (Some(client), None) = (listener, of_listener.peek()) {
        lines.push((saying.sent[0].0, format!("{op} never came to {client}")));
    }
    for heard in of_listener.take(HEARD) {
        let id = heard.sid.map_or("no id", |sid| history.name(sid));
        lines.push((
            heard.at,
            format!("{op} came to {}, id {id}, in its stay {}", heard.by, heard.stay),
        ));
    }
    let mut accounts = vec![op.client.account()];
    accounts.extend(listener.map(ClientId::account));
    let mut told = with_faults(history, lines, &accounts);
    let places: Vec<String> = history
        .rooms
        .archives
        .iter()
        .filter(|((_, other), _)| *other == room)
        .take(1)
        .flat_map(|(_, entries)| entries.iter().enumerate())
        .filter(|(_, entry)| entry.op == Some(op))
        .map(|(at, entry)| format!("entry {at}, id {}", history.name(entry.sid)))
        .collect();
    told.push(format!(
        "at the end    the archive of {room} has it at: {}",
        places.join("; ")
    ));
    told.push(format!(
        "              {} came to somebody {} times",
        op,
        saying.heard.len()
    ));
    told
}

pub(super) fn change_story(history: &History, changes: &[Change]) -> Vec<String> {
    let mut lines: Vec<(Time, String)> = Vec::new();
    // What was confirmed long ago does not matter any more.
    let last = changes
        .iter()
        .rposition(|change| matches!(change.outcome, Some((_, Ok(())))));
    for change in &changes[last.unwrap_or_default().saturating_sub(BESIDE)..] {
        let value = &change.value;
        lines.push((change.at, format!("{} set it to {value:?}", change.by)));
        match &change.outcome {
            Some((at, Ok(()))) => lines.push((*at, format!("the result for {value:?} came"))),
            Some((at, Err(condition))) => lines.push((*at, format!("the error {condition} for {value:?} came"))),
            None => {}
        }
    }
    let owner: Vec<Account> = changes.iter().map(|change| change.by.account()).take(1).collect();
    with_faults(history, lines, &owner)
}

/// What became of one client's streams, and of everybody, before it saw something that must not be.
pub(crate) fn client_story(history: &History, client: ClientId, now: Time) -> Vec<String> {
    let before = now.saturating_sub(BEFORE);
    let faults = history.faults.iter().filter(|(at, _)| *at >= before);
    let mut lines: Vec<(Time, String)> = faults.map(|(at, what)| (*at, format!("-- {what}"))).collect();
    let from = history.streams.partition_point(|(at, ..)| *at < before);
    let own = history.streams[from..].iter().filter(|(_, other, _)| *other == client);
    lines.extend(own.map(|(at, _, what)| (*at, format!("-- {client}: {what}"))));
    lines.push((now, format!("{client} sees it")));
    lines.sort();
    let left = lines.len().saturating_sub(LINES);
    lines
        .into_iter()
        .skip(left)
        .map(|(at, line)| format!("{} {line}", show(at)))
        .collect()
}

/// The lines with the faults of their time among them, and with what became of the streams of these accounts.
fn with_faults(history: &History, mut lines: Vec<(Time, String)>, accounts: &[Account]) -> Vec<String> {
    let first = lines.iter().map(|(at, _)| *at).min().unwrap_or_default();
    let last = lines.iter().map(|(at, _)| *at).max().unwrap_or_default();
    let near = first.saturating_sub(AROUND)..=last + AROUND;
    let faults = history.faults.iter().filter(|(at, _)| near.contains(at));
    lines.extend(faults.map(|(at, what)| (*at, format!("-- {what}"))));
    // They were noted in the order of time.
    let from = history.streams.partition_point(|(at, ..)| at < near.start());
    let streams = history.streams[from..].iter().take_while(|(at, ..)| at <= near.end());
    let theirs = streams.filter(|(_, client, _)| accounts.contains(&client.account()));
    lines.extend(theirs.map(|(at, client, what)| (*at, format!("-- {client}: {what}"))));
    lines.sort();
    let left = lines.len().saturating_sub(LINES);
    let mut told: Vec<String> = lines
        .into_iter()
        .take(LINES)
        .map(|(at, line)| format!("{} {line}", show(at)))
        .collect();
    if left > 0 {
        told.push(format!("… {left} lines more"));
    }
    told
}

/// The entries around one place of an archive.
pub(super) fn excerpt(history: &History, reader: ClientId, entries: &[Entry], at: usize) -> String {
    let from = at.saturating_sub(BESIDE).min(entries.len());
    let to = (at + BESIDE + 1).min(entries.len());
    let shown: Vec<String> = entries[from..to]
        .iter()
        .map(|entry| {
            let what = entry.op.map_or("(none of ours)".to_owned(), |op| op.to_string());
            format!("{what} {}", history.name(entry.sid))
        })
        .collect();
    format!(
        "{reader} read {} entries, {from} to {to} of them: {}",
        entries.len(),
        shown.join(", ")
    )
}
