//! Streams that are lost and not resumed yet (XEP-0198 sections 4, 5 and 7): what others see of them, what becomes of
//! what is sent to them, and what is left when their time is over.

use testkit::{Client, Loss, Server, Session, Transport};

use crate::support::{
    bodies, chat, enable_carbons, error_of, friends, lose, managed, resumable_for, roster, send_all, settle,
    up_to_mark, waiting,
};

/// Seconds that a lost stream is kept in tests that wait for its end.
const SHORT: u64 = 1;

fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

fn text(body: &str) -> String {
    format!("<message type='chat'><body>{body}</body></message>")
}

/// A contact that sees the presence of a user, and the user, whose stream can be resumed.
async fn watched(server: &Server, transport: Transport) -> (Client, Client) {
    let (mut watcher, plain) = friends(server, transport).await;
    let jid = plain.bare().to_owned();
    plain.close().await;
    let client = managed(server, transport, &format!("{jid}/lost")).await;
    watcher.wait(&format!("<presence from='{}'/>", client.jid)).await;
    (watcher, client)
}

/// "maintain the session on behalf of the client": nobody sees that it is lost.
#[tokio::test]
async fn presence_stays() {
    let server = Server::with_users(10);
    for transport in Transport::BOTH {
        for how in Loss::BOTH {
            let (mut watcher, client) = watched(&server, transport).await;
            let jid = client.jid.clone();
            let session = lose(&server, client, how).await;
            settle(&mut watcher, bare(&jid)).await;
            watcher.nothing_more().await;
            watcher
                .send(format!("<presence type='probe' to='{}'/>", bare(&jid)))
                .await;
            watcher.expect(&format!("<presence from='{jid}'/>")).await;
            // Whoever comes new sees it as well.
            let mut second = Client::login(&server, transport, &format!("{}/second", watcher.bare())).await;
            second.send("<presence/>").await;
            second.wait(&format!("<presence from='{jid}'/>")).await;
            second.close().await;
            watcher.forget().await;
            // The watcher's presence reaches it when it is back.
            watcher.presence("<presence><show>dnd</show></presence>").await;
            let mut client = Client::resume(&server, transport, &session).await;
            client
                .wait(&format!("<presence from='{}'><show>dnd</show></presence>", watcher.jid))
                .await;
            client.forget().await;
            watcher.nothing_more().await;
            // Closed, it is gone at once.
            client.close().await;
            watcher
                .expect(&format!("<presence type='unavailable' from='{jid}'/>"))
                .await;
            watcher.nothing_more().await;
        }
    }
}

/// Their time over, it is as if the client had left: contacts are told, requests are answered, messages wait.
#[tokio::test]
async fn the_time_is_over() {
    let server = resumable_for(24, SHORT);
    for transport in Transport::EVERY {
        for how in Loss::BOTH {
            if transport == Transport::Bosh && how == Loss::Fin {
                // There is no difference, and it takes its time.
                continue;
            }
            let (mut watcher, mut client) = watched(&server, transport).await;
            let jid = client.jid.clone();
            client.send(chat(watcher.bare(), "own")).await;
            watcher.expect(&text("own")).await;
            client.all_acked().await;
            // One that is read and not acknowledged.
            watcher.send(chat(&jid, "one")).await;
            client.wait(&text("one")).await;
            let session = lose(&server, client, how).await;
            watcher.send(chat(bare(&jid), "two")).await;
            watcher.send(chat(&jid, "three")).await;
            watcher
                .send(format!("<iq type='get' id='q' to='{jid}'><query xmlns='urn:x'/></iq>"))
                .await;
            watcher
                .expect_all(&[
                    &format!("<presence type='unavailable' from='{jid}'/>"),
                    &format!("<iq type='error' id='q' from='{jid}'/>"),
                ])
                .await
                .iter()
                .filter(|stanza| stanza.name() == "iq")
                .for_each(|answer| assert_eq!(error_of(answer), "cancel/service-unavailable"));
            watcher.send(chat(bare(&jid), "four")).await;
            settle(&mut watcher, bare(&jid)).await;
            watcher.nothing_more().await;
            // How many of its stanzas have been dealt with is still known, and told to its owner alone.
            let (mut client, failed) = Client::resume_in_vain(&server, transport, &session).await;
            assert_eq!(failed.condition(), Some("item-not-found"), "{failed:?}");
            assert_eq!(failed.get("h"), session.sent.to_string(), "{failed:?}");
            let thief = Session {
                jid: watcher.bare().to_owned(),
                ..session.clone()
            };
            let (_, told) = Client::resume_in_vain(&server, transport, &thief).await;
            assert_eq!(told.attr("h"), None, "{told:?}");
            // The next one gets the messages, each once, in order.
            client.bind(None).await;
            let came = waiting(&mut client, 4).await;
            assert_eq!(bodies(&came), ["one", "two", "three", "four"]);
            client.close().await;
            let mut client = Client::login(&server, transport, bare(&jid)).await;
            assert!(waiting(&mut client, 0).await.is_empty());
        }
    }
}

/// As short as the client has asked for.
#[tokio::test]
async fn the_client_decides() {
    let server = Server::with_users(8);
    for transport in Transport::BOTH {
        let (mut watcher, client) = watched(&server, transport).await;
        let jid = format!("{}/short", client.bare());
        let mut short = Client::login(&server, transport, &jid).await;
        short.enable_with(" resume='true' max='1'").await;
        short.presence("<presence/>").await;
        watcher.expect(&format!("<presence from='{jid}'/>")).await;
        let session = lose(&server, short, Loss::Reset).await;
        watcher
            .expect(&format!("<presence type='unavailable' from='{jid}'/>"))
            .await;
        Client::resume_in_vain(&server, transport, &session).await;
        watcher.nothing_more().await;
    }
}

/// As many as you like: nothing of it is kept in memory, nothing is lost, all in order.
#[tokio::test]
async fn a_thousand_messages() {
    const COUNT: usize = 1_000;
    let server = Server::with_users(8);
    for transport in Transport::EVERY {
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let client = managed(&server, transport, &server.user()).await;
        let jid = bare(&client.jid).to_owned();
        let session = lose(&server, client, Loss::Reset).await;
        let all: Vec<String> = (0..COUNT).map(|number| chat(&jid, &number.to_string())).collect();
        sender.send(all.concat()).await;
        settle(&mut sender, &jid).await;
        sender.nothing_more().await;
        // Lost again in the middle.
        let mut client = Client::resume(&server, transport, &session).await;
        for number in 0..COUNT / 2 {
            client.expect(&text(&number.to_string())).await;
            if number % 50 == 0 {
                client.ack_at(session.received + number as u32 + 1).await;
            }
        }
        let mut session = lose(&server, client, Loss::Reset).await;
        session.received = 1 + COUNT as u32 / 2;
        let mut client = Client::resume(&server, transport, &session).await;
        client.answer_requests(true);
        for number in COUNT / 2..COUNT {
            client.expect(&text(&number.to_string())).await;
        }
        client.ack().await;
        client.nothing_more().await;
        client.close().await;
        let mut client = Client::login(&server, transport, &jid).await;
        assert!(waiting(&mut client, 0).await.is_empty());
    }
}

/// Roster changes too: "any roster changes that occurred while the client was disconnected will be sent".
#[tokio::test]
async fn roster_pushes_arrive() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut client = managed(&server, transport, &format!("{jid}/lost")).await;
        roster(&mut client).await;
        let mut other = Client::login(&server, transport, &format!("{jid}/other")).await;
        let session = lose(&server, client, Loss::Reset).await;
        for name in ["a", "b"] {
            let item = format!("<query xmlns='jabber:iq:roster'><item jid='{name}@example.net'/></query>");
            assert_eq!(other.iq("set", "", &item).await.get("type"), "result");
        }
        let mut client = Client::resume(&server, transport, &session).await;
        for name in ["a", "b"] {
            client
                .expect(&format!(
                    "<iq type='set'><query xmlns='jabber:iq:roster'><item jid='{name}@example.net'/></query></iq>"
                ))
                .await;
        }
        client.nothing_more().await;
    }
}

/// Copies go on where they were wanted.
#[tokio::test]
async fn carbons_stay() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut client = managed(&server, transport, &format!("{jid}/lost")).await;
        enable_carbons(&mut client).await;
        let mut other = Client::online(&server, transport, &format!("{jid}/other")).await;
        client.forget().await;
        let session = lose(&server, client, Loss::Reset).await;
        let copy = |body: &str| {
            format!(
                "<message type='chat' from='{jid}'><received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>\
                 <message xmlns='jabber:client' type='chat' to='{jid}/other'><body>{body}</body></message></forwarded></received></message>"
            )
        };
        sender.send(chat(&other.jid, "away")).await;
        other.wait(&text("away")).await;
        let mut client = Client::resume(&server, transport, &session).await;
        client.expect(&copy("away")).await;
        sender.send(chat(&other.jid, "back")).await;
        client.expect(&copy("back")).await;
        client.nothing_more().await;
    }
}

/// Several of one user, all with copies, ending one after another: whoever comes next gets each message once. (It must
/// not double with every session that ends.)
#[tokio::test]
async fn many_sessions_leave_one_copy() {
    for count in [2, 3, 16] {
        let server = resumable_for(8, SHORT);
        for transport in Transport::EVERY {
            if count != 3 && !Transport::BOTH.contains(&transport) {
                continue;
            }
            let jid = server.user();
            let mut sender = Client::online(&server, transport, &server.user()).await;
            let mut sessions = Vec::new();
            let mut clients = Vec::new();
            for number in 0..count {
                let mut client = managed(&server, transport, &format!("{jid}/{number}")).await;
                enable_carbons(&mut client).await;
                clients.push(client);
            }
            for client in clients {
                sessions.push(lose(&server, client, Loss::Reset).await);
            }
            let mut sent = Vec::new();
            // To all of them, and to each.
            for (number, session) in sessions.iter().enumerate() {
                for to in [bare(&session.jid), &session.jid] {
                    let body = format!("{number} {to}");
                    sender.send(chat(to, &body)).await;
                    sent.push(body);
                }
            }
            settle(&mut sender, &jid).await;
            sender.nothing_more().await;
            // Their ends are seen by the errors of requests that wait for them.
            for (number, session) in sessions.iter().enumerate() {
                sender
                    .send(format!(
                        "<iq type='get' id='q{number}' to='{}'><query xmlns='urn:x'/></iq>",
                        session.jid
                    ))
                    .await;
            }
            for _ in 0..count {
                sender.expect("<iq type='error'/>").await;
            }
            let mut next = Client::login(&server, transport, &jid).await;
            let came = waiting(&mut next, sent.len()).await;
            assert_eq!(bodies(&came), sent, "{count} sessions");
            next.close().await;
            let mut next = Client::login(&server, transport, &jid).await;
            assert!(waiting(&mut next, 0).await.is_empty());
        }
    }
}

/// What one of them has acknowledged has been seen, and waits for nobody.
#[tokio::test]
async fn one_has_seen_it() {
    let server = resumable_for(8, SHORT);
    for transport in Transport::EVERY {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let one = managed(&server, transport, &format!("{jid}/one")).await;
        let mut two = managed(&server, transport, &format!("{jid}/two")).await;
        let one = lose(&server, one, Loss::Reset).await;
        two.forget().await;
        send_all(&mut sender, &jid, &["seen", "not seen"]).await;
        two.expect(&text("seen")).await;
        two.expect(&text("not seen")).await;
        two.ack_at(two.received() - 1).await;
        // The server has read that when it answers this.
        two.asked().await;
        let two = lose(&server, two, Loss::Reset).await;
        for session in [&one, &two] {
            sender
                .send(format!(
                    "<iq type='get' id='q' to='{}'><query xmlns='urn:x'/></iq>",
                    session.jid
                ))
                .await;
        }
        for _ in 0..2 {
            sender.expect("<iq type='error' id='q'/>").await;
        }
        let mut next = Client::login(&server, transport, &jid).await;
        assert_eq!(bodies(&waiting(&mut next, 1).await), ["not seen"]);
    }
}

/// Nobody else gets what waits for a stream that may still come back.
#[tokio::test]
async fn not_for_others_meanwhile() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let client = managed(&server, transport, &format!("{jid}/lost")).await;
        let session = lose(&server, client, Loss::Reset).await;
        sender.send(chat(&session.jid, "for the lost one")).await;
        settle(&mut sender, &jid).await;
        let mut other = Client::login(&server, transport, &format!("{jid}/other")).await;
        assert_eq!(bodies(&waiting(&mut other, 0).await), [""; 0]);
        assert_eq!(bodies(&up_to_mark(&mut sender, &mut other).await), [""; 0]);
        let mut client = Client::resume(&server, transport, &session).await;
        client.wait(&text("for the lost one")).await;
        client.ack().await;
        client.close().await;
        other.close().await;
        let mut next = Client::login(&server, transport, &jid).await;
        assert!(waiting(&mut next, 0).await.is_empty());
    }
}
