//! Where the server's binary is, built if it is older than its sources.
//!
//! A run of the whole workspace (`cargo nextest run --workspace`) has built it already, because the package of
//! the binary has tests of its own. A run of these tests alone has not, and would test yesterday's server.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// The path of the binary: `JACKDAW_BIN`, or the one of this workspace.
pub(crate) fn path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| match std::env::var_os("JACKDAW_BIN") {
        Some(path) => path.into(),
        None => built(),
    })
}

fn built() -> PathBuf {
    // target/PROFILE/deps/name-of-the-test
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test
        .parent()
        .and_then(Path::parent)
        .expect("a test is in target/PROFILE/deps");
    let binary = profile.join("jackdaw");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let newest = newest_source(&root);
    if is_newer(&binary, newest) {
        return binary;
    }
    // Every test is a process of its own: one builds, the others wait and find it done.
    let lock = File::create(profile.join("jackdaw-tests.lock")).expect("the target folder can be written");
    lock.lock().expect("a file can be locked");
    if is_newer(&binary, newest) {
        return binary;
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--package", "jackdaw"])
        .current_dir(&root);
    if profile.ends_with("release") {
        cargo.arg("--release");
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the server does not build");
    // Cargo leaves a binary alone that does not depend on what has changed; it is up to date all the same.
    File::options()
        .append(true)
        .open(&binary)
        .and_then(|file| file.set_modified(SystemTime::now()))
        .expect("the binary was just built");
    binary
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn is_newer(binary: &Path, newest: SystemTime) -> bool {
    modified(binary).is_some_and(|built| built >= newest)
}

/// When anything the server is built from was changed last.
fn newest_source(root: &Path) -> SystemTime {
    let mut newest = SystemTime::UNIX_EPOCH;
    let mut folders = vec![root.join("crates")];
    let mut files = vec![root.join("Cargo.toml"), root.join("Cargo.lock")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                // Tests of the crates, and this crate, are no part of the server.
                if !path.ends_with("tests") && !path.ends_with("testkit") {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|extension| extension == "rs" || extension == "toml")
            {
                files.push(path);
            }
        }
    }
    for file in files {
        newest = newest.max(modified(&file).unwrap_or(newest));
    }
    newest
}
