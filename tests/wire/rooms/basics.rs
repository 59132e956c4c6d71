//! What every room does, over every transport: somebody makes it, others come, all hear each other, all leave.

use testkit::{Client, Server, Transport, password_of};

use super::{MUC, USER, change, join, make, room_of, say};
use crate::support::error_of;

#[tokio::test]
async fn a_room_is_made_and_everybody_hears_everybody() {
    let server = Server::with_users(16);
    for transport in Transport::EVERY {
        let room = room_of(&server);
        let mut a = Client::online(&server, transport, &format!("{}/a", server.user())).await;
        let mut b = Client::online(&server, transport, &format!("{}/b", server.user())).await;

        make(&mut a, &room, "first", &["persistentroom=1"]).await;
        join(&mut b, &room, "second").await;
        a.expect(&format!(
            "<presence from='{room}/second'><x xmlns='{USER}'><item affiliation='none' role='participant' jid='{}'/></x></presence>",
            b.jid
        ))
        .await;

        say(&mut b, &room, "m1", "one").await;
        say(&mut b, &room, "m2", "two").await;
        for client in [&mut a, &mut b] {
            for (id, text) in [("m1", "one"), ("m2", "two")] {
                let message = client
                    .expect(&format!(
                        "<message from='{room}/second' type='groupchat' id='{id}'><body>{text}</body>\
                         <stanza-id xmlns='urn:xmpp:sid:0' by='{room}'/></message>"
                    ))
                    .await;
                assert_eq!(message.raw().matches("<stanza-id").count(), 1, "{}", message.raw());
            }
        }

        b.send(format!("<presence to='{room}/second' type='unavailable'/>"))
            .await;
        a.expect(&format!("<presence from='{room}/second' type='unavailable'/>"))
            .await;
        b.expect(&format!(
            "<presence from='{room}/second' type='unavailable'><x xmlns='{USER}'><status code='110'/></x></presence>"
        ))
        .await;
        a.nothing_more().await;
        b.nothing_more().await;
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_leaves_its_rooms() {
    let server = Server::with_users(16);
    for transport in Transport::EVERY {
        let room = room_of(&server);
        let mut a = Client::online(&server, transport, &format!("{}/a", server.user())).await;
        let mut b = Client::online(&server, transport, &format!("{}/b", server.user())).await;
        make(&mut a, &room, "first", &[]).await;
        join(&mut b, &room, "second").await;
        a.forget().await;
        match transport {
            // Its connections come and go; it ends when the client says so, or after a while.
            Transport::Bosh => b.close().await,
            _ => b.cut(),
        }
        a.expect(&format!("<presence from='{room}/second' type='unavailable'/>"))
            .await;
    }
}

#[tokio::test]
async fn a_room_that_is_not_there() {
    let server = Server::with_users(16);
    let transport = Transport::EVERY[0];
    let room = room_of(&server);
    let mut a = Client::online(&server, transport, &format!("{}/a", server.user())).await;
    let answer = a
        .iq("get", &room, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        .await;
    assert_eq!(error_of(&answer), "cancel/item-not-found", "{answer:?}");
    say(&mut a, &room, "m", "hello").await;
    let answer = a.stanza().await;
    assert_eq!(error_of(&answer), "cancel/item-not-found", "{answer:?}");
    // Leaving it is leaving nothing.
    a.send(format!("<presence to='{room}/nick' type='unavailable'/>")).await;
    // A temporary room is no more when its last occupant has gone.
    make(&mut a, &room, "nick", &["persistentroom=0"]).await;
    a.send(format!("<presence to='{room}/nick' type='unavailable'/>")).await;
    a.expect(&format!("<presence from='{room}/nick' type='unavailable'/>"))
        .await;
    let answer = a
        .iq("get", &room, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        .await;
    assert_eq!(error_of(&answer), "cancel/item-not-found", "{answer:?}");
    // And can be made anew.
    a.send(format!("<presence to='{room}/nick'><x xmlns='{MUC}'/></presence>"))
        .await;
    a.wait(&format!(
        "<presence from='{room}/nick'><x xmlns='{USER}'><status code='201'/></x></presence>"
    ))
    .await;
}

/// Whoever gets the name of an account that was removed is nobody in its rooms, whether they are in memory or not.
#[tokio::test]
async fn a_removed_account_is_nobody_in_its_rooms() {
    let server = Server::with_users(16);
    let transport = Transport::EVERY[0];
    let (owner, user) = (server.user(), server.user());
    let room = room_of(&server);
    let mut a = Client::online(&server, transport, &format!("{owner}/a")).await;
    make(&mut a, &room, "first", &["membersonly=1", "persistentroom=1"]).await;
    change(
        &mut a,
        &room,
        &format!("<item affiliation='member' jid='{user}' nick='second'/>"),
    )
    .await;
    let mut b = Client::online(&server, transport, &format!("{user}/b")).await;
    join(&mut b, &room, "second").await;
    b.close().await;
    a.forget().await;

    let removed = server.jackdaw(&["account", "remove", &user], "");
    assert!(removed.status.success(), "{removed:?}");
    // Who is there hears of it: a message, as nobody of that name is in the room.
    a.wait(&format!(
        "<message from='{room}'><x xmlns='{USER}'><item affiliation='none' jid='{user}'/></x></message>"
    ))
    .await;
    let members = "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='member'/></query>";
    let answer = a.iq("get", &room, members).await;
    assert!(!answer.raw().contains(&user), "{}", answer.raw());

    server.import(&[(user.clone(), password_of(&user))]);
    let mut b = Client::online(&server, transport, &format!("{user}/b")).await;
    b.send(format!("<presence to='{room}/second'><x xmlns='{MUC}'/></presence>"))
        .await;
    let answer = b.wait("<presence type='error'/>").await;
    assert_eq!(error_of(&answer), "auth/registration-required", "{answer:?}");
}
