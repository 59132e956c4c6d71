//! Every key of `[limits]`, reached.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use testkit::{
    Binding, Bosh, Client, ConnectOptions, Item, Line, Loss, NS_BOSH, Scram, Server, TIMEOUT, Transport, frame,
    password_of,
};

use crate::support::{error_of, managed};

/// Where each key is reached over each transport; where not over each, why. A new one is missing here until it has a test.
const KEYS: [(&str, &str, &str); 56] = [
    ("stanza_bytes", "sizes", ""),
    ("stanza_bytes_before_login", "sizes", ""),
    ("stanza_elements", "sizes", ""),
    ("stanza_elements_before_login", "sizes", ""),
    ("stanza_depth", "sizes", ""),
    ("attributes", "sizes", ""),
    ("namespaces", "sizes", ""),
    ("name_bytes", "sizes", ""),
    ("negotiation_seconds", "slow_negotiation", ""),
    (
        "keepalive_seconds",
        "keepalive",
        "BOSH: a held request needs no whitespace, and wait ends it",
    ),
    (
        "unacknowledged_seconds",
        "slow_reader::who_never_reads",
        "the kernel's, of TCP; BOSH has bosh_inactivity_seconds besides",
    ),
    (
        "shutdown_seconds",
        "shutdown::nobody_can_delay_it",
        "of the process, whatever its connections are",
    ),
    ("login_attempts", "attempts", ""),
    ("login_failures_per_minute_per_account", "failures_of_an_account", ""),
    ("login_failures_per_minute_per_address", "failures_of_an_address", ""),
    (
        "registrations_per_hour_per_address",
        "registration::a_swarm_of_bots",
        "",
    ),
    ("registrations_per_hour", "registration::so_many_accounts_an_hour", ""),
    ("invitations_per_account", "invitations::by_a_command", ""),
    (
        "invitations",
        "invitations::there_are_so_many_invitations",
        "of the operator's command",
    ),
    ("password_iterations", "iterations", ""),
    ("connections", "connections, bosh::sessions_leave_nothing", ""),
    ("connections_before_login_per_address", "connections, bosh::limits", ""),
    (
        "connections_per_second_per_address",
        "connections",
        "BOSH: its connections are those of the WebSocket's port",
    ),
    ("sessions_per_account", "binding::taken_illegal_and_too_many", ""),
    ("read_bytes_per_second", "reading_rate, reading_rate_of_http", ""),
    ("read_burst_bytes", "reading_rate, reading_rate_of_http", ""),
    ("outbox_bytes", "slow_reader, outbox_of_a_session", ""),
    (
        "component_outbox_bytes",
        "components::one_that_does_not_read",
        "of components alone",
    ),
    ("roster_items", "roster::errors", ""),
    ("roster_groups_per_item", "roster::errors", ""),
    ("roster_name_bytes", "roster::errors", ""),
    ("subscription_requests_per_minute", "subscription_requests", ""),
    ("subscription_requests_waiting", "subscription_requests", ""),
    ("directed_presences_per_session", "directed_presence", ""),
    (
        "stranger_messages_per_hour",
        "strangers::as_many_as_there_is_room_for",
        "",
    ),
    (
        "stranger_messages_per_hour_in_all",
        "strangers::as_many_as_there_is_room_for",
        "",
    ),
    ("stranger_requests_per_hour", "strangers::requests", ""),
    ("reports_per_day", "reports::no_more_than_enough", ""),
    (
        "bytestream_connections",
        "bytestreams::limits",
        "of the proxy, which is none of them",
    ),
    (
        "bytestream_connections_per_address",
        "bytestreams::limits",
        "of the proxy, which is none of them",
    ),
    (
        "bytestream_bytes",
        "bytestreams::limits",
        "of the proxy, which is none of them",
    ),
    (
        "bytestream_bytes_per_second",
        "bytestreams::limits",
        "of the proxy, which is none of them",
    ),
    (
        "bytestream_seconds",
        "bytestreams::limits",
        "of the proxy, which is none of them",
    ),
    ("bytestreams_per_account", "bytestreams::limits", ""),
    ("resume_seconds", "resumption", ""),
    ("bosh_inactivity_seconds", "bosh::inactivity", "BOSH alone has it"),
    ("offline_messages_per_account", "offline::the_quota", ""),
    (
        "push_services_per_account",
        "push::enabling_and_disabling",
        "an answer to a request, whatever carries it",
    ),
    ("room_occupants", "rooms::service::limits", ""),
    ("room_affiliations", "rooms::service::limits", ""),
    ("room_history_messages", "rooms::service::limits", ""),
    ("rooms_per_account", "rooms::service::limits", ""),
    ("room_deliveries_per_second", "rooms::service::a_flood_is_refused", ""),
    ("room_burst_deliveries", "rooms::service::a_flood_is_refused", ""),
    ("guests", "guests::as_many_as_there_is_room_for", ""),
    ("guests_per_address", "guests::as_many_as_there_is_room_for", ""),
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
    let mut tested: Vec<&str> = KEYS.iter().map(|(key, _, _)| *key).collect();
    keys.sort_unstable();
    tested.sort_unstable();
    assert_eq!(keys, tested);
}

#[tokio::test]
async fn sizes() {
    let server = Server::builder()
        .users(4)
        .limit("stanza_bytes", 10_000)
        .limit("stanza_bytes_before_login", 1_000)
        .limit("stanza_elements", 20)
        .limit("stanza_elements_before_login", 10)
        .limit("stanza_depth", 8)
        .limit("attributes", 12)
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
    // Each of them used: over BOSH what is not is left out before the stream sees it.
    let namespaces = |count: usize| {
        format!(
            "{BEGIN}>{}</message>",
            (1..count)
                .map(|n| format!("<x xmlns:n{n}='u' n{n}:a=''/>"))
                .collect::<String>()
        )
    };
    let name = |bytes: usize| format!("{BEGIN}><{}/></message>", "n".repeat(bytes));
    for transport in Transport::EVERY {
        let jid = server.user();
        // Over BOSH a stanza stands in the stream's namespace without the declaration.
        let (bytes, declarations) = match transport {
            Transport::Bosh => (" xmlns='jabber:client'".len(), 1),
            _ => (0, 0),
        };
        // (before the login: what is too much; after it: what just fits, what is too much)
        let cases: [(&str, String, String, String); 6] = [
            ("bytes", text(1_001 + bytes), text(10_000 + bytes), text(10_001 + bytes)),
            ("elements", elements(11), elements(20), elements(21)),
            ("depth", deep(9), deep(8), deep(9)),
            ("attributes", attributes(13), attributes(12), attributes(13)),
            (
                "namespaces",
                namespaces(4 + declarations),
                namespaces(3 + declarations),
                namespaces(4 + declarations),
            ),
            ("name", name(31), name(30), name(31)),
        ];
        for (what, before, fits, after) in &cases {
            // Of a request these are looked at before the stream is; each is one condition or the other.
            let is_refused_before = transport == Transport::Bosh && ["depth", "attributes", "name"].contains(what);
            let refused = async |client: &mut Client| match is_refused_before {
                true => client.expect_terminal_condition("policy-violation").await,
                false => drop(client.expect_stream_error("policy-violation").await),
            };
            // XEP-0478: what is told is what holds.
            let told = |client: &Client| client.features.as_ref().map(|features| features.raw().to_owned());
            let mut client = Client::opened(&server, transport).await;
            let features = told(&client).expect("features");
            assert!(features.contains("<max-bytes>1000</max-bytes>"), "{features}");
            client.send(before).await;
            refused(&mut client).await;
            let mut client = Client::login(&server, transport, &jid).await;
            let features = told(&client).expect("features");
            let limits = "<max-bytes>10000</max-bytes><idle-seconds>300</idle-seconds>";
            assert!(features.contains(limits), "{features}");
            client.send(fits).await;
            // To oneself, who has no presence: nothing comes back but the ping's answer.
            client.ping().await;
            client.forget().await;
            client.send(after).await;
            refused(&mut client).await;
        }
    }
}

/// Row 12: one deadline for all of the negotiation, whatever is dribbled.
#[tokio::test]
async fn slow_negotiation() {
    let server = Server::builder()
        .users(2)
        .limit("negotiation_seconds", 1)
        .limit("login_attempts", 1_000)
        .start();
    let (server, jid) = (&server, server.user());
    let one = async |transport: Transport, state: usize| {
        if transport == Transport::Bosh && state == 1 {
            // It is a connection of HTTP, as that of a WebSocket without a request: `websocket::slow_clients`.
            return;
        }
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
            // A byte every now and then wins no time, nor does a frame, nor a request.
            for byte in b"<message to='example.org'><body>slowly, slowly".iter() {
                match transport {
                    Transport::WebSocket => client.send_raw(&frame(0x89, &[*byte])).await,
                    Transport::Bosh => {
                        client
                            .send_whole(b"<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
                            .await
                    }
                    _ => client.send([*byte]).await,
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                if began.elapsed() > Duration::from_secs(2) {
                    break;
                }
            }
        }
        if state == 4 && transport == Transport::Bosh {
            client.wait_for_end("connection-timeout").await;
        } else if state == 0 && transport != Transport::Starttls {
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
    tokio::join!(
        all(Transport::Starttls),
        all(Transport::Direct),
        all(Transport::WebSocket),
        all(Transport::Bosh)
    );
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
    for transport in Transport::EVERY {
        let mut client = Client::opened(&server, transport).await;
        for _ in 0..2 {
            let answer = client.auth("PLAIN", &testkit::plain("", "u0", "wrong")).await;
            assert_eq!(answer.condition(), Some("not-authorized"));
        }
        client.expect_stream_error("policy-violation").await;
    }
}

async fn from(server: &Server, transport: Transport, address: Ipv4Addr) -> Client {
    let options = ConnectOptions {
        from: Some(address),
        ..ConnectOptions::default()
    };
    let mut client = Client::secured_with(server, transport, options).await;
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
pub(crate) async fn stay_in_one_minute() {
    let second = time::OffsetDateTime::now_utc().second();
    if second > 50 {
        tokio::time::sleep(Duration::from_secs(61 - u64::from(second))).await;
    }
}

/// Addresses of this machine, others for each transport.
fn addresses(transport: Transport) -> (Ipv4Addr, Ipv4Addr) {
    let number = 2 * transport as u8;
    (
        Ipv4Addr::new(127, 0, 0, 77 + number),
        Ipv4Addr::new(127, 0, 0, 78 + number),
    )
}

#[tokio::test]
async fn failures_of_an_account() {
    let server = Server::builder()
        .users(8)
        .limit("login_failures_per_minute_per_account", 3)
        .limit("login_attempts", 50)
        .start();
    stay_in_one_minute().await;
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let (here, there) = addresses(transport);
        let (victim, other) = (format!("u{}", 2 * number), format!("u{}", 2 * number + 1));
        let password = password_of(&format!("{victim}@example.org"));
        let mut client = from(&server, transport, here).await;
        for _ in 0..3 {
            assert_eq!(attempt(&mut client, &victim, "wrong").await, "not-authorized");
        }
        assert_eq!(attempt(&mut client, &victim, "wrong").await, "temporary-auth-failure");
        // Also with the right password, and on another connection, of whatever kind.
        for again in [transport, Transport::Direct] {
            let mut client = from(&server, again, here).await;
            assert_eq!(attempt(&mut client, &victim, &password).await, "temporary-auth-failure");
        }
        // Nobody else is affected: not another account, not the owner elsewhere.
        let mut client = from(&server, transport, here).await;
        let own = password_of(&format!("{other}@example.org"));
        assert_eq!(attempt(&mut client, &other, &own).await, "success");
        let mut client = from(&server, transport, there).await;
        assert_eq!(attempt(&mut client, &victim, &password).await, "success");
        // The operator is told once, however many came behind.
        assert_eq!(server.logged("too many logins failed"), number + 1);
        assert_eq!(server.logged("a login failed"), 3 * (number + 1));
    }
}

#[tokio::test]
async fn failures_of_an_address() {
    let server = Server::builder()
        .users(8)
        .limit("login_failures_per_minute_per_address", 4)
        .limit("login_attempts", 50)
        .start();
    stay_in_one_minute().await;
    for transport in Transport::EVERY {
        let (here, there) = addresses(transport);
        let mut client = from(&server, transport, here).await;
        for user in ["u0", "u1", "u2", "nobody"] {
            assert_eq!(attempt(&mut client, user, "wrong").await, "not-authorized");
        }
        for user in ["u3", "nobody"] {
            assert_eq!(attempt(&mut client, user, "wrong").await, "temporary-auth-failure");
        }
        let mut client = from(&server, transport, there).await;
        assert_eq!(
            attempt(&mut client, "u3", &password_of("u3@example.org")).await,
            "success"
        );
    }
}

#[tokio::test]
async fn iterations() {
    let server = Server::builder().users(1).limit("password_iterations", 5_000).start();
    for transport in Transport::EVERY {
        let mut client = Client::opened(&server, transport).await;
        for user in ["u0", "nobody"] {
            let mut scram = Scram::new("SCRAM-SHA-256", user, "wrong", &Binding::None, &[]);
            client.scram("SCRAM-SHA-256", &mut scram).await;
            assert_eq!(scram.iterations, 5_000, "{user}");
        }
    }
}

/// Whether the server takes another connection: a stream begins.
async fn is_admitted(server: &Server, transport: Transport, address: Ipv4Addr) -> Option<Client> {
    let options = ConnectOptions {
        from: Some(address),
        ..ConnectOptions::default()
    };
    let mut client = Client::connect_with(server, transport, options).await.ok()?;
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
    for transport in Transport::ALL {
        connections_over(transport).await;
    }
}

async fn connections_over(transport: Transport) {
    let (here, there) = (Ipv4Addr::new(127, 0, 0, 77), Ipv4Addr::new(127, 0, 0, 78));
    // Altogether.
    let server = Server::builder().users(1).limit("connections", 3).start();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(is_admitted(&server, transport, here).await.expect("there is room"));
    }
    assert!(
        is_admitted(&server, transport, there).await.is_none(),
        "the fourth is one too many"
    );
    open.pop().expect("three").close().await;
    let mut again = None;
    for _ in 0..100 {
        again = is_admitted(&server, transport, there).await;
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
        bound.push(Client::login_with(&server, transport, "u0@example.org", options).await);
    }
    let first = is_admitted(&server, transport, here)
        .await
        .expect("who is logged in does not count");
    let _second = is_admitted(&server, transport, here).await.expect("two may negotiate");
    assert!(is_admitted(&server, transport, here).await.is_none());
    let _other = is_admitted(&server, transport, there)
        .await
        .expect("another address is not affected");
    first.close().await;
    let mut again = None;
    for _ in 0..100 {
        again = is_admitted(&server, transport, here).await;
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
        admitted += usize::from(is_admitted(&server, transport, here).await.is_some());
    }
    assert!(
        (20..=40).contains(&admitted),
        "twenty, or twice that where a window ends meanwhile: {admitted}"
    );
    assert!(
        is_admitted(&server, transport, there).await.is_some(),
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

/// What HTTP reads counts before it is content: heads and empty bodies, whosever they are, the stanzas of a session, and
/// frames of a WebSocket that carry nothing.
#[tokio::test]
async fn reading_rate_of_http() {
    const BYTES: usize = 10_000;
    let server = Server::builder()
        .users(2)
        .limit("stanza_bytes", 20_000)
        .limit("read_burst_bytes", 50_000)
        .limit("read_bytes_per_second", 50_000)
        .start();
    let server = &server;
    let (one, two) = (format!("{}/r", server.user()), server.user());
    let check = |what: &str, began: Instant| {
        let took = began.elapsed();
        // As in `reading_rate`: 150,000 bytes.
        assert!(
            took > Duration::from_millis(1_000) && took < Duration::from_secs(6),
            "{what}: {took:?}"
        );
    };
    let heads = async |what: &str, body: &str, padding: &str| {
        let mut line = Line::open(server).await;
        let began = Instant::now();
        for _ in 0..15 {
            line.ask_with(body, padding).await;
            line.answer().await;
        }
        check(what, began);
    };
    let long = format!("X-Long: {}\r\n", "x".repeat(BYTES));
    let nobodys = format!("<body rid='1' sid='nobody' xmlns='{NS_BOSH}'/>");
    let spaces = " ".repeat(BYTES);
    let blank = format!(
        "<body rid='1' sid='nobody' xmlns='{NS_BOSH}'>{}</body>",
        " ".repeat(BYTES)
    );
    let stanzas = async {
        let mut bosh = Bosh::login(server, &one).await;
        let message = format!(
            "<message xmlns='jabber:client' to='{two}' type='headline'><body>{}</body></message>\
             <iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>",
            "x".repeat(BYTES)
        );
        let began = Instant::now();
        for _ in 0..15 {
            bosh.send(&message).await;
        }
        check("stanzas", began);
    };
    let pings = async {
        const PINGS: usize = 1200;
        let mut client = Client::opened(server, Transport::WebSocket).await;
        let began = Instant::now();
        client.send_raw(&frame(0x89, &[b'x'; 125]).repeat(PINGS)).await;
        client.send_raw(&frame(0x89, b"end")).await;
        // Of several at once only the last is answered (RFC 6455 section 5.5.3).
        while client.pongs().last().is_none_or(|pong| pong != b"end") {
            client.read_for(Duration::from_millis(20)).await;
            assert!(began.elapsed() < TIMEOUT, "{} pongs", client.pongs().len());
        }
        check("pings", began);
    };
    tokio::join!(
        heads("heads", &nobodys, &long),
        heads("bodies", &blank, ""),
        heads("what is no XML", &spaces, ""),
        stanzas,
        pings
    );
}

/// A session of BOSH whose client makes no request, but is sent something: no more waits than may.
#[tokio::test]
async fn outbox_of_a_session() {
    let server = Server::builder()
        .users(2)
        .limit("stanza_bytes", 20_000)
        .limit("outbox_bytes", 100_000)
        .start();
    let mut bosh = Bosh::login(&server, &format!("{}/r", server.user())).await;
    bosh.send("<presence xmlns='jabber:client'/>").await;
    let mut sender = Client::online(&server, Transport::Direct, &server.user()).await;
    let message = format!(
        "<message to='{}' type='headline'><body>{}</body></message>",
        bosh.jid,
        "x".repeat(16_000)
    );
    for _ in 0..30 {
        sender.send(&message).await;
    }
    sender.nothing_more().await;
    // A little was on its way already.
    let mut came = 0;
    loop {
        let response = bosh.request("", "").await;
        came += response
            .payloads()
            .iter()
            .filter(|stanza| stanza.name() == "message")
            .count();
        if response.get("type") == "terminate" {
            break;
        }
    }
    assert!(came < 15, "{came} of 30 messages have waited");
}

/// A session whose connection broke waits so long, as it is told, and no longer.
#[tokio::test]
async fn resumption() {
    let server = Server::builder()
        .users(8)
        .limit("resume_seconds", 1)
        .limit("bosh_inactivity_seconds", 1)
        .start();
    let server = &server;
    let over = async |transport: Transport| {
        let mut other = Client::online(server, Transport::Direct, &server.user()).await;
        let mut client = managed(server, transport, &server.user()).await;
        client.send(format!("<presence to='{}'/>", other.jid)).await;
        other.wait(&format!("<presence from='{}'/>", client.jid)).await;
        let session = client.lose(Loss::Reset);
        // Answered when there is nobody any more who could come back.
        other
            .send(format!(
                "<iq type='get' id='q' to='{}'><query xmlns='urn:x'/></iq>",
                session.jid
            ))
            .await;
        other.wait("<iq type='error' id='q'/>").await;
        let (_, failed) = Client::resume_in_vain(server, transport, &session).await;
        assert_eq!(failed.condition(), Some("item-not-found"), "{transport:?}: {failed:?}");
    };
    let [one, two, three, four] = Transport::EVERY;
    tokio::join!(over(one), over(two), over(three), over(four));
}

/// Row 36.
#[tokio::test]
async fn subscription_requests() {
    let server = Server::builder()
        .users(24)
        .limit("subscription_requests_per_minute", 3)
        .limit("subscription_requests_waiting", 2)
        .start();
    stay_in_one_minute().await;
    for transport in Transport::EVERY {
        requests_over(&server, transport).await;
    }
}

async fn requests_over(server: &Server, transport: Transport) {
    let mut flooder = Client::online(server, transport, &server.user()).await;
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
    let mut second = Client::online(server, transport, flooder.bare()).await;
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
        let mut client = Client::online(server, transport, &server.user()).await;
        client
            .send(format!("<presence type='subscribe' to='{popular}'/>"))
            .await;
        crate::support::settle(&mut client, &popular).await;
        client.nothing_more().await;
        asking.push(client.bare().to_owned());
    }
    let mut popular = Client::online(server, transport, &popular).await;
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
        .users(8)
        .limit("directed_presences_per_session", 2)
        .start();
    for transport in Transport::EVERY {
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
