//! Whether the cost stays the same when the roster grows: busy messages between accounts with few and with many
//! contacts, and presence to few and to many.

use std::fmt::Write as _;
use std::sync::Arc;

use super::message::{BUSY_WINDOW, Pair, calibrated_loop};
use super::{CALM_LIMIT, Result, calibrated, micros_each};
use crate::Outcome;
use crate::client::{Access, Client, close_all, jid, joined, login_all};
use crate::measure::{Spent, Window, calm, memory};

const FEW: usize = 10;
/// As many as `limits.roster_items` allows by default.
const MANY: usize = 5_000;

/// Pairs of the messages.
const PAIRS: usize = 8;
/// Contacts that are set before the client waits for the answers.
const SETS: usize = 50;
/// Logins of each account for the note about logins.
const LOGINS: usize = 5;

/// One broadcaster with `MANY` readers; the same readers are also the contacts of others, `FEW` each.
const BROADCASTER: usize = 2 * PAIRS;
const BROADCASTERS: usize = MANY / FEW;
const READERS: usize = BROADCASTER + 1 + BROADCASTERS;
pub(super) const ACCOUNTS: usize = READERS + MANY;
/// Requests to subscribe that wait for an answer at the same time; `limits.subscription_requests_waiting` is 1,000.
const REQUESTS: usize = 500;
/// Broadcasts that calibrate.
const PROBE: usize = 3;
/// The most broadcasts in one run.
const MOST: usize = 10_000;

pub(super) async fn run(access: &Arc<Access>, pid: u32) -> Outcome<Result> {
    let mut result = Result::default();
    messages(access, pid, &mut result).await?;
    presence(access, pid, &mut result).await?;
    Ok(result)
}

async fn messages(access: &Arc<Access>, pid: u32, result: &mut Result) -> Outcome<()> {
    let pairs = Pair::login(access, PAIRS).await?;
    let pairs = fill(pairs, 0..FEW).await?;
    calm(pid, CALM_LIMIT).await;
    let (pairs, spent, total) = calibrated_loop(pairs, pid, BUSY_WINDOW).await?;
    result.noise(spent);
    result.figure("roster.msg.10", micros_each(spent.server, total));

    let before = memory(pid);
    let window = Window::open(pid);
    let pairs = fill(pairs, FEW..MANY).await?;
    calm(pid, CALM_LIMIT).await;
    let filled = window.close();
    let contacts = 2 * PAIRS * (MANY - FEW);
    result.notes.push(format!(
        "a contact set: {:.1} µs CPU, {:.2} kB",
        micros_each(filled.server, contacts),
        (memory(pid) - before) / contacts as f64
    ));
    let (pairs, spent, total) = calibrated_loop(pairs, pid, BUSY_WINDOW).await?;
    result.noise(spent);
    result.figure("roster.msg.5000", micros_each(spent.server, total));
    close_all(pairs.into_iter().flat_map(|pair| [pair.writer, pair.reader]).collect()).await;

    calm(pid, CALM_LIMIT).await;
    let mut server = 0.0;
    for _ in 0..LOGINS {
        let window = Window::open(pid);
        let (clients, _) = login_all(access, 0..2 * PAIRS, true).await?;
        calm(pid, CALM_LIMIT).await;
        server += window.close().server;
        close_all(clients).await;
        calm(pid, CALM_LIMIT).await;
    }
    result.notes.push(format!(
        "login with {MANY} contacts, roster included: {:.2} ms CPU",
        server * 1000.0 / (LOGINS * 2 * PAIRS) as f64
    ));
    Ok(())
}

/// Puts contacts with these numbers into the rosters of all: contact 0 is the other one of the pair, all others are
/// accounts that do not exist.
async fn fill(pairs: Vec<Pair>, numbers: std::ops::Range<usize>) -> Outcome<Vec<Pair>> {
    let mut tasks = Vec::with_capacity(pairs.len());
    for (index, mut pair) in pairs.into_iter().enumerate() {
        let numbers = numbers.clone();
        tasks.push(tokio::spawn(async move {
            set(&mut pair.writer, &pair.to, numbers.clone()).await?;
            set(&mut pair.reader, &jid(2 * index), numbers).await?;
            Ok::<_, String>(pair)
        }));
    }
    let mut pairs = Vec::with_capacity(tasks.len());
    for task in tasks {
        pairs.push(joined(task.await)?);
    }
    Ok(pairs)
}

async fn set(client: &mut Client, other: &str, numbers: std::ops::Range<usize>) -> Outcome<()> {
    let mut text = String::new();
    let mut wanted = client.scanner.iqs;
    let last = numbers.end;
    for number in numbers {
        let contact = match number {
            0 => other.to_owned(),
            _ => format!("friend{number}.{other}"),
        };
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "<iq type='set' id='r{number}'><query xmlns='jabber:iq:roster'><item jid='{contact}' name='Friend \
             {number}'/></query></iq>"
        );
        // A push and a result.
        wanted += 2;
        if (number + 1) % SETS == 0 || number + 1 == last {
            client.send(text.as_bytes()).await?;
            text.clear();
            client.until(|scanner| scanner.iqs >= wanted).await?;
        }
    }
    Ok(())
}

/// The same readers get the same number of presences, in one case from one sender, in the other from many.
async fn presence(access: &Arc<Access>, pid: u32, result: &mut Result) -> Outcome<()> {
    let (mut senders, _) = login_all(access, BROADCASTER..READERS, true).await?;
    let mut few = senders.split_off(1);
    let mut many = senders;
    let (mut readers, _) = login_all(access, READERS..ACCOUNTS, true).await?;
    for first in (0..MANY).step_by(REQUESTS) {
        let numbers = first..first + REQUESTS;
        for number in numbers.clone() {
            let (one, other) = (jid(BROADCASTER), jid(BROADCASTER + 1 + number / FEW));
            let text = format!("<presence to='{one}' type='subscribe'/><presence to='{other}' type='subscribe'/>");
            readers[number].send(text.as_bytes()).await?;
        }
        calm(pid, CALM_LIMIT).await;
        for number in numbers {
            let text = format!("<presence to='{}' type='subscribed'/>", jid(READERS + number));
            many[0].send(text.as_bytes()).await?;
            few[number / FEW].send(text.as_bytes()).await?;
        }
        calm(pid, CALM_LIMIT).await;
        for client in many.iter_mut().chain(&mut few) {
            client.drain().await?;
        }
    }
    for reader in &mut readers {
        reader.drain().await?;
    }
    for (key, senders) in [("roster.presence.10", &mut few), ("roster.presence.5000", &mut many)] {
        broadcasts(senders, &mut readers, pid, PROBE).await?;
        let probe = broadcasts(senders, &mut readers, pid, PROBE).await?;
        let count = calibrated(PROBE, probe.wall, MOST);
        calm(pid, CALM_LIMIT).await;
        let spent = broadcasts(senders, &mut readers, pid, count).await?;
        result.noise(spent);
        // Each sender's own session gets its presence too (RFC 6121 section 4.4.2).
        let deliveries = count * (MANY + senders.len());
        result.figure(key, micros_each(spent.server, deliveries));
        result.notes.push(format!(
            "{deliveries} deliveries from {} in {:.1} s",
            senders.len(),
            spent.wall
        ));
    }
    close_all(many.into_iter().chain(few).chain(readers).collect()).await;
    Ok(())
}

/// All senders broadcast so often, each time as soon as all that one round brings has come.
async fn broadcasts(senders: &mut [Client], readers: &mut [Client], pid: u32, count: usize) -> Outcome<Spent> {
    let window = Window::open(pid);
    for round in 0..count {
        let text = format!("<presence><show>away</show><status>round {round}</status></presence>");
        let wanted: Vec<u64> = readers.iter().map(|reader| reader.scanner.presences + 1).collect();
        for sender in &mut *senders {
            sender.send(text.as_bytes()).await?;
        }
        for (reader, wanted) in readers.iter_mut().zip(wanted) {
            reader.until(|scanner| scanner.presences >= wanted).await?;
        }
        for sender in &mut *senders {
            sender.drain().await?;
        }
    }
    let spent = window.close();
    for reader in readers {
        let before = reader.scanner.presences;
        reader.drain().await?;
        if reader.scanner.presences != before {
            return Err("more presences came than were due".to_owned());
        }
    }
    Ok(spent)
}
