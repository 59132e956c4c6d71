//! `bench scale`: how memory and CPU grow with the number of sessions, up to a million, and with the contact list.
//!
//! - `pipe.rs` is what stands for the network, `record.rs` and `client.rs` the clients, `server.rs` the server.
//! - `crowd.rs` are all sessions, `load.rs` what some of them do, `cpu.rs` what it costs.
//!
//! Server and clients share a process, so two things are separated that a process separates elsewhere: CPU by thread,
//! and memory by leaving of a client, once it is logged in, nothing but what is known in bytes.

#[cfg(not(target_env = "msvc"))]
// The server's own, so that memory is what it is in the server. `pub` is for the other program.
#[allow(unreachable_pub)]
#[path = "../../../jackdaw/src/allocator.rs"]
mod allocator;
mod client;
mod cpu;
mod crowd;
mod load;
mod pipe;
mod record;
mod report;
mod server;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use crate::client::joined;
use crate::measure::memory;
use crate::{Outcome, build_folder, command, root};
use client::{Access, Client};
use cpu::{Window, calm};
use crowd::{CLUSTER, Crowd, Random};
use load::{Done, Pair};
use report::{Left, Results, RosterSize, Size};
use server::{FORGOTTEN_AFTER, NewAccount, Server};

/// The sizes of the curve.
pub(crate) const SIZES: [usize; 6] = [10, 100, 1_000, 10_000, 100_000, 1_000_000];
/// The lengths of a contact list.
const ROSTERS: [usize; 4] = [10, 100, 1_000, 5_000];
/// Pairs and messages on the way of each, as in the measurement over sockets.
const BUSY_PAIRS: usize = 20;
const BUSY_WINDOW: usize = 32;
/// Pairs whose messages go one at a time.
const SPREAD_PAIRS: usize = 1_000;
/// Pairs of the measurement with long contact lists.
const ROSTER_PAIRS: usize = 40;
/// Clusters of contacts that broadcast; enough for the pairs too.
const CLUSTERS: usize = 700;
/// How long each work is done before it is measured, and then.
const WARM: Duration = Duration::from_millis(500);
const MEASURED: Duration = Duration::from_secs(3);
/// Sessions that come and go before the base of the memory is read. Few, as what they leave behind is used by the next.
const FIRST: usize = 100;
/// Calm seconds before memory is read, in which idle CPU is measured: two sweeps of the server.
const HOLD: Duration = Duration::from_secs(10);
/// The longest wait for the server to have nothing to do.
const CALM_LIMIT: Duration = Duration::from_secs(30);
/// How long after the last session left memory is watched, at most.
const BACK: Duration = Duration::from_secs(60);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(500);
/// Share of the base that may be left to count as back.
const BACK_AT: f64 = 0.05;
/// Every run chooses the same sessions.
const SEED: u64 = 0x6a61_636b_6461_7721;

/// Measures both curves. `sizes` ascend.
pub(crate) fn run(sizes: &[usize], save: bool) -> Outcome<bool> {
    if !sizes.is_sorted_by(|one, other| one < other) {
        return Err("sizes must ascend".to_owned());
    }
    let folder = build_folder().join("bench/scale");
    let servers = runtime(cpu::SERVER)?;
    let clients = runtime(cpu::CLIENTS)?;
    let mut results = Results::default();
    curve(sizes, &servers, &clients, &folder, &mut results)?;
    rosters(&servers, &clients, &folder, &mut results)?;
    // A database of a million accounts is nothing to keep.
    let _ = std::fs::remove_dir_all(&folder);
    println!("\n{}", results.tables());
    if save {
        let page = root().join("docs/performance-scale.md");
        std::fs::write(&page, results.page(&command())).map_err(|error| format!("{}: {error}", page.display()))?;
        println!("written: docs/performance-scale.md");
    }
    Ok(results.refused == 0)
}

/// As many threads as there are cores, as the server has.
fn runtime(name: &'static str) -> Outcome<Runtime> {
    let runtime = Builder::new_multi_thread().enable_all().thread_name(name).build();
    runtime.map_err(|error| format!("runtime: {error}"))
}

fn fresh(folder: &Path) -> Outcome<()> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed(error)),
        _ => std::fs::create_dir_all(folder).map_err(failed),
    }
}

fn curve(sizes: &[usize], servers: &Runtime, clients: &Runtime, folder: &Path, results: &mut Results) -> Outcome<()> {
    let Some(&largest) = sizes.last() else { return Ok(()) };
    fresh(folder)?;
    let server = Server::start(servers.handle(), folder)?;
    let crowd = Crowd::new(Access::new(server.door()), largest)?;
    let begun = Instant::now();
    server.add(crowd.accounts())?;
    eprintln!("{largest} accounts written in {:.1} s", begun.elapsed().as_secs_f64());
    clients.block_on(async {
        // Code, caches of the store and buffers of threads are there before the first session counts.
        crowd.grow(FIRST.min(largest)).await?;
        crowd.leave(server.is_behind()).await?;
        let base = base(&server).await?;
        eprintln!("base {:.1} MB", base / 1024.0);
        for &sessions in sizes {
            let size = one_size(&crowd, &server, sessions, base).await?;
            eprintln!("{size:.3?}");
            results.sizes.push(size);
        }
        results.left = leave(&crowd, &server, base).await?;
        eprintln!("{:.3?}", results.left);
        Ok::<_, String>(())
    })?;
    results.refused += server.refused();
    server.close();
    Ok(())
}

async fn one_size(crowd: &Crowd, server: &Server, sessions: usize, base: f64) -> Outcome<Size> {
    let mut size = Size {
        sessions,
        ..Size::default()
    };
    let before = crowd.len();
    let window = Window::open()?;
    crowd.grow(sessions).await?;
    let grown = window.close()?;
    calm(CALM_LIMIT).await?;
    let new = (sessions - before) as f64;
    size.login = window.close()?.server * 1000.0 / new;
    size.logins_per_second = new / grown.wall;
    eprintln!(
        "{sessions} sessions: {:.0} logins/s, the clients {:.3} ms each",
        size.logins_per_second,
        grown.clients * 1000.0 / new
    );
    if server.connections() != sessions {
        return Err(format!("{} of {sessions} sessions are there", server.connections()));
    }

    let window = Window::open()?;
    tokio::time::sleep(HOLD).await;
    let idle = window.close()?;
    size.idle = idle.server * 1000.0 / idle.wall;
    let own = (pipe::BYTES + client::PARKED_BYTES) as f64 / 1024.0;
    size.memory = (memory(std::process::id()) - base) / sessions as f64 - own;

    let mut random = Random::new(SEED + sessions as u64);
    let starts = crowd.clusters(CLUSTERS, &mut random);
    let mut numbers: Vec<usize> = starts.iter().flat_map(|first| *first..first + CLUSTER).collect();
    random.shuffle(&mut numbers);
    numbers.truncate(2 * SPREAD_PAIRS);
    let pairs = numbers.len() / 2;
    let busy = pairs.min(BUSY_PAIRS);
    let done = pairs_do(crowd, &numbers[..2 * busy], BUSY_WINDOW).await?;
    size.busy = (busy, done.micros());
    crowd.park(done.clients)?;
    let done = pairs_do(crowd, &numbers[..2 * pairs], 1).await?;
    size.spread = (pairs, done.micros());
    crowd.park(done.clients)?;

    let mut active = crowd.resume(starts.iter().flat_map(|first| *first..first + CLUSTER))?;
    for time in [WARM, MEASURED] {
        let mut clusters = Vec::with_capacity(starts.len());
        while !active.is_empty() {
            clusters.push(active.split_off(active.len() - CLUSTER));
        }
        clusters.reverse();
        let done = load::presences(clusters, time).await?;
        size.presence = (starts.len(), done.micros());
        active = done.clients;
    }
    crowd.park(active)?;
    Ok(size)
}

/// Messages between these sessions, each with the next.
async fn pairs_do(crowd: &Crowd, numbers: &[usize], window: usize) -> Outcome<Done> {
    let clients = crowd.resume(numbers.iter().copied())?;
    measured(clients, window, |reader| crowd.user(reader.number)).await
}

/// Warms up and measures; writers and readers take turns in the list.
async fn measured(clients: Vec<Client>, window: usize, name: impl Fn(&Client) -> String) -> Outcome<Done> {
    let done = load::messages(paired(clients, &name), window, WARM).await?;
    load::messages(paired(done.clients, &name), window, MEASURED).await
}

fn paired(clients: Vec<Client>, name: impl Fn(&Client) -> String) -> Vec<Pair> {
    let mut clients = clients.into_iter();
    let mut pairs = Vec::with_capacity(clients.len() / 2);
    while let (Some(writer), Some(reader)) = (clients.next(), clients.next()) {
        let to = name(&reader);
        pairs.push((writer, reader, to));
    }
    pairs
}

/// Memory in kB when the first sessions have left and are forgotten.
async fn base(server: &Server) -> Outcome<f64> {
    tokio::time::sleep(FORGOTTEN_AFTER + HOLD).await;
    match server.connections() {
        0 => Ok(memory(std::process::id())),
        left => Err(format!("{left} connections are left")),
    }
}

/// Waits until memory is back at `base`: what it is then in kB, and how many seconds it took.
async fn back(base: f64) -> (f64, f64) {
    let begun = Instant::now();
    loop {
        let now = memory(std::process::id());
        if now - base <= base * BACK_AT || begun.elapsed() >= BACK {
            return (now, begun.elapsed().as_secs_f64());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn leave(crowd: &Crowd, server: &Server, base: f64) -> Outcome<Left> {
    let sessions = crowd.len();
    let window = Window::open()?;
    crowd.leave(server.is_behind()).await?;
    let (now, seconds) = back(base).await;
    if server.connections() != 0 {
        return Err(format!("{} connections are left", server.connections()));
    }
    Ok(Left {
        sessions,
        logout: window.close()?.server * 1000.0 / sessions as f64,
        kept: (now - base) / 1024.0,
        base: base / 1024.0,
        seconds,
    })
}

fn rosters(servers: &Runtime, clients: &Runtime, folder: &Path, results: &mut Results) -> Outcome<()> {
    fresh(folder)?;
    let server = Server::start(servers.handle(), folder)?;
    let access = Access::new(server.door());
    let writer = |contacts: usize, pair: usize| format!("writer{contacts}x{pair}");
    let reader = |contacts: usize, pair: usize| format!("reader{contacts}x{pair}");
    for contacts in ROSTERS {
        server.add((0..ROSTER_PAIRS).flat_map(|pair| {
            let (writer, reader) = (writer(contacts, pair), reader(contacts, pair));
            let friends = (1..contacts).map(|friend| format!("friend{friend}x{pair}"));
            [
                NewAccount {
                    user: writer.clone(),
                    contacts: friends.chain([reader.clone()]).collect(),
                },
                NewAccount {
                    user: reader,
                    contacts: vec![writer],
                },
            ]
        }))?;
    }
    clients.block_on(async {
        // The shortest comes twice, as the first is dearer than it will ever be again; only its second figures stay.
        for (index, contacts) in [(0, ROSTERS[0])].into_iter().chain(ROSTERS.into_iter().enumerate()) {
            let mut size = RosterSize {
                contacts,
                ..RosterSize::default()
            };
            let readers = login_all(&access, |pair| reader(contacts, pair)).await?;
            calm(CALM_LIMIT).await?;
            let window = Window::open()?;
            let writers = login_all(&access, |pair| writer(contacts, pair)).await?;
            calm(CALM_LIMIT).await?;
            size.login = window.close()?.server * 1000.0 / ROSTER_PAIRS as f64;
            let mut all = Vec::new();
            for (writer, mut reader) in writers.into_iter().zip(readers) {
                reader.drain()?;
                all.extend([writer, reader]);
            }
            let done = measured(all, BUSY_WINDOW, |client| reader(contacts, client.number)).await?;
            size.message = done.micros();
            for client in done.clients {
                client.leave().await?;
            }
            // What was kept of the accounts is no part of the next measurement.
            calm(CALM_LIMIT).await?;
            tokio::time::sleep(FORGOTTEN_AFTER).await;
            eprintln!("{size:.3?}");
            results.rosters.truncate(index);
            results.rosters.push(size);
        }
        Ok::<_, String>(())
    })?;
    results.refused += server.refused();
    server.close();
    Ok(())
}

/// Logs in so many at once as there are pairs with contact lists.
async fn login_all(access: &Arc<Access>, name: impl Fn(usize) -> String) -> Outcome<Vec<Client>> {
    let login = |pair| {
        let (access, name) = (Arc::clone(access), name(pair));
        tokio::spawn(async move { Client::login(&access, pair, &name).await })
    };
    let tasks: Vec<_> = (0..ROSTER_PAIRS).map(login).collect();
    let mut clients = Vec::with_capacity(tasks.len());
    for task in tasks {
        clients.push(joined(task.await)?);
    }
    Ok(clients)
}
