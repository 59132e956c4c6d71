//! Voice that stays (XEP-0045 section 5.1): in a moderated room a role is kept across visits, so that who was given voice
//! need not ask again, and whose voice was revoked does not get it back by coming in once more.
//!
//! Moderators are not kept: what is more than speaking is given for a visit, or comes with an affiliation.

use std::collections::BTreeMap;

use store::{Batch, Column, Found, Shape, StoreError, Table, Value, row};

use crate::extension::{Extension, Kept};
use crate::rank::{Affiliation, Role};
use crate::room::Room;

pub(crate) const EXTENSION: Extension = Extension {
    tables: &[Kept { table: &VOICES, read }],
    ..Extension::NONE
};

/// Of a room. What is more lasts for the visit.
const MOST: usize = 1_000;

/// Roles by bare JID, where they are not what the affiliation brings.
static VOICES: Table = Table {
    name: "room_voices",
    shape: Shape::Map,
    columns: &[Column::text("role")],
};

#[derive(Clone, Debug, Default)]
pub(crate) struct Voices(pub(crate) BTreeMap<Box<str>, Role>);

fn read(room: &mut Room, found: Found) -> Result<(), StoreError> {
    for (jid, row) in found.rows()? {
        if let Some(role) = row.first().and_then(Value::as_text).and_then(Role::read) {
            room.voices.0.insert(jid, role);
        }
    }
    Ok(())
}

impl Room {
    /// With which role somebody comes in.
    pub(crate) fn role_at_entry(&self, affiliation: Affiliation, bare: &str) -> Role {
        let usual = affiliation.role(self.config.moderated);
        match self.voices.0.get(bare) {
            Some(role) if self.config.moderated && usual < Role::Moderator => *role,
            _ => usual,
        }
    }

    /// Somebody was given voice, or lost it.
    pub(crate) fn keep_voice(&mut self, batch: Batch, bare: &str, affiliation: Affiliation, role: Role) -> Batch {
        if !self.config.moderated || !matches!(role, Role::Visitor | Role::Participant) {
            return batch;
        }
        if role == affiliation.role(true) {
            return self.forget_voice(batch, bare);
        }
        if self.voices.0.len() >= MOST && !self.voices.0.contains_key(bare) {
            return batch;
        }
        self.voices.0.insert(bare.into(), role);
        batch.put(&VOICES, self.jid.bare_str(), bare, row![role.name()])
    }

    /// Somebody's affiliation is another, and says what he is.
    pub(crate) fn forget_voice(&mut self, batch: Batch, bare: &str) -> Batch {
        match self.voices.0.remove(bare) {
            Some(_) => batch.delete(&VOICES, self.jid.bare_str(), bare),
            None => batch,
        }
    }

    /// The room is moderated no more.
    pub(crate) fn forget_voices(&mut self, batch: Batch) -> Batch {
        let room = self.jid.bare_str();
        let forgotten = std::mem::take(&mut self.voices.0);
        forgotten
            .keys()
            .fold(batch, |batch, jid| batch.delete(&VOICES, room, &**jid))
    }
}
