//! Sections 7.4, 7.5, 7.8, 7.13, 8.1 and 8.6; and history.

use super::*;

fn groupchat(inner: &str) -> String {
    format!("<message type='groupchat' id='m' to='{ROOM}'>{inner}</message>")
}

#[test]
fn everybody_gets_what_somebody_says_and_he_himself_too() {
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    let told = world.send(THREE, &groupchat("<body>Harpier cries: &apos;tis time.</body>"));
    let message = "<message type='groupchat' id='m'><body>Harpier cries: &apos;tis time.</body></message>";
    assert_eq!(of(&told, ONE), [("/thirdwitch", message)]);
    assert_eq!(of(&told, THREE), [("/thirdwitch", message)]);
    refused(
        &world.send(TWO, &groupchat("<body>x</body>")),
        TWO,
        "not-acceptable",
        "modify",
    );
    refused(
        &world.send(
            THREE,
            &format!("<message type='chat' to='{ROOM}'><body>x</body></message>"),
        ),
        THREE,
        "bad-request",
        "modify",
    );
}

#[test]
fn nobody_says_what_only_the_room_may() {
    let mut world = World::open();
    let forged = format!(
        "<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' id='1' by='{ROOM}'/><stanza-id xmlns='urn:xmpp:sid:0' id='2' \
         by='{ROOM}/firstwitch'/><stanza-id xmlns='urn:xmpp:sid:0' id='3'/><stanza-id xmlns='urn:xmpp:sid:0' id='4' \
         by='crone1@shakespeare.lit'/><occupant-id xmlns='urn:xmpp:occupant-id:0' \
         id='x'/><x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x><delay xmlns='urn:xmpp:delay' \
         from='{ROOM}' stamp='2002-09-10T23:08:25Z'/><delay xmlns='urn:xmpp:delay' stamp='2002-09-10T23:08:25Z'/><x \
         xmlns='jabber:x:delay' from='{ROOM}/firstwitch' stamp='20020910T23:08:25'/>"
    );
    let told = world.send(ONE, &groupchat(&forged));
    assert_eq!(
        of(&told, ONE),
        [(
            "/firstwitch",
            "<message type='groupchat' id='m'><body>x</body></message>"
        )]
    );
    // What others say of themselves stays.
    let kept = "<body>x</body><delay xmlns='urn:xmpp:delay' from='crone1@shakespeare.lit/desktop' stamp='2002-09-10T23:08:25Z'/>";
    let told = world.send(ONE, &groupchat(kept));
    assert_eq!(
        of(&told, ONE)[0].1,
        format!("<message type='groupchat' id='m'>{kept}</message>")
    );
}

#[test]
fn who_has_no_voice_is_not_heard_and_asks_for_it() {
    let mut world = World::configured(&[("muc#roomconfig_moderatedroom", "1")]);
    world.enter(THREE, "thirdwitch");
    refused(
        &world.send(THREE, &groupchat("<body>x</body>")),
        THREE,
        "forbidden",
        "auth",
    );
    let ask = format!(
        "<message to='{ROOM}'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>\
         http://jabber.org/protocol/muc#request</value></field><field var='muc#role'><value>participant</value></field></x>\
         </message>"
    );
    let told = world.send(THREE, &ask);
    let [("", form)] = of(&told, ONE)[..] else {
        panic!("{told:?}")
    };
    for part in [
        "<field var='muc#jid' type='jid-single' label='User ID'><value>hag66@shakespeare.lit/pda</value>",
        "<value>thirdwitch</value>",
    ] {
        assert!(form.contains(part), "{form}");
    }
    let answer = |allow: &str| {
        ask.replace(
            "</x>",
            &format!(
                "<field var='muc#roomnick'><value>thirdwitch</value></field><field var='muc#jid'><value>{THREE}</value>\
                 </field><field var='muc#request_allow'><value>{allow}</value></field></x>"
            ),
        )
    };
    refused(&world.send(THREE, &answer("true")), THREE, "forbidden", "auth");
    assert_eq!(world.send(ONE, &answer("false")), []);
    let told = world.send(ONE, &answer("true"));
    let seen = presence("", &format!("affiliation='none' role='participant' jid='{THREE}'"), &[]);
    assert_eq!(of(&told, ONE), [("/thirdwitch", seen.as_str())]);
    assert_eq!(of(&world.send(THREE, &groupchat("<body>x</body>")), ONE).len(), 1);
    // Who has it already bothers nobody.
    assert_eq!(world.send(THREE, &ask), []);
}

#[test]
fn in_private() {
    let mut world = World::open();
    world.enter(TWO, "secondwitch");
    world.enter(THREE, "thirdwitch");
    let to =
        |nick: &str, kind: &str| format!("<message type='{kind}' id='p' to='{ROOM}/{nick}'><body>x</body></message>");
    let told = world.send(TWO, &to("thirdwitch", "chat"));
    let message =
        "<message type='chat' id='p'><body>x</body><x xmlns='http://jabber.org/protocol/muc#user'/></message>";
    assert_eq!(
        told,
        [(THREE.to_owned(), format!("{ROOM}/secondwitch"), message.to_owned())]
    );
    refused(
        &world.send(TWO, &to("thirdwitch", "groupchat")),
        TWO,
        "bad-request",
        "modify",
    );
    refused(&world.send(TWO, &to("nobody", "chat")), TWO, "item-not-found", "cancel");
    let other = "other@shakespeare.lit/x";
    refused(
        &world.send(other, &to("thirdwitch", "chat")),
        other,
        "not-acceptable",
        "modify",
    );
    world.configure(&[("muc#roomconfig_allowpm", "moderators")]);
    refused(&world.send(TWO, &to("thirdwitch", "chat")), TWO, "forbidden", "auth");
    assert_eq!(world.send(ONE, &to("thirdwitch", "chat")).len(), 1);
}

#[test]
fn the_subject() {
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    refused(
        &world.send(THREE, &groupchat("<subject>Mine</subject>")),
        THREE,
        "forbidden",
        "auth",
    );
    let told = world.send(ONE, &groupchat("<subject>Fire Burn!</subject>"));
    let message = "<message type='groupchat' id='m'><subject>Fire Burn!</subject></message>";
    assert_eq!(of(&told, THREE), [("/firstwitch", message)]);
    // Whoever comes later hears who has set it, and when; after a crash as well.
    let expected = format!(
        "<message type='groupchat'><subject>Fire Burn!</subject><delay xmlns='urn:xmpp:delay' from='{ROOM}' \
         stamp='1970-01-01T00:16:40.000Z'/></message>"
    );
    let told = world.enter(TWO, "secondwitch");
    assert_eq!(of(&told, TWO).last(), Some(&("/firstwitch", expected.as_str())));
    world.room = world.again().expect("it is kept");
    let told = world.enter(TWO, "secondwitch");
    assert_eq!(of(&told, TWO).last(), Some(&("/firstwitch", expected.as_str())));
    // With a body, or a thread, it is a message with a subject.
    for more in ["<body>x</body>", "<thread>t</thread>"] {
        world.send(TWO, &groupchat(&format!("<subject>No</subject>{more}")));
    }
    assert_eq!(world.room.subject.elements, "<subject>Fire Burn!</subject>");
    // Who has no such right gets it by the configuration.
    world.configure(&[("muc#roomconfig_changesubject", "1")]);
    let told = world.send(TWO, &groupchat("<subject>Ours</subject>"));
    assert_eq!(of(&told, TWO).len(), 1, "{told:?}");
    // Section 7.2.15: one that was taken away is an empty one with its time, by whoever did it.
    world.send(TWO, &groupchat("<subject></subject>"));
    let told = world.send_whole(
        THREE,
        &format!("<presence to='{ROOM}/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
    );
    let Some(&("/secondwitch", text)) = of(&told, THREE).last() else {
        panic!("{told:?}")
    };
    assert!(
        text.starts_with("<message type='groupchat'><subject></subject><occupant-id ") && text.contains("<delay "),
        "{text}"
    );
    // After a crash it is the same.
    world.room = world.again().expect("it is kept");
    let again = world.send_whole(
        THREE,
        &format!("<presence to='{ROOM}/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
    );
    assert_eq!(of(&again, THREE).last(), Some(&("/secondwitch", text)));
}

/// Section 7.5: it comes to all clients of the occupant, whatever else is not allowed.
#[test]
fn in_private_to_all_clients() {
    let phone = "hag66@shakespeare.lit/phone";
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    world.enter(phone, "thirdwitch");
    for kind in ["chat", "normal", "headline"] {
        let forged = "<x xmlns='http://jabber.org/protocol/muc#user'><status code='104'/></x>";
        let text = format!("<message type='{kind}' to='{ROOM}/thirdwitch'><body>x</body>{forged}</message>");
        let told = world.send_whole(ONE, &text);
        assert_eq!((of(&told, THREE).len(), of(&told, phone).len()), (1, 1));
        let text = of(&told, THREE)[0].1;
        assert_eq!(text.matches("<occupant-id ").count(), 1, "{text}");
        assert!(
            text.ends_with("<x xmlns='http://jabber.org/protocol/muc#user'/></message>"),
            "{text}"
        );
        assert!(!text.contains("104"), "{text}");
    }
    // An error goes back as a private message does, from the name of whoever says it.
    let error = format!(
        "<message type='error' id='p' to='{ROOM}/firstwitch'><error type='cancel'><service-unavailable \
         xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    );
    let told = world.send(THREE, &error);
    assert_eq!(told.len(), 1);
    assert_eq!(of(&told, ONE)[0].0, "/thirdwitch");
    // One to the room is for nobody; nor is what somebody outside says.
    assert_eq!(world.send(THREE, &error.replace("/firstwitch", "")), []);
    assert_eq!(world.send(TWO, &error), []);
}

#[test]
fn what_was_said_before() {
    let mut world = World::configured(&[("muc#maxhistoryfetch", "3")]);
    for number in 1..=5 {
        world.now += 1_000;
        world.send(ONE, &groupchat(&format!("<body>n{number}</body>")));
    }
    // None of these is for later.
    for over in [
        "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
        "<body>x</body><no-store xmlns='urn:xmpp:hints'/>",
    ] {
        world.send(ONE, &groupchat(over));
    }
    let bodies = |world: &mut World, history: &str| -> Vec<String> {
        let told = world.join(THREE, "thirdwitch", history);
        let told = of(&told, THREE);
        let own = told.iter().position(|(_, text)| text.contains("110")).expect("oneself");
        let history = &told[own + 1..told.len() - 1];
        assert!(told[told.len() - 1].1.contains("<subject"), "{told:?}");
        let body = |text: &str| {
            text.split("<body>")
                .nth(1)
                .and_then(|rest| rest.split('<').next())
                .unwrap_or("")
                .to_owned()
        };
        for (from, text) in history {
            assert_eq!(*from, "/firstwitch");
            assert!(
                text.contains(&format!("<delay xmlns='urn:xmpp:delay' from='{ROOM}'")),
                "{text}"
            );
        }
        history.iter().map(|(_, text)| body(text)).collect()
    };
    assert_eq!(bodies(&mut world, ""), ["n3", "n4", "n5"]);
    // What one is told in characters, with all that is sent.
    let told = world.send_whole(
        THREE,
        &format!("<presence to='{ROOM}/thirdwitch'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
    );
    let history = told.iter().filter(|(_, _, text)| text.contains("<body>"));
    let of_one = history
        .map(|(to, from, text)| text.len() + format!(" from='{from}' to='{to}'").len())
        .next();
    let of_one = of_one.expect("history");
    for (characters, expected) in [
        (2 * of_one, &["n4", "n5"][..]),
        (2 * of_one - 1, &["n5"]),
        (of_one - 1, &[]),
    ] {
        assert_eq!(
            bodies(&mut world, &format!("<history maxchars='{characters}'/>")),
            expected
        );
    }
    let cases: [(&str, &[&str]); 9] = [
        ("<history seconds='18446744073709551615'/>", &["n3", "n4", "n5"]),
        ("<history maxstanzas='2'/>", &["n4", "n5"]),
        ("<history maxstanzas='9'/>", &["n3", "n4", "n5"]),
        ("<history maxstanzas='0'/>", &[]),
        ("<history maxchars='0'/>", &[]),
        ("<history seconds='1'/>", &["n4", "n5"]),
        ("<history since='1970-01-01T00:16:45Z'/>", &["n5"]),
        ("<history seconds='100' maxstanzas='1'/>", &["n5"]),
        ("<history maxchars='x' since='yesterday'/>", &["n3", "n4", "n5"]),
    ];
    for (history, expected) in cases {
        assert_eq!(bodies(&mut world, history), expected, "{history}");
    }
}

#[test]
fn invitations_go_through_the_room() {
    let mut world = World::configured(&[
        ("muc#roomconfig_passwordprotectedroom", "1"),
        ("muc#roomconfig_roomsecret", "cauldronburn"),
    ]);
    let invite = format!(
        "<message id='i' to='{ROOM}'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='hecate@shakespeare.lit'>\
         <reason>Hey Hecate</reason></invite></x></message>"
    );
    refused(&world.send(TWO, &invite), TWO, "forbidden", "auth");
    let told = world.send(ONE, &invite);
    let expected = "<message id='i'><x xmlns='http://jabber.org/protocol/muc#user'><invite from='crone1@shakespeare.lit'>\
                    <reason>Hey Hecate</reason></invite><password>cauldronburn</password></x></message>";
    assert_eq!(
        told,
        [(
            "hecate@shakespeare.lit".to_owned(),
            ROOM.to_owned(),
            expected.to_owned()
        )]
    );
    let decline = |to: &str| {
        format!(
            "<message id='d' to='{ROOM}'><x xmlns='http://jabber.org/protocol/muc#user'><decline to='{to}'>\
             <reason>Sorry</reason></decline></x></message>"
        )
    };
    // Nobody else is bothered through the room, and the inviter once.
    let hecate = "hecate@shakespeare.lit/broom";
    assert_eq!(world.send(hecate, &decline("wiccarocks@shakespeare.lit")), []);
    let told = world.send(hecate, &decline("crone1@shakespeare.lit"));
    let expected = "<message id='d'><x xmlns='http://jabber.org/protocol/muc#user'><decline from='hecate@shakespeare.lit'>\
                    <reason>Sorry</reason></decline></x></message>";
    assert_eq!(told, [(ONE.to_owned(), ROOM.to_owned(), expected.to_owned())]);
    assert_eq!(world.send(hecate, &decline("crone1@shakespeare.lit")), []);
    let wrong = invite.replace("hecate@shakespeare.lit", "@");
    refused(&world.send(ONE, &wrong), ONE, "jid-malformed", "modify");
    // Section 7.9: several at once.
    let one = "<invite to='hecate@shakespeare.lit'><continue thread='t'/></invite>";
    let several = |number: usize| {
        let x = format!(
            "<x xmlns='http://jabber.org/protocol/muc#user'>{}</x>",
            one.repeat(number)
        );
        format!("<message id='i' to='{ROOM}'>{x}</message>")
    };
    let told = world.send(ONE, &several(2));
    assert_eq!(told.len(), 2);
    assert!(told[0].2.contains("<continue thread='t'/>"), "{told:?}");
    refused(&world.send(ONE, &several(33)), ONE, "policy-violation", "modify");
}

/// Section 7.8.2: who invites somebody that is not there is told so.
#[test]
fn nobody_is_invited() {
    let mut world = World::open();
    let invite = format!(
        "<message id='i' to='{ROOM}'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='hecate@shakespeare.lit'/></x>\
         </message>"
    );
    world.send(ONE, &invite);
    let error = |condition: &str| {
        format!(
            "<message type='error' id='i' to='{ROOM}'><error type='cancel'><{condition} \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
    };
    let hecate = "hecate@shakespeare.lit";
    assert_eq!(world.send(hecate, &error("resource-constraint")), []);
    assert_eq!(world.send("other@shakespeare.lit", &error("service-unavailable")), []);
    let told = world.send(hecate, &error("service-unavailable"));
    refused(&told, ONE, "item-not-found", "cancel");
    assert!(told[0].2.starts_with("<message type='error' id='i'>"), "{told:?}");
    assert_eq!(world.send(hecate, &error("service-unavailable")), []);
}

/// Section 9.5.
#[test]
fn into_a_room_for_members() {
    let mut world = World::configured(&[
        ("muc#roomconfig_membersonly", "1"),
        ("muc#roomconfig_allowinvites", "0"),
    ]);
    world.admin(ONE, "<item affiliation='member' jid='hag66@shakespeare.lit'/>");
    world.enter(THREE, "thirdwitch");
    let invite = format!(
        "<message id='i' to='{ROOM}'><x xmlns='http://jabber.org/protocol/muc#user'><invite to='hecate@shakespeare.lit'/></x>\
         </message>"
    );
    refused(&world.send(THREE, &invite), THREE, "forbidden", "auth");
    world.configure(&[("muc#roomconfig_allowinvites", "1")]);
    let told = world.send(THREE, &invite);
    assert_eq!(of(&told, "hecate@shakespeare.lit").len(), 1);
    // The owner sees who belongs to the room, and so hears of it.
    assert_eq!((of(&told, ONE).len(), told.len()), (1, 2));
    // Who was invited is a member, and that lasts.
    world.enter("hecate@shakespeare.lit/broom", "hecate");
    let again = world.again().expect("it is kept");
    let hecate = Jid::parse("hecate@shakespeare.lit").expect("a JID");
    assert_eq!(again.affiliation(hecate.as_ref()), crate::Affiliation::Member);
}

#[test]
fn an_error_among_occupants_does_not_tell_whose_server_it_is_of() {
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    let error = |by: &str| {
        format!(
            "<message type='error' id='p' to='{ROOM}/firstwitch'><error{by} type='cancel'><service-unavailable \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/><e:text xmlns:e='urn:ietf:params:xml:ns:xmpp-stanzas' \
             xml:lang='en'>no</e:text></error></message>"
        )
    };
    world.send(
        ONE,
        &format!("<message type='chat' id='p' to='{ROOM}/thirdwitch'><body>x</body></message>"),
    );
    let plain = world.send(THREE, &error(""));
    let told = world.send(THREE, &error(" by='shakespeare.lit' code='503'"));
    let [("/thirdwitch", text)] = of(&told, ONE)[..] else {
        panic!("{told:?}")
    };
    assert!(!text.contains("by=") && !text.contains("shakespeare.lit"), "{text}");
    assert!(
        text.contains("<service-unavailable") && text.contains(">no</"),
        "{text}"
    );
    assert!(of(&plain, ONE)[0].1.contains("<error type='cancel'>"), "{plain:?}");
}

/// RFC 6121 section 8.5.3.2.1.
#[test]
fn who_is_gone_is_put_out_but_not_who_takes_no_private_messages() {
    let error = |id: &str| {
        format!(
            "<message type='error' id='{id}' to='{ROOM}/firstwitch'><error type='cancel'><service-unavailable \
             xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
        )
    };
    const THREE: &str = "hag66@far.example/pda";
    const TWO: &str = "wiccarocks@far.example/laptop";
    let mut world = World::open();
    world.enter(THREE, "thirdwitch");
    world.send(
        ONE,
        &format!("<message type='chat' id='private' to='{ROOM}/thirdwitch'><body>x</body></message>"),
    );
    let told = world.send(THREE, &error("private"));
    assert!(of(&told, ONE)[0].1.starts_with("<message type='error'"), "{told:?}");
    // What somebody else was sent in private is no excuse.
    world.enter(TWO, "secondwitch");
    let told = world.send(TWO, &error("private"));
    assert!(of(&told, ONE)[0].1.contains("<status code='333'/>"), "{told:?}");
    world.send(ONE, &groupchat("<body>x</body>"));
    let told = world.send(THREE, &error("m"));
    assert!(of(&told, ONE)[0].1.contains("<status code='333'/>"), "{told:?}");
    assert!(of(&told, ONE)[0].1.contains("unavailable"), "{told:?}");
}
