//! A router over the memory store, and clients without a connection: for the examples that measure.

use std::sync::Arc;
use std::task::Waker;

use jackdaw_router::{
    BindRequest, Bound, Event, Limits, Outbox, Parts, RosterLimits, Router, TABLES, Turn, give_buffer,
};
use module::{Host, Module, Now, Registry, Software};
use stanza::{Jid, Stanza, ns};
use store::{Memory, Store, Table};
use xmlstream::Scratch;

pub(crate) const DOMAIN: &str = "example.org";
const RESOURCE: &str = "bench";
const NOW: Now = Now(1_000_000_000_000);
/// Bytes that an outbox holds.
const OUTBOX: usize = 1 << 20;

/// The bare JID of the account with this number.
pub(crate) fn jid(number: usize) -> String {
    format!("user{number}@{DOMAIN}")
}

pub(crate) struct World {
    pub(crate) router: Arc<Router>,
    store: Arc<Memory>,
    turn: Turn,
    scratch: Scratch,
}

impl World {
    /// With so many accounts.
    pub(crate) fn new(accounts: usize, modules: Vec<Module>) -> World {
        let registry = Registry::new(modules).expect("the modules fit together");
        let mut tables: Vec<&'static Table> = TABLES.to_vec();
        tables.extend(registry.tables());
        let store = Arc::new(Memory::new(&tables));
        for number in 0..accounts {
            let jid = Jid::parse(&jid(number)).expect("a JID");
            let account = accounts::Account::new(jid, 0, auth::Credentials::default());
            store.write_wait(accounts::add(&account)).expect("a new account");
        }
        // From here on answers come when they are asked for: the router submits under a lock.
        store.hold();
        let host = Host::new(
            DOMAIN,
            Software {
                name: "Jackdaw",
                version: "0",
            },
            NOW,
        );
        let router = Router::new(Parts {
            hosts: vec![host],
            registry,
            store: Arc::clone(&store) as Arc<dyn Store>,
            limits: Limits {
                sessions: 10,
                roster: RosterLimits::default(),
                offline_messages: 10,
                subscription_requests: 1_000_000,
                loading_stanzas: 10,
                directed_presence: 10,
                idle_account_seconds: 60,
                resume_seconds: 60,
            },
            archives: true,
            clock: Box::new(|| NOW),
        });
        World {
            router,
            store,
            turn: Turn::default(),
            scratch: Scratch::default(),
        }
    }

    /// Binds a resource and makes it available.
    pub(crate) fn login(&mut self, number: usize) -> Bound {
        let outbox = Outbox::new(OUTBOX);
        let request = BindRequest {
            account: Jid::parse(&jid(number)).expect("a JID"),
            resource: RESOURCE.to_owned(),
            outbox: Arc::clone(&outbox),
            access: None,
            guest: None,
            inline: None,
        };
        self.router.bind(NOW, request, &mut self.turn);
        self.settle();
        let event = outbox.take(Waker::noop(), true).events.pop();
        let Some(Event::Bound(Ok(bound))) = event else {
            panic!("{} was not bound", jid(number));
        };
        self.send(&bound, "<presence/>");
        self.settle();
        read(&bound);
        bound
    }

    /// A client sends a stanza.
    pub(crate) fn send(&mut self, bound: &Bound, text: &str) {
        let limits = xmlstream::Limits::default();
        let element = xmlstream::parse_element(text, ns::CLIENT, &mut self.scratch, &limits).expect("an element");
        let stanza = Stanza::read(element).expect("without faults").expect("a stanza");
        self.router.from_client(NOW, bound, &stanza, &mut self.turn);
        self.turn.finish();
    }

    /// Everything that was written is on disk.
    pub(crate) fn settle(&mut self) {
        self.store.settle();
        self.turn.finish();
    }
}

/// Takes what waits for a client, as its connection would, and returns how many bytes it was.
pub(crate) fn read(bound: &Bound) -> usize {
    let bytes = bound.outbox.take(Waker::noop(), true).bytes;
    let count = bytes.len();
    give_buffer(bytes);
    count
}
