//! What is done once to accounts that an earlier version has kept.

use store::Query;

use crate::{MakeChange, Occasion};

/// Done to every account before anything listens, when a version that declares it starts for the first time. What it does
/// has to bear being done again: a start may be broken off.
#[derive(Clone, Copy)]
pub struct Upgrade {
    /// Noted as done under this name. No two have the same.
    pub name: &'static str,
    /// Steps to a change; its answer, its notices and its deeds are nobody's.
    pub make: fn(&Occasion) -> (Query, MakeChange),
}
