//! What a stranger costs (rows 2 and 3 of the attacks): memory per byte before the login, and nothing afterwards.

use std::time::{Duration, Instant};

use testkit::{
    Client, ConnectOptions, Line, NS_FAST, NS_SASL2, NS_SM, Server, TIMEOUT, Transport, agent, enable, frame,
};

use crate::attacks::Random;
use crate::crowd::memory_falls_to;
use crate::metrics;

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

/// Beginnings of all of that by chance, the same in each run.
fn generated(number: u64) -> String {
    const BYTES: usize = 7_000;
    const ELEMENTS: usize = 30;
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (number + 1) << 32);
    let (mut text, mut elements, mut attributes) = ("<message>".to_owned(), 1, 0);
    while text.len() < BYTES {
        let kind = random.below(8);
        let count = 1 + random.below(60);
        elements += usize::from(kind < 4);
        if kind < 4 && elements > ELEMENTS {
            continue;
        }
        let part = match kind {
            0 => "<a>".to_owned(),
            1 => "<b/>".to_owned(),
            2 => {
                attributes += 1;
                let names = (0..count).map(|n| format!("a{n}='{attributes}' "));
                format!("<c {}/>", names.collect::<String>())
            }
            3 => {
                let names = (0..count / 8).map(|n| format!("xmlns:a{n}='urn:{n}' "));
                format!("<d {}>", names.collect::<String>())
            }
            4 => "x".repeat(10 * count),
            5 => "&amp;&#65;".repeat(count),
            6 => format!("<![CDATA[{}]]>", "]]<".repeat(count)),
            _ => "\u{1f426}".repeat(count),
        };
        text.push_str(&part);
    }
    text
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

    /// It is waited for: nothing of what it has said is refused. (Of a request nothing is looked at before its end.)
    async fn is_waited_for(&mut self) -> bool {
        match self {
            Beginner::Stream(client) => client.item_within(Duration::ZERO).await.is_none(),
            Beginner::Request(_) => true,
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
    const GENERATED: u64 = 40;
    let generated: Vec<String> = (0..GENERATED).map(generated).collect();
    let server = Server::with_users(1);
    for transport in Transport::EVERY {
        // The same connections without input are what the input is compared with; opened once before, so that what
        // the server keeps for good is there already.
        let mut idle = 0;
        let ours = shapes().into_iter().map(|(what, shape)| (what, vec![shape]));
        for (what, shapes) in [("warm", vec![String::new()]), ("idle", vec![String::new()])]
            .into_iter()
            .chain(ours)
            .chain([("by chance", generated.clone())])
        {
            let mut clients = Vec::new();
            for _ in 0..CONNECTIONS {
                clients.push(Beginner::new(&server, transport).await);
            }
            let mut sent = 0;
            for (client, shape) in clients.iter_mut().zip(shapes.iter().cycle()) {
                client.begin(shape).await;
                sent += shape.len() as u64;
            }
            // Whatever came in has been processed when a later connection has been served.
            Client::opened(&server, transport).await.close().await;
            let rss = settled_rss(&server).await;
            if what == "idle" || what == "warm" {
                idle = rss;
            } else {
                let grown = rss.saturating_sub(idle);
                // Beside the input there is a request of HTTP of each.
                let noise = if transport == Transport::Bosh { 2 * NOISE } else { NOISE };
                assert!(
                    grown <= sent * BYTES_PER_BYTE + noise,
                    "{what}: {grown} bytes of memory for {sent} bytes of input ({transport:?})"
                );
            }
            for mut client in clients {
                assert!(client.is_waited_for().await, "{what} ({transport:?})");
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
const STATES: usize = 17;

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
        11 => {
            client.open().await;
            let login = format!("<authenticate xmlns='{NS_SASL2}' mechanism='SCRAM-SHA-1'><initial-response>biwsbj11");
            partly(server, &mut client, &login).await;
        }
        12 => {
            client.open().await;
            client.authenticate("SCRAM-SHA-256", "biwsbj11c2VyLHI9YWJj", "").await;
        }
        // A token, and a session that may be resumed.
        13 => {
            client.open().await;
            client.manage_inline(None);
            let more = agent(1)
                + &format!("<request-token xmlns='{NS_FAST}' mechanism='HT-SHA-256-NONE'/>")
                + &format!("<bind xmlns='urn:xmpp:bind:0'>{}</bind>", enable());
            client.authenticate_as(jid, &more).await;
        }
        14 => {
            client.open().await;
            client.authenticate_as(jid, "").await;
            client
                .send(format!("<resume xmlns='{NS_SM}' h='0' previd='none'/>"))
                .await;
        }
        15 => {
            client.open().await;
            client.plain(user, &testkit::password_of(jid)).await;
            client.open().await;
            client.bind(None).await;
            client.enable().await;
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

/// Connections of each kind that are killed in each state, for whoever wants more of them: `JACKDAW_KILLS=1500` makes a
/// hundred thousand in all, which takes some minutes.
fn kills() -> Option<usize> {
    std::env::var("JACKDAW_KILLS").ok()?.parse().ok()
}

const METRICS: u16 = 9522;
/// What there is as long as somebody is there.
const LIVE: [&str; 4] = [
    "jackdaw_connections",
    "jackdaw_streams",
    "jackdaw_sessions",
    "jackdaw_resources",
];

/// Waits until the server counts nothing that is alive.
async fn nothing_lives(server: &Server, counted: &[&str]) {
    let began = Instant::now();
    loop {
        let samples = metrics::scrape_at(server, METRICS);
        let is_counted = |sample: &str| counted.contains(&sample.split('{').next().unwrap_or_default());
        let counted: Vec<_> = samples.iter().filter(|(sample, _)| is_counted(sample)).collect();
        assert!(!counted.is_empty(), "{samples:?}");
        let alive: Vec<_> = counted.into_iter().filter(|(_, number)| **number > 0).collect();
        if alive.is_empty() {
            return;
        }
        assert!(began.elapsed() < TIMEOUT, "of the dead there are {alive:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Row 3.
#[tokio::test]
async fn nothing_is_left_of_the_dead() {
    const EACH: usize = 18;
    const PARTS: usize = 3;
    const NO_LIMIT: u64 = 1_000_000_000;
    let each = kills().unwrap_or(EACH);
    let server = Server::builder()
        .users(1)
        .limit("bosh_inactivity_seconds", 1)
        .limit("resume_seconds", 1)
        .limit("sessions_per_account", 1000)
        // There are more of them than one client has reason for.
        .limit("connections_per_second_per_address", NO_LIMIT)
        .limit("login_failures_per_minute_per_account", NO_LIMIT)
        .limit("login_failures_per_minute_per_address", NO_LIMIT)
        .metrics(METRICS)
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
    // Caches fill: the more is to come, the longer that takes.
    round(each / 6).await;
    nothing_lives(&server, &LIVE).await;
    let files = settled_files(&server).await;
    let rss = settled_rss(&server).await;
    for part in 1..=PARTS {
        round(each / PARTS).await;
        nothing_lives(&server, &LIVE).await;
        let killed = part * (each / PARTS) * STATES * Transport::EVERY.len();
        eprintln!(
            "{killed} were killed: {rss} bytes before, {} behind them",
            settled_rss(&server).await
        );
    }
    let files_after = settled_files(&server).await;
    assert!(files_after <= files, "{files} files were open, {files_after} are");
    // Two in a hundred, and what as many connections leave in the tables of an allocator; once the sessions of BOSH have
    // had their time.
    memory_falls_to(&server, rss + rss / 50 + NOISE).await;
    if kills().is_some() {
        // An account stays for ten seconds.
        nothing_lives(&server, &["jackdaw_accounts_in_memory"]).await;
    }
    let mut client = Client::login(&server, Transport::Direct, &jid).await;
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
