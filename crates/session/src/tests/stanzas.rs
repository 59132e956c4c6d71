//! The gate of a bound resource (RFC 6120 section 8; rows 13 to 16 and 26 to 28 of the faults).

use stanza::StreamError;

use super::world::*;
use crate::Next;

const JULIET: &str = "juliet@example.org/balcony";

#[test]
fn own_addresses_only() {
    let answer = format!("<message from='{JULIET}' to='{JULIET}' id='1'/>");
    for from in ["", "from='juliet@example.org'", "from='Juliet@EXAMPLE.org/balcony'"] {
        let mut peer = World::new().bound("juliet", "balcony");
        peer.send(format!("<message {from} to='{JULIET}' id='1'/>"));
        let said = peer.said().replace("  ", " ");
        assert_eq!(said.len(), answer.len(), "{said}");
        assert!(said.contains(&format!("from='{JULIET}'")), "{said}");
        assert_eq!(said.matches("from=").count(), 1, "{said}");
    }
    for from in [
        "romeo@example.org",
        "juliet@example.org/chamber",
        "juliet@example.org/Balcony",
        "juliet@second.example/balcony",
        "example.org",
        "",
        "@example.org",
    ] {
        for name in ["message", "presence", "iq"] {
            let mut peer = World::new().bound("juliet", "balcony");
            let rest = if name == "iq" { "type='get' id='1'" } else { "" };
            peer.send(format!(
                "<{name} from='{from}' {rest} to='{JULIET}'><a xmlns='b'/></{name}>"
            ));
            peer.expect_end(&error("invalid-from"));
            assert!(peer.core.take_bound().0.is_some(), "it is still to be unbound");
        }
    }
}

/// What is wrong with a stanza is told, and the stream goes on.
#[test]
fn faulty_stanzas() {
    let check = |stanza: &str, start: &str, kind: &str, condition: &str| {
        let mut peer = World::new().bound("juliet", "balcony");
        peer.send(stanza);
        let said = peer.said();
        let name = start.split(' ').next().expect("a name");
        let expected = format!("<{start} from='juliet@example.org' to='{JULIET}'><error type='{kind}'><{condition} ");
        assert!(said.starts_with(&expected), "{stanza}: {said}");
        assert!(said.ends_with(&format!("</error></{name}>")), "{stanza}: {said}");
        peer.send(format!("<message to='{JULIET}'/>"));
        assert!(peer.said().starts_with("<message "), "{stanza}: it goes on");
    };
    check(
        "<message to='a b@@' id='1'/>",
        "message type='error' id='1'",
        "modify",
        "jid-malformed",
    );
    check("<message to='@' />", "message type='error'", "modify", "jid-malformed");
    check(
        "<iq type='get'><a xmlns='b'/></iq>",
        "iq type='error' id=''",
        "modify",
        "bad-request",
    );
    check(
        "<iq type='got' id='1'/>",
        "iq type='error' id='1'",
        "modify",
        "bad-request",
    );
    check(
        "<iq type='get' id='1'/>",
        "iq type='error' id='1'",
        "modify",
        "bad-request",
    );
    check(
        "<iq type='set' id='1'><a/><b/></iq>",
        "iq type='error' id='1'",
        "modify",
        "bad-request",
    );
    check(
        "<presence type='x' id='1'/>",
        "presence type='error' id='1'",
        "modify",
        "bad-request",
    );
    for ignored in [
        "<iq type='result'/>",
        "<iq type='result' id='1'><a/><b/></iq>",
        "<iq type='error' to='@' id='1'/>",
        "<message type='error' to='@'/>",
        " \r\n\t",
    ] {
        let mut peer = World::new().bound("juliet", "balcony");
        peer.send(ignored);
        assert_eq!((peer.said().as_str(), peer.next), ("", Next::Read), "{ignored}");
    }
}

#[test]
fn what_is_no_stanza() {
    let check = |input: &str, condition: &str| {
        let world = World::new();
        however_cut(
            || world.bound("juliet", "balcony"),
            input.as_bytes(),
            |cut, mut peer| {
                assert_eq!(peer.said(), error(condition), "{input} {cut}");
                assert_eq!(peer.next, Next::Close, "{input} {cut}");
                // As the connection does, for the next.
                let (bound, clean) = peer.core.take_bound();
                assert!(!clean);
                peer.world
                    .router
                    .unbind(NOW, &bound.expect("bound"), clean, &mut peer.turn);
            },
        );
    };
    check("<message xmlns='jabber:server'/>", "unsupported-stanza-type");
    check("<letter/>", "unsupported-stanza-type");
    check("<enabled xmlns='urn:xmpp:sm:3'/>", "unsupported-stanza-type");
    check("<inactive xmlns='urn:xmpp:csi:1'/>", "unsupported-stanza-type");
    check("<a xmlns='urn:xmpp:sm:3'/>", "bad-format");
    check("<a xmlns='urn:xmpp:sm:3' h='-1'/>", "bad-format");
    check("<stream:features/>", "unsupported-stanza-type");
    check(&plain("", "juliet", "secret"), "unsupported-stanza-type");
    check("hello", "bad-format");
    check("<message/>.", "bad-format");
    check("<![CDATA[x]]>", "bad-format");
    check("<message></iq>", "not-well-formed");
    check("<message a='1' a='2'/>", "not-well-formed");
    check("<message><x:y/></message>", "not-well-formed");
    check("<message>&#0;</message>", "not-well-formed");
    check("</stream>", "not-well-formed");
    check("<!-- -->", "restricted-xml");
    check("<message><!-- --></message>", "restricted-xml");
    check("<message>&foo;</message>", "restricted-xml");
    check("<?xml version='1.0'?>", "restricted-xml");
}

/// Section 4.7.4: the language of the stream goes with a stanza that has none.
#[test]
fn the_language_of_the_stream() {
    let mut peer = World::new().opened();
    peer.send(plain("", "juliet", "secret"));
    peer.send(OPEN.replace(" to=", " xml:lang='de-CH' to="));
    peer.send(bind("b", "balcony"));
    peer.said();
    peer.send(format!(
        "<message to='{JULIET}'/><message to='{JULIET}' xml:lang='fr'/>"
    ));
    let said = peer.said();
    assert_eq!(said.matches("xml:lang='de-CH'").count(), 1, "{said}");
    assert_eq!(said.matches("xml:lang='fr'").count(), 1, "{said}");
}

/// An end comes behind what waits, whoever ends it.
#[test]
fn the_end_comes_last() {
    let push = |peer: &mut Peer, text: &str| {
        let outbox = std::sync::Arc::clone(&peer.outbox);
        assert!(outbox.answer(&mut peer.turn, |out| out.extend_from_slice(text.as_bytes())));
    };
    let mut peer = World::new().bound("juliet", "balcony");
    push(&mut peer, "<message id='1'/>");
    let end = router::Event::End(StreamError::system_shutdown());
    peer.outbox.tell(&mut peer.turn, end);
    let outbox = std::sync::Arc::clone(&peer.outbox);
    assert!(!outbox.answer(&mut peer.turn, |_| ()), "nothing is taken behind it");
    peer.run();
    peer.expect_end(&format!("<message id='1'/>{}", error("system-shutdown")));
    let (bound, clean) = peer.core.take_bound();
    assert!(bound.is_some() && !clean);

    // The client's own end is a clean one, and nothing behind it is read.
    let mut peer = World::new().bound("juliet", "balcony");
    peer.send(format!("{CLOSE}<message to='{JULIET}'/>"));
    peer.expect_end(CLOSE);
    let (bound, clean) = peer.core.take_bound();
    assert!(bound.is_some() && clean);
    assert!(peer.core.bound().is_none());
    assert!(peer.core.take_bound().0.is_none(), "only once");

    // Its error is answered with the end, and is no clean one.
    let mut peer = World::new().bound("juliet", "balcony");
    peer.send(error("undefined-condition"));
    peer.expect_end(CLOSE);
    assert!(!peer.core.take_bound().1);
}

/// Before there is anybody: rows 13 to 15.
#[test]
fn before_the_login() {
    for (input, condition) in [
        (
            "<message to='romeo@example.org'><body>x</body></message>",
            "not-authorized",
        ),
        ("<presence/>", "not-authorized"),
        (
            "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>",
            "not-authorized",
        ),
        ("<iq/>", "not-authorized"),
        ("<letter/>", "unsupported-stanza-type"),
        ("<active xmlns='urn:xmpp:csi:0'/>", "unsupported-stanza-type"),
        (
            "<compress xmlns='http://jabber.org/protocol/compress'/>",
            "unsupported-stanza-type",
        ),
        ("<message xmlns='jabber:server'/>", "unsupported-stanza-type"),
        ("hello", "bad-format"),
    ] {
        let mut peer = World::new().opened();
        peer.send(input);
        peer.expect_end(&error(condition));
        let mut peer = World::new().connect(false);
        peer.send(OPEN);
        peer.said();
        peer.send(input);
        peer.expect_end(&error(condition));
    }
}
