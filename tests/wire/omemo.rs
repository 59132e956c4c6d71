//! Keys for encryption (XEP-0384 0.9.0, and 0.3.0 as most clients have it): what clients do with the nodes, step by step.

use testkit::{Client, Server, Stanza, Transport};

use crate::pep::{DEVICES, OWNER, configure, form, hears, items, publish, pubsub, refusal, wants};
use crate::support::{error_of, is_result};

const LEGACY: &str = "eu.siacs.conversations.axolotl";
const NS: &str = "urn:xmpp:omemo:2";
const NEW_DEVICES: &str = "urn:xmpp:omemo:2:devices";
const BUNDLES: &str = "urn:xmpp:omemo:2:bundles";

/// Of a publication, each without `pubsub#`.
type Options<'a> = &'a [(&'a str, &'a str)];

/// Of one device, in either namespace.
fn bundle(ns: &str, key: &str) -> String {
    let keys: String = (1..=100).map(|id| format!("<pk id='{id}'>{key}{id}</pk>")).collect();
    format!(
        "<bundle xmlns='{ns}'><spk id='1'>{key}</spk><spks>{key}</spks><ik>{key}</ik><prekeys>{keys}</prekeys></bundle>"
    )
}

fn devices(ns: &str, ids: &[u32]) -> String {
    let name = if ns == NS { "devices" } else { "list" };
    let ids: String = ids.iter().map(|id| format!("<device id='{id}'/>")).collect();
    format!("<{name} xmlns='{ns}'>{ids}</{name}>")
}

fn old_bundles(device: u32) -> String {
    format!("{LEGACY}.bundles:{device}")
}

fn told(node: &str, items: &[(&str, &str)]) -> String {
    let items: String = items
        .iter()
        .map(|(id, content)| format!("<item id='{id}'>{content}</item>"))
        .collect();
    format!("<items node='{node}'>{items}</items>")
}

/// All that is at the node, in its order.
async fn reads(client: &mut Client, owner: &str, node: &str, there: &[(&str, &str)]) {
    let answer = client.iq("get", owner, &items(node)).await;
    is_result(&answer, &pubsub(&told(node, there)));
}

/// One item of it alone, as a session with one device is built (section 5.4).
async fn reads_one(client: &mut Client, owner: &str, node: &str, item: (&str, &str)) {
    let ask = pubsub(&format!("<items node='{node}'><item id='{}'/></items>", item.0));
    let answer = client.iq("get", owner, &ask).await;
    is_result(&answer, &pubsub(&told(node, &[item])));
}

fn is_conflict(answer: &Stanza) {
    let expected = ("cancel/conflict".to_owned(), Some("precondition-not-met".to_owned()));
    assert_eq!(refusal(answer), expected, "{}", answer.raw());
}

/// What a client does when its precondition is not met: asks for the form, and submits it with these fields changed.
async fn submits_the_form(client: &mut Client, node: &str, changes: &[(&str, &str)]) {
    let question = format!("<pubsub xmlns='{OWNER}'><configure node='{node}'/></pubsub>");
    let given = client.iq("get", "", &question).await;
    let form = given
        .get_child("pubsub", OWNER)
        .and_then(|pubsub| pubsub.get_child("configure", OWNER))
        .and_then(|configure| configure.get_child("x", "jabber:x:data"))
        .expect("a form");
    let mut fields = String::new();
    for field in form.children().filter(|field| field.name() == "field") {
        let var = field.attr("var").expect("a name");
        let change = changes.iter().find(|(name, _)| format!("pubsub#{name}") == var);
        let values: String = match change {
            Some((_, value)) => format!("<value>{value}</value>"),
            None => field
                .children()
                .filter(|value| value.name() == "value")
                .map(|value| format!("<value>{}</value>", value.text()))
                .collect(),
        };
        fields.push_str(&format!("<field var='{var}'>{values}</field>"));
    }
    let submit = format!(
        "<pubsub xmlns='{OWNER}'><configure node='{node}'><x xmlns='jabber:x:data' type='submit'>{fields}</x></configure></pubsub>"
    );
    is_result(&client.iq("set", "", &submit).await, "");
}

/// What clients say of the nodes as they publish, and that nothing said is the same.
#[tokio::test]
async fn keys_are_for_everybody_whatever_the_client_says() {
    let server = Server::with_users(20);
    // Nothing at all (Profanity), what Conversations and Gajim say, what slixmpp says, what section 5.3.1 shows.
    let said: [&[(&str, &str)]; 4] = [
        &[],
        &[("persist_items", "true"), ("access_model", "open")],
        &[("persist_items", "1"), ("max_items", "1"), ("access_model", "open")],
        &[("access_model", "open")],
    ];
    let said_of_bundles: [&[(&str, &str)]; 4] = [
        &[],
        &[("max_items", "max"), ("access_model", "open")],
        &[
            ("persist_items", "true"),
            ("max_items", "max"),
            ("access_model", "open"),
        ],
        &[("max_items", "max")],
    ];
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let mut a = Client::online(&server, transport, &server.user()).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        let user = a.bare().to_owned();
        let (options, of_bundles) = (said[number], said_of_bundles[number]);
        let [old, new] = [devices(LEGACY, &[1, 2]), devices(NS, &[1, 2])];
        let keys = |number: u32| {
            (
                bundle(LEGACY, &format!("old{number}")),
                bundle(NS, &format!("new{number}")),
            )
        };
        for (node, list) in [(DEVICES, &old), (NEW_DEVICES, &new)] {
            is_result(&a.iq("set", "", &publish(node, "current", list, options)).await, "");
        }
        for device in [1, 2] {
            let (old, new) = keys(device);
            let node = old_bundles(device);
            is_result(&a.iq("set", "", &publish(&node, "current", &old, options)).await, "");
            let id = device.to_string();
            is_result(&a.iq("set", "", &publish(BUNDLES, &id, &new, of_bundles)).await, "");
        }
        reads(&mut stranger, &user, DEVICES, &[("current", &old)]).await;
        reads(&mut stranger, &user, NEW_DEVICES, &[("current", &new)]).await;
        let [(old1, new1), (old2, new2)] = [keys(1), keys(2)];
        reads(&mut stranger, &user, &old_bundles(1), &[("current", &old1)]).await;
        reads(&mut stranger, &user, &old_bundles(2), &[("current", &old2)]).await;
        reads(&mut stranger, &user, BUNDLES, &[("1", &new1), ("2", &new2)]).await;
        reads_one(&mut stranger, &user, BUNDLES, ("2", &new2)).await;
        // Who publishes again says the same, and no list grows.
        let list = devices(LEGACY, &[1, 2, 3]);
        is_result(&a.iq("set", "", &publish(DEVICES, "other", &list, options)).await, "");
        reads(&mut stranger, &user, DEVICES, &[("other", &list)]).await;
        // A device of which the keys are taken back has none.
        let gone = pubsub(&format!("<retract node='{BUNDLES}'><item id='1'/></retract>"));
        is_result(&a.iq("set", "", &gone).await, "");
        reads(&mut stranger, &user, BUNDLES, &[("2", &new2)]).await;
        let delete = format!("<pubsub xmlns='{OWNER}'><delete node='{}'/></pubsub>", old_bundles(1));
        is_result(&a.iq("set", "", &delete).await, "");
        let missing = stranger.iq("get", &user, &items(&old_bundles(1))).await;
        assert_eq!(error_of(&missing), "cancel/service-unavailable", "as for all strangers");
        for client in [a, stranger] {
            client.close().await;
        }
    }
}

/// A client before has left the nodes closed, or too small: each way in which clients open them works.
#[tokio::test]
async fn a_precondition_that_is_not_met_is_repaired() {
    let server = Server::with_users(20);
    for transport in Transport::EVERY {
        let user = server.user();
        let mut a = Client::online(&server, transport, &format!("{user}/a")).await;
        let mut b = Client::online(&server, transport, &format!("{user}/b")).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        wants(&mut b, &[DEVICES, NEW_DEVICES]).await;
        a.forget().await;
        let open = [("persist_items", "true"), ("access_model", "open")];
        let open_max = [("max_items", "max"), ("access_model", "open")];
        let closed = [("access_model", "presence")];
        let closed_small = [("access_model", "whitelist"), ("max_items", "2")];
        let [old, new] = [bundle(LEGACY, "k"), bundle(NS, "k")];
        let nodes: [(&str, &str, &str, Options<'_>); 4] = [
            (DEVICES, "current", &devices(LEGACY, &[7]), &open),
            (NEW_DEVICES, "current", &devices(NS, &[7]), &[("access_model", "open")]),
            (&old_bundles(7), "current", &old, &open),
            (BUNDLES, "7", &new, &open_max),
        ];
        for (number, (node, id, content, wanted)) in nodes.into_iter().enumerate() {
            let before: &[(&str, &str)] = if node == BUNDLES { &closed_small } else { &closed };
            let made = a.iq("set", "", &publish(node, id, content, before)).await;
            is_result(&made, "");
            if number < 2 {
                hears(&mut b, &user, &told(node, &[(id, content)])).await;
            }
            let refused = stranger.iq("get", &user, &items(node)).await;
            assert_eq!(error_of(&refused), "cancel/service-unavailable");
            let conflict = a.iq("set", "", &publish(node, id, content, wanted)).await;
            is_conflict(&conflict);
            // Conversations and Gajim submit the whole form, others what they want to have changed.
            if number % 2 == 0 {
                submits_the_form(&mut a, node, wanted).await;
            } else {
                is_result(&a.iq("set", "", &configure(node, wanted)).await, "");
            }
            // What was there is there still, and readable at once.
            reads(&mut stranger, &user, node, &[(id, content)]).await;
            is_result(&a.iq("set", "", &publish(node, id, content, wanted)).await, "");
            if number < 2 {
                hears(&mut b, &user, &told(node, &[(id, content)])).await;
            }
            b.nothing_more().await;
        }
        // A client that makes the node first, with what it knows of numbers, and then publishes to `max`.
        let many = "urn:xmpp:omemo:2:bundles";
        let delete = format!("<pubsub xmlns='{OWNER}'><delete node='{many}'/></pubsub>");
        is_result(&a.iq("set", "", &delete).await, "");
        let form = form("node_config", &[("max_items", "10000"), ("access_model", "open")]);
        let create = pubsub(&format!("<create node='{many}'/><configure>{form}</configure>"));
        is_result(&a.iq("set", "", &create).await, "");
        for id in ["1", "2", "3"] {
            is_result(&a.iq("set", "", &publish(many, id, &new, &open_max)).await, "");
        }
        reads(&mut stranger, &user, many, &[("1", &new), ("2", &new), ("3", &new)]).await;
        for client in [a, b, stranger] {
            client.close().await;
        }
    }
}

/// What was answered is there after a crash, with who may read it, and goes on from there.
#[tokio::test]
async fn keys_survive_a_crash() {
    let mut server = Server::with_users(3);
    let transport = Transport::Direct;
    let user = server.user();
    let mut a = Client::online(&server, transport, &user).await;
    let open = [("persist_items", "true"), ("access_model", "open")];
    let open_max = [("max_items", "max"), ("access_model", "open")];
    let (list, new_list) = (devices(LEGACY, &[1]), devices(NS, &[1]));
    is_result(&a.iq("set", "", &publish(DEVICES, "current", &list, &open)).await, "");
    is_result(
        &a.iq("set", "", &publish(NEW_DEVICES, "current", &new_list, &[])).await,
        "",
    );
    let old = bundle(LEGACY, "k");
    is_result(
        &a.iq("set", "", &publish(&old_bundles(1), "current", &old, &closed()))
            .await,
        "",
    );
    is_result(
        &a.iq("set", "", &configure(&old_bundles(1), &[("access_model", "open")]))
            .await,
        "",
    );
    let ids: Vec<String> = (1..=30).map(|id: u32| id.to_string()).collect();
    let all: Vec<(&str, String)> = ids.iter().map(|id| (id.as_str(), bundle(NS, id))).collect();
    for (id, content) in &all {
        is_result(&a.iq("set", "", &publish(BUNDLES, id, content, &open_max)).await, "");
    }
    server.kill9();
    server.start();
    let mut stranger = Client::online(&server, transport, &server.user()).await;
    reads(&mut stranger, &user, DEVICES, &[("current", &list)]).await;
    reads(&mut stranger, &user, NEW_DEVICES, &[("current", &new_list)]).await;
    reads(&mut stranger, &user, &old_bundles(1), &[("current", &old)]).await;
    let there: Vec<(&str, &str)> = all.iter().map(|(id, content)| (*id, content.as_str())).collect();
    reads(&mut stranger, &user, BUNDLES, &there).await;
    // The preconditions are met as before.
    let mut a = Client::online(&server, transport, &user).await;
    for (node, options) in [(DEVICES, &open[..]), (BUNDLES, &open_max), (&old_bundles(1), &open)] {
        is_result(&a.iq("set", "", &publish(node, "1", &old, options)).await, "");
    }
    for client in [a, stranger] {
        client.close().await;
    }
}

fn closed() -> [(&'static str, &'static str); 1] {
    [("access_model", "whitelist")]
}
