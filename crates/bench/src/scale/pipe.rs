//! A connection in memory: what stands for the network where a process may not open so many sockets.
//!
//! Two queues of bytes with a bounded length, and nothing else: an idle pipe owns no buffer. It counts as memory of the
//! generator and is as small as it can be, because a million of them must fit. While the client's end is *parked*
//! nobody reads: what the server writes is dropped, as if it had been read at once, and only the TLS records are
//! counted, so that the session can be taken up again later.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use c2s::Socket;
use tokio::io::{AsyncRead, ReadBuf};

use super::record::Counter;

/// Bytes that may be on the way in one direction; then the writer waits, as with a socket's buffer.
pub(super) const CAPACITY: usize = 64 * 1024;

/// Memory of one pipe in bytes: the state with its lock and the two counts of its `Arc`, rounded to jemalloc's sizes,
/// which are multiples of 16 here.
pub(super) const BYTES: usize = (size_of::<Pipe>() + 2 * size_of::<usize>()).next_multiple_of(16);

#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    /// Of these, how many have been read.
    start: usize,
}

impl Queue {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..]
    }
}

/// What waits at one end.
#[derive(Default)]
struct Waiting {
    waker: Option<Waker>,
    /// For bytes or the end; otherwise only for room.
    for_bytes: bool,
    for_room: bool,
}

impl Waiting {
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }

    /// Takes the waker if it waits for this. It asks anew for whatever else it waited for.
    fn wake(&mut self, bytes: bool, room: bool) -> Option<Waker> {
        if !(bytes && self.for_bytes || room && self.for_room) {
            return None;
        }
        self.for_bytes = false;
        self.for_room = false;
        self.waker.take()
    }
}

#[derive(Default)]
struct State {
    to_server: Option<Box<Queue>>,
    to_client: Option<Box<Queue>>,
    server: Waiting,
    client: Waiting,
    /// The server writes nothing more.
    server_ended: bool,
    client_ended: bool,
    parked: bool,
    /// While the client is parked.
    counter: Counter,
}

#[derive(Default)]
struct Pipe(Mutex<State>);

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing can panic while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes as much as there is room for.
fn push(queue: &mut Option<Box<Queue>>, bytes: &[u8]) -> usize {
    let had = queue.as_ref().map_or(0, |queue| queue.rest().len());
    let count = bytes.len().min(CAPACITY - had);
    if count > 0 {
        queue.get_or_insert_default().bytes.extend_from_slice(&bytes[..count]);
    }
    count
}

fn is_full(queue: Option<&Queue>) -> bool {
    queue.is_some_and(|queue| queue.rest().len() >= CAPACITY)
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// The server's end.
pub(super) struct ServerEnd(Arc<Pipe>);

/// The client's end.
pub(super) struct ClientEnd(Arc<Pipe>);

/// A new connection.
pub(super) fn pipe() -> (ServerEnd, ClientEnd) {
    let pipe: Arc<Pipe> = Arc::default();
    (ServerEnd(Arc::clone(&pipe)), ClientEnd(pipe))
}

impl AsyncRead for ServerEnd {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        let Some(queue) = &mut state.to_server else {
            if state.client_ended {
                return Poll::Ready(Ok(()));
            }
            state.server.for_bytes = true;
            state.server.wait(cx);
            return Poll::Pending;
        };
        let count = queue.rest().len().min(into.remaining());
        into.put_slice(&queue.rest()[..count]);
        queue.start += count;
        if queue.rest().is_empty() {
            state.to_server = None;
        }
        let waker = state.client.wake(false, true);
        drop(state);
        wake(waker);
        Poll::Ready(Ok(()))
    }
}

impl Socket for ServerEnd {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        if state.client_ended {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if state.parked {
            state.counter.feed(bytes);
            return Ok(bytes.len());
        }
        let count = push(&mut state.to_client, bytes);
        if count == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let waker = state.client.wake(true, false);
        drop(state);
        wake(waker);
        Ok(count)
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.lock();
        if state.client_ended || state.parked || !is_full(state.to_client.as_deref()) {
            return Poll::Ready(Ok(()));
        }
        state.server.for_room = true;
        state.server.wait(cx);
        Poll::Pending
    }

    fn shut_down(&self) {
        let mut state = self.0.lock();
        state.server_ended = true;
        let waker = state.client.wake(true, true);
        drop(state);
        wake(waker);
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.shut_down();
    }
}

impl ClientEnd {
    /// Appends what came. False at the end.
    pub(super) fn poll_read(&self, cx: &Context<'_>, into: &mut Vec<u8>) -> Poll<bool> {
        let mut state = self.0.lock();
        let Some(queue) = state.to_client.take() else {
            if state.server_ended {
                return Poll::Ready(false);
            }
            state.client.for_bytes = true;
            state.client.wait(cx);
            return Poll::Pending;
        };
        let waker = state.server.wake(false, true);
        drop(state);
        into.extend_from_slice(queue.rest());
        wake(waker);
        Poll::Ready(true)
    }

    /// Takes some of the bytes off the front; none at the end.
    pub(super) fn poll_write(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<usize> {
        let mut state = self.0.lock();
        if state.server_ended {
            return Poll::Ready(0);
        }
        let count = push(&mut state.to_server, bytes);
        if count == 0 {
            state.client.for_room = true;
            state.client.wait(cx);
            return Poll::Pending;
        }
        let waker = state.server.wake(true, false);
        drop(state);
        wake(waker);
        Poll::Ready(count)
    }

    /// Nobody reads until [`resume`](Self::resume); `unread` came before and was not processed.
    pub(super) fn park(&self, unread: &[u8]) {
        let mut state = self.0.lock();
        state.parked = true;
        state.counter = Counter::default();
        state.counter.feed(unread);
        if let Some(queue) = state.to_client.take() {
            state.counter.feed(queue.rest());
        }
        // Its room for the queue has become endless.
        let waker = state.server.wake(false, true);
        drop(state);
        wake(waker);
    }

    /// How many records came meanwhile; None where the last of them is not whole.
    pub(super) fn resume(&self) -> Option<u64> {
        let mut state = self.0.lock();
        state.parked = false;
        state.counter.records()
    }
}

impl Drop for ClientEnd {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.client_ended = true;
        state.to_client = None;
        let waker = state.server.wake(true, true);
        drop(state);
        wake(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Count {
        fn taken(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    fn read(server: &mut ServerEnd, cx: &mut Context<'_>, room: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; room];
        let mut into = ReadBuf::new(&mut bytes);
        match Pin::new(server).poll_read(cx, &mut into) {
            Poll::Ready(result) => {
                result.expect("a pipe has no errors");
                Some(into.filled().to_vec())
            }
            Poll::Pending => None,
        }
    }

    #[test]
    fn bytes_come_in_order_and_wake_who_waits_for_them() {
        let (count, (mut server, client)) = (Arc::new(Count::default()), pipe());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        assert_eq!(read(&mut server, &mut cx, 8), None);
        assert_eq!(client.poll_write(&cx, b"abc"), Poll::Ready(3));
        assert_eq!(client.poll_write(&cx, b"def"), Poll::Ready(3));
        assert_eq!(count.taken(), 1);
        assert_eq!(read(&mut server, &mut cx, 4).as_deref(), Some(&b"abcd"[..]));
        assert_eq!(read(&mut server, &mut cx, 4).as_deref(), Some(&b"ef"[..]));
        assert_eq!(read(&mut server, &mut cx, 4), None);

        let mut came = Vec::new();
        assert_eq!(client.poll_read(&cx, &mut came), Poll::Pending);
        assert_eq!(server.try_write(b"xyz").expect("room"), 3);
        assert_eq!(count.taken(), 1);
        assert_eq!(client.poll_read(&cx, &mut came), Poll::Ready(true));
        assert_eq!(came, b"xyz");
        drop(client);
        assert_eq!(count.taken(), 1, "the server waited for bytes and hears of the end");
        assert_eq!(read(&mut server, &mut cx, 4).as_deref(), Some(&b""[..]));
        assert!(server.try_write(b"x").is_err());
    }

    #[test]
    fn a_full_pipe_takes_nothing_until_it_is_read() {
        let (count, (mut server, client)) = (Arc::new(Count::default()), pipe());
        let waker = Waker::from(Arc::clone(&count));
        let mut cx = Context::from_waker(&waker);
        let much = vec![b'a'; CAPACITY + 1];
        assert_eq!(server.try_write(&much).expect("room"), CAPACITY);
        let refused = server.try_write(b"b").expect_err("full");
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert!(server.poll_write_ready(&mut cx).is_pending());
        let mut came = Vec::new();
        assert_eq!(client.poll_read(&cx, &mut came), Poll::Ready(true));
        assert_eq!((came.len(), count.taken()), (CAPACITY, 1));
        assert!(server.poll_write_ready(&mut cx).is_ready());

        assert_eq!(client.poll_write(&cx, &much), Poll::Ready(CAPACITY));
        assert_eq!(client.poll_write(&cx, b"b"), Poll::Pending);
        assert_eq!(read(&mut server, &mut cx, 1).as_deref(), Some(&b"a"[..]));
        assert_eq!(count.taken(), 1);
        assert_eq!(client.poll_write(&cx, b"bc"), Poll::Ready(1));
    }

    #[test]
    fn a_parked_client_swallows_and_counts() {
        let (server, client) = pipe();
        let waker = Waker::noop();
        let record = |count: usize| [vec![23, 3, 3, (count >> 8) as u8, count as u8], vec![0; count]].concat();
        server.try_write(&record(7)).expect("room");
        client.park(&record(300)[..100]);
        assert_eq!(client.resume(), None, "one is not whole");
        client.park(&record(300));
        for _ in 0..3 * CAPACITY / 1000 {
            let all = record(1000);
            assert_eq!(server.try_write(&all).expect("swallowed"), all.len());
        }
        assert_eq!(client.resume(), Some(1 + 3 * CAPACITY as u64 / 1000));
        let mut came = Vec::new();
        assert_eq!(client.poll_read(&Context::from_waker(waker), &mut came), Poll::Pending);
    }
}
