//! One port for direct TLS and for HTTPS (XEP-0368): what a client speaks is told by ALPN, or by what it says first.

use std::net::Ipv4Addr;
use std::time::Duration;

use testkit::{Binding, Client, ConnectOptions, Item, Line, Server, TIMEOUT, Transport, handshake, password_of};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PORT: u16 = 7443;
const OPENING: &str = "<?xml version='1.0'?><stream:stream to='example.org' version='1.0' xmlns='jabber:client' \
                       xmlns:stream='http://etherx.jabber.org/streams'>";

fn server() -> testkit::Builder {
    Server::builder().listener("multiplex", PORT, "")
}

/// `alpn`: None for what belongs to the transport.
fn options(alpn: Option<&[&'static str]>) -> ConnectOptions {
    ConnectOptions {
        port: Some(PORT),
        alpn: alpn.map(<[_]>::to_vec),
        ..ConnectOptions::default()
    }
}

/// A connection under TLS that has said nothing yet.
async fn secured(server: &Server, alpn: &[&'static str]) -> Client {
    Client::connect_with(server, Transport::Direct, options(Some(alpn)))
        .await
        .expect("the server can be reached")
}

/// What a client of each kind offers, and what becomes of it.
const OFFERS: [(Transport, &[&str], Option<&str>); 8] = [
    (Transport::Direct, &["xmpp-client"], Some("xmpp-client")),
    (Transport::Direct, &["http/1.1", "xmpp-client"], Some("xmpp-client")),
    (Transport::Direct, &[], None),
    (Transport::WebSocket, &["http/1.1"], Some("http/1.1")),
    (Transport::WebSocket, &["h2", "http/1.1"], Some("http/1.1")),
    (Transport::WebSocket, &[], None),
    (Transport::Bosh, &["http/1.1"], Some("http/1.1")),
    (Transport::Bosh, &[], None),
];

#[tokio::test]
async fn sessions_of_every_kind_on_one_port() {
    let server = server().users(OFFERS.len() + 1).start();
    let hub = format!("{}/hub", server.user());
    let mut hub = Client::login(&server, Transport::Starttls, &hub).await;
    let hub_jid = hub.jid.clone();
    for (transport, alpn, agreed) in OFFERS {
        let jid = format!("{}/one", server.user());
        let mut client = Client::login_with(&server, transport, &jid, options(Some(alpn))).await;
        if transport != Transport::Bosh {
            assert_eq!(client.alpn(), agreed, "{transport:?} {alpn:?}");
        }
        // More than one record of TLS, either way.
        let body = "x".repeat(40_000);
        client
            .send(format!("<message to='{hub_jid}' id='a'><body>{body}</body></message>"))
            .await;
        hub.expect(&format!("<message from='{jid}' id='a'><body>{body}</body></message>"))
            .await;
        hub.send(format!("<message to='{jid}' id='b'><body>{body}</body></message>"))
            .await;
        client
            .expect(&format!(
                "<message from='{hub_jid}' id='b'><body>{body}</body></message>"
            ))
            .await;
        client.close().await;
    }
}

/// What a login is bound to is that of the one TLS channel.
#[tokio::test]
async fn logins() {
    let server = server().users(1).start();
    let jid = server.user();
    let (name, _) = jid.split_once('@').expect("an address");
    let password = password_of(&jid);
    for (transport, alpn, _) in OFFERS {
        if transport == Transport::Bosh {
            continue;
        }
        for (mechanism, binding) in [
            ("SCRAM-SHA-256-PLUS", Binding::Exporter),
            ("SCRAM-SHA-256-PLUS", Binding::EndPoint),
            ("SCRAM-SHA-1", Binding::None),
        ] {
            let mut client = Client::secured_with(&server, transport, options(Some(alpn))).await;
            client.open().await;
            let wrong = client.scram_as(mechanism, name, "wrong", &binding).await;
            assert_eq!(wrong.name(), "failure", "{transport:?} {alpn:?} {mechanism}");
            let right = client.scram_as(mechanism, name, &password, &binding).await;
            assert_eq!(right.name(), "success", "{transport:?} {alpn:?} {mechanism}");
        }
    }
}

#[tokio::test]
async fn host_meta() {
    let server = server().start();
    for alpn in [&["http/1.1"][..], &[]] {
        let mut line = Line::open_with(&server, options(Some(alpn))).await.expect("reached");
        for path in ["host-meta", "host-meta.json"] {
            let request = format!("GET /.well-known/{path} HTTP/1.1\r\nHost: example.org\r\n\r\n");
            line.send(request.as_bytes()).await;
            let answer = line.answer().await;
            assert_eq!(answer.status(), "200", "{answer:?}");
            // The first of the listeners that serve it.
            assert!(
                answer
                    .body
                    .contains(&format!("wss://example.org:{PORT}/xmpp-websocket")),
                "{answer:?}"
            );
        }
    }
}

#[tokio::test]
async fn an_unknown_protocol_is_refused_in_the_handshake() {
    let server = server().start();
    for alpn in [&["h2"][..], &["xmpp-server"], &["h2", "xmpp-server"]] {
        let refused = Client::connect_with(&server, Transport::Direct, options(Some(alpn))).await;
        let error = refused.err().expect("refused").to_string();
        // RFC 7301 section 3.2.
        assert!(error.contains("NoApplicationProtocol"), "{alpn:?}: {error}");
    }
}

/// All that a connection says reaches the server in pieces of one byte.
async fn dribbling(server: &Server) -> u16 {
    let target = (server.address(), PORT);
    let listener = TcpListener::bind((server.address(), 0)).await.expect("bound");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(target).await.expect("reached");
            upstream.set_nodelay(true).expect("a socket");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = upstream.into_split();
            tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
            tokio::spawn(async move {
                while let Ok(byte) = from_client.read_u8().await {
                    if to_server.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
    });
    port
}

#[tokio::test]
async fn byte_by_byte() {
    let server = server().users(OFFERS.len()).start();
    let port = dribbling(&server).await;
    for (transport, alpn, _) in OFFERS {
        let jid = format!("{}/one", server.user());
        let options = ConnectOptions {
            port: Some(port),
            ..options(Some(alpn))
        };
        let mut client = Client::login_with(&server, transport, &jid, options).await;
        client.ping().await;
    }
    // Each in a record of its own.
    for alpn in [&["xmpp-client"][..], &[]] {
        let mut client = secured(&server, alpn).await;
        for byte in OPENING.as_bytes() {
            client.send_raw(&[*byte]).await;
        }
        client.read_header().await;
        assert_eq!(client.stanza().await.name(), "features");
    }
    for alpn in [&["http/1.1"][..], &[]] {
        let mut client = secured(&server, alpn).await;
        let request = handshake("");
        let (last, first) = request.as_bytes().split_last().expect("a request");
        for byte in first {
            client.send_raw(&[*byte]).await;
        }
        let answer = client.upgrade(&[*last]).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    }
}

/// The blanks that a stream may begin with are no request.
#[tokio::test]
async fn a_stream_behind_blanks() {
    let server = server().start();
    for blank in [" ", "\n", "\r\n\t "] {
        for port in [5223, PORT] {
            let options = ConnectOptions {
                port: Some(port),
                ..options(Some(&[]))
            };
            let mut client = Client::connect_with(&server, Transport::Direct, options)
                .await
                .expect("reached");
            let opening = OPENING.replace("<?xml version='1.0'?>", blank);
            client.send(opening).await;
            client.read_header().await;
            assert_eq!(client.stanza().await.name(), "features", "{blank:?} {port}");
        }
    }
}

/// What is neither is told as on the ports of one of them.
#[tokio::test]
async fn garbage_under_tls() {
    let server = server().start();
    for alpn in [&["xmpp-client"][..], &[]] {
        for garbage in [&b"\0\x01\x02"[..], b"\x16\x03\x01\x02", b"{}", b"1", b"\xff\xff"] {
            let mut conditions = Vec::new();
            for port in [5223, PORT] {
                let options = ConnectOptions {
                    port: Some(port),
                    ..options(Some(alpn))
                };
                let client = Client::connect_with(&server, Transport::Direct, options).await;
                let mut client = client.expect("the server can be reached");
                client.send_raw(garbage).await;
                client.send_raw(b"<a/>").await;
                client.read_header().await;
                let error = client.stanza().await;
                assert_eq!(error.name(), "error", "{error:?}");
                conditions.push(error.condition().map(str::to_owned));
                client.expect_end().await;
            }
            assert!(
                conditions[0].is_some() && conditions[0] == conditions[1],
                "{conditions:?}"
            );
        }
    }
    // Who has agreed on XMPP is told in XMPP.
    let mut client = secured(&server, &["xmpp-client"]).await;
    client.send_raw(b"GET / HTTP/1.1\r\n\r\n").await;
    client.expect_stream_error("not-well-formed").await;
    for (alpn, garbage) in [
        (&["http/1.1"][..], &b"<stream:stream>\r\n\r\n"[..]),
        (&["http/1.1"], b"\0\0\r\n\r\n"),
        (&[], b"EHLO example.org\r\n\r\n"),
        (&[], b"SSH-2.0-x\r\n\r\n"),
    ] {
        let mut client = secured(&server, alpn).await;
        let answer = client.upgrade(garbage).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

/// What a port says to bytes in the clear, up to its end.
async fn answer(server: &Server, port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect((server.address(), port)).await.expect("reached");
    stream.write_all(bytes).await.expect("written");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut answer)).await;
    read.expect("the connection is ended").expect("in good order");
    answer
}

#[tokio::test]
async fn without_tls_nothing_is_spoken() {
    let server = server().start();
    let request = handshake("");
    for bytes in [
        request.as_bytes(),
        OPENING.as_bytes(),
        b"\r\n\r\n\0\r\nQUIT\n and what follows it",
        b"\0\0\0\0\0\0\0\0\0",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        // A record that is no handshake.
        b"\x17\x03\x03\0\x05hello",
        // SSL 2.
        b"\x80\x2e\x01\0\x02\0\x15\0\0\0\x10",
    ] {
        let said = answer(&server, PORT, bytes).await;
        let what = String::from_utf8_lossy(bytes);
        // An alert, and a fatal one (RFC 8446 section 6).
        assert_eq!(said.first(), Some(&21), "{what}");
        assert_eq!(said.get(5), Some(&2), "{what}");
        assert_eq!(said, answer(&server, 5223, bytes).await, "{what}");
    }
}

#[tokio::test]
async fn who_says_nothing_is_dropped() {
    let server = server().limit("negotiation_seconds", 1).start();
    // Before and in the handshake nothing can be said.
    for bytes in [&b""[..], b"\x16\x03\x01\x02\0\x01\0"] {
        assert_eq!(answer(&server, PORT, bytes).await, b"");
    }
    for (alpn, said) in [
        (&["xmpp-client"][..], &b""[..]),
        (&[], b""),
        (&["xmpp-client"], b"<"),
        (&[], b"<"),
        (&[], b" "),
        (&[], OPENING.as_bytes()),
    ] {
        let mut client = secured(&server, alpn).await;
        client.send_raw(said).await;
        if said.len() > 1 {
            client.read_header().await;
        }
        client.expect_stream_error("connection-timeout").await;
    }
    for (alpn, said) in [
        (&["http/1.1"][..], &b""[..]),
        (&["http/1.1"], b"G"),
        (&[], b"GET / HTTP/1.1\r\n"),
    ] {
        let mut client = secured(&server, alpn).await;
        client.send_raw(said).await;
        match client.item().await {
            Item::End { .. } => {}
            other => client.fail(&format!("the end expected, {other:?} came")),
        }
    }
}

/// One address has as much here as on any port, and a login gives it back.
#[tokio::test]
async fn an_address_has_its_share() {
    let server = server()
        .users(2)
        .limit("connections_before_login_per_address", 2)
        .start();
    let from = |last, alpn: &[&'static str]| ConnectOptions {
        from: Some(Ipv4Addr::new(127, 0, 1, last)),
        ..options(Some(alpn))
    };
    for (number, (transport, alpn)) in [(Transport::Direct, &[][..]), (Transport::WebSocket, &[])]
        .into_iter()
        .enumerate()
    {
        let address = 1 + number as u8;
        let silent = Client::connect_with(&server, Transport::Direct, from(address, alpn)).await;
        let silent = silent.expect("let in");
        let user = format!("{}/one", server.user());
        let mut inside = Client::login_with(&server, transport, &user, from(address, alpn)).await;
        let other = Client::connect_with(&server, Transport::Direct, from(address, alpn)).await;
        let other = other.expect("let in, as one has logged in");
        let refused = Client::connect_with(&server, Transport::Direct, from(address, alpn)).await;
        assert!(refused.is_err(), "a third that is not logged in was let in");
        drop((silent, other));
        inside.ping().await;
    }
}

/// Nobody waits for a first word, and what was opened is not left open.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_first_byte() {
    let mut server = server().start();
    let mut clients = Vec::new();
    for alpn in [&["xmpp-client"][..], &["http/1.1"], &[]] {
        clients.push(secured(&server, alpn).await);
    }
    server.sigterm();
    for mut client in clients {
        match client.item().await {
            Item::End { clean: true } => {}
            other => client.fail(&format!("a clean end expected, {other:?} came")),
        }
    }
    let status = server.wait(Duration::from_secs(10)).expect("it ends");
    assert!(status.success(), "{status}");
}
