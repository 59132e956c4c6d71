//! A seeded random run of messages over streams that break and go on: four accounts with three resources each, some
//! that acknowledge and some that do not, commits that come late and sometimes fail. What must hold in the end is
//! checked against what clients saw and what is on disk.
//!
//! A failure prints its seed: `RULES_SEED=… cargo nextest run -p jackdaw-router streams` repeats it; with `RULES_TRACE=1` every
//! step is told.

use std::collections::{BTreeMap, BTreeSet};

use minidom::Element;
use store::{StoreError, View};

use crate::random::{Dice, seeds};
use crate::support::{DOMAIN, LIMITS, Stream, World, copy_of, line, stanza_id};

const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];
const RESOURCES: [&str; 3] = ["x", "y", "z"];
const STEPS: usize = 1_500;

/// One message that somebody sent.
struct Sent {
    from: String,
    /// The account it is for.
    to: String,
    is_bare: bool,
    refused: usize,
    /// It was sent once more, after it had been refused, or was delivered anew.
    again: bool,
    /// Stands in no archive: whoever of several had not taken it gives it back, and it goes to the others once more.
    is_loose: bool,
}

/// What a session has seen since it was bound.
#[derive(Default)]
struct Session {
    /// Numbers of the last message of each sender that came live.
    last: BTreeMap<String, usize>,
    seen: BTreeSet<String>,
    /// It was there all the time, and takes messages: the last id when it came.
    since: Option<i64>,
}

struct Run {
    world: World,
    dice: Dice,
    seed: u64,
    fails: bool,
    sessions: BTreeMap<String, Session>,
    away: BTreeMap<String, Stream>,
    messages: BTreeMap<String, Sent>,
    /// By account and message: the id in the archive.
    ids: BTreeMap<(String, String), String>,
    /// What the server has said it has.
    promised: BTreeSet<String>,
    /// Whose answers nobody hears.
    deaf: BTreeSet<String>,
    number: usize,
    trace: Vec<String>,
}

impl Run {
    fn new(seed: u64, fails: bool) -> Run {
        Run {
            world: World::new(&ACCOUNTS),
            dice: Dice(seed | 1),
            seed,
            fails,
            sessions: BTreeMap::new(),
            away: BTreeMap::new(),
            messages: BTreeMap::new(),
            ids: BTreeMap::new(),
            promised: BTreeSet::new(),
            deaf: BTreeSet::new(),
            number: 0,
            trace: Vec::new(),
        }
    }

    #[track_caller]
    fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            // All of what it is about, and the end.
            let words: Vec<&str> = what.split(' ').filter(|word| word.starts_with('m')).collect();
            let about = self.trace.iter().enumerate().filter(|(at, step)| {
                *at + 60 > self.trace.len()
                    || std::env::var_os("RULES_TRACE").is_some()
                    || words
                        .iter()
                        .any(|word| step.split([' ', '\'']).any(|part| part == *word))
            });
            let about: Vec<String> = about.map(|(at, step)| format!("{at}: {step}")).collect();
            panic!(
                "seed {} (with failures: {}): {what}\n{}",
                self.seed,
                self.fails,
                about.join("\n")
            );
        }
    }

    fn step(&mut self) {
        let account = *self.dice.of(&ACCOUNTS.each_ref());
        let resource = *self.dice.of(&RESOURCES.each_ref());
        let name = format!("{account}/{resource}");
        match self.dice.below(100) {
            0..12 => {
                let steps = self.dice.below(6);
                for _ in 0..steps {
                    self.world.store.step();
                }
                return self.trace.push(format!("{steps} commits"));
            }
            12..24 => return self.read_some(),
            24..26 if self.fails => {
                self.world.store.fail_writes(1, StoreError::Full);
                return self.trace.push("a write will fail".into());
            }
            26 => {
                self.world.pass(100);
                self.trace.push("100 seconds".into());
                self.world.router.tend(self.world.now());
                return self.world.router.sweep(self.world.now());
            }
            _ => {}
        }
        if let Some(stream) = self.away.remove(&name) {
            if self.dice.below(2) == 0 {
                return self.resume(&name, stream);
            }
            if self.dice.below(3) > 0 {
                self.away.insert(name, stream);
                return;
            }
        }
        if !self.world.clients.contains_key(&name) {
            return self.come(&name);
        }
        let is_managed = self.world.clients[&name].stream.is_some();
        match self.dice.below(60) {
            0 => self.leave(&name),
            1..4 if is_managed => self.detach(&name),
            4 if is_managed => {
                self.trace.push(format!("{name} resumes its stream elsewhere"));
                let mut old = self.world.clients.remove(&name).expect("online");
                let mut stream = old.stream.clone().expect("managed");
                self.lose(&name, &mut old.take_inbox(), &mut stream);
                self.world.clients.insert("old".into(), old);
                self.resume(&name, stream);
                self.world.leave("old", false);
            }
            5..9 if is_managed => {
                self.trace.push(format!("{name} asks"));
                self.world.ask_for_h(&name);
            }
            9 | 10 => {
                let active = self.dice.below(2) == 0;
                self.world.set_active(&name, active);
            }
            _ => self.message(&name),
        }
    }

    fn come(&mut self, name: &str) {
        self.trace.push(format!("{name} comes"));
        self.world.connect(name);
        if self.dice.below(3) > 0 {
            self.world.enable(name, true);
            self.world.stream(name).is_mute = true;
        }
        if self.dice.below(2) == 0 {
            self.world.carbons(name);
        }
        self.sessions.insert(name.to_owned(), Session::default());
        self.settle();
        let account = name.split('/').next().unwrap_or_default();
        if self.dice.below(6) == 0 {
            self.world.send(name, "<presence><priority>-1</priority></presence>");
        } else {
            self.world.send(name, "<presence/>");
            let last = self
                .world
                .kept(account, View::Waiting)
                .last()
                .map_or(0, |message| message.id);
            self.sessions.get_mut(name).expect("bound").since = Some(last);
        }
        self.deaf.remove(name);
    }

    fn leave(&mut self, name: &str) {
        let clean = self.dice.below(2) == 0;
        self.trace.push(format!("{name} leaves, clean: {clean}"));
        if clean {
            self.world.pump(name);
        }
        self.look(name);
        self.note_promises(name);
        self.end(name, clean);
    }

    /// What a connection had not taken and the archive does not have is delivered anew, also to who has it.
    fn end(&mut self, name: &str, clean: bool) {
        for text in self.world.leave(name, clean) {
            if let Some(message) = id_of(&text).and_then(|id| self.messages.get_mut(id)) {
                message.again = true;
            }
        }
        self.gone(name);
    }

    fn gone(&mut self, name: &str) {
        self.sessions.remove(name);
        self.deaf.insert(name.to_owned());
    }

    fn detach(&mut self, name: &str) {
        self.trace.push(format!("{name} breaks off"));
        self.note_promises(name);
        let mut inbox = self.world.taken(name);
        if self.world.clients[name]
            .stream
            .as_ref()
            .is_some_and(|stream| stream.id.is_none())
        {
            // Not resumable (yet): it is as any other.
            return self.end(name, false);
        }
        let mut stream = self.world.detach(name);
        self.lose(name, &mut inbox, &mut stream);
        self.away.insert(name.to_owned(), stream);
    }

    /// Some of what came was lost on the way.
    fn lose(&mut self, name: &str, inbox: &mut Vec<Element>, stream: &mut Stream) {
        let kept = self.dice.below(inbox.len() + 1);
        for stanza in inbox.drain(kept..) {
            self.trace.push(format!("    {name} has lost {}", line(&stanza)));
            self.check(stream.got > 0 || stanza.name() == "end", || {
                format!("{name} has got nothing")
            });
            stream.got -= u32::from(stanza.name() != "end");
        }
        for stanza in inbox.drain(..) {
            self.look_at(name, &stanza);
        }
        // It may have been heard by nobody that its stanza was refused, or that it was not its turn any more.
        self.sessions.get_mut(name).expect("bound").since = None;
    }

    fn resume(&mut self, name: &str, stream: Stream) {
        self.trace.push(format!("{name} resumes with {}", stream.got));
        let sent: Vec<String> = stream.unacknowledged.iter().cloned().collect();
        let outbox = self.world.resumption(name, &stream);
        match self.world.resumed(name, &outbox, stream) {
            Ok(()) => {
                let unacknowledged = self.world.stream(name).unacknowledged.len();
                for text in &sent[sent.len() - unacknowledged..] {
                    self.trace.push(format!("    {name} again: {text}"));
                    if let Some(message) = id_of(text).and_then(|id| self.messages.get_mut(id)) {
                        message.again = true;
                    }
                }
                self.note_promises(name);
            }
            Err(refusal) => {
                self.trace.push(format!("    {refusal:?}"));
                self.gone(name);
            }
        }
    }

    fn message(&mut self, name: &str) {
        let to = *self.dice.of(&ACCOUNTS.each_ref());
        let address = match self.dice.below(4) {
            0 => format!("{to}@{DOMAIN}/{}", self.dice.of(&RESOURCES.each_ref())),
            _ => format!("{to}@{DOMAIN}"),
        };
        let content = match self.dice.below(8) {
            0 => {
                let text = format!(
                    "<message type='chat' to='{address}'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
                );
                return self.world.send(name, &text);
            }
            1 => "<no-permanent-store xmlns='urn:xmpp:hints'/>",
            _ => "",
        };
        self.number += 1;
        let id = format!("m{}", self.number);
        let text = format!("<message type='chat' id='{id}' to='{address}'><body>{id}</body>{content}</message>");
        self.trace.push(format!("{name}: {text}"));
        self.messages.insert(
            id,
            Sent {
                from: name.to_owned(),
                to: to.to_owned(),
                is_bare: !address.contains('/'),
                refused: 0,
                again: false,
                is_loose: !content.is_empty(),
            },
        );
        self.world.send(name, &text);
    }

    fn read_some(&mut self) {
        let names: Vec<String> = self.world.clients.keys().cloned().collect();
        if names.is_empty() {
            return;
        }
        let name = &names[self.dice.below(names.len())];
        self.world.pump(name);
        self.note_promises(name);
        if self.dice.below(2) == 0 {
            self.look(name);
        }
    }

    fn settle(&mut self) {
        self.world.settle();
        let names: Vec<String> = self.world.clients.keys().cloned().collect();
        for name in names {
            if self.sessions.contains_key(&name) {
                self.look(&name);
                self.note_promises(&name);
            }
        }
    }

    fn note_promises(&mut self, name: &str) {
        if let Some(stream) = self
            .world
            .clients
            .get_mut(name)
            .and_then(|client| client.stream.as_mut())
        {
            let ids = stream.promised.drain(..);
            self.promised
                .extend(ids.filter_map(|text| id_of(&text).map(str::to_owned)));
        }
    }

    /// Takes in what a session was sent, and acknowledges it.
    fn look(&mut self, name: &str) {
        for stanza in self.world.taken(name) {
            self.look_at(name, &stanza);
        }
        if self.world.clients[name].stream.is_some() {
            self.world.acknowledge(name);
        }
    }

    fn look_at(&mut self, name: &str, stanza: &Element) {
        if stanza.name() != "message" {
            return;
        }
        self.trace.push(format!("    {name} <- {}", line(stanza)));
        let copy = copy_of(stanza);
        let original = copy.map_or(stanza, |copy| {
            let forwarded = copy.get_child("forwarded", stanza::ns::FORWARD).expect("forwarded");
            forwarded.children().next().expect("a message")
        });
        let Some(id) = original.attr("id").map(str::to_owned) else {
            return;
        };
        if copy.is_some() && original.attr("type") == Some("error") {
            return;
        }
        if stanza.attr("type") == Some("error") {
            self.messages.get_mut(&id).expect("it was sent").refused += 1;
            return;
        }
        let account = name.split('/').next().unwrap_or_default().to_owned();
        if let Some((by, shown)) = stanza_id(stanza) {
            self.check(by == format!("{account}@{DOMAIN}"), || {
                format!("{id} has an id by {by}")
            });
            let known = self
                .ids
                .entry((account, id.clone()))
                .or_insert_with(|| shown.clone())
                .clone();
            self.check(known == shown, || format!("{id} has two ids: {known} and {shown}"));
        }
        if copy.is_some_and(|copy| copy.name() == "sent") {
            return;
        }
        let message = &self.messages[&id];
        let (from, is_loose) = (message.from.clone(), message.is_loose);
        let again = message.again || (is_loose && self.is_seen(&id));
        let number: usize = id[1..].parse().expect("a number");
        let is_live = stanza.get_child("delay", stanza::ns::DELAY).is_none();
        let session = self.sessions.get_mut(name).expect("bound");
        session.seen.insert(id.clone());
        if is_live && !again {
            let last = session.last.insert(from.clone(), number).unwrap_or(0);
            self.check(last < number, || {
                format!("{name} has m{number} of {from} behind m{last} ")
            });
        }
        self.ids
            .entry((format!("seen by {}", self.messages[&id].to), id))
            .or_default();
    }

    fn is_seen(&self, id: &str) -> bool {
        let to = &self.messages[id].to;
        self.ids.contains_key(&(format!("seen by {to}"), id.to_owned()))
    }

    /// What is on disk, by the id of the message.
    fn kept(&self) -> BTreeMap<String, i64> {
        let mut kept = BTreeMap::new();
        for account in ACCOUNTS {
            for message in self.world.kept(account, View::Waiting) {
                let id = id_of(&message.stanza).expect("an id").to_owned();
                let old = kept.insert(id.clone(), message.id);
                let may = old.is_none() || self.messages[&id].again || self.messages[&id].is_loose;
                self.check(may, || format!("{id} is kept twice"));
            }
        }
        kept
    }

    /// Everybody comes back and takes what waits.
    fn finish(mut self) {
        self.settle();
        self.world.end_failures();
        self.settle();
        for (name, stream) in std::mem::take(&mut self.away) {
            self.resume(&name, stream);
        }
        // Who has left without a word and will not come back.
        self.world.pass(i64::from(LIMITS.resume_seconds) + 2);
        self.world.router.tend(self.world.now());
        self.settle();
        for account in ACCOUNTS {
            let name = format!("{account}/last");
            self.world.connect(&name);
            self.sessions.insert(name.clone(), Session::default());
            self.world.send(&name, "<presence/>");
        }
        for _ in 0..3 {
            self.settle();
        }
        let kept = self.kept();
        for (name, session) in &self.sessions {
            let account = name.split('/').next().unwrap_or_default();
            let Some(since) = session.since.filter(|_| !self.fails) else {
                continue;
            };
            for (id, at) in &kept {
                let message = &self.messages[id];
                let is_bare = message.is_bare && message.to == account;
                self.check(!is_bare || *at <= since || session.seen.contains(id), || {
                    format!("{name} was there when {id} came, and has not seen it")
                });
            }
        }
        for (id, message) in &self.messages {
            let (seen, kept) = (self.is_seen(id), kept.contains_key(id));
            self.check(!kept || seen, || {
                format!("{id} is on disk and {} has not seen it", message.to)
            });
            self.check(message.refused == 0 || !(seen || kept) || message.again, || {
                format!("{id} was answered with an error, and kept: {kept}, seen: {seen}")
            });
            let is_told = seen || message.refused > 0;
            self.check(is_told || self.is_deaf(message), || {
                format!("{id} of {} was neither delivered nor answered", message.from)
            });
            self.check(is_told || !self.promised.contains(id) || self.is_deaf(message), || {
                format!("{id} of {} was acknowledged and has gone", message.from)
            });
        }
        for account in ACCOUNTS {
            let left = self.world.stored_messages(account).len();
            self.check(left == 0, || format!("{left} messages still wait for {account}"));
            let last = self
                .world
                .kept(account, View::Waiting)
                .last()
                .map_or(0, |message| message.id);
            let cursor = self.world.cursor(account);
            // Behind the last that is there may have been some that stood in no archive: delivered, they are gone.
            self.check(cursor >= last, || {
                format!("the cursor of {account} stands at {cursor}, before {last}")
            });
        }
    }

    /// kill -9: what was promised is there, and the counters say what.
    fn crash(mut self) {
        let names: Vec<String> = self.world.clients.keys().cloned().collect();
        for name in names {
            self.world.pump(&name);
            self.note_promises(&name);
            self.look(&name);
        }
        let live = self
            .world
            .clients
            .iter()
            .filter_map(|(name, client)| Some((name.clone(), client.stream.clone()?)));
        let mut streams: Vec<(String, Stream)> = live.collect();
        streams.extend(std::mem::take(&mut self.away));
        self.world.kill();
        let kept = self.kept();
        for id in &self.promised {
            let message = &self.messages[id];
            let is_fine = kept.contains_key(id) || self.is_seen(id) || message.refused > 0 || self.is_deaf(message);
            self.check(is_fine, || {
                format!("{id} of {} was acknowledged and has gone", message.from)
            });
        }
        for (name, stream) in streams {
            let Some(mark) = stream.id.is_some().then(|| self.world.mark(&stream)).flatten() else {
                continue;
            };
            for (at, text) in stream.history.iter().enumerate() {
                let Some(id) = id_of(text) else { continue };
                let is_covered = (at as i64) < mark;
                self.check(is_covered || !kept.contains_key(id), || {
                    format!("{id} of {name} is on disk and would be sent again: it has {mark}, and this is number {at}")
                });
            }
        }
    }

    /// A session that is gone does not hear of an error; the next of the name is another.
    fn is_deaf(&self, message: &Sent) -> bool {
        self.deaf.contains(&message.from)
            || self.trace.iter().any(|step| {
                let step = step.trim_start();
                ["leaves", "comes", "breaks", "resumes"]
                    .iter()
                    .any(|what| step.starts_with(&format!("{} {what}", message.from)))
            })
    }
}

fn id_of(text: &str) -> Option<&str> {
    let (start, _) = text.split_once('>')?;
    start
        .split_once(" id='")?
        .1
        .split('\'')
        .next()
        .filter(|id| id.starts_with('m'))
}

fn run(seed: u64, fails: bool) -> Run {
    let mut run = Run::new(seed, fails);
    for _ in 0..STEPS {
        run.step();
    }
    run
}

#[test]
fn random_streams() {
    for seed in seeds() {
        run(seed, false).finish();
    }
}

#[test]
fn random_streams_with_failing_writes() {
    for seed in seeds() {
        run(seed, true).finish();
    }
}

#[test]
fn random_streams_and_a_crash() {
    for seed in seeds() {
        for fails in [false, true] {
            run(seed, fails).crash();
        }
    }
}
