//! Rooms (XEP-0045): the service that has them, and its list of them. What a room does is in `muc`, what goes around it in
//! `router/src/rooms`.

use module::{Access, Answer, Ask, Coverage, Identity, Method, Module, Said, Service, Texts};
use muc::Listed;
use stanza::rsm::{Request, Set};
use stanza::{StanzaError, ns};
use store::{Found, Query, Row, StoreError};

use crate::Offer;

/// Rooms are at `conference.example.org`.
pub(crate) const LABEL: &str = "conference";

/// Rooms in one answer.
const PAGE: usize = 250;

pub(crate) fn module(offer: &Offer) -> Module {
    let module = Module::new("muc")
        .xep(45, "Multi-User Chat", "1.35.5", Coverage::Complete)
        // Goes past the room: from account to account as any message.
        .xep(249, "Direct MUC Invitations", "1.2", Coverage::Complete)
        .xep(410, "MUC Self-Ping (Schrödinger's Chat)", "1.1.0", Coverage::Complete)
        .xep(
            421,
            "Occupant identifiers for semi-anonymous MUCs",
            "1.0.1",
            Coverage::Complete,
        );
    if !offer.rooms {
        return module;
    }
    let identity = Identity {
        category: "conference",
        kind: "text",
        name: "Rooms",
    };
    let module = module
        .rooms(Service {
            label: LABEL,
            name: "Rooms",
        })
        .service_identity(LABEL, identity)
        .service_feature(LABEL, ns::MUC)
        .service_feature(LABEL, ns::RSM)
        // What every room of it does, for who looks only here (XEP-0421 section 5, XEP-0410).
        .service_feature(LABEL, "urn:xmpp:occupant-id:0")
        .service_feature(LABEL, "http://jabber.org/protocol/muc#self-ping-optimization")
        // Section 7.4 asks for it here as well.
        .service_feature(LABEL, "http://jabber.org/protocol/muc#stable_id")
        .service_feature(LABEL, "urn:xmpp:message-moderate:1")
        .service_iq(LABEL, Method::Get, "query", ns::DISCO_ITEMS, Access::Anyone, items);
    muc::tables().into_iter().fold(module, Module::table)
}

/// Section 6.3: rooms that everybody may find.
fn items(ask: &mut Ask<'_>) -> Answer {
    if ask.payload.attr("node").is_some() {
        return crate::disco::items(ask);
    }
    let wanted = match Request::of(&ask.payload) {
        Ok(wanted) => wanted,
        Err(error) => return Answer::Error(error),
    };
    let has_set = ask.payload.child("set", ns::RSM).is_some();
    let service: Box<str> = ask.to.domain().into();
    // A room is told by its address, and found by the local part of that.
    let local = |id: &Option<String>| {
        let id = id.as_deref()?;
        Some(id.split_once('@').map_or(id, |(local, _)| local).to_owned())
    };
    let (after, before) = (local(&wanted.after), local(&wanted.before));
    let before = before.filter(|before| !before.is_empty());
    let most = wanted.max.unwrap_or(PAGE).min(PAGE);
    let mut keys = muc::listed(&service, after.as_deref(), before.as_deref(), most);
    keys.last = wanted.before.is_some();
    let query = Query::Many(vec![Query::keys(keys), Query::count(&muc::LISTED, &service)]);
    Answer::Asked(
        query,
        Box::new(move |found| {
            let answer = page(&service, has_set, found).map_err(|error| {
                tracing::error!(%error, "the list of rooms cannot be read");
                StanzaError::internal_server_error()
            });
            Said {
                messages: Texts::default(),
                arrived: Vec::new(),
                answer,
            }
        }),
    )
}

fn page(service: &str, has_set: bool, found: Result<Found, StoreError>) -> Result<String, StoreError> {
    let mut found = found?.many()?.into_iter();
    let rows = found.next().map(Found::rows).transpose()?.unwrap_or_default();
    let count = found.next().map(Found::count).transpose()?.unwrap_or_default();
    let rooms: Vec<Listed> = rows
        .iter()
        .filter_map(|(key, row): &(Box<str>, Row)| Listed::read(key, row))
        .collect();
    let mut out = format!("<query xmlns='{}'>", ns::DISCO_ITEMS).into_bytes();
    for room in &rooms {
        let name = if room.name.is_empty() { &room.local } else { &*room.name };
        for (before, text) in [("<item jid='", &*room.local), (&format!("@{service}' name='"), name)] {
            out.extend_from_slice(before.as_bytes());
            xmlstream::escape_attr(&mut out, text);
        }
        out.extend_from_slice(b"'/>");
    }
    // Who does not ask by page is told where the list is not whole.
    if has_set || count > rooms.len() as u64 {
        let id = |room: &Listed| format!("{}@{service}", room.local);
        let ends = rooms.first().zip(rooms.last());
        let set = Set {
            ends: ends.map(|(first, last)| (id(first), id(last))),
            count: Some(count),
        };
        set.write(&mut out);
    }
    out.extend_from_slice(b"</query>");
    // Escaping text yields text.
    Ok(String::from_utf8(out).unwrap_or_default())
}
