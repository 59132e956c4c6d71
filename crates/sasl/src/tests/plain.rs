//! PLAIN: messages, and what a check costs.

use super::*;
use crate::Hash;

fn check(message: &str, account: Account, expected: &str) {
    let (_, step) = play(Mechanism::Plain, context(), account, |_| message.as_bytes().to_vec());
    assert_eq!(show(&step), expected, "{message:?} {account:?}");
}

#[test]
fn messages() {
    let known = |message: &str, expected: &str| check(message, Account::Known, expected);
    known(&format!("\0juliet\0{PASSWORD}"), "success juliet");
    known(&format!("juliet@example.org\0juliet\0{PASSWORD}"), "success juliet");
    known("\0juliet\0guess", "not-authorized");
    // Case and blanks are part of a password.
    known(&format!("\0juliet\0{}", PASSWORD.to_uppercase()), "not-authorized");
    known(&format!("\0juliet\0{PASSWORD} "), "not-authorized");
    // SASLprep maps the no-break space to a space, and to nothing the soft hyphen.
    known("\0juliet\0r0m30\u{a0}myr0m30", "success juliet");
    known("\0juliet\0r0m\u{ad}30 myr0m30", "success juliet");
    // What SASLprep refuses, or leaves nothing of, is no password; so is a long one.
    known("\0juliet\0\u{7}", "not-authorized");
    known("\0juliet\0\u{ad}", "not-authorized");
    known(&format!("\0juliet\0{}", "x".repeat(2000)), "not-authorized");
    for message in [
        "",
        "\0",
        "\0\0",
        "juliet",
        "juliet\0secret",
        "\0juliet",
        "\0juliet\0",
        "\0\0secret",
        "\0juliet\0secret\0",
        "\0juliet\0sec\0ret",
        "\0\0juliet\0secret",
        "n,,n=juliet,r=abc",
    ] {
        known(message, "malformed-request");
    }
    known(
        &format!("\0juliet\0{}", "x".repeat(crate::MAX_MESSAGE)),
        "malformed-request",
    );

    let (_, step) = play(Mechanism::Plain, context(), Account::Known, |_| {
        b"\0juliet\0\xff".to_vec()
    });
    assert_eq!(show(&step), "malformed-request");
}

/// RFC 4616 section 2: 255 octets of each have to be taken.
#[test]
fn long_fields() {
    let [user, password] = ["u", "p"].map(|letter| letter.repeat(255));
    let credentials = Credentials::derive(&password, 1, [[0; 16]; 3]).unwrap();
    let mut exchange = Exchange::begin("PLAIN", context()).unwrap();
    let message = format!("\0{user}\0{password}");
    assert_eq!(
        show(&exchange.respond(Some(message.as_bytes()))),
        format!("lookup {user}")
    );
    let Step::Check(check) = exchange.supply(Lookup::Found(credentials)) else {
        panic!("no check")
    };
    assert_eq!(show(&exchange.checked(check.run())), format!("success {user}"));
}

fn cost(account: Lookup) -> (Hash, u32) {
    let mut exchange = Exchange::begin("PLAIN", context()).unwrap();
    exchange.respond(Some(b"\0juliet\0guess"));
    match exchange.supply(account) {
        Step::Check(check) => check.cost(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_check_costs_the_same() {
    let expected = (Hash::Sha256, ITERATIONS);
    assert_eq!(cost(Account::Known.lookup()), expected);
    assert_eq!(cost(Account::Missing.lookup()), expected);
    assert_eq!(cost(Account::Disabled.lookup()), expected);
    assert_eq!(cost(Lookup::Found(Credentials::default())), expected);
}

/// The shell runs it on another thread.
#[test]
fn a_check_can_move_to_another_thread() {
    let mut exchange = Exchange::begin("PLAIN", context()).unwrap();
    exchange.respond(Some(format!("\0juliet\0{PASSWORD}").as_bytes()));
    let Step::Check(check) = exchange.supply(Account::Known.lookup()) else {
        panic!("no check")
    };
    let mut exchange = std::thread::spawn(move || (check.run(), exchange)).join().unwrap();
    assert_eq!(show(&exchange.1.checked(exchange.0)), "success juliet");
}

#[test]
fn any_hash_will_do() {
    let full = credentials();
    let only = [
        Credentials {
            sha256: None,
            sha512: None,
            ..full.clone()
        },
        Credentials {
            sha1: None,
            sha512: None,
            ..full.clone()
        },
        Credentials {
            sha1: None,
            sha256: None,
            ..full
        },
    ];
    for credentials in only {
        let mut exchange = Exchange::begin("PLAIN", context()).unwrap();
        exchange.respond(Some(format!("\0juliet\0{PASSWORD}").as_bytes()));
        let Step::Check(check) = exchange.supply(Lookup::Found(credentials)) else {
            panic!("no check")
        };
        assert_eq!(show(&exchange.checked(check.run())), "success juliet");
    }
}

/// Nothing that is printed shows the password or the keys.
#[test]
fn debug_output_keeps_secrets() {
    let mut exchange = Exchange::begin("PLAIN", context()).unwrap();
    exchange.respond(Some(format!("\0juliet\0{PASSWORD}").as_bytes()));
    let before = format!("{exchange:?}");
    let step = exchange.supply(Account::Known.lookup());
    let shown = format!("{before}{step:?}{:?}{:?}", context(), credentials());
    assert!(!shown.contains(PASSWORD) && !shown.contains('['), "{shown}");
}
