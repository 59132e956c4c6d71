//! OAUTHBEARER: messages of RFC 7628, and what the server says.

use super::*;
use crate::Proof;

fn context_with(bearer: BearerHint) -> Context {
    let policy = Policy {
        bearer: Some(bearer.clone()),
        ..Policy::default()
    };
    Context {
        offer: Offer::new(true, &binding(), &policy),
        bearer,
        ..context()
    }
}

fn open(message: &[u8]) -> (Exchange, Step) {
    let mut exchange = Exchange::begin("OAUTHBEARER", context_with(BearerHint::default())).unwrap();
    let step = exchange.respond(Some(message));
    (exchange, step)
}

const TOKEN: &str = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
const INVALID: &str = "challenge {\"status\":\"invalid_token\"}";

/// RFC 7628 section 4.1, as it is in base 64 there.
#[test]
fn the_examples_of_the_rfc() {
    let text = "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyI\
                HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB";
    let message = crate::decode(text).unwrap().unwrap();
    let (_, step) = open(&message);
    let Step::Bearer(bearer) = step else { panic!("{step:?}") };
    assert_eq!(*bearer.token, TOKEN);
    assert_eq!(bearer.authzid.as_deref(), Some("user@example.com"));
    assert_eq!(bearer.host.as_deref(), Some("server.example.com"));
    assert_eq!(bearer.port, Some(143));

    // Section 4.3: the client asks what it needs, and learns it.
    let hint = BearerHint {
        scope: Some("example_scope".to_owned()),
        openid_configuration: Some("https://example.com/.well-known/openid-config".to_owned()),
    };
    let message = b"n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=\x01\x01";
    let mut exchange = Exchange::begin("OAUTHBEARER", context_with(hint)).unwrap();
    assert_eq!(
        show(&exchange.respond(Some(message))),
        "challenge {\"status\":\"invalid_token\",\"scope\":\"example_scope\",\
         \"openid-configuration\":\"https://example.com/.well-known/openid-config\"}"
    );
    assert_eq!(show(&exchange.respond(Some(b"\x01"))), "not-authorized");
    is_over(&mut exchange);
}

#[test]
fn first_messages() {
    let check = |message: &str, expected: &str| {
        let (_, step) = open(message.as_bytes());
        assert_eq!(show(&step), expected, "{message:?}");
    };
    let good = |authzid: &str| format!("bearer abc {authzid}");
    check("n,,\x01auth=Bearer abc\x01\x01", &good("None"));
    check("y,,\x01auth=Bearer abc\x01\x01", &good("None"));
    check(
        "n,a=juliet@example.org,\x01auth=Bearer abc\x01\x01",
        &good("Some(\"juliet@example.org\")"),
    );
    check("n,a=a=2Cb=3Dc,\x01auth=Bearer abc\x01\x01", &good("Some(\"a,b=c\")"));
    // HTTP's name of a scheme has no case; one blank or more.
    check("n,,\x01auth=bearer   abc\x01\x01", &good("None"));
    check("n,,\x01auth=Bearer a-._~+/b=\x01\x01", "bearer a-._~+/b= None");
    // Unknown keys, and values of all that the grammar has.
    check(
        "n,,\x01mthd=POST\x01x=\t\r\n =~\x01auth=Bearer abc\x01\x01",
        &good("None"),
    );
    check("n,,\x01port=65535\x01auth=Bearer abc\x01host=\x01\x01", &good("None"));
    // Nothing that could be a token.
    for auth in [
        "",
        " ",
        "Bearer",
        "Bearer ",
        "Bearer  ",
        "Bearer =",
        "Bearer a=b",
        "Bearer a b",
        "Bearer a,b",
        "Bearer \"abc\"",
        "Basic YTpi",
        "OAuth realm=\"Example\"",
        "Bearerabc",
    ] {
        check(&format!("n,,\x01auth={auth}\x01\x01"), INVALID);
    }
    for message in [
        "",
        "\x01",
        "\x01\x01",
        "n,,",
        "n,,\x01",
        // No `auth`.
        "n,,\x01\x01",
        "n,,\x01host=a\x01\x01",
        "n,,\x01Auth=Bearer abc\x01\x01",
        // Separators missing or too many.
        "n,,auth=Bearer abc\x01\x01",
        "n,,\x01auth=Bearer abc\x01",
        "n,,\x01auth=Bearer abc",
        "n,,\x01\x01auth=Bearer abc\x01\x01",
        "n,,\x01auth=Bearer abc\x01\x01\x01",
        "n,,\x01auth=Bearer abc\x01\x01host=a\x01\x01",
        // Pairs that are none.
        "n,,\x01auth\x01\x01",
        "n,,\x01=x\x01auth=Bearer abc\x01\x01",
        "n,,\x01a1=x\x01auth=Bearer abc\x01\x01",
        "n,,\x01au th=Bearer abc\x01\x01",
        "n,,\x01auth=Bearer \u{e9}\x01\x01",
        "n,,\x01auth=Bearer a\0c\x01\x01",
        "n,,\x01auth=Bearer abc\x01auth=Bearer abc\x01\x01",
        "n,,\x01port=1\x01port=1\x01auth=Bearer abc\x01\x01",
        // Ports.
        "n,,\x01port=0\x01auth=Bearer abc\x01\x01",
        "n,,\x01port=0143\x01auth=Bearer abc\x01\x01",
        "n,,\x01port=65536\x01auth=Bearer abc\x01\x01",
        "n,,\x01port=+1\x01auth=Bearer abc\x01\x01",
        "n,,\x01port=\x01auth=Bearer abc\x01\x01",
        // gs2-header. The third is of the RFC's section 4.4, which has it wrong.
        "p=tls-exporter,,\x01auth=Bearer abc\x01\x01",
        "n,\x01auth=Bearer abc\x01\x01",
        "n,user=someuser@example.com,\x01auth=Bearer abc\x01\x01",
        "n,a=,\x01auth=Bearer abc\x01\x01",
        "n,a=a=b,\x01auth=Bearer abc\x01\x01",
        "x,,\x01auth=Bearer abc\x01\x01",
        "F,n,,\x01auth=Bearer abc\x01\x01",
    ] {
        check(message, "malformed-request");
    }
    let many: String = ('a'..='q').map(|key| format!("{key}=\x01")).collect();
    check(&format!("n,,\x01{many}auth=Bearer abc\x01\x01"), "malformed-request");
    let long = "x".repeat(crate::MAX_MESSAGE);
    check(&format!("n,,\x01auth=Bearer {long}\x01\x01"), "malformed-request");
    assert_eq!(show(&open(b"n,,\x01auth=\xff\x01\x01").1), "malformed-request");
}

#[test]
fn verdicts() {
    let decide = |authzid: &str, verdict: Verdict| {
        let message = format!("n,{authzid},\x01auth=Bearer {TOKEN}\x01\x01");
        let (mut exchange, step) = open(message.as_bytes());
        assert!(matches!(step, Step::Bearer(_)), "{step:?}");
        let step = exchange.decide(verdict);
        (exchange, step)
    };
    let granted = || Verdict::Granted { user: USER.to_owned() };
    for authzid in ["", "a=juliet@example.org", "a=JULIET@example.ORG"] {
        let (mut exchange, step) = decide(authzid, granted());
        let Step::Success { user, data, proof } = step else {
            panic!("{step:?}")
        };
        assert_eq!((user.as_str(), data, proof), (USER, None, Proof::Bearer));
        is_over(&mut exchange);
    }
    for (authzid, verdict, expected) in [
        ("a=romeo@example.org", granted(), "invalid-authzid"),
        ("a=juliet", granted(), "invalid-authzid"),
        ("", Verdict::WrongIdentity, "invalid-authzid"),
        ("", Verdict::Disabled, "account-disabled"),
        ("", Verdict::Unavailable, "temporary-auth-failure"),
    ] {
        let (mut exchange, step) = decide(authzid, verdict);
        assert_eq!(show(&step), expected);
        is_over(&mut exchange);
    }
    // What is wrong with a token is told in JSON, and only then the attempt fails.
    for (verdict, status) in [
        (Verdict::Refused, "invalid_token"),
        (Verdict::Expired, "invalid_token"),
        (Verdict::WrongScope, "insufficient_scope"),
    ] {
        for (answer, expected) in [
            (&b"\x01"[..], "not-authorized"),
            (b"", "malformed-request"),
            (b"\x01\x01", "malformed-request"),
            (b"n,,\x01auth=Bearer abc\x01\x01", "malformed-request"),
        ] {
            let (mut exchange, step) = decide("", verdict.clone());
            assert_eq!(show(&step), format!("challenge {{\"status\":\"{status}\"}}"));
            assert_eq!(show(&exchange.respond(Some(answer))), expected);
            is_over(&mut exchange);
        }
    }
}

#[test]
fn the_hint_is_sound_json() {
    let hint = BearerHint {
        scope: Some("a\"b\\c\n\u{1}\u{e9}".to_owned()),
        openid_configuration: None,
    };
    let json = crate::bearer::error("invalid_token", &hint);
    let expected = "{\"status\":\"invalid_token\",\"scope\":\"a\\\"b\\\\c\\u000a\\u0001\u{e9}\"}";
    assert_eq!(String::from_utf8(json).unwrap(), expected);
}

#[test]
fn debug_output_keeps_the_token() {
    let (exchange, step) = open(format!("n,,\x01auth=Bearer {TOKEN}\x01\x01").as_bytes());
    let shown = format!("{step:?} {exchange:?}");
    assert!(!shown.contains(&TOKEN[..8]), "{shown}");
}
