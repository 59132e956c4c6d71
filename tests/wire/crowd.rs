//! Many clients at the same time, and what a server has left when they are gone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use testkit::{Client, Server, TIMEOUT};
use tokio::sync::Semaphore;

/// Logins and the like that run at the same time: more would make each of them wait for the others, and
/// [`TIMEOUT`] is the limit of each.
const AT_ONCE: usize = 16;
/// How often it is looked whether the server has given back what it had.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Does the same for every number below `count`, a few at a time; the results are in order.
pub(crate) async fn many<T, F>(count: usize, act: impl Fn(usize) -> F) -> Vec<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let gate = Arc::new(Semaphore::new(AT_ONCE));
    let tasks: Vec<_> = (0..count)
        .map(|number| {
            let (gate, work) = (Arc::clone(&gate), act(number));
            tokio::spawn(async move {
                let _permit = gate.acquire().await.expect("nobody closes it");
                work.await
            })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.expect("what it did has not failed"));
    }
    results
}

/// Each of the watchers gets to see the presence of everybody shown. All are online, with one client an account; nothing
/// is left to read afterwards.
pub(crate) async fn watch(watchers: &mut [Client], shown: &mut [Client]) {
    let asking: String = shown
        .iter()
        .map(|one| format!("<presence type='subscribe' to='{}'/>", one.bare()))
        .collect();
    for watcher in watchers.iter_mut() {
        watcher.send(&asking).await;
    }
    for one in shown.iter_mut() {
        for _ in 0..watchers.len() {
            let asked = one
                .wait_keeping(|stanza| stanza.name() == "presence" && stanza.get("type") == "subscribe")
                .await;
            one.send(format!("<presence type='subscribed' to='{}'/>", asked.get("from")))
                .await;
        }
    }
    for watcher in watchers.iter_mut() {
        let mut missing: BTreeSet<&str> = shown.iter().map(|one| one.jid.as_str()).collect();
        while !missing.is_empty() {
            let stanza = watcher.stanza().await;
            if stanza.name() == "presence" && stanza.attr("type").is_none() {
                missing.remove(stanza.get("from"));
            }
        }
        watcher.forget().await;
    }
    for one in shown {
        one.forget().await;
    }
}

/// Waits until a figure of the server is at most `most`; fails if it never is.
async fn falls_to<N: PartialOrd + Copy + std::fmt::Display>(what: &str, most: N, now: impl Fn() -> N) -> N {
    let began = Instant::now();
    loop {
        let value = now();
        if value <= most {
            return value;
        }
        assert!(began.elapsed() < TIMEOUT, "{value} {what}, at most {most} expected");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Resident memory comes down to `most` bytes.
pub(crate) async fn memory_falls_to(server: &Server, most: u64) {
    falls_to("bytes of memory are used", most, || server.rss()).await;
}

/// Open files, that is connections, come down to `most`.
pub(crate) async fn files_fall_to(server: &Server, most: usize) {
    falls_to("files are open", most, || server.open_files()).await;
}
