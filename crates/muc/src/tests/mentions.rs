//! XEP-0452, after its example.

use super::*;

fn say(world: &mut World, uris: &[&str]) -> Vec<Told> {
    let reference = |uri: &&str| format!("<reference xmlns='urn:xmpp:reference:0' type='mention' uri='{uri}'/>");
    let references: String = uris.iter().map(reference).collect();
    let body = format!("<body>thirdwitch: hail</body>{references}");
    world.send(
        TWO,
        &format!("<message type='groupchat' to='{ROOM}' id='m'>{body}</message>"),
    )
}

#[test]
fn who_belongs_to_the_room_and_is_away_is_sent_what_mentions_him() {
    let mut world = World::configured(&[("muc#roomconfig_forwardmentions", "1")]);
    world.enter(TWO, "secondwitch");
    let member = |jid: &str, nick: &str| format!("<item affiliation='member' jid='{jid}' {nick}/>");
    world.admin(ONE, &member("hag66@shakespeare.lit", "nick='thirdwitch'"));
    world.admin(ONE, &member("silent@shakespeare.lit", ""));
    let away = "hag66@shakespeare.lit";
    let told = say(&mut world, &["xmpp:hag66@shakespeare.lit"]);
    let [(to, from, text)] = told.iter().filter(|(to, ..)| to == away).collect::<Vec<_>>()[..] else {
        panic!("one message: {told:?}");
    };
    assert_eq!((to.as_str(), from.as_str()), (away, ROOM));
    let start =
        "<message><mentions xmlns='urn:xmpp:mmn:0'><forwarded xmlns='urn:xmpp:forward:0'><delay xmlns='urn:xmpp:delay'";
    let inner = format!(
        "<message xmlns='jabber:client' from='{ROOM}/secondwitch' to='{ROOM}' type='groupchat' id='m'>\
         <body>thirdwitch: hail</body>"
    );
    assert!(text.starts_with(start) && text.contains(&inner), "{text}");
    assert_eq!(told.len(), 3);
    // By his name; and once.
    let by_name = format!("xmpp:{ROOM}/thirdwitch");
    assert_eq!(say(&mut world, &[&by_name, "xmpp:hag66@shakespeare.lit"]).len(), 3);
    // Nobody else: no stranger, none who has no name here, none who is here, no other reference.
    let other = format!("xmpp:{ROOM}/nobody");
    for uri in [
        "xmpp:stranger@d",
        "xmpp:silent@shakespeare.lit",
        "xmpp:crone1@shakespeare.lit",
        &other,
        "hag66@shakespeare.lit",
    ] {
        assert_eq!(say(&mut world, &[uri]).len(), 2, "{uri}");
    }
    let data = "<message type='groupchat' to='coven@chat.shakespeare.lit'><body>b</body>\
                <reference xmlns='urn:xmpp:reference:0' type='data' uri='xmpp:hag66@shakespeare.lit'/></message>";
    assert_eq!(world.send(TWO, data).len(), 2);
    world.enter(THREE, "thirdwitch");
    assert_eq!(say(&mut world, &["xmpp:hag66@shakespeare.lit"]).len(), 3);
    world.send(THREE, &format!("<presence type='unavailable' to='{ROOM}/thirdwitch'/>"));
    assert_eq!(say(&mut world, &["xmpp:hag66@shakespeare.lit"]).len(), 3);
    world.configure(&[("muc#roomconfig_forwardmentions", "0")]);
    assert_eq!(say(&mut world, &["xmpp:hag66@shakespeare.lit"]).len(), 2);
}
