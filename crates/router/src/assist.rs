//! What a client puts into a message for its own server is taken out and done (`module::Assist`).
//!
//! It goes behind the changes of the account that came before it. The acknowledgement of the message (XEP-0198) does not
//! wait for it: the message alone is what is promised.

use module::{Now, Occasion};
use stanza::{Edits, JidRef, Kind, Stanza, splice};

use crate::iq::Return;
use crate::{Bound, Router, Turn};

impl Router {
    /// The message without what was for the server, which is under way; nothing where it has nothing of the kind.
    pub(crate) fn assist(&self, now: Now, bound: &Bound, stanza: &Stanza<'_>, turn: &mut Turn) -> Option<Box<str>> {
        let Kind::Message(_) = stanza.kind() else { return None };
        let assists = self.registry().assists();
        let find = |child: &xmlstream::Child<'_>| assists.iter().find(|assist| child.is(assist.name, assist.namespace));
        // Nearly no message has anything of the kind, and its declarations say so.
        let is_assists = |ns: &str| assists.iter().any(|assist| assist.namespace == ns);
        if !stanza.element().declarations().any(|declared| is_assists(declared.ns)) {
            return None;
        }
        if !stanza.element().children().any(|child| find(&child).is_some()) {
            return None;
        }
        let from = bound.jid.as_ref();
        // A guest has nothing that could be changed.
        let is_guest = self.host(from.domain()).is_none_or(|host| host.guests.is_some());
        let to = stanza.to().unwrap_or(from.bare());
        let mut edits = Edits::default();
        for child in stanza.element().children() {
            let Some(assist) = find(&child) else { continue };
            edits.remove(&child);
            if is_guest {
                continue;
            }
            let occasion = Occasion {
                now,
                owner: bound.jid.to_bare(),
                by: bound.jid.clone(),
            };
            if let Some((query, make)) = (assist.make)(&occasion, to, &child) {
                let back = Return::nowhere(bound.jid.clone(), occasion.owner);
                let origin = turn.origin.take();
                self.change(from.bare_str(), child.source().len(), query, make, back, turn);
                turn.origin = origin;
            }
        }
        Some(without(stanza, from, to, &edits))
    }
}

fn without(stanza: &Stanza<'_>, from: JidRef<'_>, to: JidRef<'_>, edits: &Edits) -> Box<str> {
    let mut text = Vec::new();
    splice(stanza, from.as_str(), Some(to.as_str()), edits, &mut text);
    // `splice` writes text that was checked to be UTF-8 together with escaped text.
    String::from_utf8(text).unwrap_or_default().into_boxed_str()
}
