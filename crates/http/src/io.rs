//! What hyper reads and writes through, and its clock.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use c2s::{Channel, Socket};
use hyper::rt::{ReadBufCursor, Sleep, Timer};

/// A channel as hyper wants it, with a limit to how long the other side may take nothing.
pub(crate) struct Io<S: Socket> {
    pub(crate) channel: Channel<S>,
    limit: Duration,
    /// Of the write that waits now; none while nothing does.
    waits: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// What of a channel may have to wait.
type Step<S, T> = fn(&mut Channel<S>, &mut Context<'_>, &[u8]) -> Poll<io::Result<T>>;

impl<S: Socket> Io<S> {
    pub(crate) fn new(channel: Channel<S>, limit: Duration) -> Io<S> {
        Io {
            channel,
            limit,
            waits: None,
        }
    }

    /// The limit counts while this is pending.
    fn limited<T>(&mut self, cx: &mut Context<'_>, poll: Step<S, T>, bytes: &[u8]) -> Poll<io::Result<T>> {
        let polled = poll(&mut self.channel, cx, bytes);
        if polled.is_ready() {
            self.waits = None;
            return polled;
        }
        let limit = self.limit;
        let waits = self.waits.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(waits.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: Socket> hyper::rt::Read for Io<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let plain = ready!(self.channel.poll_plain(cx))?;
        let count = plain.len().min(buffer.remaining());
        buffer.put_slice(&plain[..count]);
        self.channel.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: Socket> hyper::rt::Write for Io<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.limited(cx, Channel::poll_write, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.limited(cx, |channel, cx, _| channel.poll_flush(cx), &[])
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.limited(cx, |channel, cx, _| channel.poll_shut_down(cx), &[])
    }
}

/// The clock of the runtime.
#[derive(Clone, Copy)]
pub(crate) struct Clock;

struct Alarm(Pin<Box<tokio::time::Sleep>>);

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl Sleep for Alarm {}

impl Timer for Clock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Alarm(Box::pin(tokio::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(Alarm(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
