//! XEP-0500.

use super::*;

const VAR: &str = "muc#roomconfig_slow_mode_duration";

fn say(world: &mut World, who: &str, inner: &str) -> Vec<Told> {
    world.send(
        who,
        &format!("<message type='groupchat' to='{ROOM}' id='m'>{inner}</message>"),
    )
}

#[test]
fn who_has_just_spoken_waits() {
    let mut world = World::configured(&[(VAR, "20")]);
    world.enter(TWO, "secondwitch");
    world.enter("wiccarocks@shakespeare.lit/phone", "other");
    world.enter(THREE, "thirdwitch");
    let body = "<body>b</body>";
    assert_eq!(say(&mut world, TWO, body).len(), 4);
    // In whatever form; others speak, and who administers the room does as he likes.
    for who in [TWO, "wiccarocks@shakespeare.lit/phone"] {
        let told = say(&mut world, who, body);
        refused(&told, who, "policy-violation", "wait");
        assert!(told[0].2.contains("20 seconds"), "{told:?}");
    }
    for who in [THREE, ONE, ONE] {
        assert_eq!(say(&mut world, who, body).len(), 4);
    }
    // What is no message for people does not count.
    let state = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    assert_eq!(say(&mut world, TWO, state).len(), 4);
    world.now += 19_999;
    refused(&say(&mut world, TWO, body), TWO, "policy-violation", "wait");
    world.now += 1;
    assert_eq!(say(&mut world, TWO, body).len(), 4);
    refused(&say(&mut world, TWO, body), TWO, "policy-violation", "wait");
    // A clock that was set back keeps nobody silent.
    world.now -= 100_000;
    assert_eq!(say(&mut world, TWO, body).len(), 4);
    world.configure(&[(VAR, "0")]);
    assert_eq!(say(&mut world, TWO, body).len(), 4);
}

#[test]
fn it_is_configured_and_told() {
    let mut world = World::open();
    let info = |world: &mut World| {
        world.iq(TWO, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>")[0]
            .2
            .clone()
    };
    let field = |value: &str| {
        format!(
            "<field var='muc#roominfo_slow_mode_duration' type='text-single' label='Slow Mode'><value>{value}</value>"
        )
    };
    assert!(info(&mut world).contains(&field("0")));
    let form = world.iq(ONE, "get", "<query xmlns='http://jabber.org/protocol/muc#owner'/>")[0]
        .2
        .clone();
    let at = form.find(VAR).expect("the field");
    let end = form[at..].find("</field>").expect("its end");
    let validate = "<validate xmlns='http://jabber.org/protocol/xdata-validate' datatype='xs:integer'><range min='0'";
    assert!(form[at..at + end].contains(validate), "{form}");
    let told = world.configure(&[(VAR, "20")]);
    assert!(
        told.iter().any(|(_, _, text)| text.contains("<status code='104'/>")),
        "{told:?}"
    );
    assert!(info(&mut world).contains(&field("20")));
    for value in ["-1", "soon", "86401", "99999999999"] {
        refused(&world.configure(&[(VAR, value)]), ONE, "not-acceptable", "modify");
    }
    world.room = world.again().expect("it is kept");
    assert!(info(&mut world).contains(&field("20")));
}
