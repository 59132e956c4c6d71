//! Who is told of a message while he is away.

use module::Notify;

use super::*;
use crate::Mentions;

fn read<R>(inner: &str, then: impl FnOnce(&Mentions) -> R) -> R {
    let text = format!("<message type='groupchat' from='{ROOM}/firstwitch'>{inner}</message>");
    let mut scratch = Scratch::default();
    let element = xmlstream::parse_element(&text, "jabber:client", &mut scratch, &XmlLimits::default()).expect("XML");
    then(&Mentions::of(
        &Stanza::read(element).expect("a stanza").expect("a stanza"),
    ))
}

#[test]
fn a_mention_is_a_name_an_address_or_an_answer() {
    let mut world = World::open();
    world.enter(TWO, "second witch");
    world.admin(
        ONE,
        "<item affiliation='member' jid='hag66@shakespeare.lit' nick='Hag'/>",
    );
    let reference =
        |kind: &str, uri: &str| format!("<reference xmlns='urn:xmpp:reference:0' type='{kind}' uri='{uri}'/>");
    let answers = |to: &str| format!("<reply xmlns='urn:xmpp:reply:0' id='1' to='{to}'/>");
    let two = "wiccarocks@shakespeare.lit";
    for (inner, who, expected) in [
        ("<body>Second Witch: hi</body>".to_owned(), two, true),
        ("<body>hi (SECOND WITCH)</body>".into(), two, true),
        ("<body>second witches, the second witch.</body>".into(), two, true),
        ("<body>second witches</body>".into(), two, false),
        ("<body>wiccarocks</body>".into(), two, false),
        ("<body>secondwitch</body>".into(), two, false),
        ("<body>hag!</body>".into(), "hag66@shakespeare.lit", true),
        ("<body>hags, shag</body>".into(), "hag66@shakespeare.lit", false),
        ("<body>hag</body>".into(), two, false),
        (reference("mention", &format!("xmpp:{two}")), two, true),
        (reference("data", &format!("xmpp:{two}")), two, false),
        (
            reference("mention", &format!("xmpp:{ROOM}/second%20witch?join")),
            two,
            true,
        ),
        (reference("mention", &format!("xmpp:{ROOM}/second witch")), two, true),
        (answers(&format!("{ROOM}/second witch")), two, true),
        (answers(&format!("{ROOM}/firstwitch")), two, false),
        // The text for who cannot read it says nothing.
        (
            "<body>second witch</body><encryption xmlns='urn:xmpp:eme:0' namespace='n'/>".into(),
            two,
            false,
        ),
    ] {
        let told = read(&inner, |mentions| world.room.mentions(mentions, who));
        assert_eq!(told, expected, "{inner}");
    }
}

#[test]
fn who_belongs_to_it_and_is_not_there() {
    let mut world = World::open();
    world.enter(TWO, "secondwitch");
    let member = |jid: &str, nick: &str| format!("<item affiliation='member' jid='{jid}' {nick}/>");
    for (jid, nick) in [
        ("wiccarocks@shakespeare.lit", ""),
        ("hag66@shakespeare.lit", "nick='hag'"),
        ("other@shakespeare.lit", ""),
        ("far@elsewhere.lit", ""),
    ] {
        world.admin(ONE, &member(jid, nick));
    }
    world.admin(ONE, "<item affiliation='outcast' jid='bad@shakespeare.lit'/>");
    world.admin(ONE, &member("shakespeare.lit", ""));
    let away = |world: &World, inner: &str| {
        let is_ours = |bare: &str| bare.ends_with("@shakespeare.lit");
        let found = read(inner, |mentions| world.room.away(mentions, is_ours));
        found.iter().map(|jid| jid.as_str().to_owned()).collect::<Vec<_>>()
    };
    let body = "<body>b</body>";
    assert_eq!(away(&world, body), ["hag66@shakespeare.lit", "other@shakespeare.lit"]);
    // In a large room only who is mentioned.
    for n in 0..256 {
        world.admin(ONE, &member(&format!("m{n}@shakespeare.lit"), ""));
    }
    assert_eq!(away(&world, body), [""; 0]);
    assert_eq!(away(&world, "<body>hey @hag, look</body>"), ["hag66@shakespeare.lit"]);
    let uri = |jid: &str| format!("<reference xmlns='urn:xmpp:reference:0' type='mention' uri='xmpp:{jid}'/>");
    assert_eq!(away(&world, &uri("other@shakespeare.lit")), ["other@shakespeare.lit"]);
    assert_eq!(away(&world, &uri(&format!("{ROOM}/hag"))), ["hag66@shakespeare.lit"]);
    assert_eq!(away(&world, &uri("wiccarocks@shakespeare.lit")), [""; 0]);
}

#[test]
fn a_room_for_members_is_private() {
    let mut world = World::open();
    assert_eq!(world.room.usually_told(), Notify::OnMention);
    world.configure(&[("muc#roomconfig_membersonly", "1")]);
    assert_eq!(world.room.usually_told(), Notify::Always);
}
