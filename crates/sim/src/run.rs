//! One run: a plan made from a seed, some hundred acts by chance, and an end at which everybody comes back.

use std::fmt::Write as _;

use router::Limits;
use stanza::ns;
use store::{Batch, Store, StoreError};

use crate::check;
use crate::client::Phase;
use crate::dice::Dice;
use crate::history::{Change, Message};
use crate::server::{DOMAIN, LIMITS};
use crate::world::World;

const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];
const RESOURCES: [&str; 3] = ["x", "y", "z"];
/// Acts of a run, where nothing else is said.
pub const STEPS: usize = 700;
/// Seconds after which old messages may be deleted.
const EXPIRED_AFTER: i64 = 60;
/// What is done at once for a device that logs in.
const LOGIN_STEPS: usize = 8;
/// Last lines of the trace that are shown with a failure.
const SHOWN: usize = 60;

/// What may happen in a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub steps: usize,
    pub archives: bool,
    /// Commits fail, and the disk is full for a while.
    pub fails: bool,
    pub crashes: bool,
    pub restarts: bool,
    /// Old messages are deleted.
    pub expires: bool,
    /// Accounts are disabled and removed.
    pub removes: bool,
    pub offline_messages: u64,
}

impl Plan {
    pub fn of(seed: u64) -> Plan {
        let mut dice = Dice::new(seed ^ 0x5eed);
        Plan {
            seed,
            steps: STEPS,
            archives: !dice.one_in(4),
            fails: dice.one_in(3),
            crashes: dice.one_in(3),
            restarts: dice.one_in(2),
            expires: dice.one_in(5),
            removes: dice.one_in(4),
            offline_messages: if dice.one_in(4) { 10 } else { LIMITS.offline_messages },
        }
    }
}

/// What contradicts the guarantees, and how it came to that.
pub struct Failure {
    pub plan: Plan,
    pub found: Vec<String>,
    pub trace: Vec<String>,
}

impl Failure {
    /// For who has to find out. `whole`: all that happened.
    pub fn story(&self, whole: bool) -> String {
        let mut out = format!("{:?}\n", self.plan);
        for what in self.found.iter().take(10) {
            let _ = writeln!(out, "  {what}");
        }
        // All of what it is about, and the end.
        let about: Vec<&str> = self.found.iter().take(3).flat_map(|what| what.split(' ')).collect();
        let is_about = |line: &str| {
            line.split([' ', '\''])
                .any(|word| word.starts_with('m') && word.len() > 1 && about.contains(&word))
        };
        for (at, line) in self.trace.iter().enumerate() {
            if whole || at + SHOWN > self.trace.len() || is_about(line) {
                let _ = writeln!(out, "{at}: {line}");
            }
        }
        let Plan { seed, steps, .. } = self.plan;
        let _ = write!(
            out,
            "repeat it: SIM_SEED={seed} SIM_STEPS={steps} SIM_TRACE=1 cargo nextest run -p jackdaw-sim messages"
        );
        out
    }
}

/// Runs a plan, and where it fails looks for fewer steps that fail too.
pub fn check(plan: Plan) -> Result<(), Box<Failure>> {
    let Err(mut failure) = once(plan) else { return Ok(()) };
    // The acts of a shorter run are the first ones of the longer, so most defects show a little later than they happen.
    let (mut fine, mut failing) = (0, plan.steps);
    while failing - fine > 1 {
        let steps = (fine + failing) / 2;
        match once(Plan { steps, ..plan }) {
            Ok(()) => fine = steps,
            Err(shorter) => {
                failing = steps;
                failure = shorter;
            }
        }
    }
    Err(failure)
}

/// Runs a plan once.
pub fn once(plan: Plan) -> Result<(), Box<Failure>> {
    let mut run = Run::new(plan);
    for _ in 0..plan.steps {
        run.step();
    }
    let found = run.finish();
    if found.is_empty() {
        return Ok(());
    }
    Err(Box::new(Failure {
        plan,
        found,
        trace: std::mem::take(&mut run.world.trace),
    }))
}

struct Run {
    world: World,
    plan: Plan,
    is_full: bool,
    away: Vec<&'static str>,
    disabled: Vec<&'static str>,
}

impl Run {
    fn new(plan: Plan) -> Run {
        let limits = Limits {
            offline_messages: plan.offline_messages,
            ..LIMITS
        };
        Run {
            world: World::new(&ACCOUNTS, &RESOURCES, limits, plan.archives, plan.seed),
            plan,
            is_full: false,
            away: Vec::new(),
            disabled: Vec::new(),
        }
    }

    fn step(&mut self) {
        let d = self.world.dice.below(self.world.devices.len());
        match self.world.dice.below(100) {
            0..14 => {
                for _ in 0..self.world.dice.below(8) {
                    self.world.server.store.step();
                }
            }
            14..34 => self.poll_some(),
            34..52 => {
                let most = match self.world.dice.one_in(3) {
                    true => 1 + self.world.dice.below(600),
                    false => usize::MAX,
                };
                self.world.receive(d, most);
            }
            52..54 => self.fault(),
            54 => self.time(),
            _ => self.act(d),
        }
    }

    fn poll_some(&mut self) {
        let links: Vec<u32> = self.world.links.keys().copied().collect();
        if links.is_empty() {
            return;
        }
        let link = links[self.world.dice.below(links.len())];
        self.world.poll(link);
        let is_deserted = !self.world.devices.iter().any(|device| device.link == Some(link));
        if is_deserted && self.world.dice.one_in(3) {
            self.world.break_off(link);
        }
    }

    fn time(&mut self) {
        if !self.world.dice.one_in(6) {
            let seconds = 1 + self.world.dice.below(20) as i64;
            self.world.server.pass(seconds);
        } else {
            self.world.tell(|| "sessions expire".into());
            self.world.server.pass(i64::from(LIMITS.resume_seconds) + 2);
            let owned: Vec<Option<u32>> = self.world.devices.iter().map(|device| device.link).collect();
            let are_all_owned = self.world.links.keys().all(|link| owned.contains(&Some(*link)));
            self.world.server.tend();
            for d in 0..self.world.devices.len() {
                let device = &self.world.devices[d];
                if device.link.is_none() && are_all_owned {
                    let (account, session) = (device.account.clone(), (d, device.session));
                    self.world.history.end(&account, session);
                }
            }
        }
        self.world.server.tend();
    }

    fn fault(&mut self) {
        let plan = self.plan;
        match self.world.dice.below(20) {
            0..4 if plan.fails => {
                self.world.tell(|| "a write will fail".into());
                self.world.server.store.fail_writes(1, StoreError::Full);
            }
            4..7 if plan.fails => {
                self.is_full = !self.is_full;
                let is_full = self.is_full;
                self.world.tell(|| format!("the disk is full: {is_full}"));
                self.world.server.store.set_full(is_full);
            }
            7..9 if plan.crashes => {
                let unanswered = self.world.dice.below(3);
                self.world.tell(|| format!("kill -9, {unanswered} commits unanswered"));
                self.world.crash(unanswered);
            }
            9..11 if plan.restarts => {
                self.world.tell(|| "restart".into());
                self.world.restart();
            }
            11..14 if plan.expires => {
                let before = self.world.server.now().0 - EXPIRED_AFTER * 1_000;
                self.world.tell(|| "old messages are deleted".into());
                self.world.history.expire(before);
                let batch = Batch::new().expire(before, 100);
                self.world.server.store.write(batch, Box::new(|_| {}));
            }
            14..16 if plan.removes => self.change_account(),
            _ => {}
        }
    }

    fn change_account(&mut self) {
        let account = *self.world.dice.of(&ACCOUNTS.each_ref());
        let settled = self.world.dice.one_in(2);
        if settled {
            self.world.settle();
        }
        self.world.history.was_removed.insert(account.to_owned());
        if let Some(at) = self.away.iter().position(|away| *away == account) {
            self.world.tell(|| format!("{account} is added"));
            self.world.server.add(account);
            if self.world.server.exists(account) {
                self.away.remove(at);
            }
            *self.world.history.epochs.entry(account.to_owned()).or_default() += 1;
        } else if let Some(at) = self.disabled.iter().position(|disabled| *disabled == account) {
            self.world.tell(|| format!("{account} is enabled"));
            if self.world.server.set_disabled(account, false) {
                self.disabled.remove(at);
            }
        } else if self.world.dice.one_in(2) {
            self.world.tell(|| format!("{account} is disabled"));
            if self.world.server.set_disabled(account, true) {
                self.disabled.push(account);
            }
        } else {
            self.world.tell(|| format!("{account} is removed"));
            self.world.server.remove(account);
            if !self.world.server.exists(account) {
                self.away.push(account);
            }
            *self.world.history.epochs.entry(account.to_owned()).or_default() += 1;
            self.world.history.changes.retain(|(owner, _), _| owner != account);
        }
    }

    fn act(&mut self, d: usize) {
        match self.world.devices[d].phase {
            Phase::Offline => {
                if self.world.dice.one_in(3) {
                    self.come(d);
                }
            }
            Phase::Online => self.act_online(d),
            _ => {
                if self.world.dice.one_in(30) {
                    self.world.cut(d);
                } else {
                    self.push(d);
                }
            }
        }
    }

    /// A login takes many steps, each of which is of little interest.
    fn push(&mut self, d: usize) {
        for _ in 0..LOGIN_STEPS {
            if let Some(link) = self.world.devices[d].link {
                self.world.poll(link);
                self.world.receive(d, usize::MAX);
            }
            if self.world.dice.one_in(2) {
                self.world.server.store.step();
            }
        }
    }

    fn come(&mut self, d: usize) {
        let dice = &mut self.world.dice;
        let habits = &mut self.world.devices[d].habits;
        habits.manages = !dice.one_in(4);
        habits.acknowledges = !dice.one_in(4);
        habits.carbons = dice.one_in(2);
        habits.priority = if dice.one_in(6) { -1 } else { 0 };
        habits.is_available = !dice.one_in(10);
        habits.syncs = dice.one_in(5);
        habits.repeats = !dice.one_in(4);
        let name = self.world.devices[d].name();
        let habits = self.world.devices[d].habits;
        self.world.tell(|| format!("{name} comes: {habits:?}"));
        if self.world.devices[d].stream.is_some() && self.world.dice.one_in(6) {
            // It has forgotten what it knew.
            self.forget_stream(d);
        }
        self.world.connect(d);
    }

    fn forget_stream(&mut self, d: usize) {
        if let Some(stream) = self.world.devices[d].stream.take() {
            let rest = stream.queue.into_iter().filter(|sent| sent.id.is_some());
            self.world.devices[d].unsure.extend(rest);
        }
    }

    fn act_online(&mut self, d: usize) {
        let name = self.world.devices[d].name();
        match self.world.dice.below(80) {
            0 => self.leave(d),
            1..3 => {
                self.world.tell(|| format!("{name} is cut off"));
                self.world.cut(d);
            }
            3 => {
                self.world.tell(|| format!("{name} comes by another line"));
                self.world.connect(d);
            }
            4..7 => self.world.write(d, &format!("<r xmlns='{}'/>", ns::SM)),
            7..9 => self.world.acknowledge(d),
            9..11 => {
                let state = self.world.dice.of(&["active", "inactive"]);
                self.world.write(d, &format!("<{state} xmlns='{}'/>", ns::CSI));
            }
            11 => {
                let switch = self.world.dice.of(&["enable", "disable"]);
                let text = format!("<iq type='set' id='c'><{switch} xmlns='{}'/></iq>", ns::CARBONS);
                self.world.send(d, text, None);
            }
            12 => {
                if self.world.dice.one_in(4) {
                    self.world.history.odd.insert((d, self.world.devices[d].session));
                    self.world.send(d, "<presence type='unavailable'/>".into(), None);
                } else {
                    self.world.available(d);
                }
            }
            13..15 => self.set_roster(d),
            15 if self.plan.archives => self.world.sync(d, false),
            16..20 => {
                if let Some(link) = self.world.devices[d].link {
                    self.world.poll(link);
                }
            }
            _ => self.message(d),
        }
    }

    fn leave(&mut self, d: usize) {
        let (name, account) = (self.world.devices[d].name(), self.world.devices[d].account.clone());
        self.world.tell(|| format!("{name} leaves"));
        let session = (d, self.world.devices[d].session);
        self.world.write(d, "</stream:stream>");
        self.forget_stream(d);
        let Some(link) = self.world.devices[d].link else { return };
        while self.world.poll(link) | self.world.receive(d, usize::MAX) {}
        self.world.cut(d);
        if !self.world.links.contains_key(&link) {
            self.world.history.end(&account, session);
        }
    }

    fn set_roster(&mut self, d: usize) {
        let account = self.world.devices[d].account.clone();
        let contact = format!("c{}", self.world.dice.below(3));
        let value = self.world.fresh('v');
        let text = format!(
            "<iq type='set' id='s-{contact}-{value}'><query xmlns='jabber:iq:roster'>\
             <item jid='{contact}@elsewhere' name='{value}'/></query></iq>"
        );
        let changes = self.world.history.changes.entry((account, contact)).or_default();
        changes.push(Change { value, result: None });
        self.world.send(d, text, None);
    }

    fn message(&mut self, d: usize) {
        let to = *self.world.dice.of(&ACCOUNTS.each_ref());
        let is_bare = !self.world.dice.one_in(4);
        let resource = *self.world.dice.of(&RESOURCES.each_ref());
        let address = match is_bare {
            true => format!("{to}@{DOMAIN}"),
            false => format!("{to}@{DOMAIN}/{resource}"),
        };
        if self.world.dice.one_in(8) {
            let text = format!(
                "<message type='chat' to='{address}'><composing xmlns='{}'/></message>",
                ns::CHAT_STATES
            );
            return self.world.send(d, text, None);
        }
        let id = self.world.fresh('m');
        let is_loose = self.world.dice.one_in(8);
        let origin_id = self.world.dice.one_in(2);
        let mine = |message: &Message| message.sender.0 == d && message.to == to && message.retracts.is_none();
        let earlier: Vec<String> = self
            .world
            .history
            .messages
            .iter()
            .rev()
            .filter(|(_, m)| mine(m))
            .map(|(id, _)| id.clone())
            .collect();
        let retracts = (!earlier.is_empty() && !is_loose && self.world.dice.one_in(15))
            .then(|| earlier[self.world.dice.below(earlier.len())].clone());
        let mut content = match &retracts {
            Some(retracted) => format!("<retract xmlns='{}' id='{retracted}'/>", ns::RETRACTION),
            None => format!("<body>{id}</body>"),
        };
        if is_loose {
            content.push_str(&format!("<no-permanent-store xmlns='{}'/>", ns::HINTS));
        }
        if origin_id {
            content.push_str(&format!("<origin-id xmlns='{}' id='o{id}'/>", ns::STANZA_IDS));
        }
        let text = format!("<message type='chat' id='{id}' to='{address}'>{content}</message>");
        let world = &mut self.world;
        let device = &world.devices[d];
        let message = Message {
            sender: (d, device.session),
            to: to.to_owned(),
            is_bare,
            is_loose: is_loose || !self.plan.archives,
            origin_id,
            retracts,
            at: 0,
            clock: world.server.now().0,
            epochs: (world.history.epoch(&device.account), world.history.epoch(to)),
            ..Message::default()
        };
        let name = device.name();
        world.tell(|| format!("{name}: {id} to {address}{}", if is_loose { ", loose" } else { "" }));
        let at = world.history.tick();
        world.history.messages.insert(id.clone(), Message { at, ..message });
        world.send(d, text, Some(id));
    }

    /// Everybody comes back and takes what waits.
    fn finish(&mut self) -> Vec<String> {
        self.world.tell(|| "the end".into());
        self.world.server.end_failures();
        for account in std::mem::take(&mut self.disabled) {
            self.world.server.set_disabled(account, false);
        }
        for account in std::mem::take(&mut self.away) {
            self.world.server.add(account);
        }
        let deserted: Vec<u32> = self.world.links.keys().copied().collect();
        let owned: Vec<Option<u32>> = self.world.devices.iter().map(|device| device.link).collect();
        for link in deserted.into_iter().filter(|link| !owned.contains(&Some(*link))) {
            self.world.break_off(link);
        }
        self.world.settle();
        // Some resume in time.
        for d in 0..self.world.devices.len() {
            if self.world.devices[d].phase == Phase::Offline
                && self.world.devices[d].stream.is_some()
                && self.world.dice.one_in(2)
            {
                self.world.connect(d);
            }
        }
        self.world.settle();
        self.world.server.pass(i64::from(LIMITS.resume_seconds) + 2);
        self.world.server.tend();
        self.world.settle();
        for d in 0..self.world.devices.len() {
            let habits = &mut self.world.devices[d].habits;
            (habits.manages, habits.acknowledges) = (true, true);
            (habits.is_available, habits.priority, habits.syncs) = (true, 0, false);
            if self.world.devices[d].phase == Phase::Offline {
                self.world.connect(d);
            }
        }
        self.world.settle();
        for d in 0..self.world.devices.len() {
            self.world.write(d, &format!("<active xmlns='{}'/>", ns::CSI));
            self.world.available(d);
        }
        self.world.settle();
        for d in 0..self.world.devices.len() {
            if self.plan.archives {
                self.world.devices[d].sync = None;
                self.world.sync(d, true);
            }
            self.world.send(
                d,
                "<iq type='get' id='final'><query xmlns='jabber:iq:roster'/></iq>".into(),
                None,
            );
            self.world.acknowledge(d);
            if self.world.devices[d].is_managed() {
                self.world.write(d, &format!("<r xmlns='{}'/>", ns::SM));
            }
        }
        self.world.settle();
        for d in 0..self.world.devices.len() {
            self.world.acknowledge(d);
        }
        self.world.settle();
        let mut found = check::promises(&self.world, &self.plan);
        for account in ACCOUNTS {
            found.extend(check::cursor(&mut self.world, account));
        }
        for d in 0..self.world.devices.len() {
            self.leave(d);
        }
        self.world.settle();
        found.extend(check::memory(&mut self.world));
        found.extend(self.world.history.found.iter().cloned());
        found
    }
}
