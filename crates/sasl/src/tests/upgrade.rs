//! XEP-0480: tasks, and what PLAIN does by the way.

use super::*;
use crate::{Hash, MIN_TASK_ITERATIONS, Upgrade, Verifier, outdated, upgrade_tasks};

fn only(hash: Hash) -> Credentials {
    let mut one = Credentials::default();
    one.set(hash, credentials().get(hash).unwrap().clone());
    one
}

fn usual() -> Offer {
    Offer::new(true, &binding(), &Policy::default())
}

#[test]
fn which_tasks_there_are() {
    let tasks: Vec<_> = upgrade_tasks(&usual()).into_iter().map(Hash::task).collect();
    assert_eq!(tasks, [Some("UPGR-SCRAM-SHA-256"), Some("UPGR-SCRAM-SHA-512")]);
    let retired = Policy {
        hashes: vec![Hash::Sha1, Hash::Sha512],
        ..Policy::default()
    };
    assert_eq!(upgrade_tasks(&Offer::new(true, &binding(), &retired)), [Hash::Sha512]);
    for (name, expected) in [
        ("UPGR-SCRAM-SHA-256", Some(Hash::Sha256)),
        ("UPGR-SCRAM-SHA-512", Some(Hash::Sha512)),
        ("UPGR-SCRAM-SHA-256-PLUS", None),
        ("UPGR-SCRAM-SHA-1", None),
        ("SCRAM-SHA-256", None),
        ("upgr-scram-sha-256", None),
        ("", None),
    ] {
        assert_eq!(Hash::of_task(name), expected, "{name:?}");
    }
}

#[test]
fn what_an_account_lacks() {
    let check = |credentials: &Credentials, iterations: u32, expected: &[Hash]| {
        assert_eq!(outdated(credentials, iterations, &usual()), expected);
    };
    check(&credentials(), ITERATIONS, &[]);
    check(&credentials(), ITERATIONS - 1, &[]);
    check(&credentials(), ITERATIONS + 1, &Hash::ALL);
    check(&only(Hash::Sha1), ITERATIONS, &[Hash::Sha256, Hash::Sha512]);
    check(&only(Hash::Sha256), ITERATIONS, &[Hash::Sha1, Hash::Sha512]);
    let modern = Policy {
        hashes: vec![Hash::Sha256, Hash::Sha512],
        ..Policy::default()
    };
    let offer = Offer::new(true, &binding(), &modern);
    assert_eq!(outdated(&only(Hash::Sha512), ITERATIONS, &offer), [Hash::Sha256]);
}

/// A client that follows the task has an account that it can log in to with the new hash.
#[test]
fn a_task_gives_the_verifier_of_the_same_password() {
    for hash in [Hash::Sha256, Hash::Sha512] {
        let task = Upgrade::new(hash, [9; 16], 1);
        assert_eq!((task.hash(), task.iterations()), (hash, MIN_TASK_ITERATIONS));
        assert_eq!(task.salt(), "CQkJCQkJCQkJCQkJCQkJCQ==");
        let salted = hash.salted(PASSWORD, &[9; 16], MIN_TASK_ITERATIONS);
        let verifier = task.finish(&crate::encode(&salted)).unwrap();
        assert_eq!(
            verifier,
            Verifier::derive(hash, PASSWORD, MIN_TASK_ITERATIONS, &[9; 16])
        );
        assert_eq!(Verifier::decode(hash, &verifier.encode()), Some(verifier.clone()));
        let mut upgraded = only(Hash::Sha1);
        upgraded.set(hash, verifier);
        assert!(!outdated(&upgraded, ITERATIONS, &usual()).contains(&hash));
    }
    assert_eq!(Upgrade::new(Hash::Sha256, [0; 16], 10_000).iterations(), 10_000);
}

#[test]
fn answers_that_are_none() {
    let task = Upgrade::new(Hash::Sha256, [9; 16], 4096);
    let check = |text: &str, expected: Failure| assert_eq!(task.finish(text), Err(expected), "{text:?}");
    check("", Failure::MalformedRequest);
    check(&crate::encode(&[1; 31]), Failure::MalformedRequest);
    check(&crate::encode(&[1; 33]), Failure::MalformedRequest);
    check(&crate::encode(&[1; 64]), Failure::MalformedRequest);
    check("=", Failure::IncorrectEncoding);
    check("AA", Failure::IncorrectEncoding);
    check(&format!(" {}", crate::encode(&[1; 32])), Failure::IncorrectEncoding);
    check(&"_".repeat(44), Failure::IncorrectEncoding);
    // The example of the XEP has the right form.
    assert!(task.finish("BzOnw3Pc5H4bOLlPZ/8JAy6wnTpH05aH21KW2+Xfpaw=").is_ok());
}

fn renewed(account: Lookup, password: &str, context: Context) -> Option<Credentials> {
    let mut exchange = Exchange::begin("PLAIN", context).unwrap();
    exchange.respond(Some(format!("\0juliet\0{password}").as_bytes()));
    match exchange.supply(account) {
        Step::Check(check) => check.run_and_renew([[4; 16], [5; 16], [6; 16]]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_plain_login_brings_what_is_missing() {
    let check = |had: Credentials, expected: [bool; 3]| {
        let new = renewed(Lookup::Found(had.clone()), PASSWORD, context()).unwrap();
        assert_eq!(Hash::ALL.map(|hash| new.get(hash).is_some()), expected);
        let mut after = had.clone();
        after.update(new.clone());
        for (hash, salt) in Hash::ALL.into_iter().zip([4, 5, 6]) {
            let fresh = Verifier::derive(hash, PASSWORD, ITERATIONS, &[salt; 16]);
            let expected = new.get(hash).map_or_else(|| had.get(hash).cloned(), |_| Some(fresh));
            assert_eq!(after.get(hash).cloned(), expected, "{hash:?}");
        }
    };
    check(credentials(), [false; 3]);
    check(only(Hash::Sha1), [false, true, true]);
    check(only(Hash::Sha256), [true, false, true]);
    let weak = Credentials::derive(PASSWORD, 1, [[1; 16]; 3]).unwrap();
    check(weak, [true; 3]);

    let retired = Policy {
        hashes: vec![Hash::Sha512],
        ..Policy::default()
    };
    let context = Context {
        offer: Offer::new(true, &binding(), &retired),
        ..context()
    };
    let new = renewed(Lookup::Found(only(Hash::Sha1)), PASSWORD, context).unwrap();
    assert_eq!(Hash::ALL.map(|hash| new.get(hash).is_some()), [false, false, true]);
}

#[test]
fn a_wrong_password_brings_nothing() {
    for (account, password, expected) in [
        (Lookup::Found(only(Hash::Sha1)), "guess", None),
        (Lookup::Missing, PASSWORD, None),
        (Lookup::Disabled(only(Hash::Sha1)), "guess", None),
        (
            Lookup::Disabled(only(Hash::Sha1)),
            PASSWORD,
            Some(Credentials::default()),
        ),
    ] {
        assert_eq!(renewed(account, password, context()), expected);
    }
}
