//! What the archive costs: CPU of the whole process per message and per page, printed for a few loads. Linux only, as it
//! reads the scheduler's figures. Run it with `--release` on a machine that does nothing else; the figures are noisy.
//!
//! `archive_cost [FOLDER] [MESSAGES] [OWNERS GROUP]`: the folder should be on the disk that is meant, not on a tmpfs. With
//! the last two, that load only. Making the batches is not counted, handing them over and calling back is.

use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use jackdaw_store_sqlite as store_sqlite;
use store::{Batch, Deposit, Found, Places, Query, Range, Store, View, Written};
use store_sqlite::{Options, SqliteStore, open};

/// Messages whose batches are made before the clock runs.
const CHUNK: usize = 12_800;
const STANZA_BYTES: usize = 325;
const PEERS: u64 = 10;
const PAGES: usize = 2_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, Into::into);
    let messages = arguments
        .next()
        .and_then(|number| number.parse().ok())
        .unwrap_or(300_000);
    let numbers: Vec<usize> = arguments.filter_map(|number| number.parse().ok()).collect();
    let loads = match numbers[..] {
        [owners, group] => vec![("chosen", owners as u64, group)],
        _ => vec![
            ("narrow", 16, 128),
            ("wide", 10_000, 128),
            ("wide", 10_000, 16),
            ("wide", 10_000, 1),
        ],
    };
    for (name, owners, group) in loads {
        let path = folder.join(format!("archive-cost-{}.db", std::process::id()));
        // Fewer where each is a commit of its own.
        let messages = if group == 1 { messages / 20 } else { messages };
        run(&path, name, owners, group, messages);
        for end in ["", "-wal", "-shm", ".lock"] {
            let mut name = path.clone().into_os_string();
            name.push(end);
            // Not each of them is there.
            drop(std::fs::remove_file(name));
        }
    }
}

fn run(path: &Path, name: &str, owners: u64, group: usize, messages: usize) {
    let store = open(path, &[], Options::default()).unwrap_or_else(|error| panic!("{error}"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // The numbers of the JIDs, once.
    submit(
        &store,
        (0..owners)
            .map(|owner| message(&mut random, owner, owner + 1, 0))
            .collect(),
        256,
    );
    let (mut cpu, mut wall) = (0, 0);
    let mut slowest = 0;
    for chunk in 0..messages.div_ceil(CHUNK) {
        let batches: Vec<Batch> = (0..CHUNK)
            .map(|at| {
                let sender = random.below(owners);
                let recipient = (sender / (PEERS + 1) * (PEERS + 1) + random.below(PEERS + 1)) % owners;
                message(&mut random, sender, recipient, chunk * CHUNK + at)
            })
            .collect();
        let (before, start) = (cpu_ns(), Instant::now());
        slowest = slowest.max(submit(&store, batches, group));
        cpu += cpu_ns() - before;
        wall += start.elapsed().as_nanos() as u64;
    }
    let count = (messages.div_ceil(CHUNK) * CHUNK) as u64;
    println!(
        "{name}, groups of {group}, {count} messages: {:.2} us CPU, {:.2} us time each; slowest group {:.1} ms",
        cpu as f64 / count as f64 / 1e3,
        wall as f64 / count as f64 / 1e3,
        slowest as f64 / 1e6
    );
    if group == 128 {
        pages(&store, owners, count as i64, &mut random);
        drop(store);
        let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
        let start = Instant::now();
        let store = open(path, &[], Options::default()).unwrap_or_else(|error| panic!("{error}"));
        println!(
            "  {} bytes each on the disk; opened in {:.1} ms",
            bytes / count,
            start.elapsed().as_secs_f64() * 1e3
        );
        store.close();
    }
}

fn message(random: &mut Random, sender: u64, recipient: u64, at: usize) -> Batch {
    let mut stanza = format!(
        "<message type='chat' id='{:016x}' from='user{sender}@example.org/phone' to='user{recipient}@example.org'><body>",
        random.next()
    );
    while stanza.len() < STANZA_BYTES - 17 {
        stanza.push(char::from(b'a' + random.below(26) as u8));
    }
    stanza.push_str("</body></message>");
    let deposit = Deposit {
        at: 1_700_000_000_000 + at as i64,
        sender: format!("user{sender}@example.org").into(),
        recipient: format!("user{recipient}@example.org").into(),
        places: Places::SENT.and(Places::RECEIVED).and(Places::WAITING),
        fingerprint: Some(u128::from(random.next()) << 64 | u128::from(random.next())),
        stanza: stanza.into(),
    };
    Batch::new().deposit(deposit).mark(sender as i64, at as i64)
}

/// Returns how long the slowest group took, in nanoseconds.
fn submit(store: &SqliteStore, batches: Vec<Batch>, group: usize) -> u64 {
    let (sender, receiver) = mpsc::channel();
    let mut slowest = 0;
    let mut batches = batches.into_iter().peekable();
    while batches.peek().is_some() {
        let start = Instant::now();
        let mut writes: Vec<(Batch, Written)> = batches
            .by_ref()
            .take(group)
            .map(|batch| {
                let done: Written = Box::new(|result| assert!(result.is_ok(), "{result:?}"));
                (batch, done)
            })
            .collect();
        let sender = sender.clone();
        if let Some((_, done)) = writes.last_mut() {
            *done = Box::new(move |result| {
                assert!(result.is_ok(), "{result:?}");
                sender.send(()).expect("it waits below");
            });
        }
        store.write_many(writes);
        receiver.recv().expect("the callback sends");
        slowest = slowest.max(start.elapsed().as_nanos() as u64);
    }
    slowest
}

fn pages(store: &SqliteStore, owners: u64, messages: i64, random: &mut Random) {
    let start = cpu_ns();
    for key in 0..PAGES as i64 {
        store.read_wait(Query::Mark { key }).expect("the query is right");
    }
    let handing_over = (cpu_ns() - start) as f64 / PAGES as f64 / 1e3;
    println!("  a mark: {handing_over:.0} us CPU, most of it the way to the reader and back");
    for (name, newest, place, with) in [
        ("the last 50", true, false, false),
        ("50 before an id", true, true, false),
        ("50 after an id", false, true, false),
        ("the last 50 with somebody", true, false, true),
        ("50 after an id with somebody", false, true, true),
        ("whether an id is there", false, false, false),
    ] {
        let mut found = 0;
        let start = cpu_ns();
        for _ in 0..PAGES {
            let owner = random.below(owners);
            let peer = (owner / (PEERS + 1) * (PEERS + 1) + random.below(PEERS + 1)) % owners;
            let id = messages / 8 + random.below(messages as u64 / 2) as i64;
            let is_page = newest || place;
            let range = Range {
                newest,
                before: (newest && place).then_some(id),
                after: (!newest && place).then_some(id),
                with: with.then(|| format!("user{peer}@example.org").into()),
                ids: (!is_page).then(|| vec![id]),
                count: !is_page,
                ..Range::of(
                    &format!("user{owner}@example.org"),
                    View::Archive,
                    if is_page { 50 } else { 0 },
                )
            };
            let page = store.read_wait(Query::archive(range)).and_then(Found::archive);
            found += page.expect("the query is right").messages.len();
        }
        println!(
            "  {name}: {:.0} us CPU, {} messages on average",
            (cpu_ns() - start) as f64 / PAGES as f64 / 1e3,
            found / PAGES
        );
    }
}

/// Of all threads that run still.
fn cpu_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    let time = |task: std::fs::DirEntry| -> Option<u64> {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    tasks.flatten().filter_map(time).sum()
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }
}
