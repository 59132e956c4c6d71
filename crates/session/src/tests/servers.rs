//! Streams between servers: this one, `example.org`, and another, `remote.example`.

mod both;
mod dialback;
mod ends;
mod incoming;
mod outgoing;
mod peered;

use std::sync::{Arc, Mutex};

use router::{Dialer, Outbox, Pair, RemoteRules, Resume};
use stanza::StanzaError;
use xmlstream::Scratch;

use super::world::{NOW, NS_STREAM, Peer, World, random_text};
use crate::server::{Attempt, Outgoing, Purpose, Rules, ServerConfig, Then};
use crate::{Next, StreamCore};

pub(super) const NS_DIALBACK: &str = "jabber:server:dialback";
pub(super) const NS_SM: &str = "urn:xmpp:sm:3";
pub(super) const BIDI: &str = "<bidi xmlns='urn:xmpp:bidi'/>";

/// What these servers have decided.
#[derive(Clone, Copy)]
pub(super) struct Decided {
    pub(super) ours: &'static [&'static str],
    pub(super) refused: &'static str,
    pub(super) dialback: bool,
}

impl Rules for Decided {
    fn is_ours(&self, domain: &str) -> bool {
        self.ours.contains(&domain)
    }
    fn may_talk(&self, pair: &Pair) -> bool {
        &*pair.remote != self.refused
    }
    fn may_dial_back(&self, _: &Pair) -> bool {
        self.dialback
    }
}

pub(super) const HERE: Decided = Decided {
    ours: &["example.org", "second.example"],
    refused: "refused.example",
    dialback: false,
};

pub(super) fn with_dialback() -> Decided {
    Decided { dialback: true, ..HERE }
}

pub(super) fn config(world: &World, rules: Decided) -> Arc<ServerConfig> {
    Arc::new(ServerConfig {
        before_login: world.config.before_login,
        after_login: world.config.after_login,
        idle_seconds: 300,
        rules: Arc::new(rules),
        dialback_secret: [9; 32],
        bidirectional: true,
        default_domain: "example.org".to_owned(),
    })
}

pub(super) fn pair() -> Pair {
    Pair::new("example.org", "remote.example")
}

/// What the router has asked for, instead of making it.
#[derive(Default)]
pub(super) struct Dialed(pub(super) Mutex<Vec<(Pair, Option<Resume>)>>);

impl Dialer for Dialed {
    fn may_reach(&self, _: &Pair) -> Result<(), StanzaError> {
        Ok(())
    }
    fn dial(&self, pair: &Pair, resume: Option<Resume>) {
        self.0.lock().expect("no panic").push((pair.clone(), resume));
    }
    fn seconds(&self) -> i64 {
        0
    }
}

/// A server that talks with others, with juliet and romeo.
pub(super) fn world() -> (World, Arc<Dialed>) {
    let world = World::new();
    let dialed = Arc::new(Dialed::default());
    // What waits is read from the store, which holds back everything else.
    let federated = std::thread::scope(|scope| {
        let federate = scope.spawn(|| world.router.federate(dialed.clone(), RemoteRules::default(), 0));
        while !federate.is_finished() {
            world.store.settle();
            std::thread::yield_now();
        }
        federate.join().expect("no panic")
    });
    assert_eq!(federated.expect("read"), 0);
    (world, dialed)
}

/// A connection of another server.
pub(super) fn connect(world: &World, rules: Decided, secured: bool) -> Peer {
    world.carry(StreamCore::incoming(config(world, rules), secured), secured)
}

/// How another server begins.
pub(super) fn open(from: &str, to: &str) -> String {
    let from = if from.is_empty() {
        String::new()
    } else {
        format!(" from='{from}'")
    };
    let to = if to.is_empty() {
        String::new()
    } else {
        format!(" to='{to}'")
    };
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='{NS_STREAM}' \
         xmlns:db='{NS_DIALBACK}'{from}{to} version='1.0'>"
    )
}

pub(super) fn opening() -> String {
    open("remote.example", "example.org")
}

/// Our header with the `n`th random text.
pub(super) fn header(n: u8, from: &str, to: &str) -> String {
    let to = if to.is_empty() {
        String::new()
    } else {
        format!(" to='{to}'")
    };
    let id = random_text(n);
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='{NS_STREAM}' \
         xmlns:db='{NS_DIALBACK}' id='{id}' from='{from}'{to} version='1.0' xml:lang='en'>"
    )
}

pub(super) fn usual_header(n: u8) -> String {
    header(n, "example.org", "remote.example")
}

pub(super) fn features(content: &str, bytes: usize) -> String {
    format!(
        "<stream:features>{content}<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>{bytes}</max-bytes>\
         {}</limits></stream:features>",
        if bytes == 6000 {
            "<idle-seconds>300</idle-seconds>"
        } else {
            ""
        }
    )
}

pub(super) const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
     <bidi xmlns='urn:xmpp:features:bidi'/>";
pub(super) const EXTERNAL: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\
     <mechanism>EXTERNAL</mechanism></mechanisms>";
pub(super) const DIALBACK: &str = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>";
pub(super) const BIDI_FEATURE: &str = "<bidi xmlns='urn:xmpp:features:bidi'/>";
pub(super) const SM: &str = "<sm xmlns='urn:xmpp:sm:3'/>";
pub(super) const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";

pub(super) fn auth(data: &str) -> String {
    format!("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>{data}</auth>")
}

pub(super) fn message(from: &str, to: &str, body: &str) -> String {
    format!("<message from='{from}' to='{to}' type='chat' id='{body}'><body>{body}</body></message>")
}

/// Under TLS, and as far as the features.
pub(super) fn opened(world: &World, rules: Decided) -> Peer {
    let mut peer = connect(world, rules, true);
    peer.send(opening());
    peer.said();
    peer
}

/// By its certificate, and as far as the features behind that. `bidi`: what is said before.
pub(super) fn authenticated(world: &World, bidi: &str) -> Peer {
    let mut peer = opened(world, HERE);
    peer.send(format!("{bidi}{}{}", auth("="), opening()));
    let said = peer.said();
    assert!(said.ends_with(&features(SM, 6000)), "{said}");
    peer
}

/// What a machine that opens a stream says, and what is to be done then.
pub(super) struct Caller {
    pub(super) machine: Outgoing,
    scratch: Scratch,
    out: Vec<u8>,
    /// Came, and was not used up.
    pub(super) rest: Vec<u8>,
    pub(super) then: Then,
}

impl Caller {
    pub(super) fn new(config: Arc<ServerConfig>, pair: Pair, secured: bool, purpose: Purpose) -> Caller {
        let mut caller = Caller {
            machine: Outgoing::new(Attempt {
                config,
                pair,
                secured,
                purpose,
            }),
            scratch: Scratch::default(),
            out: Vec::new(),
            rest: Vec::new(),
            then: Then::Read,
        };
        caller.machine.begin(&mut caller.out);
        caller
    }

    /// For stanzas, under TLS, to remote.example.
    pub(super) fn secured(world: &World, rules: Decided, resume: Option<Resume>) -> Caller {
        Caller::new(config(world, rules), pair(), true, Purpose::Stanzas { resume })
    }

    pub(super) fn said(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.out)).expect("UTF-8")
    }

    pub(super) fn hear(&mut self, bytes: impl AsRef<[u8]>) {
        self.rest.extend_from_slice(bytes.as_ref());
        if matches!(self.then, Then::Read) {
            let (used, then) = self.machine.handle_bytes(&self.rest, &mut self.scratch, &mut self.out);
            self.rest.drain(..used);
            self.then = then;
        }
    }

    /// TLS is there.
    pub(super) fn secure(&mut self) {
        assert!(matches!(self.then, Then::StartTls), "{:?}", self.then);
        assert!(self.rest.is_empty());
        self.then = Then::Read;
        self.machine.secured(&mut self.out);
    }

    /// The stream that was made, carried by a connection.
    pub(super) fn carry(&mut self, world: &World) -> Peer {
        let Then::Established(established) = std::mem::replace(&mut self.then, Then::Read) else {
            panic!("{:?}", self.then);
        };
        // The stream is what it is made of, so it comes last.
        let mut peer = world.carry(StreamCore::incoming(config(world, HERE), true), true);
        let outbox: Arc<Outbox> = Arc::clone(&peer.outbox);
        let bound = peer.with(|_, cx| {
            cx.router
                .linked(NOW, &established.pair, &outbox, &established.linked, cx.turn)
        });
        let mut input = established.early.clone();
        input.append(&mut self.rest);
        peer.core = StreamCore::established(*established, bound.expect("known"));
        peer.next = Next::Read;
        peer.send(input);
        peer
    }
}
