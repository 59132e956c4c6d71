//! EXTERNAL and ANONYMOUS: what is read, whom a certificate speaks for, and how it ends.

use super::*;
use crate::{Proof, certified};

fn begin(mechanism: Mechanism) -> Exchange {
    let policy = Policy {
        external: true,
        anonymous: true,
        ..Policy::default()
    };
    let context = Context {
        offer: Offer::new(true, &binding(), &policy),
        ..context()
    };
    Exchange::begin(mechanism.name(), context).unwrap()
}

fn first(mechanism: Mechanism, message: &[u8]) -> String {
    show(&begin(mechanism).respond(Some(message)))
}

#[test]
fn messages_of_external() {
    let check = |message: &[u8], expected: &str| assert_eq!(first(Mechanism::External, message), expected);
    check(b"", "certificate None");
    // RFC 4422 appendix A.2.
    check(b"fred@example.com", "certificate Some(\"fred@example.com\")");
    check(b"\0", "malformed-request");
    check(b"fred@example.com\0", "malformed-request");
    check(b"\xff", "malformed-request");
    check(&vec![b'x'; crate::MAX_MESSAGE + 1], "malformed-request");
    // The first example there: an empty challenge, an empty answer.
    let mut exchange = begin(Mechanism::External);
    assert_eq!(show(&exchange.respond(None)), "challenge ");
    assert_eq!(show(&exchange.respond(Some(b""))), "certificate None");
}

#[test]
fn messages_of_anonymous() {
    let check = |message: &[u8], expected: &str| assert_eq!(first(Mechanism::Anonymous, message), expected);
    check(b"", "guest None");
    // XEP-0175 section 4: no initial response, and no challenge either.
    assert_eq!(show(&begin(Mechanism::Anonymous).respond(None)), "guest None");
    check(b"sirhc", "guest Some(\"sirhc\")");
    check(b"a@example.org", "guest Some(\"a@example.org\")");
    check(
        "\u{e9}".repeat(255).as_bytes(),
        &format!("guest {:?}", Some("\u{e9}".repeat(255))),
    );
    check("x".repeat(256).as_bytes(), "malformed-request");
    check(b"line\nbreak", "malformed-request");
    check(b"nul\0", "malformed-request");
    check("\u{85}".as_bytes(), "malformed-request");
    check(b"\xff", "malformed-request");
}

#[test]
fn how_it_ends() {
    let granted = || Verdict::Granted { user: USER.to_owned() };
    let decide = |mechanism: Mechanism, message: &[u8], verdict: Verdict| {
        let mut exchange = begin(mechanism);
        exchange.respond(Some(message));
        let step = exchange.decide(verdict);
        is_over(&mut exchange);
        step
    };
    for (mechanism, expected) in [
        (Mechanism::External, Proof::Certificate),
        (Mechanism::Anonymous, Proof::Nothing),
    ] {
        let step = decide(mechanism, b"", granted());
        let Step::Success { user, data, proof } = step else {
            panic!("{step:?}")
        };
        assert_eq!((user.as_str(), data, proof), (USER, None, expected));
        for (verdict, expected) in [
            (Verdict::Refused, "not-authorized"),
            (Verdict::WrongScope, "not-authorized"),
            (Verdict::WrongIdentity, "invalid-authzid"),
            (Verdict::Expired, "credentials-expired"),
            (Verdict::Disabled, "account-disabled"),
            (Verdict::Unavailable, "temporary-auth-failure"),
        ] {
            assert_eq!(show(&decide(mechanism, b"", verdict)), expected);
        }
    }
    // The trace is no identity; the authorization identity is, whatever was granted.
    let trace = decide(Mechanism::Anonymous, b"romeo@example.org", granted());
    assert_eq!(show(&trace), "success juliet");
    let same = decide(Mechanism::External, b"Juliet@Example.ORG", granted());
    assert_eq!(show(&same), "success juliet");
    let other = decide(Mechanism::External, b"romeo@example.org", granted());
    assert_eq!(show(&other), "invalid-authzid");
}

/// The password of an account that is kept elsewhere.
#[test]
fn a_password_that_somebody_else_judges() {
    let decide = |message: &[u8], verdict: Verdict| {
        let mut exchange = begin(Mechanism::Plain);
        exchange.respond(Some(message));
        let asked = exchange.supply(Lookup::Elsewhere);
        assert!(!format!("{asked:?}").contains("secret"), "{asked:?}");
        assert_eq!(show(&asked), "password secret");
        let step = exchange.decide(verdict);
        is_over(&mut exchange);
        step
    };
    let granted = || Verdict::Granted { user: USER.to_owned() };
    let step = decide(b"\0juliet\0secret", granted());
    assert!(
        matches!(
            &step,
            Step::Success {
                proof: Proof::Password,
                ..
            }
        ),
        "{step:?}"
    );
    assert_eq!(show(&step), "success juliet");
    let other = decide(b"romeo@example.org\0juliet\0secret", granted());
    assert_eq!(show(&other), "invalid-authzid");
    for (verdict, expected) in [
        (Verdict::Refused, "not-authorized"),
        (Verdict::Expired, "credentials-expired"),
        (Verdict::Disabled, "account-disabled"),
        (Verdict::Unavailable, "temporary-auth-failure"),
    ] {
        assert_eq!(show(&decide(b"\0juliet\0secret", verdict)), expected);
    }
    // SCRAM shows no password that could be passed on.
    let mut exchange = begin(Mechanism::ScramSha256);
    exchange.respond(Some(b"n,,n=juliet,r=abcdefghijklmnop"));
    assert_eq!(show(&exchange.supply(Lookup::Elsewhere)), "not-authorized");
    is_over(&mut exchange);
}

/// XEP-0178 section 2, 10 and 11.
#[test]
fn whom_a_certificate_speaks_for() {
    let check = |addresses: &[&str], authzid: Option<&str>, expected: Result<&str, Failure>| {
        let addresses: Vec<String> = addresses.iter().map(|&address| address.to_owned()).collect();
        assert_eq!(
            certified(&addresses, authzid, DOMAIN),
            expected,
            "{addresses:?} {authzid:?}"
        );
    };
    let (juliet, romeo) = ("juliet@example.org", "romeo@example.org");
    check(&[juliet], None, Ok("juliet"));
    check(&[juliet], Some(juliet), Ok("juliet"));
    check(&["Juliet@EXAMPLE.org"], Some(juliet), Ok("Juliet"));
    check(&[juliet, romeo], Some(romeo), Ok("romeo"));
    check(&[juliet, romeo], None, Err(Failure::InvalidAuthzid));
    check(&[juliet], Some(romeo), Err(Failure::InvalidAuthzid));
    check(
        &[juliet],
        Some("juliet@example.org/balcony"),
        Err(Failure::InvalidAuthzid),
    );
    // Of several domains only this one counts; twice is once.
    check(&[juliet, "juliet@example.net"], None, Ok("juliet"));
    check(&[juliet, "JULIET@example.org"], None, Ok("juliet"));
    check(&["juliet@example.net"], None, Err(Failure::NotAuthorized));
    check(
        &["juliet@example.net"],
        Some("juliet@example.net"),
        Err(Failure::NotAuthorized),
    );
    check(&["example.org", "@example.org", ""], None, Err(Failure::NotAuthorized));
    check(&["juliet@example.org/balcony"], None, Err(Failure::NotAuthorized));
    check(&[], None, Err(Failure::NotAuthorized));
    check(&[], Some(juliet), Err(Failure::NotAuthorized));
}
