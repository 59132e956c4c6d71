//! A session that is complete from its first moment (XEP-0386): with its resource come stream management, carbons, the
//! client's state, and what its archive holds, in one answer.
//!
//! All that a client asks for holds from when the resource is bound, under the owner's lock: nothing falls between, and
//! nothing comes twice. What is told of it has to be read and written first, so the connection gets its answer later,
//! and writes nothing before that.

use std::sync::Arc;

use module::{Answer, MakeSaid, Method, Now, Relation};
use stanza::{JidRef, Stanza};
use store::{Found, Query, Row, StoreError};
use xmlstream::Scratch;

use crate::account::Account;
use crate::outbox::Resumable;
use crate::resume::{EnableRequest, STREAMS, enabled_text, remember};
use crate::{Bound, Event, Outbox, Router, Turn};

/// What a client wants of its session together with the resource (XEP-0386 section 3.2).
#[derive(Default)]
pub struct Inline {
    /// How resources end that were made for the same client: its earlier sessions are over.
    pub client: Option<Box<str>>,
    /// Elements of the extensions that [`module::Registry::bind_features`] names, each complete.
    pub requests: Vec<Box<str>>,
    pub enable: Option<EnableRequest>,
    pub inactive: bool,
}

/// A resource is bound, with all that goes with it.
pub struct Established {
    pub bound: Bound,
    /// What `<bound/>` contains, as XML.
    pub told: String,
    /// Its stream is managed (XEP-0198).
    pub is_managed: bool,
}

impl Router {
    /// Makes a new session what its client wants, and answers with [`Event::Established`].
    pub(crate) fn establish(&self, now: Now, account: &mut Account, bound: Bound, inline: Inline) {
        for request in &inline.requests {
            // "As this operation MUST succeed, no response is necessary."
            let _ = self.ask_for(now, account, &bound, Method::Set, request);
        }
        if inline.inactive {
            bound.outbox.begin_inactive();
        }
        let mut queries = Vec::new();
        // How many parts each question has, where it has parts: a store is not asked `Many` inside `Many`.
        let mut makers: Vec<(Option<usize>, MakeSaid)> = Vec::new();
        for (name, namespace) in self.registry().bind_questions() {
            let payload = format!("<{name} xmlns='{namespace}'/>");
            if let Some(Answer::Asked(query, make)) = self.ask_for(now, account, &bound, Method::Get, &payload) {
                match query {
                    Query::Many(parts) => {
                        makers.push((Some(parts.len()), make));
                        queries.extend(parts);
                    }
                    one => {
                        makers.push((None, make));
                        queries.push(one);
                    }
                }
            }
        }
        let mut wanted = None;
        if let Some(enable) = &inline.enable {
            wanted = enable.resumable(self.limits.resume_seconds);
            if account.is_guest() {
                wanted = wanted.map(|wanted| wanted.of_guest(bound.jid.as_ref()));
            }
            bound.outbox.manage_at_once(wanted.clone());
            queries.push(Query::all(&STREAMS, account.jid.as_str()));
        }
        let enable = inline.enable.is_some();
        let me = self.me.clone();
        self.store.read(
            Query::Many(queries),
            Box::new(move |found| {
                let Some(router) = me.upgrade() else { return };
                if matches!(found, Err(StoreError::Closed)) {
                    return;
                }
                let owner = bound.jid.bare_str();
                if let Err(error) = &found {
                    tracing::error!(account = owner, %error, "the archive's ends could not be read");
                }
                let found = found.and_then(Found::many).unwrap_or_default();
                // What waits and is in the archive is there for it to read, as far as it is told of it here: section 3.2,
                // "clear the offline messages". What comes later is handed over.
                let told_of = found.iter().filter_map(newest).max().unwrap_or(0);
                router.with(owner, |account| account.backlog.tell(bound.id, told_of));
                let mut found = found.into_iter();
                let mut told = String::new();
                for (parts, make) in makers {
                    let said = make(match parts {
                        Some(parts) => Ok(Found::Many(found.by_ref().take(parts).collect())),
                        None => found.next().ok_or(StoreError::Overloaded),
                    });
                    told.push_str(&said.answer.unwrap_or_default());
                }
                if !enable {
                    return tell(bound, told);
                }
                let known = found.next().and_then(|found| found.rows().ok()).unwrap_or_default();
                router.remember_stream(now, bound, wanted, known, told);
            }),
        );
    }

    /// Writes the new stream down, if it may be resumed, and answers. A stream that cannot be written down is managed
    /// all the same: only not to be resumed.
    fn remember_stream(
        &self,
        now: Now,
        bound: Bound,
        wanted: Option<Resumable>,
        known: Vec<(Box<str>, Row)>,
        mut told: String,
    ) {
        let Some(resumable) = wanted else {
            told.push_str(&enabled_text(None));
            return tell(bound, told);
        };
        let Some(key) = resumable.key else {
            told.push_str(&enabled_text(Some(&resumable)));
            return tell(bound, told);
        };
        let owner = bound.jid.bare_str();
        let batch = remember(owner, &resumable.id, key, now.seconds(), known);
        self.store.write(
            batch,
            Box::new(move |result| match result {
                Ok(_) => {
                    told.push_str(&enabled_text(Some(&resumable)));
                    tell(bound, told);
                }
                Err(StoreError::Closed) => {}
                Err(error) => {
                    tracing::error!(account = bound.jid.bare_str(), %error, "a stream could not be made resumable");
                    bound.outbox.never_resume();
                    told.push_str(&enabled_text(None));
                    tell(bound, told);
                }
            }),
        );
    }

    /// Has a module answer for a session what it would in an IQ to the account. None for what no module takes here.
    fn ask_for(&self, now: Now, account: &mut Account, bound: &Bound, method: Method, payload: &str) -> Option<Answer> {
        let kind = match method {
            Method::Get => "get",
            Method::Set => "set",
        };
        let text = format!("<iq type='{kind}' id='bind'>{payload}</iq>");
        let mut scratch = Scratch::default();
        let element = xmlstream::parse_element(&text, stanza::ns::CLIENT, &mut scratch, &crate::OWN_LIMITS).ok()?;
        let stanza = Stanza::read(element).ok().flatten()?;
        let payload = stanza.payload()?;
        let registry = self.registry();
        let is_offered = match method {
            Method::Set => registry.bind_features().contains(&payload.ns()),
            Method::Get => true,
        };
        if !is_offered {
            return None;
        }
        let owner = account.jid.clone();
        let (from, to): (JidRef<'_>, JidRef<'_>) = (bound.jid.as_ref(), owner.as_ref());
        Some(self.handle_for_account(now, account, Relation::Owner, method, payload, from, to))
    }
}

/// The last message of a page.
fn newest(found: &Found) -> Option<i64> {
    match found {
        Found::Archive(page) => page.messages.last().map(|message| message.id),
        _ => None,
    }
}

fn tell(bound: Bound, told: String) {
    let outbox: Arc<Outbox> = Arc::clone(&bound.outbox);
    let mut turn = Turn::default();
    let is_managed = outbox.is_managed();
    let established = Established {
        bound,
        told,
        is_managed,
    };
    outbox.tell(&mut turn, Event::Established(Box::new(established)));
    turn.finish();
}
