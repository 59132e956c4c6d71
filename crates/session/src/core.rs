//! The stream as a whole: framing, the states, and the way out.

use std::mem;
use std::num::NonZeroU32;
use std::sync::Arc;

use accounts::backend::Question;
use accounts::tokens::{Agent, Lifetimes};
use auth::{Binding, Credentials, Mechanism, PasswordCheck, Proof};
use module::Now;
use router::{Bound, Event, Guest, Outbox, Pair, Router, Turn, Vouched};
use stanza::{Jid, StanzaError, StreamError, ns};
use xmlstream::{Element, Framer, Limits, Scratch};

use crate::bound;
use crate::component::{Attached, ComponentConfig, Handshake};
use crate::config::StreamConfig;
use crate::errors::stream_error;
use crate::header::Opening;
use crate::negotiation::Negotiation;
use crate::server::incoming::Incoming;
use crate::server::peered::Peered;
use crate::server::{Claim, Established, ServerConfig};

/// A login that was let in, to be written down (XEP-0484, XEP-0494).
pub struct Recording {
    pub account: Jid,
    pub agent: Agent,
    /// The id of the client, if it is not known yet.
    pub new_id: String,
    pub proof: Proof,
    /// The client wants a token for this mechanism.
    pub wanted: Option<Mechanism>,
    /// The token that it used is void from now on.
    pub invalidate: bool,
    pub lifetimes: Lifetimes,
}

/// What the stream needs from the connection. Answers to questions come as [`Event`]s.
pub trait Shell {
    /// Fills the buffer from a cryptographically secure generator.
    fn random(&mut self, bytes: &mut [u8]);
    /// What the TLS channel can be bound to; empty without TLS.
    fn binding(&self) -> Binding;
    /// The addresses in the certificate that the client has shown, prepared, if it is one that this domain takes.
    fn certified(&self, domain: &str) -> Vec<String>;
    /// When the certificate that the client has shown ends, in seconds since 1970. Asked once it has logged in by that.
    fn certified_until(&self) -> Option<i64> {
        None
    }
    /// Looks an account up for SASL: [`Event::Account`].
    fn look_up(&mut self, account: &Jid);
    /// Looks an account up for a login with a token: [`Event::Tokens`]. `client`: the id that the client gives for itself.
    fn look_up_tokens(&mut self, account: &Jid, client: Option<&str>);
    /// Writes down that a client has logged in, and gives it a token where one is due: [`Event::Recorded`].
    fn record(&mut self, login: Recording);
    /// Runs the check where it may take milliseconds: [`Event::Checked`].
    fn check(&mut self, check: PasswordCheck);
    /// Adds verifiers to an account whose password this login has proved, unless the account has another password since
    /// it was looked up: [`Event::Upgraded`], also if they cannot be written.
    fn upgrade(&mut self, account: &Jid, verifiers: Credentials);
    /// Asks who knows about this on its domain: [`Event::Decided`]. About a password only after
    /// [`Lookup::Elsewhere`](auth::Lookup).
    fn ask(&mut self, question: Question);
    /// Somebody has shown elsewhere to be this account: whether it is there and may log in. [`Event::Decided`].
    fn admit(&mut self, account: &Jid);
    /// A place for a guest; None where there is no room. `trace`: what it says of itself, for the log.
    fn guest(&mut self, trace: Option<&str>) -> Option<Guest>;
    /// Whether this address may try to log in now, at all or to this account
    /// (configuration: `limits.login_failures_per_minute_…`).
    fn may_log_in(&mut self, account: Option<&Jid>) -> bool;
    /// Whether one more account may be asked for from this address now (configuration: `limits.registrations_…`). Only
    /// asked where anybody may have one; counts.
    fn may_register(&mut self) -> bool {
        false
    }
    /// A login failed in a way that may be a guess.
    fn login_failed(&mut self, account: Option<&Jid>);
    /// An attempt has ended, for whoever counts. `mechanism`: None for what is none; `failure`: None where it succeeded.
    fn login_ended(&mut self, _mechanism: Option<Mechanism>, _failure: Option<auth::Failure>) {}
    /// The stream ends, as it has made as many attempts as it may; for whoever counts.
    fn too_many_attempts(&mut self) {}
    /// What the certificate that another server has shown is worth, for the other domain of the pair. None: that has to be
    /// looked up, and [`Event::Vouched`] says it.
    fn certifies(&mut self, _pair: &Pair) -> Option<Vouched> {
        Some(Vouched::default())
    }
    /// Has a dialback key verified by the authoritative server of its domain: [`Event::Verified`].
    ///
    /// # Errors
    /// Nobody is asked.
    fn verify_key(&mut self, _claim: Claim) -> Result<(), StanzaError> {
        Err(StanzaError::not_authorized())
    }
    /// Something went wrong with the stream of another server, which says that it is this one; for whoever asks why.
    fn note_server(&mut self, _remote: &str, _note: &str) {}
}

/// What a call of the stream works with.
pub struct Context<'a> {
    pub now: Now,
    pub router: &'a Router,
    pub turn: &'a mut Turn,
    pub scratch: &'a mut Scratch,
    /// Bytes for the peer, after all that waits in the outbox.
    pub out: &'a mut Vec<u8>,
    pub outbox: &'a Arc<Outbox>,
    pub shell: &'a mut dyn Shell,
}

/// What the connection does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Read on.
    Read,
    /// Write `out`, then begin the TLS handshake; everything that was read behind is thrown away
    /// (RFC 6120 section 5.4.3.3: nothing that came in the clear may be processed after it).
    StartTls,
    /// Keep what was read; an event will come.
    Wait,
    /// Write `out` and close.
    Close,
}

/// The result of [`StreamCore::handle_bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the input that are used up.
    pub consumed: usize,
    pub next: Next,
}

pub(crate) enum State {
    Negotiating(Box<Negotiation>),
    Bound(bound::Stream),
    /// A component that has not shown yet that it is one.
    Handshake(Box<Handshake>),
    Attached(Attached),
    /// Another server that has not shown yet which one it is.
    Incoming(Box<Incoming>),
    Peered(Box<Peered>),
    /// The closing tag was written; nothing is read any more.
    Closed,
    /// Closed while the router was binding a resource: its answer is still to come.
    Awaited,
    /// What that answer brought; for nobody, so it has to be unbound.
    Late(Bound),
}

/// One client's stream, or a component's, or another server's.
pub struct StreamCore {
    framer: Framer,
    state: State,
    /// The client closed its side in good order.
    ended_by_client: bool,
    /// See [`StreamCore::ends_at`]. In 32 bits, for which every stream has room: what holds beyond the year 2106 does not
    /// end.
    ends_at: Option<NonZeroU32>,
}

impl StreamCore {
    /// `secured`: TLS is in place already (direct TLS, XEP-0368).
    pub fn new(config: Arc<StreamConfig>, secured: bool) -> StreamCore {
        StreamCore {
            framer: Framer::new(),
            state: State::Negotiating(Box::new(Negotiation::new(config, secured))),
            ended_by_client: false,
            ends_at: None,
        }
    }

    /// The stream of a component (XEP-0114).
    pub fn component(config: Arc<ComponentConfig>) -> StreamCore {
        StreamCore {
            framer: Framer::new(),
            state: State::Handshake(Box::new(Handshake::new(config))),
            ended_by_client: false,
            ends_at: None,
        }
    }

    /// A stream that another server opens to us.
    pub fn incoming(config: Arc<ServerConfig>, secured: bool) -> StreamCore {
        StreamCore {
            framer: Framer::new(),
            state: State::Incoming(Box::new(Incoming::new(config, secured))),
            ended_by_client: false,
            ends_at: None,
        }
    }

    /// A stream that we have opened to another server ([`Outgoing`](crate::Outgoing)), and of which the router knows
    /// ([`Router::linked`]). [`Established::early`] has to be put before what comes.
    pub fn established(mut established: Established, bound: Bound) -> StreamCore {
        StreamCore {
            framer: mem::take(&mut established.framer),
            ends_at: moment(established.ends_at),
            state: State::Peered(Box::new(Peered::ours(established, bound))),
            ended_by_client: false,
        }
    }

    /// The bound resource, once there is one; of a component, that it speaks for its domain.
    pub fn bound(&self) -> Option<&Bound> {
        match &self.state {
            State::Bound(stream) => Some(&stream.bound),
            State::Attached(component) => Some(&component.bound),
            State::Peered(peer) => Some(&peer.bound),
            _ => None,
        }
    }

    /// When the certificate by which the peer is who it is ends, in seconds since 1970: behind that,
    /// [`StreamCore::look_at_certificate`] is to be called.
    pub fn ends_at(&self) -> Option<i64> {
        self.ends_at.map(|at| i64::from(at.get()))
    }

    /// RFC 6120 section 13.7.2.3: a stream does not outlive the certificate. The last second is part of it (RFC 5280
    /// section 4.1.2.5).
    pub fn look_at_certificate(&mut self, cx: &mut Context<'_>) -> Next {
        match self.ends_at() {
            Some(at) if at < cx.now.seconds() => {
                self.fail(StreamError::reset().text("the certificate has expired"), cx)
            }
            _ => Next::Read,
        }
    }

    pub fn is_negotiating(&self) -> bool {
        matches!(self.state, State::Negotiating(_))
    }

    /// The router still owes the answer to a request to bind. The connection must not be forgotten
    /// before [`StreamCore::handle_event`] was given it, or the resource would stay for ever.
    pub fn awaits_resource(&self) -> bool {
        match &self.state {
            State::Negotiating(negotiation) => negotiation.is_binding(),
            State::Handshake(handshake) => handshake.is_attaching(),
            State::Incoming(incoming) => incoming.is_admitting(),
            State::Awaited => true,
            State::Bound(_) | State::Attached(_) | State::Peered(_) | State::Closed | State::Late(_) => false,
        }
    }

    /// The connection ends: takes out the bound resource, which is to be unbound; `bool`: the
    /// client closed its stream in good order.
    pub fn take_bound(&mut self) -> (Option<Bound>, bool) {
        self.end();
        let clean = self.ended_by_client;
        match &self.state {
            State::Awaited => (None, clean),
            _ => match mem::replace(&mut self.state, State::Closed) {
                State::Bound(stream) => (Some(stream.bound), clean),
                State::Attached(component) => (Some(component.bound), clean),
                State::Peered(peer) => (Some(peer.bound), clean),
                State::Late(bound) => (Some(bound), clean),
                _ => (None, clean),
            },
        }
    }

    /// TLS is established: a new stream begins (RFC 6120 section 5.4.3.3).
    pub fn secured(&mut self) {
        self.framer.restart();
        match &mut self.state {
            State::Negotiating(negotiation) => negotiation.secured(),
            State::Incoming(incoming) => incoming.secured(),
            _ => {}
        }
    }

    /// What the next element may cost, or why nothing is to be read now.
    fn may_read(&self) -> Result<Limits, Next> {
        match &self.state {
            State::Closed | State::Awaited | State::Late(_) => Err(Next::Close),
            State::Negotiating(negotiation) if negotiation.is_waiting() => Err(Next::Wait),
            State::Negotiating(negotiation) => Ok(*negotiation.limits()),
            State::Bound(stream) => Ok(stream.config.after_login),
            State::Handshake(handshake) if handshake.is_attaching() => Err(Next::Wait),
            State::Handshake(handshake) => Ok(handshake.config.before_login),
            State::Attached(component) => Ok(component.config.after_login),
            State::Incoming(incoming) if incoming.is_waiting() => Err(Next::Wait),
            State::Incoming(incoming) => Ok(*incoming.limits()),
            State::Peered(peer) => Ok(peer.config.after_login),
        }
    }

    /// Processes what has been read. Stops at the first thing that [`Next`] must be done for.
    pub fn handle_bytes(&mut self, input: &[u8], cx: &mut Context<'_>) -> Progress {
        let mut consumed = 0;
        loop {
            let limits = match self.may_read() {
                Ok(limits) => limits,
                Err(Next::Close) => {
                    return Progress {
                        consumed: input.len(),
                        next: Next::Close,
                    };
                }
                Err(next) => return Progress { consumed, next },
            };
            let mut scratch = mem::take(cx.scratch);
            let step = self.framer.next(&input[consumed..], &mut scratch, &limits);
            let (used, result) = match step {
                Err(error) => (input.len() - consumed, Err(stream_error(error))),
                Ok(step) => {
                    let result = match step.event {
                        xmlstream::Event::Incomplete => {
                            consumed += step.consumed;
                            *cx.scratch = scratch;
                            return Progress {
                                consumed,
                                next: Next::Read,
                            };
                        }
                        xmlstream::Event::Header(header) => match &mut self.state {
                            State::Negotiating(negotiation) => negotiation.header(Opening::read(&header), cx),
                            State::Handshake(handshake) => handshake.header(Opening::read_component(&header), cx),
                            State::Incoming(incoming) => incoming.header(&header, cx),
                            _ => Err(StreamError::not_well_formed()),
                        },
                        xmlstream::Event::Element(element) => self.element(element, cx),
                        xmlstream::Event::Close => self.closed_by_client(),
                    };
                    (step.consumed, result)
                }
            };
            *cx.scratch = scratch;
            if !self.is_unread() {
                consumed += used;
            }
            match self.follow(result, cx) {
                Next::Read => {}
                next => return Progress { consumed, next },
            }
        }
    }

    /// How long the next frame may be, in bytes, or why none is to be read now.
    pub fn frame_limit(&self) -> Result<usize, Next> {
        self.may_read().map(|limits| limits.bytes)
    }

    /// Processes one message of a WebSocket: one element, the stream's header and its end among them (RFC 7395
    /// section 3.3). [`StreamCore::frame_limit`] must allow it; a stream is read either so or by
    /// [`StreamCore::handle_bytes`].
    pub fn handle_frame(&mut self, text: &str, cx: &mut Context<'_>) -> Next {
        let limits = match self.may_read() {
            Ok(limits) => limits,
            Err(next) => return next,
        };
        let mut scratch = mem::take(cx.scratch);
        let result = match xmlstream::parse_document(text, &mut scratch, &limits) {
            Ok(element) => self.frame(element, cx),
            Err(error) => Err(stream_error(error)),
        };
        *cx.scratch = scratch;
        self.follow(result, cx)
    }

    fn frame(&mut self, element: Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        match (&mut self.state, element.ns(), element.name()) {
            (_, ns::FRAMING, "close") => self.closed_by_client(),
            (_, ns::STREAM, "error") => Ok(Next::Close),
            (State::Negotiating(negotiation), _, _) if negotiation.expects_header() => {
                negotiation.header(Opening::read_open(&element), cx)
            }
            // RFC 7395 section 3.4: a stream that is open is not opened.
            (_, ns::FRAMING, _) => Err(StreamError::bad_format()),
            _ => self.element(element, cx),
        }
    }

    /// The one way of an element that came, by whatever transport.
    fn element(&mut self, element: Element<'_>, cx: &mut Context<'_>) -> Result<Next, StreamError> {
        // Section 4.9.1.1: who is sent a stream error closes the stream.
        if element.is("error", ns::STREAM) {
            if let State::Peered(peer) = &self.state {
                peer.ended_with(&element, cx);
            }
            return Ok(Next::Close);
        }
        match &mut self.state {
            State::Negotiating(negotiation) => negotiation.element(&element, cx),
            State::Bound(stream) => stream.element(element, cx),
            State::Handshake(handshake) => handshake.element(&element, cx),
            State::Attached(component) => component.element(element, cx),
            State::Incoming(incoming) => incoming.element(&element, cx),
            State::Peered(peer) => peer.element(element, cx),
            State::Closed | State::Awaited | State::Late(_) => Ok(Next::Close),
        }
    }

    fn closed_by_client(&mut self) -> Result<Next, StreamError> {
        self.ended_by_client = true;
        Ok(Next::Close)
    }

    /// What comes of a step.
    fn follow(&mut self, result: Result<Next, StreamError>, cx: &mut Context<'_>) -> Next {
        match result {
            Ok(Next::Close) => {
                self.close(cx);
                Next::Close
            }
            Ok(next) => {
                self.restart_if_due();
                next
            }
            Err(error) => self.fail(error, cx),
        }
    }

    /// Processes an answer or an order of the server. [`Next::Read`]: go on with what was kept.
    pub fn handle_event(&mut self, event: Event, cx: &mut Context<'_>) -> Next {
        let result = match (&mut self.state, event) {
            (_, Event::End(error)) => Err(error),
            (State::Negotiating(negotiation), Event::Bound(Ok(bound))) => {
                negotiation.write_bound(&bound, cx);
                self.ends_at = moment(negotiation.ends_at);
                let stream = bound::Stream::new(bound, negotiation);
                self.state = State::Bound(stream);
                return Next::Read;
            }
            (State::Negotiating(negotiation), Event::Resumed(Ok(resumed))) => {
                negotiation.write_resumed(&resumed, cx);
                self.ends_at = moment(negotiation.ends_at);
                let stream = bound::Stream::new(resumed.bound, negotiation);
                self.state = State::Bound(stream);
                return Next::Read;
            }
            (State::Negotiating(negotiation), Event::Established(established)) => {
                negotiation.write_established(&established, cx);
                self.ends_at = moment(negotiation.ends_at);
                let stream = bound::Stream::new(established.bound, negotiation);
                self.state = State::Bound(stream);
                return Next::Read;
            }
            (State::Negotiating(negotiation), event) => negotiation.event(event, cx),
            (State::Handshake(handshake), Event::Bound(Ok(bound))) => {
                cx.out.extend_from_slice(b"<handshake/>");
                let config = Arc::clone(&handshake.config);
                self.state = State::Attached(Attached { bound, config });
                return Next::Read;
            }
            // XEP-0114 section 3: another speaks for the domain.
            (State::Handshake(_), Event::Bound(Err(_))) => Err(StreamError::conflict()),
            (State::Handshake(_), _) => return Next::Read,
            (State::Incoming(incoming), Event::Bound(Ok(bound))) => {
                self.ends_at = moment(incoming.ends_at);
                self.state = State::Peered(Box::new(incoming.admitted(bound)));
                return Next::Read;
            }
            (State::Incoming(incoming), Event::Resumed(Ok(resumed))) => {
                self.ends_at = moment(incoming.ends_at);
                self.state = State::Peered(Box::new(incoming.resumed(resumed, cx)));
                return Next::Read;
            }
            (State::Incoming(incoming), event) => incoming.event(event, cx),
            (State::Awaited, Event::Bound(answer)) => {
                self.state = answer.map_or(State::Closed, State::Late);
                return Next::Close;
            }
            (State::Awaited, Event::Established(established)) => {
                self.state = State::Late(established.bound);
                return Next::Close;
            }
            (State::Awaited, Event::Resumed(answer)) => {
                self.state = answer.map_or(State::Closed, |resumed| State::Late(resumed.bound));
                return Next::Close;
            }
            // An answer that comes too late to matter.
            (State::Bound(_) | State::Attached(_) | State::Peered(_), _) => return Next::Read,
            (State::Closed | State::Awaited | State::Late(_), _) => return Next::Close,
        };
        self.follow(result, cx)
    }

    /// Ends the stream with an error (RFC 6120 section 4.9). A header comes first where none was
    /// written yet, so that the error stands inside a stream (section 4.9.1.2).
    pub fn fail(&mut self, error: StreamError, cx: &mut Context<'_>) -> Next {
        match &mut self.state {
            State::Closed | State::Awaited | State::Late(_) => return Next::Close,
            State::Negotiating(negotiation) => negotiation.open(cx),
            State::Handshake(handshake) => handshake.open(cx),
            State::Incoming(incoming) => incoming.open(cx),
            State::Bound(_) | State::Attached(_) | State::Peered(_) => {}
        }
        error.write(cx.out);
        cx.out.extend_from_slice(b"</stream:stream>");
        self.end();
        Next::Close
    }

    /// The time for whatever comes before stanzas is over.
    pub fn time_out(&mut self, cx: &mut Context<'_>) -> Next {
        if let State::Incoming(incoming) = &mut self.state {
            incoming.time_out(cx);
        }
        self.fail(StreamError::connection_timeout(), cx)
    }

    fn close(&mut self, cx: &mut Context<'_>) {
        cx.out.extend_from_slice(b"</stream:stream>");
        self.end();
    }

    /// Nothing is read or written any more. A bound resource stays for [`StreamCore::take_bound`].
    fn end(&mut self) {
        if matches!(
            self.state,
            State::Negotiating(_) | State::Handshake(_) | State::Incoming(_)
        ) {
            self.state = if self.awaits_resource() {
                State::Awaited
            } else {
                State::Closed
            };
        }
    }

    fn restart_if_due(&mut self) {
        let is_due = match &mut self.state {
            State::Negotiating(negotiation) => negotiation.take_restart(),
            State::Incoming(incoming) => incoming.take_restart(),
            _ => false,
        };
        if is_due {
            self.framer.restart();
        }
    }

    /// Whether what was read last is to be read again, once what [`Next`] says is done.
    fn is_unread(&mut self) -> bool {
        match &mut self.state {
            State::Incoming(incoming) => incoming.take_unread(),
            _ => false,
        }
    }
}

/// See [`StreamCore::ends_at`].
fn moment(seconds: Option<i64>) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(seconds?.max(1)).ok()?)
}
