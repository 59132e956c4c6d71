//! What a session is told at its beginning, and that it is so: each attribute of the first response (XEP-0124 section 7.2)
//! at its edge, in time that is told.

use std::mem::ManuallyDrop;

use super::*;
use crate::bosh::{agree, request};

const INACTIVITY: Duration = Duration::from_secs(60);
const STREAM: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' \
                      from='a'><stream:features/>";
const PAYLOAD: &str = "<presence/>";

/// A session of a client whose connections never break.
struct World {
    session: &'static Session,
    now: Instant,
    rid: u64,
}

type Asked = Result<ManuallyDrop<Ticket<'static>>, Condition>;

impl World {
    /// A session whose first request has these attributes, and is answered with features.
    fn new(attributes: &str) -> World {
        let request = read(&format!("rid='1' {attributes}"), "");
        let now = Instant::now();
        let terms = agree(&request, INACTIVITY, true, 1_000_000);
        let session = Session::new(terms, 1, None, String::new(), now);
        let mut world = World {
            session: Box::leak(Box::new(session)),
            now,
            rid: 1,
        };
        let first = waits(world.session.begin(request, now)).expect("the first request");
        world.stream_reads();
        world.stream_writes(STREAM);
        assert!(world.response(&first).expect("the first response").contains("features"));
        world
    }

    fn after(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// Another request.
    fn ask(&mut self, attributes: &str, payload: &str) -> Asked {
        self.rid += 1;
        self.ask_again(attributes, payload)
    }

    fn ask_again(&mut self, attributes: &str, payload: &str) -> Asked {
        let rid = self.rid;
        let request = read(&format!("sid='s' rid='{rid}' {attributes}"), payload);
        waits(self.session.arrive(request, self.now))
    }

    fn stream_reads(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut space = [0; 4096];
        while self
            .session
            .poll_read(&mut context, &mut ReadBuf::new(&mut space))
            .is_ready()
        {}
    }

    fn stream_writes(&mut self, text: &str) {
        let taken = self.session.try_write(text.as_bytes(), &mut Scratch::default());
        assert_eq!(taken.ok(), Some(text.len()));
    }

    /// What a request is answered with, if it is.
    fn response(&self, ticket: &Ticket<'_>) -> Option<String> {
        let bytes = self.session.look(ticket, self.now).ok()?;
        Some(String::from_utf8(bytes.to_vec()).expect("text"))
    }
}

fn read(attributes: &str, payload: &str) -> Request {
    let text = format!("<body {attributes} xmlns='{HTTP_BIND}'>{payload}</body>");
    let limits = xmlstream::Limits::default();
    request::read(text.as_bytes(), &mut Scratch::default(), &limits).expect("a request")
}

fn waits(arrival: Arrival<'static>) -> Asked {
    match arrival {
        Arrival::Waits(ticket) => Ok(ManuallyDrop::new(ticket)),
        Arrival::Refused(condition) => Err(condition),
        Arrival::Answered(_) => panic!("it was answered before"),
    }
}

/// Section 11: as many as `requests` tells may be unanswered, and one more to pause or to terminate.
#[test]
fn requests() {
    let check = |attributes: &str, told: usize, last: (&str, &str), expected: Option<Condition>| {
        let mut world = World::new(attributes);
        assert_eq!(world.session.terms.requests, told, "{attributes}");
        for number in 0..told {
            let asked = world.ask("", PAYLOAD);
            assert!(asked.is_ok(), "{attributes}: request {number} of {told}");
        }
        let asked = world.ask(last.0, last.1);
        assert_eq!(asked.err(), expected, "{attributes}, {last:?}");
    };
    for (attributes, told) in [
        ("wait='60' hold='1'", 2),
        ("wait='60' hold='2'", 3),
        ("wait='60' hold='9'", 3),
        ("", 2),
        ("wait='0' hold='1'", 1),
        ("wait='60' hold='0'", 1),
    ] {
        check(attributes, told, ("", PAYLOAD), Some(Condition::PolicyViolation));
        check(attributes, told, ("pause='60'", ""), None);
        check(attributes, told, ("type='terminate'", PAYLOAD), None);
    }
}

/// Section 14.2: the window of ids is as large.
#[test]
fn window() {
    for (attributes, told) in [("wait='60' hold='1'", 2), ("wait='60' hold='2'", 3)] {
        for (ahead, expected) in [(told, None), (told + 1, Some(Condition::ItemNotFound))] {
            let mut world = World::new(attributes);
            world.rid += ahead - 1;
            assert_eq!(world.ask("", PAYLOAD).err(), expected, "{attributes}: {ahead} ahead");
        }
    }
}

/// Section 8: no more are kept waiting than `hold` tells.
#[test]
fn hold() {
    for (attributes, held) in [
        ("wait='60' hold='1'", 1),
        ("wait='60' hold='2'", 2),
        ("wait='60' hold='9'", 2),
        ("wait='60' hold='0'", 0),
        ("wait='0' hold='2'", 0),
    ] {
        let mut world = World::new(attributes);
        assert_eq!(world.session.terms.hold, held, "{attributes}");
        let mut asked = Vec::new();
        for _ in 0..held {
            asked.push(world.ask("", PAYLOAD).expect("it is held"));
            world.stream_reads();
        }
        for ticket in &asked {
            assert_eq!(world.response(ticket), None, "{attributes}");
        }
        asked.push(world.ask("", PAYLOAD).expect("one more lets the first go"));
        world.stream_reads();
        let first = world.response(&asked[0]).expect("it is let go");
        assert!(first.ends_with("/>"), "{first}");
        for ticket in &asked[1..] {
            assert_eq!(world.response(ticket), None, "{attributes}");
        }
    }
}

/// Section 8: nothing is kept waiting for longer than `wait` tells.
#[test]
fn wait() {
    for (wanted, told) in [("1", 1), ("60", 60), ("600", 60), ("18446744073709551615", 60)] {
        let mut world = World::new(&format!("wait='{wanted}' hold='1'"));
        assert_eq!(world.session.terms.wait.as_secs(), told);
        let asked = world.ask("", "").expect("it is held");
        world.stream_reads();
        world.after(told * 1000 - 1);
        assert_eq!(world.response(&asked), None, "{wanted}");
        world.after(1);
        assert!(world.response(&asked).is_some(), "{wanted}");
    }
}

/// Section 10: a session without a request lasts as long as `inactivity` tells, or the pause that was asked for.
#[test]
fn inactivity() {
    let ends_after = |world: &mut World, seconds: u64, what: &str| {
        world.after(seconds * 1000 - 1);
        assert!(!world.session.expire(world.now), "{what}: too early");
        world.after(1);
        assert!(world.session.expire(world.now), "{what}: too late");
        assert_eq!(world.ask("", "").err(), Some(Condition::ItemNotFound), "{what}");
    };
    for (attributes, told) in [
        ("wait='60' hold='1'", 60),
        ("wait='0' hold='1'", 75),
        ("wait='60' hold='0'", 75),
    ] {
        let mut world = World::new(attributes);
        assert_eq!(world.session.terms.inactivity.as_secs(), told);
        ends_after(&mut world, told, attributes);
    }
    // Not while a request is held; its time begins with the response.
    let mut world = World::new("wait='60' hold='1'");
    world.after(50_000);
    let asked = world.ask("", "").expect("it is held");
    world.stream_reads();
    world.after(59_000);
    assert!(!world.session.expire(world.now));
    world.stream_writes("<message/>");
    assert!(world.response(&asked).is_some());
    ends_after(&mut world, 60, "behind a response");
    for (pause, lasts) in [("120", 120), ("10", 10)] {
        let mut world = World::new("wait='60' hold='1'");
        assert!(world.ask(&format!("pause='{pause}'"), "").is_ok());
        ends_after(&mut world, lasts, "a pause");
        // The next request ends it.
        let mut world = World::new("wait='60' hold='1'");
        assert!(world.ask(&format!("pause='{pause}'"), "").is_ok());
        let asked = world.ask("", PAYLOAD).expect("it is back");
        world.stream_reads();
        world.stream_writes("<message/>");
        assert!(world.response(&asked).is_some());
        ends_after(&mut world, 60, "behind a pause");
    }
    let mut world = World::new("wait='60' hold='1'");
    assert_eq!(world.ask("pause='121'", "").err(), Some(Condition::PolicyViolation));
}

/// Sections 11 and 12: requests without content come no oftener than `polling` tells.
#[test]
fn polling() {
    const SOON: u64 = 4_999;
    const LATE: u64 = 5_000;
    // A client that waits: the second takes the place of the first.
    for (millis, expected) in [
        (0, Some(Condition::PolicyViolation)),
        (SOON, Some(Condition::PolicyViolation)),
        (LATE, None),
    ] {
        let mut world = World::new("wait='60' hold='1'");
        assert!(world.ask("", "").is_ok());
        world.stream_reads();
        world.after(millis);
        assert_eq!(world.ask("", "").err(), expected, "after {millis}");
    }
    // One that has something to say may say it at once.
    let mut world = World::new("wait='60' hold='1'");
    assert!(world.ask("", "").is_ok());
    world.stream_reads();
    assert!(world.ask("", PAYLOAD).is_ok());

    // A client that polls: (what the first carries, what it is answered with, time between, whether that is too soon)
    for (payload, answer, millis, is_too_soon) in [
        ("", "", SOON, true),
        ("", "", LATE, false),
        ("", "<message xmlns='jabber:client'/>", 0, false),
        (PAYLOAD, "", 0, false),
    ] {
        for attributes in ["wait='0' hold='1'", "wait='60' hold='0'"] {
            let mut world = World::new(attributes);
            if !answer.is_empty() {
                // It has waited for a request.
                let refused = world.session.try_write(answer.as_bytes(), &mut Scratch::default());
                assert_eq!(refused.map_err(|error| error.kind()), Err(io::ErrorKind::WouldBlock));
            }
            let asked = world.ask("", payload).expect("the first");
            world.stream_reads();
            if !answer.is_empty() {
                assert_eq!(world.response(&asked), None);
                world.stream_writes(answer);
            }
            assert!(world.response(&asked).expect("it does not wait").contains(answer));
            world.after(millis);
            let expected = is_too_soon.then_some(Condition::PolicyViolation);
            assert_eq!(
                world.ask("", "").err(),
                expected,
                "{payload:?}, {answer:?}, after {millis}"
            );
        }
    }
}

/// Section 14.3: a request may be asked for again, and not without end: each time it costs its response.
#[test]
fn repetitions() {
    let mut world = World::new("wait='60' hold='1'");
    for _ in 0..2 {
        assert!(world.ask("", PAYLOAD).is_ok());
        for _ in 0..MOST_REPETITIONS {
            assert!(world.ask_again("", PAYLOAD).is_ok());
        }
        world.stream_reads();
    }
    assert_eq!(world.ask_again("", PAYLOAD).err(), Some(Condition::PolicyViolation));
    assert_eq!(
        world.ask("", PAYLOAD).err(),
        Some(Condition::ItemNotFound),
        "it is over"
    );
}
