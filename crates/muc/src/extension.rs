//! What a file of this crate adds to every room: one [`Extension`], and one line in [`EXTENSIONS`].
//!
//! A new one begins with `..Extension::NONE`, and names only what it has. What its configuration fields set stands in
//! [`crate::Config`], typed and with its default.

use std::sync::Arc;

use module::DataField;
use stanza::{IqType, Jid, JidRef, Stanza};
use xmlstream::Child;

use crate::config::Field;
use crate::room::{Context, Decided, Room};
use crate::{admin, iq, owner};

/// All of them. Their order is that of features and fields.
pub(crate) static EXTENSIONS: &[Extension] = &[iq::EXTENSION, admin::EXTENSION, owner::EXTENSION];

#[derive(Clone, Copy)]
pub(crate) struct Extension {
    /// Of disco#info, by how the room is.
    pub(crate) features: fn(&Room) -> &'static [&'static str],
    /// Fields of the form in disco#info (muc#roominfo).
    pub(crate) info: fn(&Room) -> Vec<DataField>,
    /// Requests to the room itself.
    pub(crate) requests: &'static [Request],
    /// Of the configuration, behind those of XEP-0045.
    pub(crate) fields: &'static [Field],
}

impl Extension {
    pub(crate) const NONE: Extension = Extension {
        features: |_| &[],
        info: |_| Vec::new(),
        requests: &[],
        fields: &[],
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
