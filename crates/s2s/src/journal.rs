//! What was tried to reach a domain, or to be reached by it, and what came of it.
//!
//! Each attempt writes its steps into a [`Trace`], which is kept for whoever asks why a domain is out of reach
//! (`jackdaw why`).

use std::fmt;
use std::time::{Duration, Instant};

/// Steps of one attempt; what comes behind is left out.
const STEPS: usize = 64;

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

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Step::Policy => "policy",
            Step::Dns => "dns",
            Step::Connect => "connect",
            Step::Tls => "tls",
            Step::Certificate => "certificate",
            Step::Stream => "stream",
            Step::Authentication => "authentication",
            Step::Management => "management",
        })
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
                what,
            });
        }
    }

    /// The last step that failed: why the attempt did, in one line.
    pub fn reason(&self) -> Option<&Taken> {
        self.steps.iter().rev().find(|step| !step.is_good)
    }
}
