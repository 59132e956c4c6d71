//! What the server counts, as a scraper sees it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;

use testkit::{Client, Server, Transport, password_of, plain};

const PORT: u16 = 9522;

/// A server with figures, at an address that nothing else uses.
fn server(users: usize) -> Server {
    let builder = Server::builder().users(users).limit("login_attempts", 20);
    builder.metrics(PORT).start()
}

/// The answer to a request: status line and body.
fn ask(server: &Server, head: &str) -> (String, String) {
    ask_at(server, PORT, head)
}

fn ask_at(server: &Server, port: u16, head: &str) -> (String, String) {
    let mut stream = TcpStream::connect((server.address(), port)).expect("it listens");
    stream.write_all(head.as_bytes()).expect("written");
    let mut answer = String::new();
    // What is not read to its end is answered with a reset, which is an end, too.
    let _ = stream.read_to_string(&mut answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default().to_owned();
    let length = format!("Content-Length: {}", body.len());
    assert!(head.is_empty() || head.contains(&length), "{head}");
    (status, body.to_owned())
}

/// The samples, by name and labels. Each family is announced once, before its samples.
fn scrape(server: &Server) -> BTreeMap<String, u64> {
    scrape_at(server, PORT)
}

pub(crate) fn scrape_at(server: &Server, port: u16) -> BTreeMap<String, u64> {
    let (status, body) = ask_at(server, port, "GET /metrics HTTP/1.1\r\nHost: jackdaw\r\n\r\n");
    assert_eq!(status, "HTTP/1.1 200 OK");
    let mut announced = Vec::new();
    let mut samples = BTreeMap::new();
    for line in body.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            let name = family.split(' ').next().expect("a name").to_owned();
            assert!(!announced.contains(&name), "{name} twice");
            announced.push(name);
        } else if !line.starts_with('#') {
            let (sample, value) = line.rsplit_once(' ').expect("a value");
            let name = sample.split('{').next().expect("a name");
            assert_eq!(announced.last().map(String::as_str), Some(name), "{line}");
            samples.insert(sample.to_owned(), value.parse().expect("a number"));
        }
    }
    samples
}

fn of(samples: &BTreeMap<String, u64>, sample: &str) -> u64 {
    *samples.get(sample).unwrap_or(&0)
}

/// How much a sample has grown.
fn grown(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>, sample: &str) -> u64 {
    of(after, sample) - of(before, sample)
}

#[tokio::test]
async fn logins_are_counted() {
    let server = server(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        let (jid, other) = (server.user(), server.user());
        let before = scrape(&server);
        let mut client = Client::opened(&server, transport).await;
        let user = jid.split_once('@').expect("user@domain").0;
        for _ in 0..10 {
            let answer = client.auth("PLAIN", &plain("", user, "wrong")).await;
            assert_eq!(answer.condition(), Some("not-authorized"));
        }
        let answer = client.auth("NOTHING", "").await;
        assert_eq!(answer.condition(), Some("invalid-mechanism"));
        client.plain(user, &password_of(&jid)).await;
        client.open().await;
        let after = scrape(&server);
        let plain = "jackdaw_logins_total{mechanism=\"PLAIN\",result=";
        for (sample, expected) in [
            (format!("{plain}\"not-authorized\"}}"), 10),
            (format!("{plain}\"success\"}}"), 1),
            (
                "jackdaw_logins_total{mechanism=\"none\",result=\"invalid-mechanism\"}".to_owned(),
                1,
            ),
            ("jackdaw_failed_logins_total".to_owned(), 10),
        ] {
            assert_eq!(grown(&before, &after, &sample), expected, "{transport:?} {sample}");
        }

        // Sessions, and what is sent on them.
        let mut one = Client::online(&server, transport, &other).await;
        let label = match transport {
            Transport::Starttls => "starttls",
            Transport::Direct => "direct-tls",
            Transport::WebSocket => "websocket",
            Transport::Bosh => "bosh",
        };
        let (streams, sessions) = (
            format!("jackdaw_streams{{transport=\"{label}\"}}"),
            format!("jackdaw_sessions{{transport=\"{label}\"}}"),
        );
        let before = scrape(&server);
        assert_eq!((of(&before, &streams), of(&before, &sessions)), (2, 1), "{before:?}");
        assert_eq!(of(&before, "jackdaw_resources"), 1);
        for _ in 0..5 {
            one.ping().await;
        }
        let after = scrape(&server);
        assert_eq!(grown(&before, &after, "jackdaw_stanzas_total"), 5);
        let set = "<query xmlns='jabber:iq:roster'><item jid='contact@example.org'/></query>";
        assert_eq!(one.iq("set", "", set).await.get("type"), "result");
        let stored = scrape(&server);
        assert!(grown(&after, &stored, "jackdaw_store_commits_total") >= 1);
        one.close().await;
        client.close().await;
        // The end of a session of BOSH, or of a connection, is seen when its task is over.
        let mut left = scrape(&server);
        while of(&left, &streams) > 0 {
            tokio::task::yield_now().await;
            left = scrape(&server);
        }
        assert_eq!(of(&left, &sessions), 0);
    }
}

#[tokio::test]
async fn limits_are_counted() {
    let builder = Server::builder()
        .users(1)
        .limit("login_failures_per_minute_per_account", 3);
    let server = builder.limit("login_attempts", 20).metrics(PORT).start();
    let jid = server.user();
    let user = jid.split_once('@').expect("user@domain").0;
    let mut client = Client::opened(&server, Transport::Direct).await;
    let mut refused = 0;
    for _ in 0..12 {
        let answer = client.auth("PLAIN", &plain("", user, "wrong")).await;
        refused += u64::from(answer.condition() == Some("temporary-auth-failure"));
    }
    // Three of a minute are tried, and there may be two minutes.
    assert!(refused >= 6, "{refused}");
    let samples = scrape(&server);
    let sample = "jackdaw_limits_reached_total{limit=\"login_failures_per_minute_per_account\"}";
    assert_eq!(of(&samples, sample), refused, "{samples:?}");
    assert!(samples.contains_key("jackdaw_limits_reached_total{limit=\"connections\"}"));
}

/// Of HTTP there is no more than a scraper needs.
#[tokio::test]
async fn other_requests() {
    let server = server(0);
    for (head, status) in [
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "HTTP/1.1 404 Not Found"),
        (
            "POST /metrics HTTP/1.1\r\n\r\n".to_owned(),
            "HTTP/1.1 405 Method Not Allowed",
        ),
        (format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(8 * 1024)), ""),
    ] {
        assert_eq!(ask(&server, &head).0, status);
    }
    // Without the key nobody listens.
    let silent = Server::with_users(0);
    assert!(TcpStream::connect((silent.address(), PORT)).is_err());
}
