//! Changes that the store has to be asked about first come one after the other (`Answer::Changed`).

use jackdaw_router::LAST_ACTIVITY;
use store::{Query, Store};

use crate::support::World;

/// One is under way, and so many wait.
const ROOM: usize = 1 + 256;

fn add(world: &mut World, id: usize) {
    world.send(
        "juliet/balcony",
        &format!("<iq type='set' id='c{id}'><add xmlns='urn:test:counter'/></iq>"),
    );
}

fn count(world: &World) -> i64 {
    let found = world.store.read_wait(Query::get(&LAST_ACTIVITY, "juliet@d", None));
    let row = found.and_then(store::Found::row).expect("read").expect("it is there");
    row[0].as_int().expect("a number")
}

#[test]
fn each_sees_those_before_it_and_one_too_many_is_told() {
    let mut world = World::new(&["juliet"]);
    world.online(&["juliet/balcony"]);
    for id in 0..=ROOM {
        add(&mut world, id);
    }
    // At once; all others when the store has been asked.
    let mut expected = vec![format!("iq error resource-constraint juliet>juliet/balcony #c{ROOM}")];
    expected.extend((0..ROOM).map(|id| format!("result c{id}")));
    world.expect(
        "juliet/balcony",
        &expected.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    world.store.release();
    assert_eq!(count(&world), ROOM as i64);
    // The line has ended, and the next begins a new one.
    world.store.hold();
    add(&mut world, 1);
    world.expect("juliet/balcony", &["result c1"]);
    world.store.release();
    assert_eq!(count(&world), ROOM as i64 + 1);
}

/// What the disk refuses is told, and the line goes on.
#[test]
fn a_failure_is_one_alone() {
    let mut world = World::new(&["juliet"]);
    world.online(&["juliet/balcony"]);
    world.store.fail_writes(1, store::StoreError::Full);
    for id in 0..3 {
        add(&mut world, id);
    }
    world.expect(
        "juliet/balcony",
        &[
            "iq error resource-constraint juliet>juliet/balcony #c0",
            "result c1",
            "result c2",
        ],
    );
    world.store.release();
    assert_eq!(count(&world), 2);
}
