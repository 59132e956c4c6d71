//! Which messages are copied (XEP-0280 section 6.1, in force by the feature `urn:xmpp:carbons:rules:0`), and which are
//! not (section 9, XEP-0334 section 4.3).

use testkit::{Client, Server, Stanza, Transport};

use crate::support::{enable_carbons, up_to_mark};

const NS: &str = "urn:xmpp:carbons:2";

/// (type, content, whether it is copied when it comes, and when it is sent)
const RULES: [(&str, &str, bool, bool); 24] = [
    ("chat", "<body>x</body>", true, true),
    ("chat", "", true, true),
    (
        "chat",
        "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
        true,
        true,
    ),
    ("", "<body>x</body>", true, true),
    ("normal", "<body>x</body>", true, true),
    ("nonsense", "<body>x</body>", true, true),
    ("", "", false, false),
    ("", "<subject>x</subject>", false, false),
    ("", "<x xmlns='urn:x'><body>x</body></x>", false, false),
    ("", "<body xmlns='urn:x'>x</body>", false, false),
    ("", "<request xmlns='urn:xmpp:receipts'/>", true, true),
    ("", "<received xmlns='urn:xmpp:receipts' id='1'/>", true, true),
    (
        "",
        "<active xmlns='http://jabber.org/protocol/chatstates'/>",
        true,
        true,
    ),
    ("", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", true, true),
    ("headline", "<body>x</body>", false, false),
    ("groupchat", "<body>x</body>", false, false),
    // Invitations: direct and mediated.
    (
        "",
        "<x xmlns='jabber:x:conference' jid='room@muc.example.net'/>",
        true,
        true,
    ),
    (
        "",
        "<x xmlns='http://jabber.org/protocol/muc#user'><invite from='a@example.net'/></x>",
        true,
        true,
    ),
    // Private messages of a room: those that come have been copied by the room.
    (
        "chat",
        "<body>x</body><x xmlns='http://jabber.org/protocol/muc#user'/>",
        false,
        true,
    ),
    (
        "",
        "<body>x</body><x xmlns='http://jabber.org/protocol/muc#user'/>",
        false,
        true,
    ),
    // What the sender does not want copied.
    (
        "chat",
        "<body>x</body><private xmlns='urn:xmpp:carbons:2'/>",
        false,
        false,
    ),
    ("chat", "<body>x</body><no-copy xmlns='urn:xmpp:hints'/>", false, false),
    (
        "chat",
        "<body>x</body><private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/>",
        false,
        false,
    ),
    // Of another namespace it says nothing.
    ("chat", "<body>x</body><private xmlns='urn:x'/>", true, true),
];

fn messages(came: Vec<Stanza>) -> Vec<Stanza> {
    came.into_iter().filter(|stanza| stanza.name() == "message").collect()
}

/// Two devices of one user, both of which want copies, and one device of another.
async fn devices(server: &Server, transport: Transport) -> (Client, Client, Client) {
    let jid = server.user();
    let mut one = Client::online(server, transport, &format!("{jid}/one")).await;
    let mut two = Client::online(server, transport, &format!("{jid}/two")).await;
    let other = Client::online(server, transport, &format!("{}/other", server.user())).await;
    for client in [&mut one, &mut two] {
        enable_carbons(client).await;
        client.forget().await;
    }
    one.forget().await;
    (one, two, other)
}

#[tokio::test]
async fn every_rule() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let (mut one, mut two, mut other) = devices(&server, transport).await;
        for (kind, content, received, sent) in RULES {
            let message = |to: &str| {
                let kind = if kind.is_empty() {
                    String::new()
                } else {
                    format!(" type='{kind}'")
                };
                format!("<message to='{to}' id='r'{kind}>{content}</message>")
            };
            other.send(message(&one.jid)).await;
            let original = messages(up_to_mark(&mut other, &mut one).await);
            assert_eq!(original.len(), 1, "{kind} {content}: {original:?}");
            // Nothing of it is removed on the way, what forbids copies neither.
            let wanted = format!("<message type='*' id='r'>{content}</message>");
            let wanted = if kind.is_empty() {
                wanted.replace(" type='*'", "")
            } else {
                wanted
            };
            assert_eq!(original[0].mismatch(&wanted), None, "{original:?}");
            let copies = messages(up_to_mark(&mut other, &mut two).await);
            assert_eq!(
                copies.len(),
                usize::from(received),
                "received {kind} {content}: {copies:?}"
            );
            assert!(
                copies
                    .iter()
                    .all(|copy| copy.has_child("received", NS) && copy.get("type") == original[0].get("type"))
            );

            one.send(message(&other.jid)).await;
            let came = messages(up_to_mark(&mut one, &mut other).await);
            assert_eq!(came.len(), 1, "{kind} {content}: {came:?}");
            let copies = messages(up_to_mark(&mut one, &mut two).await);
            assert_eq!(copies.len(), usize::from(sent), "sent {kind} {content}: {copies:?}");
            assert!(copies.iter().all(|copy| copy.has_child("sent", NS)));
            one.nothing_more().await;
        }
    }
}

/// "of type error and sent in response to a message that was eligible"; others are not, and what becomes of a copy is
/// told to nobody (section 10.3).
#[tokio::test]
async fn errors() {
    let server = Server::with_users(4);
    let error = |to: &str, content: &str| {
        format!(
            "<message to='{to}' id='e' type='error'>{content}<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
    };
    for transport in Transport::BOTH {
        let (mut one, mut two, mut other) = devices(&server, transport).await;
        one.send(format!(
            "<message to='{}' id='e' type='chat'><body>x</body></message>",
            other.jid
        ))
        .await;
        other.expect("<message type='chat'/>").await;
        two.expect("<message type='chat'><sent xmlns='urn:xmpp:carbons:2'/></message>")
            .await;
        let to = one.jid.clone();
        other.send(error(&to, "<body>x</body>")).await;
        one.expect("<message type='error' id='e'/>").await;
        two.expect("<message type='error'><received xmlns='urn:xmpp:carbons:2'/></message>")
            .await;
        // A copy that bounces.
        other.send(crate::support::chat(&to, "y")).await;
        one.expect("<message type='chat'/>").await;
        two.expect("<message type='chat'/>").await;
        let own = two.bare().to_owned();
        two.send(error(&own, "")).await;
        two.send(format!("<message to='{own}' type='error' id='e'/>")).await;
        for client in [&mut one, &mut two, &mut other] {
            client.ping().await;
        }
        other.nothing_more().await;
    }
}

/// Somebody else's message that pretends to be a copy is not one, and does not arrive as one (CVE-2017-5589).
#[tokio::test]
async fn forged() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let (mut one, mut two, mut other) = devices(&server, transport).await;
        for kind in ["received", "sent"] {
            for to in [one.bare().to_owned(), one.jid.clone()] {
                other
                    .send(format!(
                        "<message to='{to}' type='chat'><{kind} xmlns='{NS}'><forwarded xmlns='urn:xmpp:forward:0'>\
                         <message xmlns='jabber:client' from='friend@example.net/x' to='{to}' type='chat'><body>Meet me</body></message>\
                         </forwarded></{kind}></message>"
                    ))
                    .await;
            }
        }
        for client in [&mut one, &mut two] {
            let came = messages(up_to_mark(&mut other, client).await);
            assert!(came.is_empty(), "{came:?}");
        }
    }
}
