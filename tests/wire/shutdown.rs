//! How the server ends streams when it stops; when an account changes see `account_changes`.

use std::time::{Duration, Instant};

use testkit::{Client, Server, TIMEOUT, Transport};

#[tokio::test]
async fn everybody_is_told() {
    let mut server = Server::with_users(18);
    let mut told = Vec::new();
    for transport in Transport::ALL {
        told.push(Client::online(&server, transport, &server.user()).await);
        told.push(Client::login(&server, transport, &server.user()).await);
        told.push(Client::authenticated(&server, transport, &server.user()).await);
        told.push(Client::opened(&server, transport).await);
        told.push(Client::secured(&server, transport).await);
        let mut half = Client::opened(&server, transport).await;
        half.send("<iq type='get' id='").await;
        told.push(half);
    }
    let mut plain = Client::connect(&server, Transport::Starttls).await;
    plain.open().await;
    told.push(plain);
    told.push(Client::connect(&server, Transport::Starttls).await);
    // In the middle of a handshake nothing can be said.
    let handshaking = Client::tcp(&server, Transport::Direct, testkit::ConnectOptions::default())
        .await
        .expect("reached");

    let began = Instant::now();
    server.sigterm();
    for client in &mut told {
        client.expect_stream_error("system-shutdown").await;
    }
    let status = server
        .wait(Duration::from_secs(5))
        .expect("it stops within five seconds");
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(status.code(), Some(0));
    drop(handshaking);

    // What was said before the stop is there after it.
    server.start();
    let jid = server.user();
    Client::login(&server, Transport::Direct, &jid)
        .await
        .nothing_more()
        .await;
}

/// A client that does not read does not keep the server from stopping.
#[tokio::test]
async fn nobody_can_delay_it() {
    let mut server = Server::builder().users(2).limit("shutdown_seconds", 2).start();
    let mut sender = Client::online(&server, Transport::Direct, &server.user()).await;
    let options = testkit::ConnectOptions {
        receive_buffer: Some(4096),
        ..Default::default()
    };
    let mut deaf = Client::login_with(&server, Transport::Direct, &server.user(), options).await;
    deaf.presence("<presence/>").await;
    let body = "x".repeat(100_000);
    for _ in 0..30 {
        sender
            .send(format!("<message to='{}'><body>{body}</body></message>", deaf.jid))
            .await;
    }
    sender.ping().await;
    server.sigterm();
    sender.expect_stream_error("system-shutdown").await;
    let status = server
        .wait(Duration::from_secs(4))
        .expect("it stops within its limit and a little");
    assert_eq!(status.code(), Some(0));
}

/// What waited for a client that was cut by a stop is there after it.
#[tokio::test]
async fn a_stop_loses_nothing() {
    let mut server = Server::with_users(2);
    let jid = server.user();
    let mut sender = Client::online(&server, Transport::Starttls, &server.user()).await;
    let mut receiver = Client::online(&server, Transport::Starttls, &jid).await;
    receiver.forget().await;
    for number in 0..50 {
        sender
            .send(format!(
                "<message to='{jid}' type='chat'><body>{number}</body></message>"
            ))
            .await;
    }
    sender.ping().await;
    server.sigterm();
    // Each is either read on the old stream or waits.
    let mut got = Vec::new();
    loop {
        match receiver.item().await {
            testkit::Item::Stanza(stanza) if stanza.name() == "message" => got.push(stanza),
            testkit::Item::Stanza(_) => {}
            _ => break,
        }
    }
    server.wait(TIMEOUT).expect("it stops");
    server.start();
    let mut receiver = Client::online(&server, Transport::Starttls, &jid).await;
    got.extend(
        receiver
            .drain()
            .await
            .into_iter()
            .filter(|stanza| stanza.name() == "message"),
    );
    let mut numbers: Vec<usize> = got
        .iter()
        .map(|stanza| {
            stanza
                .get_child("body", "jabber:client")
                .expect("a body")
                .text()
                .parse()
                .expect("a number")
        })
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
}
