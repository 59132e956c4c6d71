//! The picture in presence: the server says which it is, in place of the client (XEP-0398 section 4, XEP-0153).
//!
//! Which one it is stands with the account in memory, so presence costs no question to the store. A session's presence is
//! kept as its client sent it, and the picture is added where it is told to somebody: to contacts, to who arrives later
//! and probes, and in directed presence. So nothing but the account changes when the picture does. Then its sessions tell
//! those who see them again, as if their clients had.
//!
//! An account that never had a picture says nothing of its own, and what its clients say stays.

use module::{Photo, Relation, Switches};
use presence::photo::{Says, element, is_update, says};
use stanza::{Edits, JidRef, PresenceType, Rendered, Stanza, splice};

use crate::account::{Account, Session};
use crate::outbox::Item;
use crate::shard::Slot;
use crate::{Bound, Router, Turn};

impl Account {
    pub(crate) fn photo(&self) -> Option<Photo> {
        self.rare.as_ref()?.photo
    }

    /// The presence of a session as others see it; None while it is not available.
    pub(crate) fn presence_of(&self, session: &Session) -> Option<Rendered> {
        let presence = session.presence.as_ref()?;
        let photo = self.photo().filter(|_| !session.switches.has(Switches::NO_PHOTO));
        Some(match photo {
            None => presence.clone(),
            Some(photo) => presence.with(&element(&photo)),
        })
    }

    /// What of presence that a client broadcasts is not kept.
    pub(crate) fn edits_of(&self, stanza: &Stanza<'_>, says: Says) -> Edits {
        let mut edits = Edits::default();
        if says == Says::Something && self.photo().is_some() {
            let updates = stanza.children().filter(is_update);
            updates.for_each(|update| edits.remove(&update));
        }
        edits
    }
}

impl Router {
    /// Directed presence with the picture, where it is to have one and `to` may see it.
    pub(crate) fn with_photo(
        &self,
        bound: &Bound,
        kind: PresenceType,
        stanza: &Stanza<'_>,
        to: JidRef<'_>,
    ) -> Option<String> {
        if kind != PresenceType::Available {
            return None;
        }
        let told = self.with(bound.jid.bare_str(), |account| {
            let photo = account.photo()?;
            let may_see = photo.is_open || account.relation(to) >= Relation::Subscriber;
            let says = says(stanza.children());
            let is_told = may_see && says != Says::NoPhoto;
            is_told.then(|| (photo, account.edits_of(stanza, says)))
        });
        let (photo, mut edits) = told??;
        edits.append(&element(&photo));
        let mut text = Vec::new();
        splice(stanza, bound.jid.as_str(), Some(to.as_str()), &edits, &mut text);
        // What was checked to be UTF-8 together with ours.
        String::from_utf8(text).ok()
    }

    /// The picture has changed, and that is on disk.
    pub(crate) fn photo_changed(&self, owner: &str, photo: Photo, turn: &mut Turn) {
        let known = self.with(owner, |account| {
            let before = account.photo();
            account.rare_mut().photo = Some(photo);
            if before.is_none() {
                self.forget_photos_said(account, turn);
            }
            if before.is_some_and(|before| before.hash == photo.hash) {
                return;
            }
            for session in &account.sessions {
                let is_silent = session.switches.has(Switches::NO_PHOTO);
                let Some(presence) = account.presence_of(session).filter(|_| !is_silent) else {
                    continue;
                };
                let full = account.full(session);
                let sent = presence.sent_by(&full);
                // The client itself has heard of it, or will ask.
                let others = account.sessions.iter().filter(|other| other.id != session.id);
                for other in others.filter(|other| other.is_available()) {
                    let to = account.full(other);
                    self.push(account, other, Item::Presence(&full), turn, |out| sent.write(&to, out));
                }
                self.tell_subscribers(account, &session.outbox, sent, full.into_boxed_str(), false, turn);
            }
        });
        if known.is_none() {
            // What is being read of it may be older.
            let hash = self.hash(owner);
            if let Some(Slot::Loading(loading)) = self.lock(hash).get_mut(hash, owner) {
                loading.again = true;
            }
        }
    }

    /// From now on the server tells; what clients have said of pictures before is not kept any more.
    fn forget_photos_said(&self, account: &mut Account, turn: &mut Turn) {
        let own = account.jid.as_str().to_owned();
        for session in &mut account.sessions {
            let Some(presence) = &session.presence else { continue };
            if *presence == self.plain_presence || session.switches.has(Switches::NO_PHOTO) {
                continue;
            }
            let mut kept = None;
            let text = presence.text_with(&own, Some(&own));
            self.read_letter(&text, turn, |stanza, _, _, _| {
                let mut edits = Edits::default();
                let updates = stanza.children().filter(is_update);
                updates.for_each(|update| edits.remove(&update));
                kept = (!edits.is_empty()).then(|| Rendered::of(stanza, &edits));
            });
            if let Some(kept) = kept {
                session.presence = Some(kept);
            }
        }
    }
}
