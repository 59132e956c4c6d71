//! Messages at a fixed rate, one a write, spread evenly over many pairs: how long each takes from the writer's call to
//! the reader's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::message::{BODY, Pair, message, pump_all};
use super::{CALM_LIMIT, Result, body, micros_each, quantile};
use crate::Outcome;
use crate::client::{Access, Client, close_all, joined};
use crate::measure::{Spent, Window, calm};

/// Pairs that share the rate.
pub(super) const PAIRS: usize = 200;
/// How long messages come.
pub(super) const TIME: Duration = Duration::from_secs(6);
/// Messages of each pair before that.
const WARM: usize = 5;
/// How long the last messages may take.
const LATE: Duration = Duration::from_secs(15);

/// What came of an open loop.
pub(super) struct Outflow {
    /// Microseconds of each message, pair by pair.
    pub latencies: Vec<Vec<u32>>,
    pub spent: Spent,
    /// How far the generator was behind at worst.
    pub late: Duration,
    pub clients: Vec<Client>,
}

impl Outflow {
    /// The latencies of some pairs, sorted or not.
    pub(super) fn of(&self, pairs: std::ops::Range<usize>) -> Vec<u32> {
        self.latencies[pairs].concat()
    }

    /// p90 and beyond, for the curious.
    pub(super) fn note(&self) -> String {
        let mut all = self.of(0..self.latencies.len());
        format!(
            "p90 {:.0} µs, p99.9 {:.0} µs, worst {:.0} µs; the generator was up to {} µs late",
            quantile(&mut all, 0.9),
            quantile(&mut all, 0.999),
            quantile(&mut all, 1.0),
            self.late.as_micros()
        )
    }
}

pub(super) async fn run(access: &Arc<Access>, pid: u32, rate: u32) -> Outcome<Result> {
    let mut result = Result::default();
    let pairs = warm(access, pid).await?;
    let flow = drive(pairs, pid, rate).await?;
    let mut all = flow.of(0..PAIRS);
    result.noise(flow.spent);
    result.figure("open.p50", quantile(&mut all, 0.5));
    result.figure("open.p99", quantile(&mut all, 0.99));
    result.figure("open.cpu", micros_each(flow.spent.server, all.len()));
    result.notes.push(flow.note());
    close_all(flow.clients).await;
    Ok(result)
}

/// Pairs that have exchanged something, and a calm server.
pub(super) async fn warm(access: &Arc<Access>, pid: u32) -> Outcome<Vec<Pair>> {
    let pairs = Pair::login(access, PAIRS).await?;
    let (pairs, _) = pump_all(pairs, pid, WARM, 1).await?;
    calm(pid, CALM_LIMIT).await;
    Ok(pairs)
}

pub(super) async fn drive(pairs: Vec<Pair>, pid: u32, rate: u32) -> Outcome<Outflow> {
    let total = (TIME.as_secs_f64() * f64::from(rate)) as usize;
    let body = body(BODY);
    let spending = Window::open(pid);
    let count = pairs.len();
    let mut writers = Vec::with_capacity(count);
    let mut readers = Vec::with_capacity(count);
    for (index, pair) in pairs.into_iter().enumerate() {
        let times: Arc<Mutex<VecDeque<Instant>>> = Arc::default();
        let mut reader = pair.reader;
        writers.push(Writer {
            client: pair.writer,
            to: pair.to,
            before: pair.before,
            times: Arc::clone(&times),
        });
        let mine = (total / count) + usize::from(index < total % count);
        readers.push(tokio::spawn(async move {
            let mut latencies = Vec::with_capacity(mine);
            while latencies.len() < mine {
                let before = reader.scanner.messages;
                reader.read().await?;
                // Messages of a pair keep their order, so the first time is the first message's.
                let mut times = times.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                for _ in before..reader.scanner.messages {
                    let sent = times.pop_front().ok_or("more messages than were sent")?;
                    latencies.push(u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX));
                }
            }
            Ok::<_, String>((reader, latencies))
        }));
    }
    let late = write_at(&mut writers, rate, total, &body).await?;
    let mut latencies = Vec::with_capacity(count);
    let mut clients: Vec<Client> = writers.into_iter().map(|writer| writer.client).collect();
    let end = tokio::time::Instant::now() + LATE;
    for reader in readers {
        let done = tokio::time::timeout_at(end, reader)
            .await
            .map_err(|_| "messages are missing")?;
        let (reader, its) = joined(done)?;
        latencies.push(its);
        clients.push(reader);
    }
    Ok(Outflow {
        latencies,
        spent: spending.close(),
        late,
        clients,
    })
}

struct Writer {
    client: Client,
    to: String,
    before: String,
    /// When the messages were written that the reader has not got yet.
    times: Arc<Mutex<VecDeque<Instant>>>,
}

/// Writes messages when they are due; tells how late it was at worst.
async fn write_at(writers: &mut [Writer], rate: u32, total: usize, body: &str) -> Outcome<Duration> {
    let step = Duration::from_secs(1) / rate.max(1);
    let started = Instant::now();
    let (mut late, mut text) = (Duration::ZERO, String::new());
    for id in 0..total {
        let due = started + step * u32::try_from(id).unwrap_or(u32::MAX);
        match due.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => tokio::time::sleep_until(due.into()).await,
            _ => {
                late = late.max(due.elapsed());
                // Readers must get their turn.
                tokio::task::yield_now().await;
            }
        }
        let place = id % writers.len();
        let writer = &mut writers[place];
        text.clear();
        text.push_str(&writer.before);
        message(&mut text, &writer.to, id, body);
        writer
            .times
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push_back(Instant::now());
        writer.client.send(text.as_bytes()).await?;
    }
    Ok(late)
}
