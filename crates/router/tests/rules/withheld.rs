//! What another server sends while the disk takes nothing: nobody is told an error, as it comes again.

use std::sync::Arc;

use jackdaw_router::{Bound, EnableRequest, NotResumed, STREAM_ID_BYTES};
use stanza::StreamCondition;
use store::StoreError;

use crate::remote::{FAR, Far};
use crate::support::DOMAIN;

fn hello(id: &str) -> String {
    format!(
        "<message type='chat' id='unique-0123456789-{id}' from='romeo@{FAR}/a' to='juliet@{DOMAIN}'><body>{id}</body></message>"
    )
}

/// A stream of theirs, managed and to be resumed.
fn managed(far: &mut Far) -> Bound {
    let bound = far.admitted(false);
    let request = EnableRequest {
        resume: true,
        max: None,
        random: [7; STREAM_ID_BYTES],
    };
    let (now, router) = (far.world.now(), Arc::clone(&far.world.router));
    assert!(router.enable(now, &bound, &request, &mut far.world.turn));
    far.sent();
    bound
}

#[test]
fn what_the_disk_refuses_comes_again_and_nobody_hears_of_an_error() {
    let mut far = Far::known();
    let bound = managed(&mut far);
    far.says(&bound, &hello("one"));
    assert_eq!(far.lines(), ["chat romeo@far.example/a>juliet one"]);
    far.world.store.set_full(true);
    far.says(&bound, &hello("two"));
    assert_eq!(far.events(), ["end resource-constraint"]);
    // What still comes over it is taken, and does not make up for that one.
    far.world.store.set_full(false);
    far.says(&bound, &hello("three"));
    assert_eq!(far.lines(), ["chat romeo@far.example/a>juliet three"]);
    assert_eq!(far.dialed(), [], "nothing is said to them");
    far.bound = Some(bound);
    far.broken(false);
    let resumed = far.goes_on(&"07".repeat(STREAM_ID_BYTES)).expect("it goes on");
    assert_eq!(resumed.h, 1);
    let bound = resumed.bound;
    far.says(&bound, &hello("two"));
    far.says(&bound, &hello("three"));
    assert_eq!(
        far.lines(),
        ["chat romeo@far.example/a>juliet two"],
        "and not three once more"
    );
    assert_eq!(far.dialed(), []);
}

#[test]
fn a_stream_that_cannot_be_resumed_is_counted_all_the_same() {
    let mut far = Far::known();
    far.world.store.set_full(true);
    let bound = managed(&mut far);
    far.says(&bound, &hello("one"));
    assert_eq!(far.events(), ["end resource-constraint"]);
    assert_eq!(far.dialed(), [], "nothing is said to them");
    far.bound = Some(bound);
    far.broken(false);
    // It begins anew, with all that has no acknowledgement.
    far.world.store.set_full(false);
    let bound = managed(&mut far);
    far.says(&bound, &hello("one"));
    assert_eq!(far.lines(), ["chat romeo@far.example/a>juliet one"]);
}

#[test]
fn the_same_behind_a_crash() {
    let mut far = Far::known();
    let bound = managed(&mut far);
    far.says(&bound, &hello("one"));
    far.world.store.fail_writes(1, StoreError::Overloaded);
    far.says_more(&bound, &hello("two"));
    far.says_more(&bound, &hello("three"));
    far.world.settle();
    assert_eq!(far.lines().len(), 2, "the first and the last");
    far.world.kill();
    far.federate();
    let answer = far.goes_on(&"07".repeat(STREAM_ID_BYTES));
    assert!(
        matches!(answer, Err(NotResumed::NotFound { h: Some(1) })),
        "{:?}",
        answer.err()
    );
}

#[test]
fn who_does_not_send_again_is_told() {
    let mut far = Far::known();
    let bound = far.admitted(true);
    far.world.store.set_full(true);
    far.says(&bound, &hello("one"));
    assert_eq!(
        far.sent(),
        ["message error resource-constraint juliet>romeo@far.example/a #unique-0123456789-one"]
    );
    assert_eq!(far.events(), Vec::<String>::new());
}

#[test]
fn a_peer_that_takes_nothing_is_not_asked_without_a_pause() {
    let mut far = Far::known();
    far.send(&format!(
        "<message type='chat' to='romeo@{FAR}'><body>two</body></message>"
    ));
    assert_eq!(far.dialed().len(), 1);
    let end = |far: &mut Far| {
        far.up(&crate::remote::managed());
        let (router, bound) = (Arc::clone(&far.world.router), far.bound.clone().expect("a stream"));
        router.link_error(&bound, StreamCondition::ResourceConstraint);
        far.broken(false);
        far.dialed().len()
    };
    assert_eq!(end(&mut far), 1, "the first time at once");
    for pause in [1, 2, 4] {
        assert_eq!(end(&mut far), 0);
        far.world.pass(pause - 1);
        far.look();
        assert_eq!(far.dialed().len(), 0);
        far.world.pass(1);
        far.look();
        assert_eq!(far.dialed().len(), 1, "after {pause} s");
    }
    // What it takes at last came of it, and nothing was given up.
    far.up(&crate::remote::managed());
    far.acknowledge(1);
    far.broken(false);
    assert_eq!(far.dialed().len(), 1, "at once again");
    assert_eq!(far.lines(), Vec::<String>::new());
}
