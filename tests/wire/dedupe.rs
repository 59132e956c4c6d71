//! Messages that a client sends again because it does not know whether they arrived: recognised by (account, origin-id,
//! payload), XEP-0359.

use testkit::{ArchiveQuery, Client, Loss, Server, Transport};

use crate::support::{bodies, lose, managed, settle, waiting};

fn message(to: &str, origin: &str, id: &str, body: &str) -> String {
    format!(
        "<message to='{to}' type='chat' id='{id}'><body>{body}</body><origin-id xmlns='urn:xmpp:sid:0' id='{origin}'/></message>"
    )
}

async fn archived(client: &mut Client, with: &str) -> Vec<String> {
    let archive = client.whole_archive(&ArchiveQuery::new().with(with)).await;
    archive.iter().map(testkit::Archived::body).collect()
}

/// From a new session, as a client does it whose stream could not be resumed: once in both archives, once delivered,
/// acknowledged both times.
#[tokio::test]
async fn a_resend_is_recognised() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let from = server.user();
        let mut other = Client::online(&server, transport, &server.user()).await;
        let to = other.bare().to_owned();
        let mut client = managed(&server, transport, &from).await;
        client.send(message(&to, "o1", "i1", "hello")).await;
        client.all_acked().await;
        let original = other.expect("<message type='chat'><body>hello</body></message>").await;
        let id = original.stanza_id(&to).to_owned();
        lose(&server, client, Loss::Reset).await;
        for attempt in 0..3 {
            let mut client = managed(&server, transport, &format!("{from}/again{attempt}")).await;
            client.send(message(&to, "o1", "i1", "hello")).await;
            client.all_acked().await;
            settle(&mut client, &to).await;
            let came = client.drain().await;
            assert!(came.iter().all(|stanza| stanza.get("type") != "error"), "{came:?}");
            other.nothing_more().await;
            assert_eq!(archived(&mut client, &to).await, ["hello"]);
        }
        let archive = other.whole_archive(&ArchiveQuery::new()).await;
        assert_eq!(archive.iter().map(|message| &message.id).collect::<Vec<_>>(), [&id]);
    }
}

/// In the same session too, and to somebody who is away.
#[tokio::test]
async fn it_waits_once() {
    let server = Server::with_users(4);
    for transport in Transport::BOTH {
        let to = server.user();
        let mut client = managed(&server, transport, &server.user()).await;
        for _ in 0..3 {
            client.send(message(&to, "o1", "i1", "hello")).await;
        }
        client.all_acked().await;
        let mut other = Client::login(&server, transport, &to).await;
        assert_eq!(bodies(&waiting(&mut other, 1).await), ["hello"]);
        // Read long ago, it is the same message still.
        other.close().await;
        client.send(message(&to, "o1", "i1", "hello")).await;
        client.all_acked().await;
        let mut other = Client::login(&server, transport, &to).await;
        assert_eq!(bodies(&waiting(&mut other, 0).await), [""; 0]);
        assert_eq!(archived(&mut other, client.bare()).await, ["hello"]);
        assert_eq!(archived(&mut client, &to).await, ["hello"]);
    }
}

/// After a crash, when the client has not been told that it arrived.
#[tokio::test]
async fn after_a_crash() {
    let mut server = Server::with_users(4);
    for transport in Transport::BOTH {
        let (from, to) = (server.user(), server.user());
        let mut client = managed(&server, transport, &from).await;
        client.send(message(&to, "o1", "i1", "hello")).await;
        client.all_acked().await;
        server.kill9();
        server.start();
        drop(client);
        let mut client = managed(&server, transport, &from).await;
        client.send(message(&to, "o1", "i1", "hello")).await;
        client.all_acked().await;
        assert_eq!(archived(&mut client, &to).await, ["hello"]);
        let mut other = Client::login(&server, transport, &to).await;
        assert_eq!(bodies(&waiting(&mut other, 1).await), ["hello"]);
    }
}

/// What is not the same is another message: the payload, the recipient, the origin-id, the sender; and without an
/// origin-id nothing is recognised.
#[tokio::test]
async fn others_are_others() {
    let server = Server::with_users(8);
    for transport in Transport::BOTH {
        let mut other = Client::online(&server, transport, &server.user()).await;
        let mut third = Client::online(&server, transport, &server.user()).await;
        let mut client = managed(&server, transport, &server.user()).await;
        let mut second = managed(&server, transport, &server.user()).await;
        let (to, there) = (other.bare().to_owned(), third.bare().to_owned());
        let without = format!("<message to='{to}' type='chat' id='i1'><body>plain</body></message>");
        let sent = [
            message(&to, "o1", "i1", "hello"),
            message(&to, "o1", "i1", "hello!"),
            message(&to, "o2", "i1", "hello"),
            without.clone(),
            without,
        ];
        client.send(sent.concat()).await;
        client.send(message(&there, "o1", "i1", "hello")).await;
        client.all_acked().await;
        second.send(message(&to, "o1", "i1", "hello")).await;
        second.all_acked().await;
        let mut came = Vec::new();
        for _ in 0..6 {
            let stanza = other.stanza().await;
            came.push((stanza.get("from").to_owned(), stanza.body()));
        }
        let expected: Vec<_> = ["hello", "hello!", "hello", "plain", "plain"]
            .iter()
            .map(|body| (client.jid.clone(), (*body).to_owned()))
            .chain([(second.jid.clone(), "hello".to_owned())])
            .collect();
        assert_eq!(came, expected);
        third.expect("<message type='chat'><body>hello</body></message>").await;
        other.nothing_more().await;
        third.nothing_more().await;
        assert_eq!(
            archived(&mut client, &to).await,
            ["hello", "hello!", "hello", "plain", "plain"]
        );
        assert_eq!(archived(&mut client, &there).await, ["hello"]);
    }
}
