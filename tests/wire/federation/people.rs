//! People of other servers in rooms of ours, and those whom nobody knows.

use testkit::{Client, Stanza, Transport};

use super::{THERE, World, friend, message};
use crate::pep::{publish, pubsub};
use crate::rooms::{MUC, USER, make};
use crate::support::{chat, error_of, is_result};

const ROOMS: &str = "conference.example.org";
const TOO_MUCH: &str = "wait/policy-violation";

/// Somebody of the other server comes into a room.
async fn enters(link: &mut Client, room: &str, who: &str, nick: &str) -> Stanza {
    link.send(format!(
        "<presence from='{who}' to='{room}/{nick}'><x xmlns='{MUC}'><history maxstanzas='0'/></x></presence>"
    ))
    .await;
    link.wait(&format!(
        "<presence to='{who}' from='{room}/{nick}'><x xmlns='{USER}'><status code='110'/></x></presence>"
    ))
    .await
}

/// Row 25 of the attacks in rooms; and who is gone leaves them (XEP-0045 section 18.1.2, XEP-0410).
#[tokio::test]
async fn in_a_room() {
    let world = World::new(1).await;
    let mut owner = world.user().await;
    let room = format!("a@{ROOMS}");
    make(&mut owner, &room, "owner", &[]).await;
    let mut link = world.remote.bidi(&world.server, ROOMS).await;
    let who = format!("{}/x", friend());
    enters(&mut link, &room, &who, "friend").await;
    owner.wait(&format!("<presence from='{room}/friend'/>")).await;
    let forged = format!(
        "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='forged'/><p:occupant-id xmlns:p='urn:xmpp:occupant-id:0' id='forged'/>\
         <stanza-id xmlns='urn:xmpp:sid:0' by='{room}' id='forged'/><p:stanza-id xmlns:p='urn:xmpp:sid&#58;0' by='{room}' id='forged'/>\
         <stanza-id xmlns='urn:xmpp:sid:0' id='forged'/><delay xmlns='urn:xmpp:delay' from='{room}' stamp='2001-01-01T00:00:00Z'/>\
         <x xmlns='{USER}'><status code='104'/></x>"
    );
    for count in [0, 1, 2, 9] {
        let forged = forged.repeat(count);
        link.send(format!(
            "<message type='groupchat' id='f{count}' from='{who}' to='{room}'>{forged}<body>said</body></message>"
        ))
        .await;
        let came = owner
            .wait(&format!(
                "<message type='groupchat' id='f{count}'><body>said</body></message>"
            ))
            .await;
        assert!(!came.raw().contains("forged"), "{came:?}");
        for name in ["occupant-id", "stanza-id"] {
            let ours = came.children().filter(|child| child.name() == name);
            assert_eq!(ours.count(), 1, "{name}: {came:?}");
        }
        assert_eq!(came.children().count(), 3, "{came:?}");
    }
    // It asks whether it is still there.
    let ping = |id: &str, nick: &str| {
        format!("<iq type='get' id='{id}' from='{who}' to='{room}/{nick}'><ping xmlns='urn:xmpp:ping'/></iq>")
    };
    link.send(ping("p1", "friend")).await;
    link.wait(&format!("<iq type='result' id='p1' to='{who}' from='{room}/friend'/>"))
        .await;
    for (number, condition) in [
        "gone",
        "item-not-found",
        "recipient-unavailable",
        "redirect",
        "remote-server-not-found",
        "remote-server-timeout",
        "service-unavailable",
    ]
    .into_iter()
    .enumerate()
    {
        let nick = format!("ghost{number}");
        let who = format!("{}/{nick}", friend());
        enters(&mut link, &room, &who, &nick).await;
        link.send(format!(
            "<message type='error' from='{who}' to='{room}/owner'><error type='cancel' by='{THERE}'><{condition} \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        ))
        .await;
        owner
            .wait(&format!(
                "<presence type='unavailable' from='{room}/{nick}'><x xmlns='{USER}'><status code='333'/></x></presence>"
            ))
            .await;
        // Who believes to be there finds out.
        link.send(format!(
            "<iq type='get' id='{nick}' from='{who}' to='{room}/{nick}'><ping xmlns='urn:xmpp:ping'/></iq>"
        ))
        .await;
        let answer = link.wait(&format!("<iq type='error' id='{nick}'/>")).await;
        assert_eq!(error_of(&answer), "cancel/not-acceptable");
    }
    // What goes wrong there is not told with the name of the server.
    owner.send(chat(&format!("{room}/friend"), "private")).await;
    link.wait(&format!("<message to='{who}' type='chat' id='private'/>"))
        .await;
    link.send(format!(
        "<message type='error' id='private' from='{who}' to='{room}/owner'><error type='cancel' by='{THERE}'>\
         <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    ))
    .await;
    let error = owner
        .wait(&format!("<message type='error' id='private' from='{room}/friend'/>"))
        .await;
    assert!(!error.raw().contains(THERE), "{error:?}");
}

/// Row 32: nobody writes to everybody, and the accounts of a server are counted together.
#[tokio::test]
async fn strangers() {
    let world = World::with(3, |builder| {
        builder
            .limit("stranger_messages_per_hour_in_all", 2)
            .limit("stranger_requests_per_hour", 1)
    })
    .await;
    let users = [(); 3].map(|()| world.server.user());
    let mut link = world.bidi().await;
    link.send(message(&friend(), &users[0], "1")).await;
    link.send(message(&friend(), &users[1], "2")).await;
    link.send(message(&friend(), &users[2], "3")).await;
    let refused = link.expect("<message type='error' id='3'/>").await;
    assert_eq!(error_of(&refused), TOO_MUCH);
    // Somebody else may.
    link.send(message(&format!("other@{THERE}"), &users[2], "4")).await;
    let request =
        |from: &str, to: &str, id: &str| format!("<presence type='subscribe' id='{id}' from='{from}' to='{to}'/>");
    link.send(request(&friend(), &users[0], "r1")).await;
    link.send(request(&friend(), &users[1], "r2")).await;
    let refused = link.expect("<presence type='error' id='r2'/>").await;
    assert_eq!(error_of(&refused), TOO_MUCH);
}

/// Whom nobody wants, by a list that somebody keeps, writes to no account, even where strangers may.
#[tokio::test]
async fn whom_nobody_wants() {
    const LISTED: &str = "bbda63643fa3d9826f2c03a2ecfaa9b9f244646c3691e3ef4ede011b564ad686";
    const SERVICE: &str = "pubsub.example.org";
    let mut world = World::with(2, |builder| {
        builder
            .domain_toml("strangers = \"allow\"")
            .toml("\n[rooms]\nblock_lists = [\"xmpp:pubsub.example.org?;node=blocked\"]\n")
    })
    .await;
    let mut keeper = world.user().await;
    let keeper_jid = keeper.jid.clone();
    is_result(
        &keeper.iq("set", SERVICE, &pubsub("<create node='blocked'/>")).await,
        "",
    );
    keeper.cut();
    // It is looked for at the start.
    world.server.kill9();
    world.server.start();
    let mut keeper = Client::online(&world.server, Transport::Starttls, &keeper_jid).await;
    let mut owner = world.user().await;
    let room = format!("a@{ROOMS}");
    make(&mut owner, &room, "owner", &[]).await;
    let mut link = world.bidi().await;
    let mut to_rooms = world.remote.bidi(&world.server, ROOMS).await;
    let who = format!("{}/x", friend());
    enters(&mut to_rooms, &room, &who, "friend").await;
    link.send(message(&friend(), &owner.jid, "before")).await;
    owner.wait("<message type='chat'><body>before</body></message>").await;
    let item = "<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/>";
    is_result(
        &keeper.iq("set", SERVICE, &publish("blocked", LISTED, item, &[])).await,
        "",
    );
    // He is put out as soon as the list is known.
    owner
        .wait(&format!(
            "<presence type='unavailable' from='{room}/friend'><x xmlns='{USER}'><status code='307'/></x></presence>"
        ))
        .await;
    link.send(message(&friend(), &owner.jid, "after")).await;
    let refused = link.expect("<message type='error' id='after'/>").await;
    assert_eq!(error_of(&refused), "cancel/service-unavailable");
    // A request is not seen by anybody.
    link.send(format!(
        "<presence type='subscribe' from='{}' to='{}'/>",
        friend(),
        owner.bare()
    ))
    .await;
    link.ping().await;
    owner.nothing_more().await;
}
