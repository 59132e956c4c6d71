//! What waits is a place in the archive: the messages that a client has not acknowledged (XEP-0160, XEP-0198, XEP-0313
//! section 6.1.1). How it is for a client without stream management is in `offline.rs`.

use testkit::{ArchiveQuery, Client, Loss, Server, Stanza, Transport};

use crate::support::{bodies, chat, resumable_for, send_all, waiting};

const TEXTS: [&str; 4] = ["one", "two", "three", "four"];

/// Acknowledgements without resumption: a connection that is lost is the end of the session.
async fn acknowledging(server: &Server, transport: Transport, jid: &str) -> Client {
    let mut client = Client::login(server, transport, jid).await;
    client.enable_with("").await;
    client
}

/// The messages that come, so many; the server may ask something between, which is not answered.
async fn messages(client: &mut Client, count: usize) -> Vec<Stanza> {
    let mut all = Vec::new();
    while all.len() < count {
        all.push(client.wait_keeping(|stanza| stanza.name() == "message").await);
    }
    all
}

fn ids(messages: &[Stanza], by: &str) -> Vec<String> {
    messages
        .iter()
        .map(|message| message.stanza_id(by).to_owned())
        .collect()
}

/// They come as they stand in the archive: with the time they came, the id they have there.
#[tokio::test]
async fn with_time_and_id() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        send_all(&mut sender, &jid, &TEXTS).await;
        let mut client = acknowledging(&server, transport, &jid).await;
        client.send("<presence/>").await;
        let came = messages(&mut client, TEXTS.len()).await;
        assert_eq!(bodies(&came), TEXTS);
        let archive = client.whole_archive(&ArchiveQuery::new()).await;
        assert_eq!(
            ids(&came, &jid),
            archive.iter().map(|message| message.id.clone()).collect::<Vec<_>>()
        );
        for (message, archived) in came.iter().zip(&archive) {
            let delay = message.get_child("delay", "urn:xmpp:delay").expect("it waited");
            assert_eq!(delay.attr("from"), Some("example.org"));
            assert_eq!(delay.attr("stamp"), Some(archived.stamp.as_str()));
            assert_eq!(message.get("from"), sender.jid);
            assert_eq!(archived.message.get("from"), sender.jid);
        }
    }
}

/// What was acknowledged does not come again; what was not comes again, with the same id, until it is.
#[tokio::test]
async fn until_it_is_acknowledged() {
    let server = Server::with_users(8);
    for transport in Transport::BOTH {
        for how in Loss::BOTH {
            let jid = server.user();
            let mut sender = Client::online(&server, transport, &server.user()).await;
            send_all(&mut sender, &jid, &TEXTS).await;
            let mut known: Vec<String> = Vec::new();
            let mut done = 0;
            // Nothing, one, two of them, the rest.
            for acknowledged in [0, 1, 2, 1] {
                let mut client = acknowledging(&server, transport, &jid).await;
                client.send("<presence/>").await;
                let came = messages(&mut client, TEXTS.len() - done).await;
                assert_eq!(bodies(&came), TEXTS[done..]);
                if known.is_empty() {
                    known = ids(&came, &jid);
                }
                assert_eq!(ids(&came, &jid), known[done..]);
                // The echo of the presence is the first stanza that came.
                client.ack_at(1 + acknowledged).await;
                client.asked().await;
                done += acknowledged as usize;
                client.lose(how);
            }
            let mut client = Client::login(&server, transport, &jid).await;
            assert_eq!(bodies(&waiting(&mut client, 0).await), [""; 0]);
        }
    }
}

/// A client that has read its archive before it became available gets nothing twice.
#[tokio::test]
async fn not_twice_for_readers_of_the_archive() {
    let server = Server::with_users(8);
    for transport in Transport::BOTH {
        for managed in [true, false] {
            let jid = server.user();
            let mut sender = Client::online(&server, transport, &server.user()).await;
            send_all(&mut sender, &jid, &TEXTS).await;
            let mut client = Client::login(&server, transport, &jid).await;
            if managed {
                client.enable().await;
            }
            let page = client.archive_page(&ArchiveQuery::new().max(50)).await;
            assert_eq!(page.bodies(), TEXTS);
            // One more before it is available, which it has not read.
            send_all(&mut sender, &jid, &["five"]).await;
            assert_eq!(bodies(&waiting(&mut client, 1).await), ["five"]);
            sender.send(chat(&jid, "six")).await;
            let live = client.expect("<message type='chat'><body>six</body></message>").await;
            assert!(!live.has_child("delay", "urn:xmpp:delay"));
            if managed {
                client.ack().await;
            }
            client.close().await;
            // Whatever comes next gets none of them either.
            let mut client = Client::login(&server, transport, &jid).await;
            assert_eq!(bodies(&waiting(&mut client, 0).await), [""; 0]);
        }
    }
}

/// Nor one that reads the last page only, as clients do that show the newest first: what it has not read comes.
#[tokio::test]
async fn what_was_not_read_comes() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        send_all(&mut sender, &jid, &TEXTS).await;
        let mut client = Client::login(&server, transport, &jid).await;
        let page = client.archive_page(&ArchiveQuery::new().max(2).before("")).await;
        assert_eq!(page.bodies(), ["three", "four"]);
        client.presence("<presence/>").await;
        sender.send(chat(&jid, "live")).await;
        let mut came = bodies(&messages(&mut client, 1).await);
        while came.last().is_some_and(|body| body != "live") {
            came.extend(bodies(&messages(&mut client, 1).await));
        }
        came.pop();
        // It could page back, and it could be given them: none is lost either way, and none that it has not read is
        // left out while one that it has read comes.
        assert!(came == [""; 0] || came == TEXTS || came == ["one", "two"], "{came:?}");
        let archive = client.whole_archive(&ArchiveQuery::new()).await;
        assert_eq!(archive.len(), TEXTS.len() + 1);
    }
}

/// After a crash what had been acknowledged before may come again, never under another id; what had not, does.
#[tokio::test]
async fn after_a_crash() {
    let mut server = Server::with_users(4);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        send_all(&mut sender, &jid, &TEXTS).await;
        let mut client = acknowledging(&server, transport, &jid).await;
        client.send("<presence/>").await;
        let known = ids(&messages(&mut client, TEXTS.len()).await, &jid);
        client.ack_at(1 + 2).await;
        client.asked().await;
        server.kill9();
        server.start();
        drop((client, sender));
        let mut client = Client::login(&server, transport, &jid).await;
        let came = waiting(&mut client, 2).await;
        assert!(
            came.len() >= 2 && known.ends_with(&ids(&came, &jid)),
            "{known:?} {came:?}"
        );
        client.close().await;
        let mut client = Client::login(&server, transport, &jid).await;
        assert_eq!(bodies(&waiting(&mut client, 0).await), [""; 0]);
    }
}

/// What is not kept in the archive for good still waits until it has been delivered (XEP-0334 section 4.1).
#[tokio::test]
async fn without_an_archive() {
    let server = resumable_for(4, 60);
    for transport in Transport::BOTH {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut client = Client::login(&server, transport, &jid).await;
        let never = "<prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs>";
        assert_eq!(client.iq("set", "", never).await.get("type"), "result");
        client.close().await;
        sender
            .send(format!(
                "<message to='{jid}' type='chat'><body>one</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>"
            ))
            .await;
        send_all(&mut sender, &jid, &["two"]).await;
        let mut client = Client::login(&server, transport, &jid).await;
        assert!(client.whole_archive(&ArchiveQuery::new()).await.is_empty());
        let came = waiting(&mut client, 2).await;
        assert_eq!(bodies(&came), ["one", "two"]);
        // There is no place in an archive that an id could tell.
        assert!(
            came.iter().all(|message| message.stanza_ids(&jid).is_empty()),
            "{came:?}"
        );
        client.close().await;
        let mut client = Client::login(&server, transport, &jid).await;
        assert_eq!(bodies(&waiting(&mut client, 0).await), [""; 0]);
        assert!(client.whole_archive(&ArchiveQuery::new()).await.is_empty());
    }
}
