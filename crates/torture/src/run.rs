//! One run: servers and clients, a storm of faults, the calm behind it, and the judgement.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use crate::archived;
use crate::client::Client;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::faults::{Command, Fault, Goal, Kind, Schedule};
use crate::history::{ClientId, Facts, History, RESOURCES, show};
use crate::neighbours::Neighbours;
use crate::oracle;
use crate::report::{self, Faults};
use crate::rng::Rng;
use crate::server::{DOMAINS, Place, Server, Usage};
use crate::wire::{Access, Wire};
use crate::world::{Phase, World};

/// I9: until the server answers with a million archived messages, the one bound on time that the design demands. Without
/// them it is not the question, and a timed assertion on a busy machine says little. What is measured is printed.
const RECOVERY_LIMIT: Duration = Duration::from_secs(2);
const USUAL_RECOVERY_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to answer before it is given up, and how often it is asked.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const ASK_EVERY: Duration = Duration::from_millis(5);
/// How long all clients may take to be back and acknowledged, to have read everything, and to close.
const SETTLE_LIMIT: Duration = Duration::from_secs(180);
const SYNC_LIMIT: Duration = Duration::from_secs(300);
const CLOSE_LIMIT: Duration = Duration::from_secs(60);
const LAST_LIMIT: Duration = Duration::from_secs(10);
/// How long what was acknowledged may still be on its way to a client that is there.
const DELIVERY_LIMIT: Duration = Duration::from_secs(60);
/// I8: how long the server may take to let go of what clients cost, and how much more than before them it may keep.
const REST_LIMIT: Duration = Duration::from_secs(30);
const REST: Usage = Usage {
    // Of the database, which opens more when it is asked.
    files: 16,
    // Of the runtime, which ends them late.
    threads: 16,
    // Caches, and what the allocator keeps.
    memory: 96 * 1024 * 1024,
};
const LOOK_EVERY: Duration = Duration::from_millis(100);
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// Commands that may wait for a client that is stalled.
const COMMANDS: usize = 16;

/// Accounts whose second client does not use stream management, and accounts that read their archive at login: one in so
/// many of either.
const UNMANAGED_EVERY: u16 = 10;
const CATCHES_UP_EVERY: u16 = 5;

#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) binary: PathBuf,
    pub(crate) accounts: u16,
    pub(crate) rooms: u16,
    /// Messages that are in the archive before the run.
    pub(crate) archived: u64,
    /// The faults that may strike, if they are possible here.
    pub(crate) kinds: Vec<Kind>,
    pub(crate) goal: Goal,
    /// The storm goes on for so long, whatever the goal.
    pub(crate) storm: Option<Duration>,
    pub(crate) pace: u64,
    /// Where the folder of a run that found something is kept.
    pub(crate) keep: Option<PathBuf>,
}

/// Runs it. Returns the number of violations; an error if it could not be run.
pub(crate) async fn run(plan: &Plan) -> Result<usize, String> {
    let folder = tempfile::Builder::new()
        .prefix("jackdaw-torture-")
        .tempdir()
        .map_err(|error| format!("a temporary folder: {error}"))?;
    let clock = match Clock::prepare(folder.path()) {
        Ok(clock) => Some(clock),
        Err(why) => {
            println!("clock jumps are skipped: {why}");
            None
        }
    };
    let has_clock = clock.is_some();
    let neighbours = Neighbours::new();
    let homes = [
        Home::prepare(plan, folder.path(), 0, clock, &neighbours)?,
        Home::prepare(plan, folder.path(), 1, None, &neighbours)?,
    ];
    let laid = neighbours.lay(homes.iter().map(|home| &home.server)).await;
    laid.map_err(|error| format!("the line between the servers: {error}"))?;
    for skipped in &homes[0].disk.skipped {
        println!("{skipped}");
    }
    let kinds = possible(&plan.kinds, &homes, has_clock);
    if plan.storm.is_none() && plan.goal.of(&kinds).is_reached() {
        return Err("there is no goal that these faults lead to: say how many, or how many seconds".to_owned());
    }
    let access = [0, 1].map(|number: usize| Access::new(homes[number].server.socket(), DOMAINS[number]));
    let world = Arc::new(World::new(
        plan.seed,
        access,
        plan.accounts,
        plan.rooms,
        plan.pace,
        History::new(facts(plan.accounts)),
    ));
    let mut run = Run::new(plan, kinds, world, homes, neighbours);
    let result = run.through().await;
    let found = oracle::check(&run.world.history());
    report::notes(&run.world, &run.recoveries);
    report::violations(&found);
    if let Some(place) = &plan.keep
        && !found.is_empty()
    {
        for (home, domain) in run.homes.iter_mut().zip(DOMAINS) {
            home.server.kill();
            keep(home, &place.join(domain))?;
        }
        println!("its folder is kept: {}", place.display());
    }
    report::last_line(&run.world, &run.faults, found.len());
    result.map(|()| found.len())
}

/// Those that this machine can do.
fn possible(kinds: &[Kind], homes: &[Home], has_clock: bool) -> Vec<Kind> {
    let is_possible = |kind: &&Kind| match kind {
        Kind::FullDisk => homes.iter().all(|home| home.disk.can_be_full()),
        Kind::PowerCut | Kind::BrokenDisk => homes.iter().all(|home| home.disk.can_be_cut()),
        Kind::Clock => has_clock,
        _ => true,
    };
    kinds.iter().filter(is_possible).copied().collect()
}

fn keep(home: &Home, place: &Path) -> Result<(), String> {
    std::fs::create_dir_all(place).map_err(|error| format!("{}: {error}", place.display()))?;
    for name in ["log", "jackdaw.toml"] {
        let copied = std::fs::copy(home.folder.join(name), place.join(name));
        copied.map_err(|error| format!("{name}: {error}"))?;
    }
    home.disk.keep(place)
}

fn facts(accounts: u16) -> Vec<Facts> {
    let clients = (0..accounts * RESOURCES).map(ClientId);
    clients
        .map(|id| {
            let account = id.account().0;
            let is_second = id.0 % RESOURCES == 1;
            Facts {
                is_managed: !(is_second && account % UNMANAGED_EVERY == UNMANAGED_EVERY - 1),
                catches_up: account % CATCHES_UP_EVERY == CATCHES_UP_EVERY - 2,
            }
        })
        .collect()
}

/// A server, and the disk under it.
struct Home {
    /// Its number among the domains.
    number: usize,
    folder: PathBuf,
    server: Server,
    disk: Disk,
}

impl Home {
    fn prepare(
        plan: &Plan,
        folder: &Path,
        number: usize,
        clock: Option<Clock>,
        neighbours: &Neighbours,
    ) -> Result<Home, String> {
        let folder = folder.join(DOMAINS[number]);
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let archived = if number == 0 { plan.archived } else { 0 };
        let disk = Disk::prepare(&folder, archived::bytes(archived))?;
        let data = disk.data();
        let place = Place {
            number,
            folder: &folder,
            data: &data,
            archived,
            clock,
        };
        let server = Server::prepare(&plan.binary, place, plan.accounts, neighbours)?;
        Ok(Home {
            number,
            folder,
            server,
            disk,
        })
    }
}

/// Every so manieth fault of a server strikes the second.
const SECOND_EVERY: u64 = 3;
/// The stream of random numbers that says which.
const WHICH: u64 = 0x8_0000;

struct Run<'a> {
    plan: &'a Plan,
    kinds: Vec<Kind>,
    world: Arc<World>,
    homes: [Home; DOMAINS.len()],
    neighbours: Neighbours,
    which: Rng,
    clients: Vec<mpsc::Sender<Command>>,
    phase: watch::Sender<Phase>,
    faults: Faults,
    recoveries: Vec<Duration>,
    said: Instant,
}

impl<'a> Run<'a> {
    fn new(
        plan: &'a Plan,
        kinds: Vec<Kind>,
        world: Arc<World>,
        homes: [Home; DOMAINS.len()],
        neighbours: Neighbours,
    ) -> Run<'a> {
        Run {
            plan,
            kinds,
            world,
            homes,
            neighbours,
            which: Rng::new(plan.seed, WHICH),
            clients: Vec::new(),
            phase: watch::Sender::new(Phase::Storm),
            faults: Faults::new(),
            recoveries: Vec::new(),
            said: Instant::now(),
        }
    }

    async fn through(&mut self) -> Result<(), String> {
        self.start_all().await?;
        let facts = self.world.history().clients.clone();
        let mut clients = Vec::new();
        for (number, facts) in facts.into_iter().enumerate() {
            let (sender, commands) = mpsc::channel(COMMANDS);
            // There are no more clients than a u16 counts.
            let id = ClientId(number as u16);
            let mut client = Client::new(id, facts, Arc::clone(&self.world), commands, self.phase.subscribe());
            client.create_rooms().await?;
            clients.push(client);
            self.clients.push(sender);
        }
        // Whoever came into a room before it is there would make it.
        for client in clients {
            tokio::spawn(client.run());
        }
        self.storm().await?;
        self.calm().await
    }

    async fn storm(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let clients = self.world.accounts * RESOURCES;
        let rng = Rng::new(self.plan.seed, 0);
        let mut schedule = Schedule::new(rng, clients, self.kinds.clone(), self.plan.goal);
        loop {
            if self.plan.storm.is_some_and(|time| began.elapsed() > time) {
                return Ok(());
            }
            let Some((pause, fault)) = schedule.next() else {
                match self.plan.storm {
                    Some(_) => schedule.renew(self.plan.goal),
                    None => return Ok(()),
                }
                continue;
            };
            self.rest(pause).await;
            self.look_after().await?;
            *self.faults.entry(fault.kind().name()).or_default() += 1;
            let which = usize::from(self.which.one_in(SECOND_EVERY));
            self.strike(fault, which).await?;
        }
    }

    /// Waits, and says now and then how it goes.
    async fn rest(&mut self, time: Duration) {
        sleep(time).await;
        if self.said.elapsed() > PROGRESS_EVERY {
            self.said = Instant::now();
            report::progress(&self.world, &self.faults);
        }
    }

    fn note(&self, what: String) {
        let now = self.world.now();
        self.world.history().fault(now, what);
    }

    fn violated(&self, rule: &'static str, what: String) {
        let mut story = vec![format!("seen at {}", show(self.world.now()))];
        story.extend(self.homes.iter().map(|home| home.server.log_tail()));
        self.world.history().violated(rule, what, story);
    }

    /// None of them must have ended by itself.
    async fn look_after(&mut self) -> Result<(), String> {
        for (which, domain) in DOMAINS.iter().enumerate() {
            if let Some(status) = self.homes[which].server.ended() {
                self.world.crashed(which);
                self.violated("G6", format!("{domain} ended by itself with {status}"));
                self.start(which, true).await?;
            }
        }
        Ok(())
    }

    async fn start_all(&mut self) -> Result<(), String> {
        for which in 0..self.homes.len() {
            self.start(which, false).await?;
        }
        Ok(())
    }

    async fn start(&mut self, which: usize, after_crash: bool) -> Result<(), String> {
        let began = Instant::now();
        let home = &mut self.homes[which];
        let domain = DOMAINS[home.number];
        let listens = home.server.start()?;
        while let Err(why) = Wire::greeted(self.world.access(which), domain).await {
            if let Some(status) = home.server.ended() {
                let log = home.server.log_tail();
                return Err(format!("the server ended with {status} instead of answering:\n{log}"));
            }
            if began.elapsed() > ANSWER_LIMIT {
                return Err(format!(
                    "the server does not answer: {why}:\n{}",
                    home.server.log_tail()
                ));
            }
            sleep(ASK_EVERY).await;
        }
        let took = began.elapsed();
        self.note(format!(
            "{domain} answers, after {} ms ({} until it listened)",
            took.as_millis(),
            listens.as_millis()
        ));
        if after_crash {
            self.recoveries.push(took);
        }
        let limit = match self.plan.archived {
            0 => USUAL_RECOVERY_LIMIT,
            _ => RECOVERY_LIMIT,
        };
        if took > limit {
            self.violated("I9", format!("it took {} ms until {domain} answered", took.as_millis()));
        }
        Ok(())
    }

    /// Which server is struck, if one is.
    async fn strike(&mut self, fault: Fault, which: usize) -> Result<(), String> {
        let name = DOMAINS[which];
        match fault {
            Fault::Kill(away) => {
                self.note(format!("kill -9 of {name}"));
                self.homes[which].server.kill();
                self.world.crashed(which);
                self.rest(away).await;
                self.start(which, true).await
            }
            Fault::Terminate(away) => {
                self.stop(which);
                self.rest(away).await;
                self.start(which, false).await
            }
            Fault::Stop(time) => {
                self.note(format!("SIGSTOP of {name}"));
                self.homes[which].server.signal("STOP");
                self.rest(time).await;
                self.homes[which].server.signal("CONT");
                self.note(format!("SIGCONT of {name}"));
                Ok(())
            }
            Fault::Full(time) => {
                self.note(format!("the disk of {name} is being filled"));
                self.homes[which].disk.fill();
                self.note(format!("the disk of {name} is full"));
                self.rest(time).await;
                self.homes[which].disk.free();
                self.note(format!("the disk of {name} has room"));
                Ok(())
            }
            Fault::Cut(away) => {
                // Both at one moment: a flush that is under way ends before the power does.
                self.homes[which].server.freeze()?;
                self.note(format!("power cut of {name}"));
                self.homes[which].disk.shut_down()?;
                self.lose(which, away).await
            }
            Fault::Broken(dying, away) => {
                // Not while a flush is under way, of which one could not say what it was worth.
                self.homes[which].server.freeze()?;
                self.homes[which].disk.shut_down()?;
                self.note(format!("the disk of {name} is broken"));
                self.homes[which].server.signal("CONT");
                self.rest(dying).await;
                self.lose(which, away).await
            }
            Fault::Clock(wrong, None) => self.set_clock(wrong),
            Fault::Clock(wrong, Some(away)) => {
                // It is the first that has a clock of its own.
                self.stop(0);
                self.set_clock(wrong)?;
                self.rest(away).await;
                self.start(0, false).await
            }
            Fault::LineCut => {
                self.note("the line between the servers is cut".to_owned());
                self.neighbours.cut();
                Ok(())
            }
            Fault::LineStall(time) => {
                self.note("nothing goes from one server to the other".to_owned());
                self.neighbours.stall(true);
                self.rest(time).await;
                self.neighbours.stall(false);
                self.note("it goes on".to_owned());
                Ok(())
            }
            Fault::LineDown(time) => {
                self.note("no line is between the servers".to_owned());
                self.neighbours.tear(true);
                self.rest(time).await;
                self.neighbours.tear(false);
                self.note("there is one again".to_owned());
                Ok(())
            }
            Fault::Clients(struck, command) => {
                let names: Vec<String> = struck.iter().map(ClientId::to_string).collect();
                self.note(format!("{command:?} of {}", names.join(", ")));
                for client in struck {
                    // One that has so much to suffer already is spared.
                    let _ = self.clients[usize::from(client.0)].try_send(command);
                }
                Ok(())
            }
        }
    }

    fn set_clock(&self, wrong: i64) -> Result<(), String> {
        self.note(format!("the clock is {wrong:+} s wrong"));
        self.homes[0].server.set_clock(wrong)
    }

    /// The server is gone, and its disk comes back with what had been flushed.
    async fn lose(&mut self, which: usize, away: Duration) -> Result<(), String> {
        self.homes[which].server.kill();
        self.world.crashed(which);
        self.note(format!("{} is gone", DOMAINS[which]));
        self.homes[which].disk.recover()?;
        self.rest(away).await;
        self.start(which, true).await
    }

    /// SIGTERM, and all that must hold then.
    fn stop(&mut self, which: usize) {
        let name = DOMAINS[which];
        self.note(format!("SIGTERM of {name}"));
        match self.homes[which].server.stop() {
            Ok(took) => self.note(format!("{name} has stopped, after {} ms", took.as_millis())),
            Err(why) => {
                // What was not saved is not to be resumed.
                self.world.crashed(which);
                self.violated("G7", format!("SIGTERM: {why}"));
            }
        }
    }

    /// All faults are over: everybody gets what is his, and the server gets rid of everybody.
    async fn calm(&mut self) -> Result<(), String> {
        println!("{}: the storm is over", show(self.world.now()));
        self.look_after().await?;
        // New processes, so that they can be measured before anybody is there.
        self.phase.send_replace(Phase::Held);
        for which in 0..self.homes.len() {
            self.stop(which);
        }
        self.start_all().await?;
        let baselines = self
            .homes
            .each_ref()
            .map(|home| home.server.usage().unwrap_or_default());
        let mut is_good = self.pass(Phase::Settle, SETTLE_LIMIT).await;
        let began = Instant::now();
        while is_good && self.world.history().undelivered() > 0 && began.elapsed() < DELIVERY_LIMIT {
            self.rest(LOOK_EVERY).await;
        }
        // Who was not through before will hardly be now; the others need no longer.
        let limit = if is_good { SYNC_LIMIT } else { CLOSE_LIMIT };
        is_good &= self.pass(Phase::Sync, limit).await;
        let limit = if is_good { CLOSE_LIMIT } else { LAST_LIMIT };
        self.pass(Phase::Close, limit).await;
        for (which, baseline) in baselines.into_iter().enumerate() {
            self.comes_to_rest(which, baseline).await;
        }
        self.look_after().await?;
        for which in 0..self.homes.len() {
            self.stop(which);
        }
        Ok(())
    }

    /// Waits until all clients are through a phase. False: some are not within the limit.
    async fn pass(&mut self, phase: Phase, limit: Duration) -> bool {
        self.phase.send_replace(phase);
        let began = Instant::now();
        let mut said = began;
        loop {
            let late = self.world.late(phase);
            if late.is_empty() {
                println!("{}: all are through: {phase:?}", show(self.world.now()));
                return true;
            }
            if began.elapsed() > limit {
                let seconds = limit.as_secs();
                let what = format!("{} clients are not through after {seconds} s: {phase:?}", late.len());
                self.world.history().violated("G5", what, late);
                return false;
            }
            if said.elapsed() > PROGRESS_EVERY {
                said = Instant::now();
                println!(
                    "{}: {phase:?}: {} clients are open: {}",
                    show(self.world.now()),
                    late.len(),
                    late[0]
                );
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// I8.
    async fn comes_to_rest(&mut self, which: usize, baseline: Usage) {
        let began = Instant::now();
        loop {
            let Some(usage) = self.homes[which].server.usage() else {
                return;
            };
            let is_at_rest = usage.files <= baseline.files + REST.files
                && usage.threads <= baseline.threads + REST.threads
                && usage.memory <= baseline.memory + REST.memory;
            let words = format!(
                "{} files, {} threads, {} MB; before all clients {} files, {} threads, {} MB",
                usage.files,
                usage.threads,
                usage.memory >> 20,
                baseline.files,
                baseline.threads,
                baseline.memory >> 20
            );
            if is_at_rest {
                println!("I8: {}: {words}", DOMAINS[which]);
                return;
            }
            if began.elapsed() > REST_LIMIT {
                self.violated("I8", format!("{} keeps {words}", DOMAINS[which]));
                return;
            }
            self.rest(LOOK_EVERY).await;
        }
    }
}
