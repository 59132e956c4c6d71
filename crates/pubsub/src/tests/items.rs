//! XEP-0060 section 6.5, and pages of XEP-0059.

use super::*;
use crate::PAGE_BYTES;

fn ten() -> World {
    let mut world = World::new();
    world.create("n", &[("max_items", "max")]);
    for number in 0..10 {
        world.publish("n", &number.to_string(), "<a xmlns='urn:a'/>");
    }
    world
}

#[test]
fn all_some_and_the_newest() {
    let world = ten();
    let check = |inner: &str, expected: &[&str]| assert_eq!(world.ids(ROMEO, inner), expected, "{inner}");
    check("<items node='n'/>", &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    check("<items node='n' max_items='2'/>", &["8", "9"]);
    check(
        "<items node='n' max_items='200'/>",
        &["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"],
    );
    check(
        "<items node='n'><item id='7'/><item id='x'/><item id='0'/></items>",
        &["7", "0"],
    );
    // Section 6.5.9.12.
    let answer = world
        .get(ROMEO, "<items node='n'><item id='x'/></items>")
        .expect("a result")
        .0;
    assert_eq!(answer, format!("<pubsub xmlns='{PUBSUB}'><items node='n'/></pubsub>"));
    refused(world.get(ROMEO, "<items node='x'/>"), StanzaError::item_not_found());
    refused(
        world.get(ROMEO, "<items/>"),
        error(StanzaError::bad_request(), "nodeid-required"),
    );
    for max in ["0", "-1", "x", ""] {
        refused(
            world.get(ROMEO, &format!("<items node='n' max_items='{max}'/>")),
            StanzaError::bad_request(),
        );
    }
}

#[test]
fn pages() {
    let world = ten();
    let page = |set: &str| {
        let inner = format!("<items node='n'/><set xmlns='http://jabber.org/protocol/rsm'>{set}</set>");
        let answer = world.get(ROMEO, &inner).expect("a page").0;
        let between = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>"))?;
            Some(rest.split('<').next().unwrap_or_default().to_owned())
        };
        assert_eq!(between("count").as_deref(), Some("10"), "{answer}");
        (ids_in(&answer), between("first"), between("last"))
    };
    let (ids, _, last) = page("<max>4</max>");
    assert_eq!(ids, ["0", "1", "2", "3"]);
    let after = format!("<after>{}</after>", last.expect("its end"));
    // It goes on where it was, also when that item has gone.
    world
        .set(JULIET, "<retract node='n'><item id='3'/></retract>")
        .expect("retracted");
    world
        .set(JULIET, &publishing("n", "new", "<a xmlns='urn:a'/>", &[]))
        .expect("published");
    let (ids, _, last) = page(&format!("<max>4</max>{after}"));
    assert_eq!(ids, ["4", "5", "6", "7"]);
    let (ids, ..) = page(&format!("<max>4</max><after>{}</after>", last.expect("its end")));
    assert_eq!(ids, ["8", "9", "new"]);
    let (ids, first, _) = page("<max>2</max><before/>");
    assert_eq!(ids, ["9", "new"]);
    let (ids, ..) = page(&format!(
        "<max>2</max><before>{}</before>",
        first.expect("its beginning")
    ));
    assert_eq!(ids, ["7", "8"]);
    let (ids, first, last) = page("<max>0</max>");
    assert_eq!((ids.len(), first, last), (0, None, None));
    let inner = "<items node='n'/><set xmlns='http://jabber.org/protocol/rsm'><after>nonsense</after></set>";
    refused(world.get(ROMEO, inner), StanzaError::item_not_found());
}

#[test]
fn what_is_too_much_for_one_answer_is_a_page() {
    let mut world = World::new();
    world.create("n", &[("max_items", "max")]);
    let big = format!("<a xmlns='urn:a'>{}</a>", "x".repeat(180_000));
    let count = PAGE_BYTES / 180_000 + 3;
    for number in 0..count {
        world.publish("n", &number.to_string(), &big);
    }
    let answer = world.get(JULIET, "<items node='n'/>").expect("items").0;
    let ids = ids_in(&answer);
    assert_eq!(ids.len() as u64, PAGE_BYTES / 180_100);
    assert_eq!(ids.last(), Some(&(count - 1).to_string()), "the newest are told");
    assert!(answer.contains(&format!("<count>{count}</count></set>")));
    // By their ids it is some that are wanted, not a page: all or an error, also where it is one many times.
    let by_id = |ids: &[u64]| {
        let ids: String = ids.iter().map(|id| format!("<item id='{id}'/>")).collect();
        world.get(JULIET, &format!("<items node='n'>{ids}</items>"))
    };
    assert_eq!(ids_in(&by_id(&[1, 0]).expect("items").0), ["1", "0"]);
    let ids: Vec<u64> = (100..130).chain([1]).collect();
    assert_eq!(ids_in(&by_id(&ids).expect("items").0), ["1"]);
    refused(by_id(&[0; 100]), StanzaError::policy_violation());
}

#[test]
fn items_expire() {
    let mut world = World::new();
    world.create("n", &[("max_items", "max"), ("item_expire", "60")]);
    for id in ["1", "2"] {
        world.publish("n", id, "<a xmlns='urn:a'/>");
        world.now += 40_000;
    }
    assert_eq!(world.ids(JULIET, "<items node='n'/>"), ["2"]);
    assert_eq!(
        world.ids(JULIET, "<items node='n'><item id='1'/><item id='2'/></items>"),
        ["2"]
    );
    assert_eq!(world.count(&crate::ITEMS), 2);
    world.publish("n", "3", "<a xmlns='urn:a'/>");
    assert_eq!(world.count(&crate::ITEMS), 2);
    assert_eq!(world.ids(JULIET, "<items node='n'/>"), ["2", "3"]);
}

#[test]
fn access_models() {
    let mut world = World::new();
    let check = |world: &World, who: Who, expected: Result<(), StanzaError>| match expected {
        Ok(()) => assert_eq!(world.ids(who, "<items node='n'/>"), ["1"], "{}", who.jid),
        Err(expected) => {
            refused(world.get(who, "<items node='n'/>"), expected.clone());
            let subscribe = format!("<subscribe node='n' jid='{}'/>", who.jid);
            refused(world.set(who, &subscribe), expected);
        }
    };
    let model = |world: &World, fields: &[(&str, &str)]| {
        world.configure(JULIET, "n", fields).expect("configured");
    };
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    let no_presence = || Err(error(StanzaError::not_authorized(), "presence-subscription-required"));
    let no_group = || Err(error(StanzaError::not_authorized(), "not-in-roster-group"));
    let closed = || Err(error(StanzaError::not_allowed(), "closed-node"));
    let none = || Err(StanzaError::service_unavailable());
    for (fields, romeo, paris, tybalt) in [
        (&[("access_model", "presence")][..], Ok(()), no_presence(), none()),
        (&[("access_model", "open")], Ok(()), Ok(()), Ok(())),
        (
            &[("access_model", "roster"), ("roster_groups_allowed", "Lovers")],
            Ok(()),
            no_group(),
            none(),
        ),
        (&[("roster_groups_allowed", "Friends")], no_group(), no_group(), none()),
        (&[("access_model", "whitelist")], closed(), closed(), none()),
    ] {
        model(&world, fields);
        check(&world, JULIET, Ok(()));
        check(&world, ROMEO, romeo);
        check(&world, PARIS, paris);
        check(&world, TYBALT, tybalt);
    }
    // Who is on the list may read, whoever he is.
    let list = "<affiliations node='n'><affiliation jid='tybalt@capulet.lit' affiliation='member'/>\
                <affiliation jid='romeo@montague.lit' affiliation='outcast'/></affiliations>";
    world.owner_set(JULIET, list).expect("affiliated");
    check(&world, TYBALT, Ok(()));
    model(&world, &[("access_model", "open")]);
    check(&world, ROMEO, Err(StanzaError::forbidden()));
}
