//! One client of a small server: a real router over the store in memory, and a shell that answers what it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use accounts::backend::Question;
use auth::{Binding, Credentials, Lookup, PasswordCheck, Verdict};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use module::{Access, Answer, Ask, Host, Method, Module, Now, Registry, Said, Software, Switches};
use router::{Event, Guest, Outbox, Pair, Router, Turn, Vouched};
use stanza::{Jid, StanzaError};
use store::{Memory, Query, Range, Store, View};
use xmlstream::{Limits, Scratch};

use crate::server::Claim;
use crate::{Context, Next, Recording, Shell, StreamConfig, StreamCore, TlsPolicy, clients};

pub(crate) const NOW: Now = Now(1_800_000_000_000);
pub(crate) const NS_STREAM: &str = "http://etherx.jabber.org/streams";
pub(crate) const NS_SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
pub(crate) const NS_TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
pub(crate) const NS_BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
pub(crate) const CLOSE: &str = "</stream:stream>";
/// How a client begins.
pub(crate) const OPEN: &str = "<?xml version='1.0'?><stream:stream to='example.org' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";
/// What is offered once somebody is logged in.
pub(crate) const BIND_FEATURES: &str = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
     <required/></bind><test xmlns='urn:test'/><limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>6000</max-bytes>\
     <idle-seconds>300</idle-seconds></limits></stream:features>";

/// Our header with the `n`th random text.
pub(crate) fn header(n: u8, to: &str) -> String {
    let to = if to.is_empty() {
        String::new()
    } else {
        format!(" to='{to}'")
    };
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='{NS_STREAM}' id='{}' \
         from='example.org'{to} version='1.0' xml:lang='en'>",
        random_text(n)
    )
}

pub(crate) fn random_text(n: u8) -> String {
    format!("{n:02x}").repeat(16)
}

/// A stream error without more, and the end.
pub(crate) fn error(condition: &str) -> String {
    format!("<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>{CLOSE}")
}

/// The same with a text.
pub(crate) fn error_text(condition: &str, text: &str) -> String {
    let ns = "urn:ietf:params:xml:ns:xmpp-streams";
    format!(
        "<stream:error><{condition} xmlns='{ns}'/><text xmlns='{ns}' xml:lang='en'>{text}</text></stream:error>{CLOSE}"
    )
}

pub(crate) fn failure(condition: &str) -> String {
    format!("<failure xmlns='{NS_SASL}'><{condition}/></failure>")
}

pub(crate) fn auth_element(mechanism: &str, data: &[u8]) -> String {
    format!(
        "<auth xmlns='{NS_SASL}' mechanism='{mechanism}'>{}</auth>",
        STANDARD.encode(data)
    )
}

pub(crate) fn plain(authzid: &str, user: &str, password: &str) -> String {
    auth_element("PLAIN", format!("{authzid}\0{user}\0{password}").as_bytes())
}

pub(crate) fn bind(id: &str, resource: &str) -> String {
    let resource = if resource.is_empty() {
        String::new()
    } else {
        format!("<resource>{resource}</resource>")
    };
    format!("<iq type='set' id='{id}'><bind xmlns='{NS_BIND}'>{resource}</bind></iq>")
}

pub(crate) fn bound(id: &str, jid: &str) -> String {
    format!("<iq type='result' id='{id}'><bind xmlns='{NS_BIND}'><jid>{jid}</jid></bind></iq>")
}

/// What a binding of the channel looks like where there is one.
pub(crate) fn channel() -> Binding {
    Binding {
        exporter: Some([7; 32]),
        server_end_point: Some(vec![9; 32]),
    }
}

pub(crate) fn credentials(password: &str) -> Credentials {
    Credentials::derive(password, 1, [[1; 16], [2; 16], [3; 16]]).expect("a usable password")
}

pub(crate) struct FakeShell {
    /// Counts what was asked for, and is what comes.
    pub(crate) randoms: u8,
    pub(crate) binding: Binding,
    /// Addresses in the certificate of the client.
    pub(crate) certified: Vec<String>,
    /// When the certificate of the other side ends.
    pub(crate) certified_until: Option<i64>,
    pub(crate) accounts: BTreeMap<&'static str, Lookup>,
    pub(crate) answers: Vec<Event>,
    /// What the store has answered.
    late: Arc<Mutex<Vec<Event>>>,
    store: Arc<dyn Store>,
    /// In seconds.
    pub(crate) now: i64,
    pub(crate) looked_up: Vec<String>,
    pub(crate) failed: Vec<Option<String>>,
    /// The verifiers that were to be written.
    pub(crate) upgraded: Vec<(String, Credentials)>,
    /// About bearer tokens, and what is said of them; then, that nobody can say.
    pub(crate) asked: Vec<(String, String, Option<String>)>,
    pub(crate) verdicts: VecDeque<Verdict>,
    /// Guests who are here.
    pub(crate) guests: Arc<AtomicUsize>,
    pub(crate) refuses_guests: bool,
    /// Whether the certificate of another server speaks for it; None: it is told later.
    pub(crate) vouches: Option<bool>,
    pub(crate) is_one_way: bool,
    /// Dialback keys that were to be verified, if any are.
    pub(crate) claims: Vec<Claim>,
    pub(crate) verifies: bool,
    /// What was noted of other servers.
    pub(crate) notes: Vec<(String, String)>,
    /// Refuses logins altogether, or those to an account.
    pub(crate) refuses: bool,
    pub(crate) refuses_account: bool,
}

impl Shell for FakeShell {
    fn random(&mut self, bytes: &mut [u8]) {
        self.randoms += 1;
        bytes.fill(self.randoms);
    }
    fn binding(&self) -> Binding {
        self.binding.clone()
    }
    fn certified(&self, _: &str) -> Vec<String> {
        self.certified.clone()
    }
    fn certified_until(&self) -> Option<i64> {
        self.certified_until
    }
    fn look_up(&mut self, account: &Jid) {
        self.looked_up.push(account.as_str().to_owned());
        let found = self.accounts.get(account.as_str()).cloned();
        self.answers.push(Event::Account(found.unwrap_or(Lookup::Missing)));
    }
    fn look_up_tokens(&mut self, account: &Jid, client: Option<&str>) {
        let late = Arc::clone(&self.late);
        self.looked_up.push(account.as_str().to_owned());
        clients::look_up(&self.store, account, client, move |tokens| {
            late.lock().expect("no panic").push(Event::Tokens(tokens));
        });
    }
    fn record(&mut self, login: Recording) {
        let (late, now, mut count) = (Arc::clone(&self.late), self.now, self.randoms);
        let random = move |bytes: &mut [u8]| {
            count += 1;
            bytes.fill(count);
        };
        self.randoms += 2;
        clients::record(&self.store, login, now, random, move |result| {
            late.lock().expect("no panic").push(Event::Recorded(result));
        });
    }
    fn check(&mut self, check: PasswordCheck) {
        self.answers.push(Event::Checked(check.run()));
    }
    fn upgrade(&mut self, account: &Jid, verifiers: Credentials) {
        self.upgraded.push((account.as_str().to_owned(), verifiers));
        self.answers.push(Event::Upgraded);
    }
    fn ask(&mut self, question: Question) {
        let Question::Bearer { domain, token, wanted } = question else {
            unreachable!("every account is here");
        };
        self.asked.push((domain, token.to_string(), wanted));
        let verdict = self.verdicts.pop_front().unwrap_or(Verdict::Unavailable);
        self.answers.push(Event::Decided(verdict));
    }
    fn admit(&mut self, account: &Jid) {
        self.looked_up.push(account.as_str().to_owned());
        self.answers
            .push(Event::Decided(match self.accounts.get(account.as_str()) {
                Some(Lookup::Found(_) | Lookup::Elsewhere) => Verdict::Granted {
                    user: account.local().unwrap_or_default().to_owned(),
                },
                Some(Lookup::Disabled(_)) => Verdict::Disabled,
                Some(Lookup::Unavailable) => Verdict::Unavailable,
                Some(Lookup::Missing) | None => Verdict::Refused,
            }));
    }
    fn guest(&mut self, _: Option<&str>) -> Option<Guest> {
        if self.refuses_guests {
            return None;
        }
        let here = Arc::clone(&self.guests);
        here.fetch_add(1, Ordering::Relaxed);
        Some(Guest::new(move || {
            here.fetch_sub(1, Ordering::Relaxed);
        }))
    }
    fn may_log_in(&mut self, account: Option<&Jid>) -> bool {
        !(self.refuses || account.is_some() && self.refuses_account)
    }
    fn certifies(&mut self, _: &Pair) -> Option<Vouched> {
        let until = self.certified_until;
        self.vouches.map(|is_proved| Vouched {
            is_proved,
            until,
            is_one_way: self.is_one_way,
        })
    }
    fn verify_key(&mut self, claim: Claim) -> Result<(), StanzaError> {
        if !self.verifies {
            return Err(StanzaError::remote_server_timeout());
        }
        self.claims.push(claim);
        Ok(())
    }
    fn note_server(&mut self, remote: &str, note: &str) {
        self.notes.push((remote.to_owned(), note.to_owned()));
    }
    fn login_failed(&mut self, account: Option<&Jid>) {
        self.failed.push(account.map(|account| account.as_str().to_owned()));
    }
}

/// A server.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Arc<Memory>,
    pub(crate) router: Arc<Router>,
    pub(crate) config: StreamConfig,
}

impl World {
    /// With the accounts juliet and romeo, whose password is `secret`.
    pub(crate) fn new() -> World {
        let store = Arc::new(Memory::new(&router::TABLES));
        for jid in ["juliet@example.org", "romeo@example.org"] {
            let account = accounts::Account::new(Jid::parse(jid).expect("a JID"), 0, credentials("secret"));
            store.write_wait(accounts::add(&account)).expect("added");
        }
        // The router hands over what it wants while it holds a lock, so nothing may happen at once.
        store.hold();
        let hosts = ["example.org", "second.example", "guests.example"].map(|domain| Host {
            guests: (domain == "guests.example").then(Vec::new),
            ..Host::new(
                domain,
                Software {
                    name: "Jackdaw",
                    version: "0",
                },
                NOW,
            )
        });
        let module = Module::new("test")
            .stream_feature(|_, _| "<test xmlns='urn:test'/>".to_owned())
            .bind_feature("urn:test:switch")
            .account_iq(Method::Set, "enable", "urn:test:switch", Access::Owner, |ask| {
                let switches = ask.switches.expect("of a session");
                switches.set(switches.get().with(Switches::CARBONS, true));
                Answer::Result(String::new())
            })
            .bind_question("archive", "urn:test:archive")
            .account_iq(Method::Get, "archive", "urn:test:archive", Access::Owner, archive);
        let router = Router::new(router::Parts {
            hosts: hosts.into(),
            registry: Registry::new(vec![module]).expect("one module"),
            store: store.clone(),
            limits: router_limits(),
            archives: true,
            clock: Box::new(|| NOW),
        });
        let before_login = Limits {
            bytes: 1500,
            elements: 10,
            ..Limits::default()
        };
        let after_login = Limits {
            bytes: 6000,
            elements: 50,
            ..Limits::default()
        };
        let config = StreamConfig {
            tls: TlsPolicy::Required,
            before_login,
            after_login,
            idle_seconds: 300,
            login_attempts: 3,
            secret: [5; 32],
            iterations: 1,
            policy: auth::Policy::default(),
            policies: Default::default(),
            registration: Default::default(),
            lifetimes: accounts::tokens::DEFAULT_LIFETIMES,
            default_domain: "example.org".to_owned(),
        };
        World { store, router, config }
    }

    pub(crate) fn with_tls(mut self, tls: TlsPolicy) -> World {
        self.config.tls = tls;
        self
    }

    /// A connection; `secured`: under direct TLS.
    pub(crate) fn connect(&self, secured: bool) -> Peer {
        self.carry(StreamCore::new(Arc::new(self.config.clone()), secured), secured)
    }

    /// A connection with this stream.
    pub(crate) fn carry(&self, core: StreamCore, secured: bool) -> Peer {
        let found = || Lookup::Found(credentials("secret"));
        let accounts = [
            ("juliet@example.org", found()),
            ("romeo@example.org", found()),
            ("nurse@example.org", Lookup::Disabled(credentials("secret"))),
            ("broken@example.org", Lookup::Unavailable),
        ];
        Peer {
            world: self.clone(),
            core,
            outbox: Outbox::new(1 << 20),
            turn: Turn::default(),
            scratch: Scratch::default(),
            shell: FakeShell {
                randoms: 0,
                binding: if secured { channel() } else { Binding::default() },
                accounts: accounts.into(),
                answers: Vec::new(),
                late: Arc::default(),
                store: self.store.clone(),
                now: NOW.seconds(),
                looked_up: Vec::new(),
                failed: Vec::new(),
                upgraded: Vec::new(),
                certified: Vec::new(),
                certified_until: None,
                asked: Vec::new(),
                verdicts: VecDeque::new(),
                guests: Arc::default(),
                refuses_guests: false,
                vouches: Some(true),
                is_one_way: false,
                claims: Vec::new(),
                verifies: true,
                notes: Vec::new(),
                refuses: false,
                refuses_account: false,
            },
            carried: Vec::new(),
            out: Vec::new(),
            said: Vec::new(),
            next: Next::Read,
            is_held: false,
        }
    }

    /// Under TLS, and as far as the features that offer a login.
    pub(crate) fn opened(&self) -> Peer {
        let mut peer = self.connect(true);
        peer.send(OPEN);
        peer.said();
        peer
    }

    /// Logged in, and as far as the features that offer a resource. The next random text is the fourth.
    pub(crate) fn authenticated(&self, user: &str) -> Peer {
        let mut peer = self.opened();
        peer.send(plain("", user, "secret"));
        peer.send(OPEN);
        assert!(peer.said().ends_with(BIND_FEATURES), "{user} is logged in");
        peer
    }

    pub(crate) fn bound(&self, user: &str, resource: &str) -> Peer {
        let mut peer = self.authenticated(user);
        peer.send(bind("b", resource));
        let jid = format!("{user}@example.org/{resource}");
        assert_eq!(peer.said(), bound("b", &jid));
        peer
    }
}

/// How many messages the account has.
fn archive(ask: &mut Ask<'_>) -> Answer {
    let all = Range::of(ask.to.bare_str(), View::Archive, 10);
    Answer::Asked(
        Query::Many(vec![Query::archive(all)]),
        Box::new(|found| {
            let mut parts = found.and_then(store::Found::many).expect("parts").into_iter();
            let page = parts.next().expect("one part").archive().expect("a page");
            let count = page.messages.len();
            Said {
                messages: Default::default(),
                arrived: Vec::new(),
                answer: Ok(format!("<archive xmlns='urn:test:archive'>{count}</archive>")),
            }
        }),
    )
}

pub(crate) fn router_limits() -> router::Limits {
    router::Limits {
        sessions: 3,
        roster: router::RosterLimits {
            items: 10,
            groups_per_item: 10,
            name_bytes: 100,
            group_bytes: 100,
            requests: 10,
            request_bytes: 1000,
        },
        offline_messages: 10,
        subscription_requests: 10,
        loading_stanzas: 10,
        directed_presence: 10,
        idle_account_seconds: 60,
        resume_seconds: 60,
    }
}

/// A client, and what a connection does for it.
pub(crate) struct Peer {
    pub(crate) world: World,
    pub(crate) core: StreamCore,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) turn: Turn,
    scratch: Scratch,
    pub(crate) shell: FakeShell,
    pub(crate) carried: Vec<u8>,
    /// What the stream says just now.
    out: Vec<u8>,
    said: Vec<u8>,
    pub(crate) next: Next,
    /// Nothing is answered until it is set back: neither by the shell nor by the store.
    pub(crate) is_held: bool,
}

impl Peer {
    pub(crate) fn with<R>(&mut self, act: impl FnOnce(&mut StreamCore, &mut Context<'_>) -> R) -> R {
        let mut context = Context {
            now: Now(self.shell.now * 1_000),
            router: &self.world.router,
            turn: &mut self.turn,
            scratch: &mut self.scratch,
            out: &mut self.out,
            outbox: &self.outbox,
            shell: &mut self.shell,
        };
        act(&mut self.core, &mut context)
    }

    /// The stream was given something: what it says goes out, at its end behind what waits.
    pub(crate) fn go_on(&mut self, next: Next) {
        self.next = next;
        if next == Next::Close {
            self.said.append(&mut self.outbox.take(Waker::noop(), true).bytes);
        }
        self.said.append(&mut self.out);
    }

    pub(crate) fn tell(&mut self, event: Event) {
        let next = self.with(|core, cx| core.handle_event(event, cx));
        self.go_on(next);
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.carried.extend_from_slice(bytes.as_ref());
        self.run();
    }

    /// Does what a connection does until nothing happens any more.
    pub(crate) fn run(&mut self) {
        loop {
            let mut happened = self.take_outbox();
            while !self.is_held && !self.shell.answers.is_empty() {
                let event = self.shell.answers.remove(0);
                self.tell(event);
                happened = true;
            }
            if self.next == Next::Read && !self.carried.is_empty() {
                let input = std::mem::take(&mut self.carried);
                let progress = self.with(|core, cx| core.handle_bytes(&input, cx));
                self.go_on(progress.next);
                happened |= progress.consumed > 0 || progress.next != Next::Read;
                if matches!(progress.next, Next::Read | Next::Wait) {
                    self.carried = input[progress.consumed..].to_vec();
                }
            }
            if !self.is_held {
                happened |= self.world.store.settle() > 0;
                let late = std::mem::take(&mut *self.shell.late.lock().expect("no panic"));
                for event in late {
                    self.tell(event);
                    happened = true;
                }
            }
            if !happened {
                return;
            }
        }
    }

    fn take_outbox(&mut self) -> bool {
        let is_binding = self.core.awaits_resource();
        let taken = self.outbox.take(Waker::noop(), !is_binding);
        let happened = !taken.events.is_empty() || !taken.bytes.is_empty();
        let mut bytes = taken.bytes;
        for event in taken.events {
            if matches!(event, Event::End(_)) {
                self.said.append(&mut bytes);
            }
            self.tell(event);
        }
        self.said.append(&mut bytes);
        happened
    }

    /// TLS is there.
    pub(crate) fn secure(&mut self) {
        assert_eq!(self.next, Next::StartTls);
        self.core.secured();
        self.shell.binding = channel();
        self.next = Next::Read;
    }

    /// The connection gives up.
    pub(crate) fn time_out(&mut self) {
        let next = self.with(|core, cx| core.time_out(cx));
        self.go_on(next);
    }

    /// What the client has got since it was asked last.
    pub(crate) fn said(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.said)).expect("UTF-8")
    }

    /// The last thing said was this, and it ended the stream.
    pub(crate) fn expect_end(&mut self, expected: &str) {
        assert_eq!(self.said(), expected);
        assert_eq!(self.next, Next::Close);
    }
}

/// What is said to `input`, which is the same however it is cut: in two at any place, and into single bytes.
pub(crate) fn however_cut(make: impl Fn() -> Peer, input: &[u8], check: impl Fn(&str, Peer)) {
    for cut in 0..=input.len() {
        let mut peer = make();
        peer.send(&input[..cut]);
        peer.send(&input[cut..]);
        check(&format!("cut at {cut}"), peer);
    }
    let mut peer = make();
    for byte in input {
        peer.send([*byte]);
    }
    check("byte by byte", peer);
}
