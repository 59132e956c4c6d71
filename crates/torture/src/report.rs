//! What a run says: progress, the stories of violations, and the last line.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::history::{Time, Violation, show};
use crate::world::World;

/// Violations of one rule that are told in full.
const TOLD: usize = 5;

/// Faults that struck, by kind.
pub(crate) type Faults = BTreeMap<&'static str, u64>;

fn faults_in_words(faults: &Faults) -> String {
    let all: u64 = faults.values().sum();
    let kinds: Vec<String> = faults.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    format!("{all} faults ({})", kinds.join(", "))
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(crate) fn progress(world: &World, faults: &Faults) {
    let counts = &world.counts;
    let found = world.history().found.len();
    println!(
        "{}: {} operations, {} acked, {} errors, {}, {found} violations",
        show(world.now()),
        get(&counts.operations),
        get(&counts.acked),
        get(&counts.errors),
        faults_in_words(faults),
    );
}

/// How the run went, for people.
pub(crate) fn notes(world: &World, recoveries: &[Duration]) {
    let counts = &world.counts;
    println!(
        "streams: {} logins, {} resumed, {} not resumed but with h, {} without h; {} messages sent once more, {} seen \
         once more with the same id",
        get(&counts.logins),
        get(&counts.resumed),
        get(&counts.failed_with_h),
        get(&counts.failed_without_h),
        get(&counts.resent),
        world.history().repeated,
    );
    let history = world.history();
    println!(
        "rooms: {} messages, which came to somebody {} times; entered {} times",
        history.rooms.sayings.len(),
        history.rooms.heard_in_all(),
        get(&counts.entered),
    );
    let crossing = history.messages.iter().filter(|(op, message)| message.crosses(**op));
    println!("between the servers: {} messages", crossing.count());
    // By condition: how many, the first and the last.
    let mut errors: BTreeMap<String, (u64, Time, Time)> = BTreeMap::new();
    let between = history.messages.values().filter_map(|message| message.error.as_ref());
    let in_rooms = history
        .rooms
        .sayings
        .values()
        .filter_map(|saying| saying.error.as_ref());
    for (at, condition) in between.chain(in_rooms) {
        let (count, first, last) = errors.entry(condition.clone()).or_insert((0, *at, *at));
        *count += 1;
        *first = (*first).min(*at);
        *last = (*last).max(*at);
    }
    for (condition, (count, first, last)) in errors {
        let (first, last) = (show(first), show(last));
        println!("{count} messages were answered with {condition}, from {first} to {last}");
    }
    let mut sorted = recoveries.to_vec();
    sorted.sort_unstable();
    if let (Some(last), Some(middle)) = (sorted.last(), sorted.get(sorted.len() / 2)) {
        println!(
            "I9: after a crash it answers within {} ms, at most {} ms, {} times",
            middle.as_millis(),
            last.as_millis(),
            sorted.len()
        );
    }
}

/// The violations with their stories, some of each rule.
pub(crate) fn violations(found: &[Violation]) {
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    for violation in found {
        let count = told.entry(violation.rule).or_default();
        *count += 1;
        if *count > TOLD {
            continue;
        }
        println!("VIOLATION {}: {}", violation.rule, violation.what);
        for line in &violation.story {
            println!("    {line}");
        }
    }
    for (rule, count) in told.iter().filter(|(_, count)| **count > TOLD) {
        println!("{rule}: {} more are not told", count - TOLD);
    }
}

pub(crate) fn last_line(world: &World, faults: &Faults, violations: usize) {
    println!(
        "torture: {} operations, {} acked, {}, {violations} violations",
        get(&world.counts.operations),
        get(&world.counts.acked),
        faults_in_words(faults),
    );
}
