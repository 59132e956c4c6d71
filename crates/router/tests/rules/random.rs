//! A seeded random run: five accounts, three resources each, every kind of input, commits that
//! come late and sometimes fail. What must hold in the end is checked against what clients saw
//! and what is on disk, not against the router's own memory.
//!
//! A failure prints its seed: `RULES_SEED=… cargo nextest run -p jackdaw-router random` repeats it.

use std::collections::{BTreeMap, BTreeSet};

use minidom::Element;
use store::StoreError;

use crate::support::{DOMAIN, World, full};

const ACCOUNTS: [&str; 5] = ["a", "b", "c", "d", "e"];
const RESOURCES: [&str; 3] = ["x", "y", "z"];
const STEPS: usize = 2_000;
/// The status of directed presence, by which a client here tells it from a broadcast.
const DIRECTED: &str = "directed";

/// Xorshift (Marsaglia 2003): good enough to vary a test, and the same everywhere.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    pub(crate) fn of<'a, T: ?Sized>(&mut self, choices: &[&'a T]) -> &'a T {
        choices[self.below(choices.len())]
    }
}

/// What one session has seen.
#[derive(Default)]
struct View {
    /// Presence of others that it takes for true, by full JID.
    present: BTreeSet<String>,
    /// Directed presence, likewise.
    directed: BTreeSet<String>,
    /// Contacts that have granted a subscription, as far as it was told.
    granted: BTreeSet<String>,
    /// Contacts that were asked for one.
    asked: BTreeSet<String>,
    /// Its initial presence is out.
    available: bool,
    /// Messages that came live, not from the store.
    live: BTreeSet<String>,
}

#[derive(Default)]
struct Sent {
    from: String,
    delivered: usize,
    bounced: usize,
}

struct Run {
    world: World,
    dice: Dice,
    seed: u64,
    fails: bool,
    views: BTreeMap<String, View>,
    messages: BTreeMap<String, Sent>,
    /// Sessions that are gone: a bounce to them is seen by nobody.
    gone: BTreeSet<String>,
    /// Messages that a broken connection had not taken: they are delivered anew, also to equals
    /// of that session which had them.
    again: BTreeSet<String>,
    /// Pairs with something about their subscription under way. Two such stanzas that cross may
    /// leave the sides in disagreement by the tables of appendix A (a denial of the last request is
    /// taken for one of the next), so here each pair says one thing at a time.
    crossing: BTreeSet<[&'static str; 2]>,
    number: usize,
    /// The last steps, for who has to find out.
    trace: Vec<String>,
}

impl Run {
    fn new(seed: u64, fails: bool) -> Run {
        Run {
            world: World::new(&ACCOUNTS),
            dice: Dice(seed | 1),
            seed,
            fails,
            views: BTreeMap::new(),
            messages: BTreeMap::new(),
            gone: BTreeSet::new(),
            again: BTreeSet::new(),
            crossing: BTreeSet::new(),
            number: 0,
            trace: Vec::new(),
        }
    }

    #[track_caller]
    fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let from = self.trace.len().saturating_sub(80);
            panic!(
                "seed {} (with failures: {}): {}\n{}",
                self.seed,
                self.fails,
                what(),
                self.trace[from..].join("\n")
            );
        }
    }

    fn step(&mut self) {
        let account = *self.dice.of(&ACCOUNTS.each_ref());
        let resource = *self.dice.of(&RESOURCES.each_ref());
        let name = format!("{account}/{resource}");
        match self.dice.below(100) {
            0..8 => {
                let steps = self.dice.below(6);
                for _ in 0..steps {
                    self.world.store.step();
                }
                self.trace.push(format!("{steps} commits"));
                return;
            }
            8..16 => return self.read_some(),
            16..18 if self.fails => {
                self.world.store.fail_writes(1, StoreError::Full);
                self.trace.push("a write will fail".into());
                return;
            }
            18 => {
                self.world.pass(400);
                self.world.router.sweep(self.world.now());
                return;
            }
            _ => {}
        }
        if !self.world.clients.contains_key(&name) {
            self.trace.push(format!("{name} connects"));
            self.world.connect(&name);
            self.gone.remove(&name);
            self.views.insert(name.clone(), View::default());
            self.send(
                &name,
                "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>".into(),
            );
            // With the roster first, as clients do: so it is known what it was told.
            self.settle();
            return;
        }
        if self.dice.below(40) == 0 {
            let clean = self.dice.below(2) == 0;
            self.trace.push(format!("{name} leaves, clean: {clean}"));
            if clean {
                self.world.pump(&name);
                self.look(&name);
            }
            for text in self.world.leave(&name, clean) {
                self.again.extend(
                    self.messages
                        .keys()
                        .filter(|id| text.contains(&format!("'{id}'")))
                        .cloned(),
                );
            }
            self.views.remove(&name);
            self.gone.insert(name);
            return;
        }
        let other = *self.dice.of(&ACCOUNTS.each_ref());
        let to_resource = *self.dice.of(&RESOURCES.each_ref());
        let text = match self.dice.below(20) {
            0..3 => {
                let priority = self.dice.of(&["-1", "0", "5"]);
                self.views.get_mut(&name).expect("connected").available = true;
                format!("<presence><priority>{priority}</priority></presence>")
            }
            3 => {
                self.world.pump(&name);
                self.look(&name);
                let view = self.views.get_mut(&name).expect("connected");
                view.available = false;
                "<presence type='unavailable'/>".into()
            }
            4..9 => {
                self.one_at_a_time(account, other);
                let kind = self
                    .dice
                    .of(&["subscribe", "subscribe", "subscribed", "unsubscribe", "unsubscribed"]);
                format!("<presence type='{kind}' to='{other}@{DOMAIN}'/>")
            }
            9 => {
                self.one_at_a_time(account, other);
                let remove = if self.dice.below(3) == 0 {
                    " subscription='remove'"
                } else {
                    ""
                };
                format!(
                    "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='{other}@{DOMAIN}'{remove}/></query></iq>"
                )
            }
            10 => format!("<presence to='{other}@{DOMAIN}/{to_resource}'><status>{DIRECTED}</status></presence>"),
            11 => format!("<presence type='probe' to='{other}@{DOMAIN}'/>"),
            12 => {
                format!("<iq type='get' id='p' to='{other}@{DOMAIN}/{to_resource}'><ping xmlns='urn:xmpp:ping'/></iq>")
            }
            _ => {
                self.number += 1;
                let id = format!("m{}", self.number);
                let kind = self.dice.of(&["chat", "chat", "normal"]);
                let to = match self.dice.below(3) {
                    0 => format!("{other}@{DOMAIN}/{to_resource}"),
                    _ => format!("{other}@{DOMAIN}"),
                };
                let sent = Sent {
                    from: name.clone(),
                    ..Sent::default()
                };
                self.messages.insert(id.clone(), sent);
                format!("<message type='{kind}' id='{id}' to='{to}'><body>{id}</body></message>")
            }
        };
        self.send(&name, text);
    }

    fn one_at_a_time(&mut self, account: &'static str, other: &'static str) {
        let mut pair = [account, other];
        pair.sort_unstable();
        if !self.crossing.insert(pair) {
            self.settle();
            self.crossing.insert(pair);
        }
    }

    fn send(&mut self, name: &str, text: String) {
        self.trace.push(format!("{name}: {text}"));
        self.world.send(name, &text);
    }

    fn read_some(&mut self) {
        let names: Vec<String> = self.world.clients.keys().cloned().collect();
        if !names.is_empty() {
            let name = &names[self.dice.below(names.len())];
            self.world.pump(name);
            self.look(name);
        }
    }

    fn settle(&mut self) {
        self.world.settle();
        self.crossing.clear();
        let names: Vec<String> = self.world.clients.keys().cloned().collect();
        for name in names {
            self.look(&name);
        }
    }

    /// Takes in what a session was sent.
    fn look(&mut self, name: &str) {
        for stanza in self.world.taken(name) {
            self.trace
                .push(format!("    {name} <- {}", crate::support::line(&stanza)));
            let from = stanza.attr("from").unwrap_or_default().to_owned();
            match stanza.name() {
                "message" => self.look_at_message(name, &stanza),
                "presence" => self.look_at_presence(name, &from, &stanza),
                "iq" => {
                    let view = self.views.get_mut(name).expect("connected");
                    let items = stanza
                        .get_child("query", "jabber:iq:roster")
                        .into_iter()
                        .flat_map(Element::children);
                    for item in items {
                        let jid = item.attr("jid").expect("a jid").to_owned();
                        let is_granted = matches!(item.attr("subscription"), Some("to" | "both"));
                        if item.attr("ask").is_some() {
                            view.asked.insert(jid);
                        } else if is_granted || view.asked.remove(&jid) {
                            // One that was withdrawn may cross its approval.
                            view.granted.insert(jid);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn look_at_message(&mut self, name: &str, stanza: &Element) {
        let id = stanza.attr("id").expect("every message here has one").to_owned();
        let again = self.again.contains(&id);
        let message = self.messages.get_mut(&id).expect("it was sent");
        if stanza.attr("type") == Some("error") {
            message.bounced += 1;
            let (bounced, delivered) = (message.bounced, message.delivered);
            self.check(again || (bounced == 1 && delivered == 0), || {
                format!("{id} was answered with an error {bounced} times and delivered {delivered} times")
            });
            return;
        }
        message.delivered += 1;
        let bounced = message.bounced;
        let is_live = stanza.get_child("delay", stanza::ns::DELAY).is_none();
        let is_new = !is_live || self.views.get_mut(name).expect("connected").live.insert(id.clone());
        self.check(again || bounced == 0, || {
            format!("{id} was answered with an error and delivered")
        });
        self.check(again || is_new, || format!("{id} came twice to {name}"));
    }

    fn look_at_presence(&mut self, name: &str, from: &str, stanza: &Element) {
        let own = full(name.split_once('/').expect("a resource").0);
        let bare = from.split_once('/').map_or(from, |(bare, _)| bare);
        let is_directed = stanza
            .get_child("status", "jabber:client")
            .is_some_and(|status| status.text() == DIRECTED);
        let view = self.views.get_mut(name).expect("connected");
        match stanza.attr("type") {
            None if is_directed => {
                view.directed.insert(from.to_owned());
            }
            None if bare == own => {}
            None => {
                view.present.insert(from.to_owned());
                let may = view.granted.contains(bare);
                self.check(may || self.fails, || {
                    format!("{name} sees {from} without a subscription")
                });
            }
            Some("unavailable") => {
                view.present.remove(from);
                view.directed.remove(from);
                // Its own end: what it knows is of no use any more (section 4.5.2), and who had sent
                // it directed presence may forget so (section 4.6.1).
                if from == full(name) {
                    view.present.clear();
                    view.directed.clear();
                }
            }
            Some("unsubscribed") => {
                view.granted.remove(bare);
            }
            Some("subscribed") => {
                view.granted.insert(bare.to_owned());
            }
            _ => {}
        }
    }

    /// Everybody comes to rest, and what must hold is looked at.
    fn finish(mut self) {
        self.settle();
        self.world.end_failures();
        self.rosters();
        self.presences();
        // Everyone comes and fetches what waits.
        for account in ACCOUNTS {
            let name = format!("{account}/last");
            self.views.insert(name.clone(), View::default());
            while self
                .world
                .clients
                .keys()
                .filter(|name| name.starts_with(account))
                .count()
                >= 4
            {
                let first = self
                    .world
                    .clients
                    .keys()
                    .find(|name| name.starts_with(account))
                    .expect("one")
                    .clone();
                self.world.leave(&first, true);
            }
            self.world.connect(&name);
            self.send(
                &name,
                "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>".into(),
            );
            self.send(&name, "<presence><priority>9</priority></presence>".into());
        }
        self.settle();
        for account in ACCOUNTS {
            let left = self.world.stored_messages(account).len();
            self.check(left == 0, || format!("{left} messages still wait for {account}"));
        }
        for (id, message) in &self.messages {
            let unseen = message.delivered + message.bounced == 0 && !self.gone.contains(&message.from);
            self.check(!unseen || self.left_since(message), || {
                format!("{id} of {} was neither delivered nor answered", message.from)
            });
        }
        // Nothing waits behind a commit that will not come.
        self.send(
            "a/last",
            "<message type='chat' id='end' to='b@d/last'><body>end</body></message>".into(),
        );
        self.world.store.settle();
        self.world.pump("b/last");
        let end = self.world.taken("b/last");
        self.check(end.len() == 1, || {
            "something still waits, though nothing is left to commit".into()
        });
    }

    /// The resource was bound anew after it sent the message: a bounce went to its successor, who
    /// is another session. Told by the trace, since it is rare.
    fn left_since(&self, message: &Sent) -> bool {
        let needle = format!("{} leaves", message.from);
        self.trace.iter().any(|line| line.starts_with(&needle))
    }

    /// Memory, disk and the other side say the same.
    fn rosters(&mut self) {
        let mut states = BTreeMap::new();
        for account in ACCOUNTS {
            let stored = self.world.stored_roster(account);
            let name = format!("{account}/roster");
            if let Some(first) = self
                .world
                .clients
                .keys()
                .find(|name| name.starts_with(account))
                .cloned()
            {
                self.world
                    .send(&first, "<iq type='get' id='end'><query xmlns='jabber:iq:roster'/></iq>");
                let read = self.world.read(&first);
                let result = read
                    .iter()
                    .find(|stanza| stanza.attr("id") == Some("end"))
                    .expect(&name);
                let told = result.get_child("query", "jabber:iq:roster").expect("a roster");
                let same = String::from(told) == String::from(&stored);
                self.check(same, || format!("{account}: memory {told:?}, disk {stored:?}"));
            }
            for item in stored.children() {
                let contact = item
                    .attr("jid")
                    .expect("a jid")
                    .split('@')
                    .next()
                    .unwrap_or_default()
                    .to_owned();
                let subscription = item.attr("subscription").expect("a subscription").to_owned();
                states.insert((account.to_owned(), contact), subscription);
            }
        }
        if self.fails {
            // A change that one side could not store is told to the user, who has to repeat it.
            return;
        }
        let state = |a: &str, b: &str| states.get(&(a.to_owned(), b.to_owned())).map_or("none", String::as_str);
        for a in ACCOUNTS {
            for b in ACCOUNTS {
                let (mine, theirs) = (state(a, b), state(b, a));
                let mirrored = match mine {
                    "to" => "from",
                    "from" => "to",
                    same => same,
                };
                self.check(theirs == mirrored, || {
                    format!("{a} has {b} as {mine}, {b} has {a} as {theirs}")
                });
            }
        }
    }

    /// Each session takes exactly those for present who are, of whom it may see.
    fn presences(&mut self) {
        let available: BTreeSet<String> = self
            .views
            .iter()
            .filter(|(_, view)| view.available)
            .map(|(name, _)| name.clone())
            .collect();
        for (name, view) in &self.views {
            for directed in &view.directed {
                let sender = directed.replacen("@d", "", 1);
                self.check(self.world.clients.contains_key(&sender), || {
                    format!("{name} still has directed presence of {sender}, who is gone")
                });
            }
            if !view.available || self.fails {
                continue;
            }
            let account = name.split_once('/').expect("a resource").0;
            let roster = self.world.stored_roster(account);
            let seen: BTreeSet<&str> = roster
                .children()
                .filter(|item| matches!(item.attr("subscription"), Some("to" | "both")))
                .filter_map(|item| item.attr("jid")?.split('@').next())
                .collect();
            let expected: BTreeSet<String> = available
                .iter()
                .filter(|other| seen.contains(other.split_once('/').expect("a resource").0))
                .map(|other| full(other))
                .collect();
            self.check(view.present == expected, || {
                format!("{name} takes {:?} for present, but it is {expected:?}", view.present)
            });
        }
    }
}

pub(crate) fn seeds() -> Vec<u64> {
    match std::env::var("RULES_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (1..=12).map(|number| number * 7_919).collect(),
    }
}

#[test]
fn random_runs() {
    for seed in seeds() {
        let mut run = Run::new(seed, false);
        for _ in 0..STEPS {
            run.step();
        }
        run.finish();
    }
}

#[test]
fn random_runs_with_failing_writes() {
    for seed in seeds() {
        let mut run = Run::new(seed, true);
        for _ in 0..STEPS {
            run.step();
        }
        run.finish();
    }
}
