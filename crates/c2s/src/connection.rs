//! One client connection: a future over the synchronous stream.
//!
//! Hand-written, because nothing may be lost when it is polled in between: all state is in
//! fields, bytes that the socket refused are kept and sent first, and the task's waker is
//! registered before the outbox is looked at. One poll reads a bounded number of times, lets all
//! stanzas take their way, and wakes everyone who got something at its end.
//!
//! Whatever returns [`Poll::Pending`] has a waker with the socket (for reading, or for writing
//! while something waits to be written), with the timer where there is one, or with the outbox, which is always
//! listened to.

use std::future::Future;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use router::{Bound, Event, Outbox};
use session::{Next, StreamCore};
use tokio::time::{Instant, Sleep};

use crate::admission::Admission;
use crate::entry::Shared;
use crate::metrics::Reached;
use crate::rate::Allowance;
use crate::service::now;
use crate::shell::ConnectionShell;
use crate::socket::Socket;
use crate::transport::{Read, Transport};
use crate::unsent::Unsent;
use crate::websocket::{self, Control, Input};
use crate::worker::{self, Worker};

/// Reads in one poll before others get their turn,
const READS_PER_POLL: usize = 8;
/// and bytes: some two hundred messages. A flood over many connections would otherwise keep
/// everybody else waiting for a round of long polls.
const BYTES_PER_POLL: usize = 32 * 1024;
/// How long a closing connection may take to send the rest and to hear the peer's end. Closing
/// at once would let the kernel answer what is still coming with a reset, which can overtake the
/// error that was just written.
pub(crate) const LINGER: Duration = Duration::from_secs(2);
/// What a peer may still send while the connection closes.
pub(crate) const LINGER_BYTES: u32 = 256 * 1024;
/// How long a timer for the end of a certificate runs at most, as the clock of the wall may be set meanwhile.
const WATCH: Duration = Duration::from_secs(3_600);
/// Unused room that a connection may keep behind an unfinished stanza, in bytes.
const SPARE_ROOM: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// The session is over; the rest is being sent.
    Closing {
        /// For the close frame of a WebSocket; 0: the usual.
        code: u16,
    },
    /// The last of it, close_notify or an alert, is being sent.
    Parting,
    /// All was sent; the peer's end is awaited.
    Lingering {
        left: u32,
    },
    Over,
    /// What was never written is being delivered anew.
    Reclaiming,
}

/// A resource whose connection this was.
struct Left {
    bound: Bound,
    /// Its stream was managed (XEP-0198): this is undelivered, whatever was written.
    managed: Option<Vec<u8>>,
}

/// A client connection, from its first byte to its last. Spawn it.
pub struct Connection<S: Socket> {
    admission: Admission,
    port: Arc<Shared>,
    transport: Transport<S>,
    /// The stream comes and goes in messages of a WebSocket.
    websocket: Option<Input>,
    core: StreamCore,
    outbox: Arc<Outbox>,
    /// Plaintext that came and is not used up: an unfinished stanza, or what follows a question.
    carried: Vec<u8>,
    unsent: Unsent,
    /// None while nothing is waited for but the client: a session that is idle has no timer, unless it ends with a
    /// certificate.
    timer: Option<Pin<Box<Sleep>>>,
    /// Until a resource is bound: when that must have happened.
    deadline: Instant,
    allowance: Allowance,
    number: u64,
    phase: Phase,
    /// What is carried was read before this was a connection, and was not looked at yet.
    has_begun: bool,
    /// An answer is awaited; nothing is read meanwhile.
    waiting: bool,
    /// The handshake that `<starttls/>` began is under way.
    upgrading: bool,
    is_bound: bool,
    /// The resource that was unbound, as long as something for it may be undelivered.
    left: Option<Box<Left>>,
}

impl<S: Socket> Connection<S> {
    pub(crate) fn new(admission: Admission, port: Arc<Shared>, socket: S) -> Connection<S> {
        let mut transport = Transport::new(socket);
        let mut phase = Phase::Open;
        if port.direct {
            let begun = port.tls.as_ref().map(|tls| transport.start_tls(Arc::clone(tls)));
            if !matches!(begun, Some(Ok(()))) {
                phase = Phase::Over;
            }
        }
        let deadline = Instant::now() + admission.service.limits.negotiation;
        Connection::with_transport(admission, port, transport, phase, deadline)
    }

    /// A stream over something else than a port: whether it is under TLS is not its affair.
    pub(crate) fn carried(admission: Admission, port: Arc<Shared>, socket: S) -> Connection<S> {
        let deadline = Instant::now() + admission.service.limits.negotiation;
        Connection::with_transport(admission, port, Transport::new(socket), Phase::Open, deadline)
    }

    /// What has begun as something else goes on: as a stream, or as a WebSocket whose handshake is over. `carried`: what
    /// was read of it; `allowance`: what it has left.
    pub(crate) fn taken_over(
        admission: Admission,
        port: Arc<Shared>,
        transport: Transport<S>,
        websocket: Option<Input>,
        carried: Vec<u8>,
        allowance: Allowance,
        deadline: Instant,
    ) -> Connection<S> {
        let mut connection = Connection::with_transport(admission, port, transport, Phase::Open, deadline);
        connection.websocket = websocket;
        connection.has_begun = !carried.is_empty();
        connection.carried = carried;
        connection.allowance = allowance;
        connection
    }

    fn with_transport(
        admission: Admission,
        port: Arc<Shared>,
        transport: Transport<S>,
        phase: Phase,
        deadline: Instant,
    ) -> Connection<S> {
        let outbox = Outbox::new(port.outbox_bytes(&admission.service.limits));
        let core = port.core();
        Connection::of(admission, port, transport, core, outbox, phase, deadline)
    }

    /// A stream to another server, which somebody else has made; `carried`: what was read behind that.
    pub(crate) fn established(
        admission: Admission,
        port: Arc<Shared>,
        transport: Transport<S>,
        core: StreamCore,
        outbox: Arc<Outbox>,
        carried: Vec<u8>,
    ) -> Connection<S> {
        let now = Instant::now();
        let mut connection = Connection::of(admission, port, transport, core, outbox, Phase::Open, now);
        connection.has_begun = !carried.is_empty();
        connection.carried = carried;
        connection.became_bound();
        connection
    }

    fn of(
        admission: Admission,
        port: Arc<Shared>,
        transport: Transport<S>,
        core: StreamCore,
        outbox: Arc<Outbox>,
        phase: Phase,
        deadline: Instant,
    ) -> Connection<S> {
        admission.service.metrics().streams_of(port.via).up();
        let limits = &admission.service.limits;
        Connection {
            core,
            transport,
            websocket: None,
            carried: Vec::new(),
            unsent: Unsent::default(),
            timer: Some(Box::pin(tokio::time::sleep_until(deadline))),
            deadline,
            allowance: Allowance::new(Instant::now(), limits.read_burst_bytes),
            number: admission.service.opened(&outbox),
            outbox,
            phase,
            has_begun: false,
            waiting: false,
            upgrading: false,
            is_bound: false,
            left: None,
            admission,
            port,
        }
    }

    fn run(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        loop {
            let step = match self.phase {
                Phase::Open => self.open(cx, worker),
                Phase::Closing { .. } | Phase::Parting | Phase::Lingering { .. } => self.closing(cx, worker),
                Phase::Over | Phase::Reclaiming => return self.over(cx, worker),
            };
            match step {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    tracing::debug!(address = %self.admission.address, %error, "a connection broke");
                    self.phase = Phase::Over;
                }
            }
        }
    }

    /// Ready when the phase has changed.
    fn open(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<io::Result<()>> {
        if self.is_due(cx) {
            self.on_timer(cx, worker)?;
        }
        if self.phase == Phase::Open {
            // Pending is no reason to stop here: it is asked for below.
            let _ = self.flush(cx, worker)?;
            if mem::take(&mut self.has_begun) {
                self.feed(cx, worker)?;
            }
            self.take_outbox(cx, worker)?;
        }
        let mut budget = BYTES_PER_POLL;
        for _ in 0..READS_PER_POLL {
            if self.phase != Phase::Open {
                return Poll::Ready(Ok(()));
            }
            // A reader that does not take what it is sent is not read from either.
            if !self.unsent.is_empty() || self.transport.is_blocked() || self.waiting || self.is_over_rate(cx) {
                worker.turn.finish();
                return Poll::Pending;
            }
            let Poll::Ready(count) = self.read(cx, worker)? else {
                self.tell_drained(worker);
                worker.turn.finish();
                return Poll::Pending;
            };
            self.take_outbox(cx, worker)?;
            budget = budget.saturating_sub(count);
            if budget == 0 {
                break;
            }
        }
        if self.phase == Phase::Open {
            worker.turn.finish();
            // There may be more, but it is the others' turn.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and lets the stream process what came. Returns how many bytes it was.
    fn read(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<Poll<usize>> {
        // An unfinished stanza grows where it is, so that a dribbled one is not copied again with
        // every byte.
        let plain = if self.carried.is_empty() {
            &mut worker.plain
        } else {
            &mut self.carried
        };
        let had = plain.len();
        let Poll::Ready(read) = self.transport.poll_read(cx, &mut worker.read, plain, &mut worker.wire) else {
            return Ok(Poll::Pending);
        };
        let has_new = plain.len() > had;
        let read = read?;
        if let Read::Bytes(count) = read {
            let limits = &self.admission.service.limits;
            self.allowance.spend(
                Instant::now(),
                count,
                limits.read_bytes_per_second,
                limits.read_burst_bytes,
            );
            if self.is_bound {
                self.outbox.heard(now());
            }
            if self.upgrading && !self.transport.is_handshaking() {
                self.upgrading = false;
                self.core.secured();
            }
        }
        // What came with the end, or before what is broken, is processed too.
        let fed = if has_new { self.feed(cx, worker) } else { Ok(()) };
        let mut bytes = 0;
        match read {
            Read::Bytes(count) => {
                fed?;
                bytes = count;
            }
            Read::End if self.phase == Phase::Open => {
                // RFC 5246 section 7.2.1: close_notify is answered in kind. Nobody may be there to
                // hear it; whatever else waits is not tried but delivered anew.
                let _ = self.transport.announce_end(cx, &mut worker.wire);
                self.phase = Phase::Over;
            }
            // The closing tag came with it; the closing finds the end itself.
            Read::End => fed?,
            Read::Broken(error) => {
                tracing::debug!(address = %self.admission.address, %error, "TLS failed");
                // Section 5.4.3.2: no closing tag, only the alert. What the stream wanted to say
                // can no longer be encrypted.
                self.leave(worker);
                worker.turn.finish();
                self.start_timer(Instant::now() + LINGER);
                self.phase = Phase::Parting;
            }
        }
        Ok(Poll::Ready(bytes))
    }

    /// Lets the stream process what came, and keeps what it leaves.
    fn feed(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        let is_carried = !self.carried.is_empty();
        let mut input = mem::take(if is_carried {
            &mut self.carried
        } else {
            &mut worker.plain
        });
        let websocket::Outcome { next, control, code } = self.process(worker, &mut input);
        if matches!(next, Next::StartTls | Next::Close) {
            // Nothing that came in the clear is looked at again (RFC 6120 section 5.4.3.3).
            input.clear();
        }
        // What is left stays with the connection; usually nothing is. The large buffer stays with
        // the thread.
        if !is_carried {
            self.carried = input.as_slice().into();
            input.clear();
            worker.plain = input;
        } else if !input.is_empty() {
            if input.capacity() > 2 * input.len() + SPARE_ROOM {
                input.shrink_to_fit();
            }
            self.carried = input;
        }
        match control {
            None => {}
            Some(Control::Ping(payload)) => {
                websocket::pong(&mut worker.frames, &payload);
                self.write_frames(cx, worker)?;
            }
            Some(Control::Ended(code)) => return self.answer_close(code, cx, worker),
        }
        match next {
            Next::Read => self.waiting = false,
            Next::Wait => self.waiting = true,
            Next::StartTls => return self.begin_tls(cx, worker),
            Next::Close => return self.finish_with(code, cx, worker),
        }
        self.write_out(cx, worker)
    }

    /// Gives the stream what is complete, and leaves the rest.
    fn process(&mut self, worker: &mut Worker, input: &mut Vec<u8>) -> websocket::Outcome {
        let Some(mut websocket) = self.websocket else {
            let progress = self.with_core(worker, |core, context| core.handle_bytes(input, context));
            input.drain(..progress.consumed);
            return websocket::Outcome {
                next: progress.next,
                control: None,
                code: 0,
            };
        };
        let read = self.with_core(worker, |core, context| {
            websocket::read(&mut websocket, input, core, context)
        });
        self.websocket = Some(websocket);
        read
    }

    /// Writes what is in `worker.frames`.
    fn write_frames(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        let written = self.transport.write(cx, &worker.frames, &mut worker.wire);
        worker.frames.clear();
        written
    }

    /// The client has ended the WebSocket without its stream, which so is over but not in good order (RFC 7395
    /// section 3.6). Whatever waits is not tried but delivered anew.
    fn answer_close(&mut self, code: u16, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        self.leave(worker);
        worker.turn.finish();
        self.start_timer(Instant::now() + LINGER);
        self.phase = Phase::Parting;
        websocket::close(&mut worker.frames, code);
        self.write_frames(cx, worker)?;
        self.transport.announce_end(cx, &mut worker.wire)
    }

    fn begin_tls(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        self.write_out(cx, worker)?;
        // `<proceed/>` goes in the clear also where it has to wait.
        self.transport.write(cx, self.unsent.rest(), &mut worker.wire)?;
        self.unsent = Unsent::default();
        self.waiting = false;
        match &self.port.tls {
            Some(tls) => {
                self.upgrading = true;
                self.transport.start_tls(Arc::clone(tls))
            }
            // The stream offers it only where there is a configuration for it.
            None => Err(io::Error::other("no TLS is configured for this listener")),
        }
    }

    fn with_core<R>(
        &mut self,
        worker: &mut Worker,
        act: impl FnOnce(&mut StreamCore, &mut session::Context<'_>) -> R,
    ) -> R {
        let mut shell = ConnectionShell {
            service: &self.admission.service,
            tls: self.transport.tls(),
            outbox: &self.outbox,
            address: self.admission.address,
            number: self.number,
        };
        let mut context = session::Context {
            now: now(),
            router: &self.admission.service.router,
            turn: &mut worker.turn,
            scratch: &mut worker.scratch,
            out: &mut worker.out,
            outbox: &self.outbox,
            shell: &mut shell,
        };
        act(&mut self.core, &mut context)
    }

    /// Sends what waits, as far as the socket takes it. Ready when it has all.
    fn flush(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<Poll<()>> {
        loop {
            if self.transport.poll_flush(cx)?.is_pending() {
                return Ok(Poll::Pending);
            }
            self.unsent.flushed();
            let Some(chunk) = self.unsent.next() else {
                return Ok(Poll::Ready(()));
            };
            let count = match self.websocket {
                None => {
                    self.transport.write(cx, chunk, &mut worker.wire)?;
                    chunk.len()
                }
                Some(_) => {
                    let code = match self.phase {
                        Phase::Closing { code } => code,
                        _ => 0,
                    };
                    let rest = self.unsent.rest();
                    let Worker {
                        output,
                        scratch,
                        frames,
                        ..
                    } = worker;
                    let count = websocket::write(output, rest, code, scratch, frames)?;
                    self.write_frames(cx, worker)?;
                    count
                }
            };
            self.unsent.given(count);
        }
    }

    /// What the stream itself has to say goes behind what waits.
    fn write_out(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        if worker.out.is_empty() {
            return Ok(());
        }
        self.unsent.append_copy(&worker.out);
        worker.out.clear();
        self.flush(cx, worker).map(drop)
    }

    /// Takes what others have left: events to the stream, bytes to the socket.
    fn take_outbox(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        if self.phase != Phase::Open {
            return Ok(());
        }
        // What comes for a resource whose answer is on its way goes behind that (XEP-0386 section 3.2).
        let is_binding = self.core.awaits_resource();
        let taken = self.outbox.take(cx.waker(), self.unsent.is_empty() && !is_binding);
        let mut bytes = taken.bytes;
        let answered = !taken.events.is_empty();
        for event in taken.events {
            if matches!(event, Event::Silent) {
                self.knock(cx, worker)?;
                continue;
            }
            if matches!(event, Event::End(_)) {
                if self.transport.is_handshaking() {
                    // Nothing can be said to a peer in the middle of a handshake.
                    self.phase = Phase::Over;
                    return Ok(());
                }
                // Behind what was for the client before.
                self.unsent.append(mem::take(&mut bytes));
            }
            match self.with_core(worker, |core, context| core.handle_event(event, context)) {
                Next::Close => return self.finish(cx, worker),
                Next::Wait => self.waiting = true,
                Next::Read | Next::StartTls => self.waiting = false,
            }
            if !self.is_bound && self.core.bound().is_some() {
                self.became_bound();
                if self.is_due(cx) {
                    cx.waker().wake_by_ref();
                }
            }
            self.write_out(cx, worker)?;
        }
        if !bytes.is_empty() {
            self.unsent.append(bytes);
            let _ = self.flush(cx, worker)?;
        }
        // What came behind a question is processed after its answer.
        if answered && !self.waiting && !self.carried.is_empty() {
            self.feed(cx, worker)?;
        }
        if is_binding && !self.core.awaits_resource() {
            return self.take_outbox(cx, worker);
        }
        Ok(())
    }

    fn became_bound(&mut self) {
        self.is_bound = true;
        self.admission.service.metrics().sessions_of(self.port.via).up();
        self.admission.service.bound(self.number);
        self.admission.settle();
        self.transport.logged_in();
        if let Some(tls) = self.transport.tls_mut() {
            tls.forget_binding();
        }
        self.outbox.heard(now());
        self.timer = None;
        self.watch_certificate();
    }

    /// Starts the timer if the stream ends with a certificate (RFC 6120 section 13.7.2.3).
    fn watch_certificate(&mut self) {
        if let Some(at) = self.core.ends_at() {
            // The last second is part of it.
            let left = at.saturating_add(1).saturating_mul(1_000).saturating_sub(now().0);
            let left = Duration::from_millis(u64::try_from(left).unwrap_or_default());
            self.start_timer(Instant::now() + left.min(WATCH));
        }
    }

    /// If everything was written and the router wants to know.
    fn tell_drained(&mut self, worker: &mut Worker) {
        let Some(bound) = self.core.bound() else { return };
        if self.unsent.is_empty() && self.outbox.drained() {
            self.admission.service.router.drained(now(), bound, &mut worker.turn);
        }
    }

    /// Whether the connection has sent more than its share; then the timer says when to go on.
    fn is_over_rate(&mut self, cx: &mut Context<'_>) -> bool {
        let rate = self.admission.service.limits.read_bytes_per_second;
        let Some(until) = self.allowance.wait(Instant::now(), rate) else {
            return false;
        };
        self.admission.service.metrics().reached(Reached::ReadRate);
        self.timer_at_latest(cx, until);
        true
    }

    fn start_timer(&mut self, at: Instant) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
        }
    }

    /// Whether the timer has fired; else the task is woken when it does.
    fn is_due(&mut self, cx: &mut Context<'_>) -> bool {
        self.timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
    }

    /// Lets the timer fire no later than `at`; earlier does no harm.
    fn timer_at_latest(&mut self, cx: &mut Context<'_>, at: Instant) {
        if self.timer.as_ref().is_none_or(|timer| at < timer.deadline()) {
            self.start_timer(at);
        }
        if self.is_due(cx) {
            cx.waker().wake_by_ref();
        }
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        // It may have been for more than one thing; whoever still waits for it starts it again.
        self.timer = None;
        if self.is_bound {
            if self.with_core(worker, |core, context| core.look_at_certificate(context)) == Next::Close {
                return self.finish(cx, worker);
            }
            self.watch_certificate();
            if self.is_due(cx) {
                cx.waker().wake_by_ref();
            }
            return Ok(());
        }
        if Instant::now() < self.deadline {
            self.timer_at_latest(cx, self.deadline);
            return Ok(());
        }
        self.admission.service.metrics().reached(Reached::Negotiation);
        if self.transport.is_handshaking() {
            self.phase = Phase::Over;
            return Ok(());
        }
        self.with_core(worker, |core, context| core.time_out(context));
        self.finish(cx, worker)
    }

    /// RFC 6120 section 4.6.1: white space, so that the kernel finds out whether the peer is gone
    /// (TCP user timeout). Where something waits already, that is what it finds out with.
    fn knock(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        if self.unsent.is_empty() {
            self.unsent.append_copy(b" ");
            let _ = self.flush(cx, worker)?;
        }
        Ok(())
    }

    /// The stream has ended: what is for the client and then what the stream has to say is sent,
    /// as far as the socket takes it in time.
    fn finish(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        self.finish_with(0, cx, worker)
    }

    fn finish_with(&mut self, code: u16, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        self.phase = Phase::Closing { code };
        self.start_timer(Instant::now() + LINGER);
        self.leave(worker);
        worker.turn.finish();
        self.write_out(cx, worker)
    }

    /// The session ends for everybody else. What is undelivered stays until it is certain.
    fn leave(&mut self, worker: &mut Worker) {
        if !self.core.awaits_resource() {
            let (bound, clean) = self.core.take_bound();
            if let Some(bound) = bound {
                let managed = self
                    .admission
                    .service
                    .router
                    .unbind(now(), &bound, clean, &mut worker.turn);
                self.left = Some(Box::new(Left { bound, managed }));
            }
            // Behind it: a stream that may be resumed keeps its outbox.
            self.unsent.append(self.outbox.shut());
        }
    }

    /// Ready when the phase has changed.
    fn closing(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<io::Result<()>> {
        if self.is_due(cx) {
            self.phase = Phase::Over;
            return Poll::Ready(Ok(()));
        }
        self.phase = match self.phase {
            Phase::Closing { .. } => {
                ready!(self.flush(cx, worker)?);
                self.transport.announce_end(cx, &mut worker.wire)?;
                Phase::Parting
            }
            Phase::Parting => {
                ready!(self.transport.poll_flush(cx))?;
                self.transport.shut_down();
                Phase::Lingering { left: LINGER_BYTES }
            }
            Phase::Lingering { left } => match ready!(self.transport.poll_discard(cx, &mut worker.read))? {
                // A read is no longer than the buffer for it.
                Some(count) => match left.checked_sub(count.get() as u32) {
                    Some(left) => Phase::Lingering { left },
                    None => Phase::Over,
                },
                None => Phase::Over,
            },
            other => other,
        };
        Poll::Ready(Ok(()))
    }

    /// What was never written is delivered anew; only then those are woken who hear of the end.
    fn over(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        if self.core.awaits_resource() {
            let taken = self.outbox.take(cx.waker(), false);
            for event in taken.events {
                self.with_core(worker, |core, context| core.handle_event(event, context));
            }
            if self.core.awaits_resource() {
                worker.turn.finish();
                return Poll::Pending;
            }
        }
        self.start_reclaiming(worker);
        let more = self.reclaim(worker);
        worker.turn.finish();
        if more {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Leaves, once, what the client has not got whole.
    fn start_reclaiming(&mut self, worker: &mut Worker) {
        if self.phase == Phase::Reclaiming {
            return;
        }
        self.leave(worker);
        match &mut self.left {
            None => {}
            Some(left) => {
                let last = self.unsent.last();
                let held = match self.transport.held(last) {
                    0 => 0,
                    // Frames are longer than what they carry: so all of them, as with a record of TLS.
                    _ if self.websocket.is_some() => last,
                    held => held,
                };
                self.unsent.keep_undelivered(held, &mut worker.scratch);
                if let Some(copies) = left.managed.take() {
                    let mut rest = router::uncounted(self.unsent.rest()).to_vec();
                    rest.extend(copies);
                    self.unsent = Unsent::default();
                    self.unsent.append(rest);
                }
            }
        }
        self.phase = Phase::Reclaiming;
    }

    /// Delivers some of what was left anew. True while there is more: megabytes may have waited for
    /// a reader that did not read, and others get their turn in between.
    fn reclaim(&mut self, worker: &mut Worker) -> bool {
        let Some(left) = &self.left else { return false };
        let router = &self.admission.service.router;
        let used = router.reclaim(now(), &left.bound, self.unsent.rest(), &mut worker.turn);
        self.unsent.given(used);
        if used > 0 {
            return true;
        }
        self.left = None;
        false
    }
}

impl<S: Socket> Future for Connection<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.get_mut();
        worker::with(|worker| connection.run(cx, worker))
    }
}

impl<S: Socket> Drop for Connection<S> {
    fn drop(&mut self) {
        if self.core.bound().is_some() || self.left.is_some() {
            // Dropped before its end, with the runtime: as much as can be done.
            worker::with(|worker| {
                self.start_reclaiming(worker);
                while self.reclaim(worker) {}
                worker.turn.finish();
            });
        }
        self.admission.service.bound(self.number);
        let metrics = self.admission.service.metrics();
        metrics.streams_of(self.port.via).down();
        if self.is_bound {
            metrics.sessions_of(self.port.via).down();
        }
    }
}

#[cfg(test)]
mod tests;
