//! Dialback (XEP-0220): only under TLS, only where the operator says so, and no answer is taken that was not asked for.
//! Row 52 of the faults, rows 20 to 22 of the attacks.

use std::time::Duration;

use testkit::{Certified, Client, Stanza};

use super::{HERE, THERE, World, bounced, expect_message, friend, message};
use crate::support::chat;

const ON: &str = "dialback = true\n";
/// Long enough for somebody to connect on this machine.
const SOON: Duration = Duration::from_millis(100);

/// A server that takes dialback, and a scripted one that has no certificate.
async fn world(users: usize) -> World {
    let mut world = World::with(users, |builder| builder.federation_toml(ON)).await;
    world.remote.shows(&Certified::self_signed(&[THERE]));
    world
}

fn result(from: &str, to: &str, more: &str, key: &str) -> String {
    format!("<db:result from='{from}' to='{to}'{more}>{key}</db:result>")
}

fn verify(from: &str, to: &str, id: &str, more: &str, key: &str) -> String {
    format!("<db:verify from='{from}' to='{to}' id='{id}'{more}>{key}</db:verify>")
}

/// The server asks who has made a key; its question, and the stream that it came on.
async fn asked(world: &World, link: &Client, key: &str) -> Client {
    let mut check = world.remote.received_tls().await;
    check
        .answer_header("<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>")
        .await;
    let id = link.header.attr("id").unwrap_or_default();
    check
        .expect(&format!(
            "<db:verify from='{HERE}' to='{THERE}' id='{id}'>{key}</db:verify>"
        ))
        .await;
    check
}

#[tokio::test]
async fn who_is_called_back() {
    let world = world(1).await;
    let mut user = world.user().await;
    let mut link = world.remote.opened(&world.server, HERE).await;
    assert!(
        link.is_offered("dialback", "urn:xmpp:features:dialback"),
        "{:?}",
        link.features
    );
    assert!(!link.is_offered("mechanisms", "urn:ietf:params:xml:ns:xmpp-sasl"));
    link.send(result(THERE, HERE, "", "the key")).await;
    let mut check = asked(&world, &link, "the key").await;
    let id = link.header.attr("id").unwrap_or_default().to_owned();
    check.send(verify(THERE, HERE, &id, " type='valid'", "")).await;
    link.expect(&format!("<db:result from='{HERE}' to='{THERE}' type='valid'/>"))
        .await;
    link.send(message(&friend(), &user.jid, "hello")).await;
    user.expect("<message type='chat'><body>hello</body></message>").await;
    // One pair, and no more of them.
    link.send(message("friend@other.example", &user.jid, "forged")).await;
    link.wait_for_end("invalid-from").await;
    user.nothing_more().await;
}

#[tokio::test]
async fn a_key_that_is_wrong() {
    let world = world(1).await;
    let mut link = world.remote.opened(&world.server, HERE).await;
    link.send(result(THERE, HERE, "", "forged")).await;
    let mut check = asked(&world, &link, "forged").await;
    let id = link.header.attr("id").unwrap_or_default().to_owned();
    check.send(verify(THERE, HERE, &id, " type='invalid'", "")).await;
    link.expect(&format!("<db:result from='{HERE}' to='{THERE}' type='invalid'/>"))
        .await;
    link.expect_end().await;
}

/// Row 52: nobody can be asked.
#[tokio::test]
async fn nobody_can_be_asked() {
    let mut world = world(1).await;
    let mut link = world.remote.opened(&world.server, HERE).await;
    world.remote.down();
    link.send(result(THERE, HERE, "", "key")).await;
    let answer = link.expect("<db:result type='error'/>").await;
    assert!(answer.raw().contains("remote-server-timeout"), "{answer:?}");
    is_brief(&answer);
    // It is no login, and the stream may try again.
    link.send(message(&friend(), "u0@example.org", "forged")).await;
    link.expect_stream_error("not-authorized").await;
    let mut link = world.remote.opened(&world.server, HERE).await;
    link.send(result("nowhere.example", HERE, "", "key")).await;
    let answer = link.expect("<db:result type='error'/>").await;
    assert!(answer.raw().contains("remote-server-not-found"), "{answer:?}");
    is_brief(&answer);
    // The operator is told.
    let why = world.server.jackdaw(&["why", THERE], "");
    let said = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(said.contains("refused"), "{said}");
}

/// Whoever has shown a key has us connect to where he likes: he is not told what is there.
fn is_brief(answer: &Stanza) {
    let error = answer.children().next().expect("an error");
    let inside: Vec<_> = error.children().map(minidom::Element::name).collect();
    assert_eq!(inside.len(), 1, "{answer:?}");
}

/// Rows 20 and 22 of the attacks.
#[tokio::test]
async fn answers_that_nobody_has_asked_for() {
    let world = world(1).await;
    let mut user = world.user().await;
    let unasked = |id: &str| {
        [
            result(THERE, HERE, " type='valid'", ""),
            result(HERE, THERE, " type='valid'", ""),
            verify(THERE, HERE, id, " type='valid'", ""),
            verify(HERE, THERE, id, " type='valid'", ""),
        ]
    };
    // On a stream of the attacker.
    let mut link = world.remote.opened(&world.server, HERE).await;
    let id = link.header.attr("id").unwrap_or_default().to_owned();
    for forged in unasked(&id) {
        link.send(forged).await;
    }
    link.send(message(&friend(), &user.jid, "forged")).await;
    link.expect_stream_error("not-authorized").await;
    // While the right question is on its way, on both streams.
    let mut link = world.remote.opened(&world.server, HERE).await;
    let id = link.header.attr("id").unwrap_or_default().to_owned();
    link.send(result(THERE, HERE, "", "key")).await;
    let mut check = asked(&world, &link, "key").await;
    for forged in unasked(&id) {
        link.send(forged).await;
    }
    for forged in [
        verify(THERE, HERE, "another", " type='valid'", ""),
        verify("other.example", HERE, &id, " type='valid'", ""),
        verify(THERE, "conference.example.org", &id, " type='valid'", ""),
        result(THERE, HERE, " type='valid'", ""),
    ] {
        check.send(forged).await;
    }
    check.send(verify(THERE, HERE, &id, " type='invalid'", "")).await;
    link.expect("<db:result type='invalid'/>").await;
    link.expect_end().await;
    user.nothing_more().await;
}

/// Row 22 of the attacks: without the operator's word a certificate is needed, and nobody is called.
#[tokio::test]
async fn it_is_off() {
    let mut world = World::new(1).await;
    world.remote.shows(&Certified::self_signed(&[THERE]));
    let mut link = world.remote.opened(&world.server, HERE).await;
    assert!(
        !link.is_offered("dialback", "urn:xmpp:features:dialback"),
        "{:?}",
        link.features
    );
    link.send(result(THERE, HERE, "", "key")).await;
    let answer = link.stanza().await;
    assert!(
        answer.matches("<db:result type='error'/>") || answer.name() == "error",
        "{answer:?}"
    );
    assert!(world.remote.accept_within(SOON).await.is_none());
    // Where it is on, it is not for those of whom more is asked.
    let pin = format!(
        "{ON}[[federation.peer]]\ndomain = \"{THERE}\"\npins = [\"{}\"]\n",
        Certified::self_signed(&[THERE]).pin()
    );
    let mut world = World::with(1, |builder| builder.federation_toml(&pin)).await;
    world.remote.shows(&Certified::self_signed(&[THERE]));
    let mut link = world.remote.opened(&world.server, HERE).await;
    assert!(
        !link.is_offered("dialback", "urn:xmpp:features:dialback"),
        "{:?}",
        link.features
    );
    link.send(result(THERE, HERE, "", "key")).await;
    link.stanza().await;
    assert!(world.remote.accept_within(SOON).await.is_none());
}

/// Row 21 of the attacks: a key is good for one stream of one pair.
#[tokio::test]
async fn our_own_keys() {
    let world = world(1).await;
    let mut user = world.user().await;
    user.send(chat(&friend(), "1")).await;
    let mut link = world.remote.received_tls().await;
    // The id that this side gives the stream.
    let id = link
        .answer_header("<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>")
        .await;
    let shown = link.expect(&format!("<db:result from='{HERE}' to='{THERE}'/>")).await;
    let key = shown.text();
    let mut ask = world.remote.opened(&world.server, HERE).await;
    for (from, to, asked, said, verdict) in [
        (THERE, HERE, id.as_str(), key.as_str(), "valid"),
        (THERE, HERE, "another", key.as_str(), "invalid"),
        (THERE, HERE, id.as_str(), "0000", "invalid"),
        (THERE, HERE, id.as_str(), "", "invalid"),
        ("other.example", HERE, id.as_str(), key.as_str(), "invalid"),
        (THERE, "conference.example.org", id.as_str(), key.as_str(), "invalid"),
        // The same text, cut elsewhere.
        ("remote.exampl", HERE, &format!("e{id}"), key.as_str(), "invalid"),
    ] {
        ask.send(verify(from, to, asked, "", said)).await;
        ask.expect(&format!(
            "<db:verify from='{to}' to='{from}' id='{asked}' type='{verdict}'/>"
        ))
        .await;
    }
    // Not for whom it is.
    ask.send(verify(THERE, "elsewhere.example", &id, "", &key)).await;
    ask.expect("<db:verify type='error'/>").await;
    // Answers about others are none.
    link.send(result("other.example", HERE, " type='valid'", "")).await;
    link.send(result(THERE, "conference.example.org", " type='valid'", ""))
        .await;
    link.send(result(THERE, HERE, " type='valid'", "")).await;
    expect_message(&mut link, "1").await;
}

/// Our word is not taken: the sender hears of it.
#[tokio::test]
async fn our_key_is_refused() {
    let world = world(1).await;
    let mut user = world.user().await;
    user.send(chat(&friend(), "1")).await;
    let mut link = world.remote.received_tls().await;
    link.answer_header("<dialback xmlns='urn:xmpp:features:dialback'/>")
        .await;
    link.expect("<db:result/>").await;
    link.send(result(THERE, HERE, " type='invalid'", "")).await;
    // XEP-0220 section 2.1.1.
    bounced(&mut user, "1", "cancel/internal-server-error").await;
    user.nothing_more().await;
}
