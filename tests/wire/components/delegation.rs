//! What components answer in the place of the server (XEP-0355).

use testkit::{Client, Server, Stanza, Transport};

use super::DOMAIN;
use crate::support::error_of;

const DELEGATED: &str = "[[component.delegation]]\nnamespace = \"jabber:iq:version\"\n\
                         [[component.delegation]]\nnamespace = \"urn:a\"\nattributes = [\"node\"]\n\
                         [[component.delegation]]\nnamespace = \"http://jabber.org/protocol/pubsub\"\n\
                         [[component.delegation]]\nnamespace = \"urn:xmpp:delegation:2:bare:disco#items:*\"";

const PUBSUB: &str = "http://jabber.org/protocol/pubsub";

fn server(users: usize) -> Server {
    Server::builder()
        .users(users)
        .domain("example.net")
        .account("other@example.net")
        .component_with(DOMAIN, DELEGATED)
        .component("plain.example.org")
        .start()
}

/// One that has answered what it can.
async fn managing(server: &Server) -> Client {
    let mut component = Client::component(server, DOMAIN).await;
    let told = component
        .expect(&format!(
            "<message from='example.org' to='{DOMAIN}'><delegation xmlns='urn:xmpp:delegation:2'/></message>"
        ))
        .await;
    for delegated in [
        "<delegated namespace='jabber:iq:version'></delegated>",
        "<delegated namespace='urn:a'><attribute name='node'/></delegated>",
    ] {
        assert!(told.raw().contains(delegated), "{told:?}");
    }
    // Three namespaces, of the server and of accounts.
    for _ in 0..6 {
        let asked = component
            .expect("<iq type='get' from='example.org'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>")
            .await;
        let query = asked
            .get_child("query", "http://jabber.org/protocol/disco#info")
            .expect("a query");
        let node = query.attr("node").expect("a node");
        let can = match node {
            "urn:xmpp:delegation:2::http://jabber.org/protocol/pubsub" => {
                "<feature var='http://jabber.org/protocol/pubsub#ours'/>"
            }
            "urn:xmpp:delegation:2:bare:http://jabber.org/protocol/pubsub" => {
                "<identity category='pubsub' type='pep'/><feature var='http://jabber.org/protocol/pubsub#bare'/>"
            }
            _ => "",
        };
        let (id, info) = (asked.get("id"), "http://jabber.org/protocol/disco#info");
        component.send(format!("<iq type='result' id='{id}' from='{DOMAIN}' to='example.org'><query xmlns='{info}' node='{node}'>{can}</query></iq>")).await;
    }
    component.ping().await;
    component
}

async fn client(server: &Server) -> Client {
    let jid = format!("{}/here", server.user());
    Client::online(server, Transport::Direct, &jid).await
}

/// The request that it was given, inside.
async fn forwarded(component: &mut Client) -> (String, minidom::Element) {
    let outer = component
        .expect(&format!(
            "<iq type='set' from='example.org' to='{DOMAIN}'><delegation xmlns='urn:xmpp:delegation:2'/></iq>"
        ))
        .await;
    let delegation = outer
        .get_child("delegation", "urn:xmpp:delegation:2")
        .expect("a delegation");
    let forwarded = delegation
        .get_child("forwarded", "urn:xmpp:forward:0")
        .expect("something forwarded");
    let inner = forwarded.get_child("iq", "jabber:client").expect("a request").clone();
    (outer.get("id").to_owned(), inner)
}

fn answer(outer: &str, inner: &str) -> String {
    format!(
        "<iq type='result' id='{outer}' from='{DOMAIN}' to='example.org'><delegation xmlns='urn:xmpp:delegation:2'>\
         <forwarded xmlns='urn:xmpp:forward:0'>{inner}</forwarded></delegation></iq>"
    )
}

fn good(inner: &minidom::Element, payload: &str) -> String {
    let (to, id) = (inner.attr("from").expect("a sender"), inner.attr("id").expect("an id"));
    format!("<iq xmlns='jabber:client' type='result' id='{id}' to='{to}'>{payload}</iq>")
}

#[tokio::test]
async fn it_answers_for_the_server_and_for_accounts() {
    let server = server(2);
    let mut component = managing(&server).await;
    let mut user = client(&server).await;
    let (full, bare, other) = (user.jid.clone(), user.bare().to_owned(), server.user());
    for (to, payload) in [
        ("example.org", "<query xmlns='jabber:iq:version'/>"),
        (
            &*bare,
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/></pubsub>",
        ),
        (
            &*other,
            "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='n'/></pubsub>",
        ),
        (&*other, "<x xmlns='urn:a' node='y'/>"),
        (&*bare, "<query xmlns='http://jabber.org/protocol/disco#items'/>"),
        (
            &*bare,
            "<query xmlns='http://jabber.org/protocol/disco#info' node='n'/>",
        ),
    ] {
        user.send(format!("<iq type='get' id='1' to='{to}'>{payload}</iq>"))
            .await;
        let (outer, inner) = forwarded(&mut component).await;
        assert_eq!(inner.attr("from"), Some(&*full));
        assert_eq!(inner.attr("to"), Some(to));
        assert_eq!((inner.attr("id"), inner.attr("type")), (Some("1"), Some("get")));
        component
            .send(answer(&outer, &good(&inner, "<done xmlns='urn:done'/>")))
            .await;
        let came = user
            .expect(&format!(
                "<iq type='result' id='1' from='{to}' to='{full}'><done xmlns='urn:done'/></iq>"
            ))
            .await;
        assert!(!came.raw().contains("delegation"), "{came:?}");
    }
    // N.B. 3: the attribute is missing; and what is another's, or was not delegated.
    for (to, payload, expected) in [
        ("example.org", "<x xmlns='urn:a'/>", "cancel/service-unavailable"),
        ("example.net", "<query xmlns='jabber:iq:version'/>", ""),
        ("example.org", "<ping xmlns='urn:xmpp:ping'/>", ""),
    ] {
        let answer = user.iq("get", to, payload).await;
        assert_eq!(error_of(&answer), expected, "{payload}");
    }
    // To a full JID it is for the client.
    user.send(format!(
        "<iq type='get' id='2' to='{full}'><query xmlns='jabber:iq:version'/></iq>"
    ))
    .await;
    user.expect(&format!("<iq type='get' id='2' from='{full}'/>")).await;
    component.nothing_more().await;
    // What it asks itself is not given back to it.
    let answer = component
        .iq("get", "example.org", "<query xmlns='jabber:iq:version'/>")
        .await;
    assert!(answer.raw().contains("Jackdaw"), "{answer:?}");
}

/// "Stanzas from managing entity": what it does itself is not given back to it, also where it does it in the name of an
/// account (XEP-0356).
#[tokio::test]
async fn it_asks_the_server_for_itself() {
    let server = Server::builder()
        .users(1)
        .component_with(
            DOMAIN,
            "[component.privileges]\nroster = \"both\"\niq = { \"jabber:iq:private\" = \"both\" }\n\
             [[component.delegation]]\nnamespace = \"jabber:iq:private\"\n\
             [[component.delegation]]\nnamespace = \"jabber:iq:roster\"",
        )
        .start();
    let mut component = Client::component(&server, DOMAIN).await;
    component
        .wait("<message><delegation xmlns='urn:xmpp:delegation:2'/></message>")
        .await;
    component.forget().await;
    let mut user = client(&server).await;
    let (bare, full) = (user.bare().to_owned(), user.jid.clone());
    let notes =
        |text: &str| format!("<query xmlns='jabber:iq:private'><notes xmlns='urn:notes'>{text}</notes></query>");
    let in_name = |type_: &str, payload: &str| {
        format!(
            "<privileged_iq xmlns='urn:xmpp:privilege:2'><iq xmlns='jabber:client' type='{type_}' id='in'>{payload}</iq>\
             </privileged_iq>"
        )
    };
    let done = component.iq("set", &bare, &in_name("set", &notes("mine"))).await;
    assert_eq!(done.get("type"), "result", "{done:?}");
    let found = component.iq("get", &bare, &in_name("get", &notes(""))).await;
    assert!(found.raw().contains(">mine</notes>"), "{found:?}");
    // The example of the section: it decides about a contact, and enters it itself.
    let roster = |inner: &str| format!("<query xmlns='jabber:iq:roster'>{inner}</query>");
    user.send(format!("<iq type='get' id='r1'>{}</iq>", roster(""))).await;
    let (outer, inner) = forwarded(&mut component).await;
    component.send(answer(&outer, &good(&inner, &roster("")))).await;
    user.expect(&format!("<iq type='result' id='r1' to='{full}'/>")).await;
    user.send(format!(
        "<iq type='set' id='r2'>{}</iq>",
        roster("<item jid='romeo@example.net'/>")
    ))
    .await;
    let (outer, inner) = forwarded(&mut component).await;
    component.send(answer(&outer, &good(&inner, ""))).await;
    user.expect(&format!("<iq type='result' id='r2' to='{full}'/>")).await;
    let item = "<item jid='romeo@example.net'><group>Rivals</group></item>";
    component
        .send(format!(
            "<iq type='set' id='r3' from='{DOMAIN}' to='{bare}'>{}</iq>",
            roster(item)
        ))
        .await;
    // "The server will then send the roster pushes ... normally": he has asked for his roster, whoever has answered.
    let push = user.expect("<iq type='set'/>").await;
    assert!(push.raw().contains("<group>Rivals</group>"), "{push:?}");
    component
        .wait(&format!("<iq type='result' id='r3' from='{bare}'/>"))
        .await;
    component.forget().await;
    // Nobody else is taken for it.
    user.send(format!(
        "<iq type='get' id='component-1' to='{bare}'>{}</iq>",
        notes("")
    ))
    .await;
    forwarded(&mut component).await;
}

#[tokio::test]
async fn bad_answers_and_none() {
    let server = server(1);
    let mut component = managing(&server).await;
    let mut plain = Client::component(&server, "plain.example.org").await;
    let mut user = client(&server).await;
    let version = "<query xmlns='jabber:iq:version'/>";
    let full = user.jid.clone();
    let failed = |came: &Stanza| assert_eq!(error_of(came), "cancel/service-unavailable", "{came:?}");
    for bad in ["error", "id", "to", "from", "type"] {
        user.send(format!("<iq type='get' id='1' to='example.org'>{version}</iq>"))
            .await;
        let (outer, inner) = forwarded(&mut component).await;
        // Not by somebody else.
        let forged = answer(&outer, &good(&inner, ""));
        plain
            .send(forged.replace(&format!("from='{DOMAIN}'"), "from='plain.example.org'"))
            .await;
        component
            .send(forged.replace(&format!("from='{DOMAIN}'"), &format!("from='a@{DOMAIN}'")))
            .await;
        plain.ping().await;
        component.ping().await;
        user.nothing_more().await;
        let inner = good(&inner, "");
        let text = match bad {
            "error" => format!("<iq type='error' id='{outer}' from='{DOMAIN}' to='example.org'/>"),
            "id" => answer(&outer, &inner.replace("id='1'", "id='2'")),
            "to" => answer(&outer, &inner.replace("/here", "/there")),
            "from" => answer(&outer, &inner.replace(" to=", " from='example.net' to=")),
            _ => answer(&outer, &inner.replace("'result'", "'get'")),
        };
        component.send(text).await;
        failed(
            &user
                .expect(&format!("<iq type='error' id='1' from='example.org' to='{full}'/>"))
                .await,
        );
    }
    // It goes with a question open, and is away.
    user.send(format!("<iq type='get' id='1' to='example.org'>{version}</iq>"))
        .await;
    forwarded(&mut component).await;
    component.cut();
    failed(&user.expect("<iq type='error' id='1'/>").await);
    failed(&user.iq("get", "example.org", version).await);
    user.nothing_more().await;
}

#[tokio::test]
async fn what_discovery_tells() {
    let server = server(1);
    let mut user = client(&server).await;
    let own = user.bare().to_owned();
    let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    let before = user.iq("get", "example.org", info).await;
    assert!(before.raw().contains("urn:xmpp:delegation:2"), "{before:?}");
    let of_account = user.iq("get", &own, info).await;
    let has = |answer: &Stanza, var: &str| answer.raw().contains(&format!("<feature var='{var}'/>"));
    assert!(!has(&of_account, &format!("{PUBSUB}#publish")), "{of_account:?}");
    let component = managing(&server).await;
    let of_server = user.iq("get", "example.org", info).await;
    assert!(has(&of_server, &format!("{PUBSUB}#ours")), "{of_server:?}");
    assert!(!has(&of_server, "jabber:iq:version"), "{of_server:?}");
    let of_account = user.iq("get", &own, info).await;
    assert!(has(&of_account, &format!("{PUBSUB}#bare")), "{of_account:?}");
    assert!(!has(&of_account, &format!("{PUBSUB}#publish")), "{of_account:?}");
    assert_eq!(of_account.raw().matches("type='pep'").count(), 1, "{of_account:?}");
    // The hash that is announced is of what is told: the node of it exists.
    let mut late = Client::login(&server, Transport::Direct, &format!("{own}/late")).await;
    let caps = late
        .features
        .as_ref()
        .and_then(|features| features.get_child("c", "http://jabber.org/protocol/caps"));
    let part = |name| caps.and_then(|caps| caps.attr(name)).expect("capabilities").to_owned();
    let node = format!("{}#{}", part("node"), part("ver"));
    let asks = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>");
    let answer = late.iq("get", "example.org", &asks).await;
    assert!(has(&answer, &format!("{PUBSUB}#ours")), "{answer:?}");
    component.close().await;
    let after = user.iq("get", &own, info).await;
    assert!(!has(&after, &format!("{PUBSUB}#bare")), "{after:?}");
}
