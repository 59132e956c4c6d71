//! One connection over TLS: bytes out, elements in. Nothing here panics because of what the server does: it is killed
//! all the time.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::xml::{Item, Node, Reader};

/// What is read at once.
const READ_BYTES: usize = 16 * 1024;
/// TCP and TLS together. A server that is stopped for a while accepts late.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// Why a connection is over, for people.
pub(crate) type Lost = String;

/// What begins the reason of a connection that the server ended with a stream error.
pub(crate) const STREAM_ERROR: &str = "stream error: ";

/// How to get in.
pub(crate) struct Access {
    address: SocketAddr,
    name: ServerName<'static>,
    connector: TlsConnector,
}

impl Access {
    pub(crate) fn new(address: SocketAddr, domain: &'static str) -> Access {
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("ring has the default versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
            .with_no_client_auth();
        Access {
            address,
            name: ServerName::try_from(domain).expect("a domain is a name"),
            connector: TlsConnector::from(Arc::new(config)),
        }
    }
}

/// Takes every certificate: the server makes its own.
#[derive(Debug)]
struct Trusting(Arc<CryptoProvider>);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// What opens a stream.
pub(crate) fn header(domain: &str) -> String {
    format!(
        "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'>"
    )
}

/// A connection. Writes and reads are driven together, so that neither side waits for the other.
pub(crate) struct Wire {
    stream: Box<TlsStream<TcpStream>>,
    reader: Reader,
    inbox: VecDeque<Item>,
    /// To be written; the first `written` bytes of it are.
    out: Vec<u8>,
    written: usize,
    needs_flush: bool,
    is_finished: bool,
    buffer: Box<[u8]>,
}

impl Wire {
    pub(crate) async fn connect(access: &Access) -> Result<Wire, Lost> {
        let connecting = async {
            let stream = TcpStream::connect(access.address).await?;
            stream.set_nodelay(true)?;
            access.connector.connect(access.name.clone(), stream).await
        };
        let stream = timeout(CONNECT_LIMIT, connecting).await;
        let stream = stream
            .map_err(|_| "connect: timed out".to_owned())?
            .map_err(|error: io::Error| format!("connect: {error}"))?;
        Ok(Wire {
            stream: Box::new(stream),
            reader: Reader::new(),
            inbox: VecDeque::new(),
            out: Vec::new(),
            written: 0,
            needs_flush: false,
            is_finished: false,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    /// A new connection is greeted with the header of a stream to this domain, which the server answers with its own.
    pub(crate) async fn greeted(access: &Access, domain: &str) -> Result<(), Lost> {
        let mut wire = Wire::connect(access).await?;
        wire.send(&header(domain));
        match wire.item().await? {
            Item::Header => Ok(()),
            other => Err(format!("{other:?} instead of a header")),
        }
    }

    /// A new stream begins: what comes next is a header.
    pub(crate) fn restart(&mut self) {
        self.reader = Reader::new();
    }

    /// Written by whoever reads next.
    pub(crate) fn send(&mut self, text: &str) {
        if !self.is_finished {
            self.out.extend_from_slice(text.as_bytes());
        }
    }

    /// Closes the stream on this side: nothing that is sent afterwards goes out.
    pub(crate) fn finish(&mut self) {
        self.send("</stream:stream>");
        self.is_finished = true;
    }

    /// The next thing that comes; what is to be written is written meanwhile. May be cancelled and called again.
    pub(crate) async fn item(&mut self) -> Result<Item, Lost> {
        loop {
            if let Some(item) = self.inbox.pop_front() {
                return Ok(item);
            }
            let count = poll_fn(|cx| self.poll(cx))
                .await
                .map_err(|error| format!("connection: {error}"))?;
            if count == 0 {
                return Err("the server closed the connection".to_owned());
            }
            self.reader.feed(&self.buffer[..count], &mut self.inbox)?;
        }
    }

    /// The next element. A stream error or the end of the stream is the end of the connection.
    pub(crate) async fn element(&mut self) -> Result<Node, Lost> {
        loop {
            match self.item().await? {
                Item::Header => {}
                Item::Close => return Err("the server closed the stream".to_owned()),
                Item::Element(node) if node.is("error", "http://etherx.jabber.org/streams") => {
                    let about = node.children.iter().find(|child| child.name != node.condition());
                    let about = about.map(|child| format!("{child:?}")).unwrap_or_default();
                    return Err(format!("{STREAM_ERROR}{} {about}", node.condition()));
                }
                Item::Element(node) => return Ok(node),
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        while self.written < self.out.len() {
            match Pin::new(&mut self.stream).poll_write(cx, &self.out[self.written..]) {
                Poll::Ready(Ok(count)) => {
                    self.written += count;
                    self.needs_flush = true;
                }
                // What came before the end is still to be read; reading then tells of the end.
                Poll::Ready(Err(_)) => self.written = self.out.len(),
                Poll::Pending => break,
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        if self.needs_flush && Pin::new(&mut self.stream).poll_flush(cx).is_ready() {
            self.needs_flush = false;
        }
        let mut into = ReadBuf::new(&mut self.buffer);
        match Pin::new(&mut self.stream).poll_read(cx, &mut into) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(into.filled().len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Cuts the connection with a reset, as the crash of a device does.
    pub(crate) fn reset(self) {
        // If the socket is gone already there is nothing to cut.
        let _ = SockRef::from(self.stream.get_ref().0).set_linger(Some(Duration::ZERO));
    }
}
