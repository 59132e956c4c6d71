//! A database with many archived messages, for I9: between accounts that no client has, so that they are in nobody's way
//! but the server's when it starts.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{SystemTime, UNIX_EPOCH};

use store::{Batch, Deposit, Places, Store, Written};

use crate::rng::Rng;
use crate::server::DOMAIN;

const OWNERS: u64 = 1_000;
/// What is handed over at once.
const GROUP: u64 = 4_096;
/// The newest are of now, and so many milliseconds are between two of them: a million in a month, some 33,000 of them of
/// the last day, of which it is known whether they come once more.
const APART: i64 = 2_600;
const BODY: (u64, u64) = (20, 300);

/// Puts a database with so many messages into the folder, where there is none yet. It is made once and kept beside this
/// program, as a million takes a while.
pub(crate) fn seed(count: u64, folder: &Path, name: &str) -> Result<(), String> {
    let kept = kept(count)?;
    if !kept.exists() {
        println!("{count} messages are archived in {}, once", kept.display());
        let aside = kept.with_extension("making");
        let _ = fs::remove_file(&aside);
        make(count, &aside)?;
        fs::rename(&aside, &kept).map_err(|error| format!("{}: {error}", kept.display()))?;
    }
    let copied = fs::create_dir_all(folder).and_then(|()| fs::copy(&kept, folder.join(name)));
    copied.map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(())
}

/// How much room it takes.
pub(crate) fn bytes(count: u64) -> u64 {
    count * 1_024
}

fn kept(count: u64) -> Result<PathBuf, String> {
    let program = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    Ok(program.with_file_name(format!("torture-archived-{count}.db")))
}

fn make(count: u64, path: &Path) -> Result<(), String> {
    let store = store_sqlite::open(path, &[], store_sqlite::Options::default()).map_err(|error| error.to_string())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut at = i64::try_from(now.as_millis()).unwrap_or(i64::MAX) - APART * i64::try_from(count).unwrap_or(0);
    let mut rng = Rng::new(count, 0);
    let mut done = 0;
    while done < count {
        let group = GROUP.min(count - done);
        let (sender, results) = mpsc::channel();
        let writes = (0..group).map(|_| {
            at += APART;
            let sender = sender.clone();
            let told: Written = Box::new(move |result| drop(sender.send(result)));
            (Batch::new().deposit(message(&mut rng, at)), told)
        });
        store.write_many(writes.collect());
        drop(sender);
        for result in results {
            result.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        done += group;
    }
    // The log is in the file then, and one file is all there is.
    store.close();
    Ok(())
}

fn message(rng: &mut Rng, at: i64) -> Deposit {
    let mut owner = || format!("o{}@{DOMAIN}", rng.below(OWNERS));
    let (sender, recipient) = (owner(), owner());
    let id = rng.next();
    let body = "x".repeat(rng.between(BODY.0, BODY.1) as usize);
    let stanza =
        format!("<message from='{sender}/r0' to='{recipient}' type='chat' id='{id:x}'><body>{body}</body></message>");
    Deposit {
        at,
        sender: sender.into(),
        recipient: recipient.into(),
        places: Places::SENT.and(Places::RECEIVED),
        fingerprint: Some(u128::from(id) << 64 | u128::from(rng.next())),
        stanza: stanza.into(),
    }
}
