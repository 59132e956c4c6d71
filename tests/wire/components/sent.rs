//! What accounts write to components: it is theirs as what they write to anybody, and they hear what has not arrived.

use testkit::{ArchiveQuery, Client, Server, Transport};

use super::connections::{MESSAGES, fill};
use super::{DOMAIN, online, server};
use crate::support::{chat, enable_carbons, error_of};

#[tokio::test]
async fn it_is_archived_and_copied() {
    let server = server(1);
    let mut component = Client::component(&server, DOMAIN).await;
    let mut user = online(&server).await;
    let bare = user.bare().to_owned();
    let mut other = Client::online(&server, Transport::Direct, &format!("{bare}/other")).await;
    enable_carbons(&mut other).await;
    other.forget().await;
    user.forget().await;
    let to = format!("friend@{DOMAIN}");
    let said = format!(
        "<message type='chat' id='1' to='{to}'><body>one</body><origin-id xmlns='urn:xmpp:sid:0' id='1'/></message>"
    );
    // Twice, as over a stream that broke (guarantee G2); and what need not be kept stays behind it.
    let typing = format!(
        "<message type='chat' id='2' to='{to}'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"
    );
    let hidden = format!(
        "<message type='chat' id='3' to='{to}'><body>off</body><no-permanent-store xmlns='urn:xmpp:hints'/></message>"
    );
    user.send(format!("{said}{said}{typing}{hidden}")).await;
    for id in ["1", "2", "3"] {
        component
            .expect(&format!(
                "<message type='chat' id='{id}' from='{}' to='{to}'/>",
                user.jid
            ))
            .await;
        let copy = other
            .expect(&format!(
                "<message type='chat' from='{bare}'><sent xmlns='urn:xmpp:carbons:2'/></message>"
            ))
            .await;
        assert!(copy.raw().contains(&format!("id='{id}'")), "{copy:?}");
    }
    component
        .send(format!(
            "<message type='chat' from='{to}/r' to='{bare}'><body>two</body></message>"
        ))
        .await;
    user.expect("<message type='chat'><body>two</body></message>").await;
    let page = user.archive_page(&ArchiveQuery::new().field("with", &to)).await;
    assert_eq!(page.bodies(), ["one", "two"]);
    // What does not get there was not sent.
    component.close().await;
    user.send(chat(&to, "late")).await;
    let answer = user.wait("<message type='error'/>").await;
    assert_eq!(error_of(&answer), "wait/remote-server-timeout", "{answer:?}");
    let page = user.archive_page(&ArchiveQuery::new().field("with", &to)).await;
    assert_eq!(page.bodies(), ["one", "two"]);
}

/// A component that did not read is gone. Who has written to it hears so, also if he has gone before; and who was shown to it
/// by a privilege does not.
#[tokio::test]
async fn who_has_gone_hears_later_that_it_did_not_arrive() {
    let mut server = Server::builder()
        .users(3)
        .component_with(DOMAIN, "[component.privileges]\npresence = \"managed-entity\"")
        .limit("stanza_bytes", 10_000)
        .limit("component_outbox_bytes", 40_000_000)
        .limit("read_bytes_per_second", 1 << 30)
        .limit("read_burst_bytes", 1 << 30)
        .start();
    let reads_not = Client::component(&server, DOMAIN).await;
    let (mut user, mut other) = (online(&server).await, online(&server).await);
    let [first, second] = [&user, &other].map(|client| client.bare().to_owned());
    fill(&mut user, MESSAGES).await;
    user.close().await;
    let mut shown = online(&server).await;
    shown.ping().await;
    reads_not.cut();
    told_later(&server, &first).await;
    shown.nothing_more().await;
    // A stop in good order is another of the ways in which it ends.
    let reads_not = Client::component(&server, DOMAIN).await;
    fill(&mut other, MESSAGES).await;
    other.close().await;
    server.sigterm();
    shown.wait_for_end("system-shutdown").await;
    drop(reads_not);
    assert!(server.wait(testkit::TIMEOUT).is_some());
    server.start();
    told_later(&server, &second).await;
}

async fn told_later(server: &Server, who: &str) {
    let mut user = Client::login(server, Transport::Direct, &format!("{who}/later")).await;
    user.send("<presence/>").await;
    let told = user.wait("<message type='error'/>").await;
    assert_eq!(error_of(&told), "wait/remote-server-timeout", "{told:?}");
}
