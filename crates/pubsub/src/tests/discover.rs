//! XEP-0060 sections 5.2 to 5.5.

use super::*;

#[test]
fn nodes_that_he_may_read_are_listed() {
    let mut world = World::new();
    for (node, access) in [("open", "open"), ("presence", "presence"), ("private", "whitelist")] {
        world.create(node, &[("access_model", access), ("title", node)]);
        world.publish(node, "1", "<a xmlns='urn:a'/>");
    }
    let listed = |who: Who| {
        let answer = crate::node_items(
            &world.context(who),
            None,
            "<item jid='other'/>".into(),
            crate::Wanted::default(),
        );
        world.carry_out(answer).expect("a list").0
    };
    let expected = |nodes: &[&str]| {
        let nodes: String = nodes
            .iter()
            .map(|node| format!("<item jid='juliet@capulet.lit' node='{node}' name='{node}'/>"))
            .collect();
        format!("<query xmlns='http://jabber.org/protocol/disco#items'><item jid='other'/>{nodes}</query>")
    };
    assert_eq!(listed(JULIET), expected(&["open", "presence", "private"]));
    assert_eq!(listed(ROMEO), expected(&["open", "presence"]));
    assert_eq!(listed(PARIS), expected(&["open"]));
}

#[test]
fn a_node_tells_of_itself() {
    let mut world = World::new();
    world.create("n", &[("title", "Musings"), ("max_items", "5")]);
    world.publish("n", "1", "<a xmlns='urn:a'/>");
    world.publish("n", "2", "<a xmlns='urn:a'/>");
    let info = world
        .carry_out(crate::node_info(&world.context(ROMEO), "n"))
        .expect("it is there")
        .0;
    for part in [
        "<query xmlns='http://jabber.org/protocol/disco#info' node='n'><identity category='pubsub' type='leaf'/>",
        "<value>http://jabber.org/protocol/pubsub#meta-data</value>",
        "<field var='pubsub#title' type='text-single'><value>Musings</value></field>",
        "<field var='pubsub#owner' type='jid-multi'><value>juliet@capulet.lit</value></field>",
        "<field var='pubsub#num_items' type='text-single'><value>2</value></field>",
        "<value>2001-09-09T01:46:40.000Z</value>",
    ] {
        assert!(info.contains(part), "{part}: {info}");
    }
    let items = crate::node_items(
        &world.context(ROMEO),
        Some("n"),
        String::new(),
        crate::Wanted::default(),
    );
    assert_eq!(
        world.carry_out(items).expect("it is there").0,
        "<query xmlns='http://jabber.org/protocol/disco#items' node='n'>\
         <item jid='juliet@capulet.lit' name='1'/><item jid='juliet@capulet.lit' name='2'/></query>"
    );
    let missing = crate::node_info(&world.context(ROMEO), "x");
    refused(world.carry_out(missing), StanzaError::item_not_found());
}
