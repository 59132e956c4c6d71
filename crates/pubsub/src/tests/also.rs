//! What is done besides, in the change of something else.

use module::{Deed, Occasion};

use super::*;
use crate::{Act, also};

fn occasion(world: &World) -> Occasion {
    let context = world.context(JULIET);
    Occasion {
        now: context.now,
        owner: context.owner,
        by: context.asker.jid,
    }
}

fn publish(node: &str, id: &str, content: &str) -> Act {
    Act::Publish {
        node: node.into(),
        id: id.into(),
        payload: content.into(),
        made: &[("access_model", "whitelist"), ("max_items", "max")],
    }
}

fn retract(node: &str, id: &str) -> Act {
    let (node, id) = (node.into(), id.into());
    Act::Retract { node, id }
}

impl World {
    fn carry_out_also(&self, acts: Vec<Act>, change: Change) -> Result<Change, StanzaError> {
        let mut step = also(&occasion(self), acts, change)?;
        loop {
            match step {
                Step::Ask(query, make) => step = make(self.store.read_wait(query))?,
                Step::Done(change) => return Ok(change),
            }
        }
    }
}

#[test]
fn one_change_with_all_that_follows() {
    let mut world = World::new();
    world.publish("open", "1", "<a xmlns='urn:a'/>");
    let before = world.totals();
    // The change itself has published, and is not written yet.
    let text = publishing("bookmarks", "a@b", "<b xmlns='urn:b'/>", &[]);
    let answer = {
        let text = format!("<iq type='set' id='1'><pubsub xmlns='{PUBSUB}'>{text}</pubsub></iq>");
        let mut scratch = Scratch::default();
        let iq = xmlstream::parse_element(&text, "jabber:client", &mut scratch, &Limits::default()).expect("XML");
        let payload = iq.children().next().expect("a payload");
        crate::answer(&world.context(JULIET), Method::Set, &payload)
    };
    let Answer::Changed(query, make) = answer else {
        panic!("another answer");
    };
    let change = world.steps(query, make).expect("published");
    let said = change.answer.clone();
    let acts = vec![
        publish("list", "1", "<c xmlns='urn:c'/>"),
        publish("list", "2", "<c xmlns='urn:c'/>"),
        publish("list", "1", "<d xmlns='urn:d'/>"),
        publish("open", "2", "<e xmlns='urn:e'/>"),
        retract("list", "2"),
        retract("list", "3"),
        retract("nowhere", "3"),
    ];
    let change = world.carry_out_also(acts, change).expect("done");
    assert_eq!(change.answer, said);
    let nodes: Vec<&str> = change.notices.iter().map(|notice| &*notice.node).collect();
    assert_eq!(nodes, ["bookmarks", "list", "list", "list", "open", "list"]);
    let nodes: Vec<&str> = change.deeds.iter().map(Deed::node).collect();
    assert_eq!(nodes, ["bookmarks", "list", "list", "list", "open", "list"]);
    assert_eq!(
        change.deeds.last(),
        Some(&Deed::Retracted {
            node: "list".into(),
            id: "2".into()
        })
    );
    world.store.write_wait(change.batch).expect("written");
    assert_eq!(world.ids(JULIET, "<items node='bookmarks'/>"), ["a@b"]);
    assert_eq!(world.ids(JULIET, "<items node='list'/>"), ["1"]);
    // It holds one item.
    assert_eq!(world.ids(JULIET, "<items node='open'/>"), ["2"]);
    let after = world.totals();
    assert_eq!((before.nodes, after.nodes), (1, 3));
    let bytes = |id: &str, payload: &str| (id.len() + payload.len() + JULIET.jid.len()) as u64;
    assert_eq!(
        after.bytes,
        bytes("a@b", "<b xmlns='urn:b'/>") + bytes("1", "<d xmlns='urn:d'/>") + bytes("2", "<e xmlns='urn:e'/>")
    );
    // Made as it was wanted, and as nobody else may see it.
    let model = crate::error::with(StanzaError::not_allowed(), "closed-node");
    refused(world.get(ROMEO, "<items node='list'/>"), model);
    // And what it is by now stays.
    world
        .configure(JULIET, "list", &[("access_model", "open")])
        .expect("configured");
    let change = world.carry_out_also(vec![publish("list", "1", "<f xmlns='urn:f'/>")], Change::default());
    world.store.write_wait(change.expect("done").batch).expect("written");
    assert_eq!(world.ids(TYBALT, "<items node='list'/>"), ["1"]);
}

#[test]
fn a_node_is_kept_for_its_owner() {
    let mut world = World::new();
    world.create("list", &[("access_model", "open"), ("publish_model", "open")]);
    let subscribe = format!("<subscribe node='list' jid='{}'/>", TYBALT.jid);
    world.set(TYBALT, &subscribe).expect("subscribed");
    let member =
        "<affiliations node='list'><affiliation jid='romeo@montague.lit' affiliation='publisher'/></affiliations>";
    world.owner_set(JULIET, member).expect("a publisher");
    world.publish("list", "1", "<a xmlns='urn:a'/>");
    let keep = |node: &str, items| Act::Keep {
        node: node.into(),
        items,
    };
    let acts = vec![
        keep("nowhere", 9),
        keep("list", 2),
        publish("list", "2", "<a xmlns='urn:a'/>"),
    ];
    let change = world.carry_out_also(acts, Change::default()).expect("done");
    // He has heard of it, and is told no more.
    assert_eq!(change.notices.len(), 1);
    assert_eq!(change.notices[0].audience, module::Audience::Listed(Vec::new()));
    assert!(change.notices[0].subscribers.is_empty());
    world.store.write_wait(change.batch).expect("written");
    assert_eq!(world.ids(JULIET, "<items node='list'/>"), ["1", "2"]);
    for who in [ROMEO, TYBALT] {
        world.get(who, "<items node='list'/>").expect_err("closed");
        world
            .set(who, &publishing("list", "3", "<a xmlns='urn:a'/>", &[]))
            .expect_err("closed");
    }
    // What is so already is left alone.
    let change = world.carry_out_also(vec![keep("list", 2)], Change::default());
    assert!(change.expect("done").batch.is_empty());
}

#[test]
fn what_cannot_be_done_fails_the_whole() {
    let world = World::new();
    let long = "x".repeat(crate::MAX_PAYLOAD as usize);
    let acts = vec![
        publish("list", "1", "<a xmlns='urn:a'/>"),
        publish("list", "2", &format!("<a xmlns='urn:a'>{long}</a>")),
    ];
    let refusal = world
        .carry_out_also(acts, Change::default())
        .map(|change| change.answer);
    let error = refusal.expect_err("an error");
    assert_eq!(
        error.app.as_deref().map(|app| app.contains("payload-too-big")),
        Some(true)
    );
    let many = vec![retract("list", "1"); 2 * crate::MAX_ITEMS as usize + 1];
    let refusal = world
        .carry_out_also(many, Change::default())
        .map(|change| change.answer);
    assert_eq!(
        refusal.expect_err("an error").text.as_deref(),
        Some("that is too much at once")
    );
}
