//! Peers that want one stream to serve several pairs of domains (XEP-0220 section 2.6): they are told that it does not, the
//! stream goes on, and another is for the other pair ([why](../../../docs/decisions/0030-links-to-other-servers.md)).

use testkit::{Certified, Client, Offers};

use super::{HERE, THERE, World, expect_message, friend, message};
use crate::support::chat;

const ROOMS: &str = "conference.example.org";
/// Of the other side as well.
const OTHER: &str = "other.example";

fn result(from: &str, to: &str) -> String {
    format!("<db:result from='{from}' to='{to}'>a key</db:result>")
}

/// Further pairs are asked for on a stream between `THERE` and `HERE`.
async fn no_others(link: &mut Client) {
    for (from, to, condition) in [
        (OTHER, HERE, "resource-constraint"),
        (THERE, ROOMS, "resource-constraint"),
        (OTHER, ROOMS, "resource-constraint"),
        (THERE, "elsewhere.example", "item-not-found"),
    ] {
        link.send(result(from, to)).await;
        let answer = link
            .expect(&format!("<db:result from='{to}' to='{from}' type='error'/>"))
            .await;
        assert!(answer.raw().contains(condition), "{condition}: {answer:?}");
    }
    // What is proved is proved, and keys are verified on any stream.
    link.send(result(THERE, HERE)).await;
    link.expect(&format!("<db:result from='{HERE}' to='{THERE}' type='valid'/>"))
        .await;
    link.send(format!(
        "<db:verify from='{OTHER}' to='{ROOMS}' id='x'>a key</db:verify>"
    ))
    .await;
    link.expect(&format!(
        "<db:verify from='{ROOMS}' to='{OTHER}' id='x' type='invalid'/>"
    ))
    .await;
}

/// The stream is as good as before for its own pair, and for no other.
async fn goes_on(link: &mut Client, user: &mut Client, forged: (&str, &str, &str)) {
    link.send(message(&friend(), &user.jid, "good")).await;
    user.expect("<message type='chat'><body>good</body></message>").await;
    let (from, to, condition) = forged;
    link.send(message(from, to, "forged")).await;
    link.wait_for_end(condition).await;
    user.nothing_more().await;
}

/// A key for a pair is shown, and whoever it is says that it is right.
async fn proved(world: &World, link: &mut Client, to: &str) {
    link.send(result(THERE, to)).await;
    let mut check = world.remote.received_tls().await;
    check
        .answer_header("<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>")
        .await;
    check.expect(&format!("<db:verify from='{to}' to='{THERE}'/>")).await;
    let id = link.header.attr("id").unwrap_or_default();
    check
        .send(format!("<db:verify from='{THERE}' to='{to}' id='{id}' type='valid'/>"))
        .await;
    link.expect(&format!("<db:result from='{to}' to='{THERE}' type='valid'/>"))
        .await;
}

#[tokio::test]
async fn by_dialback() {
    let mut world = World::with(1, |builder| builder.federation_toml("dialback = true\n")).await;
    world.remote.shows(&Certified::self_signed(&[THERE]));
    let mut user = world.user().await;
    let mut link = world.remote.opened(&world.server, HERE).await;
    // XEP-0478: no features follow, so this holds behind the login.
    let limits = link.features.as_ref().map(|features| features.raw().to_owned());
    assert!(
        limits.as_ref().is_some_and(|text| text.contains("<max-bytes>262144<")),
        "{limits:?}"
    );
    proved(&world, &mut link, HERE).await;
    // Before the first stanza, and behind it; and that may be long.
    no_others(&mut link).await;
    let long = "x".repeat(20_000);
    link.send(format!(
        "<message from='{}' to='{}' type='chat'><body>{long}</body></message>",
        friend(),
        user.jid
    ))
    .await;
    user.expect(&format!("<message type='chat'><body>{long}</body></message>"))
        .await;
    no_others(&mut link).await;
    goes_on(
        &mut link,
        &mut user,
        (&friend(), "room@conference.example.org", "host-unknown"),
    )
    .await;
    // "The initiating server should attempt to establish a new TCP connection."
    let mut link = world.remote.opened(&world.server, ROOMS).await;
    proved(&world, &mut link, ROOMS).await;
    link.send(format!(
        "<iq type='get' id='1' from='{THERE}' to='{HERE}'><ping xmlns='urn:xmpp:ping'/></iq>"
    ))
    .await;
    link.wait_for_end("host-unknown").await;
}

#[tokio::test]
async fn by_certificate() {
    let world = World::with(1, |builder| builder.federation_toml("dialback = true\n")).await;
    let mut user = world.user().await;
    let forged = format!("friend@{OTHER}");
    let mut link = world.remote.authenticated(&world.server, HERE).await;
    no_others(&mut link).await;
    let jid = user.jid.clone();
    goes_on(&mut link, &mut user, (&forged, &jid, "invalid-from")).await;
    // On one of ours, where the other may ask for it if both directions are its own (XEP-0288 section 2.2); else it is nothing
    // that a peer may ask there.
    user.send(chat(&friend(), "1")).await;
    let mut link = world.remote.received(Offers::default()).await;
    expect_message(&mut link, "1").await;
    link.send(result(OTHER, HERE)).await;
    link.send(result(THERE, ROOMS)).await;
    user.send(chat(&friend(), "2")).await;
    link.wait("<message type='chat'><body>2</body></message>").await;
    drop(link);
    let mut link = world.remote.received(Offers::bidi()).await;
    // What was not acknowledged comes again.
    link.wait("<message type='chat'><body>2</body></message>").await;
    link.forget().await;
    no_others(&mut link).await;
    goes_on(&mut link, &mut user, (&forged, &jid, "invalid-from")).await;
}

/// The other way: behind dialback nobody says how much may be said, and what was said before it is of strangers.
#[tokio::test]
async fn as_long_as_any() {
    let mut world = World::with(1, |builder| builder.federation_toml("dialback = true\n")).await;
    world.remote.shows(&Certified::self_signed(&[THERE]));
    let mut user = world.user().await;
    user.send(chat(&friend(), "1")).await;
    let mut link = world.remote.received_tls().await;
    link.answer_header(
        "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>\
         <limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>8192</max-bytes></limits>",
    )
    .await;
    link.expect("<db:result/>").await;
    link.send(format!("<db:result from='{THERE}' to='{HERE}' type='valid'/>"))
        .await;
    link.wait("<message type='chat'><body>1</body></message>").await;
    let long = "x".repeat(9_000);
    user.send(format!(
        "<message to='{}' type='chat'><body>{long}</body></message>",
        friend()
    ))
    .await;
    link.wait(&format!("<message type='chat'><body>{long}</body></message>"))
        .await;
}

/// Row 52 of the faults: who made the key takes too long. Whoever has shown it hears of it, before the time for a login is
/// over and the stream with it.
#[tokio::test]
async fn nobody_says_whether_a_key_is_good() {
    let mut world = World::with(1, |builder| {
        builder
            .federation_toml("dialback = true\n")
            .limit("negotiation_seconds", 2)
    })
    .await;
    world.remote.shows(&Certified::self_signed(&[THERE]));
    let mut link = world.remote.opened(&world.server, HERE).await;
    link.send(result(THERE, HERE)).await;
    // It is asked, and says nothing.
    let _check = world.remote.accept().await;
    let answer = link
        .expect(&format!("<db:result from='{HERE}' to='{THERE}' type='error'/>"))
        .await;
    assert!(answer.raw().contains("remote-server-timeout"), "{answer:?}");
    link.expect_stream_error("connection-timeout").await;
}
