//! The server is administered from a client (XEP-0133).

use std::time::{Duration, Instant};

use testkit::{Client, Server, Stanza, Transport, password_of};

use crate::ad_hoc::{COMMANDS, Fields, command, run, says, with_admin};
use crate::support::{NS_ROSTER, befriend, error_of, friends};

const DOMAIN: &str = "example.org";

fn node(name: &str) -> String {
    format!("http://jabber.org/protocol/admin#{name}")
}

async fn admin(client: &mut Client, name: &str, fields: Fields<'_>) -> Stanza {
    run(client, &node(name), fields).await
}

/// It is done.
#[track_caller]
fn is_done(answer: &Stanza) {
    assert_eq!(says(answer, "status"), "completed", "{}", answer.raw());
}

/// A command without a form.
async fn at_once(client: &mut Client, to: &str, name: &str) -> Stanza {
    let answer = client.iq("set", to, &command(&node(name), "", "")).await;
    is_done(&answer);
    answer
}

/// The values of a field in a form that tells.
fn values(answer: &Stanza, var: &str) -> Vec<String> {
    let form = answer
        .get_child("command", COMMANDS)
        .and_then(|command| command.get_child("x", "jabber:x:data"));
    let Some(form) = form else {
        panic!("no form: {}", answer.raw())
    };
    let fields = form.children().filter(|field| field.attr("var") == Some(var));
    fields
        .flat_map(|field| field.children().filter(|child| child.name() == "value"))
        .map(minidom::Element::text)
        .collect()
}

async fn can_log_in(server: &Server, transport: Transport, jid: &str, password: &str) -> bool {
    let mut client = Client::opened(server, transport).await;
    let user = jid.split_once('@').expect("user@domain").0;
    let answer = client.auth("PLAIN", &testkit::plain("", user, password)).await;
    answer.name() == "success"
}

#[tokio::test]
async fn accounts_come_and_go() {
    let server = with_admin(30);
    for transport in Transport::EVERY {
        let mut boss = Client::online(&server, transport, "boss@example.org").await;
        let new = format!("new-{transport:?}@{DOMAIN}").to_lowercase();
        let of_new: &[&str] = &[&new];
        // Section 4.1.
        let fields: Fields<'_> = &[
            ("accountjid", of_new),
            ("password", &["R0m30"]),
            ("password-verify", &["R0m30"]),
        ];
        is_done(&admin(&mut boss, "add-user", fields).await);
        assert!(can_log_in(&server, transport, &new, "R0m30").await);
        assert_eq!(error_of(&admin(&mut boss, "add-user", fields).await), "cancel/conflict");
        // Section 4.7.
        let fields: Fields<'_> = &[("accountjid", of_new), ("password", &[&password_of(&new)])];
        is_done(&admin(&mut boss, "change-user-password", fields).await);
        assert!(!can_log_in(&server, transport, &new, "R0m30").await);

        // Section 4.5: of a full address that session alone.
        let mut one = Client::online(&server, transport, &format!("{new}/one")).await;
        let mut two = Client::online(&server, transport, &format!("{new}/two")).await;
        let full: &[&str] = &[&one.jid.clone()];
        is_done(&admin(&mut boss, "end-user-session", &[("accountjids", full)]).await);
        one.wait_for_end("not-authorized").await;
        two.ping().await;
        is_done(&admin(&mut boss, "end-user-session", &[("accountjids", of_new)]).await);
        two.wait_for_end("not-authorized").await;

        // Sections 4.3 and 4.4.
        let mut one = Client::online(&server, transport, &new).await;
        is_done(&admin(&mut boss, "disable-user", &[("accountjids", of_new)]).await);
        one.wait_for_end("not-authorized").await;
        assert!(!can_log_in(&server, transport, &new, &password_of(&new)).await);
        is_done(&admin(&mut boss, "reenable-user", &[("accountjids", of_new)]).await);
        assert!(can_log_in(&server, transport, &new, &password_of(&new)).await);

        // Section 4.2: streams end within a second, and contacts hear of it.
        let mut one = Client::online(&server, transport, &new).await;
        let mut friend = Client::online(&server, transport, &server.user()).await;
        befriend(&mut one, &mut friend).await;
        let began = Instant::now();
        is_done(&admin(&mut boss, "delete-user", &[("accountjids", of_new)]).await);
        one.wait_for_end("not-authorized").await;
        assert!(began.elapsed() < Duration::from_secs(1));
        friend
            .wait(&format!("<presence type='unsubscribed' from='{new}'/>"))
            .await;
        let answer = admin(&mut boss, "delete-user", &[("accountjids", of_new)]).await;
        assert_eq!(error_of(&answer), "cancel/item-not-found");
        boss.close().await;
        friend.close().await;
    }
}

/// Of several accounts none is touched where one is not there.
#[tokio::test]
async fn all_or_none() {
    let server = with_admin(3);
    let mut boss = Client::online(&server, Transport::Direct, "boss@example.org").await;
    let user = server.user();
    let mut client = Client::online(&server, Transport::Direct, &user).await;
    let accounts: &[&str] = &[&user, "nobody@example.org"];
    for name in ["delete-user", "disable-user", "end-user-session"] {
        let answer = admin(&mut boss, name, &[("accountjids", accounts)]).await;
        assert_eq!(error_of(&answer), "cancel/item-not-found", "{name}");
    }
    client.ping().await;
    // Wrong words in the form, and what no form may have.
    let long = vec!["x@example.org"; 101];
    let cases: [(&str, Fields<'_>); 8] = [
        ("delete-user", &[("accountjids", &[])]),
        ("delete-user", &[("accountjids", &["@"])]),
        ("delete-user", &[("accountjids", &["x@example.net"])]),
        ("delete-user", &[("accountjids", &long)]),
        ("add-user", &[("accountjid", &["x@example.org"])]),
        (
            "add-user",
            &[
                ("accountjid", &["x@example.org"]),
                ("password", &["a"]),
                ("password-verify", &["b"]),
            ],
        ),
        ("get-registered-users-list", &[("max_items", &["0"])]),
        ("get-registered-users-list", &[("max_items", &["many"])]),
    ];
    for (name, fields) in cases {
        let answer = admin(&mut boss, name, fields).await;
        assert_eq!(error_of(&answer), "modify/bad-request", "{name}: {}", answer.raw());
        assert!(answer.raw().contains("bad-payload"), "{}", answer.raw());
    }
}

#[tokio::test]
async fn nobody_else_may() {
    let server = Server::builder()
        .domain("example.net")
        .account("boss@example.org")
        .account("friend@example.net")
        .users(4);
    let server = server.toml("admins = [\"boss@example.org\"]\n").start();
    let transport = Transport::Starttls;
    let user = server.user();
    let victim = server.user();
    let mut client = Client::online(&server, transport, &user).await;
    let mut there = Client::online(&server, transport, "friend@example.net").await;
    let mut witness = Client::online(&server, transport, &victim).await;
    let items = format!("<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>");
    let mut boss = Client::online(&server, transport, "boss@example.org").await;
    let all = boss.iq("get", DOMAIN, &items).await;
    let query = all.get_child("query", "http://jabber.org/protocol/disco#items");
    let nodes: Vec<String> = query
        .expect("a list")
        .children()
        .filter_map(|item| item.attr("node").map(str::to_owned))
        .filter(|node| node.contains("protocol/admin#"))
        .collect();
    assert_eq!(nodes.len(), 26, "{nodes:?}");
    let form = crate::ad_hoc::filled(&[("accountjids", &[&victim]), ("motd", &["x"]), ("announcement", &["x"])]);
    for client in [&mut client, &mut there] {
        // The domain of the other as well: who administers one domain is named for the server.
        for domain in [DOMAIN, "example.net"] {
            let list = client.iq("get", domain, &items).await;
            assert!(!list.raw().contains("protocol/admin#"), "{}", list.raw());
            for node in &nodes {
                for attributes in ["", "sessionid='1-1'"] {
                    let answer = client.iq("set", domain, &command(node, attributes, &form)).await;
                    assert_eq!(error_of(&answer), "auth/forbidden", "{node}");
                }
            }
        }
    }
    witness.ping().await;
    witness.nothing_more().await;
    assert!(can_log_in(&server, transport, &victim, &password_of(&victim)).await);

    // An admin is one for all domains of the server. A command concerns the domain to which it is addressed.
    let count = at_once(&mut boss, "example.net", "get-registered-users-num").await;
    assert_eq!(values(&count, "registeredusersnum"), ["1"]);
    let count = at_once(&mut boss, DOMAIN, "get-registered-users-num").await;
    assert_eq!(values(&count, "registeredusersnum"), ["5"]);
}

/// By the record of an account: from the command line, from the list of admins, and not any more.
#[tokio::test]
async fn accounts_may_administer() {
    let server = with_admin(4);
    let transport = Transport::WebSocket;
    let user = server.user();
    let mut client = Client::online(&server, transport, &user).await;
    let count = command(&node("get-disabled-users-num"), "", "");
    for (word, expected) in [("yes", ""), ("no", "auth/forbidden")] {
        let output = server.jackdaw(&["account", "admin", &user, word], "");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(error_of(&client.iq("set", DOMAIN, &count).await), expected, "{word}");
    }
    let mut boss = Client::online(&server, transport, "boss@example.org").await;
    // Whom the configuration names is not in the list by that, and must not take himself out of it.
    let (id, form) = crate::ad_hoc::begin(&mut boss, &node("edit-admin")).await;
    assert_eq!(values(&form, "adminjids"), Vec::<String>::new());
    let answer = crate::ad_hoc::submit(&mut boss, &node("edit-admin"), &id, &[("adminjids", &[&user])]).await;
    assert_eq!(error_of(&answer), "cancel/not-allowed");
    let both: &[&str] = &[&user, "boss@example.org"];
    is_done(&admin(&mut boss, "edit-admin", &[("adminjids", both)]).await);
    assert_eq!(error_of(&client.iq("set", DOMAIN, &count).await), "");
    let (_, form) = crate::ad_hoc::begin(&mut client, &node("edit-admin")).await;
    assert_eq!(
        values(&form, "adminjids"),
        ["boss@example.org".to_owned(), user.clone()]
    );
    is_done(&admin(&mut boss, "edit-admin", &[("adminjids", &["boss@example.org"])]).await);
    assert_eq!(error_of(&client.iq("set", DOMAIN, &count).await), "auth/forbidden");
    // An account that is disabled administers nothing, and who comes back by the record does.
    is_done(&admin(&mut boss, "edit-admin", &[("adminjids", both)]).await);
    client.close().await;
    let mut client = Client::online(&server, transport, &user).await;
    assert_eq!(error_of(&client.iq("set", DOMAIN, &count).await), "");
}

/// Who asks for the end of his own account, or session, is told that it is done.
#[tokio::test]
async fn on_oneself() {
    let server = with_admin(6);
    for transport in Transport::EVERY {
        for (number, name) in ["disable-user", "delete-user", "end-user-session"].iter().enumerate() {
            let me = format!("me-{transport:?}-{number}@{DOMAIN}").to_lowercase();
            let added = server.jackdaw(
                &["account", "add", &me, "--admin", "--password-stdin"],
                &password_of(&me),
            );
            assert!(added.status.success(), "{added:?}");
            let mut one = Client::online(&server, transport, &format!("{me}/one")).await;
            let mut two = Client::online(&server, transport, &format!("{me}/two")).await;
            is_done(&admin(&mut one, name, &[("accountjids", &[&me])]).await);
            one.wait_for_end("not-authorized").await;
            two.wait_for_end("not-authorized").await;
            assert_eq!(
                can_log_in(&server, transport, &me, &password_of(&me)).await,
                *name == "end-user-session"
            );
        }
        // The session that has set the password goes on.
        let me = format!("me-{transport:?}@{DOMAIN}").to_lowercase();
        let added = server.jackdaw(
            &["account", "add", &me, "--admin", "--password-stdin"],
            &password_of(&me),
        );
        assert!(added.status.success(), "{added:?}");
        let mut one = Client::online(&server, transport, &format!("{me}/one")).await;
        let mut two = Client::online(&server, transport, &format!("{me}/two")).await;
        let fields: Fields<'_> = &[("accountjid", &[&me]), ("password", &["another"])];
        is_done(&admin(&mut one, "change-user-password", fields).await);
        two.wait_for_end("not-authorized").await;
        one.ping().await;
        assert!(can_log_in(&server, transport, &me, "another").await);
        one.close().await;
    }
}

#[tokio::test]
async fn lists_and_numbers() {
    let server = with_admin(6);
    let transport = Transport::Direct;
    let mut boss = Client::login(&server, transport, "boss@example.org/desk").await;
    let (mut one, two) = friends(&server, transport).await;
    let (one_bare, two_bare) = (one.bare().to_owned(), two.bare().to_owned());
    one.presence("<presence><show>away</show></presence>").await;
    let disabled = server.user();
    is_done(&admin(&mut boss, "disable-user", &[("accountjids", &[&disabled])]).await);
    let numbers = [
        ("registered", "7"),
        ("disabled", "1"),
        ("online", "3"),
        // `boss` has not said that it is there.
        ("active", "1"),
        ("idle", "2"),
    ];
    for (which, expected) in numbers {
        let answer = at_once(&mut boss, DOMAIN, &format!("get-{which}-users-num")).await;
        assert_eq!(values(&answer, &format!("{which}usersnum")), [expected], "{which}");
    }
    let mut all = vec!["boss@example.org".to_owned()];
    all.extend((0..6).map(|number| format!("u{number}@{DOMAIN}")));
    let lists: [(&str, &str, Vec<String>); 5] = [
        ("get-registered-users-list", "registereduserjids", all.clone()),
        ("get-disabled-users-list", "disableduserjids", vec![disabled]),
        ("get-online-users-list", "onlineuserjids", all[..3].to_vec()),
        ("get-active-users", "activeuserjids", vec![two_bare.clone()]),
        (
            "get-idle-users",
            "activeuserjids",
            vec!["boss@example.org".to_owned(), one_bare.clone()],
        ),
    ];
    for (name, var, expected) in lists {
        let answer = admin(&mut boss, name, &[("max_items", &["none"])]).await;
        is_done(&answer);
        assert_eq!(values(&answer, var), expected, "{name}");
        assert!(!answer.raw().contains("<note"), "{}", answer.raw());
    }
    let cut = admin(&mut boss, "get-registered-users-list", &[("max_items", &["2"])]).await;
    assert_eq!(values(&cut, "registereduserjids"), all[..2]);
    assert!(cut.raw().contains("there are more"), "{}", cut.raw());

    // Sections 4.8 to 4.10.
    let roster = admin(&mut boss, "get-user-roster", &[("accountjids", &[&one_bare])]).await;
    let expected = format!("<item jid='{two_bare}' subscription='both'/>");
    let form = roster
        .get_child("command", COMMANDS)
        .and_then(|command| command.get_child("x", "jabber:x:data"));
    let query = form.and_then(|form| form.get_child("query", NS_ROSTER));
    let item = query.and_then(|query| query.children().next()).expect(&expected);
    assert_eq!(
        (item.attr("jid"), item.attr("subscription")),
        (Some(&*two_bare), Some("both"))
    );
    let statistics = admin(&mut boss, "user-stats", &[("accountjid", &[&one_bare])]).await;
    assert_eq!(values(&statistics, "rostersize"), ["1"]);
    assert_eq!(values(&statistics, "onlineresources"), ["one"]);
    two.close().await;
    one.wait(&format!("<presence type='unavailable' from='{two_bare}/two'/>"))
        .await;
    let login = admin(
        &mut boss,
        "get-user-lastlogin",
        &[("accountjids", &[&two_bare, &one_bare])],
    )
    .await;
    assert_eq!(values(&login, "accountjids"), [two_bare, one_bare]);
    let times = values(&login, "lastlogin");
    assert!(times.iter().all(|time| time.ends_with('Z')), "{times:?}");
    for name in ["user-stats", "get-user-lastlogin", "get-user-roster"] {
        let nobody: &[&str] = &["nobody@example.org"];
        let answer = admin(&mut boss, name, &[("accountjid", nobody), ("accountjids", nobody)]).await;
        assert_eq!(error_of(&answer), "cancel/item-not-found", "{name}");
    }
}

#[tokio::test]
async fn announcements_reach_who_is_there() {
    let server = with_admin(10);
    for transport in Transport::EVERY {
        let mut boss = Client::online(&server, transport, "boss@example.org").await;
        let mut one = Client::online(&server, transport, &server.user()).await;
        let away = server.user();
        let text: &[&str] = &["This service goes down &amp; up", "in 2 minutes."];
        let answer = admin(&mut boss, "announce", &[("announcement", text)]).await;
        is_done(&answer);
        let message =
            "<message from='example.org'><body>This service goes down &amp; up\nin 2 minutes.</body></message>";
        one.expect(message).await;
        let mut away = Client::online(&server, transport, &away).await;
        away.ping().await;
        away.nothing_more().await;
        for client in [boss, one, away] {
            client.close().await;
        }
    }
}

/// It was given no message since it logged in, and is given none.
async fn is_given_nothing(client: &mut Client) {
    is_given_nothing_but(client, "").await;
}

/// The id of a message in the archive.
fn archived_as(message: &Stanza) -> String {
    let id = message.get_child("stanza-id", "urn:xmpp:sid:0");
    id.and_then(|id| id.attr("id")).unwrap_or_default().to_owned()
}

/// A message that it was given before: after a crash it may come again, as the very same.
async fn is_given_nothing_but(client: &mut Client, id: &str) {
    // What is given goes through the store, and so does this, behind it.
    for _ in 0..2 {
        let set = format!("<query xmlns='{NS_ROSTER}'><item jid='barrier@example.org'/></query>");
        let answer = client.iq("set", "", &set).await;
        assert_eq!(answer.get("type"), "result", "{answer:?}");
    }
    for stanza in client.drain().await {
        if stanza.name() == "message" {
            assert_eq!(archived_as(&stanza), id, "{}", stanza.raw());
        }
    }
}

fn says_body(text: &str) -> String {
    format!("<message from='{DOMAIN}'><body>{text}</body></message>")
}

/// Given to everybody once: now, or at the next login, also behind a crash.
#[tokio::test]
async fn the_message_of_the_day() {
    let mut server = with_admin(8);
    let transport = Transport::WebSocket;
    let mut boss = Client::online(&server, transport, "boss@example.org/x").await;
    let (there, late, never) = (server.user(), server.user(), server.user());
    let mut client = Client::online(&server, transport, &there).await;
    is_done(&admin(&mut boss, "set-motd", &[("motd", &["Tea", "at five"])]).await);
    client.expect(&says_body("Tea\nat five")).await;
    let given = archived_as(&boss.wait(&says_body("Tea\nat five")).await);
    assert!(!given.is_empty());
    // Its other devices have it from there, and it is not given again.
    let mut second = Client::online(&server, transport, &format!("{there}/second")).await;
    is_given_nothing(&mut second).await;
    drop((client, second));
    server.kill9();
    server.start();

    let mut boss = Client::online(&server, transport, "boss@example.org/x").await;
    is_given_nothing_but(&mut boss, &given).await;
    let mut client = Client::online(&server, transport, &late).await;
    client.wait(&says_body("Tea\nat five")).await;
    client.close().await;
    // Section 4.25: with the text that stands, and not again for who has seen it.
    let (id, form) = crate::ad_hoc::begin(&mut boss, &node("edit-motd")).await;
    assert_eq!(values(&form, "motd"), ["Tea", "at five"]);
    is_done(&crate::ad_hoc::submit(&mut boss, &node("edit-motd"), &id, &[("motd", &["Tea at six"])]).await);
    let mut client = Client::online(&server, transport, &late).await;
    is_given_nothing(&mut client).await;
    client.close().await;
    let mut client = Client::online(&server, transport, &server.user()).await;
    client.wait(&says_body("Tea at six")).await;
    // Another one is for all of them.
    is_done(&admin(&mut boss, "set-motd", &[("motd", &["Coffee"])]).await);
    client.wait(&says_body("Coffee")).await;
    // Section 4.26.
    at_once(&mut boss, DOMAIN, "delete-motd").await;
    server.kill9();
    server.start();
    let mut client = Client::online(&server, transport, &never).await;
    is_given_nothing(&mut client).await;
}

/// To accounts that are made while it stands.
#[tokio::test]
async fn a_welcome() {
    let server = with_admin(3);
    let transport = Transport::Direct;
    let mut boss = Client::online(&server, transport, "boss@example.org/x").await;
    let before = server.user();
    // The record of an account tells the second in which it was made: this one is of one before.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    is_done(&admin(&mut boss, "set-welcome", &[("welcome", &["Hello"])]).await);
    let mut client = Client::online(&server, transport, &before).await;
    is_given_nothing(&mut client).await;
    let new = "new@example.org";
    let fields: Fields<'_> = &[
        ("accountjid", &[new]),
        ("password", &[&password_of(new)]),
        ("password-verify", &[&password_of(new)]),
    ];
    is_done(&admin(&mut boss, "add-user", fields).await);
    let mut client = Client::online(&server, transport, new).await;
    client.wait(&says_body("Hello")).await;
    client.close().await;
    let mut client = Client::online(&server, transport, new).await;
    is_given_nothing(&mut client).await;
    at_once(&mut boss, DOMAIN, "delete-welcome").await;
    let (_, form) = crate::ad_hoc::begin(&mut boss, &node("set-welcome")).await;
    assert_eq!(values(&form, "welcome"), Vec::<String>::new());
}
