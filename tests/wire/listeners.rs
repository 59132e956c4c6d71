//! Where the server listens: sockets that were handed over, and both families of addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};

use testkit::{Binding, Client, ConnectOptions, Server, TIMEOUT, Transport};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const OPENING: &[u8] = b"<stream:stream to='example.org' version='1.0' xmlns='jabber:client' \
                         xmlns:stream='http://etherx.jabber.org/streams'>";

/// Reads up to the features.
async fn features(stream: &mut TcpStream) {
    let mut came = Vec::new();
    let mut part = [0; 1024];
    while !String::from_utf8_lossy(&came).contains("</stream:features>") {
        let read = tokio::time::timeout(TIMEOUT, stream.read(&mut part)).await;
        let count = read.expect("in time").expect("read");
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&came));
        came.extend_from_slice(&part[..count]);
    }
}

/// sd_listen_fds(3). The socket is there while the server is not, so nobody is refused during a restart.
#[tokio::test]
async fn a_socket_that_was_handed_over() {
    let mut server = Server::builder().users(1).hand_over().start();
    let jid = format!("{}/one", server.user());
    for is_killed in [true, false] {
        Client::login(&server, Transport::Starttls, &jid).await.close().await;
        // The other listeners have bound theirs.
        Client::login(&server, Transport::Direct, &jid).await.close().await;
        if is_killed {
            server.kill9();
        } else {
            server.sigterm();
            assert!(server.wait(TIMEOUT).expect("it ends").success());
        }
        assert!(
            TcpStream::connect((server.address(), 5223)).await.is_err(),
            "the server's own are gone with it"
        );
        let mut early = TcpStream::connect((server.address(), 5222))
            .await
            .expect("the socket is there");
        early.write_all(OPENING).await.expect("written");
        server.start();
        features(&mut early).await;
    }
}

/// A port that other runs of the tests at the same time hardly have, and no client of theirs.
fn port() -> u16 {
    20_000 + u16::try_from(std::process::id() % 5_000).expect("small") * 2
}

/// As the listeners of a server without configuration.
#[tokio::test]
async fn both_families_on_one_port() {
    let port = port();
    let listeners = format!(
        "[[listen]]\nkind = \"c2s\"\naddress = \"[::]:{port}\"\n[[listen]]\nkind = \"c2s\"\naddress = \"[::]:{}\"\n",
        port + 1
    );
    let server = Server::builder().users(1).toml(&listeners).start();
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        addresses.push(IpAddr::V6(Ipv6Addr::LOCALHOST));
    } else {
        eprintln!("skipped: ::1, which this machine does not have");
    }
    for address in addresses {
        for port in [port, port + 1] {
            let mut stream = TcpStream::connect((address, port)).await.expect("reached");
            stream.write_all(OPENING).await.expect("written");
            features(&mut stream).await;
        }
    }
    // One of IPv4 is told as such.
    let options = ConnectOptions {
        port: Some(port),
        from: Some(Ipv4Addr::new(127, 0, 0, 9)),
        ..ConnectOptions::default()
    };
    let mut client = Client::secured_with(&server, Transport::Starttls, options).await;
    client.open().await;
    let user = server.user();
    let (name, _) = user.split_once('@').expect("an address");
    let failure = client.scram_as("SCRAM-SHA-256", name, "wrong", &Binding::None).await;
    assert_eq!(failure.name(), "failure");
    assert_eq!(server.logged("a login failed address=127.0.0.9 "), 1);
}
