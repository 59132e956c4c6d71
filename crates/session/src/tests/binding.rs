//! Resource binding (RFC 6120 section 7; rows 16 and 25 of the faults).

use router::Event;
use stanza::StreamError;
use store::StoreError;

use super::world::*;
use crate::Next;

fn refused(id: &str, kind: &str, condition: &str) -> String {
    let ns = "urn:ietf:params:xml:ns:xmpp-stanzas";
    format!("<iq type='error' id='{id}'><error type='{kind}'><{condition} xmlns='{ns}'/></error></iq>")
}

#[test]
fn resources() {
    let check = |request: &str, id: &str, resource: &str| {
        let mut peer = World::new().authenticated("juliet");
        peer.send(request);
        assert_eq!(
            peer.said(),
            bound(id, &format!("juliet@example.org/{resource}")),
            "{request}"
        );
        assert_eq!(
            peer.core.bound().expect("bound").jid.resource(),
            Some(resource.replace("&amp;", "&").as_str())
        );
        assert_eq!(peer.world.router.count_sessions(), 1);
    };
    // Section 7.6: one that nobody can guess.
    check(&bind("1", ""), "1", &random_text(4));
    let empty = format!("<iq type='set' id='1'><bind xmlns='{NS_BIND}'><resource/></bind></iq>");
    check(&empty, "1", &random_text(4));
    let foreign =
        format!("<iq type='set' id='1'><bind xmlns='{NS_BIND}'><resource xmlns='urn:x'>r</resource></bind></iq>");
    check(&foreign, "1", &random_text(4));
    // Section 7.7.
    check(&bind("a&amp;b", "Balcony \u{1f339}"), "a&amp;b", "Balcony \u{1f339}");
    check(&bind("1", "a&amp;b"), "1", "a&amp;b");
    for addresses in [
        "to='example.org'",
        "to='juliet@example.org'",
        "from='juliet@example.org'",
    ] {
        check(&bind("1", "r").replace("<iq", &format!("<iq {addresses}")), "1", "r");
    }
}

#[test]
fn it_may_be_tried_again_but_not_for_ever() {
    let mut peer = World::new().authenticated("juliet");
    let bad = bind("1", &"x".repeat(1024));
    let answer = refused("1", "modify", "bad-request");
    for attempt in 1..=9 {
        peer.send(&bad);
        assert_eq!(peer.said(), answer, "attempt {attempt}");
    }
    peer.send(&bad);
    let text = "too many failed attempts to bind a resource";
    peer.expect_end(&(answer.clone() + &error_text("policy-violation", text)));

    let mut peer = World::new().authenticated("juliet");
    for _ in 1..=9 {
        peer.send(&bad);
    }
    peer.send(bind("2", "r"));
    assert_eq!(peer.said(), answer.repeat(9) + &bound("2", "juliet@example.org/r"));
}

#[test]
fn taken_and_too_many() {
    let world = World::new();
    let mut old = world.bound("juliet", "balcony");
    let outbox = std::sync::Arc::clone(&old.outbox);
    assert!(outbox.answer(&mut old.turn, |out| out.extend_from_slice(b"<message/>")));
    let mut new = world.bound("juliet", "balcony");
    // What waited for the old one comes before its end.
    old.run();
    old.expect_end(&format!("<message/>{}", error("conflict")));
    assert_eq!(world.router.count_sessions(), 1);
    // The old one leaves later, and takes nothing along.
    let (bound, clean) = old.core.take_bound();
    world.router.unbind(NOW, &bound.expect("bound"), clean, &mut old.turn);
    assert_eq!(world.router.count_sessions(), 1);
    new.send("<message to='juliet@example.org/balcony'/>");
    assert!(new.said().starts_with("<message "));

    let _two = world.bound("juliet", "two");
    let _three = world.bound("juliet", "three");
    let mut four = world.authenticated("juliet");
    four.send(bind("4", "four"));
    let said = four.said();
    assert!(
        said.starts_with("<iq type='error' id='4'><error type='wait'><resource-constraint "),
        "{said}"
    );
    assert_eq!(four.next, Next::Read, "it may try again");
}

/// Row 16, and section 8.1.2.1.
#[test]
fn stanzas_before_it() {
    for (stanza, condition) in [
        ("<message to='romeo@example.org'/>", "not-authorized"),
        ("<message/>", "not-authorized"),
        ("<message to='example.org'/>", "not-authorized"),
        ("<presence/>", "not-authorized"),
        (
            "<iq type='get' id='1' to='romeo@example.org'><a xmlns='b'/></iq>",
            "not-authorized",
        ),
        (
            "<iq type='get' id='1' to='second.example'><a xmlns='b'/></iq>",
            "not-authorized",
        ),
        (
            "<iq type='set' id='1' from='romeo@example.org'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
            "invalid-from",
        ),
        (
            "<iq type='set' id='1' from='juliet@example.org/r'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
            "invalid-from",
        ),
        (
            "<iq type='set' id='1' from='@'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
            "invalid-from",
        ),
        ("<letter/>", "unsupported-stanza-type"),
        ("<enabled xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type"),
        ("<active xmlns='urn:xmpp:csi:0'/>", "unsupported-stanza-type"),
    ] {
        let mut peer = World::new().authenticated("juliet");
        peer.send(stanza);
        peer.expect_end(&error(condition));
        assert_eq!(peer.world.router.count_sessions(), 0);
    }
    // What is for the server itself is answered, and the stream goes on.
    for (stanza, answer) in [
        (
            "<iq type='get' id='1'><a xmlns='b'/></iq>",
            "<iq type='error' id='1'><error type='cancel'><not-allowed ",
        ),
        (
            "<iq type='get' id='1' to='example.org'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
            "<iq type='error' id='1'><error type='cancel'><not-allowed ",
        ),
        (
            "<iq type='set'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
            "<iq type='error' id=''><error type='modify'><bad-request ",
        ),
        ("<iq type='result' id='1'/>", ""),
    ] {
        let mut peer = World::new().authenticated("juliet");
        peer.send(stanza);
        let said = peer.said();
        assert!(
            said.starts_with(answer) && said.is_empty() == answer.is_empty(),
            "{stanza}: {said}"
        );
        peer.send(bind("b", "r"));
        assert_eq!(peer.said(), bound("b", "juliet@example.org/r"), "after {stanza}");
    }
}

/// The account cannot be read just then.
#[test]
fn the_store_fails() {
    let mut peer = World::new().authenticated("juliet");
    peer.world.store.fail_reads(1, StoreError::Overloaded);
    peer.send(bind("1", "r"));
    assert_eq!(peer.said(), refused("1", "wait", "internal-server-error"));
    peer.send(bind("2", "r"));
    assert_eq!(peer.said(), bound("2", "juliet@example.org/r"));
}

/// The answer comes first, then what was for the resource in the same moment.
#[test]
fn the_result_comes_first() {
    let world = World::new();
    let mut peer = world.authenticated("juliet");
    peer.is_held = true;
    peer.send(bind("b", "balcony") + "<message to='juliet@example.org/balcony' id='1'/>");
    assert_eq!((peer.said().as_str(), peer.next), ("", Next::Wait));
    // Bound while the connection does not look, and sent something at once.
    world.store.settle();
    let mut romeo = world.bound("romeo", "orchard");
    romeo.send("<message to='juliet@example.org/balcony' id='2'/>");
    peer.is_held = false;
    peer.run();
    let said = peer.said();
    let own = "juliet@example.org/balcony";
    let rest = said.strip_prefix(&bound("b", own)).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(
        rest,
        format!(
            "<message id='2' from='romeo@example.org/orchard' to='{own}'/><message id='1' from='{own}' to='{own}'/>"
        )
    );
}

/// A stream that ends while its resource is being bound leaves nothing behind.
#[test]
fn bound_too_late() {
    for shutdown in [false, true] {
        let world = World::new();
        let mut peer = world.authenticated("juliet");
        peer.is_held = true;
        peer.send(bind("b", "balcony"));
        assert!(peer.core.awaits_resource());
        let condition = if shutdown {
            peer.tell(Event::End(StreamError::system_shutdown()));
            "system-shutdown"
        } else {
            peer.time_out();
            "connection-timeout"
        };
        peer.expect_end(&error(condition));
        assert!(peer.core.awaits_resource());
        assert!(peer.core.take_bound().0.is_none());
        assert!(peer.core.awaits_resource(), "until the answer has come");
        peer.is_held = false;
        peer.run();
        assert_eq!(peer.said(), "", "nobody is told");
        assert!(!peer.core.awaits_resource());
        assert_eq!(world.router.count_sessions(), 1);
        let (bound, clean) = peer.core.take_bound();
        world
            .router
            .unbind(NOW, &bound.expect("what came too late"), clean, &mut peer.turn);
        assert_eq!(world.router.count_sessions(), 0);
    }
    // Refused too late: nothing is to be unbound.
    let world = World::new();
    let mut peer = world.authenticated("juliet");
    peer.is_held = true;
    world.store.fail_reads(1, StoreError::Overloaded);
    peer.send(bind("b", "balcony"));
    peer.time_out();
    peer.is_held = false;
    peer.run();
    peer.expect_end(&error("connection-timeout"));
    assert!(!peer.core.awaits_resource());
    assert!(peer.core.take_bound().0.is_none());
}
