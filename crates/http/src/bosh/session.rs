//! One session (XEP-0124): which request is whose turn, and what it is answered with.
//!
//! Requests take their turn in the order of their ids. What they carry goes to the stream at once; they themselves
//! wait, the oldest first, for what the stream has to say. The moments in which something changes are told to all who
//! wait ([`Session::changed`]), and whoever looks ([`Session::look`]) settles what is due.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::Bytes;
use hyper::header::HeaderValue;
use sha1::{Digest as _, Sha1};
use tokio::io::ReadBuf;
use tokio::sync::Notify;
use tokio::time::Instant;
use xmlstream::Scratch;

use super::output::Output;
use super::request::Request;
use super::{Condition, HTTP_BIND, MOST_PAUSE, MOST_REPETITIONS, POLLING, XBOSH};

/// How long the stream may take for what a client asks that does not want to wait (section 13).
const POLL_PATIENCE: Duration = Duration::from_secs(5);
/// The least pause before it is looked again whether a request is due.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What was agreed when the session was made.
pub(super) struct Terms {
    pub(super) wait: Duration,
    pub(super) hold: usize,
    /// Requests that may be under way at the same time.
    pub(super) requests: usize,
    pub(super) inactivity: Duration,
    /// The client does not want to be kept waiting.
    pub(super) is_polling: bool,
    /// The client knows conditions; others are told HTTP's codes (section 17.1).
    pub(super) has_ver: bool,
    /// Responses tell which requests have come (section 9).
    pub(super) has_acks: bool,
    pub(super) content: HeaderValue,
    /// Requests come under TLS.
    pub(super) is_secured: bool,
    pub(super) to: Option<String>,
    pub(super) lang: Option<String>,
    /// Bytes that may wait for the stream.
    pub(super) input_bytes: usize,
}

/// A request that waits for its response. When it is dropped before, its connection has broken.
pub(super) struct Ticket<'s> {
    session: &'s Session,
    rid: u64,
    /// Which of the requests with this id.
    number: u64,
}

/// What has become of a request.
pub(super) enum Arrival<'s> {
    Answered(Bytes),
    Waits(Ticket<'s>),
    /// And with it the session has ended.
    Refused(Condition),
}

/// One whose turn has not come.
struct Early {
    number: u64,
    is_live: bool,
    request: Request,
}

/// One that is to be answered next.
struct Open {
    rid: u64,
    number: u64,
    /// Somebody waits for it.
    is_live: bool,
    due: Instant,
}

/// The last request that was new.
struct Last {
    at: Instant,
    is_poll: bool,
}

struct State {
    /// The id of the next request.
    next: u64,
    early: BTreeMap<u64, Early>,
    open: VecDeque<Open>,
    /// The last responses, for clients that have not got them.
    answered: VecDeque<(u64, Bytes)>,
    numbers: u64,
    /// Requests that had come already, since the last that was new.
    repetitions: u32,
    last: Option<Last>,
    /// The last response had no payload.
    was_empty: bool,
    /// Since when no request waits.
    idle_since: Instant,
    inactivity: Duration,
    /// The hash of the next key (section 15).
    key: Option<String>,
    /// What the first response tells.
    greeting: Option<String>,
    /// What the stream has not read.
    input: Vec<u8>,
    taken: usize,
    /// The stream has read everything and waits for more.
    is_read: bool,
    /// The stream has something to write, and waits for a request that takes it.
    is_refused: bool,
    output: Output,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The stream writes nothing more.
    is_ended: bool,
    is_logged_in: bool,
    /// All requests are answered, and no more are taken.
    is_over: bool,
}

pub(super) struct Session {
    pub(super) terms: Terms,
    changed: Notify,
    state: Mutex<State>,
}

impl Session {
    /// A session whose first request has this id. `greeting`: attributes of the first response.
    pub(super) fn new(terms: Terms, rid: u64, new_key: Option<String>, greeting: String, now: Instant) -> Session {
        let state = State {
            next: rid,
            early: BTreeMap::new(),
            open: VecDeque::new(),
            answered: VecDeque::new(),
            numbers: 0,
            repetitions: 0,
            last: None,
            was_empty: false,
            idle_since: now,
            inactivity: terms.inactivity,
            key: new_key,
            greeting: Some(greeting),
            input: Vec::new(),
            taken: 0,
            is_read: false,
            is_refused: false,
            output: Output::default(),
            reader: None,
            writer: None,
            is_ended: false,
            is_logged_in: false,
            is_over: false,
        };
        Session {
            terms,
            changed: Notify::new(),
            state: Mutex::new(state),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    pub(super) fn is_logged_in(&self) -> bool {
        self.lock().is_logged_in
    }

    /// The first request, which opens the stream.
    pub(super) fn begin(&self, request: Request, now: Instant) -> Arrival<'_> {
        let first = Request {
            restarts: true,
            key: None,
            new_key: None,
            sid: None,
            ..request
        };
        self.arrive_with(first, now, true)
    }

    /// A request of the session has come.
    pub(super) fn arrive(&self, request: Request, now: Instant) -> Arrival<'_> {
        self.arrive_with(request, now, false)
    }

    fn arrive_with(&self, request: Request, now: Instant, is_first: bool) -> Arrival<'_> {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.is_over {
            return Arrival::Refused(Condition::ItemNotFound);
        }
        state.numbers += 1;
        let (rid, number) = (request.rid, state.numbers);
        let result = if rid < state.next {
            // Section 14.3: a repetition, "and so a connection manager implementation MAY choose to impose a limit".
            state.repetitions += 1;
            if state.repetitions > MOST_REPETITIONS {
                Err(Condition::PolicyViolation)
            } else if let Some(open) = state.open.iter_mut().find(|open| open.rid == rid) {
                (open.number, open.is_live) = (number, true);
                Ok(())
            } else if let Some((_, bytes)) = state.answered.iter().find(|(answered, _)| *answered == rid) {
                state.idle_since = now;
                return Arrival::Answered(bytes.clone());
            } else {
                Err(Condition::ItemNotFound)
            }
        } else {
            // Section 14.2; section 11: one more to pause or to terminate.
            let extra = usize::from(request.pause.is_some() || request.terminates);
            if rid - state.next < (self.terms.requests + extra) as u64 {
                let early = Early {
                    number,
                    is_live: true,
                    request,
                };
                state.early.insert(rid, early);
                self.take_turns(state, now, is_first)
            } else {
                Err(Condition::ItemNotFound)
            }
        };
        let result = match result {
            Ok(()) => {
                self.settle(state, now);
                Ok(())
            }
            Err(condition) => {
                // Of the session's others the oldest is told, and this one of itself.
                state.early.remove(&rid);
                state.open.retain(|open| open.rid != rid);
                self.end(state, Some(condition), now);
                Err(condition)
            }
        };
        state.wake();
        self.changed.notify_waiters();
        drop(guard);
        match result {
            Ok(()) => Arrival::Waits(Ticket {
                session: self,
                rid,
                number,
            }),
            Err(condition) => Arrival::Refused(condition),
        }
    }

    /// Those that come next take their turn.
    fn take_turns(&self, state: &mut State, now: Instant, is_first: bool) -> Result<(), Condition> {
        while let Some(early) = state.early.remove(&state.next) {
            self.take_turn(state, early, now, is_first)?;
        }
        Ok(())
    }

    fn take_turn(&self, state: &mut State, early: Early, now: Instant, is_first: bool) -> Result<(), Condition> {
        let Early {
            number,
            is_live,
            request,
        } = early;
        if !is_first {
            state.check_key(&request)?;
        }
        if let Some(ack) = request.ack.filter(|_| self.terms.has_acks && !is_first) {
            state.answered.retain(|(rid, _)| *rid > ack);
        }
        let is_poll = request.is_poll();
        let is_soon = |last: &Last| now.saturating_duration_since(last.at) < POLLING;
        let may_exceed = request.pause.is_some() || request.terminates;
        // Section 12, for polling sessions.
        let polls_too_often = self.terms.is_polling
            && is_poll
            && state.was_empty
            && state.last.as_ref().is_some_and(|last| last.is_poll && is_soon(last));
        // Section 11.
        let unanswered = state.open.len() + 1;
        let is_overactive = unanswered > self.terms.requests && !may_exceed
            || unanswered == self.terms.requests
                && unanswered > 1
                && is_poll
                && state.last.as_ref().is_some_and(is_soon);
        if polls_too_often || is_overactive {
            return Err(Condition::PolicyViolation);
        }
        state.last = Some(Last { at: now, is_poll });
        state.repetitions = 0;
        state.next += 1;
        state.inactivity = self.terms.inactivity;
        state.open.push_back(Open {
            rid: request.rid,
            number,
            is_live,
            due: now
                + if self.terms.is_polling {
                    POLL_PATIENCE
                } else {
                    self.terms.wait
                },
        });
        if !is_live {
            state.idle_since = now;
        }
        if let Some(pause) = request.pause {
            // Section 10: "respond immediately to all pending requests", "MUST NOT contain any payloads".
            let pause = Duration::from_secs(pause);
            if pause > MOST_PAUSE {
                return Err(Condition::PolicyViolation);
            }
            state.inactivity = pause;
            while !state.open.is_empty() {
                self.answer(state, false, "", now);
            }
        }
        if request.restarts {
            // XEP-0206 section 5: what else it carries is ignored.
            state.push(self.header(&request, is_first).as_bytes());
        } else {
            state.push(request.payload.as_bytes());
        }
        if request.terminates {
            state.push(b"</stream:stream>");
        }
        if state.input.len() - state.taken > self.terms.input_bytes {
            return Err(Condition::PolicyViolation);
        }
        Ok(())
    }

    /// The client's stream header, made of what it says of itself.
    fn header(&self, request: &Request, is_first: bool) -> String {
        let terms = &self.terms;
        let mut out = b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='".to_vec();
        out.extend_from_slice(stanza::ns::STREAM.as_bytes());
        out.push(b'\'');
        // The schema of XEP-0206 gives the version a default.
        let version = if is_first { request.version.as_deref() } else { None };
        let attributes = [
            ("to", request.to.as_deref().or(terms.to.as_deref())),
            ("from", request.from.as_deref()),
            ("xml:lang", request.lang.as_deref().or(terms.lang.as_deref())),
            ("version", Some(version.unwrap_or("1.0"))),
        ];
        for (name, value) in attributes {
            if let Some(value) = value {
                out.extend_from_slice(format!(" {name}='").as_bytes());
                xmlstream::escape_attr(&mut out, value);
                out.push(b'\'');
            }
        }
        out.push(b'>');
        // It is made of text.
        String::from_utf8(out).unwrap_or_default()
    }

    /// Answers what is due.
    fn settle(&self, state: &mut State, now: Instant) {
        while let Some(front) = state.open.front() {
            if !state.output.is_whole() && !state.is_ended {
                return;
            }
            if state.output.is_closed || state.is_ended {
                let condition = match (state.output.has_error, state.output.is_closed) {
                    (true, _) => Some(Condition::RemoteStreamError),
                    (false, true) => None,
                    (false, false) => Some(Condition::RemoteConnectionFailed),
                };
                return self.end(state, condition, now);
            }
            let has_output = !state.output.children.is_empty();
            let is_held = state.open.len() <= self.terms.hold;
            if !front.is_live && state.open.len() > 1 {
                // Nobody is there to take anything; whoever asks again for it gets this.
                self.answer(state, false, "", now);
            } else if front.is_live
                && (front.due <= now
                    || state.output.is_full()
                    || state.is_read && (has_output || !is_held && !state.is_refused))
            {
                self.answer(state, true, "", now);
            } else {
                return;
            }
        }
    }

    /// Answers the oldest request.
    fn answer(&self, state: &mut State, has_payload: bool, attributes: &str, now: Instant) {
        let Some(open) = state.open.pop_front() else { return };
        let mut text = format!("<body xmlns='{HTTP_BIND}'{attributes}");
        if let Some(greeting) = state.greeting.take() {
            text.push_str(&greeting);
            if self.terms.has_acks {
                text.push_str(&format!(" ack='{}'", open.rid));
            }
        } else if self.terms.has_acks && state.next - 1 > open.rid {
            text.push_str(&format!(" ack='{}'", state.next - 1));
        }
        if let Some(opened) = state.output.opened.take_if(|opened| !opened.id.is_empty()) {
            let mut out = Vec::new();
            for (name, value) in [("authid", &opened.id), ("from", &opened.from)] {
                out.extend_from_slice(format!(" {name}='").as_bytes());
                xmlstream::escape_attr(&mut out, value);
                out.push(b'\'');
            }
            text.push_str(&String::from_utf8(out).unwrap_or_default());
            text.push_str(&format!(
                " xmlns:xmpp='{XBOSH}' xmpp:version='1.0' xmpp:restartlogic='true'"
            ));
        }
        let children = match has_payload {
            true => mem::take(&mut state.output.children),
            false => Vec::new(),
        };
        state.was_empty = children.is_empty();
        if children.is_empty() {
            text.push_str("/>");
        } else {
            if mem::take(&mut state.output.has_prefix) {
                text.push_str(" xmlns:stream='http://etherx.jabber.org/streams'");
            }
            text.push('>');
        }
        let mut bytes = text.into_bytes();
        if !children.is_empty() {
            bytes.extend_from_slice(&children);
            bytes.extend_from_slice(b"</body>");
        }
        state.answered.push_back((open.rid, bytes.into()));
        while state.answered.len() > self.terms.requests {
            state.answered.pop_front();
        }
        if open.is_live {
            state.idle_since = now;
        }
        state.wake_writer();
    }

    /// Answers everything (section 13) and takes no more.
    fn end(&self, state: &mut State, condition: Option<Condition>, now: Instant) {
        state.is_over = true;
        let terminal = condition.map_or(" type='terminate'".to_owned(), Condition::attributes);
        let mut is_first = true;
        let early = mem::take(&mut state.early);
        // Nobody processes them any more.
        state.open.extend(early.into_iter().map(|(rid, early)| Open {
            rid,
            number: early.number,
            is_live: early.is_live,
            due: now,
        }));
        let mut kept = VecDeque::new();
        while !state.open.is_empty() {
            let attributes = match (is_first, condition) {
                (false, None) => "",
                _ => &terminal,
            };
            self.answer(state, is_first, attributes, now);
            kept.extend(state.answered.pop_back());
            is_first = false;
        }
        state.answered = kept;
    }

    /// Ends the session as a broken connection ends: nothing is said to the stream.
    pub(super) fn fail(&self, condition: Condition, now: Instant) {
        let mut state = self.lock();
        if !state.is_over {
            self.end(&mut state, Some(condition), now);
        }
        state.wake();
        self.changed.notify_waiters();
    }

    /// Ends the session if no request has waited for too long (section 10). True if it is over.
    pub(super) fn expire(&self, now: Instant) -> bool {
        let mut state = self.lock();
        let is_idle = state.open.iter().all(|open| !open.is_live);
        if !state.is_over && is_idle && now.saturating_duration_since(state.idle_since) >= state.inactivity {
            self.end(&mut state, Some(Condition::ItemNotFound), now);
            state.wake();
            self.changed.notify_waiters();
        }
        state.is_over
    }

    /// Waits for the response.
    pub(super) async fn response(&self, ticket: &Ticket<'_>) -> Bytes {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let due = match self.look(ticket, Instant::now()) {
                Ok(bytes) => return bytes,
                Err(due) => due.max(Instant::now() + LOOK_AGAIN),
            };
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// The response, or when to look again.
    fn look(&self, ticket: &Ticket<'_>, now: Instant) -> Result<Bytes, Instant> {
        let mut state = self.lock();
        let waiting = state.open.len();
        self.settle(&mut state, now);
        if state.open.len() != waiting {
            state.wake();
            self.changed.notify_waiters();
        }
        if let Some((_, bytes)) = state.answered.iter().find(|(rid, _)| *rid == ticket.rid) {
            return Ok(bytes.clone());
        }
        let open = state.open.iter().find(|open| open.rid == ticket.rid);
        let early = state.early.get(&ticket.rid);
        let number = open.map(|open| open.number).or(early.map(|early| early.number));
        match number {
            Some(number) if number == ticket.number => Err(open.map_or(now + self.terms.inactivity, |open| open.due)),
            // Section 14.3: it was asked for again, and that request gets the response.
            Some(_) => Ok(format!("<body xmlns='{HTTP_BIND}' type='error'/>").into()),
            None => Ok(Condition::ItemNotFound.body().into()),
        }
    }

    /// Somebody has logged in.
    pub(super) fn logged_in(&self) {
        self.lock().is_logged_in = true;
    }

    /// The stream writes nothing more.
    pub(super) fn ended(&self) {
        let mut state = self.lock();
        state.is_ended = true;
        let now = Instant::now();
        self.settle(&mut state, now);
        if !state.is_over {
            self.end(&mut state, None, now);
        }
        state.wake();
        self.changed.notify_waiters();
    }

    pub(super) fn poll_read(&self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<()> {
        let mut state = self.lock();
        let rest = &state.input[state.taken..];
        if rest.is_empty() {
            if state.is_over || state.is_ended {
                return Poll::Ready(());
            }
            state.reader = Some(cx.waker().clone());
            if !mem::replace(&mut state.is_read, true) {
                self.changed.notify_waiters();
            }
            return Poll::Pending;
        }
        let count = rest.len().min(into.remaining());
        into.put_slice(&rest[..count]);
        state.taken += count;
        if state.taken == state.input.len() {
            state.input = Vec::new();
            state.taken = 0;
        }
        Poll::Ready(())
    }

    pub(super) fn try_write(&self, bytes: &[u8], scratch: &mut Scratch) -> io::Result<usize> {
        let mut state = self.lock();
        if state.is_over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        state.is_refused = !state.has_room();
        if state.is_refused {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let taken = state.output.take(bytes, scratch)?;
        self.changed.notify_waiters();
        Ok(taken)
    }

    pub(super) fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.is_over || state.has_room() {
            return Poll::Ready(());
        }
        state.writer = Some(cx.waker().clone());
        state.is_refused = true;
        Poll::Pending
    }
}

impl State {
    /// Whether the stream may write: a request is there to take it, or an element is not whole yet.
    fn has_room(&self) -> bool {
        !self.output.is_whole() || self.open.front().is_some_and(|open| open.is_live) && !self.output.is_full()
    }

    fn push(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.input.extend_from_slice(bytes);
            self.is_read = false;
        }
    }

    fn wake_writer(&mut self) {
        if let Some(waker) = self.writer.take() {
            waker.wake();
        }
    }

    fn wake(&mut self) {
        self.wake_writer();
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }

    /// Section 15.
    fn check_key(&mut self, request: &Request) -> Result<(), Condition> {
        if let Some(hash) = &self.key {
            let key = request.key.as_deref().ok_or(Condition::ItemNotFound)?;
            // Its letters are hashed as they were sent, and the hashes compared in any case.
            if !hex(&Sha1::digest(key)).eq_ignore_ascii_case(hash) {
                return Err(Condition::ItemNotFound);
            }
            self.key = request.new_key.clone().or(request.key.clone());
        }
        Ok(())
    }
}

/// In hexadecimal letters.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.session.lock();
        let mut is_abandoned = false;
        if let Some(early) = state.early.get_mut(&self.rid)
            && early.number == self.number
        {
            early.is_live = false;
        }
        if let Some(open) = state.open.iter_mut().find(|open| open.rid == self.rid)
            && open.number == self.number
        {
            open.is_live = false;
            is_abandoned = true;
        }
        if is_abandoned {
            let now = Instant::now();
            state.idle_since = now;
            self.session.settle(&mut state, now);
            self.session.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
