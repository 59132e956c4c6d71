//! The project's own commands, `cargo xtask COMMAND`. Plain std, so that it is built in a second on a fresh checkout.
//!
//! `test` is everything, and what `.ci/run` calls; the others are what a developer wants between two runs of it.

mod cost;
mod docs;
mod process;
mod setup;
mod test;
mod torture;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "\
cargo xtask COMMAND

  test [--only STEP[,STEP...]]  everything that has to hold: fmt, clippy, deny, unit, docs, interop, cost;
                                installs what it needs and ends with `N passed, N failed`
  docs                          writes docs/xeps.md and examples/jackdaw.toml anew, from the code
  fuzz [--seconds N]            random input against the XML checker and its oracle
  bench [ARGS...]               measurements, in a release build
  bench federation [ARGS...]    what messages to another server and links cost; needs root
  torture [ARGS...]             kills the server again and again under load, and proves that it lost nothing:
                                [--dev] [--kills N] [--power-cuts N] [--full-disks N] [--clock-jumps N] [--only KIND,...]
                                [--archived N] [--seconds N] [--seed S]; --help tells all
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let result = match command {
        "test" => test::run(rest),
        "docs" => docs::write(),
        "fuzz" => run_release(&["--package", "jackdaw-xmlstream", "--example", "fuzz"], rest),
        "bench" if rest.first().is_some_and(|first| first == "federation") => bench_federation(&rest[1..]),
        "bench" => run_release(&["--package", "jackdaw-bench"], rest),
        "torture" => torture::run(rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(true)
        }
        other => Err(format!("there is no command {other}\n\n{USAGE}")),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::from(2)
        }
    }
}

/// `cargo run --release` of one of the workspace's programs, on this terminal.
fn run_release(program: &[&str], arguments: &[String]) -> Result<bool, String> {
    let status = Command::new(cargo())
        .args(["run", "--release"])
        .args(program)
        .arg("--")
        .args(arguments)
        .current_dir(root())
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    Ok(status.success())
}

/// Two servers on a network of their own, which a script makes.
fn bench_federation(arguments: &[String]) -> Result<bool, String> {
    setup::packages()?;
    let mut build = Command::new(cargo());
    build.args(["build", "--release", "--package", "jackdaw"]);
    let mut measure = Command::new("python3");
    measure
        .arg("tests/interop/federation_bench.py")
        .arg("--jackdaw")
        .arg(target().join("release").join("jackdaw"))
        .args(arguments);
    for command in [&mut build, &mut measure] {
        let status = command.current_dir(root()).status();
        if !status.map_err(|error| format!("{command:?}: {error}"))?.success() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The cargo that runs this, or the one on the path.
fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned())
}

/// The workspace's top folder.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The workspace's target folder.
fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The server's debug build, which the docs and the interop checks use.
fn server_binary() -> PathBuf {
    target().join("debug").join("jackdaw")
}
