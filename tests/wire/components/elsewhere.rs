//! Components and other servers: strangers who ask what a component answers for the server, and contacts that it is shown.

use testkit::Client;

use super::DOMAIN;
use crate::federation::{World, friend};
use crate::support::error_of;

/// What strangers ask costs the same, whoever answers it.
#[tokio::test]
async fn strangers_ask_for_too_much() {
    let world = World::with(1, |builder| {
        builder.component_with(DOMAIN, "[[component.delegation]]\nnamespace = \"urn:a\"")
    })
    .await;
    let mut component = Client::component(&world.server, DOMAIN).await;
    component
        .wait("<message><delegation xmlns='urn:xmpp:delegation:2'/></message>")
        .await;
    let mut link = world.bidi().await;
    let account = world.server.user();
    for to in ["example.org", &*account] {
        let from = format!("{}{}", to.len(), friend());
        let ask =
            |number: usize| format!("<iq type='get' id='{number}' from='{from}' to='{to}'><x xmlns='urn:a'/></iq>");
        let all: String = (0..400).map(ask).collect();
        link.send(all).await;
        let refused = link.expect("<iq type='error'/>").await;
        assert_eq!(error_of(&refused), "wait/policy-violation", "{refused:?}");
        // Some went to it.
        component.wait("<iq type='set' from='example.org'/>").await;
        link.forget().await;
    }
}

/// Who cannot be reached any more is not there any more, and who comes back is.
#[tokio::test]
async fn contacts_behind_a_broken_link() {
    let mut world = World::with(1, |builder| {
        builder.component_with(
            DOMAIN,
            "[component.privileges]\nroster = \"get\"\npresence = \"roster\"\nroster_pushes = false",
        )
    })
    .await;
    let mut component = Client::component(&world.server, DOMAIN).await;
    component
        .wait("<message><privilege xmlns='urn:xmpp:privilege:2'/></message>")
        .await;
    let mut user = world.user().await;
    component.wait(&format!("<presence from='{}'/>", user.jid)).await;
    let mut link = world.bidi().await;
    // Now it is settled that this stream goes both ways.
    link.ping().await;
    let (bare, contact) = (user.bare().to_owned(), friend());
    user.send(format!("<presence type='subscribe' to='{contact}'/>")).await;
    link.wait("<presence type='subscribe'/>").await;
    let here = format!("<presence from='{contact}/r' to='{bare}'><status>here</status></presence>");
    link.send(format!(
        "<presence type='subscribed' from='{contact}' to='{bare}'/>{here}"
    ))
    .await;
    let told = format!("<presence from='{contact}/r' to='{DOMAIN}'><status>here</status></presence>");
    component.expect(&told).await;
    user.wait("<presence><status>here</status></presence>").await;
    world.remote.down();
    link.cut();
    let ping = format!("<iq type='get' id='p' to='{contact}'><ping xmlns='urn:xmpp:ping'/></iq>");
    user.send(ping).await;
    user.wait(&format!("<presence type='unavailable' from='{contact}'/>"))
        .await;
    component
        .expect(&format!(
            "<presence type='unavailable' from='{contact}/r' to='{DOMAIN}'/>"
        ))
        .await;
    world.remote.up().await;
    let mut link = world.bidi().await;
    link.send(here).await;
    component.expect(&told).await;
    component.nothing_more().await;
}
