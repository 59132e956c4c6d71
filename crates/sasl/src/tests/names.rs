//! Names: mechanisms, failures, base 64, and whose account an authorization identity is.

use super::client::Client;
use super::*;
use crate::{decode, encode, offered};

#[test]
fn mechanisms_offered() {
    let names = |tls, binding: &Binding| {
        offered(tls, binding)
            .into_iter()
            .map(Mechanism::name)
            .collect::<Vec<_>>()
    };
    let plus = ["SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"];
    let bare = ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"];
    let none = Binding::default();
    let end_point = Binding {
        exporter: None,
        ..context().binding
    };
    let exporter = Binding {
        server_end_point: None,
        ..context().binding
    };
    for binding in [&end_point, &exporter, &context().binding] {
        assert_eq!(names(true, binding), [&plus[..], &bare, &["PLAIN"]].concat());
        assert_eq!(names(false, binding), bare);
    }
    assert_eq!(names(true, &none), [&bare[..], &["PLAIN"]].concat());
    assert_eq!(names(false, &none), bare);

    assert_eq!(context().binding.types(), ["tls-exporter", "tls-server-end-point"]);
    assert_eq!(end_point.types(), ["tls-server-end-point"]);
    assert_eq!(exporter.types(), ["tls-exporter"]);
    assert!(none.types().is_empty());
}

#[test]
fn mechanisms_begun() {
    let begin = |name: &str, context: Context| match Exchange::begin(name, context) {
        Ok(exchange) => exchange.mechanism().name(),
        Err(failure) => failure.name(),
    };
    let clear = Context {
        tls: false,
        ..context()
    };
    for mechanism in PASSWORDS {
        let name = mechanism.name();
        assert_eq!(Mechanism::from_name(name), Some(mechanism));
        assert_eq!(begin(name, context()), name);
        assert_eq!(begin(&name.to_lowercase(), context()), "invalid-mechanism");
        let in_the_clear = match mechanism {
            Mechanism::Plain => "encryption-required",
            _ if mechanism.is_plus() => "invalid-mechanism",
            _ => name,
        };
        assert_eq!(begin(name, clear.clone()), in_the_clear);
        let expected = if mechanism.is_plus() { "invalid-mechanism" } else { name };
        assert_eq!(begin(name, unbound()), expected);
    }
    for name in [
        "",
        "CRAM-MD5",
        "EXTERNAL",
        "ANONYMOUS",
        "OAUTHBEARER",
        "HT-SHA-256-EXPR",
        "HT-SHA-256-ENDP",
        "HT-SHA-256-NONE",
        "SCRAM-SHA-1-PLUS-PLUS",
        " PLAIN",
        "SCRAM-MD5",
    ] {
        assert_eq!(begin(name, context()), "invalid-mechanism", "{name:?}");
        assert_eq!(begin(name, clear.clone()), "invalid-mechanism", "{name:?}");
    }
    for nonce in [
        "",
        "short",
        "a,comma-in-the-nonce",
        "a blank in the nonce",
        "nicht-ASCII-\u{e4}\u{f6}\u{fc}",
    ] {
        let context = Context {
            nonce: nonce.to_owned(),
            ..context()
        };
        assert_eq!(begin("SCRAM-SHA-1", context), "temporary-auth-failure", "{nonce:?}");
    }
}

#[test]
fn failures_written() {
    for failure in Failure::ALL {
        let mut out = Vec::new();
        failure.write(&mut out);
        let expected = format!("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><{failure}/></failure>");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
    // RFC 6120 section 6.5.1 to 6.5.11.
    let names = Failure::ALL.map(Failure::name).join(" ");
    assert_eq!(
        names,
        "aborted account-disabled credentials-expired encryption-required incorrect-encoding invalid-authzid \
         invalid-mechanism malformed-request mechanism-too-weak not-authorized temporary-auth-failure"
    );
}

#[test]
fn base_64() {
    let read = |text: &str| decode(text).map(|data| data.map(|bytes| String::from_utf8(bytes).unwrap()));
    assert_eq!(read(""), Ok(None));
    assert_eq!(read("="), Ok(Some(String::new())));
    assert_eq!(read("biws"), Ok(Some("n,,".to_owned())));
    assert_eq!(read("YQ=="), Ok(Some("a".to_owned())));
    assert_eq!(read("YWI="), Ok(Some("ab".to_owned())));
    // Padding wrong, missing or not zero, other characters, URL alphabet, whitespace, several values.
    for text in [
        "==", "===", "====", "YQ", "YQ=", "YQ===", "YR==", "YWJ=", "Y", "bi ws", " biws", "biws ", "biws\n", "b-_s",
        "bi*s", "YQ==YQ==", "biws=", "=biws", "bi\u{e9}", "\0",
    ] {
        assert_eq!(read(text), Err(Failure::IncorrectEncoding), "{text:?}");
    }
    assert_eq!(encode(b""), "=");
    assert_eq!(encode(b"n,,"), "biws");
    assert_eq!(encode(b"a"), "YQ==");
}

/// With the right password of `user`; an authzid is a bare JID (RFC 6120 section 6.3.8).
fn check(user: &str, authzid: &str, expected: &str) {
    let expected = expected.replace('*', user);
    let message = format!("{authzid}\0{user}\0{PASSWORD}");
    let (_, step) = play(Mechanism::Plain, context(), Account::Known, |_| {
        message.clone().into_bytes()
    });
    assert_eq!(show(&step), expected, "PLAIN {user:?} {authzid:?}");

    let escaped = |name: &str| name.replace('=', "=3D").replace(',', "=2C");
    for mechanism in [Mechanism::ScramSha1, Mechanism::ScramSha256, Mechanism::ScramSha512] {
        let mut client = Client::new(mechanism, &format!("n,a={},", escaped(authzid)), b"");
        client.user = escaped(user);
        let (_, step) = play(mechanism, context(), Account::Known, |challenge| {
            client.answer(challenge)
        });
        let shown = show(&step);
        let outcome = shown.split(" v=").next().unwrap();
        assert_eq!(outcome, expected, "{} {user:?} {authzid:?}", mechanism.name());
    }
}

#[test]
fn authorization_identities() {
    check("juliet", "juliet@example.org", "success *");
    check("Juliet", "juliet@example.org", "success *");
    check("juliet", "JULIET@EXAMPLE.ORG", "success *");
    check("STRASSE", "stra\u{df}e@example.org", "success *");
    check("a=b,c", "a=b,c@example.org", "success *");
    for authzid in [
        "romeo@example.org",
        "juliet@example.net",
        "juliet@example.org.",
        "juliet@",
        "@example.org",
        "juliet",
        "example.org",
        "juliet@example.org/balcony",
        "juliet@x@example.org",
        "juliet@example.org@example.org",
        " juliet@example.org",
        "admin@example.org",
        "xmpp:juliet@example.org",
    ] {
        check("juliet", authzid, "invalid-authzid");
    }
}

/// Without the password an authorization identity tells nothing about accounts, not even about one's own.
#[test]
fn the_password_comes_before_the_authorization_identity() {
    for (account, expected) in [
        (Account::Known, "not-authorized"),
        (Account::Missing, "not-authorized"),
        (Account::Disabled, "not-authorized"),
    ] {
        let (_, step) = play(Mechanism::Plain, context(), account, |_| {
            b"a@example.org\0juliet\0guess".to_vec()
        });
        assert_eq!(show(&step), expected, "{account:?}");
    }
    let right = format!("romeo@example.org\0juliet\0{PASSWORD}");
    let (_, step) = play(Mechanism::Plain, context(), Account::Disabled, |_| {
        right.clone().into_bytes()
    });
    assert_eq!(show(&step), "account-disabled");
}
