//! The body of a download: read as it is taken, a piece at a time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use backends::Answered;
use hyper::body::{Body as _, Bytes, Frame};
use tokio::fs::File;
use tokio::io::{AsyncRead, ReadBuf};

/// Read at once, and held in memory.
const PIECE_BYTES: usize = 64 * 1024;

pub(crate) struct Reading {
    source: Source,
    left: u64,
}

enum Source {
    /// And room for what is being read.
    File(File, Vec<u8>),
    Remote(Answered),
}

impl Reading {
    pub(super) fn of_file(mut file: File, count: u64) -> Reading {
        file.set_max_buf_size(PIECE_BYTES);
        Reading {
            source: Source::File(file, Vec::new()),
            left: count,
        }
    }

    pub(super) fn of_remote(answered: Answered, count: u64) -> Reading {
        Reading {
            source: Source::Remote(answered),
            left: count,
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
        let mut piece = match &mut self.source {
            Source::File(file, room) => ready!(read(file, room, most, cx))?,
            Source::Remote(answered) => match ready!(Pin::new(answered.response.body_mut()).poll_frame(cx)) {
                Some(frame) => frame.map_err(io::Error::other)?.into_data().unwrap_or_default(),
                None => Bytes::new(),
            },
        };
        if piece.is_empty() {
            // Somebody has cut it. The client sees by the length that this is not all.
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        piece.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        self.left -= piece.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

fn read(file: &mut File, room: &mut Vec<u8>, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    room.resize(most, 0);
    let mut buffer = ReadBuf::new(room);
    ready!(Pin::new(file).poll_read(cx, &mut buffer))?;
    let count = buffer.filled().len();
    let mut piece = std::mem::take(room);
    piece.truncate(count);
    Poll::Ready(Ok(piece.into()))
}
