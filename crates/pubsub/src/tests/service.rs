//! Nodes of a service: owners of their own, by whom they were made.

use stanza::ErrorType;

use super::*;
use crate::{MAX_OF_ONE, MAX_OWNED, Wanted};

const SUBSCRIBE: &str = "<subscribe node='n' jid='romeo@montague.lit'/>";

fn listed(world: &World, who: Who, inner: &str) -> Result<String, StanzaError> {
    let text = format!("<iq><query xmlns='http://jabber.org/protocol/disco#items'>{inner}</query></iq>");
    let mut scratch = Scratch::default();
    let iq = xmlstream::parse_element(&text, "jabber:client", &mut scratch, &Limits::default()).expect("XML");
    let wanted = Wanted::of(&iq.children().next().expect("a query"))?;
    let answer = crate::node_items(&world.context(who), None, String::new(), wanted);
    Ok(world.carry_out(answer)?.0)
}

/// Names in a list of nodes.
fn names(answer: &str) -> Vec<&str> {
    let items = answer.split(" node='").skip(1);
    items.map(|item| item.split('\'').next().unwrap_or_default()).collect()
}

#[test]
fn accounts_of_the_domain_make_nodes_and_own_them() {
    let mut world = World::service();
    world.create("n", &[]);
    refused(world.set(PARIS, "<create node='n'/>"), StanzaError::conflict());
    refused(world.set(ROMEO, "<create node='his'/>"), StanzaError::forbidden());
    refused(world.owner_get(ROMEO, "<default/>"), StanzaError::forbidden());
    let one = "<affiliations node='n'><affiliation jid='juliet@capulet.lit' affiliation='owner'/></affiliations>";
    let list = || world.owner_get(JULIET, "<affiliations node='n'/>").expect("hers").0;
    assert_eq!(list(), format!("<pubsub xmlns='{OWNER_NS}'>{one}</pubsub>"));
    // Another account of the domain is nobody at it.
    for inner in [
        "<configure node='n'/>",
        "<affiliations node='n'/>",
        "<subscriptions node='n'/>",
    ] {
        refused(world.owner_get(PARIS, inner), StanzaError::forbidden());
    }
    for inner in ["<delete node='n'/>", "<purge node='n'/>"] {
        refused(world.owner_set(PARIS, inner), StanzaError::forbidden());
    }
    let publish = publishing("n", "1", "<a xmlns='urn:a'/>", &[]);
    refused(world.set(PARIS, &publish), StanzaError::forbidden());
    // An open node by default (section 4.5); nothing is sent unasked.
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    let (_, notices) = world.set(ROMEO, SUBSCRIBE).expect("subscribed");
    assert_eq!(notices, []);
    let told = world.publish("n", "2", "<a xmlns='urn:a'/>").remove(0);
    assert_eq!(
        (&told.subscribers[..], told.to_contacts),
        (&["romeo@montague.lit".into()][..], None)
    );
    assert_eq!(world.ids(ROMEO, "<items node='n'/>"), ["1", "2"]);
    // Publishing makes nodes too, for who may (section 7.1.4).
    refused(
        world.set(ROMEO, &publishing("m", "1", "<a xmlns='urn:a'/>", &[])),
        StanzaError::item_not_found(),
    );
    world
        .set(
            PARIS,
            &publishing("m", "1", "<a xmlns='urn:a'/>", &[("access_model", "whitelist")]),
        )
        .expect("his own");
    let closed = error(StanzaError::not_allowed(), "closed-node");
    refused(world.get(JULIET, "<items node='m'/>"), closed);
    assert_eq!(world.ids(PARIS, "<items node='m'/>"), ["1"]);
}

#[test]
fn a_node_may_have_several_owners() {
    let world = World::service();
    world.create("n", &[("access_model", "authorize")]);
    let set = |who, inner: &str| world.owner_set(who, &format!("<affiliations node='n'>{inner}</affiliations>"));
    let last = set(JULIET, "<affiliation jid='juliet@capulet.lit' affiliation='none'/>").expect_err("the last");
    assert!(last.app.is_some_and(|app| app.contains("affiliation='owner'")));
    let (_, notices) = set(JULIET, "<affiliation jid='romeo@montague.lit' affiliation='owner'/>").expect("set");
    assert!(
        notices[0]
            .message
            .text()
            .contains("<affiliation jid='romeo@montague.lit' affiliation='owner'/>")
    );
    // Both are asked, and the first one decides.
    let (_, notices) = world
        .set(TYBALT, "<subscribe node='n' jid='tybalt@capulet.lit'/>")
        .expect("asked");
    assert_eq!(
        notices[0].subscribers,
        ["juliet@capulet.lit".into(), "romeo@montague.lit".into()]
    );
    let decision = [("node", "n"), ("subscriber_jid", "tybalt@capulet.lit"), ("allow", "1")];
    refused(world.decide(PARIS, "submit", &decision), StanzaError::forbidden());
    world.decide(ROMEO, "submit", &decision).expect("approved");
    refused(
        world.decide(JULIET, "submit", &decision),
        error(StanzaError::unexpected_request(), "not-subscribed"),
    );
    // Owners resign (section 4.1).
    set(JULIET, "<affiliation jid='juliet@capulet.lit' affiliation='none'/>").expect("resigned");
    refused(
        world.owner_get(JULIET, "<configure node='n'/>"),
        StanzaError::forbidden(),
    );
    world.owner_get(ROMEO, "<configure node='n'/>").expect("his");
}

#[test]
fn what_needs_an_account_is_not_there() {
    let world = World::service();
    for access in ["presence", "roster"] {
        let form = form(
            "http://jabber.org/protocol/pubsub#node_config",
            &[("access_model", access)],
        );
        refused(
            world.set(JULIET, &format!("<create node='x'/><configure>{form}</configure>")),
            error(StanzaError::not_acceptable(), "unsupported-access-model"),
        );
    }
    world.create("n", &[]);
    refused(
        world.configure(JULIET, "n", &[("send_last_published_item", "on_sub_and_presence")]),
        StanzaError::not_acceptable(),
    );
    let given = world.owner_get(JULIET, "<configure node='n'/>").expect("a form").0;
    assert!(!given.contains("<option><value>presence</value>"), "{given}");
    assert!(given.contains("<option><value>authorize</value>"), "{given}");
    let back = given.replace("type='form'", "type='submit'");
    let (_, rest) = back.split_once("<configure").expect("the form");
    let back = format!("<configure{}", rest.replace("</pubsub>", ""));
    world.owner_set(JULIET, &back).expect("submitted");
    assert_eq!(
        world.owner_get(JULIET, "<configure node='n'/>").expect("a form").0,
        given
    );
}

#[test]
fn everybody_finds_what_he_has() {
    let world = World::service();
    for number in 0..40 {
        world.create(&format!("n{number:02}"), &[]);
    }
    world
        .set(ROMEO, "<subscribe node='n07' jid='romeo@montague.lit'/>")
        .expect("subscribed");
    world
        .set(ROMEO, "<subscribe node='n31' jid='romeo@montague.lit/orchard'/>")
        .expect("subscribed");
    world
        .set(PARIS, "<subscribe node='n31' jid='paris@capulet.lit'/>")
        .expect("subscribed");
    let publisher = "<affiliation jid='romeo@montague.lit' affiliation='publisher'/>";
    world
        .owner_set(JULIET, &format!("<affiliations node='n20'>{publisher}</affiliations>"))
        .expect("set");
    let his = world.get(ROMEO, "<subscriptions/>").expect("his").0;
    assert_eq!(
        his,
        format!(
            "<pubsub xmlns='{PUBSUB}'><subscriptions>\
             <subscription node='n07' jid='romeo@montague.lit' subscription='subscribed'/>\
             <subscription node='n31' jid='romeo@montague.lit/orchard' subscription='subscribed'/>\
             </subscriptions></pubsub>"
        )
    );
    let his = world.get(ROMEO, "<affiliations/>").expect("his").0;
    assert!(
        his.contains("<affiliations><affiliation node='n20' affiliation='publisher'/></affiliations>"),
        "{his}"
    );
    assert_eq!(
        world
            .get(JULIET, "<affiliations/>")
            .expect("hers")
            .0
            .matches("'owner'")
            .count(),
        40
    );
    let one = world.get(JULIET, "<affiliations node='n20'/>").expect("hers").0;
    assert!(
        one.contains("<affiliation node='n20' affiliation='owner'/></affiliations>"),
        "{one}"
    );
    world
        .set(ROMEO, "<unsubscribe node='n07' jid='romeo@montague.lit'/>")
        .expect("left");
    world.owner_set(JULIET, "<delete node='n31'/>").expect("deleted");
    let his = world.get(ROMEO, "<subscriptions/>").expect("his").0;
    assert_eq!(
        his,
        format!("<pubsub xmlns='{PUBSUB}'><subscriptions></subscriptions></pubsub>")
    );
    // Nothing is left behind: 39 nodes, an owner each, and a publisher.
    assert_eq!(world.count(&crate::PEOPLE), 39 + 39 + 1);
}

#[test]
fn nodes_are_listed_page_by_page_and_by_type() {
    let world = World::service();
    for number in 0..30 {
        let kind = ["urn:x:blog", "urn:x:comments", ""][number % 3];
        let access = if number % 10 == 9 { "whitelist" } else { "open" };
        world.create(
            &format!("n{number:02}"),
            &[("type", kind), ("access_model", access), ("title", "T")],
        );
    }
    let set = |inner: &str| format!("<set xmlns='http://jabber.org/protocol/rsm'>{inner}</set>");
    let all = listed(&world, ROMEO, "").expect("a list");
    assert!(
        all.contains("<item jid='pubsub.capulet.lit' node='n00' name='T'/>"),
        "{all}"
    );
    assert_eq!((names(&all).len(), all.contains("n09")), (27, false));
    assert_eq!(names(&listed(&world, JULIET, "").expect("a list")).len(), 30);
    let page = listed(&world, ROMEO, &set("<max>4</max><after>n07</after>")).expect("a page");
    assert_eq!(names(&page), ["n08", "n10", "n11", "n12"]);
    assert!(
        page.contains("<first>n08</first><last>n12</last><count>30</count></set>"),
        "{page}"
    );
    let page = listed(&world, ROMEO, &set("<max>3</max><before/>")).expect("a page");
    assert_eq!(names(&page), ["n26", "n27", "n28"]);
    let page = listed(&world, ROMEO, &set("<max>2</max><before>n11</before>")).expect("a page");
    assert_eq!(names(&page), ["n08", "n10"]);
    let page = listed(&world, ROMEO, &set("<max>0</max>")).expect("a number");
    assert!(
        page.ends_with("<set xmlns='http://jabber.org/protocol/rsm'><count>30</count></set></query>"),
        "{page}"
    );
    // XEP-0462.
    let filter = |fields: &[(&str, &[&str])]| {
        let fields: String = fields
            .iter()
            .map(|(var, values)| {
                let values: String = values.iter().map(|value| format!("<value>{value}</value>")).collect();
                format!("<field type='list-multi' var='{var}'>{values}</field>")
            })
            .collect();
        format!(
            "<filter xmlns='urn:xmpp:pubsub-filter:0'><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' \
             type='hidden'><value>urn:xmpp:pubsub-filter:0</value></field>{fields}</x></filter>"
        )
    };
    let only = |fields: &[(&str, &[&str])]| {
        let answer = listed(&world, ROMEO, &filter(fields)).expect("a list");
        names(&answer).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let blogs = only(&[("included-types", &["urn:x:blog"])]);
    assert_eq!((blogs.len(), &*blogs[1]), (9, "n03"));
    let without = only(&[("included-types", &["urn:x:blog", ""])]);
    assert_eq!((without.len(), &*without[1]), (18, "n02"));
    assert_eq!(only(&[("excluded-types", &["urn:x:blog", ""])]).len(), 9);
    let both: &[(&str, &[&str])] = &[("included-types", &["a"]), ("excluded-types", &["b"])];
    refused(
        listed(&world, ROMEO, &filter(both)).map(|list| (list, Vec::new())),
        StanzaError::bad_request(),
    );
}

#[test]
fn a_node_says_whose_it_is() {
    let mut world = World::service();
    world.create("n", &[("contact", "nurse@capulet.lit"), ("title", "Musings")]);
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    let info = world
        .carry_out(crate::node_info(&world.context(ROMEO), "n"))
        .expect("open")
        .0;
    for part in [
        "<field var='pubsub#owner' type='jid-multi'><value>juliet@capulet.lit</value></field>",
        "<field var='pubsub#contact' type='jid-multi'><value>nurse@capulet.lit</value></field>",
        "<field var='pubsub#num_items' type='text-single'><value>1</value></field>",
    ] {
        assert!(info.contains(part), "{part}: {info}");
    }
}

/// Row 31 of the attacks.
#[test]
fn what_is_too_many() {
    let mut world = World::service();
    for number in 0..MAX_OWNED {
        world.create(&format!("n{number}"), &[]);
    }
    let too_many = error(StanzaError::policy_violation(), "max-nodes-exceeded");
    refused(world.set(JULIET, "<create/>"), too_many.clone());
    refused(
        world.set(JULIET, &publishing("x", "1", "<a xmlns='urn:a'/>", &[])),
        too_many,
    );
    // Who has made none may make them, whatever others make him an owner of; and who has deleted one.
    for number in 0..MAX_OWNED {
        let owner = "<affiliation jid='paris@capulet.lit' affiliation='owner'/>";
        let set = format!("<affiliations node='n{number}'>{owner}</affiliations>");
        world.owner_set(JULIET, &set).expect("set");
    }
    world.set(PARIS, "<create node='his'/>").expect("created");
    world.owner_set(JULIET, "<delete node='n0'/>").expect("deleted");
    world.create("n0", &[]);
    // One entity at so many nodes.
    for maker in 0..10 {
        let who = Who {
            jid: [
                "a@capulet.lit",
                "b@capulet.lit",
                "c@capulet.lit",
                "d@capulet.lit",
                "e@capulet.lit",
                "f@capulet.lit",
                "g@capulet.lit",
                "h@capulet.lit",
                "i@capulet.lit",
                "j@capulet.lit",
            ][maker],
            ..PARIS
        };
        for number in 0..MAX_OF_ONE / 10 {
            let node = format!("s{maker}-{number}");
            world.set(who, &format!("<create node='{node}'/>")).expect("created");
            world
                .set(ROMEO, &format!("<subscribe node='{node}' jid='romeo@montague.lit'/>"))
                .expect("subscribed");
        }
    }
    let error = error(
        StanzaError::policy_violation().kind(ErrorType::Wait),
        "too-many-subscriptions",
    );
    refused(
        world.set(ROMEO, "<subscribe node='n1' jid='romeo@montague.lit'/>"),
        error,
    );
    world
        .set(ROMEO, "<subscribe node='s0-1' jid='romeo@montague.lit/orchard'/>")
        .expect("he is there already");
    // The items of one node.
    let big = format!("<a xmlns='urn:a'>{}</a>", "x".repeat(190_000));
    let filled = (0..30).find_map(|number| {
        world
            .set(JULIET, &publishing("n1", &number.to_string(), &big, &[]))
            .err()
    });
    refused(
        filled.map_or(Ok((String::new(), Vec::new())), Err),
        StanzaError::resource_constraint(),
    );
    world.publish("n2", "1", &big);
}

#[test]
fn who_is_no_more_has_nothing() {
    let mut world = World::service();
    for node in ["alone", "shared", "his"] {
        world.create(node, &[]);
    }
    world.publish("alone", "1", "<a xmlns='urn:a'/>");
    world.set(PARIS, "<create node='of-paris'/>").expect("created");
    let owner = "<affiliation jid='paris@capulet.lit' affiliation='owner'/>";
    let set = |node: &str, inner: &str| {
        let set = format!("<affiliations node='{node}'>{inner}</affiliations>");
        world.owner_set(JULIET, &set).expect("set")
    };
    set("shared", owner);
    set("his", owner);
    set("his", "<affiliation jid='juliet@capulet.lit' affiliation='none'/>");
    let subscribe = "<subscribe node='of-paris' jid='juliet@capulet.lit/balcony'/>";
    world.set(JULIET, subscribe).expect("subscribed");
    world
        .set(ROMEO, "<subscribe node='alone' jid='romeo@montague.lit'/>")
        .expect("subscribed");
    let leave = || {
        let (query, make) = crate::leave(SERVICE, OWNER);
        let change = world.steps(query, make).expect("gone");
        world.store.write_wait(change.batch).expect("written");
        change.notices
    };
    let [notice] = &leave()[..] else {
        panic!("one node is deleted")
    };
    assert_eq!(notice.subscribers, ["romeo@montague.lit".into()]);
    refused(world.get(PARIS, "<items node='alone'/>"), StanzaError::item_not_found());
    for list in ["affiliations", "subscriptions"] {
        let hers = world.get(JULIET, &format!("<{list}/>")).expect("nothing").0;
        assert_eq!(hers, format!("<pubsub xmlns='{PUBSUB}'><{list}></{list}></pubsub>"));
    }
    for node in ["shared", "his", "of-paris"] {
        world
            .owner_get(PARIS, &format!("<configure node='{node}'/>"))
            .expect("his");
    }
    assert_eq!((world.totals().nodes, world.count(&crate::ITEMS)), (3, 0));
    assert_eq!((world.count(&crate::NODES), world.count(&crate::PEOPLE)), (3, 3 + 3));
    // Again: nothing is left to be done.
    assert_eq!(leave(), []);
}
