//! Client state (XEP-0352): what an inactive client need not hear at once.
//!
//! What is held back is seen by what comes with the next thing that is not: presence that has been replaced by later
//! presence never comes.

use testkit::{Client, Loss, NS_CSI, Server, Stanza, Transport};

use crate::support::{befriend, chat, friends, lose, managed, settle};

const CHATSTATES: &str = "http://jabber.org/protocol/chatstates";

/// Presence that changes a few times, up to `last`.
async fn fidget(client: &mut Client, last: &str) {
    for show in ["away", "dnd", "xa", "chat"] {
        client
            .presence(&format!("<presence><show>{show}</show></presence>"))
            .await;
    }
    client
        .presence(&format!("<presence><show>{last}</show></presence>"))
        .await;
}

fn present(client: &Client, show: &str) -> String {
    format!("<presence from='{}'><show>{show}</show></presence>", client.jid)
}

/// Has read everything before it.
async fn inactive(client: &mut Client) {
    client.inactive().await;
    client.forget().await;
}

#[tokio::test]
async fn offered_behind_the_login() {
    let server = Server::with_users(3);
    for transport in Transport::ALL {
        let client = Client::opened(&server, transport).await;
        assert!(!client.features.as_ref().expect("they came").has_child("csi", NS_CSI));
        let client = Client::authenticated(&server, transport, &server.user()).await;
        assert!(client.features.as_ref().expect("they came").has_child("csi", NS_CSI));
    }
}

/// Held back: the last of each contact comes when somebody looks again, before the answer to what is asked then
/// (section 5.1), and then everything comes as it happens.
#[tokio::test]
async fn the_last_presence_comes_with_active() {
    let server = Server::with_users(12);
    for transport in Transport::ALL {
        let (mut client, mut one) = friends(&server, transport).await;
        let mut two = Client::online(&server, transport, &format!("{}/two", server.user())).await;
        befriend(&mut client, &mut two).await;
        for round in 0..2 {
            inactive(&mut client).await;
            fidget(&mut one, "away").await;
            fidget(&mut two, "dnd").await;
            for contact in [&mut one, &mut two] {
                settle(contact, client.bare()).await;
            }
            // Twice, and the second says nothing new.
            client.inactive().await;
            client.active().await;
            client
                .expect_all(&[&present(&one, "away"), &present(&two, "dnd")])
                .await;
            client.nothing_more().await;
            client.active().await;
            client.nothing_more().await;
            // Active: each as it comes.
            fidget(&mut one, "xa").await;
            for show in ["away", "dnd", "xa", "chat", "xa"] {
                client.expect(&present(&one, show)).await;
            }
            client.nothing_more().await;
            assert!(round < 2);
            two.presence("<presence/>").await;
            client.expect(&format!("<presence from='{}'/>", two.jid)).await;
        }
    }
}

/// A message is never delayed. What was held back from before it comes before it.
#[tokio::test]
async fn messages_come_at_once() {
    let server = Server::with_users(12);
    for transport in Transport::ALL {
        let (mut client, mut one) = friends(&server, transport).await;
        inactive(&mut client).await;
        let to = client.jid.clone();
        fidget(&mut one, "away").await;
        one.send(chat(&to, "first")).await;
        client.expect(&present(&one, "away")).await;
        client.expect("<message type='chat'><body>first</body></message>").await;
        // And again: it is inactive still.
        fidget(&mut one, "dnd").await;
        for kind in ["chat", "normal", "headline"] {
            one.send(format!("<message to='{to}' type='{kind}'><body>x</body></message>"))
                .await;
        }
        client.expect(&present(&one, "dnd")).await;
        for kind in ["chat", "normal", "headline"] {
            client.expect(&format!("<message type='{kind}'/>")).await;
        }
        // Things without a body that matter, and requests.
        for content in [
            "<received xmlns='urn:xmpp:receipts' id='1'/>",
            "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
            "<x xmlns='urn:x'/>",
            "<active xmlns='http://jabber.org/protocol/chatstates'/><body>x</body>",
            "<active xmlns='http://jabber.org/protocol/chatstates'/><received xmlns='urn:xmpp:receipts' id='1'/>",
        ] {
            one.send(format!("<message to='{to}' type='chat'>{content}</message>"))
                .await;
            client
                .expect(&format!("<message type='chat'>{content}</message>"))
                .await;
        }
        one.send(format!("<iq type='get' id='q' to='{to}'><query xmlns='urn:x'/></iq>"))
            .await;
        client.wait("<iq type='get' id='q'/>").await;
    }
}

/// Chat states alone do not come at all.
#[tokio::test]
async fn chat_states_are_dropped() {
    let server = Server::with_users(9);
    for transport in Transport::ALL {
        let (mut client, mut one) = friends(&server, transport).await;
        let to = client.jid.clone();
        let state = |name: &str, more: &str| {
            format!("<message to='{to}' type='chat'><{name} xmlns='{CHATSTATES}'/>{more}</message>")
        };
        let all = ["active", "composing", "paused", "inactive", "gone"];
        inactive(&mut client).await;
        for name in all {
            one.send(state(name, "")).await;
            one.send(state(name, "<thread>t</thread>")).await;
        }
        one.send(chat(&to, "real")).await;
        client.expect("<message type='chat'><body>real</body></message>").await;
        one.send(state("composing", "")).await;
        settle(&mut one, client.bare()).await;
        client.active().await;
        client.nothing_more().await;
        // To an active client they come.
        for name in all {
            one.send(state(name, "")).await;
            client
                .expect(&format!(
                    "<message type='chat'><{name} xmlns='{CHATSTATES}'/></message>"
                ))
                .await;
        }
    }
}

/// Subscriptions are not presence that later presence replaces; the end of presence is.
#[tokio::test]
async fn what_presence_is() {
    let server = Server::with_users(15);
    for transport in Transport::ALL {
        let (mut client, one) = friends(&server, transport).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        inactive(&mut client).await;
        let bare = client.bare().to_owned();
        stranger
            .send(format!(
                "<presence type='subscribe' to='{bare}'><status>hello</status></presence>"
            ))
            .await;
        stranger
            .send(format!("<presence to='{bare}'><show>away</show></presence>"))
            .await;
        stranger
            .send(format!("<presence type='unavailable' to='{bare}'/>"))
            .await;
        settle(&mut stranger, &bare).await;
        // A device that comes and goes.
        let mut second = Client::online(&server, transport, &format!("{}/second", one.bare())).await;
        fidget(&mut second, "away").await;
        let gone = second.jid.clone();
        second.close().await;
        let mut mark = Client::online(&server, transport, &server.user()).await;
        mark.send(chat(&client.jid, "mark")).await;
        let mut came: Vec<Stanza> = Vec::new();
        loop {
            let stanza = client.stanza().await;
            if stanza.name() == "message" {
                break;
            }
            came.push(stanza);
        }
        client.active().await;
        came.extend(client.drain().await);
        let of = |from: &str| -> Vec<&Stanza> { came.iter().filter(|stanza| stanza.get("from") == from).collect() };
        assert_eq!(of(stranger.bare()).len(), 1, "the request: {came:?}");
        assert_eq!(of(stranger.bare())[0].get("type"), "subscribe");
        // Of a device that has gone nothing is left but that; of somebody who is no contact the last comes last.
        let kinds = |from: &str| -> Vec<&str> { of(from).iter().map(|stanza| stanza.get("type")).collect() };
        assert!(kinds(&gone).is_empty() || kinds(&gone) == ["unavailable"], "{came:?}");
        assert_eq!(kinds(&stranger.jid).last(), Some(&"unavailable"), "{came:?}");
    }
}

/// The state is not restored with the stream (section 5.2), and nothing that was held back is lost with the connection.
#[tokio::test]
async fn a_resumed_stream_is_active() {
    let server = Server::with_users(9);
    for transport in Transport::ALL {
        let (plain, mut one) = friends(&server, transport).await;
        let jid = plain.bare().to_owned();
        plain.close().await;
        let mut client = managed(&server, transport, &jid).await;
        inactive(&mut client).await;
        fidget(&mut one, "away").await;
        settle(&mut one, &jid).await;
        let session = lose(&server, client, Loss::Reset).await;
        let mut client = Client::resume(&server, transport, &session).await;
        client.wait(&present(&one, "away")).await;
        client.forget().await;
        fidget(&mut one, "dnd").await;
        for show in ["away", "dnd", "xa", "chat", "dnd"] {
            client.expect(&present(&one, show)).await;
        }
        client.nothing_more().await;
        // With acknowledgements the counters agree, whatever was held back or dropped.
        client.inactive().await;
        fidget(&mut one, "xa").await;
        one.send(chat(&client.jid, "x")).await;
        client.wait("<message type='chat'/>").await;
        client.ack().await;
        client.active().await;
        client.nothing_more().await;
        client.ack().await;
        client.nothing_more().await;
    }
}

/// Nobody else is told (section 6), and the sent presence is not touched (section 5).
#[tokio::test]
async fn nobody_is_told() {
    let server = Server::with_users(6);
    for transport in Transport::ALL {
        let (mut client, mut one) = friends(&server, transport).await;
        for _ in 0..3 {
            client.inactive().await;
            client.active().await;
        }
        client.inactive().await;
        client.ping().await;
        one.nothing_more().await;
        client.presence("<presence><show>xa</show></presence>").await;
        one.expect(&present(&client, "xa")).await;
    }
}
