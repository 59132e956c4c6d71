//! A reader that takes nothing, among others who do: it costs a bounded amount of memory, and only itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use testkit::{Client, Item, Server, Stanza, Transport};

use crate::crowd::{files_fall_to, many, memory_falls_to, watch};
use crate::slow_reader::{BODY, MEBIBYTE, deaf, number, read_all, small_outbox};
use crate::support::{befriend, error_of};

/// `limits.outbox_bytes` of [`small_outbox`].
const OUTBOX: u64 = 100_000;
/// What a closing connection has to send the rest is two seconds; who has been this long about reading it may have
/// missed that.
const SURELY_IN_TIME: Duration = Duration::from_secs(1);

async fn online(server: &Arc<Server>, count: usize) -> Vec<Client> {
    let jids: Vec<String> = (0..count).map(|_| server.user()).collect();
    many(count, |number| {
        let (server, jid) = (Arc::clone(server), jids[number].clone());
        async move { Client::online(&server, Transport::BOTH[number % 2], &jid).await }
    })
    .await
}

/// Reads what waits for an account until it is complete, and with it what may still be on its way back to the store.
async fn read_waiting(server: &Server, transport: Transport, jid: &str, got: &mut Vec<usize>, all: usize) {
    let mut client = Client::login(server, transport, jid).await;
    client.send("<presence/>").await;
    // What was stored comes with a stamp, and is deleted when the server's question behind it has been answered.
    let mut is_confirmed = true;
    while got.len() < all || !is_confirmed {
        let Some(Item::Stanza(stanza)) = client.item_within(testkit::TIMEOUT).await else {
            client.fail(&format!("{} of {all} messages have come", got.len()));
        };
        got.extend(number(&stanza));
        if stanza.has_child("delay", "urn:xmpp:delay") {
            is_confirmed = false;
        } else if stanza.name() == "iq" {
            let answer = format!("<iq type='result' id='{}' to='example.org'/>", stanza.get("id"));
            client.send(answer).await;
            is_confirmed = true;
        }
    }
    // And no more than all, now and later.
    let more = client.drain().await;
    client.close().await;
    let mut again = Client::online(server, transport, jid).await;
    for stanza in more.into_iter().chain(again.drain().await) {
        assert_ne!(stanza.name(), "message", "{stanza:?}");
    }
}

/// Thirty contacts, two of whom read nothing: the others get all, in order, while those two are still deaf. And those
/// have lost nothing when they come back.
#[tokio::test]
async fn deaf_contacts_among_thirty() {
    const HEARING: usize = 28;
    const ROUNDS: usize = 40;
    /// Of each round, what is for the deaf only: more than the kernels and an outbox hold, altogether.
    const LARGE: usize = 12;
    /// Of those at once: less than an outbox holds, so that it is the reader who is slow.
    const BATCH: usize = 4;
    /// Numbers of a round.
    const STEP: usize = LARGE + 1;
    let server = Arc::new(small_outbox(HEARING + 4));
    let mut hearing = online(&server, HEARING).await;
    let mut sender = online(&server, 1).await.remove(0);
    watch(&mut hearing, std::slice::from_mut(&mut sender)).await;
    let files = server.open_files();
    let mut deafs = Vec::new();
    for transport in Transport::BOTH {
        let mut one = deaf(&server, transport, &server.user()).await;
        befriend(&mut one, &mut sender).await;
        deafs.push(one);
    }
    let from = sender.jid.clone();
    let names: Vec<String> = hearing.iter().map(|client| client.bare().to_owned()).collect();
    let listening: Vec<_> = hearing
        .into_iter()
        .map(|mut client| {
            let from = from.clone();
            tokio::spawn(async move {
                for round in 0..ROUNDS {
                    client
                        .expect(&format!("<presence from='{from}'><status>{round}</status></presence>"))
                        .await;
                    client
                        .expect(&format!("<message type='chat' from='{from}' id='{}'/>", round * STEP))
                        .await;
                }
                client.nothing_more().await;
                client
            })
        })
        .collect();
    let body = "x".repeat(BODY);
    for round in 0..ROUNDS {
        let mut text = format!("<presence><status>{round}</status></presence>");
        let deaf_names = deafs.iter().map(Client::bare);
        for to in names.iter().map(String::as_str).chain(deaf_names) {
            let id = round * STEP;
            text.push_str(&format!(
                "<message to='{to}' type='chat' id='{id}'><body>x</body></message>"
            ));
        }
        sender.send(text).await;
        for first in (round * STEP + 1..(round + 1) * STEP).step_by(BATCH) {
            let mut text = String::new();
            for to in deafs.iter().map(Client::bare) {
                for id in first..first + BATCH {
                    text.push_str(&format!(
                        "<message to='{to}' type='chat' id='{id}'><body>{body}</body></message>"
                    ));
                }
            }
            sender.send(text).await;
            sender.ping().await;
        }
    }
    let mut hearing = Vec::new();
    for task in listening {
        hearing.push(task.await.expect("a contact that reads gets everything, in order"));
    }
    for deaf in &deafs {
        sender
            .wait_keeping(|stanza| stanza.matches(&format!("<presence type='unavailable' from='{}'/>", deaf.jid)))
            .await;
    }
    // Given up without a byte read: what was not sent has gone back.
    files_fall_to(&server, files).await;
    for mut deaf in deafs {
        let (transport, jid) = (deaf.transport(), deaf.bare().to_owned());
        let mut got = Vec::new();
        read_all(&mut deaf, &mut got).await;
        let on_the_stream = got.len();
        assert!(
            got.iter().copied().eq(0..on_the_stream),
            "in order and without a gap: {got:?}"
        );
        assert!(
            on_the_stream > 0 && on_the_stream < ROUNDS * STEP,
            "{on_the_stream} read on the stream"
        );
        read_waiting(&server, transport, &jid, &mut got, ROUNDS * STEP).await;
        got.sort_unstable();
        assert!(
            got.iter().copied().eq(0..ROUNDS * STEP),
            "each once; {on_the_stream} on the stream: {got:?}"
        );
    }
    for client in &mut hearing {
        client.nothing_more().await;
    }
    // Nothing came back as undeliverable.
    let left = sender.drain().await;
    assert!(left.iter().all(|stanza| stanza.name() == "presence"), "{left:?}");
}

/// Who begins to read when the bound is reached finds what was sent, then why there is no more.
#[tokio::test]
async fn the_reason_is_told() {
    let server = small_outbox(4);
    for transport in Transport::BOTH {
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut deaf = deaf(&server, transport, &server.user()).await;
        befriend(&mut sender, &mut deaf).await;
        let body = "x".repeat(BODY);
        let closed = format!("<presence type='unavailable' from='{}'/>", deaf.jid);
        let mut sent = 0;
        let mut last_open = Instant::now();
        'open: loop {
            for _ in 0..4 {
                sender
                    .send(format!(
                        "<message to='{}' type='headline' id='{sent}'><body>{body}</body></message>",
                        deaf.jid
                    ))
                    .await;
                sent += 1;
            }
            sender.ping().await;
            while let Some(Item::Stanza(stanza)) = sender.item_within(Duration::ZERO).await {
                if stanza.matches(&closed) {
                    break 'open;
                }
            }
            last_open = Instant::now();
            assert!(sent < 4_000, "it is never closed");
        }
        let mut got = Vec::new();
        let error = read_all(&mut deaf, &mut got).await;
        assert!(
            error.as_deref() == Some("resource-constraint") || last_open.elapsed() > SURELY_IN_TIME,
            "{error:?}"
        );
        assert!(got.iter().copied().eq(0..got.len()), "in order: {got:?}");
        assert!(!got.is_empty() && got.len() < sent, "{} of {sent}", got.len());
    }
}

/// Several who read nothing, flooded by several: memory is bounded by their number and the bound of an outbox, and
/// comes back.
#[tokio::test]
async fn memory_is_bounded_by_the_outboxes() {
    const DEAF: usize = 6;
    const SENDERS: usize = 3;
    /// To each of the deaf by each of the senders. 9.6 MB for each of them.
    const EACH: usize = 200;
    /// What one may cost: what was taken to be sent, the outbox behind it, both in buffers that were doubled as they
    /// grew; and what a connection has besides.
    const BOUND: u64 = DEAF as u64 * (4 * OUTBOX + 256 * 1024);
    const NOISE: u64 = 4 * MEBIBYTE;
    let server = Arc::new(small_outbox(DEAF + SENDERS));
    let senders = online(&server, SENDERS).await;
    let files = server.open_files();
    let mut deafs = Vec::new();
    for number in 0..DEAF {
        deafs.push(deaf(&server, Transport::BOTH[number % 2], &server.user()).await);
    }
    let before = server.rss();
    let to: Vec<String> = deafs.iter().map(|deaf| deaf.jid.clone()).collect();
    let body = "x".repeat(BODY);
    let tasks: Vec<_> = senders
        .into_iter()
        .map(|mut sender| {
            let (server, to, body) = (Arc::clone(&server), to.clone(), body.clone());
            tokio::spawn(async move {
                let mut most = 0;
                for number in 0..EACH {
                    for to in &to {
                        sender
                            .send(format!(
                                "<message to='{to}' type='headline' id='{number}'><body>{body}</body></message>"
                            ))
                            .await;
                    }
                    most = most.max(server.rss());
                }
                sender.nothing_more().await;
                (sender, most.max(server.rss()))
            })
        })
        .collect();
    let mut most = 0;
    let mut senders = Vec::new();
    for task in tasks {
        let (sender, seen) = task.await.expect("no sender is held up");
        senders.push(sender);
        most = most.max(seen);
    }
    let grown = most.saturating_sub(before);
    assert!(
        grown <= BOUND + NOISE,
        "{grown} bytes of memory for {DEAF} outboxes, at most {BOUND} and {NOISE} expected"
    );
    // They are gone without having read a byte.
    files_fall_to(&server, files).await;
    memory_falls_to(&server, before + NOISE).await;
    for mut sender in senders {
        sender.nothing_more().await;
    }
}

/// Who sends and does not read is not read from either: what it asks for cannot pile up. It is not closed for it, and
/// gets everything once it reads.
#[tokio::test]
async fn a_deaf_sender_is_not_read_from() {
    /// Twice what the kernels hold of the answers.
    const COUNT: usize = 600;
    const QUIET: Duration = Duration::from_millis(400);
    /// Of the writer's connection (`store-sqlite`, `Options::writer_cache_kib`).
    const STORE_CACHE: u64 = 16 * MEBIBYTE;
    let server = small_outbox(8);
    for transport in Transport::BOTH {
        let mut deaf = Client::online(&server, transport, &server.user()).await;
        let mut witness = Client::online(&server, transport, &server.user()).await;
        let mut one = Client::online(&server, transport, &server.user()).await;
        let mut two = Client::online(&server, transport, &server.user()).await;
        let before = server.rss();
        let body = "x".repeat(BODY);
        let text: String = (0..COUNT)
            .map(|number| {
                format!(
                    "<message to='{}' id='{number}'><body>{body}</body></message>\
                     <message to='{}' type='headline' id='{number}'/>",
                    deaf.jid, witness.jid
                )
            })
            .collect();
        let until = async {
            let mut seen = 0;
            while let Some(Item::Stanza(stanza)) = witness.item_within(QUIET).await {
                assert_eq!(number(&stanza), Some(seen), "{stanza:?}");
                seen += 1;
            }
            // Now it is stuck. Nobody else is.
            for number in 0..50 {
                one.send(format!("<message to='{}' id='{number}'/>", two.jid)).await;
                two.expect(&format!("<message id='{number}'/>")).await;
                two.ping().await;
            }
            (seen, server.rss())
        };
        let (sent, (seen, rss)) = deaf.send_while(text.as_bytes(), until).await;
        assert!(
            seen > 0 && seen < COUNT,
            "{seen} of {COUNT} messages were passed on ({transport:?})"
        );
        let grown = rss.saturating_sub(before);
        // What it sends itself is archived, and fills the page cache of the store as any message does.
        assert!(
            grown < 4 * MEBIBYTE + STORE_CACHE,
            "{grown} bytes of memory ({transport:?})"
        );
        // It reads, and all goes on.
        deaf.send(&text.as_bytes()[sent..]).await;
        for number in 0..COUNT {
            deaf.expect(&format!("<message id='{number}'/>")).await;
        }
        deaf.nothing_more().await;
        for number in seen..COUNT {
            witness
                .expect(&format!("<message type='headline' id='{number}'/>"))
                .await;
        }
        witness.nothing_more().await;
    }
}

/// What was asked of the deaf one is with it, or answered in its place.
#[tokio::test]
async fn requests_to_the_deaf() {
    let server = small_outbox(2);
    let mut sender = Client::online(&server, Transport::Direct, &server.user()).await;
    let files = server.open_files();
    let mut deaf = deaf(&server, Transport::Starttls, &server.user()).await;
    befriend(&mut sender, &mut deaf).await;
    let body = "x".repeat(BODY);
    let closed = format!("<presence type='unavailable' from='{}'/>", deaf.jid);
    let (mut asked, mut is_closed) = (0, false);
    let mut dealt_with = Vec::new();
    while !is_closed {
        for _ in 0..4 {
            sender
                .send(format!(
                    "<iq to='{0}' type='get' id='{asked}'><query xmlns='urn:x'/></iq>\
                     <message to='{0}' type='headline'><body>{body}</body></message>",
                    deaf.jid
                ))
                .await;
            asked += 1;
        }
        for stanza in sender.drain().await {
            is_closed |= stanza.matches(&closed);
            dealt_with.extend(refused(&stanza));
        }
        assert!(asked < 4_000, "it is never closed");
    }
    files_fall_to(&server, files).await;
    dealt_with.extend(sender.drain().await.iter().filter_map(refused));
    while let Item::Stanza(stanza) = deaf.item().await {
        if stanza.name() == "iq" {
            dealt_with.push(stanza.get("id").parse().expect("a number"));
        }
    }
    dealt_with.sort_unstable();
    assert!(
        dealt_with.iter().copied().eq(0..asked),
        "{asked} were asked: {dealt_with:?}"
    );
}

fn refused(answer: &Stanza) -> Option<usize> {
    (answer.name() == "iq" && error_of(answer) == "cancel/service-unavailable")
        .then(|| answer.get("id").parse().expect("a number"))
}
