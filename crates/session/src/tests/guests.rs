//! Guests (XEP-0175): the name is the server's, and the place is given back whatever way they go.

use std::sync::atomic::Ordering;

use auth::{Hash, Policy};

use super::world::*;

const GUESTS: &str = "guests.example";

fn world() -> World {
    let mut world = World::new();
    let policy = Policy {
        hashes: Vec::<Hash>::new(),
        plain: false,
        anonymous: true,
        ..Policy::default()
    };
    world.config.policies.insert(GUESTS.to_owned(), policy);
    world
}

fn open() -> String {
    OPEN.replace("to='example.org'", &format!("to='{GUESTS}'"))
}

fn opened(world: &World) -> Peer {
    let mut peer = world.connect(true);
    peer.send(open());
    let said = peer.said();
    assert!(said.contains("<mechanism>ANONYMOUS</mechanism></mechanisms>"), "{said}");
    peer
}

/// How many places are taken, and how many guests the router knows.
fn here(peer: &Peer) -> (usize, usize) {
    (
        peer.shell.guests.load(Ordering::Relaxed),
        peer.world.router.count_guests(),
    )
}

fn anonymous() -> String {
    auth_element("ANONYMOUS", b"")
}

#[test]
fn a_name_of_random_bytes() {
    let world = world();
    let mut peer = opened(&world);
    let before = peer.shell.randoms;
    peer.send(anonymous());
    assert_eq!(peer.said(), format!("<success xmlns='{NS_SASL}'/>"));
    // Behind the nonce that every attempt has.
    let byte = before + 2;
    assert_eq!(peer.shell.randoms, byte);
    assert!(peer.shell.looked_up.is_empty(), "nobody is looked for");
    let name = format!("{byte:02x}");
    let four = name.repeat(4);
    let two = name.repeat(2);
    let (version, variant) = (byte & 0x0f | 0x40, byte & 0x3f | 0x80);
    let name = format!(
        "{four}-{two}-{version:02x}{name}-{variant:02x}{name}-{}",
        name.repeat(6)
    );
    assert_eq!(here(&peer), (1, 0));
    peer.send(open());
    peer.said();
    peer.send(bind("b", "lobby"));
    assert_eq!(peer.said(), bound("b", &format!("{name}@{GUESTS}/lobby")));
    assert_eq!(here(&peer), (1, 1));

    let (bound, _) = peer.with(|core, _| core.take_bound());
    let bound = bound.expect("a resource");
    let now = NOW;
    let router = peer.world.router.clone();
    router.unbind(now, &bound, true, &mut peer.turn);
    peer.turn.finish();
    peer.run();
    assert_eq!(here(&peer), (0, 0));
    assert_eq!(router.count_accounts(), 0);
}

#[test]
fn one_that_never_binds() {
    let world = world();
    for inputs in [vec![anonymous()], vec![anonymous(), open()]] {
        let mut peer = opened(&world);
        for input in inputs {
            peer.send(input);
        }
        assert_eq!(here(&peer), (1, 0));
        peer.time_out();
        assert_eq!(here(&peer), (0, 0));
    }
    // A login that fails behind the mechanism: not who the stream says.
    let mut peer = world.connect(true);
    peer.send(open().replace("to=", &format!("from='juliet@{GUESTS}' to=")));
    peer.said();
    peer.send("<authenticate xmlns='urn:xmpp:sasl:2' mechanism='ANONYMOUS'><initial-response/></authenticate>");
    assert!(peer.said().contains("<invalid-authzid "));
    assert_eq!(here(&peer), (0, 0));
}

#[test]
fn no_room() {
    let world = world();
    let mut peer = opened(&world);
    peer.shell.refuses_guests = true;
    peer.send(anonymous());
    assert_eq!(peer.said(), failure("temporary-auth-failure"));
    assert!(peer.shell.failed.is_empty(), "nobody guesses here");
    peer.shell.refuses_guests = false;
    peer.send(anonymous());
    assert_eq!(peer.said(), format!("<success xmlns='{NS_SASL}'/>"));
}

/// Where guests are not taken, nobody is one.
#[test]
fn elsewhere() {
    let mut peer = world().opened();
    peer.send(anonymous());
    assert_eq!(peer.said(), failure("invalid-mechanism"));
    assert_eq!(here(&peer), (0, 0));
}
