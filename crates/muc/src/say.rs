//! What a room says: a stanza from an address of the room, to some clients.

use std::sync::Arc;

use stanza::{Edits, Jid, Rendered, Stanza, StanzaError, ns, write_error};
use xmlstream::escape_attr;

use crate::rank::{Affiliation, Role};

/// XEP-0421.
pub(crate) const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";

/// Bytes of `<x/>` as it nearly always is.
const USUAL: usize = 192;

/// One text for all who get it; the addresses go in where it is delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Say {
    /// The room, or an occupant of it.
    pub from: Box<str>,
    pub stanza: Rendered,
    pub to: Vec<Arc<Jid>>,
}

/// `<item/>` of muc#user and muc#admin (XEP-0045 sections 19.2 and 19.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item<'a> {
    pub(crate) affiliation: Affiliation,
    pub(crate) role: Option<Role>,
    pub(crate) jid: Option<&'a str>,
    pub(crate) nick: Option<&'a str>,
    /// Who did it, by nickname.
    pub(crate) actor: Option<&'a str>,
    pub(crate) reason: Option<&'a str>,
}

impl<'a> Item<'a> {
    pub(crate) fn new(affiliation: Affiliation, role: Role) -> Item<'a> {
        Item {
            affiliation,
            role: Some(role),
            jid: None,
            nick: None,
            actor: None,
            reason: None,
        }
    }

    pub(crate) fn write(&self, out: &mut String) {
        out.push_str("<item");
        attribute(out, "affiliation", Some(self.affiliation.name()));
        attribute(out, "role", self.role.map(Role::name));
        attribute(out, "jid", self.jid);
        attribute(out, "nick", self.nick);
        if self.actor.is_none() && self.reason.is_none() {
            return out.push_str("/>");
        }
        out.push('>');
        if let Some(actor) = self.actor {
            out.push_str("<actor");
            attribute(out, "nick", Some(actor));
            out.push_str("/>");
        }
        if let Some(reason) = self.reason {
            text_element(out, "reason", reason);
        }
        out.push_str("</item>");
    }
}

/// `<x/>` of muc#user with an item, status codes, and what else is in it.
pub(crate) fn x(item: &Item<'_>, statuses: &[u16], more: &str) -> String {
    // Enough for an item with addresses: a room of many says very many of these.
    let mut out = String::with_capacity(USUAL + more.len());
    out.push_str("<x xmlns='");
    out.push_str(stanza::ns::MUC_USER);
    out.push_str("'>");
    item.write(&mut out);
    for status in statuses {
        out.push_str(&format!("<status code='{status}'/>"));
    }
    out.push_str(more);
    out.push_str("</x>");
    out
}

/// What tells an occupant from others although names change.
pub(crate) fn occupant_id(id: &str) -> String {
    // Base64, as it is made.
    format!("<occupant-id xmlns='{OCCUPANT_ID}' id='{id}'/>")
}

/// The id of a message in the archive of the room (XEP-0359).
pub(crate) fn stanza_id(room: &str, id: &str) -> String {
    let mut out = format!("<stanza-id xmlns='{}'", stanza::ns::STANZA_IDS);
    attribute(&mut out, "by", Some(room));
    attribute(&mut out, "id", Some(id));
    out.push_str("/>");
    out
}

/// An error that goes from one occupant to another does not tell which server it is of: who stands in its `by` would
/// not be told in a room of names (RFC 6120 section 8.3.2).
pub(crate) fn without_by(stanza: &Stanza<'_>, edits: &mut Edits) {
    for error in stanza.children().filter(|child| child.is("error", ns::CLIENT)) {
        if error.attr("by").is_none() {
            continue;
        }
        let mut out = String::from("<error");
        attribute(&mut out, "type", error.attr("type").as_deref());
        out.push('>');
        for child in error.children() {
            child.write_canonical(ns::CLIENT, &mut out);
        }
        out.push_str("</error>");
        edits.remove(&error);
        edits.append(&out);
    }
}

/// An attribute, where there is a value.
pub(crate) fn attribute(out: &mut String, name: &str, value: Option<&str>) {
    let Some(value) = value else { return };
    out.push(' ');
    out.push_str(name);
    out.push_str("='");
    escaped(out, value, escape_attr);
    out.push('\'');
}

/// An element with a text and nothing else.
pub(crate) fn text_element(out: &mut String, name: &str, text: &str) {
    out.push('<');
    out.push_str(name);
    out.push('>');
    escaped(out, text, xmlstream::escape_text);
    out.push_str("</");
    out.push_str(name);
    out.push('>');
}

/// Nearly every text is plain, and goes as it is.
fn escaped(out: &mut String, text: &str, escape: impl FnOnce(&mut Vec<u8>, &str)) {
    let is_plain = |b: u8| !matches!(b, b'<' | b'>' | b'&' | b'\'' | b'"') && b >= b' ';
    if text.bytes().all(is_plain) {
        return out.push_str(text);
    }
    let mut escaped = Vec::with_capacity(text.len());
    escape(&mut escaped, text);
    // Escaping text yields text.
    out.push_str(&String::from_utf8(escaped).unwrap_or_default());
}

/// An error in answer to a stanza, from the address to which it was sent. None: it is one that is never answered.
pub(crate) fn error(stanza: &Stanza<'_>, from: &Arc<Jid>, to: &str, error: &StanzaError) -> Option<Say> {
    if !stanza.kind().may_be_answered() {
        return None;
    }
    let name = stanza.kind().element_name();
    Some(failed(name, stanza.id(), to, from, error))
}

/// An error in answer to a stanza that is not at hand any more.
pub(crate) fn failed(name: &str, id: Option<&str>, from: &str, to: &Arc<Jid>, error: &StanzaError) -> Say {
    let mut out = Vec::new();
    write_error(name, id, None, None, error, &mut out);
    Say {
        from: from.into(),
        stanza: Rendered::from_text(&String::from_utf8(out).unwrap_or_default()),
        to: vec![Arc::clone(to)],
    }
}

/// The result of a request.
pub(crate) fn result(stanza: &Stanza<'_>, from: &Arc<Jid>, to: &str, payload: &str) -> Say {
    let mut out = Vec::new();
    stanza::iq_result(stanza.id().unwrap_or_default(), None, None, payload, &mut out);
    Say {
        from: to.into(),
        stanza: Rendered::from_text(&String::from_utf8(out).unwrap_or_default()),
        to: vec![Arc::clone(from)],
    }
}
