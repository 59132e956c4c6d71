//! A child process that never outlives this one.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of a log that an error shows.
const LOG_LINES: usize = 15;

/// Ended on drop, and by the kernel if this process dies without dropping (Ctrl-C, a panic that aborts).
pub(super) struct Process {
    command: Command,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program in a folder, with its output in a file there.
    pub(super) fn start(program: &str, arguments: &[&str], variables: &[(&str, &str)], folder: &Path) -> Outcome<Self> {
        let log = folder.join("output.log");
        let failed = |error: std::io::Error| format!("cannot start {program}: {error}");
        let out = File::create(&log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        // setpriv (util-linux) asks the kernel to kill it when its parent dies, and becomes the program: same pid.
        // The call behind it, prctl, is not to be had from Rust without `unsafe`.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", program])
            .args(arguments)
            .envs(variables.iter().copied())
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err);
        let child = spawn(&mut command)?;
        Ok(Self { command, child, log })
    }

    /// Kills it and starts it again, at the moment that is returned.
    pub(super) fn kill_and_start(&mut self) -> Outcome<Instant> {
        let failed = |error: std::io::Error| format!("cannot kill the server: {error}");
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)?;
        let now = Instant::now();
        self.child = spawn(&mut self.command)?;
        Ok(now)
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it listens on this address.
    pub(super) fn listens(&mut self, address: SocketAddr) -> Outcome<()> {
        self.wait(
            |_| TcpStream::connect_timeout(&address, LOOK).is_ok(),
            &format!("listen on {address}"),
        )
    }

    /// Waits until its output has this line.
    pub(super) fn says(&mut self, line: &str) -> Outcome<()> {
        self.wait(
            |log| log.lines().any(|said| said.trim() == line),
            &format!("say `{line}`"),
        )
    }

    fn wait(&mut self, mut done: impl FnMut(&str) -> bool, what: &str) -> Outcome<()> {
        let end = Instant::now() + START;
        loop {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            if done(&log) {
                return Ok(());
            }
            let ended: Option<ExitStatus> = self.child.try_wait().ok().flatten();
            if ended.is_some() || Instant::now() > end {
                let status = ended.map_or_else(|| "still running".to_owned(), |status| status.to_string());
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
                return Err(format!("the server does not {what} ({status}):\n{tail}"));
            }
            std::thread::sleep(LOOK);
        }
    }
}

fn spawn(command: &mut Command) -> Outcome<Child> {
    let child = command.spawn();
    child.map_err(|error| format!("setpriv (package util-linux), which starts the servers: {error}"))
}

impl Drop for Process {
    fn drop(&mut self) {
        // Its data is thrown away, so that it need not end in order. An error: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub(super) fn run(command: &mut Command) -> Outcome<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name}: {error}"))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{name}: {}: {}",
            out.status,
            String::from_utf8_lossy(&out.stderr).trim()
        )),
    }
}

/// Makes a database with these tables, with the write-ahead log that it keeps from then on.
pub(super) fn sqlite_file(path: &Path, tables: &str) -> Outcome<()> {
    // A journal mode stays with a file only once something is in it.
    let sql = format!("PRAGMA journal_mode=WAL; CREATE TABLE bench(a); DROP TABLE bench;\n{tables}");
    let mut child = Command::new("sqlite3")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .map_err(|error| format!("sqlite3: {error}"))?;
    let fed = match child.stdin.take() {
        Some(mut input) => std::io::Write::write_all(&mut input, sql.as_bytes()),
        None => Ok(()),
    };
    match (fed, child.wait()) {
        (Ok(()), Ok(status)) if status.success() => Ok(()),
        (fed, status) => Err(format!("sqlite3 {}: {fed:?} {status:?}", path.display())),
    }
}

/// Installs Debian packages that are missing.
pub(super) fn install(packages: &[&str]) -> Outcome<()> {
    let installed = |package: &&str| {
        Command::new("dpkg-query")
            .args(["--show", "--showformat=${db:Status-Status}", package])
            .output()
            .is_ok_and(|out| out.stdout == b"installed")
    };
    let missing: Vec<&str> = packages.iter().copied().filter(|package| !installed(package)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("bench | apt-get install {}", missing.join(" "));
    let get = |arguments: &[&str]| {
        run(Command::new("apt-get")
            .args(["-qq", "-o=Dpkg::Use-Pty=0"])
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive"))
    };
    get(&["update"])?;
    get(&[&["install", "--yes", "--no-install-recommends"], &missing[..]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alive(pid: u32) -> bool {
        Path::new(&format!("/proc/{pid}")).exists()
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("jackdaw-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let folder = folder("drop");
        let process = Process::start("sleep", &["60"], &[], &folder).expect("started");
        let pid = process.id();
        assert!(alive(pid));
        drop(process);
        assert!(!alive(pid));
        std::fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_server_that_ends_is_an_error_with_its_last_words() {
        let folder = folder("end");
        let mut process =
            Process::start("sh", &["-c", "echo ready; echo last words; exit 7"], &[], &folder).expect("started");
        process.says("ready").expect("said");
        let error = process.says("never").expect_err("ended");
        assert!(error.contains("last words") && error.contains('7'), "{error}");
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
