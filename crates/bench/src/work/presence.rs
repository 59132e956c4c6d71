//! Presence: everybody has the same number of contacts, and tells all of them something new.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{CALM_LIMIT, Result, calibrated, micros_each};
use crate::Outcome;
use crate::client::{Access, Client, close_all, jid, joined, login_all};
use crate::measure::{Spent, Window, calm};

pub(super) const USERS: usize = 80;
/// Contacts of each: half of them the next ones in a ring, half the ones before.
const CONTACTS: usize = 20;
/// What one broadcast comes to: each contact, and the sender's own session (RFC 6121 section 4.4.2).
const DELIVERIES: usize = CONTACTS + 1;
/// Broadcasts of each user that calibrate.
const PROBE: usize = 5;
/// The most broadcasts of a user in one run.
const MOST: usize = 20_000;

pub(super) async fn run(access: &Arc<Access>, pid: u32) -> Outcome<Result> {
    let mut result = Result::default();
    let (mut clients, _) = login_all(access, 0..USERS, true).await?;
    // RFC 6121 section 3.1: all ask, then all agree.
    for kind in ["subscribe", "subscribed"] {
        for (number, client) in clients.iter_mut().enumerate() {
            let mut text = String::new();
            for contact in contacts(number) {
                // Writing into a String cannot fail.
                let _ = write!(text, "<presence to='{}' type='{kind}'/>", jid(contact));
            }
            client.send(text.as_bytes()).await?;
        }
        calm(pid, CALM_LIMIT).await;
        for client in &mut clients {
            client.drain().await?;
        }
    }
    let (clients, probe) = broadcast(clients, pid, PROBE).await?;
    let count = calibrated(PROBE, probe.wall, MOST);
    calm(pid, CALM_LIMIT).await;
    let (clients, spent) = broadcast(clients, pid, count).await?;
    let total = count * USERS * DELIVERIES;
    result.noise(spent);
    result.figure("presence.cpu", micros_each(spent.server, total));
    result.figure("presence.rate", total as f64 / spent.wall);
    result.notes.push(format!(
        "{total} deliveries in {:.1} s; the generator {:.2} µs each",
        spent.wall,
        micros_each(spent.generator, total)
    ));
    close_all(clients).await;
    Ok(result)
}

fn contacts(number: usize) -> impl Iterator<Item = usize> {
    (1..=CONTACTS / 2).flat_map(move |step| [(number + step) % USERS, (number + USERS - step) % USERS])
}

/// Everybody broadcasts so often, each time as soon as all that one round brings has come.
async fn broadcast(clients: Vec<Client>, pid: u32, count: usize) -> Outcome<(Vec<Client>, Spent)> {
    let window = Window::open(pid);
    let tasks: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            tokio::spawn(async move {
                let mut wanted = client.scanner.presences;
                for round in 0..count {
                    let text = format!("<presence><show>away</show><status>round {round}</status></presence>");
                    client.send(text.as_bytes()).await?;
                    wanted += DELIVERIES as u64;
                    client.until(|scanner| scanner.presences >= wanted).await?;
                }
                Ok::<_, String>((client, wanted))
            })
        })
        .collect();
    let mut done = Vec::with_capacity(tasks.len());
    for task in tasks {
        done.push(joined(task.await)?);
    }
    let spent = window.close();
    // The last broadcasts of the neighbours are in `wanted`, so that no one may have more.
    let mut clients = Vec::with_capacity(done.len());
    for (mut client, wanted) in done {
        client.drain().await?;
        if client.scanner.presences != wanted {
            return Err(format!(
                "{} presences came where {wanted} were due",
                client.scanner.presences
            ));
        }
        clients.push(client);
    }
    Ok((clients, spent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contacts_are_mutual() {
        for number in 0..USERS {
            let all: Vec<_> = contacts(number).collect();
            assert_eq!(all.len(), CONTACTS);
            assert!(
                all.iter()
                    .all(|contact| *contact != number && contacts(*contact).any(|back| back == number))
            );
        }
    }
}
