//! The seeded generator that everything random comes from: SplitMix64, so that a seed means the same in every build.

use std::time::Duration;

/// One stream of random numbers.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// The stream with this number of a seed. Every client and the schedule of faults have their own, so that what one
    /// of them does never shifts what another does.
    pub(crate) fn new(seed: u64, stream: u64) -> Rng {
        let mut rng = Rng(seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95));
        rng.next();
        rng
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// 0 to `limit` - 1. The bias of the remainder does not matter here.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    /// Both ends included.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least + 1)
    }

    /// True once in so many times.
    pub(crate) fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// Milliseconds, both ends included.
    pub(crate) fn millis(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.between(least, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_means_the_same() {
        let mut rng = Rng::new(7, 3);
        let first: Vec<u64> = (0..4).map(|_| rng.next()).collect();
        let mut rng = Rng::new(7, 3);
        assert_eq!(first, (0..4).map(|_| rng.next()).collect::<Vec<_>>());
        let mut other = Rng::new(7, 4);
        assert_ne!(first[0], other.next());
        for _ in 0..1_000 {
            assert!((5..=9).contains(&rng.between(5, 9)));
        }
    }
}
