//! The way of a chat message through the server without a network: frame, check, route, write.
//!
//! Two clients log in to a real router over the memory store, then one sends a fixed number of
//! messages to the other. `cargo xtask test` runs it under callgrind with two counts and holds
//! the difference against a budget of instructions a message: repeatable, whatever else the
//! machine does, so a change that makes the path twice as dear is noticed without timing.
//!
//! `hot_path MESSAGES [kept]` prints how many bytes were delivered; without callgrind also the time. With `kept` they are
//! archived, and both clients have stream management.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use auth::{Binding, Credentials, PasswordCheck};
use module::{Host, Now, Registry, Software};
use router::{Event, Outbox, Router, Turn};
use session::{Context, Recording, Shell, StreamConfig, StreamCore, TlsPolicy};
use stanza::Jid;
use store::{Memory, Store, Table};
use xmlstream::{Limits, Scratch};

/// Messages that are handed over at once, as in one read of a busy connection.
const BATCH: usize = 32;
/// So many of them are made, before it is counted; with more, they come again.
const ROUNDS: usize = 200;
const NOW: Now = Now(1_000_000_000_000);

struct TestShell {
    account: Option<Jid>,
    check: Option<PasswordCheck>,
}

impl Shell for TestShell {
    fn random(&mut self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
    fn binding(&self) -> Binding {
        Binding::default()
    }
    fn certified(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn look_up(&mut self, account: &Jid) {
        self.account = Some(account.clone());
    }
    fn look_up_tokens(&mut self, _: &Jid, _: Option<&str>) {
        panic!("nobody logs in with a token");
    }
    fn record(&mut self, _: Recording) {
        panic!("nobody logs in by SASL2");
    }
    fn check(&mut self, check: PasswordCheck) {
        self.check = Some(check);
    }
    fn upgrade(&mut self, _: &Jid, _: Credentials) {
        panic!("nobody asks for a task");
    }
    fn ask(&mut self, _: accounts::backend::Question) {
        panic!("every account is here");
    }
    fn admit(&mut self, _: &Jid) {
        panic!("nobody was asked");
    }
    fn guest(&mut self, _: Option<&str>) -> Option<router::Guest> {
        None
    }
    fn may_log_in(&mut self, _: Option<&Jid>) -> bool {
        true
    }
    fn login_failed(&mut self, _: Option<&Jid>) {
        panic!("the password is right");
    }
}

struct Peer {
    core: StreamCore,
    outbox: Arc<Outbox>,
}

struct World {
    router: Arc<Router>,
    store: Arc<Memory>,
    credentials: Credentials,
    turn: Turn,
    scratch: Scratch,
}

impl World {
    fn new(archives: bool) -> World {
        let registry = Registry::new(xeps::all(&xeps::Offer::default())).expect("the modules fit together");
        let mut tables: Vec<&'static Table> = router::TABLES.to_vec();
        tables.extend(registry.tables());
        let store = Arc::new(Memory::new(&tables));
        let credentials = Credentials::derive("secret", 4096, [[1; 16]; 3]).expect("a good password");
        for user in ["juliet", "romeo"] {
            let jid = Jid::new(Some(user), "example.org", None).expect("a JID");
            let account = accounts::Account::new(jid, 0, credentials.clone());
            store.write_wait(accounts::add(&account)).expect("the account is new");
        }
        // From here on answers come when they are asked for: the router submits under a lock.
        store.hold();
        let host = Host::new(
            "example.org",
            Software {
                name: "Jackdaw",
                version: "0",
            },
            NOW,
        );
        let limits = router::Limits {
            sessions: 10,
            roster: router::RosterLimits::default(),
            offline_messages: 10,
            subscription_requests: 10,
            loading_stanzas: 10,
            directed_presence: 10,
            idle_account_seconds: 60,
            resume_seconds: 60,
        };
        let router = Router::new(router::Parts {
            hosts: vec![host],
            registry,
            store: Arc::clone(&store) as Arc<dyn Store>,
            limits,
            archives,
            clock: Box::new(|| NOW),
        });
        World {
            router,
            store,
            credentials,
            turn: Turn::default(),
            scratch: Scratch::default(),
        }
    }

    /// Runs `act` on the stream of a peer; returns what it asked the shell for.
    fn with<R>(
        &mut self,
        peer: &mut Peer,
        act: impl FnOnce(&mut StreamCore, &mut Context<'_>) -> R,
    ) -> (R, Option<Event>) {
        let mut out = Vec::new();
        let mut shell = TestShell {
            account: None,
            check: None,
        };
        let mut context = Context {
            now: NOW,
            router: &self.router,
            turn: &mut self.turn,
            scratch: &mut self.scratch,
            out: &mut out,
            outbox: &peer.outbox,
            shell: &mut shell,
        };
        let result = act(&mut peer.core, &mut context);
        let answer = match (shell.account, shell.check) {
            (Some(_), _) => Some(Event::Account(auth::Lookup::Found(self.credentials.clone()))),
            (_, Some(check)) => Some(Event::Checked(check.run())),
            (None, None) => None,
        };
        (result, answer)
    }

    /// Lets the stream of a peer process `input`, and returns how much of it was used up.
    fn feed(&mut self, peer: &mut Peer, input: &[u8]) -> usize {
        let mut consumed = 0;
        loop {
            let (progress, mut answer) =
                self.with(peer, |core, context| core.handle_bytes(&input[consumed..], context));
            consumed += progress.consumed;
            if answer.is_none() {
                break;
            }
            while let Some(event) = answer {
                answer = self.with(peer, |core, context| core.handle_event(event, context)).1;
            }
        }
        self.turn.finish();
        consumed
    }

    /// Takes what waits for a peer, and returns how many bytes it was.
    fn events(&mut self, peer: &mut Peer) -> usize {
        let taken = peer.outbox.take(Waker::noop(), true);
        for event in taken.events {
            self.with(peer, |core, context| core.handle_event(event, context));
        }
        let count = taken.bytes.len();
        router::give_buffer(taken.bytes);
        count
    }

    fn login(&mut self, user: &str) -> Peer {
        let config = Arc::new(StreamConfig {
            tls: TlsPolicy::Required,
            before_login: Limits::default(),
            after_login: Limits::default(),
            idle_seconds: 300,
            login_attempts: 1,
            secret: [0; 32],
            iterations: 4096,
            policy: auth::Policy::default(),
            policies: Default::default(),
            registration: Default::default(),
            lifetimes: accounts::tokens::DEFAULT_LIFETIMES,
            default_domain: "example.org".into(),
        });
        let mut peer = Peer {
            core: StreamCore::new(config, true),
            outbox: Outbox::new(1 << 20),
        };
        let header = "<stream:stream to='example.org' version='1.0' xmlns='jabber:client' \
                      xmlns:stream='http://etherx.jabber.org/streams'>";
        let plain = auth::encode(format!("\0{user}\0secret").as_bytes());
        let login = format!(
            "{header}<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{plain}</auth>{header}\
             <iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>"
        );
        self.feed(&mut peer, login.as_bytes());
        self.store.settle();
        self.events(&mut peer);
        assert!(peer.core.bound().is_some(), "{user} is bound");
        self.feed(&mut peer, b"<presence/>");
        self.store.settle();
        self.events(&mut peer);
        peer
    }
}

fn message(id: usize) -> String {
    format!(
        "<message to='romeo@example.org' type='chat' id='{id:06}'>\
         <body>But, soft! what light through yonder window breaks? It is the east.</body>\
         <request xmlns='urn:xmpp:receipts'/><origin-id xmlns='urn:xmpp:sid:0' id='{id:06}'/></message>"
    )
}

fn main() {
    let messages: usize = std::env::args()
        .nth(1)
        .and_then(|count| count.parse().ok())
        .unwrap_or(100_000);
    let is_kept = std::env::args().nth(2).is_some_and(|way| way == "kept");
    let mut world = World::new(is_kept);
    let mut juliet = world.login("juliet");
    let mut romeo = world.login("romeo");
    // A message that comes again under its id is not kept twice.
    let batch = |round: usize| -> String {
        let ids = round * BATCH..(round + 1) * BATCH;
        let mut batch: String = ids.map(message).collect();
        if is_kept {
            batch.push_str("<r xmlns='urn:xmpp:sm:3'/>");
        }
        batch
    };
    let rounds = messages.div_ceil(BATCH);
    let batches: Vec<String> = (0..ROUNDS).map(batch).collect();
    if is_kept {
        for peer in [&mut juliet, &mut romeo] {
            world.feed(peer, b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>");
            world.store.settle();
            world.events(peer);
        }
    }
    let begun = Instant::now();
    let mut delivered = 0;
    for round in 1..=rounds {
        let batch = &batches[(round - 1) % batches.len()];
        let consumed = world.feed(&mut juliet, batch.as_bytes());
        assert_eq!(consumed, batch.len(), "the whole batch is processed");
        if is_kept {
            world.store.settle();
            assert!(world.events(&mut juliet) > 0, "the batch is acknowledged");
        }
        delivered += world.events(&mut romeo);
        if is_kept {
            let answer = format!("<a xmlns='urn:xmpp:sm:3' h='{}'/>", round * BATCH);
            world.feed(&mut romeo, answer.as_bytes());
        }
    }
    let per_message = begun.elapsed().as_nanos() as usize / messages.max(1);
    assert!(delivered >= messages * message(0).len(), "everything was delivered");
    println!("{messages} messages, {delivered} bytes delivered, {per_message} ns a message");
}
