//! Requests over HTTP whose bodies are too long to be held: each over a connection of its own, as they are few and long.

use std::any::Any;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};

use crate::client::{Line, Sent};
use crate::url::Url;

/// How long a connection may take to be there.
const CONNECT: Duration = Duration::from_secs(10);

/// Somebody who is asked so.
#[derive(Clone)]
pub struct Remote {
    line: Arc<Line>,
}

/// An answer, whose body is still to be read.
pub struct Answered {
    pub response: Response<Incoming>,
    /// The connection lives as long as this.
    pub connection: Box<dyn Any + Send + Sync>,
}

impl Remote {
    /// `ca`: PEM; the authorities that its certificate may come from. None: those of this machine.
    ///
    /// # Errors
    /// The authorities cannot be read, or there are none.
    pub fn new(url: Url, ca: Option<&Path>) -> io::Result<Remote> {
        Ok(Remote {
            line: Arc::new(Line::new(url, ca)?),
        })
    }

    pub fn url(&self) -> &Url {
        &self.line.url
    }

    /// Sends a request, of which the target is a path, and waits for the head of the answer. Whoever asks has a limit of
    /// his own for that.
    ///
    /// # Errors
    /// Nobody is there, or the connection has ended.
    pub async fn send<B: Sent>(&self, request: Request<B>) -> io::Result<Answered> {
        let connecting = tokio::time::timeout(CONNECT, self.line.connect()).await;
        let mut sender = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        Ok(Answered {
            response,
            connection: Box::new(sender),
        })
    }
}
