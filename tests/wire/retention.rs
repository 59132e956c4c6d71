//! How long the archive keeps what, seen from outside: limits by age and size, and what was only waiting.

use std::time::{Duration, Instant};

use testkit::{ArchiveQuery, Archived, Client, Server, Transport};

use crate::support::{bodies, error_of, send_all, settle, settle_durably, waiting};

/// The server looks every four seconds, and writes every five how far messages are delivered.
const LONG: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const DAY_MS: i64 = 24 * 3_600_000;

fn database(server: &Server) -> rusqlite::Connection {
    let path = server.folder().join("data/jackdaw.sqlite");
    rusqlite::Connection::open(path).expect("the server has made it")
}

/// Reads the archive until it is as expected.
async fn archive_becomes(client: &mut Client, expected: &[&str]) {
    let began = Instant::now();
    loop {
        match client.try_whole_archive(&ArchiveQuery::new()).await {
            Ok(archive) => {
                let found: Vec<String> = archive.iter().map(Archived::body).collect();
                let found: Vec<&str> = found.iter().map(|body| body.trim_end_matches('x')).collect();
                if found == expected {
                    return;
                }
                assert!(began.elapsed() < LONG, "{found:?}");
            }
            // Between two pages the last message of the first was deleted.
            Err(error) => {
                assert!(error_of(&error) == "cancel/item-not-found", "{error:?}");
                assert!(began.elapsed() < LONG, "{error:?}");
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What has waited for longer than `keep_days` leaves the sender's history, and is delivered all the same.
#[tokio::test]
async fn what_waits_is_not_too_old() {
    let mut server = Server::builder().users(2).toml("[archive]\nkeep_days = 30").start();
    let (jid, away) = (server.user(), server.user());
    let mut sender = Client::online(&server, Transport::Starttls, &jid).await;
    send_all(&mut sender, &away, &["old 1", "old 2"]).await;
    settle_durably(&mut sender, &away).await;
    server.sigterm();
    assert!(server.wait(LONG).is_some_and(|status| status.success()));
    // As if the server had been there for so long.
    let changed = database(&server).execute("UPDATE jackdaw_archive SET at = at - ?1", [31 * DAY_MS]);
    assert_eq!(changed, Ok(2));
    server.start();

    let mut sender = Client::online(&server, Transport::Starttls, &jid).await;
    send_all(&mut sender, &away, &["new"]).await;
    archive_becomes(&mut sender, &["new"]).await;
    let mut receiver = Client::login(&server, Transport::Starttls, &away).await;
    archive_becomes(&mut receiver, &["new"]).await;
    receiver.send("</stream:stream>").await;
    let mut receiver = Client::login(&server, Transport::Direct, &away).await;
    let came = waiting(&mut receiver, 2).await;
    assert_eq!(
        bodies(&came),
        ["old 1", "old 2"],
        "it has read the new one in its archive"
    );
    let stamp = |at: usize| {
        came[at]
            .get_child("delay", "urn:xmpp:delay")
            .and_then(|delay| delay.attr("stamp"))
    };
    assert!(stamp(0).is_some() && came[0].stanza_ids(&away).is_empty());
    archive_becomes(&mut receiver, &["new"]).await;
}

/// The oldest messages leave the history that is too large; the other party has them, and so does who waits for them.
#[tokio::test]
async fn a_history_that_is_too_large() {
    let server = Server::builder()
        .users(3)
        .toml("[archive]\naccount_megabytes = 1")
        .start();
    let (jid, one, two) = (server.user(), server.user(), server.user());
    let mut sender = Client::online(&server, Transport::Starttls, &jid).await;
    let long = |number: usize| format!("n{number} {}", "x".repeat(100_000));
    for number in 0..12 {
        let to = if number < 6 { &one } else { &two };
        let text = long(number);
        sender
            .send(format!("<message to='{to}' type='chat'><body>{text}</body></message>"))
            .await;
        settle(&mut sender, to).await;
    }
    // 1.2 megabytes are more than 1, and are cut to 0.95.
    archive_becomes(
        &mut sender,
        &["n3 ", "n4 ", "n5 ", "n6 ", "n7 ", "n8 ", "n9 ", "n10 ", "n11 "],
    )
    .await;
    let mut receiver = Client::login(&server, Transport::Direct, &one).await;
    archive_becomes(&mut receiver, &["n0 ", "n1 ", "n2 ", "n3 ", "n4 ", "n5 "]).await;
    let mut receiver = Client::login(&server, Transport::Direct, &two).await;
    let came = waiting(&mut receiver, 6).await;
    let came: Vec<String> = bodies(&came)
        .iter()
        .map(|body| body.trim_end_matches('x').to_owned())
        .collect();
    assert_eq!(came, ["n6 ", "n7 ", "n8 ", "n9 ", "n10 ", "n11 "]);
}

/// Where nobody archives, a message is in the database until it was delivered, and then it is not.
#[tokio::test]
async fn what_was_delivered_is_deleted() {
    let server = Server::builder().users(2).toml("[archive]\nenabled = false").start();
    let (jid, away) = (server.user(), server.user());
    let mut sender = Client::online(&server, Transport::Starttls, &jid).await;
    send_all(&mut sender, &away, &["one", "two"]).await;
    settle_durably(&mut sender, &away).await;
    let rows = || {
        let count = "SELECT count(*) FROM jackdaw_archive";
        database(&server).query_row(count, [], |row| row.get::<_, i64>(0))
    };
    assert_eq!(rows(), Ok(2));
    let mut receiver = Client::login(&server, Transport::Direct, &away).await;
    assert_eq!(bodies(&waiting(&mut receiver, 2).await), ["one", "two"]);
    let began = Instant::now();
    while rows() != Ok(0) {
        assert!(began.elapsed() < LONG, "{:?}", rows());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
