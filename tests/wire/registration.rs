//! Accounts that people make, change and give up themselves (XEP-0077).

use testkit::{Client, Server, Stanza, Transport, password_of, plain};

use crate::support::{error_of, friends, is_result, items, roster};

pub(crate) const NS_REGISTER: &str = "jabber:iq:register";
pub(crate) const NS_FEATURE: &str = "http://jabber.org/features/iq-register";
pub(crate) const NS_IBR_TOKEN: &str = "urn:xmpp:ibr-token:0";

pub(crate) fn query(inner: &str) -> String {
    format!("<query xmlns='{NS_REGISTER}'>{inner}</query>")
}

pub(crate) fn account(user: &str, password: &str) -> String {
    query(&format!("<username>{user}</username><password>{password}</password>"))
}

/// Whether somebody may make an account on this stream, so the features say.
pub(crate) fn offers(client: &Client, ns: &str) -> bool {
    let features = client.features.as_ref().expect("features have come");
    features
        .children()
        .any(|child| child.name() == "register" && child.ns() == ns)
}

/// Registers an account of example.org with the password that [`Client::login`] uses.
pub(crate) async fn register(client: &mut Client, user: &str) -> Stanza {
    let password = password_of(&format!("{user}@example.org"));
    client.iq("set", "", &account(user, &password)).await
}

fn open(limit: u64) -> Server {
    Server::builder()
        .domain_toml("registration = \"open\"\n")
        .limit("registrations_per_hour_per_address", limit)
        .users(4)
        .start()
}

#[tokio::test]
async fn nobody_gets_an_account_who_was_not_invited() {
    let server = Server::with_users(0);
    for transport in Transport::EVERY {
        let mut client = Client::opened(&server, transport).await;
        assert!(offers(&client, NS_IBR_TOKEN), "who has an invitation may");
        assert_eq!(error_of(&client.iq("get", "", &query("")).await), "auth/forbidden");
        assert_eq!(error_of(&register(&mut client, "bill").await), "auth/forbidden");
        // Who has an account logs in all the same.
        client.plain("nobody", "unused").await;
    }

    let server = Server::builder().domain_toml("registration = \"closed\"\n").start();
    for transport in Transport::EVERY {
        let mut client = Client::opened(&server, transport).await;
        assert!(!offers(&client, NS_IBR_TOKEN) && !offers(&client, NS_FEATURE));
        // "MUST return a <service-unavailable/> error" (section 3.1).
        assert_eq!(
            error_of(&client.iq("get", "", &query("")).await),
            "cancel/service-unavailable"
        );
        assert_eq!(
            error_of(&register(&mut client, "bill").await),
            "cancel/service-unavailable"
        );
    }
}

/// RFC 6120 section 4.9.3.12, whatever may be registered.
#[tokio::test]
async fn who_has_not_logged_in_may_ask_for_nothing_else() {
    let server = open(100);
    for transport in Transport::EVERY {
        for stanza in [
            "<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>".to_owned(),
            format!("<iq type='get' id='1' to='other.example'>{}</iq>", query("")),
            format!("<iq type='get' id='1' to='u0@example.org'>{}</iq>", query("")),
            format!("<iq type='result' id='1'>{}</iq>", query("")),
            "<message to='u0@example.org'><body>x</body></message>".to_owned(),
            "<presence/>".to_owned(),
        ] {
            let mut client = Client::opened(&server, transport).await;
            client.send(&stanza).await;
            client.expect_stream_error("not-authorized").await;
        }
    }
    // The password would be said in the clear.
    let mut client = Client::connect(&server, Transport::Starttls).await;
    client.open().await;
    assert!(!offers(&client, NS_FEATURE));
    client
        .send(format!("<iq type='set' id='1'>{}</iq>", account("bill", "Calliope")))
        .await;
    client.expect_stream_error("not-authorized").await;
}

#[tokio::test]
async fn whoever_comes_gets_an_account_where_that_is_wanted() {
    let server = open(100);
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let user = format!("bill{number}");
        let mut client = Client::opened(&server, transport).await;
        assert!(offers(&client, NS_FEATURE));
        let fields = client.iq("get", "example.org", &query("")).await;
        is_result(&fields, &query("<instructions/><username/><password/>"));
        assert_eq!(fields.get("from"), "example.org");

        let refused = |answer: &Stanza, error: &str| {
            assert_eq!(error_of(answer), error, "{}", answer.raw());
            assert!(!answer.raw().contains("Calliope"), "no password comes back");
        };
        for incomplete in [
            query("<username>bill</username>"),
            query("<password>Calliope</password>"),
            account("bill", ""),
            account("", "Calliope"),
            account("b@d", "Calliope"),
        ] {
            refused(&client.iq("set", "", &incomplete).await, "modify/not-acceptable");
        }
        refused(
            &client.iq("set", "", &account("u0", "Calliope")).await,
            "cancel/conflict",
        );
        refused(
            &client.iq("set", "", &query("<remove/>")).await,
            "wait/unexpected-request",
        );
        is_result(&register(&mut client, &user).await, "");
        let second = client.iq("set", "", &account("second", "Calliope")).await;
        refused(&second, "modify/not-acceptable");
        // It goes on with the login.
        client.plain(&user, &password_of(&format!("{user}@example.org"))).await;
        client.open().await;
        client.bind(None).await;
        client.ping().await;
        assert_eq!(client.bare(), format!("{user}@example.org"));
        client.close().await;
        assert!(
            server
                .jackdaw(&["account", "list"], "")
                .stdout
                .windows(6)
                .all(|at| at != b"second")
        );
    }
    assert_eq!(server.logged("Calliope"), 0);

    // By a data form, which comes before the fields (section 5).
    let mut client = Client::opened(&server, Transport::Direct).await;
    let form = query(&format!(
        "<x xmlns='jabber:x:data' type='submit'><field type='hidden' var='FORM_TYPE'><value>{NS_REGISTER}</value></field>\
         <field var='username'><value>Form</value></field><field var='password'><value>{}</value></field></x>",
        password_of("form@example.org")
    ));
    is_result(&client.iq("set", "", &form).await, "");
    Client::login(&server, Transport::Direct, "form@example.org")
        .await
        .close()
        .await;
}

#[tokio::test]
async fn a_stream_asks_so_often() {
    let server = open(100);
    for transport in Transport::EVERY {
        let mut client = Client::opened(&server, transport).await;
        for _ in 0..10 {
            is_result(
                &client.iq("get", "", &query("")).await,
                &query("<username/><password/>"),
            );
        }
        client
            .send(format!("<iq type='get' id='last'>{}</iq>", query("")))
            .await;
        client.expect_stream_error("policy-violation").await;
    }
}

/// Row 32 of attacks.md: a thousand attempts, from one address.
#[tokio::test]
async fn a_swarm_of_bots() {
    async fn swarm(server: &Server, transport: Transport, streams: usize) -> Vec<String> {
        let mut errors = Vec::new();
        for stream in 0..streams {
            let mut bot = Client::opened(server, transport).await;
            for attempt in 0..10 {
                let user = format!("bot-{transport:?}-{stream}-{attempt}");
                errors.push(error_of(&register(&mut bot, &user).await));
                if errors.last().is_some_and(String::is_empty) {
                    break;
                }
            }
        }
        errors
    }
    let invited = Server::with_users(0);
    let closed = Server::builder().domain_toml("registration = \"closed\"\n").start();
    let throttled = open(5);
    for transport in Transport::EVERY {
        let streams = if transport == Transport::Direct { 100 } else { 10 };
        for (server, error) in [(&invited, "auth/forbidden"), (&closed, "cancel/service-unavailable")] {
            let errors = swarm(server, transport, streams).await;
            assert_eq!(errors.len(), 10 * streams);
            assert!(errors.iter().all(|told| told == error), "{errors:?}");
        }
        let errors = swarm(&throttled, transport, streams).await;
        let made = errors.iter().filter(|error| error.is_empty()).count();
        assert_eq!(made, if transport == Transport::EVERY[0] { 5 } else { 0 });
        assert!(
            errors
                .iter()
                .all(|error| ["", "wait/resource-constraint"].contains(&error.as_str())),
            "{errors:?}"
        );
        // Nobody else is in their way.
        let user = throttled.user();
        Client::online(&throttled, transport, &user).await.close().await;
    }
    for (server, accounts) in [(&invited, 1), (&closed, 1), (&throttled, 4 + 5)] {
        let list = server.jackdaw(&["account", "list"], "");
        assert_eq!(String::from_utf8_lossy(&list.stdout).lines().count(), accounts);
    }
}

/// All addresses together, where each has room.
#[tokio::test]
async fn so_many_accounts_an_hour() {
    let server = Server::builder()
        .domain_toml("registration = \"open\"\n")
        .limit("registrations_per_hour_per_address", 100)
        .limit("registrations_per_hour", 2)
        .start();
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let mut client = Client::opened(&server, transport).await;
        let answer = register(&mut client, &format!("bill{number}")).await;
        let expected = if number < 2 { "" } else { "wait/resource-constraint" };
        assert_eq!(error_of(&answer), expected);
    }
}

#[tokio::test]
async fn a_new_password() {
    let server = Server::builder().users(8).domain("other.example").start();
    for transport in Transport::EVERY {
        let jid = server.user();
        let (name, old) = (jid.split_once('@').expect("an address").0, password_of(&jid));
        let mut one = Client::online(&server, transport, &jid).await;
        let mut other = Client::online(&server, transport, &jid).await;
        one.forget().await;
        is_result(
            &one.iq("get", "", &query("")).await,
            &query(&format!("<registered/><username>{name}</username><password/>")),
        );
        for (payload, error) in [
            (query(""), "modify/bad-request"),
            (account(name, ""), "modify/bad-request"),
            (query(&format!("<username>{name}</username>")), "modify/bad-request"),
            (query("<password>groundlings</password>"), "modify/bad-request"),
            (account("somebody-else", "groundlings"), "modify/not-acceptable"),
            (account(name, &"x".repeat(10_000)), "modify/not-acceptable"),
        ] {
            let answer = one.iq("set", "example.org", &payload).await;
            assert_eq!(error_of(&answer), error, "{payload}");
            assert!(!answer.raw().contains("groundlings"), "no password comes back");
        }
        // Of another domain of this server it has no account.
        let abroad = one.iq("set", "other.example", &account(name, "groundlings")).await;
        assert_eq!(error_of(&abroad), "cancel/service-unavailable");
        other.ping().await;

        // To the server, and to nobody; behind each the session goes on, and no other.
        is_result(&one.iq("set", "example.org", &account(name, "groundlings")).await, "");
        other.wait_for_end("not-authorized").await;
        one.ping().await;
        is_result(&one.iq("set", "", &account(name, "theglobe")).await, "");
        one.ping().await;
        for (password, is_right) in [(old.as_str(), false), ("groundlings", false), ("theglobe", true)] {
            let mut client = Client::opened(&server, transport).await;
            let answer = client.auth("PLAIN", &plain("", name, password)).await;
            assert_eq!(answer.name() == "success", is_right, "{password}");
        }
        one.close().await;
    }
    assert_eq!(server.logged("groundlings") + server.logged("theglobe"), 0);
}

#[tokio::test]
async fn an_account_is_given_up() {
    let server = Server::builder().users(8).domain("other.example").start();
    for transport in Transport::EVERY {
        let (mut one, mut friend) = friends(&server, transport).await;
        let jid = one.bare().to_owned();
        let mut other = Client::online(&server, transport, &jid).await;
        friend.forget().await;
        let crowded = one.iq("set", "", &query("<remove/><username>x</username>")).await;
        assert_eq!(error_of(&crowded), "modify/bad-request");
        let abroad = one.iq("set", "other.example", &query("<remove/>")).await;
        assert_eq!(error_of(&abroad), "auth/registration-required");
        let foreign = one.iq("set", friend.bare(), &query("<remove/>")).await;
        assert_eq!(error_of(&foreign), "cancel/service-unavailable");
        one.forget().await;
        other.forget().await;

        is_result(&one.iq("set", "", &query("<remove/>")).await, "");
        one.wait_for_end("not-authorized").await;
        other.wait_for_end("not-authorized").await;
        friend
            .wait(&format!("<presence type='unsubscribed' from='{jid}'/>"))
            .await;
        friend.ping().await;
        assert_eq!(items(&roster(&mut friend).await), [format!("{jid} - none - ")]);
        let name = jid.split_once('@').expect("an address").0;
        let mut late = Client::opened(&server, transport).await;
        let answer = late.auth("PLAIN", &plain("", name, &password_of(&jid))).await;
        assert_eq!(answer.name(), "failure");
        // Who gets the name next finds nothing of it.
        server.import(&[(jid.clone(), password_of(&jid))]);
        let mut next = Client::online(&server, transport, &jid).await;
        assert_eq!(items(&roster(&mut next).await), Vec::<String>::new());
        next.close().await;
        friend.close().await;
    }
}

/// Its password is kept elsewhere.
#[tokio::test]
async fn who_is_known_elsewhere_changes_nothing_here() {
    let server = Server::builder()
        .domain_toml("accounts = \"command\"\n")
        .toml("[command]\nprogram = \"/bin/sh\"\n")
        .toml("arguments = [\"-c\", \"while read -r line; do echo '{\\\"result\\\":\\\"ok\\\"}'; done\"]\n")
        .start();
    for transport in Transport::EVERY {
        let mut client = Client::opened(&server, transport).await;
        assert!(!offers(&client, NS_FEATURE));
        assert_eq!(
            error_of(&client.iq("get", "", &query("")).await),
            "cancel/service-unavailable"
        );
        client.plain("juliet", "secret").await;
        client.open().await;
        client.bind(None).await;
        for payload in [account("juliet", "groundlings"), query("<remove/>")] {
            for to in ["", "example.org"] {
                assert_eq!(error_of(&client.iq("set", to, &payload).await), "cancel/not-allowed");
            }
        }
        client.ping().await;
        client.close().await;
    }
}
