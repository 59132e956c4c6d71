//! What was tried to reach a domain, or to be reached by it, and what came of it.
//!
//! Each attempt writes its steps into a [`Trace`], which is kept for whoever asks why a domain is out of reach
//! (`jackdaw why`). In memory alone: what was before a restart does not explain what is now.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Steps of one attempt; what comes behind is left out.
const STEPS: usize = 64;
/// Characters of a step; what comes from elsewhere may be long.
const TEXT: usize = 500;
/// Attempts that are kept of a domain, for each direction.
const ATTEMPTS: usize = 4;
/// Domains of which any are kept; the one that was heard of longest ago gives way.
const DOMAINS: usize = 1_024;

/// What is wrong with a stream is told within this.
const SAME: Duration = Duration::from_secs(30);

/// What is done in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Whether this server wants to talk with the domain at all.
    Policy,
    /// A question to the DNS.
    Dns,
    /// A connection to an address.
    Connect,
    Tls,
    /// Whom the certificate speaks for.
    Certificate,
    /// Header, features, errors of the stream.
    Stream,
    Authentication,
    /// Stream management, both directions.
    Management,
}

impl Step {
    const ALL: [Step; 8] = [
        Step::Policy,
        Step::Dns,
        Step::Connect,
        Step::Tls,
        Step::Certificate,
        Step::Stream,
        Step::Authentication,
        Step::Management,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Step::Policy => "policy",
            Step::Dns => "dns",
            Step::Connect => "connect",
            Step::Tls => "tls",
            Step::Certificate => "certificate",
            Step::Stream => "stream",
            Step::Authentication => "authentication",
            Step::Management => "management",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// A step that was taken.
#[derive(Clone, Debug)]
pub struct Taken {
    /// Since the attempt began.
    pub after: Duration,
    pub step: Step,
    pub is_good: bool,
    /// For an operator: names, addresses, answers, errors. Nothing secret, and no content of stanzas.
    pub what: String,
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Trace {
    began: Instant,
    pub steps: Vec<Taken>,
}

impl Default for Trace {
    fn default() -> Trace {
        Trace {
            began: Instant::now(),
            steps: Vec::new(),
        }
    }
}

impl Trace {
    pub fn good(&mut self, step: Step, what: impl Into<String>) {
        self.note(step, true, what.into());
    }

    pub fn bad(&mut self, step: Step, what: impl Into<String>) {
        self.note(step, false, what.into());
    }

    fn note(&mut self, step: Step, is_good: bool, what: String) {
        if self.steps.len() < STEPS {
            let after = self.began.elapsed();
            self.steps.push(Taken {
                after,
                step,
                is_good,
                what: one_line(&what),
            });
        }
    }

    /// The last step that failed: why the attempt did, in one line.
    pub fn reason(&self) -> Option<&Taken> {
        self.steps.iter().rev().find(|step| !step.is_good)
    }
}

/// Who has connected to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We have.
    Out,
    In,
}

/// An attempt that has ended.
#[derive(Clone, Debug)]
pub struct Attempt {
    pub direction: Direction,
    /// The domain of ours.
    pub local: Box<str>,
    pub trace: Trace,
    pub has_succeeded: bool,
}

#[derive(Default)]
struct Domain {
    attempts: VecDeque<Attempt>,
    /// When the last of them was noted, counted.
    last: u64,
}

#[derive(Default)]
struct Kept {
    domains: HashMap<Box<str>, Domain>,
    count: u64,
}

/// The attempts of late, by the domain of the other side.
#[derive(Default)]
pub struct Journal {
    kept: Mutex<Kept>,
    /// Attempts of ours that succeeded, and those that failed by the step.
    succeeded: AtomicU64,
    failed: [AtomicU64; Step::ALL.len()],
}

impl Journal {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an attempt that has ended.
    pub fn keep(&self, remote: &str, attempt: Attempt) {
        if attempt.direction == Direction::Out {
            match attempt.trace.reason().filter(|_| !attempt.has_succeeded) {
                Some(reason) => self.failed[reason.step as usize].fetch_add(1, Ordering::Relaxed),
                None => self.succeeded.fetch_add(1, Ordering::Relaxed),
            };
        }
        let mut kept = self.lock();
        kept.count += 1;
        let count = kept.count;
        if !kept.domains.contains_key(remote) && kept.domains.len() >= DOMAINS {
            // Whoever connects names a domain that he makes up: those that we have tried to reach go last.
            let is_theirs = |domain: &Domain| domain.attempts.iter().all(|it| it.direction == Direction::In);
            let order = |domain: &Domain| (!is_theirs(domain), domain.last);
            let oldest = kept.domains.iter().min_by_key(|(_, domain)| order(domain));
            let oldest = oldest.map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                kept.domains.remove(&oldest);
            }
        }
        let domain = kept.domains.entry(remote.into()).or_default();
        domain.last = count;
        let direction = attempt.direction;
        domain.attempts.push_back(attempt);
        let same = |it: &Attempt| it.direction == direction;
        if domain.attempts.iter().filter(|it| same(it)).count() > ATTEMPTS
            && let Some(first) = domain.attempts.iter().position(same)
        {
            domain.attempts.remove(first);
        }
    }

    /// Something is wrong with a stream that has come in from a domain. It stands with what was found out about who has
    /// opened it, if that was a moment ago.
    pub fn note_incoming(&self, remote: &str, address: IpAddr, note: &str) {
        {
            let mut kept = self.lock();
            let attempts = kept.domains.get_mut(remote).map(|domain| &mut domain.attempts);
            let last = attempts.and_then(|attempts| attempts.iter_mut().rfind(|it| it.direction == Direction::In));
            if let Some(last) = last.filter(|last| last.trace.began.elapsed() < SAME) {
                last.has_succeeded = false;
                return last.trace.bad(Step::Stream, note);
            }
        }
        let mut trace = Trace::default();
        trace.good(Step::Connect, format!("from {address}"));
        trace.bad(Step::Stream, note);
        let attempt = Attempt {
            direction: Direction::In,
            local: Box::default(),
            trace,
            has_succeeded: false,
        };
        self.keep(remote, attempt);
    }

    /// What is known of a domain, the oldest first.
    pub fn attempts(&self, remote: &str) -> Vec<Attempt> {
        let kept = self.lock();
        let domain = kept.domains.get(remote);
        domain.map_or_else(Vec::new, |domain| domain.attempts.iter().cloned().collect())
    }

    /// Streams that we have made.
    pub fn succeeded(&self) -> u64 {
        self.succeeded.load(Ordering::Relaxed)
    }

    /// Attempts of ours that have failed, by the step that did.
    pub fn failed(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.failed.iter().map(|count| count.load(Ordering::Relaxed));
        Step::ALL.into_iter().map(Step::name).zip(counts)
    }
}

/// Text as a part of one line, whatever somebody else has put into it.
pub(crate) fn one_line(text: &str) -> String {
    let plain = text.chars().map(|it| if it.is_control() { ' ' } else { it });
    plain.take(TEXT).collect()
}

/// An attempt for people, a line for each step.
pub fn told(attempt: &Attempt, remote: &str) -> Vec<String> {
    let (from, to) = match attempt.direction {
        Direction::Out => (&*attempt.local, remote),
        Direction::In if attempt.local.is_empty() => (remote, "here"),
        Direction::In => (remote, &*attempt.local),
    };
    let ago = ago(attempt.trace.began.elapsed());
    let result = if attempt.has_succeeded { "succeeded" } else { "failed" };
    let mut lines = vec![format!("{from} to {to}, {ago} ago: {result}")];
    for taken in &attempt.trace.steps {
        let mark = if taken.is_good { "ok  " } else { "FAIL" };
        let (after, step, what) = (taken.after.as_secs_f64(), taken.step, &taken.what);
        lines.push(format!("  {after:7.3}s {mark} {step:<14} {what}"));
    }
    lines
}

/// A span for people: `90 s`, `12 min`, `3 h`.
pub fn ago(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..=119 => format!("{seconds} s"),
        seconds @ 120..=7_199 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(direction: Direction, what: &str) -> Attempt {
        let mut trace = Trace::default();
        trace.good(Step::Dns, "found");
        trace.bad(Step::Connect, what);
        Attempt {
            direction,
            local: "here.example".into(),
            trace,
            has_succeeded: false,
        }
    }

    fn whats(journal: &Journal, remote: &str) -> Vec<String> {
        let attempts = journal.attempts(remote).into_iter();
        attempts
            .map(|it| it.trace.reason().expect("a reason").what.clone())
            .collect()
    }

    #[test]
    fn the_last_of_each_direction_are_kept() {
        let journal = Journal::default();
        for number in 0..6 {
            journal.keep("there.example", attempt(Direction::Out, &number.to_string()));
        }
        journal.keep("there.example", attempt(Direction::In, "in"));
        assert_eq!(whats(&journal, "there.example"), ["2", "3", "4", "5", "in"]);
        assert_eq!(whats(&journal, "elsewhere.example"), [""; 0]);
        assert_eq!(
            journal.failed().find(|(step, _)| *step == "connect"),
            Some(("connect", 6))
        );
        assert_eq!(journal.succeeded(), 0);
    }

    #[test]
    fn names_that_somebody_makes_up_do_not_push_out_what_we_have_tried() {
        let journal = Journal::default();
        journal.keep("real.example", attempt(Direction::Out, "real"));
        for number in 0..2 * DOMAINS {
            journal.keep(&format!("x{number}.example"), attempt(Direction::In, "made up"));
        }
        assert_eq!(whats(&journal, "real.example"), ["real"]);
        assert_eq!(whats(&journal, "x0.example"), [""; 0]);
        assert_eq!(journal.lock().domains.len(), DOMAINS);
    }

    #[test]
    fn for_people() {
        let lines = told(&attempt(Direction::In, "a\nb"), "there.example");
        assert_eq!(lines[0], "there.example to here.example, 0 s ago: failed");
        assert!(lines[1].ends_with("s ok   dns            found"), "{}", lines[1]);
        assert!(lines[2].ends_with("s FAIL connect        a b"), "{}", lines[2]);
        assert_eq!(ago(Duration::from_secs(7_200)), "2 h");
    }
}
