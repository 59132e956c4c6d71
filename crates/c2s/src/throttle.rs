//! What one address may do: connections before login, connections a second, failed logins.
//!
//! An IPv6 address counts as its /64, which is what one customer has. The tables forget an
//! address as soon as it has nothing to be remembered for, so they cannot grow without bound by
//! many addresses that each do little.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::metrics::Reached;

/// Seconds over which new connections are averaged.
const RATE_WINDOW: i64 = 10;
/// Seconds in which failed logins are counted.
const FAILURE_WINDOW: i64 = 60;
/// Seconds in which accounts that are asked for are counted.
const REGISTRATION_WINDOW: i64 = 3_600;
/// Addresses and accounts remembered before stale ones are swept out for the first time; later
/// when there are twice as many as were left, so that a crowd does not make each sweep in vain.
const SWEEP_AT: usize = 4096;

/// Limits per address (configuration: `[limits]`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct PerAddress {
    /// Connections that are not logged in yet.
    pub before_login: usize,
    /// New connections a second, averaged over ten seconds.
    pub per_second: u32,
    /// Failed logins a minute.
    pub failures: u32,
    /// Failed logins a minute for one account.
    pub failures_per_account: u32,
    /// Accounts that may be asked for in an hour without an invitation,
    pub registrations: u32,
    /// and by all addresses together.
    pub registrations_altogether: u32,
}

#[derive(Default)]
struct Address {
    waiting: usize,
    window: i64,
    opened: u32,
}

#[derive(Default)]
struct Failures {
    window: i64,
    count: u32,
}

/// Entries that are swept now and then.
struct Swept<K, V> {
    entries: HashMap<K, V>,
    sweep_at: usize,
}

impl<K, V> Default for Swept<K, V> {
    fn default() -> Self {
        Swept {
            entries: HashMap::new(),
            sweep_at: SWEEP_AT,
        }
    }
}

impl<K: Eq + Hash, V: Default> Swept<K, V> {
    fn entry(&mut self, key: K, keep: impl Fn(&V) -> bool) -> &mut V {
        if self.entries.len() >= self.sweep_at {
            self.entries.retain(|_, entry| keep(entry));
            self.sweep_at = SWEEP_AT.max(2 * self.entries.len());
            self.entries.shrink_to(self.sweep_at);
        }
        self.entries.entry(key).or_default()
    }
}

#[derive(Default)]
struct Tables {
    addresses: Swept<IpAddr, Address>,
    /// By address; without one those of all.
    registrations: Swept<Option<IpAddr>, Failures>,
    failures: Swept<(IpAddr, Option<Box<str>>), Failures>,
}

pub(crate) struct Throttle {
    limits: PerAddress,
    tables: Mutex<Tables>,
}

/// The address that is counted.
pub(crate) fn counted(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets[8..].fill(0);
            IpAddr::V6(Ipv6Addr::from(octets))
        }
    }
}

impl Throttle {
    pub(crate) fn new(limits: PerAddress) -> Throttle {
        Throttle {
            limits,
            tables: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection was accepted. An error: close it; nothing was counted.
    pub(crate) fn admit(&self, address: IpAddr, seconds: i64) -> Result<(), Reached> {
        let mut tables = self.lock();
        let window = seconds / RATE_WINDOW;
        let entry = tables
            .addresses
            .entry(counted(address), |entry| entry.waiting > 0 || entry.window == window);
        if entry.window != window {
            entry.window = window;
            entry.opened = 0;
        }
        let allowed = u64::from(self.limits.per_second) * RATE_WINDOW as u64;
        if entry.waiting >= self.limits.before_login {
            return Err(Reached::BeforeLogin);
        }
        if u64::from(entry.opened) >= allowed {
            return Err(Reached::PerSecond);
        }
        entry.opened += 1;
        entry.waiting += 1;
        Ok(())
    }

    /// An admitted connection has logged in or is gone.
    pub(crate) fn settled(&self, address: IpAddr) {
        if let Some(entry) = self.lock().addresses.entries.get_mut(&counted(address)) {
            entry.waiting = entry.waiting.saturating_sub(1);
        }
    }

    /// Whether one more account may be asked for. Counts each, whatever becomes of it: who is told that a name is taken has
    /// learnt something as well.
    pub(crate) fn may_register(&self, address: IpAddr, seconds: i64) -> Result<(), Reached> {
        let window = seconds / REGISTRATION_WINDOW;
        let mut tables = self.lock();
        let mut count = |address: Option<IpAddr>, limit| {
            let entry = tables.registrations.entry(address, |entry| entry.window == window);
            if entry.window != window {
                *entry = Failures { window, count: 0 };
            }
            let is_free = entry.count < limit;
            entry.count += u32::from(is_free);
            is_free
        };
        // What one address is refused is not taken from the others.
        if !count(Some(counted(address)), self.limits.registrations) {
            return Err(Reached::RegistrationsPerAddress);
        }
        match count(None, self.limits.registrations_altogether) {
            true => Ok(()),
            false => Err(Reached::Registrations),
        }
    }

    /// Whether a login may be tried: for any account, or for this one.
    pub(crate) fn may_log_in(&self, address: IpAddr, account: Option<&str>, seconds: i64) -> bool {
        let window = seconds / FAILURE_WINDOW;
        let limit = if account.is_some() {
            self.limits.failures_per_account
        } else {
            self.limits.failures
        };
        let key = (counted(address), account.map(Into::into));
        self.lock()
            .failures
            .entries
            .get(&key)
            .is_none_or(|entry| entry.window != window || entry.count < limit)
    }

    /// Counts a failed login. True if with it a limit is reached: more are refused until the minute is over.
    pub(crate) fn login_failed(&self, address: IpAddr, account: Option<&str>, seconds: i64) -> bool {
        let window = seconds / FAILURE_WINDOW;
        let mut tables = self.lock();
        let mut count = |account: Option<Box<str>>, limit| {
            let key = (counted(address), account);
            let entry = tables.failures.entry(key, |entry| entry.window == window);
            if entry.window != window {
                *entry = Failures { window, count: 0 };
            }
            entry.count = entry.count.saturating_add(1);
            entry.count == limit
        };
        let mut is_reached = count(None, self.limits.failures);
        if let Some(account) = account {
            is_reached |= count(Some(account.into()), self.limits.failures_per_account);
        }
        is_reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle() -> Throttle {
        Throttle::new(PerAddress {
            before_login: 2,
            per_second: 1,
            failures: 3,
            failures_per_account: 2,
            registrations: 2,
            registrations_altogether: 3,
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn connections_before_login_are_counted_per_address() {
        let throttle = throttle();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert!(throttle.admit(one, 0).is_ok());
        assert!(throttle.admit(one, 0).is_ok());
        assert!(throttle.admit(one, 0).is_err());
        assert!(throttle.admit(other, 0).is_ok());
        throttle.settled(one);
        assert!(throttle.admit(one, 0).is_ok());
    }

    #[test]
    fn a_crowd_is_remembered_and_then_forgotten() {
        let throttle = throttle();
        let nth = |n: usize| IpAddr::from([10, (n >> 16) as u8, (n >> 8) as u8, n as u8]);
        let crowd = 3 * SWEEP_AT;
        for n in 0..crowd {
            assert!(throttle.admit(nth(n), 0).is_ok());
        }
        assert_eq!(throttle.lock().addresses.entries.len(), crowd, "all of them still wait");
        for n in 0..crowd {
            throttle.settled(nth(n));
        }
        for n in crowd..3 * crowd {
            assert!(throttle.admit(nth(n), RATE_WINDOW).is_ok());
            throttle.settled(nth(n));
        }
        assert!(throttle.lock().addresses.entries.len() <= 2 * crowd);
        assert!(!throttle.lock().addresses.entries.contains_key(&nth(0)));
    }

    #[test]
    fn new_connections_are_averaged() {
        let throttle = throttle();
        let one = address("192.0.2.1");
        for _ in 0..10 {
            assert!(throttle.admit(one, 5).is_ok());
            throttle.settled(one);
        }
        assert!(throttle.admit(one, 9).is_err());
        assert!(throttle.admit(one, 10).is_ok());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let throttle = throttle();
        assert!(throttle.admit(address("2001:db8::1"), 0).is_ok());
        assert!(throttle.admit(address("2001:db8::2"), 0).is_ok());
        assert!(throttle.admit(address("2001:db8::3"), 0).is_err());
        assert!(throttle.admit(address("2001:db8:0:1::1"), 0).is_ok());
    }

    #[test]
    fn accounts_that_are_asked_for_are_counted() {
        let throttle = throttle();
        let (one, other, third) = (address("192.0.2.1"), address("192.0.2.2"), address("192.0.2.3"));
        let is_free = |address, seconds| throttle.may_register(address, seconds).is_ok();
        assert!(is_free(one, 0) && is_free(one, 3_599));
        assert!(!is_free(one, 3_599));
        assert!(is_free(other, 3_599), "what one was refused is not counted for all");
        assert!(!is_free(third, 3_599));
        assert!(is_free(one, 3_600) && is_free(third, 3_600), "the next hour");
    }

    #[test]
    fn failures_of_one_address_do_not_lock_others_out() {
        let throttle = throttle();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let account = Some("juliet@example.org");
        for is_last in [false, true] {
            assert!(throttle.may_log_in(one, account, 0));
            assert_eq!(throttle.login_failed(one, account, 0), is_last);
        }
        assert!(!throttle.may_log_in(one, account, 59));
        assert!(throttle.may_log_in(one, None, 0));
        assert!(throttle.may_log_in(other, account, 0));
        assert!(throttle.may_log_in(one, account, 60), "the next minute");
        throttle.login_failed(one, None, 0);
        assert!(!throttle.may_log_in(one, None, 0));
    }
}
