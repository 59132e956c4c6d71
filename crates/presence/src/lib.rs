//! Roster and subscriptions (RFC 6121 §2, §3, Appendix A): pure data and rules.
//!
//! Nothing here delivers, stores or waits. [`Roster`] is one account's contacts in memory; its methods apply a
//! roster set, a removal or a subscription stanza and return [`Effects`]: what to store, push, route and send, in
//! the order the RFC asks for. The router, which alone knows who is connected, carries them out.
//!
//! - [`State`], [`outbound`], [`inbound`]: the nine states and the eight tables of Appendix A.
//! - [`Set`], [`RosterLimits`]: a client's roster set, parsed and checked.
//! - [`blocking`]: whom an account does not want to hear of.
//! - [`caps`]: what a client can do, by the hash in its presence.
//! - [`reports`]: what accounts have told the operator of those they block.
//! - [`ROSTER`], [`ROSTER_VERSION`]: how a roster is stored.
//! - [`write_item`], [`write_push`], [`write_removal`], [`write_request`]: the bytes of the wire.

pub mod blocking;
pub mod caps;
mod item;
pub mod photo;
pub mod reports;
mod roster;
mod row;
mod set;
mod state;
mod subscription;
mod write;

pub use item::Item;
pub use roster::{Effects, Roster};
pub use row::{BadRow, ROSTER, ROSTER_VERSION};
pub use set::{RosterLimits, Set, Update};
pub use state::{State, Subscription};
pub use subscription::{Change, Inbound, Outbound, Presence, inbound, outbound};
pub use write::{NS_ROSTER, write_item, write_push, write_removal, write_request};

/// Stream feature that announces roster versioning (RFC 6121 §2.6.1): `<ver xmlns='…'/>`.
pub const NS_ROSTER_VERSIONING: &str = "urn:xmpp:features:rosterver";
/// Stream feature that announces subscription pre-approval (RFC 6121 §3.4): `<sub xmlns='…'/>`.
pub const NS_PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";
