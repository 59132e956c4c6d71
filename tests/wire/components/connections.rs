//! Several streams that speak for one domain, and what becomes of what one of them was not given.

use std::collections::{BTreeMap, BTreeSet};

use testkit::{COMPONENT_SECRET, Client, Item, Server, Stanza};

use super::{DOMAIN, online};
use crate::support::{chat, error_of};

fn server(users: usize, connections: usize) -> Server {
    Server::builder()
        .users(users)
        .component_with(DOMAIN, &format!("connections = {connections}"))
        .limit("stanza_bytes", 10_000)
        .limit("component_outbox_bytes", 40_000_000)
        .limit("read_bytes_per_second", 1 << 30)
        .limit("read_burst_bytes", 1 << 30)
        .start()
}

#[tokio::test]
async fn as_many_as_there_may_be() {
    let server = server(0, 2);
    let mut first = Client::component(&server, DOMAIN).await;
    let second = Client::component(&server, DOMAIN).await;
    let mut third = Client::opened_component(&server, DOMAIN).await;
    third.read_header().await;
    let handshake = third.component_handshake(COMPONENT_SECRET);
    third.send(format!("<handshake>{handshake}</handshake>")).await;
    third.expect_stream_error("conflict").await;
    first.ping().await;
    second.close().await;
    Client::component(&server, DOMAIN).await.ping().await;
}

/// Which of them this comes to.
async fn taker(streams: &mut [Client], mark: &str) -> usize {
    let mut takers = Vec::new();
    for (at, stream) in streams.iter_mut().enumerate() {
        for stanza in stream.drain().await {
            if stanza.raw().contains(mark) {
                takers.push(at);
            }
        }
    }
    assert_eq!(takers.len(), 1, "{mark} came to {takers:?}");
    takers[0]
}

#[tokio::test]
async fn one_sender_has_one_stream() {
    const USERS: usize = 12;
    let server = server(USERS, 3);
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(Client::component(&server, DOMAIN).await);
    }
    let mut users = Vec::new();
    for _ in 0..USERS {
        users.push(online(&server).await);
    }
    let mut whose = BTreeMap::new();
    for round in 0..2 {
        for (number, user) in users.iter_mut().enumerate() {
            let mark = format!("({round}-{number})");
            // To whom makes no difference, and nor does what it is.
            let text = match round {
                0 => chat(&format!("a{number}@{DOMAIN}"), &mark),
                _ => format!("<presence to='b@{DOMAIN}/x'><status>{mark}</status></presence>"),
            };
            user.send(text).await;
            user.ping().await;
            let at = taker(&mut streams, &mark).await;
            let first = *whose.entry(number).or_insert(at);
            assert_eq!(first, at, "user {number} in round {round}");
        }
    }
    let used: BTreeSet<usize> = whose.values().copied().collect();
    assert!(used.len() > 1, "nobody shares the work: {whose:?}");
    // Only those move whose stream ends.
    let gone = whose[&0];
    streams.remove(gone).close().await;
    for (number, user) in users.iter_mut().enumerate() {
        let mark = format!("(2-{number})");
        user.send(chat(DOMAIN, &mark)).await;
        user.ping().await;
        let at = taker(&mut streams, &mark).await;
        let was = whose[&number];
        if was != gone {
            assert_eq!(at, was - usize::from(was > gone), "user {number}");
        }
    }
}

/// Of several programs that do not know of each other, and use the same ids.
#[tokio::test]
async fn who_has_asked_is_answered() {
    const USERS: usize = 6;
    let server = Server::builder()
        .users(USERS)
        .component_with(
            DOMAIN,
            "connections = 2\n[component.privileges]\nroster = \"get\"\niq = { \"urn:xmpp:ping\" = \"get\" }",
        )
        .start();
    let mut streams = [
        Client::component(&server, DOMAIN).await,
        Client::component(&server, DOMAIN).await,
    ];
    for stream in &mut streams {
        stream
            .expect("<message><privilege xmlns='urn:xmpp:privilege:2'/></message>")
            .await;
    }
    let users: Vec<String> = (0..USERS).map(|_| server.user()).collect();
    let payloads = [
        "<query xmlns='jabber:iq:roster'/>".to_owned(),
        "<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='get' id='1'>\
         <ping xmlns='urn:xmpp:ping'/></iq></privileged_iq>"
            .to_owned(),
    ];
    for payload in &payloads {
        for user in &users {
            for stream in &mut streams {
                stream
                    .send(format!(
                        "<iq type='get' id='same' from='{DOMAIN}' to='{user}'>{payload}</iq>"
                    ))
                    .await;
            }
            for stream in &mut streams {
                stream
                    .expect(&format!("<iq type='result' id='same' from='{user}' to='{DOMAIN}'/>"))
                    .await;
            }
        }
    }
}

/// What is delegated is shared by who asks it.
#[tokio::test]
async fn delegated_requests_are_shared() {
    const USERS: usize = 12;
    let server = Server::builder()
        .users(USERS)
        .component_with(
            DOMAIN,
            "connections = 3\n[[component.delegation]]\nnamespace = \"urn:a\"",
        )
        .start();
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(Client::component(&server, DOMAIN).await);
    }
    let mut takers = BTreeSet::new();
    for number in 0..USERS {
        let mut user = online(&server).await;
        user.send(format!(
            "<iq type='get' id='1' to='example.org'><x xmlns='urn:a'>({number})</x></iq>"
        ))
        .await;
        user.ping().await;
        takers.insert(taker(&mut streams, &format!("({number})")).await);
    }
    assert!(takers.len() > 1, "one stream gets all");
}

/// Sends more than the kernel holds to a component that does not read, so that some of it is never written.
pub(super) async fn fill(user: &mut Client, count: usize) {
    let body = "x".repeat(8_000);
    for number in 0..count {
        user.send(numbered(number, &body)).await;
    }
    user.nothing_more().await;
}

fn numbered(number: usize, body: &str) -> String {
    format!("<message type='chat' id='m{number}' to='{DOMAIN}'><body>{number} {body}</body></message>")
}

/// As many as there have to be: the buffers of both sockets take some megabytes.
pub(super) const MESSAGES: usize = 1_500;

fn number(stanza: &Stanza) -> usize {
    let text = stanza.get_child("body", "jabber:client").expect("a body").text();
    text.split(' ').next().and_then(|n| n.parse().ok()).expect("a number")
}

#[tokio::test]
async fn what_one_did_not_get_the_others_get() {
    let server = server(1, 2);
    let mut user = online(&server).await;
    let reads_not = Client::component(&server, DOMAIN).await;
    fill(&mut user, MESSAGES).await;
    // From now on either may have him.
    let mut heir = Client::component(&server, DOMAIN).await;
    reads_not.cut();
    heir.wait("<message type='chat'/>").await;
    // What he says meanwhile comes behind it.
    user.send(numbered(MESSAGES, "last")).await;
    let mut before = None;
    loop {
        let stanza = heir.wait("<message type='chat'/>").await;
        let number = number(&stanza);
        assert!(
            before.is_none_or(|before| number == before + 1),
            "{number} behind {before:?}"
        );
        before = Some(number);
        if number == MESSAGES {
            break;
        }
    }
    heir.nothing_more().await;
    user.nothing_more().await;
}

/// Where there is no other, who has sent it is told.
#[tokio::test]
async fn what_nobody_got_comes_back() {
    let server = server(1, 1);
    let component = Client::component(&server, DOMAIN).await;
    let mut user = online(&server).await;
    let body = "x".repeat(8_000);
    let groupchat = format!("<message type='groupchat' id='room' to='#room@{DOMAIN}'><body>{body}</body></message>");
    let join = format!("<presence id='join' to='#room@{DOMAIN}/nick'/>");
    let left = format!("<presence type='unavailable' id='left' to='#room@{DOMAIN}/nick'/>");
    let asks = format!("<iq type='get' id='asks' to='{DOMAIN}'><query xmlns='jabber:iq:version'/></iq>");
    fill(&mut user, MESSAGES).await;
    for text in [&groupchat, &join, &left, &asks] {
        user.send(text).await;
    }
    user.nothing_more().await;
    component.cut();
    let mut told = Vec::new();
    while told.last().is_none_or(|id| id != "asks") {
        let Item::Stanza(answer) = user.item().await else {
            panic!("the stream of the user ends");
        };
        assert_eq!(error_of(&answer), "wait/remote-server-timeout", "{answer:?}");
        told.push(answer.get("id").to_owned());
    }
    let named: Vec<&str> = told
        .iter()
        .map(String::as_str)
        .filter(|id| !id.starts_with('m'))
        .collect();
    assert_eq!(named, ["room", "join", "asks"]);
    let messages = told.len() - named.len();
    assert!(
        messages > 0 && messages <= MESSAGES,
        "{messages} of {MESSAGES} came back"
    );
    user.nothing_more().await;
}
