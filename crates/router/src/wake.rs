//! Connections that were given something by a commit are woken once for all its batches.
//!
//! Waking a task of the runtime from another thread is the dearest part of handing over a commit, and one commit has
//! something for the same connections many times. So on the store's thread they are gathered, until
//! `store::Store::after_commits` says that the commit has been handed over.

use std::cell::RefCell;
use std::sync::Arc;

use crate::Outbox;

thread_local! {
    static GATHERED: RefCell<Option<Vec<Arc<Outbox>>>> = const { RefCell::new(None) };
}

/// From now on connections are gathered on this thread.
pub(crate) fn gather() {
    GATHERED.with_borrow_mut(|gathered| {
        gathered.get_or_insert_default();
    });
}

/// Wakes a connection, now or with the others.
pub(crate) fn wake(outbox: Arc<Outbox>) {
    let now = GATHERED.with_borrow_mut(|gathered| match gathered {
        Some(gathered) => {
            gathered.push(outbox);
            None
        }
        None => Some(outbox),
    });
    if let Some(outbox) = now {
        outbox.wake();
    }
}

/// Wakes all that were gathered on this thread, and gathers no more: it may be any thread.
pub(crate) fn wake_gathered() {
    for outbox in GATHERED.take().into_iter().flatten() {
        outbox.wake();
    }
}
