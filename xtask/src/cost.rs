//! What a message and a presence cost, in instructions: counted by callgrind, so the same on a busy machine.
//!
//! Three examples let a stanza take its whole way without a network a given number of times: `hot_path` a message (frame,
//! check, route, write; and with `kept` also archive, acknowledge), `presence_path` a broadcast, `room_path` a message to
//! a room. Each is run with two counts; the difference is free of the login
//! and the set-up. The budgets leave room for a feature, not for a path that has become twice as dear.

use std::process::Command;
use std::time::Duration;

use crate::{cargo, process, root, setup};

/// What is counted. Raise a budget only with a reason.
struct Path {
    package: &'static str,
    example: &'static str,
    what: &'static str,
    /// What the example is told besides the count.
    mode: Option<&'static str>,
    /// What the example is told in the two runs.
    counts: [u64; 2],
    /// Units of work for each of these.
    units: u64,
    /// Instructions that one unit may take.
    budget: u64,
}

const PATHS: [Path; 4] = [
    // 7,945 when this was written, half of it to check the XML.
    Path {
        package: "jackdaw-c2s",
        example: "hot_path",
        what: "a message",
        mode: None,
        counts: [3_200, 6_400],
        units: 1,
        budget: 8_800,
    },
    // 36,400 when this was written: 17,200 of it SHA-256, for which callgrind's processor has no instructions of its own,
    // and some 4,000 the store in memory.
    Path {
        package: "jackdaw-c2s",
        example: "hot_path",
        what: "a message that is archived and acknowledged",
        mode: Some("kept"),
        counts: [3_200, 6_400],
        units: 1,
        budget: 40_000,
    },
    // 820 when this was written. 80 users broadcast to 20 contacts and to themselves.
    Path {
        package: "jackdaw-router",
        example: "presence_path",
        what: "a delivery of presence",
        mode: None,
        counts: [20, 120],
        units: 80 * 21,
        budget: 1_300,
    },
    // 1,203 when this was written: four messages at a time to a hundred occupants, with the archive of the room.
    Path {
        package: "jackdaw-router",
        example: "room_path",
        what: "a delivery in a room",
        mode: None,
        counts: [50, 250],
        units: 4 * 100,
        budget: 1_280,
    },
];
const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);
const RUN_LIMIT: Duration = Duration::from_secs(120);

/// True if every path stays within its budget.
pub(crate) fn check() -> Result<bool, String> {
    setup::packages()?;
    let mut build = Command::new(cargo());
    build.args(["build", "--quiet", "--release"]).current_dir(root());
    for path in &PATHS {
        build.args(["--package", path.package, "--example", path.example]);
    }
    if !process::run("cost", &build, BUILD_LIMIT).success {
        return Err("the examples do not build".to_owned());
    }
    let mut is_within = true;
    for path in &PATHS {
        let [few, many] = path.counts;
        let counted = instructions(path, many)?.saturating_sub(instructions(path, few)?);
        let cost = counted / ((many - few) * path.units);
        println!(
            "cost | {cost} instructions for {}; the budget is {}",
            path.what, path.budget
        );
        is_within &= cost > 0 && cost <= path.budget;
    }
    Ok(is_within)
}

fn instructions(path: &Path, count: u64) -> Result<u64, String> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(crate::target().join("release/examples").join(path.example))
        .arg(count.to_string())
        .args(path.mode);
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
