//! SASL2 (XEP-0388), Bind 2 (XEP-0386) and stream management inline (XEP-0198 section 9).

use auth::Lookup;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sasl::client::Mechanism as _;
use sasl::client::mechanisms::Scram;
use sasl::common::scram::Sha256;
use sasl::common::{ChannelBinding, Credentials};
use stanza::Jid;
use store::Store;

use super::world::*;
use crate::{Next, TlsPolicy};

pub(super) const SASL2: &str = "urn:xmpp:sasl:2";
const SM: &str = "urn:xmpp:sm:3";
const CLIENT: &str = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'><software>Test</software></user-agent>";

/// A request with PLAIN, which needs one message.
pub(super) fn authenticate(user: &str, password: &str, more: &str) -> String {
    let data = STANDARD.encode(format!("\0{user}\0{password}"));
    format!(
        "<authenticate xmlns='{SASL2}' mechanism='PLAIN'><initial-response>{data}</initial-response>{more}</authenticate>"
    )
}

pub(super) fn bind2(tag: &str, more: &str) -> String {
    let tag = if tag.is_empty() {
        String::new()
    } else {
        format!("<tag>{tag}</tag>")
    };
    format!("<bind xmlns='urn:xmpp:bind:0'>{tag}{more}</bind>")
}

pub(super) fn success(jid: &str, more: &str) -> String {
    format!("<success xmlns='{SASL2}'><authorization-identifier>{jid}</authorization-identifier>{more}</success>")
}

pub(super) fn bound2(more: &str) -> String {
    format!("<bound xmlns='urn:xmpp:bind:0'><archive xmlns='urn:test:archive'>{more}</archive></bound>")
}

pub(super) fn failure2(condition: &str) -> String {
    format!("<failure xmlns='{SASL2}'><{condition} xmlns='{NS_SASL}'/></failure>")
}

pub(super) const FEATURES: &str = "<stream:features><test xmlns='urn:test'/>\
    <limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>6000</max-bytes><idle-seconds>300</idle-seconds></limits>\
    </stream:features>";

/// The attribute of an element that is said.
fn attr<'a>(said: &'a str, element: &str, name: &str) -> &'a str {
    let (_, rest) = said.split_once(&format!("<{element} ")).expect("the element");
    let (tag, _) = rest.split_once('>').expect("a tag");
    let (_, value) = tag.split_once(&format!("{name}='")).expect("the attribute");
    value.split('\'').next().expect("its end")
}

pub(super) fn jid_of(said: &str) -> &str {
    let (_, rest) = said
        .split_once("<authorization-identifier>")
        .unwrap_or_else(|| panic!("nobody: {said}"));
    rest.split('<').next().expect("its end")
}

#[test]
fn is_offered_under_tls_only() {
    let world = World::new();
    let mut peer = world.connect(true);
    peer.send(OPEN);
    let said = peer.said();
    let (_, offer) = said
        .split_once("<authentication xmlns='urn:xmpp:sasl:2'>")
        .expect("an offer");
    let (offer, _) = offer.split_once("</authentication>").expect("its end");
    assert!(
        offer.starts_with("<mechanism>SCRAM-SHA-512-PLUS</mechanism>"),
        "{offer}"
    );
    assert!(
        offer.ends_with(
            "<inline><sm xmlns='urn:xmpp:sm:3'/><bind xmlns='urn:xmpp:bind:0'><inline>\
             <feature var='urn:test:switch'/></inline></bind></inline>\
             <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-256</upgrade>\
             <upgrade xmlns='urn:xmpp:sasl:upgrade:0'>UPGR-SCRAM-SHA-512</upgrade>"
        ),
        "{offer}"
    );
    for tls in [TlsPolicy::Required, TlsPolicy::Optional, TlsPolicy::Off] {
        let mut peer = World::new().with_tls(tls).connect(false);
        peer.send(OPEN);
        assert!(!peer.said().contains(SASL2), "{tls:?}");
        peer.send(authenticate("juliet", "secret", ""));
        assert_eq!(peer.said(), failure2("encryption-required"), "{tls:?}");
        assert!(peer.shell.looked_up.is_empty());
    }
}

/// XEP-0388 section 2.6.1: the success, then features, and no new stream.
#[test]
fn without_more() {
    let world = World::new();
    however_cut(
        || world.opened(),
        authenticate("juliet", "secret", CLIENT).as_bytes(),
        |cut, mut peer| assert_eq!(peer.said(), success("juliet@example.org", "") + BIND_FEATURES, "{cut}"),
    );
    let mut peer = world.opened();
    peer.send(authenticate("juliet", "secret", ""));
    peer.said();
    peer.send(bind("b", "balcony"));
    assert_eq!(peer.said(), bound("b", "juliet@example.org/balcony"));
}

#[test]
fn with_scram() {
    let mut peer = World::new().opened();
    let credentials = Credentials::default()
        .with_username("juliet")
        .with_password("secret")
        .with_channel_binding(ChannelBinding::TlsExporter(vec![7; 32]));
    let mut client = Scram::<Sha256>::from_credentials(credentials).expect("usable");
    let first = STANDARD.encode(client.initial());
    peer.send(format!(
        "<authenticate xmlns='{SASL2}' mechanism='SCRAM-SHA-256-PLUS'>\
         <initial-response>\n  {first}\n</initial-response></authenticate>"
    ));
    let said = peer.said();
    let challenge = said
        .strip_prefix("<challenge xmlns='urn:xmpp:sasl:2'>")
        .and_then(|rest| rest.strip_suffix("</challenge>"))
        .expect("a challenge");
    let challenge = STANDARD.decode(challenge).expect("base 64");
    let last = STANDARD.encode(client.response(&challenge).expect("a challenge"));
    peer.send(format!("<response xmlns='{SASL2}'>{last}</response>"));
    let said = peer.said();
    let (_, data) = said.split_once("<additional-data>").expect("the server's proof");
    let data = STANDARD
        .decode(data.split('<').next().expect("its end"))
        .expect("base 64");
    client.success(&data).expect("the server knows the password too");
    assert_eq!(jid_of(&said), "juliet@example.org");
}

/// XEP-0386 section 3.2: the resource, features and all they say in one answer.
#[test]
fn with_a_resource() {
    let world = World::new();
    let mut peer = world.opened();
    let switch = "<enable xmlns='urn:test:switch'/><unknown xmlns='urn:test:unknown'/>";
    peer.send(authenticate(
        "juliet",
        "secret",
        &(CLIENT.to_owned() + &bind2("Test", switch)),
    ));
    let said = peer.said();
    let jid = jid_of(&said).to_owned();
    assert_eq!(said, success(&jid, &bound2("0")) + FEATURES);
    let made = jid
        .strip_prefix("juliet@example.org/Test/")
        .expect("the tag stands first");
    assert_eq!(made.len(), 16);
    assert!(!made.contains("d4565fa7"), "the id of the client is nobody's business");
    assert_eq!(peer.core.bound().expect("bound").jid.as_str(), jid);
    // The same client gets the same resource, and its earlier session ends; another tag is still the same client.
    for tag in ["Test", "Test 2"] {
        let mut again = world.opened();
        again.send(authenticate("juliet", "secret", &(CLIENT.to_owned() + &bind2(tag, ""))));
        assert_eq!(jid_of(&again.said()), format!("juliet@example.org/{tag}/{made}"));
        peer.run();
        peer.expect_end(&error("conflict"));
        peer = again;
    }
    // One that does not name itself gets another, and ends nobody.
    let mut other = world.opened();
    other.send(authenticate("juliet", "secret", &bind2("", "")));
    let said = other.said();
    assert_ne!(jid_of(&said), format!("juliet@example.org/{made}"));
    peer.run();
    assert_eq!((peer.said().as_str(), peer.next), ("", Next::Read));
}

/// What comes for a session from its first moment stands behind the answer.
#[test]
fn nothing_precedes_the_answer() {
    let world = World::new();
    let mut romeo = world.bound("romeo", "orchard");
    let mut peer = world.opened();
    peer.send(authenticate("juliet", "secret", &bind2("", "")));
    let jid = jid_of(&peer.said()).to_owned();
    // The same random numbers make the same resource.
    let mut again = world.opened();
    again.is_held = true;
    again.send(authenticate("juliet", "secret", &bind2("", "")));
    while let Some(event) = again.shell.answers.pop() {
        again.tell(event);
    }
    // It is bound, and what it is told has not been read yet.
    romeo.is_held = true;
    romeo.send(format!(
        "<message to='{jid}' id='m' type='error'><body>hi</body></message>"
    ));
    again.run();
    assert_eq!(again.said(), "");
    again.is_held = false;
    again.run();
    let said = again.said();
    assert!(
        said.starts_with(&(success(&jid, &bound2("0")) + FEATURES + "<message ")),
        "{said}"
    );
    assert!(said.contains("<body>hi</body>"), "{said}");
}

#[test]
fn with_stream_management() {
    let world = World::new();
    let enable = format!("<enable xmlns='{SM}' resume='true' max='30'/>");
    let mut peer = world.opened();
    peer.send(authenticate("juliet", "secret", &bind2("", &enable)));
    let said = peer.said();
    let (jid, id) = (jid_of(&said).to_owned(), attr(&said, "enabled", "id").to_owned());
    let enabled = format!("<enabled xmlns='{SM}' id='{id}' resume='true' max='30'/>");
    let bound = bound2("0").replace("</bound>", &(enabled + "</bound>"));
    assert_eq!(said, success(&jid, &bound) + FEATURES);
    peer.send(format!("<message to='{jid}'/><r xmlns='{SM}'/>"));
    let said = peer.said();
    assert!(said.contains(&format!("<a xmlns='{SM}' h='1'/>")), "{said}");
    assert!(
        said.contains(&format!("<r xmlns='{SM}'/>")),
        "what is sent is counted too: {said}"
    );
    // The connection breaks; the next login resumes, and its wish to bind is ignored.
    let (left, clean) = peer.core.take_bound();
    world.router.unbind(NOW, &left.expect("bound"), clean, &mut peer.turn);
    let resume = format!("<resume xmlns='{SM}' previd='{id}' h='1'/>");
    let mut peer = world.opened();
    peer.send(authenticate("juliet", "secret", &(resume.clone() + &bind2("No", ""))));
    let resumed = format!("<resumed xmlns='{SM}' previd='{id}' h='1'/>");
    assert_eq!(peer.said(), success(&jid, &resumed), "and no features");
    assert_eq!(peer.core.bound().expect("bound").jid.as_str(), jid);
    peer.send(format!("<r xmlns='{SM}'/>"));
    assert_eq!(peer.said(), format!("<a xmlns='{SM}' h='1'/>"));
    // A stream of somebody else is none.
    let mut romeo = world.opened();
    romeo.send(authenticate("romeo", "secret", &(resume + &bind2("", ""))));
    let said = romeo.said();
    let not_found =
        format!("<failed xmlns='{SM}'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>");
    assert_eq!(
        said,
        success(jid_of(&said), &(not_found.clone() + &bound2("0"))) + FEATURES
    );
    // Without a wish to bind, one may be bound later.
    let mut romeo = world.opened();
    romeo.send(authenticate(
        "romeo",
        "secret",
        &format!("<resume xmlns='{SM}' previd='no' h='0'/>"),
    ));
    assert_eq!(romeo.said(), success("romeo@example.org", &not_found) + BIND_FEATURES);
    let mut romeo = world.opened();
    romeo.send(authenticate(
        "romeo",
        "secret",
        &format!("<resume xmlns='{SM}' previd='no'/>"),
    ));
    let bad = not_found.replace("item-not-found", "bad-request");
    assert_eq!(romeo.said(), success("romeo@example.org", &bad) + BIND_FEATURES);
}

#[test]
fn a_disk_that_takes_nothing() {
    let world = World::new();
    let mut peer = world.opened();
    peer.is_held = true;
    let enable = format!("<enable xmlns='{SM}' resume='true'/>");
    peer.send(authenticate("juliet", "secret", &bind2("", &enable)));
    while let Some(event) = peer.shell.answers.pop() {
        peer.tell(event);
    }
    world.store.set_full(true);
    peer.is_held = false;
    peer.run();
    world.store.set_full(false);
    let said = peer.said();
    let enabled = format!("<enabled xmlns='{SM}'/>");
    let bound = bound2("0").replace("</bound>", &(enabled + "</bound>"));
    assert_eq!(
        said,
        success(jid_of(&said), &bound) + FEATURES,
        "managed, not resumable"
    );
}

#[test]
fn what_fails() {
    let world = World::new();
    let check = |input: &str, condition: &str| {
        however_cut(
            || world.opened(),
            input.as_bytes(),
            |cut, mut peer| {
                assert_eq!(peer.said(), failure2(condition), "{input} {cut}");
                assert_eq!(peer.next, Next::Read);
                assert!(peer.core.bound().is_none());
            },
        );
    };
    let bind = bind2("Test", "");
    check(&authenticate("juliet", "wrong", &bind), "not-authorized");
    check(&authenticate("nobody", "secret", &bind), "not-authorized");
    check(&authenticate("nurse", "secret", &bind), "account-disabled");
    check(&authenticate("broken", "secret", &bind), "temporary-auth-failure");
    check(
        &format!("<authenticate xmlns='{SASL2}' mechanism='DIGEST-MD5'/>"),
        "invalid-mechanism",
    );
    check(&format!("<authenticate xmlns='{SASL2}'/>"), "invalid-mechanism");
    check(
        &format!("<response xmlns='{SASL2}'>AA==</response>"),
        "malformed-request",
    );
    check(&format!("<abort xmlns='{SASL2}'/>"), "aborted");
    let raw = |data: &str| {
        format!(
            "<authenticate xmlns='{SASL2}' mechanism='PLAIN'><initial-response>{data}</initial-response></authenticate>"
        )
    };
    check(&raw("!"), "incorrect-encoding");
    check(&raw("="), "incorrect-encoding");
    check(&raw(""), "malformed-request");
    // The next attempt works.
    let mut peer = world.opened();
    peer.send(authenticate("juliet", "wrong", "") + &authenticate("juliet", "secret", &bind));
    let said = peer.said();
    assert!(said.starts_with(&(failure2("not-authorized") + "<success ")), "{said}");
    assert_eq!(peer.shell.failed, [Some("juliet@example.org".to_owned())]);
}

/// A client that falls back to the classic profile is answered in that, and what it wanted before is forgotten; an
/// exchange does not go on in the other profile.
#[test]
fn the_profiles_are_apart() {
    let world = World::new();
    let classic = format!("<success xmlns='{NS_SASL}'/>");
    let more = CLIENT.to_owned() + &bind2("Test", "");
    let mut peer = world.opened();
    peer.send(authenticate("juliet", "wrong", &more) + &plain("", "juliet", "secret"));
    assert_eq!(peer.said(), failure2("not-authorized") + &classic);
    peer.send(OPEN);
    assert!(peer.said().ends_with(BIND_FEATURES), "a new stream");
    assert!(peer.core.bound().is_none());
    let data = STANDARD.encode("\0juliet\0secret");
    let mut peer = world.opened();
    peer.send(format!("<auth xmlns='{NS_SASL}' mechanism='PLAIN'/>"));
    assert_eq!(peer.said(), format!("<challenge xmlns='{NS_SASL}'>=</challenge>"));
    peer.send(format!("<response xmlns='{SASL2}'>{data}</response>"));
    assert_eq!(peer.said(), failure2("malformed-request"));
    peer.send(format!("<response xmlns='{NS_SASL}'>{data}</response>"));
    assert_eq!(peer.said(), failure("malformed-request"), "that exchange is over");
}

/// XEP-0388 sections 2.1, 2.3, 2.4 and 4.8.
#[test]
fn what_ends_the_stream() {
    let world = World::new();
    // Anything but its own elements in the middle of a login.
    for element in [
        "<iq type='get' id='1'/>",
        "<r xmlns='urn:xmpp:sm:3'/>",
        &plain("", "juliet", "secret"),
    ] {
        let mut peer = world.opened();
        peer.send(format!("<authenticate xmlns='{SASL2}' mechanism='PLAIN'/>"));
        assert_eq!(peer.said(), format!("<challenge xmlns='{SASL2}'></challenge>"));
        peer.send(element);
        peer.expect_end(&error_text("policy-violation", "a login is under way"));
    }
    // A second login.
    for again in [authenticate("juliet", "secret", ""), plain("", "juliet", "secret")] {
        let mut peer = world.opened();
        peer.send(authenticate("juliet", "secret", ""));
        peer.said();
        peer.send(again);
        peer.expect_end(&error("policy-violation"));
    }
    for element in ["success", "challenge", "next", "task-data"] {
        let mut peer = world.opened();
        peer.send(format!("<{element} xmlns='{SASL2}'/>"));
        peer.expect_end(&error("unsupported-stanza-type"));
    }
    // Too many attempts.
    let mut peer = world.opened();
    peer.send(authenticate("juliet", "wrong", "").repeat(3));
    let said = peer.said();
    assert!(
        said.ends_with(&error_text("policy-violation", "too many failed attempts to log in")),
        "{said}"
    );
    // `from` names another domain.
    let mut peer = world.connect(true);
    peer.send(OPEN.replace("to='example.org'", "to='example.org' from='juliet@second.example'"));
    let said = peer.said();
    assert!(said.ends_with(&error("invalid-from")), "{said}");
}

#[test]
fn the_login_is_that_of_the_streams_address() {
    let world = World::new();
    for (from, user, is_good) in [
        ("juliet", "juliet", true),
        ("JULIET", "juliet", true),
        ("romeo", "juliet", false),
    ] {
        let mut peer = world.connect(true);
        peer.send(OPEN.replace(
            "to='example.org'",
            &format!("to='example.org' from='{from}@example.org'"),
        ));
        peer.said();
        peer.send(authenticate(user, "secret", &bind2("", "")));
        let said = peer.said();
        if is_good {
            assert!(said.starts_with("<success "), "{from} {said}");
        } else {
            assert_eq!(said, failure2("invalid-authzid"), "{from}");
            assert!(peer.core.bound().is_none());
        }
    }
}

/// A resource that cannot be had ends the login, which may be tried again.
#[test]
fn no_room_for_a_resource() {
    let world = World::new();
    let others: Vec<Peer> = ["1", "2", "3"].iter().map(|name| world.bound("juliet", name)).collect();
    let mut peer = world.opened();
    peer.send(authenticate("juliet", "secret", &bind2("", "")));
    assert_eq!(peer.said(), failure2("temporary-auth-failure"));
    for mut other in others {
        let (bound, clean) = other.core.take_bound();
        world.router.unbind(NOW, &bound.expect("bound"), clean, &mut other.turn);
    }
    peer.send(authenticate("juliet", "secret", &bind2("", "")));
    assert!(peer.said().starts_with("<success "));
    // Removed between the login and the binding.
    let mut peer = world.opened();
    peer.is_held = true;
    peer.send(authenticate("romeo", "secret", &bind2("", "")));
    let romeo = Jid::parse("romeo@example.org").expect("a JID");
    let looked_up = peer.shell.answers.remove(0);
    assert!(matches!(&looked_up, router::Event::Account(Lookup::Found(_))));
    world.store.write(accounts::remove(&romeo), Box::new(|_| {}));
    world.store.settle();
    peer.tell(looked_up);
    peer.is_held = false;
    peer.run();
    assert_eq!(peer.said(), failure2("not-authorized"));
}

/// XEP-0509: who goes by other features is sent back without prejudice, once.
#[test]
fn a_login_by_a_version_of_the_features() {
    const IAP: &str = "urn:xmpp:iap:0";
    let mismatch = format!(
        "<failure xmlns='{SASL2}'><aborted xmlns='{NS_SASL}'/><config-version-mismatch xmlns='{IAP}'/></failure>"
    );
    let world = World::new();
    let said = |value: &str| format!("<config-version xmlns='{IAP}' scheme='opaque' value='{value}'/>");
    let version = |secured: bool| {
        let mut peer = world.connect(secured);
        peer.send(OPEN);
        let features = peer.said();
        features
            .contains("<config-version ")
            .then(|| attr(&features, "config-version", "value").to_owned())
    };
    assert_eq!(version(false), None, "there is no SASL2 in the clear");
    let current = version(true).expect("a version");
    assert_eq!(
        version(true).as_ref(),
        Some(&current),
        "the same until the features change"
    );

    // All in one write.
    let mut peer = world.connect(true);
    let request = authenticate("juliet", "secret", &said(&current));
    peer.send(OPEN.to_owned() + &request);
    assert!(
        peer.said()
            .ends_with(&format!("{}{}", success("juliet@example.org", ""), BIND_FEATURES))
    );

    let mut peer = world.connect(true);
    peer.send(OPEN.to_owned() + &authenticate("juliet", "wrong", &said("AAAA")));
    assert!(peer.said().ends_with(&mismatch));
    assert!(peer.shell.failed.is_empty());
    // What follows is an attempt like any other.
    peer.send(authenticate("juliet", "wrong", &said(&current)));
    assert_eq!(peer.said(), failure2("not-authorized"));
    peer.send(authenticate("juliet", "secret", &said("AAAA")));
    peer.expect_end(&error_text(
        "policy-violation",
        "that version of the features is not this one",
    ));
}
