//! XEP-0054 vcard-temp 1.3.0: what an account tells of its person, to whoever asks.
//!
//! The photo and the nickname stand at nodes of the account, and not here: they are what its contacts hear of by XEP-0084
//! and XEP-0172. Who sets them in the vCard publishes them there, and who asks for the vCard is given them from there if
//! he may read the nodes. So there is one of each, and whoever was to see it at the node sees it here. A node that comes
//! into being with the vCard is for everybody, as the vCard is. `vcard4.rs` has what the newer vCard has to do with it.

use module::{Access, Answer, Ask, Change, Coverage, Method, Module, Occasion, Relation, Step};
use presence::photo::{PHOTO, Picture, hex};
use pubsub::{Act, Context, Looked, look, look_for};
use stanza::{Rendered, StanzaError, ns};
use store::{Batch, Column, Found, Query, Row, Shape, StoreError, Table, row};
use xmlstream::{Child, escape_text};

use crate::avatar::{self, DATA, METADATA, PUBLIC, told};
use crate::vcard4;

const NS: &str = ns::VCARD;

/// XEP-0172: node and namespace.
const NICK: &str = "http://jabber.org/protocol/nick";

/// The id of a nickname that was set with the vCard.
const NICK_ITEM: &str = "current";

/// Bytes of a vCard. It has the picture in it, in Base64.
const VCARD_BYTES: usize = 256 * 1024;

/// As XML on its own, without what stands at nodes.
pub(crate) static VCARDS: Table = Table {
    name: "vcard",
    shape: Shape::KeyVal,
    columns: &[Column::text("vcard")],
};

pub(crate) fn module() -> Module {
    Module::new("vcard")
        .xep(
            54,
            "vcard-temp",
            "1.3.0",
            Coverage::Partial("accounts have one, the server has none"),
        )
        .xep(172, "User Nickname", "1.1", Coverage::Complete)
        .server_feature(NS)
        .account_feature(NS)
        .table(&VCARDS)
        .account_iq(Method::Get, "vCard", NS, Access::Anyone, get)
        .account_iq(Method::Set, "vCard", NS, Access::Owner, set)
}

/// A vCard, and what of it stands at nodes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    rest: String,
    /// Media type, and Base64; empty where the vCard has a photo and nothing in it.
    photo: Option<(String, String)>,
    nick: Option<String>,
}

impl Parts {
    /// `vcard`: an element that stands on its own.
    fn of(vcard: &str) -> Parts {
        let mut parts = Parts::default();
        let read = avatar::read(vcard, |element| {
            let (inner, span) = (element.inner(), element.inner_span());
            let has_one_nick = element.children().filter(|child| child.is("NICKNAME", NS)).count() == 1;
            let mut kept = 0;
            parts.rest.push_str(&vcard[..span.start]);
            for child in element.children() {
                if !parts.takes(&child, has_one_nick) {
                    continue;
                }
                parts.rest.push_str(&inner[kept..child.span().start]);
                kept = child.span().end;
            }
            parts.rest.push_str(&inner[kept..]);
            parts.rest.push_str(&vcard[span.end..]);
        });
        if read.is_none() {
            parts.rest = vcard.into();
        }
        parts
    }

    /// Of several photos the first that is not a link (`EXTVAL`); of several nicknames none, as a node has one.
    fn takes(&mut self, child: &Child<'_>, has_one_nick: bool) -> bool {
        let text = |of: Option<Child<'_>>| of.map(|of| of.text().trim_ascii().to_owned());
        if child.is("PHOTO", NS) {
            let data = text(child.child("BINVAL", NS));
            let is_taken = data.is_some() && self.photo.is_none();
            if let Some(data) = data.filter(|_| is_taken) {
                self.photo = Some((text(child.child("TYPE", NS)).unwrap_or_default(), data));
            }
            return is_taken;
        }
        let is_nick = child.is("NICKNAME", NS) && has_one_nick && child.children().next().is_none();
        if is_nick {
            self.nick = Some(child.text().trim_ascii().to_owned());
        }
        is_nick
    }
}

fn element(name: &str, text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("<{name}>").as_bytes());
    escape_text(out, text);
    out.extend_from_slice(format!("</{name}>").as_bytes());
}

fn nick_of(payload: &str) -> Option<String> {
    avatar::read(payload, |element| {
        let is_nick = element.name() == "nick" && element.ns() == NICK;
        is_nick.then(|| element.text().trim_ascii().to_owned())
    })?
}

fn write_nick(nick: &str) -> String {
    let mut out = format!("<nick xmlns='{NICK}'>").into_bytes();
    escape_text(&mut out, nick);
    out.extend_from_slice(b"</nick>");
    // Escaping text yields text.
    String::from_utf8(out).unwrap_or_default()
}

/// The questions about what makes up a vCard.
fn questions(owner: &str) -> Query {
    let mut queries = vec![Query::get(&VCARDS, owner, None), Query::get(&PHOTO, owner, None)];
    for node in [METADATA, DATA, NICK, vcard4::NODE] {
        queries.extend(look(owner, node));
    }
    Query::Many(queries)
}

/// What they are answered, as far as who asks may know.
struct Known {
    vcard: Option<String>,
    picture: Option<Picture>,
    metadata: Option<Looked>,
    data: Option<Looked>,
    nick: Option<Looked>,
    card: Option<Looked>,
}

impl Known {
    fn read(context: &Context, found: Result<Found, StoreError>) -> Result<Known, StanzaError> {
        let mut found = found.and_then(Found::many).map_err(|error| told(&error))?.into_iter();
        let mut row = || -> Result<Option<Row>, StanzaError> {
            found.next().map_or(Ok(None), Found::row).map_err(|error| told(&error))
        };
        let (vcard, picture) = (row()?, row()?);
        let vcard = vcard.as_ref().and_then(|row| row.first()?.as_text());
        Ok(Known {
            vcard: vcard.map(str::to_owned),
            picture: picture.as_ref().map(Picture::read),
            metadata: Looked::read(context, METADATA, &mut found)?,
            data: Looked::read(context, DATA, &mut found)?,
            nick: Looked::read(context, NICK, &mut found)?,
            card: Looked::read(context, vcard4::NODE, &mut found)?,
        })
    }
}

/// An item that is wanted.
struct Wanted {
    query: Query,
    node: Looked,
    id: Box<str>,
}

impl Wanted {
    /// The last one at a node.
    fn last(owner: &str, node: &str, looked: Option<Looked>) -> Option<Wanted> {
        let looked = looked?;
        let id = looked.last.clone()?;
        Some(Wanted {
            query: look_for(owner, node, &id),
            node: looked,
            id,
        })
    }
}

/// Ids and payloads of these items, where they are there.
type Items<const N: usize> = [Option<(Box<str>, Box<str>)>; N];

fn fetch<const N: usize>(
    wanted: [Option<Wanted>; N],
    go_on: impl FnOnce(Items<N>) -> Result<Step, StanzaError> + Send + 'static,
) -> Result<Step, StanzaError> {
    let queries: Vec<Query> = wanted.iter().flatten().map(|wanted| wanted.query.clone()).collect();
    let make = move |found: Result<Found, StoreError>| {
        let mut found = found.and_then(Found::many).map_err(|error| told(&error))?.into_iter();
        let mut items = [const { None }; N];
        for (item, wanted) in items.iter_mut().zip(wanted) {
            let Some((wanted, found)) = wanted.and_then(|wanted| Some((wanted, found.next()?))) else {
                continue;
            };
            *item = wanted.node.item(found)?.map(|payload| (wanted.id, payload));
        }
        go_on(items)
    };
    if queries.is_empty() {
        return make(Ok(Found::Many(Vec::new())));
    }
    Ok(Step::Ask(Query::Many(queries), Box::new(make)))
}

/// Sections 3.1 and 3.3: one's own is empty where there is none; of others it is as if there were no account.
fn get(ask: &mut Ask<'_>) -> Answer {
    let is_own = ask.relation == Relation::Owner;
    let context = crate::pep::context(ask);
    let query = questions(context.owner.as_str());
    // A change that changes nothing: so it is answered behind the changes that came before it.
    let make = move |found| {
        let known = Known::read(&context, found)?;
        let owner = context.owner.as_str();
        let hash = known.picture.as_ref().and_then(|picture| picture.hash);
        let data = known.data.filter(|_| known.metadata.is_some());
        let photo = hash.zip(data).map(|(hash, node)| Wanted {
            query: look_for(owner, DATA, &hex(&hash)),
            node,
            id: hex(&hash).into(),
        });
        let nick = Wanted::last(owner, NICK, known.nick);
        // One that was made of what stands here says nothing new.
        let own = known.vcard.as_deref().map(vcard4::id_of);
        let card = Wanted::last(owner, vcard4::NODE, known.card).filter(|card| own.as_deref() != Some(&*card.id));
        fetch([photo, nick, card], move |[photo, nick, card]| {
            let photo = photo.and_then(|(_, payload)| avatar::decode(&avatar::data_of(&payload)?));
            let nick = nick.and_then(|(_, payload)| nick_of(&payload));
            let kind = known.picture.map(|picture| picture.kind).unwrap_or_default();
            show(
                known.vcard,
                is_own,
                card.map(|(_, payload)| vcard4::to_old(&payload)),
                &kind,
                photo.map(|(_, base64)| base64),
                nick,
            )
        })
    };
    Answer::Changed(query, Box::new(make))
}

/// `card`: properties that stand at the node for it, and not here.
fn show(
    vcard: Option<String>,
    is_own: bool,
    card: Option<String>,
    kind: &str,
    photo: Option<String>,
    nick: Option<String>,
) -> Result<Step, StanzaError> {
    // What an earlier version kept here is shown as long as there is nothing at the nodes.
    let is_whole = |vcard: &String| vcard.contains("<PHOTO") || vcard.contains("<NICKNAME");
    let (vcard, kind, photo, nick) = match vcard {
        Some(vcard) if is_whole(&vcard) => {
            let parts = Parts::of(&vcard);
            let old = parts.photo.unwrap_or_default();
            let (kind, photo) = match photo {
                Some(photo) => (kind.to_owned(), Some(photo)),
                None => (old.0, Some(old.1).filter(|photo| !photo.is_empty())),
            };
            (Some(parts.rest), kind, photo, nick.or(parts.nick))
        }
        vcard => (vcard, kind.to_owned(), photo, nick),
    };
    let vcard = match &card {
        Some(_) => vcard.map(|vcard| vcard4::old_alone(&vcard)),
        None => vcard,
    };
    let mut added = card.unwrap_or_default().into_bytes();
    if let Some(nick) = nick.filter(|nick| !nick.is_empty()) {
        element("NICKNAME", &nick, &mut added);
    }
    if let Some(photo) = photo {
        added.extend_from_slice(b"<PHOTO>");
        if !kind.is_empty() {
            element("TYPE", &kind, &mut added);
        }
        element("BINVAL", &photo, &mut added);
        added.extend_from_slice(b"</PHOTO>");
    }
    if vcard.is_none() && added.is_empty() && !is_own {
        return Err(StanzaError::service_unavailable());
    }
    let vcard = vcard.unwrap_or_else(|| format!("<vCard xmlns='{NS}'/>"));
    let answer = match String::from_utf8(added) {
        Ok(added) if !added.is_empty() => Rendered::from_text(&vcard).with(&added).as_str().to_owned(),
        _ => vcard,
    };
    Ok(Step::Done(Change {
        answer,
        ..Change::default()
    }))
}

/// Section 3.2: always the whole.
fn set(ask: &mut Ask<'_>) -> Answer {
    let mut vcard = String::new();
    ask.payload.write_canonical("", &mut vcard);
    if vcard.len() > VCARD_BYTES {
        return Answer::Error(StanzaError::not_acceptable().text("the vCard is too long"));
    }
    let parts = Parts::of(&vcard);
    let photo = match &parts.photo {
        Some((kind, text)) if !text.is_empty() => match avatar::decode(text) {
            None => return Answer::Error(StanzaError::bad_request().text("the photo is not Base64")),
            Some((bytes, base64)) => Some(Photo {
                hash: avatar::hash(&bytes),
                bytes: bytes.len(),
                kind: kind_of(kind, &bytes),
                data: avatar::write_data(&base64),
            }),
        },
        _ => None,
    };
    if photo
        .as_ref()
        .is_some_and(|photo| photo.data.len() as u64 > pubsub::MAX_PAYLOAD)
    {
        return Answer::Error(StanzaError::not_acceptable().text("the photo is too long"));
    }
    let occasion = Occasion {
        now: ask.now,
        owner: ask.to.bare().to_owned(),
        by: ask.from.to_owned(),
    };
    let query = questions(occasion.owner.as_str());
    let make = move |found| {
        let context = Context::of(&occasion);
        let known = Known::read(&context, found)?;
        let mut acts = acts_for_photo(photo, known.picture.as_ref());
        let owner = context.owner.as_str();
        let nick = Wanted::last(owner, NICK, known.nick);
        let card = Wanted::last(owner, vcard4::NODE, known.card);
        fetch([nick, card], move |[nick, card]| {
            acts.extend(act_for_nick(parts.nick.unwrap_or_default(), nick));
            let card = card.as_ref().map(|(id, payload)| (&**id, &**payload));
            acts.extend(vcard4::acts(&parts.rest, card));
            let owner = occasion.owner.as_str();
            let change = Change {
                // Refused when the account is gone, so that nothing is left for who gets the name next.
                batch: Batch::new().require(&accounts::ACCOUNTS, owner, None).put(
                    &VCARDS,
                    owner,
                    None,
                    row![parts.rest],
                ),
                ..Change::default()
            };
            pubsub::also(&occasion, acts, change)
        })
    };
    Answer::Changed(query, Box::new(make))
}

/// A photo that was set.
struct Photo {
    hash: [u8; 20],
    bytes: usize,
    kind: String,
    data: String,
}

/// XEP-0153 section 4: what the client says is a hint; where it says nothing, the first bytes do.
fn kind_of(said: &str, bytes: &[u8]) -> String {
    if !said.is_empty() {
        return said.into();
    }
    let kind = match bytes {
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        // What a client of XEP-0084 takes it for.
        _ => "image/png",
    };
    kind.into()
}

/// XEP-0398 section 3.2. What is there already is not published again, so nobody fetches it anew.
fn acts_for_photo(photo: Option<Photo>, before: Option<&Picture>) -> Vec<Act> {
    let before = before.and_then(|picture| picture.hash);
    let publish = |node: &str, hash: &[u8; 20], payload: String| Act::Publish {
        node: node.into(),
        id: hex(hash).into(),
        payload,
        made: PUBLIC,
    };
    match (photo, before) {
        (Some(photo), before) if before != Some(photo.hash) => {
            let metadata = avatar::write_metadata(&photo.hash, photo.bytes, &photo.kind);
            vec![
                publish(DATA, &photo.hash, photo.data),
                publish(METADATA, &photo.hash, metadata),
            ]
        }
        (None, Some(before)) => vec![
            publish(METADATA, &before, avatar::write_none()),
            Act::Retract {
                node: DATA.into(),
                id: hex(&before).into(),
            },
        ],
        _ => Vec::new(),
    }
}

/// `item`: what the node says.
fn act_for_nick(nick: String, item: Option<(Box<str>, Box<str>)>) -> Option<Act> {
    let (id, before) = match item {
        Some((id, payload)) => (id, nick_of(&payload).unwrap_or_default()),
        None => (NICK_ITEM.into(), String::new()),
    };
    if nick == before {
        return None;
    }
    Some(if nick.is_empty() {
        Act::Retract { node: NICK.into(), id }
    } else {
        Act::Publish {
            node: NICK.into(),
            id,
            payload: write_nick(&nick),
            made: PUBLIC,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(inner: &str) -> String {
        format!("<vCard xmlns='vcard-temp' version='2.0'>{inner}</vCard>")
    }

    #[test]
    fn what_stands_at_nodes_is_taken_out() {
        let photo = |kind: &str, data: &str| Some((kind.to_owned(), data.to_owned()));
        let nick = |nick: &str| Some(nick.to_owned());
        let link = "<PHOTO><EXTVAL>https://a/b</EXTVAL></PHOTO>";
        let own = "<PHOTO><TYPE> image/gif\n</TYPE><BINVAL>\n abc\n</BINVAL></PHOTO>";
        for (inner, rest, expected_photo, expected_nick) in [
            ("<FN>J</FN>".to_owned(), "<FN>J</FN>".to_owned(), None, None),
            (
                format!("<FN>J</FN>{own}<A/>"),
                "<FN>J</FN><A/>".into(),
                photo("image/gif", "abc"),
                None,
            ),
            (
                format!("{link}{own}{own}"),
                format!("{link}{own}"),
                photo("image/gif", "abc"),
                None,
            ),
            ("<PHOTO/>".into(), "<PHOTO/>".into(), None, None),
            ("<PHOTO><BINVAL/></PHOTO>".into(), String::new(), photo("", ""), None),
            (
                "<NICKNAME> J &amp; R </NICKNAME>".into(),
                String::new(),
                None,
                nick("J & R"),
            ),
            ("<NICKNAME/>".into(), String::new(), None, nick("")),
            (
                "<NICKNAME>a</NICKNAME><NICKNAME>b</NICKNAME>".into(),
                "<NICKNAME>a</NICKNAME><NICKNAME>b</NICKNAME>".into(),
                None,
                None,
            ),
            (
                "<NICKNAME xmlns='urn:x'>a</NICKNAME>".into(),
                "<NICKNAME xmlns='urn:x'>a</NICKNAME>".into(),
                None,
                None,
            ),
        ] {
            let expected = Parts {
                rest: card(&rest),
                photo: expected_photo,
                nick: expected_nick,
            };
            assert_eq!(Parts::of(&card(&inner)), expected, "{inner}");
        }
        let empty = "<vCard xmlns='vcard-temp'/>";
        assert_eq!(Parts::of(empty).rest, empty);
    }

    #[test]
    fn what_an_earlier_version_kept() {
        let shown = |vcard: String, photo: Option<&str>, nick: Option<&str>| {
            let step = show(
                Some(vcard),
                false,
                None,
                "image/gif",
                photo.map(Into::into),
                nick.map(Into::into),
            );
            match step.expect("a vCard") {
                Step::Done(change) => change.answer,
                Step::Ask(..) => panic!("nothing is asked"),
            }
        };
        let old = "<NICKNAME>Old</NICKNAME><PHOTO><TYPE>image/png</TYPE><BINVAL>AAAA</BINVAL></PHOTO>";
        let new = "<NICKNAME>New</NICKNAME><PHOTO><TYPE>image/gif</TYPE><BINVAL>BBBB</BINVAL></PHOTO>";
        assert_eq!(shown(card(old), None, None), card(old));
        assert_eq!(shown(card(old), Some("BBBB"), Some("New")), card(new));
        assert_eq!(
            shown(card("<FN>J</FN>"), Some("BBBB"), Some("New")),
            card(&format!("<FN>J</FN>{new}"))
        );
        assert_eq!(shown(card("<FN>J</FN>"), None, None), card("<FN>J</FN>"));
    }

    #[test]
    fn kinds() {
        for (said, bytes, expected) in [
            ("image/x", &b"\xff\xd8\xff\xe0"[..], "image/x"),
            ("", b"\xff\xd8\xff\xe0", "image/jpeg"),
            ("", b"GIF89a", "image/gif"),
            ("", b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
            ("", b"\x89PNG\r\n", "image/png"),
            ("", b"", "image/png"),
        ] {
            assert_eq!(kind_of(said, bytes), expected);
        }
    }
}
