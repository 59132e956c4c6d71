//! Messages between pairs of clients, as fast as they go: the even one writes, the odd one reads.
//!
//! One task holds both ends of a pair: what the reader counts is what the writer may send next, without
//! a lock or a channel between.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{CALM_LIMIT, Result, body, calibrated, micros_each};
use crate::Outcome;
use crate::client::{Access, Client, close_all, jid, joined, login_all};
use crate::measure::{Spent, Window, calm};

/// Messages in flight of a busy pair.
pub(super) const BUSY_WINDOW: usize = 32;
/// Pairs whose messages go one at a time.
pub(super) const SINGLE_PAIRS: usize = 64;
/// Bytes of a message's body.
pub(super) const BODY: usize = 64;
/// Messages of a pair that calibrate the closed loop.
const PROBE: usize = 300;
/// The most messages of a pair in one run.
const MOST: usize = 1_000_000;

pub(super) async fn busy(access: &Arc<Access>, pid: u32, pairs: usize) -> Outcome<Result> {
    closed(access, pid, pairs, BUSY_WINDOW, ("msg.cpu", "msg.rate")).await
}

pub(super) async fn single(access: &Arc<Access>, pid: u32) -> Outcome<Result> {
    closed(access, pid, SINGLE_PAIRS, 1, ("single.cpu", "single.rate")).await
}

pub(super) struct Pair {
    pub writer: Client,
    pub reader: Client,
    /// The reader's bare JID.
    pub to: String,
    /// What the writer sends in front of each message of an open loop.
    pub before: String,
    /// Messages written so far; also the identifier of the next.
    sent: usize,
    received: usize,
}

impl Pair {
    pub(super) async fn login(access: &Arc<Access>, pairs: usize) -> Outcome<Vec<Self>> {
        let (clients, _) = login_all(access, 0..2 * pairs, true).await?;
        let mut clients = clients.into_iter();
        let mut all = Vec::with_capacity(pairs);
        while let (Some(writer), Some(reader)) = (clients.next(), clients.next()) {
            all.push(Self {
                writer,
                reader,
                to: jid(2 * all.len() + 1),
                before: String::new(),
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
    pub(super) async fn check(&mut self) -> Outcome<()> {
        self.writer.drain().await?;
        match self.writer.scanner.messages {
            0 => Ok(()),
            bounced => Err(format!("{bounced} messages to {} came back", self.to)),
        }
    }
}

pub(super) fn message(text: &mut String, to: &str, id: usize, body: &str) {
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
    let (pairs, spent, total) = calibrated_loop(pairs, pid, window).await?;
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

/// Warms up, calibrates and measures; also returns how many messages that were.
pub(super) async fn calibrated_loop(pairs: Vec<Pair>, pid: u32, window: usize) -> Outcome<(Vec<Pair>, Spent, usize)> {
    let (pairs, _) = pump_all(pairs, pid, PROBE, window).await?;
    let (pairs, probe) = pump_all(pairs, pid, PROBE, window).await?;
    let count = calibrated(PROBE, probe.wall, MOST);
    calm(pid, CALM_LIMIT).await;
    let (mut pairs, spent) = pump_all(pairs, pid, count, window).await?;
    for pair in &mut pairs {
        pair.check().await?;
    }
    let total = count * pairs.len();
    Ok((pairs, spent, total))
}

/// Pumps all pairs at once.
pub(super) async fn pump_all(pairs: Vec<Pair>, pid: u32, count: usize, window: usize) -> Outcome<(Vec<Pair>, Spent)> {
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
