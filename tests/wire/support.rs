//! What several of the tests do on their way.

use testkit::{Client, Server, Stanza, Transport};

pub(crate) const NS_ROSTER: &str = "jabber:iq:roster";

/// Type and condition of a stanza error, as `"cancel/service-unavailable"`; empty where it is none.
pub(crate) fn error_of(stanza: &Stanza) -> String {
    stanza
        .error()
        .map(|(kind, condition)| format!("{kind}/{condition}"))
        .unwrap_or_default()
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
