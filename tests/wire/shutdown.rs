//! How the server ends streams: when it stops, and when an account changes (row 62 of the faults).

use std::time::{Duration, Instant};

use testkit::{Client, Server, TIMEOUT, Transport};

use crate::support::friends;

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

#[tokio::test]
async fn accounts_that_change() {
    let server = Server::with_users(30);
    for transport in Transport::ALL {
        for change in ["disable", "password", "remove"] {
            let (mut one, mut friend) = friends(&server, transport).await;
            let jid = one.bare().to_owned();
            let mut second = Client::login(&server, transport, &format!("{jid}/second")).await;
            let mut half = Client::authenticated(&server, transport, &jid).await;
            let mut arguments = vec!["account", change, jid.as_str()];
            if change == "password" {
                arguments.push("--password-stdin");
            }
            let began = Instant::now();
            let output = server.jackdaw(&arguments, if change == "password" { "a new one\n" } else { "" });
            assert!(output.status.success(), "{change}: {output:?}");
            one.expect_stream_error("not-authorized").await;
            second.expect_stream_error("not-authorized").await;
            assert!(
                began.elapsed() < Duration::from_secs(3),
                "at once, apart from the command itself"
            );
            friend
                .wait(&format!("<presence type='unavailable' from='{}'/>", one.jid))
                .await;
            if change == "remove" {
                friend
                    .wait(&format!("<presence type='unsubscribed' from='{jid}'/>"))
                    .await;
            }
            // One that had logged in and not yet bound: it gets no session of the account as it was.
            half.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
                .await;
            let answer = half.stanza().await;
            assert!(
                answer.name() == "error" || answer.get("type") == "error",
                "{change}: {answer:?}"
            );
            let mut client = Client::opened(&server, transport).await;
            let old = testkit::plain(
                "",
                jid.split_once('@').expect("user@domain").0,
                &testkit::password_of(&jid),
            );
            let answer = client.auth("PLAIN", &old).await;
            let expected = if change == "disable" {
                "account-disabled"
            } else {
                "not-authorized"
            };
            assert_eq!(
                (answer.name(), answer.condition()),
                ("failure", Some(expected)),
                "{change}"
            );
        }
    }
}
