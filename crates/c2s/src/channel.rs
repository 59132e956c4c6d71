//! A connection that speaks HTTP, until it becomes one of WebSocket or ends: bytes in order over the same transport,
//! and counted by the same limits.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ServerConfig;
use session::StreamConfig;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::connection::{Connection, LINGER, LINGER_BYTES};
use crate::entry::Shared;
use crate::service::Service;
use crate::socket::Socket;
use crate::transport::{Read, Transport};
use crate::unsent::CHUNK;
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
        Some(Channel {
            admission,
            transport,
            plain: Vec::new(),
            taken: 0,
            has_ended: false,
            is_announced: false,
            pass: None,
        })
    }

    /// How long a client may take for what it has to say before it is logged in.
    pub fn patience(&self) -> Duration {
        self.admission.service.limits.negotiation
    }

    /// To be set once a request has shown that it belongs to somebody who is logged in: then the connection does not
    /// count any more as one that is not.
    pub fn pass(&mut self) -> Arc<AtomicBool> {
        Arc::clone(self.pass.get_or_insert_default())
    }

    /// What has come, at least a byte; nothing at the end. To be taken by [`Channel::consume`].
    pub fn poll_plain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        if self.pass.as_ref().is_some_and(|pass| pass.load(Ordering::Relaxed)) {
            self.pass = None;
            self.admission.settle();
        }
        while self.taken == self.plain.len() && !self.has_ended {
            self.plain.clear();
            self.taken = 0;
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
                    self.plain = Vec::new();
                    return Poll::Pending;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(Read::Bytes(_))) => {}
                Poll::Ready(Ok(Read::End)) => self.has_ended = true,
                Poll::Ready(Ok(Read::Broken(error))) => {
                    self.has_ended = true;
                    return Poll::Ready(Err(io::Error::other(error)));
                }
            }
        }
        Poll::Ready(Ok(&self.plain[self.taken..]))
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
            std::future::poll_fn(|cx| self.poll_shut_down(cx)).await?;
            let mut left = LINGER_BYTES as usize;
            while left > 0 {
                let read =
                    std::future::poll_fn(|cx| worker::with(|worker| self.transport.poll_discard(cx, &mut worker.read)));
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
            stream,
            tls: None,
        });
        let deadline = began + self.patience();
        Some(Connection::of_websocket(
            self.admission,
            port,
            self.transport,
            carried,
            deadline,
        ))
    }
}
