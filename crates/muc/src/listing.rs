//! Which rooms of a service everybody may find (XEP-0045 section 6.3), and how many are there because of whom.
//!
//! Both follow from the row of a room and are written with it. They are tables of their own so that a list is read by
//! page, and a number counted, without a look at all other rooms.

use store::{Batch, Column, Keys, Query, Row, Shape, Table, Value, row};

use crate::room::Room;

/// Rooms that are in the list, by service. Its keys have a prefix, as a page of a whole map cannot be asked for.
pub static LISTED: Table = Table {
    name: "rooms_listed",
    shape: Shape::Map,
    columns: &[
        Column::text("name"),
        Column::text("description"),
        Column::text("language"),
        // Everybody comes in, without a password.
        Column::int("open"),
        Column::int("non_anonymous"),
    ],
};

/// By who has made them: their addresses.
pub static CREATORS: Table = Table {
    name: "room_creators",
    shape: Shape::Map,
    // There is nothing to say but that it is there, and a table has a column.
    columns: &[Column::int("made")],
};

/// All rooms, by address: so that those are found whose archives are too large.
pub static ARCHIVES: Table = Table {
    name: "room_archives",
    shape: Shape::KeyVal,
    columns: &[Column::int("kept")],
};

const PREFIX: &str = "=";

/// A room in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The local part of its address.
    pub local: Box<str>,
    pub name: String,
    pub description: String,
    pub language: String,
    pub is_open: bool,
    pub non_anonymous: bool,
}

impl Listed {
    pub fn read(key: &str, row: &Row) -> Option<Listed> {
        let text = |at: usize| row.get(at).and_then(Value::as_text).unwrap_or_default().to_owned();
        let is = |at: usize| row.get(at).and_then(Value::as_int) == Some(1);
        Some(Listed {
            local: key.strip_prefix(PREFIX)?.into(),
            name: text(0),
            description: text(1),
            language: text(2),
            is_open: is(3),
            non_anonymous: is(4),
        })
    }
}

/// A part of the list of a service, in the order of the local parts: behind one and before another, none of which need be
/// there.
pub fn listed(service: &str, after: Option<&str>, before: Option<&str>, limit: usize) -> Keys {
    let key = |local: &str| key(local).into();
    Keys {
        after: after.map(key),
        before: before.map(key),
        ..Keys::of(&LISTED, service, PREFIX, limit)
    }
}

/// How many rooms are there because of this bare JID.
pub fn count_made(creator: &str) -> Query {
    Query::count(&CREATORS, creator)
}

fn key(local: &str) -> String {
    format!("{PREFIX}{local}")
}

/// With each change of its row.
pub(crate) fn save(batch: Batch, room: &Room) -> Batch {
    let (service, config) = (room.jid.domain(), &room.config);
    let key = key(room.jid.local().unwrap_or_default());
    if !config.public {
        return batch.delete(&LISTED, service, &*key);
    }
    let row = row![
        config.name.as_str(),
        config.description.as_str(),
        config.language.as_str(),
        i64::from(!config.members_only && config.password.is_empty()),
        i64::from(config.non_anonymous),
    ];
    batch.put(&LISTED, service, &*key, row)
}

/// When its row is written for the first time.
pub(crate) fn begin(batch: Batch, room: &Room) -> Batch {
    batch
        .put(&CREATORS, &room.creator, room.jid.bare_str(), row![1])
        .put(&ARCHIVES, room.jid.bare_str(), None, row![1])
}

pub(crate) fn forget(batch: Batch, room: &Room) -> Batch {
    batch
        .delete(&LISTED, room.jid.domain(), &*key(room.jid.local().unwrap_or_default()))
        .delete(&CREATORS, &room.creator, room.jid.bare_str())
}

#[cfg(test)]
mod tests {
    use stanza::Jid;
    use store::Op;

    use super::*;
    use crate::Decided;

    /// Tables of which something is deleted.
    fn deleted(decided: &Decided) -> Vec<&'static str> {
        let Decided::Write(batch, _) = decided else {
            return Vec::new();
        };
        let ops = batch.ops.iter().filter_map(|op| match op {
            Op::Delete { table, .. } => Some(table.name),
            _ => None,
        });
        ops.collect()
    }

    #[test]
    fn a_temporary_room_that_was_left_behind_ends() {
        let jid = Jid::parse("cave@conference.example.org").expect("a JID");
        let creator = Jid::parse("crone@example.org/x").expect("a JID");
        for (persistent, ends) in [(true, false), (false, true)] {
            let rooms = module::Rooms {
                persistent,
                ..module::Rooms::default()
            };
            let mut room = Room::create(&jid, creator.as_ref()).like(&rooms);
            room.is_locked = false;
            let deleted = deleted(&room.abandon());
            for table in ["rooms", "rooms_listed", "room_creators"] {
                assert_eq!(deleted.contains(&table), ends, "{deleted:?}");
            }
        }
    }
}
