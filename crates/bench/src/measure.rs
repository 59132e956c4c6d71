//! What a process costs: CPU and memory from /proc.

use std::fs;
use std::time::{Duration, Instant};

/// Ticks a second of /proc/PID/stat: USER_HZ, 100 on every Linux that Jackdaw runs on.
const TICKS: f64 = 100.0;
/// How long a server must be calm to count as calm.
const CALM_WINDOW: Duration = Duration::from_millis(200);
/// Windows one after the other that have to be calm.
const CALM_WINDOWS: u32 = 2;
/// Share of a core below which a server is calm.
const CALM_SHARE: f64 = 0.05;

/// CPU that a process has used, user and system, in seconds. Its resolution is 10 ms.
pub(crate) fn cpu(pid: u32) -> f64 {
    let (user, system) = cpu_parts(pid);
    user + system
}

/// The same apart.
fn cpu_parts(pid: u32) -> (f64, f64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let (user, system) = ticks_of(&stat).unwrap_or_default();
    (user as f64 / TICKS, system as f64 / TICKS)
}

/// Fields 14 and 15 of proc(5); the name in field 2 may contain anything, so that fields count from the last `)`.
fn ticks_of(stat: &str) -> Option<(u64, u64)> {
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    Some((fields.nth(11)?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// Memory of a process in kB: its proportional set, which counts what it shares with others in parts.
pub(crate) fn memory(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    kilobytes(&rollup, "Pss:").unwrap_or(0) as f64
}

/// The value of a line `name   123 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The same in kB, and cheap to ask for while the server works: its resident set, without a walk over its pages.
pub(crate) fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kilobytes(&status, "VmRSS:").unwrap_or(0) as f64
}

/// CPU that all processes of the machine used, in seconds, without interrupts: those are on behalf of whoever.
fn machine() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut fields = stat.lines().next().unwrap_or_default().split_ascii_whitespace();
    // "cpu", user, nice, system
    let ticks: u64 = fields
        .by_ref()
        .skip(1)
        .take(3)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks as f64 / TICKS
}

/// From the start of some work to its end.
pub(crate) struct Window {
    pid: u32,
    started: Instant,
    server: (f64, f64),
    generator: f64,
    machine: f64,
}

/// What was spent in a window, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spent {
    pub wall: f64,
    /// CPU of the server.
    pub server: f64,
    /// Of that, in the kernel.
    pub kernel: f64,
    /// CPU of this process.
    pub generator: f64,
    /// CPU of everybody else: noise, which makes the server dearer too, as caches are shared.
    pub others: f64,
}

impl Window {
    pub(crate) fn open(pid: u32) -> Self {
        Self {
            pid,
            started: Instant::now(),
            server: cpu_parts(pid),
            generator: cpu(std::process::id()),
            machine: machine(),
        }
    }

    pub(crate) fn close(&self) -> Spent {
        let ((user, system), (user_before, kernel_before)) = (cpu_parts(self.pid), self.server);
        let kernel = system - kernel_before;
        let server = user - user_before + kernel;
        let generator = cpu(std::process::id()) - self.generator;
        let others = (machine() - self.machine - server - generator).max(0.0);
        Spent {
            wall: self.started.elapsed().as_secs_f64(),
            server,
            kernel,
            generator,
            others,
        }
    }
}

/// Waits until the server has nothing to do, at most `limit`.
pub(crate) async fn calm(pid: u32, limit: Duration) {
    let end = Instant::now() + limit;
    let mut windows = 0;
    while windows < CALM_WINDOWS && Instant::now() < end {
        let before = cpu(pid);
        tokio::time::sleep(CALM_WINDOW).await;
        let calm = cpu(pid) - before <= CALM_SHARE * CALM_WINDOW.as_secs_f64();
        windows = if calm { windows + 1 } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_behind_the_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 3 4 20 0 1 0 55 0 0";
        assert_eq!(ticks_of(stat), Some((250, 50)));
        assert_eq!(ticks_of("7 (a) S 1"), None);
        assert_eq!(
            kilobytes("Rss:   9 kB\nPss:       123 kB\nPss_Anon: 5 kB\n", "Pss:"),
            Some(123)
        );
        assert_eq!(kilobytes("", "Pss:"), None);
    }

    #[test]
    fn this_process_uses_cpu_and_memory() {
        let window = Window::open(std::process::id());
        let end = Instant::now() + Duration::from_millis(300);
        let mut count = 0_u64;
        while Instant::now() < end {
            count = std::hint::black_box(count + 1);
        }
        let spent = window.close();
        assert!(spent.server > 0.0 && spent.server <= spent.wall * 2.0, "{spent:?}");
        assert!(memory(std::process::id()) > 100.0);
        assert!(resident(std::process::id()) > 100.0);
    }
}
