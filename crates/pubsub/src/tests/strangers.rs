//! Who may not know that there is an account is answered as if there were none, whatever he asks.

use super::*;

#[test]
fn a_stranger_learns_nothing() {
    let mut world = World::new();
    for node in ["presence", "roster", "whitelist"] {
        world.create(node, &[("access_model", node)]);
        world.publish(node, "1", "<a xmlns='urn:a'/>");
    }
    let none = StanzaError::service_unavailable();
    for node in ["presence", "roster", "whitelist", "missing"] {
        for inner in [
            format!("<items node='{node}'/>"),
            format!("<items node='{node}'><item id='1'/></items>"),
            format!("<items node='{node}' max_items='x'/>"),
            format!("<items node='{node}'/><set xmlns='http://jabber.org/protocol/rsm'><after>x</after></set>"),
            format!("<subscriptions node='{node}'/>"),
            format!("<affiliations node='{node}'/>"),
            "<items/>".into(),
            "<nonsense/>".into(),
            "<default/>".into(),
            String::new(),
        ] {
            // With its text too.
            assert_eq!(world.get(TYBALT, &inner), Err(none.clone()), "{inner}");
        }
        for inner in [
            publishing(node, "1", "<a xmlns='urn:a'/>", &[]),
            publishing(node, "", "", &[("nonsense", "1")]),
            format!("<retract node='{node}'><item id='1'/></retract>"),
            format!("<create node='{node}'/>"),
            "<create/>".into(),
            format!("<subscribe node='{node}' jid='tybalt@capulet.lit'/>"),
            format!("<subscribe node='{node}' jid='juliet@capulet.lit'/>"),
            format!("<unsubscribe node='{node}' jid='tybalt@capulet.lit'/>"),
            format!("<unsubscribe node='{node}' jid='juliet@capulet.lit'/>"),
        ] {
            assert_eq!(world.set(TYBALT, &inner), Err(none.clone()), "{inner}");
        }
        for act in ["configure", "subscriptions", "affiliations"] {
            assert_eq!(
                world.owner_get(TYBALT, &format!("<{act} node='{node}'/>")),
                Err(none.clone())
            );
        }
        for act in ["configure", "subscriptions", "affiliations", "delete", "purge"] {
            assert_eq!(
                world.owner_set(TYBALT, &format!("<{act} node='{node}'/>")),
                Err(none.clone())
            );
        }
        assert_eq!(world.configure(TYBALT, node, &[("title", "x")]), Err(none.clone()));
        let info = crate::node_info(&world.context(TYBALT), node);
        assert_eq!(world.carry_out(info), Err(none.clone()));
        let items = crate::node_items(
            &world.context(TYBALT),
            Some(node),
            String::new(),
            crate::Wanted::default(),
        );
        assert_eq!(world.carry_out(items), Err(none.clone()));
    }
    assert_eq!(world.owner_get(TYBALT, "<default/>"), Err(none));
}

#[test]
fn an_open_node_tells_of_itself() {
    let mut world = World::new();
    world.create("open", &[("access_model", "open")]);
    world.publish("open", "1", "<a xmlns='urn:a'/>");
    assert_eq!(world.ids(TYBALT, "<items node='open'/>"), ["1"]);
    world
        .set(TYBALT, "<subscribe node='open' jid='tybalt@capulet.lit'/>")
        .expect("subscribed");
    refused(
        world.set(TYBALT, &publishing("open", "1", "<a xmlns='urn:a'/>", &[])),
        StanzaError::forbidden(),
    );
    refused(
        world.owner_set(TYBALT, "<delete node='open'/>"),
        StanzaError::service_unavailable(),
    );
    // It is closed, and he may leave.
    world
        .configure(JULIET, "open", &[("access_model", "whitelist")])
        .expect("configured");
    refused(
        world.get(TYBALT, "<items node='open'/>"),
        StanzaError::service_unavailable(),
    );
    world
        .set(TYBALT, "<unsubscribe node='open' jid='tybalt@capulet.lit'/>")
        .expect("left");
    refused(
        world.set(TYBALT, "<unsubscribe node='open' jid='tybalt@capulet.lit'/>"),
        StanzaError::service_unavailable(),
    );
}
