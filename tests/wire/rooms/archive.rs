//! The archive of a room (XEP-0313 section 6.1.2): who reads it and what he is shown, and what stays of it after a crash.

use testkit::{ArchiveQuery, Archived, Client, NS_MAM, Page, Server, Transport};

use super::{OWNER, USER, change, configure, join, join_with, make, nobody_knows, room_of, say};
use crate::support::{error_of, is_result};

/// Says something, and returns the id that the room has given it.
async fn said(client: &mut Client, room: &str, id: &str, text: &str) -> String {
    say(client, room, id, text).await;
    let message = client
        .wait(&format!("<message type='groupchat' id='{id}'><body/></message>"))
        .await;
    message.stanza_id(room).to_owned()
}

async fn bodies(client: &mut Client, room: &str) -> Vec<String> {
    let all = client.whole_archive(&ArchiveQuery::new().of(room)).await;
    all.iter().map(Archived::body).collect()
}

#[tokio::test]
async fn a_room_is_read_page_by_page() {
    let server = Server::with_users(12);
    for transport in Transport::EVERY {
        let room = room_of(&server);
        let mut owner = Client::online(&server, transport, &format!("{}/a", server.user())).await;
        make(&mut owner, &room, "first", &[]).await;
        let mut ids = Vec::new();
        for text in ["one", "two", "three", "four", "five"] {
            ids.push(said(&mut owner, &room, text, text).await);
        }
        // Who has never been there may read what he could hear. Another device of his is told nothing.
        let jid = server.user();
        let mut reader = Client::online(&server, transport, &format!("{jid}/a")).await;
        let mut other = Client::online(&server, transport, &format!("{jid}/b")).await;
        reader.forget().await;
        other.forget().await;

        let all = ArchiveQuery::new().of(&room);
        let whole = reader.whole_archive(&all.clone().max(2)).await;
        assert_eq!(
            whole.iter().map(|message| &message.id).collect::<Vec<_>>(),
            ids.iter().collect::<Vec<_>>()
        );
        for message in &whole {
            let message = &message.message;
            let expected = format!(
                "<message from='{room}/first' type='groupchat'><body/><occupant-id xmlns='urn:xmpp:occupant-id:0'/></message>"
            );
            assert_eq!(message.mismatch(&expected), None, "{message:?}");
            assert_eq!(
                (message.get("to"), message.stanza_ids(&room).len()),
                ("", 0),
                "{message:?}"
            );
        }
        let page = |page: &Page| page.bodies().join(" ");
        let last = reader.archive_page(&all.clone().max(2).before("")).await;
        assert_eq!(page(&last), "four five");
        let flipped = reader.archive_page(&all.clone().max(2).before(&ids[2]).flipped()).await;
        assert_eq!(page(&flipped), "two one");
        let between = all.clone().field("after-id", &ids[0]).field("before-id", &ids[3]);
        assert_eq!(page(&reader.archive_page(&between).await), "two three");
        let two = reader.archive_page(&all.clone().ids(&[&ids[4], &ids[1]])).await;
        assert_eq!(page(&two), "two five");
        let error = reader.archive_error(&all.clone().after("0000000000000000")).await;
        assert_eq!(error_of(&error), "cancel/item-not-found");
        let error = reader
            .archive_error(&all.clone().field("include-groupchat", "true"))
            .await;
        assert_eq!(error_of(&error), "cancel/feature-not-implemented");
        let metadata = reader.iq("get", &room, &format!("<metadata xmlns='{NS_MAM}'/>")).await;
        is_result(
            &metadata,
            &format!(
                "<metadata xmlns='{NS_MAM}'><start id='{}'/><end id='{}'/></metadata>",
                ids[0], ids[4]
            ),
        );
        let form = reader.iq("get", &room, &format!("<query xmlns='{NS_MAM}'/>")).await;
        is_result(
            &form,
            &format!("<query xmlns='{NS_MAM}'><x xmlns='jabber:x:data' type='form'><field var='with'/></x></query>"),
        );
        let prefs = reader.iq("get", &room, &format!("<prefs xmlns='{NS_MAM}'/>")).await;
        assert_eq!(error_of(&prefs), "cancel/feature-not-implemented", "{prefs:?}");
        let info = reader
            .iq("get", &room, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
            .await;
        is_result(
            &info,
            "<query xmlns='http://jabber.org/protocol/disco#info'><feature var='urn:xmpp:mam:2'/>\
             <feature var='urn:xmpp:mam:2#extended'/><feature var='urn:xmpp:sid:0'/></query>",
        );
        reader.nothing_more().await;
        other.nothing_more().await;
    }
}

#[tokio::test]
async fn who_may_not_enter_reads_nothing() {
    let server = Server::with_users(3);
    let room = room_of(&server);
    let transport = Transport::Starttls;
    let mut owner = Client::online(&server, transport, &format!("{}/a", server.user())).await;
    let mut other = Client::online(&server, transport, &format!("{}/b", server.user())).await;
    let all = ArchiveQuery::new().of(&room);
    let error = other.archive_error(&all).await;
    assert_eq!(error_of(&error), "cancel/item-not-found", "there is no room");
    make(&mut owner, &room, "first", &[]).await;
    said(&mut owner, &room, "m", "secret").await;
    let bare = other.bare().to_owned();
    let to = |affiliation: &str| format!("<item affiliation='{affiliation}' jid='{bare}'/>");
    assert_eq!(bodies(&mut other, &room).await, ["secret"]);

    change(&mut owner, &room, &to("outcast")).await;
    assert_eq!(error_of(&other.archive_error(&all).await), "auth/forbidden");
    let metadata = format!("<metadata xmlns='{NS_MAM}'/>");
    assert_eq!(error_of(&other.iq("get", &room, &metadata).await), "auth/forbidden");
    change(&mut owner, &room, &to("none")).await;
    is_result(&configure(&mut owner, &room, &["membersonly=1"]).await, "");
    assert_eq!(error_of(&other.archive_error(&all).await), "auth/forbidden");
    change(&mut owner, &room, &to("member")).await;
    assert_eq!(bodies(&mut other, &room).await, ["secret"]);
    change(&mut owner, &room, &to("none")).await;
    let fields = ["membersonly=0", "passwordprotectedroom=1", "roomsecret=cauldronburn"];
    is_result(&configure(&mut owner, &room, &fields).await, "");
    assert_eq!(error_of(&other.archive_error(&all).await), "auth/forbidden");
    join_with(&mut other, &room, "second", "<password>cauldronburn</password>").await;
    other.forget().await;
    assert_eq!(bodies(&mut other, &room).await, ["secret"]);
}

/// Who somebody is stands in the archive, and nobody is told but moderators (attack row 25).
#[tokio::test]
async fn an_archive_tells_no_addresses() {
    let server = Server::with_users(4);
    let room = room_of(&server);
    let transport = Transport::Starttls;
    let mut owner = Client::online(&server, transport, &format!("{}/a", server.user())).await;
    let mut other = Client::online(&server, transport, &format!("{}/b", server.user())).await;
    let mut third = Client::online(&server, transport, &format!("{}/c", server.user())).await;
    make(&mut owner, &room, "first", &["whois=moderators"]).await;
    join(&mut other, &room, "second").await;
    said(&mut other, &room, "hidden", "hidden").await;
    owner
        .send(format!(
            "<message to='{room}' type='groupchat' id='s'><subject>s</subject></message>"
        ))
        .await;
    other
        .wait("<message type='groupchat' id='s'><subject>s</subject></message>")
        .await;
    let all = ArchiveQuery::new().of(&room);
    let read = third.whole_archive(&all).await;
    assert_eq!(read.len(), 2, "also the subject");
    let messages: Vec<_> = read.into_iter().map(|archived| archived.message).collect();
    nobody_knows(&messages, &[&owner, &other]);
    for who in [
        other.bare().to_owned(),
        other.jid.clone(),
        "nobody@example.org".to_owned(),
    ] {
        let error = third.archive_error(&all.clone().with(&who)).await;
        assert_eq!(error_of(&error), "auth/forbidden", "{who}");
    }
    let by_nick = third.archive_page(&all.clone().with(&format!("{room}/second"))).await;
    assert_eq!(by_nick.bodies(), ["hidden"]);

    let shown = |jid: &str| format!("<message type='groupchat'><x xmlns='{USER}'><item jid='{jid}'/></x></message>");
    let read = owner.whole_archive(&all.clone().with(other.bare())).await;
    assert_eq!(read.len(), 1);
    assert_eq!(read[0].message.mismatch(&shown(other.bare())), None, "{read:?}");

    // What was hidden stays hidden from others when the room opens.
    is_result(&configure(&mut owner, &room, &["whois=anyone"]).await, "");
    said(&mut other, &room, "known", "known").await;
    let read = third.whole_archive(&all).await;
    let message = &read[2].message;
    assert_eq!(message.mismatch(&shown(&other.jid)), None, "{message:?}");
    let messages: Vec<_> = read.into_iter().take(2).map(|archived| archived.message).collect();
    nobody_knows(&messages, &[&owner, &other]);
    let known = third.whole_archive(&all.with(other.bare())).await;
    assert_eq!(known.iter().map(Archived::body).collect::<Vec<_>>(), ["known"]);
}

/// What everybody has heard is in the archive after a crash, and who enters then is given it as before.
#[tokio::test]
async fn history_comes_from_the_archive_after_a_crash() {
    let mut server = Server::with_users(3);
    let transport = Transport::Starttls;
    let (room, jid, other) = (room_of(&server), server.user(), server.user());
    let mut owner = Client::online(&server, transport, &format!("{jid}/a")).await;
    make(&mut owner, &room, "first", &[]).await;
    let mut ids = Vec::new();
    for text in ["one", "two", "three"] {
        ids.push(said(&mut owner, &room, text, text).await);
    }
    let subject = format!("<message to='{room}' type='groupchat'><subject>fire burn</subject></message>");
    owner.send(subject).await;
    owner
        .wait("<message type='groupchat'><subject>fire burn</subject></message>")
        .await;
    let composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    owner
        .send(format!("<message to='{room}' type='groupchat'>{composing}</message>"))
        .await;
    owner
        .wait(&format!("<message type='groupchat'>{composing}</message>"))
        .await;
    server.kill9();
    server.start();

    let mut client = Client::online(&server, transport, &format!("{other}/b")).await;
    assert_eq!(bodies(&mut client, &room).await, ["one", "two", "three", ""]);
    join_with(&mut client, &room, "second", "").await;
    for (text, id) in ["one", "two", "three"].into_iter().zip(&ids) {
        let message = client
            .expect(&format!(
                "<message from='{room}/first' type='groupchat' id='{text}'><body>{text}</body>\
                 <stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='{id}'/><delay xmlns='urn:xmpp:delay' from='{room}'/>\
                 <occupant-id xmlns='urn:xmpp:occupant-id:0'/></message>"
            ))
            .await;
        nobody_knows(&[message], &[&owner]);
    }
    client
        .expect(&format!(
            "<message from='{room}/first' type='groupchat'><subject>fire burn</subject></message>"
        ))
        .await;
    client.nothing_more().await;
}

#[tokio::test]
async fn of_a_destroyed_room_nothing_is_left() {
    let server = Server::with_users(2);
    let room = room_of(&server);
    let mut owner = Client::online(&server, Transport::Starttls, &format!("{}/a", server.user())).await;
    for _ in 0..2 {
        make(&mut owner, &room, "first", &[]).await;
        assert_eq!(bodies(&mut owner, &room).await, [""; 0]);
        said(&mut owner, &room, "m", "x").await;
        assert_eq!(bodies(&mut owner, &room).await, ["x"]);
        let destroy = format!("<query xmlns='{OWNER}'><destroy/></query>");
        is_result(&owner.iq("set", &room, &destroy).await, "");
        owner.forget().await;
    }
}
