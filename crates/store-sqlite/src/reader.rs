//! A reader thread.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;

use rusqlite::Connection;

use crate::answer::answer;
use crate::archive::Index;
use crate::callback::Finished;
use crate::queue::{Read, Shared};
use crate::sql::Plan;

pub(crate) fn run(connection: &Connection, plan: &Plan, index: &Index, shared: &Shared, finished: &Sender<Finished>) {
    while let Some(Read { query, done }) = shared.next_read() {
        let found = query.and_then(|query| {
            let _snapshot = shared.snapshots.read().unwrap_or_else(PoisonError::into_inner);
            answer(connection, plan, index, &query)
        });
        shared.figures.reads.fetch_add(1, Ordering::Relaxed);
        // The callback thread outlives its senders, of which this is one.
        drop(finished.send(Finished::Read(done, found)));
    }
}
