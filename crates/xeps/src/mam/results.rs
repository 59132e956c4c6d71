//! What a query finds (sections 4.2 and 4.3), and what there is to find (section 5).

use module::{ArchiveIds, Now, Said};
use stanza::ns;
use store::{Archived, Page};

use crate::rsm;

/// How the results of one query are shown.
pub(super) struct Results<'a> {
    pub(super) ids: &'a ArchiveIds,
    pub(super) query_id: Option<&'a str>,
    /// The messages of the page come newest first (section 4.3.4).
    pub(super) flip: bool,
}

impl Results<'_> {
    pub(super) fn said(&self, page: &Page) -> Said {
        let mut messages: Vec<String> = page.messages.iter().map(|message| self.result(message)).collect();
        if self.flip {
            messages.reverse();
        }
        let arrived = page.messages.iter().filter(|message| message.waits);
        Said {
            messages,
            arrived: arrived.map(|message| message.id).collect(),
            answer: Ok(self.fin(page)),
        }
    }

    /// The message is as it was received: its `<stanza-id/>` would say once more what `id` says (section 4.2).
    fn result(&self, message: &Archived) -> String {
        let mut out = format!("<result xmlns='{}' id='{}'", ns::MAM, self.ids.show(message.id)).into_bytes();
        if let Some(id) = self.query_id {
            out.extend_from_slice(b" queryid='");
            xmlstream::escape_attr(&mut out, id);
            out.push(b'\'');
        }
        out.push(b'>');
        archive::forwarded(&message.stanza, Some(&Now(message.at).stamp()), &mut out);
        out.extend_from_slice(b"</result>");
        // Escaping text yields text.
        String::from_utf8(out).unwrap_or_default()
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
pub(super) fn metadata(ids: &ArchiveIds, pages: &[Page]) -> String {
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
