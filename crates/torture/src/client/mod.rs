//! One client: a small state machine in a task of its own. It logs in or resumes, sends, answers, suffers what it is told
//! to, and notes what it sees.

mod act;
mod login;
mod rooms;
mod sync;
mod take;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use crate::faults::Command;
use crate::history::{ClientId, Facts, OpId, Target};
use crate::line::{Line, Sent};
use crate::oracle;
use crate::rng::Rng;
use crate::rooms::{RoomId, rooms_of};
use crate::wire::{Lost, Wire};
use crate::world::{Counts, Phase, World};
use rooms::Visit;
use sync::Sync;

const NS_CLIENT: &str = "jabber:client";
const NS_SM: &str = "urn:xmpp:sm:3";

/// Before the next attempt to log in, in milliseconds.
const RETRY: (u64, u64) = (20, 600);
/// How often a client looks whether it is done, and asks for what it still waits for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A server that answers no `<r/>` for so long has broken its word: it must not withhold an ack for anything but a
/// timeout (XEP-0198 section 4), and goes on by itself once there is room on its disk (G6).
const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// How long a server may take to close its stream.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);

/// What an IQ that is out is about.
#[derive(Debug)]
enum Asked {
    /// A change of state: its place in the history.
    Change(Target, usize),
    /// A round trip: what was sent up to this stanza was handled.
    Ping(u32),
    /// A page of the archive, and the two parts of the state.
    Page,
    Roster,
    Preferences,
    /// What a room is called, and whom it has banned.
    RoomName(RoomId),
    RoomBans(RoomId),
    /// Whether the client is still in a room (XEP-0410): in this stay.
    SelfPing(RoomId, u32),
    /// Nobody waits for it.
    Nothing,
}

impl Asked {
    /// It is part of reading everything.
    fn is_for_sync(&self) -> bool {
        match self {
            Asked::Page | Asked::Roster | Asked::Preferences | Asked::RoomName(_) | Asked::RoomBans(_) => true,
            Asked::Change(..) | Asked::Ping(_) | Asked::SelfPing(..) | Asked::Nothing => false,
        }
    }
}

pub(crate) struct Client {
    id: ClientId,
    facts: Facts,
    world: Arc<World>,
    rng: Rng,
    commands: mpsc::Receiver<Command>,
    phase: watch::Receiver<Phase>,
    /// The stream that is there, or that is to be resumed.
    line: Option<Line>,
    streams: u32,
    /// Messages of a stream that is over, to be sent on the next one before anything new.
    again: VecDeque<Sent>,
    /// Messages that were answered with an error: not to be sent again.
    failed: HashSet<OpId>,
    asked: HashMap<String, Asked>,
    messages: u32,
    requests: u32,
    values: u32,
    /// The rooms that it is in, or is to be.
    visits: Vec<Visit>,
    stays: u32,
    /// The rooms of its account.
    owned: Vec<RoomId>,
    sync: Option<Sync>,
    /// The id up to which the archive was read at logins.
    read_up_to: Option<String>,
    /// When the first `<r/>` was sent that is not answered.
    waits_since: Option<Instant>,
}

/// Why a stream is not used any more.
enum End {
    Lost(Lost),
    /// It was closed in good order; back after this time.
    Left(Duration),
    /// The run is over.
    Done,
}

impl Client {
    pub(crate) fn new(
        id: ClientId,
        facts: Facts,
        world: Arc<World>,
        commands: mpsc::Receiver<Command>,
        phase: watch::Receiver<Phase>,
    ) -> Client {
        // Stream 0 is the schedule's.
        let rng = Rng::new(world.seed, u64::from(id.0) + 1);
        // To be in a room one has to know when the stream is over, and what became of what was said.
        let visited = match facts.is_managed {
            true => rooms_of(id, world.rooms),
            false => Vec::new(),
        };
        let owned = (0..world.rooms).map(RoomId);
        let owned = owned.filter(|room| room.owner(world.accounts) == id.account());
        Client {
            id,
            facts,
            visits: visited.into_iter().map(Visit::new).collect(),
            stays: 0,
            owned: owned.collect(),
            world,
            rng,
            commands,
            phase,
            line: None,
            streams: 0,
            again: VecDeque::new(),
            failed: HashSet::new(),
            asked: HashMap::new(),
            messages: 0,
            requests: 0,
            values: 0,
            sync: None,
            read_up_to: None,
            waits_since: None,
        }
    }

    fn jid(&self) -> String {
        jid_of(self.id)
    }

    /// Until the run is over.
    pub(crate) async fn run(mut self) {
        loop {
            self.wait_while_held().await;
            let pause = match self.log_in().await {
                Ok(wire) => match self.live(wire).await {
                    End::Done => return,
                    End::Lost(why) => {
                        self.tells(format!("has lost stream {}: {why}", self.streams));
                        self.rng.millis(RETRY.0, RETRY.1)
                    }
                    End::Left(time) => {
                        self.tells(format!("has closed stream {}", self.streams));
                        time
                    }
                },
                Err(why) => {
                    self.tells(format!("cannot log in: {why}"));
                    self.rng.millis(RETRY.0, RETRY.1)
                }
            };
            self.stay_away(pause).await;
        }
    }

    /// Faults that strike who is not there strike nobody. A new phase is no time to stay away.
    async fn stay_away(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        loop {
            tokio::select! {
                () = sleep_until(end) => return,
                Some(_) = self.commands.recv() => {}
                changed = self.phase.changed() => {
                    if changed.is_err() || *self.phase.borrow() >= Phase::Settle {
                        return;
                    }
                }
            }
        }
    }

    async fn wait_while_held(&mut self) {
        // Fails only if the run is over, and then the login does.
        let _ = self.phase.wait_for(|phase| *phase != Phase::Held).await;
    }

    /// Uses a stream until it ends.
    async fn live(&mut self, mut wire: Wire) -> End {
        self.waits_since = None;
        self.sync = None;
        self.begin(&mut wire);
        let mut look = interval(LOOK_EVERY);
        let mut next = Instant::now() + self.pause();
        loop {
            let phase = *self.phase.borrow_and_update();
            tokio::select! {
                came = wire.element() => {
                    let taken = came.and_then(|node| self.take(&mut wire, &node));
                    if let Err(why) = taken {
                        self.lost();
                        return End::Lost(why);
                    }
                }
                () = sleep_until(next), if phase == Phase::Storm => {
                    self.act(&mut wire);
                    next = Instant::now() + self.pause();
                }
                Some(command) = self.commands.recv() => match command {
                    Command::Reset => {
                        wire.reset();
                        self.lost();
                        return End::Lost("it was reset".to_owned());
                    }
                    Command::Stall(time) => sleep(time).await,
                    Command::Leave(time) => {
                        self.leave(wire).await;
                        return End::Left(time);
                    }
                },
                _ = look.tick() => {
                    if let Some(end) = self.look(&mut wire, phase) {
                        return end;
                    }
                    if phase == Phase::Close {
                        self.leave(wire).await;
                        self.world.done(self.id, Phase::Close);
                        return End::Done;
                    }
                }
                // A client looks at the new phase at its next tick.
                changed = self.phase.changed() => {
                    if changed.is_err() {
                        return End::Done;
                    }
                }
            }
        }
    }

    /// What is to be done now and then, in each phase.
    fn look(&mut self, wire: &mut Wire, phase: Phase) -> Option<End> {
        if self.waits_since.is_some_and(|since| since.elapsed() > SILENCE_LIMIT) {
            let seconds = SILENCE_LIMIT.as_secs();
            self.violated("G6", format!("{}: an <r/> was not answered for {seconds} s", self.id));
            self.lost();
            return Some(End::Lost("no answer".to_owned()));
        }
        if self.line.as_ref().is_some_and(|line| line.open() > 0) {
            self.confirm(wire);
        }
        match phase {
            Phase::Settle => match self.open_work() {
                None => self.world.done(self.id, Phase::Settle),
                Some(what) => self.world.tells(self.id, &what),
            },
            Phase::Sync => self.read_all(wire),
            _ => {}
        }
        if phase <= Phase::Settle {
            self.look_into_rooms(wire);
        }
        None
    }

    /// What keeps it from being settled.
    fn open_work(&self) -> Option<String> {
        let Some(line) = &self.line else {
            return Some("has no stream".to_owned());
        };
        if line.open() > 0 || !self.again.is_empty() {
            return Some(format!("waits for {} acks", line.open() + self.again.len()));
        }
        if !line.is_present {
            return Some("reads its archive".to_owned());
        }
        if let Some(visit) = self.visits.iter().find(|visit| !visit.is_in()) {
            return Some(format!("enters {}", visit.room));
        }
        let changes = self.asked.values().filter(|asked| matches!(asked, Asked::Change(..)));
        match changes.count() {
            0 => None,
            open => Some(format!("waits for {open} results")),
        }
    }

    /// Closes the stream in good order, so that it cannot be resumed. What comes meanwhile counts.
    async fn leave(&mut self, mut wire: Wire) {
        if let Some(line) = &self.line
            && line.is_managed
        {
            wire.send(&format!("<a xmlns='{NS_SM}' h='{}'/>", line.received));
        }
        wire.finish();
        let closing = async {
            while let Ok(node) = wire.element().await {
                if self.take(&mut wire, &node).is_err() {
                    return;
                }
            }
        };
        // Every end is one.
        let _ = timeout(CLOSE_LIMIT, closing).await;
        self.lost();
        self.end_line();
    }

    /// The connection is gone. A managed stream waits to be resumed, any other one is over.
    fn lost(&mut self) {
        self.sync = None;
        self.waits_since = None;
        if self.line.as_ref().is_some_and(|line| line.id.is_none()) {
            self.end_line();
        }
    }

    /// The stream is over. Messages that nobody has acknowledged are sent again on the next one; an IQ is not, and stays
    /// without an answer.
    fn end_line(&mut self) {
        let Some(line) = self.line.take() else { return };
        self.asked.clear();
        let failed = &self.failed;
        let is_wanted = |sent: &Sent| sent.op.is_some_and(|op| !failed.contains(&op));
        let mut again: VecDeque<Sent> = line.into_unacked().filter(is_wanted).collect();
        // A stream may end before what was to be sent again has been.
        again.append(&mut self.again);
        self.again = again;
    }

    /// h has come, in an element of this name.
    fn acknowledged(&mut self, h: u32, element: &str) {
        let Some(line) = &mut self.line else { return };
        let number = line.number;
        let covered = match element {
            "failed" => line.acknowledge_after_crash(h),
            _ => line.acknowledge(h),
        };
        match covered {
            Ok(covered) => {
                let by = format!("<{element} h='{h}'/> on stream {number}");
                self.covered(&covered, &by);
            }
            Err(why) => self.violated("G1", format!("{}: <{element}/> on stream {number}: {why}", self.id)),
        }
    }

    fn covered(&self, covered: &[Sent], by: &str) {
        let now = self.world.now();
        let mut history = self.world.history();
        for op in covered.iter().filter_map(|sent| sent.op) {
            if history.acked(now, op, by) {
                Counts::add(&self.world.counts.acked);
            }
        }
    }

    /// Something became of its stream.
    fn tells(&self, what: String) {
        self.world.tells(self.id, &what);
        let mut history = self.world.history();
        // Under the lock, so that they are in the order of time.
        let now = self.world.now();
        history.streams.push((now, self.id, what));
    }

    fn violated(&self, rule: &'static str, what: String) {
        let now = self.world.now();
        let mut history = self.world.history();
        let story = oracle::client_story(&history, self.id, now);
        history.violated(rule, what, story);
    }
}

pub(crate) fn jid_of(client: ClientId) -> String {
    format!("{}/{}", client.account().jid(), client.resource())
}
