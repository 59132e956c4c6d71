//! Section 10; and requests among occupants.

use super::*;
use crate::Affiliation;

const OWNER: &str = "http://jabber.org/protocol/muc#owner";

fn field<'t>(form: &'t str, var: &str) -> &'t str {
    let at = form.find(&format!("var='{var}'")).expect("the field");
    let end = form[at..].find("</field>").map_or(form.len(), |end| at + end);
    &form[at..end]
}

#[test]
fn the_form_goes_there_and_back() {
    let mut world = World::configured(&[
        ("muc#roomconfig_roomname", "A Dark Cave"),
        ("muc#roomconfig_publicroom", "1"),
    ]);
    world.enter(TWO, "secondwitch");
    let ask = format!("<query xmlns='{OWNER}'/>");
    refused(&world.iq(TWO, "get", &ask), TWO, "forbidden", "auth");
    refused(
        &world.iq(
            TWO,
            "set",
            &format!("<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='submit'/></query>"),
        ),
        TWO,
        "forbidden",
        "auth",
    );
    let told = world.iq(ONE, "get", &ask);
    let form = &told[0].2;
    assert!(
        field(form, "muc#roomconfig_roomname").contains("<value>A Dark Cave</value>"),
        "{form}"
    );
    assert!(
        field(form, "muc#roomconfig_roomowners").contains("<value>crone1@shakespeare.lit</value>"),
        "{form}"
    );
    // All of it submitted as it came changes nothing, and nobody hears of it.
    let start = form.find("<x xmlns='jabber:x:data'").expect("a form");
    let end = form.find("</query>").expect("its end");
    let back = form[start..end].replacen("type='form'", "type='submit'", 1);
    let before = world.room.config.clone();
    let told = world.iq(ONE, "set", &format!("<query xmlns='{OWNER}'>{back}</query>"));
    assert_eq!(told, [done(ONE)]);
    assert_eq!(world.room.config, before);
    assert_eq!(world.again().expect("it is kept").config, before);
    // Nor does one that was thrown away.
    let cancel = format!("<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='cancel'/></query>");
    assert_eq!(world.iq(ONE, "set", &cancel), [done(ONE)]);
}

#[test]
fn what_is_no_configuration() {
    for (fields, condition, kind) in [
        (
            &[("muc#roomconfig_passwordprotectedroom", "1")][..],
            "not-acceptable",
            "modify",
        ),
        (&[("muc#roomconfig_whois", "everybody")], "not-acceptable", "modify"),
        (&[("muc#roomconfig_maxusers", "0")], "not-acceptable", "modify"),
        (&[("muc#roomconfig_publicroom", "perhaps")], "not-acceptable", "modify"),
        (
            &[("muc#roomconfig_presencebroadcast", "king")],
            "not-acceptable",
            "modify",
        ),
        (&[("muc#roomconfig_roomowners", "other@d")][..0], "", ""),
        (&[("muc#roomconfig_roomowners", "")], "conflict", "cancel"),
        (&[("muc#roomconfig_roomadmins", "@d")], "jid-malformed", "modify"),
        (&[("muc#roomconfig_roomadmins", "d")], "bad-request", "modify"),
    ] {
        let mut world = World::open();
        let before = world.room.config.clone();
        let told = world.configure(fields);
        match condition {
            "" => assert_eq!(told, [done(ONE)]),
            condition => refused(&told, ONE, condition, kind),
        }
        assert_eq!(world.room.config, before);
    }
    let mut world = World::open();
    for query in [
        "",
        "<x xmlns='jabber:x:data'/>",
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>other</value></field></x>",
    ] {
        let told = world.iq(ONE, "set", &format!("<query xmlns='{OWNER}'>{query}</query>"));
        refused(&told, ONE, "bad-request", "modify");
    }
}

/// Section 10.2.1.
#[test]
fn everybody_hears_what_has_changed() {
    let mut world = World::open();
    world.enter(TWO, "secondwitch");
    for (field, codes) in [
        (("muc#roomconfig_enablelogging", "1"), "<status code='170'/>"),
        (("muc#roomconfig_enablelogging", "0"), "<status code='171'/>"),
        (("muc#roomconfig_whois", "anyone"), "<status code='172'/>"),
        (("muc#roomconfig_whois", "moderators"), "<status code='173'/>"),
        (("muc#roomconfig_roomname", "Cave"), "<status code='104'/>"),
    ] {
        let told = world.configure(&[field]);
        let message =
            format!("<message type='groupchat'><x xmlns='http://jabber.org/protocol/muc#user'>{codes}</x></message>");
        assert_eq!(of(&told, TWO), [("", message.as_str())]);
    }
    // A message for each, and "only a status element" in it.
    let told = world.configure(&[
        ("muc#roomconfig_whois", "anyone"),
        ("muc#roomconfig_roomname", "Other"),
        ("muc#roomconfig_enablelogging", "1"),
    ]);
    let codes = ["170", "172", "104"];
    let heard = of(&told, TWO);
    assert_eq!(heard.len(), codes.len());
    for (code, (_, text)) in codes.iter().zip(heard) {
        assert!(text.contains(&format!(
            "<x xmlns='http://jabber.org/protocol/muc#user'><status code='{code}'/></x>"
        )));
    }
}

#[test]
fn a_configuration_changes_who_is_there_and_as_what() {
    let mut world = World::configured(&[("muc#roomconfig_moderatedroom", "1")]);
    world.enter(TWO, "secondwitch");
    world.enter(THREE, "thirdwitch");
    let told = world.configure(&[
        ("muc#roomconfig_moderatedroom", "0"),
        ("muc#roomconfig_roomadmins", "wiccarocks@shakespeare.lit"),
    ]);
    let text: Vec<&str> = of(&told, ONE).iter().map(|(_, text)| *text).collect();
    let second = presence("", &format!("affiliation='admin' role='moderator' jid='{TWO}'"), &[]);
    let third = presence("", &format!("affiliation='none' role='participant' jid='{THREE}'"), &[]);
    assert!(
        text.contains(&second.as_str()) && text.contains(&third.as_str()),
        "{text:?}"
    );
    let told = world.configure(&[("muc#roomconfig_membersonly", "1")]);
    assert!(
        of(&told, THREE)
            .iter()
            .any(|(_, text)| text.contains("<status code='322'/>")),
        "{told:?}"
    );
    assert!(
        of(&told, TWO)
            .iter()
            .any(|(from, text)| *from == "/thirdwitch" && text.contains("<status code='322'/>"))
    );
    // The lists are whole ones: who is named no more is no admin. He stays, where only members are, and all hear of it
    // (sections 10.2 and 10.7).
    let told = world.configure(&[("muc#roomconfig_roomadmins", "")]);
    let second = presence("", &format!("affiliation='member' role='participant' jid='{TWO}'"), &[]);
    assert!(of(&told, ONE).contains(&("/secondwitch", second.as_str())), "{told:?}");
    let again = world.again().expect("it is kept");
    let two = Jid::parse(TWO).expect("a JID");
    assert_eq!(again.affiliation(two.as_ref()), Affiliation::Member);
    // In others he is nobody in particular.
    world.configure(&[
        ("muc#roomconfig_membersonly", "0"),
        ("muc#roomconfig_roomadmins", "wiccarocks@shakespeare.lit"),
    ]);
    world.configure(&[("muc#roomconfig_roomadmins", "")]);
    let again = world.again().expect("it is kept");
    assert_eq!(again.affiliation(two.as_ref()), Affiliation::None);
}

/// Strangers who are put out together do not hear of each other: it would be said for each pair of them.
#[test]
fn who_goes_hears_of_himself_alone() {
    let mut world = World::open();
    world.enter(TWO, "secondwitch");
    world.enter(THREE, "thirdwitch");
    let told = world.configure(&[("muc#roomconfig_membersonly", "1")]);
    for (who, nick) in [(TWO, "/secondwitch"), (THREE, "/thirdwitch")] {
        let own = of(&told, who);
        assert_eq!(own.len(), 2, "104 and 322: {own:?}");
        assert!(
            own.iter()
                .any(|(from, text)| *from == nick && text.contains("code='322'")),
            "{own:?}"
        );
        let seen = of(&told, ONE);
        assert!(
            seen.iter()
                .any(|(from, text)| *from == nick && text.contains("code='322'")),
            "{seen:?}"
        );
    }
}

/// Whose presence is shown is another matter from who is there.
#[test]
fn presence_that_comes_and_goes_with_the_configuration() {
    let mut world = World::configured(&[("muc#roomconfig_moderatedroom", "1")]);
    world.enter(TWO, "secondwitch");
    world.enter(THREE, "thirdwitch");
    let told = world.configure(&[("muc#roomconfig_presencebroadcast", "moderator")]);
    let gone = presence("unavailable", "affiliation='none' role='none'", &[]);
    let shown = of(&told, TWO);
    assert!(shown.contains(&("/thirdwitch", gone.as_str())), "{shown:?}");
    assert!(
        !shown
            .iter()
            .any(|(from, _)| matches!(*from, "/secondwitch" | "/firstwitch")),
        "{shown:?}"
    );
    let told = world.configure(&[("muc#roomconfig_presencebroadcast", "visitor")]);
    let back = presence("", "affiliation='none' role='visitor'", &[]);
    assert!(of(&told, TWO).contains(&("/thirdwitch", back.as_str())), "{told:?}");
    assert!(
        of(&told, TWO)
            .iter()
            .any(|(from, text)| *from == "/firstwitch" && text.contains("unavailable"))
    );
}

/// Section 10.9.
#[test]
fn the_end_of_a_room() {
    let mut world = World::configured(&[("muc#roomconfig_persistentroom", "1")]);
    world.enter(TWO, "secondwitch");
    let destroy = format!(
        "<query xmlns='{OWNER}'><destroy jid='coven2@chat.shakespeare.lit'><password>new</password><reason>Macbeth doth \
         come.</reason></destroy></query>"
    );
    refused(&world.iq(TWO, "set", &destroy), TWO, "forbidden", "auth");
    let told = world.iq(ONE, "set", &destroy);
    let text = format!(
        "<presence type='unavailable'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' role='none' \
         jid='{TWO}'/><status code='110'/><destroy jid='coven2@chat.shakespeare.lit'><password>new</password>\
         <reason>Macbeth doth come.</reason></destroy></x></presence>"
    );
    assert_eq!(of(&told, TWO), [("/secondwitch", text.as_str())]);
    assert_eq!(told.last(), Some(&done(ONE)));
    assert!(world.room.is_gone() && world.again().is_none());
}

#[test]
fn what_a_room_tells_of_itself() {
    let mut world = World::configured(&[
        ("muc#roomconfig_roomname", "A Dark Cave"),
        ("muc#roomconfig_membersonly", "1"),
    ]);
    let ask = |node: &str| format!("<query xmlns='http://jabber.org/protocol/disco#info'{node}/>");
    let told = world.iq(TWO, "get", &ask(""));
    let text = &told[0].2;
    assert!(
        text.contains("<identity category='conference' type='text' name='A Dark Cave'/>"),
        "{text}"
    );
    for feature in [
        "muc_membersonly",
        "muc_unmoderated",
        "muc_semianonymous",
        "muc_unsecured",
        "muc_temporary",
        "muc_hidden",
    ] {
        assert!(text.contains(&format!("<feature var='{feature}'/>")), "{text}");
    }
    world.admin(
        ONE,
        "<item affiliation='member' jid='hag66@shakespeare.lit' nick='thirdwitch'/>",
    );
    let told = world.iq(THREE, "get", &ask(" node='x-roomuser-item'"));
    assert!(
        told[0]
            .2
            .contains("<identity category='conference' type='text' name='thirdwitch'/></query>"),
        "{told:?}"
    );
    let told = world.iq(TWO, "get", &ask(" node='x-roomuser-item'"));
    assert!(told[0].2.contains("node='x-roomuser-item'></query>"), "{told:?}");
    refused(
        &world.iq(TWO, "get", &ask(" node='http://jabber.org/protocol/muc#traffic'")),
        TWO,
        "service-unavailable",
        "cancel",
    );
    refused(
        &world.iq(TWO, "get", &ask(" node='x'")),
        TWO,
        "item-not-found",
        "cancel",
    );
    refused(
        &world.iq(TWO, "get", "<query xmlns='urn:x'/>"),
        TWO,
        "service-unavailable",
        "cancel",
    );
    // Who is in it is nobody else's affair.
    let told = world.iq(TWO, "get", "<query xmlns='http://jabber.org/protocol/disco#items'/>");
    assert_eq!(
        told[0].2,
        "<iq type='result' id='q'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"
    );
}

/// Section 17.4, and XEP-0410.
#[test]
fn requests_among_occupants() {
    let mut world = World::open();
    world.enter(TWO, "secondwitch");
    world.enter(THREE, "thirdwitch");
    let ask = |nick: &str, payload: &str| format!("<iq type='get' id='q' to='{ROOM}/{nick}'>{payload}</iq>");
    let version = "<query xmlns='jabber:iq:version'/>";
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    let request = format!("<iq type='get' id='q'>{version}</iq>");
    let asked = [(THREE.to_owned(), format!("{ROOM}/secondwitch"), request)];
    assert_eq!(world.send(TWO, &ask("thirdwitch", version)), asked);
    // Once more, as after a connection that broke; and the same id is somebody else's too.
    assert_eq!(world.send(TWO, &ask("thirdwitch", version)), asked);
    assert_eq!(world.send(ONE, &ask("thirdwitch", version)).len(), 1);
    let answer = format!("<iq type='result' id='q' to='{ROOM}/secondwitch'>{version}</iq>");
    // Only who was asked answers, and once.
    assert_eq!(world.send(ONE, &answer), []);
    assert_eq!(
        world.send(THREE, &answer.replace("secondwitch", "firstwitch"))[0].0,
        ONE
    );
    let text = format!("<iq type='result' id='q'>{version}</iq>");
    assert_eq!(
        world.send(THREE, &answer),
        [(TWO.to_owned(), format!("{ROOM}/thirdwitch"), text)]
    );
    assert_eq!(world.send(THREE, &answer), []);
    // The account answers for its clients.
    let told = world.send(TWO, &ask("thirdwitch", "<vCard xmlns='vcard-temp'/>"));
    assert_eq!(told[0].0, "hag66@shakespeare.lit");
    let card = format!("<iq type='result' id='q' to='{ROOM}/secondwitch'><vCard xmlns='vcard-temp'/></iq>");
    assert_eq!(
        world.send("hag66@shakespeare.lit", &card)[0].1,
        format!("{ROOM}/thirdwitch")
    );
    // XEP-0410: oneself, and who is not there any more.
    let told = world.send(TWO, &ask("secondwitch", ping));
    assert_eq!(
        told,
        [(
            TWO.to_owned(),
            format!("{ROOM}/secondwitch"),
            "<iq type='result' id='q'/>".to_owned()
        )]
    );
    let other = "other@shakespeare.lit/x";
    refused(
        &world.send(other, &ask("thirdwitch", ping)),
        other,
        "not-acceptable",
        "cancel",
    );
    refused(
        &world.send(
            other,
            &ask("thirdwitch", "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
        ),
        other,
        "bad-request",
        "modify",
    );
    refused(&world.send(TWO, &ask("nobody", ping)), TWO, "item-not-found", "cancel");
}

/// What is said in a room that keeps no archive is still there for who enters.
#[test]
fn a_room_without_an_archive() {
    let mut world = World::open();
    world.enter(TWO, "secondwitch");
    let say = format!("<message type='groupchat' to='{ROOM}'><body>x</body></message>");
    let kept = |world: &mut World| {
        let told = world.send_whole(TWO, &say);
        of(&told, ONE)[0].1.contains("<stanza-id ")
    };
    assert!(!kept(&mut world));
    let told = world.enter(THREE, "thirdwitch");
    assert!(
        of(&told, THREE)
            .iter()
            .any(|(from, text)| *from == "/secondwitch" && text.contains("<body>x</body>"))
    );
    world.configure(&[("muc#roomconfig_enablelogging", "1")]);
    assert!(kept(&mut world));
    // Section 7.2.12.
    let told = world.join(THREE, "thirdwitch", "");
    let own = of(&told, THREE);
    assert!(
        own.iter()
            .any(|(_, text)| text.contains("<status code='110'/><status code='170'/>")),
        "{own:?}"
    );
}
