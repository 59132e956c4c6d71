//! XEP-0486, after its examples.

use super::*;

const OWN: &str = "<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/svg+xml</TYPE><BINVAL>PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53\
                   My5vcmcvMjAwMC9zdmciIHdpZHRoPSIzMiIgaGVpZ2h0PSIzMiI+CiA8cmVjdCB4PSIwIiB5PSIwIiB3aWR0aD0iMzIiIGhlaWdo\
                   dD0iMzIiIGZpbGw9InJlZCIvPgo8L3N2Zz4K</BINVAL></PHOTO></vCard>";
const HASH: &str = "<field var='muc#roominfo_avatarhash' type='text-multi' label='Avatar hash'>\
                    <value>a31c4bd04de69663cfd7f424a8453f4674da37ff</value></field>";
const ASK: &str = "<vCard xmlns='vcard-temp'/>";

fn info(world: &mut World, who: &str) -> String {
    let told = world.iq(who, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    told[0].2.clone()
}

fn changed(who: &str) -> Told {
    let text =
        "<message type='groupchat'><x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x></message>";
    (who.into(), ROOM.into(), text.into())
}

#[test]
fn an_owner_gives_the_room_a_picture() {
    let mut world = World::configured(&[("muc#roomconfig_persistentroom", "1")]);
    world.enter(TWO, "secondwitch");
    let before = info(&mut world, THREE);
    assert!(
        before.contains("<feature var='vcard-temp'/>") && !before.contains("avatarhash"),
        "{before}"
    );
    refused(&world.iq(THREE, "get", ASK), THREE, "item-not-found", "cancel");
    refused(&world.iq(TWO, "set", OWN), TWO, "forbidden", "auth");
    assert_eq!(world.iq(ONE, "set", OWN), [done(ONE), changed(ONE), changed(TWO)]);
    // Who has not entered sees it as well; and it is there after a crash.
    for _ in 0..2 {
        let seen = info(&mut world, THREE);
        assert!(seen.contains(HASH), "{seen}");
        let result = format!("<iq type='result' id='q'>{OWN}</iq>");
        assert_eq!(world.iq(THREE, "get", ASK), [(THREE.into(), ROOM.into(), result)]);
        world.room = world.again().expect("it is kept");
    }
    // An empty one takes it away.
    assert_eq!(world.iq(ONE, "set", ASK), [done(ONE)]);
    assert!(!info(&mut world, THREE).contains("avatarhash"));
    refused(&world.iq(THREE, "get", ASK), THREE, "item-not-found", "cancel");
}

#[test]
fn each_format_has_a_hash_and_a_link_none() {
    let mut world = World::open();
    let photo = |inner: &str| format!("<PHOTO>{inner}</PHOTO>");
    let data = |text: &str| photo(&format!("<BINVAL>{text}</BINVAL>"));
    let vcard = |inner: &str| format!("<vCard xmlns='vcard-temp'>{inner}</vCard>");
    let link = photo("<EXTVAL>https://example.org/p.png</EXTVAL>");
    let two = vcard(&[data("YWJj"), link.clone(), data("\nYQ\n=="), data("")].concat());
    assert_eq!(world.iq(ONE, "set", &two)[0], done(ONE));
    let hashes = "<value>a9993e364706816aba3e25717850c26c9cd0d89d</value>\
                  <value>86f7e437faa5a7fce15d1ddcb9eaeaea377667b8</value></field>";
    let seen = info(&mut world, THREE);
    assert!(seen.contains(hashes), "{seen}");
    for (inner, condition) in [
        (data("*"), "bad-request"),
        (data("YWJj").repeat(9), "not-acceptable"),
        (data(&"A".repeat(128 * 1024)), "not-acceptable"),
    ] {
        refused(&world.iq(ONE, "set", &vcard(&inner)), ONE, condition, "modify");
    }
    assert_eq!(info(&mut world, THREE), seen);
    assert_eq!(world.iq(ONE, "set", &vcard(&link))[0], done(ONE));
    assert!(!info(&mut world, THREE).contains("avatarhash"));
}

#[test]
fn a_room_that_is_not_configured_has_none() {
    let mut world = World::new();
    world.enter(ONE, "firstwitch");
    refused(&world.iq(ONE, "set", OWN), ONE, "not-allowed", "cancel");
    refused(&world.iq(TWO, "get", ASK), TWO, "item-not-found", "cancel");
}
