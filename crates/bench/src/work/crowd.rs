//! As many TLS sessions as one process may have files: what each costs, and what is left when all leave.

use std::sync::Arc;
use std::time::Duration;

use super::idle::{HOLD, warm};
use super::{CALM_LIMIT, Result, quantile};
use crate::Outcome;
use crate::client::{Access, close_all, login_all};
use crate::measure::{Window, calm, memory};

/// The memory is back when it is less than this above the base, in kB.
const BACK: f64 = 24.0 * 1024.0;
/// Seconds after the last session left at which the memory kept is read.
const KEPT_AT: u32 = 10;
/// Seconds after which nobody waits for it to be back.
const BACK_LIMIT: u32 = 60;
const SECOND: Duration = Duration::from_secs(1);

pub(super) async fn run(access: &Arc<Access>, pid: u32, sessions: usize) -> Outcome<Result> {
    let mut result = Result::default();
    let each = |amount: f64| amount / sessions.max(1) as f64;
    warm(access, pid, sessions).await?;
    let base = memory(pid);
    let window = Window::open(pid);
    let (clients, mut times) = login_all(access, 0..sessions, true).await?;
    let logged_in = window.close();
    calm(pid, CALM_LIMIT).await;
    result.figure("crowd.login", each(window.close().server * 1000.0));
    result.noise(logged_in);
    let window = Window::open(pid);
    tokio::time::sleep(HOLD).await;
    let still = window.close();
    result.figure("crowd.memory", each(memory(pid) - base));
    result.notes.push(format!(
        "{sessions} sessions, {:.0} logins/s, {:.1} ms each; base {:.1} MB; {:.1} ms CPU a second while idle",
        sessions as f64 / logged_in.wall,
        quantile(&mut times, 0.5) / 1000.0,
        base / 1024.0,
        still.server * 1000.0 / still.wall
    ));

    let window = Window::open(pid);
    close_all(clients).await;
    let leaving = window.close();
    let left_at = tokio::time::Instant::now();
    let (mut back, mut curve) = (None, Vec::new());
    for second in 0..=BACK_LIMIT {
        tokio::time::sleep_until(left_at + second * SECOND).await;
        let more = memory(pid) - base;
        curve.push(format!("{:.0}", more / 1024.0));
        if more < BACK {
            back = back.or(Some(second));
        }
        if second == KEPT_AT {
            result.figure("crowd.kept", more / 1024.0);
        }
        if second >= KEPT_AT && back.is_some() {
            break;
        }
    }
    result.figure("crowd.back", f64::from(back.unwrap_or(BACK_LIMIT)));
    if back.is_none() {
        result.notes.push(format!("NOT back after {BACK_LIMIT} s"));
    }
    result.notes.push(format!(
        "all left within {:.1} s, {:.2} ms CPU each; MB above the base, second by second: {}",
        leaving.wall,
        each(leaving.server * 1000.0),
        curve.join(" ")
    ));
    Ok(result)
}
