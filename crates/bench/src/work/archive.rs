//! Messages that are archived for both and acknowledged: the even one writes, the odd one reads, both with stream
//! management. A message is done when the server has acknowledged it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::{BODY, BUSY_WINDOW};
use super::{CALM_LIMIT, Result, body, calibrated, micros_each, quantile};
use crate::Outcome;
use crate::client::{Access, Client, REQUEST, close_all, jid, joined, login_managed, read_either};
use crate::measure::{Spent, Window, calm};

/// Pairs that share a low rate.
pub(super) const SINGLE_PAIRS: usize = 20;
/// The low rates: messages a second, and the rows of the table.
const RATES: [(u32, [&str; 3]); 2] = [
    (20, ["alone.20.p50", "alone.20.p99", "alone.20.cpu"]),
    (200, ["alone.200.p50", "alone.200.p99", "alone.200.cpu"]),
];
/// How long messages come at each rate.
const TIME: Duration = Duration::from_secs(15);
/// Messages of a pair before that.
const WARM: usize = 20;
/// Messages of a pair that calibrate the closed loop.
const PROBE: usize = 300;
/// The most messages of a pair in one run.
const MOST: usize = 1_000_000;

/// A message that its sender could send once more without harm (XEP-0359).
pub(super) fn message(text: &mut String, to: &str, id: u64, body: &str) {
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "<message to='{to}' type='chat' id='a{id}'><body>{body}</body><origin-id xmlns='urn:xmpp:sid:0' \
         id='a{id}'/></message>"
    );
}

struct Pair {
    writer: Client,
    reader: Client,
    /// The reader's bare JID.
    to: String,
    /// Messages written so far; also the identifier of the next.
    sent: u64,
    /// How many had been written when the server was last asked to acknowledge.
    asked: u64,
    /// Messages that the reader had when it began to count.
    before: u64,
}

impl Pair {
    async fn login(access: &Arc<Access>, pairs: usize) -> Outcome<Vec<Self>> {
        let (clients, _) = login_managed(access, 0..2 * pairs).await?;
        let mut clients = clients.into_iter();
        let mut all = Vec::with_capacity(pairs);
        while let (Some(writer), Some(reader)) = (clients.next(), clients.next()) {
            all.push(Self {
                before: reader.scanner.messages,
                writer,
                reader,
                to: jid(2 * all.len() + 1),
                sent: 0,
                asked: 0,
            });
        }
        Ok(all)
    }

    fn acknowledged(&self) -> u64 {
        self.writer.scanner.acked
    }

    fn received(&self) -> u64 {
        self.reader.scanner.messages - self.before
    }

    /// Sends `count` messages, at most `window` of them not acknowledged, and waits until all are there.
    async fn pump(&mut self, count: usize, window: usize, body: &str) -> Outcome<()> {
        let (end, mut text) = (self.sent + count as u64, String::new());
        while self.acknowledged() < end || self.received() < end {
            let room = window as u64 - (self.sent - self.acknowledged());
            text.clear();
            for id in self.sent..end.min(self.sent + room) {
                message(&mut text, &self.to, id, body);
                self.sent += 1;
            }
            // One request on the way, as clients do.
            if self.asked <= self.acknowledged() && self.asked < self.sent {
                text.push_str(REQUEST);
                self.asked = self.sent;
            }
            if !text.is_empty() {
                self.writer.send(text.as_bytes()).await?;
            }
            self.read().await?;
        }
        self.check()
    }

    async fn read(&mut self) -> Outcome<()> {
        read_either(&mut self.writer, &mut self.reader).await?;
        self.reader.acknowledge().await?;
        self.writer.acknowledge().await
    }

    /// Nothing came twice, and nothing came back.
    fn check(&self) -> Outcome<()> {
        match (self.received() - self.sent, self.writer.scanner.messages) {
            (0, 0) => Ok(()),
            (more, back) => Err(format!("{more} messages too many to {}, {back} came back", self.to)),
        }
    }

    /// Sends a message at each step of the time, and returns the microseconds of each.
    async fn drip(&mut self, count: usize, first: Instant, step: Duration, body: &str) -> Outcome<Vec<u32>> {
        let (mut text, mut latencies) = (String::new(), Vec::with_capacity(count));
        for index in 0..count {
            // As many as a run has seconds.
            let due = first + step * index as u32;
            tokio::time::sleep_until(due.into()).await;
            text.clear();
            message(&mut text, &self.to, self.sent, body);
            text.push_str(REQUEST);
            self.sent += 1;
            let started = Instant::now();
            self.writer.send(text.as_bytes()).await?;
            let mut latency = None;
            while latency.is_none() || self.received() < self.sent {
                self.read().await?;
                if latency.is_none() && self.acknowledged() >= self.sent {
                    latency = Some(started.elapsed());
                }
            }
            let micros = latency.unwrap_or_default().as_micros();
            latencies.push(u32::try_from(micros).unwrap_or(u32::MAX));
        }
        self.asked = self.sent;
        self.check()?;
        Ok(latencies)
    }
}

async fn close(pairs: Vec<Pair>) {
    close_all(pairs.into_iter().flat_map(|pair| [pair.writer, pair.reader]).collect()).await;
}

pub(super) async fn busy(access: &Arc<Access>, pid: u32, pairs: usize) -> Outcome<Result> {
    let mut result = Result::default();
    let pairs = Pair::login(access, pairs).await?;
    let (pairs, _) = pump_all(pairs, pid, PROBE).await?;
    let (pairs, probe) = pump_all(pairs, pid, PROBE).await?;
    let count = calibrated(PROBE, probe.wall, MOST);
    calm(pid, CALM_LIMIT).await;
    let (pairs, spent) = pump_all(pairs, pid, count).await?;
    let total = count * pairs.len();
    result.noise(spent);
    result.figure("archive.cpu", micros_each(spent.server, total));
    result.figure("archive.rate", total as f64 / spent.wall);
    result.notes.push(format!(
        "{total} messages in {:.1} s; the generator {:.2} µs each",
        spent.wall,
        micros_each(spent.generator, total)
    ));
    close(pairs).await;
    Ok(result)
}

/// Pumps all pairs at once. The wall time ends with the last acknowledgement, the CPU with the server calm: what it has
/// put off is part of the price.
async fn pump_all(pairs: Vec<Pair>, pid: u32, count: usize) -> Outcome<(Vec<Pair>, Spent)> {
    let body: Arc<str> = body(BODY).into();
    let window = Window::open(pid);
    let tasks: Vec<_> = pairs
        .into_iter()
        .map(|mut pair| {
            let body = Arc::clone(&body);
            tokio::spawn(async move {
                pair.pump(count, BUSY_WINDOW, &body).await?;
                Ok::<_, String>(pair)
            })
        })
        .collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(joined(task.await)?);
    }
    let spent = window.close();
    calm(pid, CALM_LIMIT).await;
    let server = window.close().server;
    Ok((done, Spent { server, ..spent }))
}

pub(super) async fn single(access: &Arc<Access>, pid: u32) -> Outcome<Result> {
    let mut result = Result::default();
    let mut pairs = Pair::login(access, SINGLE_PAIRS).await?;
    let body: Arc<str> = body(BODY).into();
    for pair in &mut pairs {
        pair.pump(WARM, 1, &body).await?;
    }
    for (rate, [p50, p99, cpu]) in RATES {
        calm(pid, CALM_LIMIT).await;
        let window = Window::open(pid);
        let step = Duration::from_secs(1) / rate;
        let each = (TIME.as_secs_f64() * f64::from(rate)) as usize / SINGLE_PAIRS;
        let started = Instant::now() + step;
        let tasks = (0..).zip(pairs).map(|(index, mut pair)| {
            let body = Arc::clone(&body);
            tokio::spawn(async move {
                let its = pair
                    .drip(each, started + step * index, step * SINGLE_PAIRS as u32, &body)
                    .await?;
                Ok::<_, String>((pair, its))
            })
        });
        let (tasks, mut latencies): (Vec<_>, Vec<u32>) = (tasks.collect(), Vec::new());
        pairs = Vec::with_capacity(tasks.len());
        for task in tasks {
            let (pair, its) = joined(task.await)?;
            pairs.push(pair);
            latencies.extend(its);
        }
        let spent = window.close();
        result.noise(spent);
        result.figure(p50, quantile(&mut latencies, 0.5) / 1000.0);
        result.figure(p99, quantile(&mut latencies, 0.99) / 1000.0);
        result.figure(cpu, micros_each(spent.server, latencies.len()));
        result.notes.push(format!(
            "{} at {rate}/s, worst {:.2} ms",
            latencies.len(),
            quantile(&mut latencies, 1.0) / 1000.0
        ));
    }
    close(pairs).await;
    Ok(result)
}
