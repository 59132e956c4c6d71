//! When it is tried to make a stream.

use super::RemoteRules;
use super::link::{Link, State};
use super::time::Tick;

/// Seconds for which a domain that was reached is expected back.
pub(super) const EXPECTED: i64 = 30 * 24 * 3_600;

/// Somebody who sends has a domain tried again that failed, but not sooner than this after it did. In seconds.
const ASKED_AGAIN: i64 = 30;

/// Where a stream broke that was established, the peer is mostly there again soon: it is tried at once, and then so many
/// seconds after the first attempt that failed, and twice as many each time.
const AFTER_BREAK: i64 = 1;

/// A stream that stood for so many seconds was one.
const STOOD: i64 = 10;

/// It is tried so often although nothing waits for it, as what was seen of it is not known to be true until then.
const MISSED: u32 = 8;

impl Link {
    /// Whether so many seconds have passed since the last attempt failed.
    pub(super) fn has_rested(&self, seconds: i64, at: Tick) -> bool {
        self.failed_at.is_none_or(|failed| at.since(failed) >= seconds)
    }

    /// Seconds between the attempt that failed last and the next.
    fn pause(&self, rules: &RemoteRules) -> i64 {
        let first = if self.is_missed {
            AFTER_BREAK
        } else {
            rules.retry_seconds
        };
        let factor = 1_i64 << self.failures.saturating_sub(1).min(16);
        first.saturating_mul(factor).min(rules.longest_retry_seconds)
    }

    /// When the next attempt is made, as far as it is for the link to say; None: at once.
    fn next_attempt(&self, rules: &RemoteRules) -> Option<Tick> {
        let failed = self.failure.as_ref().and(self.failed_at);
        failed
            .map(|failed| failed.plus(self.pause(rules)))
            .max(self.rests_until)
    }

    /// Seconds until one is; None: only when somebody sends something.
    pub(super) fn next_attempt_in(&self, rules: &RemoteRules, at: Tick) -> Option<i64> {
        let is_wanted = self.is_waited_for() || (self.is_missed && self.failure.is_some() && self.failures <= MISSED);
        let next = self.next_attempt(rules).map_or(0, |next| next.since(at).max(0));
        (is_wanted && matches!(self.state, State::Idle)).then_some(next)
    }

    /// Whether an attempt is due by itself.
    pub(super) fn is_due(&self, rules: &RemoteRules, at: Tick) -> bool {
        self.next_attempt_in(rules, at) == Some(0)
    }

    /// It has failed a moment ago: not even who sends something has it tried again.
    pub(super) fn has_just_failed(&self, rules: &RemoteRules, at: Tick) -> bool {
        let pause = match self.is_missed {
            true => self.pause(rules).min(ASKED_AGAIN),
            false => ASKED_AGAIN,
        };
        matches!(self.state, State::Idle) && self.failure.is_some() && !self.has_rested(pause, at)
    }

    /// Whether who sends something may have it tried.
    pub(super) fn may_be_tried(&self, rules: &RemoteRules, at: Tick) -> bool {
        !self.has_just_failed(rules, at) && self.rests_until.is_none_or(|until| until <= at)
    }

    /// The stream is over. One that ends soon and has brought nothing across is not made again at once each time: the peer
    /// would be asked without a pause for what it cannot do just now, as with a full disk.
    pub(super) fn rest_after_stream(&mut self, rules: &RemoteRules, at: Tick) {
        let State::Up(stream) = &self.state else { return };
        if stream.has_acknowledged || at.since(stream.began) >= STOOD {
            self.short_lived = 0;
            return;
        }
        if let Some(before) = self.short_lived.checked_sub(1) {
            let pause = AFTER_BREAK << before.min(16);
            let until = at.plus(pause.min(rules.longest_retry_seconds));
            self.rests_until = self.rests_until.max(Some(until));
        }
        self.short_lived = self.short_lived.saturating_add(1);
    }

    /// Whether a domain that cannot be reached now was reached not long ago.
    pub(super) fn is_expected(&self, at: Tick) -> bool {
        self.reached.is_some_and(|reached| at.since(reached) < EXPECTED)
    }
}
