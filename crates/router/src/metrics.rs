//! What the router counts, for whoever watches the server.

use std::sync::atomic::{AtomicU64, Ordering};

/// Places that a count is spread over, so that cores do not wait for each other; a power of two.
const STRIPES: usize = 16;

/// A line of the cache for each.
#[derive(Default)]
#[repr(align(64))]
struct Stripe(AtomicU64);

/// A count that all cores raise all the time.
#[derive(Default)]
pub(crate) struct Striped([Stripe; STRIPES]);

impl Striped {
    /// `number`: who counts; another for each that may do so at the same time.
    pub(crate) fn up(&self, number: u64) {
        self.0[number as usize % STRIPES].0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}
