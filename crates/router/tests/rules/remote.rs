//! Links to another server, `far.example`: what waits for it, what was sent and is not acknowledged, what its senders are
//! told; and what comes from it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;

use jackdaw_router::{
    Bound, Dialer, Event, Failure, FailureKind, Linked, NotResumed, Outbox, Pair, RemoteRules, Resume, ResumeRemote,
    Resumed, WayBack,
};
use stanza::{Stanza, StanzaError, ns};
use xmlstream::Scratch;

use crate::lines::{element, elements, line};
use crate::support::{DOMAIN, OUTBOX, World};

pub(crate) const FAR: &str = "far.example";

pub(crate) const TOKEN: u64 = 0xabc;

const RULES: RemoteRules = RemoteRules {
    queue_stanzas: 300,
    queue_bytes: 4_000,
    give_up_seconds: 3_600,
    answer_seconds: 60,
    retry_seconds: 10,
    longest_retry_seconds: 100,
};

/// What was asked of it.
struct Asked {
    dials: Mutex<Vec<Option<Resume>>>,
    steady: Box<dyn Fn() -> i64 + Send + Sync>,
    /// By the rules of this server.
    is_denied: AtomicBool,
}

impl Dialer for Asked {
    fn may_reach(&self, pair: &Pair) -> Result<(), StanzaError> {
        match &*pair.remote {
            "refused.example" => Err(StanzaError::not_allowed().text("not with those")),
            FAR if self.is_denied.load(Ordering::Relaxed) => Err(StanzaError::not_allowed().text("not any more")),
            _ => Ok(()),
        }
    }

    fn dial(&self, _: &Pair, resume: Option<Resume>) {
        self.dials.lock().expect("no panic").push(resume);
    }

    fn seconds(&self) -> i64 {
        (self.steady)()
    }
}

/// A world with another server, which is played by the test.
pub(crate) struct Far {
    pub(crate) world: World,
    asked: Arc<Asked>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) bound: Option<Bound>,
    /// Of the process.
    pub(crate) token: u64,
}

pub(crate) fn pair() -> Pair {
    Pair::new(DOMAIN, FAR)
}

/// The id of a ping of this process.
pub(crate) fn ping(number: u32) -> String {
    format!("link-{TOKEN:016x}-{number}")
}

pub(crate) fn chat(number: u32) -> String {
    format!("<message type='chat' id='m{number}' to='romeo@{FAR}'><body>{number}</body></message>")
}

impl Far {
    pub(crate) fn new() -> Far {
        let world = World::new(&["juliet"]);
        let asked = Asked {
            dials: Mutex::default(),
            steady: Box::new(world.steady()),
            is_denied: AtomicBool::new(false),
        };
        let mut far = Far {
            world,
            asked: Arc::new(asked),
            outbox: Outbox::new(OUTBOX),
            bound: None,
            token: TOKEN,
        };
        far.federate();
        far.world.online(&["juliet/balcony"]);
        far.world.forget();
        far
    }

    /// It answered this moment ago, and its stream has ended.
    pub(crate) fn known() -> Far {
        let mut far = Far::new();
        far.send(&format!(
            "<message type='chat' to='romeo@{FAR}'><body>first</body></message>"
        ));
        assert_eq!(far.dialed(), [None]);
        far.up(&managed());
        assert_eq!(far.sent(), ["chat juliet/balcony>romeo@far.example first", "r"]);
        far.acknowledge(1);
        far.broken(true);
        assert_eq!(far.dialed(), []);
        far
    }

    pub(crate) fn federate(&mut self) {
        // What is held would keep the start from reading.
        self.world.store.release();
        let asked = Arc::clone(&self.asked) as Arc<dyn Dialer>;
        let router = &self.world.router;
        router.federate(asked, RULES, self.token).expect("the store works");
        self.world.store.hold();
    }

    pub(crate) fn send(&mut self, text: &str) {
        self.world.send("juliet/balcony", text);
        self.world.settle();
    }

    /// What was dialed since it was asked last.
    pub(crate) fn dialed(&mut self) -> Vec<Option<Resume>> {
        self.world.settle();
        std::mem::take(&mut *self.asked.dials.lock().expect("no panic"))
    }

    pub(crate) fn up(&mut self, linked: &Linked) {
        self.outbox = Outbox::new(OUTBOX);
        let now = self.world.now();
        let (router, turn) = (Arc::clone(&self.world.router), &mut self.world.turn);
        self.bound = router.linked(now, &pair(), &self.outbox, linked, turn);
        self.world.turn.finish();
        self.world.settle();
    }

    pub(crate) fn down(&mut self, kind: FailureKind) {
        let now = self.world.now();
        let failure = Failure::new(kind, "nobody is there");
        let router = Arc::clone(&self.world.router);
        router.not_linked(now, &pair(), &failure, &mut self.world.turn);
        self.world.turn.finish();
        self.world.settle();
    }

    pub(crate) fn broken(&mut self, clean: bool) {
        let bound = self.bound.take().expect("a stream");
        let now = self.world.now();
        let router = Arc::clone(&self.world.router);
        assert_eq!(
            router.unbind(now, &bound, clean, &mut self.world.turn),
            Some(Vec::new())
        );
        self.outbox.shut();
        self.world.turn.finish();
        self.world.settle();
    }

    /// What came over the stream, in short.
    pub(crate) fn sent(&mut self) -> Vec<String> {
        self.world.settle();
        let taken = self.outbox.take(Waker::noop(), true);
        let told = |text: &String| match element(text) {
            ask if ask.is("r", ns::SM) => "r".to_owned(),
            stanza => line(&stanza),
        };
        elements(&taken.bytes).iter().map(told).collect()
    }

    pub(crate) fn events(&self) -> Vec<String> {
        let events = self.outbox.take(Waker::noop(), false).events;
        let told = |event: Event| match event {
            Event::End(error) => format!("end {}", error.condition.name()),
            Event::Bound(Ok(_)) => "bound".into(),
            Event::Bound(Err(error)) => format!("refused {}", error.condition.name()),
            Event::Resumed(Ok(resumed)) => format!("resumed {}", resumed.h),
            Event::Resumed(Err(error)) => format!("not resumed: {error:?}"),
            _ => "?".into(),
        };
        events.into_iter().map(told).collect()
    }

    pub(crate) fn acknowledge(&mut self, h: u32) {
        let bound = self.bound.clone().expect("a stream");
        let now = self.world.now();
        let router = Arc::clone(&self.world.router);
        let answer = router.link_acknowledged(now, &bound, h, &mut self.world.turn);
        assert!(answer.is_ok());
        self.world.turn.finish();
        self.world.settle();
    }

    /// The other server says something over this stream. Nothing is committed.
    pub(crate) fn says_more(&mut self, bound: &Bound, text: &str) {
        let mut scratch = Scratch::default();
        let limits = xmlstream::Limits::default();
        let read = xmlstream::parse_element(text, "jabber:server", &mut scratch, &limits).expect("well-formed");
        let stanza = Stanza::read_in(read, "jabber:server").ok().flatten().expect("a stanza");
        let (from, to) = (stanza.from().expect("from"), stanza.to().expect("to"));
        let now = self.world.now();
        let router = Arc::clone(&self.world.router);
        router.from_remote(now, bound, &stanza, from, to, &mut self.world.turn);
        self.world.turn.finish();
    }

    /// The same, and it is done.
    pub(crate) fn says(&mut self, bound: &Bound, text: &str) {
        self.says_more(bound, text);
        self.world.settle();
    }

    /// It wants to go on with the stream of this id, over a new one.
    pub(crate) fn goes_on(&mut self, id: &str) -> Result<Resumed, NotResumed> {
        self.outbox = Outbox::new(OUTBOX);
        let request = ResumeRemote {
            pair: pair(),
            previd: id.into(),
            h: 0,
            outbox: Arc::clone(&self.outbox),
            way_back: None,
        };
        let (now, router) = (self.world.now(), Arc::clone(&self.world.router));
        router.resume_remote(now, request, &mut self.world.turn);
        self.world.turn.finish();
        self.world.settle();
        match self.outbox.take(Waker::noop(), false).events.pop() {
            Some(Event::Resumed(answer)) => answer,
            _ => panic!("there is no answer"),
        }
    }

    /// It opens a stream.
    pub(crate) fn admitted(&mut self, is_bidirectional: bool) -> Bound {
        self.outbox = Outbox::new(OUTBOX);
        let now = self.world.now();
        let router = Arc::clone(&self.world.router);
        let way_back = is_bidirectional.then(WayBack::default);
        router.admit(now, &pair(), &self.outbox, way_back, &mut self.world.turn);
        self.world.turn.finish();
        let mut events = self.outbox.take(Waker::noop(), false).events;
        match events.pop() {
            Some(Event::Bound(Ok(bound))) => bound,
            _ => panic!("it is not let in"),
        }
    }

    /// Its socket has taken all.
    fn drained(&mut self) {
        let bound = self.bound.clone().expect("a stream");
        let now = self.world.now();
        let router = Arc::clone(&self.world.router);
        router.drained(now, &bound, &mut self.world.turn);
        self.world.turn.finish();
    }

    /// The rules of this server change.
    pub(crate) fn deny(&mut self, is_denied: bool) -> usize {
        self.asked.is_denied.store(is_denied, Ordering::Relaxed);
        let ended = self.world.router.rules_changed(self.world.now());
        self.world.settle();
        ended
    }

    /// It answers a ping, over a stream of its own.
    pub(crate) fn answers(&mut self, number: u32) {
        let outbox = Arc::clone(&self.outbox);
        let bound = self.admitted(false);
        self.outbox = outbox;
        let answer = format!("<iq type='result' id='{}' from='{FAR}' to='{DOMAIN}'/>", ping(number));
        self.says(&bound, &answer);
    }

    pub(crate) fn look(&mut self) {
        let now = self.world.now();
        self.world.router.look_at_links(now);
        self.world.settle();
    }

    pub(crate) fn spooled(&self) -> u64 {
        self.world.router.count_links().spooled
    }

    pub(crate) fn lines(&mut self) -> Vec<String> {
        self.world.lines("juliet/balcony")
    }
}

pub(crate) fn managed() -> Linked {
    Linked {
        is_managed: true,
        resumable: Some(("stream".into(), 300)),
        ..Linked::default()
    }
}

#[test]
fn a_message_waits_on_disk_until_it_is_acknowledged() {
    let mut far = Far::known();
    far.send(&chat(1));
    far.send(&chat(2));
    assert_eq!(far.dialed(), [None], "one stream is made for both");
    assert_eq!(far.spooled(), 2);
    far.up(&managed());
    assert_eq!(
        far.sent(),
        [
            "chat juliet/balcony>romeo@far.example 1",
            "chat juliet/balcony>romeo@far.example 2",
            "r"
        ]
    );
    far.acknowledge(1);
    assert_eq!(far.spooled(), 1);
    assert_eq!(far.sent(), ["r"], "and is asked for the other");
    far.acknowledge(2);
    assert_eq!((far.spooled(), far.sent()), (0, vec![]));
    // What nobody needs is not written down.
    far.world.kill();
    far.federate();
    assert_eq!(far.spooled(), 0);
}

#[test]
fn what_waits_survives_a_crash_and_comes_in_order_before_what_is_new() {
    let mut far = Far::known();
    for number in 0..150 {
        far.send(&chat(number));
    }
    assert_eq!(far.dialed(), [None]);
    far.world.kill();
    far.federate();
    assert_eq!(far.spooled(), 150);
    far.look();
    assert_eq!(far.dialed(), [None]);
    far.world.online(&["juliet/balcony"]);
    far.world.forget();
    far.send(&chat(150));
    far.up(&managed());
    let all: Vec<String> = far.sent();
    let wanted: Vec<String> = (0..=150)
        .map(|n| format!("chat juliet/balcony>romeo@far.example {n}"))
        .collect();
    let heard: Vec<String> = all.into_iter().filter(|line| line != "r").collect();
    assert_eq!(heard, wanted);
}

#[test]
fn a_stream_that_goes_on_brings_nothing_twice_and_one_that_does_not_everything() {
    let mut far = Far::known();
    for (linked, wanted) in [
        (
            Linked {
                resumed: Some(2),
                ..managed()
            },
            vec!["3"],
        ),
        (
            Linked {
                handled: Some(1),
                ..managed()
            },
            vec!["2", "3"],
        ),
        (managed(), vec!["1", "2", "3"]),
        (Linked::default(), vec!["1", "2", "3"]),
    ] {
        (1..=3).for_each(|number| far.send(&chat(number)));
        far.dialed();
        far.up(&managed());
        assert_eq!(far.sent().len(), 4);
        far.broken(false);
        let resume = Resume {
            id: "stream".into(),
            h: 0,
        };
        assert_eq!(far.dialed(), [Some(resume)]);
        far.up(&linked);
        let again: Vec<String> = far.sent();
        let again: Vec<&str> = again
            .iter()
            .filter_map(|line| line.strip_prefix("chat juliet/balcony>romeo@far.example "))
            .collect();
        assert_eq!(again, wanted);
        match linked.is_managed {
            true => far.acknowledge(if linked.resumed.is_some() {
                3
            } else {
                wanted.len() as u32
            }),
            false => {
                let bound = far.admitted(false);
                far.says(
                    &bound,
                    &format!("<iq type='result' id='{}' from='{FAR}' to='{DOMAIN}'/>", ping(1)),
                );
            }
        }
        assert_eq!(far.spooled(), 0);
        if linked.is_managed {
            far.broken(true);
        }
    }
    far.world.nothing_more();
}

#[test]
fn who_cannot_acknowledge_is_asked_by_a_ping_that_only_counts_once() {
    let mut far = Far::known();
    far.send(&chat(1));
    far.up(&Linked::default());
    assert_eq!(
        far.sent(),
        [
            "chat juliet/balcony>romeo@far.example 1".to_owned(),
            format!("get {} d>far.example", ping(1))
        ]
    );
    far.send(&chat(2));
    assert_eq!(
        far.sent(),
        ["chat juliet/balcony>romeo@far.example 2"],
        "one question at a time"
    );
    let bound = far.admitted(false);
    let answer = |number: u32, from: &str| {
        let id = ping(number);
        format!("<iq type='error' id='{id}' from='{from}' to='{DOMAIN}'/>")
    };
    // Of another ping, or of somebody there: no answer.
    for forged in [answer(2, FAR), answer(1, &format!("romeo@{FAR}"))] {
        far.says(&bound, &forged);
        assert_eq!(far.spooled(), 2);
    }
    far.says(&bound, &answer(1, FAR));
    assert_eq!(far.spooled(), 1);
    far.says(&bound, &answer(1, FAR));
    assert_eq!(far.spooled(), 1);
    far.says(&bound, &answer(2, FAR));
    assert_eq!(far.spooled(), 0);
}

#[test]
fn of_a_domain_that_never_was_everybody_hears_at_once_and_once() {
    let mut far = Far::new();
    far.send(&chat(1));
    far.send(&format!(
        "<iq type='get' id='q' to='{FAR}'><ping xmlns='urn:xmpp:ping'/></iq>"
    ));
    far.send(&format!("<presence id='p' to='romeo@{FAR}/a'/>"));
    assert_eq!(far.dialed(), [None]);
    assert_eq!(far.lines(), Vec::<String>::new());
    far.down(FailureKind::NotFound);
    let mut told = far.lines();
    told.sort();
    assert_eq!(
        told,
        [
            "iq error remote-server-not-found far.example>juliet/balcony #q",
            "message error remote-server-not-found romeo@far.example>juliet/balcony #m1",
            "presence error remote-server-not-found romeo@far.example/a>juliet/balcony #p",
        ]
    );
    assert_eq!(far.spooled(), 0);
    // Again at once, without another attempt; and with one later.
    far.send(&chat(2));
    assert_eq!(
        far.lines(),
        ["message error remote-server-not-found romeo@far.example>juliet/balcony #m2"]
    );
    assert_eq!(far.dialed(), []);
    far.world.pass(31);
    far.send(&chat(3));
    assert_eq!(far.dialed(), [None]);
    far.down(FailureKind::Timeout);
    assert_eq!(
        far.lines(),
        ["message error remote-server-timeout romeo@far.example>juliet/balcony #m3"]
    );
    far.world.nothing_more();
}

#[test]
fn a_domain_that_was_there_is_expected_back_until_its_time_is_over() {
    let mut far = Far::known();
    far.send(&chat(1));
    far.send(&format!(
        "<iq type='get' id='q' to='{FAR}'><ping xmlns='urn:xmpp:ping'/></iq>"
    ));
    assert_eq!(far.dialed(), [None]);
    far.down(FailureKind::Timeout);
    assert_eq!(
        far.lines(),
        ["iq error remote-server-timeout far.example>juliet/balcony #q"]
    );
    far.send(&chat(2));
    assert_eq!((far.spooled(), far.lines()), (2, vec![]));
    // It is tried again, less and less often.
    for pause in [10, 20, 40, 80, 100, 100] {
        far.world.pass(pause - 1);
        far.look();
        assert_eq!(far.dialed(), []);
        far.world.pass(1);
        far.look();
        assert_eq!(far.dialed(), [None], "after {pause} s");
        far.down(FailureKind::Timeout);
    }
    far.world.pass(3_600);
    far.look();
    assert_eq!(
        far.lines(),
        [
            "message error remote-server-timeout romeo@far.example>juliet/balcony #m1",
            "message error remote-server-timeout romeo@far.example>juliet/balcony #m2",
        ]
    );
    far.look();
    far.world.nothing_more();
    assert_eq!(far.spooled(), 0);
    far.world.kill();
    far.federate();
    assert_eq!(far.spooled(), 0);
}

#[test]
fn who_has_gone_hears_of_it_when_he_comes_back() {
    let mut far = Far::known();
    far.send(&chat(1));
    far.down(FailureKind::Timeout);
    far.world.leave("juliet/balcony", true);
    far.world.pass(3_601);
    far.look();
    assert_eq!(far.spooled(), 0);
    far.world.connect("juliet/balcony");
    far.send("<presence/>");
    let told: Vec<String> = far.lines().into_iter().filter(|line| line.contains("error")).collect();
    assert_eq!(
        told,
        ["message error remote-server-timeout romeo@far.example>juliet/balcony #m1"]
    );
}

#[test]
fn limits_are_told_to_who_sends() {
    let mut far = Far::known();
    let long = |id: &str| {
        let text = "x".repeat(2_500);
        format!("<iq type='set' id='{id}' to='{FAR}'><query xmlns='urn:test'>{text}</query></iq>")
    };
    far.send(&long("a"));
    far.send(&long("b"));
    assert_eq!(
        far.lines(),
        ["iq error resource-constraint far.example>juliet/balcony #b"]
    );
    for number in 0..300 {
        far.send(&chat(number));
    }
    far.world.nothing_more();
    far.send(&chat(300));
    assert_eq!(
        far.lines(),
        ["message error resource-constraint romeo@far.example>juliet/balcony #m300"]
    );
    // All of it gets there.
    far.up(&managed());
    let mut heard = 0;
    for _ in 0..2 {
        heard += far.sent().into_iter().filter(|line| line.starts_with("chat")).count();
        far.drained();
    }
    assert_eq!(heard, 300);
}

#[test]
fn requests_that_were_on_their_way_are_not_sent_again() {
    let mut far = Far::known();
    far.send(&format!(
        "<iq type='set' id='q' to='{FAR}'><query xmlns='urn:test'/></iq>"
    ));
    far.send(&format!("<presence id='p' to='romeo@{FAR}/a'/>"));
    far.up(&managed());
    assert_eq!(far.sent().len(), 3);
    far.broken(false);
    far.up(&managed());
    // Whether she is still seen there is not known.
    assert_eq!(
        far.lines(),
        [
            "iq error remote-server-timeout far.example>juliet/balcony #q",
            "unavailable romeo@far.example/a>juliet/balcony",
        ]
    );
    assert_eq!(far.sent(), ["available juliet/balcony>romeo@far.example/a", "r"]);
}

#[test]
fn a_stream_without_an_answer_is_given_up_where_the_peer_acknowledges() {
    let mut far = Far::known();
    far.send(&chat(1));
    far.up(&managed());
    far.world.pass(59);
    far.look();
    assert_eq!(far.events(), Vec::<String>::new());
    far.world.pass(1);
    far.look();
    assert_eq!(far.events(), ["end connection-timeout"]);
    far.broken(false);
    far.dialed();
    // Where it cannot, what the connection took is all that will be known.
    far.up(&Linked::default());
    assert_eq!(far.spooled(), 1);
    assert_eq!(far.sent().len(), 2);
    far.world.pass(60);
    far.look();
    assert_eq!((far.spooled(), far.events()), (0, vec![]));
    // But not of what waits in our own outbox, nor where it has answered before.
    far.send(&chat(2));
    far.world.pass(60);
    far.look();
    assert_eq!(
        (far.spooled(), far.events()),
        (1, vec!["end connection-timeout".to_owned()])
    );
    far.broken(false);
    far.up(&Linked::default());
    assert!(far.sent().contains(&format!("get {} d>far.example", ping(3))));
    let bound = far.admitted(false);
    far.says(
        &bound,
        &format!("<iq type='result' id='{}' from='{FAR}' to='{DOMAIN}'/>", ping(3)),
    );
    assert_eq!(far.spooled(), 0);
    far.broken(true);
    far.send(&chat(3));
    far.up(&Linked::default());
    assert_eq!(far.sent().len(), 2);
    far.world.pass(60);
    far.look();
    assert_eq!(
        (far.spooled(), far.events()),
        (1, vec!["end connection-timeout".to_owned()])
    );
}

#[test]
fn who_knows_less_than_it_has_acknowledged_gets_all_again() {
    let mut far = Far::known();
    for linked in [
        Linked {
            handled: Some(1),
            ..managed()
        },
        Linked {
            handled: Some(0),
            ..managed()
        },
    ] {
        far.send(&chat(1));
        far.send(&chat(2));
        far.up(&managed());
        far.acknowledge(2);
        far.send(&chat(3));
        assert_eq!(far.spooled(), 1);
        far.broken(false);
        far.up(&linked);
        let again = far.sent();
        assert!(
            again.contains(&"chat juliet/balcony>romeo@far.example 3".to_owned()),
            "{again:?}"
        );
        assert_eq!(far.spooled(), 1);
        far.acknowledge(1);
        assert_eq!(far.spooled(), 0);
        far.broken(true);
    }
}

#[test]
fn what_is_sent_again_after_it_was_given_up_goes_out() {
    let mut far = Far::new();
    let message = format!(
        "<message type='chat' id='0123456789abcdef' to='romeo@{FAR}'><body>hi</body>\
         <origin-id xmlns='urn:xmpp:sid:0' id='0123456789abcdef'/></message>"
    );
    far.send(&message);
    far.down(FailureKind::Timeout);
    assert_eq!(far.lines().len(), 1);
    far.world.pass(31);
    far.send(&message);
    far.up(&managed());
    assert_eq!(far.sent(), ["chat juliet/balcony>romeo@far.example hi", "r"]);
}

#[test]
fn domains_that_never_were_are_forgotten() {
    let mut far = Far::new();
    far.send(&chat(1));
    far.down(FailureKind::NotFound);
    assert_eq!(far.world.router.link_report(FAR).len(), 1);
    for _ in 0..2 {
        far.world.pass(101);
        far.look();
    }
    assert_eq!(far.world.router.link_report(FAR).len(), 0);
    far.world.kill();
    far.federate();
    assert_eq!(far.world.router.link_report(FAR).len(), 0);
}

#[test]
fn the_policy_is_asked_before_anything_else() {
    let mut far = Far::new();
    far.send("<message type='chat' id='m' to='eve@refused.example'><body>hi</body></message>");
    assert_eq!(
        far.lines(),
        ["message error not-allowed eve@refused.example>juliet/balcony #m"]
    );
    assert_eq!((far.dialed(), far.spooled()), (vec![], 0));
}

#[test]
fn what_comes_in_goes_the_way_of_all_and_answers_go_back() {
    let mut far = Far::known();
    let bound = far.admitted(true);
    far.says(
        &bound,
        &format!("<message type='chat' from='romeo@{FAR}/a' to='juliet@{DOMAIN}'><body>hello</body></message>"),
    );
    assert_eq!(far.lines(), ["chat romeo@far.example/a>juliet hello"]);
    far.says(
        &bound,
        &format!("<message type='chat' id='x' from='romeo@{FAR}/a' to='nobody@{DOMAIN}'><body>hello</body></message>"),
    );
    // Over the same stream, as it goes both ways.
    assert_eq!(
        far.sent(),
        ["message error service-unavailable nobody>romeo@far.example/a #x"]
    );
    assert_eq!(far.dialed(), []);
}

#[test]
fn a_stream_of_theirs_goes_on_where_it_was() {
    let mut far = Far::known();
    let bound = far.admitted(false);
    let now = far.world.now();
    let router = Arc::clone(&far.world.router);
    let request = jackdaw_router::EnableRequest {
        resume: true,
        max: None,
        random: [7; jackdaw_router::STREAM_ID_BYTES],
    };
    assert!(router.enable(now, &bound, &request, &mut far.world.turn));
    far.world.settle();
    let hello = |id: &str| {
        format!("<message type='chat' id='{id}' from='romeo@{FAR}/a' to='juliet@{DOMAIN}'><body>{id}</body></message>")
    };
    far.outbox.take(Waker::noop(), true);
    far.says(&bound, &hello("one"));
    far.says(&bound, &hello("two"));
    assert_eq!(far.lines().len(), 2);
    far.bound = Some(bound);
    far.broken(false);
    let id = "07".repeat(jackdaw_router::STREAM_ID_BYTES);
    assert!(matches!(far.goes_on("another"), Err(NotResumed::NotFound { h: None })));
    assert_eq!(far.goes_on(&id).expect("it goes on").h, 2);
}
