//! Runs the differential oracle for as long as one likes:
//! `cargo run -p jackdaw-xmlstream --example fuzz -- [--seconds N | --cases N] [--seed S]`.
//!
//! A failure is written to `fuzz-failure.xml` in the current folder and ends the run with code 1.

#![allow(clippy::disallowed_methods)] // it is a clock that is wanted here

#[path = "../tests/oracle/mod.rs"]
mod oracle;

use std::process::ExitCode;
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let mut seconds = None;
    let mut cases = 1_000_000;
    let mut seed = 1;
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let Some(value) = args.next().and_then(|v| v.parse::<u64>().ok()) else {
            eprintln!("{arg} needs a number; usage: [--seconds N | --cases N] [--seed S]");
            return ExitCode::from(2);
        };
        match &*arg {
            "--seconds" => seconds = Some(value),
            "--cases" => cases = value,
            "--seed" => seed = value,
            _ => {
                eprintln!("unknown {arg}; usage: [--seconds N | --cases N] [--seed S]");
                return ExitCode::from(2);
            }
        }
    }
    let seeds: Vec<Vec<u8>> = oracle::corpus().into_iter().map(|(_, bytes)| bytes).collect();
    let start = Instant::now();
    let end = seconds.map(|s| start + Duration::from_secs(s));
    let go_on = |n: u64| end.map_or(n < cases, |end| Instant::now() < end);
    match oracle::fuzz(&seeds, seed, go_on) {
        Ok(tally) => {
            let spent = start.elapsed().as_secs_f64();
            println!(
                "{} cases, {} with an accepted element, {spent:.1} s, seed {seed}",
                tally.cases, tally.accepted
            );
            ExitCode::SUCCESS
        }
        Err((input, problem)) => {
            println!("seed {seed}: {problem}\ninput: {}", input.escape_ascii());
            if let Err(e) = std::fs::write("fuzz-failure.xml", &input) {
                eprintln!("fuzz-failure.xml: {e}");
            }
            ExitCode::FAILURE
        }
    }
}
