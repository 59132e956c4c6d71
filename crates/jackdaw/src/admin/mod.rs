//! The admin socket: a Unix socket in the data folder through which the account commands reach a running server.
//!
//! - `wire.rs`: commands and replies as lines.
//! - `server.rs`: the server's side, on tokio.
//! - `client.rs`: the command's side, blocking.
//!
//! Whoever may open the socket (mode 0600) may do everything: it is the right to the data folder. Passwords never
//! travel on it: the command derives the verifiers, which also keeps the server from milliseconds of PBKDF2.

mod client;
mod server;
mod wire;

use auth::Credentials;
use stanza::Jid;

use crate::failure::Failure;

pub use client::Client;
pub use server::{bind, serve};

/// Accounts in one [`Reply::Page`] and, at most, in one [`Command::Import`].
pub const PAGE: usize = 256;

/// An account to be added. Its JID is bare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAccount {
    pub jid: Jid,
    pub admin: bool,
    pub credentials: Credentials,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Add(NewAccount),
    /// At most [`PAGE`]; those that exist are left as they are.
    Import(Vec<NewAccount>),
    /// A page of accounts, in order of the bytes of their JIDs.
    List {
        /// Prepared.
        domain: Option<String>,
        after: Option<Jid>,
    },
    Remove(Jid),
    SetPassword(Jid, Credentials),
    Disable(Jid),
    Enable(Jid),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Done,
    Imported {
        added: usize,
        existing: usize,
    },
    Page {
        accounts: Vec<Listed>,
        /// Where the next page goes on; `None`: this was the last.
        after: Option<Jid>,
    },
}

/// An account as the list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub jid: Jid,
    /// Seconds since 1970.
    pub created: i64,
    pub disabled: bool,
    pub admin: bool,
}

/// Who carries a command out: the accounts of a store, or the server at the other end of the socket. Blocking.
pub trait Backend: Send + Sync {
    fn handle(&self, command: Command) -> Result<Reply, Failure>;
}
