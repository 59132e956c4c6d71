//! Streams that are managed, and resumed after their connection broke (XEP-0198).
//!
//! A session outlives its connection: it stays with its account, seen by its contacts and given what is for it, until
//! another connection resumes its stream or its time is over. Beside it the store knows every stream that may be
//! resumed, and how many stanzas of it are durable: so a client that comes too late, or after a crash, is told exactly
//! what to send again (guarantee G2).
//!
//! That count, in `<failed h/>`, may be lower than the last `<a/>` was. What has no effect on the disk (presence, chat
//! states, a question) is acknowledged at once, and written down only with the next stanza that has one: a commit for
//! each `<a/>` would be the price of more. XEP-0198 section 5 has `h` as what was received, and nothing of the last `<a/>`;
//! a client that was told has dropped those stanzas, so it cannot send them again; and one that was not sends again what
//! leaves nothing behind. Never is `h` higher than what is on disk, which is what G1 is about.

use std::sync::Arc;

use module::Now;
use stanza::{Jid, StanzaError, StreamError, ns};
use store::{Batch, Column, Found, Op, Query, Range, Row, Shape, StoreError, Table, Value, View};

use crate::account::{Account, Moment};
use crate::durable::told;
use crate::load::Held;
use crate::outbox::{How, Pump, Resumable};
use crate::sessions::Ending;
use crate::{Access, Bound, Event, NotResumed, Outbox, Resumed, Router, TooHigh, Turn};

/// Streams of an account that may be resumed, or asked for: the key of the counter, and when it was enabled.
pub(crate) static STREAMS: Table = Table {
    name: "streams",
    shape: Shape::Map,
    columns: &[Column::int("counter"), Column::int("enabled")],
};

/// Seconds for which it is remembered how many stanzas of a stream were handled.
const STREAM_MEMORY_SECONDS: i64 = 7 * 24 * 3600;

/// Streams of one account that are remembered.
const STREAMS_REMEMBERED: usize = 32;

/// Random bytes of an "SM-ID" (section 5: unguessable).
pub const STREAM_ID_BYTES: usize = 20;

/// A client wants its stream managed.
pub struct EnableRequest {
    pub resume: bool,
    /// Seconds that the client would like to be waited for.
    pub max: Option<u32>,
    pub random: [u8; STREAM_ID_BYTES],
}

impl EnableRequest {
    /// What makes the stream resumable, where that is wanted. `most`: seconds that a stream is waited for.
    pub(crate) fn resumable(&self, most: u32) -> Option<Resumable> {
        let seconds = self.max.map_or(most, |max| max.min(most));
        if !self.resume || seconds == 0 {
            return None;
        }
        let id: String = self.random.iter().map(|byte| format!("{byte:02x}")).collect();
        let [a, b, c, d, e, f, g, h, ..] = self.random;
        Some(Resumable {
            id: id.as_str().into(),
            // Unsigned would do as well, but the store has only the other kind.
            key: Some(i64::from_le_bytes([a, b, c, d, e, f, g, h])),
            seconds,
        })
    }
}

/// `<enabled/>` (section 3). The id is hexadecimal digits.
pub(crate) fn enabled_text(resumable: Option<&Resumable>) -> String {
    let ns = ns::SM;
    match resumable {
        None => format!("<enabled xmlns='{ns}'/>"),
        Some(Resumable { id, seconds, .. }) => {
            format!("<enabled xmlns='{ns}' id='{id}' resume='true' max='{seconds}'/>")
        }
    }
}

/// A client wants to go on with a stream. The answer comes as [`Event::Resumed`].
pub struct ResumeRequest {
    /// Bare JID of the authenticated account.
    pub account: Jid,
    pub previd: Box<str>,
    pub h: u32,
    pub outbox: Arc<Outbox>,
    /// Which client it is, where the login was written down.
    pub access: Option<Access>,
}

impl ResumeRequest {
    pub(crate) fn refuse(self, turn: &mut Turn, error: StanzaError) {
        self.answer(turn, Err(NotResumed::Failed(error)));
    }

    /// From the callback of the store.
    fn answer_late(self, answer: Result<Resumed, NotResumed>) {
        let mut turn = Turn::default();
        self.answer(&mut turn, answer);
        turn.finish();
    }

    fn answer(self, turn: &mut Turn, answer: Result<Resumed, NotResumed>) {
        self.outbox.tell(turn, Event::Resumed(answer));
    }
}

impl Router {
    /// `<enable/>`. False: it was enabled before. `<enabled/>`, or `<failed/>`, goes into the outbox; where the stream
    /// is to be resumable, when the store knows it.
    pub fn enable(&self, now: Now, bound: &Bound, request: &EnableRequest, turn: &mut Turn) -> bool {
        if bound.jid.local().is_none() {
            self.begins_anew(now, bound, turn);
        }
        let Some(resumable) = request.resumable(self.limits.resume_seconds) else {
            if !bound.outbox.manage(None) {
                return false;
            }
            bound.outbox.enabled(&enabled_text(None), turn);
            return true;
        };
        let resumable = match self.is_for_guests(bound.jid.domain()) {
            true => resumable.of_guest(bound.jid.as_ref()),
            false => resumable,
        };
        if !bound.outbox.manage(Some(resumable.clone())) {
            return false;
        }
        let enabled = enabled_text(Some(&resumable));
        let Some(key) = resumable.key else {
            bound.outbox.enabled(&enabled, turn);
            return true;
        };
        let (owner, outbox, me) = (bound.jid.to_bare(), Arc::clone(&bound.outbox), self.me.clone());
        let seconds = now.seconds();
        self.store.read(
            Query::all(&STREAMS, owner.as_str()),
            Box::new(move |found| {
                let Some(router) = me.upgrade() else { return };
                let known = found.and_then(Found::rows).unwrap_or_default();
                let batch = remember(owner.as_str(), &resumable.id, key, seconds, known);
                router.store.write(
                    batch,
                    Box::new(move |result| {
                        let mut turn = Turn::default();
                        match result {
                            Ok(_) => outbox.enabled(&enabled, &mut turn),
                            Err(StoreError::Closed) => {}
                            // What it sends and the disk refuses is to come again: so it has to be counted all the same.
                            Err(error) if owner.local().is_none() && error.is_temporary() => {
                                tracing::error!(domain = %owner, %error, "the stream of a server could not be made resumable");
                                outbox.never_resume();
                                outbox.enabled(&enabled_text(None), &mut turn);
                            }
                            Err(error) => {
                                tracing::error!(account = %owner, %error, "a stream could not be made resumable");
                                outbox.not_enabled(&failed(&told(&error), None), &mut turn);
                            }
                        }
                        turn.finish();
                    }),
                );
            }),
        );
        true
    }

    /// `<a/>`.
    pub fn acknowledged(&self, bound: &Bound, h: u32, turn: &mut Turn) -> Option<Result<(), TooHigh>> {
        let result = bound.outbox.acknowledge(h, turn)?;
        let ids = match result {
            Ok(ids) => ids,
            Err(error) => return Some(Err(error)),
        };
        if !ids.is_empty() {
            self.with(bound.jid.bare_str(), |account| account.backlog.acknowledge(ids));
        }
        Some(Ok(()))
    }

    /// `<resume/>`.
    pub fn resume(&self, now: Now, mut request: ResumeRequest, turn: &mut Turn) {
        request.account = self.owner_of_stream(request.account, &request.previd);
        let bare = request.account.clone();
        if self.is_for_guests(bare.domain()) && self.with(bare.as_str(), |_| ()).is_none() {
            return request.answer(turn, Err(NotResumed::NotFound { h: None }));
        }
        let act = |account: &mut Account, request, turn: &mut Turn| self.resume_now(now, account, request, turn);
        if let Err((request, error)) = self.give_or_hold(turn, bare.as_ref(), request, act, Held::Resume) {
            request.refuse(turn, error);
        }
        self.settle(now, turn);
    }

    pub(crate) fn resume_now(&self, now: Now, account: &mut Account, request: ResumeRequest, turn: &mut Turn) {
        if account.disabled {
            return request.refuse(turn, StanzaError::not_authorized());
        }
        let wanted = |resumable: Resumable| resumable.id == request.previd;
        let found = account
            .sessions
            .iter()
            .position(|session| session.outbox.resumable().is_some_and(wanted));
        let Some(at) = found else {
            return self.tell_counter(request);
        };
        if !account.sessions[at].outbox.is_settled() {
            // What is on its way is counted when it has arrived: until then `h` would be too low.
            return self.resume_later(request);
        }
        let id = self.next_session();
        let session = &mut account.sessions[at];
        let (ids, h) = match session.outbox.move_to(&request.outbox, request.h) {
            Ok(moved) => moved,
            Err(error) => return request.answer(turn, Err(NotResumed::TooHigh(error))),
        };
        // "and the server still has the stream ... open": it ends with conflict (section 5).
        session.outbox.tell(turn, Event::End(StreamError::conflict()));
        let old = std::mem::replace(&mut session.outbox, Arc::clone(&request.outbox));
        session.detached = Moment::default();
        session.belongs_to(request.access.as_ref());
        let before = std::mem::replace(&mut session.id, id);
        let jid = match account.jid.with_resource(&session.resource) {
            Ok(jid) => jid,
            Err(_) => return request.refuse(turn, StanzaError::internal_server_error()),
        };
        account.backlog.acknowledge(ids);
        account.touched = Moment::of(now.seconds());
        if account.backlog.ended(before, false) {
            old.has_returned();
        }
        let bound = Bound {
            jid,
            id,
            outbox: Arc::clone(&request.outbox),
        };
        let previd = request.previd.clone();
        self.device_is_back(account, id);
        self.look_for_access(account.jid.as_str(), request.access.as_ref());
        request.answer(turn, Ok(Resumed { bound, id: previd, h }));
        self.pump(account, id, turn);
    }

    fn resume_later(&self, request: ResumeRequest) {
        let me = self.me.clone();
        self.store.write(
            Batch::new(),
            Box::new(move |result| {
                if let (Some(router), false) = (me.upgrade(), matches!(result, Err(StoreError::Closed))) {
                    let mut turn = Turn::default();
                    router.resume((router.clock)(), request, &mut turn);
                    turn.finish();
                }
            }),
        );
    }

    /// There is no such session: how many stanzas of it were handled is told if it is known.
    pub(crate) fn tell_counter(&self, request: ResumeRequest) {
        let owner = request.account.as_str();
        let query = Query::get(&STREAMS, owner, &*request.previd);
        let me = self.me.clone();
        self.store.read(
            query,
            Box::new(move |found| {
                let Some(router) = me.upgrade() else { return };
                // Only what is certain is told: without `h` the client would send again what was handled.
                let key = match found.and_then(Found::row) {
                    Ok(row) => row.and_then(|row| key_of(&row)),
                    Err(error) => return request.answer_late(Err(NotResumed::Failed(told(&error)))),
                };
                let Some(key) = key else {
                    return request.answer_late(Err(NotResumed::NotFound { h: None }));
                };
                router.store.read(
                    Query::Mark { key },
                    Box::new(move |found| {
                        request.answer_late(Err(match found.and_then(Found::mark) {
                            // Known and without a counter: nothing of it is on disk. It is 32 bits long (section 4).
                            Ok(h) => NotResumed::NotFound {
                                h: Some(h.unwrap_or(0) as u32),
                            },
                            Err(error) => NotResumed::Failed(told(&error)),
                        }));
                    }),
                );
            }),
        );
    }

    /// Writes more of what a resumed stream has not got; then what waits.
    pub(crate) fn pump(&self, account: &mut Account, id: u64, turn: &mut Turn) {
        let Some(session) = account.session(id) else { return };
        match session.outbox.pump(turn) {
            Pump::Live => self.replay_to_anybody(account, turn),
            Pump::AwaitDrained => session.outbox.want_drained(turn),
            Pump::Read(wanted) => {
                let owner = account.jid.clone();
                let of = |view: View, is_sent: bool| {
                    let ids = wanted.iter().filter(|(_, how)| (*how == How::Sent) == is_sent);
                    let ids: Vec<i64> = ids.map(|(id, _)| *id).collect();
                    let mut range = Range::of(owner.as_str(), view, ids.len());
                    range.ids = Some(ids);
                    Query::Archive(Box::new(range))
                };
                let query = Query::Many(vec![of(View::Waiting, false), of(View::Archive, true)]);
                let me = self.me.clone();
                self.store.read(
                    query,
                    Box::new(move |found| {
                        let Some(router) = me.upgrade() else { return };
                        let mut turn = Turn::default();
                        router.with(owner.as_str(), |account| {
                            router.fill(account, id, &wanted, found, &mut turn);
                        });
                        router.settle((router.clock)(), &mut turn);
                        turn.finish();
                    }),
                );
            }
        }
    }

    fn fill(
        &self,
        account: &mut Account,
        id: u64,
        wanted: &[(i64, How)],
        found: Result<Found, StoreError>,
        turn: &mut Turn,
    ) {
        let Some(session) = account.session(id) else { return };
        let pages = found.and_then(Found::many).and_then(|pages| {
            let pages = pages.into_iter().map(Found::archive);
            pages.collect::<Result<Vec<_>, _>>()
        });
        let pages = match pages {
            Ok(pages) => pages,
            Err(StoreError::Closed) => return,
            Err(error) => {
                tracing::error!(account = %account.jid, %error, "a resumed stream could not be filled; it ends");
                return session
                    .outbox
                    .tell(turn, Event::End(StreamError::internal_server_error()));
            }
        };
        let full = account.full(session);
        let all = pages.iter().flat_map(|page| &page.messages);
        let withheld: Vec<i64> = all
            .filter(|message| self.withhold(account, message, turn))
            .map(|message| message.id)
            .collect();
        let gone = session.outbox.fill(wanted, turn, |id, how, out| {
            let page = pages.get(usize::from(how == How::Sent));
            let message = page.and_then(|page| {
                let at = page.messages.binary_search_by_key(&id, |message| message.id).ok()?;
                page.messages.get(at)
            });
            let Some(message) = message.filter(|message| !withheld.contains(&message.id)) else {
                return false;
            };
            self.write_again(account, &full, message, how, out);
            true
        });
        // Deleted meanwhile: what it was noted with must not hold up the cursor.
        account.backlog.acknowledge(gone);
        self.pump(account, id, turn);
    }

    /// A message of the archive as it goes to a resource.
    pub(crate) fn write_again(
        &self,
        account: &Account,
        full: &str,
        message: &store::Archived,
        how: How,
        out: &mut Vec<u8>,
    ) {
        let own = account.jid.as_str();
        // What does not stand in the archive has no id there: a client would ask for what comes after it.
        let shown = message.archived.then(|| self.ids.show(message.id));
        if how == How::Late {
            let (stamp, domain) = (Now(message.at).stamp(), account.jid.domain());
            return archive::waiting(&message.stanza, own, shown.as_deref(), domain, &stamp, out);
        }
        let mut stamped = Vec::new();
        match shown {
            Some(shown) => archive::with_stanza_id(&message.stanza, own, &shown, &mut stamped),
            None => stamped.extend_from_slice(message.stanza.as_bytes()),
        }
        let direction = match how {
            How::Received => archive::Direction::Received,
            How::Sent => archive::Direction::Sent,
            How::Direct | How::Late => return out.append(&mut stamped),
        };
        // A copy of text between pieces of text.
        let stamped = String::from_utf8(stamped).unwrap_or_default();
        archive::carbon(&stamped, direction, own, full, out);
    }

    /// What is due now and then, in one walk over all accounts: sessions that nobody has resumed in time end, and it is
    /// written how far messages are delivered.
    pub fn tend(&self, now: Now) {
        let (mut over, mut cursors) = (Vec::new(), Vec::new());
        self.each_account(|account| {
            for session in &account.sessions {
                let is_over =
                    |stream: Resumable| session.detached <= Moment::of(now.seconds() - i64::from(stream.seconds));
                if !session.is_attached() && session.outbox.resumable().is_none_or(is_over) {
                    over.push((account.jid.clone(), session.id));
                }
            }
            cursors.extend(account.backlog.to_save().map(|cursor| (account.jid.clone(), cursor)));
        });
        self.write_cursors(cursors);
        // What reaches the wire has an order, and a table of hashes has none.
        over.sort_unstable_by(|one, other| (one.0.as_str(), one.1).cmp(&(other.0.as_str(), other.1)));
        let mut turn = Turn::default();
        for (owner, id) in over {
            self.expire(now, &owner, id, &mut turn);
        }
        self.tend_pushes(now, &mut turn);
        self.tend_block_lists(now, &mut turn);
        self.tend_questions(now, &mut turn);
        self.settle(now, &mut turn);
        turn.finish();
    }

    /// A session that nobody has resumed ends; what it was not given goes its way.
    fn expire(&self, now: Now, owner: &Jid, id: u64, turn: &mut Turn) {
        let session = self.with(owner.as_str(), |account| {
            let session = account.session(id).filter(|session| !session.is_attached())?;
            let jid = account.jid.with_resource(&session.resource).ok()?;
            let outbox = Arc::clone(&session.outbox);
            Some(Bound { jid, id, outbox })
        });
        let Some(bound) = session.flatten() else { return };
        let rest = self.close(now, owner.as_str(), id, Ending::Final, turn).flatten();
        self.settle(now, turn);
        if let Some(rest) = rest {
            self.reclaim_all(now, &bound, &rest, turn);
        }
    }

    /// A stream that has ended for good is asked for by nobody.
    pub(crate) fn forget_stream(&self, owner: &str, resumable: &Resumable) {
        let Some(key) = resumable.key else { return };
        let mut batch = Batch::new().delete(&STREAMS, owner, &*resumable.id);
        batch.ops.push(Op::Unmark { key });
        self.write(owner, batch, Vec::new(), Box::new(|_| Vec::new()), None);
    }
}

/// The stream is noted, and what nobody will ask for any more is forgotten.
pub(crate) fn remember(owner: &str, id: &str, key: i64, seconds: i64, mut known: Vec<(Box<str>, Row)>) -> Batch {
    // Another server is none of the accounts.
    let mut batch = match owner.contains('@') {
        true => Batch::new().require(&accounts::ACCOUNTS, owner, None),
        false => Batch::new(),
    };
    let enabled = |row: &Row| row.get(1).and_then(Value::as_int).unwrap_or(0);
    known.sort_by_key(|(_, row)| enabled(row));
    // The newest, whatever the clock says: it may have been put back since.
    let newest = known.last().map_or(0, |(_, row)| enabled(row));
    let seconds = seconds.max(newest + 1);
    let surplus = known.len().saturating_sub(STREAMS_REMEMBERED - 1);
    for (at, (old, row)) in known.iter().enumerate() {
        if at < surplus || enabled(row) + STREAM_MEMORY_SECONDS < seconds {
            batch = batch.delete(&STREAMS, owner, &**old);
            batch.ops.extend(key_of(row).map(|key| Op::Unmark { key }));
        }
    }
    // Not its counter: the client may have sent on before it heard that the stream is managed.
    batch.put(&STREAMS, owner, id, vec![Value::Int(key), Value::Int(seconds)])
}

fn key_of(row: &Row) -> Option<i64> {
    row.first().and_then(Value::as_int)
}

/// `<failed/>` of stream management (section 3 and 5), with how many stanzas were handled where that is known.
pub fn failed(error: &StanzaError, h: Option<u32>) -> String {
    let h = h.map(|h| format!(" h='{h}'")).unwrap_or_default();
    let condition = error.condition.name();
    format!(
        "<failed xmlns='{}'{h}><{condition} xmlns='{}'/></failed>",
        ns::SM,
        ns::STANZAS
    )
}
