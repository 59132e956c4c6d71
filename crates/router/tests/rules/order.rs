//! Nothing overtakes a decision that waits for its commit (RFC 6120 section 10.1, guarantee G3).

use store::StoreError;

use crate::support::World;

fn requested() -> World {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard", "juliet/balcony"]);
    world.send("romeo/orchard", "<presence type='subscribe' to='juliet@d'/>");
    world.forget();
    world
}

/// Her approval is not on disk yet when she goes on: what she sends comes after it.
#[test]
fn presence_and_messages_follow_the_approval() {
    let mut world = requested();
    world.send("juliet/balcony", "<presence type='subscribed' to='romeo@d'/>");
    world.send("juliet/balcony", "<presence><show>away</show></presence>");
    world.send(
        "juliet/balcony",
        "<message type='chat' to='romeo@d'><body>hello</body></message>",
    );
    world.send(
        "juliet/balcony",
        "<presence to='romeo@d/orchard'><show>chat</show></presence>",
    );
    world.send("juliet/balcony", "<presence type='unavailable'/>");
    assert!(!world.pump("romeo/orchard"), "nothing has been committed");
    world.expect(
        "romeo/orchard",
        &[
            "subscribed juliet>romeo",
            "push juliet to",
            "available juliet/balcony>romeo",
            "available juliet/balcony>romeo away",
            "chat juliet/balcony>romeo hello",
            "available juliet/balcony>romeo/orchard chat",
            "unavailable juliet/balcony>romeo/orchard",
            "unavailable juliet/balcony>romeo",
        ],
    );
}

/// The end of her stream does not overtake either: no ghost stays behind.
#[test]
fn the_end_follows_the_approval() {
    for clean in [true, false] {
        let mut world = requested();
        world.send("juliet/balcony", "<presence type='subscribed' to='romeo@d'/>");
        world.leave("juliet/balcony", clean);
        let lines = world.lines("romeo/orchard");
        assert_eq!(lines.first().map(String::as_str), Some("subscribed juliet>romeo"));
        assert!(
            lines
                .last()
                .is_some_and(|line| line.starts_with("unavailable juliet/balcony")),
            "{lines:?}"
        );
    }
}

/// At the recipient: what comes later stands behind the push of an earlier change.
#[test]
fn deliveries_follow_the_decision_of_the_account() {
    let mut world = requested();
    world.send(
        "romeo/orchard",
        "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='nurse@d'/></query></iq>",
    );
    for body in ["1", "2"] {
        world.send(
            "juliet/balcony",
            &format!("<message type='chat' to='romeo@d'><body>{body}</body></message>"),
        );
    }
    world.send("juliet/balcony", "<iq type='result' id='x' to='romeo@d/orchard'/>");
    assert!(!world.pump("romeo/orchard"), "all of it waits");
    // Step by step, with something new in between, and still in order.
    let mut body = 3;
    while world.store.step() {
        if body < 6 {
            world.send(
                "juliet/balcony",
                &format!("<message type='chat' to='romeo@d'><body>{body}</body></message>"),
            );
            body += 1;
        }
    }
    world.expect(
        "romeo/orchard",
        &[
            "push nurse none",
            "result s",
            "chat juliet/balcony>romeo 1",
            "chat juliet/balcony>romeo 2",
            "result x",
            "chat juliet/balcony>romeo 3",
            "chat juliet/balcony>romeo 4",
            "chat juliet/balcony>romeo 5",
        ],
    );
}

/// What waits behind a decision is not lost with it, nor when the barrier itself is refused.
#[test]
fn what_waits_survives_a_failure() {
    for failures in 1..5 {
        let mut world = requested();
        world.store.fail_writes(failures, StoreError::Full);
        world.send(
            "romeo/orchard",
            "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='nurse@d'/></query></iq>",
        );
        for body in ["1", "2"] {
            world.send(
                "juliet/balcony",
                &format!("<message type='chat' id='{body}' to='romeo@d'><body>{body}</body></message>"),
            );
        }
        let mut found = world.lines("romeo/orchard");
        found.extend(world.lines("juliet/balcony"));
        // The change fails, and as many of the messages as there are failures left: these are answered.
        let mut expected = vec!["iq error resource-constraint romeo>romeo/orchard #s".to_owned()];
        expected.extend((1..=2).map(|body| match body < failures {
            true => format!("message error resource-constraint romeo>juliet/balcony #{body}"),
            false => format!("chat juliet/balcony>romeo {body}"),
        }));
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{failures} failures");
    }
}

/// The connection ends while messages wait behind a decision: they go by the rules again.
#[test]
fn what_waits_is_not_lost_with_the_connection() {
    let mut world = requested();
    world.send(
        "romeo/orchard",
        "<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='nurse@d'/></query></iq>",
    );
    world.send(
        "juliet/balcony",
        "<message type='chat' to='romeo@d/orchard'><body>1</body></message>",
    );
    world.send(
        "juliet/balcony",
        "<message id='n' to='romeo@d/orchard'><body>2</body></message>",
    );
    world.leave("romeo/orchard", false);
    world.settle();
    assert_eq!(
        world.stored_messages("romeo").len(),
        2,
        "both were accepted while he was there"
    );
    world.nothing_more();
}

/// A roster that is asked for meanwhile is the one on disk, and pushes come after it.
#[test]
fn a_roster_get_waits_for_the_decisions() {
    let mut world = requested();
    world.connect("romeo/new");
    let set = |id: &str, jid: &str| {
        format!("<iq type='set' id='{id}'><query xmlns='jabber:iq:roster'><item jid='{jid}'/></query></iq>")
    };
    world.send("romeo/orchard", &set("s1", "nurse@d"));
    world.send(
        "romeo/new",
        "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>",
    );
    assert!(!world.pump("romeo/new"), "nothing of it is certain yet");
    world.expect("romeo/new", &["result g [juliet none +ask, nurse none]"]);
    world.send("romeo/orchard", &set("s2", "tybalt@d"));
    world.expect("romeo/new", &["push tybalt none"]);
}

/// Several who ask meanwhile do not wait for each other.
#[test]
fn those_who_wait_for_decisions_do_not_wait_for_each_other() {
    let mut world = requested();
    for name in ["juliet/a", "juliet/b"] {
        world.connect(name);
    }
    world.send("juliet/balcony", "<presence type='subscribed' to='romeo@d'/>");
    for name in ["juliet/a", "juliet/b"] {
        world.send(name, "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>");
    }
    for _ in 0..3 {
        world.send("romeo/orchard", "<presence type='probe' to='juliet@d'/>");
        world.send(
            "romeo/orchard",
            "<message type='chat' to='juliet@d'><body>x</body></message>",
        );
    }
    for _ in 0..100 {
        world.store.step();
    }
    assert_eq!(world.store.pending(), 0, "it comes to rest");
    world.expect("juliet/a", &["result g [romeo from]"]);
    world.expect("juliet/b", &["result g [romeo from]"]);
}

/// A refusal of a probe does not overtake what the contact is about to say.
#[test]
fn a_probe_is_answered_after_the_decision() {
    let mut world = requested();
    world.send("juliet/balcony", "<presence type='subscribed' to='romeo@d'/>");
    world.forget();
    world.send("juliet/balcony", "<presence type='unsubscribed' to='romeo@d'/>");
    world.send("romeo/orchard", "<presence type='probe' to='juliet@d'/>");
    world.expect(
        "romeo/orchard",
        &[
            "unavailable juliet/balcony>romeo",
            "unsubscribed juliet>romeo",
            "push juliet none",
        ],
    );
    // Nor is it taken for the denial of a request.
    world.send("romeo/orchard", "<presence type='subscribe' to='juliet@d'/>");
    world.send("romeo/orchard", "<presence type='probe' to='juliet@d'/>");
    world.expect("romeo/orchard", &["push juliet none +ask"]);
    world.send("juliet/balcony", "<presence type='subscribed' to='romeo@d'/>");
    world.expect(
        "romeo/orchard",
        &[
            "subscribed juliet>romeo",
            "push juliet to",
            "available juliet/balcony>romeo",
        ],
    );
}
