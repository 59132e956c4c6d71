//! Connections over real sockets on the loopback, with the clock in our hands where time matters.

mod killed;
mod world;

use std::sync::atomic::Ordering;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sasl::client::Mechanism as _;
use sasl::client::mechanisms::Scram;
use sasl::common::scram::Sha1;
use socket2::SockRef;
use store::{Query, Store as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use module::Now;

use crate::service::Limits;

use world::*;

/// The numbers of the messages in a text, in order.
fn numbers(text: &str) -> Vec<usize> {
    text.split("id='m")
        .skip(1)
        .filter_map(|rest| rest.split('\'').next()?.parse().ok())
        .collect()
}

fn message(number: usize) -> String {
    let body = "x".repeat(900);
    format!("<message type='chat' id='m{number}' to='{JULIET}'><body>{body}</body></message>")
}

async fn patiently<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}

/// Runs a connection while something else is done, and gives it back.
async fn beside<T>(connection: Connection<TcpStream>, what: impl Future<Output = T>) -> (Connection<TcpStream>, T) {
    let mut connection = Box::pin(connection);
    let result = tokio::select! {
        biased;
        () = connection.as_mut() => panic!("the connection has ended"),
        result = what => result,
    };
    (*Pin::into_inner(connection), result)
}

/// Runs a connection until it has so much that is not used up.
async fn until_carried(mut connection: Connection<TcpStream>, least: usize) -> Connection<TcpStream> {
    while connection.carried.len() < least {
        (connection, ()) = beside(connection, tokio::time::sleep(Duration::from_millis(1))).await;
    }
    connection
}

#[test]
fn a_connection_is_small() {
    let size = size_of::<Connection<TcpStream>>();
    assert!(size <= 392, "{size} bytes");
}

#[tokio::test]
async fn a_session_and_its_end() {
    let world = World::new(limits());
    for end in ["</stream:stream>", ""] {
        let (mut client, task) = patiently(world.log_in("juliet")).await;
        assert_eq!(world.service.router.count_sessions(), 1);
        client.send(format!("<message to='{JULIET}' id='m1'/>")).await;
        assert_eq!(numbers(&patiently(client.until("/>")).await), [1]);
        client.send(end).await;
        client.socket.shutdown().await.expect("half-closed");
        assert_eq!(patiently(client.until_end()).await, end);
        patiently(task).await.expect("the task ends");
        assert_eq!(world.service.router.count_sessions(), 0);
    }
    world.expect_empty();
}

/// Nothing is kept while a client is silent, and little behind an unfinished stanza.
#[tokio::test]
async fn idle_connections_keep_no_buffer() {
    let world = World::new(limits());
    let (mut client, connection) = world.pair(None).await;
    let (connection, ()) = patiently(beside(connection, async {
        // Large input first, so that the buffers of the thread are large.
        client.log_in("juliet").await;
        for number in 0..50 {
            client.send(message(number)).await;
            client.until("</message>").await;
        }
    }))
    .await;
    assert_eq!(connection.carried.capacity(), 0);
    assert!(connection.unsent.is_empty());
    client.send("<message to='").await;
    let connection = patiently(until_carried(connection, 1)).await;
    let room = connection.carried.capacity();
    assert!(room <= 64, "{room} bytes are kept");
    // A long one that ends, with the beginning of the next behind it.
    let body = "x".repeat(20_000);
    let (connection, ()) = patiently(beside(connection, client.send(format!("{JULIET}'><body>{body}")))).await;
    let connection = patiently(until_carried(connection, body.len())).await;
    let (connection, _) = patiently(beside(connection, async {
        client.send("</body></message><mess").await;
        client.until("</message>").await
    }))
    .await;
    let (length, room) = (connection.carried.len(), connection.carried.capacity());
    assert!(
        length > 0 && room <= 2 * SPARE_ROOM,
        "{room} bytes are kept for {length}"
    );
    drop(connection);
    world.expect_empty();
}

/// G5: what a reader does not take is written to it, or delivered anew, never lost and never both.
#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    const COUNT: usize = 400;
    let world = World::new(limits());
    let (mut juliet, task) = patiently(world.log_in("juliet")).await;
    let (mut romeo, _romeo) = patiently(world.log_in("romeo")).await;
    for number in 0..COUNT {
        patiently(romeo.send(message(number))).await;
    }
    romeo
        .send("<iq type='get' id='end' to='example.org'><a xmlns='b'/></iq>")
        .await;
    patiently(romeo.until("</iq>")).await;
    // Only now she reads: what went out before, and at the end why there is no more.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let seen = patiently(juliet.until_end()).await;
    assert!(
        seen.contains("<resource-constraint "),
        "{}",
        &seen[seen.len().saturating_sub(300)..]
    );
    assert!(seen.ends_with("</stream:error></stream:stream>"));
    patiently(task).await.expect("the task ends");
    let mut all = numbers(&seen);
    assert!(all.len() > 100, "what fits is delivered: {}", all.len());
    let stored = waiting(&world);
    assert!(stored.len() > 100, "the rest waits: {}", stored.len());
    all.extend(stored);
    all.sort_unstable();
    assert_eq!(all, (0..COUNT).collect::<Vec<_>>());
}

/// The messages that wait for juliet.
fn waiting(world: &World) -> Vec<usize> {
    let owner = "juliet@example.org";
    world.service.router.save_cursors();
    let store = &world.storing.store;
    let found = store
        .read_wait(Query::waiting(owner, 0))
        .and_then(store::Found::waiting);
    let (cursor, _) = found.expect("read");
    let mut range = store::Range::of(owner, store::View::Waiting, store::PAGE_LIMIT);
    range.after = Some(cursor);
    let page = store.read_wait(Query::archive(range)).and_then(store::Found::archive);
    let messages = page.expect("read").messages;
    messages.iter().flat_map(|message| numbers(&message.stanza)).collect()
}

/// The same where the connection breaks: only what the kernel had taken is gone.
#[tokio::test]
async fn a_broken_connection_loses_little() {
    const COUNT: usize = 100;
    let world = World::new(limits());
    let (juliet, task) = patiently(world.log_in("juliet")).await;
    let (mut romeo, _romeo) = patiently(world.log_in("romeo")).await;
    for number in 0..COUNT {
        patiently(romeo.send(message(number))).await;
    }
    romeo
        .send("<iq type='get' id='end' to='example.org'><a xmlns='b'/></iq>")
        .await;
    patiently(romeo.until("</iq>")).await;
    SockRef::from(&juliet.socket)
        .set_linger(Some(Duration::ZERO))
        .expect("set");
    drop(juliet);
    patiently(task).await.expect("the task ends");
    let stored = patiently(async {
        loop {
            let stored = waiting(&world);
            if stored.last() == Some(&(COUNT - 1)) {
                return stored;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    // In order and without a gap. The kernel doubles what it is told, at both ends.
    assert_eq!(stored, (COUNT - stored.len()..COUNT).collect::<Vec<_>>());
    assert!(
        stored.len() * 1000 + 8 * KERNEL >= COUNT * 1000,
        "{} are left",
        stored.len()
    );
}

/// Stops the clock, which then only moves when it is told to: it would jump ahead whenever nothing else is ready,
/// and a socket is not ready at once.
fn stop_the_clock() {
    tokio::time::pause();
    tokio::spawn(async {
        loop {
            tokio::task::yield_now().await;
        }
    });
}

/// Moves the clock, and lets happen what then happens.
async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(30) {
        tokio::task::yield_now().await;
    }
}

/// RFC 6120 section 4.6.1.
#[tokio::test]
async fn silence_is_answered_with_a_space() {
    let world = World::new(limits());
    let (mut client, _task) = patiently(world.log_in("juliet")).await;
    let begun = now();
    let at = |seconds: i64| Now(begun.0 + seconds * 1000);
    let router = &world.service.router;
    for _ in 0..2 {
        router.look_for_silence(at(290), 300);
        assert_eq!(client.spaces().await, 0, "not earlier");
        // The client was heard just now, as `spaces` sends something.
        router.look_for_silence(at(310), 300);
        assert_eq!(client.spaces().await, 1);
    }
    router.look_for_silence(at(310), 300);
    router.look_for_silence(at(600), 300);
    assert_eq!(client.spaces().await, 1, "once in the period");
    router.look_for_silence(at(310), 300);
    router.look_for_silence(at(10), 300);
    router.look_for_silence(at(300), 300);
    assert_eq!(client.spaces().await, 2, "also when the clock was put back");
}

#[tokio::test]
async fn the_deadline_holds_in_every_state() {
    stop_the_clock();
    for sent in ["", "<stream:str", HEADER] {
        let world = World::new(limits());
        let (mut client, task) = world.connect().await;
        client.send(sent).await;
        pass(29).await;
        let mut seen = client.has_come();
        assert!(!seen.contains("<connection-timeout "), "{sent}: {seen}");
        // Whatever comes meanwhile: it is no time of idleness.
        client.send(" ").await;
        pass(2).await;
        seen.push_str(&client.until_end().await);
        assert!(
            seen.starts_with("<?xml version='1.0'?><stream:stream "),
            "{sent}: {seen}"
        );
        assert!(seen.contains("<connection-timeout "), "{sent}: {seen}");
        assert!(seen.ends_with("</stream:stream>"), "{sent}: {seen}");
        drop(client);
        task.await.expect("the task ends");
        world.expect_empty();
    }
    // In a handshake nothing can be said.
    let world = World::new(limits());
    let (mut client, connection) = world.pair(Some(tls())).await;
    let task = tokio::spawn(connection);
    client.send([22, 3, 1, 2, 0]).await;
    pass(29).await;
    assert!(!task.is_finished());
    pass(2).await;
    assert_eq!(client.until_end().await, "");
    task.await.expect("the task ends");
    world.expect_empty();
}

/// Who waits for the store is told at the deadline, and a resource that is bound too late is given back.
#[tokio::test]
async fn a_resource_that_is_bound_too_late() {
    let world = World::new(limits());
    let (mut client, mut task) = world.connect().await;
    // As far as the login, with the store stopped from then on.
    let ns = "urn:ietf:params:xml:ns:xmpp-sasl";
    patiently(async {
        client.send(HEADER).await;
        client.until("</stream:features>").await;
        let credentials = sasl::common::Credentials::default()
            .with_username("juliet")
            .with_password("secret")
            .with_channel_binding(sasl::common::ChannelBinding::None);
        let mut scram = Scram::<Sha1>::from_credentials(credentials).expect("usable");
        let first = STANDARD.encode(scram.initial());
        client
            .send(format!("<auth xmlns='{ns}' mechanism='SCRAM-SHA-1'>{first}</auth>"))
            .await;
        let challenge = client.until("</challenge>").await;
        let challenge = STANDARD
            .decode(challenge.split(['<', '>']).nth(2).expect("data"))
            .expect("base 64");
        let last = STANDARD.encode(scram.response(&challenge).expect("a challenge"));
        client.send(format!("<response xmlns='{ns}'>{last}</response>")).await;
        client.until("</success>").await;
        world.storing.paused.store(true, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(20)).await;
        client.send(HEADER).await;
        client.until("</stream:features>").await;
        client
            .send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
            .await;
        while world.storing.store.pending() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    tokio::time::pause();
    let seen = client.until_end().await;
    assert!(seen.starts_with("<stream:error><connection-timeout "), "{seen}");
    drop(client);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(!task.is_finished(), "it waits for the answer");
    tokio::time::resume();
    world.storing.paused.store(false, Ordering::Relaxed);
    patiently(&mut task).await.expect("the task ends");
    world.expect_empty();
}

/// Who sends too much is read later, and nothing is lost.
#[tokio::test]
async fn the_rate_is_kept() {
    let world = World::new(Limits {
        read_bytes_per_second: 1000,
        read_burst_bytes: 4000,
        ..limits()
    });
    let (mut client, _task) = patiently(world.log_in("juliet")).await;
    stop_the_clock();
    let mut seconds = 0;
    for (text, least) in [(message(1).repeat(14), 0), (message(2), 10)] {
        client.send(&text).await;
        let mut came = String::new();
        while came.matches("</message>").count() < text.matches("</message>").count() {
            came.push_str(&client.has_come());
            pass(1).await;
            seconds += 1;
            assert!(seconds < 100, "{} of {} bytes have come", came.len(), text.len());
        }
        // Fourteen thousand bytes have been read then, and four thousand are free.
        assert!(seconds >= least, "after {seconds} seconds");
    }
}

/// `system-shutdown` for everybody, in time.
#[tokio::test]
async fn a_shutdown_reaches_everybody() {
    let world = World::new(limits());
    let (mut new, _new) = world.connect().await;
    let (mut opened, _opened) = world.connect().await;
    opened.send(HEADER).await;
    patiently(opened.until("</stream:features>")).await;
    let (mut bound, _bound) = patiently(world.log_in("juliet")).await;
    let (mut romeo, _romeo) = patiently(world.log_in("romeo")).await;
    let (mut silent, handshake) = world.pair(Some(tls())).await;
    let _handshake = tokio::spawn(handshake);
    // Somebody who does not read.
    for number in 0..100 {
        patiently(romeo.send(message(number))).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    let start = Instant::now();
    let service = Arc::clone(&world.service);
    let down = tokio::spawn(async move { service.shut_down(Duration::from_secs(4)).await });
    for (client, headed) in [(&mut new, false), (&mut opened, true), (&mut romeo, true)] {
        let seen = patiently(client.until_end()).await;
        assert_eq!(seen.contains("<?xml"), !headed);
        assert!(seen.contains("<system-shutdown "), "{seen}");
        assert!(seen.ends_with("</stream:error></stream:stream>"), "{seen}");
    }
    assert_eq!(patiently(silent.until_end()).await, "", "no XML in a handshake");
    drop((new, opened, romeo, silent));
    assert_eq!(patiently(down).await.expect("joined"), 0, "nobody is left");
    let waited = start.elapsed();
    assert!(waited < Duration::from_secs(4), "{waited:?}");
    // She may still read what was on its way.
    while let Ok(true) = bound.try_read().await {}
    // Who comes in that moment is told too.
    let (mut late, _late) = world.connect().await;
    let seen = patiently(late.until_end()).await;
    assert!(seen.contains("<system-shutdown "), "{seen}");
}

/// RFC 5246 section 7.2: the alert gets there, and the stream says nothing (RFC 6120 section 5.4.3.2).
#[tokio::test]
async fn what_is_not_tls_is_answered_with_an_alert() {
    let world = World::new(limits());
    let (mut client, connection) = world.pair(Some(tls())).await;
    let task = tokio::spawn(connection);
    client.send(HEADER.repeat(100)).await;
    let mut answer = Vec::new();
    patiently(client.socket.read_to_end(&mut answer))
        .await
        .expect("no reset");
    assert!(
        matches!(answer[..], [21, 3, _, 0, 2, 2, _]),
        "a fatal alert: {answer:?}"
    );
    drop(client);
    patiently(task).await.expect("the task ends");
    world.expect_empty();
}
