//! XEP-0060 section 8.

use module::Audience;

use super::*;
use crate::MAX_AFFILIATIONS;

#[test]
fn nodes_are_created() {
    let world = World::new();
    assert_eq!(
        world
            .set(JULIET, "<create node='princely_musings'/>")
            .expect("created")
            .0,
        ""
    );
    refused(
        world.set(JULIET, "<create node='princely_musings'/>"),
        StanzaError::conflict(),
    );
    refused(world.set(ROMEO, "<create node='his'/>"), StanzaError::forbidden());
    // Instant nodes (section 8.1.1, example 126).
    let mut names = Vec::new();
    for _ in 0..2 {
        let answer = world.set(JULIET, "<create/>").expect("created").0;
        let name = answer
            .strip_prefix(&format!("<pubsub xmlns='{PUBSUB}'><create node='"))
            .expect("a name");
        names.push(name.strip_suffix("'/></pubsub>").expect("nothing else").to_owned());
    }
    assert_ne!(names[0], names[1]);
    for name in names {
        world
            .get(JULIET, &format!("<items node='{name}'/>"))
            .expect("it is there");
    }
    let form = form(
        "http://jabber.org/protocol/pubsub#node_config",
        &[("access_model", "whatever")],
    );
    refused(
        world.set(JULIET, &format!("<create node='x'/><configure>{form}</configure>")),
        error(StanzaError::not_acceptable(), "unsupported-access-model"),
    );
    refused(
        world.set(
            JULIET,
            &format!("<create node='x'/><configure node='x'>{form}</configure>"),
        ),
        StanzaError::bad_request(),
    );
    assert_eq!(world.totals().nodes, 3);
}

/// The form as it was given, submitted: what Dino does to open its nodes for OMEMO.
fn submitted(form: &str) -> String {
    let (_, rest) = form.split_once("<configure").expect("a form");
    let (inner, _) = rest.split_once("</configure>").expect("a form");
    format!(
        "<configure{}</configure>",
        inner.replace("type='form'", "type='submit'")
    )
}

#[test]
fn the_form_comes_back_as_it_was() {
    let world = World::new();
    let odd = [
        ("title", "Musings &amp; more"),
        ("description", "&lt;'&quot;&#10;"),
        ("access_model", "roster"),
        ("max_items", "17"),
        ("item_expire", "604800"),
        ("send_last_published_item", "on_sub"),
        ("notification_type", "normal"),
        ("notify_config", "true"),
        ("itemreply", "publisher"),
        ("max_payload_size", "1000"),
    ];
    world.create("n", &odd);
    let before = world.owner_get(JULIET, "<configure node='n'/>").expect("a form").0;
    for (var, value) in odd {
        let value = value
            .replace("true", "1")
            .replace("&quot;", "\"")
            .replace("&#10;", "\n");
        let (_, field) = before.split_once(&format!("var='pubsub#{var}'")).expect("the field");
        let (field, _) = field.split_once("</field>").expect("its end");
        assert!(field.ends_with(&format!("<value>{value}</value>")), "{var}: {field}");
    }
    world.owner_set(JULIET, &submitted(&before)).expect("submitted");
    assert_eq!(
        world.owner_get(JULIET, "<configure node='n'/>").expect("a form").0,
        before
    );
    // With one change, and with what other servers know.
    let open = submitted(&before).replace("<value>roster</value></field>", "<value>open</value></field>");
    let open = open.replace("</x>", "<field var='pubsub#nonsense'><value>1</value></field></x>");
    world.owner_set(JULIET, &open).expect("submitted");
    let after = world.owner_get(JULIET, "<configure node='n'/>").expect("a form").0;
    assert_eq!(
        after,
        before.replace("<value>roster</value></field>", "<value>open</value></field>")
    );
}

#[test]
fn what_a_form_cannot_be() {
    let world = World::new();
    world.create("n", &[]);
    let before = world.owner_get(JULIET, "<configure node='n'/>").expect("a form").0;
    for wrong in [
        ("max_items", "0"),
        ("max_items", "many"),
        ("persist_items", "perhaps"),
        ("send_last_published_item", "always"),
        ("node_type", "collection"),
        ("purge_offline", "1"),
        ("title", &"x".repeat(crate::MAX_TEXT + 1)),
    ] {
        refused(world.configure(JULIET, "n", &[wrong]), StanzaError::not_acceptable());
    }
    for form in [
        "",
        "<x xmlns='jabber:x:data' type='form'/>",
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:x</value></field></x>",
    ] {
        let configure = format!("<configure node='n'>{form}</configure>");
        refused(world.owner_set(JULIET, &configure), StanzaError::bad_request());
    }
    let cancelled = "<configure node='n'><x xmlns='jabber:x:data' type='cancel'/></configure>";
    world.owner_set(JULIET, cancelled).expect("nothing is done");
    assert_eq!(
        world.owner_get(JULIET, "<configure node='n'/>").expect("a form").0,
        before
    );
    refused(
        world.owner_get(ROMEO, "<configure node='n'/>"),
        StanzaError::forbidden(),
    );
    refused(
        world.configure(ROMEO, "n", &[("title", "his")]),
        StanzaError::forbidden(),
    );
    refused(
        world.owner_get(JULIET, "<configure node='x'/>"),
        StanzaError::item_not_found(),
    );
    refused(
        world.owner_get(JULIET, "<configure/>"),
        error(StanzaError::bad_request(), "nodeid-required"),
    );
    let default = world.owner_get(JULIET, "<default/>").expect("a form").0;
    assert_eq!(
        default
            .replace("<default>", "<configure node='n'>")
            .replace("</default>", "</configure>"),
        before
    );
}

#[test]
fn configuring_makes_room_and_tells() {
    let mut world = World::new();
    world.create("n", &[("max_items", "max")]);
    for number in 0..40 {
        world.publish("n", &number.to_string(), "<a xmlns='urn:a'/>");
    }
    let (_, notices) = world
        .configure(JULIET, "n", &[("max_items", "3"), ("notify_config", "1")])
        .expect("configured");
    assert_eq!(world.ids(JULIET, "<items node='n'/>"), ["37", "38", "39"]);
    assert_eq!((world.count(&crate::ITEMS), world.count(&crate::ORDER)), (3, 3));
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    let text = notice.message.text();
    assert!(
        text.contains("<configuration node='n'><x xmlns='jabber:x:data' type='result'>"),
        "{text}"
    );
    let (_, notices) = world
        .configure(JULIET, "n", &[("persist_items", "0")])
        .expect("configured");
    assert_eq!(
        (notices.len(), world.count(&crate::ITEMS), world.totals().bytes),
        (1, 0, 0)
    );
}

#[test]
fn nodes_are_purged_and_deleted() {
    let mut world = World::new();
    for node in ["n", "n2"] {
        world.create(node, &[("max_items", "max")]);
        for id in ["1", "2"] {
            world.publish(node, id, "<a xmlns='urn:a'/>");
        }
    }
    let bytes = world.totals().bytes;
    refused(world.owner_set(ROMEO, "<purge node='n'/>"), StanzaError::forbidden());
    refused(world.owner_set(ROMEO, "<delete node='n'/>"), StanzaError::forbidden());
    refused(
        world.owner_set(JULIET, "<purge node='x'/>"),
        StanzaError::item_not_found(),
    );
    refused(
        world.owner_set(JULIET, "<delete node='x'/>"),
        StanzaError::item_not_found(),
    );
    let (_, notices) = world.owner_set(JULIET, "<purge node='n'/>").expect("purged");
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert!(notice.message.text().contains("<purge node='n'/>"));
    assert_eq!(world.ids(JULIET, "<items node='n'/>"), [""; 0]);
    assert_eq!(world.ids(JULIET, "<items node='n2'/>"), ["1", "2"]);
    assert_eq!(world.totals().bytes, bytes / 2);
    world.publish("n", "3", "<a xmlns='urn:a'/>");
    let (_, notices) = world.owner_set(JULIET, "<delete node='n'/>").expect("deleted");
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert!(notice.message.text().contains("<delete node='n'/>"));
    assert_eq!(notice.audience, Audience::Contacts);
    refused(world.get(JULIET, "<items node='n'/>"), StanzaError::item_not_found());
    assert_eq!(world.ids(JULIET, "<items node='n2'/>"), ["1", "2"]);
    assert_eq!((world.count(&crate::ITEMS), world.count(&crate::ORDER)), (2, 2));
    let totals = world.totals();
    assert_eq!((totals.nodes, totals.bytes), (1, bytes / 2));
    world.owner_set(JULIET, "<delete node='n2'/>").expect("deleted");
    assert_eq!((world.totals().nodes, world.totals().bytes), (0, 0));
}

#[test]
fn affiliations() {
    let world = World::new();
    world.create("n", &[("access_model", "whitelist")]);
    let set = |inner: &str| world.owner_set(JULIET, &format!("<affiliations node='n'>{inner}</affiliations>"));
    let list = || world.owner_get(JULIET, "<affiliations node='n'/>").expect("a list").0;
    let expected = |inner: &str| {
        format!(
            "<pubsub xmlns='{OWNER_NS}'><affiliations node='n'>\
             <affiliation jid='juliet@capulet.lit' affiliation='owner'/>{inner}</affiliations></pubsub>"
        )
    };
    assert_eq!(list(), expected(""));
    set("<affiliation jid='romeo@montague.lit/orchard' affiliation='member'/>\
         <affiliation jid='tybalt@capulet.lit' affiliation='outcast'/>")
    .expect("set");
    let both = expected(
        "<affiliation jid='romeo@montague.lit' affiliation='member'/>\
         <affiliation jid='tybalt@capulet.lit' affiliation='outcast'/>",
    );
    assert_eq!(list(), both);
    world.get(ROMEO, "<items node='n'/>").expect("he is on the list");
    // Section 8.9.2.4: the last owner stays; what the error does not name is done.
    let wrong = set("<affiliation jid='tybalt@capulet.lit' affiliation='none'/>\
                     <affiliation jid='juliet@capulet.lit' affiliation='none'/>\
                     <affiliation jid='romeo@montague.lit' affiliation='king'/>");
    let listed = format!(
        "<affiliations xmlns='{OWNER_NS}' node='n'><affiliation jid='juliet@capulet.lit' affiliation='owner'/>\
         <affiliation jid='romeo@montague.lit' affiliation='member'/></affiliations>"
    );
    refused(wrong, StanzaError::not_acceptable().app(listed));
    let twice = set("<affiliation jid='romeo@montague.lit' affiliation='none'/>\
                     <affiliation jid='romeo@montague.lit/orchard' affiliation='member'/>");
    refused(twice, StanzaError::bad_request());
    let (_, notices) = set("<affiliation jid='romeo@montague.lit'/>").expect("nothing is changed");
    assert_eq!(notices, []);
    assert_eq!(
        list(),
        expected("<affiliation jid='romeo@montague.lit' affiliation='member'/>")
    );
    refused(
        world.owner_get(ROMEO, "<affiliations node='n'/>"),
        StanzaError::forbidden(),
    );
    let many: String = (0..=MAX_AFFILIATIONS)
        .map(|number| format!("<affiliation jid='{number}@capulet.lit' affiliation='member'/>"))
        .collect();
    refused(set(&many), StanzaError::policy_violation());
    assert_eq!(
        world.get(ROMEO, "<affiliations/>").expect("his").0,
        format!(
            "<pubsub xmlns='{PUBSUB}'><affiliations><affiliation node='n' affiliation='member'/></affiliations></pubsub>"
        )
    );
    assert_eq!(
        world.get(JULIET, "<affiliations node='n'/>").expect("hers").0,
        format!(
            "<pubsub xmlns='{PUBSUB}'><affiliations node='n'><affiliation node='n' affiliation='owner'/></affiliations></pubsub>"
        )
    );
}
