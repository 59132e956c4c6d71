//! The house's order, kept by the build: a crate imports lower floors, or what stands left of it on its own floor; tokio,
//! TLS and SQL live from floor 4 up; below that the clock and the scheduler are out of reach (docs/architecture.md).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

/// Each floor from left to right. A crate may import what comes before it in this list, and nothing else of ours.
const FLOORS: &[&[&str]] = &[
    &["jackdaw-xmlstream", "jackdaw-stanza", "jackdaw-sasl"],
    &["jackdaw-store", "jackdaw-module"],
    &[
        "jackdaw-accounts",
        "jackdaw-presence",
        "jackdaw-archive",
        "jackdaw-offline",
        "jackdaw-files",
        "jackdaw-pubsub",
        "jackdaw-muc",
        "jackdaw-router",
        "jackdaw-session",
    ],
    &["jackdaw-xeps"],
    &[
        "jackdaw-backends",
        "jackdaw-store-sqlite",
        "jackdaw-c2s",
        "jackdaw-s2s",
        "jackdaw-http",
    ],
    &["jackdaw"],
];

/// Beside the house: they may import anything, and only tests may import them.
const BESIDE: &[&str] = &[
    "jackdaw-testkit",
    "jackdaw-sim",
    "jackdaw-bench",
    "jackdaw-tests",
    "jackdaw-torture",
    "xtask",
];

/// The first floor that does I/O.
const OUTSIDE: usize = 4;

/// What only the floors from `OUTSIDE` up may import.
const OUTSIDE_ONLY: &[&str] = &["tokio", "tokio-rustls", "rustls", "rusqlite", "socket2", "getrandom"];

/// What clippy must refuse below that.
const DISALLOWED: &[&str] = &["std::time::Instant::now", "std::time::SystemTime::now", "tokio::spawn"];

#[test]
fn crates_import_lower_floors_only() {
    assert_eq!(problems(&metadata()), Vec::<String>::new());
}

#[test]
fn clock_and_scheduler_are_disallowed_below() {
    let mut checked = 0;
    for (name, folder) in folders(&metadata()) {
        if place(&name).is_none_or(|(floor, _)| floor >= OUTSIDE) {
            continue;
        }
        checked += 1;
        let file = folder.join("clippy.toml");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for method in DISALLOWED {
            assert!(
                text.contains(&format!("\"{method}\"")),
                "{} lets {method} through",
                file.display()
            );
        }
    }
    assert!(checked >= 8, "only {checked} crates found on floors 0-3");
}

/// What keeps the test above from passing on everything.
#[test]
fn each_kind_of_wrong_import_is_found() {
    let check = |who: &str, imports: &str, kind: Option<&str>, wrong: bool| {
        let package =
            json!({"name": who, "manifest_path": "/x/Cargo.toml", "dependencies": [{"name": imports, "kind": kind}]});
        let found = problems(&json!({"packages": [package]}));
        assert_eq!(!found.is_empty(), wrong, "{who} -> {imports} ({kind:?}): {found:?}");
    };
    check("jackdaw-router", "jackdaw-store", None, false);
    check("jackdaw-router", "jackdaw-presence", None, false); // left, same floor
    check("jackdaw-presence", "jackdaw-router", None, true); // right, same floor
    check("jackdaw-stanza", "jackdaw-store", None, true); // higher
    check("jackdaw-stanza", "jackdaw-store", Some("dev"), true); // in tests too
    check("jackdaw-stanza", "jackdaw-store", Some("build"), true);
    check("jackdaw-c2s", "jackdaw-testkit", Some("dev"), false);
    check("jackdaw-c2s", "jackdaw-testkit", None, true);
    check("jackdaw-tests", "jackdaw-testkit", None, false);
    check("jackdaw-tests", "jackdaw", None, false);
    check("jackdaw-xeps", "tokio", None, true);
    check("jackdaw-xeps", "tokio", Some("dev"), false);
    check("jackdaw-store", "rusqlite", None, true);
    check("jackdaw-store-sqlite", "rusqlite", None, false);
    check("jackdaw-newcomer", "serde", None, true); // has no floor
}

fn problems(metadata: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for package in list(metadata, "packages") {
        let name = text(package, "name");
        if BESIDE.contains(&name) {
            continue;
        }
        let Some(own) = place(name) else {
            found.push(format!(
                "{name} stands on no floor: give it one in xtask/tests/floors.rs"
            ));
            continue;
        };
        for dependency in list(package, "dependencies") {
            let imported = text(dependency, "name");
            let kind = dependency["kind"].as_str().unwrap_or("normal");
            if OUTSIDE_ONLY.contains(&imported) && kind == "normal" && own.0 < OUTSIDE {
                found.push(format!(
                    "{name} (floor {}) imports {imported}, which lives from floor {OUTSIDE} up",
                    own.0
                ));
            }
            if BESIDE.contains(&imported) && kind != "dev" {
                found.push(format!("{name} imports {imported} outside its tests"));
            }
            if place(imported).is_some_and(|other| other >= own) {
                found.push(format!(
                    "{name} imports {imported} ({kind}), which stands higher or to its right"
                ));
            }
        }
    }
    found
}

/// Floor, and place on it from the left.
fn place(name: &str) -> Option<(usize, usize)> {
    FLOORS
        .iter()
        .enumerate()
        .find_map(|(floor, crates)| Some((floor, crates.iter().position(|one| *one == name)?)))
}

fn folders(metadata: &Value) -> BTreeMap<String, PathBuf> {
    let folder = |package| {
        Path::new(text(package, "manifest_path"))
            .parent()
            .map(Path::to_owned)
            .unwrap_or_default()
    };
    list(metadata, "packages")
        .iter()
        .map(|package| (text(package, "name").to_owned(), folder(package)))
        .collect()
}

fn metadata() -> Value {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let out = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--no-deps", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .output()
        .expect("cargo runs this test, so cargo can be run");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).expect("cargo metadata prints JSON")
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}
