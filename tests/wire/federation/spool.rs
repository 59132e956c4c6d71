//! What waits for a server that cannot be reached: nothing is lost on the way, and whoever has written hears of it when it
//! is over. Row 55 of the faults.

use testkit::{Client, Loss, Offers, Session, Stanza};

use super::{HERE, THERE, World, bounced, expect_message, friend, message};
use crate::support::{chat, error_of};

/// Somebody of the server whose acknowledgements are counted, with a resource.
async fn managed(world: &World, jid: &str) -> Client {
    crate::support::managed(&world.server, testkit::Transport::Starttls, jid).await
}

/// The scripted server has been reached once, so it is expected back. The stream.
async fn reached(world: &World, user: &mut Client, offers: Offers) -> Client {
    user.send(chat(&friend(), "first")).await;
    let mut link = world.remote.received(offers).await;
    expect_message(&mut link, "first").await;
    if offers.management {
        link.ack().await;
    }
    link
}

/// These messages, and they are on disk.
async fn send_durably(user: &mut Client, texts: &[&str]) {
    for text in texts {
        user.send(chat(&friend(), text)).await;
    }
    user.all_acked().await;
}

fn is_message(stanza: &Stanza) -> bool {
    stanza.name() == "message"
}

/// So many messages, in order, whatever comes between.
async fn bodies(link: &mut Client, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        let stanza = link.stanza().await;
        if is_message(&stanza) {
            bodies.push(stanza.body());
        }
    }
    bodies
}

/// Nothing but this comes, proved by a message behind it.
async fn nothing_but(link: &mut Client, user: &mut Client, text: &str) {
    user.send(chat(&friend(), text)).await;
    assert_eq!(bodies(link, 1).await, [text]);
}

#[tokio::test]
async fn it_is_down_for_a_while() {
    let mut world = World::new(1).await;
    let jid = format!("{}/here", world.server.user());
    let mut user = managed(&world, &jid).await;
    let link = reached(&world, &mut user, Offers::managed()).await;
    world.remote.down();
    link.close().await;
    send_durably(&mut user, &["1", "2", "3"]).await;
    // What is of the moment does not wait.
    let answer = user.iq("get", THERE, "<ping xmlns='urn:xmpp:ping'/>").await;
    assert_eq!(error_of(&answer), "wait/remote-server-timeout");
    drop(user);
    world.server.kill9();
    world.server.start();
    let mut user = managed(&world, &jid).await;
    send_durably(&mut user, &["4", "5"]).await;
    user.nothing_more().await;
    world.remote.up().await;
    let mut link = world.remote.received(Offers::managed()).await;
    link.answer_requests(true);
    assert_eq!(bodies(&mut link, 5).await, ["1", "2", "3", "4", "5"]);
    link.ack().await;
    nothing_but(&mut link, &mut user, "6").await;
    link.ack().await;
    user.ping().await;
    // What was acknowledged is gone from the disk, too.
    drop(link);
    until_spool_is(&world, 0).await;
    // Whoever has connected meanwhile is gone with it.
    world.remote.down();
    world.server.kill9();
    world.server.start();
    world.remote.up().await;
    let mut user = managed(&world, &jid).await;
    user.send(chat(&friend(), "7")).await;
    let mut link = world.remote.received(Offers::managed()).await;
    assert_eq!(bodies(&mut link, 1).await, ["7"]);
}

fn database(world: &World) -> rusqlite::Connection {
    let path = world.server.folder().join("data/jackdaw.sqlite");
    rusqlite::Connection::open(path).expect("the server has made it")
}

/// So many rows wait.
async fn until_spool_is(world: &World, rows: i64) {
    let began = std::time::Instant::now();
    loop {
        let count = database(world).query_row("SELECT count(*) FROM remote_spool", [], |row| row.get(0));
        if count == Ok(rows) {
            return;
        }
        assert!(began.elapsed() < testkit::TIMEOUT, "{count:?} wait, and not {rows}");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

/// After its time a message comes back, once, and says why.
#[tokio::test]
async fn it_is_down_for_good() {
    let mut world = World::new(1).await;
    let jid = format!("{}/here", world.server.user());
    let mut user = managed(&world, &jid).await;
    let link = reached(&world, &mut user, Offers::managed()).await;
    world.remote.down();
    link.close().await;
    send_durably(&mut user, &["1", "2"]).await;
    user.send(format!("<presence type='subscribe' to='{}'/>", friend()))
        .await;
    until_spool_is(&world, 3).await;
    // As if they had waited for so long, most of it while the server was not there: what passes while it runs it counts by
    // a clock that nobody can change.
    world.server.kill9();
    let hours: i64 = 49 * 3_600_000;
    let changed = database(&world).execute("UPDATE remote_spool SET at = at - ?1", [hours]);
    assert_eq!(changed, Ok(3));
    world.server.start();
    let mut user = managed(&world, &jid).await;
    for id in ["1", "2"] {
        let came = user.wait_keeping(|stanza| stanza.name() == "message").await;
        assert_eq!((came.get("id"), came.get("from")), (id, friend().as_str()), "{came:?}");
        assert_eq!(error_of(&came), "wait/remote-server-timeout", "{came:?}");
        assert!(!super::text_of(&came).is_empty(), "{came:?}");
    }
    until_spool_is(&world, 0).await;
    let _ = user.drain().await;
    // It is too late.
    world.remote.up().await;
    user.send(chat(&friend(), "3")).await;
    let mut link = world.remote.received(Offers::managed()).await;
    assert_eq!(bodies(&mut link, 1).await, ["3"]);
    assert!(user.drain().await.iter().all(|stanza| !is_message(stanza)));
}

/// Row 55: the line breaks with much on its way, and the stream goes on.
#[tokio::test]
async fn a_stream_is_resumed() {
    let world = World::new(1).await;
    let jid = format!("{}/here", world.server.user());
    let mut user = managed(&world, &jid).await;
    let mut link = reached(&world, &mut user, Offers::managed()).await;
    let texts: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    for text in &texts {
        user.send(chat(&friend(), text)).await;
    }
    let mut came = bodies(&mut link, 300).await;
    link.ack_at(200).await;
    user.all_acked().await;
    for how in Loss::BOTH {
        let session = known(link, how, &came);
        link = world.remote.received_tls().await;
        link.receive_login(Offers::managed()).await;
        link.receive_resumption(&session, true).await;
        let count = 600.min(texts.len() - came.len());
        came.extend(bodies(&mut link, count).await);
    }
    assert_eq!(came.len(), texts.len());
    assert_eq!(came, texts);
    link.ack().await;
    nothing_but(&mut link, &mut user, "last").await;
    user.nothing_more().await;
}

/// What the scripted server knows of a stream when its line breaks: what the test has read, and not more.
fn known(link: Client, how: Loss, came: &[String]) -> Session {
    let mut session = link.lose(how);
    // The first one came before.
    session.received = u32::try_from(came.len() + 1).expect("few");
    session
}

/// The peer has forgotten the stream: what it had not acknowledged comes again, and nothing else.
#[tokio::test]
async fn a_stream_is_not_resumed() {
    let world = World::new(1).await;
    let jid = format!("{}/here", world.server.user());
    let mut user = managed(&world, &jid).await;
    let mut link = reached(&world, &mut user, Offers::managed()).await;
    send_durably(&mut user, &["1", "2", "3", "4"]).await;
    assert_eq!(bodies(&mut link, 4).await, ["1", "2", "3", "4"]);
    // The one before, and two of these.
    link.ack_at(3).await;
    user.ping().await;
    until_spool_is(&world, 2).await;
    let session = link.lose(Loss::Reset);
    let mut link = world.remote.received_tls().await;
    link.receive_login(Offers::managed()).await;
    link.receive_resumption(&session, false).await;
    assert_eq!(bodies(&mut link, 2).await, ["3", "4"]);
    link.ack().await;
    nothing_but(&mut link, &mut user, "5").await;
}

/// A peer without stream management is asked whether it has got everything: any answer says so.
#[tokio::test]
async fn without_stream_management() {
    let world = World::new(1).await;
    let jid = format!("{}/here", world.server.user());
    let mut user = managed(&world, &jid).await;
    let mut link = reached(&world, &mut user, Offers::default()).await;
    let mut back = world.remote.authenticated(&world.server, HERE).await;
    send_durably(&mut user, &["1", "2"]).await;
    // One answer each for what stands before it: an error, which says as much, and a result.
    answer_pings_until(&world, &mut link, &mut back, 0).await;
    send_durably(&mut user, &["3", "4"]).await;
    let mut came = Vec::new();
    while came.len() < 2 {
        let stanza = link.stanza().await;
        if is_message(&stanza) {
            came.push(stanza.body());
        }
    }
    assert_eq!(came, ["3", "4"]);
    // It breaks before it has answered. Both may come twice, and do.
    link.cut();
    let mut link = world.remote.received(Offers::default()).await;
    assert_eq!(bodies(&mut link, 2).await, ["3", "4"]);
    answer_pings_until(&world, &mut link, &mut back, 0).await;
    nothing_but(&mut link, &mut user, "5").await;
}

/// Answers whatever the server asks, until so many rows are left.
async fn answer_pings_until(world: &World, link: &mut Client, back: &mut Client, rows: i64) {
    let mut is_error = true;
    let answering = async {
        loop {
            let stanza = link.stanza().await;
            if stanza.name() != "iq" {
                continue;
            }
            assert!(stanza.has_child("ping", "urn:xmpp:ping"), "{stanza:?}");
            let (id, from, to) = (stanza.get("id"), stanza.get("from"), stanza.get("to"));
            let error =
                "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>";
            let (kind, inner) = if is_error { ("error", error) } else { ("result", "") };
            is_error = !is_error;
            back.send(format!(
                "<iq type='{kind}' id='{id}' from='{to}' to='{from}'>{inner}</iq>"
            ))
            .await;
        }
    };
    tokio::select! {
        () = answering => {}
        () = until_spool_is(world, rows) => {}
    }
}

/// Somebody else's answer says nothing.
#[tokio::test]
async fn who_may_say_that_it_arrived() {
    let world = World::new(1).await;
    let jid = format!("{}/here", world.server.user());
    let mut user = managed(&world, &jid).await;
    let mut link = reached(&world, &mut user, Offers::default()).await;
    let other = world.federation.remote("other.example").await;
    let mut evil = other.authenticated(&world.server, HERE).await;
    let ping = link.wait("<iq type='get'><ping xmlns='urn:xmpp:ping'/></iq>").await;
    let (id, from) = (ping.get("id"), ping.get("from"));
    evil.send(format!(
        "<iq type='result' id='{id}' from='other.example' to='{from}'/>"
    ))
    .await;
    evil.send(message("a@other.example", &user.jid, "behind")).await;
    user.expect("<message type='chat'><body>behind</body></message>").await;
    until_spool_is(&world, 1).await;
    let mut back = world.remote.authenticated(&world.server, HERE).await;
    back.send(format!("<iq type='result' id='{id}' from='{THERE}' to='{from}'/>"))
        .await;
    until_spool_is(&world, 0).await;
}

/// A server that was never reached is not waited for: it may be a mistyped address.
#[tokio::test]
async fn never_reached() {
    let mut world = World::new(1).await;
    let mut user = world.user().await;
    world.remote.down();
    for text in ["1", "2"] {
        user.send(chat(&friend(), text)).await;
        bounced(&mut user, text, "wait/remote-server-timeout").await;
    }
    user.nothing_more().await;
    until_spool_is(&world, 0).await;
}
