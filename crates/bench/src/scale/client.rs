//! A client over a pipe: the whole login, then a session that can be parked and taken up again.

use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion};
use tokio::sync::mpsc::UnboundedSender;

use super::pipe::{ClientEnd, ServerEnd, pipe};
use super::record::{self, Active, Content, Half};
use crate::Outcome;
use crate::client::{DOMAIN, PASSWORD};
use crate::scan::{Scanner, attribute, text_of};
use crate::scram::{Memory, Scram};
use crate::tls;

/// The resource that every client binds.
const RESOURCE: &str = "bench";
/// From connecting to the answer of the first ping, and for a whole logout.
const LIMIT: Duration = Duration::from_secs(60);
/// All accounts have one password and one salt, so the rounds are computed once, under this name.
const EVERYBODY: &str = "";

/// Memory of a parked session in bytes: the generator's own.
pub(super) const PARKED_BYTES: usize = size_of::<Option<Parked>>();

/// How to get in.
pub(super) struct Access {
    door: UnboundedSender<(ServerEnd, IpAddr)>,
    config: Arc<ClientConfig>,
    memory: Memory,
}

impl Access {
    /// `door` leads to what lets connections into the server.
    pub(super) fn new(door: UnboundedSender<(ServerEnd, IpAddr)>) -> Arc<Self> {
        let mut config = ClientConfig::clone(&tls::client());
        config.enable_secret_extraction = true;
        Arc::new(Self {
            door,
            config: Arc::new(config),
            memory: Memory::default(),
        })
    }
}

/// A session that nobody reads from: all that is left of its client.
pub(super) struct Parked {
    end: ClientEnd,
    out: Half,
    into: Half,
}

/// A session, or a connection that is becoming one.
pub(super) struct Client {
    pub number: usize,
    pub scanner: Scanner,
    end: ClientEnd,
    /// None until the handshake is over.
    keys: Option<(Active, Active)>,
    /// What came and is no whole record yet.
    wire: Vec<u8>,
    out: Vec<u8>,
    /// What came since it was last emptied, while somebody wants to read it.
    text: Option<Vec<u8>>,
    closed: bool,
}

/// Every client has an address of its own, as a crowd has.
fn address(number: usize) -> IpAddr {
    let [.., a, b, c] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(10, a, b, c))
}

impl Client {
    /// Logs in by STARTTLS and SCRAM, binds, asks for the roster, becomes available and waits for a ping.
    pub(super) async fn login(access: &Access, number: usize, user: &str) -> Outcome<Self> {
        let (server, end) = pipe();
        let mut client = Self {
            number,
            scanner: Scanner::new(),
            end,
            keys: None,
            wire: Vec::new(),
            out: Vec::new(),
            text: Some(Vec::new()),
            closed: false,
        };
        let gone = |_| "the server lets nobody in".to_owned();
        access.door.send((server, address(number))).map_err(gone)?;
        let done = tokio::time::timeout(LIMIT, client.negotiate(access, user)).await;
        done.unwrap_or_else(|_| Err("timed out".to_owned()))
            .map_err(|error| format!("login of {user}: {error}"))?;
        Ok(client)
    }

    async fn negotiate(&mut self, access: &Access, user: &str) -> Outcome<()> {
        self.open().await?;
        self.ask("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed")
            .await?;
        self.handshake(&access.config).await?;
        self.open().await?;
        self.authenticate(&access.memory, user).await?;
        self.open().await?;
        let bind = format!(
            "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{RESOURCE}</resource>\
             </bind></iq>"
        );
        self.ask(&bind, "<jid>").await?;
        self.text = None;
        // A long roster is counted, not kept.
        let before = self.scanner.iqs;
        self.send(b"<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>")
            .await?;
        self.until(|scanner| scanner.iqs > before).await?;
        self.send(b"<presence/>").await?;
        self.ping().await
    }

    /// Opens a stream and waits for its features.
    async fn open(&mut self) -> Outcome<()> {
        self.scanner = Scanner::new();
        let header = format!(
            "<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams'>"
        );
        self.ask(&header, "<stream:features").await.map(drop)
    }

    /// rustls is given whole records only, so that nothing is left in it when its keys are taken out.
    async fn handshake(&mut self, config: &Arc<ClientConfig>) -> Outcome<()> {
        let failed = |error: rustls::Error| format!("TLS: {error}");
        let name = ServerName::try_from(DOMAIN).map_err(|error| error.to_string())?;
        let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(failed)?;
        loop {
            self.out.clear();
            while tls.wants_write() {
                tls.write_tls(&mut self.out).map_err(|error| format!("TLS: {error}"))?;
            }
            self.write_out().await?;
            if !tls.is_handshaking() {
                break;
            }
            let length = loop {
                match record::length(&self.wire) {
                    Some(length) => break length,
                    None if !poll_fn(|cx| self.end.poll_read(cx, &mut self.wire)).await => {
                        return Err("the server closed the connection in the handshake".to_owned());
                    }
                    None => {}
                }
            };
            let mut record = &self.wire[..length];
            while !record.is_empty() {
                tls.read_tls(&mut record).map_err(|error| format!("TLS: {error}"))?;
                tls.process_new_packets().map_err(failed)?;
            }
            self.wire.drain(..length);
        }
        if tls.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Err("the server has no TLS 1.3".to_owned());
        }
        let secrets = tls.dangerous_extract_secrets().map_err(failed)?;
        let (out, into) = (Half::new(secrets.tx)?, Half::new(secrets.rx)?);
        self.keys = Some((out.activate()?, into.activate()?));
        Ok(())
    }

    async fn authenticate(&mut self, memory: &Memory, user: &str) -> Outcome<()> {
        let xmlns = "urn:ietf:params:xml:ns:xmpp-sasl";
        let mut scram = Scram::new(user);
        let auth = format!(
            "<auth xmlns='{xmlns}' mechanism='SCRAM-SHA-1'>{}</auth>",
            scram.initial()
        );
        let challenge = self.ask(&auth, "<challenge").await?;
        let challenge = text_of(&challenge, "challenge").unwrap_or_default();
        let answer = scram
            .answer(memory, EVERYBODY, PASSWORD, challenge)
            .ok_or("a challenge that is none")?;
        let response = format!("<response xmlns='{xmlns}'>{answer}</response>");
        let success = self.ask(&response, "<success").await?;
        match scram.accepts(text_of(&success, "success").unwrap_or_default()) {
            true => Ok(()),
            false => Err("the server does not know the password".to_owned()),
        }
    }

    /// Sends and waits for the next complete element, which must contain this.
    async fn ask(&mut self, text: &str, wanted: &str) -> Outcome<String> {
        let before = self.scanner.elements;
        self.send(text.as_bytes()).await?;
        self.until(|scanner| scanner.elements > before).await?;
        let came = String::from_utf8_lossy(self.text.as_deref().unwrap_or_default()).into_owned();
        self.text = Some(Vec::new());
        match came.contains(wanted) && attribute(&came, "type") != Some("error") {
            true => Ok(came),
            false => Err(format!("expected {wanted}, got {came}")),
        }
    }

    /// A round trip: what was sent before has been read by the server then.
    pub(super) async fn ping(&mut self) -> Outcome<()> {
        let before = self.scanner.iqs;
        let ping = format!("<iq type='get' id='ping' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>");
        self.send(ping.as_bytes()).await?;
        self.until(|scanner| scanner.iqs > before).await
    }

    pub(super) async fn send(&mut self, text: &[u8]) -> Outcome<()> {
        self.out.clear();
        match &mut self.keys {
            None => self.out.extend_from_slice(text),
            Some((out, _)) => out.seal(text, &mut self.out)?,
        }
        self.write_out().await
    }

    async fn write_out(&mut self) -> Outcome<()> {
        let mut rest = &self.out[..];
        while !rest.is_empty() {
            match poll_fn(|cx| self.end.poll_write(cx, rest)).await {
                0 => return Err("the server closed the connection".to_owned()),
                count => rest = &rest[count..],
            }
        }
        Ok(())
    }

    /// Reads until the scanner has seen enough.
    pub(super) async fn until(&mut self, enough: impl Fn(&Scanner) -> bool) -> Outcome<()> {
        while !enough(&self.scanner) {
            self.read().await?;
        }
        Ok(())
    }

    /// Reads once, waiting for it.
    pub(super) async fn read(&mut self) -> Outcome<()> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    /// Reads what is there, without waiting.
    pub(super) fn drain(&mut self) -> Outcome<()> {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        while let Poll::Ready(read) = self.poll_read(&mut cx) {
            read?;
        }
        Ok(())
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Outcome<()>> {
        let Poll::Ready(more) = self.end.poll_read(cx, &mut self.wire) else {
            return Poll::Pending;
        };
        let processed = self.process();
        Poll::Ready(match processed {
            Ok(()) if !more || self.closed || self.scanner.closed => {
                let text = String::from_utf8_lossy(self.text.as_deref().unwrap_or_default()).into_owned();
                Err(format!("the server closed the connection {text}"))
            }
            processed => processed,
        })
    }

    fn process(&mut self) -> Outcome<()> {
        let Some((_, into)) = &mut self.keys else {
            self.scanner.feed(&self.wire);
            if let Some(text) = &mut self.text {
                text.append(&mut self.wire);
            }
            self.wire.clear();
            return Ok(());
        };
        let mut at = 0;
        while let Some(length) = record::length(&self.wire[at..]) {
            match into.open(&mut self.wire[at..at + length])? {
                Content::Data(bytes) => {
                    self.scanner.feed(bytes);
                    if let Some(text) = &mut self.text {
                        text.extend_from_slice(bytes);
                    }
                }
                Content::Alert => self.closed = true,
                Content::Other => {}
            }
            at += length;
        }
        self.wire.drain(..at);
        Ok(())
    }

    /// Gives up all that is not needed to take the session up again.
    pub(super) fn park(self) -> Outcome<Parked> {
        let (out, into) = self.keys.ok_or("a connection without TLS cannot be parked")?;
        self.end.park(&self.wire);
        Ok(Parked {
            end: self.end,
            out: out.into_half(),
            into: into.into_half(),
        })
    }

    /// Takes a session up again. What came meanwhile is not seen; the stream is between two stanzas, as the server
    /// writes whole ones.
    pub(super) fn resume(parked: Parked, number: usize) -> Outcome<Self> {
        let Parked { end, out, mut into } = parked;
        into.skip(end.resume().ok_or("half a record came while nobody read")?);
        let mut scanner = Scanner::new();
        // The stream is open.
        scanner.feed(b"<s>");
        Ok(Self {
            number,
            scanner,
            end,
            keys: Some((out.activate()?, into.activate()?)),
            wire: Vec::new(),
            out: Vec::new(),
            text: None,
            closed: false,
        })
    }

    /// Closes the stream and waits until the server has done the same.
    pub(super) async fn leave(mut self) -> Outcome<()> {
        let left = async {
            self.send(b"</stream:stream>").await?;
            while !self.closed {
                if !poll_fn(|cx| self.end.poll_read(cx, &mut self.wire)).await {
                    break;
                }
                self.process()?;
            }
            self.out.clear();
            if let Some((out, _)) = &mut self.keys {
                out.seal_end(&mut self.out)?;
            }
            // The server may not wait for it.
            let _ = self.write_out().await;
            match self.scanner.closed {
                true => Ok(()),
                false => Err("the server did not close its stream".to_owned()),
            }
        };
        let done = tokio::time::timeout(LIMIT, left).await;
        done.unwrap_or_else(|_| Err("timed out".to_owned()))
            .map_err(|error| format!("logout: {error}"))
    }
}
