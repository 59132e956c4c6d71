//! What sessions do while they are measured: messages between pairs, and presence to contacts.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::client::Client;
use super::cpu::{Spent, Window};
use super::server::jid;
use crate::Outcome;
use crate::client::joined;

/// The body of every message, 64 bytes.
const BODY: &str = "I would rather be a jackdaw than sit still, said one on a roof. ";

/// A work in a closed loop.
pub(super) struct Done {
    pub clients: Vec<Client>,
    /// Messages or deliveries.
    pub count: usize,
    pub spent: Spent,
}

impl Done {
    /// CPU of the server for one, in microseconds.
    pub(super) fn micros(&self) -> f64 {
        self.spent.server * 1e6 / self.count.max(1) as f64
    }
}

/// A sender, the reader, and the reader's name.
pub(super) type Pair = (Client, Client, String);

/// Every pair sends for so long with so many messages on the way, and waits for the last.
pub(super) async fn messages(pairs: Vec<Pair>, window: usize, time: Duration) -> Outcome<Done> {
    let pumps = pairs
        .into_iter()
        .map(|(writer, reader, to)| pump(writer, reader, jid(&to), window, time));
    all(pumps.collect()).await
}

async fn pump(
    mut writer: Client,
    mut reader: Client,
    to: String,
    window: usize,
    time: Duration,
) -> Outcome<(Vec<Client>, usize)> {
    let (first, bounced) = (reader.scanner.messages, writer.scanner.messages);
    let (mut sent, mut received, mut text) = (0, 0, String::new());
    let end = Instant::now() + time;
    loop {
        if Instant::now() < end {
            text.clear();
            for id in sent..received + window {
                // Writing into a String cannot fail.
                let _ = write!(
                    text,
                    "<message to='{to}' type='chat' id='m{id}'><body>{BODY}</body></message>"
                );
            }
            sent = received + window;
            writer.send(text.as_bytes()).await?;
        } else if received == sent {
            break;
        }
        reader.read().await?;
        received = usize::try_from(reader.scanner.messages - first).unwrap_or(usize::MAX);
    }
    writer.drain()?;
    match writer.scanner.messages - bounced {
        0 => Ok((vec![writer, reader], received)),
        count => Err(format!("{count} messages to {to} came back")),
    }
}

/// In every cluster the one in the middle, whose contacts the others are, broadcasts for so long, each time as soon as
/// everybody has what it said before. It is told too (RFC 6121 section 4.4.2), so one broadcast is as many deliveries
/// as there are members.
pub(super) async fn presences(clusters: Vec<Vec<Client>>, time: Duration) -> Outcome<Done> {
    all(clusters.into_iter().map(|cluster| broadcast(cluster, time)).collect()).await
}

async fn broadcast(mut cluster: Vec<Client>, time: Duration) -> Outcome<(Vec<Client>, usize)> {
    let first: Vec<u64> = cluster.iter().map(|client| client.scanner.presences).collect();
    let middle = cluster.len() / 2;
    let end = Instant::now() + time;
    let mut rounds = 0;
    while Instant::now() < end {
        let text = format!("<presence><show>away</show><status>round {rounds}</status></presence>");
        cluster[middle].send(text.as_bytes()).await?;
        rounds += 1;
        for (client, first) in cluster.iter_mut().zip(&first) {
            client.until(|scanner| scanner.presences >= first + rounds).await?;
        }
    }
    for (client, first) in cluster.iter_mut().zip(&first) {
        client.drain()?;
        if client.scanner.presences != first + rounds {
            return Err(format!("more presences than {rounds} broadcasts came"));
        }
    }
    let deliveries = usize::try_from(rounds).unwrap_or(usize::MAX) * cluster.len();
    Ok((cluster, deliveries))
}

/// Runs all at once; their clients come back in the same order.
async fn all(works: Vec<impl Future<Output = Outcome<(Vec<Client>, usize)>> + Send + 'static>) -> Outcome<Done> {
    let window = Window::open()?;
    let tasks: Vec<_> = works.into_iter().map(tokio::spawn).collect();
    let (mut clients, mut count) = (Vec::new(), 0);
    for task in tasks {
        let (its, done) = joined(task.await)?;
        clients.extend(its);
        count += done;
    }
    Ok(Done {
        clients,
        count,
        spent: window.close()?,
    })
}
