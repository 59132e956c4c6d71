//! XEP-0163 section 4.3.4.

use super::*;

#[test]
fn the_last_items_for_who_comes_online() {
    let mut world = World::new();
    for (node, fields) in [
        ("open", &[("access_model", "open")][..]),
        ("presence", &[]),
        ("private", &[("access_model", "whitelist")]),
        ("never", &[("send_last_published_item", "never")]),
        ("on_sub", &[("send_last_published_item", "on_sub")]),
        ("expired", &[("item_expire", "1")]),
        ("many", &[("max_items", "max")]),
    ] {
        world.create(node, fields);
        world.publish(node, "1", "<a xmlns='urn:a'/>");
        world.publish(node, "2", "<a xmlns='urn:a'/>");
    }
    world.create("empty", &[]);
    world.now += 2_000;
    let wanted = [
        "many", "missing", "empty", "never", "on_sub", "expired", "private", "presence", "open",
    ];
    let sent = |who: Who| {
        let (query, make) = crate::last_items(&world.context(who), wanted.into_iter());
        let change = world.steps(query, make).expect("found");
        assert!(change.batch.is_empty());
        for notice in &change.notices {
            let text = notice.message.text();
            assert!(
                text.contains(&format!("<items node='{}'><item id='2'>", notice.node)),
                "{text}"
            );
            assert!(text.contains("<delay xmlns='urn:xmpp:delay'"), "{text}");
        }
        change.notices.into_iter().map(|notice| notice.node).collect::<Vec<_>>()
    };
    assert_eq!(sent(JULIET), ["many", "private", "presence", "open"].map(Into::into));
    assert_eq!(sent(ROMEO), ["many", "presence", "open"].map(Into::into));
    assert_eq!(sent(TYBALT), ["open"].map(Into::into));
}
