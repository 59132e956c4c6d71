//! XMPP over BOSH (XEP-0124, XEP-0206), in the manner of its examples.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use testkit::{
    Binding, Bosh, CREATION, Client, ConnectOptions, Line, NS_BOSH, NS_SASL2, NS_STREAM, Scram, Server, Transport,
    Wrapper, password_of, plain,
};

use crate::attacks::Random;
use crate::websocket::cost_of_an_idle_session;

const PING: &str = "<iq xmlns='jabber:client' type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>";
const PONG: &str = "<iq type='result' id='p'/>";

fn message(to: &str, id: &str) -> String {
    format!("<message xmlns='jabber:client' to='{to}' type='chat' id='{id}'><body>{id}</body></message>")
}

/// Answers an empty request, which is held, by letting the next come; the session then has none.
async fn ping(bosh: &mut Bosh) {
    bosh.send(PING).await;
    bosh.expect(PONG).await;
}

/// XEP-0124 section 7.2, XEP-0206 section 4.
#[tokio::test]
async fn a_session() {
    let server = Server::with_users(2);
    let bosh = Bosh::begin_with(&server, &format!("{CREATION} content='text/plain' ack='1'")).await;
    let first = &bosh.first;
    for (name, value) in [
        ("wait", "60"),
        ("hold", "1"),
        ("requests", "2"),
        ("inactivity", "60"),
        ("polling", "5"),
        ("maxpause", "120"),
        ("ver", "1.6"),
        ("from", "example.org"),
        ("ack", "1573741820"),
        ("xmpp:version", "1.0"),
        ("xmpp:restartlogic", "true"),
    ] {
        assert_eq!(first.get(name), value, "{name}: {first:?}");
    }
    assert_eq!(first.get("sid").len(), 32, "128 bits: {first:?}");
    assert!(!first.get("authid").is_empty(), "{first:?}");
    let payloads = first.payloads();
    assert_eq!(payloads.len(), 1, "{first:?}");
    assert!(first.raw.contains("<stream:features>"), "with its prefix: {first:?}");
    assert!(payloads[0].is("features", NS_STREAM));
    assert!(
        payloads[0].children().all(|feature| feature.name() != "starttls"),
        "{first:?}"
    );
    assert!(first.raw.contains(">PLAIN<"), "it is secured: {first:?}");

    // The least of attributes, and more of everything than there is.
    let mut line = Line::open(&server).await;
    let answer = line
        .post(&format!("<body rid='1' to='example.org' xmlns='{NS_BOSH}'/>"))
        .await;
    let head = answer.head.to_ascii_lowercase();
    assert!(head.contains("content-type: text/xml; charset=utf-8"), "{answer:?}");
    assert!(head.contains("access-control-allow-origin: *"), "{answer:?}");
    let first = answer.wrapper();
    assert_eq!(
        (first.get("wait"), first.get("hold"), first.get("ver")),
        ("60", "1", "")
    );
    let answer = line
        .post(&format!(
            "<body rid='1' to='example.org' wait='600' hold='9' ver='2.0' content='text/html' xmlns='{NS_BOSH}'/>"
        ))
        .await;
    let first = answer.wrapper();
    assert_eq!(
        (first.get("wait"), first.get("hold"), first.get("ver")),
        ("60", "2", "1.11")
    );
    let head = answer.head.to_ascii_lowercase();
    assert!(
        head.contains("content-type: text/xml; charset=utf-8"),
        "not as a page: {answer:?}"
    );
}

/// Login by SASL and restart, resource, and messages either way; long polling.
#[tokio::test]
async fn chat() {
    let server = Server::with_users(2);
    let (one, two) = (format!("{}/one", server.user()), format!("{}/two", server.user()));
    let mut bosh = Bosh::login(&server, &one).await;
    let mut other = Client::login(&server, Transport::Starttls, &two).await;
    // A request is held until there is something for it (section 8).
    let body = bosh.body("", "");
    bosh.line.ask(&body).await;
    other
        .send(format!(
            "<message to='{one}' type='chat' id='a'><body>&lt;1&gt; ☃</body></message>"
        ))
        .await;
    let response = bosh.line.answer().await.wrapper();
    bosh.keep(&response);
    bosh.expect(&format!(
        "<message from='{two}' type='chat' id='a'><body>&lt;1&gt; ☃</body></message>"
    ))
    .await;
    // A second request, on a second connection, lets the first go (figure 2).
    let body = bosh.body("", "");
    bosh.line.ask(&body).await;
    let mut second = Line::open(&server).await;
    let body = bosh.body("", &message(&two, "b"));
    second.ask(&body).await;
    assert!(bosh.line.answer().await.wrapper().is_empty());
    other
        .expect(&format!("<message from='{one}' type='chat' id='b'/>"))
        .await;
    other
        .send(format!(
            "<message to='{one}' type='chat' id='c'><body>{}</body></message>",
            "x".repeat(100_000)
        ))
        .await;
    let response = second.answer().await.wrapper();
    bosh.keep(&response);
    let long = bosh
        .expect(&format!("<message from='{two}' type='chat' id='c'/>"))
        .await;
    assert!(long.raw().len() > 100_000);
    // Without a namespace, as many clients write, and with prefixes (XEP-0206 section 2).
    let body = bosh.body("xmlns:p='jabber:client'", &format!("<message to='{two}' id='d'><body>d</body></message><p:message to='{two}' id='e'><p:body>e</p:body></p:message>{PING}"));
    let response = second.post(&body).await.wrapper();
    bosh.keep(&response);
    bosh.expect(PONG).await;
    for id in ["d", "e"] {
        other
            .expect(&format!("<message from='{one}' id='{id}'><body>{id}</body></message>"))
            .await;
    }
    // Section 13.
    let response = bosh
        .request(
            "type='terminate'",
            "<presence xmlns='jabber:client' type='unavailable'/>",
        )
        .await;
    response.assert_end("");
    let body = bosh.body("", "");
    bosh.line.post(&body).await.wrapper().assert_end("item-not-found");
    other.close().await;
}

#[tokio::test]
async fn logins() {
    let server = Server::with_users(3);
    // SCRAM, as in the examples of XEP-0206 section 5.
    let jid = server.user();
    let user = jid.split_once('@').expect("user@domain").0;
    let mut bosh = Bosh::begin(&server).await;
    bosh.stanza().await;
    let mut scram = Scram::new("SCRAM-SHA-256", user, &password_of(&jid), &Binding::None, &[]);
    let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
    let first = STANDARD.encode(scram.first());
    bosh.send(&format!(
        "<auth xmlns='{sasl}' mechanism='SCRAM-SHA-256'>{first}</auth>"
    ))
    .await;
    let challenge = bosh.expect(&format!("<challenge xmlns='{sasl}'/>")).await;
    let challenge = STANDARD.decode(challenge.text()).expect("base64");
    let last = STANDARD.encode(scram.last(std::str::from_utf8(&challenge).expect("UTF-8")));
    bosh.send(&format!("<response xmlns='{sasl}'>{last}</response>")).await;
    bosh.expect(&format!("<success xmlns='{sasl}'/>")).await;
    let features = bosh.restart().await;
    assert!(
        features.has_child("bind", "urn:ietf:params:xml:ns:xmpp-bind"),
        "{features:?}"
    );
    // SASL2 with a resource: nothing is restarted.
    let jid = server.user();
    let user = jid.split_once('@').expect("user@domain").0;
    let mut bosh = Bosh::begin(&server).await;
    bosh.stanza().await;
    let initial = plain("", user, &password_of(&jid));
    bosh.send(&format!(
        "<authenticate xmlns='{NS_SASL2}' mechanism='PLAIN'><initial-response>{initial}</initial-response>\
         <bind xmlns='urn:xmpp:bind:0'/></authenticate>"
    ))
    .await;
    bosh.expect(&format!("<success xmlns='{NS_SASL2}'/>")).await;
    bosh.expect(&format!("<features xmlns='{NS_STREAM}'/>")).await;
    ping(&mut bosh).await;
    // A wrong password.
    let mut bosh = Bosh::begin(&server).await;
    bosh.stanza().await;
    bosh.send(&format!(
        "<auth xmlns='{sasl}' mechanism='PLAIN'>{}</auth>",
        plain("", user, "wrong")
    ))
    .await;
    bosh.expect(&format!("<failure xmlns='{sasl}'><not-authorized/></failure>"))
        .await;
}

/// The ids of the next messages, and an answer to a ping among them: it does not wait for the disk, as messages do.
async fn echoes(bosh: &mut Bosh, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    let mut has_pong = false;
    while ids.len() < count || !has_pong {
        let stanza = bosh.stanza().await;
        match stanza.name() {
            "message" => ids.push(stanza.get("id").to_owned()),
            _ => has_pong |= stanza.matches(PONG),
        }
    }
    ids
}

/// Sections 14.2 and 14.3.
#[tokio::test]
async fn request_ids() {
    let server = Server::with_users(1);
    let jid = format!("{}/r", server.user());
    let mut bosh = Bosh::login(&server, &jid).await;
    let mut second = Line::open(&server).await;
    // Out of order: the later waits for the earlier, and is processed behind it.
    let echo = |id: &str| message(&jid, id);
    let (one, two) = (
        bosh.body("", &echo("1")),
        bosh.body("", &format!("{}{PING}", echo("2"))),
    );
    second.ask(&two).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    bosh.line.ask(&one).await;
    let response = bosh.line.answer().await.wrapper();
    bosh.keep(&response);
    let response = second.answer().await.wrapper();
    bosh.keep(&response);
    assert_eq!(echoes(&mut bosh, 2).await, ["1", "2"]);
    // A repetition: the same response, and nothing is done twice.
    let body = bosh.body("", &format!("{}{PING}", echo("3")));
    let response = bosh.line.post(&body).await;
    for _ in 0..3 {
        assert_eq!(second.post(&body).await.body, response.body);
    }
    bosh.keep(&response.wrapper());
    assert_eq!(echoes(&mut bosh, 1).await, ["3"]);
    // One that is held: the first is told so, the last gets the response.
    let wait = bosh.body("", "");
    bosh.line.ask(&wait).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    second.ask(&wait).await;
    let answer = bosh.line.answer().await.wrapper();
    assert_eq!(answer.get("type"), "error", "{answer:?}");
    let body = bosh.body("", &echo("4"));
    bosh.line.ask(&body).await;
    let response = second.answer().await.wrapper();
    bosh.keep(&response);
    let response = bosh.line.answer().await.wrapper();
    bosh.keep(&response);
    bosh.expect(&format!("<message from='{jid}' type='chat' id='4'/>"))
        .await;
    // A connection that breaks while its request is held: what comes is for the repetition.
    let wait = bosh.body("", "");
    second.ask(&wait).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    second.cut();
    let mut other = Client::login(
        &server,
        Transport::Direct,
        &format!("{}/s", jid.split_once('/').expect("a resource").0),
    )
    .await;
    other
        .send(format!(
            "<message to='{jid}' type='chat' id='5'><body>5</body></message>"
        ))
        .await;
    other.ping().await;
    let response = bosh.line.post(&wait).await.wrapper();
    bosh.keep(&response);
    bosh.expect("<message type='chat' id='5'/>").await;
    // Too far ahead, and too long ago.
    for offset in [3, -1] {
        let mut bosh = Bosh::begin(&server).await;
        let rid = bosh.rid.checked_add_signed(offset).expect("an id");
        let body = bosh.body_at(rid, "", "");
        bosh.line.post(&body).await.wrapper().assert_end("item-not-found");
        let body = bosh.body("", "");
        bosh.line.post(&body).await.wrapper().assert_end("item-not-found");
    }
}

/// The connections of a client on a bad network: of each whether a request on it is unanswered.
struct Lines(Vec<(Line, bool)>);

impl Lines {
    async fn open(server: &Server, count: usize) -> Lines {
        let mut lines = Vec::new();
        for _ in 0..count {
            lines.push((Line::open(server).await, false));
        }
        Lines(lines)
    }

    /// Makes a request on one that is free.
    async fn ask(&mut self, body: &str) -> usize {
        let free = self.0.iter().position(|(_, is_busy)| !is_busy);
        let number = free.expect("two requests, on two connections each");
        self.0[number].0.ask(body).await;
        self.0[number].1 = true;
        number
    }

    async fn cut(&mut self, server: &Server, number: usize) {
        let old = std::mem::replace(&mut self.0[number], (Line::open(server).await, false));
        old.0.cut();
    }

    /// What a request is answered with, wherever it was made. That there was a repetition is told to the earlier one.
    async fn answer(&mut self, numbers: &[usize]) -> Wrapper {
        let mut answers = Vec::new();
        for number in numbers {
            let (line, is_busy) = &mut self.0[*number];
            answers.push(line.answer().await.wrapper());
            *is_busy = false;
        }
        answers.retain(|answer| answer.get("type") != "error");
        let first = answers.first().expect("one is answered").clone();
        assert!(answers.iter().all(|answer| answer.raw == first.raw), "{answers:?}");
        first
    }
}

/// Row 38 of the attacks: requests that overtake each other, are repeated, and whose connections are cut, by chance; what
/// they say is done once, in the order of their ids.
#[tokio::test]
async fn requests_race() {
    const REQUESTS: usize = 150;
    let server = Server::with_users(4);
    for seed in 1..=4 {
        let mut random = Random(seed << 40 | 0x9e37_79b9);
        let mut bosh = Bosh::login(&server, &format!("{}/r", server.user())).await;
        let mut lines = Lines::open(&server, 4).await;
        let mut waiting: VecDeque<Vec<usize>> = VecDeque::new();
        let (mut sent, mut came) = (0, Vec::new());
        while came.len() < REQUESTS {
            // Where nothing waits two may be made, the later one first.
            let count = 1 + usize::from(waiting.is_empty() && random.below(2) == 0);
            let mut requests = Vec::new();
            for _ in 0..count {
                let ping =
                    format!("<iq xmlns='jabber:client' type='get' id='p{sent}'><ping xmlns='urn:xmpp:ping'/></iq>");
                requests.push((bosh.body("", &ping), Vec::new()));
                sent += 1;
            }
            for (body, numbers) in requests.iter_mut().rev() {
                let number = lines.ask(body).await;
                match random.below(4) {
                    // Whether the server has seen the request is not known.
                    0 => {
                        lines.cut(&server, number).await;
                        numbers.push(lines.ask(body).await);
                    }
                    1 => numbers.extend([number, lines.ask(body).await]),
                    _ => numbers.push(number),
                }
            }
            waiting.extend(requests.into_iter().map(|(_, numbers)| numbers));
            // Of two the earlier is answered, as one is held.
            while waiting.len() > 1 {
                let numbers = waiting.pop_front().expect("two");
                let answer = lines.answer(&numbers).await;
                assert_eq!(answer.get("type"), "", "seed {seed}: {answer:?}");
                came.extend(answer.payloads().iter().map(|stanza| stanza.get("id").to_owned()));
            }
        }
        let expected: Vec<String> = (0..came.len()).map(|number| format!("p{number}")).collect();
        assert_eq!(came, expected, "seed {seed}");
    }
}

/// Sections 11 and 12.
#[tokio::test]
async fn overactivity() {
    let server = Server::with_users(1);
    // Two empty requests at once.
    let mut bosh = Bosh::begin(&server).await;
    let mut second = Line::open(&server).await;
    let (one, two) = (bosh.body("", ""), bosh.body("", ""));
    bosh.line.ask(&one).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    second.post(&two).await.wrapper().assert_end("policy-violation");
    bosh.line.answer().await.wrapper().assert_end("policy-violation");
    // Polling too often, where a client does not want to wait.
    for how in ["wait='0' hold='1'", "wait='60' hold='0'"] {
        let attributes = format!("to='example.org' {how} ver='1.6'");
        let mut bosh = Bosh::begin_with(&server, &attributes).await;
        assert_eq!(bosh.first.get("requests"), "1");
        assert!(!bosh.first.is_empty(), "with the features: {:?}", bosh.first);
        assert!(bosh.request("", "").await.is_empty());
        bosh.request("", "").await.assert_end("policy-violation");
    }
    // A client that knows no conditions (section 17.1).
    let mut bosh = Bosh::begin_with(&server, "to='example.org' wait='0'").await;
    assert!(bosh.request("", "").await.is_empty());
    let body = bosh.body("", "");
    assert_eq!(bosh.line.post(&body).await.status(), "403");
}

/// Section 12: who polls gets what has come since.
#[tokio::test]
async fn polling() {
    let server = Server::with_users(2);
    let (one, two) = (server.user(), format!("{}/two", server.user()));
    let user = one.split_once('@').expect("user@domain").0;
    for how in ["wait='0' hold='1'", "wait='60' hold='0'"] {
        let mut bosh = Bosh::begin_with(&server, &format!("to='example.org' {how} ver='1.6'")).await;
        bosh.stanza().await;
        let initial = plain("", user, &password_of(&one));
        bosh.send(&format!(
            "<authenticate xmlns='{NS_SASL2}' mechanism='PLAIN'><initial-response>{initial}</initial-response>\
             <bind xmlns='urn:xmpp:bind:0'/></authenticate><presence/>"
        ))
        .await;
        let success = bosh.expect(&format!("<success xmlns='{NS_SASL2}'/>")).await;
        let jid = success
            .get_child("authorization-identifier", NS_SASL2)
            .expect("who it is")
            .text();
        bosh.expect(&format!("<features xmlns='{NS_STREAM}'/>")).await;
        let mut other = Client::login(&server, Transport::Direct, &two).await;
        for id in ["a", "b"] {
            // The last request was no poll, or was answered with something.
            other
                .send(format!(
                    "<message to='{jid}' type='headline' id='{id}'><body>x</body></message>"
                ))
                .await;
            other.ping().await;
            // The session's connection has looked at it then.
            tokio::time::sleep(Duration::from_millis(100)).await;
            bosh.send(if id == "a" { PING } else { "" }).await;
            while !bosh
                .stanza()
                .await
                .matches(&format!("<message type='headline' id='{id}'/>"))
            {}
        }
    }
}

/// What the first response tells of requests holds on the wire; at its edges in the tests of the session itself.
#[tokio::test]
async fn what_is_told_holds() {
    let server = Server::builder()
        .users(1)
        .limit("stanza_bytes", 10_000)
        .limit("read_burst_bytes", 10_000)
        .limit("read_bytes_per_second", 2_000)
        .start();
    // The stream does not read while it has read too much, so nothing is answered.
    let mut bosh = Bosh::login(&server, &format!("{}/r", server.user())).await;
    let long = format!(
        "<message xmlns='jabber:client' to='nobody@example.org'><body>{}</body></message>",
        "x".repeat(9_500)
    );
    let mut lines = vec![Line::open(&server).await, Line::open(&server).await];
    let told: usize = bosh.first.get("requests").parse().expect("a number");
    assert_eq!(told, lines.len());
    let first = bosh.body("", &long);
    bosh.line.ask(&first).await;
    for line in &mut lines {
        let body = bosh.body("", &long);
        line.ask(&body).await;
    }
    // One more than may be: the oldest is told.
    let mut ends = 0;
    for line in [&mut bosh.line].into_iter().chain(&mut lines) {
        let answer = line.answer().await.wrapper();
        // Which of the lines is read first is nobody's: what is read behind the end finds no session.
        if answer.get("type") == "terminate" && answer.get("condition") != "item-not-found" {
            answer.assert_end("policy-violation");
            ends += 1;
        }
    }
    assert!(ends > 0, "one of them was too many");
    // And so does one that asks again and again for the same.
    let mut bosh = Bosh::begin(&server).await;
    let body = bosh.body("pause='60'", "");
    let mut again = 0;
    while bosh.line.post(&body).await.wrapper().get("type").is_empty() {
        again += 1;
        assert!(again < 20, "without end");
    }
    assert!(again > 3, "{again}");
}

/// Section 10. What was not fetched waits for the account.
#[tokio::test]
async fn inactivity() {
    let server = Server::builder().users(2).limit("bosh_inactivity_seconds", 1).start();
    let (one, two) = (format!("{}/one", server.user()), format!("{}/two", server.user()));
    let mut bosh = Bosh::login(&server, &one).await;
    assert_eq!(bosh.first.get("inactivity"), "1");
    bosh.send("<presence xmlns='jabber:client'/>").await;
    let mut other = Client::login(&server, Transport::Starttls, &two).await;
    // With a request that is held, it goes on.
    let body = bosh.body("", "");
    bosh.line.ask(&body).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    other
        .send(format!(
            "<message to='{one}' type='chat' id='1'><body>1</body></message>"
        ))
        .await;
    let response = bosh.line.answer().await.wrapper();
    assert!(response.raw.contains("id='1'"), "{response:?}");
    // With none it does not.
    for id in ["2", "3"] {
        other
            .send(format!(
                "<message to='{one}' type='chat' id='{id}'><body>{id}</body></message>"
            ))
            .await;
    }
    other.ping().await;
    tokio::time::sleep(Duration::from_millis(3000)).await;
    let body = bosh.body("", "");
    bosh.line.post(&body).await.wrapper().assert_end("item-not-found");
    let mut back = Client::login(&server, Transport::Direct, &one).await;
    back.send("<presence/>").await;
    for id in ["2", "3"] {
        back.wait_keeping(|stanza| stanza.name() == "message" && stanza.get("id") == id)
            .await;
    }
    // A pause is longer (section 10), and held requests are let go, without content.
    let mut bosh = Bosh::login(&server, &one).await;
    let mut second = Line::open(&server).await;
    let (one, two) = (bosh.body("", ""), bosh.body("pause='4'", ""));
    bosh.line.ask(&one).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(second.post(&two).await.wrapper().is_empty());
    assert!(bosh.line.answer().await.wrapper().is_empty());
    tokio::time::sleep(Duration::from_millis(2500)).await;
    bosh.send(PING).await;
    bosh.request("pause='121'", "").await.assert_end("policy-violation");
}

/// What waits for a client without a request comes in portions, in order, and is not lost with the session.
#[tokio::test]
async fn much_at_once() {
    const COUNT: usize = 300;
    let server = Server::builder().users(2).limit("bosh_inactivity_seconds", 1).start();
    let (one, two) = (format!("{}/one", server.user()), format!("{}/two", server.user()));
    let mut bosh = Bosh::login(&server, &one).await;
    bosh.send("<presence xmlns='jabber:client'/>").await;
    let mut other = Client::login(&server, Transport::Starttls, &two).await;
    let text = "x".repeat(1000);
    for number in 0..COUNT {
        let message = format!("<message to='{one}' type='chat' id='{number}'><body>{text}</body></message>");
        other.send(message).await;
    }
    let mut came = 0;
    let mut portions = 0;
    while came < COUNT / 2 {
        let response = bosh.request("", "").await;
        assert!(response.raw.len() < 70_000, "{} bytes at once", response.raw.len());
        for stanza in response.payloads() {
            if stanza.name() == "message" {
                assert_eq!(stanza.get("id"), came.to_string(), "{stanza:?}");
                came += 1;
            }
        }
        portions += 1;
    }
    assert!(portions > 1, "{portions}");
    other.ping().await;
    // The session is lost; the rest is for whoever comes next.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    let mut back = Client::login(&server, Transport::Direct, &one).await;
    back.send("<presence/>").await;
    for number in came..COUNT {
        let next = back.wait_keeping(|stanza| stanza.name() == "message").await;
        assert_eq!(next.get("id"), number.to_string(), "{next:?}");
    }
}

/// Long polling ends by itself.
#[tokio::test]
async fn a_wait_is_over() {
    let server = Server::with_users(0);
    let mut bosh = Bosh::begin_with(&server, &CREATION.replace("wait='60'", "wait='1'")).await;
    let began = Instant::now();
    assert!(bosh.request("", "").await.is_empty());
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

/// XEP-0206 section 6.
#[tokio::test]
async fn stream_errors() {
    let server = Server::with_users(2);
    let check = |response: testkit::Wrapper, condition: &str| {
        response.assert_end("remote-stream-error");
        assert!(response.raw.contains("<stream:error>"), "{response:?}");
        let payloads = response.payloads();
        let error = payloads.last().expect("an error");
        assert_eq!(error.condition(), Some(condition), "{response:?}");
    };
    for (attributes, condition) in [
        ("to='elsewhere.example'", "host-unknown"),
        ("wait='60'", "improper-addressing"),
        (
            "to='example.org' xmpp:version='0.9' xmlns:xmpp='urn:xmpp:xbosh'",
            "unsupported-version",
        ),
    ] {
        let bosh = Bosh::begin_with(&server, attributes).await;
        check(bosh.first, condition);
    }
    let jid = format!("{}/r", server.user());
    let mut bosh = Bosh::login(&server, &jid).await;
    check(bosh.request("", "<x xmlns='urn:x'/>").await, "unsupported-stanza-type");
    // Larger than a stanza may be, and no larger than a request.
    let mut bosh = Bosh::login(&server, &jid).await;
    let body = "x".repeat(262_144);
    check(
        bosh.request(
            "",
            &format!("<message xmlns='jabber:client' to='{jid}'><body>{body}</body></message>"),
        )
        .await,
        "policy-violation",
    );
    // A restart where none is due.
    let mut bosh = Bosh::login(&server, &jid).await;
    check(
        bosh.request("xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'", "")
            .await,
        "restricted-xml",
    );
    // Another session of the same resource.
    let mut bosh = Bosh::login(&server, &jid).await;
    let body = bosh.body("", "");
    bosh.line.ask(&body).await;
    let other = Client::login(&server, Transport::Direct, &jid).await;
    check(bosh.line.answer().await.wrapper(), "conflict");
    drop(other);
}

#[tokio::test]
async fn bad_requests() {
    let server = Server::with_users(0);
    let mut line = Line::open(&server).await;
    for body in [
        "",
        "hello",
        "<body",
        "<body rid='1' to='example.org'/>",
        "<body rid='1' to='example.org' xmlns='jabber:client'/>",
        "<body to='example.org' xmlns='http://jabber.org/protocol/httpbind'/>",
        "<body rid='1' to='example.org' xmlns='http://jabber.org/protocol/httpbind'/><body/>",
        "<body rid='1' to='example.org' xmlns='http://jabber.org/protocol/httpbind'><!-- c --></body>",
        "<!DOCTYPE body [<!ENTITY a 'b'>]><body rid='1' to='example.org' xmlns='http://jabber.org/protocol/httpbind'/>",
        "<body rid='1' to='example.org' xmlns='http://jabber.org/protocol/httpbind'>text</body>",
    ] {
        line.post(body).await.wrapper().assert_end("bad-request");
    }
    // In a session, which is over then, also where only its beginning can be read (section 17.2).
    let mut other = Bosh::begin(&server).await;
    for (payload, condition) in [
        ("text".to_owned(), "bad-request"),
        ("<message></body>".to_owned(), "bad-request"),
        ("<!-- c -->".to_owned(), "bad-request"),
        ("&#0;".to_owned(), "bad-request"),
        ("</body><body>".to_owned(), "bad-request"),
        ("<a>".repeat(100) + &"</a>".repeat(100), "policy-violation"),
        (format!("<message a='{}'/>", "x".repeat(300_000)), "policy-violation"),
    ] {
        let mut bosh = Bosh::begin(&server).await;
        let mut waiting = Line::open(&server).await;
        let body = bosh.body("", "");
        waiting.ask(&body).await;
        // It must not be overtaken.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let body = bosh.body("", &payload);
        bosh.line.post(&body).await.wrapper().assert_end(condition);
        // Whoever waits hears of it.
        waiting.answer().await.wrapper().assert_end(condition);
        let body = bosh.body("", "");
        line.post(&body).await.wrapper().assert_end("item-not-found");
        // Nobody can end a session by it who does not know it.
        for sid in [&bosh.sid, &other.sid[..31], &other.sid.to_uppercase()] {
            let wrong = other.body_at(1, "", "<message></body>").replace(&other.sid, sid);
            line.post(&wrong).await.wrapper().assert_end("bad-request");
        }
        let wrong = format!("<body sid='{}' rid='1'><message></body>", other.sid);
        line.post(&wrong).await.wrapper().assert_end("bad-request");
    }
    let sasl = "urn:ietf:params:xml:ns:xmpp-sasl";
    other.stanza().await;
    other.send(&format!("<abort xmlns='{sasl}'/>")).await;
    other.expect(&format!("<failure xmlns='{sasl}'/>")).await;
    // Nobody's.
    line.post(&format!(
        "<body rid='1' sid='0123456789abcdef0123456789abcdef' xmlns='{NS_BOSH}'/>"
    ))
    .await
    .wrapper()
    .assert_end("item-not-found");
    // Too long, by its header: nothing of it is read.
    line.send(b"POST /http-bind HTTP/1.1\r\nHost: example.org\r\nContent-Length: 300000\r\n\r\n")
        .await;
    let answer = line.answer().await;
    assert!(
        answer.head.to_ascii_lowercase().contains("connection: close"),
        "{answer:?}"
    );
    answer.wrapper().assert_end("policy-violation");
    // The same in parts.
    let mut line = Line::open(&server).await;
    line.send(b"POST /http-bind HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let part = [b"10000\r\n", &[b'x'; 0x1_0000][..], b"\r\n"].concat();
    for _ in 0..5 {
        line.send(&part).await;
    }
    line.answer().await.wrapper().assert_end("policy-violation");
}

/// Section 15.
#[tokio::test]
async fn keys() {
    let server = Server::with_users(0);
    let hash = |text: &str| {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    let mut keys = vec![hash("seed")];
    for number in 0..5 {
        keys.push(hash(&keys[number]));
    }
    let creation = format!("{CREATION} newkey='{}'", keys.pop().expect("a key"));
    let mut bosh = Bosh::begin_with(&server, &creation).await;
    for _ in 0..2 {
        let key = keys.pop().expect("a key");
        let response = bosh
            .request(&format!("key='{}' pause='60'", key.to_lowercase()), "")
            .await;
        assert_eq!(response.get("type"), "", "{response:?}");
    }
    let response = bosh
        .request(
            &format!(
                "key='{}' newkey='{}' pause='60'",
                keys.pop().expect("a key"),
                hash("next")
            ),
            "",
        )
        .await;
    assert_eq!(response.get("type"), "", "{response:?}");
    let response = bosh.request("key='next' pause='60'", "").await;
    assert_eq!(response.get("type"), "", "{response:?}");
    bosh.request("pause='60'", "").await.assert_end("item-not-found");
}

/// XEP-0198 from here to there and back.
#[tokio::test]
async fn a_stream_moves_between_transports() {
    let server = Server::builder().users(1).limit("bosh_inactivity_seconds", 1).start();
    let jid = format!("{}/r", server.user());
    let mut client = Client::login(&server, Transport::Direct, &jid).await;
    client.enable().await;
    let session = client.session();
    client.lose(testkit::Loss::Reset);
    let mut bosh = Bosh::authenticated(&server, &jid).await;
    bosh.send(&testkit::resume(&session.id, session.received)).await;
    let resumed = bosh.expect("<resumed xmlns='urn:xmpp:sm:3'/>").await;
    assert_eq!(resumed.get("previd"), session.id);
    ping(&mut bosh).await;
    // It is lost, and what comes meanwhile is for who resumes it.
    tokio::time::sleep(Duration::from_millis(3000)).await;
    let mut client = Client::authenticated(&server, Transport::Starttls, &jid).await;
    let mut session = session;
    session.received += 1;
    session.sent += 1;
    let answer = client.try_resume(&session).await;
    assert_eq!(answer.name(), "resumed", "{answer:?}");
}

#[tokio::test]
async fn origins() {
    let server = Server::builder()
        .users(0)
        .http_toml("origins = ['https://chat.example']")
        .start();
    let body = format!("<body rid='1' to='example.org' ver='1.6' xmlns='{NS_BOSH}'/>");
    for (headers, status) in [
        ("", "200"),
        ("Origin: https://chat.example\r\n", "200"),
        ("Origin: https://evil.example\r\n", "403"),
    ] {
        let mut line = Line::open(&server).await;
        line.ask_with(&body, headers).await;
        let answer = line.answer().await;
        assert_eq!(answer.status(), status, "{headers}: {answer:?}");
        let allows = answer
            .head
            .to_ascii_lowercase()
            .contains("access-control-allow-origin: https://chat.example");
        assert_eq!(allows, headers.contains("chat"), "{answer:?}");
        line.send(format!("OPTIONS /http-bind HTTP/1.1\r\nHost: example.org\r\n{headers}\r\n").as_bytes())
            .await;
        let answer = line.answer().await;
        assert_eq!(answer.status() == "204", status == "200", "{answer:?}");
    }
    let mut line = Line::open(&server).await;
    line.send(b"GET /http-bind HTTP/1.1\r\nHost: example.org\r\n\r\n").await;
    assert_eq!(line.answer().await.status(), "405");
}

/// A session counts as a connection does, and its requests' connections do not any more once it is logged in.
#[tokio::test]
async fn limits() {
    let server = Server::builder()
        .users(4)
        .limit("connections_before_login_per_address", 3)
        .start();
    // Two connections of HTTP and a session.
    let _one = Line::open(&server).await;
    let bosh = Bosh::begin(&server).await;
    assert_eq!(bosh.first.get("type"), "");
    let refused = Client::connect_with(&server, Transport::WebSocket, ConnectOptions::default()).await;
    assert!(refused.is_err(), "one too many");
    drop(bosh);
    let server = Server::builder()
        .users(4)
        .limit("connections_before_login_per_address", 3)
        .start();
    let mut sessions = Vec::new();
    for _ in 0..4 {
        let mut bosh = Bosh::login(&server, &format!("{}/r", server.user())).await;
        ping(&mut bosh).await;
        sessions.push(bosh);
    }
    // The stream's own limits of time hold.
    let server = Server::builder().users(0).limit("negotiation_seconds", 1).start();
    let mut bosh = Bosh::begin(&server).await;
    let response = bosh.request("", "").await;
    response.assert_end("remote-stream-error");
    assert!(response.raw.contains("<connection-timeout "), "{response:?}");
}

/// Whatever becomes of sessions, nothing stays: so many are allowed again.
#[tokio::test]
async fn sessions_leave_nothing() {
    const ROOM: u64 = 12;
    let server = Server::builder()
        .users(1)
        .limit("connections", ROOM)
        .limit("bosh_inactivity_seconds", 1)
        .start();
    for round in 0..4 {
        let mut all = Vec::new();
        for _ in 0..5 {
            all.push(Bosh::begin(&server).await);
        }
        for (number, mut bosh) in all.into_iter().enumerate() {
            match number {
                0 => bosh.request("type='terminate'", "").await.assert_end(""),
                1 => bosh
                    .request("", "<x xmlns='urn:x'/>")
                    .await
                    .assert_end("remote-stream-error"),
                2 => {
                    let body = bosh.body("", "");
                    bosh.line.ask(&body).await;
                    bosh.line.cut();
                }
                3 => bosh.line.cut(),
                _ => drop(bosh),
            }
        }
        eprintln!("round {round}");
        tokio::time::sleep(Duration::from_millis(3500)).await;
    }
    let mut sessions = Vec::new();
    for _ in 0..ROOM / 2 {
        sessions.push(Bosh::begin(&server).await);
    }
    assert!(sessions.iter().all(|bosh| bosh.first.get("type").is_empty()));
}

/// An idle session has two connections of HTTP, each with the 16 KiB that hyper's buffers begin with, and one of them ends
/// when it was idle for long enough. It was 44 kB when this was written.
#[tokio::test]
async fn an_idle_session_has_a_price() {
    let bytes = cost_of_an_idle_session(Transport::Bosh, 150).await;
    eprintln!("bytes of an idle session over BOSH: {bytes}");
    assert!(bytes < 64 * 1024, "bytes of an idle session over BOSH: {bytes}");
}

#[tokio::test]
async fn shutdown() {
    let mut server = Server::with_users(1);
    let jid = format!("{}/r", server.user());
    let mut bosh = Bosh::login(&server, &jid).await;
    let body = bosh.body("", "");
    bosh.line.ask(&body).await;
    let _idle = Bosh::begin(&server).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.sigterm();
    let response = bosh.line.answer().await.wrapper();
    response.assert_end("remote-stream-error");
    assert!(response.raw.contains("<system-shutdown "), "{response:?}");
    let status = server.wait(Duration::from_secs(10)).expect("it ends in time");
    assert!(status.success(), "{status}");
}
