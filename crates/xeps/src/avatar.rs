//! The picture of an account: XEP-0084 User Avatar 1.1.4 at two nodes, and XEP-0398 User Avatar to vCard-Based Avatars
//! Conversion 1.0.0, by which it is the photo of the vCard (`vcard.rs`) and stands in presence (XEP-0153 1.1.1, which
//! `router/src/photo.rs` adds).
//!
//! The picture stands once: at the node for the data. Who asks for the vCard is given it from there, if he may read both
//! nodes (section 6). What stands beside is a row that says which picture it is ([`PHOTO`]); it changes with the nodes, in
//! the same batch, and the account's owner knows what it says.
//!
//! **Which of several formats.** XEP-0398 section 3.1 wants one that is no link. Of these it is the first that is
//! `image/png`, or else the first. It has to stand at the data node under the hash that it has: what does not is no
//! picture of the vCard, and none in presence. The media type is what the account says it is: no image is decoded.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use module::{Change, Coverage, Deed, Face, Module, Occasion, Step};
use presence::photo::{PHOTO, Picture, hex, read_hex};
use pubsub::{Context, Looked, look, look_for};
use sha1::{Digest, Sha1};
use stanza::{ErrorType, StanzaError};
use store::{Found, Query, StoreError};
use xmlstream::{Element, Limits, Scratch};

pub(crate) const DATA: &str = "urn:xmpp:avatar:data";
pub(crate) const METADATA: &str = "urn:xmpp:avatar:metadata";
const CONVERSION: &str = "urn:xmpp:pep-vcard-conversion:0";

/// Formats of a picture that are looked at.
const FORMATS: usize = 16;

/// Bytes of a media type; a longer one is not told.
const KIND_BYTES: usize = 64;

/// Of what stands in the store, which was checked when it came: a payload or a vCard.
const STORED: Limits = Limits {
    bytes: 1024 * 1024,
    elements: usize::MAX,
    depth: 1024,
    attributes: 1024,
    namespaces: 1024,
    name: 4096,
};

/// Some clients leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub(crate) fn module() -> Module {
    Module::new("avatar")
        .xep(84, "User Avatar", "1.1.4", Coverage::Complete)
        .xep(153, "vCard-Based Avatars", "1.1.1", Coverage::Complete)
        .xep(
            398,
            "User Avatar to vCard-Based Avatars Conversion",
            "1.0.0",
            Coverage::Complete,
        )
        .kept_accounts_only()
        .account_feature(CONVERSION)
        .face(Face {
            nodes: &[METADATA, DATA],
            follow,
        })
}

/// Reads one element that stands on its own.
pub(crate) fn read<R>(text: &str, then: impl FnOnce(&Element<'_>) -> R) -> Option<R> {
    let mut scratch = Scratch::default();
    let element = xmlstream::parse_element(text, "", &mut scratch, &STORED).ok()?;
    Some(then(&element))
}

/// The bytes of a picture, and these in Base64 without white space, which has to be taken (XEP-0084 section 4.1, XEP-0153
/// section 3.6). None: that is no Base64, or nothing.
pub(crate) fn decode(text: &str) -> Option<(Vec<u8>, String)> {
    let text: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let bytes = BASE64.decode(&text).ok().filter(|bytes| !bytes.is_empty())?;
    let text = BASE64.encode(&bytes);
    Some((bytes, text))
}

pub(crate) fn hash(bytes: &[u8]) -> [u8; 20] {
    Sha1::digest(bytes).into()
}

/// A picture at the data node, in Base64.
pub(crate) fn data_of(payload: &str) -> Option<String> {
    read(payload, |element| {
        (element.name() == "data" && element.ns() == DATA).then(|| element.text().into_owned())
    })?
}

pub(crate) fn write_data(base64: &str) -> String {
    format!("<data xmlns='{DATA}'>{base64}</data>")
}

/// XEP-0084 section 4.2.1.
pub(crate) fn write_metadata(hash: &[u8; 20], bytes: usize, kind: &str) -> String {
    let mut out = format!(
        "<metadata xmlns='{METADATA}'><info bytes='{bytes}' id='{}' type='",
        hex(hash)
    )
    .into_bytes();
    xmlstream::escape_attr(&mut out, kind);
    out.extend_from_slice(b"'/></metadata>");
    // Escaping text yields text.
    String::from_utf8(out).unwrap_or_default()
}

/// Section 3.2 of XEP-0084: no picture is shown.
pub(crate) fn write_none() -> String {
    format!("<metadata xmlns='{METADATA}'/>")
}

/// Hash and media type of the format that is the photo.
fn chosen(metadata: &str) -> Option<([u8; 20], Box<str>)> {
    let formats = read(metadata, |element| {
        let is_metadata = element.name() == "metadata" && element.ns() == METADATA;
        let infos = element
            .children()
            .filter(|child| is_metadata && child.is("info", METADATA));
        let own = infos.take(FORMATS).filter(|info| info.attr("url").is_none());
        let own = own.filter_map(|info| {
            let kind = info.attr("type").unwrap_or_default();
            Some((read_hex(&info.attr("id")?)?, Box::from(kind.trim_ascii())))
        });
        own.collect::<Vec<([u8; 20], Box<str>)>>()
    })?;
    let is_png = |(_, kind): &&([u8; 20], Box<str>)| **kind == *"image/png";
    let chosen = formats.iter().find(is_png).or(formats.first())?;
    Some(chosen.clone())
}

/// Something has happened at the nodes: which picture is it now?
fn follow(occasion: &Occasion, deeds: &[Deed], change: Change) -> Result<Step, StanzaError> {
    let context = Context::of(occasion);
    let owner = occasion.owner.as_str();
    // Data come before the metadata that speaks of them: what was there may be gone already, and is still the picture.
    let is_under_way = deeds
        .iter()
        .all(|deed| matches!(deed, Deed::Published { node, .. } if **node == *DATA));
    let mut queries = vec![Query::get(&PHOTO, owner, None)];
    queries.extend(look(owner, METADATA));
    queries.extend(look(owner, DATA));
    ask(queries, change, move |mut found, change| {
        let row = found
            .next()
            .map_or(Ok(None), Found::row)
            .map_err(|error| told(&error))?;
        let before = row.as_ref().map(Picture::read);
        let metadata = Looked::read(&context, METADATA, &mut found)?;
        let data = Looked::read(&context, DATA, &mut found)?;
        let owner = context.owner.as_str().to_owned();
        let last = metadata.as_ref().and_then(|metadata| metadata.last.clone());
        let (Some(metadata), Some(data), Some(last)) = (metadata, data, last) else {
            return Ok(Step::Done(set(change, &owner, before, None, is_under_way)));
        };
        let query = vec![look_for(&owner, METADATA, &last)];
        ask(query, change, move |mut found, change| {
            let item = found.next().map_or(Ok(None), |found| metadata.item(found))?;
            let Some((hash, kind)) = item.and_then(|item| chosen(&item)) else {
                return Ok(Step::Done(set(change, &owner, before, None, is_under_way)));
            };
            let query = vec![look_for(&owner, DATA, &hex(&hash))];
            ask(query, change, move |mut found, change| {
                let item = found.next().map_or(Ok(None), |found| data.item(found))?;
                let picture = item.and_then(|item| decode(&data_of(&item)?));
                // Section 3.1: it is what it says.
                let picture = picture.filter(|(bytes, _)| self::hash(bytes) == hash);
                let picture = picture.map(|_| Picture {
                    hash: Some(hash),
                    kind: if kind.len() > KIND_BYTES { Box::default() } else { kind },
                    reach: metadata.reach.min(data.reach),
                });
                Ok(Step::Done(set(change, &owner, before, picture, is_under_way)))
            })
        })
    })
}

/// Asks the store, and answers as it will behind the change.
pub(crate) fn ask(
    queries: Vec<Query>,
    change: Change,
    go_on: impl FnOnce(std::vec::IntoIter<Found>, Change) -> Result<Step, StanzaError> + Send + 'static,
) -> Result<Step, StanzaError> {
    let query = Query::Many(queries);
    let asked = query.clone();
    let make = move |found: Result<Found, StoreError>| {
        let found = found.map(|found| change.batch.over(&asked, found));
        let found = found.and_then(Found::many).map_err(|error| told(&error))?;
        go_on(found.into_iter(), change)
    };
    Ok(Step::Ask(query, Box::new(make)))
}

/// The change with the picture that the account has now.
fn set(mut change: Change, owner: &str, before: Option<Picture>, now: Option<Picture>, is_under_way: bool) -> Change {
    if now.is_none() && is_under_way || now == before {
        return change;
    }
    // It never had one.
    let Some(now) = now.or_else(|| before.as_ref().map(|_| Picture::default())) else {
        return change;
    };
    if before.as_ref() == Some(&now) {
        return change;
    }
    let photo = now.photo();
    if before.map(|before| before.photo()) != Some(photo) {
        change.photo = Some(photo);
    }
    change.batch = change.batch.put(&PHOTO, owner, None, now.row());
    change
}

pub(crate) fn told(error: &StoreError) -> StanzaError {
    match error {
        StoreError::Overloaded => StanzaError::resource_constraint().kind(ErrorType::Wait),
        _ => StanzaError::internal_server_error().kind(ErrorType::Wait),
    }
}

/// Nothing of it is for everybody, unless both nodes are.
pub(crate) const PUBLIC: &[(&str, &str)] = &[("access_model", "open")];

#[cfg(test)]
mod tests {
    use module::Reach;

    use super::*;

    #[test]
    fn pictures_are_read() {
        let decoded = |text| decode(text).map(|(bytes, text)| (String::from_utf8_lossy(&bytes).into_owned(), text));
        let good = Some(("picture".to_owned(), "cGljdHVyZQ==".to_owned()));
        for text in ["cGljdHVyZQ==", " cGlj\n dHVy\r\n\tZQ== ", "cGljdHVyZQ", "cGljdHVyZQ="] {
            assert_eq!(decoded(text), good, "{text}");
        }
        for text in ["", " \n", "=", "cGlj dHVy ZQ== x", "cGljdHVy!", "é", "cGl_"] {
            assert_eq!(decoded(text), None, "{text}");
        }
        assert_eq!(data_of(&write_data("abc")).as_deref(), Some("abc"));
        for other in [
            "",
            "<data",
            "<data xmlns='urn:x'>abc</data>",
            "<x xmlns='urn:xmpp:avatar:data'>abc</x>",
        ] {
            assert_eq!(data_of(other), None);
        }
    }

    #[test]
    fn one_of_several_formats() {
        let info = |digit: &str, attributes: &str| format!("<info id='{}' bytes='1' {attributes}/>", digit.repeat(40));
        let linked = "type='image/png' url='https://a/b'";
        for (infos, expected) in [
            (String::new(), None),
            ("<pointer/>".into(), None),
            (info("a", linked), None),
            (info("a", "type='image/gif'"), Some((0xaa, "image/gif"))),
            (info("a", ""), Some((0xaa, ""))),
            (
                info("a", linked) + &info("b", "type='image/webp'"),
                Some((0xbb, "image/webp")),
            ),
            (
                info("a", "type='image/webp'") + &info("b", linked) + &info("c", "type='image/png'"),
                Some((0xcc, "image/png")),
            ),
            (
                info("x", "type='image/png'") + &info("A", "type='image/gif'"),
                Some((0xaa, "image/gif")),
            ),
        ] {
            let expected = expected.map(|(digit, kind)| ([digit; 20], Box::from(kind)));
            let metadata = format!("<metadata xmlns='{METADATA}'>{infos}</metadata>");
            assert_eq!(chosen(&metadata), expected, "{infos}");
        }
        let own = write_metadata(&[0xab; 20], 3, "image/x'y");
        assert_eq!(chosen(&own), Some(([0xab; 20], "image/x'y".into())));
        assert_eq!(chosen(&write_none()), None);
        assert_eq!(chosen(&write_data("abc")), None);
    }

    #[test]
    fn what_is_told_of_a_change() {
        let picture = |digit, reach| Picture {
            hash: Some([digit; 20]),
            kind: "image/png".into(),
            reach,
        };
        let open = |digit| Some(picture(digit, Reach::Anyone));
        let gone = || Some(Picture::default());
        for (before, now, is_under_way, expected) in [
            (None, None, false, None),
            (None, open(1), false, open(1)),
            (None, open(1), true, open(1)),
            (open(1), open(1), false, None),
            (open(1), open(2), false, open(2)),
            (open(1), None, false, gone()),
            // Only the data of the next one are there.
            (open(1), None, true, None),
            (gone(), None, false, None),
            (gone(), open(1), false, open(1)),
            (
                open(1),
                Some(picture(1, Reach::Contacts)),
                false,
                Some(picture(1, Reach::Contacts)),
            ),
        ] {
            let case = format!("{before:?} {now:?} {is_under_way}");
            let change = set(Change::default(), "juliet@d", before, now, is_under_way);
            assert_eq!(change.photo, expected.as_ref().map(Picture::photo), "{case}");
            let batch = store::Batch::new();
            let batch = expected.map(|picture| batch.put(&PHOTO, "juliet@d", None, picture.row()));
            assert_eq!(change.batch, batch.unwrap_or_default(), "{case}");
        }
    }
}
