//! The limits with many at the same time, and that nothing is left when they have gone.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use testkit::{Client, ConnectOptions, Item, Server, TIMEOUT, Transport, frame, password_of, plain};

use crate::crowd::{files_fall_to, many, memory_falls_to, watch};
use crate::support::error_of;

const MEBIBYTE: u64 = 1024 * 1024;
/// What the memory of a process moves by without a reason.
const NOISE: u64 = 4 * MEBIBYTE;

const HERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 77);
const THERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 78);

fn from(address: Ipv4Addr) -> ConnectOptions {
    ConnectOptions {
        from: Some(address),
        ..ConnectOptions::default()
    }
}

/// Whether the connection has ended, as far as is known now.
async fn has_ended(client: &mut Client) -> bool {
    matches!(client.item_within(Duration::ZERO).await, Some(Item::End { .. }))
}

/// Several sessions of one account, each on a connection of its own.
async fn log_in(server: &Arc<Server>, jid: &str, address: Ipv4Addr, count: usize) -> Vec<Client> {
    many(count, |number| {
        let (server, jid) = (Arc::clone(server), jid.to_owned());
        async move { Client::login_with(&server, Transport::ALL[number % 3], &jid, from(address)).await }
    })
    .await
}

/// Of many half-open connections of one address so many stay as may, whatever they have said; others come in, until
/// `limits.connections` is reached; and there is room again as they leave.
#[tokio::test]
async fn half_open_connections() {
    const STRANGERS: usize = 120;
    const MAY_WAIT: usize = 20;
    const CONNECTIONS: usize = 60;
    let server = Arc::new(
        Server::builder()
            .users(1)
            .limit("connections", CONNECTIONS as u64)
            .limit("connections_before_login_per_address", MAY_WAIT as u64)
            .limit("sessions_per_account", 1_000)
            .start(),
    );
    let jid = server.user();
    drop(log_in(&server, &jid, THERE, 2).await);
    let files = idle_files(&server).await;
    let mut strangers = Vec::new();
    for number in 0..STRANGERS {
        let transport = Transport::ALL[number % 3];
        let mut stranger = Client::tcp(&server, transport, from(HERE)).await.expect("reached");
        match (number % 2, transport) {
            // A part of a header; a part of a handshake; nothing at all on any port.
            (0, Transport::Starttls) => stranger.send("<stream:stream to='exa").await,
            (0, _) => stranger.send([22, 3, 1, 1, 0, 1, 0, 0]).await,
            _ => {}
        }
        strangers.push(stranger);
    }
    let began = Instant::now();
    while strangers.len() > MAY_WAIT {
        let mut left = Vec::new();
        for mut stranger in strangers {
            if !has_ended(&mut stranger).await {
                left.push(stranger);
            }
        }
        strangers = left;
        assert!(began.elapsed() < TIMEOUT, "{} are still there", strangers.len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(strangers.len(), MAY_WAIT);
    files_fall_to(&server, files + MAY_WAIT).await;
    // They have had their turn when others come in after them, who fill what is left.
    let mut users = log_in(&server, &jid, THERE, CONNECTIONS - MAY_WAIT).await;
    for stranger in &mut strangers {
        assert!(!has_ended(stranger).await, "so many may wait");
    }
    for address in [HERE, THERE, Ipv4Addr::new(127, 0, 0, 79)] {
        for transport in Transport::ALL {
            let mut refused = Client::tcp(&server, transport, from(address)).await.expect("reached");
            match refused.item().await {
                Item::End { .. } => {}
                other => refused.fail(&format!("the end expected, {other:?} came")),
            }
        }
    }
    for user in &mut users {
        user.nothing_more().await;
    }
    // They leave, and as many may come.
    for stranger in strangers {
        stranger.cut();
    }
    files_fall_to(&server, files + CONNECTIONS - MAY_WAIT).await;
    users.extend(log_in(&server, &jid, HERE, MAY_WAIT).await);
    for user in &mut users {
        user.nothing_more().await;
    }
    for user in users {
        user.cut();
    }
    files_fall_to(&server, files).await;
    let mut fresh = log_in(&server, &jid, HERE, CONNECTIONS).await;
    for user in &mut fresh {
        user.nothing_more().await;
    }
}

/// Open files when nobody is connected: those of before have gone when their number does not fall any more.
async fn idle_files(server: &Server) -> usize {
    let (mut least, mut since) = (server.open_files(), Instant::now());
    while since.elapsed() < Duration::from_millis(200) {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let now = server.open_files();
        if now < least {
            (least, since) = (now, Instant::now());
        }
    }
    least
}

fn bind(resource: &str) -> String {
    format!("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>{resource}</resource></bind>")
}

/// Of forty who bind at the same moment exactly so many get a session as may, and as many more as leave.
#[tokio::test]
async fn sessions_of_an_account() {
    const CLIENTS: usize = 40;
    const MAY: usize = 5;
    let server = Arc::new(
        Server::builder()
            .users(1)
            .limit("sessions_per_account", MAY as u64)
            .start(),
    );
    let jid = server.user();
    let mut waiting = many(CLIENTS, |number| {
        let (server, jid) = (Arc::clone(&server), jid.clone());
        async move { Client::authenticated(&server, Transport::EVERY[number % 4], &jid).await }
    })
    .await;
    let mut bound: Vec<Client> = Vec::new();
    for leaving in [0, 3, MAY] {
        for _ in 0..leaving {
            bound.pop().expect("five are bound").close().await;
        }
        let room = MAY - bound.len();
        let attempts: Vec<_> = waiting
            .into_iter()
            .enumerate()
            .map(|(number, mut client)| {
                tokio::spawn(async move {
                    let answer = client.iq("set", "", &bind(&format!("r{leaving}-{number}"))).await;
                    (client, answer)
                })
            })
            .collect();
        waiting = Vec::new();
        let before = bound.len();
        for attempt in attempts {
            let (client, answer) = attempt.await.expect("an answer comes");
            if answer.get("type") == "result" {
                bound.push(client);
            } else {
                assert_eq!(error_of(&answer), "wait/resource-constraint", "{answer:?}");
                waiting.push(client);
            }
        }
        assert_eq!(bound.len() - before, room, "who has left makes room for one other");
    }
    for client in &mut bound {
        client.nothing_more().await;
    }
}

/// Guesses on many connections: each has its attempts, and who knows the password comes in meanwhile.
#[tokio::test]
async fn guesses_on_many_connections() {
    const GUESSERS: usize = 40;
    const ATTEMPTS: usize = 3;
    let server = Arc::new(
        Server::builder()
            .users(2)
            .limit("login_attempts", ATTEMPTS as u64)
            .start(),
    );
    let (victim, other) = (server.user(), server.user());
    drop(log_in(&server, &other, THERE, 2).await);
    let files = idle_files(&server).await;
    let guessing: Vec<_> = (0..GUESSERS)
        .map(|number| {
            let (server, victim) = (Arc::clone(&server), victim.clone());
            tokio::spawn(async move {
                let user = victim.split_once('@').expect("user@domain").0;
                let mut client = Client::opened(&server, Transport::EVERY[number % 4]).await;
                for attempt in 0..ATTEMPTS {
                    let guess = plain("", user, &format!("guess {number} {attempt}"));
                    let answer = client.auth("PLAIN", &guess).await;
                    assert_eq!(answer.condition(), Some("not-authorized"), "{answer:?}");
                }
                client.expect_stream_error("policy-violation").await;
            })
        })
        .collect();
    for jid in [&victim, &other] {
        for transport in Transport::EVERY {
            let mut honest = Client::opened(&server, transport).await;
            let user = jid.split_once('@').expect("user@domain").0;
            honest.plain(user, &password_of(jid)).await;
        }
    }
    for guesser in guessing {
        guesser.await.expect("it has its attempts, and then no more");
    }
    files_fall_to(&server, files).await;
}

/// Sends a part of a stanza that has no end yet.
async fn part(client: &mut Client, is_first: bool, bytes: &[u8]) {
    match client.transport() {
        Transport::WebSocket => client.send_raw(&frame(u8::from(is_first), bytes)).await,
        _ => client.send(bytes).await,
    }
}

/// Fifty stanzas that grow by and by to the limit and beyond: what they cost is bounded by it, and comes back.
#[tokio::test]
async fn dribbled_giants() {
    const GIANTS: usize = 50;
    const STANZA: usize = 200_000;
    const PIECE: usize = 8_000;
    /// What one may cost: the stanza in a buffer that was doubled as it grew, and what a connection has besides.
    const BOUND: u64 = (GIANTS * (2 * STANZA + 64 * 1024)) as u64;
    let server = Arc::new(
        Server::builder()
            .users(2)
            .limit("stanza_bytes", STANZA as u64)
            .limit("sessions_per_account", 1_000)
            .start(),
    );
    let jid = server.user();
    let mut bystander = Client::online(&server, Transport::Direct, &server.user()).await;
    // What the first fifty sessions leave behind for good is no part of it.
    let (files, _) = (idle_files(&server).await, log_in(&server, &jid, HERE, GIANTS).await);
    files_fall_to(&server, files).await;
    let before = server.rss();
    let mut giants = log_in(&server, &jid, HERE, GIANTS).await;
    let beginnings = ["<message><body>", "<message a='"];
    for (number, giant) in giants.iter_mut().enumerate() {
        part(giant, true, beginnings[number / 3 % 2].as_bytes()).await;
    }
    let piece = vec![b'x'; PIECE];
    let mut most = 0;
    for _ in 0..(STANZA - 100) / PIECE {
        for giant in &mut giants {
            part(giant, false, &piece).await;
        }
        bystander.ping().await;
        most = most.max(server.rss());
    }
    let grown = most.saturating_sub(before);
    assert!(
        grown <= BOUND + NOISE,
        "{grown} bytes of memory, at most {BOUND} and {NOISE} expected"
    );
    // All that was sent is there, or this would prove little.
    assert!(grown >= (GIANTS * STANZA / 2) as u64, "{grown} bytes of memory only");
    for giant in &mut giants {
        part(giant, false, &piece).await;
    }
    for mut giant in giants {
        giant.expect_stream_error("policy-violation").await;
    }
    bystander.nothing_more().await;
    files_fall_to(&server, files).await;
    memory_falls_to(&server, before + NOISE).await;
}

/// Five hundred sessions are cut in the same moment, each in the middle of a stanza: everybody who sees them hears of
/// each once, and they leave nothing.
#[tokio::test]
async fn five_hundred_leave_at_once() {
    const ACCOUNTS: usize = 25;
    const RESOURCES: usize = 20;
    const SESSIONS: usize = ACCOUNTS * RESOURCES;
    /// What each has sent of a stanza.
    const HELD: usize = 60_000;
    let server = Arc::new(
        Server::builder()
            .users(ACCOUNTS + 2)
            .limit("sessions_per_account", RESOURCES as u64)
            .start(),
    );
    let jids: Vec<String> = (0..ACCOUNTS).map(|_| server.user()).collect();
    let mut watchers = Vec::new();
    for transport in Transport::BOTH {
        watchers.push(Client::online(&server, transport, &server.user()).await);
    }
    let mut shown = many(ACCOUNTS, |number| {
        let (server, jid) = (Arc::clone(&server), jids[number].clone());
        async move { Client::online(&server, Transport::BOTH[number % 2], &jid).await }
    })
    .await;
    watch(&mut watchers, &mut shown).await;
    for one in shown {
        one.close().await;
    }
    for watcher in &mut watchers {
        watcher.forget().await;
    }
    let files = idle_files(&server).await;
    let before = server.rss();

    let mut sessions = many(SESSIONS, |number| {
        let (server, jid) = (Arc::clone(&server), jids[number % ACCOUNTS].clone());
        let jid = format!("{jid}/{number}");
        async move {
            let mut client = Client::login(&server, Transport::ALL[number / ACCOUNTS % 3], &jid).await;
            client.send("<presence/>").await;
            client
        }
    })
    .await;
    for watcher in &mut watchers {
        let came = presences(watcher, SESSIONS).await;
        assert!(came.iter().all(|(_, kinds)| kinds == &["available"]), "{came:?}");
        watcher.nothing_more().await;
    }
    let beginning = format!("<message to='{}'><body>{}", jids[0], "x".repeat(HELD));
    for session in &mut sessions {
        part(session, true, beginning.as_bytes()).await;
    }
    // All of it has been read.
    let began = Instant::now();
    while server.rss() < before + (SESSIONS * HELD) as u64 {
        assert!(began.elapsed() < TIMEOUT, "{} of {before} bytes are used", server.rss());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    for session in sessions {
        session.cut();
    }
    for watcher in &mut watchers {
        let came = presences(watcher, SESSIONS).await;
        assert_eq!(came.len(), SESSIONS);
        assert!(came.iter().all(|(_, kinds)| kinds == &["unavailable"]), "{came:?}");
        watcher.nothing_more().await;
    }
    files_fall_to(&server, files).await;
    memory_falls_to(&server, before + NOISE).await;
    // No session of theirs is left: as many as may be are bound anew.
    let mut fresh = log_in(&server, &jids[0], HERE, RESOURCES).await;
    for client in &mut fresh {
        client.nothing_more().await;
    }
}

/// The next presences, by who sent them.
async fn presences(watcher: &mut Client, count: usize) -> BTreeMap<String, Vec<String>> {
    let mut came: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..count {
        let stanza = watcher.stanza().await;
        assert_eq!(stanza.name(), "presence", "{stanza:?}");
        let kind = stanza.attr("type").unwrap_or("available").to_owned();
        came.entry(stanza.get("from").to_owned()).or_default().push(kind);
    }
    came
}
