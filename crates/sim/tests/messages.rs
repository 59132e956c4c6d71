//! Seeded runs. `SIM_SEED=…` repeats one (with `SIM_TRACE=1` everything that happened is told), `SIM_RUNS=…` runs more.

use jackdaw_sim::run::{Plan, STEPS, check, once};

/// Runs where nothing else is said.
const RUNS: u64 = 240;

/// Seeds that find a weakness which is known and stays for now: each with its name and why. None does.
const OPEN: [u64; 0] = [];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn messages() {
    let whole = std::env::var_os("SIM_TRACE").is_some();
    let steps = number("SIM_STEPS").map_or(STEPS, |steps| steps as usize);
    if let Some(seed) = number("SIM_SEED") {
        let plan = Plan {
            steps,
            ..Plan::of(seed)
        };
        let result = if whole { once(plan) } else { check(plan) };
        if let Err(failure) = result {
            panic!("{}", failure.story(whole));
        }
        return;
    }
    let first = number("SIM_FIRST").unwrap_or(1);
    let runs = number("SIM_RUNS").unwrap_or(RUNS);
    let failures: Vec<_> = (first..first + runs)
        .filter(|seed| !OPEN.contains(seed))
        .filter_map(|seed| once(Plan::of(seed)).err())
        .collect();
    let Some(shown) = failures.first() else { return };
    let all: Vec<String> = failures
        .iter()
        .map(|f| format!("seed {}: {}", f.plan.seed, f.found[0]))
        .collect();
    // With fewer steps, if they do.
    let story = check(shown.plan)
        .err()
        .map_or_else(|| shown.story(whole), |shorter| shorter.story(whole));
    panic!("{} of {runs} runs fail:\n{}\n{story}", failures.len(), all.join("\n"));
}
