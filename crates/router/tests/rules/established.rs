//! Sessions that are complete from their first moment (XEP-0386).

use jackdaw_router::Inline;

use crate::support::World;

const NO_PRESENCE: &str = "available juliet/balcony>juliet/balcony";

fn chat(world: &mut World, to: &str, content: &str) {
    let text = format!("<message type='chat' to='{to}'>{content}</message>");
    world.send("romeo/orchard", &text);
    world.settle();
}

fn come(world: &mut World, name: &str, inline: Option<Inline>) {
    match inline {
        Some(inline) => world.establish(name, inline),
        None => world.connect(name),
    }
    world.send(name, "<presence/>");
    world.settle();
}

/// Section 3.2: what waits and is in the archive is not sent, to it or to the next; what is not in the archive is.
#[test]
fn who_reads_the_archive_is_not_handed_over_what_waits() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    chat(&mut world, "juliet@d", "<body>1</body>");
    chat(
        &mut world,
        "juliet@d",
        "<body>2</body><no-permanent-store xmlns='urn:xmpp:hints'/>",
    );
    chat(&mut world, "juliet@d", "<body>3</body>");
    come(&mut world, "juliet/balcony", Some(Inline::default()));
    world.expect(
        "juliet/balcony",
        &[NO_PRESENCE, "chat romeo/orchard>juliet 2 (delayed)"],
    );
    chat(&mut world, "juliet@d", "<body>4</body>");
    world.expect("juliet/balcony", &["chat romeo/orchard>juliet 4"]);
    world.leave("juliet/balcony", true);
    come(&mut world, "juliet/balcony", None);
    world.expect("juliet/balcony", &[NO_PRESENCE]);
}

/// What the client was not told of when it was bound comes, before its presence and while the rest is looked through.
#[test]
fn what_comes_after_the_binding_is_handed_over() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    chat(&mut world, "juliet@d", "<body>1</body>");
    world.establish("juliet/balcony", Inline::default());
    chat(&mut world, "juliet@d", "<body>2</body>");
    world.send("juliet/balcony", "<presence/>");
    let text = "<message type='chat' to='juliet@d'><body>3</body></message>";
    world.send("romeo/orchard", text);
    world.settle();
    let lines = world.lines("juliet/balcony");
    let bodies: Vec<&str> = lines.iter().filter_map(|line| line.split("juliet ").nth(1)).collect();
    assert_eq!(bodies.len(), 2, "{lines:?}");
    assert!(bodies[0].starts_with('2') && bodies[1].starts_with('3'), "{lines:?}");
}

/// Nothing is in the archive then, so nothing can be read there.
#[test]
fn without_an_archive_everything_is_handed_over() {
    let mut world = World::without_archives(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    chat(&mut world, "juliet@d", "<body>1</body>");
    come(&mut world, "juliet/balcony", Some(Inline::default()));
    world.expect(
        "juliet/balcony",
        &[NO_PRESENCE, "chat romeo/orchard>juliet 1 (delayed)"],
    );
}

/// Section 3.2, "the server SHOULD terminate any earlier sessions from the same client".
#[test]
fn earlier_sessions_of_the_same_client_end() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    let of = |client: &str| Inline {
        client: Some(client.into()),
        ..Inline::default()
    };
    // As many as there may be: those that end make room.
    for resource in ["a/0123", "b/0123", "0123", "c/4567"] {
        world.establish(&format!("juliet/{resource}"), Inline::default());
    }
    world.establish("juliet/d/0123", of("0123"));
    world.settle();
    for ended in ["a/0123", "b/0123", "0123"] {
        world.expect(&format!("juliet/{ended}"), &["end conflict"]);
    }
    world.expect("juliet/c/4567", &[]);
    world.expect("juliet/d/0123", &[]);
    world.establish("juliet/x0123", Inline::default());
    world.establish("juliet/e/0123", of("0123"));
    world.settle();
    world.expect("juliet/d/0123", &["end conflict"]);
    world.expect("juliet/x0123", &[]);
}

/// XEP-0352: from the first moment, presence is held back.
#[test]
fn inactive_from_the_beginning() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard", "juliet/chamber"]);
    world.befriend("romeo/orchard", "juliet/chamber");
    world.leave("juliet/chamber", true);
    let inline = Inline {
        inactive: true,
        ..Inline::default()
    };
    come(&mut world, "juliet/balcony", Some(inline));
    world.expect("juliet/balcony", &[NO_PRESENCE]);
    world.set_active("juliet/balcony", true);
    world.settle();
    world.expect("juliet/balcony", &["available romeo/orchard>juliet/balcony"]);
}
