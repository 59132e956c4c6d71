//! A stream that we open, against what other servers say.

use router::FailureKind;

use super::peered::{answer, offer};
use super::*;
use crate::server::{Claim, Failed, Reason};
use crate::tests::world::*;

fn our_header(from: &str, to: &str) -> String {
    super::header(0, from, to).replace(&format!(" id='{}'", random_text(0)), "")
}

fn ours() -> String {
    our_header("example.org", "remote.example")
}

const TLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const BIDI_WITH_LIMITS: &str = "<bidi xmlns='urn:xmpp:bidi'><limits xmlns='urn:xmpp:stream-limits:0'>\
     <max-bytes>6000</max-bytes><idle-seconds>300</idle-seconds></limits></bidi>";
/// EXTERNAL as this server says it.
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>ZXhhbXBsZS5vcmc=</auth>";
const ENABLE: &str = "<enable xmlns='urn:xmpp:sm:3' resume='true'/>";

fn failed(caller: &Caller) -> &Failed {
    match &caller.then {
        Then::Failed(failed) => failed,
        other => panic!("{other:?}"),
    }
}

/// How far a stream gets whose features come in the order, and with the prefixes, of other servers.
#[test]
fn features_of_others() {
    let prosody = [
        "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>\
         <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
         <bidi xmlns='urn:xmpp:features:bidi'/><limits xmlns='urn:xmpp:stream-limits:0'>\
         <max-bytes>10000</max-bytes><idle-seconds>840</idle-seconds></limits>",
        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>\
         <dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback><bidi xmlns='urn:xmpp:features:bidi'/>",
        "<sm xmlns='urn:xmpp:sm:2'><optional/></sm><sm xmlns='urn:xmpp:sm:3'><optional/></sm>\
         <limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>524288</max-bytes></limits>",
    ];
    let ejabberd = [
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>",
        "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>\n<mechanism> EXTERNAL\n</mechanism></mechanisms>\
         <c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='x' ver='y'/>",
        "<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='x' ver='y'/>",
    ];
    // RFC 6120 section 9.2: without prefixes.
    let bare = |text: &str| {
        text.replace("stream:", "").replace(
            &format!("xmlns='jabber:server' xmlns:stream='{NS_STREAM}'"),
            &format!("xmlns='{NS_STREAM}'"),
        )
    };
    for (name, offers, is_bare, bidi, enable, max_bytes) in [
        ("prosody", prosody, false, BIDI_WITH_LIMITS, ENABLE, Some(524_288)),
        ("ejabberd", ejabberd, false, "", "", None),
        ("bare", ejabberd, true, "", "", None),
    ] {
        let form = |text: String| match is_bare {
            true => bare(&text.replace(&format!(" xmlns:db='{NS_DIALBACK}'"), "")),
            false => text,
        };
        let said: Vec<String> = [
            answer("a") + "\n" + &offer(offers[0]),
            "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>".to_owned(),
            answer("b") + &offer(offers[1]),
            SUCCESS.to_owned(),
            answer("c") + &offer(offers[2]),
        ]
        .map(form)
        .into();
        // Whole, and by the byte.
        for size in [usize::MAX, 1] {
            let (world, _) = world();
            let mut caller = Caller::new(config(&world, HERE), pair(), false, Purpose::Stanzas { resume: None });
            assert_eq!(caller.said(), ours());
            let hear = |caller: &mut Caller, at: usize| {
                for part in said[at].as_bytes().chunks(size.min(said[at].len())) {
                    caller.hear(part);
                }
                caller.said()
            };
            assert_eq!(hear(&mut caller, 0), TLS, "{name}");
            assert_eq!(hear(&mut caller, 1), "");
            caller.secure();
            assert_eq!(caller.said(), ours());
            assert_eq!(hear(&mut caller, 2), format!("{bidi}{AUTH}"), "{name}");
            assert_eq!(hear(&mut caller, 3), ours());
            assert_eq!(hear(&mut caller, 4), enable, "{name}");
            if !enable.is_empty() {
                caller.hear(format!("<enabled xmlns='{NS_SM}' id='i&lt;d' resume='1' max='90'/>"));
            }
            let Then::Established(established) = &caller.then else {
                panic!("{name}: {:?}", caller.then);
            };
            assert_eq!(established.linked.max_bytes, max_bytes);
            assert_eq!(established.linked.is_bidirectional, !bidi.is_empty());
            assert_eq!(established.linked.is_managed, !enable.is_empty());
            let resumable = (!enable.is_empty()).then(|| ("i<d".into(), 90));
            assert_eq!(established.linked.resumable, resumable);
            assert!(caller.machine.take_notes().len() > 1);
        }
    }
}

#[test]
fn there_is_no_way_without_tls() {
    let (world, _) = world();
    for features in [
        "",
        EXTERNAL,
        DIALBACK,
        "<dialback xmlns='urn:xmpp:features:dialback'/><sm xmlns='urn:xmpp:sm:3'/>",
    ] {
        let plain = Purpose::Stanzas { resume: None };
        let mut caller = Caller::new(config(&world, with_dialback()), pair(), false, plain);
        caller.said();
        caller.hear(answer("a") + &offer(features));
        assert_eq!(failed(&caller).reason, Reason::NoTls);
        assert_eq!(caller.said(), CLOSE);
        assert_eq!(failed(&caller).failure().text, "remote.example offers no TLS");
    }
    // Refused, or done as if it were there.
    for said in [
        "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        SUCCESS,
        &offer(EXTERNAL),
    ] {
        let plain = Purpose::Stanzas { resume: None };
        let mut caller = Caller::new(config(&world, HERE), pair(), false, plain);
        caller.hear(answer("a") + &offer(&format!("{STARTTLS}{EXTERNAL}{SM}")));
        caller.hear(said);
        assert!(matches!(caller.then, Then::Failed(_)), "{said}: {:?}", caller.then);
    }
}

/// What was said in the clear means nothing behind TLS, also what came behind `<proceed/>`.
#[test]
fn nothing_in_the_clear_is_kept() {
    let (world, _) = world();
    let plain = Purpose::Stanzas { resume: None };
    let mut caller = Caller::new(config(&world, HERE), pair(), false, plain);
    caller.hear(
        answer("a")
            + &offer(&format!("{STARTTLS}{EXTERNAL}{SM}"))
            + "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
            + &answer("b")
            + &offer(EXTERNAL)
            + SUCCESS,
    );
    caller.said();
    caller.secure();
    assert_eq!(caller.said(), ours());
    caller.hear(answer("c") + &offer(""));
    assert_eq!(failed(&caller).reason, Reason::NotAuthorized);
}

#[test]
fn ways_to_fail() {
    let (world, _) = world();
    let check = |said: String, reason: Reason, text: &str| {
        let mut caller = Caller::secured(&world, HERE, None);
        caller.hear(&said);
        let failed = failed(&caller);
        assert_eq!((failed.reason, failed.text.as_str()), (reason, text), "{said}");
        assert!(caller.said().ends_with(CLOSE));
        // And nothing more.
        caller.hear(answer("z"));
        assert_eq!(caller.said(), "");
    };
    let good = answer("a");
    let malformed = |condition: &str| format!("remote.example does not speak as a server should ({condition})");
    check(
        good.replace("jabber:server'", "jabber:client'"),
        Reason::Malformed,
        &malformed("invalid-namespace"),
    );
    check(
        good.replace(" version='1.0'>", ">"),
        Reason::Malformed,
        &malformed("unsupported-version"),
    );
    check(
        "HTTP/1.1 400 Bad Request\r\n".into(),
        Reason::Malformed,
        &malformed("not-well-formed"),
    );
    check("<!DOCTYPE x>".into(), Reason::Malformed, &malformed("restricted-xml"));
    check(
        good.clone() + "<message xmlns='jabber:server'/>",
        Reason::Malformed,
        &malformed("unsupported-stanza-type"),
    );
    check(
        good.clone() + SUCCESS,
        Reason::Malformed,
        &malformed("unsupported-stanza-type"),
    );
    let long = format!("<a xmlns='{NS_STREAM}'>{}</a>", "x".repeat(2000));
    check(good.clone() + &long, Reason::Malformed, &malformed("policy-violation"));
    check(
        good.clone() + &"<db:result type='valid' from='a' to='b'/>".repeat(70),
        Reason::Malformed,
        "remote.example says too much before its stream is established",
    );
    check(
        good.clone() + CLOSE,
        Reason::Ended,
        "remote.example ends its stream before it is established",
    );
    for (condition, reason) in [
        ("host-unknown", Reason::NoSuchHost),
        ("host-gone", Reason::NoSuchHost),
        ("not-authorized", Reason::NotAuthorized),
        ("system-shutdown", Reason::Ended),
        ("resource-constraint", Reason::Ended),
        ("what&amp;ever", Reason::Malformed),
    ] {
        if reason == Reason::Malformed {
            check(good.clone() + &error(condition), reason, &malformed("not-well-formed"));
            continue;
        }
        let text = format!("remote.example ends the stream: {condition}");
        check(good.clone() + &error(condition), reason, &text);
    }
    let lengthy = format!("not\ntoday{}", "!".repeat(1000));
    check(
        good.clone() + &error_text("policy-violation", &lengthy),
        Reason::NotAuthorized,
        &format!(
            "remote.example ends the stream: policy-violation (not today{})",
            "!".repeat(191)
        ),
    );
    // It does not take our certificate, or does not even look at it.
    let unbelieved = "remote.example does not believe that this server is who it is";
    check(good.clone() + &offer(""), Reason::NotAuthorized, unbelieved);
    let plain = offer(&EXTERNAL.replace("EXTERNAL", "PLAIN"));
    check(good.clone() + &plain, Reason::NotAuthorized, unbelieved);
    check(
        good.clone() + &offer(EXTERNAL) + &failure("not-authorized"),
        Reason::NotAuthorized,
        unbelieved,
    );
    // Dialback is offered to who is believed by it; here it is only understood.
    assert!(good.contains("xmlns:db="), "{good}");
}

#[test]
fn who_wants_to_know_us_by_dialback_may_although_we_believe_nobody_by_it() {
    let (world, _) = world();
    let mut caller = Caller::secured(&world, HERE, None);
    caller.said();
    caller.hear(answer("a") + &offer(DIALBACK));
    let key = ::auth::dialback_key(&[9; 32], "remote.example", "example.org", "a");
    assert_eq!(
        caller.said(),
        format!("<db:result from='example.org' to='remote.example'>{key}</db:result>")
    );
}

#[test]
fn ends_of_the_connection() {
    let (world, _) = world();
    for (said, ended, timed_out) in [
        (
            String::new(),
            "ends the connection before its stream begins",
            "takes the connection, but does not begin a stream",
        ),
        (
            answer("a"),
            "ends the connection before its stream is established",
            "does not go on with its stream",
        ),
        (
            answer("a") + &offer(EXTERNAL),
            "ends the connection instead of saying whether it believes us",
            "does not say whether it believes us",
        ),
    ] {
        let mut caller = Caller::secured(&world, HERE, None);
        caller.hear(&said);
        let failed = caller.machine.ended();
        assert_eq!(
            (failed.reason, failed.text),
            (Reason::Ended, format!("remote.example {ended}"))
        );
        let mut out = Vec::new();
        let failed = caller.machine.timed_out(&mut out);
        assert_eq!(failed.text, format!("remote.example {timed_out}"));
        assert_eq!(String::from_utf8(out).expect("UTF-8"), error("connection-timeout"));
    }
}

#[test]
fn a_challenge_is_answered() {
    let (world, _) = world();
    let mut caller = Caller::secured(&world, HERE, None);
    caller.hear(answer("a") + &offer(EXTERNAL));
    caller.said();
    caller.hear(format!("<challenge xmlns='{NS_SASL}'>=</challenge>"));
    assert_eq!(caller.said(), format!("<response xmlns='{NS_SASL}'>=</response>"));
    caller.hear(SUCCESS);
    assert_eq!(caller.said(), ours());
}

#[test]
fn by_dialback() {
    let (world, _) = world();
    let key = ::auth::dialback_key(&[9; 32], "remote.example", "example.org", "a");
    let request = format!("<db:result from='example.org' to='remote.example'>{key}</db:result>");
    let verdict = |rest: &str| format!("<db:result from='remote.example' to='example.org' {rest}");
    // By the feature, by the prefix alone, and behind a certificate that is not taken.
    for (said, bidi) in [
        (
            answer("a").replace(&format!(" xmlns:db='{NS_DIALBACK}'"), "") + &offer(DIALBACK),
            "",
        ),
        (answer("a") + &offer(""), ""),
        (answer("a") + &offer(BIDI_FEATURE), BIDI_WITH_LIMITS),
        (answer("a") + &offer(EXTERNAL) + &failure("not-authorized"), AUTH),
    ] {
        let mut caller = Caller::secured(&world, with_dialback(), None);
        caller.said();
        caller.hear(&said);
        assert_eq!(caller.said(), format!("{bidi}{request}"));
        // Row 20: none of these is the answer.
        for other in [
            "<db:result from='other.example' to='example.org' type='valid'/>".to_owned(),
            "<db:result from='remote.example' to='second.example' type='valid'/>".to_owned(),
            "<db:result from='example.org' to='remote.example' type='valid'/>".to_owned(),
            "<db:verify from='remote.example' to='example.org' id='a' type='valid'/>".to_owned(),
            "<db:result type='valid'/>".to_owned(),
            verdict("type='VALID'/>"),
            verdict(">x</db:result>"),
        ] {
            let prefixed = other.replace("<db:result", &format!("<db:result xmlns:db='{NS_DIALBACK}'"));
            let prefixed = prefixed.replace("<db:verify", &format!("<db:verify xmlns:db='{NS_DIALBACK}'"));
            caller.hear(&prefixed);
            assert!(matches!(caller.then, Then::Read), "{other}: {:?}", caller.then);
        }
        let good = verdict("type='valid'/>");
        caller.hear(good.replace("<db:result", &format!("<db:result xmlns:db='{NS_DIALBACK}'")));
        let Then::Established(established) = &caller.then else {
            panic!("{:?}", caller.then);
        };
        assert_eq!(established.linked.is_bidirectional, bidi == BIDI_WITH_LIMITS);
    }
    // XEP-0478: no features follow, so a limit of what comes before the login is told from one of stanzas by RFC 6120 section
    // 13.12.
    for (bytes, expected) in [(8_192, None), (10_000, None), (262_144, Some(262_144))] {
        let mut caller = Caller::secured(&world, with_dialback(), None);
        let limits = format!("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>{bytes}</max-bytes></limits>");
        caller.hear(answer("a") + &offer(&format!("{DIALBACK}{limits}")) + &verdict("type='valid'/>"));
        let Then::Established(established) = &caller.then else {
            panic!("{:?}", caller.then);
        };
        assert_eq!(established.linked.max_bytes, expected);
    }
    for (said, reason) in [
        (verdict("type='invalid'/>"), Reason::WrongKey),
        (
            verdict(
                "type='error'><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
            ),
            Reason::Ended,
        ),
        (
            verdict(
                "type='error'><error type='auth'><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
            ),
            Reason::NotAuthorized,
        ),
        (
            verdict(
                "type='error'><error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></db:result>",
            ),
            Reason::Ended,
        ),
        (verdict("type='error'/>"), Reason::Ended),
    ] {
        let mut caller = Caller::secured(&world, with_dialback(), None);
        caller.hear(answer("a") + &offer(DIALBACK) + &said);
        assert_eq!(failed(&caller).reason, reason, "{said}");
        // XEP-0220 sections 2.1.1 and 2.5.
        let expected = match reason {
            Reason::WrongKey => "internal-server-error",
            _ => "remote-server-timeout",
        };
        assert_eq!(failed(&caller).failure().error().condition.name(), expected, "{said}");
    }
    // Without an id there is nothing to make a key of.
    let mut caller = Caller::secured(&world, with_dialback(), None);
    caller.hear(opening() + &offer(DIALBACK));
    assert_eq!(failed(&caller).reason, Reason::NotAuthorized);
}

#[test]
fn a_key_is_verified() {
    let (world, _) = world();
    let claim = Claim {
        pair: pair(),
        id: "i'd".into(),
        key: "k<y".into(),
    };
    let ask = || {
        let mut caller = Caller::new(config(&world, HERE), pair(), true, Purpose::Verify(claim.clone()));
        caller.said();
        // Whatever it offers: nothing else is wanted.
        caller.hear(answer("a") + &offer(&format!("{EXTERNAL}{BIDI_FEATURE}{DIALBACK}{SM}")));
        assert_eq!(
            caller.said(),
            "<db:verify from='example.org' to='remote.example' id='i&apos;d'>k&lt;y</db:verify>"
        );
        caller
    };
    let verdict = |from: &str, to: &str, id: &str, type_: &str| {
        format!("<db:verify from='{from}' to='{to}' id='{id}' type='{type_}'/>")
    };
    let mut caller = ask();
    for other in [
        verdict("other.example", "example.org", "i&apos;d", "valid"),
        verdict("remote.example", "second.example", "i&apos;d", "valid"),
        verdict("remote.example", "example.org", "x", "valid"),
        verdict("remote.example", "example.org", "", "valid"),
        verdict("remote.example", "example.org", "i&apos;d", "yes"),
        "<db:verify from='remote.example' to='example.org' type='valid'/>".to_owned(),
        "<db:result from='remote.example' to='example.org' id='i&apos;d' type='valid'/>".to_owned(),
    ] {
        caller.hear(&other);
        assert!(matches!(caller.then, Then::Read), "{other}: {:?}", caller.then);
    }
    for (type_, expected) in [("valid", true), ("invalid", false)] {
        let mut caller = ask();
        caller.hear(verdict("remote.example", "example.org", "i&apos;d", type_));
        assert!(matches!(caller.then, Then::Verified(is_good) if is_good == expected));
    }
    let mut caller = ask();
    caller.hear(verdict("remote.example", "example.org", "i&apos;d", "error"));
    assert_eq!(failed(&caller).failure().kind, FailureKind::NotFound);
    let mut caller = Caller::new(config(&world, HERE), pair(), true, Purpose::Verify(claim.clone()));
    caller.hear(answer("a") + &error("host-unknown"));
    assert_eq!(failed(&caller).failure().kind, FailureKind::NotFound);
    // Without a word.
    let mut caller = ask();
    assert_eq!(caller.machine.ended().failure().kind, FailureKind::Timeout);
}

#[test]
fn resumption() {
    let (world, _) = world();
    let resume = || Resume {
        id: "o'ld".into(),
        h: 7,
    };
    let ask = || {
        let mut caller = Caller::secured(&world, HERE, Some(resume()));
        caller.hear(answer("a") + &offer(EXTERNAL) + SUCCESS);
        caller.said();
        caller.hear(answer("b") + &offer(SM));
        assert_eq!(
            caller.said(),
            format!("<resume xmlns='{NS_SM}' h='7' previd='o&apos;ld'/>")
        );
        caller
    };
    let linked = |caller: &Caller| match &caller.then {
        Then::Established(established) => established.linked.clone(),
        other => panic!("{other:?}"),
    };
    let mut caller = ask();
    caller.hear(format!("<resumed xmlns='{NS_SM}' previd='o&apos;ld' h='5'/>"));
    let resumed = linked(&caller);
    assert_eq!(
        (resumed.resumed, resumed.handled, resumed.is_managed),
        (Some(5), None, true)
    );
    assert_eq!(resumed.resumable.expect("again").0, "o'ld".into());
    for (failed, handled) in [("<failed h='3' ", Some(3)), ("<failed ", None)] {
        let mut caller = ask();
        caller.hear(format!("{failed}xmlns='{NS_SM}'/>"));
        assert_eq!(caller.said(), ENABLE);
        caller.hear(format!("<enabled xmlns='{NS_SM}' id='x'/>"));
        let anew = linked(&caller);
        assert_eq!((anew.resumed, anew.handled, anew.is_managed), (None, handled, true));
        // Not resumable, as that was not said.
        assert_eq!(anew.resumable, None);
    }
    let mut caller = ask();
    caller.hear(format!("<failed xmlns='{NS_SM}'/><failed xmlns='{NS_SM}'/>"));
    assert!(!linked(&caller).is_managed);
    // Another stream, or without a count.
    for bad in [
        "<resumed previd='x' h='5' ",
        "<resumed previd='o&apos;ld' ",
        "<enabled ",
    ] {
        let mut caller = ask();
        caller.hear(format!("{bad}xmlns='{NS_SM}'/>"));
        assert_eq!(failed(&caller).reason, Reason::Malformed, "{bad}");
    }
}

/// By a stream of both ways the peer may send at once; it counts only from `<enabled/>` on.
#[test]
fn stanzas_that_come_early() {
    let (world, _) = world();
    let mut juliet = world.bound("juliet", "balcony");
    juliet.send("<presence/>");
    juliet.said();
    let stanza = |body: &str| message("romeo@remote.example/a", "juliet@example.org", body);
    let begin = answer("a") + &offer(&format!("{EXTERNAL}{BIDI_FEATURE}")) + SUCCESS + &answer("b") + &offer(SM);
    let mut caller = Caller::secured(&world, HERE, None);
    caller.hear(
        begin.clone()
            + &stanza("1")
            + &stanza("2")
            + &format!("<enabled xmlns='{NS_SM}' id='x' resume='true'/>")
            + &stanza("3")
            + &format!("<r xmlns='{NS_SM}'/>"),
    );
    let mut peer = caller.carry(&world);
    peer.run();
    assert_eq!(peer.said(), format!("<a xmlns='{NS_SM}' h='1'/>"));
    juliet.run();
    let said = juliet.said();
    let order: Vec<usize> = ["1", "2", "3"]
        .iter()
        .map(|body| said.find(&format!("<body>{body}</body>")).expect("delivered"))
        .collect();
    assert!(order.is_sorted(), "{said}");
    // They are checked as all others.
    let mut caller = Caller::secured(&world, HERE, None);
    let forged = stanza("4").replace("remote.example", "other.example");
    caller.hear(begin.clone() + &forged + &format!("<enabled xmlns='{NS_SM}'/>"));
    let mut peer = caller.carry(&world);
    peer.expect_end(&error("invalid-from"));
    // All that another of these servers sends before it waits: 512 KiB, of many stanzas.
    let mut caller = Caller::secured(&world, HERE, None);
    let (short, long) = (stanza("5"), stanza(&"x".repeat(2500)));
    caller.hear(begin.clone() + &short.repeat(900) + &long.repeat(512 * 1024 / long.len()));
    assert!(matches!(caller.then, Then::Read), "{:?}", caller.then);
    caller.hear(format!("<enabled xmlns='{NS_SM}'/>"));
    assert!(matches!(caller.then, Then::Established(_)), "{:?}", caller.then);
    // Not without end, and not over a stream of one way.
    let mut caller = Caller::secured(&world, HERE, None);
    caller.hear(begin.clone() + &long.repeat(1024 * 1024 / long.len() + 2));
    assert_eq!(failed(&caller).reason, Reason::Malformed);
    let mut caller = Caller::secured(&world, HERE, None);
    caller.hear(begin.replace(BIDI_FEATURE, "") + &stanza("5"));
    assert_eq!(failed(&caller).reason, Reason::Malformed);
}
