//! Publish-subscribe (XEP-0060 1.30.0) at the address of an account (XEP-0163 1.2.2): what becomes of a request, without
//! any I/O.
//!
//! A request is read into a [`request::Request`], which says what has to be read from the store. From these rows it is
//! decided: an error with the condition that XEP-0060 names for it, or a batch, the answer, and whom it concerns besides
//! ([`module::Change`]). Nothing of a node stands in memory between two requests, and the router lets no second one to
//! the same account begin before the batch of the first is handed over. So what is read is what the decision changes:
//! `max_items`, preconditions and sizes are exact.
//!
//! **Who may know.** To a stranger a node that he may not read does not exist, nor does the account: the answer is that
//! of a missing account, to the byte ([`access::gate`]). Contacts of the account are told the reason.

mod access;
mod also;
mod config;
mod discover;
mod error;
mod event;
mod form;
mod items;
mod last;
mod node;
mod owner;
mod publish;
mod request;
mod retract;
mod rows;
mod subscribe;

#[cfg(test)]
mod tests;

pub use access::{Asker, Context};
pub use also::{Act, also};
pub use discover::{node_info, node_items};
pub use last::{LAST_ITEMS, last_items};
pub use request::answer;
pub use rows::{ITEMS, NODES, ORDER, TOTALS};

/// Nodes of an account. One more: `policy-violation` with `<max-nodes-exceeded/>`.
pub const MAX_NODES: u64 = 1_000;

/// Items of a node, and what `max` means for `pubsub#max_items`. More is asked for: this many.
pub const MAX_ITEMS: u64 = 1_000;

/// Bytes of an item's payload; a node may allow less (`pubsub#max_payload_size`). More: `not-acceptable` with
/// `<payload-too-big/>`. Less than a stanza may have (`limits.stanza_bytes`), which would end the stream.
pub const MAX_PAYLOAD: u64 = 192 * 1024;

/// Bytes of all items of an account. More: `resource-constraint`.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes of the name of a node. Longer: `policy-violation`.
pub const MAX_NODE_NAME: usize = 1_024;

/// Bytes of the id of an item; many are JIDs. Longer: `policy-violation`.
pub const MAX_ITEM_ID: usize = 3_072;

/// Bytes of a text in the configuration of a node, and of all values of a list together. Longer: `not-acceptable`.
pub const MAX_TEXT: usize = 1_024;

/// Affiliations of a node beside its owner's. More: `policy-violation`.
pub const MAX_AFFILIATIONS: usize = 200;

/// Explicit subscriptions to a node. More: `policy-violation` with `<too-many-subscriptions/>`.
pub const MAX_SUBSCRIPTIONS: usize = 200;

/// Bytes of all JIDs of one of these two lists: all nodes of an account are read at once to list them. More is too many.
pub const MAX_JIDS: usize = 8 * 1024;

/// Items in one answer, and ids in one request. Fewer are told to be a page (XEP-0059); more ids: `policy-violation`.
pub const PAGE_ITEMS: usize = 1_000;

/// Bytes of the items, or of a list, in one answer; one item is answered in any case. Of what is asked for by name, more is
/// `policy-violation`; a list ends there.
pub const PAGE_BYTES: u64 = 512 * 1024;
