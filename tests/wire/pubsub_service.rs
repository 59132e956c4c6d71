//! The service for nodes that are nobody's account (XEP-0060), as its examples have it: `pubsub.<domain>`.

use testkit::{Client, Server, Stanza, Transport, password_of};

use crate::pep::{OWNER, PUBSUB, configure, form, items, publish, pubsub, refusal};
use crate::support::{error_of, features, is_result};

const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const ENTRY: &str = "<entry xmlns='http://www.w3.org/2005/Atom'><title>Soliloquy</title></entry>";

/// The address of the service of the client's domain.
fn service(client: &Client) -> String {
    let (_, domain) = client.bare().split_once('@').expect("an account");
    format!("pubsub.{domain}")
}

fn owner(inner: &str) -> String {
    format!("<pubsub xmlns='{OWNER}'>{inner}</pubsub>")
}

fn create(node: &str, fields: &[(&str, &str)]) -> String {
    let form = form("node_config", fields);
    pubsub(&format!("<create node='{node}'/><configure>{form}</configure>"))
}

fn subscribe(node: &str, jid: &str) -> String {
    pubsub(&format!("<subscribe node='{node}' jid='{jid}'/>"))
}

/// The next is a message of the service with this event; for a bare JID it comes to each session (RFC 6121 section 8.5.2.1.1).
async fn hears(client: &mut Client, event: &str) {
    let (from, to) = (service(client), client.jid.clone());
    let event = format!("<event xmlns='{PUBSUB}#event'>{event}</event>");
    client
        .wait(&format!(
            "<message type='headline' from='{from}' to='{to}' id='*'>{event}</message>"
        ))
        .await;
}

#[tokio::test]
async fn the_service_is_found_and_says_what_it_can() {
    let server = Server::with_users(1);
    let mut a = Client::online(&server, Transport::Direct, &server.user()).await;
    let at = service(&a);
    let (_, domain) = at.split_once('.').expect("a label");
    let ask = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
    is_result(
        &a.iq("get", domain, ask).await,
        &format!("<query xmlns='http://jabber.org/protocol/disco#items'><item jid='{at}'/></query>"),
    );
    let identity = "<identity category='pubsub' type='service'/>";
    is_result(
        &a.iq("get", &at, INFO).await,
        &format!("<query xmlns='http://jabber.org/protocol/disco#info'>{identity}</query>"),
    );
    let known = features(&mut a, &at).await;
    for (feature, is_there) in [
        ("access-authorize", true),
        ("access-open", true),
        ("access-whitelist", true),
        ("create-and-configure", true),
        ("instant-nodes", true),
        ("subscription-options", true),
        ("subscription-notifications", true),
        ("access-presence", false),
        ("auto-subscribe", false),
        ("last-published", false),
        ("multi-subscribe", false),
    ] {
        assert_eq!(
            known.contains(&format!("{PUBSUB}#{feature}")),
            is_there,
            "{feature}: {known:?}"
        );
    }
    assert!(known.contains(&"urn:xmpp:pubsub-filter:0".to_owned()), "{known:?}");
    // It has no presence, no accounts, and reads no messages.
    a.send(format!("<presence to='{at}'/>")).await;
    a.send(format!("<message to='{at}' id='m'><body>x</body></message>"))
        .await;
    a.wait("<message type='error' id='m'/>").await;
    let answer = a.iq("get", &format!("nobody@{at}"), INFO).await;
    assert_eq!(error_of(&answer), "cancel/service-unavailable");
    a.close().await;
}

#[tokio::test]
async fn a_node_is_made_published_to_and_read() {
    let server = Server::with_users(20);
    for transport in Transport::EVERY {
        let mut hamlet = Client::online(&server, transport, &server.user()).await;
        let mut francisco = Client::online(&server, transport, &server.user()).await;
        let at = service(&hamlet);
        let node = format!("princely_musings_{}", hamlet.bare().split_once('@').expect("a name").0);
        is_result(
            &hamlet.iq("set", &at, &create(&node, &[("title", "Musings")])).await,
            "",
        );
        let again = hamlet.iq("set", &at, &create(&node, &[])).await;
        assert_eq!(error_of(&again), "cancel/conflict");
        // Instant nodes (section 8.1.1).
        let created = format!("<pubsub xmlns='{PUBSUB}'><create node='*'/></pubsub>");
        is_result(&hamlet.iq("set", &at, &pubsub("<create/>")).await, &created);

        let bare = francisco.bare().to_owned();
        let subscribed = format!("<subscription node='{node}' jid='{bare}' subscription='subscribed'/>");
        is_result(
            &francisco.iq("set", &at, &subscribe(&node, &bare)).await,
            &pubsub(&subscribed),
        );
        let told = pubsub(&format!("<publish node='{node}'><item id='1'/></publish>"));
        is_result(&hamlet.iq("set", &at, &publish(&node, "1", ENTRY, &[])).await, &told);
        let event = format!("<items node='{node}'><item id='1'>{ENTRY}</item></items>");
        hears(&mut francisco, &event).await;
        let refused = francisco.iq("set", &at, &publish(&node, "2", ENTRY, &[])).await;
        assert_eq!(error_of(&refused), "auth/forbidden");
        is_result(&francisco.iq("get", &at, &items(&node)).await, &pubsub(&event));
        // What of it is told to all.
        let info = format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>");
        let answer = francisco.iq("get", &at, &info).await;
        let facts = format!(
            "<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'>\
             <identity category='pubsub' type='leaf'/><x xmlns='jabber:x:data' type='result'>\
             <field var='pubsub#owner'><value>{}</value></field>\
             <field var='pubsub#title'><value>Musings</value></field></x></query>",
            hamlet.bare()
        );
        is_result(&answer, &facts);
        let list = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
        let item = format!("<item jid='{at}' node='{node}' name='Musings'/>");
        let listed = format!("<query xmlns='http://jabber.org/protocol/disco#items'>{item}</query>");
        is_result(&francisco.iq("get", &at, list).await, &listed);
        // Retracted, purged, configured, deleted: each is told.
        let retract = pubsub(&format!("<retract node='{node}'><item id='1'/></retract>"));
        is_result(&hamlet.iq("set", &at, &retract).await, "");
        hears(
            &mut francisco,
            &format!("<items node='{node}'><retract id='1'/></items>"),
        )
        .await;
        is_result(
            &hamlet.iq("set", &at, &owner(&format!("<purge node='{node}'/>"))).await,
            "",
        );
        hears(&mut francisco, &format!("<purge node='{node}'/>")).await;
        is_result(
            &hamlet
                .iq("set", &at, &configure(&node, &[("notify_config", "1")]))
                .await,
            "",
        );
        hears(&mut francisco, &format!("<configuration node='{node}'/>")).await;
        let uri = "xmpp:elsewhere.example?;node=blog";
        let delete = owner(&format!("<delete node='{node}'><redirect uri='{uri}'/></delete>"));
        is_result(&hamlet.iq("set", &at, &delete).await, "");
        let event = format!("<delete node='{node}'><redirect uri='{uri}'/></delete>");
        hears(&mut francisco, &event).await;
        let gone = francisco.iq("set", &at, &subscribe(&node, &bare)).await;
        assert_eq!(error_of(&gone), "cancel/gone");
        assert!(gone.raw().contains(uri), "{}", gone.raw());
        for client in [hamlet, francisco] {
            client.close().await;
        }
    }
}

/// Row 48 of the list of faults, at the service.
#[tokio::test]
async fn what_is_refused() {
    let server = Server::with_users(8);
    for transport in Transport::BOTH {
        let mut a = Client::online(&server, transport, &server.user()).await;
        let mut b = Client::online(&server, transport, &server.user()).await;
        let at = service(&a);
        let node = format!("n-{}", a.bare().split_once('@').expect("a name").0);
        is_result(&a.iq("set", &at, &create(&node, &[])).await, "");
        let mut cases = Vec::new();
        let options = [("access_model", "whitelist")];
        cases.push((
            a.iq("set", &at, &publish(&node, "1", ENTRY, &options)).await,
            "cancel/conflict",
            Some("precondition-not-met"),
        ));
        let big = format!("<a xmlns='urn:a'>{}</a>", "x".repeat(200_000));
        cases.push((
            a.iq("set", &at, &publish(&node, "1", &big, &[])).await,
            "modify/not-acceptable",
            Some("payload-too-big"),
        ));
        cases.push((b.iq("get", &at, &items("missing")).await, "cancel/item-not-found", None));
        is_result(
            &a.iq("set", &at, &configure(&node, &[("access_model", "whitelist")]))
                .await,
            "",
        );
        let bare = b.bare().to_owned();
        cases.push((
            b.iq("set", &at, &subscribe(&node, &bare)).await,
            "cancel/not-allowed",
            Some("closed-node"),
        ));
        let outcast = format!("<affiliation jid='{bare}' affiliation='outcast'/>");
        let banned = owner(&format!("<affiliations node='{node}'>{outcast}</affiliations>"));
        is_result(&a.iq("set", &at, &banned).await, "");
        b.wait(&format!(
            "<message type='headline' from='{at}'><pubsub xmlns='{PUBSUB}'><affiliations node='{node}'>\
             <affiliation jid='{bare}' affiliation='outcast'/></affiliations></pubsub></message>"
        ))
        .await;
        cases.push((b.iq("get", &at, &items(&node)).await, "auth/forbidden", None));
        cases.push((
            b.iq("set", &at, &subscribe(&node, a.bare())).await,
            "modify/bad-request",
            Some("invalid-jid"),
        ));
        cases.push((
            a.iq("set", &at, &create("x", &[("access_model", "presence")])).await,
            "modify/not-acceptable",
            Some("unsupported-access-model"),
        ));
        for (answer, condition, own) in cases {
            assert_eq!(
                refusal(&answer),
                (condition.to_owned(), own.map(str::to_owned)),
                "{}",
                answer.raw()
            );
        }
        for client in [a, b] {
            client.close().await;
        }
    }
}

/// Sends many requests, some at once, and returns their answers in order.
async fn burst(client: &mut Client, to: &str, payloads: &[String]) -> Vec<Stanza> {
    const AT_ONCE: usize = 50;
    let mut answers = Vec::new();
    for some in payloads.chunks(AT_ONCE) {
        let requests: String = some
            .iter()
            .map(|payload| format!("<iq type='set' to='{to}' id='burst'>{payload}</iq>"))
            .collect();
        client.send(requests).await;
        for _ in some {
            answers.push(client.wait_keeping(|stanza| stanza.get("id") == "burst").await);
        }
    }
    answers
}

/// Row 31 of the attacks: as many subscriptions as somebody likes to ask for end at a limit with a name, and one who owns
/// nodes cannot make as many as he likes either.
#[tokio::test]
async fn a_crowd_of_subscriptions_ends_at_a_limit() {
    const NODES: usize = 100;
    const SUBSCRIPTIONS: usize = 1_000;
    let server = Server::with_users(2);
    let mut a = Client::online(&server, Transport::Direct, &server.user()).await;
    let mut b = Client::online(&server, Transport::Direct, &server.user()).await;
    let at = service(&a);
    let nodes: Vec<String> = (0..=NODES).map(|number| create(&format!("n{number}"), &[])).collect();
    let subscriptions: Vec<String> = (0..10_000)
        .map(|number| subscribe("n0", &format!("{}/{number}", b.bare())))
        .collect();
    for (client, asked, most, error) in [
        (&mut a, nodes, NODES, ("modify/policy-violation", "max-nodes-exceeded")),
        (
            &mut b,
            subscriptions,
            SUBSCRIPTIONS,
            ("wait/policy-violation", "too-many-subscriptions"),
        ),
    ] {
        let answers = burst(client, &at, &asked).await;
        let (taken, refused) = answers.split_at(most);
        assert!(taken.iter().all(|answer| answer.get("type") == "result"));
        let expected = (error.0.to_owned(), Some(error.1.to_owned()));
        assert!(refused.iter().all(|answer| refusal(answer) == expected));
    }
    // One request causes so much output and no more.
    let big = format!("<a xmlns='urn:a'>{}</a>", "x".repeat(20_000));
    let answer = a.iq("set", &at, &publish("n0", "1", &big, &[])).await;
    assert_eq!(error_of(&answer), "modify/policy-violation");
    for client in [a, b] {
        client.close().await;
    }
}

#[tokio::test]
async fn nodes_outlive_a_crash_and_not_their_owner() {
    let mut server = Server::with_users(4);
    let transport = Transport::Direct;
    let user = server.user();
    let mut a = Client::online(&server, transport, &user).await;
    let at = service(&a);
    is_result(&a.iq("set", &at, &create("n", &[])).await, "");
    is_result(&a.iq("set", &at, &publish("n", "1", ENTRY, &[])).await, "");
    server.kill9();
    server.start();
    let mut a = Client::online(&server, transport, &user).await;
    let event = format!("<items node='n'><item id='1'>{ENTRY}</item></items>");
    is_result(&a.iq("get", &at, &items("n")).await, &pubsub(&event));
    a.close().await;
    let removed = server.jackdaw(&["account", "remove", &user], "");
    assert!(removed.status.success(), "{removed:?}");
    server.import(&[(user.clone(), password_of(&user))]);
    let mut heir = Client::online(&server, transport, &user).await;
    let answer = heir.iq("get", &at, &items("n")).await;
    assert_eq!(error_of(&answer), "cancel/item-not-found");
    let affiliations = pubsub("<affiliations/>");
    let answer = heir.iq("get", &at, &affiliations).await;
    assert!(!answer.raw().contains("owner"), "{}", answer.raw());
    heir.close().await;
}

#[tokio::test]
async fn who_makes_nodes_is_the_operators_to_say() {
    for create in ["admins", "nobody"] {
        let server = Server::builder()
            .users(2)
            .domain_toml(&format!("\n[pubsub]\ncreate = \"{create}\"\n"))
            .start();
        let (user, admin) = (server.user(), server.user());
        let made = server.jackdaw(&["account", "admin", &admin, "yes"], "");
        assert!(made.status.success(), "{made:?}");
        let mut user = Client::online(&server, Transport::Direct, &user).await;
        let mut admin = Client::online(&server, Transport::Direct, &admin).await;
        let at = service(&user);
        let refused = user.iq("set", &at, &create_one("n")).await;
        let made = admin.iq("set", &at, &create_one("n")).await;
        if create == "nobody" {
            // There is no such address.
            for answer in [refused, made] {
                assert_eq!(error_of(&answer), "cancel/remote-server-not-found");
            }
        } else {
            assert_eq!(error_of(&refused), "auth/forbidden");
            is_result(&made, "");
            is_result(&user.iq("get", &at, &items("n")).await, &pubsub("<items node='n'/>"));
        }
        for client in [user, admin] {
            client.close().await;
        }
    }
}

fn create_one(node: &str) -> String {
    pubsub(&format!("<create node='{node}'/>"))
}
