//! The admin socket: a Unix socket in the data folder through which the account commands reach a running server.
//!
//! - `wire.rs`: commands and replies as lines.
//! - `server.rs`: the server's side, on tokio.
//! - `client.rs`: the command's side, blocking.
//! - `reports.rs`: what is said of reports.
//!
//! Whoever may open the socket (mode 0600) may do everything: it is the right to the data folder. Passwords never
//! travel on it: the command derives the verifiers, which also keeps the server from milliseconds of PBKDF2.

mod client;
pub mod reports;
mod server;
mod wire;

use ::accounts::invitations::Invitation;
use auth::Credentials;
use stanza::Jid;

use crate::accounts::{Made, Wanted};
use crate::failure::Failure;

pub use client::Client;
pub use server::{bind, serve};

/// Accounts in one [`Reply::Page`] and, at most, in one [`Command::Import`].
pub const PAGE: usize = 256;

/// The longest id of a client in a command, in bytes: a slash and a resource (RFC 7622 section 3.4).
pub const MAX_CLIENT_ID: usize = 1 + 1_023;

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
    Reports(reports::Asked),
    Remove(Jid),
    SetPassword(Jid, Credentials),
    Disable(Jid),
    Enable(Jid),
    /// Whether it may administer the server.
    SetAdmin(Jid, bool),
    /// The clients of an account, and its sessions that are nobody's.
    Devices(Jid),
    /// Ends the access of a client, or a session.
    Revoke {
        jid: Jid,
        /// At most [`MAX_CLIENT_ID`], without a control character.
        id: String,
        /// Although it knows the password.
        keep_password: bool,
    },
    /// Makes an invitation.
    Invite(Wanted),
    /// A page of the invitations, in order of their keys.
    Invitations {
        after: Option<Box<str>>,
    },
    /// Ends the invitation whose key begins so: hexadecimal digits.
    Withdraw(String),
    /// What is known of another domain (prepared).
    Why {
        domain: String,
        /// It is tried first to reach it.
        now: bool,
    },
    /// The domains of push services: a line each, how many devices are announced to there, and the domain.
    PushServices,
}

impl Command {
    /// The account of which it ends sessions.
    pub fn ends_sessions_of(&self) -> Option<&Jid> {
        match self {
            Command::Remove(jid)
            | Command::SetPassword(jid, _)
            | Command::Disable(jid)
            | Command::Enable(jid)
            | Command::Revoke { jid, .. } => Some(jid),
            Command::Add(_)
            | Command::Reports(_)
            | Command::Import(_)
            | Command::SetAdmin(..)
            | Command::List { .. }
            | Command::Devices(_)
            | Command::Invite(_)
            | Command::Invitations { .. }
            | Command::Withdraw(_)
            | Command::Why { .. }
            | Command::PushServices => None,
        }
    }
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
    /// At most [`PAGE`].
    Devices(Vec<Device>),
    Reports(Vec<presence::reports::Report>),
    Invited(Made),
    Invitations {
        invitations: Vec<Invitation>,
        after: Option<Box<str>>,
    },
    /// For people; at most [`PAGE`], and no control characters.
    Lines(Vec<String>),
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

/// Whether a client is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    None,
    Open,
    /// It has a session without a connection, which may be resumed.
    Waits,
}

/// A client of an account, or one of its sessions that is nobody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub id: String,
    /// What it has logged in with.
    pub kind: String,
    /// What it says of itself; no control characters.
    pub name: String,
    pub connection: Connection,
    /// Seconds since 1970.
    pub first_seen: Option<i64>,
    pub last_seen: Option<i64>,
    pub has_token: bool,
}

/// Who carries a command out: the accounts of a store, or the server at the other end of the socket. Blocking.
pub trait Backend: Send + Sync {
    fn handle(&self, command: Command) -> Result<Reply, Failure>;
}
