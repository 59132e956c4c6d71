//! Connections of the doctor: as far as TLS and what is offered behind it, and no further.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use c2s::tls::ALPN_CLIENT;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion};
use s2s::identity::handshake::server_name;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xmlstream::{Event, Framer, Limits, Scratch};

use super::Tools;
use super::report::Report;

/// Until somebody has taken a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Until everything behind it is said.
const TALK: Duration = Duration::from_secs(10);

/// The longest that a server may say.
const SAID: usize = 64 * 1024;

/// Addresses of one host that are tried.
pub const ADDRESSES: usize = 4;

const STREAM_NS: &str = "http://etherx.jabber.org/streams";
const TLS_NS: &str = "urn:ietf:params:xml:ns:xmpp-tls";

/// Who asks, and how.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    pub is_of_servers: bool,
    pub is_direct: bool,
    /// In A-labels: who is asked for.
    pub to: &'a str,
    /// Who asks, where that is a server.
    pub from: Option<&'a str>,
}

/// What was seen.
#[derive(Debug, Default)]
pub struct Seen {
    pub version: &'static str,
    /// By ALPN it was agreed that this is spoken.
    pub has_alpn: bool,
    pub chain: Vec<CertificateDer<'static>>,
    /// Offered behind TLS.
    pub features: Vec<String>,
}

/// Addresses of a host, and why there are none.
pub async fn addresses(tools: &Tools<'_>, host: &str) -> Result<Vec<IpAddr>, String> {
    // The steps of a trace say no more than the error here.
    let mut trace = s2s::journal::Trace::default();
    match tools.resolver.addresses(host, &mut trace).await {
        Ok(addresses) => Ok(addresses.list.into_iter().take(ADDRESSES).collect()),
        Err(none) => Err(none.to_string()),
    }
}

/// One that answers, of all that were tried; those that do not are told.
pub async fn connect(addresses: &[SocketAddr], of: &str, advice: &str, report: &mut Report) -> Option<TcpStream> {
    let mut connected = None;
    for address in addresses {
        match open(*address).await {
            Ok(stream) => connected = connected.or(Some(stream)),
            Err(error) => report.wrong("port", of, format!("nobody answers at {address}: {error}"), advice),
        }
    }
    connected
}

pub async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(stream) => stream,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    }
}

/// Speaks with the server, until TLS is there and it has said what it offers.
pub async fn talk(tools: &Tools<'_>, stream: TcpStream, way: Way<'_>) -> Result<Seen, String> {
    let talked = timeout(TALK, async {
        let name = server_name(way.to).ok_or("no certificate can be for that name")?;
        let stream = match way.is_direct {
            true => stream,
            false => starttls(stream, way).await?,
        };
        let mut stream = handshake(client_config(tools, way), name, stream).await?;
        let mut seen = seen(&stream);
        let mut reader = Reader::default();
        let features = open_stream(&mut stream, way, &mut reader).await?;
        seen.features = features;
        // It may be gone already.
        let _ = stream.write_all(b"</stream:stream>").await;
        Ok(seen)
    });
    talked
        .await
        .unwrap_or_else(|_| Err("it does not answer in time".to_owned()))
}

/// TLS alone, whoever it is.
pub async fn tls(tools: &Tools<'_>, stream: TcpStream, host: &str) -> Result<TlsStream<TcpStream>, String> {
    let name = server_name(host).ok_or("no certificate can be for that name")?;
    let config = tools.identity.client_config(None, false);
    let shaken = timeout(TALK, handshake(config, name, stream));
    shaken
        .await
        .unwrap_or_else(|_| Err("it does not answer in time".to_owned()))
}

pub fn seen(stream: &TlsStream<TcpStream>) -> Seen {
    let (_, connection) = stream.get_ref();
    let shown = connection.peer_certificates().unwrap_or_default();
    Seen {
        version: match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
            _ => "TLS 1.2",
        },
        has_alpn: connection.alpn_protocol().is_some(),
        chain: shown.iter().map(|one| one.clone().into_owned()).collect(),
        features: Vec::new(),
    }
}

fn client_config(tools: &Tools<'_>, way: Way<'_>) -> Arc<ClientConfig> {
    let config = tools.identity.client_config(None, way.is_direct);
    if !way.is_direct || way.is_of_servers {
        return config;
    }
    let mut config = ClientConfig::clone(&config);
    config.alpn_protocols = vec![ALPN_CLIENT.to_vec()];
    Arc::new(config)
}

async fn handshake(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, String> {
    let shaken = TlsConnector::from(config).connect(name, stream).await;
    shaken.map_err(|error| format!("TLS fails: {error}"))
}

async fn starttls(mut stream: TcpStream, way: Way<'_>) -> Result<TcpStream, String> {
    let mut reader = Reader::default();
    let features = open_stream(&mut stream, way, &mut reader).await?;
    if !features.iter().any(|feature| feature == "starttls") {
        return Err("it offers no STARTTLS".to_owned());
    }
    let request = format!("<starttls xmlns='{TLS_NS}'/>");
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    let answer = reader.element(&mut stream, |element| element.name().to_owned()).await?;
    match answer.as_str() {
        "proceed" => Ok(stream),
        _ => Err("it refuses STARTTLS".to_owned()),
    }
}

/// Names of the features.
async fn open_stream<S>(stream: &mut S, way: Way<'_>, reader: &mut Reader) -> Result<Vec<String>, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let kind = if way.is_of_servers { "server" } else { "client" };
    let to = way.to;
    let from = way.from.map(|from| format!(" from='{from}'")).unwrap_or_default();
    let header = format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:{kind}' xmlns:stream='{STREAM_NS}' to='{to}'{from} \
         version='1.0'>"
    );
    stream
        .write_all(header.as_bytes())
        .await
        .map_err(|error| error.to_string())?;
    let read = |element: &xmlstream::Element<'_>| {
        if element.is("features", STREAM_NS) {
            return Ok(element.children().map(|child| child.name().to_owned()).collect());
        }
        let mut conditions = element.children();
        let condition = conditions.next().map_or("an error", |child| child.name());
        Err(format!("it answers {condition}"))
    };
    reader.element(stream, read).await?
}

/// What a server says, element by element.
#[derive(Default)]
struct Reader {
    framer: Framer,
    scratch: Scratch,
    input: Vec<u8>,
}

impl Reader {
    /// Something of the next element.
    async fn element<S, R>(&mut self, stream: &mut S, read: impl Fn(&xmlstream::Element<'_>) -> R) -> Result<R, String>
    where
        S: AsyncRead + Unpin,
    {
        loop {
            let step = self.framer.next(&self.input, &mut self.scratch, &Limits::default());
            let step = step.map_err(|_| "it does not speak XMPP".to_owned())?;
            let consumed = step.consumed;
            let (found, needs_more) = match step.event {
                Event::Element(element) => (Some(read(&element)), false),
                Event::Header(_) => (None, false),
                Event::Close => return Err("it ends the stream".to_owned()),
                Event::Incomplete => (None, true),
            };
            self.input.drain(..consumed);
            if let Some(found) = found {
                return Ok(found);
            }
            if needs_more {
                if self.input.len() > SAID {
                    return Err("it says too much".to_owned());
                }
                match stream.read_buf(&mut self.input).await {
                    Ok(0) => return Err("it ends the connection".to_owned()),
                    Ok(_) => {}
                    Err(error) => return Err(error.to_string()),
                }
            }
        }
    }
}
