//! What is taken back in a room: by who has said it (XEP-0424), and by moderators (XEP-0425).

use testkit::{ArchiveQuery, Client, Server, Stanza, Transport};

use super::{join, join_with, make, room_of, say};
use crate::support::{error_of, is_result};

const RETRACT: &str = "urn:xmpp:message-retract:1";
const MODERATE: &str = "urn:xmpp:message-moderate:1";

async fn said(client: &mut Client, room: &str, id: &str, text: &str) -> String {
    say(client, room, id, text).await;
    let message = client
        .wait(&format!("<message type='groupchat' id='{id}'><body/></message>"))
        .await;
    message.stanza_id(room).to_owned()
}

/// Somebody says that a message is taken back, and everybody hears that.
async fn retract(client: &mut Client, room: &str, id: &str, by: &str) {
    let retract = format!("<retract xmlns='{RETRACT}' id='{id}'/>");
    client
        .send(format!(
            "<message to='{room}' type='groupchat' id='{by}'>{retract}<body>x</body></message>"
        ))
        .await;
    client
        .wait(&format!("<message type='groupchat' id='{by}'>{retract}</message>"))
        .await;
}

fn moderate(id: &str) -> String {
    format!(
        "<moderate xmlns='{MODERATE}' id='{id}'><retract xmlns='{RETRACT}'/><reason>This message contains inappropriate \
         content for this forum</reason></moderate>"
    )
}

async fn archive(client: &mut Client, room: &str) -> Vec<Stanza> {
    let all = client.whole_archive(&ArchiveQuery::new().of(room)).await;
    all.into_iter().map(|archived| archived.message).collect()
}

/// Waits until this message is a tombstone: it becomes one behind the retraction.
async fn tombstone(client: &mut Client, room: &str, id: &str) -> Stanza {
    for _ in 0..1_000 {
        let query = ArchiveQuery::new().of(room).ids(&[id]);
        let message = client.archive_page(&query).await.messages.remove(0).message;
        if message.has_child("retracted", RETRACT) {
            return message;
        }
    }
    panic!("it stays");
}

#[tokio::test]
async fn who_has_said_it_takes_it_back() {
    let mut server = Server::with_users(20);
    let mut rooms = Vec::new();
    for transport in Transport::EVERY {
        let (room, jid, other) = (room_of(&server), server.user(), server.user());
        let mut owner = Client::online(&server, transport, &format!("{jid}/a")).await;
        let mut author = Client::online(&server, transport, &format!("{other}/b")).await;
        make(&mut owner, &room, "first", &[]).await;
        join(&mut author, &room, "second").await;
        let id = said(&mut author, &room, "m1", "one").await;
        // An owner is nobody else either; he moderates.
        retract(&mut owner, &room, &id, "foreign").await;
        let kept = said(&mut author, &room, "m2", "two").await;
        assert_eq!(archive(&mut owner, &room).await[0].body(), "one");

        author.send(format!("<presence to='{room}/renamed'/>")).await;
        retract(&mut author, &room, &id, "r1").await;
        let message = tombstone(&mut owner, &room, &id).await;
        let expected = format!(
            "<message from='{room}/second' type='groupchat' id='m1'><occupant-id xmlns='urn:xmpp:occupant-id:0'/>\
             <retracted xmlns='{RETRACT}' id='r1'/></message>"
        );
        assert_eq!(message.mismatch(&expected), None, "{message:?}");
        assert_eq!(message.body(), "");
        let all = archive(&mut owner, &room).await;
        assert_eq!(all.len(), 4, "{all:?}");
        assert!(all[3].has_child("retract", RETRACT), "{all:?}");
        rooms.push((room, jid, id, kept));
    }
    server.kill9();
    server.start();
    // Who comes now is told that there was something, and not what.
    for (room, jid, id, kept) in rooms {
        let mut client = Client::online(&server, Transport::Starttls, &format!("{jid}/c")).await;
        join_with(&mut client, &room, "first", "").await;
        let buried = format!(
            "<message from='{room}/second' type='groupchat' id='m1'><retracted xmlns='{RETRACT}' id='r1'/>\
             <stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='{id}'/><delay xmlns='urn:xmpp:delay' from='{room}'/></message>"
        );
        let message = client.expect(&buried).await;
        assert_eq!(message.body(), "");
        client
            .expect("<message type='groupchat' id='foreign'><body>x</body></message>")
            .await;
        client
            .expect(&format!(
                "<message type='groupchat' id='m2'><body>two</body><stanza-id xmlns='urn:xmpp:sid:0' id='{kept}'/></message>"
            ))
            .await;
        client
            .expect(&format!(
                "<message type='groupchat' id='r1'><retract xmlns='{RETRACT}' id='{id}'/></message>"
            ))
            .await;
    }
}

#[tokio::test]
async fn moderators_take_it_back() {
    let mut server = Server::with_users(3);
    let transport = Transport::Starttls;
    let (room, jid, other) = (room_of(&server), server.user(), server.user());
    let mut owner = Client::online(&server, transport, &format!("{jid}/a")).await;
    let mut author = Client::online(&server, transport, &format!("{other}/b")).await;
    make(&mut owner, &room, "macbeth", &[]).await;
    join(&mut author, &room, "oldhag").await;
    let id = said(&mut author, &room, "m1", "DM me for free magic potions!").await;
    owner.forget().await;

    // Sections 2 and 3.2.
    let info = author
        .iq("get", &room, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        .await;
    is_result(
        &info,
        &format!("<query xmlns='http://jabber.org/protocol/disco#info'><feature var='{MODERATE}'/></query>"),
    );
    let answer = author.iq("set", &room, &moderate(&id)).await;
    assert_eq!(error_of(&answer), "auth/forbidden", "{answer:?}");
    let answer = owner.iq("set", &room, &moderate("0000000000000000")).await;
    assert_eq!(error_of(&answer), "cancel/item-not-found", "{answer:?}");
    let answer = owner
        .iq("set", &room, &format!("<moderate xmlns='{MODERATE}' id='{id}'/>"))
        .await;
    assert_eq!(error_of(&answer), "modify/bad-request", "{answer:?}");

    // Section 3.1.
    owner
        .send(format!(
            "<iq type='set' to='{room}' id='retract-request-1'>{}</iq>",
            moderate(&id)
        ))
        .await;
    let reason = "<reason>This message contains inappropriate content for this forum</reason>";
    let moderated = format!(
        "<moderated xmlns='{MODERATE}' by='{room}/macbeth'><occupant-id xmlns='urn:xmpp:occupant-id:0'/></moderated>{reason}"
    );
    let message = format!(
        "<message type='groupchat' from='{room}'><retract xmlns='{RETRACT}' id='{id}'>{moderated}</retract></message>"
    );
    author.expect(&message).await;
    let told = owner.expect(&message).await;
    let told_id = told.get("id").to_owned();
    assert!(!told_id.is_empty() && !told.stanza_id(&room).is_empty(), "{told:?}");
    owner
        .expect(&format!("<iq type='result' from='{room}' id='retract-request-1'/>"))
        .await;
    // The result is a promise.
    server.kill9();
    server.start();

    let mut author = Client::online(&server, transport, &format!("{other}/b")).await;
    let all = archive(&mut author, &room).await;
    let buried = format!(
        "<message from='{room}/oldhag' type='groupchat' id='m1'><occupant-id xmlns='urn:xmpp:occupant-id:0'/>\
         <retracted xmlns='{RETRACT}' id='{told_id}'>{moderated}</retracted></message>"
    );
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(all[0].mismatch(&buried), None, "{all:?}");
    assert_eq!(all[1].mismatch(&message), None, "{all:?}");
    assert_eq!(all[0].body(), "");
    join_with(&mut author, &room, "oldhag", "").await;
    author.expect(&buried).await;
    author.expect(&message).await;
    // Nobody says so in the room's place.
    author
        .send(format!(
            "<message to='{room}' type='groupchat' id='f'><retract xmlns='{RETRACT}' id='{id}'>{moderated}</retract>\
             <body>x</body></message>"
        ))
        .await;
    let forged = author
        .wait("<message type='groupchat' id='f'><body>x</body></message>")
        .await;
    assert!(!forged.has_child("retract", RETRACT), "{forged:?}");
}
