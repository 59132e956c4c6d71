//! Publish-subscribe (XEP-0060 1.30.0) at the address of an account (XEP-0163 1.2.2) and of a service: what becomes of a
//! request, without any I/O.
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
mod approval;
mod config;
mod discover;
mod error;
mod event;
mod form;
mod items;
mod last;
mod leave;
mod listing;
mod look;
mod mine;
mod moved;
mod node;
mod options;
mod owner;
mod people;
mod publish;
mod request;
mod retract;
mod rows;
mod subscribe;
mod whole;

#[cfg(test)]
mod tests;

pub use access::{Asker, Context};
pub use also::{Act, also};
pub use approval::{decide, is_decision};
pub use discover::{FILTER, Wanted, node_info, node_items};
pub use last::{LAST_ITEMS, last_items};
pub use leave::leave;
pub use look::{Looked, look, look_for};
pub use request::answer;
pub use rows::{ITEMS, MOVED, NODES, ORDER, PEOPLE, TOTALS};
pub use whole::{all_items, read_all, read_item};

/// Nodes of an account. One more: `policy-violation` with `<max-nodes-exceeded/>`.
pub const MAX_NODES: u64 = 1_000;

/// Nodes of a service, of all owners. One more is answered in the same way.
pub const MAX_SERVICE_NODES: u64 = 10_000;

/// Nodes of a service that one entity has made and owns. One more is answered in the same way.
pub const MAX_OWNED: usize = 100;

/// Nodes of a service at which one entity may be subscribed or have an affiliation. One more: `policy-violation` with
/// `<too-many-subscriptions/>`.
pub const MAX_OF_ONE: usize = 1_000;

/// Items of a node, and what `max` means for `pubsub#max_items`. More is asked for: this many.
pub const MAX_ITEMS: u64 = 1_000;

/// Bytes of an item's payload; a node may allow less (`pubsub#max_payload_size`). More: `not-acceptable` with
/// `<payload-too-big/>`. Less than a stanza may have (`limits.stanza_bytes`), which would end the stream.
pub const MAX_PAYLOAD: u64 = 192 * 1024;

/// Bytes of all items of an account. More: `resource-constraint`.
pub const MAX_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes of all items of a node of a service. More: `resource-constraint`.
pub const MAX_NODE_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes of all items of a service. More: `resource-constraint`.
pub const MAX_SERVICE_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Bytes of the name of a node. Longer: `policy-violation`.
pub const MAX_NODE_NAME: usize = 1_024;

/// Bytes of the id of an item; many are JIDs. Longer: `policy-violation`.
pub const MAX_ITEM_ID: usize = 3_072;

/// Bytes of a text in the configuration of a node, and of all values of a list together. Longer: `not-acceptable`.
pub const MAX_TEXT: usize = 1_024;

/// Affiliations of a node beside its owner's. More: `policy-violation`.
pub const MAX_AFFILIATIONS: usize = 200;

/// Explicit subscriptions to a node of an account, also those that wait to be approved. More: `policy-violation` with
/// `<too-many-subscriptions/>`.
pub const MAX_SUBSCRIPTIONS: usize = 200;

/// The same to a node of a service.
pub const MAX_SERVICE_SUBSCRIPTIONS: usize = 1_000;

/// Bytes of a JID in one of these lists, on the average: all nodes of an account are read at once to list them. A list of
/// as many bytes is full.
pub const BYTES_OF_JID: usize = 48;

/// Bytes that one request may send out: of what is told, times the explicit subscriptions. More: `policy-violation`.
pub const MAX_OUTPUT: u64 = 16 * 1024 * 1024;

/// Nodes that were deleted and say where to go ([`MOVED`]). One more: the first of them by name is forgotten.
pub const MAX_MOVED: usize = 100;

/// Bytes of such an address. More: `not-acceptable`.
pub const MAX_URI: usize = 2_048;

/// Items in one answer, and ids in one request. Fewer are told to be a page (XEP-0059); more ids: `policy-violation`.
pub const PAGE_ITEMS: usize = 1_000;

/// Bytes of the items, or of a list, in one answer; one item is answered in any case. Of what is asked for by name, more is
/// `policy-violation`; a list ends there.
pub const PAGE_BYTES: u64 = 512 * 1024;
