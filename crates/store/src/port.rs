//! The port: what every driver does.

use std::sync::mpsc;
use std::time::Duration;

use crate::{Batch, Deposited, Found, Query, StoreError, Swept};

/// Called once, when the batch is durable (committed and flushed) or has failed.
pub type Written = Box<dyn FnOnce(Result<Wrote, StoreError>) + Send>;

/// What came of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wrote {
    /// Of its [`Op::Deposit`](crate::Op::Deposit).
    pub deposited: Option<Deposited>,
    /// Of its [`Op::Expire`](crate::Op::Expire) and [`Op::Sweep`](crate::Op::Sweep) together.
    pub swept: Option<Swept>,
}

impl Wrote {
    /// Of a batch in which nothing is worth telling.
    pub const NOTHING: Wrote = Wrote {
        deposited: None,
        swept: None,
    };

    /// One more op has swept.
    pub fn add_swept(&mut self, swept: Swept) {
        let before = self.swept.unwrap_or_default();
        self.swept = Some(Swept {
            messages: before.messages + swept.messages,
            more: before.more || swept.more,
        });
    }
}

/// Called once with the answer.
pub type Answered = Box<dyn FnOnce(Result<Found, StoreError>) + Send>;

/// A store. Callbacks instead of futures, so that the engines need no runtime and a driver can hand over a whole commit
/// at once.
///
/// The rules that every driver keeps, and `suite` tests:
///
/// - Batches take effect in the order of submission, and their callbacks are called in that order, one at a time,
///   those of refused batches too.
/// - A query sees every batch submitted before it, also those not yet committed at that moment: the driver waits. Its
///   callback is called after theirs. Queries among themselves have no order.
/// - A batch that fails leaves no trace and harms no other.
/// - A callback may be called on another thread or before `write` or `read` returns. So hold no lock there that the
///   callback takes. A callback is short and never waits: it hands over and returns; all others stand behind it. It
///   may call `write` and `read`, not `write_wait`, `read_wait` or `close`.
/// - After `close`, everything is answered with [`StoreError::Closed`].
/// - When the process dies (or the driver ends it, because it cannot tell whether the disk kept a commit), callbacks
///   are not called; a batch may be in the store though its callback was not called, never the other way round.
pub trait Store: Send + Sync {
    fn write(&self, batch: Batch, done: Written);

    fn read(&self, query: Query, done: Answered);

    /// Several writes in this order, each atomic by itself. Cheaper than one by one: all stanzas of one socket
    /// read should go in with one call.
    fn write_many(&self, writes: Vec<(Batch, Written)>) {
        for (batch, done) in writes {
            self.write(batch, done);
        }
    }

    /// Finishes what was submitted, calls every callback that is due, and frees what the driver holds. Blocks. A second
    /// call does nothing.
    fn close(&self);

    /// Blocks until nothing is asked that is not answered, with what the callbacks ask in turn; false where that has not come
    /// within `limit`. For the end of the process, when nobody else asks; never on a tokio worker.
    fn rest(&self, limit: Duration) -> bool;

    /// Random, made with the store and never changed: the key for hashes that must be the same after a restart.
    fn secret(&self) -> [u8; 32];

    /// Called after the callbacks of each commit, on their thread: for what is cheaper once for many than for each.
    /// At most one is kept; a driver that calls back one by one may call it after each. The argument tells whether another
    /// commit is under way, and so another call is certain to come.
    fn after_commits(&self, call: Box<dyn Fn(bool) + Send + Sync>);

    /// Calls back when everything submitted before is durable or has failed.
    fn flush(&self, done: Written) {
        self.write(Batch::new(), done);
    }

    /// [`write`](Store::write), blocking until it is durable. For the command line and tests; never on a tokio worker.
    fn write_wait(&self, batch: Batch) -> Result<Wrote, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        // Nobody listens any more only if this thread is gone.
        self.write(batch, Box::new(move |result| drop(sender.send(result))));
        receiver.recv().unwrap_or(Err(StoreError::Closed))
    }

    /// [`read`](Store::read), blocking. For the command line and tests; never on a tokio worker.
    fn read_wait(&self, query: Query) -> Result<Found, StoreError> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.read(query, Box::new(move |result| drop(sender.send(result))));
        receiver.recv().unwrap_or(Err(StoreError::Closed))
    }
}
