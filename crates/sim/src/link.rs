//! A connection: the real stream machine between two directions of bytes. What `c2s` does with a socket, done with
//! buffers: bytes come in any pieces, the network holds some of them, and it breaks.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};

use auth::{Binding, Lookup, PasswordCheck};
use router::{Bound, Event, Outbox, Turn};
use session::{Context, Next, Shell, StreamCore};
use stanza::{Jid, StreamError};
use xmlstream::Scratch;

use crate::dice::Dice;
use crate::server::Server;

/// Bytes that the network takes before the server has to wait for the reader. Little, so that it happens.
const NETWORK: usize = 8 * 1024;
/// Bytes that an outbox holds.
pub const OUTBOX: usize = 64 * 1024;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Open,
    /// The session is over; the rest is being sent.
    Closing,
    /// Nothing is sent any more; what was not is being delivered anew.
    Over,
    Gone,
}

/// See the module's text.
pub struct Link {
    core: StreamCore,
    pub outbox: Arc<Outbox>,
    /// Sent by the client and not read yet.
    pub inbound: Vec<u8>,
    /// Read and not used up.
    carried: Vec<u8>,
    /// What the stream itself has to say goes behind what waits.
    out: Vec<u8>,
    /// Whole stanzas, and what the stream says, that the network has not taken.
    unsent: Vec<u8>,
    /// On its way to the client.
    pub outbound: Vec<u8>,
    /// What was never written and whose stream was not managed: it is delivered anew.
    pub reclaimed: Vec<u8>,
    waiting: bool,
    phase: Phase,
    left: Option<(Bound, Option<Vec<u8>>)>,
    random: Dice,
    woken: Arc<Woken>,
    scratch: Scratch,
}

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Desk<'a> {
    server: &'a Server,
    outbox: &'a Arc<Outbox>,
    random: &'a mut Dice,
}

fn tell(outbox: &Arc<Outbox>, event: Event) {
    let mut turn = Turn::default();
    outbox.tell(&mut turn, event);
    turn.finish();
}

impl Shell for Desk<'_> {
    fn random(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }
    fn binding(&self) -> Binding {
        Binding::default()
    }
    fn certified(&self, _: &str) -> Vec<String> {
        Vec::new()
    }
    fn look_up(&mut self, account: &Jid) {
        let (outbox, owner) = (Arc::clone(self.outbox), account.clone());
        self.server.router.store().read(
            accounts::get(account),
            Box::new(move |found| {
                let row = found.and_then(store::Found::row);
                let account = row.map(|row| row.map(|row| accounts::Account::from_row(owner.as_str(), &row)));
                let lookup = match account {
                    Ok(None) => Lookup::Missing,
                    Ok(Some(Ok(account))) if account.disabled => Lookup::Disabled(account.credentials),
                    Ok(Some(Ok(account))) => Lookup::Found(account.credentials),
                    Ok(Some(Err(_))) | Err(_) => Lookup::Unavailable,
                };
                tell(&outbox, Event::Account(lookup));
            }),
        );
    }
    fn look_up_tokens(&mut self, account: &Jid, client: Option<&str>) {
        let outbox = Arc::clone(self.outbox);
        session::clients::look_up(self.server.router.store(), account, client, move |tokens| {
            tell(&outbox, Event::Tokens(tokens));
        });
    }
    fn record(&mut self, login: session::Recording) {
        let (outbox, now) = (Arc::clone(self.outbox), self.server.now().seconds());
        let mut dice = Dice::new(self.random.roll());
        let random = move |bytes: &mut [u8]| dice.fill(bytes);
        session::clients::record(self.server.router.store(), login, now, random, move |result| {
            tell(&outbox, Event::Recorded(result));
        });
    }
    fn check(&mut self, check: PasswordCheck) {
        tell(self.outbox, Event::Checked(check.run()));
    }
    fn upgrade(&mut self, _: &Jid, _: auth::Credentials) {
        unreachable!("nobody asks for a task")
    }
    fn ask(&mut self, _: accounts::backend::Question) {
        unreachable!("every account is here")
    }
    fn admit(&mut self, _: &Jid) {
        unreachable!("nobody was asked")
    }
    fn guest(&mut self, _: Option<&str>) -> Option<router::Guest> {
        None
    }
    fn may_log_in(&mut self, _: Option<&Jid>) -> bool {
        true
    }
    fn login_failed(&mut self, _: Option<&Jid>) {}
}

impl Link {
    pub fn new(server: &Server, seed: u64) -> Link {
        Link {
            core: StreamCore::new(Arc::clone(&server.config), true),
            outbox: Outbox::new(OUTBOX),
            inbound: Vec::new(),
            carried: Vec::new(),
            out: Vec::new(),
            unsent: Vec::new(),
            outbound: Vec::new(),
            reclaimed: Vec::new(),
            waiting: false,
            phase: Phase::Open,
            left: None,
            random: Dice::new(seed),
            woken: Arc::new(Woken(AtomicBool::new(true))),
            scratch: Scratch::default(),
        }
    }

    /// Nothing of it is left.
    pub fn is_gone(&self) -> bool {
        self.phase == Phase::Gone
    }

    /// Whether a task would be polled now.
    pub fn is_due(&self) -> bool {
        let writes = !self.unsent.is_empty() && self.outbound.len() < NETWORK;
        let reads = !self.inbound.is_empty() && self.unsent.is_empty() && !self.waiting;
        self.woken.0.load(Ordering::Relaxed) || writes || (reads && self.phase == Phase::Open)
    }

    /// The peer cannot be reached any more.
    pub fn breaks(&mut self) {
        if matches!(self.phase, Phase::Open | Phase::Closing) {
            self.phase = Phase::Over;
            self.woken.0.store(true, Ordering::Relaxed);
        }
    }

    /// All that is on its way to the client, when the process dies.
    pub fn dies(self) -> Vec<u8> {
        let mut rest = self.outbound;
        rest.extend(self.unsent);
        rest.extend(self.outbox.take(Waker::noop(), true).bytes);
        rest
    }

    /// The server is shut down (RFC 6120 section 4.9.3.20).
    pub fn shut_down(&mut self, turn: &mut Turn) {
        self.outbox.tell(turn, Event::End(StreamError::system_shutdown()));
        turn.finish();
    }

    /// One poll of the task. True if anything happened.
    pub fn poll(&mut self, server: &Server, turn: &mut Turn) -> bool {
        self.woken.0.store(false, Ordering::Relaxed);
        let mut moved = self.flush();
        if self.phase == Phase::Open {
            moved |= self.open(server, turn);
        }
        if self.phase == Phase::Closing {
            moved |= self.flush();
            if self.unsent.is_empty() {
                self.phase = Phase::Over;
            }
        }
        if self.phase == Phase::Over {
            moved |= self.over(server, turn);
        }
        turn.finish();
        moved
    }

    fn open(&mut self, server: &Server, turn: &mut Turn) -> bool {
        let mut moved = self.take_outbox(server, turn);
        if self.phase != Phase::Open || !self.unsent.is_empty() || self.waiting {
            return moved;
        }
        if !self.inbound.is_empty() {
            moved = true;
            self.carried.append(&mut self.inbound);
            self.feed(server, turn);
            self.take_outbox(server, turn);
        }
        if let Some(bound) = self.core.bound()
            && self.phase == Phase::Open
            && self.unsent.is_empty()
            && self.outbox.drained()
        {
            server.router.drained(server.now(), bound, turn);
            moved = true;
        }
        moved
    }

    fn with_core<R>(
        &mut self,
        server: &Server,
        turn: &mut Turn,
        act: impl FnOnce(&mut StreamCore, &mut Context<'_>) -> R,
    ) -> R {
        let mut shell = Desk {
            server,
            outbox: &self.outbox,
            random: &mut self.random,
        };
        let mut context = Context {
            now: server.now(),
            router: &server.router,
            turn,
            scratch: &mut self.scratch,
            out: &mut self.out,
            outbox: &self.outbox,
            shell: &mut shell,
        };
        act(&mut self.core, &mut context)
    }

    fn feed(&mut self, server: &Server, turn: &mut Turn) {
        let input = mem::take(&mut self.carried);
        let progress = self.with_core(server, turn, |core, cx| core.handle_bytes(&input, cx));
        match progress.next {
            Next::Read | Next::Wait => {
                self.carried = input[progress.consumed..].to_vec();
                self.waiting = progress.next == Next::Wait;
                self.write_out();
            }
            Next::StartTls => unreachable!("TLS is in place"),
            Next::Close => self.finish(server, turn),
        }
    }

    fn take_outbox(&mut self, server: &Server, turn: &mut Turn) -> bool {
        let waker = Waker::from(Arc::clone(&self.woken));
        let taken = self.outbox.take(&waker, self.unsent.is_empty());
        let (mut bytes, answered) = (taken.bytes, !taken.events.is_empty());
        let moved = answered || !bytes.is_empty();
        for event in taken.events {
            if matches!(event, Event::End(_)) {
                // Behind what was for the client before.
                self.unsent.append(&mut bytes);
            }
            match self.with_core(server, turn, |core, cx| core.handle_event(event, cx)) {
                Next::Close => {
                    self.finish(server, turn);
                    return true;
                }
                Next::Wait => self.waiting = true,
                Next::Read | Next::StartTls => self.waiting = false,
            }
            self.write_out();
        }
        self.unsent.append(&mut bytes);
        self.flush();
        // What came behind a question is processed after its answer.
        if answered && !self.waiting && !self.carried.is_empty() {
            self.feed(server, turn);
        }
        moved
    }

    /// All or nothing, so that what is unsent are whole stanzas.
    fn flush(&mut self) -> bool {
        let flushes = !self.unsent.is_empty() && self.outbound.len() < NETWORK && self.phase != Phase::Over;
        if flushes {
            self.outbound.append(&mut self.unsent);
        }
        flushes
    }

    fn write_out(&mut self) {
        self.unsent.append(&mut self.out);
        self.flush();
    }

    /// The stream has ended: what is for the client and then what the stream has to say is sent.
    fn finish(&mut self, server: &Server, turn: &mut Turn) {
        self.phase = Phase::Closing;
        self.inbound.clear();
        self.carried.clear();
        self.leave(server, turn);
        self.write_out();
    }

    /// The session ends for everybody else.
    fn leave(&mut self, server: &Server, turn: &mut Turn) {
        if !self.core.awaits_resource() {
            let (bound, clean) = self.core.take_bound();
            if let Some(bound) = bound {
                let managed = server.router.unbind(server.now(), &bound, clean, turn);
                self.left = Some((bound, managed));
            }
            self.unsent.append(&mut self.outbox.shut());
        }
    }

    fn over(&mut self, server: &Server, turn: &mut Turn) -> bool {
        if self.core.awaits_resource() {
            let waker = Waker::from(Arc::clone(&self.woken));
            for event in self.outbox.take(&waker, false).events {
                self.with_core(server, turn, |core, cx| core.handle_event(event, cx));
            }
            if self.core.awaits_resource() {
                return false;
            }
        }
        self.leave(server, turn);
        if let Some((bound, managed)) = self.left.take() {
            if managed.is_some() {
                let counted_from = router::uncounted(&self.unsent).len();
                self.unsent.truncate(counted_from);
            }
            self.reclaimed = self.unsent.clone();
            self.unsent.extend(managed.unwrap_or_default());
            let mut rest = &self.unsent[..];
            loop {
                match server.router.reclaim(server.now(), &bound, rest, turn) {
                    0 => break,
                    used => rest = &rest[used..],
                }
            }
        }
        self.unsent.clear();
        self.phase = Phase::Gone;
        true
    }
}
