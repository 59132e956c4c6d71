//! Told means durable: a process that writes is killed, or its disk fails, and the file is compared with what it told.
//!
//! The writing process is this test binary itself, started with the test `child`. Disk faults are made by a small
//! library in C that is loaded before libc (`faults.c`).

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jackdaw_store_sqlite as store_sqlite;
use store::suite::{ACCOUNTS, QUEUE, TABLES};
use store::{Batch, Deposit, PAGE_LIMIT, Places, Query, Range, Store, StoreError, View, Written, Wrote, row};
use store_sqlite::{Options, SqliteStore, open};
use tempfile::TempDir;

/// What a batch without a deposit is answered with.
const OK: Result<Wrote, StoreError> = Ok(Wrote::NOTHING);

const ROLE: &str = "JACKDAW_TEST_ROLE";
const DATABASE: &str = "JACKDAW_TEST_DATABASE";
/// While this file exists, flushing a log fails with EIO.
const FAULT_FSYNC: &str = "JACKDAW_TEST_FAULT_FSYNC";
/// While this file exists, writing to a log fails with ENOSPC.
const FAULT_WRITE: &str = "JACKDAW_TEST_FAULT_WRITE";

/// While this file exists, writing to the database and to the index of its log fails with ENOSPC.
const FAULT_ROOM: &str = "JACKDAW_TEST_FAULT_ROOM";

/// Commits of [`numbered`] that take more than the first piece of the index has room for.
const MANY_COMMITS: i64 = 3_000;

const KILLS: u64 = 20;
/// Batches that are told before a kill: at least, and how many more at most.
const ACKS: (u64, u64) = (300, 1_000);
/// From then to the kill, or from the start in every so manieth round.
const MOMENT_MICROS: u64 = 30_000;
const EARLY_EVERY: u64 = 5;
/// Batches that the child has under way at once.
const WINDOW: usize = 64;
const FATAL_EXIT: i32 = 42;
/// Of the recipients of the messages.
const PEERS: i64 = 7;
/// The key of the mark with the newest number, and how many others there are.
const NEWEST: i64 = -1;
const KEYS: i64 = 100;
const OWNER: &str = "juliet@example.org";

#[track_caller]
fn open_suite(path: &Path, options: Options) -> SqliteStore {
    open(path, &TABLES, options).unwrap_or_else(|error| panic!("{error}"))
}

/// A batch whose parts must stay together: the number in a table of archive shape, as the newest, as a message of the
/// archive, and as marks.
fn numbered(number: i64) -> Batch {
    let row = row![number, vec![7u8; 2_000]];
    Batch::new()
        .append(&QUEUE, OWNER, row)
        .put(&ACCOUNTS, OWNER, None, row![number, "newest", vec![0u8]])
        .deposit(Deposit {
            at: number,
            sender: OWNER.into(),
            recipient: peer(number).into(),
            places: Places::SENT.and(Places::RECEIVED),
            fingerprint: Some(number as u128),
            stanza: "<message/>".into(),
        })
        .mark(NEWEST, number)
        .mark(number % KEYS, number)
}

fn peer(number: i64) -> String {
    format!("peer{}@example.org", number % PEERS)
}

/// So that buckets are sealed all the time.
fn small_buckets() -> Options {
    Options {
        archive_bucket_bits: 7,
        ..Options::default()
    }
}

/// The numbers of the messages behind an id, and the id of the last.
fn archived(store: &SqliteStore, owner: &str, mut after: i64) -> (Vec<i64>, i64) {
    let mut numbers = Vec::new();
    loop {
        let range = Range {
            after: Some(after),
            ..Range::of(owner, View::Archive, PAGE_LIMIT)
        };
        let page = store.read_wait(Query::archive(range)).and_then(store::Found::archive);
        let page = page.expect("the file can be read");
        numbers.extend(page.messages.iter().map(|message| message.at));
        after = page.messages.last().map_or(after, |message| message.id);
        if page.complete {
            return (numbers, after);
        }
    }
}

fn mark(store: &SqliteStore, key: i64) -> Option<i64> {
    let mark = store.read_wait(Query::Mark { key }).and_then(store::Found::mark);
    mark.expect("the file can be read")
}

fn newest(store: &SqliteStore) -> i64 {
    let row = store
        .read_wait(Query::get(&ACCOUNTS, OWNER, None))
        .and_then(store::Found::row);
    row.expect("the file can be read")
        .map_or(0, |row| row[0].as_int().expect("it is an integer"))
}

/// Not `println`, which the test harness may hold back.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{text}\n").as_bytes())
        .and_then(|()| out.flush())
        .expect("the parent listens");
}

#[test]
#[ignore = "the other tests run it as a process of its own"]
fn child() {
    let (Ok(role), Some(path)) = (std::env::var(ROLE), std::env::var_os(DATABASE)) else {
        return;
    };
    let path = PathBuf::from(path);
    match role.as_str() {
        "write" => write_for_ever(&path),
        "full" => full_disk(&path),
        "room" => no_room_but_in_the_log(&path),
        "fsync" => failing_fsync(
            &path,
            Options {
                on_fatal: tell_and_exit,
                ..Options::default()
            },
        ),
        "fsync-default" => failing_fsync(&path, Options::default()),
        other => panic!("{other}"),
    }
}

fn tell_and_exit(text: &str) -> ! {
    tell(&format!("fatal {text}"));
    std::process::exit(FATAL_EXIT)
}

fn write_for_ever(path: &Path) {
    let store = open_suite(path, small_buckets());
    let (sender, receiver) = mpsc::channel();
    let mut number = newest(&store);
    for _ in 0..WINDOW {
        sender.send(()).expect("the receiver is here");
    }
    loop {
        receiver.recv().expect("a sender is here");
        number += 1;
        let (told, sender) = (number, sender.clone());
        store.write(
            numbered(number),
            Box::new(move |result| {
                assert!(result.is_ok(), "{result:?}");
                tell(&format!("ack {told}"));
                sender.send(()).expect("the receiver is here");
            }),
        );
        if number % 5 == 0 {
            // A neighbour that fails, and must not show.
            let failing = Batch::new()
                .append(&QUEUE, OWNER, row![-1, vec![0u8]])
                .deposit(Deposit {
                    at: -1,
                    sender: OWNER.into(),
                    recipient: format!("new{number}@example.org").into(),
                    places: Places::SENT,
                    fingerprint: Some(number as u128 + 1),
                    stanza: "<message/>".into(),
                })
                .mark(NEWEST, -1)
                .require(&ACCOUNTS, "nobody", None);
            store.write(failing, Box::new(|result| assert_eq!(result, Err(StoreError::Missing))));
        }
    }
}

fn start(role: &str, path: &Path, settings: &[(&str, &Path)]) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("a test binary has a path"));
    command.args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command
        .env(ROLE, role)
        .env(DATABASE, path)
        .envs(settings.iter().copied());
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the test binary can be started")
}

/// The lines of the child, to its end.
fn lines(child: &mut Child) -> Vec<String> {
    let out = child.stdout.take().expect("it was piped");
    BufReader::new(out).lines().map_while(Result::ok).collect()
}

#[test]
fn killed_at_any_moment() {
    let folder = TempDir::new().expect("a folder for the test");
    let path = folder.path().join("test.db");
    let seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("it is after 1970")
        .subsec_nanos();
    println!("seed {seed}");
    let mut random = u64::from(seed) | 1;
    let (mut last_number, mut last_id, mut acked_in_all) = (0, 0, 0);
    let (mut last_archived, mut last_archived_id) = (0, 0);
    for round in 0..KILLS {
        let mut child = start("write", &path, &[]);
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // By what it has done, as a busy machine may let it do nothing for a while; and while it starts, too, but not
        // before it has made the file as it is to be.
        let is_early = round % EARLY_EVERY == EARLY_EVERY - 1;
        let wanted = if is_early { 0 } else { ACKS.0 + random % ACKS.1 };
        let out = child.stdout.take().expect("it was piped");
        let (reached, is_reached) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            // A line cut off by the kill has no end, and may be a shorter number: harmless, as it is acked as well.
            let acks = lines.filter_map(|line| line.strip_prefix("ack ")?.parse::<i64>().ok());
            let (mut count, mut newest) = (0, None);
            for ack in acks {
                newest = newest.max(Some(ack));
                count += 1;
                if count == wanted {
                    // Nobody listens any more if the test has failed.
                    let _ = reached.send(());
                }
            }
            newest
        });
        if !is_early {
            // An error: it has ended, which is looked at below.
            let _ = is_reached.recv();
        }
        std::thread::sleep(Duration::from_micros(random % MOMENT_MICROS));
        child.kill().expect("it was not waited for");
        let status = child.wait().expect("it was started");
        assert_eq!(signal(status), Some(9), "round {round}: it ended by itself");
        let acked = reader.join().expect("the reader does not panic").unwrap_or(0);

        let store = open_suite(&path, Options::default());
        let newest = newest(&store);
        assert!(
            newest >= acked,
            "round {round}: {acked} was told, and {newest} is the newest"
        );
        loop {
            let page = store
                .read_wait(Query::page(&QUEUE, OWNER, last_id, PAGE_LIMIT))
                .and_then(store::Found::page);
            let page = page.expect("the file can be read");
            for (id, row) in &page {
                last_number += 1;
                assert_eq!(row[0].as_int(), Some(last_number), "round {round}");
                last_id = *id;
            }
            if page.len() < PAGE_LIMIT {
                break;
            }
        }
        assert_eq!(last_number, newest, "round {round}: half of a batch");
        let (numbers, id) = archived(&store, OWNER, last_archived_id);
        assert_eq!(
            numbers,
            (last_archived + 1..=newest).collect::<Vec<_>>(),
            "round {round}"
        );
        assert!(id > last_archived_id || numbers.is_empty(), "round {round}");
        (last_archived, last_archived_id) = (newest, id);
        assert_eq!(mark(&store, NEWEST).unwrap_or(0), newest, "round {round}");
        // An id of a former round must not come again; a trimmed row is the hardest case.
        store
            .write_wait(Batch::new().trim(&QUEUE, OWNER, last_id))
            .expect("the file can be written");
        store.close();
        acked_in_all = acked_in_all.max(acked);
    }
    assert!(
        acked_in_all > 100,
        "only {acked_in_all} batches were told: this proves nothing"
    );
    println!("{acked_in_all} told, {last_number} there");

    let store = open_suite(&path, Options::default());
    assert_eq!(archived(&store, OWNER, 0).0, (1..=last_number).collect::<Vec<_>>());
    for which in 0..PEERS {
        let expected: Vec<_> = (1..=last_number).filter(|number| number % PEERS == which).collect();
        assert_eq!(archived(&store, &peer(which), 0).0, expected);
    }
    for key in 0..KEYS {
        let expected = (1..=last_number).rev().find(|number| number % KEYS == key);
        assert_eq!(mark(&store, key), expected);
    }
    // Each is known by its fingerprint still, whether its bucket is sealed or not.
    for number in (1..=last_number).step_by(97) {
        let wrote = store.write_wait(numbered(number)).expect("the file can be written");
        let deposited = wrote.deposited.expect("the batch deposits");
        assert!(!deposited.is_new, "{number} was taken for new");
    }
    store.close();
    check_file(&path);
}

/// What only SQL shows: that buckets were sealed and marks folded at all, and that nothing is left over.
fn check_file(path: &Path) {
    let connection = rusqlite::Connection::open(path).expect("the file is there");
    let number = |sql: &str| -> i64 {
        connection
            .query_row(sql, [], |row| row.get(0))
            .expect("the SQL is right")
    };
    let sealed = number("SELECT sealed FROM jackdaw_state");
    let last_bucket = number("SELECT max(id) >> 7 FROM jackdaw_archive");
    assert!(
        sealed > 2 && last_bucket - sealed <= 4,
        "{sealed} of {last_bucket} are sealed"
    );
    assert_eq!(
        number("SELECT count(*) FROM jackdaw_archive_buckets"),
        number(&format!(
            "SELECT count(DISTINCT id >> 7) FROM jackdaw_archive WHERE id >> 7 < {sealed}"
        ))
    );
    let in_part =
        number("SELECT count(*) FROM jackdaw_archive_postings WHERE place >> 40 >= (SELECT sealed FROM jackdaw_state)");
    // Each owner has one or two parts.
    assert!(
        in_part <= 2 * (PEERS + 1),
        "{in_part} parts, but one bucket at most is being sealed"
    );
    assert_eq!(number("SELECT count(*) FROM jackdaw_marks"), KEYS + 1);
    let journal = number("SELECT count(*) FROM jackdaw_journal");
    assert!((1..100).contains(&journal), "{journal} commits are not folded");
    let check: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .expect("the file can be read");
    assert_eq!(check, "ok");
}

#[cfg(unix)]
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

/// Compiles `faults.c`. The C compiler is there, as SQLite was compiled with it.
#[cfg(target_os = "linux")]
fn faults(folder: &Path) -> PathBuf {
    let library = folder.join("faults.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let status = Command::new(compiler)
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .status()
        .expect("a C compiler is installed");
    assert!(status.success());
    library
}

#[cfg(target_os = "linux")]
fn with_faults(role: &str) -> (TempDir, PathBuf, Child) {
    let folder = TempDir::new().expect("a folder for the test");
    let library = faults(folder.path());
    let path = folder.path().join("test.db");
    let settings = [
        ("LD_PRELOAD", &*library),
        (FAULT_FSYNC, &*folder.path().join("fsync")),
        (FAULT_WRITE, &*folder.path().join("write")),
        (FAULT_ROOM, &*folder.path().join("room")),
    ];
    let child = start(role, &path, &settings);
    (folder, path, child)
}

fn fault(setting: &str) -> PathBuf {
    std::env::var_os(setting).expect("the parent sets it").into()
}

/// In the child.
fn full_disk(path: &Path) {
    let store = open_suite(path, Options::default());
    assert!(store.write_wait(numbered(1)).is_ok());
    std::fs::write(fault(FAULT_WRITE), "").expect("it can be written");
    for _ in 0..3 {
        assert_eq!(store.write_wait(numbered(2)), Err(StoreError::Full));
        assert_eq!(newest(&store), 1, "reads go on, and nothing is half there");
    }
    // Several at once: all refused, each once.
    let (sender, receiver) = mpsc::channel();
    let writes = (0..10).map(|_| {
        let sender = sender.clone();
        (
            numbered(2),
            Box::new(move |result| sender.send(result).expect("the test listens")) as Written,
        )
    });
    store.write_many(writes.collect());
    drop(sender);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), vec![Err(StoreError::Full); 10]);

    std::fs::remove_file(fault(FAULT_WRITE)).expect("it is there");
    assert!(store.write_wait(numbered(2)).is_ok(), "there is room again");
    assert_eq!(newest(&store), 2);
    store.close();
    tell("as it should be");
}

#[test]
#[cfg(target_os = "linux")]
fn full_disk_and_then_room() {
    let (_folder, path, mut child) = with_faults("full");
    let lines = lines(&mut child);
    assert!(child.wait().expect("it was started").success(), "{lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("as it should be")), "{lines:?}");
    let store = open_suite(&path, Options::default());
    assert_eq!(newest(&store), 2);
    let count = store
        .read_wait(Query::count(&QUEUE, OWNER))
        .and_then(store::Found::count);
    assert_eq!(count, Ok(2));
}

/// In the child: no checkpoint can be made, so the log grows until its index would have to.
fn no_room_but_in_the_log(path: &Path) {
    let store = open_suite(path, Options::default());
    assert!(store.write_wait(numbered(1)).is_ok());
    std::fs::write(fault(FAULT_ROOM), "").expect("it can be written");
    let refused = (2..MANY_COMMITS).find_map(|number| Some((number, store.write_wait(numbered(number)).err()?)));
    let (number, error) = refused.expect("the index of the log has no end");
    assert_eq!(error, StoreError::Full);
    assert_eq!(newest(&store), number - 1, "nothing is half there");

    std::fs::remove_file(fault(FAULT_ROOM)).expect("it is there");
    assert!(store.write_wait(numbered(number)).is_ok(), "there is room again");
    assert_eq!(newest(&store), number);
    store.close();
    tell("as it should be");
}

/// Where a commit needed room behind its record in the log, nobody would know whether it holds, and the process would end.
#[test]
#[cfg(target_os = "linux")]
fn the_index_of_the_log_cannot_grow() {
    let (_folder, path, mut child) = with_faults("room");
    let lines = lines(&mut child);
    let status = child.wait().expect("it was started");
    assert!(status.success(), "{status}: {lines:?}");
    assert!(lines.iter().any(|line| line.ends_with("as it should be")), "{lines:?}");
    let store = open_suite(&path, Options::default());
    assert_eq!(archived(&store, OWNER, 0).0, (1..=newest(&store)).collect::<Vec<_>>());
}

/// In the child.
fn failing_fsync(path: &Path, options: Options) {
    let store = open_suite(path, options);
    let write = |number: i64| {
        let done = move |result: Result<Wrote, StoreError>| tell(&format!("answer {number} {:?}", result.map(drop)));
        store.write(numbered(number), Box::new(done));
    };
    write(1);
    assert_eq!(store.write_wait(Batch::new()), OK);
    std::fs::write(fault(FAULT_FSYNC), "").expect("it can be written");
    for number in 2..10 {
        write(number);
    }
    // The callbacks of what was submitted never come, so this ends with the process only.
    let result = store.write_wait(Batch::new());
    tell(&format!("answer to flush {result:?}"));
}

#[cfg(target_os = "linux")]
#[track_caller]
fn check_failing_fsync(role: &str, ended: impl FnOnce(ExitStatus) -> bool) -> Vec<String> {
    let (_folder, path, mut child) = with_faults(role);
    let lines = lines(&mut child);
    let status = child.wait().expect("it was started");
    assert!(ended(status), "{status}: {lines:?}");
    let answers: Vec<_> = lines
        .iter()
        .filter_map(|line| line.split_once("answer "))
        .map(|(_, text)| text)
        .collect();
    assert_eq!(
        answers,
        ["1 Ok(())"],
        "neither success nor failure is told once the disk failed to flush"
    );
    // What was told is there; whether the rest is, nobody knew.
    let store = open_suite(&path, Options::default());
    assert!((1..10).contains(&newest(&store)));
    lines
}

#[test]
#[cfg(target_os = "linux")]
fn a_failed_fsync_is_fatal() {
    let lines = check_failing_fsync("fsync", |status| status.code() == Some(FATAL_EXIT));
    let fatal: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("fatal the disk failed to flush"))
        .collect();
    assert_eq!(fatal.len(), 1, "{lines:?}");
    assert!(fatal[0].contains("1034"), "{fatal:?}");
}

#[test]
#[cfg(target_os = "linux")]
fn a_failed_fsync_aborts_by_default() {
    const SIGABRT: i32 = 6;
    check_failing_fsync("fsync-default", |status| signal(status) == Some(SIGABRT));
}
