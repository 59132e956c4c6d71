//! Tasks behind a login by password: new verifiers for an account that lacks them (XEP-0388 section 2.6.3, XEP-0480).

use auth::{Credentials, Hash, Lookup, MIN_TASK_ITERATIONS, Policy, Sha512, TokenPolicy};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sasl::client::Mechanism as _;
use sasl::client::mechanisms::Scram;
use sasl::common::scram::{ScramProvider, Sha1, Sha256};
use sasl::common::{ChannelBinding, Password};
use stanza::{Jid, StreamError};
use store::Store;

use super::sasl2::{FEATURES, SASL2, authenticate, bind2, bound2, failure2, jid_of, success};
use super::world::*;
use crate::{Next, TlsPolicy};

const AGENT: &str = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>";
const SHA_256: &str = "UPGR-SCRAM-SHA-256";
const SHA_512: &str = "UPGR-SCRAM-SHA-512";

fn wanted(tasks: &[&str]) -> String {
    let upgrade = |task| format!("<upgrade xmlns='urn:xmpp:sasl:upgrade:0'>{task}</upgrade>");
    tasks.iter().map(upgrade).collect()
}

fn only(hashes: &[Hash]) -> Lookup {
    let (all, mut some) = (credentials("secret"), Credentials::default());
    for hash in hashes {
        some.set(*hash, all.get(*hash).expect("all of them").clone());
    }
    Lookup::Found(some)
}

/// As far as the features, with an account that has these verifiers.
fn opened(world: &World, account: Lookup) -> Peer {
    let mut peer = world.opened();
    peer.shell.accounts.insert("juliet@example.org", account);
    peer
}

/// What is said to a login by SCRAM-SHA-1-PLUS, without the server's proof, and whether that was there and is right.
fn by_scram(peer: &mut Peer, password: &str, more: &str) -> (String, bool) {
    let credentials = sasl::common::Credentials::default()
        .with_username("juliet")
        .with_password(password)
        .with_channel_binding(ChannelBinding::TlsExporter(vec![7; 32]));
    let mut client = Scram::<Sha1>::from_credentials(credentials).expect("usable");
    let first = STANDARD.encode(client.initial());
    peer.send(format!(
        "<authenticate xmlns='{SASL2}' mechanism='SCRAM-SHA-1-PLUS'>\
         <initial-response>{first}</initial-response>{more}</authenticate>"
    ));
    let said = peer.said();
    let challenge = said
        .strip_prefix(&format!("<challenge xmlns='{SASL2}'>"))
        .and_then(|rest| rest.strip_suffix("</challenge>"))
        .unwrap_or_else(|| panic!("no challenge: {said}"));
    let challenge = STANDARD.decode(challenge).expect("base 64");
    let last = STANDARD.encode(client.response(&challenge).expect("a challenge"));
    peer.send(format!("<response xmlns='{SASL2}'>{last}</response>"));
    let said = peer.said();
    let Some((before, rest)) = said.split_once("<additional-data>") else {
        return (said, false);
    };
    let (data, behind) = rest.split_once("</additional-data>").expect("its end");
    let proof = STANDARD.decode(data).expect("base 64");
    (format!("{before}{behind}"), client.success(&proof).is_ok())
}

fn offered(task: &str) -> String {
    format!("<continue xmlns='{SASL2}'><tasks><task>{task}</task></tasks></continue>")
}

fn next(task: &str) -> String {
    format!("<next xmlns='{SASL2}' task='{task}'/>")
}

fn hash(text: &str) -> String {
    format!("<task-data xmlns='{SASL2}'><hash xmlns='urn:xmpp:scram-upgrade:0'>{text}</hash></task-data>")
}

/// The salt and the iterations of what is said.
fn salt(said: &str) -> (Vec<u8>, u32) {
    let start = format!("<task-data xmlns='{SASL2}'><salt xmlns='urn:xmpp:scram-upgrade:0' iterations='");
    let (iterations, rest) = said
        .strip_prefix(&start)
        .and_then(|rest| rest.strip_suffix("</salt></task-data>"))
        .and_then(|rest| rest.split_once("'>"))
        .unwrap_or_else(|| panic!("no salt: {said}"));
    (
        STANDARD.decode(rest).expect("base 64"),
        iterations.parse().expect("a number"),
    )
}

/// SaltedPassword, in base 64.
fn salted<P: ScramProvider>(password: &str, (salt, iterations): &(Vec<u8>, u32)) -> String {
    STANDARD.encode(P::derive(&Password::Plain(password.to_owned()), salt, *iterations).expect("a good password"))
}

/// As far as the first `<continue/>`: both tasks are wanted.
fn continued(world: &World) -> Peer {
    let mut peer = opened(world, only(&[Hash::Sha1]));
    let more = AGENT.to_owned() + &wanted(&[SHA_256, SHA_512]) + &bind2("Test", "");
    assert_eq!(by_scram(&mut peer, "secret", &more), (offered(SHA_256), true));
    peer
}

/// As far as the salt for SHA-256.
fn begun(world: &World) -> Peer {
    let mut peer = continued(world);
    peer.send(next(SHA_256));
    salt(&peer.said());
    peer
}

#[test]
fn tasks_are_offered_for_what_the_server_takes() {
    let feature = |world: &World| {
        let mut peer = world.connect(true);
        peer.send(OPEN);
        let said = peer.said();
        let (_, rest) = said.split_once("</bind></inline>").expect("SASL2");
        rest.split("</authentication>").next().expect("its end").to_owned()
    };
    let mut world = World::new();
    assert_eq!(feature(&world), wanted(&[SHA_256, SHA_512]));
    world.config.policy.hashes = vec![Hash::Sha1, Hash::Sha256];
    assert_eq!(feature(&world), wanted(&[SHA_256]));
    // A domain whose passwords are known elsewhere.
    let elsewhere = Policy {
        hashes: Vec::new(),
        ..Policy::default()
    };
    world.config.policies.insert("example.org".to_owned(), elsewhere);
    assert_eq!(feature(&world), "");
    // What is not offered is no task, whatever the client asks for.
    let world = World::new().with_tls(TlsPolicy::Optional);
    let mut peer = world.connect(false);
    peer.send(OPEN);
    assert!(!peer.said().contains("upgrade"), "not in the clear");
}

/// XEP-0480 sections 2.2, 2.3 and 3: two tasks, then all that the login asked for.
#[test]
fn two_tasks() {
    let world = World::new();
    let mut peer = continued(&world);
    assert!(peer.core.is_negotiating() && peer.core.bound().is_none());
    let mut salts = [[0; 16]; 3];
    peer.send(next(SHA_256));
    let first = salt(&peer.said());
    assert_eq!(
        first.1, MIN_TASK_ITERATIONS,
        "passwords are set with fewer in this world"
    );
    salts[1].copy_from_slice(&first.0);
    peer.send(hash(&salted::<Sha256>("secret", &first)));
    assert_eq!(peer.said(), offered(SHA_512), "and nothing of SCRAM any more");
    assert_eq!(peer.shell.upgraded.len(), 1, "it is written before the next begins");
    peer.send(next(SHA_512));
    let second = salt(&peer.said());
    assert_ne!(first.0, second.0);
    salts[2].copy_from_slice(&second.0);
    // As in the examples.
    peer.send(hash(&format!("\n  {}\n  ", salted::<Sha512>("secret", &second))));
    let said = peer.said();
    let jid = jid_of(&said).to_owned();
    assert!(jid.starts_with("juliet@example.org/Test/"), "{jid}");
    assert_eq!(said, success(&jid, &bound2("0")) + FEATURES);
    assert_eq!(peer.core.bound().expect("bound").jid.as_str(), jid);
    // What was made is what the password makes.
    let all = Credentials::derive("secret", MIN_TASK_ITERATIONS, salts).expect("a good password");
    let one = |hash| {
        let mut one = Credentials::default();
        one.set(hash, all.get(hash).expect("all").clone());
        ("juliet@example.org".to_owned(), one)
    };
    assert_eq!(peer.shell.upgraded, [one(Hash::Sha256), one(Hash::Sha512)]);
}

#[test]
fn it_means_the_same_however_it_is_cut() {
    let world = World::new();
    let input = next(SHA_256) + &hash(&STANDARD.encode([5; 32]));
    however_cut(
        || continued(&world),
        input.as_bytes(),
        |cut, mut peer| {
            let said = peer.said();
            assert!(
                said.ends_with(&("</task-data>".to_owned() + &offered(SHA_512))),
                "{cut} {said}"
            );
            assert_eq!(peer.shell.upgraded.len(), 1, "{cut}");
        },
    );
}

/// The iterations are those that passwords are set with, and an account that has fewer gets new ones.
#[test]
fn what_is_too_cheap_is_made_anew() {
    let mut world = World::new();
    world.config.iterations = 5000;
    let mut peer = opened(&world, Lookup::Found(credentials("secret")));
    assert_eq!(
        by_scram(&mut peer, "secret", &wanted(&[SHA_512])),
        (offered(SHA_512), true)
    );
    peer.send(next(SHA_512));
    assert_eq!(salt(&peer.said()).1, 5000);
}

#[test]
fn a_task_is_for_what_is_wanted_and_lacking() {
    use Hash::{Sha1 as S1, Sha256 as S2, Sha512 as S5};
    let world = World::new();
    let check = |has: &[Hash], asks: &[&str], expected: Option<&str>| {
        let mut peer = opened(&world, only(has));
        let expected = match expected {
            Some(task) => offered(task),
            None => success("juliet@example.org", "") + BIND_FEATURES,
        };
        let (said, is_proved) = by_scram(&mut peer, "secret", &wanted(asks));
        assert_eq!((said, is_proved), (expected, true), "{has:?} {asks:?}");
    };
    check(&[S1], &[], None);
    check(
        &[S1],
        &["UPGR-SCRAM-SHA-1", "UPGR-SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", ""],
        None,
    );
    check(&[S1, S2, S5], &[SHA_256, SHA_512], None);
    check(&[S1, S2], &[SHA_256, SHA_512], Some(SHA_512));
    check(&[S1, S2], &[SHA_256], None);
    check(&[S1], &["UPGR-BLOOP2", SHA_512, SHA_256], Some(SHA_512));
    // One that is asked for twice is done once.
    let mut peer = opened(&world, only(&[S1, S5]));
    by_scram(&mut peer, "secret", &wanted(&[SHA_256, SHA_256]));
    peer.send(next(SHA_256) + &hash(&STANDARD.encode([5; 32])));
    assert!(
        peer.said()
            .ends_with(&(success("juliet@example.org", "") + BIND_FEATURES))
    );
    // Retired here.
    let mut world = World::new();
    world.config.policy.hashes = vec![S1, S2];
    let mut peer = opened(&world, only(&[S1, S2]));
    let (said, _) = by_scram(&mut peer, "secret", &wanted(&[SHA_512]));
    assert_eq!(said, success("juliet@example.org", "") + BIND_FEATURES);
}

/// What a client sends becomes as good as the password: so it has to have shown that.
#[test]
fn nobody_gets_a_task_without_the_password() {
    let mut world = World::new();
    let both = wanted(&[SHA_256, SHA_512]);
    let mut peer = opened(&world, only(&[Hash::Sha1]));
    assert_eq!(by_scram(&mut peer, "wrong", &both), (failure2("not-authorized"), false));
    let Lookup::Found(credentials) = only(&[Hash::Sha1]) else {
        unreachable!()
    };
    let mut peer = opened(&world, Lookup::Disabled(credentials));
    assert_eq!(
        by_scram(&mut peer, "secret", &both),
        (failure2("account-disabled"), false)
    );
    let mut peer = opened(&world, Lookup::Missing);
    assert_eq!(
        by_scram(&mut peer, "secret", &both),
        (failure2("not-authorized"), false)
    );
    // Another one than the stream is for.
    let mut peer = world.connect(true);
    peer.send(OPEN.replace("to='example.org'", "to='example.org' from='romeo@example.org'"));
    peer.said();
    peer.shell.accounts.insert("juliet@example.org", only(&[Hash::Sha1]));
    assert_eq!(
        by_scram(&mut peer, "secret", &both),
        (failure2("invalid-authzid"), false)
    );
    // PLAIN makes the verifiers by the way.
    let mut peer = opened(&world, only(&[Hash::Sha1]));
    peer.send(authenticate("juliet", "secret", &both));
    assert_eq!(peer.said(), success("juliet@example.org", "") + BIND_FEATURES);

    world.config.policy.tokens = TokenPolicy::Any;
    let request = "<request-token xmlns='urn:xmpp:fast:0' mechanism='HT-SHA-256-NONE'/>";
    let mut peer = world.opened();
    peer.send(authenticate("juliet", "secret", &(AGENT.to_owned() + request)));
    let said = peer.said();
    let (_, token) = said.split_once(" token='").expect("a token");
    let token = token.split('\'').next().expect("its end");
    let mac = Hash::Sha256.hmac(token.as_bytes(), b"Initiator");
    let data = STANDARD.encode([b"juliet\0", &mac[..]].concat());
    let mut peer = opened(&world, only(&[Hash::Sha1]));
    peer.send(format!(
        "<authenticate xmlns='{SASL2}' mechanism='HT-SHA-256-NONE'><initial-response>{data}</initial-response>\
         <fast xmlns='urn:xmpp:fast:0'/>{AGENT}{both}</authenticate>"
    ));
    let said = peer.said();
    assert!(said.starts_with("<success ") && said.ends_with(BIND_FEATURES), "{said}");
    assert!(peer.shell.upgraded.is_empty());
}

/// A failed task is a failed login (XEP-0388 section 2.6.3), and a stream that continued is not authenticated again
/// (section 4.8).
#[test]
fn what_fails() {
    let world = World::new();
    let check = |make: fn(&World) -> Peer, input: &str, condition: &str| {
        for again in [authenticate("juliet", "secret", ""), plain("", "juliet", "secret")] {
            let mut peer = make(&world);
            peer.send(input);
            assert_eq!(peer.said(), failure2(condition), "{input}");
            assert_eq!(peer.next, Next::Read);
            assert!(peer.shell.upgraded.is_empty(), "{input}");
            assert!(peer.core.bound().is_none());
            peer.send(again);
            peer.expect_end(&error("policy-violation"));
        }
    };
    let good = hash(&STANDARD.encode([5; 32]));
    // The task that stands behind, one that nobody knows, none.
    check(continued, &next(SHA_512), "invalid-mechanism");
    check(continued, &next("UPGR-BLOOP2"), "invalid-mechanism");
    check(continued, &format!("<next xmlns='{SASL2}'/>"), "invalid-mechanism");
    check(continued, &good, "malformed-request");
    check(continued, &format!("<abort xmlns='{SASL2}'/>"), "aborted");
    check(begun, &next(SHA_256), "malformed-request");
    check(begun, &format!("<task-data xmlns='{SASL2}'/>"), "malformed-request");
    let elsewhere = good.replace("urn:xmpp:scram-upgrade:0", "urn:test");
    check(begun, &elsewhere, "malformed-request");
    check(begun, &hash(""), "malformed-request");
    check(begun, &hash("!"), "incorrect-encoding");
    check(begun, &hash("="), "incorrect-encoding");
    check(begun, &hash(&STANDARD.encode([5; 31])), "malformed-request");
    check(begun, &hash(&STANDARD.encode([5; 64])), "malformed-request");
    let text = "<text>the user does not want to</text>";
    check(begun, &format!("<abort xmlns='{SASL2}'>{text}</abort>"), "aborted");

    // What is done stays done.
    let mut peer = begun(&world);
    peer.send(good + &next(SHA_512) + &hash(""));
    let said = peer.said();
    assert!(said.ends_with(&failure2("malformed-request")), "{said}");
    assert_eq!(peer.shell.upgraded.len(), 1);
}

/// XEP-0388 sections 2.4 and 4.8, and the limits of who has not logged in.
#[test]
fn what_ends_the_stream() {
    let world = World::new();
    for make in [continued, begun] {
        for element in [
            "<iq type='get' id='1'/>".to_owned(),
            bind("b", "balcony"),
            "<enable xmlns='urn:xmpp:sm:3'/>".to_owned(),
            plain("", "juliet", "secret"),
            format!("<response xmlns='{SASL2}'>AA==</response>"),
            format!("<starttls xmlns='{NS_TLS}'/>"),
        ] {
            let mut peer = make(&world);
            peer.send(element);
            peer.expect_end(&error_text("policy-violation", "a login is under way"));
        }
        let mut peer = make(&world);
        peer.send(authenticate("juliet", "secret", ""));
        peer.expect_end(&error("policy-violation"));

        let mut peer = make(&world);
        peer.send(hash(&"A".repeat(world.config.before_login.bytes)));
        let said = peer.said();
        assert!(said.contains("<stanza-too-big "), "{said}");
        assert_eq!(peer.next, Next::Close);

        let mut peer = make(&world);
        peer.time_out();
        peer.expect_end(&error("connection-timeout"));
        assert!(!peer.core.awaits_resource());
    }
}

/// While the verifier is written nothing is read, and an order of the server is followed.
#[test]
fn it_waits_for_the_disk() {
    let world = World::new();
    let mut peer = begun(&world);
    peer.is_held = true;
    peer.send(hash(&STANDARD.encode([5; 32])) + &next(SHA_512));
    assert_eq!((peer.said().as_str(), peer.next), ("", Next::Wait));
    peer.is_held = false;
    peer.run();
    assert!(peer.said().starts_with(&offered(SHA_512)));

    let mut peer = begun(&world);
    peer.is_held = true;
    peer.send(hash(&STANDARD.encode([5; 32])));
    peer.tell(router::Event::End(StreamError::not_authorized()));
    peer.expect_end(&error("not-authorized"));
    // The answer comes too late to matter.
    peer.is_held = false;
    peer.run();
    assert_eq!((peer.said().as_str(), peer.next), ("", Next::Close));
}

/// The rest of the login looks at the account as it is then.
#[test]
fn an_account_that_is_removed_meanwhile() {
    let world = World::new();
    let mut peer = opened(&world, only(&[Hash::Sha1]));
    by_scram(&mut peer, "secret", &(AGENT.to_owned() + &wanted(&[SHA_256])));
    let juliet = Jid::parse("juliet@example.org").expect("a JID");
    world.store.write(accounts::remove(&juliet), Box::new(|_| {}));
    world.store.settle();
    peer.send(next(SHA_256) + &hash(&STANDARD.encode([5; 32])));
    let said = peer.said();
    assert!(said.ends_with(&failure2("not-authorized")), "{said}");
}
