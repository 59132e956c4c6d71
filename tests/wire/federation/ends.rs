//! A stream does not outlive the certificate of the other side (RFC 6120 section 13.7.2.3), whoever has opened it.

use testkit::Offers;

use super::{HERE, World, expect_message, message};
use crate::support::chat;

/// Seconds for which a certificate is good: long enough to make a stream.
const BRIEF: u64 = 4;

#[tokio::test]
async fn a_certificate_ends() {
    let mut world = World::new(1).await;
    let mut user = world.user().await;
    let federation = &world.federation;
    let mut there = federation.remote("brief.example").await;
    let certify = |names: &[&str]| {
        (
            federation.authority.certify_for(names, BRIEF),
            federation.authority.certify(names),
        )
    };
    let (brief, lasting) = certify(&[&world.remote.domain]);
    world.remote.shows(&brief);
    let (other_brief, other_lasting) = certify(&[&there.domain]);
    there.shows(&other_brief);
    // One that it has opened, for both directions; and one that we have.
    let mut one = world.remote.bidi(&world.server, HERE).await;
    one.send(message("friend@remote.example", &user.jid, "1")).await;
    user.expect("<message type='chat'><body>1</body></message>").await;
    user.send(chat("friend@brief.example", "2")).await;
    let mut other = there.received(Offers::default()).await;
    expect_message(&mut other, "2").await;
    // What they have now is good for longer.
    world.remote.shows(&lasting);
    there.shows(&other_lasting);
    one.wait_for_end("reset").await;
    other.wait_for_end("reset").await;
    // Both are made anew, and nothing is lost.
    let mut one = world.remote.received(Offers::default()).await;
    let mut other = there.received(Offers::default()).await;
    user.send(chat("friend@remote.example", "3")).await;
    one.wait("<message type='chat'><body>3</body></message>").await;
    user.send(chat("friend@brief.example", "4")).await;
    other.wait("<message type='chat'><body>4</body></message>").await;
}
