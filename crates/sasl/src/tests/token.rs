//! The Hashed Token mechanisms, against vectors and a computation of its own.

use hmac::Mac;

use super::*;
use crate::{Age, MAX_TOKENS, Proof, Secret, Slot, Token, TokenPolicy, token_count};

/// The token of XEP-0484 section 3.3.
const TEXT: &str = "WXZzciBwYmFmdmZnZiBqdmd1IGp2eXFhcmZm";
const DAY: i64 = 86_400;
const NOW: i64 = 1_700_000_000;

const MECHANISMS: [Mechanism; 3] = [
    Mechanism::TokenExporter,
    Mechanism::TokenEndPoint,
    Mechanism::TokenUnbound,
];

fn fast() -> Context {
    let policy = Policy {
        tokens: TokenPolicy::Any,
        ..Policy::default()
    };
    Context {
        offer: Offer::new(true, &binding(), &policy),
        ..context()
    }
}

fn slot(text: &str, mechanism: Mechanism) -> Slot {
    Slot {
        secret: Secret::from_bytes(text.as_bytes()).unwrap(),
        mechanism,
        issued: NOW - DAY,
        expires: NOW + DAY,
        count: 0,
    }
}

fn token(id: &str, text: &str, mechanism: Mechanism) -> Token {
    Token {
        id: id.to_owned(),
        newest: slot(text, mechanism),
        previous: None,
    }
}

fn attempt() -> Attempt {
    Attempt {
        now: NOW,
        rotate_after: 2 * DAY,
        named: false,
        count: None,
        early: false,
    }
}

fn data(mechanism: Mechanism) -> Vec<u8> {
    match mechanism {
        Mechanism::TokenExporter => EXPORTER.to_vec(),
        Mechanism::TokenEndPoint => END_POINT.to_vec(),
        _ => Vec::new(),
    }
}

/// HMAC-SHA-256 by its own crate: nothing here goes through the code under test.
fn mac(token: &str, role: &str, data: &[u8]) -> Vec<u8> {
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(token.as_bytes()).unwrap();
    mac.update(role.as_bytes());
    mac.update(data);
    mac.finalize().into_bytes().to_vec()
}

fn message(text: &str, data: &[u8]) -> Vec<u8> {
    [b"juliet\0", &mac(text, "Initiator", data)[..]].concat()
}

fn run(mechanism: Mechanism, message: &[u8], tokens: TokenLookup, attempt: &Attempt) -> Step {
    let mut exchange = Exchange::begin(mechanism.name(), fast()).unwrap();
    let step = exchange.respond(Some(message));
    let step = match step {
        Step::Tokens { user } => {
            assert_eq!(user, USER);
            exchange.supply_tokens(tokens, attempt)
        }
        other => other,
    };
    is_over(&mut exchange);
    step
}

/// The name of the failure, or which token let in.
fn outcome(step: &Step) -> String {
    match step {
        Step::Success {
            user,
            proof: Proof::Token(used),
            ..
        } => format!("{user} by {} {:?} {}", used.id, used.age, used.rotate),
        other => show(other),
    }
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

/// No text has vectors for this; these are from Python's hmac, for the token of the XEP.
#[test]
fn vectors() {
    let check = |mechanism: Mechanism, initiator: &str, responder: &str| {
        let message = [b"juliet\0", &hex(initiator)[..]].concat();
        let tokens = TokenLookup::Found(vec![token("a", TEXT, mechanism)]);
        let step = run(mechanism, &message, tokens, &attempt());
        let Step::Success { data: Some(data), .. } = step else {
            panic!("{step:?}")
        };
        assert_eq!(data, hex(responder));
    };
    check(
        Mechanism::TokenUnbound,
        "9097787461a184e0fa84ec00c1381190b6c4d16a8ec4453c7b2ac5e7fcf935ed",
        "4e513409631474863b986c9f3e8c1e27ca29d1d7ab9ed4097e7afd6007bf9c62",
    );
    check(
        Mechanism::TokenExporter,
        "0e30da3f0780d1488f19de4569b5cd0ce76b40c7048932fc3b2c045292e8c983",
        "70cfa7ddac289bddf155752712f6d2e5b6fec00104b0940aab6a4f1029dfc186",
    );
}

/// Against the independent computation: every mechanism, many secrets, some of them longer than a block of the hash.
#[test]
fn every_token_of_an_account_lets_in() {
    for mechanism in MECHANISMS {
        let texts: Vec<String> = (0..MAX_TOKENS + 3)
            .map(|number| format!("token-{number}-").repeat(number + 1))
            .collect();
        let tokens: Vec<Token> = texts
            .iter()
            .enumerate()
            .map(|(number, text)| token(&number.to_string(), text, mechanism))
            .collect();
        for (number, text) in texts.iter().enumerate() {
            let sent = message(text, &data(mechanism));
            // Saying who one is makes it cheaper, and changes nothing else.
            let attempt = Attempt {
                named: number % 2 == 0,
                ..attempt()
            };
            let step = run(mechanism, &sent, TokenLookup::Found(tokens.clone()), &attempt);
            let Step::Success {
                user,
                data: Some(answer),
                proof: Proof::Token(used),
            } = step
            else {
                panic!("{step:?}")
            };
            assert_eq!((user.as_str(), used.id), (USER, number.to_string()));
            assert_eq!((used.age, used.mechanism), (Age::Newest, mechanism));
            assert_eq!(answer, mac(text, "Responder", &data(mechanism)));
        }
    }
}

#[test]
fn a_token_is_good_for_its_own_mechanism_and_channel_only() {
    for mine in MECHANISMS {
        for other in MECHANISMS {
            let tokens = || TokenLookup::Found(vec![token("a", TEXT, mine)]);
            let right = run(other, &message(TEXT, &data(other)), tokens(), &attempt());
            let expected = if mine == other {
                "juliet by a Newest false"
            } else {
                "not-authorized"
            };
            assert_eq!(outcome(&right), expected, "{mine:?} {other:?}");
        }
        // The channel of somebody in the middle.
        let tokens = TokenLookup::Found(vec![token("a", TEXT, mine)]);
        let step = run(mine, &message(TEXT, b"another channel"), tokens, &attempt());
        assert_eq!(outcome(&step), "not-authorized");
    }
    // The same secret twice, for two mechanisms: the one of the mechanism counts, wherever it stands.
    for order in [[0, 1], [1, 0]] {
        let both = [
            token("a", TEXT, Mechanism::TokenUnbound),
            token("b", TEXT, Mechanism::TokenExporter),
        ];
        let tokens = TokenLookup::Found(order.map(|at: usize| both[at].clone()).to_vec());
        let step = run(Mechanism::TokenExporter, &message(TEXT, &EXPORTER), tokens, &attempt());
        assert_eq!(outcome(&step), "juliet by b Newest false");
    }
}

/// `change` the token of which the newest secret is "new" and the one before "old"; the client uses `text`.
fn check(text: &str, attempt: Attempt, change: impl Fn(&mut Token), expected: &str) {
    let mechanism = Mechanism::TokenUnbound;
    let mut token = token("a", "new", mechanism);
    token.previous = Some(slot("old", mechanism));
    change(&mut token);
    let tokens = || TokenLookup::Found(vec![token.clone()]);
    let step = run(mechanism, &message(text, b""), tokens(), &attempt);
    assert_eq!(outcome(&step), expected, "{text} {attempt:?}");
    // Whoever has not the token learns nothing of its state.
    let guess = run(mechanism, &message("guess", b""), tokens(), &attempt);
    assert_eq!(outcome(&guess), "not-authorized");
}

#[test]
fn rotation_and_expiry() {
    check("new", attempt(), |_| {}, "juliet by a Newest false");
    check("old", attempt(), |_| {}, "juliet by a Previous false");
    check("old", attempt(), |token| token.previous = None, "not-authorized");
    let due = Attempt {
        rotate_after: DAY,
        ..attempt()
    };
    check("new", due, |_| {}, "juliet by a Newest true");
    check("new", due, |token| token.newest.issued += 1, "juliet by a Newest false");
    check("old", due, |_| {}, "juliet by a Previous true");
    // A clock that was set back.
    check(
        "new",
        Attempt { now: i64::MIN, ..due },
        |_| {},
        "juliet by a Newest false",
    );
    // Expired is what expires now; each secret has its own time.
    check(
        "new",
        attempt(),
        |token| token.newest.expires = NOW,
        "credentials-expired",
    );
    check(
        "old",
        attempt(),
        |token| token.newest.expires = NOW,
        "juliet by a Previous false",
    );
    let old_expired = |token: &mut Token| token.previous.as_mut().unwrap().expires = NOW - 1;
    check("old", attempt(), old_expired, "credentials-expired");
    check("new", attempt(), old_expired, "juliet by a Newest false");
    check(
        "new",
        attempt(),
        |token| token.newest.expires = NOW + 1,
        "juliet by a Newest false",
    );
}

#[test]
fn the_count_has_to_grow() {
    let with = |count: Option<u32>, early: bool| Attempt {
        count,
        early,
        ..attempt()
    };
    let seen = |token: &mut Token| token.newest.count = 7;
    let good = "juliet by a Newest false";
    check("new", with(Some(8), false), seen, good);
    check("new", with(Some(8), true), seen, good);
    check("new", with(None, false), seen, good);
    check("new", with(None, true), seen, "not-authorized");
    check("new", with(Some(7), true), seen, "not-authorized");
    check("new", with(Some(7), false), seen, "not-authorized");
    check("new", with(Some(1), false), seen, "not-authorized");
    // It begins anew with each secret.
    check("new", with(Some(1), true), |_| {}, good);
    check("old", with(Some(1), true), seen, "juliet by a Previous false");

    for (text, expected) in [
        ("1", Ok(1)),
        ("2147483647", Ok(2_147_483_647)),
        ("007", Ok(7)),
        ("0", Err(Failure::MalformedRequest)),
        ("-1", Err(Failure::MalformedRequest)),
        ("+1", Err(Failure::MalformedRequest)),
        ("2147483648", Err(Failure::MalformedRequest)),
        ("1.0", Err(Failure::MalformedRequest)),
        (" 1", Err(Failure::MalformedRequest)),
        ("", Err(Failure::MalformedRequest)),
        ("many", Err(Failure::MalformedRequest)),
    ] {
        assert_eq!(token_count(text), expected, "{text:?}");
    }
}

#[test]
fn who_is_not_there_looks_like_a_wrong_token() {
    for mechanism in MECHANISMS {
        let tokens = vec![token("a", TEXT, mechanism)];
        let with = |lookup: TokenLookup, text: &str| {
            outcome(&run(mechanism, &message(text, &data(mechanism)), lookup, &attempt()))
        };
        assert_eq!(with(TokenLookup::Found(tokens.clone()), "guess"), "not-authorized");
        assert_eq!(with(TokenLookup::Found(Vec::new()), TEXT), "not-authorized");
        assert_eq!(with(TokenLookup::Missing, TEXT), "not-authorized");
        assert_eq!(with(TokenLookup::Disabled(tokens.clone()), "guess"), "not-authorized");
        assert_eq!(with(TokenLookup::Disabled(tokens), TEXT), "account-disabled");
        assert_eq!(with(TokenLookup::Unavailable, TEXT), "temporary-auth-failure");
        // The stand-in for the secrets that an account does not have lets nobody in either.
        let stand_in = String::from_utf8(vec![7; 32]).unwrap();
        assert_eq!(with(TokenLookup::Missing, &stand_in), "not-authorized");
        assert_eq!(with(TokenLookup::Found(Vec::new()), &stand_in), "not-authorized");
    }
}

#[test]
fn messages() {
    let mechanism = Mechanism::TokenUnbound;
    let right = mac(TEXT, "Initiator", b"");
    let tokens = || TokenLookup::Found(vec![token("a", TEXT, mechanism)]);
    let check = |message: &[u8], expected: &str| {
        let step = run(mechanism, message, tokens(), &attempt());
        assert_eq!(outcome(&step), expected, "{message:?}");
    };
    check(&[b"juliet\0", &right[..]].concat(), "juliet by a Newest false");
    for malformed in [
        &b""[..],
        b"\0",
        b"juliet",
        b"juliet\0",
        b"\0hash",
        b"jul\xffet\0hash",
        b"\xed\xa0\x80\0hash",
        &vec![b'x'; crate::MAX_MESSAGE + 1],
    ] {
        check(malformed, "malformed-request");
    }
    // Cut short, lengthened, of no use: as a wrong token.
    check(&[b"juliet\0", &right[..31]].concat(), "not-authorized");
    check(&[b"juliet\0", &right[..], b"x"].concat(), "not-authorized");
    check(b"juliet\0\0", "not-authorized");
    check(&[b"juliet\0\0", &right[..]].concat(), "not-authorized");
    // What proves the server does not prove the client.
    check(
        &[b"juliet\0", &mac(TEXT, "Responder", b"")[..]].concat(),
        "not-authorized",
    );
    check(&[b"juliet\0", &mac(TEXT, "", b"")[..]].concat(), "not-authorized");
    for at in 0..right.len() {
        let mut changed = right.clone();
        changed[at] ^= 1;
        check(&[b"juliet\0", &changed[..]].concat(), "not-authorized");
    }
    // A hash may hold NUL: the first one parts.
    let mut exchange = Exchange::begin(mechanism.name(), fast()).unwrap();
    assert_eq!(show(&exchange.respond(Some(b"a\0b\0c"))), "tokens a");
    // 255 octets of a name have to be taken.
    let long = "u".repeat(255);
    let mut exchange = Exchange::begin(mechanism.name(), fast()).unwrap();
    let step = exchange.respond(Some(format!("{long}\0hash").as_bytes()));
    assert_eq!(show(&step), format!("tokens {long}"));
    // No initial response: it is asked for.
    let mut exchange = Exchange::begin(mechanism.name(), fast()).unwrap();
    assert_eq!(show(&exchange.respond(None)), "challenge ");
    assert_eq!(show(&exchange.respond(Some(b"a\0b"))), "tokens a");
}

#[test]
fn secrets_are_random_and_not_shown() {
    let secret = Secret::new([0xFB; 32]);
    assert_eq!(secret.text().len(), 43);
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    assert!(secret.text().bytes().all(harmless), "{}", secret.text());
    assert_eq!(Secret::from_bytes(secret.bytes()), Some(secret.clone()));
    assert_eq!(Secret::from_bytes(b""), None);
    assert_ne!(secret, Secret::new([0xFC; 32]));

    let token = token("a", TEXT, Mechanism::TokenUnbound);
    let sent = message(TEXT, b"");
    let mut exchange = Exchange::begin("HT-SHA-256-NONE", fast()).unwrap();
    let asked = exchange.respond(Some(&sent));
    let shown = format!("{secret:?} {token:?} {asked:?} {exchange:?}");
    assert!(!shown.contains(TEXT) && !shown.contains(secret.text()), "{shown}");
}
