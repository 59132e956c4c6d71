//! A log that cannot be written, as on a full disk, ends nothing.

#![cfg(target_os = "linux")]

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Every write to it fails with ENOSPC.
fn full() -> Stdio {
    let full = File::options().write(true).open("/dev/full");
    full.expect("every Linux has it").into()
}

#[test]
fn the_server_runs_without_a_place_for_its_log() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // An address that no other test uses at the same time.
    let id = std::process::id();
    let address = Ipv4Addr::new(
        127,
        1 | (id >> 14) as u8 & 0x7f,
        (id >> 7) as u8 & 0x7f,
        (id & 0x7f) as u8 + 1,
    );
    let config = format!(
        "data = \"data\"\n[log]\nlevel = \"debug\"\n[[domain]]\nname = \"example.org\"\n[[listen]]\nkind = \"c2s-direct\"\n\
         address = \"{address}:5223\"\n"
    );
    std::fs::write(folder.path().join("jackdaw.toml"), config).expect("written");
    let child = Command::new(env!("CARGO_BIN_EXE_jackdaw"))
        .args(["serve", "--config", "jackdaw.toml"])
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(full())
        .stderr(full())
        .spawn();
    let mut server = Running(child.expect("the program starts"));
    let began = Instant::now();
    // It has logged by then, and printed what it says to a first start.
    while UnixStream::connect(folder.path().join("data/admin.sock")).is_err() {
        let ended = server.0.try_wait().expect("it was started");
        assert_eq!(ended, None, "it ended by itself");
        assert!(began.elapsed() < LIMIT, "it does not come up");
        std::thread::sleep(LOOK_EVERY);
    }
    let asked = Command::new("kill")
        .args(["-TERM", &server.0.id().to_string()])
        .status();
    assert!(asked.is_ok_and(|status| status.success()));
    let status = server.0.wait().expect("it was started");
    assert!(status.success(), "{status}");
}

/// What cannot be told has an exit code all the same.
#[test]
fn a_failure_without_a_place_for_its_words() {
    let status = Command::new(env!("CARGO_BIN_EXE_jackdaw"))
        .args(["serve", "--config", "/does/not/exist.toml"])
        .stdin(Stdio::null())
        .stdout(full())
        .stderr(full())
        .status();
    let code = status.expect("the program starts").code();
    assert!(code.is_some_and(|code| code != 0), "{code:?}");
}
