//! Who shows a token is welcome (XEP-0379), and who was made with one has a contact (XEP-0401 section 5.5).

use std::sync::Arc;

use accounts::invitations::{self, Invitation, introduce, key_of};
use stanza::{Condition, Jid};
use store::{Batch, Found, Memory, Query, Store as _, StoreError};

use crate::support::World;

fn jid(name: &str) -> Jid {
    Jid::parse(&crate::support::full(name)).expect("a JID")
}

fn invitation(contact: &str, uses: u32) -> Invitation {
    Invitation {
        key: key_of("token").expect("a token"),
        domain: Some("d".into()),
        inviter: None,
        contact: Some(jid(contact)),
        username: None,
        admin: false,
        created: 0,
        expires: i64::MAX,
        uses,
        used: 0,
    }
}

/// The store does nothing by itself; here it does.
fn on_disk<R>(world: &World, act: impl FnOnce(&Memory) -> R) -> R {
    world.store.release();
    let done = act(&world.store);
    world.store.hold();
    done
}

fn write(world: &World, batch: Batch) {
    on_disk(world, |store| store.write_wait(batch)).expect("written");
}

fn read(world: &World, query: Query) -> Found {
    on_disk(world, |store| store.read_wait(query)).expect("read")
}

fn invite(world: &World, invitation: &Invitation) {
    write(world, invitations::add(invitation));
}

/// It waits for the store, so that it has a thread of its own.
fn introduce_all(world: &World) -> usize {
    let router = Arc::clone(&world.router);
    let thread = std::thread::spawn(move || router.introduce_all());
    while !thread.is_finished() {
        world.store.step();
        std::thread::yield_now();
    }
    thread.join().expect("no panic").expect("read")
}

fn ask(world: &mut World, who: &str) {
    world.send(
        who,
        "<presence type='subscribe' to='juliet@d'><preauth xmlns='urn:xmpp:pars:0' token='token'/></presence>",
    );
}

/// How many invitations, and uses of them, are left.
fn left(world: &World) -> (bool, u64) {
    let found = read(world, invitations::get(&key_of("token").expect("a token")));
    let invitation = invitations::read("", found).expect("sound");
    (invitation.is_some(), invitation.map_or(0, |it| u64::from(it.used)))
}

fn world(uses: u32) -> World {
    let mut world = World::new(&["romeo", "tybalt", "juliet"]);
    invite(&world, &invitation("juliet", uses));
    world.online(&["romeo/orchard", "tybalt/street", "juliet/balcony"]);
    world
}

#[test]
fn who_shows_a_token_need_not_wait() {
    let mut world = world(1);
    ask(&mut world, "romeo/orchard");
    world.expect("juliet/balcony", &["push romeo from +ask"]);
    world.expect(
        "romeo/orchard",
        &[
            "push juliet none +ask",
            "subscribed juliet>romeo",
            "push juliet to",
            "subscribe juliet>romeo",
            "available juliet/balcony>romeo",
        ],
    );
    assert_eq!(left(&world), (false, 0));
}

/// Both are looked up before either is used.
#[test]
fn of_two_with_one_token_one_has_to_wait() {
    let mut world = world(1);
    ask(&mut world, "romeo/orchard");
    ask(&mut world, "tybalt/street");
    world.settle();
    let lines = world.lines("juliet/balcony");
    assert!(lines.contains(&"push romeo from +ask".to_owned()), "{lines:?}");
    assert!(
        lines.iter().any(|line| line.starts_with("subscribe tybalt>juliet")),
        "{lines:?}"
    );
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(world.lines("tybalt/street"), ["push juliet none +ask"]);

    let mut world = self::world(2);
    ask(&mut world, "romeo/orchard");
    ask(&mut world, "tybalt/street");
    world.settle();
    let mut lines = world.lines("juliet/balcony");
    lines.sort();
    assert_eq!(lines, ["push romeo from +ask", "push tybalt from +ask"]);
    assert_eq!(left(&world), (false, 0));
}

/// What the token is for and its use are in one batch.
#[test]
fn a_disk_that_fails_leaves_the_token() {
    let mut world = world(1);
    ask(&mut world, "romeo/orchard");
    // His own side is written, and the token looked up; hers is not written.
    assert!(world.store.step() && world.store.step());
    world.store.fail_writes(1, StoreError::Full);
    world.settle();
    assert_eq!(left(&world), (true, 0));
    world.forget();
    ask(&mut world, "romeo/orchard");
    world.settle();
    assert_eq!(left(&world), (false, 0));
    world.expect("juliet/balcony", &["push romeo from +ask"]);
}

#[test]
fn a_token_is_good_for_nothing_else() {
    let check = |change: fn(&mut Invitation)| {
        let mut world = World::new(&["romeo", "nurse", "juliet"]);
        let mut one = invitation("juliet", 1);
        change(&mut one);
        invite(&world, &one);
        world.online(&["romeo/orchard", "juliet/balcony"]);
        ask(&mut world, "romeo/orchard");
        let lines = world.lines("juliet/balcony");
        assert!(
            lines.len() == 1 && lines[0].starts_with("subscribe romeo>juliet"),
            "{one:?}: {lines:?}"
        );
        assert!(left(&world).0, "it is not used up");
    };
    check(|one| one.contact = Some(jid("nurse")));
    check(|one| one.contact = None);
    check(|one| one.admin = true);
    check(|one| one.username = Some("romeo".into()));
    check(|one| one.expires = 1);
}

#[test]
fn who_is_contact_already_uses_nothing_up() {
    let mut world = world(1);
    world.befriend("romeo/orchard", "juliet/balcony");
    ask(&mut world, "romeo/orchard");
    world.settle();
    assert_eq!(left(&world), (true, 0));
}

/// The account was made, and the process died before its contact heard of it.
#[test]
fn what_a_crash_has_left_is_made_good() {
    let mut world = World::new(&["romeo", "juliet"]);
    let batch = introduce(Batch::new(), &jid("romeo"), &jid("juliet"));
    write(&world, batch);
    let waiting = |world: &World| {
        let all = read(world, Query::owners(&invitations::INTRODUCTIONS, None, 9));
        all.owners().expect("owners").len()
    };
    world.kill();
    world.online(&["juliet/balcony"]);
    assert_eq!(waiting(&world), 1);
    assert_eq!(introduce_all(&world), 1);
    world.expect("juliet/balcony", &["push romeo both"]);
    assert_eq!(waiting(&world), 0);
    // Once more, also of somebody who is no more.
    for contact in ["juliet", "nobody"] {
        let batch = introduce(Batch::new(), &jid("romeo"), &jid(contact));
        write(&world, batch);
        assert_eq!(introduce_all(&world), 1);
        world.nothing_more();
        assert_eq!(waiting(&world), 0);
    }
}

#[test]
fn the_terms_of_an_account() {
    let world = World::new(&["juliet"]);
    let mut one = invitation("juliet", 1);
    one.username = Some("romeo".into());
    invite(&world, &one);
    let now = world.now();
    let agree = |name: &str, key: Option<&str>| {
        let terms = jackdaw_router::invitations::terms(&jid(name), key.map(Into::into), now);
        (terms.agree)(Ok(read(&world, terms.query))).map_err(|error| error.condition)
    };
    let key: &str = &one.key;
    assert_eq!(agree("romeo", None).err(), Some(Condition::Conflict), "kept for him");
    assert!(agree("tybalt", None).is_ok_and(|agreed| agreed.batch.is_empty()));
    assert_eq!(agree("tybalt", Some(key)).err(), Some(Condition::NotAcceptable));
    assert_eq!(agree("tybalt", Some("none")).err(), Some(Condition::ItemNotFound));
    let agreed = agree("romeo", Some(key)).expect("what it is for");
    write(&world, agreed.batch);
    assert_eq!(
        agree("romeo", Some(key)).err(),
        Some(Condition::ItemNotFound),
        "used up"
    );
}
