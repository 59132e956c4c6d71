//! Other servers (RFC 6120): two of ours that talk with each other, and scripted ones that do it wrong. Rows 51 to 55 of the
//! list of faults, rows 19 to 24 of that of attacks.
//!
//! Each test has a DNS and an authority of its own (`testkit::Federation`).

mod dialback;
mod doctor;
mod ends;
mod forged;
mod incoming;
mod links;
mod outgoing;
mod pairs;
mod people;
mod policy;
mod spool;
mod together;
mod turns;

use testkit::{Builder, Client, Federation, NS_SERVER, Remote, Server, Stanza, Transport};

/// The domain of the server under test, and that of the scripted one.
pub(crate) const HERE: &str = "example.org";
pub(crate) const THERE: &str = "remote.example";

/// A failed attempt is soon followed by the next.
pub(crate) const QUICK: &str = "retry_seconds = 1\nlongest_retry_seconds = 1\n";

/// A server, and a scripted one.
pub(crate) struct World {
    pub(crate) federation: Federation,
    pub(crate) server: Server,
    pub(crate) remote: Remote,
}

impl World {
    pub(crate) async fn new(users: usize) -> World {
        World::with(users, |builder| builder).await
    }

    /// The server is changed before it starts.
    pub(crate) async fn with(users: usize, change: impl FnOnce(Builder) -> Builder) -> World {
        let federation = Federation::new();
        let remote = federation.remote(THERE).await;
        let server = change(federation.server(HERE).users(users).federation_toml(QUICK)).start();
        World {
            federation,
            server,
            remote,
        }
    }

    /// Somebody of the server who is available.
    pub(crate) async fn user(&self) -> Client {
        online(&self.server).await
    }

    /// A stream of the scripted server on which stanzas go both ways.
    pub(crate) async fn bidi(&self) -> Client {
        self.remote.bidi(&self.server, HERE).await
    }
}

pub(crate) async fn online(server: &Server) -> Client {
    let jid = format!("{}/here", server.user());
    Client::online(server, Transport::Starttls, &jid).await
}

/// A message between servers.
pub(crate) fn message(from: &str, to: &str, text: &str) -> String {
    format!("<message from='{from}' to='{to}' type='chat' id='{text}'><body>{text}</body></message>")
}

/// The next thing is a message to the domain of this stream.
pub(crate) async fn expect_message(link: &mut Client, text: &str) -> Stanza {
    let to = format!("friend@{}", link.jid);
    link.expect(&format!("<message to='{to}' type='chat'><body>{text}</body></message>"))
        .await
}

/// An address of the scripted server.
pub(crate) fn friend() -> String {
    format!("friend@{THERE}")
}

/// The text of a stanza error.
pub(crate) fn text_of(stanza: &Stanza) -> String {
    let error = stanza.get_child("error", "jabber:client");
    let text = error.and_then(|error| error.get_child("text", testkit::NS_STANZAS));
    text.map(minidom::Element::text).unwrap_or_default()
}

/// A message is answered with an error, whose text is returned.
pub(crate) async fn bounced(client: &mut Client, id: &str, condition: &str) -> String {
    let answer = client.expect(&format!("<message type='error' id='{id}'/>")).await;
    assert_eq!(crate::support::error_of(&answer), condition, "{answer:?}");
    text_of(&answer)
}

/// What is said on a stream between servers is written for one.
pub(crate) fn is_of_servers(link: &Client) {
    assert!(
        link.header.raw.contains(&format!("xmlns='{NS_SERVER}'")),
        "{:?}",
        link.header
    );
}
