//! Archived messages from anybody to anybody, in a store that has many already: what does not stay in a cache.

use std::sync::Arc;

use super::archive::message;
use super::message::{BODY, BUSY_WINDOW};
use super::{CALM_LIMIT, Result, body, calibrated, micros_each};
use crate::Outcome;
use crate::client::{Access, Client, REQUEST, close_all, jid, joined, login_managed};
use crate::measure::{Spent, Window, calm};
use crate::target::random;

/// Whoever may get a message.
pub(super) const ACCOUNTS: usize = 10_000;
/// Of them are there, and write: those from 0 on.
pub(super) const SESSIONS: usize = 2_000;
/// Senders at a time.
const AT_ONCE: usize = 8;
/// Turns of each of them that calibrate: in one, a sender writes a window of messages.
const PROBE: usize = 100;
/// The most turns in one run.
const MOST: usize = 100_000;

/// Sessions of which one at a time writes.
struct Part {
    sessions: Vec<Sender>,
    seed: u64,
    /// Messages to who is there.
    due: u64,
}

struct Sender {
    client: Client,
    sent: u64,
}

impl Part {
    async fn turns(&mut self, count: usize, body: &str) -> Outcome<()> {
        let mut text = String::new();
        for _ in 0..count {
            let at = random(&mut self.seed, self.sessions.len());
            let Sender { client, sent } = &mut self.sessions[at];
            // What has come since its last turn.
            client.drain().await?;
            client.acknowledge().await?;
            text.clear();
            for _ in 0..BUSY_WINDOW {
                let to = random(&mut self.seed, ACCOUNTS);
                self.due += u64::from(to < SESSIONS);
                message(&mut text, &jid(to), *sent, body);
                *sent += 1;
            }
            text.push_str(REQUEST);
            client.send(text.as_bytes()).await?;
            while client.scanner.acked < *sent {
                client.read().await?;
                client.acknowledge().await?;
            }
        }
        Ok(())
    }
}

pub(super) async fn run(access: &Arc<Access>, pid: u32) -> Outcome<Result> {
    let mut result = Result::default();
    let mut parts: Vec<Part> = (0..AT_ONCE)
        .map(|part| Part {
            sessions: Vec::new(),
            seed: part as u64,
            due: 0,
        })
        .collect();
    let (clients, _) = login_managed(access, 0..SESSIONS).await?;
    for (index, client) in clients.into_iter().enumerate() {
        parts[index % AT_ONCE].sessions.push(Sender { client, sent: 0 });
    }
    calm(pid, CALM_LIMIT).await;
    let (parts, _) = turns_all(parts, pid, PROBE).await?;
    let (parts, probe) = turns_all(parts, pid, PROBE).await?;
    let count = calibrated(PROBE, probe.wall, MOST);
    calm(pid, CALM_LIMIT).await;
    let (parts, spent) = turns_all(parts, pid, count).await?;
    let total = count * AT_ONCE * BUSY_WINDOW;
    result.noise(spent);
    result.figure("wide.cpu", micros_each(spent.server, total));
    result.figure("wide.rate", total as f64 / spent.wall);
    result.notes.push(format!(
        "{total} messages in {:.1} s; the generator {:.2} µs each",
        spent.wall,
        micros_each(spent.generator, total)
    ));
    let (mut due, mut came, mut clients) = (0, 0, Vec::new());
    for part in parts {
        due += part.due;
        for Sender { mut client, .. } in part.sessions {
            client.drain().await?;
            came += client.scanner.messages;
            clients.push(client);
        }
    }
    close_all(clients).await;
    match came == due {
        true => Ok(result),
        false => Err(format!("{came} messages came where {due} were due")),
    }
}

/// As many turns of each part, all at once. The CPU ends with the server calm.
async fn turns_all(parts: Vec<Part>, pid: u32, count: usize) -> Outcome<(Vec<Part>, Spent)> {
    let body: Arc<str> = body(BODY).into();
    let window = Window::open(pid);
    let tasks: Vec<_> = parts
        .into_iter()
        .map(|mut part| {
            let body = Arc::clone(&body);
            tokio::spawn(async move {
                part.turns(count, &body).await?;
                Ok::<_, String>(part)
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
