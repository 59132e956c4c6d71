//! Why a batch or a query failed, and what to tell the peer.

/// After any of these nothing of the batch is in the store, now or after a restart. (Where a driver cannot know that,
/// because the disk refused to flush, it ends the process without an answer.)
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// An [`Insert`](crate::Op::Insert) found a row. Answer: the feature decides, mostly `conflict` (RFC 6120
    /// section 8.3.3.2).
    Exists,
    /// A [`Require`](crate::Op::Require) found none. Answer: the feature decides, mostly `item-not-found` (8.3.3.7).
    Missing,
    /// No room on the disk, or a quota reached. Answer: `resource-constraint`, type `wait` (8.3.3.18); acknowledge
    /// nothing. Later writes succeed once there is room, without a restart.
    Full,
    /// Too much waits already. Answer: `resource-constraint`, type `wait`; acknowledge nothing.
    Overloaded,
    /// The store is being closed. Answer: nothing; the stream is about to end with `system-shutdown` (4.9.3.19).
    Closed,
    /// The disk failed to read or write. Answer: `resource-constraint`, type `wait`; the text is for the log.
    Io(String),
    /// The file is damaged. Answer: `internal-server-error`, type `cancel` (8.3.3.6); the text is for the log.
    Corrupt(String),
    /// The caller broke the rules: a table that was not declared, a row of another width. A bug in Jackdaw. Answer:
    /// `internal-server-error`; the text is for the log and names no content.
    Misuse(String),
    /// Something else. Answer: `internal-server-error`; the text is for the log.
    Other(String),
}

impl StoreError {
    /// Whether the same batch may succeed later: answer `resource-constraint` with type `wait`, not an error for good.
    pub fn is_temporary(&self) -> bool {
        matches!(
            self,
            StoreError::Full | StoreError::Overloaded | StoreError::Closed | StoreError::Io(_)
        )
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::Exists => f.write_str("the row exists already"),
            StoreError::Missing => f.write_str("a row that must be there is missing"),
            StoreError::Full => f.write_str("no room left on the disk"),
            StoreError::Overloaded => f.write_str("too much is waiting for the disk"),
            StoreError::Closed => f.write_str("the store is closed"),
            StoreError::Io(text) => write!(f, "the disk failed: {text}"),
            StoreError::Corrupt(text) => write!(f, "the database is damaged: {text}"),
            StoreError::Misuse(text) => write!(f, "the store was used wrongly: {text}"),
            StoreError::Other(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for StoreError {}
