//! What is offered under which policy, and how SCRAM signs it (XEP-0474, XEP-0515).

use super::client::Client;
use super::*;
use crate::{BearerHint, Hash, TokenPolicy};

fn names(mechanisms: &[Mechanism]) -> String {
    mechanisms
        .iter()
        .map(|mechanism| mechanism.name())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Everything is allowed.
fn all() -> Policy {
    Policy {
        external: true,
        bearer: Some(BearerHint::default()),
        anonymous: true,
        tokens: TokenPolicy::Any,
        ..Policy::default()
    }
}

#[test]
fn the_operator_and_the_channel_decide() {
    let check = |tls: bool, binding: &Binding, policy: &Policy, mechanisms: &str, tokens: &str| {
        let offer = Offer::new(tls, binding, policy);
        assert_eq!(names(&offer.mechanisms), mechanisms, "{policy:?}");
        assert_eq!(names(&offer.tokens), tokens, "{policy:?}");
        assert!(offer.mechanisms.iter().all(|mechanism| !mechanism.is_token()));
    };
    let only_sha_256 = Policy {
        hashes: vec![Hash::Sha256],
        plain: false,
        ..all()
    };
    let none = Binding::default();
    let end_point = Binding {
        exporter: None,
        ..binding()
    };
    let wide = "EXTERNAL SCRAM-SHA-512-PLUS SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-512 SCRAM-SHA-256 \
                SCRAM-SHA-1 OAUTHBEARER PLAIN ANONYMOUS";
    check(
        true,
        &binding(),
        &all(),
        wide,
        "HT-SHA-256-EXPR HT-SHA-256-ENDP HT-SHA-256-NONE",
    );
    check(true, &end_point, &all(), wide, "HT-SHA-256-ENDP HT-SHA-256-NONE");
    check(
        true,
        &none,
        &only_sha_256,
        "EXTERNAL SCRAM-SHA-256 OAUTHBEARER ANONYMOUS",
        "HT-SHA-256-NONE",
    );
    check(
        false,
        &binding(),
        &all(),
        "SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 ANONYMOUS",
        "",
    );
    let bound = Policy {
        tokens: TokenPolicy::Bound,
        ..only_sha_256.clone()
    };
    let mechanisms = "EXTERNAL SCRAM-SHA-256-PLUS SCRAM-SHA-256 OAUTHBEARER ANONYMOUS";
    check(true, &binding(), &bound, mechanisms, "HT-SHA-256-EXPR HT-SHA-256-ENDP");
    check(true, &none, &bound, "EXTERNAL SCRAM-SHA-256 OAUTHBEARER ANONYMOUS", "");
    let guests = Policy {
        hashes: Vec::new(),
        plain: false,
        anonymous: true,
        ..Policy::default()
    };
    check(true, &binding(), &guests, "ANONYMOUS", "");
    // Types are announced with -PLUS and not without (XEP-0440 section 3, rules 4 and 5).
    assert!(Offer::new(true, &binding(), &guests).bindings.is_empty());
    assert!(Offer::new(true, &none, &all()).bindings.is_empty());
    assert_eq!(Offer::new(true, &end_point, &all()).bindings, ["tls-server-end-point"]);
    // The default is what there was before there was a policy.
    let usual = Offer::new(true, &binding(), &Policy::default());
    assert_eq!(usual.mechanisms, PASSWORDS);
    assert_eq!(usual.mechanisms, crate::offered(true, &binding()));
    assert_eq!(usual.bindings, ["tls-exporter", "tls-server-end-point"]);
    assert!(Offer::new(false, &binding(), &all()).bindings.is_empty());
}

#[test]
fn only_what_was_offered_is_begun() {
    for offered in [Policy::default(), all()] {
        let context = Context {
            offer: Offer::new(true, &binding(), &offered),
            ..context()
        };
        for mechanism in Mechanism::ALL {
            let begun = Exchange::begin(mechanism.name(), context.clone()).map(|exchange| exchange.mechanism());
            let expected = match PASSWORDS.contains(&mechanism) || offered == all() {
                true => Ok(mechanism),
                false => Err(Failure::InvalidMechanism),
            };
            assert_eq!(begun, expected);
            // Even an offer that says otherwise cannot take what needs TLS out of TLS.
            let clear = Context {
                tls: false,
                ..context.clone()
            };
            let begun = Exchange::begin(mechanism.name(), clear).is_ok();
            let needs_tls = mechanism.is_plus() || mechanism.is_token();
            let free = mechanism.hash().is_some() && !needs_tls;
            assert_eq!(begun, free || (mechanism == Mechanism::Anonymous && offered == all()));
        }
    }
}

/// The challenge of an exchange with SCRAM-SHA-1 in the given offer, for the user and the nonces of the XEPs' examples.
fn challenge(mechanism: &str, first: &str, offer: Offer) -> String {
    use ::base64::Engine;
    let salt = ::base64::engine::general_purpose::STANDARD
        .decode("QSXCR+Q6sek8bf92")
        .unwrap();
    let hash = Mechanism::from_name(mechanism).unwrap().hash().unwrap();
    let mut credentials = Credentials::default();
    credentials.set(hash, crate::Verifier::derive(hash, "pencil", 4096, &salt));
    let context = Context {
        nonce: "a09117a6-ac50-4f2f-93f1-93799c2bddf6".to_owned(),
        offer,
        ..context()
    };
    let mut exchange = Exchange::begin(mechanism, context).unwrap();
    assert_eq!(show(&exchange.respond(Some(first.as_bytes()))), "lookup user");
    let shown = show(&exchange.supply(Lookup::Found(credentials)));
    shown.strip_prefix("challenge ").unwrap().to_owned()
}

/// The offer of the XEPs' examples: SHA-1 alone, two types of binding, and tokens, which are no part of the hash.
fn example() -> Offer {
    let policy = Policy {
        hashes: vec![Hash::Sha1],
        plain: false,
        tokens: TokenPolicy::Any,
        signed: true,
        ..Policy::default()
    };
    let offer = Offer::new(true, &binding(), &policy);
    assert_eq!(names(&offer.mechanisms), "SCRAM-SHA-1-PLUS SCRAM-SHA-1");
    assert_eq!(offer.tokens.len(), 3);
    offer
}

const NONCE_OF_CLIENT: &str = "12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6";
const BEFORE: &str =
    "r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,s=QSXCR+Q6sek8bf92,i=4096";

/// XEP-0474 section 5.3 and XEP-0515 section 4.3, octet for octet: the challenge from the server, the proof from the
/// client of these tests, which so is shown to cover the attributes as the XEPs mean it.
#[test]
fn the_examples_of_the_xeps() {
    let check = |version: Option<u16>, extension: &'static str, attributes: &str, last: &str| {
        let mut client = Client::new(Mechanism::ScramSha1Plus, "p=tls-exporter,,", b"THIS IS FAKE CB DATA");
        client.user = "user".to_owned();
        client.password = "pencil".to_owned();
        client.nonce = NONCE_OF_CLIENT.to_owned();
        client.extensions = ["", extension];
        let first = String::from_utf8(client.answer(None)).unwrap();
        assert_eq!(first, format!("p=tls-exporter,,n=user,r={NONCE_OF_CLIENT}"));
        let offer = Offer {
            tls_version: version,
            ..example()
        };
        let challenge = challenge("SCRAM-SHA-1-PLUS", &first, offer);
        assert_eq!(challenge, format!("{BEFORE}{attributes}"));
        let answer = String::from_utf8(client.answer(Some(challenge.as_bytes()))).unwrap();
        let (_, proof) = answer.rsplit_once(",p=").unwrap();
        assert_eq!(proof, last);
    };
    check(
        None,
        ",x=19C6532F-1CF4-4A27-A18D-DC9CEA41BBB3",
        ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=",
        "M/SIDjT+dfcxUh89jZEypRvFxB4=",
    );
    check(
        Some(0x0304),
        "",
        ",h=G6k/rBLDqgOhRRaCuuatSDFkJ08=,t=0304",
        "KHUfN8dSy1K95crT4D5y1ItLJfs=",
    );
}

#[test]
fn the_hash_covers_what_was_advertised() {
    let of = |change: fn(&mut Offer)| {
        let mut offer = example();
        change(&mut offer);
        challenge("SCRAM-SHA-1", "n,,n=user,r=abc", offer)
    };
    let usual = of(|_| {});
    assert!(usual.ends_with(",h=G6k/rBLDqgOhRRaCuuatSDFkJ08="), "{usual}");
    // Order is nothing, tokens are nothing.
    assert_eq!(of(|offer| offer.mechanisms.reverse()), usual);
    assert_eq!(of(|offer| offer.bindings.reverse()), usual);
    assert_eq!(of(|offer| offer.tokens.clear()), usual);
    // Anything else is.
    let changes: [fn(&mut Offer); 4] = [
        |offer| offer.mechanisms.push(Mechanism::Plain),
        |offer| offer.mechanisms.retain(|mechanism| !mechanism.is_plus()),
        |offer| offer.bindings.truncate(1),
        |offer| offer.bindings.clear(),
    ];
    for change in changes {
        assert_ne!(of(change), usual);
    }
    // Without binding types the second list is not there, nor what parts it from the first: SHA-1 of the one name.
    let bare = of(|offer| {
        offer.bindings.clear();
        offer.mechanisms = vec![Mechanism::ScramSha1];
    });
    assert!(bare.ends_with(",h=LrtFoCs8XsoI+diY4u3rG69UGN8="), "{bare}");
    // Not signed: as RFC 5802 has it.
    let plain = of(|offer| {
        offer.signed = false;
        offer.tls_version = Some(0x0304);
    });
    assert!(plain.ends_with(",i=4096"), "{plain}");
    assert!(of(|offer| offer.tls_version = Some(0x0303)).ends_with(",t=0303"));
}

/// The hash is of the same function as the mechanism, and clients get in through it.
#[test]
fn every_scram_signs() {
    let signed = Policy {
        signed: true,
        tokens: TokenPolicy::Any,
        ..Policy::default()
    };
    let context = Context {
        offer: Offer {
            tls_version: Some(0x0304),
            ..Offer::new(true, &binding(), &signed)
        },
        ..context()
    };
    for mechanism in PASSWORDS.into_iter().filter(|mechanism| mechanism.hash().is_some()) {
        let (header, data) = match mechanism.is_plus() {
            true => ("p=tls-exporter,,", &EXPORTER[..]),
            false => ("n,,", &b""[..]),
        };
        let play_with = |change: &dyn Fn(String) -> String| {
            let mut client = Client::new(mechanism, header, data);
            let (_, step) = play(mechanism, context.clone(), Account::Known, |challenge| {
                let seen = challenge.map(|challenge| change(String::from_utf8(challenge.to_vec()).unwrap()));
                client.answer(seen.as_ref().map(String::as_bytes))
            });
            show(&step).split(' ').next().unwrap().to_owned()
        };
        let digits = mechanism.hash().unwrap().length().div_ceil(3) * 4;
        let checked = |challenge: String| {
            let hash = challenge.split(",h=").nth(1).unwrap().split(',').next().unwrap();
            assert_eq!(hash.len(), digits);
            challenge
        };
        assert_eq!(play_with(&checked), "success");
        // Somebody in the middle puts in other values: the proof does not cover ours.
        assert_eq!(
            play_with(&|challenge| challenge.replace("t=0304", "t=0303")),
            "not-authorized"
        );
        assert_eq!(
            play_with(&|challenge| challenge.split(",h=").next().unwrap().to_owned()),
            "not-authorized"
        );
    }
}
