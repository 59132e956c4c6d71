//! Whatever bytes come, every exchange ends in an answer, and no noise logs in.

use super::*;
use crate::{Secret, Slot, Token, TokenPolicy};

/// xorshift64*: the same numbers at every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> usize {
        usize::try_from((self.next() >> 16) % limit).unwrap()
    }
}

/// Noise, in which pieces of good messages stand.
fn message(numbers: &mut Numbers) -> Vec<u8> {
    let pieces: [&[u8]; 16] = [
        b"n,,",
        b"y,,",
        b"p=tls-exporter,,",
        b"n=juliet,",
        b"r=abc",
        b",",
        b"=",
        b"\0",
        b"\x01",
        b"auth=",
        b"Bearer ",
        b"port=1",
        b"juliet",
        b"@example.org",
        b"c=biws,",
        b"p=AAAA",
    ];
    let mut message = Vec::new();
    for _ in 0..numbers.below(9) {
        match numbers.below(4) {
            0 => message.push(numbers.next().to_le_bytes()[3]),
            _ => message.extend_from_slice(pieces[numbers.below(16)]),
        }
    }
    message
}

#[test]
fn noise_is_answered_and_lets_nobody_in() {
    let policy = Policy {
        external: true,
        bearer: Some(BearerHint::default()),
        anonymous: true,
        tokens: TokenPolicy::Any,
        signed: true,
        ..Policy::default()
    };
    let context = Context {
        offer: Offer::new(true, &binding(), &policy),
        ..context()
    };
    let slot = |mechanism| Slot {
        secret: Secret::new([5; 32]),
        mechanism,
        issued: 0,
        expires: i64::MAX,
        count: 0,
    };
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for round in 0..6_000 {
        let mechanism = Mechanism::ALL[round % Mechanism::ALL.len()];
        let mut exchange = Exchange::begin(mechanism.name(), context.clone()).unwrap();
        let mut step = exchange.respond(Some(&message(&mut numbers)));
        for _ in 0..6 {
            step = match step {
                Step::Challenge(_) => exchange.respond(Some(&message(&mut numbers))),
                Step::Lookup { user } => {
                    assert!(!user.is_empty());
                    exchange.supply(Lookup::Found(credentials()))
                }
                Step::Check(check) => exchange.checked(check.run()),
                Step::Tokens { user } => {
                    assert!(!user.is_empty() && !user.contains('\0'));
                    let token = Token {
                        id: "a".to_owned(),
                        newest: slot(mechanism),
                        previous: Some(slot(mechanism)),
                    };
                    let attempt = Attempt {
                        now: 1,
                        rotate_after: 1,
                        named: true,
                        count: Some(1),
                        early: true,
                    };
                    exchange.supply_tokens(TokenLookup::Found(vec![token]), &attempt)
                }
                Step::Certificate { .. } | Step::Bearer(_) | Step::Guest { .. } | Step::Password(_) => {
                    exchange.decide(Verdict::Refused)
                }
                Step::Success { .. } => panic!("{mechanism:?} let noise in"),
                Step::Failure(_) => break,
            };
        }
        assert!(matches!(step, Step::Failure(_)), "{mechanism:?}: {step:?}");
    }
}
