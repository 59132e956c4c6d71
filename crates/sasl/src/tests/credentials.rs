//! Deriving, writing and reading credentials.

use super::*;
use crate::{Hash, MAX_ITERATIONS, MAX_PASSWORD, PasswordError, Verifier};

fn derive(password: &str) -> Result<Credentials, PasswordError> {
    Credentials::derive(password, 2, [[1; 16], [2; 16], [3; 16]])
}

#[test]
fn derived() {
    let credentials = credentials();
    for (hash, salt) in Hash::ALL.into_iter().zip([1, 2, 3]) {
        let verifier = credentials.get(hash).unwrap();
        assert_eq!(verifier.salt, [salt; 16]);
        assert_eq!(verifier.iterations, ITERATIONS);
        assert_eq!(verifier.stored_key.len(), hash.length());
        assert_eq!(verifier.server_key.len(), hash.length());
        assert_eq!(hash.digest(b"").len(), hash.length());
        assert!(verifier.matches(hash, PASSWORD));
        assert!(!verifier.matches(hash, "guess"));
    }
}

#[test]
fn passwords() {
    let same = |one: &str, other: &str| derive(one).unwrap() == derive(other).unwrap();
    assert!(same("\u{2168}", "IX"));
    assert!(same("I\u{ad}X", "IX"));
    assert!(same("e\u{301}", "\u{e9}"));
    assert!(same("\u{bd}", "1\u{2044}2"));
    assert!(!same("IX", "ix"));
    assert!(!same("IX", "IX "));

    assert!(derive(&"x".repeat(MAX_PASSWORD)).is_ok());
    assert_eq!(derive(&"x".repeat(MAX_PASSWORD + 1)), Err(PasswordError::TooLong));
    assert_eq!(derive(""), Err(PasswordError::Empty));
    assert_eq!(derive("\u{ad}"), Err(PasswordError::Empty));
    for password in ["a\u{7}", "a\nb", "\u{e000}", "\u{1f4f1}", "\u{627}1"] {
        assert_eq!(derive(password), Err(PasswordError::Forbidden), "{password:?}");
    }
    for iterations in [0, MAX_ITERATIONS + 1] {
        assert_eq!(
            Credentials::derive("x", iterations, [[0; 16]; 3]),
            Err(PasswordError::Iterations)
        );
    }
}

#[test]
fn written_and_read() {
    let full = credentials();
    let cases = [
        full.clone(),
        Credentials {
            sha1: None,
            ..full.clone()
        },
        Credentials {
            sha256: None,
            ..full.clone()
        },
        Credentials {
            sha1: None,
            sha256: None,
            ..full.clone()
        },
        Credentials::default(),
    ];
    for credentials in cases {
        let text = credentials.encode();
        assert!(
            text.starts_with('1') && text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' '),
            "{text}"
        );
        assert!(text.len() <= 480, "{}", text.len());
        assert_eq!(Credentials::decode(&text), Some(credentials));
    }
    let verifier = full.sha256.unwrap();
    let text = verifier.encode();
    assert!(text.starts_with("50:AgICAgICAgICAgICAgICAg==:"), "{text}");
    assert_eq!(Verifier::decode(Hash::Sha256, &text), Some(verifier));
    assert_eq!(Verifier::decode(Hash::Sha1, &text), None);
    assert_eq!(Verifier::decode(Hash::Sha512, &text), None);
}

#[test]
fn damaged() {
    let text = credentials().encode();
    let cases = [
        String::new(),
        "2".to_owned(),
        " 1".to_owned(),
        "1 ".to_owned(),
        "1  ".to_owned(),
        text.replacen('1', "2", 1),
        text.replacen('1', "", 1),
        text.replace("SHA-256", "SHA-1"),
        text.replace("SHA-256", "SHA-512"),
        text.replace("SHA-256", "SHA-3"),
        text.replace("SHA-256=", "SHA-256"),
        text.replace("50:", "0:"),
        text.replace("50:", "-1:"),
        text.replace("50:", ":"),
        text.replace("50:", &format!("{}:", MAX_ITERATIONS + 1)),
        text.replace("50:", "99999999999:"),
        text.replace("AQEBAQEBAQEBAQEBAQEBAQ==", ""),
        text.replace("AQEBAQEBAQEBAQEBAQEBAQ==", "AQ"),
        text.replace("AQEBAQEBAQEBAQEBAQEBAQ==", "*"),
        format!("{text}:"),
        format!("{text} "),
        text[..text.len() - 4].to_owned(),
        text[..text.len() - 40].to_owned(),
    ];
    for (index, case) in cases.iter().enumerate() {
        assert_eq!(Credentials::decode(case), None, "case {index}: {case}");
    }
}
