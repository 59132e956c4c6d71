//! One client connection: a future over the synchronous stream.
//!
//! Hand-written, because nothing may be lost when it is polled in between: all state is in
//! fields, bytes that the socket refused are kept and sent first, and the task's waker is
//! registered before the outbox is looked at. One poll reads a bounded batch, lets all stanzas of
//! it take their way, writes once, and wakes everyone who got something.

use std::future::Future;
use std::io;
use std::mem;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use router::{Event, Outbox, give_buffer};
use session::{Next, StreamCore};
use stanza::StreamError;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::listener::PortShared;
use crate::service::{Service, now};
use crate::shell::ConnectionShell;
use crate::transport::{Read, Transport};
use crate::worker::{self, Worker};

/// Reads in one poll before others get their turn.
const READS_PER_POLL: usize = 8;
/// How long a closing connection may take to send the rest and to hear the peer's end. Closing
/// at once would let the kernel answer what is still coming with a reset, which can overtake the
/// error that was just written.
const LINGER: Duration = Duration::from_secs(2);
/// What a peer may still send while the connection closes.
const LINGER_BYTES: usize = 256 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// All was said; the rest is being sent.
    Closing,
    /// All was sent; the peer's end is awaited.
    Lingering {
        left: usize,
    },
    Over,
}

pub(crate) struct Connection {
    service: Arc<Service>,
    port: Arc<PortShared>,
    transport: Transport,
    core: StreamCore,
    outbox: Arc<Outbox>,
    /// Plaintext that is not used up: an unfinished stanza, or what follows a question.
    carried: Vec<u8>,
    timer: Pin<Box<Sleep>>,
    /// Until a resource is bound: when that must have happened.
    deadline: Instant,
    last_read: Instant,
    /// What may be read before the average counts; negative: how much too much it was.
    allowance: i64,
    address: IpAddr,
    number: u64,
    phase: Phase,
    /// An answer is awaited; nothing is read meanwhile.
    waiting: bool,
    /// The handshake that `<starttls/>` began is under way.
    upgrading: bool,
    is_bound: bool,
}

impl Connection {
    pub(crate) fn new(service: Arc<Service>, port: Arc<PortShared>, socket: TcpStream, address: IpAddr) -> Connection {
        let outbox = Outbox::new(service.limits.outbox_bytes);
        let number = service.opened(&outbox);
        let now = Instant::now();
        let deadline = now + service.limits.negotiation;
        let mut transport = Transport::new(socket);
        let mut phase = Phase::Open;
        if let (true, Some(tls)) = (port.direct, &port.tls)
            && transport.start_tls(Arc::clone(tls)).is_err()
        {
            phase = Phase::Over;
        }
        Connection {
            core: StreamCore::new(Arc::clone(&port.stream), port.direct),
            transport,
            outbox,
            carried: Vec::new(),
            timer: Box::pin(tokio::time::sleep_until(deadline)),
            deadline,
            last_read: now,
            allowance: i64::try_from(service.limits.read_burst_bytes).unwrap_or(i64::MAX),
            address,
            number,
            phase,
            waiting: false,
            upgrading: false,
            is_bound: false,
            service,
            port,
        }
    }

    fn run(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<()> {
        loop {
            let step = match self.phase {
                Phase::Open => self.open(cx, worker),
                Phase::Closing => self.closing(cx, worker),
                Phase::Lingering { left } => self.lingering(cx, worker, left),
                Phase::Over => Poll::Ready(Ok(())),
            };
            match step {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if self.phase == Phase::Over => {
                    self.leave(worker);
                    return Poll::Ready(());
                }
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => {
                    tracing::debug!(address = %self.address, %error, "a connection broke");
                    self.phase = Phase::Over;
                }
            }
        }
    }

    fn open(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<io::Result<()>> {
        if self.timer.as_mut().poll(cx).is_ready() {
            self.on_timer(cx, worker)?;
            if self.phase != Phase::Open {
                return Poll::Ready(Ok(()));
            }
        }
        // A reader that does not take what it is sent is not read from either.
        let blocked = self.transport.poll_flush(cx)?.is_pending();
        self.take_outbox(cx, worker, blocked)?;
        if self.phase != Phase::Open {
            return Poll::Ready(Ok(()));
        }
        if blocked || self.waiting || self.is_over_rate() {
            worker.turn.finish();
            return Poll::Pending;
        }
        for _ in 0..READS_PER_POLL {
            // An unfinished stanza grows in its own buffer, so that a dribbled one is not copied
            // again with every byte.
            if !self.carried.is_empty() {
                worker.plain = mem::take(&mut self.carried);
            }
            let read = self
                .transport
                .poll_read(cx, &mut worker.read, &mut worker.plain, &mut worker.wire);
            match read {
                Poll::Ready(Ok(Read::Bytes(count))) => {
                    self.last_read = Instant::now();
                    self.allowance -= i64::try_from(count).unwrap_or(i64::MAX);
                    if self.upgrading && !self.transport.is_handshaking() {
                        self.upgrading = false;
                        self.core.secured();
                    }
                    self.feed(cx, worker)?;
                    if self.phase != Phase::Open || self.waiting || self.is_over_rate() {
                        break;
                    }
                }
                Poll::Ready(Ok(Read::End)) => {
                    // A closing tag may have come with it.
                    self.feed(cx, worker)?;
                    self.phase = Phase::Over;
                    break;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.keep_plain(worker);
                    if self.transport.poll_flush(cx)?.is_ready() {
                        self.take_outbox(cx, worker, false)?;
                        self.tell_drained(worker);
                    }
                    worker.turn.finish();
                    return if self.phase == Phase::Open {
                        Poll::Pending
                    } else {
                        Poll::Ready(Ok(()))
                    };
                }
            }
        }
        if self.phase == Phase::Open {
            if self.transport.poll_flush(cx)?.is_ready() {
                self.take_outbox(cx, worker, false)?;
            }
            worker.turn.finish();
            if self.phase == Phase::Open {
                if !self.waiting && !self.is_over_rate() {
                    // There may be more, but it is the others' turn.
                    cx.waker().wake_by_ref();
                }
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Lets the stream process `worker.plain`, and keeps what it leaves.
    fn feed(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        let input = mem::take(&mut worker.plain);
        let progress = if input.is_empty() {
            session::Progress {
                consumed: 0,
                next: Next::Read,
            }
        } else {
            self.with_core(worker, |core, context| core.handle_bytes(&input, context))
        };
        worker.plain = input;
        match progress.next {
            Next::Read => self.waiting = false,
            Next::Wait => self.waiting = true,
            Next::StartTls => {
                worker.plain.clear();
                self.write_out(cx, worker)?;
                self.begin_tls()?;
                return Ok(());
            }
            Next::Close => {
                worker.plain.clear();
                return self.finish(cx, worker, false);
            }
        }
        worker.plain.drain(..progress.consumed);
        self.keep_plain(worker);
        self.write_out(cx, worker)
    }

    fn begin_tls(&mut self) -> io::Result<()> {
        // Nothing that came in the clear is looked at again (RFC 6120 section 5.4.3.3).
        self.carried = Vec::new();
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

    /// What is left of the plaintext stays with the connection; usually nothing is.
    fn keep_plain(&mut self, worker: &mut Worker) {
        if worker.plain.is_empty() {
            self.carried = Vec::new();
        } else {
            self.carried = mem::take(&mut worker.plain);
        }
    }

    fn with_core<R>(
        &mut self,
        worker: &mut Worker,
        act: impl FnOnce(&mut StreamCore, &mut session::Context<'_>) -> R,
    ) -> R {
        let mut shell = ConnectionShell {
            service: &self.service,
            transport: &self.transport,
            outbox: &self.outbox,
            address: self.address,
        };
        let mut context = session::Context {
            now: now(),
            router: &self.service.router,
            turn: &mut worker.turn,
            scratch: &mut worker.scratch,
            out: &mut worker.out,
            outbox: &self.outbox,
            shell: &mut shell,
        };
        act(&mut self.core, &mut context)
    }

    fn write_out(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        if worker.out.is_empty() {
            return Ok(());
        }
        let result = self.transport.write(cx, &worker.out, &mut worker.wire);
        worker.out.clear();
        result
    }

    /// Takes what others have left: events to the stream, bytes to the socket.
    fn take_outbox(&mut self, cx: &mut Context<'_>, worker: &mut Worker, blocked: bool) -> io::Result<()> {
        let taken = self.outbox.take(cx.waker(), !blocked);
        let mut bytes = taken.bytes;
        for event in taken.events {
            if matches!(event, Event::End(_)) {
                if self.transport.is_handshaking() {
                    // Nothing can be said to a peer in the middle of a handshake.
                    self.phase = Phase::Over;
                    return Ok(());
                }
                if !bytes.is_empty() {
                    self.transport.write(cx, &bytes, &mut worker.wire)?;
                    give_buffer(mem::take(&mut bytes));
                }
                self.with_core(worker, |core, context| core.handle_event(event, context));
                return self.finish(cx, worker, blocked);
            }
            match self.with_core(worker, |core, context| core.handle_event(event, context)) {
                Next::Close => return self.finish(cx, worker, blocked),
                Next::Wait => self.waiting = true,
                Next::Read | Next::StartTls => self.waiting = false,
            }
            if !self.is_bound && self.core.bound().is_some() {
                self.became_bound();
            }
            self.write_out(cx, worker)?;
        }
        if !bytes.is_empty() {
            let result = self.transport.write(cx, &bytes, &mut worker.wire);
            give_buffer(bytes);
            result?;
        }
        // What came behind the question is processed now.
        if !self.waiting && !self.carried.is_empty() && self.phase == Phase::Open {
            worker.plain = mem::take(&mut self.carried);
            self.feed(cx, worker)?;
        }
        Ok(())
    }

    fn became_bound(&mut self) {
        self.is_bound = true;
        self.service.bound(self.number);
        self.service.throttle.settled(self.address);
        if let Some(tls) = self.transport.tls_mut() {
            tls.forget_binding();
        }
        self.timer
            .as_mut()
            .reset(self.last_read + self.service.limits.keepalive);
    }

    /// If everything was written and the router wants to know.
    fn tell_drained(&mut self, worker: &mut Worker) {
        let Some(bound) = self.core.bound() else { return };
        if self.outbox.drained() {
            self.service.router.drained(now(), bound, &mut worker.turn);
        }
    }

    /// Whether the connection has sent more than its share; then the timer says when to go on.
    fn is_over_rate(&mut self) -> bool {
        if self.allowance >= 0 {
            return false;
        }
        let rate = self.service.limits.read_bytes_per_second.max(1);
        let pause = Duration::from_secs_f64(self.allowance.unsigned_abs() as f64 / rate as f64);
        let mut until = self.last_read + pause;
        if until <= Instant::now() {
            self.refill();
            return self.allowance < 0;
        }
        if !self.is_bound {
            until = until.min(self.deadline);
        }
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        true
    }

    /// Gives back what the time since the last read has earned.
    fn refill(&mut self) {
        let limits = &self.service.limits;
        let earned = self.last_read.elapsed().as_secs_f64() * limits.read_bytes_per_second as f64;
        let burst = i64::try_from(limits.read_burst_bytes).unwrap_or(i64::MAX);
        self.allowance = self.allowance.saturating_add(earned as i64).min(burst);
    }

    fn on_timer(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> io::Result<()> {
        let now = Instant::now();
        if !self.is_bound {
            if now < self.deadline {
                self.refill();
                self.timer.as_mut().reset(self.deadline);
                return self.poll_timer(cx);
            }
            if self.transport.is_handshaking() {
                self.phase = Phase::Over;
                return Ok(());
            }
            let error = StreamError::connection_timeout();
            self.with_core(worker, |core, context| core.fail(error, context));
            return self.finish(cx, worker, false);
        }
        self.refill();
        let keepalive = self.service.limits.keepalive;
        let due = self.last_read + keepalive;
        if now >= due {
            // RFC 6120 section 4.6.1. If the peer is gone the kernel finds out now (TCP user timeout).
            self.transport.write(cx, b" ", &mut worker.wire)?;
            self.timer.as_mut().reset(now + keepalive);
        } else {
            self.timer.as_mut().reset(due);
        }
        self.poll_timer(cx)
    }

    /// Registers the waker with a timer that was set anew.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.timer.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// The stream has ended: says what is left to say, and begins to close. `blocked`: the socket
    /// takes nothing; then what waits goes back to the router instead.
    fn finish(&mut self, cx: &mut Context<'_>, worker: &mut Worker, blocked: bool) -> io::Result<()> {
        self.phase = Phase::Closing;
        self.timer.as_mut().reset(Instant::now() + LINGER);
        let said = (|| {
            if !blocked {
                let taken = self.outbox.take(cx.waker(), true);
                if !taken.bytes.is_empty() {
                    self.transport.write(cx, &taken.bytes, &mut worker.wire)?;
                    give_buffer(taken.bytes);
                }
            }
            self.write_out(cx, worker)?;
            self.transport.announce_end(cx, &mut worker.wire)
        })();
        self.leave(worker);
        said
    }

    /// The session ends for everybody else; what was never written is delivered anew.
    fn leave(&mut self, worker: &mut Worker) {
        let unsent = self.outbox.shut();
        let (bound, clean) = self.core.take_bound();
        if let Some(bound) = bound {
            let router = Arc::clone(&self.service.router);
            router.unbind(now(), &bound, clean, &mut worker.turn);
            if !unsent.is_empty() {
                router.reclaim(now(), &bound, &unsent, &mut worker.turn);
            }
        }
        worker.turn.finish();
    }

    fn closing(&mut self, cx: &mut Context<'_>, worker: &mut Worker) -> Poll<io::Result<()>> {
        let _ = worker;
        if self.timer.as_mut().poll(cx).is_ready() {
            self.phase = Phase::Over;
            return Poll::Ready(Ok(()));
        }
        if self.transport.poll_flush(cx)?.is_pending() {
            return Poll::Pending;
        }
        self.transport.shut_down();
        self.phase = Phase::Lingering { left: LINGER_BYTES };
        Poll::Ready(Ok(()))
    }

    fn lingering(&mut self, cx: &mut Context<'_>, worker: &mut Worker, left: usize) -> Poll<io::Result<()>> {
        if self.timer.as_mut().poll(cx).is_ready() {
            self.phase = Phase::Over;
            return Poll::Ready(Ok(()));
        }
        let read = self
            .transport
            .poll_read(cx, &mut worker.read, &mut worker.plain, &mut worker.wire);
        worker.plain.clear();
        match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(Read::Bytes(count))) if count < left => {
                self.phase = Phase::Lingering { left: left - count };
                Poll::Ready(Ok(()))
            }
            Poll::Ready(_) => {
                self.phase = Phase::Over;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Future for Connection {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let connection = self.get_mut();
        worker::with(|worker| connection.run(cx, worker))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if self.core.bound().is_some() {
            worker::with(|worker| self.leave(worker));
        }
        if !self.is_bound {
            self.service.throttle.settled(self.address);
        }
        self.service.closed(self.number);
    }
}
