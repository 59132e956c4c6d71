//! Push notifications for messages of rooms (XEP-0357), by the setting in the bookmark of the room (XEP-0492).
//!
//! That something was not told is seen by the number of messages in what is told next.

use testkit::{Client, Loss, Transport};

use super::{change, configure, join, make, room_of, say};
use crate::push::{SERVICE, announced, builder, enable, online};
use crate::support::{chat, lose, managed};

const TRANSPORT: Transport = Transport::Direct;

async fn bookmark(client: &mut Client, room: &str, attributes: &str, notify: &str) {
    let settings = match notify {
        "" => String::new(),
        notify => format!(
            "<extensions><notify xmlns='urn:xmpp:notification-settings:1'>\
             <never identity-category='client' identity-type='pc'/>{notify}</notify></extensions>"
        ),
    };
    let publish = format!(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='urn:xmpp:bookmarks:1'><item id='{room}'>\
         <conference xmlns='urn:xmpp:bookmarks:1' {attributes}>{settings}</conference></item></publish></pubsub>"
    );
    let answer = client.iq("set", "", &publish).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
}

async fn heard(client: &mut Client, text: &str) {
    client
        .wait(&format!("<message type='groupchat'><body>{text}</body></message>"))
        .await;
}

#[tokio::test]
async fn who_is_in_the_room_and_away() {
    let server = builder(3).start();
    let mut service = Client::component(&server, SERVICE).await;
    let room = room_of(&server);
    let mut a = online(&server, &format!("{}/a", server.user())).await;
    make(&mut a, &room, "first", &["persistentroom=1", "membersonly=0"]).await;
    let user = server.user();
    let mut phone = managed(&server, TRANSPORT, &format!("{user}/phone")).await;
    enable(&mut phone, "phone").await;
    join(&mut phone, &room, "second").await;
    // It is there and looked at.
    say(&mut a, &room, "m", "second: are you there?").await;
    heard(&mut phone, "second: are you there?").await;
    // It is away: in a room for everybody it is told what mentions it, and in the end it has all.
    let session = lose(&server, phone, Loss::Reset).await;
    say(&mut a, &room, "m", "nothing for anybody").await;
    say(&mut a, &room, "m", "hello, Second!").await;
    announced(&mut service, "phone", 1).await;
    let mut phone = Client::resume(&server, TRANSPORT, &session).await;
    heard(&mut phone, "nothing for anybody").await;
    heard(&mut phone, "hello, Second!").await;
    // The bookmark says that it wants all; what one says oneself is not told.
    bookmark(&mut phone, &room, "", "<always/>").await;
    let mut desktop = online(&server, &format!("{user}/desktop")).await;
    join(&mut desktop, &room, "second").await;
    phone.forget().await;
    let session = lose(&server, phone, Loss::Reset).await;
    say(&mut desktop, &room, "m", "second says so").await;
    heard(&mut desktop, "second says so").await;
    say(&mut a, &room, "m", "one more").await;
    announced(&mut service, "phone", 1).await;
    // What is said of oneself without a word is none.
    a.send(format!(
        "<message to='{room}' type='groupchat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
    ))
    .await;
    // It wants none; the desktop says so.
    bookmark(&mut desktop, &room, "", "<never/>").await;
    say(&mut a, &room, "m", "second: please").await;
    heard(&mut desktop, "second: please").await;
    bookmark(
        &mut desktop,
        &room,
        "",
        "<never/><on-mention identity-category='client' identity-type='phone'/>",
    )
    .await;
    say(&mut a, &room, "m", "seconds").await;
    let answer = format!(
        "<message to='{room}' type='groupchat'><body>yes</body>\
         <reply xmlns='urn:xmpp:reply:0' id='x' to='{room}/second'/></message>"
    );
    a.send(answer).await;
    announced(&mut service, "phone", 2).await;
    drop(session);
}

#[tokio::test]
async fn who_belongs_to_the_room_and_is_not_in_it() {
    let mut server = builder(7).start();
    let mut service = Client::component(&server, SERVICE).await;
    let room = room_of(&server);
    let owner = format!("{}/a", server.user());
    let mut a = online(&server, &owner).await;
    make(&mut a, &room, "first", &["persistentroom=1", "membersonly=1"]).await;
    let mut users = Vec::new();
    for (node, attributes, notify, nick) in [
        // In a private room everything is told; but not to who does not enter it.
        ("joins", "autojoin='true'", "", ""),
        ("left", "autojoin='false'", "", ""),
        ("never", "autojoin='true'", "<never/>", ""),
        ("mention", "", "<on-mention/>", "nick='Mentioned'"),
    ] {
        let user = server.user();
        change(
            &mut a,
            &room,
            &format!("<item affiliation='member' jid='{user}' {nick}/>"),
        )
        .await;
        let mut phone = online(&server, &format!("{user}/phone")).await;
        phone.forget().await;
        enable(&mut phone, node).await;
        bookmark(&mut phone, &room, attributes, notify).await;
        phone.close().await;
        users.push((user, node));
    }
    a.forget().await;
    say(&mut a, &room, "m", "to all").await;
    heard(&mut a, "to all").await;
    announced(&mut service, "joins", 1).await;
    say(&mut a, &room, "m", "mentioned: you too").await;
    let told = |node: &str, count: u32| {
        let push = format!(
            "<item><notification xmlns='urn:xmpp:push:0'><x xmlns='jabber:x:data'><field var='message-count'>\
             <value>{count}</value></field></x></notification></item>"
        );
        format!(
            "<iq type='set'><pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'>{push}</publish>\
             </pubsub></iq>"
        )
    };
    service.expect_all(&[&told("joins", 2), &told("mention", 1)]).await;
    for (user, node) in &users {
        if matches!(*node, "left" | "never") {
            a.send(chat(user, "to you")).await;
            announced(&mut service, node, 1).await;
        }
    }
    // Nobody of them is in memory, and what they want stands on the disk.
    server.kill9();
    server.start();
    let mut service = Client::component(&server, SERVICE).await;
    let mut a = online(&server, &owner).await;
    join(&mut a, &room, "first").await;
    say(&mut a, &room, "m", "again").await;
    announced(&mut service, "joins", 1).await;
    // In a room for everybody who has not said what he wants hears of mentions.
    let answer = configure(&mut a, &room, &["membersonly=0"]).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
    say(&mut a, &room, "m", "for nobody").await;
    a.send(format!(
        "<message to='{room}' type='groupchat'><body>x</body>\
         <reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:{}'/></message>",
        users[0].0
    ))
    .await;
    announced(&mut service, "joins", 2).await;
}
