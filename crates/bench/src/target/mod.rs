//! The servers that are measured. A target prepares a folder of its own below the build folder, starts its server on a
//! loopback address of its own and hands it out; dropping what it handed out ends the server.

mod ejabberd;
mod floor;
mod history;
mod jackdaw;
mod process;
mod prosody;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

pub(crate) use floor::serve as serve_floor;
pub(crate) use history::{History, random};
use process::Process;

use crate::Outcome;
use crate::work::Work;

/// The port of every target: STARTTLS, and plain for who does not ask for it.
const PORT: u16 = 5222;
/// Of ours, for WebSockets.
const WEB_PORT: u16 = 5443;
/// Rounds of PBKDF2 of every target's passwords (RFC 7677 section 4).
const ROUNDS: u32 = 4_096;

/// What the servers keep of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// What they do by default: ours archives, the others do not.
    Usual,
    /// Nobody archives: what a delivery costs is compared.
    Nothing,
    /// Everybody archives all messages, in SQLite, and offers stream management.
    Everything,
}

/// How a server is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setup {
    /// At least so many accounts.
    pub accounts: usize,
    pub keeps: Keeps,
    /// What is in the archive from the beginning; only ours can do that.
    pub history: Option<History>,
    /// The floor passes on what comes to everybody.
    pub has_rooms: bool,
}

/// A kind of server.
pub(crate) trait Target {
    /// As the table names it.
    fn name(&self) -> &'static str;

    /// Whether it can do this work at all.
    fn does(&self, work: Work) -> bool;

    /// Done once before all runs: installs, builds, makes accounts `user0` to `user<accounts - 1>`.
    fn prepare(&mut self, accounts: usize) -> Outcome<()>;

    /// Starts it with fresh data; returns when it listens.
    fn start(&self, setup: &Setup) -> Outcome<Running>;
}

/// A server that runs, and ends with this value.
pub(crate) struct Running {
    process: Process,
    pub address: SocketAddr,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Where WebSockets are served.
    pub(crate) fn web(&self) -> SocketAddr {
        web(self.address)
    }

    /// Kills it, as `kill -9` does, and starts it again with the data that it left; returns when the program was
    /// started, without waiting until it listens.
    pub(crate) fn kill_and_start(&mut self) -> Outcome<std::time::Instant> {
        self.process.kill_and_start()
    }
}

/// The targets of a run: ours, and with `peers` the others and the floor.
pub(crate) fn all(target: &Path, peers: bool) -> Vec<Box<dyn Target>> {
    let folder = |name: &str| target.join("bench").join(name);
    let mut all: Vec<Box<dyn Target>> = vec![Box::new(jackdaw::Jackdaw::new(target, folder("jackdaw")))];
    if peers {
        all.push(Box::new(prosody::Prosody::new(folder("prosody"))));
        all.push(Box::new(ejabberd::Ejabberd::new(folder("ejabberd"))));
        all.push(Box::new(floor::Floor::new(folder("floor"))));
    }
    all
}

/// The address of the target with this number: a loopback one that nothing else uses.
fn address(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 30, number)), PORT)
}

fn web(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), WEB_PORT)
}

/// An empty folder in place of whatever was there.
fn fresh(folder: &Path) -> Outcome<PathBuf> {
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    std::fs::create_dir_all(folder).map_err(failed)?;
    folder.canonicalize().map_err(failed)
}

fn write(path: &Path, text: &str) -> Outcome<()> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Copies a folder with everything in it.
fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let failed = |error: std::io::Error| format!("copying {}: {error}", from.display());
    std::fs::create_dir_all(to).map_err(failed)?;
    for entry in std::fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()))?;
        } else if kind.is_file() {
            let copy = to.join(entry.file_name());
            std::fs::copy(entry.path(), &copy).map_err(failed)?;
            // What is on its way to the disk would hold up the server that is measured.
            std::fs::File::open(&copy)
                .and_then(|file| file.sync_all())
                .map_err(failed)?;
        }
    }
    Ok(())
}
