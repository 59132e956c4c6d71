//! The picture of an account as its presence tells of it.

/// Who may see something of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// Some whom the account has chosen.
    #[default]
    Chosen,
    /// Who sees the account's presence.
    Contacts,
    Anyone,
}

/// What others are told (XEP-0153 section 3, XEP-0398 section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Photo {
    /// SHA-1 of the picture. None: there is none any more, which is told too.
    pub hash: Option<[u8; 20]>,
    /// Anybody may see it, and not only who sees the account's presence.
    pub is_open: bool,
}
