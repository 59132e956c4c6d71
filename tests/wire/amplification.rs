//! What a stranger costs (rows 2 and 3 of the attacks): memory per byte before the login, and nothing afterwards.

use std::time::{Duration, Instant};

use testkit::{Client, ConnectOptions, Server, Transport};

/// Connections of one shape at the same time.
const CONNECTIONS: usize = 120;
/// Row 2: resident memory per byte that was sent.
const BYTES_PER_BYTE: u64 = 8;
/// What the allocator and the kernel's accounting may move by without any reason in the input.
const NOISE: u64 = 3 * 1024 * 1024;

/// Beginnings of elements that never end, each a little below the limit before the login (8 KiB, 32 elements).
fn shapes() -> Vec<(&'static str, String)> {
    const BYTES: usize = 8_000;
    let repeat = |text: &str, limit: usize| text.repeat((BYTES / text.len()).min(limit));
    let numbered = |make: &dyn Fn(usize) -> String, limit: usize| {
        (0..limit)
            .map(make)
            .take_while({
                let mut left = BYTES;
                move |part| {
                    left = left.saturating_sub(part.len());
                    left > 0
                }
            })
            .collect::<String>()
    };
    vec![
        ("text", format!("<message><body>{}", repeat("x", BYTES))),
        (
            "text of many bytes a character",
            format!("<message><body>{}", repeat("\u{1f426}", BYTES)),
        ),
        ("references", format!("<message><body>{}", repeat("&amp;", BYTES))),
        (
            "numeric references",
            format!("<message><body>{}", repeat("&#65;", BYTES)),
        ),
        ("an attribute", format!("<message a='{}", repeat("x", BYTES))),
        (
            "references in an attribute",
            format!("<message a='{}", repeat("&lt;", BYTES)),
        ),
        (
            "attributes",
            format!("<message {}", numbered(&|n| format!("a{n}='' "), 64)),
        ),
        (
            "namespaces",
            format!("<message {}", numbered(&|n| format!("xmlns:a{n}='urn:{n}' "), 32)),
        ),
        ("nested", format!("<message>{}", repeat("<a>", 30))),
        (
            "nested with attributes",
            format!(
                "<message>{}",
                repeat(&format!("<a {}>", numbered(&|n| format!("b{n}='' "), 30)), 30)
            ),
        ),
        (
            "siblings",
            format!("<message>{}<body>{}", repeat("<a/>", 28), repeat("y", 7_000)),
        ),
        ("CDATA", format!("<message><body><![CDATA[{}", repeat("]]", BYTES))),
        ("a name", "<".to_owned() + &repeat("x", 250)),
        ("spaces in a tag", format!("<message{}", repeat(" ", BYTES))),
        ("nothing", String::new()),
    ]
}

/// Resident memory once it has stopped moving.
async fn settled_rss(server: &Server) -> u64 {
    let mut last = server.rss();
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        let now = server.rss();
        if now.abs_diff(last) < 64 * 1024 {
            return now;
        }
        last = now;
    }
    last
}

#[tokio::test]
async fn memory_per_byte() {
    let server = Server::with_users(1);
    for transport in Transport::BOTH {
        // The same connections without input are what the input is compared with; opened once before, so that what
        // the server keeps for good is there already.
        let mut idle = 0;
        for (what, shape) in [("warm", String::new()), ("idle", String::new())]
            .into_iter()
            .chain(shapes())
        {
            let mut clients = Vec::new();
            for _ in 0..CONNECTIONS {
                clients.push(Client::opened(&server, transport).await);
            }
            for client in &mut clients {
                client.send(&shape).await;
            }
            // Whatever came in has been processed when a later connection has been served.
            Client::opened(&server, transport).await.close().await;
            let rss = settled_rss(&server).await;
            if what == "idle" || what == "warm" {
                idle = rss;
            } else {
                let sent = (shape.len() * CONNECTIONS) as u64;
                let grown = rss.saturating_sub(idle);
                assert!(
                    grown <= sent * BYTES_PER_BYTE + NOISE,
                    "{what}: {grown} bytes of memory for {sent} bytes of input ({transport:?})"
                );
            }
            for client in clients {
                client.cut();
            }
        }
    }
}

/// Row 7: the same for what never ends after the login.
#[tokio::test]
async fn a_never_ending_stanza() {
    let server = Server::with_users(2);
    for transport in Transport::BOTH {
        let jid = server.user();
        let before = settled_rss(&server).await;
        for beginning in ["<message a='", "<message><body>"] {
            let mut client = Client::login(&server, transport, &jid).await;
            client.send(beginning).await;
            // Ends by itself when the server closes.
            client.send(vec![b'x'; 16 * 1024 * 1024]).await;
            client.expect_policy_or_cut().await;
        }
        let after = settled_rss(&server).await;
        assert!(after.saturating_sub(before) < 8 * 1024 * 1024, "{before} {after}");
    }
}

trait Refused {
    async fn expect_policy_or_cut(&mut self);
}

impl Refused for Client {
    /// The error is `policy-violation`; the rest that was under way may make the kernel cut the connection behind it.
    async fn expect_policy_or_cut(&mut self) {
        let error = self.stanza().await;
        assert_eq!(
            (error.name(), error.condition()),
            ("error", Some("policy-violation")),
            "{error:?}"
        );
    }
}

/// Row 1: entities are not even looked at.
#[tokio::test]
async fn a_billion_laughs() {
    let server = Server::with_users(2);
    let mut bomb = String::from("<!DOCTYPE lolz [<!ENTITY a0 'ha'>");
    for level in 1..20 {
        bomb.push_str(&format!(
            "<!ENTITY a{level} '{}'>",
            format!("&a{};", level - 1).repeat(10)
        ));
    }
    bomb.push_str("]><message><body>&a19;</body></message>");
    for transport in Transport::BOTH {
        let jid = server.user();
        let before = settled_rss(&server).await;
        for _ in 0..10 {
            let mut client = Client::secured(&server, transport).await;
            client.send(&bomb).await;
            client.expect_stream_error("restricted-xml").await;
            let mut client = Client::login(&server, transport, &jid).await;
            client.send(&bomb).await;
            client.expect_stream_error("restricted-xml").await;
        }
        let after = settled_rss(&server).await;
        assert!(after.saturating_sub(before) < NOISE, "{before} {after}");
    }
}

/// How far a connection comes before it is cut.
const STATES: usize = 12;

async fn cut_at(server: &Server, transport: Transport, state: usize, jid: &str) {
    if state == 0 {
        Client::tcp(server, transport, ConnectOptions::default())
            .await
            .expect("reached")
            .cut();
        return;
    }
    if state == 1 {
        // In the middle of a handshake, or of what should be one.
        let mut client = Client::tcp(server, transport, ConnectOptions::default())
            .await
            .expect("reached");
        if transport == Transport::Starttls {
            client.open().await;
            client.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>").await;
            client.stanza().await;
        }
        client.send([22, 3, 1, 1, 0, 1, 0, 0]).await;
        return client.cut();
    }
    let mut client = Client::secured(server, transport).await;
    let user = jid.split_once('@').expect("user@domain").0;
    match state {
        2 => {}
        3 => client.send("<stream:stream to='exa").await,
        4 => drop(client.open().await),
        5 => {
            client.open().await;
            client
                .send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PL")
                .await;
        }
        6 => {
            client.open().await;
            // "n,,n=user,r=abc"
            client.auth("SCRAM-SHA-1", "biwsbj11c2VyLHI9YWJj").await;
        }
        7 => {
            client.open().await;
            client
                .send(format!(
                    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{}</auth>",
                    testkit::plain("", user, "x")
                ))
                .await;
        }
        8 => {
            client.open().await;
            client.plain(user, &testkit::password_of(jid)).await;
        }
        9 => {
            client.open().await;
            client.plain(user, &testkit::password_of(jid)).await;
            client.open().await;
        }
        10 => {
            client.open().await;
            client.plain(user, &testkit::password_of(jid)).await;
            client.open().await;
            client.bind(None).await;
        }
        _ => {
            client.open().await;
            client.plain(user, &testkit::password_of(jid)).await;
            client.open().await;
            client.bind(None).await;
            client.send("<presence/><message to='").await;
            client.stanza().await;
        }
    }
    client.cut();
}

/// Row 3.
#[tokio::test]
async fn nothing_is_left_of_the_dead() {
    const EACH: usize = 25;
    let server = Server::with_users(1);
    let jid = server.user();
    let round = async |each: usize| {
        for transport in Transport::BOTH {
            for state in 0..STATES {
                for _ in 0..each {
                    cut_at(&server, transport, state, &jid).await;
                }
            }
        }
    };
    round(3).await;
    let files = settled_files(&server).await;
    let rss = settled_rss(&server).await;
    round(EACH).await;
    let files_after = settled_files(&server).await;
    let rss_after = settled_rss(&server).await;
    assert!(files_after <= files, "{files} files were open, {files_after} are");
    // Two in a hundred, and what 600 connections leave in the tables of an allocator.
    assert!(
        rss_after <= rss + rss / 50 + NOISE,
        "{rss} bytes were used, {rss_after} are"
    );
    let mut client = Client::online(&server, Transport::Direct, &jid).await;
    // No presence of a session of the dead.
    client.nothing_more().await;
}

/// Open files once their number has stopped falling: the server notices by and by that a connection was cut.
async fn settled_files(server: &Server) -> usize {
    let (mut least, mut since) = (server.open_files(), Instant::now());
    while since.elapsed() < Duration::from_millis(500) {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = server.open_files();
        if now < least {
            (least, since) = (now, Instant::now());
        }
    }
    server.open_files()
}
