//! RFC 6121 section 4: broadcast, probes, directed presence, and who hears of an end.

use crate::support::World;

fn friends() -> World {
    let mut world = World::new(&["romeo", "juliet", "nurse"]);
    world.online(&["romeo/orchard", "juliet/balcony"]);
    world.befriend("romeo/orchard", "juliet/balcony");
    world
}

#[test]
fn initial_subsequent_and_unavailable() {
    let mut world = friends();
    world.connect("juliet/chamber");
    world.send("juliet/chamber", "<presence><show>away</show></presence>");
    // Section 4.2.2: to herself, her other resources, her subscribers; and she learns of them.
    world.expect(
        "juliet/chamber",
        &[
            "available juliet/balcony>juliet/chamber",
            "available juliet/chamber>juliet/chamber away",
            "available romeo/orchard>juliet/chamber",
        ],
    );
    world.expect("juliet/balcony", &["available juliet/chamber>juliet/balcony away"]);
    world.expect("romeo/orchard", &["available juliet/chamber>romeo away"]);
    world.send("juliet/chamber", "<presence><show>dnd</show></presence>");
    world.expect("juliet/chamber", &["available juliet/chamber>juliet/chamber dnd"]);
    world.expect("juliet/balcony", &["available juliet/chamber>juliet/balcony dnd"]);
    world.expect("romeo/orchard", &["available juliet/chamber>romeo dnd"]);
    world.send(
        "juliet/chamber",
        "<presence type='unavailable'><status>gone</status></presence>",
    );
    world.expect("juliet/chamber", &["unavailable juliet/chamber>juliet/chamber gone"]);
    world.expect("juliet/balcony", &["unavailable juliet/chamber>juliet/balcony gone"]);
    world.expect("romeo/orchard", &["unavailable juliet/chamber>romeo gone"]);
    // Still connected: the next presence is an initial one (section 4.5.2).
    world.send("juliet/chamber", "<presence/>");
    world.expect(
        "juliet/chamber",
        &[
            "available juliet/balcony>juliet/chamber",
            "available juliet/chamber>juliet/chamber",
            "available romeo/orchard>juliet/chamber",
        ],
    );
    world.forget();
    // Broken, taken over, or expelled: it is unavailable all the same.
    world.leave("juliet/chamber", false);
    world.expect("romeo/orchard", &["unavailable juliet/chamber>romeo"]);
    world.expect("juliet/balcony", &["unavailable juliet/chamber>juliet/balcony"]);
    let old = world.clients.remove("juliet/balcony").expect("online");
    world.connect("juliet/balcony");
    world.expect("romeo/orchard", &["unavailable juliet/balcony>romeo"]);
    world.clients.insert("old".into(), old);
    world.expect("old", &["end conflict"]);
    world.send("old", "<presence/>");
    world.clients.remove("old");
    world.nothing_more();
}

#[test]
fn a_priority_is_a_number() {
    let mut world = friends();
    for wrong in ["128", "-129", "x", "1.5", ""] {
        world.send(
            "juliet/balcony",
            &format!("<presence id='p'><priority>{wrong}</priority></presence>"),
        );
        world.expect(
            "juliet/balcony",
            &["presence error bad-request juliet>juliet/balcony #p"],
        );
    }
    for right in ["127", "-128", " 5 "] {
        world.send(
            "juliet/balcony",
            &format!("<presence><priority>{right}</priority></presence>"),
        );
        world.expect("romeo/orchard", &["available juliet/balcony>romeo"]);
    }
}

/// Section 4.3.2: by bare JID, by full JID, and the difference in what is told.
#[test]
fn probes() {
    let mut world = friends();
    world.online(&["juliet/chamber"]);
    world.send("juliet/chamber", "<presence id='own'><show>xa</show></presence>");
    world.forget();
    let probe = |world: &mut World, to: &str| {
        world.send("romeo/orchard", &format!("<presence type='probe' id='p' to='{to}'/>"));
        world.lines("romeo/orchard")
    };
    assert_eq!(
        probe(&mut world, "juliet@d"),
        ["available juliet/balcony>romeo", "available juliet/chamber>romeo xa"]
    );
    // A resource: only that it is there.
    assert_eq!(
        probe(&mut world, "juliet@d/chamber"),
        ["available juliet/chamber>romeo/orchard"]
    );
    // One that is gone is told of as such, not as if all were (section 4.5.4).
    assert_eq!(
        probe(&mut world, "juliet@d/gone"),
        ["unavailable juliet/gone>romeo/orchard"]
    );
    world.leave("juliet/chamber", true);
    world.leave("juliet/balcony", true);
    world.forget();
    world.send("romeo/orchard", "<presence type='probe' id='p' to='juliet@d'/>");
    let answer = world.read("romeo/orchard").pop().expect("an answer");
    assert_eq!(answer.attr("id"), Some("p"), "section 4.3.2.1");
    assert!(answer.get_child("delay", stanza::ns::DELAY).is_some());
    world.nothing_more();
}

/// A probe by somebody who may not see the presence ends a subscription that only he believes in.
#[test]
fn a_probe_by_a_stranger_is_refused() {
    let mut world = friends();
    world.online(&["nurse/kitchen"]);
    world.send("nurse/kitchen", "<presence type='probe' to='juliet@d'/>");
    world.send("nurse/kitchen", "<presence type='probe' to='juliet@d/balcony'/>");
    world.send("nurse/kitchen", "<presence type='probe' to='nobody@d'/>");
    world.nothing_more();
}

/// Section 4.6.3 and 4.6.6.
#[test]
fn directed_presence() {
    let mut world = friends();
    world.online(&["nurse/kitchen"]);
    world.send(
        "juliet/balcony",
        "<presence to='nurse@d/kitchen'><show>chat</show></presence>",
    );
    world.expect("nurse/kitchen", &["available juliet/balcony>nurse/kitchen chat"]);
    // No broadcast for her, but she may ask, and hears of the end.
    world.send("juliet/balcony", "<presence><show>away</show></presence>");
    world.expect("romeo/orchard", &["available juliet/balcony>romeo away"]);
    world.forget();
    world.send("nurse/kitchen", "<presence type='probe' to='juliet@d/balcony'/>");
    world.expect("nurse/kitchen", &["available juliet/balcony>nurse/kitchen"]);
    // To a subscriber too; who is told once of the end.
    world.send("juliet/balcony", "<presence to='romeo@d'><show>chat</show></presence>");
    world.expect("romeo/orchard", &["available juliet/balcony>romeo chat"]);
    world.leave("juliet/balcony", false);
    world.expect("nurse/kitchen", &["unavailable juliet/balcony>nurse/kitchen"]);
    world.expect("romeo/orchard", &["unavailable juliet/balcony>romeo"]);
    world.nothing_more();
}

#[test]
fn directed_presence_without_initial_presence() {
    let mut world = friends();
    world.connect("juliet/quiet");
    world.send("juliet/quiet", "<presence to='romeo@d/orchard'/>");
    world.expect("romeo/orchard", &["available juliet/quiet>romeo/orchard"]);
    world.leave("juliet/quiet", true);
    world.expect("romeo/orchard", &["unavailable juliet/quiet>romeo/orchard"]);
    world.nothing_more();
}

/// Section 4.6.1: nothing more for whom the client has told itself, nor for who has gone.
#[test]
fn the_list_of_directed_presence_shrinks() {
    let mut world = friends();
    world.online(&["nurse/kitchen", "nurse/yard"]);
    for to in ["nurse@d/kitchen", "nurse@d/yard", "nobody@d"] {
        world.send("juliet/balcony", &format!("<presence to='{to}'/>"));
    }
    world.send("juliet/balcony", "<presence type='unavailable' to='nurse@d/kitchen'/>");
    world.send("nurse/yard", "<presence to='juliet@d/balcony'/>");
    world.forget();
    world.leave("nurse/yard", true);
    world.expect("juliet/balcony", &["unavailable nurse/yard>juliet/balcony"]);
    world.online(&["nurse/yard"]);
    world.leave("juliet/balcony", true);
    world.forget_one("romeo/orchard");
    world.nothing_more();
}

#[test]
fn directed_presence_has_a_limit() {
    let mut world = friends();
    for number in 0..6 {
        world.send(
            "juliet/balcony",
            &format!("<presence id='d{number}' to='x{number}@d'/>"),
        );
    }
    world.expect(
        "juliet/balcony",
        &["presence error policy-violation x5>juliet/balcony #d5"],
    );
}

/// The account is disabled or removed: its sessions end and everyone hears so.
#[test]
fn an_expelled_account_goes() {
    let mut world = friends();
    world.router.expel("juliet@d", &stanza::StreamError::not_authorized());
    world.expect("juliet/balcony", &["end not-authorized"]);
    world.expect("romeo/orchard", &["unavailable juliet/balcony>romeo"]);
    world.leave("juliet/balcony", false);
    world.write(accounts::remove(&stanza::Jid::parse("juliet@d").expect("a JID")));
    world.router.expel("juliet@d", &stanza::StreamError::not_authorized());
    assert_eq!(world.refusal("juliet/balcony").as_deref(), Some("not-authorized"));
    world.send(
        "romeo/orchard",
        "<message type='chat' id='m' to='juliet@d'><body>x</body></message>",
    );
    world.expect(
        "romeo/orchard",
        &["message error service-unavailable juliet>romeo/orchard #m"],
    );
}

#[test]
fn an_account_that_goes_while_it_is_being_read_is_read_again() {
    let mut world = friends();
    let nurse = stanza::Jid::parse("nurse@d").expect("a JID");
    let outbox = world.request("nurse/kitchen");
    assert!(world.store.step(), "nothing else waits");
    drop(outbox);
    world.router.expel("nurse@d", &stanza::StreamError::not_authorized());
    world.settle();
    // Asked for before it is removed, answered after.
    world.kill();
    world.online(&["romeo/orchard"]);
    world.send(
        "romeo/orchard",
        "<message type='chat' id='m' to='nurse@d'><body>x</body></message>",
    );
    world.write_behind(accounts::remove(&nurse));
    world.router.expel("nurse@d", &stanza::StreamError::not_authorized());
    world.expect(
        "romeo/orchard",
        &["message error service-unavailable nurse>romeo/orchard #m"],
    );
}

#[test]
fn resources_are_limited() {
    let mut world = World::new(&["juliet"]);
    world.online(&["juliet/1", "juliet/2", "juliet/3", "juliet/4"]);
    assert_eq!(world.refusal("juliet/5").as_deref(), Some("resource-constraint"));
    // One that is there already is taken over all the same.
    assert_eq!(world.refusal("juliet/4"), None);
    assert_eq!(world.refusal("nobody/1").as_deref(), Some("not-authorized"));
}
