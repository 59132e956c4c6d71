//! The one gate for durable writes: what a change has to say is said after its commit.
//!
//! An owner changes its memory at once, so that the next input sees the change, and hands over
//! the batch together with everything that tells somebody about it: the result of the IQ, roster
//! pushes, the stanza to the contact. That is held until the batch is on disk (guarantee G3). If
//! it cannot be written the requester gets an error instead and the owner's memory is read anew
//! from the store: what is on disk is the truth. All batches of one process are committed in the
//! order in which they were handed over, so what follows them keeps that order too.

use std::sync::Arc;

use stanza::{ErrorType, StanzaError};
use store::{Batch, StoreError};

use crate::account::Account;
use crate::shard::{Slot, State};
use crate::turn::Work;
use crate::{Outbox, Router, Turn};

/// Something to say once a batch is durable, or has failed.
pub(crate) enum After {
    Push(Arc<Outbox>, Box<str>),
    Work(Work),
}

impl After {
    pub(crate) fn push(outbox: &Arc<Outbox>, text: String) -> After {
        After::Push(Arc::clone(outbox), text.into_boxed_str())
    }

    pub(crate) fn letter(text: String) -> After {
        After::Work(Work::Letter(text.into_boxed_str()))
    }
}

/// Makes the answer to a failed change: given the error that the requester is told.
pub(crate) type OnFailure = Box<dyn FnOnce(&StanzaError) -> Vec<After> + Send>;

/// What a peer is told of a failure of the store (`docs/manual.md`, "When the disk is full").
pub(crate) fn told(error: &StoreError) -> StanzaError {
    match error {
        StoreError::Full | StoreError::Overloaded => StanzaError::resource_constraint().kind(ErrorType::Wait),
        StoreError::Missing => StanzaError::item_not_found(),
        StoreError::Exists => StanzaError::conflict(),
        _ => StanzaError::internal_server_error().kind(ErrorType::Wait),
    }
}

impl Router {
    /// Writes `batch` for `owner`; then says `then`, or what `failed` makes of the error. For what
    /// nobody at the owner's own connections hears of; else [`Router::decide`].
    pub(crate) fn write(&self, owner: &str, batch: Batch, then: Vec<After>, failed: OnFailure) {
        self.submit(owner, batch, then, failed, false);
    }

    /// As [`Router::write`], and what is delivered to the account meanwhile waits behind it.
    pub(crate) fn decide(&self, account: &mut Account, batch: Batch, then: Vec<After>, failed: OnFailure) {
        account.unsettled += 1;
        self.submit(account.jid.as_str(), batch, then, failed, true);
    }

    fn submit(&self, owner: &str, batch: Batch, then: Vec<After>, failed: OnFailure, decision: bool) {
        let owner: Box<str> = owner.into();
        let me = self.me.clone();
        self.store.write(
            batch,
            Box::new(move |result| {
                let Some(router) = me.upgrade() else { return };
                match result {
                    Ok(()) => router.say(&owner, then, decision),
                    Err(error) => {
                        tracing::error!(account = %owner, %error, "a change could not be written and was taken back");
                        router.say(&owner, failed(&told(&error)), decision);
                        router.reload(&owner);
                    }
                }
            }),
        );
    }

    fn say(&self, owner: &str, then: Vec<After>, decision: bool) {
        if then.is_empty() && !decision {
            return;
        }
        let now = (self.clock)();
        let mut turn = Turn::default();
        {
            // Under the owner's lock, as every delivery: the order in an outbox is the owner's.
            let hash = self.hash(owner);
            let mut shard = self.lock(hash);
            if let (
                true,
                Some(Slot {
                    state: State::Ready(account),
                    ..
                }),
            ) = (decision, shard.get_mut(hash, owner))
            {
                // An account that was forgotten and read again meanwhile has none.
                account.unsettled = account.unsettled.saturating_sub(1);
            }
            for after in then {
                match after {
                    After::Push(outbox, text) => {
                        outbox.push(&mut turn, |out| out.extend_from_slice(text.as_bytes()));
                    }
                    After::Work(work) => turn.queue.push_back(work),
                }
            }
        }
        self.settle(now, &mut turn);
        turn.finish();
    }
}
