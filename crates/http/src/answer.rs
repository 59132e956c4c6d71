//! Answers to requests.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

/// A body that is there.
#[derive(Default)]
pub(crate) struct Text(Option<Bytes>);

impl Body for Text {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

pub(crate) type Answer = Response<Text>;

pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Text::default());
    *answer.status_mut() = status;
    answer
}

/// A body whose type is still to be told.
pub(crate) fn of(bytes: Bytes) -> Answer {
    Response::new(Text(Some(bytes)))
}

pub(crate) fn document(kind: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Text(Some(text.into())));
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
