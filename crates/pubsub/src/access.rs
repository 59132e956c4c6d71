//! Who asks, and what he may (XEP-0060 sections 4.1 and 4.5).

use module::{Now, Relation};
use stanza::{Jid, StanzaError};

use crate::config::{AccessModel, PublishModel};
use crate::error::with;
use crate::node::{Affiliation, Node};

/// Whose nodes they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    /// Of an account, which owns them all (XEP-0163 section 2.2).
    Account,
    /// Of a service: each has owners of its own.
    Service,
}

impl Home {
    /// Only an account has a local part.
    pub(crate) fn of(owner: &str) -> Home {
        if owner.contains('@') {
            Home::Account
        } else {
            Home::Service
        }
    }

    pub(crate) fn max_nodes(self) -> u64 {
        match self {
            Home::Account => crate::MAX_NODES,
            Home::Service => crate::MAX_SERVICE_NODES,
        }
    }

    pub(crate) fn max_bytes(self) -> u64 {
        match self {
            Home::Account => crate::MAX_BYTES,
            Home::Service => crate::MAX_SERVICE_BYTES,
        }
    }

    /// Bytes of the items of one node.
    pub(crate) fn max_node_bytes(self) -> u64 {
        match self {
            Home::Account => crate::MAX_BYTES,
            Home::Service => crate::MAX_NODE_BYTES,
        }
    }

    pub(crate) fn max_subscriptions(self) -> usize {
        match self {
            Home::Account => crate::MAX_SUBSCRIPTIONS,
            Home::Service => crate::MAX_SERVICE_SUBSCRIPTIONS,
        }
    }
}

/// Who asks, at the moment at which he did.
#[derive(Clone, Debug)]
pub struct Asker {
    pub jid: Jid,
    /// To the account that is asked. To a service nobody is anything.
    pub relation: Relation,
    /// In which of the account's roster groups he is.
    pub groups: Vec<Box<str>>,
    /// He shows his presence to the account, so he knows that there is one.
    pub knows_account: bool,
    /// He may make nodes at a service. An account makes its own, and nobody else does.
    pub creates: bool,
}

/// One request: when, to whom, from whom.
#[derive(Clone, Debug)]
pub struct Context {
    pub now: Now,
    /// The bare JID that is asked; a service is one without a local part.
    pub owner: Jid,
    pub asker: Asker,
}

impl Context {
    pub(crate) fn owner(&self) -> &str {
        self.owner.as_str()
    }

    pub(crate) fn home(&self) -> Home {
        Home::of(self.owner())
    }

    pub(crate) fn bare(&self) -> &str {
        self.asker.jid.bare_str()
    }

    /// Whether he is an owner of this node.
    pub(crate) fn owns(&self, node: &Node) -> bool {
        match self.home() {
            Home::Account => self.asker.relation == Relation::Owner,
            Home::Service => node.affiliation(self.bare()) == Affiliation::Owner,
        }
    }

    /// Whether he may make nodes.
    pub(crate) fn may_create(&self) -> bool {
        match self.home() {
            Home::Account => self.asker.relation == Relation::Owner,
            Home::Service => self.asker.creates,
        }
    }

    /// Whether the account may be known to him. A service may be to everybody.
    pub(crate) fn is_stranger(&self) -> bool {
        self.home() == Home::Account && self.asker.relation == Relation::Stranger && !self.asker.knows_account
    }

    /// The error as he may see it: to a stranger there is no account.
    pub(crate) fn masked(&self, error: StanzaError) -> StanzaError {
        if self.is_stranger() { no_account() } else { error }
    }

    /// For what only those are answered to whom the account is known.
    pub(crate) fn no_strangers(&self) -> Result<(), StanzaError> {
        if self.is_stranger() { Err(no_account()) } else { Ok(()) }
    }

    /// For what only who may make nodes is told (section 8.1.1).
    pub(crate) fn creators_only(&self) -> Result<(), StanzaError> {
        self.or_forbidden(self.may_create())
    }

    /// For what only an owner of a node may do (section 4.1, table 2).
    pub(crate) fn owners_only(&self, node: &Node) -> Result<(), StanzaError> {
        self.or_forbidden(self.owns(node))
    }

    fn or_forbidden(&self, may: bool) -> Result<(), StanzaError> {
        if may {
            Ok(())
        } else {
            Err(self.masked(StanzaError::forbidden()))
        }
    }
}

/// The answer of a missing account (RFC 6121 section 8.5.1).
pub(crate) fn no_account() -> StanzaError {
    StanzaError::service_unavailable()
}

/// The node, if whoever asks may know of it.
pub(crate) fn gate(context: &Context, node: Option<Node>) -> Result<Node, StanzaError> {
    let node = node.ok_or_else(|| context.masked(StanzaError::item_not_found()))?;
    let may_know =
        || admits(context, &node).is_ok() || may_publish(context, &node).is_ok() || node.is_asked_for(context.bare());
    if context.is_stranger() && !may_know() {
        return Err(no_account());
    }
    Ok(node)
}

/// Whether he may subscribe without being asked, and read (sections 6.1.3 and 6.5.9).
pub(crate) fn admits(context: &Context, node: &Node) -> Result<(), StanzaError> {
    let asker = &context.asker;
    if context.owns(node) {
        return Ok(());
    }
    match node.affiliation(context.bare()) {
        // He may write and not read.
        Affiliation::Outcast | Affiliation::PublishOnly => return Err(StanzaError::forbidden()),
        Affiliation::Member | Affiliation::Publisher | Affiliation::Owner => return Ok(()),
        Affiliation::None => {}
    }
    let sees_presence = asker.relation >= Relation::Subscriber;
    match node.config.access {
        AccessModel::Open => Ok(()),
        AccessModel::Presence if sees_presence => Ok(()),
        AccessModel::Presence => Err(with(StanzaError::not_authorized(), "presence-subscription-required")),
        AccessModel::Roster => {
            let is_in_group = asker.groups.iter().any(|group| node.config.groups.contains(group));
            if sees_presence && is_in_group {
                Ok(())
            } else {
                Err(with(StanzaError::not_authorized(), "not-in-roster-group"))
            }
        }
        AccessModel::Authorize if node.is_subscribed(context.bare()) => Ok(()),
        // Section 6.5.9.3.
        AccessModel::Authorize => Err(with(StanzaError::not_authorized(), "not-subscribed")),
        AccessModel::Whitelist => Err(with(StanzaError::not_allowed(), "closed-node")),
    }
}

/// Section 7.1.3.1.
pub(crate) fn may_publish(context: &Context, node: &Node) -> Result<(), StanzaError> {
    let affiliation = node.affiliation(context.bare());
    let is_publisher = matches!(affiliation, Affiliation::Publisher | Affiliation::PublishOnly);
    if context.owns(node) || is_publisher {
        return Ok(());
    }
    let by_model = match node.config.publish {
        PublishModel::Publishers => false,
        PublishModel::Subscribers => node.is_subscribed(context.bare()),
        PublishModel::Open => true,
    };
    if by_model && affiliation != Affiliation::Outcast {
        admits(context, node)
    } else {
        Err(StanzaError::forbidden())
    }
}
