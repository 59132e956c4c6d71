//! XEP-0424 Message Retraction 0.4.2 in a room: who has sent a message takes it back, and a tombstone stands in its place in
//! the archive and in the history.
//!
//! The retraction is a message like others, that everybody gets; it is kept (section 5), or nothing is taken back. A message
//! is named by the id that the room has given it (section 5.1). Its sender is known by his account: not by his nickname,
//! which others have after him.

use archive::{is_room_tombstone, is_sent_by, retracted, room_tombstone};
use stanza::{Stanza, ns};
use store::{Archived, Batch, Found, Query, Range, StoreError, View};

use crate::extension::Extension;
use crate::history;
use crate::room::{Context, Decided, Next, Room};

pub(crate) const EXTENSION: Extension = Extension {
    features: |_| &[ns::RETRACTION, ns::RETRACTION_TOMBSTONE],
    ..Extension::NONE
};

/// A message by which somebody takes back another of his.
#[derive(Debug)]
pub(crate) struct Retraction {
    /// The id of that one in the archive.
    id: i64,
    /// The id of the retraction, as its sender chose it.
    by: String,
}

impl Retraction {
    /// None: it is no retraction, or of nothing that the room knows.
    pub(crate) fn read(context: &Context<'_>, stanza: &Stanza<'_>) -> Option<Retraction> {
        let (id, by) = archive::retraction(stanza)?;
        let id = context.ids.read(&id)?;
        Some(Retraction { id, by })
    }

    /// It is kept: the message that it names is looked at.
    pub(crate) fn look(self, room: &Room, account: &str) -> Decided {
        let (question, account) = (message(room, self.id), account.to_owned());
        let next = move |room: &mut Room, context: &mut Context<'_>, found| match the_message(found) {
            Ok(Some(message)) if is_sent_by(&message.stanza, &account) && !is_room_tombstone(&message.stanza) => {
                let retracted = retracted(&self.by, &context.now.stamp(), "");
                Decided::Write(room.bury(context, &message, &retracted).0, Vec::new())
            }
            // There is nothing, or nothing of his.
            _ => Decided::nothing(),
        };
        Decided::Look(question, Next::new(next))
    }
}

/// A message of the archive; [`the_message`] understands the answer.
pub(crate) fn message(room: &Room, id: i64) -> Query {
    Query::archive(Range {
        ids: Some(vec![id]),
        ..Range::of(room.jid.bare_str(), View::Archive, 1)
    })
}

pub(crate) fn the_message(found: Result<Found, StoreError>) -> Result<Option<Archived>, StoreError> {
    Ok(found?.archive()?.messages.into_iter().next())
}

impl Room {
    /// A tombstone in the place of a message: at once in the history, with the batch in the archive. Returns also what
    /// stood in the history.
    pub(crate) fn bury(
        &mut self,
        context: &Context<'_>,
        message: &Archived,
        retracted: &str,
    ) -> (Batch, Option<history::Kept>) {
        let tombstone = room_tombstone(&message.stanza, retracted);
        let shown = context.ids.show(message.id);
        let kept = history::Kept::read(&self.jid, &shown, message.at, &tombstone);
        let before = kept.and_then(|kept| self.history.replace(kept));
        (
            Batch::new().replace(self.jid.bare_str(), message.id, &tombstone),
            before,
        )
    }
}
