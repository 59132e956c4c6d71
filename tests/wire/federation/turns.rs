//! Hosts and a DNS that say nothing: they hold up nobody but those who want to go there, and these are told in time. Row 54 of
//! the faults.

use testkit::{Offers, Server};

use super::{HERE, THERE, World, bounced, expect_message, friend};
use crate::support::chat;

/// Attempts at one address, and questions about one zone, are half of all at most.
const ATTEMPTS: usize = 8;
/// Long enough for somebody to connect on this machine.
const SOON: std::time::Duration = std::time::Duration::from_millis(100);

/// All domains of somebody lead to one host, which takes connections and never says a word, or to a DNS that does not.
#[tokio::test]
async fn who_says_nothing_holds_up_nobody_else() {
    let world = World::with(1, |builder| {
        builder.federation_toml(&format!("attempts = {ATTEMPTS}\n"))
    })
    .await;
    let (mute, mut user) = (world.federation.remote("mute.example").await, world.user().await);
    let dns = &world.federation.dns;
    dns.silence("silent.example", true);
    for number in 0..3 * ATTEMPTS {
        let domain = format!("d{number}.mute.example");
        dns.locate(&domain, mute.address(), false);
        user.send(chat(&format!("a@{domain}"), "1")).await;
        user.send(chat(&format!("a@d{number}.silent.example"), "1")).await;
    }
    let mut held = Vec::new();
    while held.len() < ATTEMPTS / 2 {
        held.push(mute.accept().await);
    }
    assert!(mute.accept_within(SOON).await.is_none(), "more than their share");
    user.send(chat(&friend(), "hello")).await;
    let mut link = world.remote.received(Offers::default()).await;
    expect_message(&mut link, "hello").await;
    // Who waits in line goes on when there is room.
    held.pop().expect("one of them").cut();
    mute.accept().await;
}

/// Strangers who show keys of dialback have us ask where they like. Our own people do not wait for that.
#[tokio::test]
async fn keys_of_strangers_take_nothing_of_ours() {
    let world = World::with(1, |builder| builder.federation_toml("dialback = true\nattempts = 2\n")).await;
    let (mute, mut user) = (world.federation.remote("mute.example").await, world.user().await);
    let mut held = Vec::new();
    for number in 0..2 {
        let domain = format!("d{number}.mute.example");
        world.federation.dns.locate(&domain, mute.address(), false);
        let mut link = world.remote.opened(&world.server, HERE).await;
        link.send(format!("<db:result from='{domain}' to='{HERE}'>key</db:result>"))
            .await;
        held.push((link, mute.accept().await));
    }
    // With as many in hand as may wait, another is told to come again.
    let mut link = world.remote.opened(&world.server, HERE).await;
    link.send(format!("<db:result from='{THERE}' to='{HERE}'>key</db:result>"))
        .await;
    let answer = link.expect("<db:result type='error'/>").await;
    assert!(answer.raw().contains("resource-constraint"), "{answer:?}");
    user.send(chat(&friend(), "hello")).await;
    let mut link = world.remote.received(Offers::default()).await;
    expect_message(&mut link, "hello").await;
}

/// Whoever has written to nobody hears of it, and the operator of the step that failed.
#[tokio::test]
async fn attempts_end() {
    let world = World::with(1, |builder| builder.federation_toml("attempt_seconds = 3\n")).await;
    let mut user = world.user().await;
    world.federation.dns.silence("silent.example", true);
    let _mute = world.federation.remote("mute.example").await;
    user.send(chat("a@silent.example", "silent")).await;
    user.send(chat("a@mute.example", "mute")).await;
    let text = bounced(&mut user, "silent", "wait/remote-server-timeout").await;
    assert!(text.contains("DNS"), "{text}");
    let text = bounced(&mut user, "mute", "wait/remote-server-timeout").await;
    assert!(text.contains("mute.example"), "{text}");
    user.nothing_more().await;
    let failed = failed(&world.server, "silent.example");
    assert!(
        failed.contains("dns ") && failed.contains("no answer in time"),
        "{failed}"
    );
    let failed = self::failed(&world.server, "mute.example");
    assert!(failed.contains("stream "), "{failed}");
}

/// The steps that have failed, as `jackdaw why` tells them.
fn failed(server: &Server, domain: &str) -> String {
    let output = server.jackdaw(&["why", domain], "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<_> = said.lines().filter(|line| line.contains(" FAIL ")).collect();
    assert!(!lines.is_empty(), "{said}");
    lines.join("\n")
}
