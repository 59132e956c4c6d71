//! XEP-0486 MUC Avatars 0.1.0: the picture of a room, in a vCard (XEP-0054) that its owners set and everybody may read.
//!
//! What the room has in memory are the hashes, which disco#info tells; the vCard stands in the store alone. Presence of the
//! room itself says nothing of it: section 5.2 advises against it, as clients take it for an occupant without a name.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use module::{DataField, FieldType};
use sha1::{Digest as _, Sha1};
use stanza::{Jid, JidRef, Stanza, StanzaError, ns};
use store::{Batch, Column, Found, Query, Row, Shape, StoreError, Table, Value, row};
use xmlstream::Child;

use crate::extension::{Extension, Kept, Request};
use crate::rank::Affiliation;
use crate::room::{Answer, Context, Decided, Room};
use crate::say::{Say, error, result};

pub(crate) const EXTENSION: Extension = Extension {
    features: |_| &[ns::VCARD],
    info,
    requests: &[
        Request::get("vCard", ns::VCARD, Room::vcard),
        Request::set("vCard", ns::VCARD, Room::set_vcard),
    ],
    tables: &[Kept { table: &VCARDS, read }],
    ..Extension::NONE
};

/// Bytes of a vCard, with the picture in it in Base64; more is `not-acceptable`.
const VCARD_BYTES: usize = 128 * 1024;
/// Formats of the picture; more are `not-acceptable`, as all their hashes are told.
const FORMATS: usize = 8;

/// vCards of rooms. Hashes are hexadecimal and have a space between them.
static VCARDS: Table = Table {
    name: "room_vcards",
    shape: Shape::KeyVal,
    columns: &[Column::text("hashes"), Column::text("vcard")],
};

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a room knows of its picture: a hash for each format of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Avatar(Vec<Box<str>>);

fn info(room: &Room, _: &Context<'_>) -> Vec<DataField> {
    let field = DataField::new("muc#roominfo_avatarhash", FieldType::TextMulti, "Avatar hash");
    let hashes = room.avatar.0.iter().map(|hash| String::from(&**hash));
    match room.avatar.0.is_empty() {
        true => Vec::new(),
        false => vec![field.values(hashes)],
    }
}

fn read(room: &mut Room, found: Found) -> Result<(), StoreError> {
    let row = found.row()?;
    let hashes = row.as_ref().and_then(|row| row.first()?.as_text()).unwrap_or_default();
    room.avatar = Avatar(hashes.split_ascii_whitespace().map(Into::into).collect());
    Ok(())
}

/// The hashes of the pictures in a vCard, as XEP-0153 section 4.1 makes them.
fn hashes(vcard: &Child<'_>) -> Result<Vec<Box<str>>, StanzaError> {
    let photos = vcard.children().filter(|child| child.is("PHOTO", ns::VCARD));
    let mut hashes = Vec::new();
    for data in photos.filter_map(|photo| photo.child("BINVAL", ns::VCARD)) {
        let text: String = data.text().chars().filter(|c| !c.is_ascii_whitespace()).collect();
        if text.is_empty() {
            continue;
        }
        let bytes = BASE64.decode(&text);
        let bytes = bytes.map_err(|_| StanzaError::bad_request().text("the picture is not Base64"))?;
        let digits = Sha1::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        hashes.push(digits.into());
    }
    match hashes.len() > FORMATS {
        true => Err(StanzaError::not_acceptable().text("the picture has too many formats")),
        false => Ok(hashes),
    }
}

impl Room {
    /// Section 4.4; also for who is not in the room.
    fn vcard(
        &mut self,
        _: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        _: &Child<'_>,
    ) -> Decided {
        let not_there = error(stanza, from, to.as_str(), &StanzaError::item_not_found());
        let failed = error(stanza, from, to.as_str(), &StanzaError::internal_server_error());
        // The place of the vCard is in it.
        let answer = result(stanza, from, to.as_str(), "");
        let query = Query::get(&VCARDS, self.jid.bare_str(), None);
        let say = move |found: Result<Found, StoreError>| {
            let text = |row: Row| row.get(1).and_then(Value::as_text).map(str::to_owned);
            match found.and_then(Found::row).map(|row| row.and_then(text)) {
                Ok(Some(vcard)) => vec![Say {
                    stanza: answer.stanza.with(&vcard),
                    ..answer
                }],
                Ok(None) => not_there.into_iter().collect(),
                Err(_) => failed.into_iter().collect(),
            }
        };
        Decided::Ask(query, Answer::new(say))
    }

    /// Section 4.2; an empty one takes the picture away.
    fn set_vcard(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        vcard: &Child<'_>,
    ) -> Decided {
        let (text, hashes) = match self.new_vcard(context, from, vcard) {
            Ok(new) => new,
            Err(error) => return self.refuse(stanza, from, to, &error),
        };
        let room = self.jid.bare_str();
        let batch = match vcard.children().next() {
            None => Batch::new().delete(&VCARDS, room, None),
            Some(_) => Batch::new().put(&VCARDS, room, None, row![hashes.join(" "), text]),
        };
        self.avatar = Avatar(hashes);
        let done = result(stanza, from, to.as_str(), "");
        self.decided(batch, vec![done, self.has_changed(&[104])])
    }

    fn new_vcard(
        &self,
        context: &Context<'_>,
        from: &Jid,
        vcard: &Child<'_>,
    ) -> Result<(String, Vec<Box<str>>), StanzaError> {
        if self.right_of(context, from.as_ref()) < Affiliation::Owner {
            return Err(StanzaError::forbidden().text("only owners set the picture of a room"));
        }
        // Nothing of it is in the store.
        if self.is_locked {
            return Err(StanzaError::not_allowed().text("the room is not configured yet"));
        }
        let mut text = String::new();
        vcard.write_canonical("", &mut text);
        if text.len() > VCARD_BYTES {
            return Err(StanzaError::not_acceptable().text("the vCard is too long"));
        }
        Ok((text, hashes(vcard)?))
    }
}
