//! Sections 7.2, 7.6, 7.7 and 7.14.

use super::*;

const SUBJECT: (&str, &str) = ("", "<message type='groupchat'><subject/></message>");

#[test]
fn who_names_a_room_makes_it_and_owns_it() {
    let mut world = World::new();
    let told = world.enter(ONE, "firstwitch");
    let item = format!("affiliation='owner' role='moderator' jid='{ONE}'");
    let own = presence("", &item, &[110, 201]);
    assert_eq!(of(&told, ONE), [("/firstwitch", own.as_str()), SUBJECT]);
    // Section 7.2.10: it is not there yet, for nobody else, and not in the store.
    refused(&world.join(TWO, "secondwitch", ""), TWO, "item-not-found", "cancel");
    refused(
        &world.iq(TWO, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
        TWO,
        "item-not-found",
        "cancel",
    );
    assert!(world.again().is_none());
    // Section 10.1.3: who goes without a word has made none.
    let told = world.send(ONE, &format!("<presence type='unavailable' to='{ROOM}/firstwitch'/>"));
    assert_eq!(told.len(), 1);
    assert!(world.room.is_gone() && world.again().is_none());
}

#[test]
fn everybody_else_comes_before_oneself_and_then_the_subject() {
    let mut world = World::open();
    world.enter(TWO, "secondwitch");
    let told = world.enter(THREE, "thirdwitch");
    let one = presence("", "affiliation='owner' role='moderator'", &[]);
    let two = presence("", "affiliation='none' role='participant'", &[]);
    let own = presence(
        "",
        &format!("affiliation='none' role='participant' jid='{THREE}'"),
        &[110],
    );
    let expected = [
        ("/firstwitch", one.as_str()),
        ("/secondwitch", &two),
        ("/thirdwitch", &own),
        SUBJECT,
    ];
    assert_eq!(of(&told, THREE), expected);
    // Section 7.2.4: a moderator sees who it is, and nobody else.
    let seen = presence("", &format!("affiliation='none' role='participant' jid='{THREE}'"), &[]);
    assert_eq!(of(&told, ONE), [("/thirdwitch", seen.as_str())]);
    assert_eq!(of(&told, TWO), [("/thirdwitch", two.as_str())]);
    // It hears of itself only after the others were told.
    let own_at = told
        .iter()
        .position(|(to, _, text)| to == THREE && text.contains("110"));
    let last_other = told.iter().rposition(|(to, _, _)| to != THREE);
    assert!(own_at > last_other, "{told:?}");
}

#[test]
fn in_a_room_that_hides_nobody_all_see_all() {
    let mut world = World::configured(&[("muc#roomconfig_whois", "anyone")]);
    let told = world.enter(THREE, "thirdwitch");
    let one = presence("", &format!("affiliation='owner' role='moderator' jid='{ONE}'"), &[]);
    let own = presence(
        "",
        &format!("affiliation='none' role='participant' jid='{THREE}'"),
        &[100, 110],
    );
    assert_eq!(
        of(&told, THREE),
        [("/firstwitch", one.as_str()), ("/thirdwitch", &own), SUBJECT]
    );
}

/// Section 7.2.17.
#[test]
fn why_somebody_may_not_come_in() {
    let mut world = World::open();
    refused(
        &world.send(
            THREE,
            &format!("<presence to='{ROOM}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
        ),
        THREE,
        "jid-malformed",
        "modify",
    );
    let told = world.join(THREE, "firstwitch", "");
    refused(&told, THREE, "conflict", "cancel");
    // Whose error it is, and of what, as the examples have it.
    let expected = format!(
        "<presence type='error'><error type='cancel' by='{ROOM}'><conflict \
         xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error><x xmlns='http://jabber.org/protocol/muc'/></presence>"
    );
    assert_eq!(told[0].2, expected);
    let long = "n".repeat(world.limits.nick_bytes + 1);
    refused(&world.join(THREE, &long, ""), THREE, "not-acceptable", "modify");

    let mut world = World::configured(&[
        ("muc#roomconfig_passwordprotectedroom", "1"),
        ("muc#roomconfig_roomsecret", "cauldronburn"),
    ]);
    for password in ["", "<password/>", "<password>cauldron</password>"] {
        refused(
            &world.join(THREE, "thirdwitch", password),
            THREE,
            "not-authorized",
            "auth",
        );
    }
    let told = world.join(THREE, "thirdwitch", "<password>cauldronburn</password>");
    assert_eq!(of(&told, THREE).len(), 3, "{told:?}");
    // Its owner needs it as well.
    let phone = "crone1@shakespeare.lit/phone";
    refused(&world.join(phone, "firstwitch", ""), phone, "not-authorized", "auth");
    // The service does not.
    world.is_service_admin = true;
    world.enter("root@shakespeare.lit/x", "root");

    let mut world = World::configured(&[("muc#roomconfig_membersonly", "1")]);
    refused(
        &world.join(THREE, "thirdwitch", ""),
        THREE,
        "registration-required",
        "auth",
    );
    world.admin(ONE, "<item affiliation='member' jid='hag66@shakespeare.lit'/>");
    world.enter(THREE, "thirdwitch");

    let mut world = World::open();
    for (ban, who) in [
        ("hag66@shakespeare.lit", THREE),
        ("elsewhere.lit", "anybody@elsewhere.lit/x"),
    ] {
        world.admin(ONE, &format!("<item affiliation='outcast' jid='{ban}'/>"));
        refused(&world.join(who, "thirdwitch", ""), who, "forbidden", "auth");
    }

    let mut world = World::configured(&[("muc#roomconfig_maxusers", "1")]);
    refused(
        &world.join(THREE, "thirdwitch", ""),
        THREE,
        "service-unavailable",
        "wait",
    );
    // Another client of somebody who is here is no other occupant.
    world.enter("crone1@shakespeare.lit/phone", "firstwitch");
    // Whoever runs it comes in all the same.
    world.admin(ONE, "<item affiliation='admin' jid='hag66@shakespeare.lit'/>");
    world.enter(THREE, "thirdwitch");

    let mut world = World::open();
    world.admin(
        ONE,
        "<item affiliation='member' jid='hag66@shakespeare.lit' nick='thirdwitch'/>",
    );
    refused(&world.join(TWO, "thirdwitch", ""), TWO, "conflict", "cancel");
    world.enter(THREE, "thirdwitch");
}

/// Section 7.2.18.
#[test]
fn who_believes_to_be_there_is_told_that_he_is_not() {
    let mut world = World::open();
    let told = world.send(THREE, &format!("<presence to='{ROOM}/thirdwitch'/>"));
    let kicked = "<presence type='unavailable'><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='none' \
                  role='none'><reason>You are not in the room.</reason></item><status code='110'/><status code='307'/>\
                  <status code='333'/></x></presence>";
    assert_eq!(
        told,
        [(THREE.to_owned(), format!("{ROOM}/thirdwitch"), kicked.to_owned())]
    );
    let told = world.send_whole(THREE, &format!("<presence to='{ROOM}/thirdwitch'/>"));
    assert_eq!(told[0].2.matches("<occupant-id ").count(), 1, "{told:?}");
    // And whoever is not there does not go.
    assert_eq!(
        world.send(THREE, &format!("<presence type='unavailable' to='{ROOM}/thirdwitch'/>")),
        []
    );
}

#[test]
fn a_client_says_of_itself_only_what_it_may() {
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    let forged = "<show>xa</show><x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner'/></x>\
                  <occupant-id xmlns='urn:xmpp:occupant-id:0' id='another'/><hats xmlns='urn:xmpp:hats:0'/>\
                  <c xmlns='http://jabber.org/protocol/caps' node='n' ver='v' hash='sha-1'/>";
    let told = world.send(THREE, &format!("<presence to='{ROOM}/thirdwitch'>{forged}</presence>"));
    let inner = "<show>xa</show><c xmlns='http://jabber.org/protocol/caps' node='n' ver='v' hash='sha-1'/>";
    let seen = presence(
        inner,
        &format!("affiliation='none' role='participant' jid='{THREE}'"),
        &[],
    );
    assert_eq!(of(&told, ONE), [("/thirdwitch", seen.as_str())]);
    let own = presence(
        inner,
        &format!("affiliation='none' role='participant' jid='{THREE}'"),
        &[110],
    );
    assert_eq!(of(&told, THREE), [("/thirdwitch", own.as_str())]);
}

/// Section 7.2.1: who has lost what it knew of the room gets all of it again, and nobody else hears of it.
#[test]
fn a_client_that_comes_in_again_is_told_everything_again() {
    let mut world = World::open();
    let first = world.enter(THREE, "thirdwitch");
    let again = world.enter(THREE, "thirdwitch");
    assert_eq!(of(&again, THREE), of(&first, THREE));
    assert_eq!(of(&again, ONE), []);
    // Each time the stanza has another id, which says nothing of him.
    let join = |inner: &str| {
        let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
        format!("<presence id='a{inner}' to='{ROOM}/thirdwitch'>{x}{inner}</presence>")
            .replace("a<show>away</show>", "b")
    };
    assert_eq!(of(&world.send(THREE, &join("")), ONE), []);
    assert_eq!(of(&world.send(THREE, &join("<show>away</show>")), ONE).len(), 1);
    assert_eq!(
        of(
            &world.send(THREE, &join("<show>away</show>").replace("'b'", "'c'")),
            ONE
        ),
        []
    );
}

/// Section 7.2.8.
#[test]
fn two_clients_under_one_name() {
    let phone = "hag66@shakespeare.lit/phone";
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    let told = world.enter(phone, "thirdwitch");
    // The other hears of it, too: it is of itself.
    assert_eq!(of(&told, THREE).len(), 1);
    assert_eq!(of(&told, phone).len(), 3);
    let told = world.send(
        ONE,
        &format!("<message type='groupchat' to='{ROOM}'><body>x</body></message>"),
    );
    assert_eq!((of(&told, THREE).len(), of(&told, phone).len()), (1, 1));
    // One goes: the name stays, and what is seen of it is the other's.
    let told = world.send(phone, &format!("<presence type='unavailable' to='{ROOM}/thirdwitch'/>"));
    assert_eq!(told.len(), 2 + 1, "{told:?}");
    assert!(of(&told, phone)[0].1.contains("unavailable"));
    assert!(
        of(&told, ONE).iter().all(|(_, text)| !text.contains("unavailable")),
        "{told:?}"
    );
    // Of one that nobody saw nobody hears.
    world.enter(phone, "thirdwitch");
    let told = world.send(THREE, &format!("<presence type='unavailable' to='{ROOM}/thirdwitch'/>"));
    assert!(
        told.len() == 1 && of(&told, THREE)[0].1.contains("unavailable"),
        "{told:?}"
    );
    let told = world.send(phone, &format!("<presence type='unavailable' to='{ROOM}/thirdwitch'/>"));
    assert!(of(&told, ONE)[0].1.contains("unavailable"), "{told:?}");
    // Section 7.14: whoever goes is told first.
    assert_eq!(told[0].0, phone);
}

#[test]
fn another_name() {
    let mut world = World::open();
    world.enter(TWO, "secondwitch");
    world.enter(THREE, "thirdwitch");
    refused(
        &world.send(THREE, &format!("<presence to='{ROOM}/secondwitch'/>")),
        THREE,
        "conflict",
        "cancel",
    );
    let told = world.send(THREE, &format!("<presence to='{ROOM}/oldhag'/>"));
    let item = "affiliation='none' role='participant'";
    let gone = presence("unavailable", &format!("{item} nick='oldhag'"), &[303]);
    let here = presence("", item, &[]);
    assert_eq!(of(&told, TWO), [("/thirdwitch", gone.as_str()), ("/oldhag", &here)]);
    let known = format!("{item} jid='{THREE}'");
    let gone = presence("unavailable", &format!("{known} nick='oldhag'"), &[110, 303]);
    let here = presence("", &known, &[110]);
    assert_eq!(of(&told, THREE), [("/thirdwitch", gone.as_str()), ("/oldhag", &here)]);
    // The old one is free.
    world.enter("other@shakespeare.lit/x", "thirdwitch");
    // A name that is kept for somebody else is his.
    world.admin(
        ONE,
        "<item affiliation='member' jid='hecate@shakespeare.lit' nick='hecate'/>",
    );
    refused(
        &world.send(THREE, &format!("<presence to='{ROOM}/hecate'/>")),
        THREE,
        "conflict",
        "cancel",
    );
}

/// Section 14.6: nobody passes for another, be it one who is there or one for whom a name is kept.
#[test]
fn names_that_are_too_much_alike() {
    let mut world = World::open();
    world.admin(
        ONE,
        "<item affiliation='member' jid='hecate@shakespeare.lit' nick='hecate'/>",
    );
    world.enter(TWO, "Old Hag");
    for nick in [
        "old hag",
        "OLD HAG",
        "Old  Hag",
        "Old Hag ",
        "FirstWitch",
        " firstwitch",
        "Hecate",
    ] {
        refused(&world.join(THREE, nick, ""), THREE, "conflict", "cancel");
    }
    // One's own is another matter.
    world.enter("wiccarocks@shakespeare.lit/phone", "old hag");
    world.send(TWO, &format!("<presence type='unavailable' to='{ROOM}/Old Hag'/>"));
    refused(&world.join(THREE, "OLD HAG", ""), THREE, "conflict", "cancel");
    world.send(
        "wiccarocks@shakespeare.lit/phone",
        &format!("<presence to='{ROOM}/Second'/>"),
    );
    world.enter(THREE, "OLD HAG");
    let told = world.send(THREE, &format!("<presence to='{ROOM}/Old hag'/>"));
    assert_eq!(of(&told, ONE).len(), 2, "{told:?}");
    refused(
        &world.send(THREE, &format!("<presence to='{ROOM}/second'/>")),
        THREE,
        "conflict",
        "cancel",
    );
}

/// Table 3: who has no voice may have another name.
#[test]
fn a_visitor_may_have_another_name() {
    let mut world = World::configured(&[("muc#roomconfig_moderatedroom", "1")]);
    world.enter(THREE, "thirdwitch");
    let told = world.send(THREE, &format!("<presence to='{ROOM}/oldhag'/>"));
    assert_eq!(of(&told, ONE).len(), 2, "{told:?}");
}

/// Section 17.3: a client that has lost what it knew may come in again under another name; it is told everything.
#[test]
fn who_comes_in_again_under_another_name_is_told_everything() {
    let mut world = World::open();
    world.enter(TWO, "secondwitch");
    world.enter(THREE, "thirdwitch");
    let told = world.enter(THREE, "oldhag");
    let from: Vec<&str> = of(&told, THREE).iter().map(|(from, _)| *from).collect();
    assert_eq!(from, ["/thirdwitch", "/firstwitch", "/secondwitch", "/oldhag", ""]);
    let from: Vec<&str> = of(&told, TWO).iter().map(|(from, _)| *from).collect();
    assert_eq!(from, ["/thirdwitch", "/oldhag"]);
}

/// Section 7.6 allows it: two names of one account become one, with all of its clients.
#[test]
fn a_name_that_the_account_has_already() {
    let phone = "hag66@shakespeare.lit/phone";
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    world.enter(phone, "oldhag");
    let told = world.send(
        THREE,
        &format!("<presence to='{ROOM}/oldhag'><show>away</show></presence>"),
    );
    let seen = of(&told, ONE);
    assert_eq!(
        seen.iter().map(|(from, _)| *from).collect::<Vec<_>>(),
        ["/thirdwitch", "/oldhag"]
    );
    assert!(
        seen[0].1.contains("nick='oldhag'") && seen[1].1.contains("away"),
        "{seen:?}"
    );
    let own = of(&told, phone);
    assert!(!own[0].1.contains("110") && own[1].1.contains("110"), "{own:?}");
    let told = world.send(ONE, &format!("<message to='{ROOM}/oldhag'><body>x</body></message>"));
    assert_eq!((of(&told, THREE).len(), of(&told, phone).len()), (1, 1));
    // One goes, and the other is still here.
    world.send(phone, &format!("<presence type='unavailable' to='{ROOM}/oldhag'/>"));
    assert_eq!(world.room.sessions(), 2);
    refused(&world.join(TWO, "oldhag", ""), TWO, "conflict", "cancel");
}

/// XEP-0421: an account has one id in a room, whatever its name, and another in another room; it is in all presence.
#[test]
fn an_occupant_has_an_id() {
    let id = |text: &str| {
        let parts: Vec<&str> = text.split("<occupant-id ").collect();
        assert_eq!(parts.len(), 2, "one id: {text}");
        let value = parts[1].split("id='").nth(1).and_then(|rest| rest.split('\'').next());
        value.expect("an id").to_owned()
    };
    let phone = "hag66@shakespeare.lit/phone";
    let mut world = World::open();
    let enter = |world: &mut World, who: &str, nick: &str| {
        let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
        world.send_whole(who, &format!("<presence to='{ROOM}/{nick}'>{x}</presence>"))
    };
    let mine = id(of(&enter(&mut world, THREE, "thirdwitch"), ONE)[0].1);
    assert!(mine.len() <= 128 && !mine.contains("hag66"), "{mine}");
    assert_eq!(id(of(&enter(&mut world, phone, "oldhag"), ONE)[0].1), mine);
    let others = enter(&mut world, TWO, "secondwitch");
    let seen: Vec<String> = of(&others, TWO)[..4].iter().map(|(_, text)| id(text)).collect();
    assert_eq!([&seen[1], &seen[2]], [&mine; 2], "in the order of names: {others:?}");
    assert!(seen[0] != mine && seen[3] != mine && seen[0] != seen[3], "{seen:?}");
    // A forged one is replaced, and it stays the same.
    let forged = "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='x'/>".repeat(2);
    for text in [
        format!("<presence to='{ROOM}/crone'>{forged}</presence>"),
        format!("<presence to='{ROOM}/crone' type='unavailable'>{forged}</presence>"),
    ] {
        for (_, seen) in of(&world.send_whole(THREE, &text), ONE) {
            assert_eq!(id(seen), mine);
        }
    }
    let jid = Jid::parse("other@chat.shakespeare.lit").expect("a JID");
    world.room = Room::create(&jid, Jid::parse(THREE).expect("a JID").as_ref());
    assert_ne!(id(&enter(&mut world, THREE, "thirdwitch")[0].2), mine);
}

#[test]
fn going() {
    let mut world = World::configured(&[("muc#roomconfig_persistentroom", "1")]);
    world.enter(THREE, "thirdwitch");
    let leave = format!("<presence type='unavailable' to='{ROOM}/thirdwitch'><status>gone</status></presence>");
    let told = world.send(THREE, &leave);
    let item = "affiliation='none' role='none'";
    let inner = "unavailable<status>gone</status>";
    let seen = presence(inner, &format!("{item} jid='{THREE}'"), &[]);
    assert_eq!(of(&told, ONE), [("/thirdwitch", seen.as_str())]);
    let own = presence(inner, &format!("{item} jid='{THREE}'"), &[110]);
    assert_eq!(of(&told, THREE), [("/thirdwitch", own.as_str())]);
    // The room stays without anybody.
    world.send(ONE, &format!("<presence type='unavailable' to='{ROOM}/firstwitch'/>"));
    assert!(!world.room.is_gone());
    assert!(world.again().is_some());
    // A temporary one does not.
    let mut world = World::open();
    assert!(world.again().is_some());
    world.send(ONE, &format!("<presence type='unavailable' to='{ROOM}/firstwitch'/>"));
    assert!(world.room.is_gone());
    assert!(world.again().is_none());
}

/// Sections 11.1 and 18.1.2: an error that says that nobody is there.
#[test]
fn a_ghost_is_put_out() {
    for (name, kind) in [("presence", "presence"), ("message", "message")] {
        let mut world = World::open();
        world.enter(THREE, "thirdwitch");
        let error = |condition: &str| {
            format!(
                "<{name} type='error' to='{ROOM}/firstwitch'><error type='cancel'>\
                 <{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></{name}>"
            )
        };
        let told = world.send(THREE, &error("recipient-unavailable"));
        let seen = presence(
            "unavailable",
            &format!("affiliation='none' role='none' jid='{THREE}'"),
            &[333],
        );
        assert_eq!(of(&told, ONE), [("/thirdwitch", seen.as_str())], "{kind}");
    }
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    let error = format!(
        "<presence type='error' to='{ROOM}/firstwitch'><error type='cancel'><feature-not-implemented \
         xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></presence>"
    );
    assert_eq!(world.send(THREE, &error), []);
}

/// Whose role is not shown is seen by nobody but itself.
#[test]
fn some_are_not_shown() {
    let mut world = World::configured(&[
        ("muc#roomconfig_moderatedroom", "1"),
        ("muc#roomconfig_presencebroadcast", "moderator"),
    ]);
    let told = world.enter(THREE, "thirdwitch");
    assert_eq!(of(&told, ONE), []);
    assert_eq!(of(&told, THREE).len(), 3);
    let told = world.enter(TWO, "secondwitch");
    assert!(
        of(&told, TWO).iter().all(|(from, _)| *from != "/thirdwitch"),
        "{told:?}"
    );
}

/// Everybody who enters is given it: what is long keeps others out.
#[test]
fn presence_has_a_limit() {
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    let long = |count: usize| {
        format!(
            "<presence to='{ROOM}/thirdwitch'><status>{}</status></presence>",
            "x".repeat(count)
        )
    };
    assert!(!of(&world.send(THREE, &long(8_000)), ONE).is_empty());
    let told = world.send(THREE, &long(8 * 1_024));
    refused(&told, THREE, "policy-violation", "modify");
    assert_eq!(told.len(), 1);
}

/// The history has one in bytes, besides that in messages.
#[test]
fn who_enters_is_not_given_more_than_he_can_take() {
    let mut world = World::open();
    for number in 0..6 {
        let body = "x".repeat(250_000);
        world.send(
            ONE,
            &format!("<message to='{ROOM}' type='groupchat' id='{number}'><body>{body}</body></message>"),
        );
    }
    let told = world.enter(THREE, "thirdwitch");
    let came: Vec<bool> = (0..6)
        .map(|number| {
            told.iter()
                .any(|told| format!("{told:?}").contains(&format!("id='{number}'")))
        })
        .collect();
    assert_eq!(came, [false, false, true, true, true, true]);
}
