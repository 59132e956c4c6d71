//! The one gate for durable writes: what a change has to say is said after its commit.
//!
//! An owner changes its memory at once, so that the next input sees the change, and hands over
//! the batch together with everything that tells somebody about it: the result of the IQ, roster
//! pushes, the stanza to the contact. That is held until the batch is on disk (guarantee G3). If
//! it cannot be written the requester gets an error instead and the owner's memory is read anew
//! from the store: what is on disk is the truth, and nothing is decided until it is known. All
//! batches of one process are committed in the order in which they were handed over, so what
//! follows them keeps that order too.
//!
//! Nothing overtakes: what is delivered to the account meanwhile waits behind the decision
//! (`Account::unsettled`), and so does what the client that made it sends on to others
//! (`Outbox::is_behind`, RFC 6120 section 10.1).

use std::sync::Arc;

use stanza::{ErrorType, StanzaError};
use store::{Batch, Found, Op, Query, StoreError, Wrote};

use crate::account::Account;
use crate::outbox::{DECISION, Item, Outcome, Receipt};
use crate::shard::Slot;
use crate::turn::Work;
use crate::wake::gather;
use crate::{Outbox, Router, Turn};

/// Something to say once a batch is durable, or has failed.
pub(crate) enum After {
    Push(Arc<Outbox>, Box<str>),
    /// A stanza with both addresses: if none of the outboxes takes anything any more it goes back
    /// to the rules of delivery.
    Deliver(Vec<Arc<Outbox>>, Box<str>),
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

/// What of an account has come to rest with a batch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settles {
    Nothing,
    /// Something that waited behind a decision.
    Waiting,
    Decision,
}

/// Stanzas that wait behind the decisions of one account. More is for a disk that has stopped:
/// then the account takes nothing any more, as an outbox that is full.
const WAITING_STANZAS: u32 = 4_096;

/// Makes the answer to a failed change: given the error that the requester is told.
pub(crate) type OnFailure = Box<dyn FnOnce(&StanzaError) -> Vec<After> + Send>;

/// What a peer is told of a failure of the store (`docs/manual.md`, "When the disk is full").
pub(crate) fn told(error: &StoreError) -> StanzaError {
    match error {
        StoreError::Full | StoreError::Overloaded | StoreError::Io(_) => {
            StanzaError::resource_constraint().kind(ErrorType::Wait)
        }
        StoreError::Missing => StanzaError::item_not_found(),
        StoreError::Exists => StanzaError::conflict(),
        _ => StanzaError::internal_server_error().kind(ErrorType::Wait),
    }
}

impl Router {
    /// Writes `batch` for `owner`; then says `then`, or what `failed` makes of the error. For what
    /// nobody at the owner's own connections hears of; else [`Router::decide`].
    pub(crate) fn write(
        &self,
        owner: &str,
        mut batch: Batch,
        then: Vec<After>,
        failed: OnFailure,
        receipt: Option<Receipt>,
    ) {
        mark(receipt.as_ref(), &mut batch);
        let owner: Box<str> = owner.into();
        let me = self.me.clone();
        self.store.write(
            batch,
            Box::new(move |result| {
                let Some(router) = me.upgrade() else { return };
                gather();
                let end = End::of(receipt, &result);
                match result {
                    Ok(_) => router.say(&owner, then, Settles::Nothing),
                    // The process ends, and so have the streams.
                    Err(StoreError::Closed) => {}
                    Err(error) => {
                        tracing::error!(account = %owner, %error, "something could not be written");
                        if end.is_told() {
                            router.say(&owner, failed(&told(&error)), Settles::Nothing);
                        }
                    }
                }
                router.ends(end);
            }),
        );
    }

    /// Asks the store for somebody's request, and goes on with what it says, an error too; not if the process ends.
    pub(crate) fn when_read(
        &self,
        owner: &str,
        query: Query,
        go_on: impl FnOnce(&Router, &str, Result<Found, StoreError>) + Send + 'static,
    ) {
        let owner: Box<str> = owner.into();
        let me = self.me.clone();
        self.store.read(
            query,
            Box::new(move |found| {
                let Some(router) = me.upgrade() else { return };
                match &found {
                    Err(StoreError::Closed) => return,
                    Err(error) => tracing::error!(account = %owner, %error, "a question could not be answered"),
                    Ok(_) => {}
                }
                go_on(&router, &owner, found);
            }),
        );
    }

    /// As [`Router::write`], for a change that was made in memory already. What is delivered to
    /// the account meanwhile waits behind it, and so does what `client` sends on to others.
    pub(crate) fn decide(
        &self,
        account: &mut Account,
        mut batch: Batch,
        then: Vec<After>,
        failed: OnFailure,
        client: Option<Arc<Outbox>>,
        receipt: Option<Receipt>,
    ) {
        require_account(account, &mut batch);
        mark(receipt.as_ref(), &mut batch);
        settle_later(account);
        account.undecided += 1;
        if let Some(client) = &client {
            client.fall_behind(DECISION);
        }
        let owner: Box<str> = account.jid.as_str().into();
        let me = self.me.clone();
        self.store.write(
            batch,
            Box::new(move |result| {
                let Some(router) = me.upgrade() else { return };
                gather();
                let end = End::of(receipt, &result);
                match result {
                    Ok(_) => router.say(&owner, then, Settles::Decision),
                    Err(StoreError::Closed) => {}
                    Err(error) => {
                        tracing::error!(account = %owner, %error, "a change could not be written and was taken back");
                        // Of several failures in a row the first reads: its query comes after all of
                        // them, since nothing is decided from now on.
                        let is_first = router.with(&owner, |account| {
                            let is_first = account.stale.is_none();
                            account.stale.get_or_insert_default();
                            is_first
                        });
                        if is_first == Some(true) {
                            router.reload(&owner);
                        }
                        let then = if end.is_told() {
                            failed(&told(&error))
                        } else {
                            Vec::new()
                        };
                        router.say(&owner, then, Settles::Decision);
                    }
                }
                if let Some(client) = client {
                    client.catch_up(DECISION);
                }
                router.ends(end);
            }),
        );
    }

    /// Says something once all decisions of the account that were made so far are durable or taken
    /// back. False where too much waits already.
    pub(crate) fn say_later(&self, account: &Account, after: After) -> bool {
        if account.unsettled.get() >= WAITING_STANZAS {
            return false;
        }
        settle_later(account);
        let owner: Box<str> = account.jid.as_str().into();
        let me = self.me.clone();
        // An empty batch is a barrier. If it is refused its turn has come all the same.
        self.store.write(
            Batch::new(),
            Box::new(move |result| {
                if let (Some(router), false) = (me.upgrade(), matches!(result, Err(StoreError::Closed))) {
                    router.say(&owner, vec![after], Settles::Waiting);
                }
            }),
        );
        true
    }

    /// Gives what the resource of `outbox` sends to other owners: at once, or behind the decisions
    /// that wait for their commit.
    pub(crate) fn pass_on(
        &self,
        account: &Account,
        outbox: &Arc<Outbox>,
        work: impl IntoIterator<Item = Work>,
        turn: &mut Turn,
    ) {
        if account.unsettled.get() == 0 && !outbox.is_behind() {
            turn.queue.extend(work);
        } else {
            self.follow(outbox, work.into_iter().collect());
        }
    }

    /// As [`Router::pass_on`], where something is known to wait.
    pub(crate) fn follow(&self, outbox: &Arc<Outbox>, work: Vec<Work>) {
        if work.is_empty() {
            return;
        }
        outbox.fall_behind(DECISION);
        let outbox = Arc::clone(outbox);
        let me = self.me.clone();
        self.store.write(
            Batch::new(),
            Box::new(move |result| {
                if let (Some(router), false) = (me.upgrade(), matches!(result, Err(StoreError::Closed))) {
                    router.work_off(work);
                }
                outbox.catch_up(DECISION);
            }),
        );
    }

    /// Lets `work` run once all that was handed over so far is durable or taken back.
    pub(crate) fn ask_again(&self, work: Work) {
        let me = self.me.clone();
        self.store.write(
            Batch::new(),
            Box::new(move |result| {
                if let (Some(router), false) = (me.upgrade(), matches!(result, Err(StoreError::Closed))) {
                    router.work_off(vec![work]);
                }
            }),
        );
    }

    fn work_off(&self, work: Vec<Work>) {
        let mut turn = Turn::default();
        turn.queue.extend(work);
        self.settle((self.clock)(), &mut turn);
        turn.finish();
    }

    /// The last of a stanza.
    pub(crate) fn ends(&self, end: End) {
        let Some(receipt) = end.receipt else { return };
        if end.outcome != Outcome::Withheld {
            return receipt.end(end.outcome);
        }
        let batch = receipt.withhold();
        if !batch.is_empty() {
            self.store.write(batch, Box::new(|_| ()));
        }
    }

    pub(crate) fn say(&self, owner: &str, then: Vec<After>, settles: Settles) {
        if then.is_empty() && settles == Settles::Nothing {
            return;
        }
        let now = (self.clock)();
        let mut turn = Turn::default();
        {
            // Under the owner's lock, as every delivery: the order in an outbox is the owner's.
            let hash = self.hash(owner);
            let mut shard = self.lock(hash);
            if let (Settles::Waiting | Settles::Decision, Some(Slot::Ready(account))) =
                (settles, shard.get_mut(hash, owner))
            {
                // An account that was forgotten and read again meanwhile has none: its query came
                // after this batch, and the store answers in that order.
                account.unsettled.set(account.unsettled.get().saturating_sub(1));
                if settles == Settles::Decision {
                    account.undecided = account.undecided.saturating_sub(1);
                }
            }
            for after in then {
                match after {
                    After::Push(outbox, text) => {
                        outbox.push(&mut turn, Item::Other, |out| out.extend_from_slice(text.as_bytes()));
                    }
                    After::Deliver(outboxes, text) => {
                        let mut delivered = false;
                        for outbox in outboxes {
                            delivered |= outbox
                                .push(&mut turn, Item::Other, |out| out.extend_from_slice(text.as_bytes()))
                                .is_some();
                        }
                        if !delivered {
                            turn.queue.push_back(Work::Letter(text));
                        }
                    }
                    After::Work(work) => turn.queue.push_back(work),
                }
            }
        }
        self.settle(now, &mut turn);
        turn.finish();
    }
}

/// What a stanza has changed and how far its stream has come are on disk together (guarantee G1).
pub(crate) fn mark(receipt: Option<&Receipt>, batch: &mut Batch) {
    if let Some(receipt) = receipt.filter(|_| !batch.is_empty()) {
        receipt.mark(batch);
    }
}

/// What becomes of the stanza behind a batch: its effect is on disk, or its sender is told that it is not. What another
/// server has sent and the disk refuses for the moment it has to send again ([`Outcome::Withheld`]), and nobody is told: an
/// error behind which the message arrives all the same would be a lie.
pub(crate) struct End {
    receipt: Option<Receipt>,
    outcome: Outcome,
}

impl End {
    pub(crate) fn of(receipt: Option<Receipt>, result: &Result<Wrote, StoreError>) -> End {
        let comes_again = receipt.as_ref().is_some_and(Receipt::comes_again);
        let outcome = match result {
            Ok(_) => Outcome::Durable,
            Err(error) if comes_again && error.is_temporary() => Outcome::Withheld,
            // It has its answer, and is not wanted once more.
            Err(_) if comes_again => Outcome::Handled,
            Err(_) => Outcome::Refused,
        };
        End { receipt, outcome }
    }

    /// Whether an error is to be sent where there was one.
    pub(crate) fn is_told(&self) -> bool {
        self.outcome != Outcome::Withheld
    }
}

fn settle_later(account: &Account) {
    account.unsettled.set(account.unsettled.get() + 1);
}

/// A disabled account may be about to be removed: nothing may be written behind that, or it would
/// be found by who gets the name next.
pub(crate) fn require_account(account: &Account, batch: &mut Batch) {
    if account.disabled && !batch.is_empty() {
        let owner = account.jid.as_str().into();
        let table = &accounts::ACCOUNTS;
        let key = None;
        batch.ops.insert(0, Op::Require { table, owner, key });
    }
}
