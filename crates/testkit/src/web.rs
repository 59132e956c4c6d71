//! A small web server that says what it is told to, for what the server under test asks over HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A request that came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Which connection, from 0.
    pub connection: usize,
    /// `POST /path`.
    pub what: String,
    /// A line each.
    pub headers: String,
    pub body: String,
}

impl Asked {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.lines().filter_map(|line| line.split_once(':'));
        headers
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// What is said to it.
#[derive(Clone, Debug)]
pub enum Reply {
    /// 200, and this.
    Body(String),
    /// This status, with these header lines, each with its end.
    Status(u16, String),
    /// These bytes, and the connection is closed.
    Raw(Vec<u8>),
    /// Nothing, and the connection stays open.
    Silence,
}

type Answer = dyn Fn(&Asked) -> Reply + Send + Sync;

/// Stops when it is dropped.
pub struct Web {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Web {
    /// On a free port of this machine; `tls`: with a certificate.
    pub async fn start(
        tls: Option<Arc<rustls::ServerConfig>>,
        answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::default();
        let (answer, seen): (Arc<Answer>, _) = (Arc::new(answer), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            // They end with the server.
            let mut open = tokio::task::JoinSet::new();
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                let (answer, seen, tls) = (Arc::clone(&answer), Arc::clone(&seen), tls.clone());
                open.spawn(async move {
                    // A client that leaves ends its connection, and nothing else.
                    let _ = match tls {
                        None => converse(stream, connection, &*answer, &seen).await,
                        Some(tls) => match TlsAcceptor::from(tls).accept(stream).await {
                            Ok(stream) => converse(stream, connection, &*answer, &seen).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Web { address, asked, task }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What came so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    connection: usize,
    answer: &Answer,
    seen: &Mutex<Vec<Asked>>,
) -> io::Result<()> {
    let mut read = Vec::new();
    loop {
        let head = loop {
            if let Some(at) = read.windows(4).position(|end| end == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let text = String::from_utf8_lossy(&read[..head]).into_owned();
        let (line, headers) = text.split_once("\r\n").expect("a request has a first line");
        let mut asked = Asked {
            connection,
            what: line.trim_end_matches(" HTTP/1.1").to_owned(),
            headers: headers.to_owned(),
            body: String::new(),
        };
        let length = asked.header("content-length").unwrap_or("0");
        let length: usize = length.parse().expect("a length");
        while read.len() < head + length {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        asked.body = String::from_utf8_lossy(&read[head..head + length]).into_owned();
        read.drain(..head + length);
        seen.lock().expect("no panic").push(asked.clone());
        match answer(&asked) {
            Reply::Body(body) => {
                let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(text.as_bytes()).await?;
            }
            Reply::Status(status, headers) => {
                let text = format!("HTTP/1.1 {status} Said\r\n{headers}content-length: 0\r\n\r\n");
                stream.write_all(text.as_bytes()).await?;
            }
            Reply::Raw(bytes) => {
                stream.write_all(&bytes).await?;
                return stream.shutdown().await;
            }
            Reply::Silence => {
                std::future::pending::<()>().await;
            }
        }
        stream.flush().await?;
    }
}
