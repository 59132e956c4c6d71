//! What a message costs, in instructions: counted by callgrind, so the same on a busy machine.
//!
//! The example `hot_path` lets a message take its whole way (frame, check, route, write) a given
//! number of times. It is run with two counts; the difference is free of the login and the
//! set-up. The budget leaves room for a feature, not for a path that has become twice as dear.

use std::process::Command;
use std::time::Duration;

use crate::{cargo, process, root, setup};

/// Instructions a message may take. 9,100 when this was written: raise it only with a reason.
const BUDGET: u64 = 10_000;
/// Messages of the two runs.
const FEW: u64 = 3_200;
const MANY: u64 = 6_400;
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// True if a message stays within the budget.
pub(crate) fn check() -> Result<bool, String> {
    setup::packages()?;
    let build = [
        "build",
        "--quiet",
        "--release",
        "--package",
        "jackdaw-c2s",
        "--example",
        "hot_path",
    ];
    let built = process::run(
        "cost",
        Command::new(cargo()).args(build).current_dir(root()),
        BUILD_LIMIT,
    );
    if !built.success {
        return Err("the example hot_path does not build".to_owned());
    }
    let (few, many) = (instructions(FEW)?, instructions(MANY)?);
    let cost = many.saturating_sub(few) / (MANY - FEW);
    println!("cost | {cost} instructions a message; the budget is {BUDGET}");
    Ok(cost > 0 && cost <= BUDGET)
}

fn instructions(messages: u64) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(crate::target().join("release/examples/hot_path"))
        .arg(messages.to_string());
    let outcome = process::run("cost", &command, RUN_LIMIT);
    let counted = outcome.lines.iter().find_map(|line| collected(line));
    counted
        .filter(|_| outcome.success)
        .ok_or_else(|| "callgrind counted nothing".to_owned())
}

/// `==123== Collected : 4567`
fn collected(line: &str) -> Option<u64> {
    let (_, count) = line.split_once("Collected :")?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn what_callgrind_prints() {
        assert_eq!(collected("==6977== Collected : 171868832"), Some(171_868_832));
        assert_eq!(collected("==6977== Events    : Ir"), None);
    }
}
