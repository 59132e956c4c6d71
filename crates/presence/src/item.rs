//! One roster item (RFC 6121 §2.1.2) with the request that may wait beside it.

use crate::State;

/// A contact as the roster keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Item {
    /// The contact's JID, prepared; bare where a subscription made the item, as given where a roster set did.
    pub jid: Box<str>,
    /// The handle the owner chose; an empty one is none (§2.4.1).
    pub name: Option<Box<str>>,
    pub state: State,
    /// In the order the client gave them, without duplicates.
    pub groups: Box<[Box<str>]>,
    /// The contact's unanswered "subscribe" stanza, serialised, to be delivered whenever the account gets an
    /// available resource (§3.1.3 rule 4). Absent also while a request is pending whose stanza was over
    /// [`RosterLimits::request_bytes`](crate::RosterLimits::request_bytes): [`write_request`](crate::write_request)
    /// then makes a bare one.
    pub request: Option<Box<str>>,
    /// The owner has this contact in the roster. False only while nothing but the contact's request makes the item:
    /// such a contact must not be added before the owner approves (§3.1.3, §A.1 state 3). It cannot be told from
    /// the state: an owner may list a contact in state "None" without a name, and a request may come after.
    pub listed: bool,
}

impl Item {
    /// An item for `jid` in state "None", not listed.
    pub fn new(jid: &str) -> Item {
        Item {
            jid: jid.into(),
            name: None,
            state: State::NONE,
            groups: Box::default(),
            request: None,
            listed: false,
        }
    }

    /// True when roster results and pushes may show the item.
    pub fn visible(&self) -> bool {
        self.listed
    }

    /// True when neither the owner nor a request needs the item any longer.
    pub(crate) fn is_void(&self) -> bool {
        !self.listed && !self.state.pending_in
    }
}
