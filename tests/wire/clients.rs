//! Client access management (XEP-0494): what an account sees of its clients, and who else does.

use testkit::{Binding, Client, Server, Transport, agent};

use crate::support::error_of;

const NS: &str = "urn:xmpp:cam:0";

/// A login with the password that binds and gets a token; features are read.
async fn login(server: &Server, transport: Transport, jid: &str, number: u32) -> Client {
    let mut client = Client::opened(server, transport).await;
    // The requests of a session of BOSH come over several connections, so it is bound to none.
    let (scram, binding, mechanism) = match transport {
        Transport::Bosh => ("SCRAM-SHA-256", Binding::None, "HT-SHA-256-NONE"),
        _ => ("SCRAM-SHA-256-PLUS", Binding::Exporter, "HT-SHA-256-EXPR"),
    };
    let more = agent(number)
        + &format!("<request-token xmlns='urn:xmpp:fast:0' mechanism='{mechanism}'/>")
        + "<bind xmlns='urn:xmpp:bind:0'><tag>kit</tag></bind>";
    let answer = client.authenticate_by_scram(scram, jid, &binding, &more).await;
    client.take_jid(&answer);
    assert!(answer.has_child("token", "urn:xmpp:fast:0"), "{answer:?}");
    assert_eq!(client.stanza().await.name(), "features");
    client
}

async fn listed(client: &mut Client) -> Vec<minidom::Element> {
    client
        .send(format!("<iq type='get' id='list'><list xmlns='{NS}'/></iq>"))
        .await;
    let answer = client.stanza().await;
    assert_eq!(answer.attr("type"), Some("result"), "{answer:?}");
    let clients = answer.get_child("clients", NS).expect("a list");
    clients.children().cloned().collect()
}

#[tokio::test]
async fn an_account_lists_its_clients_and_nobody_else_does() {
    let server = Server::with_users(2 * Transport::EVERY.len());
    for transport in Transport::EVERY {
        over(&server, transport).await;
    }
}

async fn over(server: &Server, transport: Transport) {
    let (jid, other) = (server.user(), server.user());
    let mut phone = login(server, transport, &jid, 1).await;
    let laptop = login(server, transport, &jid, 2).await;
    let laptop_jid = laptop.jid.clone();

    let connected =
        |clients: &[minidom::Element]| clients.iter().filter(|c| c.attr("connected") == Some("true")).count();
    let clients = listed(&mut phone).await;
    assert_eq!((clients.len(), connected(&clients)), (2, 2), "{clients:?}");
    for client in &clients {
        let auth = client.get_child("auth", NS).expect("what it logged in with");
        assert!(
            auth.has_child("password", NS) && auth.has_child("fast", NS),
            "{client:?}"
        );
        let software = client
            .get_child("user-agent", NS)
            .and_then(|agent| agent.get_child("software", NS));
        assert_eq!(software.map(|software| software.text()).as_deref(), Some("testkit"));
        assert!(client.has_child("permission", NS), "{client:?}");
    }
    // Which is which: the resource ends with the id.
    let is_laptop = |client: &minidom::Element| laptop_jid.ends_with(client.attr("id").expect("an id"));
    assert_eq!(
        clients.iter().filter(|client| is_laptop(client)).count(),
        1,
        "{clients:?}"
    );

    laptop.close().await;
    let clients = listed(&mut phone).await;
    assert_eq!((clients.len(), connected(&clients)), (2, 1), "{clients:?}");
    let laptop = clients
        .iter()
        .find(|client| is_laptop(client))
        .expect("it still has access");
    assert_eq!(laptop.attr("connected"), Some("false"));

    // It had the password (section 3.2); and what does not exist is not found.
    for (id, condition) in [
        (laptop.attr("id").expect("an id"), "cancel/service-unavailable"),
        ("nobody", "cancel/item-not-found"),
    ] {
        phone
            .send(format!(
                "<iq type='set' id='revoke'><revoke xmlns='{NS}' id='{id}'/></iq>"
            ))
            .await;
        let answer = phone.stanza().await;
        assert_eq!(error_of(&answer), condition, "{answer:?}");
        let error = answer.get_child("error", "jabber:client").expect("an error");
        let is_password = condition == "cancel/service-unavailable";
        assert_eq!(
            error.has_child("password-reset-required", NS),
            is_password,
            "{answer:?}"
        );
    }
    assert_eq!(listed(&mut phone).await.len(), 2);

    // As from an account that does not exist.
    let mut romeo = Client::online(server, transport, &other).await;
    for payload in [
        format!("type='get'><list xmlns='{NS}'/>"),
        format!("type='set'><revoke xmlns='{NS}' id='x'/>"),
    ] {
        romeo.send(format!("<iq id='others' to='{jid}' {payload}</iq>")).await;
        let answer = romeo.stanza().await;
        assert_eq!(error_of(&answer), "cancel/service-unavailable", "{answer:?}");
        let error = answer.get_child("error", "jabber:client").expect("an error");
        assert!(!error.has_child("password-reset-required", NS), "{answer:?}");
    }
}
