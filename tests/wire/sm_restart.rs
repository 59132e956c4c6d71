//! What stream management promises beyond the life of the process: `<a/>` is given only for what is durable, the
//! number is exact after a crash, and a restart in good order keeps the streams.

use std::time::Duration;

use testkit::{ArchiveQuery, Archived, Client, Loss, NS_SM, Server, Session, Transport};

use crate::support::{bodies, chat, enable_carbons, friends, lose, managed, messages, roster, send_all, waiting};

/// Messages that are under way when the server is killed.
const UNDER_WAY: usize = 60;
/// How long a stop in good order may take.
const STOP_LIMIT: Duration = Duration::from_secs(10);

fn archived_bodies(archive: &[Archived]) -> Vec<String> {
    archive.iter().map(Archived::body).collect()
}

async fn archive_of(server: &Server, transport: Transport, jid: &str) -> Vec<Archived> {
    let mut client = Client::login(server, transport, jid).await;
    client.whole_archive(&ArchiveQuery::new()).await
}

/// An acknowledged message is in both archives, whatever happens at once afterwards; one to somebody who is away comes.
#[tokio::test]
async fn acknowledged_is_durable() {
    let mut server = Server::with_users(9);
    for transport in Transport::ALL {
        let (from, to) = (server.user(), server.user());
        for round in 1..=4 {
            let mut client = managed(&server, transport, &from).await;
            client.send(chat(&to, &format!("round {round}"))).await;
            client.all_acked().await;
            server.kill9();
            server.start();
            // Not of the recipient: what he reads there does not wait for him any more.
            let expected: Vec<String> = (1..=round).map(|round| format!("round {round}")).collect();
            assert_eq!(archived_bodies(&archive_of(&server, transport, &from).await), expected);
        }
        let mut client = Client::login(&server, transport, &to).await;
        let came = waiting(&mut client, 4).await;
        assert_eq!(bodies(&came), ["round 1", "round 2", "round 3", "round 4"]);
        // With the ids that the archive has them by.
        let ids: Vec<&str> = came.iter().map(|stanza| stanza.stanza_id(&to)).collect();
        let archive = client.whole_archive(&ArchiveQuery::new()).await;
        assert_eq!(
            ids,
            archive.iter().map(|message| message.id.as_str()).collect::<Vec<_>>()
        );
    }
}

/// Killed in the middle of many: the number that the server tells afterwards is the number of messages that are there,
/// and the client sends the others again.
#[tokio::test]
async fn the_number_after_a_crash() {
    let mut server = Server::with_users(16);
    for round in 0..8_u32 {
        let transport = Transport::BOTH[round as usize % 2];
        let (from, to) = (server.user(), server.user());
        let mut client = Client::login(&server, transport, &from).await;
        client.enable().await;
        let messages: Vec<String> = (0..UNDER_WAY).map(|number| chat(&to, &format!("m{number}"))).collect();
        client.send(messages.join(&format!("<r xmlns='{NS_SM}'/>"))).await;
        // The kill comes earlier or later.
        client.request().await;
        while client.acked() < round * UNDER_WAY as u32 / 8 {
            client.read_for(Duration::from_millis(1)).await;
        }
        server.kill9();
        let seen = client.acked();
        let session = client.session();
        drop(client);
        server.start();

        let mut client = Client::authenticated(&server, transport, &from).await;
        let answer = client.try_resume(&session).await;
        let h: u32 = answer
            .get("h")
            .parse()
            .unwrap_or_else(|_| client.fail(&format!("no number: {answer:?}")));
        assert!(h >= seen, "{seen} were acknowledged before: {answer:?}");
        if answer.name() == "failed" {
            assert_eq!(answer.condition(), Some("item-not-found"), "{answer:?}");
            client.bind(None).await;
            client.enable().await;
        }
        let there = client.whole_archive(&ArchiveQuery::new().with(&to)).await;
        let expected: Vec<String> = (0..h).map(|number| format!("m{number}")).collect();
        assert_eq!(archived_bodies(&there), expected, "exactly what {answer:?} says");
        client.send(messages[h as usize..].concat()).await;
        client.all_acked().await;
        let mut other = Client::login(&server, transport, &to).await;
        let all: Vec<String> = (0..UNDER_WAY).map(|number| format!("m{number}")).collect();
        assert_eq!(bodies(&waiting(&mut other, UNDER_WAY).await), all);
        let there = client.whole_archive(&ArchiveQuery::new().with(&to)).await;
        assert_eq!(archived_bodies(&there), all);
        client.close().await;
        // Nobody else is told.
        let thief = Session {
            jid: to.clone(),
            ..session.clone()
        };
        let (_, failed) = Client::resume_in_vain(&server, transport, &thief).await;
        assert_eq!(failed.attr("h"), None, "{failed:?}");
    }
}

/// What had been delivered and not acknowledged when the server was killed comes again, with the same id.
#[tokio::test]
async fn the_recipient_after_a_crash() {
    let mut server = Server::with_users(9);
    for transport in Transport::ALL {
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut client = managed(&server, transport, &server.user()).await;
        let bare = client.bare().to_owned();
        // The last that it sends is durable, and so is the number of all.
        client.send(chat(&sender.jid, "own")).await;
        client.all_acked().await;
        send_all(&mut sender, &bare, &["read and told", "read", "lost"]).await;
        let mut ids = Vec::new();
        for _ in 0..3 {
            ids.push(
                client
                    .expect("<message type='chat'/>")
                    .await
                    .stanza_id(&bare)
                    .to_owned(),
            );
        }
        client.ack_at(client.received() - 2).await;
        client.asked().await;
        let session = client.session();
        server.kill9();
        server.start();
        drop((sender, client));
        let mut client = Client::authenticated(&server, transport, &bare).await;
        let mut told = session.clone();
        told.received -= 2;
        let answer = client.try_resume(&told).await;
        assert_eq!(answer.get("h"), session.sent.to_string(), "{answer:?}");
        let came = if answer.name() == "resumed" {
            messages(&mut client, 2).await
        } else {
            client.bind(None).await;
            waiting(&mut client, 2).await
        };
        // The first may come again: what a client had acknowledged is written now and then. Never twice, never under
        // another id.
        let came_ids: Vec<&str> = came.iter().map(|stanza| stanza.stanza_id(&bare)).collect();
        assert!(
            came_ids == ids[1..] || came_ids == ids[..],
            "{ids:?} were the ids, {came:?} came"
        );
    }
}

/// SIGTERM: everybody is told, the streams are saved, and the next process resumes them as they were.
#[tokio::test]
async fn a_restart_keeps_streams() {
    let mut server = Server::with_users(12);
    for (before, after) in [
        (Transport::Starttls, Transport::Direct),
        (Transport::Direct, Transport::Starttls),
    ] {
        let (one, two) = friends(&server, before).await;
        let (watcher_jid, jid) = (one.bare().to_owned(), two.bare().to_owned());
        one.close().await;
        two.close().await;
        let mut watcher = managed(&server, before, &format!("{watcher_jid}/watcher")).await;
        let mut client = managed(&server, before, &format!("{jid}/kept")).await;
        roster(&mut client).await;
        enable_carbons(&mut client).await;
        let mut other = managed(&server, before, &format!("{jid}/other")).await;
        client.forget().await;
        watcher.forget().await;
        other.forget().await;
        // One that was lost before the stop, too.
        let other = lose(&server, other, Loss::Reset).await;
        watcher.send(chat(&client.jid, "not acknowledged")).await;
        client
            .wait("<message type='chat'><body>not acknowledged</body></message>")
            .await;
        let mut kept = client.session();
        kept.received -= 1;
        let watching = watcher.session();

        server.sigterm();
        client.expect_stream_error("system-shutdown").await;
        watcher.expect_stream_error("system-shutdown").await;
        let status = server.wait(STOP_LIMIT).expect("it stops");
        assert_eq!(status.code(), Some(0));
        server.start();

        let mut watcher = Client::resume(&server, after, &watching).await;
        let mut client = Client::resume(&server, after, &kept).await;
        assert_eq!((watcher.sent(), client.sent()), (watching.sent, kept.sent));
        client
            .wait("<message type='chat'><body>not acknowledged</body></message>")
            .await;
        let mut other = Client::resume(&server, after, &other).await;
        // Nobody has seen anybody leave.
        let came = watcher.drain().await;
        assert!(came.is_empty(), "{came:?}");
        client.presence("<presence><show>away</show></presence>").await;
        watcher
            .expect(&format!("<presence from='{}'><show>away</show></presence>", client.jid))
            .await;
        // Roster interest and copies are as they were.
        other.forget().await;
        let item = "<query xmlns='jabber:iq:roster'><item jid='new@example.net'/></query>";
        assert_eq!(other.iq("set", "", item).await.get("type"), "result");
        client
            .expect("<iq type='set'><query xmlns='jabber:iq:roster'><item jid='new@example.net'/></query></iq>")
            .await;
        watcher.send(chat(&other.jid, "copied")).await;
        other.expect("<message type='chat'><body>copied</body></message>").await;
        client
            .expect("<message type='chat'><received xmlns='urn:xmpp:carbons:2'/></message>")
            .await;
        for client in [&mut client, &mut other, &mut watcher] {
            client.nothing_more().await;
            client.all_acked().await;
        }
    }
}
