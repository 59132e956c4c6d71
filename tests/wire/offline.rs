//! Messages that wait (XEP-0160, XEP-0203).

use std::time::Duration;

use testkit::{Client, Item, Server, Stanza, Transport};

use crate::support::{error_of, settle};

const PING: &str = "urn:xmpp:ping";

fn body(stanza: &Stanza) -> String {
    stanza
        .get_child("body", "jabber:client")
        .map(|body| body.text())
        .unwrap_or_default()
}

async fn send(sender: &mut Client, to: &str, texts: &[&str]) {
    for text in texts {
        sender
            .send(format!(
                "<message to='{to}' type='chat' id='{text}'><body>{text}</body></message>"
            ))
            .await;
    }
    settle(sender, to).await;
}

/// Presence, and what comes up to the server's ping: the bodies of the messages, and the ping unanswered.
async fn replay(client: &mut Client) -> (Vec<String>, Stanza) {
    client.send("<presence/>").await;
    let mut bodies = Vec::new();
    loop {
        let stanza = client.stanza().await;
        match stanza.name() {
            "message" => bodies.push(body(&stanza)),
            "iq" if stanza.has_child("ping", PING) => {
                assert_eq!(stanza.get("type"), "get", "{stanza:?}");
                return (bodies, stanza);
            }
            _ => {}
        }
    }
}

async fn pong(client: &mut Client, ping: &Stanza) {
    client
        .send(format!(
            "<iq type='result' id='{}' to='{}'/>",
            ping.get("id"),
            ping.get("from")
        ))
        .await;
    client.ping().await;
}

#[tokio::test]
async fn stored_and_delivered() {
    let server = Server::with_users(8);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        send(&mut sender, &jid, &["one", "two"]).await;
        sender
            .send(format!("<message to='{jid}/gone' type='chat' xml:lang='fr' id='x'><body>three</body><x xmlns='urn:x' a='&lt;'/></message>"))
            .await;
        // What is not worth keeping (XEP-0160 section 3).
        for not in [
            "<message to='TO' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
            "<message to='TO' type='chat'><active xmlns='http://jabber.org/protocol/chatstates'/><thread>t</thread></message>",
            "<message to='TO' type='headline'><body>x</body></message>",
            "<message to='TO' type='error'><body>x</body></message>",
        ] {
            sender.send(not.replace("TO", &jid)).await;
        }
        settle(&mut sender, &jid).await;
        sender.nothing_more().await;

        // Not for a resource of negative priority, nor for one without presence.
        let mut client = Client::login(&server, transport, &jid).await;
        client.nothing_more().await;
        client.presence("<presence><priority>-1</priority></presence>").await;
        client.nothing_more().await;
        client.send("<presence/>").await;
        client.expect("<presence/>").await;
        let own = &sender.jid;
        let domain = "example.org";
        for (text, address) in [
            ("one", jid.clone()),
            ("two", jid.clone()),
            ("three", format!("{jid}/gone")),
        ] {
            let came = client
                .expect(&format!(
                    "<message type='chat' from='{own}' to='{address}'><body>{text}</body><delay xmlns='urn:xmpp:delay' from='{domain}' stamp='*'/></message>"
                ))
                .await;
            assert_eq!(came.children().filter(|child| child.name() == "delay").count(), 1);
            let stamp = came
                .get_child("delay", "urn:xmpp:delay")
                .and_then(|delay| delay.attr("stamp"))
                .expect("expected above");
            let told =
                time::OffsetDateTime::parse(stamp, &time::format_description::well_known::Rfc3339).expect("XEP-0082");
            assert!(
                stamp.ends_with('Z') && (time::OffsetDateTime::now_utc() - told).abs() < time::Duration::minutes(1),
                "{stamp}"
            );
            if text == "three" {
                assert_eq!(came.lang(), Some("fr"));
                assert!(came.matches("<message type='chat' id='x'><x xmlns='urn:x' a='&lt;'/></message>"));
            }
        }
        let ping = client.expect("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        pong(&mut client, &ping).await;
        client.nothing_more().await;
        client.close().await;
        // Nothing is left.
        let mut client = Client::online(&server, transport, &jid).await;
        client.nothing_more().await;
    }
}

/// Only what has been seen is forgotten: by the answer to the ping, or a clean end of the stream behind it.
#[tokio::test]
async fn nothing_is_lost_with_a_connection() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        send(&mut sender, &jid, &["one", "two"]).await;
        for attempt in 0..3 {
            let mut client = Client::login(&server, transport, &jid).await;
            let (bodies, _ping) = replay(&mut client).await;
            assert_eq!(bodies, ["one", "two"], "attempt {attempt}");
            client.cut();
            let mut again = Client::login(&server, transport, &jid).await;
            again.ping().await;
            again.cut();
        }
        // What comes before the answer is behind the others next time too.
        let mut client = Client::login(&server, transport, &jid).await;
        let (_, wrong) = replay(&mut client).await;
        // Not any answer: one with this id.
        client
            .send(format!(
                "<iq type='result' id='{}0' to='example.org'/>",
                wrong.get("id")
            ))
            .await;
        client.send("<iq type='result' id='offline-0' to='example.org'/>").await;
        client.ping().await;
        client.cut();
        let mut client = Client::login(&server, transport, &jid).await;
        let (bodies, ping) = replay(&mut client).await;
        assert_eq!(bodies, ["one", "two"]);
        // An error is an answer as well: the client has read everything before it.
        client
            .send(format!(
                "<iq type='error' id='{}' to='example.org'><error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>",
                ping.get("id")
            ))
            .await;
        client.ping().await;
        client.cut();
        let mut client = Client::online(&server, transport, &jid).await;
        client.nothing_more().await;
        client.close().await;
        // A clean end.
        send(&mut sender, &jid, &["three"]).await;
        let mut client = Client::login(&server, transport, &jid).await;
        assert_eq!(replay(&mut client).await.0, ["three"]);
        client.close().await;
        let mut client = Client::online(&server, transport, &jid).await;
        client.nothing_more().await;
    }
}

/// A thousand, in order, and what is sent while they are read comes behind them.
#[tokio::test]
async fn a_thousand() {
    const COUNT: usize = 1_000;
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut all = String::new();
        for number in 0..COUNT {
            all.push_str(&format!(
                "<message to='{jid}' type='chat'><body>{number}</body></message>"
            ));
        }
        sender.send(&all).await;
        settle(&mut sender, &jid).await;

        let mut client = Client::login(&server, transport, &jid).await;
        client.send("<presence/>").await;
        let mut numbers = Vec::new();
        let mut live = 0;
        let mut pings = 0;
        // Live messages are sent while the others come.
        while numbers.len() < COUNT + 10 {
            match client.item().await {
                Item::Stanza(stanza) if stanza.name() == "message" => {
                    numbers.push(body(&stanza).parse::<usize>().expect("a number"))
                }
                Item::Stanza(stanza) if stanza.name() == "iq" => {
                    pings += 1;
                    pong_without_wait(&mut client, &stanza).await;
                }
                Item::Stanza(_) => {}
                other => client.fail(&format!("{other:?} came after {} messages", numbers.len())),
            }
            if live < 10 && numbers.len() >= live * 90 {
                let number = COUNT + live;
                sender
                    .send(format!(
                        "<message to='{jid}' type='chat'><body>{number}</body></message>"
                    ))
                    .await;
                live += 1;
            }
        }
        assert_eq!(numbers, (0..COUNT + 10).collect::<Vec<_>>(), "in order, each once");
        // The ping, if it has not come yet.
        while pings == 0 {
            let stanza = client.wait_keeping(|stanza| stanza.has_child("ping", PING)).await;
            pong_without_wait(&mut client, &stanza).await;
            pings += 1;
        }
        client.ping().await;
        client.cut();
        let mut client = Client::online(&server, transport, &jid).await;
        client.nothing_more().await;
    }
}

async fn pong_without_wait(client: &mut Client, ping: &Stanza) {
    client
        .send(format!(
            "<iq type='result' id='{}' to='{}'/>",
            ping.get("id"),
            ping.get("from")
        ))
        .await;
}

/// Row 34: what does not fit is answered, and nothing of the rest is touched.
#[tokio::test]
async fn the_quota() {
    let server = Server::builder()
        .users(8)
        .limit("offline_messages_per_account", 3)
        .start();
    for transport in Transport::EVERY {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        send(&mut sender, &jid, &["one", "two", "three"]).await;
        sender.nothing_more().await;
        for text in ["four", "five"] {
            sender
                .send(format!(
                    "<message to='{jid}' type='chat' id='{text}'><body>{text}</body></message>"
                ))
                .await;
            let answer = sender
                .expect(&format!("<message type='error' id='{text}' from='{jid}'/>"))
                .await;
            assert_eq!(error_of(&answer), "cancel/service-unavailable");
        }
        let mut client = Client::login(&server, transport, &jid).await;
        let (bodies, ping) = replay(&mut client).await;
        assert_eq!(bodies, ["one", "two", "three"]);
        pong(&mut client, &ping).await;
        client.close().await;
        // There is room again.
        send(&mut sender, &jid, &["six"]).await;
        sender.nothing_more().await;
        let mut client = Client::login(&server, transport, &jid).await;
        assert_eq!(replay(&mut client).await.0, ["six"]);
    }
}

/// Two resources: one of them gets what waited, and a live message comes behind it wherever it goes.
#[tokio::test]
async fn two_resources() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        send(&mut sender, &jid, &["one", "two"]).await;
        let mut first = Client::login(&server, transport, &format!("{jid}/first")).await;
        let mut second = Client::login(&server, transport, &format!("{jid}/second")).await;
        let (bodies, _) = replay(&mut first).await;
        assert_eq!(bodies, ["one", "two"]);
        second.presence("<presence/>").await;
        let came = second.drain().await;
        assert!(
            came.iter().all(|stanza| stanza.name() == "presence"),
            "only one gets them: {came:?}"
        );
        // The first dies before it has answered: the second inherits.
        first.cut();
        for text in ["one", "two"] {
            second
                .wait(&format!("<message type='chat'><body>{text}</body></message>"))
                .await;
        }
        let ping = second.expect("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>").await;
        pong(&mut second, &ping).await;
        sender
            .send(format!("<message to='{jid}' type='chat'><body>live</body></message>"))
            .await;
        let live = second.expect("<message type='chat'><body>live</body></message>").await;
        assert!(!live.has_child("delay", "urn:xmpp:delay"));
        second.nothing_more().await;
        assert!(second.item_within(Duration::ZERO).await.is_none());
    }
}
