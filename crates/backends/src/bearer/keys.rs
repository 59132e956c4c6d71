//! Checking tokens here, by the public keys of their provider.
//!
//! The keys are fetched when the first token comes, and again from time to time; a token of a key that is not among them
//! has them fetched at once, but not without end, as anybody can make up such a token. A provider that is away keeps
//! nobody out whose key is known.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use accounts::backend::{Answered, Backend, Question};
use auth::Verdict;

use super::jwt::{Key, Unverified};
use super::{Rules, now};
use crate::client::{Ask, Client, Service};
use crate::json;

/// The longest set of keys, in bytes.
const SET_BYTES: usize = 256 * 1024;
/// After this time the keys are fetched again: one that was withdrawn is not taken for longer.
const FRESH: Duration = Duration::from_secs(600);
/// For so long they are used where they cannot be fetched again.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// They are fetched so often at most …
const FETCHES: usize = 4;
/// … within this time.
const WITHIN: Duration = Duration::from_secs(60);

/// The driver.
pub struct SignedTokens {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    limit: Duration,
    rules: Rules,
    known: Mutex<Known>,
    /// Held while keys are fetched: one fetch is for all who wait.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Known {
    keys: Option<(Instant, Arc<Vec<Key>>)>,
    /// When they were fetched, or should have been: `FETCHES` at most.
    tried: VecDeque<Instant>,
    /// The last attempt brought none.
    is_failing: bool,
}

impl SignedTokens {
    /// Fetches nothing yet.
    ///
    /// # Errors
    /// The authorities for the provider's certificate cannot be read.
    pub fn new(keys: Service, rules: Rules) -> io::Result<SignedTokens> {
        Ok(SignedTokens {
            shared: Arc::new(Shared {
                limit: keys.limit,
                client: Client::new(keys)?,
                rules,
                known: Mutex::default(),
                fetching: tokio::sync::Mutex::default(),
            }),
        })
    }
}

impl Backend for SignedTokens {
    fn ask(&self, question: Question, answered: Answered) {
        let Question::Bearer { token, .. } = question else {
            return answered(Verdict::Unavailable);
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move { answered(shared.verdict(&token).await) });
    }
}

impl Shared {
    async fn verdict(&self, token: &str) -> Verdict {
        let token = match Unverified::read(token) {
            Ok(token) => token,
            Err(wrong) => return self.rules.verdict(Err(wrong)),
        };
        let Some(keys) = self.keys_for(&token).await else {
            return Verdict::Unavailable;
        };
        let judged = token
            .claims(&keys)
            .and_then(|claims| self.rules.judge(&claims, now(), true));
        self.rules.verdict(judged)
    }

    /// The keys, of which none fits if there is none that does. `None`: nobody knows.
    async fn keys_for(&self, token: &Unverified<'_>) -> Option<Arc<Vec<Key>>> {
        if let Some(keys) = self.fresh(token) {
            return Some(keys);
        }
        let turn = tokio::time::timeout(self.limit, self.fetching.lock()).await;
        let Ok(_turn) = turn else { return None };
        // Somebody else may have fetched them meanwhile.
        if let Some(keys) = self.fresh(token) {
            return Some(keys);
        }
        if self.known().may_fetch(Instant::now()) {
            let fetched = self.client.report("who gives out bearer tokens", self.fetch().await);
            let mut known = self.known();
            known.is_failing = fetched.is_none();
            if let Some(keys) = fetched {
                known.keys = Some((Instant::now(), Arc::new(keys)));
            }
        }
        let known = self.known();
        let (since, keys) = known.keys.as_ref()?;
        // A key that is not among old ones may be a new one.
        let is_known = since.elapsed() < KEPT && (!known.is_failing || token.fits(keys));
        is_known.then(|| Arc::clone(keys))
    }

    /// The keys, if they are new enough and one of them fits.
    fn fresh(&self, token: &Unverified<'_>) -> Option<Arc<Vec<Key>>> {
        let known = self.known();
        let (since, keys) = known.keys.as_ref()?;
        (since.elapsed() < FRESH && token.fits(keys)).then(|| Arc::clone(keys))
    }

    async fn fetch(&self) -> io::Result<Vec<Key>> {
        let text = self.client.ask(Ask::get(), SET_BYTES).await?;
        Key::read_all(&text).ok_or_else(json::wrong)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Counts what it allows.
    fn may_fetch(&mut self, now: Instant) -> bool {
        while self.tried.front().is_some_and(|first| now - *first >= WITHIN) {
            self.tried.pop_front();
        }
        let may = self.tried.len() < FETCHES;
        if may {
            self.tried.push_back(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fetches_are_bounded() {
        let mut known = Known::default();
        let begin = Instant::now();
        for second in 0..FETCHES as u64 {
            assert!(known.may_fetch(begin + Duration::from_secs(second)));
        }
        assert!(!known.may_fetch(begin + WITHIN - Duration::from_secs(1)));
        assert!(known.may_fetch(begin + WITHIN));
        assert!(!known.may_fetch(begin + WITHIN), "one place was free");
    }
}
