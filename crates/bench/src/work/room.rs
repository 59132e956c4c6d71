//! Rooms (XEP-0045): what a message costs for each who gets it, what an occupant holds, and what a room of thousands
//! costs those who come in.
//!
//! Rooms are archived, as all of the servers do by default or when told to. Who comes in wants no history: what is
//! compared is the same on the wire.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::Notify;

use super::idle::HOLD;
use super::message::BODY;
use super::{CALM_LIMIT, Result, body, calibrated, micros_each, quantile};
use crate::Outcome;
use crate::client::{Access, Client, DOMAIN, all_of, close_all, joined, login_all};
use crate::measure::{Spent, Window, calm, memory};

/// Occupants of the rooms in which somebody speaks, whether they have TLS, and the rows for the windows of 4 and of 1.
const SPOKEN: [(usize, bool, [&str; 3]); 3] = [
    (100, true, ["room.100.cpu", "room.100.rate", "room.100.single"]),
    (300, false, ["room.300.cpu", "room.300.rate", "room.300.single"]),
    (500, true, ["room.500.cpu", "room.500.rate", "room.500.single"]),
];
/// The largest of them.
pub(super) const OCCUPANTS: usize = 500;
/// Messages on their way at a time.
const WINDOW: usize = 4;
/// Messages that calibrate.
const PROBE: usize = 40;
/// The most messages in one run.
const MOST: usize = 100_000;

/// Occupants whose memory is measured, in one room.
pub(super) const IDLE: usize = 1_000;
/// Those who come and go before, so that code paths and caches are warm.
const WARM: usize = 50;
/// Clients that come in before all read what has come for them.
const STEP: usize = 50;

/// A room of thousands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Large {
    pub occupants: usize,
    /// Only moderators are shown to all. Otherwise filling a room takes the square of its occupants.
    pub is_quiet: bool,
    /// Those who come in when it is full.
    pub joins: usize,
    /// Messages, one at a time.
    pub messages: usize,
    /// The rows: coming in and its CPU, a message until the last has it and the CPU of a delivery.
    pub keys: [&'static str; 4],
}

pub(super) const LARGE: Large = Large {
    occupants: 1_000,
    is_quiet: false,
    joins: 30,
    messages: 100,
    keys: [
        "room.1000.join",
        "room.1000.join.cpu",
        "room.1000.message",
        "room.1000.message.cpu",
    ],
};
pub(super) const HUGE: Large = Large {
    occupants: 10_000,
    is_quiet: true,
    joins: 30,
    messages: 20,
    keys: [
        "room.quiet.join",
        "room.quiet.join.cpu",
        "room.quiet.message",
        "room.quiet.message.cpu",
    ],
};
pub(super) const HUGE_SHOWN: Large = Large {
    is_quiet: false,
    joins: 20,
    keys: [
        "room.10000.join",
        "room.10000.join.cpu",
        "room.10000.message",
        "room.10000.message.cpu",
    ],
    ..HUGE
};

impl Large {
    pub(super) fn accounts(&self) -> usize {
        self.occupants + self.joins
    }
}

fn room(name: &str) -> String {
    format!("{name}@conference.{DOMAIN}")
}

/// Comes in, and reads until the subject, which is last (section 7.2.15).
async fn enter(client: &mut Client, room: &str, number: usize) -> Outcome<()> {
    let before = client.scanner.messages;
    let join = format!(
        "<presence to='{room}/nick{number}'><x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x>\
         </presence>"
    );
    client.send(join.as_bytes()).await?;
    let came = client.until(|scanner| scanner.messages > before).await;
    came.map_err(|error| format!("{room} does not let {number} in: {error}"))
}

/// Makes a room, with these fields beside what is the default (sections 10.1.2 and 10.1.3).
async fn create(owner: &mut Client, room: &str, fields: &str) -> Outcome<()> {
    enter(owner, room, 0).await?;
    let form = match fields.is_empty() {
        true => String::new(),
        false => format!(
            "<field var='FORM_TYPE' type='hidden'><value>http://jabber.org/protocol/muc#roomconfig</value></field>{fields}"
        ),
    };
    let answer = owner
        .hear(&format!(
            "<iq type='set' id='owner' to='{room}'><query xmlns='http://jabber.org/protocol/muc#owner'>\
             <x xmlns='jabber:x:data' type='submit'>{form}</x></query></iq>"
        ))
        .await?;
    match answer.contains("type='error'") || answer.contains("type=\"error\"") {
        true => Err(format!("{room} cannot be configured: {answer}")),
        false => Ok(()),
    }
}

/// All of these come in, one after the other; the first makes the room.
async fn fill(clients: &mut [Client], room: &str, fields: &str) -> Outcome<()> {
    if let Some(owner) = clients.first_mut() {
        create(owner, room, fields).await?;
    }
    for number in 1..clients.len() {
        enter(&mut clients[number], room, number).await?;
        if number % STEP == 0 {
            drain(&mut clients[..=number]).await?;
        }
    }
    drain(clients).await
}

async fn drain(clients: &mut [Client]) -> Outcome<()> {
    for client in clients {
        client.drain().await?;
    }
    Ok(())
}

/// Presences that have come.
fn presences(clients: &[Client]) -> u64 {
    clients.iter().map(|client| client.scanner.presences).sum()
}

/// Somebody speaks in rooms of several sizes, with one message or a few on their way.
pub(super) async fn spoken(tls: &Arc<Access>, plain: &Arc<Access>, pid: u32) -> Outcome<Result> {
    let mut result = Result::default();
    for (occupants, is_encrypted, [cpu, rate, single]) in SPOKEN {
        let access = if is_encrypted { tls } else { plain };
        let (mut clients, _) = login_all(access, 0..occupants, true).await?;
        fill(&mut clients, &room(&format!("of{occupants}")), "").await?;
        calm(pid, CALM_LIMIT).await;
        drain(&mut clients).await?;
        let mut talk = Talk {
            room: room(&format!("of{occupants}")).into(),
            clients,
        };
        for (key, window) in [(cpu, WINDOW), (single, 1)] {
            talk.messages(pid, PROBE, window).await?;
            let probe = talk.messages(pid, PROBE, window).await?;
            let count = calibrated(PROBE, probe.wall, MOST);
            calm(pid, CALM_LIMIT).await;
            let spent = talk.messages(pid, count, window).await?;
            let total = count * occupants;
            result.noise(spent);
            result.figure(key, micros_each(spent.server, total));
            if window == WINDOW {
                result.figure(rate, total as f64 / spent.wall);
            }
            result.notes.push(format!(
                "{count} messages to {occupants}, window {window}, in {:.1} s: {:.2} µs each of it in the kernel; the \
                 generator {:.2} µs each",
                spent.wall,
                micros_each(spent.kernel, total),
                micros_each(spent.generator, total)
            ));
        }
        close_all(talk.clients).await;
        calm(pid, CALM_LIMIT).await;
    }
    Ok(result)
}

/// A room in which the first one speaks and all listen.
struct Talk {
    room: Arc<str>,
    clients: Vec<Client>,
}

/// How far it is.
struct Progress {
    /// Messages that have come, of all occupants together.
    came: AtomicU64,
    /// The speaker may have something to say.
    more: Notify,
}

impl Talk {
    /// So many messages. On their way are at most `window`, as the occupants see it together: what came to all of
    /// them, divided by their number.
    async fn messages(&mut self, pid: u32, count: usize, window: usize) -> Outcome<Spent> {
        let occupants = self.clients.len() as u64;
        let progress = Arc::new(Progress {
            came: AtomicU64::new(0),
            more: Notify::new(),
        });
        let wanted = count as u64;
        let before: Vec<u64> = self.clients.iter().map(|client| client.scanner.messages).collect();
        let spending = Window::open(pid);
        let mut tasks = Vec::with_capacity(self.clients.len());
        for (number, mut client) in std::mem::take(&mut self.clients).into_iter().enumerate() {
            let (progress, room) = (Arc::clone(&progress), Arc::clone(&self.room));
            tasks.push(tokio::spawn(async move {
                match number {
                    0 => speak(&mut client, &progress, &room, wanted, window as u64, occupants).await?,
                    _ => listen(&mut client, &progress, wanted).await?,
                }
                Ok::<_, String>(client)
            }));
        }
        for task in tasks {
            self.clients.push(joined(task.await)?);
        }
        let spent = spending.close();
        for (client, before) in self.clients.iter_mut().zip(before) {
            client.drain().await?;
            let came = client.scanner.messages - before;
            if came != wanted {
                return Err(format!("{came} messages came where {wanted} were due"));
            }
        }
        Ok(spent)
    }
}

/// Reads until all messages are there.
async fn listen(client: &mut Client, progress: &Progress, wanted: u64) -> Outcome<()> {
    let end = client.scanner.messages + wanted;
    while client.scanner.messages < end {
        read(client, progress).await?;
    }
    Ok(())
}

async fn read(client: &mut Client, progress: &Progress) -> Outcome<()> {
    let before = client.scanner.messages;
    client.read().await?;
    let came = client.scanner.messages - before;
    progress.came.fetch_add(came, Ordering::Relaxed);
    progress.more.notify_one();
    Ok(())
}

/// The same, and writes them.
async fn speak(
    client: &mut Client,
    progress: &Progress,
    room: &str,
    wanted: u64,
    window: u64,
    occupants: u64,
) -> Outcome<()> {
    let end = client.scanner.messages + wanted;
    let (mut sent, mut text, body) = (0, String::new(), body(BODY));
    loop {
        let done = progress.came.load(Ordering::Relaxed) / occupants;
        let now = (done + window).min(wanted);
        text.clear();
        for id in sent..now {
            message(&mut text, room, id, &body);
        }
        if !text.is_empty() {
            client.send(text.as_bytes()).await?;
            sent = now;
        }
        match (sent < wanted, client.scanner.messages < end) {
            (false, false) => return Ok(()),
            (false, true) => read(client, progress).await?,
            (true, false) => progress.more.notified().await,
            (true, true) => tokio::select! {
                came = read(client, progress) => came?,
                () = progress.more.notified() => {}
            },
        }
    }
}

fn message(text: &mut String, room: &str, id: u64, body: &str) {
    // Writing into a String cannot fail.
    let _ = write!(
        text,
        "<message to='{room}' type='groupchat' id='g{id}'><body>{body}</body></message>"
    );
}

/// Memory of an occupant beyond his session, and the CPU of filling a room in which everybody is shown to everybody.
pub(super) async fn idle(access: &Arc<Access>, pid: u32) -> Outcome<Result> {
    let mut result = Result::default();
    let (mut clients, _) = login_all(access, 0..IDLE, true).await?;
    let warm = room("warm");
    fill(&mut clients[..WARM], &warm, "").await?;
    for (number, client) in clients[..WARM].iter_mut().enumerate() {
        let leave = format!("<presence to='{warm}/nick{number}' type='unavailable'/>");
        client.send(leave.as_bytes()).await?;
    }
    calm(pid, CALM_LIMIT).await;
    drain(&mut clients).await?;
    tokio::time::sleep(HOLD).await;
    let (base, before) = (memory(pid), presences(&clients));
    let window = Window::open(pid);
    fill(&mut clients, &room("idle"), "").await?;
    let spent = window.close();
    calm(pid, CALM_LIMIT).await;
    let server = window.close().server;
    drain(&mut clients).await?;
    result.noise(spent);
    tokio::time::sleep(HOLD).await;
    let came = presences(&clients) - before;
    // As many as there are pairs, both ways, and each once to himself; ejabberd tells him twice.
    let due = (IDLE * IDLE) as u64;
    if !(due..=due + IDLE as u64).contains(&came) {
        return Err(format!("{came} presences came where {due} were due"));
    }
    result.figure("room.memory", (memory(pid) - base) / IDLE as f64);
    result.figure("room.fill", micros_each(server, IDLE * IDLE));
    result.notes.push(format!(
        "filled in {:.1} s; the generator {:.2} µs for each presence; base {:.1} MB",
        spent.wall,
        micros_each(spent.generator, IDLE * IDLE),
        base / 1024.0
    ));
    close_all(clients).await;
    Ok(result)
}

/// What it is like to come into a room of thousands, and to speak there.
pub(super) async fn large(access: &Arc<Access>, pid: u32, large: &Large) -> Outcome<Result> {
    let mut result = Result::default();
    let [join, join_cpu, message_time, message_cpu] = large.keys;
    let room: Arc<str> = room("large").into();
    let (mut clients, _) = login_all(access, 0..large.occupants, true).await?;
    let (mut late, _) = login_all(access, large.occupants..large.accounts(), true).await?;
    let filling = Window::open(pid);
    if large.is_quiet {
        let fields = "<field var='muc#roomconfig_presencebroadcast'><value>moderator</value></field>";
        create(&mut clients[0], &room, fields).await?;
        clients = entered(clients, &room).await?;
    } else {
        fill(&mut clients, &room, "").await?;
    }
    let filled = filling.close();
    calm(pid, CALM_LIMIT).await;
    drain(&mut clients).await?;

    let mut times = Vec::with_capacity(late.len());
    let mut server = 0.0;
    for (number, client) in late.iter_mut().enumerate() {
        let window = Window::open(pid);
        let started = Instant::now();
        enter(client, &room, large.occupants + number).await?;
        times.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
        // The others are told too.
        if !large.is_quiet {
            for other in &mut clients {
                let due = other.scanner.presences;
                other.until(|scanner| scanner.presences > due).await?;
            }
        }
        let spent = window.close();
        server += spent.server;
        result.noise(spent);
    }
    result.figure(join, quantile(&mut times, 0.5) / 1000.0);
    result.figure(join_cpu, server * 1000.0 / large.joins as f64);
    clients.append(&mut late);
    calm(pid, CALM_LIMIT).await;
    drain(&mut clients).await?;

    let (mut times, mut text, body) = (Vec::with_capacity(large.messages), String::new(), body(BODY));
    let window = Window::open(pid);
    for id in 0..large.messages as u64 {
        let before: Vec<u64> = clients.iter().map(|client| client.scanner.messages).collect();
        text.clear();
        message(&mut text, &room, id, &body);
        let started = Instant::now();
        clients[0].send(text.as_bytes()).await?;
        for (client, before) in clients.iter_mut().zip(before) {
            client.until(|scanner| scanner.messages > before).await?;
        }
        times.push(u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX));
    }
    let spent = window.close();
    result.noise(spent);
    result.figure(message_time, quantile(&mut times, 0.5) / 1000.0);
    result.figure(message_cpu, micros_each(spent.server, large.messages * clients.len()));
    result.notes.push(format!(
        "filled in {:.1} s with {:.2} CPU s; the generator {:.2} µs for each delivery of a message",
        filled.wall,
        filled.server,
        micros_each(spent.generator, large.messages * clients.len())
    ));
    close_all(clients).await;
    Ok(result)
}

/// All but the first come in, some at a time.
async fn entered(mut clients: Vec<Client>, room: &Arc<str>) -> Outcome<Vec<Client>> {
    let owner = clients.remove(0);
    let count = clients.len();
    let waiting = Arc::new(std::sync::Mutex::new(clients));
    let room = Arc::clone(room);
    let one = move |number: usize| {
        let (waiting, room) = (Arc::clone(&waiting), Arc::clone(&room));
        async move {
            let client = waiting.lock().map_err(|_| "poisoned")?.pop();
            let mut client = client.ok_or("nobody is left")?;
            enter(&mut client, &room, number).await?;
            Ok(client)
        }
    };
    let (mut clients, _) = all_of(1..count + 1, one).await?;
    clients.insert(0, owner);
    Ok(clients)
}
