//! What one address may do: connections before login, connections a second, failed logins.
//!
//! An IPv6 address counts as its /64, which is what one customer has. The tables forget an
//! address as soon as it has nothing to be remembered for, so they cannot grow without bound by
//! many addresses that each do little.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Seconds over which new connections are averaged.
const RATE_WINDOW: i64 = 10;
/// Seconds in which failed logins are counted.
const FAILURE_WINDOW: i64 = 60;
/// Addresses and accounts remembered before stale ones are swept out.
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

#[derive(Default)]
struct Tables {
    addresses: HashMap<IpAddr, Address>,
    failures: HashMap<(IpAddr, Option<Box<str>>), Failures>,
}

pub(crate) struct Throttle {
    limits: PerAddress,
    tables: Mutex<Tables>,
}

/// The address that is counted.
fn counted(address: IpAddr) -> IpAddr {
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

    /// A connection was accepted. False: close it; nothing was counted.
    pub(crate) fn admit(&self, address: IpAddr, seconds: i64) -> bool {
        let mut tables = self.lock();
        let window = seconds / RATE_WINDOW;
        if tables.addresses.len() >= SWEEP_AT {
            tables
                .addresses
                .retain(|_, entry| entry.waiting > 0 || entry.window == window);
        }
        let entry = tables.addresses.entry(counted(address)).or_default();
        if entry.window != window {
            entry.window = window;
            entry.opened = 0;
        }
        let allowed = u64::from(self.limits.per_second) * RATE_WINDOW as u64;
        if entry.waiting >= self.limits.before_login || u64::from(entry.opened) >= allowed {
            return false;
        }
        entry.opened += 1;
        entry.waiting += 1;
        true
    }

    /// An admitted connection has logged in or is gone.
    pub(crate) fn settled(&self, address: IpAddr) {
        if let Some(entry) = self.lock().addresses.get_mut(&counted(address)) {
            entry.waiting = entry.waiting.saturating_sub(1);
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
            .get(&key)
            .is_none_or(|entry| entry.window != window || entry.count < limit)
    }

    pub(crate) fn login_failed(&self, address: IpAddr, account: Option<&str>, seconds: i64) {
        let window = seconds / FAILURE_WINDOW;
        let mut tables = self.lock();
        if tables.failures.len() >= SWEEP_AT {
            tables.failures.retain(|_, entry| entry.window == window);
        }
        let mut count = |account: Option<Box<str>>| {
            let entry = tables.failures.entry((counted(address), account)).or_default();
            if entry.window != window {
                *entry = Failures { window, count: 0 };
            }
            entry.count = entry.count.saturating_add(1);
        };
        count(None);
        if let Some(account) = account {
            count(Some(account.into()));
        }
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
        })
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn connections_before_login_are_counted_per_address() {
        let throttle = throttle();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        assert!(throttle.admit(one, 0));
        assert!(throttle.admit(one, 0));
        assert!(!throttle.admit(one, 0));
        assert!(throttle.admit(other, 0));
        throttle.settled(one);
        assert!(throttle.admit(one, 0));
    }

    #[test]
    fn new_connections_are_averaged() {
        let throttle = throttle();
        let one = address("192.0.2.1");
        for _ in 0..10 {
            assert!(throttle.admit(one, 5));
            throttle.settled(one);
        }
        assert!(!throttle.admit(one, 9));
        assert!(throttle.admit(one, 10));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let throttle = throttle();
        assert!(throttle.admit(address("2001:db8::1"), 0));
        assert!(throttle.admit(address("2001:db8::2"), 0));
        assert!(!throttle.admit(address("2001:db8::3"), 0));
        assert!(throttle.admit(address("2001:db8:0:1::1"), 0));
    }

    #[test]
    fn failures_of_one_address_do_not_lock_others_out() {
        let throttle = throttle();
        let (one, other) = (address("192.0.2.1"), address("192.0.2.2"));
        let account = Some("juliet@example.org");
        for _ in 0..2 {
            assert!(throttle.may_log_in(one, account, 0));
            throttle.login_failed(one, account, 0);
        }
        assert!(!throttle.may_log_in(one, account, 59));
        assert!(throttle.may_log_in(one, None, 0));
        assert!(throttle.may_log_in(other, account, 0));
        assert!(throttle.may_log_in(one, account, 60), "the next minute");
        throttle.login_failed(one, None, 0);
        assert!(!throttle.may_log_in(one, None, 0));
    }
}
