//! How many guests there may be (XEP-0175): altogether, and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use router::Guest;

use crate::throttle::counted;

/// Limits of guests (configuration: `[limits]`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct MaxGuests {
    pub(crate) total: usize,
    pub(crate) per_address: usize,
}

#[derive(Default)]
struct Counts {
    total: usize,
    /// No address is in here without a guest.
    addresses: HashMap<IpAddr, usize>,
}

pub(crate) struct Guests {
    limits: MaxGuests,
    counts: Mutex<Counts>,
}

impl Guests {
    pub(crate) fn new(limits: MaxGuests) -> Arc<Guests> {
        Arc::new(Guests {
            limits,
            counts: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Numbers, which are right between any two statements.
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place, until the guest has gone; None where a limit is reached.
    pub(crate) fn admit(self: &Arc<Guests>, address: IpAddr) -> Option<Guest> {
        let address = counted(address);
        let mut counts = self.lock();
        let here = counts.addresses.get(&address).copied().unwrap_or(0);
        if counts.total >= self.limits.total || here >= self.limits.per_address {
            return None;
        }
        counts.total += 1;
        counts.addresses.insert(address, here + 1);
        drop(counts);
        let guests = Arc::clone(self);
        Some(Guest::new(move || guests.leave(address)))
    }

    fn leave(&self, address: IpAddr) {
        let mut counts = self.lock();
        counts.total -= 1;
        if let Some(here) = counts.addresses.get_mut(&address) {
            *here -= 1;
            if *here == 0 {
                counts.addresses.remove(&address);
            }
        }
        if counts.addresses.capacity() > 64 + 4 * counts.addresses.len() {
            counts.addresses.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_and_given_back() {
        let guests = Guests::new(MaxGuests {
            total: 3,
            per_address: 2,
        });
        let admit = |address: &str| guests.admit(address.parse().expect("an address"));
        let (first, second) = (admit("192.0.2.1"), admit("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(
            admit("192.0.2.1").is_none(),
            "two from one address, however it is written"
        );
        let third = admit("2001:db8::1");
        assert!(third.is_some());
        assert!(admit("198.51.100.1").is_none(), "three altogether");
        drop(first);
        assert!(admit("192.0.2.1").is_some(), "a place is free, and free again");
        let fourth = admit("2001:db8::2");
        assert!(fourth.is_some());
        drop((second, third, fourth));
        let counts = guests.lock();
        assert_eq!((counts.total, counts.addresses.len()), (0, 0));
    }
}
