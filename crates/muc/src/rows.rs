//! What stands in the store of rooms.
//!
//! The owner of a room's row is its service; the owner of the rows of who belongs to it is the room.

use module::ArchiveIds;
use stanza::Jid;
use store::{Batch, Column, Found, Query, Row, Shape, StoreError, Table, Value, row};

use crate::avatar::Avatar;
use crate::config::Config;
use crate::extension;
use crate::history::{self, History};
use crate::listing::{self, ARCHIVES, CREATORS, LISTED};
use crate::rank::Affiliation;
use crate::room::{Limits, Room, Subject};
use crate::shared::Shared;
use crate::standings::{Standing, Standings};

/// Rooms by the local part of their address.
pub static ROOMS: Table = Table {
    name: "rooms",
    shape: Shape::Map,
    columns: &[
        Column::text("config"),
        Column::text("subject"),
        Column::text("subject_from"),
        Column::int("subject_at"),
        Column::text("creator"),
        Column::text("subject_id"),
    ],
};

/// Affiliations by bare JID or domain.
pub static AFFILIATIONS: Table = Table {
    name: "room_affiliations",
    shape: Shape::Map,
    columns: &[
        Column::text("affiliation"),
        Column::text("nick"),
        Column::text("reason"),
    ],
};

/// By bare JID or domain: the addresses of the rooms in which it has an affiliation.
static BELONGS: Table = Table {
    name: "rooms_of",
    shape: Shape::Map,
    // There is nothing to say but that it is there, and a table has a column.
    columns: &[Column::int("belongs")],
};

/// The rooms in which somebody has an affiliation: rows by their addresses.
pub fn rooms_of(bare: &str) -> Query {
    Query::all(&BELONGS, bare)
}

/// All tables of rooms.
pub fn tables() -> Vec<&'static Table> {
    let more = extension::tables().map(|kept| kept.table);
    [&ROOMS, &AFFILIATIONS, &BELONGS, &LISTED, &CREATORS, &ARCHIVES]
        .into_iter()
        .chain(more)
        .collect()
}

/// Everything of a room, with its last messages; [`read`] understands the answer.
pub fn get(jid: &Jid, limits: &Limits) -> Query {
    let mut queries = vec![
        Query::get(&ROOMS, jid.domain(), jid.local().unwrap_or_default()),
        Query::all(&AFFILIATIONS, jid.bare_str()),
        history::last(jid, limits.history),
    ];
    queries.extend(extension::tables().map(|kept| kept.query(jid.bare_str())));
    Query::Many(queries)
}

/// None: there is no such room.
pub fn read(jid: &Jid, ids: &ArchiveIds, found: Found) -> Result<Option<Room>, StoreError> {
    let mut found = found.many()?.into_iter();
    let (Some(room), Some(standings), Some(past)) = (found.next(), found.next(), found.next()) else {
        return Ok(None);
    };
    let Some(room) = room.row()? else { return Ok(None) };
    let text = |at: usize| room.get(at).and_then(Value::as_text).unwrap_or_default();
    let subject = Subject {
        elements: text(1).to_owned(),
        from: text(2).into(),
        at: room.get(3).and_then(Value::as_int).unwrap_or_default(),
        id: text(5).into(),
    };
    let mut belong = Standings::default();
    for (jid, row) in standings.rows()? {
        if let Some(standing) = standing(&row) {
            belong.insert(jid, standing);
        }
    }
    let mut room = Room {
        jid: jid.to_bare(),
        creator: text(4).into(),
        config: Config::of_text(text(0)),
        standings: belong.into(),
        occupants: Shared::default(),
        subject,
        history: History::of_archive(jid, ids, &past.archive()?).into(),
        invitations: Shared::default(),
        requests: Shared::default(),
        privates: Shared::default(),
        applications: Shared::default(),
        voices: Shared::default(),
        versions: Shared::default(),
        avatar: Avatar::default(),
        hats: Shared::default(),
        slow_mode: Shared::default(),
        activity: Shared::default(),
        is_locked: false,
        is_destroyed: false,
    };
    for (kept, found) in extension::tables().zip(found) {
        (kept.read)(&mut room, found)?;
    }
    Ok(Some(room))
}

fn standing(row: &Row) -> Option<Standing> {
    let text = |at: usize| row.get(at).and_then(Value::as_text).filter(|text| !text.is_empty());
    Some(Standing {
        affiliation: Affiliation::read(text(0)?)?,
        nick: text(1).map(Into::into),
        reason: text(2).map(Into::into),
    })
}

/// All of a room: when its creator has configured it.
pub(crate) fn save(room: &Room) -> Batch {
    room.standings
        .keys()
        .fold(listing::begin(save_room(room), room), |batch, jid| {
            save_standing(batch, room, jid)
        })
}

/// Without who belongs to it.
pub(crate) fn save_room(room: &Room) -> Batch {
    let row = row![
        room.config.to_text(),
        room.subject.elements.as_str(),
        &*room.subject.from,
        room.subject.at,
        &*room.creator,
        &*room.subject.id,
    ];
    let batch = Batch::new().put(&ROOMS, room.jid.domain(), room.jid.local().unwrap_or_default(), row);
    listing::save(batch, room)
}

/// One who belongs to it, or does no more.
pub(crate) fn save_standing(batch: Batch, room: &Room, jid: &str) -> Batch {
    let owner = room.jid.bare_str();
    match room.standings.get(jid) {
        None => batch.delete(&AFFILIATIONS, owner, jid).delete(&BELONGS, jid, owner),
        Some(standing) => {
            let row = row![
                standing.affiliation.name(),
                standing.nick.as_deref().unwrap_or_default(),
                standing.reason.as_deref().unwrap_or_default(),
            ];
            batch
                .put(&AFFILIATIONS, owner, jid, row)
                .put(&BELONGS, jid, owner, row![1_i64])
        }
    }
}

/// Nothing is left of it; also its archive.
pub(crate) fn forget(room: &Room) -> Batch {
    let people = room.standings.keys();
    let batch = people
        .fold(Batch::new(), |batch, jid| {
            batch.delete(&BELONGS, jid, room.jid.bare_str())
        })
        .delete(&ROOMS, room.jid.domain(), room.jid.local().unwrap_or_default())
        .forget(room.jid.bare_str())
        .horizon(room.jid.bare_str(), i64::MAX);
    listing::forget(batch, room)
}
