//! What can be asked of a store, and what it answers.

use crate::{Keys, Oldest, Page, Range, Row, StoreError, Table, Whose};

/// The most rows that one [`Query::Page`], [`Query::Keys`] or [`Query::Owners`] returns; a larger `limit` counts as this one. It bounds
/// the memory of an answer and the time that a reader holds its snapshot, which holds up the log's clean-up.
pub const PAGE_LIMIT: usize = 1_024;

/// A question. It sees every batch that was submitted before it, and no part of a batch without the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// One row. KeyVal (no key) and Map (with key). Answered with [`Found::Row`].
    Get {
        table: &'static Table,
        owner: Box<str>,
        key: Option<Box<str>>,
    },
    /// All rows of the owner, by key. Map. Answered with [`Found::Rows`]. There is no limit here: the feature that
    /// writes the map limits its length.
    All { table: &'static Table, owner: Box<str> },
    /// A part of the rows of the owner, by key. Map. Answered with [`Found::Rows`].
    Keys(Box<Keys>),
    /// Rows with `id > after`, ascending, at most `limit` (see [`PAGE_LIMIT`]). Archive. Answered with [`Found::Page`].
    Page {
        table: &'static Table,
        owner: Box<str>,
        after: i64,
        limit: usize,
    },
    /// How many rows the owner has. Every shape. Answered with [`Found::Count`].
    Count { table: &'static Table, owner: Box<str> },
    /// Owners greater than `after` in order of their bytes, with their rows, at most `limit` (see [`PAGE_LIMIT`]).
    /// KeyVal. Answered with [`Found::Owners`].
    Owners {
        table: &'static Table,
        after: Option<Box<str>>,
        limit: usize,
    },
    /// A part of the archive. Answered with [`Found::Archive`].
    Archive(Box<Range>),
    /// Up to which id what waited for the owner was delivered ([`Op::Settle`](crate::Op::Settle)), and how many messages
    /// wait behind that ([`View::Waiting`](crate::View)); no more than `most` are counted. Asked whenever an account is
    /// read, so it looks at no stanza. Answered with [`Found::Waiting`].
    Waiting { owner: Box<str>, most: usize },
    /// How many bytes of stanzas the owner's archive has; what was taken out of it counts until it was
    /// [swept](crate::Op::Sweep). Looks at no stanza. Answered with [`Found::Count`].
    Usage { owner: Box<str> },
    /// The first messages behind `after`: so many that they are at least so many bytes, but no more than
    /// [`OLDEST_LIMIT`](crate::OLDEST_LIMIT). Answered with [`Found::Oldest`].
    Oldest { whose: Whose, after: i64, bytes: u64 },
    /// The number under this key ([`Op::Mark`](crate::Op::Mark)). Answered with [`Found::Mark`].
    Mark { key: i64 },
    /// Several questions about one moment; not nested. Answered with [`Found::Many`], in the same order.
    Many(Vec<Query>),
}

impl Query {
    pub fn get<'a>(table: &'static Table, owner: &str, key: impl Into<Option<&'a str>>) -> Query {
        Query::Get {
            table,
            owner: owner.into(),
            key: key.into().map(Into::into),
        }
    }

    pub fn all(table: &'static Table, owner: &str) -> Query {
        Query::All {
            table,
            owner: owner.into(),
        }
    }

    pub fn keys(keys: Keys) -> Query {
        Query::Keys(Box::new(keys))
    }

    pub fn page(table: &'static Table, owner: &str, after: i64, limit: usize) -> Query {
        Query::Page {
            table,
            owner: owner.into(),
            after,
            limit,
        }
    }

    pub fn count(table: &'static Table, owner: &str) -> Query {
        Query::Count {
            table,
            owner: owner.into(),
        }
    }

    pub fn archive(range: Range) -> Query {
        Query::Archive(Box::new(range))
    }

    pub fn waiting(owner: &str, most: usize) -> Query {
        Query::Waiting {
            owner: owner.into(),
            most,
        }
    }

    pub fn usage(owner: &str) -> Query {
        Query::Usage { owner: owner.into() }
    }

    pub fn owners<'a>(table: &'static Table, after: impl Into<Option<&'a str>>, limit: usize) -> Query {
        Query::Owners {
            table,
            after: after.into().map(Into::into),
            limit,
        }
    }
}

/// An answer; which one is told beside each [`Query`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    Row(Option<Row>),
    /// (key, row)
    Rows(Vec<(Box<str>, Row)>),
    /// (id, row)
    Page(Vec<(i64, Row)>),
    Count(u64),
    /// (owner, row)
    Owners(Vec<(Box<str>, Row)>),
    Archive(Page),
    Mark(Option<i64>),
    /// (up to which id was delivered, how many wait behind it)
    Waiting(i64, u64),
    Oldest(Oldest),
    Many(Vec<Found>),
}

/// Each of these fails with [`StoreError::Misuse`] when the answer is of another kind.
impl Found {
    pub fn row(self) -> Result<Option<Row>, StoreError> {
        match self {
            Found::Row(row) => Ok(row),
            other => Err(other.not("a row")),
        }
    }

    pub fn rows(self) -> Result<Vec<(Box<str>, Row)>, StoreError> {
        match self {
            Found::Rows(rows) => Ok(rows),
            other => Err(other.not("rows")),
        }
    }

    pub fn page(self) -> Result<Vec<(i64, Row)>, StoreError> {
        match self {
            Found::Page(rows) => Ok(rows),
            other => Err(other.not("a page")),
        }
    }

    pub fn count(self) -> Result<u64, StoreError> {
        match self {
            Found::Count(count) => Ok(count),
            other => Err(other.not("a count")),
        }
    }

    pub fn owners(self) -> Result<Vec<(Box<str>, Row)>, StoreError> {
        match self {
            Found::Owners(owners) => Ok(owners),
            other => Err(other.not("owners")),
        }
    }

    pub fn archive(self) -> Result<Page, StoreError> {
        match self {
            Found::Archive(page) => Ok(page),
            other => Err(other.not("a part of the archive")),
        }
    }

    pub fn mark(self) -> Result<Option<i64>, StoreError> {
        match self {
            Found::Mark(mark) => Ok(mark),
            other => Err(other.not("a mark")),
        }
    }

    pub fn waiting(self) -> Result<(i64, u64), StoreError> {
        match self {
            Found::Waiting(delivered, count) => Ok((delivered, count)),
            other => Err(other.not("what waits")),
        }
    }

    pub fn oldest(self) -> Result<Oldest, StoreError> {
        match self {
            Found::Oldest(oldest) => Ok(oldest),
            other => Err(other.not("the oldest messages")),
        }
    }

    pub fn many(self) -> Result<Vec<Found>, StoreError> {
        match self {
            Found::Many(answers) => Ok(answers),
            other => Err(other.not("several answers")),
        }
    }

    fn not(&self, wanted: &str) -> StoreError {
        let got = match self {
            Found::Row(_) => "a row",
            Found::Rows(_) => "rows",
            Found::Page(_) => "a page",
            Found::Count(_) => "a count",
            Found::Owners(_) => "owners",
            Found::Archive(_) => "a part of the archive",
            Found::Mark(_) => "a mark",
            Found::Waiting(..) => "what waits",
            Found::Oldest(_) => "the oldest messages",
            Found::Many(_) => "several answers",
        };
        StoreError::Misuse(format!("{wanted} expected, but the answer is {got}"))
    }
}
