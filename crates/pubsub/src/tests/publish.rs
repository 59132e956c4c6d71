//! XEP-0060 sections 7.1 and 7.2.

use module::Audience;

use super::*;
use crate::{MAX_BYTES, MAX_ITEM_ID, MAX_ITEMS, MAX_NODE_NAME, MAX_NODES, MAX_PAYLOAD};

const DEVICES: &str = "eu.siacs.conversations.axolotl.devicelist";
const LIST: &str = "<list xmlns='eu.siacs.conversations.axolotl'><device id='1'/></list>";

#[test]
fn a_first_item_makes_the_node() {
    let mut world = World::new();
    let tune = "<tune xmlns='http://jabber.org/protocol/tune'><artist>Gerald Finzi</artist></tune>";
    let (answer, notices) = world
        .set(JULIET, &publishing(TUNE, "current", tune, &[]))
        .expect("published");
    assert_eq!(
        answer,
        format!("<pubsub xmlns='{PUBSUB}'><publish node='{TUNE}'><item id='current'/></publish></pubsub>")
    );
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    assert_eq!((&*notice.node, &notice.audience), (TUNE, &Audience::Contacts));
    assert_eq!(
        notice.message.text(),
        format!(
            "<message type='headline' id='pep-1'><event xmlns='http://jabber.org/protocol/pubsub#event'>\
             <items node='{TUNE}'><item id='current'>{tune}</item></items></event></message>"
        )
    );
    // Section 7.1.2: the old one is overwritten. And the default is one item.
    world.now += 1;
    world.publish(TUNE, "current", "<tune xmlns='http://jabber.org/protocol/tune'/>");
    assert_eq!(world.ids(ROMEO, &format!("<items node='{TUNE}'/>")), ["current"]);
    world.publish(TUNE, "next", "<tune xmlns='http://jabber.org/protocol/tune'/>");
    assert_eq!(world.ids(ROMEO, &format!("<items node='{TUNE}'/>")), ["next"]);
    assert_eq!((world.count(&crate::ITEMS), world.count(&crate::ORDER)), (1, 1));
    assert_eq!(world.totals().nodes, 1);
}

#[test]
fn items_without_id_get_one() {
    let world = World::new();
    world.create("n", &[("max_items", "max")]);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (answer, notices) = world
            .set(JULIET, &publishing("n", "", "<a xmlns='urn:a'/>", &[]))
            .expect("published");
        let id = ids_in(&answer).remove(0);
        assert!(notices[0].message.text().contains(&format!("<item id='{id}'>")));
        ids.push(id);
    }
    assert_eq!(world.ids(JULIET, "<items node='n'/>"), ids);
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[test]
fn payloads_stand_on_their_own() {
    let world = World::new();
    let publish = "<publish xmlns:x='urn:x' node='n'><item id='1'><x:a y='&lt;'>&amp;<b/></x:a></item></publish>";
    let notices = world.set(JULIET, publish).expect("published").1;
    let payload = format!("<a xmlns='urn:x' y='&lt;'>&amp;<b xmlns='{PUBSUB}'/></a>");
    assert!(notices[0].message.text().contains(&payload), "{:?}", notices[0]);
    let answer = world.get(JULIET, "<items node='n'/>").expect("items").0;
    assert!(answer.contains(&payload), "{answer}");
    // What a client says of itself is nothing.
    let forged = "<publish node='n'><item id='1' publisher='romeo@montague.lit'><a xmlns='urn:a'/></item></publish>";
    world.set(JULIET, forged).expect("published");
    let answer = world.get(JULIET, "<items node='n'/>").expect("items").0;
    assert!(!answer.contains("publisher"), "{answer}");
    world
        .configure(JULIET, "n", &[("itemreply", "publisher")])
        .expect("configured");
    let answer = world.get(JULIET, "<items node='n'/>").expect("items").0;
    assert!(answer.contains("publisher='juliet@capulet.lit/balcony'"), "{answer}");
}

#[test]
fn options_make_a_node_or_have_to_be_met() {
    let world = World::new();
    let options = [("persist_items", "true"), ("access_model", "whitelist")];
    world
        .set(
            JULIET,
            &publishing("storage:bookmarks", "current", "<a xmlns='urn:a'/>", &options),
        )
        .expect("XEP-0223");
    world
        .set(
            JULIET,
            &publishing("storage:bookmarks", "current", "<a xmlns='urn:a'/>", &options),
        )
        .expect("they are met");
    refused(
        world.get(ROMEO, "<items node='storage:bookmarks'/>"),
        error(StanzaError::not_allowed(), "closed-node"),
    );
    let conflict = || error(StanzaError::conflict(), "precondition-not-met");
    for unmet in [
        ("access_model", "open"),
        ("access_model", "authorize"),
        ("max_items", "max"),
        ("purge_offline", "1"),
    ] {
        let publish = publishing("storage:bookmarks", "other", "<a xmlns='urn:a'/>", &[unmet]);
        refused(world.set(JULIET, &publish), conflict());
    }
    assert_eq!(world.ids(JULIET, "<items node='storage:bookmarks'/>"), ["current"]);
    // Section 7.1.5: rejected "upon encountering unknown fields", on a new node too.
    for node in ["storage:bookmarks", "new"] {
        let publish = publishing(node, "other", "<a xmlns='urn:a'/>", &[("nonsense", "1")]);
        refused(
            world.set(JULIET, &publish),
            error(StanzaError::not_acceptable(), "invalid-options"),
        );
    }
    assert_eq!(world.totals().nodes, 1);
    // XEP-0402: as many as there may be. A number above is the same.
    for max in ["max", "9999", "10000"] {
        let options = [
            ("max_items", max),
            ("send_last_published_item", "never"),
            ("access_model", "whitelist"),
        ];
        let publish = publishing(
            "urn:xmpp:bookmarks:1",
            max,
            "<conference xmlns='urn:xmpp:bookmarks:1'/>",
            &options,
        );
        world.set(JULIET, &publish).expect("published");
    }
    assert_eq!(
        world.ids(JULIET, "<items node='urn:xmpp:bookmarks:1'/>"),
        ["max", "9999", "10000"]
    );
}

#[test]
fn keys_for_encryption_are_open() {
    let mut world = World::new();
    for (node, content) in [
        (DEVICES, LIST),
        (
            "eu.siacs.conversations.axolotl.bundles:1",
            "<bundle xmlns='eu.siacs.conversations.axolotl'/>",
        ),
        ("urn:xmpp:omemo:2:devices", "<devices xmlns='urn:xmpp:omemo:2'/>"),
        ("urn:xmpp:omemo:2:bundles", "<bundle xmlns='urn:xmpp:omemo:2'/>"),
    ] {
        let notices = world.publish(node, "1", content);
        assert_eq!(notices[0].audience, Audience::Anyone);
        assert_eq!(world.ids(TYBALT, &format!("<items node='{node}'/>")), ["1"], "{node}");
        let open = publishing(
            node,
            "1",
            content,
            &[("access_model", "open"), ("persist_items", "true")],
        );
        world.set(JULIET, &open).expect("they are met");
    }
    // One bundle for each device (XEP-0384 section 5.3.2).
    world.publish("urn:xmpp:omemo:2:bundles", "2", "<bundle xmlns='urn:xmpp:omemo:2'/>");
    assert_eq!(
        world.ids(TYBALT, "<items node='urn:xmpp:omemo:2:bundles'/>"),
        ["1", "2"]
    );
}

#[test]
fn what_is_the_accounts_own_business_is_closed() {
    let mut world = World::new();
    for (node, items) in [
        ("urn:xmpp:bookmarks:1", 2),
        ("urn:xmpp:mds:displayed:0", 2),
        ("storage:bookmarks", 1),
    ] {
        for id in ["1", "2"] {
            let notices = world.publish(node, id, "<a xmlns='urn:a'/>");
            assert_eq!(notices[0].audience, Audience::Listed(Vec::new()), "{node}");
        }
        let closed = error(StanzaError::not_allowed(), "closed-node");
        refused(world.get(ROMEO, &format!("<items node='{node}'/>")), closed);
        let ids = world.ids(JULIET, &format!("<items node='{node}'/>"));
        assert_eq!(ids.len(), items, "{node}");
        // What clients ask for is what it is (XEP-0402 section 3.3, XEP-0490 section 4.2, XEP-0048 section 3.1).
        let mut options = vec![("persist_items", "true"), ("access_model", "whitelist")];
        if items > 1 {
            options.extend([("max_items", "max"), ("send_last_published_item", "never")]);
        }
        let met = publishing(node, "1", "<a xmlns='urn:a'/>", &options);
        world.set(JULIET, &met).expect("they are met");
    }
}

#[test]
fn what_does_not_fit_the_node_is_refused() {
    let world = World::new();
    let bad = |condition| error(StanzaError::bad_request(), condition);
    refused(world.set(JULIET, "<publish node='n'/>"), bad("item-required"));
    refused(
        world.set(JULIET, "<publish node='n'><item id='1'/></publish>"),
        bad("payload-required"),
    );
    refused(
        world.set(JULIET, "<publish node='n'><item id='1'><a/><b/></item></publish>"),
        bad("invalid-payload"),
    );
    refused(
        world.set(JULIET, "<publish node='n'><item><a/></item><item><a/></item></publish>"),
        bad("invalid-payload"),
    );
    refused(
        world.set(JULIET, "<publish><item><a/></item></publish>"),
        bad("nodeid-required"),
    );
    assert_eq!(world.totals().nodes, 0, "nothing came into being");
    // Notifications and nothing else.
    world.create("event", &[("persist_items", "0"), ("deliver_payloads", "0")]);
    refused(
        world.set(JULIET, "<publish node='event'><item id='1'/></publish>"),
        bad("item-forbidden"),
    );
    let notices = world.set(JULIET, "<publish node='event'/>").expect("published").1;
    assert!(
        notices[0].message.text().contains("<items node='event'/>"),
        "{notices:?}"
    );
    // Notifications without what is kept.
    world.create("quiet", &[("deliver_payloads", "0")]);
    let notices = world
        .set(JULIET, &publishing("quiet", "1", "<a xmlns='urn:a'/>", &[]))
        .expect("published")
        .1;
    assert!(notices[0].message.text().contains("<item id='1'/>"), "{notices:?}");
    assert!(
        world
            .get(JULIET, "<items node='quiet'/>")
            .expect("items")
            .0
            .contains("urn:a")
    );
    world.create("silent", &[("deliver_notifications", "0")]);
    let notices = world
        .set(JULIET, &publishing("silent", "1", "<a xmlns='urn:a'/>", &[]))
        .expect("published")
        .1;
    assert_eq!(notices, []);
    // Payloads that are not kept.
    world.create("fleeting", &[("persist_items", "0")]);
    let notices = world
        .set(JULIET, &publishing("fleeting", "1", "<a xmlns='urn:a'/>", &[]))
        .expect("published")
        .1;
    assert!(notices[0].message.text().contains("urn:a"));
    let error = world
        .get(JULIET, "<items node='fleeting'/>")
        .expect_err("nothing is kept");
    assert!(error.app.is_some_and(|app| app.contains("feature='persistent-items'")));
}

#[test]
fn limits() {
    let mut world = World::new();
    let big = |bytes: u64| format!("<a xmlns='urn:a'>{}</a>", "x".repeat(bytes as usize));
    let too_big = || error(StanzaError::not_acceptable(), "payload-too-big");
    refused(
        world.set(JULIET, &publishing("n", "1", &big(MAX_PAYLOAD), &[])),
        too_big(),
    );
    world.create("small", &[("max_payload_size", "100")]);
    refused(world.set(JULIET, &publishing("small", "1", &big(100), &[])), too_big());
    world.publish("small", "1", &big(50));
    for (node, id) in [
        ("n".repeat(MAX_NODE_NAME + 1), "1".into()),
        ("n".into(), "1".repeat(MAX_ITEM_ID + 1)),
    ] {
        refused(
            world.set(JULIET, &publishing(&node, &id, &big(1), &[])),
            StanzaError::policy_violation(),
        );
    }
    world.publish(&"n".repeat(MAX_NODE_NAME), &"1".repeat(MAX_ITEM_ID), &big(1));
    // Items of a node: the oldest goes.
    world.create("many", &[("max_items", "max")]);
    for number in 0..=MAX_ITEMS {
        world.publish("many", &number.to_string(), &big(1));
    }
    let ids = world.ids(JULIET, "<items node='many'/>");
    assert_eq!((ids.len() as u64, &*ids[0]), (MAX_ITEMS, "1"));
    // Bytes of the account. What is overwritten makes room.
    let before = world.totals().bytes;
    let each = MAX_PAYLOAD - 1_000;
    for number in 0..MAX_BYTES / MAX_PAYLOAD {
        world.publish("bytes", "same", &big(each));
        world.publish(&format!("bytes{number}"), "1", &big(100));
    }
    assert!(world.totals().bytes < before + 2 * MAX_PAYLOAD);
    world
        .configure(JULIET, "bytes", &[("max_items", "max")])
        .expect("configured");
    let full = (0..=MAX_BYTES / each).find_map(|number| {
        world
            .set(JULIET, &publishing("bytes", &number.to_string(), &big(each), &[]))
            .err()
    });
    let full = full.expect("the account is full");
    assert_eq!(full.condition, stanza::Condition::ResourceConstraint);
    assert!(world.totals().bytes <= MAX_BYTES);
}

#[test]
fn an_account_has_so_many_nodes() {
    let mut world = World::new();
    for number in 0..MAX_NODES {
        world.create(&number.to_string(), &[]);
    }
    let exceeded = || error(StanzaError::policy_violation(), "max-nodes-exceeded");
    refused(world.set(JULIET, "<create node='more'/>"), exceeded());
    refused(
        world.set(JULIET, &publishing("more", "1", "<a xmlns='urn:a'/>", &[])),
        exceeded(),
    );
    world.publish("1", "1", "<a xmlns='urn:a'/>");
    world.owner_set(JULIET, "<delete node='1'/>").expect("deleted");
    world.publish("more", "1", "<a xmlns='urn:a'/>");
}

#[test]
fn others_publish_where_they_may() {
    let mut world = World::new();
    world.publish("n", "hers", "<a xmlns='urn:a'/>");
    let publish = |id: &str| publishing("n", id, "<a xmlns='urn:a'/>", &[]);
    refused(world.set(ROMEO, &publish("1")), StanzaError::forbidden());
    refused(
        world.set(ROMEO, &publishing("missing", "1", "<a xmlns='urn:a'/>", &[])),
        StanzaError::item_not_found(),
    );
    world
        .configure(JULIET, "n", &[("publish_model", "open"), ("max_items", "5")])
        .expect("configured");
    world.set(ROMEO, &publish("his")).expect("published");
    refused(world.set(ROMEO, &publish("hers")), StanzaError::forbidden());
    world
        .configure(JULIET, "n", &[("publish_model", "subscribers")])
        .expect("configured");
    refused(world.set(ROMEO, &publish("2")), StanzaError::forbidden());
    world
        .set(ROMEO, "<subscribe node='n' jid='romeo@montague.lit'/>")
        .expect("subscribed");
    world.set(ROMEO, &publish("2")).expect("published");
    world
        .configure(JULIET, "n", &[("publish_model", "publishers")])
        .expect("configured");
    refused(world.set(ROMEO, &publish("3")), StanzaError::forbidden());
    let affiliate = |name: &str| {
        let list = format!(
            "<affiliations node='n'><affiliation jid='romeo@montague.lit' affiliation='{name}'/></affiliations>"
        );
        world.owner_set(JULIET, &list).expect("affiliated");
    };
    affiliate("publisher");
    world.set(ROMEO, &publish("3")).expect("published");
    affiliate("publish-only");
    world.set(ROMEO, &publish("4")).expect("published");
    refused(world.get(ROMEO, "<items node='n'/>"), StanzaError::forbidden());
    affiliate("outcast");
    refused(world.set(ROMEO, &publish("5")), StanzaError::forbidden());
    assert_eq!(world.ids(JULIET, "<items node='n'/>"), ["hers", "his", "2", "3", "4"]);
}

#[test]
fn items_are_retracted() {
    let mut world = World::new();
    world.create("n", &[("max_items", "9"), ("notify_retract", "0")]);
    for id in ["1", "2", "3"] {
        world.publish("n", id, "<a xmlns='urn:a'/>");
    }
    let bytes = world.totals().bytes;
    let (answer, notices) = world
        .set(JULIET, "<retract node='n'><item id='2'/></retract>")
        .expect("retracted");
    assert_eq!((&*answer, notices.len()), ("", 0));
    assert_eq!(world.ids(JULIET, "<items node='n'/>"), ["1", "3"]);
    assert_eq!(world.totals().bytes, bytes / 3 * 2);
    let (_, notices) = world
        .set(JULIET, "<retract node='n' notify='true'><item id='1'/></retract>")
        .expect("retracted");
    let [notice] = &notices[..] else { panic!("{notices:?}") };
    let text = notice.message.text();
    assert!(text.contains("<items node='n'><retract id='1'/></items>"), "{text}");
    let required = |condition| error(StanzaError::bad_request(), condition);
    refused(
        world.set(JULIET, "<retract node='n'><item id='1'/></retract>"),
        StanzaError::item_not_found(),
    );
    refused(
        world.set(JULIET, "<retract node='x'><item id='1'/></retract>"),
        StanzaError::item_not_found(),
    );
    refused(
        world.set(JULIET, "<retract><item id='1'/></retract>"),
        required("nodeid-required"),
    );
    refused(world.set(JULIET, "<retract node='n'/>"), required("item-required"));
    refused(
        world.set(JULIET, "<retract node='n'><item/></retract>"),
        required("item-required"),
    );
    refused(
        world.set(ROMEO, "<retract node='n'><item id='3'/></retract>"),
        StanzaError::forbidden(),
    );
    refused(
        world.set(ROMEO, "<retract node='n'><item id='9'/></retract>"),
        StanzaError::forbidden(),
    );
    assert_eq!((world.count(&crate::ITEMS), world.count(&crate::ORDER)), (1, 1));
}
