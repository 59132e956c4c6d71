//! Stream management and the client's state on the wire (XEP-0198, XEP-0352); what they do is tested with the router.

use super::world::*;
use crate::Next;

const SM: &str = "urn:xmpp:sm:3";
const JULIET: &str = "juliet@example.org/balcony";

fn failed(condition: &str, h: &str) -> String {
    format!("<failed xmlns='{SM}'{h}><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>")
}

fn resume(previd: &str, h: &str) -> String {
    format!("<resume xmlns='{SM}' previd='{previd}' h='{h}'/>")
}

/// Enables a stream that can be resumed; its id.
fn enable(peer: &mut Peer) -> String {
    peer.send(format!("<enable xmlns='{SM}' resume='1' max='30'/>"));
    let said = peer.said();
    let id = said
        .split("id='")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .expect("an id");
    assert_eq!(
        said,
        format!("<enabled xmlns='{SM}' id='{id}' resume='true' max='30'/>"),
        "no longer than the client wants"
    );
    assert_eq!(id.len(), 40);
    id.to_owned()
}

fn breaks(peer: &mut Peer) {
    let (bound, clean) = peer.core.take_bound();
    assert!(!clean);
    let rest = peer
        .world
        .router
        .unbind(NOW, &bound.expect("bound"), clean, &mut peer.turn);
    assert_eq!(rest, Some(Vec::new()));
    assert!(peer.outbox.shut().is_empty());
}

#[test]
fn without_resumption() {
    let mut peer = World::new().bound("juliet", "balcony");
    peer.send(format!("<enable xmlns='{SM}'/>"));
    assert_eq!(peer.said(), format!("<enabled xmlns='{SM}'/>"));
    peer.send(format!("<r xmlns='{SM}'/>"));
    assert_eq!(peer.said(), format!("<a xmlns='{SM}' h='0'/>"));
    // A faulty stanza is one.
    peer.send("<iq type='got' id='1'/>");
    peer.send(format!("<message to='{JULIET}'/><r xmlns='{SM}'/>"));
    let said = peer.said();
    assert!(said.ends_with(&format!("<a xmlns='{SM}' h='2'/>")), "{said}");
    assert_eq!(said.matches(&format!("<r xmlns='{SM}'/>")).count(), 1, "{said}");
    peer.send(format!("<a xmlns='{SM}' h='2'/>"));
    assert_eq!((peer.said().as_str(), peer.next), ("", Next::Read));
}

/// Sections 3, 4 and 6.
#[test]
fn out_of_order() {
    let world = World::new();
    let mut peer = world.bound("juliet", "balcony");
    for nonza in [
        "<a xmlns='urn:xmpp:sm:3' h='0'/>",
        "<r xmlns='urn:xmpp:sm:3'/>",
        &resume("x", "0"),
    ] {
        peer.send(nonza);
        assert_eq!(peer.said(), failed("unexpected-request", ""), "{nonza}");
    }
    enable(&mut peer);
    peer.send(format!("<enable xmlns='{SM}'/>"));
    peer.expect_end(&error_text("policy-violation", "stream management was enabled already"));

    let mut peer = world.bound("juliet", "chamber");
    enable(&mut peer);
    peer.send(format!("<a xmlns='{SM}' h='1'/>"));
    let said = peer.said();
    let too_high = format!("<handled-count-too-high xmlns='{SM}' h='1' send-count='0'/>");
    assert!(
        said.contains("<undefined-condition ") && said.contains(&too_high),
        "{said}"
    );
    assert_eq!(peer.next, Next::Close);

    let mut peer = world.authenticated("juliet");
    for nonza in [
        "<enable xmlns='urn:xmpp:sm:3'/>",
        "<a xmlns='urn:xmpp:sm:3' h='0'/>",
        "<r xmlns='urn:xmpp:sm:3'/>",
    ] {
        peer.send(nonza);
        assert_eq!(peer.said(), failed("unexpected-request", ""), "{nonza}");
    }
    for wrong in [
        resume("x", ""),
        resume("x", "-1"),
        format!("<resume xmlns='{SM}' h='0'/>"),
    ] {
        peer.send(&wrong);
        assert_eq!(peer.said(), failed("bad-request", ""), "{wrong}");
    }
    peer.send(bind("b", "balcony2"));
    assert!(
        peer.said().contains("<jid>juliet@example.org/balcony2</jid>"),
        "it may bind all the same"
    );
}

/// Section 5.
#[test]
fn a_stream_goes_on() {
    let world = World::new();
    let mut old = world.bound("juliet", "balcony");
    let id = enable(&mut old);
    old.send(format!("<message to='{JULIET}' id='1'/>"));
    assert!(old.said().contains("id='1'"));
    breaks(&mut old);
    let mut other = world.authenticated("romeo");
    other.send(resume(&id, "0"));
    assert_eq!(other.said(), failed("item-not-found", ""), "somebody else's");
    let mut new = world.authenticated("juliet");
    new.send(resume(&id, "0"));
    let said = new.said();
    let resumed = format!("<resumed xmlns='{SM}' previd='{id}' h='1'/>");
    assert!(said.starts_with(&format!("{resumed}<message ")), "{said}");
    assert!(said.contains("id='1'"), "what was not acknowledged: {said}");
    assert_eq!(new.core.bound().map(|bound| bound.jid.as_str()), Some(JULIET));
    new.send(format!(
        "<a xmlns='{SM}' h='1'/><message to='{JULIET}' id='2'/><r xmlns='{SM}'/>"
    ));
    let said = new.said();
    assert!(
        said.contains("id='2'") && said.ends_with(&format!("<a xmlns='{SM}' h='2'/>")),
        "{said}"
    );
}

/// It is told what was handled also when the session is gone; an answer that is not waited for is given back.
#[test]
fn a_stream_that_does_not_go_on() {
    let world = World::new();
    let mut old = world.bound("juliet", "balcony");
    let id = enable(&mut old);
    old.send("<message type='chat' to='romeo@example.org'><body>x</body></message>");
    let mut taker = world.bound("juliet", "balcony");
    let mut new = world.authenticated("juliet");
    new.send(resume(&id, "0"));
    assert_eq!(new.said(), failed("item-not-found", " h='1'"));
    new.send(bind("b", "chamber"));
    assert!(new.said().contains("<jid>"));

    let id = enable(&mut taker);
    let mut late = world.authenticated("juliet");
    // Something is on its way, so it has to wait.
    taker.is_held = true;
    taker.send("<message type='chat' to='romeo@example.org'><body>x</body></message>");
    breaks(&mut taker);
    late.is_held = true;
    late.send(resume(&id, "0"));
    late.time_out();
    assert!(late.core.awaits_resource());
    late.is_held = false;
    late.run();
    assert!(!late.core.awaits_resource());
    let (bound, _) = late.core.take_bound();
    assert_eq!(bound.expect("it is to be unbound").jid.as_str(), JULIET);
}

/// XEP-0352.
#[test]
fn the_state_of_the_client() {
    let mut peer = World::new().bound("juliet", "balcony");
    for state in ["inactive", "inactive", "active", "active"] {
        peer.send(format!("<{state} xmlns='urn:xmpp:csi:0'/>"));
        assert_eq!((peer.said().as_str(), peer.next), ("", Next::Read));
    }
    peer.send("<inactive xmlns='urn:xmpp:csi:0'/>");
    peer.send(format!("<presence to='{JULIET}'/>"));
    assert_eq!(peer.said(), "");
    peer.send(format!("<message to='{JULIET}'><body>x</body></message>"));
    let said = peer.said();
    assert!(
        said.starts_with("<presence ") && said.contains("<body>x</body>"),
        "{said}"
    );
}
