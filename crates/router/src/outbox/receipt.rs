//! That a stanza has come, until what it does is done (XEP-0198, guarantee G1).

use std::sync::Arc;

use store::{Batch, Op};

use super::{Outbox, Outcome};

/// One stanza of a managed stream. Whatever goes on with the stanza carries it along: it closes when it is dropped, so
/// nothing that forgets it can leave a client without its acknowledgement.
pub(crate) struct Receipt {
    outbox: Arc<Outbox>,
    number: u32,
    /// Of the counter in the store, where the stream is resumable.
    key: Option<i64>,
    outcome: Outcome,
}

impl Receipt {
    pub(super) fn new(outbox: Arc<Outbox>, number: u32, key: Option<i64>) -> Receipt {
        Receipt {
            outbox,
            number,
            key,
            outcome: Outcome::Handled,
        }
    }

    /// Puts the counter into the batch that makes the stanza's effect durable: both are there after a crash, or neither.
    pub(crate) fn mark(&self, batch: &mut Batch) {
        if let Some(key) = self.key {
            let value = i64::from(self.outbox.submit(self.number));
            batch.ops.push(Op::Mark { key, value });
        }
    }

    /// Closes it: the disk took it, or did not.
    pub(crate) fn written(mut self, taken: bool) {
        self.outcome = if taken { Outcome::Durable } else { Outcome::Refused };
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.outbox.close_receipt(self.number, self.outcome);
    }
}
