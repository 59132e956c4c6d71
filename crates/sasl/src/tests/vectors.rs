//! The examples of the RFCs, octet for octet.

use ::base64::Engine;
use ::base64::engine::general_purpose::STANDARD;

use super::*;
use crate::Verifier;

fn check(mechanism: Mechanism, nonces: [&str; 2], salt: &str, proof: &str, signature: &str) {
    let hash = mechanism.hash().unwrap();
    let verifier = Verifier::derive(hash, "pencil", 4096, &STANDARD.decode(salt).unwrap());
    let mut credentials = Credentials::default();
    match hash {
        crate::Hash::Sha1 => credentials.sha1 = Some(verifier),
        crate::Hash::Sha256 => credentials.sha256 = Some(verifier),
        crate::Hash::Sha512 => credentials.sha512 = Some(verifier),
    }
    let [client, server] = nonces;
    let context = Context {
        nonce: server.to_owned(),
        ..unbound()
    };
    let mut exchange = Exchange::begin(mechanism.name(), context).unwrap();

    let first = format!("n,,n=user,r={client}");
    assert_eq!(show(&exchange.respond(Some(first.as_bytes()))), "lookup user");
    let challenge = format!("challenge r={client}{server},s={salt},i=4096");
    assert_eq!(show(&exchange.supply(Lookup::Found(credentials))), challenge);
    let last = format!("c=biws,r={client}{server},p={proof}");
    assert_eq!(
        show(&exchange.respond(Some(last.as_bytes()))),
        format!("success user v={signature}")
    );
    // The same message again (replay within the exchange).
    assert_eq!(show(&exchange.respond(Some(last.as_bytes()))), "malformed-request");
}

/// RFC 5802 section 5.
#[test]
fn scram_sha_1() {
    check(
        Mechanism::ScramSha1,
        ["fyko+d2lbbFgONRv9qkxdawL", "3rfcNHYJY1ZVvWVs7j"],
        "QSXCR+Q6sek8bf92",
        "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    );
}

const NONCES: [&str; 2] = ["rOprNGfwEbeRWgbNEkqO", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"];
const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

/// RFC 7677 section 3.
#[test]
fn scram_sha_256() {
    check(
        Mechanism::ScramSha256,
        NONCES,
        SALT,
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    );
}

/// No RFC has one: the input of RFC 7677, computed with Python's hashlib and hmac, which reproduce the two above.
#[test]
fn scram_sha_512() {
    check(
        Mechanism::ScramSha512,
        NONCES,
        SALT,
        "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
        "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
    );
}
