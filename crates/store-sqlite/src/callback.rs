//! The thread that calls all callbacks. Apart from the writer, so that the next commit runs meanwhile; and one only, so
//! that they come in order and never two at a time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::Receiver;

use store::{Answered, Found, StoreError, Written, Wrote};

use crate::queue::Shared;

/// Results on their way to those who wait. The channel has no limit of its own: what is in it still counts against the
/// limits of the queue.
pub(crate) enum Finished {
    /// One group, and how many admitted batches and bytes it was.
    Writes {
        results: Vec<(Written, Result<Wrote, StoreError>)>,
        batches: usize,
        bytes: usize,
    },
    Read(Answered, Result<Found, StoreError>),
}

/// Ends when the writer and all readers have dropped their senders.
pub(crate) fn run(finished: &Receiver<Finished>, shared: &Shared) {
    for finished in finished {
        match finished {
            Finished::Writes {
                results,
                batches,
                bytes,
            } => {
                let jobs = results.len();
                for (done, result) in results {
                    guarded(|| done(result));
                }
                shared.release(jobs, batches, bytes);
                if let Some(call) = shared.after_commits() {
                    let is_more = shared.has_batches();
                    guarded(|| call(is_more));
                }
            }
            Finished::Read(done, result) => {
                guarded(|| done(result));
                shared.release_read();
            }
        }
    }
}

/// A callback that panics must not take the others with it.
fn guarded(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("a callback of the store panicked, which is a bug in Jackdaw");
    }
}
