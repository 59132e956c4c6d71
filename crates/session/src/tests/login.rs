//! SASL (RFC 6120 section 6; rows 18 to 24 of the faults).

use auth::Sha512;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sasl::client::Mechanism as _;
use sasl::client::mechanisms::Scram;
use sasl::common::scram::{ScramProvider, Sha1, Sha256};
use sasl::common::{ChannelBinding, Credentials};

use super::world::*;
use crate::{Next, TlsPolicy};

fn success() -> String {
    format!("<success xmlns='{NS_SASL}'/>")
}

fn response(data: &[u8]) -> String {
    format!("<response xmlns='{NS_SASL}'>{}</response>", STANDARD.encode(data))
}

/// The data of the element that was said.
fn data(said: &str, name: &str) -> Vec<u8> {
    let start = format!("<{name} xmlns='{NS_SASL}'>");
    let text = said
        .strip_prefix(&start)
        .and_then(|rest| rest.strip_suffix(&format!("</{name}>")))
        .unwrap_or_else(|| panic!("{name} expected: {said}"));
    STANDARD.decode(text).expect("base 64")
}

fn scram<S: ScramProvider>(mechanism: &str, binding: ChannelBinding) {
    let mut peer = World::new().opened();
    let credentials = Credentials::default()
        .with_username("juliet")
        .with_password("secret")
        .with_channel_binding(binding);
    let mut client = Scram::<S>::from_credentials(credentials).expect("usable");
    let first = client.initial();
    peer.send(auth_element(mechanism, &first));
    let challenge = data(&peer.said(), "challenge");
    let last = client.response(&challenge).expect("a challenge");
    peer.send(response(&last));
    let end = data(&peer.said(), "success");
    client.success(&end).expect("the server knows the password too");
    peer.send(OPEN);
    assert_eq!(peer.said(), header(3, "") + BIND_FEATURES, "{mechanism}");
    assert_eq!(peer.shell.looked_up, ["juliet@example.org"], "{mechanism}");
    assert!(peer.shell.failed.is_empty());
}

#[test]
fn every_scram() {
    scram::<Sha1>("SCRAM-SHA-1", ChannelBinding::None);
    scram::<Sha256>("SCRAM-SHA-256", ChannelBinding::None);
    scram::<Sha512>("SCRAM-SHA-512", ChannelBinding::None);
    let exporter = || ChannelBinding::TlsExporter(vec![7; 32]);
    scram::<Sha1>("SCRAM-SHA-1-PLUS", exporter());
    scram::<Sha256>("SCRAM-SHA-256-PLUS", exporter());
    scram::<Sha512>("SCRAM-SHA-512-PLUS", exporter());
}

/// What is sent on an opened stream under TLS, and all that comes back; the stream goes on.
fn check(input: &str, answer: &str) {
    let world = World::new();
    however_cut(
        || world.opened(),
        input.as_bytes(),
        |cut, mut peer| {
            assert_eq!(peer.said(), answer, "{input} {cut}");
            assert_eq!(peer.next, Next::Read, "{input} {cut}");
        },
    );
}

#[test]
fn plain_logs_in() {
    check(&plain("", "juliet", "secret"), &success());
    check(&plain("juliet@example.org", "juliet", "secret"), &success());
    check(&plain("", "JULIET", "secret"), &success());
    // Without an initial response: section 6.3.10.
    let asked = format!("<challenge xmlns='{NS_SASL}'>=</challenge>");
    let answer = response(b"\0juliet\0secret");
    for auth in [
        format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'/>"),
        format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'></auth>"),
    ] {
        check(&auth, &asked);
        check(&format!("{auth}{answer}"), &(asked.clone() + &success()));
    }
    // Section 6.4.2: a second attempt ends the first.
    check(
        &format!("{}{}", auth_element("SCRAM-SHA-1", b"x"), plain("", "juliet", "secret")),
        &(failure("malformed-request") + &success()),
    );
    check(
        &format!(
            "<auth xmlns='{NS_SASL}' mechanism='SCRAM-SHA-1'/>{}",
            plain("", "juliet", "secret")
        ),
        &(asked + &success()),
    );
}

#[test]
fn what_fails() {
    let raw = |mechanism: &str, text: &str| format!("<auth xmlns='{NS_SASL}' mechanism='{mechanism}'>{text}</auth>");
    let fails = |input: &str, condition: &str| check(input, &failure(condition));
    // Row 18.
    fails(&raw("DIGEST-MD5", ""), "invalid-mechanism");
    fails(&raw("plain", ""), "invalid-mechanism");
    fails(&raw("", ""), "invalid-mechanism");
    fails(&format!("<auth xmlns='{NS_SASL}'/>"), "invalid-mechanism");
    // Row 19.
    for text in ["!", "AGp1bGlldABzZWNyZXQ", "=A==", "AGp1 bGll", " ", "AB==\n", "==="] {
        fails(&raw("PLAIN", text), "incorrect-encoding");
    }
    fails(&raw("PLAIN", "="), "malformed-request");
    fails(&auth_element("PLAIN", b"\0juliet"), "malformed-request");
    fails(&auth_element("SCRAM-SHA-1", b"n,,r=x"), "malformed-request");
    fails(&response(b"x"), "malformed-request");
    // Row 20.
    fails(&plain("romeo@example.org", "juliet", "secret"), "invalid-authzid");
    fails(&plain("", "nurse", "secret"), "account-disabled");
    // Row 21.
    fails(&plain("", "juliet", "wrong"), "not-authorized");
    fails(&plain("", "nobody", "secret"), "not-authorized");
    fails(&plain("", "nurse", "wrong"), "not-authorized");
    fails(&plain("", "a b@", "secret"), "not-authorized");
    fails(&plain("", "juliet@example.org", "secret"), "not-authorized");
    // Row 22.
    let abort = format!("<abort xmlns='{NS_SASL}'/>");
    fails(&abort, "aborted");
    // Row 23.
    fails(
        &auth_element("SCRAM-SHA-1", b"y,,n=juliet,r=abcdefgh"),
        "not-authorized",
    );
    // Row 24.
    fails(&plain("", "broken", "secret"), "temporary-auth-failure");
    // After any of them, and after an abort in the middle, a login works.
    check(
        &format!(
            "<auth xmlns='{NS_SASL}' mechanism='PLAIN'/>{abort}{}",
            plain("", "juliet", "secret")
        ),
        &(format!("<challenge xmlns='{NS_SASL}'>=</challenge>") + &failure("aborted") + &success()),
    );
}

#[test]
fn what_is_no_sasl() {
    for (input, expected) in [
        (
            format!("<success xmlns='{NS_SASL}'/>"),
            error("unsupported-stanza-type"),
        ),
        (
            format!("<challenge xmlns='{NS_SASL}'/>"),
            error("unsupported-stanza-type"),
        ),
        (
            "<authenticate xmlns='urn:xmpp:sasl:1'/>".to_owned(),
            error("unsupported-stanza-type"),
        ),
    ] {
        let mut peer = World::new().opened();
        peer.send(input);
        peer.expect_end(&expected);
    }
    // Section 6.3.4: not twice.
    let mut peer = World::new().authenticated("juliet");
    peer.send(plain("", "juliet", "secret"));
    peer.expect_end(&error("policy-violation"));
}

/// Rows 9 and 17 of the attacks.
#[test]
fn never_in_the_clear() {
    for tls in [TlsPolicy::Required, TlsPolicy::Optional, TlsPolicy::Off] {
        let mut peer = World::new().with_tls(tls).connect(false);
        peer.send(OPEN);
        peer.said();
        peer.send(plain("", "juliet", "secret"));
        assert_eq!(peer.said(), failure("encryption-required"), "{tls:?}");
        assert!(peer.shell.looked_up.is_empty());
        peer.send(auth_element("SCRAM-SHA-1", b"n,,n=juliet,r=abcdefgh"));
        let said = peer.said();
        assert_eq!(
            said.starts_with("<challenge "),
            tls != TlsPolicy::Required,
            "{tls:?} {said}"
        );
    }
}

/// Section 6.4.5, and row 22: attempts are counted on the stream, whatever they fail with.
#[test]
fn attempts_are_counted() {
    let text = "too many failed attempts to log in";
    for bad in [
        plain("", "juliet", "wrong"),
        "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>".to_owned(),
    ] {
        let mut peer = World::new().opened();
        peer.send(&bad);
        peer.send(&bad);
        assert_eq!(peer.next, Next::Read);
        let first = peer.said();
        peer.send(&bad);
        let last = peer.said();
        assert_eq!(
            first,
            last.strip_suffix(&error_text("policy-violation", text))
                .expect("the end")
                .repeat(2)
        );
        assert_eq!(peer.next, Next::Close);
        let mut peer = World::new().opened();
        peer.send(format!("{bad}{bad}{}", plain("", "juliet", "secret")));
        assert!(peer.said().ends_with(&success()));
    }
    // Who is told of it: only what guesses at a password.
    let mut peer = World::new().opened();
    peer.send(plain("", "juliet", "wrong"));
    peer.send(format!("<abort xmlns='{NS_SASL}'/>"));
    assert_eq!(peer.shell.failed, [Some("juliet@example.org".to_owned())]);
}

/// The shell refuses: nobody is looked up then.
#[test]
fn throttled() {
    for account in [false, true] {
        let mut peer = World::new().opened();
        peer.shell.refuses = !account;
        peer.shell.refuses_account = account;
        peer.send(plain("", "juliet", "secret"));
        assert_eq!(peer.said(), failure("temporary-auth-failure"));
        assert!(peer.shell.looked_up.is_empty() && peer.shell.failed.is_empty());
    }
}

/// All of it in one go, cut anywhere: nothing is lost, nothing done twice.
#[test]
fn pipelined() {
    let input = [
        OPEN,
        &plain("", "juliet", "wrong"),
        &plain("", "juliet", "secret"),
        OPEN,
        &bind("b", "balcony"),
        "<message to='juliet@example.org/balcony'/> <message to='juliet@example.org/balcony' id='2'/>",
        CLOSE,
        "<message/>",
    ]
    .concat();
    let mechanisms = {
        let mut peer = World::new().connect(true);
        peer.send(OPEN);
        peer.said()
    };
    let own = "juliet@example.org/balcony";
    let expected = [
        mechanisms,
        failure("not-authorized"),
        success(),
        header(4, ""),
        BIND_FEATURES.to_owned(),
        bound("b", own),
    ]
    .concat();
    let messages = format!("<message from='{own}' to='{own}'/><message id='2' from='{own}' to='{own}'/>");
    let world = World::new();
    however_cut(
        || world.connect(true),
        input.as_bytes(),
        |cut, mut peer| {
            let said = peer.said();
            let rest = said.strip_prefix(&expected).unwrap_or_else(|| panic!("{cut}: {said}"));
            assert_eq!(rest, format!("{messages}{CLOSE}"), "{cut}");
            let (bound, clean) = peer.core.take_bound();
            assert!(clean);
            world.router.unbind(NOW, &bound.expect("bound"), clean, &mut peer.turn);
        },
    );
}

/// A stream that has failed does not care for the answer any more.
#[test]
fn answers_that_come_too_late() {
    for answers in 1..=2 {
        let mut peer = World::new().opened();
        peer.is_held = true;
        peer.send(plain("", "juliet", "secret"));
        for _ in 1..answers {
            let event = peer.shell.answers.remove(0);
            peer.tell(event);
        }
        assert_eq!(peer.next, Next::Wait);
        assert_eq!(peer.said(), "");
        // Nothing is read meanwhile.
        peer.send(OPEN);
        assert_eq!((peer.said().as_str(), peer.carried.len()), ("", OPEN.len()));
        peer.time_out();
        assert!(!peer.core.awaits_resource());
        peer.is_held = false;
        peer.run();
        peer.expect_end(&error("connection-timeout"));
    }
}
