//! Dialback (XEP-0220; row 52 of the faults, rows 20 to 22 of the attacks).

use router::Event;

use super::*;
use crate::server::Claim;
use crate::tests::world::*;

fn result(from: &str, to: &str, key: &str) -> String {
    format!("<db:result from='{from}' to='{to}'>{key}</db:result>")
}

fn verdict(name: &str, from: &str, to: &str, rest: &str) -> String {
    format!("<db:{name} from='{from}' to='{to}'{rest}/>")
}

fn refusal(name: &str, from: &str, to: &str, id: &str, error: &StanzaError) -> String {
    let mut text = Vec::new();
    error.write(&mut text);
    let text = String::from_utf8(text).expect("UTF-8");
    format!("<db:{name} from='{from}' to='{to}'{id} type='error'>{text}</db:{name}>")
}

const OURS: &str = "example.org";
const THEIRS: &str = "remote.example";

#[test]
fn offered_where_it_is_allowed() {
    for (vouches, rules, from, expected) in [
        (true, HERE, THEIRS, format!("{EXTERNAL}{BIDI_FEATURE}")),
        (
            true,
            with_dialback(),
            THEIRS,
            format!("{EXTERNAL}{DIALBACK}{BIDI_FEATURE}"),
        ),
        (false, with_dialback(), THEIRS, format!("{DIALBACK}{BIDI_FEATURE}")),
        (false, HERE, THEIRS, BIDI_FEATURE.to_owned()),
        (true, with_dialback(), "", BIDI_FEATURE.to_owned()),
    ] {
        let (world, _) = world();
        let mut peer = connect(&world, rules, true);
        peer.shell.vouches = Some(vouches);
        peer.send(open(from, OURS));
        // Where no other features follow, what is said of the limits has to hold behind the login.
        let bytes = if expected.contains(DIALBACK) { 6000 } else { 1500 };
        assert_eq!(peer.said(), super::header(1, OURS, from) + &features(&expected, bytes));
    }
}

#[test]
fn a_good_key() {
    let (world, _) = world();
    let mut juliet = world.bound("juliet", "balcony");
    juliet.send("<presence/>");
    juliet.said();
    for key in ["abc", "\n  abc\n"] {
        let mut peer = opened(&world, with_dialback());
        peer.send(result(THEIRS, OURS, key));
        assert_eq!(peer.said(), "");
        let claim = Claim {
            pair: pair(),
            id: random_text(1).into(),
            key: "abc".into(),
        };
        assert_eq!(peer.shell.claims, [claim]);
        // While it is verified, others have theirs verified.
        peer.send(verdict("verify", THEIRS, OURS, " id='x'"));
        assert_eq!(peer.said(), verdict("verify", OURS, THEIRS, " id='x' type='invalid'"));
        peer.tell(Event::Verified(Ok(true)));
        assert_eq!(peer.said(), verdict("result", OURS, THEIRS, " type='valid'"));
        peer.send(message("romeo@remote.example/a", "juliet@example.org", "a"));
        assert_eq!(peer.said(), "");
        juliet.run();
        assert!(juliet.said().contains("<body>a</body>"));
        // Row 23: another domain is another stream's, and was not proved here.
        peer.send(message("romeo@other.example/a", "juliet@example.org", "b"));
        peer.expect_end(&error("invalid-from"));
        juliet.run();
        assert_eq!(juliet.said(), "");
    }
}

#[test]
fn a_bad_key() {
    let (world, _) = world();
    let mut peer = opened(&world, with_dialback());
    peer.send(result(THEIRS, OURS, "abc"));
    peer.tell(Event::Verified(Ok(false)));
    peer.expect_end(&(verdict("result", OURS, THEIRS, " type='invalid'") + CLOSE));
    assert_eq!(peer.shell.notes.len(), 1);
    // Nobody can tell.
    for error in [
        StanzaError::remote_server_timeout(),
        StanzaError::remote_server_not_found(),
    ] {
        let mut peer = opened(&world, with_dialback());
        peer.send(result(THEIRS, OURS, "abc"));
        peer.tell(Event::Verified(Err(error.clone())));
        assert_eq!(peer.said(), refusal("result", OURS, THEIRS, "", &error));
        peer.send(message("romeo@remote.example/a", "juliet@example.org", "a"));
        peer.expect_end(&super::super::world::error("not-authorized"));
    }
    let mut peer = opened(&world, with_dialback());
    peer.shell.verifies = false;
    peer.send(result(THEIRS, OURS, "abc"));
    let error = StanzaError::remote_server_timeout();
    assert_eq!(peer.said(), refusal("result", OURS, THEIRS, "", &error));
}

/// The login takes too long, as nobody says whether the key is good.
#[test]
fn a_key_that_takes_too_long() {
    let (world, _) = world();
    let mut peer = opened(&world, with_dialback());
    peer.send(result(THEIRS, OURS, "abc"));
    peer.time_out();
    let late = refusal("result", OURS, THEIRS, "", &StanzaError::remote_server_timeout());
    peer.expect_end(&(late + &super::super::world::error("connection-timeout")));
    assert_eq!(peer.shell.notes.len(), 1);
    // Then it is too late.
    peer.tell(Event::Verified(Ok(true)));
    peer.send(message("romeo@remote.example/a", "juliet@example.org", "a"));
    assert_eq!(peer.said(), "");
    assert!(peer.core.bound().is_none());
}

#[test]
fn requests_that_are_refused() {
    let check = |rules: Decided, from: &str, to: &str, error: StanzaError| {
        let (world, _) = world();
        let mut peer = opened(&world, rules);
        peer.send(result(from, to, "abc"));
        assert_eq!(peer.said(), refusal("result", to, from, "", &error), "{from} {to}");
        assert!(peer.shell.claims.is_empty());
        assert_eq!(peer.next, Next::Read);
        // It does not count as an answer.
        peer.tell(Event::Verified(Ok(true)));
        assert_eq!(peer.said(), "");
        peer.send(message("romeo@remote.example/a", "juliet@example.org", "a"));
        peer.expect_end(&super::super::world::error("not-authorized"));
    };
    // Row 22 of the attacks: where it is not allowed there is no way around.
    check(HERE, THEIRS, OURS, StanzaError::not_authorized());
    check(
        with_dialback(),
        THEIRS,
        "elsewhere.example",
        StanzaError::item_not_found(),
    );
    check(with_dialback(), "second.example", OURS, StanzaError::not_authorized());
    check(with_dialback(), "refused.example", OURS, StanzaError::not_authorized());
    let (world, _) = world();
    for said in [
        "<db:result to='example.org'>a</db:result>",
        "<db:verify from='a b' to='example.org' id='x'>a</db:verify>",
    ] {
        let mut peer = opened(&world, with_dialback());
        peer.send(said);
        peer.expect_end(&super::super::world::error("improper-addressing"));
    }
}

/// One stream, one pair.
#[test]
fn no_second_pair() {
    let (world, _) = world();
    let full = StanzaError::resource_constraint();
    let others = [(THEIRS, "second.example"), ("other.example", OURS)];
    let mut peer = opened(&world, with_dialback());
    peer.send(result(THEIRS, OURS, "abc"));
    for (from, to) in others {
        peer.send(result(from, to, "abc"));
        assert_eq!(peer.said(), refusal("result", to, from, "", &full));
    }
    assert_eq!(peer.shell.claims.len(), 1);
    peer.tell(Event::Verified(Ok(true)));
    peer.said();
    for stanza in ["", &message("romeo@remote.example/a", "juliet@example.org", "a")] {
        peer.send(stanza);
        // What is proved is proved.
        peer.send(result(THEIRS, OURS, "another"));
        assert_eq!(peer.said(), verdict("result", OURS, THEIRS, " type='valid'"));
        for (from, to) in others {
            peer.send(result(from, to, "abc"));
            assert_eq!(peer.said(), refusal("result", to, from, "", &full));
        }
    }
    // By certificate as well, before and behind the first stanza; and EXTERNAL is no way out of a key that is asked about.
    let mut peer = authenticated(&world, "");
    for stanza in ["", &message("romeo@remote.example/a", "juliet@example.org", "b")] {
        peer.send(stanza);
        peer.send(result("other.example", OURS, "abc"));
        assert_eq!(peer.said(), refusal("result", OURS, "other.example", "", &full));
        peer.send(result(THEIRS, "elsewhere.example", "abc"));
        let nobody = StanzaError::item_not_found();
        assert_eq!(peer.said(), refusal("result", "elsewhere.example", THEIRS, "", &nobody));
    }
    let mut peer = opened(&world, with_dialback());
    peer.send(result("other.example", OURS, "abc") + &auth("="));
    peer.expect_end(&super::super::world::error("policy-violation"));
}

/// Row 20 of the attacks: answers that nobody has asked for, on streams before and behind the login, in all spellings.
#[test]
fn unsolicited_answers() {
    let (world, _) = world();
    let make: [fn(&World) -> Peer; 3] = [
        |world| opened(world, with_dialback()),
        |world| {
            let mut peer = opened(world, with_dialback());
            peer.send(result(THEIRS, OURS, "abc"));
            peer
        },
        |world| authenticated(world, BIDI),
    ];
    for (at, make) in make.into_iter().enumerate() {
        for name in ["result", "verify"] {
            for (from, to) in [
                (THEIRS, OURS),
                ("other.example", OURS),
                (OURS, THEIRS),
                (THEIRS, "second.example"),
            ] {
                for id in ["".to_owned(), format!(" id='{}'", random_text(1)), " id='x'".to_owned()] {
                    for type_ in ["valid", "invalid", "error", "VALID", ""] {
                        let mut peer = make(&world);
                        peer.send(verdict(name, from, to, &format!("{id} type='{type_}'")));
                        assert_eq!((peer.said().as_str(), peer.next), ("", Next::Read));
                        peer.send(message(&format!("a@{from}"), "juliet@example.org", "a"));
                        let said = peer.said();
                        let is_proved = at == 2 && from == THEIRS;
                        assert_eq!(
                            said.is_empty(),
                            is_proved,
                            "{at} {name} {from} {to} {id} {type_}: {said}"
                        );
                    }
                }
            }
        }
    }
    let mut peer = opened(&world, with_dialback());
    peer.send("<db:result type='valid'/><db:verify type='valid' from='a b' to='c'/>");
    assert_eq!((peer.said().as_str(), peer.next), ("", Next::Read));
}

/// We are the authoritative server: no login is needed, whatever dialback is worth here.
#[test]
fn keys_are_verified() {
    let secret = [9; 32];
    let good = ::auth::dialback_key(&secret, THEIRS, OURS, "x");
    let verify =
        |to: &str, id: &str, key: &str| format!("<db:verify from='{THEIRS}' to='{to}' id='{id}'>{key}</db:verify>");
    let cases = [
        (verify(OURS, "x", &good), " id='x' type='valid'"),
        (verify(OURS, "x", &format!("\n {good} ")), " id='x' type='valid'"),
        (verify(OURS, "y", &good), " id='y' type='invalid'"),
        (verify(OURS, "x", ""), " id='x' type='invalid'"),
        (verify(OURS, "x", &good[..63]), " id='x' type='invalid'"),
        (
            verify(OURS, "x", &::auth::dialback_key(&[8; 32], THEIRS, OURS, "x")),
            " id='x' type='invalid'",
        ),
        (
            verify(OURS, "x", &::auth::dialback_key(&secret, OURS, THEIRS, "x")),
            " id='x' type='invalid'",
        ),
    ];
    let (world, _) = world();
    let streams: [fn(&World) -> Peer; 4] = [
        |world| opened(world, HERE),
        |world| {
            let mut peer = connect(world, HERE, true);
            peer.send(open("", OURS));
            peer.said();
            peer
        },
        |world| authenticated(world, ""),
        |world| {
            let mut peer = authenticated(world, "");
            peer.send(format!("<r xmlns='{NS_SM}'/>"));
            peer.said();
            peer
        },
    ];
    for make in streams {
        let mut peer = make(&world);
        for (said, expected) in &cases {
            peer.send(said);
            assert_eq!(peer.said(), verdict("verify", OURS, THEIRS, expected), "{said}");
        }
        let nobody = StanzaError::item_not_found();
        peer.send(verify("elsewhere.example", "x", &good));
        let expected = refusal("verify", "elsewhere.example", THEIRS, " id='x'", &nobody);
        assert_eq!(peer.said(), expected);
    }
    // Whatever the prefix is, and whoever declares it.
    let mut peer = connect(&world, HERE, true);
    peer.send(opening().replace("xmlns:db", "xmlns:dialback"));
    peer.said();
    for said in [
        verify(OURS, "x", &good).replace("db:", "dialback:"),
        format!("<verify xmlns='{NS_DIALBACK}' from='{THEIRS}' to='{OURS}' id='x'>{good}</verify>"),
        format!("<a:verify xmlns:a='{NS_DIALBACK}' from='{THEIRS}' to='{OURS}' id='x'>{good}</a:verify>"),
    ] {
        peer.send(said);
        assert_eq!(peer.said(), verdict("verify", OURS, THEIRS, " id='x' type='valid'"));
    }
    // Not for ever.
    let mut peer = opened(&world, HERE);
    peer.send(verify(OURS, "x", "").repeat(40));
    let said = peer.said();
    assert_eq!(said.matches("type='invalid'").count(), 32);
    assert!(said.ends_with(&error_text("policy-violation", "too much dialback on one stream")));
}
