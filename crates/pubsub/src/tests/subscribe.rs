//! XEP-0060 sections 5.6, 6.1, 6.2 and 8.8.

use module::Audience;
use stanza::ErrorType;

use super::*;
use crate::MAX_SUBSCRIPTIONS;

const SUBSCRIBE: &str = "<subscribe node='n' jid='romeo@montague.lit'/>";

#[test]
fn subscribing_and_leaving() {
    let mut world = World::new();
    refused(world.set(ROMEO, SUBSCRIBE), StanzaError::item_not_found());
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    let answer = |state: &str| {
        format!(
            "<pubsub xmlns='{PUBSUB}'><subscription node='n' jid='romeo@montague.lit' subscription='{state}'/></pubsub>"
        )
    };
    let (told, notices) = world.set(ROMEO, SUBSCRIBE).expect("subscribed");
    assert_eq!(told, answer("subscribed"));
    // Section 6.1.7.
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!(
        (&notice.audience, &*notice.subscribers),
        (&Audience::Named, &["romeo@montague.lit".into()][..])
    );
    let text = notice.message.text();
    assert!(text.contains("<item id='1'><a xmlns='urn:a'/></item>"), "{text}");
    assert!(
        text.ends_with(
            "<delay xmlns='urn:xmpp:delay' from='juliet@capulet.lit' stamp='2001-09-09T01:46:40.000Z'/></message>"
        ),
        "{text}"
    );
    // Who has subscribed hears of the next, once.
    let notices = world.publish("n", "2", "<a xmlns='urn:a'/>");
    assert_eq!(notices[0].subscribers, ["romeo@montague.lit".into()]);
    assert_eq!(notices[0].except, ["romeo@montague.lit".into()]);
    let mine = |inner: &str| format!("<pubsub xmlns='{PUBSUB}'><subscriptions{inner}</subscriptions></pubsub>");
    let one = "<subscription node='n' jid='romeo@montague.lit' subscription='subscribed'/>";
    assert_eq!(
        world.get(ROMEO, "<subscriptions/>").expect("his").0,
        mine(&format!(">{one}"))
    );
    assert_eq!(
        world.get(ROMEO, "<subscriptions node='x'/>").expect("none").0,
        mine(" node='x'>")
    );
    assert_eq!(world.get(JULIET, "<subscriptions/>").expect("none").0, mine(">"));

    let leave = "<unsubscribe node='n' jid='romeo@montague.lit'/>";
    assert_eq!(world.set(ROMEO, leave).expect("left").0, answer("none"));
    let not = error(
        StanzaError::unexpected_request().kind(ErrorType::Cancel),
        "not-subscribed",
    );
    refused(world.set(ROMEO, leave), not);
    refused(
        world.set(ROMEO, "<unsubscribe node='x' jid='romeo@montague.lit'/>"),
        StanzaError::item_not_found(),
    );
    refused(
        world.set(ROMEO, "<unsubscribe node='n' jid='juliet@capulet.lit'/>"),
        StanzaError::forbidden(),
    );
    assert_eq!(
        world.publish("n", "3", "<a xmlns='urn:a'/>")[0].subscribers,
        [""; 0].map(Into::into)
    );
}

#[test]
fn what_is_refused() {
    let mut world = World::new();
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    for jid in ["jid='juliet@capulet.lit'", "", "jid='@'"] {
        refused(
            world.set(ROMEO, &format!("<subscribe node='n' {jid}/>")),
            error(StanzaError::bad_request(), "invalid-jid"),
        );
    }
    for number in 0..MAX_SUBSCRIPTIONS {
        world
            .set(
                ROMEO,
                &format!("<subscribe node='n' jid='romeo@montague.lit/{number}'/>"),
            )
            .expect("subscribed");
    }
    let too_many = error(
        StanzaError::policy_violation().kind(ErrorType::Wait),
        "too-many-subscriptions",
    );
    refused(world.set(ROMEO, SUBSCRIBE), too_many);
    world
        .set(ROMEO, "<subscribe node='n' jid='romeo@montague.lit/7'/>")
        .expect("he was before");
}

#[test]
fn the_owner_manages_them() {
    let mut world = World::new();
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    world.set(ROMEO, SUBSCRIBE).expect("subscribed");
    let list = || world.owner_get(JULIET, "<subscriptions node='n'/>").expect("a list").0;
    let expected = |inner: &str| format!("<pubsub xmlns='{OWNER_NS}'><subscriptions node='n'{inner}</pubsub>");
    let romeo = "<subscription jid='romeo@montague.lit' subscription='subscribed'/>";
    assert_eq!(list(), expected(&format!(">{romeo}</subscriptions>")));
    refused(
        world.owner_get(ROMEO, "<subscriptions node='n'/>"),
        StanzaError::forbidden(),
    );
    let set = |inner: &str| world.owner_set(JULIET, &format!("<subscriptions node='n'>{inner}</subscriptions>"));
    let wrong = set("<subscription jid='romeo@montague.lit' subscription='pending'/>");
    let listed = format!("<subscriptions xmlns='{OWNER_NS}' node='n'>{romeo}</subscriptions>");
    refused(wrong, StanzaError::not_acceptable().app(listed));
    let (_, notices) = set("<subscription jid='romeo@montague.lit' subscription='none'/>").expect("set");
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!(notice.subscribers, ["romeo@montague.lit".into()]);
    let told = "<subscription node='n' jid='romeo@montague.lit' subscription='none'/>";
    assert!(notice.message.text().contains(told), "{notice:?}");
    assert_eq!(list(), expected("/>"));
}
