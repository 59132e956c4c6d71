//! What a client wants of the list of whom its account blocks (XEP-0191), and what it says of them (XEP-0377).

/// Addresses in their prepared form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocking {
    Block(Vec<Box<str>>),
    Unblock(Vec<Box<str>>),
    UnblockAll,
}

/// What a client has to say of somebody it blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// One of the addresses that are blocked.
    pub of: Box<str>,
    /// A URN.
    pub reason: Box<str>,
    /// What the user has written.
    pub text: Box<str>,
    /// Ids of messages in the archive of the account that reports, as clients know them.
    pub messages: Vec<Box<str>>,
    /// It may be forwarded to the domain that it is about, and to others.
    pub for_origin: bool,
    pub for_others: bool,
}
