//! XEP-0503.

use super::*;

const VAR: &str = "{urn:xmpp:spaces:0}parent";
const SPACE: &str = "xmpp:megacorp-pubsub.example.com?;node=dev";

fn info(world: &mut World) -> String {
    let told = world.iq(TWO, "get", "<query xmlns='http://jabber.org/protocol/disco#info'/>");
    told[0].2.clone()
}

#[test]
fn a_room_tells_to_which_space_it_belongs() {
    let mut world = World::configured(&[(VAR, SPACE)]);
    let feature = "<feature var='urn:xmpp:spaces:0'/>";
    let form = format!(
        "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:spaces:0</value></field>\
         <field var='parent' type='text-single' label='Space parent'><value>{SPACE}</value></field></x>"
    );
    let node = |value: &str| {
        format!(
            "<field var='muc#roomconfig_pubsub' type='text-single' label='Associated pubsub node'><value>{value}</value>"
        )
    };
    world.room = world.again().expect("it is kept");
    let told = info(&mut world);
    assert!(
        told.contains(feature) && told.contains(&form) && told.contains(&node(SPACE)),
        "{told}"
    );
    // Another node that belongs to it stays what it is.
    world.configure(&[("muc#roomconfig_pubsub", "xmpp:p.example.com?;node=blog")]);
    let told = info(&mut world);
    assert!(told.contains(&form) && !told.contains(&node(SPACE)), "{told}");
    assert_eq!(told.matches("muc#roomconfig_pubsub").count(), 1);
    for no_node in [
        "dev",
        "xmpp:a@b@c?;node=dev",
        "xmpp:p.example.com",
        "xmpp:p.example.com?;node=",
    ] {
        refused(&world.configure(&[(VAR, no_node)]), ONE, "not-acceptable", "modify");
    }
    world.configure(&[(VAR, "")]);
    let told = info(&mut world);
    assert!(!told.contains("spaces"), "{told}");
}
