//! Accounts that lack the verifier of a hash: a login by PLAIN makes it, and one by SCRAM with the tasks of XEP-0480.

use std::time::Duration;

use testkit::{
    Binding, Client, NS_SASL2, NS_UPGRADE, Server, Stanza, Transport, agent, password_of, plain, task_hash, task_of,
    upgrades,
};

const LONG: Duration = Duration::from_secs(40);
const TASKS: [&str; 2] = ["UPGR-SCRAM-SHA-256", "UPGR-SCRAM-SHA-512"];

/// Accounts get no verifier for some hashes, as those that were taken over from elsewhere.
fn take_verifiers(server: &mut Server, columns: &[&str]) {
    server.sigterm();
    assert!(server.wait(LONG).is_some_and(|status| status.success()));
    let path = server.folder().join("data/jackdaw.sqlite");
    let database = rusqlite::Connection::open(path).expect("the server has made it");
    for column in columns {
        let changed = database.execute(&format!("UPDATE accounts SET {column} = NULL"), []);
        assert!(changed.is_ok_and(|changed| changed > 0), "{column}");
    }
    drop(database);
    server.start();
}

/// A server whose accounts know SCRAM-SHA-1 alone.
fn of_old(builder: testkit::Builder) -> Server {
    let mut server = builder.start();
    take_verifiers(&mut server, &["scram_sha_256", "scram_sha_512"]);
    server
}

fn user(jid: &str) -> &str {
    jid.split_once('@').expect("user@domain").0
}

async fn by_scram(server: &Server, jid: &str, mechanism: &str, password: &str) -> Stanza {
    let mut client = Client::opened(server, Transport::Direct).await;
    client.scram_as(mechanism, user(jid), password, &Binding::None).await
}

async fn by_plain(server: &Server, jid: &str, password: &str) -> Stanza {
    let mut client = Client::opened(server, Transport::Direct).await;
    client.auth("PLAIN", &plain("", user(jid), password)).await
}

#[tokio::test]
async fn a_login_by_plain_makes_what_is_missing() {
    let mut server = Server::with_users(1);
    let jid = server.user();
    take_verifiers(&mut server, &["scram_sha_512"]);
    let password = password_of(&jid);
    assert_eq!(
        by_scram(&server, &jid, "SCRAM-SHA-512", &password).await.name(),
        "failure"
    );
    // Neither another mechanism nor a wrong password changes that.
    assert_eq!(
        by_scram(&server, &jid, "SCRAM-SHA-256", &password).await.name(),
        "success"
    );
    assert_eq!(by_plain(&server, &jid, "wrong").await.name(), "failure");
    assert_eq!(
        by_scram(&server, &jid, "SCRAM-SHA-512", &password).await.name(),
        "failure"
    );

    assert_eq!(by_plain(&server, &jid, &password).await.name(), "success");
    // It is on disk before the login has its answer.
    server.kill9();
    server.start();
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1"] {
        assert_eq!(
            by_scram(&server, &jid, mechanism, &password).await.name(),
            "success",
            "{mechanism}"
        );
    }
    assert_eq!(
        by_scram(&server, &jid, "SCRAM-SHA-512", "wrong").await.name(),
        "failure"
    );
}

/// A login by SCRAM-SHA-1 that would do these tasks; what it is answered with.
async fn asking(server: &Server, transport: Transport, jid: &str, tasks: &[&str], more: &str) -> (Client, Stanza) {
    let mut client = Client::opened(server, transport).await;
    let more = upgrades(tasks) + more;
    let answer = client
        .authenticate_by_scram("SCRAM-SHA-1", jid, &Binding::None, &more)
        .await;
    (client, answer)
}

/// The same, for both tasks: the first is offered.
async fn asking_for_both(server: &Server, transport: Transport, jid: &str) -> Client {
    let (client, answer) = asking(server, transport, jid, &TASKS, "").await;
    assert_eq!(task_of(&answer).as_deref(), Some(TASKS[0]), "{answer:?}");
    client
}

/// The condition with which a login by SASL2 has failed.
fn condition(answer: &Stanza) -> &str {
    let what = (answer.name(), answer.ns());
    assert_eq!((what.0, what.1.as_str()), ("failure", NS_SASL2), "{answer:?}");
    answer.condition().expect("a failure names a condition")
}

/// XEP-0480: an account that knows SCRAM-SHA-1 alone learns the others, over every transport.
#[tokio::test]
async fn tasks_make_what_is_missing() {
    let mut server = of_old(Server::builder().users(Transport::EVERY.len()));
    let mut done = Vec::new();
    for transport in Transport::EVERY {
        let jid = server.user();
        let password = password_of(&jid);
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            assert_eq!(by_scram(&server, &jid, mechanism, &password).await.name(), "failure");
        }
        let bind = agent(1) + "<bind xmlns='urn:xmpp:bind:0'><tag>kit</tag></bind>";
        let (mut client, first) = asking(&server, transport, &jid, &TASKS, &bind).await;
        let features = client.features.clone().expect("features");
        let sasl2 = features.get_child("authentication", NS_SASL2).expect("SASL2");
        let offered = sasl2.children().filter(|child| child.is("upgrade", NS_UPGRADE));
        assert_eq!(offered.map(|child| child.text()).collect::<Vec<_>>(), TASKS);

        assert_eq!(task_of(&first).as_deref(), Some(TASKS[0]), "{first:?}");
        assert!(
            first.has_child("additional-data", NS_SASL2),
            "the server's proof: {first:?}"
        );
        let second = client.do_task(&first, &jid).await;
        assert_eq!(task_of(&second).as_deref(), Some(TASKS[1]), "{second:?}");
        assert!(!second.has_child("additional-data", NS_SASL2), "{second:?}");
        let success = client.do_task(&second, &jid).await;
        assert_eq!(success.name(), "success", "{success:?}");
        assert!(!success.has_child("additional-data", NS_SASL2), "{success:?}");
        assert!(success.has_child("bound", "urn:xmpp:bind:0"), "{success:?}");
        let full = client.take_jid(&success);
        assert!(full.starts_with(&format!("{jid}/kit/")), "{full}");
        assert_eq!(client.stanza().await.name(), "features");
        client.ping().await;
        done.push(jid);
    }
    // Each was on disk before the next was offered.
    server.kill9();
    server.start();
    for jid in done {
        for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            let answer = by_scram(&server, &jid, mechanism, &password_of(&jid)).await;
            assert_eq!(answer.name(), "success", "{jid} {mechanism}");
            let answer = by_scram(&server, &jid, mechanism, "wrong").await;
            assert_eq!(answer.name(), "failure", "{jid} {mechanism}");
        }
        // Nothing is lacking any more.
        let (_client, answer) = asking(&server, Transport::Direct, &jid, &TASKS, "").await;
        assert_eq!(answer.name(), "success", "{answer:?}");
    }
}

/// A failed task is a failed login, and the stream is no way to another (XEP-0388 section 4.8). What was done before is
/// kept, and nothing else.
#[tokio::test]
async fn tasks_that_fail() {
    let server = of_old(Server::builder().users(Transport::EVERY.len()));
    let abort = format!("<abort xmlns='{NS_SASL2}'/>");
    for transport in Transport::EVERY {
        let jid = server.user();
        for (begins, input, expected) in [
            (
                false,
                format!("<next xmlns='{NS_SASL2}' task='{}'/>", TASKS[1]),
                "invalid-mechanism",
            ),
            (
                false,
                format!("<next xmlns='{NS_SASL2}' task='UPGR-BLOOP2'/>"),
                "invalid-mechanism",
            ),
            (
                false,
                task_hash("BzOnw3Pc5H4bOLlPZ/8JAy6wnTpH05aH21KW2+Xfpaw="),
                "malformed-request",
            ),
            (false, abort.clone(), "aborted"),
            (true, abort.clone(), "aborted"),
            (true, task_hash(""), "malformed-request"),
            (true, task_hash("AAAA"), "malformed-request"),
            (true, task_hash("it is no base 64"), "incorrect-encoding"),
            (true, format!("<task-data xmlns='{NS_SASL2}'/>"), "malformed-request"),
        ] {
            let mut client = asking_for_both(&server, transport, &jid).await;
            if begins {
                assert_eq!(client.next_task(TASKS[0]).await.name(), "task-data");
            }
            client.send(&input).await;
            assert_eq!(condition(&client.stanza().await), expected, "{transport:?} {input}");
            let again = plain("", user(&jid), &password_of(&jid));
            client
                .send(format!(
                    "<authenticate xmlns='{NS_SASL2}' mechanism='PLAIN'><initial-response>{again}</initial-response>\
                     </authenticate>"
                ))
                .await;
            client.expect_stream_error("policy-violation").await;
        }
        // No stanza, and no resource, before the task is done.
        let mut client = asking_for_both(&server, transport, &jid).await;
        client
            .send("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
            .await;
        client.expect_stream_error("policy-violation").await;

        let (mut client, first) = asking(&server, transport, &jid, &TASKS, "").await;
        let second = client.do_task(&first, &jid).await;
        assert_eq!(task_of(&second).as_deref(), Some(TASKS[1]), "{second:?}");
        client.send(&abort).await;
        assert_eq!(condition(&client.stanza().await), "aborted");
        let password = password_of(&jid);
        assert_eq!(
            by_scram(&server, &jid, "SCRAM-SHA-256", &password).await.name(),
            "success"
        );
        assert_eq!(
            by_scram(&server, &jid, "SCRAM-SHA-512", &password).await.name(),
            "failure"
        );
    }
}

/// A password that is set while a task is under way is the one that counts.
#[tokio::test]
async fn a_new_password_ends_a_task() {
    let server = of_old(Server::builder().users(Transport::EVERY.len()));
    for transport in Transport::EVERY {
        let jid = server.user();
        let mut client = asking_for_both(&server, transport, &jid).await;
        assert_eq!(client.next_task(TASKS[0]).await.name(), "task-data");
        let changed = server.jackdaw(&["account", "password", &jid, "--password-stdin"], "another\n");
        assert!(changed.status.success(), "{changed:?}");
        client.expect_stream_error("not-authorized").await;
        for mechanism in ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
            assert_eq!(by_scram(&server, &jid, mechanism, "another").await.name(), "success");
            let old = password_of(&jid);
            assert_eq!(by_scram(&server, &jid, mechanism, &old).await.name(), "failure");
        }
    }
}

/// Who never ends a task has no more time than who never logs in.
#[tokio::test]
async fn a_task_without_an_end() {
    let server = of_old(Server::builder().users(1).limit("negotiation_seconds", 2));
    let jid = server.user();
    for transport in Transport::EVERY {
        let mut client = asking_for_both(&server, transport, &jid).await;
        assert_eq!(client.next_task(TASKS[0]).await.name(), "task-data");
        client.expect_stream_error("connection-timeout").await;
    }
}
