//! Messages between pairs of clients: the even one writes, the odd one reads.
//!
//! In a closed loop one task holds both ends of a pair: what the reader counts is what the writer may send next, without
//! a lock or a channel between.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::{CALM_LIMIT, Result, body, calibrated, micros_each, quantile};
use crate::Outcome;
use crate::client::{Access, Client, close_all, jid, joined, login_all};
use crate::measure::{Spent, Window, calm};

/// Messages in flight of a busy pair.
const BUSY_WINDOW: usize = 32;
/// Pairs whose messages go one at a time.
pub(super) const SINGLE_PAIRS: usize = 64;
/// Pairs that share the fixed rate.
pub(super) const OPEN_PAIRS: usize = 200;
/// How long messages come at the fixed rate.
const OPEN: Duration = Duration::from_secs(6);
/// Messages of each pair before the fixed rate begins.
const OPEN_WARM: usize = 5;
/// Bytes of a message's body.
const BODY: usize = 64;
/// Messages of a pair that calibrate the closed loop.
const PROBE: usize = 300;
/// The most messages of a pair in one run.
const MOST: usize = 1_000_000;
/// How long the last messages may take.
const LATE: Duration = Duration::from_secs(15);

pub(super) async fn busy(access: &Arc<Access>, pid: u32, pairs: usize) -> Outcome<Result> {
    closed(access, pid, pairs, BUSY_WINDOW, ("msg.cpu", "msg.rate")).await
}

pub(super) async fn single(access: &Arc<Access>, pid: u32) -> Outcome<Result> {
    closed(access, pid, SINGLE_PAIRS, 1, ("single.cpu", "single.rate")).await
}

struct Pair {
    writer: Client,
    reader: Client,
    to: String,
    /// Messages written so far; also the identifier of the next.
    sent: usize,
    received: usize,
}

impl Pair {
    async fn login(access: &Arc<Access>, pairs: usize) -> Outcome<Vec<Self>> {
        let (clients, _) = login_all(access, 0..2 * pairs, true).await?;
        let mut clients = clients.into_iter();
        let mut all = Vec::with_capacity(pairs);
        while let (Some(writer), Some(reader)) = (clients.next(), clients.next()) {
            all.push(Self {
                writer,
                reader,
                to: jid(2 * all.len() + 1),
                sent: 0,
                received: 0,
            });
        }
        Ok(all)
    }

    /// Sends `count` messages, at most `window` of them on the way, and waits for the last.
    async fn pump(&mut self, count: usize, window: usize, body: &str) -> Outcome<()> {
        let (mut left, mut text) = (count, String::new());
        let end = self.received + count;
        while self.received < end {
            let now = left.min(window - (self.sent - self.received));
            if now > 0 {
                text.clear();
                for id in self.sent..self.sent + now {
                    message(&mut text, &self.to, id, body);
                }
                self.writer.send(text.as_bytes()).await?;
                self.sent += now;
                left -= now;
            }
            let before = self.reader.scanner.messages;
            self.reader.read().await?;
            self.received += usize::try_from(self.reader.scanner.messages - before).unwrap_or(0);
        }
        Ok(())
    }

    /// Nothing but messages came to the reader, and none to the writer.
    async fn check(&mut self) -> Outcome<()> {
        self.writer.drain().await?;
        match self.writer.scanner.messages {
            0 => Ok(()),
            bounced => Err(format!("{bounced} messages to {} came back", self.to)),
        }
    }
}

fn message(text: &mut String, to: &str, id: usize, body: &str) {
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "<message to='{to}' type='chat' id='m{id}'><body>{body}</body></message>"
    );
}

async fn closed(
    access: &Arc<Access>,
    pid: u32,
    pairs: usize,
    window: usize,
    (cpu, rate): (&'static str, &'static str),
) -> Outcome<Result> {
    let mut result = Result::default();
    let pairs = Pair::login(access, pairs).await?;
    let (pairs, _) = pump_all(pairs, pid, PROBE, window).await?;
    let (pairs, probe) = pump_all(pairs, pid, PROBE, window).await?;
    let count = calibrated(PROBE, probe.wall, MOST);
    calm(pid, CALM_LIMIT).await;
    let (mut pairs, spent) = pump_all(pairs, pid, count, window).await?;
    let total = count * pairs.len();
    for pair in &mut pairs {
        pair.check().await?;
    }
    result.noise(spent);
    result.figure(cpu, micros_each(spent.server, total));
    result.figure(rate, total as f64 / spent.wall);
    result.notes.push(format!(
        "{total} messages in {:.1} s; the generator {:.2} µs each",
        spent.wall,
        micros_each(spent.generator, total)
    ));
    close_all(pairs.into_iter().flat_map(|pair| [pair.writer, pair.reader]).collect()).await;
    Ok(result)
}

/// Pumps all pairs at once.
async fn pump_all(pairs: Vec<Pair>, pid: u32, count: usize, window: usize) -> Outcome<(Vec<Pair>, Spent)> {
    let body: Arc<str> = body(BODY).into();
    let spending = Window::open(pid);
    let tasks: Vec<_> = pairs
        .into_iter()
        .map(|mut pair| {
            let body = Arc::clone(&body);
            tokio::spawn(async move {
                pair.pump(count, window, &body).await?;
                Ok::<_, String>(pair)
            })
        })
        .collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(joined(task.await)?);
    }
    Ok((done, spending.close()))
}

/// A fixed rate, one message a write, spread evenly over the pairs.
pub(super) async fn open(access: &Arc<Access>, pid: u32, rate: u32) -> Outcome<Result> {
    let mut result = Result::default();
    let pairs = Pair::login(access, OPEN_PAIRS).await?;
    let (pairs, _) = pump_all(pairs, pid, OPEN_WARM, 1).await?;
    calm(pid, CALM_LIMIT).await;

    let total = (OPEN.as_secs_f64() * f64::from(rate)) as usize;
    let body = body(BODY);
    let spending = Window::open(pid);
    let mut writers = Vec::with_capacity(pairs.len());
    let mut readers = Vec::with_capacity(pairs.len());
    for (
        index,
        Pair {
            writer, mut reader, to, ..
        },
    ) in pairs.into_iter().enumerate()
    {
        let times: Arc<Mutex<VecDeque<Instant>>> = Arc::default();
        writers.push((writer, to, Arc::clone(&times)));
        let mine = (total / OPEN_PAIRS) + usize::from(index < total % OPEN_PAIRS);
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
    let mut latencies = Vec::with_capacity(total);
    let mut clients: Vec<Client> = writers.into_iter().map(|(writer, ..)| writer).collect();
    let end = tokio::time::Instant::now() + LATE;
    for reader in readers {
        let done = tokio::time::timeout_at(end, reader)
            .await
            .map_err(|_| "messages are missing")?;
        let (reader, mut its) = joined(done)?;
        latencies.append(&mut its);
        clients.push(reader);
    }
    let spent = spending.close();
    result.noise(spent);
    result.figure("open.p50", quantile(&mut latencies, 0.5));
    result.figure("open.p99", quantile(&mut latencies, 0.99));
    result.figure("open.cpu", micros_each(spent.server, total));
    result.notes.push(format!(
        "p90 {:.0} µs, p99.9 {:.0} µs, worst {:.0} µs; the generator was up to {} µs late",
        quantile(&mut latencies, 0.9),
        quantile(&mut latencies, 0.999),
        quantile(&mut latencies, 1.0),
        late.as_micros()
    ));
    close_all(clients).await;
    Ok(result)
}

type Writer = (Client, String, Arc<Mutex<VecDeque<Instant>>>);

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
        let (writer, to, times) = &mut writers[place];
        text.clear();
        message(&mut text, to, id, body);
        times
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .push_back(Instant::now());
        writer.send(text.as_bytes()).await?;
    }
    Ok(late)
}
