//! A session as the connection sees it: a socket that takes something only while a request waits for a response.
//!
//! So what waits for a client without a request stays in the connection, limited and delivered anew if the session
//! breaks, as with any other socket.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use c2s::Socket;
use tokio::io::{AsyncRead, ReadBuf};
use xmlstream::Scratch;

use super::session::Session;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Lends the thread's index for reading XML.
pub(super) fn with_scratch<R>(act: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(act)
}

/// The server's end.
pub(super) struct SessionSocket(pub(super) Arc<Session>);

impl AsyncRead for SessionSocket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.poll_read(cx, into).map(Ok)
    }
}

impl Socket for SessionSocket {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        with_scratch(|scratch| self.0.try_write(bytes, scratch))
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(cx).map(Ok)
    }

    fn shut_down(&self) {
        self.0.ended();
    }

    fn logged_in(&self) {
        self.0.logged_in();
    }
}

impl Drop for SessionSocket {
    fn drop(&mut self) {
        self.0.ended();
    }
}
