//! Streams that last: what is acknowledged on them, what becomes of them when the server stops, and who may take them
//! over.

use testkit::{Client, Loss, NS_SM, Offers, TIMEOUT};

use super::{HERE, THERE, World, expect_message, friend, message};
use crate::support::chat;

/// XEP-0198 between servers: what is acknowledged to the peer is on disk, and a stream that broke goes on.
#[tokio::test]
async fn what_comes_is_acknowledged() {
    let mut world = World::new(2).await;
    let away = world.server.user();
    let mut link = world.remote.authenticated(&world.server, HERE).await;
    assert!(link.is_offered("sm", NS_SM), "{:?}", link.features);
    link.enable().await;
    for text in ["1", "2", "3"] {
        link.send(message(&friend(), &away, text)).await;
    }
    link.all_acked().await;
    link.send(message(&friend(), &away, "4")).await;
    let session = link.lose(Loss::Reset);
    let mut link = world.remote.authenticated(&world.server, HERE).await;
    let resumed = link.try_resume(&session).await;
    assert_eq!(
        (resumed.name(), resumed.get("previd")),
        ("resumed", session.id.as_str())
    );
    let h: u32 = resumed.get("h").parse().expect("a number");
    assert!((3..=4).contains(&h), "{resumed:?}");
    for text in ["4", "5"].iter().skip(h as usize - 3) {
        link.send(message(&friend(), &away, text)).await;
    }
    link.acked_to(5).await;
    // It was acknowledged, so it is there after a crash.
    world.server.kill9();
    world.server.start();
    let mut user = Client::login(&world.server, testkit::Transport::Starttls, &format!("{away}/x")).await;
    let came = crate::support::waiting(&mut user, 5).await;
    assert_eq!(crate::support::bodies(&came), ["1", "2", "3", "4", "5"]);
}

/// A stream is resumed by whose it is.
#[tokio::test]
async fn nobody_elses() {
    let world = World::new(1).await;
    let other = world.federation.remote("other.example").await;
    let mut link = world.remote.authenticated(&world.server, HERE).await;
    link.enable().await;
    let session = link.lose(Loss::Reset);
    let mut thief = other.authenticated(&world.server, HERE).await;
    let refused = thief.try_resume(&session).await;
    assert!(refused.raw().contains("item-not-found"), "{refused:?}");
    let mut link = world.remote.authenticated(&world.server, HERE).await;
    assert_eq!(link.try_resume(&session).await.name(), "resumed");
}

/// With both directions, what was on its way to the peer is given to the stream that goes on.
#[tokio::test]
async fn both_directions_go_on() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    let mut link = world.bidi().await;
    link.enable().await;
    link.send(message(&friend(), &user.jid, "1")).await;
    user.expect("<message type='chat'><body>1</body></message>").await;
    user.send(chat(&friend(), "2")).await;
    expect_message(&mut link, "2").await;
    let received = link.received();
    link.ack_at(received).await;
    user.send(chat(&friend(), "3")).await;
    link.wait("<message type='chat'><body>3</body></message>").await;
    let mut session = link.lose(Loss::Reset);
    // As if the last had not been read.
    session.received = received;
    let mut link = world.remote.opened(&world.server, HERE).await;
    link.send("<bidi xmlns='urn:xmpp:bidi'/>").await;
    link.external("=").await;
    assert_eq!(link.try_resume(&session).await.name(), "resumed");
    link.wait("<message type='chat'><body>3</body></message>").await;
    link.ping().await;
    user.nothing_more().await;
}

/// A stop in good order closes streams, in both directions, and what was not acknowledged is sent by the next server.
#[tokio::test]
async fn a_stop_in_good_order() {
    let mut world = World::new(1).await;
    let jid = format!("{}/here", world.server.user());
    let mut user = crate::support::managed(&world.server, testkit::Transport::Starttls, &jid).await;
    user.send(chat(&friend(), "1")).await;
    let mut out = world.remote.received(Offers::managed()).await;
    expect_message(&mut out, "1").await;
    out.ack().await;
    user.send(chat(&friend(), "2")).await;
    expect_message(&mut out, "2").await;
    let mut come = world.remote.authenticated(&world.server, HERE).await;
    world.server.sigterm();
    for link in [&mut out, &mut come] {
        let error = link.wait("<stream:error/>").await;
        assert_eq!(error.condition(), Some("system-shutdown"), "{error:?}");
    }
    assert!(world.server.wait(TIMEOUT).expect("it ends").success());
    drop((out, come));
    world.server.start();
    let mut link = world.remote.received(Offers::managed()).await;
    let mut came = link.stanza().await;
    while came.name() != "message" {
        came = link.stanza().await;
    }
    assert_eq!(came.body(), "2", "{came:?}");
    assert_eq!(came.get("to"), format!("friend@{THERE}"));
}

/// RFC 6120 section 10.1: what need not be kept does not get past what has to be on disk first.
#[tokio::test]
async fn nothing_overtakes() {
    let world = World::new(1).await;
    let mut user = world.user().await;
    let typing = "<active xmlns='http://jabber.org/protocol/chatstates'/>";
    let (there, here) = (friend(), user.jid.clone());
    user.send(chat(&there, "first")).await;
    let mut out = world.remote.received(Offers::managed()).await;
    expect_message(&mut out, "first").await;
    // Who is seen may be asked (RFC 6121 section 8.5.3.1).
    user.send(format!("<presence to='{there}'/>")).await;
    out.expect(&format!("<presence to='{there}'/>")).await;
    for number in 0..20 {
        let text = chat(&there, &number.to_string());
        user.send(format!("{text}<message to='{there}' id='{number}'>{typing}</message>"))
            .await;
    }
    for number in 0..20 {
        expect_message(&mut out, &number.to_string()).await;
        out.expect(&format!("<message id='{number}'>{typing}</message>")).await;
    }
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    user.send(format!(
        "{}<iq type='get' id='p' to='{there}'>{ping}</iq>",
        chat(&there, "last")
    ))
    .await;
    expect_message(&mut out, "last").await;
    out.expect(&format!("<iq type='get' id='p'>{ping}</iq>")).await;
    let mut come = world.remote.authenticated(&world.server, HERE).await;
    for number in 0..20 {
        let text = message(&there, &here, &number.to_string());
        come.send(format!(
            "{text}<message from='{there}' to='{here}' id='{number}'>{typing}</message>"
        ))
        .await;
    }
    for number in 0..20 {
        user.expect(&format!("<message type='chat'><body>{number}</body></message>"))
            .await;
        user.expect(&format!("<message id='{number}'>{typing}</message>")).await;
    }
    let last = message(&there, &here, "last");
    come.send(format!(
        "{last}<iq type='get' id='p' from='{there}' to='{here}'>{ping}</iq>"
    ))
    .await;
    user.expect("<message type='chat'><body>last</body></message>").await;
    user.expect(&format!("<iq type='get' id='p'>{ping}</iq>")).await;
}

/// The stream is there already: what is for the same pair goes over it, and a service has one of its own.
#[tokio::test]
async fn one_stream_for_a_pair() {
    let world = World::new(2).await;
    let (mut one, mut two) = (world.user().await, world.user().await);
    one.send(chat(&friend(), "1")).await;
    two.send(chat(&friend(), "1")).await;
    let mut link = world.remote.received(Offers::default()).await;
    for _ in 0..2 {
        link.wait("<message type='chat'><body>1</body></message>").await;
    }
    assert!(
        world
            .remote
            .accept_within(std::time::Duration::from_millis(50))
            .await
            .is_none()
    );
    // A service answers in its own name.
    let mut ask = world
        .remote
        .authenticated(&world.server, "conference.example.org")
        .await;
    ask.send(format!(
        "<iq type='get' id='1' from='{THERE}' to='conference.example.org'><ping xmlns='urn:xmpp:ping'/></iq>"
    ))
    .await;
    let mut link = world.remote.received(Offers::default()).await;
    assert_eq!(link.domain, "conference.example.org");
    link.expect("<iq type='result' id='1' from='conference.example.org'/>")
        .await;
}
