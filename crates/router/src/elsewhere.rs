//! What clients of contacts at other servers want to be notified of (XEP-0163 section 4.3.2, XEP-0115).
//!
//! Their presence comes to the account with their capabilities. What is not known of these is asked for in the account's
//! name, and believed as that of clients here is (`caps`): for others only if it hashes to what was advertised. It is kept
//! with the account, as long as that is in memory: whoever is there is probed with the next login.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use presence::caps::Advertised;
use stanza::{JidRef, Kind, PresenceType, Stanza, ns};

use crate::account::{Account, Session};
use crate::caps::{Caps, ID_PREFIX};
use crate::directed::domain_of;
use crate::sessions::escaped;
use crate::{Router, Turn};

/// Clients elsewhere of which one account knows what they want. More of them are told nothing.
const KNOWN: usize = 1_000;

impl Account {
    /// Those that want the items of this node and are of these contacts.
    pub(crate) fn wanting_elsewhere<'a>(
        &'a self,
        node: &str,
        is_told: impl Fn(&str) -> bool,
    ) -> impl Iterator<Item = &'a str> {
        let all = self.rare.iter().flat_map(|rare| &rare.elsewhere);
        all.filter(move |(full, caps)| caps.wants(node) && is_told(bare_of(full)))
            .map(|(full, _)| &**full)
    }

    /// What is at this domain cannot be seen any more.
    pub(crate) fn forget_elsewhere_at(&mut self, domain: &str) {
        if let Some(rare) = &mut self.rare {
            rare.elsewhere.retain(|full, _| domain_of(full) != domain);
        }
    }

    /// Who sees the account's presence may be told what it publishes.
    fn is_seen_by(&self, other: JidRef<'_>) -> bool {
        let item = self.roster.get(other.bare_str());
        item.is_some_and(|item| item.state.subscription.from())
    }
}

impl Router {
    /// Something of the moment for an address that is not of this server; nobody is told of it if it does not get there.
    /// False: it is one of this server.
    pub(crate) fn say_elsewhere(
        &self,
        from: &str,
        address: &str,
        turn: &mut Turn,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> bool {
        match self.is_component(domain_of(address)) {
            true => self.say_to_component(from, address, turn, write),
            false => self.say_to_remote(from, address, turn, write),
        }
    }

    /// The domain of an address, if it is one of ours with accounts.
    pub(crate) fn own_domain<'a>(&self, address: &'a str) -> Option<&'a str> {
        let domain = domain_of(address);
        self.host(domain).is_some().then_some(domain)
    }

    /// Presence of somebody else comes to an account.
    pub(crate) fn note_presence_elsewhere(
        &self,
        account: &mut Account,
        kind: PresenceType,
        stanza: &Stanza<'_>,
        from: JidRef<'_>,
        turn: &mut Turn,
    ) {
        // Of accounts here their owners know it.
        if self.host(from.domain()).is_some() || account.is_guest() {
            return;
        }
        if kind == PresenceType::Unavailable {
            return forget(account, from);
        }
        // Nobody is here who publishes: whoever comes is probed for.
        let is_here = account.sessions.iter().any(Session::is_available);
        if from.resource().is_none() || !is_here || !account.is_seen_by(from) {
            return;
        }
        // Not with every presence: who does not say it again can what it could (XEP-0115 section 8.4).
        let Some(advertised) = Advertised::of(stanza.children()) else {
            return;
        };
        let known = &mut account.rare_mut().elsewhere;
        let before = known.get(from.as_str());
        if before.is_some_and(|caps| caps.advertised == advertised) || (before.is_none() && known.len() >= KNOWN) {
            return;
        }
        if let Some(caps) = self.known_caps.get(&advertised) {
            known.insert(from.as_str().into(), Arc::clone(&caps));
            return self.has_arrived_elsewhere(account, from, caps, turn);
        }
        let (me, to) = (escaped(account.jid.as_str()), escaped(from.as_str()));
        let (id, node) = (self.id_of(&advertised), escaped(&advertised.node));
        let caps = Caps::asked(advertised);
        account.rare_mut().elsewhere.insert(from.as_str().into(), caps);
        turn.letter(format!(
            "<iq type='get' id='{id}' from='{me}' to='{to}'><query xmlns='{}' node='{node}'/></iq>",
            ns::DISCO_INFO
        ));
    }

    /// Of the question: what was advertised meanwhile has another.
    fn id_of(&self, advertised: &Advertised) -> String {
        format!("{ID_PREFIX}{:x}", self.hash(&advertised.key))
    }

    /// An answer to the account itself, which may be one to that question.
    pub(crate) fn answered_elsewhere(
        &self,
        account: &mut Account,
        answer: &Stanza<'_>,
        from: JidRef<'_>,
        turn: &mut Turn,
    ) {
        let known = account.rare.as_ref().map(|rare| &rare.elsewhere);
        let Some(asked) = known.and_then(|known| known.get(from.as_str())) else {
            return;
        };
        if !asked.is_asked() || answer.id() != Some(&self.id_of(&asked.advertised)) {
            return;
        }
        debug_assert!(matches!(answer.kind(), Kind::Iq(_)));
        let caps = self.caps_answered(asked, answer);
        account
            .rare_mut()
            .elsewhere
            .insert(from.as_str().into(), Arc::clone(&caps));
        self.has_arrived_elsewhere(account, from, caps, turn);
    }
}

fn bare_of(full: &str) -> &str {
    full.split_once('/').map_or(full, |(bare, _)| bare)
}

/// A client has gone; or all of a contact, where it is the bare JID that says so (RFC 6121 section 4.5.4).
fn forget(account: &mut Account, gone: JidRef<'_>) {
    let Some(rare) = &mut account.rare else { return };
    if gone.resource().is_some() {
        rare.elsewhere.remove(gone.as_str());
        return;
    }
    let bare = gone.bare_str();
    let behind = (Excluded(bare), Unbounded);
    let first: Vec<Box<str>> = rare
        .elsewhere
        .range::<str, _>(behind)
        .map(|(full, _)| full)
        .take_while(|full| full.starts_with(bare))
        .filter(|full| bare_of(full) == bare)
        .cloned()
        .collect();
    for full in first {
        rare.elsewhere.remove(&full);
    }
}
