//! XEP-0425 Moderated Message Retraction 0.3.0: a moderator takes back what somebody else has said.
//!
//! The message that tells everybody is the room's own, and in the archive as well; in the place of what was taken back stands
//! a tombstone. Nobody else says that something was moderated ([`is_forged`]).

use std::sync::Arc;

use archive::{is_room_tombstone, retracted};
use stanza::{ErrorType, Jid, JidRef, Rendered, Stanza, StanzaError, ns};
use store::{Archived, Found, StoreError};
use xmlstream::Child;

use crate::admin::cut;
use crate::extension::{Extension, Request};
use crate::mam::Later;
use crate::rank::Role;
use crate::retraction::{message, the_message};
use crate::room::{Context, Decided, Next, Reflect, Room};
use crate::say::{attribute, occupant_id, text_element};

pub(crate) const EXTENSION: Extension = Extension {
    features: |_| &[MODERATION],
    requests: &[Request::set("moderate", MODERATION, Room::moderate)],
    ..Extension::NONE
};

const MODERATION: &str = "urn:xmpp:message-moderate:1";

/// Whether only the room may say this (section 5): that a message was moderated, or was retracted.
pub(crate) fn is_forged(child: &Child<'_>) -> bool {
    match (child.name(), child.ns()) {
        (_, MODERATION) | ("retracted", ns::RETRACTION) => true,
        ("retract", ns::RETRACTION) => child.children().any(|part| part.ns() == MODERATION),
        _ => false,
    }
}

/// None: it is taken back already.
fn to_moderate(found: Result<Found, StoreError>) -> Result<Option<Archived>, StanzaError> {
    let message = the_message(found).map_err(|_| StanzaError::internal_server_error().kind(ErrorType::Wait))?;
    let message = message.ok_or_else(StanzaError::item_not_found)?;
    if !archive::tells_sender(&message.stanza, archive::Sees::Everybody) {
        return Err(StanzaError::not_allowed().text("the room itself has said that"));
    }
    Ok(Some(message).filter(|message| !is_room_tombstone(&message.stanza)))
}

/// What is taken back, and by whom.
struct Moderation {
    /// In the archive, and as it is shown.
    id: i64,
    shown: String,
    moderator: Arc<Jid>,
    reason: String,
}

impl Room {
    /// Section 3.
    fn moderate(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        moderate: &Child<'_>,
    ) -> Decided {
        let moderation = match self.moderation(context, from, moderate) {
            Ok(moderation) => moderation,
            Err(error) => return self.refuse(stanza, from, to, &error),
        };
        let later = Later::of(stanza, from, to);
        let question = message(self, moderation.id);
        let next =
            move |room: &mut Room, context: &mut Context<'_>, found| room.moderated(context, moderation, later, found);
        Decided::Look(question, Next::new(next))
    }

    fn moderation(
        &self,
        context: &Context<'_>,
        from: &Arc<Jid>,
        moderate: &Child<'_>,
    ) -> Result<Moderation, StanzaError> {
        if self.role_of(context, from) < Role::Moderator {
            return Err(StanzaError::forbidden().text("only moderators take back what others have said"));
        }
        if moderate.child("retract", ns::RETRACTION).is_none() {
            return Err(StanzaError::bad_request().text("a message can be retracted, and nothing else"));
        }
        let shown = moderate
            .attr("id")
            .ok_or_else(|| StanzaError::bad_request().text("which message?"))?;
        let id = context.ids.read(&shown).ok_or_else(StanzaError::item_not_found)?;
        let reason = moderate
            .child("reason", MODERATION)
            .map(|reason| reason.text().into_owned());
        let mut text = String::new();
        if let Some(reason) = reason.as_deref().filter(|reason| !reason.is_empty()) {
            text_element(&mut text, "reason", cut(reason));
        }
        Ok(Moderation {
            id,
            shown: shown.into_owned(),
            moderator: Arc::clone(from),
            reason: text,
        })
    }

    fn moderated(
        &mut self,
        context: &mut Context<'_>,
        moderation: Moderation,
        later: Later,
        found: Result<Found, StoreError>,
    ) -> Decided {
        let message = match to_moderate(found) {
            Ok(Some(message)) => message,
            Ok(None) => return Decided::Say(vec![later.answer(Ok(String::new()))]),
            Err(error) => return Decided::Say(vec![later.answer(Err(error))]),
        };
        let Moderation {
            shown,
            moderator,
            reason,
            ..
        } = moderation;
        let mut moderated = format!("<moderated xmlns='{MODERATION}'");
        // Who is not in the room has no name there.
        let nick = self.occupants.nick_of(moderator.as_ref().as_ref());
        attribute(&mut moderated, "by", nick.map(|nick| self.address(nick)).as_deref());
        moderated.push('>');
        moderated.push_str(&occupant_id(&self.id_of(context, moderator.bare_str())));
        moderated.push_str("</moderated>");
        moderated.push_str(&reason);
        // A message is taken back once.
        let by = format!("moderated-{shown}");
        let tombstone = retracted(&by, &context.now.stamp(), &moderated);
        let text = format!(
            "<message type='groupchat' id='{by}'><retract xmlns='{}' id='{shown}'>{moderated}</retract></message>",
            ns::RETRACTION
        );
        let (batch, buried) = self.bury(context, &message, &tombstone);
        Decided::Reflect(Reflect {
            batch,
            buried,
            then: vec![later.answer(Ok(String::new()))],
            ..Reflect::of(
                self,
                self.jid.bare_str().into(),
                &moderator,
                Rendered::from_text(&text),
                true,
            )
        })
    }
}
