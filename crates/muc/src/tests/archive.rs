//! The archive of a room: who reads it and what he is shown (XEP-0313 section 6.1.2), what is taken back (XEP-0424,
//! XEP-0425), and history after a restart.

use module::ArchiveIds;

use super::*;

const MODERATE: &str = "urn:xmpp:message-moderate:1";

/// These tests are of rooms that keep one.
fn with_archive(mut world: World) -> World {
    world.room.config.logging = true;
    world
}

fn logged() -> World {
    with_archive(World::open())
}

fn say(world: &mut World, who: &str, id: &str, inner: &str) -> Vec<Told> {
    world.send(
        who,
        &format!("<message type='groupchat' id='{id}' to='{ROOM}'>{inner}</message>"),
    )
}

fn shown(id: i64) -> String {
    ArchiveIds::new(&[1; 32]).show(id)
}

/// What somebody finds in the archive: the forwarded messages, without what is around them.
fn read(world: &mut World, who: &str, with: &str) -> Vec<String> {
    let with = match with {
        "" => String::new(),
        with => format!("<field var='with'><value>{with}</value></field>"),
    };
    let query = format!(
        "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'>\
         <value>urn:xmpp:mam:2</value></field>{with}</x></query>"
    );
    let told = world.iq(who, "set", &query);
    let (end, messages) = told.split_last().expect("an answer");
    assert!(end.2.contains("<fin "), "{told:?}");
    let inner = |(to, from, text): &Told| {
        assert_eq!((to.as_str(), from.as_str()), (who, ROOM));
        let begin = text.find("<message xmlns='jabber:client'").expect("a message");
        text[begin..text.find("</forwarded>").expect("its end")].replace(" xmlns='jabber:client'", "")
    };
    messages.iter().map(inner).collect()
}

fn by(nick: &str, id: &str, inner: &str) -> String {
    format!("<message from='{ROOM}/{nick}' type='groupchat' id='{id}'>{inner}</message>")
}

/// The address of its sender, as an archive tells it.
fn of_whom(jid: &str) -> String {
    format!("<x xmlns='http://jabber.org/protocol/muc#user'><item jid='{jid}'/></x>")
}

#[test]
fn who_may_enter_reads() {
    let mut world = logged();
    say(&mut world, ONE, "m", "<body>x</body>");
    let hears = |world: &mut World, who: &str| read(world, who, "").len();
    // Also who has never been there.
    assert_eq!((hears(&mut world, ONE), hears(&mut world, THREE)), (1, 1));
    let refuses = |world: &mut World, who: &str| {
        for payload in ["<query xmlns='urn:xmpp:mam:2'/>", "<metadata xmlns='urn:xmpp:mam:2'/>"] {
            let kind = if payload.contains("metadata") { "get" } else { "set" };
            refused(&world.iq(who, kind, payload), who, "forbidden", "auth");
        }
        refused(
            &world.iq(who, "get", "<query xmlns='urn:xmpp:mam:2'/>"),
            who,
            "forbidden",
            "auth",
        );
    };
    world.admin(ONE, "<item affiliation='outcast' jid='hag66@shakespeare.lit'/>");
    refuses(&mut world, THREE);
    world.admin(ONE, "<item affiliation='none' jid='hag66@shakespeare.lit'/>");
    assert_eq!(hears(&mut world, THREE), 1);

    world.configure(&[("muc#roomconfig_membersonly", "1")]);
    refuses(&mut world, THREE);
    world.admin(ONE, "<item affiliation='member' jid='hag66@shakespeare.lit'/>");
    assert_eq!(hears(&mut world, THREE), 1);

    world.configure(&[
        ("muc#roomconfig_membersonly", "0"),
        ("muc#roomconfig_passwordprotectedroom", "1"),
        ("muc#roomconfig_roomsecret", "cauldronburn"),
    ]);
    assert_eq!(hears(&mut world, THREE), 1);
    refuses(&mut world, TWO);
    world.join(TWO, "secondwitch", "<password>cauldronburn</password>");
    assert_eq!(hears(&mut world, TWO), 1);
    // There are no preferences.
    let prefs = world.iq(ONE, "get", "<prefs xmlns='urn:xmpp:mam:2'/>");
    refused(&prefs, ONE, "feature-not-implemented", "cancel");
    let form = world.iq(ONE, "get", "<query xmlns='urn:xmpp:mam:2'/>");
    assert!(
        form[0].2.contains("var='before-id'") && !form[0].2.contains("include-groupchat"),
        "{form:?}"
    );
    let metadata = world.iq(ONE, "get", "<metadata xmlns='urn:xmpp:mam:2'/>");
    assert!(
        metadata[0].2.contains(&format!("<start id='{}'", shown(1))),
        "{metadata:?}"
    );
}

/// Nothing tells who somebody is but to whom it may, whatever the room was or becomes.
#[test]
fn true_addresses_are_shown_to_whom_they_may() {
    let mut world = logged();
    world.enter(THREE, "thirdwitch");
    world.enter(TWO, "secondwitch");
    say(&mut world, THREE, "hidden", "<body>x</body>");
    let (owner, third) = (of_whom("crone1@shakespeare.lit/desktop"), of_whom(THREE));
    let hidden = by("thirdwitch", "hidden", "<body>x</body>");
    assert_eq!(read(&mut world, TWO, ""), [hidden.as_str()]);
    // Moderators see whose it is; of the time when not everybody saw it, the account.
    let of_account = by(
        "thirdwitch",
        "hidden",
        &format!("<body>x</body>{}", of_whom("hag66@shakespeare.lit")),
    );
    assert_eq!(read(&mut world, ONE, ""), [of_account.as_str()]);

    world.configure(&[("muc#roomconfig_whois", "anyone")]);
    say(&mut world, THREE, "known", "<body>y</body>");
    say(&mut world, ONE, "own", "<body>z</body>");
    let known = by("thirdwitch", "known", &format!("<body>y</body>{third}"));
    let own = by("firstwitch", "own", &format!("<body>z</body>{owner}"));
    // The room has become open, but not what was said before.
    assert_eq!(read(&mut world, TWO, ""), [hidden.as_str(), &known, &own]);
    assert_eq!(read(&mut world, TWO, "hag66@shakespeare.lit"), [known.as_str()]);
    assert_eq!(read(&mut world, TWO, THREE), [known.as_str()]);
    assert_eq!(
        read(&mut world, ONE, "hag66@shakespeare.lit"),
        [of_account.as_str(), &known]
    );

    world.configure(&[("muc#roomconfig_whois", "moderators")]);
    let not_known = by("thirdwitch", "known", "<body>y</body>");
    assert_eq!(read(&mut world, TWO, "").len(), 3);
    assert_eq!(read(&mut world, TWO, "")[..2], [hidden.as_str(), &not_known]);
    for jid in ["hag66@shakespeare.lit", THREE, "nobody@shakespeare.lit"] {
        let query = format!(
            "<query xmlns='urn:xmpp:mam:2'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>\
             urn:xmpp:mam:2</value></field><field var='with'><value>{jid}</value></field></x></query>"
        );
        refused(&world.iq(TWO, "set", &query), TWO, "forbidden", "auth");
    }
    // By the name that everybody knows.
    let third = format!("{ROOM}/thirdwitch");
    assert_eq!(read(&mut world, TWO, &third), [hidden.as_str(), &not_known]);
    // All of it is the room's.
    assert_eq!(read(&mut world, TWO, ROOM), read(&mut world, TWO, ""));
}

#[test]
fn what_is_kept() {
    let mut world = logged();
    let kept = [
        "<body>x</body>",
        "<reactions xmlns='urn:xmpp:reactions:0' id='x'><reaction>x</reaction></reactions>",
        "<body>x</body><reply xmlns='urn:xmpp:reply:0' id='x' to='x'/>",
        "<displayed xmlns='urn:xmpp:chat-markers:0' id='x'/>",
        "<received xmlns='urn:xmpp:receipts' id='x'/>",
        "<body>x</body><replace xmlns='urn:xmpp:message-correct:0' id='x'/>",
        "<encrypted xmlns='eu.siacs.conversations.axolotl'><payload>x</payload></encrypted>",
        "<encryption xmlns='urn:xmpp:eme:0' namespace='x'/><body>x</body>",
        "<active xmlns='http://jabber.org/protocol/chatstates'/><store xmlns='urn:xmpp:hints'/>",
        // A change of the subject too (section 6.1.2).
        "<subject>x</subject>",
    ];
    for (at, inner) in kept.iter().enumerate() {
        say(&mut world, ONE, "m", inner);
        let all = read(&mut world, TWO, "");
        assert_eq!(all.len(), at + 1, "{inner}");
        assert_eq!(all[at], by("firstwitch", "m", inner), "as it was");
    }
    for inner in [
        "<active xmlns='http://jabber.org/protocol/chatstates'/>",
        "<body>x</body><no-store xmlns='urn:xmpp:hints'/>",
        "<body>x</body><no-permanent-store xmlns='urn:xmpp:hints'/>",
    ] {
        let told = say(&mut world, ONE, "m", inner);
        assert_eq!(of(&told, ONE).len(), 1, "{inner}");
        assert_eq!(read(&mut world, TWO, "").len(), kept.len(), "{inner}");
    }
    // Nor what is said in private, or is refused.
    world.enter(TWO, "secondwitch");
    world.send(
        TWO,
        &format!("<message type='chat' to='{ROOM}/firstwitch'><body>x</body></message>"),
    );
    say(&mut world, THREE, "m", "<body>x</body>");
    assert_eq!(read(&mut world, TWO, "").len(), kept.len());
}

/// Nothing is kept of a room that nobody has configured, and nothing is left of one that was destroyed.
#[test]
fn a_new_room_has_nothing_of_an_old_one() {
    let mut world = with_archive(World::new());
    world.enter(ONE, "firstwitch");
    say(&mut world, ONE, "m", "<body>x</body>");
    assert_eq!(read(&mut world, ONE, ""), [""; 0]);
    let owner = "<query xmlns='http://jabber.org/protocol/muc#owner'>";
    world.iq(
        ONE,
        "set",
        &format!("{owner}<x xmlns='jabber:x:data' type='submit'/></query>"),
    );
    say(&mut world, ONE, "m", "<body>x</body>");
    assert_eq!(read(&mut world, ONE, "").len(), 1);
    world.iq(ONE, "set", &format!("{owner}<destroy/></query>"));
    world.room = logged().room;
    assert_eq!(read(&mut world, ONE, ""), [""; 0]);
}

fn retract(id: &str) -> String {
    format!("<retract xmlns='urn:xmpp:message-retract:1' id='{id}'/><body>fallback</body>")
}

fn tombstone(nick: &str, id: &str, by_whom: &str, inner: &str) -> String {
    let retracted =
        format!("<retracted xmlns='urn:xmpp:message-retract:1' stamp='1970-01-01T00:16:40.000Z' id='{by_whom}'>");
    by(nick, id, &format!("{retracted}{inner}</retracted>"))
}

#[test]
fn who_has_sent_a_message_takes_it_back() {
    let mut world = logged();
    world.enter(THREE, "thirdwitch");
    world.enter(TWO, "secondwitch");
    say(&mut world, THREE, "m1", "<body>one</body>");
    say(&mut world, THREE, "m2", "<body>two</body>");
    // Of others, of nothing, and without a name of its own: everybody hears it, and nothing goes.
    for (who, id, named) in [(TWO, " id='r'", 1), (THREE, " id='r'", 99), (THREE, "", 1)] {
        let message = format!(
            "<message type='groupchat'{id} to='{ROOM}'>{}</message>",
            retract(&shown(named))
        );
        assert_eq!(of(&world.send(who, &message), ONE).len(), 1);
    }
    assert_eq!(read(&mut world, TWO, "").len(), 5);
    assert_eq!(read(&mut world, TWO, "")[0], by("thirdwitch", "m1", "<body>one</body>"));
    // Nor what is not kept.
    say(
        &mut world,
        THREE,
        "r",
        &format!("{}<no-store xmlns='urn:xmpp:hints'/>", retract(&shown(1))),
    );
    assert_eq!(read(&mut world, TWO, "")[0], by("thirdwitch", "m1", "<body>one</body>"));

    // Under another name he is the same.
    world.send(THREE, &format!("<presence to='{ROOM}/oldhag'/>"));
    let told = say(&mut world, THREE, "r1", &retract(&shown(1)));
    assert_eq!(
        of(&told, ONE),
        [(
            "/oldhag",
            &*by("oldhag", "r1", &retract(&shown(1))).replace(&format!(" from='{ROOM}/oldhag'"), "")
        )]
    );
    let buried = tombstone("thirdwitch", "m1", "r1", "");
    let all = read(&mut world, TWO, "");
    assert_eq!((all.len(), &all[0]), (6, &buried));
    // Once.
    say(&mut world, THREE, "r2", &retract(&shown(1)));
    assert_eq!(read(&mut world, TWO, "")[0], buried);

    // So it is in the history, and after a restart.
    let history = |world: &mut World| {
        let told = world.join("witch@shakespeare.lit/x", "fourth", "");
        let texts = told
            .into_iter()
            .filter(|(_, _, text)| text.starts_with("<message") && text.contains("<delay"));
        texts.map(|(_, _, text)| text).collect::<Vec<_>>()
    };
    let before = history(&mut world);
    assert_eq!(before.len(), 7, "{before:?}");
    assert!(
        before[0].contains("<retracted ") && !before[0].contains("<body>"),
        "{before:?}"
    );
    world.room = world.again().expect("it is kept");
    assert_eq!(history(&mut world), before);
}

fn moderate(id: &str, reason: &str) -> String {
    format!("<moderate xmlns='{MODERATE}' id='{id}'><retract xmlns='urn:xmpp:message-retract:1'/>{reason}</moderate>")
}

#[test]
fn moderators_take_back_what_others_have_said() {
    let mut world = logged();
    world.enter(THREE, "thirdwitch");
    world.enter(TWO, "secondwitch");
    say(&mut world, THREE, "m1", "<body>DM me for free magic potions!</body>");
    refused(
        &world.iq(TWO, "set", &moderate(&shown(1), "")),
        TWO,
        "forbidden",
        "auth",
    );
    for (payload, condition, kind) in [
        (moderate("nothing", ""), "item-not-found", "cancel"),
        (moderate(&shown(99), ""), "item-not-found", "cancel"),
        (
            format!("<moderate xmlns='{MODERATE}' id='{}'/>", shown(1)),
            "bad-request",
            "modify",
        ),
        (moderate(&shown(1), "").replace(" id=", " x="), "bad-request", "modify"),
    ] {
        refused(&world.iq(ONE, "set", &payload), ONE, condition, kind);
    }
    let told = world.iq(ONE, "set", &moderate(&shown(1), "<reason>No &lt;spam&gt;</reason>"));
    let (answer, said) = told.split_last().expect("an answer");
    assert_eq!(*answer, done(ONE));
    let by_whom = format!("moderated-{}", shown(1));
    // The occupant id is left out by these tests.
    let moderated =
        format!("<moderated xmlns='{MODERATE}' by='{ROOM}/firstwitch'></moderated><reason>No &lt;spam&gt;</reason>");
    let message = format!(
        "<message type='groupchat' id='{by_whom}'><retract xmlns='urn:xmpp:message-retract:1' id='{}'>{moderated}</retract>\
         </message>",
        shown(1)
    );
    assert_eq!(said.len(), 3);
    for (who, said) in [ONE, TWO, THREE]
        .into_iter()
        .zip([ONE, TWO, THREE].map(|who| of(said, who)))
    {
        assert_eq!(said, [("", message.as_str())], "{who}");
    }
    let all = read(&mut world, TWO, "");
    let from_room = message.replacen(" type=", &format!(" from='{ROOM}' type="), 1);
    assert_eq!(all.len(), 2);
    assert_eq!(all[1], from_room);
    // With the occupant id of the one who sent it, before that of the moderator, which is left in.
    assert!(
        all[0].starts_with(&by("thirdwitch", "m1", "<retracted ").replace("</message>", "")),
        "{all:?}"
    );
    assert!(
        all[0].contains(&format!(
            "<moderated xmlns='{MODERATE}' by='{ROOM}/firstwitch'><occupant-id "
        )),
        "{all:?}"
    );
    assert!(!all[0].contains("potions"), "{all:?}");
    // Who moderates is not shown by his address, not even to moderators.
    assert!(read(&mut world, ONE, "")[1] == from_room);
    // Once more is done already; and what the room says itself stays.
    assert_eq!(world.iq(ONE, "set", &moderate(&shown(1), "")), [done(ONE)]);
    refused(
        &world.iq(ONE, "set", &moderate(&shown(2), "")),
        ONE,
        "not-allowed",
        "cancel",
    );
    let reads = read(&mut world, TWO, "");
    assert_eq!(reads, all);
}

/// A member of the room that is elsewhere has no name in it.
#[test]
fn an_admin_moderates_from_outside() {
    let mut world = logged();
    world.enter(THREE, "thirdwitch");
    say(&mut world, THREE, "m1", "<body>x</body>");
    let told = world.iq("crone1@shakespeare.lit/elsewhere", "set", &moderate(&shown(1), ""));
    let said = of(&told, THREE);
    assert!(
        said[0].1.contains(&format!("<moderated xmlns='{MODERATE}'>")),
        "{said:?}"
    );
}

#[test]
fn nobody_says_in_the_name_of_the_room_that_something_is_gone() {
    let mut world = logged();
    for forged in [
        format!("<retract xmlns='urn:xmpp:message-retract:1' id='1'><moderated xmlns='{MODERATE}' by='x'/></retract>"),
        format!("<moderated xmlns='{MODERATE}' by='x'/>"),
        "<retracted xmlns='urn:xmpp:message-retract:1' id='1' stamp='1970-01-01T00:16:40.000Z'/>".to_owned(),
    ] {
        let told = say(&mut world, ONE, "m", &format!("{forged}<body>x</body>"));
        let message = "<message type='groupchat' id='m'><body>x</body></message>";
        assert_eq!(of(&told, ONE), [("/firstwitch", message)], "{forged}");
    }
}

#[test]
fn a_room_says_what_its_archive_can() {
    let mut world = logged();
    let told = world.iq(ONE, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    for feature in [
        "urn:xmpp:mam:2",
        "urn:xmpp:mam:2#extended",
        "urn:xmpp:sid:0",
        "urn:xmpp:message-retract:1",
        "urn:xmpp:message-retract:1#tombstone",
        MODERATE,
    ] {
        assert_eq!(
            told[0].2.matches(&format!("<feature var='{feature}'/>")).count(),
            1,
            "{feature} in {told:?}"
        );
    }
}
