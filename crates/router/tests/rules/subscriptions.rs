//! RFC 6121 section 3 between two accounts of the server.

use store::StoreError;

use crate::support::World;

fn pair() -> World {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard", "juliet/balcony"]);
    world
}

fn say(world: &mut World, from: &str, kind: &str, to: &str) {
    world.send(from, &format!("<presence type='{kind}' to='{to}@d'/>"));
}

#[test]
fn request_and_approval_on_both_sides() {
    let mut world = pair();
    // Addressed to a resource: handled as to the bare JID (section 3.1.2).
    world.send(
        "romeo/orchard",
        "<presence type='subscribe' to='juliet@d/balcony'><status>hi</status></presence>",
    );
    assert!(!world.pump("juliet/balcony"), "nothing before the commit");
    world.expect("romeo/orchard", &["push juliet none +ask"]);
    world.expect("juliet/balcony", &["subscribe romeo>juliet hi"]);
    say(&mut world, "juliet/balcony", "subscribed", "romeo");
    world.expect("juliet/balcony", &["push romeo from"]);
    world.expect(
        "romeo/orchard",
        &[
            "subscribed juliet>romeo",
            "push juliet to",
            "available juliet/balcony>romeo",
        ],
    );
    say(&mut world, "juliet/balcony", "subscribe", "romeo");
    world.expect("juliet/balcony", &["push romeo from +ask"]);
    world.expect("romeo/orchard", &["subscribe juliet>romeo"]);
    say(&mut world, "romeo/orchard", "subscribed", "juliet");
    world.expect("romeo/orchard", &["push juliet both"]);
    world.expect(
        "juliet/balcony",
        &[
            "subscribed romeo>juliet",
            "push romeo both",
            "available romeo/orchard>juliet",
        ],
    );
    // Again: answered on her behalf (section 3.1.3, rule 2), and the answer tells nothing new.
    say(&mut world, "romeo/orchard", "subscribe", "juliet");
    let lines = world.lines("romeo/orchard");
    assert_eq!(lines, ["available juliet/balcony>romeo"]);
    world.nothing_more();
}

#[test]
fn denial() {
    let mut world = pair();
    say(&mut world, "romeo/orchard", "subscribe", "juliet");
    world.forget();
    say(&mut world, "juliet/balcony", "unsubscribed", "romeo");
    world.expect("romeo/orchard", &["unsubscribed juliet>romeo", "push juliet none"]);
    // She never had him in her roster, and he learns nothing of her resources.
    world.nothing_more();
    // A second denial says nothing (section 3.2.2, rule 1).
    say(&mut world, "juliet/balcony", "unsubscribed", "romeo");
    world.nothing_more();
}

#[test]
fn cancellation_and_unsubscribing() {
    let mut world = pair();
    world.befriend("romeo/orchard", "juliet/balcony");
    say(&mut world, "juliet/balcony", "unsubscribed", "romeo");
    world.expect("juliet/balcony", &["push romeo to"]);
    // Section 3.2.2: unavailable while he is still subscribed, then the cancellation.
    world.expect(
        "romeo/orchard",
        &[
            "unavailable juliet/balcony>romeo",
            "unsubscribed juliet>romeo",
            "push juliet from",
        ],
    );
    say(&mut world, "juliet/balcony", "unsubscribe", "romeo");
    world.expect(
        "juliet/balcony",
        &["push romeo none", "unavailable romeo/orchard>juliet"],
    );
    world.expect("romeo/orchard", &["unsubscribe juliet>romeo", "push juliet none"]);
    world.nothing_more();
}

#[test]
fn removal_ends_both_directions() {
    let mut world = pair();
    world.befriend("romeo/orchard", "juliet/balcony");
    world.send(
        "juliet/balcony",
        "<iq type='set' id='r'><query xmlns='jabber:iq:roster'><item jid='romeo@d' subscription='remove'/></query></iq>",
    );
    // Section 2.5.2; the answers to what it sends find a stranger.
    world.expect(
        "juliet/balcony",
        &["push romeo removed", "result r", "unavailable romeo/orchard>juliet"],
    );
    world.expect(
        "romeo/orchard",
        &[
            "unavailable juliet/balcony>romeo",
            "unsubscribe juliet>romeo",
            "push juliet to",
            "unsubscribed juliet>romeo",
            "push juliet none",
        ],
    );
    world.nothing_more();
}

/// Section 3.1.3, rule 4: whole, once, and again until it is answered.
#[test]
fn a_request_waits_for_who_is_away() {
    let mut world = World::new(&["romeo", "juliet"]);
    world.online(&["romeo/orchard"]);
    for _ in 0..2 {
        world.send(
            "romeo/orchard",
            "<presence type='subscribe' to='juliet@d'><status>please</status></presence>",
        );
    }
    world.expect("romeo/orchard", &["push juliet none +ask"]);
    world.kill();
    for _ in 0..2 {
        world.connect("juliet/balcony");
        world.send(
            "juliet/balcony",
            "<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>",
        );
        world.expect("juliet/balcony", &["result g []"]);
        world.send("juliet/balcony", "<presence/>");
        world.expect(
            "juliet/balcony",
            &[
                "available juliet/balcony>juliet/balcony",
                "subscribe romeo>juliet please",
            ],
        );
        // Not with every presence, only with the initial one.
        world.send("juliet/balcony", "<presence><show>away</show></presence>");
        world.expect("juliet/balcony", &["available juliet/balcony>juliet/balcony away"]);
        world.leave("juliet/balcony", true);
    }
    world.online(&["juliet/balcony"]);
    say(&mut world, "juliet/balcony", "subscribed", "romeo");
    world.forget();
    world.leave("juliet/balcony", true);
    world.connect("juliet/balcony");
    world.send("juliet/balcony", "<presence/>");
    world.expect("juliet/balcony", &["available juliet/balcony>juliet/balcony"]);
}

/// Section 3.4.
#[test]
fn pre_approval() {
    let mut world = pair();
    say(&mut world, "juliet/balcony", "subscribed", "romeo");
    world.expect("juliet/balcony", &["push romeo none +approved"]);
    world.nothing_more();
    say(&mut world, "romeo/orchard", "subscribe", "juliet");
    world.expect(
        "romeo/orchard",
        &[
            "push juliet none +ask",
            "subscribed juliet>romeo",
            "push juliet to",
            "available juliet/balcony>romeo",
        ],
    );
    // She is not asked.
    world.expect("juliet/balcony", &["push romeo from +approved"]);
    say(&mut world, "juliet/balcony", "unsubscribed", "romeo");
    world.expect("juliet/balcony", &["push romeo none"]);
    world.forget();
    say(&mut world, "romeo/orchard", "subscribe", "juliet");
    world.expect("juliet/balcony", &["subscribe romeo>juliet"]);
}

#[test]
fn nobody_subscribes_to_oneself_or_is_answered_for_nothing() {
    let mut world = pair();
    for kind in ["subscribe", "subscribed", "unsubscribe", "unsubscribed"] {
        say(&mut world, "romeo/orchard", kind, "romeo");
    }
    world.nothing_more();
    // Without an address it is malformed (section 3.1.1).
    world.send("romeo/orchard", "<presence type='subscribe' id='q'/>");
    world.expect("romeo/orchard", &["presence error bad-request romeo>romeo/orchard #q"]);
    // What nobody asked for changes nothing at the other side.
    for kind in ["subscribed", "unsubscribe", "unsubscribed"] {
        say(&mut world, "romeo/orchard", kind, "juliet");
    }
    world.forget();
    assert!(world.stored_roster("juliet").children().next().is_none());
    world.send(
        "romeo/orchard",
        "<presence type='subscribe' id='q' to='x@other.example'/>",
    );
    world.expect(
        "romeo/orchard",
        &[
            "push x@other.example none +ask",
            "presence error remote-server-not-found x@other.example>romeo #q",
        ],
    );
}

/// The other side could not store it: the sender is told (section 3.1.2), once.
#[test]
fn a_request_that_did_not_arrive_is_told() {
    let mut world = pair();
    say(&mut world, "romeo/orchard", "subscribe", "juliet");
    assert!(world.store.step(), "his side is stored");
    world.store.fail_writes(1, StoreError::Full);
    world.expect(
        "romeo/orchard",
        &[
            "push juliet none +ask",
            "presence error resource-constraint juliet>romeo #-",
        ],
    );
    world.nothing_more();
    say(&mut world, "romeo/orchard", "subscribe", "juliet");
    world.expect("juliet/balcony", &["subscribe romeo>juliet"]);
}

#[test]
fn a_flood_of_requests_is_stopped() {
    let mut limits = crate::support::LIMITS;
    limits.subscription_requests = 3;
    let mut world = World::with_limits(&["romeo"], limits);
    world.online(&["romeo/orchard"]);
    for number in 0..4 {
        world.send(
            "romeo/orchard",
            &format!("<presence type='subscribe' id='q{number}' to='nobody{number}@d'/>"),
        );
    }
    let lines = world.lines("romeo/orchard");
    assert!(
        lines.contains(&"presence error policy-violation nobody3>romeo/orchard #q3".to_owned()),
        "{lines:?}"
    );
    world.pass(60);
    say(&mut world, "romeo/orchard", "subscribe", "nobody4");
    world.expect("romeo/orchard", &["push nobody4 none +ask"]);
}
