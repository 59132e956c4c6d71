//! XEP-0452 MUC Mention Notifications 0.2.2: who belongs to a room and is not in it is sent the messages that mention him,
//! where the owners want it.
//!
//! Section 2 recommends a registered nickname: for whom none is kept is sent nothing, so nobody is who does not want to be.
//! A mention (XEP-0372) names his address, or his nickname as an address of the room; a room that hides addresses does not
//! tell by this whether it was right.

use std::sync::Arc;

use stanza::{Jid, ns};
use xmlstream::{Element, Limits, Scratch};

use module::FieldType;

use crate::away::address;
use crate::config::{Field, boolean};
use crate::extension::Extension;
use crate::rank::Affiliation;
use crate::room::{Context, Room};
use crate::say::{Say, attribute};
use stanza::Rendered;

pub(crate) const EXTENSION: Extension = Extension {
    fields: &[Field {
        var: "muc#roomconfig_forwardmentions",
        kind: FieldType::Boolean,
        label: "Messages with mentions are sent to members who are not here",
        options: &[],
        more: "",
        get: |config| vec![if config.forward_mentions { "1" } else { "0" }.to_owned()],
        set: |config, values| {
            config.forward_mentions = boolean(values)?;
            Some(())
        },
    }],
    reflected: forward,
    ..Extension::NONE
};

const NS: &str = "urn:xmpp:mmn:0";
const REFERENCE: &str = "urn:xmpp:reference:0";
/// Mentions of one message that are looked at.
const MENTIONS: usize = 16;

/// Section 3.2: the message as everybody has got it, to the accounts that it mentions.
fn forward(room: &Room, context: &Context<'_>, said: &Say) -> Vec<Say> {
    if !room.config.forward_mentions || !said.stanza.text().contains(REFERENCE) {
        return Vec::new();
    }
    let mut scratch = Scratch::default();
    // It was checked when it came.
    let message = xmlstream::parse_element(said.stanza.text(), ns::CLIENT, &mut scratch, &Limits::default());
    let mentioned = message.map(|message| room.mentioned(&message)).unwrap_or_default();
    if mentioned.is_empty() {
        return Vec::new();
    }
    let mut text = format!(
        "<message><mentions xmlns='{NS}'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='{}'",
        ns::DELAY
    );
    attribute(&mut text, "stamp", Some(&context.now.stamp()));
    text.push_str("/>");
    let message = said.stanza.text_with(&said.from, Some(room.jid.bare_str()));
    text.push_str(&message.replacen("<message", "<message xmlns='jabber:client'", 1));
    // It is worth keeping for who is away.
    text.push_str("</forwarded></mentions><store xmlns='urn:xmpp:hints'/></message>");
    vec![Say {
        from: room.jid.bare_str().into(),
        stanza: Rendered::from_text(&text),
        to: mentioned,
    }]
}

impl Room {
    /// Who belongs to the room, is mentioned, and is not here.
    fn mentioned(&self, message: &Element<'_>) -> Vec<Arc<Jid>> {
        let references = message.children().filter(|child| child.is("reference", REFERENCE));
        let mentions = references.filter(|child| child.attr("type").as_deref() == Some("mention"));
        let mut found: Vec<Arc<Jid>> = Vec::new();
        for uri in mentions.take(MENTIONS).filter_map(|mention| mention.attr("uri")) {
            let Some(jid) = address(&uri) else { continue };
            let bare = match jid.resource() {
                Some(nick) if jid.bare_str() == self.jid.bare_str() => self.keeper_of(nick),
                _ => Some(jid.bare_str()),
            };
            let belongs = |bare: &&str| {
                let standing = self.standings.get(*bare);
                standing.is_some_and(|standing| standing.affiliation >= Affiliation::Member && standing.nick.is_some())
            };
            let Some(bare) = bare.filter(belongs) else { continue };
            let is_here = !self.occupants.nicks_of(bare).is_empty();
            if !is_here && !found.iter().any(|other| other.as_str() == bare) {
                found.extend(Jid::parse(bare).map(Arc::new));
            }
        }
        found
    }
}
