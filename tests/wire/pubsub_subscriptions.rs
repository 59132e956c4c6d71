//! Subscriptions that are approved, and what subscribers want of them (XEP-0060 sections 6.3 and 8.6), at a service and at
//! an account.

use testkit::{Client, Server, Stanza, Transport};

use crate::pep::{PUBSUB, configure, form, items, publish, pubsub, refusal};
use crate::support::{befriend, is_result};

const ENTRY: &str = "<a xmlns='urn:a'/>";

fn subscribe(node: &str, jid: &str, options: &[(&str, &str)]) -> String {
    let options = match options {
        [] => String::new(),
        options => format!("<options>{}</options>", form("subscribe_options", options)),
    };
    pubsub(&format!("<subscribe node='{node}' jid='{jid}'/>{options}"))
}

/// The owner's answer to the question that came, as its form.
fn decision(question: &Stanza, at: &str, allow: &str) -> String {
    let raw = question.raw().replace('"', "'");
    let value = |var: &str| {
        let (_, rest) = raw.split_once(&format!("var='pubsub#{var}'")).expect("the field");
        let (_, rest) = rest.split_once("<value>").expect("its value");
        rest.split('<').next().expect("its end").to_owned()
    };
    let (node, jid) = (value("node"), value("subscriber_jid"));
    let fields = [("node", &*node), ("subscriber_jid", &*jid), ("allow", allow)];
    let form = form("subscribe_authorization", &fields);
    format!("<message to='{at}' id='{}'>{form}</message>", question.get("id"))
}

fn is_question(stanza: &Stanza) -> bool {
    stanza.raw().contains("subscribe_authorization")
}

#[tokio::test]
async fn owners_approve_who_may_subscribe() {
    let server = Server::with_users(40);
    for transport in Transport::EVERY {
        for at_service in [true, false] {
            let mut hamlet = Client::online(&server, transport, &server.user()).await;
            let mut horatio = Client::online(&server, transport, &server.user()).await;
            let mut denied = Client::online(&server, transport, &server.user()).await;
            let (name, domain) = hamlet.bare().split_once('@').expect("an account");
            let (node, at) = match at_service {
                true => (format!("musings-{name}"), format!("pubsub.{domain}")),
                false => ("musings".to_owned(), hamlet.bare().to_owned()),
            };
            let config = form("node_config", &[("access_model", "authorize")]);
            let create = format!("<create node='{node}'/><configure>{config}</configure>");
            is_result(&hamlet.iq("set", &at, &pubsub(&create)).await, "");
            is_result(&hamlet.iq("set", &at, &publish(&node, "1", ENTRY, &[])).await, "");
            for (client, allow, state) in [(&mut horatio, "true", "subscribed"), (&mut denied, "false", "none")] {
                let bare = client.bare().to_owned();
                let pending = format!("<subscription node='{node}' jid='{bare}' subscription='pending'/>");
                is_result(
                    &client.iq("set", &at, &subscribe(&node, &bare, &[])).await,
                    &pubsub(&pending),
                );
                let again = client.iq("set", &at, &subscribe(&node, &bare, &[])).await;
                let expected = (
                    "auth/not-authorized".to_owned(),
                    Some("pending-subscription".to_owned()),
                );
                assert_eq!(refusal(&again), expected);
                let question = hamlet.wait_keeping(is_question).await;
                assert_eq!(question.get("from"), at);
                // Somebody else has no say.
                let forged = decision(&question, &at, "true");
                client.send(forged).await;
                client.ping().await;
                let read = client.iq("get", &at, &items(&node)).await;
                let expected = ("auth/not-authorized".to_owned(), Some("not-subscribed".to_owned()));
                assert_eq!(refusal(&read), expected);
                client.forget().await;
                hamlet.forget().await;
                hamlet.send(decision(&question, &at, allow)).await;
                let event = format!("<subscription node='{node}' jid='{bare}' subscription='{state}'/>");
                client
                    .wait(&format!(
                        "<message type='headline' from='{at}'><event xmlns='{PUBSUB}#event'>{event}</event></message>"
                    ))
                    .await;
            }
            // The answer was no message: nobody reads it, and it is not in the history.
            hamlet.nothing_more().await;
            let got = pubsub(&format!("<items node='{node}'><item id='1'>{ENTRY}</item></items>"));
            is_result(&horatio.iq("get", &at, &items(&node)).await, &got);
            is_result(&hamlet.iq("set", &at, &publish(&node, "2", ENTRY, &[])).await, "");
            horatio
                .wait(&format!(
                    "<message type='headline' from='{at}'><event xmlns='{PUBSUB}#event'>\
                     <items node='{node}'><item id='2'/></items></event></message>"
                ))
                .await;
            denied.nothing_more().await;
            for client in [hamlet, horatio, denied] {
                client.close().await;
            }
        }
    }
}

/// The question waits for an owner who is away, as other messages do.
#[tokio::test]
async fn an_owner_who_is_away_is_asked_later() {
    let server = Server::with_users(2);
    let transport = Transport::Direct;
    let user = server.user();
    let mut hamlet = Client::online(&server, transport, &user).await;
    let mut horatio = Client::online(&server, transport, &server.user()).await;
    let (_, domain) = user.split_once('@').expect("an account");
    let at = format!("pubsub.{domain}");
    let config = form("node_config", &[("access_model", "authorize")]);
    let create = format!("<create node='n'/><configure>{config}</configure>");
    is_result(&hamlet.iq("set", &at, &pubsub(&create)).await, "");
    hamlet.close().await;
    let bare = horatio.bare().to_owned();
    is_result(&horatio.iq("set", &at, &subscribe("n", &bare, &[])).await, "");
    let mut hamlet = Client::online(&server, transport, &user).await;
    let question = hamlet.wait_keeping(is_question).await;
    hamlet.send(decision(&question, &at, "1")).await;
    horatio
        .wait(&format!(
            "<message from='{at}' type='headline'><event xmlns='{PUBSUB}#event'/></message>"
        ))
        .await;
    for client in [hamlet, horatio] {
        client.close().await;
    }
}

#[tokio::test]
async fn a_subscriber_is_told_as_he_wants_it() {
    let server = Server::with_users(16);
    for transport in Transport::EVERY {
        let mut hamlet = Client::online(&server, transport, &server.user()).await;
        let mut francisco = Client::online(&server, transport, &server.user()).await;
        let (name, domain) = hamlet.bare().split_once('@').expect("an account");
        let (node, at) = (format!("n-{name}"), format!("pubsub.{domain}"));
        is_result(
            &hamlet
                .iq("set", &at, &pubsub(&format!("<create node='{node}'/>")))
                .await,
            "",
        );
        let bare = francisco.bare().to_owned();
        let chosen = [("show-values", "chat")];
        let answer = francisco.iq("set", &at, &subscribe(&node, &bare, &chosen)).await;
        is_result(
            &answer,
            &pubsub(&format!(
                "<subscription node='{node}' jid='{bare}' subscription='subscribed'/><options>\
                 <x xmlns='jabber:x:data' type='result'><field var='pubsub#show-values'><value>chat</value></field></x>\
                 </options>"
            )),
        );
        let hears = |id: &str| {
            format!(
                "<message type='headline' from='{at}'><event xmlns='{PUBSUB}#event'>\
                 <items node='{node}'><item id='{id}'/></items></event></message>"
            )
        };
        // Merely online.
        is_result(&hamlet.iq("set", &at, &publish(&node, "1", ENTRY, &[])).await, "");
        francisco.nothing_more().await;
        francisco.presence("<presence><show>chat</show></presence>").await;
        is_result(&hamlet.iq("set", &at, &publish(&node, "2", ENTRY, &[])).await, "");
        francisco.wait(&hears("2")).await;
        // Not at all, and then again.
        let options = format!("<options node='{node}' jid='{bare}'/>");
        let given = francisco.iq("get", &at, &pubsub(&options)).await;
        is_result(
            &given,
            &pubsub(&format!(
                "<options node='{node}' jid='{bare}'><x xmlns='jabber:x:data' type='form'>\
                 <field var='pubsub#deliver' type='boolean'><value>1</value></field></x></options>"
            )),
        );
        for (deliver, id, is_told) in [("0", "3", false), ("1", "4", true)] {
            let form = form("subscribe_options", &[("deliver", deliver)]);
            let set = pubsub(&format!("<options node='{node}' jid='{bare}'>{form}</options>"));
            is_result(&francisco.iq("set", &at, &set).await, "");
            is_result(&hamlet.iq("set", &at, &publish(&node, id, ENTRY, &[])).await, "");
            match is_told {
                true => drop(francisco.wait(&hears(id)).await),
                false => francisco.nothing_more().await,
            }
        }
        let wrong = form("subscribe_options", &[("digest", "1")]);
        let set = pubsub(&format!("<options node='{node}' jid='{bare}'>{wrong}</options>"));
        let expected = ("modify/bad-request".to_owned(), Some("invalid-options".to_owned()));
        assert_eq!(refusal(&francisco.iq("set", &at, &set).await), expected);
        // What is told in messages of type normal waits for who is away.
        let normal = configure(&node, &[("notification_type", "normal")]);
        is_result(&hamlet.iq("set", &at, &normal).await, "");
        francisco.close().await;
        is_result(&hamlet.iq("set", &at, &publish(&node, "5", ENTRY, &[])).await, "");
        let mut francisco = Client::online(&server, transport, &bare).await;
        francisco
            .wait(&format!(
                "<message from='{at}'><event xmlns='{PUBSUB}#event'><items node='{node}'><item id='5'/></items></event>\
                 </message>"
            ))
            .await;
        for client in [hamlet, francisco] {
            client.close().await;
        }
    }
}

/// XEP-0163 section 4.3.1.
#[tokio::test]
async fn contacts_hear_which_resource_has_published() {
    let server = Server::with_users(3);
    let transport = Transport::Direct;
    let mut juliet = Client::online(&server, transport, &server.user()).await;
    let mut romeo = Client::online(&server, transport, &server.user()).await;
    let mut stranger = Client::online(&server, transport, &server.user()).await;
    befriend(&mut juliet, &mut romeo).await;
    crate::pep::wants(&mut romeo, &["urn:n"]).await;
    juliet.forget().await;
    let open = [("access_model", "open")];
    is_result(&juliet.iq("set", "", &publish("urn:n", "1", ENTRY, &open)).await, "");
    romeo.wait("<message type='headline'/>").await;
    let at = juliet.bare().to_owned();
    is_result(
        &stranger
            .iq("set", &at, &subscribe("urn:n", &stranger.jid.clone(), &[]))
            .await,
        "",
    );
    stranger.wait("<message type='headline'/>").await;
    is_result(&juliet.iq("set", "", &publish("urn:n", "2", ENTRY, &[])).await, "");
    let by = format!("<address type='replyto' jid='{}'/>", juliet.jid);
    romeo
        .wait(&format!(
            "<message type='headline' from='{at}'><addresses xmlns='http://jabber.org/protocol/address'>{by}</addresses>\
             </message>"
        ))
        .await;
    let told = stranger.wait("<message type='headline'/>").await;
    assert!(!told.raw().contains("addresses"), "{}", told.raw());
    for client in [juliet, romeo, stranger] {
        client.close().await;
    }
}
