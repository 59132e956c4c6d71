//! The proxy of SOCKS5 bytestreams (XEP-0065): who may meet there, and that it is good for nothing else (row 33 of the
//! attacks).

use std::net::Ipv4Addr;
use std::time::Duration;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use testkit::{Builder, Client, Server, TIMEOUT, Transport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::{error_of, is_result};

const NS: &str = "http://jabber.org/protocol/bytestreams";
const PROXY: &str = "proxy.example.org";

/// Ports of the addresses that the servers of the tests have for themselves.
const PORT: u16 = 7777;

fn builder(users: usize) -> Builder {
    Server::builder().users(users).domain("other.example")
}

/// With the proxy at the server's own address.
fn start(builder: Builder) -> Server {
    builder.bytestreams(PORT).start()
}

fn meeting(sid: &str, requester: &str, target: &str) -> String {
    let hash = digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        format!("{sid}{requester}{target}").as_bytes(),
    );
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn read(socket: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let read = timeout(TIMEOUT, socket.read_exact(&mut bytes)).await.expect("in time");
    read.expect("so many bytes");
    bytes
}

async fn is_closed(socket: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = timeout(TIMEOUT, socket.read_to_end(&mut rest)).await.expect("in time");
    assert!(rest.is_empty(), "{rest:?}");
}

/// A connection that has named its meeting: the status of the answer.
async fn come(server: &Server, meeting: &str) -> (TcpStream, u8) {
    let address: Ipv4Addr = server.address();
    let mut socket = TcpStream::connect((address, PORT)).await.expect("it listens");
    socket.write_all(&[5, 2, 0, 2]).await.expect("written");
    assert_eq!(read(&mut socket, 2).await, [5, 0]);
    let mut request = vec![5, 1, 0, 3, meeting.len() as u8];
    request.extend_from_slice(meeting.as_bytes());
    request.extend_from_slice(&[0, 0]);
    socket.write_all(&request).await.expect("written");
    let answer = read(&mut socket, request.len()).await;
    let status = answer[1];
    // Section 6.3.2: it has the address and the port of the request.
    let expected = [&[5, status, 0, 3], &request[4..]].concat();
    assert_eq!(answer, expected);
    (socket, status)
}

fn activate(sid: &str, target: &str) -> String {
    format!("<query xmlns='{NS}' sid='{sid}'><activate>{target}</activate></query>")
}

#[tokio::test]
async fn two_meet() {
    let server = start(builder(2 * Transport::EVERY.len()).account("stranger@other.example"));
    let mut stranger = Client::online(&server, Transport::Direct, "stranger@other.example").await;
    for transport in Transport::EVERY {
        let mut requester = Client::online(&server, transport, &server.user()).await;
        let mut target = Client::online(&server, transport, &server.user()).await;
        let disco = "http://jabber.org/protocol/disco";
        let items = requester
            .iq("get", "example.org", &format!("<query xmlns='{disco}#items'/>"))
            .await;
        assert!(items.raw().contains(PROXY), "{items:?}");
        let info = requester
            .iq("get", PROXY, &format!("<query xmlns='{disco}#info'/>"))
            .await;
        for part in ["category='proxy'", "type='bytestreams'", NS] {
            assert!(info.raw().contains(part), "{part}: {info:?}");
        }
        let found = requester.iq("get", PROXY, &format!("<query xmlns='{NS}'/>")).await;
        let host = format!("<streamhost jid='{PROXY}' host='example.org' port='{PORT}'/>");
        is_result(&found, &format!("<query xmlns='{NS}'>{host}</query>"));

        let (from, to) = (requester.jid.clone(), target.jid.clone());
        let hash = meeting("s1", &from, &to);
        let activation = activate("s1", &to);
        let error = error_of(&requester.iq("set", PROXY, &activation).await);
        assert_eq!(error, "cancel/item-not-found");
        let (mut one, status) = come(&server, &hash).await;
        assert_eq!(status, 0);
        let error = error_of(&requester.iq("set", PROXY, &activation).await);
        assert_eq!(error, "cancel/not-allowed");
        let (mut two, status) = come(&server, &hash).await;
        assert_eq!(status, 0);
        // Nobody else comes in, and nobody else can have them joined.
        let (mut third, status) = come(&server, &hash).await;
        assert_eq!(status, 2);
        is_closed(&mut third).await;
        let error = error_of(&target.iq("set", PROXY, &activation).await);
        assert_eq!(error, "cancel/item-not-found");
        for kind in ["get", "set"] {
            let payload = if kind == "get" {
                format!("<query xmlns='{NS}'/>")
            } else {
                activation.clone()
            };
            assert_eq!(error_of(&stranger.iq(kind, PROXY, &payload).await), "auth/forbidden");
        }
        for wrong in [
            format!("<query xmlns='{NS}' sid='s1'/>"),
            format!("<query xmlns='{NS}'><activate>{to}</activate></query>"),
        ] {
            assert_eq!(
                error_of(&requester.iq("set", PROXY, &wrong).await),
                "modify/bad-request"
            );
        }
        // What comes before is thrown away (section 9.1).
        one.write_all(b"too early").await.expect("written");
        tokio::time::sleep(Duration::from_millis(50)).await;
        is_result(&requester.iq("set", PROXY, &activation).await, "");
        let file: Vec<u8> = (0..300_000u32).map(|n| n as u8).collect();
        let send = async {
            one.write_all(&file).await.expect("written");
            one.shutdown().await.expect("closed");
        };
        let (_, came) = tokio::join!(send, async {
            let mut came = Vec::new();
            timeout(TIMEOUT, two.read_to_end(&mut came))
                .await
                .expect("in time")
                .expect("read");
            came
        });
        assert!(came == file, "as it was sent: {} bytes", came.len());
        // The other way it goes on, until both have ended.
        two.write_all(b"thanks").await.expect("written");
        assert_eq!(read(&mut one, 6).await, b"thanks");
        drop(two);
        is_closed(&mut one).await;
        let error = error_of(&requester.iq("set", PROXY, &activation).await);
        assert_eq!(error, "cancel/item-not-found", "it is over");
        for client in [requester, target] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn what_is_no_meeting() {
    let server = start(builder(1));
    let address: Ipv4Addr = server.address();
    let hash = meeting("s", "a", "b");
    let connect = |name: &str, port: [u8; 2]| {
        let head = [5, 1, 0, 3, name.len() as u8];
        [&head[..], name.as_bytes(), &port].concat()
    };
    let to_udp = [&[5, 3, 0, 3, 40], hash.as_bytes(), &[0, 0]].concat();
    // What is sent behind the greeting, and the status; none: it is closed without a word.
    let cases: [(Vec<u8>, Option<u8>); 7] = [
        (connect("www.example.org", [0, 80]), Some(2)),
        (connect(&hash, [0, 80]), Some(2)),
        (connect(&hash[1..], [0, 0]), Some(2)),
        (connect("", [0, 0]), Some(2)),
        (vec![5, 1, 0, 1, 127, 0, 0, 1, 0, 80], Some(8)),
        (to_udp, Some(7)),
        (vec![4, 1, 0, 80, 127, 0, 0, 1, 0], None),
    ];
    for (request, status) in cases {
        let mut socket = TcpStream::connect((address, PORT)).await.expect("it listens");
        socket.write_all(&[5, 1, 0]).await.expect("written");
        assert_eq!(read(&mut socket, 2).await, [5, 0]);
        socket.write_all(&request).await.expect("written");
        if let Some(status) = status {
            assert_eq!(
                read(&mut socket, 10).await,
                [5, status, 0, 1, 0, 0, 0, 0, 0, 0],
                "{request:?}"
            );
        }
        is_closed(&mut socket).await;
    }
    for (greeting, answer) in [
        (&[5, 1, 2][..], &[5, 0xff][..]),
        (&[5, 0], &[5, 0xff]),
        (b"GET / HTTP/1.1\r\n\r\n", &[]),
    ] {
        let mut socket = TcpStream::connect((address, PORT)).await.expect("it listens");
        socket.write_all(greeting).await.expect("written");
        assert_eq!(read(&mut socket, answer.len()).await, answer);
        is_closed(&mut socket).await;
    }
}

#[tokio::test]
async fn limits() {
    let server = start(
        builder(2 * Transport::EVERY.len())
            .limit("bytestream_connections", 6)
            .limit("bytestream_connections_per_address", 5)
            .limit("bytestreams_per_account", 1)
            .limit("bytestream_bytes", 100_000)
            .limit("bytestream_bytes_per_second", 1_000_000)
            .limit("bytestream_seconds", 2),
    );
    for transport in Transport::EVERY {
        let mut requester = Client::online(&server, transport, &server.user()).await;
        let target = format!("{}/target", server.user());
        let names = ["s1", "s2"].map(|sid| meeting(sid, &requester.jid, &target));
        let mut sockets = Vec::new();
        for name in [&names[0], &names[0], &names[1], &names[1]] {
            let (socket, status) = come(&server, name).await;
            assert_eq!(status, 0);
            sockets.push(socket);
        }
        // One account, one stream.
        is_result(&requester.iq("set", PROXY, &activate("s1", &target)).await, "");
        let error = error_of(&requester.iq("set", PROXY, &activate("s2", &target)).await);
        assert_eq!(error, "wait/resource-constraint");
        // So many connections of one address.
        let (fifth, _) = come(&server, &meeting("s3", "a", "b")).await;
        let mut sixth = TcpStream::connect((server.address(), PORT)).await.expect("it listens");
        is_closed(&mut sixth).await;
        drop(fifth);
        // So many bytes: more are not relayed.
        let mut two = sockets.remove(1);
        let mut one = sockets.remove(0);
        let send = async {
            let _ = one.write_all(&vec![7; 200_000]).await;
        };
        let (_, came) = tokio::join!(send, async {
            let mut came = Vec::new();
            let _ = timeout(TIMEOUT, two.read_to_end(&mut came)).await.expect("in time");
            came.len()
        });
        assert!(came <= 100_000, "{came}");
        // So long: nothing has come for it, and it ends.
        let activated = async {
            while !error_of(&requester.iq("set", PROXY, &activate("s2", &target)).await).is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TIMEOUT, activated).await.expect("the first is over");
        for mut socket in sockets {
            is_closed(&mut socket).await;
        }
        requester.close().await;
    }
}
