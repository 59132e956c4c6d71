//! The life of clients and tokens, over the memory store and through the exchange that takes them.

use auth::{Exchange, Mechanism, Proof, Step};
use store::{Memory, Store, StoreError, Value};

use super::*;
use crate::{Account, address};

const NOW: i64 = 1_700_000_000;
const DAY: i64 = 86_400;
const HOLDS: Lifetimes = DEFAULT_LIFETIMES;
const NONE: Mechanism = Mechanism::TokenUnbound;

fn jid() -> Jid {
    address("juliet@example.org").expect("an address")
}

fn world() -> Memory {
    let store = Memory::new(&[&ACCOUNTS, &TOKENS]);
    let account = Account::new(jid(), 0, auth::Credentials::default());
    store.write_wait(crate::add(&account)).expect("added");
    store
}

fn read(store: &Memory) -> Clients {
    let rows = store.read_wait(list(&jid())).expect("read").rows().expect("rows");
    Clients::from_rows(&jid(), rows).expect("sound")
}

fn login(now: i64, agent: &str) -> Login {
    Login {
        now,
        agent: Agent::new(Some(agent), Some("Gajim"), Some("laptop")),
        methods: Methods {
            password: true,
            ..Methods::default()
        },
        epoch: 0,
    }
}

fn by_token(now: i64, agent: &str) -> Login {
    Login {
        methods: Methods {
            fast: true,
            ..Methods::default()
        },
        ..login(now, agent)
    }
}

fn secret(number: u8) -> Secret {
    Secret::new([number; 32])
}

/// A client that logged in with its password and got a token of this number.
fn issued(store: &Memory, number: u8, now: i64) -> String {
    let name = format!("client-{number}");
    let mut clients = read(store);
    let (id, mut batch) = clients.logged_in(&name, &login(now, &name));
    batch
        .ops
        .extend(clients.issue(&id, secret(number), NONE, now, HOLDS).ops);
    store.write_wait(batch).expect("written");
    assert_eq!(read(store), clients);
    id
}

/// The message of a client with the secret of this number.
fn message(number: u8) -> Vec<u8> {
    let hashed = auth::Hash::Sha256.hmac(secret(number).bytes(), b"Initiator");
    [b"juliet\0", &hashed[..]].concat()
}

/// A whole login by token: what the exchange says, and what was written.
fn come_back(store: &Memory, number: u8, now: i64, count: Option<u32>) -> Result<TokenUse, String> {
    let policy = auth::Policy {
        tokens: auth::TokenPolicy::Any,
        ..auth::Policy::default()
    };
    let binding = auth::Binding::default();
    let context = auth::Context {
        domain: "example.org".to_owned(),
        tls: true,
        offer: auth::Offer::new(true, &binding, &policy),
        binding,
        bearer: auth::BearerHint::default(),
        nonce: "0123456789abcdef".to_owned(),
        secret: [7; 32],
        iterations: 1,
    };
    let mut exchange = Exchange::begin(NONE.name(), context).expect("offered");
    let step = exchange.respond(Some(&message(number)));
    assert!(matches!(&step, Step::Tokens { user } if user == "juliet"), "{step:?}");
    let mut clients = read(store);
    let tokens = clients.tokens(None, 0, false);
    match exchange.supply_tokens(tokens, &attempt(None, now, HOLDS, count, false)) {
        Step::Success {
            proof: Proof::Token(used),
            ..
        } => {
            let agent = clients.get(&used.id).expect("known").agent.id.clone().expect("named");
            let batch = clients.used(&used, &by_token(now, &agent));
            store.write_wait(batch).map_err(|error| error.to_string())?;
            assert_eq!(read(store), clients);
            Ok(used)
        }
        Step::Failure(failure) => Err(failure.name().to_owned()),
        other => panic!("{other:?}"),
    }
}

fn refused(store: &Memory, number: u8, now: i64) -> String {
    come_back(store, number, now, None).expect_err("refused")
}

fn rotate(store: &Memory, id: &str, number: u8, now: i64) {
    let mut clients = read(store);
    let batch = clients.issue(id, secret(number), NONE, now, HOLDS);
    store.write_wait(batch).expect("written");
    assert_eq!(read(store), clients);
}

#[test]
fn a_token_is_issued_used_and_rotated() {
    let store = world();
    let id = issued(&store, 1, NOW);
    let used = come_back(&store, 1, NOW + 5, None).expect("let in");
    assert_eq!((&used.id, used.age, used.rotate), (&id, Age::Newest, false));
    let used = come_back(&store, 1, NOW + DAY, None).expect("let in");
    assert!(used.rotate);

    // The new one is on its way, and does not arrive: the old one goes on.
    rotate(&store, &id, 2, NOW + DAY);
    let used = come_back(&store, 1, NOW + DAY + 1, None).expect("let in");
    assert_eq!((used.age, used.rotate), (Age::Previous, true));
    // Another in its place: the one that nobody used is void, the old one still is good.
    rotate(&store, &id, 3, NOW + DAY + 1);
    assert_eq!(refused(&store, 2, NOW + DAY + 2), "not-authorized");
    come_back(&store, 1, NOW + DAY + 2, None).expect("let in");
    // Used, it is the only one.
    assert_eq!(
        come_back(&store, 3, NOW + DAY + 3, None).expect("let in").age,
        Age::Newest
    );
    assert_eq!(refused(&store, 1, NOW + DAY + 4), "not-authorized");

    let clients = read(&store);
    let client = clients.get(&id).expect("there");
    assert_eq!((client.first_seen, client.last_seen), (NOW, NOW + DAY + 3));
    assert_eq!(
        client.methods,
        Methods {
            password: true,
            fast: true,
            ..Methods::default()
        }
    );
    assert!(client.has_token(NOW) && !client.has_token(NOW + 30 * DAY));
}

#[test]
fn secrets_run_out() {
    let store = world();
    let id = issued(&store, 1, NOW);
    let end = NOW + HOLDS.token;
    come_back(&store, 1, end - 1, None).expect("let in");
    assert_eq!(refused(&store, 1, end), "credentials-expired");
    // The one before runs out at its own time, whether the new one was used or not.
    rotate(&store, &id, 2, end - 1);
    come_back(&store, 1, end - 1, None).expect("let in");
    assert_eq!(refused(&store, 1, end), "credentials-expired");
    come_back(&store, 2, end, None).expect("let in");

    let mut clients = read(&store);
    assert!(clients.expire(end, 0, HOLDS).is_empty());
    // The token is over: the client stays for as long as one without a token does.
    let over = end - 1 + HOLDS.token;
    let patient = Lifetimes {
        client: 2 * HOLDS.token,
        ..HOLDS
    };
    store.write_wait(clients.expire(over, 0, patient)).expect("written");
    assert_eq!(read(&store), clients);
    assert_eq!(clients.get(&id).map(|client| client.token.is_some()), Some(false));
    assert_eq!(refused(&store, 2, over), "not-authorized");
    store
        .write_wait(clients.expire(end + HOLDS.client, 0, HOLDS))
        .expect("written");
    assert_eq!(read(&store).list(), []);
}

#[test]
fn the_count_is_kept_with_its_secret() {
    let store = world();
    let id = issued(&store, 1, NOW);
    come_back(&store, 1, NOW, Some(3)).expect("let in");
    assert_eq!(come_back(&store, 1, NOW, Some(3)), Err("not-authorized".to_owned()));
    come_back(&store, 1, NOW, None).expect("let in");
    come_back(&store, 1, NOW, Some(4)).expect("let in");
    rotate(&store, &id, 2, NOW);
    assert_eq!(come_back(&store, 1, NOW, Some(4)), Err("not-authorized".to_owned()));
    come_back(&store, 1, NOW, Some(5)).expect("let in");
    come_back(&store, 2, NOW, Some(1)).expect("let in");
    assert_eq!(come_back(&store, 2, NOW, Some(1)), Err("not-authorized".to_owned()));
}

#[test]
fn revoking() {
    let store = world();
    let [one, two, three] = [1, 2, 3].map(|number| issued(&store, number, NOW));
    store.write_wait(revoke(&jid(), &one)).expect("written");
    assert_eq!(refused(&store, 1, NOW), "not-authorized");
    come_back(&store, 2, NOW, None).expect("let in");

    // A client that says good-bye stays in the list, without token.
    let mut clients = read(&store);
    rotate(&store, &two, 9, NOW);
    store.write_wait(clients.invalidate(&two)).expect("written");
    for number in [2, 9] {
        assert_eq!(refused(&store, number, NOW), "not-authorized");
    }
    assert!(read(&store).get(&two).is_some_and(|client| client.token.is_none()));

    let mut clients = read(&store);
    store.write_wait(clients.revoke(&three)).expect("written");
    assert_eq!(read(&store), clients);
    store.write_wait(revoke_all(&jid())).expect("written");
    assert_eq!(read(&store).list(), []);
    // What is not there is no error.
    store.write_wait(revoke(&jid(), &one)).expect("written");
    store.write_wait(revoke_all(&jid())).expect("written");
}

/// Somebody revokes, or removes the account, between the reading and the writing of a login.
#[test]
fn a_late_write_brings_nothing_back() {
    type End = fn(&str) -> Batch;
    let ends: [End; 3] = [
        |id| revoke(&jid(), id),
        |_| revoke_all(&jid()),
        |_| crate::remove(&jid()),
    ];
    for end in ends {
        let store = world();
        let id = issued(&store, 1, NOW);
        let read_before = read(&store);
        store.write_wait(end(&id)).expect("ended");
        let used = TokenUse {
            id: id.clone(),
            age: Age::Newest,
            mechanism: NONE,
            rotate: false,
            count: None,
        };
        let late: [Batch; 4] = [
            read_before.clone().used(&used, &by_token(NOW, "client-1")),
            read_before.clone().issue(&id, secret(2), NONE, NOW, HOLDS),
            read_before.clone().invalidate(&id),
            read_before.clone().logged_in("new", &login(NOW, "client-1")).1,
        ];
        for batch in late {
            assert_eq!(store.write_wait(batch), Err(StoreError::Missing));
        }
        assert_eq!(read(&store).list(), []);
    }
    // A client nobody knew does not come to an account that is gone.
    let store = world();
    let (_, batch) = read(&store).logged_in("new", &login(NOW, "a"));
    store.write_wait(crate::remove(&jid())).expect("removed");
    assert_eq!(store.write_wait(batch), Err(StoreError::Missing));
}

#[test]
fn removing_an_account_removes_its_tokens() {
    let store = world();
    issued(&store, 1, NOW);
    store.write_wait(crate::remove(&jid())).expect("removed");
    let account = Account::new(jid(), 0, auth::Credentials::default());
    store.write_wait(crate::add(&account)).expect("added");
    assert_eq!(read(&store).list(), []);
}

#[test]
fn a_new_password_ends_every_login() {
    let store = world();
    issued(&store, 1, NOW);
    // One login has been let in and is about to write.
    let mut before = read(&store);
    let (id, mut late) = before.logged_in("late", &login(NOW, "late"));
    late.ops.extend(before.issue(&id, secret(5), NONE, NOW, HOLDS).ops);

    let row = store
        .read_wait(crate::get(&jid()))
        .expect("read")
        .row()
        .expect("row")
        .expect("there");
    let mut account = Account::from_row("juliet@example.org", &row).expect("sound");
    store.write_wait(crate::end_logins(&mut account)).expect("written");
    assert_eq!(account.epoch, 1);
    let row = store
        .read_wait(crate::get(&jid()))
        .expect("read")
        .row()
        .expect("row")
        .expect("there");
    assert_eq!(Account::from_row("juliet@example.org", &row), Ok(account));
    assert_eq!(read(&store).list(), []);

    store
        .write_wait(late)
        .expect("written: nothing tells it from a good one");
    let mut clients = read(&store);
    let count = |lookup: TokenLookup| match lookup {
        TokenLookup::Found(tokens) | TokenLookup::Disabled(tokens) => tokens.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(count(clients.tokens(None, 1, false)), 0);
    // The same client with the new password does not make the old token good.
    let again = Login {
        epoch: 1,
        ..login(NOW, "late")
    };
    store.write_wait(clients.logged_in("x", &again).1).expect("written");
    assert_eq!(count(read(&store).tokens(None, 1, false)), 0);
    assert!(read(&store).get("late").is_some_and(|client| client.epoch == 1));
    // And who does not come back is dropped.
    assert!(!read(&store).expire(NOW, 2, HOLDS).is_empty());

    let mut gone = Account::new(
        address("romeo@example.org").expect("an address"),
        0,
        auth::Credentials::default(),
    );
    assert_eq!(store.write_wait(crate::end_logins(&mut gone)), Err(StoreError::Missing));
}

#[test]
fn an_account_has_so_many_clients_and_the_least_goes() {
    let store = world();
    // The oldest has a token; the next one is without.
    let oldest = issued(&store, 1, NOW);
    for number in 2..=MAX_CLIENTS {
        let name = format!("client-{number:02}");
        let now = NOW + i64::try_from(number).expect("few");
        let (_, batch) = read(&store).logged_in(&name, &login(now, &name));
        store.write_wait(batch).expect("written");
    }
    assert_eq!(read(&store).list().len(), MAX_CLIENTS);
    let (_, batch) = read(&store).logged_in("new", &login(NOW + 100, "new"));
    store.write_wait(batch).expect("written");
    let clients = read(&store);
    assert_eq!(clients.list().len(), MAX_CLIENTS);
    assert!(clients.get(&oldest).is_some() && clients.get("client-02").is_none() && clients.get("new").is_some());

    // All have tokens: the one that was away for the longest goes.
    let store = world();
    let limit = u8::try_from(MAX_CLIENTS).expect("few");
    for number in 1..=limit {
        issued(&store, number, NOW + i64::from(number));
    }
    come_back(&store, 1, NOW + 100, None).expect("let in");
    issued(&store, limit + 1, NOW + 101);
    assert_eq!(read(&store).list().len(), MAX_CLIENTS);
    assert_eq!(refused(&store, 2, NOW + 102), "not-authorized");
    come_back(&store, 1, NOW + 102, None).expect("let in");
    come_back(&store, limit + 1, NOW + 102, None).expect("let in");
}

#[test]
fn a_client_is_known_by_the_id_of_its_agent() {
    let store = world();
    let (id, batch) = read(&store).logged_in("a", &login(NOW, "agent"));
    store.write_wait(batch).expect("written");
    let mut later = login(NOW + 9, "agent");
    later.agent = Agent {
        uri: Some("https://gajim.org/".to_owned()),
        ..Agent::new(Some("agent"), None, Some("desk"))
    };
    later.methods = Methods {
        grant: true,
        certificate: true,
        ..Methods::default()
    };
    let (again, batch) = read(&store).logged_in("b", &later);
    store.write_wait(batch).expect("written");
    assert_eq!(again, id);
    let clients = read(&store);
    let client = clients.get("a").expect("there");
    let agent = Agent {
        id: Some("agent".to_owned()),
        software: Some("Gajim".to_owned()),
        device: Some("desk".to_owned()),
        uri: Some("https://gajim.org/".to_owned()),
    };
    assert_eq!(client.agent, agent);
    assert_eq!((client.first_seen, client.last_seen), (NOW, NOW + 9));
    let methods = client.methods;
    assert!(methods.password && methods.grant && methods.certificate && !methods.fast);
    // Who says nothing is somebody else each time.
    for name in ["c", "d"] {
        let nameless = Login {
            agent: Agent::default(),
            ..login(NOW, "")
        };
        let (id, batch) = read(&store).logged_in(name, &nameless);
        assert_eq!(id, name);
        store.write_wait(batch).expect("written");
    }
    assert_eq!(read(&store).list().len(), 3);
}

#[test]
fn a_token_is_for_the_client_that_it_was_given_to() {
    let store = world();
    issued(&store, 1, NOW);
    issued(&store, 2, NOW);
    let ids = |agent: Option<&str>, disabled: bool| match read(&store).tokens(agent, 0, disabled) {
        TokenLookup::Found(tokens) if !disabled => tokens.into_iter().map(|token| token.id).collect::<Vec<_>>(),
        TokenLookup::Disabled(tokens) if disabled => tokens.into_iter().map(|token| token.id).collect(),
        other => panic!("{other:?}"),
    };
    assert_eq!(ids(None, false), ["client-1", "client-2"]);
    assert_eq!(ids(Some("client-2"), false), ["client-2"]);
    assert_eq!(ids(Some("client-2"), true), ["client-2"]);
    assert!(ids(Some("client-3"), false).is_empty());
}

#[test]
fn what_a_client_says_of_itself_has_a_limit() {
    let long = "\u{e9}".repeat(100);
    let agent = Agent::new(Some(&"x".repeat(65)), Some(&long), Some("  \u{a0} "));
    assert_eq!((agent.id, agent.device), (None, None));
    assert_eq!(agent.software, Some("\u{e9}".repeat(MAX_NAME / 2)));
    let agent = Agent::new(Some(""), Some(" Gajim "), None);
    assert_eq!((agent.id, agent.software.as_deref()), (None, Some("Gajim")));
    assert_eq!(
        Agent::new(Some(&"x".repeat(64)), None, None).id.map(|id| id.len()),
        Some(64)
    );
}

/// The operator made lifetimes shorter between the two secrets.
#[test]
fn whatever_runs_out_before_the_one_that_was_used_is_void() {
    let store = world();
    let id = issued(&store, 1, NOW);
    come_back(&store, 1, NOW, None).expect("let in");
    let short = Lifetimes { token: DAY, ..HOLDS };
    let mut clients = read(&store);
    let batch = clients.issue(&id, secret(2), NONE, NOW, short);
    store.write_wait(batch).expect("written");
    assert_eq!(come_back(&store, 1, NOW + 1, None).expect("let in").age, Age::Previous);
    assert_eq!(refused(&store, 2, NOW + 2), "not-authorized");
    come_back(&store, 1, NOW + 2, None).expect("let in");
}

#[test]
fn damage_is_told_by_column_and_secrets_are_not_shown() {
    let store = world();
    let id = issued(&store, 1, NOW);
    rotate(&store, &id, 2, NOW);
    let rows = || store.read_wait(list(&jid())).expect("read").rows().expect("rows");
    let check = |at: usize, value: Value| {
        let mut rows = rows();
        rows[0].1[at] = value;
        let error = Clients::from_rows(&jid(), rows).expect_err("damaged").to_string();
        assert!(error.ends_with(TOKENS.columns[at].name), "{error}");
    };
    for at in [0, 1, 2, 3, 8, 11, 12, 13] {
        check(at, Value::Null);
    }
    for at in [4, 5, 6, 7] {
        check(at, Value::Int(1));
    }
    check(9, Value::from("text"));
    check(9, Value::from(&b""[..]));
    check(10, Value::Null);
    check(10, Value::from("SCRAM-SHA-1"));
    check(13, Value::Int(-1));

    let clients = read(&store);
    let shown = format!("{clients:?} {:?} {:?}", rows(), clients.tokens(None, 0, false));
    for number in [1, 2] {
        assert!(!shown.contains(secret(number).text()), "{shown}");
    }
}
