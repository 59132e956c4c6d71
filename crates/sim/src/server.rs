//! The server without its sockets: the router with all modules over the store in memory, in virtual time. It dies and
//! comes back on the same store.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use module::{Host, Now, Registry, Software};
use router::{Limits, Parts, RosterLimits, Router};
use session::{StreamConfig, TlsPolicy};
use stanza::{Jid, StreamError};
use store::{Archived, Batch, Found, Memory, Query, Range, Store, View};

pub const DOMAIN: &str = "d";
/// The password of everybody.
pub const PASSWORD: &str = "secret";
/// The time at which every world begins, in milliseconds.
const START: i64 = 1_700_000_000_000;

pub const LIMITS: Limits = Limits {
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

pub struct Server {
    pub store: Arc<Memory>,
    pub router: Arc<Router>,
    pub config: Arc<StreamConfig>,
    pub limits: Limits,
    clock: Arc<AtomicI64>,
    archives: bool,
}

impl Server {
    pub fn new(accounts: &[&str], limits: Limits, archives: bool) -> Server {
        let mut tables = router::TABLES.to_vec();
        tables.extend(registry().tables());
        tables.sort_by_key(|table| table.name);
        tables.dedup_by_key(|table| table.name);
        let store = Arc::new(Memory::new(&tables));
        for name in accounts {
            store.write_wait(accounts::add(&account(name))).expect("a new account");
        }
        // The router hands over what it wants while it holds a lock, so nothing may happen at once.
        store.hold();
        let clock = Arc::new(AtomicI64::new(START));
        let config = StreamConfig {
            tls: TlsPolicy::Required,
            before_login: xmlstream::Limits::default(),
            after_login: xmlstream::Limits::default(),
            idle_seconds: 300,
            login_attempts: 3,
            secret: [5; 32],
            iterations: 1,
            policy: auth::Policy::default(),
            policies: Default::default(),
            registration: Default::default(),
            lifetimes: accounts::tokens::DEFAULT_LIFETIMES,
            default_domain: DOMAIN.to_owned(),
        };
        Server {
            router: router_over(&store, &clock, limits, archives),
            store,
            config: Arc::new(config),
            limits,
            clock,
            archives,
        }
    }

    pub fn now(&self) -> Now {
        Now(self.clock.load(Ordering::Relaxed))
    }

    pub fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1_000, Ordering::Relaxed);
    }

    /// kill -9: what was committed is there, and nothing else. `unanswered` commits are on disk and nobody was told.
    pub fn crash(&mut self, unanswered: usize) {
        for _ in 0..unanswered {
            self.store.step_unanswered();
        }
        self.store.crash();
        self.router = router_over(&self.store, &self.clock, self.limits, self.archives);
    }

    /// The last part of a stop in good order, when all connections have ended, and the next start.
    pub fn restart(&mut self) {
        self.store.settle();
        self.router.save_sessions();
        self.router.save_cursors();
        self.store.settle();
        self.router = router_over(&self.store, &self.clock, self.limits, self.archives);
        let (router, now) = (Arc::clone(&self.router), self.now());
        self.blocking(|_| router.restore_sessions(now))
            .expect("saved sessions are read");
    }

    /// What the process does several times a minute.
    pub fn tend(&mut self) {
        self.router.tend(self.now());
        self.router.sweep(self.now());
    }

    /// An account is removed as the admin command does it; what is on its way is settled before.
    pub fn remove(&mut self, name: &str) {
        let jid = bare_jid(name);
        self.store.settle();
        self.expel(name, "the account was removed");
        self.store.settle();
        let router = Arc::clone(&self.router);
        self.blocking(|_| router.tell_contacts_of_removal(&jid));
        router.leave_nodes(&jid);
        self.store.settle();
        // It fails where the disk is full; then the account stays.
        drop(self.blocking(|store| store.write_wait(accounts::remove(&jid))));
        self.expel(name, "the account was removed");
    }

    /// Adds an account, unless it is there or the disk is full.
    pub fn add(&mut self, name: &str) {
        self.store.settle();
        drop(self.blocking(|store| store.write_wait(accounts::add(&account(name)))));
    }

    /// Nobody may log in, or they may again. False: the disk does not take it.
    pub fn set_disabled(&mut self, name: &str, disabled: bool) -> bool {
        self.store.settle();
        let mut account = account(name);
        account.disabled = disabled;
        let change = accounts::change(&account);
        let is_changed = self.blocking(|store| store.write_wait(change)).is_ok();
        self.expel(name, "the account was changed");
        is_changed
    }

    fn expel(&self, name: &str, text: &'static str) {
        self.router
            .expel(bare_jid(name).as_str(), &StreamError::not_authorized().text(text));
    }

    pub fn exists(&self, name: &str) -> bool {
        let found = self.ask(accounts::get(&bare_jid(name)));
        found.row().expect("a row was asked for").is_some()
    }

    /// Where something waits for the store, it works. Nothing may be under way that takes a lock.
    fn blocking<R>(&self, act: impl FnOnce(&Memory) -> R) -> R {
        self.store.release();
        let result = act(&self.store);
        self.store.hold();
        result
    }

    /// From here on nothing fails that was to fail.
    pub fn end_failures(&self) {
        self.store.set_full(false);
        self.store.settle();
        while self.blocking(|store| store.write_wait(Batch::new())).is_err() {}
    }

    /// Asks the store, which must have nothing else to do.
    pub fn ask(&self, query: Query) -> Found {
        self.store.settle();
        self.blocking(|store| store.read_wait(query)).expect("found")
    }

    /// Up to which id everything is delivered, as the disk has it.
    pub fn cursor(&self, account: &str) -> i64 {
        let waiting = self.ask(Query::waiting(bare_jid(account).as_str(), 0)).waiting();
        waiting.expect("what waits").0
    }

    /// All messages in this view, waiting or not.
    pub fn kept(&self, account: &str, view: View) -> Vec<Archived> {
        let (mut all, mut range) = (Vec::new(), Range::of(bare_jid(account).as_str(), view, 1_000));
        loop {
            let page = self.ask(Query::archive(range.clone())).archive().expect("a page");
            all.extend(page.messages);
            if page.complete {
                return all;
            }
            range.after = all.last().map(|message| message.id);
        }
    }

    /// The roster on disk, as the lines of a roster result.
    pub fn stored_roster(&self, account: &str) -> minidom::Element {
        let jid = bare_jid(account);
        let rows = self
            .ask(Query::all(&presence::ROSTER, jid.as_str()))
            .rows()
            .expect("rows");
        let version = self.ask(Query::get(&presence::ROSTER_VERSION, jid.as_str(), None));
        let roster = presence::Roster::load(rows, version.row().expect("a row").as_ref()).expect("a roster");
        let mut out = Vec::new();
        roster.result_since(None, &mut out);
        String::from_utf8(out).expect("text").parse().expect("XML")
    }
}

fn registry() -> Registry {
    Registry::new(xeps::all(&xeps::Offer::default())).expect("the modules of the server fit together")
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
        registry: registry(),
        store: Arc::clone(store) as Arc<dyn Store>,
        limits,
        archives,
        clock: Box::new(move || Now(clock.load(Ordering::Relaxed))),
    })
}

pub fn bare_jid(name: &str) -> Jid {
    Jid::parse(&format!("{name}@{DOMAIN}")).expect("a JID")
}

fn account(name: &str) -> accounts::Account {
    let credentials = auth::Credentials::derive(PASSWORD, 1, [[1; 16], [2; 16], [3; 16]]).expect("a usable password");
    accounts::Account::new(bare_jid(name), 0, credentials)
}
