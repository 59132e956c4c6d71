//! What an account publishes, who hears of it, and who may read it (XEP-0163, XEP-0060 over accounts).

use testkit::{Client, Server, Stanza, Transport, password_of};

use crate::support::{befriend, error_of, is_result};

pub(crate) const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
pub(crate) const OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
pub(crate) const DEVICES: &str = "eu.siacs.conversations.axolotl.devicelist";
pub(crate) const BOOKMARKS: &str = "urn:xmpp:bookmarks:1";

pub(crate) fn pubsub(inner: &str) -> String {
    format!("<pubsub xmlns='{PUBSUB}'>{inner}</pubsub>")
}

pub(crate) fn form(kind: &str, fields: &[(&str, &str)]) -> String {
    let mut out = format!(
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'><value>{PUBSUB}#{kind}</value></field>"
    );
    for (var, value) in fields {
        out.push_str(&format!("<field var='pubsub#{var}'><value>{value}</value></field>"));
    }
    out + "</x>"
}

pub(crate) fn publish(node: &str, id: &str, content: &str, options: &[(&str, &str)]) -> String {
    let options = match options {
        [] => String::new(),
        options => format!(
            "<publish-options>{}</publish-options>",
            form("publish-options", options)
        ),
    };
    pubsub(&format!(
        "<publish node='{node}'><item id='{id}'>{content}</item></publish>{options}"
    ))
}

pub(crate) fn items(node: &str) -> String {
    pubsub(&format!("<items node='{node}'/>"))
}

pub(crate) fn configure(node: &str, fields: &[(&str, &str)]) -> String {
    let form = form("node_config", fields);
    format!("<pubsub xmlns='{OWNER}'><configure node='{node}'>{form}</configure></pubsub>")
}

/// The condition and the one of PubSub.
pub(crate) fn refusal(answer: &Stanza) -> (String, Option<String>) {
    let error = answer.get_child("error", "jabber:client");
    let own = error.and_then(|error| error.children().find(|child| child.ns() == format!("{PUBSUB}#errors")));
    (error_of(answer), own.map(|own| own.name().to_owned()))
}

/// Says that it wants to hear of these nodes, and tells so when it is asked (XEP-0115).
pub(crate) async fn wants(client: &mut Client, nodes: &[&str]) {
    arrives(client, nodes).await;
    client.forget().await;
}

pub(crate) fn ver(client: &Client) -> String {
    client.jid.replace(['@', '/', '.'], "_")
}

pub(crate) fn presence(client: &Client) -> String {
    let ver = ver(client);
    format!(
        "<presence><c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='urn:x:client' ver='{ver}'/></presence>"
    )
}

/// The same, and nothing that comes for it is taken.
pub(crate) async fn arrives(client: &mut Client, nodes: &[&str]) {
    let ver = ver(client);
    client.presence(&presence(client)).await;
    let question = client
        .wait_keeping(|stanza| stanza.get("type") == "get" && stanza.raw().contains(&ver))
        .await;
    let features: String = nodes
        .iter()
        .map(|node| format!("<feature var='{node}+notify'/>"))
        .collect();
    let (id, to) = (question.get("id"), question.get("from"));
    let info = format!("<query xmlns='http://jabber.org/protocol/disco#info'>{features}</query>");
    client
        .send(format!("<iq type='result' id='{id}' to='{to}'>{info}</iq>"))
        .await;
}

/// The next is a message about this node from this account, with this inside.
pub(crate) async fn hears(client: &mut Client, from: &str, inner: &str) {
    let pattern = format!(
        "<message type='headline' from='{from}' to='{}'><event xmlns='{PUBSUB}#event'>{inner}</event></message>",
        client.jid
    );
    client.wait(&pattern).await;
}

#[tokio::test]
async fn keys_reach_everybody() {
    let server = Server::with_users(20);
    for transport in Transport::EVERY {
        let user = server.user();
        let mut a = Client::online(&server, transport, &format!("{user}/a")).await;
        let mut b = Client::online(&server, transport, &format!("{user}/b")).await;
        let mut deaf = Client::online(&server, transport, &format!("{user}/deaf")).await;
        let mut friend = Client::online(&server, transport, &server.user()).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        befriend(&mut a, &mut friend).await;
        for client in [&mut b, &mut friend, &mut stranger] {
            wants(client, &["urn:other", DEVICES]).await;
        }
        a.forget().await;
        deaf.forget().await;
        let list = |id: u8| format!("<list xmlns='eu.siacs.conversations.axolotl'><device id='{id}'/></list>");
        let open = [("persist_items", "true"), ("access_model", "open")];
        let answer = a.iq("set", "", &publish(DEVICES, "current", &list(1), &open)).await;
        is_result(
            &answer,
            &pubsub(&format!("<publish node='{DEVICES}'><item id='current'/></publish>")),
        );
        let event = format!("<items node='{DEVICES}'><item id='current'>{}</item></items>", list(1));
        hears(&mut b, &user, &event).await;
        hears(&mut friend, &user, &event).await;
        stranger.nothing_more().await;
        deaf.nothing_more().await;
        let got = pubsub(&event);
        is_result(&stranger.iq("get", &user, &items(DEVICES)).await, &got);
        is_result(&friend.iq("get", &user, &items(DEVICES)).await, &got);

        // Another client has made the node private: the precondition is not met. It opens the node and tries again
        // (XEP-0384 section 4.4); the whole form goes back, as Dino does it.
        is_result(
            &deaf
                .iq("set", "", &configure(DEVICES, &[("access_model", "whitelist")]))
                .await,
            "",
        );
        let conflict = a.iq("set", "", &publish(DEVICES, "current", &list(2), &open)).await;
        let expected = ("cancel/conflict".to_owned(), Some("precondition-not-met".to_owned()));
        assert_eq!(refusal(&conflict), expected);
        let question = format!("<pubsub xmlns='{OWNER}'><configure node='{DEVICES}'/></pubsub>");
        let given = a.iq("get", "", &question).await;
        let raw = given.raw();
        let (_, form) = raw.split_once("<x ").expect("a form");
        let (form, _) = form.split_once("</x>").expect("a form");
        let form = form
            .replace("type='form'", "type='submit'")
            .replace("type=\"form\"", "type='submit'");
        let (head, tail) = form.split_once("whitelist</value></field>").expect("the model");
        let form = format!("<x {head}open</value></field>{tail}</x>");
        let submit = format!("<pubsub xmlns='{OWNER}'><configure node='{DEVICES}'>{form}</configure></pubsub>");
        is_result(&a.iq("set", &user, &submit).await, "");
        is_result(
            &a.iq("set", "", &publish(DEVICES, "current", &list(2), &open)).await,
            "",
        );
        is_result(
            &stranger.iq("get", &user, &items(DEVICES)).await,
            &pubsub(&event.replace("id='1'", "id='2'")),
        );
        for client in [a, b, deaf, friend, stranger] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn bookmarks_are_the_accounts_own() {
    let server = Server::with_users(16);
    for transport in Transport::EVERY {
        let user = server.user();
        let mut a = Client::online(&server, transport, &format!("{user}/a")).await;
        let mut b = Client::online(&server, transport, &format!("{user}/b")).await;
        let mut friend = Client::online(&server, transport, &server.user()).await;
        befriend(&mut a, &mut friend).await;
        for client in [&mut a, &mut b, &mut friend] {
            wants(client, &[BOOKMARKS]).await;
        }
        a.forget().await;
        let private = [
            ("persist_items", "true"),
            ("max_items", "max"),
            ("send_last_published_item", "never"),
            ("access_model", "whitelist"),
        ];
        let room = "<conference xmlns='urn:xmpp:bookmarks:1' name='Room' autojoin='true'/>";
        // In one go: what is asked for behind it has it already, and the answers come in order.
        let [set, get] = [
            publish(BOOKMARKS, "room@chat.example", room, &private),
            items(BOOKMARKS),
        ];
        a.send(format!(
            "<iq type='set' id='s'>{set}</iq><iq type='get' id='g'>{get}</iq>"
        ))
        .await;
        let answers = ["s", "g"];
        for id in answers {
            let answer = a.wait_keeping(|stanza| stanza.name() == "iq").await;
            assert_eq!((answer.get("id"), answer.get("type")), (id, "result"));
            assert_eq!(answer.raw().contains("conference"), id == "g");
        }
        let event = format!("<items node='{BOOKMARKS}'><item id='room@chat.example'>{room}</item></items>");
        for client in [&mut a, &mut b] {
            hears(client, &user, &event).await;
        }
        friend.nothing_more().await;
        let closed = friend.iq("get", &user, &items(BOOKMARKS)).await;
        assert_eq!(
            refusal(&closed),
            ("cancel/not-allowed".to_owned(), Some("closed-node".to_owned()))
        );
        let retract = format!("<retract node='{BOOKMARKS}' notify='true'><item id='room@chat.example'/></retract>");
        is_result(&b.iq("set", "", &pubsub(&retract)).await, "");
        let event = format!("<items node='{BOOKMARKS}'><retract id='room@chat.example'/></items>");
        hears(&mut a, &user, &event).await;
        friend.nothing_more().await;
        for client in [a, b, friend] {
            client.close().await;
        }
    }
}

#[tokio::test]
async fn an_avatar_is_told_and_fetched() {
    let (metadata, data) = ("urn:xmpp:avatar:metadata", "urn:xmpp:avatar:data");
    let server = Server::with_users(8);
    let transport = Transport::Direct;
    let mut a = Client::online(&server, transport, &server.user()).await;
    let mut friend = Client::online(&server, transport, &server.user()).await;
    let mut stranger = Client::online(&server, transport, &server.user()).await;
    befriend(&mut a, &mut friend).await;
    wants(&mut friend, &[metadata]).await;
    a.forget().await;
    let image = format!("<data xmlns='{data}'>{}</data>", "QUFB".repeat(10_000));
    is_result(&a.iq("set", "", &publish(data, "sha", &image, &[])).await, "");
    friend.nothing_more().await;
    let info = format!("<metadata xmlns='{metadata}'><info bytes='30000' id='sha' type='image/png'/></metadata>");
    is_result(&a.iq("set", "", &publish(metadata, "sha", &info, &[])).await, "");
    let event = format!("<items node='{metadata}'><item id='sha'>{info}</item></items>");
    let bare = a.bare().to_owned();
    hears(&mut friend, &bare, &event).await;
    let ask = pubsub(&format!("<items node='{data}'><item id='sha'/></items>"));
    let got = pubsub(&format!("<items node='{data}'><item id='sha'>{image}</item></items>"));
    is_result(&friend.iq("get", &bare, &ask).await, &got);
    assert_eq!(
        error_of(&stranger.iq("get", &bare, &ask).await),
        "cancel/service-unavailable"
    );
    // Who has subscribed hears of it without capabilities.
    let open = configure(metadata, &[("access_model", "open")]);
    is_result(&a.iq("set", "", &open).await, "");
    let subscribe = pubsub(&format!("<subscribe node='{metadata}' jid='{}'/>", stranger.jid));
    is_result(&stranger.iq("set", &bare, &subscribe).await, "");
    // The last item first.
    hears(&mut stranger, &bare, &event).await;
    is_result(&a.iq("set", "", &publish(metadata, "sha", &info, &[])).await, "");
    hears(&mut stranger, &bare, &event).await;
    hears(&mut friend, &bare, &event).await;
    stranger.nothing_more().await;
    // By the bare address too, and then all resources; once, also who wants it by his capabilities.
    let subscribe = pubsub(&format!("<subscribe node='{metadata}' jid='{}'/>", friend.bare()));
    is_result(&friend.iq("set", &bare, &subscribe).await, "");
    friend.forget().await;
    is_result(&a.iq("set", "", &publish(metadata, "sha", &info, &[])).await, "");
    hears(&mut friend, &bare, &event).await;
    friend.nothing_more().await;
    for client in [a, friend, stranger] {
        client.close().await;
    }
}

/// Row 48 of the list of faults, and what strangers are told.
#[tokio::test]
async fn what_is_refused() {
    let server = Server::with_users(16);
    for transport in Transport::BOTH {
        let user = server.user();
        let mut a = Client::online(&server, transport, &format!("{user}/a")).await;
        let mut friend = Client::online(&server, transport, &server.user()).await;
        let mut stranger = Client::online(&server, transport, &server.user()).await;
        befriend(&mut a, &mut friend).await;
        let check = |answer: &Stanza, condition: &str, own: Option<&str>| {
            assert_eq!(refusal(answer), (condition.to_owned(), own.map(str::to_owned)));
        };
        is_result(
            &a.iq("set", "", &publish("n", "1", "<a xmlns='urn:a'/>", &[])).await,
            "",
        );
        let big = format!("<a xmlns='urn:a'>{}</a>", "x".repeat(200_000));
        let answer = a.iq("set", "", &publish("n", "1", &big, &[])).await;
        check(&answer, "modify/not-acceptable", Some("payload-too-big"));
        check(&a.iq("get", "", &items("missing")).await, "cancel/item-not-found", None);
        check(
            &friend.iq("get", &user, &items("missing")).await,
            "cancel/item-not-found",
            None,
        );
        let answer = friend
            .iq("set", &user, &publish("n", "1", "<a xmlns='urn:a'/>", &[]))
            .await;
        check(&answer, "auth/forbidden", None);
        let mut last = None;
        for number in 0..=200 {
            let jid = format!("{}/{number}", friend.bare());
            let subscribe = pubsub(&format!("<subscribe node='n' jid='{jid}'/>"));
            last = Some(friend.iq("set", &user, &subscribe).await);
        }
        check(
            &last.expect("an answer"),
            "wait/policy-violation",
            Some("too-many-subscriptions"),
        );
        // He shows himself to her, and she does not show herself.
        let revoke = format!("<presence type='unsubscribed' to='{}'/>", friend.bare());
        a.send(revoke).await;
        a.ping().await;
        let answer = friend.iq("get", &user, &items("n")).await;
        check(&answer, "auth/not-authorized", Some("presence-subscription-required"));
        // A stranger is told what he is told of nobody.
        let nobody = format!("no{user}");
        for (kind, payload) in [
            ("get", items("n")),
            ("get", items("missing")),
            ("get", pubsub("<items/>")),
            ("get", pubsub("")),
            ("get", pubsub("<subscriptions/>")),
            ("set", publish("n", "1", "<a xmlns='urn:a'/>", &[])),
            (
                "set",
                pubsub(&format!("<subscribe node='n' jid='{}'/>", stranger.bare())),
            ),
            ("set", configure("n", &[("access_model", "open")])),
            (
                "get",
                "<query xmlns='http://jabber.org/protocol/disco#items' node='n'/>".to_owned(),
            ),
            (
                "get",
                "<query xmlns='http://jabber.org/protocol/disco#info' node='n'/>".to_owned(),
            ),
        ] {
            let [seen, unseen] = [
                stranger.iq(kind, &user, &payload).await,
                stranger.iq(kind, &nobody, &payload).await,
            ];
            let same = seen.raw().replace(seen.get("id"), "ID").replace(&user, "USER");
            let none = unseen.raw().replace(unseen.get("id"), "ID").replace(&nobody, "USER");
            assert_eq!(same, none, "{payload}");
        }
        for client in [a, friend, stranger] {
            client.close().await;
        }
    }
}

/// What had a result is there, and the answers came in order, however many there were at once.
#[tokio::test]
async fn a_burst_is_answered_in_order_and_survives_a_crash() {
    const BURST: usize = 400;
    let mut server = Server::with_users(2);
    let user = server.user();
    let mut a = Client::online(&server, Transport::Direct, &format!("{user}/a")).await;
    let many = configure("n", &[("max_items", "max")]);
    is_result(
        &a.iq("set", "", &publish("n", "first", "<a xmlns='urn:a'/>", &[])).await,
        "",
    );
    is_result(&a.iq("set", "", &many).await, "");
    let burst: String = (0..BURST)
        .map(|number| {
            let publish = publish("n", &format!("i{number}"), "<a xmlns='urn:a'/>", &[]);
            format!("<iq type='set' id='{number}'>{publish}</iq>")
        })
        .collect();
    a.send(burst).await;
    let mut published = vec!["first".to_owned()];
    let mut next = 0;
    let mut refused = 0;
    while published.len() - 1 + refused < BURST {
        let answer = a.wait_keeping(|stanza| stanza.name() == "iq").await;
        let number: usize = answer.get("id").parse().expect("ours");
        if answer.get("type") == "result" {
            // One that finds no room in the line is told so at once; all others come in order.
            assert!(number >= next, "{number} after {next}");
            next = number + 1;
            published.push(format!("i{number}"));
        } else {
            assert_eq!(error_of(&answer), "wait/resource-constraint");
            refused += 1;
        }
    }
    assert!(published.len() > 250, "so many find room at least: {}", published.len());
    server.kill9();
    server.start();
    let mut a = Client::online(&server, Transport::Direct, &format!("{user}/a")).await;
    let answer = a.iq("get", "", &items("n")).await;
    let raw = answer.raw().replace('"', "'");
    let there: Vec<&str> = raw
        .split("<item id='")
        .skip(1)
        .map(|item| item.split('\'').next().unwrap_or_default())
        .collect();
    assert_eq!(there, published);
    // Who gets the name next finds nothing.
    a.close().await;
    let removed = server.jackdaw(&["account", "remove", &user], "");
    assert!(removed.status.success(), "{removed:?}");
    server.import(&[(user.clone(), password_of(&user))]);
    let mut a = Client::online(&server, Transport::Direct, &format!("{user}/a")).await;
    assert_eq!(error_of(&a.iq("get", "", &items("n")).await), "cancel/item-not-found");
    a.close().await;
}

#[tokio::test]
async fn an_account_says_what_it_can() {
    let server = Server::with_users(4);
    let transport = Transport::Direct;
    let mut a = Client::online(&server, transport, &server.user()).await;
    let mut friend = Client::online(&server, transport, &server.user()).await;
    befriend(&mut a, &mut friend).await;
    let bare = a.bare().to_owned();
    let features = crate::support::features(&mut friend, &bare).await;
    for feature in [
        "publish-options",
        "persistent-items",
        "config-node-max",
        "access-whitelist",
        "rsm",
    ] {
        assert!(
            features.contains(&format!("{PUBSUB}#{feature}")),
            "{feature}: {features:?}"
        );
    }
    let domain = bare.split_once('@').expect("an account").1.to_owned();
    let features = crate::support::features(&mut a, &domain).await;
    assert!(features.contains(&format!("{PUBSUB}#publish-options")));
    let info = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    let answer = friend.iq("get", &bare, info).await;
    let pep = "<query xmlns='http://jabber.org/protocol/disco#info'><identity category='pubsub' type='pep'/></query>";
    is_result(&answer, pep);
    // Nodes that he may see, behind the resources.
    for (node, access) in [("shown", "presence"), ("hidden", "whitelist")] {
        let options = [("access_model", access)];
        is_result(
            &a.iq("set", "", &publish(node, "1", "<a xmlns='urn:a'/>", &options))
                .await,
            "",
        );
    }
    let ask = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
    for (client, sees_hidden) in [(&mut friend, false), (&mut a, true)] {
        let answer = client.iq("get", &bare, ask).await;
        let raw = answer.raw().replace('"', "'");
        assert!(raw.contains(&format!("jid='{bare}/")), "{raw}");
        assert!(raw.contains("node='shown'"), "{raw}");
        assert_eq!(raw.contains("node='hidden'"), sees_hidden, "{raw}");
    }
    a.close().await;
    friend.close().await;
}

/// XEP-0163 section 4.3.4. What is not sent is proved by what comes behind it: accounts are looked at one after the
/// other, in the order of their addresses, one's own first.
#[tokio::test]
async fn who_comes_online_is_told_the_last_items() {
    const NICK: &str = "http://jabber.org/protocol/nick";
    let mut server = Server::with_users(16);
    for transport in Transport::EVERY {
        let mut users = [server.user(), server.user()];
        users.sort();
        let [first, second] = users;
        let mut one = Client::online(&server, transport, &first).await;
        let mut two = Client::online(&server, transport, &second).await;
        let mut friend = Client::online(&server, transport, &server.user()).await;
        befriend(&mut one, &mut friend).await;
        befriend(&mut two, &mut friend).await;
        let nick = |name: &str| format!("<nick xmlns='{NICK}'>{name}</nick>");
        for name in ["old", "one"] {
            is_result(&one.iq("set", "", &publish(NICK, name, &nick(name), &[])).await, "");
        }
        is_result(&two.iq("set", "", &publish(NICK, "two", &nick("two"), &[])).await, "");
        let private = [
            ("access_model", "whitelist"),
            ("send_last_published_item", "on_sub_and_presence"),
        ];
        is_result(
            &one.iq("set", "", &publish(BOOKMARKS, "room", "<a xmlns='urn:a'/>", &private))
                .await,
            "",
        );
        let (one_jid, friend_jid) = (one.bare().to_owned(), friend.bare().to_owned());
        for client in [one, two, friend] {
            client.close().await;
        }
        // Nobody is in memory.
        server.kill9();
        server.start();

        let nodes = [NICK, BOOKMARKS];
        let told = |from: &str, to: &Client, name: &str| {
            let items = format!("<items node='{NICK}'><item id='{name}'>{}</item></items>", nick(name));
            format!(
                "<message type='headline' from='{from}' to='{}'><event xmlns='{PUBSUB}#event'>{items}</event>\
                 <delay xmlns='urn:xmpp:delay' stamp='*'/></message>",
                to.jid
            )
        };
        let mut friend = Client::online(&server, transport, &friend_jid).await;
        arrives(&mut friend, &nodes).await;
        let pattern = told(&first, &friend, "one");
        friend.expect(&pattern).await;
        let pattern = told(&second, &friend, "two");
        friend.expect(&pattern).await;
        friend.nothing_more().await;

        // The account itself hears of its private nodes too, on every device; and the news of who is there.
        let mut own = Client::online(&server, transport, &format!("{one_jid}/own")).await;
        arrives(&mut own, &nodes).await;
        let of_bookmarks = |stanza: &Stanza| stanza.raw().contains("room");
        let of_nick = |stanza: &Stanza| stanza.raw().contains("one</nick>");
        own.wait_keeping(of_bookmarks).await;
        own.wait_keeping(of_nick).await;

        // Whom one has blocked one is not told of, and whom one has blocked is told nothing.
        let block = format!("<block xmlns='urn:xmpp:blocking'><item jid='{friend_jid}'/></block>");
        is_result(&own.iq("set", "", &block).await, "");
        friend.forget().await;
        friend.send("<presence type='unavailable'/>").await;
        friend.forget().await;
        // It has told what it wants.
        friend.send(presence(&friend)).await;
        let came = friend.wait_keeping(|stanza| stanza.name() == "message").await;
        assert_eq!(came.mismatch(&told(&second, &friend, "two")), None, "{}", came.raw());
        for client in [own, friend] {
            client.close().await;
        }
    }
}
