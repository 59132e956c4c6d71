//! What a client keeps for itself: private XML (XEP-0049).

use testkit::{Client, Server, Transport};

use crate::support::{error_of, is_result};

fn query(inner: &str) -> String {
    format!("<query xmlns='jabber:iq:private'>{inner}</query>")
}

#[tokio::test]
async fn private_xml_is_found_again_by_every_device_and_by_nobody_else() {
    let server = Server::with_users(8);
    for transport in Transport::EVERY {
        let (user, other) = (server.user(), server.user());
        let mut a = Client::online(&server, transport, &format!("{user}/a")).await;
        let mut stranger = Client::online(&server, transport, &other).await;
        let exodus =
            "<exodus xmlns='exodus:prefs'><p:nick xmlns:p='urn:p' p:kind='x'>Hamlet &amp; &lt;co&gt;</p:nick></exodus>";
        // Nothing is there yet: the element that was asked for, empty.
        let empty = a.iq("get", "", &query("<exodus xmlns='exodus:prefs'/>")).await;
        is_result(&empty, &query("<exodus xmlns='exodus:prefs'/>"));
        assert!(!empty.raw().contains("Hamlet"));
        // Set and asked for in one go: the answers come in order, and the second sees the first.
        let [set, get] = [query(exodus), query("<exodus xmlns='exodus:prefs'/>")];
        a.send(format!(
            "<iq type='set' id='s'>{set}</iq><iq type='get' id='g'>{get}</iq>"
        ))
        .await;
        a.expect("<iq type='result' id='s'/>").await;
        a.expect(&format!("<iq type='result' id='g'>{set}</iq>")).await;
        // Another device, and two elements at once, of one name in two namespaces.
        let mut b = Client::online(&server, transport, &format!("{user}/b")).await;
        is_result(&b.iq("get", "", &get).await, &set);
        let two = query("<exodus xmlns='urn:a'>1</exodus><exodus xmlns='urn:b'>2</exodus>");
        is_result(&b.iq("set", &user, &two).await, "");
        let one = query("<exodus xmlns='urn:b'>2</exodus>");
        is_result(&a.iq("get", "", &query("<exodus xmlns='urn:b'/>")).await, &one);
        a.forget().await;

        // Of others it is as of somebody who does not exist.
        for kind in ["get", "set"] {
            let refused = error_of(&stranger.iq(kind, &user, &set).await);
            let nobody = error_of(&stranger.iq(kind, &format!("no{user}"), &set).await);
            assert_eq!(refused, nobody);
        }
        for client in [a, b, stranger] {
            client.close().await;
        }
    }
}
