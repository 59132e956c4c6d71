//! A stream that another server opens (RFC 6120 sections 4 to 6, XEP-0178; row 53 of the faults, row 24 of the attacks).

use router::{Event, Vouched};

use super::*;
use crate::tests::world::*;

#[test]
fn headers() {
    let usual = features(STARTTLS, 1500);
    let check = |opening: String, from: &str, to: &str, answer: &str| {
        let (world, _) = world();
        let expected = super::header(1, from, to) + answer;
        however_cut(
            || connect(&world, HERE, false),
            opening.as_bytes(),
            |cut, mut peer| {
                assert_eq!(peer.said(), expected, "{opening}, {cut}");
                assert_eq!(peer.next == Next::Close, answer.ends_with(CLOSE), "{opening}, {cut}");
            },
        );
    };
    let (ours, theirs) = ("example.org", "remote.example");
    check(opening(), ours, theirs, &usual);
    check(
        open("REMOTE.example", "Second.Example"),
        "second.example",
        theirs,
        &usual,
    );
    // Section 4.7.1: some do not name themselves.
    check(open("", ours), ours, "", &usual);
    // Row 10: whom it names not, or nobody here is, or who are guests.
    for to in ["", "elsewhere.example", "guests.example", "juliet@example.org", "a b"] {
        check(open(theirs, to), ours, theirs, &error("host-unknown"));
    }
    check(open("a b", ours), ours, "", &error("invalid-from"));
    // Row 54: nobody but this server speaks for its domains.
    for from in ["example.org", "second.example"] {
        check(open(from, ours), ours, from, &error("invalid-from"));
    }
    check(
        open("refused.example", ours),
        ours,
        "refused.example",
        &error_text("policy-violation", "this server does not talk with that domain"),
    );
    // Rows 7 to 9.
    for (was, is, condition) in [
        (" version='1.0'>", ">", "unsupported-version"),
        ("version='1.0'>", "version='0.9'>", "unsupported-version"),
        ("'jabber:server'", "'jabber:client'", "invalid-namespace"),
        ("'jabber:server' ", "'jabber:component:accept' ", "invalid-namespace"),
        (
            "etherx.jabber.org/streams",
            "etherx.jabber.org/stream",
            "invalid-namespace",
        ),
        ("<stream:stream ", "<stream:river ", "bad-format"),
    ] {
        check(opening().replace(was, is), ours, theirs, &error(condition));
    }
    let other_prefix = opening()
        .replace("<stream:stream", "<s:stream")
        .replace("xmlns:stream", "xmlns:s");
    check(other_prefix, ours, theirs, &error("bad-namespace-prefix"));
}

/// From the first byte to a stanza, over STARTTLS, as RFC 6120 section 9.2 has it.
#[test]
fn by_certificate() {
    let (world, _) = world();
    let mut juliet = world.bound("juliet", "balcony");
    juliet.send("<presence/>");
    juliet.said();
    let mut peer = connect(&world, HERE, false);
    peer.send(opening());
    assert_eq!(peer.said(), usual_header(1) + &features(STARTTLS, 1500));
    peer.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert_eq!(peer.said(), "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    peer.secure();
    peer.send(opening());
    assert_eq!(
        peer.said(),
        usual_header(2) + &features(&format!("{EXTERNAL}{BIDI_FEATURE}"), 1500)
    );
    peer.send(auth("cmVtb3RlLmV4YW1wbGU="));
    assert_eq!(peer.said(), SUCCESS);
    assert!(peer.core.bound().is_none());
    peer.send(opening());
    assert_eq!(peer.said(), usual_header(3) + &features(SM, 6000));
    peer.send(message("romeo@remote.example/orchard", "juliet@example.org", "a"));
    assert!(peer.core.bound().is_some());
    assert_eq!(peer.said(), "");
    juliet.run();
    let said = juliet.said();
    assert!(
        said.contains("from='romeo@remote.example/orchard'") && said.contains("<body>a</body>"),
        "{said}"
    );
}

/// All at once, cut anywhere: nothing is lost and nothing comes too early.
#[test]
fn pipelined() {
    let (world, _) = world();
    let input = format!(
        "{} \n{} {}<r xmlns='{NS_SM}'/>",
        auth("="),
        opening(),
        "<enable xmlns='urn:xmpp:sm:3'/>"
    );
    let expected = format!(
        "{SUCCESS}{}{}<enabled xmlns='{NS_SM}'/><a xmlns='{NS_SM}' h='0'/>",
        usual_header(2),
        features(SM, 6000)
    );
    however_cut(
        || opened(&world, HERE),
        input.as_bytes(),
        |cut, mut peer| assert_eq!(peer.said(), expected, "{cut}"),
    );
}

#[test]
fn before_tls_nothing_is_taken() {
    let refused = error_text("policy-violation", "this server talks with others by TLS only");
    let dialback = |name: &str, id: &str| {
        format!(
            "<db:{name} from='example.org' to='remote.example'{id} type='error'><error type='modify'>\
             <policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:{name}>"
        )
    };
    for (said, expected) in [
        (message("a@remote.example", "juliet@example.org", "a"), refused.clone()),
        ("<iq type='get' id='a'/>".to_owned(), refused.clone()),
        (auth("="), refused.clone()),
        (BIDI.to_owned(), refused.clone()),
        (format!("<enable xmlns='{NS_SM}'/>"), refused),
        // XEP-0220 section 2.4.2: that ends no stream.
        (
            "<db:result from='remote.example' to='example.org'>a</db:result>".to_owned(),
            dialback("result", ""),
        ),
        (
            "<db:verify from='remote.example' to='example.org' id='x'>a</db:verify>".to_owned(),
            dialback("verify", " id='x'"),
        ),
    ] {
        let (world, _) = world();
        let mut peer = connect(&world, with_dialback(), false);
        peer.send(opening());
        peer.said();
        peer.send(&said);
        assert_eq!(peer.said(), expected, "{said}");
        assert!(peer.shell.claims.is_empty());
    }
    // Row 17: twice.
    let (world, _) = world();
    let mut peer = connect(&world, HERE, true);
    peer.send(opening() + "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    assert!(
        peer.said()
            .ends_with("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:stream>")
    );
}

/// Nothing that was said in the clear counts behind TLS.
#[test]
fn tls_begins_anew() {
    let (world, _) = world();
    let mut peer = connect(&world, HERE, false);
    peer.send(open("other.example", "second.example"));
    peer.said();
    peer.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    peer.said();
    peer.secure();
    peer.send(opening() + &auth("="));
    let said = peer.said();
    assert!(said.starts_with(&usual_header(2)) && said.ends_with(SUCCESS), "{said}");
}

#[test]
fn identities() {
    let check = |vouches: bool, rules: Decided, from: &str, said: &str, expected: &str| {
        let (world, _) = world();
        let mut peer = connect(&world, rules, true);
        peer.shell.vouches = Some(vouches);
        peer.send(open(from, "example.org"));
        let offered = peer.said();
        assert_eq!(offered.contains("EXTERNAL"), vouches && !from.is_empty(), "{offered}");
        peer.send(said);
        assert_eq!(peer.said(), expected, "{said}");
    };
    let remote = "remote.example";
    for data in ["=", "cmVtb3RlLmV4YW1wbGU=", "UkVNT1RFLkVYQU1QTEU="] {
        check(true, HERE, remote, &auth(data), SUCCESS);
    }
    // Other domains, an address of that domain, and what can be none.
    for (identity, condition) in [
        ("example.org", "invalid-authzid"),
        ("other.example", "invalid-authzid"),
        ("a@remote.example", "invalid-authzid"),
        ("remote.example/x", "invalid-authzid"),
        ("a b", "invalid-authzid"),
        ("remote.example\0", "malformed-request"),
    ] {
        let data = ::auth::encode(identity.as_bytes());
        check(true, HERE, remote, &auth(&data), &failure(condition));
    }
    check(true, HERE, remote, &auth("=="), &failure("incorrect-encoding"));
    let plain = auth("=").replace("EXTERNAL", "PLAIN");
    check(true, HERE, remote, &plain, &failure("invalid-mechanism"));
    // Without an initial response it is asked for (RFC 6120 section 6.4.3).
    let response = |data: &str| format!("<response xmlns='{NS_SASL}'>{data}</response>");
    let challenge = format!("<challenge xmlns='{NS_SASL}'>=</challenge>");
    for data in ["", "=", "cmVtb3RlLmV4YW1wbGU="] {
        let said = auth("") + &response(data);
        check(true, HERE, remote, &said, &format!("{challenge}{SUCCESS}"));
    }
    let other = auth("") + &response("ZXhhbXBsZS5vcmc=");
    check(
        true,
        HERE,
        remote,
        &other,
        &(challenge.clone() + &failure("invalid-authzid")),
    );
    check(true, HERE, remote, &response("="), &failure("malformed-request"));
    let aborted = format!("{}<abort xmlns='{NS_SASL}'/>", auth(""));
    check(true, HERE, remote, &aborted, &(challenge + &failure("aborted")));
    // Row 53: not vouched for, and nothing else would help; else it may still try that.
    for said in [auth("="), auth("cmVtb3RlLmV4YW1wbGU=")] {
        check(false, HERE, remote, &said, &(failure("not-authorized") + CLOSE));
        check(true, HERE, "", &said, &(failure("not-authorized") + CLOSE));
        check(false, with_dialback(), remote, &said, &failure("not-authorized"));
    }
}

#[test]
fn attempts_are_few() {
    let (world, _) = world();
    let mut peer = opened(&world, HERE);
    peer.send(auth("ZXhhbXBsZS5vcmc=").repeat(9));
    let end = error_text("policy-violation", "too many failed attempts");
    peer.expect_end(&(failure("invalid-authzid").repeat(5) + &end));
}

/// What the certificate is worth may have to be looked up.
#[test]
fn vouched_for_later() {
    for is_vouched in [true, false] {
        let (world, _) = world();
        let mut peer = connect(&world, HERE, true);
        peer.shell.vouches = None;
        peer.send(opening() + BIDI + &auth("="));
        assert_eq!(peer.said(), usual_header(1));
        // Of something else.
        peer.tell(Event::Checked(true));
        assert_eq!((peer.said(), peer.next), (String::new(), Next::Wait));
        let vouched = |is_proved| {
            Event::Vouched(Vouched {
                is_proved,
                ..Vouched::default()
            })
        };
        peer.tell(vouched(is_vouched));
        peer.run();
        let said = peer.said();
        assert_eq!(said.contains(EXTERNAL), is_vouched, "{said}");
        assert_eq!(said.ends_with(SUCCESS), is_vouched, "{said}");
        if !is_vouched {
            assert!(said.ends_with(&(failure("not-authorized") + CLOSE)), "{said}");
            assert_eq!(peer.shell.notes.len(), 1);
        }
        // Told twice, it means nothing.
        peer.tell(vouched(true));
        assert_eq!(peer.said(), "");
    }
}

/// Had we connected to it, it would not do (DANE): what is for its domain goes elsewhere than to who has connected, even if he
/// asks for it without having been offered it.
#[test]
fn who_may_only_speak() {
    for is_one_way in [false, true] {
        let (world, dialed) = world();
        let mut juliet = world.bound("juliet", "balcony");
        let mut peer = connect(&world, HERE, true);
        peer.shell.is_one_way = is_one_way;
        peer.send(opening());
        assert_eq!(peer.said().contains(BIDI_FEATURE), !is_one_way);
        peer.send(format!("{BIDI}{}{}{BIDI}", auth("="), opening()));
        peer.send(message("romeo@remote.example/a", "juliet@example.org/balcony", "a"));
        peer.said();
        juliet.run();
        assert!(juliet.said().contains("<body>a</body>"));
        juliet.send("<presence to='romeo@remote.example'/>");
        peer.run();
        assert_eq!(peer.said().contains("<presence"), !is_one_way);
        let dialed = dialed.0.lock().expect("no panic").len();
        assert_eq!(dialed, usize::from(is_one_way));
    }
}

/// Row 24 of the attacks: the pair of the login is that of the stream.
#[test]
fn the_pair_stays() {
    for (from, to, expected) in [
        ("remote.example", "second.example", Some("host-unknown")),
        ("remote.example", "", Some("host-unknown")),
        ("other.example", "example.org", Some("invalid-from")),
        ("second.example", "example.org", Some("invalid-from")),
        ("", "example.org", None),
    ] {
        let (world, _) = world();
        let mut peer = opened(&world, HERE);
        peer.send(auth("="));
        peer.said();
        peer.send(open(from, to));
        let said = peer.said();
        match expected {
            Some(condition) => assert!(said.ends_with(&error(condition)), "{from} {to}: {said}"),
            None => assert!(said.ends_with(&features(SM, 6000)), "{said}"),
        }
    }
}

#[test]
fn out_of_order() {
    let check = |rules: Decided, said: &str, expected: &str| {
        let (world, _) = world();
        let mut peer = opened(&world, rules);
        peer.send(said);
        peer.expect_end(expected);
    };
    let stanza = message("a@remote.example", "juliet@example.org", "a");
    check(HERE, &stanza, &error("not-authorized"));
    check(
        HERE,
        &format!("<enable xmlns='{NS_SM}'/>"),
        &error("unsupported-stanza-type"),
    );
    check(HERE, "<a xmlns='urn:x'/>", &error("unsupported-stanza-type"));
    check(HERE, "<db:other/>", &error("unsupported-stanza-type"));
    check(HERE, &opening(), &error("restricted-xml"));
    check(HERE, &error("reset"), CLOSE);
    check(HERE, CLOSE, CLOSE);
    // In the middle of one, no other way.
    check(
        HERE,
        &(auth("") + &stanza),
        &format!("<challenge xmlns='{NS_SASL}'>=</challenge>{}", error("bad-format")),
    );
    // Authenticated once.
    let (world, _) = world();
    let mut peer = authenticated(&world, "");
    peer.send(auth("="));
    peer.expect_end(&error("policy-violation"));
    let mut peer = opened(&world, HERE);
    peer.time_out();
    peer.expect_end(&error("connection-timeout"));
}

/// Row 11: what a stranger may say is small.
#[test]
fn limits() {
    let (world, _) = world();
    let text = "x".repeat(2000);
    let too_big = "<stream:error><policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                   <stanza-too-big xmlns='urn:xmpp:errors'/></stream:error></stream:stream>";
    let mut peer = opened(&world, with_dialback());
    peer.send(format!(
        "<db:result from='remote.example' to='example.org'>{text}</db:result>"
    ));
    peer.expect_end(too_big);
    let mut peer = authenticated(&world, "");
    peer.send(message("a@remote.example", "juliet@example.org", &text[..1000]));
    assert_eq!(peer.said(), "");
    peer.send(message("a@remote.example", "juliet@example.org", &text.repeat(2)));
    peer.expect_end(too_big);
}
