//! Every key of `[limits]`, reached.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use testkit::{Binding, Client, ConnectOptions, Item, Scram, Server, TIMEOUT, Transport, password_of};

use crate::support::error_of;

/// Where each key is tested: a new one is missing here until it has a test.
const KEYS: [(&str, &str); 32] = [
    ("stanza_bytes", "sizes"),
    ("stanza_bytes_before_login", "sizes"),
    ("stanza_elements", "sizes"),
    ("stanza_elements_before_login", "sizes"),
    ("stanza_depth", "sizes"),
    ("attributes", "sizes"),
    ("namespaces", "sizes"),
    ("name_bytes", "sizes"),
    ("negotiation_seconds", "slow_negotiation"),
    ("keepalive_seconds", "keepalive"),
    ("unacknowledged_seconds", "slow_reader::who_never_reads"),
    ("shutdown_seconds", "shutdown::nobody_can_delay_it"),
    ("login_attempts", "attempts"),
    ("login_failures_per_minute_per_account", "failures_of_an_account"),
    ("login_failures_per_minute_per_address", "failures_of_an_address"),
    ("password_iterations", "iterations"),
    ("connections", "connections"),
    ("connections_before_login_per_address", "connections"),
    ("connections_per_second_per_address", "connections"),
    ("sessions_per_account", "binding::taken_illegal_and_too_many"),
    ("read_bytes_per_second", "reading_rate"),
    ("read_burst_bytes", "reading_rate"),
    ("outbox_bytes", "slow_reader"),
    ("roster_items", "roster::errors"),
    ("roster_groups_per_item", "roster::errors"),
    ("roster_name_bytes", "roster::errors"),
    ("subscription_requests_per_minute", "subscription_requests"),
    ("subscription_requests_waiting", "subscription_requests"),
    ("directed_presences_per_session", "directed_presence"),
    ("resume_seconds", "sm_away"),
    ("bosh_inactivity_seconds", "bosh::inactivity"),
    ("offline_messages_per_account", "offline::the_quota"),
];

#[test]
fn every_key_has_a_test() {
    let server = Server::with_users(0);
    let example = server.jackdaw(&["config", "example"], "");
    let example = String::from_utf8(example.stdout).expect("text");
    let limits = example.split("[limits]").nth(1).expect("the section is there");
    let mut keys: Vec<&str> = limits
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(" = ").map(|(key, _)| key))
        .collect();
    let mut tested: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    tested.sort_unstable();
    assert_eq!(keys, tested);
}

#[tokio::test]
async fn sizes() {
    let server = Server::builder()
        .users(6)
        .limit("stanza_bytes", 10_000)
        .limit("stanza_bytes_before_login", 1_000)
        .limit("stanza_elements", 20)
        .limit("stanza_elements_before_login", 10)
        .limit("stanza_depth", 8)
        .limit("attributes", 6)
        .limit("namespaces", 3)
        .limit("name_bytes", 30)
        .start();
    // With the namespace, which a message of a WebSocket needs, and which is a declaration and an attribute.
    const BEGIN: &str = "<message xmlns='jabber:client'";
    let text = |bytes: usize| {
        format!(
            "{BEGIN}><body>{}</body></message>",
            "x".repeat(bytes - BEGIN.len() - "><body></body></message>".len())
        )
    };
    // The stanza itself is an element, and a level.
    let elements = |count: usize| format!("{BEGIN}>{}</message>", "<a/>".repeat(count - 1));
    let deep = |levels: usize| {
        format!(
            "{BEGIN}>{}{}</message>",
            "<a>".repeat(levels - 1),
            "</a>".repeat(levels - 1)
        )
    };
    let attributes = |count: usize| {
        format!(
            "{BEGIN} {}/>",
            (1..count).map(|n| format!("a{n}='' ")).collect::<String>()
        )
    };
    let namespaces = |count: usize| {
        format!(
            "{BEGIN}><x {}/></message>",
            (1..count).map(|n| format!("xmlns:n{n}='u' ")).collect::<String>()
        )
    };
    let name = |bytes: usize| format!("{BEGIN}><{}/></message>", "n".repeat(bytes));
    // (before the login: what is too much; after it: what just fits, what is too much)
    let cases: [(&str, String, String, String); 6] = [
        ("bytes", text(1_001), text(10_000), text(10_001)),
        ("elements", elements(11), elements(20), elements(21)),
        ("depth", deep(9), deep(8), deep(9)),
        ("attributes", attributes(7), attributes(6), attributes(7)),
        ("namespaces", namespaces(4), namespaces(3), namespaces(4)),
        ("name", name(31), name(30), name(31)),
    ];
    for transport in Transport::ALL {
        let jid = server.user();
        for (what, before, fits, after) in &cases {
            let mut client = Client::opened(&server, transport).await;
            client.send(before).await;
            client.expect_stream_error("policy-violation").await;
            let mut client = Client::login(&server, transport, &jid).await;
            client.send(fits).await;
            // To oneself, who has no presence: nothing comes back but the ping's answer.
            client.ping().await;
            client.send(after).await;
            let error = client.wait_keeping(|stanza| stanza.name() == "error").await;
            assert_eq!(error.condition(), Some("policy-violation"), "{what}");
        }
    }
}

/// Row 12: one deadline for all of the negotiation, whatever is dribbled.
#[tokio::test]
async fn slow_negotiation() {
    let server = Server::builder().users(2).limit("negotiation_seconds", 1).start();
    let (server, jid) = (&server, server.user());
    let one = async |transport: Transport, state: usize| {
        let began = Instant::now();
        let user = jid.split_once('@').expect("user@domain").0;
        let mut client = match state {
            0 => Client::tcp(server, transport, ConnectOptions::default())
                .await
                .expect("reached"),
            1 => Client::secured(server, transport).await,
            2 | 4 => Client::opened(server, transport).await,
            _ => {
                let mut client = Client::opened(server, transport).await;
                client.plain(user, &password_of(&jid)).await;
                client.open().await;
                client
            }
        };
        if state == 4 {
            // A byte every now and then wins no time.
            for byte in b"<message to='example.org'><body>slowly, slowly".iter() {
                client.send([*byte]).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
                if began.elapsed() > Duration::from_secs(2) {
                    break;
                }
            }
        }
        if state == 0 && transport == Transport::Direct {
            // Nothing can be said to who has not even begun a handshake.
            match client.item().await {
                Item::End { .. } => {}
                other => client.fail(&format!("the end expected, {other:?} came")),
            }
        } else {
            client.expect_stream_error("connection-timeout").await;
        }
        let took = began.elapsed();
        assert!(
            took > Duration::from_millis(900) && took < Duration::from_secs(4),
            "{transport:?} {state}: {took:?}"
        );
    };
    let all = async |transport: Transport| {
        for states in [[0, 1], [2, 3]] {
            tokio::join!(one(transport, states[0]), one(transport, states[1]));
        }
        one(transport, 4).await;
    };
    tokio::join!(all(Transport::Starttls), all(Transport::Direct));
    // Who is bound has all the time in the world.
    let mut client = Client::login(server, Transport::Direct, &jid).await;
    tokio::time::sleep(Duration::from_millis(1_300)).await;
    client.nothing_more().await;
}

#[tokio::test]
async fn keepalive() {
    let server = Server::builder().users(6).limit("keepalive_seconds", 1).start();
    for transport in Transport::ALL {
        let mut silent = Client::online(&server, transport, &server.user()).await;
        silent.forget().await;
        silent.read_for(Duration::from_millis(2_500)).await;
        assert!(
            (2..=3).contains(&silent.spaces),
            "one a second, {} came ({transport:?})",
            silent.spaces
        );
        silent.nothing_more().await;
    }
}

#[tokio::test]
async fn attempts() {
    let server = Server::builder().users(2).limit("login_attempts", 2).start();
    for transport in Transport::ALL {
        let mut client = Client::opened(&server, transport).await;
        for _ in 0..2 {
            let answer = client.auth("PLAIN", &testkit::plain("", "u0", "wrong")).await;
            assert_eq!(answer.condition(), Some("not-authorized"));
        }
        client.expect_stream_error("policy-violation").await;
    }
}

async fn from(server: &Server, address: Ipv4Addr) -> Client {
    let options = ConnectOptions {
        from: Some(address),
        ..ConnectOptions::default()
    };
    let mut client = Client::secured_with(server, Transport::Direct, options).await;
    client.open().await;
    client
}

async fn attempt(client: &mut Client, user: &str, password: &str) -> String {
    let answer = client.auth("PLAIN", &testkit::plain("", user, password)).await;
    if answer.name() == "success" {
        "success".to_owned()
    } else {
        answer.condition().unwrap_or_default().to_owned()
    }
}

/// Failures are counted by the minute of the clock: one that begins in the middle of a test would forgive them.
async fn stay_in_one_minute() {
    let second = time::OffsetDateTime::now_utc().second();
    if second > 50 {
        tokio::time::sleep(Duration::from_secs(61 - u64::from(second))).await;
    }
}

#[tokio::test]
async fn failures_of_an_account() {
    let server = Server::builder()
        .users(2)
        .limit("login_failures_per_minute_per_account", 3)
        .limit("login_attempts", 50)
        .start();
    stay_in_one_minute().await;
    let (here, there) = (Ipv4Addr::new(127, 0, 0, 77), Ipv4Addr::new(127, 0, 0, 78));
    let password = password_of("u0@example.org");
    let mut client = from(&server, here).await;
    for _ in 0..3 {
        assert_eq!(attempt(&mut client, "u0", "wrong").await, "not-authorized");
    }
    assert_eq!(attempt(&mut client, "u0", "wrong").await, "temporary-auth-failure");
    // Also with the right password, and on another connection.
    let mut client = from(&server, here).await;
    assert_eq!(attempt(&mut client, "u0", &password).await, "temporary-auth-failure");
    // Nobody else is affected: not another account, not the owner elsewhere.
    assert_eq!(
        attempt(&mut client, "u1", &password_of("u1@example.org")).await,
        "success"
    );
    let mut client = from(&server, there).await;
    assert_eq!(attempt(&mut client, "u0", &password).await, "success");
    // The operator is told once, however many came behind.
    assert_eq!(server.logged("too many logins failed"), 1);
    assert_eq!(server.logged("a login failed"), 3);
}

#[tokio::test]
async fn failures_of_an_address() {
    let server = Server::builder()
        .users(8)
        .limit("login_failures_per_minute_per_address", 4)
        .limit("login_attempts", 50)
        .start();
    stay_in_one_minute().await;
    let (here, there) = (Ipv4Addr::new(127, 0, 0, 77), Ipv4Addr::new(127, 0, 0, 78));
    let mut client = from(&server, here).await;
    for user in ["u0", "u1", "u2", "nobody"] {
        assert_eq!(attempt(&mut client, user, "wrong").await, "not-authorized");
    }
    for user in ["u3", "nobody"] {
        assert_eq!(attempt(&mut client, user, "wrong").await, "temporary-auth-failure");
    }
    let mut client = from(&server, there).await;
    assert_eq!(
        attempt(&mut client, "u3", &password_of("u3@example.org")).await,
        "success"
    );
}

#[tokio::test]
async fn iterations() {
    let server = Server::builder().users(1).limit("password_iterations", 5_000).start();
    let mut client = Client::opened(&server, Transport::Direct).await;
    for user in ["u0", "nobody"] {
        let mut scram = Scram::new("SCRAM-SHA-256", user, "wrong", &Binding::None, &[]);
        client.scram("SCRAM-SHA-256", &mut scram).await;
        assert_eq!(scram.iterations, 5_000, "{user}");
    }
}

/// Whether the server takes another connection: a stream begins.
async fn is_admitted(server: &Server, address: Ipv4Addr) -> Option<Client> {
    let options = ConnectOptions {
        from: Some(address),
        ..ConnectOptions::default()
    };
    let mut client = Client::tcp(server, Transport::Starttls, options).await.ok()?;
    client
        .send(format!(
            "<stream:stream to='example.org' version='1.0' xmlns='jabber:client' xmlns:stream='{}'>",
            testkit::NS_STREAM
        ))
        .await;
    match client.item_within(TIMEOUT).await {
        Some(Item::Header(_)) => Some(client),
        _ => None,
    }
}

#[tokio::test]
async fn connections() {
    let (here, there) = (Ipv4Addr::new(127, 0, 0, 77), Ipv4Addr::new(127, 0, 0, 78));
    // Altogether.
    let server = Server::builder().users(1).limit("connections", 3).start();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(is_admitted(&server, here).await.expect("there is room"));
    }
    assert!(
        is_admitted(&server, there).await.is_none(),
        "the fourth is one too many"
    );
    open.pop().expect("three").close().await;
    let mut again = None;
    for _ in 0..100 {
        again = is_admitted(&server, there).await;
        if again.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(again.is_some(), "there is room again");

    // From one address, not logged in.
    let server = Server::builder()
        .users(1)
        .limit("connections_before_login_per_address", 2)
        .start();
    let mut bound = Vec::new();
    for _ in 0..4 {
        let options = ConnectOptions {
            from: Some(here),
            ..ConnectOptions::default()
        };
        bound.push(Client::login_with(&server, Transport::Direct, "u0@example.org", options).await);
    }
    let first = is_admitted(&server, here)
        .await
        .expect("who is logged in does not count");
    let _second = is_admitted(&server, here).await.expect("two may negotiate");
    assert!(is_admitted(&server, here).await.is_none());
    let _other = is_admitted(&server, there)
        .await
        .expect("another address is not affected");
    first.close().await;
    let mut again = None;
    for _ in 0..100 {
        again = is_admitted(&server, here).await;
        if again.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(again.is_some(), "there is room again");
    for client in &mut bound {
        client.nothing_more().await;
    }

    // From one address, by the time: two a second, over ten seconds.
    let server = Server::builder()
        .users(1)
        .limit("connections_per_second_per_address", 2)
        .start();
    let mut admitted = 0;
    for _ in 0..45 {
        admitted += usize::from(is_admitted(&server, here).await.is_some());
    }
    assert!(
        (20..=40).contains(&admitted),
        "twenty, or twice that where a window ends meanwhile: {admitted}"
    );
    assert!(
        is_admitted(&server, there).await.is_some(),
        "another address is not affected"
    );
}

/// Who sends faster than the average is read more slowly, and nothing is lost.
#[tokio::test]
async fn reading_rate() {
    let server = Server::builder()
        .users(6)
        .limit("stanza_bytes", 20_000)
        .limit("read_burst_bytes", 50_000)
        .limit("read_bytes_per_second", 50_000)
        .start();
    for transport in Transport::ALL {
        let mut sender = Client::online(&server, transport, &server.user()).await;
        let mut receiver = Client::online(&server, transport, &server.user()).await;
        let body = "x".repeat(10_000);
        let began = Instant::now();
        for number in 0..15 {
            sender
                .send(format!(
                    "<message to='{}' id='{number}'><body>{body}</body></message>",
                    receiver.jid
                ))
                .await;
        }
        for number in 0..15 {
            receiver.expect(&format!("<message id='{number}'/>")).await;
        }
        let took = began.elapsed();
        // 150,000 bytes: 50,000 of them at once, the last few as soon as the average has been paid for those before.
        assert!(
            took > Duration::from_millis(1_000) && took < Duration::from_secs(6),
            "{took:?}"
        );
        sender.nothing_more().await;
    }
}

/// Row 36.
#[tokio::test]
async fn subscription_requests() {
    let server = Server::builder()
        .users(20)
        .limit("subscription_requests_per_minute", 3)
        .limit("subscription_requests_waiting", 2)
        .start();
    stay_in_one_minute().await;
    let mut flooder = Client::online(&server, Transport::Direct, &server.user()).await;
    for number in 0..5 {
        flooder
            .send(format!(
                "<presence type='subscribe' id='s{number}' to='nobody{number}@example.org'/>"
            ))
            .await;
    }
    for number in 3..5 {
        let answer = flooder
            .expect(&format!("<presence type='error' id='s{number}'/>"))
            .await;
        assert!(error_of(&answer).ends_with("/policy-violation"), "{answer:?}");
    }
    flooder.nothing_more().await;
    // Another session of the account has no allowance of its own.
    let mut second = Client::online(&server, Transport::Direct, flooder.bare()).await;
    second.forget().await;
    second
        .send("<presence type='subscribe' id='t' to='nobody9@example.org'/>")
        .await;
    let answer = second.expect("<presence type='error' id='t'/>").await;
    assert!(
        error_of(&answer).ends_with("/policy-violation"),
        "the limit is one of the account: {answer:?}"
    );

    // Two requests may wait; a further one is dropped as one is that nobody answers.
    let popular = server.user();
    let mut asking = Vec::new();
    for _ in 0..3 {
        let mut client = Client::online(&server, Transport::Direct, &server.user()).await;
        client
            .send(format!("<presence type='subscribe' to='{popular}'/>"))
            .await;
        crate::support::settle(&mut client, &popular).await;
        client.nothing_more().await;
        asking.push(client.bare().to_owned());
    }
    let mut popular = Client::online(&server, Transport::Direct, &popular).await;
    popular
        .expect_all(&[
            &format!("<presence type='subscribe' from='{}'/>", asking[0]),
            &format!("<presence type='subscribe' from='{}'/>", asking[1]),
        ])
        .await;
    popular.nothing_more().await;
}

#[tokio::test]
async fn directed_presence() {
    let server = Server::builder()
        .users(6)
        .limit("directed_presences_per_session", 2)
        .start();
    for transport in Transport::ALL {
        let mut client = Client::online(&server, transport, &server.user()).await;
        for (number, refused) in [(0, false), (1, false), (0, false), (2, true)] {
            client
                .send(format!("<presence id='d{number}' to='nobody{number}@example.org'/>"))
                .await;
            if refused {
                let answer = client.expect(&format!("<presence type='error' id='d{number}'/>")).await;
                assert!(error_of(&answer).ends_with("/policy-violation"), "{answer:?}");
            }
            client.nothing_more().await;
        }
        // Taking one back makes room.
        client
            .send("<presence type='unavailable' to='nobody0@example.org'/>")
            .await;
        client.send("<presence to='nobody2@example.org'/>").await;
        client.nothing_more().await;
    }
}
