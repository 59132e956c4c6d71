//! `cargo xtask bench`: what a unit of work costs the server, in CPU and memory, beside the goals of the design.
//!
//! - `work/` says what is measured, `target/` which servers.
//! - `client.rs` is one connection, `scan.rs` and `scram.rs` what it needs; `measure.rs` reads /proc.
//! - `rows.rs` knows the goals, `report.rs` writes the table.
//! - `scale/` measures the server's code in this process, over memory.
//!
//! One thread, one shared read buffer, no parsing: on a machine of two cores the server must have one to itself.
//! Traffic goes to loopback addresses of the program's own and to nothing else; every server that is started ends with
//! this program, however that ends.

mod client;
mod measure;
mod report;
mod rows;
mod scale;
mod scan;
mod scram;
mod target;
mod tls;
mod work;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum as _};

use report::Report;
use target::Target;
use work::{Amounts, Work};

/// What can go wrong, as one line or a few for the person who ran it.
pub(crate) type Outcome<T> = Result<T, String>;

/// Open files that the generator and a server need besides those of the sessions.
const FILES_BESIDE_SESSIONS: u64 = 100;

/// Measures Jackdaw: CPU and memory per unit of work, beside the goals.
#[derive(Debug, Parser)]
#[command(name = "bench")]
struct Options {
    /// Only these works
    #[arg(long, value_delimiter = ',', value_name = "WORK")]
    only: Vec<Work>,

    /// Write docs/performance.md; docs/performance-rooms.md if it is all about rooms
    #[arg(long)]
    save: bool,

    /// Measure Debian's Prosody and ejabberd (installed by apt) and the floor in the same run
    #[arg(long)]
    peers: bool,

    /// Of the targets only these, by name
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    targets: Vec<String>,

    /// Rounds; figures are medians
    #[arg(long, default_value_t = 1)]
    rounds: usize,

    /// Sessions of the works named idle and login
    #[arg(long, default_value_t = 4_000)]
    sessions: usize,

    /// Sessions of crowd; generator and server each need an open file for each
    #[arg(long, default_value_t = 19_500)]
    crowd: usize,

    /// Pairs of msg
    #[arg(long, default_value_t = 8)]
    pairs: usize,

    /// Messages a second of open
    #[arg(long, default_value_t = 1_000)]
    rate: u32,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Be the floor
    #[command(hide = true)]
    Floor {
        address: SocketAddr,
        /// What comes goes to everybody
        #[arg(long)]
        rooms: bool,
    },
    /// Sessions over memory, up to a million: how memory and CPU grow with them
    Scale {
        /// Sizes of the curve, ascending
        #[arg(long, value_delimiter = ',', value_name = "COUNT", default_values_t = scale::SIZES)]
        sessions: Vec<usize>,

        /// Write docs/performance-scale.md
        #[arg(long)]
        save: bool,
    },
}

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.command {
        Some(Command::Floor { address, rooms }) => floor(*address, *rooms),
        Some(Command::Scale { sessions, save }) => scale::run(sessions, *save),
        None => measure(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("bench: {problem}");
            ExitCode::from(2)
        }
    }
}

fn floor(address: SocketAddr, has_rooms: bool) -> Outcome<bool> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("runtime: {error}"))?;
    runtime.block_on(target::serve_floor(address, has_rooms)).map(|()| true)
}

fn measure(options: &Options) -> Outcome<bool> {
    let files = rlimit::increase_nofile_limit(u64::MAX).map_err(|error| format!("limit of open files: {error}"))?;
    let amounts = Amounts {
        sessions: options.sessions,
        crowd: options.crowd,
        pairs: options.pairs.max(1),
        rate: options.rate.max(1),
    };
    let works: Vec<Work> = match options.only.is_empty() {
        true => Work::value_variants()
            .iter()
            .copied()
            .filter(|work| work.is_usual())
            .collect(),
        false => options.only.clone(),
    };
    let mut targets = target::all(&build_folder(), options.peers);
    if !options.targets.is_empty() {
        targets.retain(|target| {
            options
                .targets
                .iter()
                .any(|name| name.eq_ignore_ascii_case(target.name()))
        });
    }
    let most = |of: fn(Work, &Amounts) -> usize| works.iter().map(|work| of(*work, &amounts)).max().unwrap_or(0);
    let (accounts, sessions) = (most(Work::accounts), most(Work::sessions));
    if files < sessions as u64 + FILES_BESIDE_SESSIONS {
        return Err(format!(
            "{sessions} sessions need more open files than {files} (ulimit -Hn, or --crowd and --sessions)"
        ));
    }
    for target in &mut targets {
        target
            .prepare(accounts)
            .map_err(|error| format!("{}: {error}", target.name()))?;
    }

    let mut report = Report::new(targets.iter().map(|target| target.name()).collect());
    let mut all_well = true;
    for round in 1..=options.rounds.max(1) {
        // Targets side by side within a work, so that noise meets all alike.
        for work in &works {
            for target in targets.iter().filter(|target| target.does(*work)) {
                match run(&**target, *work, &amounts) {
                    Ok(result) => show(&mut report, target.name(), *work, round, &result),
                    Err(error) => {
                        eprintln!("{} {}: FAILED: {error}", target.name(), work.name());
                        all_well = false;
                    }
                }
            }
        }
    }
    println!("\n{}{}{}", report.table(), report.spread(), report.floors());
    if report.disturbed() {
        println!("* other programs used the machine's cores meanwhile");
    }
    if options.save {
        let name = match works.iter().all(|work| work.has_rooms()) {
            true => "docs/performance-rooms.md",
            false => "docs/performance.md",
        };
        let page = root().join(name);
        let text = report.page(&command(), options.rounds.max(1), &amounts);
        std::fs::write(&page, text).map_err(|error| format!("{}: {error}", page.display()))?;
        println!("written: {name}");
    }
    Ok(all_well)
}

/// One run on a server of its own.
fn run(target: &dyn Target, work: Work, amounts: &Amounts) -> Outcome<work::Result> {
    let mut server = target.start(&work.setup(amounts))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map_err(|error| format!("runtime: {error}"))?
        .block_on(work.run(&mut server, amounts))
}

fn show(report: &mut Report, target: &'static str, work: Work, round: usize, result: &work::Result) {
    eprint!("{target} {} ({round}):", work.name());
    for figure in &result.figures {
        report.add(target, figure.key, figure.value, result.others);
        eprint!(" {} {:.2};", figure.key, figure.value);
    }
    eprintln!(" others used {:.2} cores; {}", result.others, result.notes.join("; "));
}

/// The command that was typed, without the path of this program.
fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("cargo xtask bench {}", arguments.join(" "))
        .trim_end()
        .to_owned()
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_owned()
}

fn build_folder() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}
