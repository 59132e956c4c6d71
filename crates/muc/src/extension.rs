//! What a file of this crate adds to every room: one [`Extension`], and one line in [`EXTENSIONS`].
//!
//! A new one begins with `..Extension::NONE`, and names only what it has. What its configuration fields set stands in
//! [`crate::Config`], typed and with its default.

use std::sync::Arc;

use module::{DataField, DataForm};
use stanza::{IqType, Jid, JidRef, Stanza, StanzaError};
use store::{Found, Query, Shape, StoreError, Table};
use xmlstream::Child;

use crate::command::Command;
use crate::config::Field;
use crate::room::{Context, Decided, Room};
use crate::say::Say;
use crate::{
    activity, admin, avatar, command, hats, iq, mam, mav, mentions, moderation, owner, registration, retraction,
    slow_mode, spaces, voices,
};

/// All of them. Their order is that of features and fields.
pub(crate) static EXTENSIONS: &[Extension] = &[
    iq::EXTENSION,
    admin::EXTENSION,
    owner::EXTENSION,
    registration::EXTENSION,
    voices::EXTENSION,
    mav::EXTENSION,
    command::EXTENSION,
    avatar::EXTENSION,
    hats::EXTENSION,
    slow_mode::EXTENSION,
    activity::EXTENSION,
    mentions::EXTENSION,
    spaces::EXTENSION,
    mam::EXTENSION,
    retraction::EXTENSION,
    moderation::EXTENSION,
];

#[derive(Clone, Copy)]
pub(crate) struct Extension {
    /// Of disco#info, by how the room is.
    pub(crate) features: fn(&Room) -> &'static [&'static str],
    /// Fields of the form in disco#info (muc#roominfo).
    pub(crate) info: fn(&Room, &Context<'_>) -> Vec<DataField>,
    /// Other forms in disco#info.
    pub(crate) forms: fn(&Room) -> Vec<DataForm>,
    /// Requests to the room itself.
    pub(crate) requests: &'static [Request],
    /// Of XEP-0050.
    pub(crate) commands: &'static [Command],
    /// What presence of a person shows who is in the room, by bare JID.
    pub(crate) presence: fn(&Room, &str, &mut String),
    /// A message for everybody, of who may speak: what it does not let pass, nobody hears.
    pub(crate) message: fn(&mut Room, &Context<'_>, &Stanza<'_>, &Jid) -> Result<(), StanzaError>,
    /// What follows from a message that everybody has got.
    pub(crate) reflected: fn(&Room, &Context<'_>, &Say) -> Vec<Say>,
    /// Of the configuration, behind those of XEP-0045.
    pub(crate) fields: &'static [Field],
    /// What it keeps. The owner of each row is the room, so it goes with the room.
    pub(crate) tables: &'static [Kept],
}

/// A table, and what is asked of it when the room is read.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) table: &'static Table,
    /// What the room has in memory of it.
    pub(crate) read: fn(&mut Room, Found) -> Result<(), StoreError>,
}

impl Kept {
    /// All rows of the room.
    pub(crate) fn query(&self, room: &str) -> Query {
        match self.table.shape {
            Shape::Map => Query::all(self.table, room),
            _ => Query::get(self.table, room, None),
        }
    }
}

/// Tables of all extensions.
pub(crate) fn tables() -> impl Iterator<Item = &'static Kept> {
    EXTENSIONS.iter().flat_map(|extension| extension.tables)
}

impl Extension {
    pub(crate) const NONE: Extension = Extension {
        features: |_| &[],
        info: |_, _| Vec::new(),
        forms: |_| Vec::new(),
        requests: &[],
        commands: &[],
        presence: |_, _, _| {},
        message: |_, _, _, _| Ok(()),
        reflected: |_, _, _| Vec::new(),
        fields: &[],
        tables: &[],
    };
}

/// Answers a request: the stanza, from whom, the address to which he sent it, its payload.
pub(crate) type Handler = fn(&mut Room, &mut Context<'_>, &Stanza<'_>, &Arc<Jid>, JidRef<'_>, &Child<'_>) -> Decided;

/// A request that the room answers. Who may ask is for the handler.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) kind: IqType,
    pub(crate) name: &'static str,
    pub(crate) ns: &'static str,
    pub(crate) answer: Handler,
}

impl Request {
    pub(crate) const fn get(name: &'static str, ns: &'static str, answer: Handler) -> Request {
        Request {
            kind: IqType::Get,
            name,
            ns,
            answer,
        }
    }

    pub(crate) const fn set(name: &'static str, ns: &'static str, answer: Handler) -> Request {
        Request {
            kind: IqType::Set,
            name,
            ns,
            answer,
        }
    }

    /// Who answers this. Err: whether there are others of the namespace.
    pub(crate) fn find(kind: IqType, payload: &Child<'_>) -> Result<Handler, bool> {
        let mut is_known = false;
        for request in EXTENSIONS.iter().flat_map(|extension| extension.requests) {
            if request.ns == payload.ns() {
                if request.kind == kind && request.name == payload.name() {
                    return Ok(request.answer);
                }
                is_known = true;
            }
        }
        Err(is_known)
    }
}
