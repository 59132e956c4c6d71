//! Limits before and after the login, and the deadline (rows 11 and 12 of the faults, rows 1 to 4 of the attacks).

use super::world::*;
use crate::Next;

const TOO_BIG: &str = "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
     <stanza-too-big xmlns='urn:xmpp:errors'/></stream:error></stream:stream>";

/// Sends `input` in pieces of `size`; returns how many bytes were taken before the stream ended.
fn dribble(peer: &mut Peer, input: &[u8], size: usize) -> Option<usize> {
    let mut sent = 0;
    for piece in input.chunks(size) {
        peer.send(piece);
        sent += piece.len();
        if peer.next == Next::Close {
            return Some(sent);
        }
    }
    None
}

/// In pieces of any size the input ends the stream with `expected`, after no more than `most` bytes.
fn check(make: impl Fn() -> Peer, input: &[u8], most: usize, expected: &str) {
    for size in [1, 7, 100, 1000, input.len()] {
        let mut peer = make();
        let sent = dribble(&mut peer, input, size).unwrap_or_else(|| panic!("{size}: it does not end"));
        assert!(
            sent <= most.next_multiple_of(size).min(input.len()),
            "{size}: {sent} bytes were taken"
        );
        assert_eq!(peer.said(), expected, "in pieces of {size}");
        // As the connection does, for the next.
        if let (Some(bound), clean) = peer.core.take_bound() {
            peer.world.router.unbind(NOW, &bound, clean, &mut peer.turn);
        }
    }
}

#[test]
fn before_the_login() {
    let world = World::new();
    let limit = world.config.before_login.bytes;
    let header = header(1, "");
    // A header without an end, an element without an end, an attribute without an end.
    let long = format!("<stream:stream to='{}", "x".repeat(5000));
    check(
        || world.connect(false),
        long.as_bytes(),
        limit + 1,
        &(header.clone() + TOO_BIG),
    );
    for long in [
        format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'>{}", "A".repeat(5000)),
        format!("<auth xmlns='{NS_SASL}' mechanism='{}", "A".repeat(5000)),
        format!("<auth xmlns='{NS_SASL}'>{}</auth>", "<a></a>".repeat(5000)),
    ] {
        check(|| world.opened(), long.as_bytes(), limit + 1, TOO_BIG);
    }
    let many = format!("<auth xmlns='{NS_SASL}'>{}", "<a/>".repeat(20));
    check(|| world.opened(), many.as_bytes(), many.len(), TOO_BIG);
    // Exactly the limit is allowed.
    let start = format!("<auth xmlns='{NS_SASL}' mechanism='");
    let fill = "x".repeat(limit - start.len() - 3);
    let mut peer = world.opened();
    peer.send(format!("{start}{fill}'/>"));
    assert_eq!(peer.said(), failure("invalid-mechanism"));
    // White space is not kept.
    let mut peer = world.opened();
    dribble(&mut peer, &[b' '; 100_000], 1000);
    assert_eq!((peer.carried.len(), peer.next), (0, Next::Read));
}

#[test]
fn after_the_login() {
    let world = World::new();
    let limit = world.config.after_login.bytes;
    let own = "juliet@example.org/balcony";
    let start = format!("<message to='{own}'><body>");
    let end = "</body></message>";
    let message = |length: usize| format!("{start}{}{end}", "x".repeat(length - start.len() - end.len()));
    let mut peer = world.bound("juliet", "balcony");
    for size in [1, 1000, limit] {
        dribble(&mut peer, message(limit).as_bytes(), size);
        assert!(
            peer.said().contains("</body><stanza-id "),
            "the limit itself is allowed, in pieces of {size}"
        );
    }
    let make = || world.bound("juliet", "balcony");
    check(make, message(limit + 1).as_bytes(), limit + 1, TOO_BIG);
    check(
        make,
        format!("{start}{}", "x".repeat(50_000)).as_bytes(),
        limit + 1,
        TOO_BIG,
    );
    check(
        make,
        format!("<message>{}", "<a/>".repeat(100)).as_bytes(),
        1000,
        TOO_BIG,
    );
    let violation = error("policy-violation");
    check(
        make,
        format!("<message>{}", "<a>".repeat(100)).as_bytes(),
        1000,
        TOO_BIG,
    );
    let attributes: String = (0..200).map(|n| format!(" a{n}=''")).collect();
    check(make, format!("<message{attributes}/>").as_bytes(), 2000, &violation);
    let name = "n".repeat(300);
    check(
        make,
        format!("<message><{name}/></message>").as_bytes(),
        400,
        &violation,
    );
    // The larger limits hold from the login on, also for the header that follows.
    let mut peer = world.opened();
    peer.send(plain("", "juliet", "secret"));
    peer.said();
    peer.send(OPEN.replace(" to=", &format!(" a='{}' to=", "x".repeat(3000))));
    assert_eq!(peer.said(), header(3, "") + BIND_FEATURES);
}

/// Row 12: whatever the client waits for, or makes us wait for.
#[test]
fn the_deadline() {
    let world = World::new();
    let end = error("connection-timeout");
    let check = |mut peer: Peer, expected: String| {
        peer.time_out();
        peer.expect_end(&expected);
        peer.time_out();
        assert_eq!(peer.said(), "", "an end is said once");
        peer.send("<message/>");
        assert_eq!(peer.said(), "");
    };
    check(world.connect(false), header(1, "") + &end);
    let mut peer = world.connect(false);
    peer.send("<?xml version='1.0'?><stream:str");
    check(peer, header(1, "") + &end);
    check(world.opened(), end.clone());
    let mut peer = world.opened();
    peer.send("<auth xmlns='");
    check(peer, end.clone());
    let mut peer = world.opened();
    peer.send(plain("", "juliet", "secret"));
    peer.said();
    check(peer, header(3, "") + &end);
    check(world.authenticated("juliet"), end);
}

/// Attempts that the client gives up itself, for another in either profile.
#[test]
fn an_endless_series_of_first_messages() {
    let world = World::new();
    let classic = auth_element("SCRAM-SHA-256", b"n,,n=juliet,r=fyko+d2lbbFgONRv9qkxdawL");
    let sasl2 = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'>\
                 <initial-response>biwsbj1qdWxpZXQscj1meWtvK2QybGJiRmdPTlJ2OXFreGRhd0w=</initial-response></authenticate>";
    let classic = classic.as_str();
    for [first, second, third, last] in [[classic; 4], [sasl2; 4], [classic, classic, sasl2, sasl2]] {
        let mut peer = world.opened();
        for begins in [first, second, third] {
            peer.send(begins);
            let said = peer.said();
            assert!(said.starts_with("<challenge "), "{said}");
        }
        let looked_up = peer.shell.looked_up.len();
        peer.send(last);
        peer.expect_end(&error_text("policy-violation", "too many failed attempts to log in"));
        assert_eq!(peer.shell.looked_up.len(), looked_up, "nobody is looked up for it");
    }
}
