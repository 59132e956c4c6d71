//! What a stranger costs (rows 2 and 3 of the attacks): memory per byte before the login, and nothing afterwards.

use std::time::{Duration, Instant};

use testkit::{Client, ConnectOptions, Line, Server, TIMEOUT, Transport, frame};

use crate::crowd::memory_falls_to;

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

/// The head of a request whose body is so long.
fn request(length: usize) -> String {
    format!("POST /http-bind HTTP/1.1\r\nHost: example.org\r\nContent-Length: {length}\r\n\r\n")
}

/// One who has sent a beginning, of whatever is sent there, and no end.
enum Beginner {
    Stream(Box<Client>),
    Request(Box<Line>),
}

impl Beginner {
    async fn new(server: &Server, transport: Transport) -> Beginner {
        match transport {
            // Before the body has come there is no session yet.
            Transport::Bosh => Beginner::Request(Box::new(Line::open(server).await)),
            _ => Beginner::Stream(Box::new(Client::opened(server, transport).await)),
        }
    }

    async fn begin(&mut self, text: &str) {
        match self {
            Beginner::Stream(client) if client.transport() == Transport::WebSocket => {
                // All but the last byte, which never comes.
                let whole = frame(0x81, format!("{text}x").as_bytes());
                client.send_raw(&whole[..whole.len() - 1]).await;
            }
            Beginner::Stream(client) => client.send(text).await,
            Beginner::Request(line) => {
                line.send(request(text.len() + 1).as_bytes()).await;
                line.send(text.as_bytes()).await;
            }
        }
    }

    fn cut(self) {
        match self {
            Beginner::Stream(client) => client.cut(),
            Beginner::Request(line) => line.cut(),
        }
    }
}

#[tokio::test]
async fn memory_per_byte() {
    let server = Server::with_users(1);
    for transport in Transport::EVERY {
        // The same connections without input are what the input is compared with; opened once before, so that what
        // the server keeps for good is there already.
        let mut idle = 0;
        for (what, shape) in [("warm", String::new()), ("idle", String::new())]
            .into_iter()
            .chain(shapes())
        {
            let mut clients = Vec::new();
            for _ in 0..CONNECTIONS {
                clients.push(Beginner::new(&server, transport).await);
            }
            for client in &mut clients {
                client.begin(&shape).await;
            }
            // Whatever came in has been processed when a later connection has been served.
            Client::opened(&server, transport).await.close().await;
            let rss = settled_rss(&server).await;
            if what == "idle" || what == "warm" {
                idle = rss;
            } else {
                let sent = (shape.len() * CONNECTIONS) as u64;
                let grown = rss.saturating_sub(idle);
                // Beside the input there is a request of HTTP of each.
                let noise = if transport == Transport::Bosh { 2 * NOISE } else { NOISE };
                assert!(
                    grown <= sent * BYTES_PER_BYTE + noise,
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
    const BYTES: usize = 16 * 1024 * 1024;
    let server = Server::with_users(Transport::EVERY.len());
    for transport in Transport::EVERY {
        let jid = server.user();
        let before = settled_rss(&server).await;
        for beginning in ["<message a='", "<message><body>"] {
            let mut client = Client::login(&server, transport, &jid).await;
            let endless = [beginning.as_bytes(), &vec![b'x'; BYTES]].concat();
            match transport {
                Transport::WebSocket => {
                    // In one frame, and in frames without a last.
                    client.send_raw(&frame(0x81, &endless)).await;
                    client.expect_policy_or_cut().await;
                    client = Client::login(&server, transport, &jid).await;
                    let mut first = 0x01;
                    let frames: Vec<Vec<u8>> = endless
                        .chunks(1000)
                        .map(|part| frame(std::mem::take(&mut first), part))
                        .collect();
                    client.send_raw(&frames.concat()).await;
                    client.expect_policy_or_cut().await;
                }
                Transport::Bosh => {
                    client.send_whole(&endless).await;
                    client.expect_terminal_condition("policy-violation").await;
                }
                _ => {
                    client.send(beginning).await;
                    // Ends by itself when the server closes.
                    client.send(vec![b'x'; BYTES]).await;
                    client.expect_policy_or_cut().await;
                }
            }
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
    let server = Server::with_users(Transport::EVERY.len());
    let mut bomb = String::from("<!DOCTYPE lolz [<!ENTITY a0 'ha'>");
    for level in 1..20 {
        bomb.push_str(&format!(
            "<!ENTITY a{level} '{}'>",
            format!("&a{};", level - 1).repeat(10)
        ));
    }
    bomb.push_str("]><message><body>&a19;</body></message>");
    for transport in Transport::EVERY {
        let jid = server.user();
        let before = settled_rss(&server).await;
        for _ in 0..10 {
            // Instead of a header, where it is bytes that are sent and not messages or requests.
            if Transport::BOTH.contains(&transport) {
                let mut client = Client::secured(&server, transport).await;
                client.send(&bomb).await;
                client.expect_stream_error("restricted-xml").await;
            }
            let mut client = Client::login(&server, transport, &jid).await;
            client.send_whole(bomb.as_bytes()).await;
            match transport {
                Transport::Bosh => client.expect_terminal_condition("bad-request").await,
                _ => drop(client.expect_stream_error("restricted-xml").await),
            }
        }
        let after = settled_rss(&server).await;
        assert!(after.saturating_sub(before) < NOISE, "{before} {after}");
    }
}

/// How far a connection comes before it is cut.
const STATES: usize = 12;

/// Sends what has no end.
async fn partly(server: &Server, client: &mut Client, text: &str) {
    match client.transport() {
        Transport::WebSocket => {
            let whole = frame(0x81, text.as_bytes());
            client.send_raw(&whole[..whole.len() - 1]).await;
        }
        Transport::Bosh => {
            let mut line = Line::open(server).await;
            line.send(request(text.len() + 1).as_bytes()).await;
            line.send(text.as_bytes()).await;
            line.cut();
        }
        _ => client.send(text).await,
    }
}

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
        3 => partly(server, &mut client, "<stream:stream to='exa").await,
        4 => drop(client.open().await),
        5 => {
            client.open().await;
            let auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PL";
            partly(server, &mut client, auth).await;
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
            client.send("<presence/>").await;
            partly(server, &mut client, "<message to='").await;
            client.stanza().await;
        }
    }
    client.cut();
}

/// Row 3.
#[tokio::test]
async fn nothing_is_left_of_the_dead() {
    const EACH: usize = 25;
    let server = Server::builder()
        .users(1)
        .limit("bosh_inactivity_seconds", 1)
        .limit("sessions_per_account", 1000)
        .start();
    let jid = server.user();
    let round = async |each: usize| {
        for transport in Transport::EVERY {
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
    assert!(files_after <= files, "{files} files were open, {files_after} are");
    // Two in a hundred, and what 1200 connections leave in the tables of an allocator; once the sessions of BOSH have
    // had their time.
    memory_falls_to(&server, rss + rss / 50 + NOISE).await;
    let mut client = Client::login(&server, Transport::Direct, &jid).await;
    let began = Instant::now();
    let items = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
    while client.iq("get", "", items).await.raw().contains("<item") {
        assert!(began.elapsed() < TIMEOUT, "there are sessions of the dead");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    client.presence("<presence/>").await;
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
