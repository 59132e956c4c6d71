//! What is written to addresses of components, before they are given it: a message of an account stands in its archive and
//! is copied to its other devices (XEP-0280 section 8), as one to any other address. And what is told of one that was not
//! read.

use std::sync::Arc;

use module::Now;
use stanza::{JidRef, Kind, MessageType, Stanza, StanzaError};
use store::StoreError;

use super::places::Slot;
use crate::durable::told;
use crate::wake::gather;
use crate::{Router, Turn};

impl Router {
    /// Whether a stanza goes to a component behind a commit.
    pub(super) fn keeps_for_component(
        &self,
        now: Now,
        slot: &Slot,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        turn: &mut Turn,
    ) -> bool {
        let (Kind::Message(kind), Some(origin)) = (stanza.kind(), &turn.origin) else {
            return false;
        };
        let keeping = archive::keeping(kind, stanza);
        // What needs no place in the archive does not get past what is on its way there.
        let is_behind = (keeping.archive || keeping.wait) && origin.outbox.is_behind();
        let archives = self.archives_sent(keeping, Some(origin), from);
        let bytes = stanza.element().source().len();
        let takes = slot.lock().takes(self.components.shares(), from.bare_str(), bytes);
        if takes.is_err() {
            // He is told at once, and it has not been sent.
            return false;
        }
        if !archives && !is_behind {
            self.copy_unkept(stanza, from, to, turn);
            return false;
        }
        let (mut sending, mut batch) = self.sends(now, keeping, stanza, from, to, turn);
        sending.mark(&mut batch);
        let me = self.me.clone();
        self.store.write(
            batch,
            Box::new(move |result| {
                let Some(router) = me.upgrade() else { return };
                gather();
                let end = sending.end_of(&result);
                let (now, mut turn) = ((router.clock)(), Turn::default());
                match result {
                    // It came once more (guarantee G2), and was given to it then.
                    Ok(wrote) if wrote.deposited.is_some_and(|deposited| !deposited.is_new) => {}
                    Ok(wrote) => {
                        router.give_kept(&sending.text, sending.from.as_ref(), sending.to.as_ref(), &mut turn);
                        sending.kept(&router, now, wrote.deposited, &mut turn);
                    }
                    // The process ends, and so have the streams.
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        tracing::error!(from = sending.from.bare_str(), %error, "a message to a component could not be kept");
                        let error = told(&error);
                        router.read_letter(&sending.text, &mut turn, |stanza, from, to, turn| {
                            if end.is_told() {
                                router.answer_with_error(stanza, from, to, &error, turn);
                            }
                        });
                    }
                }
                router.settle(now, &mut turn);
                turn.finish();
                sending.finish(&router, end);
            }),
        );
        true
    }

    fn give_kept(&self, text: &Arc<str>, from: JidRef<'_>, to: JidRef<'_>, turn: &mut Turn) {
        let Some(slot) = self.components.get(to.domain()) else {
            return;
        };
        let write = |out: &mut Vec<u8>| out.extend_from_slice(text.as_bytes());
        let shares = self.components.shares();
        let given = slot.lock().give(shares, from.bare_str(), text.len(), turn, write);
        if let Err(error) = given {
            self.read_letter(text, turn, |stanza, from, to, turn| {
                self.refuse_late_for_component(stanza, from, to, &error, turn);
            });
        }
    }

    /// As [`Router::refuse_for_component`], of what its sender may have taken for sent: he may have gone.
    pub(super) fn refuse_late_for_component(
        &self,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        to: JidRef<'_>,
        error: &StanzaError,
        turn: &mut Turn,
    ) {
        let is_gone =
            |resource: &str| self.with(from.bare_str(), |account| account.resource(resource).is_none()) != Some(false);
        let is_of_account = self.host(from.domain()).is_some_and(|host| host.guests.is_none());
        match stanza.kind() {
            Kind::Message(kind)
                if kind != MessageType::Error && is_of_account && from.resource().is_some_and(is_gone) =>
            {
                self.refuse_late(stanza.element().source(), error, turn);
            }
            _ => self.refuse_for_component(stanza, from, to, error, turn),
        }
    }
}
