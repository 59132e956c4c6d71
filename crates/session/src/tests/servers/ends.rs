//! Streams do not outlive the certificate by which the other side is who it is (RFC 6120 section 13.7.2.3).

use module::Now;
use router::{Event, Vouched};

use super::peered::{answer, offer};
use super::*;
use crate::tests::world::*;

/// The certificate is good for another minute.
const UNTIL: i64 = NOW.0 / 1_000 + 60;

/// The clock shows this, and the connection looks.
fn at(peer: &mut Peer, seconds: i64) {
    peer.shell.now = seconds;
    let next = peer.with(|core, cx| core.look_at_certificate(cx));
    peer.go_on(next);
}

fn it_ends(peer: &mut Peer) {
    assert_eq!(peer.core.ends_at(), Some(UNTIL));
    at(peer, UNTIL);
    assert_eq!((peer.said().as_str(), peer.next), ("", Next::Read));
    at(peer, UNTIL + 1);
    peer.expect_end(&error_text("reset", "the certificate has expired"));
}

/// What a connection does at its end.
fn unbind(peer: &mut Peer) {
    let (bound, clean) = peer.with(|core, _| core.take_bound());
    let world = peer.world.clone();
    world.router.unbind(
        Now(peer.shell.now * 1_000),
        &bound.expect("bound"),
        clean,
        &mut Default::default(),
    );
}

fn dialed(dialed: &Dialed) -> Vec<Pair> {
    let dialed = dialed.0.lock().expect("no panic");
    dialed.iter().map(|(pair, _)| pair.clone()).collect()
}

/// One that the other has opened; where it went both ways, another is made.
#[test]
fn incoming() {
    for bidi in ["", BIDI] {
        for is_told_later in [false, true] {
            let (world, asked) = world();
            let mut peer = connect(&world, HERE, true);
            peer.shell.certified_until = Some(UNTIL);
            if is_told_later {
                peer.shell.vouches = None;
            }
            peer.send(opening());
            if is_told_later {
                peer.tell(Event::Vouched(Vouched {
                    is_proved: true,
                    until: Some(UNTIL),
                    ..Vouched::default()
                }));
            }
            peer.send(format!("{bidi}{}{}", auth("="), opening()));
            assert_eq!(peer.core.ends_at(), None);
            peer.send(message("romeo@remote.example/a", "juliet@example.org", "a"));
            peer.said();
            it_ends(&mut peer);
            unbind(&mut peer);
            let expected = if bidi.is_empty() { vec![] } else { vec![pair()] };
            assert_eq!(dialed(&asked), expected, "{bidi} {is_told_later}");
        }
    }
}

/// A stream that goes on does so for as long as the new certificate.
#[test]
fn resumed() {
    let (world, _) = world();
    let mut peer = authenticated(&world, "");
    peer.send(format!("<enable xmlns='{NS_SM}' resume='true'/>"));
    let said = peer.said();
    let id = said.split("id='").nth(1).and_then(|rest| rest.split('\'').next());
    let id = id.unwrap_or_else(|| panic!("{said}")).to_owned();
    assert_eq!(peer.core.ends_at(), None);
    unbind(&mut peer);
    let mut peer = connect(&world, HERE, true);
    peer.shell.certified_until = Some(UNTIL);
    peer.send(opening() + &auth("=") + &opening());
    peer.said();
    peer.send(format!("<resume xmlns='{NS_SM}' previd='{id}' h='0'/>"));
    let said = peer.said();
    assert!(said.starts_with("<resumed "), "{said}");
    it_ends(&mut peer);
}

/// Who is believed by what the DNS says of it is not by a certificate.
#[test]
fn by_dialback() {
    let (world, _) = world();
    let mut peer = connect(&world, with_dialback(), true);
    peer.shell.vouches = Some(false);
    peer.shell.certified_until = Some(UNTIL);
    peer.send(opening() + "<db:result from='remote.example' to='example.org'>abc</db:result>");
    peer.tell(Event::Verified(Ok(true)));
    peer.said();
    peer.send(message("romeo@remote.example/a", "juliet@example.org", "a"));
    assert!(peer.core.bound().is_some());
    assert_eq!(peer.core.ends_at(), None);
    at(&mut peer, UNTIL + 1);
    assert_eq!((peer.said().as_str(), peer.next), ("", Next::Read));
}

/// One that we have opened: it is made again, and so the other shows what it has now.
#[test]
fn outgoing() {
    let (world, asked) = world();
    let mut caller = Caller::secured(&world, HERE, None);
    caller.hear(answer("a") + &offer(EXTERNAL) + SUCCESS + &answer("b") + &offer(""));
    let Then::Established(established) = &mut caller.then else {
        panic!("{:?}", caller.then);
    };
    established.ends_at = Some(UNTIL);
    let mut peer = caller.carry(&world);
    peer.said();
    it_ends(&mut peer);
    unbind(&mut peer);
    assert_eq!(dialed(&asked), [pair()]);
}

/// A client that has logged in by its certificate (XEP-0178), and one that only has shown one.
#[test]
fn clients() {
    let mut world = World::new();
    world.config.policy.external = true;
    for (is_by_certificate, login) in [
        (true, auth_element("EXTERNAL", b"juliet@example.org")),
        (false, plain("", "juliet", "secret")),
    ] {
        let mut peer = world.connect(true);
        peer.shell.certified = vec!["juliet@example.org".to_owned()];
        peer.shell.certified_until = Some(UNTIL);
        peer.send(OPEN.to_owned() + &login);
        peer.send(OPEN.to_owned() + &bind("b", "balcony"));
        let said = peer.said();
        assert!(said.ends_with(&bound("b", "juliet@example.org/balcony")), "{said}");
        if is_by_certificate {
            it_ends(&mut peer);
        } else {
            assert_eq!(peer.core.ends_at(), None);
        }
        unbind(&mut peer);
    }
}

/// Times that are over, and such as do not end.
#[test]
fn all_times() {
    for (until, expected) in [
        (i64::MIN, Some(1)),
        (0, Some(1)),
        (1, Some(1)),
        (u32::MAX.into(), Some(u32::MAX.into())),
        (i64::from(u32::MAX) + 1, None),
        (i64::MAX, None),
    ] {
        let (world, _) = world();
        let mut peer = connect(&world, HERE, true);
        peer.shell.certified_until = Some(until);
        peer.send(opening() + &auth("=") + &opening() + &message("a@remote.example", "juliet@example.org", "a"));
        assert!(peer.core.bound().is_some());
        assert_eq!(peer.core.ends_at(), expected, "{until}");
        at(&mut peer, UNTIL);
        assert_eq!(peer.next == Next::Close, expected == Some(1), "{until}");
    }
}
