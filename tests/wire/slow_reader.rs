//! Clients that do not read what they are sent (row 43 of the faults as far as it concerns a stream without
//! acknowledgements): they cost a bounded amount, hold nobody up, and lose nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use testkit::{Client, ConnectOptions, Item, Loss, Server, Stanza, Transport};

use crate::support::{lose, managed, see};

pub(crate) const BODY: usize = 16_000;
const COUNT: usize = 800;
pub(crate) const MEBIBYTE: u64 = 1024 * 1024;

pub(crate) fn number(stanza: &Stanza) -> Option<usize> {
    (stanza.name() == "message").then(|| stanza.get("id").parse().expect("a number"))
}

/// A resource that is there and will be sent more than it reads: the kernel holds little for it.
pub(crate) async fn deaf(server: &Server, transport: Transport, jid: &str) -> Client {
    let options = ConnectOptions {
        receive_buffer: Some(4_096),
        ..ConnectOptions::default()
    };
    let mut deaf = Client::login_with(server, transport, &format!("{jid}/deaf"), options).await;
    deaf.presence("<presence/>").await;
    deaf.forget().await;
    deaf
}

/// All that comes up to the end.
pub(crate) async fn read_all(client: &mut Client, got: &mut Vec<usize>) -> Option<String> {
    let mut error = None;
    loop {
        match client.item().await {
            Item::Stanza(stanza) if stanza.name() == "error" => error = stanza.condition().map(str::to_owned),
            Item::Stanza(stanza) => got.extend(number(&stanza)),
            Item::End { .. } => return error,
            _ => {}
        }
    }
}

/// All that was stored. What goes back to the store when a session ends may be on its way there still, so this asks
/// again until it has been told the last one.
async fn read_stored(server: &Server, transport: Transport, jid: &str, last: usize, got: &mut Vec<usize>) {
    for _ in 0..ATTEMPTS {
        let mut client = Client::online(server, transport, jid).await;
        // Up to the server's ping, which follows the last of them; or until nothing comes.
        while let Some(Item::Stanza(stanza)) = client.item_within(QUIET).await {
            got.extend(number(&stanza));
            if stanza.name() == "iq" {
                client
                    .send(format!(
                        "<iq type='result' id='{}' to='example.org'/>",
                        stanza.get("id")
                    ))
                    .await;
                break;
            }
        }
        // What comes on top of that, because it came back when the session was there already, is read too.
        client.send("</stream:stream>").await;
        read_all(&mut client, got).await;
        if got.contains(&last) {
            return;
        }
    }
}

/// Before it is certain that nothing more was stored: six seconds.
const ATTEMPTS: usize = 20;
const QUIET: Duration = Duration::from_millis(300);

pub(crate) fn small_outbox(users: usize) -> Server {
    Server::builder()
        .users(users)
        .limit("stanza_bytes", 20_000)
        .limit("outbox_bytes", 100_000)
        .limit("read_bytes_per_second", 16_000_000)
        .start()
}

/// Too much waits for it: it is closed. Headlines, which nobody stores: the memory is that of the outbox.
#[tokio::test]
async fn the_outbox_is_bounded() {
    let server = small_outbox(8);
    for transport in Transport::ALL {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let deaf = deaf(&server, transport, &jid).await;
        sender.ping().await;
        let before = server.rss();
        let body = "x".repeat(BODY);
        let mut most = 0;
        for number in 0..2 * COUNT {
            sender
                .send(format!(
                    "<message to='{}' type='headline' id='{number}'><body>{body}</body></message>",
                    deaf.jid
                ))
                .await;
            if number % 100 == 0 {
                most = most.max(server.rss());
            }
        }
        // The sender is not held up.
        sender.nothing_more().await;
        let grown = most.max(server.rss()).saturating_sub(before);
        assert!(
            grown < 8 * MEBIBYTE,
            "{grown} bytes of memory for {} that were sent ({transport:?})",
            2 * COUNT * BODY
        );
        // It was closed, not kept waiting.
        let mut again = Client::login(&server, transport, &jid).await;
        let answer = again
            .iq("get", "", "<query xmlns='http://jabber.org/protocol/disco#items'/>")
            .await;
        assert!(!answer.raw().contains("/deaf"), "{answer:?}");
    }
}

/// What the closed one had not been sent is stored, and it finds all of it.
#[tokio::test]
async fn what_it_has_not_read_is_kept() {
    let server = small_outbox(8);
    for transport in Transport::ALL {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut deaf = deaf(&server, transport, &jid).await;
        see(&mut sender, &mut deaf).await;
        let body = "x".repeat(BODY);
        let began = Instant::now();
        for number in 0..COUNT {
            sender
                .send(format!(
                    "<message to='{jid}' type='chat' id='{number}'><body>{body}</body></message>"
                ))
                .await;
        }
        // The sender is not held up.
        sender.ping().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        sender
            .wait_keeping(|stanza| stanza.matches(&format!("<presence type='unavailable' from='{}'/>", deaf.jid)))
            .await;
        // It finds all that was sent, and why it was closed; the rest is stored.
        let mut got = Vec::new();
        let error = read_all(&mut deaf, &mut got).await;
        assert!(
            error.is_none() || error.as_deref() == Some("resource-constraint"),
            "{error:?}"
        );
        let on_the_stream = got.len();
        assert!(on_the_stream > 0 && on_the_stream < COUNT, "{on_the_stream}");
        read_stored(&server, transport, &jid, COUNT - 1, &mut got).await;
        let all: BTreeSet<usize> = got.iter().copied().collect();
        let missing: Vec<usize> = (0..COUNT).filter(|number| !all.contains(number)).collect();
        assert!(
            missing.is_empty(),
            "{} of {COUNT} are lost, from {:?}; {on_the_stream} were read",
            missing.len(),
            missing.first()
        );
        no_errors(&mut sender).await;
    }
}

/// Nothing comes back to the sender (guarantee: no error for what was delivered).
async fn no_errors(sender: &mut Client) {
    let came = sender.drain().await;
    assert!(came.iter().all(|stanza| stanza.name() == "presence"), "{came:?}");
}

/// It reads, but slowly: nothing happens to it.
#[tokio::test]
async fn who_reads_slowly_gets_everything() {
    let server = Server::builder().users(6).start();
    for transport in Transport::ALL {
        let jid = server.user();
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut slow = deaf(&server, transport, &jid).await;
        let body = "x".repeat(BODY);
        for number in 0..200 {
            sender
                .send(format!(
                    "<message to='{}' id='{number}'><body>{body}</body></message>",
                    slow.jid
                ))
                .await;
        }
        sender.ping().await;
        for number in 0..200 {
            slow.expect(&format!("<message id='{number}'/>")).await;
        }
        slow.nothing_more().await;
    }
}

/// It never reads: after `unacknowledged_seconds` without progress it is gone, and what waits is stored.
#[tokio::test]
async fn who_never_reads() {
    let server = Server::builder().users(6).limit("unacknowledged_seconds", 1).start();
    for transport in Transport::ALL {
        never_reads(&server, transport).await;
    }
}

async fn never_reads(server: &Server, transport: Transport) {
    let jid = server.user();
    let mut sender = Client::online(server, transport, &server.user()).await;
    let mut deaf = deaf(server, transport, &jid).await;
    see(&mut sender, &mut deaf).await;
    let body = "x".repeat(BODY);
    // More than the kernels hold, less than the outbox may.
    for number in 0..350 {
        sender
            .send(format!(
                "<message to='{jid}' type='chat' id='{number}'><body>{body}</body></message>"
            ))
            .await;
    }
    sender
        .wait(&format!("<presence type='unavailable' from='{}'/>", deaf.jid))
        .await;
    let mut got = Vec::new();
    read_all(&mut deaf, &mut got).await;
    read_stored(server, transport, &jid, 349, &mut got).await;
    // Without acknowledgements by the client, what the kernel had taken and not delivered is lost with the connection:
    // one gap. What was not yet the kernel's is behind it.
    let mut missing = BTreeSet::from_iter(0..350);
    got.iter().for_each(|number| _ = missing.remove(number));
    let gaps = missing
        .iter()
        .filter(|number| !missing.contains(&(*number + 1)))
        .count();
    let (first, last) = (missing.first(), missing.last());
    assert!(
        gaps <= 1 && last != Some(&349),
        "{} from {first:?} to {last:?} in {gaps} pieces are lost",
        missing.len()
    );
    no_errors(&mut sender).await;
}

/// Row 43 for a stream that is managed: its client reads everything and acknowledges nothing. What is kept for it is
/// bounded; behind that it is served as any other, and can no longer resume.
#[tokio::test]
async fn who_acknowledges_nothing() {
    const MESSAGES: usize = 500;
    let server = small_outbox(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut mute = managed(&server, transport, &server.user()).await;
        let (body, before) = ("x".repeat(BODY), server.rss());
        // Which no archive has: of each there would have to be a copy.
        for number in 0..MESSAGES {
            sender
                .send(format!(
                    "<message to='{}' type='headline' id='{number}'><body>{body}</body></message>",
                    mute.jid
                ))
                .await;
            mute.expect(&format!("<message type='headline' id='{number}'/>")).await;
        }
        let grown = server.rss().saturating_sub(before);
        assert!(
            grown < 4 * MEBIBYTE,
            "{grown} bytes of {} ({transport:?})",
            MESSAGES * BODY
        );
        let session = lose(&server, mute, Loss::Reset).await;
        let (_, failed) = Client::resume_in_vain(&server, transport, &session).await;
        assert_eq!(failed.condition(), Some("item-not-found"), "{transport:?}: {failed:?}");
        sender.nothing_more().await;
    }
}
