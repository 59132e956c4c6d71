//! Resuming a stream (XEP-0198 section 5).

use std::net::Ipv4Addr;

use testkit::{Client, ConnectOptions, Item, Loss, NS_SM, NS_STANZAS, Server, Session, Stanza, Transport, password_of};

use crate::support::{chat, lose, managed, send_all, settle, up_to_mark};

const NOT_FOUND: &str =
    "<failed xmlns='urn:xmpp:sm:3'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>";

/// Every port and every way to lose a connection: (before, after, how).
fn ways() -> impl Iterator<Item = (Transport, Transport, Loss)> {
    Transport::EVERY
        .into_iter()
        .flat_map(|before| Transport::EVERY.map(|after| (before, after)))
        .zip(Loss::BOTH.into_iter().cycle())
        .map(|((before, after), how)| (before, after, how))
}

fn text(body: &str) -> String {
    format!("<message type='chat'><body>{body}</body></message>")
}

/// What was not acknowledged comes again, in order, and with it what came meanwhile; what was acknowledged does not.
#[tokio::test]
async fn what_was_not_acknowledged_comes_again() {
    let server = Server::with_users(96);
    for (before, after, how) in ways() {
        // The first one that is lost: some of what was read; what was read and acknowledged is never.
        for lost_from in [4, 6, 7] {
            let mut sender = Client::online(&server, before, &server.user()).await;
            let mut client = managed(&server, before, &server.user()).await;
            let (jid, bare) = (client.jid.clone(), client.bare().to_owned());
            // Something of its own, whose number the server tells when it is back.
            for number in 0..3 {
                client.send(chat(sender.bare(), &format!("own {number}"))).await;
            }
            client.all_acked().await;
            for body in ["m1", "m2", "m3"] {
                sender.send(chat(&bare, body)).await;
                client.expect(&text(body)).await;
            }
            client.ack().await;
            let known = client.received();
            assert_eq!(known, 4, "presence and three messages");
            let mut ids = Vec::new();
            for body in ["m4", "m5", "m6"] {
                sender.send(chat(&jid, body)).await;
                ids.push(client.expect(&text(body)).await.stanza_id(&bare).to_owned());
            }
            let mut session = lose(&server, client, how).await;
            send_all(&mut sender, &bare, &["m7", "m8"]).await;
            // As if they had been lost with the connection.
            session.received = known + lost_from - 4;
            let mut client = Client::resume(&server, after, &session).await;
            assert_eq!(client.jid, jid);
            assert_eq!(client.sent(), session.sent, "what the server has got");
            for number in lost_from..=8 {
                let came = client.expect(&text(&format!("m{number}"))).await;
                if let Some(id) = ids.get(number as usize - 4) {
                    assert_eq!(came.stanza_id(&bare), id, "the same id every time");
                }
            }
            // The counters go on from where they were.
            client.send(chat(sender.bare(), "back")).await;
            client.all_acked().await;
            assert_eq!(client.acked(), session.sent + 1);
            let came = up_to_mark(&mut sender, &mut client).await;
            assert!(came.is_empty(), "each once: {came:?}");
            assert_eq!(client.received(), known + 5 + 1, "five messages and the mark");
            client.ack().await;
            client.asked().await;
            let session = lose(&server, client, how).await;
            let mut client = Client::resume(&server, after, &session).await;
            client.nothing_more().await;
        }
    }
}

/// It is the same stream: a resource that is there, addresses, answers, the other's view.
#[tokio::test]
async fn the_stream_goes_on() {
    let server = Server::with_users(40);
    for (before, after, how) in ways() {
        let mut other = managed(&server, before, &server.user()).await;
        let mut client = managed(&server, before, &format!("{}/phone", server.user())).await;
        let jid = client.jid.clone();
        // So that the other may know that it is there (RFC 6121 section 8.5.3.1).
        client.send(format!("<presence to='{}'/>", other.jid)).await;
        other.wait(&format!("<presence from='{jid}'/>")).await;
        let session = lose(&server, client, how).await;
        // A request while it is away is answered when it is back.
        other
            .send(format!(
                "<iq type='get' id='q' to='{jid}'><query xmlns='urn:something'/></iq>"
            ))
            .await;
        settle(&mut other, client_bare(&jid)).await;
        let early = other.drain().await;
        assert!(
            early.iter().all(|stanza| stanza.name() != "iq"),
            "answered for a client that may come back: {early:?}"
        );
        let mut client = Client::resume(&server, after, &session).await;
        client.expect("<iq type='get' id='q'/>").await;
        client
            .send(format!("<iq type='result' id='q' to='{}'/>", other.jid))
            .await;
        other.expect(&format!("<iq type='result' id='q' from='{jid}'/>")).await;
        // No resource can be bound again, and there is no second stream management.
        client
            .send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
            .await;
        match client.item().await {
            Item::Stanza(answer) => assert_ne!(answer.get("type"), "result", "{answer:?}"),
            came => client.fail(&format!("{came:?} came")),
        }
    }
}

fn client_bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

/// The old connection may not have been seen to end: it is ended now.
#[tokio::test]
async fn taken_over() {
    let server = Server::with_users(40);
    for (before, after, _) in ways() {
        let mut sender = Client::online(&server, before, &server.user()).await;
        let mut old = managed(&server, before, &server.user()).await;
        sender.send(chat(&old.jid, "one")).await;
        old.expect(&text("one")).await;
        let mut session = old.session();
        session.received -= 1;
        let mut new = Client::resume(&server, after, &session).await;
        old.expect_stream_error("conflict").await;
        new.expect(&text("one")).await;
        // Several in a row; each is the only one.
        for round in 0..4 {
            let session = new.session();
            let next = Client::resume(&server, after, &session).await;
            new.expect_stream_error("conflict").await;
            new = next;
            let body = format!("round {round}");
            sender.send(chat(&new.jid, &body)).await;
            new.expect(&text(&body)).await;
        }
        new.nothing_more().await;
        sender.nothing_more().await;
    }
}

/// Two at once for the same stream: one has it in the end, and nothing comes twice there.
#[tokio::test]
async fn raced() {
    let server = Server::with_users(12);
    // Over BOSH the answer to who was first may be lost with its session, as with a connection.
    for transport in Transport::ALL {
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let client = managed(&server, transport, &server.user()).await;
        let session = lose(&server, client, Loss::Reset).await;
        send_all(&mut sender, client_bare(&session.jid), &["one", "two"]).await;
        let mut one = Client::authenticated(&server, transport, &session.jid).await;
        let mut two = Client::authenticated(&server, transport, &session.jid).await;
        let (first, second) = tokio::join!(one.try_resume(&session), two.try_resume(&session));
        let answers = [first.name(), second.name()];
        assert!(answers.contains(&"resumed"), "{answers:?}");
        let mut alive = 0;
        for (client, answer) in [(&mut one, &first), (&mut two, &second)] {
            if answer.name() == "failed" {
                continue;
            }
            client
                .send("<iq type='get' id='p' to='example.org'><ping xmlns='urn:xmpp:ping'/></iq>")
                .await;
            let mut came = Vec::new();
            loop {
                match client.item().await {
                    Item::Stanza(stanza) if stanza.name() == "message" => came.push(stanza.body()),
                    // It goes on, and has got everything; or it has been taken over.
                    Item::Stanza(stanza) if stanza.get("id") == "p" => {
                        assert_eq!(came, ["one", "two"]);
                        alive += 1;
                        break;
                    }
                    Item::Stanza(stanza) => {
                        assert_eq!(stanza.condition(), Some("conflict"), "{stanza:?}");
                        break;
                    }
                    other => client.fail(&format!("{other:?} came")),
                }
            }
        }
        assert_eq!(alive, 1);
    }
}

/// From another address.
#[tokio::test]
async fn from_elsewhere() {
    let server = Server::with_users(12);
    for (before, after, how) in ways() {
        if before != after {
            continue;
        }
        let mut sender = Client::online(&server, before, &server.user()).await;
        let client = managed(&server, before, &server.user()).await;
        let session = lose(&server, client, how).await;
        send_all(&mut sender, client_bare(&session.jid), &["one"]).await;
        let options = ConnectOptions {
            from: Some(Ipv4Addr::new(127, 0, 0, 77)),
            ..Default::default()
        };
        let mut client = Client::resume_with(&server, after, &session, options).await;
        client.expect(&text("one")).await;
        client.nothing_more().await;
    }
}

async fn refused(server: &Server, transport: Transport, session: &Session) -> Stanza {
    let (mut client, failed) = Client::resume_in_vain(server, transport, session).await;
    assert_eq!(failed.mismatch(NOT_FOUND), None, "{failed:?}");
    // The client goes on without (section 5): it binds a resource and asks anew.
    client.bind(None).await;
    client.enable().await;
    client.presence("<presence/>").await;
    client.all_acked().await;
    client.close().await;
    failed
}

/// Ids that are none, and those of somebody else, which are told in no way from one that never was.
#[tokio::test]
async fn nobody_elses() {
    let server = Server::with_users(24);
    for transport in Transport::EVERY {
        let mut live = managed(&server, transport, &server.user()).await;
        let lost = managed(&server, transport, &server.user()).await;
        let lost = lose(&server, lost, Loss::Reset).await;
        let thief = format!("{}/thief", server.user());
        // One that is like a real one, and none.
        let mut near = lost.id.clone();
        let last = near.pop().expect("not empty");
        near.push(if last == 'A' { 'B' } else { 'A' });
        let never = Session {
            jid: thief.clone(),
            id: near,
            received: 0,
            sent: 0,
            acked: 0,
        };
        let unknown = refused(&server, transport, &never).await;
        assert_eq!(unknown.attr("h"), None);
        for id in [live.session().id, lost.id.clone()] {
            let theirs = Session {
                id: id.clone(),
                ..never.clone()
            };
            let answer = refused(&server, transport, &theirs).await;
            assert_eq!(answer.raw(), unknown.raw());
            // Whatever h is told.
            let theirs = Session {
                received: 1_000,
                ..theirs
            };
            assert_eq!(refused(&server, transport, &theirs).await.raw(), unknown.raw());
        }
        for id in [
            "",
            "x",
            "0",
            "-1",
            "' or 1=1 --",
            "<&>\u{1f426}",
            "example.org",
            &"A".repeat(4_000),
            &lost.id.repeat(2),
            &lost.id[1..],
        ] {
            let garbage = Session {
                id: id.to_owned(),
                ..never.clone()
            };
            refused(&server, transport, &garbage).await;
        }
        // What is no request at all.
        for wrong in [
            "",
            " h='0'",
            " previd='x'",
            " previd='x' h='-1'",
            " previd='x' h='many'",
        ] {
            let mut client = Client::authenticated(&server, transport, &thief).await;
            client.send(format!("<resume xmlns='{NS_SM}'{wrong}/>")).await;
            let answer = client.stanza().await;
            assert_eq!(answer.name(), "failed", "{answer:?}");
            assert!(answer.children().any(|child| child.ns() == NS_STANZAS), "{answer:?}");
            client.bind(None).await;
        }
        // Their owners have felt nothing.
        live.nothing_more().await;
        let mut back = Client::resume(&server, transport, &lost).await;
        back.nothing_more().await;
    }
}

/// More than was ever sent to it (section 5: as an `<a/>` would be treated).
#[tokio::test]
async fn too_much_is_acknowledged() {
    let server = Server::with_users(8);
    for transport in Transport::EVERY {
        let client = managed(&server, transport, &server.user()).await;
        let session = lose(&server, client, Loss::Reset).await;
        for h in [session.received + 1, u32::MAX] {
            let wrong = Session {
                received: h,
                ..session.clone()
            };
            let mut client = Client::authenticated(&server, transport, &session.jid).await;
            client.send(testkit::resume(&wrong.id, h)).await;
            match client.item().await {
                Item::Stanza(answer) if answer.name() == "failed" => {}
                Item::Stanza(answer) if answer.name() == "error" => {
                    assert!(answer.has_child("handled-count-too-high", NS_SM), "{answer:?}")
                }
                other => client.fail(&format!("{other:?} came")),
            }
        }
    }
}

/// Streams that have ended cannot be resumed: closed by the client, replaced by another, made an end of by an
/// administrator, and those that were never to be resumed.
#[tokio::test]
async fn ended() {
    let server = Server::with_users(24);
    for transport in Transport::EVERY {
        let client = managed(&server, transport, &server.user()).await;
        let session = client.session();
        client.close().await;
        refused(&server, transport, &session).await;

        // After it was resumed, too.
        let client = managed(&server, transport, &server.user()).await;
        let session = lose(&server, client, Loss::Fin).await;
        let client = Client::resume(&server, transport, &session).await;
        client.close().await;
        refused(&server, transport, &session).await;

        // The resource is bound by another connection.
        let client = managed(&server, transport, &format!("{}/same", server.user())).await;
        let session = lose(&server, client, Loss::Reset).await;
        let mut new = Client::login(&server, transport, &session.jid).await;
        assert_eq!(new.jid, session.jid);
        refused(&server, transport, &session).await;
        new.nothing_more().await;

        // A password that changes ends everything that was begun with the old one.
        let mut client = managed(&server, transport, &server.user()).await;
        let live = client.session();
        let lost = managed(&server, transport, client.bare()).await;
        client.forget().await;
        let lost = lose(&server, lost, Loss::Reset).await;
        let bare = client.bare().to_owned();
        let changed = server.jackdaw(
            &["account", "password", &bare, "--password-stdin"],
            &format!("{}\n", password_of(&bare)),
        );
        assert!(changed.status.success(), "{changed:?}");
        // Its stream ends by that.
        loop {
            match client.item().await {
                Item::Stanza(stanza) if stanza.name() == "error" => break,
                Item::Stanza(_) => {}
                other => client.fail(&format!("a stream error expected, {other:?} came")),
            }
        }
        for session in [live, lost] {
            refused(&server, transport, &session).await;
        }

        // Not asked for.
        let mut client = Client::login(&server, transport, &server.user()).await;
        client.enable_with("").await;
        let session = lose(&server, client, Loss::Reset).await;
        refused(&server, transport, &session).await;
    }
}
