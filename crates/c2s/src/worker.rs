//! What a poll of a connection needs and an idle connection must not own: one set per thread.

use std::cell::RefCell;

use router::Turn;
use xmlstream::Scratch;

use crate::websocket::Output;

/// Bytes read from a socket at once: two full TLS records and a bit.
pub(crate) const READ_BYTES: usize = 40 * 1024;

/// A buffer that grew beyond this is freed after use.
const KEPT_CAPACITY: usize = 256 * 1024;

#[derive(Default)]
pub(crate) struct Worker {
    /// Always `READ_BYTES` long.
    pub(crate) read: Vec<u8>,
    pub(crate) plain: Vec<u8>,
    /// Plaintext for the peer.
    pub(crate) out: Vec<u8>,
    /// The same as it goes over the wire.
    pub(crate) wire: Vec<u8>,
    /// Plaintext as messages of a WebSocket.
    pub(crate) frames: Vec<u8>,
    pub(crate) output: Output,
    pub(crate) turn: Turn,
    pub(crate) scratch: Scratch,
}

thread_local! {
    static WORKER: RefCell<Option<Box<Worker>>> = const { RefCell::new(None) };
}

/// Runs `act` with this thread's set.
pub(crate) fn with<R>(act: impl FnOnce(&mut Worker) -> R) -> R {
    let mut worker = WORKER.take().unwrap_or_default();
    if worker.read.is_empty() {
        worker.read = vec![0; READ_BYTES];
    }
    let result = act(&mut worker);
    for buffer in [&mut worker.plain, &mut worker.out, &mut worker.wire, &mut worker.frames] {
        buffer.clear();
        if buffer.capacity() > KEPT_CAPACITY {
            *buffer = Vec::new();
        }
    }
    WORKER.set(Some(worker));
    result
}
