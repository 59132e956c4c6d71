//! SCRAM messages that break the grammar, the order, or the proof.

use super::client::Client;
use super::*;

const MECHANISMS: [Mechanism; 3] = [Mechanism::ScramSha1, Mechanism::ScramSha256, Mechanism::ScramSha512];

fn first(message: &[u8]) -> String {
    let shown = MECHANISMS.map(|mechanism| {
        let mut exchange = Exchange::begin(mechanism.name(), context()).unwrap();
        show(&exchange.respond(Some(message)))
    });
    assert!(shown.iter().all(|each| *each == shown[0]), "{shown:?}");
    shown[0].clone()
}

#[test]
fn first_messages() {
    let cases: &[(&str, &str)] = &[
        ("n,,n=juliet,r=abc", "lookup juliet"),
        ("n,a=juliet@example.org,n=juliet,r=abc", "lookup juliet"),
        // As sent: neither folded nor prepared.
        ("n,,n=Juliet@Example.org,r=abc", "lookup Juliet@Example.org"),
        ("n,,n=ju liet\u{e9},r=abc", "lookup ju liet\u{e9}"),
        // Escapes.
        ("n,,n=a=2Cb=3Dc,r=abc", "lookup a,b=c"),
        ("n,,n==3D2C,r=abc", "lookup =2C"),
        ("n,,n==2C=2C=3D,r=abc", "lookup ,,="),
        ("n,,n=a=2cb,r=abc", "malformed-request"),
        ("n,,n=a=3db,r=abc", "malformed-request"),
        ("n,,n=a=,r=abc", "malformed-request"),
        ("n,,n=a=2,r=abc", "malformed-request"),
        ("n,,n=a=20b,r=abc", "malformed-request"),
        ("n,,n=a==2C,r=abc", "malformed-request"),
        ("n,a=x=2Cy,n=juliet,r=abc", "lookup juliet"),
        ("n,a=x=y,n=juliet,r=abc", "malformed-request"),
        // gs2-header.
        ("", "malformed-request"),
        (",", "malformed-request"),
        (",,", "malformed-request"),
        ("n", "malformed-request"),
        ("n,", "malformed-request"),
        ("n,,", "malformed-request"),
        ("N,,n=juliet,r=abc", "malformed-request"),
        ("n ,,n=juliet,r=abc", "malformed-request"),
        ("nn,,n=juliet,r=abc", "malformed-request"),
        ("x,,n=juliet,r=abc", "malformed-request"),
        (",,n=juliet,r=abc", "malformed-request"),
        ("F,n,,n=juliet,r=abc", "malformed-request"),
        ("p,,n=juliet,r=abc", "malformed-request"),
        ("p=,,n=juliet,r=abc", "malformed-request"),
        ("p=tls unique,,n=juliet,r=abc", "malformed-request"),
        ("P=tls-exporter,,n=juliet,r=abc", "malformed-request"),
        ("y=,,n=juliet,r=abc", "malformed-request"),
        ("n,a=,n=juliet,r=abc", "malformed-request"),
        ("n,juliet@example.org,n=juliet,r=abc", "malformed-request"),
        ("n,A=juliet@example.org,n=juliet,r=abc", "malformed-request"),
        ("n,n=juliet,r=abc", "malformed-request"),
        ("n=juliet,r=abc", "malformed-request"),
        // Attributes missing, empty, twice, out of order.
        ("n,,n=juliet", "malformed-request"),
        ("n,,r=abc", "malformed-request"),
        ("n,,r=abc,n=juliet", "malformed-request"),
        ("n,,n=,r=abc", "malformed-request"),
        ("n,,n=juliet,r=", "malformed-request"),
        ("n,,n=juliet,,r=abc", "malformed-request"),
        ("n,,n=juliet,r=abc,", "malformed-request"),
        ("n,,n=juliet,r=abc,n=romeo", "malformed-request"),
        ("n,,n=juliet,r=abc,r=abc", "malformed-request"),
        ("n,,n=juliet,n=romeo,r=abc", "malformed-request"),
        ("n,,N=juliet,r=abc", "malformed-request"),
        ("n,, n=juliet,r=abc", "malformed-request"),
        // Nonces are printable ASCII.
        ("n,,n=juliet,r=!~=+/", "lookup juliet"),
        ("n,,n=juliet,r=a b", "malformed-request"),
        ("n,,n=juliet,r=ab\u{7f}", "malformed-request"),
        ("n,,n=juliet,r=\u{e9}", "malformed-request"),
        ("n,,n=juliet,r=abc\n", "malformed-request"),
        // Extensions: mandatory ones fail, unknown ones are passed over.
        ("n,,m=x,n=juliet,r=abc", "malformed-request"),
        ("n,,n=juliet,r=abc,m=x", "malformed-request"),
        ("n,,n=juliet,r=abc,x=1", "lookup juliet"),
        ("n,,n=juliet,r=abc,x=a=b,Y=\u{e9}", "lookup juliet"),
        ("n,,n=juliet,r=abc,x=", "malformed-request"),
        ("n,,n=juliet,r=abc,x", "malformed-request"),
        ("n,,n=juliet,r=abc,xy=1", "malformed-request"),
        ("n,,n=juliet,r=abc,1=1", "malformed-request"),
        ("n,,n=juliet,r=abc,p=1", "malformed-request"),
        // NUL is no character of any value.
        ("n,,n=jul\0iet,r=abc", "malformed-request"),
        ("\0juliet\0secret", "malformed-request"),
    ];
    for (message, expected) in cases {
        assert_eq!(first(message.as_bytes()), *expected, "{message:?}");
    }
    assert_eq!(first(b"n,,n=juli\xff,r=abc"), "malformed-request");
    assert_eq!(first(b"n,,n=\xed\xa0\x80,r=abc"), "malformed-request");
}

#[test]
fn messages_have_a_limit() {
    let first_of = |length: usize| {
        let mut message = b"n,,n=juliet,r=".to_vec();
        message.resize(length, b'x');
        message
    };
    assert_eq!(first(&first_of(crate::MAX_MESSAGE)), "lookup juliet");
    assert_eq!(first(&first_of(crate::MAX_MESSAGE + 1)), "malformed-request");
}

/// Plays an exchange of which `change` rewrites the final message.
fn last(mechanism: Mechanism, account: Account, change: impl Fn(String) -> Vec<u8>) -> String {
    let mut client = Client::new(mechanism, "n,,", b"");
    let (_, step) = play(mechanism, context(), account, |challenge| {
        let message = client.answer(challenge);
        match challenge {
            None => message,
            Some(_) => change(String::from_utf8(message).unwrap()),
        }
    });
    let shown = show(&step);
    shown.split(' ').next().unwrap().to_owned()
}

#[test]
fn final_messages() {
    type Change = fn(String) -> String;
    let cases: &[(Change, &str)] = &[
        (|message| message, "success"),
        (|_| String::new(), "malformed-request"),
        (|_| "c=biws".to_owned(), "malformed-request"),
        (|_| "p=AAAA".to_owned(), "malformed-request"),
        // The nonce: shortened to the client's half, lengthened, altered, gone, empty.
        (|message| message.replace(NONCE, ""), "not-authorized"),
        (|message| message.replace(NONCE, &format!("{NONCE}x")), "not-authorized"),
        (
            |message| message.replace(NONCE, &NONCE.to_uppercase()),
            "not-authorized",
        ),
        (|message| message.replace(",r=", ",r=x"), "not-authorized"),
        (|message| message.replace(",r=", ",x="), "malformed-request"),
        (
            |message| message.replace("fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j", ""),
            "malformed-request",
        ),
        // c=: another flag, nothing, not base 64, not canonical base 64, cut short.
        (|message| message.replace("biws", "eSws"), "not-authorized"),
        (|message| message.replace("biws", "bixhPWIs"), "not-authorized"),
        (|message| message.replace("biws", ""), "malformed-request"),
        (|message| message.replace("biws", "biw"), "malformed-request"),
        (|message| message.replace("biws", "biw="), "not-authorized"),
        (|message| message.replace("biws", "bix="), "malformed-request"),
        (|message| message.replace("biws", "biw*"), "malformed-request"),
        (|message| message.replace("biws", "bi ws"), "malformed-request"),
        (|message| message.replace("c=biws,", ""), "malformed-request"),
        (
            |message| message.replace("c=biws,", "c=biws,c=biws,"),
            "malformed-request",
        ),
        // The proof: nothing, not base 64, of another length, of zeros, not last, twice.
        (
            |message| message.split(",p=").next().unwrap().to_owned(),
            "malformed-request",
        ),
        (
            |message| message.split("p=").next().unwrap().to_owned() + "p=",
            "malformed-request",
        ),
        (
            |message| message.split("p=").next().unwrap().to_owned() + "p=A",
            "malformed-request",
        ),
        (
            |message| message.split("p=").next().unwrap().to_owned() + "p=AAAA",
            "not-authorized",
        ),
        (|message| message + "A", "malformed-request"),
        (|message| message + " ", "malformed-request"),
        (|message| message + ",x=1", "malformed-request"),
        (|message| message + ",", "malformed-request"),
        (|message| message.replace(",p=", ",p=AAAA,p="), "malformed-request"),
        (|message| message.replace(",p=", ",m=1,p="), "malformed-request"),
        (|message| message.replace(",p=", ",x=,p="), "malformed-request"),
        // An extension that the proof does not cover was put in by somebody else.
        (|message| message.replace(",p=", ",x=1,p="), "not-authorized"),
        (|message| message.replace(",p=", ",P="), "malformed-request"),
        (|message| format!("m=1,{message}"), "malformed-request"),
        (|message| message.replace("c=", "\0c="), "malformed-request"),
    ];
    for (index, (change, expected)) in cases.iter().enumerate() {
        for mechanism in MECHANISMS {
            let outcome = last(mechanism, Account::Known, |message| change(message).into_bytes());
            assert_eq!(outcome, *expected, "case {index}, {}", mechanism.name());
            // Who does not exist is never the reason.
            let expected = if *expected == "success" {
                "not-authorized"
            } else {
                expected
            };
            let outcome = last(mechanism, Account::Missing, |message| change(message).into_bytes());
            assert_eq!(outcome, expected, "case {index}, {}, missing", mechanism.name());
        }
    }
    assert_eq!(
        last(Mechanism::ScramSha1, Account::Known, |_| {
            b"c=\xff,r=a,p=AAAA".to_vec()
        }),
        "malformed-request"
    );
    let long = |message: String| {
        let filler = "x".repeat(crate::MAX_MESSAGE);
        message.replace(",p=", &format!(",x={filler},p=")).into_bytes()
    };
    assert_eq!(last(Mechanism::ScramSha1, Account::Known, long), "malformed-request");
}

#[test]
fn extensions_that_the_proof_covers_are_passed_over() {
    for mechanism in MECHANISMS {
        let mut client = Client::new(mechanism, "n,,", b"");
        client.extensions = [",x=1,q=a=b", ",y=2"];
        let (_, step) = play(mechanism, context(), Account::Known, |challenge| {
            client.answer(challenge)
        });
        assert!(matches!(step, Step::Success { .. }), "{step:?}");
    }
}

/// A client that knows the password and proves it over a nonce of its choice: it could replay that later.
#[test]
fn a_nonce_of_the_clients_own_choice_is_refused() {
    for mechanism in MECHANISMS {
        let mut client = Client::new(mechanism, "n,,", b"");
        let ours = format!("{}{NONCE}", client.nonce);
        for (nonce, expected) in [
            (ours.clone(), "success"),
            (client.nonce.clone(), "not-authorized"),
            (NONCE.to_owned(), "not-authorized"),
            (format!("{ours}x"), "not-authorized"),
            (ours[..ours.len() - 1].to_owned(), "not-authorized"),
        ] {
            client.other_nonce = Some(nonce.clone());
            let (_, step) = play(mechanism, context(), Account::Known, |challenge| {
                client.answer(challenge)
            });
            assert_eq!(show(&step).split(' ').next(), Some(expected), "{nonce}");
        }
    }
}

/// No single changed byte of either message gets in.
#[test]
fn every_byte_counts() {
    let mut client = Client::new(Mechanism::ScramSha1, "n,a=juliet@example.org,", b"");
    let mut sent = Vec::new();
    let good = play(Mechanism::ScramSha1, context(), Account::Known, |challenge| {
        sent.push(client.answer(challenge));
        sent[sent.len() - 1].clone()
    });
    assert!(matches!(good.1, Step::Success { .. }));

    for (which, message) in sent.iter().enumerate() {
        for at in 0..message.len() {
            for mask in [1, 2, 0x20, 0x80] {
                let mut changed = sent.clone();
                changed[which][at] ^= mask;
                let mut next = changed.into_iter();
                let (_, step) = play(Mechanism::ScramSha1, context(), Account::Known, |_| {
                    next.next().unwrap()
                });
                assert!(
                    matches!(step, Step::Failure(_)),
                    "message {which}, byte {at}, {mask:#x}: {step:?}"
                );
            }
        }
    }
}

/// What was overheard once does not work a second time: the server's half of the nonce is another.
#[test]
fn a_replayed_exchange_is_refused() {
    for mechanism in MECHANISMS {
        let mut client = Client::new(mechanism, "n,,", b"");
        let mut sent = Vec::new();
        play(mechanism, context(), Account::Known, |challenge| {
            sent.push(client.answer(challenge));
            sent[sent.len() - 1].clone()
        });
        let later = Context {
            nonce: "another-nonce-of-the-server".to_owned(),
            ..context()
        };
        let mut next = sent.into_iter();
        let (_, step) = play(mechanism, later, Account::Known, |_| next.next().unwrap());
        assert_eq!(show(&step), "not-authorized");
    }
}

/// StoredKey and ServerKey, if stolen, do not log in: ClientKey cannot be had from them.
#[test]
fn stored_keys_are_no_proof() {
    for mechanism in MECHANISMS {
        let hash = mechanism.hash().unwrap();
        let verifier = credentials().get(hash).unwrap().clone();
        for key in [&verifier.stored_key, &verifier.server_key, &vec![0; hash.length()]] {
            let outcome = last(mechanism, Account::Known, |message| {
                let proof = crate::encode(key);
                format!("{}p={proof}", message.split("p=").next().unwrap()).into_bytes()
            });
            assert_eq!(outcome, "not-authorized");
        }
    }
}
