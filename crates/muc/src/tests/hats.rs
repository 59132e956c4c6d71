//! XEP-0317, after its examples.

use super::*;

const HOST: &str = "http://schemas.example.com/hats#host";

/// A command with a form, which is carried out at once.
fn run(world: &mut World, who: &str, command: &str, fields: &[(&str, &str)]) -> Vec<Told> {
    let fields: String = fields
        .iter()
        .map(|(var, value)| format!("<field var='hats#{var}'><value>{value}</value></field>"))
        .collect();
    let form = match fields.is_empty() {
        true => String::new(),
        false => format!("<x xmlns='jabber:x:data' type='submit'>{fields}</x>"),
    };
    let node = format!("urn:xmpp:hats:commands:{command}");
    let payload =
        format!("<command xmlns='http://jabber.org/protocol/commands' node='{node}' sessionid='s'>{form}</command>");
    world.iq(who, "set", &payload)
}

fn completed(who: &str, command: &str) -> Told {
    let text = format!(
        "<iq type='result' id='q'><command xmlns='http://jabber.org/protocol/commands' \
         node='urn:xmpp:hats:commands:{command}' sessionid='s' status='completed'></command></iq>"
    );
    (who.into(), ROOM.into(), text)
}

/// What of hats somebody is told of each occupant, in presence.
fn worn(told: &[Told], who: &str) -> Vec<(String, String)> {
    let presence = of(told, who)
        .into_iter()
        .filter(|(_, text)| text.starts_with("<presence"));
    let hats = |text: &str| match text.find("<hats ") {
        Some(at) => text[at..text.find("</hats>").expect("its end")].to_owned(),
        None => String::new(),
    };
    presence.map(|(from, text)| (from.to_owned(), hats(text))).collect()
}

fn hats(inner: &str) -> String {
    format!("<hats xmlns='urn:xmpp:hats:0'>{inner}")
}

fn is_changed(told: &[Told]) -> bool {
    told.iter().any(|(_, _, text)| text.contains("<status code='104'/>"))
}

#[test]
fn admins_make_hats_and_people_wear_them() {
    let mut world = World::configured(&[("muc#roomconfig_persistentroom", "1")]);
    world.enter(TWO, "secondwitch");
    let host = [("title", "Host &amp; more"), ("uri", HOST), ("hue", "327.255249")];
    refused(&run(&mut world, TWO, "create", &host), TWO, "forbidden", "auth");
    let told = run(&mut world, ONE, "create", &host);
    assert_eq!(told[0], completed(ONE, "create"));
    assert!(is_changed(&told) && of(&told, TWO).len() == 1, "{told:?}");
    let info = world.iq(TWO, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    assert!(info[0].2.contains("<feature var='urn:xmpp:hats:0'/>") && info[0].2.contains("'hats#hash'"));
    // Who wears it is seen by everybody, himself included.
    let give = [("jid", "wiccarocks@shakespeare.lit/any"), ("uri", HOST)];
    let told = run(&mut world, ONE, "assign", &give);
    assert_eq!(told[0], completed(ONE, "assign"));
    let hat = |title: &str| hats(&format!("<hat title='{title}' uri='{HOST}' hue='327.255249'/>"));
    for who in [ONE, TWO] {
        assert_eq!(worn(&told, who), [("/secondwitch".to_owned(), hat("Host &amp; more"))]);
    }
    // A second time changes nothing.
    assert_eq!(run(&mut world, ONE, "assign", &give), [completed(ONE, "assign")]);
    // Who comes later sees it, also when the server was away.
    let told = world.enter(THREE, "thirdwitch");
    assert!(worn(&told, THREE).contains(&("/secondwitch".to_owned(), hat("Host &amp; more"))));
    world.room = world.again().expect("it is kept");
    world.enter(ONE, "firstwitch");
    let told = world.enter(TWO, "secondwitch");
    assert_eq!(worn(&told, ONE), [("/secondwitch".to_owned(), hat("Host &amp; more"))]);
    // Another title is seen at once.
    let told = run(
        &mut world,
        ONE,
        "create",
        &[("title", "H"), ("uri", HOST), ("hue", "327.255249")],
    );
    assert_eq!(worn(&told, TWO), [("/secondwitch".to_owned(), hat("H"))]);
    // It is taken away, or destroyed with all that wear it.
    let told = run(&mut world, ONE, "unassign", &give);
    assert_eq!(worn(&told, TWO), [("/secondwitch".to_owned(), String::new())]);
    refused(
        &run(&mut world, ONE, "unassign", &give),
        ONE,
        "item-not-found",
        "cancel",
    );
    run(&mut world, ONE, "assign", &give);
    let told = run(&mut world, ONE, "destroy", &[("uri", HOST)]);
    assert!(is_changed(&told) && told[0] == completed(ONE, "destroy"), "{told:?}");
    assert_eq!(worn(&told, ONE), [("/secondwitch".to_owned(), String::new())]);
    refused(
        &run(&mut world, ONE, "destroy", &[("uri", HOST)]),
        ONE,
        "item-not-found",
        "cancel",
    );
    refused(&run(&mut world, ONE, "assign", &give), ONE, "item-not-found", "cancel");
    world.room = world.again().expect("it is kept");
    assert!(worn(&world.enter(TWO, "secondwitch"), TWO)[0].1.is_empty());
}

#[test]
fn nobody_puts_a_hat_on_himself() {
    let mut world = World::open();
    let own = format!("<hats xmlns='urn:xmpp:hats:0'><hat title='H' uri='{HOST}'/></hats>");
    let x = "<x xmlns='http://jabber.org/protocol/muc'/>";
    for inner in [format!("{own}{x}"), format!("<status>hi</status>{own}")] {
        let told = world.send(TWO, &format!("<presence to='{ROOM}/secondwitch'>{inner}</presence>"));
        assert_eq!(
            worn(&told, ONE),
            [("/secondwitch".to_owned(), String::new())],
            "{told:?}"
        );
    }
}

#[test]
fn lists_and_forms() {
    let mut world = World::configured(&[("muc#roomconfig_membersonly", "1")]);
    run(&mut world, ONE, "create", &[("title", "T"), ("uri", "u:1")]);
    run(&mut world, ONE, "create", &[("title", "Q"), ("uri", "u:2")]);
    run(&mut world, ONE, "assign", &[("jid", "a@b"), ("uri", "u:2")]);
    let field = |var: &str, value: &str| format!("<field var='hats#{var}'><value>{value}</value></field>");
    let hat = |title: &str, uri: &str| field("title", title) + &field("uri", uri) + &field("hue", "");
    let list = run(&mut world, ONE, "list", &[]);
    let items = format!("<item>{}</item><item>{}</item>", hat("T", "u:1"), hat("Q", "u:2"));
    assert!(
        list[0].2.contains(&items) && list[0].2.contains("status='completed'"),
        "{list:?}"
    );
    let list = run(&mut world, ONE, "list-assigned", &[]);
    let item = [field("jid", "a@b"), field("uri", "u:2"), field("title", "Q")].concat();
    assert!(list[0].2.contains(&item), "{list:?}");
    // Strangers see neither in a room for members; nor the commands.
    for command in ["list", "list-assigned", "create"] {
        refused(&run(&mut world, TWO, command, &[]), TWO, "forbidden", "auth");
    }
    let items = "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>";
    let shown = |told: &[Told]| told[0].2.matches("<item ").count();
    assert_eq!(shown(&world.iq(ONE, "get", items)), 6);
    assert_eq!(shown(&world.iq(TWO, "get", items)), 0);
    // Forms.
    for (command, expected) in [
        ("create", "hats#title"),
        ("destroy", "<option label='Q'><value>u:2</value></option>"),
        ("assign", "<field var='hats#jid' type='jid-single'"),
        ("unassign", "<option label='T'><value>u:1</value></option>"),
    ] {
        let told = run(&mut world, ONE, command, &[]);
        let text = &told[0].2;
        assert!(text.contains("status='executing'") && text.contains(expected), "{text}");
    }
}

#[test]
fn a_room_that_is_not_configured_has_none() {
    let mut world = World::new();
    world.enter(ONE, "firstwitch");
    let told = run(&mut world, ONE, "create", &[("title", "T"), ("uri", "u:1")]);
    refused(&told, ONE, "not-allowed", "cancel");
}

#[test]
fn what_is_no_hat() {
    let mut world = World::open();
    let long = "u".repeat(1_025);
    for fields in [
        &[("title", "T")][..],
        &[("uri", "u:1")],
        &[("title", " "), ("uri", "u:1")],
        &[("title", "T"), ("uri", "u 1")],
        &[("title", "T"), ("uri", &long)],
        &[("title", "T"), ("uri", "u:1"), ("hue", "361")],
        &[("title", "T"), ("uri", "u:1"), ("hue", "blue")],
    ] {
        let told = run(&mut world, ONE, "create", fields);
        refused(&told, ONE, "bad-request", "modify");
    }
    run(&mut world, ONE, "create", &[("title", "T"), ("uri", "u:0")]);
    for jid in ["b", "@b"] {
        let told = run(&mut world, ONE, "assign", &[("jid", jid), ("uri", "u:0")]);
        refused(&told, ONE, "bad-request", "modify");
    }
    // There is room for so many, and each may be changed then.
    for n in 1..64 {
        run(&mut world, ONE, "create", &[("title", "T"), ("uri", &format!("u:{n}"))]);
    }
    let told = run(&mut world, ONE, "create", &[("title", "T"), ("uri", "u:64")]);
    refused(&told, ONE, "resource-constraint", "wait");
    assert!(is_changed(&run(
        &mut world,
        ONE,
        "create",
        &[("title", "U"), ("uri", "u:0")]
    )));
    for n in 0..16 {
        run(&mut world, ONE, "assign", &[("jid", "a@b"), ("uri", &format!("u:{n}"))]);
    }
    let told = run(&mut world, ONE, "assign", &[("jid", "a@b"), ("uri", "u:16")]);
    refused(&told, ONE, "resource-constraint", "wait");
    // A command that is none, and what is none of its actions.
    refused(&run(&mut world, ONE, "wear", &[]), ONE, "item-not-found", "cancel");
    for action in ["prev", "jump"] {
        let node = "urn:xmpp:hats:commands:list";
        let payload = format!("<command xmlns='http://jabber.org/protocol/commands' node='{node}' action='{action}'/>");
        refused(&world.iq(ONE, "set", &payload), ONE, "bad-request", "modify");
    }
}
