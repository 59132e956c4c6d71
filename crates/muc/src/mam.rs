//! XEP-0313 Message Archive Management 1.1.3: what was said in a room is read by whoever may enter it.
//!
//! What is kept is decided where a message is reflected; how it stands in the archive, and who is shown of it whose it is,
//! says `archive::stored`. There are no preferences: a room keeps what everybody got.

use std::sync::Arc;

use archive::{Archive, Search, Sees};
use stanza::{Jid, JidRef, Rendered, Stanza, StanzaError, ns};
use xmlstream::Child;

use crate::extension::{Extension, Request};
use crate::rank::{Affiliation, Role};
use crate::room::{Answer, Context, Decided, Room};
use crate::say::{Say, failed, result};

pub(crate) const EXTENSION: Extension = Extension {
    features: |_| &[ns::MAM, ns::MAM_EXTENDED, ns::STANZA_IDS],
    requests: &[
        Request::set("query", ns::MAM, Room::search),
        Request::get("query", ns::MAM, Room::search_form),
        Request::get("metadata", ns::MAM, Room::metadata),
    ],
    ..Extension::NONE
};

impl Room {
    /// Section 6.1.2: whoever may enter the room now reads it. Of a password nobody is asked here: who has given it is in
    /// the room, and who belongs to it could read on otherwise.
    fn may_read(&self, context: &Context<'_>, who: &Jid) -> Result<Sees, StanzaError> {
        let right = self.right_of(context, who.as_ref());
        let is_here = self.occupants.clients_of(who.bare_str()).next().is_some();
        let may = match right {
            Affiliation::Outcast => false,
            Affiliation::None => !self.config.members_only && (self.config.password.is_empty() || is_here),
            _ => true,
        };
        if !may {
            // Section 8.1.
            return Err(StanzaError::forbidden().text("who may not enter the room may not read what was said there"));
        }
        Ok(match self.role_of(context, who) {
            Role::Moderator => Sees::Everybody,
            _ if self.config.non_anonymous => Sees::Known,
            _ => Sees::Nobody,
        })
    }

    /// Section 4.
    fn search(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        query: &Child<'_>,
    ) -> Decided {
        let room = self.jid.bare_str();
        let search = self
            .may_read(context, from)
            .and_then(|sees| Search::read(query, context.ids, Archive::Room(room, sees)));
        let search = match search {
            Ok(search) => search,
            Err(error) => return self.refuse(stanza, from, to, &error),
        };
        let (ids, question) = (*context.ids, search.question());
        let later = Later::of(stanza, from, to);
        let say = move |found| {
            let said = search.said(&ids, found);
            let texts = said.messages.iter().map(|text| String::from_utf8_lossy(text));
            let messages = texts.map(|text| Say {
                from: later.room.clone(),
                stanza: Rendered::from_text(&format!("<message>{text}</message>")),
                to: vec![Arc::clone(&later.asker)],
            });
            let mut say: Vec<Say> = messages.collect();
            say.push(later.answer(said.answer));
            say
        };
        Decided::Ask(question, Answer::new(say))
    }

    /// Section 4.1.5.
    fn search_form(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        _: &Child<'_>,
    ) -> Decided {
        match self.may_read(context, from) {
            Ok(_) => Decided::Say(vec![result(stanza, from, to.as_str(), &archive::form(false))]),
            Err(error) => self.refuse(stanza, from, to, &error),
        }
    }

    /// Section 5.
    fn metadata(
        &mut self,
        context: &mut Context<'_>,
        stanza: &Stanza<'_>,
        from: &Arc<Jid>,
        to: JidRef<'_>,
        _: &Child<'_>,
    ) -> Decided {
        if let Err(error) = self.may_read(context, from) {
            return self.refuse(stanza, from, to, &error);
        }
        let ids = *context.ids;
        let later = Later::of(stanza, from, to);
        let say = move |found| vec![later.answer(archive::metadata(&ids, found))];
        Decided::Ask(archive::metadata_question(self.jid.bare_str()), Answer::new(say))
    }
}

/// An answer that is given when the store has answered.
pub(crate) struct Later {
    room: Box<str>,
    asker: Arc<Jid>,
    done: Say,
    id: Option<Box<str>>,
}

impl Later {
    pub(crate) fn of(stanza: &Stanza<'_>, from: &Arc<Jid>, to: JidRef<'_>) -> Later {
        Later {
            room: to.as_str().into(),
            asker: Arc::clone(from),
            // The place of the payload is in it.
            done: result(stanza, from, to.as_str(), ""),
            id: stanza.id().map(Into::into),
        }
    }

    pub(crate) fn answer(self, answer: Result<String, StanzaError>) -> Say {
        match answer {
            Ok(payload) if payload.is_empty() => self.done,
            Ok(payload) => Say {
                stanza: self.done.stanza.with(&payload),
                ..self.done
            },
            Err(error) => failed("iq", self.id.as_deref(), &self.room, &self.asker, &error),
        }
    }
}
