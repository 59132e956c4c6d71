//! Requests that reach the management of accounts, and who may administer the server.
//!
//! The management is the program's ([`module::Manager`]). It is given to the router once there is one, as it ends
//! sessions here. It calls back on a thread of its own, where no lock is held.

use std::collections::BTreeSet;
use std::sync::Arc;

use module::{Action, Host, MakeActed, Manager};
use stanza::{ErrorType, Jid, JidRef, StanzaError, ns};
use xmlstream::Scratch;

use crate::account::{Account, Session};
use crate::durable::{After, Settles};
use crate::iq::Return;
use crate::outbox::Outcome;
use crate::shard::Slot;
use crate::{Router, Turn};

impl Router {
    /// Says who manages the accounts; once, before anybody is let in. Without one a request to do so is refused.
    pub fn manage_with(&self, manager: Arc<dyn Manager>) {
        let _ = self.manager.set(manager);
    }

    /// Who manages the accounts.
    pub fn manager(&self) -> Option<&Arc<dyn Manager>> {
        self.manager.get()
    }

    /// Whether an account may administer the server from now on. Call it when that is in the store.
    pub fn set_admin(&self, bare: &str, admin: bool) {
        let hash = self.hash(bare);
        let mut shard = self.lock(hash);
        match shard.get_mut(hash, bare) {
            Some(Slot::Ready(account)) => account.admin = admin,
            // What is on its way may have been read before.
            Some(Slot::Loading(loading)) => loading.again = true,
            None => {}
        }
    }

    /// Accounts of a domain that have a session: the first `most` in their order, and how many there are. `active`: only
    /// those who use it, or only those who do not (XEP-0133 section 4.17).
    pub fn online(&self, domain: &str, active: Option<bool>, most: usize) -> (Vec<Jid>, u64) {
        let (mut first, mut count) = (BTreeSet::new(), 0);
        let mut scratch = Scratch::default();
        self.each_account(|account| {
            let is_one = !account.sessions.is_empty()
                && account.jid.domain() == domain
                && active.is_none_or(|active| is_active(account, &mut scratch) == active);
            if is_one {
                count += 1;
                first.insert(account.jid.clone());
                if first.len() > most {
                    first.pop_last();
                }
            }
        });
        (first.into_iter().collect(), count)
    }

    /// Whoever sends something is in memory, so nothing has to be read.
    pub(crate) fn is_admin(&self, host: &Host, from: JidRef<'_>) -> bool {
        let bare = from.bare_str();
        // Nobody is known by a name of a guests' domain, whatever the configuration says.
        let is_kept = |host: &Arc<Host>| host.guests.is_none();
        from.local().is_some()
            && self.host(from.domain()).is_some_and(is_kept)
            && (host.admins.iter().any(|admin| admin == bare) || self.with(bare, |account| account.admin) == Some(true))
    }

    /// Hands an action to the management. The stanza that asks for it is covered by an acknowledgement when it is done.
    pub(crate) fn act(&self, owner: &str, action: Action, make: MakeActed, back: Return, turn: &mut Turn) {
        let Some(manager) = self.manager() else {
            return turn.letter(back.error_text(&StanzaError::service_unavailable()));
        };
        let owner: Box<str> = owner.into();
        let (me, asker) = (self.me.clone(), back.from().clone());
        let back = Arc::new(back);
        let (returned, receipt) = (Arc::clone(&back), turn.receipt());
        let then = Box::new(move |acted| {
            let Some(router) = me.upgrade() else { return };
            let answer = match make(acted) {
                Ok(payload) => returned.result(&payload),
                Err(error) => returned.error_text(&error),
            };
            router.say(&owner, vec![After::letter(answer)], Settles::Nothing);
            if let Some(receipt) = receipt {
                receipt.end(Outcome::Durable);
            }
        });
        if !manager.manage(&asker, action, then) {
            let error = StanzaError::resource_constraint().kind(ErrorType::Wait);
            turn.letter(back.error_text(&error.text("too much is being done with accounts; try again in a moment")));
        }
    }
}

/// Somebody is there: a session has a connection, and says neither that it is away nor that nobody looks at it
/// (XEP-0352).
fn is_active(account: &Account, scratch: &mut Scratch) -> bool {
    let mut says_away = |session: &Session| {
        let presence = session.presence.as_ref()?;
        let element = xmlstream::parse_element(presence.text(), ns::CLIENT, scratch, &crate::OWN_LIMITS).ok()?;
        let show = element.child("show", ns::CLIENT)?.text();
        Some(matches!(show.trim(), "away" | "xa"))
    };
    let mut sessions = account.sessions.iter();
    sessions.any(|session| {
        session.is_attached()
            && session.is_available()
            && !session.outbox.is_inactive()
            && says_away(session) != Some(true)
    })
}
