//! XEP-0060 sections 6.3 and 6.4, and what else a node or a subscriber may want.

use module::Shows;
use stanza::ErrorType;

use super::*;

const OPTIONS: &str = "<options node='n' jid='romeo@montague.lit'/>";
const SUBSCRIBE: &str = "<subscribe node='n' jid='romeo@montague.lit'/>";

fn submitted(fields: &[(&str, &str)]) -> String {
    form("http://jabber.org/protocol/pubsub#subscribe_options", fields)
}

fn options(fields: &[(&str, &str)]) -> String {
    let form = submitted(fields);
    format!("<options node='n' jid='romeo@montague.lit'>{form}</options>")
}

#[test]
fn a_subscriber_says_what_he_wants() {
    let mut world = World::new();
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    let not = || {
        error(
            StanzaError::unexpected_request().kind(ErrorType::Modify),
            "not-subscribed",
        )
    };
    refused(world.get(ROMEO, OPTIONS), not());
    refused(world.set(ROMEO, &options(&[])), not());
    world.set(ROMEO, SUBSCRIBE).expect("subscribed");
    let given = world.get(ROMEO, OPTIONS).expect("a form").0;
    for part in [
        "<options node='n' jid='romeo@montague.lit'><x xmlns='jabber:x:data' type='form'>",
        "<field var='pubsub#deliver' type='boolean' label='Be told of new items'><value>1</value></field>",
        "<value>away</value><value>chat</value><value>dnd</value><value>online</value><value>xa</value></field>",
    ] {
        assert!(given.contains(part), "{part}: {given}");
    }
    // As it was given it may come back.
    let (_, rest) = given.split_once("<options").expect("the form");
    let back = format!(
        "<options{}",
        rest.replace("type='form'", "type='submit'").replace("</pubsub>", "")
    );
    world.set(ROMEO, &back).expect("submitted");
    assert_eq!(world.get(ROMEO, OPTIONS).expect("a form").0, given);

    world.set(ROMEO, &options(&[("deliver", "false")])).expect("set");
    let told = &world.publish("n", "2", "<a xmlns='urn:a'/>")[0];
    // By his capabilities neither: he has said so.
    assert_eq!(
        (&told.subscribers[..], &told.except[..]),
        (&[][..], &["romeo@montague.lit".into()][..])
    );
    let shown = [("deliver", "1"), ("digest", "0")];
    world.set(ROMEO, &options(&shown)).expect("set");
    let two = submitted(&[]).replace(
        "</x>",
        "<field var='pubsub#show-values'><value>chat</value><value>online</value></field></x>",
    );
    let set = format!("<options node='n' jid='romeo@montague.lit'>{two}</options>");
    world.set(ROMEO, &set).expect("set");
    let told = &world.publish("n", "3", "<a xmlns='urn:a'/>")[0];
    let [(jid, shows)] = &told.shows[..] else {
        panic!("{told:?}")
    };
    assert_eq!(
        (&**jid, shows.names().collect::<Vec<_>>()),
        ("romeo@montague.lit", vec!["chat", "online"])
    );
    assert_eq!(told.subscribers, ["romeo@montague.lit".into()]);
    // Cancelled: as before.
    let cancelled = "<options node='n' jid='romeo@montague.lit'><x xmlns='jabber:x:data' type='cancel'/></options>";
    world.set(ROMEO, cancelled).expect("nothing is done");
    assert_eq!(world.publish("n", "4", "<a xmlns='urn:a'/>")[0].shows.len(), 1);
}

#[test]
fn what_options_cannot_be() {
    let mut world = World::new();
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    world.set(ROMEO, SUBSCRIBE).expect("subscribed");
    for wrong in [
        ("deliver", "perhaps"),
        ("digest", "1"),
        ("include_body", "true"),
        ("show-values", "asleep"),
        ("expire", "presence"),
        ("subscription_type", "nodes"),
        ("nonsense", "1"),
    ] {
        let invalid = error(StanzaError::bad_request(), "invalid-options");
        refused(world.set(ROMEO, &options(&[wrong])), invalid);
    }
    refused(world.set(ROMEO, OPTIONS), StanzaError::bad_request());
    let of = |node: &str, jid: &str| format!("<options{node}{jid}/>");
    let jid = " jid='romeo@montague.lit'";
    refused(world.get(ROMEO, &of(" node='x'", jid)), StanzaError::item_not_found());
    refused(
        world.get(ROMEO, &of(" node='n'", "")),
        error(StanzaError::bad_request(), "jid-required"),
    );
    refused(
        world.get(ROMEO, &of("", jid)),
        error(StanzaError::bad_request(), "nodeid-required"),
    );
    refused(
        world.get(ROMEO, &of(" node='n'", " jid='juliet@capulet.lit'")),
        StanzaError::forbidden(),
    );
    refused(world.get(TYBALT, OPTIONS), StanzaError::service_unavailable());
}

#[test]
fn subscribed_and_configured_at_once() {
    let mut world = World::new();
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    let with = |options: &str| world.set(ROMEO, &format!("{SUBSCRIBE}{options}"));
    let form = submitted(&[("deliver", "0")]);
    for wrong in [" node='n'", " jid='romeo@montague.lit'"] {
        refused(
            with(&format!("<options{wrong}>{form}</options>")),
            StanzaError::bad_request(),
        );
    }
    refused(
        with(&format!("<options>{}</options>", submitted(&[("digest", "1")]))),
        error(StanzaError::bad_request(), "invalid-options"),
    );
    let none = "<subscriptions node='n'></subscriptions>";
    assert!(
        world
            .get(ROMEO, "<subscriptions node='n'/>")
            .expect("none")
            .0
            .contains(none)
    );
    let (told, _) = with(&format!("<options>{form}</options>")).expect("subscribed");
    assert!(
        told.starts_with(&format!(
            "<pubsub xmlns='{PUBSUB}'><subscription node='n' jid='romeo@montague.lit' subscription='subscribed'/>\
             <options><x xmlns='jabber:x:data' type='result'>"
        )),
        "{told}"
    );
    assert!(told.contains("<field var='pubsub#deliver' type='boolean'><value>0</value></field>"));
    assert!(world.publish("n", "2", "<a xmlns='urn:a'/>")[0].subscribers.is_empty());
    // Again without options: as it is.
    let (told, _) = world.set(ROMEO, SUBSCRIBE).expect("he was before");
    assert!(told.contains("subscription='subscribed'/></pubsub>"), "{told}");
    assert!(world.publish("n", "3", "<a xmlns='urn:a'/>")[0].subscribers.is_empty());
}

#[test]
fn the_default_options_are_told() {
    let world = World::new();
    for (inner, told) in [
        ("<default/>", "<default><x"),
        ("<default node='n'/>", "<default node='n'><x"),
    ] {
        let answer = world.get(ROMEO, inner).expect("a form").0;
        assert!(answer.contains(told) && answer.contains("type='result'"), "{answer}");
    }
    refused(world.get(TYBALT, "<default/>"), StanzaError::service_unavailable());
}

#[test]
fn a_node_without_subscriptions() {
    let mut world = World::new();
    world.create("n", &[("subscribe", "0")]);
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    let unsupported = world.set(ROMEO, SUBSCRIBE).expect_err("none are taken").app;
    assert!(unsupported.is_some_and(|app| app.contains("feature='subscribe'")));
}

#[test]
fn owners_hear_who_comes_and_goes() {
    let mut world = World::new();
    world.create("n", &[("notify_sub", "1")]);
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    for (inner, state) in [
        (SUBSCRIBE, "subscribed"),
        ("<unsubscribe node='n' jid='romeo@montague.lit'/>", "none"),
    ] {
        let (_, notices) = world.set(ROMEO, inner).expect("done");
        let event = format!("<subscription node='n' jid='romeo@montague.lit' subscription='{state}'/>");
        let told = |notice: &&Notice| notice.message.text().contains(&event);
        let told: Vec<_> = notices
            .iter()
            .filter(told)
            .flat_map(|notice| &notice.subscribers)
            .collect();
        assert_eq!(told, [&OWNER.into()]);
    }
}

#[test]
fn how_it_is_told() {
    let mut world = World::new();
    world.create("n", &[("notification_type", "normal"), ("access_model", "open")]);
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    world.set(ROMEO, SUBSCRIBE).expect("subscribed");
    let told = world.publish("n", "2", "<a xmlns='urn:a'/>").remove(0);
    // It waits for who is away.
    assert!(told.waits && told.shows.is_empty(), "{told:?}");
    world
        .configure(JULIET, "n", &[("presence_based_delivery", "1")])
        .expect("configured");
    let told = world.publish("n", "3", "<a xmlns='urn:a'/>").remove(0);
    assert_eq!(
        (told.waits, &told.shows[..]),
        (false, &[("romeo@montague.lit".into(), Shows::ALL)][..])
    );
    // Which resource has published is for who sees her presence alone (XEP-0163 section 4.3.1).
    let by = "</event><addresses xmlns='http://jabber.org/protocol/address'>\
              <address type='replyto' jid='juliet@capulet.lit/balcony'/></addresses></message>";
    let to_contacts = told.to_contacts.expect("for them");
    assert!(to_contacts.text().ends_with(by), "{to_contacts:?}");
    assert!(!told.message.text().contains("balcony"), "{}", told.message.text());
}

#[test]
fn what_becomes_of_the_oldest() {
    for (full, retracts) in [("discard-oldest", 0), ("retract-oldest", 1), ("reject", 0)] {
        let mut world = World::new();
        world.create("n", &[("max_items", "2"), ("publish_node_full", full)]);
        for id in ["1", "2"] {
            world.publish("n", id, "<a xmlns='urn:a'/>");
        }
        // What is there may always be written over.
        assert_eq!(world.publish("n", "2", "<a xmlns='urn:a'/>").len(), 1, "{full}");
        let third = world.set(JULIET, &publishing("n", "3", "<a xmlns='urn:a'/>", &[]));
        if full == "reject" {
            refused(third, error(StanzaError::conflict(), "node-full"));
            assert_eq!(world.ids(JULIET, "<items node='n'/>"), ["1", "2"]);
            continue;
        }
        let (_, notices) = third.expect("published");
        let gone = notices
            .iter()
            .filter(|notice| notice.message.text().contains("<retract id='1'/>"));
        assert_eq!((gone.count(), notices.len()), (retracts, retracts + 1), "{full}");
        assert_eq!(world.ids(JULIET, "<items node='n'/>"), ["2", "3"]);
    }
}

#[test]
fn where_a_node_has_gone() {
    let mut world = World::new();
    let uri = "xmpp:juliet@capulet.lit?;node=blog";
    for node in ["n", "m"] {
        world.create(node, &[]);
    }
    for wrong in ["", "no uri", "nothing", "a:&lt;b"] {
        let delete = format!("<delete node='n'><redirect uri='{wrong}'/></delete>");
        refused(world.owner_set(JULIET, &delete), StanzaError::not_acceptable());
    }
    let delete = format!("<delete node='n'><redirect uri='{uri}'/></delete>");
    let (_, notices) = world.owner_set(JULIET, &delete).expect("deleted");
    let event = format!("<delete node='n'><redirect uri='{uri}'/></delete>");
    assert!(notices[0].message.text().contains(&event), "{notices:?}");
    let gone = StanzaError::gone().address(uri);
    refused(world.set(ROMEO, SUBSCRIBE), gone.clone());
    refused(world.get(ROMEO, "<items node='n'/>"), gone);
    refused(
        world.get(TYBALT, "<items node='n'/>"),
        StanzaError::service_unavailable(),
    );
    // Another one of the same name is itself.
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    world.owner_set(JULIET, "<delete node='n'/>").expect("deleted");
    refused(world.set(ROMEO, SUBSCRIBE), StanzaError::item_not_found());
    // Not more than so many.
    for number in 0..=crate::MAX_MOVED {
        let node = format!("n{number}");
        world.create(&node, &[]);
        let delete = format!("<delete node='{node}'><redirect uri='{uri}'/></delete>");
        world.owner_set(JULIET, &delete).expect("deleted");
    }
    assert_eq!(world.count(&crate::MOVED), crate::MAX_MOVED as u64);
}

#[test]
fn what_is_too_much_at_once() {
    let mut world = World::new();
    world.create("n", &[("access_model", "open")]);
    let subscribe = |world: &World, number: usize| {
        let subscribe = format!("<subscribe node='n' jid='romeo@montague.lit/{number}'/>");
        world.set(ROMEO, &subscribe).expect("subscribed");
    };
    let big = format!("<a xmlns='urn:a'>{}</a>", "x".repeat(180_000));
    world.publish("n", "1", &big);
    for number in 0..100 {
        subscribe(&world, number);
    }
    refused(
        world.set(JULIET, &publishing("n", "1", &big, &[])),
        StanzaError::policy_violation(),
    );
    // Without payloads in what they are told it is little.
    world
        .configure(JULIET, "n", &[("deliver_payloads", "0")])
        .expect("configured");
    world.publish("n", "1", &big);
}
