//! What one connection may send: a token bucket (configuration: `limits.read_bytes_per_second`,
//! `limits.read_burst_bytes`).
//!
//! What is read counts when it has been read, since nobody knows before how much it is. So the
//! bucket may go below zero by one read, and nothing more is read until it has recovered.

use std::time::Duration;

use tokio::time::Instant;

pub(crate) struct Allowance {
    /// Bytes; negative: how many too many there were.
    left: f64,
    /// When `left` was right.
    at: Instant,
}

impl Allowance {
    pub(crate) fn new(now: Instant, burst: u64) -> Allowance {
        Allowance {
            left: burst as f64,
            at: now,
        }
    }

    /// `count` bytes were read.
    pub(crate) fn spend(&mut self, now: Instant, count: usize, per_second: u64, burst: u64) {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * per_second as f64;
        self.left = (self.left + earned).min(burst as f64) - count as f64;
        self.at = now;
    }

    /// When more may be read; None: now.
    pub(crate) fn wait(&self, now: Instant, per_second: u64) -> Option<Instant> {
        if self.left >= 0.0 {
            return None;
        }
        let pause = Duration::from_secs_f64(-self.left / per_second.max(1) as f64);
        Some(self.at + pause).filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 1000;
    const BURST: u64 = 4000;

    /// Reads as (milliseconds, bytes), then the moment to look and how long the wait is from there.
    fn check(reads: &[(u64, usize)], look: u64, wait: Option<u64>) {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut allowance = Allowance::new(start, BURST);
        for &(millis, count) in reads {
            allowance.spend(at(millis), count, RATE, BURST);
        }
        let waited = allowance
            .wait(at(look), RATE)
            .map(|until| (until - at(look)).as_secs_f64() * 1000.0);
        match (waited, wait) {
            (None, None) => {}
            (Some(is), Some(expected)) if (is - expected as f64).abs() < 0.01 => {}
            _ => panic!("{reads:?}, looked at {look}: {waited:?} instead of {wait:?}"),
        }
    }

    #[test]
    fn a_bucket() {
        check(&[], 0, None);
        check(&[(0, 4000)], 0, None);
        check(&[(0, 4500)], 0, Some(500));
        check(&[(0, 4500)], 200, Some(300));
        check(&[(0, 4500)], 500, None);
        // What was earned in between counts once.
        check(&[(0, 4500), (500, 100)], 500, Some(100));
        check(&[(0, 4500), (500, 100), (550, 0)], 550, Some(50));
        // Silence earns no more than the burst.
        check(&[(0, 1), (3_600_000, 4100)], 3_600_000, Some(100));
        // Who keeps to the average never waits, however long it goes on.
        let steady: Vec<_> = (0..10_000).map(|second| (second * 1000, 1000)).collect();
        check(&steady, 9_999_000, None);
    }
}
