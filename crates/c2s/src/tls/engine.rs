//! A TLS connection without I/O and without buffers, on rustls' unbuffered API: as the server, or as the client where
//! this server connects to another.
//!
//! Three peculiarities of that API shape this file:
//! - Any call may ask for a record to be encoded (a ticket, an answer to a KeyUpdate) before it
//!   does what it was called for, so each entry point is a loop; each is bounded.
//! - A handshake message that is split over records stays *in the caller's buffer*, and rustls
//!   remembers offsets into it. Calling rustls with a shorter buffer then panics. A peer could
//!   arrange that after the handshake, where a write lends an empty buffer: hence such a message
//!   ends the connection then (see [`TlsError::Fragmented`]).
//! - After an error rustls does not always refuse the next call, so this does.

use std::fmt;
use std::sync::Arc;

use auth::Binding;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use rustls::{ClientConfig, CommonState, ProtocolVersion, ServerConfig};

use super::capture::{self, Captured};

/// The header of a record: type, version, length (RFC 8446 section 5.1).
const RECORD_HEADER: usize = 5;

/// The most ciphertext that can stay unread with the caller, in bytes: one record of the largest
/// size of TLS 1.2 (RFC 5246 section 6.2.3). Also the bound on a handshake message in pieces: the
/// largest is the certificate of a client with its chain, which has a few kB.
pub const MAX_UNREAD: usize = RECORD_HEADER + 16_384 + 2_048;

/// The most plaintext in one record (RFC 8446 section 5.1).
const MAX_FRAGMENT: usize = 16_384;

/// Room for what encryption adds to a record: the header, and at most 8 bytes of explicit nonce,
/// 16 of tag, 1 of content type. Only a first guess, rustls says when it needs more.
const RECORD_OVERHEAD: usize = RECORD_HEADER + 25;

/// Room for a close_notify record.
const ALERT_ROOM: usize = RECORD_OVERHEAD + 2;

/// An unencrypted fatal decode_error alert (RFC 8446 sections 5.1 and 6.2).
const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// Steps of rustls' state machine that use up no input, in one call, before it counts as stuck.
/// The longest known run is the server's first flight with a large certificate chain.
const MAX_STEPS: usize = 64;

/// Why a connection cannot go on. After any of these but [`TlsError::NotEstablished`] every
/// further call fails.
#[derive(Debug)]
pub enum TlsError {
    /// What rustls found: a broken record, a failed handshake, an alert from the peer.
    Protocol(rustls::Error),
    /// A handshake message split over records after the handshake, or one larger than
    /// [`MAX_UNREAD`] during it.
    Fragmented,
    /// A write before the handshake was complete.
    NotEstablished,
    /// The connection failed before or was closed by this side.
    Closed,
    /// The keys have encrypted as much as they may (TLS 1.2 cannot change them).
    Exhausted,
    /// The caller did not keep the unread rest of what it lent before.
    InputLost,
    /// rustls made no progress.
    Stuck,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsError::Protocol(error) => write!(f, "{error}"),
            TlsError::Fragmented => f.write_str("a handshake message came in too many pieces"),
            TlsError::NotEstablished => f.write_str("the TLS handshake is not complete"),
            TlsError::Closed => f.write_str("the TLS connection is closed"),
            TlsError::Exhausted => f.write_str("the TLS keys are used up"),
            TlsError::InputLost => f.write_str("received TLS data was lost"),
            TlsError::Stuck => f.write_str("the TLS state machine made no progress"),
        }
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TlsError::Protocol(error) => Some(error),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// This side has sent close_notify.
    Closed,
    Failed,
}

/// rustls has a type for each side, and no trait over both.
enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl Side {
    fn common(&self) -> &CommonState {
        match self {
            Side::Server(conn) => conn,
            Side::Client(conn) => conn,
        }
    }
}

/// What is to be encrypted.
#[derive(Clone, Copy)]
enum Saying<'a> {
    Text(&'a [u8]),
    /// close_notify.
    End,
}

/// One side of one TLS connection.
pub struct Tls {
    conn: Box<Side>,
    /// Boxed, because it is dropped after the login of a session that stays for days.
    captured: Option<Box<Captured>>,
    /// Bytes the caller kept at the last [`Tls::read`].
    unread: u32,
    stage: Stage,
    peer_closed: bool,
}

impl Tls {
    /// A connection that waits for a ClientHello. `config` comes from
    /// [`server_config`](super::server_config).
    pub fn new(config: Arc<ServerConfig>) -> Result<Tls, TlsError> {
        let conn = UnbufferedServerConnection::new(config).map_err(TlsError::Protocol)?;
        Ok(Tls::of(Side::Server(conn)))
    }

    /// The client's side of a connection to `name`; its ClientHello is appended to `out`.
    pub fn to_server(config: Arc<ClientConfig>, name: ServerName<'static>, out: &mut Vec<u8>) -> Result<Tls, TlsError> {
        let conn = UnbufferedClientConnection::new(config, name).map_err(TlsError::Protocol)?;
        let mut tls = Tls::of(Side::Client(conn));
        tls.process(&mut [], &mut Vec::new(), out)?;
        Ok(tls)
    }

    fn of(side: Side) -> Tls {
        Tls {
            conn: Box::new(side),
            captured: None,
            unread: 0,
            stage: Stage::Open,
            peer_closed: false,
        }
    }

    /// Takes what is complete out of `incoming`, the ciphertext received and not yet used up.
    /// Plaintext is appended to `plain`, records to send to `out`.
    ///
    /// Returns how many bytes of `incoming` are used up. The caller drops these and must lend the
    /// rest, as it now is (it may have been decrypted in place), at the front of the next call.
    /// The rest is at most [`MAX_UNREAD`] bytes.
    ///
    /// On an error `out` may hold an alert that should still be sent; `plain` holds what arrived
    /// before. After [`Tls::close`], and after the peer's close_notify, everything is dropped
    /// unread.
    pub fn read(&mut self, incoming: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<usize, TlsError> {
        match self.stage {
            Stage::Open if self.peer_closed => return Ok(incoming.len()),
            Stage::Open => {}
            Stage::Closed => return Ok(incoming.len()),
            Stage::Failed => return Err(TlsError::Closed),
        }
        if incoming.len() < self.unread as usize {
            return Err(self.fail(TlsError::InputLost, out));
        }
        let used = match self.process(incoming, plain, out) {
            Ok(used) => used,
            Err(error) => return Err(self.fail(error, out)),
        };
        if self.peer_closed {
            self.unread = 0;
            return Ok(incoming.len());
        }
        let rest = &incoming[used..];
        if rest.len() > MAX_UNREAD || (self.is_established() && starts_with_a_record(rest)) {
            return Err(self.fail(TlsError::Fragmented, out));
        }
        self.unread = rest.len() as u32; // at most MAX_UNREAD
        Ok(used)
    }

    /// Runs rustls until it wants more input.
    fn process(&mut self, incoming: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<usize, TlsError> {
        let mut used = 0;
        let mut idle_steps = 0;
        while idle_steps < MAX_STEPS {
            let handshaking = self.conn.common().is_handshaking();
            if let Some(captured) = self.captured.as_deref().filter(|_| handshaking) {
                capture::go_on(captured);
            }
            let rest = &mut incoming[used..];
            let (discard, step) = match &mut *self.conn {
                Side::Server(conn) => take(conn.process_tls_records(rest), plain, out, &mut self.peer_closed),
                Side::Client(conn) => take(conn.process_tls_records(rest), plain, out, &mut self.peer_closed),
            };
            if handshaking {
                self.capture();
            }
            used += discard;
            if !step? {
                return Ok(used);
            }
            idle_steps = if discard > 0 { 0 } else { idle_steps + 1 };
        }
        Err(TlsError::Stuck)
    }

    /// Encrypts all of `plain`, in records of at most 16 kB, onto `out`. Whatever rustls had to
    /// send before (a KeyUpdate) goes first.
    pub fn write(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), TlsError> {
        if self.stage != Stage::Open {
            return Err(TlsError::Closed);
        }
        if !self.is_established() {
            return Err(TlsError::NotEstablished);
        }
        if plain.is_empty() {
            return Ok(());
        }
        let result = self.say(Saying::Text(plain), out);
        result.map_err(|error| self.fail(error, out))
    }

    /// Appends close_notify to `out`, once; nothing is read or written afterwards. Before the
    /// handshake is complete there is nothing to close and nothing is sent.
    pub fn close(&mut self, out: &mut Vec<u8>) {
        if self.stage != Stage::Open {
            return;
        }
        if self.is_established() {
            // A failure means that no alert can be sent either.
            let _ = self.say(Saying::End, out);
        }
        self.stage = Stage::Closed;
    }

    /// Brings rustls to the state in which it encrypts, and lets it encrypt there.
    fn say(&mut self, what: Saying<'_>, out: &mut Vec<u8>) -> Result<(), TlsError> {
        for _ in 0..MAX_STEPS {
            // An empty buffer is safe here: `read` lets no split handshake message stand.
            let is_said = match &mut *self.conn {
                Side::Server(conn) => encrypt(conn.process_tls_records(&mut []).state, what, out)?,
                Side::Client(conn) => encrypt(conn.process_tls_records(&mut []).state, what, out)?,
            };
            if is_said {
                return Ok(());
            }
        }
        Err(TlsError::Stuck)
    }

    /// Ends the connection with `error` and moves what rustls still wants to say to `out`.
    fn fail(&mut self, error: TlsError, out: &mut Vec<u8>) -> TlsError {
        self.stage = Stage::Failed;
        let said = out.len();
        // While there is something to send rustls looks at nothing else, in particular not at
        // the input, so that an empty buffer is safe even with a split message outstanding.
        while self.conn.common().wants_write() {
            let is_encoded = match &mut *self.conn {
                Side::Server(conn) => encode(conn.process_tls_records(&mut []).state, out),
                Side::Client(conn) => encode(conn.process_tls_records(&mut []).state, out),
            };
            if !is_encoded {
                break;
            }
        }
        // Not every error comes with an alert. Before the ServerHello one can be written by hand.
        let theirs = matches!(error, TlsError::Protocol(rustls::Error::AlertReceived(_)));
        if out.len() == said && self.version().is_none() && !theirs {
            out.extend(DECODE_ERROR);
        }
        error
    }

    fn capture(&mut self) {
        if let Some(newer) = capture::take() {
            self.captured.get_or_insert_default().merge(newer);
        }
    }

    /// Whether the handshake is complete in both directions.
    pub fn is_established(&self) -> bool {
        !self.conn.common().is_handshaking()
    }

    /// Whether the peer has sent close_notify: all it had to say was read.
    pub fn peer_closed(&self) -> bool {
        self.peer_closed
    }

    /// The application protocol agreed on (RFC 7301).
    pub fn alpn(&self) -> Option<&[u8]> {
        self.conn.common().alpn_protocol()
    }

    /// The name the client asked for (RFC 6066 section 3), in lower case. `None` after
    /// [`Tls::forget_binding`].
    pub fn server_name(&self) -> Option<&str> {
        self.captured.as_ref()?.server_name.as_deref()
    }

    /// The protocol version agreed on.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.conn.common().protocol_version()
    }

    /// The certificate that the peer showed and has the key of, and what it sent behind it. Nobody has vouched for a
    /// client's yet: see [`Certificates::client_addresses`](super::Certificates::client_addresses). Of a resumed session,
    /// what was shown in the one before.
    pub fn peer_chain(&self) -> &[CertificateDer<'static>] {
        match self.is_established() {
            true => self.conn.common().peer_certificates().unwrap_or_default(),
            false => &[],
        }
    }

    /// The cipher suite agreed on, for the log.
    pub fn cipher_suite(&self) -> Option<rustls::CipherSuite> {
        self.conn.common().negotiated_cipher_suite().map(|suite| suite.suite())
    }

    /// Version and cipher suite, for people.
    pub fn in_words(&self) -> Option<String> {
        let (version, suite) = (self.version()?, self.cipher_suite()?);
        let version = match version {
            ProtocolVersion::TLSv1_2 => "TLS 1.2".to_owned(),
            ProtocolVersion::TLSv1_3 => "TLS 1.3".to_owned(),
            other => format!("{other:?}"),
        };
        Some(format!(
            "{version}, {}",
            suite.as_str().unwrap_or("an unknown cipher suite")
        ))
    }

    /// What SASL may bind to. Empty before the handshake is complete and after
    /// [`Tls::forget_binding`].
    ///
    /// Over TLS 1.2 there is no `tls-exporter`: RFC 9266 section 4.2 wants the extended master
    /// secret for it, and clients use `tls-server-end-point` there.
    pub fn binding(&self) -> Binding {
        match &self.captured {
            Some(captured) if self.is_established() => Binding {
                exporter: captured.exporter,
                server_end_point: captured.end_point.as_deref().map(Vec::from),
            },
            _ => Binding::default(),
        }
    }

    /// Wipes and frees what [`Tls::binding`] and [`Tls::server_name`] tell. Call it when the
    /// login is over.
    pub fn forget_binding(&mut self) {
        self.captured = None;
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls")
            .field("version", &self.version())
            .field("established", &self.is_established())
            .finish_non_exhaustive()
    }
}

type Reached<'c, 'i, D> = Result<ConnectionState<'c, 'i, D>, rustls::Error>;

/// Does what a step of reading asks for. How much of the input is used up, and whether there is more to do.
fn take<D>(
    step: UnbufferedStatus<'_, '_, D>,
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
    peer_closed: &mut bool,
) -> (usize, Result<bool, TlsError>) {
    let UnbufferedStatus { mut discard, state } = step;
    let more = match state {
        Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
            match traffic.next_record() {
                Some(Ok(record)) => {
                    plain.extend_from_slice(record.payload);
                    discard += record.discard;
                }
                Some(Err(error)) => break Err(TlsError::Protocol(error)),
                None => break Ok(true),
            }
        },
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            append(out, 0, |room| data.encode(room).map_err(Shortage::from)).map(|()| true)
        }
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            // It is in `out`, which the caller sends or else drops with the connection.
            transmit.done();
            Ok(true)
        }
        Ok(ConnectionState::PeerClosed) => {
            *peer_closed = true;
            Ok(false)
        }
        // Early data is never accepted (`max_early_data_size` is 0), so the last of
        // these cannot come; it would hold data open to replay, which is not read.
        Ok(_) => Ok(false),
        Err(error) => Err(TlsError::Protocol(error)),
    };
    (discard, more)
}

/// A step on the way to encrypting. True: it is done.
fn encrypt<D>(state: Reached<'_, '_, D>, what: Saying<'_>, out: &mut Vec<u8>) -> Result<bool, TlsError> {
    match (state.map_err(TlsError::Protocol)?, what) {
        (ConnectionState::WriteTraffic(mut traffic), Saying::Text(plain)) => {
            let room = plain.len() + plain.len().div_ceil(MAX_FRAGMENT) * RECORD_OVERHEAD;
            append(out, room, |room| traffic.encrypt(plain, room).map_err(Shortage::from))?;
            Ok(true)
        }
        (ConnectionState::WriteTraffic(mut traffic), Saying::End) => {
            append(out, ALERT_ROOM, |room| {
                traffic.queue_close_notify(room).map_err(Shortage::from)
            })?;
            Ok(true)
        }
        (ConnectionState::EncodeTlsData(mut data), _) => {
            append(out, 0, |room| data.encode(room).map_err(Shortage::from))?;
            Ok(false)
        }
        (ConnectionState::TransmitTlsData(transmit), _) => {
            transmit.done();
            Ok(false)
        }
        _ => Err(TlsError::Stuck),
    }
}

/// Moves one record that rustls wants to send to `out`, if that is what it wants.
fn encode<D>(state: Reached<'_, '_, D>, out: &mut Vec<u8>) -> bool {
    match state {
        Ok(ConnectionState::EncodeTlsData(mut data)) => {
            append(out, 0, |room| data.encode(room).map_err(Shortage::from)).is_ok()
        }
        _ => false,
    }
}

/// Whether `rest` begins with a whole record. Where rustls left one, it has read it and keeps a
/// part of a handshake message in it.
fn starts_with_a_record(rest: &[u8]) -> bool {
    match rest {
        [_, _, _, high, low, body @ ..] => body.len() >= usize::from(u16::from_be_bytes([*high, *low])),
        _ => false,
    }
}

/// Why rustls could not write into the room it was given.
enum Shortage {
    Needs(usize),
    Failed(TlsError),
}

impl From<EncodeError> for Shortage {
    fn from(error: EncodeError) -> Shortage {
        match error {
            EncodeError::InsufficientSize(size) => Shortage::Needs(size.required_size),
            EncodeError::AlreadyEncoded => Shortage::Failed(TlsError::Stuck),
        }
    }
}

impl From<EncryptError> for Shortage {
    fn from(error: EncryptError) -> Shortage {
        match error {
            EncryptError::InsufficientSize(size) => Shortage::Needs(size.required_size),
            EncryptError::EncryptExhausted => Shortage::Failed(TlsError::Exhausted),
        }
    }
}

/// Lets `write` put bytes behind those in `out`: first into `room` bytes, and if these are too
/// few into as many as it asks for.
fn append(
    out: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Shortage>,
) -> Result<(), TlsError> {
    let start = out.len();
    // The second attempt has the room that was asked for; a third would mean it still lacks.
    for _ in 0..2 {
        out.resize(start + room, 0);
        match write(&mut out[start..]) {
            Ok(written) => {
                out.truncate(start + written);
                return Ok(());
            }
            Err(Shortage::Needs(needed)) => room = needed,
            Err(Shortage::Failed(error)) => {
                out.truncate(start);
                return Err(error);
            }
        }
    }
    out.truncate(start);
    Err(TlsError::Stuck)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_a_few_words() {
        assert!(size_of::<Tls>() <= 24, "{} bytes", size_of::<Tls>());
    }

    #[test]
    fn whole_records_are_told_from_partial_ones() {
        for (rest, whole) in [
            (&[][..], false),
            (&[22, 3, 3, 0][..], false),
            (&[22, 3, 3, 0, 0][..], true),
            (&[22, 3, 3, 0, 2, 1][..], false),
            (&[22, 3, 3, 0, 2, 1, 1][..], true),
            (&[22, 3, 3, 0, 2, 1, 1, 1][..], true),
            (&[22, 3, 3, 1, 0, 1, 1, 1][..], false),
        ] {
            assert_eq!(starts_with_a_record(rest), whole, "{rest:?}");
        }
    }
}
