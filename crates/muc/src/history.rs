//! The last messages of a room, for who enters (XEP-0045 sections 7.2.13 and 7.2.14). The archive has all of them; these
//! are in memory, as everybody who enters wants them.

use std::collections::VecDeque;
use std::sync::Arc;

use module::{ArchiveIds, Now};
use stanza::{Edits, Jid, Rendered, Stanza, ns};
use store::{Archived, Page, Query, Range, View};
use xmlstream::{Child, Limits, Scratch};

use crate::message::changes_subject;
use crate::say::{Say, stanza_id};

#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Oldest first.
    messages: VecDeque<Kept>,
    bytes: usize,
}

/// One message as everybody got it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The address of an occupant.
    pub(crate) from: Box<str>,
    pub(crate) message: Rendered,
    pub(crate) at: Now,
    /// In the archive, as it is shown.
    pub(crate) id: Option<Box<str>>,
}

/// Bytes of messages that are kept so, and read from the archive for it: what who enters is given at most. Older ones are
/// in the archive alone.
const BYTES: usize = 1024 * 1024;

impl Kept {
    /// A message as it stands in the archive. None: it is none that who enters gets, since it changes the subject.
    pub(crate) fn read(room: &Jid, id: &str, at: i64, stored: &str) -> Option<Kept> {
        let mut scratch = Scratch::default();
        let element = xmlstream::parse_element(stored, ns::CLIENT, &mut scratch, &Limits::default()).ok()?;
        let stanza = Stanza::read(element).ok()??;
        if changes_subject(&stanza) {
            return None;
        }
        let from = stanza.from()?.as_str().into();
        Some(Kept {
            from,
            message: Rendered::of(&stanza, &Edits::default()).with(&stanza_id(room.bare_str(), id)),
            at: Now(at),
            id: Some(id.into()),
        })
    }
}

/// The last messages of the archive of a room.
pub(crate) fn last(room: &Jid, limit: usize) -> Query {
    Query::archive(Range {
        newest: true,
        bytes: BYTES,
        ..Range::of(room.bare_str(), View::Archive, limit)
    })
}

/// How much of it somebody wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Of complete stanzas.
    pub(crate) characters: Option<usize>,
    pub(crate) messages: Option<usize>,
    pub(crate) since: Option<i64>,
}

impl Wanted {
    /// `<history/>` of a join. What cannot be read is as if it was not there: it is no reason to keep somebody out.
    pub(crate) fn read(history: Option<&Child<'_>>, now: Now) -> Wanted {
        let Some(history) = history else {
            return Wanted::default();
        };
        let number = |name: &str| history.attr(name).and_then(|text| text.parse::<usize>().ok());
        let ago = number("seconds").map(|seconds| {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            now.0.saturating_sub(seconds.saturating_mul(1_000))
        });
        let since = history.attr("since").and_then(|text| Now::read(&text));
        Wanted {
            characters: number("maxchars"),
            messages: number("maxstanzas"),
            // The smallest amount that meets all of them.
            since: ago.max(since.map(|since| since.0)),
        }
    }
}

impl History {
    pub(crate) fn add(&mut self, kept: Kept, limit: usize) {
        self.bytes += kept.message.text().len();
        self.messages.push_back(kept);
        while self.messages.len() > limit || self.bytes > BYTES {
            let Some(oldest) = self.messages.pop_front() else {
                return;
            };
            self.bytes -= oldest.message.text().len();
        }
    }

    /// What [`last`] has found.
    pub(crate) fn of_archive(room: &Jid, ids: &ArchiveIds, page: &Page) -> History {
        let messages = page.messages.iter();
        let read = |message: &Archived| Kept::read(room, &ids.show(message.id), message.at, &message.stanza);
        let messages: VecDeque<Kept> = messages.filter_map(read).collect();
        let bytes = messages.iter().map(|kept| kept.message.text().len()).sum();
        History { messages, bytes }
    }

    /// A message has become another. Returns it as it was.
    pub(crate) fn replace(&mut self, kept: Kept) -> Option<Kept> {
        let place = self.messages.iter_mut().find(|old| old.id == kept.id)?;
        self.bytes += kept.message.text().len();
        let before = std::mem::replace(place, kept);
        self.bytes -= before.message.text().len();
        Some(before)
    }

    /// The newest that are wanted, oldest first, for one client.
    pub(crate) fn of(&self, room: &str, wanted: Wanted, most: usize, to: &Arc<Jid>) -> Vec<Say> {
        let most = wanted.messages.map_or(most, |messages| messages.min(most));
        let mut room_for = wanted.characters.unwrap_or(usize::MAX);
        let mut found = Vec::new();
        for kept in self.messages.iter().rev().take(most) {
            if wanted.since.is_some_and(|since| kept.at.0 < since) {
                break;
            }
            let delay = delay(room, kept.at);
            let stanza = kept.message.with(&delay);
            if wanted.characters.is_some() {
                let size = stanza.text_with(&kept.from, Some(to.as_str())).chars().count();
                if size > room_for {
                    break;
                }
                room_for -= size;
            }
            found.push(Say {
                from: kept.from.clone(),
                stanza,
                to: vec![Arc::clone(to)],
            });
        }
        found.reverse();
        found
    }
}

/// Of a room's own (XEP-0203).
pub(crate) fn delay(room: &str, at: Now) -> String {
    let mut out = format!("<delay xmlns='{}'", ns::DELAY);
    crate::say::attribute(&mut out, "from", Some(room));
    crate::say::attribute(&mut out, "stamp", Some(&at.stamp()));
    out.push_str("/>");
    out
}
