//! Up to where chats were read, on all devices of an account (XEP-0490).

use testkit::{Client, Server, Transport};

use crate::pep::{hears, items, publish, pubsub, refusal, wants};
use crate::support::{befriend, is_result};

const NODE: &str = "urn:xmpp:mds:displayed:0";
const MARKER: &str = "<displayed xmlns='urn:xmpp:chat-markers:0' id='the-msg-1'/>";

fn displayed(by: &str, id: &str) -> String {
    format!("<displayed xmlns='{NODE}'><stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id}'/></displayed>")
}

fn item(chat: &str, content: &str) -> String {
    format!("<items node='{NODE}'><item id='{chat}'>{content}</item></items>")
}

/// Sections 4.1 to 4.4, and what the server does in section 4.5.
#[tokio::test]
async fn a_chat_is_read_on_all_devices() {
    let server = Server::with_users(8);
    for transport in Transport::EVERY {
        let user = server.user();
        let mut a = Client::online(&server, transport, &format!("{user}/a")).await;
        let mut b = Client::online(&server, transport, &format!("{user}/b")).await;
        let mut romeo = Client::online(&server, transport, &server.user()).await;
        let contact = romeo.bare().to_owned();
        befriend(&mut a, &mut romeo).await;
        for client in [&mut a, &mut b, &mut romeo] {
            wants(client, &[NODE]).await;
        }
        b.iq("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>").await;
        for client in [&mut a, &mut b, &mut romeo] {
            client.forget().await;
        }
        let info = a
            .iq("get", &user, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
            .await;
        let assist = "<feature var='urn:xmpp:mds:server-assist:0'/>";
        is_result(
            &info,
            &format!("<query xmlns='http://jabber.org/protocol/disco#info'>{assist}</query>"),
        );

        // The node comes into being by a message.
        let first = displayed(&user, "1");
        a.send(format!(
            "<message to='{contact}' id='m'>{MARKER}{first}<store xmlns='urn:xmpp:hints'/></message>"
        ))
        .await;
        let came = romeo.wait_keeping(|stanza| stanza.get("id") == "m").await;
        assert!(
            came.matches(&format!("<message from='{}'>{MARKER}</message>", a.jid)),
            "{}",
            came.raw()
        );
        assert!(!came.raw().contains(NODE), "{}", came.raw());
        hears(&mut a, &user, &item(&contact, &first)).await;
        // The other device: the copy of the message, and the event, whichever comes first.
        let (mut copied, mut told) = (false, false);
        while !(copied && told) {
            let stanza = b.wait_keeping(|stanza| stanza.name() == "message").await;
            let is_event = stanza
                .get_child("event", "http://jabber.org/protocol/pubsub#event")
                .is_some();
            if is_event {
                assert!(stanza.raw().contains(&format!("id='{contact}'")), "{}", stanza.raw());
                told = true;
            } else {
                assert!(
                    stanza.raw().contains("urn:xmpp:chat-markers:0") && !stanza.raw().contains(NODE),
                    "{}",
                    stanza.raw()
                );
                copied = true;
            }
        }
        // Nobody's archive has it.
        for client in [&mut a, &mut romeo] {
            client
                .send("<iq type='set' id='h'><query xmlns='urn:xmpp:mam:2'/></iq>")
                .await;
            let mut marked = false;
            loop {
                let stanza = client.wait_keeping(|_| true).await;
                assert!(!stanza.raw().contains(NODE), "{}", stanza.raw());
                marked |= stanza.raw().contains("chat-markers");
                if stanza.get("id") == "h" {
                    break;
                }
            }
            assert!(marked);
        }

        // Its own publication goes to the same node, without a conflict.
        let second = displayed(&user, "2");
        let options = [
            ("persist_items", "true"),
            ("max_items", "max"),
            ("send_last_published_item", "never"),
            ("access_model", "whitelist"),
        ];
        is_result(&b.iq("set", "", &publish(NODE, &contact, &second, &options)).await, "");
        hears(&mut a, &user, &item(&contact, &second)).await;
        let room = displayed("room@chat.example", "x");
        is_result(
            &b.iq("set", "", &publish(NODE, "room@chat.example", &room, &options))
                .await,
            "",
        );
        hears(&mut a, &user, &item("room@chat.example", &room)).await;
        let all = format!(
            "<items node='{NODE}'><item id='{contact}'>{second}</item><item id='room@chat.example'>{room}</item></items>"
        );
        is_result(&a.iq("get", "", &items(NODE)).await, &pubsub(&all));
        // It is nobody else's business.
        romeo.nothing_more().await;
        let closed = ("cancel/not-allowed".to_owned(), Some("closed-node".to_owned()));
        assert_eq!(refusal(&romeo.iq("get", &user, &items(NODE)).await), closed);
        for client in [a, b, romeo] {
            client.close().await;
        }
    }
}

/// Whatever becomes of the message: it is taken out, and no error comes of it.
#[tokio::test]
async fn taken_out_of_every_message() {
    let server = Server::with_users(2);
    let transport = Transport::Direct;
    let mut a = Client::online(&server, transport, &server.user()).await;
    let mut b = Client::online(&server, transport, &server.user()).await;
    let (own, other) = (a.bare().to_owned(), b.bare().to_owned());
    wants(&mut a, &[NODE]).await;
    // To oneself without an address, with two of them, in a message of every type.
    for (number, kind) in ["normal", "chat", "headline"].into_iter().enumerate() {
        let [one, two] = [displayed(&own, "1"), displayed(&own, "2")];
        let id = format!("t{number}");
        let text = format!("<message to='{other}' type='{kind}' id='{id}'>{one}<body>{number}</body>{two}</message>");
        a.send(&text).await;
        let came = b.wait_keeping(|stanza| stanza.get("id") == id).await;
        assert!(
            came.matches(&format!("<message type='{kind}'><body>{number}</body></message>")),
            "{}",
            came.raw()
        );
        assert!(!came.raw().contains(NODE), "{}", came.raw());
        hears(&mut a, &own, &item(&other, &one)).await;
        hears(&mut a, &own, &item(&other, &two)).await;
    }
    // To nobody: the error has nothing of it, and it is published all the same.
    let text = format!(
        "<message to='nobody@elsewhere.example' id='n'><body>x</body>{}</message>",
        displayed(&own, "3")
    );
    a.send(&text).await;
    let (mut refused, mut told) = (false, false);
    while !(refused && told) {
        let stanza = a.wait_keeping(|stanza| stanza.name() == "message").await;
        refused |= stanza.get("type") == "error" && stanza.get("id") == "n";
        told |= stanza.get("type") == "headline" && stanza.raw().contains("nobody@elsewhere.example");
    }
    // Too much for an item: the message goes its way.
    let long = format!("<displayed xmlns='{NODE}'>{}</displayed>", "x".repeat(200_000));
    a.send(format!("<message to='{other}' id='l'><body>y</body>{long}</message>"))
        .await;
    let came = b.wait_keeping(|stanza| stanza.get("id") == "l").await;
    assert!(came.raw().len() < 1_000, "{}", came.raw().len());
    a.nothing_more().await;
    b.nothing_more().await;
    for client in [a, b] {
        client.close().await;
    }
}
