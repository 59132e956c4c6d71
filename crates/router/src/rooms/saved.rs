//! Occupants outlive a stop in good order (guarantee G7): who may resume a stream is in the room then as before.
//!
//! At the stop all other sessions have ended, and left. What is written here is put back before anything listens, and
//! deleted first, as with `saved` sessions.

use std::sync::Arc;

use module::Now;
use muc::{Returning, Role};
use stanza::{Jid, Rendered};
use store::{Batch, Column, Found, Query, Shape, StoreError, Table, Value};

use crate::Router;
use crate::account::Moment;
use crate::saved::{Reader, Writer};

use super::{Place, Slot};

/// Who was in a room.
pub(crate) static OCCUPANTS: Table = Table {
    name: "saved_occupants",
    shape: Shape::KeyVal,
    columns: &[Column::blob("occupants")],
};

/// Rooms that are put back with one read and one write.
const RESTORED_AT_ONCE: usize = 64;

impl Router {
    /// Writes down who is in which room, behind the sessions.
    pub(crate) fn save_occupants(&self) {
        let mut writes = Vec::new();
        self.each_place(|place| {
            let state = place.lock();
            let Slot::There(room) = &state.room else { return };
            let mut out = Writer::default();
            for returning in room.returning() {
                out.bytes(returning.nick.as_bytes());
                out.bytes(returning.role.name().as_bytes());
                out.number(returning.sessions.len() as i64);
                for (jid, presence) in &returning.sessions {
                    out.bytes(jid.as_str().as_bytes());
                    out.bytes(presence.text().as_bytes());
                }
            }
            if out.0.is_empty() {
                return;
            }
            let batch = Batch::new().put(&OCCUPANTS, place.jid.as_str(), None, vec![Value::from(out.0)]);
            let jid = place.jid.clone();
            let done: store::Written = Box::new(move |result| {
                if let Err(error) = result {
                    tracing::warn!(room = %jid, %error, "who is in the room could not be saved; the clients enter anew");
                }
            });
            writes.push((batch, done));
        });
        self.store.write_many(writes);
    }

    /// Puts them back. Blocking.
    pub(crate) fn restore_occupants(&self, now: Now) -> Result<(), StoreError> {
        let mut after = None::<Box<str>>;
        loop {
            let query = Query::owners(&OCCUPANTS, after.as_deref(), RESTORED_AT_ONCE);
            let rows = self.store.read_wait(query).and_then(Found::owners)?;
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = Some(last.clone());
            let batch = rows
                .iter()
                .fold(Batch::new(), |batch, (room, _)| batch.delete(&OCCUPANTS, room, None));
            self.store.write_wait(batch)?;
            for (room, row) in rows {
                let saved = row.first().and_then(Value::as_blob).unwrap_or_default();
                match Jid::parse(&room).ok().zip(read(saved)) {
                    Some((jid, returning)) => {
                        let place = Place::new(jid, Slot::Loading(returning));
                        place.lock().touched = Moment::of(now.seconds());
                        self.room_shard(&room).insert(room.clone(), Arc::clone(&place));
                        self.load_room(&place, None);
                    }
                    None => tracing::warn!(room = %room, "who was in a room cannot be read; the clients enter anew"),
                }
            }
        }
    }
}

fn read(saved: &[u8]) -> Option<Vec<Returning>> {
    let (mut reader, mut found) = (Reader(saved), Vec::new());
    while !reader.0.is_empty() {
        let nick = reader.text()?.into();
        let role = Role::read(reader.text()?)?;
        let mut sessions = Vec::new();
        for _ in 0..reader.number()? {
            let jid = Arc::new(Jid::parse(reader.text()?).ok()?);
            sessions.push((jid, Rendered::from_text(reader.text()?)));
        }
        found.push(Returning { nick, role, sessions });
    }
    Some(found)
}
