//! The vocabulary of XMPP: JIDs, stanzas, errors, namespaces.
//!
//! Bytes in, values out: nothing here knows a socket, a clock or a policy. A stanza is a view over the
//! element that `xmlstream` checked, and is forwarded by copying its bytes ([`splice`]); no tree is built.

pub mod error;
pub mod jid;
pub mod kind;
pub mod ns;
pub mod rsm;
pub mod stanza;
pub mod write;

pub use error::{Condition, ErrorType, StanzaError, StreamCondition, StreamError};
pub use jid::{Jid, JidCow, JidError, JidRef, prepare_domain, prepare_local, prepare_resource};
pub use kind::{IqType, Kind, MessageType, PresenceType};
pub use stanza::{Fault, FaultKind, Stanza};
pub use write::{Edits, Rendered, Sent, error_reply, iq_result, splice, write_error};
