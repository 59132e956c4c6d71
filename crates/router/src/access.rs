//! Whose a session is, and the end of a client's access (XEP-0494).
//!
//! Most resources tell which client they were made for ([`is_session_of`]). A session whose resource the client chose
//! itself (RFC 6120 section 7) knows it beside that, if its login was written down; a login by the classic profile says
//! nothing of the client, so its session is nobody's and is ended by its resource.
//!
//! A login is written down before it has a session, so its client may be revoked in between. [`Access`] carries how many
//! revocations there were before it was written down: are there more when it binds, it is looked up whether the client is
//! still there. Whoever revokes first commits, then counts, then ends the sessions under the owner's lock. So a session
//! that is bound behind that has seen the count, and one that was bound before it is seen.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use accounts::tokens::{TOKENS, is_session_of};
use module::{Connected, Now};
use stanza::StreamError;
use store::{Found, Query, StoreError};

use crate::account::{Account, Session};
use crate::load::Held;
use crate::sessions::Ending;
use crate::shard::Slot;
use crate::turn::Work;
use crate::{Bound, Event, Router, Turn};

/// The client that has logged in, where that was written down.
#[derive(Clone, Debug)]
pub struct Access {
    /// Its id in the list of clients.
    pub client: Box<str>,
    /// [`Router::revocations`] before it was written down.
    pub revocations: u64,
}

/// Which sessions of an account end.
#[derive(Clone, Debug)]
pub enum Whose {
    Client(Box<str>),
    Resource(Box<str>),
    All,
}

impl Whose {
    fn is(&self, session: &Session) -> bool {
        match self {
            Whose::Client(client) => session.is_of(client),
            Whose::Resource(resource) => session.resource == *resource,
            Whose::All => true,
        }
    }
}

impl Session {
    pub(crate) fn is_of(&self, client: &str) -> bool {
        self.client() == Some(client) || is_session_of(client, &self.resource)
    }

    pub(crate) fn connected(&self) -> Connected {
        Connected {
            resource: self.resource.clone(),
            client: self.client().map(Into::into),
            is_attached: self.is_attached(),
        }
    }

    /// Notes whose it is, where its resource does not tell.
    pub(crate) fn belongs_to(&mut self, access: Option<&Access>) {
        if let Some(access) = access
            && !is_session_of(&access.client, &self.resource)
        {
            self.set_client(Some(access.client.clone()));
        }
    }
}

impl Router {
    /// How often the access of a client was revoked in the life of this process.
    pub fn revocations(&self) -> u64 {
        self.revocations.load(Ordering::Acquire)
    }

    /// The sessions of an account, in the order in which they were bound; also those that wait to be resumed.
    pub fn sessions_of(&self, bare: &str) -> Vec<Connected> {
        self.with(bare, |account| {
            account.sessions.iter().map(Session::connected).collect()
        })
        .unwrap_or_default()
    }

    /// Ends sessions of an account: those of a client whose access was revoked, or one by its resource. Call it when the
    /// former is in the store.
    pub fn end_sessions(&self, bare: &str, whose: Whose) {
        let now = (self.clock)();
        let mut turn = Turn::default();
        self.end_whose(now, bare, whose, &mut turn);
        self.settle(now, &mut turn);
        turn.finish();
    }

    pub(crate) fn end_whose(&self, now: Now, bare: &str, whose: Whose, turn: &mut Turn) {
        if let Whose::Client(client) = &whose {
            self.revocations.fetch_add(1, Ordering::AcqRel);
            self.forget_push_of(bare, client);
        }
        let hash = self.hash(bare);
        let mut shard = self.lock(hash);
        match shard.get_mut(hash, bare) {
            Some(Slot::Ready(account)) => self.end_now(now, account, &whose, turn),
            // Behind the sessions that are about to be put back. No more than there are commands.
            Some(Slot::Loading(loading)) => loading.waiting.push(Held::End(whose)),
            None => {}
        }
    }

    pub(crate) fn end_now(&self, now: Now, account: &mut Account, whose: &Whose, turn: &mut Turn) {
        let text = match whose {
            Whose::Client(_) => "the access of this client was revoked",
            Whose::Resource(_) | Whose::All => "this session was ended by the operator",
        };
        let error = StreamError::not_authorized().text(text);
        self.end(now, account, |session| whose.is(session), &error, turn);
    }

    /// Ends other sessions of the client that binds ("the server SHOULD terminate any earlier sessions from the same
    /// client", XEP-0386), but the one that has the very resource: that is taken over.
    pub(crate) fn supersede(&self, now: Now, account: &mut Account, client: &str, resource: &str, turn: &mut Turn) {
        let is_earlier = |session: &Session| session.is_of(client) && *session.resource != *resource;
        self.end(now, account, is_earlier, &StreamError::conflict(), turn);
    }

    /// Ends every session of an account but that of `resource`, whose client has asked for what ends them. `disabled`: the
    /// account is, from now on; then end what is left with [`Router::expel`] when that client has been answered.
    pub fn expel_others(&self, bare: &str, resource: &str, disabled: bool, error: &StreamError) {
        let now = (self.clock)();
        let mut turn = Turn::default();
        let is_there = self.with(bare, |account| {
            account.resource(resource)?;
            account.disabled |= disabled;
            self.end(now, account, |session| *session.resource != *resource, error, &mut turn);
            Some(())
        });
        if is_there.flatten().is_none() {
            self.expel(bare, error);
        }
        self.settle(now, &mut turn);
        turn.finish();
    }

    fn end(
        &self,
        now: Now,
        account: &mut Account,
        which: impl Fn(&Session) -> bool,
        error: &StreamError,
        turn: &mut Turn,
    ) {
        let ended: Vec<Bound> = account
            .sessions
            .iter()
            .filter(|session| which(session))
            .filter_map(|session| {
                Some(Bound {
                    jid: account.jid.with_resource(&session.resource).ok()?,
                    id: session.id,
                    outbox: Arc::clone(&session.outbox),
                })
            })
            .collect();
        for bound in ended {
            bound.outbox.tell(turn, Event::End(error.clone()));
            if let Some(rest) = self.leave(now, account, bound.id, Ending::Final, turn) {
                turn.queue.push_back(Work::Undelivered(bound, rest));
            }
        }
    }

    /// A client has a session. If somebody was revoked since its login was written down: is it there still?
    pub(crate) fn look_for_access(&self, owner: &str, access: Option<&Access>) {
        let Some(access) = access.filter(|access| access.revocations != self.revocations()) else {
            return;
        };
        let (owner, client): (Box<str>, _) = (owner.into(), access.client.clone());
        let me = self.me.clone();
        self.store.read(
            Query::get(&TOKENS, &owner, &*access.client),
            Box::new(move |found| {
                let Some(router) = me.upgrade() else { return };
                match found.and_then(Found::row) {
                    Ok(Some(_)) | Err(StoreError::Closed) => return,
                    Ok(None) => {}
                    Err(error) => {
                        tracing::error!(account = &*owner, %error, "the access of a client could not be read; its session ends");
                    }
                }
                router.end_sessions(&owner, Whose::Client(client));
            }),
        );
    }
}
