//! What several of the tests do on their way.

use std::time::Duration;

use testkit::{Client, Loss, Server, Session, Stanza, TIMEOUT, Transport};

pub(crate) const NS_ROSTER: &str = "jabber:iq:roster";

/// How often to look whether the server has seen something.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Type and condition of a stanza error, as `"cancel/service-unavailable"`; empty where it is none.
pub(crate) fn error_of(stanza: &Stanza) -> String {
    stanza
        .error()
        .map(|(kind, condition)| format!("{kind}/{condition}"))
        .unwrap_or_default()
}

/// A result with this in it.
pub(crate) fn is_result(answer: &Stanza, payload: &str) {
    let wrong = answer.mismatch(&format!("<iq type='result'>{payload}</iq>"));
    assert_eq!(wrong, None, "{}", answer.raw());
}

/// Two accounts that see each other's presence, both online.
pub(crate) async fn friends(server: &Server, transport: Transport) -> (Client, Client) {
    let (one, two) = (format!("{}/one", server.user()), format!("{}/two", server.user()));
    let mut one = Client::online(server, transport, &one).await;
    let mut two = Client::online(server, transport, &two).await;
    befriend(&mut one, &mut two).await;
    (one, two)
}

/// Subscribes two who are online to each other; afterwards nothing is left to read.
pub(crate) async fn befriend(one: &mut Client, two: &mut Client) {
    see(one, two).await;
    see(two, one).await;
}

/// `watcher` gets to see the presence of `shown`.
pub(crate) async fn see(watcher: &mut Client, shown: &mut Client) {
    let (w, s) = (watcher.bare().to_owned(), shown.bare().to_owned());
    watcher.send(format!("<presence type='subscribe' to='{s}'/>")).await;
    shown.wait(&format!("<presence type='subscribe' from='{w}'/>")).await;
    shown.send(format!("<presence type='subscribed' to='{w}'/>")).await;
    // The last thing that follows from it.
    watcher.wait(&format!("<presence from='{}'/>", shown.jid)).await;
    watcher.forget().await;
    shown.forget().await;
}

/// Sends a request about somebody that takes the same way as what was sent before, and waits for the answer: what was
/// sent to `bare` has been dealt with at its owner then, whether there is such an account or not.
pub(crate) async fn settle(client: &mut Client, bare: &str) {
    let answer = client.iq("get", bare, "<query xmlns='urn:nobody:knows'/>").await;
    assert_eq!(error_of(&answer), "cancel/service-unavailable", "{answer:?}");
}

/// [`settle`], and then a change of the own roster whose result means that everything handed to the store before is on
/// disk.
pub(crate) async fn settle_durably(client: &mut Client, bare: &str) {
    settle(client, bare).await;
    let set = format!("<query xmlns='{NS_ROSTER}'><item jid='barrier@example.org'/></query>");
    let answer = client.iq("set", "", &set).await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
}

/// Asks for the roster, which makes the resource hear of changes, and returns the query.
pub(crate) async fn roster(client: &mut Client) -> minidom::Element {
    let answer = client.iq("get", "", &format!("<query xmlns='{NS_ROSTER}'/>")).await;
    match answer.get_child("query", NS_ROSTER) {
        Some(query) => query.clone(),
        None => client.fail(&format!("no roster: {answer:?}")),
    }
}

/// The items of a roster, each as `jid name subscription ask groups`, in order.
pub(crate) fn items(query: &minidom::Element) -> Vec<String> {
    let mut items: Vec<String> = query
        .children()
        .map(|item| {
            let attr = |name: &str| item.attr(name).unwrap_or("-").to_owned();
            let mut groups: Vec<String> = item.children().map(minidom::Element::text).collect();
            groups.sort();
            format!(
                "{} {} {} {} {}",
                attr("jid"),
                attr("name"),
                attr("subscription"),
                attr("ask"),
                groups.join("+")
            )
        })
        .collect();
    items.sort();
    items
}

/// A server that keeps lost streams for so many seconds.
pub(crate) fn resumable_for(users: usize, seconds: u64) -> Server {
    Server::builder()
        .users(users)
        .limit("resume_seconds", seconds)
        // Over BOSH a connection is lost when nothing was asked for so long.
        .limit("bosh_inactivity_seconds", 1)
        .start()
}

/// A client of stream management that is available; [`Client::received`] is 1, for the echo of its presence.
pub(crate) async fn managed(server: &Server, transport: Transport, jid: &str) -> Client {
    let mut client = Client::login(server, transport, jid).await;
    client.enable().await;
    client.presence("<presence/>").await;
    client
}

/// Loses the connection of a client, and waits until the server has seen it.
pub(crate) async fn lose(server: &Server, client: Client, how: Loss) -> Session {
    let before = server.sockets();
    let session = client.lose(how);
    let seen = async {
        while server.sockets() >= before {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let seen = tokio::time::timeout(TIMEOUT, seen).await;
    assert!(
        seen.is_ok(),
        "the server keeps the socket of a lost connection: {session:?}"
    );
    session
}

/// A message that is archived and may wait.
pub(crate) fn chat(to: &str, text: &str) -> String {
    format!("<message to='{to}' type='chat' id='{text}'><body>{text}</body></message>")
}

/// Sends messages to `to` that are `texts`, and waits until they have been dealt with.
pub(crate) async fn send_all(sender: &mut Client, to: &str, texts: &[&str]) {
    for text in texts {
        sender.send(chat(to, text)).await;
    }
    settle(sender, to).await;
}

/// The bodies of the messages among what came.
pub(crate) fn bodies(came: &[Stanza]) -> Vec<String> {
    came.iter()
        .filter(|stanza| stanza.name() == "message")
        .map(Stanza::body)
        .collect()
}

/// What has come to `receiver` up to a message that `sender` sends it now, which is neither stored nor copied. Since
/// what one sends to another arrives in order, nothing that `sender` has caused before is still to come.
pub(crate) async fn up_to_mark(sender: &mut Client, receiver: &mut Client) -> Vec<Stanza> {
    sender
        .send(format!(
            "<message to='{}' id='mark'><body>mark</body><no-store xmlns='urn:xmpp:hints'/>\
             <no-copy xmlns='urn:xmpp:hints'/><private xmlns='urn:xmpp:carbons:2'/></message>",
            receiver.jid
        ))
        .await;
    let mut came = Vec::new();
    loop {
        let stanza = receiver.stanza().await;
        if stanza.name() == "message" && stanza.get("id") == "mark" {
            return came;
        }
        came.push(stanza);
    }
}

/// The messages that come: as many as are expected, waited for, and those that come beyond.
pub(crate) async fn messages(client: &mut Client, expected: usize) -> Vec<Stanza> {
    let mut all = Vec::new();
    while all.len() < expected {
        all.push(client.wait_keeping(|stanza| stanza.name() == "message").await);
    }
    let rest = client.drain().await;
    all.extend(rest.into_iter().filter(|stanza| stanza.name() == "message"));
    all
}

/// Presence, and the messages that have waited for it. A client without stream management is asked by the server
/// whether they have arrived, and answers.
pub(crate) async fn waiting(client: &mut Client, expected: usize) -> Vec<Stanza> {
    client.presence("<presence/>").await;
    if expected == 0 {
        // What the store has still to say has been said when it has taken a change.
        let set = format!("<query xmlns='{NS_ROSTER}'><item jid='barrier@example.org'/></query>");
        assert_eq!(client.iq("set", "", &set).await.get("type"), "result");
    }
    let mut all = messages_up_to(client, expected).await;
    let rest = client.drain().await;
    all.extend(rest.into_iter().filter(|stanza| stanza.name() == "message"));
    all
}

/// So many messages, and the server's question behind them where it asks.
async fn messages_up_to(client: &mut Client, expected: usize) -> Vec<Stanza> {
    let mut all = Vec::new();
    let is_asked = expected > 0 && !client.is_managed();
    loop {
        if all.len() >= expected && !is_asked {
            return all;
        }
        let stanza = client
            .wait_keeping(|stanza| stanza.name() == "message" || stanza.has_child("ping", "urn:xmpp:ping"))
            .await;
        if stanza.name() == "message" {
            all.push(stanza);
            continue;
        }
        let (id, from) = (stanza.get("id"), stanza.get("from"));
        client.send(format!("<iq type='result' id='{id}' to='{from}'/>")).await;
        return all;
    }
}

/// The features that an address has in service discovery (XEP-0030).
pub(crate) async fn features(client: &mut Client, address: &str) -> Vec<String> {
    let answer = client
        .iq("get", address, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        .await;
    let Some(query) = answer.get_child("query", "http://jabber.org/protocol/disco#info") else {
        client.fail(&format!("no features: {answer:?}"));
    };
    query
        .children()
        .filter(|child| child.name() == "feature")
        .filter_map(|feature| feature.attr("var"))
        .map(str::to_owned)
        .collect()
}

/// Switches copies on (XEP-0280 section 4).
pub(crate) async fn enable_carbons(client: &mut Client) {
    let answer = client.iq("set", "", "<enable xmlns='urn:xmpp:carbons:2'/>").await;
    assert_eq!(answer.get("type"), "result", "{answer:?}");
}
