//! Readers who do not read: what they cost the others.
//!
//! The open loop, beside floods: one after the other, over the whole time, a sender writes to a session that reads
//! nothing, more than may wait for it. Not as fast as it can, but so that the floods together fill the time: a full core
//! would delay everybody, whoever reads or not, and this generator first. The first writers of the loop have some of these sessions as
//! contacts and broadcast presence to them with every message.

use std::sync::Arc;
use std::time::Duration;

use super::message::message;
use super::{CALM_LIMIT, Result, body, open, quantile};
use crate::Outcome;
use crate::client::{Access, Client, close_all, jid, joined};
use crate::measure::{calm, resident};

/// Sessions that do not read.
const SLOW: usize = 50;
/// The account behind the open loop's. As everywhere the even one writes and the odd one reads, or does not.
const FIRST: usize = 2 * open::PAIRS;
pub(super) const ACCOUNTS: usize = FIRST + 2 * SLOW;
/// Pairs of the open loop whose writers have slow contacts.
const BROADCASTERS: usize = 10;
/// What is sent to each slow session: more than `limits.outbox_bytes` and the sockets' buffers hold.
const FLOOD_BYTES: usize = 12 << 20;
/// Bytes of the body of a flood's message.
const BODY: usize = 1_024;
/// Messages in one write of a flood.
const BATCH: usize = 16;
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(50);
/// How long a flood may go on behind the loop.
const FLOOD_LATE: Duration = Duration::from_secs(30);
/// Silence after which a slow session that reads at last counts as one that was not cut.
const SILENCE: Duration = Duration::from_secs(2);

pub(super) async fn run(access: &Arc<Access>, narrow: &Arc<Access>, pid: u32, rate: u32) -> Outcome<Result> {
    let mut result = Result::default();
    let mut pairs = open::warm(access, pid).await?;
    let (mut senders, mut slow) = (Vec::new(), Vec::new());
    for number in (FIRST..ACCOUNTS).step_by(2) {
        senders.push(Client::login(access, number, true).await?);
        slow.push(Client::login(narrow, number + 1, true).await?);
    }
    for (index, client) in slow.iter_mut().enumerate() {
        let to = jid(2 * (index % BROADCASTERS));
        client
            .send(format!("<presence to='{to}' type='subscribe'/>").as_bytes())
            .await?;
    }
    calm(pid, CALM_LIMIT).await;
    for index in 0..SLOW {
        let pair = &mut pairs[index % BROADCASTERS];
        pair.before = "<presence><show>away</show><status>still here</status></presence>".to_owned();
        let to = jid(FIRST + 2 * index + 1);
        pair.writer
            .send(format!("<presence to='{to}' type='subscribed'/>").as_bytes())
            .await?;
    }
    calm(pid, CALM_LIMIT).await;
    for client in slow.iter_mut().chain(&mut senders) {
        client.drain().await?;
    }
    for pair in &mut pairs {
        pair.writer.drain().await?;
        pair.reader.drain().await?;
    }

    let base = resident(pid);
    let floods: Vec<_> = senders
        .into_iter()
        .enumerate()
        .map(|(index, sender)| {
            let wait = open::TIME * u32::try_from(index).unwrap_or(0) / SLOW as u32;
            tokio::spawn(flood(sender, jid(FIRST + 2 * index + 1), wait))
        })
        .collect();
    let mut most = base;
    let mut drive = Box::pin(open::drive(pairs, pid, rate));
    let flow = loop {
        match tokio::time::timeout(LOOK, &mut drive).await {
            Ok(flow) => break flow?,
            Err(_) => most = most.max(resident(pid)),
        }
    };
    let mut all = flow.of(0..open::PAIRS);
    result.noise(flow.spent);
    result.figure("slow.p50", quantile(&mut all, 0.5));
    result.figure("slow.p99", quantile(&mut all, 0.99));
    result.notes.push(flow.note());
    result.notes.push(format!(
        "p99 of the {BROADCASTERS} with slow contacts {:.0} µs",
        quantile(&mut flow.of(0..BROADCASTERS), 0.99)
    ));
    let mut clients = Vec::with_capacity(SLOW);
    for flood in floods {
        let done = tokio::time::timeout(FLOOD_LATE, flood).await;
        clients.push(joined(done.map_err(|_| "a flood does not end")?)?);
    }
    calm(pid, CALM_LIMIT).await;
    let after = resident(pid);
    result.figure("slow.memory", (most.max(after) - base) / 1024.0);

    let endings: Vec<_> = slow.into_iter().map(|client| tokio::spawn(was_cut(client))).collect();
    let mut cut = 0;
    for ending in endings {
        cut += usize::from(ending.await.is_ok_and(|cut| cut));
    }
    calm(pid, CALM_LIMIT).await;
    result.notes.push(format!(
        "{SLOW} floods of {} MB, {cut} of their readers were cut; the server {:.2} CPU s in {:.1} s; memory {:+.1} MB \
         after the floods, {:+.1} MB when all had been read",
        FLOOD_BYTES >> 20,
        flow.spent.server,
        flow.spent.wall,
        (after - base) / 1024.0,
        (resident(pid) - base) / 1024.0,
    ));
    clients.extend(flow.clients);
    close_all(clients).await;
    Ok(result)
}

/// Waits, then writes at the rate at which the floods fill the time one after the other.
async fn flood(mut sender: Client, to: String, wait: Duration) -> Outcome<Client> {
    let body = body(BODY);
    let (mut text, mut sent, mut id) = (String::new(), 0, 0);
    tokio::time::sleep(wait).await;
    let started = tokio::time::Instant::now();
    while sent < FLOOD_BYTES {
        text.clear();
        for _ in 0..BATCH {
            message(&mut text, &to, id, &body);
            id += 1;
        }
        sender.send(text.as_bytes()).await?;
        sent += text.len();
        let share = sent as f64 / FLOOD_BYTES as f64;
        tokio::time::sleep_until(started + (open::TIME / SLOW as u32).mul_f64(share)).await;
    }
    Ok(sender)
}

/// Reads what a session has not read; tells whether its end was that the server had closed it.
async fn was_cut(mut client: Client) -> bool {
    loop {
        match tokio::time::timeout(SILENCE, client.read()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return true,
            Err(_) => return false,
        }
    }
}
