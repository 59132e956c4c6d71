//! Answers to requests.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::files::Reading;

/// A body.
pub(crate) enum Content {
    /// It is there; None: it was taken, or there is none.
    Whole(Option<Bytes>),
    /// It is read as it is taken.
    File(Box<Reading>),
}

impl Body for Content {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Content::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Content::File(reading) => reading.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Content::Whole(bytes) => bytes.is_none(),
            Content::File(reading) => reading.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Content::Whole(bytes) => bytes.as_ref().map_or(0, |bytes| bytes.len() as u64),
            Content::File(reading) => reading.left(),
        })
    }
}

pub(crate) type Answer = Response<Content>;

pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Content::Whole(None));
    *answer.status_mut() = status;
    answer
}

/// A body whose type is still to be told.
pub(crate) fn of(bytes: Bytes) -> Answer {
    Response::new(Content::Whole(Some(bytes)))
}

/// What is being read. Its type is still to be told.
pub(crate) fn file(reading: Reading) -> Answer {
    Response::new(Content::File(Box::new(reading)))
}

pub(crate) fn document(kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Content::Whole(Some(text.into())));
    with(&mut answer, CONTENT_TYPE, kind);
    answer
}

/// A refusal, with a line for whoever looks for the reason.
pub(crate) fn refusal(status: StatusCode, why: &'static str) -> Answer {
    let mut answer = document("text/plain; charset=utf-8", format!("{why}\n"));
    *answer.status_mut() = status;
    answer
}

/// The method is none that the place knows.
pub(crate) fn not_allowed(methods: &'static str) -> Answer {
    let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, "this method is not known here");
    with(&mut answer, ALLOW, methods);
    answer
}

pub(crate) fn with(answer: &mut Answer, name: HeaderName, value: &'static str) {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
}
