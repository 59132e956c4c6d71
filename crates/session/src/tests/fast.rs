//! Tokens (XEP-0484) on the wire; which token lets whom in is tested with `auth` and `accounts`.

use auth::{Hash, Policy, TokenPolicy};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use stanza::Jid;
use store::{Found, Store};

use super::sasl2::{FEATURES, SASL2, authenticate, bind2, bound2, failure2, jid_of, success};
use super::world::*;
use crate::Next;

const AGENT: &str = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>Test</software></user-agent>";
const OTHER_AGENT: &str = "<user-agent id='00000000-4d72-4749-b3d3-740edbf87770'/>";
const FAST: &str = "<fast xmlns='urn:xmpp:fast:0'/>";
const DAY: i64 = 86_400;

fn world() -> World {
    let mut world = World::new();
    world.config.policy = Policy {
        tokens: TokenPolicy::Any,
        ..Policy::default()
    };
    world
}

fn request(mechanism: &str) -> String {
    format!("<request-token xmlns='urn:xmpp:fast:0' mechanism='{mechanism}'/>")
}

/// What the channel of these tests is bound to.
fn binding(mechanism: &str) -> Vec<u8> {
    match mechanism {
        "HT-SHA-256-EXPR" => vec![7; 32],
        "HT-SHA-256-ENDP" => vec![9; 32],
        _ => Vec::new(),
    }
}

/// A login by token: draft-schmaus-kitten-sasl-ht-09 section 3.1, computed here.
fn by_token(mechanism: &str, user: &str, token: &str, more: &str) -> String {
    let mac = Hash::Sha256.hmac(token.as_bytes(), &[b"Initiator", &binding(mechanism)[..]].concat());
    let data = STANDARD.encode([user.as_bytes(), b"\0", &mac].concat());
    format!(
        "<authenticate xmlns='{SASL2}' mechanism='{mechanism}'><initial-response>{data}</initial-response>{more}\
         </authenticate>"
    )
}

/// The proof of the server (section 3.3).
fn responder(mechanism: &str, token: &str) -> String {
    let mac = Hash::Sha256.hmac(token.as_bytes(), &[b"Responder", &binding(mechanism)[..]].concat());
    format!("<additional-data>{}</additional-data>", STANDARD.encode(mac))
}

fn token_of(said: &str) -> Option<(String, String)> {
    let (_, rest) = said.split_once("<token xmlns='urn:xmpp:fast:0' expiry='")?;
    let (expiry, rest) = rest.split_once("' token='")?;
    Some((rest.split('\'').next()?.to_owned(), expiry.to_owned()))
}

/// A login with the password that asks for a token.
fn get_token(world: &World, mechanism: &str) -> String {
    let mut peer = world.opened();
    peer.send(authenticate(
        "juliet",
        "secret",
        &(AGENT.to_owned() + &request(mechanism)),
    ));
    let said = peer.said();
    token_of(&said).unwrap_or_else(|| panic!("no token: {said}")).0
}

/// What a login by token is answered with, `days` from now.
fn try_token(world: &World, days: i64, mechanism: &str, token: &str, more: &str) -> String {
    let mut peer = world.opened();
    peer.shell.now += days * DAY;
    peer.shell.randoms = 100 + u8::try_from(days).unwrap_or(99);
    peer.send(by_token(mechanism, "juliet", token, more));
    peer.said()
}

fn logged_in(mechanism: &str, token: &str) -> String {
    let data = responder(mechanism, token);
    success("juliet@example.org", "").replacen("<authorization", &(data + "<authorization"), 1) + BIND_FEATURES
}

#[test]
fn is_offered_as_the_policy_says() {
    let offer = |world: &World| {
        let mut peer = world.connect(true);
        peer.send(OPEN);
        let said = peer.said();
        let fast = said.split_once("<fast xmlns='urn:xmpp:fast:0'>");
        fast.map(|(_, rest)| rest.split("</fast>").next().unwrap_or_default().to_owned())
    };
    let mut world = world();
    let bound = "<mechanism>HT-SHA-256-EXPR</mechanism><mechanism>HT-SHA-256-ENDP</mechanism>";
    assert_eq!(
        offer(&world),
        Some(bound.to_owned() + "<mechanism>HT-SHA-256-NONE</mechanism>")
    );
    world.config.policy.tokens = TokenPolicy::Bound;
    assert_eq!(offer(&world), Some(bound.to_owned()));
    world.config.policy.tokens = TokenPolicy::Off;
    assert_eq!(offer(&world), None);
    assert_eq!(
        try_token(&world, 0, "HT-SHA-256-NONE", "x", FAST),
        failure2("invalid-mechanism")
    );
    // Never in the classic profile.
    world.config.policy.tokens = TokenPolicy::Any;
    let mut peer = world.opened();
    peer.send(auth_element("HT-SHA-256-NONE", b"juliet\0x"));
    assert_eq!(peer.said(), failure("invalid-mechanism"));
}

/// Sections 3.2 to 3.4, with everything a phone asks for when it comes back.
#[test]
fn one_round_trip() {
    for mechanism in ["HT-SHA-256-EXPR", "HT-SHA-256-ENDP", "HT-SHA-256-NONE"] {
        let world = world();
        let mut peer = world.opened();
        let more = AGENT.to_owned() + &bind2("", "") + &request(mechanism);
        peer.send(authenticate("juliet", "secret", &more));
        let said = peer.said();
        let (token, expiry) = token_of(&said).expect("a token");
        assert_eq!(expiry, "2027-02-05T08:00:00.000Z", "21 days");
        let jid = jid_of(&said).to_owned();
        let told = format!("<token xmlns='urn:xmpp:fast:0' expiry='{expiry}' token='{token}'/>");
        assert_eq!(said, success(&jid, &(bound2("0") + &told)) + FEATURES);

        let mut peer = world.opened();
        let more = AGENT.to_owned() + FAST + &bind2("", "");
        peer.send(by_token(mechanism, "juliet", &token, &more));
        let answer = success(&jid, &bound2("0"));
        let data = responder(mechanism, &token);
        let answer = answer.replacen("<authorization", &(data + "<authorization"), 1);
        assert_eq!(peer.said(), answer + FEATURES, "{mechanism}");
        assert_eq!(peer.shell.looked_up, ["juliet@example.org"]);
        assert!(peer.shell.failed.is_empty());
    }
}

#[test]
fn who_gets_none() {
    let world = world();
    for more in [
        // Section 4.1: a client that does not say who it is.
        request("HT-SHA-256-NONE"),
        // Nothing that is offered.
        AGENT.to_owned() + &request("HT-SHA-512-NONE"),
        AGENT.to_owned() + &request("PLAIN"),
        AGENT.to_owned() + "<request-token xmlns='urn:xmpp:fast:0'/>",
        // Not asked for.
        AGENT.to_owned(),
    ] {
        let mut peer = world.opened();
        peer.send(authenticate("juliet", "secret", &more));
        assert_eq!(peer.said(), success("juliet@example.org", "") + BIND_FEATURES, "{more}");
    }
    let mut peer = world.opened();
    let more = AGENT.to_owned() + &request("HT-SHA-256-NONE");
    peer.send(authenticate("juliet", "wrong", &more));
    assert_eq!(peer.said(), failure2("not-authorized"));
}

#[test]
fn what_fails() {
    let world = world();
    let token = get_token(&world, "HT-SHA-256-EXPR");
    let with = |fast: &str| AGENT.to_owned() + fast;
    let check = |mechanism: &str, token: &str, more: &str, condition: &str| {
        assert_eq!(
            try_token(&world, 0, mechanism, token, more),
            failure2(condition),
            "{mechanism} {more}"
        );
    };
    check("HT-SHA-256-EXPR", "wrong", &with(FAST), "not-authorized");
    // Section 3.4: bound to the mechanism.
    check("HT-SHA-256-NONE", &token, &with(FAST), "not-authorized");
    check("HT-SHA-256-ENDP", &token, &with(FAST), "not-authorized");
    check("HT-SHA-256-EXPR", &token, AGENT, "malformed-request");
    check(
        "HT-SHA-256-EXPR",
        &token,
        &(OTHER_AGENT.to_owned() + FAST),
        "not-authorized",
    );
    for count in ["0", "-1", "x", ""] {
        let fast = format!("<fast xmlns='urn:xmpp:fast:0' count='{count}'/>");
        check("HT-SHA-256-EXPR", &token, &with(&fast), "malformed-request");
    }
    // Somebody else's, and nobody's.
    for user in ["romeo", "nobody", "a b@"] {
        let mut peer = world.opened();
        peer.send(by_token("HT-SHA-256-EXPR", user, &token, &with(FAST)));
        assert_eq!(peer.said(), failure2("not-authorized"), "{user}");
    }
    let mut peer = world.opened();
    peer.shell.refuses_account = true;
    peer.send(by_token("HT-SHA-256-EXPR", "juliet", &token, &with(FAST)));
    assert_eq!(peer.said(), failure2("temporary-auth-failure"), "too many attempts");
    // A password is still good on the same stream; and the token all the time.
    let mut peer = world.opened();
    peer.send(by_token("HT-SHA-256-EXPR", "juliet", "wrong", &with(FAST)) + &authenticate("juliet", "secret", ""));
    assert_eq!(
        peer.said(),
        failure2("not-authorized") + &success("juliet@example.org", "") + BIND_FEATURES
    );
    assert_eq!(peer.shell.failed, [Some("juliet@example.org".to_owned())]);
    let good = try_token(&world, 0, "HT-SHA-256-EXPR", &token, &with(FAST));
    assert_eq!(good, logged_in("HT-SHA-256-EXPR", &token));
}

/// Sections 3.4 to 3.6.
#[test]
fn counted_renewed_given_up_and_void() {
    let world = world();
    let none = "HT-SHA-256-NONE";
    let fast = |attributes: &str| format!("{AGENT}<fast xmlns='urn:xmpp:fast:0'{attributes}/>");
    let first = get_token(&world, none);
    assert_eq!(
        try_token(&world, 0, none, &first, &fast(" count='2'")),
        logged_in(none, &first)
    );
    for count in ["1", "2"] {
        let said = try_token(&world, 0, none, &first, &fast(&format!(" count='{count}'")));
        assert_eq!(said, failure2("not-authorized"), "{count}");
    }
    assert_eq!(
        try_token(&world, 0, none, &first, &fast(" count='3'")),
        logged_in(none, &first)
    );
    // Renewed after a day; the one before is good until the new one was used.
    let said = try_token(&world, 2, none, &first, &fast(""));
    let (second, _) = token_of(&said).expect("a new one");
    assert_ne!(first, second);
    let said = try_token(&world, 2, none, &first, &fast(""));
    assert!(said.starts_with("<success "), "it may not have come: {said}");
    let second = token_of(&said).map_or(second, |(token, _)| token);
    assert_eq!(try_token(&world, 2, none, &second, &fast("")), logged_in(none, &second));
    assert_eq!(
        try_token(&world, 2, none, &first, &fast("")),
        failure2("not-authorized")
    );
    // Given up.
    let said = try_token(&world, 4, none, &second, &fast(" invalidate='true'"));
    assert_eq!(said, logged_in(none, &second), "and no new one, though it is due");
    assert_eq!(
        try_token(&world, 4, none, &second, &fast("")),
        failure2("not-authorized")
    );
    // Void by time.
    let third = get_token(&world, none);
    let said = try_token(&world, 21, none, &third, &fast(""));
    assert_eq!(said, failure2("credentials-expired"));
}

/// The account is read when the login begins and written behind it: what happens in between counts.
#[test]
fn ended_in_between() {
    let world = world();
    let none = "HT-SHA-256-NONE";
    let more = AGENT.to_owned() + FAST;
    let juliet = Jid::parse("juliet@example.org").expect("a JID");
    let token = get_token(&world, none);
    let read = || {
        let store = world.store.clone();
        store.release();
        let row = store.read_wait(accounts::get(&juliet)).and_then(Found::row);
        store.hold();
        accounts::Account::from_row("juliet@example.org", &row.expect("read").expect("there")).expect("sound")
    };
    let mut account = read();
    let mut peer = world.opened();
    peer.is_held = true;
    peer.send(by_token(none, "juliet", &token, &more));
    // The tokens are read, and the password is changed before the login is written down.
    world.store.step();
    world.store.write(accounts::end_logins(&mut account), Box::new(|_| {}));
    peer.is_held = false;
    peer.run();
    let said = peer.said();
    assert_eq!(said, failure2("not-authorized"));
    assert_eq!(peer.next, Next::Read);
    assert_eq!(try_token(&world, 0, none, &token, &more), failure2("not-authorized"));
    // Disabled: only who has the token is told.
    let token = get_token(&world, none);
    let mut account = read();
    account.disabled = true;
    world.store.write(accounts::change(&account), Box::new(|_| {}));
    world.store.settle();
    assert_eq!(try_token(&world, 0, none, &token, &more), failure2("account-disabled"));
    assert_eq!(try_token(&world, 0, none, "wrong", &more), failure2("not-authorized"));
}

/// Guarantee G6: a full disk keeps nobody out; but a token that shall be void has to be.
#[test]
fn on_a_full_disk() {
    let world = world();
    let none = "HT-SHA-256-NONE";
    let token = get_token(&world, none);
    world.store.set_full(true);
    let more = AGENT.to_owned() + FAST;
    assert_eq!(try_token(&world, 0, none, &token, &more), logged_in(none, &token));
    let mut peer = world.opened();
    peer.send(authenticate("juliet", "secret", &(AGENT.to_owned() + &request(none))));
    assert_eq!(
        peer.said(),
        success("juliet@example.org", "") + BIND_FEATURES,
        "without a token"
    );
    let give_up = AGENT.to_owned() + "<fast xmlns='urn:xmpp:fast:0' invalidate='1'/>";
    assert_eq!(
        try_token(&world, 0, none, &token, &give_up),
        failure2("temporary-auth-failure")
    );
    world.store.set_full(false);
    assert_eq!(try_token(&world, 0, none, &token, &give_up), logged_in(none, &token));
}
