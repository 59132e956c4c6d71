//! Streams that go on with another connection, and sessions that end without (XEP-0198 section 5, guarantee G5).

use jackdaw_router::NotResumed;
use store::StoreError;

use crate::support::{LIMITS, World};

fn world() -> World {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    world.managed(&["juliet/balcony"]);
    world
}

fn chat(world: &mut World, body: &str) {
    chat_from(world, "romeo/orchard", body);
}

fn chat_from(world: &mut World, from: &str, body: &str) {
    let id = body.split(' ').next().unwrap_or_default();
    world.send(
        from,
        &format!("<message type='chat' id='m{id}' to='juliet@d'><body>{body}</body></message>"),
    );
}

fn chats(stanzas: &[minidom::Element]) -> Vec<String> {
    let lines = stanzas.iter().map(crate::support::line);
    lines
        .filter(|line| line.starts_with("chat"))
        .map(|line| line.split(' ').nth(2).unwrap_or_default().to_owned())
        .collect()
}

/// Whatever is not acknowledged, written or not, comes again in order and with the id that it had.
#[test]
fn what_was_not_acknowledged_comes_again() {
    let mut world = world();
    world.stream("juliet/balcony").is_mute = true;
    chat(&mut world, "1");
    let first = crate::support::stanza_id(&world.read("juliet/balcony")[0]);
    assert!(first.is_some());
    let mut stream = world.detach("juliet/balcony");
    // It was lost on the way.
    stream.got -= 1;
    chat(&mut world, "2");
    world.send(
        "romeo/orchard",
        "<message type='chat' id='m3' to='juliet@d/balcony'><body>3</body></message>",
    );
    world.settle();
    assert_eq!(world.stored_messages("juliet").len(), 3);
    stream.is_mute = false;
    world.resume("juliet/balcony", stream).expect("it goes on");
    chat(&mut world, "4");
    let read = world.read("juliet/balcony");
    let lines: Vec<String> = read.iter().map(crate::support::line).collect();
    assert_eq!(
        lines,
        [
            "chat romeo/orchard>juliet 1",
            "chat romeo/orchard>juliet 2",
            "chat romeo/orchard>juliet/balcony 3",
            "chat romeo/orchard>juliet 4"
        ]
    );
    assert_eq!(crate::support::stanza_id(&read[0]), first);
    world.nothing_more();
    assert!(world.stored_messages("juliet").is_empty(), "all is acknowledged");
    let last = world.kept("juliet", store::View::Waiting).last().expect("four").id;
    assert_eq!(world.cursor("juliet"), last);
}

/// What comes while the connection closes, before the stream waits to be resumed, is given to the one that resumes it:
/// presence, which comes only once; what is said in a room goes the same way.
#[test]
fn what_comes_while_the_connection_closes() {
    let mut world = world();
    world.forget();
    world.stop();
    world.taken("juliet/balcony");
    world.send(
        "romeo/orchard",
        "<presence to='juliet@d/balcony'><status>here</status></presence>",
    );
    chat(&mut world, "1");
    world.settle();
    let stream = world.detach("juliet/balcony");
    world.resume("juliet/balcony", stream).expect("it goes on");
    world.expect_all(
        "juliet/balcony",
        &[
            "available romeo/orchard>juliet/balcony here",
            "chat romeo/orchard>juliet 1 (delayed)",
        ],
    );
}

/// What stands before `<enabled/>` is counted by nobody: where the connection breaks before it was written, it waits for
/// the next as if the stream were not managed (G5). The same where another connection resumes before this one breaks.
#[test]
fn what_was_not_written_before_enabled() {
    for first in ["break", "resume"] {
        let mut world = World::new(&["romeo", "juliet"]);
        // Without carbons: what another device has is not delivered anew.
        world.online(&["romeo/orchard", "juliet/balcony"]);
        world.connect("juliet/chamber");
        world.clients.get_mut("juliet/chamber").expect("connected").reads = false;
        world.enable("juliet/chamber", true);
        world.send(
            "romeo/orchard",
            "<message type='chat' to='juliet@d/chamber'><body>1</body></message>",
        );
        world.settle();
        world.send(
            "romeo/orchard",
            "<message type='chat' to='juliet@d/chamber'><body>2</body></message>",
        );
        world.settle();
        let mut client = world.clients.remove("juliet/chamber").expect("connected");
        let mut stream = client.stream.take().expect("a managed stream");
        let taken = client.outbox.take(std::task::Waker::noop(), false);
        assert!(taken.bytes.is_empty());
        let resumable = "01".repeat(20);
        (stream.enabled, stream.id) = (true, Some(resumable));
        if first == "resume" {
            world.resume("juliet/chamber", stream).expect("it goes on");
            world.end(&client, false);
        } else {
            let again = world.end(&client, false);
            assert_eq!(again.len(), 1, "what is counted is remembered: {again:?}");
            world.resume("juliet/chamber", stream).expect("it goes on");
        }
        world.settle();
        let mut chats: Vec<String> = ["juliet/balcony", "juliet/chamber"]
            .into_iter()
            .flat_map(|name| chats(&world.read(name)))
            .filter(|chat| ["1", "2"].contains(&chat.as_str()))
            .collect();
        chats.sort();
        assert_eq!(chats, ["1", "2"], "{first}");
    }
}

/// Contacts do not hear of it, and the session keeps what it had asked for.
#[test]
fn the_session_is_the_same() {
    let mut world = world();
    world.befriend("romeo/orchard", "juliet/balcony");
    let stream = world.detach("juliet/balcony");
    world.send("romeo/orchard", "<presence><status>1</status></presence>");
    world.send("romeo/orchard", "<presence><status>2</status></presence>");
    world.expect(
        "romeo/orchard",
        &[
            "available romeo/orchard>romeo/orchard 1",
            "available romeo/orchard>romeo/orchard 2",
        ],
    );
    world.resume("juliet/balcony", stream).expect("it goes on");
    world.expect("juliet/balcony", &["available romeo/orchard>juliet 2"]);
    world.online(&["juliet/chamber"]);
    world.forget();
    world.send(
        "romeo/orchard",
        "<message type='chat' to='juliet@d/chamber'><body>x</body></message>",
    );
    world.expect("juliet/balcony", &["received [chat romeo/orchard>juliet/chamber x]"]);
}

/// Section 5: the old connection, if it is still there, ends with `conflict`, and takes nothing along.
#[test]
fn over_a_connection_that_is_still_there() {
    let mut world = world();
    world.stream("juliet/balcony").is_mute = true;
    chat(&mut world, "1");
    world.store.settle();
    // It has not read it.
    let stream = world.stream("juliet/balcony").clone();
    let old = world.clients.remove("juliet/balcony").expect("online");
    world.resume("juliet/balcony", stream).expect("it goes on");
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet 1"]);
    world.clients.insert("old".into(), old);
    assert_eq!(world.lines("old"), ["end conflict"]);
    assert!(world.leave("old", false).is_empty());
    chat(&mut world, "2");
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet 2"]);
    assert_eq!(world.router.count_sessions(), 2);
}

/// What the old connection still reads when the stream has gone on elsewhere is not handled: it is not counted, so the
/// client sends it again.
#[test]
fn what_comes_by_the_old_connection() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.managed(&["romeo/orchard"]);
    world.online(&["juliet/balcony"]);
    let stream = world.stream("romeo/orchard").clone();
    let old = world.clients.remove("romeo/orchard").expect("online");
    world.resume("romeo/orchard", stream).expect("it goes on");
    world.clients.insert("old".into(), old);
    chat_from(&mut world, "old", "1");
    chat_from(&mut world, "romeo/orchard", "1");
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet 1"]);
}

/// What is on its way to the disk is counted: the client hears of it in `<resumed/>`, and does not send it again.
#[test]
fn while_something_is_on_its_way() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.managed(&["romeo/orchard"]);
    world.online(&["juliet/balcony"]);
    let before = world.h("romeo/orchard");
    chat(&mut world, "1");
    chat(&mut world, "2");
    let stream = world.detach("romeo/orchard");
    world.resume("romeo/orchard", stream).expect("it goes on");
    assert_eq!(world.stream("romeo/orchard").acknowledged, before + 2);
    chat(&mut world, "3");
    world.expect(
        "juliet/balcony",
        &[
            "chat romeo/orchard>juliet 1",
            "chat romeo/orchard>juliet 2",
            "chat romeo/orchard>juliet 3",
        ],
    );
    assert_eq!(world.h("romeo/orchard"), before + 3);
}

/// An id that nobody has, one of somebody else, one that has ended well, and too much acknowledged.
#[test]
fn what_does_not_go_on() {
    let mut world = world();
    let stream = world.detach("juliet/balcony");
    let mut other = stream.clone();
    other.id = Some("00".repeat(20));
    assert_eq!(
        world.resume("juliet/balcony", other).err(),
        Some(NotResumed::NotFound { h: None })
    );
    assert_eq!(
        world.resume("romeo/orchard2", stream.clone()).err(),
        Some(NotResumed::NotFound { h: None }),
        "somebody else's"
    );
    let mut high = stream.clone();
    high.got += 1;
    assert!(matches!(
        world.resume("juliet/balcony", high),
        Err(NotResumed::TooHigh(_))
    ));
    // It is still there.
    world.resume("juliet/balcony", stream).expect("it goes on");
    let stream = world.stream("juliet/balcony").clone();
    world.leave("juliet/balcony", true);
    assert_eq!(
        world.resume("juliet/balcony", stream).err(),
        Some(NotResumed::NotFound { h: None })
    );
}

/// Nobody comes in time: what was not acknowledged waits, and is given to the next.
#[test]
fn a_session_that_nobody_resumes() {
    let mut world = world();
    world.befriend("romeo/orchard", "juliet/balcony");
    world.stream("juliet/balcony").is_mute = true;
    chat(&mut world, "1");
    world.forget();
    let stream = world.detach("juliet/balcony");
    chat(&mut world, "2");
    world.settle();
    world.pass(i64::from(LIMITS.resume_seconds) - 2);
    world.router.tend(world.now());
    world.nothing_more();
    world.pass(4);
    world.router.tend(world.now());
    world.expect("romeo/orchard", &["unavailable juliet/balcony>romeo"]);
    assert_eq!(world.router.count_sessions(), 1);
    // Both: the client that had the first does not say so any more.
    assert_eq!(world.stored_messages("juliet").len(), 2);
    let h = stream.sent;
    assert_eq!(
        world.resume("juliet/balcony", stream).err(),
        Some(NotResumed::NotFound { h: Some(h) }),
        "it is told how much was handled"
    );
    world.managed(&["juliet/chamber"]);
    assert!(world.stored_messages("juliet").is_empty());
}

/// A clock that is put right, by seconds either way, is no time that has passed.
#[test]
fn a_clock_that_jumps_ends_no_session_and_keeps_none() {
    for by in [2 * 86_400, 3_600, 60, -60, -3_600, -2 * 86_400] {
        let mut world = world();
        let stream = world.detach("juliet/balcony");
        world.pass(5);
        let expected = world.now();
        world.pass(by);
        assert!(world.router.clock_was_set(world.now(), expected), "{by}");
        assert!(!world.router.clock_was_set(world.now(), world.now()));
        world.router.tend(world.now());
        world.settle();
        world.resume("juliet/balcony", stream).expect("it goes on");

        let stream = world.detach("juliet/balcony");
        world.pass(i64::from(LIMITS.resume_seconds) + 1);
        world.router.tend(world.now());
        world.settle();
        assert!(world.resume("juliet/balcony", stream).is_err(), "{by}");
    }
}

/// As in one's pocket and on one's desk: both have it, and when both have gone it waits once.
#[test]
fn two_sessions_end_one_after_the_other() {
    for (first, second) in [("juliet/a", "juliet/b"), ("juliet/b", "juliet/a")] {
        let mut world = World::new(&["romeo", "juliet"]);
        world.online(&["romeo/orchard"]);
        world.managed(&["juliet/a", "juliet/b"]);
        world.send("juliet/b", "<presence><priority>-1</priority></presence>");
        world.forget();
        for name in [first, second] {
            world.stream(name).is_mute = true;
        }
        world.detach(first);
        chat(&mut world, "1");
        chat(&mut world, "2");
        world.settle();
        world.detach(second);
        world.pass(i64::from(LIMITS.resume_seconds) + 2);
        world.router.tend(world.now());
        world.settle();
        assert_eq!(world.router.count_sessions(), 1);
        assert_eq!(world.stored_messages("juliet").len(), 2);
        world.connect("juliet/c");
        world.send("juliet/c", "<presence/>");
        world.expect(
            "juliet/c",
            &[
                "available juliet/c>juliet/c",
                "chat romeo/orchard>juliet 1 (delayed)",
                "chat romeo/orchard>juliet 2 (delayed)",
            ],
        );
        assert!(world.stored_messages("juliet").is_empty());
    }
}

/// One of two has acknowledged it: it does not wait for the other's sake.
#[test]
fn what_one_has_acknowledged_does_not_wait() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    world.managed(&["juliet/a", "juliet/b"]);
    let stream = world.detach("juliet/b");
    chat(&mut world, "1");
    world.expect("juliet/a", &["chat romeo/orchard>juliet 1"]);
    assert!(world.stored_messages("juliet").is_empty());
    // The other has it all the same.
    world.resume("juliet/b", stream).expect("it goes on");
    world.expect("juliet/b", &["chat romeo/orchard>juliet 1"]);
}

/// A client that never acknowledges: it is given up at the limit and served as any other.
#[test]
fn a_client_that_never_acknowledges() {
    let mut world = world();
    world.stream("juliet/balcony").is_mute = true;
    let count = 10_100;
    for number in 0..count {
        chat(&mut world, &number.to_string());
        if number % 50 == 0 {
            world.settle();
        }
    }
    assert_eq!(world.lines("juliet/balcony").len(), count);
    // The last ones were written and are not acknowledged, as with any client that does not manage its stream.
    let stream = world.stream("juliet/balcony").clone();
    world.clients.get_mut("juliet/balcony").expect("online").reads = false;
    chat(&mut world, "unread");
    world.settle();
    world.leave("juliet/balcony", false);
    assert!(matches!(
        world.resume("juliet/balcony", stream),
        Err(NotResumed::NotFound { .. })
    ));
    world.connect("juliet/chamber");
    world.send("juliet/chamber", "<presence/>");
    let read = chats(&world.read("juliet/chamber"));
    assert!(
        read.contains(&"unread".to_owned()),
        "{} were delivered anew, but not the one that was never written",
        read.len()
    );
}

/// A session whose client reads nothing ends, and what is for it is written when the stream goes on.
#[test]
fn a_slow_reader_can_resume() {
    let mut world = world();
    world.clients.get_mut("juliet/balcony").expect("online").reads = false;
    let text = "x".repeat(10_000);
    for number in 0..20 {
        chat(&mut world, &format!("{number} {text}"));
    }
    world.settle();
    let stream = world.detach("juliet/balcony");
    world.resume("juliet/balcony", stream).expect("it goes on");
    let expected: Vec<String> = (0..20).map(|number| number.to_string()).collect();
    assert_eq!(chats(&world.read("juliet/balcony")), expected);
    assert!(world.stored_messages("juliet").is_empty());
}

/// What waits already goes before what comes while a stream is being resumed.
#[test]
fn nothing_overtakes_a_resumption() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    let text = "x".repeat(10_000);
    for number in 0..20 {
        chat(&mut world, &format!("{number} {text}"));
    }
    world.settle();
    // She is in the middle of what waits when her connection breaks.
    world.connect("juliet/balcony");
    world.enable("juliet/balcony", true);
    world.store.settle();
    world.pump("juliet/balcony");
    world.stream("juliet/balcony").is_mute = true;
    world.send("juliet/balcony", "<presence/>");
    for _ in 0..3 {
        world.store.settle();
        world.pump("juliet/balcony");
    }
    let read = chats(&world.taken("juliet/balcony"));
    assert!((6..15).contains(&read.len()), "{read:?}");
    let mut stream = world.detach("juliet/balcony");
    // All of it was lost on the way.
    (stream.got, stream.is_mute) = (0, false);
    world.resume("juliet/balcony", stream).expect("it goes on");
    chat(&mut world, "20 live");
    let expected: Vec<String> = (0..=20).map(|number| number.to_string()).collect();
    assert_eq!(chats(&world.read("juliet/balcony")), expected);
}

/// A resumed stream that cannot be filled ends, and stays resumable: nothing is lost.
#[test]
fn a_page_that_cannot_be_read() {
    let mut world = world();
    let stream = world.detach("juliet/balcony");
    chat(&mut world, "1");
    world.settle();
    let outbox = world.resumption("juliet/balcony", &stream);
    world.store.fail_reads(1, StoreError::Io("test".into()));
    world.resumed("juliet/balcony", &outbox, stream).expect("it goes on");
    world.expect("juliet/balcony", &["end internal-server-error"]);
    let stream = world.detach("juliet/balcony");
    world.resume("juliet/balcony", stream).expect("it goes on");
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet 1"]);
}

/// What is not kept has a copy in memory: it comes with the stream, or goes the way of the undelivered.
#[test]
fn what_is_not_kept_is_not_lost() {
    for resumes in [true, false] {
        let mut world = World::without_archives(&["romeo", "juliet"]);
        world.online(&["romeo/orchard"]);
        world.managed(&["juliet/balcony"]);
        world.send("juliet/balcony", "<presence to='romeo@d/orchard'/>");
        world.forget();
        let stream = world.detach("juliet/balcony");
        chat(&mut world, "1");
        world.send(
            "romeo/orchard",
            "<iq type='get' id='p' to='juliet@d/balcony'><ping xmlns='urn:xmpp:ping'/></iq>",
        );
        world.nothing_more();
        if resumes {
            world.resume("juliet/balcony", stream).expect("it goes on");
            world.expect(
                "juliet/balcony",
                &["chat romeo/orchard>juliet 1", "get p romeo/orchard>juliet/balcony"],
            );
            continue;
        }
        world.pass(i64::from(LIMITS.resume_seconds) + 2);
        world.router.tend(world.now());
        world.expect(
            "romeo/orchard",
            &[
                "unavailable juliet/balcony>romeo/orchard",
                "iq error service-unavailable juliet/balcony>romeo/orchard #p",
            ],
        );
        assert_eq!(world.stored_messages("juliet").len(), 1);
    }
}

/// Too much of it: what was never written is not thrown away.
#[test]
fn too_much_that_is_not_kept_is_not_lost() {
    let mut world = World::without_archives(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    world.managed(&["juliet/balcony"]);
    world.detach("juliet/balcony");
    let text = "x".repeat(10_000);
    for number in 0..10 {
        chat(&mut world, &format!("{number} {text}"));
        world.settle();
    }
    world.router.tend(world.now());
    world.pass(i64::from(LIMITS.resume_seconds) + 2);
    world.router.tend(world.now());
    world.settle();
    let errors = world.lines("romeo/orchard").len();
    assert_eq!(world.stored_messages("juliet").len() + errors, 10);
}

/// The resource is bound anew, as by a client that has lost its memory: what only the old session had is not lost.
#[test]
fn what_is_not_kept_survives_a_new_binding() {
    for is_there in [false, true] {
        let mut world = World::without_archives(&["romeo", "juliet"]);
        world.online(&["romeo/orchard"]);
        world.managed(&["juliet/balcony"]);
        world.send("juliet/balcony", "<presence to='romeo@d/orchard'/>");
        world.forget();
        if is_there {
            world.clients.get_mut("juliet/balcony").expect("online").reads = false;
        } else {
            world.detach("juliet/balcony");
        }
        chat(&mut world, "1");
        world.send(
            "romeo/orchard",
            "<iq type='get' id='p' to='juliet@d/balcony'><ping xmlns='urn:xmpp:ping'/></iq>",
        );
        world.settle();
        let old = world.clients.remove("juliet/balcony");
        world.connect("juliet/balcony");
        if let Some(old) = old {
            world.clients.insert("old".into(), old);
            world.leave("old", false);
        }
        world.send("juliet/balcony", "<presence/>");
        let read = chats(&world.read("juliet/balcony"));
        assert_eq!(read, ["1"], "it had a connection: {is_there}");
        world.expect(
            "romeo/orchard",
            &[
                "unavailable juliet/balcony>romeo/orchard",
                "iq error service-unavailable juliet/balcony>romeo/orchard #p",
            ],
        );
    }
}
