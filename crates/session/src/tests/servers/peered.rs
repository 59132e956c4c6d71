//! Stanzas over a stream between servers (RFC 6120 section 8.1; rows 51 of the faults, 23 of the attacks).

use super::*;
use crate::tests::world::*;

const OURS: &str = "example.org";

/// A stream that the other has opened, and ones that we have: of one way, and of both.
fn streams(world: &World) -> [Peer; 3] {
    let ours = |bidi: &str| {
        let mut caller = Caller::secured(world, HERE, None);
        caller.hear(answer("a") + &offer(&format!("{EXTERNAL}{bidi}")) + SUCCESS + &answer("b") + &offer(""));
        let mut peer = caller.carry(world);
        peer.said();
        peer
    };
    [authenticated(world, ""), ours(BIDI_FEATURE), ours("")]
}

pub(super) fn answer(id: &str) -> String {
    opening().replace("from=", &format!("id='{id}' from="))
}

pub(super) fn offer(content: &str) -> String {
    format!("<stream:features>{content}</stream:features>")
}

#[test]
fn addresses() {
    let (world, _) = world();
    for (stanza, condition) in [
        (
            "<message to='juliet@example.org'><body>a</body></message>",
            "improper-addressing",
        ),
        (
            "<message from='a@remote.example'><body>a</body></message>",
            "improper-addressing",
        ),
        ("<message><body>a</body></message>", "improper-addressing"),
        ("<message from='' to='juliet@example.org'/>", "improper-addressing"),
        ("<message from='a@remote.example' to=''/>", "improper-addressing"),
        (
            "<iq type='get' from='a@remote.example'><a xmlns='urn:x'/></iq>",
            "improper-addressing",
        ),
        (
            "<iq type='get' to='example.org'><a xmlns='urn:x'/></iq>",
            "improper-addressing",
        ),
        ("<message from='a@b c' to='juliet@example.org'/>", "improper-addressing"),
        ("<message from='a@remote.example' to='a@b c'/>", "improper-addressing"),
        // From whom it is not.
        (
            "<message from='a@other.example' to='juliet@example.org'/>",
            "invalid-from",
        ),
        (
            "<message from='a@remote.example.evil' to='juliet@example.org'/>",
            "invalid-from",
        ),
        (
            "<message from='a@sub.remote.example' to='juliet@example.org'/>",
            "invalid-from",
        ),
        (
            "<message from='other.example/remote.example' to='juliet@example.org'/>",
            "invalid-from",
        ),
        (
            "<message from='other.example/a@remote.example' to='juliet@example.org'/>",
            "invalid-from",
        ),
        (
            "<message from='romeo@example.org' to='juliet@example.org'/>",
            "invalid-from",
        ),
        (
            "<presence type='nonsense' from='a@other.example' to='juliet@example.org'/>",
            "invalid-from",
        ),
        (
            "<message from='&#x1F600;@other.example' to='juliet@example.org'/>",
            "invalid-from",
        ),
        // To whom this stream does not go.
        (
            "<message from='a@remote.example' to='juliet@second.example'/>",
            "host-unknown",
        ),
        (
            "<message from='a@remote.example' to='juliet@elsewhere.example'/>",
            "host-unknown",
        ),
        (
            "<message from='a@remote.example' to='a@remote.example'/>",
            "host-unknown",
        ),
        (
            "<iq type='get' from='a@remote.example' to='&#x1F600;@elsewhere.example' id='a'/>",
            "host-unknown",
        ),
        // Of other streams.
        (
            "<message xmlns='jabber:client' from='a@remote.example' to='juliet@example.org'/>",
            "unsupported-stanza-type",
        ),
        (
            "<other from='a@remote.example' to='juliet@example.org'/>",
            "unsupported-stanza-type",
        ),
        ("<active xmlns='urn:xmpp:csi:0'/>", "unsupported-stanza-type"),
        ("text", "bad-format"),
    ] {
        let [theirs, both, ours] = streams(&world);
        for mut peer in [theirs, both] {
            peer.send(stanza);
            peer.expect_end(&error(condition));
        }
        // Nothing at all comes by a stream of one way that is ours.
        let mut peer = ours;
        peer.send(stanza);
        let condition = match condition {
            "unsupported-stanza-type" | "bad-format" => condition,
            _ => "not-authorized",
        };
        peer.expect_end(&error(condition));
    }
    let mut juliet = world.bound("juliet", "balcony");
    juliet.send("<presence/>");
    assert!(!juliet.said().contains("message"), "none of it was taken");
}

/// Row 23 of the attacks: after any number of good stanzas.
#[test]
fn each_stanza_is_checked() {
    let (world, _) = world();
    let mut juliet = world.bound("juliet", "balcony");
    juliet.send("<presence/>");
    juliet.said();
    let [theirs, both, _] = streams(&world);
    for mut peer in [theirs, both] {
        for at in 0..3 {
            peer.send(message("romeo@REMOTE.example/a", "Juliet@example.org", &at.to_string()));
        }
        assert_eq!(peer.said(), "");
        juliet.run();
        assert_eq!(juliet.said().matches("from='romeo@remote.example/a'").count(), 3);
        peer.send(message("romeo@other.example/a", "juliet@example.org", "a"));
        peer.expect_end(&error("invalid-from"));
        juliet.run();
        assert_eq!(juliet.said(), "");
    }
}

/// A stanza that is wrong in itself ends no stream; its answer goes where everything goes that is for its sender.
#[test]
fn faulty_stanzas() {
    let (world, dialed) = world();
    // The link of the pair goes by the first that was made, whichever stream the question came by.
    let [mut theirs, mut both, _] = streams(&world);
    let get = "<iq type='get' from='a@remote.example/x' to='example.org'>";
    for is_theirs in [true, false] {
        let mut ask = |stanza: &str| {
            let peer = if is_theirs { &mut theirs } else { &mut both };
            peer.send(stanza);
            assert_eq!(peer.next, Next::Read);
            assert_eq!(theirs.said(), "");
            both.run();
            both.said()
        };
        for stanza in [
            format!("{get}<ping xmlns='urn:xmpp:ping'/></iq>"),
            get.replace("to=", "id='a' to=") + "</iq>",
            "<presence type='nonsense' from='a@remote.example' to='juliet@example.org'/>".to_owned(),
            "<message from='a@remote.example' to='a b@example.org'/>".to_owned(),
        ] {
            let said = ask(&stanza);
            assert!(
                said.contains("type='error'") && said.contains("to='a@remote.example"),
                "{said}"
            );
            assert!(
                said.contains("from='example.org'") || said.contains("from='juliet@example.org'"),
                "{said}"
            );
        }
        // Who cannot be anybody here cannot be answered.
        assert_eq!(
            ask("<message from='&#xE000;@remote.example' to='juliet@example.org'/>"),
            ""
        );
    }
    assert!(dialed.0.lock().expect("no panic").is_empty());
}

#[test]
fn stream_management() {
    let (world, _) = world();
    let [theirs, both, ours] = streams(&world);
    let failed =
        format!("<failed xmlns='{NS_SM}'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>");
    let ask = format!("<r xmlns='{NS_SM}'/>");
    for mut peer in [both, ours] {
        peer.send(&ask);
        assert_eq!(peer.said(), failed);
        for said in ["<enable resume='true' ", "<resume h='0' previd='x' "] {
            peer.send(format!("{said}xmlns='{NS_SM}'/>"));
            assert_eq!(peer.said(), failed, "{said}");
        }
    }
    let mut peer = theirs;
    peer.send(&ask);
    assert_eq!(peer.said(), failed);
    peer.send(format!("<enable xmlns='{NS_SM}'/>"));
    assert_eq!(peer.said(), format!("<enabled xmlns='{NS_SM}'/>"));
    // The second is counted too, though it is wrong.
    peer.send(message("a@remote.example", "juliet@example.org", "a"));
    peer.send("<iq from='a@remote.example' to='example.org'/>");
    peer.send(&ask);
    assert_eq!(peer.said(), format!("<a xmlns='{NS_SM}' h='2'/>"));
    peer.send(format!("<resume xmlns='{NS_SM}' h='0' previd='x'/>"));
    assert_eq!(peer.said(), failed);
    peer.send(format!("<enable xmlns='{NS_SM}'/>"));
    let end = error_text("policy-violation", "stream management was enabled already");
    peer.expect_end(&end);
    let mut peer = authenticated(&world, "");
    peer.send(format!("<a xmlns='{NS_SM}' h='x'/>"));
    peer.expect_end(&error("bad-format"));
}

/// XEP-0198 section 5.
#[test]
fn resumption() {
    let (world, _) = world();
    let enable = format!("<enable xmlns='{NS_SM}' resume='true'/>");
    let mut peer = authenticated(&world, "");
    peer.send(&enable);
    let said = peer.said();
    let id = said
        .split("id='")
        .nth(1)
        .and_then(|rest| rest.split('\'').next())
        .expect("an id")
        .to_owned();
    peer.send(message("a@remote.example", "juliet@example.org", "a"));
    peer.send(message("a@remote.example", "juliet@example.org", "b"));
    let (bound, clean) = peer.with(|core, _| core.take_bound());
    assert!(!clean);
    world
        .router
        .unbind(NOW, &bound.expect("bound"), false, &mut Default::default());
    // Not by somebody else.
    let mut other = opened_as(&world, "other.example");
    other.send(format!("<resume xmlns='{NS_SM}' h='0' previd='{id}'/>"));
    let not_found =
        format!("<failed xmlns='{NS_SM}'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>");
    assert_eq!(other.said(), not_found);
    other.send(format!("<resume xmlns='{NS_SM}' previd='{id}'/>"));
    assert!(other.said().contains("bad-request"));
    // It may go on without.
    other.send(&enable);
    assert!(other.said().starts_with("<enabled "));

    let mut again = authenticated(&world, "");
    again.send(format!(
        "<resume xmlns='{NS_SM}' h='0' previd='{id}'/><r xmlns='{NS_SM}'/>"
    ));
    let expected = format!("<resumed xmlns='{NS_SM}' previd='{id}' h='2'/><a xmlns='{NS_SM}' h='2'/>");
    assert_eq!(again.said(), expected);
    again.send(message("a@remote.example", "juliet@example.org", "c") + &format!("<r xmlns='{NS_SM}'/>"));
    assert_eq!(again.said(), format!("<a xmlns='{NS_SM}' h='3'/>"));
    again.send(message("a@other.example", "juliet@example.org", "c"));
    again.expect_end(&error("invalid-from"));

    // Not for ever.
    let mut peer = authenticated(&world, "");
    peer.send(format!("<resume xmlns='{NS_SM}' h='0' previd='nothing'/>").repeat(9));
    let end = error_text("policy-violation", "too many failed attempts");
    peer.expect_end(&(not_found.repeat(5) + &end));
}

fn opened_as(world: &World, from: &str) -> Peer {
    let mut peer = connect(world, HERE, true);
    peer.send(open(from, OURS) + &auth("=") + &open(from, OURS));
    peer.said();
    peer
}

/// XEP-0478 section 4: what the peer would end the stream for, and the one behind it too, is not sent.
#[test]
fn what_is_too_long_for_the_peer() {
    let (world, _) = world();
    let mut juliet = world.bound("juliet", "balcony");
    let long = "x".repeat(2000);
    let send = |juliet: &mut Peer, body: &str| {
        juliet.send(message("juliet@example.org/balcony", "romeo@remote.example", body));
        juliet.said()
    };
    // Before anything is known of it.
    assert_eq!(send(&mut juliet, &long), "");
    assert_eq!(send(&mut juliet, "short"), "");
    let mut caller = Caller::secured(&world, HERE, None);
    let limits = "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>1000</max-bytes></limits>";
    caller.hear(answer("a") + &offer(EXTERNAL) + SUCCESS + &answer("b") + &offer(limits));
    let mut peer = caller.carry(&world);
    juliet.run();
    peer.run();
    let (said, refused) = (peer.said(), juliet.said());
    assert!(said.contains("<body>short</body>") && !said.contains(&long), "{said}");
    let is_refused = |said: &str| said.contains("<policy-violation ") && said.contains(&format!("id='{long}'"));
    assert!(is_refused(&refused), "{refused}");
    let refused = send(&mut juliet, &long);
    peer.run();
    assert!(is_refused(&refused), "{refused}");
    assert!(!peer.said().contains(&long));
}

/// Why the peer ends a stream is told to the router: it may be for what it was sent.
#[test]
fn why_a_stream_ends() {
    for (condition, is_for_that) in [
        ("policy-violation", true),
        ("of-a-later-rfc", true),
        ("system-shutdown", false),
    ] {
        let (world, _) = world();
        let mut juliet = world.bound("juliet", "balcony");
        juliet.send(message("juliet@example.org/balcony", "romeo@remote.example", "a"));
        juliet.run();
        for _ in 0..2 {
            let mut caller = Caller::secured(&world, HERE, None);
            caller.hear(answer("a") + &offer(EXTERNAL) + SUCCESS + &answer("b") + &offer(""));
            let mut peer = caller.carry(&world);
            peer.run();
            let said = peer.said();
            assert!(said.contains("<body>a</body>"), "{said}");
            peer.send(format!(
                "<stream:error><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
            ));
            assert_eq!(peer.next, Next::Close);
            peer.with(|core, cx| {
                let (bound, clean) = core.take_bound();
                cx.router.unbind(NOW, &bound.expect("a stream"), clean, cx.turn);
            });
        }
        let links = world.router.link_report("remote.example");
        assert_eq!(links[0].is_on_trial, is_for_that, "{condition}");
    }
}
