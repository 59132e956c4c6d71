//! The torture test: kills the server again and again under load, and proves from what clients saw that it lost nothing
//! that it had acknowledged ("Acked means durable, told means true").
//!
//! It runs the real binary on a disk of its own, with accounts that have two clients each. Every message has a unique
//! id in its body; clients note what they see ([`history`]), and at the end, when everybody has read everything, the
//! [`oracle`] compares it. All that is random comes from one seed. The same seed means the same faults at the same
//! times and the same decisions of every client; what the scheduler makes of it differs from run to run, so a seed that
//! found something is a good place to look and no proof.
//!
//! Messages go from one to another and to everybody in a room ([`rooms`]). Some accounts are at a second server, and what
//! lies between the two is struck as well ([`neighbours`]).

mod archived;
mod client;
mod clock;
mod disk;
mod faults;
mod history;
mod line;
mod neighbours;
mod oracle;
mod report;
mod rng;
mod rooms;
mod run;
mod seeds;
mod server;
mod wire;
mod world;
mod xml;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::{Parser, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use crate::faults::{Goal, Kind};
use crate::run::Plan;

/// Kills the server again and again under load, and proves from what clients saw that nothing was lost.
///
/// Without --seed the kept seeds (seeds.txt) are run first, then a new one.
#[derive(Debug, Parser)]
#[command(name = "torture")]
struct Arguments {
    /// Up to 16 hexadecimal digits.
    #[arg(long, value_parser = seeds::parse_seed)]
    seed: Option<u64>,
    /// The storm lasts until the server was killed so often.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    kills: u64,
    /// And until the power was cut so often (as root, where loop devices can be had).
    #[arg(long, default_value_t = 2)]
    power_cuts: u64,
    /// And until the disk was full so often.
    #[arg(long, default_value_t = 0)]
    full_disks: u64,
    /// And until the server's clock has jumped so often.
    #[arg(long, default_value_t = 0)]
    clock_jumps: u64,
    /// Faults of these kinds only.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// So many messages of others are in the archive before (I9: a million); after a crash the server must answer within
    /// 2 seconds then.
    #[arg(long, default_value_t = 0)]
    archived: u64,
    /// The storm lasts so many seconds instead; kills and power cuts only say how often either happens.
    #[arg(long)]
    seconds: Option<u64>,
    /// Accounts, with two clients each.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(2..=10_000))]
    accounts: u16,
    /// Rooms, of which a client with stream management enters two.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(..=1_000))]
    rooms: u16,
    /// Milliseconds between two things that a client does, on average.
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u64).range(4..))]
    pace: u64,
    /// The server; otherwise JACKDAW_BIN, or `jackdaw` beside this program.
    #[arg(long)]
    jackdaw: Option<PathBuf>,
    /// Leave the kept seeds out.
    #[arg(long)]
    no_seeds: bool,
    /// Add the seed to seeds.txt if it finds something.
    #[arg(long)]
    record: bool,
    /// Keep log and database of a run that finds something in this folder.
    #[arg(long)]
    keep: Option<PathBuf>,
}

impl Arguments {
    /// What has to be said to have this run again, besides the seed.
    fn words(&self) -> String {
        let Arguments {
            kills,
            power_cuts,
            full_disks,
            clock_jumps,
            archived,
            accounts,
            rooms,
            pace,
            ..
        } = self;
        let mut words =
            format!("--kills {kills} --power-cuts {power_cuts} --accounts {accounts} --rooms {rooms} --pace {pace}");
        for (name, value) in [
            ("full-disks", full_disks),
            ("clock-jumps", clock_jumps),
            ("archived", archived),
        ] {
            if *value > 0 {
                words.push_str(&format!(" --{name} {value}"));
            }
        }
        if !self.only.is_empty() {
            let names = self.only.iter().filter_map(ValueEnum::to_possible_value);
            let names: Vec<String> = names.map(|value| value.get_name().to_owned()).collect();
            words.push_str(&format!(" --only {}", names.join(",")));
        }
        if let Some(seconds) = self.seconds {
            words.push_str(&format!(" --seconds {seconds}"));
        }
        words
    }

    fn plan(&self, seed: u64) -> Result<Plan, String> {
        Ok(Plan {
            seed,
            binary: self.binary()?,
            accounts: self.accounts,
            rooms: self.rooms,
            archived: self.archived,
            kinds: match self.only.as_slice() {
                [] => Kind::ALL.to_vec(),
                some => some.to_vec(),
            },
            goal: Goal {
                kills: self.kills,
                power_cuts: self.power_cuts,
                full_disks: self.full_disks,
                clock_jumps: self.clock_jumps,
            },
            storm: self.seconds.map(Duration::from_secs),
            pace: self.pace,
            keep: self.keep.clone(),
        })
    }

    fn binary(&self) -> Result<PathBuf, String> {
        let given = self
            .jackdaw
            .clone()
            .or_else(|| std::env::var_os("JACKDAW_BIN").map(PathBuf::from));
        let path = match given {
            Some(path) => path,
            None => std::env::current_exe()
                .map_err(|error| format!("this program: {error}"))?
                .with_file_name("jackdaw"),
        };
        // It is started in another folder.
        path.canonicalize().map_err(|error| {
            format!(
                "no server at {}: {error} (build it, or name it by --jackdaw)",
                path.display()
            )
        })
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match all(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("torture: {problem}");
            ExitCode::from(2)
        }
    }
}

/// True if nothing was found.
fn all(arguments: &Arguments) -> Result<bool, String> {
    let mut is_good = true;
    if arguments.seed.is_none() && !arguments.no_seeds {
        for kept in seeds::read()? {
            let words = std::iter::once("torture".to_owned()).chain(kept.arguments);
            let mut again = Arguments::try_parse_from(words).map_err(|error| format!("seeds.txt: {error}"))?;
            again.jackdaw.clone_from(&arguments.jackdaw);
            is_good &= one(&again, kept.seed)?;
        }
    }
    Ok(is_good & one(arguments, arguments.seed.unwrap_or_else(new_seed))?)
}

fn one(arguments: &Arguments, seed: u64) -> Result<bool, String> {
    let command = format!("cargo xtask torture --seed {} {}", seeds::show(seed), arguments.words());
    println!("torture: seed {}; again by: {command}", seeds::show(seed));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime: {error}"))?;
    let plan = arguments.plan(seed)?;
    let result = runtime.block_on(async {
        tokio::select! {
            result = run::run(&plan) => result,
            () = interrupted() => Err("interrupted".to_owned()),
        }
    });
    // Clients of a run that failed may still be there.
    runtime.shutdown_background();
    if !matches!(result, Ok(0)) {
        println!("torture: FAILED with seed {}; again by: {command}", seeds::show(seed));
        if arguments.record {
            seeds::record(&format!("{} {}", seeds::show(seed), arguments.words()))?;
        }
    }
    result.map(|violations| violations == 0)
}

/// By Ctrl-C or SIGTERM: the server is to be ended and the disk to be unmounted then as well.
async fn interrupted() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}

/// The clock will do: it only has to be another one than last time.
fn new_seed() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = now.map_or(0, |now| now.as_nanos() as u64);
    rng::Rng::new(nanos, u64::from(std::process::id())).next()
}
