//! A server that is killed, with a million messages in its archive: how soon it answers, and how soon everybody is back
//! and knows what became of the stanzas that were on the way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::archive::message;
use super::message::BODY;
use super::{CALM_LIMIT, Result, body, quantile};
use crate::Outcome;
use crate::client::{Access, Client, REQUEST, jid, joined, login_managed};
use crate::measure::{Window, calm};
use crate::target::{Running, random};

/// Clients that come back, all at once.
pub(super) const CLIENTS: usize = 1_000;
/// Messages of each that are acknowledged before.
const SENT: u64 = 5;
/// Every so manieth has messages on the way when the server is killed.
const BUSY_EACH: usize = 4;
/// So many.
const ON_THE_WAY: u64 = 10;
/// From the last of them to the kill.
const MOMENT: Duration = Duration::from_millis(2);
/// Between two attempts to connect.
const LOOK: Duration = Duration::from_millis(1);

/// What a client knows of its stream.
struct Known {
    number: usize,
    id: String,
    handled: u64,
    sent: u64,
    /// Of them.
    acknowledged: u64,
}

pub(super) async fn run(access: &Arc<Access>, server: &mut Running) -> Outcome<Result> {
    let mut result = Result::default();
    let body = body(BODY);
    let (mut clients, ids) = login_managed(access, 0..CLIENTS).await?;
    let mut seed = 0;
    for client in &mut clients {
        write(client, 0..SENT, &mut seed, &body).await?;
    }
    for client in &mut clients {
        client.until(|scanner| scanner.acked >= SENT).await?;
    }
    calm(server.pid(), CALM_LIMIT).await;
    for client in clients.iter_mut().step_by(BUSY_EACH) {
        write(client, SENT..SENT + ON_THE_WAY, &mut seed, &body).await?;
    }
    tokio::time::sleep(MOMENT).await;

    let started = server.kill_and_start()?;
    let mut known = Vec::with_capacity(CLIENTS);
    for (number, (mut client, id)) in clients.into_iter().zip(ids).enumerate() {
        // What had come; then the connection is at its end.
        let _: Outcome<()> = client.drain().await;
        known.push(Known {
            number,
            id,
            handled: client.handled(),
            sent: SENT + if number % BUSY_EACH == 0 { ON_THE_WAY } else { 0 },
            acknowledged: client.scanner.acked,
        });
    }
    while !Client::is_greeted(access).await {
        tokio::time::sleep(LOOK).await;
    }
    result.figure("recovery.header", started.elapsed().as_secs_f64());

    let window = Window::open(server.pid());
    let crowd = Instant::now();
    let tasks: Vec<_> = known
        .into_iter()
        .map(|known| {
            let access = Arc::clone(access);
            tokio::spawn(async move {
                let number = known.number;
                let back = come_back(&access, known, crowd).await;
                back.map_err(|error| format!("user{number}: {error}"))
            })
        })
        .collect();
    let (mut times, mut resumed, mut handled) = (Vec::with_capacity(CLIENTS), 0, 0);
    let mut clients = Vec::with_capacity(CLIENTS);
    for task in tasks {
        let back = joined(task.await)?;
        clients.push(back.client);
        times.push(back.micros);
        resumed += usize::from(back.resumed);
        handled += back.handled;
    }
    let spent = window.close();
    result.noise(spent);
    let last = quantile(&mut times, 1.0) / 1e6;
    result.figure("recovery.bound", last);
    result.notes.push(format!(
        "{resumed} resumed; of {} stanzas on the way {handled} were handled; back after p50 {:.2} s, p99 {:.2} s; {:.2} ms \
         CPU each, the generator {:.2} ms",
        (CLIENTS.div_ceil(BUSY_EACH) as u64) * ON_THE_WAY,
        quantile(&mut times, 0.5) / 1e6,
        quantile(&mut times, 0.99) / 1e6,
        spent.server * 1000.0 / CLIENTS as f64,
        spent.generator * 1000.0 / CLIENTS as f64,
    ));
    Ok(result)
}

/// To anybody, with a request to acknowledge them.
async fn write(client: &mut Client, ids: std::ops::Range<u64>, seed: &mut u64, body: &str) -> Outcome<()> {
    let mut text = String::new();
    for id in ids {
        message(&mut text, &jid(random(seed, CLIENTS)), id, body);
    }
    text.push_str(REQUEST);
    client.send(text.as_bytes()).await
}

struct Back {
    client: Client,
    resumed: bool,
    /// Of the stanzas that were on the way.
    handled: u64,
    micros: u32,
}

async fn come_back(access: &Access, known: Known, since: Instant) -> Outcome<Back> {
    let mut client = Client::authenticated(access, known.number).await?;
    let (resumed, h) = client.resume(&known.id, known.handled).await?;
    // What was acknowledged was handled; and nothing was that had not been sent.
    if h < known.acknowledged || h > known.sent {
        return Err(format!(
            "{h} stanzas were handled of {}, after an acknowledgement of {}",
            known.sent, known.acknowledged
        ));
    }
    if !resumed {
        client.bind().await?;
    }
    Ok(Back {
        client,
        resumed,
        handled: h - SENT,
        micros: u32::try_from(since.elapsed().as_micros()).unwrap_or(u32::MAX),
    })
}
