//! Section 5.1: roles across visits of a moderated room.

use super::*;

fn role(world: &mut World, nick: &str, role: &str) {
    let told = world.admin(ONE, &format!("<item nick='{nick}' role='{role}'/>"));
    assert_eq!(told.first(), Some(&done(ONE)), "{told:?}");
}

fn leaves(world: &mut World, who: &str, nick: &str) {
    world.send(who, &format!("<presence type='unavailable' to='{ROOM}/{nick}'/>"));
}

/// With which role somebody comes in who is not there.
#[track_caller]
fn comes_in(world: &mut World, who: &str, nick: &str, role: &str) {
    let told = world.enter(who, nick);
    let address = format!("/{nick}");
    let own = of(&told, who);
    let own = own.iter().find(|(from, _)| *from == address).expect("his own");
    assert!(own.1.contains(&format!("role='{role}'")), "{own:?}");
    leaves(world, who, nick);
}

#[test]
fn who_has_voice_keeps_it() {
    let mut world = World::configured(&[
        ("muc#roomconfig_moderatedroom", "1"),
        ("muc#roomconfig_persistentroom", "1"),
    ]);
    world.admin(ONE, "<item affiliation='member' jid='wiccarocks@shakespeare.lit'/>");
    world.enter(TWO, "secondwitch");
    world.enter(THREE, "thirdwitch");
    role(&mut world, "thirdwitch", "participant");
    role(&mut world, "secondwitch", "visitor");
    leaves(&mut world, TWO, "secondwitch");
    leaves(&mut world, THREE, "thirdwitch");
    // Under whatever name, from whatever client, and after a crash. Who has lost his voice does not get it back.
    comes_in(&mut world, "hag66@shakespeare.lit/other", "hag", "participant");
    world.room = world.again().expect("it is kept");
    world.enter(ONE, "firstwitch");
    comes_in(&mut world, THREE, "thirdwitch", "participant");
    comes_in(&mut world, TWO, "secondwitch", "visitor");
    // What the affiliation says is nothing to keep; an affiliation says anew what somebody is.
    world.enter(TWO, "secondwitch");
    role(&mut world, "secondwitch", "participant");
    leaves(&mut world, TWO, "secondwitch");
    world.admin(ONE, "<item affiliation='none' jid='wiccarocks@shakespeare.lit'/>");
    comes_in(&mut world, TWO, "secondwitch", "visitor");
    world.admin(ONE, "<item affiliation='member' jid='hag66@shakespeare.lit'/>");
    world.admin(ONE, "<item affiliation='none' jid='hag66@shakespeare.lit'/>");
    comes_in(&mut world, THREE, "thirdwitch", "visitor");
}

#[test]
fn a_moderator_is_one_for_a_visit() {
    let mut world = World::configured(&[("muc#roomconfig_moderatedroom", "1")]);
    world.enter(THREE, "thirdwitch");
    role(&mut world, "thirdwitch", "moderator");
    leaves(&mut world, THREE, "thirdwitch");
    comes_in(&mut world, THREE, "thirdwitch", "visitor");
    // With what is revoked he keeps his voice.
    world.enter(THREE, "thirdwitch");
    role(&mut world, "thirdwitch", "moderator");
    role(&mut world, "thirdwitch", "participant");
    leaves(&mut world, THREE, "thirdwitch");
    comes_in(&mut world, THREE, "thirdwitch", "participant");
    // Nothing is left of it when everybody speaks.
    world.configure(&[("muc#roomconfig_moderatedroom", "0")]);
    world.configure(&[("muc#roomconfig_moderatedroom", "1")]);
    comes_in(&mut world, THREE, "thirdwitch", "visitor");
    assert_eq!(world.again().expect("it is kept").voices.0.len(), 0);
}
