//! XEP-0502.

use super::*;

const HOUR: i64 = 3_600_000;

fn say(world: &mut World, inner: &str) {
    let told = world.send(ONE, &format!("<message type='groupchat' to='{ROOM}'>{inner}</message>"));
    assert_eq!(told.len(), 1);
}

fn rate(world: &mut World) -> Option<String> {
    let told = world.iq(TWO, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    let (_, field) = told[0].2.split_once("{urn:xmpp:muc-activity}message-activity")?;
    let (_, value) = field.split_once("<value>")?;
    Some(value.split_once('<')?.0.to_owned())
}

#[test]
fn messages_of_the_last_hours_are_counted() {
    let mut world = World::configured(&[
        ("muc#roomconfig_persistentroom", "1"),
        ("muc#roomconfig_publicroom", "1"),
    ]);
    world.now = 100 * HOUR;
    assert_eq!(rate(&mut world), None);
    for _ in 0..3 {
        say(&mut world, "<body>b</body>");
    }
    // Corrections, and what has no text, are none.
    say(
        &mut world,
        "<body>b</body><replace xmlns='urn:xmpp:message-correct:0' id='1'/>",
    );
    say(&mut world, "<active xmlns='http://jabber.org/protocol/chatstates'/>");
    world.now += HOUR - 1;
    assert_eq!(rate(&mut world), None);
    world.now += 1;
    assert_eq!(rate(&mut world).as_deref(), Some("3.00"));
    say(&mut world, "<body>b</body>");
    world.now += 2 * HOUR;
    assert_eq!(rate(&mut world).as_deref(), Some("1.33"));
    say(&mut world, "<body>b</body>");
    world.now += 21 * HOUR;
    assert_eq!(rate(&mut world).as_deref(), Some("0.21"));
    world.now += 2 * HOUR;
    assert_eq!(rate(&mut world).as_deref(), Some("0.04"));
    world.now += 2 * HOUR;
    assert_eq!(rate(&mut world).as_deref(), Some("0.00"));
    // A clock that goes wrong for a moment.
    say(&mut world, "<body>b</body>");
    world.now -= 50 * HOUR;
    say(&mut world, "<body>b</body>");
    world.now += 51 * HOUR;
    assert_eq!(rate(&mut world).as_deref(), Some("0.08"));
    world.now += 1_000_000 * HOUR;
    assert_eq!(rate(&mut world).as_deref(), Some("0.00"));
    // Section 8: of others it is not told.
    for (var, other, back) in [
        ("muc#roomconfig_persistentroom", "0", "1"),
        ("muc#roomconfig_publicroom", "0", "1"),
        ("muc#roomconfig_membersonly", "1", "0"),
        ("muc#roomconfig_roomsecret", "s", ""),
    ] {
        world.configure(&[(var, other)]);
        assert_eq!(rate(&mut world), None, "{var}");
        world.configure(&[(var, back)]);
        assert!(rate(&mut world).is_some(), "{var}");
    }
}
