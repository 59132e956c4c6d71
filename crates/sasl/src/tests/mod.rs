//! An account, a stream and clients, and what all tests ask of them.

mod bearer;
mod binding;
mod client;
mod credentials;
mod decided;
mod hostile;
mod names;
mod offer;
mod plain;
mod random;
mod token;
mod upgrade;
mod vectors;
mod whole;

use std::sync::OnceLock;

use crate::{
    Attempt, BearerHint, Binding, Context, Credentials, Exchange, Failure, Lookup, Mechanism, Offer, Policy, Step,
    TokenLookup, Verdict,
};

const DOMAIN: &str = "example.org";
const USER: &str = "juliet";
const PASSWORD: &str = "r0m30 myr0m30";
const NONCE: &str = "3rfcNHYJY1ZVvWVs7j";
const EXPORTER: [u8; 32] = [0xEC; 32];
const END_POINT: &[u8] = b"hash of the certificate";
/// Few, as these tests are not about the cost.
const ITERATIONS: u32 = 50;

/// The mechanisms that are about passwords.
const PASSWORDS: [Mechanism; 7] = [
    Mechanism::ScramSha512Plus,
    Mechanism::ScramSha256Plus,
    Mechanism::ScramSha1Plus,
    Mechanism::ScramSha512,
    Mechanism::ScramSha256,
    Mechanism::ScramSha1,
    Mechanism::Plain,
];

/// TLS 1.3 with a usual certificate.
fn binding() -> Binding {
    Binding {
        exporter: Some(EXPORTER),
        server_end_point: Some(END_POINT.to_vec()),
    }
}

/// A stream over it, on which passwords are taken.
fn context() -> Context {
    Context {
        domain: DOMAIN.to_owned(),
        tls: true,
        binding: binding(),
        offer: Offer::new(true, &binding(), &Policy::default()),
        bearer: BearerHint::default(),
        nonce: NONCE.to_owned(),
        secret: [7; 32],
        iterations: ITERATIONS,
    }
}

/// The same without anything to bind to.
fn unbound() -> Context {
    Context {
        binding: Binding::default(),
        ..context()
    }
}

fn credentials() -> Credentials {
    static ONCE: OnceLock<Credentials> = OnceLock::new();
    ONCE.get_or_init(|| Credentials::derive(PASSWORD, ITERATIONS, [[1; 16], [2; 16], [3; 16]]).unwrap())
        .clone()
}

/// How the account of a test stands.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Account {
    Known,
    Missing,
    Disabled,
    Down,
}

impl Account {
    fn lookup(self) -> Lookup {
        match self {
            Account::Known => Lookup::Found(credentials()),
            Account::Missing => Lookup::Missing,
            Account::Disabled => Lookup::Disabled(credentials()),
            Account::Down => Lookup::Unavailable,
        }
    }
}

/// A step as text. Data of SCRAM is text.
fn show(step: &Step) -> String {
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
    match step {
        Step::Challenge(data) => format!("challenge {}", text(data)),
        Step::Lookup { user } => format!("lookup {user}"),
        Step::Check(_) => "check".to_owned(),
        Step::Tokens { user } => format!("tokens {user}"),
        Step::Certificate { authzid } => format!("certificate {authzid:?}"),
        Step::Bearer(bearer) => format!("bearer {} {:?}", *bearer.token, bearer.authzid),
        Step::Password(password) => format!("password {}", *password.0),
        Step::Guest { trace } => format!("guest {trace:?}"),
        Step::Success { user, data: None, .. } => format!("success {user}"),
        Step::Success {
            user, data: Some(data), ..
        } => format!("success {user} {}", text(data)),
        Step::Failure(failure) => failure.name().to_owned(),
    }
}

/// Plays an exchange to its end, looking up `account` and checking passwords; `client` gets each challenge, `None`
/// first, and answers with data. Returns every step but the checks and the last one apart.
fn play(
    mechanism: Mechanism,
    context: Context,
    account: Account,
    mut client: impl FnMut(Option<&[u8]>) -> Vec<u8>,
) -> (Vec<String>, Step) {
    let mut exchange = match Exchange::begin(mechanism.name(), context) {
        Ok(exchange) => exchange,
        Err(failure) => return (Vec::new(), Step::Failure(failure)),
    };
    let mut seen = Vec::new();
    let mut step = exchange.respond(Some(&client(None)));
    loop {
        seen.push(show(&step));
        step = match step {
            Step::Challenge(data) => exchange.respond(Some(&client(Some(&data)))),
            Step::Lookup { .. } => exchange.supply(account.lookup()),
            Step::Check(check) => exchange.checked(check.run()),
            other => {
                step = other;
                break;
            }
        };
    }
    // Over means over, whichever way it ended.
    is_over(&mut exchange);
    seen.pop();
    (seen, step)
}

/// The exchange answers nothing any more.
fn is_over(exchange: &mut Exchange) {
    let attempt = Attempt {
        now: 0,
        rotate_after: 0,
        named: false,
        count: None,
        early: false,
    };
    let granted = Verdict::Granted { user: USER.to_owned() };
    for answer in [
        exchange.respond(None),
        exchange.respond(Some(b"\x01")),
        exchange.supply(Lookup::Found(credentials())),
        exchange.checked(true),
        exchange.supply_tokens(TokenLookup::Found(Vec::new()), &attempt),
        exchange.decide(granted),
    ] {
        assert!(
            matches!(answer, Step::Failure(Failure::MalformedRequest)),
            "{:?}: {answer:?}",
            exchange.mechanism()
        );
    }
}
