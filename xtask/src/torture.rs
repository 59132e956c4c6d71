//! `cargo xtask torture`: builds the server and what tortures it, and runs that (`crates/torture`).

use std::process::Command;

use crate::{cargo, root, target};

/// Builds the dev profile instead, in which the server checks its own assertions too.
const DEV: &str = "--dev";

/// Runs it on this terminal with the arguments, of which `--dev` is ours. True if it found nothing.
pub(crate) fn run(arguments: &[String]) -> Result<bool, String> {
    let is_dev = arguments.iter().any(|argument| argument == DEV);
    let mut build = Command::new(cargo());
    build.args(["build", "--package", "jackdaw", "--package", "jackdaw-torture"]);
    if !is_dev {
        build.arg("--release");
    }
    let built = build
        .current_dir(root())
        .status()
        .map_err(|error| format!("cargo: {error}"))?;
    if !built.success() {
        return Err("the server or its torture does not build".to_owned());
    }
    let profile = if is_dev { "debug" } else { "release" };
    let program = target().join(profile).join("torture");
    let status = Command::new(&program)
        .args(arguments.iter().filter(|argument| *argument != DEV))
        .current_dir(root())
        .status()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    Ok(status.success())
}
