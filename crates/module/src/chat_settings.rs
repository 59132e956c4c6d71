//! What an account wants to be told of a room while it is away (XEP-0492): where that stands is a module's affair.

use store::{Found, Query, StoreError};

/// How it is asked for, and read.
#[derive(Clone, Copy)]
pub struct ChatSettings {
    /// Of an account (bare JID) about a room (bare JID).
    pub ask: fn(&str, &str) -> Query,
    pub read: fn(Found) -> Result<Option<ChatSetting>, StoreError>,
}

/// Of a room that an account has a bookmark of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChatSetting {
    /// Its clients enter the room when they come.
    pub joins: bool,
    /// None: it says nothing of it.
    pub notify: Option<Notify>,
}

/// Which messages are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    Always,
    OnMention,
    Never,
}
