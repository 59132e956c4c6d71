//! CPU by thread: server and clients share a process and are told apart by the names of their threads.

use std::fs;
use std::time::{Duration, Instant};

use crate::Outcome;

/// Threads of the runtime that the connections run on.
pub(super) const SERVER: &str = "server";
/// Threads of the runtime that the clients run on.
pub(super) const CLIENTS: &str = "clients";
/// Threads that work for the server, by the beginning of their names: the store's, and jemalloc's, which gives memory
/// back.
const FOR_SERVER: [&str; 3] = [SERVER, "store-", "jemalloc"];

/// How long the server must be calm to count as calm.
const CALM_WINDOW: Duration = Duration::from_millis(200);
/// Share of a core below which it is calm: sweeps and keepalives of a million sessions are work too.
const CALM_SHARE: f64 = 0.1;

/// CPU of the two since they began, in seconds.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    server: f64,
    clients: f64,
}

/// Everything that ran is counted, as no thread of either ends before the program.
fn used() -> Outcome<Used> {
    let failed = |error: std::io::Error| format!("/proc/self/task: {error}");
    let mut used = Used::default();
    for task in fs::read_dir("/proc/self/task").map_err(failed)? {
        let task = task.map_err(failed)?.path();
        // A thread may have ended since the folder was read.
        let (Ok(name), Ok(schedstat)) = (
            fs::read_to_string(task.join("comm")),
            fs::read_to_string(task.join("schedstat")),
        ) else {
            continue;
        };
        let seconds = nanoseconds(&schedstat).ok_or("/proc/self/task/*/schedstat is not understood")? as f64 / 1e9;
        if FOR_SERVER.iter().any(|start| name.starts_with(start)) {
            used.server += seconds;
        } else if name.starts_with(CLIENTS) {
            used.clients += seconds;
        }
    }
    match used.server > 0.0 {
        true => Ok(used),
        false => Err("the kernel does not count the CPU of threads (CONFIG_SCHED_INFO)".to_owned()),
    }
}

/// The first field: time on a CPU. Finer than the 10 ms of `stat`, and ten logins are only two.
fn nanoseconds(schedstat: &str) -> Option<u64> {
    schedstat.split(' ').next()?.parse().ok()
}

/// From the start of some work to its end.
pub(super) struct Window {
    started: Instant,
    used: Used,
}

/// What was spent in a window, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spent {
    pub wall: f64,
    pub server: f64,
    pub clients: f64,
}

impl Window {
    pub(super) fn open() -> Outcome<Self> {
        Ok(Self {
            used: used()?,
            started: Instant::now(),
        })
    }

    pub(super) fn close(&self) -> Outcome<Spent> {
        let wall = self.started.elapsed().as_secs_f64();
        let used = used()?;
        Ok(Spent {
            wall,
            server: used.server - self.used.server,
            clients: used.clients - self.used.clients,
        })
    }
}

/// Waits until the server has nothing to do, at most `limit`.
pub(super) async fn calm(limit: Duration) -> Outcome<()> {
    let end = Instant::now() + limit;
    while Instant::now() < end {
        let window = Window::open()?;
        tokio::time::sleep(CALM_WINDOW).await;
        let spent = window.close()?;
        if spent.server <= CALM_SHARE * spent.wall {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_on_a_cpu_is_the_first_field() {
        assert_eq!(nanoseconds("190217 3748266 2\n"), Some(190_217));
        assert_eq!(nanoseconds(""), None);
    }

    #[test]
    fn threads_are_told_apart_by_their_names() {
        let spin = |name: &str, milliseconds: u64| {
            let spin = move || {
                let end = Instant::now() + Duration::from_millis(milliseconds);
                let mut count = 0_u64;
                // What it did is read while it is there.
                while Instant::now() < end {
                    count = std::hint::black_box(count + 1);
                }
                std::thread::park_timeout(Duration::from_secs(2));
            };
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(spin)
                .expect("a thread")
        };
        let first = spin(SERVER, 1);
        std::thread::sleep(Duration::from_millis(50));
        let window = Window::open().expect("read");
        let threads = [spin("store-writer", 200), spin(CLIENTS, 40), spin("other", 200)];
        std::thread::sleep(Duration::from_secs(1));
        let spent = window.close().expect("read");
        assert!(spent.server > spent.clients && spent.clients > 0.0, "{spent:?}");
        for thread in threads.into_iter().chain([first]) {
            thread.thread().unpark();
            thread.join().expect("it does not panic");
        }
    }
}
