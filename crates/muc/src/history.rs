//! The last messages of a room, for who enters (XEP-0045 sections 7.2.13 and 7.2.14). The archive has all of them; these
//! are in memory, as everybody who enters wants them.

use std::collections::VecDeque;
use std::sync::Arc;

use module::Now;
use stanza::{Jid, Rendered, ns};
use xmlstream::Child;

use crate::say::Say;

#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Oldest first.
    messages: VecDeque<Kept>,
}

/// One message as everybody got it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// The address of an occupant.
    pub(crate) from: Box<str>,
    pub(crate) message: Rendered,
    pub(crate) at: Now,
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
        self.messages.push_back(kept);
        while self.messages.len() > limit {
            self.messages.pop_front();
        }
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
