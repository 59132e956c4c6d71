//! What one step of a feature changes, as one atomic unit.

use crate::{Deposit, Row, Table};

/// One change. `key` is `None` for [`Shape::KeyVal`](crate::Shape), `Some` for [`Shape::Map`](crate::Shape).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes the row, over the old one if there is one. KeyVal and Map.
    Put {
        table: &'static Table,
        owner: Box<str>,
        key: Option<Box<str>>,
        row: Row,
    },
    /// Writes the row; the batch fails with [`Exists`](crate::StoreError::Exists) if there is one. KeyVal and Map.
    Insert {
        table: &'static Table,
        owner: Box<str>,
        key: Option<Box<str>>,
        row: Row,
    },
    /// Adds these numbers to those of the row; where there is none, writes it. So who counts need not have read. Every
    /// column of the table is a number, and so is every value. KeyVal and Map.
    Add {
        table: &'static Table,
        owner: Box<str>,
        key: Option<Box<str>>,
        row: Row,
    },
    /// Deletes the row if it is there. A Map without key, and an Archive: all rows of the owner in this table.
    Delete {
        table: &'static Table,
        owner: Box<str>,
        key: Option<Box<str>>,
    },
    /// Deletes the owner's rows whose keys begin with `prefix`, which is not empty. Map.
    DeleteKeys {
        table: &'static Table,
        owner: Box<str>,
        prefix: Box<str>,
    },
    /// Adds a row with the next id of the sequence. Archive.
    Append {
        table: &'static Table,
        owner: Box<str>,
        row: Row,
    },
    /// Deletes the owner's rows with `id <= up_to`. Archive.
    Trim {
        table: &'static Table,
        owner: Box<str>,
        up_to: i64,
    },
    /// Deletes every row of the owner in every table, also in tables that no feature declares any more.
    Forget { owner: Box<str> },
    /// The batch fails with [`Missing`](crate::StoreError::Missing) unless the row is there. KeyVal and Map.
    Require {
        table: &'static Table,
        owner: Box<str>,
        key: Option<Box<str>>,
    },
    /// Adds a message to the archive, at most one in a batch; what became of it is told in [`Wrote`](crate::Wrote).
    Deposit(Box<Deposit>),
    /// Puts other text in the place of a message that stands in the owner's archive, for everyone who has it there
    /// (XEP-0424 tombstones). No such message: nothing happens.
    Replace { owner: Box<str>, id: i64, stanza: Box<str> },
    /// The owner has nothing up to this id any more: neither in the archive nor waiting. An id that was not given out
    /// yet counts as the last one: it takes away nothing that comes later.
    Horizon { owner: Box<str>, up_to: i64 },
    /// Everything that waited for the owner was delivered up to this id, which may be lower than before: what a broken
    /// connection did not take waits again. But what stands in no archive is gone for good once it was delivered.
    Settle { owner: Box<str>, up_to: i64 },
    /// The owner's archive begins behind this id. What waits for him stays. As for [`Horizon`](Op::Horizon), an id that
    /// was not given out yet counts as the last one.
    Floor { owner: Box<str>, up_to: i64 },
    /// Takes the messages that were accepted before this moment out of the archives, the first by id first, at most so
    /// many (see [`EXPIRE_LIMIT`](crate::EXPIRE_LIMIT)). What waits still waits. Answered in
    /// [`Wrote::swept`](crate::Wrote).
    Expire { before: i64, most: usize },
    /// Deletes what has no place left, at most so many messages (see [`EXPIRE_LIMIT`](crate::EXPIRE_LIMIT)). Nothing that
    /// can be seen changes. Fingerprints are kept for 24 hours, of which `now` is the end. Answered in
    /// [`Wrote::swept`](crate::Wrote).
    Sweep { now: i64, most: usize },
    /// Notes a number under a number. The cheapest write there is, for what changes with every stanza: the counter of a
    /// stream (XEP-0198). The caller chooses the key.
    Mark { key: i64, value: i64 },
    /// Forgets the number.
    Unmark { key: i64 },
}

impl Op {
    /// Whether the op can fail its batch although nothing is wrong with the disk.
    pub fn is_condition(&self) -> bool {
        matches!(self, Op::Insert { .. } | Op::Require { .. })
    }

    /// Bytes of content, for the limits of queues.
    fn bytes(&self) -> usize {
        let key_of = |key: &Option<Box<str>>| key.as_ref().map_or(0, |key| key.len());
        let row_of = |row: &Row| {
            row.iter()
                .map(|value| size_of_val(value) + value.bytes())
                .sum::<usize>()
        };
        size_of::<Op>()
            + match self {
                Op::Put { owner, key, row, .. }
                | Op::Insert { owner, key, row, .. }
                | Op::Add { owner, key, row, .. } => owner.len() + key_of(key) + row_of(row),
                Op::Delete { owner, key, .. } | Op::Require { owner, key, .. } => owner.len() + key_of(key),
                Op::DeleteKeys { owner, prefix, .. } => owner.len() + prefix.len(),
                Op::Append { owner, row, .. } => owner.len() + row_of(row),
                Op::Trim { owner, .. }
                | Op::Forget { owner }
                | Op::Horizon { owner, .. }
                | Op::Settle { owner, .. }
                | Op::Floor { owner, .. } => owner.len(),
                Op::Deposit(deposit) => {
                    size_of::<Deposit>() + deposit.sender.len() + deposit.recipient.len() + deposit.stanza.len()
                }
                Op::Replace { owner, stanza, .. } => owner.len() + stanza.len(),
                Op::Expire { .. } | Op::Sweep { .. } | Op::Mark { .. } | Op::Unmark { .. } => 0,
            }
    }
}

/// Changes that happen together or not at all, in this order: a later op sees what an earlier one did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub ops: Vec<Op>,
}

impl Batch {
    pub fn new() -> Batch {
        Batch::default()
    }

    pub fn put<'a>(mut self, table: &'static Table, owner: &str, key: impl Into<Option<&'a str>>, row: Row) -> Batch {
        self.ops.push(Op::Put {
            table,
            owner: owner.into(),
            key: key.into().map(Into::into),
            row,
        });
        self
    }

    pub fn insert<'a>(
        mut self,
        table: &'static Table,
        owner: &str,
        key: impl Into<Option<&'a str>>,
        row: Row,
    ) -> Batch {
        self.ops.push(Op::Insert {
            table,
            owner: owner.into(),
            key: key.into().map(Into::into),
            row,
        });
        self
    }

    pub fn add<'a>(mut self, table: &'static Table, owner: &str, key: impl Into<Option<&'a str>>, row: Row) -> Batch {
        self.ops.push(Op::Add {
            table,
            owner: owner.into(),
            key: key.into().map(Into::into),
            row,
        });
        self
    }

    pub fn delete<'a>(mut self, table: &'static Table, owner: &str, key: impl Into<Option<&'a str>>) -> Batch {
        self.ops.push(Op::Delete {
            table,
            owner: owner.into(),
            key: key.into().map(Into::into),
        });
        self
    }

    pub fn delete_keys(mut self, table: &'static Table, owner: &str, prefix: &str) -> Batch {
        self.ops.push(Op::DeleteKeys {
            table,
            owner: owner.into(),
            prefix: prefix.into(),
        });
        self
    }

    pub fn append(mut self, table: &'static Table, owner: &str, row: Row) -> Batch {
        self.ops.push(Op::Append {
            table,
            owner: owner.into(),
            row,
        });
        self
    }

    pub fn trim(mut self, table: &'static Table, owner: &str, up_to: i64) -> Batch {
        self.ops.push(Op::Trim {
            table,
            owner: owner.into(),
            up_to,
        });
        self
    }

    pub fn forget(mut self, owner: &str) -> Batch {
        self.ops.push(Op::Forget { owner: owner.into() });
        self
    }

    pub fn require<'a>(mut self, table: &'static Table, owner: &str, key: impl Into<Option<&'a str>>) -> Batch {
        self.ops.push(Op::Require {
            table,
            owner: owner.into(),
            key: key.into().map(Into::into),
        });
        self
    }

    pub fn deposit(mut self, deposit: Deposit) -> Batch {
        self.ops.push(Op::Deposit(Box::new(deposit)));
        self
    }

    pub fn replace(mut self, owner: &str, id: i64, stanza: &str) -> Batch {
        self.ops.push(Op::Replace {
            owner: owner.into(),
            id,
            stanza: stanza.into(),
        });
        self
    }

    pub fn horizon(mut self, owner: &str, up_to: i64) -> Batch {
        self.ops.push(Op::Horizon {
            owner: owner.into(),
            up_to,
        });
        self
    }

    pub fn settle(mut self, owner: &str, up_to: i64) -> Batch {
        self.ops.push(Op::Settle {
            owner: owner.into(),
            up_to,
        });
        self
    }

    pub fn floor(mut self, owner: &str, up_to: i64) -> Batch {
        self.ops.push(Op::Floor {
            owner: owner.into(),
            up_to,
        });
        self
    }

    pub fn sweep(mut self, now: i64, most: usize) -> Batch {
        self.ops.push(Op::Sweep { now, most });
        self
    }

    pub fn expire(mut self, before: i64, most: usize) -> Batch {
        self.ops.push(Op::Expire { before, most });
        self
    }

    pub fn unmark(mut self, key: i64) -> Batch {
        self.ops.push(Op::Unmark { key });
        self
    }

    pub fn mark(mut self, key: i64, value: i64) -> Batch {
        self.ops.push(Op::Mark { key, value });
        self
    }

    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Whether any op [is a condition](Op::is_condition).
    pub fn has_conditions(&self) -> bool {
        self.ops.iter().any(Op::is_condition)
    }

    /// About what the batch holds in memory, for the limits of queues.
    pub fn bytes(&self) -> usize {
        self.ops.iter().map(Op::bytes).sum()
    }
}
