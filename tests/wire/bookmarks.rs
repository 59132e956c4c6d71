//! Bookmarks: one list at the node of XEP-0402, at that of XEP-0048, and in private XML.

use std::collections::BTreeSet;
use std::time::Duration;

use testkit::{Client, Server, Stanza, Transport};

use crate::pep::{BOOKMARKS, OWNER, arrives, configure, hears, items, publish, pubsub, refusal, wants};
use crate::support::{befriend, is_result};

const STORAGE: &str = "storage:bookmarks";

const NATIVE: [(&str, &str); 4] = [
    ("persist_items", "true"),
    ("max_items", "max"),
    ("send_last_published_item", "never"),
    ("access_model", "whitelist"),
];
const OLD: [(&str, &str); 2] = [("persist_items", "true"), ("access_model", "whitelist")];

fn room(inside: &str) -> String {
    format!("<conference xmlns='{BOOKMARKS}' {inside}")
}

fn storage(inside: &str) -> String {
    format!("<storage xmlns='{STORAGE}'>{inside}</storage>")
}

fn private(inside: &str) -> String {
    format!("<query xmlns='jabber:iq:private'>{inside}</query>")
}

fn retract(id: &str) -> String {
    pubsub(&format!(
        "<retract node='{BOOKMARKS}' notify='true'><item id='{id}'/></retract>"
    ))
}

/// What is told of the node of XEP-0402.
fn new_item(id: &str, payload: &str) -> String {
    format!("<items node='{BOOKMARKS}'><item id='{id}'>{payload}</item></items>")
}

fn gone_item(id: &str) -> String {
    format!("<items node='{BOOKMARKS}'><retract id='{id}'/></items>")
}

fn new_list(inside: &str) -> String {
    format!(
        "<items node='{STORAGE}'><item id='current'>{}</item></items>",
        storage(inside)
    )
}

/// The old list at its two places, which are the same; how many elements it has.
async fn reads_old(client: &mut Client, inside: &str, count: usize) {
    let stored = client.iq("get", "", &private(&storage(""))).await;
    is_result(&stored, &private(&storage(inside)));
    let published = client.iq("get", "", &items(STORAGE)).await;
    is_result(&published, &pubsub(&new_list(inside)));
    let stored = stored
        .get_child("query", "jabber:iq:private")
        .and_then(|query| query.get_child("storage", STORAGE));
    assert_eq!(stored.map(|storage| storage.children().count()), Some(count));
}

fn ids(answer: &Stanza) -> BTreeSet<String> {
    let items = answer
        .get_child("pubsub", crate::pep::PUBSUB)
        .and_then(|pubsub| pubsub.children().next());
    let items = items.into_iter().flat_map(minidom::Element::children);
    items.filter_map(|item| item.attr("id").map(str::to_owned)).collect()
}

/// The rooms of the three faces, which have to be the same.
async fn rooms(client: &mut Client) -> BTreeSet<String> {
    let new = ids(&client.iq("get", "", &items(BOOKMARKS)).await);
    let stored = client.iq("get", "", &private(&storage(""))).await;
    let published = client.iq("get", "", &items(STORAGE)).await;
    for old in [&stored, &published] {
        let raw = old.raw().replace('"', "'");
        let jids = raw.split(" jid='").skip(1);
        let jids: BTreeSet<String> = jids
            .filter_map(|rest| rest.split('\'').next())
            .map(str::to_owned)
            .collect();
        assert_eq!(jids, new, "{}", old.raw());
    }
    new
}

#[tokio::test]
async fn one_list_with_three_faces() {
    let server = Server::with_users(12);
    for transport in Transport::EVERY {
        let user = server.user();
        let mut new = Client::online(&server, transport, &format!("{user}/new")).await;
        let mut old = Client::online(&server, transport, &format!("{user}/old")).await;
        let mut oldest = Client::online(&server, transport, &format!("{user}/oldest")).await;
        let mut friend = Client::online(&server, transport, &server.user()).await;
        befriend(&mut new, &mut friend).await;
        wants(&mut new, &[BOOKMARKS]).await;
        wants(&mut old, &[STORAGE]).await;
        wants(&mut friend, &[BOOKMARKS, STORAGE]).await;
        for client in [&mut new, &mut old, &mut oldest] {
            client.forget().await;
        }

        // XEP-0402 section 5.3.1.
        let play = room(
            "name='The Play&apos;s the Thing' autojoin='1'><nick>JC</nick><extensions><state xmlns='urn:s' minimized='true'/></extensions></conference>",
        );
        let set = publish(BOOKMARKS, "theplay@chat.example", &play, &NATIVE);
        is_result(&new.iq("set", "", &set).await, "");
        hears(&mut new, &user, &new_item("theplay@chat.example", &play)).await;
        let as_old = "<conference jid='theplay@chat.example' name='The Play&apos;s the Thing' autojoin='true'><nick>JC</nick><extensions><state xmlns='urn:s' minimized='true'/></extensions></conference>";
        hears(&mut old, &user, &new_list(as_old)).await;
        reads_old(&mut oldest, as_old, 1).await;

        // Section 5.3.2, by a client that knows nothing of extensions: the one that says the same is not told of.
        let list = "<conference jid='theplay@chat.example' name='The Play&apos;s the Thing' autojoin='true'><nick>JC</nick></conference><conference jid='Orchard@chat.example' name='Orchard'><nick>JC</nick><password>p</password></conference><url name='W' url='http://w.example/'/>";
        is_result(&oldest.iq("set", "", &private(&storage(list))).await, "");
        hears(&mut old, &user, &new_list(list)).await;
        let orchard = room("name='Orchard' autojoin='-'><nick>JC</nick><password>p</password></conference>");
        hears(&mut new, &user, &new_item("orchard@chat.example", &orchard)).await;
        new.nothing_more().await;
        reads_old(&mut old, list, 3).await;
        let both = format!(
            "<items node='{BOOKMARKS}'><item id='theplay@chat.example'>{play}</item><item id='orchard@chat.example'>{orchard}</item></items>"
        );
        is_result(&old.iq("get", "", &items(BOOKMARKS)).await, &pubsub(&both));

        // The same by the node of XEP-0048: one is changed, and keeps its extensions.
        let list = "<conference jid='theplay@chat.example' name='Play'/><url name='W' url='http://w.example/'/>";
        is_result(
            &old.iq("set", "", &publish(STORAGE, "current", &storage(list), &OLD))
                .await,
            "",
        );
        hears(&mut old, &user, &new_list(list)).await;
        hears(&mut new, &user, &gone_item("orchard@chat.example")).await;
        let play = room(
            "name='Play' autojoin='-'><extensions><state xmlns='urn:s' minimized='true'/></extensions></conference>",
        );
        hears(&mut new, &user, &new_item("theplay@chat.example", &play)).await;
        reads_old(&mut oldest, list, 2).await;

        // What only the old form has stays.
        is_result(&new.iq("set", "", &retract("theplay@chat.example")).await, "");
        hears(&mut new, &user, &gone_item("theplay@chat.example")).await;
        let list = "<url name='W' url='http://w.example/'/>";
        hears(&mut old, &user, &new_list(list)).await;
        reads_old(&mut oldest, list, 1).await;
        // Nobody else hears or reads any of it.
        friend.nothing_more().await;
        for node in [BOOKMARKS, STORAGE] {
            let closed = ("cancel/not-allowed".to_owned(), Some("closed-node".to_owned()));
            assert_eq!(refusal(&friend.iq("get", &user, &items(node)).await), closed);
        }
        for client in [new, old, oldest, friend] {
            client.close().await;
        }
    }
}

/// XEP-0411 sections 2 and 5, XEP-0402 section 6.
#[tokio::test]
async fn what_is_copied_is_the_accounts_alone() {
    let server = Server::with_users(2);
    let transport = Transport::Direct;
    let mut a = Client::online(&server, transport, &server.user()).await;
    let mut friend = Client::online(&server, transport, &server.user()).await;
    let user = a.bare().to_owned();
    let info = a
        .iq("get", &user, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        .await;
    for feature in [
        "urn:xmpp:bookmarks:1#compat",
        "urn:xmpp:bookmarks:1#compat-pep",
        "urn:xmpp:bookmarks-conversion:0",
    ] {
        let feature =
            format!("<query xmlns='http://jabber.org/protocol/disco#info'><feature var='{feature}'/></query>");
        is_result(&info, &feature);
    }
    befriend(&mut a, &mut friend).await;
    // A client that says nothing of who may read.
    is_result(
        &a.iq("set", "", &publish(BOOKMARKS, "a@c.example", &room("/>"), &[]))
            .await,
        "",
    );
    is_result(
        &a.iq("set", "", &publish(BOOKMARKS, "b@c.example", &room("/>"), &[]))
            .await,
        "",
    );
    assert_eq!(rooms(&mut a).await.len(), 2);
    let closed = ("cancel/not-allowed".to_owned(), Some("closed-node".to_owned()));
    for node in [BOOKMARKS, STORAGE] {
        assert_eq!(refusal(&friend.iq("get", &user, &items(node)).await), closed);
        let open = [("access_model", "open"), ("max_items", "1")];
        is_result(&a.iq("set", "", &configure(node, &open)).await, "");
    }
    // That took one out: of all.
    assert_eq!(rooms(&mut a).await, BTreeSet::from(["b@c.example".to_owned()]));
    let list = "<conference jid='b@c.example'/><conference jid='c@c.example'/><conference jid='d@c.example'/>";
    is_result(&a.iq("set", "", &private(&storage(list))).await, "");
    assert_eq!(rooms(&mut a).await.len(), 3);
    for node in [BOOKMARKS, STORAGE] {
        assert_eq!(refusal(&friend.iq("get", &user, &items(node)).await), closed);
    }
    // Without the old node, or what stands in it, the list is there still; it comes back with the next change.
    let delete = |node: &str| format!("<pubsub xmlns='{OWNER}'><delete node='{node}'/></pubsub>");
    is_result(&a.iq("set", "", &delete(STORAGE)).await, "");
    assert_eq!(ids(&a.iq("get", "", &items(BOOKMARKS)).await).len(), 3);
    is_result(&a.iq("set", "", &retract("c@c.example")).await, "");
    assert_eq!(rooms(&mut a).await.len(), 2);
    // Something that is no list changes nothing; and nothing is made of nothing.
    let other = publish(STORAGE, "current", "<other xmlns='urn:o'/>", &[]);
    is_result(&a.iq("set", "", &other).await, "");
    assert_eq!(ids(&a.iq("get", "", &items(BOOKMARKS)).await).len(), 2);
    is_result(&a.iq("set", "", &delete(BOOKMARKS)).await, "");
    reads_old(&mut a, "", 0).await;
    for client in [a, friend] {
        client.close().await;
    }
}

/// Whoever writes, and however many at once: one list, also behind a crash.
#[tokio::test]
async fn writers_at_once_and_a_crash() {
    let mut server = Server::with_users(1);
    let user = server.user();
    let transport = Transport::Direct;
    let mut a = Client::online(&server, transport, &format!("{user}/a")).await;
    let mut b = Client::online(&server, transport, &format!("{user}/b")).await;
    let mut c = Client::online(&server, transport, &format!("{user}/c")).await;
    let mut sent = [String::new(), String::new(), String::new()];
    for number in 0..20 {
        let set = |payload: &str| format!("<iq type='set' id='w{number}'>{payload}</iq>");
        let id = format!("a{number}@c.example");
        sent[0] += &set(&publish(BOOKMARKS, &id, &room("autojoin='true'/>"), &NATIVE));
        let list = format!("<conference jid='b{number}@c.example'/><conference jid='a{number}@c.example'/>");
        sent[1] += &set(&publish(STORAGE, "current", &storage(&list), &OLD));
        let list = format!("<conference jid='c{number}@c.example'/><conference jid='a1@c.example'/>");
        sent[2] += &set(&private(&storage(&list)));
    }
    let mut clients = [&mut a, &mut b, &mut c];
    for (client, sent) in clients.iter_mut().zip(&sent) {
        client.send(sent).await;
    }
    for client in clients {
        for number in 0..20 {
            let answer = client.wait_keeping(|stanza| stanza.name() == "iq").await;
            assert_eq!(
                (answer.get("id"), answer.get("type")),
                (&*format!("w{number}"), "result")
            );
        }
    }
    a.forget().await;
    let before = rooms(&mut a).await;
    assert!(!before.is_empty());
    server.kill9();
    server.start();
    let mut a = Client::online(&server, transport, &format!("{user}/a")).await;
    assert_eq!(rooms(&mut a).await, before);
    a.close().await;
}

/// What an earlier version kept in private XML alone is at the nodes before anybody asks, and nothing of theirs is lost.
#[tokio::test]
async fn what_an_earlier_version_kept_is_gathered() {
    let mut server = Server::with_users(3);
    let users = [server.user(), server.user(), server.user()];
    let transport = Transport::Direct;
    let list =
        "<conference jid='a@c.example' name='A'><nick>n</nick></conference><url name='W' url='http://w.example/'/>";
    for user in &users[..2] {
        let mut client = Client::online(&server, transport, user).await;
        is_result(&client.iq("set", "", &private(&storage(list))).await, "");
        client.close().await;
    }
    server.sigterm();
    assert!(
        server
            .wait(Duration::from_secs(40))
            .is_some_and(|status| status.success())
    );
    let path = server.folder().join("data/jackdaw.sqlite");
    let database = rusqlite::Connection::open(path).expect("the server has made it");
    let nodes = ["nodes", "items", "order", "accounts"].map(|table| format!("pubsub_{table}"));
    for (number, table) in nodes.iter().map(String::as_str).chain(["upgrades"]).enumerate() {
        let gone = database.execute(&format!("DELETE FROM {table}"), []);
        assert!(gone.is_ok_and(|gone| gone > 0), "{table} {number}");
    }
    drop(database);
    server.start();
    for (number, user) in users.iter().enumerate() {
        let mut client = Client::online(&server, transport, user).await;
        let new = client.iq("get", "", &items(BOOKMARKS)).await;
        if number == 2 {
            assert_eq!(refusal(&new), ("cancel/item-not-found".to_owned(), None));
            continue;
        }
        let item = new_item("a@c.example", &room("name='A'><nick>n</nick></conference>"));
        is_result(&new, &pubsub(&item));
        reads_old(&mut client, list, 2).await;
        // XEP-0411 section 4: who comes online is told of them.
        arrives(&mut client, &[STORAGE]).await;
        hears(&mut client, user, &new_list(list)).await;
        // Once: what is said from now on counts.
        is_result(&client.iq("set", "", &retract("a@c.example")).await, "");
        client.close().await;
    }
    server.kill9();
    server.start();
    let mut client = Client::online(&server, transport, &users[0]).await;
    reads_old(&mut client, "<url name='W' url='http://w.example/'/>", 1).await;
    client.close().await;
}
