//! Sessions that do nothing: what a session holds, and what stays behind.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{CALM_LIMIT, Result};
use crate::Outcome;
use crate::client::{Access, close_all, login_all};
use crate::measure::{Window, calm, memory};

/// Sessions that come and go before the base is read, so that code paths and caches are warm.
const WARM: usize = 50;
/// How long sessions sit still before the memory is read.
pub(super) const HOLD: Duration = Duration::from_secs(2);
/// How long after the last session left the memory is read, at most; it must be back "within seconds".
const BACK: Duration = Duration::from_secs(10);
/// Share of the base that may be left to count as back.
const BACK_AT: f64 = 0.05;
/// Between two looks at the memory.
const LOOK: Duration = Duration::from_millis(500);

/// Memory of a session in kB, and what is left when all have gone in MB, under these keys.
pub(super) async fn memory_of(
    access: &Arc<Access>,
    pid: u32,
    sessions: usize,
    (each, kept): (&'static str, &'static str),
) -> Outcome<Result> {
    let mut result = Result::default();
    warm(access, pid, sessions).await?;
    let base = memory(pid);
    let window = Window::open(pid);
    let (mut clients, _) = login_all(access, 0..sessions / 2, true).await?;
    calm(pid, CALM_LIMIT).await;
    let half = memory(pid);
    let (mut others, _) = login_all(access, sessions / 2..sessions, true).await?;
    clients.append(&mut others);
    result.noise(window.close());
    calm(pid, CALM_LIMIT).await;
    let window = Window::open(pid);
    tokio::time::sleep(HOLD).await;
    let still = window.close();
    let full = memory(pid);
    result.figure(each, (full - base) / sessions.max(1) as f64);
    // Less than the figure if that has a fixed part, of tables and pools that the warm-up did not fill.
    result.notes.push(format!(
        "the second half {:.2} kB each; base {:.1} MB; {:.1} ms CPU a second while idle",
        (full - half) / (sessions - sessions / 2).max(1) as f64,
        base / 1024.0,
        still.server * 1000.0 / still.wall
    ));

    close_all(clients).await;
    let left_at = Instant::now();
    let mut more = memory(pid) - base;
    while more > base * BACK_AT && left_at.elapsed() < BACK {
        tokio::time::sleep(LOOK).await;
        more = memory(pid) - base;
    }
    result.figure(kept, more / 1024.0);
    result.notes.push(format!(
        "kept memory read {:.1} s after the last left",
        left_at.elapsed().as_secs_f64()
    ));
    Ok(result)
}

pub(super) async fn warm(access: &Arc<Access>, pid: u32, sessions: usize) -> Outcome<()> {
    let (clients, _) = login_all(access, 0..WARM.min(sessions), true).await?;
    close_all(clients).await;
    calm(pid, CALM_LIMIT).await;
    Ok(())
}
