//! A document that is there for everybody, over a stream that somebody else has made.

use std::io;

use hyper::header::{self, HeaderValue};
use hyper::{Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::Url;
use crate::client::{Broken, Whole, read_whole, speak, too_long};

/// What was answered.
#[derive(Debug)]
pub struct Fetched {
    pub status: u16,
    /// Where it is, if it is elsewhere.
    pub location: Option<String>,
    pub body: Vec<u8>,
}

/// Asks for the document of a URL by GET, of at most so many bytes. Redirects are told, not followed. Whoever asks has a
/// limit of time.
///
/// # Errors
/// The answer is none of HTTP, or too long.
pub async fn fetch<S>(stream: S, url: &Url, most: usize) -> io::Result<Fetched>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut request = Request::new(Whole(None));
    *request.uri_mut() = url.target.parse::<Uri>().map_err(io::Error::other)?;
    let host = HeaderValue::from_str(&url.authority).map_err(io::Error::other)?;
    request.headers_mut().insert(header::HOST, host);

    let mut sender = speak(stream).await?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let location = answer
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    Ok(Fetched {
        status: answer.status().as_u16(),
        location: location.map(str::to_owned),
        body: read_whole(answer.into_body(), most)
            .await
            .map_err(|broken| match broken {
                Broken::Connection(error) => io::Error::other(error),
                Broken::TooLong => too_long(),
            })?,
    })
}
