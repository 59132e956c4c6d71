//! A connection to a directory (RFC 4511): one question at a time, and its answer.
//!
//! Written here and not taken from a crate ([why](../../../../docs/decisions/0020-own-client-of-ldap.md)): what a
//! directory says is bounded, and nothing that it says ends the process.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::str::FromStr;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::ber::{self, BOOLEAN, ENUMERATED, Elements, INTEGER, OCTETS, SEQUENCE, application, context, malformed};

/// The longest message of a directory in bytes. No attribute is asked for, so they are short.
const MESSAGE_BYTES: usize = 64 * 1024;
/// Messages to one question: entries, and references to other directories, of which Active Directory sends some always.
const MESSAGES: usize = 64;
/// Of what a directory says for people, the log shows so many bytes.
const TEXT_BYTES: usize = 200;
/// Attributes of an entry: none (RFC 4511 section 4.5.1.8).
const NO_ATTRIBUTES: &[u8] = b"1.1";
/// The name of StartTLS (section 4.14.1).
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

/// The tags of what is asked and answered (section 4.2 and the following).
const BIND: u8 = application(0);
const BOUND: u8 = application(1);
const SEARCH: u8 = application(3);
const ENTRY: u8 = application(4);
const SEARCHED: u8 = application(5);
const REFERENCE: u8 = application(19);
const EXTENDED: u8 = application(23);
const EXTENDED_ANSWER: u8 = application(24);
const INTERMEDIATE: u8 = application(25);

/// `ldap://host[:port]` or `ldaps://host[:port]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// TLS from the first byte.
    pub(super) is_tls: bool,
    /// Without the brackets of IPv6.
    pub(super) host: String,
    pub(super) port: u16,
}

impl Address {
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Whether it is this machine: what is sent there crosses no network.
    pub fn is_local(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        self.host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.to_canonical().is_loopback())
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let wrong = || format!("`{text}` is not the address of a directory, such as ldaps://ldap.example.org");
        let (scheme, authority) = text.split_once("://").ok_or_else(wrong)?;
        let (is_tls, port) = match scheme {
            "ldaps" => (true, 636),
            "ldap" => (false, 389),
            _ => return Err(wrong()),
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, digits)) if !digits.contains(']') => (host, digits.parse().map_err(|_| wrong())?),
            _ => (authority, port),
        };
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inside) if inside.contains(':') && inside.parse::<IpAddr>().is_ok() => inside,
            Some(_) => return Err(wrong()),
            None => host,
        };
        let is_address = host.parse::<IpAddr>().is_ok();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if host.is_empty() || port == 0 || !is_address && !host.bytes().all(is_name) {
            return Err(wrong());
        }
        Ok(Address {
            is_tls,
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "ldaps" } else { "ldap" };
        if self.host.contains(':') {
            write!(out, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Where an entry is looked for.
#[derive(Clone, Copy)]
pub(super) enum Scope {
    /// The entry itself.
    Base = 0,
    /// It, and everything below.
    Subtree = 2,
}

/// A question. Wiped after use: it may hold a password.
pub(super) struct Request(Zeroizing<Vec<u8>>);

/// Where the number of the message stands, behind two headers.
const NUMBER_AT: std::ops::Range<usize> = 12..16;
/// Everything in a question but what is given.
const OVERHEAD_BYTES: usize = 128;

impl Request {
    /// `content`: how many bytes will be given, so that the text is never moved and no copy is left behind.
    fn new(content: usize, operation: u8, write: impl FnOnce(&mut Vec<u8>)) -> Request {
        let mut out = Zeroizing::new(Vec::with_capacity(OVERHEAD_BYTES + content));
        let message = ber::open(&mut out, SEQUENCE);
        ber::put_number(&mut out, INTEGER, 0);
        let begin = ber::open(&mut out, operation);
        write(&mut out);
        ber::close(&mut out, begin);
        ber::close(&mut out, message);
        Request(out)
    }

    /// Section 4.2.
    pub(super) fn bind(name: &[u8], password: &[u8]) -> Request {
        Request::new(name.len() + password.len(), BIND, |out| {
            ber::put_number(out, INTEGER, 3);
            ber::put(out, OCTETS, name);
            ber::put(out, context(0), password);
        })
    }

    /// Section 4.5. Aliases are not followed. `most`: entries.
    pub(super) fn search(
        base: &[u8],
        scope: Scope,
        most: u8,
        seconds: i32,
        filter: impl FnOnce(&mut Vec<u8>),
    ) -> Request {
        Request::new(base.len(), SEARCH, |out| {
            ber::put(out, OCTETS, base);
            ber::put(out, ENUMERATED, &[scope as u8]);
            ber::put(out, ENUMERATED, &[0]);
            ber::put_number(out, INTEGER, most.into());
            ber::put_number(out, INTEGER, seconds);
            ber::put(out, BOOLEAN, &[0]);
            filter(out);
            let attributes = ber::open(out, SEQUENCE);
            ber::put(out, OCTETS, NO_ATTRIBUTES);
            ber::close(out, attributes);
        })
    }

    fn start_tls() -> Request {
        Request::new(0, EXTENDED, |out| ber::put(out, context(0), START_TLS))
    }

    fn number(&mut self, number: u32) {
        self.0[NUMBER_AT].copy_from_slice(&number.to_be_bytes());
    }
}

/// What came of a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Section 4.1.9.
    pub(super) code: u32,
    /// What the directory says of it, for people.
    pub(super) text: String,
    /// The names of the entries that were found.
    pub(super) entries: Vec<Vec<u8>>,
}

impl fmt::Display for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "result {}", self.code)?;
        if !self.text.is_empty() {
            write!(out, " ({})", self.text)?;
        }
        Ok(())
    }
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What tells how TLS begins, if it does.
pub(super) struct Tls {
    pub(super) connector: TlsConnector,
    pub(super) name: ServerName<'static>,
}

pub(super) struct Connection<S = Box<dyn Stream>> {
    stream: S,
    /// Of the last question.
    number: u32,
    input: Vec<u8>,
}

impl Connection {
    /// `tls`: at once for `ldaps`, else by StartTLS.
    pub(super) async fn open(address: &Address, tls: Option<&Tls>) -> io::Result<Connection> {
        let mut stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
        stream.set_nodelay(true)?;
        let Some(Tls { connector, name }) = tls else {
            return Ok(Connection::over(Box::new(stream)));
        };
        if !address.is_tls {
            let mut clear = Connection::over(&mut stream);
            let answer = clear.ask(Request::start_tls()).await?;
            if answer.code != 0 {
                return Err(io::Error::other(format!("it begins no TLS: {answer}")));
            }
            // Somebody on the way said it in the directory's name.
            if !clear.input.is_empty() {
                return Err(malformed());
            }
        }
        let stream = connector.connect(name.clone(), stream).await?;
        Ok(Connection::over(Box::new(stream)))
    }
}

impl<S: Stream> Connection<S> {
    fn over(stream: S) -> Connection<S> {
        Connection {
            stream,
            number: 0,
            input: Vec::new(),
        }
    }

    /// After an error, or if it is not awaited to its end, the connection is of no more use.
    pub(super) async fn ask(&mut self, mut request: Request) -> io::Result<Answer> {
        self.number += 1;
        request.number(self.number);
        self.stream.write_all(&request.0).await?;
        self.stream.flush().await?;
        let mut entries = Vec::new();
        for _ in 0..MESSAGES {
            let message = self.message().await?;
            let mut message = Elements(&message);
            let number = message.number(INTEGER)?;
            let (operation, content) = message.next()?;
            if number == 0 {
                // Section 4.4.1.
                return Err(io::Error::other("it ends the connection"));
            }
            if number != self.number {
                return Err(malformed());
            }
            let mut content = Elements(content);
            match operation {
                ENTRY => entries.push(content.expect(OCTETS)?.to_vec()),
                // Nobody is asked who was not named in the configuration.
                REFERENCE | INTERMEDIATE => {}
                BOUND | SEARCHED | EXTENDED_ANSWER => {
                    let code = content.number(ENUMERATED)?;
                    content.expect(OCTETS)?;
                    let text = content.expect(OCTETS)?;
                    let text = String::from_utf8_lossy(&text[..text.len().min(TEXT_BYTES)]);
                    return Ok(Answer {
                        code,
                        text: text.trim_end_matches(['\0', '\u{fffd}']).to_owned(),
                        entries,
                    });
                }
                _ => return Err(malformed()),
            }
        }
        Err(io::Error::other("its answer does not end"))
    }

    /// The content of the next one.
    async fn message(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some((tag, begin, length)) = ber::header(&self.input)? {
                if tag != SEQUENCE || length > MESSAGE_BYTES {
                    return Err(malformed());
                }
                if let Some(content) = self.input.get(begin..begin + length) {
                    let content = content.to_vec();
                    self.input.drain(..begin + length);
                    return Ok(content);
                }
            }
            if self.stream.read_buf(&mut self.input).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_address() {
        let check = |text: &str, shown: &str, is_tls: bool, is_local: bool| {
            let address: Address = text.parse().expect(text);
            assert_eq!(address.to_string(), shown, "{text}");
            assert_eq!((address.is_tls(), address.is_local()), (is_tls, is_local), "{text}");
        };
        check("ldap://a.example.org", "ldap://a.example.org:389", false, false);
        check("ldaps://a.example.org/", "ldaps://a.example.org:636", true, false);
        check("ldap://localhost:3890", "ldap://localhost:3890", false, true);
        check("ldap://127.0.0.1", "ldap://127.0.0.1:389", false, true);
        check("ldap://[::1]", "ldap://[::1]:389", false, true);
        check("ldaps://[2001:db8::1]:1636", "ldaps://[2001:db8::1]:1636", true, false);
        for text in [
            "",
            "a.example.org",
            "http://a.example.org",
            "ldap://",
            "ldap://:389",
            "ldap://a:b",
            "ldap://a:0",
            "ldap://a/dc=org",
            "ldap://u:p@a",
            "ldap://[a]",
            "ldap://[127.0.0.1]",
            "ldap://2001:db8::1",
            "ldapi:///run/x",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    fn message(number: u8, operation: u8, content: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let begin = ber::open(&mut out, SEQUENCE);
        ber::put(&mut out, INTEGER, &[number]);
        ber::put(&mut out, operation, content);
        ber::close(&mut out, begin);
        out
    }

    fn result(code: u8, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        ber::put(&mut out, ENUMERATED, &[code]);
        ber::put(&mut out, OCTETS, b"");
        ber::put(&mut out, OCTETS, text);
        out
    }

    /// What a bind gets from a directory that says this, and then no more.
    async fn told(said: &[u8]) -> io::Result<Answer> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        theirs.write_all(said).await.expect("room");
        theirs.shutdown().await.expect("open");
        Connection::over(ours).ask(Request::bind(b"cn=a", b"secret")).await
    }

    #[tokio::test]
    async fn an_answer_is_read_whatever_stands_before_it() {
        let entry = |name: &[u8]| {
            let mut content = Vec::new();
            ber::put(&mut content, OCTETS, name);
            ber::put(&mut content, SEQUENCE, b"");
            message(1, ENTRY, &content)
        };
        let said = [
            entry(b"cn=a"),
            message(1, REFERENCE, &[OCTETS, 1, b'x']),
            entry(b"cn=b"),
            message(1, SEARCHED, &result(4, b"too many")),
        ];
        let answer = told(&said.concat()).await.expect("an answer");
        assert_eq!((answer.code, answer.to_string().as_str()), (4, "result 4 (too many)"));
        assert_eq!(answer.entries, [b"cn=a", b"cn=b"]);
        // Not UTF-8, and with the zero at the end of Active Directory.
        let answer = told(&message(1, BOUND, &result(49, b"f\xfcr\0")))
            .await
            .expect("an answer");
        assert_eq!((answer.code, answer.text.as_str()), (49, "f\u{fffd}r"));
    }

    #[tokio::test]
    async fn what_is_no_answer_is_an_error() {
        let mut long = vec![SEQUENCE, 0x84, 0, 1, 0, 1];
        long.resize(1 << 17, 0);
        for (what, said) in [
            ("nothing", vec![]),
            ("an empty message", vec![SEQUENCE, 0]),
            ("an empty answer", message(1, BOUND, b"")),
            ("one without texts", message(1, BOUND, &[ENUMERATED, 1, 0])),
            ("one to something else", message(2, BOUND, &result(0, b""))),
            ("a notice", message(0, EXTENDED_ANSWER, &result(0, b""))),
            ("a question", message(1, BIND, b"")),
            ("another protocol", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
            ("a message that is too long", long),
            ("no end", message(1, REFERENCE, b"").repeat(MESSAGES)),
        ] {
            assert!(told(&said).await.is_err(), "{what}");
        }
        // Whatever is changed or missing.
        let whole = message(1, BOUND, &result(0, b"text"));
        for at in 0..whole.len() {
            assert!(told(&whole[..at]).await.is_err(), "the first {at} bytes");
            for byte in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = told(&changed).await;
            }
        }
    }

    #[tokio::test]
    async fn each_question_has_its_number() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let mut connection = Connection::over(ours);
        for number in 1..=3_u8 {
            theirs
                .write_all(&message(number, BOUND, &result(0, b"")))
                .await
                .expect("room");
            connection.ask(Request::bind(b"", b"")).await.expect("an answer");
            let mut sent = vec![0; Request::bind(b"", b"").0.len()];
            theirs.read_exact(&mut sent).await.expect("a question");
            let mut elements = Elements(&sent);
            let mut elements = Elements(elements.expect(SEQUENCE).expect("a message"));
            assert_eq!(elements.number(INTEGER).expect("its number"), u32::from(number));
        }
    }
}
