//! What the clients of this server want to be notified of, by their capabilities (XEP-0115, XEP-0390).
//!
//! A session's presence advertises a hash. What nobody has advertised before is asked for: disco#info from the session
//! itself. An answer that hashes to what was advertised is good for every session that advertises the same, and stays
//! in a table; any other is believed of that session alone, so nobody can speak for others
//! ([`presence::caps`]).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use foldhash::quality::RandomState;
use presence::caps::{Advertised, Info};
use stanza::{IqType, Kind, Stanza, ns};

use crate::account::{Account, Session};
use crate::outbox::Item;
use crate::sessions::escaped;
use crate::{Bound, Router, Turn};

/// What the id of the question begins with.
pub(crate) const ID_PREFIX: &str = "caps-";

/// Capabilities that are remembered. When there are more, those are forgotten that no session has.
const KNOWN: usize = 4_096;

/// Of a session.
pub(crate) struct Caps {
    pub(crate) advertised: Advertised,
    /// Nodes of which it wants to hear, in order. None: it was asked and has not answered.
    notify: Option<Box<[Box<str>]>>,
}

/// Those that were verified.
#[derive(Default)]
pub(crate) struct KnownCaps(Mutex<HashMap<Box<str>, Arc<Caps>, RandomState>>);

impl Caps {
    /// The nodes of which the session wants to hear; none while that is not known.
    pub(crate) fn notify(&self) -> &[Box<str>] {
        self.notify.as_deref().unwrap_or_default()
    }

    pub(crate) fn wants(&self, node: &str) -> bool {
        let notify = self.notify();
        notify.binary_search_by(|wanted| (**wanted).cmp(node)).is_ok()
    }

    /// Of whom that was just asked.
    pub(crate) fn asked(advertised: Advertised) -> Arc<Caps> {
        let notify = None;
        Arc::new(Caps { advertised, notify })
    }

    /// It has not answered yet.
    pub(crate) fn is_asked(&self) -> bool {
        self.notify.is_none()
    }
}

impl KnownCaps {
    pub(crate) fn get(&self, advertised: &Advertised) -> Option<Arc<Caps>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&advertised.key).map(Arc::clone)
    }

    fn add(&self, caps: &Arc<Caps>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN {
            known.retain(|_, caps| Arc::strong_count(caps) > 1);
        }
        // All of them are of sessions: as many clients that differ are nobody's crowd, and each has its own.
        if known.len() < KNOWN {
            known.insert(caps.advertised.key.clone(), Arc::clone(caps));
        }
    }
}

impl Router {
    /// Whether the session wants the items of this node (XEP-0163 section 4.3.2.2).
    pub(crate) fn wants(&self, session: &Session, node: &str) -> bool {
        session.caps().is_some_and(|caps| caps.wants(node))
    }

    /// The session has sent this presence, `initial`: it was not available before. What is not known of it is asked for;
    /// else it is told what it wants to hear.
    pub(crate) fn note_caps(
        &self,
        account: &mut Account,
        id: u64,
        presence: &Stanza<'_>,
        initial: bool,
        turn: &mut Turn,
    ) {
        let advertised = Advertised::of(presence.children());
        let Some(session) = account.session_mut(id) else { return };
        let Some(advertised) = advertised else {
            session.set_caps(None);
            return;
        };
        let is_same = session.caps().is_some_and(|caps| caps.advertised == advertised);
        if !is_same {
            session.set_caps(self.known_caps.get(&advertised));
        }
        if session.caps().is_some() {
            if let Some(session) = account.session(id).filter(|_| initial || !is_same) {
                self.has_arrived(account, session, turn);
            }
            return;
        }
        let node = escaped(&advertised.node);
        session.set_caps(Some(Caps::asked(advertised)));
        let Some(session) = account.session(id) else { return };
        let (from, to) = (account.jid.domain(), escaped(&account.full(session)));
        let question = format!(
            "<iq type='get' id='{ID_PREFIX}{id}' from='{from}' to='{to}'><query xmlns='{}' node='{node}'/></iq>",
            ns::DISCO_INFO
        );
        self.push(account, session, Item::Other, turn, |out| {
            out.extend_from_slice(question.as_bytes());
        });
    }

    /// The same for a session that was put back with the presence it had.
    pub(crate) fn note_restored_caps(&self, account: &mut Account, id: u64, turn: &mut Turn) {
        let Some(session) = account.session(id) else { return };
        let presence = session.presence.as_ref();
        if let Some(presence) = presence.filter(|presence| **presence != self.plain_presence) {
            let text = presence.text_with(&account.full(session), Some(account.jid.as_str()));
            self.read_letter(&text, turn, |stanza, _, _, turn| {
                self.note_caps(account, id, stanza, false, turn)
            });
        }
    }

    /// What follows from the answer, and is known of all who advertise the same if it is what they do.
    pub(crate) fn caps_answered(&self, asked: &Caps, answer: &Stanza<'_>) -> Arc<Caps> {
        let query = answer.payload().filter(|query| query.is("query", ns::DISCO_INFO));
        let query = query.filter(|_| answer.kind() == Kind::Iq(IqType::Result));
        let info = query.map(|query| Info::read(&query, answer.lang())).unwrap_or_default();
        let caps = Arc::new(Caps {
            advertised: asked.advertised.clone(),
            notify: Some(info.notify()),
        });
        if asked.advertised.is_verified_by(&info) {
            self.known_caps.add(&caps);
        }
        caps
    }

    /// The answer to that. An error is one too: this client wants to hear nothing.
    pub(crate) fn answered_caps(&self, bound: &Bound, answer: &Stanza<'_>, turn: &mut Turn) {
        let session = answer.id().and_then(|id| id.strip_prefix(ID_PREFIX)?.parse().ok());
        if session != Some(bound.id) {
            return;
        }
        let owner = bound.jid.bare_str();
        let asked = self.with(owner, |account| account.session(bound.id)?.caps().cloned());
        let Some(asked) = asked.flatten().filter(|caps| caps.is_asked()) else {
            return;
        };
        // Outside of the owner's lock: it is work.
        let caps = self.caps_answered(&asked, answer);
        self.with(owner, |account| {
            let session = account.session_mut(bound.id)?;
            // It may have said something else meanwhile.
            if session.caps().is_some_and(|current| Arc::ptr_eq(current, &asked)) {
                session.set_caps(Some(caps));
                let session = account.session(bound.id).filter(|session| session.is_available())?;
                self.has_arrived(account, session, turn);
            }
            Some(())
        });
    }
}
