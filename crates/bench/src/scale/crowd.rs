//! All sessions of the curve: who they are, and how they come, act and leave.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::{Access, Client, Parked};
use super::server::NewAccount;
use crate::Outcome;
use crate::client::joined;

/// Mutual contacts of every account: half of them the sessions before it, half those behind it. Even.
pub(super) const CONTACTS: usize = 2;
/// A session and its contacts.
pub(super) const CLUSTER: usize = CONTACTS + 1;
/// Logins, or logouts, at the same time.
const AT_ONCE: usize = 64;
/// How long a logout waits before it looks again.
const PAUSE: Duration = Duration::from_millis(5);
/// Progress is told so often in one growth.
const STEPS: usize = 10;
/// Multiplied with a session's number it gives the number in its name: no size of the curve is a multiple of this
/// prime, so that names are a permutation, and whoever logs in next is somewhere else in the database.
const STRIDE: usize = 7_368_787;

pub(super) struct Crowd {
    /// The size of the whole curve.
    size: usize,
    access: Arc<Access>,
    /// By number, as far as it has grown.
    parked: Arc<Mutex<Vec<Option<Parked>>>>,
}

/// The name of a session's account in a curve of this size.
fn user(number: usize, size: usize) -> String {
    // 2^40 sessions would be needed to overflow.
    format!("user{:07}", number * STRIDE % size)
}

impl Crowd {
    pub(super) fn new(access: Arc<Access>, size: usize) -> Outcome<Self> {
        if size.is_multiple_of(STRIDE) || size <= CONTACTS {
            return Err(format!("{size} is no size for a curve"));
        }
        Ok(Self {
            size,
            access,
            // Its pages become memory one after the other, as sessions come.
            parked: Arc::new(Mutex::new(Vec::with_capacity(size))),
        })
    }

    pub(super) fn user(&self, number: usize) -> String {
        user(number, self.size)
    }

    /// The accounts of the whole curve, in order of their names.
    pub(super) fn accounts(&self) -> impl Iterator<Item = NewAccount> + use<> {
        let size = self.size;
        let mut numbers = vec![0_u32; size];
        for number in 0..size {
            numbers[number * STRIDE % size] = u32::try_from(number).unwrap_or(u32::MAX);
        }
        numbers.into_iter().map(move |number| {
            let number = number as usize;
            let steps = (1..=CONTACTS / 2).flat_map(|step| [number + step, number + size - step]);
            NewAccount {
                user: user(number, size),
                contacts: steps.map(|contact| user(contact % size, size)).collect(),
            }
        })
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Option<Parked>>> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs in until there are so many; all of them are parked.
    pub(super) async fn grow(&self, to: usize) -> Outcome<()> {
        let from = self.len();
        self.lock().resize_with(to, || None);
        let (access, parked, size) = (Arc::clone(&self.access), Arc::clone(&self.parked), self.size);
        let login = move |number| {
            let (access, parked) = (Arc::clone(&access), Arc::clone(&parked));
            async move {
                let client = Client::login(&access, number, &user(number, size)).await?.park()?;
                parked.lock().unwrap_or_else(PoisonError::into_inner)[number] = Some(client);
                Ok(())
            }
        };
        each(from..to, "logged in", login).await
    }

    /// Takes up these sessions, in this order.
    pub(super) fn resume(&self, numbers: impl IntoIterator<Item = usize>) -> Outcome<Vec<Client>> {
        let mut parked = self.lock();
        let client = |number: usize| {
            let client = parked.get_mut(number).and_then(Option::take);
            Client::resume(client.ok_or("a session is missing")?, number)
        };
        numbers.into_iter().map(client).collect()
    }

    pub(super) fn park(&self, clients: Vec<Client>) -> Outcome<()> {
        let mut parked = self.lock();
        for client in clients {
            let number = client.number;
            parked[number] = Some(client.park()?);
        }
        Ok(())
    }

    /// Everybody logs out, but nobody while the server is `busy`.
    pub(super) async fn leave(&self, busy: impl Fn() -> bool + Clone + Send + 'static) -> Outcome<()> {
        let parked = Arc::clone(&self.parked);
        let logout = move |number: usize| {
            let (parked, busy) = (Arc::clone(&parked), busy.clone());
            async move {
                while busy() {
                    tokio::time::sleep(PAUSE).await;
                }
                let client = parked.lock().unwrap_or_else(PoisonError::into_inner)[number].take();
                let client = Client::resume(client.ok_or("a session is missing")?, number)?;
                client.leave().await
            }
        };
        each(0..self.len(), "logged out", logout).await?;
        *self.lock() = Vec::new();
        Ok(())
    }

    /// Where clusters begin: as many as fit, at most `count`, spread over everybody and random among their neighbours.
    pub(super) fn clusters(&self, count: usize, random: &mut Random) -> Vec<usize> {
        let size = self.len();
        let count = count.min(size / CLUSTER).max(1);
        let start = |index: usize| index * size / count;
        (0..count)
            .map(|index| start(index) + random.below(start(index + 1) - start(index) - CLUSTER + 1))
            .collect()
    }
}

/// Does something for every number, some at a time, and tells how far it is.
async fn each<F>(
    numbers: std::ops::Range<usize>,
    what: &'static str,
    act: impl Fn(usize) -> F + Clone + Send + 'static,
) -> Outcome<()>
where
    F: Future<Output = Outcome<()>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(numbers.start));
    let (begun, total) = (Instant::now(), numbers.len());
    let tasks: Vec<_> = (0..AT_ONCE.min(total))
        .map(|_| {
            let (act, next, numbers) = (act.clone(), Arc::clone(&next), numbers.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        return Ok::<_, String>(());
                    }
                    let done = number - numbers.start;
                    if total >= 10_000 && done > 0 && done.is_multiple_of(total / STEPS) {
                        let rate = done as f64 / begun.elapsed().as_secs_f64();
                        eprintln!("  {done} of {total} {what}, {rate:.0}/s");
                    }
                    act(number).await?;
                }
            })
        })
        .collect();
    for task in tasks {
        joined(task.await)?;
    }
    Ok(())
}

/// Numbers that look random and are the same in every run (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// A number below this one, which must not be 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16;
        // Below `end`, so it fits.
        (number % end as u64) as usize
    }

    pub(super) fn shuffle<T>(&mut self, all: &mut [T]) {
        for index in (1..all.len()).rev() {
            all.swap(index, self.below(index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn crowd(size: usize) -> Crowd {
        let (door, _) = tokio::sync::mpsc::unbounded_channel();
        Crowd::new(Access::new(door), size).expect("a size")
    }

    #[test]
    fn contacts_are_mutual_and_names_unique() {
        for size in [10, 1_000, 1_777] {
            let accounts: Vec<NewAccount> = crowd(size).accounts().collect();
            assert!(accounts.is_sorted_by_key(|account| account.user.clone()));
            let rosters: BTreeMap<String, BTreeSet<String>> = accounts
                .into_iter()
                .map(|account| (account.user, account.contacts.into_iter().collect()))
                .collect();
            assert_eq!(rosters.len(), size);
            for (user, contacts) in &rosters {
                assert_eq!(contacts.len(), CONTACTS);
                assert!(!contacts.contains(user));
                assert!(contacts.iter().all(|contact| rosters[contact].contains(user)));
            }
        }
    }

    #[test]
    fn clusters_do_not_overlap() {
        for size in [10, 11, 100, 1_000] {
            let crowd = crowd(1_000);
            crowd.lock().resize_with(size, || None);
            let clusters = crowd.clusters(50, &mut Random::new(7));
            assert_eq!(clusters.len(), 50.min(size / CLUSTER));
            assert!(clusters.windows(2).all(|two| two[0] + CLUSTER <= two[1]));
            assert!(clusters.iter().all(|first| first + CLUSTER <= size));
        }
    }
}
