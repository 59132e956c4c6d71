//! Who asks, and what he may (XEP-0060 sections 4.1 and 4.5).

use module::{Now, Relation};
use stanza::{Jid, StanzaError};

use crate::config::{AccessModel, PublishModel};
use crate::error::with;
use crate::node::{Affiliation, Node};

/// Who asks, at the moment at which he did.
#[derive(Clone, Debug)]
pub struct Asker {
    pub jid: Jid,
    pub relation: Relation,
    /// In which of the account's roster groups he is.
    pub groups: Vec<Box<str>>,
    /// He shows his presence to the account, so he knows that there is one.
    pub knows_account: bool,
}

/// One request: when, to whom, from whom.
#[derive(Clone, Debug)]
pub struct Context {
    pub now: Now,
    /// The bare JID that is asked.
    pub owner: Jid,
    pub asker: Asker,
}

impl Context {
    pub(crate) fn owner(&self) -> &str {
        self.owner.as_str()
    }

    pub(crate) fn is_owner(&self) -> bool {
        self.asker.relation == Relation::Owner
    }

    /// Whether the account may be known to him.
    pub(crate) fn is_stranger(&self) -> bool {
        self.asker.relation == Relation::Stranger && !self.asker.knows_account
    }

    /// The error as he may see it: to a stranger there is no account.
    pub(crate) fn masked(&self, error: StanzaError) -> StanzaError {
        if self.is_stranger() { no_account() } else { error }
    }

    /// For what only those are answered to whom the account is known.
    pub(crate) fn no_strangers(&self) -> Result<(), StanzaError> {
        if self.is_stranger() { Err(no_account()) } else { Ok(()) }
    }

    /// For what only the owner of a node may do (section 4.1, table 2).
    pub(crate) fn owners_only(&self) -> Result<(), StanzaError> {
        if self.is_owner() {
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
    if context.is_stranger() && admits(context, &node).is_err() && may_publish(context, &node).is_err() {
        return Err(no_account());
    }
    Ok(node)
}

/// Whether he may subscribe and read (sections 6.1.3 and 6.5.9).
pub(crate) fn admits(context: &Context, node: &Node) -> Result<(), StanzaError> {
    let asker = &context.asker;
    if context.is_owner() {
        return Ok(());
    }
    match node.affiliation(asker.jid.bare_str()) {
        // He may write and not read.
        Affiliation::Outcast | Affiliation::PublishOnly => return Err(StanzaError::forbidden()),
        Affiliation::Member | Affiliation::Publisher => return Ok(()),
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
        AccessModel::Whitelist => Err(with(StanzaError::not_allowed(), "closed-node")),
    }
}

/// Section 7.1.3.1.
pub(crate) fn may_publish(context: &Context, node: &Node) -> Result<(), StanzaError> {
    let asker = &context.asker;
    let bare = asker.jid.bare_str();
    let affiliation = node.affiliation(bare);
    let is_publisher = matches!(affiliation, Affiliation::Publisher | Affiliation::PublishOnly);
    if context.is_owner() || is_publisher {
        return Ok(());
    }
    let by_model = match node.config.publish {
        PublishModel::Publishers => false,
        PublishModel::Subscribers => node.subscriptions_of(bare).next().is_some(),
        PublishModel::Open => true,
    };
    if by_model && affiliation != Affiliation::Outcast {
        admits(context, node)
    } else {
        Err(StanzaError::forbidden())
    }
}
