//! The PROXY protocol (HAProxy, `doc/proxy-protocol.txt`): whose connection it is, and from whom that is believed.

use std::net::Ipv4Addr;

use testkit::{Client, ConnectOptions, Server, TIMEOUT, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 10);
const STARTTLS: u16 = 6222;
const DIRECT: u16 = 6223;
const HTTPS: u16 = 6443;
const MULTIPLEX: u16 = 7443;
const ONLY_PROXIES: &str = "proxy_protocol = [\"127.0.0.9\", \"2001:db8::/32\"]";

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn version_1(address: &str) -> Vec<u8> {
    format!("PROXY TCP4 {address} 192.0.2.11 56324 443\r\n").into_bytes()
}

/// With something behind the addresses.
fn version_2(address: [u8; 4]) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    let more = [0xee; 1000];
    bytes.extend([0x21, 0x11]);
    bytes.extend((12 + 1000u16).to_be_bytes());
    bytes.extend(address);
    bytes.extend([192, 0, 2, 11, 0xdc, 4, 1, 0xbb]);
    bytes.extend(more);
    bytes
}

fn local() -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([0x20, 0, 0, 0]);
    bytes
}

fn server() -> testkit::Builder {
    Server::builder()
        .listener("c2s", STARTTLS, ONLY_PROXIES)
        .listener("c2s-direct", DIRECT, ONLY_PROXIES)
        .listener("https", HTTPS, ONLY_PROXIES)
        .listener("multiplex", MULTIPLEX, ONLY_PROXIES)
}

fn options(port: u16, from: Ipv4Addr, preamble: Vec<u8>) -> ConnectOptions {
    ConnectOptions {
        port: Some(port),
        from: Some(from),
        preamble,
        ..ConnectOptions::default()
    }
}

async fn raw(server: &Server, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("an address of this machine");
    socket
        .connect((server.address(), STARTTLS).into())
        .await
        .expect("reached")
}

/// What the server says to these bytes, up to its end.
async fn answer(server: &Server, from: Ipv4Addr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = raw(server, from).await;
    let mut answer = Vec::new();
    // It may be closed before all was written, or with some of it unread.
    let _ = stream.write_all(bytes).await;
    let read = tokio::time::timeout(TIMEOUT, stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection is ended");
    answer
}

#[tokio::test]
async fn a_proxy_tells_whose_connection_it_is() {
    let server = server().users(10).start();
    let ports = [
        (Transport::Starttls, STARTTLS),
        (Transport::Direct, DIRECT),
        (Transport::WebSocket, HTTPS),
        (Transport::Direct, MULTIPLEX),
        (Transport::WebSocket, MULTIPLEX),
    ];
    for (number, (transport, port)) in ports.into_iter().enumerate() {
        let number = u8::try_from(number).expect("few");
        let one = format!("192.0.2.{}", 100 + number);
        let headers = [version_1(&one), version_2([198, 51, 100, number])];
        for header in headers {
            let jid = server.user();
            let (name, _) = jid.split_once('@').expect("an address");
            let options = options(port, PROXY, header);
            let mut client = Client::secured_with(&server, transport, options).await;
            client.open().await;
            let failure = client
                .scram_as("SCRAM-SHA-256", name, "wrong", &testkit::Binding::None)
                .await;
            assert_eq!(failure.name(), "failure", "{failure:?}");
            let password = testkit::password_of(&jid);
            let success = client
                .scram_as("SCRAM-SHA-256", name, &password, &testkit::Binding::None)
                .await;
            assert_eq!(success.name(), "success", "{success:?}");
        }
        for address in [one, format!("198.51.100.{number}")] {
            let line = format!("a login failed address={address} ");
            assert_eq!(server.logged(&line), 1, "{line}");
        }
    }
}

#[tokio::test]
async fn the_limits_count_by_the_address_that_was_told() {
    let server = server().limit("connections_before_login_per_address", 2).start();
    let open = async |header: Vec<u8>| {
        let mut stream = raw(&server, PROXY).await;
        stream.write_all(&header).await.expect("written");
        stream.write_all(b"<stream:stream to='example.org' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>").await.expect("written");
        let mut first = [0; 1];
        let read = tokio::time::timeout(TIMEOUT, stream.read(&mut first))
            .await
            .expect("in time");
        (stream, read.is_ok_and(|count| count == 1))
    };
    let mut kept = Vec::new();
    for (header, is_in) in [
        (version_1("192.0.2.1"), true),
        (version_2([192, 0, 2, 1]), true),
        (version_1("192.0.2.1"), false),
        (version_1("192.0.2.2"), true),
        // Those of the proxy itself count as its own.
        (b"PROXY UNKNOWN\r\n".to_vec(), true),
        (local(), true),
        (local(), false),
    ] {
        let (stream, was_in) = open(header.clone()).await;
        assert_eq!(was_in, is_in, "{}", String::from_utf8_lossy(&header[..15]));
        kept.push(stream);
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let server = server().limit("negotiation_seconds", 2).start();
    let opening: &[u8] = b"<stream:stream to='example.org' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
    // Not with a header either.
    let mut forged = version_1("192.0.2.1");
    forged.extend_from_slice(opening);
    assert_eq!(answer(&server, STRANGER, &forged).await, b"");
    assert_eq!(server.logged("this listener is for the proxies"), 1);
    // A proxy without one, and with a wrong one.
    let mut long = b"PROXY UNKNOWN ".to_vec();
    long.resize(107, b'x');
    long.extend_from_slice(b"\r\n");
    let mut future = SIGNATURE.to_vec();
    future.extend([0x31, 0x11, 0, 0]);
    for bytes in [
        opening,
        &long,
        &future,
        b"PROXY TCP4 192.0.2.1 192.0.2.11 56324\r\n",
        b"PROXY TCP4 ::1 ::1 56324 443\r\n",
        b"PROXY UNKNOWN\n<stream:stream>",
    ] {
        assert_eq!(
            answer(&server, PROXY, bytes).await,
            b"",
            "{}",
            String::from_utf8_lossy(bytes)
        );
    }
    assert_eq!(server.logged("it does not begin with a header"), 6);
    // Where nothing more comes it is not waited for ever.
    for bytes in [&b""[..], b"PROXY TCP4 192.0.2", &SIGNATURE[..9], SIGNATURE] {
        assert_eq!(answer(&server, PROXY, bytes).await, b"");
    }
    assert_eq!(server.logged("no header of the PROXY protocol came in time"), 4);
    // On a port without proxies the header is nothing but wrong.
    let options = options(5223, PROXY, version_1("192.0.2.1"));
    let lost = Client::connect_with(&server, Transport::Direct, options).await;
    assert!(lost.is_err(), "a header was taken where none is expected");
}

/// The header may come in pieces, and what follows it is not touched.
#[tokio::test]
async fn a_header_byte_by_byte() {
    let server = server().start();
    for header in [version_1("192.0.2.1"), version_2([192, 0, 2, 1])] {
        let mut stream = raw(&server, PROXY).await;
        stream.set_nodelay(true).expect("a socket");
        for byte in &header[..60.min(header.len())] {
            stream.write_all(&[*byte]).await.expect("written");
            tokio::task::yield_now().await;
        }
        let mut rest = header[60.min(header.len())..].to_vec();
        rest.extend_from_slice(b"<stream:stream to='example.org' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>");
        stream.write_all(&rest).await.expect("written");
        let mut came = Vec::new();
        let mut part = [0; 1024];
        while !String::from_utf8_lossy(&came).contains("</stream:features>") {
            let read = tokio::time::timeout(TIMEOUT, stream.read(&mut part)).await;
            let count = read.expect("in time").expect("read");
            assert_ne!(count, 0, "{}", String::from_utf8_lossy(&came));
            came.extend_from_slice(&part[..count]);
        }
    }
}

/// A shutdown does not wait for those who have not said yet who they are.
#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_header() {
    let mut server = server().start();
    let mut stream = raw(&server, PROXY).await;
    stream.write_all(b"PROXY TCP4 ").await.expect("written");
    // Behind it in the queue of the port.
    assert_eq!(answer(&server, STRANGER, b"").await, b"");
    server.sigterm();
    let status = server.wait(TIMEOUT).expect("it ends");
    assert!(status.success(), "{status}");
}
