//! R1 to R6: what holds of rooms, each of which has an archive, an order and occupants.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::story::{excerpt, saying_story};
use crate::history::{ClientId, Entry, History, OpId, Sid, Violation};
use crate::rooms::{Hearing, RoomId, Saying, nick_of};

/// Where messages stand in the archive of a room.
type Places = HashMap<OpId, Vec<(usize, Sid)>>;

/// An archive as the first of its readers read it.
struct Archive {
    places: Places,
    /// By place; None: none of ours.
    ops: Vec<Option<OpId>>,
}

pub(super) fn check(history: &History, found: &mut Vec<Violation>) {
    let archives = read_archives(history, found);
    let mut sayings: Vec<(&OpId, &Saying)> = history.rooms.sayings.iter().collect();
    sayings.sort_unstable_by_key(|(op, _)| **op);
    for (op, saying) in &sayings {
        // A room that nobody could read says nothing.
        let Some(archive) = archives.get(&saying.room) else {
            continue;
        };
        for (rule, what) in faults_of(history, archive, **op, saying) {
            found.push(Violation {
                rule,
                what: format!("{op} in {}: {what}", saying.room),
                story: saying_story(history, **op, None),
            });
        }
    }
    for (room, archive) in &archives {
        senders(history, *room, archive, found);
    }
    stays(history, &archives, &sayings, found);
    views(history, found);
}

/// What was read, with what is wrong in it by itself; and that all read the same.
fn read_archives(history: &History, found: &mut Vec<Violation>) -> BTreeMap<RoomId, Archive> {
    let mut archives: BTreeMap<RoomId, (ClientId, &Vec<Entry>)> = BTreeMap::new();
    for ((reader, room), entries) in &history.rooms.archives {
        let Some((first, before)) = archives.get(room) else {
            archives.insert(*room, (*reader, entries));
            continue;
        };
        let most = entries.len().max(before.len());
        if let Some(at) = (0..most).find(|at| entries.get(*at) != before.get(*at)) {
            found.push(Violation {
                rule: "R2",
                what: format!("{first} and {reader} read different archives of {room}, from entry {at} on"),
                story: vec![
                    excerpt(history, *first, before, at),
                    excerpt(history, *reader, entries, at),
                ],
            });
        }
    }
    let read = archives.into_iter();
    read.map(|(room, (reader, entries))| (room, read_archive(history, room, reader, entries, found)))
        .collect()
}

fn read_archive(
    history: &History,
    room: RoomId,
    reader: ClientId,
    entries: &[Entry],
    found: &mut Vec<Violation>,
) -> Archive {
    let mut places = Places::new();
    let mut ids: HashSet<Sid> = HashSet::new();
    for (at, entry) in entries.iter().enumerate() {
        let mut broken = |rule, what| {
            found.push(Violation {
                rule,
                what: format!("{reader} read {what} in the archive of {room}"),
                story: vec![excerpt(history, reader, entries, at)],
            });
        };
        if !ids.insert(entry.sid) {
            broken("R2", format!("{} twice", history.name(entry.sid)));
        }
        let is_ours = |op: &OpId| history.rooms.sayings.get(op).is_some_and(|saying| saying.room == room);
        match entry.op.filter(is_ours) {
            Some(op) => places.entry(op).or_default().push((at, entry.sid)),
            None => broken("R5", "a message that nobody said there".to_owned()),
        }
    }
    Archive {
        places,
        ops: entries.iter().map(|entry| entry.op).collect(),
    }
}

/// What is wrong with one message: rule and words.
fn faults_of(history: &History, archive: &Archive, op: OpId, saying: &Saying) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let places = archive.places.get(&op).map(Vec::as_slice).unwrap_or_default();
    let first = saying.heard.first();
    if saying.error.is_some() {
        if let Some(heard) = first {
            found.push(("R5", format!("was answered with an error, and {} heard it", heard.by)));
        } else if !places.is_empty() {
            found.push(("R5", "was answered with an error, and is in the archive".to_owned()));
        }
        return found;
    }
    match (places.len(), &saying.acked) {
        (0, Some(_)) => found.push(("R1", "was acked, and is not in the archive".to_owned())),
        (0, None) => {
            if let Some(heard) = first {
                found.push(("R5", format!("came to {}, and is not in the archive", heard.by)));
            }
        }
        (1, _) => {}
        (more, _) => found.push(("R1", format!("is {more} times in the archive"))),
    }
    let is_another = |heard: &&Hearing| match (heard.sid, places) {
        (None, _) => true,
        (Some(_), []) => false,
        (Some(sid), places) => places.iter().all(|(_, stored)| *stored != sid),
    };
    if let Some(heard) = saying.heard.iter().find(is_another) {
        let id = heard.sid.map_or("no id", |sid| history.name(sid));
        found.push((
            "R2",
            format!("came to {} with {id}, which it has not in the archive", heard.by),
        ));
    }
    found
}

/// R2: an archive has the messages of each client in the order in which it first sent them.
fn senders(history: &History, room: RoomId, archive: &Archive, found: &mut Vec<Violation>) {
    let mut last: HashMap<ClientId, OpId> = HashMap::new();
    let mut told: HashSet<ClientId> = HashSet::new();
    for op in archive.ops.iter().flatten() {
        // What stands twice is told elsewhere.
        if archive.places.get(op).is_none_or(|places| places.len() > 1) {
            continue;
        }
        match last.insert(op.client, *op) {
            Some(before) if before.number > op.number && told.insert(op.client) => {
                let mut story = saying_story(history, *op, None);
                story.extend(saying_story(history, before, None));
                found.push(Violation {
                    rule: "R2",
                    what: format!(
                        "{} said {op} before {before}, and in {room} it stands behind it",
                        op.client
                    ),
                    story,
                });
            }
            _ => {}
        }
    }
}

/// What one client heard in a room during one stay, and at which place of the archive it stands.
type Heard = Vec<(u64, usize, OpId)>;

/// R2 and R3: a stay hears everything between the first and the last that it hears, once and in order; one that is not
/// over at the end hears everything from the first on. Of each the first place is told.
fn stays(
    history: &History,
    archives: &BTreeMap<RoomId, Archive>,
    sayings: &[(&OpId, &Saying)],
    found: &mut Vec<Violation>,
) {
    let mut stays: BTreeMap<(ClientId, u32, RoomId), Heard> = BTreeMap::new();
    for (op, saying) in sayings {
        let places = archives.get(&saying.room).and_then(|archive| archive.places.get(op));
        // What stands nowhere or twice is told elsewhere.
        let Some([(at, _)]) = places.map(Vec::as_slice) else {
            continue;
        };
        for heard in &saying.heard {
            let stay = stays.entry((heard.by, heard.stay, saying.room)).or_default();
            stay.push((heard.order, *at, **op));
        }
    }
    // Where the stay before has ended: nobody comes back to what he has heard.
    let mut ends: HashMap<(ClientId, RoomId), (usize, OpId)> = HashMap::new();
    for ((client, stay, room), mut heard) in stays {
        heard.sort_unstable();
        let mut tell = |rule, what: String, one: OpId, other: OpId| {
            let mut story = saying_story(history, one, Some(client));
            if one != other {
                story.extend(saying_story(history, other, Some(client)));
            }
            let what = format!("{client} in {room}, stay {stay}: {what}");
            found.push(Violation { rule, what, story });
        };
        let mut last = ends.get(&(client, room)).copied();
        for (_, at, op) in &heard {
            if let Some((before, earlier)) = last
                && before >= *at
            {
                let what = match before == *at {
                    true => format!("{op} came twice"),
                    false => format!("{op} came behind {earlier}, and stands before it in the archive"),
                };
                tell("R2", what, earlier, *op);
                break;
            }
            last = Some((*at, *op));
        }
        let places: BTreeMap<usize, OpId> = heard.iter().map(|(_, at, op)| (*at, *op)).collect();
        let (Some((first, _)), Some((end, last))) = (places.first_key_value(), places.last_key_value()) else {
            continue;
        };
        ends.insert((client, room), (*end, *last));
        let archive = &archives[&room];
        let is_open = history
            .rooms
            .views
            .get(&(client, room))
            .is_some_and(|view| view.stay == stay);
        let end = if is_open { archive.ops.len() } else { *end };
        let missed = (*first..end).find_map(|at| archive.ops[at].filter(|_| !places.contains_key(&at)));
        if let Some(missed) = missed {
            let count = (*first..end).filter(|at| !places.contains_key(at)).count();
            let what = match is_open {
                true => format!("misses {count} messages since it came, the first of them {missed}"),
                false => format!("misses {count} messages between those that it heard, the first of them {missed}"),
            };
            tell("R3", what, missed, *last);
        }
    }
}

/// R6: at the end everybody who is in a room knows who else is, and of nobody who is not.
fn views(history: &History, found: &mut Vec<Violation>) {
    let mut here: BTreeMap<RoomId, BTreeSet<String>> = BTreeMap::new();
    for (client, room) in history.rooms.views.keys() {
        here.entry(*room).or_default().insert(nick_of(*client));
    }
    for ((client, room), view) in &history.rooms.views {
        let here = &here[room];
        let ghosts: Vec<&String> = view.nicks.difference(here).collect();
        let unseen: Vec<&String> = here.difference(&view.nicks).collect();
        if !ghosts.is_empty() || !unseen.is_empty() {
            found.push(Violation {
                rule: "R6",
                what: format!("{client} sees {ghosts:?} in {room}, who are not there, and not {unseen:?}, who are"),
                story: Vec::new(),
            });
        }
    }
}
