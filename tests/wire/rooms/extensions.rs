//! What rooms can do beside XEP-0045: pictures (XEP-0486), hats (XEP-0317), slow mode (XEP-0500), mentions (XEP-0452).

use testkit::{Client, Server, Transport};

use super::{USER, change, join, make, room_of, say};
use crate::support::error_of;

const TRANSPORT: Transport = Transport::Direct;
const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const VCARD: &str = "<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>YWJj</BINVAL></PHOTO></vCard>";
const HASH: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

async fn online(server: &Server) -> Client {
    Client::online(server, TRANSPORT, &format!("{}/here", server.user())).await
}

fn changed(room: &str) -> String {
    format!("<message from='{room}' type='groupchat'><x xmlns='{USER}'><status code='104'/></x></message>")
}

async fn command(client: &mut Client, room: &str, node: &str, fields: &[(&str, &str)]) -> String {
    let field = |(var, value): &(&str, &str)| format!("<field var='hats#{var}'><value>{value}</value></field>");
    let fields: String = fields.iter().map(field).collect();
    let payload = format!(
        "<command xmlns='http://jabber.org/protocol/commands' action='execute' node='urn:xmpp:hats:commands:{node}'>\
         <x xmlns='jabber:x:data' type='submit'>{fields}</x></command>"
    );
    let answer = client.iq("set", room, &payload).await;
    match answer.get("type") {
        "result" => answer
            .get_child("command", "http://jabber.org/protocol/commands")
            .and_then(|command| command.attr("status"))
            .unwrap_or_default()
            .to_owned(),
        _ => error_of(&answer),
    }
}

#[tokio::test]
async fn pictures_and_hats_outlive_a_crash() {
    let mut server = Server::with_users(8);
    let (room, owner) = (room_of(&server), format!("{}/here", server.user()));
    let mut a = Client::online(&server, TRANSPORT, &owner).await;
    let (mut b, mut c) = (online(&server).await, online(&server).await);
    make(&mut a, &room, "first", &["persistentroom=1"]).await;
    join(&mut b, &room, "second").await;
    a.forget().await;
    let ask = "<vCard xmlns='vcard-temp'/>";
    let answer = c.iq("get", &room, ask).await;
    assert_eq!(error_of(&answer), "cancel/item-not-found", "{answer:?}");
    let answer = b.iq("set", &room, VCARD).await;
    assert_eq!(error_of(&answer), "auth/forbidden", "{answer:?}");
    let (_, service) = room.split_once('@').expect("an address");
    let answer = c.iq("get", service, INFO).await;
    assert!(answer.raw().contains("<feature var='vcard-temp'/>"), "{answer:?}");
    let answer = a.iq("set", &room, VCARD).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
    a.expect(&changed(&room)).await;
    b.expect(&changed(&room)).await;

    let host = [("title", "Host"), ("uri", "urn:example:host"), ("hue", "12.5")];
    assert_eq!(command(&mut b, &room, "create", &host).await, "auth/forbidden");
    assert_eq!(command(&mut a, &room, "create", &host).await, "completed");
    a.expect(&changed(&room)).await;
    b.expect(&changed(&room)).await;
    let whose = [("jid", b.bare().to_owned()), ("uri", "urn:example:host".to_owned())];
    let whose = whose.each_ref().map(|(var, value)| (*var, value.as_str()));
    assert_eq!(command(&mut a, &room, "assign", &whose).await, "completed");
    let hat = "<hat title='Host' uri='urn:example:host' hue='12.5'/>";
    let wears = format!("<presence from='{room}/second'><hats xmlns='urn:xmpp:hats:0'>{hat}</hats></presence>");
    a.expect(&wears).await;
    b.expect(&wears).await;
    // Nobody puts one on himself.
    let own = "<hats xmlns='urn:xmpp:hats:0'><hat title='King' uri='urn:example:king'/></hats>";
    b.send(format!("<presence to='{room}/second'>{own}</presence>")).await;
    for client in [&mut a, &mut b] {
        let presence = client.expect(&wears).await;
        assert!(!presence.raw().contains("King"), "{presence:?}");
    }

    server.kill9();
    server.start();
    let mut a = Client::online(&server, TRANSPORT, &owner).await;
    let mut b = Client::online(&server, TRANSPORT, &b.jid).await;
    let info = a.iq("get", &room, INFO).await;
    assert!(
        info.raw().contains(HASH) && info.raw().contains("hats#hash"),
        "{info:?}"
    );
    let answer = a.iq("get", &room, ask).await;
    assert!(answer.raw().contains(VCARD), "{answer:?}");
    join(&mut a, &room, "first").await;
    join(&mut b, &room, "second").await;
    a.expect(&wears).await;
    let answer = a.iq("set", &room, ask).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
    a.expect(&changed(&room)).await;
    let answer = a.iq("get", &room, ask).await;
    assert_eq!(error_of(&answer), "cancel/item-not-found", "{answer:?}");
}

#[tokio::test]
async fn slow_mode_and_mentions() {
    let server = Server::with_users(8);
    let room = room_of(&server);
    let (mut a, mut b, mut c) = (online(&server).await, online(&server).await, online(&server).await);
    let fields = ["slow_mode_duration=3600", "forwardmentions=1"];
    make(&mut a, &room, "first", &fields).await;
    join(&mut b, &room, "second").await;
    a.forget().await;
    let away = server.user();
    for (jid, nick) in [(c.bare(), "third"), (&away, "fourth")] {
        change(
            &mut a,
            &room,
            &format!("<item affiliation='member' jid='{jid}' nick='{nick}'/>"),
        )
        .await;
    }
    let mention = |nick: &str| {
        format!("<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:{room}/{nick}' begin='0' end='5'/>")
    };
    let mentions = mention("third") + &mention("fourth");
    b.send(format!(
        "<message to='{room}' type='groupchat' id='m'><body>third, fourth</body>{mentions}</message>"
    ))
    .await;
    let inner = format!(
        "<message xmlns='jabber:client' from='{room}/second' to='{room}' type='groupchat' id='m'>\
         <body>third, fourth</body><stanza-id xmlns='urn:xmpp:sid:0' by='{room}'/></message>"
    );
    let forwarded = format!(
        "<message from='{room}'><mentions xmlns='urn:xmpp:mmn:0'><forwarded xmlns='urn:xmpp:forward:0'>\
         <delay xmlns='urn:xmpp:delay'/>{inner}</forwarded></mentions></message>"
    );
    // It has heard what it is here before.
    c.wait(&forwarded).await;
    a.wait("<message type='groupchat' id='m'/>").await;
    b.wait("<message type='groupchat' id='m'/>").await;
    // Who is not there at all has it when he comes.
    let mut d = Client::online(&server, TRANSPORT, &format!("{away}/later")).await;
    d.wait(&forwarded).await;
    // A second one within the hour.
    say(&mut b, &room, "n", "too fast").await;
    let refused = b.stanza().await;
    assert_eq!(error_of(&refused), "wait/policy-violation", "{refused:?}");
    say(&mut a, &room, "o", "an owner").await;
    say(&mut a, &room, "p", "says what he likes").await;
    for id in ["o", "p"] {
        b.expect(&format!("<message type='groupchat' id='{id}'/>")).await;
    }
    let info = c.iq("get", &room, INFO).await;
    let field = "<field var='muc#roominfo_slow_mode_duration' type='text-single' label='Slow Mode'><value>3600</value>";
    assert!(info.raw().contains(field), "{info:?}");
}
