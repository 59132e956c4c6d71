//! What a connection asks of the thing that carries its bytes.
//!
//! A TCP socket in the server, or what BOSH makes up of requests and responses. The benchmark of a million sessions puts memory in its place, since
//! no machine gives a process so many sockets; everything above is the same code.

use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::net::TcpStream;

/// A byte stream that never blocks.
pub trait Socket: AsyncRead + Unpin + Send + 'static {
    /// Takes some of the bytes; [`io::ErrorKind::WouldBlock`] when it takes none now.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Ready when it may take more. Wakes the last task that asked.
    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Tells the peer that nothing more comes, behind all that was written.
    fn shut_down(&self);

    /// Is told that somebody has logged in over it.
    fn logged_in(&self) {}

    /// A peer that acknowledges nothing for so long is gone.
    fn limit_silence(&self, _: Duration) {}
}

impl Socket for TcpStream {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        TcpStream::try_write(self, bytes)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        TcpStream::poll_write_ready(self, cx)
    }

    fn shut_down(&self) {
        // The peer may be gone already; then there is nothing to tell.
        let _ = socket2::SockRef::from(self).shutdown(std::net::Shutdown::Write);
    }

    fn limit_silence(&self, limit: Duration) {
        // Where the system has no such limit, answers that do not come tell as much later.
        let _ = socket2::SockRef::from(self).set_tcp_user_timeout(Some(limit));
    }
}
