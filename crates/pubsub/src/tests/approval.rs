//! The access model `authorize` (XEP-0060 sections 6.1.4, 8.6 and 8.7.5).

use stanza::ErrorType;

use super::*;

const SUBSCRIBE: &str = "<subscribe node='n' jid='tybalt@capulet.lit'/>";

fn answer(state: &str) -> String {
    format!(
        "<pubsub xmlns='{PUBSUB}'><subscription node='n' jid='tybalt@capulet.lit' subscription='{state}'/></pubsub>"
    )
}

/// Tybalt, whom nobody knows, has asked; returns what Juliet is told.
fn asked(world: &mut World) -> Notice {
    world.create("n", &[("access_model", "authorize")]);
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    let (told, notices) = world.set(TYBALT, SUBSCRIBE).expect("he may ask");
    assert_eq!(told, answer("pending"));
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    notice.clone()
}

#[test]
fn the_owner_is_asked() {
    let mut world = World::new();
    let notice = asked(&mut world);
    assert!(notice.waits);
    assert_eq!(notice.subscribers, [OWNER.into()]);
    let text = notice.message.text();
    for part in [
        "<body>tybalt@capulet.lit asks to subscribe to n</body><x xmlns='jabber:x:data' type='form'>",
        "<value>http://jabber.org/protocol/pubsub#subscribe_authorization</value>",
        "<field var='pubsub#node' type='text-single' label='Node'><value>n</value></field>",
        "<field var='pubsub#subscriber_jid' type='jid-single' label='Who wants to subscribe'>\
         <value>tybalt@capulet.lit</value></field>",
        "<field var='pubsub#allow' type='boolean' label='Let him subscribe'><value>0</value></field>",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // He hears nothing and reads nothing meanwhile, and asking again does not help, by no resource.
    let pending = error(StanzaError::not_authorized(), "pending-subscription");
    refused(world.set(TYBALT, SUBSCRIBE), pending.clone());
    let other = "<subscribe node='n' jid='tybalt@capulet.lit/street'/>";
    refused(world.set(TYBALT, other), pending);
    let not = error(StanzaError::not_authorized(), "not-subscribed");
    refused(world.get(TYBALT, "<items node='n'/>"), not);
    let told = &world.publish("n", "2", "<a xmlns='urn:a'/>")[0];
    assert_eq!(told.subscribers, [""; 0].map(Into::into));
    let mine = world.get(TYBALT, "<subscriptions node='n'/>");
    refused(mine, StanzaError::service_unavailable());
    // Section 8.8.1.2: not among the subscribers yet.
    let listed = world.owner_get(JULIET, "<subscriptions node='n'/>").expect("a list").0;
    assert_eq!(
        listed,
        format!("<pubsub xmlns='{OWNER_NS}'><subscriptions node='n'/></pubsub>")
    );
    // He may go.
    let leave = "<unsubscribe node='n' jid='tybalt@capulet.lit'/>";
    assert_eq!(world.set(TYBALT, leave).expect("gone").0, answer("none"));
    let gone = error(
        StanzaError::unexpected_request().kind(ErrorType::Cancel),
        "not-subscribed",
    );
    refused(world.set(TYBALT, leave), gone);
    // Coming back asks no second time, and does not help.
    let (told, notices) = world.set(TYBALT, SUBSCRIBE).expect("he may ask");
    assert_eq!((told, notices), (answer("pending"), Vec::new()));
    world.set(TYBALT, leave).expect("gone");
    // The owner decides of somebody who has left: nothing comes of it, and then he may ask again.
    let decision = [("node", "n"), ("subscriber_jid", "tybalt@capulet.lit"), ("allow", "1")];
    refused(
        world.decide(JULIET, "submit", &decision),
        error(StanzaError::unexpected_request(), "not-subscribed"),
    );
    assert_eq!(world.set(TYBALT, SUBSCRIBE).expect("he may ask").1.len(), 1);
}

#[test]
fn approved_denied_or_neither() {
    let fields = |allow| {
        [
            ("node", "n"),
            ("subscriber_jid", "tybalt@capulet.lit"),
            ("allow", allow),
        ]
    };
    for (allow, state) in [("true", "subscribed"), ("0", "none")] {
        let mut world = World::new();
        asked(&mut world);
        // Only the owner decides; and who cancels has not decided.
        refused(world.decide(ROMEO, "submit", &fields(allow)), StanzaError::forbidden());
        let (_, notices) = world.decide(JULIET, "cancel", &[]).expect("cancelled");
        assert_eq!(notices, []);
        refused(
            world.decide(JULIET, "submit", &[("node", "n")]),
            StanzaError::bad_request(),
        );
        let (_, notices) = world.decide(JULIET, "submit", &fields(allow)).expect("decided");
        let notice = &notices[0];
        assert_eq!(notice.subscribers, ["tybalt@capulet.lit".into()]);
        // Behind it the last item (section 13.10).
        let items = notices[1..]
            .iter()
            .map(|notice| notice.message.text().contains("<item id='1'>"));
        assert_eq!(items.collect::<Vec<_>>(), vec![true; usize::from(allow == "true")]);
        let event = format!("<subscription node='n' jid='tybalt@capulet.lit' subscription='{state}'/>");
        assert!(notice.message.text().contains(&event), "{notice:?}");
        // Once.
        refused(
            world.decide(JULIET, "submit", &fields(allow)),
            error(StanzaError::unexpected_request(), "not-subscribed"),
        );
        let hears = !world.publish("n", "2", "<a xmlns='urn:a'/>")[0].subscribers.is_empty();
        assert_eq!(
            (hears, world.get(TYBALT, "<items node='n'/>").is_ok()),
            (allow == "true", allow == "true")
        );
    }
}

#[test]
fn other_ways_to_be_approved() {
    let affiliation = |name: &str| {
        format!("<affiliations node='n'><affiliation jid='tybalt@capulet.lit' affiliation='{name}'/></affiliations>")
    };
    let list =
        "<subscriptions node='n'><subscription jid='tybalt@capulet.lit' subscription='subscribed'/></subscriptions>";
    for (inner, state) in [
        (affiliation("publisher"), Some("subscribed")),
        (affiliation("member"), Some("subscribed")),
        (affiliation("outcast"), Some("none")),
        (affiliation("publish-only"), None),
        (list.to_owned(), Some("subscribed")),
    ] {
        let mut world = World::new();
        asked(&mut world);
        let (_, notices) = world.owner_set(JULIET, &inner).expect("set");
        let told = notices.iter().find_map(|notice| {
            let (_, state) = notice.message.text().split_once("subscription='")?;
            state.split('\'').next()
        });
        assert_eq!(told, state, "{inner}");
    }
}

#[test]
fn who_waits_hears_that_the_node_is_gone() {
    let mut world = World::new();
    asked(&mut world);
    let (_, notices) = world.owner_set(JULIET, "<delete node='n'/>").expect("deleted");
    let told = notices
        .iter()
        .filter(|notice| notice.message.text().contains("<delete node='n'/>"));
    let told: Vec<_> = told.flat_map(|notice| notice.subscribers.clone()).collect();
    assert_eq!(told, ["tybalt@capulet.lit".into()]);
}
