//! XEP-0317 Hats 0.3.1: what somebody is in a room beside the roles that every room has. Admins make hats and give them to
//! people; presence shows who wears which, and nobody else can say so (`enter.rs` takes out what a client says).

use std::collections::BTreeMap;

use module::command::bad_payload;
use module::{DataField, DataForm, FieldType, Submitted};
use sha1::{Digest as _, Sha1};
use stanza::{Jid, StanzaError};
use store::{Batch, Column, Found, Row, Shape, StoreError, Table, Value, row};

use crate::command::{Command, Done, Stage};
use crate::extension::{Extension, Kept};
use crate::rank::Affiliation;
use crate::room::{Context, Room, Shown};
use crate::say::{Say, attribute, text_element};

const NS: &str = "urn:xmpp:hats:0";
const FORM_TYPE: &str = "urn:xmpp:hats:commands";

pub(crate) const EXTENSION: Extension = Extension {
    features: |_| &[NS],
    info,
    presence: write,
    commands: &[
        Command {
            node: "urn:xmpp:hats:commands:create",
            name: "Create or change a hat",
            may: administers,
            run: create,
        },
        Command {
            node: "urn:xmpp:hats:commands:destroy",
            name: "Destroy a hat",
            may: administers,
            run: destroy,
        },
        Command {
            node: "urn:xmpp:hats:commands:list",
            name: "List the hats",
            may: may_enter,
            run: list,
        },
        Command {
            node: "urn:xmpp:hats:commands:assign",
            name: "Give somebody a hat",
            may: administers,
            run: assign,
        },
        Command {
            node: "urn:xmpp:hats:commands:unassign",
            name: "Take a hat away",
            may: administers,
            run: unassign,
        },
        Command {
            node: "urn:xmpp:hats:commands:list-assigned",
            name: "List who wears which hat",
            may: sees_members,
            run: list_assigned,
        },
    ],
    tables: &[
        Kept {
            table: &HATS,
            read: read_hats,
        },
        Kept {
            table: &WEARERS,
            read: read_wearers,
        },
    ],
    ..Extension::NONE
};

/// Hats of a room; one more is `resource-constraint`.
const MOST_HATS: usize = 64;
/// Hats of one person; one more is `resource-constraint`.
const MOST_WORN: usize = 16;
/// Bytes of a URI and of a title; longer ones are `bad-request`.
const URI_BYTES: usize = 1_024;
const TITLE_BYTES: usize = 256;

/// By URI.
static HATS: Table = Table {
    name: "room_hats",
    shape: Shape::Map,
    columns: &[Column::text("title"), Column::text("hue")],
};

/// URIs by bare JID; they have a space between them.
static WEARERS: Table = Table {
    name: "room_hat_wearers",
    shape: Shape::Map,
    columns: &[Column::text("hats")],
};

#[derive(Clone, Debug, PartialEq, Eq)]
struct Hat {
    title: Box<str>,
    /// As an angle, or nothing.
    hue: Box<str>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Hats {
    /// By URI.
    known: BTreeMap<Box<str>, Hat>,
    /// URIs of hats that are known, by bare JID, as they were given. Nobody has none.
    worn: BTreeMap<Box<str>, Vec<Box<str>>>,
}

fn text(row: &Row, at: usize) -> &str {
    row.get(at).and_then(Value::as_text).unwrap_or_default()
}

fn read_hats(room: &mut Room, found: Found) -> Result<(), StoreError> {
    let hat = |(uri, row): (Box<str>, Row)| {
        let (title, hue) = (text(&row, 0).into(), text(&row, 1).into());
        (uri, Hat { title, hue })
    };
    room.hats.known = found.rows()?.into_iter().map(hat).collect();
    Ok(())
}

fn read_wearers(room: &mut Room, found: Found) -> Result<(), StoreError> {
    let worn = |(jid, row): (Box<str>, Row)| (jid, text(&row, 0).split(' ').map(Into::into).collect());
    room.hats.worn = found.rows()?.into_iter().map(worn).collect();
    Ok(())
}

impl Hats {
    /// Hats of a person.
    fn of(&self, bare: &str) -> impl Iterator<Item = (&str, &Hat)> {
        let worn = self.worn.get(bare).into_iter().flatten();
        worn.filter_map(|uri| Some((&**uri, self.known.get(uri)?)))
    }

    fn wearers(&self, uri: &str) -> Vec<Box<str>> {
        let worn = self
            .worn
            .iter()
            .filter(|(_, worn)| worn.iter().any(|worn| **worn == *uri));
        worn.map(|(jid, _)| jid.clone()).collect()
    }

    fn save_wearer(&self, batch: Batch, room: &str, jid: &str) -> Batch {
        match self.worn.get(jid) {
            None => batch.delete(&WEARERS, room, jid),
            Some(worn) => batch.put(&WEARERS, room, jid, row![worn.join(" ")]),
        }
    }

    /// He wears none any more.
    pub(crate) fn forget(&mut self, batch: Batch, room: &str, jid: &str) -> Batch {
        match self.worn.remove(jid) {
            Some(_) => self.save_wearer(batch, room, jid),
            None => batch,
        }
    }

    /// He wears it no more. False: he did not.
    fn take(&mut self, jid: &str, uri: &str) -> bool {
        let Some(worn) = self.worn.get_mut(jid) else {
            return false;
        };
        let before = worn.len();
        worn.retain(|worn| **worn != *uri);
        let is_taken = worn.len() < before;
        if worn.is_empty() {
            self.worn.remove(jid);
        }
        is_taken
    }
}

/// Section 2: clients know by it whether their list is the present one.
fn info(room: &Room, _: &Context<'_>) -> Vec<DataField> {
    if room.hats.known.is_empty() {
        return Vec::new();
    }
    let mut hash = Sha1::new();
    for (uri, hat) in &room.hats.known {
        for part in [uri, &hat.title, &hat.hue] {
            hash.update(part.as_bytes());
            hash.update([0]);
        }
    }
    let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    vec![DataField::new("hats#hash", FieldType::TextSingle, "Hats hash").value(digits)]
}

/// Section 3.1: what presence of a person shows.
fn write(room: &Room, bare: &str, out: &mut String) {
    let mut hats = room.hats.of(bare).peekable();
    if hats.peek().is_none() {
        return;
    }
    out.push_str(&format!("<hats xmlns='{NS}'>"));
    for (uri, hat) in hats {
        out.push_str("<hat");
        attribute(out, "title", Some(&hat.title));
        attribute(out, "uri", Some(uri));
        attribute(out, "hue", Some(&*hat.hue).filter(|hue| !hue.is_empty()));
        out.push_str("/>");
    }
    out.push_str("</hats>");
}

fn administers(room: &Room, context: &Context<'_>, from: &Jid) -> bool {
    room.right_of(context, from.as_ref()).administers()
}

/// Who may come in sees hats in presence anyway.
fn may_enter(room: &Room, context: &Context<'_>, from: &Jid) -> bool {
    let lowest = if room.config.members_only {
        Affiliation::Member
    } else {
        Affiliation::None
    };
    room.right_of(context, from.as_ref()) >= lowest
}

fn sees_members(room: &Room, context: &Context<'_>, from: &Jid) -> bool {
    room.may_see(room.right_of(context, from.as_ref()), from, Affiliation::Member)
}

fn form(title: &'static str, instructions: &'static str) -> DataForm {
    DataForm::new(title, instructions).of_type(FORM_TYPE)
}

fn single(var: &'static str, label: &'static str) -> DataField {
    DataField::new(var, FieldType::TextSingle, label)
}

/// The field in which a hat is chosen.
fn choice(room: &Room) -> String {
    let mut out = String::from("<field var='hats#uri' type='list-single' label='The hat'><required/>");
    for (uri, hat) in &room.hats.known {
        out.push_str("<option");
        attribute(&mut out, "label", Some(&hat.title));
        out.push('>');
        text_element(&mut out, "value", uri);
        out.push_str("</option>");
    }
    out + "</field>"
}

fn wanted<'s>(submitted: &'s Submitted, var: &str, most: usize) -> Result<&'s str, StanzaError> {
    let value = submitted.one(var).unwrap_or_default().trim();
    let is_good = !value.is_empty() && value.len() <= most && !value.contains(char::is_control);
    is_good
        .then_some(value)
        .ok_or_else(|| bad_payload(format!("{var} is missing, or cannot be so")))
}

fn uri(submitted: &Submitted) -> Result<&str, StanzaError> {
    let uri = wanted(submitted, "hats#uri", URI_BYTES)?;
    match uri.contains(char::is_whitespace) {
        true => Err(bad_payload("hats#uri is no URI")),
        false => Ok(uri),
    }
}

fn jid(submitted: &Submitted) -> Result<Jid, StanzaError> {
    let jid = submitted.one("hats#jid").and_then(|jid| Jid::parse(jid.trim()).ok());
    let jid = jid.filter(|jid| jid.local().is_some());
    jid.map(|jid| jid.to_bare())
        .ok_or_else(|| bad_payload("hats#jid is no address of a person"))
}

/// A hue angle (XEP-0392 section 5.1). None: it is no such thing.
fn hue(submitted: &Submitted) -> Option<&str> {
    let Some(hue) = submitted.one("hats#hue").map(str::trim) else {
        return Some("");
    };
    let is_angle = |angle: f64| (0.0..=360.0).contains(&angle);
    (hue.len() <= 32 && hue.parse().is_ok_and(is_angle)).then_some(hue)
}

/// Presence of these people, with what they wear now.
fn shown(room: &Room, context: &Context<'_>, people: &[Box<str>]) -> Vec<Say> {
    let mut say = Vec::new();
    for nick in people.iter().flat_map(|jid| room.occupants.nicks_of(jid)) {
        if let Some(occupant) = room.occupants.get(&nick) {
            say.extend(room.show(context, &nick, occupant, &Shown::default()));
        }
    }
    say
}

/// Section 3.2; a URI that is known changes the hat.
fn create(room: &mut Room, context: &mut Context<'_>, submitted: Option<&Submitted>) -> Result<Stage, StanzaError> {
    let Some(submitted) = submitted else {
        let form = form(
            "Creating a Hat",
            "Fill out this form to create a hat, or to change the one with this URI.",
        )
        .field(single("hats#title", "Hat Title").required())
        .field(single("hats#uri", "Hat URI").required())
        .field(single("hats#hue", "Hat Hue"));
        return Ok(Stage::Form(form));
    };
    let hat = Hat {
        title: wanted(submitted, "hats#title", TITLE_BYTES)?.into(),
        hue: hue(submitted)
            .ok_or_else(|| bad_payload("hats#hue is no angle"))?
            .into(),
    };
    let uri = uri(submitted)?;
    if !room.hats.known.contains_key(uri) && room.hats.known.len() >= MOST_HATS {
        return Err(StanzaError::resource_constraint().text("the room has as many hats as it may have"));
    }
    if room.hats.known.get(uri) == Some(&hat) {
        return Ok(Stage::Done(Done::default()));
    }
    let row = row![&*hat.title, &*hat.hue];
    room.hats.known.insert(uri.into(), hat);
    let mut say = vec![room.has_changed(&[104])];
    say.extend(shown(room, context, &room.hats.wearers(uri)));
    Ok(Stage::Done(Done {
        batch: Batch::new().put(&HATS, room.jid.bare_str(), uri, row),
        say,
        ..Done::default()
    }))
}

/// Section 3.3.
fn destroy(room: &mut Room, context: &mut Context<'_>, submitted: Option<&Submitted>) -> Result<Stage, StanzaError> {
    let Some(submitted) = submitted else {
        let mut form = form("Destroying a Hat", "Fill out this form to destroy a hat.");
        form.more = choice(room);
        return Ok(Stage::Form(form));
    };
    let uri = uri(submitted)?;
    room.hats.known.remove(uri).ok_or_else(StanzaError::item_not_found)?;
    let wearers = room.hats.wearers(uri);
    let mut batch = Batch::new().delete(&HATS, room.jid.bare_str(), uri);
    for jid in &wearers {
        room.hats.take(jid, uri);
        batch = room.hats.save_wearer(batch, room.jid.bare_str(), jid);
    }
    let mut say = vec![room.has_changed(&[104])];
    say.extend(shown(room, context, &wearers));
    Ok(Stage::Done(Done {
        batch,
        say,
        ..Done::default()
    }))
}

/// Section 3.5.
fn assign(room: &mut Room, context: &mut Context<'_>, submitted: Option<&Submitted>) -> Result<Stage, StanzaError> {
    let Some(submitted) = submitted else {
        return Ok(Stage::Form(whose(
            room,
            "Assigning a Hat",
            "Fill out this form to assign a hat.",
        )));
    };
    let (jid, uri) = (jid(submitted)?, uri(submitted)?);
    let hats = &mut room.hats;
    if !hats.known.contains_key(uri) {
        return Err(StanzaError::item_not_found().text("there is no such hat"));
    }
    if !hats.worn.contains_key(jid.as_str()) && hats.worn.len() >= context.limits.affiliations {
        return Err(StanzaError::resource_constraint().text("as many people wear hats as may"));
    }
    let worn = hats.worn.entry(jid.as_str().into()).or_default();
    if worn.iter().any(|worn| **worn == *uri) {
        return Ok(Stage::Done(Done::default()));
    }
    if worn.len() >= MOST_WORN {
        return Err(StanzaError::resource_constraint().text("somebody wears as many hats as he may"));
    }
    worn.push(uri.into());
    Ok(Stage::Done(given(room, context, &jid)))
}

/// Section 3.6.
fn unassign(room: &mut Room, context: &mut Context<'_>, submitted: Option<&Submitted>) -> Result<Stage, StanzaError> {
    let Some(submitted) = submitted else {
        return Ok(Stage::Form(whose(
            room,
            "Removing a Hat",
            "Fill out this form to take a hat away.",
        )));
    };
    let (jid, uri) = (jid(submitted)?, uri(submitted)?);
    match room.hats.take(jid.as_str(), uri) {
        true => Ok(Stage::Done(given(room, context, &jid))),
        false => Err(StanzaError::item_not_found().text("that hat is not worn")),
    }
}

fn whose(room: &Room, title: &'static str, instructions: &'static str) -> DataForm {
    let person = DataField::new("hats#jid", FieldType::JidSingle, "User Address").required();
    let mut form = form(title, instructions).field(person);
    form.more = choice(room);
    form
}

/// Somebody has another hat, or one less.
fn given(room: &Room, context: &Context<'_>, jid: &Jid) -> Done {
    Done {
        batch: room.hats.save_wearer(Batch::new(), room.jid.bare_str(), jid.as_str()),
        say: shown(room, context, &[jid.as_str().into()]),
        ..Done::default()
    }
}

/// Section 3.4.
fn list(room: &mut Room, _: &mut Context<'_>, _: Option<&Submitted>) -> Result<Stage, StanzaError> {
    let items = room.hats.known.iter().map(|(uri, hat)| (None, &**uri, hat));
    Ok(listed("Hats List", &["hats#title", "hats#uri", "hats#hue"], items))
}

/// Section 3.7.
fn list_assigned(room: &mut Room, _: &mut Context<'_>, _: Option<&Submitted>) -> Result<Stage, StanzaError> {
    let hats = &room.hats;
    let items = hats
        .worn
        .keys()
        .flat_map(|jid| hats.of(jid).map(|(uri, hat)| (Some(&**jid), uri, hat)));
    Ok(listed(
        "Assigned Hats List",
        &["hats#jid", "hats#uri", "hats#title", "hats#hue"],
        items,
    ))
}

fn listed<'a>(
    title: &'static str,
    columns: &[&str],
    items: impl Iterator<Item = (Option<&'a str>, &'a str, &'a Hat)>,
) -> Stage {
    let reported: String = columns.iter().map(|var| format!("<field var='{var}'/>")).collect();
    let mut out = format!("<reported>{reported}</reported>");
    for (jid, uri, hat) in items {
        out.push_str("<item>");
        for var in columns {
            let value = match *var {
                "hats#jid" => jid.unwrap_or_default(),
                "hats#uri" => uri,
                "hats#title" => &hat.title,
                _ => &hat.hue,
            };
            out.push_str(&format!("<field var='{var}'>"));
            text_element(&mut out, "value", value);
            out.push_str("</field>");
        }
        out.push_str("</item>");
    }
    let form = DataForm {
        title,
        more: out,
        ..DataForm::result()
    };
    Stage::Done(Done {
        form: Some(form),
        ..Done::default()
    })
}
