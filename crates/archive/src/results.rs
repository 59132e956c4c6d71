//! What a query finds (XEP-0313 sections 4.2 and 4.3), and what there is to find (section 5).

use module::{ArchiveIds, Now, Said, Texts};
use stanza::{ns, rsm};
use store::{Archived, Page};

use crate::room::{self, Sees};
use crate::write::forwarded;

/// How the results of one query are shown.
pub(crate) struct Results<'a> {
    pub(crate) ids: &'a ArchiveIds,
    pub(crate) query_id: Option<&'a str>,
    /// The messages of the page come newest first (section 4.3.4).
    pub(crate) flip: bool,
    /// It is the archive of a room.
    pub(crate) room: Option<Sees>,
}

/// Room for what is written around a message: a guess, like that for `queryid`.
const AROUND: usize = 384;

impl Results<'_> {
    pub(crate) fn said(&self, page: &Page) -> Said {
        let around = AROUND + self.query_id.map_or(0, str::len);
        let bytes = page.messages.iter().map(|message| message.stanza.len() + around);
        let mut messages = Texts::with_capacity(page.messages.len(), bytes.sum());
        let mut add = |message| messages.add(|out| self.result(message, out));
        if self.flip {
            page.messages.iter().rev().for_each(&mut add);
        } else {
            page.messages.iter().for_each(&mut add);
        }
        let arrived = page.messages.iter().filter(|message| message.waits);
        Said {
            messages,
            arrived: arrived.map(|message| message.id).collect(),
            answer: Ok(self.fin(page)),
        }
    }

    /// The message is as it was received: its `<stanza-id/>` would say once more what `id` says (section 4.2).
    fn result(&self, message: &Archived, out: &mut Vec<u8>) {
        for part in ["<result xmlns='", ns::MAM, "' id='", &self.ids.show(message.id)] {
            out.extend_from_slice(part.as_bytes());
        }
        if let Some(id) = self.query_id {
            out.extend_from_slice(b"' queryid='");
            xmlstream::escape_attr(out, id);
        }
        out.extend_from_slice(b"'>");
        let stamp = Now(message.at).stamp();
        match self.room {
            Some(sees) => forwarded(&room::shown(&message.stanza, sees), Some(&stamp), out),
            None => forwarded(&message.stanza, Some(&stamp), out),
        }
        out.extend_from_slice(b"</result>");
    }

    /// The ends of the page are told in the order of the archive, flipped or not: they are where the next page begins.
    fn fin(&self, page: &Page) -> String {
        let ends = page.messages.first().zip(page.messages.last());
        let set = rsm::Set {
            ends: ends.map(|(first, last)| (self.ids.show(first.id), self.ids.show(last.id))),
            count: page.total,
        };
        let complete = if page.complete { " complete='true'" } else { "" };
        let mut out = format!("<fin xmlns='{}'{complete}>", ns::MAM).into_bytes();
        set.write(&mut out);
        out.extend_from_slice(b"</fin>");
        String::from_utf8(out).unwrap_or_default()
    }
}

/// `pages`: one with the first message of the archive, and one with the last.
pub(crate) fn metadata(ids: &ArchiveIds, pages: &[Page]) -> String {
    let mut out = format!("<metadata xmlns='{}'>", ns::MAM);
    for (name, page) in ["start", "end"].into_iter().zip(pages) {
        for message in &page.messages {
            let (id, stamp) = (ids.show(message.id), Now(message.at).stamp());
            out.push_str(&format!("<{name} id='{id}' timestamp='{stamp}'/>"));
        }
    }
    out.push_str("</metadata>");
    out
}
