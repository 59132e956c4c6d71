//! What stands before `<enabled/>` in what a managed stream has not sent (XEP-0198 section 3: counting starts there).
//!
//! Nobody will acknowledge those stanzas, and the stream does not remember them. So when its connection breaks before
//! they were written they go their way again, as they do where a stream is not managed at all.

use stanza::ns;
use xmlstream::{Event, Framer, Scratch};

use crate::sessions::HEADER;

/// How `<enabled/>` begins in what the server writes; looked for first, as most streams have sent it long ago.
const MARK: &str = "<enabled xmlns='urn:xmpp:sm:3'";

/// The stanzas before `<enabled/>`, where that stands in this at all.
pub fn uncounted(unsent: &[u8]) -> &[u8] {
    &unsent[..enabled_at(unsent).unwrap_or(0)]
}

/// Leaves them, and a mark behind them; if all of this is counted, nothing.
pub(super) fn keep_uncounted(bytes: &mut Vec<u8>) {
    match enabled_at(bytes) {
        Some(at) => {
            bytes.truncate(at);
            bytes.extend_from_slice(MARK.as_bytes());
            bytes.extend_from_slice(b"/>");
        }
        None => *bytes = Vec::new(),
    }
}

fn enabled_at(unsent: &[u8]) -> Option<usize> {
    if !unsent.windows(MARK.len()).any(|part| part == MARK.as_bytes()) {
        return None;
    }
    // It may as well be the content of a stanza.
    let (mut framer, mut scratch) = (Framer::new(), Scratch::default());
    framer.next(HEADER.as_bytes(), &mut scratch, &crate::OWN_LIMITS).ok()?;
    let mut at = 0;
    loop {
        let step = framer.next(&unsent[at..], &mut scratch, &crate::OWN_LIMITS).ok()?;
        let Event::Element(element) = step.event else {
            return None;
        };
        if element.name() == "enabled" && element.ns() == ns::SM {
            return Some(at);
        }
        at += step.consumed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_before_enabled() {
        let fake = "<message><enabled xmlns='urn:xmpp:sm:3'/></message>";
        let enabled = "<enabled xmlns='urn:xmpp:sm:3' id='1' resume='true'/>";
        for (before, mark, behind) in [
            (fake, enabled, "<iq/>"),
            ("", enabled, fake),
            ("", "", fake),
            ("", "", ""),
            ("", "", "<presence/>"),
        ] {
            let all = [before, mark, behind].concat();
            assert_eq!(uncounted(all.as_bytes()), before.as_bytes(), "{all}");
            let mut kept = all.clone().into_bytes();
            keep_uncounted(&mut kept);
            assert_eq!(kept.is_empty(), mark.is_empty(), "{all}");
            assert_eq!(uncounted(&kept), before.as_bytes(), "{all}");
        }
    }
}
