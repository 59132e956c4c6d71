//! Messages to users who are away, and their way back when they come.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{CALM_LIMIT, Result, body, calibrated, micros_each};
use crate::Outcome;
use crate::client::{Access, Client, close_all, jid, login_all};
use crate::measure::{Spent, Window, calm};

/// Users who are away; the one behind them writes.
pub(super) const USERS: usize = 5;
const BODY: usize = 64;
/// Messages in one write.
const BATCH: usize = 20;
/// Messages on the way before the writer waits for the server.
const AHEAD: usize = 200;
/// Messages to each user that calibrate.
const PROBE: usize = 100;
/// The most messages to a user in one run.
const MOST: usize = 20_000;

pub(super) async fn run(access: &Arc<Access>, pid: u32) -> Outcome<Result> {
    let mut result = Result::default();
    let (mut writer, _) = login_all(access, USERS..USERS + 1, true).await?;
    let Some(writer_one) = writer.first_mut() else {
        return Err("no writer".to_owned());
    };
    let probe = store(writer_one, pid, PROBE).await?;
    fetch(access, pid, PROBE).await?;
    let count = calibrated(PROBE, probe.wall, MOST);
    calm(pid, CALM_LIMIT).await;

    let stored = store(writer_one, pid, count).await?;
    result.noise(stored);
    result.figure("offline.store", micros_each(stored.server, count * USERS));
    result.notes.push(format!(
        "{} written, {:.0} a second",
        count * USERS,
        (count * USERS) as f64 / stored.wall
    ));

    let fetched = fetch(access, pid, count).await?;
    result.noise(fetched);
    result.figure("offline.fetch", micros_each(fetched.server, count * USERS));
    result
        .notes
        .push(format!("{:.0} fetched a second", (count * USERS) as f64 / fetched.wall));
    close_all(writer).await;
    Ok(result)
}

/// Writes so many messages to each user. The wall time ends with the last answer, the CPU with the server calm.
async fn store(writer: &mut Client, pid: u32, count: usize) -> Outcome<Spent> {
    let (body, mut text) = (body(BODY), String::new());
    let bounced = writer.scanner.messages;
    let window = Window::open(pid);
    let total = count * USERS;
    for id in 0..total {
        // Writing into a String cannot fail.
        let to = jid(id % USERS);
        let _ = write!(
            text,
            "<message to='{to}' type='chat' id='o{id}'><body>{body}</body></message>"
        );
        if (id + 1) % BATCH == 0 || id + 1 == total {
            writer.send(text.as_bytes()).await?;
            text.clear();
        }
        if (id + 1) % AHEAD == 0 || id + 1 == total {
            writer.ping().await?;
        }
    }
    let written = window.close();
    calm(pid, CALM_LIMIT).await;
    writer.drain().await?;
    match writer.scanner.messages - bounced {
        0 => Ok(Spent {
            server: window.close().server,
            ..written
        }),
        came => Err(format!("{came} of {total} messages came back")),
    }
}

/// Lets all users come and get what waits for them; logging in is not part of it.
async fn fetch(access: &Arc<Access>, pid: u32, count: usize) -> Outcome<Spent> {
    let (mut readers, _) = login_all(access, 0..USERS, false).await?;
    calm(pid, CALM_LIMIT).await;
    let window = Window::open(pid);
    for reader in &mut readers {
        reader.send(b"<presence/>").await?;
    }
    for reader in &mut readers {
        reader.until(|scanner| scanner.messages >= count as u64).await?;
    }
    let fetched = window.close();
    calm(pid, CALM_LIMIT).await;
    let server = window.close().server;
    for reader in &mut readers {
        reader.drain().await?;
        if reader.scanner.messages != count as u64 {
            return Err(format!(
                "{} messages came where {count} were stored",
                reader.scanner.messages
            ));
        }
    }
    close_all(readers).await;
    calm(pid, CALM_LIMIT).await;
    Ok(Spent { server, ..fetched })
}
