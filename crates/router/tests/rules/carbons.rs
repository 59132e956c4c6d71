//! Copies for other devices (XEP-0280), and what a client that is inactive is spared (XEP-0352).

use crate::support::World;

const STATE: &str = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";

fn world() -> World {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard", "romeo/garden", "juliet/balcony", "juliet/chamber"]);
    world.carbons("romeo/garden");
    world.carbons("juliet/chamber");
    world.send("juliet/chamber", "<presence><priority>-1</priority></presence>");
    world.forget();
    world
}

fn chat(world: &mut World, from: &str, to: &str, content: &str) {
    world.send(from, &format!("<message type='chat' to='{to}'>{content}</message>"));
}

/// Sections 7 and 8: both sides, once each; nobody gets a copy of what he sent or was given.
#[test]
fn sent_and_received() {
    let mut world = world();
    chat(&mut world, "romeo/orchard", "juliet@d", "<body>1</body>");
    assert!(
        !world.pump("juliet/balcony") && !world.pump("romeo/garden"),
        "nothing before the commit"
    );
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet 1"]);
    world.expect("juliet/chamber", &["received [chat romeo/orchard>juliet 1]"]);
    world.expect("romeo/garden", &["sent [chat romeo/orchard>juliet 1]"]);
    // To the full JID, and what is not kept.
    chat(&mut world, "romeo/orchard", "juliet@d/chamber", "<body>2</body>");
    chat(&mut world, "romeo/orchard", "juliet@d/balcony", STATE);
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet/balcony "]);
    world.expect(
        "juliet/chamber",
        &[
            "chat romeo/orchard>juliet/chamber 2",
            "received [chat romeo/orchard>juliet/balcony ]",
        ],
    );
    world.expect(
        "romeo/garden",
        &[
            "sent [chat romeo/orchard>juliet/chamber 2]",
            "sent [chat romeo/orchard>juliet/balcony ]",
        ],
    );
    world.nothing_more();
}

/// Section 6.1: private, and what `<no-copy/>` forbids.
#[test]
fn none_of_what_is_private() {
    let mut world = world();
    for hint in [
        "<private xmlns='urn:xmpp:carbons:2'/>",
        "<no-copy xmlns='urn:xmpp:hints'/>",
    ] {
        chat(
            &mut world,
            "romeo/orchard",
            "juliet@d",
            &format!("<body>1</body>{hint}"),
        );
        world.expect("juliet/balcony", &["chat romeo/orchard>juliet 1"]);
        world.nothing_more();
    }
}

/// To oneself: each resource has it once.
#[test]
fn to_oneself() {
    let mut world = world();
    chat(&mut world, "romeo/orchard", "romeo@d", "<body>1</body>");
    world.expect("romeo/orchard", &["chat romeo/orchard>romeo 1"]);
    world.expect("romeo/garden", &["chat romeo/orchard>romeo 1"]);
    chat(&mut world, "romeo/orchard", "romeo@d/orchard", "<body>2</body>");
    world.expect("romeo/orchard", &["chat romeo/orchard>romeo/orchard 2"]);
    world.expect("romeo/garden", &["received [chat romeo/orchard>romeo/orchard 2]"]);
    world.nothing_more();
}

/// The copy has the id of the archive of whose it is, and it is the same as that of the message.
#[test]
fn copies_have_the_id_of_the_archive() {
    let mut world = world();
    chat(&mut world, "romeo/orchard", "juliet@d", "<body>1</body>");
    let ids: Vec<(String, String)> = ["juliet/balcony", "juliet/chamber", "romeo/garden"]
        .iter()
        .map(|name| crate::support::stanza_id(&world.read(name)[0]).expect("a stanza-id"))
        .collect();
    let by: Vec<&str> = ids.iter().map(|(by, _)| by.as_str()).collect();
    assert_eq!(by, ["juliet@d", "juliet@d", "romeo@d"]);
    assert!(
        ids.iter().all(|(_, id)| *id == ids[0].1),
        "one message has one id: {ids:?}"
    );
}

/// A message that only a copy was made of waits: a copy that is not acknowledged is nothing to rely on.
#[test]
fn a_copy_is_no_delivery() {
    let mut world = world();
    world.send("juliet/balcony", "<presence type='unavailable'/>");
    world.forget();
    chat(&mut world, "romeo/orchard", "juliet@d", "<body>1</body>");
    world.expect("juliet/chamber", &["received [chat romeo/orchard>juliet 1]"]);
    assert_eq!(world.stored_messages("juliet").len(), 1);
    world.send("juliet/balcony", "<presence/>");
    let lines = world.lines("juliet/balcony");
    assert!(
        lines.contains(&"chat romeo/orchard>juliet 1 (delayed)".to_owned()),
        "{lines:?}"
    );
    assert!(world.stored_messages("juliet").is_empty());
}

/// XEP-0352: presence is held to the last of each, chat states are dropped, and a message brings all of it along.
#[test]
fn an_inactive_client_is_spared() {
    let mut world = world();
    world.befriend("romeo/orchard", "juliet/balcony");
    world.set_active("juliet/balcony", false);
    for status in ["1", "2", "3"] {
        world.send(
            "romeo/orchard",
            &format!("<presence><status>{status}</status></presence>"),
        );
        world.send(
            "romeo/garden",
            &format!("<presence><status>{status}</status></presence>"),
        );
        chat(&mut world, "romeo/orchard", "juliet@d", STATE);
    }
    world.expect("juliet/balcony", &[]);
    chat(&mut world, "romeo/orchard", "juliet@d", "<body>now</body>");
    world.expect(
        "juliet/balcony",
        &[
            "available romeo/garden>juliet 3",
            "available romeo/orchard>juliet 3",
            "chat romeo/orchard>juliet now",
        ],
    );
    // And when it looks again.
    world.send("romeo/orchard", "<presence><status>4</status></presence>");
    world.expect("juliet/balcony", &[]);
    world.set_active("juliet/balcony", true);
    world.expect("juliet/balcony", &["available romeo/orchard>juliet 4"]);
    world.send("romeo/orchard", "<presence><status>5</status></presence>");
    chat(&mut world, "romeo/orchard", "juliet@d", STATE);
    world.expect(
        "juliet/balcony",
        &["available romeo/orchard>juliet 5", "chat romeo/orchard>juliet "],
    );
}
