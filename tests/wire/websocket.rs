//! XMPP over WebSocket (RFC 7395, RFC 6455), and the listener of HTTP around it (XEP-0156).

use std::net::Ipv4Addr;
use std::time::Duration;

use testkit::{Client, ConnectOptions, Item, Loss, Server, TIMEOUT, Transport, frame, handshake};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
const TEXT: u8 = 0x81;

fn open() -> Vec<u8> {
    frame(
        TEXT,
        format!("<open xmlns='{FRAMING}' to='example.org' version='1.0'/>").as_bytes(),
    )
}

/// A request of plain HTTP from an address of this machine, and the whole answer.
async fn http_from(server: &Server, from: Ipv4Addr, request: &str) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("an address of this machine");
    let mut stream = socket.connect((server.address(), 5280).into()).await.expect("reached");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    // A WebSocket does not end: what has come by then is the answer.
    let _ = tokio::time::timeout(Duration::from_millis(500), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn http(server: &Server, request: &str) -> String {
    http_from(server, Ipv4Addr::LOCALHOST, request).await
}

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
}

/// The examples of RFC 7395 sections 3.4 and 3.7, and that no TLS is offered (section 3.9).
#[tokio::test]
async fn a_stream_in_messages() {
    let server = Server::with_users(2);
    let (one, two) = (format!("{}/one", server.user()), format!("{}/two", server.user()));
    let mut one = Client::login(&server, Transport::WebSocket, &one).await;
    assert_eq!(one.alpn(), Some("http/1.1"));
    assert!(
        one.header.raw.starts_with(&format!("<open xmlns='{FRAMING}'")),
        "{:?}",
        one.header
    );
    assert_eq!(one.header.attr("from"), Some("example.org"));
    let mut two = Client::login(&server, Transport::Starttls, &two).await;
    let (jid_one, jid_two) = (one.jid.clone(), two.jid.clone());
    one.send(format!(
        "<message to='{jid_two}' type='chat' id='a'><body>&lt;hi&gt; ☃</body></message>"
    ))
    .await;
    two.expect(&format!(
        "<message from='{jid_one}' type='chat' id='a'><body>&lt;hi&gt; ☃</body></message>"
    ))
    .await;
    // Longer than one TLS record, either way.
    let body = "x".repeat(100_000);
    two.send(format!(
        "<message to='{jid_one}' type='chat' id='b'><body>{body}</body></message>"
    ))
    .await;
    one.expect(&format!(
        "<message from='{jid_two}' type='chat' id='b'><body>{body}</body></message>"
    ))
    .await;
    one.send(format!(
        "<message to='{jid_two}' type='chat' id='c'><body>{body}</body></message>"
    ))
    .await;
    two.expect(&format!(
        "<message from='{jid_one}' type='chat' id='c'><body>{body}</body></message>"
    ))
    .await;
    one.nothing_more().await;
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn no_tls_is_offered() {
    let server = Server::with_users(1);
    let mut client = Client::connect(&server, Transport::WebSocket).await;
    let features = client.open().await;
    assert!(
        features.children().all(|feature| feature.name() != "starttls"),
        "{features:?}"
    );
    client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
    client
        .expect("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        .await;
    client.expect_end().await;
}

/// Messages in parts, with a ping between them, and several in one write.
#[tokio::test]
async fn frames() {
    let server = Server::with_users(1);
    let jid = server.user();
    let mut client = Client::login(&server, Transport::WebSocket, &jid).await;
    let text = "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
    for size in [1, 7, 50] {
        let mut bytes = Vec::new();
        let parts: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        for (number, part) in parts.iter().enumerate() {
            let first = if number == 0 { 0x01 } else { 0x00 };
            let fin = if number + 1 == parts.len() { 0x80 } else { 0 };
            bytes.extend(frame(first | fin, part));
            bytes.extend(frame(0x89, &[number as u8]));
            // Nobody has asked for it; it is ignored (RFC 6455 section 5.5.3).
            bytes.extend(frame(0x8a, b"x"));
        }
        let pongs = client.pongs().len();
        client.send_raw(&bytes).await;
        client.expect("<iq type='result' id='p'/>").await;
        client.ping().await;
        // One for all that were read at once, the last.
        let pongs = &client.pongs()[pongs..];
        assert_eq!(pongs.last(), Some(&vec![(parts.len() - 1) as u8]), "{pongs:?}");
    }
    // A byte at a time.
    for byte in frame(TEXT, text.as_bytes()) {
        client.send_raw(&[byte]).await;
    }
    client.expect("<iq type='result' id='p'/>").await;
    // An XML declaration is not recommended, and allowed (RFC 7395 section 3.3.3).
    client
        .send_raw(&frame(TEXT, format!("<?xml version='1.0'?>{text}").as_bytes()))
        .await;
    client.expect("<iq type='result' id='p'/>").await;
    client.close().await;
}

/// A stream error, `<close/>`, the close frame with its code, and the end (RFC 7395 section 3.5, RFC 6455 section 7.1.7).
#[tokio::test]
async fn bad_frames() {
    let server = Server::with_users(30);
    let iq = "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
    let unmasked = [&[TEXT, iq.len() as u8][..], iq.as_bytes()].concat();
    let too_long = |first: u8| [&[first, 0xff, 0, 0, 0, 0][..], &300_000u32.to_be_bytes(), &[1, 2, 3, 4]].concat();
    let fragments = [frame(0x01, &[b'x'; 200_000]), too_long(0x80)].concat();
    let cases: Vec<(&str, Vec<u8>, &str, u16)> = vec![
        ("not masked", unmasked, "bad-format", 1002),
        ("a reserved bit", frame(0xc1, iq.as_bytes()), "bad-format", 1002),
        ("a reserved opcode", frame(0x83, iq.as_bytes()), "bad-format", 1002),
        ("a long ping", frame(0x89, &[0; 126]), "bad-format", 1002),
        ("a ping in parts", frame(0x09, b"x"), "bad-format", 1002),
        ("nothing to continue", frame(0x80, iq.as_bytes()), "bad-format", 1002),
        (
            "a message in a message",
            [frame(0x01, b"<a"), frame(TEXT, b"/>")].concat(),
            "bad-format",
            1002,
        ),
        ("a close frame of one byte", frame(0x88, &[3]), "bad-format", 1002),
        ("a close code that is none", frame(0x88, &[0, 1]), "bad-format", 1002),
        ("binary", frame(0x82, iq.as_bytes()), "bad-format", 1003),
        (
            "no UTF-8",
            frame(TEXT, b"<iq xmlns='jabber:client' id='\xff'/>"),
            "not-well-formed",
            1007,
        ),
        ("too long, by its header", too_long(TEXT), "policy-violation", 1009),
        ("too long, in parts", fragments, "policy-violation", 1009),
        // From here on it is a WebSocket in order, and the stream that is not.
        ("nothing", frame(TEXT, b""), "bad-format", 1000),
        ("white space", frame(TEXT, b" "), "bad-format", 1000),
        (
            "white space before it",
            frame(TEXT, format!(" {iq}").as_bytes()),
            "bad-format",
            1000,
        ),
        ("text", frame(TEXT, b"hello"), "bad-format", 1000),
        (
            "two elements",
            frame(TEXT, iq.repeat(2).as_bytes()),
            "not-well-formed",
            1000,
        ),
        (
            "half an element",
            frame(TEXT, b"<iq xmlns='jabber:client'>"),
            "not-well-formed",
            1000,
        ),
        ("a comment", frame(TEXT, b"<!-- c -->"), "restricted-xml", 1000),
        (
            "a comment before it",
            frame(TEXT, format!("<?xml version='1.0'?><!-- c -->{iq}").as_bytes()),
            "restricted-xml",
            1000,
        ),
        (
            "a document type",
            frame(TEXT, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a/>"),
            "restricted-xml",
            1000,
        ),
        (
            "no namespace",
            frame(TEXT, b"<iq type='get' id='p'/>"),
            "unsupported-stanza-type",
            1000,
        ),
        (
            "a stream header",
            frame(TEXT, b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>"),
            "not-well-formed",
            1000,
        ),
        (
            "an undeclared prefix",
            frame(TEXT, b"<stream:error/>"),
            "not-well-formed",
            1000,
        ),
        ("a second header", open(), "bad-format", 1000),
    ];
    for (name, bytes, condition, code) in cases {
        eprintln!("{name}");
        let jid = server.user();
        let mut client = Client::login(&server, Transport::WebSocket, &jid).await;
        client.send_raw(&bytes).await;
        client.expect_stream_error(condition).await;
        assert_eq!(client.close_code(), Some(code), "{name}");
    }
}

/// What is wrong with the first message (RFC 7395 sections 3.3.2 and 3.4; rows 7 to 10 of the faults).
#[tokio::test]
async fn bad_openings() {
    let server = Server::with_users(1);
    let cases = [
        (
            "<open xmlns='jabber:client' to='example.org' version='1.0'/>",
            "invalid-namespace",
        ),
        ("<open to='example.org' version='1.0'/>", "invalid-namespace"),
        (
            "<message xmlns='jabber:client' to='a@example.org'/>",
            "invalid-namespace",
        ),
        (
            "<opened xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'/>",
            "bad-format",
        ),
        (
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org'/>",
            "unsupported-version",
        ),
        (
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='0.9'/>",
            "unsupported-version",
        ),
        (
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' version='1.0'/>",
            "improper-addressing",
        ),
        (
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='elsewhere.example' version='1.0'/>",
            "host-unknown",
        ),
        (
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='example.org' version='1.0'>",
            "not-well-formed",
        ),
    ];
    for (text, condition) in cases {
        let mut client = Client::connect(&server, Transport::WebSocket).await;
        client.send_raw(&frame(TEXT, text.as_bytes())).await;
        client.expect_stream_error(condition).await;
    }
    // The limit before the login.
    let mut client = Client::connect(&server, Transport::WebSocket).await;
    client.open().await;
    client.send_raw(&[TEXT, 0xfe, 0x20, 0x01, 0, 0, 0, 0]).await;
    client.expect_stream_error("policy-violation").await;
    // A stream that ends before it has begun.
    let mut client = Client::connect(&server, Transport::WebSocket).await;
    client
        .send_raw(&frame(TEXT, format!("<close xmlns='{FRAMING}'/>").as_bytes()))
        .await;
    client.expect_end().await;
}

/// What comes with the request of HTTP is not lost.
#[tokio::test]
async fn a_hasty_client() {
    let server = Server::with_users(1);
    let tcp = Client::tcp(&server, Transport::WebSocket, ConnectOptions::default()).await;
    let mut client = tcp.expect("reached");
    client.start_tls().await.expect("TLS");
    let mut bytes = handshake("").into_bytes();
    bytes.extend(open());
    let answer = client.upgrade(&bytes).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    client.read_header().await;
    assert_eq!(client.stanza().await.name(), "features");
}

/// The close frame without `<close/>`: the stream is over, but may be resumed (section 3.6); on any transport.
#[tokio::test]
async fn a_stream_moves_between_transports() {
    let server = Server::with_users(3);
    for (number, (from, to)) in [
        (Transport::WebSocket, Transport::Direct),
        (Transport::Starttls, Transport::WebSocket),
        (Transport::WebSocket, Transport::WebSocket),
    ]
    .into_iter()
    .enumerate()
    {
        let jid = format!("{}/r", server.user());
        let mut client = Client::login(&server, from, &jid).await;
        client.enable().await;
        let session = client.session();
        if number == 0 {
            client.send_raw(&frame(0x88, &1001u16.to_be_bytes())).await;
            assert!(
                matches!(client.item().await, Item::End { clean: true }),
                "the close frame is answered"
            );
            assert_eq!(client.close_code(), Some(1001));
        } else {
            client.lose(Loss::Reset);
        }
        let mut client = Client::resume(&server, to, &session).await;
        client.ping().await;
        client.close().await;
    }
}

#[tokio::test]
async fn host_meta() {
    let server = Server::builder().users(1).domain("second.example").start();
    for (host, domain) in [
        ("example.org", "example.org"),
        ("SECOND.example:5280", "second.example"),
    ] {
        let answer = http(&server, &get("/.well-known/host-meta", host)).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let lower = answer.to_ascii_lowercase();
        assert!(lower.contains("access-control-allow-origin: *"), "{answer}");
        assert!(lower.contains("content-type: application/xrd+xml"), "{answer}");
        for link in [
            format!("<Link rel='urn:xmpp:alt-connections:websocket' href='wss://{domain}:5443/xmpp-websocket'/>"),
            format!("<Link rel='urn:xmpp:alt-connections:xbosh' href='https://{domain}:5443/http-bind'/>"),
        ] {
            assert!(answer.contains(&link), "{answer}");
        }
        let answer = http(&server, &get("/.well-known/host-meta.json", host)).await;
        let json = answer.split("\r\n\r\n").nth(1).expect("a body");
        assert_eq!(
            json,
            format!(
                r#"{{"links":[{{"href":"https://{domain}:5443/http-bind","rel":"urn:xmpp:alt-connections:xbosh"}},{{"href":"wss://{domain}:5443/xmpp-websocket","rel":"urn:xmpp:alt-connections:websocket"}}]}}"#
            )
        );
    }
    let check = async |request: &str, status: &str| {
        let answer = http(&server, request).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{request}: {answer}"
        );
    };
    check(&get("/.well-known/host-meta", "elsewhere.example"), "404").await;
    check(&get("/", "example.org"), "404").await;
    check(&get("/xmpp-websocket", "example.org"), "426").await;
    check(&get("/xmpp-websocket", "example.org").replace("GET", "POST"), "405").await;
    check(
        &get("/.well-known/host-meta", "example.org").replace("GET", "DELETE"),
        "405",
    )
    .await;
    check(
        &get("/.well-known/host-meta", "example.org").replace("GET", "HEAD"),
        "200",
    )
    .await;
    check(
        &get("/.well-known/host-meta", "example.org").replace("GET", "OPTIONS"),
        "204",
    )
    .await;
    check("GET / HTTP/1.1\r\nConnection: close\r\n\r\n", "400").await;
    check(
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: close\r\n\r\n",
        "400",
    )
    .await;
    check("<?xml version='1.0'?><stream:stream>\r\n\r\n", "400").await;
    check(
        &format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000)),
        "431",
    )
    .await;
}

#[tokio::test]
async fn a_public_address() {
    let server = Server::builder()
        .users(1)
        .http_toml("public_url = 'https://chat.example.org'\nwebsocket_path = '/ws'")
        .start();
    let answer = http(&server, &get("/.well-known/host-meta", "example.org")).await;
    assert!(answer.contains("href='wss://chat.example.org/ws'"), "{answer}");
    let answer = http(&server, &handshake("").replace("/xmpp-websocket", "/ws")).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[tokio::test]
async fn origins() {
    let server = Server::builder()
        .users(1)
        .http_toml("origins = ['https://chat.example']")
        .start();
    for (headers, status) in [
        ("", "101"),
        ("Origin: https://chat.example\r\n", "101"),
        ("Origin: https://evil.example\r\n", "403"),
        ("Origin: null\r\n", "403"),
    ] {
        let answer = http(&server, &handshake(headers)).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{headers}: {answer}"
        );
    }
}

/// What a proxy says counts if it is named, and only then.
#[tokio::test]
async fn proxies() {
    const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
    let server = Server::builder()
        .users(1)
        .limit("connections_before_login_per_address", 2)
        .http_toml("trusted_proxies = ['127.0.0.9']")
        .start();
    let answer = http_from(&server, PROXY, &handshake("")).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "whose request is it? {answer}");
    // Each client has its own limit, however many come by one proxy.
    let held = async |from: Ipv4Addr, client: &str| {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("an address of this machine");
        let mut stream = socket.connect((server.address(), 5280).into()).await.expect("reached");
        let request = handshake(&format!("X-Forwarded-For: {client}\r\nX-Forwarded-Proto: https\r\n"));
        stream.write_all(request.as_bytes()).await.expect("written");
        stream.write_all(&open()).await.expect("written");
        let mut seen = Vec::new();
        let read = async {
            let mut space = [0; 4096];
            while !String::from_utf8_lossy(&seen).contains("</stream:features>") {
                match stream.read(&mut space).await {
                    Ok(count) if count > 0 => seen.extend_from_slice(&space[..count]),
                    _ => return,
                }
            }
        };
        tokio::time::timeout(TIMEOUT, read).await.expect("an answer");
        (stream, String::from_utf8_lossy(&seen).into_owned())
    };
    let (_one, seen) = held(PROXY, "192.0.2.1").await;
    assert!(seen.contains(">PLAIN<"), "TLS is there, with the proxy: {seen}");
    let (_two, seen) = held(PROXY, "192.0.2.1").await;
    assert!(seen.contains("</stream:features>"), "{seen}");
    let (_three, seen) = held(PROXY, "192.0.2.1").await;
    assert!(!seen.contains("</stream:features>"), "one too many: {seen}");
    let (_four, seen) = held(PROXY, "192.0.2.2").await;
    assert!(seen.contains("</stream:features>"), "{seen}");
    // Somebody else may say what he likes.
    let (_five, seen) = held(Ipv4Addr::LOCALHOST, "192.0.2.1").await;
    assert!(
        seen.contains("</stream:features>"),
        "counted by its own address: {seen}"
    );
    assert!(!seen.contains(">PLAIN<"), "and not secured: {seen}");
}

/// A client that is slow, in the handshake of TLS, in the request or behind it, has one deadline.
#[tokio::test]
async fn slow_clients() {
    let server = Server::builder().users(1).limit("negotiation_seconds", 1).start();
    let end = async |bytes: &[u8]| {
        let mut stream = tokio::net::TcpStream::connect((server.address(), 5280))
            .await
            .expect("reached");
        stream.write_all(bytes).await.expect("written");
        let mut seen = Vec::new();
        let _ = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut seen))
            .await
            .expect("it ends");
        String::from_utf8_lossy(&seen).into_owned()
    };
    assert_eq!(end(b"").await, "");
    assert_eq!(end(b"GET / HT").await, "");
    assert!(
        end(get("/", "a").replace("close", "keep-alive").as_bytes())
            .await
            .starts_with("HTTP/1.1 404 ")
    );
    let seen = end(handshake("").as_bytes()).await;
    assert!(seen.contains("<connection-timeout "), "{seen}");
    let mut client = Client::connect(&server, Transport::WebSocket).await;
    client.open().await;
    client.expect_stream_error("connection-timeout").await;
    let tcp = Client::tcp(&server, Transport::WebSocket, ConnectOptions::default())
        .await
        .expect("reached");
    let mut tcp = tcp;
    assert!(matches!(tcp.item().await, Item::End { .. }), "no handshake of TLS");
    drop(tcp);
}

#[tokio::test]
async fn shutdown() {
    let mut server = Server::with_users(1);
    let jid = server.user();
    let mut bound = Client::login(&server, Transport::WebSocket, &jid).await;
    let mut opened = Client::opened(&server, Transport::WebSocket).await;
    // One that has asked for something, and keeps the connection.
    let mut idle = tokio::net::TcpStream::connect((server.address(), 5280))
        .await
        .expect("reached");
    idle.write_all(get("/", "a").replace("close", "keep-alive").as_bytes())
        .await
        .expect("written");
    let mut space = [0; 4096];
    assert!(idle.read(&mut space).await.expect("an answer") > 0);
    server.sigterm();
    bound.expect_stream_error("system-shutdown").await;
    opened.expect_stream_error("system-shutdown").await;
    assert_eq!(bound.close_code(), Some(1000));
    let status = server.wait(Duration::from_secs(5)).expect("it ends in time");
    assert!(status.success(), "{status}");
}

/// Bytes of memory of an idle session.
pub(crate) async fn cost_of_an_idle_session(transport: Transport, count: usize) -> u64 {
    let server = Server::builder().users(count + 50).start();
    // What the first sessions need, and what the allocator takes.
    let mut sessions = Vec::new();
    for _ in 0..50 {
        sessions.push(Client::online(&server, transport, &server.user()).await);
    }
    let before = server.rss();
    for _ in 0..count {
        sessions.push(Client::online(&server, transport, &server.user()).await);
    }
    server.rss().saturating_sub(before) / count as u64
}

/// What an idle session costs is no more than one and a half times what one over TCP does.
#[tokio::test]
async fn idle_sessions_cost_little() {
    const COUNT: usize = 300;
    let tcp = cost_of_an_idle_session(Transport::Direct, COUNT).await;
    let web = cost_of_an_idle_session(Transport::WebSocket, COUNT).await;
    eprintln!("bytes of an idle session over direct TLS and over WebSocket: {tcp}, {web}");
    assert!(
        web * 2 <= tcp * 3,
        "bytes of an idle session over TCP and over WebSocket: {tcp}, {web}"
    );
}
