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
    is_of_server: bool,
}

impl Receipt {
    pub(super) fn new(outbox: Arc<Outbox>, number: u32, key: Option<i64>) -> Receipt {
        Receipt {
            outbox,
            number,
            key,
            outcome: Outcome::Handled,
            is_of_server: false,
        }
    }

    /// Puts the counter into the batch that makes the stanza's effect durable: both are there after a crash, or neither.
    pub(crate) fn mark(&self, batch: &mut Batch) {
        if let Some(key) = self.key {
            let value = i64::from(self.outbox.submit(self.number));
            batch.ops.push(Op::Mark { key, value });
        }
    }

    /// Closes it.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// What cannot be kept for the moment is nobody's loss: it comes from another server, which sends it again.
    pub(crate) fn comes_again(&self) -> bool {
        self.is_of_server
    }

    pub(crate) fn of_server(mut self) -> Receipt {
        self.is_of_server = true;
        self
    }

    /// The counter as it has to be in the store while this stanza is to come again: later ones may have written it further.
    pub(crate) fn withhold(self) -> Batch {
        let (outbox, number, key) = (Arc::clone(&self.outbox), self.number, self.key);
        self.end(Outcome::Withheld);
        let mut batch = Batch::new();
        if let Some(key) = key {
            let value = i64::from(outbox.submit(number));
            batch.ops.push(Op::Mark { key, value });
        }
        batch
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        self.outbox.close_receipt(self.number, self.outcome);
    }
}
