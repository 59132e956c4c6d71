//! Links that break, and why: a stanza that the peer does not survive, a peer that comes and goes, a clock that jumps, rules
//! that change. And what is forgotten of pairs, and when.

use jackdaw_router::{FailureKind, Linked};
use stanza::StreamCondition;

use crate::remote::{FAR, Far, chat, managed, ping};
use crate::support::DOMAIN;

const DAY: i64 = 24 * 3_600;

fn said(number: u32) -> String {
    format!("chat juliet/balcony>romeo@far.example {number}")
}

/// A stream that cannot be resumed.
fn plain() -> Linked {
    Linked {
        is_managed: true,
        ..Linked::default()
    }
}

/// Two streams have broken with message 1 first, and the next attempt is not made at once.
fn suspected(linked: &Linked) -> Far {
    let mut far = Far::known();
    far.send(&chat(1));
    far.send(&chat(2));
    for _ in 0..2 {
        assert_eq!(far.dialed().len(), 1);
        far.up(linked);
        let sent = far.sent();
        assert_eq!(sent[..2], [said(1), said(2)]);
        far.broken(false);
    }
    assert_eq!(far.dialed().len(), 0);
    far
}

fn after(far: &mut Far, seconds: i64) {
    far.world.pass(seconds - 1);
    far.look();
    assert_eq!(far.dialed(), [], "before {seconds} s");
    far.world.pass(1);
    far.look();
    assert_eq!(far.dialed().len(), 1, "after {seconds} s");
}

/// After the longest pause that there is.
fn at_last(far: &mut Far) {
    far.world.pass(100);
    far.look();
    assert_eq!(far.dialed().len(), 1);
}

#[test]
fn a_stanza_that_ends_every_stream_is_given_up_alone() {
    for (linked, says) in [(plain(), None), (managed(), Some(StreamCondition::PolicyViolation))] {
        let mut far = suspected(&linked);
        for pause in [10, 20, 40] {
            after(&mut far, pause);
            far.up(&linked);
            assert_eq!(far.sent(), ["r"], "first it shows that it is there");
            far.acknowledge(0);
            assert_eq!(far.sent(), [said(1), "r".to_owned()], "then it is given this alone");
            if let (Some(condition), Some(bound)) = (says, &far.bound) {
                far.world.router.link_error(bound, condition);
            }
            assert_eq!(far.lines(), Vec::<String>::new());
            far.broken(false);
        }
        at_last(&mut far);
        far.up(&linked);
        assert_eq!(far.sent(), [said(2), "r".to_owned()]);
        assert_eq!(
            far.lines(),
            ["message error not-acceptable romeo@far.example>juliet/balcony #m1"]
        );
        assert_eq!(far.spooled(), 1);
        far.acknowledge(1);
        assert_eq!(far.spooled(), 0);
        // It is not in the store any more.
        far.world.kill();
        far.federate();
        assert_eq!(far.spooled(), 0);
    }
}

#[test]
fn who_answers_pings_is_asked_by_one_and_who_does_not_has_to_stand() {
    let linked = Linked::default();
    let mut far = suspected(&linked);
    for (trial, pause) in [10, 20, 40].into_iter().enumerate() {
        after(&mut far, pause);
        far.up(&linked);
        let number = 3 + 2 * trial as u32;
        assert_eq!(far.sent(), [format!("get {} d>far.example", ping(number))]);
        match trial {
            // It has never answered yet.
            0 => {
                far.world.pass(4);
                far.look();
                assert_eq!(far.sent(), Vec::<String>::new());
                far.world.pass(1);
                far.look();
            }
            _ => far.answers(number),
        }
        assert_eq!(far.sent()[0], said(1));
        far.broken(false);
    }
    far.up(&linked);
    assert_eq!(far.sent()[0], said(2));
    assert_eq!(far.lines().len(), 1);
}

#[test]
fn who_comes_and_goes_loses_nothing() {
    let linked = plain();
    let mut far = suspected(&linked);
    after(&mut far, 10);
    for _ in 0..20 {
        // Before it has answered; while it says why itself; long after; and once something was acknowledged.
        far.up(&linked);
        assert_eq!(far.sent(), ["r"]);
        far.broken(false);
        at_last(&mut far);

        far.up(&linked);
        far.acknowledge(0);
        let bound = far.bound.clone().expect("a stream");
        far.world.router.link_error(&bound, StreamCondition::SystemShutdown);
        far.broken(false);
        at_last(&mut far);

        far.up(&linked);
        far.acknowledge(0);
        far.world.pass(10);
        far.broken(false);
        at_last(&mut far);
    }
    assert_eq!((far.spooled(), far.lines()), (2, vec![]));
    far.up(&linked);
    far.sent();
    far.acknowledge(0);
    far.acknowledge(1);
    assert_eq!(far.sent(), [said(1), "r".to_owned(), said(2), "r".to_owned()]);
    for _ in 0..20 {
        // Each stream brings something across.
        far.send(&chat(3));
        far.broken(false);
        assert_eq!(far.dialed().len(), 1);
        far.up(&linked);
        far.acknowledge(1);
        far.dialed();
    }
    assert_eq!(far.lines(), Vec::<String>::new());
}

#[test]
fn what_has_arrived_after_all_is_not_given_up() {
    let linked = managed();
    let mut far = suspected(&linked);
    for pause in [10, 20, 40] {
        after(&mut far, pause);
        far.up(&linked);
        far.acknowledge(0);
        far.broken(false);
    }
    at_last(&mut far);
    far.up(&Linked {
        handled: Some(1),
        ..managed()
    });
    assert_eq!(far.sent(), [said(2), "r".to_owned()]);
    assert_eq!((far.spooled(), far.lines()), (1, vec![]));
}

#[test]
fn a_clock_that_jumps_gives_nothing_up() {
    let mut far = Far::known();
    far.send(&chat(1));
    far.down(FailureKind::Timeout);
    for (by, waiting) in [(3 * DAY, 1), (-7 * DAY, 2), (400 * DAY, 3)] {
        far.world.jump(by);
        far.look();
        assert_eq!((far.spooled(), far.lines()), (waiting, vec![]));
        far.dialed();
        far.send(&format!(
            "<message type='chat' to='romeo@{FAR}'><body>more</body></message>"
        ));
        assert_eq!(far.lines(), Vec::<String>::new(), "it is expected back");
        // What is on its way is not late.
        far.up(&managed());
        far.world.jump(by);
        far.look();
        assert_eq!(far.events(), Vec::<String>::new());
        far.broken(false);
        far.dialed();
        far.down(FailureKind::Timeout);
    }
    // When its time is over it is, whatever the clock says.
    far.world.jump(-400 * DAY);
    far.world.pass(3_599);
    far.look();
    assert_eq!(far.lines(), Vec::<String>::new());
    far.down(FailureKind::Timeout);
    far.world.pass(3_600 / 64 + 2);
    far.look();
    assert_eq!(far.lines().len(), 4);
    assert_eq!(far.spooled(), 0);
}

#[test]
fn who_never_answers_is_not_believed_sooner_for_a_clock_that_jumps() {
    let mut far = Far::known();
    far.send(&chat(1));
    far.up(&Linked::default());
    far.sent();
    far.world.jump(3_600);
    far.look();
    assert_eq!(far.spooled(), 1);
}

#[test]
fn only_the_wall_clock_knows_of_the_time_before_the_start() {
    let mut far = Far::known();
    far.send(&chat(1));
    far.world.kill();
    far.world.pass(3_599);
    far.federate();
    far.look();
    far.down(FailureKind::Timeout);
    far.look();
    assert_eq!(far.spooled(), 1);
    far.world.pass(1);
    far.look();
    assert_eq!(far.spooled(), 0);
}

#[test]
fn a_ping_of_an_earlier_process_is_none_of_ours() {
    let mut far = Far::known();
    far.token = 0xdef;
    far.send(&chat(1));
    far.up(&Linked::default());
    far.sent();
    far.world.kill();
    far.federate();
    far.look();
    far.dialed();
    far.up(&Linked::default());
    assert_eq!(
        far.sent(),
        [said(1), "get link-0000000000000def-1 d>far.example".to_owned()]
    );
    far.answers(1);
    assert_eq!(far.spooled(), 1, "that was the first");
    let bound = far.admitted(false);
    let answer = format!("<iq type='result' id='link-0000000000000def-1' from='{FAR}' to='{DOMAIN}'/>");
    far.says(&bound, &answer);
    assert_eq!(far.spooled(), 0);
}

#[test]
fn a_stream_that_broke_is_made_again_soon_and_is_looked_for_though_nothing_waits() {
    let mut far = Far::known();
    far.send(&chat(1));
    far.up(&managed());
    far.acknowledge(1);
    far.dialed();
    far.broken(false);
    assert_eq!(far.dialed().len(), 1, "at once");
    for pause in [1, 2, 4, 8, 16, 32, 64, 100] {
        far.down(FailureKind::Timeout);
        after(&mut far, pause);
    }
    far.down(FailureKind::Timeout);
    far.world.pass(1_000);
    far.look();
    assert_eq!(far.dialed(), [], "but not for ever");
    // Nor is one looked for that ended in good order.
    far.send(&chat(2));
    assert_eq!(far.dialed().len(), 1);
    far.up(&managed());
    far.acknowledge(1);
    far.broken(true);
    far.world.pass(1_000);
    far.look();
    assert_eq!(far.dialed(), []);
}

#[test]
fn rules_that_change_end_streams_and_what_waits() {
    let mut far = Far::known();
    far.send(&chat(1));
    far.dialed();
    far.up(&managed());
    let theirs = far.admitted(false);
    assert_eq!(far.deny(true), 2);
    assert_eq!(far.events(), ["end policy-violation"]);
    far.send(&chat(2));
    assert_eq!(
        far.lines(),
        ["message error not-allowed romeo@far.example>juliet/balcony #m2"]
    );
    far.bound = Some(theirs);
    far.broken(true);
    let mut far = Far::known();
    far.send(&chat(1));
    far.dialed();
    far.down(FailureKind::Timeout);
    assert_eq!(far.deny(true), 0);
    assert_eq!(
        far.lines(),
        ["message error not-allowed romeo@far.example>juliet/balcony #m1"]
    );
    assert_eq!(far.spooled(), 0);
    assert_eq!(far.deny(false), 0);
    far.world.pass(31);
    far.send(&chat(2));
    assert_eq!((far.spooled(), far.lines()), (1, vec![]));
    // An attempt that finds the rules changed has nothing wait either.
    far.dialed();
    far.down(FailureKind::Refused);
    assert_eq!(far.spooled(), 0);
}

#[test]
fn pairs_that_hold_nothing_are_forgotten() {
    let is_there = |far: &Far| !far.world.router.link_report(FAR).is_empty();
    let look = |far: &mut Far| {
        for _ in 0..2 {
            far.look();
        }
    };
    // Nobody here has asked for it.
    let mut far = Far::new();
    let bound = far.admitted(true);
    far.bound = Some(bound);
    far.world.pass(2 * DAY);
    look(&mut far);
    assert!(is_there(&far), "it has a stream");
    far.broken(true);
    far.world.pass(DAY - 1);
    look(&mut far);
    assert!(is_there(&far));
    far.world.pass(1);
    look(&mut far);
    assert!(!is_there(&far));
    far.world.kill();
    far.federate();
    assert!(!is_there(&far), "nor in the store");
    // Somebody has: it is expected back for longer.
    let mut far = Far::known();
    far.world.pass(30 * DAY - 1);
    look(&mut far);
    assert!(is_there(&far));
    far.world.pass(1);
    look(&mut far);
    assert!(!is_there(&far));
    // What waits keeps it.
    let mut far = Far::known();
    far.send(&chat(1));
    far.dialed();
    far.world.pass(40 * DAY);
    look(&mut far);
    assert!(is_there(&far));
}

#[test]
fn an_account_may_not_look_for_any_number_of_domains() {
    let mut far = Far::new();
    let write = |far: &mut Far, number: u32| {
        far.send(&format!(
            "<message type='chat' id='m' to='romeo@{number}.example'><body>?</body></message>"
        ));
    };
    for number in 0..200 {
        write(&mut far, number);
    }
    far.world.nothing_more();
    write(&mut far, 200);
    assert_eq!(
        far.lines(),
        ["message error resource-constraint romeo@200.example>juliet/balcony #m"]
    );
    write(&mut far, 7);
    assert_eq!(far.lines(), Vec::<String>::new(), "that one is known");
    far.world.pass(3_600);
    write(&mut far, 201);
    assert_eq!(far.lines(), Vec::<String>::new());
}
