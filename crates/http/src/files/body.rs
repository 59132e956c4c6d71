//! The body of a download: read as it is taken, a piece at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::body::{Bytes, Frame};
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};

/// Read at once, and held in memory.
const PIECE_BYTES: usize = 64 * 1024;

pub(crate) struct Reading {
    file: File,
    left: u64,
    /// Room for what is being read.
    piece: Vec<u8>,
}

impl Reading {
    pub(super) fn of_file(mut file: File, count: u64) -> Reading {
        file.set_max_buf_size(PIECE_BYTES);
        Reading {
            file,
            left: count,
            piece: Vec::new(),
        }
    }

    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let most = usize::try_from(self.left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        self.piece.resize(most, 0);
        let mut buffer = ReadBuf::new(&mut self.piece);
        ready!(Pin::new(&mut self.file).poll_read(cx, &mut buffer))?;
        let count = buffer.filled().len();
        if count == 0 {
            // Somebody has cut it. The client sees by the length that this is not all.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        self.left -= count as u64;
        let mut piece = std::mem::take(&mut self.piece);
        piece.truncate(count);
        Poll::Ready(Some(Ok(Frame::data(piece.into()))))
    }
}
