//! A connection that is no stream, or not yet: it speaks HTTP until it becomes one of WebSocket or ends, or has not
//! shown what it speaks. Bytes in order over the same transport, and counted by the same limits.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use router::Outbox;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use session::server::Established;
use session::{ServerConfig as PeerConfig, StreamConfig, StreamCore};
use tokio::time::{Instant, Sleep};

use crate::admission::Admission;
use crate::connection::{Connection, LINGER, LINGER_BYTES};
use crate::entry::{Entry, Peer, Shared};
use crate::metrics::{Reached, Via};
use crate::rate::Allowance;
use crate::service::{Service, now};
use crate::socket::Socket;
use crate::tls::Tls;
use crate::transport::{Read, Transport};
use crate::unsent::CHUNK;
use crate::websocket::Input;
use crate::worker;

pub struct Channel<S: Socket> {
    admission: Admission,
    transport: Transport<S>,
    /// Plaintext that was read and not taken, from `taken` on.
    plain: Vec<u8>,
    taken: usize,
    /// The peer will send nothing more.
    has_ended: bool,
    is_announced: bool,
    /// See [`Channel::pass`].
    pass: Option<Arc<AtomicBool>>,
    /// Whatever HTTP reads counts, be it content or not.
    allowance: Allowance,
    /// None while the allowance was never used up.
    timer: Option<Pin<Box<Sleep>>>,
}

impl<S: Socket> Channel<S> {
    /// Lets a connection in. None where a limit is reached. `is_proxy`: its address is not the client's.
    pub fn admit(
        service: &Arc<Service>,
        socket: S,
        address: IpAddr,
        is_proxy: bool,
        tls: Option<Arc<ServerConfig>>,
    ) -> Option<Channel<S>> {
        if !Admission::is_possible(service, address) {
            return None;
        }
        let admission = match is_proxy {
            true => Admission::of_proxy(service, address),
            false => Admission::of(service, address)?,
        };
        let mut transport = Transport::new(socket);
        if let Some(tls) = tls {
            // It fails only for want of memory or by a configuration that was never used.
            transport.start_tls(tls).ok()?;
        }
        Some(Channel::new(admission, transport))
    }

    fn new(admission: Admission, transport: Transport<S>) -> Channel<S> {
        let burst = admission.service.limits.read_burst_bytes;
        Channel {
            allowance: Allowance::new(Instant::now(), burst),
            timer: None,
            admission,
            transport,
            plain: Vec::new(),
            taken: 0,
            has_ended: false,
            is_announced: false,
            pass: None,
        }
    }

    /// A connection that this server has opened to another one. None where there is no room for more.
    pub fn outgoing(service: &Arc<Service>, socket: S, address: IpAddr) -> Option<Channel<S>> {
        if !Admission::is_possible(service, address) {
            return None;
        }
        let admission = Admission::of_ours(service, address);
        socket.limit_silence(service.limits.unacknowledged);
        Some(Channel::new(admission, Transport::new(socket)))
    }

    /// Begins TLS as the client, and waits until it is established. What was read before and not taken is thrown away
    /// (RFC 6120 section 5.4.3.3).
    pub async fn start_tls(&mut self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<()> {
        self.consume(self.plain.len());
        self.transport.start_tls_to(config, name)?;
        poll_fn(|cx| self.poll_secured(cx)).await
    }

    fn poll_secured(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.transport.is_handshaking() {
            let read = ready!(self.poll_transport(cx))?;
            if read == 0 && self.transport.is_handshaking() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// What the peer has shown in the handshake, its own certificate first.
    pub fn peer_chain(&self) -> &[CertificateDer<'static>] {
        self.transport.tls().map(Tls::peer_chain).unwrap_or_default()
    }

    /// The version and the cipher suite of TLS, for people.
    pub fn tls_in_words(&self) -> Option<String> {
        self.transport.tls()?.in_words()
    }

    /// How long a client may take for what it has to say before it is logged in.
    pub fn patience(&self) -> Duration {
        self.admission.service.limits.negotiation
    }

    /// How long a write may make no progress.
    pub fn unacknowledged(&self) -> Duration {
        self.admission.service.limits.unacknowledged
    }

    /// To be set once a request has shown that it belongs to somebody who is logged in: then the connection does not
    /// count any more as one that is not.
    pub fn pass(&mut self) -> Arc<AtomicBool> {
        Arc::clone(self.pass.get_or_insert_default())
    }

    /// The protocol that the handshake of TLS has agreed on (RFC 7301), once it is over.
    pub fn alpn(&self) -> Option<&[u8]> {
        self.transport.tls().and_then(Tls::alpn)
    }

    /// What has come, at least a byte; nothing at the end. To be taken by [`Channel::consume`].
    pub fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if self.pass.as_ref().is_some_and(|pass| pass.load(Ordering::Relaxed)) {
            self.pass = None;
            self.admission.settle();
        }
        while self.taken == self.plain.len() && !self.has_ended {
            ready!(self.poll_transport(cx))?;
        }
        Poll::Ready(Ok(&self.plain[self.taken..]))
    }

    /// Reads once, into `plain`. How many bytes came over the wire; none at the end.
    fn poll_transport(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ready!(self.poll_allowance(cx));
        if self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
        }
        let (transport, plain) = (&mut self.transport, &mut self.plain);
        let read = worker::with(|worker| {
            // Of a handshake, whose flight may have been too long for the socket.
            let _ = transport.poll_flush(cx)?;
            let read = transport.poll_read(cx, &mut worker.read, &mut worker.plain, &mut worker.wire);
            // As large as needed, and no larger.
            plain.extend_from_slice(&worker.plain);
            read
        });
        match read {
            Poll::Pending => {
                if self.plain.is_empty() {
                    self.plain = Vec::new();
                }
                Poll::Pending
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(Read::Bytes(count))) => {
                let limits = &self.admission.service.limits;
                let (rate, burst) = (limits.read_bytes_per_second, limits.read_burst_bytes);
                self.allowance.spend(Instant::now(), count, rate, burst);
                Poll::Ready(Ok(count))
            }
            Poll::Ready(Ok(Read::End)) => {
                self.has_ended = true;
                Poll::Ready(Ok(0))
            }
            Poll::Ready(Ok(Read::Broken(error))) => {
                self.has_ended = true;
                Poll::Ready(Err(io::Error::other(error)))
            }
        }
    }

    /// Ready when the connection may be read from.
    fn poll_allowance(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let rate = self.admission.service.limits.read_bytes_per_second;
        while let Some(until) = self.allowance.wait(Instant::now(), rate) {
            self.admission.service.metrics().reached(Reached::ReadRate);
            let timer = match &mut self.timer {
                Some(timer) => {
                    timer.as_mut().reset(until);
                    timer
                }
                None => self.timer.insert(Box::pin(tokio::time::sleep_until(until))),
            };
            ready!(timer.as_mut().poll(cx));
        }
        Poll::Ready(())
    }

    pub fn consume(&mut self, count: usize) {
        self.taken = self.plain.len().min(self.taken + count);
        if self.taken == self.plain.len() {
            self.plain = Vec::new();
            self.taken = 0;
        }
    }

    /// Writes some of it, when the socket has taken what was written before.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.transport.poll_flush(cx))?;
        let chunk = &bytes[..bytes.len().min(CHUNK)];
        worker::with(|worker| self.transport.write(cx, chunk, &mut worker.wire))?;
        Poll::Ready(Ok(chunk.len()))
    }

    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.transport.poll_flush(cx)
    }

    /// Nothing more is written.
    pub fn poll_shut_down(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_announced {
            self.is_announced = true;
            worker::with(|worker| self.transport.announce_end(cx, &mut worker.wire))?;
        }
        ready!(self.transport.poll_flush(cx))?;
        self.transport.shut_down();
        Poll::Ready(Ok(()))
    }

    /// Ends the connection so that what was written last is read: what still comes is thrown away for a while.
    pub async fn end(mut self) {
        let _ = tokio::time::timeout(LINGER, async {
            poll_fn(|cx| self.poll_shut_down(cx)).await?;
            let mut left = LINGER_BYTES as usize;
            while left > 0 {
                let read = poll_fn(|cx| worker::with(|worker| self.transport.poll_discard(cx, &mut worker.read)));
                match read.await? {
                    None => break,
                    Some(count) => left = left.saturating_sub(count.get()),
                }
            }
            io::Result::Ok(())
        })
        .await;
    }

    /// The handshake of a WebSocket is over: the connection goes on as a stream. `rest`: what was read behind it.
    /// `address`: the client's, where a proxy has told it; None is returned where that has too many connections.
    pub fn into_websocket(
        mut self,
        stream: Arc<StreamConfig>,
        is_secured: bool,
        address: IpAddr,
        began: Instant,
        rest: &[u8],
    ) -> Option<Connection<S>> {
        if !self.admission.comes_from(address) {
            return None;
        }
        let mut carried = rest.to_vec();
        carried.extend_from_slice(&self.plain[self.taken..]);
        let port = Arc::new(Shared {
            direct: is_secured,
            via: Via::WebSocket,
            peer: Peer::Client(stream),
            tls: None,
        });
        let deadline = began + self.patience();
        Some(Connection::taken_over(
            self.admission,
            port,
            self.transport,
            Some(Input::new()),
            carried,
            self.allowance,
            deadline,
        ))
    }

    /// The connection goes on as a stream to another server, which was made over it. `rest`: what was read behind that.
    /// None where the router does not take it.
    pub fn into_peer(self, established: Established, config: Arc<PeerConfig>, rest: &[u8]) -> Option<Connection<S>> {
        let service = &self.admission.service;
        let outbox = Outbox::new(service.limits.outbox_bytes);
        let bound = worker::with(|worker| {
            let (pair, linked) = (&established.pair, &established.linked);
            let bound = service.router.linked(now(), pair, &outbox, linked, &mut worker.turn);
            worker.turn.finish();
            bound
        })?;
        let mut carried = established.early.clone();
        carried.extend_from_slice(rest);
        carried.extend_from_slice(&self.plain[self.taken..]);
        let port = Arc::new(Shared {
            direct: true,
            via: Via::ServerOut,
            peer: Peer::Server(config),
            tls: None,
        });
        let core = StreamCore::established(established, bound);
        let transport = self.transport;
        Some(Connection::established(
            self.admission,
            port,
            transport,
            core,
            outbox,
            carried,
        ))
    }

    /// The connection goes on as one that came in at `entry`, with all that was not taken. `began`: when it was
    /// accepted. None where its address has too many, which was not counted yet if it may be a proxy's.
    pub fn into_stream(mut self, entry: &Entry, began: Instant) -> Option<Connection<S>> {
        if !self.admission.comes_from(self.admission.address) {
            return None;
        }
        let deadline = began + self.patience();
        Some(Connection::taken_over(
            self.admission,
            Arc::clone(&entry.0),
            self.transport,
            None,
            self.plain[self.taken..].to_vec(),
            self.allowance,
            deadline,
        ))
    }
}
