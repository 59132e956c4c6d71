//! Files that the server writes about itself, and the check that they are as it would write them now.

use std::fs;
use std::process::Command;

use crate::{cargo, root, server_binary};

/// File, and the server's arguments that print it.
pub(crate) const FILES: &[(&str, &[&str])] = &[
    ("docs/xeps.md", &["docs", "xeps"]),
    ("examples/jackdaw.toml", &["config", "example"]),
];

/// Builds the server and writes all of them anew.
pub(crate) fn write() -> Result<bool, String> {
    let built = Command::new(cargo())
        .args(["build", "--package", "jackdaw"])
        .current_dir(root())
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return Ok(false);
    }
    for (file, arguments) in FILES {
        let text = printed(arguments)?;
        let path = root().join(file);
        fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{file}");
    }
    Ok(true)
}

/// Compares one file with what the server prints.
pub(crate) fn check(file: &str, arguments: &[&str]) -> Result<(), String> {
    let stands =
        fs::read_to_string(root().join(file)).map_err(|error| format!("{error}; `cargo xtask docs` makes it"))?;
    let now = printed(arguments)?;
    if stands == now {
        return Ok(());
    }
    let line = stands
        .lines()
        .zip(now.lines())
        .take_while(|(old, new)| old == new)
        .count()
        + 1;
    Err(format!(
        "not what the code says now, from line {line} on; `cargo xtask docs` renews it"
    ))
}

fn printed(arguments: &[&str]) -> Result<String, String> {
    let binary = server_binary();
    let said = || format!("{} {}", binary.display(), arguments.join(" "));
    let out = Command::new(&binary)
        .args(arguments)
        .output()
        .map_err(|error| format!("{}: {error}", said()))?;
    if !out.status.success() || out.stdout.is_empty() {
        return Err(format!(
            "{}: {} {}",
            said(),
            out.status,
            String::from_utf8_lossy(&out.stderr).trim_end()
        ));
    }
    String::from_utf8(out.stdout).map_err(|error| format!("{}: {error}", said()))
}
