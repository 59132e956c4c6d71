//! What a client wants of the list of whom its account blocks (XEP-0191).

/// Addresses in their prepared form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocking {
    Block(Vec<Box<str>>),
    Unblock(Vec<Box<str>>),
    UnblockAll,
}
