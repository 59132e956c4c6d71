//! Links with which people get an account (XEP-0401, XEP-0445), and become contacts (XEP-0379).

use testkit::{Client, Server, Stanza, Transport, password_of};

use crate::registration::{NS_FEATURE, NS_IBR_TOKEN, account, offers, query, register};
use crate::support::{error_of, is_result, items, roster, settle};

const NS_PREAUTH: &str = "urn:xmpp:pars:0";
const COMMANDS: &str = "http://jabber.org/protocol/commands";
const INVITE: &str = "urn:xmpp:invite#invite";
const CREATE: &str = "urn:xmpp:invite#create-account";

/// What `jackdaw invite` prints.
fn invite(server: &Server, arguments: &[&str]) -> String {
    let output = server.jackdaw(&[&["invite"], arguments].concat(), "");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

fn token(uri: &str) -> String {
    let token = uri.split_once("preauth=").expect("a token").1;
    token.split(';').next().unwrap_or_default().to_owned()
}

fn preauth(token: &str) -> String {
    format!("<preauth xmlns='{NS_PREAUTH}' token='{token}'/>")
}

/// Shows a token before the login.
async fn show(client: &mut Client, token: &str) -> Stanza {
    client.iq("set", "example.org", &preauth(token)).await
}

async fn registered(server: &Server, transport: Transport, token: &str, user: &str) -> Client {
    let mut client = Client::opened(server, transport).await;
    is_result(&show(&mut client, token).await, "");
    is_result(&register(&mut client, user).await, "");
    client
}

fn database(server: &Server) -> rusqlite::Connection {
    let path = server.folder().join("data").join("jackdaw.sqlite");
    rusqlite::Connection::open(path).expect("the server has made it")
}

/// All invitations are over.
fn expire(server: &Server) {
    let database = database(server);
    // One that was made a moment ago may be in a transaction yet.
    database.busy_timeout(testkit::TIMEOUT).expect("set");
    let changed = database
        .execute("UPDATE invitations SET expires = 1", [])
        .expect("a table");
    assert!(changed > 0);
}

#[tokio::test]
async fn who_has_a_link_gets_an_account_once() {
    let server = Server::with_users(0);
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let uri = invite(&server, &[]);
        let token = token(&uri);
        assert_eq!(uri, format!("xmpp:example.org?register;preauth={token}"));
        assert!(
            token.len() == 26 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{token}"
        );
        let mut client = Client::opened(&server, transport).await;
        assert!(offers(&client, NS_IBR_TOKEN) && offers(&client, NS_FEATURE));
        // The example of section 4, whatever is wrong with it.
        for wrong in ["", "TOKEN", &token[1..], &"x".repeat(1_000), &token.to_uppercase()] {
            let answer = show(&mut client, wrong).await;
            assert_eq!(error_of(&answer), "cancel/item-not-found");
            assert!(answer.raw().contains("The provided token is invalid or expired"));
            assert_eq!(error_of(&register(&mut client, "bill").await), "auth/forbidden");
            client = Client::opened(&server, transport).await;
        }
        let accepted = show(&mut client, &token).await;
        is_result(&accepted, "");
        assert_eq!(accepted.get("from"), "example.org");
        // "single-use tokens MUST NOT be considered used until the actual registration has succeeded."
        is_result(
            &client.iq("get", "", &query("")).await,
            &query("<username/><password/>"),
        );
        assert_eq!(
            error_of(&client.iq("set", "", &account("bill", "")).await),
            "modify/not-acceptable"
        );
        let mut other = Client::opened(&server, transport).await;
        is_result(&show(&mut other, &token).await, "");
        let user = format!("bill{number}");
        is_result(&register(&mut client, &user).await, "");
        assert_eq!(error_of(&register(&mut other, "late").await), "cancel/item-not-found");
        let mut third = Client::opened(&server, transport).await;
        assert_eq!(error_of(&show(&mut third, &token).await), "cancel/item-not-found");
        client.plain(&user, &password_of(&format!("{user}@example.org"))).await;
        assert_eq!(server.logged(&token), 0);
    }
    let list = server.jackdaw(&["account", "list"], "");
    let list = String::from_utf8(list.stdout).expect("text");
    assert!(!list.contains("late") && !list.contains("admin"), "{list}");
    assert_eq!(invite(&server, &["list"]), "");
}

#[tokio::test]
async fn an_invitation_may_say_who_comes() {
    let server = Server::builder()
        .domain_toml("registration = \"open\"\n")
        .limit("registrations_per_hour_per_address", 100)
        .start();
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let user = format!("juliet{number}");
        let uri = invite(&server, &["--user", &user.to_uppercase(), "--admin"]);
        assert!(
            uri.starts_with(&format!("xmpp:{user}@example.org?register;preauth=")),
            "{uri}"
        );
        // "The server MUST reserve the username" (section 5).
        let mut stranger = Client::opened(&server, transport).await;
        assert_eq!(error_of(&register(&mut stranger, &user).await), "cancel/conflict");
        let other = token(&invite(&server, &["--expires", "1m"]));
        let mut guest = Client::opened(&server, transport).await;
        is_result(&show(&mut guest, &other).await, "");
        assert_eq!(error_of(&register(&mut guest, &user).await), "cancel/conflict");

        let mut client = Client::opened(&server, transport).await;
        is_result(&show(&mut client, &token(&uri)).await, "");
        is_result(
            &client.iq("get", "", &query("")).await,
            &query(&format!("<username>{user}</username><password/>")),
        );
        assert_eq!(error_of(&register(&mut client, "romeo").await), "modify/not-acceptable");
        is_result(&register(&mut client, &user).await, "");
        let list = server.jackdaw(&["account", "list"], "");
        let list = String::from_utf8(list.stdout).expect("text");
        let line = list
            .lines()
            .find(|line| line.starts_with(&format!("{user}@")))
            .expect("an account");
        assert!(line.ends_with(",admin"), "{line}");
    }
}

#[tokio::test]
async fn an_invitation_that_is_over_or_withdrawn() {
    let server = Server::with_users(5);
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let over = token(&invite(&server, &[]));
        let mut early = Client::opened(&server, transport).await;
        is_result(&show(&mut early, &over).await, "");
        expire(&server);
        let mut late = Client::opened(&server, transport).await;
        assert_eq!(error_of(&show(&mut late, &over).await), "cancel/item-not-found");
        // XEP-0445 section 4: "MUST NOT be rejected due to token expiry".
        is_result(&register(&mut early, &format!("early{number}")).await, "");

        let withdrawn = token(&invite(&server, &[]));
        let listed = invite(&server, &["list"]);
        let id = listed.split('\t').next().expect("an id");
        assert!(!listed.contains(&withdrawn), "{listed}");
        invite(&server, &["revoke", id]);
        let mut client = Client::opened(&server, transport).await;
        assert_eq!(error_of(&show(&mut client, &withdrawn).await), "cancel/item-not-found");

        // Of an account that is gone, or may not log in.
        let inviter = server.user();
        let of_account = token(&invite(&server, &["--contact", &inviter]));
        for (command, works) in [("disable", false), ("enable", true), ("remove", false)] {
            assert!(server.jackdaw(&["account", command, &inviter], "").status.success());
            let mut client = Client::opened(&server, transport).await;
            let answer = error_of(&show(&mut client, &of_account).await);
            assert_eq!(answer, if works { "" } else { "cancel/item-not-found" }, "{command}");
        }
        assert_eq!(invite(&server, &["list"]), "");
    }
}

/// Attacks row 32: tokens cannot be guessed.
#[tokio::test]
async fn guesses_are_slowed_down() {
    let server = Server::builder()
        .limit("login_failures_per_minute_per_address", 3)
        .limit("invitations", 4)
        .start();
    let good = token(&invite(&server, &[]));
    // A window may end in between, but not twice.
    for _ in 0..3 {
        let mut errors = Vec::new();
        for transport in Transport::EVERY {
            let mut client = Client::opened(&server, transport).await;
            errors.push(error_of(&show(&mut client, "guess").await));
        }
        let mut client = Client::opened(&server, Transport::Direct).await;
        let answer = error_of(&show(&mut client, &good).await);
        if answer == "wait/resource-constraint" {
            assert!(errors.iter().filter(|error| *error == "cancel/item-not-found").count() <= 4);
            return;
        }
    }
    panic!("who guesses is never slowed down");
}

#[tokio::test]
async fn of_two_at_the_same_moment_one_gets_an_account() {
    let server = Server::with_users(0);
    let mut accounts = 1;
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        for uses in 1..=2 {
            let token = token(&invite(&server, &["--uses", &uses.to_string()]));
            let mut clients = Vec::new();
            for _ in 0..4 {
                let mut client = Client::opened(&server, transport).await;
                is_result(&show(&mut client, &token).await, "");
                clients.push(client);
            }
            let mut tasks = Vec::new();
            for (at, mut client) in clients.into_iter().enumerate() {
                let user = format!("twin-{number}-{uses}-{at}");
                tasks.push(tokio::spawn(
                    async move { error_of(&register(&mut client, &user).await) },
                ));
            }
            let mut made = 0;
            for task in tasks {
                match task.await.expect("no panic").as_str() {
                    "" => made += 1,
                    error => assert_eq!(error, "cancel/item-not-found"),
                }
            }
            assert_eq!(made, uses);
            accounts += made;
        }
    }
    let list = server.jackdaw(&["account", "list"], "");
    assert_eq!(String::from_utf8_lossy(&list.stdout).lines().count(), accounts);
}

#[tokio::test]
async fn who_is_invited_becomes_a_contact() {
    let server = Server::with_users(5);
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let romeo = server.user();
        let mut inviter = Client::online(&server, transport, &romeo).await;
        roster(&mut inviter).await;
        inviter.forget().await;
        let uri = invite(&server, &["--contact", &romeo]);
        let token = token(&uri);
        assert_eq!(uri, format!("xmpp:{romeo}?roster;preauth={token};ibr=y"));
        let user = format!("juliet{number}");
        let juliet = format!("{user}@example.org");
        registered(&server, transport, &token, &user).await;
        // The example of XEP-0401 section 5.5.
        inviter
            .expect(&format!(
                "<iq type='set'><query xmlns='jabber:iq:roster'><item subscription='both' jid='{juliet}'/></query></iq>"
            ))
            .await;
        let mut new = Client::login(&server, transport, &juliet).await;
        assert_eq!(items(&roster(&mut new).await), [format!("{romeo} - both - ")]);
        // They see each other.
        new.presence("<presence/>").await;
        new.wait(&format!("<presence from='{}'/>", inviter.jid)).await;
        inviter.wait(&format!("<presence from='{}'/>", new.jid)).await;
        inviter.nothing_more().await;
        new.close().await;
        inviter.close().await;
    }
}

/// The account and its contact are in one batch; the contact's roster follows, whatever comes between.
#[tokio::test]
async fn a_crash_parts_no_friends() {
    let mut server = Server::with_users(8);
    for (number, transport) in Transport::EVERY.into_iter().enumerate() {
        let romeo = server.user();
        let token = token(&invite(&server, &["--contact", &romeo]));
        let user = format!("juliet{number}");
        let mut client = Client::opened(&server, transport).await;
        is_result(&show(&mut client, &token).await, "");
        let password = password_of(&format!("{user}@example.org"));
        client
            .send(format!("<iq type='set' id='r'>{}</iq>", account(&user, &password)))
            .await;
        if number % 2 == 0 {
            client.expect("<iq type='result' id='r'/>").await;
        }
        server.kill9();
        server.start();
        // With the account, all of it; without, the token is as good as before.
        let mut again = Client::opened(&server, transport).await;
        let is_made = error_of(&show(&mut again, &token).await) == "cancel/item-not-found";
        assert!(is_made || number % 2 == 1, "what was answered is there");
        if !is_made {
            is_result(&register(&mut again, &user).await, "");
        }
        let mut new = Client::login(&server, transport, &format!("{user}@example.org")).await;
        assert_eq!(items(&roster(&mut new).await), [format!("{romeo} - both - ")]);
        let mut inviter = Client::login(&server, transport, &romeo).await;
        assert_eq!(
            items(&roster(&mut inviter).await),
            [format!("{user}@example.org - both - ")]
        );
        let left: i64 = database(&server)
            .query_row("SELECT count(*) FROM introductions", [], |row| row.get(0))
            .expect("a table");
        assert_eq!(left, 0);
    }
}

/// XEP-0379: who has an account, here or elsewhere.
#[tokio::test]
async fn who_shows_a_token_is_welcome() {
    let server = Server::with_users(16);
    for transport in Transport::EVERY {
        let [romeo, juliet, tybalt, nurse] = [(); 4].map(|()| server.user());
        let mut inviter = Client::online(&server, transport, &romeo).await;
        roster(&mut inviter).await;
        let mut one = Client::online(&server, transport, &juliet).await;
        roster(&mut one).await;
        inviter.forget().await;
        one.forget().await;
        let token = token(&invite(&server, &["--contact", &romeo]));
        let request = |token: &str| format!("<presence type='subscribe' to='{romeo}'>{}</presence>", preauth(token));
        // A wrong one is as if there were none (section 4.1), and his client may know what it is.
        one.send(request("TOKEN")).await;
        inviter
            .expect(&format!(
                "<presence type='subscribe' from='{juliet}'>{}</presence>",
                preauth("TOKEN")
            ))
            .await;
        inviter.nothing_more().await;
        // Nor is one that is somebody else's.
        one.send(format!(
            "<presence type='subscribe' to='{nurse}'>{}</presence>",
            preauth(&token)
        ))
        .await;
        settle(&mut one, &romeo).await;
        one.forget().await;

        one.send(request(&token)).await;
        inviter
            .expect(&format!(
                "<iq type='set'><query xmlns='jabber:iq:roster'>\
                 <item subscription='from' ask='subscribe' jid='{juliet}'/></query></iq>"
            ))
            .await;
        one.wait(&format!("<presence type='subscribed' from='{romeo}'/>")).await;
        one.wait(&format!("<presence type='subscribe' from='{romeo}'/>")).await;
        one.wait(&format!("<presence from='{}'/>", inviter.jid)).await;
        one.send(format!("<presence type='subscribed' to='{romeo}'/>")).await;
        inviter.wait(&format!("<presence from='{}'/>", one.jid)).await;
        assert_eq!(items(&roster(&mut inviter).await), [format!("{juliet} - both - ")]);
        assert!(items(&roster(&mut one).await).contains(&format!("{romeo} - both - ")));

        // It is used up.
        let mut two = Client::online(&server, transport, &tybalt).await;
        inviter.forget().await;
        two.send(request(&token)).await;
        inviter
            .expect(&format!(
                "<presence type='subscribe' from='{tybalt}'>{}</presence>",
                preauth(&token)
            ))
            .await;
        for client in [inviter, one, two] {
            client.close().await;
        }
    }
}

/// Who has invited is away, and who comes approves beforehand (section 3.4).
#[tokio::test]
async fn a_token_works_while_its_maker_is_away() {
    let server = Server::with_users(12);
    for transport in Transport::EVERY {
        let [romeo, juliet, tybalt] = [(); 3].map(|()| server.user());
        let token = token(&invite(&server, &["--contact", &romeo, "--uses", "2"]));
        for guest in [&juliet, &tybalt] {
            let mut one = Client::online(&server, transport, guest).await;
            roster(&mut one).await;
            one.send(format!(
                "<presence type='subscribe' to='{romeo}'>{}</presence>",
                preauth(&token)
            ))
            .await;
            one.send(format!("<presence type='subscribed' to='{romeo}'/>")).await;
            one.wait(&format!(
                "<iq type='set'><query xmlns='jabber:iq:roster'>\
                 <item subscription='both' approved='true' jid='{romeo}'/></query></iq>"
            ))
            .await;
            one.close().await;
        }
        let mut inviter = Client::login(&server, transport, &romeo).await;
        let mut expected = [format!("{juliet} - both - "), format!("{tybalt} - both - ")];
        expected.sort();
        assert_eq!(items(&roster(&mut inviter).await), expected);
        // Nothing waits for an answer.
        inviter.send("<presence/>").await;
        let echo = inviter.jid.clone();
        inviter.wait(&format!("<presence from='{echo}'/>")).await;
        inviter.close().await;
    }
}

fn command(node: &str, inner: &str) -> String {
    format!("<command xmlns='{COMMANDS}' node='{node}'>{inner}</command>")
}

/// The field of the form in an answer.
fn field(answer: &Stanza, var: &str) -> Option<String> {
    let form = answer.get_child("command", COMMANDS)?.get_child("x", "jabber:x:data")?;
    let field = form.children().find(|field| field.attr("var") == Some(var))?;
    Some(field.get_child("value", "jabber:x:data")?.text())
}

async fn nodes(client: &mut Client) -> Vec<String> {
    let query = format!("<query xmlns='http://jabber.org/protocol/disco#items' node='{COMMANDS}'/>");
    let answer = client.iq("get", "example.org", &query).await;
    let list = answer
        .get_child("query", "http://jabber.org/protocol/disco#items")
        .expect("a list");
    let nodes = list.children().filter_map(|item| item.attr("node"));
    nodes
        .filter(|node| node.starts_with("urn:xmpp:invite"))
        .map(str::to_owned)
        .collect()
}

/// XEP-0401 section 5.
#[tokio::test]
async fn by_a_command() {
    for (inviting, can, makes_accounts) in [
        ("admins", false, false),
        ("contacts", true, false),
        ("accounts", true, true),
    ] {
        let server = Server::builder()
            .domain_toml(&format!("invitations = \"{inviting}\"\n"))
            .toml("admins = [\"romeo@example.org\"]\n")
            .account("romeo@example.org")
            .users(4)
            .limit("invitations_per_account", 2)
            .start();
        for (number, transport) in Transport::EVERY.into_iter().enumerate() {
            let juliet = server.user();
            let mut user = Client::online(&server, transport, &juliet).await;
            let mut admin = Client::online(&server, transport, "romeo@example.org").await;
            assert_eq!(nodes(&mut user).await, if can { vec![INVITE] } else { vec![] });
            assert_eq!(nodes(&mut admin).await, [CREATE, INVITE]);

            let answer = user.iq("set", "example.org", &command(INVITE, "")).await;
            if can {
                let uri = field(&answer, "uri").unwrap_or_else(|| panic!("{}", answer.raw()));
                let ibr = if makes_accounts { ";ibr=y" } else { "" };
                assert_eq!(uri, format!("xmpp:{juliet}?roster;preauth={}{ibr}", token(&uri)));
                assert_eq!(
                    field(&answer, "FORM_TYPE").as_deref(),
                    Some("urn:xmpp:invite#invitation")
                );
                assert!(field(&answer, "expire").is_some_and(|expire| expire.ends_with('Z')));
                let mut new = Client::opened(&server, transport).await;
                let shown = error_of(&show(&mut new, &token(&uri)).await);
                assert_eq!(shown, if makes_accounts { "" } else { "cancel/item-not-found" });
                // No more than so many at the same time.
                assert!(field(&user.iq("set", "example.org", &command(INVITE, "")).await, "uri").is_some());
                let third = user.iq("set", "example.org", &command(INVITE, "")).await;
                assert_eq!(error_of(&third), "wait/resource-constraint");
            } else {
                assert!(!error_of(&answer).is_empty());
            }
            let refused = user.iq("set", "example.org", &command(CREATE, "")).await;
            assert_eq!(error_of(&refused), "auth/forbidden");

            // Section 5.4.
            let form = admin.iq("set", "example.org", &command(CREATE, "")).await;
            let session = form
                .get_child("command", COMMANDS)
                .and_then(|command| command.attr("sessionid"));
            let session = session.expect("a session").to_owned();
            let name = format!("mercutio{number}");
            let filled = format!(
                "<command xmlns='{COMMANDS}' node='{CREATE}' sessionid='{session}'>\
                 <x xmlns='jabber:x:data' type='submit'><field var='username'><value>{name}</value></field>\
                 <field var='roster-subscription'><value>1</value></field></x></command>"
            );
            let answer = admin.iq("set", "example.org", &filled).await;
            let uri = field(&answer, "uri").unwrap_or_else(|| panic!("{}", answer.raw()));
            assert_eq!(uri, format!("xmpp:{name}@example.org?register;preauth={}", token(&uri)));
            registered(&server, transport, &token(&uri), &name).await;
            let mut new = Client::login(&server, transport, &format!("{name}@example.org")).await;
            assert_eq!(items(&roster(&mut new).await), ["romeo@example.org - both - "]);
            for client in [user, admin, new] {
                client.close().await;
            }
        }
    }
}

/// Altogether, and of the operator.
#[tokio::test]
async fn there_are_so_many_invitations() {
    let server = Server::builder().limit("invitations", 2).start();
    invite(&server, &[]);
    invite(&server, &[]);
    let third = server.jackdaw(&["invite"], "");
    assert_eq!(third.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&third.stderr).contains("too many invitations"));
}
