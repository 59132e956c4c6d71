//! `cargo xtask test`: every check there is, one after the other, and one line at the end that counts them.
//!
//! A step that fails doesn't stop those behind it: one run tells all that is wrong.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{self, Outcome};
use crate::{cargo, cost, docs, root, server_binary, setup, target};

const BUILD_LIMIT: Duration = Duration::from_secs(20 * 60);
const FMT_LIMIT: Duration = Duration::from_secs(120);
const DENY_LIMIT: Duration = Duration::from_secs(180);
const UNIT_LIMIT: Duration = Duration::from_secs(25 * 60);
const TORTURE_LIMIT: Duration = Duration::from_secs(8 * 60);
/// Of the storm; logging in, syncing and checking come on top.
const TORTURE_SECONDS: &str = "90";
const INTEROP_LIMIT: Duration = Duration::from_secs(5 * 60);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
}

impl Count {
    fn one(passed: bool) -> Self {
        Self {
            passed: u64::from(passed),
            failed: u64::from(!passed),
        }
    }

    /// A program's own count; a program that failed without a failure in its count (it didn't build, say) is one.
    fn of(counted: Option<Self>, success: bool) -> Self {
        match counted {
            Some(count) if success && count.passed + count.failed > 0 => count,
            Some(count) => Self {
                failed: count.failed.max(1),
                ..count
            },
            None => Self::one(false),
        }
    }
}

type Step = fn() -> Result<Count, String>;

const STEPS: &[(&str, Step)] = &[
    ("fmt", fmt),
    ("clippy", clippy),
    ("deny", deny),
    ("unit", unit),
    ("docs", docs),
    ("interop", interop),
    ("cost", cost),
    ("torture", torture),
];

/// Runs the steps (`--only` some of them) and prints the count. True when nothing failed.
pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    let chosen = chosen(arguments)?;
    let mut total = Count::default();
    let mut bad = Vec::new();
    for (name, step) in STEPS.iter().filter(|(name, _)| chosen.contains(name)) {
        println!("== {name}");
        let began = Instant::now();
        let count = step().unwrap_or_else(|problem| {
            println!("{name} | {problem}");
            Count::one(false)
        });
        println!(
            "== {name}: {} ok, {} not, {} s",
            count.passed,
            count.failed,
            began.elapsed().as_secs()
        );
        if count.failed > 0 {
            bad.push(*name);
        }
        total.passed += count.passed;
        total.failed += count.failed;
    }
    if !bad.is_empty() {
        println!("failures in: {}", bad.join(", "));
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    Ok(total.failed == 0)
}

fn chosen(arguments: &[String]) -> Result<Vec<&'static str>, String> {
    let names = || STEPS.iter().map(|(name, _)| *name);
    let list = match arguments {
        [] => return Ok(names().collect()),
        [flag, list] if flag == "--only" => list.as_str(),
        [flag] => flag
            .strip_prefix("--only=")
            .ok_or_else(|| format!("test doesn't know {flag}"))?,
        _ => return Err("test takes --only STEP[,STEP...]".to_owned()),
    };
    list.split(',')
        .map(|one| {
            let known = || names().collect::<Vec<_>>().join(", ");
            names()
                .find(|name| *name == one)
                .ok_or_else(|| format!("no step {one}; there are {}", known()))
        })
        .collect()
}

fn run_cargo(name: &str, arguments: &[&str], limit: Duration) -> Outcome {
    process::run(name, Command::new(cargo()).args(arguments).current_dir(root()), limit)
}

fn fmt() -> Result<Count, String> {
    Ok(Count::one(
        run_cargo("fmt", &["fmt", "--all", "--check"], FMT_LIMIT).success,
    ))
}

fn clippy() -> Result<Count, String> {
    let arguments = [
        "clippy",
        "--quiet",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ];
    Ok(Count::one(run_cargo("clippy", &arguments, BUILD_LIMIT).success))
}

fn deny() -> Result<Count, String> {
    if !setup::has_cargo("deny") {
        // Not installed for the purpose: its list of advisories comes from a host that not every machine reaches.
        println!("deny | not checked: cargo-deny is not installed (cargo install --locked cargo-deny)");
        return Ok(Count::default());
    }
    Ok(Count::one(run_cargo("deny", &["deny", "check"], DENY_LIMIT).success))
}

fn unit() -> Result<Count, String> {
    setup::packages()?;
    setup::nextest()?;
    let arguments = [
        "nextest",
        "run",
        "--color",
        "never",
        "--workspace",
        "--no-fail-fast",
        "--status-level",
        "slow",
        "--final-status-level",
        "fail",
    ];
    let outcome = run_cargo("unit", &arguments, UNIT_LIMIT);
    Ok(Count::of(
        outcome.lines.iter().rev().find_map(|line| nextest_summary(line)),
        outcome.success,
    ))
}

fn docs() -> Result<Count, String> {
    build_server("docs")?;
    let mut total = Count::default();
    for (file, arguments) in docs::FILES {
        let result = docs::check(file, arguments);
        match &result {
            Ok(()) => println!("docs | ok {file}"),
            Err(problem) => println!("docs | {file}: {problem}"),
        }
        let count = Count::one(result.is_ok());
        total.passed += count.passed;
        total.failed += count.failed;
    }
    Ok(total)
}

fn interop() -> Result<Count, String> {
    setup::packages()?;
    let python = setup::python()?;
    setup::node()?;
    build_server("interop")?;
    let mut command = Command::new(python);
    command
        .arg("tests/interop/run.py")
        .arg("--jackdaw")
        .arg(server_binary())
        .current_dir(root());
    let outcome = process::run("interop", &command, INTEROP_LIMIT);
    Ok(Count::of(
        outcome.lines.iter().rev().find_map(|line| plain_summary(line)),
        outcome.success,
    ))
}

fn cost() -> Result<Count, String> {
    Ok(Count::one(cost::check()?))
}

/// Two minutes of `cargo xtask torture`, with clocks that jump, and without power cuts: these need root and loop devices,
/// and are run by hand, as is I9 with a million messages (`--archived 1000000`). A seed that finds something is printed,
/// with how to run it again.
fn torture() -> Result<Count, String> {
    let build = [
        "build",
        "--quiet",
        "--package",
        "jackdaw",
        "--package",
        "jackdaw-torture",
    ];
    if !run_cargo("torture", &build, BUILD_LIMIT).success {
        return Err("the server or its torture doesn't build".to_owned());
    }
    let mut program = Command::new(target().join("debug/torture"));
    program
        .args(["--seconds", TORTURE_SECONDS, "--power-cuts", "0"])
        .current_dir(root());
    Ok(Count::one(process::run("torture", &program, TORTURE_LIMIT).success))
}

fn build_server(name: &str) -> Result<(), String> {
    if run_cargo(name, &["build", "--quiet", "--package", "jackdaw"], BUILD_LIMIT).success {
        Ok(())
    } else {
        Err("the server doesn't build".to_owned())
    }
}

/// `     Summary [  12.3s] 400 tests run: 398 passed (2 slow), 1 failed, 1 timed out, 3 skipped`
fn nextest_summary(line: &str) -> Option<Count> {
    let (head, counts) = line.split_once(" run: ")?;
    if !head.trim_start().starts_with("Summary [") {
        return None;
    }
    let mut total = Count::default();
    for part in counts.split(',') {
        let (number, what) = part.trim().split_once(' ')?;
        let number: u64 = number.parse().ok()?;
        if what.starts_with("passed") {
            total.passed += number;
        } else if !what.starts_with("skipped") {
            // failed, timed out, exec failed, and whatever else is not a pass
            total.failed += number;
        }
    }
    Some(total)
}

/// `12 passed, 0 failed`
fn plain_summary(line: &str) -> Option<Count> {
    let (passed, failed) = line.split_once(" passed, ")?;
    Some(Count {
        passed: passed.parse().ok()?,
        failed: failed.strip_suffix(" failed")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nextest() {
        let check =
            |line: &str, passed, failed| assert_eq!(nextest_summary(line), Some(Count { passed, failed }), "{line}");
        check("     Summary [   0.005s] 3 tests run: 3 passed, 0 skipped", 3, 0);
        check("     Summary [   9.005s] 1 test run: 1 passed, 0 skipped", 1, 0);
        check(
            "     Summary [  1.2s] 9/10 tests run: 5 passed (2 slow), 2 failed, 1 timed out, 1 exec failed, 4 skipped",
            5,
            4,
        );
        check("     Summary [   0.000s] 0 tests run: 0 passed, 0 skipped", 0, 0);
        for other in ["        PASS [   0.004s] a b", "a run: 3 passed", ""] {
            assert_eq!(nextest_summary(other), None, "{other}");
        }
    }

    #[test]
    fn reads_the_plain_line() {
        assert_eq!(
            plain_summary("57 passed, 2 failed"),
            Some(Count { passed: 57, failed: 2 })
        );
        for other in ["57 passed", "x passed, 1 failed", "1 passed, 2 failed, 3 skipped"] {
            assert_eq!(plain_summary(other), None, "{other}");
        }
    }

    #[test]
    fn no_failure_is_lost() {
        let some = Some(Count { passed: 5, failed: 0 });
        assert_eq!(Count::of(some, true), Count { passed: 5, failed: 0 });
        assert_eq!(Count::of(some, false), Count { passed: 5, failed: 1 });
        assert_eq!(Count::of(None, true), Count { passed: 0, failed: 1 });
        // A run of nothing is no success.
        assert_eq!(Count::of(Some(Count::default()), true), Count { passed: 0, failed: 1 });
        assert_eq!(
            Count::of(Some(Count { passed: 1, failed: 3 }), false),
            Count { passed: 1, failed: 3 }
        );
    }

    #[test]
    fn steps_are_chosen_by_name() {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(chosen(&[]).map(|all| all.len()), Ok(STEPS.len()));
        assert_eq!(chosen(&words("--only unit,interop")), Ok(vec!["unit", "interop"]));
        assert_eq!(chosen(&words("--only=fmt")), Ok(vec!["fmt"]));
        for wrong in ["--only", "--only all", "unit", "--only fmt extra"] {
            assert!(chosen(&words(wrong)).is_err(), "{wrong}");
        }
    }
}
