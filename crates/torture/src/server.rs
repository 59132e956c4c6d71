//! The real server as a process of its own, which is started, stopped, killed and looked at.
//!
//! (Not `testkit::Server`: that one panics when the process is not as a test expects, and it is what is to be found out
//! here; it also has its data folder on no disk that can be filled or cut off.)

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::password_of;

use crate::archived;
use crate::clock::Clock;
use crate::history::Account;
use crate::neighbours::Neighbours;

/// The domains of the two servers. Most accounts, and all rooms, are at the first.
pub(crate) const DOMAINS: [&str; 2] = ["example.org", "example.net"];
pub(crate) const DOMAIN: &str = DOMAINS[0];
/// TLS from the first byte (XEP-0368).
const PORT: u16 = 5223;
/// For other servers (RFC 6120 section 14.7).
const S2S_PORT: u16 = 5269;

/// How long a server may take to listen, whatever it has to recover, before it is given up.
const START_LIMIT: Duration = Duration::from_secs(60);
/// The same for one attempt to connect; it is on this machine.
const KNOCK_LIMIT: Duration = Duration::from_millis(200);
const LOOK_EVERY: Duration = Duration::from_millis(3);
/// How long a graceful stop may take: `shutdown_seconds`, and room for a busy machine.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How long a thread may be in a call of the kernel that cannot be stopped.
const FREEZE_LIMIT: Duration = Duration::from_secs(10);
/// The last lines of the log that are shown when it did not start or has ended. From a line that begins with one of
/// [`LAST_WORDS`] on it is more, as it may be far above the end.
const LOG_LINES: usize = 20;
const MORE_LOG_LINES: usize = 100;
/// How the last words of a server begin: its own, those of a panic, and those of the runtime of Rust.
const LAST_WORDS: [&str; 4] = ["jackdaw: ", "thread '", "fatal runtime error", "memory allocation of"];
/// As the server names it.
const DATABASE: &str = "jackdaw.sqlite";

/// All clients come from one address, so nothing that counts per address may stand in their way.
const WIDE_LIMITS: [(&str, u64); 6] = [
    ("connections_before_login_per_address", 100_000),
    ("connections_per_second_per_address", 100_000),
    ("login_failures_per_minute_per_account", 100_000),
    ("login_failures_per_minute_per_address", 100_000),
    // Every restart makes every client log in.
    ("password_iterations", 4_096),
    // What waits for somebody is not to be refused here.
    ("offline_messages_per_account", 100_000_000),
];

/// What the kernel counts of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) files: usize,
    pub(crate) threads: usize,
    /// Resident, in bytes.
    pub(crate) memory: u64,
}

/// What is different between servers.
pub(crate) struct Place<'a> {
    /// Its number among [`DOMAINS`].
    pub(crate) number: usize,
    pub(crate) folder: &'a Path,
    pub(crate) data: &'a Path,
    /// Messages of others that are in the archive before.
    pub(crate) archived: u64,
    pub(crate) clock: Option<Clock>,
}

pub(crate) struct Server {
    binary: PathBuf,
    folder: PathBuf,
    address: Ipv4Addr,
    /// Its own, if it can be moved.
    clock: Option<Clock>,
    child: Option<Child>,
}

impl Server {
    /// Writes the configuration, and makes the accounts among `u0` to `u{accounts - 1}` that are there, and so many
    /// archived messages of others. Nothing runs yet.
    pub(crate) fn prepare(
        binary: &Path,
        place: Place<'_>,
        accounts: u16,
        neighbours: &Neighbours,
    ) -> Result<Server, String> {
        let Place {
            number,
            folder,
            data,
            archived,
            clock,
        } = place;
        if archived > 0 {
            archived::seed(archived, data, DATABASE)?;
        }
        let address = address(number);
        let domain = DOMAINS[number];
        let mut config = format!("data = \"{}\"\n[log]\nlevel = \"info\"\n", data.display());
        let _ = write!(config, "[[domain]]\nname = \"{domain}\"\n");
        config.push_str(&neighbours.write(folder, domain)?);
        let _ = write!(
            config,
            "[[listen]]\nkind = \"c2s-direct\"\naddress = \"{address}:{PORT}\"\n\
             [[listen]]\nkind = \"s2s\"\naddress = \"{address}:{S2S_PORT}\"\n[limits]\n"
        );
        for (key, value) in WIDE_LIMITS {
            let _ = writeln!(config, "{key} = {value}");
        }
        let mut list = String::new();
        for account in (0..accounts).map(Account).filter(|account| account.home() == number) {
            let jid = account.jid();
            let _ = writeln!(list, "{jid}\t{}", password_of(&jid));
        }
        let written =
            fs::write(folder.join("jackdaw.toml"), config).and_then(|()| fs::write(folder.join("accounts"), list));
        written.map_err(|error| format!("{}: {error}", folder.display()))?;
        let server = Server {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
            address,
            clock,
            child: None,
        };
        let output = server
            .command()
            .args(["--config", "jackdaw.toml", "account", "import", "accounts"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", binary.display()))?;
        match output.status.success() {
            true => Ok(server),
            false => Err(format!("account import: {}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.current_dir(&self.folder);
        // Nothing of the surroundings may configure the server.
        for (key, _) in std::env::vars_os().filter(|(key, _)| key.to_string_lossy().starts_with("JACKDAW_")) {
            command.env_remove(key);
        }
        command
    }

    pub(crate) fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address.into(), PORT)
    }

    /// Where it listens for the other.
    pub(crate) fn socket_for_servers(&self) -> SocketAddr {
        SocketAddr::new(self.address.into(), S2S_PORT)
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Starts it and returns how long it took from there until it listened.
    pub(crate) fn start(&mut self) -> Result<Duration, String> {
        let out = || File::options().create(true).append(true).open(self.log());
        let opened = out().and_then(|one| Ok((one, out()?)));
        let (out, err) = opened.map_err(|error| format!("the log: {error}"))?;
        let began = Instant::now();
        let mut command = self.command();
        if let Some(clock) = &self.clock {
            clock.lie_to(&mut command);
        }
        let spawned = command
            .args(["serve", "--config", "jackdaw.toml"])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            .spawn();
        self.child = Some(spawned.map_err(|error| format!("{}: {error}", self.binary.display()))?);
        loop {
            if TcpStream::connect_timeout(&self.socket(), KNOCK_LIMIT).is_ok() {
                return Ok(began.elapsed());
            }
            if let Some(status) = self.ended() {
                return Err(format!(
                    "the server ended with {status} instead of listening:\n{}",
                    self.log_tail()
                ));
            }
            if began.elapsed() > START_LIMIT {
                return Err(format!("the server does not listen:\n{}", self.log_tail()));
            }
            sleep(LOOK_EVERY);
        }
    }

    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        let (usual, more) = (
            lines.len().saturating_sub(LOG_LINES),
            lines.len().saturating_sub(MORE_LOG_LINES),
        );
        let is_last_word = |line: &&str| LAST_WORDS.iter().any(|words| line.starts_with(words));
        let told = lines[more..usual].iter().position(is_last_word);
        lines[told.map_or(usual, |at| more + at)..].join("\n")
    }

    /// By so many seconds its clock is wrong from now on.
    pub(crate) fn set_clock(&self, wrong: i64) -> Result<(), String> {
        self.clock.as_ref().map_or(Ok(()), |clock| clock.set(wrong))
    }

    /// If it has ended by itself since it was started: how. It can be started again then.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    /// Sends a signal by its name (`TERM`, `STOP`, `CONT`).
    pub(crate) fn signal(&self, name: &str) {
        let Some(child) = &self.child else { return };
        // A process that is gone has had worse.
        let _ = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(child.id().to_string())
            .stderr(Stdio::null())
            .status();
    }

    /// Stops it (SIGSTOP), and returns when none of its threads runs any more.
    pub(crate) fn freeze(&self) -> Result<(), String> {
        self.signal("STOP");
        let began = Instant::now();
        while !self.is_frozen() {
            if began.elapsed() > FREEZE_LIMIT {
                return Err("the server does not stop at SIGSTOP".to_owned());
            }
            sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn is_frozen(&self) -> bool {
        let Some(child) = &self.child else { return true };
        let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", child.id())) else {
            return true;
        };
        // `ID (NAME) STATE ...`, where T is stopped and Z is dead.
        tasks.flatten().all(|task| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
            state.is_empty() || state.starts_with(['T', 'Z'])
        })
    }

    /// Ends it at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks it to stop and waits. An error: it did not stop in time (it is gone now all the same), or not well.
    pub(crate) fn stop(&mut self) -> Result<Duration, String> {
        self.signal("TERM");
        let began = Instant::now();
        while began.elapsed() < STOP_LIMIT {
            match self.ended() {
                Some(status) if status.success() => return Ok(began.elapsed()),
                Some(status) => return Err(format!("it stopped with {status}")),
                None => sleep(LOOK_EVERY),
            }
        }
        self.kill();
        Err(format!("it did not stop within {} s of SIGTERM", STOP_LIMIT.as_secs()))
    }

    /// None: it does not run.
    pub(crate) fn usage(&self) -> Option<Usage> {
        let id = self.child.as_ref()?.id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
        };
        Some(Usage {
            files: fs::read_dir(format!("/proc/{id}/fd")).ok()?.count(),
            // A process has no more threads than a u16 counts here.
            threads: field("Threads:")? as usize,
            memory: field("VmRSS:")? * 1024,
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A loopback address that no other run uses at the same time; each number has one.
pub(crate) fn address(number: usize) -> Ipv4Addr {
    let id = std::process::id();
    // Bits of the id; none of it 127.0.0.x, where other servers listen.
    let bits = |from: u32, mask: u32| (id >> from & mask) as u8;
    // There are four of them.
    Ipv4Addr::new(
        127,
        bits(12, 0x7f) | 0x80,
        bits(5, 0x7f),
        bits(0, 0x1f) * 4 + number as u8 + 1,
    )
}
