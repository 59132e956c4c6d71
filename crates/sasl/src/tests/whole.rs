//! Whole exchanges: every mechanism, with the client of the `sasl` crate, against every kind of account.

use sasl::client::Mechanism as SaslClient;
use sasl::client::mechanisms::{Plain, Scram};
use sasl::common::scram::{Sha1, Sha256};
use sasl::common::{ChannelBinding, Credentials as Login};

use super::*;
use crate::Sha512;

fn client(mechanism: Mechanism, user: &str, password: &str) -> Box<dyn SaslClient> {
    let binding = match mechanism.is_plus() {
        true => ChannelBinding::TlsExporter(EXPORTER.to_vec()),
        false => ChannelBinding::None,
    };
    let login = Login::default()
        .with_username(user)
        .with_password(password)
        .with_channel_binding(binding);
    match mechanism {
        Mechanism::Plain => Box::new(Plain::from_credentials(login).unwrap()),
        Mechanism::ScramSha1 | Mechanism::ScramSha1Plus => Box::new(Scram::<Sha1>::from_credentials(login).unwrap()),
        Mechanism::ScramSha256 | Mechanism::ScramSha256Plus => {
            Box::new(Scram::<Sha256>::from_credentials(login).unwrap())
        }
        Mechanism::ScramSha512 | Mechanism::ScramSha512Plus => {
            Box::new(Scram::<Sha512>::from_credentials(login).unwrap())
        }
        other => panic!("{other:?} is not about passwords"),
    }
}

fn run(mechanism: Mechanism, account: Account, password: &str) -> (Vec<String>, Step) {
    let mut client = client(mechanism, USER, password);
    assert_eq!(client.name(), mechanism.name());
    let (seen, last) = play(mechanism, context(), account, |challenge| match challenge {
        None => client.initial(),
        Some(challenge) => client.response(challenge).unwrap(),
    });
    // The client holds the server to its proof too.
    if let Step::Success { data: Some(data), .. } = &last {
        client.success(data).unwrap();
    }
    (seen, last)
}

fn check(account: Account, password: &str, expected: Result<&str, Failure>) {
    for mechanism in PASSWORDS {
        let (_, last) = run(mechanism, account, password);
        match (&last, expected) {
            (Step::Success { user, data, proof }, Ok(name)) => {
                assert_eq!(user, name, "{mechanism:?}");
                assert_eq!(*proof, crate::Proof::Password, "{mechanism:?}");
                assert_eq!(data.is_some(), mechanism != Mechanism::Plain, "{mechanism:?}");
            }
            (Step::Failure(failure), Err(wanted)) => {
                assert_eq!(*failure, wanted, "{mechanism:?} {account:?} {password:?}");
            }
            _ => panic!("{mechanism:?} {account:?} {password:?}: {last:?}, not {expected:?}"),
        }
    }
}

#[test]
fn every_mechanism_against_every_account() {
    check(Account::Known, PASSWORD, Ok(USER));
    check(Account::Known, "r0m30 myr0m31", Err(Failure::NotAuthorized));
    check(Account::Missing, PASSWORD, Err(Failure::NotAuthorized));
    check(Account::Disabled, PASSWORD, Err(Failure::AccountDisabled));
    check(Account::Disabled, "guess", Err(Failure::NotAuthorized));
    check(Account::Down, PASSWORD, Err(Failure::TemporaryAuthFailure));
}

/// The steps of an exchange without what has to differ: the client's nonce, and the salt, of which the length stays.
fn shape(mechanism: Mechanism, account: Account) -> Vec<String> {
    let (seen, last) = run(mechanism, account, "guess");
    let blank = |step: String| -> String {
        step.split(',')
            .map(|field| match field.split_once('=') {
                Some(("challenge r", nonce)) => format!("r {} ", nonce.len()),
                Some(("s", salt)) => format!("s {} ", salt.len()),
                _ => field.to_owned(),
            })
            .collect()
    };
    seen.into_iter().chain([show(&last)]).map(blank).collect()
}

#[test]
fn unknown_users_and_disabled_accounts_look_like_wrong_passwords() {
    for mechanism in PASSWORDS {
        let known = shape(mechanism, Account::Known);
        assert_eq!(known.len(), 3, "{known:?}");
        assert_eq!(shape(mechanism, Account::Missing), known);
        assert_eq!(shape(mechanism, Account::Disabled), known);
    }
}

/// Asks for the challenge of a user.
fn challenge(mechanism: Mechanism, context: Context, user: &str, account: Lookup) -> String {
    let mut exchange = Exchange::begin(mechanism.name(), context).unwrap();
    let first = format!("n,,n={user},r=abc");
    let Step::Lookup { .. } = exchange.respond(Some(first.as_bytes())) else {
        panic!("no look-up")
    };
    show(&exchange.supply(account))
}

#[test]
fn the_stand_in_is_stable_and_cannot_be_told() {
    let ask = |mechanism, user: &str| challenge(mechanism, context(), user, Lookup::Missing);
    let romeo = ask(Mechanism::ScramSha256, "romeo");
    assert_eq!(romeo, ask(Mechanism::ScramSha256, "romeo"));
    // A real account has one salt however its name is written.
    assert_eq!(romeo, ask(Mechanism::ScramSha256, "ROMEO"));
    assert_ne!(romeo, ask(Mechanism::ScramSha256, "nurse"));
    assert_ne!(romeo, ask(Mechanism::ScramSha1, "romeo"));
    let other = Context {
        secret: [8; 32],
        ..context()
    };
    assert_ne!(
        romeo,
        challenge(Mechanism::ScramSha256, other, "romeo", Lookup::Missing)
    );
    let another_nonce = Context {
        nonce: "another-nonce-of-the-server".to_owned(),
        ..context()
    };
    let again = challenge(Mechanism::ScramSha256, another_nonce, "romeo", Lookup::Missing);
    assert_eq!(romeo.split(',').nth(1), again.split(',').nth(1));
    assert!(romeo.ends_with(&format!(",i={ITERATIONS}")), "{romeo}");
}

#[test]
fn an_account_without_the_hash_is_shown_the_stand_in() {
    let only_sha1 = Credentials {
        sha256: None,
        sha512: None,
        ..credentials()
    };
    let stand_in = challenge(Mechanism::ScramSha256, context(), "romeo", Lookup::Missing);
    let shown = challenge(Mechanism::ScramSha256, context(), "romeo", Lookup::Found(only_sha1));
    assert_eq!(shown, stand_in);
}

#[test]
fn the_stand_in_is_never_let_in_even_if_the_check_says_so() {
    let mut exchange = Exchange::begin("PLAIN", context()).unwrap();
    exchange.respond(Some(b"\0romeo\0secret"));
    assert_eq!(show(&exchange.supply(Lookup::Missing)), "check");
    assert_eq!(show(&exchange.checked(true)), "not-authorized");
}

#[test]
fn without_an_initial_response_an_empty_challenge_asks_for_it() {
    for mechanism in PASSWORDS {
        let mut client = client(mechanism, USER, PASSWORD);
        let mut exchange = Exchange::begin(mechanism.name(), context()).unwrap();
        assert_eq!(show(&exchange.respond(None)), "challenge ");
        assert_eq!(
            show(&exchange.respond(Some(&client.initial()))),
            format!("lookup {USER}")
        );

        // Asked for, it has to come.
        let mut exchange = Exchange::begin(mechanism.name(), context()).unwrap();
        exchange.respond(None);
        assert_eq!(show(&exchange.respond(None)), "malformed-request");
    }
}

#[test]
fn calls_out_of_order_end_the_exchange() {
    type Call = fn(&mut Exchange) -> Step;
    let first: Call = |exchange| {
        let plain = exchange.mechanism() == Mechanism::Plain;
        exchange.respond(Some(if plain {
            b"\0juliet\0secret"
        } else {
            b"n,,n=juliet,r=abc"
        }))
    };
    let supply: Call = |exchange| exchange.supply(Account::Known.lookup());
    let checked: Call = |exchange| exchange.checked(true);
    let cases: [(&str, &[Call]); 8] = [
        ("PLAIN", &[supply]),
        ("PLAIN", &[checked]),
        ("PLAIN", &[first, first]),
        ("PLAIN", &[first, checked]),
        ("PLAIN", &[first, supply, first]),
        ("PLAIN", &[first, supply, supply]),
        ("SCRAM-SHA-1", &[first, supply, supply]),
        ("SCRAM-SHA-1", &[first, supply, checked]),
    ];
    for (index, (mechanism, calls)) in cases.into_iter().enumerate() {
        let mut exchange = Exchange::begin(mechanism, context()).unwrap();
        let (last, before) = calls.split_last().unwrap();
        for call in before {
            let step = call(&mut exchange);
            assert!(!matches!(step, Step::Failure(_)), "case {index}: {step:?}");
        }
        assert_eq!(show(&last(&mut exchange)), "malformed-request", "case {index}");
        // And it does not recover.
        assert_eq!(show(&first(&mut exchange)), "malformed-request", "case {index}");
    }
}
