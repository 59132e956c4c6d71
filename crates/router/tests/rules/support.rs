//! A world of scripted clients around one router.
//!
//! A client is called by its resource ("juliet/balcony"; everybody is at `d`), and what it is sent
//! is told in short lines ([`line`]), so that a test reads like the examples of the RFC:
//!
//! - `available juliet/balcony>romeo`, `subscribe romeo>juliet`, …: presence, `from>to`;
//! - `chat romeo/orchard>juliet hello`: a message, with ` (delayed)` where it has waited;
//! - `sent [chat romeo/orchard>juliet hello]`, `received […]`: a carbon copy;
//! - `push romeo both`, with `+ask`, `+approved`; `push romeo removed`: a roster push;
//! - `result r1`, `result r1 [romeo both, nurse none]`, `get p1 romeo/orchard>juliet/balcony`: IQs;
//! - `message error service-unavailable juliet>romeo/orchard #m1`: a stanza error and the id;
//! - `end conflict`: the stream ends.
//!
//! A client whose stream is managed ([`World::enable`]) counts as XEP-0198 has it, on both sides; when its connection
//! breaks ([`World::detach`]) what it knows of its stream is a [`Stream`], and [`World::resume`] goes on with that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::Waker;

use jackdaw_router::{
    BindRequest, Bound, Event, Inline, LAST_ACTIVITY, Limits, Outbox, Parts, RosterLimits, Router, TABLES, Turn,
};
use minidom::Element;
use module::{
    Access, Answer, Ask, Audience, Change, Host, Method, Module, Notice, Now, Reach, Registry, Said, Service, Software,
    Step, Switches,
};
use presence::photo::{PHOTO, Picture};
use stanza::{Jid, Rendered, Stanza, StanzaError, ns};
use store::{Archived, Batch, Found, Memory, Query, Range, Store, StoreError, View};
use xmlstream::Scratch;

pub(crate) use crate::lines::{copy_of, line, stanza_id};
use crate::lines::{element, elements, ended};
pub(crate) use crate::managed::Stream;

pub(crate) const DOMAIN: &str = "d";
/// The time at which every world begins, in milliseconds.
const START: i64 = 1_700_000_000_000;
/// Bytes that an outbox holds.
pub(crate) const OUTBOX: usize = 64 * 1024;

pub(crate) const LIMITS: Limits = Limits {
    sessions: 4,
    roster: RosterLimits {
        items: 50,
        groups_per_item: 8,
        name_bytes: 100,
        group_bytes: 100,
        requests: 20,
        request_bytes: 1_000,
    },
    offline_messages: 300,
    subscription_requests: 1_000,
    loading_stanzas: 1_000,
    directed_presence: 5,
    idle_account_seconds: 300,
    resume_seconds: 300,
};

/// One resource and its connection.
pub(crate) struct Client {
    pub(crate) bound: Bound,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) inbox: Vec<Element>,
    /// Answers the server's pings, as every client should.
    pub(crate) answers_pings: bool,
    /// Takes what its outbox holds.
    pub(crate) reads: bool,
    /// What it has sent behind a stanza that waits for its recipient to be read ([`Event::Proceed`]).
    pub(crate) carried: Option<VecDeque<String>>,
    pub(crate) stream: Option<Stream>,
}

impl Client {
    /// What was read but not asked for.
    pub(crate) fn take_inbox(&mut self) -> Vec<Element> {
        std::mem::take(&mut self.inbox)
    }
}

pub(crate) struct World {
    pub(crate) store: Arc<Memory>,
    pub(crate) router: Arc<Router>,
    pub(crate) turn: Turn,
    pub(crate) clients: BTreeMap<String, Client>,
    clock: Arc<AtomicI64>,
    /// By how many seconds it was put right.
    jumped: Arc<AtomicI64>,
    limits: Limits,
    archives: bool,
    /// For ids of streams.
    pub(crate) streams: u8,
    /// The client that comes next.
    pub(crate) access: Option<jackdaw_router::Access>,
}

pub(crate) fn full(name: &str) -> String {
    match name.split_once('/') {
        Some((local, resource)) => format!("{local}@{DOMAIN}/{resource}"),
        None => format!("{name}@{DOMAIN}"),
    }
}

/// Answers pings to the server and to accounts, so that there is an IQ with an answer.
fn ping_module() -> Module {
    fn pong(_: &mut Ask<'_>) -> Answer {
        Answer::Result(String::new())
    }
    Module::new("ping")
        .server_iq(Method::Get, "ping", ns::PING, pong)
        .account_iq(Method::Get, "ping", ns::PING, Access::Subscriber, pong)
}

/// Switches carbons on.
fn carbons_module() -> Module {
    fn enable(ask: &mut Ask<'_>) -> Answer {
        let switches = ask.switches.expect("its own resource asks");
        switches.set(switches.get().with(Switches::CARBONS, true));
        Answer::Result(String::new())
    }
    Module::new("carbons").account_iq(Method::Set, "enable", ns::CARBONS, Access::Owner, enable)
}

/// Tells who binds with more than a resource of the last message of the archive (XEP-0386).
fn archive_module() -> Module {
    fn last(ask: &mut Ask<'_>) -> Answer {
        let range = Range::of(ask.to.bare_str(), View::Archive, 1);
        let newest = Range { newest: true, ..range };
        Answer::Asked(
            Query::archive(newest),
            Box::new(|_| Said {
                messages: Default::default(),
                arrived: Vec::new(),
                answer: Ok(String::new()),
            }),
        )
    }
    Module::new("archive")
        .account_iq(Method::Get, "last", "urn:test:archive", Access::Owner, last)
        .bind_question("last", "urn:test:archive")
}

/// Counts, in the place of the last activity: each request adds one to what it finds.
fn counter_module() -> Module {
    fn add(ask: &mut Ask<'_>) -> Answer {
        let owner: Box<str> = ask.to.bare_str().into();
        let query = Query::get(&LAST_ACTIVITY, &owner, None);
        let make = move |found: Result<Found, StoreError>| {
            let row = found
                .and_then(Found::row)
                .map_err(|_| StanzaError::internal_server_error())?;
            let count = row.and_then(|row| row[0].as_int()).unwrap_or_default();
            let batch = Batch::new().put(&LAST_ACTIVITY, &owner, None, store::row![count + 1, ""]);
            // Asked once more, as who has to know more may.
            let again = Query::get(&LAST_ACTIVITY, &owner, None);
            let change = Change {
                batch,
                ..Change::default()
            };
            Ok(Step::Ask(again, Box::new(|_| Ok(Step::Done(change)))))
        };
        Answer::Changed(query, Box::new(make))
    }
    Module::new("counter").account_iq(Method::Set, "add", "urn:test:counter", Access::Owner, add)
}

/// Shows the picture whose hash has this digit alone; none where there is no digit.
fn photo_module() -> Module {
    fn show(ask: &mut Ask<'_>) -> Answer {
        let owner: Box<str> = ask.to.bare_str().into();
        let digit = u8::from_str_radix(&ask.payload.text(), 16).ok();
        let picture = Picture {
            hash: digit.map(|digit| [digit * 0x11; 20]),
            kind: Box::default(),
            reach: Reach::Anyone,
        };
        let make = move |_| {
            Ok(Step::Done(Change {
                batch: Batch::new().put(&PHOTO, &owner, None, picture.row()),
                photo: Some(picture.photo()),
                ..Change::default()
            }))
        };
        Answer::Changed(Query::get(&PHOTO, ask.to.bare_str(), None), Box::new(make))
    }
    Module::new("photo").account_iq(Method::Set, "photo", "urn:test:photo", Access::Owner, show)
}

/// Publishes something at the node "n", for contacts.
fn publish_module() -> Module {
    fn publish(ask: &mut Ask<'_>) -> Answer {
        let make = |_| {
            let notice = Notice {
                node: "n".into(),
                message: Rendered::from_text("<message type='headline'><body>news</body></message>"),
                to_contacts: None,
                audience: Audience::Contacts,
                except: Vec::new(),
                subscribers: Vec::new(),
                shows: Vec::new(),
                waits: false,
            };
            Ok(Step::Done(Change {
                notices: vec![notice],
                ..Change::default()
            }))
        };
        Answer::Changed(Query::get(&PHOTO, ask.to.bare_str(), None), Box::new(make))
    }
    Module::new("publish").account_iq(Method::Set, "publish", "urn:test:publish", Access::Owner, publish)
}

/// Rooms at `rooms.d`.
fn rooms_module() -> Module {
    Module::new("rooms").rooms(Service {
        label: "rooms",
        name: "Rooms",
    })
}

fn router_over(store: &Arc<Memory>, clock: &Arc<AtomicI64>, limits: Limits, archives: bool) -> Arc<Router> {
    let host = Host::new(
        DOMAIN,
        Software {
            name: "Jackdaw",
            version: "0",
        },
        Now(START),
    );
    let clock = Arc::clone(clock);
    Router::new(Parts {
        hosts: vec![host],
        registry: Registry::new(vec![
            ping_module(),
            carbons_module(),
            archive_module(),
            counter_module(),
            photo_module(),
            publish_module(),
            rooms_module(),
        ])
        .expect("modules"),
        store: Arc::clone(store) as Arc<dyn Store>,
        limits,
        archives,
        clock: Box::new(move || Now(clock.load(Ordering::Relaxed))),
    })
}

impl World {
    /// With these accounts, and a store that works when it is told to.
    pub(crate) fn new(accounts: &[&str]) -> World {
        World::with_limits(accounts, LIMITS)
    }

    pub(crate) fn with_limits(accounts: &[&str], limits: Limits) -> World {
        World::with(accounts, limits, true)
    }

    /// A server that archives nothing.
    pub(crate) fn without_archives(accounts: &[&str]) -> World {
        World::with(accounts, LIMITS, false)
    }

    fn with(accounts: &[&str], limits: Limits, archives: bool) -> World {
        let tables: Vec<_> = TABLES.iter().copied().chain(muc::tables()).collect();
        let store = Arc::new(Memory::new(&tables));
        for name in accounts {
            let jid = Jid::parse(&full(name)).expect("a JID");
            let account = accounts::Account::new(jid, 0, auth::Credentials::default());
            store.write_wait(accounts::add(&account)).expect("a new account");
        }
        store.hold();
        let clock = Arc::new(AtomicI64::new(START));
        World {
            router: router_over(&store, &clock, limits, archives),
            store,
            turn: Turn::default(),
            clients: BTreeMap::new(),
            clock,
            jumped: Arc::default(),
            limits,
            archives,
            streams: 0,
            access: None,
        }
    }

    /// kill -9: what was committed is there, and nothing else.
    pub(crate) fn kill(&mut self) {
        self.clients.clear();
        self.store.crash();
        self.turn = Turn::default();
        self.router = router_over(&self.store, &self.clock, self.limits, self.archives);
    }

    pub(crate) fn now(&self) -> Now {
        Now(self.clock.load(Ordering::Relaxed))
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.clock.fetch_add(seconds * 1000, Ordering::Relaxed);
    }

    /// Somebody puts the wall clock right, or wrong.
    pub(crate) fn jump(&mut self, seconds: i64) {
        self.pass(seconds);
        self.jumped.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Seconds of a clock that does not jump.
    pub(crate) fn steady(&self) -> impl Fn() -> i64 + Send + Sync + 'static {
        let (clock, jumped) = (Arc::clone(&self.clock), Arc::clone(&self.jumped));
        move || clock.load(Ordering::Relaxed) / 1000 - jumped.load(Ordering::Relaxed)
    }

    /// Asks for a resource; the answer is there after [`World::settle`].
    pub(crate) fn request(&mut self, name: &str) -> Arc<Outbox> {
        self.request_with(name, None)
    }

    fn request_with(&mut self, name: &str, inline: Option<Inline>) -> Arc<Outbox> {
        let (local, resource) = name.split_once('/').expect("a resource");
        let outbox = Outbox::new(OUTBOX);
        let request = BindRequest {
            account: Jid::parse(&full(local)).expect("a JID"),
            resource: resource.to_owned(),
            outbox: Arc::clone(&outbox),
            access: self.access.clone(),
            guest: None,
            inline: inline.map(Box::new),
        };
        self.router.bind(self.now(), request, &mut self.turn);
        outbox
    }

    /// Binds a resource: connected, without presence.
    pub(crate) fn connect(&mut self, name: &str) {
        let outbox = self.request(name);
        self.connected(name, outbox);
    }

    /// As [`World::connect`], with what else is wanted at once (XEP-0386).
    pub(crate) fn establish(&mut self, name: &str, inline: Inline) {
        let outbox = self.request_with(name, Some(inline));
        self.connected(name, outbox);
    }

    fn connected(&mut self, name: &str, outbox: Arc<Outbox>) {
        while !matches!(self.binding(&outbox), Some(Ok(()))) {
            assert!(self.store.step(), "{name} was not bound");
        }
        let bound = self.clients.remove("").expect("it was just bound").bound;
        let client = Client {
            bound,
            outbox,
            inbox: Vec::new(),
            answers_pings: true,
            reads: true,
            carried: None,
            stream: None,
        };
        self.clients.insert(name.to_owned(), client);
    }

    /// The answer to a request to bind, if it has come; the client has no name yet.
    fn binding(&mut self, outbox: &Arc<Outbox>) -> Option<Result<(), String>> {
        let event = outbox.take(Waker::noop(), false).events.pop()?;
        let bound = match event {
            Event::Bound(bound) => bound,
            Event::Established(established) => Ok(established.bound),
            _ => return None,
        };
        match bound {
            Err(error) => Some(Err(error.condition.name().to_owned())),
            Ok(bound) => {
                let outbox = Arc::clone(outbox);
                let client = Client {
                    bound,
                    outbox,
                    inbox: Vec::new(),
                    answers_pings: true,
                    reads: true,
                    carried: None,
                    stream: None,
                };
                self.clients.insert(String::new(), client);
                Some(Ok(()))
            }
        }
    }

    /// What a request to bind was answered with: the condition of an error.
    pub(crate) fn refusal(&mut self, name: &str) -> Option<String> {
        let outbox = self.request(name);
        self.store.settle();
        let refused = self.binding(&outbox).and_then(Result::err);
        self.clients.remove("");
        refused
    }

    /// Connected, with the roster and presence, and everything read that follows.
    pub(crate) fn online(&mut self, names: &[&str]) {
        for name in names {
            self.connect(name);
            self.send(
                name,
                "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>",
            );
            self.send(name, "<presence/>");
        }
        self.forget();
    }

    /// A client sends a stanza. Nothing is committed.
    pub(crate) fn send(&mut self, name: &str, text: &str) {
        let client = self.clients.get_mut(name).unwrap_or_else(|| panic!("no client {name}"));
        if let Some(stream) = &mut client.stream {
            stream.sent(text);
        }
        if let Some(carried) = &mut client.carried {
            return carried.push_back(text.to_owned());
        }
        self.handle(name, text);
    }

    /// The server reads a stanza.
    fn handle(&mut self, name: &str, text: &str) {
        let now = self.now();
        let client = self.clients.get_mut(name).expect(name);
        let mut scratch = Scratch::default();
        let limits = xmlstream::Limits::default();
        let element = xmlstream::parse_element(text, ns::CLIENT, &mut scratch, &limits).expect(text);
        let stanza = Stanza::read(element).expect(text).expect(text);
        if self.router.from_client(now, &client.bound, &stanza, &mut self.turn) {
            client.carried.get_or_insert_default();
        }
        self.turn.finish();
    }

    /// Commits everything and lets all clients read, until nothing moves any more.
    pub(crate) fn settle(&mut self) {
        loop {
            let mut moved = self.store.settle() > 0;
            let names: Vec<String> = self.clients.keys().cloned().collect();
            for name in names {
                moved |= self.pump(&name);
            }
            if !moved {
                return;
            }
        }
    }

    /// A client reads what waits for it, once. True if there was something.
    pub(crate) fn pump(&mut self, name: &str) -> bool {
        let now = self.now();
        let client = self.clients.get_mut(name).expect(name);
        if !client.reads {
            return false;
        }
        let taken = client.outbox.take(Waker::noop(), true);
        let mut moved = !taken.bytes.is_empty();
        let mut pings = Vec::new();
        let mut asked = false;
        for text in elements(&taken.bytes) {
            let stanza = element(&text);
            if stanza.ns() == ns::SM {
                let stream = client.stream.as_mut().expect("a managed stream");
                match stanza.name() {
                    "enabled" => {
                        stream.enabled = true;
                        stream.id = stanza.attr("id").map(str::to_owned);
                    }
                    "r" => asked = !stream.is_mute,
                    "a" => stream.covered(stanza.attr("h").and_then(|h| h.parse().ok()).expect("a number")),
                    _ => {
                        client.stream = None;
                        client.inbox.push(stanza);
                    }
                }
                continue;
            }
            if let Some(stream) = &mut client.stream {
                stream.got += u32::from(stream.enabled);
            }
            if client.answers_pings
                && stanza.get_child("ping", ns::PING).is_some()
                && stanza.attr("from") == Some(DOMAIN)
            {
                pings.push(stanza.attr("id").expect("an IQ has an id").to_owned());
            } else {
                client.inbox.push(stanza);
            }
        }
        let mut carried = VecDeque::new();
        for event in taken.events {
            match event {
                Event::End(error) => client.inbox.push(ended(&error)),
                Event::Proceed => carried = client.carried.take().unwrap_or_default(),
                _ => {}
            }
        }
        if client.outbox.drained() {
            let bound = client.bound.clone();
            self.router.drained(now, &bound, &mut self.turn);
            moved = true;
        }
        while let Some(text) = carried.pop_front() {
            self.handle(name, &text);
            moved = true;
            let client = self.clients.get_mut(name).expect(name);
            if let Some(behind) = &mut client.carried {
                // The next one waits too.
                behind.append(&mut carried);
            }
        }
        if asked {
            self.acknowledge(name);
        }
        for id in pings {
            self.send(name, &format!("<iq type='result' id='{id}' to='{DOMAIN}'/>"));
        }
        self.turn.finish();
        moved
    }

    /// The connection ends: in good order, or broken. What it had not taken is returned, and
    /// delivered anew.
    pub(crate) fn leave(&mut self, name: &str, clean: bool) -> Vec<String> {
        let client = self.clients.remove(name).expect(name);
        self.end(&client, clean)
    }

    pub(crate) fn end(&mut self, client: &Client, clean: bool) -> Vec<String> {
        let now = self.now();
        let managed = self.router.unbind(now, &client.bound, clean, &mut self.turn);
        let unsent = client.outbox.shut();
        let unsent = match managed {
            Some(copies) => [jackdaw_router::uncounted(&unsent), &copies].concat(),
            None => unsent,
        };
        if !unsent.is_empty() {
            let mut rest = &unsent[..];
            loop {
                match self.router.reclaim(now, &client.bound, rest, &mut self.turn) {
                    0 => break,
                    used => rest = &rest[used..],
                }
            }
        }
        self.turn.finish();
        elements(&unsent)
    }

    /// A stop begins: all streams are told to end.
    pub(crate) fn stop(&mut self) {
        self.router.end_part(0, 1, &stanza::StreamError::system_shutdown());
        self.settle();
    }

    /// What a client was sent since it was last asked.
    pub(crate) fn read(&mut self, name: &str) -> Vec<Element> {
        self.settle();
        std::mem::take(&mut self.clients.get_mut(name).expect(name).inbox)
    }

    /// What was read but not asked for.
    pub(crate) fn taken(&mut self, name: &str) -> Vec<Element> {
        std::mem::take(&mut self.clients.get_mut(name).expect(name).inbox)
    }

    pub(crate) fn lines(&mut self, name: &str) -> Vec<String> {
        self.read(name).iter().map(line).collect()
    }

    /// After everything has settled, the client has been sent exactly this, in this order.
    #[track_caller]
    pub(crate) fn expect(&mut self, name: &str, lines: &[&str]) {
        assert_eq!(self.lines(name), lines, "what {name} is sent");
    }

    /// As [`World::expect`], in any order.
    #[track_caller]
    pub(crate) fn expect_all(&mut self, name: &str, lines: &[&str]) {
        let (mut found, mut lines) = (self.lines(name), lines.to_vec());
        found.sort();
        lines.sort_unstable();
        assert_eq!(found, lines, "what {name} is sent");
    }

    /// What was sent so far is of no interest.
    pub(crate) fn forget(&mut self) {
        self.settle();
        for client in self.clients.values_mut() {
            client.inbox.clear();
        }
    }

    pub(crate) fn forget_one(&mut self, name: &str) {
        self.read(name);
    }

    #[track_caller]
    pub(crate) fn nothing_more(&mut self) {
        self.settle();
        for (name, client) in &self.clients {
            let lines: Vec<String> = client.inbox.iter().map(line).collect();
            assert_eq!(lines, Vec::<String>::new(), "what {name} is sent");
        }
    }

    /// Both sides see each other's presence.
    pub(crate) fn befriend(&mut self, a: &str, b: &str) {
        for (one, other) in [(a, b), (b, a)] {
            let (local, contact) = (bare(one), bare(other));
            self.send(one, &format!("<presence type='subscribe' to='{contact}@{DOMAIN}'/>"));
            self.settle();
            self.send(other, &format!("<presence type='subscribed' to='{local}@{DOMAIN}'/>"));
            self.settle();
        }
        self.forget();
    }

    /// The roster on disk, as the lines of a roster result.
    pub(crate) fn stored_roster(&self, account: &str) -> Element {
        let owner = full(account);
        let rows = self.ask(Query::all(&presence::ROSTER, &owner)).rows().expect("rows");
        let version = self.ask(Query::get(&presence::ROSTER_VERSION, &owner, None));
        let version = version.row().expect("a row");
        let roster = presence::Roster::load(rows, version.as_ref()).expect("a roster");
        let mut out = Vec::new();
        roster.result_since(None, &mut out);
        String::from_utf8(out).expect("text").parse().expect("XML")
    }

    /// Contacts whose requests wait on disk.
    pub(crate) fn stored_requests(&self, account: &str) -> Vec<Box<str>> {
        let rows = self.ask(Query::all(&presence::ROSTER, &full(account))).rows();
        rows.expect("rows").into_iter().map(|(contact, _)| contact).collect()
    }

    /// Messages that wait on disk, as it would be after a restart in good order.
    pub(crate) fn stored_messages(&self, account: &str) -> Vec<Element> {
        self.router.save_cursors();
        let cursor = self.cursor(account);
        let all = self.kept(account, View::Waiting).into_iter();
        let waiting = all.filter(|message| message.id > cursor);
        waiting.map(|message| element(&message.stanza)).collect()
    }

    /// Up to which id everything is delivered, as the disk has it.
    pub(crate) fn cursor(&self, account: &str) -> i64 {
        let (cursor, _) = self
            .ask(Query::waiting(&full(account), 0))
            .waiting()
            .expect("what waits");
        cursor
    }

    /// All messages in this view, waiting or not.
    pub(crate) fn kept(&self, account: &str, view: View) -> Vec<Archived> {
        let (mut all, mut range) = (Vec::new(), Range::of(&full(account), view, 1_000));
        loop {
            let page = self.ask(Query::archive(range.clone())).archive().expect("a page");
            all.extend(page.messages);
            if page.complete {
                return all;
            }
            range.after = all.last().map(|message| message.id);
        }
    }

    /// Asks the store, which must have nothing else to do.
    pub(crate) fn ask(&self, query: Query) -> Found {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        self.store.read(query, Box::new(move |found| drop(sender.send(found))));
        self.store.settle();
        receiver.recv().expect("an answer").expect("found")
    }

    /// From here on nothing fails that was to fail.
    pub(crate) fn end_failures(&self) {
        let (sender, receiver) = std::sync::mpsc::channel();
        loop {
            let sender = sender.clone();
            self.store
                .write(Batch::new(), Box::new(move |result| drop(sender.send(result))));
            self.store.settle();
            if receiver.recv().expect("an answer").is_ok() {
                return;
            }
        }
    }

    /// Writes past the router.
    pub(crate) fn write(&self, batch: Batch) {
        self.write_behind(batch);
        self.store.settle();
    }

    /// As [`World::write`], when its turn comes.
    pub(crate) fn write_behind(&self, batch: Batch) {
        self.store
            .write(batch, Box::new(|result| assert!(result.is_ok(), "{result:?}")));
    }
}

pub(crate) fn bare(name: &str) -> &str {
    name.split_once('/').map_or(name, |(local, _)| local)
}
