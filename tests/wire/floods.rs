//! Clients that send as much as they can: each is held to its share, and nobody else waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use testkit::{Bosh, Client, Server, Transport};

use crate::crowd::files_fall_to;
use crate::slow_reader::number;
use crate::support::settle;

/// Requests and messages that everybody else gets through meanwhile.
const ROUNDS: usize = 15;

/// Two on each port who talk to each other, a round after the other, and two over HTTP.
async fn others(server: &Server) -> Vec<(Client, Client)> {
    let mut pairs = Vec::new();
    for (one, two) in [
        (Transport::Direct, Transport::Starttls),
        (Transport::WebSocket, Transport::Bosh),
    ] {
        let one = Client::online(server, one, &server.user()).await;
        let two = Client::online(server, two, &server.user()).await;
        pairs.push((one, two));
    }
    pairs
}

async fn talk((one, two): &mut (Client, Client)) {
    for number in 0..ROUNDS {
        one.send(format!("<message to='{}' id='{number}'/>", two.jid)).await;
        two.expect(&format!("<message id='{number}'/>")).await;
        two.ping().await;
    }
}

const PING: &str = "<iq xmlns='jabber:client' type='get' id='again'><ping xmlns='urn:xmpp:ping'/></iq>";

/// Who says as much as it can, over each transport in turn.
enum Flooder {
    Stream(Box<Client>),
    Session(Box<Bosh>),
}

impl Flooder {
    async fn online(server: &Server, number: usize) -> Flooder {
        let transport = Transport::EVERY[number % Transport::EVERY.len()];
        let jid = server.user();
        if transport == Transport::Bosh {
            let mut bosh = Bosh::login(server, &format!("{jid}/flood")).await;
            bosh.send("<presence xmlns='jabber:client'/>").await;
            return Flooder::Session(Box::new(bosh));
        }
        Flooder::Stream(Box::new(Client::online(server, transport, &jid).await))
    }

    async fn send(&mut self, text: &str) {
        match self {
            Flooder::Stream(client) => client.send(text).await,
            // So that there is something to answer the request with when the stream has read it.
            Flooder::Session(bosh) => {
                let messages = text.replace("<message ", "<message xmlns='jabber:client' ");
                bosh.send(&format!("{messages}{PING}")).await;
            }
        }
    }

    async fn nothing_more(&mut self) {
        match self {
            Flooder::Stream(client) => client.nothing_more().await,
            Flooder::Session(bosh) => {
                bosh.send(&PING.replace("again", "end")).await;
                while !bosh.stanza().await.matches("<iq type='result' id='end'/>") {}
            }
        }
    }

    fn cut(self) {
        match self {
            Flooder::Stream(client) => client.cut(),
            Flooder::Session(bosh) => bosh.line.cut(),
        }
    }
}

/// `limits.read_bytes_per_second` is what each of them has, and no more, however much it has to say.
#[tokio::test]
async fn who_floods_has_its_share() {
    const FLOODERS: usize = 4;
    const BODY: usize = 10_000;
    /// By each: a minute's share.
    const COUNT: usize = 300;
    const RATE: u64 = 50_000;
    const BURST: u64 = 50_000;
    /// What is read at once may go beyond the share once.
    const READ: u64 = 64 * 1024;
    let server = Server::builder()
        .users(FLOODERS + 5)
        .limit("stanza_bytes", 20_000)
        .limit("read_bytes_per_second", RATE)
        .limit("read_burst_bytes", BURST)
        .start();
    let mut pairs = others(&server).await;
    let mut sink = Client::online(&server, Transport::Direct, &server.user()).await;
    let files = server.open_files();
    let began = Instant::now();
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for number in 0..FLOODERS {
        let is_over = Arc::clone(&is_over);
        let mut flooder = Flooder::online(&server, number).await;
        let text = format!(
            "<message to='{}' type='headline' id='{number}'><body>{}</body></message>",
            sink.jid,
            "x".repeat(BODY)
        );
        tasks.push(tokio::spawn(async move {
            for _ in 0..COUNT {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                flooder.send(&text).await;
            }
            flooder
        }));
    }
    // The flood is there.
    let mut got = vec![0; FLOODERS];
    while got.contains(&0) {
        got[number(&sink.stanza().await).expect("a number")] += 1;
    }
    let (first, second) = pairs.split_at_mut(1);
    tokio::join!(talk(&mut first[0]), talk(&mut second[0]));
    for stanza in sink.drain().await {
        got[number(&stanza).expect("a number")] += 1;
    }
    let share = BURST + READ + (RATE as f64 * began.elapsed().as_secs_f64()) as u64;
    for (number, count) in got.iter().enumerate() {
        assert!(
            count * BODY <= share as usize,
            "{count} messages of {BODY} bytes by flooder {number}, whose share is {share}"
        );
    }
    assert!(
        got.iter().sum::<usize>() < FLOODERS * COUNT,
        "there is more to come: {got:?}"
    );
    is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("it was not closed").cut();
    }
    // What they have left in the kernel is nobody's any more.
    files_fall_to(&server, files).await;
    sink.forget().await;
    tokio::join!(talk(&mut first[0]), talk(&mut second[0]));
}

/// Without a bound on the rate: as much as the processor can do. Who asks little does not wait until it is over, because
/// it is never over.
#[tokio::test]
async fn who_floods_takes_turns() {
    const FLOODERS: usize = 4;
    let server = Server::builder()
        .users(FLOODERS + 5)
        .limit("read_bytes_per_second", 1_000_000_000_000)
        .limit("read_burst_bytes", 1_000_000_000_000)
        .start();
    let mut pairs = others(&server).await;
    let files = server.open_files();
    let (nobody, body) = (server.user(), "x".repeat(900));
    // Known before the flood: what may wait while an account is read is bounded, and more is answered with an error.
    settle(&mut pairs[0].0, &nobody).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut tasks = Vec::new();
    for number in 0..FLOODERS {
        let mut flooder = Flooder::online(&server, number).await;
        // Each a stanza that is looked at, routed and forgotten: nobody is there.
        let text = format!("<message to='{nobody}' type='headline'><body>{body}</body></message>").repeat(16);
        let is_over = Arc::clone(&is_over);
        tasks.push(tokio::spawn(async move {
            let mut times = 0;
            while !is_over.load(Ordering::Relaxed) {
                flooder.send(&text).await;
                times += 1;
                tokio::task::yield_now().await;
            }
            // Everything that it had said is dealt with, in its turn.
            flooder.nothing_more().await;
            times
        }));
    }
    let (first, second) = pairs.split_at_mut(1);
    tokio::join!(talk(&mut first[0]), talk(&mut second[0]));
    is_over.store(true, Ordering::Relaxed);
    for task in tasks {
        let times = task.await.expect("it was not closed");
        assert!(times > 0, "a flood");
    }
    files_fall_to(&server, files).await;
    for (one, two) in &mut pairs {
        one.nothing_more().await;
        two.nothing_more().await;
    }
}
