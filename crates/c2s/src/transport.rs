//! Bytes over a socket: in the clear or under TLS, without a buffer of its own while idle.

use std::io;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::ReadBuf;

use crate::socket::Socket;
use crate::tls::{Tls, TlsError};

/// What a read brought.
pub(crate) enum Read {
    /// Bytes came from the socket; plaintext, if any, was appended.
    Bytes(usize),
    /// The peer will send nothing more.
    End,
    /// What came is not TLS, or the handshake failed. An alert that says so goes out with the
    /// next flush; nothing else can be sent.
    Broken(TlsError),
}

pub(crate) struct Transport<S> {
    socket: S,
    tls: Option<Tls>,
    /// None while nothing is halfway, as in an idle connection.
    halfway: Option<Box<Halfway>>,
}

/// What has come or gone in part.
#[derive(Default)]
struct Halfway {
    /// Part of a TLS record whose rest has not come yet.
    partial: Vec<u8>,
    /// Wire bytes that the socket refused; they go first, never encrypted again.
    refused: Vec<u8>,
    /// How many of `refused` have gone since.
    gone: usize,
}

impl<S: Socket> Transport<S> {
    pub(crate) fn new(socket: S) -> Transport<S> {
        Transport {
            socket,
            tls: None,
            halfway: None,
        }
    }

    /// Begins the server side of TLS with the next byte.
    pub(crate) fn start_tls(&mut self, config: Arc<ServerConfig>) -> io::Result<()> {
        let tls = Tls::new(config).map_err(io::Error::other)?;
        self.tls = Some(tls);
        Ok(())
    }

    /// Begins the client's side of TLS; its first flight goes out with the next flush.
    pub(crate) fn start_tls_to(&mut self, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<()> {
        let halfway = self.halfway.get_or_insert_default();
        let tls = Tls::to_server(config, name, &mut halfway.refused).map_err(io::Error::other)?;
        // What was read of something else is no part of it.
        halfway.partial = Vec::new();
        self.tls = Some(tls);
        Ok(())
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    pub(crate) fn tls_mut(&mut self) -> Option<&mut Tls> {
        self.tls.as_mut()
    }

    /// True while TLS was begun and its handshake is not over.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.is_established())
    }

    /// Reads once. `scratch` is where the socket's bytes go first; plaintext is appended to
    /// `plain`, and what TLS itself has to send is sent or kept.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Poll<io::Result<Read>> {
        let partial = self.halfway.as_ref().map_or(&[][..], |halfway| &halfway.partial);
        let kept = partial.len();
        debug_assert!(kept < scratch.len(), "a partial record is shorter than the buffer");
        scratch[..kept].copy_from_slice(partial);
        let mut buffer = ReadBuf::new(&mut scratch[kept..]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        if count == 0 {
            return Poll::Ready(Ok(Read::End));
        }
        let Some(tls) = &mut self.tls else {
            plain.extend_from_slice(&scratch[..count]);
            return Poll::Ready(Ok(Read::Bytes(count)));
        };
        let filled = &mut scratch[..kept + count];
        wire.clear();
        let result = tls.read(filled, plain, wire);
        if !wire.is_empty() {
            self.send(cx, wire)?;
        }
        let used = match result {
            Ok(used) => used,
            Err(error) => return Poll::Ready(Ok(Read::Broken(error))),
        };
        self.keep_partial(&scratch[used..kept + count]);
        if self.tls.as_ref().is_some_and(Tls::peer_closed) {
            return Poll::Ready(Ok(Read::End));
        }
        Poll::Ready(Ok(Read::Bytes(count)))
    }

    fn keep_partial(&mut self, rest: &[u8]) {
        if !rest.is_empty() {
            // A new one each time, just as large as needed.
            self.halfway.get_or_insert_default().partial = rest.to_vec();
        } else if let Some(halfway) = &mut self.halfway {
            halfway.partial = Vec::new();
            self.forget_halfway();
        }
    }

    fn forget_halfway(&mut self) {
        self.halfway = self
            .halfway
            .take()
            .filter(|halfway| !halfway.partial.is_empty() || !halfway.refused.is_empty());
    }

    /// Something waits for the socket.
    pub(crate) fn is_blocked(&self) -> bool {
        self.halfway.as_ref().is_some_and(|halfway| !halfway.refused.is_empty())
    }

    /// Reads once what nobody wants any more; None at the end.
    pub(crate) fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut [u8],
    ) -> Poll<io::Result<Option<NonZeroUsize>>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(NonZeroUsize::new(buffer.filled().len())))
    }

    /// Of the last `count` bytes of plaintext that were written, how many the socket has not got.
    /// A record that is not whole is nothing to the peer.
    pub(crate) fn held(&self, count: usize) -> usize {
        let held = self
            .halfway
            .as_ref()
            .map_or(0, |halfway| halfway.refused.len() - halfway.gone);
        match (held, &self.tls) {
            (0, _) => 0,
            (_, Some(_)) => count,
            (held, None) => held.min(count),
        }
    }

    /// Sends plaintext: all of it is encrypted and sent or kept. `wire` is scratch.
    pub(crate) fn write(&mut self, cx: &mut Context<'_>, plain: &[u8], wire: &mut Vec<u8>) -> io::Result<()> {
        match &mut self.tls {
            None => self.send(cx, plain),
            Some(tls) => {
                wire.clear();
                tls.write(plain, wire).map_err(io::Error::other)?;
                self.send(cx, wire)
            }
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        let is_free = self.halfway.as_ref().is_none_or(|halfway| halfway.refused.is_empty());
        if is_free {
            while !bytes.is_empty() {
                match self.socket.try_write(bytes) {
                    Ok(count) => bytes = &bytes[count..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => match self.socket.poll_write_ready(cx) {
                        Poll::Ready(result) => result?,
                        Poll::Pending => break,
                    },
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        if !bytes.is_empty() {
            let halfway = self.halfway.get_or_insert_default();
            halfway.refused.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// Sends what the socket refused before. Ready when nothing is left.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(halfway) = &mut self.halfway else {
            return Poll::Ready(Ok(()));
        };
        while halfway.gone < halfway.refused.len() {
            match self.socket.try_write(&halfway.refused[halfway.gone..]) {
                Ok(count) => halfway.gone += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.socket.poll_write_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        if !halfway.refused.is_empty() {
            halfway.refused = Vec::new();
            halfway.gone = 0;
            self.forget_halfway();
        }
        Poll::Ready(Ok(()))
    }

    /// Announces the end to the peer: `close_notify`, behind all that was written.
    pub(crate) fn announce_end(&mut self, cx: &mut Context<'_>, wire: &mut Vec<u8>) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            wire.clear();
            tls.close(wire);
            return self.send(cx, wire);
        }
        Ok(())
    }

    pub(crate) fn logged_in(&self) {
        self.socket.logged_in();
    }

    /// Sends FIN, so that the peer reads everything before the end.
    pub(crate) fn shut_down(&self) {
        self.socket.shut_down();
    }
}
